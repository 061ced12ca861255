"""What a run has beside its row: progress, checkpoints and lines of its log, said by its worker while it runs; the
time by which it must have started; the trace it belongs to; its data, for whoever runs it again."""

import json
import os
import signal
import sys
import time

import pytest

from noting import STAY, Noting, checkpoint, line, progress
from statements import array, run as run_statement
from waiting import holds_for, wait_until

@pytest.fixture
def noting(rota, tmp_path):
    return Noting(rota, tmp_path)


# --- progress ---

def test_progress_can_be_seen_while_a_run_runs_and_is_gone_with_it(noting):
    noting.job()
    noting.node()
    gate = noting.gate()
    run = noting.enqueue([progress(0.25, "first half"), {"until": gate}])
    noting.wait_note(run, "fraction", 0.25)
    assert noting.notes(run)["message"] == "first half"
    [listed] = json.loads(noting.rota.run("get", "runs", "--json").stdout)["data"]
    assert (listed["id"], listed["progress"], listed["message"]) == (run, 0.25, "first half")
    assert "25" in noting.rota.run("get", "runs").stdout and "first half" in noting.rota.run("get", "runs").stdout
    noting.open()
    assert noting.rota.wait_history(run)["status"] == "success"
    assert noting.notes(run) is None


def test_progress_that_says_one_thing_leaves_the_other_as_it_was(noting):
    noting.job()
    noting.node()
    run = noting.enqueue([progress(0.5, "half"), progress(message="still half"), {"until": noting.gate()},
                          progress(0.75), {"until": noting.gate("end")}])
    noting.wait_note(run, "message", "still half")
    assert noting.notes(run)["fraction"] == 0.5
    noting.open()
    noting.wait_note(run, "fraction", 0.75)
    assert noting.notes(run)["message"] == "still half"
    noting.open("end")


def test_a_long_message_is_cut_at_a_whole_character(noting):
    noting.job()
    noting.node()
    run = noting.enqueue([progress(0.5, "ä" * 400), {"until": noting.gate()}])
    noting.wait_note(run, "message", "ä" * 250)
    noting.open()


def test_a_run_that_is_over_at_once_writes_no_progress(noting):
    noting.job()
    node = noting.node()
    run = noting.enqueue([progress(0.5, "half"), checkpoint({"at": 1})])
    assert noting.rota.wait_history(run)["status"] == "success"
    assert noting.notes(run) is None
    assert not node.lines(level="error")


# --- checkpoints ---

def test_the_next_attempt_is_handed_the_last_checkpoint_that_was_said(noting):
    noting.job(retry={"max_attempts": 3, "backoff": "immediate"})
    noting.node()
    steps = [checkpoint({"at": number}) for number in range(50)]
    run = noting.enqueue([*steps, {"say": {"type": "fail", "message": "no"}}],
                         [{"say": {"type": "fail", "message": "no"}}], [])
    assert noting.rota.wait_history(run)["status"] == "success"
    first, second, third = noting.seen(run)
    assert "checkpoint" not in first
    assert second["checkpoint"] == {"at": 49}
    assert third["checkpoint"] == {"at": 49}, "an attempt that says none leaves the one before"
    assert noting.notes(run) is None


def test_a_checkpoint_comes_back_byte_for_byte(noting, tmp_path):
    noting.job()
    said = '{"n":1234567890123456789012,"x":"\\u00e4",  "e":1e0}'
    worker = tmp_path / "worker.py"
    worker.write_text(f"""
import json, sys
print(json.dumps({{"type": "hello", "protocol": 1, "handlers": ["bytes"]}}), flush=True)
seen = False
for line in sys.stdin:
    message = json.loads(line)
    if message["type"] == "run":
        open({noting.seen_path!r}, "a").write(line)
        ids = '"id":%d,"fence":%d' % (message["id"], message["fence"])
        if not seen:
            print('{{"type":"checkpoint",%s,"data":%s}}' % (ids, {said!r}))
            print('{{"type":"snooze",%s,"for":"10ms"}}' % ids, flush=True)
        else:
            print('{{"type":"done",%s}}' % ids, flush=True)
        seen = True
""")
    noting.rota.apply({"name": "bytes", "handler": "bytes", "durable": True})
    noting.rota.node("n1", pools={"b": {"command": [sys.executable, str(worker)]}})
    [run] = noting.rota.enqueue("bytes")
    noting.rota.wait_history(run)
    with open(noting.seen_path, encoding="utf-8") as file:
        assert f'"checkpoint":{said}' in file.read().splitlines()[1]


