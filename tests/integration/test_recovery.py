"""A node that dies or stands still: others notice, what it held is taken over as the jobs ask, and nothing of
it goes on."""

import collections
import os
import signal
import time

from ledger import Ticks, show
from processes import look
from waiting import wait_for_clock, wait_until

FULL = os.environ.get("ROTA_TEST_FULL") == "1"
RECOVERY_LIMIT_S = 5  # a new leader by its next heartbeat (2 s), two looks 0.7 s apart, and reserve
WORKERS_LIMIT_S = 2


def job(name, ticks, sleep=0.3, **more):
    return {"name": name, "handler": "ledger", "data": {"sleep": sleep}, "triggers": ticks.declared(), **more}


def assert_no_run_is_over_twice(rota):
    assert rota.rows("SELECT id, count(*) FROM rota.task_history GROUP BY id HAVING count(*) > 1") == []


def assert_repeated_only_where_recovered(ledger, rota, dead):
    """A run has a second line in the ledger only where its node died under it and the second says so."""
    by_run = collections.defaultdict(list)
    for entry in ledger.entries():
        by_run[entry.run].append(entry)
    repeated = {run: entries for run, entries in by_run.items() if len(entries) > 1}
    for entries in repeated.values():
        first, *later = entries
        assert first.node == dead and not first.recovering, entries
        assert len(later) == 1 and later[0].recovering and later[0].node != dead, entries
        attempts = rota.history(first.run)["details"]["attempts"]
        assert [attempt["outcome"] for attempt in attempts] == ["lost"] and attempts[0]["node"] == dead
    return repeated


def wait_recovered(nodes, name, limit=RECOVERY_LIMIT_S):
    """The one log line of whoever recovered it."""
    def lines():
        return [line for node in nodes for line in node.lines("recovered a dead node") if line["dead_node"] == name]

    wait_until(lines, limit, f"the recovery of {name}")
    assert len(lines()) == 1
    return lines()[0]


def test_a_node_killed_under_load_loses_no_firing(rota, ledger):
    settings = {"pools": ledger.pool(slots=48), "exec_allow": "/bin/*"}
    first = rota.node("n1", **settings)
    tree = "/bin/sleep 300 & (setsid /bin/sleep 300 &) ; /bin/sleep 300"
    rota.apply({"name": "tree", "handler": "exec", "data": ledger.shell(tree), "durable": True,
                "requests_recovery": False})
    tree_run, = rota.enqueue("tree")
    wait_until(lambda: sum(process.command == "/bin/sleep 300" for process in first.workers()) == 3, 15,
               "a job with children and one that left their session")
    others = rota.start_nodes("n2", "n3", **settings)
    plain, asking = Ticks("plain", 100, 10, phases=50), Ticks("asking", 100, 10, phases=50)
    rota.apply(job("plain", plain), job("asking", asking, requests_recovery=True), source="ticks")
    wait_for_clock(plain.moment(0.5))
    held = rota.value("SELECT running FROM rota.node_state WHERE node = 'n1'")
    killed_at, below = time.time(), first.kill()
    wait_until(lambda: not any(process.lives() for process in below), WORKERS_LIMIT_S,
               lambda: f"the end of {[process for process in below if process.lives()]}")
    workers_gone = time.time() - killed_at
    line = wait_recovered(others, "n1")
    print(f"n1 killed with about {held} runs: workers gone after {workers_gone:.2f} s, recovered after "
          f"{time.time() - killed_at:.2f} s: {line['put_back']} put back, {line['unknown']} unknown")
    assert [row[0] for row in rota.rows("SELECT node FROM rota.incarnation ORDER BY 1")] == ["n2", "n3"]
    rota.wait_idle(plain.until_all_fired() - time.time() + 30)

    found = ledger.occurrences()
    repeated = assert_repeated_only_where_recovered(ledger, rota, "n1")
    assert all(entries[0].trigger.startswith("asking") for entries in repeated.values())
    lost = asking.expected() - found.keys()
    assert not lost, f"{len(lost)} firings lost that ask for recovery: {show(lost)}"
    unknown = rota.rows("""SELECT id, trigger, round(extract(epoch FROM scheduled_at) * 1000)::bigint, node, outcome,
                                  extract(epoch FROM started_at)::float FROM rota.task_history
                            WHERE status = 'unknown' AND trigger IS NOT NULL""")
    lost = plain.expected() - found.keys() - {(row[1], row[2]) for row in unknown}
    assert not lost, f"{len(lost)} firings lost without a record: {show(lost)}"
    assert not found.keys() - plain.expected() - asking.expected() - {("", ledger.entries()[0].scheduled)}
    for row in unknown:
        assert row[1].startswith("plain") and row[3:5] == ("n1", "lost"), row
        assert killed_at - 1 < row[5] < killed_at + 0.1, f"{row} did not run on n1 when it died at {killed_at}"
    assert len(unknown) + 1 == line["unknown"] and line["put_back"] > 0 and len(unknown) > 0
    assert rota.history(tree_run)["status"] == "unknown"
    assert_no_run_is_over_twice(rota)
    for node in others:
        assert node.stop() == 0


