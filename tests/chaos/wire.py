# SPDX-License-Identifier: BSD-3-Clause
"""Unit wire cuts what comes from a socket into messages: replies for the clients of a chaos run,
requests for its fake servers. Each function takes a buffer and a place in it and returns the message
and the place behind it, or None when it is not all there; Unreadable when it never will be."""


class Unreadable(Exception):
    """These bytes are no message of the protocol."""


def _line(buffer, at):
    end = buffer.find(b"\r\n", at)
    return None if end < 0 else (bytes(buffer[at:end]), end + 2)


def _number(text):
    try:
        return int(text)
    except ValueError:
        raise Unreadable(repr(text)) from None


def redis_reply(buffer, at=0):
    """A reply as (kind, value): ('+', text), ('-', text), (':', number), ('$', bytes or None),
    ('*', list or None)."""
    found = _line(buffer, at)
    if found is None:
        return None
    (line, at), kind = found, found[0][:1].decode("latin-1")
    if kind in "+-" and kind:
        return (kind, line[1:]), at
    if kind not in tuple(":$*"):
        raise Unreadable(repr(line))
    number = _number(line[1:])
    if kind == ":" or number < 0:
        return (kind, number if kind == ":" else None), at
    if kind == "$":
        if len(buffer) < at + number + 2:
            return None
        if buffer[at + number:at + number + 2] != b"\r\n":
            raise Unreadable("a bulk string without its end")
        return ("$", bytes(buffer[at:at + number])), at + number + 2
    items = []
    for _ in range(number):
        found = redis_reply(buffer, at)
        if found is None:
            return None
        items.append(found[0])
        at = found[1]
    return ("*", items), at


def memcache_reply(buffer, at=0):
    """A reply as (last line, [(key, value)...])."""
    items = []
    while True:
        found = _line(buffer, at)
        if found is None:
            return None
        line, at = found
        if not line.startswith(b"VALUE "):
            return (line, items), at
        words = line.split(b" ")
        if len(words) not in (4, 5):
            raise Unreadable(repr(line))
        size = _number(words[3])
        if len(buffer) < at + size + 2:
            return None
        if buffer[at + size:at + size + 2] != b"\r\n":
            raise Unreadable("a value without its end")
        items.append((words[1], bytes(buffer[at:at + size])))
        at += size + 2


def redis_request(buffer, at=0):
    """The arguments of a request in the proxy's canonical form."""
    found = _line(buffer, at)
    if found is None:
        return None
    line, at = found
    if line[:1] != b"*":
        raise Unreadable(repr(line))
    args = []
    for _ in range(_number(line[1:])):
        found = redis_reply(buffer, at)
        if found is None:
            return None
        if found[0][0] != "$":
            raise Unreadable(repr(found))
        args.append(found[0][1])
        at = found[1]
    return args, at


def memcache_request(buffer, at=0):
    """The words of a request; the data of a set is one more."""
    found = _line(buffer, at)
    if found is None:
        return None
    line, at = found
    words = line.split()
    if not words:
        raise Unreadable("an empty line")
    if words[0] in (b"set", b"add", b"replace", b"append", b"prepend", b"cas"):
        size = _number(words[4])
        if len(buffer) < at + size + 2:
            return None
        words.append(bytes(buffer[at:at + size]))
        at += size + 2
    return words, at
