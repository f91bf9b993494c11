# SPDX-License-Identifier: BSD-3-Clause
"""Unit world is everything around one proxy during a chaos run: pools, servers real and fake, the
crowd of clients, and what must be true of the proxy's process when it is over."""

import random
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path

import harness

import clients
import plan
from fakes import FakeServer
from reactor import Reactor

TIMEOUT = 300          # ms, of every pool
GAUGES = ("in_queue", "in_queue_bytes", "out_queue", "out_queue_bytes")
LARGE = 900_000        # bytes of the value that memcacheds hold for those who do not read


@dataclass
class Pool:
    name: str
    protocol: str
    fake: bool
    servers: int
    keys: dict = field(default_factory=dict)
    lone: bool = False
    forgets: bool = False  # keys change places, since servers are taken off the ring
    port: int = 0
    losses: int = 0        # how often a server has forgotten everything
    large: bytes = b"large"


def pools():
    """The pools of every run. Between them they have every setting that changes what faults do."""
    eject = {"auto_eject_hosts": True, "server_failure_limit": 3, "server_retry_timeout": 200}
    small = {"client_output_soft": 262144, "client_output_limit": 4194304}
    return [
        Pool("redis", "redis", False, 3, small),
        Pool("redis-fake", "redis", True, 3, {"max_in_flight": 64, **small}),
        Pool("redis-eject", "redis", True, 3, {"server_connections": 2, **eject, **small}),
        Pool("redis-lone", "redis", True, 1, lone=True),
        Pool("memcache", "memcache", False, 2, small),
        Pool("memcache-fake", "memcache", True, 3, {"max_in_flight": 64, **small}),
        Pool("memcache-eject", "memcache", True, 3, {"server_connections": 2, **eject, **small}),
        Pool("memcache-lone", "memcache", True, 1, lone=True),
    ]


class RealServer:
    """A redis-server or memcached of the harness, mistreated without ever waiting for it."""

    def __init__(self, world, pool, name):
        self.world = world
        self.pool = pool
        self.name = name
        self.process = harness.Redis(args=["--enable-debug-command", "yes"]) \
            if pool.protocol == "redis" else harness.Memcached(args=["-m", "512"])
        self.fault = "none"

    @property
    def port(self):
        return self.process.port

    def start(self, fault, _argument):
        self.stop()  # on a busy machine the fault before it may not be over
        self.fault = fault
        if fault == "pause":
            self.process.signal(harness.signal.SIGSTOP)
        elif fault == "kill":
            self.pool.losses += 1
            self.process.kill()
        elif fault == "disconnect" and self.pool.protocol == "redis":
            self._say(harness.resp("CLIENT", "KILL", "TYPE", "normal"))
        elif fault == "busy" and self.pool.protocol == "redis":
            self._say(harness.resp("DEBUG", "SLEEP", "0.35"))

    def _say(self, request):
        """One request to the server itself, whose reply nobody reads."""
        with socket.socket() as sock:
            sock.settimeout(0.5)
            try:
                sock.connect(("127.0.0.1", self.port))
                sock.send(request)
            except OSError:
                pass

    def stop(self):
        fault, self.fault = self.fault, "none"
        if fault == "pause":
            self.process.resume()
        elif fault == "kill":
            self.process.start(wait=False)
            self.world.reactor.after(0.05, self._prepare)

    def _prepare(self):
        """What every memcached of the pool holds, from the start and after each loss."""
        if self.pool.protocol == "memcache" and self.process.running():
            self._say(b"set %s 0 0 %d\r\n%s\r\n" % (self.pool.large, LARGE, b"l" * LARGE))

    def settle(self):
        self.stop()
        self.process.wait_listening()
        self._say(harness.resp("FLUSHALL") if self.pool.protocol == "redis" else b"flush_all\r\n")
        self._prepare()

    def close(self):
        self.process.resume()
        self.process.kill()
        self.process.close()


