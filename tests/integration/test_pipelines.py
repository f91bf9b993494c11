# SPDX-License-Identifier: BSD-3-Clause
"""Deep pipelines, many clients, big values and bytes in pieces: every reply is the asker's own."""

import hashlib
import os
import random
import socket
import threading
import time

import pytest
from harness import Raw, free_port, pool, resp, wait_for


@pytest.fixture
def redis_port(cashew, redis_servers):
    port = free_port()
    servers = [f"127.0.0.1:{s.port}:1 s{i}" for i, s in enumerate(redis_servers(3))]
    proxy = cashew(pool("p", port, servers, redis=True, hash="md5"))
    yield port
    assert proxy.running()


@pytest.fixture
def memcached_port(cashew, memcached_servers):
    port = free_port()
    servers = memcached_servers(3, args=["-I", "32m"])
    proxy = cashew(pool("p", port, [f"127.0.0.1:{s.port}:1 s{i}" for i, s in enumerate(servers)],
                        hash="md5"))
    yield port
    assert proxy.running()
    for server in servers:  # an orderly end takes memcached up to a second
        server.kill()


def bulk(value):
    return b"$%d\r\n%s\r\n" % (len(value), value)


def exchange(client, request, expected):
    """Sends while it receives, and compares."""
    sender = threading.Thread(target=client.send, args=(request,))
    sender.start()
    got = client.recv_exact(len(expected))
    sender.join()
    assert got == expected


# ---------------------------------------------------------------- depth

def test_whole_pipeline_sent_before_the_first_reply_is_read(redis_port):
    """As many clients do it: replies far beyond client_output_soft, requests beyond the sockets' buffers."""
    depth, value, note = 1_000, b"v" * 20_000, b"n" * 10_000
    sock = socket.socket()
    for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        sock.setsockopt(socket.SOL_SOCKET, buffer, 4096)
    sock.connect(("127.0.0.1", redis_port))
    with Raw(sock, timeout=20) as client:
        exchange(client, resp("SET", "big", value), b"+OK\r\n")
        client.send((resp("GET", "big") + resp("ECHO", note)) * depth)
        expected = bulk(value) + bulk(note)
        for _ in range(depth):
            assert client.recv_exact(len(expected)) == expected


