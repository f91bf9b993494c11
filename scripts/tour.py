# SPDX-License-Identifier: BSD-3-Clause
"""The short tour of `./dev run`: a few requests through cashew, and a look behind it at which
server holds which key. Plain sockets, so that what is shown is what is on the wire."""

import json
import socket

KEYS = {"ada": "1815", "grace": "1906", "alan": "1912", "edsger": "1930", "barbara": "1939",
        "dennis": "1941"}


class Surprise(RuntimeError):
    """An answer that the tour did not expect."""


class Wire:
    """One connection to a port of this machine."""

    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port), 10)
        self.reader = self.sock.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.reader.close()
        self.sock.close()

    def line(self):
        line = self.reader.readline()
        if not line.endswith(b"\r\n"):
            raise Surprise(f"the connection ended at {line!r}")
        return line[:-2].decode()

    def redis(self, *words):
        """Sends one command and returns its reply: text, number, list or None."""
        self.sock.sendall(b"*%d\r\n" % len(words) + b"".join(
            b"$%d\r\n%s\r\n" % (len(word.encode()), word.encode()) for word in words))
        return self.reply()

    def reply(self):
        line = self.line()
        kind, rest = line[0], line[1:]
        if kind == "-":
            raise Surprise(rest)
        if kind == ":":
            return int(rest)
        if kind == "$":
            return None if rest == "-1" else self.reader.read(int(rest) + 2)[:-2].decode()
        if kind == "*":
            return [self.reply() for _ in range(int(rest))]
        return rest

    def memcached(self, text, end):
        """Sends lines and returns the lines of the reply up to one of `end`."""
        self.sock.sendall(text.encode())
        lines = [self.line()]
        while lines[-1] not in end:
            if lines[-1].split()[0] in ("ERROR", "CLIENT_ERROR", "SERVER_ERROR"):
                raise Surprise(lines[-1])
            lines.append(self.line())
        return lines


def show(command, answer):
    print(f"  > {command:<44} {answer}")


def placement(ports, holds):
    """Prints which server holds which key; `holds` asks one connection for one key."""
    for port in ports:
        with Wire(port) as server:
            keys = [key for key in KEYS if holds(server, key)]
        print(f"    server on {port} holds {', '.join(keys) or 'none of them'}")


def redis_tour(name, port, server_ports):
    print(f"\npool {name}: redis, on port {port}")
    with Wire(port) as proxy:
        for key, value in KEYS.items():
            show(f"SET {key} {value}", proxy.redis("SET", key, value))
        show("GET ada", proxy.redis("GET", "ada"))
        values = proxy.redis("MGET", *KEYS)
        show("MGET " + " ".join(KEYS), " ".join(str(value) for value in values))
    if values != list(KEYS.values()):
        raise Surprise(f"MGET answered {values}")
    print("  one MGET, split by shard and joined in order; behind it:")
    placement(server_ports, lambda server, key: server.redis("EXISTS", key))


def memcached_tour(name, port, server_ports):
    print(f"\npool {name}: memcached, on port {port}")
    with Wire(port) as proxy:
        for key, value in KEYS.items():
            text = f"set {key} 0 0 {len(value)}\r\n{value}\r\n"
            show(f"set {key} 0 0 {len(value)} | {value}", proxy.memcached(text, ("STORED",))[0])
        lines = proxy.memcached("get " + " ".join(KEYS) + "\r\n", ("END",))
        show("get " + " ".join(KEYS), " ".join(lines[1:-1:2]))
    if lines[1:-1:2] != list(KEYS.values()):
        raise Surprise(f"get answered {lines}")
    print("  behind it:")
    placement(server_ports,
              lambda server, key: len(server.memcached(f"get {key}\r\n", ("END",))) > 1)


def stats_tour(port, pools):
    text = b""
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        while piece := sock.recv(65536):
            text += piece
    stats = json.loads(text)
    print(f"\nstats, on port {port}: {stats['total_connections']} connections so far")
    for name, _, _ in pools:
        for server, numbers in stats[name].items():
            if isinstance(numbers, dict):
                print(f"    {name} / {server}: {numbers['requests']} requests, "
                      f"{numbers['responses']} responses")


def walk(pools, redis_ports, memcached_ports, stats_port):
    """The whole tour; `pools` are (name, is redis, port)."""
    for name, is_redis, port in pools:
        if is_redis:
            redis_tour(name, port, redis_ports)
        else:
            memcached_tour(name, port, memcached_ports)
    stats_tour(stats_port, pools)
