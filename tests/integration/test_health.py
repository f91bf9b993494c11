# SPDX-License-Identifier: BSD-3-Clause
"""Health: who is ejected, who is asked whether it is alive, and when it is used again."""

import threading
import time

import harness
import pytest
from harness import Raw, free_port, pool, resp, wait_for


def ask(port, *words):
    with Raw(port) as client:
        client.send(resp(*words))
        return client.recv_reply()


def line(server, name):
    return f"127.0.0.1:{server if isinstance(server, int) else server.port}:1 {name}"


def key_on(servers, port, index):
    """A key that the ring puts on this one of the (living, empty) servers."""
    for i in range(1000):
        assert ask(port, "SET", f"k{i}", "v") == b"+OK\r\n"
        if servers[index].client().delete(f"k{i}"):
            return f"k{i}"
    raise AssertionError("no key goes there")


def stats_of(proxy, name):
    return proxy.stats()["p"][name]


def pair(cashew, servers, *args, **keys):
    port = free_port()
    keys = {"redis": True, "hash": "md5", "auto_eject_hosts": True, "server_failure_limit": 1,
            "server_retry_timeout": 200, "timeout": 300} | keys
    proxy = cashew(pool("p", port, [line(s, f"s{i}") for i, s in enumerate(servers)], **keys),
                   args=list(args))
    return proxy, port


@pytest.mark.parametrize("how", ["killed", "paused"])
def test_dead_redis_costs_one_error(cashew, redis_servers, how):
    servers = redis_servers(2)
    proxy, port = pair(cashew, servers)
    key = key_on(servers, port, 0)
    servers[0].kill() if how == "killed" else servers[0].pause()
    errors = 0
    end = time.monotonic() + 2
    while time.monotonic() < end:
        errors += ask(port, "GET", key).startswith(b"-")
        time.sleep(0.02)
    # Each worker may have had a connection of its own on which it failed.
    assert 1 <= errors <= 2
    assert stats_of(proxy, "s0")["ejected"] == 1
    servers[0].start() if how == "killed" else servers[0].resume()
    back = time.monotonic()
    wait_for(lambda: stats_of(proxy, "s0")["ejected"] == 0, what="the return")
    # At most one probe that hangs, and one wait.
    assert time.monotonic() - back < 1.5
    assert ask(port, "SET", key, "again") == b"+OK\r\n"
    assert servers[0].client().get(key) == b"again"
    assert proxy.log().count("is back on the ring") == 1
    assert proxy.log().count("stays off the ring") == 1


def test_dead_memcached_comes_back(cashew, memcached_servers):
    servers = memcached_servers(2)
    proxy, port = pair(cashew, servers, redis=False)

    def gets():
        with Raw(port) as client:
            client.send(b"".join(b"get k%d\r\n" % i for i in range(20)))
            return [client.recv_until(b"\r\n") for _ in range(20)]
    assert gets() == [b"END\r\n"] * 20
    servers[0].kill()
    wait_for(lambda: stats_of(proxy, "s0")["ejected"] == 1 or not gets(), what="the ejection")
    for _ in range(10):
        assert gets() == [b"END\r\n"] * 20
        time.sleep(0.1)
    servers[0].start()
    wait_for(lambda: stats_of(proxy, "s0")["ejected"] == 0, what="the return")
    assert gets() == [b"END\r\n"] * 20


class Loading:
    """A fake redis that is loading until `ready`."""

    def __init__(self):
        self.ready = threading.Event()
        self.pings = 0
        self.lock = threading.Lock()

    def __call__(self, conn):
        while True:
            conn.recv_until(b"\r\n")
            word = conn.recv_until(b"\r\n") and conn.recv_until(b"\r\n")
            if word == b"PING\r\n":
                with self.lock:
                    self.pings += 1
            else:
                conn.recv_until(b"\r\n")
                conn.recv_until(b"\r\n")
            if not self.ready.is_set():
                conn.send(b"-LOADING Redis is loading the dataset in memory\r\n")
            else:
                conn.send(b"+PONG\r\n" if word == b"PING\r\n" else b"$3\r\nnew\r\n")