def test_deep_redis_pipeline(redis_port):
    depth = 10_000
    with Raw(redis_port, timeout=60) as client:
        exchange(client, b"".join(resp("SET", f"k{i}", f"v{i}") for i in range(depth)),
                 b"+OK\r\n" * depth)
        exchange(client, b"".join(resp("GET", f"k{i}") for i in range(depth)),
                 b"".join(bulk(b"v%d" % i) for i in range(depth)))
        # Everything at once: forwarded, split, local, refused.
        exchange(client,
                 b"".join(resp("GET", f"k{i}") + resp("MGET", f"k{i}", "none", f"k{i + 1}")
                          + b"PING\r\n" + resp("NOTHING") for i in range(depth // 4)),
                 b"".join(bulk(b"v%d" % i) + b"*3\r\n" + bulk(b"v%d" % i) + b"$-1\r\n"
                          + bulk(b"v%d" % (i + 1)) + b"+PONG\r\n"
                          + b"-ERR unknown command 'NOTHING', with args beginning with: \r\n"
                          for i in range(depth // 4)))
        # Sent as a whole before the first reply is read.
        client.send(b"".join(resp("GET", f"k{i}") for i in range(depth)))
        time.sleep(0.2)
        expected = b"".join(bulk(b"v%d" % i) for i in range(depth))
        assert client.recv_exact(len(expected)) == expected


def test_deep_memcached_pipeline(memcached_port):
    depth = 10_000
    with Raw(memcached_port, timeout=60) as client:
        exchange(client, b"".join(b"set k%d 0 0 5\r\n%05d\r\n" % (i, i) for i in range(depth)),
                 b"STORED\r\n" * depth)
        exchange(client, b"".join(b"get k%d\r\n" % i for i in range(depth)),
                 b"".join(b"VALUE k%d 0 5\r\n%05d\r\nEND\r\n" % (i, i) for i in range(depth)))
        exchange(client, b"".join(b"delete k%d noreply\r\n" % i for i in range(depth)) + b"mn\r\n",
                 b"MN\r\n")
        exchange(client, b"get " + b" ".join(b"k%d" % i for i in range(0, depth, 100)) + b"\r\n",
                 b"END\r\n")


# ---------------------------------------------------------------- crowds

def redis_round(name, serial):
    """Some requests with tokens of this client's own, and what must come back."""
    token = f"{name}-{serial}-".encode() + b"t" * (serial * 37 % 900)
    keys = [f"{name}:{i}" for i in range(3)]
    request = b"".join(resp("SET", key, token) for key in keys) + resp("ECHO", token) \
        + b"".join(resp("GET", key) for key in keys) + resp("MGET", *keys) + resp("DEL", *keys)
    reply = b"+OK\r\n" * 3 + bulk(token) * 4 + b"*3\r\n" + bulk(token) * 3 + b":3\r\n"
    return request, reply


def memcached_round(name, serial):
    token = f"{name}-{serial}-".encode() + b"t" * (serial * 37 % 900)
    keys = [f"{name}:{i}".encode() for i in range(3)]
    values = [b"VALUE %s 0 %d\r\n%s\r\n" % (key, len(token), token) for key in keys]
    request = b"".join(b"set %s 0 0 %d\r\n%s\r\n" % (key, len(token), token) for key in keys) \
        + b"get %s\r\n" % keys[0] + b"get " + b" ".join(keys) + b"\r\n" \
        + b"".join(b"delete %s noreply\r\n" % key for key in keys) + b"get %s\r\n" % keys[2]
    reply = b"STORED\r\n" * 3 + values[0] + b"END\r\n" + b"".join(values) + b"END\r\nEND\r\n"
    return request, reply


def steady(port, make_round, name, rounds, failures):
    """A client that checks every byte it gets."""
    try:
        with Raw(port, timeout=60) as client:
            for serial in range(rounds):
                pieces = [make_round(name, serial * 3 + i) for i in range(3)]
                client.send(b"".join(request for request, _ in pieces))
                expected = b"".join(reply for _, reply in pieces)
                got = client.recv_exact(len(expected))
                if got != expected:
                    raise AssertionError(f"{name} got {got[:300]!r}, not {expected[:300]!r}")
    except BaseException as error:  # pylint: disable=broad-except
        failures.append(error)


def vanish(port, make_round, seed, stop):
    """Clients that leave in the middle of a request or of a reply, one after the other."""
    rng = random.Random(seed)
    serial = 0
    while not stop.is_set():
        serial += 1
        request, reply = make_round(f"gone{seed}", serial)
        try:
            with Raw(port) as client:
                client.send(request * 3 + request[:rng.randrange(len(request))])
                if rng.random() < 0.5:
                    client.recv_exact(rng.randrange(1, len(reply)))
                if rng.random() < 0.5:
                    client.reset()
        except (OSError, EOFError):
            pass


def crowd(port, make_round, rounds=12):
    failures, stop = [], threading.Event()
    leaving = [threading.Thread(target=vanish, args=(port, make_round, seed, stop))
               for seed in range(3)]
    staying = [threading.Thread(target=steady, args=(port, make_round, f"c{i}", rounds, failures))
               for i in range(50)]
    for thread in leaving + staying:
        thread.start()
    for thread in staying:
        thread.join()
    stop.set()
    for thread in leaving:
        thread.join()
    if failures:
        raise failures[0]


def test_redis_crowd(redis_port):
    crowd(redis_port, redis_round)


def test_memcached_crowd(memcached_port):
    crowd(memcached_port, memcached_round)


def test_nothing_is_left_behind(cashew, redis_servers):
    """When all clients are gone, so is everything that was theirs."""
    port = free_port()
    proxy = cashew(pool("p", port, redis_servers(2), redis=True, hash="md5"))
    crowd(port, redis_round, rounds=2)

    def quiet():
        stats = proxy.stats()["p"]
        queues = [server[name] for server in stats.values() if isinstance(server, dict)
                  for name in ("in_queue", "in_queue_bytes", "out_queue", "out_queue_bytes")]
        return stats["client_connections"] == 0 and not any(queues)
    wait_for(quiet, what="empty queues")
    stats = proxy.stats()["p"]
    assert stats["forward_error"] == 0
    for server in stats.values():
        if isinstance(server, dict):
            assert server["requests"] == server["responses"]
    assert proxy.stop() == 0


# ---------------------------------------------------------------- size

SIZES = [0, 1, 16383, 16384, 16385, 65535, 65536, 65537, 1 << 20, 20 << 20]


def a_value(size):
    return (os.urandom(min(size, 1 << 16)) * ((size >> 16) + 1))[:size]


def test_redis_values(redis_port):
    with Raw(redis_port, timeout=60) as client:
        for value in map(a_value, SIZES):
            exchange(client, resp("SET", "k", value) + resp("STRLEN", "k") + resp("GET", "k")
                     + resp("PING"),
                     b"+OK\r\n:%d\r\n" % len(value) + bulk(value) + b"+PONG\r\n")
            exchange(client, resp("MSET", "k", value, "other", "o", "third", value[:99])
                     + resp("MGET", "other", "k", "third"),
                     b"+OK\r\n*3\r\n" + bulk(b"o") + bulk(value) + bulk(value[:99]))


def test_memcached_values(memcached_port):
    with Raw(memcached_port, timeout=60) as client:
        for value in map(a_value, SIZES):
            block = b"VALUE k 0 %d\r\n%s\r\n" % (len(value), value)
            exchange(client, b"set k 0 0 %d\r\n%s\r\nset other 0 0 1\r\no\r\nget k\r\n"
                     b"get k other\r\n" % (len(value), value),
                     b"STORED\r\nSTORED\r\n" + block + b"END\r\n" + block
                     + b"VALUE other 0 1\r\no\r\nEND\r\n")


@pytest.mark.long
def test_half_a_gigabyte(redis_port):
    """The longest value that redis takes, and then one byte more."""
    size = 512 << 20
    piece = os.urandom(1 << 20)
    wanted = hashlib.sha256()
    with Raw(redis_port, timeout=100) as client:
        client.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n" % size)
        for _ in range(512):
            client.send(piece)
            wanted.update(piece)
        client.send(b"\r\n")
        assert client.recv_reply() == b"+OK\r\n"
        client.send(resp("STRLEN", "k") + resp("GET", "k") + resp("PING"))
        assert client.recv_until() == b":%d\r\n" % size
        assert client.recv_until() == b"$%d\r\n" % size
        got = hashlib.sha256()
        for _ in range(512):
            got.update(client.recv_exact(1 << 20))
        assert got.digest() == wanted.digest()
        assert client.recv_exact(9) == b"\r\n+PONG\r\n"
        client.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n" % (size + 1))
        assert client.recv_until() == b"-ERR Protocol error: invalid bulk length\r\n"
        assert client.closed()


# ---------------------------------------------------------------- pieces

REDIS_PIECES = [
    (b"PING\r\n", b"+PONG\r\n"),
    (resp("SET", "k1", "v1"), b"+OK\r\n"),
    (b"get k1\r\n", bulk(b"v1")),
    (resp("MSET", "a", "1", "b", "2", "c", "3"), b"+OK\r\n"),
    (resp("MGET", "a", "b", "c", "d"), b"*4\r\n" + bulk(b"1") + bulk(b"2") + bulk(b"3") + b"$-1\r\n"),
    (resp("DEL", "a", "b", "c", "d"), b":3\r\n"),
    (resp("SET", "k", b"\r\n*1\r\n$4\r\nPING\r\n") + resp("GET", "k"),
     b"+OK\r\n" + bulk(b"\r\n*1\r\n$4\r\nPING\r\n")),
    (resp("EVAL", "return {1,{2,{}},false}", 1, "k"), b"*3\r\n:1\r\n*2\r\n:2\r\n*0\r\n$-1\r\n"),
    (resp("NOTHING", "a") + resp("GET"),
     b"-ERR unknown command 'NOTHING', with args beginning with: 'a' \r\n"
     b"-ERR wrong number of arguments for 'get' command\r\n"),
]

MEMCACHED_PIECES = [
    (b"set k1 5 0 2\r\nv1\r\n", b"STORED\r\n"),
    (b"get k1\r\n", b"VALUE k1 5 2\r\nv1\r\nEND\r\n"),
    (b"set k2 0 0 4 noreply\r\n\r\n\r\n\r\nset k3 0 0 1\r\n3\r\n", b"STORED\r\n"),
    (b"get k1 k2 k3 k4\r\n",
     b"VALUE k1 5 2\r\nv1\r\nVALUE k2 0 4\r\n\r\n\r\n\r\nVALUE k3 0 1\r\n3\r\nEND\r\n"),
    (b"incr k3 4\r\ndelete k2\r\ntouch k1 100\r\nnothing\r\n",
     b"7\r\nDELETED\r\nTOUCHED\r\nERROR\r\n"),
]


def one_byte_at_a_time(port, pieces):
    with Raw(port) as client:
        for request, reply in pieces:
            for i in range(len(request)):
                client.send(request[i:i + 1])
                time.sleep(0.0002)
            assert client.recv_exact(len(reply)) == reply
        assert client.recv_all(0.05) == b""


def test_redis_one_byte_at_a_time(redis_port):
    one_byte_at_a_time(redis_port, REDIS_PIECES)


def test_memcached_one_byte_at_a_time(memcached_port):
    one_byte_at_a_time(memcached_port, MEMCACHED_PIECES)


def test_replies_one_byte_at_a_time(cashew, fake_server):
    """A server that sends its replies byte by byte, several of them for one read of requests."""
    replies = [b"+OK\r\n", b":-1\r\n", b"$-1\r\n", b"*-1\r\n", bulk(b"a\r\nb"), b"-ERR no\r\n",
               b"*3\r\n:1\r\n*1\r\n" + bulk(b"x") + b"*0\r\n"]

    def handler(conn):
        for reply in replies:
            conn.recv_until(b"k\r\n")
            for i in range(len(reply)):
                conn.send(reply[i:i + 1])
                time.sleep(0.0002)
        conn.recv_all(3600)
    server = fake_server(handler)
    port = free_port()
    cashew(pool("p", port, [server], redis=True))
    with Raw(port) as client:
        client.send(resp("GET", "k") * len(replies))
        assert client.recv_exact(sum(map(len, replies))) == b"".join(replies)
