# SPDX-License-Identifier: BSD-3-Clause
"""Requests of redis clients to nutcracker and to cashew, before the same servers: the answers are
the same, or differ in the way that docs/migrating-from-twemproxy.md tells."""

import harness
import pytest
from compat import both, first_words, needs_nutcracker, sides
from harness import Raw, resp

pytestmark = needs_nutcracker

DATA = {"a": "1", "b": "2", "c": "3", "n": "10", "{t}1": "x", "{t}2": "y"}
PONG = b"+PONG\r\n"
DROPPED = b""

SAME = {
    "get": resp("GET", "a") + resp("GET", "missing"),
    "case of names": resp("get", "a") + resp("GeT", "b"),
    "set with options": resp("SET", "new", "v", "EX", "100") + resp("TTL", "new"),
    "empty key": resp("SET", "", "v") + resp("GET", ""),
    "binary key": resp("SET", b"\0\r\n\xff", b"\r\n\0") + resp("GET", b"\0\r\n\xff"),
    "large value": resp("SET", "big", "x" * 300000) + resp("GET", "big"),
    "long key": resp("SET", "k" * 16335, "v") + resp("GET", "k" * 16335),
    "mget": resp("MGET", "a", "missing", "c", "b", "a"),
    "mget of one": resp("MGET", "a"),
    "mget of many": resp("MGET", *(f"k{i}" for i in range(300))),
    "mset": resp("MSET", "x", "1", "y", "2", "z", "3") + resp("MGET", "x", "y", "z"),
    "mset, a key twice": resp("MSET", "x", "1", "x", "2") + resp("GET", "x"),
    "del": resp("DEL", "a", "b", "missing", "c") + resp("EXISTS", "a"),
    "unlink and touch": resp("UNLINK", "a", "missing", "b") + resp("TOUCH", "a", "c", "n"),
    "numbers": resp("INCR", "n") + resp("INCRBYFLOAT", "n", "0.5") + resp("INCR", "a"),
    "lists": resp("RPUSH", "l", *range(20)) + resp("LRANGE", "l", 0, -1) + resp("LPOP", "l"),
    "hashes": resp("HSET", "h", "f", "v") + resp("HGETALL", "h") + resp("HMGET", "h", "f", "g"),
    "sets": resp("SADD", "s", 1, 2, 3) + resp("SCARD", "s") + resp("SISMEMBER", "s", 2),
    "sorted sets": resp("ZADD", "z", 1, "a", 2, "b") + resp("ZRANGE", "z", 0, -1, "WITHSCORES"),
    "nested reply": resp("GEOADD", "g", 13.361389, 38.115556, "P")
                    + resp("GEOPOS", "g", "P", "missing"),
    "scan of a key": resp("SADD", "s", 1) + resp("SSCAN", "s", 0),
    "sort": resp("RPUSH", "l", 3, 1, 2) + resp("SORT", "l"),
    "errors of the server": resp("LPUSH", "a", "x") + resp("INCRBY", "n", "x") + resp("GET", "a"),
    "eval with a key": resp("EVAL", "return {KEYS[1], ARGV[1], 7}", 1, "a", "arg"),
    "evalsha": resp("EVALSHA", "0" * 40, 1, "a"),
    "dump": resp("DUMP", "missing") + resp("TYPE", "a") + resp("PERSIST", "a"),
    "keys of one hash tag": resp("SUNIONSTORE", "{t}3", "{t}4", "{t}5"),
    "append": resp("APPEND", "a", "x") + resp("STRLEN", "a"),
    "expire": resp("EXPIRE", "a", 100) + resp("PEXPIRE", "b", 100000) + resp("TTL", "a"),
    "ping": resp("PING") + resp("ping"),
    "lolwut": resp("LOLWUT", "VERSION", "1"),
    "command": resp("COMMAND"),
    "auth without need": resp("AUTH", "x"),
    "pipeline": resp("SET", "p", 0) + resp("INCR", "p") * 200 + resp("GET", "p"),
}

