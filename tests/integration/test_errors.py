"""Errors that need a database to be seen: exit codes and texts of commands, rows broken by hand, triggers that
cannot be evaluated."""

import time

import psycopg
import pytest

from fleet import command
from ledger import Ticks, assert_exactly_once
from waiting import holds_for, wait_until

NOWHERE = "host=/nonexistent dbname=none"


# --- exit codes ---

@pytest.mark.parametrize("words", [["migrate"], ["get", "jobs"], ["enqueue", "job"], ["fire", "job"],
                                     ["apply", "-f", "jobs.json"]])
def test_a_command_without_its_database_exits_3_with_one_line(tmp_path, words):
    (tmp_path / "jobs.json").write_text('{"source":"s","jobs":[]}')
    done = command(*words, cwd=tmp_path, database_url=NOWHERE)
    assert done.returncode == 3 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and done.stderr.startswith(f"rota {words[0]}: ")
    assert "/nonexistent" in done.stderr


def test_a_database_that_does_not_exist_is_out_of_reach(rota):
    done = rota.run("get", "jobs", check=False, database_url=rota.server.url("rota_no_such_database"))
    assert done.returncode == 3 and "rota_no_such_database" in done.stderr


def test_what_is_not_there_exits_4_with_its_name(rota):
    for word in ("enqueue", "fire"):
        done = rota.run(word, "nothing", check=False)
        assert done.returncode == 4 and '"nothing"' in done.stderr and done.stderr.count("\n") == 1
    rota.apply({"name": "report", "handler": "noop", "triggers": [{"name": "nightly", "cron": "0 0 3 * * ?"}]})
    for what, name, nearest in (("jobs", "reprot", "report"), ("triggers", "nigthly", "nightly")):
        done = rota.run("get", what, name, check=False)
        assert (done.returncode, done.stdout) == (4, "") and f'"{name}": did you mean "{nearest}"?' in done.stderr
        assert nearest in rota.run("get", what, nearest).stdout
    assert "nightly" in rota.run("get", "triggers", "report").stdout


def test_a_role_without_the_right_is_told_which_one_has_it(rota):
    role = f"rota_guest_{time.monotonic_ns()}"
    rota.server.create_role(role)
    try:
        for words in (["get", "jobs"], ["pause", "all"], ["enqueue", "a"], ["migrate"]):
            done = rota.run(*words, check=False, database_url=rota.server.url(rota.name, role))
            assert (done.returncode, done.stdout) == (1, "") and done.stderr.count("\n") == 1
            assert "permission denied for schema rota; connect as the role that rota's schema belongs to" in done.stderr
    finally:
        rota.server.execute(f"DROP ROLE {role}")


@pytest.mark.parametrize("words", [
    ["enqueue"], ["enqueue", "a", "b"], ["enqueue", "a", "--data", "{"], ["enqueue", "a", "--data", "[1]"],
    ["enqueue", "a", "--count", "0"], ["enqueue", "a", "--at", "tomorrow"], ["enqueue", "a", "--in", "soon"],
    ["enqueue", "a", "--at", "2030-01-01T00:00:00Z", "--in", "1s"], ["enqueue", "a", "--priority", "101"],
    ["get"], ["get", "everything"], ["get", "jobs", "--status", "failed"], ["get", "history", "--status", "odd"],
    ["fire"], ["apply"], ["migrate", "now"], ["node", "--no-such-setting", "1"], ["no-such-command"]])
def test_a_wrong_call_exits_2_and_says_what_is_wrong(words):
    done = command(*words, database_url=NOWHERE)
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1, done


def test_a_database_without_the_schema_is_refused_with_what_to_do(empty_rota):
    done = empty_rota.run("get", "jobs", check=False)
    assert done.returncode == 1 and "rota migrate" in done.stderr
    done = empty_rota.run("migrate", "--check", check=False)
    assert done.returncode == 1 and "rota migrate" in done.stderr
    assert empty_rota.rows("SELECT to_regnamespace('rota')") == [(None,)]


def test_a_schema_that_is_too_new_is_refused_by_commands_and_nodes(rota):
    rota.db.execute("INSERT INTO rota.schema_version (version, name, needs) VALUES (9999, '9999_future', 9999)")
    for words in (["get", "jobs"], ["enqueue", "job"], ["migrate"], ["migrate", "--check"]):
        done = rota.run(*words, check=False)
        assert done.returncode == 1 and "too new" in done.stderr and "9999" in done.stderr, done
    node = rota.node("n1", ready=False)
    assert node.wait(limit=15) == 1
    error = node.lines(level="error")[-1]["error"]
    assert "too new" in error and "9999" in error and "newer rota" in error
    assert rota.rows("SELECT * FROM rota.incarnation") == []


