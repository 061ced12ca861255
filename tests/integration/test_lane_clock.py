"""The clock of the database is set, or another server takes over whose clock is ahead: leases do not end
before their time by that. The server is one of the module's own, with a clock that can be set."""

import os
import signal
import struct
import tempfile
import time

import pytest

import lane_tables
from fleet import binary
from locks import Locks
from postgres import PrivateServer
from waiting import holds_for, wait_until

SHIM = os.path.abspath(os.path.join(os.path.dirname(binary()), "..", "tests", "wrong_clock.so"))
LEASE_S = 6


class Clock:
    def __init__(self, directory):
        self.path = os.path.join(directory, "clock")
        self.set(0)
        os.chmod(directory, 0o755)
        os.chmod(self.path, 0o644)

    def set(self, wrong_by_s):
        mode = "r+b" if os.path.exists(self.path) else "wb"
        with open(self.path, mode) as file:
            file.write(struct.pack("=q", wrong_by_s))


@pytest.fixture(scope="module")
def clock():
    if not os.path.exists(SHIM):
        pytest.skip(f"{SHIM} is not built")
    with tempfile.TemporaryDirectory(prefix="rota-test-clock-", dir="/tmp") as directory:
        yield Clock(directory)


@pytest.fixture(scope="module")
def server(clock):
    with pytest.MonkeyPatch.context() as patch: # for the server alone
        patch.setenv("LD_PRELOAD", SHIM)
        patch.setenv("WRONG_CLOCK", clock.path)
        made = PrivateServer()
    yield made
    made.close()


def test_a_lease_does_not_end_because_the_clock_of_the_database_jumps_ahead(rota, clock):
    """The node is cut off and works; its guard ends its run when the lease is over by the clock that nobody sets."""
    lane_tables.create(rota)
    settings = {"lease": f"{LEASE_S}s", "heartbeat": "500ms", "restart_delay": "0s", "pools": lane_tables.pool(rota)}
    rota.apply({"name": "one", "handler": "exclusive", "durable": True, "disallow_concurrent": True,
                "data": {"lane": "one", "sleep": 60}})
    first = rota.node("n1", **settings)
    run, = rota.enqueue("one")
    wait_until(lambda: rota.value("SELECT count(*) FROM seat"), 20, "the run to begin")
    second = rota.node("n2", **settings)
    first.send(signal.SIGSTOP)
    rota.db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'rota % n1 %'")
    clock.set(3600)
    second.wait_for_line("the clock of the database has jumped", 5)
    holds_for(lambda: rota.value("SELECT count(*) FROM visit") == 1, LEASE_S - 3, "nobody to take the lane over")
    wait_until(lambda: rota.value("SELECT count(*) FROM visit WHERE run = %s", run) == 2, 2 * LEASE_S + 10,
               lambda: f"the run to be taken over: {rota.open_work()}")
    lane_tables.assert_no_overlap(rota)
    first.send(signal.SIGCONT)
    first.wait_for_line("declared dead", 20)
    second.kill()


def test_a_lock_delay_does_not_end_because_the_clock_of_the_database_jumps_ahead(rota, clock, tmp_path):
    clock.set(0)
    locks = Locks(rota, tmp_path)
    try:
        holder = locks.hold("a", options=["--lock-delay", f"{LEASE_S}s"])
        following = locks.hold("a", began=False, options=["--wait", "60s"])
        wait_until(lambda: rota.value("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'rota lock'") == 2, 15)
        holds_for(lambda: not following.has_begun(), 2, "the other one to wait")  # and to learn the time
        holder.kill()
        killed = time.monotonic()
        clock.set(3600)
        holds_for(lambda: not following.has_begun(), LEASE_S - 0.5, lambda: f"{time.monotonic() - killed} s")
        following.began(3 * LEASE_S)
        assert time.monotonic() - killed >= LEASE_S
    finally:
        locks.close()
        clock.set(0)
