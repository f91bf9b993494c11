# SPDX-License-Identifier: BSD-3-Clause
"""Transactions, watched keys and requests that wait for data, on real servers: what a client is told
is what one server tells, and nobody else waits or notices."""

import random
import threading
import time

import pytest

import harness
from harness import Raw, free_port, pool, resp

HASH_TAG = "{}"


def ask(raw, *words):
    raw.send(resp(*words))
    return raw.recv_reply()


@pytest.fixture
def shards(redis_servers):
    return redis_servers(3)


def start(cashew, servers, args=(), **keys):
    port = free_port()
    options = dict(redis=True, hash="murmur", hash_tag=HASH_TAG, timeout=2000)
    options.update(keys)
    process = cashew(pool("alpha", f"127.0.0.1:{port}",
                          [f"127.0.0.1:{s.port}:1 s{i}" for i, s in enumerate(servers)], **options),
                     args=list(args))
    process.port = port
    return process


@pytest.fixture
def proxy(cashew, shards):
    return start(cashew, shards)


# Each line is a session of its own; errors and odd orders included.
SCRIPTS = [
    [("MULTI",), ("SET", "{a}1", "x"), ("GET", "{a}1"), ("EXEC",), ("GET", "{a}1")],
    [("MULTI",), ("EXEC",), ("EXEC",), ("DISCARD",)],
    [("MULTI",), ("MULTI",), ("SET", "{a}2", 1), ("INCR", "{a}2"), ("EXEC",)],
    [("MULTI",), ("WATCH", "{a}1"), ("PING",), ("ECHO", "hi"), ("EXEC",)],
    [("MULTI",), ("GET",), ("SET", "{a}3", 1), ("EXEC",), ("GET", "{a}3")],
    [("MULTI",), ("NOSUCH", "x"), ("EXEC",), ("PING",)],
    [("MULTI",), ("SET", "{a}4", "s"), ("LPUSH", "{a}4", "x"), ("GET", "{a}4"), ("EXEC",)],
    [("MULTI",), ("SET", "{a}5", "s"), ("DISCARD",), ("GET", "{a}5"), ("EXEC",)],
    [("UNWATCH",), ("WATCH", "{a}6"), ("SET", "{a}6", 1), ("MULTI",), ("GET", "{a}6"), ("EXEC",)],
    [("WATCH", "{a}7"), ("GET", "{a}7"), ("MULTI",), ("SET", "{a}7", 7), ("EXEC",), ("GET", "{a}7")],
    [("WATCH", "{a}8"), ("SET", "{a}8", 1), ("UNWATCH",), ("MULTI",), ("GET", "{a}8"), ("EXEC",)],
    [("WATCH", "{a}9"), ("SET", "{a}9", 1), ("MULTI",), ("SET", "{a}9", 2), ("DISCARD",),
     ("MULTI",), ("GET", "{a}9"), ("EXEC",)],
    [("WATCH", "{a}1", "{a}2"), ("MULTI",), ("EXEC",)],
    [("MULTI",), ("BLPOP", "{a}none", 0), ("BRPOPLPUSH", "{a}none", "{a}o", 0),
     ("XREAD", "BLOCK", 0, "STREAMS", "{a}x", "$"), ("EXEC",)],
    [("MULTI",), ("MGET", "{a}1", "{a}2", "{a}none"), ("DEL", "{a}1", "{a}none"),
     ("EXISTS", "{a}2", "{a}2"), ("MSET", "{a}10", 1, "{a}11", 2), ("EXEC",)],
    [("MULTI",), ("EVAL", "return redis.call('INCR', KEYS[1])", 1, "{a}12"),
     ("EVAL", "return redis.error_reply('x')", 1, "{a}12"), ("EXEC",)],
    [("BLPOP", "{a}none", 0.05), ("BLMOVE", "{a}none", "{a}l", "LEFT", "RIGHT", 0.05),
     ("BZPOPMIN", "{a}none", 0.05), ("BLMPOP", 0.05, 1, "{a}none", "LEFT")],
    [("RPUSH", "{a}list", 1, 2, 3), ("BLPOP", "{a}none", "{a}list", 0), ("BRPOP", "{a}list", 1),
     ("BLMOVE", "{a}list", "{a}other", "LEFT", "LEFT", 1), ("LRANGE", "{a}other", 0, -1)],
    [("BLPOP", "{a}2", 0), ("BLPOP", "{a}none", "x"), ("BLPOP", "{a}none", -1), ("BLPOP", "{a}none")],
    [("XADD", "{a}s", "1-1", "f", "v"), ("XREAD", "BLOCK", 50, "STREAMS", "{a}s", 0),
     ("XREAD", "BLOCK", 50, "STREAMS", "{a}s", "$"), ("XREAD", "BLOCK", "x", "STREAMS", "{a}s", 0)],
    [("WATCH", "{a}20"), ("BLPOP", "{a}none", 0.05), ("MULTI",), ("SET", "{a}20", 1), ("EXEC",)],
    [("MULTI",), ("SET", "{a}30", 1), ("EXEC", "x"), ("GET", "{a}30"), ("EXEC",), ("EXEC", "x")],
    [("WATCH", "{a}31"), ("EXEC", "x"), ("SET", "{a}31", 1), ("MULTI",), ("PING",), ("EXEC",)],
    [("MULTI",), ("SET", "{a}40", 1), ("RESET",), ("EXEC",), ("GET", "{a}40"), ("DISCARD",)],
    [("MULTI",), ("NOSUCH",), ("RESET",), ("MULTI",), ("PING",), ("EXEC",), ("RESET",)],
    [("WATCH", "{a}41"), ("SET", "{a}41", 1), ("RESET",), ("MULTI",), ("GET", "{a}41"), ("EXEC",)],
    [("WATCH", "{a}42"), ("SET", "{a}42", 1), ("MULTI",), ("RESET",), ("MULTI",), ("GET", "{a}42"),
     ("EXEC",), ("UNWATCH",)],
    [("SELECT", 3), ("SET", "{a}43", 3), ("MULTI",), ("RESET",), ("GET", "{a}43"), ("SELECT", 3),
     ("GET", "{a}43"), ("CLIENT", "SETNAME", "me"), ("RESET",), ("CLIENT", "GETNAME")],
    [("MULTI",), ("RESET", "x"), ("EXEC",), ("RESET",), ("HGETALL", "{a}none")],
    [("QUIT",)],
]


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("pipelined", [False, True])
def test_told_as_by_one_server(proxy, redis_server, version, pipelined):
    for script in SCRIPTS:
        told = []
        for port in (redis_server.port, proxy.port):
            with Raw(port) as raw:
                ask(raw, "HELLO", version)
                if pipelined:
                    raw.send(b"".join(resp(*words) for words in script))
                    told.append([raw.recv_reply() for _ in script])
                else:
                    told.append([ask(raw, *words) for words in script])
        assert told[1] == told[0], script


