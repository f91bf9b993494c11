# SPDX-License-Identifier: BSD-3-Clause
"""The worst bugs that were ever reported of proxies of this kind, one test for each, named after it.
docs/reliability.md lists them with what is promised. Where Debian's nutcracker still has the bug, the
test shows it there first, so that it is known to be able to fail."""

import random
import re
import socket
import subprocess
import threading
import time
from pathlib import Path

import harness
import pytest
from compat import needs_nutcracker, side
from harness import Raw, free_port, pool, resp, wait_for

BOUND = 5.0  # seconds within which everything is answered


def lines_of(servers):
    return [f"127.0.0.1:{server.port}:1 s{i}" for i, server in enumerate(servers)]


def bulk(value):
    return b"$%d\r\n%s\r\n" % (len(value), value)


def value(key, data):
    return b"VALUE %s 0 %d\r\n%s\r\n" % (key, len(data), data)


def resident(pid, name="VmRSS"):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise AssertionError(name)


def descriptors(pid):
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def sockets_in(pid, state):
    """How many TCP sockets of the process are in a state of /proc/net/tcp."""
    ours = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            ours.add(str(link.readlink()))
        except OSError:
            pass
    lines = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    return sum(line.split()[3] == state and f"socket:[{line.split()[9]}]" in ours for line in lines)


# ---------------------------------------------------------------- replies of others

def test_desynchronised_replies_after_a_timeout(ending, redis_server):
    """A script that runs into the timeout, and others who ask meanwhile: nobody gets its reply."""
    one = side(ending, "cashew", [redis_server], redis=True, timeout=150)
    redis_server.client().mset({f"k{i}": f"value{i}" for i in range(20)})
    slow = "local t=redis.call('TIME'); local e=t[1]*1000000+t[2]+400000; repeat " \
        "t=redis.call('TIME') until t[1]*1000000+t[2]>e; return 'of the script'"
    errors, right = 0, 0
    with Raw(one.port) as first, Raw(one.port) as second:
        first.send(resp("EVAL", slow, "1", "k0"))
        time.sleep(0.02)
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            for i in range(20):
                second.send(resp("GET", f"k{i}"))
                got = second.recv_reply()
                assert got == bulk(b"value%d" % i) or b"timed out (server" in got
                errors, right = errors + got.startswith(b"-"), right + got.startswith(b"$")
        assert b"timed out (server" in first.recv_reply()
        first.send(resp("GET", "k1"))
        assert first.recv_reply() == bulk(b"value1")
    assert errors and right


POISON = {"redis": b"$6\r\nPOISON\r\n", "memcache": b"VALUE k 0 6\r\nPOISON\r\nEND\r\n",
          "unreadable": b"\0nonsense\r\n", "one byte": b"+", "line end": b"\r\n"}


STRAY = [(protocol, when, stray) for protocol in ("redis", "memcache")
         for when in ("with a reply", "while all is quiet") for stray in POISON] \
    + [(protocol, "in place of a reply", "unreadable") for protocol in ("redis", "memcache")]


@pytest.mark.parametrize("protocol, when, stray", STRAY)
def test_desynchronised_replies_by_stray_bytes(ending, fake_server, protocol, when, stray):
    """What nobody asked for closes that connection, and no client gets it or is shifted by it."""
    request, reply = {
        "redis": (lambda i: resp("GET", f"k{i}"), lambda i: bulk(b"right%d" % i)),
        "memcache": (lambda i: b"get k%d\r\n" % i,
                     lambda i: value(b"k%d" % i, b"right%d" % i) + b"END\r\n")}[protocol]
    seen = []

    def answer(conn):
        number = len(seen)
        seen.append(conn)
        while True:
            line = conn.recv_until(b"k") + conn.recv_until(b"\r\n")
            i = int(line.rpartition(b"k")[2])
            if number:
                conn.send(reply(i))
                continue
            wrong = POISON[stray] + reply(99)
            conn.send({"with a reply": reply(i) + wrong, "while all is quiet": reply(i),
                       "in place of a reply": wrong}[when])
            if when == "while all is quiet":
                time.sleep(0.05)
                conn.send(wrong)

    one = side(ending, "cashew", [f"127.0.0.1:{fake_server(answer).port}:1 s"],
               redis=protocol == "redis")
    with Raw(one.port) as first, Raw(one.port) as second:
        first.send(request(1))
        if when == "in place of a reply":
            assert b"Invalid argument (server 's'" in first.recv_until(b"\r\n")
        else:
            assert first.recv_exact(len(reply(1))) == reply(1)
        wait_for(lambda: one.pool_stats()["s"]["server_connections"] == 0)
        for client in (second, first):
            client.send(request(2) + request(3))
            expected = reply(2) + reply(3)
            assert client.recv_exact(len(expected)) == expected
        assert first.recv_all(0.1) == second.recv_all(0.1) == b""
    assert len(seen) == 2 and one.pool_stats()["s"]["server_err"] == 1
    assert one.pool_stats()["forward_error"] == (when == "in place of a reply")


