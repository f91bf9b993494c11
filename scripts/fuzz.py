#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Fuzzes with libFuzzer: `./dev fuzz [--minutes M] [--target T]`. Each target starts with the corpus of the repository and
with what earlier runs found, in build-fuzz/corpus; what breaks a promise is kept in build-fuzz/found. As a module it is a
stage of `./dev test`: a fixed number of inputs with a fixed seed."""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import build

ROOT = build.ROOT
SOURCES = ROOT / "tests" / "fuzz"
SLOWEST = 25  # seconds that one input may take, however busy the machine is

# One row a target: name, runs in `./dev test`, longest input, share of the time of `./dev fuzz`.
TARGETS = [
    ("proxy", 700, 1500, 8),
    ("redis_request", 4000, 4096, 2),
    ("memcache_request", 4000, 4096, 2),
    ("redis_reply", 6000, 4096, 1),
    ("memcache_reply", 6000, 4096, 1),
    ("inline", 8000, 1024, 1),
    ("conf", 1500, 2048, 2),
    ("endpoint", 20000, 256, 1),
    ("options", 3000, 1024, 1),
]


@dataclass
class Result:
    """What a run of one target came to."""
    target: str
    executions: int = 0
    per_second: int = 0
    edges: int = 0
    regions: str = "-"
    found: list = field(default_factory=list)
    said: str = ""


def missing():
    """Why there can be no fuzzing here, or None."""
    if not shutil.which("clang"):
        return "there is no clang"
    probe = subprocess.run(["clang", "-fsanitize=fuzzer", "-x", "c", "-", "-o", "/dev/null"],
                           input=b"#include <stddef.h>\nint LLVMFuzzerTestOneInput(const unsigned "
                                 b"char*d,size_t n){(void)d;(void)n;return 0;}",
                           check=False, capture_output=True)
    return "clang has no libFuzzer" if probe.returncode else None


def _number(pattern, text):
    found = re.findall(pattern, text)
    return int(found[-1]) if found else 0


def run(target, longest, options, limit):
    """Runs one target; what it said stays in build-fuzz/logs."""
    where = build.folder("fuzz")
    mine, found, logs = (where / name / target for name in ("corpus", "found", "logs"))
    for folder in (mine, found):
        folder.mkdir(parents=True, exist_ok=True)
    logs.parent.mkdir(exist_ok=True)
    before = set(found.iterdir())
    command = [where / "tests" / "fuzz" / f"fuzz_{target}", f"-max_len={longest}",
               f"-timeout={SLOWEST}", "-report_slow_units=1000", "-print_final_stats=1",
               f"-artifact_prefix={found}/"]
    words = SOURCES / "dict" / f"{target}.dict"
    if words.exists():
        command.append(f"-dict={words}")
    command += [*options, SOURCES / "corpus" / target]
    try:
        done = subprocess.run([str(part) for part in command], check=False, timeout=limit,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=where,
                              env={**os.environ, "UBSAN_OPTIONS": "print_stacktrace=1"})
        said, code = done.stdout.decode(errors="replace"), done.returncode
    except subprocess.TimeoutExpired as error:
        said, code = (error.stdout or b"").decode(errors="replace"), "a time limit"
    logs.write_text(said)
    result = Result(target, _number(r"stat::number_of_executed_units:\s+(\d+)", said),
                    _number(r"stat::average_exec_per_sec:\s+(\d+)", said),
                    _number(r" cov: (\d+)", said), said=said,
                    found=sorted(set(found.iterdir()) - before))
    if code and not result.found:
        result.found = [f"ended with {code}"]
    return result


def tail(result):
    """The lines that say what broke."""
    lines = [line for line in result.said.splitlines()
             if re.search(r"must\(|never:|ERROR:|SUMMARY|runtime error|^\s+#\d+ .* in \w", line)]
    return "\n".join(lines[:30])


# ---------------------------------------------------------------- coverage

def llvm(tool):
    """The tool of the same release as clang, or None."""
    said = subprocess.run(["clang", f"-print-prog-name={tool}"], check=False, text=True,
                          capture_output=True).stdout.strip()
    return said if os.path.isabs(said) else shutil.which(said or tool)


def coverage(results):
    """Replays all inputs in a build that counts regions, and fills in how many of those of the folders that the target is
    about were reached."""
    if not (llvm("llvm-cov") and llvm("llvm-profdata")):
        print("fuzz: no llvm-cov here, so that edges are all that is counted")
        return
    # Also what Meson runs to try the compiler would leave a file behind.
    os.environ["LLVM_PROFILE_FILE"] = os.devnull
    build.build("coverage", "fuzz-targets")
    where = build.folder("coverage")
    for result in results:
        program = where / "tests" / "fuzz" / f"fuzz_{result.target}"
        raw, data = where / f"{result.target}.raw", where / f"{result.target}.data"
        inputs = [folder for folder in (SOURCES / "corpus" / result.target,
                                        build.folder("fuzz") / "corpus" / result.target)
                  if folder.exists() and any(folder.iterdir())]
        subprocess.run([program, *inputs], check=False, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, env={**os.environ, "LLVM_PROFILE_FILE": str(raw)})
        subprocess.run([llvm("llvm-profdata"), "merge", "-o", data, raw], check=True)
        said = subprocess.run([llvm("llvm-cov"), "export", "-summary-only", program,
                               f"-instr-profile={data}"], check=True, stdout=subprocess.PIPE)
        result.regions = regions(json.loads(said.stdout), result.target)


# What each target is about: files below these count.
ABOUT = {
    "proxy": ("src/proxy/", "src/upstream/", "src/proto/", "src/io/stream.c", "src/base/"),
    "redis_request": ("src/proto/redis/",),
    "redis_reply": ("src/proto/redis/reply.c", "src/proto/redis/split.c"),
    "memcache_request": ("src/proto/memcache/",),
    "memcache_reply": ("src/proto/memcache/reply.c",),
    "inline": ("src/proto/redis/inline.c",),
    "conf": ("src/conf/",),
    "endpoint": ("src/conf/endpoint.c",),
    "options": ("src/conf/options.c", "src/conf/key.c"),
}


def regions(exported, target):
    count = covered = 0
    for file in exported["data"][0]["files"]:
        name = os.path.relpath(file["filename"], ROOT) if os.path.isabs(file["filename"]) \
            else file["filename"]
        if any(part in name for part in ABOUT[target]):
            count += file["summary"]["regions"]["count"]
            covered += file["summary"]["regions"]["covered"]
    return f"{covered}/{count} ({100 * covered // max(count, 1)}%)"


# ---------------------------------------------------------------- commands

def short():
    """The stage: the result of each target."""
    build.build("fuzz", "fuzz-targets")

    def one(row):
        # libFuzzer adds what it finds to the first corpus that it is given.
        with tempfile.TemporaryDirectory(prefix="cashew-fuzz-") as folder:
            return run(row[0], row[2], [f"-runs={row[1]}", "-seed=1", folder], 240)

    with ThreadPoolExecutor(2) as pool:
        yield from pool.map(one, TARGETS)


def long(minutes, chosen):
    build.build("fuzz", "fuzz-targets")
    cores = os.cpu_count() or 1
    rows = [row for row in TARGETS if not chosen or row[0] in chosen]
    whole = sum(row[3] for row in rows)
    seconds = minutes * 60 * min(cores, len(rows))

    def one(row):
        mine = build.folder("fuzz") / "corpus" / row[0]
        # One target takes one core at most.
        time = max(1, min(int(seconds * row[3] / whole), int(minutes * 60)))
        mine.mkdir(parents=True, exist_ok=True)
        return run(row[0], row[2], [f"-max_total_time={time}", mine], time + 120)

    with ThreadPoolExecutor(cores) as pool:
        return list(pool.map(one, rows))


def main():
    names = [row[0] for row in TARGETS]
    parser = argparse.ArgumentParser(prog="./dev fuzz")
    parser.add_argument("--minutes", type=float, default=5, help="how long; default 5")
    parser.add_argument("--target", action="append", choices=names, help="only this one; may be "
                        "given more than once")
    arguments = parser.parse_args()
    why = missing()
    if why:
        sys.exit(f"dev: {why}")
    results = long(arguments.minutes, arguments.target)
    coverage(results)
    print(f"{'target':<18}{'executions':>12}{'exec/s':>9}{'edges':>8}  regions of what it is about")
    for result in results:
        print(f"{result.target:<18}{result.executions:>12}{result.per_second:>9}{result.edges:>8}"
              f"  {result.regions}")
    broken = [result for result in results if result.found]
    for result in broken:
        print(f"BROKEN: {result.target}: {', '.join(str(path) for path in result.found)}")
        print(tail(result))
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
