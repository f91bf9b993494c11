# SPDX-License-Identifier: BSD-3-Clause
"""`./dev bench --callgrind`: user-mode instructions of a whole proxy per request, counted by
valgrind. Unlike time they hardly depend on what else the machine does."""

import re
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import candidates
import run

# Milliseconds under load; what the longer one has more is what its further requests cost, without
# start, connecting, end and the requests under way at the end.
SPANS = (500, 2500)
VALGRIND = "valgrind --tool=callgrind --callgrind-out-file=/dev/null "


def counted(bench, scenario, candidate, span):
    """One proxy's life under callgrind: (instructions, requests)."""
    folder = Path(tempfile.mkdtemp(dir=bench.folder))
    counting = replace(candidate, command=VALGRIND + candidate.command)
    proxy = candidates.Proxy(counting, folder, bench.servers[scenario.memcache], scenario)
    try:
        raw = bench.call(*scenario.options(), "--warm-up", 0, "--measure", span, "--target",
                         proxy.listen)
    finally:
        proxy.stop()
    if raw["errors"]:
        raise run.Failure(f"{candidate.name}: {raw['first_error']}")
    words = (folder / f"{candidate.name}.out").read_text(errors="replace")
    total = re.search(r"Collected : (\d+)", words)
    if not total:
        raise run.Failure(f"{candidate.name}: valgrind counted nothing:\n{words[-2000:]}")
    return int(total.group(1)), raw["requests"]


def per_request(bench, scenario, candidate, say):
    """None if it could not be counted, which is said."""
    try:
        few, many = (counted(bench, scenario, candidate, span) for span in SPANS)
    except run.Failure as failure:
        say(f"{scenario.name}: {failure}")
        return None
    return (many[0] - few[0]) / max(1, many[1] - few[1])


def compare(bench, scenarios, everyone, say):
    """Prints the table and returns it as {scenario: {candidate: instructions or None}}."""
    if not shutil.which("valgrind"):
        raise run.Failure("valgrind is not installed")
    proxies = [candidate for candidate in everyone if candidate.command]
    print(f"{'instructions per request':<46}" + "".join(f"{c.name:>12}" for c in proxies))
    table = {}
    for scenario in scenarios:
        if scenario.idle:
            continue
        bench.fill(scenario)
        row = {c.name: per_request(bench, scenario, c, say) for c in proxies}
        print(f"{scenario.name + ': ' + scenario.text:<46}"
              + "".join(f"{'-':>12}" if count is None else f"{count:>12,.0f}"
                        for count in row.values()), flush=True)
        table[scenario.name] = row
    return table
