"""`rota explain`: each reason why something has not run, from the real thing."""

import datetime
import json
import re

from noting import Noting, line, progress
from waiting import wait_until


def explain(rota, what):
    return json.loads(rota.run("explain", str(what), "--json").stdout)


def reasons(rota, what):
    return [reason["reason"] for reason in explain(rota, what)["reasons"]]


def reason(rota, what, name):
    found = [each for each in explain(rota, what)["reasons"] if each["reason"] == name]
    assert len(found) == 1, explain(rota, what)
    return found[0]


def noop(name="job", **more):
    return {"name": name, "handler": "noop", "durable": True, **more}


def test_a_run_that_nobody_serves_and_one_whose_nodes_do_not_run(rota):
    rota.apply(noop(handler="misspelt"))
    run, = rota.enqueue("job")
    found = reason(rota, run, "unserved")
    assert found["handler"] == "misspelt" and found["last_served_at"] is None
    assert found["text"] == 'no live node serves its handler "misspelt", and none ever did; no node lives'
    node = rota.node("n1")
    assert "live nodes serve exec, http, noop, sql" in reason(rota, run, "unserved")["text"]
    rota.run("standby", "n1")
    rota.apply(noop("other"), source="more")
    waiting, = rota.enqueue("other")
    assert reason(rota, waiting, "not_running")["text"] == 'no node that serves its handler "noop" runs: n1 is standing by'
    assert node.stop() == 0
    found = reason(rota, waiting, "unserved")
    assert found["last_served_at"] and re.search(r"since 20\d\d-", found["text"])


def test_a_run_of_the_future_and_of_a_job_that_is_paused(rota):
    rota.node("n1")
    rota.apply(noop())
    run, = rota.enqueue("job", "--in", "1h")
    assert reasons(rota, run) == ["future"]
    assert re.match(r"it is due at 20\S+Z, in (1h|59m\d+s)$", reason(rota, run, "future")["text"])
    rota.run("pause", "job", "job")
    rota.run("pause", "all")
    found = reason(rota, run, "paused")
    assert found["by"] == ["all", "job"] and found["text"] == "it is paused: `rota resume all`, `rota resume job job`"
    rota.run("resume", "all")
    rota.run("resume", "job", "job")
    assert reasons(rota, run) == ["future"]
    text = rota.run("explain", str(run)).stdout.splitlines()
    assert text[0] == f'run {run} of job "job": pending' and text[1].startswith("- it is due at ")


def test_a_run_in_a_full_lane_one_that_runs_and_one_that_is_over(rota, ledger, tmp_path):
    gate = tmp_path / "gate"
    rota.apply({"name": "one", "handler": "exec", "durable": True, "concurrency": {"limit": 1, "key": "/customer"},
                "data": {**ledger.shell(f"while [ ! -e {gate} ]; do sleep 0.05; done"), "customer": "acme"}})
    rota.node("n1", exec_allow='["*"]')
    first, = rota.enqueue("one")
    wait_until(lambda: ledger.count() == 1, 10, "the first run")
    [second], [third] = rota.enqueue("one"), rota.enqueue("one")
    wait_until(lambda: rota.value("SELECT count(*) FROM rota.pending WHERE held = 'L'") == 2, 10, "two parked runs")
    holder = reason(rota, third, "lane")
    assert (holder["key"], holder["limit"], holder["before"], holder["job"]) == ("acme", 1, 1, "one")
    assert [(run["run"], run["node"]) for run in holder["runs"]] == [(first, "n1")]
    assert f'(job "one", key "acme", limit 1) is full: run {first} on node n1 since ' in holder["text"]
    assert holder["text"].endswith("; 1 waits before it") and reason(rota, second, "lane")["before"] == 0
    running = reason(rota, first, "running")
    assert running["node"] == "n1" and running["fence"] and "the node's lease is good for " in running["text"]
    gate.touch()
    rota.wait_history(third)
    over = reason(rota, first, "over")
    assert (over["status"], over["outcome"], over["node"]) == ("success", "success", "n1")
    assert re.match(r"it ended at 20\S+Z on node n1: success", over["text"]) and explain(rota, first)["state"] == "over"


