# SPDX-License-Identifier: BSD-3-Clause
"""The server side: how connections are made, kept, lost and given up, with real servers."""

import os
import socket
import stat
import subprocess
import time

import harness
import pytest
from harness import Raw, free_port, pool, resp, wait_for

HAS_IPV6 = os.path.exists("/proc/net/if_inet6") \
    and "00000000000000000000000000000001" in open("/proc/net/if_inet6", encoding="ascii").read()
WORKERS = int(os.environ.get("CASHEW_WORKERS") or 1)


def ask(port, *words):
    with Raw(port) as client:
        client.send(resp(*words))
        return client.recv_reply()


def server_stats(proxy, pool_name="p"):
    """The servers of a pool, by name."""
    return {name: value for name, value in proxy.stats()[pool_name].items()
            if isinstance(value, dict)}


def only_server(proxy):
    (numbers,) = server_stats(proxy).values()
    return numbers


def admin(server, **options):
    """A client of the test's own, that connections_of() does not count."""
    return server.client(client_name="admin", **options)


def connections_of(server):
    """How many clients the server has, those of the test not counted."""
    return sum(entry["name"] != "admin" for entry in admin(server).client_list())


# ---------------------------------------------------------------- where servers are

def test_unix_sockets_on_both_sides(cashew, redis_servers, memcached_servers, tmp_path):
    (redis,) = redis_servers(1, unix=True)
    (memcached,) = memcached_servers(1, unix=True)
    config = pool("p", f"{tmp_path}/redis.sock 0600", [redis], redis=True) \
        + pool("m", f"{tmp_path}/memcached.sock 0640", [memcached])
    proxy = cashew(config)
    assert stat.S_IMODE(os.stat(tmp_path / "redis.sock").st_mode) == 0o600
    assert stat.S_IMODE(os.stat(tmp_path / "memcached.sock").st_mode) == 0o640
    assert ask(tmp_path / "redis.sock", "SET", "k", "v") == b"+OK\r\n"
    assert admin(redis).get("k") == b"v"
    with Raw(tmp_path / "memcached.sock") as client:
        client.send(b"set k 0 0 1\r\nv\r\nget k\r\n")
        assert client.recv_until(b"END\r\n") == b"STORED\r\nVALUE k 0 1\r\nv\r\nEND\r\n"
    assert proxy.stop() == 0
    assert not os.path.exists(tmp_path / "redis.sock")


def test_unix_server_that_is_not_there(cashew, tmp_path):
    port = free_port()
    cashew(pool("p", port, [f"{tmp_path}/nobody:1 x"], redis=True))
    reply = ask(port, "GET", "k")
    assert reply == b"-ERR No such file or directory (server 'x')\r\n"


@pytest.mark.skipif(not HAS_IPV6, reason="this machine has no IPv6 loopback")
def test_ipv6_on_both_sides(cashew, ending):
    port, listen = free_port(), free_port()
    redis = ending.add(harness.Redis(args=["--bind", "127.0.0.1", "::1"]))
    cashew(pool("p", f"'[::1]:{listen}'", [f"'[::1]:{redis.port}:1 six'"], redis=True)
           + pool("q", port, [f"'::1:{redis.port}:1 six'"], redis=True))
    with Raw(("::1", listen)) as client:
        client.send(resp("SET", "k", "six"))
        assert client.recv_reply() == b"+OK\r\n"
    assert ask(port, "GET", "k") == b"$3\r\nsix\r\n"


def test_host_name(cashew, redis_server):
    port = free_port()
    cashew(pool("p", f"localhost:{port}", [f"localhost:{redis_server.port}:1"], redis=True))
    with Raw(("localhost", port)) as client:
        client.send(resp("SET", "k", "v"))
        assert client.recv_reply() == b"+OK\r\n"
    assert admin(redis_server).get("k") == b"v"


def test_unknown_host_name(cashew, redis_server):
    port, other = free_port(), free_port()
    cashew(pool("p", port, ["no-such-host.invalid:6379:1 x"], redis=True)
           + pool("q", other, [redis_server], redis=True)
           + pool("m", memcache := free_port(), ["no-such-host.invalid:11211:1 y"]))
    assert ask(port, "GET", "k").startswith(b"-ERR Host is down (server 'x': ")
    assert ask(other, "PING") == b"+PONG\r\n"
    with Raw(memcache) as client:
        client.send(b"get k\r\n")
        assert client.recv_until().startswith(b"SERVER_ERROR Host is down (server 'y': ")


