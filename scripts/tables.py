# SPDX-License-Identifier: BSD-3-Clause
"""The tables in src/*.def, as the generators of man pages, documentation and completions read them."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)\'|[(),]|[^\s(),"\']+')
WORDS = {"RESTART": "at a restart"}
TYPES = {"ENDPOINT": "address", "SERVERS": "list", "COMMANDS": "mapping", "BOOL": "true or false", "NUMBER": "number",
         "SIZE": "size", "WORKERS": "number", "TEXT": "text", "TAG": "two characters", "LOOP": "name",
         "HASH": "name", "DIST": "name",
         "ON_EJECT": "name", "SHARE": "number or percentage"}


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


def globals_by_name():
    return {args[0]: args for _, args in rows("global_keys.def")}


def options():
    """The rows of options.def: (letter or "", name, name of its argument or None, default or None, text, key of
    global_keys.def or None)."""
    settings = globals_by_name()
    for macro, args in rows("options.def"):
        letter, name, text, arg, default, key = args[0], args[1], args[-1], None, None, None
        if macro == "VALUE":
            arg, default = args[7], args[4]
        elif macro == "SETTING":
            arg, key = args[3], args[2]
            default = settings[key][2] if arg else None
        yield "" if letter == "0" else letter, name, arg, default, text, key


def sentence(text):
    """Text of a row as a sentence; a value or name at its front keeps its small letters."""
    first = text.split(" ", 1)[0]
    return (text[0].upper() + text[1:] if first.isalpha() else text) + "."


def allowed(kind, low, high, unit):
    if kind in ("NUMBER", "SIZE", "WORKERS"):
        auto = "auto, or a " if kind == "WORKERS" else ""
        letters = ", or with k, m or g: KiB, MiB, GiB" if kind == "SIZE" else ""
        return f"{auto}{TYPES[kind]}, {low} to {high}" + (f" {unit}" if unit else "") + letters
    if kind == "SHARE":
        return f"{low} to {high}" + (f" {unit}" if unit else "") + ", or 0% to 100%"
    tables = {"HASH": "hashes.def", "DIST": "dists.def", "LOOP": "loops.def",
              "ON_EJECT": "on_ejects.def"}
    if kind in tables:
        return "one of " + ", ".join(args[0] for _, args in rows(tables[kind]))
    return TYPES[kind]


def update(files, check):
    """Writes the files ({path: text}) that are not so already, or, to check, only names them. Returns those."""
    stale = []
    for path, text in files.items():
        if not path.exists() or path.read_text() != text:
            stale.append(str(path.relative_to(ROOT)))
            if not check:
                path.parent.mkdir(exist_ok=True)
                path.write_text(text)
    return stale


def main(script, files, arguments):
    """What every generator does with its files; --check only looks."""
    check = "--check" in arguments
    stale = update(files, check)
    if stale and check:
        raise SystemExit(f"not up to date, run scripts/{script}: " + ", ".join(stale))
