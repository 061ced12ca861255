"""A node's own clock is wrong, or is set while it runs: the database decides when something is due."""

import datetime
import mmap
import os
import struct
import time

import pytest

from fleet import binary
from ledger import Ticks, assert_exactly_once
from waiting import wait_for_clock

SHIM = os.path.join(os.path.dirname(binary()), "..", "tests", "wrong_clock.so")
HOUR_S = 3600
SECONDS = 4

pytestmark = pytest.mark.skipif(os.environ.get("ROTA_TEST_SANITIZED") == "1",
                                reason="sanitizers want to be loaded before anything else")


class WrongClock:
    """What makes the wall clock of a node wrong by `seconds`, which may change while it runs."""

    def __init__(self, directory, name, seconds):
        assert os.path.exists(SHIM), f"{SHIM} is not built"
        self.path = os.path.join(str(directory), name)
        with open(self.path, "wb") as file:
            file.write(struct.pack("q", seconds))

    def environment(self):
        return {"LD_PRELOAD": os.path.abspath(SHIM), "WRONG_CLOCK": self.path}

    def set(self, seconds):
        with open(self.path, "r+b") as file, mmap.mmap(file.fileno(), 8) as shared:
            shared[:8] = struct.pack("q", seconds)


def log_is_wrong_by(node):
    """Seconds by which the last line of its log is away from now."""
    told = datetime.datetime.fromisoformat(node.lines()[-1]["time"].replace("Z", "+00:00")).timestamp()
    return told - time.time()


def job(ticks):
    return {"name": ticks.prefix, "handler": "ledger", "triggers": ticks.declared()}


def assert_on_time(rota, ledger, ticks):
    assert_exactly_once(ledger, ticks.expected())
    assert rota.value("SELECT sum(missed + misfired) FROM rota.trigger_due") == 0
    delays = rota.rows("""SELECT node, max(extract(epoch FROM started_at - scheduled_at))::float8,
                                 min(extract(epoch FROM started_at - scheduled_at))::float8, count(*)
                            FROM rota.task_history GROUP BY node ORDER BY node""")
    print(delays)
    assert all(0 <= earliest and latest < 1 for _, latest, earliest, _ in delays), delays
    return {node for node, *_ in delays}


@pytest.mark.parametrize("wrong", [HOUR_S, -HOUR_S], ids=["an-hour-ahead", "an-hour-behind"])
def test_a_node_whose_clock_is_wrong_fires_on_time(rota, ledger, tmp_path, wrong):
    clock = WrongClock(tmp_path, "clock", wrong)
    node = rota.node("wrong", pools=ledger.pool(slots=64), **clock.environment())
    assert abs(log_is_wrong_by(node) - wrong) < 60, "its clock is right: this proves nothing"
    ticks = Ticks("tick", 20, SECONDS)
    rota.apply(job(ticks), {"name": "later", "handler": "noop", "durable": True})
    run = rota.enqueue("later", "--in", "2s")[0]
    rota.wait_idle(ticks.until_all_fired() - time.time() + 20)
    assert assert_on_time(rota, ledger, ticks) == {"wrong"} and rota.history(run)["status"] == "success"


def test_nodes_whose_clocks_differ_by_hours_share_the_firings_and_think_each_other_alive(rota, ledger, tmp_path):
    for name, wrong in (("ahead", HOUR_S), ("right", 0), ("behind", -HOUR_S)):
        rota.node(name, pools=ledger.pool(slots=16), ready=False,
                  **WrongClock(tmp_path, f"clock-{name}", wrong).environment())
    for node in rota.nodes:
        node.wait_ready()
    ticks = Ticks("tick", 60, SECONDS)
    rota.apply(job(ticks))
    rota.wait_idle(ticks.until_all_fired() - time.time() + 20)
    assert assert_on_time(rota, ledger, ticks) == {"ahead", "right", "behind"}
    assert not [line for node in rota.nodes for line in node.lines("dead")]


def test_a_clock_that_is_set_while_the_node_runs_changes_no_firing(rota, ledger, tmp_path):
    clock = WrongClock(tmp_path, "clock", 0)
    node = rota.node("n1", pools=ledger.pool(slots=64), **clock.environment())
    ticks = Ticks("tick", 20, SECONDS)
    rota.apply(job(ticks))
    for share, wrong in ((0.2, 86400), (0.5, -86400), (0.8, 0)):
        wait_for_clock(ticks.moment(share), "the time to set the clock")
        clock.set(wrong)
    rota.wait_idle(ticks.until_all_fired() - time.time() + 20)
    assert_on_time(rota, ledger, ticks)
    assert abs(log_is_wrong_by(node)) < 60 and not node.lines(level="error")