def test_a_run_for_which_no_slot_is_free(rota, ledger):
    rota.node("n1", pools=ledger.pool(slots=2), slots="1")
    rota.apply({"name": "long", "handler": "ledger", "data": {"sleep": 60}, "durable": True},
               noop("quick", handler="exec"))
    rota.enqueue("long", "--count", "2")
    wait_until(lambda: ledger.count() == 2, 10, "both slots to be taken")
    earlier, run = rota.enqueue("long", "--count", "2")
    found = reason(rota, run, "soon")
    assert "the slots of its handler" in found["text"] and found["nodes"][0]["running"] == 2
    rota.db.execute("UPDATE rota.incarnation SET slots = 2")
    found = reason(rota, run, "no_slot")
    assert found["text"].startswith('all slots of the nodes that serve its handler "ledger" are taken: n1 2 of 2')
    assert found["ahead"] <= 1 and earlier < run


def test_a_run_that_waits_for_its_retry(rota):
    rota.apply({"name": "fails", "handler": "exec", "durable": True, "data": {"command": ["/bin/false"]},
                "retry": {"max_attempts": 3, "backoff": "fixed", "initial": "1h"}})
    rota.node("n1", exec_allow="/bin/*")
    run, = rota.enqueue("fails")
    wait_until(lambda: rota.rows("SELECT FROM rota.pending WHERE attempt = 2"), 10, "the first attempt to fail")
    found = reason(rota, run, "attempts")
    assert (found["attempt"], found["max_attempts"]) == (2, 3) and found["last"]["outcome"] == "failed"
    assert re.match("this is attempt 2 of 3; the last one ended as failed on node n1: .*", found["text"])
    assert reasons(rota, run) == ["future", "attempts"]


def test_a_run_whose_job_is_gone(rota):
    rota.apply(noop())
    run, = rota.enqueue("job")
    rota.db.execute("UPDATE rota.pending SET job_id = 9999")
    assert "job_gone" in reasons(rota, run)
    assert explain(rota, run)["job"] is None and "a job that is deleted" in rota.run("explain", str(run)).stdout


def test_a_trigger_in_every_state(rota):
    rota.apply({"name": "job", "handler": "noop", "triggers": [
        {"name": "later", "cron": "0 0 2 * * ?"}, {"name": "past", "at": "2020-01-01T00:00:00Z"},
        {"name": "broken", "cron": "0 0 3 * * ?"}, {"name": "stopped", "cron": "0 0 4 * * ?"},
        {"name": "due", "cron": "0 0 5 * * ?"}, {"name": "77", "cron": "0 0 6 * * ?"}]})
    rota.db.execute("UPDATE rota.trigger_due d SET state = 'E', error = 'why not', error_at = now(), next_at = NULL "
                    "FROM rota.trigger t WHERE t.id = d.trigger_id AND t.name = 'broken'")
    rota.db.execute("UPDATE rota.trigger_due d SET next_at = now() - interval '1 minute' "
                    "FROM rota.trigger t WHERE t.id = d.trigger_id AND t.name = 'due'")
    rota.run("pause", "trigger", "stopped")
    rota.run("pause", "source", "test")
    found = reason(rota, "stopped", "paused")
    assert found["by"] == ["source", "trigger"]
    assert re.match("it is paused since 20.*: `rota resume source test`, `rota resume trigger stopped`", found["text"])
    assert reason(rota, "later", "paused")["by"] == ["source"]
    rota.run("resume", "source", "test")
    assert reasons(rota, "later") == ["future", "counts", "unserved"]
    assert "why not (`rota reset broken`" in reason(rota, "broken", "error")["text"]
    assert reasons(rota, "due") == ["due", "counts", "unserved"]
    assert explain(rota, "77")["trigger"] == "77", "a trigger may be called by a number"
    rota.node("n1")
    wait_until(lambda: reasons(rota, "past")[0] == "complete", 10, "the past trigger to be over")
    wait_until(lambda: "future" in reasons(rota, "due"), 10, "the due trigger to be fired")
    counts = reason(rota, "due", "counts")
    assert counts["fired"] == 1 and counts["misfired"] == 1
    assert "so far it fired 1 time, 1 of them late, by its misfire policy; 0 occurrences" in counts["text"]


def test_a_trigger_whose_lane_is_full_and_the_runs_it_has(rota, ledger):
    rota.node("n1", pools=ledger.pool())
    rota.apply({"name": "one", "handler": "ledger", "data": {"sleep": 60}, "disallow_concurrent": True,
                "triggers": [{"name": "often", "every": "1s"}]})
    wait_until(lambda: explain(rota, "often")["state"] == "blocked", 15, "the trigger to be blocked")
    run, = (row[0] for row in rota.rows("SELECT id FROM rota.run"))
    lane = reason(rota, "often", "lane")
    assert lane["runs"][0]["run"] == run and lane["runs"][0]["node"] == "n1"
    own = reason(rota, "often", "run")
    assert own["text"] == f"run {run} of it runs on node n1: `rota explain {run}`"


