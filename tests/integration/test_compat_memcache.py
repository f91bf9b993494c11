# SPDX-License-Identifier: BSD-3-Clause
"""Requests of memcached clients to nutcracker and to cashew, before the same servers: the answers
are the same, or differ in the way that docs/migrating-from-twemproxy.md tells."""

import harness
import pytest
from compat import both, first_words, needs_nutcracker, sides
from harness import Raw

pytestmark = needs_nutcracker

KEY250 = b"k" * 250
VERSION = b"VERSION " + harness.memcached_version() + b"\r\n"
MEGABYTE = 1024 * 1024

SAME = {
    "get": b"get a\r\nget missing\r\n",
    "get of many": b"get a b c missing a\r\n",
    "get of hundreds": b"get " + b" ".join(b"k%d" % i for i in range(300)) + b"\r\n",
    "gets": b"gets missing\r\n",
    "set": b"set new 7 0 3\r\nxyz\r\nget new\r\n",
    "set of nothing": b"set new 0 0 0\r\n\r\nget new\r\n",
    "binary data": b"set new 0 0 6\r\n\r\n\0END\r\nget new\r\n",
    "add replace append prepend": b"add a 0 0 1\r\nx\r\nadd new 0 0 1\r\nx\r\n"
                                  b"replace a 0 0 1\r\ny\r\nappend a 0 0 1\r\nz\r\n"
                                  b"prepend a 0 0 1\r\nw\r\nget a\r\n",
    "cas": b"cas a 0 0 1 99999999\r\nx\r\ncas missing 0 0 1 1\r\nx\r\n",
    "delete": b"delete a\r\ndelete a\r\nget a\r\n",
    "numbers": b"incr n 5\r\ndecr n 100\r\nincr missing 1\r\nincr a 1\r\n",
    "number of a text": b"set t 0 0 1\r\nx\r\nincr t 1\r\n",
    "touch": b"touch a 100\r\ntouch missing 0\r\ntouch a -1\r\nget a\r\n",
    "noreply": b"set q 0 0 1 noreply\r\nx\r\nincr n 1 noreply\r\ndelete a noreply\r\n"
               b"touch b 100 noreply\r\nadd q 0 0 1 noreply\r\ny\r\nget q\r\nget a\r\nget n\r\n",
    "key of 250 bytes": b"set " + KEY250 + b" 0 0 1\r\nx\r\nget " + KEY250 + b"\r\n",
    "version": b"version\r\n",
    "item of nearly a megabyte": b"set big 0 0 1000000\r\n" + b"x" * 1000000 + b"\r\nget big\r\n",
    "flags": b"set f 4294967295 0 1\r\nx\r\nget f\r\n",
    "pipeline": b"incr n 1\r\n" * 200 + b"get n\r\n",
}

# What twemproxy answers by closing the connection.
CLOSED = {
    "unknown command": (b"foo\r\n", b"ERROR\r\n"),
    "upper case": (b"GET a\r\n", b"ERROR\r\n"),
    "empty line": (b"\r\n", b"ERROR\r\n"),
    "stats": (b"stats items\r\n", b"CLIENT_ERROR only stats, stats servers and stats settings are "
                                  b"served by this proxy: ask a server directly\r\n"),
    "meta commands": (b"mg a v k q\r\nmn\r\n", b"VA 1 ka\r\n1\r\nMN\r\n"),
    "commands about one server": (b"watch\r\n", b"CLIENT_ERROR watch is not served by this proxy: "
                                               b"ask a server directly\r\n"),
    "get and touch": (b"gat 100 a\r\n", b"VALUE a 0 1\r\n1\r\nEND\r\n"),
    "get and touch of many": (b"gat 100 a b missing\r\n",
                              b"VALUE a 0 1\r\n1\r\nVALUE b 0 1\r\n2\r\nEND\r\n"),
    "verbosity": (b"verbosity 1\r\n", b"OK\r\n"),
    "flush_all": (b"flush_all\r\n", b"CLIENT_ERROR flush_all not allowed "
                                    b"(this pool has no allow_flush: true)\r\n"),
    "key of 251 bytes": (b"get " + KEY250 + b"k\r\n", b"CLIENT_ERROR bad command line format\r\n"),
    "negative exptime": (b"set a 0 -1 1\r\nx\r\nget a\r\n", b"STORED\r\nEND\r\n"),
    "number that is none": (b"set a x 0 1\r\n", b"CLIENT_ERROR bad command line format\r\n"),
}


