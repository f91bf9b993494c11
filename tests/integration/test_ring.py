# SPDX-License-Identifier: BSD-3-Clause
"""`cashew ring`: the answers are those of a proxy, and known ones; text and JSON; errors.

The seed is printed with a failure; CASHEW_SEED=that runs the same pools and keys again.
"""

import fcntl
import json
import os
import pty
import random
import struct
import subprocess
import termios

import harness
import placement_pools as pools
import placement_servers
import pytest
from test_placement import SEED, ask, every_kind

KNOWN = {
    # The weights and names that twemproxy was asked with, and where it put the keys.
    "three": ("[127.0.0.1:1:1 zz, 127.0.0.1:2:3 b1, 127.0.0.1:3:2 node-c]", 480,
              {"a": "zz", "foo": "node-c", "hello world": "b1", "user:1000": "node-c", "": "b1"}),
    "two": ("[127.0.0.1:11211:1, 127.0.0.1:11212:1]", 320,
            {"a": "127.0.0.1", "foo": "127.0.0.1:11212", "hello world": "127.0.0.1:11212",
             "user:1000": "127.0.0.1:11212", "k1": "127.0.0.1", "k2": "127.0.0.1"}),
    "rounded": ("[" + ", ".join(f"127.0.0.1:{i + 1}:1 n{i:02}" for i in range(25)) + "]", 3900,
                {"a": "n18", "foo": "n11", "user:1000": "n12"}),
}


def ring(*args, data=b"", code=0, env=None):
    """Runs `cashew ring`; returns its output as bytes."""
    done = subprocess.run([*harness.base_command(), "ring", *map(str, args)], input=data,
                          capture_output=True, check=False, timeout=60,
                          env={**os.environ, "LC_ALL": "C.UTF-8", **(env or {})})
    assert done.returncode == code, done.stderr.decode()
    return done.stdout if code == 0 else done.stderr


def ring_json(*args, **options):
    return json.loads(ring("--json", *args, **options))


def conf(path, *some):
    """A file of pools: (name, keys in flow style)."""
    path.write_text("".join(f"{name}: {{listen: 127.0.0.1:{i + 1}, {keys}}}\n"
                            for i, (name, keys) in enumerate(some)), encoding="utf-8")
    return path


# ---------------------------------------------------------------- the truth

@pytest.mark.parametrize("name", KNOWN)
def test_known_places(name, tmp_path):
    servers, points, keys = KNOWN[name]
    path = conf(tmp_path / "c.yml", ("p", f"servers: {servers}"))
    answer = ring_json("-c", path, "p", *keys)
    assert {row["key"]: row["server"] for row in answer["keys"]} == keys
    shares = ring_json("-c", path, "p")["pools"][0]["servers"]
    assert sum(server["points"] for server in shares) == points
    assert sum(server["share"] for server in shares) == pytest.approx(1)


def key_bytes(row):
    return row["key"].encode() if "key" in row else bytes.fromhex(row["key_hex"])


def test_as_the_proxy(ending, tmp_path, cashew):
    """Random pools over fake servers: the tool says what the proxy does, to the last key."""
    rng = random.Random(f"{SEED}-ring")
    servers = ending.add(placement_servers.Servers(pools.wishes(tmp_path, 100), tmp_path))
    some = [pools.random_pool(rng, f"pool{i}", servers.addresses, *kinds, 400)
            for i, kinds in enumerate(every_kind(1))]
    (tmp_path / "c").mkdir()
    path = tmp_path / "c.yml"
    path.write_text("".join(pool.yaml(tmp_path / "c") for pool in some), encoding="utf-8")
    cashew(path.read_text(encoding="utf-8"))
    for pool in some:
        answer = ring_json("-c", path, "-0", pool.label, data=b"".join(k + b"\0" for k in pool.keys
                                                                       if b"\0" not in k))
        keys = [key for key in pool.keys if b"\0" not in key]
        assert [key_bytes(row) for row in answer["keys"]] == keys
        by_name = {server.name: server.number for server in pool.servers}
        said = [by_name[row["server"]] for row in answer["keys"]]
        did = ask(pool.listen(tmp_path / "c"), pool.kind, keys)
        assert said == did, f"CASHEW_SEED={SEED}: {pool}"


