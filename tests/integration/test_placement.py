# SPDX-License-Identifier: BSD-3-Clause
"""Every key goes where twemproxy would put it: random pools and keys beside Debian's nutcracker, on
the same fake servers, without a single difference.

The seed is printed with a failure; CASHEW_SEED=that runs the same pools and keys again.
"""

import ctypes
import os
import random
import socket
import subprocess
import threading

import harness
import placement_pools as pools
import placement_servers
import pytest
from compat import Nutcracker, needs_nutcracker

SEED = os.environ.get("CASHEW_SEED") or str(random.SystemRandom().randrange(10 ** 9))
SERVERS = 100  # fake ones, of which each pool takes some
KEYS = 1500    # per pool
ANSWER = b"$%d\r\n" % placement_servers.DIGITS


# ---------------------------------------------------------------- asking a proxy

def request(kind, key):
    return (b"*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n" % (len(key), key) if kind == "redis"
            else b"get %s\r\n" % key)


def read_answers(sock, kind, keys):
    """The numbers of the servers that answered; None for an error."""
    numbers = []
    with sock.makefile("rb") as file:
        for key in keys:
            line = file.readline()
            if line.startswith((b"-", b"SERVER_ERROR")):
                numbers.append(None)
                continue
            wanted = ANSWER if kind == "redis" else b"VALUE %s 0 %d\r\n" % (
                key, placement_servers.DIGITS)
            assert line == wanted, f"{kind} key {key!r} got {line!r}"
            numbers.append(int(file.readline()))
            assert kind == "redis" or file.readline() == b"END\r\n"
    return numbers


