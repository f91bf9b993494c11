# SPDX-License-Identifier: BSD-3-Clause
"""Servers that fail, before nutcracker and before cashew: what clients are told, when a server is
taken off the ring, where its keys go meanwhile, and when it is back."""

import socket
import time

import harness
import pytest
from compat import both, first_words, needs_nutcracker, numbers
from harness import Raw, free_port, resp

pytestmark = needs_nutcracker


def close_after_request(conn):
    conn.recv_until(b"\r\nGET\r\n")


def reset_after_request(conn):
    conn.recv_until(b"\r\nGET\r\n")
    conn.reset()


def silence(conn):
    while conn._fill(3600):
        conn.buffer = b""


def nonsense(conn):
    conn.recv_until(b"\r\nGET\r\n")
    conn.send(b"hello\r\n")
    conn._fill(10)


FAULTS = {
    "refused": (None, b"-ERR Connection refused\r\n"),
    "closed": (close_after_request, b"-ERR unknown\r\n"),
    "reset": (reset_after_request, b"-ERR Connection reset by peer\r\n"),
    "late": (silence, b"-ERR Connection timed out\r\n"),
    "nonsense": (nonsense, b"-ERR Invalid argument\r\n"),
}


def faulty(ending, fault, name="bad"):
    """The line of a server that fails so."""
    handler = FAULTS[fault][0]
    port = free_port() if handler is None else ending.add(harness.FakeServer(handler)).port
    return f"127.0.0.1:{port}:1 {name}"


def ask(client, key="k"):
    client.send(resp("GET", key))
    return first_words(client.recv_reply())


# ---------------------------------------------------------------- error texts

@pytest.mark.parametrize("fault", FAULTS)
def test_error_texts_and_counters(ending, fault):
    """The text begins as twemproxy's, the client stays, and the same is counted."""
    def story(one):
        with Raw(one.port) as client:
            replies = [ask(client) for _ in range(3)]
            client.send(resp("PING"))
            replies.append(client.recv_reply())
        # A late connection of ours has one more timeout for what others may still get from it.
        stats = one.settled(lambda s: s["forward_error"] == 3 and s["client_eof"] == 1
                            and s["bad"]["server_connections"] == 0)
        return replies, numbers(stats)

    theirs, ours = both(ending, [faulty(ending, fault)], story, redis=True, timeout=150)
    assert theirs[0] == ours[0] == [FAULTS[fault][1]] * 3 + [b"+PONG\r\n"]
    if fault == "refused":
        # After a refusal ours waits a little before it connects again: what is answered meanwhile
        # never was on its way to the server.
        for stats in (theirs[1], ours[1]):
            for name in ("requests", "request_bytes", "server_err"):
                assert stats["bad"].pop(name) > 0
    assert ours[1] == theirs[1]


@pytest.mark.parametrize("server, text", [
    ("no-such-host.invalid:6379:1 bad", b"-ERR Host is down\r\n"),
    ("/nowhere/redis.sock:1 bad", b"-ERR No such file or directory\r\n"),
])
def test_error_texts_of_places(ending, server, text):
    def story(one):
        with Raw(one.port) as client:
            return ask(client)

    assert both(ending, [server], story, redis=True) == [text, text]


def test_server_that_does_not_even_accept(ending):
    """The timeout covers connecting. The kernel drops connections that find the queue full."""
    deaf = ending.add(socket.socket())
    deaf.bind(("127.0.0.1", 0))
    deaf.listen(0)
    for _ in range(4):
        filler = ending.add(socket.socket())
        filler.setblocking(False)
        filler.connect_ex(deaf.getsockname())
    time.sleep(0.1)

    def story(one):
        with Raw(one.port) as client:
            begun = time.monotonic()
            reply = ask(client)
            took = time.monotonic() - begun
            stats = one.settled(lambda s: s["forward_error"] == 1)
            return reply, 0.25 < took < 2, stats["bad"]["server_timedout"]

    lines = [f"127.0.0.1:{deaf.getsockname()[1]}:1 bad"]
    theirs, ours = both(ending, lines, story, redis=True, timeout=300)
    assert ours == theirs == (b"-ERR Connection timed out\r\n", True, 1)


