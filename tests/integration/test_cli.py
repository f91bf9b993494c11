# SPDX-License-Identifier: BSD-3-Clause
"""The command line: every flag, every error, both names, and the daemon."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import harness
import pytest

PORTS = {}  # by config: where its pool listens


@pytest.fixture
def config(tmp_path):
    """A good config whose pool listens on a free port."""
    path = tmp_path / "good.yml"
    port = harness.free_port()
    path.write_text(harness.pool("p", f"127.0.0.1:{port}", ["127.0.0.1:1:1"]))
    PORTS[path] = port
    return path


def call(*args, name="cashew", cwd=None):
    return subprocess.run([*harness.base_command(name), *map(str, args)], capture_output=True,
                          text=True, timeout=60, cwd=cwd, check=False)


# ---------------------------------------------------------------- flags that end at once

@pytest.mark.parametrize("name", ["cashew", "nutcracker"])
def test_test_conf(config, tmp_path, name):
    for flags in (["-t", "-c", config], ["--test-conf", f"--conf-file={config}"],
                  ["-tc", config, "-v", "11", "-s", "1", "-a", "::1", "-i", "0", "-m", "512", "-d",
                   "-o", tmp_path / "log", "-p", tmp_path / "pid"]):
        done = call(*flags, name=name)
        assert done.returncode == 0
        assert done.stdout == ""
        assert done.stderr == f"{name}: configuration file '{config}' syntax is ok\n"
    assert not (tmp_path / "log").exists()
    assert not (tmp_path / "pid").exists()


def test_mistyped_command(tmp_path):
    done = call("rnig", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "cashew: 'rnig' is not a command (did you mean 'ring'?)\n"


def test_help_names_the_commands():
    assert "cashew ring --help" in call("--help").stderr


@pytest.mark.parametrize("name", ["cashew", "nutcracker"])
@pytest.mark.parametrize("flags", [["-t"], []])
def test_bad_config(tmp_path, name, flags):
    path = tmp_path / "bad.yml"
    path.write_text("p:\n  listen: 127.0.0.1:1\n")
    done = call(*flags, "-c", path, name=name)
    assert done.returncode == 1
    assert done.stderr == (f"{path}:1:1: error: pool 'p' has no 'servers'\n"
                           f"{name}: configuration file '{path}' syntax is invalid\n")


def test_default_config_file(tmp_path):
    done = call("-t", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        "conf/nutcracker.yml: error: cannot be read: No such file or directory\n"
        "cashew: name the configuration file with -c FILE; --help lists all options\n")
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "nutcracker.yml").write_text("p:\n  listen: 127.0.0.1:1\n  servers:\n"
                                                      "   - 127.0.0.1:1:1\n")
    done = call("-t", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (
        0, "cashew: configuration file 'conf/nutcracker.yml' syntax is ok\n")


def test_directory_is_no_config(tmp_path):
    done = call("-t", "-c", tmp_path)
    assert (done.returncode, done.stderr) == (
        1, f"{tmp_path}: error: cannot be read: Is a directory\n"
        "cashew: name the configuration file with -c FILE; --help lists all options\n")


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help(flag):
    done = call(flag)
    assert (done.returncode, done.stdout) == (0, "")
    for word in ("-h, --help", "-V, --version", "-t, --test-conf", "-d, --daemonize",
                 "-D, --describe-stats", "-v, --verbose=N", "-o, --output=", "-c, --conf-file=",
                 "-s, --stats-port=N", "-a, --stats-addr=", "-i, --stats-interval=",
                 "-p, --pid-file=", "-m, --mbuf-size=N", "--workers=N", "--io=NAME",
                 "--describe-config", "(default: 22222)", "(default: conf/nutcracker.yml)"):
        assert word in done.stderr


@pytest.mark.parametrize("flag", ["-V", "--version"])
@pytest.mark.parametrize("name", ["cashew", "nutcracker"])
def test_version(flag, name):
    done = call(flag, name=name)
    assert (done.returncode, done.stdout) == (0, "")
    assert re.match(r"This is cashew-\d+\.\d+\.\d+\n.*nutcracker-0\.5\.0", done.stderr)


@pytest.mark.parametrize("flag", ["-D", "--describe-stats"])
def test_describe_stats(flag):
    done = call(flag)
    assert done.returncode == 0
    for counter in ("client_eof", "server_ejects", "fragments", "server_timedout", "in_queue_bytes",
                    "response_bytes"):
        assert counter in done.stderr


def test_describe_config():
    done = call("--describe-config")
    assert (done.returncode, done.stderr) == (0, "")
    for word in ("listen", "servers", "hash_tag", "server_retry_timeout", "workers",
                 "default: 30000; allowed: 0 to 2147483647; unit: ms",
                 "default: ketama; allowed: ketama, modula, random"):
        assert word in done.stdout


def test_what_ends_at_once_wins_over_the_test(tmp_path):
    """As there: -t with a bad file and -V shows the version."""
    done = call("-Vt", "-c", tmp_path / "no")
    assert (done.returncode, "This is" in done.stderr) == (0, True)


# ---------------------------------------------------------------- errors

ERRORS = [
    (["-x"], "invalid option -- 'x'"),
    (["-h", "-x"], "invalid option -- 'x'"),
    (["-tx"], "invalid option -- 'x'"),
    (["-v"], "option -v requires a number"),
    (["-v", "abc"], "option -v requires a number"),
    (["-v", "-1"], "option -v requires a number"),
    (["-v", ""], "option -v requires a number"),
    (["--verbose=x"], "option -v requires a number"),
    (["-s"], "option -s requires a number"),
    (["-s", "22a"], "option -s requires a number"),
    (["-s", "-1"], "option -s requires a number"),
    (["-s", "0"], "option -s value 0 is not a valid port"),
    (["-s", "70000"], "option -s value 70000 is not a valid port"),
    (["--stats-port"], "option -s requires a number"),
    (["-i"], "option -i requires a number"),
    (["-i", "x"], "option -i requires a number"),
    (["-m"], "option -m requires a number"),
    (["-m", "x"], "option -m requires a non-zero number"),
    (["-m", "0"], "option -m requires a non-zero number"),
    (["-m", "511"], "mbuf chunk size must be between 512 and 16777216 bytes"),
    (["-m", "16777217"], "mbuf chunk size must be between 512 and 16777216 bytes"),
    (["-c"], "option -c requires a file name"),
    (["-o"], "option -o requires a file name"),
    (["-p"], "option -p requires a file name"),
    (["--pid-file"], "option -p requires a file name"),
    (["-a"], "option -a requires a string"),
]

OUR_ERRORS = [
    (["--foobar"], "invalid option -- '--foobar'"),
    (["--stats-prot=1"], "invalid option -- '--stats-prot=1' (did you mean '--stats-port'?)"),
    (["--workers"], "option --workers requires a number or auto"),
    (["--workers=many"], "option --workers: 'many' is not a number for 'workers' (allowed: auto, "
                         "or 1 to 1024 threads)"),
    (["--io=urin"], "option --io: 'urin' is not a way to talk to the kernel (did you mean "
                    "'uring'? allowed: epoll, uring, auto)"),
]


@pytest.mark.parametrize("flags,words", ERRORS + OUR_ERRORS, ids=lambda value: str(value)[:40])
def test_option_errors(flags, words):
    for name in ("cashew", "nutcracker"):
        done = call(*flags, name=name)
        assert (done.returncode, done.stdout) == (1, "")
        lines = done.stderr.splitlines()
        assert lines[0] == f"{name}: {words}"
        assert lines[1].startswith(f"Usage: {name} ")


@pytest.mark.skipif(not Path("/usr/sbin/nutcracker").exists(), reason="nutcracker is not installed")
def test_option_errors_are_nutcrackers():
    for flags, words in ERRORS:
        done = subprocess.run(["/usr/sbin/nutcracker", *flags], capture_output=True, text=True,
                              timeout=60, check=False)
        assert done.returncode == 1
        assert done.stderr.splitlines()[0] == f"nutcracker: {words}"


def test_leniency(config):
    """Taken as nutcracker takes it."""
    for flags in (["-v", "100"], ["-v", "99999999999999999999"], ["-i", "0"],
                  ["-i", "99999999999"], ["extra", "words"], ["--verb=3"], ["-a", "foo"],
                  ["-m", "16777216"], ["-s65535"]):
        assert call("-t", "-c", config, *flags).returncode == 0, flags


def test_test_conf_knows_the_least_memory(config, tmp_path):
    """A limit with which no start would succeed is told by -t too; a flag counts."""
    path = tmp_path / "memory.yml"
    path.write_text("global: {memory_limit: 31m, workers: 2}\n" + config.read_text())
    done = call("-t", "-c", path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{path}:1:24: error: memory_limit is 32505856 bytes, but 2 worker(s) need at "
                                  "least 33554432 (16m each)\n")
    assert done.stderr.endswith(f"configuration file '{path}' can't be started with\n")
    assert call("-t", "-c", path, "--workers=1").returncode == 0


# ---------------------------------------------------------------- start and end

def test_bad_places(config, tmp_path):
    """What can't be opened is told at the start, and the exit code is 1."""
    stats = ["-a", "127.0.0.1", "-s", harness.free_port()]
    log = tmp_path / "log"
    for flags, words in (
            (["-o", "/nope/log", *stats], "/nope/log"),
            (["-p", "/nope/pid", "-o", log, *stats], "/nope/pid"),
            (["-s", stats[3], "-a", "no address", "-o", log], "no address")):
        for background in ([], ["-d"]):
            done = call("-c", config, *flags, *background)
            assert done.returncode == 1, (flags, background, done.stderr)
            assert words in done.stderr
    assert not harness.is_listening(PORTS[config])


