#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes the tables of the man pages from the rows of src/*.def: options, keys, names. Each page holds
lines `.\\" begin NAME` and `.\\" end`; what stands between them is made here. --check only looks."""

import sys

import tables
from tables import WORDS, allowed, rows

PAGES = [tables.ROOT / "man" / "cashew.8", tables.ROOT / "man" / "cashew.yml.5"]


def plain(text):
    """Text as roff shows it unchanged."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text[0] in ".'" else text


def item(head, *lines):
    return [".TP", head, *lines]


def option(letter, name, arg, text):
    head = f"\\fB\\-\\-{plain(name)}\\fR" + (f"=\\fI{arg}\\fR" if arg else "")
    if letter:
        head = f"\\fB\\-{letter}\\fR, " + head
    return item(head, plain(text))


def options():
    out = []
    for letter, name, arg, default, text, _ in tables.options():
        text = tables.sentence(text)
        if default:
            text += f" Default: {default}."
        out += option(letter, name, arg, text)
    return out


def ring_options():
    out = []
    for _, (letter, name, arg, text) in rows("ring_options.def"):
        out += option(letter, name, arg, tables.sentence(text))
    return out


def keys(table):
    out = []
    for _, (name, kind, default, low, high, unit, change, text) in rows(table):
        facts = f"Type: {allowed(kind, low, high, unit)}. "
        if default == "REQUIRED":
            facts += "It must be given."
        else:
            facts += f"Default: {default or 'none'}."
        if change != "RESTART":
            facts += f" A new value takes effect {WORDS[change]}."
        out += item(f".B {plain(name)}", plain(tables.sentence(text)), ".br",
                    plain(facts))
    return out


def names(table):
    out = []
    for _, args in rows(table):
        out += item(f".B {plain(args[0])}", plain(tables.sentence(args[-1])))
    return out


TABLES = {
    "options": options,
    "ring options": ring_options,
    "pool keys": lambda: keys("pool_keys.def"),
    "global keys": lambda: keys("global_keys.def"),
    "hashes": lambda: names("hashes.def"),
    "distributions": lambda: names("dists.def"),
    "loops": lambda: names("loops.def"),
}


def fill(page):
    out, skipping = [], False
    for line in page.split("\n"):
        if skipping and line != '.\\" end':
            continue
        skipping = False
        out.append(line)
        if line.startswith('.\\" begin '):
            out += TABLES[line.split(" begin ")[1]]()
            skipping = True
    return "\n".join(out)


if __name__ == "__main__":
    tables.main("gen-man.py", {path: fill(path.read_text()) for path in PAGES}, sys.argv[1:])
