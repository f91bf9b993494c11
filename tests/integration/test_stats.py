# SPDX-License-Identifier: BSD-3-Clause
"""The statistics: twemproxy's JSON to the byte, live values, proper HTTP, and -D."""

import http.client
import json
import re
import shutil
import socket
import subprocess
import threading
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

import harness
import pytest

NUTCRACKER = shutil.which("nutcracker", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
ROOT_NAMES = ["service", "source", "version", "uptime", "timestamp", "total_connections",
              "curr_connections"]
SERVER_NAMES = ["server_eof", "server_err", "server_timedout", "server_connections",
                "server_ejected_at", "requests", "request_bytes", "responses", "response_bytes",
                "in_queue", "in_queue_bytes", "out_queue", "out_queue_bytes"]
POOL_NAMES = ["client_eof", "client_err", "client_connections", "server_ejects", "forward_error",
              "fragments"]


@pytest.fixture
def nutcracker(cashew, monkeypatch):
    """nutcracker(config, **options) -> a running twemproxy, to compare with."""
    if NUTCRACKER is None:
        pytest.skip("twemproxy's nutcracker is not installed")

    def start(*args, **options):
        with monkeypatch.context() as patch:
            patch.setenv("CASHEW_BIN", NUTCRACKER)
            return cashew(*args, **options)
    return start


def bare(port, say=None, half_close=False, host="127.0.0.1"):
    """What a plain TCP connect gets until the port closes."""
    with socket.create_connection((host, port), 10) as sock:
        if say:
            sock.sendall(say)
        if half_close:
            sock.shutdown(socket.SHUT_WR)
        text = b""
        while piece := sock.recv(65536):
            text += piece
        return text


def ordered(text):
    return json.loads(text, object_pairs_hook=OrderedDict)


def server_of(stats, pool, server):
    return stats[pool][server]


def eventually(proxy, check, what="the numbers"):
    """Waits until check(stats) holds; it should be the first or second look."""
    harness.wait_for(lambda: check(proxy.stats()), 3, what)
    return proxy.stats()


# ---------------------------------------------------------------- layout

def layout(text):
    """The text with each number made 0, and what we add to twemproxy's taken out."""
    theirs = "|".join([*ROOT_NAMES, *POOL_NAMES, *SERVER_NAMES]).encode()
    text = re.sub(rb', "(?!(?:' + theirs + rb')")\w+":(?:"[^"]*"|\d+)', b"", text)
    return re.sub(rb':\d+(?=[,}])', b":0", text)


def common(numbers):
    """A pool's or a server's numbers, those that twemproxy has, too."""
    return {k: common(v) if isinstance(v, dict) else v for k, v in numbers.items()
            if isinstance(v, dict) or k in POOL_NAMES or k in SERVER_NAMES}


def test_layout_is_twemproxys_to_the_byte(cashew, nutcracker):
    ports = [harness.free_port() for _ in range(4)]
    config = (
        harness.pool("zeta", ports[0], ["127.0.0.1:7001:1 longer_name", "127.0.0.1:7002:2 b",
                                        "127.0.0.1:7003:1"], redis=True)
        + harness.pool("alpha", ports[1], ["127.0.0.1:11211:1", "127.0.0.1:11212:1",
                                           "/tmp/no-such.sock:1"])
        + harness.pool("b", ports[2], ["/tmp/no-such.sock:1 unix", "127.0.0.1:7004:3"])
        + harness.pool("beta", ports[3], ["127.0.0.1:7005:1"], redis=True))
    theirs_proxy = nutcracker(config)
    theirs = bare(theirs_proxy.stats_port)
    theirs_proxy.kill()
    ours = bare(cashew(config).stats_port)
    assert layout(ours) == layout(theirs)
    assert ours.endswith(b"}}}\n") and ours.count(b"\n") == 1


def test_root_names_and_values(cashew, redis_server):
    before = int(time.time())
    proxy = cashew(harness.pool("p", harness.free_port(), [redis_server], redis=True))
    stats = ordered(bare(proxy.stats_port))
    assert list(stats)[:7] == ROOT_NAMES
    assert stats["service"] == "nutcracker"
    assert stats["source"] == socket.gethostname()
    assert stats["version"] == "0.5.0"
    assert stats["uptime"] <= int(time.time()) - before + 1
    assert before <= stats["timestamp"] <= time.time()
    # All that monitoring may take for a pool is a pool.
    assert [k for k, v in stats.items() if isinstance(v, dict)] == ["p"]
    pool = stats["p"]
    assert list(pool)[:6] == POOL_NAMES
    server = pool[f"127.0.0.1:{redis_server.port}"]
    assert list(server)[:13] == SERVER_NAMES
    for numbers in (pool, server):
        assert all(isinstance(v, (int, dict)) for v in numbers.values())


def test_names_are_escaped(cashew, redis_server):
    config = f"""'odd "pool" \\':
  listen: 127.0.0.1:{harness.free_port()}
  redis: true
  servers: ['127.0.0.1:{redis_server.port}:1 "a\\b"']
"""
    stats = cashew(config).stats()
    assert '"a\\b"' in stats['odd "pool" \\']


# ---------------------------------------------------------------- live values

def test_values_move_at_once(cashew, redis_server, raw):
    port = harness.free_port()
    proxy = cashew(harness.pool("p", port, ["127.0.0.1:%d:1 one" % redis_server.port], redis=True))
    idle = proxy.stats()
    assert idle["total_connections"] == idle["curr_connections"] == 1  # the listener
    client = raw(port)
    request, reply = harness.resp("SET", "key", "value"), b"+OK\r\n"
    for i in range(1, 6):
        client.send(request)
        assert client.recv_exact(len(reply)) == reply
        stats = proxy.stats()
        server = server_of(stats, "p", "one")
        assert server["requests"] == i and server["responses"] == i
        assert server["request_bytes"] == i * len(request)
        assert server["response_bytes"] == i * len(reply)
        assert server["server_connections"] == 1
        assert [server[k] for k in SERVER_NAMES[-4:]] == [0, 0, 0, 0]
        assert stats["p"]["client_connections"] == 1
    # A client and a server connection more than before.
    assert stats["curr_connections"] == idle["curr_connections"] + 2
    assert stats["total_connections"] == idle["total_connections"] + 2
    client.close()
    stats = eventually(proxy, lambda s: s["p"]["client_connections"] == 0, "the client's end")
    assert stats["p"]["client_eof"] == 1 and stats["p"]["client_err"] == 0
    assert stats["curr_connections"] == idle["curr_connections"] + 1
    assert stats["total_connections"] == idle["total_connections"] + 2


def test_client_that_resets_is_an_error(cashew, redis_server, raw):
    port = harness.free_port()
    proxy = cashew(harness.pool("p", port, [redis_server], redis=True))
    client = raw(port)
    client.send(harness.resp("PING"))
    client.recv_until()
    client.reset()
    stats = eventually(proxy, lambda s: s["p"]["client_connections"] == 0)
    assert (stats["p"]["client_eof"], stats["p"]["client_err"]) == (0, 1)


def test_queues_are_levels(cashew, redis_server, raw):
    port = harness.free_port()
    proxy = cashew(harness.pool("p", port, ["127.0.0.1:%d:1 one" % redis_server.port], redis=True))
    client = raw(port)
    client.send(harness.resp("PING") + harness.resp("GET", "a"))
    assert client.recv_exact(12) == b"+PONG\r\n$-1\r\n"
    redis_server.pause()
    request = harness.resp("GET", "abc")
    client.send(request * 7)

    def waiting(stats):
        server = server_of(stats, "p", "one")
        return (server["in_queue"] + server["out_queue"] == 7
                and server["in_queue_bytes"] + server["out_queue_bytes"] == 7 * len(request))
    stats = eventually(proxy, waiting, "seven waiting requests")
    # They were given to the kernel, so that they wait for replies.
    assert server_of(stats, "p", "one")["out_queue"] == 7
    assert server_of(stats, "p", "one")["responses"] == 1
    redis_server.resume()
    assert client.recv_exact(35) == b"$-1\r\n" * 7
    server = server_of(proxy.stats(), "p", "one")
    assert [server[k] for k in SERVER_NAMES[-4:]] == [0, 0, 0, 0]
    assert server["responses"] == server["requests"] == 8


def test_levels_fall_when_the_server_or_the_client_goes(cashew, fake_server, raw):
    closing = threading.Event()

    def handler(conn):
        conn.recv_until(b"\r\nk")
        closing.wait(10)
    server = fake_server(handler)
    port = harness.free_port()
    proxy = cashew(harness.pool("p", port, [f"127.0.0.1:{server.port}:1 one"], redis=True))
    stays, goes = raw(port), raw(port)
    stays.send(harness.resp("GET", "k1"))
    eventually(proxy, lambda s: s["p"]["one"]["out_queue"] == 1)
    goes.send(harness.resp("GET", "k2"))
    eventually(proxy, lambda s: s["p"]["one"]["out_queue"] == 2)
    goes.reset()  # a FIN could mean that it still wants its reply
    eventually(proxy, lambda s: s["p"]["client_connections"] == 1)
    closing.set()
    assert stays.recv_until().startswith(b"-ERR ")
    stats = eventually(proxy, lambda s: s["p"]["one"]["server_connections"] == 0)
    assert [stats["p"]["one"][k] for k in SERVER_NAMES[-4:]] == [0, 0, 0, 0]
    # It closes with a request unread, which may come as a reset; each worker has a connection.
    assert stats["p"]["one"]["server_eof"] + stats["p"]["one"]["server_err"] >= 1
    assert stats["p"]["forward_error"] >= 1


def test_fragments(cashew, redis_servers, raw):
    port = harness.free_port()
    servers = redis_servers(2)
    proxy = cashew(harness.pool("p", port, [f"127.0.0.1:{servers[0].port}:1 one",
                                            f"127.0.0.1:{servers[1].port}:1 two"],
                                redis=True, hash="murmur", distribution="modula"))
    client = raw(port)
    client.send(harness.resp("MGET", *range(50)))
    assert client.recv_reply() == b"*50\r\n" + b"$-1\r\n" * 50
    stats = proxy.stats()
    assert stats["p"]["fragments"] == 2
    assert [stats["p"][name]["requests"] for name in ("one", "two")] == [1, 1]


def test_server_that_refuses(cashew, raw):
    port, dead = harness.free_port(), harness.free_port()
    proxy = cashew(harness.pool("p", port, [f"127.0.0.1:{dead}:1 one"], redis=True))
    client = raw(port)
    client.send(harness.resp("GET", "a"))
    assert client.recv_until().startswith(b"-ERR Connection refused")
    stats = proxy.stats()
    assert stats["p"]["forward_error"] == 1
    assert stats["p"]["one"]["server_err"] == 1
    assert stats["p"]["one"]["server_connections"] == 0
    assert stats["p"]["one"]["responses"] == 0


def test_server_that_is_late(cashew, fake_server, raw):
    port = harness.free_port()
    server = fake_server()
    proxy = cashew(harness.pool("p", port, [f"127.0.0.1:{server.port}:1 one"], redis=True,
                                timeout=100))
    client = raw(port)
    client.send(harness.resp("GET", "a"))
    assert client.recv_until().startswith(b"-ERR Connection timed out")
    stats = eventually(proxy, lambda s: s["p"]["one"]["server_timedout"] == 1)
    assert stats["p"]["forward_error"] == 1


def test_ejection(cashew, redis_server, raw):
    port, dead = harness.free_port(), harness.free_port()
    proxy = cashew(harness.pool(
        "p", port, [f"127.0.0.1:{dead}:1 dead", f"127.0.0.1:{redis_server.port}:1 live"],
        redis=True, auto_eject_hosts=True, server_failure_limit=1, server_retry_timeout=60000,
        timeout=400))
    before = int(time.time() * 1e6)
    client = raw(port)
    for i in range(50):
        client.send(harness.resp("GET", f"key{i}"))
        client.recv_reply()
    stats = proxy.stats()
    assert stats["p"]["server_ejects"] == 1
    assert before <= stats["p"]["dead"]["server_ejected_at"] <= time.time() * 1e6
    assert stats["p"]["live"]["server_ejected_at"] == 0


def test_same_traffic_same_numbers_as_twemproxy(cashew, nutcracker, redis_servers):
    servers = redis_servers(2)
    seen = []
    for start, args in ((nutcracker, ["-i", "50"]), (cashew, [])):
        for server in servers:
            server.client().flushall()
        port = harness.free_port()
        proxy = start(harness.pool("p", port, [f"127.0.0.1:{servers[0].port}:1 one",
                                               f"127.0.0.1:{servers[1].port}:1 two"],
                                   redis=True, hash="fnv1a_64", distribution="ketama"), args=args)
        client = harness.Raw(port)
        for i in range(40):
            client.send(harness.resp("SET", f"key:{i}", "x" * i) + harness.resp("GET", f"key:{i}"))
            client.recv_reply()
            client.recv_reply()
        for i in range(10):
            client.send(harness.resp("LPUSH", f"list:{i}", *range(i + 1))
                        + harness.resp("LRANGE", f"list:{i}", 0, -1))
            client.recv_reply()
            client.recv_reply()
        client.close()
        # twemproxy's numbers are an interval old.
        eventually(proxy, lambda s: s["p"]["client_connections"] == 0 and
                   sum(s["p"][n]["responses"] for n in ("one", "two")) == 100)
        stats = proxy.stats()
        seen.append((common(stats["p"]), stats["total_connections"], stats["curr_connections"]))
        proxy.kill()
    theirs, ours = seen
    assert ours == theirs


# ---------------------------------------------------------------- how it is asked

@pytest.fixture
def stats_port(cashew, redis_server):
    return cashew(harness.pool("p", harness.free_port(), [redis_server], redis=True)).stats_port


def test_bare_connects(stats_port):
    whole = layout(bare(stats_port))
    assert layout(bare(stats_port, half_close=True)) == whole
    assert layout(bare(stats_port, b"stats\r\n")) == whole
    assert layout(bare(stats_port, b"\0\1\2\3" * 1000)) == whole


def test_http(stats_port):
    for _ in range(2):
        connection = http.client.HTTPConnection("127.0.0.1", stats_port, timeout=10)
        for _ in range(3):
            connection.request("GET", "/")
            response = connection.getresponse()
            assert (response.status, response.version) == (200, 11)
            assert response.headers["Content-Type"] == "application/json"
            body = response.read()
            assert int(response.headers["Content-Length"]) == len(body)
            assert layout(body) == layout(bare(stats_port))
        connection.request("HEAD", "/")
        response = connection.getresponse()
        assert response.status == 200 and int(response.headers["Content-Length"]) > 100
        assert response.read() == b""
        connection.request("GET", "/nothing")
        response = connection.getresponse()
        assert response.status == 404
        response.read()
        connection.request("PUT", "/", body=b"x" * 100)
        response = connection.getresponse()
        assert response.status == 405
        assert response.headers["Allow"] == "GET, HEAD"
        connection.close()


def test_curl_as_in_every_tutorial(stats_port):
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    text = subprocess.run([curl, "-sS", f"http://127.0.0.1:{stats_port}"], check=True,
                          capture_output=True, timeout=10).stdout
    assert json.loads(text)["service"] == "nutcracker"


def test_many_slow_peers_do_not_stall_the_port(stats_port):
    slow = [socket.create_connection(("127.0.0.1", stats_port)) for _ in range(200)]
    for sock in slow[::2]:
        sock.sendall(b"GET / HT")
    begin = time.monotonic()
    with ThreadPoolExecutor(20) as pool:
        texts = list(pool.map(lambda _: bare(stats_port, half_close=True), range(100)))
    assert time.monotonic() - begin < 3
    assert all(json.loads(text) for text in texts)
    for sock in slow:
        sock.close()


def test_address_of_ipv6(cashew, redis_server):
    proxy = cashew(harness.pool("p", harness.free_port(), [redis_server], redis=True),
                   args=["-a", "::1"])
    assert json.loads(bare(proxy.stats_port, host="::1"))["service"] == "nutcracker"
    with pytest.raises(ConnectionRefusedError):
        bare(proxy.stats_port)


def test_port_in_use_is_an_error_at_start(cashew, redis_server, stats_port):
    config = harness.pool("p", harness.free_port(), [redis_server], redis=True)
    with pytest.raises(harness.StartError, match="Address already in use"):
        cashew(config, args=["-s", str(stats_port)])


# ---------------------------------------------------------------- -D

def described(command):
    done = subprocess.run([*command, "-D"], capture_output=True, text=True, timeout=10, check=False)
    assert done.returncode == 0
    text = done.stdout + done.stderr
    return [m.groups() for m in re.finditer(r'^(pool|server) stats:$|^  (\w+) +"[^"]+"$', text,
                                            re.MULTILINE)]


def test_describe_stats_has_twemproxys_names_in_order():
    ours = described(harness.base_command())
    names = [("pool", None), *[(None, n) for n in POOL_NAMES],
             ("server", None), *[(None, n) for n in SERVER_NAMES]]
    assert [row for row in ours if row in names] == names
    if NUTCRACKER is not None:
        assert described([NUTCRACKER]) == names
