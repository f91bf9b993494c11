# SPDX-License-Identifier: BSD-3-Clause
"""What ./dev bench prints and writes: figures summed up, tables, and a plot of the ratios."""

import html
import math
from statistics import median

BASE = "nutcracker"
RELAY = "haproxy"
DIRECT = "direct"
OURS = "cashew"
COLOURS = ["#0b6e4f", "#b5651d", "#3b5b92", "#8a2b6f", "#5c5c5c", "#a38900"]


def spread(values):
    """Median, least and greatest; None if there is none."""
    values = [value for value in values if value is not None]
    return (median(values), min(values), max(values)) if values else None


def paired(runs, name, figure, base=BASE):
    """The ratios of a candidate to another one, each within one repeat."""
    others = {run["repeat"]: run.get(figure) for run in runs if run["candidate"] == base}
    return [run[figure] / others[run["repeat"]] for run in runs
            if run["candidate"] == name and run.get(figure) and others.get(run["repeat"])]


def inverse(ratios):
    return [1 / ratio for ratio in ratios]


FIGURES = ["cpu", "rps", "p50", "p99", "p999", "rss", "memory", "busy", "server_cpu", "others",
           "idle_rss", "idle_cpu"]


def summarise(runs, names):
    """One row a candidate: each figure as (median, least, greatest)."""
    rows = []
    for name in names:
        mine = [run for run in runs if run["candidate"] == name]
        row = {figure: spread([run.get(figure) for run in mine]) for figure in FIGURES}
        row["candidate"] = name
        row["errors"] = [run["error"] for run in mine if run.get("error")]
        # Above 1 is better than nutcracker ...
        row["cpu_ratio"] = spread(inverse(paired(runs, name, "cpu")))
        row["rps_ratio"] = spread(paired(runs, name, "rps"))
        # ... and these are plain shares: of what it gives without a proxy, and of what it costs.
        row["rps_of_direct"] = spread(paired(runs, name, "rps", DIRECT))
        row["cpu_of_relay"] = spread(paired(runs, name, "cpu", RELAY))
        row["cpu_of_ours"] = spread(paired(runs, name, "cpu", OURS))
        rows.append(row)
    return rows


