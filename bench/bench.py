#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""`./dev bench`: cashew beside other proxies on this machine, before real servers.

The method is told in docs/performance.md. The exit code is 0 only if every proxy ran and every
reply was right."""

import argparse
import datetime
import json
import os
import platform
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

# pylint: disable=wrong-import-position
import build
import candidates
import instructions
import micro
import report
import run
from ports import free_ports
from scenarios import SCENARIOS

LOAD_SECONDS = 120


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


class Bench:
    """The servers, what they hold, and one measurement after the other."""

    def __init__(self, options, load, folder):
        self.options = options
        self.load = load
        self.folder = folder
        self.children = run.Children(folder)
        self.held = {}
        ports = free_ports(4)
        run.start_servers(self.children, folder, ports[:2], ports[2:])
        self.servers = {False: [f"{candidates.HOST}:{port}" for port in ports[:2]],
                        True: [f"{candidates.HOST}:{port}" for port in ports[2:]]}
        pids = [child.pid for _, child in self.children.running]
        self.server_pids = {False: pids[:2], True: pids[2:]}

    def call(self, *arguments):
        done = subprocess.run([str(self.load), *map(str, arguments)], check=False,
                              timeout=LOAD_SECONDS, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise run.Failure(done.stderr.strip() or f"load ended with {done.returncode}")
        return json.loads(done.stdout) if done.stdout else {}

    def fill(self, scenario):
        """Every server gets every key, so that a relay finds all keys on any of them."""
        if self.held.get(scenario.memcache) != scenario.data():
            targets = [part for server in self.servers[scenario.memcache]
                       for part in ("--target", server)]
            self.call("--fill", *scenario.data(), *targets)
            self.held[scenario.memcache] = scenario.data()

    def measure(self, scenario, candidate, repeat):
        """One fresh proxy, one figure of each kind."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        servers = self.servers[scenario.memcache]
        row, proxy = {"candidate": candidate.name, "repeat": repeat}, None
        try:
            targets, pids = servers, []
            if candidate.command:
                proxy = candidates.Proxy(candidate, folder, servers, scenario)
                targets, pids = [proxy.listen], proxy.pids
            watched = pids + self.server_pids[scenario.memcache]
            row.update(figures(self.call(
                *scenario.options(), "--warm-up", self.options.warm_up,
                "--measure", self.options.measure,
                *[part for target in targets for part in ("--target", target)],
                *[part for pid in watched for part in ("--watch", pid)]), len(pids)))
            if proxy:
                proxy.check()
                row["memory"] = (proxy.memory("VmHWM") - proxy.fresh) / scenario.clients
                row["busy"] = proxy.busy_threads()
        except (run.Failure, OSError, subprocess.SubprocessError, ValueError) as error:
            row["error"] = str(error)
        finally:
            ended = proxy.stop() if proxy else None
            if ended:
                row["error"] = ended
            shutil.rmtree(folder, ignore_errors=True)
        return row


def figures(raw, proxies):
    """What the report needs of one measurement; the watched come as proxies, then servers."""
    requests, seconds = raw["requests"], raw["seconds"]
    row = {"raw": raw, "rps": requests / seconds if seconds else None,
           "p50": raw["p50_us"], "p99": raw["p99_us"], "p999": raw["p999_us"]}
    known = (sum(raw["cpu_ns"]) + raw["own_ns"]) / 1e9
    cores = os.cpu_count() or 1
    row["others"] = max(0.0, (raw["machine_ns"] / 1e9 - known) / (cores * seconds))
    if raw["errors"]:
        row["error"] = f"{raw['errors']} errors, the first: {raw['first_error']}"
    if not requests:
        row.setdefault("error", "no reply came")
        return row
    row["server_cpu"] = sum(raw["cpu_ns"][proxies:]) / 1e3 / requests
    if proxies:
        row["cpu"] = sum(raw["cpu_ns"][:proxies]) / 1e3 / requests
        row["rss"] = sum(raw["rss"][:proxies])
    if proxies and "idle_seconds" in raw:
        growth = sum(raw["rss_idle"][:proxies]) - sum(raw["rss_before"][:proxies])
        row["idle_rss"] = growth / max(1, raw["connections"])
        row["idle_cpu"] = sum(raw["idle_cpu_ns"][:proxies]) / 1e7 / raw["idle_seconds"]
    return row


def measure_all(bench, chosen, everyone, options):
    results = []
    for scenario in chosen:
        bench.fill(scenario)
        runs = []
        for repeat in range(options.repeats):
            # Who comes first changes, so that no one always has the machine at the same moment.
            turn = repeat % len(everyone)
            for candidate in everyone[turn:] + everyone[:turn]:
                runs.append(bench.measure(scenario, candidate, repeat))
            say(f"{scenario.name} repeat {repeat + 1} of {options.repeats}")
        names = [candidate.name for candidate in everyone]
        result = {"name": scenario.name, "text": scenario.text, "idle": scenario.idle,
                  "summary": report.summarise(runs, names), "runs": runs}
        print(report.table(result) + "\n", flush=True)
        results.append(result)
    return results


def processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def about(everyone, options):
    """What was measured where, for whoever reads the figures later."""
    return {"when": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "processor": processor(), "cores": os.cpu_count(), "kernel": platform.release(),
            "repeats": options.repeats, "warm_up_ms": options.warm_up,
            "measure_ms": options.measure,
            "candidates": {c.name: {"command": c.command, "version": c.version}
                           for c in everyone}}


