# SPDX-License-Identifier: BSD-3-Clause
"""Redis commands that concern every server of a pool, and those that the proxy answers itself."""

import harness
import pytest
import redis

KEYS = {"redis": True, "hash": "murmur", "hash_tag": "{}"}


class Pool:
    def __init__(self, redis_servers, cashew, count=3, **keys):
        self.servers = redis_servers(count)
        self.port = harness.free_port()
        self.proxy = cashew(harness.pool("p", self.port, self.servers, **{**KEYS, **keys}))
        self.client = redis.Redis(port=self.port)
        self.raw = harness.Raw(self.port)

    def ask(self, *words):
        return self.raw.send(harness.resp(*words)).recv_reply()


@pytest.fixture
def pool(redis_servers, cashew):
    return Pool(redis_servers, cashew, allow_flush=True)


def fill(pool, count):
    with pool.client.pipeline(transaction=False) as pipe:
        for i in range(count):
            pipe.set("key:%d" % i, i)
        pipe.execute()
    return {b"key:%d" % i for i in range(count)}


def test_counts_and_names_of_all_keys(pool):
    keys = fill(pool, 3000)
    sizes = [s.client().dbsize() for s in pool.servers]
    assert min(sizes) > 0 and pool.client.dbsize() == sum(sizes) == 3000
    assert set(pool.client.keys()) == keys and len(pool.client.keys("key:29*")) == 111
    assert pool.client.randomkey() in keys
    assert len({pool.client.randomkey() for _ in range(200)}) > 50


@pytest.mark.parametrize("count", [1, 10, 1000, 10000])
def test_scan_finds_every_key_once_over(pool, count):
    keys = fill(pool, 2000)
    found = list(pool.client.scan_iter(count=count))
    assert set(found) == keys and len(found) < 2100
    pool.client.xadd("stream", {"f": "v"})
    assert list(pool.client.scan_iter(_type="stream", count=count)) == [b"stream"]
    assert len(set(pool.client.scan_iter(match="key:1?", count=count))) == 10


def test_scan_while_keys_come_and_go(pool):
    keys = fill(pool, 500)
    found, cursor = set(), None
    for turn in range(100000):
        if cursor == 0:
            break
        cursor, some = pool.client.scan(cursor or 0, count=20)
        found |= set(some)
        pool.client.mset({"other:%d:%d" % (turn, i): i for i in range(20)})
        pool.client.delete(*["other:%d:%d" % (turn - 1, i) for i in range(15)])
    assert cursor == 0 and keys <= found


def test_bad_cursors(pool):
    for cursor in ("x", "-1", "", "18446744073709551616", "1 "):
        assert pool.ask("SCAN", cursor) == b"-ERR invalid cursor\r\n"
    # It is past the end of every table: no server knows it, yet it is one.
    assert pool.ask("SCAN", "18446744073709551615").startswith(b"*2\r\n")
    assert pool.ask("SCAN", 0, "COUNT", 0) == b"-ERR syntax error\r\n"
    assert pool.ask("SCAN") == b"-ERR wrong number of arguments for 'scan' command\r\n"


def test_a_dead_server_is_an_error_and_is_never_skipped(pool):
    fill(pool, 300)
    pool.servers[1].stop()
    for request in (["DBSIZE"], ["KEYS", "*"], ["RANDOMKEY"], ["SCRIPT", "LOAD", "return 1"],
                    ["FLUSHALL"]):
        assert pool.ask(*request).startswith(b"-ERR "), request
    with pytest.raises(redis.ResponseError):
        list(pool.client.scan_iter(count=1000))
    assert pool.ask("PING") == b"+PONG\r\n"
    # What needs no server is answered all the same: clients can connect.
    assert pool.ask("CLIENT", "ID").startswith(b":") and pool.ask("INFO").startswith(b"$")


def test_flush_only_where_it_is_allowed(pool, redis_servers, cashew):
    fill(pool, 100)
    assert pool.ask("FLUSHDB", "SYNC") == b"+OK\r\n" and pool.client.dbsize() == 0
    fill(pool, 100)
    assert pool.ask("FLUSHALL") == b"+OK\r\n"
    assert [s.client().dbsize() for s in pool.servers] == [0, 0, 0]
    for count in (1, 2):
        other = Pool(redis_servers, cashew, count)
        fill(other, 10)
        for command in ("FLUSHALL", "FLUSHDB"):
            reply = other.ask(command)
            assert reply.startswith(b"-ERR command '" + command.lower().encode())
            assert b"`allow_flush`" in reply
        assert other.client.dbsize() == 10


