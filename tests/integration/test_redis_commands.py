# SPDX-License-Identifier: BSD-3-Clause
"""Redis commands through the proxy over three servers, beside the same commands on one redis."""

import re
import select
import shlex
import subprocess
import sys

import harness
import pytest
import redis

SRC = harness.ROOT / "src"
ROW = re.compile(r'^(COMMAND|SUBCOMMAND)\("([^"]+)", (-?\d+), (\w+), (READ|WRITE), (.*)\)$')
PROXY_ERROR = b"-ERR command '%s' is not supported by this proxy\r\n"
CROSS = b"-CROSSSLOT Keys in request don't hash to the same slot"

# What the proxy must answer as one redis would: each line is a command; keys that must share a
# server have a common tag. Together they are every command that is forwarded or split and that
# redis 7 or 8 has without modules; of what an older server lacks both must say the same.
SCRIPT = r"""
set s hello
get s
append s " world"
getrange s 0 -1
substr s 0 4
setrange s 6 redis
strlen s
getset s new
getex s PERSIST
set n 10
incr n
incrby n 5
decr n
decrby n 2
incrbyfloat n 1.5
setnx n 1
setex e 100 v
psetex e 100000 v
ttl nothing
pttl nothing
persist e
expire e 100
expireat e 33177117420
pexpire e 100000
pexpireat e 33177117420000
expiretime e
pexpiretime e
type s
exists s
exists s n e nothing s
touch s n nothing
dump n
dump nothing
set d hello
dump d
getdel d
mset m1 a m2 b m3 c m4 d m5 "" m6 f
mget m1 m2 m3 m4 m5 m6 nothing m1
mget m1
mget nothing
mset m1 z
msetnx {x}a 1 {x}b 2
msetnx {x}a 1 {x}c 2
del m1 m2 nothing
del m3
unlink m4 m5 m6
setbit b 7 1
getbit b 7
bitcount b
bitpos b 1
bitfield b set u8 8 255
bitfield_ro b get u8 8
bitop or {b}d {b}1 {b}2
copy {x}a {x}k
rename {x}a {x}z
renamenx {x}z {x}y
set {x}l1 ohmytext
set {x}l2 mynewtext
lcs {x}l1 {x}l2
lcs {x}l1 {x}l2 IDX
object encoding s
object refcount nothing
object idletime nothing
object freq nothing
memory usage nothing
lpush l a b c
rpush l d
lpushx l e
rpushx l f
lrange l 0 -1
lindex l 0
linsert l before a x
llen l
lpos l a
lrem l 1 x
lset l 0 y
ltrim l 0 3
lpop l
rpop l 2
lpop nothing
rpush {l}1 a b c
lmove {l}1 {l}2 left right
rpoplpush {l}1 {l}2
lmpop 2 {l}1 {l}2 left
hset h f v g 1
hget h f
hmget h f g nothing
hmset h i j
hgetall h
hincrby h g 2
hincrbyfloat h g 0.5
hkeys h
hvals h
hlen h
hstrlen h f
hexists h f
hsetnx h f w
hdel h i
hset h1 only one
hrandfield h1
hscan h 0
sadd st 1
sadd st 2 3
scard st
sismember st 1
smismember st 1 9
sadd s1 only
smembers s1
srandmember s1
spop s1
srem st 3
sscan st 0
sadd {t}1 a b c
sadd {t}2 b
sdiff {t}1 {t}1
sinter {t}1 {t}2
sintercard 2 {t}1 {t}2
sunion {t}2 {t}nothing
sdiffstore {t}3 {t}1 {t}2
sinterstore {t}3 {t}1 {t}2
sunionstore {t}3 {t}1 {t}2
smove {t}1 {t}2 c
sort st
sort_ro st DESC
sort {t}n STORE {t}m
zadd z 1 a 2 b 3 c
zcard z
zcount z 1 2
zincrby z 5 a
zlexcount z - +
zmscore z a nothing
zpopmin z
zpopmax z
zadd z 1 a 2 b 3 c
zadd z1 1 only
zrandmember z1
zrange z 0 -1 WITHSCORES
zrangebylex z - +
zrangebyscore z 1 2
zrank z a
zrevrange z 0 -1
zrevrangebylex z + -
zrevrangebyscore z 3 1
zrevrank z a
zscan z 0
zscore z a
zrem z a
zremrangebylex z [x [y
zremrangebyrank z 9 9
zremrangebyscore z 9 9
zadd {z}1 1 a 2 b
zadd {z}2 2 b 3 c
zdiff 2 {z}1 {z}2
zinter 2 {z}1 {z}2
zintercard 2 {z}1 {z}2
zunion 2 {z}1 {z}2 WITHSCORES
zdiffstore {z}3 2 {z}1 {z}2
zinterstore {z}3 2 {z}1 {z}2
zunionstore {z}3 2 {z}1 {z}2 WEIGHTS 2 3
zrangestore {z}4 {z}3 0 -1
zmpop 2 {z}1 {z}2 MIN
pfadd hll a b c
pfcount hll
pfadd {p}1 a
pfadd {p}2 b
pfcount {p}1 {p}2
pfmerge {p}3 {p}1 {p}2
geoadd g 13.361389 38.115556 Palermo 15.087269 37.502669 Catania
geodist g Palermo Catania
geohash g Palermo
geopos g Palermo nothing
geopos nothing nothing
georadius g 15 37 200 km ASC
georadius_ro g 15 37 200 km ASC
georadiusbymember g Palermo 200 km ASC
georadiusbymember_ro g Palermo 200 km ASC
geosearch g FROMLONLAT 15 37 BYRADIUS 200 km ASC
geoadd {g}1 13.361389 38.115556 Palermo
geosearchstore {g}2 {g}1 FROMLONLAT 15 37 BYRADIUS 200 km
georadius {g}1 15 37 200 km STORE {g}3
xadd x 1-1 f v
xadd x 2-1 f v
xlen x
xrange x - +
xrevrange x + -
xgroup create x grp 0
xgroup createconsumer x grp me
xreadgroup GROUP grp me COUNT 1 STREAMS x >
xpending x grp
xclaim x grp you 0 1-1 JUSTID
xautoclaim x grp you 0 0 JUSTID
xack x grp 1-1
xinfo stream x
xinfo groups x
xinfo groups nothing
xinfo consumers x nogroup
xread COUNT 1 STREAMS x 0
xread STREAMS {q}1 {q}2 0 0
xsetid x 9-9
xtrim x MAXLEN 1
xdel x 2-1
xgroup setid x grp 0
xgroup delconsumer x grp me
xgroup destroy x grp
spublish channel message
publish channel message
eval "return {KEYS[1], ARGV[1], redis.status_reply('FINE'), {1, {2}}, false}" 1 s arg
eval "return {}" 0
eval "return redis.error_reply('MY error')" 1 s
eval_ro "return redis.call('get', KEYS[1])" 1 s
evalsha 0000000000000000000000000000000000000000 1 s
evalsha_ro 0000000000000000000000000000000000000000 1 s
fcall nothing 1 s
fcall_ro nothing 1 s
object help
xgroup help
xinfo help
lolwut version 1
get st
incr s
lpush s a
hget s f
zadd z x y
hset nh f v g w h x
hexpire nh 100 FIELDS 2 f nothing
hpexpire nh 100000 FIELDS 1 f
hexpireat nh 33177117420 FIELDS 1 f
hexpiretime nh FIELDS 2 f g
hpexpireat nh 33177117420000 FIELDS 1 f
hpexpiretime nh FIELDS 2 f g
httl nh FIELDS 2 g nothing
hpttl nh FIELDS 2 g nothing
hpersist nh FIELDS 2 f g
hsetex nh EX 100 FIELDS 2 f 1 i 2
hgetex nh PERSIST FIELDS 3 f i nothing
hgetdel nh FIELDS 3 f i nothing
hgetall nh
vadd v VALUES 2 1 0 east NOQUANT SETATTR {"side":1}
vadd v VALUES 2 0 1 north NOQUANT
vcard v
vdim v
vemb v east
vgetattr v east
vgetattr v north
vinfo nothing
vismember v east
vismember v nowhere
vlinks v nowhere
vrandmember nothing
vsetattr v north {"side":2}
vsim v VALUES 2 1 0.5 WITHSCORES
vsim v ELE north COUNT 1
vrem v east
vcard v
set s v EX notanumber
restore r 0 nonsense
getrange s a b
mget s st l
"""