# ---------------------------------------------------------------- when connections are made

def test_lazy_or_preconnect(cashew, redis_servers):
    lazy, eager = redis_servers(2)
    port = free_port()
    proxy = cashew(pool("p", port, [lazy], redis=True)
                   + pool("q", free_port(), [eager], redis=True, preconnect=True))
    wait_for(lambda: connections_of(eager) == WORKERS, what="connections before any request")
    assert connections_of(lazy) == 0
    assert proxy.stats()["p"]["client_connections"] == 0
    ask(port, "GET", "k")
    assert connections_of(lazy) == 1


def test_preconnect_to_a_server_that_is_not_there(cashew):
    port = free_port()
    proxy = cashew(pool("p", port, [free_port()], redis=True, preconnect=True))
    wait_for(lambda: "Connection refused" in proxy.log(), what="the log of the failure")
    assert ask(port, "PING") == b"+PONG\r\n"


def test_server_connections(cashew, redis_server):
    port = free_port()
    proxy = cashew(pool("p", port, [redis_server], redis=True, server_connections=3))
    clients = [Raw(port) for _ in range(9)]
    for client in clients:
        client.send(resp("INCR", "n") * 20)
    for client in clients:
        numbers = [int(client.recv_reply()[1:]) for _ in range(20)]
        assert numbers == sorted(numbers)
        client.close()
    assert connections_of(redis_server) in range(3, 3 * WORKERS + 1)
    assert only_server(proxy)["server_connections"] == connections_of(redis_server)
    assert admin(redis_server).get("n") == b"180"


def test_all_clients_share_one_connection(cashew, redis_server):
    port = free_port()
    proxy = cashew(pool("p", port, [redis_server], redis=True), args=["--workers=1"])
    clients = [Raw(port) for _ in range(40)]
    for i, client in enumerate(clients):
        client.send(b"".join(resp("SET", f"k{i}", f"{i}:{j}") + resp("GET", f"k{i}")
                             for j in range(25)))
    for i, client in enumerate(clients):
        for j in range(25):
            value = f"{i}:{j}".encode()
            assert client.recv_reply() == b"+OK\r\n"
            assert client.recv_reply() == b"$%d\r\n%s\r\n" % (len(value), value)
    assert connections_of(redis_server) == 1
    assert only_server(proxy)["server_connections"] == 1
    assert only_server(proxy)["requests"] == only_server(proxy)["responses"] == 2000
    for client in clients:
        client.close()


def test_two_workers(cashew, redis_servers):
    servers = redis_servers(2)
    port = free_port()
    proxy = cashew(pool("p", port, servers, redis=True, hash="md5"), args=["--workers=2"])
    clients = [Raw(port) for _ in range(20)]
    for i, client in enumerate(clients):
        client.send(b"".join(resp("SET", f"k{i}:{j}", f"{i}-{j}") for j in range(100)))
    for client in clients:
        assert client.recv_exact(500) == b"+OK\r\n" * 100
    for i, client in enumerate(clients):
        client.send(resp("MGET", *[f"k{i}:{j}" for j in range(100)]))
    for i, client in enumerate(clients):
        values = client.recv_reply().split(b"\r\n")[2::2]
        assert values == [f"{i}-{j}".encode() for j in range(100)]
    assert all(connections_of(server) == 2 for server in servers)
    assert proxy.stats()["p"]["client_connections"] == 20
    for client in clients:
        client.close()
    assert proxy.stop() == 0


def test_several_pools_do_not_mix(cashew, redis_servers, memcached_servers):
    one, two = redis_servers(2)
    (memcached,) = memcached_servers(1)
    ports = [free_port() for _ in range(3)]
    proxy = cashew(pool("one", ports[0], [one], redis=True)
                   + pool("two", ports[1], [two], redis=True)
                   + pool("three", ports[2], [memcached]))
    for port, value in zip(ports[:2], ("1", "2")):
        assert ask(port, "SET", "k", value) == b"+OK\r\n"
    with Raw(ports[2]) as client:
        client.send(b"set k 0 0 1\r\n3\r\n")
        assert client.recv_until() == b"STORED\r\n"
    assert (admin(one).get("k"), admin(two).get("k")) == (b"1", b"2")
    assert memcached.client().get("k") == b"3"
    one.kill()
    assert ask(ports[0], "GET", "k").startswith(b"-ERR ")
    assert ask(ports[1], "GET", "k") == b"$1\r\n2\r\n"
    stats = proxy.stats()
    assert [stats[name]["forward_error"] for name in ("one", "two", "three")] == [1, 0, 0]


