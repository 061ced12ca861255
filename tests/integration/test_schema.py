"""What the database itself refuses, whatever the code above it does: the invariants that are constraints."""

import datetime
import os
import re

import psycopg
import pytest

from fleet import REPOSITORY, Rota

RECEIPT_COLUMNS = {"ids": "7::bigint", "routes": "1", "dues": "now()", "job_ids": "1", "trigger_ids": "NULL::integer",
                   "scheduled_at": "now()", "enqueued_at": "now()", "attempts": "1::smallint", "crashes": "0::smallint",
                   "missed": "0", "recovering": "false", "data": "NULL::json", "checkpoints": "NULL::json",
                   "earlier": "NULL::jsonb"}


ROWS = """
    INSERT INTO rota.node (name) VALUES ('n1');
    INSERT INTO rota.incarnation (node, state, lease_until, version, host, pid)
    VALUES ('n1', 'running', now() + interval '1 hour', '1', 'host', 1);
    INSERT INTO rota.route (handler, priority) VALUES ('noop', 5);
    INSERT INTO rota.job (name, source, handler, definition, revision) VALUES ('job', 'test', 'noop', '', 1);
    INSERT INTO rota.trigger (job_id, name, kind, cron, start_at, definition, revision)
    VALUES (1, 'trigger', 'cron', '0 0 2 * * ?', now(), '', 1);
    INSERT INTO rota.trigger_due (trigger_id, route, revision, next_at) VALUES (1, 1, 1, now())"""


@pytest.fixture(scope="module")
def shared(shared_server, tmp_path_factory):
    rota = Rota(shared_server, tmp_path_factory.mktemp("schema"))
    rota.db.execute(ROWS)
    yield rota
    rota.close()


@pytest.fixture
def db(shared):
    """With a node, a route, a job and a trigger; what a test does to them is taken back."""
    with shared.db.transaction(force_rollback=True):
        yield shared.db


def receipt(runs=3, open_bits="111", incarnation=1, **lengths):
    """An INSERT of a receipt; lengths: of the arrays that are to have another one."""
    arrays = ", ".join(f"array_fill({value}, ARRAY[{lengths.get(name, runs)}])" for name, value in RECEIPT_COLUMNS.items())
    return (f"INSERT INTO rota.receipt (incarnation, open, {', '.join(RECEIPT_COLUMNS)}) "
            f"VALUES ({incarnation}, '{open_bits}', {arrays}) RETURNING fence")


def refused(db, statement, constraint=None, sqlstate="23514"):
    with pytest.raises(psycopg.Error) as caught, db.transaction():
        db.execute(statement)
    assert caught.value.sqlstate == sqlstate, caught.value
    if constraint:
        assert caught.value.diag.constraint_name == constraint


def test_a_receipt_whose_arrays_fit_is_taken(db):
    first = db.execute(receipt()).fetchone()[0]
    assert db.execute(receipt(runs=1, open_bits="1")).fetchone()[0] > first


@pytest.mark.parametrize("column", RECEIPT_COLUMNS)
@pytest.mark.parametrize("length", [0, 2, 4])
def test_a_receipt_whose_arrays_differ_in_length_is_refused(db, column, length):
    refused(db, receipt(**{column: length}), "receipt_shape")


@pytest.mark.parametrize("open_bits,runs", [("000", 3), ("0", 1), ("", 0)])
def test_a_receipt_without_an_open_run_is_refused(db, open_bits, runs):
    refused(db, receipt(runs=runs, open_bits=open_bits))


@pytest.mark.parametrize("open_bits", ["11", "1111"])
def test_a_bit_for_each_run_no_more_no_less(db, open_bits):
    refused(db, receipt(open_bits=open_bits), "receipt_shape")


def test_the_last_bit_cannot_be_cleared_and_the_row_kept(db):
    db.execute(receipt())
    refused(db, "UPDATE rota.receipt SET open = '000'", "receipt_open")


def test_a_receipt_of_an_unknown_incarnation_is_refused(db):
    refused(db, receipt(incarnation=99), "receipt_incarnation_fkey", "23503")


def test_an_incarnation_that_holds_runs_cannot_be_deleted(db):
    db.execute(receipt())
    refused(db, "DELETE FROM rota.incarnation WHERE id = 1", "receipt_incarnation_fkey", "23503")
    db.execute("DELETE FROM rota.receipt")
    db.execute("DELETE FROM rota.incarnation WHERE id = 1")


def test_a_fence_is_never_used_twice_even_after_a_rollback(db):
    fences = [db.execute(receipt()).fetchone()[0]]
    with db.transaction(force_rollback=True):
        fences.append(db.execute(receipt()).fetchone()[0])
    fences.append(db.execute(receipt()).fetchone()[0])
    assert fences == sorted(set(fences))
    refused(db, f"UPDATE rota.receipt SET fence = {fences[0]} WHERE fence = {fences[2]}", "receipt_pkey", "23505")