def test_a_newer_schema_that_needs_no_newer_binary_is_worked_with(rota):
    rota.db.execute("INSERT INTO rota.schema_version (version, name, needs) VALUES (9999, '9999_future', 1)")
    node = rota.node("n1")
    rota.apply({"name": "job", "handler": "noop", "durable": True})
    assert rota.wait_history(*rota.enqueue("job"))["status"] == "success"
    assert node.stop() == 0


@pytest.mark.parametrize("name, value", [("lease", "0s"), ("slots", "none"), ("pools", "{"), ("schema", "No Schema"),
                                         ("http_listen", "nowhere"), ("grace", "soon")])
def test_a_setting_that_makes_no_sense_ends_the_start_with_its_name(name, value):
    done = command("node", database_url=NOWHERE, **{name: value})
    assert done.returncode in (1, 2) and done.stderr.count("\n") == 1
    assert f"ROTA_{name.upper()}" in done.stderr


# --- triggers in error ---

BROKEN = {
    "zone": "kind = 'cron', cron = '* * * * * ?', every_us = NULL, timezone = 'Mars/Phobos'",
    "cron": "kind = 'cron', cron = '0 0 99 * * ?', every_us = NULL",
    "period": "every_us = 1",
    "end": "end_at = start_at - interval '1 day'",
}


def break_trigger(rota, name, change):
    """By hand, as a careless operator would, with the revision that makes nodes read it again."""
    with rota.db.transaction():
        revision = rota.value("UPDATE rota.fleet SET definition_revision = definition_revision + 1 "
                              "RETURNING definition_revision")
        rota.db.execute(f"UPDATE rota.trigger SET {change}, revision = %s WHERE name = %s", (revision, name))
        rota.db.execute("UPDATE rota.trigger_due SET revision = %s WHERE trigger_id = "
                        "(SELECT id FROM rota.trigger WHERE name = %s)", (revision, name))


def states(rota):
    return dict(rota.rows("SELECT trigger, state FROM rota.trigger_state"))


def test_a_trigger_that_cannot_be_evaluated_goes_to_error_and_stops_no_other(rota, ledger):
    node = rota.node("n1", pools=ledger.pool())
    good, bad = Ticks("good", 10, 4, phases=1), Ticks("bad", len(BROKEN), 4, phases=1)
    rota.apply({"name": "job", "handler": "ledger", "triggers": good.declared() + bad.declared()})
    names = dict(zip(BROKEN, sorted(bad.phase)))
    for what, change in BROKEN.items():
        break_trigger(rota, names[what], change)
    wait_until(lambda: list(states(rota).values()).count("error") == len(BROKEN), 10, lambda: states(rota))
    wait_until(lambda: "waiting" not in states(rota).values(), 20, "the end of the others")
    assert_exactly_once(ledger, good.expected())
    errors = dict(rota.rows("SELECT trigger, error FROM rota.trigger_state WHERE state = 'error'"))
    print(errors)
    assert "Mars/Phobos" in errors[names["zone"]] and "99" in errors[names["cron"]]
    assert "100ms" in errors[names["period"]] and "end_at" in errors[names["end"]]
    assert rota.value("SELECT count(*) FROM rota.trigger_due WHERE state = 'E' AND error_at IS NOT NULL "
                      "AND next_at IS NOT NULL") == len(BROKEN)
    assert node.lives() and node.stop() == 0


def test_a_repaired_trigger_is_reset_by_the_start_of_a_node_that_serves_it(rota, ledger):
    job = {"handler": "ledger", "data": {}}
    rota.apply({"name": "served", **job, "triggers": [{"name": "repaired", "every": "1s"},
                                                      {"name": "still-broken", "every": "1s"}]},
               {"name": "elsewhere", "handler": "nobody", "triggers": [{"name": "not-ours", "every": "1s"}]})
    for name in ("repaired", "still-broken", "not-ours"):
        break_trigger(rota, name, BROKEN["zone"])
    rota.db.execute("UPDATE rota.trigger_due SET state = 'E', next_at = NULL, error = 'broken', error_at = now()")
    for name in ("repaired", "not-ours"):
        break_trigger(rota, name, "timezone = 'UTC'")
    first = rota.node("n1")  # serves none of them
    assert set(states(rota).values()) == {"error"}
    second = rota.node("n2", pools=ledger.pool())
    assert states(rota) == {"repaired": "waiting", "still-broken": "error", "not-ours": "error"}
    wait_until(lambda: ledger.count() >= 2, 10, "it to fire again")
    assert {entry.trigger for entry in ledger.entries()} == {"repaired"}
    assert second.lines("triggers reset from error")[0]["count"] == 1 and not first.lines("triggers reset")
    assert [first.stop(), second.stop()] == [0, 0]