def test_as_real_servers(redis_servers, cashew, tmp_path):
    servers = redis_servers(3)
    text = harness.pool("alpha", harness.free_port(), servers, redis=True, hash="murmur",
                        hash_tag="{}")
    path = tmp_path / "c.yml"
    path.write_text(text)
    proxy = cashew(text)
    port = harness.listen_addresses(text)[0]
    keys = [f"user:{{{i}}}:{i * 7}" for i in range(60)]
    with harness.Raw(port) as client:
        for key in keys:
            client.send(harness.resp("SET", key, "x"))
            assert client.recv_reply() == b"+OK\r\n"
    assert proxy.running()
    stored = {key.decode(): f"127.0.0.1:{server.port}" for server in servers
              for key in server.client().keys()}
    answer = ring_json("-c", path, "alpha", "-", data="\n".join(keys).encode())
    assert {row["key"]: row["address"] for row in answer["keys"]} == stored
    assert answer["keys"][3]["hashed"] == "3"


# ---------------------------------------------------------------- keys in and out

def test_keys_from_everywhere(tmp_path):
    path = conf(tmp_path / "c.yml", ("p", "servers: [a:1:1, b:1:1]"))
    rows = ring_json("-c", path, "p", "one", "-", "three", data=b"two\n\nlast")["keys"]
    assert [row["key"] for row in rows] == ["one", "two", "", "last", "three"]
    assert rows[2]["hash"] == 0
    assert ring_json("-c", path, "p", "-", data=b"")["keys"] == []
    rows = ring_json("-c", path, "-0", "p", data=b"a\nb\0c\0")["keys"]
    assert [row["key"] for row in rows] == ["a\nb", "c"]


def test_keys_that_are_no_text(tmp_path):
    path = conf(tmp_path / "c.yml", ("p", "hash_tag: '{}', servers: [a:1:1, b:1:1]"))
    row, = ring_json("-c", path, "p", "-", data=b"\xff{\x80}\xfe\n")["keys"]
    assert row["key_hex"] == "ff7b807dfe" and row["hashed_hex"] == "80" and "key" not in row
    text = ring("-c", path, "p", "-", data=b"\xff\x1b[2J\\ \xe7\x8c\xab\n").decode()
    assert text.endswith("\\xff\\x1b[2J\\\\ 猫\n")
    text = ring("-c", path, "p", "-", data="猫\n".encode(), env={"LC_ALL": "C"}).decode()
    assert text.endswith("  \\xe7\\x8c\\xab\n")


def test_text_of_keys(tmp_path):
    path = conf(tmp_path / "c.yml", ("p", "hash_tag: '{}', servers: [a:1:1 alpha, b:1:1 b]"))
    lines = ring("-c", path, "p", "x{foo}").decode().splitlines()
    assert lines[0].split() == ["server", "hash", "key"]
    assert lines[1].split() == [lines[1].split()[0], "4275688823", "x{foo}", "(hashed:", "foo)"]


def test_many_keys(tmp_path):
    path = conf(tmp_path / "c.yml", ("p", "hash: murmur, servers: [a:1:1, b:1:1, c:1:2]"))
    text = ring("-c", path, "p", "-", data=b"".join(b"key:%d\n" % i for i in range(100000)))
    rows = [line.split()[0] for line in text.splitlines()[1:]]
    assert len(rows) == 100000
    for server in ring_json("-c", path, "p")["pools"][0]["servers"]:
        found = rows.count(server["name"].encode()) / len(rows)
        assert found == pytest.approx(server["share"], abs=0.01)


def test_random_has_no_places(tmp_path):
    path = conf(tmp_path / "c.yml", ("p", "distribution: random, servers: [a:1:1, b:1:9]"))
    assert ring_json("-c", path, "p", "k")["keys"][0]["server"] is None
    assert ring("-c", path, "p", "k").split()[3] == b"(any)"
    assert [s["share"] for s in ring_json("-c", path)["pools"][0]["servers"]] == [0.5, 0.5]