def test_desynchronised_replies_by_an_early_error(ending, memcached_server):
    """memcached answers an item that is too large before it has read it."""
    one = side(ending, "cashew", [memcached_server])
    with Raw(one.port, timeout=20) as first, Raw(one.port) as second:
        second.send(b"set k 0 0 5\r\nright\r\n")
        assert second.recv_until() == b"STORED\r\n"
        first.send(b"set big 0 0 3000000\r\n" + b"get k\r\n" * 428571 + b"xxx\r\nget k\r\nget none\r\n")
        second.send(b"get k\r\n" * 50)
        right = value(b"k", b"right") + b"END\r\n"
        assert second.recv_exact(50 * len(right)) == right * 50
        assert first.recv_until() == b"SERVER_ERROR object too large for cache\r\n"
        assert first.recv_exact(len(right) + 5) == right + b"END\r\n"
        assert first.recv_all(0.1) == second.recv_all(0.1) == b""


def test_desynchronised_replies_of_vanished_clients(ending, redis_server, memcached_server):
    """Clients that leave with requests open, on one connection to the server: what comes for them
    goes to nobody."""
    redis = side(ending, "cashew", [redis_server], redis=True)
    memcache = side(ending, "cashew", [memcached_server])
    for i in range(60):
        for one, left, asked, expected in (
                (redis, resp("EVAL", "return 'of another'", "1", "x") * 30,
                 resp("EVAL", f"return 'mine{i}'", "1", "x"), bulk(b"mine%d" % i)),
                (memcache, b"set x 0 0 10\r\nof another\r\n" + b"get x\r\n" * 30,
                 b"incr none%d 1\r\n" % i, b"NOT_FOUND\r\n")):
            with Raw(one.port) as stays:
                gone = Raw(one.port).send(left[:-i] if i % 3 == 1 else left)
                stays.send(asked)
                gone.reset() if i % 2 else gone.close()
                stays.send(asked)
                assert stays.recv_exact(2 * len(expected)) == expected * 2
                assert stays.recv_all(0.01) == b""


def test_reordering(ending, redis_servers, memcached_servers):
    """Changes of one key over several server connections keep their order."""
    for servers, redis in ((redis_servers(2), True), (memcached_servers(2), False)):
        one = side(ending, "cashew", lines_of(servers), redis=redis, server_connections=4,
                   hash="md5")
        request, expected = b"", b""
        for i in range(1500):
            key, data = b"k%d" % (i % 7), b"v%d" % i
            if redis:
                request += resp("SET", key, data) + resp("GET", key) + resp("DEL", key) \
                    + resp("GET", key)
                expected += b"+OK\r\n" + bulk(data) + b":1\r\n$-1\r\n"
            else:
                request += b"set %s 0 0 %d\r\n%s\r\nget %s\r\ndelete %s\r\nget %s\r\n" % (
                    key, len(data), data, key, key, key)
                expected += b"STORED\r\n" + value(key, data) + b"END\r\nDELETED\r\nEND\r\n"
        clients = [Raw(one.port, timeout=20) for _ in range(4)]
        with clients[0] as client:  # the others are there so that every connection is used
            for other in clients[1:]:
                other.send(resp("GET", "other") if redis else b"get other\r\n")
            sender = threading.Thread(target=client.send, args=(request,))
            sender.start()
            assert client.recv_exact(len(expected)) == expected
            sender.join()
        for other in clients[1:]:
            other.close()


# ---------------------------------------------------------------- one for all

