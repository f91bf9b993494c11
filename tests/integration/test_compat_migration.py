# SPDX-License-Identifier: BSD-3-Clause
"""The day of the change: a machine on which nutcracker runs, with its config, its start script's
flags, its data and the script that watches it. nutcracker ends, cashew begins in its place."""

import json
import os
import re
import signal
import socket
import subprocess
import textwrap
import time

import harness
import pytest
import redis
from compat import NUTCRACKER, needs_nutcracker
from pymemcache.client.base import Client
from harness import free_port, wait_for

pytestmark = needs_nutcracker

CONFIG = """\
alpha:
  listen: 127.0.0.1:{alpha}
  hash: fnv1a_64
  hash_tag: "{{}}"
  distribution: ketama
  auto_eject_hosts: true
  redis: true
  server_retry_timeout: 2000
  server_failure_limit: 1
  timeout: 400
  servers:
   - 127.0.0.1:{r0}:1
   - 127.0.0.1:{r1}:2
   - 127.0.0.1:{r2}:1 named

beta:
  listen: 127.0.0.1:{beta}
  hash: crc32a
  distribution: modula
  preconnect: true
  server_connections: 2
  servers:
   - 127.0.0.1:{m0}:1
   - 127.0.0.1:{m1}:3

gamma:
  listen: {path} 0666
  hash: murmur
  distribution: ketama
  timeout: 1000
  backlog: 1024
  redis: true
  redis_db: 2
  servers:
   - 127.0.0.1:{r0}:1 one
   - 127.0.0.1:{r1}:1 two
"""

# As people have written them: for a line of JSON that comes upon a connect, with twemproxy's names.
WATCH = textwrap.dedent("""\
    import json, socket, sys
    def fetch(host, port):
        data = b""
        conn = socket.create_connection((host, int(port)), 5)
        while True:
            buf = conn.recv(1024)
            if not buf: break
            data += buf
        conn.close()
        return json.loads(data.decode())
    stats = fetch("127.0.0.1", sys.argv[1])
    for pool in sorted(k for k in stats if isinstance(stats[k], dict)):
        p = stats[pool]
        print("nutcracker_pool", pool, p["client_eof"] >= 0, p["client_err"] >= 0,
              p["client_connections"], p["server_ejects"], p["forward_error"])
        for server in sorted(k for k in p if isinstance(p[k], dict)):
            s = p[server]
            print("nutcracker_server", pool, server, s["server_eof"], s["server_err"],
                  s["server_timedout"], s["server_connections"] > 0, s["requests"],
                  s["responses"], s["in_queue"], s["out_queue"])
    print(stats["service"], stats["source"], stats["uptime"] >= 0, stats["timestamp"] > 0,
          stats["total_connections"] > 0, stats["curr_connections"] > 0, stats["version"] != "")
""")


