"""Nodes on one database share the work: every firing exactly once, spread over the fleet, and nothing is lost
or doubled when a node leaves in order."""

import collections
import signal
import time

import psycopg
import pytest

from ledger import Ticks, assert_exactly_once, print_delays, shares
from processes import cpu_seconds
from waiting import wait_until

SECONDS = 30


def tick_job(name, handler, data, ticks, **more):
    return {"name": name, "handler": handler, "data": data, "triggers": ticks.declared(), **more}


def assert_history_agrees(rota, ledger, status="success"):
    """One row of the history for each line of the ledger, under the same run, fence and node."""
    written = {(entry.run, entry.fence, entry.node) for entry in ledger.entries()}
    recorded = rota.rows("SELECT id, fence, node FROM rota.task_history WHERE status = %s", status)
    assert len(recorded) == len(set(recorded))
    assert set(recorded) == written


def test_three_nodes_fire_200_triggers_for_30_s_each_occurrence_exactly_once(rota, ledger):
    nodes = rota.start_nodes("n1", "n2", "n3", pools=ledger.pool(processes=2, slots=16), exec_allow="/bin/sh")
    by_exec, by_pool = Ticks("exec", 100, SECONDS), Ticks("pool", 100, SECONDS)
    rota.apply(tick_job("by-exec", "exec", ledger.shell(), by_exec),
               tick_job("by-pool", "ledger", {"sleep": 0.05}, by_pool))
    rota.wait_idle(by_exec.until_all_fired() - time.time() + 30)
    assert_exactly_once(ledger, by_exec.expected() | by_pool.expected())
    entries = ledger.entries()
    spread = shares(entries)
    assert spread.keys() == {"n1", "n2", "n3"} and min(spread.values()) >= 0.1, spread
    print_delays(entries, "pool")
    print({node: round(share, 2) for node, share in spread.items()})
    assert_history_agrees(rota, ledger)
    assert [row[0] for row in rota.rows("SELECT DISTINCT fired FROM rota.trigger_due")] == [SECONDS]
    assert rota.value("SELECT sum(missed + misfired) FROM rota.trigger_due") == 0
    for node in nodes:
        assert node.stop() == 0
        assert not node.lines(level="error")


@pytest.mark.full
def test_200_programs_a_second_are_started_by_three_nodes(rota, ledger):
    nodes = rota.start_nodes("n1", "n2", "n3", exec_allow="/bin/sh")
    ticks = Ticks("t", 200, SECONDS)
    rota.apply(tick_job("job", "exec", ledger.shell(), ticks))
    cpu = sum(cpu_seconds(process.pid) for node in nodes for process in node.workers())
    rota.wait_idle(ticks.until_all_fired() - time.time() + 30)
    cpu = sum(cpu_seconds(process.pid) for node in nodes for process in node.workers()) - cpu
    print(f"built-in workers and guards themselves: {cpu / SECONDS * 100:.0f} % of a core")
    assert_exactly_once(ledger, ticks.expected())
    assert_history_agrees(rota, ledger)


def test_sigterm_under_load_loses_and_doubles_nothing(rota, ledger):
    nodes = rota.start_nodes("n1", "n2", pools=ledger.pool(slots=64), grace="10s")
    ticks = Ticks("t", 200, 5, phases=50)
    rota.apply(tick_job("job", "ledger", {"sleep": 0.4}, ticks))
    wait_until(lambda: time.time() >= ticks.moment(0.5), 20, "the middle of the load")
    running = rota.value("SELECT running FROM rota.node_state WHERE node = 'n1'")
    began = time.monotonic()
    assert nodes[0].stop(limit=10) == 0
    print(f"n1 drained {running} runs in {time.monotonic() - began:.2f} s")
    assert rota.rows("SELECT node FROM rota.incarnation") == [("n2",)]
    rota.wait_idle(30)
    assert_exactly_once(ledger, ticks.expected())
    assert_history_agrees(rota, ledger)
    assert running > 0 and nodes[0].lines("node state")[-1]["to"] == "stopped"


