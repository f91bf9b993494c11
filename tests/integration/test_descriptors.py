# SPDX-License-Identifier: BSD-3-Clause
"""A process that has no descriptor left goes on with what it has, and recovers; and a password is seen
nowhere."""

import os
import resource
import subprocess
import time
from pathlib import Path

import harness


def allow_descriptors(pid, count):
    hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (count, hard))


def no_more(pid):
    """The limit with which it gets no other descriptor: the lowest number that is free, whatever is open above."""
    taken = {int(fd) for fd in os.listdir(f"/proc/{pid}/fd")}
    return min(set(range(len(taken) + 1)) - taken)


def test_no_descriptor_for_clients(redis_server, cashew, raw):
    port = harness.free_port()
    proxy = cashew(harness.pool("alpha", port, [redis_server], redis=True))
    old = raw(port)
    assert old.send(harness.resp("GET", "k")).recv_reply() == b"$-1\r\n"
    before = resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE)[0]
    allow_descriptors(proxy.pid, no_more(proxy.pid))
    late = raw(port)
    late.send(harness.resp("GET", "k"))
    harness.wait_for(lambda: "accept on" in proxy.log(), what="the pause of accepting")
    for _ in range(20):
        assert old.send(harness.resp("GET", "k")).recv_reply() == b"$-1\r\n"
        time.sleep(0.02)
    assert harness.is_listening(port)
    allow_descriptors(proxy.pid, before)
    assert late.recv_reply() == b"$-1\r\n"


def test_no_descriptor_for_servers(redis_server, cashew, raw):
    port = harness.free_port()
    proxy = cashew(harness.pool("alpha", port, [redis_server], redis=True,
                                server_retry_timeout=100))
    client = raw(port)
    assert client.send(harness.resp("PING")).recv_reply() == b"+PONG\r\n"
    before = resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE)[0]
    allow_descriptors(proxy.pid, no_more(proxy.pid))
    reply = client.send(harness.resp("GET", "k")).recv_reply()
    assert reply.startswith(b"-ERR Too many open files (server '")
    allow_descriptors(proxy.pid, before)
    harness.wait_for(lambda: client.send(harness.resp("GET", "k")).recv_reply() == b"$-1\r\n",
                     interval=0.05, what="the connection to the server")


def test_password_is_seen_nowhere(redis_servers, cashew, raw):
    server = redis_servers(1, args=["--requirepass", "SeCrEt-77"])[0]
    port = harness.free_port()
    proxy = cashew(harness.pool("alpha", port, [server], redis=True, redis_auth="SeCrEt-77"),
                   args=["-v", "11"])
    client = raw(port)
    client.send(harness.resp("AUTH", "wrong-Pw-88"))
    said = client.recv_reply()
    client.send(harness.resp("AUTH", "SeCrEt-77"))
    assert client.recv_reply() == b"+OK\r\n"
    assert client.send(harness.resp("SET", "k", "v")).recv_reply() == b"+OK\r\n"
    flags = subprocess.run([*proxy.base, "-t", "-c", str(proxy.config_path)], capture_output=True,
                           check=True)
    seen = (said + flags.stdout + flags.stderr + proxy.log().encode()
            + str(proxy.stats()).encode() + Path(f"/proc/{proxy.pid}/cmdline").read_bytes())
    assert b"SeCrEt-77" not in seen and b"wrong-Pw-88" not in seen