class Machine:
    """What runs there, and how its init script starts a proxy: in the background, with a pid file
    and a log."""

    def __init__(self, ending, folder):
        self.folder = folder
        self.redis = [ending.add(harness.Redis()) for _ in range(3)]
        self.memcached = [ending.add(harness.Memcached()) for _ in range(2)]
        self.alpha, self.beta, self.stats_port = free_port(), free_port(), free_port()
        self.path = str(folder / "gamma.sock")
        self.config = folder / "nutcracker.yml"
        self.config.write_text(CONFIG.format(
            alpha=self.alpha, beta=self.beta, path=self.path,
            **{f"r{i}": s.port for i, s in enumerate(self.redis)},
            **{f"m{i}": s.port for i, s in enumerate(self.memcached)}))
        self.pid_file = folder / "proxy.pid"
        self.pid = None
        ending.add(self)

    def start(self, program):
        environment = harness.sanitizer_environment(self.folder)
        subprocess.run([*program, "-d", "-c", self.config, "-s", str(self.stats_port),
                        "-a", "127.0.0.1", "-i", "50", "-m", "16384", "-v", "5",
                        "-p", self.pid_file, "-o", self.folder / "proxy.log"],
                       check=True, timeout=15, env=environment, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        addresses = [self.alpha, self.beta, self.path, self.stats_port]
        wait_for(lambda: all(harness.is_listening(address) for address in addresses))
        self.pid = int(wait_for(lambda: self.pid_file.exists() and self.pid_file.read_text()))

    def stop(self):
        if self.pid is None:
            return
        os.kill(self.pid, signal.SIGTERM)
        wait_for(lambda: not self.alive(), timeout=15, what="the end of the proxy")
        self.pid = None
        self.pid_file.unlink(missing_ok=True)  # as its init script does; nutcracker leaves it

    def alive(self):
        """A zombie of the background counts as dead, whoever has to reap it."""
        try:
            with open(f"/proc/{self.pid}/stat", encoding="ascii") as stat:
                return stat.read().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    close = stop

    def clients(self):
        silent = harness.silent_redis_py()
        return (redis.Redis(port=self.alpha, socket_timeout=10, **silent),
                Client(("127.0.0.1", self.beta), timeout=10, default_noreply=False),
                redis.Redis(unix_socket_path=self.path, socket_timeout=10, **silent))

    def watch(self):
        script = self.folder / "watch.py"
        script.write_text(WATCH)
        return subprocess.run(["/usr/bin/python3", script, str(self.stats_port)], check=True,
                              capture_output=True, text=True, timeout=15).stdout


KEYS = [f"user:{i}" for i in range(400)] + [f"{{tag{i % 7}}}:{i}" for i in range(100)] \
    + ["", "schlüssel", "key with spaces", "k" * 1000]
MEMCACHE_KEYS = [f"page:{i}" for i in range(500)]


def fill(machine):
    alpha, beta, gamma = machine.clients()
    for key in KEYS:
        assert alpha.set(key, "alpha " + key)
    for key in MEMCACHE_KEYS:
        assert beta.set(key, "beta " + key)
    assert gamma.mset({key: "gamma " + key for key in KEYS})
    alpha.rpush("list", *range(100))
    alpha.hset("hash", mapping={f"f{i}": i for i in range(100)})
    alpha.zadd("zset", {f"m{i}": i for i in range(100)})
    for client in (alpha, beta, gamma):
        client.close()


def check(machine):
    """Every key of every pool, one by one and together."""
    alpha, beta, gamma = machine.clients()
    for key in KEYS:
        assert alpha.get(key) == b"alpha " + key.encode(), key
    assert alpha.mget(KEYS) == [b"alpha " + key.encode() for key in KEYS]
    for key in MEMCACHE_KEYS:
        assert beta.get(key) == b"beta " + key.encode(), key
    assert len(beta.get_many(MEMCACHE_KEYS)) == len(MEMCACHE_KEYS)
    assert gamma.mget(KEYS) == [b"gamma " + key.encode() for key in KEYS]
    assert alpha.lrange("list", 0, -1) == [b"%d" % i for i in range(100)]
    assert len(alpha.hgetall("hash")) == 100
    assert alpha.zcard("zset") == 100
    for client in (alpha, beta, gamma):
        client.close()


def sizes(machine):
    return [s.client(db=db).dbsize() for s in machine.redis for db in (0, 2)] \
        + [int(s.client().stats()[b"curr_items"]) for s in machine.memcached]


def settled_watch(machine):
    """What the script says once all is counted: twemproxy's numbers are an interval old."""
    before = None
    for _ in range(100):
        now = machine.watch()
        if now == before:
            return now
        before = now
        time.sleep(0.1)
    raise AssertionError("the numbers do not come to rest")


@pytest.fixture
def machine(ending, tmp_path):
    return Machine(ending, tmp_path)


def test_change_and_roll_back(machine, tmp_path):
    theirs = [NUTCRACKER]
    ours = harness.base_command()
    machine.start(theirs)
    fill(machine)
    before = sizes(machine)
    check(machine)
    machine.stop()

    # The config is looked at before anything is stopped; here both can be asked.
    for program in (theirs, ours):
        answer = subprocess.run([*program, "-t", "-c", machine.config], capture_output=True,
                                text=True, timeout=15, check=True)
        assert answer.stderr.endswith(f"configuration file '{machine.config}' syntax is ok\n")

    # The same traffic through a fresh process of each: the script says the same of both.
    said = []
    for program in (theirs, ours):
        machine.start(program)
        check(machine)
        said.append(settled_watch(machine))
        machine.stop()
        assert sizes(machine) == before
    assert said[1] == said[0]
    assert said[1].count("nutcracker_server") == 7

    # Through cashew keys are written where nutcracker finds them: the way back is open.
    machine.start(ours)
    alpha, _, _ = machine.clients()
    for i in range(300):
        alpha.set(f"written by cashew:{i}", i)
    alpha.close()
    machine.stop()
    machine.start(theirs)
    check(machine)
    alpha, _, _ = machine.clients()
    assert [int(v) for v in alpha.mget([f"written by cashew:{i}" for i in range(300)])] \
        == list(range(300))
    alpha.close()


def test_statistics_by_other_tools(machine):
    """netcat, and a regular expression over the text."""
    machine.start(harness.base_command())
    fill(machine)
    with socket.create_connection(("127.0.0.1", machine.stats_port), 10) as sock:
        text = b"".join(iter(lambda: sock.recv(65536), b"")).decode()
    assert text.startswith("{\"service\":\"nutcracker\", \"source\":\"") and text.endswith("}\n")
    assert re.search(r'"alpha": \{"client_eof":\d+, "client_err":\d+, "client_connections":', text)
    assert re.search(r'"named": \{"server_eof":\d+', text)
    stats = json.loads(text)
    assert [name for name in stats if isinstance(stats[name], dict)] == ["beta", "alpha", "gamma"]


def test_one_after_the_other(machine, ending):
    """While some machines still run nutcracker and others run cashew, all see the same keys."""
    machine.start([NUTCRACKER])
    fill(machine)
    second = free_port()
    text = machine.config.read_text()
    ours = text.replace(f"127.0.0.1:{machine.alpha}\n", f"127.0.0.1:{second}\n") \
        .replace(f"127.0.0.1:{machine.beta}\n", f"127.0.0.1:{free_port()}\n") \
        .replace(machine.path, machine.path + "2")
    ending.add(harness.Cashew(ours))
    old, new = machine.clients()[0], redis.Redis(port=second, socket_timeout=10)
    assert new.mget(KEYS) == [b"alpha " + key.encode() for key in KEYS]
    for i in range(200):
        writer, reader = (old, new) if i % 2 else (new, old)
        writer.set(f"both:{i}", i)
        assert reader.get(f"both:{i}") == b"%d" % i
        reader.incr("count")
    assert old.get("count") == new.get("count") == b"200"
    old.close()
    new.close()