def test_every_node_in_turn_restarted_under_load_loses_and_doubles_nothing(rota, ledger):
    settings = {"pools": ledger.pool(slots=64)}
    nodes = rota.start_nodes("n1", "n2", **settings)
    ticks = Ticks("t", 100, 6)
    rota.apply(tick_job("job", "ledger", {"sleep": 0.2}, ticks))
    wait_until(lambda: ledger.count() > 100, 20, "some load")
    for node in nodes:
        assert node.stop(limit=25) == 0
        node.start().wait_ready()
    rota.wait_idle(30)
    assert_exactly_once(ledger, ticks.expected())
    assert {entry.node for entry in ledger.entries()[-100:]} == {"n1", "n2"}


STUBBORN = "trap '' TERM; i=0; while [ $i -lt 600 ]; do /bin/sleep 0.1; i=$((i+1)); done"


def stubborn_job(ledger, **more):
    return {"name": "stubborn", "handler": "exec", "data": ledger.shell(STUBBORN), "durable": True, **more}


def test_jobs_that_ignore_sigterm_never_take_longer_than_the_grace(rota, ledger):
    node, = rota.start_nodes("n1", exec_allow="/bin/sh", grace="4s")
    rota.apply(stubborn_job(ledger))
    runs = rota.enqueue("stubborn", "--count", "3")
    wait_until(lambda: ledger.count() == 3, 15, "three runs to begin")
    below = node.workers()
    began = time.monotonic()
    node.send(signal.SIGTERM)
    code = node.wait(limit=20)
    took = time.monotonic() - began
    print(f"ended with {code} after {took:.2f} s of a grace of 4 s")
    assert code == 0
    assert took <= 4
    wait_until(lambda: not any(process.lives() for process in below), 2, "the end of its workers and their jobs")
    other = rota.node("n2", exec_allow="/bin/sh")
    # enqueued runs ask for recovery: they begin again elsewhere, none is lost
    wait_until(lambda: ledger.count() == 6, 20, "the runs to begin again")
    again = collections.Counter(entry.run for entry in ledger.entries())
    assert again == {run: 2 for run in runs}
    assert {entry.node for entry in ledger.entries() if entry.recovering} == {"n2"}
    other.kill()


def test_a_second_sigterm_hurries(rota, ledger):
    node, = rota.start_nodes("n1", pools=ledger.pool(), grace="20s")
    rota.apply({"name": "long", "handler": "ledger", "data": {"sleep": 300}, "durable": True})
    run, = rota.enqueue("long")
    wait_until(lambda: ledger.count() == 1, 15, "the run to begin")
    began = time.monotonic()
    node.send(signal.SIGTERM)
    node.wait_for_line("node state", count=3)
    assert rota.value("SELECT count(*) FROM rota.receipt") == 1
    node.send(signal.SIGTERM)
    node.wait(limit=20)
    assert time.monotonic() - began < 6
    other = rota.node("n2", pools=ledger.pool())
    wait_until(lambda: ledger.count() == 2, 20, "the run to begin again")
    assert [(entry.run, entry.node) for entry in ledger.entries()] == [(run, "n1"), (run, "n2")]
    other.kill()


def test_an_idle_node_stops_at_once(rota):
    node = rota.node("n1")
    began = time.monotonic()
    assert node.stop() == 0
    assert time.monotonic() - began < 2
    assert rota.rows("SELECT * FROM rota.incarnation") == []


def test_sigterm_in_the_middle_of_a_claim_waits_for_the_claim_only(rota):
    node = rota.node("n1", grace="20s")
    rota.apply({"name": "job", "handler": "noop", "durable": True})
    rota.wait_history(*rota.enqueue("job"))
    with psycopg.connect(rota.url) as other:
        other.execute("LOCK TABLE rota.pending")
        rota.db.execute('NOTIFY "rota.wake"')
        wait_until(lambda: rota.rows("SELECT FROM pg_stat_activity WHERE application_name LIKE 'rota work n1 %%' "
                                     "AND wait_event_type = 'Lock'"), 10, "a claim that waits")
        node.send(signal.SIGTERM)
        node.wait_for_line("node state", count=3)
    began = time.monotonic()
    assert node.wait(limit=30) == 0
    assert time.monotonic() - began < 2
