# SPDX-License-Identifier: BSD-3-Clause
"""Clients that ask for another version of the protocol, another database or another user, on real
servers: each is served over connections of its own kind, and nobody else notices."""

import time

import pytest

import harness
from harness import Raw, free_port, pool, resp


def ask(raw, *words):
    raw.send(resp(*words))
    return raw.recv_reply()


@pytest.fixture
def shards(redis_servers):
    return redis_servers(3)


@pytest.fixture
def proxy(cashew, shards):
    """A proxy before three servers that ejects them at the first failure, so that any is seen."""
    port = free_port()
    servers = [f"127.0.0.1:{s.port}:1 s{i}" for i, s in enumerate(shards)]
    process = cashew(pool("alpha", f"127.0.0.1:{port}", servers, redis=True, hash="murmur",
                          auto_eject_hosts=True, server_failure_limit=1,
                          server_retry_timeout=60000))
    process.port = port
    return process


def test_hello_tells_of_the_servers(proxy):
    raw = Raw(proxy.port)
    reply = ask(raw, "HELLO")
    assert reply.startswith(b"*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n")
    reply = ask(raw, "HELLO", 3, "SETNAME", "me")
    assert reply.startswith(b"%7\r\n$6\r\nserver\r\n") and b"$5\r\nproto\r\n:3\r\n" in reply
    assert ask(raw, "HELLO", 2).startswith(b"*14\r\n")
    assert ask(raw, "HELLO", 4) == b"-NOPROTO unsupported protocol version\r\n"
    assert ask(raw, "PING") == b"+PONG\r\n"


RESP3_SESSION = [
    ("SET", "s", "v"), ("GET", "s"), ("GET", "none"), ("HSET", "h", "a", "1", "b", "2"),
    ("HGETALL", "h"), ("SADD", "set", "one"), ("SMEMBERS", "set"), ("ZADD", "z", "1.5", "m"),
    ("ZSCORE", "z", "m"), ("ZSCORE", "z", "none"), ("ZRANGE", "z", 0, -1, "WITHSCORES"),
    ("ZINCRBY", "z", "inf", "m"), ("LPOP", "none", 3), ("GEOADD", "g", "13.3", "38.1", "p"),
    ("GEOPOS", "g", "p", "none"), ("INCR", "s"), ("EVAL", "return {1,{2,'x'}}", 1, "s"),
    ("EVAL", "redis.setresp(3); return redis.call('HGETALL', KEYS[1])", 1, "h"),
    ("EVAL", "return {double=1.25}", 1, "s"),
    ("EVAL", "return {big_number='12345678901234567890'}", 1, "s"),
    ("EVAL", "return {map={k='v'}}", 1, "s"), ("EVAL", "redis.setresp(3); return true", 1, "s"),
    ("EVAL", "return {verbatim_string={string='t', format='txt'}}", 1, "s"),
    ("XADD", "x", "1-1", "f", "v"), ("XRANGE", "x", "-", "+"), ("XINFO", "STREAM", "x"),
    ("DEL", "s", "none"), ("EXISTS", "h", "z", "none"), ("OBJECT", "ENCODING", "h"),
    ("MEMORY", "USAGE", "none"), ("HRANDFIELD", "h", 0, "WITHVALUES"),
]


@pytest.mark.parametrize("version", [2, 3])
def test_replies_are_those_of_a_server(proxy, redis_server, version):
    """Every type of reply comes as one server gives it to a client of that version."""
    direct, through = Raw(redis_server.port), Raw(proxy.port)
    ask(direct, "HELLO", version)
    ask(through, "HELLO", version)
    for words in RESP3_SESSION:
        assert ask(through, *words) == ask(direct, *words), words


def test_joined_replies_in_both_versions(proxy):
    two, three = Raw(proxy.port), Raw(proxy.port)
    ask(three, "HELLO", 3)
    keys = [f"key{i}" for i in range(40)]
    assert ask(three, "MSET", *[w for k in keys[::2] for w in (k, k)]) == b"+OK\r\n"
    held = [b"$%d\r\n%s\r\n" % (len(k), k.encode()) for k in keys]
    for raw, null in ((two, b"$-1\r\n"), (three, b"_\r\n")):
        values = b"".join(v if i % 2 == 0 else null for i, v in enumerate(held))
        assert ask(raw, "MGET", *keys) == b"*40\r\n" + values
        assert ask(raw, "EXISTS", *keys) == b":20\r\n"
    assert ask(three, "DEL", *keys) == b":20\r\n"


