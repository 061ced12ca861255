"""What becomes of single runs: data, retries, time-outs, snoozes, and workers that misbehave."""

import datetime
import json
import os
import sys
import time

import pytest

from fleet import binary
from ledger import Ticks, assert_exactly_once, milliseconds, print_delays
from processes import descendants
from waiting import holds_for, wait_until

ODD_WORKER = os.path.join(os.path.dirname(__file__), "..", "lib", "odd_worker.py")


class OddPool:
    """The setting `pools` for workers that do as they are told, and all they have read."""

    def __init__(self, directory):
        self.path = os.path.join(str(directory), "odd-lines")

    def setting(self, slots=1, processes=1):
        return {"odd": {"command": [sys.executable, "-S", "-E", ODD_WORKER, "odd", str(slots), self.path],
                        "processes": processes}}

    def lines(self):
        if not os.path.exists(self.path):
            return []
        with open(self.path, "rb") as file:
            return file.read().splitlines(keepends=True)

    def runs(self):
        return [message for message in map(json.loads, self.lines()) if message["type"] == "run"]


@pytest.fixture
def odd(tmp_path):
    return OddPool(tmp_path)


def job(name="job", handler="odd", **more):
    declared = {"name": name, "handler": handler, **more}
    if "triggers" not in more:
        declared["durable"] = True
    return declared


