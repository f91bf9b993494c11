# SPDX-License-Identifier: BSD-3-Clause
"""Unit ports finds ports of the loopback for servers that are started next. Several processes that look for some at a
time never get the same, although a port is bound only later, by somebody else."""

import collections
import errno
import random
import socket
import threading
from pathlib import Path

KEPT = 300  # as many are ours at a time; whoever has one that is older has bound it, or is done with it

_ours = collections.deque()
_lock = threading.Lock()


def _candidates():
    """Ports outside the range from which the kernel serves outgoing connections, so that none of these can take one
    before its server binds it."""
    try:
        low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    except (OSError, ValueError):
        low, high = 32768, 60999
    choices = [port for port in range(10240, 65000) if not low <= port <= high]
    return choices if len(choices) >= 1000 else list(range(10240, 65000))


def is_bindable(port):
    """Whether a server could have it now."""
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        try:
            with socket.socket(family) as probe:
                probe.bind((host, port))
        except OSError as error:
            if family == socket.AF_INET or error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            # A machine without IPv6.
    return True


def _reserve(port):
    """A socket with a name that stands for the port, among all that ask here, until it is closed; None if another
    has it."""
    name = socket.socket(socket.AF_UNIX)
    try:
        name.bind(f"\0cashew-port-{port}")
    except OSError:
        name.close()
        return None
    return name


def free_port():
    """A port that nobody uses, and that nobody else gets."""
    choices = _candidates()
    with _lock:
        for _ in range(10000):
            port = random.SystemRandom().choice(choices)
            name = _reserve(port)
            if name is None:
                continue
            if is_bindable(port):
                _ours.append(name)
                if len(_ours) > KEPT:
                    _ours.popleft().close()
                return port
            name.close()
    raise RuntimeError("there are no free ports on 127.0.0.1")


def free_ports(count):
    return [free_port() for _ in range(count)]
