# SPDX-License-Identifier: BSD-3-Clause
"""Unit clients is the crowd of a chaos run. A client knows what each of its replies may be, and says
so as soon as one is not: its own token, in its own place, within the bound."""

import re
import select
import socket
from collections import deque

import wire
from fakes import POISON, redis_shape, value_of
from reactor import Connection

# What the proxy says for itself when a server cannot be asked. It names the server, and why.
REASONS = (rb"(Connection timed out|Connection refused|Connection reset by peer|Broken pipe|"
           rb"Invalid argument|Host is down|No route to host|Network is unreachable|unknown)")
PROXY_ERROR = {
    "redis": re.compile(rb"^ERR " + REASONS + rb" \((all )?server"),
    "memcache": re.compile(rb"^SERVER_ERROR " + REASONS + rb" \((all )?server"),
}
# What a real server may say while it is being mistreated.
SERVER_ERROR = re.compile(rb"^(LOADING|BUSY|SERVER_ERROR out of memory)")


# What those are told that want to watch or to wait.
SESSION_ERROR = re.compile(rb"^(ERR no connection |EXECABORT )")


class Wrong(Exception):
    """A reply that must not be."""


class Key:
    """A key of one client. What it holds is known until one of its changes has failed."""

    def __init__(self, name):
        self.name = name
        self.value = None
        self.all = {None}
        self.sure = True
        self.losses = 0

    def change(self, value, losses):
        """What it will hold; `losses` is how often servers have forgotten everything by now."""
        self.value = value
        self.all.add(value)
        self.losses = losses

    def doubt(self):
        self.sure = False


class Request:
    """Bytes, and what the reply to them may be."""

    def __init__(self, wire_bytes, check, keys=(), changes=False, local=False, session=False,
                 needed=False):
        self.bytes = wire_bytes
        self.check = check
        self.keys = keys
        self.changes = changes
        self.local = local  # the proxy itself answers: it never fails
        self.session = session  # wants a connection of its own, of which there are few
        self.needed = needed  # whoever is refused that does not know any more where its keys are
        self.since = 0.0


def resp(*args):
    return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(a), a) for a in args)


# ---------------------------------------------------------------- what clients ask

class Tongue:
    """The requests of one client in one protocol."""

    parse = None
    protocol = ""

    def __init__(self, pool, name, rng):
        self.pool = pool
        self.name = name
        self.rng = rng
        self.serial = 0
        self.keys = [self._fresh() for _ in range(4)]

    def _token(self):
        self.serial += 1
        return b"%s-%d-" % (self.name, self.serial)

    def _fresh(self):
        self.serial += 1
        return Key(b"%s:%d" % (self.name, self.serial))

    def _pick(self):
        """One of its keys; another is taken for one that is in doubt, with nothing known of it."""
        at = self.rng.randrange(len(self.keys))
        if not self.keys[at].sure and self.rng.random() < 0.5:
            self.keys[at] = self._fresh()
        return self.keys[at]

    def _size(self):
        return self.rng.choice((0, 5, 40, 300, 3000, 17000)) if self.rng.random() < 0.98 else 200000

    def _unique(self):
        """A key of a fake server, asked for once. Its value may be large."""
        self.serial += 1
        return b"%s:%d#%d" % (self.name, self.serial, self._size())

    def request(self):
        """One request, or a list of those that belong together."""
        kinds = self.FAKE if self.pool.fake else self.REAL
        return getattr(self, self.rng.choice(kinds))()

    def requests(self):
        found = self.request()
        return found if isinstance(found, list) else [found]

    def _held(self, key, expected, got, losses):
        """Judges what a server said it holds under `key`."""
        if got == expected and key.sure:
            return
        if got is None and (self.pool.forgets or self.pool.losses != losses):
            return
        if (not key.sure or self.pool.forgets) and got in key.all:
            return
        raise Wrong(f"{key.name} holds {short(got)}, not {short(expected)}"
                    + ("" if key.sure else " nor what may have become of it"))


def short(value):
    return repr(value if value is None or len(value) < 120 else value[:120] + b"...")


def must_be(expected):
    def check(got):
        if got != expected:
            raise Wrong(f"got {short_reply(got)}, not {short_reply(expected)}")
    return check


def short_reply(reply):
    text = repr(reply)
    return text if len(text) < 300 else text[:300] + "..."