def test_keys_on_other_servers_are_refused(proxy):
    raw = Raw(proxy.port)
    keys = [f"key{i}" for i in range(20)]
    ask(raw, "MULTI")
    told = [ask(raw, "SET", key, 1) for key in keys]
    assert told[0] == b"+QUEUED\r\n" and any(t.startswith(b"-CROSSSLOT ") for t in told)
    assert ask(raw, "EXEC").startswith(b"-EXECABORT ")
    assert ask(raw, "EXISTS", *keys) == b":0\r\n"
    assert ask(raw, "WATCH", *keys).startswith(b"-CROSSSLOT ")
    assert ask(raw, "BLPOP", *keys, 0).startswith(b"-CROSSSLOT ")
    ask(raw, "MULTI")
    assert ask(raw, "CLIENT", "SETNAME", "x").startswith(b"-ERR ")
    assert ask(raw, "SELECT", 3).startswith(b"-ERR ")
    assert ask(raw, "EXEC").startswith(b"-EXECABORT ")


def test_transactions_do_not_mix(proxy):
    """Many clients move numbers between keys of one server in transactions, on the connection that
    they share: each EXEC has its own replies, and the sum stays."""
    tags = [f"{{t{i}}}" for i in range(6)]
    with Raw(proxy.port) as raw:
        for tag in tags:
            assert ask(raw, "MSET", tag + "a", 1000, tag + "b", 1000) == b"+OK\r\n"
    failures = []

    def work(seed):
        chance = random.Random(seed)
        with Raw(proxy.port) as raw:
            for i in range(150):
                tag, n = chance.choice(tags), chance.randrange(1, 50)
                token = f"{seed}-{i}"
                raw.send(resp("MULTI") + resp("DECRBY", tag + "a", n) + resp("ECHO", token)
                         + resp("INCRBY", tag + "b", n) + resp("EXEC"))
                told = [raw.recv_reply() for _ in range(5)]
                echo = b"$%d\r\n%s\r\n" % (len(token), token.encode())
                if told[:4] != [b"+OK\r\n"] + [b"+QUEUED\r\n"] * 3 or echo not in told[4]:
                    failures.append(told)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with Raw(proxy.port) as raw:
        for tag in tags:
            a, b = (int(ask(raw, "GET", tag + x).split(b"\r\n")[1]) for x in "ab")
            assert a + b == 2000


