# SPDX-License-Identifier: BSD-3-Clause
"""Many fake servers in one process, for the placement test: each answers any GET of redis or get of
memcached with its own number, so that the answer tells where a key went.

Run as a program: it reads from its standard input what to listen on, as JSON, writes the addresses
to its standard output, as JSON, and serves until its input is closed. A wish is a host ("127.0.0.1":
any free port), a host with a port, or a path; what can't be had gets null.
"""

import json
import os
import select
import socket
import subprocess
import sys
from pathlib import Path

DIGITS = 4  # of a server's number in its answers


class Garbled(Exception):
    """The proxy sent what it should not."""


def redis_answer(data, number):
    """Answers the whole requests at the head of `data`; returns the answer and the bytes used."""
    used = count = 0
    while used < len(data):
        if len(data) - used < 14:
            break
        if data[used:used + 14].lower() != b"*2\r\n$3\r\nget\r\n$":
            raise Garbled(bytes(data[used:used + 40]))
        end = data.find(b"\r\n", used + 14)
        if end < 0:
            break
        end += 2 + int(data[used + 14:end]) + 2
        if end > len(data):
            break
        used = end
        count += 1
    return b"$%d\r\n%0*d\r\n" % (DIGITS, DIGITS, number) * count, used


def memcache_answer(data, number):
    """As redis_answer."""
    used = data.rfind(b"\n") + 1
    answer = []
    for line in bytes(data[:used]).splitlines():
        verb, _, key = line.partition(b" ")
        if verb != b"get" or not key:
            raise Garbled(line[:40])
        answer.append(b"VALUE %s 0 %d\r\n%0*d\r\nEND\r\n" % (key, DIGITS, DIGITS, number))
    return b"".join(answer), used


class Connection:
    def __init__(self, sock, number):
        self.sock = sock
        self.number = number
        self.data = bytearray()

    def ready(self):
        """Reads and answers; False when the connection is over."""
        try:
            more = self.sock.recv(1 << 18)
            if not more:
                return False
            self.data += more
            answer = redis_answer if self.data[:1] == b"*" else memcache_answer
            reply, used = answer(self.data, self.number)
            del self.data[:used]
            self.sock.sendall(reply)
            return True
        except Garbled as what:
            print(f"server {self.number} got {what}", file=sys.stderr, flush=True)
        except OSError:
            pass
        return False


def listen(wish):
    """A listening socket and its address as text, or (None, None)."""
    try:
        if wish.startswith("/"):
            sock = socket.socket(socket.AF_UNIX)
            sock.bind(wish)
            address = wish
        else:
            host, _, port = wish.partition(":")
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, int(port or 0)))
            address = f"{host}:{sock.getsockname()[1]}"
        sock.listen(512)
        return sock, address
    except OSError:
        return None, None


def serve(listeners):
    poll = select.epoll()
    things = {}
    for number, sock in enumerate(listeners):
        if sock is not None:
            things[sock.fileno()] = (number, sock)
            poll.register(sock, select.EPOLLIN)
    poll.register(0, select.EPOLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd == 0:
                return
            thing = things[fd]
            if isinstance(thing, tuple):
                sock, _ = thing[1].accept()
                things[sock.fileno()] = Connection(sock, thing[0])
                poll.register(sock, select.EPOLLIN)
            elif not thing.ready():
                del things[fd]
                thing.sock.close()


def main():
    wishes = json.loads(sys.stdin.readline())
    have = [listen(wish) for wish in wishes]
    print(json.dumps([address for _, address in have]), flush=True)
    serve([sock for sock, _ in have])


class Servers:
    """The program above as a child. `addresses[number]` is a server's address, or None."""

    def __init__(self, wishes, folder):
        self.errors = Path(folder) / "servers.err"
        with open(self.errors, "wb") as err:
            self.process = subprocess.Popen([sys.executable, os.path.abspath(__file__)],
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            stderr=err)
        self.process.stdin.write(json.dumps(wishes).encode() + b"\n")
        self.process.stdin.flush()
        self.addresses = json.loads(self.process.stdout.readline())

    def complaints(self):
        """What the servers had to say about the proxies."""
        return self.errors.read_text(errors="replace")

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(10)


if __name__ == "__main__":
    main()
