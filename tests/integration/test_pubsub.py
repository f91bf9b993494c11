# SPDX-License-Identifier: BSD-3-Clause
"""Publish and subscribe, on real servers: a subscriber is told what one server tells, and hears each message once, whichever
server it is published on and whatever becomes of that; and many subscribers are few connections."""

import socket
import threading
import time

import pytest

import harness
from harness import Raw, free_port, pool, resp, wait_for

KEYS = dict(redis=True, hash="murmur", hash_tag="{}", timeout=2000)


def start(cashew, servers, args=(), **keys):
    port = free_port()
    process = cashew(pool("alpha", port, [f"127.0.0.1:{s.port}:1 s{i}" for i, s in enumerate(servers)],
                          **{**KEYS, **keys}), args=list(args))
    process.port = port
    return process


def read_value(raw):
    """The bytes of one reply or push of either version."""
    line = raw.recv_until(b"\r\n")
    kind, rest = line[:1], line[1:-2]
    if kind in b"+-:_#,(":
        return line
    count = int(rest)
    if kind in b"$=!":
        return line if count < 0 else line + raw.recv_exact(count + 2)
    return line + b"".join(read_value(raw) for _ in range(max(count, 0) * (1 + (kind == b"%"))))


def read_values(raw, count):
    return [read_value(raw) for _ in range(count)]


def ask(raw, *words):
    raw.send(resp(*words))
    return read_value(raw)


def told(resp_version, what, name, count):
    mark = b">" if resp_version == 3 else b"*"
    text = b"$%d\r\n%s\r\n" % (len(name), name.encode()) if name is not None \
        else (b"_\r\n" if resp_version == 3 else b"$-1\r\n")
    return mark + b"3\r\n$%d\r\n%s\r\n" % (len(what), what.encode()) + text + b":%d\r\n" % count


def news(resp_version, *parts):
    mark = b">" if resp_version == 3 else b"*"
    return mark + resp(*parts)[1:]


@pytest.fixture(scope="module")
def shards():
    servers = [harness.Redis() for _ in range(3)]
    yield servers
    for server in servers:
        server.close()


@pytest.fixture(params=[1, 3])
def proxy(request, cashew, shards):
    return start(cashew, shards[:request.param])


def connections(server):
    """What the server tells of its connections, that by which it is asked left out."""
    with Raw(server.port) as admin:
        lines = ask(admin, "CLIENT", "LIST").decode().split("\n")[1:]
    found = [dict(word.split("=", 1) for word in line.split()) for line in lines if line.strip()]
    return [c for c in found if c["cmd"] != "client|list"]


def subscriptions(servers, kind="sub"):
    """How many subscriptions the connections of each server have, one list each."""
    return [sorted(int(c[kind]) for c in connections(s) if int(c[kind]) > 0) for s in servers]


# ---------------------------------------------------------------- as one server

