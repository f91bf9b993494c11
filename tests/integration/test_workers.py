# SPDX-License-Identifier: BSD-3-Clause
"""Workers: clients are spread evenly however they come and go, and `auto` keeps to what the process
may use."""

import itertools
import os
import re
from collections import Counter
from pathlib import Path

import pytest
from harness import Raw, free_port, pool, wait_for

ASK = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"


@pytest.fixture(name="numbered")
def fixture_numbered(fake_server):
    """A server that answers every GET with the number of its connection: each worker has one."""
    numbers = itertools.count()

    def handler(conn):
        me = b":%d\r\n" % next(numbers)
        try:
            while True:
                conn.recv_exact(len(ASK))
                conn.send(me)
        except (AssertionError, OSError, EOFError):
            pass  # the proxy has ended
    return fake_server(handler)


def workers_of(clients):
    """Which worker each serves."""
    for client in clients:
        client.send(ASK)
    return [client.recv_until() for client in clients]


def seen(proxy, count):
    wait_for(lambda: proxy.stats()["p"]["client_connections"] == count, what=f"{count} clients")


def test_four_clients_on_two_workers_are_two_and_two(cashew, numbered):
    port = free_port()
    cashew(pool("p", port, [numbered], redis=True), args=["--workers=2"])
    clients = [Raw(port) for _ in range(4)]
    assert sorted(Counter(workers_of(clients)).values()) == [2, 2]


def test_the_emptiest_worker_gets_the_next_client(cashew, numbered):
    port = free_port()
    proxy = cashew(pool("p", port, [numbered], redis=True), args=["--workers=3"])
    clients = [Raw(port) for _ in range(12)]
    for _ in range(3):
        places = workers_of(clients)
        assert sorted(Counter(places).values()) == [4, 4, 4]
        # All of one worker and one of another leave; those that come take exactly their places.
        leaving = [i for i, place in enumerate(places) if place == places[0]]
        leaving.append(next(i for i, place in enumerate(places) if place != places[0]))
        for i in leaving:
            clients[i].close()
        clients = [client for i, client in enumerate(clients) if i not in leaving]
        seen(proxy, len(clients))
        clients += [Raw(port) for _ in leaving]
    for client in clients:
        client.close()


def test_clients_of_all_pools_count(cashew, numbered):
    """Two pools with a client each: the workers share them, whichever pool they ask for."""
    ports = free_port(), free_port()
    cashew("".join(pool(f"p{i}", port, [numbered], redis=True)
                   for i, port in enumerate(ports)), args=["--workers=2"])
    pairs = [(Raw(ports[0]), Raw(ports[1])) for _ in range(3)]
    # Connections of one pool on two workers show as two numbers, those of the other as two more.
    first = Counter(workers_of([a for a, _ in pairs]))
    second = Counter(workers_of([b for _, b in pairs]))
    assert sorted([*first.values(), *second.values()]) in ([1, 1, 2, 2], [3, 3])


def started_workers(proxy):
    return int(re.search(r"(\d+) worker\(s\)", proxy.log()).group(1))


def test_auto_keeps_to_the_processors_of_the_process(cashew, redis_server):
    mine = sorted(os.sched_getaffinity(0))
    for processors in {1, len(mine)}:
        os.sched_setaffinity(0, mine[:processors])
        try:
            proxy = cashew(pool("p", free_port(), [redis_server], redis=True),
                           args=["--workers=auto"])
        finally:
            os.sched_setaffinity(0, mine)
        # A control group may allow less, never more.
        assert started_workers(proxy) in range(1, processors + 1)
        proxy.stop()


def own_group():
    """A new control group with a limit of one processor, or the reason why there is none."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        group = Path(f"/sys/fs/cgroup/{controllers}{path}") / f"cashew-test-{os.getpid()}"
        try:
            group.mkdir()
            if controllers:
                (group / "cpu.cfs_period_us").write_text("100000")
                (group / "cpu.cfs_quota_us").write_text("100000")
            else:
                (group / "cpu.max").write_text("100000 100000")
            return group, ""
        except OSError as error:
            if group.is_dir():
                group.rmdir()
            reason = str(error)
    return None, reason


def test_auto_keeps_to_a_limit_of_the_control_group(cashew, redis_server):
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("there is only one processor")
    group, reason = own_group()
    if group is None:
        pytest.skip(f"no control group can be made here: {reason}")
    proxy = None
    try:
        # The shell enters the group and becomes the proxy.
        enter = f"echo $$ > {group}/cgroup.procs && exec \"$@\""
        proxy = cashew(pool("p", free_port(), [redis_server], redis=True),
                       args=["--workers=auto"], under=["sh", "-c", enter, "sh"])
        assert started_workers(proxy) == 1
    finally:
        if proxy:
            proxy.stop()
        group.rmdir()


def test_there_is_room_for_clients_from_the_start(cashew, redis_server):
    """The kernel's table of open files does not grow while clients come, which would stop all
    threads for some 10 ms each time."""
    port = free_port()
    proxy = cashew(pool("p", port, [redis_server], redis=True))

    def room():
        status = Path(f"/proc/{proxy.pid}/status").read_text()
        return int(re.search(r"FDSize:\s*(\d+)", status).group(1))

    limits = Path(f"/proc/{proxy.pid}/limits").read_text()
    most = int(re.search(r"Max open files\s+(\d+)", limits).group(1))
    before = room()
    assert before >= min(most - 200, 65536)
    clients = [Raw(port) for _ in range(300)]
    seen(proxy, len(clients))
    assert room() == before
    for client in clients:
        client.close()
