# SPDX-License-Identifier: BSD-3-Clause
"""What the integration tests stand on: real servers, fake servers, raw sockets and cashew itself.

Everything lives on the loopback and in temporary folders, and is ended by its own pid. The
environment chooses what is tested: CASHEW_BIN (default build/cashew; Debian's nutcracker works
too, for comparing), CASHEW_IO (default epoll), CASHEW_WORKERS, and CASHEW_WRAPPER, a command to
put in front, such as `setarch -R`.
"""

import functools
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "scripts"))

# pylint: disable=wrong-import-position,unused-import
from ports import free_port, is_bindable  # noqa: E402,F401

START_TIMEOUT = 15.0
STOP_TIMEOUT = 15.0
SANITIZER_EXIT = 99
# The environment of a proxy that a test forces to end: it leaves its threads as they are.
FORCED_END = {"TSAN_OPTIONS": "report_thread_leaks=0"}
# For tests that count what each worker has of its own, or know which worker serves them.
ONE_WORKER = ("--workers=1",)
CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL,
           signal.SIGTRAP}
# Of <linux/sock_diag.h>, <linux/netlink.h> and <netinet/tcp.h>.
NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, NLMSG_DONE, REQUEST_AND_DUMP, TCP_LISTEN = 4, 20, 3, 0x301, 10


class StartError(RuntimeError):
    """A program ended or stayed silent before it listened; the text holds its last words."""


# ---------------------------------------------------------------- waiting

def wait_for(condition, timeout=5.0, what="the condition", interval=0.01):
    """Calls `condition` until it returns something true, which is returned."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come true within {timeout} s")
        time.sleep(interval)


def _asked_of_the_kernel(family, port):
    """Whether somebody listens on a TCP port, by the request of <linux/sock_diag.h>; OSError where the
    kernel has none."""
    body = struct.pack("=BBxxI", family, socket.IPPROTO_TCP, 1 << TCP_LISTEN) \
        + struct.pack("!H", port) + bytes(46)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as netlink:
        netlink.send(struct.pack("=IHHII", 16 + len(body), SOCK_DIAG_BY_FAMILY, REQUEST_AND_DUMP, 1, 0)
                     + body)
        kind = struct.unpack_from("=IH", netlink.recv(65536))[1]
    if kind not in (SOCK_DIAG_BY_FAMILY, NLMSG_DONE):
        raise OSError("sock_diag is refused")
    return kind == SOCK_DIAG_BY_FAMILY


def _listed_by_the_kernel(table, port):
    """The same from a table of all connections, which may be long."""
    try:
        lines = Path(table).read_text().splitlines()[1:]
    except OSError:
        return False
    wanted = f":{port:04X}"
    return any(fields[3] == f"{TCP_LISTEN:02X}" and fields[1].endswith(wanted)
               for fields in map(str.split, lines))


def is_listening(address):
    """Whether somebody listens on a port (int) or a unix path. It asks the kernel and never connects, so
    that it leaves no trace in anybody's counters."""
    if isinstance(address, int):
        try:
            return any(_asked_of_the_kernel(family, address)
                       for family in (socket.AF_INET, socket.AF_INET6))
        except OSError:
            return any(_listed_by_the_kernel(table, address)
                       for table in ("/proc/net/tcp", "/proc/net/tcp6"))
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        fields = line.split(None, 7)
        # Flag 0x10000 is SO_ACCEPTCON: the socket listens.
        if len(fields) == 8 and fields[7] == str(address) and int(fields[3], 16) & 0x10000:
            return True
    return False


# ---------------------------------------------------------------- programs

