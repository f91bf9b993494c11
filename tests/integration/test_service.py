# SPDX-License-Identifier: BSD-3-Clause
"""cashew as a service: what it tells systemd, the user it becomes, and the files around it that are shipped."""

import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import harness
import pytest

PACKAGING = harness.ROOT / "packaging"
USER = "nobody"  # of every Debian, and of no group that means something

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def place():
    """A folder that everybody may enter, and that belongs to root."""
    folder = Path(tempfile.mkdtemp(prefix="cashew-service-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def users_place(place):
    """A folder in it that belongs to USER."""
    folder = place / "users"
    folder.mkdir()
    os.chown(folder, pwd.getpwnam(USER).pw_uid, pwd.getpwnam(USER).pw_gid)
    return folder


def configuration(listen=None, **keys):
    """One pool before a server that isn't there, and these keys of `global`."""
    text = "".join(f"  {key}: {value}\n" for key, value in keys.items())
    return (f"global:\n{text}" if text else "") + harness.pool(
        "alpha", listen or harness.free_port(), [1], redis=True)


def run_once(config, place, *args, wrapper=()):
    """Starts it, when that is expected to fail or to return; the finished process."""
    path = place / "cashew.yml"
    path.write_text(config)
    command = [*wrapper, *harness.base_command(), "-c", path, "-s", harness.free_port(), "-a", "127.0.0.1", *args]
    return subprocess.run([str(part) for part in command], cwd=place, timeout=30, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


# ---------------------------------------------------------------- the service manager

class Manager:
    """The end of systemd: a socket that states come to."""

    def __init__(self, name):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind("\0" + name[1:] if name[0] == "@" else name)
        self.sock.settimeout(10)

    def state(self):
        """The next state, as a dict."""
        return dict(line.split("=", 1) for line in self.sock.recv(4096).decode().splitlines())

    def close(self):
        self.sock.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request, place, ending):
    name = f"@cashew-test-{os.getpid()}" if request.param == "abstract" else str(place / "notify")
    listener = ending.add(Manager(name))
    listener.name = name
    if request.param == "path":
        os.chmod(name, 0o777)
    return listener


def test_ready_and_stopping(manager, cashew):
    proxy = cashew(configuration(), env={"NOTIFY_SOCKET": manager.name})
    state = manager.state()
    assert state["READY"] == "1"
    # A wrapper of the tests executes cashew, and so has its pid.
    assert int(state["MAINPID"]) == proxy.pid
    assert proxy.stop() == 0
    assert manager.state() == {"STOPPING": "1"}


def test_ready_comes_when_it_accepts(manager, cashew):
    proxy = cashew(configuration(), env={"NOTIFY_SOCKET": manager.name}, wait=False)
    manager.state()
    assert harness.is_listening(proxy.ports[0]) and harness.is_listening(proxy.stats_port)
    proxy.wait_listening()


def test_a_daemon_names_itself(manager, place, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", manager.name)
    done = run_once(configuration(), place, "-d", "-o", place / "log", "-p", place / "pid")
    assert done.returncode == 0, done.stdout
    pid = int(manager.state()["MAINPID"])
    assert pid == int((place / "pid").read_text())
    os.kill(pid, signal.SIGTERM)
    assert manager.state() == {"STOPPING": "1"}
    harness.wait_for(lambda: not (place / "pid").exists(), 10, "the end of the daemon")


@root_only
def test_ready_as_another_user(manager, cashew):
    cashew(configuration(user=USER), env={"NOTIFY_SOCKET": manager.name})
    assert manager.state()["READY"] == "1"


@pytest.mark.parametrize("name", ["/nowhere/socket", "relative", "@", "/" + "x" * 200])
def test_nobody_to_tell(name, cashew):
    """That is no reason not to serve, but it is said."""
    proxy = cashew(configuration(), env={"NOTIFY_SOCKET": name})
    harness.wait_for(lambda: "can't reach the service manager" in proxy.log(), 5, "the log line")
    with harness.Raw(proxy.ports[0]) as raw:
        assert raw.send(b"PING\r\n").recv_until() == b"+PONG\r\n"


# ---------------------------------------------------------------- becoming a user

def status_of(pid, thread=None):
    path = f"/proc/{pid}/task/{thread}/status" if thread else f"/proc/{pid}/status"
    return dict(line.split(":", 1) for line in Path(path).read_text().splitlines())


@root_only
@pytest.mark.parametrize("group", [None, "daemon"])
def test_all_of_it_becomes_the_user(group, cashew):
    keys = {"user": USER, "workers": 2, **({"group": group} if group else {})}
    proxy = cashew(configuration(**keys))
    uid = pwd.getpwnam(USER).pw_uid
    gid = int(subprocess.check_output(["getent", "group", group]).split(b":")[2]) if group \
        else pwd.getpwnam(USER).pw_gid
    threads = os.listdir(f"/proc/{proxy.pid}/task")
    assert len(threads) >= 3
    for thread in threads:
        status = status_of(proxy.pid, thread)
        assert status["Uid"].split() == [str(uid)] * 4
        assert status["Gid"].split() == [str(gid)] * 4
        assert status["Groups"].split() == [str(gid)]
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(status[name], 16) == 0, name
        assert status["NoNewPrivs"].strip() == "1"
    # So it is only for a process that may leave a core.
    assert os.stat(f"/proc/{proxy.pid}/fd").st_uid == uid
    with harness.Raw(proxy.ports[0]) as raw:
        assert raw.send(b"PING\r\n").recv_until() == b"+PONG\r\n"
    assert f"running as user '{USER}' ({uid}:{gid})" in proxy.log()


@root_only
def test_a_port_that_only_root_may_bind(cashew):
    lowest = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    port = next((p for p in range(700, lowest) if harness.is_bindable(p)), None)
    if port is None:
        pytest.skip("every user may bind every port here")
    proxy = cashew(configuration(port, user=USER))
    with harness.Raw(proxy.ports[0]) as raw:
        assert raw.send(b"PING\r\n").recv_until() == b"+PONG\r\n"


@pytest.mark.parametrize("keys, said", [
    ({"user": "no-such-user"}, "user 'no-such-user': is not known on this machine"),
    ({"user": USER, "group": "no-such-group"}, "group 'no-such-group': is not known"),
    ({"group": USER}, "needs a 'user'"),
    ({"user": "root"}, "is root; leave the key out")])
def test_a_start_that_is_refused(keys, said, place):
    done = run_once(configuration(**keys), place)
    assert done.returncode == 1 and said in done.stdout


@root_only
def test_only_root_can_become_somebody_else(place):
    done = run_once(configuration(user="daemon"), place, wrapper=["setpriv", f"--reuid={USER}", "--clear-groups"])
    assert done.returncode == 1 and "user 'daemon': only root can become somebody else" in done.stdout


@root_only
def test_who_is_that_user_already_stays(users_place, place, cashew, monkeypatch):
    """The same configuration works where systemd has changed the user, and where capabilities came along."""
    account = pwd.getpwnam(USER)
    monkeypatch.setenv("CASHEW_WRAPPER", f"setpriv --reuid={USER} --regid={account.pw_gid} --clear-groups "
                       "--inh-caps=+net_bind_service --ambient-caps=+net_bind_service")
    config = place / "cashew.yml"
    config.write_text(configuration(user=USER))
    proxy = cashew(config, args=["-o", users_place / "log"])
    status = status_of(proxy.pid)
    assert status["Uid"].split() == [str(account.pw_uid)] * 4
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status[name], 16) == 0, name


# ---------------------------------------------------------------- its files

def owner(path):
    return pwd.getpwuid(os.lstat(path).st_uid).pw_name


def wait_log(path, text):
    harness.wait_for(lambda: path.exists() and text in path.read_text(), 5, f"'{text}' in {path}")


@root_only
def test_the_log_is_reopened_in_a_folder_of_root(place, cashew):
    """logrotate's way: it makes the new file, in a folder where cashew may not."""
    log = place / "log"
    proxy = cashew(configuration(user=USER), args=["-o", log])
    wait_log(log, "started on pid")
    assert owner(log) == USER
    log.rename(place / "log.1")
    log.touch()
    shutil.chown(log, USER)
    proxy.signal(signal.SIGHUP)
    wait_log(log, "reopened")


@root_only
def test_the_log_that_cant_be_reopened_stays(place, cashew):
    log = place / "log"
    proxy = cashew(configuration(user=USER), args=["-o", log])
    wait_log(log, "started on pid")
    log.rename(place / "log.1")
    proxy.signal(signal.SIGHUP)
    wait_log(place / "log.1", "failed, writing on to the old one: Permission denied")
    assert not log.exists()
    proxy.signal(signal.SIGTTIN)
    wait_log(place / "log.1", "log level is")


@root_only
def test_a_log_of_root_becomes_the_users(place, cashew):
    log = place / "log"
    log.write_text("from before\n")
    proxy = cashew(configuration(user=USER), args=["-o", log])
    wait_log(log, "started on pid")
    assert owner(log) == USER and log.read_text().startswith("from before\n")
    proxy.signal(signal.SIGHUP)
    wait_log(log, "reopened")


@root_only
def test_the_log_in_a_folder_of_the_user(users_place, cashew):
    log = users_place / "log"
    proxy = cashew(configuration(user=USER), args=["-o", log])
    wait_log(log, "started on pid")
    assert owner(log) == USER
    log.rename(users_place / "log.1")
    proxy.signal(signal.SIGHUP)
    wait_log(log, "reopened")


@root_only
def test_a_log_out_of_reach_is_said_at_once(place, cashew):
    """The folder is root's alone, so that the user could never open the log again."""
    closed = place / "closed"
    closed.mkdir(0o700)
    cashew(configuration(user=USER), args=["-o", closed / "log"])
    wait_log(closed / "log", f"user '{USER}' may not open log file")


@root_only
@pytest.mark.parametrize("flag", ["-o", "-p"])
def test_a_link_leads_root_nowhere(flag, users_place, place):
    """Who has taken over the user could put a link where root opens a file at the next start."""
    precious = place / "precious"
    precious.write_text("root's\n")
    precious.chmod(0o644)
    (users_place / "link").symlink_to(precious)
    done = run_once(configuration(user=USER), place, flag, users_place / "link")
    assert done.returncode == 1 and "Permission denied" in done.stdout
    assert precious.read_text() == "root's\n" and owner(precious) == "root"


@root_only
def test_the_pid_file_in_a_folder_of_the_user_goes(users_place, cashew):
    pid = users_place / "pid"
    proxy = cashew(configuration(user=USER), args=["-p", pid])
    assert int(pid.read_text()) == proxy.pid and owner(pid) == USER
    assert proxy.stop() == 0
    assert not pid.exists()


@root_only
def test_the_pid_file_in_a_folder_of_root_stays_and_does_no_harm(place, cashew):
    pid = place / "pid"
    proxy = cashew(configuration(user=USER), args=["-p", pid])
    assert owner(pid) == "root"
    assert proxy.stop() == 0
    assert pid.exists() and f"can't remove pid file '{pid}': Permission denied" in proxy.log()
    proxy.start()
    assert int(pid.read_text()) == proxy.pid


@root_only
def test_a_unix_socket_is_the_users(place, users_place, cashew):
    for folder in (place, users_place):
        path = folder / "socket"
        proxy = cashew(configuration(f"{path} 0660", user=USER))
        assert owner(path) == USER and path.stat().st_mode & 0o777 == 0o660
        with harness.Raw(path) as raw:
            assert raw.send(b"PING\r\n").recv_until() == b"+PONG\r\n"
        # Where the user may not remove it, the next start does.
        assert proxy.stop() == 0
        assert path.exists() == (folder == place)
        proxy.start()
        with harness.Raw(path) as raw:
            assert raw.send(b"PING\r\n").recv_until() == b"+PONG\r\n"


# ---------------------------------------------------------------- shipped files

def test_the_unit_is_valid_and_sandboxed(place):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze")
    unit = place / "cashew.service"
    text = (PACKAGING / "systemd" / "cashew.service").read_text()
    unit.write_text(text.replace("/usr/sbin/cashew", str(harness.binary())))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], check=False, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    about_us = [line for line in done.stdout.splitlines() if "cashew" in line]
    assert not about_us and done.returncode == 0, done.stdout
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", unit], check=False, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if "unrecognized option" in done.stdout:
        pytest.skip("systemd-analyze can't judge a unit offline")
    level = re.search(r"exposure level for cashew.service: ([0-9.]+)", done.stdout)
    assert level and float(level.group(1)) < 2, done.stdout[-500:]


@pytest.mark.parametrize("name", ["cashew.yml", "docker/cashew.yml"])
def test_shipped_configurations_are_valid(name):
    done = subprocess.run([*harness.base_command(), "-t", "-c", str(PACKAGING / name)], check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0 and "syntax is ok" in done.stdout


def test_sysctl_names_exist():
    """Each names something that this kernel has, and the values have the form of those that are there."""
    rows = [line.split("=") for line in (PACKAGING / "sysctl" / "60-cashew.conf").read_text().splitlines()
            if "=" in line and not line.startswith("#")]
    assert len(rows) > 3
    for name, value in rows:
        path = Path("/proc/sys") / name.strip().replace(".", "/")
        if not path.parent.exists():
            continue  # another network namespace may hide some
        if path.exists():
            assert len(path.read_text().split()) == len(value.split()), name


@root_only
def test_logrotate(place, users_place, cashew):
    """The shipped file, with other paths and another user, by the real logrotate."""
    program = shutil.which("logrotate", path="/usr/sbin:/usr/bin:/sbin")
    if program is None:
        pytest.skip("there is no logrotate")
    log, pid = users_place / "cashew.log", users_place / "pid"
    group = subprocess.check_output(["id", "-gn", USER], text=True).strip()
    text = (PACKAGING / "logrotate" / "cashew").read_text()
    for ours, theirs in (("/var/log/cashew", users_place), ("/run/cashew/cashew.pid", pid),
                         ("cashew cashew", f"{USER} {group}")):
        assert ours in text
        text = text.replace(ours, str(theirs))
    config = place / "logrotate.conf"
    config.write_text(text)
    config.chmod(0o644)
    proxy = cashew(configuration(user=USER), args=["-o", log, "-p", pid])
    wait_log(log, "started on pid")
    for _ in range(2):
        subprocess.run([program, "-f", "-s", str(place / "state"), str(config)], check=True)
        wait_log(log, "reopened")
        assert "started on pid" not in log.read_text()
        assert (users_place / "cashew.log.1").exists()
        assert owner(log) == USER and log.stat().st_mode & 0o777 == 0o640
    assert (users_place / "cashew.log.2.gz").exists()
    assert proxy.running()
