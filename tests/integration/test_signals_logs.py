# SPDX-License-Identifier: BSD-3-Clause
"""Logs and signals: the form of a line, rotation, levels, and the orderly end."""

import re
import signal
import socket
import subprocess
import threading
import time
from collections import Counter

import harness
import pytest

LINE = re.compile(r"\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\.\d{3}\] ([\w.-]+\.[ch]:\d+) ([^\n\x00-\x1f]*)")


def checked(text):
    """The lines as (second, place, text); each must have twemproxy's form."""
    assert text == "" or text.endswith("\n")
    lines = []
    for line in text.split("\n")[:-1]:
        match = LINE.fullmatch(line)
        assert match, f"not a line of a log: {line!r}"
        lines.append(match.groups())
    return lines


def logged(proxy, text):
    """Waits until the log has it."""
    harness.wait_for(lambda: text in proxy.log(), 5, f"{text!r} in the log")


def count_after(proxy, number, text):
    """Sends a signal and waits for one more line with this text."""
    before = proxy.log().count(text)
    proxy.signal(number)
    harness.wait_for(lambda: proxy.log().count(text) == before + 1, 5, f"{text!r} in the log")


@pytest.fixture
def proxy(cashew, redis_server):
    return cashew(harness.pool("p", harness.free_port(), [redis_server], redis=True))


def ping(proxy):
    with harness.Raw(proxy.ports[0]) as client:
        client.send(harness.resp("PING"))
        assert client.recv_until() == b"+PONG\r\n"


# ---------------------------------------------------------------- lines

def test_form_of_the_lines(proxy):
    ping(proxy)
    assert proxy.stop() == 0
    lines = checked(proxy.log())
    assert any(f"started on pid {proxy.pid}" in text for _, _, text in lines)
    local = time.strftime("%Y-%m-%d %H")
    assert lines[-1][0].startswith(local[:10])


