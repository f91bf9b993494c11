#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes the tables of the man pages from the rows of src/*.def: options, keys, names. Each page holds
lines `.\\" begin NAME` and `.\\" end`; what stands between them is made here. --check only looks."""

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "man" / "cashew.8", ROOT / "man" / "cashew.yml.5"]
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)\'|[(),]|[^\s(),"\']+')
WORDS = {"RESTART": "at a restart"}
TYPES = {"ENDPOINT": "address", "SERVERS": "list", "BOOL": "true or false", "NUMBER": "number",
         "WORKERS": "number or auto", "TEXT": "text", "TAG": "two characters", "LOOP": "name",
         "HASH": "name", "DIST": "name"}


def rows(name):
    """The rows of a table: (macro, arguments); text as str, NULL as None, words as themselves."""
    text = re.sub(r"/\*.*?\*/", "", (ROOT / "src" / name).read_text(), flags=re.S)
    tokens = TOKEN.findall(text)
    out, at = [], 0
    while at < len(tokens):
        macro, at = tokens[at], at + 2
        args, current = [], []
        while True:
            token, at = tokens[at], at + 1
            if token in ",)":
                args.append(value(current))
                current = []
                if token == ")":
                    break
            else:
                current.append(token)
        out.append((macro, args))
    return out


def value(tokens):
    if tokens == ["NULL"]:
        return None
    if tokens[0][0] in "\"'":
        return "".join(ast.literal_eval(token) for token in tokens)
    return tokens[0]


def plain(text):
    """Text as roff shows it unchanged."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text[0] in ".'" else text


def item(head, *lines):
    return [".TP", head, *lines]


def globals_by_name():
    return {args[0]: args for _, args in rows("global_keys.def")}


def options():
    settings, out = globals_by_name(), []
    for macro, args in rows("options.def"):
        letter, name, text, arg, default = args[0], args[1], args[-1], None, None
        if macro == "VALUE":
            arg, default = args[7], args[4]
        elif macro == "SETTING":
            arg = args[3]
            default = settings[args[2]][2] if arg else None
        head = f"\\fB\\-\\-{plain(name)}\\fR" + (f"=\\fI{arg}\\fR" if arg else "")
        if letter != "0":
            head = f"\\fB\\-{letter}\\fR, " + head
        text = text[0].upper() + text[1:] + "."
        if default:
            text += f" Default: {default}."
        out += item(head, plain(text))
    return out


def allowed(kind, low, high, unit):
    if kind in ("NUMBER", "WORKERS"):
        auto = "auto, or " if kind == "WORKERS" else ""
        return f"{TYPES[kind]}, {auto}{low} to {high}" + (f" {unit}" if unit else "")
    tables = {"HASH": "hashes.def", "DIST": "dists.def", "LOOP": "loops.def"}
    if kind in tables:
        return "one of " + ", ".join(args[0] for _, args in rows(tables[kind]))
    return TYPES[kind]


def keys(table):
    out = []
    for _, (name, kind, default, low, high, unit, change, text) in rows(table):
        facts = f"Type: {allowed(kind, low, high, unit)}. "
        if default == "REQUIRED":
            facts += "It must be given."
        else:
            facts += f"Default: {default or 'none'}."
        facts += f" A new value takes effect {WORDS[change]}."
        out += item(f".B {plain(name)}", plain(text[0].upper() + text[1:] + "."), ".br",
                    plain(facts))
    return out


def names(table):
    out = []
    for _, args in rows(table):
        out += item(f".B {plain(args[0])}", plain(args[-1][0].upper() + args[-1][1:] + "."))
    return out


TABLES = {
    "options": options,
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


def main():
    stale = []
    for path in PAGES:
        old = path.read_text()
        new = fill(old)
        if old != new:
            stale.append(path.name)
            if "--check" not in sys.argv[1:]:
                path.write_text(new)
    if stale and "--check" in sys.argv[1:]:
        sys.exit("not up to date, run scripts/gen-man.py: " + ", ".join(stale))


if __name__ == "__main__":
    main()
