"""What must not bring the queue to a stop: times nothing can be reckoned from, data the database cannot look
into, and transactions that stay open."""

import os
import sys
import threading

import psycopg
import pytest

from manifests import job
from waiting import wait_until

ODD_WORKER = os.path.join(os.path.dirname(__file__), "..", "lib", "odd_worker.py")
UNREADABLE = ['"a\\u0000b"', '"\\ud800"']  # JSON, but nothing that a text of PostgreSQL can hold


@pytest.fixture
def odd(tmp_path):
    return {"pools": {"odd": {"command": [sys.executable, "-S", "-E", ODD_WORKER, "odd", "4", str(tmp_path / "odd-lines")]}}}


def claimed(rota, count):
    """Runs of the only job, in a receipt of a node that is dead, as one would leave it that knows no extras."""
    rota.db.execute("""
        INSERT INTO rota.node (name) VALUES ('dead');
        INSERT INTO rota.incarnation (node, state, lease_until, version, host, pid)
        VALUES ('dead', 'running', now() - interval '1 hour', '1', 'host', 1)""")
    return rota.value("""
        INSERT INTO rota.receipt (incarnation, open, ids, routes, dues, job_ids, trigger_ids, scheduled_at, enqueued_at,
                                  attempts, crashes, missed, recovering, data, checkpoints, earlier)
        SELECT i.id, repeat('1', n)::varbit, ARRAY(SELECT nextval('rota.run_id') FROM generate_series(1, n)),
               array_fill((SELECT min(id) FROM rota.route), ARRAY[n]), array_fill(now(), ARRAY[n]), array_fill(j.id, ARRAY[n]),
               array_fill(NULL::integer, ARRAY[n]), array_fill(now(), ARRAY[n]), array_fill(now(), ARRAY[n]),
               array_fill(1::smallint, ARRAY[n]), array_fill(0::smallint, ARRAY[n]), array_fill(0, ARRAY[n]),
               array_fill(false, ARRAY[n]), array_fill(NULL::json, ARRAY[n]), array_fill(NULL::json, ARRAY[n]),
               array_fill(NULL::jsonb, ARRAY[n])
          FROM rota.incarnation i, rota.job j, (SELECT %s::integer AS n) number
        RETURNING ids""", count)


# --- times ---

@pytest.mark.parametrize("when", ["4714-11-24 00:00:00+00 BC", "1969-12-31 23:59:59+00", "10000-01-01 00:00:00+00",
                                  "294276-12-31 00:00:00+00"])
def test_a_time_that_nothing_can_be_reckoned_from_is_refused(rota, when):
    rota.apply(job("a"))
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="run_at must be a time from 1970 to 9999"):
        rota.db.execute("SELECT rota.enqueue('a', run_at => %s)", (when,))


def test_a_row_with_such_a_time_is_refused_as_claims_would_fail_on_it(rota):
    rota.apply(job("a"))
    with pytest.raises(psycopg.errors.CheckViolation, match="pending_due"):
        rota.db.execute("INSERT INTO rota.pending (route, due, job_id, scheduled_at) "
                        "SELECT 1, '4714-11-24 00:00:00+00 BC', id, now() FROM rota.job")


@pytest.mark.parametrize("how_long", ["36501d", "106751991d"])
def test_a_run_that_snoozes_for_ever_waits_and_is_not_stuck(rota, odd, how_long):
    rota.apply(job("a", handler="odd", data={"do": "snooze", "answer": {"for": how_long}}))
    rota.node(**odd)
    run, = rota.enqueue("a")
    wait_until(lambda: rota.rows("SELECT 1 FROM rota.pending WHERE id = %s AND due > now() + interval '99 years'", run), 15,
               lambda: f"it to wait: {rota.where(run)}")
    assert rota.run("cancel", str(run)).stdout.split() == [str(run), "cancelled"]


# --- data ---

@pytest.mark.parametrize("text", UNREADABLE)
def test_data_of_a_trigger_that_cannot_be_read_stop_no_other_trigger(rota, odd, text):
    manifest = os.path.join(rota.directory, "unreadable.json")
    with open(manifest, "w", encoding="utf-8") as file:
        file.write('{"source": "test", "jobs": [{"name": "bad", "handler": "odd", "rate": '
                   '{"limit": 1000, "per": "1s", "key": "/customer"}, "triggers": '
                   '[{"name": "bad", "every": "200ms", "data": {"customer": 1, "x": %s}}]}, '
                   '{"name": "good", "handler": "odd", "triggers": [{"name": "good", "every": "200ms"}]}]}' % text)
    rota.run("apply", "-f", manifest)
    rota.node(**odd)
    for name in ("good", "bad"):
        wait_until(lambda: rota.value("SELECT count(*) FROM rota.task_history WHERE task = %s", name) > 1, 15,
                   f"{name} to have run")