def test_database_is_the_clients_own(proxy, shards):
    raw, other = Raw(proxy.port), Raw(proxy.port)
    keys = [f"key{i}" for i in range(30)]
    assert ask(raw, "SELECT", 5) == b"+OK\r\n"
    for key in keys:
        assert ask(raw, "SET", key, "five") == b"+OK\r\n"
    assert all(ask(other, "GET", key) == b"$-1\r\n" for key in keys)
    assert sum(s.client().execute_command("DBSIZE") for s in shards) == 0
    assert ask(raw, "SELECT", 0) == b"+OK\r\n"
    assert ask(raw, "GET", keys[0]) == b"$-1\r\n"
    assert ask(raw, "SELECT", 5) == b"+OK\r\n"
    assert ask(raw, "HELLO", 3).startswith(b"%7\r\n")
    assert ask(raw, "GET", keys[0]) == b"$4\r\nfive\r\n"


def test_change_of_database_in_a_pipeline(proxy):
    """What stands before the change is done in the old database, what stands behind it in the new
    one, though they go by different connections."""
    raw = Raw(proxy.port)
    requests, expected = [], []
    for i in range(200):
        requests += [resp("SELECT", i % 7), resp("SET", f"key{i % 5}", i),
                     resp("GET", f"key{i % 5}")]
        expected += [b"+OK\r\n", b"+OK\r\n", b"$%d\r\n%d\r\n" % (len(str(i)), i)]
    raw.send(b"".join(requests))
    for want in expected:
        assert raw.recv_exact(len(want)) == want


def test_refused_changes_are_the_servers_words_and_harm_nobody(proxy):
    raw, other = Raw(proxy.port), Raw(proxy.port)
    ask(raw, "SET", "k", "v")
    for _ in range(5):
        assert ask(raw, "SELECT", 9999) == b"-ERR DB index is out of range\r\n"
        assert ask(raw, "AUTH", "nobody", "x").startswith(b"-WRONGPASS ")
        assert ask(raw, "HELLO", 3, "AUTH", "nobody", "x").startswith(b"-WRONGPASS ")
        assert ask(raw, "GET", "k") == b"$1\r\nv\r\n"
        assert ask(other, "GET", "k") == b"$1\r\nv\r\n"
    numbers = proxy.stats()["alpha"]
    assert numbers["server_ejects"] == 0
    assert all(numbers[f"s{i}"]["server_err"] == 0 for i in range(3))


def test_users_of_the_servers(proxy, shards):
    for server in shards:
        server.client().execute_command(
            "ACL", "SETUSER", "bob", "on", ">pw", "~bob:*", "+get", "+set", "+ping", "+hello")
    bob, other = Raw(proxy.port), Raw(proxy.port)
    assert ask(bob, "AUTH", "bob", "wrong").startswith(b"-WRONGPASS ")
    assert ask(bob, "SET", "any", "1") == b"+OK\r\n"
    assert ask(bob, "AUTH", "bob", "pw") == b"+OK\r\n"
    for i in range(20):
        assert ask(bob, "SET", f"bob:{i}", "1") == b"+OK\r\n"
        assert ask(bob, "SET", f"alice:{i}", "1").startswith(b"-NOPERM ")
        assert ask(other, "SET", f"alice:{i}", "1") == b"+OK\r\n"
    assert ask(bob, "HELLO", 3).startswith(b"%7\r\n")
    assert ask(bob, "GET", "any").startswith(b"-NOPERM ")
    assert ask(bob, "GET", "bob:none") == b"_\r\n"
    assert b"pw" not in proxy.log().encode()


def test_user_behind_a_pool_with_a_password(cashew, redis_servers):
    servers = redis_servers(2)
    for server in servers:
        direct = server.client()
        direct.execute_command("ACL", "SETUSER", "bob", "on", ">pw", "~*", "+@all")
        direct.execute_command("CONFIG", "SET", "requirepass", "secret")
    port = free_port()
    cashew(pool("alpha", f"127.0.0.1:{port}",
                [f"127.0.0.1:{s.port}:1" for s in servers], redis=True,
                redis_auth="secret"))
    raw = Raw(port)
    assert ask(raw, "GET", "k").startswith(b"-NOAUTH ")
    assert ask(raw, "HELLO", 3).startswith(b"-NOAUTH ")
    assert ask(raw, "AUTH", "bob", "wrong").startswith(b"-WRONGPASS ")
    assert ask(raw, "GET", "k").startswith(b"-NOAUTH ")
    assert ask(raw, "AUTH", "bob", "pw") == b"+OK\r\n"
    assert ask(raw, "GET", "k") == b"$-1\r\n"
    assert ask(raw, "AUTH", "secret") == b"+OK\r\n"
    raw = Raw(port)
    assert ask(raw, "HELLO", 3, "AUTH", "default", "secret").startswith(b"%7\r\n")
    assert ask(raw, "GET", "k") == b"_\r\n"


