# SPDX-License-Identifier: BSD-3-Clause
"""The proxies that ./dev bench compares: how each is configured, started and ended."""

import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import run
from ports import free_ports

HOST = "127.0.0.1"
TIMEOUT_MS = 5000
# Of bench/floor, which has no server behind it.
FLOOR_ARGUMENTS = "{port} {protocol} {keys} {size}"


@dataclass(frozen=True)
class Candidate:
    name: str
    command: str  # with placeholders, see Proxy; empty: no proxy at all
    version: str = ""


def pool(listen, servers, redis, timeout):
    """One pool as cashew and nutcracker read it."""
    lines = ["bench:", f"  listen: {listen}", "  hash: fnv1a_64", "  distribution: ketama",
             f"  redis: {'true' if redis else 'false'}", "  backlog: 1024", "  preconnect: true"]
    lines += [f"  timeout: {timeout}"] if timeout else []
    lines += ["  servers:"] + [f"    - {server}:1" for server in servers]
    return "\n".join(lines) + "\n"


def relay(listen, servers, clients):
    """haproxy passing bytes on: each client gets a server connection of its own."""
    lines = ["global", "  nbthread 1", f"  maxconn {clients + 100}", "defaults", "  mode tcp",
             "  timeout connect 5s", "  timeout client 60s", "  timeout server 60s",
             "listen bench", f"  bind {listen} backlog 1024", "  balance roundrobin"]
    lines += [f"  server s{i} {server}" for i, server in enumerate(servers)]
    return "\n".join(lines) + "\n"


def descendants(pid):
    pids, todo = [], [pid]
    while todo:
        pids.append(todo.pop())
        for children in Path(f"/proc/{pids[-1]}/task").glob("*/children"):
            todo += [int(child) for child in children.read_text().split()]
    return pids


class Proxy:
    """A candidate at work before `servers`. In its command {conf} is a pool with `timeout` in the
    form that twemproxy and cashew read, {conf0} the same without, {haproxy} a relay, {template:FILE}
    a copy of FILE in which all other placeholders are filled in, {listen}, {host} and {port} where
    to listen, {server1}, {server2} where the servers are, {stats} a free port, {log} a file."""

    def __init__(self, candidate, folder, servers, scenario):
        self.folder = folder
        self.children = run.Children(folder)
        port, stats = free_ports(2)
        self.listen = f"{HOST}:{port}"
        redis = not scenario.memcache
        self.values = {
            "conf": self.write("conf.yml", pool(self.listen, servers, redis, TIMEOUT_MS)),
            "conf0": self.write("conf0.yml", pool(self.listen, servers, redis, 0)),
            "haproxy": self.write("haproxy.cfg", relay(self.listen, servers, scenario.clients)),
            "listen": self.listen, "host": HOST, "port": str(port), "stats": str(stats),
            "log": str(folder / "proxy.log"), "server1": servers[0], "server2": servers[1],
            "keys": str(scenario.keys), "size": str(scenario.size),
            "protocol": "redis" if redis else "memcache"}
        command = [self.fill(part) for part in shlex.split(candidate.command)]
        self.process = self.children.start(candidate.name, command, [port])
        self.pids = descendants(self.process.pid)
        self.fresh, self.started = self.memory("VmRSS"), self.threads()

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def fill(self, text):
        return re.sub(r"\{(\w+)(?::([^}]*))?\}", self.value, text)

    def value(self, match):
        name, argument = match.groups()
        if name == "template" and argument:
            source = Path(argument)
            return self.write(source.name + ".filled", self.fill(source.read_text()))
        return self.values.get(name, match.group(0))

    def check(self):
        """Fails if there are processes that were not watched."""
        if set(descendants(self.process.pid)) - set(self.pids):
            raise run.Failure("it starts processes for its clients, which can't be measured")

    def memory(self, name):
        """VmRSS or VmHWM (the most that it ever was) of all its processes, bytes."""
        found = [re.search(rf"^{name}:\s*(\d+) kB", path.read_text(), re.M)
                 for pid in self.pids for path in Path(f"/proc/{pid}").glob("status")]
        return sum(int(match.group(1)) << 10 for match in found if match)

    def threads(self):
        """The CPU time of each of its threads so far, ns."""
        return {path: int(path.read_text().split()[0]) for pid in self.pids
                for path in Path(f"/proc/{pid}/task").glob("*/schedstat")}

    def busy_threads(self):
        """How many of its threads used at least a tenth of what the busiest one used since it was
        ready."""
        used = [ns - self.started.get(path, 0) for path, ns in self.threads().items()]
        return sum(10 * ns >= max(used) for ns in used)

    def stop(self):
        """Ends it; says what was wrong if it had ended before."""
        code = self.process.poll()
        self.children.stop()
        return None if code is None else f"the proxy ended with {code}"


def first_line(*command):
    try:
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.STDOUT, timeout=10)
        return (done.stdout.splitlines() or [""])[0]
    except (OSError, subprocess.SubprocessError):
        return ""


def peers(say):
    """nutcracker and haproxy, as far as they are here."""
    found = []
    rows = [("nutcracker", "-V", "-c {conf0} -s {stats} -a {host} -o {log}"),
            ("haproxy", "-v", "-db -f {haproxy}")]
    for name, flag, arguments in rows:
        path = shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
        version = first_line(path, flag) if path else ""
        if not path:
            say(f"{name} is not installed: left out")
        elif "cashew" in version:
            say(f"{path} is cashew itself: left out")
        else:
            found.append(Candidate(name, f"{shlex.quote(path)} {arguments}", version))
    return found


def cashew(binary, workers, loops):
    """The build of this tree with each of the numbers of workers and each of the loops; the first
    of these is called cashew, the others by what is different."""
    found = []
    for count in workers:
        for io in loops:
            name = "-".join(["cashew", *[f"w{count}"] * (count != workers[0]),
                             *[io] * (io != loops[0])])
            flags = (f" --workers={count}" if count else "") + (f" --io={io}" if io else "")
            command = (f"{shlex.quote(str(binary))} -c {{conf}} -s {{stats}} -a {{host}} "
                       f"-o {{log}}{flags}")
            found.append(Candidate(name, command, first_line(binary, "-V") + flags))
    return found
