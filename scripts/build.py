#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Builds cashew with Meson. As a program it makes the optimised binary, build/cashew; as a
module it makes the builds that the tests and linters need, each in a folder of its own."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

COVERED = ["-fprofile-instr-generate", "-fcoverage-mapping"]

# One row a build: folder, compiler, Meson options. build/ is what people run. Those with sanitizers are not optimised
# more than a little: that takes a compiler longer than it saves the tests.
SANITIZED = {"optimization": "1", "c_args": "-g1", "debug_checks": "true", "b_lundef": "false"}
BUILDS = {
    "release": ("build", None, {"buildtype": "release", "b_lto": "true", "tests": "false"}),
    "gcc": ("build-gcc", "gcc", {"buildtype": "debugoptimized", "werror": "true",
                                 "debug_checks": "true"}),
    "clang": ("build-clang", "clang", {"buildtype": "debugoptimized", "werror": "true",
                                       "debug_checks": "true"}),
    "address": ("build-asan", "gcc", {**SANITIZED, "b_sanitize": "address,undefined"}),
    "thread": ("build-tsan", "gcc", {**SANITIZED, "b_sanitize": "thread"}),
    "fuzz": ("build-fuzz", "clang", {**SANITIZED, "fuzz": "true", "werror": "true",
                                     "b_sanitize": "address,undefined"}),
    "coverage": ("build-cov", "clang", {"buildtype": "debugoptimized",
                                        "c_args": " ".join(COVERED), "c_link_args": COVERED[0]}),
}
DEFAULTS = {"werror": "false", "b_lto": "false", "b_sanitize": "none", "debug_checks": "false",
            "tests": "true", "fuzz": "false"}


class BuildError(RuntimeError):
    """Meson or ninja failed; its output is on the terminal."""


def folder(kind):
    return ROOT / BUILDS[kind][0]


def _written(value):
    """An option's value as it is given to Meson."""
    if isinstance(value, list):
        return " ".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _configured(where):
    """The options of an existing build folder, or None."""
    try:
        options = json.loads((where / "meson-info" / "intro-buildoptions.json").read_text())
    except (OSError, ValueError):
        return None
    return {o["name"]: _written(o["value"]) for o in options}


def _call(*command, env=None, quiet=False):
    done = subprocess.run([str(part) for part in command], cwd=ROOT, env=env, check=False,
                          stdout=subprocess.PIPE if quiet else None,
                          stderr=subprocess.STDOUT if quiet else None)
    if quiet and (done.returncode or b"warning: " in done.stdout):
        sys.stdout.write(done.stdout.decode(errors="replace"))
        sys.stdout.flush()
    return done.returncode == 0


def configure(kind):
    """Sets a build folder up, or mends one whose options have changed."""
    where, compiler, options = folder(kind), BUILDS[kind][1], {**DEFAULTS, **BUILDS[kind][2]}
    env = {**os.environ, **({"CC": compiler} if compiler else {})}
    now = _configured(where)
    flags = [f"-D{key}={value}" for key, value in options.items()]
    if now and all(now.get(key) == value for key, value in options.items()):
        return
    again = ["--reconfigure"] if now else []
    if _call("meson", "setup", *again, *flags, where, env=env, quiet=True):
        return
    # A folder of another Meson version, or one half set up, is made anew.
    if not now or not _call("meson", "setup", "--wipe", *flags, where, env=env, quiet=True):
        raise BuildError(f"meson could not set up {where.name}")


def build(kind, *targets):
    """Brings one build up to date, or only these targets of it, and returns the path of its
    cashew. Says nothing but what is wrong."""
    configure(kind)
    where = folder(kind)
    jobs = [f"-j{os.environ['CASHEW_JOBS']}"] if os.environ.get("CASHEW_JOBS") else []
    if not _call("ninja", "-C", where, *jobs, *targets, quiet=True):
        raise BuildError(f"ninja failed in {where.name}")
    link = where / "nutcracker"
    if not link.is_symlink():
        link.symlink_to("cashew")
    return where / "cashew"


def main():
    argparse.ArgumentParser(prog="./dev build", description="Builds the optimised cashew, "
                            "build/cashew.").parse_args()
    print("building the optimised cashew ...", flush=True)
    try:
        binary = build("release")
    except BuildError as error:
        sys.exit(f"dev: {error}")
    print(f"built {binary.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