def test_sequences_keep_what_the_readers_of_ids_rely_on(db):
    found = db.execute("SELECT sequencename, max_value, cache_size, cycle FROM pg_sequences WHERE schemaname = 'rota'")
    sequences = {row[0]: row[1:] for row in found}
    assert sequences["fence"][1] == 1, "a cached fence could be smaller than one that was drawn later elsewhere"
    assert sequences["run_id"][0] == 2 ** 53 - 1, "JSON readers have doubles"
    assert not any(cycle for _, _, cycle in sequences.values())


@pytest.mark.parametrize("change", [
    "state = 'E'",  # no text
    "error = 'why'",  # no state
    "state = 'W', next_at = NULL",
    "state = 'B', next_at = NULL, lane = 1, route = -route",
    "state = 'B'",  # no lane to be blocked in
    "lane = 1", "route = -route",  # a lane and the sign of the route go together
    "state = 'X'",
])
def test_a_trigger_is_in_a_state_that_makes_sense(db, change):
    refused(db, f"UPDATE rota.trigger_due SET {change}")


@pytest.mark.parametrize("change", [
    "state = 'E', error = 'why', next_at = NULL", "state = 'C', next_at = NULL",
    "state = 'B', lane = 1, route = -route", "paused = true",
])
def test_a_trigger_may_be_in_every_state_there_is(db, change):
    db.execute(f"UPDATE rota.trigger_due SET {change}")


@pytest.mark.parametrize("change", [
    "cron = NULL", "every_us = 1", "at = now()", "kind = 'every'", "kind = 'at'", "kind = 'sometimes'",
    "kind = 'every', cron = NULL, every_us = 0", "repeat_count = -1", "priority = 0", "priority = 101", "name = ''",
    "misfire = 'guess'", "misfire_tolerance_ms = -1", "misfire_limit = -1", "dst_gap = 'before'", "dst_overlap = 'none'",
])
def test_a_trigger_that_cannot_be_is_refused(db, change):
    refused(db, f"UPDATE rota.trigger SET {change}")


@pytest.mark.parametrize("change", [
    "name = ''", "name = repeat('x', 255)", "handler = ''", "source = ''", "priority = 0", "priority = 101",
    "timeout_ms = 0", "max_attempts = 0", "max_crashes = 0", "backoff = 'random'", "retry_jitter = 1.5",
    "retry_initial_ms = -1",
])
def test_a_job_that_cannot_be_is_refused(db, change):
    refused(db, f"UPDATE rota.job SET {change}")


@pytest.mark.parametrize("values", ["(0, 1)", "(9007199254740992, 1)", "(1, 0)"])
def test_a_pending_run_that_cannot_be_is_refused(db, values):
    refused(db, "INSERT INTO rota.pending (route, due, job_id, scheduled_at, id, attempt) "
                f"SELECT 1, now(), 1, now(), v.* FROM (VALUES {values}) v")


def test_a_run_is_pending_once(db):
    db.execute("INSERT INTO rota.pending (id, route, due, job_id, scheduled_at) VALUES (5, 1, now(), 1, now())")
    refused(db, "INSERT INTO rota.pending (id, route, due, job_id, scheduled_at) VALUES (5, 1, now(), 1, now())",
            "pending_pkey", "23505")


@pytest.mark.parametrize("statement", [
    "INSERT INTO rota.fleet DEFAULT VALUES",
    "INSERT INTO rota.route (handler, priority) VALUES ('noop', 5)",
    "INSERT INTO rota.job (name, source, handler, definition, revision) VALUES ('job', 'other', 'noop', '', 1)",
    "INSERT INTO rota.trigger_due (trigger_id, route, revision, next_at) VALUES (1, 1, 1, now())",
])
def test_what_there_is_once_cannot_be_there_twice(db, statement):
    refused(db, statement, sqlstate="23505")


def test_there_is_no_second_fleet(db):
    refused(db, "INSERT INTO rota.fleet (singleton) VALUES (false)")


@pytest.mark.parametrize("priority", [0, 101])
def test_a_route_has_a_priority_of_1_to_100(db, priority):
    refused(db, f"INSERT INTO rota.route (handler, priority) VALUES ('other', {priority})")


@pytest.mark.parametrize("change", ["state = 'dead'", "state = 'stopped'"])
def test_an_incarnation_is_in_a_state_others_know(db, change):
    refused(db, f"UPDATE rota.incarnation SET {change}")