# ---------------------------------------------------------------- password and database

def authenticated(port, password="secret"):
    client = Raw(port)
    client.send(resp("AUTH", password))
    assert client.recv_reply() == b"+OK\r\n"
    return client


def test_password_and_database(cashew, ending):
    redis = ending.add(harness.Redis(args=["--requirepass", "secret"]))
    port = free_port()
    cashew(pool("p", port, [redis], redis=True, redis_auth="secret", redis_db=5))
    with Raw(port) as client:
        client.send(resp("SET", "k", "v"))
        assert client.recv_reply() == b"-NOAUTH Authentication required.\r\n" \
            or pytest.fail("a client without the password was served")
    with authenticated(port) as client:
        client.send(resp("SET", "k", "v") + resp("GET", "k"))
        assert client.recv_reply() + client.recv_reply() == b"+OK\r\n$1\r\nv\r\n"
    assert admin(redis, password="secret", db=5).get("k") == b"v"
    assert admin(redis, password="secret", db=0).dbsize() == 0


def test_wrong_password_fails_closed(cashew, ending):
    redis = ending.add(harness.Redis(args=["--requirepass", "other"]))
    port = free_port()
    proxy = cashew(pool("p", port, [redis], redis=True, redis_auth="secret", redis_db=5))
    with authenticated(port) as client:
        for _ in range(3):
            client.send(resp("SET", "k", "v"))
            assert client.recv_reply().startswith(
                b"-ERR Invalid argument (server '127.0.0.1:%d' refused the connection: -WRONGPASS"
                % redis.port)
    for db in (0, 5):
        assert admin(redis, password="other", db=db).dbsize() == 0
    assert "WRONGPASS" in proxy.log()
    admin(redis, password="other").config_set("requirepass", "secret")
    with authenticated(port) as client:
        def served():
            client.send(resp("SET", "k", "v"))
            return client.recv_reply() == b"+OK\r\n"
        wait_for(served, what="service after the password was mended")


def test_server_without_password_fails_closed(cashew, redis_server):
    port = free_port()
    cashew(pool("p", port, [redis_server], redis=True, redis_auth="secret"))
    with authenticated(port) as client:
        client.send(resp("SET", "k", "v"))
        assert b"refused the connection: -ERR AUTH" in client.recv_reply()
    assert admin(redis_server).dbsize() == 0


def test_database_out_of_range_fails_closed(cashew, redis_server):
    port = free_port()
    cashew(pool("p", port, [redis_server], redis=True, redis_db=99))
    with Raw(port) as client:
        client.send(resp("SET", "k", "v") * 3)
        for _ in range(3):
            assert b"refused the connection: -ERR DB index" in client.recv_reply()
    assert admin(redis_server).dbsize() == 0


# ---------------------------------------------------------------- silence

def test_timeout_and_recovery(cashew, redis_server):
    port = free_port()
    proxy = cashew(pool("p", port, [f"127.0.0.1:{redis_server.port}:1 x"], redis=True,
                        timeout=400))
    admin(redis_server).mset({f"k{i}": f"v{i}" for i in range(200)})
    assert ask(port, "GET", "k1") == b"$2\r\nv1\r\n"
    redis_server.pause()
    begin = time.monotonic()
    waiting = [Raw(port) for _ in range(5)]
    for i, client in enumerate(waiting):
        client.send(resp("GET", f"k{i}") * 2)
    for client in waiting:
        for _ in range(2):
            assert client.recv_reply() == b"-ERR Connection timed out (server 'x', 400 ms)\r\n"
    assert 0.39 <= time.monotonic() - begin < 1.0
    redis_server.resume()
    # No reply of the past goes to a new request, however they race.
    for i in range(200):
        client = waiting[i % 5]
        client.send(resp("GET", f"k{i}"))
        assert client.recv_reply() == b"$%d\r\nv%d\r\n" % (len(f"v{i}"), i)
    numbers = only_server(proxy)
    assert 1 <= numbers["server_timedout"] <= WORKERS
    wait_for(lambda: 1 <= connections_of(redis_server) <= WORKERS,
             what="the end of the late connections")
    for client in waiting:
        client.close()


