# SPDX-License-Identifier: BSD-3-Clause
"""What the tests beside twemproxy share: the same config and the same script for Debian's
nutcracker and for cashew, one after the other, on the same servers."""

import os
import re

import harness
import pytest

NUTCRACKER = next((path for path in ("/usr/sbin/nutcracker", "/usr/bin/nutcracker")
                   if os.path.exists(path)), None)
needs_nutcracker = pytest.mark.skipif(NUTCRACKER is None,
                                      reason="Debian's nutcracker is not installed")


class Nutcracker(harness.Program):
    """Debian's nutcracker. Its statistics are summed every 20 ms."""

    def __init__(self, config, args=()):
        super().__init__("nutcracker")
        self.args = [str(arg) for arg in args]
        self.config_path = self.dir / "nutcracker.yml"
        self.config_path.write_text(config, encoding="utf-8")
        self.stats_port = harness.free_port()
        self.addresses = [*harness.listen_addresses(config), self.stats_port]
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    def command(self):
        return [NUTCRACKER, "-c", self.config_path, "-s", self.stats_port, "-a", "127.0.0.1",
                "-i", "20", "-o", self.dir / "log", *self.args]

    def log(self):
        path = self.dir / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def last_words(self):
        return super().last_words() + self.log()[-4000:]

    def stats(self):
        return harness.Cashew.stats(self)


class Side:
    """One proxy with one pool `p`."""

    def __init__(self, name, proxy, port):
        self.name = name
        self.proxy = proxy
        self.port = port
        self.ours = name == "cashew"

    def pool_stats(self):
        return self.proxy.stats()["p"]

    def settled(self, condition, what="the numbers"):
        """The numbers of the pool once they are so; twemproxy's are an interval old."""
        def look():
            numbers = self.pool_stats()
            return numbers if condition(numbers) else None
        return harness.wait_for(look, what=what)


def proxy(ending, name, config, args=()):
    """A running `nutcracker` or `cashew`, with one worker, as twemproxy has."""
    if name == "nutcracker":
        return ending.add(Nutcracker(config, args))
    return ending.add(harness.Cashew(config, args=[*args, "--workers=1"]))


def side(ending, name, servers, args=(), **keys):
    """The named proxy with a pool `p` over the servers."""
    port = harness.free_port()
    return Side(name, proxy(ending, name, harness.pool("p", port, servers, **keys), args), port)


def sides(ending, servers, **keys):
    """Both proxies, twemproxy first, before the same servers, which are called s0, s1..."""
    lines = [f"127.0.0.1:{server.port}:1 s{i}" for i, server in enumerate(servers)]
    return [side(ending, name, lines, **keys) for name in ("nutcracker", "cashew")]


def both(ending, servers, story, args=(), ours=None, **keys):
    """Lets each proxy live through `story(side)`; returns what the stories gave, theirs first. `ours` are keys that
    only cashew gets."""
    told = []
    for name in ("nutcracker", "cashew"):
        more = ours if ours and name == "cashew" else {}
        one = side(ending, name, servers, args, **keys, **more)
        told.append(story(one))
        one.proxy.kill() if name == "nutcracker" else one.proxy.stop()
    return told


# The counters of twemproxy's pools and servers, without the moments in time.
THEIRS = {"client_eof", "client_err", "client_connections", "server_ejects", "forward_error", "fragments", "server_eof",
          "server_err", "server_timedout", "server_connections", "requests", "request_bytes", "responses",
          "response_bytes", "in_queue", "in_queue_bytes", "out_queue", "out_queue_bytes"}


def numbers(stats):
    """The counters that both have, without the moments in time."""
    return {name: numbers(value) if isinstance(value, dict) else value
            for name, value in stats.items() if name in THEIRS or isinstance(value, dict)}


def first_words(reply):
    """An error line as twemproxy writes it: ours goes on in brackets with the server."""
    return re.sub(rb" \((?:server '|all servers ).*?\)(?=\r\n)", b"", reply)
