# SPDX-License-Identifier: BSD-3-Clause
"""Client libraries of Node.js, as they come, in several versions, before three servers and one."""

import json
import pathlib
import shutil
import subprocess

import harness
import pytest

HERE = pathlib.Path(__file__).parent / "node"
LIBRARIES = sorted(json.loads((HERE / "package.json").read_text())["dependencies"])


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """A folder with the libraries installed."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("node")
    shutil.copy(HERE / "package.json", folder)
    try:
        done = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"],
                              cwd=folder, capture_output=True, text=True, timeout=180)
    except subprocess.TimeoutExpired:
        pytest.skip("npm can't reach its registry in time")
    if done.returncode != 0:
        pytest.skip("npm can't install the libraries: " + done.stderr.strip()[-200:])
    return folder


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("library", LIBRARIES)
def test_library(node, redis_servers, cashew, library, count):
    port = harness.free_port()
    cashew(harness.pool("p", port, redis_servers(count), redis=True, hash="murmur"))
    done = subprocess.run(["node", str(HERE / "work.js"), library, str(port)], cwd=node,
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout == "done\n", done.stdout + done.stderr