# What twemproxy answers by closing the connection, with all replies that were still to be sent.
CLOSED = {
    "unknown command": (resp("NOSUCH", "x"),
                        b"-ERR unknown command 'NOSUCH', with args beginning with: 'x' \r\n"),
    "wrong number of arguments": (resp("GET"),
                                  b"-ERR wrong number of arguments for 'get' command\r\n"),
    "too many arguments": (resp("GET", "a", "b"),
                           b"-ERR wrong number of arguments for 'get' command\r\n"),
    "inline": (b"PING\r\n", PONG),
    "inline get": (b"GET a\r\n", b"$1\r\n1\r\n"),
    "empty array": (b"*0\r\n", b""),
    "echo": (resp("ECHO", "x"), b"$1\r\nx\r\n"),
    "ping with a text": (resp("PING", "x"), b"$1\r\nx\r\n"),
    "select": (resp("SELECT", 0), b"+OK\r\n"),
    "select another": (resp("SELECT", 1), b"+OK\r\n"),
    "auth with a name": (resp("AUTH", "default", "x"), b"+OK\r\n"),
}


@pytest.fixture(scope="module")
def world(module_ending):
    servers = [module_ending.add(harness.Redis()) for _ in range(3)]
    return {"servers": servers,
            "sides": sides(module_ending, servers, redis=True, hash="murmur", hash_tag="{}")}


def ask(world, one, sent):
    """What comes back of `sent`, then PING, then QUIT; the +OK of our QUIT is not shown."""
    for server in world["servers"]:
        server.client().flushall()
    with Raw(one.port) as client:
        for key, value in DATA.items():
            client.send(resp("SET", key, value))
            assert client.recv_reply() == b"+OK\r\n"
        client.send(sent + resp("PING") + resp("QUIT"))
        assert client.closed(5)
        got = client.recv_all(0.01)
    tail = PONG + b"+OK\r\n"
    return got[:-5] if one.ours and got.endswith(tail) else got


@pytest.mark.parametrize("case", SAME)
def test_same_answer(world, case):
    theirs, ours = [ask(world, one, SAME[case]) for one in world["sides"]]
    assert theirs.endswith(PONG)
    assert ours == theirs


@pytest.mark.parametrize("case", CLOSED)
def test_answered_instead_of_closed(world, case):
    sent, wanted = CLOSED[case]
    theirs, ours = [ask(world, one, sent) for one in world["sides"]]
    assert theirs == DROPPED
    assert ours == wanted + PONG


@pytest.mark.parametrize("words", [("HELLO",), ("CLIENT", "INFO"), ("INFO",),
                                   ("CONFIG", "GET", "x"), ("MOVE", "a", 1), ("COMMAND", "COUNT"),
                                   ("PUBLISH", "c", "x"),
                                   ("KEYS", "*"), ("EVAL", "return 1", 0), ("GET", "k" * 20000)])
def test_one_answer_instead_of_closed(world, words):
    """Whatever the answer is, there is one, and the connection stays."""
    theirs, ours = [ask(world, one, resp(*words)) for one in world["sides"]]
    assert theirs == DROPPED
    assert ours.endswith(PONG) and len(ours) > len(PONG)


def test_replies_before_a_bad_request(world):
    sent = resp("GET", "a") + resp("NOSUCH")
    theirs, ours = [ask(world, one, sent) for one in world["sides"]]
    assert theirs == DROPPED
    assert ours.startswith(b"$1\r\n1\r\n-ERR unknown command 'NOSUCH'")


def test_quit(world):
    answers = []
    for one in world["sides"]:
        with Raw(one.port) as client:
            client.send(resp("GET", "a") + resp("QUIT") + resp("GET", "b"))
            assert client.closed()
            answers.append(client.recv_all(0.01))
    assert answers == [b"$1\r\n1\r\n", b"$1\r\n1\r\n+OK\r\n"]


def test_exists_of_several_servers(world):
    """Twemproxy asks the first key's server for all of them."""
    theirs, ours = [ask(world, one, resp("EXISTS", *DATA)) for one in world["sides"]]
    assert int(theirs.split(b"\r\n")[0][1:]) < len(DATA)
    assert ours == b":%d\r\n" % len(DATA) + PONG


def test_commands_whose_keys_are_apart(world):
    """Twemproxy sends them whole to the first key's server, which knows only its own keys."""
    keys = list(DATA)[:4]
    sent = resp("SUNION", *keys)
    theirs, ours = [ask(world, one, sent) for one in world["sides"]]
    assert theirs.endswith(PONG)
    assert ours.startswith(b"-CROSSSLOT ") and ours.endswith(PONG)


def test_zunion_goes_by_its_keys(world):
    """Twemproxy takes the number of keys for the key."""
    missed = 0
    for key in [f"z{i}" for i in range(12)]:
        sent = resp("ZADD", key, 1, "m") + resp("ZUNION", 1, key)
        theirs, ours = [ask(world, one, sent) for one in world["sides"]]
        assert ours == b":1\r\n*1\r\n$1\r\nm\r\n" + PONG
        missed += theirs != ours
    assert missed > 0