class World:
    """One proxy and all around it. `wrong` collects what must not be."""

    def __init__(self, loop, workers, crowd, bound, args=()):
        self.reactor = Reactor()
        self.bound = bound
        self.crowd = crowd
        self.asked = self.replies = self.errors = self.closed = self.late = 0
        self.faults = self.visitors = 0
        self.ending = False
        self.violations = []
        self.people = []
        self.steps_done = []
        self.rng = None
        self.round_end = 0.0
        self.pools = pools()
        self.servers = {}
        config = ""
        for pool in self.pools:
            pool.port = harness.free_port()
            pool.forgets = bool(pool.keys.get("auto_eject_hosts"))
            config += self._pool(pool)
        self.proxy = harness.Cashew(config, args=[f"--io={loop}", f"--workers={workers}", *args])
        for server in self.servers.values():
            if isinstance(server, RealServer):
                server.settle()

    def _pool(self, pool):
        lines = []
        for i in range(pool.servers):
            name = f"{pool.name}{i}"
            if pool.fake:
                server = FakeServer(self.reactor, name, pool.protocol, harness.free_port(),
                                    self.wrong, pool.lone)
            else:
                server = RealServer(self, pool, name)
            self.servers[name] = server
            lines.append(f"127.0.0.1:{server.port}:1 {name}")
        return harness.pool(pool.name, pool.port, lines, redis=pool.protocol == "redis",
                            timeout=TIMEOUT, **pool.keys)

    def wrong(self, text):
        self.violations.append(text)

    # ------------------------------------------------------------ one round

    def targets(self):
        return [(name, "real" if isinstance(s, RealServer) else "lone" if s.lone else "fake")
                for name, s in self.servers.items()]

    def round(self, seed, seconds):
        """Faults by the plan of `seed` under a crowd, for `seconds`; then calm. False if something
        was wrong."""
        self.rng = random.Random(f"{seed}/crowd")
        self.ending = False
        self.steps_done = []
        begun = time.monotonic()
        self.reactor.now = begun
        self.round_end = begun + seconds
        for step in plan.make(random.Random(f"{seed}/plan"), seconds, self.targets()):
            self.reactor.after(step.at, lambda step=step: self._begin(step))
        self._fill(seed)
        while time.monotonic() < self.round_end and not self.violations \
                and self.proxy.running():
            self.reactor.turn()
            self._look_after()
        self._calm()
        return not self.violations

    def _begin(self, step):
        if self.ending:
            return
        self.faults += 1
        self.steps_done.append(step)
        self.servers[step.target].start(step.fault, step.argument)
        self.reactor.after(step.lasts, self.servers[step.target].stop)

    def _fill(self, seed):
        self.people = []
        for pool in self.pools:
            count = 1 if pool.lone else max(1, self.crowd // 6)
            for i in range(count):
                kind = clients.Lone if pool.lone else clients.Steady
                # The guests are a third of the crowd; each that goes is followed by another.
                if not pool.lone and i % 3 == 2:
                    kind = None
                self._invite(pool, f"{pool.name}.{i}", kind, seed)

    def _invite(self, pool, name, kind, seed):
        self.visitors += 1
        rng = random.Random(f"{seed}/{name}/{self.visitors}")
        client = (kind or rng.choice(clients.GUESTS))(
            self, pool, f"{name}.{self.visitors}".encode(), rng)
        self.people.append((client, pool, name, kind, seed))

    def _look_after(self):
        """Looks for those who wait for too long, and replaces those who have gone."""
        staying = []
        for person in self.people:
            client, *rest = person
            if client.late(self.bound):
                self.wrong(f"client {client.name.decode()} waits for {self.bound} s for the reply to "
                           f"{clients.short(client.pending[0].bytes)}")
            if client.open:
                staying.append(person)
            elif not self.ending:
                self.reactor.after(0.01, lambda rest=rest: self.ending or self._invite(*rest))
        self.people = staying

    def _calm(self):
        """The faults end, and what is open is answered; then everybody leaves."""
        for server in self.servers.values():
            server.stop()
        self.ending = True
        end = time.monotonic() + self.bound
        while time.monotonic() < end and any(c.open for c, *_ in self.people) \
                and not self.violations and self.proxy.running():
            self.reactor.turn()
            for client, *_ in self.people:
                if client.open and not client.pending or isinstance(client, clients.Deaf):
                    client.leave()
        for client, *_ in self.people:
            if client.open and client.pending and client.reading and not self.violations:
                self.wrong(f"client {client.name.decode()} still waits for the reply to "
                           f"{clients.short(client.pending[0].bytes)}")
            client.gone = True
            client.close()
        self.people = []
        # What was asked of a reactor for this round has no place in the next.
        self.reactor.timers.clear()
        if not self.proxy.running():
            self.wrong("the proxy has ended")
            return
        for server in self.servers.values():
            if isinstance(server, RealServer):
                server.settle()

    # ------------------------------------------------------------ afterwards

    def check_service(self):
        """Every pool serves a newcomer, at once and without an error."""
        for pool in self.pools:
            self._until(lambda pool=pool: self._serves(pool), f"pool '{pool.name}' serves again")

    def _serves(self, pool):
        tongue = clients.TONGUES[pool.protocol](pool, b"after-%d" % self.visitors,
                                                random.Random(self.visitors))
        self.visitors += 1
        sock = socket.create_connection(("127.0.0.1", pool.port), 5)
        sock.setblocking(False)
        try:
            for request in [request for _ in range(10) for request in tongue.requests()]:
                sock.sendall(request.bytes)
                buffer, found = bytearray(), None
                end = time.monotonic() + self.bound
                while found is None and time.monotonic() < end:
                    self.reactor.turn(0.002)
                    try:
                        data = sock.recv(1 << 18)
                    except BlockingIOError:
                        continue
                    if not data:
                        return False
                    buffer += data
                    found = tongue.parse(buffer)
                if found is None or (tongue.error(found[0]) and not request.local):
                    return False
                request.check(found[0])
        finally:
            sock.close()
        return True

    def numbers(self):
        """What is not zero of those that should be."""
        found = []
        for pool in self.pools:
            numbers = self.proxy.stats()[pool.name]
            found += [f"{pool.name} client_connections {numbers['client_connections']}"] \
                * bool(numbers["client_connections"])
            found += [f"{name} {gauge} {server[gauge]}" for name, server in numbers.items()
                      if isinstance(server, dict) for gauge in GAUGES if server[gauge]]
        return ", ".join(found)

    def _until(self, condition, what, show=None):
        end = time.monotonic() + self.bound
        while not condition():
            if time.monotonic() > end:
                self.wrong(f"afterwards: not true within the bound: {what}"
                           + (f" ({show()})" if show else ""))
                return
            self.reactor.run(0.02)

    def check_numbers(self):
        """Nobody is counted who is not there, and nothing waits."""
        def settled():
            return not self.numbers()
        self._until(settled, "client_connections, in_queue and out_queue are 0", show=self.numbers)
        for pool in self.pools:
            numbers = self.proxy.stats()[pool.name]
            for name, value in numbers.items():
                for key, number in value.items() if isinstance(value, dict) else [(name, value)]:
                    if not 0 <= number < 1 << 60:
                        self.wrong(f"statistics: {pool.name} {name} {key} is {number}")

    def descriptors(self):
        """Open descriptors without those of connections to servers."""
        stats = self.proxy.stats()
        to_servers = sum(server["server_connections"] for pool in self.pools
                         for server in stats[pool.name].values() if isinstance(server, dict))
        return len(list(Path(f"/proc/{self.proxy.pid}/fd").iterdir())) - to_servers

    def close_waits(self):
        """Sockets of the proxy whose other side has closed."""
        ours = set()
        for link in Path(f"/proc/{self.proxy.pid}/fd").iterdir():
            try:
                name = str(link.readlink())
            except OSError:
                continue
            if name.startswith("socket:["):
                ours.add(name[8:-1])
        lines = Path(f"/proc/{self.proxy.pid}/net/tcp").read_text().splitlines()[1:]
        return [line for line in lines if line.split()[3] == "08" and line.split()[9] in ours]

    def memory(self):
        """Resident bytes of the proxy."""
        for line in Path(f"/proc/{self.proxy.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        return 0

    def close(self):
        """Ends it all. The proxy must end in order; what a sanitizer saw is an error."""
        try:
            if self.proxy.running():
                self.proxy.stop()
            else:
                code = self.proxy.process.poll()
                self.wrong(f"the proxy ended by itself with {code}")
        except AssertionError as error:
            self.wrong(str(error))
        finally:
            log = self.proxy.last_words()
            for server in self.servers.values():
                server.close()
            self.proxy.kill()
            self.proxy.close()
            self.reactor.close()
        return log
