# SPDX-License-Identifier: BSD-3-Clause
"""Scripts that are called by their names: what clients have loaded through the proxy is where it is called, whatever
happened to the servers since."""

import hashlib

import harness
import pytest
from harness import Raw, free_port, pool, resp

BODY = "return redis.call('INCR', KEYS[1])"
NAME = hashlib.sha1(BODY.encode()).hexdigest()


def ask(raw, *words):
    return raw.send(resp(*words)).recv_reply()


def loads(server):
    return server.client().info("commandstats").get("cmdstat_script|load", {"calls": 0})["calls"]


@pytest.fixture
def start(redis_servers, cashew):
    def make(count, args=(), **keys):
        servers = redis_servers(count)
        port = free_port()
        cashew(pool("alpha", f"127.0.0.1:{port}", servers, redis=True, hash="murmur", hash_tag="{}",
                    server_retry_timeout=10, **keys), args=list(args))
        return servers, port

    return make


@pytest.mark.parametrize("count", [1, 3])
def test_a_server_that_lost_it_gets_it_again(start, count):
    servers, port = start(count)
    raw = Raw(port)
    keys = [f"key{i}" for i in range(12)]
    assert ask(raw, "EVALSHA", NAME, 1, "key0").startswith(b"-NOSCRIPT")
    assert ask(raw, "SCRIPT", "LOAD", BODY) == b"$40\r\n" + NAME.encode() + b"\r\n"
    for n in (1, 2):
        assert all(ask(raw, "EVALSHA", NAME, 1, key) == b":%d\r\n" % n for key in keys)
    # On a connection it is loaded once more, and then it is there.
    assert [loads(s) for s in servers] == [2] * count
    for server in servers:
        server.kill()
        server.start()
    # In one go: the order is kept, and each is done once. The name may have any case.
    other = Raw(port)
    harness.wait_for(lambda: all(ask(other, "GET", key) == b"$-1\r\n" for key in keys))
    raw.send(b"".join(resp("SET", key, 5) + resp("EVALSHA", NAME.upper(), 1, key) + resp("GET", key) for key in keys))
    for _ in keys:
        assert [raw.recv_reply() for _ in range(3)] == [b"+OK\r\n", b":6\r\n", b"$1\r\n6\r\n"]
    # Behind the proxy's back: one is told, and the next finds it again.
    for server in servers:
        server.client().script_flush()
    assert ask(raw, "EVALSHA", NAME, 1, "key0").startswith(b"-NOSCRIPT")
    assert all(ask(raw, "EVALSHA", NAME, 1, key) == b":7\r\n" for key in keys)
    # What is forgotten on purpose is gone.
    assert ask(raw, "SCRIPT", "FLUSH") == b"+OK\r\n"
    assert ask(raw, "EVALSHA", NAME, 1, "key0").startswith(b"-NOSCRIPT")
    assert ask(raw, "PING") == b"+PONG\r\n"


def test_every_worker_and_connection_knows(start):
    servers, port = start(2, args=["--workers=2"], server_connections=2)
    assert ask(Raw(port), "SCRIPT", "LOAD", BODY).startswith(b"$40")
    for server in servers:
        server.client().script_flush()
    clients = [Raw(port) for _ in range(8)]
    for raw in clients:
        assert ask(raw, "SELECT", 0) == b"+OK\r\n"
        raw.send(b"".join(resp("EVALSHA", NAME, 1, f"key{i}") for i in range(10)))
    for raw in clients:
        assert all(raw.recv_reply().startswith(b":") for _ in range(10))


def test_many_and_large_scripts_are_bounded(start):
    (server,), port = start(1)
    raw = Raw(port)
    bodies = ["return %d" % i for i in range(300)] + ["return '%s'" % ("x" * 3_000_000), "return '%s'" % ("y" * 3_000_000)]
    raw.send(b"".join(resp("SCRIPT", "LOAD", body) for body in bodies))
    names = [raw.recv_reply()[5:45].decode() for _ in bodies]
    server.client().script_flush()
    assert ask(raw, "EVALSHA", names[0], 0).startswith(b"-NOSCRIPT")
    assert ask(raw, "EVALSHA", names[-2], 0).startswith(b"-NOSCRIPT")
    assert ask(raw, "EVALSHA", names[-1], 0) == b"$3000000\r\n" + b"y" * 3_000_000 + b"\r\n"
    # What no server takes as a script does no harm.
    assert ask(raw, "SCRIPT", "LOAD", "return (").startswith(b"-ERR Error compiling script")
    assert ask(raw, "EVALSHA", hashlib.sha1(b"return (").hexdigest(), 0).startswith(b"-NOSCRIPT")
    # In a transaction, and over RESP3.
    assert ask(raw, "SCRIPT", "LOAD", BODY).startswith(b"$40")
    raw.send(resp("MULTI") + resp("EVALSHA", NAME, 1, "k") + resp("EXEC"))
    assert [raw.recv_reply() for _ in range(2)] == [b"+OK\r\n", b"+QUEUED\r\n"]
    assert raw.recv_until(b":1\r\n") == b"*1\r\n:1\r\n"