# ---------------------------------------------------------------- errors of servers and shards

def test_error_of_one_shard(ending):
    """Twemproxy hides the text of a shard's error."""
    servers = [ending.add(harness.Redis()),
               ending.add(harness.Redis(args=["--min-replicas-to-write", "1"]))]

    def story(one):
        with Raw(one.port) as client:
            client.send(resp("MSET", *[w for i in range(20) for w in (f"k{i}", "v")])
                        + resp("PING"))
            return [client.recv_reply(), client.recv_reply()]

    theirs, ours = both(ending, servers, story, redis=True, hash="murmur")
    assert theirs == [b"-ERR Invalid argument\r\n", PONG]
    assert ours == [b"-NOREPLICAS Not enough good replicas to write.\r\n", PONG]


@pytest.mark.parametrize("words", ["MGET", "DEL", "MSET"])
def test_dead_shard(ending, redis_server, words):
    """The whole is an error in both; twemproxy then closes if it was an MGET."""
    dead = harness.free_port()
    keys = [f"k{i}" for i in range(20)]
    request = resp(words, *[w for k in keys for w in ((k, "v") if words == "MSET" else (k,))])

    def story(one):
        with Raw(one.port) as client:
            client.send(request)
            reply = client.recv_reply()
            client.send(resp("PING"))
            return first_words(reply), None if client.closed(0.3) else client.recv_reply()

    theirs, ours = both(ending, [redis_server, f"127.0.0.1:{dead}:1 dead"], story, redis=True,
                        hash="murmur")
    assert theirs[0] == ours[0] == b"-ERR Connection refused\r\n"
    assert ours[1] == PONG
    assert theirs[1] == (None if words == "MGET" else PONG)


@pytest.mark.parametrize("line", [b"-OOM command not allowed\r\n",
                                  b"-LOADING dataset in memory\r\n",
                                  b"-BUSY running a script\r\n"])
def test_server_that_is_full_or_busy(ending, fake_server, line):
    """Twemproxy closes the connection to the server, and with it everybody's requests."""
    def answer(conn):
        while True:
            conn.recv_until(b"\r\n$3\r\nGET\r\n")
            conn.recv_until(b"\r\n")
            key = conn.recv_until(b"\r\n")
            conn.send(line if key == b"bad\r\n" else b"$1\r\nx\r\n")

    server = fake_server(answer)

    def story(one):
        with Raw(one.port) as client:
            client.send(resp("GET", "bad"))
            return first_words(client.recv_reply()), one.pool_stats()["s"]["server_err"]

    theirs, ours = both(ending, [f"127.0.0.1:{server.port}:1 s"], story, redis=True)
    assert theirs[0] == b"-ERR Invalid argument\r\n"
    assert ours == (line, 0)


@pytest.mark.parametrize("line", [b"-MOVED 3999 127.0.0.1:6381\r\n",
                                  b"-ASK 3999 127.0.0.1:6381\r\n",
                                  b"-WRONGTYPE no\r\n", b"+fine\r\n", b":-7\r\n", b"$-1\r\n",
                                  b"*-1\r\n", b"*0\r\n", b"*2\r\n*1\r\n:1\r\n*-1\r\n"])
def test_replies_are_passed_on(ending, fake_server, line):
    """Of every kind, redirections too."""
    def answer(conn):
        while True:
            conn.recv_until(b"\r\n$3\r\nGET\r\n$1\r\nk\r\n")
            conn.send(line)

    server = fake_server(answer)

    def story(one):
        with Raw(one.port) as client:
            client.send(resp("GET", "k") * 2)
            return client.recv_exact(2 * len(line))

    assert both(ending, [server], story, redis=True) == [line * 2] * 2


@pytest.mark.parametrize("line", [b"%1\r\n+a\r\n+b\r\n", b"_\r\n", b"~0\r\n", b",1.5\r\n"])
def test_replies_in_resp3(ending, fake_server, line):
    """Nobody has asked for them: an error for both."""
    def answer(conn):
        conn.recv_until(b"\r\n$3\r\nGET\r\n$1\r\nk\r\n")
        conn.send(line)
        conn._fill(10)

    server = fake_server(answer)

    def story(one):
        with Raw(one.port) as client:
            client.send(resp("GET", "k"))
            return first_words(client.recv_reply())

    assert both(ending, [server], story, redis=True) == [b"-ERR Invalid argument\r\n"] * 2