# Sessions of one client; the number of replies of each request is that of one server, since a reply that
# is missing or too much would show in the next.
SESSIONS = [
    ["SUBSCRIBE a b a", "PING", "PING x", "PING a b", "GET x", "get", "CLIENT INFO", "client nope", "nope x", "HELLO 3",
     "AUTH x", "SELECT 2", "MULTI", "PSUBSCRIBE p*", "SSUBSCRIBE s", "UNSUBSCRIBE a b", "UNSUBSCRIBE q", "UNSUBSCRIBE",
     "PUNSUBSCRIBE", "SUNSUBSCRIBE", "GET x", "SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "UNSUBSCRIBE z y", "PING", "QUIT"],
    ["UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE", "SUNSUBSCRIBE x", "PSUBSCRIBE ab* a? [a-c]d", "PUNSUBSCRIBE nope",
     "PUNSUBSCRIBE a?", "SSUBSCRIBE x y x", "SUBSCRIBE x", "UNSUBSCRIBE x", "SUNSUBSCRIBE nope", "SUNSUBSCRIBE y",
     "RESET", "GET x", "SUBSCRIBE c", "UNSUBSCRIBE"],
    ["PSUBSCRIBE *", "QUIT"],
    ["CLIENT REPLY SKIP", "SUBSCRIBE x y", "UNSUBSCRIBE x y", "CLIENT REPLY OFF", "SSUBSCRIBE x", "PING", "SUNSUBSCRIBE",
     "GET x", "CLIENT REPLY ON"],
    ["SUBSCRIBE __keyspace@0__:x", "UNSUBSCRIBE", "SUBSCRIBE \"\"", "UNSUBSCRIBE"],
]


def play(port, session, version):
    """All that comes back for the session, byte for byte."""
    with Raw(port) as raw:
        if version == 3:
            ask(raw, "HELLO", "3")
        for request in session:
            raw.send(request.encode() + b"\r\n")
        if session[-1] != "QUIT":
            raw.send(b"ECHO end-of-it\r\n")
            return raw.recv_until(b"end-of-it\r\n")
        assert raw.closed()
        return raw.recv_all()


@pytest.mark.parametrize("version", [2, 3])
def test_sessions_are_as_with_one_server(proxy, shards, version):
    for session in SESSIONS:
        if version == 3:  # what is refused in RESP2 alone is another test's
            session = [r for r in session if not r.startswith(("CLIENT INFO", "HELLO", "AUTH", "SELECT", "MULTI"))]
        assert play(proxy.port, session, version) == play(shards[0].port, session, version)


@pytest.mark.parametrize("version", [2, 3])
def test_messages_come_once(proxy, version):
    """From every server, by channel, pattern, and both; of sharded channels, too."""
    names = ["news%d" % i for i in range(12)]
    with Raw(proxy.port) as sub, Raw(proxy.port) as pub:
        if version == 3:
            ask(sub, "HELLO", "3")
        sub.send(resp("SUBSCRIBE", *names))
        assert read_values(sub, 12) == [told(version, "subscribe", n, i + 1) for i, n in enumerate(names)]
        assert ask(sub, "PSUBSCRIBE", "news1*") == told(version, "psubscribe", "news1*", 13)
        sub.send(resp("SSUBSCRIBE", *names[:3]))
        assert read_values(sub, 3) == [told(version, "ssubscribe", n, i + 1) for i, n in enumerate(names[:3])]
        for name in names:
            matched = name.startswith("news1")
            assert ask(pub, "PUBLISH", name, "to " + name) == (b":2\r\n" if matched else b":1\r\n")
            assert read_value(sub) == news(version, "message", name, "to " + name)
            if matched:
                assert read_value(sub) == news(version, "pmessage", "news1*", name, "to " + name)
        assert ask(pub, "SPUBLISH", names[1], "") == b":1\r\n"
        assert read_value(sub) == news(version, "smessage", names[1], "")
        assert ask(pub, "SPUBLISH", names[5], "x") == b":0\r\n"
        assert ask(sub, "UNSUBSCRIBE", names[0]) == told(version, "unsubscribe", names[0], 12)
        wait_for(lambda: ask(pub, "PUBLISH", names[0], "x") == b":0\r\n")
        pong = b"+PONG\r\n" if version == 3 else b"*2\r\n$4\r\npong\r\n$0\r\n\r\n"
        assert ask(sub, "PING") == pong


def test_a_client_library(proxy):
    import redis
    client = redis.Redis(port=proxy.port, socket_timeout=10)
    sub = client.pubsub()
    heard = []
    sub.subscribe("one", **{"two": lambda m: heard.append(m["data"])})
    sub.psubscribe("p.*")
    assert [sub.get_message(timeout=5)["type"] for _ in range(3)] == ["subscribe", "subscribe", "psubscribe"]
    client.publish("one", "1")
    client.publish("two", "2")
    client.publish("p.x", "3")
    got = []
    wait_for(lambda: got.append(sub.get_message(timeout=1)) or len([g for g in got if g]) + len(heard) == 3)
    assert heard == [b"2"]
    assert sorted((m["type"], m["channel"], m["data"]) for m in got if m) == [
        ("message", b"one", b"1"), ("pmessage", b"p.x", b"3")]
    assert sub.ping() is None
    assert sub.get_message(timeout=5)["type"] == "pong"
    sub.unsubscribe()
    sub.punsubscribe()
    assert [sub.get_message(timeout=5)["type"] for _ in range(3)] == ["unsubscribe", "unsubscribe", "punsubscribe"]
    sub.close()


def test_notifications_of_all_servers(cashew, redis_servers):
    servers = redis_servers(3, args=("--notify-keyspace-events", "KEA"))
    proxy = start(cashew, servers)
    keys = ["k%d" % i for i in range(9)]
    with Raw(proxy.port) as sub, Raw(proxy.port) as other:
        assert ask(sub, "SUBSCRIBE", "__keyevent@0__:set") == told(2, "subscribe", "__keyevent@0__:set", 1)
        assert ask(sub, "PSUBSCRIBE", "__keyspace@0__:*") == told(2, "psubscribe", "__keyspace@0__:*", 2)
        for key in keys:
            assert ask(other, "SET", key, "v") == b"+OK\r\n"
        got = read_values(sub, 18)
        assert sorted(got) == sorted(
            [news(2, "message", "__keyevent@0__:set", k) for k in keys]
            + [news(2, "pmessage", "__keyspace@0__:*", "__keyspace@0__:" + k, "set") for k in keys])
        assert all(s.client().dbsize() for s in servers)
        assert ask(other, "PUBSUB", "CHANNELS") == resp("__keyevent@0__:set")
        assert ask(other, "PUBSUB", "NUMPAT") == b":1\r\n"


# ---------------------------------------------------------------- many

def test_many_subscribers_on_one_connection(cashew, redis_server):
    proxy = start(cashew, [redis_server], harness.ONE_WORKER)
    clients = [Raw(proxy.port) for _ in range(200)]
    for i, c in enumerate(clients):
        c.send(resp("HELLO", 2 + i % 2) + resp("SUBSCRIBE", "all", "own%d" % i))
    for i, c in enumerate(clients):
        read_value(c)
        assert read_values(c, 2) == [told(2 + i % 2, "subscribe", "all", 1),
                                     told(2 + i % 2, "subscribe", "own%d" % i, 2)]
    assert subscriptions([redis_server]) == [[201]]
    assert ask(Raw(proxy.port), "PUBLISH", "all", "hi") == b":1\r\n"
    assert ask(Raw(proxy.port), "PUBLISH", "own7", "you") == b":1\r\n"
    for i, c in enumerate(clients):
        assert read_value(c) == news(2 + i % 2, "message", "all", "hi")
    assert read_value(clients[7]) == news(3, "message", "own7", "you")
    numbers = proxy.stats()["alpha"]
    assert (numbers["subscribers"], numbers["subscriptions"], numbers["messages"]) == (200, 400, 201)
    info = ask(clients[7], "CLIENT", "INFO")
    assert b" flags=P " in info and b" sub=2 psub=0 ssub=0 " in info
    info = Raw(proxy.port).send(resp("INFO")).recv_until(b"# Cashew")
    assert b"pubsub_channels:201\r\n" in info and b"pubsub_clients:200\r\n" in info
    for c in clients:
        c.close()
    wait_for(lambda: subscriptions([redis_server]) == [[]])
    # That of the subscriptions goes, and those stay by which the others ask, one for each version.
    wait_for(lambda: len(connections(redis_server)) == 2)
    assert proxy.stats()["alpha"]["subscriptions"] == 0


def test_what_servers_count(cashew, shards):
    """Subscriptions, not clients: the proxy's one for all of them."""
    proxy = start(cashew, shards, harness.ONE_WORKER)
    clients = [Raw(proxy.port) for _ in range(3)]
    for c in clients:
        ask(c, "SUBSCRIBE", "x")
        ask(c, "PSUBSCRIBE", "y*")
        ask(c, "SSUBSCRIBE", "z")
    with Raw(proxy.port) as other:
        assert ask(other, "SPUBLISH", "z", "") == b":1\r\n"
        assert ask(other, "PUBSUB", "NUMSUB", "x", "no") == b"*4\r\n$1\r\nx\r\n:1\r\n$2\r\nno\r\n:0\r\n"
        assert ask(other, "PUBSUB", "SHARDNUMSUB", "z") == b"*2\r\n$1\r\nz\r\n:1\r\n"
        assert ask(other, "PUBSUB", "NUMPAT") == b":1\r\n"
        assert ask(other, "PUBSUB", "CHANNELS") == resp("x")
        assert ask(other, "PUBSUB", "SHARDCHANNELS") == resp("z")
    for c in clients:
        assert read_value(c) == news(2, "smessage", "z", "")
        c.close()


def test_thousands_of_channels(cashew, shards):
    proxy = start(cashew, shards)
    names = ["c%d" % i for i in range(5000)]
    with Raw(proxy.port) as sub, Raw(proxy.port) as pub:
        sub.send(resp("SUBSCRIBE", *names))
        assert b"".join(read_values(sub, 5000)) == b"".join(
            told(2, "subscribe", n, i + 1) for i, n in enumerate(names))
        assert sum(sum(x) for x in subscriptions(shards)) == 5000
        assert ask(pub, "PUBLISH", "c4711", "x") == b":1\r\n"
        assert read_value(sub) == news(2, "message", "c4711", "x")
        sub.send(resp("UNSUBSCRIBE"))
        assert read_values(sub, 5000)[-1] == told(2, "unsubscribe", "c4999", 0)
        wait_for(lambda: subscriptions(shards) == [[], [], []])


def test_workers(cashew, shards):
    """Each worker has connections of its own, and messages come from whichever worker they were published by."""
    proxy = start(cashew, shards, args=["--workers=2"])
    subs = [Raw(proxy.port) for _ in range(8)]
    for s in subs:
        assert ask(s, "SUBSCRIBE", "all") == told(2, "subscribe", "all", 1)
    for i in range(8):
        with Raw(proxy.port) as pub:
            assert ask(pub, "PUBLISH", "all", i) == b":2\r\n"
    for s in subs:
        assert read_values(s, 8) == [news(2, "message", "all", i) for i in range(8)]
        s.close()


# ---------------------------------------------------------------- RESP3

def test_messages_between_replies(cashew, redis_server):
    """A client of RESP3 asks on; no message comes inside a reply."""
    proxy = start(cashew, [redis_server])
    value = bytes(range(256)) * 8192
    redis_server.client().set("big", value)
    whole = b"$%d\r\n%s\r\n" % (len(value), value)
    with Raw(proxy.port, timeout=30) as c, Raw(proxy.port) as pub:
        ask(c, "HELLO", "3")
        assert ask(c, "SUBSCRIBE", "x") == told(3, "subscribe", "x", 1)
        done = threading.Event()
        sent = []

        def publish():
            while not done.is_set():
                ask(pub, "PUBLISH", "x", "m%d" % len(sent))
                sent.append(len(sent))

        publisher = threading.Thread(target=publish)
        publisher.start()
        try:
            wait_for(lambda: len(sent) > 5)
            c.send(resp("GET", "big") * 8 + resp("PING"))
            heard, replies = [], []
            while len(replies) < 9:
                got = read_value(c)
                (heard if got.startswith(b">") else replies).append(got)
        finally:
            done.set()
            publisher.join()
        assert replies == [whole] * 8 + [b"+PONG\r\n"]
        while len(heard) < len(sent):
            heard.append(read_value(c))
        assert heard == [news(3, "message", "x", "m%d" % i) for i in range(len(sent))]


def test_publish_to_oneself(proxy):
    with Raw(proxy.port) as c:
        ask(c, "HELLO", "3")
        assert ask(c, "SUBSCRIBE", "x") == told(3, "subscribe", "x", 1)
        c.send(resp("PUBLISH", "x", "me") + resp("SET", "k", "v") + resp("PUBLISH", "x", "again"))
        got = read_values(c, 5)
        assert [g for g in got if not g.startswith(b">")] == [b":1\r\n", b"+OK\r\n", b":1\r\n"]
        assert [g for g in got if g.startswith(b">")] == [news(3, "message", "x", w) for w in ("me", "again")]


def test_versions_and_databases_change_users_do_not(cashew, redis_server):
    redis_server.client().execute_command("ACL SETUSER", "ann", "on", ">pw", "~*", "+@all", "&*")
    proxy = start(cashew, [redis_server])
    with Raw(proxy.port) as c, Raw(proxy.port) as pub:
        ask(c, "HELLO", "3")
        assert ask(c, "SUBSCRIBE", "x") == told(3, "subscribe", "x", 1)
        assert ask(c, "SELECT", "3") == b"+OK\r\n"
        assert ask(c, "AUTH", "ann", "pw") == b"-ERR the user can't change while it is subscribed\r\n"
        assert ask(c, "HELLO", "2").startswith(b"*14\r\n")
        assert ask(c, "GET", "k").startswith(b"-ERR Can't execute 'get'")
        assert ask(pub, "PUBLISH", "x", "hi") == b":1\r\n"
        assert read_value(c) == news(2, "message", "x", "hi")
        assert ask(c, "RESET") == b"+RESET\r\n"
        wait_for(lambda: ask(pub, "PUBLISH", "x", "hi") == b":0\r\n")
        assert ask(c, "AUTH", "ann", "pw") == b"+OK\r\n"
        assert ask(c, "SUBSCRIBE", "x") == told(2, "subscribe", "x", 1)
        assert ask(pub, "PUBLISH", "x", "ho") == b":1\r\n"
        assert read_value(c) == news(2, "message", "x", "ho")


# ---------------------------------------------------------------- what is refused

def test_permissions_are_of_the_user(cashew, redis_server):
    admin = redis_server.client()
    admin.execute_command("ACL SETUSER", "ann", "on", ">pw", "~*", "+@all", "resetchannels", "&ann.*")
    proxy = start(cashew, [redis_server])
    with Raw(proxy.port) as ann, Raw(proxy.port) as other:
        assert ask(ann, "AUTH", "ann", "pw") == b"+OK\r\n"
        assert ask(ann, "SUBSCRIBE", "secret").startswith(b"-NOPERM ")
        assert ask(ann, "SUBSCRIBE", "ann.1", "secret").startswith(b"-NOPERM ")
        assert ask(ann, "PING") == b"+PONG\r\n"
        assert ask(ann, "SUBSCRIBE", "ann.1") == told(2, "subscribe", "ann.1", 1)
        assert ask(other, "SUBSCRIBE", "secret") == told(2, "subscribe", "secret", 1)
        assert ask(ann, "PSUBSCRIBE", "*").startswith(b"-NOPERM ")
        assert subscriptions([redis_server]) == [[1, 1]]
        admin.publish("secret", "x")
        admin.publish("ann.1", "y")
        assert read_value(other) == news(2, "message", "secret", "x")
        assert read_value(ann) == news(2, "message", "ann.1", "y")


def test_denied_in_a_transaction_and_by_the_pool(cashew, redis_server):
    port = free_port()
    cashew(pool("alpha", port, [redis_server], **KEYS) + "  commands: {deny: [psubscribe]}\n")
    with Raw(port) as c:
        assert ask(c, "PSUBSCRIBE", "*") == \
            b"-NOPERM command 'psubscribe' is denied by this proxy (the pool's key `commands`)\r\n"
        assert ask(c, "SUBSCRIBE", "x") == told(2, "subscribe", "x", 1)
        assert ask(c, "PSUBSCRIBE", "*").startswith(b"-NOPERM ")
        assert ask(c, "UNSUBSCRIBE") == told(2, "unsubscribe", "x", 0)
        assert ask(c, "MULTI") == b"+OK\r\n"
        assert ask(c, "SUBSCRIBE", "x").startswith(b"-ERR command 'subscribe' can't be a part of a transaction")
        assert ask(c, "EXEC").startswith(b"-EXECABORT")
        assert ask(c, "PING") == b"+PONG\r\n"


def test_a_pool_with_a_password(cashew, redis_servers):
    servers = redis_servers(2, args=("--requirepass", "secret"))
    proxy = start(cashew, servers, redis_auth="secret", redis_db=5)
    with Raw(proxy.port) as c, Raw(proxy.port) as pub:
        assert ask(c, "SUBSCRIBE", "x").startswith(b"-NOAUTH")
        for one in (c, pub):
            assert ask(one, "AUTH", "secret") == b"+OK\r\n"
        assert ask(c, "PSUBSCRIBE", "*") == told(2, "psubscribe", "*", 1)
        assert ask(pub, "PUBLISH", "x", "y") == b":1\r\n"
        assert read_value(c) == news(2, "pmessage", "*", "x", "y")


# ---------------------------------------------------------------- trouble

def test_server_comes_back(cashew, redis_server):
    proxy = start(cashew, [redis_server])
    with Raw(proxy.port) as c, Raw(proxy.port) as d:
        assert ask(c, "SUBSCRIBE", "x") == told(2, "subscribe", "x", 1)
        assert ask(c, "PSUBSCRIBE", "y*") == told(2, "psubscribe", "y*", 2)
        redis_server.kill()
        refused = ask(d, "SUBSCRIBE", "x")
        assert refused.startswith(b"-ERR Connection re") and b"server 's0'" in refused
        redis_server.start()
        wait_for(lambda: subscriptions([redis_server]) == [[1]] and subscriptions([redis_server], "psub") == [[1]])
        redis_server.client().publish("x", "1")
        redis_server.client().publish("yy", "2")
        assert read_values(c, 2) == [news(2, "message", "x", "1"), news(2, "pmessage", "y*", "yy", "2")]
        assert ask(d, "SUBSCRIBE", "x") == told(2, "subscribe", "x", 1)
    log = proxy.log()
    assert log.count("subscriptions on server 's0' are interrupted") == 1
    assert log.count("subscriptions on server 's0' are back") == 1
    assert "did not come up" not in log


def test_silent_server_is_found(cashew, redis_server):
    proxy = start(cashew, [redis_server], timeout=300)
    with Raw(proxy.port) as c, Raw(proxy.port) as d:
        assert ask(c, "SUBSCRIBE", "x") == told(2, "subscribe", "x", 1)
        redis_server.pause()
        try:
            begin = time.monotonic()
            assert ask(d, "SUBSCRIBE", "y") == b"-ERR Connection timed out (server 's0', 300 ms)\r\n"
            assert time.monotonic() - begin < 2
        finally:
            redis_server.resume()
        wait_for(lambda: subscriptions([redis_server]) == [[1]])
        redis_server.client().publish("x", "1")
        assert read_value(c) == news(2, "message", "x", "1")


def test_channels_follow_the_ring(cashew, redis_servers):
    servers = redis_servers(2)
    proxy = start(cashew, servers, auto_eject_hosts=True, server_failure_limit=1, server_retry_timeout=300,
                  timeout=500)
    names = ["c%d" % i for i in range(8)]
    with Raw(proxy.port) as c, Raw(proxy.port) as pub:
        c.send(resp("SUBSCRIBE", *names) + resp("PSUBSCRIBE", "*"))
        read_values(c, 9)
        before = subscriptions(servers)
        assert sum(map(sum, before)) == 8 + 2 - 2 and all(before)
        servers[0].kill()
        wait_for(lambda: subscriptions(servers[1:]) == [[8]])
        for name in names:
            assert ask(pub, "PUBLISH", name, "x") == b":2\r\n"
            assert read_values(c, 2) == [news(2, "message", name, "x"), news(2, "pmessage", "*", name, "x")]
        servers[0].start()
        wait_for(lambda: subscriptions(servers) == before, timeout=10)
        for name in names:
            assert ask(pub, "PUBLISH", name, "y") == b":2\r\n"
            assert read_values(c, 2) == [news(2, "message", name, "y"), news(2, "pmessage", "*", name, "y")]


def test_slow_subscriber(cashew, redis_server):
    proxy = start(cashew, [redis_server], client_output_limit=200000)
    slow = socket.create_connection(("127.0.0.1", proxy.port))
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with Raw(proxy.port) as c, Raw(proxy.port) as pub:
        slow.sendall(resp("SUBSCRIBE", "x"))
        assert ask(c, "SUBSCRIBE", "x") == told(2, "subscribe", "x", 1)
        wait_for(lambda: proxy.stats()["alpha"]["subscribers"] == 2)
        text = "v" * 60000
        for i in range(400):
            ask(pub, "PUBLISH", "x", text)
            assert read_value(c) == news(2, "message", "x", text)
            if i % 20 == 19 and proxy.stats()["alpha"]["slow_subscribers"] == 1:
                break
        assert proxy.stats()["alpha"]["subscribers"] == 1
    slow.close()
    assert "does not read its messages" in proxy.log()


def test_idle_subscribers_stay_and_the_end_is_quick(cashew, redis_server):
    proxy = start(cashew, [redis_server], client_idle_timeout=200)
    with Raw(proxy.port) as c, Raw(proxy.port) as idle:
        assert ask(c, "SUBSCRIBE", "x") == told(2, "subscribe", "x", 1)
        assert idle.closed(3)
        redis_server.client().publish("x", "1")
        assert read_value(c) == news(2, "message", "x", "1")
        begin = time.monotonic()
        assert proxy.stop() == 0
        assert time.monotonic() - begin < 3
        assert c.closed()


def test_fin_ends_subscriptions(cashew, redis_server):
    proxy = start(cashew, [redis_server])
    with Raw(proxy.port) as c:
        assert ask(c, "SUBSCRIBE", "x") == told(2, "subscribe", "x", 1)
        c.half_close()
        wait_for(lambda: subscriptions([redis_server]) == [[]])
        assert c.closed()


def test_big_messages(cashew, redis_server):
    proxy = start(cashew, [redis_server])
    text = "0123456789abcdef" * (3 << 16)
    with Raw(proxy.port) as two, Raw(proxy.port) as three:
        ask(three, "HELLO", "3")
        assert ask(two, "SUBSCRIBE", "x") == told(2, "subscribe", "x", 1)
        assert ask(three, "SUBSCRIBE", "x") == told(3, "subscribe", "x", 1)
        redis_server.client().publish("x", text)
        assert read_value(two) == news(2, "message", "x", text)
        assert read_value(three) == news(3, "message", "x", text)
