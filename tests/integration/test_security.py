# SPDX-License-Identifier: BSD-3-Clause
"""What docs/security.md says of secrets, sockets and the binary, seen from outside."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import harness
import pytest
from harness import Raw, free_port, pool, resp

SECRETS = ["the-pools-own-password", "guessed-password", "password-of-alice"]


def test_no_password_in_log_statistics_or_process_list(ending, tmp_path):
    """At the highest level of the log, with right, wrong and users' passwords, and when servers refuse
    one."""
    server = ending.add(harness.Redis(args=["--requirepass", SECRETS[0]]))
    server.client(password=SECRETS[0]).execute_command(
        "ACL", "SETUSER", "alice", "on", ">" + SECRETS[2], "~*", "+@all")
    refusing = ending.add(harness.Redis(args=["--requirepass", "something else"]))
    ports = free_port(), free_port()
    config = pool("good", ports[0], [server], redis=True, redis_auth=SECRETS[0]) \
        + pool("refused", ports[1], [refusing], redis=True, redis_auth=SECRETS[0])
    proxy = ending.add(harness.Cashew(config, args=["-v", "11"]))
    said = b""
    for port in ports:
        with Raw(port) as client:
            for words in (["AUTH", SECRETS[1]], ["AUTH", "alice", SECRETS[1]],
                          ["AUTH", "alice", SECRETS[2]],
                          ["HELLO", "3", "AUTH", "alice", SECRETS[2]], ["AUTH", SECRETS[0]],
                          ["SET", "k", "v"], ["NOSUCH", "k"], ["AUTH", SECRETS[0]]):
                client.send(resp(*words))
                said += client.recv_all(0.1)
    assert b"+OK" in said and b"WRONGPASS" in said
    stats = str(proxy.stats())
    seen = {"the log": proxy.log(), "stderr": proxy.stderr(), "statistics": stats,
            "replies": said.decode("latin-1")}
    for name in ("cmdline", "environ", "comm"):
        seen[name] = Path(f"/proc/{proxy.pid}/{name}").read_bytes().decode("latin-1")
    assert "client" in seen["the log"]
    for where, text in seen.items():
        for secret in SECRETS:
            assert secret not in text, f"{secret} is in {where}"


def test_nothing_is_served_before_the_password(ending):
    server = ending.add(harness.Redis(args=["--requirepass", SECRETS[0]]))
    port = free_port()
    ending.add(harness.Cashew(pool("p", port, [server], redis=True, redis_auth=SECRETS[0])))
    server.client(password=SECRETS[0]).set("k", "hidden")
    with Raw(port) as client:
        for words in (["GET", "k"], ["MGET", "k", "k2"], ["KEYS", "*"], ["SCAN", "0"], ["DBSIZE"],
                      ["EVAL", "return 1", "1", "k"], ["SELECT", "1"], ["CONFIG", "GET", "*"],
                      ["INFO"], ["FLUSHALL"], ["CLIENT", "LIST"], ["AUTH", SECRETS[0][:-1]],
                      ["AUTH", SECRETS[0] + "x"], ["AUTH", ""], ["GET", "k"]):
            client.send(resp(*words))
            assert client.recv_reply().startswith(b"-"), words
        client.send(resp("AUTH", SECRETS[0]) + resp("GET", "k"))
        assert client.recv_reply() == b"+OK\r\n" and client.recv_reply() == b"$6\r\nhidden\r\n"


@pytest.mark.parametrize("mode", ["0600", "0660", "0777"])
def test_permissions_of_a_unix_socket(ending, redis_server, tmp_path, mode):
    path = tmp_path / "listen.sock"
    old = os.umask(0)
    try:
        ending.add(harness.Cashew(pool("p", f"{path} {mode}", [redis_server], redis=True)))
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == int(mode, 8)
    with Raw(path) as client:
        client.send(resp("PING"))
        assert client.recv_reply() == b"+PONG\r\n"


@pytest.mark.skipif(not shutil.which("readelf"), reason="binutils are not installed")
@pytest.mark.skipif(bool(os.environ.get("CASHEW_SANITIZED")), reason="a build with a sanitizer")
def test_hardening_of_the_binary():
    """Position independent, read-only after relocation, no executable stack, guarded frames."""
    def readelf(flag):
        return subprocess.run(["readelf", flag, "-W", harness.binary()], check=True,
                              capture_output=True, text=True).stdout

    program, dynamic = readelf("-l"), readelf("-d")
    assert "DYN (" in readelf("-h")
    assert "GNU_RELRO" in program and "BIND_NOW" in dynamic.replace("NOW PIE", "BIND_NOW")
    stack = next(line for line in program.splitlines() if "GNU_STACK" in line)
    assert "RWE" not in stack
    assert "RPATH" not in dynamic and "RUNPATH" not in dynamic
    assert "__stack_chk_fail" in readelf("-s")
