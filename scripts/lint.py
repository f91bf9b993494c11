#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""`./dev lint` and `./dev fmt`: clang-format, clang-tidy and cppcheck over our C, and what is at
hand for the scripts. Their findings differ from release to release, so all are those of Debian
12; on other systems the C part is a skip."""

import argparse
import json
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import build

ROOT = build.ROOT
CORES = 2

CPPCHECK = ["cppcheck", "--quiet", "--error-exitcode=1", "--enable=warning,performance,portability",
            "--inline-suppr", "--std=c11", "--library=posix", "-Isrc", f"-j{CORES}",
            # The system's headers are not our business; what is used of them comes from --library.
            "--suppress=missingIncludeSystem",
            # X-macros over a .def table leave it configurations without the macro, which no
            # compiler ever sees.
            "--suppress=unknownMacro"]


def sources(*suffixes):
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "src", "bench",
                             "tests"],
                            cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    return [name for name in listed.splitlines()
            if name.endswith(suffixes) and (ROOT / name).is_file()]


def call(command):
    done = subprocess.run([str(part) for part in command], cwd=ROOT, check=False, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout


def lint_format(fix=False):
    flags = ["-i"] if fix else ["--dry-run", "-Werror"]
    code, output = call(["clang-format-14", *flags, *sources(".c", ".h")])
    print(output, end="")
    return code == 0


def tidy_one(name):
    code, output = call(["clang-tidy-14", "--quiet", "-p", build.folder("clang"), name])
    return code == 0, output


def lint_tidy():
    build.configure("clang")
    database = json.loads((build.folder("clang") / "compile_commands.json").read_text())
    built = {str((Path(row["directory"]) / row["file"]).resolve().relative_to(ROOT))
             for row in database}
    fine = True
    with ThreadPoolExecutor(CORES) as pool:
        for good, output in pool.map(tidy_one, sorted(built & set(sources(".c")))):
            fine = fine and good
            if not good:
                print(output)
    return fine


def lint_cppcheck():
    code, output = call([*CPPCHECK, *[name for name in sources(".c")
                                      if name.startswith(("src/", "bench/"))]])
    print(output, end="")
    return code == 0


def lint_shell():
    """Not pinned, so only where it is installed."""
    fine = True
    scripts = ["dev", *[str(p.relative_to(ROOT)) for p in (ROOT / "scripts").glob("*.sh")]]
    for tool in (["dash", "-n"], ["shellcheck"]):
        if shutil.which(tool[0]):
            for script in scripts:
                code, output = call([*tool, script])
                print(output, end="")
                fine = fine and code == 0
    return fine


CHECKS = [("clang-format", lint_format), ("clang-tidy", lint_tidy), ("cppcheck", lint_cppcheck),
          ("shell", lint_shell)]


def fmt_parser():
    parser = argparse.ArgumentParser(prog="./dev fmt", description="Formats the C code in place.")
    parser.add_argument("--fix", action="store_true", help=argparse.SUPPRESS)
    return parser


def lint_parser():
    parser = argparse.ArgumentParser(prog="./dev lint", description="Checks format and code.")
    parser.add_argument("check", nargs="*", help="only these: "
                        + ", ".join(name for name, _ in CHECKS))
    parser.set_defaults(fix=False)
    return parser


def main():
    parser = fmt_parser() if "--fix" in sys.argv else lint_parser()
    arguments = parser.parse_args()
    missing = [tool for tool in ("clang-format-14", "clang-tidy-14", "cppcheck")
               if not shutil.which(tool)]
    if missing:
        print(f"lint: skipped: no {', '.join(missing)} (the linters are those of Debian 12)")
        return
    if arguments.fix:
        sys.exit(0 if lint_format(fix=True) else 1)
    failed = []
    for name, function in CHECKS:
        if arguments.check and name not in arguments.check:
            continue
        start = time.monotonic()
        try:
            fine = function()
        except build.BuildError as error:
            print(f"lint: {error}")
            fine = False
        print(f"{name:<13}{time.monotonic() - start:6.1f} s   {'ok' if fine else 'FAILED'}",
              flush=True)
        if not fine:
            failed.append(name)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