def about_line(facts):
    versions = [c["version"] for c in facts["candidates"].values() if c["version"]]
    return (f"{facts['when'][:10]}, {facts['processor']}, {facts['cores']} cores, Linux "
            f"{facts['kernel']}; {facts['repeats']} repeats of {facts['measure_ms']} ms; "
            + "; ".join(versions))


def pick_scenarios(words):
    if not words:
        return SCENARIOS
    wanted = words.split(",")
    known = [scenario.name for scenario in SCENARIOS]
    for name in wanted:
        if name not in known:
            sys.exit(f"bench: no scenario '{name}'; there are {', '.join(known)}")
    return [scenario for scenario in SCENARIOS if scenario.name in wanted]


def pick_candidates(options, binary, floor):
    everyone = [candidates.Candidate("direct", "", "")]
    everyone += candidates.peers(say)
    everyone += candidates.cashew(binary, options.workers.split(","), options.io.split(","))
    if options.floor:
        everyone.append(candidates.Candidate("floor", f"{floor} " + candidates.FLOOR_ARGUMENTS))
    for word in options.add:
        name, _, command = word.partition("=")
        if not name or not command or name in [c.name for c in everyone]:
            sys.exit(f"bench: --add wants NEWNAME=COMMAND, not '{word}'")
        everyone.append(candidates.Candidate(name, command))
    return [c for c in everyone if not options.only or c.name in options.only.split(",")]


def parse(arguments=None):
    parser = argparse.ArgumentParser(
        prog="./dev bench", description="Measures cashew beside nutcracker and haproxy.")
    parser.add_argument("--quick", action="store_true", help="all scenarios in under two minutes")
    parser.add_argument("--scenario", help="only these: " + ",".join(s.name for s in SCENARIOS))
    parser.add_argument("--repeats", type=int, help="how often each is measured (5, quick 2)")
    parser.add_argument("--add", action="append", default=[], metavar="NAME=COMMAND",
                        help="another proxy; in COMMAND {listen}, {server1}, {server2}, {conf} "
                        "(a pool as twemproxy reads it), {conf0} (without timeout), {stats}, {log} "
                        "and {template:FILE} are filled in")
    parser.add_argument("--floor", action="store_true",
                        help="also a server that knows all answers: what the kernel takes for one "
                        "receive and one send for each client, below which no proxy can be")
    parser.add_argument("--only", metavar="NAMES", help="only these candidates")
    parser.add_argument("--workers", default="", metavar="LIST",
                        help="numbers of workers; with 1,2 there are cashew and cashew-w2")
    parser.add_argument("--io", default="", metavar="LIST",
                        help="loops; with epoll,uring there are cashew and cashew-uring")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg")
    parser.add_argument("--micro", action="store_true",
                        help="parsers, hashes and routing alone, without any proxy")
    parser.add_argument("--callgrind", action="store_true",
                        help="count instructions, of the proxies or with --micro (needs valgrind)")
    options = parser.parse_args(arguments)
    options.repeats = options.repeats or (2 if options.quick else 5)
    options.warm_up, options.measure = (100, 300) if options.quick else (300, 1000)
    return options


def tools():
    """The cashew to measure, and the tools beside it: (cashew, load, floor, micro)."""
    binary = Path(os.environ["CASHEW_BIN"]).resolve() if "CASHEW_BIN" in os.environ else None
    if binary and (binary.parent / "build.ninja").exists():
        where = binary.parent
    else:
        built = build.build("release")
        binary, where = binary or built, built.parent
    names = ["bench/load", "bench/floor", "bench/micro"]
    done = subprocess.run(["ninja", "-C", str(where), *names], check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise build.BuildError(done.stdout)
    return binary, *(where / name for name in names)


def stop_asked(*_):
    raise run.Stopped


def write(options, facts, results):
    if options.json:
        options.json.write_text(json.dumps({**facts, "scenarios": results}, indent=1) + "\n")
    if options.markdown:
        options.markdown.write_text(report.markdown(results, about_line(facts)))
    if options.plot:
        options.plot.write_text(report.Plot(results).svg())


def compare(options, binary, load, floor):
    everyone, chosen = pick_candidates(options, binary, floor), pick_scenarios(options.scenario)
    folder, bench = Path(tempfile.mkdtemp(prefix="cashew-bench-")), None
    try:
        bench = Bench(options, load, folder)
        facts = about(everyone, options)
        if options.callgrind:
            table = instructions.compare(bench, chosen, everyone, say)
            if options.json:
                options.json.write_text(json.dumps({**facts, "instructions": table}) + "\n")
            return 1 if any(None in row.values() for row in table.values()) else 0
        results = measure_all(bench, chosen, everyone, options)
    finally:
        if bench:
            bench.children.stop()
        shutil.rmtree(folder, ignore_errors=True)
    write(options, facts, results)
    return 1 if any(row["errors"] for result in results for row in result["summary"]) else 0


def main():
    options = parse()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop_asked)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    try:
        binary, load, floor, micro_binary = tools()
        if options.micro:
            sys.exit(micro.compare(micro_binary, options, say))
        sys.exit(compare(options, binary, load, floor))
    except run.Stopped:
        sys.exit(130)
    except (build.BuildError, run.Failure, OSError) as error:
        sys.exit(f"bench: {error}")


if __name__ == "__main__":
    main()