def test_timeout_of_one_shard(cashew, redis_servers):
    servers = redis_servers(2)
    port = free_port()
    cashew(pool("p", port, [f"127.0.0.1:{s.port}:1 s{i}" for i, s in enumerate(servers)],
                redis=True, hash="md5", timeout=300))
    keys = [f"key{i}" for i in range(20)]
    assert ask(port, "MSET", *[w for k in keys for w in (k, "v")]) == b"+OK\r\n"
    servers[0].pause()
    with Raw(port) as client:
        client.send(resp("MGET", *keys) + resp("PING"))
        assert client.recv_reply() == b"-ERR Connection timed out (server 's0', 300 ms)\r\n"
        assert client.recv_reply() == b"+PONG\r\n"
        servers[0].resume()
        client.send(resp("MGET", *keys))
        assert client.recv_reply() == b"*20\r\n" + b"$1\r\nv\r\n" * 20


def test_memcached_timeout(cashew, memcached_server):
    port = free_port()
    cashew(pool("p", port, [f"127.0.0.1:{memcached_server.port}:1 x"], timeout=300))
    with Raw(port) as client:
        client.send(b"set k 0 0 1\r\nv\r\n")
        assert client.recv_until() == b"STORED\r\n"
        memcached_server.pause()
        client.send(b"get k\r\n")
        assert client.recv_until() == b"SERVER_ERROR Connection timed out (server 'x', 300 ms)\r\n"
        memcached_server.resume()
        client.send(b"get k\r\n")
        assert client.recv_until(b"END\r\n") == b"VALUE k 0 1\r\nv\r\nEND\r\n"


def full_backlog():
    """A port that never accepts: connecting to it hangs once its queue is full."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    port = listener.getsockname()[1]
    fill = []
    for _ in range(4):
        one = socket.socket()
        one.setblocking(False)
        one.connect_ex(("127.0.0.1", port))
        fill.append(one)
    return port, [listener, *fill]


def test_connect_timeout(cashew):
    dead, keep = full_backlog()
    port = free_port()
    cashew(pool("p", port, [f"127.0.0.1:{dead}:1 x"], redis=True, connect_timeout=200, timeout=5000))
    begin = time.monotonic()
    assert ask(port, "GET", "k") \
        == b"-ERR Connection timed out (server 'x' did not come up within 200 ms)\r\n"
    assert 0.15 < time.monotonic() - begin < 2
    for one in keep:
        one.close()


def test_connect_timeout_of_the_password(cashew, fake_server):
    """A server that accepts and does not take the password has that time, too."""
    silent = fake_server(lambda conn: conn.recv_all(3600))
    port = free_port()
    cashew(pool("p", port, [f"127.0.0.1:{silent.port}:1 x"], redis=True, redis_db=1,
                connect_timeout=200))
    assert ask(port, "GET", "k") \
        == b"-ERR Connection timed out (server 'x' did not come up within 200 ms)\r\n"


BUSY = """
local function now() local t = redis.call('TIME'); return t[1] * 1000 + t[2] / 1000 end
local stop = now() + tonumber(ARGV[1])
while now() < stop do end
return 'slow'
"""


@pytest.mark.parametrize("limit", [60000, 50])
def test_a_blocking_script_costs_others_no_more_than_the_timeout(cashew, ending, redis_server, limit):
    """A script blocks a server for long. Others who ask it have an error within the timeout (or the server's
    own, once it says that it is busy); those of another server feel nothing; nobody gets another's reply."""
    blocked = ending.add(harness.Redis(args=["--lua-time-limit", limit]))
    port, timeout = free_port(), 300
    proxy = cashew(pool("p", port, [f"127.0.0.1:{blocked.port}:1 x"], redis=True, timeout=timeout)
                   + pool("q", other := free_port(), [redis_server], redis=True, timeout=timeout))
    for i in range(20):
        assert ask(port, "SET", f"k{i}", f"v{i}") == b"+OK\r\n"
    assert ask(other, "SET", "k", "v") == b"+OK\r\n"
    late = b"-ERR Connection timed out (server 'x', 300 ms)\r\n"
    with Raw(port) as slow:
        slow.send(resp("EVAL", BUSY, 1, "k0", 1500))
        end = time.monotonic() + 1.2
        while time.monotonic() < end:
            clients = [Raw(port) for _ in range(10)]
            begin = time.monotonic()
            for i, client in enumerate(clients):
                client.send(resp("GET", f"k{i}") * 2)
            assert ask(other, "GET", "k") == b"$1\r\nv\r\n"
            assert time.monotonic() - begin < 0.25
            for i, client in enumerate(clients):
                for _ in range(2):
                    reply = client.recv_reply()
                    assert reply == late or reply == b"$2\r\nv%d\r\n" % i \
                        or reply.startswith(b"-BUSY")
                client.close()
            assert time.monotonic() - begin < timeout / 1000 + 0.5
        assert slow.recv_reply() == late
        # What was late is dropped, and all is in step again.
        for i in range(20):
            slow.send(resp("GET", f"k{i}"))

        def first():
            reply = slow.recv_reply()
            if reply == late:
                return None
            return reply
        replies = [first() for _ in range(20)]
    wait_for(lambda: ask(port, "GET", "k7") == b"$2\r\nv7\r\n", what="service after the script")
    for i, reply in enumerate(replies):
        assert reply is None or reply.startswith(b"-BUSY") or reply.split(b"\r\n")[1] == b"v%d" % i
    for i in range(20):
        assert ask(port, "GET", f"k{i}").split(b"\r\n")[1] == b"v%d" % i
    assert proxy.stats()["q"]["forward_error"] == 0
    wait_for(lambda: connections_of(blocked) <= WORKERS, what="the end of the late connections")


