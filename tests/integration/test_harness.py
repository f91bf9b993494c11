# SPDX-License-Identifier: BSD-3-Clause
"""The harness itself: servers start, stop and restart; raw sockets see what was sent."""

import harness
import pytest


def test_free_ports_differ():
    ports = {harness.free_port() for _ in range(50)}
    assert len(ports) == 50


@pytest.mark.parametrize("unix", [False, True])
def test_redis_lives_and_restarts(redis_servers, unix):
    server, = redis_servers(1, unix=unix)
    assert server.client().set("a", "1")
    server.restart()
    assert server.client().get("a") is None
    server.kill()
    assert not server.running()


@pytest.mark.parametrize("unix", [False, True])
def test_memcached_lives_and_restarts(memcached_servers, unix):
    server, = memcached_servers(1, unix=unix)
    assert server.client().set("a", b"1", noreply=False)
    server.restart()
    assert server.client().get("a") is None


def test_paused_server_is_silent_and_comes_back(redis_server):
    with harness.Raw(redis_server.port) as conn:
        redis_server.pause()
        conn.send(b"PING\r\n")
        assert conn.recv_all(0.2) == b""
        redis_server.resume()
        assert conn.recv_until() == b"+PONG\r\n"


def test_raw_reads_replies_and_sees_the_end(fake_server):
    def handler(conn):
        assert conn.recv_exact(3) == b"one"
        conn.send(b"*2\r\n$1\r\na\r\n*1\r\n:5\r\nrest")

    server = fake_server(handler)
    with harness.Raw(server.port) as conn:
        conn.send(b"one")
        assert conn.recv_reply() == b"*2\r\n$1\r\na\r\n*1\r\n:5\r\n"
        assert conn.closed()
        assert conn.recv_all() == b"rest"
    assert server.received == [b"one"]


@pytest.mark.parametrize("unix", [False, True])
def test_fake_server_records_each_connection(fake_server, unix):
    server = fake_server(unix=unix)
    for text in (b"first", b"second"):
        with harness.Raw(server.path or server.port) as conn:
            conn.send(text)
        harness.wait_for(lambda text=text: bytes(server.received[-1:] and server.received[-1])
                         == text)
    assert server.received == [b"first", b"second"]


def test_fake_server_reports_a_failing_handler():
    def handler(conn):
        raise ValueError("no")

    server = harness.FakeServer(handler)
    harness.Raw(server.port).closed()
    with pytest.raises(AssertionError, match="handler failed"):
        server.stop()


def test_listen_addresses_are_found():
    assert harness.listen_addresses(
        "a:\n  listen: 127.0.0.1:7000 # x\nb: {listen: \"[::1]:7001\", redis: true}\n"
        "c:\n  listen: /tmp/s.sock 0666\n#  listen: 1.2.3.4:9\n") == [7000, 7001, "/tmp/s.sock"]


def test_proxy_in_front_of_real_servers(redis_servers, memcached_servers, cashew):
    port, cache_port = harness.free_port(), harness.free_port()
    proxy = cashew(harness.pool("alpha", port, redis_servers(2), redis=True, timeout=2000)
                   + harness.pool("beta", cache_port, memcached_servers(2), hash_tag="{}"))
    with harness.Raw(port) as conn:
        conn.send(harness.resp("SET", "k", "v") + harness.resp("GET", "k"))
        assert conn.recv_reply() == b"+OK\r\n"
        assert conn.recv_reply() == b"$1\r\nv\r\n"
    with harness.Raw(cache_port) as conn:
        assert conn.send(b"set k 0 0 1\r\nv\r\n").recv_until() == b"STORED\r\n"
    stats = proxy.stats()
    assert stats["service"] == "nutcracker" and {"alpha", "beta"} <= set(stats)
    assert proxy.stop() == (-15 if harness.is_nutcracker() else 0)


def test_a_proxy_that_cannot_start_says_why(cashew):
    with pytest.raises(harness.StartError, match="a"):
        cashew("a:\n  listen: nonsense\n")
