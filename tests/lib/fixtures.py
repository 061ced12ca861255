"""What tests with real nodes stand on: a server, a fresh database for each test, and the guarantee that
nothing a test has started outlives it. For conftest.py of a folder, which takes all of it."""

import os
import signal

import pytest

from fleet import Rota
from ledger import Ledger
from manifests import Apply
from postgres import PrivateServer, Server

TEST_LIMIT_S = 300
LOG_LINES = 60


def pytest_configure(config):
    config.addinivalue_line("markers", "full: longer than the default suite has time for; set ROTA_TEST_FULL=1")


def pytest_collection_modifyitems(items):
    if os.environ.get("ROTA_TEST_FULL") == "1":
        return
    for item in items:
        if item.get_closest_marker("full"):
            item.add_marker(pytest.mark.skip(reason="only with ROTA_TEST_FULL=1"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A test that fails shows what its nodes said."""
    outcome = yield
    report = outcome.get_result()
    make_rota = getattr(item, "funcargs", {}).get("make_rota")
    if not report.failed or make_rota is None:
        return
    for node in (node for rota in make_rota.made for node in rota.nodes):
        text = "\n".join(node.text().splitlines()[-LOG_LINES:])
        report.sections.append((f"log of node {node.name}, exit code {node.process.poll()}", text))


@pytest.fixture(autouse=True)
def limited_time():
    """No test hangs for ever, whatever it waits for."""
    def over(*_):
        raise AssertionError(f"the test took longer than {TEST_LIMIT_S} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(TEST_LIMIT_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def shared_server():
    """The server of ROTA_TEST_DATABASE_URL, or one of our own where that is not set."""
    url = os.environ.get("ROTA_TEST_DATABASE_URL")
    server = Server(url) if url else PrivateServer()
    yield server
    server.close()


@pytest.fixture(scope="module")
def pg_server():
    """A server of the module's own, to be restarted, killed or measured."""
    server = PrivateServer(shared_preload_libraries="pg_stat_statements")
    yield server
    server.close()


@pytest.fixture(scope="module")
def server(shared_server):
    """The server that `rota` uses; a module that needs its own overrides this with pg_server."""
    return shared_server


@pytest.fixture
def make_rota(server, tmp_path):
    """Makes databases: make_rota(migrated=False, owner="somebody")."""
    made = []

    def make(**options):
        made.append(Rota(server, tmp_path, **options))
        return made[-1]

    make.made = made
    yield make
    for rota in made:
        rota.close()
    faults = [fault for rota in made for fault in rota.faults()]
    assert not faults, faults


@pytest.fixture
def rota(make_rota):
    """A fresh database with the schema in it."""
    return make_rota()


@pytest.fixture
def empty_rota(make_rota):
    """A fresh database without the schema."""
    return make_rota(migrated=False)


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path)


@pytest.fixture
def apply(rota, tmp_path):
    return Apply(rota, tmp_path)