def test_one_client_too_many_for_the_server(cashew, ending):
    redis = ending.add(harness.Redis(args=["--maxclients", "1"]))
    port = free_port()
    with Raw(redis.port) as holder:
        holder.send(resp("PING"))
        assert holder.recv_reply() == b"+PONG\r\n"
        proxy = cashew(pool("p", port, [redis], redis=True))
        with Raw(port) as client:
            for _ in range(5):
                client.send(resp("GET", "k"))
                assert client.recv_reply().startswith(b"-ERR ")
    wait_for(lambda: "max number of clients" in proxy.log() or "reset by peer" in proxy.log(),
             what="the reason in the log")
    wait_for(lambda: ask(port, "GET", "k") == b"$-1\r\n", what="service")


# ---------------------------------------------------------------- names that change

def accepts(host, port):
    with socket.socket() as one:
        return one.connect_ex((host, port)) == 0


def can_unshare():
    return subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(os.geteuid() != 0 or not can_unshare(), reason="mount namespaces need root")
def test_changed_address_of_a_name(ending, tmp_path):
    """The name points elsewhere, and the server at the old address goes: no restart is needed."""
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost moving.test\n")
    old, port = ending.add(harness.Redis()), free_port()
    new = ending.add(harness.Redis(args=["--bind", "127.0.0.2", "--port", old.port], wait=False))
    wait_for(lambda: accepts("127.0.0.2", old.port), what="the other server")
    proxy = ending.add(harness.Cashew(
        pool("p", port, [f"moving.test:{old.port}:1 x"], redis=True),
        under=["unshare", "-m", "sh", "-c", f'mount --bind {hosts} /etc/hosts && exec "$@"', "sh"],
        args=harness.ONE_WORKER))
    assert ask(port, "SET", "k", "old") == b"+OK\r\n"
    hosts.write_text("127.0.0.1 localhost\n127.0.0.2 moving.test\n")
    assert ask(port, "GET", "k") == b"$3\r\nold\r\n"  # connections that stand stay
    old.kill()
    wait_for(lambda: ask(port, "GET", "k") == b"$-1\r\n", what="the new address")
    assert proxy.stop() == 0
    assert new.running()


# ---------------------------------------------------------------- death

def test_kill_and_restart(cashew, redis_server):
    port = free_port()
    proxy = cashew(pool("p", port, [redis_server], redis=True, server_retry_timeout=500))
    with Raw(port) as client:
        client.send(resp("SET", "k", "v"))
        assert client.recv_reply() == b"+OK\r\n"
        redis_server.kill()
        for _ in range(20):
            client.send(resp("GET", "k"))
            assert client.recv_reply() == b"-ERR Connection refused (server '127.0.0.1:%d')\r\n" \
                % redis_server.port
        redis_server.start()

        def back():
            client.send(resp("GET", "k"))
            return client.recv_reply() == b"$-1\r\n"
        wait_for(back, 2, "service after the restart")
    assert only_server(proxy)["server_eof"] == 1