def test_a_checkpoint_reaches_another_node_when_its_node_is_killed(noting):
    noting.job()
    first = noting.node("n1", lease="2s", heartbeat="500ms")
    run = noting.enqueue([checkpoint({"at": 7}), progress(0.7, "seven"), STAY], [])
    noting.wait_note(run, "checkpoint", '{"at": 7}')
    noting.node("n2", lease="2s", heartbeat="500ms")
    first.kill()
    assert noting.rota.wait_history(run, 30)["node"] == "n2"
    one, two = noting.seen(run)
    assert (two["checkpoint"], two["recovering"]) == ({"at": 7}, True)
    assert two["fence"] > one["fence"]


def test_a_checkpoint_survives_its_worker(noting):
    noting.job()
    node = noting.node()
    run = noting.enqueue([checkpoint({"at": 1}), checkpoint({"at": 2}), STAY], [])
    noting.wait_note(run, "checkpoint", '{"at": 2}')
    os.kill(noting.seen(run)[0]["pid"], signal.SIGKILL)
    assert noting.rota.wait_history(run, 20)["status"] == "success"
    assert noting.seen(run)[1]["checkpoint"] == {"at": 2}
    assert node.lives()


def test_a_checkpoint_said_as_the_worker_dies_is_handed_on(noting):
    noting.job()
    noting.node()
    run = noting.enqueue([checkpoint({"at": 3}), {"exit": 9}], [])
    assert noting.rota.wait_history(run, 20)["status"] == "success"
    assert noting.seen(run)[1]["checkpoint"] == {"at": 3}


def test_a_checkpoint_goes_with_a_run_that_a_drain_hands_over(noting):
    noting.job()
    first = noting.node("n1", grace="1500ms")
    run = noting.enqueue([checkpoint({"at": 5}), STAY], [])
    noting.wait_note(run, "checkpoint", '{"at": 5}')
    noting.node("n2")
    assert first.stop() == 0
    assert noting.rota.wait_history(run, 30)["node"] == "n2"
    assert noting.seen(run)[1]["checkpoint"] == {"at": 5}


def test_a_checkpoint_that_is_too_large_is_refused_and_hurts_nobody(noting):
    noting.job(retry={"max_attempts": 2, "backoff": "immediate"})
    node = noting.node()
    large = {"blob": 256 << 10, "say": {"type": "checkpoint"}}
    run = noting.enqueue([checkpoint({"at": 1}), large, large, {"say": {"type": "fail", "message": "no"}}], [])
    assert noting.rota.wait_history(run)["status"] == "success"
    assert noting.seen(run)[1]["checkpoint"] == {"at": 1}
    [told] = node.lines("checkpoint is not kept: at most 256 KiB are")
    assert told["run"] == run and told["bytes"] > 256 << 10


# --- logs ---

def test_lines_of_a_log_are_kept_with_the_run_through_its_attempts_and_into_the_history(noting):
    noting.job(retry={"max_attempts": 2, "backoff": "immediate"})
    noting.node()
    run = noting.enqueue([line("one"), line("two", "warn"), {"say": {"type": "fail", "message": "no"}}],
                         [line("three", "shout")])
    logs = noting.rota.wait_history(run)["logs"]
    assert [(entry["level"], entry["message"]) for entry in logs] == [("info", "one"), ("warn", "two"), ("info", "three")]
    assert all(entry["at"].endswith("Z") for entry in logs)
    [shown] = json.loads(noting.rota.run("get", "history", "--json").stdout)["data"]
    assert shown["logs"] == logs