@needs_nutcracker
def test_one_bad_reply_kills_everyone(ending):
    """A full server answers -OOM to one request; twemproxy closes the connection under all."""
    server = ending.add(harness.Redis(args=["--maxmemory", "1mb"]))
    seed = server.client()
    seed.config_set("maxmemory", "1gb")
    seed.set("k", "right")
    seed.config_set("maxmemory", "1")

    def story(one):
        with Raw(one.port) as first, Raw(one.port) as second:
            second.send(resp("GET", "k"))
            second.recv_reply()
            first.send(b"".join(resp("SET", f"new{i}", "x" * 100) for i in range(3)))
            replies = [first.recv_reply() for _ in range(3)]
            second.send(resp("GET", "k"))
            return replies, second.recv_reply(), one.settled(lambda s: True)["s0"]["server_err"]

    theirs = story(side(ending, "nutcracker", lines_of([server]), redis=True))
    assert not any(reply.startswith(b"-OOM") for reply in theirs[0])
    ours = story(side(ending, "cashew", lines_of([server]), redis=True))
    assert all(reply.startswith(b"-OOM command not allowed") for reply in ours[0])
    assert ours[1:] == (bulk(b"right"), 0)


# ---------------------------------------------------------------- memory and time

def test_memory_growth(ending, redis_server):
    """Clients that ask for much and do not read are bounded, then closed; memory comes back."""
    one = side(ending, "cashew", [redis_server], redis=True, client_output_soft=262144,
               client_output_limit=2097152)
    redis_server.client().set("big", b"x" * 200_000)
    with Raw(one.port) as client:
        client.send(resp("GET", "big"))
        client.recv_reply()
    before = resident(one.proxy.pid)
    asked = 0
    clients = []
    for _ in range(30):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", one.port))
        clients.append(Raw(sock))
        clients[-1].send(resp("GET", "big") * 100)
        asked += 100 * 200_000
    high = 0
    for _ in range(100):
        high = max(high, resident(one.proxy.pid))
        time.sleep(0.02)
    assert high - before < 30 * 3.5 * 2**20 < asked / 5
    with Raw(one.port) as client:  # nobody else waits for them
        begun = time.monotonic()
        client.send(resp("PING"))
        assert client.recv_reply() == b"+PONG\r\n" and time.monotonic() - begun < BOUND
    for client in clients:
        client.close()
    if not harness.os.environ.get("CASHEW_SANITIZED"):
        wait_for(lambda: resident(one.proxy.pid) < before * 1.2 + (4 << 20), 10, "the memory's return")


def test_memory_per_key_of_a_multi_get(ending, memcached_servers):
    """A get of 300 kB takes a small multiple of its bytes; of memcached's own proxy it took 604 MB."""
    one = side(ending, "cashew", lines_of(memcached_servers(3)))
    line = b"get " + b" ".join(b"%x" % i for i in range(60_000)) + b"\r\n"
    assert 280_000 < len(line) < 330_000
    with Raw(one.port, timeout=30) as client:
        client.send(b"get a b c d e f\r\n")
        assert client.recv_until() == b"END\r\n"
        before = resident(one.proxy.pid, "VmHWM")
        for _ in range(5):
            client.send(line)
            assert client.recv_until() == b"END\r\n"
        grown = resident(one.proxy.pid, "VmHWM") - before
    room = 4 if harness.os.environ.get("CASHEW_SANITIZED") else 1
    assert grown < 40 * len(line) * room


def test_hang(ending, redis_server, memcached_server):
    """Requests without arguments, keys about as long as twemproxy's buffers, and a server whose name
    nobody knows: each is answered within the bound."""
    unknown = "no-such-host.invalid:6379:1 unknown"
    for server, redis in ((redis_server, True), (memcached_server, False)):
        one = side(ending, "cashew", [f"127.0.0.1:{server.port}:1 known", unknown], redis=redis,
                   hash="md5", timeout=2000)
        with Raw(one.port, timeout=BOUND) as client:
            if redis:
                client.send(resp("MGET") + resp("DEL") + resp("MSET"))
                assert all(b"wrong number of arguments" in client.recv_reply() for _ in range(3))
                for length in range(16340, 16390, 3):
                    client.send(resp("GET", "k" * length))
                    assert client.recv_reply()[:1] in b"$-"
                client.send(resp("MGET", *(f"k{i}" for i in range(20))))
                assert re.match(rb"-ERR Host is down \(server 'unknown'", client.recv_reply())
            else:
                client.send(b"get\r\nget \r\nset\r\n")
                assert [client.recv_until() for _ in range(3)] == [b"ERROR\r\n"] * 3
                client.send(b"get " + b" ".join(b"k%d" % i for i in range(20)) + b"\r\n")
                assert re.match(rb"SERVER_ERROR Host is down \(server 'unknown'",
                                client.recv_until())
            client.send(resp("PING") if redis else b"version\r\n")
            assert client.recv_until()[:5] in (b"+PONG", b"VERSI", b"SERVE")


