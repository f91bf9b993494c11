# SPDX-License-Identifier: BSD-3-Clause
"""One session of a thousand commands, errors included, to a redis directly, and through cashew over one server and over
three, in both versions of the protocol: the replies are the same, or docs/commands.md says in what they differ."""

import re

import harness
import pytest
from test_redis_commands import NUMKEYS, SCRIPT, words

KEYS = {"redis": True, "hash": "murmur", "hash_tag": "{}", "allow_flush": True}
# What is shut unless it is allowed is opened, so that it can be compared.
ALLOWED = "  commands: {allow: [config, acl, bgsave, bgrewriteaof]}\n"

SESSION = harness.ROOT / "tests" / "integration" / "data" / "redis_session.txt"
LINE = re.compile(r"(?:(differs|differs over several|newer): )?(.+)")

# Commands whose elements a server tells in the order of a hash table, which is another in every process.
UNORDERED = set("""keys smembers sinter sunion sdiff spop srandmember hgetall hkeys hvals hscan sscan zscan scan
    command command|list command|docs acl|cat function|list function|load pubsub|channels pubsub|shardchannels config|get
    latency|histogram georadius georadius_ro""".split())

# Commands whose replies are of the moment or of the process: their shape is compared, not what they say.
VOLATILE = set("""client|id client|info hello time lastsave randomkey acl|genpass memory|stats memory|usage
    memory|malloc-stats memory|doctor object|idletime latency|doctor bgsave bgrewriteaof xadd xpending xinfo|consumers xinfo|stream
    xautoclaim ttl pttl function|stats slowlog|get lolwut command|docs cluster|nodes cluster|myid""".split())


# What INFO says while a server saves.
BUSY = ("rdb_bgsave_in_progress", "aof_rewrite_in_progress", "aof_rewrite_scheduled")

# Commands of a server that the session leaves out.
LEFT_OUT = {
    "shutdown": "ends the server; refused",
    "psync": "makes a replica of the connection; refused",
    "sync": "makes a replica of the connection; refused",
    "pfselftest": "takes a second of the server; refused",
    "monitor": "what follows is no reply",
    "subscribe": "what follows is no reply", "unsubscribe": "as subscribe",
    "psubscribe": "what follows is no reply", "punsubscribe": "as subscribe",
    "ssubscribe": "what follows is no reply", "sunsubscribe": "as subscribe",
}

# Differences that other tests than the session show.
SHOWN_BY = {
    "publish": "test_pubsub.py::test_many_subscribers_on_one_connection",
    "spublish": "test_pubsub.py::test_what_servers_count",
    "pubsub|numsub": "test_pubsub.py::test_what_servers_count",
    "pubsub|shardnumsub": "test_pubsub.py::test_what_servers_count",
    "hello": "test_differential_redis.py::test_hello_tells_the_id_of_a_server_connection",
    "randomkey": "test_differential_redis.py::test_random_keys_are_of_random_servers",
}


class Line:
    """A request of the session, and whether its reply differs."""

    def __init__(self, text):
        mark, self.text = LINE.fullmatch(text).groups()
        self.request = words(self.text)
        self.mark = mark
        name = self.request[0].decode("latin-1").lower()
        sub = self.request[1].decode("latin-1").lower() if len(self.request) > 1 else ""
        self.names = (name, name + "|" + sub)

    def is_of(self, names):
        return any(name in names for name in self.names)

    def name(self, known):
        """What the line is a row of, among the names of `known`."""
        return self.names[1] if self.names[1] in known else self.names[0]

    def differs(self, count, want):
        if self.mark == "newer":
            return want[:1] == b"-" and b"unknown" in want
        return self.mark == "differs" or (self.mark == "differs over several" and count > 1)


def read_page():
    """The table of docs/commands.md: command: what becomes of it, how, in what it differs."""
    page = (harness.ROOT / "docs" / "commands.md").read_text().split("<!-- begin commands -->")[1]
    rows = re.findall(r"^\| `(.+)` \| (.+) \| (.+) \| (.*) \|$", page, re.M)
    return {name.lower().replace(" ", "|"): cells for name, *cells in rows}


def told(cells, over_several):
    """Does a row of the page tell of a difference, before one server or only before several?"""
    way, how, differs = cells
    always = way in ("refused", "unknown") or (differs and not differs.startswith("before several servers: "))
    return bool(always or (over_several and (differs or "must be on one" in how)))


def session():
    written = [text for text in SESSION.read_text().splitlines() if text and not text.startswith("# ")]
    return [Line(text) for text in (SCRIPT + NUMKEYS).splitlines() + written if text]


def parse(raw, at=0):
    """A reply as a tree: its kind, and the bytes or the list in it; and where it ends."""
    end = raw.index(b"\r\n", at)
    kind, rest = raw[at:at + 1], raw[at + 1:end]
    at = end + 2
    if kind in b"$=!" and rest != b"-1":
        return (kind, raw[at:at + int(rest)]), at + int(rest) + 2
    if kind not in b"*%~>" or rest == b"-1":
        return (kind, rest), at
    items = []
    for _ in range(int(rest) * (2 if kind == b"%" else 1)):
        item, at = parse(raw, at)
        items.append(item)
    return (kind, items), at


