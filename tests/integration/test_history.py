"""The history by size: cuts, counts, retention; what holds it up, and what it does not hold up."""

import signal
import threading
import time

import psycopg
import pytest

from fleet import Rota
from waiting import wait_until

LATE = "task_history_late"


def write(db, first, count, ended_at="clock_timestamp()", task="'job'", status="'success'"):
    """Runs that are over, `first` and up."""
    db.execute("INSERT INTO rota.task_history (id, task, started_at, ended_at, status, outcome, attempt, scheduled_at) "
               f"SELECT g, {task}, clock_timestamp(), {ended_at}, {status}, 'success', 1, now() "
               f"FROM generate_series({first}::bigint, {first + count - 1}) g")


def steps(db, keep, age_ms=0, cut_rows=None):
    """All that is to be done now."""
    done = []
    while True:
        step = db.execute("SELECT did, name, rows FROM rota.history_step(%s, %s, %s)", [keep, age_ms, cut_rows]).fetchone()
        if step is None:
            return done
        done.append(step)


def dids(done):
    return [step[0] for step in done if step[0] != "indexed"]


def parts(db):
    """Name and bounds, oldest first."""
    return db.execute("SELECT name, nullif(lower_at, '-infinity'), upper_at, counted FROM rota.history_parts() "
                      "ORDER BY lower_at").fetchall()


def rows(db, where="true"):
    return db.execute(f"SELECT count(*) FROM rota.task_history WHERE {where}").fetchone()[0]


def total(db, task=None, status=None):
    return db.execute("SELECT rota.task_total(%s, %s)", [task, status]).fetchone()[0]


# --- cutting ---

def test_a_partition_that_has_enough_rows_is_cut_now_and_no_row_falls_between(rota):
    write(rota.db, 1, 999)
    assert steps(rota.db, 4000) == []
    write(rota.db, 1000, 1)
    assert dids(steps(rota.db, 4000)) == ["cut", "closed"]
    bounds = parts(rota.db)
    assert all(before[2] == after[1] for before, after in zip(bounds, bounds[1:])), "no gap and no overlap"
    assert [name for name, *_ in bounds][0] == LATE and bounds[1][3] and not bounds[2][3]
    write(rota.db, 2000, 5)
    assert rows(rota.db) == 1005
    assert rota.value("SELECT count(*) FROM ONLY rota." + bounds[2][0]) == 5


def test_the_last_partition_of_a_day_has_the_days_name_which_older_nodes_look_for(rota):
    before = {name for name, *_ in parts(rota.db)}
    write(rota.db, 1, 1000)
    steps(rota.db, 4000)
    assert before <= {name for name, *_ in parts(rota.db)}
    assert rota.value("SELECT rota.history_ensure(3)") == 0, "nothing is missing"


def test_rows_of_a_clock_that_was_ahead_do_not_stop_a_cut(rota):
    write(rota.db, 1, 999)
    write(rota.db, 1000, 1, ended_at="clock_timestamp() + interval '100 ms'")
    assert "cut" in dids(steps(rota.db, 4000))
    assert rows(rota.db) == 1000


def test_a_cut_waits_for_no_long_reader_and_no_insert_waits_for_it(rota):
    write(rota.db, 1, 1000)
    with psycopg.connect(rota.url) as reader:
        reader.execute("SELECT count(*) FROM rota.task_history")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            rota.db.execute("SELECT rota.history_step(4000, 0)")
        rota.db.execute("SET lock_timeout = '2s'")
        write(rota.db, 2000, 1)
    assert dids(steps(rota.db, 4000)) == ["cut", "closed"]


# --- counts ---

def exact(db):
    for task in (None, "a", "b", "nobody's"):
        for status in (None, "success", "failed", "unknown"):
            counted = db.execute("SELECT count(*) FROM rota.task t WHERE t.task = coalesce(%s, t.task) "
                                 "AND t.status = coalesce(%s, t.status)", [task, status]).fetchone()[0]
            assert total(db, task, status) == counted, (task, status)


def test_totals_are_exact_whatever_comes_late_changes_or_goes(rota):
    task, status = "CASE WHEN g % 2 = 0 THEN 'a' ELSE 'b' END", "CASE WHEN g % 5 = 0 THEN 'failed' ELSE 'success' END"
    write(rota.db, 1, 1200, task=task, status=status)
    then = rota.value("SELECT clock_timestamp()")
    steps(rota.db, 4000)
    exact(rota.db)
    write(rota.db, 5000, 300, task=task, status=status)
    exact(rota.db)
    write(rota.db, 6000, 20, ended_at=f"'{then}'", task=task, status=status)
    write(rota.db, 7000, 20, ended_at="now() - interval '3 days'", task=task, status=status)
    exact(rota.db)
    rota.db.execute("UPDATE rota.task_history SET status = 'unknown' WHERE id IN (1, 6001, 7001)")
    rota.db.execute("DELETE FROM rota.task_history WHERE id IN (2, 6002, 7002)")
    exact(rota.db)
    steps(rota.db, 4000)
    exact(rota.db)
    assert rota.rows("SELECT * FROM rota.history_change") == []
    rota.db.execute("TRUNCATE rota.task_history")
    exact(rota.db)