# Numbers of keys that are wrong in some way: the server's own error, one for one.
NUMKEYS = r"""
eval "return 1" -1 a
eval "return 1" x a
eval "return 1" 5 a
eval "return 1" 01 a
eval "return 1" +1 a
eval "return 1" 99999999999999999999 a
fcall f -1 a
zunion 0 a
zunion x a
zunion 9 a
zunion -1 a
zunionstore d 0 a
zunionstore d 5 a
zdiff 01 a
sintercard 0 a
sintercard 9 a
sintercard x a
lmpop 0 a left
lmpop x a left
zmpop 99 a min
xread streams a b 0
xread count x streams a 0
xread count 1
xread foo streams a 0
xreadgroup group g c streams
sort a STORE
sort a foo
georadius a 1 2 3 km STORE
"""


class Row:
    def __init__(self, match):
        self.words = match.group(2).encode().split(b"|")
        self.name = match.group(2).encode()
        self.arity = int(match.group(3))
        self.kind = match.group(4)


def read_rows():
    rows = []
    for file in ("redis_overrides.def", "redis_commands.def"):
        for line in (SRC / file).read_text().splitlines():
            match = ROW.match(line)
            if match:
                rows.append(Row(match))
    return rows


ROWS = read_rows()
SERVED = {"FORWARD", "MGET", "MSET", "SUM", "STREAMS"}