# --- rows broken by hand ---

def refused(rota, statement):
    """Whether a constraint of the schema refuses it."""
    try:
        rota.db.execute(statement)
        return False
    except psycopg.errors.IntegrityError:
        return True


def test_the_schema_refuses_what_no_node_could_make_sense_of(rota):
    rota.apply({"name": "job", "handler": "noop", "triggers": [{"name": "t", "cron": "0 0 0 1 1 ?"}]})
    for statement in ("UPDATE rota.trigger SET cron = NULL", "UPDATE rota.trigger SET kind = 'every'",
                      "UPDATE rota.trigger SET misfire = 'never'", "UPDATE rota.trigger SET kind = 'every', "
                      "cron = NULL, every_us = 0", "UPDATE rota.trigger SET start_at = NULL",
                      "UPDATE rota.trigger_due SET next_at = NULL", "UPDATE rota.trigger_due SET state = 'X'",
                      "UPDATE rota.trigger_due SET state = 'E'", "UPDATE rota.trigger_due SET route = -route",
                      "UPDATE rota.job SET priority = 0", "UPDATE rota.job SET handler = ''",
                      "UPDATE rota.job SET max_attempts = 0"):
        assert refused(rota, statement), statement


ABSURD = {
    "every a microsecond": "every_us = 1",
    "every 290,000 years": "every_us = 9223372036854775807",
    "starts at -infinity": "start_at = '-infinity'",
    "starts at infinity": "start_at = 'infinity'",
    "ends at -infinity": "end_at = '-infinity'",
    "ends at infinity": "end_at = 'infinity'",
    "starts in the stone age": "start_at = '4713-01-01 BC'",
    "starts in the far future": "start_at = '294276-12-31'",
    "tolerates for ever": "misfire_tolerance_ms = 9223372036854775807",
    "waits for ever": "misfire = 'skip', misfire_threshold_ms = 9223372036854775807",
    "makes up everything": "misfire = 'fire_all', misfire_limit = 2147483647",
    "makes up nothing": "misfire = 'fire_all', misfire_limit = 0",
    "repeats for ever": "repeat_count = 9223372036854775807",
    "has no zone": "timezone = ''",
    "leaves the folder": "timezone = '../../../etc/passwd'",
    "data are a number": "data = '17'",
    "at the end of time": "kind = 'at', every_us = NULL, at = 'infinity'",
    "at the beginning of time": "kind = 'at', every_us = NULL, at = '-infinity'",
    "an endless expression": "kind = 'cron', every_us = NULL, cron = repeat('1,', 100000) || '1 * * * * ?'",
    "a date that never comes": "kind = 'cron', every_us = NULL, cron = '0 0 0 30 2 ?'",
    "every second since the stone age": "kind = 'cron', every_us = NULL, cron = '* * * * * ?', "
                                        "start_at = '4713-01-01 BC'",
}
ABSURD_DUE = {
    "due at -infinity": "next_at = '-infinity'",
    "due at infinity": "next_at = 'infinity'",
    "due in the stone age": "next_at = '4713-01-01 BC'",
    "due since 1970": "next_at = '1970-01-01'",
    "fired at infinity": "next_at = now(), previous_at = 'infinity'",
}