def test_of_a_long_log_the_newest_hundred_lines_are_kept_and_the_others_counted(noting):
    noting.job()
    noting.node()
    run = noting.enqueue([{"times": 1000, "say": {"type": "log", "level": "info", "message": "line {}"}}])
    dropped, *logs = noting.rota.wait_history(run)["logs"]
    assert [entry["message"] for entry in logs] == [f"line {number}" for number in range(900, 1000)]
    assert dropped == {"dropped": 900}


def test_long_lines_are_cut_and_a_log_is_bounded_in_bytes(noting):
    noting.job()
    noting.node()
    run = noting.enqueue([{"times": 60, "say": {"type": "log", "level": "info", "message": "{} " + "x" * 5000}}])
    dropped, *logs = noting.rota.wait_history(run)["logs"]
    assert len(json.dumps(logs)) <= 33000 and len(logs) >= 14
    assert all(len(entry["message"]) == 2000 for entry in logs)
    assert logs[-1]["message"].startswith("59 ") and dropped["dropped"] == 60 - len(logs)


def test_a_log_grows_over_many_writes_within_its_bounds(noting):
    """The same bound where the lines come bit by bit: there it is the database that leaves out."""
    noting.job()
    noting.node()
    steps = []
    for number in range(3):
        steps += [{"times": 60, "say": {"type": "log", "level": "info", "message": f"{number}-{{}}"}},
                  {"until": noting.gate(str(number))}]
    run = noting.enqueue(steps)
    for number in range(3):
        wait_until(lambda: (noting.notes(run) or {}).get("logs") and noting.notes(run)["logs"][-1]["message"] == f"{number}-59",
                   15, lambda: noting.notes(run))
        noting.open(str(number))
    dropped, *logs = noting.rota.wait_history(run)["logs"]
    assert len(logs) == 100 and logs[0]["message"] == "1-20" and dropped == {"dropped": 80}


# --- what it costs ---

def test_a_worker_that_never_stops_talking_costs_one_write_a_second(noting):
    noting.job()
    node = noting.node()
    run = noting.enqueue([{"times": 10**9, "say": {"type": "progress", "fraction": 0.5, "message": "at {}"}}])
    wait_until(lambda: noting.notes(run), 15, "the first note")

    changes, last = [], None
    end = time.monotonic() + 4
    while time.monotonic() < end:
        now = noting.rota.value("SELECT noted_at FROM rota.run_extra WHERE run_id = %s", run)
        if now != last:
            changes.append(now)
        last = now
        time.sleep(0.02)
    gaps = [(after - before).total_seconds() for before, after in zip(changes, changes[1:])]
    assert 2 <= len(gaps) <= 5 and min(gaps) > 0.9, gaps
    node.kill()


def test_runs_that_say_nothing_have_no_row_beside_theirs(noting):
    noting.job()
    noting.node()
    [*runs] = noting.rota.enqueue("job", "--count", "50")
    wait_until(lambda: noting.rota.value("SELECT count(*) FROM rota.task_history") == 50, 30, "all of them")
    assert noting.rota.value("SELECT count(*) FROM rota.run_extra") == 0
    assert noting.rota.value("SELECT n_tup_ins FROM pg_stat_user_tables WHERE relname = 'run_extra'") == 0
    assert len(runs) == 50


def test_what_is_said_while_the_database_is_away_is_written_when_it_is_back(noting):
    noting.job(retry={"max_attempts": 2, "backoff": "immediate"})
    node = noting.node()
    gate = noting.gate()
    run = noting.enqueue([line("before"), {"until": gate}, line("meanwhile"), checkpoint({"at": 2}),
                          {"say": {"type": "fail", "message": "no"}}], [])
    wait_until(lambda: noting.notes(run), 15, "the first line")
    noting.rota.db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                           "WHERE application_name LIKE 'rota work n1%'")
    noting.open()
    row = noting.rota.wait_history(run, 20)
    assert row["status"] == "success"
    assert [entry["message"] for entry in row["logs"]] == ["before", "meanwhile"]
    assert noting.seen(run)[1]["checkpoint"] == {"at": 2}
    assert node.lives()


