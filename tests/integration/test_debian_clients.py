# SPDX-License-Identifier: BSD-3-Clause
"""Client libraries of other languages, as Debian packages them, doing the typical work of an application with default
options before three servers: clients/. What is not installed is skipped; `./dev test --all` installs it."""

import os
import shutil
import subprocess
from pathlib import Path

import harness
import pytest

FOLDER = Path(__file__).parent / "clients"
SPY = Path("/usr/share/java/spymemcached.jar")

REDIS = ["ruby_redis.rb", "phpredis.php", "predis.php", "perl_redis.pl", "hiredis.c", "redigo.go", "aioredis_work.py"]
MEMCACHED = ["dalli.rb", "libmemcached.php", "pylibmc_work.py", "memcached_fast.pl", "gomemcache.go",
             "Spymemcached.java"]

# How it is found out that what a file uses is installed.
NEEDS = {
    "ruby_redis.rb": ["ruby", "-e", "require 'redis'"],
    "dalli.rb": ["ruby", "-e", "require 'dalli'"],
    "phpredis.php": ["php", "-r", "exit(extension_loaded('redis') ? 0 : 1);"],
    "libmemcached.php": ["php", "-r", "exit(extension_loaded('memcached') ? 0 : 1);"],
    "predis.php": ["php", "-r", "exit(is_file('/usr/share/php/Predis/Autoloader.php') ? 0 : 1);"],
    "perl_redis.pl": ["perl", "-MRedis", "-e", "1"],
    "memcached_fast.pl": ["perl", "-MCache::Memcached::Fast", "-e", "1"],
    "aioredis_work.py": ["/usr/bin/python3", "-c", "import aioredis"],
    "pylibmc_work.py": ["/usr/bin/python3", "-c", "import memcache, pylibmc"],
    "hiredis.c": ["cc", "-fsyntax-only", str(FOLDER / "hiredis.c")],
    "redigo.go": ["test", "-d", "/usr/share/gocode/src/github.com/gomodule/redigo"],
    "gomemcache.go": ["test", "-d", "/usr/share/gocode/src/github.com/bradfitz/gomemcache"],
    "Spymemcached.java": ["test", "-f", str(SPY)],
}
RUN = {".rb": ["ruby"], ".php": ["php"], ".pl": ["perl"], ".py": ["/usr/bin/python3"],
       ".java": ["java", "-cp", str(SPY)]}

pytestmark = [pytest.mark.long, pytest.mark.timeout(200)]


def is_there(name):
    needs = NEEDS[name]
    language = {".go": "go", ".java": "java"}.get(Path(name).suffix, needs[0])
    return shutil.which(language) and subprocess.run(needs, capture_output=True, check=False).returncode == 0


def program(name, folder):
    """The command that runs a file; C and Go are built into `folder` first."""
    source, made = FOLDER / name, folder / "program"
    if source.suffix == ".c":
        subprocess.run(["cc", "-o", made, source, "-lhiredis"], check=True)
        return [made]
    if source.suffix == ".go":
        settings = {"GOPATH": "/usr/share/gocode", "GO111MODULE": "off", "GOCACHE": str(folder / "cache")}
        subprocess.run(["go", "build", "-o", made, source], env={**os.environ, **settings}, check=True)
        return [made]
    return [*RUN[source.suffix], source]


@pytest.fixture(scope="module")
def redis_place():
    """The port of a pool, and its servers."""
    yield from place([harness.Redis() for _ in range(3)], redis=True, hash_tag="{}")


@pytest.fixture(scope="module")
def memcached_place():
    yield from place([harness.Memcached() for _ in range(3)])


def place(servers, **keys):
    port = harness.free_port()
    proxy = harness.Cashew(harness.pool("p", port, servers, hash="murmur", **keys))
    yield port, servers
    proxy.close()
    for server in servers:
        server.kill()


def work(name, port, folder):
    if not is_there(name):
        pytest.skip(f"what {name} uses is not installed")
    done = subprocess.run([*program(name, folder), str(port)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and done.stdout == "done\n", done.stdout + done.stderr


@pytest.mark.parametrize("name", REDIS)
def test_redis_client(redis_place, name, tmp_path):
    port, servers = redis_place
    for server in servers:
        server.client().flushall()
    work(name, port, tmp_path)


@pytest.mark.parametrize("name", MEMCACHED)
def test_memcached_client(memcached_place, name, tmp_path):
    port, servers = memcached_place
    for server in servers:
        server.client().flush_all()
    work(name, port, tmp_path)