def unordered(tree):
    kind, what = tree
    return (kind, sorted((unordered(item) for item in what), key=repr)) if isinstance(what, list) else tree


def shape(tree):
    """Without what it says: kinds, numbers of elements, whether it is null; errors stay whole."""
    kind, what = tree
    if isinstance(what, list):
        return (kind, [shape(item) for item in what])
    return tree if kind == b"-" else (kind, what == b"-1" and kind in b"$*")


def comparable(line, reply):
    tree = parse(reply)[0]
    if line.is_of(VOLATILE):
        tree = shape(tree)
    return unordered(tree) if line.is_of(UNORDERED) else tree


@pytest.fixture(scope="module", params=[1, 3])
def sides(request):
    servers = [harness.Redis() for _ in range(request.param + 1)]
    port = harness.free_port()
    # Names, so that the keys of the session are always on the same servers.
    lines = [f"127.0.0.1:{server.port}:1 s{i}" for i, server in enumerate(servers[1:])]
    proxy = harness.Cashew(harness.pool("p", port, lines, **KEYS) + ALLOWED)
    yield servers, port
    for thing in (proxy, *servers):
        thing.close()


def begin(servers, port, protocol):
    """Two connections, to a server and to the proxy, with nothing behind them."""
    for server in servers:
        client = server.client()
        client.flushall()
        client.script_flush()
        client.execute_command("FUNCTION", "FLUSH")
        client.config_resetstat()
        client.config_set("slowlog-log-slower-than", -1)
        harness.wait_for(lambda info=client.info: all(info("persistence")[key] == 0 for key in BUSY),
                         what="the end of what a session before this one began")
    both = (harness.Raw(servers[0].port), harness.Raw(port))
    greet(both, protocol)
    return both


def greet(both, protocol):
    for raw in both if protocol == 3 else ():
        raw.send(harness.resp("HELLO", 3)).recv_reply()


def ask(both, line):
    replies = []
    for raw in both:
        try:
            replies.append(raw.send(harness.resp(*line.request)).recv_reply())
        except (TimeoutError, EOFError) as late:
            raise AssertionError(f"{line.text}: {late}") from late
    return replies


@pytest.mark.parametrize("protocol", [2, 3])
def test_one_session(sides, protocol):
    servers, port = sides
    both = begin(servers, port, protocol)
    wrong = []
    for line in session():
        want, got = ask(both, line)
        if line.request[0].lower() in (b"reset", b"hello"):
            greet(both, protocol)
        same = comparable(line, want) == comparable(line, got)
        if same == line.differs(len(servers) - 1, want):
            wrong.append((line.text, "same" if same else "other", want[:200], got[:200]))
    assert not wrong, "\n".join(map(repr, wrong))


def test_the_page_tells_of_every_difference_and_of_no_other():
    page, seen, queued = read_page(), set(SHOWN_BY), False
    for line in session():
        name = "multi" if queued else line.name(page)
        if line.mark:
            assert told(page[name], line.mark == "differs over several"), line.text
            seen.add(name)
        queued = line.names[0] == "multi" or (queued and line.names[0] not in ("exec", "discard"))
    assert sorted(name for name, cells in page.items() if cells[2] and name not in seen) == []
    for where in SHOWN_BY.values():
        file, function = where.split("::")
        assert f"def {function}(" in (SESSION.parents[1] / file).read_text(), where


def test_the_session_has_every_command_of_the_server(sides):
    """Of that version of redis for which it was written."""
    server = sides[0][0]
    if not server.client().info("server")["redis_version"].startswith("7.0."):
        pytest.skip("the session was written for redis 7.0")
    with harness.Raw(server.port) as raw:
        listed = parse(raw.send(harness.resp("COMMAND", "LIST")).recv_reply())[0][1]
    names = {name.decode() for _, name in listed}
    containers = {name.split("|")[0] for name in names if "|" in name}
    played = {name for line in session() for name in line.names}
    assert sorted(names - containers - played - set(LEFT_OUT)) == []
    assert sorted(set(LEFT_OUT) & played) == []


def test_hello_tells_the_id_of_a_server_connection(sides):
    def ids(port, *request):
        told = []
        for _ in range(5):
            with harness.Raw(port) as raw:
                told.append(re.findall(rb":(\d+)\r\n", raw.send(harness.resp(*request)).recv_reply())[-1])
        return len(set(told))
    servers, port = sides
    assert ids(servers[0].port, "HELLO") == ids(port, "CLIENT", "ID") == 5
    assert ids(port, "HELLO") < 5


def test_random_keys_are_of_random_servers(sides):
    servers, port = sides
    begin(servers, port, 2)
    for i, server in enumerate(servers):
        server.client().mset({f"of:{i}:{k}": 1 for k in range(1 if i < 2 else 100)})
    if len(servers) > 2:
        with harness.Raw(port) as raw:
            asked = [raw.send(harness.resp("RANDOMKEY")).recv_reply() for _ in range(60)]
        assert sum(b"of:1:" in key for key in asked) > 5