def test_boundary_bugs(ending, redis_servers, memcached_servers):
    """Keys and values around multiples of twemproxy's buffers of 16 KiB come back as they went."""
    rng = random.Random(19)
    sizes = [n * 16384 + d for n in (1, 2, 4, 5) for d in (*range(-40, 6), 17, 40, 100)]
    for servers, redis in ((redis_servers(2), True), (memcached_servers(2), False)):
        one = side(ending, "cashew", lines_of(servers), redis=redis, hash="md5")
        with Raw(one.port, timeout=20) as client:
            for size in sizes:
                key = b"k%d" % size + b"k" * rng.randrange(200)
                data = rng.randbytes(size - len(key)).replace(b"\r", b"-")
                client.send(resp("SET", key, data) + resp("GET", key) if redis else
                            b"set %s 0 0 %d\r\n%s\r\nget %s\r\n" % (key, len(data), data, key))
                expected = b"+OK\r\n" + bulk(data) if redis else \
                    b"STORED\r\n" + value(key, data) + b"END\r\n"
                assert client.recv_exact(len(expected)) == expected, size
            if redis:
                fields = [rng.randbytes(rng.randrange(1, 300)) for _ in range(800)]
                client.send(resp("HMSET", "h", *fields))
                assert client.recv_reply() == b"+OK\r\n"
                client.send(resp("HMGET", "h", *fields[::2]))
                last = dict(zip(fields[::2], fields[1::2]))
                assert client.recv_reply() == b"*400\r\n" + b"".join(bulk(last[f])
                                                                    for f in fields[::2])


NASTY = [resp("MGET"), b"*0\r\n", b"*-1\r\n", b"*1\r\n$0\r\n\r\n", resp("MSET", "a", "b", "c"),
         resp("MSET"), b"*2\r\n$4\r\nMGET\r\n$-1\r\n", resp("EVAL", "x", "99999999999"),
         resp("EVAL", "x", "-1"), resp("DEL", ""), b"\r\n" * 1000, b"get \r\n", b"get  \r\n",
         b"gets\r\n", b"set a\r\n", b"set a 0 0 -5\r\n\r\n", b"set a 0 0 99999999999999\r\n",
         b"incr\r\n", b"cas a 0 0 1\r\nx\r\n", b"gat\r\n", b"gat 1\r\n", b"\x80\x01" + b"\0" * 40,
         b"*1000000\r\n$1\r\na\r\n", b"$5\r\nhello\r\n", b"*3\r\n$3\r\nSET\r\n$1000000000\r\nabc",
         b"\xff" * 4096, b"mn\r\n", b"mg\r\n", b"me k k k\r\n", resp("HELLO", "3", "AUTH"),
         resp("ZUNIONSTORE", "d", "99", "k"), resp("XREAD", "STREAMS"), resp("MIGRATE"),
         resp("SORT", "k", "BY"), resp("GEORADIUS", "k")]


@pytest.mark.parametrize("protocol", ["redis", "memcache"])
def test_crash_from_client_bytes(ending, redis_servers, memcached_servers, protocol):
    """What has crashed proxies, whole, cut, joined and with bytes changed; it serves on."""
    servers = redis_servers(2) if protocol == "redis" else memcached_servers(2)
    one = side(ending, "cashew", lines_of(servers), redis=protocol == "redis")
    rng = random.Random(4711)
    for number in range(400):
        data = b"".join(rng.choice(NASTY) for _ in range(rng.randrange(1, 4)))
        if number % 2:
            data = bytearray(data[:rng.randrange(1, len(data) + 1)])
            for _ in range(rng.randrange(3)):
                data[rng.randrange(len(data))] = rng.randrange(256)
        with Raw(one.port) as client:
            client.send(bytes(data))
            client.half_close()
            client.recv_all(0.02)
    assert one.proxy.running()
    with Raw(one.port) as client:
        client.send(resp("PING") if protocol == "redis" else b"get none\r\n")
        assert client.recv_until() in (b"+PONG\r\n", b"END\r\n")