@pytest.mark.parametrize("workers", [1, 3])
def test_loading_is_not_alive(cashew, fake_server, redis_server, workers):
    """It is ejected by its checks, though it answers every request; one worker asks it."""
    loading = Loading()
    fake = fake_server(loading)
    proxy, port = pair(cashew, [fake, redis_server], f"--workers={workers}",
                       health_check_interval=100)
    wait_for(lambda: stats_of(proxy, "s0")["ejected"] == 1, what="the ejection")
    before, begin = loading.pings, time.monotonic()
    time.sleep(1.5)
    # Each wait is half to a whole retry timeout.
    assert loading.pings - before <= (time.monotonic() - begin) / 0.1 + 2
    for i in range(30):
        assert ask(port, "GET", f"k{i}") == b"$-1\r\n"
    assert stats_of(proxy, "s1")["probe_failures"] == 0
    loading.ready.set()
    wait_for(lambda: stats_of(proxy, "s0")["ejected"] == 0, what="the return")
    assert {ask(port, "GET", f"k{i}") for i in range(30)} == {b"$-1\r\n", b"$3\r\nnew\r\n"}
    assert proxy.stats()["p"]["server_ejects"] == 1
    assert "-LOADING" in proxy.log()


def test_loading_passes_to_its_client_only(cashew, fake_server, redis_server):
    loading = Loading()
    proxy, port = pair(cashew, [fake_server(loading), redis_server])
    replies = {ask(port, "GET", f"k{i}") for i in range(30)}
    assert replies == {b"$-1\r\n", b"-LOADING Redis is loading the dataset in memory\r\n"}
    assert proxy.stats()["p"]["server_ejects"] == 0


def test_checks_find_the_dead_before_clients(cashew, redis_servers):
    servers = redis_servers(2)
    proxy, port = pair(cashew, servers, health_check_interval=50)
    key = key_on(servers, port, 0)
    servers[0].kill()
    wait_for(lambda: stats_of(proxy, "s0")["ejected"] == 1, what="the ejection")
    assert ask(port, "GET", key) == b"$-1\r\n"
    assert proxy.stats()["p"]["forward_error"] == 0


def test_keys_never_move(cashew, redis_servers):
    servers = redis_servers(2)
    proxy, port = pair(cashew, servers, on_eject="fail")
    key = key_on(servers, port, 0)
    assert ask(port, "SET", key, "old") == b"+OK\r\n"
    servers[0].pause()
    wait_for(lambda: ask(port, "SET", key, "new").startswith(b"-")
             and stats_of(proxy, "s0")["ejected"] == 1, what="the ejection")
    begin = time.monotonic()
    for _ in range(20):
        assert ask(port, "GET", key) == b"-ERR Connection refused (server 's0': it is ejected)\r\n"
    assert time.monotonic() - begin < 0.25
    servers[0].resume()
    wait_for(lambda: stats_of(proxy, "s0")["ejected"] == 0, what="the return")
    assert ask(port, "GET", key) in (b"$3\r\nold\r\n", b"$3\r\nnew\r\n")
    assert servers[1].client().exists(key) == 0


def test_some_always_stay(cashew, redis_servers):
    servers = redis_servers(4)
    proxy, port = pair(cashew, servers, min_live="50%")
    for server in servers:
        server.kill()
    for i in range(100):
        assert ask(port, "GET", f"k{i}").startswith(b"-ERR Connection refused (server 's")
    assert proxy.stats()["p"]["server_ejects"] == 2
    assert "(min_live)" in proxy.log()
    for server in servers:
        server.start()
    wait_for(lambda: all(stats_of(proxy, f"s{i}")["ejected"] == 0 for i in range(4)),
             what="the return of all")
    wait_for(lambda: {ask(port, "GET", f"k{i}") for i in range(100)} == {b"$-1\r\n"},
             what="service")