@pytest.mark.parametrize("change", ["fence = 1", "holder = 'a'", "acquired_at = now()", "holder = 'a', fence = 1"])
def test_a_cluster_lock_is_held_wholly_or_not_at_all(db, change):
    db.execute("INSERT INTO rota.metabase_cluster_lock (lock_name) VALUES ('lock')")
    refused(db, f"UPDATE rota.metabase_cluster_lock SET {change}")
    db.execute("UPDATE rota.metabase_cluster_lock SET holder = 'a', fence = 1, acquired_at = now()")


# --- the history ---

def write_history(db, run, ended_at="now()", status="success"):
    db.execute("INSERT INTO rota.task_history (id, task, ended_at, status, outcome, attempt, scheduled_at) "
               f"VALUES ({run}, 'job', {ended_at}, '{status}', 'success', 1, now())")


def partitions(db):
    found = db.execute("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'rota.task_history'::regclass")
    return sorted(row[0][-8:] for row in found if not row[0].endswith("_late"))


def days(*offsets):
    today = datetime.datetime.now(datetime.timezone.utc).date()
    return [(today + datetime.timedelta(days=offset)).strftime("%Y%m%d") for offset in offsets]


def test_the_history_takes_three_statuses(db):
    for number, status in enumerate(("success", "failed", "unknown")):
        write_history(db, number, status=status)
    with pytest.raises(psycopg.errors.CheckViolation), db.transaction():
        write_history(db, 9, status="done")


def test_the_history_has_partitions_for_the_days_ahead_and_none_by_default(db):
    assert partitions(db) == days(0, 1, 2, 3)
    assert db.execute("SELECT rota.history_ensure(3)").fetchone()[0] == 0
    assert db.execute("SELECT rota.history_ensure(5)").fetchone()[0] == 2
    assert partitions(db) == days(0, 1, 2, 3, 4, 5)
    with pytest.raises(psycopg.errors.CheckViolation), db.transaction():
        write_history(db, 1, ended_at="now() + interval '20 days'")


def make_past(db, *offsets):
    """Partitions of days that are over, with a row each; what is late is before them."""
    db.execute("DROP TABLE rota.task_history_late")
    for name, offset in zip(days(*offsets), offsets):
        day = f"{name[:4]}-{name[4:6]}-{name[6:]} 00:00Z"
        db.execute(f"CREATE TABLE rota.task_history_{name} PARTITION OF rota.task_history "
                   f"FOR VALUES FROM ('{day}') TO ('{day}'::timestamptz + interval '1 day')")
        write_history(db, 1000 - offset, ended_at=f"'{day}'::timestamptz")


def test_old_partitions_are_dropped_whole(db):
    make_past(db, -3, -2, -1)
    assert db.execute("SELECT rota.history_drop(now() - interval '2 days')").fetchone()[0] == 1
    assert partitions(db) == days(-2, -1, 0, 1, 2, 3)
    assert db.execute("SELECT rota.history_drop(now() + interval '1 hour')").fetchone()[0] == 2
    assert partitions(db) == days(0, 1, 2, 3)


def test_by_number_as_many_stay_as_are_wanted_and_at_most_a_partition_more(db):
    make_past(db, -3, -2, -1)
    write_history(db, 1)
    assert db.execute("SELECT rota.history_trim(4)").fetchone()[0] == 0
    assert db.execute("SELECT rota.history_trim(2)").fetchone()[0] == 2
    assert partitions(db) == days(-1, 0, 1, 2, 3)


def test_a_partition_is_not_waited_for_behind_a_reader(rota):
    make_past(rota.db, -3)
    with psycopg.connect(rota.url) as reader:
        reader.execute("SELECT count(*) FROM rota.task_history")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            rota.db.execute("SELECT rota.history_drop(now())")
        write_history(rota.db, 2)  # and nobody waits behind the attempt


# --- routes ---

def test_a_route_is_made_once_however_many_ask_for_it(db):
    assert db.execute("SELECT rota.route_of('noop', 5::smallint)").fetchone()[0] == 1
    made = db.execute("SELECT rota.route_of('new', 5::smallint)").fetchone()[0]
    assert db.execute("SELECT rota.route_of('new', 5::smallint)").fetchone()[0] == made
    assert db.execute("SELECT rota.route_of('new', 6::smallint)").fetchone()[0] != made
    assert db.execute("SELECT count(*) FROM rota.route WHERE handler = 'new'").fetchone()[0] == 2


# --- the documents ---

def test_the_queries_for_a_stuck_run_work(db):
    """Those of CONTRIBUTING.md, as they stand there."""
    with open(os.path.join(REPOSITORY, "CONTRIBUTING.md"), encoding="utf-8") as file:
        queries = re.findall(r"^```sql\n(.*?)^```", file.read(), re.M | re.S)
    assert len(queries) >= 4
    for query in queries:
        db.execute(query.replace(":id", "1").replace(":lane", "1"))