def seconds(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


# --- data ---

def test_data_of_job_trigger_and_run_are_merged_and_pass_byte_for_byte(rota, odd, tmp_path):
    rota.node("n1", pools=odd.setting())
    path = tmp_path / "manifest.json"
    path.write_text("""{"source": "test", "jobs": [{"name": "job", "handler": "odd",
        "data": {"do":"echo", "big": 12345678901234567890, "price":1.10, "tiny":1e-400, "over": {"a":1},
                 "keep" : [ 1.0,2 ]},
        "triggers": [{"name": "t", "at": "2040-01-01T00:00:00Z",
                      "data": {"over":{"b" : 2.50}, "text":"\\u00e4\\/\\n", "zero":-0.0}}]}]}""")
    rota.run("apply", "-f", str(path))
    by_trigger = int(rota.run("fire", "t").stdout)
    by_hand, = rota.enqueue("job", "--data", '{"price":2.20,"more":98765432109876543210.123456789}')
    row = rota.wait_history(by_trigger)
    expected = ('{"do":"echo","big":12345678901234567890,"price":1.10,"tiny":1e-400,"keep":[ 1.0,2 ],'
                '"over":{"b" : 2.50},"text":"\\u00e4\\/\\n","zero":-0.0}')
    assert row["raw"] == expected
    row = rota.wait_history(by_hand)
    assert row["raw"] == ('{"do":"echo","big":12345678901234567890,"tiny":1e-400,"over":{"a":1},"keep":[ 1.0,2 ],'
                          '"price":2.20,"more":98765432109876543210.123456789}')
    lines = {json.loads(line)["id"]: line for line in odd.lines() if b'"type":"run"' in line}
    assert f'"data":{expected},' in lines[by_trigger].decode()
    assert f'"data":{row["raw"]},' in lines[by_hand].decode()


def test_the_run_message_says_what_the_contract_promises(rota, odd):
    rota.node("n1", pools=odd.setting())
    rota.apply(job(timeout="1m", triggers=[{"name": "t", "every": "1s"}]))
    wait_until(lambda: len(odd.runs()) >= 3, 15, "three firings")
    first, second, third = odd.runs()[:3]
    fence, = [row[0] for row in rota.rows("SELECT fence FROM rota.task_history WHERE id = %s", second["id"])]
    assert {key: second[key] for key in ("type", "fence", "job", "handler", "data", "trigger", "attempt",
                                         "recovering", "missed")} == {
        "type": "run", "fence": fence, "job": "job", "handler": "odd", "data": {}, "trigger": "t", "attempt": 1,
        "recovering": False, "missed": 0}
    assert "previous_fire_time" not in first and third["previous_fire_time"] == second["scheduled_time"]
    assert milliseconds(second["scheduled_time"]) - milliseconds(first["scheduled_time"]) == 1000
    assert 0 <= seconds(second["fire_time"]) - seconds(second["scheduled_time"]) < 1
    assert 58 < seconds(second["deadline"]) - seconds(second["fire_time"]) < 62


def test_a_run_enqueued_for_later_waits_for_its_time(rota, odd):
    rota.node("n1", pools=odd.setting())
    rota.apply(job())
    run, = rota.enqueue("job", "--in", "1500ms")
    due = rota.value("SELECT extract(epoch FROM due)::float FROM rota.pending WHERE id = %s", run)
    row = rota.wait_history(run)
    assert 0 <= seconds(row["started_at"]) - due < 0.5


@pytest.mark.parametrize("notify", ["true", "false"])
def test_an_enqueued_run_starts_at_once_or_within_the_poll_without_notifications(rota, odd, notify):
    rota.node("n1", pools=odd.setting(), notify=notify)
    rota.apply(job())
    rota.wait_history(*rota.enqueue("job"))
    delays = []
    for _ in range(5):
        row = rota.wait_history(*rota.enqueue("job"), limit=5)
        delays.append(seconds(row["started_at"]) - seconds(row["scheduled_at"]))
    print(f"notify={notify}: started after {[round(delay * 1000) for delay in delays]} ms")
    assert max(delays) < (0.25 if notify == "true" else 0.75)


def test_large_data_pass_and_what_no_line_can_hold_fails_by_itself(rota, odd):
    rota.node("n1", pools=odd.setting(slots=32))
    rota.apply(job())
    text = "x" * 900_000
    big = [row[0] for row in rota.rows(
        """INSERT INTO rota.pending (route, due, job_id, scheduled_at, data)
           SELECT r.id, now(), j.id, now(), json_build_object('text', %s::text)
             FROM rota.job j JOIN rota.route r ON r.handler = j.handler, generate_series(1, 6) RETURNING id""", text)]
    huge = rota.value(
        """INSERT INTO rota.pending (route, due, job_id, scheduled_at, data)
           SELECT r.id, now(), j.id, now(), json_build_object('text', repeat('x', 1100000))
             FROM rota.job j JOIN rota.route r ON r.handler = j.handler RETURNING id""")
    rota.db.execute('NOTIFY "rota.wake"')
    row = rota.wait_history(huge)
    assert row["status"] == "failed" and "longer than a line" in row["details"]["message"]
    for run in big:
        assert rota.wait_history(run)["status"] == "success"
    assert {message["id"]: len(message["data"]["text"]) for message in odd.runs()} == {run: len(text) for run in big}


def test_500_triggers_due_at_once_on_one_node_with_few_slots_are_all_fired(rota, ledger):
    rota.node("n1", pools=ledger.pool(slots=16))
    ticks = Ticks("t", 500, 3, phases=1)
    rota.apply(job(handler="ledger", triggers=ticks.declared()))
    rota.wait_idle(20)
    assert_exactly_once(ledger, ticks.expected())
    print_delays(ledger.entries(), "500 at once through 16 slots")


# --- how runs end ---

def test_a_failing_exec_is_recorded_as_the_contract_says(rota):
    rota.node("n1", exec_allow="/bin/sh")
    rota.apply(job(handler="exec", data={"command": ["/bin/sh", "-c", "echo one; echo two >&2; exit 3"]}))
    run, = rota.enqueue("job")
    row = rota.wait_history(run)
    assert (row["task"], row["status"], row["outcome"], row["node"], row["attempt"], row["trigger"]) == (
        "job", "failed", "failed", "n1", 1, None)
    assert row["details"] == {
        "status": "failed", "exception": "exit status 3", "message": "two",
        "original-info": {"exit_code": 3, "output": "one\ntwo\n", "output_truncated": False}}
    took = seconds(row["ended_at"]) - seconds(row["started_at"])
    assert 0 <= row["duration_ms"] / 1000 <= took + 0.01


def test_a_successful_exec_keeps_the_end_of_its_output(rota):
    rota.node("n1", exec_allow="/bin/sh")
    rota.apply(job(handler="exec", data={"command": ["/bin/sh", "-c", "echo $ROTA_JOB $ROTA_ATTEMPT $ROTA_NODE"]}))
    row = rota.wait_history(*rota.enqueue("job"))
    assert (row["status"], row["outcome"]) == ("success", "success")
    assert row["details"] == {"exit_code": 0, "output": "job 1 n1\n", "output_truncated": False}


def test_a_program_may_enqueue_the_next_job_with_a_database_of_its_own_knowledge(rota, tmp_path):
    (tmp_path / "rota.json").write_text(json.dumps({"database_url": rota.url}))
    enqueue = [binary(), "enqueue", "next"]
    rota.apply({"name": "ends with it", "handler": "exec", "durable": True,
                "data": {"command": [*enqueue, "--config", str(tmp_path / "rota.json")]}},
               {"name": "by itself", "handler": "exec", "durable": True, "data": {"command": enqueue}},
               {"name": "next", "handler": "noop", "durable": True})
    rota.node("n1", exec_allow='["*"]')
    row = rota.wait_history(*rota.enqueue("ends with it"))
    assert row["status"] == "success"
    assert rota.wait_history(int(row["details"]["output"]))["task"] == "next"
    [alone] = rota.enqueue("by itself")
    assert rota.wait_history(alone)["status"] == "failed", "no setting of the node is handed on"


def test_a_program_that_exec_allow_does_not_name_is_refused_with_what_to_do(rota):
    rota.node("n1")
    rota.apply(job(handler="exec", data={"command": ["/bin/true"]}, retry={"max_attempts": 5}))
    row = rota.wait_history(*rota.enqueue("job"))
    assert (row["status"], row["attempt"]) == ("failed", 1)
    assert "exec_allow" in row["details"]["message"] and "/bin/true" in row["details"]["message"]


def test_a_failure_keeps_what_the_worker_said_cut_to_its_limits(rota, odd):
    rota.node("n1", pools=odd.setting())
    answer = {"exception": "Oops", "message": "m" * 1000, "stacktrace": ["a", "b"], "ex_data": {"n": 1},
              "details": {"d": 2}, "retry": False}
    rota.apply(job(data={"do": "fail", "answer": answer}, retry={"max_attempts": 5}))
    row = rota.wait_history(*rota.enqueue("job"))
    assert (row["status"], row["outcome"], row["attempt"]) == ("failed", "failed", 1)
    details = row["details"]
    assert details.pop("message").startswith("m" * 200) and len(row["details"].get("message", "")) <= 250
    assert details == {"status": "failed", "exception": "Oops", "stacktrace": ["a", "b"], "ex-data": {"n": 1},
                       "original-info": {"d": 2}}


def test_long_lists_and_texts_of_a_failure_are_cut_to_50_items_and_250_characters(rota, odd):
    rota.node("n1", pools=odd.setting())
    answer = {"exception": "Oops", "stacktrace": ["s" * 300] * 80, "ex_data": {"ids": list(range(70)), "s": "\n" * 300}}
    rota.apply(job(data={"do": "fail", "answer": answer}))
    details = rota.wait_history(*rota.enqueue("job"))["details"]
    assert details["stacktrace"] == ["s" * 250] * 50
    assert details["ex-data"] == {"ids": list(range(50)), "s": "\n" * 250}


@pytest.mark.parametrize("backoff, gaps", [("fixed", [0.3, 0.3]), ("exponential", [0.3, 0.6]),
                                           ("immediate", [0, 0])])
def test_failures_are_retried_with_their_backoff_and_end_after_the_last_attempt(rota, odd, backoff, gaps):
    rota.node("n1", pools=odd.setting())
    rota.apply(job(data={"do": "fail", "answer": {"exception": "E", "message": "again"}},
                   retry={"max_attempts": 3, "backoff": backoff, "initial": "300ms", "jitter": 0}))
    run, = rota.enqueue("job")
    row = rota.wait_history(run)
    assert (row["status"], row["attempt"]) == ("failed", 3)
    attempts = row["details"].pop("attempts")
    assert row["details"] == {"status": "failed", "exception": "E", "message": "again"}
    assert [(each["attempt"], each["outcome"], each["message"], each["node"]) for each in attempts] == [
        (1, "failed", "again", "n1"), (2, "failed", "again", "n1")]
    assert [message["attempt"] for message in odd.runs()] == [1, 2, 3]
    starts = [seconds(message["fire_time"]) for message in odd.runs()]
    for gap, first, second in zip(gaps, starts, starts[1:]):
        assert gap - 0.002 <= second - first < gap + 0.5, starts
    scheduled = {message["scheduled_time"] for message in odd.runs()}
    assert len(scheduled) == 1 and rota.value("SELECT count(*) FROM rota.task_history") == 1


def test_a_run_that_takes_too_long_is_ended_with_all_it_started(rota):
    node = rota.node("n1", exec_allow="/bin/*")
    rota.apply(job(handler="exec", timeout="500ms",
                   data={"command": ["/bin/sh", "-c", "/bin/sleep 97 & /bin/sleep 98"]}))
    run, = rota.enqueue("job")
    wait_until(lambda: sum("/bin/sleep 9" in process.command for process in node.workers()) >= 2, 5, "its children")
    row = rota.wait_history(run)
    assert (row["status"], row["outcome"]) == ("failed", "timeout")
    assert 450 <= row["duration_ms"] < 1500
    assert not any("/bin/sleep 9" in process.command for process in descendants(node.pid))


def test_a_timed_out_run_is_retried_within_its_attempts(rota):
    rota.node("n1")
    rota.apply(job(handler="noop", data={"sleep": "30s"}, timeout="300ms",
                   retry={"max_attempts": 2, "initial": "100ms", "jitter": 0}))
    row = rota.wait_history(*rota.enqueue("job"))
    assert (row["status"], row["outcome"], row["attempt"]) == ("failed", "timeout", 2)
    assert [attempt["outcome"] for attempt in row["details"]["attempts"]] == ["timeout"]


def test_a_hanging_run_that_its_worker_cannot_end_is_retried_within_its_attempts(rota, odd):
    rota.node("n1", pools=odd.setting(), grace="5s")
    rota.apply(job(data={"do": "hang"}, timeout="300ms", retry={"max_attempts": 2, "initial": "100ms", "jitter": 0}))
    row = rota.wait_history(*rota.enqueue("job"), limit=30)
    assert (row["status"], row["outcome"], row["attempt"]) == ("failed", "timeout", 2)
    assert [attempt["outcome"] for attempt in row["details"]["attempts"]] == ["timeout"]


def test_a_snooze_burns_no_attempt_and_comes_back_after_its_time(rota, odd):
    rota.node("n1", pools=odd.setting())
    rota.apply(job(data={"do": "snooze", "answer": {"for": "700ms"}}))
    row = rota.wait_history(*rota.enqueue("job"))
    assert (row["status"], row["attempt"]) == ("success", 1)
    first, second = odd.runs()
    assert first["attempt"] == second["attempt"] == 1 and first["fence"] < second["fence"]
    assert 0.69 <= seconds(second["fire_time"]) - seconds(first["fire_time"]) < 1.5
    assert [attempt["outcome"] for attempt in row["details"]["attempts"]] == ["snoozed"]


def test_a_snooze_longer_than_any_clock_counts_is_a_hundred_years(rota, odd):
    node = rota.node("n1", pools=odd.setting())
    rota.apply(job(data={"do": "snooze", "answer": {"for": "9223372036854775807us"}}))
    run, = rota.enqueue("job")
    wait_until(lambda: rota.value(
        "SELECT EXISTS (SELECT FROM rota.pending WHERE id = %s AND due > now() + interval '99 years')", run), 20)
    assert not node.lines(level="warn") and not node.lines(level="error")


def test_a_refusal_burns_no_attempt_and_the_run_comes_back(rota, odd):
    rota.node("n1", pools=odd.setting())
    rota.apply(job(data={"do": "refuse", "answer": {"reason": "busy"}}))
    row = rota.wait_history(*rota.enqueue("job"))
    assert (row["status"], row["attempt"]) == ("success", 1)
    assert [message["attempt"] for message in odd.runs()] == [1, 1]


def test_checkpoints_progress_logs_and_unknown_messages_do_no_harm(rota, odd):
    node = rota.node("n1", pools=odd.setting())
    messages = [{"type": "checkpoint", "data": {"at": 12345678901234567890}},
                {"type": "progress", "fraction": 0.5, "message": "half"},
                {"type": "log", "level": "info", "message": "hello"},
                {"type": "something new", "field": [1, {"x": None}]}]
    rota.apply(job(data={"do": "chatter", "messages": messages}))
    for run in rota.enqueue("job", "--count", "3"):
        assert rota.wait_history(run)["status"] == "success"
    assert not node.lines("worker ended")


def test_an_answer_under_a_wrong_fence_is_ignored(rota, odd):
    rota.node("n1", pools=odd.setting())
    rota.apply(job(data={"do": "wrong fence"}))
    row = rota.wait_history(*rota.enqueue("job"))
    assert (row["status"], row["details"]["message"]) == ("failed", "the right one")


def test_runs_of_a_deleted_job_end_as_such(rota, odd):
    rota.apply(job())
    run, = rota.enqueue("job")
    rota.db.execute("DELETE FROM rota.job")
    rota.node("n1", pools=odd.setting())
    row = rota.wait_history(run)
    assert (row["status"], row["outcome"], row["task"], row["started_at"]) == (
        "failed", "cancelled", "(deleted job)", None)


def test_an_extra_firing_leaves_the_schedule_alone(rota, odd):
    rota.node("n1", pools=odd.setting())
    rota.apply(job(triggers=[{"name": "t", "at": "2040-01-01T00:00:00Z", "data": {"x": 1}}]))
    before = rota.rows("SELECT * FROM rota.trigger_due")
    row = rota.wait_history(int(rota.run("fire", "t").stdout))
    assert (row["status"], row["trigger"]) == ("success", "t")
    assert odd.runs()[0]["data"] == {"x": 1} and odd.runs()[0]["trigger"] == "t"
    row = rota.wait_history(int(rota.run("fire", "job").stdout))
    assert row["trigger"] is None and "trigger" not in odd.runs()[1]
    assert rota.rows("SELECT * FROM rota.trigger_due") == before


# --- workers that misbehave ---

MISBEHAVIOUR = {"die": "exited with status 3", "garbage": "no message", "flood one line": "no message",
                "flood": None, "hang": None}  # what is said of it; None: it is ended when its time is over


def test_workers_that_misbehave_cost_their_own_runs_only(rota, ledger, tmp_path):
    names = {what: what.replace(" ", "-") for what in MISBEHAVIOUR}
    pools = {name: {"command": [sys.executable, "-S", "-E", ODD_WORKER, name, "1", str(tmp_path / name)]}
             for name in names.values()}
    node = rota.node("n1", pools={**pools, **ledger.pool()}, exec_allow="/bin/sh")
    by_exec, by_pool = Ticks("exec", 5, 4), Ticks("pool", 5, 4)
    rota.apply(job("by-exec", "exec", data=ledger.shell(), triggers=by_exec.declared()),
               job("by-pool", "ledger", triggers=by_pool.declared()))
    rota.apply(*[job(f"bad-{name}", name, data={"do": what}, requests_recovery=False, timeout="1s")
                 for what, name in names.items()], *[job(f"good-{name}", name) for name in pools], source="other")
    bad = {what: rota.enqueue(f"bad-{name}")[0] for what, name in names.items()}
    for what, run in bad.items():
        row = rota.wait_history(run, 20)
        print(what, row["outcome"], row["raw"][:160])
        words = MISBEHAVIOUR[what]
        assert row["status"] == "failed" and row["outcome"] == ("crashed" if words else "timeout"), what
        assert words is None or words in row["details"]["message"]
    for name in pools:  # the next worker in its place
        assert rota.wait_history(*rota.enqueue(f"good-{name}"))["status"] == "success"
    rota.wait_idle(30)
    assert_exactly_once(ledger, by_exec.expected() | by_pool.expected())
    late = max(entry.clock * 1000 - entry.scheduled for entry in ledger.entries() if entry.clock)
    print(f"latest firing beside them: {late:.0f} ms")
    assert late < 1000
    assert rota.rows("SELECT DISTINCT status FROM rota.task_history WHERE task NOT LIKE 'bad-%%'") == [("success",)]
    assert node.lives() and node.http("/readyz")[0] == 200


def test_neighbours_of_a_run_that_kills_its_worker_are_run_and_never_blamed(rota, odd):
    """They die with it each time they are beside it; in the end it is alone, and is poison."""
    rota.apply(job("bad", data={"do": "die"}), job("good", max_crashes=1))
    bad, = rota.enqueue("bad")
    runs = rota.enqueue("good", "--count", "3")
    node = rota.node("n1", pools=odd.setting(slots=4))
    row = rota.wait_history(bad, 40)
    assert (row["status"], row["outcome"]) == ("failed", "poison")
    assert sum(message["id"] == bad for message in odd.runs()) == 4
    for run in runs:
        row = rota.wait_history(run, 20)
        assert (row["status"], row["attempt"]) == ("success", 1)
        assert [attempt["outcome"] for attempt in row["details"]["attempts"]] == ["crashed"]
    assert node.lives()


@pytest.mark.full
def test_a_suspect_comes_to_run_alone_under_steady_load(rota, odd):
    rota.apply(job("bad", data={"do": "die"}),
               job("busy", data={"do": "sleep", "seconds": 0.15}, requests_recovery=True,
                   triggers=[{"name": "busy", "every": "200ms"}]))
    bad, = rota.enqueue("bad")
    rota.enqueue("busy", "--count", "3")
    rota.node("n1", pools=odd.setting(slots=4))
    row = rota.wait_history(bad, 60)
    assert (row["status"], row["outcome"]) == ("failed", "poison")
    rota.db.execute("UPDATE rota.trigger_due SET paused = true")
    wait_until(lambda: rota.open_runs() == 0, 30, lambda: f"the end of the others: {rota.open_work()}")
    assert rota.rows("SELECT DISTINCT status FROM rota.task_history WHERE task = 'busy'") == [("success",)]


def test_runs_that_kill_their_worker_together_are_told_apart(rota, odd):
    """Neither is ever blamed while it has company, so each must come to be alone."""
    rota.node("n1", pools=odd.setting(slots=4))
    rota.apply(job(data={"do": "die"}))
    for run in rota.enqueue("job", "--count", "2"):
        row = rota.wait_history(run, 30)
        assert (row["status"], row["outcome"]) == ("failed", "poison")


def test_runs_of_a_killed_worker_run_again_in_the_next(rota, ledger):
    node = rota.node("n1", exec_allow="/bin/*")
    rota.apply(job(handler="exec", data=ledger.shell("/bin/sleep 1")))
    runs = rota.enqueue("job", "--count", "3")
    wait_until(lambda: ledger.count() == 3, 10, "three runs to begin")
    worker, = [process for process in node.workers() if " worker " in process.command]
    jobs = descendants(worker.pid)
    worker.kill()
    wait_until(lambda: not any(process.lives() for process in jobs), 2, "the end of what they had started")
    for run in runs:
        row = rota.wait_history(run)
        assert (row["status"], row["attempt"]) == ("success", 1)
        assert [attempt["outcome"] for attempt in row["details"]["attempts"]] == ["crashed"]
    assert sorted((entry.run, entry.recovering) for entry in ledger.entries()) == sorted(
        (run, recovering) for run in runs for recovering in (False, True))


def test_a_firing_that_kills_its_worker_is_failed_not_repeated(rota, odd):
    rota.node("n1", pools=odd.setting())
    rota.apply(job(data={"do": "die"}, triggers=[{"name": "t", "at": "2040-01-01T00:00:00Z"}]))
    row = rota.wait_history(int(rota.run("fire", "t").stdout))
    assert (row["status"], row["outcome"], row["attempt"]) == ("failed", "crashed", 1)
    assert len(odd.runs()) == 1


# --- handlers nobody serves ---

def test_5000_runs_that_nobody_serves_delay_no_other(rota, odd):
    rota.node("n1", pools=odd.setting())
    rota.apply(job("unserved", "somewhere-else", priority=100), job("served"))
    rota.enqueue("unserved", "--count", "5000")
    rota.run("fire", "unserved")
    began = time.monotonic()
    run, = rota.enqueue("served")
    row = rota.wait_history(run)
    assert row["status"] == "success" and time.monotonic() - began < 1
    delay = rota.value("SELECT extract(epoch FROM started_at - scheduled_at)::float * 1000 FROM rota.task_history")
    print(f"started after {delay:.1f} ms behind 5001 unserved runs")
    assert delay < 100
    assert rota.value("SELECT count(*) FROM rota.run") == 5001


def test_runs_wait_for_a_handler_and_start_when_a_node_with_it_joins(rota, ledger):
    first = rota.node("n1")
    ticks = Ticks("t", 5, 3, lead=0)
    rota.apply(job("job", "ledger", triggers=ticks.declared(misfire_tolerance="1m")))
    runs = rota.enqueue("job", "--count", "3")
    holds_for(lambda: rota.rows("SELECT count(*), max(attempt) FROM rota.pending") == [(3, 1)], 1, "them to wait")
    assert rota.rows("SELECT DISTINCT state::text FROM rota.trigger_due") == [("W",)]
    assert rota.rows("SELECT DISTINCT served FROM rota.trigger_state") == [(False,)]
    rota.node("n2", pools=ledger.pool())
    for run in runs:
        row = rota.wait_history(run)
        assert (row["status"], row["node"], row["attempt"]) == ("success", "n2", 1)
    rota.wait_idle(20)
    assert ledger.occurrences().keys() >= ticks.expected()
    assert not first.lines(level="warn")