class RedisTongue(Tongue):
    REAL = ("echo",) * 4 + ("set", "get", "get") * 3 + ("mget", "mset", "delete", "local", "bad",
                                                     "exists", "transaction", "discarded", "watched",
                                                     "blocked", "elsewhere")
    FAKE = ("ask",) * 6 + ("ask_many", "shape", "change", "local", "bad")
    parse = staticmethod(wire.redis_reply)
    protocol = "redis"

    def echo(self):
        token = self._token() + b"e" * self._size()
        return Request(resp(b"EVAL", b"return ARGV[1]", b"1", self._pick().name, token),
                       must_be(("$", token)))

    def set(self):
        key, token = self._pick(), self._token()
        token += b"v" * self._size()
        key.change(token, self.pool.losses)
        return Request(resp(b"SET", key.name, token), must_be(("+", b"OK")), (key,), True)

    def get(self):
        key = self._pick()
        expected, losses = key.value, key.losses

        def check(got):
            if got[0] != "$":
                raise Wrong(f"GET got {short_reply(got)}")
            self._held(key, expected, got[1], losses)
        return Request(resp(b"GET", key.name), check, (key,))

    def mget(self):
        keys = [self._pick() for _ in range(self.rng.randrange(1, 6))]
        expected, losses = [key.value for key in keys], [key.losses for key in keys]

        def check(got):
            if got[0] != "*" or len(got[1]) != len(keys):
                raise Wrong(f"MGET of {len(keys)} got {short_reply(got)}")
            for key, value, lost, item in zip(keys, expected, losses, got[1]):
                if item[0] != "$":
                    raise Wrong(f"MGET got {short_reply(got)}")
                self._held(key, value, item[1], lost)
        return Request(resp(b"MGET", *(key.name for key in keys)), check, keys)

    def mset(self):
        keys = list(dict.fromkeys(self._pick() for _ in range(4)))
        words = [b"MSET"]
        for key in keys:
            key.change(self._token(), self.pool.losses)
            words += [key.name, key.value]
        return Request(resp(*words), must_be(("+", b"OK")), keys, True)

    def _count(self, name, changes):
        keys = list(dict.fromkeys(self._pick() for _ in range(3)))
        there = sum(key.value is not None for key in keys)
        losses = min(key.losses for key in keys)

        def check(got):
            if got[0] != ":" or not 0 <= got[1] <= len(keys):
                raise Wrong(f"{name} of {len(keys)} got {short_reply(got)}")
            certain = all(key.sure for key in keys) and self.pool.losses == losses
            if certain and not self.pool.forgets and got[1] != there:
                raise Wrong(f"{name} counted {got[1]}, not {there}")
        if changes:
            for key in keys:
                key.change(None, self.pool.losses)
        return Request(resp(name, *(key.name for key in keys)), check, keys, changes)

    def delete(self):
        return self._count(b"DEL", True)

    def exists(self):
        return self._count(b"EXISTS", False)

    def local(self):
        return Request(b"PING\r\n", must_be(("+", b"PONG")), local=True)

    def bad(self):
        def check(got):
            if got[0] != "-" or not got[1].startswith((b"ERR unknown command", b"ERR wrong number")):
                raise Wrong(f"a bad command got {short_reply(got)}")
        return Request(self.rng.choice((resp(b"NOSUCH", self._token()), resp(b"GET"), b"SET a\r\n")),
                       check, local=True)

    def _queued(self, key, token):
        """MULTI and one request behind it: neither needs a server."""
        echo = resp(b"EVAL", b"return ARGV[1]", b"1", key, token)
        return [Request(resp(b"MULTI"), must_be(("+", b"OK")), local=True),
                Request(echo, must_be(("+", b"QUEUED")), local=True)]

    def transaction(self):
        key, token = self._pick().name, self._token() + b"t" * self._size()
        return [*self._queued(key, token), Request(resp(b"EXEC"), must_be(("*", [("$", token)])))]

    def discarded(self):
        return [*self._queued(self._pick().name, self._token()),
                Request(resp(b"DISCARD"), must_be(("+", b"OK")), local=True)]

    def watched(self):
        """Nobody else writes to its key: the transaction is carried out, or a connection was lost."""
        key, token = self._pick().name, self._token()

        def check(got):
            if got not in (("*", [("$", token)]), ("*", None)):
                raise Wrong(f"EXEC of what is watched got {short_reply(got)}")
        return [Request(resp(b"WATCH", key), must_be(("+", b"OK")), session=True),
                *self._queued(key, token), Request(resp(b"EXEC"), check, session=True)]

    def blocked(self):
        """Waits for what never comes."""
        return Request(resp(b"BLPOP", self._pick().name + b":never", b"0.02"), must_be(("*", None)),
                       session=True)

    def elsewhere(self):
        """A token in another database, then back to where its keys are."""
        key, token = self._fresh().name, self._token()
        return [Request(resp(b"SELECT", b"1"), must_be(("+", b"OK"))),
                Request(resp(b"EVAL", b"return ARGV[1]", b"1", key, token), must_be(("$", token))),
                Request(resp(b"SELECT", b"0"), must_be(("+", b"OK")), needed=True)]

    def ask(self):
        key = self._unique()
        return Request(resp(b"GET", key), must_be(("$", value_of(key))))

    def ask_many(self):
        keys = [self._unique() for _ in range(self.rng.randrange(2, 12))]
        return Request(resp(b"MGET", *keys), must_be(("*", [("$", value_of(k)) for k in keys])))

    def shape(self):
        key = self._unique()
        expected, _ = wire.redis_reply(redis_shape(key))
        return Request(resp(b"LRANGE", key, b"0", b"9"), must_be(expected))

    def change(self):
        keys = [self._unique() for _ in range(self.rng.randrange(1, 5))]
        return Request(resp(b"DEL", *keys), must_be((":", len(keys))))

    def large(self):
        """For those who do not read: a reply that nobody wants to keep."""
        key = b"%s:large#1000000" % self.name
        return resp(b"GET", key) if self.pool.fake else resp(
            b"EVAL", b"return string.rep('x', 1000000)", b"1", self.name)

    def error(self, got):
        return got[1] if got[0] == "-" else None

    garbage = (b"*3\r\n$3\r\nGET\r\n$-4\r\n", b"*99999999999\r\n", b"*1\r\n+PING\r\n", b"\0" * 70000,
               b"*2\r\n$3\r\nGET\r\n:1\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")