def test_a_node_killed_and_started_again_under_its_name_takes_its_runs_up(rota, ledger):
    node = rota.node("n1", pools=ledger.pool())
    rota.apply({"name": "long", "handler": "ledger", "data": {"sleep": 1}, "durable": True})
    runs = rota.enqueue("long", "--count", "3")
    wait_until(lambda: ledger.count() == 3, 15, "three runs to begin")
    node.kill()
    node.start().wait_ready()
    for run in runs:
        row = rota.wait_history(run)
        assert (row["status"], row["node"], row["attempt"]) == ("success", "n1", 1)
    assert collections.Counter((entry.run, entry.recovering) for entry in ledger.entries()) == {
        (run, recovering): 1 for run in runs for recovering in (False, True)}
    assert node.stop() == 0


def test_runs_with_attempts_left_run_again_after_a_death_and_count_it(rota, ledger):
    node = rota.node("n1", pools=ledger.pool())
    rota.apply({"name": "long", "handler": "ledger", "data": {"sleep": 1}, "durable": True,
                "requests_recovery": False, "retry": {"max_attempts": 2}})
    run, = rota.enqueue("long")
    wait_until(lambda: ledger.count() == 1, 15, "the run to begin")
    node.kill()
    rota.node("n2", pools=ledger.pool())
    row = rota.wait_history(run)
    assert (row["status"], row["attempt"]) == ("success", 2)
    assert [(entry.attempt, entry.recovering) for entry in ledger.entries()] == [(1, False), (2, True)]


def test_a_dead_coordinator_takes_its_guard_along_and_a_dead_guard_its_coordinator(rota, ledger):
    node = rota.node("n1", pools=ledger.pool())
    guard, = [process for process in node.workers() if " guard" in process.command]
    below = node.workers()
    guard.kill()
    assert node.wait(limit=10) == 1
    wait_until(lambda: not any(process.lives() for process in below), WORKERS_LIMIT_S, "the end of all workers")
    assert node.lines("guard", level="error")


def test_a_node_that_stood_still_gives_its_runs_up_and_works_again(rota, ledger):
    still = 15 if FULL else 6
    settings = {"pools": ledger.pool(slots=48), "lease": "3s", "heartbeat": "500ms"}
    first = rota.node("n1", **settings)
    rota.apply({"name": "long", "handler": "ledger", "data": {"sleep": 4}, "durable": True})
    ours = rota.enqueue("long", "--count", "2")
    wait_until(lambda: ledger.count() == 2, 15, "two long runs to begin on n1")
    second = rota.node("n2", **settings)
    ticks = Ticks("t", 40, still + 5)
    rota.apply(job("ticks", ticks, requests_recovery=True), source="ticks")
    wait_for_clock(ticks.moment(0) + 1)
    first.send(signal.SIGSTOP)
    stopped_at = time.time()
    line = wait_recovered([second], "n1", limit=3 + RECOVERY_LIMIT_S)
    print(f"n1 stopped: recovered after {time.time() - stopped_at:.2f} s, {line['put_back']} runs put back")
    assert line["put_back"] >= 2 and line["unknown"] == 0
    wait_for_clock(stopped_at + still)
    first.send(signal.SIGCONT)
    continued_at = time.time()
    first.wait_for_line("node registered", count=2)
    print(f"n1 continued: registered anew after {time.time() - continued_at:.2f} s")
    rota.wait_idle(ticks.until_all_fired() - time.time() + 30)

    # what it still had is void: ended, or refused when it came to be written
    assert first.lines("declared dead by another node")
    refused = sum(entry["count"] for entry in first.lines("late completions refused"))
    ended = sum(entry["runs"] for entry in first.lines("declared dead by another node"))
    print(f"n1: {ended} runs ended, {refused} late completions refused")
    assert refused + ended > 0
    repeated = assert_repeated_only_where_recovered(ledger, rota, "n1")
    assert set(ours) <= repeated.keys()
    lost = ticks.expected() - ledger.occurrences().keys()
    assert not lost, f"{len(lost)} firings lost: {show(lost)}"
    assert_no_run_is_over_twice(rota)
    assert rota.rows("SELECT DISTINCT status FROM rota.task_history") == [("success",)]
    # while it stood still it did nothing, and afterwards it has its share again
    during = [entry for entry in ledger.entries()
              if entry.node == "n1" and stopped_at + 0.5 < entry.clock < continued_at]
    assert not during, during
    assert [entry for entry in ledger.entries() if entry.node == "n1" and entry.clock > continued_at]
    assert look(first.pid) and first.stop() == 0


def test_runs_that_somebody_else_has_taken_are_ended_here(rota, ledger):
    """The node lives and keeps its incarnation, as another receipt of it was left alone; what was taken from it must
    not run on beside the run that took its place."""
    node = rota.node(heartbeat="300ms", pools=ledger.pool(slots=8))
    rota.apply({"name": "long", "handler": "ledger", "durable": True, "data": {"sleep": 300}, "requests_recovery": True})
    taken, = rota.enqueue("long")
    wait_until(lambda: ledger.count() == 1, 15, "the first to run")
    kept, = rota.enqueue("long")
    wait_until(lambda: ledger.count() == 2, 15, "the second to run")
    rota.db.execute("WITH gone AS (DELETE FROM rota.receipt r WHERE %s = ANY (r.ids) RETURNING r.*) "
                    "INSERT INTO rota.pending (id, route, due, job_id, scheduled_at, recovering) "
                    "SELECT ids[1], route_all, '2099-01-01', job_all, due_all, true FROM gone", (taken,))
    assert node.wait_for_line("ending runs that another node has taken over")["runs"] == 1
    wait_until(lambda: rota.rows("SELECT id FROM rota.run WHERE state = 'started'") == [(kept,)], 10, lambda: rota.open_work())
    assert rota.where(taken)[0][0] == "pending"
    node.kill()