def test_scripts_are_on_all_servers(pool):
    sha = pool.client.script_load("return redis.call('get', KEYS[1])")
    pool.client.mset({"k%d" % i: i for i in range(20)})
    assert [pool.client.evalsha(sha, 1, "k%d" % i) for i in range(20)] == [
        b"%d" % i for i in range(20)]
    assert pool.client.script_exists(sha, "0" * 40) == [True, False]
    pool.servers[2].client().script_flush()
    assert pool.client.script_exists(sha) == [False]
    assert pool.ask("SCRIPT", "FLUSH") == b"+OK\r\n"
    assert pool.servers[0].client().script_exists(sha) == [False]
    assert pool.ask("SCRIPT", "KILL").startswith(b"-NOTBUSY")


def test_info_counts_blocked_clients(pool):
    """What waits until a client is blocked finds it in INFO, as with a server."""

    def blocked(number):
        harness.wait_for(lambda: pool.client.info("clients")["blocked_clients"] == number)

    waiting = [harness.Raw(pool.port).send(harness.resp("BLPOP", "{q}%d" % i, 0)) for i in range(3)]
    waiting.append(harness.Raw(pool.port).send(harness.resp("WAIT", 9, 0)))
    blocked(4)
    pool.client.rpush("{q}0", "x")
    assert waiting[0].recv_reply().endswith(b"x\r\n")
    blocked(3)
    waiting[3].close()
    waiting[2].close()
    blocked(1)
    assert pool.proxy.stats()["p"]["blocked_clients"] == 1
    pool.client.rpush("{q}1", "x")
    blocked(0)


ENDLESS = "#!lua name=long\nredis.register_function('long', function() while true do end end)"


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("run, kill", [(("EVAL", "while true do end", "0"), "SCRIPT"),
                                       (("FCALL", "long", "0"), "FUNCTION")])
def test_kill_reaches_a_server_that_is_held_up(redis_servers, cashew, count, run, kill):
    """The script has come by the connection that all clients share: what is to end it must not wait behind it."""
    pool = Pool(redis_servers, cashew, count)
    for server in pool.servers:
        server.client().config_set("lua-time-limit", 1)
    assert pool.ask("FUNCTION", "LOAD", ENDLESS) == b"$4\r\nlong\r\n"
    held_up = harness.Raw(pool.port).send(harness.resp(*run))
    harness.wait_for(lambda: pool.ask(kill, "KILL") == b"+OK\r\n")
    assert b"killed by user" in held_up.recv_reply()
    assert pool.ask(kill, "KILL").startswith(b"-NOTBUSY")
    assert pool.ask("SET", "key", "value") == b"+OK\r\n"
    # A transaction goes to one server.
    assert [pool.ask("MULTI"), pool.ask(kill, "KILL")][1][:1] == (b"+" if count == 1 else b"-")


def test_functions_are_on_all_servers(pool):
    code = "#!lua name=mine\nredis.register_function('f', function(k, a) return a[1] end)"
    assert pool.ask("FUNCTION", "LOAD", code) == b"$4\r\nmine\r\n"
    for i in range(10):
        assert pool.client.fcall("f", 1, "k%d" % i, "x") == b"x"
    assert b"mine" in pool.ask("FUNCTION", "LIST")
    assert pool.ask("FUNCTION", "LOAD", code).startswith(b"-ERR Library 'mine' already exists")
    assert pool.ask("FUNCTION", "DELETE", "mine") == b"+OK\r\n"
    assert pool.ask("FUNCTION", "KILL").startswith(b"-NOTBUSY")


