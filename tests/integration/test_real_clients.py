# SPDX-License-Identifier: BSD-3-Clause
"""The clients that people use, with cashew between them and real servers."""

import re
import subprocess
from pathlib import Path

import harness
import pymemcache
import pytest
import redis
from harness import free_port, pool, resp

DATA = Path(__file__).parent / "data"


@pytest.fixture
def redis_port(cashew, redis_servers):
    """A pool of three redis servers."""
    port = free_port()
    servers = [f"127.0.0.1:{s.port}:1 s{i}" for i, s in enumerate(redis_servers(3))]
    cashew(pool("p", port, servers, redis=True, hash="md5", hash_tag="{}", timeout=5000))
    return port


def redis_client(target, **options):
    place = {"unix_socket_path": str(target)} if isinstance(target, Path) else {"port": target}
    return redis.Redis(**place, socket_timeout=10, **options)


# ---------------------------------------------------------------- redis-py

def test_redis_py(redis_port):
    client = redis_client(redis_port)
    assert client.ping()
    assert client.echo("hello") == b"hello"
    keys = [f"key{i}" for i in range(100)]
    assert client.mset({key: key.upper() for key in keys})
    assert client.mget(keys + ["none"]) == [key.upper().encode() for key in keys] + [None]
    assert client.exists(*keys) == 100
    assert client.touch(*keys) == 100
    assert client.delete(*keys[:50]) == 50
    assert client.unlink(*keys[50:]) == 50
    binary = bytes(range(256)) * 300
    client.set(binary, binary, ex=100)
    assert client.get(binary) == binary
    assert 0 < client.ttl(binary) <= 100


def test_redis_py_types(redis_port):
    client = redis_client(redis_port, decode_responses=True)
    client.hset("h", mapping={"a": "1", "b": "2"})
    assert client.hgetall("h") == {"a": "1", "b": "2"}
    client.rpush("l", *range(1000))
    assert client.lrange("l", 0, -1) == [str(i) for i in range(1000)]
    client.sadd("{t}s1", "a", "b")
    client.sadd("{t}s2", "b", "c")
    assert client.sinter("{t}s1", "{t}s2") == {"b"}
    client.zadd("z", {"x": 1.5, "y": 2})
    assert client.zrange("z", 0, -1, withscores=True) == [("x", 1.5), ("y", 2.0)]
    assert client.incrby("n", 41) == 41
    assert client.eval("return {KEYS[1], ARGV[1], 3, {4}}", 1, "{t}k", "v") == \
        ["{t}k", "v", 3, [4]]
    client.xadd("x", {"f": "v"}, id="1-1")
    assert client.xread({"x": 0}) == [["x", [("1-1", {"f": "v"})]]]
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        client.incr("h")
    assert client.get("none") is None


def test_redis_py_pipeline(redis_port):
    client = redis_client(redis_port)
    with client.pipeline(transaction=False) as pipe:
        for i in range(2000):
            pipe.set(f"k{i}", i)
            pipe.get(f"k{i}")
        replies = pipe.execute()
    assert replies[1::2] == [str(i).encode() for i in range(2000)]
    with client.pipeline(transaction=False) as pipe:
        pipe.lpush("k1", "x").get("k1")
        first, second = pipe.execute(raise_on_error=False)
    assert isinstance(first, redis.ResponseError) and second == b"1"


# ---------------------------------------------------------------- pymemcache

def kill(servers):
    """An orderly end takes memcached up to a second."""
    for server in servers:
        server.kill()


def memcache_story(client):
    assert client.set("k", b"v") and client.get("k") == b"v"
    assert client.get("none") is None
    assert client.add("k", b"w", noreply=False) is False
    assert client.replace("k", b"x", noreply=False) is True
    assert client.append("k", b"y", noreply=False) and client.prepend("k", b"w", noreply=False)
    assert client.get("k") == b"wxy"
    value, cas = client.gets("k")
    assert value == b"wxy"
    assert client.cas("k", b"z", cas) is True
    assert client.cas("k", b"z", cas) is False
    assert client.set("n", b"10", noreply=False)
    assert client.incr("n", 5) == 15 and client.decr("n", 20) == 0
    assert client.touch("n", 100, noreply=False) is True
    assert client.delete("n", noreply=False) is True
    assert client.delete("n", noreply=False) is False
    many = {f"key{i}": b"%d" % i * (i + 1) for i in range(200)}
    assert client.set_many(many, noreply=False) == []
    assert client.get_many([*many, "none"]) == many
    assert client.delete_many(list(many), noreply=False)
    assert client.get_many(list(many)) == {}
    # noreply, as pymemcache does by default.
    for i in range(100):
        client.set(f"quiet{i}", b"%d" % i)
    assert len(client.get_many([f"quiet{i}" for i in range(100)])) == 100
    assert re.fullmatch(rb"\d+\.\d+\..*", client.version())
    client.set("big", b"b" * 900_000, noreply=False)
    assert client.get("big") == b"b" * 900_000
    with pytest.raises(pymemcache.exceptions.MemcacheServerError):
        client.set("too-big", b"b" * 2_000_000, noreply=False)
    client.quit()


