"""What a run leaves behind beside its row of the history: new data of its job, the end or the error of its
trigger. All of it with that row, or none."""

import json
import os
import sys

import pytest

from statements import array, run
from waiting import wait_until

ODD_WORKER = os.path.join(os.path.dirname(__file__), "..", "lib", "odd_worker.py")


@pytest.fixture
def odd(tmp_path):
    return {"pools": {"odd": {"command": [sys.executable, "-S", "-E", ODD_WORKER, "odd", "4", str(tmp_path / "odd-lines")]}}}


def job(name="job", **more):
    return {"name": name, "handler": "odd", "durable": True, **more}


def trigger_state(rota, name):
    state, error = rota.rows("SELECT state, error FROM rota.trigger_state WHERE trigger = %s", name)[0]
    return state, error


def wait_state(rota, name, state):
    wait_until(lambda: trigger_state(rota, name)[0] == state, 20, lambda: f"{name} to be {state}: {trigger_state(rota, name)}")
    return trigger_state(rota, name)[1]


def kept(rota):
    found = rota.rows("SELECT data::text FROM rota.job_data")
    return found[0][0] if found else None


# --- persist_data ---

def test_each_run_of_a_job_that_persists_its_data_sees_what_the_one_before_left(rota, odd):
    rota.apply(job(data={"do": "count", "n": 0}, persist_data=True, disallow_concurrent=True))
    rota.start_nodes("n1", "n2", **odd)
    rota.enqueue("job", "--count", "30")
    wait_until(lambda: rota.value("SELECT count(*) FROM rota.task_history") == 30, 40, lambda: rota.open_work())
    seen = sorted(row[0] for row in rota.rows("SELECT (task_details->>'n')::int FROM rota.task_history"))
    assert seen == list(range(1, 31)), "each number once: none was lost, none was read twice"
    assert json.loads(kept(rota))["n"] == 30


def test_persisted_data_of_a_trigger_firing_lie_under_the_trigger_s_own(rota, odd):
    rota.apply(job(data={"do": "count", "n": 7, "who": "job"}, persist_data=True, disallow_concurrent=True,
                   triggers=[{"name": "tick", "every": "200ms", "data": {"who": "trigger"}}]))
    rota.node(**odd)
    wait_until(lambda: rota.value("SELECT count(*) FROM rota.task_history") >= 3, 20, lambda: rota.open_work())
    seen = [row[0] for row in rota.rows("SELECT (task_details->>'n')::int FROM rota.task_history ORDER BY ended_at LIMIT 3")]
    assert seen == [8, 9, 10]


def test_persisted_data_keep_their_bytes(rota, odd):
    left = '{"do": "count", "big":1234567890123456789, "n":1e0,  "x":"\\u00e4"}'
    rota.apply(job(data={"do": "leave", "bytes": left}, persist_data=True))
    rota.node(**odd)
    first, = rota.enqueue("job")
    rota.wait_history(first)
    assert kept(rota) == left


def test_a_run_that_fails_leaves_no_data(rota, odd):
    rota.apply(job(data={"do": "fail", "answer": {"message": "no", "data": {"do": "other"}}}, persist_data=True))
    rota.node(**odd)
    failing, = rota.enqueue("job")
    assert rota.wait_history(failing)["status"] == "failed"
    assert kept(rota) is None


def test_data_of_a_job_that_does_not_persist_them_are_not_kept(rota, odd):
    rota.apply(job(data={"do": "count"}))
    rota.node(**odd)
    counting, = rota.enqueue("job")
    assert rota.wait_history(counting)["status"] == "success"
    assert kept(rota) is None


@pytest.mark.parametrize("left", ["[1]", "7"])
def test_data_that_are_no_object_are_not_kept_and_said_so(rota, odd, left):
    rota.apply(job(data={"do": "leave", "bytes": left}, persist_data=True))
    node = rota.node(**odd)
    leaving, = rota.enqueue("job")
    assert rota.wait_history(leaving)["status"] == "success"
    assert kept(rota) is None
    assert node.wait_for_line("new job data is not kept")["job"] == "job"


def test_an_apply_keeps_what_runs_have_left_until_the_declared_data_change(rota, odd):
    declared = job(data={"do": "count", "n": 0}, persist_data=True)
    rota.apply(declared)
    rota.node(**odd)
    rota.wait_history(rota.enqueue("job")[0])
    rota.apply({**declared, "timeout": "1h"})
    assert json.loads(kept(rota))["n"] == 1
    rota.wait_history(rota.enqueue("job")[0])
    assert json.loads(kept(rota))["n"] == 2
    rota.apply({**declared, "data": {"do": "count", "n": 10}})
    assert kept(rota) is None
    rota.wait_history(rota.enqueue("job")[0])
    assert json.loads(kept(rota))["n"] == 11


# --- the trigger ---

