#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Runs the tests in stages and counts every one of them: `./dev test` and `./dev san`.

A stage returns what it counted. One that cannot run counts as a failure, a skip is printed with
its reason, and the last line is the sum over everything."""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import build
import fuzz

ROOT = build.ROOT
CORES = 2  # what the tests are planned for; more would hide what is slow
SIDE_BY_SIDE = 4  # integration tests: more than cores, since most of their time is waiting
UNIT_TIMEOUT = 240
PYTEST_LIMIT = 1800  # seconds of all the integration tests, under whatever sanitizer
CHECK_LIMIT = 300
SANITIZED = {"ASAN_OPTIONS": "detect_stack_use_after_return=1",
             "UBSAN_OPTIONS": "print_stacktrace=1"}


@dataclass
class Count:
    """How many tests passed, which failed and which were skipped, and why."""
    passed: int = 0
    failed: list = field(default_factory=list)
    skipped: list = field(default_factory=list)

    def __iadd__(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        return self

    def __str__(self):
        return f"{self.passed} passed, {len(self.failed)} failed, {len(self.skipped)} skipped"


# ---------------------------------------------------------------- unit tests

TAP_LINE = re.compile(r"^\s*(not )?ok\b\s*\d*\s*-?\s*([^#]*)(?:#\s*(SKIP)\b\s*(.*))?", re.I)
TAP_PLAN = re.compile(r"^\s*1\.\.(\d+)\s*$")


def count_tap(label, output, code):
    """Counts the lines of one program. An end without the promised tests is a failure, too."""
    count, promised, seen = Count(), 0, 0
    for line in output.splitlines():
        plan, test = TAP_PLAN.match(line), TAP_LINE.match(line)
        promised += int(plan.group(1)) if plan else 0
        if not test:
            continue
        seen += 1
        name = f"{label}: {test.group(2).strip()}"
        if test.group(3):
            count.skipped.append((name, test.group(4) or "no reason given"))
        elif test.group(1):
            count.failed.append(name)
        else:
            count.passed += 1
    if code and not count.failed:
        count.failed.append(f"{label}: ended with {code}")
    elif not seen or seen < promised:
        count.failed.append(f"{label}: {seen} of {promised} tests reported")
    return count


def aslr_off():
    """A prefix that keeps addresses where older sanitizer libraries expect them."""
    command = ["setarch", "-R"]
    if shutil.which("setarch") and subprocess.run([*command, "true"], check=False,
                                                  capture_output=True).returncode == 0:
        return command
    return []


def run_unit(test, wrapper, env):
    label = "unit/" + (test["suite"][0].split(":")[-1] + "/" if test["suite"] else "") \
        + test["name"]
    try:
        done = subprocess.run([*wrapper, *test["cmd"]], env={**os.environ, **env, **test["env"]},
                              cwd=test["workdir"] or ROOT, timeout=UNIT_TIMEOUT, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        output, code = done.stdout.decode(errors="replace"), done.returncode
    except subprocess.TimeoutExpired as error:
        output = (error.stdout or b"").decode(errors="replace")
        code = f"a timeout of {UNIT_TIMEOUT} s"
    except OSError as error:
        output, code = "", str(error)
    count = count_tap(label, output, code)
    if count.failed:
        print(f"---- {label}\n{output[-6000:]}")
    return count


def unit(kind, wrapper=(), env=None):
    """The unit tests of one build."""
    build.build(kind)
    listed = subprocess.run(["meson", "introspect", "--tests", str(build.folder(kind))],
                            check=True, stdout=subprocess.PIPE)
    tests = json.loads(listed.stdout)
    total = Count()
    if not tests:
        total.failed.append(f"unit tests ({kind}): there are none")
    with ThreadPoolExecutor(CORES) as pool:
        for count in pool.map(lambda test: run_unit(test, list(wrapper), env or {}), tests):
            total += count
    return total


# ---------------------------------------------------------------- integration tests

def count_junit(path):
    count = Count()
    for case in xml.etree.ElementTree.parse(path).getroot().iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        skip = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            count.failed.append(name)
        elif skip is not None:
            count.skipped.append((name, skip.get("message") or "no reason given"))
        else:
            count.passed += 1
    # A test that fails and then fails to end is one failed test.
    count.failed = list(dict.fromkeys(count.failed))
    return count


def integration(binary, marks="not long", env=None, tests=(), may_be_empty=False):
    """pytest over tests/integration against one binary."""
    with tempfile.TemporaryDirectory(prefix="cashew-junit-") as folder:
        report = Path(folder) / "junit.xml"
        command = ["/usr/bin/python3", "-m", "pytest", "-q", "-n", str(SIDE_BY_SIDE), "--dist",
                   "loadfile", "-m", marks, f"--junitxml={report}", "--tb=short",
                   "--durations=10", "--durations-min=5",
                   *(tests or ["."])]
        try:
            code = subprocess.run(command, cwd=ROOT / "tests" / "integration", check=False,
                                  timeout=PYTEST_LIMIT, env={**os.environ, "CASHEW_BIN": str(binary),
                                                             **(env or {})}).returncode
        except subprocess.TimeoutExpired:
            return Count(failed=[f"pytest did not end within {PYTEST_LIMIT} s"])
        count = count_junit(report) if report.exists() else Count()
    none = not (count.passed or count.failed or count.skipped)
    if code not in (0, 1, 5) and not count.failed:
        count.failed.append(f"pytest ended with {code}")
    elif none and not may_be_empty:
        count.failed.append("pytest ran no test")
    return count


# ---------------------------------------------------------------- checks and stages

def check(name, *command):
    """One program that must end with 0 counts as one test."""
    done = subprocess.run([str(part) for part in command], cwd=ROOT, check=False,
                          timeout=CHECK_LIMIT)
    return Count(failed=[name]) if done.returncode else Count(passed=1)


def stage_build():
    build.build("gcc")
    return Count(passed=1)


def stage_floors():
    return check("floors", ROOT / "scripts" / "check-floors")


def stage_headers():
    return check("headers", ROOT / "scripts" / "check-headers")


def stage_generated():
    """Every generator finds that the files it would write are those that are there."""
    total = Count()
    for script in sorted((ROOT / "scripts").glob("gen-*.py")):
        total += check(script.name, "/usr/bin/python3", script, "--check")
    return total


def stage_unit():
    return unit("gcc")


def stage_integration():
    return integration(build.build("gcc"), env={"CASHEW_IO": "epoll"})


def stage_uring():
    """Where the kernel forbids io_uring, cashew says so at once and with a reason; that is a skip."""
    binary = build.build("gcc")
    with tempfile.TemporaryDirectory(prefix="cashew-loop-") as folder:
        config = Path(folder) / "probe.yml"
        config.write_text("p: {listen: /nowhere/at/all, servers: [127.0.0.1:1:1]}\n")
        said = subprocess.run([binary, "-c", config, "--io=uring"], check=False, timeout=60,
                              capture_output=True, text=True).stderr
    lacks = [line for line in said.splitlines() if "uring" in line]
    if lacks:
        return Count(skipped=[("integration tests, io_uring loop", lacks[0])])
    return integration(binary, env={"CASHEW_IO": "uring"})


def chaos(kind, *options):
    """Clients with tokens between failing servers: one test for each configuration of the proxy."""
    binary = build.build(kind)
    done = subprocess.run(["/usr/bin/python3", ROOT / "tests" / "chaos" / "chaos.py", "--build",
                           kind, *options], check=False, stdout=subprocess.PIPE, text=True,
                          env={**os.environ, "CASHEW_BIN": str(binary)})
    print(done.stdout, end="", flush=True)
    lines = [line.partition(": ")[2] for line in done.stdout.splitlines()]
    count = Count(passed=sum(" rounds in " in line for line in lines))
    count.skipped += [("chaos", line.partition(": ")[2]) for line in lines
                      if line.startswith("skipped: ")]
    if done.returncode:
        count.failed.append("chaos: " + next((line for line in lines if "seed" in line), ""))
    return count


def stage_chaos():
    return chaos("gcc", "--seconds", "8", "--round-seconds", "2")


def stage_chaos_long():
    count = chaos("release", "--minutes", "5")
    count += chaos("address", "--minutes", "3", "--bound", "20")
    count += chaos("thread", "--minutes", "3", "--bound", "20")
    return count


def stage_clang():
    return unit("clang")


def stage_asan():
    """With the build of the fuzz targets, so that one compilation by clang serves for both."""
    return unit("fuzz", aslr_off(), SANITIZED)


def sanitized_integration(kind, env=None, **options):
    return integration(build.build(kind, "cashew"), env={**SANITIZED, "CASHEW_SANITIZED": kind,
                                               "CASHEW_WRAPPER": " ".join(aslr_off()),
                                               **(env or {})}, **options)


def stage_fuzz():
    """The corpus is played by the unit tests; here the fuzzer itself looks for more, for a short while."""
    why = fuzz.missing()
    if why:
        return Count(skipped=[("fuzz targets under libFuzzer", why)])
    count = Count()
    for result in fuzz.short():
        if result.found:
            count.failed.append(f"fuzz/{result.target}: {result.found[0]}")
            print(fuzz.tail(result))
        else:
            count.passed += 1
    return count


def stage_tsan():
    return sanitized_integration("thread", {"CASHEW_WORKERS": "2"}, tests=TSAN_TESTS)


def stage_long():
    return integration(build.build("release"), marks="long", may_be_empty=True)


def stage_release():
    return integration(build.build("release"))


def stage_asan_integration():
    """Also the unit tests, since this is gcc, and the other stage is clang."""
    count = unit("address", aslr_off(), SANITIZED)
    count += sanitized_integration("address")
    return count


def stage_tsan_integration():
    count = unit("thread", aslr_off())
    count += sanitized_integration("thread", {"CASHEW_WORKERS": "2"})
    return count


def stage_chroot():
    """A clean clone in fresh Debian systems, as a new user would try it."""
    count = Count()
    for release in ("bookworm", "trixie"):
        name = f"fresh {release}"
        done = subprocess.run([ROOT / "scripts" / "try-in-chroot.sh", release], check=False)
        if done.returncode == 77:
            count.skipped.append((name, "needs root, debootstrap and a Debian mirror"))
        elif done.returncode:
            count.failed.append(name)
        else:
            count.passed += 1
    return count


# The part of the integration tests that runs under TSan in every `./dev test`.
TSAN_TESTS = ["test_harness.py", "test_memcache_commands.py", "test_stats.py",
              "test_signals_logs.py", "test_health.py", "test_sessions.py"]

# One row a stage: name, function, whether a plain `./dev test` runs it, help.
STAGES = [
    ("build", stage_build, True, "everything with gcc -Werror"),
    ("floors", stage_floors, True, "includes go down only"),
    ("headers", stage_headers, True, "each header compiles alone"),
    ("generated", stage_generated, True, "generated files are up to date"),
    ("unit", stage_unit, True, "unit tests"),
    ("integration", stage_integration, True, "real servers, epoll loop"),
    ("chaos", stage_chaos, True, "clients with tokens and failing servers, a short run"),
    ("asan", stage_asan, True, "unit tests, clang -Werror, under ASan and UBSan"),
    ("fuzz", stage_fuzz, True, "a short run of each fuzz target"),
    ("tsan", stage_tsan, True, "some integration tests under TSan, 2 workers"),
    ("clang", stage_clang, False, "unit tests, clang -Werror, without sanitizers"),
    ("uring", stage_uring, False, "integration tests, io_uring loop"),
    ("release", stage_release, False, "integration tests of the optimised binary"),
    ("chaos-long", stage_chaos_long, False, "the same for minutes, also under ASan and TSan"),
    ("long", stage_long, False, "tests marked long, optimised binary"),
    ("asan-integration", stage_asan_integration, False, "unit and integration tests, gcc's ASan and UBSan"),
    ("tsan-integration", stage_tsan_integration, False, "unit and integration tests, TSan"),
    ("chroot", stage_chroot, False, "a clean clone on fresh Debian 12 and 13"),
]

# What `./dev san NAME` runs; `undefined` comes with `address`.
SANITIZERS = {
    "address": lambda: (stage_asan_integration,),
    "undefined": lambda: (stage_asan_integration,),
    "thread": lambda: (stage_tsan_integration,),
}


def cpu_seconds():
    """What this process and all that it started and saw end have used so far."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def run_stages(stages):
    """Runs (name, function) pairs; returns the sum, and of each the seconds, those of the CPU,
    and the count."""
    total, rows = Count(), []
    for name, function in stages:
        print(f"==== {name}", flush=True)
        start, cpu = time.monotonic(), cpu_seconds()
        try:
            count = function()
        except KeyboardInterrupt:
            count = Count(failed=[f"{name}: interrupted"])
        except Exception as error:  # pylint: disable=broad-except
            print(f"{name}: {error}")
            count = Count(failed=[f"{name}: could not run ({error})"])
        rows.append((name, time.monotonic() - start, cpu_seconds() - cpu, count))
        total += count
        if count.failed == [f"{name}: interrupted"]:
            break
    return total, rows


