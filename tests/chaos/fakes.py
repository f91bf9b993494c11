# SPDX-License-Identifier: BSD-3-Clause
"""Unit fakes is servers that know the right answer to everything, because it is a function of the
key, and that misbehave when the plan says so.

What a fake server says wrongly is always something that a proxy can tell from a right answer: bytes
that do not parse, an answer that nobody waits for, or too little. Behind such bytes come answers that
look right and hold POISON, which no client may ever get."""

import socket

from reactor import READ, RESET, Connection
import wire

POISON = b"POISON-of-a-broken-server"


def value_of(key):
    """What a fake server holds under a key. Some values are large."""
    tail = key.rpartition(b"#")[2]
    return b"<" + key + b">" + b"." * (int(tail) if tail.isdigit() else 0)


# ---------------------------------------------------------------- right answers

def _bulk(value):
    return b"$%d\r\n%s\r\n" % (len(value), value)


def redis_shape(key):
    """A reply of every shape that a server may nest, with the key in it."""
    shapes = (b"*-1\r\n", b"*3\r\n*-1\r\n" + _bulk(key) + b"$-1\r\n",
              b"*2\r\n*2\r\n:7\r\n*0\r\n*1\r\n*1\r\n" + _bulk(key),
              b"*2\r\n*-1\r\n*1\r\n*-1\r\n", b"*0\r\n", b"*2\r\n-ERR inside\r\n" + _bulk(key),
              b"$0\r\n\r\n", b"*1\r\n:-5\r\n", b"$-1\r\n",
              _bulk(b"*3\r\n$-1\r\n+" + key + b"\r\n"))
    return shapes[sum(key) % len(shapes)]


def redis_answer(args):
    name = args[0].upper()
    if name == b"GET":
        return _bulk(value_of(args[1]))
    if name == b"MGET":
        return b"*%d\r\n" % (len(args) - 1) + b"".join(_bulk(value_of(k)) for k in args[1:])
    if name == b"LRANGE":
        return redis_shape(args[1])
    if name in (b"DEL", b"EXISTS", b"UNLINK", b"TOUCH"):
        return b":%d\r\n" % (len(args) - 1)
    if name == b"PING":
        return b"+PONG\r\n"
    return b"+OK\r\n"


def memcache_answer(words):
    if words[0] in (b"get", b"gets"):
        cas = b" 1" if words[0] == b"gets" else b""
        return b"".join(b"VALUE %s 0 %d%s\r\n%s\r\n" % (key, len(value_of(key)), cas, value_of(key))
                        for key in words[1:]) + b"END\r\n"
    return {b"set": b"STORED\r\n", b"delete": b"DELETED\r\n", b"version": b"VERSION 1.6.0\r\n",
            b"touch": b"TOUCHED\r\n"}.get(words[0], b"ERROR\r\n")


GARBAGE = {
    "redis": (b"garbage\r\n", b"\0\xff\xfe\r\n", b"$abc\r\n", b"$-7\r\n", b"*-9\r\n",
              b"$3\r\nabcdefgh\r\n", b"$99999999999999999999\r\n", b"*1\r\n*1\r\n!\0\r\n"),
    "memcache": (b"\0\xff\xfe\r\n", b"VALUE k 0\r\n", b"VALUE k 0 99999999999999999999\r\n",
                 b"VALUE k 0 3\r\nabcdefgh\r\n", b"VALUE\r\n"),
}
POISONED = {"redis": _bulk(POISON) * 4,
            "memcache": b"VALUE k 0 %d\r\n%s\r\nEND\r\n" % (len(POISON), POISON) * 4}
REQUEST = {"redis": wire.redis_request, "memcache": wire.memcache_request}
ANSWER = {"redis": redis_answer, "memcache": memcache_answer}


# ---------------------------------------------------------------- connections

