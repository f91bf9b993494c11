# SPDX-License-Identifier: BSD-3-Clause
"""memcached's meta commands over several servers. Their answers, word for word, are compared with a
memcached's in test_memcache_framing.py."""

import base64

import harness
import pytest

KEYS = [b"key:%d" % i for i in range(60)]


@pytest.fixture
def place(cashew, memcached_servers):
    """cashew before three memcacheds: (port, servers)."""
    servers = memcached_servers(3)
    port = harness.free_port()
    names = [f"{server.address}:1 s{i}" for i, server in enumerate(servers)]
    cashew(harness.pool("mem", port, names, hash="murmur", timeout=2000))
    return port, servers


def talk(port, request, end=b"MN\r\n"):
    with harness.Raw(port) as conn:
        conn.send(request)
        return conn.recv_until(end)


def homes(port, servers):
    """Sets all keys; returns the keys of each server."""
    talk(port, b"".join(b"set %s 0 0 1 noreply\r\nx\r\n" % key for key in KEYS) + b"mn\r\n")
    found = [[key for key in KEYS if server.client().get(key) is not None] for server in servers]
    assert sum(map(len, found)) == len(KEYS)
    assert all(found)
    return found


def test_quiet_misses_of_all_servers(place):
    port, servers = place
    homes(port, servers)
    hits = KEYS[::3]
    asked = [key if key in hits else b"no-" + key for key in KEYS]
    answer = talk(port, b"".join(b"mg %s k v q\r\n" % key for key in asked) + b"mn\r\n")
    assert answer == b"".join(b"VA 1 k%s\r\nx\r\n" % key for key in hits) + b"MN\r\n"


def test_barrier_waits_for_every_server(place):
    """What was asked before MN is done on all servers when it comes."""
    port, servers = place
    for i in range(20):
        talk(port, b"".join(b"ms %s 3 q\r\n%03d\r\n" % (key, i) for key in KEYS) + b"mn\r\n")
        stored = {}
        for server in servers:
            stored.update(server.client().get_many([key.decode() for key in KEYS]))
        assert stored == {key.decode(): b"%03d" % i for key in KEYS}


def test_barrier_behind_a_slow_server(place):
    port, servers = place
    found = homes(port, servers)
    with harness.Raw(port) as conn:
        servers[1].pause()
        try:
            conn.send(b"mg %s q\r\nmg %s k q\r\nmn\r\n" % (b"no" + found[1][0], found[1][0]))
            assert conn.recv_all(0.3) == b""
        finally:
            servers[1].resume()
        assert conn.recv_until(b"MN\r\n") == b"HD k%s\r\nMN\r\n" % found[1][0]


def test_base64_keys_go_where_they_go_as_text(place):
    port, servers = place
    homes(port, servers)
    for key in KEYS:
        coded = base64.b64encode(key)
        answer = talk(port, b"mg %s b v k\r\nms %s 1 b q\r\ny\r\nmn\r\nget %s\r\n" % (coded, coded, key),
                      b"END\r\n")
        assert answer == b"VA 1 k%s\r\nx\r\nMN\r\nVALUE %s 0 1\r\ny\r\nEND\r\n" % (key, key)


def test_hash_tag_of_a_base64_key(cashew, memcached_servers):
    servers = memcached_servers(3)
    port = harness.free_port()
    cashew(harness.pool("mem", port, servers, hash_tag="{}", hash="murmur"))
    for i in range(20):
        talk(port, b"ms %s 1 b q\r\n1\r\nms {tag}x%d 1 q\r\n2\r\nmn\r\n"
             % (base64.b64encode(b"{tag}%d" % i), i))
    counts = [sum(server.client().get(b"{tag}%s%d" % (x, i)) is not None
                  for x in (b"", b"x") for i in range(20)) for server in servers]
    assert sorted(counts) == [0, 0, 40]


def test_quiet_request_to_a_dead_server(place):
    """An error is no miss: it is said, once, in its turn."""
    port, servers = place
    found = homes(port, servers)
    servers[0].kill()
    answer = talk(port, b"mg %s v q\r\nms %s 1 q\r\nx\r\nmg %s k q\r\nmd no q\r\nmn\r\n"
                  % (found[0][0], found[0][1], found[1][0]))
    lines = answer.split(b"\r\n")
    assert [line.split()[0] for line in lines[:3]] == [b"SERVER_ERROR", b"SERVER_ERROR", b"HD"]
    assert lines[-2:] == [b"MN", b""]


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_quiet_answers_in_pieces(cashew, fake_server, raw, size):
    """Nothing of an answer that is not wanted gets out, in whatever pieces it comes."""
    answers = {b"mg a v\r\n": b"VA 2 s2\r\nhi\r\n", b"mg b v\r\n": b"EN\r\n", b"mg c\r\n": b"HD\r\n",
               b"md d k\r\n": b"HD kd\r\n", b"md e\r\n": b"NF\r\n", b"ma f v\r\n": b"VA 1\r\n7\r\n",
               b"ma g\r\n": b"CLIENT_ERROR no number\r\n", b"me h\r\n": b"EN\r\n"}
    heard = (b"mg a v\r\n", b"mg c\r\n", b"md e\r\n", b"ma g\r\n", b"me h\r\n")

    def serve(conn):
        while True:
            try:
                answer = answers[conn.recv_until(b"\r\n")]
            except (EOFError, OSError):
                return
            for i in range(0, len(answer), size):
                conn.send(answer[i:i + size])

    port = harness.free_port()
    cashew(harness.pool("mem", port, [fake_server(serve)]))
    conn = raw(port)
    for _ in range(3):
        conn.send(b"".join(line[:-2] + b" q\r\n" for line in answers) + b"mn\r\n")
        assert conn.recv_until(b"MN\r\n") == b"".join(answers[line] for line in heard) + b"MN\r\n"


def test_server_that_does_not_know_ms(cashew, fake_server, raw):
    """It reads the data as requests, so that nothing it says can be trusted any more."""
    def serve(conn):
        conn.recv_until(b"\r\n")
        conn.send(b"ERROR\r\nVALUE x 0 1\r\n?\r\nEND\r\n")
        conn.closed(5)

    port = harness.free_port()
    cashew(harness.pool("mem", port, [fake_server(serve)]))
    conn = raw(port)
    conn.send(b"ms a 7 q\r\nget x\r\n\r\nmn\r\n")
    assert conn.recv_until(b"\r\n").startswith(b"SERVER_ERROR Invalid argument")
    assert conn.recv_until(b"\r\n") == b"MN\r\n"


def test_large_value(place):
    """It is passed on as it comes, quietly asked for or not."""
    port, _ = place
    value = bytes(range(256)) * 3000
    with harness.Raw(port) as conn:
        conn.send(b"ms big %d q\r\n%s\r\nmg big v q\r\nmn\r\n" % (len(value), value))
        wanted = b"VA %d\r\n%s\r\nMN\r\n" % (len(value), value)
        assert conn.recv_exact(len(wanted)) == wanted