def test_streams_of_several_servers(pool):
    names = ["s%d" % i for i in range(8)]
    for name in names:
        pool.client.xadd(name, {"of": name}, id="1-1")
        pool.client.xgroup_create(name, "g", 0)
    got = pool.client.xread({name: 0 for name in [*names, "none"]}, count=1)
    assert sorted(n for n, _ in got) == sorted(n.encode() for n in names)
    assert all(entries == [(b"1-1", {b"of": name})] for name, entries in got)
    got = pool.client.xreadgroup("g", "me", {name: ">" for name in names})
    assert len(got) == 8
    assert pool.ask("XREAD", "STREAMS", *names, *["9-9"] * 8) == b"*-1\r\n"
    assert pool.ask("XREADGROUP", "GROUP", "no", "me", "STREAMS", *names,
                    *[">"] * 8).startswith(b"-NOGROUP")


def test_channels_are_where_their_name_is(pool):
    sub = [s.client().pubsub() for s in pool.servers]
    for s in sub:
        s.subscribe("news", "other")
        for _ in range(2):
            assert s.get_message(timeout=5)["type"] == "subscribe"
    assert pool.client.publish("news", "x") == 1
    assert pool.client.pubsub_numsub("news", "other") == [(b"news", 3), (b"other", 3)]
    assert pool.client.pubsub_numpat() == 0
    assert pool.client.pubsub_channels() == [b"news", b"other"]


def test_what_changes_servers_must_be_allowed(pool):
    for request in ("CONFIG SET maxmemory 1", "CONFIG RESETSTAT", "BGSAVE", "BGREWRITEAOF",
                    "ACL SETUSER x on", "ACL DELUSER x"):
        reply = pool.ask(*request.split())
        assert reply.startswith(b"-ERR command '") and b"`commands`" in reply, request
    assert pool.servers[0].client().config_get("maxmemory") == {"maxmemory": "0"}


def test_ids_and_addresses_are_the_clients_own(pool):
    one, two = harness.Raw(pool.port), harness.Raw(pool.port)
    ids = [int(c.send(harness.resp("CLIENT", "ID")).recv_reply()[1:]) for c in (one, two)]
    assert ids[0] != ids[1] and min(ids) > 0
    info = pool.client.client_info()
    assert info["addr"].startswith("127.0.0.1:") and info["laddr"] == "127.0.0.1:%d" % pool.port
    pool.client.client_setname("me")
    one.close()
    two.close()


def test_what_would_need_a_connection_of_its_own(pool):
    for request in ("CLIENT TRACKING ON", "CLIENT NO-TOUCH ON"):
        assert pool.ask(*request.split()).startswith(b"-ERR this is not supported by this proxy"), request
    assert pool.ask("CLIENT", "REPLY", "ON") == b"+OK\r\n"


def test_name_and_reset(pool):
    assert pool.ask("HELLO", 2, "SETNAME", "me").startswith(b"*14\r\n")
    assert pool.ask("CLIENT", "GETNAME") == b"$2\r\nme\r\n"
    assert pool.ask("SELECT", 5) == b"+OK\r\n" and pool.ask("SET", "k", "v") == b"+OK\r\n"
    assert b" db=5 " in pool.ask("CLIENT", "INFO")
    assert pool.ask("RESET") == b"+RESET\r\n"
    assert b" db=0 " in pool.ask("CLIENT", "INFO") and pool.ask("GET", "k") == b"$-1\r\n"
    assert pool.ask("CLIENT", "GETNAME") == b"$-1\r\n"
    assert pool.ask("RESET") == b"+RESET\r\n"


def test_reset_asks_for_the_password_again(redis_servers, cashew):
    port, servers = harness.free_port(), redis_servers(2, args=["--requirepass", "sesame"])
    cashew(harness.pool("p", port, servers, **KEYS, redis_auth="sesame"))
    with harness.Raw(port) as raw:
        ask = lambda *words: raw.send(harness.resp(*words)).recv_reply()
        for before in (["AUTH", "sesame"], ["AUTH", "sesame"], ["SELECT", 3]):
            ask("AUTH", "sesame")
            assert ask(*before) == b"+OK\r\n" and ask("GET", "a") == b"$-1\r\n"
            assert ask("RESET") == b"+RESET\r\n"
            assert ask("GET", "a").startswith(b"-NOAUTH")