class Program:
    """A child process with a temporary folder of its own, ended by its pid.

    `addresses` are the ports and paths it must listen on before start() returns.
    """

    def __init__(self, label):
        self.label = label
        self.dir = Path(tempfile.mkdtemp(prefix=f"cashew-{label}-"))
        self.process = None
        self.addresses = []
        self.environment = None
        self.exit_code = None
        self._asked_to_end = False

    @property
    def pid(self):
        return self.process.pid

    def running(self):
        return self.process is not None and self.process.poll() is None

    def command(self):
        raise NotImplementedError

    def stderr(self):
        path = self.dir / "stderr"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self, wait=True):
        command = [str(part) for part in self.command()]
        # The kernel ends the child with us, should we be killed. It watches the thread that
        # started the child, so this is only right when that is the main one.
        if threading.current_thread() is threading.main_thread() and shutil.which("setpriv"):
            command = ["setpriv", "--pdeathsig", "KILL"] + command
        self._asked_to_end = False
        self.exit_code = None
        with open(self.dir / "stderr", "ab") as err:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=err,
                                            stderr=err, cwd=self.dir, env=self.environment)
        if wait:
            self.wait_listening()
        return self

    def serves(self):
        """Whether it is ready; it may wait a moment for that."""
        return all(is_listening(address) for address in self.addresses)

    def wait_listening(self, timeout=START_TIMEOUT):
        end = time.monotonic() + timeout
        while not self.serves():
            if not self.running():
                raise StartError(f"{self.label} ended with {self.process.returncode}:\n"
                                 + self.last_words())
            if time.monotonic() > end:
                raise StartError(f"{self.label} does not listen on {self.addresses} after "
                                 f"{timeout} s:\n" + self.last_words())
            time.sleep(0.005)

    def last_words(self):
        return self.stderr()[-4000:]

    def signal(self, number):
        if self.running():
            self.process.send_signal(number)

    def pause(self):
        """Stops the process where it stands; its sockets stay open and silent. Each thread of it
        stops when it next looks, so this waits for all of them."""
        self.signal(signal.SIGSTOP)
        wait_for(self._stands_still, what=f"the halt of {self.label}")

    def _stands_still(self):
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        # The state is behind the name, which may itself have blanks and parentheses.
        return all((task / "stat").read_text().rpartition(")")[2].split()[0] in "TtZX"
                   for task in tasks)

    def resume(self):
        self.signal(signal.SIGCONT)

    def kill(self):
        """Ends it at once, as a crash would."""
        self._asked_to_end = True
        self.signal(signal.SIGKILL)
        if self.process is not None:
            self.exit_code = self.process.wait(STOP_TIMEOUT)

    def wait(self, timeout=STOP_TIMEOUT):
        """Waits for an end that somebody else asked for, and returns the exit code."""
        self.exit_code = self.process.wait(timeout)
        return self.exit_code

    def stop(self, timeout=STOP_TIMEOUT):
        """Asks for an orderly end and returns the exit code; too slow an end is an error."""
        if self.process is None:
            return self.exit_code
        self._asked_to_end = True
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            self.exit_code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.label} did not end within {timeout} s of SIGTERM:\n"
                                 + self.last_words()) from None
        return self.exit_code

    def restart(self):
        """Stops it if it still runs, and starts it again on the same addresses."""
        if self.running():
            self.stop()
        return self.start()

    def close(self):
        """The end of the test: stops the process and removes its folder."""
        try:
            self.stop()
        finally:
            shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class _Server(Program):
    """What redis and memcached have in common: one address, TCP or unix."""

    def __init__(self, label, unix, args, wait):
        super().__init__(label)
        self.args = list(args)
        self.port = None if unix else free_port()
        self.path = str(self.dir / "socket") if unix else None
        self.addresses = [self.path if unix else self.port]
        self._clients = []
        try:
            self.start(wait)
        except BaseException:
            self.close()
            raise

    @property
    def address(self):
        """As it stands in `servers:`, without the weight."""
        return self.path or f"127.0.0.1:{self.port}"

    def _leave(self):
        for client in self._clients:
            client.close()
        self._clients.clear()

    def stop(self, timeout=STOP_TIMEOUT):
        self._leave()
        return super().stop(timeout)

    def close(self):
        """There is nothing that it should keep, and an orderly end takes memcached a second."""
        self._leave()
        self.resume()
        self.kill()
        super().close()

    def start(self, wait=True):
        if self.path and os.path.exists(self.path):
            os.unlink(self.path)
        return super().start(wait)


class Redis(_Server):
    """A redis-server that keeps nothing on disk."""

    def __init__(self, unix=False, args=(), wait=True):
        super().__init__("redis", unix, args, wait)

    def command(self):
        place = (["--port", "0", "--unixsocket", self.path, "--unixsocketperm", "777"]
                 if self.path else ["--port", self.port, "--bind", "127.0.0.1"])
        return [os.environ.get("REDIS_SERVER", "redis-server"), *place, "--save", "",
                "--appendonly", "no", "--dir", self.dir, "--logfile", self.dir / "log",
                "--daemonize", "no", *self.args]

    def last_words(self):
        log = self.dir / "log"
        return super().last_words() + (log.read_text(errors="replace")[-4000:]
                                       if log.exists() else "")

    def client(self, **options):
        """A redis-py client of this server, with raw bytes as replies."""
        import redis
        place = ({"unix_socket_path": self.path} if self.path
                 else {"host": "127.0.0.1", "port": self.port})
        client = redis.Redis(**place, **{"decode_responses": False, "socket_timeout": 10,
                                         **options})
        self._clients.append(client)
        return client