def test_killed_with_requests_on_it(cashew, redis_server):
    port = free_port()
    cashew(pool("p", port, [redis_server], redis=True))
    with Raw(port) as client:
        client.send(resp("GET", "k"))
        client.recv_reply()
        redis_server.pause()
        client.send(resp("GET", "k") * 10 + resp("PING"))
        time.sleep(0.05)
        redis_server.kill()
        for _ in range(10):
            assert client.recv_reply() in (
                b"-ERR unknown (server '127.0.0.1:%d' closed the connection)\r\n"
                % redis_server.port,
                b"-ERR Connection reset by peer (server '127.0.0.1:%d')\r\n" % redis_server.port)
        assert client.recv_reply() == b"+PONG\r\n"


def test_idle_connection_closed_by_the_server(cashew, redis_server):
    port = free_port()
    proxy = cashew(pool("p", port, [redis_server], redis=True, auto_eject_hosts=True,
                        server_failure_limit=1))
    control = admin(redis_server)
    with Raw(port) as client:
        for i in range(5):
            client.send(resp("SET", "k", i))
            assert client.recv_reply() == b"+OK\r\n"
            eof = only_server(proxy)["server_eof"]
            for entry in control.client_list():
                if entry["cmd"] == "set":
                    control.client_kill(entry["addr"])
            wait_for(lambda: only_server(proxy)["server_eof"] == eof + 1,
                     what="the end of the connection")
    stats = proxy.stats()["p"]
    assert (stats["server_ejects"], stats["forward_error"]) == (0, 0)
    assert "ended with" not in proxy.log()


# ---------------------------------------------------------------- ejection

def failing_server(how):
    """A fake server that fails each connection in this way, after the first request."""
    def handler(conn):
        conn.recv_until(b"\r\n")
        if how == "reset":
            conn.reset()
        elif how == "silent":
            conn.recv_all(3600)
    return handler


SAYS = {"refused": b"Connection refused", "reset": b"Connection reset by peer",
        "silent": b"Connection timed out", "closed": b"unknown"}


@pytest.mark.parametrize("limit", [1, 2, 3])
@pytest.mark.parametrize("how", list(SAYS))
def test_ejection(cashew, fake_server, redis_server, how, limit):
    """The server fails so often, is ejected, and comes back after its time, if it is not asked; meanwhile its keys are on the other one."""
    bad = None if how == "refused" else fake_server(failing_server(how))
    bad_port = free_port() if bad is None else bad.port
    port = free_port()
    proxy = cashew(pool("p", port, [f"127.0.0.1:{bad_port}:1 bad",
                                    f"127.0.0.1:{redis_server.port}:1 good"],
                        redis=True, hash="md5", timeout=60, auto_eject_hosts=True,
                        server_failure_limit=limit, server_retry_timeout=500, server_probe=False))
    key = key_on(port, "bad")
    begin = time.time()
    with Raw(port) as client:
        for turn in range(1, 3):
            for _ in range(limit - (1 if turn == 1 else 0)):
                client.send(resp("GET", key))
                assert client.recv_reply().startswith(b"-ERR " + SAYS[how])
            assert proxy.stats()["p"]["server_ejects"] == turn
            client.send(resp("GET", key))
            assert client.recv_reply() == b"$-1\r\n"
            at = server_stats(proxy)["bad"]["server_ejected_at"] / 1e6
            assert begin - 1 <= at <= time.time() + 1
            wait_for(lambda: server_stats(proxy)["bad"]["ejected"] == 0, what="the return")
            assert time.time() > at + 0.45


def key_on(port, server):
    """A key whose request is answered by an error of this server: the first one that is."""
    with Raw(port) as client:
        for i in range(1000):
            client.send(resp("GET", f"k{i}"))
            reply = client.recv_reply()
            if reply.startswith(b"-") and f"'{server}'".encode() in reply:
                return f"k{i}"
    raise AssertionError(f"no key is on server {server!r}")


