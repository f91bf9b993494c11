# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures of the integration tests: what a test starts here is ended when the test ends."""

import harness
import pytest


class Ending:
    """Everything a test started, ended in reverse order even when some ends fail."""

    def __init__(self):
        self.things = []

    def add(self, thing):
        self.things.append(thing)
        return thing

    def close(self):
        failures = []
        for thing in reversed(self.things):
            try:
                thing.close()
            except Exception as error:  # pylint: disable=broad-except
                failures.append(error)
        if failures:
            raise failures[0]


@pytest.fixture
def ending(request):
    """For things a test builds by itself: ending.add(thing) closes it after the test."""
    things = Ending()
    request.node.cashew_things = things.things
    yield things
    things.close()


@pytest.fixture(scope="module")
def module_ending():
    """The same for what all tests of a file share."""
    things = Ending()
    yield things
    things.close()


@pytest.fixture(scope="module")
def three_places(module_ending):
    """three_places(**keys of the pools) -> ports: of memcached itself; of cashew before one; and before three."""
    def start(**keys):
        servers = [module_ending.add(harness.Memcached()) for _ in range(5)]
        one, three = harness.free_port(), harness.free_port()
        module_ending.add(harness.Cashew(harness.pool("one", one, servers[1:2], **keys)
                                         + harness.pool("three", three, servers[2:], **keys)))
        return {"alone": servers[0].port, "one": one, "three": three}
    return start


@pytest.fixture
def redis_server(ending):
    return ending.add(harness.Redis())


@pytest.fixture
def redis_servers(ending):
    """redis_servers(n, **options) -> list of n running redis servers."""
    return lambda n, **options: [ending.add(harness.Redis(**options)) for _ in range(n)]


@pytest.fixture
def memcached_server(ending):
    return ending.add(harness.Memcached())


@pytest.fixture
def memcached_servers(ending):
    """memcached_servers(n, **options) -> list of n running memcacheds."""
    return lambda n, **options: [ending.add(harness.Memcached(**options)) for _ in range(n)]


@pytest.fixture
def fake_server(ending):
    """fake_server(handler=None, **options) -> a running harness.FakeServer."""
    return lambda *args, **options: ending.add(harness.FakeServer(*args, **options))


@pytest.fixture
def cashew(ending):
    """cashew(config, **options) -> a running harness.Cashew."""
    return lambda *args, **options: ending.add(harness.Cashew(*args, **options))


@pytest.fixture
def raw(ending):
    """raw(port_or_path) -> a harness.Raw that is closed after the test."""
    return lambda *args, **options: ending.add(harness.Raw(*args, **options))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows the log of every proxy it had."""
    outcome = yield
    report = outcome.get_result()
    if report.failed and call.when == "call":
        for thing in getattr(item, "cashew_things", []):
            if isinstance(thing, harness.Cashew):
                report.sections.append((f"log of {thing.label}", thing.last_words()))