@pytest.mark.parametrize("answer, status", [("fail", "failed"), ("done", "success")])
def test_a_worker_that_unschedules_ends_its_trigger_and_no_other(rota, odd, answer, status):
    ends = {"do": "fail", "answer": {"type": answer, "message": "enough", "unschedule": True}}
    rota.apply(job(data={"do": "done"}, retry={"max_attempts": 5, "backoff": "fixed", "initial": "50ms"},
                   triggers=[{"name": "ends", "every": "300ms", "data": ends}, {"name": "goes-on", "every": "300ms"}]))
    rota.node(**odd)
    wait_state(rota, "ends", "complete")
    fired = rota.value("SELECT fired FROM rota.trigger_state WHERE trigger = 'ends'")
    wait_until(lambda: rota.value("SELECT fired FROM rota.trigger_state WHERE trigger = 'goes-on'") > 5, 20, "the other to go on")
    assert trigger_state(rota, "goes-on")[0] == "waiting"
    assert rota.value("SELECT fired FROM rota.trigger_state WHERE trigger = 'ends'") == fired
    ended = rota.rows("SELECT status, attempt FROM rota.task_history WHERE trigger = 'ends'")
    assert set(ended) == {(status, 1)}, "who ends the schedule does not want another attempt"


def test_a_trigger_whose_runs_fail_goes_on_firing(rota, odd):
    rota.apply(job(data={"do": "fail", "answer": {"message": "no"}}, triggers=[{"name": "fails", "every": "200ms"}]))
    rota.node(**odd)
    wait_until(lambda: rota.value("SELECT count(*) FROM rota.task_history WHERE status = 'failed'") >= 4, 20, "it to go on")
    assert trigger_state(rota, "fails") == ("waiting", None)


def test_a_trigger_goes_to_error_when_a_run_of_it_has_failed_for_good(rota, odd):
    fails = {"do": "fail", "answer": {"message": "the disk is full"}}
    rota.apply(job(data={"do": "done"}, on_exhausted="error", retry={"max_attempts": 2, "backoff": "immediate"},
                   triggers=[{"name": "fails", "every": "300ms", "data": fails}, {"name": "goes-on", "every": "300ms"}]))
    node = rota.node(**odd)
    error = wait_state(rota, "fails", "error")
    assert "failed after 2 attempts" in error and "the disk is full" in error
    wait_until(lambda: rota.value("SELECT fired FROM rota.trigger_state WHERE trigger = 'goes-on'") > 5, 20, "the other to go on")
    node.stop()
    rota.node("n2", **odd)
    assert wait_state(rota, "fails", "error") == error, "its owner asked for it: no node takes that back"
    rota.run("reset", "fails")
    wait_until(lambda: rota.value("SELECT count(*) FROM rota.task_history WHERE trigger = 'fails' AND node = 'n2'") > 0, 20,
               "the reset trigger to fire again")


def test_a_run_that_kills_its_workers_puts_its_trigger_in_error(rota, odd):
    rota.apply(job(data={"do": "die"}, on_exhausted="error", max_crashes=1, requests_recovery=True,
                   triggers=[{"name": "dies", "every": "1h", "start_at": "2020-01-01T00:00:00Z"}]))
    rota.node(**odd)
    rota.run("fire", "dies")
    assert "poison" in wait_state(rota, "dies", "error") or "crashed" in wait_state(rota, "dies", "error")


def test_a_failed_run_that_was_enqueued_concerns_no_trigger(rota, odd):
    rota.apply(job(data={"do": "fail", "answer": {"message": "no"}}, on_exhausted="error",
                   triggers=[{"name": "far", "cron": "0 0 0 1 1 ? 2099"}]))
    rota.node(**odd)
    rota.wait_history(rota.enqueue("job")[0])
    assert trigger_state(rota, "far") == ("waiting", None)


# --- with the history's row, or not at all ---

def test_effects_of_a_run_that_was_not_written_now_are_void(rota):
    rota.apply({"name": "job", "handler": "noop", "persist_data": True, "triggers": [{"name": "t", "cron": "0 0 0 1 1 ? 2099"}]})
    job_id, trigger_id = rota.rows("SELECT job_id, id FROM rota.trigger")[0]
    rota.db.execute("INSERT INTO rota.task_history (id, task, ended_at, status, outcome, attempt, scheduled_at, fence) "
                    "VALUES (1, 'job', now() - interval '1 millisecond', 'success', 'success', 1, now(), 5)")
    arguments = [array("bigint", [1]), array("bigint", [5]), array("integer", [job_id]), array("integer", [trigger_id]),
                 array("json", ['{"n":1}']), array("boolean", [True]), array("text", [None])]
    assert run(rota.db, "run_effects", *arguments) == [(0,)]
    assert kept(rota) is None and trigger_state(rota, "t")[0] == "waiting"
    with rota.db.transaction():
        rota.db.execute("UPDATE rota.task_history SET ended_at = now()")
        assert run(rota.db, "run_effects", *arguments) == [(1,)]
    assert kept(rota) == '{"n":1}' and trigger_state(rota, "t")[0] == "complete"
