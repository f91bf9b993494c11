# SPDX-License-Identifier: BSD-3-Clause
"""The benchmark: its load generator finds every kind of wrong reply, and `./dev bench` goes all
the way to its tables. What it measures is nobody's business here."""

import json
import os
import subprocess
import time
import xml.etree.ElementTree
from pathlib import Path

import harness
import pytest

BINARY = Path(os.environ.get("CASHEW_BIN") or harness.ROOT / "build" / "cashew").resolve()
ASKED = b"*2\r\n$3\r\nGET\r\n$12\r\nkey:00000000\r\n"

pytestmark = [
    pytest.mark.skipif(not (BINARY.parent / "build.ninja").exists(),
                       reason="the binary is not in a build folder, where its tools are"),
    pytest.mark.skipif("CASHEW_SANITIZED" in os.environ, reason="a sanitized build is not measured"),
]


@pytest.fixture(scope="module")
def load():
    """load(argument...) -> what the load generator found."""
    subprocess.run(["ninja", "-C", str(BINARY.parent), "bench/load"], check=True,
                   stdout=subprocess.DEVNULL)

    def call(*arguments):
        done = subprocess.run([str(BINARY.parent / "bench" / "load"), *map(str, arguments)],
                              check=True, stdout=subprocess.PIPE, text=True, timeout=60)
        return json.loads(done.stdout) if done.stdout else None
    return call


def bulk(value):
    return b"$%d\r\n%s\r\n" % (len(value), value)


# How a server may answer two pipelined gets of which it knows the right values, and what the load
# generator must say of it.
ANSWERS = {
    "right": (lambda one, two: bulk(one) + bulk(two), ""),
    "swapped": (lambda one, two: bulk(two) + bulk(one), "a value that is not the key's"),
    "last byte": (lambda one, two: bulk(one) + bulk(two[:-1] + bytes([two[-1] ^ 1])),
                  "a value that is not the key's"),
    "too short": (lambda one, two: bulk(one) + bulk(two[:-1]), "a value of another length"),
    "miss": (lambda one, two: bulk(one) + b"$-1\r\n", "a miss"),
    "error": (lambda one, two: bulk(one) + b"-ERR no\r\n", "an error reply"),
    "garbage": (lambda one, two: bulk(one) + b"?\r\n", "a line that can't stand here"),
    "one too many": (lambda one, two: bulk(one) + bulk(two) + bulk(one), "nobody asked for"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_wrong_replies_are_found(load, redis_server, fake_server, name):
    answer, complaint = ANSWERS[name]
    data = ["--keys", 1000, "--size", 40]
    load(*data, "--fill", "--target", f"127.0.0.1:{redis_server.port}")
    right = redis_server.client()

    def handler(conn):
        # The first get of a connection comes alone; pairs follow.
        key = conn.recv_exact(len(ASKED))[-14:-2]
        conn.send(bulk(right.get(key)))
        while not conn.closed(0):
            both = conn.recv_exact(2 * len(ASKED))
            keys = both[len(ASKED) - 14:len(ASKED) - 2], both[-14:-2]
            conn.send(answer(*(right.get(key) for key in keys)))

    def forgiving(conn):
        try:
            handler(conn)
        except (AssertionError, OSError, EOFError):
            pass  # the load generator has left in the middle

    found = load(*data, "--gets", 1, "--sets", 0, "--clients", 1, "--pipeline", 2, "--warm-up", 0,
                 "--measure", 200, "--target", f"127.0.0.1:{fake_server(forgiving).port}")
    assert complaint in found["first_error"]
    assert (found["errors"] == 0) == (complaint == "")


@pytest.mark.parametrize("rate", [0, 2000])
@pytest.mark.parametrize("protocol", ["redis", "memcache"])
def test_real_servers_answer_right(load, redis_server, memcached_server, protocol, rate):
    port = redis_server.port if protocol == "redis" else memcached_server.port
    data = ["--protocol", protocol, "--keys", 200, "--target", f"127.0.0.1:{port}"]
    load(*data, "--fill")
    found = load(*data, "--clients", 5, "--pipeline", 3, "--count", 20, "--rate", rate,
                 "--warm-up", 50, "--measure", 300)
    assert (found["errors"], found["first_error"]) == (0, "")
    assert found["requests"] > 0
    assert 0 < found["p50_us"] <= found["p99_us"] <= found["p999_us"] <= found["max_us"]


def test_a_late_reply_delays_those_that_were_due_behind_it(load, redis_server, fake_server):
    """Coordinated omission: a server that stands still for a second is late for everything that
    was due in that second, not once for each client."""
    load("--keys", 1, "--fill", "--target", f"127.0.0.1:{redis_server.port}")
    value = bulk(redis_server.client().get("key:00000000"))

    def handler(conn):
        try:
            for i in range(10000):
                conn.recv_exact(len(ASKED))
                if i == 100:
                    time.sleep(1)
                conn.send(value)
        except (AssertionError, OSError, EOFError):
            pass  # the load generator has left

    found = load("--keys", 1, "--gets", 1, "--sets", 0, "--clients", 1, "--rate", 1000,
                 "--warm-up", 0, "--measure", 2000, "--target",
                 f"127.0.0.1:{fake_server(handler).port}")
    # Of the 2,000 due, 1,000 waited half a second on average.
    assert found["p99_us"] > 500000
    assert found["errors"] == 0


def test_the_whole_benchmark_runs(tmp_path):
    files = {name: tmp_path / f"out.{name}" for name in ("json", "markdown", "plot")}
    done = subprocess.run(
        ["/usr/bin/python3", str(harness.ROOT / "bench" / "bench.py"), "--quick", "--repeats", "1",
         "--scenario", "s0,s8m", "--add",
         f"again={BINARY} -c {{conf}} -s {{stats}} -a {{host}} -o {{log}}",
         *[part for name, path in files.items() for part in (f"--{name}", str(path))]],
        env={**os.environ, "CASHEW_BIN": str(BINARY)}, check=False, timeout=90, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    result = json.loads(files["json"].read_text())
    assert [scenario["name"] for scenario in result["scenarios"]] == ["s0", "s8m"]
    for scenario in result["scenarios"]:
        cpu = {row["candidate"]: row["cpu"] for row in scenario["summary"]}
        assert {"direct", "cashew", "again"} <= set(cpu)
        assert cpu["cashew"][0] > 0 and cpu["direct"] is None
        assert scenario["name"] + ":" in files["markdown"].read_text()
    assert xml.etree.ElementTree.parse(files["plot"]).getroot().tag.endswith("svg")


def test_workers_and_loops_are_compared(tmp_path):
    """Each number of workers and each loop is a candidate, what it costs is related to the first
    one, and with four clients no worker is idle."""
    out = tmp_path / "out.json"
    done = subprocess.run(
        ["/usr/bin/python3", str(harness.ROOT / "bench" / "bench.py"), "--quick", "--repeats", "1",
         "--scenario", "w4", "--workers", "1,2", "--io", "epoll", "--json", str(out)],
        env={**os.environ, "CASHEW_BIN": str(BINARY)}, check=False, timeout=90, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    (scenario,) = json.loads(out.read_text())["scenarios"]
    rows = {row["candidate"]: row for row in scenario["summary"]}
    assert rows["cashew"]["cpu_of_ours"] == [1, 1, 1]
    assert rows["cashew-w2"]["cpu_of_ours"][0] > 0
    assert rows["cashew-w2"]["rps_of_direct"][0] > 0
    assert [rows[name]["busy"][0] for name in ("cashew", "cashew-w2")] == [1, 2]
