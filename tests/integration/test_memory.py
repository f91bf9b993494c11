# SPDX-License-Identifier: BSD-3-Clause
"""What the memory of the process does: a burst's is given back, an idle client takes little, and a proxy at
rest uses no processor."""

import os
import resource
import select
import socket
import threading
import time
from pathlib import Path

import harness
import pytest

MIB = 1 << 20
# A sanitizer keeps what was freed, and its shadow.
pytestmark = pytest.mark.skipif(bool(os.environ.get("CASHEW_SANITIZED")),
                                reason="a sanitizer's allocator has other sizes")


def rss(pid):
    """Resident bytes of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the process has no VmRSS")


def cpu(pid):
    """Processor time of all threads, ns."""
    return sum(int((task / "schedstat").read_text().split()[0])
               for task in Path(f"/proc/{pid}/task").iterdir())


def connect(port):
    client = socket.socket()
    # What the kernel would hold for us is to stay with the proxy.
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    client.connect(("127.0.0.1", port))
    return client


def read_all(clients, each):
    """Reads `each` bytes from every client."""
    left = {client: each for client in clients}
    room = bytearray(MIB)
    while left:
        ready, _, _ = select.select(list(left), [], [], 30)
        assert ready, f"{len(left)} clients wait for {sum(left.values())} bytes"
        for client in ready:
            got = client.recv_into(room)
            assert got > 0
            left[client] -= got
            if left[client] == 0:
                del left[client]


def warm_up(port):
    """Has all of a loop's own buffers touched once: they stay."""
    with connect(port) as client:
        for _ in range(600):
            client.sendall(harness.resp("SET", "warm", "up"))
            read_all([client], len("+OK\r\n"))
        client.sendall(harness.resp("SET", "warm", "x" * MIB))
        read_all([client], len("+OK\r\n"))
        client.sendall(harness.resp("GET", "warm"))
        read_all([client], MIB + len("$1048576\r\n") + 2)


def wait_for_growth(pid, more):
    """Waits until the process has `more` resident bytes than now."""
    start = rss(pid)
    harness.wait_for(lambda: rss(pid) >= start + more, timeout=30, interval=0.05,
                     what=f"growth by {more >> 20} MiB")


def burst_of_replies(proxy, port, values, clients):
    """Every client asks for `values` values of 1 MiB, reads none until most are here, then reads and
    leaves."""
    crowd = [connect(port) for _ in range(clients)]
    for client in crowd:
        client.sendall(harness.resp("GET", "big") * values)
    wait_for_growth(proxy.pid, values * clients * MIB * 7 // 10)
    read_all(crowd, values * (MIB + len("$1048576\r\n") + 2))
    for client in crowd:
        client.close()


def check_burst(redis_server, cashew, values, clients):
    port = harness.free_port()
    proxy = cashew(harness.pool("alpha", port, [redis_server], redis=True, timeout=60000,
                                client_output_soft=2147483647))
    redis_server.client().set("big", b"x" * MIB)
    warm_up(port)
    before = rss(proxy.pid)
    burst_of_replies(proxy, port, values, clients)
    harness.wait_for(lambda: rss(proxy.pid) <= before * 1.2, timeout=10,
                     what=f"the return from {rss(proxy.pid) >> 10} KiB to {before >> 10} KiB")
    used = cpu(proxy.pid)
    time.sleep(2.5)
    assert cpu(proxy.pid) - used < 5_000_000  # nothing ticks on


def test_memory_comes_back(redis_server, cashew):
    check_burst(redis_server, cashew, values=20, clients=10)


@pytest.mark.long
def test_memory_comes_back_after_1_gib(redis_server, cashew):
    check_burst(redis_server, cashew, values=44, clients=25)


def test_memory_comes_back_from_a_stalled_server(redis_server, cashew):
    port = harness.free_port()
    proxy = cashew(harness.pool("alpha", port, [redis_server], redis=True))
    warm_up(port)
    before = rss(proxy.pid)
    redis_server.pause()
    crowd = [connect(port) for _ in range(40)]
    request = harness.resp("SET", "k", "x" * 4 * MIB)
    for client in crowd:
        client.setblocking(False)
    left = {client: memoryview(request) for client in crowd}
    end = time.monotonic() + 3
    while left and time.monotonic() < end:
        _, ready, _ = select.select([], list(left), [], 0.1)
        for client in ready:
            left[client] = left[client][client.send(left[client]):]
            if not left[client]:
                del left[client]
    assert rss(proxy.pid) > before + 15 * MIB
    for client in crowd:
        client.close()
    redis_server.resume()
    harness.wait_for(lambda: rss(proxy.pid) <= before * 1.2, timeout=10,
                     what="the memory of the requests to come back")


def ask(client):
    client.sendall(harness.resp("GET", "k"))
    assert client.recv(64) == b"$-1\r\n"


def test_idle_clients_take_little(redis_server, cashew):
    count = 2000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(4096, hard)), hard))
    port = harness.free_port()
    proxy = cashew(harness.pool("alpha", port, [redis_server], redis=True))
    # So that all code, tables and receive buffers, which all clients share, are there.
    crowd = [connect(port) for _ in range(200)]
    try:
        for client in crowd * 5:
            ask(client)
        before = rss(proxy.pid)
        for _ in range(count):
            crowd.append(connect(port))
            ask(crowd[-1])
        assert (rss(proxy.pid) - before) / count <= 700
        used = cpu(proxy.pid)
        time.sleep(2.5)
        assert cpu(proxy.pid) - used < 5_000_000
    finally:
        for client in crowd:
            client.close()