def test_watch_counts_without_losing_any(proxy):
    """The classic: read, add one, write if nobody else did."""
    counts = []

    def work():
        done = 0
        with Raw(proxy.port) as raw:
            while done < 30:
                ask(raw, "WATCH", "{n}")
                now = ask(raw, "GET", "{n}").split(b"\r\n")
                value = 0 if now[0] == b"$-1" else int(now[1])
                ask(raw, "MULTI")
                ask(raw, "SET", "{n}", value + 1)
                done += ask(raw, "EXEC") == b"*1\r\n+OK\r\n"
        counts.append(done)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [30] * 6
    assert ask(Raw(proxy.port), "GET", "{n}") == b"$3\r\n180\r\n"


def test_blocked_clients_hold_up_nobody(proxy):
    waiting = [Raw(proxy.port) for _ in range(40)]
    for i, raw in enumerate(waiting):
        raw.send(resp("BLPOP", f"{{q}}{i}", 0) + resp("PING"))
    other = Raw(proxy.port)
    time.sleep(0.3)
    begin = time.monotonic()
    for i in range(200):
        assert ask(other, "SET", f"{{q}}x{i}", i) == b"+OK\r\n"
    assert time.monotonic() - begin < 2
    order = list(range(40))
    random.Random(1).shuffle(order)
    for i in order:
        assert ask(other, "RPUSH", f"{{q}}{i}", f"v{i}") == b":1\r\n"
        key, value = f"{{q}}{i}", f"v{i}"
        want = f"*2\r\n${len(key)}\r\n{key}\r\n${len(value)}\r\n{value}\r\n+PONG\r\n".encode()
        assert waiting[i].recv_exact(len(want)) == want


def connections(shards, word):
    return sum(word in line for s in shards
               for line in s.client().execute_command("CLIENT", "LIST").decode().splitlines())


def wait_for(what, seconds=10):
    end = time.monotonic() + seconds
    while not what() and time.monotonic() < end:
        time.sleep(0.05)
    return what()


