# SPDX-License-Identifier: BSD-3-Clause
"""What an application does, with pylibmc and python-memcached and default options: pylibmc_work.py PORT"""

import sys

import memcache
import pylibmc

PLACE = f"127.0.0.1:{sys.argv[1]}"
PAIRS = {f"key:{i}": f"value {i}" for i in range(100)}


def work(client):
    assert client.set("a", "b") and client.get("a") == "b"
    assert client.get("none") is None
    assert not client.set_multi(PAIRS)
    assert client.get_multi([*PAIRS, "none"]) == PAIRS
    assert not client.add("a", "x") and client.replace("a", "1")
    assert client.set("n", 5) and client.incr("n", 2) == 7 and client.decr("n", 1) == 6
    assert client.delete("n") and client.get("n") is None
    assert client.touch("a", 100)
    assert client.delete_multi(list(PAIRS))
    assert client.get_multi(list(PAIRS)) == {}


work(pylibmc.Client([PLACE], binary=False))
tricky = pylibmc.Client([PLACE], binary=False, behaviors={"cas": True, "tcp_nodelay": True, "no_block": True})
work(tricky)
tricky.set("c", "1")
value, cas = tricky.gets("c")
assert value == "1" and tricky.cas("c", "2", cas) and tricky.get("c") == "2"
work(memcache.Client([PLACE]))
print("done")
