# SPDX-License-Identifier: BSD-3-Clause
"""Requests made of words that nobody should send, drawn by a seed, to a memcached and through cashew before one and
before three: the answers are the same, word for word, and so is what is stored afterwards."""

import re
from random import Random

import harness
import pytest
from test_memcache_session import blocks, plain

# No small positive times: what expires meanwhile would differ.
NUMBERS = [b"0", b"101", b"-1", b"+100", b"00", b"00700", b"100.5", b"4294967295", b"4294967296", b"-4294967296",
           b"2147483647", b"2147483648", b"-2147483648", b"-2147483649", b"9223372036854775807", b"9223372036854775808",
           b"-9223372036854775808", b"18446744073709551615", b"18446744073709551616", b"0x10", b"100\t", b"\t100",
           b"100x", b"", b"--1", b"1e3", b"100\x0b2", b"\xff", b"100-", b"noreply"]
KEYS = [b"a", b"b", b"c", b"d", b"e", b"key:1", b"k" * 250, b"\x01\x02", b"\xc3\xa4\xff", b"t\tab", b"\x7f"]
ODD_KEYS = [b"k" * 251, b"x\0y", b"", b"noreply", b"\r", b"a\r", b"q", b"YQ==", b"!!!!", b"YQ=", b"Zm9vYg==Zm9v", b"===="]
FLAGS = b"bcfhklOqstuvCDFIJLMNPRTEISxXzZ!\xff\x01-0"
# Numbers that don't become shorter: memcached then fills up with blanks, or not, by who else reads them just now.
DELTAS = [word for word in NUMBERS if not word.startswith((b"9", b"18", b"4294967296", b"0x"))]
# No blank values: of such a number memcached reads what lay in its memory before.
VALUES = [b"5", b"17", b"99", b"-1", b"text", b"END\r\n", b"mn\r\n", b"\0\xff", b"x" * 100, b"x" * 900]
ENDS = [b"\r\n"] * 12 + [b"\n", b" \r\n", b"\r\r\n", b"\0x\r\n"]
STORES = [b"set", b"set", b"add", b"replace", b"append", b"prepend"]


def number(chance, odd=NUMBERS):
    return chance.choice(odd) if chance.random() < 0.4 else b"%d" % chance.choice([0, 100, 1000, 70000])


def key(chance):
    return chance.choice(ODD_KEYS if chance.random() < 0.2 else KEYS)


def flag(chance):
    letter = bytes([chance.choice(FLAGS)])
    if letter == b"O":
        return letter + chance.choice([b"1", b"", b"x" * 32, b"x" * 33, b"\xff"])
    if letter == b"M":
        return letter + chance.choice([b"S", b"s", b"A", b"P", b"R", b"E", b"I", b"+", b"", b"X", b"append"])
    if letter in b"DJ":
        return letter + number(chance, DELTAS)
    if letter == b"R":
        # Never a time for which something may have been stored: a second later it would be the winner's.
        word = number(chance)
        return letter + (word if len(word) > 6 else word.translate(bytes.maketrans(b"17", b"34")))
    return letter + (number(chance) if letter in b"TNRFC" else chance.choice([b"", b"", b"x"]))


def flags(chance, letters=20):
    """Never `q` with `N`: 1.6.18 answers such an `ma`, and newer ones and cashew do not."""
    some = [flag(chance) for _ in range(chance.choice([0, 1, 2, 3, 5, letters]))]
    quiet = any(word[:1] == b"q" for word in some)
    return [word for word in some if not (quiet and word[:1] == b"N")]


def line(chance, words):
    words = words[:chance.randrange(1, len(words) + 1)] if chance.random() < 0.03 else words
    space = b" " if chance.random() < 0.95 else chance.choice([b"  ", b"\t"])
    return space.join(words) + chance.choice(ENDS)