def test_words_behind_the_error(ending):
    """Ours goes on with what an operator needs."""
    port = free_port()
    ending.add(harness.Cashew(harness.pool("p", port, [faulty(ending, "late", "server1")],
                                           redis=True, timeout=100)))
    with Raw(port) as client:
        client.send(resp("GET", "k"))
        assert client.recv_reply() == b"-ERR Connection timed out (server 'server1', 100 ms)\r\n"


def test_late_reply_of_one_client(ending, fake_server):
    """Twemproxy fails everybody who waits on the connection; ours only who has waited too long."""
    def slow_for_the_first(conn):
        conn.recv_until(b"\r\nGET\r\n")
        time.sleep(0.45)
        conn.send(b"$4\r\nlate\r\n")
        conn.recv_until(b"\r\nGET\r\n")
        conn.send(b"$4\r\ngood\r\n")
        conn._fill(10)

    server = fake_server(slow_for_the_first)

    def story(one):
        with Raw(one.port) as first, Raw(one.port) as second:
            first.send(resp("GET", "a"))
            time.sleep(0.2)
            second.send(resp("GET", "b"))
            return [first_words(first.recv_reply()), first_words(second.recv_reply())]

    theirs, ours = both(ending, [server], story, redis=True, timeout=300)
    assert theirs == [b"-ERR Connection timed out\r\n"] * 2
    assert ours == [b"-ERR Connection timed out\r\n", b"$4\r\ngood\r\n"]


# ---------------------------------------------------------------- ejection

KEYS = [f"key{i}" for i in range(40)]