class FakeConnection(Connection):
    """One connection of the proxy to a fake server."""

    def __init__(self, server, sock):
        super().__init__(server.reactor, sock)
        self.server = server
        self.input = bytearray()
        self.held = []       # answers that wait for the end of a fault
        self.trickling = False
        self.broken = False  # it said something wrong: from here on only poison

    def received(self, data):
        self.input += data
        at = 0
        try:
            while (found := REQUEST[self.server.protocol](self.input, at)) is not None:
                words, at = found
                self.server.requests += 1
                self.say(ANSWER[self.server.protocol](words))
                if not self.open:
                    return
        except wire.Unreadable as error:
            self.server.complain(f"the proxy sent {error} to {self.server.name}")
            self.reset()
            return
        del self.input[:at]

    def ended(self, in_order):
        self.server.connections.discard(self)

    def close(self):
        super().close()
        self.server.connections.discard(self)

    def say(self, answer):
        """Lets one answer go the way that the fault of the moment wants."""
        if self.broken:
            self.send(POISONED[self.server.protocol][:len(answer)])
        elif self.held:
            self.held.append(answer)
        else:
            getattr(self, "_" + self.server.fault)(answer)

    def _none(self, answer):
        self.send(answer)

    def _delay(self, answer):
        self.held.append(answer)
        self.reactor.after(self.server.argument, lambda: self.trickling or self.go_on())

    def _stall(self, answer):
        self.held.append(answer)

    def _half(self, answer):
        cut = max(1, int(len(answer) * self.server.argument))
        self.send(answer[:cut])
        self.held.append(answer[cut:])

    def _reset(self, answer):
        self.send(answer[:int(len(answer) * self.server.argument)])
        self.reset()

    def _close(self, answer):
        self.send(answer[:int(len(answer) * self.server.argument)])
        self.close()

    def _garbage(self, answer):
        wrong = GARBAGE[self.server.protocol]
        self.broken = True
        self.send((answer if self.server.argument > 0.5 else b"")
                  + wrong[int(self.server.argument * 1000) % len(wrong)]
                  + POISONED[self.server.protocol])

    def _trickle(self, answer):
        self.held.append(answer)
        if not self.trickling:
            self.trickling = True
            self._drop()

    def _drop(self):
        """One more byte; go_on() sends the rest at once when the fault is over."""
        if not self.open or not self.trickling:
            return
        if not self.held:
            self.trickling = False
            return
        self.send(self.held[0][:1])
        self.held[0] = self.held[0][1:]
        if not self.held[0]:
            self.held.pop(0)
        self.reactor.after(self.server.argument, self._drop)

    def _twice(self, answer):
        """Too much, in one piece with what was asked for: only where nobody else can wait."""
        self.broken = True
        self.send(answer + POISONED[self.server.protocol])

    def _early(self, answer):
        """The right answer, and one that nobody asked for while all is quiet."""
        self.send(answer)
        self.reactor.after(self.server.argument, self._stray)

    def _stray(self):
        if self.open and not self.broken:
            self.broken = True
            self.send(POISONED[self.server.protocol])

    def go_on(self):
        """The fault is over: what was held back goes out."""
        self.trickling = False
        if self.open and self.held:
            held, self.held = b"".join(self.held), []
            self.send(held)


class FakeServer:
    """A listener and its connections. `lone`: it has one client only, which asks one by one."""

    def __init__(self, reactor, name, protocol, port, complain, lone=False):
        self.reactor = reactor
        self.name = name
        self.protocol = protocol
        self.port = port
        self.complain = complain
        self.lone = lone
        self.fault = "none"
        self.argument = 0.0
        self.connections = set()
        self.requests = 0
        self.listener = None
        self.fillers = []
        self.listen()

    def listen(self, backlog=511):
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", self.port))
        self.listener.listen(backlog)
        self.listener.setblocking(False)

        if backlog:
            self.reactor.watch(self.listener, self, READ)

    def ready(self, _events):
        try:
            while True:
                sock, _ = self.listener.accept()
                self.connections.add(FakeConnection(self, sock))
        except OSError:
            pass

    def _close_listener(self):
        if self.listener is not None:
            self.reactor.forget(self.listener)
            self.listener.close()
            self.listener = None

    def start(self, fault, argument):
        """A fault begins; it ends with stop()."""
        self.stop()
        self.fault, self.argument = fault, argument
        if fault in ("refuse", "deaf"):
            for connection in list(self.connections):
                connection.reset()
            self._close_listener()
        if fault == "deaf":
            self.listen(0)
            for _ in range(3):  # the queue holds one; whoever comes later is not even refused
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", self.port))
                self.fillers.append(filler)
            self.fault = "none"

    def stop(self):
        deaf, self.fault = bool(self.fillers), "none"
        if deaf:
            for filler in self.fillers:
                filler.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                filler.close()
            self.fillers = []
            self._close_listener()
        if self.listener is None:
            self.listen()
        for connection in list(self.connections):
            connection.go_on()

    def close(self):
        self.stop()
        self._close_listener()
        for connection in list(self.connections):
            connection.close()


FAULTS = ("delay", "stall", "half", "reset", "close", "garbage", "trickle", "refuse", "deaf")
LONE_FAULTS = ("twice", "early", "garbage", "half", "reset", "close", "trickle")


def argument_of(fault, rng):
    """What a fault wants to know: seconds for delays, else a place in the answer."""
    return {"delay": lambda: rng.choice((0.005, 0.05, 0.25, 0.5)),
            "trickle": lambda: rng.choice((0.0005, 0.005)),
            "early": lambda: rng.choice((0.0, 0.01, 0.03))}.get(fault, rng.random)()


def lifetime_of(fault, rng):
    """How long a fault lasts, in seconds: some shorter, some longer than the pools' timeout."""
    longest = {"garbage": 0.15, "reset": 0.3, "close": 0.3}.get(fault, 1.0)
    return rng.uniform(0.02, longest)