def test_a_trigger_whose_calendar_excludes_what_would_come_next(rota, apply):
    today = datetime.datetime.now(datetime.timezone.utc).date()
    dates = [(today + datetime.timedelta(days=day)).isoformat() for day in range(4)]
    apply({"source": "test", "calendars": [{"name": "shut", "dates": dates},
                                           {"name": "always", "weekly": ["MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"]}],
           "jobs": [{"name": "job", "handler": "noop", "triggers": [
               {"name": "daily", "cron": "59 59 23 * * ?", "calendar": "shut"},
               {"name": "open", "cron": "59 59 23 * * ?"}]}]})
    found = reason(rota, "daily", "calendar")
    until = (today + datetime.timedelta(days=4)).isoformat()
    assert (found["calendar"], found["excluded"], found["until"]) == ("shut", 4, f"{until}T23:59:59.000Z")
    assert found["excluded_at"] == f"{today.isoformat()}T23:59:59.000Z"
    assert found["text"].endswith(f" and 3 more, until {until}T23:59:59.000Z")
    assert "calendar" not in reasons(rota, "open")


def test_what_is_not_there_is_said_with_the_nearest_name(rota):
    rota.apply({"name": "job", "handler": "noop", "triggers": [{"name": "nightly", "cron": "0 0 2 * * ?"}]})
    done = rota.run("explain", "nigthly", check=False)
    assert done.returncode == 4 and 'did you mean "nightly"?' in done.stderr
    done = rota.run("explain", "4711", check=False)
    assert done.returncode == 4 and "there is no run 4711" in done.stderr
    assert rota.run("explain", check=False).returncode == 2
    assert rota.run("explain", "a", "b", check=False).returncode == 2


def test_a_run_that_waits_for_others_has_a_key_and_expires(rota):
    rota.apply(noop(handler="nobody"))
    first, = rota.enqueue("job")
    run = rota.value("SELECT rota.enqueue('job', key => 'k7', after => ARRAY[%s]::bigint[], expires_in => '2 hours')", first)
    after = reason(rota, run, "after")
    assert (after["waits_for"], after["runs"]) == (1, [{"run": first, "place": "pending", "any_outcome": False}])
    assert after["text"] == f"it waits for another run: run {first}, which waits itself"
    assert re.match(r"it is dropped if it does not start by 20\S+Z, in (2h|1h59m\d+s)$", reason(rota, run, "expires")["text"])
    assert reason(rota, run, "key")["text"] == 'it has the key "k7" of its job until it is over'
    listed = {each["id"]: each for each in json.loads(rota.run("get", "runs", "--json").stdout)["data"]}
    assert (listed[run]["held"], listed[run]["waits_for"], listed[run]["key"]) == ("after", [first], "k7")
    assert listed[run]["expires_at"] and listed[first]["key"] is None and listed[first]["waits_for"] is None
    assert "after" in rota.run("get", "runs").stdout


def test_a_run_that_waits_for_its_rate(rota):
    rota.apply(noop())
    rota.db.execute("UPDATE rota.job SET rate_limit = 1, rate_per_ms = 3600000, rate_burst = 1")
    runs = [rota.value("SELECT rota.enqueue('job')") for _ in range(3)]
    found = reason(rota, runs[2], "rate")
    assert (found["limit"], found["per_ms"], found["before"]) == (1, 3600000, 2)
    assert found["text"].startswith("its rate (1 in 1h) has no start for it yet: 2 wait before it; the next is given in ")


def test_a_run_whose_end_is_asked_for_and_what_its_worker_has_said(rota, tmp_path):
    noting = Noting(rota, tmp_path)
    noting.job()
    noting.node()
    steps = [*(line(f"line {number}") for number in range(8)), progress(0.25, "so far"), {"until": noting.gate()}]
    run = noting.enqueue(steps)
    noting.wait_note(run, "fraction", 0.25)
    rota.db.execute("INSERT INTO rota.cancel_request (run_id, reason) VALUES (%s, 'not needed')", (run,))
    found = explain(rota, run)["reasons"]
    assert re.search(r"its end is asked for since 20\S+Z: not needed", reason(rota, run, "cancel_requested")["text"])
    assert reason(rota, run, "progress")["text"].endswith(": 25 %, so far")
    assert [each["line"]["message"] for each in found if each["reason"] == "log"] == [f"line {number}" for number in range(3, 8)]
    noting.open()
    rota.wait_history(run)
    assert [each["line"]["message"] for each in explain(rota, run)["reasons"] if each["reason"] == "log"] == [
        f"line {number}" for number in range(3, 8)]