def test_totals_are_exact_after_a_crash_of_the_server(pg_server, tmp_path):
    rota = Rota(pg_server, tmp_path)
    write(rota.db, 1, 1500, task="'a'")
    steps(rota.db, 4000)
    write(rota.db, 3000, 10, task="'b'")
    pg_server.stop(signal.SIGQUIT)
    pg_server.start()
    rota.reconnect()
    exact(rota.db)
    assert total(rota.db) == 1510
    rota.close()


def test_names_of_tasks_are_known_as_long_as_a_row_is_there(rota):
    write(rota.db, 1, 1000, task="'b'")
    steps(rota.db, 4000)
    write(rota.db, 2000, 1, task="'a'")
    assert [name for name, in rota.rows("SELECT rota.task_names()")] == ["a", "b"]
    rota.db.execute("DELETE FROM rota.task_history WHERE task = 'b'")
    assert [name for name, in rota.rows("SELECT rota.task_names()")] == ["a"]


# --- retention ---

def test_at_least_as_many_rows_stay_as_are_kept_and_at_most_a_partition_more(rota):
    largest = 0
    for turn in range(30):
        count = 700 + 37 * turn
        write(rota.db, 1 + turn * 10000, count)
        largest = max(largest, 1000 + count)
        steps(rota.db, 4000)
        if turn > 6:
            assert 4000 <= rows(rota.db) <= 4000 + largest
    newest = rota.value("SELECT min(id) FROM rota.task_history")
    assert rows(rota.db, f"id >= {newest}") == rows(rota.db), "it is the newest that stay"
    assert len(parts(rota.db)) < 13


def test_what_is_older_than_its_age_goes_and_nothing_else(rota):
    write(rota.db, 1, 1000)
    steps(rota.db, 0, 0, 1000)
    time_of_cut = parts(rota.db)[1][2]
    write(rota.db, 5000, 10)
    assert dids(steps(rota.db, 0, 3600_000, 100000)) == []
    wait_until(lambda: rota.value("SELECT clock_timestamp() > %s + interval '200 ms'", time_of_cut), 5)
    assert dids(steps(rota.db, 0, 100, 100000)) == ["dropped"]
    assert rows(rota.db) == rows(rota.db, "id >= 5000") == 10


def test_what_came_late_is_found_counted_and_dropped_by_its_age(rota):
    write(rota.db, 1, 50, ended_at="now() - interval '3 days'")
    write(rota.db, 100, 30, ended_at="now() - interval '1 day'")
    assert rows(rota.db) == total(rota.db) == 80
    assert steps(rota.db, 0, 2 * 86400_000) == [("dropped", None, 50)]
    assert rows(rota.db) == total(rota.db) == 30
    assert steps(rota.db, 0, 3600_000) == [("dropped", None, 30)]
    assert rows(rota.db) == total(rota.db) == 0


def test_a_transaction_that_is_older_than_all_that_is_kept_still_ends_its_run(rota):
    rota.apply({"name": "job", "handler": "nobody", "durable": True})
    run = rota.enqueue("job")[0]
    with psycopg.connect(rota.url) as old:
        old.execute("SELECT now()")
        write(rota.db, 100000, 1500)
        steps(rota.db, 1000)
        write(rota.db, 200000, 1500)
        assert "dropped" in dids(steps(rota.db, 1000))
        assert old.execute("SELECT rota.cancel(%s)", [run]).fetchone()[0] == "cancelled"
    assert rota.history(run)["outcome"] == "cancelled"
    assert total(rota.db) == rows(rota.db)


def test_a_reader_of_three_seconds_stops_neither_inserts_nor_for_long_retention(rota):
    """The leader's attempts meet a reader who sits on all partitions; nobody else is held up."""
    for turn in range(4):
        write(rota.db, 1 + turn * 10000, 1000)
        steps(rota.db, 100000, 0, 1000)
    slowest, written, stop = 0, 0, threading.Event()

    def insert():
        nonlocal slowest, written
        with psycopg.connect(rota.url, autocommit=True) as db:
            while not stop.is_set():
                began = time.monotonic()
                write(db, 1000000 + written, 1)
                written += 1
                slowest = max(slowest, time.monotonic() - began)

    thread = threading.Thread(target=insert)
    with psycopg.connect(rota.url) as reader:
        reader.execute("SELECT count(*) FROM rota.task_history")
        thread.start()
        refused, until = 0, time.monotonic() + 3
        while time.monotonic() < until:
            with pytest.raises(psycopg.errors.LockNotAvailable):
                rota.db.execute("SELECT rota.history_trim(1000)")
            refused += 1
    try:
        wait_until(lambda: trimmed(rota.db), 20)
    finally:
        stop.set()
        thread.join()
    assert refused > 5 and written > refused, "inserts went on between and during the attempts"
    assert slowest < 2, "none waited for the reader"
    assert rows(rota.db) >= 1000