@pytest.fixture(scope="module")
def world(module_ending):
    servers = [module_ending.add(harness.Memcached()) for _ in range(3)]
    return sides(module_ending, servers, hash="murmur")


SETUP = [b"set a 0 0 1\r\n1\r\n", b"set b 0 0 1\r\n2\r\n", b"set c 0 0 1\r\n3\r\n",
         b"set n 0 0 2\r\n10\r\n"]
GONE = [b"new", b"q", b"big", b"missing", b"t", b"f"]


def ask(one, sent):
    """What comes back of `sent`, then version, then quit."""
    with Raw(one.port) as client:
        for request in SETUP + [b"delete %s\r\n" % key for key in GONE]:
            client.send(request)
            client.recv_until()
        client.send(sent + b"version\r\nquit\r\n")
        assert client.closed(5)
        return client.recv_all(0.01)


@pytest.mark.parametrize("case", SAME)
def test_same_answer(world, case):
    theirs, ours = [ask(one, SAME[case]) for one in world]
    assert theirs.endswith(VERSION)
    assert ours == theirs


@pytest.mark.parametrize("case", CLOSED)
def test_answered_instead_of_closed(world, case):
    sent, wanted = CLOSED[case]
    theirs, ours = [ask(one, sent) for one in world]
    assert theirs == b""
    assert ours == wanted + VERSION


def test_bare_line_feed(world):
    """Twemproxy waits for a CR that never comes; ours reads it as memcached does."""
    answers = []
    for one in world:
        with Raw(one.port) as client:
            client.send(b"set lf 0 0 1\r\nx\r\n")
            client.recv_until()
            client.send(b"get lf\n")
            answers.append(client.recv_all(0.5))
    assert answers == [b"", b"VALUE lf 0 1\r\nx\r\nEND\r\n"]


def test_item_that_is_too_large(world):
    """The server's own line in both."""
    answers = []
    for one in world:
        with Raw(one.port) as client:
            client.send(b"set huge 0 0 %d\r\n" % (2 * MEGABYTE) + b"x" * 2 * MEGABYTE + b"\r\n")
            answers.append(client.recv_until())
    assert answers == [b"SERVER_ERROR object too large for cache\r\n"] * 2


def test_dead_shard(ending, memcached_server):
    """Twemproxy gives the error alone and closes; ours gives the hits, and the error in the place
    of END."""
    dead = harness.free_port()
    keys = [b"k%d" % i for i in range(20)]

    def story(one):
        with Raw(one.port) as client:
            alive = []
            for key in keys:
                client.send(b"set %s 0 0 1\r\nx\r\n" % key)
                if client.recv_until() == b"STORED\r\n":
                    alive.append(key)
            client.send(b"get " + b" ".join(keys) + b"\r\n")
            lines = client.recv_until(b"SERVER_ERROR ") + client.recv_until()
            closed = client.closed(0.3)
            return alive, first_words(lines), closed

    theirs, ours = both(ending, [memcached_server, f"127.0.0.1:{dead}:1 dead"], story,
                        hash="murmur")
    assert ours[0] == theirs[0] and 0 < len(ours[0]) < 20
    assert theirs[1:] == (b"SERVER_ERROR Connection refused\r\n", True)
    hits = b"".join(b"VALUE %s 0 1\r\nx\r\n" % key for key in ours[0])
    assert ours[1:] == (hits + b"SERVER_ERROR Connection refused\r\n", False)


def test_error_of_a_dead_server(ending):
    def story(one):
        with Raw(one.port) as client:
            answers = []
            for request in (b"get k\r\n", b"set k 0 0 1\r\nx\r\n", b"incr k 1\r\n",
                            b"delete k\r\n"):
                client.send(request)
                answers.append(first_words(client.recv_until()))
            client.send(b"set k 0 0 1 noreply\r\nx\r\n")
            return answers, client.recv_all(0.2), client.eof

    theirs, ours = both(ending, [f"127.0.0.1:{harness.free_port()}:1"], story)
    assert ours == theirs == ([b"SERVER_ERROR Connection refused\r\n"] * 4, b"", False)
