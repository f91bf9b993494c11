# SPDX-License-Identifier: BSD-3-Clause
"""Which loop is used, and what is said where it can't be."""

import os
import subprocess
import sys

import harness
import pytest

# Installs a seccomp filter, as containers have one, that answers io_uring_setup (425 on every
# architecture) with EPERM, then becomes the command.
FORBID = r"""
import ctypes, os, struct, sys
code = [(0x20, 0, 0, 0), (0x15, 0, 1, 425), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7fff0000)]
rows = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *row) for row in code))
class Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
program = Program(len(code), ctypes.addressof(rows))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(program), 0, 0):
    sys.exit(77)
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "pool.yml"
    path.write_text(harness.pool("p", f"127.0.0.1:{harness.free_port()}", ["127.0.0.1:1:1"]))
    return path


def has_uring(config):
    done = subprocess.run([*harness.base_command(), "-c", config, "--io=uring", "-o", "/nowhere/log"],
                          capture_output=True, text=True, timeout=60, check=False)
    return "uring" not in done.stderr


def forbidden(config, loop):
    """cashew where io_uring is forbidden; it ends at once in any case, since it has no log."""
    if os.environ.get("CASHEW_SANITIZED"):
        pytest.skip("the wrapper of sanitizers is not for this")
    command = [sys.executable, "-c", FORBID, harness.binary(), "-c", config, f"--io={loop}",
               "-s", str(harness.free_port()), "-o", "/nowhere/log"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode == 77:
        pytest.skip("seccomp filters are not allowed here")
    assert done.returncode == 1
    return done.stderr


def test_uring_says_why_it_is_not_there(config):
    said = forbidden(config, "uring")
    if "not part of this build" not in said:
        assert "the uring loop: Operation not permitted; it needs Linux 6.1" in said


@pytest.mark.parametrize("loop", ["auto", "epoll"])
def test_others_do_without_io_uring(config, loop):
    assert "/nowhere/log: No such file" in forbidden(config, loop)


@pytest.mark.parametrize("asked,used", [("auto", "epoll"), ("epoll", "epoll"), ("uring", "uring")])
def test_the_log_names_the_loop(cashew, config, asked, used):
    if asked == "uring" and not has_uring(config):
        pytest.skip("io_uring is forbidden here, or not part of this build")
    proxy = cashew(config, args=[f"--io={asked}"])
    assert f"{used} loop" in proxy.log()