def trimmed(db):
    try:
        return db.execute("SELECT rota.history_trim(1000)").fetchone()[0] > 0
    except psycopg.errors.LockNotAvailable:
        return False


# --- by nodes ---

def test_the_leader_cuts_and_drops_by_itself(rota):
    for turn in range(3):
        write(rota.db, 1 + turn * 10000, 1200)
        rota.db.execute("SELECT rota.history_cut(1)")
    node = rota.node("n1", history_rows=1000)
    node.wait_for_line("finished runs were dropped from the history", 40)
    wait_until(lambda: rows(rota.db) == 1200, 10)
    assert total(rota.db) == 1200


def test_statements_of_older_nodes_do_the_same_by_the_same_rules(rota):
    for turn in range(3):
        write(rota.db, 1 + turn * 10000, 1200)
        rota.db.execute("SELECT rota.history_cut(1)")
    assert rota.value("SELECT rota.history_ensure(3)") == 0
    assert rota.value("SELECT rota.history_trim(2000)") == 1
    assert rota.value("SELECT rota.history_drop(now() - interval '1 day')") == 0
    assert rota.value("SELECT rota.settled_trim()") == 0
    assert rows(rota.db) == total(rota.db) == 2400
    assert dids(steps(rota.db, 2000)) == []


def test_task_history_cleanup_does_it_now_and_is_in_the_history_itself(rota):
    rota.apply({"name": "tidy", "handler": "task-history-cleanup", "durable": True})
    rota.node("n1", history_rows=1000)
    write(rota.db, 1000000, 1200)
    first = rota.wait_history(rota.enqueue("tidy")[0])
    assert first["status"] == "success", first
    write(rota.db, 2000000, 1200)
    entry = rota.wait_history(rota.enqueue("tidy")[0])
    assert entry["status"] == "success", entry
    wait_until(lambda: rows(rota.db, "id BETWEEN 1000000 AND 1999999") == 0, 20)
    assert 1000 <= rows(rota.db) <= 1300
    assert rota.history(entry["id"] if "id" in entry else rota.value("SELECT max(id) FROM rota.task_history WHERE task = 'tidy'"))


# --- pages ---

ORDERS = [(column, descending) for column in ("started_at", "ended_at", "duration", "task", "status")
          for descending in (True, False)]


@pytest.mark.parametrize("column, descending", ORDERS)
def test_pages_follow_each_other_in_any_order_with_ties_by_id(rota, column, descending):
    write(rota.db, 1, 1100, task="'task ' || g % 7", status="CASE WHEN g % 5 = 0 THEN 'failed' ELSE 'success' END")
    rota.db.execute("UPDATE rota.task_history SET duration_ms = id % 9 WHERE id % 10 <> 0")
    rota.db.execute("UPDATE rota.task_history SET started_at = NULL WHERE id % 11 = 0")
    steps(rota.db, 4000)
    rota.db.execute("SELECT rota.history_index(p.part, p.name) FROM rota.history_parts() p CROSS JOIN generate_series(1, 6) "
                    "WHERE p.counted AND p.name <> %s", [LATE])
    write(rota.db, 2000, 90, task="'task ' || g % 7")
    order = f"t.{column} {'DESC' if descending else 'ASC'}, t.id DESC"
    wanted = [run for run, in rota.rows(f"SELECT t.id FROM rota.task t ORDER BY {order}")]
    counted, followed, after = [], [], (None, None)
    for page in range(5):
        counted += [run for run, in rota.rows("SELECT p.id FROM rota.task_page(NULL, NULL, %s, %s, 300, %s) p",
                                              column, descending, page * 300)]
        found = rota.rows(f"SELECT p.id, p.{column}::text FROM rota.task_page(NULL, NULL, %s, %s, 300, 0, %s, %s) p",
                          column, descending, *after)
        followed += [run for run, _ in found]
        after = found[-1] if found else after
    assert counted == wanted
    assert followed == wanted


def test_only_columns_of_the_list_are_sorted_by(rota):
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="sorted by started_at"):
        rota.value("SELECT count(*) FROM rota.task_page(sort_column => 'id; DROP TABLE rota.job')")
