"""Chaos: nodes and servers on a network of their own in which everything may fail. Where the machine permits
no such network, tests that need one are skipped, with the reason."""

import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))

from fixtures import *  # noqa: E402, F401, F403
from marks import Marks  # noqa: E402
from netns import Network, NetworkNode, NetworkServer, address_of, why_not  # noqa: E402


@pytest.fixture(scope="session")
def permitted():
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture(scope="module")
def network(permitted):
    made = Network()
    yield made
    made.close()


@pytest.fixture(scope="module")
def net_server(network):
    """PostgreSQL on a machine of the network."""
    server = NetworkServer(network.member())
    yield server
    server.close()


@pytest.fixture
def marks(tmp_path):
    made = Marks(tmp_path)
    yield made
    for process in made.living():
        process.kill()


@pytest.fixture
def net_nodes(network):
    """Starts nodes, each on a machine of its own: net_nodes(rota, "n1", "n2", lease=…). Heals all at the end."""
    members = []

    def start(rota, *names, servers=None, ready=True, **settings):
        url = settings.pop("database_url", None) or address_of(rota, *(servers or [rota.server]))
        nodes = []
        for name in names:
            members.append(network.member())
            nodes.append(NetworkNode(rota, name, members[-1], database_url=url, **settings))
            rota.nodes.append(nodes[-1])
        return [node.wait_ready() for node in nodes] if ready else nodes

    yield start
    for member in members:
        member.heal()
