# SPDX-License-Identifier: BSD-3-Clause
"""WAIT and WAITAOF: what a client wrote through the proxy has reached the replicas of every server, or has not."""

import threading
import time

import harness
import pytest
from harness import Raw, free_port, resp


def read_reply(raw):
    """The bytes of one reply of either version of the protocol."""
    line = raw.recv_until(b"\r\n")
    if line[:1] in b"+-:_":
        return line
    count = int(line[1:-2])
    if line[:1] == b"$":
        return line + raw.recv_exact(count + 2)
    return line + b"".join(read_reply(raw) for _ in range(count * (1 + (line[:1] == b"%"))))


def ask(raw, *words):
    return read_reply(raw.send(resp(*words)))


def until(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def world(ending, cashew):
    """world(masters): that many with a replica each, behind a proxy."""

    def make(count, **keys):
        masters = [ending.add(harness.Redis(args=["--repl-diskless-sync-delay", "0"])) for _ in range(count)]
        replicas = [ending.add(harness.Redis(args=["--replicaof", "127.0.0.1", str(m.port)])) for m in masters]
        for m in masters:
            until(lambda m=m: m.client().info("replication").get("slave0", {}).get("state") == "online")
        port = free_port()
        options = {"redis": True, "timeout": 1000, "session_connections": 2, **keys}
        proxy = cashew(harness.pool("alpha", port, [f"127.0.0.1:{m.port}:1 m{i}" for i, m in enumerate(masters)],
                                    **options), args=harness.ONE_WORKER)
        return masters, replicas, port, proxy

    return make


@pytest.mark.parametrize("count, version", [(1, 2), (2, 3)])
def test_waits_for_what_was_written(world, count, version):
    masters, replicas, port, proxy = world(count)
    raw = Raw(port)
    if version == 3:
        assert ask(raw, "HELLO", 3).startswith(b"%")

    # In one go: the writes are before it.
    raw.send(b"".join(resp("SET", f"key{i}", i) for i in range(50)) + resp("WAIT", 1, 0) + resp("PING"))
    assert [read_reply(raw) for _ in range(52)] == [b"+OK\r\n"] * 50 + [b":1\r\n", b"+PONG\r\n"]
    assert sum(r.client().dbsize() for r in replicas) == 50

    # One replica stands still: what is written to its server has not reached it.
    replicas[-1].pause()
    for i in range(50):
        ask(raw, "SET", f"key{i}", "again")
    begin = time.monotonic()
    assert ask(raw, "WAIT", 1, 150) == b":0\r\n"
    assert 0.1 < time.monotonic() - begin < 1
    # Longer than `timeout`, and another client is served meanwhile.
    answer = []
    waiting = threading.Thread(target=lambda: answer.append(ask(raw, "WAIT", 1, 0)))
    waiting.start()
    other = Raw(port)
    end = time.monotonic() + 1.2
    while time.monotonic() < end:
        assert ask(other, "GET", "key1") == b"$5\r\nagain\r\n"
        time.sleep(0.1)
    assert not answer
    replicas[-1].resume()
    waiting.join(10)
    assert answer == [b":1\r\n"]

    assert ask(raw, "WAIT", 1, -1).startswith(b"-ERR")
    assert ask(raw, "WAIT", "x", 1).startswith(b"-ERR")
    assert ask(raw, "WAIT", 1).startswith(b"-ERR wrong number of arguments for 'wait'")
    # Inside a transaction nothing waits.
    raw.send(resp("MULTI") + resp("SET", "key1", 1) + resp("WAIT", 5, 0) + resp("EXEC"))
    assert [read_reply(raw) for _ in range(3)] == [b"+OK\r\n", b"+QUEUED\r\n", b"+QUEUED\r\n"]
    assert read_reply(raw).startswith(b"*2\r\n+OK\r\n:")


def test_who_goes_away_leaves_nothing_behind(world):
    masters, replicas, port, proxy = world(2)
    for r in replicas:
        r.pause()
    blocked = lambda: [int(m.client().info("clients")["blocked_clients"]) for m in masters]
    gone = [Raw(port), Raw(port)]
    for i, raw in enumerate(gone):
        ask(raw, "MSET", "a", 1, "b", 2, "c", 3, "d", 4)
        raw.send(resp("WAIT", 1, 0))
        until(lambda i=i: blocked() == [i + 1] * 2)
    # There are as many as may be.
    third = Raw(port)
    assert b"session_connections: 2" in ask(third, "WAIT", 1, 10)
    assert ask(third, "SET", "a", 2) == b"+OK\r\n"
    gone[0].close()
    gone[1].half_close()
    until(lambda: blocked() == [0, 0])
    assert ask(third, "WAIT", 1, 10) == b":0\r\n"
    # A server that dies while it is waited for.
    third.send(resp("WAIT", 1, 0))
    until(lambda: blocked() == [1, 1])
    masters[1].kill()
    until(lambda: blocked_on(masters[0]) == 1)
    for r in replicas:
        r.resume()
    assert read_reply(third).startswith(b"-ERR")
    assert ask(third, "PING") == b"+PONG\r\n"
    # Nobody waits when the process ends.
    replicas[0].pause()
    third.send(resp("WAIT", 1, 0))
    time.sleep(0.1)
    assert proxy.stop() == 0


def blocked_on(master):
    return int(master.client().info("clients")["blocked_clients"])


def test_a_user_who_may_not_is_told(world):
    masters, _, port, _ = world(1)
    masters[0].client().execute_command("ACL", "SETUSER", "bob", "on", ">pw", "+@all", "~*", "resetchannels")
    raw = Raw(port)
    assert ask(raw, "AUTH", "bob", "pw") == b"+OK\r\n"
    assert ask(raw, "SET", "a", 1) == b"+OK\r\n"
    assert ask(raw, "WAIT", 1, 10).startswith(b"-NOPERM")
