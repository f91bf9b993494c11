# SPDX-License-Identifier: BSD-3-Clause
"""memcached's commands through cashew, as pymemcache sends them, over several memcacheds."""

import os
import time

import harness
import pytest
from pymemcache.client.base import Client
from pymemcache.exceptions import MemcacheClientError, MemcacheServerError

KEYS = [b"key:%d" % i for i in range(60)]
MEGABYTE = 1024 * 1024
VERSION = b"VERSION " + harness.memcached_version() + b"\r\n"


class Pool:
    """cashew before some memcacheds. The servers have names and the hash spreads well, so that the
    keys are always placed alike and every server has some."""

    def __init__(self, cashew, servers, **keys):
        self.servers = servers
        self.port = harness.free_port()
        names = [f"{server.address}:1 s{i}" for i, server in enumerate(servers)]
        self.proxy = cashew(harness.pool("mem", self.port, names, **{"hash": "murmur", **keys}))
        self.clients = []

    def client(self, **options):
        client = Client(("127.0.0.1", self.port), **{"timeout": 10, "connect_timeout": 10,
                                                     "default_noreply": False, **options})
        self.clients.append(client)
        return client

    def home(self, key):
        """The servers that hold a key."""
        return [i for i, server in enumerate(self.servers) if server.client().get(key) is not None]

    def spread(self, client, keys=KEYS):
        """Sets all keys; returns the keys by server."""
        for key in keys:
            assert client.set(key, b"value of " + key)
        homes = {key: self.home(key) for key in keys}
        assert all(len(home) == 1 for home in homes.values())
        return {i: [key for key in keys if homes[key] == [i]] for i in range(len(self.servers))}


@pytest.fixture
def pool(cashew, memcached_servers):
    made = []

    def make(count=3, **keys):
        made.append(Pool(cashew, memcached_servers(count), **keys))
        return made[-1]

    yield make
    for one in made:
        for client in one.clients:
            client.close()


@pytest.mark.parametrize("count", [1, 3])
def test_every_command(pool, count):
    client = pool(count).client()
    for key in KEYS[:12]:
        assert client.get(key) is None
        assert client.replace(key, b"r") is False
        assert client.append(key, b"x") is False
        assert client.add(key, b"b") is True
        assert client.add(key, b"no") is False
        assert client.append(key, b"c") is True
        assert client.prepend(key, b"a") is True
        assert client.get(key) == b"abc"
        assert client.replace(key, b"new", flags=7) is True
        value, cas = client.gets(key)
        assert value == b"new"
        assert client.cas(key, b"newer", cas) is True
        assert client.cas(key, b"newest", cas) is False
        assert client.cas(key + b":missing", b"x", cas) is None
        assert client.get(key) == b"newer"
        assert client.touch(key, 100) is True
        assert client.delete(key) is True
        assert client.delete(key) is False
        assert client.touch(key, 100) is False
        assert client.incr(key, 1) is None
        assert client.set(key, b"10") is True
        assert client.incr(key, 5) == 15
        assert client.decr(key, 100) == 0
        assert client.incr(key, 2**64 - 1) == 2**64 - 1
    assert client.version() == harness.memcached_version()


def test_keys_are_spread(pool):
    """Each key is on one server, and every server has some."""
    mem = pool(3)
    homes = mem.spread(mem.client())
    assert all(homes.values())


def test_multi_get(pool):
    mem = pool(3)
    client = mem.client()
    mem.spread(client)
    assert client.get_many(KEYS) == {key: b"value of " + key for key in KEYS}
    found = client.gets_many(KEYS[:10])
    assert {key: value for key, (value, _) in found.items()} == client.get_many(KEYS[:10])
    assert client.cas(KEYS[3], b"mine", found[KEYS[3]][1]) is True
    assert client.get_many([b"no:%d" % i for i in range(20)]) == {}
    mixed = [key for pair in zip(KEYS, (b"no:%d" % i for i in range(60))) for key in pair]
    assert client.get_many(mixed) == client.get_many(KEYS)


