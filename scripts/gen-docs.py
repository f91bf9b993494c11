#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes the tables of docs/configuration.md and docs/commands-memcached.md from the rows of src/*.def: what stands between the lines
`<!-- begin NAME -->` and `<!-- end -->` is made here. --check only looks."""

import sys

import tables
from tables import WORDS, rows

PAGES = [tables.ROOT / "docs" / name for name in ("configuration.md", "commands-memcached.md")]

# By the shape of a memcached command: what becomes of it.
WAYS = {"KEYS": "split", "EXPTIME_KEYS": "split", "FLUSH": "all servers", "LEVEL": "local", "QUIT": "local",
        "STATS": "local", "META_NOOP": "local", "BARE": "forwarded", "REFUSED": "refused"}


def plain(text):
    """Text as Markdown shows it unchanged."""
    for sign in "\\<>*_[]`|":
        text = text.replace(sign, "\\" + sign)
    return text


def values(kind, low, high, unit):
    names = {"HASH": "a name of [Hashes](#hashes)", "DIST": "a name of [Distributions](#distributions)",
             "LOOP": "a name of [Loops](#loops)"}
    return names[kind] if kind in names else plain(tables.allowed(kind, low, high, unit))


def when(change):
    """When a new value takes effect, unless it is the way of all keys, which the page says once."""
    return "" if change == "RESTART" else f"; a new value takes effect {WORDS[change]}"


def keys(table):
    out = []
    for _, (name, kind, default, low, high, unit, change, text) in rows(table):
        given = "must be given" if default == "REQUIRED" else \
            f"default `{default}`" if default else "no default"
        out += [f"### {name}", "", plain(tables.sentence(text)), "",
                f"*{values(kind, low, high, unit)}; {given}{when(change)}*",
                ""]
    return out


def names(table):
    out = ["| name | what it is |", "|---|---|"]
    out += [f"| `{args[0]}` | {plain(args[-1])} |" for _, args in rows(table)]
    return out + [""]


def memcache_commands(table):
    out = ["| command | way | what it does |", "|---|---|---|"]
    out += [f"| `{args[0]}` | {WAYS.get(args[1], 'forwarded')} | {plain(args[-1])} |" for _, args in rows(table)]
    return out + [""]


TABLES = {
    "memcached commands": lambda: memcache_commands("memcache_commands.def"),
    "pool keys": lambda: keys("pool_keys.def"),
    "global keys": lambda: keys("global_keys.def"),
    "hashes": lambda: names("hashes.def"),
    "distributions": lambda: names("dists.def"),
    "loops": lambda: names("loops.def"),
}


def fill(page):
    out, skipping = [], False
    for line in page.split("\n"):
        if skipping and line != "<!-- end -->":
            continue
        skipping = False
        out.append(line)
        if line.startswith("<!-- begin "):
            out += [""] + TABLES[line.removeprefix("<!-- begin ").removesuffix(" -->")]()
            skipping = True
    return "\n".join(out)


if __name__ == "__main__":
    tables.main("gen-docs.py", {page: fill(page.read_text()) for page in PAGES}, sys.argv[1:])
