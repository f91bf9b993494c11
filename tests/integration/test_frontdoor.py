# SPDX-License-Identifier: BSD-3-Clause
"""What a newcomer meets first: ./dev, the tour of `./dev run`, and an installation."""

import os
import re
import shutil
import signal
import subprocess

import harness
import pytest

PYTHON = "/usr/bin/python3"


def dev(*args, **options):
    return subprocess.run([harness.ROOT / "dev", *args], check=False, capture_output=True,
                          text=True, timeout=60, **options)


def test_help_names_every_command():
    done = dev("help")
    assert done.returncode == 0
    for command in ("run", "test", "build", "san", "chaos", "lint", "fmt", "help"):
        assert re.search(rf"^  {command} ", done.stdout, re.M)


@pytest.mark.parametrize("command", ["run", "build", "test", "san", "fuzz", "chaos", "bench", "package",
                                     "lint", "fmt"])
def test_help_of_a_command_tells_of_it_and_starts_nothing(command, tmp_path):
    tools = tmp_path / "tools"  # nothing can be built or installed with these
    tools.mkdir()
    for name in ("sh", "cat", "cut", "dirname", "grep"):
        (tools / name).symlink_to(shutil.which(name))
    done = dev(command, "--help", env={"PATH": str(tools), "CASHEW_BIN": "/nonexistent"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: ./dev {command} ") and not done.stderr


def test_unknown_command_and_stage_are_refused():
    assert dev("dance").returncode == 2
    done = dev("test", "no-such-stage")
    assert done.returncode == 1 and "there are build, floors" in done.stderr


# ---------------------------------------------------------------- ./dev run

def children_of(pid):
    """The processes whose parent is `pid`."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as stat:
                    fields = stat.read().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid:
                found.append(int(entry))
    return found


class Run:
    """scripts/run.py, as `./dev run` calls it once all is installed."""

    def __init__(self, folder, *args, env=None):
        self.out = folder / "out"
        with open(self.out, "wb") as out:
            self.process = subprocess.Popen(
                [PYTHON, harness.ROOT / "scripts" / "run.py", *args], stdout=out, stderr=out,
                env={**os.environ, "CASHEW_BIN": str(harness.binary()), **(env or {})})

    def text(self):
        return self.out.read_text(errors="replace")

    def wait_for(self, text):
        harness.wait_for(lambda: text in self.text() or self.process.poll() is not None, 60, text)
        assert text in self.text(), self.text()

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(30)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_shows_the_tour_and_ends_all_that_it_started(ending, tmp_path, number):
    run = ending.add(Run(tmp_path))
    run.wait_for("until Ctrl-C")
    text = run.text()
    assert text.count("behind it:") == 2 and "MGET" in text and "requests," in text
    assert text.count("holds") == 4 and "holds none of them" not in text
    started = children_of(run.process.pid)
    assert len(started) == 5
    folder = re.search(r"(/\S*/cashew-run-[^/\s]+)/", text).group(1)
    for port in re.findall(r"redis-cli -p (\d+)", text):
        with harness.Raw(int(port)) as conn:
            assert conn.send(b"PING\r\n").recv_until() == b"+PONG\r\n"
    run.process.send_signal(number)
    assert run.process.wait(30) == 0
    assert not [pid for pid in started if os.path.exists(f"/proc/{pid}")]
    assert not os.path.exists(folder)


def test_run_ends_its_servers_when_the_proxy_cannot_start(ending, tmp_path):
    own = tmp_path / "tmp"
    own.mkdir()
    run = ending.add(Run(tmp_path, "--no-such-flag", env={"TMPDIR": str(own)}))
    assert run.process.wait(60) == 1
    assert "cashew did not start" in run.text()
    assert not list(own.iterdir())


def test_run_takes_a_config_of_the_users_own(ending, redis_server, tmp_path):
    port, stats_port = harness.free_port(), harness.free_port()
    config = tmp_path / "my.yml"
    config.write_text(harness.pool("mine", port, [redis_server], redis=True))
    run = ending.add(Run(tmp_path, "-c", str(config), "-s", str(stats_port), "-a", "127.0.0.1"))
    harness.wait_for(lambda: harness.is_listening(port), 20, "the proxy's port")
    with harness.Raw(port) as conn:
        assert conn.send(harness.resp("SET", "a", "b")).recv_until() == b"+OK\r\n"
    assert redis_server.client().get("a") == b"b"
    assert children_of(run.process.pid) == []
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait(30) == 0


# ---------------------------------------------------------------- installation

@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    build = harness.binary().parent
    if not (build / "build.ninja").exists() or shutil.which("meson") is None:
        pytest.skip(f"{harness.binary()} stands in no build folder")
    root = tmp_path_factory.mktemp("root")
    # The prefix of a build folder is set when it is set up; every one of ours has the default.
    done = subprocess.run(["meson", "install", "-C", build, "--no-rebuild", "--quiet"],
                          env={**os.environ, "DESTDIR": str(root)}, check=False,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return root / "usr" / "local"


def test_installation_is_complete(installed):
    files = {str(path.relative_to(installed)) for path in installed.rglob("*")
             if not path.is_dir()}
    for wanted in ("sbin/cashew", "sbin/nutcracker", "share/man/man8/cashew.8",
                   "share/man/man8/nutcracker.8", "share/man/man5/cashew.yml.5",
                   "share/doc/cashew/README.md", "share/doc/cashew/examples/cashew.yml"):
        assert wanted in files, sorted(files)
    examples = {path.name for path in (harness.ROOT / "conf").iterdir()}
    assert {path.name for path in (installed / "share/doc/cashew/examples").iterdir()} == examples


@pytest.mark.parametrize("name", ["cashew", "nutcracker"])
def test_installed_program_runs_under_both_names(installed, name, tmp_path):
    config = tmp_path / "c.yml"
    config.write_text(harness.pool("a", harness.free_port(), ["127.0.0.1:1:1"]))
    done = subprocess.run([installed / "sbin" / name, "-t", "-c", config], check=False,
                          capture_output=True, text=True, timeout=30)
    assert done.returncode == 0
    assert done.stderr == f"nutcracker: configuration file '{config}' syntax is ok\n" \
        or done.stderr == f"{name}: configuration file '{config}' syntax is ok\n"


# ---------------------------------------------------------------- the checks themselves

FLOOR_CASES = {
    "upward": ("proto/a.c", '#include "upstream/pool.h"', "upstairs"),
    "sibling": ("proto/a.c", '#include "route/dist.h"', "sibling"),
    "protocol beside": ("proto/redis/a.c", '#include "proto/memcache/line.h"', "sibling"),
    "table from base": ("base/a.c", '#include "hashes.def"', "upstairs"),
    "epoll outside io": ("proxy/a.c", "#include <sys/epoll.h>", "belongs to io"),
    "openssl outside io": ("proxy/a.c", "#include <openssl/ssl.h>", "belongs to io"),
    "yaml outside conf": ("run/a.c", "#include <libfyaml.h>", "belongs to conf"),
    "clock in route": ("route/a.c", "#include <time.h>", "has no descriptor"),
    "unknown": ("proxy/a.c", '#include "proxy/none.h"', "is not in src/"),
    "own header not first": ("io/stream.c", '#include "io/loop.h"', "does not come first"),
    "main included": ("run/a.c", '#include "main.c"', "upstairs"),
}


@pytest.mark.parametrize("case", FLOOR_CASES)
def test_floors_check_sees(case, tmp_path):
    place, line, words = FLOOR_CASES[case]
    source = tmp_path / "src"
    for name in ("proto/memcache/line.h", "route/dist.h", "upstream/pool.h", "hashes.def",
                 "io/loop.h", "io/stream.h", "main.c", place):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text("")
    check = harness.ROOT / "scripts" / "check-floors"
    assert subprocess.run([check, source], check=False, capture_output=True).returncode == 0
    (source / place).write_text(line + "\n")
    done = subprocess.run([check, source], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"src/{place}:1: " in done.stdout and words in done.stdout
