# SPDX-License-Identifier: BSD-3-Clause
"""Unit reactor is the one loop in which all clients, all fake servers and the plan of a chaos run
take turns: sockets that are ready, and things to do at a time."""

import heapq
import itertools
import select
import socket
import time

READ = select.EPOLLIN | select.EPOLLRDHUP
WRITE = select.EPOLLOUT
RESET = b"\1\0\0\0\0\0\0\0"  # struct linger: on, 0 s


class Reactor:
    """Calls `ready(events)` of whoever watches a socket, and functions when their time comes."""

    def __init__(self):
        self.epoll = select.epoll()
        self.watched = {}
        self.timers = []
        self.serial = itertools.count()
        self.now = time.monotonic()
        self.longest_turn = 0.0

    def watch(self, sock, who, events):
        self.watched[sock.fileno()] = who
        self.epoll.register(sock.fileno(), events)

    def change(self, sock, events):
        self.epoll.modify(sock.fileno(), events)

    def forget(self, sock):
        if self.watched.pop(sock.fileno(), None) is not None:
            self.epoll.unregister(sock.fileno())

    def after(self, seconds, call):
        heapq.heappush(self.timers, (self.now + seconds, next(self.serial), call))

    def turn(self, longest=0.05):
        wait = longest
        if self.timers:
            wait = min(wait, max(0.0, self.timers[0][0] - time.monotonic()))
        events = self.epoll.poll(wait)
        self.now = begun = time.monotonic()
        for number, what in events:
            who = self.watched.get(number)
            if who is not None:
                who.ready(what)
        while self.timers and self.timers[0][0] <= self.now:
            heapq.heappop(self.timers)[2]()
        self.longest_turn = max(self.longest_turn, time.monotonic() - begun)

    def run(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.turn()

    def close(self):
        self.epoll.close()


class Connection:
    """A connected socket with output that waits. Its owner overrides received() and ended()."""

    def __init__(self, reactor, sock):
        self.reactor = reactor
        self.sock = sock
        self.out = bytearray()
        self.open = True
        self.reading = True
        sock.setblocking(False)
        if sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reactor.watch(sock, self, READ)

    def _interest(self):
        if self.open:
            self.reactor.change(self.sock, (READ if self.reading else 0)
                                | (WRITE if self.out else 0))

    def pause(self):
        self.reading = False
        self._interest()

    def resume(self):
        self.reading = True
        self._interest()

    def send(self, data):
        if not self.open:
            return
        waited = bool(self.out)
        self.out += data
        if not waited:
            self._flush()

    def _flush(self):
        try:
            while self.out:
                del self.out[:self.sock.send(memoryview(self.out)[:1 << 18].tobytes())]
        except BlockingIOError:
            pass
        except OSError:
            # What the other side still said is read before the end is told.
            self.out.clear()
        self._interest()

    def ready(self, events):
        if events & WRITE and self.out:
            self._flush()
        if self.open and self.reading and events & ~WRITE:
            self._read()
        elif self.open and events & (select.EPOLLHUP | select.EPOLLERR):
            self.end(False)

    def _read(self, limit=1 << 18):
        try:
            data = self.sock.recv(limit)
        except BlockingIOError:
            return
        except OSError:
            self.end(False)
            return
        if data:
            self.received(data)
        else:
            self.end(True)

    def received(self, data):
        raise NotImplementedError

    def ended(self, in_order):
        """The other side closed: in order, or with a reset."""

    def end(self, in_order):
        self.close()
        self.ended(in_order)

    def half_close(self):
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def reset(self):
        if self.open:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.close()

    def close(self):
        if self.open:
            self.open = False
            self.reactor.forget(self.sock)
            self.sock.close()