# ---------------------------------------------------------------- shares and moves

def test_shares(tmp_path):
    path = conf(tmp_path / "c.yml", ("m", "distribution: modula, servers: [a:1:1, b:1:3]"),
                ("crc", "hash: crc32, servers: [a:1:1, b:1:1]"))
    answer = ring_json("-c", path)
    assert [pool["pool"] for pool in answer["pools"]] == ["m", "crc"]
    assert [(s["name"], s["weight"], s["points"], s["by_weight"], s["share"])
            for s in answer["pools"][0]["servers"]] == [("a:1", 1, 1, 0.25, 0.25),
                                                        ("b:1", 3, 3, 0.75, 0.75)]
    crc = answer["pools"][1]
    assert crc["advice"][0]["kind"] == "warning" and "crc32" in crc["advice"][0]["text"]
    assert max(server["share"] for server in crc["servers"]) > 0.99
    text = ring("-c", path, "crc").decode()
    assert "warning: crc32 gives hashes of 15 bits" in text and "█" in text
    assert "#" in ring("-c", path, "crc", env={"LC_ALL": "C"}).decode()


def test_diff_of_one_server_more(tmp_path):
    old = conf(tmp_path / "old.yml", ("p", "servers: [a:1:1 a, b:1:1 b]"))
    new = conf(tmp_path / "new.yml", ("p", "servers: [a:1:1 a, b:9:1 b, c:1:1 c]"))
    pool, = ring_json("--diff", old, new)["pools"]
    assert pool["method"] == "exact" and 0.2 < pool["moved"] < 0.5
    assert {move["to"] for move in pool["moves"]} == {"c"}
    assert sum(move["part"] for move in pool["moves"]) == pytest.approx(pool["moved"])
    by_name = {server["name"]: server for server in pool["servers"]}
    assert by_name["c"]["share_before"] is None
    assert by_name["c"]["share_after"] == pytest.approx(pool["moved"])
    assert by_name["b"]["address_before"] == "b:1" and by_name["b"]["address_after"] == "b:9"
    text = ring("--diff", old, new, "p").decode()
    assert f"{pool['moved'] * 100:.2f} % of the keys move" in text
    assert "'b' keeps its keys and changes its address: b:1, then b:9" in text


def test_diff_by_keys(tmp_path):
    """What the diff counts is what a sample of keys finds."""
    kinds = ["servers: [a:1:1, b:1:2, c:1:1]", "servers: [a:1:1, c:1:1, d:1:5]",
             "distribution: modula, servers: [a:1:1, b:1:2]"]
    paths = [conf(tmp_path / f"{i}.yml", ("p", "hash: murmur, " + keys))
             for i, keys in enumerate(kinds)]
    data = b"".join(b"%d\n" % i for i in range(30000))
    places = [[row["server"] for row in ring_json("-c", path, "p", "-", data=data)["keys"]]
              for path in paths]
    for i, old in enumerate(paths):
        for k, new in enumerate(paths):
            moved = sum(a != b for a, b in zip(places[i], places[k])) / len(places[i])
            assert ring_json("--diff", old, new)["pools"][0]["moved"] == pytest.approx(moved,
                                                                                       abs=0.015)


def test_diff_of_pools_that_only_one_has(tmp_path):
    old = conf(tmp_path / "old.yml", ("p", "servers: [a:1:1]"), ("gone", "servers: [a:1:1]"))
    new = conf(tmp_path / "new.yml", ("p", "servers: [a:1:1]"), ("fresh", "servers: [a:1:1]"))
    answer = ring_json("--diff", old, new)
    assert answer["only_before"] == ["gone"] and answer["only_after"] == ["fresh"]
    text = ring("--diff", old, new).decode()
    assert "pool 'p': nothing moves" in text and f"pool 'gone' is in {old} only" in text


