# SPDX-License-Identifier: BSD-3-Clause
"""The scenarios of ./dev bench: one row each, with what the load generator is told."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scenario:
    name: str
    text: str
    memcache: bool = False
    clients: int = 50
    pipeline: int = 1
    gets: int = 1
    sets: int = 1
    count: int = 1      # keys of a get
    keys: int = 10000   # keys that there are
    size: int = 64      # bytes of a value
    rate: int = 0       # requests a second; 0: as fast as replies come
    idle: bool = False

    def data(self):
        """The options that decide what the servers must hold."""
        return ["--protocol", "memcache" if self.memcache else "redis",
                "--keys", str(self.keys), "--size", str(self.size)]

    def options(self):
        numbers = {"clients": self.clients, "pipeline": self.pipeline, "gets": self.gets,
                   "sets": self.sets, "count": self.count, "rate": self.rate}
        flags = [part for name, n in numbers.items() for part in (f"--{name}", str(n))]
        return [*self.data(), *flags, *(["--idle"] if self.idle else [])]


GET_ONLY = {"gets": 1, "sets": 0}
KEYS_100 = {"count": 100, **GET_ONLY}

SCENARIOS = [
    Scenario("s0", "one client", clients=1),
    Scenario("s1", "50 clients, pipeline 1"),
    Scenario("s2", "500 clients, pipeline 1", clients=500),
    Scenario("s3", "50 clients, pipeline 32", pipeline=32),
    Scenario("s4", "MGET of 100 keys", **KEYS_100),
    Scenario("s5", "GET of 16 KiB", keys=500, size=16 << 10, **GET_ONLY),
    Scenario("s6", "GET of 1 MiB, 16 clients", clients=16, keys=32, size=1 << 20, **GET_ONLY),
    Scenario("s7", "9,500 idle connections", clients=9500, idle=True),
    Scenario("s8", "memcached, 50 clients, pipeline 1", memcache=True),
    Scenario("s8p", "memcached, pipeline 32", memcache=True, pipeline=32),
    Scenario("s8m", "memcached, get of 100 keys", memcache=True, **KEYS_100),
    Scenario("w4", "four clients, pipeline 32", clients=4, pipeline=32),
    Scenario("s9", "20,000 requests a second, 50 clients", rate=20000),
]