def number(value):
    """Three digits, and no exponent."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def ranged(figure, unit=1.0):
    if figure is None:
        return "-"
    middle, least, most = (number(value / unit) for value in figure)
    return middle if least == most else f"{middle} ({least}-{most})"


def middle(figure, unit=1.0):
    return "-" if figure is None else number(figure[0] / unit)


HEAD = ["candidate", "CPU s/Mreq", "req/s", "p50/p99/p99.9 us", "RSS MiB", "KiB/client",
        "busy threads", "req/s : direct", "CPU : haproxy", "CPU : cashew", "CPU ratio",
        "throughput ratio"]
IDLE_HEAD = ["candidate", "CPU us/connect", "connects/s", "p50/p99/p99.9 us", "RSS MiB",
             "RSS B/idle", "idle CPU %", "CPU : cashew", "CPU ratio", "rate ratio"]


def cells(row, idle):
    latency = "/".join(middle(row[name]) for name in ("p50", "p99", "p999"))
    line = [row["candidate"], ranged(row["cpu"]), middle(row["rps"]), latency,
            middle(row["rss"], 1 << 20)]
    if idle:
        line += [middle(row["idle_rss"]), middle(row["idle_cpu"]), ranged(row["cpu_of_ours"])]
    else:
        line += [middle(row["memory"], 1 << 10),
                 "-" if row["busy"] is None else f"{row['busy'][0]:.0f}",
                 ranged(row["rps_of_direct"]), ranged(row["cpu_of_relay"]),
                 ranged(row["cpu_of_ours"])]
    return line + [ranged(row["cpu_ratio"]), ranged(row["rps_ratio"])]


def title(result):
    busy = spread([row["others"][0] for row in result["summary"] if row["others"]])
    others = f"; other programs used {100 * busy[0]:.0f} % of the machine" if busy else ""
    return f"{result['name']}: {result['text']}{others}"


def table(result):
    """One scenario as text."""
    lines = [IDLE_HEAD if result["idle"] else HEAD]
    lines += [cells(row, result["idle"]) for row in result["summary"]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = [title(result)]
    for line in lines:
        padded = [line[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(line[1:], widths[1:])]
        text.append("  " + "  ".join(padded).rstrip())
    text += [f"  ERROR {row['candidate']}: {error}" for row in result["summary"]
             for error in row["errors"]]
    return "\n".join(text)


def markdown(results, about):
    lines = [about, ""]
    for result in results:
        head = IDLE_HEAD if result["idle"] else HEAD
        lines += [f"**{title(result)}**", "", "| " + " | ".join(head) + " |",
                  "|---|" + "---:|" * (len(head) - 1)]
        lines += ["| " + " | ".join(cells(row, result["idle"])) + " |"
                  for row in result["summary"]]
        lines += [f"\nError, {row['candidate']}: {error}" for row in result["summary"]
                  for error in row["errors"]]
        lines.append("")
    return "\n".join(lines)


class Plot:
    """Ratios on a logarithmic axis: a dot for the median, a line from least to greatest."""
    LEFT, RIGHT, TOP, STEP, PAD = 250, 30, 70, 15, 12

    def __init__(self, results):
        self.results = results
        self.names = list(dict.fromkeys(row["candidate"] for result in results
                                        for row in result["summary"]
                                        if row["cpu_ratio"] and row["candidate"] != BASE))
        ends = [end for result in results for row in result["summary"]
                if row["candidate"] in self.names and row["cpu_ratio"]
                for end in row["cpu_ratio"][1:]] or [1]
        self.low = min(0.5, *ends) / 1.1
        self.high = max(2, *ends) * 1.1
        self.width = 900

    def x(self, ratio):
        room = self.width - self.LEFT - self.RIGHT
        part = math.log(ratio / self.low) / math.log(self.high / self.low)
        return round(self.LEFT + part * room, 1)

    def axis(self, bottom):
        out = []
        for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50):
            if self.low <= tick <= self.high:
                x, stroke = self.x(tick), "#333" if tick == 1 else "#ddd"
                out.append(f'<line x1="{x}" y1="{self.TOP - 8}" x2="{x}" y2="{bottom}" '
                           f'stroke="{stroke}"/>')
                out.append(f'<text x="{x}" y="{bottom + 16}" text-anchor="middle">{tick:g}</text>')
        return out

    def legend(self):
        out = []
        for i, name in enumerate(self.names):
            x, colour = self.LEFT + 130 * i, COLOURS[i % len(COLOURS)]
            out.append(f'<circle cx="{x}" cy="44" r="5" fill="{colour}"/>')
            out.append(f'<text x="{x + 10}" y="48">{html.escape(name)}</text>')
        return out

    def row(self, y, colour, ratio):
        mid, least, most = (self.x(value) for value in ratio)
        return [f'<line x1="{least}" y1="{y}" x2="{most}" y2="{y}" stroke="{colour}" '
                'stroke-width="3" stroke-opacity="0.45"/>',
                f'<circle cx="{mid}" cy="{y}" r="5" fill="{colour}">'
                f'<title>{ratio[0]:.2f}</title></circle>']

    def svg(self):
        y, body = self.TOP, []
        for result in self.results:
            rows = {row["candidate"]: row["cpu_ratio"] for row in result["summary"]}
            label = html.escape(f"{result['name']} {result['text']}")
            centre = y + self.STEP * (len(self.names) - 1) / 2 + 4
            body.append(f'<text x="{self.LEFT - 14}" y="{centre}" text-anchor="end">{label}</text>')
            for i, name in enumerate(self.names):
                if rows.get(name):
                    body += self.row(y, COLOURS[i % len(COLOURS)], rows[name])
                y += self.STEP
            y += self.PAD
        head = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {y + 30}" '
                'font-family="sans-serif" font-size="12">',
                f'<rect width="{self.width}" height="{y + 30}" fill="#fff"/>',
                '<text x="14" y="22" font-size="15">How many times less CPU per request than '
                'nutcracker (median and range, right is better)</text>']
        return "\n".join([*head, *self.axis(y), *self.legend(), *body, "</svg>"]) + "\n"