@pytest.mark.parametrize("text", UNREADABLE)
def test_a_job_gets_a_lane_and_a_rate_though_runs_with_such_data_wait(rota, text):
    rota.apply(job("a"), job("b"))
    for name in "ab":
        rota.run("enqueue", name, "--data", '{"customer": 1, "x": %s}' % text)
    rota.apply(job("a", concurrency={"limit": 1, "key": "/customer"}),
               job("b", rate={"limit": 1, "per": "1m", "key": "/customer"}))
    assert rota.value("SELECT count(*) FROM rota.pending WHERE lane IS NOT NULL") == 1
    assert rota.value("SELECT count(*) FROM rota.pending WHERE bucket IS NOT NULL") == 1


@pytest.mark.parametrize("text", UNREADABLE)
def test_such_data_are_refused_where_a_key_is_to_be_read_from_them(rota, text):
    rota.apply(job("a", unique={"key": "/customer"}))
    refused = rota.run("enqueue", "a", "--data", '{"customer": 1, "x": %s}' % text, check=False)
    assert refused.returncode == 1 and "nicode" in refused.stderr
    assert rota.open_runs() == 0


@pytest.mark.parametrize("text", UNREADABLE)
def test_a_failure_is_told_whatever_its_details_are(rota, odd, text):
    rota.apply(job("told"), job("a", handler="odd", on_failure="told"))
    rota.node(**odd)
    run = rota.value("SELECT e.run_id FROM rota.enqueue_runs('a', ARRAY[%s]::json[], NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, "
                     "NULL) e", '{"do": "fail", "answer": {"message": "broken", "ex_data": {"x": %s}}}' % text)
    wait_until(lambda: rota.value("SELECT count(*) FROM rota.task_history WHERE task = 'told'") == 1, 15, "who is told to run")
    details = rota.value("SELECT task_details::text FROM rota.task_history WHERE id = %s", run)
    assert "ex-data" in details, "it was written with all that was said"


@pytest.mark.parametrize("text", UNREADABLE)
def test_who_waits_for_a_run_sees_its_end_whatever_its_details_are(rota, odd, text):
    rota.apply(job("a", handler="odd"))
    rota.node(**odd)
    done = rota.run("enqueue", "a", "--data", '{"do": "echo", "x": %s}' % text, "--wait", "20s", check=False)
    assert done.returncode == 0, done.stderr


def test_a_clock_that_is_set_back_does_not_keep_a_rate_from_giving_starts(rota):
    rota.apply(job("a", rate={"limit": 10, "per": "1s", "burst": 1}))
    rota.db.execute("SELECT FROM rota.enqueue_many('a', '{\"{}\",\"{}\"}')")
    assert rota.value("SELECT w.plain FROM rota.rate_wake(32) w") == 1
    rota.db.execute("UPDATE rota.rate_bucket SET as_of = as_of + interval '1 hour'")
    rota.db.execute("UPDATE rota.rate_due SET at = at + interval '1 hour'")
    rota.db.execute("DELETE FROM rota.pending WHERE held IS NULL")
    assert rota.value("SELECT s.missing FROM rota.rate_sweep(%s) s", -2**63) == 1
    wait_until(lambda: rota.value("SELECT w.plain FROM rota.rate_wake(32) w") == 1, 5, "the next start")


# --- numbers ---

@pytest.mark.parametrize("status, outcome", [("success", "due"), ("failed", "cancelled")])
def test_many_who_wait_for_one_run_are_let_go_or_ended_in_turns(rota, status, outcome):
    """Claims, or a lease, would wait for all of them otherwise."""
    rota.apply(job("a"))
    need = rota.value("SELECT rota.enqueue('a')")
    rota.db.execute("SELECT FROM rota.enqueue_runs('a', array_fill(NULL::json, ARRAY[12000]), NULL, NULL, NULL, NULL, ARRAY[%s]::bigint[], "
                    "false, NULL, NULL, NULL)", (need,))
    rota.db.execute("INSERT INTO rota.task_history (id, task, ended_at, status, outcome, attempt, scheduled_at) "
                    "VALUES (%s, 'a', now(), %s, '', 1, now())", (need, status))
    rota.db.execute("DELETE FROM rota.pending WHERE id = %s", (need,))
    turns = [sum(rota.rows("SELECT r.released, r.ended FROM rota.after_resolve(ARRAY[%s]::bigint[], true) r", need)[0])]
    since = -1
    while since != 0:
        released, ended, since = rota.rows("SELECT * FROM rota.after_sweep(%s)", since)[0]
        turns.append(released + ended)
    assert turns == [5000, 5000, 2000]
    assert rota.value("SELECT count(*) FROM rota.run_after") == 0
    done = {"due": "SELECT count(*) FROM rota.pending WHERE held IS NULL AND due <= now()",
            "cancelled": "SELECT count(*) FROM rota.task_history WHERE outcome = 'cancelled'"}
    assert rota.value(done[outcome]) == 12000