def test_random(ending):
    """Weights do not count, and what is read may not be found where it was written."""
    servers = [ending.add(harness.Redis()) for _ in range(3)]
    lines = [f"127.0.0.1:{s.port}:{weight}" for s, weight in zip(servers, (1, 9, 1))]

    def story(one):
        for server in servers:
            server.client().flushall()
            server.client().config_resetstat()
        keys = [f"k{i}" for i in range(600)]
        with Raw(one.port) as client:
            for key in keys:
                client.send(resp("SET", key, "v"))
                assert client.recv_reply() == b"+OK\r\n"
            client.send(resp("MGET", *keys))
            assert client.recv_reply().startswith(b"*600\r\n")
            client.send(resp("SUNION", *keys[:5]) + resp("DEL", *keys))
            client.recv_reply()
            assert client.recv_reply().startswith(b":")
        return [server.client().info("commandstats")["cmdstat_set"]["calls"] for server in servers]

    for calls in both(ending, lines, story, redis=True, distribution="random"):
        assert all(130 < count for count in calls)


# ---------------------------------------------------------------- passwords and databases

AUTH = {
    "none given": resp("GET", "a") + resp("PING") + resp("MGET", "a", "b"),
    "right": resp("AUTH", "secret") + resp("SET", "a", "1") + resp("GET", "a"),
    "wrong": resp("AUTH", "guess") + resp("GET", "a"),
    "right, then wrong": resp("AUTH", "secret") + resp("AUTH", "guess") + resp("GET", "a"),
}


@pytest.mark.parametrize("case", AUTH)
def test_passwords(ending, case):
    server = ending.add(harness.Redis(args=["--requirepass", "secret"]))

    def story(one):
        with Raw(one.port) as client:
            client.send(AUTH[case] + resp("QUIT"))
            assert client.closed()
            got = client.recv_all(0.01)
        return got[:-5] if one.ours else got

    theirs, ours = both(ending, [server], story, redis=True, redis_auth="secret")
    # The server's own text, to which twemproxy gives no final dot.
    assert ours.replace(b"-NOAUTH Authentication required.", b"-NOAUTH Authentication required") \
        == theirs != b""


def test_database(ending, redis_server):
    """Both go to the database of the pool."""
    def story(one):
        redis_server.client().flushall()
        with Raw(one.port) as client:
            client.send(resp("SET", "k", "v"))
            client.recv_reply()
        return redis_server.client(db=3).get("k")

    assert both(ending, [redis_server], story, redis=True, redis_db=3) == [b"v", b"v"]


def test_database_over_a_unix_socket(ending):
    """Twemproxy forgets the SELECT there."""
    server = ending.add(harness.Redis(unix=True))

    def story(one):
        with Raw(one.port) as client:
            client.send(resp("SET", one.name, "v"))
            client.recv_reply()
        return [server.client(db=db).get(one.name) for db in (0, 3)]

    theirs, ours = both(ending, [server], story, redis=True, redis_db=3)
    assert theirs == [b"v", None]
    assert ours == [None, b"v"]


def test_password_that_the_server_does_not_want(ending, redis_server):
    """Twemproxy does not see that it is refused."""
    def story(one):
        with Raw(one.port) as client:
            client.send(resp("AUTH", "secret") + resp("SET", "k", "v"))
            return client.recv_reply(), client.recv_reply()

    theirs, ours = both(ending, [redis_server], story, redis=True, redis_auth="secret")
    assert theirs == (b"+OK\r\n", b"+OK\r\n")
    assert ours[1].startswith(b"-ERR Invalid argument (server ") and b"AUTH" in ours[1]


def test_password_and_database(ending):
    """Twemproxy sends SELECT before AUTH, which is refused, and stays in database 0."""
    server = ending.add(harness.Redis(args=["--requirepass", "secret"]))

    def story(one):
        with Raw(one.port) as client:
            client.send(resp("AUTH", "secret"))
            client.recv_reply()
            client.send(resp("SET", one.name, "v"))
            client.recv_reply()
        return [server.client(password="secret", db=db).get(one.name) for db in (0, 3)]

    theirs, ours = both(ending, [server], story, redis=True, redis_auth="secret", redis_db=3)
    assert theirs == [b"v", None]
    assert ours == [None, b"v"]
