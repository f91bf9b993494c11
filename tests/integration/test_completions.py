# SPDX-License-Identifier: BSD-3-Clause
"""Completions as each shell makes them, from the files in completions/."""

import os
import pty
import select
import shutil
import subprocess
import time

import harness
import pytest

FOLDER = harness.ROOT / "completions"


def needs(shell):
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")


def bash(*words):
    """What bash offers for the last word; it splits words at "="."""
    script = (f"source {FOLDER}/cashew.bash; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); _cashew; "
              "printf '%s\\n' \"${COMPREPLY[@]}\"")
    done = subprocess.run(["bash", "-c", script, "bash", *words], cwd=FOLDER, check=True,
                          capture_output=True, text=True)
    assert done.stderr == ""
    return done.stdout.split()


def fish(line):
    """What fish offers at the end of a line."""
    script = (f"source {FOLDER}/cashew.fish; source {FOLDER}/nutcracker.fish; "
              f"complete -C '{line}'")
    done = subprocess.run(["fish", "--no-config", "-c", script], cwd=FOLDER, check=True,
                          capture_output=True, text=True)
    return [row.split("\t")[0] for row in done.stdout.splitlines()]


def zsh(line, enough):
    """What zsh shows on a terminal for a line that ends in a tab, until `enough` is in it."""
    process, master = pty.fork()
    if process == 0:
        os.chdir(FOLDER)
        os.environ["TERM"] = "dumb"
        os.execvp("zsh", ["zsh", "-f", "-i"])
    start = f"fpath=({FOLDER} $fpath); autoload -Uz compinit; compinit -D -u; setopt no_beep\n"
    os.write(master, start.encode())
    time.sleep(1)
    os.write(master, line.encode() + b"\t\t")
    text, end = "", time.monotonic() + 10
    try:
        while enough not in text and time.monotonic() < end:
            if select.select([master], [], [], 0.2)[0]:
                text += os.read(master, 4096).decode(errors="replace")
    finally:
        os.close(master)
        os.kill(process, 9)
        os.waitpid(process, 0)
    return text


def test_bash():
    assert bash("cashew", "") == ["ring"]
    assert bash("cashew", "--desc") == ["--describe-stats", "--describe-config"]
    assert bash("nutcracker", "--io", "=", "u") == ["uring"]
    assert bash("cashew", "--io", "=") == ["epoll", "uring", "auto"]
    assert bash("cashew", "-c", "cashew.b") == ["cashew.bash"]
    assert bash("cashew", "--conf-file", "=", "cashew.b") == ["cashew.bash"]
    assert bash("cashew", "-s", "") == []
    assert bash("cashew", "ring", "--j") == ["--json"]
    assert bash("cashew", "ring", "pool", "") == []
    assert bash("cashew", "ring", "--diff", "cashew.f") == ["cashew.fish"]
    assert "-t" in bash("cashew", "-") and "-t" not in bash("cashew", "ring", "-")


@needs("fish")
def test_fish():
    assert fish("cashew ") == ["ring"]
    assert set(fish("cashew --desc")) == {"--describe-stats", "--describe-config"}
    assert set(fish("nutcracker --io=")) >= {"--io=epoll", "--io=uring", "--io=auto"}
    assert "cashew.fish" in fish("cashew -c cashew.f")
    assert fish("cashew ring --j") == ["--json"]
    assert fish("cashew ring pool cashew.f") == []
    assert "cashew.fish" in fish("cashew ring --diff cashew.f")


@needs("zsh")
def test_zsh():
    assert "describe-config" in zsh("cashew --desc", "describe-config")
    assert "uring" in zsh("cashew --io=u", "--io=uring")
    assert "json" in zsh("cashew ring --j", "ring --json")


def test_files_of_other_shells_are_words():
    """Where a shell is missing, at least its file is there and names every option."""
    for name in ("_cashew", "cashew.fish", "cashew.bash"):
        text = (FOLDER / name).read_text()
        for option in ("conf-file", "describe-config", "workers", "null", "diff"):
            assert option in text