class MemcacheTongue(Tongue):
    REAL = ("set", "get", "get", "get") * 3 + ("many", "many", "delete", "quiet", "bad", "local")
    FAKE = ("ask",) * 6 + ("ask_many", "ask_many", "change", "bad", "local")
    parse = staticmethod(wire.memcache_reply)
    protocol = "memcache"

    def set(self):
        key, token = self._pick(), self._token()
        token += b"v" * self._size()
        key.change(token, self.pool.losses)
        return Request(b"set %s 0 0 %d\r\n%s\r\n" % (key.name, len(token), token),
                       must_be((b"STORED", [])), (key,), True)

    def quiet(self):
        """Nothing may come back, whatever becomes of it; so nothing is known of it either."""
        key, token = self._pick(), self._token()
        key.all.add(token)
        key.doubt()
        follow = self.local()
        follow.bytes = b"set %s 0 0 %d noreply\r\n%s\r\n" % (key.name, len(token), token) \
            + follow.bytes
        return follow

    def _got(self, keys):
        expected = {key: (key.value, key.losses) for key in keys}

        def check(got):
            last, items = got
            found = {}
            for name, value in items:
                if name not in [key.name for key in keys] or name in found:
                    raise Wrong(f"a get of {[k.name for k in keys]} got {short_reply(got)}")
                found[name] = value
            if last != b"END" and not PROXY_ERROR["memcache"].match(last):
                raise Wrong(f"a get ended with {last!r}")
            for key in keys:
                if key.name in found or last == b"END":
                    value, losses = expected[key]
                    self._held(key, value, found.get(key.name), losses)
        return Request(b"get " + b" ".join(key.name for key in keys) + b"\r\n", check, keys)

    def get(self):
        return self._got([self._pick()])

    def many(self):
        return self._got(list(dict.fromkeys(self._pick() for _ in range(4))))

    def delete(self):
        key = self._pick()
        key.change(None, self.pool.losses)

        def check(got):
            if got not in ((b"DELETED", []), (b"NOT_FOUND", [])):
                raise Wrong(f"delete got {short_reply(got)}")
        return Request(b"delete %s\r\n" % key.name, check, (key,), True)

    def local(self):
        def check(got):
            if not got[0].startswith(b"VERSION"):
                raise Wrong(f"version got {short_reply(got)}")
        return Request(b"version\r\n", check)

    def bad(self):
        return Request(b"nonsense %s\r\n" % self._token(), must_be((b"ERROR", [])), local=True)

    def _asked(self, keys):
        expected = [(key, value_of(key)) for key in keys]

        def check(got):
            last, items = got
            if last == b"END":
                must_be(expected)(items)
            elif not PROXY_ERROR["memcache"].match(last):
                raise Wrong(f"a get ended with {last!r}")
            for item in items:
                if item not in expected:
                    raise Wrong(f"a get of {keys} got {short_reply(item)}")
        return Request(b"get " + b" ".join(keys) + b"\r\n", check)

    def ask(self):
        return self._asked([self._unique()])

    def ask_many(self):
        return self._asked([self._unique() for _ in range(self.rng.randrange(2, 12))])

    def change(self):
        key = self._unique()
        return Request(b"set %s 0 0 3\r\nabc\r\n" % key, must_be((b"STORED", [])))

    def large(self):
        return b"get %s:large#1000000\r\n" % self.name if self.pool.fake \
            else b"get %s\r\n" % self.pool.large

    def error(self, got):
        return got[0] if not got[1] and got[0].startswith((b"SERVER_ERROR", b"CLIENT_ERROR")) \
            else None

    garbage = (b"set k 0 0 -1\r\n", b"set k 0 0 3\r\nabcdef\r\n", b"\x80\0\0\0\0\0\0\0\0\0\0\0" * 3,
               b"get " + b"k" * 300 + b"\r\n", b"x" * 5000, b"\0\r\n\0\r\n")


