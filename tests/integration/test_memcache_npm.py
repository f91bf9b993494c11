# SPDX-License-Identifier: BSD-3-Clause
"""The clients of Node.js that speak memcached's text protocol, unmodified and with default options."""

import shutil
import subprocess
from pathlib import Path

import harness
import pytest

SCRIPT = Path(__file__).parent / "data" / "memcached_clients.js"
PACKAGES = ["memcached@2.2.2", "memcache-client@1.0.5"]


@pytest.fixture(scope="module")
def node_folder(tmp_path_factory):
    """A folder in which node finds the clients."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("npm")
    try:
        done = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", *PACKAGES], cwd=folder,
                              timeout=90, check=False, capture_output=True, text=True)
    except subprocess.TimeoutExpired:
        pytest.skip("npm's registry does not answer in time")
    if done.returncode:
        pytest.skip("npm can't fetch the clients: " + (done.stderr.strip().splitlines() or ["no reason given"])[0])
    return folder


@pytest.mark.timeout(200)
@pytest.mark.parametrize("count", [1, 3])
def test_clients_of_node(node_folder, cashew, memcached_servers, count):
    port = harness.free_port()
    cashew(harness.pool("mem", port, memcached_servers(count)), args=harness.ONE_WORKER)
    shutil.copy(SCRIPT, node_folder)
    done = subprocess.run(["node", SCRIPT.name, str(port)], cwd=node_folder, timeout=60, check=False,
                          capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == "done\n", done.stdout + done.stderr
