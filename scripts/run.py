#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""`./dev run`: cashew at work on this machine, before two redis and two memcached on free loopback
ports, until Ctrl-C. `./dev run -c FILE [FLAG...]` runs cashew with a config of your own."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import build
import tour
from ports import free_ports

USAGE = """\
usage: ./dev run [FLAG...]            shows cashew at work before two redis and two memcached
       ./dev run -c FILE [FLAG...]    runs cashew with a config of your own

The first use builds cashew. Flags go to cashew, but this one; `build/cashew --help` lists them."""
EXAMPLE = build.ROOT / "conf" / "cashew.yml"
START_SECONDS = 15
STOP_SECONDS = 10


class Failure(RuntimeError):
    """Something did not start; the text says what and why."""


class Stopped(Exception):
    """Ctrl-C or a signal that asks for the end."""


def is_open(port):
    with socket.socket() as sock:
        sock.settimeout(1)
        return sock.connect_ex(("127.0.0.1", port)) == 0


class Children:
    """The processes started here, each known by its pid; stop() ends these and no others."""

    def __init__(self, folder):
        self.folder = folder
        self.running = []

    def start(self, name, command, ports):
        # In a session of their own, so that Ctrl-C comes to us alone and the end is orderly. The
        # kernel ends them should this script be killed.
        guard = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
        log = self.folder / f"{name}.out"
        with open(log, "wb") as out:
            child = subprocess.Popen([*guard, *map(str, command)], stdin=subprocess.DEVNULL,
                                     stdout=out, stderr=out, cwd=self.folder,
                                     start_new_session=True)
        self.running.append((name, child))
        end = time.monotonic() + START_SECONDS
        while not all(is_open(port) for port in ports):
            if child.poll() is not None or time.monotonic() > end:
                raise Failure(f"{name} did not start:\n{log.read_text(errors='replace')}")
            time.sleep(0.02)
        return child

    def stop(self):
        for _, child in reversed(self.running):
            if child.poll() is None:
                child.terminate()
            try:
                child.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def start_servers(children, folder, redis_ports, memcached_ports):
    for port in redis_ports:
        where = folder / f"redis-{port}"
        where.mkdir()
        children.start(f"redis-{port}", [
            "redis-server", "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly",
            "no", "--dir", where], [port])
    user = ["-u", "root"] if os.geteuid() == 0 else []
    for port in memcached_ports:
        children.start(f"memcached-{port}", ["memcached", "-l", "127.0.0.1", "-p", port, "-U", 0,
                                             "-t", 1, *user], [port])


def substitute(text, redis_ports, memcached_ports, take_port):
    """The example config with this machine's ports. Returns its text and its pools as
    (name, is redis, port). Weights and server names stay as they are."""
    pools, out = [], []
    blocks = re.split(r"(?m)^(?=[A-Za-z_][\w.-]*:\s*(?:#.*)?$)", text)
    for block in blocks:
        if not re.search(r"(?m)^\s+servers:", block):
            out.append(block)
            continue
        is_redis = re.search(r"(?m)^\s+redis:\s*[\"']?true", block) is not None
        servers = iter((redis_ports if is_redis else memcached_ports) * 32)
        port = take_port()
        block = re.sub(r"(?m)^(\s+listen:\s*)[^\s#]+", rf"\g<1>127.0.0.1:{port}", block)
        block = re.sub(r"(?m)^(\s+-\s+[\"']?)[^\s\"':]+:\d+(?=:\d+)",
                       lambda m: f"{m.group(1)}127.0.0.1:{next(servers)}", block)
        pools.append((block.split(":", 1)[0], is_redis, port))
        out.append(block)
    return "".join(out), pools


def demo(binary, flags, folder, children):
    ports = free_ports(4 + 1 + 16)
    redis_ports, memcached_ports, stats_port = ports[:2], ports[2:4], ports[4]
    print(f"starting two redis-servers on 127.0.0.1 ports {redis_ports[0]} and {redis_ports[1]},\n"
          f"two memcacheds on {memcached_ports[0]} and {memcached_ports[1]}, and cashew ...",
          flush=True)
    start_servers(children, folder, redis_ports, memcached_ports)
    spare = iter(ports[5:])
    text, pools = substitute(EXAMPLE.read_text(), redis_ports, memcached_ports,
                             lambda: next(spare))
    config, log = folder / "cashew.yml", folder / "cashew.log"
    config.write_text(text)
    proxy = children.start("cashew", [binary, "-c", config, "-o", log, "-a", "127.0.0.1",
                                      "-s", stats_port, *flags],
                           [port for _, _, port in pools] + [stats_port])
    tour.walk(pools, redis_ports, memcached_ports, stats_port)
    print("\nIt is yours until Ctrl-C:\n")
    for name, is_redis, port in pools:
        how = f"redis-cli -p {port}" if is_redis else f"telnet 127.0.0.1 {port}"
        print(f"  pool {name:<10} {how}")
    print(f"  stats           curl http://127.0.0.1:{stats_port}\n"
          f"  config          {config}\n  log             {log}\n", flush=True)
    code = proxy.wait()
    words = log.read_text(errors="replace")[-3000:] if log.exists() else ""
    raise Failure(f"cashew ended by itself with {code}\n{words}")


def stop_asked(*_):
    raise Stopped


def run_demo(binary, flags):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop_asked)
    folder = Path(tempfile.mkdtemp(prefix="cashew-run-"))
    children = Children(folder)
    code = 0
    try:
        demo(binary, flags, folder, children)
    except Stopped:
        print("\nending what was started here", flush=True)
    except (Failure, OSError, tour.Surprise) as error:
        print(f"dev: {error}", file=sys.stderr)
        code = 1
    finally:
        # A second Ctrl-C must not leave servers behind.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        children.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return code


def main():
    flags = sys.argv[1:]
    if "--help" in flags or "-h" in flags:
        print(USAGE)
        return
    try:
        binary = os.environ.get("CASHEW_BIN") or build.build("release")
    except build.BuildError as error:
        sys.exit(f"dev: {error}")
    if any(re.match(r"-c|--conf-file|-V$|--version$|-D$|-t$|--test-conf$", flag)
           for flag in flags):
        os.execv(binary, [str(binary), *flags])
    sys.exit(run_demo(binary, flags))


if __name__ == "__main__":
    main()