TONGUES = {"redis": RedisTongue, "memcache": MemcacheTongue}


# ---------------------------------------------------------------- how clients behave

class Client(Connection):
    """A connection of one client. `world` counts, and hears of what is wrong."""

    def __init__(self, world, pool, name, rng):
        sock = socket.socket()
        sock.setblocking(False)
        if self.small_window:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect_ex(("127.0.0.1", pool.port))
        super().__init__(world.reactor, sock)
        self.world = world
        self.pool = pool
        self.name = name
        self.rng = rng
        self.tongue = TONGUES[pool.protocol](pool, name, rng)
        self.input = bytearray()
        self.pending = deque()
        self.gone = False  # closed by itself
        self.reactor.after(rng.random() * 0.2, self.begin)

    small_window = False

    def begin(self):
        raise NotImplementedError

    def ask(self, count):
        """That many requests, to be sent as one; they are waited for from now on."""
        requests = [request for _ in range(count) for request in self.tongue.requests()]
        for request in requests:
            request.since = self.reactor.now
        self.pending += requests
        self.world.asked += count
        return b"".join(request.bytes for request in requests)

    def received(self, data):
        self.input += data
        at = 0
        try:
            while self.open and (found := self.tongue.parse(self.input, at)) is not None:
                reply, at = found
                self._judge(reply)
        except (wire.Unreadable, Wrong) as error:
            self.world.wrong(f"client {self.name.decode()} of pool '{self.pool.name}': {error}")
            self.close()
            return
        del self.input[:at]
        if self.open and not self.pending:
            self.answered()

    def _judge(self, reply):
        self.world.replies += 1
        if POISON in repr(reply).encode():
            raise Wrong(f"got what no request was answered with: {short_reply(reply)}")
        if not self.pending:
            raise Wrong(f"got {short_reply(reply)} and had asked for nothing")
        request = self.pending.popleft()
        said = self.tongue.error(reply)
        if said is not None and not request.local:
            if not PROXY_ERROR[self.pool.protocol].match(said) and not SERVER_ERROR.match(said) \
                    and not (request.session and SESSION_ERROR.match(said)):
                raise Wrong(f"{short(request.bytes)} got the error {said!r}")
            self.world.errors += 1
            if request.needed:
                self.leave()
            if request.changes:
                for key in request.keys:
                    key.doubt()
            return
        request.check(reply)

    def answered(self):
        """All that it asked is answered."""

    def ended(self, _in_order):
        """The proxy closed. It may, in the middle of a reply that a server did not end."""
        if not self.gone and not self.input and not self.may_be_closed():
            self.world.wrong(f"client {self.name.decode()} of pool '{self.pool.name}' was closed "
                             f"with {len(self.pending)} requests open and no reply begun")
        self.world.closed += 1

    def may_be_closed(self):
        return False

    def leave(self):
        self.gone = True
        if self.rng.random() < 0.5:
            self.reset()
        else:
            self.close()

    def late(self, bound):
        """Whether it has waited for longer than it may."""
        return self.open and self.reading and self.pending \
            and self.reactor.now - self.pending[0].since > bound