def test_fd_exhaustion_closes_listener(ending, redis_server, monkeypatch):
    """Without descriptors for more clients those that are there go on, and when there is room again
    newcomers are served: the listener never went."""
    monkeypatch.setenv("CASHEW_WRAPPER", " ".join(
        [harness.os.environ.get("CASHEW_WRAPPER", ""), "prlimit --nofile=100:100"]).strip())
    one = side(ending, "cashew", [redis_server], redis=True)
    with Raw(one.port) as first:
        first.send(resp("SET", "k", "v"))
        assert first.recv_reply() == b"+OK\r\n"
        for _ in range(3):
            crowd = [Raw(one.port) for _ in range(150)]
            first.send(resp("GET", "k"))
            assert first.recv_reply() == bulk(b"v")
            for client in crowd:
                client.close()
            wait_for(lambda: one.pool_stats()["client_connections"] == 1)
        with Raw(one.port) as newcomer:
            newcomer.send(resp("GET", "k"))
            assert newcomer.recv_reply() == bulk(b"v")


# ---------------------------------------------------------------- placement and health

def ring(config, *arguments):
    done = subprocess.run([str(harness.binary()), "ring", "-c", config, *arguments], check=True,
                          capture_output=True, text=True)
    return done.stdout


def test_ketama_surprises(ending, redis_servers, tmp_path):
    """Names longer than twemproxy's buffer place keys evenly, and the same at every start; a hash of
    15 bits before ketama is warned of."""
    names = [f"{c * 100}-{c}" for c in "abc"]
    config = tmp_path / "long.yml"
    servers = redis_servers(3)
    config.write_text(pool("p", free_port(), [f"127.0.0.1:{s.port}:1 {name}"
                                              for s, name in zip(servers, names)], redis=True))
    keys = [f"key:{i}" for i in range(3000)]
    first = ring(config, "p", *keys)
    assert first == ring(config, "p", *keys)
    for name in names:
        assert 600 < first.count(name) < 1500
    proxy = ending.add(harness.Cashew(config))
    with Raw(proxy.ports[0]) as client:
        client.send(b"".join(resp("SET", key, "x") for key in keys))
        client.recv_exact(5 * len(keys))
    assert [server.client().dbsize() for server in servers] == [first.count(n) for n in names]

    config.write_text(pool("p", free_port(), ["127.0.0.1:1:1 a", "127.0.0.1:2:1 b"], redis=True,
                           hash="crc32"))
    assert "crc32 gives hashes of 15 bits" in ring(config, "p")


def test_eject_storms(ending, fake_server, redis_servers):
    """One slow request in many, again and again, is no reason to take a server off the ring."""
    def sometimes_late(conn):
        while True:
            line = conn.recv_until(b"\r\n$3\r\nGET\r\n") + conn.recv_until() + conn.recv_until()
            if line.endswith(b"slow\r\n"):
                time.sleep(0.25)
            conn.send(b"$5\r\nright\r\n")

    one = side(ending, "cashew", [f"127.0.0.1:{fake_server(sometimes_late).port}:1 s"], redis=True,
               timeout=100, auto_eject_hosts=True, server_failure_limit=2,
               server_retry_timeout=30000)
    with Raw(one.port) as client:
        for _ in range(6):
            client.send(resp("GET", "slow"))
            assert b"timed out (server 's'" in client.recv_reply()
            for _ in range(3):
                client.send(resp("GET", "k"))
                assert client.recv_reply() == b"$5\r\nright\r\n"
    stats = one.pool_stats()
    assert stats["server_ejects"] == 0 and stats["s"]["server_timedout"] == 6


@needs_nutcracker
@pytest.mark.parametrize("unix", [False, True])
def test_wrong_database(ending, unix):
    """With a password and a database, twemproxy selects before it may and then stores in 0."""
    server = ending.add(harness.Redis(unix=unix, args=["--requirepass", "secret"]))

    def story(name):
        one = side(ending, name, [f"{server.address}:1 s"], redis=True, redis_auth="secret",
                   redis_db=5)
        with Raw(one.port) as client:
            client.send(resp("AUTH", "secret") + resp("SET", f"from-{name}", "x"))
            assert [client.recv_until(), client.recv_until()] == [b"+OK\r\n"] * 2
        return [db for db in (0, 5)
                if server.client(password="secret", db=db).exists(f"from-{name}")]

    assert story("nutcracker") == [0]
    assert story("cashew") == [5]


