# SPDX-License-Identifier: BSD-3-Clause
"""What client libraries say before the first command of an application, for those that can't be had here: jedis,
lettuce, go-redis, StackExchange.Redis. The sequences are written down from what is known of them, not recorded.
Each request must do what it does on one server: succeed, or be an error, which that library takes. What only newer
servers know may succeed, too."""

import re

import harness
import pytest

GUID = bytes(range(200, 216))
SENT = {
    "jedis 4": [["CLIENT", "SETINFO", "LIB-NAME", "jedis"], ["CLIENT", "SETINFO", "LIB-VER", "4.4.0"]],
    "jedis 5, RESP3": [["HELLO", "3"], ["CLIENT", "SETNAME", "app"],
                       ["CLIENT", "SETINFO", "LIB-NAME", "jedis(spring-data-redis_v3.2.0)"],
                       ["CLIENT", "SETINFO", "LIB-VER", "5.1.0"], ["SELECT", "1"], ["PING"]],
    "lettuce 5": [["PING"], ["CLIENT", "SETNAME", "app"], ["SELECT", "2"]],
    "lettuce 6": [["HELLO", "3", "SETNAME", "app"], ["CLIENT", "SETINFO", "lib-name", "Lettuce"],
                  ["CLIENT", "SETINFO", "lib-ver", "6.3.2.RELEASE/8941aea"], ["PING"]],
    "lettuce 6, with a user": [["HELLO", "3", "AUTH", "default", "any"], ["COMMAND"], ["PING"]],
    "go-redis 8": [["SELECT", "3"], ["CLIENT", "SETNAME", "app"], ["PING"]],
    "go-redis 9": [["hello", "3"], ["client", "setinfo", "LIB-NAME", "go-redis(,go1.21.5)"],
                   ["client", "setinfo", "LIB-VER", "9.5.1"], ["select", "1"], ["ping"]],
    "go-redis 9, newest": [["hello", "3"],
                           ["client", "maint_notifications", "on", "moving-endpoint-type", "none"],
                           ["client", "setinfo", "LIB-NAME", "go-redis"], ["client", "setinfo", "LIB-VER", "9.17.0"],
                           ["command"], ["ping"]],
    "StackExchange.Redis": [["CLIENT", "SETNAME", "host(SE.Redis-v2.7.33)"],
                            ["CLIENT", "SETINFO", "lib-name", "SE.Redis"], ["CLIENT", "SETINFO", "lib-ver", "2.7.33"],
                            ["CONFIG", "GET", "slave-read-only"], ["CONFIG", "GET", "timeout"],
                            ["CONFIG", "GET", "databases"], ["INFO", "replication"], ["INFO", "server"],
                            ["SENTINEL", "MASTERS"], ["CLUSTER", "NODES"], ["GET", "__Booksleeve_TieBreak"],
                            ["ECHO", GUID], ["PING"]],
    "StackExchange.Redis, RESP3": [["HELLO", "3", "SETNAME", "host"], ["CLIENT", "SETINFO", "lib-name", "SE.Redis"],
                                   ["CLIENT", "ID"], ["CONFIG", "GET", "replica-read-only"], ["ECHO", GUID]],
    "StackExchange.Redis, to listen": [["CLIENT", "SETNAME", "host"], ["SUBSCRIBE", "__Booksleeve_MasterChanged"],
                                       ["PING"], ["UNSUBSCRIBE", GUID], ["UNSUBSCRIBE", "__Booksleeve_MasterChanged"],
                                       ["ECHO", GUID]],
}


@pytest.fixture(scope="module", params=[1, 3])
def sides(request):
    """The ports of a server and of a pool."""
    servers = [harness.Redis() for _ in range(request.param + 1)]
    port = harness.free_port()
    proxy = harness.Cashew(harness.pool("p", port, servers[1:], redis=True, hash="murmur"))
    yield servers[0].port, port
    for thing in (proxy, *servers):
        thing.close()


def answers(port, requests):
    """The replies to what is sent at once, as the libraries do."""
    with harness.Raw(port) as raw:
        raw.send(b"".join(harness.resp(*words) for words in requests))
        return [raw.recv_reply() for _ in requests]


@pytest.mark.parametrize("client", SENT)
def test_handshake(sides, client):
    for words, want, got in zip(SENT[client], *(answers(port, SENT[client]) for port in sides)):
        assert want[:1] == got[:1] or want.startswith(b"-ERR unknown "), (words, want, got)
        if words[0].upper() in ("ECHO", "PING", "GET", "SELECT", "SUBSCRIBE", "UNSUBSCRIBE", "CLUSTER"):
            assert want == got, words
        if words[0] == "CONFIG":
            assert len(re.findall(rb"\$", got)) == 2 and got == want, (words, got)


def test_what_the_libraries_read_in_info(sides):
    for section, names in (("replication", ("role:master", "connected_slaves:0")),
                           ("server", ("redis_version:", "redis_mode:standalone"))):
        for reply in (answers(port, [["INFO", section]])[0] for port in sides):
            for name in names:
                assert b"\r\n" + name.encode() in reply, (section, name)


def test_the_newest_of_go_redis_goes_on_without_what_it_asked_for(sides):
    _, refused, *others = answers(sides[1], SENT["go-redis 9, newest"])
    assert refused.startswith(b"-ERR ")
    assert others[-1] == b"+PONG\r\n"