def block(chance, words, at):
    """A line, whose word `at` is the length of the data behind it, or nearly so."""
    value = chance.choice(VALUES)
    wrong = chance.choice([-1, 1, 2]) if chance.random() < 0.08 else 0
    words.insert(at, b"%d" % max(0, len(value) + wrong) if chance.random() < 0.9 else b"-%d" % len(value))
    return line(chance, words) + value + b"\r\n"


def request(chance):
    verb = chance.choice(["get", "get", "gat", "store", "store", "cas", "number", "touch", "delete", "mg", "mg", "ms",
                          "ms", "md", "ma", "me", "mn"])
    answer = [b"noreply"] if chance.random() < 0.2 else []
    if verb in ("get", "gat"):
        name = [chance.choice([b"get", b"gets"])] if verb == "get" else [b"gat", number(chance)]
        # With a key that is too long memcached has touched and fetched those before it.
        keys = [word for word in (key(chance) for _ in range(chance.randrange(1, 9))) if len(word) <= 250]
        return line(chance, name + keys)
    if verb == "store":
        return block(chance, [chance.choice(STORES), key(chance), number(chance), number(chance), *answer], 4)
    if verb == "cas":
        return block(chance, [b"cas", key(chance), b"0", b"0", number(chance), *answer], 4)
    if verb == "ms":
        return block(chance, [b"ms", key(chance), *flags(chance)], 2)
    words = {"number": [b"incr", key(chance), number(chance, DELTAS), *answer],
             "touch": [b"touch", key(chance), number(chance), *answer],
             "delete": [b"delete", key(chance), *answer], "me": [b"me", key(chance)], "mn": [b"mn", *flags(chance, 3)]}
    return line(chance, words.get(verb) or [verb.encode(), key(chance), *flags(chance)])


@pytest.fixture(scope="module")
def ports():
    """Of a memcached, of cashew before one, of cashew before three."""
    servers = [harness.Memcached() for _ in range(5)]
    pools = [harness.free_port(), harness.free_port()]
    proxy = harness.Cashew(
        harness.pool("one", pools[0], servers[1:2])
        + harness.pool("three", pools[1], [f"{server.address}:1 s{i}" for i, server in enumerate(servers[2:])],
                       hash="murmur"))
    yield [servers[0].port, *pools]
    proxy.close()
    for server in servers:
        server.kill()


class Place:
    """A connection. Cas numbers are each server's own, and so left out."""

    def __init__(self, port):
        self.raw = harness.Raw(port)
        self.asked = 0

    def ask(self, request):
        """All that comes before the answer to a request of ours. Before that one stand some that a data block takes
        which is longer than what was sent."""
        self.asked += 1
        self.raw.send(request + b"mn\r\n" * 3 + b"ms last 0 O%d\r\n\r\n" % self.asked)
        answer = self.raw.recv_until(b"HD O%d\r\n" % self.asked)
        # Marks of stale values and of who won are lost when a number is written anew, not when in its place; which of
        # the two, depends on who else of the server's threads holds it just now.
        answer = re.sub(rb"(?m) [WXZ](?= |\r$)", b"", answer)
        return plain(re.sub(rb"(VALUE [^ \n]+ \d+ \d+) \d+\r\n", rb"\1 CAS\r\n", answer))


@pytest.mark.parametrize("seed", range(4))
def test_hostile_words(ports, seed):
    chance = Random(seed)
    places = [Place(port) for port in ports]
    for place in places:
        # Whatever another seed left: each key with its value, so that most commands have one to work on.
        place.ask(b"".join(b"ms %s 2 q\r\n42\r\n" % name for name in KEYS) + b"".join(
            b"delete %s noreply\r\n" % name for name in ODD_KEYS if name and b"\0" not in name and len(name) < 251))
    for _ in range(500):
        asked = request(chance)
        want, *got = [place.ask(asked) for place in places]
        assert got[0] == want, asked
        assert got[1] == want or blocks(got[1]) == blocks(want) != [], asked
        want, *got = [place.ask(b"".join(b"mg %s v f s k\r\n" % name for name in KEYS)) for place in places]
        assert got == [want, want], asked
