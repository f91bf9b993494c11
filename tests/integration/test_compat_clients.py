# SPDX-License-Identifier: BSD-3-Clause
"""Clients of nutcracker and of cashew: sockets and their options, limits, clients that half-close
or go, and what is counted."""

import contextlib
import ctypes
import os
import resource
import socket
import subprocess
import time

import harness
import pytest
from compat import both, needs_nutcracker, numbers, proxy, side
from harness import Raw, free_port, pool, resp, wait_for

pytestmark = needs_nutcracker

PIDFD_GETFD = 438


def sockets(pid):
    """Copies of all sockets of a process."""
    libc = ctypes.CDLL(None, use_errno=True)
    pidfd = os.pidfd_open(pid)
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                if not os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:"):
                    continue
                fd = libc.syscall(PIDFD_GETFD, pidfd, int(name), 0)
                if fd < 0:
                    pytest.skip("this machine does not let a process look at another's sockets")
                with socket.socket(fileno=fd) as copy:
                    yield copy
    finally:
        os.close(pidfd)


def listener(one):
    for found in sockets(one.proxy.pid):
        if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) \
                and found.getsockname()[1] == one.port:
            yield found


def options(one, peer):
    """NODELAY and KEEPALIVE of the connection with this peer."""
    for found in sockets(one.proxy.pid):
        with contextlib.suppress(OSError):
            if found.getpeername()[1] == peer:
                return (bool(found.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)),
                        bool(found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)))
    raise AssertionError(f"no connection with port {peer}")


# ---------------------------------------------------------------- sockets

@pytest.mark.parametrize("keepalive", [False, True])
def test_options_of_connections(ending, redis_server, keepalive):
    def story(one):
        with Raw(one.port) as client:
            client.send(resp("GET", "k"))
            client.recv_reply()
            return options(one, client.sock.getsockname()[1]), options(one, redis_server.port)

    theirs, ours = both(ending, [redis_server], story, redis=True, tcpkeepalive=keepalive)
    assert ours == theirs == ((True, keepalive), (True, False))


def test_backlog(ending, redis_server):
    """The kernel shows it as the size of the queue."""
    def story(one):
        shown = subprocess.run(["ss", "-Hltn", f"sport = :{one.port}"], capture_output=True,
                               text=True, check=True).stdout.split()
        return int(shown[2])

    assert both(ending, [redis_server], story, redis=True, backlog=77) == [77, 77]
    assert both(ending, [redis_server], story, redis=True) == [512, 512]


def test_reuseport(ending, redis_server):
    """Two processes on one address, and both get clients. Debian's nutcracker is older than this
    key."""
    port = free_port()
    config = pool("p", port, [redis_server], redis=True, reuseport=True)
    pair = [proxy(ending, "cashew", config) for _ in range(2)]
    clients = [Raw(port) for _ in range(40)]
    for client in clients:
        client.send(resp("PING"))
        assert client.recv_reply() == b"+PONG\r\n"
    wait_for(lambda: sum(p.stats()["p"]["client_connections"] for p in pair) == 40)
    assert all(p.stats()["p"]["client_connections"] > 5 for p in pair)
    for client in clients:
        client.close()


def test_address_in_use(ending, redis_server):
    for name in ("nutcracker", "cashew"):
        config = pool("p", free_port(), [redis_server], redis=True)
        proxy(ending, name, config)
        with pytest.raises(harness.StartError):
            # Both may wait for the port as the test does: it is the first one's.
            second = proxy(ending, name, config)
            wait_for(lambda second=second: not second.running(), timeout=3)
            raise harness.StartError("ended")


def test_stale_unix_socket(ending, redis_server, tmp_path):
    """A path that a dead process has left is taken over, with the permissions of the config."""
    path = tmp_path / "listen.sock"
    for name in ("nutcracker", "cashew"):
        with socket.socket(socket.AF_UNIX) as dead:
            path.unlink(missing_ok=True)
            dead.bind(str(path))
        one = proxy(ending, name, pool("p", f"{path} 0666", [redis_server], redis=True))
        with Raw(path) as client:
            client.send(resp("PING"))
            assert client.recv_reply() == b"+PONG\r\n"
        assert path.stat().st_mode & 0o777 == 0o666
        one.kill()


# ---------------------------------------------------------------- how many

def greeted(port, count):
    """Opens `count` clients; returns those that are served, and how many were closed."""
    clients, refused = [], 0
    for _ in range(count):
        client = Raw(port)
        try:
            client.send(resp("PING"))
            client.recv_reply()
            clients.append(client)
        except (EOFError, OSError):
            refused += 1
            client.close()
    return clients, refused