@functools.lru_cache(None)
def memcached_version():
    """What the memcached of this machine calls itself, as b"1.6.18"."""
    said = subprocess.run(["memcached", "-V"], check=True, stdout=subprocess.PIPE).stdout
    return said.split()[1]


class Memcached(_Server):
    """A memcached with one thread."""

    def __init__(self, unix=False, args=(), wait=True):
        super().__init__("memcached", unix, args, wait)

    def command(self):
        place = (["-s", self.path, "-a", "0777"] if self.path
                 else ["-l", "127.0.0.1", "-p", self.port, "-U", "0"])
        user = ["-u", "root"] if os.geteuid() == 0 else []
        return ["memcached", *place, *user, "-t", "1", "-m", "64", *self.args]

    def client(self, **options):
        """A pymemcache client of this server, with raw bytes as values."""
        from pymemcache.client.base import Client
        place = self.path if self.path else ("127.0.0.1", self.port)
        client = Client(place, **{"timeout": 10, "connect_timeout": 10, **options})
        self._clients.append(client)
        return client


# ---------------------------------------------------------------- cashew

def _scalar(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    if re.fullmatch(r"[\w./:-]+( [\w./:-]+)*", text, re.ASCII):
        return text
    return json.dumps(text, ensure_ascii=False)


def _server_line(server):
    if isinstance(server, int):
        return f"127.0.0.1:{server}:1"
    if isinstance(server, (_Server, FakeServer)):
        return f"{server.address}:1"
    return str(server)


def pool(name, listen, servers, **keys):
    """One pool as YAML text that nutcracker reads, too. `listen` is a port or the text of the
    key; a server is a port, one of our servers, or the text `host:port:weight [name]`."""
    lines = [f"{name}:", "  listen: " + (f"127.0.0.1:{listen}" if isinstance(listen, int)
                                         else str(listen))]
    lines += [f"  {key}: {_scalar(value)}" for key, value in keys.items()]
    lines.append("  servers:")
    lines += [f"   - {_server_line(server)}" for server in servers]
    return "\n".join(lines) + "\n"


def listen_addresses(text):
    """The ports (int) and unix paths (str) of every `listen` in a config."""
    found = []
    for match in re.finditer(r"""\blisten["']?\s*:\s*(["']?)([^"'#\n,}]+)\1""", text):
        if "#" in text[text.rfind("\n", 0, match.start()) + 1:match.start()]:
            continue
        value = match.group(2).strip()
        if value.startswith("/"):
            found.append(value.split()[0])
        elif value.rpartition(":")[2].isdigit():
            found.append(int(value.rpartition(":")[2]))
    return found


def binary():
    """The program under test."""
    return Path(os.environ.get("CASHEW_BIN") or ROOT / "build" / "cashew").absolute()


def is_nutcracker():
    """Whether twemproxy itself is under test, for comparing; it lacks our flags."""
    return binary().resolve() != (ROOT / "build" / "cashew").resolve() \
        and binary().name == "nutcracker"


def base_command(name="cashew"):
    """How to call the program under test, e.g. for tests of flags: append these to it."""
    wrapper = os.environ.get("CASHEW_WRAPPER", "").split()
    if name in ("cashew", binary().name):
        return [*wrapper, str(binary())]
    link = Path(tempfile.mkdtemp(prefix="cashew-link-")) / name
    link.symlink_to(binary())
    return [*wrapper, str(link)]


def sanitizer_environment(folder, env=None):
    """The environment in which a sanitizer writes what it sees into `folder`/sanitizer.PID."""
    result = {**os.environ, **(env or {})}
    for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS"):
        extra = f"log_path={folder}/sanitizer:exitcode={SANITIZER_EXIT}"
        if name == "UBSAN_OPTIONS":
            extra += ":print_stacktrace=1"
        if name == "TSAN_OPTIONS":
            extra += ":second_deadlock_stack=1"
        result[name] = ":".join(part for part in (result.get(name), extra) if part)
    return result


class Cashew(Program):
    """The proxy. `config` is YAML text or the path of a file; `name` is how it is called; `under`
    is a command that becomes it."""

    def __init__(self, config, args=(), env=None, name="cashew", wait=True, under=()):
        super().__init__(name)
        self.args = [str(arg) for arg in args]
        self.base = [*under, *base_command(name)]
        self.stats_port = free_port()
        self.log_path = self.dir / "log"
        if isinstance(config, os.PathLike) or "\n" not in config and os.path.exists(config):
            self.config_path = Path(config).absolute()
        else:
            self.config_path = self.dir / f"{name}.yml"
            self.config_path.write_text(config)
        self.environment = sanitizer_environment(self.dir, env)
        self.addresses = [*listen_addresses(self.config_path.read_text(errors="replace")),
                          self.stats_port]
        self.ports = [a for a in self.addresses[:-1] if isinstance(a, int)]
        self.manager = None
        try:
            self.start(wait)
        except BaseException:
            self.kill()
            self._check_sanitizers()
            shutil.rmtree(self.dir, ignore_errors=True)
            raise

    def command(self):
        ours = []
        if not is_nutcracker():
            given = " ".join(self.args)
            if "--io" not in given:
                ours.append("--io=" + (os.environ.get("CASHEW_IO") or "epoll"))
            if "--workers" not in given and os.environ.get("CASHEW_WORKERS"):
                ours.append("--workers=" + os.environ["CASHEW_WORKERS"])
        return [*self.base, "-c", self.config_path, "-s", self.stats_port, "-a", "127.0.0.1",
                "-o", self.log_path, *ours, *self.args]

    def start(self, wait=True):
        """Unless a test looks at what the proxy tells a service manager, the harness is that: the proxy
        listens before it is all there."""
        if self.manager is None and not is_nutcracker() and "NOTIFY_SOCKET" not in self.environment:
            self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self.manager.settimeout(0.02)
            self.manager.bind("")  # the kernel finds a name
            self.environment["NOTIFY_SOCKET"] = "@" + self.manager.getsockname()[1:].decode()
        return super().start(wait)

    def serves(self):
        if self.manager is None:
            return super().serves()
        try:
            return f"MAINPID={self.pid}\n".encode() in self.manager.recv(100)
        except socket.timeout:
            return False

    def close(self):
        try:
            super().close()
        finally:
            if self.manager is not None:
                self.manager.close()

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def last_words(self):
        return super().last_words() + self.log()[-8000:] + "".join(self.reports())

    def stats(self):
        """The JSON of a bare TCP connect to the stats port, as a dict."""
        with socket.create_connection(("127.0.0.1", self.stats_port), 10) as sock:
            text = b""
            while True:
                piece = sock.recv(65536)
                if not piece:
                    return json.loads(text)
                text += piece

    def reports(self):
        """What sanitizers wrote so far."""
        return [path.read_text(errors="replace")
                for path in sorted(self.dir.glob("sanitizer.*"))]

    def stop(self, timeout=STOP_TIMEOUT):
        if self.process is None:
            return self.exit_code
        code = super().stop(timeout)
        self._check_sanitizers()
        if code == SANITIZER_EXIT or -code in CRASHES:
            raise AssertionError(f"{self.label} crashed ({code}):\n" + self.last_words())
        return code

    def _check_sanitizers(self):
        reports = self.reports()
        if reports:
            raise AssertionError("a sanitizer reported:\n" + "\n".join(reports)[:20000])


# ---------------------------------------------------------------- raw bytes

def silent_redis_py():
    """Options of a redis-py client that says nothing of itself when it connects. From version 5
    on it sends CLIENT SETINFO, at which nutcracker closes the connection."""
    import redis
    return {"lib_name": None, "lib_version": None} if int(redis.__version__.split(".")[0]) >= 5 \
        else {}


def resp(*args):
    """A redis request as the bytes of an array of bulk strings."""
    parts = [a if isinstance(a, bytes) else str(a).encode() for a in args]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)