def words(line):
    """The words of a line of SCRIPT; \\xNN is a byte, as in redis-cli."""
    parts = shlex.split(line.replace("\\", "\\\\"))
    return [p.encode().decode("unicode_escape").encode("latin-1") for p in parts]


class Side:
    """A direct connection to one redis, and one through the proxy over three."""

    def __init__(self):
        self.servers = [harness.Redis() for _ in range(4)]
        self.alone = self.servers[0]
        self.shards = self.servers[1:]
        self.port, self.single_port = harness.free_port(), harness.free_port()
        # The default hash leaves keys that count up on one server.
        keys = {"redis": True, "hash": "murmur", "hash_tag": "{}"}
        self.cashew = harness.Cashew(
            harness.pool("shards", self.port, self.shards, **keys)
            + harness.pool("single", self.single_port, [self.shards[0]], **keys))
        self.direct = harness.Raw(self.alone.port)
        self.proxied = harness.Raw(self.port)

    def flush(self):
        for server in self.servers:
            server.client().flushall()

    def both(self, *args):
        request = harness.resp(*args)
        return (self.direct.send(request).recv_reply(), self.proxied.send(request).recv_reply())

    def check(self, *args):
        direct, proxied = self.both(*args)
        assert proxied == direct, args
        return direct

    def close(self):
        for thing in (self.cashew, *self.servers):
            thing.close()


@pytest.fixture(scope="module")
def pair():
    side = Side()
    yield side
    side.close()


@pytest.fixture
def side(pair):
    pair.flush()
    # Whatever a failed test left behind stays there.
    pair.direct = harness.Raw(pair.alone.port)
    pair.proxied = harness.Raw(pair.port)
    return pair


def test_table_is_generated():
    subprocess.run([sys.executable, harness.ROOT / "scripts" / "gen-commands.py", "--check"],
                   check=True)


def known(side, row):
    """Does this redis have the row's command? Older ones lack many."""
    reply = side.direct.send(harness.resp("COMMAND", "INFO", row.name)).recv_reply()
    return reply not in (b"*1\r\n*-1\r\n", b"*1\r\n$-1\r\n")