def test_what_an_older_claim_says_is_void(noting):
    """A note that comes late finds its receipt gone, or the row in the hands of a newer claim."""
    noting.job()
    noting.node()
    run = noting.enqueue([checkpoint({"at": 1}), progress(0.1), STAY])
    noting.wait_note(run, "checkpoint", '{"at": 1}')
    fence, incarnation = noting.rota.rows("SELECT fence, incarnation FROM rota.receipt")[0]

    def note(of_fence, of_incarnation):
        [[count]] = run_statement(noting.rota.db, "run_note", of_incarnation, array("bigint", [run]),
                                  array("bigint", [of_fence]), array("integer", [0]), array("real", [0.9]),
                                  array("text", [None]), array("json", ['{"at": 0}']), array("jsonb", [None]),
                                  array("bigint", [0]))
        return count

    assert note(fence - 1, incarnation) == 0
    assert note(fence, incarnation + 1) == 0
    assert noting.notes(run)["checkpoint"] == '{"at": 1}'
    noting.rota.db.execute("UPDATE rota.run_extra SET fence = fence + 1")
    assert note(fence, incarnation) == 0
    noting.rota.db.execute("UPDATE rota.run_extra SET fence = fence - 1")
    assert note(fence, incarnation) == 1
    assert noting.notes(run)["checkpoint"] == '{"at": 0}'


# --- expiry ---

def test_a_run_that_is_not_started_in_time_expires_without_running(noting):
    noting.job()
    run = noting.enqueue([], expires_in="1 second")
    plain = noting.enqueue([])
    wait_until(lambda: noting.rota.value("SELECT expires_at < clock_timestamp() FROM rota.run_extra WHERE run_id = %s", run),
               10, "its time to be over")
    noting.node()
    assert noting.rota.wait_history(plain)["status"] == "success"
    row = noting.rota.wait_history(run)
    assert (row["status"], row["outcome"], row["started_at"]) == ("failed", "expired", None)
    assert row["details"]["message"] == "it was not started in time"
    assert noting.seen(run) == [] and noting.notes(run) is None


def test_a_run_that_began_in_time_does_not_expire_between_its_attempts(noting):
    noting.job(retry={"max_attempts": 2, "backoff": "fixed", "initial": "2s"})
    noting.node()
    run = noting.enqueue([{"say": {"type": "fail", "message": "no"}}], [], expires_in="1 second")
    row = noting.rota.wait_history(run, 20)
    assert (row["status"], row["attempt"]) == ("success", 2)


def test_a_run_that_was_put_off_has_begun(noting):
    noting.job()
    noting.node()
    run = noting.enqueue([{"say": {"type": "snooze", "for": "2s"}}], [], expires_in="1 second")
    assert noting.rota.wait_history(run, 20)["status"] == "success"


def test_a_run_in_time_and_one_that_waits_in_a_lane_are_judged_alike(noting):
    noting.job(disallow_concurrent=True)
    noting.node()
    gate = noting.gate()
    first = noting.enqueue([{"until": gate}], expires_in="1 hour")
    wait_until(lambda: noting.seen(first), 15, "the first to run")
    second = noting.enqueue([], expires_in="500 milliseconds")
    wait_until(lambda: noting.rota.value("SELECT coalesce(bool_and(expires_at < clock_timestamp()), true) "
                                         "FROM rota.run_extra WHERE run_id = %s", second), 10, "its time to be over")
    third = noting.enqueue([])
    noting.open()
    assert noting.rota.wait_history(first)["status"] == "success"
    assert noting.rota.wait_history(second)["outcome"] == "expired"
    assert noting.rota.wait_history(third)["status"] == "success", "the lane is free again"