def test_degrades_after_long_run(ending, redis_server):
    """A server that went away and came back, again and again, is served as at first: in the same time,
    over one connection, and with the memory and descriptors of the start."""
    one = side(ending, "cashew", [f"127.0.0.1:{redis_server.port}:1 s"], redis=True, timeout=100)
    held = []

    def serve():
        with Raw(one.port) as client:
            begun = time.monotonic()
            for i in range(200):
                client.send(resp("SET", f"k{i}", i) + resp("GET", f"k{i}"))
                if client.recv_reply() != b"+OK\r\n":
                    return None
                assert client.recv_reply() == bulk(b"%d" % i)
        return time.monotonic() - begun

    for turn in range(14):
        if turn % 2:
            redis_server.pause()
        else:
            redis_server.kill()
        with Raw(one.port) as client:
            client.send(resp("GET", "k") * 300)
            replies = [client.recv_until() for _ in range(300)]
            assert all(b"(server 's'" in reply for reply in replies)
        redis_server.resume() if turn % 2 else redis_server.start()
        took = wait_for(serve, BOUND, "service after a failure")
        assert took < BOUND
        wait_for(lambda: one.pool_stats()["s"]["server_connections"] == 1)
        wait_for(lambda: one.pool_stats()["client_connections"] == 0)
        if turn > 3:
            held.append((resident(one.proxy.pid), descriptors(one.proxy.pid)))
    # io_uring closes a descriptor when its last request has ended, a moment later.
    wait_for(lambda: descriptors(one.proxy.pid) <= max(count for _, count in held[:2]))
    assert held[-1][0] < held[0][0] * 1.1 + (2 << 20) or \
        harness.os.environ.get("CASHEW_SANITIZED")


def test_stats_wrong(ending, tmp_path):
    """Numbers are there at once, agree with each other, and none is below zero on unix sockets."""
    servers = [ending.add(harness.Redis(unix=True)) for _ in range(2)]
    one = side(ending, "cashew", [f"{server.address}:1 s{i}" for i, server in enumerate(servers)],
               redis=True, hash="md5")
    with Raw(one.port) as client:
        client.send(resp("MSET", *(w for i in range(20) for w in (f"k{i}", i)))
                    + resp("MGET", *(f"k{i}" for i in range(20))) + resp("GET", "k1"))
        assert [client.recv_reply()[:1] for _ in range(3)] == [b"+", b"*", b"$"]
        stats = one.pool_stats()
        assert stats["client_connections"] == 1 and stats["fragments"] == 4
        both_servers = [stats["s0"], stats["s1"]]
        assert sum(s["requests"] for s in both_servers) == 5
        assert sum(s["responses"] for s in both_servers) == 5
        assert [s["server_connections"] for s in both_servers] == [1, 1]
    for server in servers:
        server.kill()
    final = one.settled(lambda s: s["client_connections"] == 0 and
                        s["s0"]["server_connections"] == s["s1"]["server_connections"] == 0)
    assert all(number >= 0 for server in ("s0", "s1") for number in final[server].values())


# ---------------------------------------------------------------- one request, one reply

SPLIT = {
    "memcache": [b"get a\nget b\r\n", b"set k 99999999999999999999999999 0 3\r\nabc\r\n"],
    "redis": [b"*2\r\n$03\r\nGET\r\n$1\r\nk\r\n"],
}


@needs_nutcracker
@pytest.mark.parametrize("protocol, bad", [(p, b) for p, cases in SPLIT.items() for b in cases])
def test_two_readings_of_one_request(ending, redis_server, memcached_server, protocol, bad):
    """Through twemproxy the server reads another number of requests than the proxy, and others get
    what is left over, or lose their connection."""
    server = redis_server if protocol == "redis" else memcached_server
    ask, mine = (resp("EVAL", "return 'mine'", "1", "k"), bulk(b"mine")) if protocol == "redis" \
        else (b"incr none 1\r\n", b"NOT_FOUND\r\n")

    def wrong(name, tries):
        """The first answer to the second client that is not its own."""
        one = side(ending, name, [server], redis=protocol == "redis", server_connections=1)
        # Where replies are lost, what is missing never comes.
        patience = 1 if name == "nutcracker" else 10
        first, second = ending.add(Raw(one.port)), ending.add(Raw(one.port, timeout=patience))
        for _ in range(tries):
            second.send(ask * 20)
            try:
                first.send(bad)
            except OSError:  # closed: another comes
                first = ending.add(Raw(one.port)).send(bad)
            second.send(ask * 20)
            try:
                got = second.recv_exact(40 * len(mine))
            except (EOFError, TimeoutError):
                got = b"too little"
            if got != mine * 40 or second.recv_all(0.01):
                return got
        return None

    assert wrong("nutcracker", 300) is not None
    assert wrong("cashew", 30) is None