def ask(path, kind, keys):
    """Sends a get of every key in one pipeline and returns who answered each."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(30)
        sock.connect(path)
        data = b"".join(request(kind, key) for key in keys)
        sender = threading.Thread(target=sock.sendall, args=(data,), daemon=True)
        sender.start()
        numbers = read_answers(sock, kind, keys)
        sender.join()
        return numbers


# ---------------------------------------------------------------- our code, without a proxy

@pytest.fixture(scope="session")
def route(tmp_path_factory):
    """src/route as a shared object."""
    library = tmp_path_factory.mktemp("route") / "route.so"
    base = harness.ROOT / "src" / "base"
    sources = [*sorted((harness.ROOT / "src" / "route").glob("*.c")), base / "log.c", base / "must.c"]
    subprocess.run([os.environ.get("CC", "cc"), "-std=gnu17", "-O2", "-D_GNU_SOURCE", "-shared",
                    "-fPIC", "-I", harness.ROOT / "src", "-o", library,
                    harness.ROOT / "tests" / "tools" / "place.c", *sources, "-lmd"], check=True)
    return ctypes.CDLL(str(library))


def place(route, pool, dead=()):
    """Where our code puts the keys of a pool, as the numbers of servers."""
    servers = pool.sorted_servers()
    count, keys = len(servers), len(pool.keys)
    picked = (ctypes.c_uint32 * keys)()
    failed = route.place(
        pool.hash.encode(), pool.distribution.encode(), pool.tag.encode(), count,
        (ctypes.c_char_p * count)(*[s.name.encode() for s in servers]),
        (ctypes.c_uint32 * count)(*[s.weight for s in servers]),
        (ctypes.c_uint8 * count)(*[s.number not in dead for s in servers]),
        keys, b"".join(pool.keys), (ctypes.c_uint32 * keys)(*map(len, pool.keys)), picked)
    assert failed == 0
    return [servers[i].number for i in picked]


# ---------------------------------------------------------------- comparing

def assert_same(pool, wanted, got, who):
    """No key differs; else the first ones that do are shown."""
    different = [(key, w, g) for key, w, g in zip(pool.keys, wanted, got) if w != g]
    assert not different, (
        f"CASHEW_SEED={SEED}: {who} places {len(different)} of {len(pool.keys)} keys of {pool} "
        f"elsewhere (key, nutcracker's server, ours): {different[:5]}")


def every_kind(times):
    """(kind, hash, distribution) of the pools of a batch, each combination `times` times."""
    return [(kind, name, distribution) for kind in ("redis", "memcache") for name in pools.HASHES
            for distribution in ("ketama", "modula")] * times


def batch(number, ending, tmp_path, times=1):
    """Random pools over fake servers that run until the test ends."""
    print(f"CASHEW_SEED={SEED}")
    rng = random.Random(f"{SEED}-{number}")
    servers = ending.add(placement_servers.Servers(pools.wishes(tmp_path, SERVERS), tmp_path))
    return [pools.random_pool(rng, f"pool{i}", servers.addresses, *kinds, KEYS)
            for i, kinds in enumerate(every_kind(times))]


def config(some, folder, **more):
    """The pools as YAML; each listens on a path in `folder`."""
    folder.mkdir()
    return "".join(pool.yaml(folder, **more) for pool in some)


def compare_route(number, times, ending, tmp_path, route):
    some = batch(number, ending, tmp_path, times)
    ending.add(Nutcracker(config(some, tmp_path / "n")))
    for pool in some:
        wanted = ask(pool.listen(tmp_path / "n"), pool.kind, pool.keys)
        assert_same(pool, wanted, place(route, pool), "src/route")


def compare_cashew(number, times, ending, tmp_path, cashew):
    some = batch(number, ending, tmp_path, times)
    ending.add(Nutcracker(config(some, tmp_path / "n")))
    cashew(config(some, tmp_path / "c"))
    for pool in some:
        wanted = ask(pool.listen(tmp_path / "n"), pool.kind, pool.keys)
        assert_same(pool, wanted, ask(pool.listen(tmp_path / "c"), pool.kind, pool.keys), "cashew")


@needs_nutcracker
@pytest.mark.parametrize("number", range(3))
def test_route_beside_nutcracker(number, ending, tmp_path, route):
    """Our hashes and distributions, called in this process."""
    compare_route(number, 1, ending, tmp_path, route)


@needs_nutcracker
@pytest.mark.parametrize("number", range(100, 103))
def test_cashew_beside_nutcracker(number, ending, tmp_path, cashew):
    compare_cashew(number, 1, ending, tmp_path, cashew)


@pytest.mark.long
@needs_nutcracker
@pytest.mark.parametrize("number", range(200, 220))
def test_route_beside_nutcracker_long(number, ending, tmp_path, route):
    compare_route(number, 2, ending, tmp_path, route)


@pytest.mark.long
@needs_nutcracker
@pytest.mark.parametrize("number", range(300, 320))
def test_cashew_beside_nutcracker_long(number, ending, tmp_path, cashew):
    compare_cashew(number, 2, ending, tmp_path, cashew)


# ---------------------------------------------------------------- without the dead

def grave(rng, ending, path):
    """An address on which nobody listens, nor will."""
    if rng.random() < 0.5:
        return path
    sock = ending.add(socket.socket())
    sock.bind(("127.0.0.1", 0))
    return "127.0.0.1:%d" % sock.getsockname()[1]


def mourning_pools(number, ending, tmp_path):
    """Pools of at least two servers, and the numbers of those of each that are dead. Weights are
    close together and names short, so that every server has keys, and is found dead."""
    found = []
    for pool in batch(number, ending, tmp_path):
        rng = random.Random(f"{SEED}-{number}-{pool.label}")
        del pool.servers[20:]
        if len(pool.servers) < 2 or pool.hash == "crc32":  # crc32 finds one server on a ketama
            continue
        dead = rng.sample(pool.servers, rng.randint(1, max(1, len(pool.servers) * 2 // 3)))
        for server in pool.servers:
            server.weight = rng.randint(1, 3)
            server.given = server.given[-30:]
        for server in dead:
            server.address = grave(rng, ending, f"{tmp_path}/nobody{server.number}")
        found.append((pool, {server.number for server in dead}))
    return found


def ask_until_ejected(path, pool):
    """Asks until no key meets a dead server any more; returns the answers of that round."""
    for _ in range(50):
        answers = ask(path, pool.kind, pool.keys)
        if None not in answers:
            return answers
    raise AssertionError(f"CASHEW_SEED={SEED}: {pool} still answers with errors")


EJECT = {"auto_eject_hosts": True, "server_failure_limit": 1, "server_retry_timeout": 600000,
         "timeout": 5000}


@needs_nutcracker
def test_route_after_ejections(ending, tmp_path, route):
    """The ring over the servers that are left, which is rounded anew."""
    some = mourning_pools(400, ending, tmp_path)
    ending.add(Nutcracker(config([pool for pool, _ in some], tmp_path / "n", **EJECT)))
    for pool, dead in some:
        wanted = ask_until_ejected(pool.listen(tmp_path / "n"), pool)
        assert_same(pool, wanted, place(route, pool, dead), "src/route")


@needs_nutcracker
def test_cashew_after_ejections(ending, tmp_path, cashew):
    some = mourning_pools(500, ending, tmp_path)
    text = config([pool for pool, _ in some], tmp_path / "n", **EJECT)
    ending.add(Nutcracker(text))
    cashew(config([pool for pool, _ in some], tmp_path / "c", **EJECT))
    for pool, _ in some:
        wanted = ask_until_ejected(pool.listen(tmp_path / "n"), pool)
        got = ask_until_ejected(pool.listen(tmp_path / "c"), pool)
        assert_same(pool, wanted, got, "cashew")