def test_address_in_use(config, tmp_path, cashew):
    proxy = cashew(config)
    for background in ([], ["-d"]):
        done = call("-c", config, "-a", "127.0.0.1", "-s", harness.free_port(), "-o",
                    tmp_path / "log", *background)
        assert done.returncode == 1
        assert str(PORTS[config]) in done.stderr and "in use" in done.stderr
    assert proxy.running()


def test_pid_file(config, tmp_path, cashew):
    pid_file = tmp_path / "pid"
    pid_file.write_text("99999999\nstale and longer than a pid\n")
    proxy = cashew(config, args=["-p", pid_file])
    harness.wait_for(lambda: pid_file.read_text() == str(proxy.pid), what="our pid in the file")
    assert proxy.stop() == 0
    assert not pid_file.exists()


def test_pid_file_of_another_stays(config, tmp_path, cashew):
    pid_file = tmp_path / "pid"
    proxy = cashew(config, args=["-p", pid_file])
    harness.wait_for(lambda: pid_file.exists() and pid_file.read_text() == str(proxy.pid))
    pid_file.write_text("1")
    assert proxy.stop() == 0
    assert pid_file.read_text() == "1"


def gone(pid):
    """The process has ended; as nobody's child but init's, or ours, it may be a zombie still."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_daemon(config, tmp_path):
    pid_file, log = tmp_path / "pid", tmp_path / "log"
    done = call("-d", "-c", config, "-p", pid_file, "-o", log, "-a", "127.0.0.1", "-s",
                harness.free_port(), cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    # It serves by the time the start has returned.
    assert harness.is_listening(PORTS[config])
    pid = int(pid_file.read_text())
    try:
        assert pid_file.read_text() == str(pid)
        assert pid_file.stat().st_mode & 0o777 == 0o644
        assert os.getpgid(pid) != pid and os.getsid(pid) not in (pid, os.getsid(0))
        assert Path(f"/proc/{pid}/cwd").resolve() == tmp_path.resolve()
        status = Path(f"/proc/{pid}/status").read_text()
        assert re.search(r"^Umask:\s+0000$", status, re.M)
        for fd in (0, 1, 2):
            assert os.readlink(f"/proc/{pid}/fd/{fd}") == "/dev/null"
        client = harness.Raw(PORTS[config])
        client.send(b"version\r\n")
        assert client.recv_until(b"\r\n").startswith(b"SERVER_ERROR")
        client.close()
    finally:
        os.kill(pid, signal.SIGTERM)
    harness.wait_for(lambda: gone(pid), timeout=15, what="the daemon's end")
    assert not pid_file.exists()
    assert "started on pid" in log.read_text()
    assert not harness.is_listening(PORTS[config])


def test_settings_of_the_file_and_flags_over_them(config, tmp_path):
    """`global:` does what the flags do, and a flag is stronger."""
    pid_file, log, other = tmp_path / "pid", tmp_path / "log", tmp_path / "other"
    port = harness.free_port()
    config.write_text(f"global:\n  daemonize: true\n  pid_file: {pid_file}\n  output: {log}\n"
                      f"  stats_addr: 127.0.0.1\n  stats_port: {port}\n  workers: 2\n"
                      + config.read_text())
    done = call("-c", config, "-o", other)
    assert (done.returncode, done.stderr) == (0, "")
    pid = int(pid_file.read_text())
    try:
        assert harness.is_listening(port)
        assert "started on pid" in other.read_text()
        assert not log.exists()
    finally:
        os.kill(pid, signal.SIGTERM)
    harness.wait_for(lambda: gone(pid), timeout=15, what="the daemon's end")


def test_start_in_background_returns_soon(config, tmp_path):
    began = time.monotonic()
    pid_file = tmp_path / "pid"
    done = call("-d", "-c", config, "-p", pid_file, "-o", tmp_path / "log", "-a", "127.0.0.1",
                "-s", harness.free_port())
    took = time.monotonic() - began
    os.kill(int(pid_file.read_text()), signal.SIGTERM)
    assert done.returncode == 0
    assert took < 10