# ---------------------------------------------------------------- memory_limit

LIMIT = 64 * MIB
# What is not counted: the program itself, a loop's own buffers, what the allocator holds between.
UNCOUNTED = 24 * MIB


def limited(redis_server, cashew, **keys):
    port = harness.free_port()
    proxy = cashew("global: {memory_limit: 64m}\n"
                   + harness.pool("alpha", port, [redis_server], redis=True, timeout=20000,
                                  client_output_soft=2147483647, **keys))
    warm_up(port)
    return proxy, port


class Watch:
    """The most memory of a process while a `with` runs."""

    def __init__(self, pid):
        self.pid, self.peak, self.over = pid, 0, threading.Event()
        self.thread = threading.Thread(target=self.look)

    def look(self):
        while not self.over.wait(0.01):
            self.peak = max(self.peak, rss(self.pid))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def recovers(port):
    """A new client is served, at once."""
    with connect(port) as client:
        client.settimeout(5)
        client.sendall(harness.resp("SET", "after", "all"))
        assert client.recv(64) == b"+OK\r\n"


def test_memory_limit_and_clients_that_do_not_read(redis_server, cashew):
    proxy, port = limited(redis_server, cashew)
    redis_server.client().set("big", b"x" * MIB)
    with Watch(proxy.pid) as watch, connect(port) as other:
        crowd = [connect(port) for _ in range(10)]
        for client in crowd:
            client.sendall(harness.resp("GET", "big") * 30)
        harness.wait_for(lambda: proxy.stats()["alpha"]["client_memory"] > 0, timeout=15)
        # Others were held up for a while, but not for ever.
        other.settimeout(20)
        end = time.monotonic() + 20
        reply = b"-"
        while not reply.startswith(b"$-1") and time.monotonic() < end:
            other.sendall(harness.resp("GET", "none"))
            reply = other.recv(256)
            assert reply == b"$-1\r\n" or b"memory_limit" in reply
        assert reply == b"$-1\r\n"
        for client in crowd:
            client.close()
    assert watch.peak <= LIMIT + UNCOUNTED
    recovers(port)
    assert "memory_limit" in proxy.log()


def test_memory_limit_and_clients_that_read(redis_server, cashew):
    """Many times the limit goes through, and nobody is closed who reads what he gets."""
    proxy, port = limited(redis_server, cashew)
    redis_server.client().set("big", b"x" * 6 * MIB)
    with Watch(proxy.pid) as watch:
        crowd = [connect(port) for _ in range(8)]
        for _ in range(10):
            for client in crowd:
                client.sendall(harness.resp("GET", "big"))
            read_all(crowd, 6 * MIB + len("$6291456\r\n") + 2)
        for client in crowd:
            client.close()
    assert watch.peak <= LIMIT + UNCOUNTED
    assert proxy.stats()["alpha"]["client_memory"] == 0
    recovers(port)


def test_memory_limit_and_requests_that_pile_up(redis_server, cashew):
    proxy, port = limited(redis_server, cashew)
    redis_server.pause()
    with Watch(proxy.pid) as watch:
        crowd = [connect(port) for _ in range(60)]
        left = {client: memoryview(harness.resp("SET", f"k{i}", "x" * 3 * MIB))
                for i, client in enumerate(crowd)}
        for client in crowd:
            client.setblocking(False)
        end = time.monotonic() + 4
        while left and time.monotonic() < end:
            _, ready, _ = select.select([], list(left), [], 0.1)
            for client in ready:
                try:
                    left[client] = left[client][client.send(left[client]):]
                except OSError:  # it was closed
                    del left[client]
                    continue
                if not left[client]:
                    del left[client]
    assert watch.peak <= LIMIT + UNCOUNTED
    redis_server.resume()
    for client in crowd:
        client.close()
    harness.wait_for(lambda: rss(proxy.pid) < 24 * MIB, timeout=20)
    recovers(port)


def test_memory_limit_must_suffice(redis_server):
    with pytest.raises(harness.StartError, match="memory_limit is 8388608 bytes, but 1 worker"):
        harness.Cashew("global: {memory_limit: 8m, workers: 1}\n"
                       + harness.pool("alpha", harness.free_port(), [redis_server], redis=True))