def test_multi_get_order(pool, raw):
    """Values stand in the order of the keys, as memcached sends them, and as often as asked."""
    mem = pool(3)
    mem.spread(mem.client())
    asked = KEYS[:20] + KEYS[5:0:-1] + [KEYS[0]] * 3
    conn = raw(mem.port)
    conn.send(b"get " + b" ".join(asked) + b"\r\n")
    value = b"value of "
    assert conn.recv_until(b"END\r\n") == b"".join(
        b"VALUE %s 0 %d\r\n%s%s\r\n" % (key, len(value + key), value, key)
        for key in asked) + b"END\r\n"


def test_multi_get_misses_and_duplicates(pool, raw):
    """Every hit comes once for each time it was asked, whatever is missing."""
    mem = pool(3)
    client = mem.client()
    mem.spread(client)
    for key in KEYS[::3]:
        client.delete(key)
    asked = KEYS + KEYS
    conn = raw(mem.port)
    conn.send(b"get " + b" ".join(asked) + b"\r\nversion\r\n")
    lines = conn.recv_until(b"END\r\n").split(b"\r\n")
    got = sorted(line.split()[1] for line in lines if line.startswith(b"VALUE "))
    assert got == sorted(key for key in asked if key not in KEYS[::3])
    assert conn.recv_until() == VERSION


def test_multi_get_of_long_keys(pool, raw):
    """100 keys of 250 bytes make a line of 25 kB."""
    mem = pool(3)
    client = mem.client()
    keys = [b"%03d" % i + b"k" * 247 for i in range(100)]
    for key in keys:
        assert client.set(key, key[:3])
    assert client.get_many(keys) == {key: key[:3] for key in keys}
    conn = raw(mem.port)
    conn.send(b"get " + b" ".join(keys * 50) + b"\r\nversion\r\n")
    assert conn.recv_until(b"END\r\n").count(b"VALUE ") == 5000
    assert conn.recv_until() == VERSION


def test_multi_get_of_large_values(pool):
    mem = pool(2)
    client = mem.client()
    keys = KEYS[:8]
    for i, key in enumerate(keys):
        assert client.set(key, bytes([65 + i]) * 500_000)
    assert client.get_many(keys) == {key: bytes([65 + i]) * 500_000 for i, key in enumerate(keys)}


def test_negative_exptime(pool, raw):
    """It means at once."""
    mem = pool(2)
    client = mem.client()
    assert client.set(b"a", b"1", expire=-1) is True
    assert client.get(b"a") is None
    assert client.set(b"a", b"1") is True
    assert client.touch(b"a", -1) is True
    assert client.get(b"a") is None


def test_flags(pool, raw):
    conn = raw(pool(2).port)
    conn.send(b"set a 4294967295 0 1\r\nx\r\nget a\r\n")
    assert conn.recv_until(b"END\r\n") == b"STORED\r\nVALUE a 4294967295 1\r\nx\r\nEND\r\n"


def test_noreply_pipeline(pool, raw):
    """No request with noreply is answered, and all others are, in order."""
    mem = pool(3)
    conn = raw(mem.port)
    lines = []
    wanted = b""
    for i, key in enumerate(KEYS):
        lines += [b"set %s 0 0 2 noreply\r\n%02d\r\n" % (key, i), b"incr %s 100 noreply\r\n" % key,
                  b"get %s\r\n" % key, b"touch %s 0 noreply\r\n" % key,
                  b"delete %s:no noreply\r\n" % key, b"append %s 0 0 1 noreply\r\nx\r\n" % key,
                  b"incr %s 1 noreply\r\n" % key, b"cas %s 0 0 1 1 noreply\r\ny\r\n" % key,
                  b"gets %s:no\r\n" % key, b"add %s 0 0 1\r\nz\r\n" % key]
        wanted += b"VALUE %s 0 3\r\n%03d\r\nEND\r\nEND\r\nNOT_STORED\r\n" % (key, 100 + i)
    conn.send(b"".join(lines))
    assert conn.recv_exact(len(wanted)) == wanted
    conn.send(b"get " + b" ".join(KEYS) + b"\r\nversion\r\n")
    assert conn.recv_until(b"END\r\n").count(b"x\r\n") == len(KEYS)
    assert conn.recv_until() == VERSION


