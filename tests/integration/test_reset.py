"""`rota reset`: triggers out of error, when what put them there is set right."""

import datetime
import json

import psycopg
import pytest

from ledger import Ticks
from waiting import wait_until


def break_trigger(rota, name, change):
    """By hand, with the revision that makes nodes read it again."""
    with rota.db.transaction():
        revision = rota.value("UPDATE rota.fleet SET definition_revision = definition_revision + 1 "
                              "RETURNING definition_revision")
        rota.db.execute(f"UPDATE rota.trigger SET {change}, revision = %s WHERE name = %s", (revision, name))
        rota.db.execute("UPDATE rota.trigger_due SET revision = %s WHERE trigger_id = "
                        "(SELECT id FROM rota.trigger WHERE name = %s)", (revision, name))


def to_error(rota, name):
    rota.db.execute("UPDATE rota.trigger_due SET state = 'E', error = 'broken', error_at = now() WHERE trigger_id = "
                    "(SELECT id FROM rota.trigger WHERE name = %s)", (name,))


def state(rota, name):
    return rota.value("SELECT state FROM rota.trigger_state WHERE trigger = %s", name)


def wait_state(rota, name, wanted):
    wait_until(lambda: state(rota, name) == wanted, 10, lambda: f"{name} to be {wanted}: it is {state(rota, name)}")


def job(*triggers, **more):
    return {"name": "job", "handler": "noop", "durable": True, "triggers": list(triggers), **more}


NIGHTLY = {"name": "nightly", "cron": "0 0 3 * * ?"}


def test_a_repaired_trigger_fires_again_on_the_nodes_that_knew_it_as_broken(rota, ledger):
    """What is wrong lies outside of the definition: the nodes keep what they have read of it."""
    node = rota.node("n1", pools=ledger.pool())
    ticks = Ticks("t", 1, 60)
    rota.apply({"name": "job", "handler": "ledger", "triggers": ticks.declared()})
    [name] = ticks.phase
    break_trigger(rota, name, "timezone = 'Mars/Phobos'")
    wait_state(rota, name, "error")
    rota.db.execute("UPDATE rota.trigger SET timezone = 'UTC'")  # the same revision
    said = json.loads(rota.run("reset", name, "--json").stdout)
    assert [one["name"] for one in said["reset"]] == [name] and said["failed"] == []
    count = ledger.count()
    wait_until(lambda: ledger.count() >= count + 2, 10, "it to fire again")
    assert state(rota, name) == "waiting" and node.lives()


def test_what_fell_due_in_error_meets_the_misfire_policy(rota, ledger):
    rota.apply({"name": "job", "handler": "ledger",
                "triggers": [{"name": "all", "every": "1s", "misfire": "fire_all", "misfire_tolerance": "0s"}]})
    to_error(rota, "all")
    since = rota.value("SELECT next_at FROM rota.trigger_due")
    wait_until(lambda: rota.value("SELECT clock_timestamp()") > since + datetime.timedelta(seconds=2.5), 10)
    said = rota.run("reset", "all").stdout
    assert said.startswith('reset trigger "all": next firing ') and rota.value("SELECT next_at FROM rota.trigger_due") == since
    rota.node("n1", pools=ledger.pool())
    wait_until(lambda: rota.value("SELECT misfired FROM rota.trigger_due") >= 2, 10)
    wait_until(lambda: int(since.timestamp() * 1000) in {entry.scheduled for entry in ledger.entries()}, 10)


def test_a_trigger_that_still_cannot_be_evaluated_is_refused_with_the_reason(rota):
    rota.apply(job(NIGHTLY))
    break_trigger(rota, "nightly", "timezone = 'Mars/Phobos'")
    to_error(rota, "nightly")
    done = rota.run("reset", "nightly", check=False)
    assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1
    assert "Mars/Phobos" in done.stderr and "nightly" in done.stderr
    assert state(rota, "nightly") == "error"


def test_all_resets_what_can_be_and_tells_of_the_rest(rota):
    rota.apply(job(*({"name": f"t{i:04d}", "cron": "0 0 3 * * ?"} for i in range(1203))))
    for name in ("t0007", "t1200"):
        break_trigger(rota, name, "timezone = 'Mars/Phobos'")
    rota.db.execute("UPDATE rota.trigger_due SET state = 'E', error = 'broken' WHERE trigger_id % 2 = 0 OR revision > 2")
    broken = rota.value("SELECT count(*) FROM rota.trigger_due WHERE state = 'E'")
    assert broken > 600
    done = rota.run("reset", "--all", "--json", check=False)
    said = json.loads(done.stdout)
    assert done.returncode == 1 and "2 triggers stay in error" in done.stderr
    assert [one["name"] for one in said["failed"]] == ["t0007", "t1200"] and len(said["reset"]) == broken - 2
    rota.db.execute("UPDATE rota.trigger SET timezone = 'UTC'")
    assert rota.run("reset", "--all").stdout.count("\n") == 2
    assert rota.run("reset", "--all").stdout == "no trigger is in error\n"


def test_a_schedule_that_is_over_becomes_complete(rota):
    rota.apply(job({"name": "once", "at": "2001-01-01T00:00:00Z"}))
    rota.db.execute("UPDATE rota.trigger_due SET state = 'E', error = 'broken', next_at = NULL")
    assert rota.run("reset", "once").stdout == 'reset trigger "once": no further firing\n'
    assert state(rota, "once") == "complete"


def test_a_trigger_stopped_by_a_failed_run_waits_for_the_reset_whatever_node_starts(rota, ledger):
    rota.apply({"name": "fails", "handler": "exec", "data": ledger.shell("exit 1"), "on_exhausted": "error",
                "triggers": [{"name": "once-more", "every": "1s", "misfire": "skip", "misfire_tolerance": "0s"}]})
    node = rota.node("n1", exec_allow='["*"]')
    wait_state(rota, "once-more", "error")
    assert node.stop() == 0
    second, count = rota.node("n2", exec_allow='["*"]'), ledger.count()
    assert state(rota, "once-more") == "error" and not second.lines("triggers reset")
    rota.run("reset", "once-more")
    wait_until(lambda: ledger.count() > count, 10, "it to fire again")
    wait_state(rota, "once-more", "error")


@pytest.mark.parametrize("arguments, code, said", [
    (("reset", "nightly"), 1, 'trigger "nightly" is waiting, not in error: nothing to reset'),
    (("reset", "nigthly"), 4, 'did you mean "nightly"?'),
    (("reset",), 2, "which trigger?"),
    (("reset", "nightly", "--all"), 2, "--all takes no name"),
    (("reset", "a", "b"), 2, "second name"),
])
def test_a_wrong_call_is_told_what_would_be_right(rota, arguments, code, said):
    rota.apply(job(NIGHTLY))
    done = rota.run(*arguments, check=False)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr and done.stderr.count("\n") == 1


def test_a_reset_waits_for_an_apply_with_a_bound(rota):
    rota.apply(job(NIGHTLY))
    to_error(rota, "nightly")
    with psycopg.connect(rota.url) as apply:
        apply.execute("SELECT pg_advisory_xact_lock(hashtextextended('rota.apply', 0))")
        assert rota.run("reset", "nightly", "--wait", "200ms", check=False).returncode == 5
    rota.run("reset", "nightly")