def test_ring_is_as_before_after_ejection(cashew, redis_servers):
    servers = redis_servers(3)
    port = free_port()
    cashew(pool("p", port, [f"127.0.0.1:{s.port}:1 s{i}" for i, s in enumerate(servers)],
                redis=True, hash="md5", auto_eject_hosts=True, server_failure_limit=1,
                server_retry_timeout=300))
    keys = [f"key{i}" for i in range(300)]
    assert ask(port, "MSET", *[w for k in keys for w in (k, k)]) == b"+OK\r\n"
    held = [set(admin(s).keys()) for s in servers]
    servers[1].kill()
    lost = held[1].copy()
    with Raw(port) as client:
        client.send(resp("GET", next(iter(lost))))
        assert client.recv_reply().startswith(b"-ERR ")
        # Only the keys of the dead one move.
        client.send(resp("MGET", *keys))
        values = client.recv_reply().split(b"\r\n")
        assert values.count(b"$-1") == len(lost)
        servers[1].start()
        time.sleep(0.31)
        client.send(resp("MSET", *[w for k in keys for w in (k, k)]))
        assert client.recv_reply() == b"+OK\r\n"
    assert set(admin(servers[1]).keys()) == held[1]


def test_all_ejected(cashew):
    ports = [free_port(), free_port()]
    port = free_port()
    cashew(pool("p", port, [f"127.0.0.1:{p}:1" for p in ports], redis=True, hash="md5",
                auto_eject_hosts=True, server_failure_limit=1, server_retry_timeout=30000))
    keys = [f"key{i}" for i in range(20)]
    with Raw(port) as client:
        replies = []
        for key in keys:
            client.send(resp("GET", key))
            replies.append(client.recv_reply())
        assert all(reply.startswith(b"-ERR Connection refused (") for reply in replies)
        assert replies[-1] == b"-ERR Connection refused (all servers of pool 'p' are ejected)\r\n"
        client.send(resp("MGET", *keys) + resp("PING"))
        assert client.recv_reply() == replies[-1]
        assert client.recv_reply() == b"+PONG\r\n"


# ---------------------------------------------------------------- beside twemproxy

NUTCRACKER = next((p for p in ("/usr/sbin/nutcracker", "/usr/bin/nutcracker")
                   if os.path.exists(p)), None)


class Nutcracker(harness.Program):
    """Debian's nutcracker, with the same config."""

    def __init__(self, config, port):
        super().__init__("nutcracker")
        (self.dir / "conf.yml").write_text(config)
        self.stats_port = free_port()
        self.addresses = [port, self.stats_port]
        self.start()

    def command(self):
        return [NUTCRACKER, "-c", self.dir / "conf.yml", "-s", self.stats_port, "-a", "127.0.0.1",
                "-i", "20", "-o", self.dir / "log"]

    def stats(self):
        return harness.Cashew.stats(self)


def ejection_story(port, stats, servers):
    """What a client sees while a server dies and comes back: the first words of each reply."""
    told = []
    keys = [f"key{i}" for i in range(12)]
    with Raw(port) as client:
        def look():
            for key in keys:
                client.send(resp("GET", key))
                told.append(client.recv_reply().split(b" (")[0].strip())
        look()
        servers[0].kill()
        look()
        look()
        wait_for(lambda: stats()["p"]["server_ejects"] == 1, what="the ejection in the stats")
        servers[0].start()
        time.sleep(0.45)
        look()
    return told


@pytest.mark.skipif(NUTCRACKER is None, reason="Debian's nutcracker is not installed")
@pytest.mark.parametrize("limit", [1, 2])
def test_ejection_beside_nutcracker(cashew, ending, redis_servers, limit):
    """A server dies and comes back: every reply is as nutcracker's, but for one: the end of an idle
    connection is its first failure to nutcracker, and none to us."""
    servers = redis_servers(2)
    told = []
    for start in (lambda config, _: cashew(config),
                  lambda config, port: ending.add(Nutcracker(config, port))):
        for server in servers:
            admin(server).flushall()
            value = "a" if server is servers[0] else "b"
            admin(server).mset({f"key{i}": value for i in range(12)})
        port = free_port()
        proxy = start(pool("p", port, [f"127.0.0.1:{s.port}:1 s{i}"
                                       for i, s in enumerate(servers)], redis=True, hash="md5",
                           auto_eject_hosts=True, server_failure_limit=limit,
                           server_retry_timeout=400), port)
        told.append(ejection_story(port, proxy.stats, servers))
        proxy.kill()
    ours, theirs = told
    errors = [sum(isinstance(t, bytes) and t.startswith(b"-") for t in story) for story in told]
    assert errors == [limit, limit - 1]
    assert ours[:12] == theirs[:12]
    assert ours[24:] == theirs[24:]  # all on the other server, and then as before