def test_noreply_of_pymemcache(pool):
    """Its default is noreply for all that it can."""
    client = pool(3).client(default_noreply=True)
    for key in KEYS:
        client.set(key, b"5")
        client.incr(key, 1, noreply=True)
        client.add(key, b"9")
    assert client.get_many(KEYS) == {key: b"6" for key in KEYS}
    client.delete_many(KEYS)
    assert client.get_many(KEYS) == {}


def test_noreply_to_a_dead_server(pool, raw):
    """The error of a request that wants no answer is dropped, not told."""
    mem = pool(1)
    conn = raw(mem.port)
    conn.send(b"get a\r\n")
    assert conn.recv_until() == b"END\r\n"
    mem.servers[0].kill()
    conn.send(b"set a 0 0 1 noreply\r\nx\r\ndelete a noreply\r\nincr a x\r\nget a\r\n")
    assert conn.recv_until() == b"CLIENT_ERROR invalid numeric delta argument\r\n"
    assert conn.recv_until().startswith(b"SERVER_ERROR ")
    assert conn.recv_all(0.2) == b""
    assert not conn.eof


def test_large_values(pool):
    """What memcached stores, up to its limit of a megabyte with the item's head."""
    mem = pool(2)
    client = mem.client()
    for size in (0, 1, 16 * 1024, 16 * 1024 + 1, 64 * 1024, 1000 * 1000, MEGABYTE - 1024):
        value = bytes(i % 251 for i in range(997)) * (size // 997 + 1)
        assert client.set(b"a", value[:size]) is True
        assert client.get(b"a") == value[:size]


def test_too_large(pool, raw):
    """The server refuses, its answer is passed on, and all go on."""
    mem = pool(2)
    other = mem.client()
    other.set(b"a", b"old")
    other.set(b"b", b"kept")
    conn = raw(mem.port)
    for size in (MEGABYTE, MEGABYTE + 1, 5 * MEGABYTE):
        conn.send(b"set a 0 0 %d\r\n" % size + b"x" * size + b"\r\nget b\r\n")
        assert conn.recv_until() == b"SERVER_ERROR object too large for cache\r\n"
        assert conn.recv_until(b"END\r\n") == b"VALUE b 0 4\r\nkept\r\nEND\r\n"
        conn.send(b"set a 0 0 %d noreply\r\n" % size + b"x" * size + b"\r\nget b\r\n")
        assert conn.recv_until(b"END\r\n") == b"VALUE b 0 4\r\nkept\r\nEND\r\n"
        assert other.get(b"b") == b"kept"
    with pytest.raises(MemcacheServerError):
        other.set(b"a", b"x" * MEGABYTE)


def test_far_too_large(pool, raw):
    """What no memcached can store is refused before it came, and dropped while it comes."""
    mem = pool(2)
    conn = raw(mem.port)
    conn.send(b"set a 0 0 1073741824\r\n")
    assert conn.recv_until() == b"SERVER_ERROR object too large for cache\r\n"
    piece = b"get a\r\nquit\r\n" * 100_000
    for _ in range(5):
        conn.send(piece)
    assert conn.recv_all(0.1) == b""
    assert not conn.eof


def test_errors(pool):
    client = pool(2).client()
    client.set(b"a", b"word")
    with pytest.raises(MemcacheClientError):
        client.incr(b"a", 1)
    assert client.get(b"a") == b"word"
    with pytest.raises(MemcacheClientError, match="only stats"):
        client.stats("items")
    with pytest.raises(MemcacheClientError, match="cache_memlimit is not served"):
        client.cache_memlimit(64)


def test_get_and_touch(pool, raw):
    """The values come as from a get, and the keys of every server have the new time."""
    mem = pool(3)
    client = mem.client()
    mem.spread(client)
    conn = raw(mem.port)
    conn.send(b"gat 100 missing\r\ngats 100 %s\r\n" % KEYS[1])
    assert conn.recv_until(b"END\r\n") == b"END\r\n"
    cas = conn.recv_until(b"END\r\n").split(b"\r\n")[0].split()[4]
    assert client.cas(KEYS[1], b"value of " + KEYS[1], cas) is True
    value = b"value of "
    for verb in (b"gat", b"gats"):
        conn.send(verb + b" +100  " + b" ".join(KEYS[:20]) + b" missing\r\n")
        lines = conn.recv_until(b"END\r\n").split(b"\r\n")
        assert [line.split()[1] for line in lines[:-2:2]] == KEYS[:20]
        assert lines[1:-2:2] == [value + key for key in KEYS[:20]]
        assert {len(line.split()) for line in lines[:-2:2]} == {4 if verb == b"gat" else 5}
    conn.send(b"gat -1 " + b" ".join(KEYS[:20]) + b"\r\n")
    assert conn.recv_until(b"END\r\n").count(b"VALUE ") == 20
    assert client.get_many(KEYS[:20]) == {}
    assert len(client.get_many(KEYS)) == 40


def test_gat_of_a_dead_server(pool, raw):
    mem = pool(3)
    homes = mem.spread(mem.client())
    mem.servers[1].kill()
    conn = raw(mem.port)
    conn.send(b"gat 100 " + b" ".join([homes[0][0], homes[1][0], homes[2][0]]) + b"\r\n")
    lines = conn.recv_until(b"SERVER_ERROR ").split(b"\r\n")
    assert [line.split()[1] for line in lines if line.startswith(b"VALUE ")] \
        == [homes[0][0], homes[2][0]]
    assert b"'s1'" in conn.recv_until()


def test_flush_all_is_refused_unless_allowed(pool, raw):
    mem = pool(3)
    client = mem.client()
    mem.spread(client)
    with pytest.raises(MemcacheClientError, match="allow_flush"):
        client.flush_all(noreply=False)
    conn = raw(mem.port)
    conn.send(b"flush_all noreply\r\nversion\r\n")
    assert conn.recv_until() == VERSION
    assert len(client.get_many(KEYS)) == 60


@pytest.mark.parametrize("count", [1, 3])
def test_flush_all_reaches_every_server(pool, count):
    mem = pool(count, allow_flush=True)
    client = mem.client()
    mem.spread(client)
    assert client.flush_all(noreply=False) is True
    assert client.get_many(KEYS) == {}
    for server in mem.servers:
        assert int(server.client().stats()[b"cmd_flush"]) == 1
    client.flush_all(delay=1000, noreply=True)
    assert client.version() == harness.memcached_version()
    for server in mem.servers:
        assert int(server.client().stats()[b"cmd_flush"]) == 2


def test_flush_all_names_who_did_not(pool, raw):
    mem = pool(3, allow_flush=True, auto_eject_hosts=True, server_failure_limit=1)
    client = mem.client()
    mem.spread(client)
    mem.servers[1].kill()
    conn = raw(mem.port)
    for _ in range(3):
        conn.send(b"flush_all\r\n")
        line = conn.recv_until()
        assert line.startswith(b"SERVER_ERROR ") and b"'s1'" in line
    assert all(not server.client().get_many(KEYS)
               for server in (mem.servers[0], mem.servers[2]))
    mem.servers[1].restart()
    conn.send(b"flush_all\r\n")
    assert conn.recv_until() == b"OK\r\n"


def test_flush_all_that_a_server_refuses(cashew, memcached_servers, raw):
    servers = memcached_servers(1) + memcached_servers(1, args=["-F"])
    port = harness.free_port()
    cashew(harness.pool("p", port, servers, allow_flush=True))
    conn = raw(port)
    conn.send(b"flush_all\r\nversion\r\n")
    assert conn.recv_until() == b"CLIENT_ERROR flush_all not allowed\r\n"
    assert conn.recv_until() == VERSION


def stats_of(conn, request):
    conn.send(request)
    lines = conn.recv_until(b"END\r\n").split(b"\r\n")[:-2]
    rows = [line.split(b" ", 2) for line in lines]
    assert all(len(row) == 3 and row[0] == b"STAT" for row in rows), lines
    found = {name.decode(): value.decode() for _, name, value in rows}
    assert len(found) == len(rows)
    return found


def test_stats(pool, raw):
    mem = pool(3, timeout=4321)
    mem.spread(mem.client())
    conn = raw(mem.port)
    stats = stats_of(conn, b"stats\r\n")
    assert int(stats["pid"]) == mem.proxy.pid
    assert 0 <= int(stats["uptime"]) < 100
    assert abs(int(stats["time"]) - time.time()) < 10
    assert stats["version"].startswith("cashew-")
    assert stats["curr_connections"] == "2"
    assert stats["servers"] == "3"
    assert int(stats["requests"]) == int(stats["responses"]) == len(KEYS)
    assert int(stats["rss"]) > 100000

    servers = stats_of(conn, b"stats servers\r\n")
    assert [servers[f"server:{i}:name"] for i in range(3)] == ["s0", "s1", "s2"]
    assert [servers[f"server:{i}:address"] for i in range(3)] == [s.address for s in mem.servers]
    assert sum(int(servers[f"server:{i}:requests"]) for i in range(3)) == len(KEYS)

    settings = stats_of(conn, b"stats settings\r\n")
    assert settings["timeout"] == "4321"
    assert settings["hash"] == "murmur"
    assert settings["redis"] == "false"


def test_stats_in_a_pipeline(pool, raw):
    """It has its turn, and what is no topic of the proxy's gets an error."""
    mem = pool(2)
    conn = raw(mem.port)
    conn.send(b"set a 0 0 1\r\n1\r\nstats\r\nstats items\r\nget a\r\n")
    assert conn.recv_until(b"\r\n") == b"STORED\r\n"
    assert conn.recv_until(b"END\r\n").startswith(b"STAT pid ")
    assert conn.recv_until(b"\r\n").startswith(b"CLIENT_ERROR only stats")
    assert conn.recv_until(b"END\r\n") == b"VALUE a 0 1\r\n1\r\nEND\r\n"


def test_stats_of_pymemcache(pool):
    stats = pool(2).client().stats()
    assert stats[b"threads"] == int(os.environ.get("CASHEW_WORKERS") or 1)
    assert b"version" in stats


def test_quit(pool, raw):
    """The answers before it are given, then the connection ends."""
    conn = raw(pool(2).port)
    conn.send(b"set a 0 0 1\r\nx\r\nget a\r\nquit\r\nget a\r\n")
    assert conn.closed()
    assert conn.recv_all() == b"STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n"


def test_dead_server_in_multi_get(pool, raw):
    """The hits of the others, then an error in the place of END; never a silent miss."""
    mem = pool(3)
    homes = mem.spread(mem.client())
    alive = set(homes[0] + homes[2])
    mem.servers[1].kill()
    conn = raw(mem.port)
    for _ in range(3):
        conn.send(b"get " + b" ".join(KEYS) + b"\r\n")
        lines = conn.recv_until(b"SERVER_ERROR ").split(b"\r\n")
        assert {line.split()[1] for line in lines if line.startswith(b"VALUE ")} == alive
        assert b"END" not in lines
        assert conn.recv_until()
    conn.send(b"get %s\r\nget %s\r\nversion\r\n" % (homes[0][0], homes[1][0]))
    assert conn.recv_until(b"END\r\n").startswith(b"VALUE " + homes[0][0])
    assert conn.recv_until().startswith(b"SERVER_ERROR ")
    assert not conn.eof


def test_dead_server_comes_back(pool):
    mem = pool(2, server_retry_timeout=100)
    client = mem.client()
    homes = mem.spread(client)
    mem.servers[0].kill()
    with pytest.raises(MemcacheServerError):
        client.get(homes[0][0])
    assert client.get(homes[1][0]) == b"value of " + homes[1][0]
    mem.servers[0].start()

    def back():
        try:
            return client.set(homes[0][0], b"again")
        except MemcacheServerError:
            return False
    harness.wait_for(back, what="the server's return")
    assert client.get(homes[0][0]) == b"again"


def test_server_that_is_slow(pool, raw):
    """A timeout is an error of the request; the answer that comes late goes to nobody."""
    mem = pool(2, timeout=300)
    homes = mem.spread(mem.client())
    conn = raw(mem.port)
    mem.servers[0].pause()
    try:
        conn.send(b"get %s %s\r\n" % (homes[0][0], homes[1][0]))
        assert conn.recv_until(b"SERVER_ERROR ").startswith(b"VALUE " + homes[1][0] + b" ")
        conn.recv_until()
    finally:
        mem.servers[0].resume()
    for _ in range(20):
        conn.send(b"get %s\r\n" % homes[1][1])
        assert conn.recv_until(b"END\r\n").startswith(b"VALUE " + homes[1][1] + b" ")


LIES = [b"STORED\r\n", b"VALUE x 0 1\r\nab\r\nEND\r\n", b"VALUE x\r\n", b"\r\n", b"END\n",
        b"VALUE x 0 -1\r\n\r\nEND\r\n", b"+OK\r\n", b"VALUE  0 1\r\na\r\nEND\r\n"]


@pytest.mark.parametrize("lie", LIES)
def test_server_that_lost_step(cashew, fake_server, raw, lie):
    """What is no answer to the request ends that server connection and never reaches a client."""
    def talk(conn):
        conn.recv_until(b"\r\n")
        conn.send(lie)
        conn.closed(5)

    server = fake_server(talk)
    port = harness.free_port()
    cashew(harness.pool("mem", port, [server]))
    conn = raw(port)
    conn.send(b"get x\r\n")
    answer = conn.recv_all(1.0)
    assert answer.startswith(b"SERVER_ERROR ") or (conn.eof and b"END" not in answer), answer
    assert b"+OK" not in answer and b"STORED" not in answer


def test_answer_byte_by_byte(cashew, fake_server, raw):
    """An answer may come in any pieces."""
    answers = {b"get x\r\n": b"VALUE x 0 5\r\nEND\r\n\r\nEND\r\n", b"version\r\n": b"VERSION 1\r\n",
               b"incr x 1\r\n": b"12345\r\n", b"delete x\r\n": b"NOT_FOUND\r\n",
               b"touch x 1\r\n": b"TOUCHED\r\n", b"get y\r\n": b"SERVER_ERROR busy\r\n"}

    def talk(conn):
        while True:
            try:
                request = conn.recv_until(b"\r\n")
            except (EOFError, OSError):
                return
            for i in range(len(answers[request])):
                conn.send(answers[request][i:i + 1])

    server = fake_server(talk)
    port = harness.free_port()
    cashew(harness.pool("mem", port, [server]))
    conn = raw(port)
    conn.send(b"".join(answers))
    wanted = b"".join(answers.values())
    assert conn.recv_exact(len(wanted)) == wanted


def test_noreply_is_not_forwarded(cashew, fake_server, raw):
    """The server side is always loud, in one form."""
    def talk(conn):
        try:
            while True:
                conn.recv_until(b"\r\n")
                conn.send(b"NOT_FOUND\r\n")
        except (EOFError, OSError):
            pass

    server = fake_server(talk)
    port = harness.free_port()
    cashew(harness.pool("mem", port, [server]))
    conn = raw(port)
    conn.send(b"delete a noreply\r\n  incr  b +1 noreply \n touch c -1 x\r\ndelete d 0\r\n")
    assert conn.recv_until() == b"NOT_FOUND\r\n"
    assert conn.recv_until() == b"NOT_FOUND\r\n"
    assert b"".join(server.received) == b"delete a\r\nincr b 1\r\ntouch c -1\r\ndelete d\r\n"


def test_unix_socket(cashew, memcached_servers):
    server = memcached_servers(1, unix=True)[0]
    port = harness.free_port()
    cashew(harness.pool("mem", port, [server]))
    client = Client(("127.0.0.1", port), timeout=10, default_noreply=False)
    try:
        assert client.set(b"a", b"1") is True
        assert client.get(b"a") == b"1"
    finally:
        client.close()