def test_diff_of_what_can_not_be_counted(tmp_path):
    old = conf(tmp_path / "old.yml", ("p", "hash: md5, servers: [a:1:1, b:1:1]"),
               ("r", "distribution: random, servers: [a:1:1, b:1:1]"))
    new = conf(tmp_path / "new.yml", ("p", "hash: murmur, hash_tag: '{}', "
                                           "servers: [a:1:1, b:1:1]"),
               ("r", "servers: [a:1:1, b:1:1]"))
    first, second = ring_json("--diff", old, new)["pools"]
    assert first["method"] == "expected"
    assert [row["kind"] for row in first["advice"]] == ["warning", "warning"]
    assert second["method"] == "none" and second["moved"] is None


# ---------------------------------------------------------------- terminals

def on_terminal(columns, *args, **env):
    """What the tool writes on a terminal of so many columns."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "TERM": "xterm", **env}
    environment.pop("COLUMNS", None)
    with subprocess.Popen([*harness.base_command(), "ring", *map(str, args)], stdin=slave,
                          stdout=slave, env=environment, stderr=subprocess.DEVNULL) as process:
        os.close(slave)
        text = b""
        try:
            while more := os.read(master, 65536):
                text += more
        except OSError:  # the other side is closed
            pass
        os.close(master)
        assert process.wait(60) == 0
    return text.decode()


def test_terminals(tmp_path):
    path = conf(tmp_path / "c.yml", ("p", "hash: murmur, servers: "
                                          "[a:1:1 a-very-long-name-of-a-server, b:1:1]"))
    wide, narrow = on_terminal(120, "-c", path), on_terminal(45, "-c", path)
    assert "\x1b[36m" in wide and "a-very-long-name-of-a-server" in wide
    assert "a-very-l" in narrow and "a-very-long-name-of-a-server" not in narrow
    assert "~" in narrow
    for text in (on_terminal(120, "-c", path, NO_COLOR="1"), on_terminal(120, "-c", path,
                                                                        TERM="dumb"),
                 ring("-c", path).decode(), ring("-c", path, env={"COLUMNS": "20"}).decode()):
        assert "\x1b" not in text and "a-very-long-name-of-a-server" in text
    lengths = [len(line) for line in on_terminal(60, "-c", path, NO_COLOR="1").split("\r\n")[1:]]
    assert max(lengths) <= 60


# ---------------------------------------------------------------- wrong questions

def test_errors(tmp_path):
    path = conf(tmp_path / "c.yml", ("sessions", "servers: [a:1:1]"))
    bad = conf(tmp_path / "bad.yml", ("p", "hash: nope, servers: [a:1:1]"))
    assert b"did you mean 'sessions'" in ring("-c", path, "sesions", "k", code=1)
    assert b"did you mean 'sessions'" in ring("--diff", path, path, "sesions", code=1)
    assert b"bad.yml:1:" in ring("-c", bad, code=1)
    assert b"is invalid" in ring("-c", bad, code=1)
    none = tmp_path / "none.yml"
    for args in (["-c", none], ["--diff", path, none], ["--diff", none, path]):
        assert ring(*args, code=1) == f"{none}: error: cannot be read: No such file or directory\n".encode()
    assert ring("-c", tmp_path, code=1) == f"{tmp_path}: error: cannot be read: Is a directory\n".encode()
    assert b"--nope" in ring("--nope", code=2)
    assert b"requires an argument" in ring("-c", code=2)
    for args in (["--diff", path], ["--diff", path, path, "p", "k"], ["-0", "-c", path],
                 ["--diff", "-c", path, path, path], ["--diff", "-0", path, path]):
        assert b"see 'cashew ring --help'" in ring(*args, code=2)


def test_a_full_disk_is_no_answer(tmp_path):
    path = conf(tmp_path / "c.yml", ("p", "servers: [a:1:1]"))
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*harness.base_command(), "ring", "-c", path], stdout=full,
                              stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1 and b"No space left" in done.stderr


def test_help():
    text = ring("--help").decode()
    for word in ("--conf-file=FILE", "--diff", "--json", "--null", "POOL KEY..."):
        assert word in text