def test_connections_of_a_login_close_when_nobody_uses_it(proxy, shards):
    raw = Raw(proxy.port)
    assert ask(raw, "SELECT", 3) == b"+OK\r\n"
    for i in range(30):
        ask(raw, "SET", f"key{i}", "v")
    def connections():
        return sum(" db=3 " in line for s in shards for line in
                   s.client().execute_command("CLIENT", "LIST").decode().splitlines())
    assert connections() == 3
    raw.close()
    until = time.monotonic() + 20
    while connections() > 0 and time.monotonic() < until:
        time.sleep(0.5)
    assert connections() == 0
    assert ask(Raw(proxy.port), "GET", "key1") == b"$-1\r\n"


def start(cashew, servers, **keys):
    port = free_port()
    process = cashew(pool("alpha", f"127.0.0.1:{port}", [f"127.0.0.1:{s.port}:1" for s in servers],
                          redis=True, timeout=1000, **keys), args=harness.ONE_WORKER)
    process.port = port
    return process


def test_clients_can_come_while_no_server_speaks(cashew, shards):
    proxy = start(cashew, shards, server_retry_timeout=10)
    assert ask(Raw(proxy.port), "INFO", "server")  # from here on it is known what they are
    version = shards[0].client().info("server")["redis_version"].encode()
    for server in shards:
        server.kill()
    raw = Raw(proxy.port)
    for _ in range(2):
        assert ask(raw, "HELLO", 3, "SETNAME", "me").startswith(
            b"%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n" + version + b"\r\n$5\r\nproto\r\n:3\r\n")
    assert ask(raw, "CLIENT", "GETNAME") == b"$2\r\nme\r\n"
    assert ask(raw, "GET", "k").startswith(b"-ERR Connection refused")
    assert ask(raw, "HELLO", 2).startswith(b"*14\r\n")
    # Who somebody is, no proxy knows.
    assert ask(raw, "HELLO", 3, "AUTH", "bob", "pw").startswith(b"-ERR Connection refused")
    for server in shards:
        server.start()
    assert ask(raw, "HELLO", 3).startswith(b"%7\r\n")
    assert ask(raw, "GET", "k") == b"_\r\n"


def test_hello_is_answered_when_all_are_ejected(cashew, redis_servers):
    servers = redis_servers(1)
    proxy = start(cashew, servers, auto_eject_hosts=True, server_failure_limit=1, server_retry_timeout=10000)
    servers[0].kill()
    raw = Raw(proxy.port)
    assert ask(raw, "HELLO", 3).startswith(b"%7\r\n")
    assert b"all servers of pool" in ask(raw, "GET", "k")
    assert ask(raw, "HELLO", 2).startswith(b"*14\r\n")


def test_version_is_that_of_a_server(cashew, redis_servers):
    """Whichever of them can say it; and nobody waits for long for one that does not."""
    servers = redis_servers(3)
    version = servers[0].client().info("server")["redis_version"].encode()
    servers[0].kill()
    servers[1].kill()
    proxy = start(cashew, servers)
    raw = Raw(proxy.port)
    raw.send(resp("PING") + resp("INFO") + resp("PING"))
    assert raw.recv_reply() == b"+PONG\r\n"
    info = raw.recv_reply()
    assert b"\r\nredis_version:" + version + b"\r\n" in info and b"\r\nserver_version:" + version in info
    assert raw.recv_reply() == b"+PONG\r\n"
    # It is not asked again for each.
    commands = servers[2].client().info("commandstats")["cmdstat_info"]["calls"]
    assert b"redis_version:" + version in ask(Raw(proxy.port), "INFO")
    assert servers[2].client().info("commandstats")["cmdstat_info"]["calls"] == commands + 1

    silent = harness.FakeServer()
    try:
        port = free_port()
        cashew(pool("alpha", f"127.0.0.1:{port}", [f"127.0.0.1:{silent.port}:1"], redis=True, timeout=100))
        raw, gone = Raw(port), Raw(port)
        gone.send(resp("INFO")).close()
        begin = time.monotonic()
        assert b"\r\nserver_version:unknown\r\n" in ask(raw, "INFO")
        assert b"\r\nserver_version:unknown\r\n" in ask(raw, "INFO")
        assert time.monotonic() - begin < 1
    finally:
        silent.stop()