class Steady(Client):
    """Asks in pipelines of all depths, and thinks in between."""

    def begin(self):
        if self.open and not self.world.ending:
            self.send(self.ask(self.rng.choice((1, 1, 2, 8, 32))))

    def answered(self):
        if self.world.ending:
            self.leave()
        else:
            self.reactor.after(self.rng.random() * 0.08, self.begin)


class Lone(Steady):
    """One request at a time, and silence in between, so that a stray reply can be told."""

    def begin(self):
        if self.open and not self.world.ending:
            self.send(self.ask(1))

    def answered(self):
        if self.world.ending:
            self.leave()
        else:
            self.reactor.after(0.08, self.begin)


class Vanishing(Client):
    """Leaves with requests open, or in the middle of one."""

    def begin(self):
        if not self.open:
            return
        data = self.ask(self.rng.randrange(1, 30))
        self.send(data if self.rng.random() < 0.4 else data[:self.rng.randrange(len(data))])
        self.reactor.after(self.rng.random() * 0.15, self._go)

    def _go(self):
        if self.open:
            self.leave()

    def late(self, bound):
        return False


class Deaf(Client):
    """Asks for much and reads nothing. It may be closed for that."""

    small_window = True

    def begin(self):
        if self.open:
            self.pause()
            self.send(self.tongue.large() * self.rng.randrange(1, 20))
            self.reactor.after(self.rng.uniform(0.3, 2.0), self._go)

    def _go(self):
        if self.open:
            self.leave()

    def may_be_closed(self):
        return True

    def late(self, bound):
        return False


class SlowReader(Client):
    """Reads little at a time, and must get all of it right."""

    small_window = True

    def begin(self):
        if self.open:
            self.pause()
            self.send(self.ask(20))
            self._sip()

    def _sip(self):
        if not self.open:
            return
        if self.world.ending:
            self.leave()
            return
        self._read(self.rng.choice((1, 100, 4000)))
        if self.open:
            self.reactor.after(0.01, self._sip)

    def ready(self, events):
        if events & select.EPOLLHUP:
            self.resume()  # the proxy closed: the rest may be read as fast as it goes
        super().ready(events)

    def answered(self):
        self.leave()


class SlowWriter(Client):
    """Sends a byte at a time: a fast one to the end, another a byte a second and never to the end."""

    rest = b""

    def begin(self):
        if self.open:
            self.rest = self.ask(2)
            self.pace = self.rng.choice((0.0005, 0.002, 1.0))
            self._dribble()

    def _dribble(self):
        if not self.open or self.gone:
            return
        if self.world.ending:
            self.leave()
        elif self.rest:
            size = 1 if len(self.rest) < 400 else len(self.rest) // 200
            self.send(self.rest[:size])
            self.rest = self.rest[size:]
            for request in self.pending:
                request.since = self.reactor.now
            self.reactor.after(self.pace, self._dribble)

    def answered(self):
        if not self.rest:
            self.leave()

    def late(self, bound):
        return not self.rest and super().late(bound)


class HalfClosing(Client):
    """Asks, closes its side, and gets all of its replies and then the end."""

    def begin(self):
        if self.open:
            self.send(self.ask(self.rng.randrange(1, 40)))
            self._half_close()

    def _half_close(self):
        if self.out:
            self.reactor.after(0.01, self._half_close)
        elif self.open:
            self.half_close()

    def may_be_closed(self):
        return not self.pending


class Vandal(Client):
    """Right requests, and behind them bytes that are none: the answers come, then perhaps an error,
    then perhaps the end; and nobody else notices."""

    def begin(self):
        if self.open:
            self.send(self.ask(self.rng.randrange(0, 5)) + self.rng.choice(self.tongue.garbage))
            self.reactor.after(0.3, self._go)

    def _judge(self, reply):
        if self.pending:
            super()._judge(reply)
        elif self.tongue.error(reply) is None and reply[0] != b"ERROR":
            raise Wrong(f"garbage got {short_reply(reply)}")

    def _go(self):
        if self.open:
            self.leave()

    def may_be_closed(self):
        return not self.pending

    def late(self, bound):
        return False


# Who comes back when one has gone, and how often.
GUESTS = (Vanishing,) * 4 + (Deaf, SlowReader, SlowWriter, SlowWriter, HalfClosing, HalfClosing,
                             Vandal)