# --- traces, data, failures ---

def test_a_trace_is_handed_to_the_worker(noting):
    noting.job(retry={"max_attempts": 2, "backoff": "immediate"})
    noting.node()
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    run = noting.enqueue([{"say": {"type": "fail", "message": "no"}}], [], traceparent=trace)
    plain = noting.enqueue([])
    noting.rota.wait_history(run)
    noting.rota.wait_history(plain)
    assert [message["traceparent"] for message in noting.seen(run)] == [trace, trace]
    assert "traceparent" not in noting.seen(plain)[0]


def test_the_history_keeps_the_run_s_own_data(noting):
    noting.job(data={"of": "the job"})
    noting.node()
    own = '{"big":1234567890123456789012,  "x":1e0}'
    run = noting.rota.value("SELECT e.run_id FROM rota.enqueue_runs('job', ARRAY[%s]::json[], NULL, NULL, NULL, NULL, NULL, "
                            "NULL, NULL, NULL, NULL) e", own)
    [bare] = noting.rota.enqueue("job")
    noting.rota.wait_history(run)
    noting.rota.wait_history(bare)
    assert noting.rota.value("SELECT data::text FROM rota.task_history WHERE id = %s", run) == own
    assert noting.rota.value("SELECT data::text FROM rota.task_history WHERE id = %s", bare) is None
    [again] = [row[1] for row in noting.rota.rows("SELECT * FROM rota.rerun(ARRAY[%s]::bigint[])", run)]
    noting.rota.wait_history(again)
    assert noting.rota.value("SELECT data::text FROM rota.task_history WHERE id = %s", again) == own


def test_another_job_is_told_of_a_final_failure_and_only_of_that(noting):
    noting.rota.apply({"name": "teller", "handler": "noop", "durable": True},
                      {"name": "job", "handler": "note", "durable": True,
                       "retry": {"max_attempts": 2, "backoff": "immediate"}})
    noting.rota.db.execute("UPDATE rota.job SET on_failure = 'teller' WHERE name = 'job'")
    noting.node()
    fail = [{"say": {"type": "fail", "message": "no luck"}}]
    good, retried, bad = noting.enqueue([]), noting.enqueue(fail, []), noting.enqueue(fail)
    assert [noting.rota.wait_history(run)["status"] for run in (good, retried, bad)] == ["success", "success", "failed"]
    told = wait_until(lambda: noting.rota.rows("SELECT data FROM rota.task_history WHERE task = 'teller'"), 15, "the teller")
    assert [(row[0]["run"], row[0]["job"], row[0]["outcome"], row[0]["message"]) for row in told] == [
        (bad, "job", "failed", "no luck")]


def test_a_failure_is_written_and_told_however_full_the_queue_of_who_is_told_is(noting):
    noting.rota.apply({"name": "teller", "handler": "nobody serves this", "durable": True},
                      {"name": "job", "handler": "note", "durable": True})
    noting.rota.db.execute("UPDATE rota.job SET on_failure = 'teller' WHERE name = 'job'")
    noting.rota.db.execute("UPDATE rota.job SET max_pending = 1 WHERE name = 'teller'")
    noting.node()
    fail = [{"say": {"type": "fail", "message": "no luck"}}]
    runs = [noting.enqueue(fail) for _ in range(3)]
    assert [noting.rota.wait_history(run)["status"] for run in runs] == ["failed"] * 3
    assert noting.rota.value("SELECT count(*) FROM rota.pending") == 3


def test_what_hangs_on_a_run_goes_with_its_end(noting):
    noting.job()
    noting.node()
    run = noting.enqueue([line("x")], key="k")
    noting.rota.wait_history(run)
    for table in ("run_extra", "unique_key", "run_after", "cancel_request"):
        assert noting.rota.value(f"SELECT count(*) FROM rota.{table}") == 0, table
    holds_for(lambda: noting.rota.value("SELECT count(*) FROM rota.run_extra") == 0, 0.3)