def test_arity_is_the_servers(side):
    """One word too few and, where it is bounded, one too many, for each command of the table."""
    compared = 0
    for row in ROWS:
        if row.kind in ("LATER", "REFUSED") or not known(side, row):
            continue
        asked = []
        few = abs(row.arity) - 1
        if few >= len(row.words):
            asked.append(row.words + [b"1"] * (few - len(row.words)))
        if row.arity > 0:
            asked.append(row.words + [b"1"] * (row.arity + 1 - len(row.words)))
        for request in asked:
            direct, proxied = side.both(*request)
            # Redis 8 writes the names of vector commands as its module does, in upper case.
            assert proxied.lower() == direct.lower(), request
            assert b" wrong number of arguments for '" in proxied, request
            compared += 1
    assert compared > 250


def test_container_alone_and_with_unknown_subcommand(side):
    for row in ROWS:
        if row.kind == "CONTAINER" and known(side, row):
            side.check(row.name, "nonsense", "x")
            if row.name != b"command":
                side.check(row.name)


def test_every_served_command_as_on_one_redis(side):
    covered = set()
    for line in SCRIPT.strip().splitlines():
        request = words(line)
        name = request[0].lower()
        side.check(*request)
        covered |= {name, name + b"|" + request[1].lower()}
    missing = [row.name for row in ROWS
               if row.kind in SERVED and known(side, row) and row.name not in covered]
    assert missing == []


def test_commands_that_the_server_lacks(side):
    """They are forwarded, and the server says that it does not know them."""
    seen = 0
    for row in ROWS:
        if row.kind in SERVED and not known(side, row):
            args = [b"1"] * max(abs(row.arity) - len(row.words), 1)
            reply = side.check(*row.words, *args)
            assert reply.startswith(b"-ERR unknown "), row.name
            seen += 1
    assert seen > 0


def test_dump_and_restore(side):
    side.check("SET", "a", "some value \r\n")
    payload = side.check("DUMP", "a").split(b"\r\n", 1)[1][:-2]
    assert side.check("RESTORE", "b", 0, payload) == b"+OK\r\n"
    side.check("GET", "b")


def test_numbers_of_keys(side):
    for line in NUMKEYS.strip().splitlines():
        assert side.check(*words(line)).startswith(b"-"), line


def test_later_and_refused(side):
    for row in ROWS:
        args = [b"a"] * max(abs(row.arity) - len(row.words), 0)
        request = harness.resp(*row.words, *args)
        shown = b"".join(b"'" + a + b"' " for a in [*row.words[1:], *args])
        if row.kind == "LATER":
            assert side.proxied.send(request).recv_reply() == (
                b"-ERR unknown command '" + row.words[0] + b"', with args beginning with: "
                + shown + b"\r\n")
        if row.kind == "REFUSED":
            name = row.name if row.words[0] != b"sentinel" else b"sentinel"
            assert side.proxied.send(request).recv_reply() == PROXY_ERROR % name
    assert side.proxied.send(harness.resp("PING")).recv_reply() == b"+PONG\r\n"


def test_command_goes_to_a_server(side):
    reply = side.proxied.send(harness.resp("COMMAND")).recv_reply()
    assert reply.startswith(b"*2") and len(reply) > 10000


def test_keys_on_different_servers(side):
    keys = [b"key%d" % i for i in range(20)]
    for request in (["SINTER", *keys], ["ZUNIONSTORE", "d", 20, *keys],
                    ["MSETNX", *[w for k in keys for w in (k, "v")]],
                    ["EVAL", "return 1", 20, *keys], ["PFCOUNT", *keys]):
        reply = side.proxied.send(harness.resp(*request)).recv_reply()
        assert reply.startswith(CROSS) and b"hash_tag" in reply, request
    assert side.proxied.send(harness.resp("PING")).recv_reply() == b"+PONG\r\n"
    # On a pool of one server there is nothing to cross.
    with harness.Raw(side.single_port) as single:
        assert single.send(harness.resp("SUNION", *keys)).recv_reply() == b"*0\r\n"
        assert single.send(harness.resp("MGET", *keys)).recv_reply() == b"*20\r\n" + b"$-1\r\n" * 20