def summary(total, rows):
    print("==== summary")
    for name, reason in total.skipped:
        print(f"skipped: {name}: {reason}")
    for name in total.failed:
        print(f"FAILED: {name}")
    # On a busy machine the seconds of the CPU tell what is slow, and the others do not.
    for name, seconds, cpu, count in [*rows, ("total", *(sum(row[i] for row in rows)
                                                         for i in (1, 2)), "")]:
        print(f"{name:<17}{seconds:7.1f} s {cpu:7.1f} s of CPU   {count}".rstrip())
    print(total, flush=True)


def chosen(arguments):
    if arguments.san:
        for name in arguments.stage or ["address", "thread"]:
            if name not in SANITIZERS:
                sys.exit(f"dev: no sanitizer '{name}'; there are {', '.join(SANITIZERS)}")
        functions = [function for name in arguments.stage or ["address", "thread"]
                     for function in SANITIZERS[name]()]
        return [(name, function) for name, function, _, _ in STAGES if function in functions]
    known = [row[0] for row in STAGES]
    for name in arguments.stage:
        if name not in known:
            sys.exit(f"dev: no stage '{name}'; there are {', '.join(known)}")
    return [(name, function) for name, function, always, _ in STAGES
            if (name in arguments.stage if arguments.stage else always or arguments.all)]


def test_parser():
    parser = argparse.ArgumentParser(prog="./dev test", formatter_class=argparse.
                                     RawDescriptionHelpFormatter, epilog="stages:\n" + "\n".join(
                                         f"  {name:<17}{text}{'' if always else ' (--all)'}"
                                         for name, _, always, text in STAGES))
    parser.add_argument("--all", action="store_true", help="also the stages that take long")
    parser.add_argument("stage", nargs="*", help="run only these")
    parser.set_defaults(san=False)
    return parser


def san_parser():
    parser = argparse.ArgumentParser(
        prog="./dev san", description="Unit and integration tests under a sanitizer.")
    parser.add_argument("--san", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("stage", nargs="*", metavar="SANITIZER",
                        help=f"{', '.join(SANITIZERS)}; without one: address and thread")
    return parser


def main():
    parser = san_parser() if "--san" in sys.argv else test_parser()
    # SIGTERM must end what pytest started, as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    total, rows = run_stages(chosen(parser.parse_args()))
    summary(total, rows)
    sys.exit(1 if total.failed or not total.passed else 0)


if __name__ == "__main__":
    main()