def test_sockets_leaked(ending, redis_servers, memcached_servers):
    """Hundreds of clients leave in the middle of requests and of replies."""
    for servers, redis in ((redis_servers(2), True), (memcached_servers(2), False)):
        one = side(ending, "cashew", lines_of(servers), redis=redis)
        request = resp("SET", "k", b"x" * 50_000) + resp("GET", "k") * 20 if redis else \
            b"set k 0 0 50000\r\n" + b"x" * 50_000 + b"\r\n" + b"get k\r\n" * 20
        with Raw(one.port, timeout=20) as client:
            client.send(request)
            client.recv_exact(20 * 50_000)
        wait_for(lambda: one.pool_stats()["client_connections"] == 0)
        before = descriptors(one.proxy.pid)
        rng = random.Random(3)
        for _ in range(4):
            crowd = [Raw(one.port) for _ in range(80)]
            for i, client in enumerate(crowd):
                client.send(request[:rng.randrange(len(request))] if i % 2 else request)
            for i, client in enumerate(crowd):
                client.reset() if i % 3 else client.close()
        wait_for(lambda: descriptors(one.proxy.pid) <= before, 5, "the count of the start")
        assert sockets_in(one.proxy.pid, "08") == 0
        assert one.pool_stats()["client_connections"] == 0


@needs_nutcracker
@pytest.mark.parametrize("protocol", ["redis", "memcache"])
def test_replies_lost_before_a_bad_request(ending, redis_server, memcached_server, protocol):
    """The valid requests before it are answered."""
    redis = protocol == "redis"
    good = resp("SET", "k", "v") + resp("GET", "k") if redis else b"set k 0 0 1\r\nv\r\nget k\r\n"
    expected = b"+OK\r\n$1\r\nv\r\n" if redis else b"STORED\r\n" + value(b"k", b"v") + b"END\r\n"
    bad = b"*1\r\n+GET\r\n" if redis else b"set k 0 0 -1\r\n"

    def story(name):
        one = side(ending, name, [redis_server if redis else memcached_server], redis=redis)
        with Raw(one.port) as client:
            return client.send(good + bad).recv_all(0.5)

    assert not story("nutcracker").startswith(expected)
    ours = story("cashew")
    assert ours.startswith(expected) and ours[len(expected):].startswith(
        b"-ERR Protocol error" if redis else b"CLIENT_ERROR")


@pytest.mark.parametrize("protocol", ["redis", "memcache"])
def test_replies_lost_before_one_that_breaks_off(ending, fake_server, protocol):
    """A server that dies in the middle of a reply: those before it, which came in the same piece, reach
    the client, and behind what came of the last one the end."""
    reply = bulk(b"right") if protocol == "redis" else value(b"k", b"right") + b"END\r\n"

    def answer(conn):
        conn.recv_until(b"k\r\n")
        conn.recv_until(b"k\r\n")
        conn.recv_until(b"k\r\n")
        conn.send(reply * 2 + reply[:-8])

    one = side(ending, "cashew", [f"127.0.0.1:{fake_server(answer).port}:1 s"],
               redis=protocol == "redis")
    with Raw(one.port) as client:
        client.send((resp("GET", "k") if protocol == "redis" else b"get k\r\n") * 3)
        assert client.recv_all(BOUND) == reply * 2 + reply[:-8] and client.eof


# ---------------------------------------------------------------- replies as they are

SHAPES = [
    ("GEOPOS", "geo", "none"), ("GEOPOS", "geo", "none", "here", "none"),
    ("EVAL", "return {{false, {}}, {{{1}}, false}, 'a\\r\\n$-1\\r\\n', -3}", "1", "k"),
    ("EVAL", "return {}", "1", "k"), ("EVAL", "return false", "1", "k"),
    ("EVAL", "return {{err='inner'}, {ok='fine'}}", "1", "k"),
    ("XINFO", "STREAM", "stream", "FULL"), ("XRANGE", "stream", "-", "+"),
    ("COMMAND", "INFO", "get", "nothing"), ("LPOS", "list", "none"),
    ("HRANDFIELD", "none", "3"), ("ZMSCORE", "none", "a", "b"), ("LMPOP", "1", "none", "LEFT"),
    ("EXPIRETIME", "none"), ("OBJECT", "ENCODING", "none"), ("SLOWLOG", "GET"),
]