def test_split_over_all_servers(side):
    keys = [b"key%d" % i for i in range(3000)]
    pairs = [w for i, k in enumerate(keys) for w in (k, b"value%d" % i)]
    assert side.check("MSET", *pairs) == b"+OK\r\n"
    sizes = [s.client().dbsize() for s in side.shards]
    assert sum(sizes) == 3000 and min(sizes) > 0
    side.check("MGET", *keys, "nothing", *reversed(keys))
    side.check("EXISTS", *keys, *keys, "nothing")
    side.check("TOUCH", *keys, "nothing")
    side.check("DEL", *keys[:1000], "nothing")
    side.check("UNLINK", *keys)
    assert sum(s.client().dbsize() for s in side.shards) == 0


def test_the_last_value_of_a_key_given_twice(side):
    side.check("MSET", *[w for i in range(100) for w in ("k%d" % (i % 7), i)])
    side.check("MGET", *["k%d" % i for i in range(7)])


def test_error_of_one_server_is_the_error_of_the_whole(side):
    keys = [b"key%d" % i for i in range(50)]
    full = side.shards[1].client()
    full.config_set("maxmemory", 1)
    try:
        reply = side.proxied.send(
            harness.resp("MSET", *[w for k in keys for w in (k, "v")])).recv_reply()
        assert reply.startswith(b"-OOM command not allowed")
    finally:
        full.config_set("maxmemory", 0)
    assert side.proxied.send(harness.resp("PING")).recv_reply() == b"+PONG\r\n"


def test_a_dead_server_is_an_error_and_never_a_miss(redis_servers, cashew, raw):
    servers = redis_servers(3)
    proxy = cashew(harness.pool("p", harness.free_port(), servers, redis=True, hash="murmur",
                                timeout=1000))
    client = raw(proxy.ports[0])
    keys = [b"key%d" % i for i in range(50)]
    pairs = [w for k in keys for w in (k, "v")]
    assert client.send(harness.resp("MSET", *pairs)).recv_reply() == b"+OK\r\n"
    servers[1].kill()
    for name, args in (("MGET", keys), ("DEL", keys[:40]), ("EXISTS", keys), ("MSET", pairs)):
        reply = client.send(harness.resp(name, *args)).recv_reply()
        assert reply.startswith(b"-ERR "), (name, reply)
    assert client.send(harness.resp("PING")).recv_reply() == b"+PONG\r\n"


def test_deep_pipeline(side):
    count = 10000
    sent = b"".join(harness.resp("SET", "k%d" % i, i) + harness.resp("PING", i)
                    + harness.resp("MGET", "k%d" % i, "k%d" % max(i - 7, 0))
                    + harness.resp("NOSUCH", i) for i in range(count))
    expected = b"".join(
        b"+OK\r\n$%d\r\n%d\r\n*2\r\n$%d\r\n%d\r\n$%d\r\n%d\r\n"
        b"-ERR unknown command 'NOSUCH', with args beginning with: '%d' \r\n"
        % (len(str(i)), i, len(str(i)), i, len(str(max(i - 7, 0))), max(i - 7, 0), i)
        for i in range(count))
    got = b""
    # Both ways at once: neither side may wait for the other.
    side.proxied.sock.setblocking(False)
    while len(got) < len(expected):
        readable, writable, _ = select.select([side.proxied.sock],
                                              [side.proxied.sock] if sent else [], [], 10)
        assert readable or writable, "silence"
        if writable:
            sent = sent[side.proxied.sock.send(sent[:65536]):]
        if readable:
            piece = side.proxied.sock.recv(1 << 18)
            assert piece, "closed"
            got += piece
    assert got == expected