def test_pymemcache(cashew, memcached_servers):
    port = free_port()
    servers = memcached_servers(3)
    cashew(pool("p", port, [f"127.0.0.1:{s.port}:1 s{i}" for i, s in enumerate(servers)],
                hash="md5", timeout=5000))
    memcache_story(pymemcache.Client(("127.0.0.1", port), timeout=10))
    kill(servers)


# ---------------------------------------------------------------- redis-cli, redis-benchmark

def cli(port, *words, stdin=None):
    return subprocess.run(["redis-cli", "-p", str(port), *words], input=stdin, text=True,
                          capture_output=True, timeout=60, check=False)


def test_redis_cli(redis_port):
    assert cli(redis_port, "SET", "k", "a b").stdout == "OK\n"
    assert cli(redis_port, "GET", "k").stdout == "a b\n"
    assert cli(redis_port, "MGET", "k", "none", "k").stdout == "a b\n\na b\n"
    assert cli(redis_port, "-x", "SET", "piped", stdin="from stdin").stdout == "OK\n"
    lines = "".join(f"SET line{i} {i}\n" for i in range(100)) + "GET line77\nPING\n"
    assert cli(redis_port, stdin=lines).stdout.split("\n")[100:] == ["77", "PONG", ""]
    assert cli(redis_port, "-r", "5", "INCR", "n").stdout == "1\n2\n3\n4\n5\n"
    assert "unknown command" in cli(redis_port, "NOTHING").stdout


def test_redis_cli_pipe(redis_port):
    requests = b"".join(resp("SET", f"mass{i}", i) for i in range(20000))
    done = subprocess.run(["redis-cli", "-p", str(redis_port), "--pipe"], input=requests,
                          capture_output=True, timeout=60, check=False)
    assert b"errors: 0, replies: 20000" in done.stdout
    assert redis_client(redis_port).get("mass19999") == b"19999"


@pytest.mark.parametrize("depth", [1, 32])
def test_redis_benchmark(redis_port, depth):
    """Its default list of commands; it ends with an error at the first error reply."""
    done = subprocess.run(["redis-benchmark", "-p", str(redis_port), "-P", str(depth), "-n", "1000",
                           "-c", "20", "-r", "1000", "-q"],
                          text=True, capture_output=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert "rror" not in done.stdout
    results = re.findall(r"([^\r\n:]+): [\d.]+ requests per second", done.stdout)
    assert len(results) >= 19, done.stdout


# ---------------------------------------------------------------- known configs

def test_five_pools_work(cashew, ending, tmp_path):
    """The file of five pools, real servers at every place: each pool serves its protocol."""
    text = (DATA / "five_pools.yml").read_text().replace("/tmp/gamma", str(tmp_path / "omega"))
    # What it says of time is not for a machine that is busy with tests.
    text = re.sub(r"^( +timeout:) \d+$", r"\1 10000", text, flags=re.M)
    listens = {}
    for port in range(22121, 22125):
        listens[port] = free_port()
        text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{listens[port]}")
    servers = {port: ending.add((harness.Redis if port < 10000 else harness.Memcached)(wait=False))
               for port in (*range(6379, 6384), *range(11212, 11224))}
    for old, server in servers.items():
        server.wait_listening()
        text = text.replace(f"127.0.0.1:{old}:", f"127.0.0.1:{server.port}:")
    cashew(text)
    for port in (22121, 22122):
        client = redis_client(listens[port])
        assert client.mset({f"{{{i}}}key": i for i in range(50)})
        assert client.mget([f"{{{i}}}key" for i in range(50)]) == [b"%d" % i for i in range(50)]
    for place in (("127.0.0.1", listens[22123]), ("127.0.0.1", listens[22124]),
                  str(tmp_path / "omega")):
        client = pymemcache.Client(place, timeout=10)
        many = {f"key{i}": b"%d" % i for i in range(50)}
        assert client.set_many(many, noreply=False) == []
        assert client.get_many(list(many)) == many
    kill(servers.values())


@pytest.mark.parametrize("path", sorted(DATA.glob("*.yml")), ids=lambda path: path.name)
def test_known_config_is_ok(path):
    done = subprocess.run([*harness.base_command(), "-t", "-c", path], capture_output=True,
                          text=True, check=False)
    assert done.returncode == 0
    assert "syntax is ok" in done.stderr