def test_reply_shape_that_the_parser_does_not_know(ending, redis_server):
    """Nulls in arrays in arrays, and values that look like replies: each is passed on as the server
    sent it, and the next reply is the next request's."""
    direct = ending.add(Raw(redis_server.port))
    one = side(ending, "cashew", [redis_server], redis=True)
    direct.send(resp("GEOADD", "geo", "13", "38", "here") + resp("XADD", "stream", "1-1", "a", "b"))
    direct.recv_reply(), direct.recv_reply()
    trap = b"*1\r\n*-1\r\n$6\r\nPOISON\r\n" * 700
    with Raw(one.port) as client, Raw(one.port) as other:
        for turn in range(5):
            for words in SHAPES:
                client.send(resp("SET", "trap", trap) + resp(*words) + resp("GET", "trap"))
                other.send(resp("EVAL", f"return 'mine{turn}'", "1", "k"))
                assert client.recv_until() == b"+OK\r\n"
                got = client.recv_reply()
                if words[0] in ("GEOPOS", "EVAL", "XRANGE", "LPOS", "ZMSCORE", "LMPOP", "EXPIRETIME"):
                    direct.send(resp(*words))
                    assert got == direct.recv_reply(), words
                assert client.recv_reply() == bulk(trap), words
                assert other.recv_reply() == bulk(b"mine%d" % turn), words


@pytest.mark.parametrize("protocol", ["redis", "memcache"])
def test_failure_told_as_a_miss(ending, redis_server, memcached_server, protocol):
    """With one of two servers down, a request over both is an error that names it, never a miss or a
    smaller count."""
    redis = protocol == "redis"
    server = redis_server if redis else memcached_server
    one = side(ending, "cashew", [f"127.0.0.1:{server.port}:1 up", f"127.0.0.1:{free_port()}:1 down"],
               redis=redis, hash="md5")
    keys = [b"k%d" % i for i in range(30)]
    down = rb" Connection refused \(server 'down'\)\r\n"
    with Raw(one.port) as client:
        if redis:
            for words in (["MGET", *keys], ["DEL", *keys], ["EXISTS", *keys], ["TOUCH", *keys],
                          ["UNLINK", *keys], ["MSET", *(w for k in keys for w in (k, b"v"))]):
                client.send(resp(*words))
                assert re.fullmatch(b"-ERR" + down, client.recv_reply()), words[0]
        for key in keys:
            client.send(resp("SET", key, key) if redis else
                        b"set %s 0 0 %d\r\n%s\r\n" % (key, len(key), key))
        stored = [key for key in keys if client.recv_until() in (b"+OK\r\n", b"STORED\r\n")]
        assert 0 < len(stored) < len(keys)
        if not redis:
            client.send(b"get " + b" ".join(keys) + b"\r\n")
            hits = b"".join(value(key, key) for key in stored)
            got = client.recv_exact(len(hits))
            assert sorted(got.split(b"VALUE ")) == sorted(hits.split(b"VALUE "))
            assert re.fullmatch(b"SERVER_ERROR" + down, client.recv_until())
        for key in set(keys) - set(stored):
            client.send(resp("GET", key) if redis else b"get %s\r\n" % key)
            assert re.fullmatch((b"-ERR" if redis else b"SERVER_ERROR") + down, client.recv_until())
        assert client.recv_all(0.05) == b""


def test_error_for_a_quiet_request(ending, memcached_server):
    """Quiet requests to a server that is down are answered by nothing, and a multi-get that needs it
    by one error."""
    one = side(ending, "cashew", [f"127.0.0.1:{memcached_server.port}:1 up",
                                  f"127.0.0.1:{free_port()}:1 down"], hash="md5")
    quiet = b"".join(b"set k%d 0 0 1 noreply\r\nx\r\ndelete k%d noreply\r\nincr k%d 1 noreply\r\n"
                     b"touch k%d 0 noreply\r\n" % (i, i, i, i) for i in range(30))
    up = [b"k%d" % i for i in range(30)]
    with Raw(one.port) as client:
        client.send(quiet + b"get " + b" ".join(up) + b"\r\nnonsense\r\n")
        assert re.fullmatch(rb"SERVER_ERROR Connection refused \(server 'down'\)\r\n",
                            client.recv_until())
        assert client.recv_until() == b"ERROR\r\n"
        client.send(quiet * 3 + b"nonsense\r\n")
        assert client.recv_until() == b"ERROR\r\n"
        memcached_server.kill()
        client.send(quiet + b"nonsense\r\n")
        assert client.recv_until() == b"ERROR\r\n"
        assert client.recv_all(0.1) == b""