def test_absurd_rows_written_by_hand_harm_nobody(rota, ledger):
    """Each may fire, or go to error; nodes live on, and what stands beside them is fired in time."""
    node = rota.node("n1", pools=ledger.pool(), slots=64)
    rota.apply({"name": "odd", "handler": "noop", "triggers": [
        {"name": name, "every": "1s"} for name in [*ABSURD, *ABSURD_DUE, "since 1970 by cron"]]})
    for name, change in ABSURD.items():
        break_trigger(rota, name, change)
    for name, change in ABSURD_DUE.items():
        rota.db.execute(f"UPDATE rota.trigger_due d SET {change} FROM rota.trigger t "
                        "WHERE t.id = d.trigger_id AND t.name = %s", (name,))
    break_trigger(rota, "since 1970 by cron",
                  "kind = 'cron', every_us = NULL, cron = '* * * * * ?', start_at = '1970-01-01'")
    rota.db.execute("UPDATE rota.trigger_due d SET next_at = '1970-01-01' FROM rota.trigger t "
                    "WHERE t.id = d.trigger_id AND t.name LIKE '%since%'")
    ticks = Ticks("good", 5, 4, lead=0.5)
    rota.apply({"name": "good", "handler": "ledger", "triggers": ticks.declared()}, source="other")
    wait_until(lambda: time.time() > ticks.until_all_fired() + 0.5, 20, "the end of the good ones")
    assert node.lives() and node.http("/healthz")[0] == 200
    assert_exactly_once(ledger, ticks.expected())
    late = max(entry.clock * 1000 - entry.scheduled for entry in ledger.entries())
    print(f"latest firing beside them: {late:.0f} ms")
    assert late < 1000
    for name, state, fired, missed, next_at, error in rota.rows(
            "SELECT trigger, state, fired, missed, next_at::text, error FROM rota.trigger_state WHERE job = 'odd'"):
        print(f"{name}: {state}, fired {fired}, missed {missed}, next {next_at}, {error}")
    assert states(rota)["ends at infinity"] == "waiting"
    # the table of triggers is read again at the start, and nothing in it stops that
    assert node.stop() == 0
    node.start().wait_ready()
    rota.run("get", "triggers", "--json")
    assert node.stop() == 0


def test_revisions_that_disagree_do_not_make_a_node_run_in_circles(rota, pg_calls):
    """Only one of the two was changed by hand: what is due can never be read as it is wanted."""
    node = rota.node("n1")
    rota.apply({"name": "job", "handler": "noop", "triggers": [{"name": "t", "every": "1s"}]})
    wait_until(lambda: rota.value("SELECT fired FROM rota.trigger_due") > 0, 10, "a firing")
    rota.db.execute("UPDATE rota.trigger SET revision = revision + 1000")
    before = pg_calls(rota)
    holds_for(node.lives, 3)
    calls = pg_calls(rota) - before
    print(f"{calls} transactions in 3 s")
    assert calls < 300
    assert node.stop() == 0


@pytest.fixture
def pg_calls():
    """Transactions that ended in this test's database so far."""
    def calls(rota):
        rota.db.execute("SELECT pg_stat_force_next_flush()")
        return rota.value("SELECT xact_commit + xact_rollback FROM pg_stat_database "
                          "WHERE datname = current_database()")

    return calls


def test_odd_rows_of_runs_harm_nobody(rota, ledger):
    node = rota.node("n1", pools=ledger.pool())
    rota.apply({"name": "job", "handler": "ledger", "durable": True})
    rota.wait_history(*rota.enqueue("job"))
    pending = """INSERT INTO rota.pending (route, due, job_id, trigger_id, scheduled_at, attempt, data, checkpoint,
                                           earlier)
                 SELECT r.id, {due}, {job}, {trigger}, {scheduled}, {attempt}, {data}, {checkpoint}, {earlier}
                   FROM rota.job j JOIN rota.route r ON r.handler = j.handler RETURNING id"""
    usual = {"due": "now()", "job": "j.id", "trigger": "NULL::integer", "scheduled": "now()", "attempt": "1",
             "data": "NULL::json", "checkpoint": "NULL::json", "earlier": "NULL::jsonb"}
    odd = [{"job": "4711"}, {"trigger": "4711"}, {"scheduled": "'-infinity'"}, {"scheduled": "'4713-01-01 BC'"},
           {"due": "'1970-01-01 00:00:00+00'"}, {"attempt": "32767"}, {"data": "'17'"}, {"data": "'[]'"}, {"data": "'null'"},
           {"data": "'{\"a\":1,\"a\":2}'"}, {"checkpoint": "'17'"}, {"earlier": "'17'"}, {"earlier": "'{}'"}]
    with pytest.raises(psycopg.errors.CheckViolation):
        rota.value(pending.format(**{**usual, "due": "'-infinity'"}))
    runs = {}
    for change in odd:
        run = rota.value(pending.format(**{**usual, **change}))
        runs[run] = change
    rota.db.execute('NOTIFY "rota.wake"')
    for run, change in runs.items():
        row = rota.wait_history(run, 10)
        print(change, row["status"], row["outcome"], row["raw"])
    far, = [rota.value(pending.format(**{**usual, "due": "'infinity'"}))]
    good, = rota.enqueue("job")
    assert rota.wait_history(good, 5)["status"] == "success"
    assert rota.history(far) is None and node.lives()
    assert node.stop() == 0