class Raw:
    """A socket that sends and receives exactly what the test says.

    `target` is a port, a unix path, a (host, port) pair or a connected socket."""

    def __init__(self, target, timeout=10.0):
        self.timeout = timeout
        self.buffer = b""
        self.eof = False
        if isinstance(target, socket.socket):
            self.sock = target
        elif isinstance(target, (str, os.PathLike)):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(timeout)
            self.sock.connect(str(target))
        else:
            place = ("127.0.0.1", target) if isinstance(target, int) else target
            self.sock = socket.create_connection(place, timeout)
        if self.sock.family != socket.AF_UNIX:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data):
        self.sock.settimeout(self.timeout)
        self.sock.sendall(data)
        return self

    def _fill(self, timeout):
        """Receives once. False at the end of the stream or after `timeout` of silence."""
        if self.eof:
            return False
        self.sock.settimeout(max(timeout, 0.001))
        try:
            piece = self.sock.recv(1 << 18)
        except (socket.timeout, BlockingIOError):
            return False
        except OSError:
            piece = b""
        if not piece:
            self.eof = True
            return False
        self.buffer += piece
        return True

    def _take(self, count):
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def _need(self, enough, what):
        end = time.monotonic() + self.timeout
        while not enough():
            if not self._fill(end - time.monotonic()):
                if self.eof:
                    raise EOFError(f"closed while waiting for {what}; have {self.buffer[:200]!r}")
                raise TimeoutError(f"silence while waiting for {what}; have "
                                   f"{self.buffer[:200]!r}")

    def recv_exact(self, count):
        """Exactly `count` bytes; EOFError or TimeoutError when they do not come."""
        self._need(lambda: len(self.buffer) >= count, f"{count} bytes")
        return self._take(count)

    def recv_until(self, mark=b"\r\n"):
        """All up to and with `mark`."""
        self._need(lambda: mark in self.buffer, repr(mark))
        return self._take(self.buffer.index(mark) + len(mark))

    def recv_all(self, timeout=1.0):
        """All that comes until the other side closes or is silent for `timeout` seconds."""
        while self._fill(timeout):
            pass
        return self._take(len(self.buffer))

    def recv_reply(self):
        """The bytes of one whole reply of RESP2 or RESP3, nested ones too."""
        line = self.recv_until(b"\r\n")
        kind, count = line[:1], line[1:-2]
        if kind in b"$=!" and int(count) >= 0:
            return line + self.recv_exact(int(count) + 2)
        if kind in b"*%~>" and int(count) > 0:
            return line + b"".join(self.recv_reply()
                                   for _ in range(int(count) * (2 if kind == b"%" else 1)))
        return line

    def closed(self, timeout=2.0):
        """Whether the other side closes within `timeout`. Bytes before that stay readable."""
        end = time.monotonic() + timeout
        while not self.eof and time.monotonic() < end:
            self._fill(end - time.monotonic())
        return self.eof

    def half_close(self):
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self):
        """Closes with RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class _Recorded(Raw):
    """The server's side of a connection; what it receives is kept for the test to read."""

    def __init__(self, sock, record):
        super().__init__(sock)
        self.record = record

    def _fill(self, timeout):
        before = len(self.buffer)
        more = super()._fill(timeout)
        self.record += self.buffer[before:]
        return more