def test_client_connections(ending, redis_server):
    """Ours obeys it, and says so; twemproxy reads it and forgets it."""
    def story(one):
        clients, refused = greeted(one.port, 8)
        log, stats = one.proxy.log(), one.pool_stats()
        clients.pop().close()
        if one.ours:
            one.settled(lambda s: s["client_connections"] == 4)
        again, _ = greeted(one.port, 1)
        for client in clients + again:
            client.close()
        return refused, "too many" in log, stats.get("client_refused"), len(again)

    theirs, ours = both(ending, [redis_server], story, redis=True, client_connections=5)
    assert theirs == (0, False, None, 1)
    assert ours == (3, True, 3, 1)


def test_limit_of_open_files(ending, redis_server, monkeypatch):
    """Clients for whom there is no descriptor left are closed at once, and the others go on. Ours
    first raises the limit as far as it may."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert hard == resource.RLIM_INFINITY or hard > 2000
    monkeypatch.setenv("CASHEW_WRAPPER", "prlimit --nofile=100:100")
    one = side(ending, "cashew", [redis_server], redis=True)
    clients, refused = greeted(one.port, 90)
    assert 40 <= len(clients) <= 64 and len(clients) + refused == 90
    assert one.pool_stats()["client_refused"] == refused
    assert "too many" in one.proxy.log()
    for client in clients:
        client.send(resp("SET", "k", "v"))
        assert client.recv_reply() == b"+OK\r\n"
        client.close()
    wait_for(lambda: one.pool_stats()["client_connections"] == 0)
    assert greeted(one.port, 20)[1] == 0

    monkeypatch.setenv("CASHEW_WRAPPER", "prlimit --nofile=100:2000")
    one = side(ending, "cashew", [redis_server], redis=True)
    assert resource.prlimit(one.proxy.pid, resource.RLIMIT_NOFILE) == (2000, 2000)
    clients, refused = greeted(one.port, 300)
    assert refused == 0
    for client in clients:
        client.close()

    monkeypatch.setenv("CASHEW_WRAPPER", "prlimit --nofile=20:20")
    with pytest.raises(harness.StartError, match="limit of open files"):
        side(ending, "cashew", [redis_server], redis=True)


def test_limit_of_open_files_of_twemproxy(ending, redis_server):
    """It takes the soft limit as it is."""
    one = side(ending, "nutcracker", [redis_server], redis=True)
    one.proxy.kill()
    resource_of = ["prlimit", "--nofile=100:2000"]
    command = one.proxy.command
    one.proxy.command = lambda: [*resource_of, *command()]
    one.proxy.start()
    clients, refused = greeted(one.port, 90)
    assert refused > 0 and len(clients) + refused == 90
    for client in clients:
        client.close()


# ---------------------------------------------------------------- the end of clients

def test_half_closed_client_gets_its_replies(ending, redis_server):
    def story(one):
        with Raw(one.port) as client:
            client.send(resp("SET", "k", "v" * 100000) + resp("GET", "k") * 20)
            client.half_close()
            assert client.closed(5)
            return client.recv_all(0.01)

    theirs, ours = both(ending, [redis_server], story, redis=True)
    assert ours == theirs == b"+OK\r\n" + (b"$100000\r\n" + b"v" * 100000 + b"\r\n") * 20


def test_half_closed_in_the_middle_of_a_request(ending, redis_server):
    """What is not whole is dropped, and reaches no server."""
    def story(one):
        redis_server.client().flushall()
        with Raw(one.port) as client:
            client.send(resp("SET", "a", "1") + resp("SET", "b", "2")[:-3])
            client.half_close()
            closed = client.closed(3)
            got = client.recv_all(0.01)
        return closed, got, redis_server.client().keys()

    theirs, ours = both(ending, [redis_server], story, redis=True)
    assert ours == theirs == (True, b"+OK\r\n", [b"a"])


def test_half_closed_while_the_server_works(ending, fake_server):
    def answer_late(conn):
        conn.recv_until(b"\r\nGET\r\n")
        time.sleep(0.4)
        conn.send(b"$4\r\nlate\r\n")
        conn._fill(10)

    server = fake_server(answer_late)

    def story(one):
        with Raw(one.port) as client:
            client.send(resp("GET", "k"))
            client.half_close()
            assert client.closed(3)
            return client.recv_all(0.01)

    assert both(ending, [server], story, redis=True) == [b"$4\r\nlate\r\n"] * 2


@pytest.mark.parametrize("way", ["close", "reset"])
def test_client_that_goes_with_requests_open(ending, redis_server, way):
    """Its replies are swallowed; the others on the same connection get theirs."""
    def story(one):
        redis_server.client().flushall()
        with Raw(one.port) as other:
            for i in range(20):
                client = Raw(one.port)
                client.send(resp("SET", "x", "y" * 1000) + resp("GET", "x") * 50)
                getattr(client, way)()
                other.send(resp("SET", "mine", i) + resp("GET", "mine"))
                assert other.recv_reply() == b"+OK\r\n"
                assert other.recv_reply() == b"$%d\r\n%d\r\n" % (len(str(i)), i)
            stats = one.settled(lambda s: s["client_eof"] + s["client_err"] == 20)
            return stats["client_connections"], stats["s"]["server_connections"]

    lines = [f"127.0.0.1:{redis_server.port}:1 s"]
    theirs, ours = both(ending, lines, story, redis=True)
    assert ours == theirs == (1, 1)


# ---------------------------------------------------------------- counters

def test_counters_of_clients(ending, redis_server):
    """Orderly and hard ends, open connections, requests and bytes."""
    def story(one):
        for _ in range(5):
            with Raw(one.port) as client:
                client.send(resp("GET", "k"))
                client.recv_reply()
        for _ in range(3):
            client = Raw(one.port)
            client.send(resp("GET", "k"))
            client.recv_reply()
            client.reset()
        stay = [Raw(one.port) for _ in range(4)]
        for client in stay:
            client.send(resp("GET", "k"))
            client.recv_reply()
        stats = one.settled(lambda s: s["client_eof"] == 5 and s["client_err"] == 3
                            and s["client_connections"] == 4 and s["s"]["responses"] == 12)
        root = one.proxy.stats()
        for client in stay:
            client.close()
        return numbers(stats), root["total_connections"], root["curr_connections"]

    lines = [f"127.0.0.1:{redis_server.port}:1 s"]
    theirs, ours = both(ending, lines, story, redis=True)
    assert ours == theirs


def test_counters_of_split_requests(ending, redis_servers):
    """Requests and bytes by server are the same; `fragments` moves only with ours."""
    lines = [f"127.0.0.1:{s.port}:1 s{i}" for i, s in enumerate(redis_servers(3))]

    def story(one):
        keys = [f"k{i}" for i in range(30)]
        with Raw(one.port) as client:
            client.send(resp("MSET", *[w for k in keys for w in (k, "v")]) + resp("MGET", *keys)
                        + resp("DEL", *keys))
            for _ in range(3):
                client.recv_reply()
        return numbers(one.settled(lambda s: sum(s[f"s{i}"]["responses"] for i in range(3)) == 9
                                   and s["client_eof"] == 1))

    theirs, ours = both(ending, lines, story, redis=True, hash="murmur")
    assert (theirs.pop("fragments"), ours.pop("fragments")) == (0, 9)
    # Twemproxy counts the values of a split MSET twice, all but the last one.
    surplus = sum(theirs[f"s{i}"].pop("request_bytes") - ours[f"s{i}"].pop("request_bytes")
                  for i in range(3))
    assert surplus == 29 * len(b"$1\r\nv\r\n")
    assert ours == theirs


def test_counters_of_queues(ending, redis_server):
    """A server that does not answer: what was sent waits for its replies."""
    def story(one):
        with Raw(one.port) as client:
            client.send(resp("GET", "k"))
            client.recv_reply()
            redis_server.pause()
            try:
                client.send(resp("GET", "k") * 7)
                stats = one.settled(lambda s: s["s"]["out_queue"] == 7)
            finally:
                redis_server.resume()
            for _ in range(7):
                client.recv_reply()
            after = one.settled(lambda s: s["s"]["out_queue"] == 0)
        return numbers(stats), after["s"]["out_queue_bytes"], after["s"]["in_queue"]

    lines = [f"127.0.0.1:{redis_server.port}:1 s"]
    theirs, ours = both(ending, lines, story, redis=True)
    assert ours == theirs
    assert ours[0]["s"]["out_queue_bytes"] == 7 * len(resp("GET", "k"))


# ---------------------------------------------------------------- -m

def test_mbuf_size(ending, redis_server):
    """Twemproxy's keys must fit into a buffer of that size. Ours takes the flag, has no such
    buffers, and no such limit."""
    def story(one):
        with Raw(one.port) as client:
            client.send(resp("SET", "k" * 400, "v" * 5000) + resp("GET", "k" * 400))
            small = client.recv_reply(), client.recv_reply()
            client.send(resp("SET", "k" * 600, "v"))
            try:
                return small, client.recv_reply()
            except EOFError:
                return small, None

    theirs, ours = both(ending, [redis_server], story, args=["-m", "512"], redis=True)
    assert ours[0] == theirs[0] == (b"+OK\r\n", b"$5000\r\n" + b"v" * 5000 + b"\r\n")
    assert (theirs[1], ours[1]) == (None, b"+OK\r\n")


def test_stats_interval(ending, redis_server):
    """-i is taken as it was, and has no meaning: the numbers are live."""
    one = side(ending, "cashew", [redis_server], args=["-i", "60000"], redis=True)
    with Raw(one.port) as client:
        client.send(resp("GET", "k"))
        client.recv_reply()
        assert one.pool_stats()["client_connections"] == 1
