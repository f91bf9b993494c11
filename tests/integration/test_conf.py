# SPDX-License-Identifier: BSD-3-Clause
"""The configuration file beside Debian's nutcracker: what one accepts, the other accepts, and what
one refuses, the other refuses, but for the differences that are meant, which are listed here."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import harness
import pytest

NUTCRACKER = shutil.which("nutcracker") or shutil.which("nutcracker", path="/usr/sbin:/usr/local/sbin")
DATA = Path(__file__).parent / "data"
LONG = "a" * 107

needs_nutcracker = pytest.mark.skipif(NUTCRACKER is None, reason="nutcracker is not installed")


def pool(keys="", listen="127.0.0.1:22121", servers=("127.0.0.1:6379:1",), name="p"):
    lines = [f"{name}:", f"  listen: {listen}"]
    lines += [f"  {line}" for line in keys.split("\n") if keys]
    return "\n".join(lines + ["  servers:"] + [f"   - {server}" for server in servers]) + "\n"


def auth(text):
    return pool(f"redis: true\nredis_auth: {text}")


# The verdict of both must be the same.
SAME = [
    # addresses to listen on
    *[pool(listen=text) for text in (
        "127.0.0.1:1", "0.0.0.0:22121", "localhost:22121", "::1:22121", "127.0.0.1:00022",
        "127.0.0.1:0", "127.0.0.1:65535", "127.0.0.1:65536", "127.0.0.1:abc", "127.0.0.1",
        "'127.0.0.1:'", ":22121", "127.0.0.1: 22", "'127.0.0.1:22 '", "' 127.0.0.1:22'", "22121",
        "/tmp/s", "/tmp/s 0777", "/tmp/s 777", "/tmp/s 1777", "/tmp/s  0777", "/tmp/s 0777 ",
        "'/tmp/s 0777 '", "/tmp/s 0", "/tmp/s -1", "tmp/s", "/tmp/s:22", "/tmp/a b 0777",
        "/" + LONG[1:], "/" + LONG + "a")],
    # servers
    *[pool(servers=[text]) for text in (
        "127.0.0.1:6379:1", "127.0.0.1:6379", "'127.0.0.1:6379:'", "127.0.0.1:6379:0",
        "127.0.0.1:6379:x", "127.0.0.1:0:1", "127.0.0.1:65536:1", "127.0.0.1::1", "a:1:1",
        "127.0.0.1:6379:1 name", "127.0.0.1:6379:1  name", "127.0.0.1:6379:1 na me",
        "127.0.0.1:6379:2147483647", "127.0.0.1:6379:2147483648", "::1:6379:1", "/tmp/s:1",
        "/tmp/s:1 n", "/tmp/s:0", "/tmp/s", "/tmp/s x:1 n", "' 127.0.0.1:6379:1'",
        "nosuch.invalid:6379:1", "host name:6379:1", "127.0.0.1:6379:01", "6379:1",
        "127.0.0.1:6379:1:name", "'127.0.0.1:6379:1 a:b'", "127.0.0.1:6379:1 a:2:3",
        "/tmp/s:1 /x:2", "'/tmp/x y:1'", "127.0.0.1:6379:-1", "127.0.0.1:+6379:1",
        "\"[::1]:6379:1\"", "\"127.0.0.1:6379:1 quoted\"", "127.0.0.1:6379:1 # a comment", "127.0.0.1:6379:1 n#o")],
    pool(servers=[]),
    pool(servers=["a:1:1", "b:1:1"]),
    pool(servers=["a:1:1", "a:1:1"]),
    pool(servers=["a:1:1 x", "b:1:1 x"]),
    pool(servers=["a:1:1 x", "a:1:1 y"]),
    pool(servers=["a:11211:1", "a:1:1 a"]),
    pool(servers=[f"10.0.{i // 250}.{i % 250}:6379:1" for i in range(1000)]),
    # values
    *[pool(key) for key in (
        "timeout: 400", "timeout: 0", "timeout: -1", "timeout: +1", "timeout: 1e3",
        "timeout: 0x10", "timeout: 2147483647", "timeout: 2147483648", "timeout: 007",
        "timeout: '400'", 'timeout: "400"', "timeout: 400ms", "timeout: 1_000", "timeout:",
        "timeout: ''", "timeout: ~", "timeout: null", "timeout: 4 00", "timeout: ' 400'",
        "timeout: 400 # comment", "timeout: 400# no comment", "timeout:\t400", "timeout: 400\t",
        "timeout: [400]", "timeout:\n   - 400", "timeout : 400", "timeout:400",
        "redis: true", "redis: false", "redis: yes", "redis: True", "redis: 'true'",
        "redis: TRUE", "redis: 1", "redis: truefalse",
        'hash_tag: "{}"', "hash_tag: '$$'", "hash_tag: '{'", "hash_tag: ab", "hash_tag: '{}}'",
        "hash_tag: é", "hash_tag: aa", "hash_tag: {}", "hash_tag: []", "hash_tag: ''",
        "hash: md5", "hash: MD5", "hash: md", "distribution: random", "distribution: rand",
        "distribution: ketama ", "server_connections: 0", "server_connections: 2",
        "server_failure_limit: 0", "server_retry_timeout: 0", "backlog: 0", "backlog: 1024",
        "client_connections: 10", "preconnect: true", "preconnect: 1", "tcpkeepalive: true",
        "tcpkeepalive: on", "auto_eject_hosts: true", "redis_db: 3", "redis_db: x",
        "redis: true\nredis_db: 15", "redis_auth: x", "redis: true\nredis_auth: x",
        "redis_auth: x\nredis: true", "redis: false\nredis_auth: x", "timeout: 1\ntimeout: 1",
        "foo: 1", "Timeout: 1", '"timeout": 400', "'timeout' : 400", "? timeout\n: 400",
        *[f"hash: {name}" for name in (
            "one_at_a_time crc16 crc32 crc32a fnv1_64 fnv1a_64 fnv1_32 fnv1a_32 hsieh murmur "
            "jenkins").split()],
        "distribution: ketama", "distribution: modula")],
    # what text may look like
    *[auth(text) for text in (
        "a#b", "a #b", "a: b", "a\n   b", "|\n    b\n    c", ">\n    b\n    c", "?b", "-b", "'@b'",
        "@b", "`b", "%b", "a,b", "a]b", "a{b}", ",b", "]b", "'it''s'", "a'b", 'a"b', ":b", "a:b",
        "a*b&c!d", "'a\tb'", r'"\xff\u20ac"', "p@ss!w0rd", "a\\b", "'a\\b'", '"a\\b"', '"a\\q"',
        "~", "null", "123", "true", "'unended", '"unended', "x" * 500, "é€")],
    # pools and files
    pool() + pool(name="q", listen="127.0.0.1:22122"),
    pool() + pool(name="q"),
    pool() + pool(listen="127.0.0.1:22122"),
    pool(name="a b"), pool(name="'a b'"), pool(name="123"), pool(name="a.b-c_d"), pool(name="é"),
    pool(name="''"), pool(name="global"),
    "", "\n\n", "# only a comment\n", "p:\n", "p: 5\n", "p\n", "- p\n", "p:\n  listen: a\n",
    "p:\n  listen: 127.0.0.1:1\n", "p:\n  servers:\n   - a:1:1\n",
    "p:\n  listen: 127.0.0.1:1\n  servers:\n", "p:\n  listen: 127.0.0.1:1\n  servers: a:1:1\n",
    "p:\n\tlisten: 127.0.0.1:1\n", "p:\n  listen: 127.0.0.1:1\n servers:\n   - a:1:1\n",
    pool().replace("\n", "\r\n"), pool().rstrip("\n"), "\ufeff" + pool(),
    pool().replace("   - ", "- "), pool().replace("   - ", "  - "), pool().replace("   - ", "  -   "),
    "p:\n\n\n  # comment\n\n  listen: 127.0.0.1:1   # c\n# c\n  servers:   # c\n\n    # c\n"
    "   - 127.0.0.1:1:1 # c\n\n   # c\n",
    "p:\n  servers:\n   - a:1:1\n  listen: 127.0.0.1:1\n  timeout: 1\n",
    "p:\n  listen: 127.0.0.1:1\n  servers:\n   - [a:1:1]\n",
    "p:\n  listen: 127.0.0.1:1\n  servers:\n   - a: 1\n",
    "p:\n  q:\n    listen: 127.0.0.1:1\n    servers:\n     - a:1:1\n",
]

# Accepted here, refused there.
ONLY_CASHEW = {
    "brackets round an IPv6 address": [
        pool(listen="'[::1]:22121'")],
    "a host name is looked up when it is needed, not when the file is read": [
        pool(listen="nosuch.invalid:1")],
    "ordinary YAML": [
        "---\n" + pool(), pool() + "...\n", "%YAML 1.1\n---\n" + pool(),
        "p: {listen: '127.0.0.1:1', servers: ['a:1:1']}\n",
        '{"p": {"listen": "127.0.0.1:1", "servers": ["a:1:1"]}}\n',
        pool("timeout: !!int 400"), pool("timeout: &t 400"),
        pool("timeout: &t 400\nbacklog: *t")],
    "settings of the process": ["global:\n  workers: 2\n" + pool()],
    "a key that this nutcracker does not have yet": [pool("reuseport: true")],
}

# Refused here, accepted there.
ONLY_NUTCRACKER = {
    "a number that does not fit wraps round": [
        pool("timeout: 4294967296"), pool("timeout: 4294967297"),
        pool(servers=["127.0.0.1:6379:4294967297"])],
    "permissions that are none are taken for 0": [
        pool(listen="/tmp/s 08"), pool(listen="/tmp/a b")],
    "a server that can never be reached": [
        pool(servers=[":6379:1"]), pool(servers=["/" + LONG + ":1"])],
    "a name that is empty": [pool(servers=["'127.0.0.1:6379:1 '"])],
    "a NUL byte in a password": [auth(r'"a\0b"')],
}


def verdict(command, path):
    """True: `command -t` accepts the file."""
    done = subprocess.run([*command, "-t", "-c", path], capture_output=True, text=True, timeout=60,
                          errors="replace", check=False)
    name = Path(command[-1]).name
    word = "ok" if done.returncode == 0 else "invalid"
    assert done.returncode in (0, 1), done.stderr
    assert done.stderr.endswith(f"{name}: configuration file '{path}' syntax is {word}\n")
    return done.returncode == 0


def ours(path):
    return verdict(harness.base_command(), path)


def theirs(path):
    return verdict([NUTCRACKER], path)


def write(folder, text):
    path = folder / "c.yml"
    path.write_bytes(text.encode())
    return path


@needs_nutcracker
def test_same_verdict(tmp_path):
    wrong = []
    for text in SAME:
        path = write(tmp_path, text)
        if ours(path) != theirs(path):
            wrong.append(text)
    assert wrong == []


@pytest.mark.parametrize("why", ONLY_CASHEW)
def test_only_cashew_accepts(tmp_path, why):
    for text in ONLY_CASHEW[why]:
        path = write(tmp_path, text)
        assert ours(path), text
        if NUTCRACKER:
            assert not theirs(path), text


@pytest.mark.parametrize("why", ONLY_NUTCRACKER)
def test_only_nutcracker_accepts(tmp_path, why):
    for text in ONLY_NUTCRACKER[why]:
        path = write(tmp_path, text)
        assert not ours(path), text
        if NUTCRACKER:
            assert theirs(path), text


@pytest.mark.parametrize("path", sorted(DATA.glob("*.yml")), ids=lambda path: path.name)
def test_known_configs(path):
    """Files as users of twemproxy have them."""
    assert ours(path)
    if NUTCRACKER:
        assert theirs(path)


def test_meetbill_works(redis_servers, cashew):
    """A file with a blank line behind the pool's name and comments on every line, but for ports as
    it was given to us, before real servers."""
    servers = redis_servers(2)
    port = harness.free_port()
    text = (DATA / "meetbill.yml").read_text().replace("22121 ", f"{port} ")
    for old, server in zip(("6379", "6380"), servers):
        text = text.replace(f":{old}:", f":{server.port}:")
    cashew(text)
    client = harness.Raw(port)
    for i in range(50):
        # fnv1a_64 keeps keys that follow each other together, so these do not.
        key = hashlib.sha1(str(i).encode()).hexdigest()
        client.send(harness.resp("SET", key, i))
        assert client.recv_until(b"\r\n") == b"+OK\r\n"
    assert sum(server.client().dbsize() for server in servers) == 50
    assert all(server.client().dbsize() > 0 for server in servers)
    client.close()


def test_five_pools_start(cashew, tmp_path):
    """All five listen and stand in the statistics, whether their servers are up or not."""
    text = (DATA / "five_pools.yml").read_text().replace("/tmp/gamma", str(tmp_path / "omega"))
    for port in range(22121, 22125):
        text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{harness.free_port()}")
    stats = cashew(text).stats()
    assert [name for name, value in stats.items() if isinstance(value, dict)] == [
        "beta", "alpha", "delta", "gamma", "omega"]
    assert (tmp_path / "omega").is_socket()
    assert {"server1", "server2", "server3", "server4"} <= set(stats["beta"])
    assert "127.0.0.1:11214" in stats["omega"]


def test_shipped_example():
    assert ours(harness.ROOT / "conf" / "cashew.yml")


def test_errors_are_all_shown_with_their_places(tmp_path):
    path = write(tmp_path, pool("hash: fnv1a64\ndistribution: ketma\nbacklog: 1k\nfoo: 1")
                 .replace("6379:1", "6379"))
    done = subprocess.run([*harness.base_command(), "-t", "-c", path], capture_output=True,
                          text=True, check=False)
    lines = done.stderr.splitlines()
    assert done.stdout == ""
    assert [line.split(" error: ")[0] for line in lines[:-1]] == [
        f"{path}:{place}:" for place in ("3:9", "4:17", "5:12", "6:3", "8:6")]
    assert lines[1].endswith("error: 'ketma' is not a distribution (did you mean 'ketama'? "
                             "allowed: ketama, modula, random)")


@pytest.mark.parametrize("data,words", [
    (b"\x7fELF\x02\x01\x01\x00" * 1000, ":1:1: error: byte 0x7f is not text"),
    (b"\x00" * 10_000_000, ":1:1: error: byte 0x00 is not text"),
    (b"[" * 1_000_000, "error: not YAML: "),
    (b"a: " * 1_000_000, "error: not YAML: "),
    (b"#" * 20_000_000, "error: cannot be read: the file is larger than 16 MiB"),
    (b"\xff\xfea\x00:\x00", ":1:1: error: byte 0xff is not text"),
], ids=["binary", "zeros", "nesting", "colons", "big", "utf-16"])
def test_hostile_files(tmp_path, data, words):
    path = tmp_path / "c.yml"
    path.write_bytes(data)
    done = subprocess.run([*harness.base_command(), "-t", "-c", path], capture_output=True,
                          text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert words in done.stderr
    assert len(done.stderr) < 2000


def test_unreadable(tmp_path):
    for path, words in ((tmp_path, "Is a directory"), (tmp_path / "no", "No such file")):
        done = subprocess.run([*harness.base_command(), "-t", "-c", path], capture_output=True,
                              text=True, check=False)
        assert done.returncode == 1
        assert done.stderr.startswith(f"{path}: error: cannot be read: {words}")


def test_config_from_a_pipe():
    done = subprocess.run([*harness.base_command(), "-t", "-c", "/dev/stdin"], input=pool(),
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_order_of_pools_and_servers(cashew):
    """Pools and servers stand in the statistics as nutcracker sorts them: it decides where keys
    go. Without any of them up, and with the names that nobody gave."""
    names = {"zz": ["b3:1:1 zz", "h:1:1 b1", "h:1:2 node-c", "h:1:1 a", "h:11211:1", "/tmp/s:1",
                    "hh:6379:1"],
             "b": ["h:1:1"], "aaa": ["h:1:1"]}
    text = "".join(pool(name=name, servers=servers, listen=f"127.0.0.1:{harness.free_port()}")
                   for name, servers in names.items())
    got = {name: list(value) for name, value in cashew(text).stats().items()
           if isinstance(value, dict)}
    assert list(got) == ["b", "zz", "aaa"]
    servers = [name for name in got["zz"] if name in
               ("a", "h", "b1", "zz", "node-c", "/tmp/s:", "hh:6379")]
    assert servers == ["a", "h", "b1", "zz", "node-c", "/tmp/s:", "hh:6379"]