@pytest.mark.parametrize("limit", [1, 2, 3])
@pytest.mark.parametrize("fault", FAULTS)
def test_ejection_of_one(ending, redis_servers, fault, limit):
    """The same requests fail, the same number of times, and then all keys are on the others, at
    the same places; after the retry time it is tried again, and fails again: if it is not asked before."""
    good = redis_servers(2)
    for i, server in enumerate(good):
        server.client().mset({key: f"s{i}" for key in KEYS})
    lines = [faulty(ending, fault)] + [f"127.0.0.1:{s.port}:1 good{i}" for i, s in enumerate(good)]

    def story(one):
        told = []
        with Raw(one.port) as client:
            for again in range(2):
                time.sleep(1.1 * again)
                told.append([ask(client, key) for key in KEYS])
                told.append(one.settled(lambda s: s["server_ejects"] == len(told) // 2 + 1)
                            ["server_ejects"])
        moments = one.pool_stats()["bad"]["server_ejected_at"]
        assert abs(time.time() * 1e6 - moments) < 20e6
        return told

    theirs, ours = both(ending, lines, story, redis=True, hash="md5", timeout=150,
                        auto_eject_hosts=True, server_failure_limit=limit,
                        server_retry_timeout=1000, ours={"server_probe": False})
    assert ours == theirs
    assert theirs[0].count(FAULTS[fault][1]) == limit
    assert theirs[0][-1].startswith(b"$2\r\ns")


@pytest.mark.parametrize("limit", [1, 2])
@pytest.mark.parametrize("fault", FAULTS)
def test_ejection_of_several(ending, redis_servers, fault, limit):
    (good,) = redis_servers(1)
    good.client().mset({key: key for key in KEYS})
    lines = [faulty(ending, fault, f"bad{i}") for i in range(3)] + [f"127.0.0.1:{good.port}:1 good"]

    def story(one):
        with Raw(one.port) as client:
            told = [ask(client, key) for key in KEYS]
            return told, one.settled(lambda s: s["server_ejects"] == 3)["server_ejects"]

    theirs, ours = both(ending, lines, story, redis=True, hash="md5", timeout=150,
                        auto_eject_hosts=True, server_failure_limit=limit,
                        server_retry_timeout=60000)
    assert ours == theirs
    assert theirs[0].count(FAULTS[fault][1]) == 3 * limit


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("fault", ["refused", "closed", "late"])
def test_ejection_of_all(ending, fault, count):
    """Nobody is left: refused, until the first one may be tried again."""
    lines = [faulty(ending, fault, f"bad{i}") for i in range(count)]

    def story(one):
        told = []
        with Raw(one.port) as client:
            for _ in range(2):
                told.append([ask(client, key) for key in KEYS[:10]])
                time.sleep(0.5)
        return told

    theirs, ours = both(ending, lines, story, redis=True, hash="md5", timeout=100,
                        auto_eject_hosts=True, server_failure_limit=1, server_retry_timeout=400,
                        ours={"server_probe": False})
    assert ours == theirs
    for told in theirs:
        assert told[-1] == b"-ERR Connection refused\r\n"


def test_success_forgets_failures(ending, fake_server):
    """Failures count only in a row."""
    def moody(conn):
        """Answers one request, then closes upon the second."""
        conn.recv_until(b"\r\nGET\r\n")
        conn.send(b"$2\r\nok\r\n")
        conn.recv_until(b"\r\nGET\r\n")

    lines = [fake_server(moody), fake_server(moody)]

    def story(one):
        with Raw(one.port) as client:
            return [ask(client, key) for key in KEYS], one.pool_stats()["server_ejects"]

    theirs, ours = both(ending, lines, story, redis=True, hash="md5", auto_eject_hosts=True,
                        server_failure_limit=2, server_retry_timeout=60000)
    assert ours == theirs
    assert theirs[1] == 0 and theirs[0].count(b"-ERR unknown\r\n") > 5


def test_placement_of_all_keys_before_during_and_after(ending, redis_servers):
    """Where each key lies when all servers live, when one is away, and when it is back."""
    servers = redis_servers(3)
    for i, server in enumerate(servers):
        server.client().mset({key: f"s{i}" for key in KEYS})
    lines = [f"127.0.0.1:{s.port}:{i + 1} s{i}" for i, s in enumerate(servers)]

    def story(one):
        told = []
        with Raw(one.port) as client:
            told.append([ask(client, key) for key in KEYS])
            servers[1].kill()
            while not one.pool_stats()["server_ejects"]:
                for key in KEYS:
                    ask(client, key)
                time.sleep(0.02)
            told.append([ask(client, key) for key in KEYS])
            servers[1].start()
            servers[1].client().mset({key: "s1" for key in KEYS})
            time.sleep(0.8)
            told.append([ask(client, key) for key in KEYS])
            return told

    theirs, ours = both(ending, lines, story, redis=True, hash="fnv1a_64", auto_eject_hosts=True,
                        server_failure_limit=1, server_retry_timeout=700)
    assert ours == theirs
    assert theirs[0] == theirs[2] != theirs[1]
    assert b"$2\r\ns1\r\n" not in theirs[1]


def test_idle_connection_that_the_server_closes(ending, redis_server):
    """Twemproxy counts it as a failure of the server, and may eject it for that; ours does not."""
    def story(one):
        with Raw(one.port) as client:
            ask(client)
            redis_server.client().client_kill_filter(_type="normal", skipme=True)
            time.sleep(0.1)
            reply = ask(client)
            return reply, one.settled(lambda s: s["s"]["server_eof"] == 1)["server_ejects"]

    theirs, ours = both(ending, [f"127.0.0.1:{redis_server.port}:1 s"], story, redis=True,
                        auto_eject_hosts=True, server_failure_limit=1, server_retry_timeout=60000)
    assert theirs == (b"-ERR Connection refused\r\n", 1)
    assert ours == (b"$-1\r\n", 0)


# ---------------------------------------------------------------- connections

def test_server_connections(ending, redis_server):
    """Both open as many; ours keeps each client to one of them, so that its requests stay in
    order."""
    def story(one):
        clients = [Raw(one.port) for _ in range(12)]
        for client in clients:
            client.send(resp("INCR", "n") * 50)
        ordered = True
        for client in clients:
            numbers_of = [int(client.recv_reply()[1:]) for _ in range(50)]
            ordered = ordered and numbers_of == sorted(numbers_of)
            client.close()
        found = one.settled(lambda s: s["s"]["responses"] == 600)["s"]["server_connections"]
        return found, ordered

    theirs, ours = both(ending, [f"127.0.0.1:{redis_server.port}:1 s"], story, redis=True,
                        server_connections=4)
    assert theirs[0] == ours[0] == 4
    assert ours[1]


@pytest.mark.parametrize("preconnect", [False, True])
def test_preconnect(ending, redis_server, preconnect):
    """Ours opens all of a server's connections, twemproxy the first."""
    def story(one):
        want = (4 if one.ours else 1) if preconnect else 0
        if not preconnect:
            time.sleep(0.1)
        one.settled(lambda s: s["s"]["server_connections"] == want)
        return want

    both(ending, [f"127.0.0.1:{redis_server.port}:1 s"], story, redis=True,
         preconnect=preconnect, server_connections=4)