def test_keys_and_values_of_any_bytes(side):
    values = [bytes([b]) for b in range(256)] + [b"", b"\r\n", b"*1\r\n$4\r\nPING\r\n", b"\0" * 9]
    for value in values:
        side.check("SET", value, value)
        side.check("GET", value)
    side.check("MGET", *values)
    side.check("DEL", *values)
    for length in (1, 100, 16336, 16384, 65536, 1 << 20):
        key, value = b"k" * length, b"\r\n$-1" * (length // 5 + 1)
        side.check("SET", key, value)
        side.check("GET", key)
        side.check("MGET", key, "nothing", key)


def test_redis_py(side):
    with redis.Redis(port=side.port, socket_timeout=10) as client:
        assert client.set("a", "1") and client.get("a") == b"1"
        pipe = client.pipeline(transaction=False)
        for i in range(1000):
            pipe.set(f"p{i}", i).get(f"p{i}").exists(f"p{i}", "a")
        assert pipe.execute() == [r for i in range(1000) for r in (True, b"%d" % i, 2)]
        assert client.mget([f"p{i}" for i in range(1000)]) == [b"%d" % i for i in range(1000)]
        with pytest.raises(redis.ResponseError, match="unknown command"):
            client.execute_command("NOSUCH", "a")
        assert client.ping() and client.echo("x") == b"x"


def test_select_and_password(redis_servers, cashew, raw):
    servers = redis_servers(2, args=["--requirepass", "sesame"])
    proxy = cashew(harness.pool("p", harness.free_port(), servers, redis=True,
                                redis_auth="sesame", redis_db=3))
    client = raw(proxy.ports[0])
    ask = lambda *args: client.send(harness.resp(*args)).recv_reply()
    noauth = b"-NOAUTH Authentication required.\r\n"
    for request in (("PING",), ("GET", "a"), ("MGET", "a", "b"), ("SHUTDOWN",), ("SELECT", 3)):
        assert ask(*request) == noauth
    assert ask("HELLO", 3).startswith(b"-NOAUTH HELLO must be called with")
    assert ask("AUTH", "wrong") == b"-ERR invalid password\r\n"
    assert ask("AUTH", "bob", "sesame").startswith(b"-WRONGPASS ")
    assert ask("GET", "a") == noauth
    assert ask("AUTH", "default", "sesame") == b"+OK\r\n"
    assert ask("SET", "a", "1") == b"+OK\r\n"
    assert ask("SELECT", 3) == b"+OK\r\n"
    assert ask("SELECT", 0) == b"+OK\r\n"
    assert ask("GET", "a") == b"$-1\r\n"
    assert ask("SELECT", 3) == b"+OK\r\n"
    assert ask("GET", "a") == b"$1\r\n1\r\n"
    assert ask("SELECT", "x") == b"-ERR value is not an integer or out of range\r\n"
    assert sum(s.client(password="sesame", db=3).dbsize() for s in servers) == 1
    assert sum(s.client(password="sesame", db=0).dbsize() for s in servers) == 0
    assert ask("AUTH", "wrong") == b"-ERR invalid password\r\n"
    assert ask("GET", "a") == noauth
    assert ask("QUIT") == b"+OK\r\n"
    assert client.closed()


@pytest.mark.long
def test_largest_value(side):
    value = b"0123456789abcdef" * (1 << 25)
    request = b"*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$%d\r\n" % len(value)
    side.proxied.timeout = 120
    assert side.proxied.send(request).send(value).send(b"\r\n").recv_reply() == b"+OK\r\n"
    side.proxied.send(harness.resp("GET", "big"))
    assert side.proxied.recv_until() == b"$%d\r\n" % len(value)
    side.proxied.sock.settimeout(120)
    left, view = len(value), memoryview(value)
    early = side.proxied._take(len(side.proxied.buffer))
    assert early == view[:len(early)]
    left -= len(early)
    while left > 0:
        piece = side.proxied.sock.recv(min(left, 1 << 20))
        assert piece == view[len(value) - left:len(value) - left + len(piece)]
        left -= len(piece)
    assert side.proxied.recv_exact(2) == b"\r\n"
    assert side.proxied.send(harness.resp("PING")).recv_reply() == b"+PONG\r\n"