@pytest.mark.parametrize("behind", [b"", resp("PING") * 3])
@pytest.mark.parametrize("how", ["close", "half_close"])
def test_a_client_that_goes_waits_no_more(proxy, shards, how, behind):
    """What comes later is not lost to somebody who is gone, whatever was asked behind."""
    raw = Raw(proxy.port)
    raw.send(resp("BLPOP", "{q}", 0) + behind)
    assert wait_for(lambda: connections(shards, "cmd=blpop") == 1)
    getattr(raw, how)()
    assert wait_for(lambda: connections(shards, "cmd=blpop") == 0)
    if how == "half_close":
        told = raw.recv_all(2)
        assert told.startswith(b"-ERR ") and b": its client sends no more)\r\n" in told
        assert told.endswith(b"\r\n" + b"+PONG\r\n" * (len(behind) // len(resp("PING"))))
    other = Raw(proxy.port)
    assert ask(other, "RPUSH", "{q}", "v") == b":1\r\n"
    assert ask(other, "LPOP", "{q}") == b"$1\r\nv\r\n"
    assert "connection to server ended" not in proxy.log()


def test_timeout_does_not_end_a_wait(cashew, shards):
    proxy = start(cashew, shards, timeout=200)
    raw, ever = Raw(proxy.port), Raw(proxy.port)
    ever.send(resp("BLPOP", "{q}ever", 0))
    begin = time.monotonic()
    assert ask(raw, "BLPOP", "{q}", 1) == b"*-1\r\n"
    assert 0.9 < time.monotonic() - begin < 3
    assert ask(raw, "RPUSH", "{q}ever", "v") == b":1\r\n"
    assert ever.recv_reply() == b"*2\r\n$7\r\n{q}ever\r\n$1\r\nv\r\n"


def test_a_server_that_hangs_ends_a_wait_with_a_bound(cashew, shards):
    proxy = start(cashew, shards, timeout=300)
    raw = Raw(proxy.port)
    assert ask(raw, "BLPOP", "{q}", 0.1) == b"*-1\r\n"
    for server in shards:
        server.pause()
    begin = time.monotonic()
    told = ask(raw, "BLPOP", "{q}", 0.5)
    assert told.startswith(b"-ERR Connection timed out (server 's")
    assert 0.7 < time.monotonic() - begin < 5
    for server in shards:
        server.resume()
    assert wait_for(lambda: ask(raw, "SET", "{q}x", 1) == b"+OK\r\n")


def test_transaction_fails_when_what_it_watched_can_not_be_known(proxy, shards):
    """The server goes and comes back between WATCH and EXEC: the keys may have changed unseen."""
    raw = Raw(proxy.port)
    assert ask(raw, "WATCH", "{k}") == b"+OK\r\n"
    for server in shards:
        server.kill()
    for server in shards:
        server.restart()
    other = Raw(proxy.port)
    assert wait_for(lambda: ask(other, "SET", "{k}", "theirs") == b"+OK\r\n")
    ask(raw, "MULTI")
    assert ask(raw, "SET", "{k}", "mine") == b"+QUEUED\r\n"
    assert ask(raw, "EXEC") == b"*-1\r\n"
    assert ask(raw, "GET", "{k}") == b"$6\r\ntheirs\r\n"


def test_private_connections_are_bounded_and_reused(cashew, shards):
    proxy = start(cashew, shards, args=["--workers=1"], session_connections=3)
    waiting = [Raw(proxy.port) for _ in range(3)]
    for raw in waiting:
        raw.send(resp("BLPOP", "{q}", 0))
    assert wait_for(lambda: connections(shards, "cmd=blpop") == 3)
    raw = Raw(proxy.port)
    told = ask(raw, "BLPOP", "{q}", 0)
    assert told.startswith(b"-ERR too many connections are in use (server 's")
    assert b"session_connections: 3" in told
    assert ask(raw, "RPUSH", "{q}", 1, 2, 3) == b":3\r\n"
    for one in waiting:
        assert one.recv_reply().startswith(b"*2\r\n")
    for _ in range(50):
        assert ask(raw, "BLPOP", "{q}", 0.01) == b"*-1\r\n"
        assert ask(raw, "WATCH", "{q}") == b"+OK\r\n"
        assert ask(raw, "UNWATCH") == b"+OK\r\n"
    assert connections(shards, "cmd=blpop") + connections(shards, "cmd=unwatch") <= 3


def test_orderly_end_answers_who_waits(proxy):
    raw = Raw(proxy.port)
    raw.send(resp("BLPOP", "{q}", 0))
    time.sleep(0.3)
    begin = time.monotonic()
    assert proxy.stop() == 0
    assert time.monotonic() - begin < 3
    assert raw.recv_all(2).endswith(b": shutting down)\r\n")


def test_large_transaction(cashew, shards):
    proxy = start(cashew, shards, max_request_size=100000)
    raw = Raw(proxy.port)
    ask(raw, "MULTI")
    raw.send(b"".join(resp("SET", f"{{k}}{i}", "x" * 50) for i in range(900)))
    assert [raw.recv_reply() for _ in range(900)] == [b"+QUEUED\r\n"] * 900
    assert ask(raw, "EXEC") == b"*900\r\n" + b"+OK\r\n" * 900
    ask(raw, "MULTI")
    raw.send(b"".join(resp("SET", f"{{k}}{i}", "x" * 500) for i in range(300)))
    told = [raw.recv_reply() for _ in range(300)]
    assert told[0] == b"+QUEUED\r\n"
    assert told[-1] == b"-ERR transaction is too large (max_request_size is 100000 bytes)\r\n"
    assert ask(raw, "EXEC").startswith(b"-EXECABORT ")
    assert ask(raw, "GET", "{k}0") == b"$50\r\n" + b"x" * 50 + b"\r\n"
