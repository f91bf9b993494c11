#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes the completions of bash, zsh and fish in completions/ from the rows of src/options.def and
src/ring_options.def. --check only looks."""

import sys

import tables

FOLDER = tables.ROOT / "completions"
HEAD = "# SPDX-License-Identifier: BSD-3-Clause\n# Made by scripts/gen-completions.py.\n"


class Option:
    """An option: its letter (or ""), name, text, argument (or None), and what that may be: None for anything,
    "FILE", or a list of words."""

    def __init__(self, letter, name, arg, text, key=None):
        self.letter, self.name, self.arg, self.text = letter, name, arg, text
        kind = tables.globals_by_name()[key][1] if key else None
        self.values = "FILE" if arg == "FILE" else None
        if kind == "LOOP":
            self.values = [args[0] for _, args in tables.rows("loops.def")]
        elif kind == "WORKERS":
            self.values = ["auto"]

    def forms(self):
        return ([f"-{self.letter}"] if self.letter else []) + [f"--{self.name}"]


def options():
    return [Option(letter, name, arg, text, key)
            for letter, name, arg, _, text, key in tables.options()]


def ring_options():
    return [Option(*args) for _, args in tables.rows("ring_options.def")]


# ---------------------------------------------------------------- bash

BASH = """\
_cashew_words() {{
    mapfile -t COMPREPLY < <(compgen -W "$1" -- "$2")
}}

_cashew_files() {{
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$1")
}}

_cashew() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD - 1]}}
    COMPREPLY=()
    # bash takes --name=value for three words.
    if [[ $cur == = ]]; then
        cur=
    elif [[ $prev == = ]]; then
        prev=${{COMP_WORDS[COMP_CWORD - 2]}}
    fi
    if [[ $COMP_CWORD -gt 1 && ${{COMP_WORDS[1]}} == ring ]]; then
        case $prev in
{ring_values}
        esac
        if [[ $cur == -* ]]; then
            _cashew_words "{ring_names}" "$cur"
        elif [[ " ${{COMP_WORDS[*]}} " == *" --diff "* || " ${{COMP_WORDS[*]}} " == *" -d "* ]]; then
            _cashew_files "$cur"
        fi
        return
    fi
    case $prev in
{values}
    esac
    if [[ $cur == -* ]]; then
        _cashew_words "{names}" "$cur"
    elif [[ $COMP_CWORD -eq 1 ]]; then
        _cashew_words ring "$cur"
    fi
}}

complete -F _cashew cashew nutcracker
"""


def bash_values(some):
    lines = []
    for option in some:
        if option.arg is None:
            continue
        what = "return"
        if option.values == "FILE":
            what = '_cashew_files "$cur"; return'
        elif option.values:
            what = f'_cashew_words "{" ".join(option.values)}" "$cur"; return'
        lines.append(f"        {' | '.join(option.forms())}) {what} ;;")
    return lines


def bash():
    def names(some):
        return " ".join(form for option in some for form in option.forms())
    return HEAD + BASH.format(
        values="\n".join(bash_values(options())), names=names(options()),
        ring_values="\n".join("    " + line for line in bash_values(ring_options())),
        ring_names=names(ring_options()))


# ---------------------------------------------------------------- zsh

def zsh_quoted(text):
    return text.replace("\\", "\\\\").replace("'", "'\\''").replace("[", "\\[").replace("]", "\\]")


def zsh_spec(option):
    text = f"[{zsh_quoted(option.text)}]"
    if option.arg:
        action = "_files" if option.values == "FILE" else f"({' '.join(option.values or [])})"
        text += f":{option.arg}:{action if option.values else ' '}"
    sign = "=" if option.arg else ""
    if not option.letter:
        return f"'--{option.name}{sign}{text}'"
    plus = "+" if option.arg else ""
    return (f"'(-{option.letter} --{option.name})'"
            f"{{-{option.letter}{plus},--{option.name}{sign}}}'{text}'")


def zsh():
    lines = ["#compdef cashew nutcracker", HEAD.rstrip(), "",
             "if (( CURRENT > 2 )) && [[ $words[2] == ring ]]; then", "    shift words",
             "    (( CURRENT-- ))", "    _arguments -s \\"]
    lines += [f"        {zsh_spec(option)} \\" for option in ring_options()]
    lines += ["        '*: :_cashew_ring_words'", "else", "    _arguments -s \\"]
    lines += [f"        {zsh_spec(option)} \\" for option in options()]
    lines += ["        '1:command:((ring\\:\"where keys go\"))'", "fi"]
    words = ["_cashew_ring_words() {", "    # Files are the words behind --diff; pools and keys are not known here.",
             "    if (( ${words[(I)-d]} || ${words[(I)--diff]} )); then", "        _files", "    fi", "}", ""]
    return "\n".join(lines[:3] + words + lines[3:]) + "\n"


# ---------------------------------------------------------------- fish

def fish_quoted(text):
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def fish_line(option, condition):
    line = f"complete -c cashew -n {fish_quoted(condition)}"
    if option.letter:
        line += f" -s {option.letter}"
    line += f" -l {option.name}"
    if option.values == "FILE":
        line += " -r -F"
    elif option.arg:
        line += " -x"
        if option.values:
            line += f" -a {fish_quoted(' '.join(option.values))}"
    return line + f" -d {fish_quoted(option.text)}"


def fish():
    ring = "__fish_seen_subcommand_from ring"
    lines = [HEAD + "complete -c cashew -f",
             "complete -c cashew -n __fish_use_subcommand -a ring -d 'where keys go'"]
    lines += [fish_line(option, "not " + ring) for option in options()]
    lines += [fish_line(option, ring) for option in ring_options()]
    lines.append(f"complete -c cashew -n {fish_quoted(ring + '; and __fish_contains_opt -s d diff')} -F")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    tables.main("gen-completions.py", {
        FOLDER / "cashew.bash": bash(),
        FOLDER / "_cashew": zsh(),
        FOLDER / "cashew.fish": fish(),
        FOLDER / "nutcracker.fish": HEAD + "complete -c nutcracker -w cashew\n",
    }, sys.argv[1:])