def test_buckets_are_swept_in_slices_each_of_them_once(rota):
    """Of six thousand whose event was lost, all get another, in two turns."""
    rota.apply(job("a", rate={"limit": 1, "per": "1m", "key": "/k"}))
    rota.db.execute("SELECT FROM rota.enqueue_many('a', ARRAY(SELECT jsonb_build_object('k', g) FROM generate_series(1, 6000) g))")
    rota.db.execute("DELETE FROM rota.rate_due")
    turns, since = [], -2**63
    while not turns or since != -2**63:
        missing, since = rota.rows("SELECT * FROM rota.rate_sweep(%s)", since)[0]
        turns.append(missing)
    assert turns == [5000, 1000]
    assert rota.value("SELECT count(DISTINCT bucket) FROM rota.rate_due") == 6000


def test_what_older_nodes_have_claimed_does_not_hide_what_expires(rota):
    rota.apply(job("a"))
    late = rota.value("SELECT rota.enqueue('a', run_at => now() - interval '1 hour', expires_in => '1 minute')")
    rota.db.execute("INSERT INTO rota.run_extra (run_id, expires_at) SELECT unnest(%s::bigint[]), now() - interval '2 hours'",
                    (claimed(rota, 1001),))
    assert rota.value("SELECT s.expired FROM rota.extra_sweep(0) s") == 1
    assert rota.history(late)["outcome"] == "expired"


def test_what_thousands_of_runs_left_behind_goes_at_once(rota):
    """A slice every 5 s would be less than what older nodes leave there, or keys that are held for a period."""
    rota.apply(job("a"))
    rota.db.execute("INSERT INTO rota.run_extra (run_id) SELECT g FROM generate_series(1000001, 1020000) g")
    rota.db.execute("INSERT INTO rota.unique_key (job_id, key, run_id, until_started, keep_until) "
                    "SELECT 1, g::text, g, false, now() FROM generate_series(2000001, 2020000) g")
    rota.node()
    wait_until(lambda: rota.value("SELECT (SELECT count(*) FROM rota.run_extra) + (SELECT count(*) FROM rota.unique_key)") == 0,
               30, "all of it to be gone")


# --- transactions that stay open ---

def test_a_row_that_somebody_has_locked_is_not_looked_for_again_and_again(rota):
    rota.apply(job("a", rate={"limit": 1000, "per": "1s"}))
    run = rota.value("SELECT rota.enqueue('a')")
    with psycopg.connect(rota.url) as other:
        other.execute("SELECT FROM rota.pending WHERE id = %s FOR UPDATE", (run,))
        looked, pause = rota.rows("SELECT w.looked, extract(epoch FROM w.next_at - clock_timestamp()) FROM rota.rate_wake(32) w")[0]
        assert looked == 1 and 0.05 < pause < 1, pause
    wait_until(lambda: rota.value("SELECT w.plain FROM rota.rate_wake(32) w") == 1, 5, "its start")


def test_a_checkpoint_that_was_being_written_when_its_node_died_is_taken_over(rota):
    rota.apply(job("a"))
    run, = claimed(rota, 1)

    def recover():
        with psycopg.connect(rota.url, autocommit=True) as db:
            db.execute("SELECT FROM rota.recover((SELECT id FROM rota.incarnation))")

    recovery = threading.Thread(target=recover)
    with psycopg.connect(rota.url) as writer:
        writer.execute("""WITH said AS (SELECT FROM rota.receipt FOR KEY SHARE)
                          INSERT INTO rota.run_extra (run_id, checkpoint) SELECT %s, '{"at": 7}' FROM said""", (run,))
        recovery.start()
        wait_until(lambda: rota.value("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                                      "AND wait_event_type = 'Lock'") == 1, 1, "the recovery to wait for it")
    recovery.join()
    assert rota.rows("SELECT id, checkpoint FROM rota.pending") == [(run, {"at": 7})]