def test_stderr_without_a_log_file(redis_server, tmp_path):
    port = harness.free_port()
    config = tmp_path / "c.yml"
    config.write_text(harness.pool("p", port, [redis_server], redis=True))
    with open(tmp_path / "stderr", "wb") as err:
        process = subprocess.Popen([*harness.base_command(), "-c", config, "-s",
                                    str(harness.free_port()), "-a", "127.0.0.1"], stderr=err)
    try:
        # It listens before it takes signals.
        harness.wait_for(lambda: " started on pid " in (tmp_path / "stderr").read_text(), 15, "the start")
        process.send_signal(signal.SIGHUP)
        harness.wait_for(lambda: "SIGHUP" in (tmp_path / "stderr").read_text(), 5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
    checked((tmp_path / "stderr").read_text())


def test_every_level_without_a_special_build(cashew, redis_server):
    broken = {}
    for level in (0, 5, 6, 11):
        proxy = cashew(harness.pool("p", harness.free_port(), [redis_server], redis=True),
                       args=["-v", str(level)])
        ping(proxy)
        with harness.Raw(proxy.ports[0]) as client:
            client.send(b"*1\r\n$x\r\n")
            assert client.recv_until().startswith(b"-ERR Protocol error")
        assert proxy.stop() == 0
        broken[level] = sum("framed" in text for _, _, text in checked(proxy.log()))
    assert broken == {0: 0, 5: 0, 6: 1, 11: 1}


def test_clients_cannot_forge_lines(cashew, redis_server, memcached_servers):
    ports = [harness.free_port(), harness.free_port()]
    proxy = cashew(harness.pool("r", ports[0], [redis_server], redis=True)
                   + harness.pool("m", ports[1], memcached_servers(1)), args=["-v", "11"])
    evil = b"x\n[2026-01-01 00:00:00.000] core.c:1 forged \x1b[2J\r\t\x7f%s%n"
    for port, data in ((ports[0], harness.resp(evil) + harness.resp("GET", evil)),
                       (ports[0], b"*1\r\n$" + evil + b"\r\n"),
                       (ports[0], evil + b"\r\n"),
                       (ports[1], b"get " + evil + b"\r\n"), (ports[1], evil + b"\r\n"),
                       (ports[1], b"set " + evil + b" 0 0 1\r\nx\r\n")):
        with harness.Raw(port) as client:
            client.send(data)
            client.recv_all(0.3)
    assert proxy.stop() == 0
    for _, place, _ in checked(proxy.log()):
        assert place != "core.c:1"
    assert "\x1b" not in proxy.log() and "\x7f" not in proxy.log()


def test_a_fault_that_repeats_does_not_fill_the_disk(cashew):
    port, dead = harness.free_port(), harness.free_port()
    proxy = cashew(harness.pool("p", port, [f"127.0.0.1:{dead}:1"], redis=True))
    for _ in range(300):
        with harness.Raw(port) as client:
            client.send(harness.resp("GET", "k") * 20 + harness.resp("nonsense", "x"))
            for _ in range(21):
                assert client.recv_until().startswith(b"-ERR ")
    per_site = Counter((second, place) for second, place, _ in checked(proxy.log()))
    # The second of the limit and the second of the line need not begin together.
    assert max(per_site.values(), default=0) <= 40
    ping(proxy)


# ---------------------------------------------------------------- signals

def test_hangup_reopens_the_log(proxy):
    rotated = proxy.log_path.with_name("log.1")
    for turn in range(3):
        proxy.log_path.rename(rotated)
        proxy.signal(signal.SIGHUP)
        harness.wait_for(lambda: "reopened" in proxy.log(), 5, "a new log")
        assert f"signal {int(signal.SIGHUP)} (SIGHUP)" in rotated.read_text()
        assert rotated.read_text() and proxy.log() and turn < 3
        checked(proxy.log())
        checked(rotated.read_text())
    ping(proxy)
    assert proxy.stop() == 0
    assert "SIGTERM" in proxy.log() and "SIGTERM" not in rotated.read_text()


def test_hangup_without_a_place_for_the_log_keeps_the_old_one(proxy):
    rotated = proxy.log_path.with_name("log.1")
    proxy.log_path.rename(rotated)
    proxy.log_path.mkdir()
    proxy.signal(signal.SIGHUP)
    harness.wait_for(lambda: "Is a directory" in rotated.read_text(), 5)
    proxy.log_path.rmdir()
    count = rotated.read_text().count("\n")
    proxy.signal(signal.SIGUSR1)
    harness.wait_for(lambda: rotated.read_text().count("\n") == count + 1, 5)
    ping(proxy)


def test_levels_by_signal(proxy):
    for level in (6, 7, 8, 9, 10, 11, 11):
        count_after(proxy, signal.SIGTTIN, f"(SIGTTIN), log level is {level} now")
    ping(proxy)
    for level in (10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0):
        count_after(proxy, signal.SIGTTOU, f"(SIGTTOU), log level is {level} now")
    ping(proxy)
    checked(proxy.log())


def test_signals_without_effect(proxy):
    count_after(proxy, signal.SIGUSR1, "(SIGUSR1)")
    count_after(proxy, signal.SIGUSR2, "(SIGUSR2)")
    proxy.signal(signal.SIGPIPE)
    ping(proxy)
    assert proxy.stop() == 0


# ---------------------------------------------------------------- the end

@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_idle_ends_at_once(proxy, raw, number):
    idle = raw(proxy.ports[0])
    idle.send(harness.resp("GET", "k"))
    assert idle.recv_until() == b"$-1\r\n"
    begin = time.monotonic()
    proxy.signal(number)
    assert proxy.wait() == 0
    assert time.monotonic() - begin < 3
    assert idle.closed()
    lines = checked(proxy.log())
    assert any(f"signal {int(number)} ({number.name}), exiting" in line for _, _, line in lines)


def answering(release, reply=b"$5\r\nhello\r\n"):
    """A server that answers each GET, but not before it is released."""
    def handler(conn):
        try:
            while True:
                conn.recv_until(b"\r\nk\r\n")
                release.wait(20)
                conn.send(reply)
        except (EOFError, OSError):
            pass
    return handler


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_requests_in_flight_are_answered(cashew, fake_server, raw, number):
    release = threading.Event()
    server = fake_server(answering(release))
    port = harness.free_port()
    proxy = cashew(harness.pool("p", port, [server], redis=True))
    clients = [raw(port) for _ in range(5)]
    for client in clients:
        client.send(harness.resp("GET", "k") * 3)
    harness.wait_for(lambda: proxy.stats()["p"][server.address]["out_queue"] == 15, 5)
    proxy.signal(number)
    harness.wait_for(lambda: not harness.is_listening(port) or not accepts(port), 5,
                     "the end of accepting")
    time.sleep(0.2)
    assert proxy.running()
    release.set()
    for client in clients:
        assert client.recv_exact(33) == b"$5\r\nhello\r\n" * 3
        assert client.closed()
    assert proxy.wait() == 0


def accepts(port):
    """Whether a new client is served."""
    try:
        with harness.Raw(port, timeout=0.3) as client:
            client.send(harness.resp("PING"))
            return client.recv_until() == b"+PONG\r\n"
    except (OSError, EOFError, TimeoutError):
        return False


def test_second_signal_ends_at_once(cashew, fake_server, raw):
    server = fake_server()
    port = harness.free_port()
    proxy = cashew(harness.pool("p", port, [server], redis=True), env=harness.FORCED_END)
    client = raw(port)
    client.send(harness.resp("GET", "k"))
    harness.wait_for(lambda: proxy.stats()["p"][server.address]["out_queue"] == 1, 5)
    proxy.signal(signal.SIGTERM)
    logged(proxy, "(SIGTERM), exiting")
    time.sleep(0.3)
    assert proxy.running()
    begin = time.monotonic()
    proxy.signal(signal.SIGTERM)
    assert proxy.wait() == 1
    assert time.monotonic() - begin < 3
    assert "again, ending at once" in proxy.log()
    assert client.closed()


def test_shutdown_timeout(cashew, fake_server, raw):
    server = fake_server()
    port = harness.free_port()
    proxy = cashew("global: {shutdown_timeout: 700}\n"
                   + harness.pool("p", port, [server], redis=True), env=harness.FORCED_END)
    client = raw(port)
    client.send(harness.resp("GET", "k"))
    harness.wait_for(lambda: proxy.stats()["p"][server.address]["out_queue"] == 1, 5)
    begin = time.monotonic()
    proxy.signal(signal.SIGTERM)
    assert proxy.wait() == 1
    assert 0.6 < time.monotonic() - begin < 5
    assert "not all was answered within 700 ms, ending at once" in proxy.log()


@pytest.mark.long
def test_orderly_end_has_a_bound(cashew, fake_server, raw):
    server = fake_server()
    port = harness.free_port()
    proxy = cashew(harness.pool("p", port, [server], redis=True), env=harness.FORCED_END)
    client = raw(port)
    client.send(harness.resp("GET", "k"))
    harness.wait_for(lambda: proxy.stats()["p"][server.address]["out_queue"] == 1, 5)
    begin = time.monotonic()
    proxy.signal(signal.SIGTERM)
    assert proxy.wait() == 1
    assert 5 < time.monotonic() - begin < 14
    assert "ending at once" in proxy.log()


def test_late_requests_time_out_during_the_end(cashew, fake_server, raw):
    server = fake_server()
    port = harness.free_port()
    proxy = cashew(harness.pool("p", port, [server], redis=True, timeout=500))
    client = raw(port)
    client.send(harness.resp("GET", "k"))
    harness.wait_for(lambda: proxy.stats()["p"][server.address]["out_queue"] == 1, 5)
    proxy.signal(signal.SIGTERM)
    assert client.recv_until().startswith(b"-ERR Connection timed out")
    assert client.closed()
    assert proxy.wait() == 0


def test_statistics_are_served_until_the_end(cashew, fake_server, raw):
    release = threading.Event()
    server = fake_server(answering(release))
    port = harness.free_port()
    proxy = cashew(harness.pool("p", port, [server], redis=True))
    client = raw(port)
    client.send(harness.resp("GET", "k"))
    harness.wait_for(lambda: proxy.stats()["p"][server.address]["out_queue"] == 1, 5)
    proxy.signal(signal.SIGTERM)
    logged(proxy, "(SIGTERM), exiting")
    assert proxy.stats()["p"][server.address]["out_queue"] == 1
    release.set()
    assert client.recv_exact(11) == b"$5\r\nhello\r\n"
    assert proxy.wait() == 0
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", proxy.stats_port), 1).close()