def test_redis_py_finds_what_it_asks_for(pool):
    info = pool.client.info()
    assert info["role"] == "master" and info["connected_clients"] >= 1
    assert info["redis_mode"] == "standalone" and info["cluster_enabled"] == 0
    assert info["cashew_version"] and info["server0"]["name"]
    assert pool.client.config_get("maxmemory*")["maxmemory"] == "0"
    assert pool.client.config_get("cashew.hash") == {"cashew.hash": "murmur"}
    assert pool.client.command_count() > 200
    assert pool.client.time()[0] > 1500000000
    with pytest.raises(redis.ResponseError, match="cluster support disabled"):
        pool.client.execute_command("CLUSTER", "INFO")


def named(port, servers, text):
    """The configuration of a pool whose `commands` are `text`, indented."""
    return harness.pool("p", port, servers, **KEYS) + "  commands:\n" + text


def test_denied_and_allowed(redis_servers, cashew):
    port, servers = harness.free_port(), redis_servers(2)
    cashew(named(port, servers, """
    deny: ["@dangerous", "@write", GETRANGE, "client|list", object]
    allow: [set, "config|get", flushall, "config|resetstat"]
"""))
    with harness.Raw(port) as raw:
        ask = lambda line: raw.send(harness.resp(*line.split())).recv_reply()
        for line in ("KEYS *", "DEL a", "getrange a 0 1", "CLIENT LIST", "OBJECT ENCODING a",
                     "CONFIG SET save x", "LPUSH", "SORT a"):
            assert ask(line).startswith(b"-NOPERM command '"), line
        assert ask("SET a 1") == b"+OK\r\n" and ask("GET a") == b"$1\r\n1\r\n"
        assert ask("CLIENT ID").startswith(b":")
        assert ask("CONFIG GET maxmemory").startswith(b"*2\r\n")
        assert ask("CONFIG RESETSTAT") == b"+OK\r\n"
        assert ask("FLUSHALL") == b"+OK\r\n" and ask("GET a") == b"$-1\r\n"
        assert ask("SHUTDOWN").startswith(b"-ERR command 'shutdown' is not supported")


def test_settings_that_may_be_set_may_be_read(redis_servers, cashew):
    port, servers = harness.free_port(), redis_servers(2)
    cashew(named(port, servers, "    allow: ['config|set']"))
    with harness.Raw(port) as raw:
        ask = lambda line: raw.send(harness.resp(*line.split())).recv_reply()
        assert ask("CONFIG SET hz 17 list-max-ziplist-size 33") == b"+OK\r\n"
        assert ask("CONFIG GET list-max-ziplist-size").endswith(b"\r\n$2\r\n33\r\n")
        assert [s.client().config_get("hz") for s in servers] == [{"hz": "17"}] * 2
        assert ask("CONFIG GET Cashew.distribution").startswith(b"*2\r\n$19\r\ncashew.distribution")


def test_only_what_is_allowed(redis_servers, cashew):
    port, servers = harness.free_port(), redis_servers(2)
    cashew(named(port, servers, """
    deny: ["@all"]
    allow: [get, "@connection"]
"""))
    with harness.Raw(port) as raw:
        ask = lambda line: raw.send(harness.resp(*line.split())).recv_reply()
        assert ask("GET a") == b"$-1\r\n" and ask("HELLO").startswith(b"*14")
        assert ask("PING") == b"+PONG\r\n" and ask("RESET") == b"+RESET\r\n"
        for line in ("SET a 1", "MGET a b", "DBSIZE", "JSON.GET a"):
            assert ask(line).startswith(b"-NOPERM"), line
        assert ask("NOSUCH a").startswith(b"-ERR unknown command")