class FakeServer:
    """A threaded server that does what `handler(conn)` says, once per connection; without a
    handler it reads and stays silent. `received` holds the bytes of each connection, in the
    order of their arrival. A handler's error fails the test in stop()."""

    def __init__(self, handler=None, unix=False, port=None, host="127.0.0.1"):
        self.handler = handler or self._swallow
        self.received = []
        self.connections = []
        self.errors = []
        self.host = host
        self.dir = Path(tempfile.mkdtemp(prefix="cashew-fake-")) if unix else None
        self.path = str(self.dir / "socket") if unix else None
        self.port = None if unix else port or free_port()
        self._threads = []
        self._stopping = False
        if unix:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.bind(self.path)
        else:
            self.sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.sock.bind((host, self.port))
        self.sock.listen(512)
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    @property
    def address(self):
        return self.path or f"{self.host}:{self.port}"

    @staticmethod
    def _swallow(conn):
        while conn._fill(3600):
            conn.buffer = b""

    def _accept(self):
        while not self._stopping:
            try:
                sock, _ = self.sock.accept()
            except OSError:
                return
            if self._stopping:
                sock.close()
                return
            record = bytearray()
            conn = _Recorded(sock, record)
            self.received.append(record)
            self.connections.append(conn)
            thread = threading.Thread(target=self._serve, args=(conn,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, conn):
        try:
            self.handler(conn)
        except (EOFError, OSError):
            pass  # the proxy closed, or the test ended
        except Exception as error:  # pylint: disable=broad-except
            self.errors.append(error)
        finally:
            conn.close()

    def stop(self):
        """Closes the listener and every connection. Safe to call twice."""
        self._stopping = True
        try:
            self.sock.shutdown(socket.SHUT_RDWR)  # wakes accept()
        except OSError:
            pass
        self.sock.close()
        for conn in list(self.connections):
            try:
                conn.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in [self._acceptor, *self._threads]:
            thread.join(5)
        if self.dir:
            shutil.rmtree(self.dir, ignore_errors=True)
        if self.errors:
            raise AssertionError(f"a fake server's handler failed: {self.errors[0]!r}") \
                from self.errors[0]

    close = stop

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
