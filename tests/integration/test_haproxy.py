# SPDX-License-Identifier: BSD-3-Clause
"""The shipped example of HAProxy before two cashews (packaging/docker): one cashew ends, or hangs, under load, and
clients go on. Only addresses are changed, to free ports of the loopback."""

import shutil
import socket
import threading
import time

import harness
import pytest

EXAMPLE = harness.ROOT / "packaging" / "docker"
POOLS = {"redis": ("22121", "6379"), "memcached": ("22122", "11211")}
CLIENTS = 8

pytestmark = pytest.mark.skipif(shutil.which("haproxy", path="/usr/sbin:/usr/bin") is None,
                                reason="there is no haproxy")


class HAProxy(harness.Program):
    """HAProxy with the example's configuration; `cashews` are (redis port, memcached port)."""

    def __init__(self, cashews):
        super().__init__("haproxy")
        self.ports = {}
        text = (EXAMPLE / "haproxy.cfg").read_text().replace("maxconn 20000", "maxconn 200")
        for at, (name, (inner, outer)) in enumerate(POOLS.items()):
            self.ports[name] = harness.free_port()
            text = text.replace(f"bind :{outer}", f"bind 127.0.0.1:{self.ports[name]}")
            for number, ports in enumerate(cashews, 1):
                text = text.replace(f"cashew-{number}:{inner}", f"127.0.0.1:{ports[at]}")
        self.config = self.dir / "haproxy.cfg"
        self.config.write_text(text)
        # A second file: where the tests ask for the state of the servers.
        (self.dir / "stats.cfg").write_text(f"global\n    stats socket {self.dir}/stats\n")
        self.addresses = list(self.ports.values())
        self.start()

    def command(self):
        return ["/usr/sbin/haproxy", "-db", "-f", self.config, "-f", self.dir / "stats.cfg"]

    def state(self, pool, server):
        """UP, DOWN ..., as HAProxy sees it; None while it does not answer yet, since it listens for clients first."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(10)
            try:
                sock.connect(str(self.dir / "stats"))
            except (FileNotFoundError, ConnectionRefusedError):
                return None
            sock.sendall(b"show stat\n")
            text = b""
            while piece := sock.recv(65536):
                text += piece
        for line in text.decode().splitlines():
            fields = line.split(",")
            if fields[:2] == [pool, server]:
                return fields[17].split()[0]
        raise AssertionError(f"no server {pool}/{server} in {text!r}")


class Load(threading.Thread):
    """One client that writes and reads its key, connects again when it has to, and notes what it met."""

    def __init__(self, number, connect):
        super().__init__(daemon=True)
        self.key = f"client-{number}"
        self.connect = connect
        self.done = 0
        self.errors = []
        self.wrong = []
        self.gap = 0.0  # the longest time without a reply, s
        self.ending = threading.Event()

    def once(self, client, value):
        client.set(self.key, value)
        got = client.get(self.key)
        if got is None or int(got) != value:
            self.wrong.append((value, got))

    def run(self):
        client, last = None, time.monotonic()
        while not self.ending.is_set():
            try:
                client = client or self.connect()
                self.once(client, self.done)
                self.done += 1
                now = time.monotonic()
                self.gap, last = max(self.gap, now - last), now
            except Exception as error:  # pylint: disable=broad-except
                self.errors.append(error)
                if client is not None:
                    client.close()
                client = None
            time.sleep(0.002)
        if client is not None:
            client.close()

    def close(self):
        self.ending.set()
        self.join(20)


def connect_redis(port):
    import redis
    # One that doesn't try again by itself, so that every failure is seen.
    return redis.Redis(port=port, socket_timeout=8, single_connection_client=True)


def connect_memcached(port):
    from pymemcache.client.base import Client
    return Client(("127.0.0.1", port), timeout=8, connect_timeout=8, default_noreply=False)


CONNECT = {"redis": connect_redis, "memcached": connect_memcached}


def configuration(name, ports, servers):
    """The example's configuration of both cashews, with the test's addresses."""
    text = (EXAMPLE / "cashew.yml").read_text().replace("workers: auto", "workers: 1")
    for pool, port, port_of_pool in zip(POOLS, ports, ("6379", "11211")):
        text = text.replace(f"0.0.0.0:{POOLS[pool][0]}", f"127.0.0.1:{port}")
        for number, server in enumerate(servers[pool], 1):
            text = text.replace(f"- {pool}-{number}:{port_of_pool}:", f"- {server.address}:")
    assert "0.0.0.0" not in text, name
    return text


@pytest.fixture
def servers(redis_servers, memcached_servers):
    return {"redis": redis_servers(2), "memcached": memcached_servers(2)}


@pytest.fixture
def house(servers, cashew, ending):
    """(haproxy, two cashews) before two servers of each kind, all checked and up."""
    cashews = []
    for number in (1, 2):
        ports = [harness.free_port() for _ in POOLS]
        cashews.append((cashew(configuration(f"cashew-{number}", ports, servers)), ports))
    proxy = ending.add(HAProxy([ports for _, ports in cashews]))
    for number in (1, 2):
        wait_for_state(proxy, number, "UP")
    return proxy, [program for program, _ in cashews]


def wait_for_state(proxy, number, state):
    for pool in POOLS:
        harness.wait_for(lambda: proxy.state(pool, f"cashew-{number}") == state, 10,
                         f"{pool}/cashew-{number} being {state}", 0.05)


@pytest.fixture
def load(house, ending):
    """CLIENTS clients of each protocol at work, shared out among both cashews."""
    proxy, _ = house
    clients = [Load(f"{pool}-{n}", lambda pool=pool: CONNECT[pool](proxy.ports[pool]))
               for pool in POOLS for n in range(CLIENTS)]
    for client in clients:
        ending.add(client)
        client.start()
    work_on(clients, 20)
    return clients


def work_on(clients, more):
    """Waits until every client has done `more` rounds beyond those of now."""
    goals = [(client, client.done + more) for client in clients]
    harness.wait_for(lambda: all(client.done >= goal for client, goal in goals), 20,
                     f"{more} more rounds of every client", 0.02)


def judge(clients, errors_most, gap_most):
    """No client saw a wrong value, nor more errors or a longer silence than allowed."""
    for client in clients:
        client.close()
    assert [client.wrong for client in clients if client.wrong] == []
    worst = max(clients, key=lambda client: len(client.errors))
    assert len(worst.errors) <= errors_most, worst.errors
    assert max(client.gap for client in clients) <= gap_most
    return sum(len(client.errors) for client in clients)


def test_the_example_is_valid(house):
    """The shipped file itself has no mistake that HAProxy would refuse."""
    proxy, _ = house
    assert proxy.running()
    assert proxy.stderr().count("[ALERT]") == 0


def test_both_cashews_place_keys_alike(house):
    proxy, (first, second) = house
    client = CONNECT["redis"](proxy.ports["redis"])
    for n in range(100):
        client.set(f"key-{n}", n)
    client.close()
    for program in (first, second):
        port = program.ports[0]
        client = CONNECT["redis"](port)
        assert [int(client.get(f"key-{n}")) for n in range(100)] == list(range(100))
        client.close()


def test_one_cashew_is_killed(house, load):
    """Each client of the dead one gets one error, for what was under way, and goes on."""
    proxy, cashews = house
    cashews[0].kill()
    wait_for_state(proxy, 1, "DOWN")
    work_on(load, 50)
    seen = judge(load, errors_most=2, gap_most=4)
    assert 1 <= seen <= 2 * len(load)


@pytest.mark.long
def test_one_cashew_is_stopped_and_comes_back(house, load):
    """As for an upgrade: in order, one after the other, under load."""
    proxy, cashews = house
    for number, program in enumerate(cashews, 1):
        assert program.stop() == 0
        wait_for_state(proxy, number, "DOWN")
        work_on(load, 20)
        program.start()
        wait_for_state(proxy, number, "UP")
        work_on(load, 20)
    judge(load, errors_most=4, gap_most=4)


@pytest.mark.long
def test_one_cashew_hangs(house, load):
    """The checks find out, and HAProxy closes its clients' connections."""
    proxy, cashews = house
    cashews[0].pause()
    wait_for_state(proxy, 1, "DOWN")
    work_on(load, 50)
    judge(load, errors_most=2, gap_most=8)
    cashews[0].resume()


@pytest.mark.long
def test_a_dead_server_takes_no_cashew_out(house, servers):
    """What fails behind cashew is not HAProxy's affair, since the other cashew could not reach it either."""
    proxy, _ = house
    servers["redis"][0].kill()
    for server in servers["memcached"]:
        server.kill()
    with harness.Raw(proxy.ports["redis"]) as raw:
        answers = [raw.send(harness.resp("GET", f"key-{n}")).recv_reply() for n in range(50)]
    assert any(answer.startswith(b"-ERR") for answer in answers)
    assert b"$-1\r\n" in answers
    time.sleep(2.5)  # two checks and more
    assert [proxy.state(pool, f"cashew-{n}") for pool in POOLS for n in (1, 2)] == ["UP"] * 4