def test_a_command_of_the_users_needs_no_code(redis_servers, cashew):
    """Fake ones: the server does not know them, and says with what it was asked."""
    port, servers = harness.free_port(), redis_servers(3)
    cashew(named(port, servers, """
    custom:
      - my.get read 1
      - My.Many write 1:-1:2
      - my.counted read numkeys:1
      - my.info read none
      - LPOS read 2
"""))
    with harness.Raw(port) as raw:
        ask = lambda line: raw.send(harness.resp(*line.split())).recv_reply()
        for line in ("MY.GET a x", "my.get {b} x", "MY.MANY {a}1 1 {a}2 2", "my.counted 2 {a}1 {a}2",
                     "MY.INFO"):
            assert ask(line).startswith(b"-ERR unknown command '" + line.split()[0].encode()), line
        many = " ".join("k%d v" % i for i in range(20))
        assert ask("my.many " + many).startswith(b"-CROSSSLOT")
        assert ask("my.counted 20 " + many).startswith(b"-CROSSSLOT")
        assert ask("MY.GET").startswith(b"-ERR wrong number of arguments for 'my.get'")
        # Of two with one name the user's counts: here the word behind the key.
        assert ask("LPOS a b").startswith(b"*0") or ask("LPOS a b") == b"$-1\r\n"
        assert ask("GET a") == b"$-1\r\n" and ask("DBSIZE") == b":0\r\n"


@pytest.mark.parametrize("text, error", [
    ("deny: [gett]", "'gett' is not a command that is known (did you mean 'get'?)"),
    ("deny: ['@writes']", "'@writes' is not a category of commands (did you mean '@write'?"),
    ("deny: get", "'deny' takes a list of commands and @categories"),
    ("allow: [shutdown]", "'shutdown' is never served by a proxy: it can't be allowed"),
    ("denyy: [get]", "'denyy' is not a key of 'commands' (did you mean 'deny'?"),
    ("custom: [my.get]", "'my.get' is not a command: write NAME, then read or write"),
    ("custom: [my.get read 0]", "'my.get read 0' is not a command"),
    ("custom: ['my.get read 1:2:0']", "'my.get read 1:2:0' is not a command"),
    ("custom: [my.get read 999]", "'my.get read 999' is not a command"),
    ("custom: [my.get some 1]", "'my.get some 1' is not a command"),
    ("custom: {a: b}", "'custom' takes a list"),
])
def test_what_commands_can_not_be(cashew, text, error, tmp_path):
    with pytest.raises(harness.StartError) as failed:
        cashew(named(harness.free_port(), ["127.0.0.1:1:1"], "    " + text + "\n"))
    assert error in str(failed.value)


def test_commands_are_for_redis_only(cashew):
    text = harness.pool("p", harness.free_port(), ["127.0.0.1:1:1"]) + "  commands: {deny: [get]}\n"
    with pytest.raises(harness.StartError, match="'commands' is only for pools with 'redis: true'"):
        cashew(text)


@pytest.mark.parametrize("count", [1, 3])
def test_replies_that_are_not_wanted(redis_servers, cashew, count):
    """The same bytes come as from a server, errors, joins, sessions and lost servers included."""
    pool = Pool(redis_servers, cashew, count)
    asked = """SET a 1|CLIENT REPLY SKIP|GET a|GET a|CLIENT REPLY SKIP|CLIENT REPLY SKIP|GET a|GET a
        |CLIENT REPLY OFF|GET a|MGET a b c d|NOSUCH|GET|PING|MULTI|SET a 2|EXEC|BLPOP none 0.01|WATCH a|UNWATCH
        |SELECT 0|CLIENT REPLY SKIP|INCR a|CLIENT REPLY ON|GET a|CLIENT REPLY SKIP|MGET a b c|MGET a b c
        |CLIENT REPLY SKIP|CLIENT REPLY ON|CLIENT REPLY SKIP|HELLO 2|CLIENT REPLY SKIP|PING|ECHO end"""
    direct = harness.Raw(redis_servers(1)[0].port)
    got = []
    for raw in (pool.raw, direct):
        raw.send(b"".join(harness.resp(*line.split()) for line in asked.split("|")))
        got.append(raw.recv_until(b"$3\r\nend\r\n"))
    assert got[0] == got[1]
    pool.raw.send(harness.resp("CLIENT", "REPLY", "OFF") + harness.resp("SET", "a", 7))
    harness.wait_for(lambda: pool.client.get("a") == b"7")
    for server in pool.servers:
        server.kill()
    pool.raw.send(harness.resp("GET", "a") + harness.resp("MGET", "a", "b", "c", "d"))
    pool.raw.send(harness.resp("HELLO", 2) + harness.resp("CLIENT", "REPLY", "ON"))
    assert pool.raw.recv_reply() == b"+OK\r\n"
