# SPDX-License-Identifier: BSD-3-Clause
"""`./dev bench --micro`: pieces of the data path alone, in nanoseconds and in instructions."""

import json
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

ROUNDS = 1000


def collected(binary, name, rounds, null):
    """All instructions of one run, start and end of the process included."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", str(binary), name,
               str(rounds), *(["null"] if null else [])]
    done = subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                          text=True)
    return int(re.search(r"Collected : (\d+)", done.stderr).group(1))


def instructions(binary, name):
    """Per operation: what a run with more rounds takes beyond one with less, minus the same of the
    null piece."""
    real, null = (collected(binary, name, 2 * ROUNDS, which) - collected(binary, name, ROUNDS, which)
                  for which in (False, True))
    return (real - null) / ROUNDS


def compare(binary, options, say):
    done = subprocess.run([str(binary)], check=True, stdout=subprocess.PIPE, text=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    if options.callgrind and not shutil.which("valgrind"):
        say("valgrind is not installed: no instructions are counted")
    elif options.callgrind:
        say("counting instructions")
        with ThreadPoolExecutor(2) as pool:
            counts = pool.map(lambda row: instructions(binary, row["name"]), rows)
            for row, count in zip(rows, counts):
                row["instructions"] = count
    print(f"{'piece':<28}{'ns':>10}{'least':>10}{'most':>10}{'instructions':>14}")
    for row in rows:
        count = f"{row['instructions']:.0f}" if "instructions" in row else "-"
        print(f"{row['name']:<28}{row['ns']:>10.1f}{row['ns_least']:>10.1f}"
              f"{row['ns_most']:>10.1f}{count:>14}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0
