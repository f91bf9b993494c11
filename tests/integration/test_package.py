# SPDX-License-Identifier: BSD-3-Clause
"""The packages and the image, as those get them who install them: made from a clean clone, installed in a fresh
Debian, started there without systemd, removed. No container engine is needed: the steps of the Dockerfile are done in
the fresh Debian, too. It takes root, debootstrap and a Debian mirror."""

import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

import harness
import pytest

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]

RELEASE = "bookworm"  # what the Dockerfile is made from

# Gives a namespace of networks its loopback, and goes on with the rest of the command line.
LOOPBACK_UP = """
import fcntl, os, socket, struct, sys
with socket.socket() as s:
    fcntl.ioctl(s, 0x8914, struct.pack("16sh14x", b"lo", 1))
os.execvp(sys.argv[1], sys.argv[1:])
"""


# ---------------------------------------------------------------- a fresh Debian

def mirror():
    """Where this machine gets Debian from."""
    for path in [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")]:
        text = path.read_text(errors="replace") if path.is_file() else ""
        found = re.search(r"^(?:URIs: *|deb (?:\[[^]]*\] *)?)(http\S*/debian)/?(?:\s|$)", text, re.M)
        if found:
            return found.group(1)
    return "http://deb.debian.org/debian"


@pytest.fixture(scope="session")
def fresh_debian():
    """A folder with a minimal Debian, which is to be copied. CASHEW_CHROOT may name one that is there."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a fresh Debian")
    if os.environ.get("CASHEW_CHROOT"):
        yield Path(os.environ["CASHEW_CHROOT"])
        return
    if shutil.which("debootstrap") is None:
        pytest.skip("there is no debootstrap")
    folder = Path(tempfile.mkdtemp(prefix="cashew-debian-"))
    done = subprocess.run(["debootstrap", "--variant=minbase", RELEASE, folder, mirror()], check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip("debootstrap could not fetch Debian: " + done.stdout[-200:])
    yield folder
    shutil.rmtree(folder)


class Chroot:
    """A copy of the fresh Debian. Each command runs in namespaces of its own, so that nothing that it started or
    mounted is left behind."""

    def __init__(self, base):
        self.root = Path(tempfile.mkdtemp(prefix="cashew-chroot-"))
        subprocess.run(["cp", "-a", f"{base}/.", self.root], check=True)
        self.running = []
        # How this machine reaches the mirror is how the copy does.
        for name in ("resolv.conf", "hosts"):
            shutil.copy(f"/etc/{name}", self.root / "etc" / name)
        for path in Path("/etc/apt/apt.conf.d").iterdir():
            if re.search("^Acquire", path.read_text(errors="replace"), re.M):
                shutil.copy(path, self.root / "etc/apt/apt.conf.d")
        # A temporary folder is its owner's alone, but everybody must get into this one, which is their root.
        self.root.chmod(0o755)

    def command(self, script, network):
        isolated = [] if network else ["--net"]
        begin = [] if network else ["/usr/bin/python3", "-c", LOOPBACK_UP]
        inside = "mount -t proc proc /proc && " + script
        return ["unshare", "--mount", "--pid", *isolated, "--fork", "--kill-child", *begin,
                "env", "-i", "HOME=/root", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8",
                "DEBIAN_FRONTEND=noninteractive", "chroot", str(self.root), "sh", "-euc", inside]

    def start(self, script, network=True):
        """A shell script in it, while the test goes on."""
        process = subprocess.Popen(self.command(script, network), stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.running.append(process)
        return process

    def run(self, script, network=True):
        """A shell script in it, which must end well; what it said."""
        done = subprocess.run(self.command(script, network), stdin=subprocess.DEVNULL, check=False, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode == 0, f"{script}\nended with {done.returncode}:\n{done.stdout[-4000:]}"
        return done.stdout

    def close(self):
        for process in self.running:
            process.kill()
            process.wait()
        subprocess.run(["rm", "-rf", "--one-file-system", self.root], check=True)


@pytest.fixture
def chroot(fresh_debian, ending):
    """chroot() -> a new copy of the fresh Debian."""
    return lambda: ending.add(Chroot(fresh_debian))


# ---------------------------------------------------------------- the packages

@pytest.fixture(scope="session")
def clone():
    """A clean clone of the last commit."""
    if shutil.which("git") is None or not (harness.ROOT / ".git").exists():
        pytest.skip("this is no clone of the repository")
    folder = Path(tempfile.mkdtemp(prefix="cashew-clone-"))
    subprocess.run(["git", "clone", "-q", "--no-hardlinks", harness.ROOT, folder / "cashew"], check=True)
    yield folder / "cashew"
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def packages(clone):
    """The folder with what `./dev package` makes of it, which fails if lintian finds something."""
    for program in ("dpkg-buildpackage", "dh", "lintian"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program}")
    done = subprocess.run(["/usr/bin/python3", "scripts/package.py"], cwd=clone, check=False, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    return clone / "build-package"


def one(folder, pattern):
    found, = folder.glob(pattern)
    return found


def test_the_tarball_holds_what_git_knows(packages, clone):
    listed = subprocess.check_output(["tar", "tzf", one(packages, "cashew-*.tar.gz")], text=True).splitlines()
    held = {name.split("/", 1)[1] for name in listed if not name.endswith("/")}
    known = set(subprocess.check_output(["git", "ls-files"], cwd=clone, text=True).splitlines())
    assert held == known
    subprocess.run(["sha256sum", "-c", one(packages, "*.sha256sum")], cwd=packages, check=True)


CONFIG = """\
global:
  user: cashew
  output: /var/log/cashew/cashew.log
  pid_file: /run/cashew/cashew.pid
  stats_addr: 127.0.0.1
  stats_port: {stats}
alpha:
  listen: 127.0.0.1:{port}
  redis: true
  servers:
    - 127.0.0.1:{redis}:1 redis-1
"""

# Without systemd, somebody else makes /run/cashew, which is gone after a boot.
LIFE = """
apt-get update -q && apt-get install -q -y --no-install-recommends /tmp/{cashew} >/tmp/installed 2>&1
getent passwd cashew >/dev/null
[ "$(stat -c %U:%a /var/log/cashew)" = cashew:750 ]
[ ! -e /usr/sbin/nutcracker ]
cashew -t -c /etc/cashew/cashew.yml
install -d -o cashew -g cashew /run/cashew
cashew -d -c /tmp/cashew.yml
touch /tmp/started
while [ ! -e /tmp/stop ]; do sleep 0.1; done
mv /var/log/cashew/cashew.log /var/log/cashew/cashew.log.1
pid=$(cat /run/cashew/cashew.pid)
kill -HUP $pid
for _ in $(seq 100); do grep -qs reopened /var/log/cashew/cashew.log && break; sleep 0.1; done
grep -q reopened /var/log/cashew/cashew.log
kill $pid
for _ in $(seq 100); do [ -e /run/cashew/cashew.pid ] || break; sleep 0.1; done
[ ! -e /run/cashew/cashew.pid ]
apt-get install -q -y --no-install-recommends /tmp/{nutcracker}
nutcracker -V 2>&1 | grep 'This is cashew-'
apt-get install -q -y -s nutcracker | grep '^Remv cashew-nutcracker'
apt-get remove -q -y cashew cashew-nutcracker
[ ! -e /usr/sbin/cashew ] && [ ! -e /usr/sbin/nutcracker ] && [ -e /etc/cashew/cashew.yml ]
apt-get purge -q -y cashew
[ ! -e /etc/cashew ] && [ ! -e /var/log/cashew ] && [ ! -e /etc/logrotate.d/cashew ]
touch /tmp/ended
"""


def test_it_installs_starts_and_goes(packages, chroot, redis_server):
    debian = chroot()
    names = {"cashew": one(packages, "cashew_*.deb").name, "nutcracker": one(packages, "cashew-nutcracker_*.deb").name}
    for name in names.values():
        shutil.copy(packages / name, debian.root / "tmp")
    port, stats = harness.free_port(), harness.free_port()
    (debian.root / "tmp/cashew.yml").write_text(CONFIG.format(port=port, stats=stats, redis=redis_server.port))
    life = debian.start(LIFE.format(**names))
    harness.wait_for(lambda: life.poll() is not None or (debian.root / "tmp/started").exists(), 600,
                     "the start in the fresh Debian", 0.2)
    assert life.poll() is None, life.stdout.read()[-4000:]
    with harness.Raw(port) as raw:
        assert raw.send(harness.resp("SET", "nut", "cashew")).recv_reply() == b"+OK\r\n"
    assert redis_server.client().get("nut") == b"cashew"
    (debian.root / "tmp/stop").touch()
    said, _ = life.communicate(timeout=600)
    assert life.returncode == 0 and (debian.root / "tmp/ended").exists(), said[-4000:]


# ---------------------------------------------------------------- the image

class Image:
    """Does the steps of a Dockerfile in copies of the fresh Debian. Knows the instructions that ours has, no more."""

    def __init__(self, dockerfile, context, chroot):
        self.context = context
        self.chroot = chroot
        self.stages = {}
        self.now = None
        self.user = "root"
        self.entrypoint, self.cmd, self.health = [], [], []
        for word, rest in self.instructions(dockerfile.read_text()):
            getattr(self, "do_" + word.lower())(rest)

    @staticmethod
    def instructions(text):
        text = re.sub(r"^\s*#.*\n", "", text, flags=re.M)
        for line in text.replace("\\\n", " ").splitlines():
            if line.strip():
                yield line.split(None, 1)

    def do_from(self, rest):
        words = rest.split()
        assert words[0] == "debian:12-slim"
        self.now = self.chroot()
        if len(words) > 1:
            self.stages[words[2]] = self.now

    def do_run(self, rest):
        self.now.run(rest)

    def do_copy(self, rest):
        words = rest.split()
        source = self.context
        if words[0].startswith("--from="):
            source = self.stages[words.pop(0)[len("--from="):]].root
        origin, target = source / words[0].lstrip("/"), self.now.root / words[1].lstrip("/")
        if origin.is_dir():
            # What is in it, and links as they are.
            target.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-a", "--no-preserve=ownership", f"{origin}/.", target], check=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(origin, target)

    def do_user(self, rest):
        self.user = rest.strip()

    def do_healthcheck(self, rest):
        self.health = json.loads(rest[rest.index("CMD") + 3:])

    def do_entrypoint(self, rest):
        self.entrypoint = json.loads(rest)

    def do_cmd(self, rest):
        self.cmd = json.loads(rest)

    def do_expose(self, rest):
        assert all(word.isdigit() for word in rest.split())

    def do_stopsignal(self, rest):
        assert rest == "SIGTERM"

    def as_user(self, words):
        """The command line of what runs in a container."""
        return f"setpriv --reuid={self.user} --regid={self.user} --init-groups --bounding-set=-all " \
            f"--no-new-privs {shlex.join(words)}"


CONTAINER = """
check() {{ {health}; }}
{program} 2>/tmp/log &
pid=$!
for _ in $(seq 100); do check 2>/dev/null && break; sleep 0.1; done
check || {{ cat /tmp/log; exit 1; }}
grep '^Uid:' /proc/$pid/status
bash -c 'exec 3<>/dev/tcp/127.0.0.1/22121; printf "PING\\r\\n" >&3; read -r answer <&3; echo "$answer"'
bash -c 'exec 3<>/dev/tcp/127.0.0.1/22122; printf "verbosity 1\\r\\n" >&3; read -r answer <&3; echo "$answer"'
kill $pid
wait $pid && echo ended well
if check 2>/dev/null; then echo 'healthy without a process'; exit 1; fi
"""


def test_the_image_is_small_and_healthy(clone, fresh_debian, chroot):
    context = clone
    image = Image(context / "packaging/docker/Dockerfile", context, chroot)
    assert image.user not in ("root", "0")
    said = image.now.run(CONTAINER.format(health=image.as_user(image.health),
                                          program=image.as_user(image.entrypoint + image.cmd)), network=False)
    assert re.search(r"^Uid:\t[1-9]", said, re.M)
    assert said.splitlines()[1:] == ["+PONG", "OK", "ended well"]
    # Nothing of the build came along; cashew and its libraries are all that was added.
    for program in ("gcc", "meson", "curl"):
        assert not (image.now.root / "usr/bin" / program).exists()
    added = size(image.now.root) - size(fresh_debian)
    assert added < 10e6, f"{added / 1e6:.1f} MB"


def size(folder):
    """Bytes below it; what apt keeps for itself aside, which the base of the image doesn't have."""
    excluded = [f"--exclude={folder}/{name}" for name in ("var/lib/apt", "var/cache", "proc", "var/log")]
    return int(subprocess.check_output(["du", "-sxb", *excluded, folder], text=True).split()[0])
