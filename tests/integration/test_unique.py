"""Unique runs: what each answer to a conflict does, how long a key is held, in bulk and under rollback; and under fire:
a key is never held by two, and a conflict on one row stalls no other."""

import os
import random
import threading
import time

import psycopg
import pytest

from manifests import job
from waiting import wait_until

FULL = os.environ.get("ROTA_TEST_FULL") == "1"
SECONDS = 60 if FULL else 10


def sql(rota, statement, *parameters):
    return rota.value(f"SELECT {statement}", *parameters)


def each(rota, data, mode=None, keys=None, name="a"):
    """(run, conflict) of each, as `rota enqueue` gets them."""
    return rota.rows("SELECT run_id, conflict FROM rota.enqueue_runs(%s, %s::json[], NULL, NULL, %s::text[], %s, NULL, NULL, NULL, NULL, NULL)",
                     name, data, keys, mode)


def pending(rota):
    return dict(rota.rows("SELECT id, data::text FROM rota.pending"))


def claim(rota, run):
    """As a node does it: from pending into a receipt."""
    rota.db.execute("""
        WITH node AS (INSERT INTO rota.node (name) VALUES ('test') ON CONFLICT DO NOTHING),
             gone AS (DELETE FROM rota.pending p WHERE p.id = %s RETURNING p.*)
        INSERT INTO rota.receipt (incarnation, open, ids, routes, dues, job_ids, trigger_ids, scheduled_at, enqueued_at,
                                  attempts, crashes, missed, recovering, data, checkpoints, earlier)
        SELECT (SELECT id FROM rota.incarnation), B'1', ARRAY[g.id], ARRAY[g.route], ARRAY[g.due], ARRAY[g.job_id],
               ARRAY[g.trigger_id], ARRAY[g.scheduled_at], ARRAY[g.enqueued_at], ARRAY[g.attempt], ARRAY[g.crashes],
               ARRAY[g.missed], ARRAY[g.recovering], ARRAY[g.data], ARRAY[g.checkpoint], ARRAY[g.earlier] FROM gone g
        """, (run,))
    assert sql(rota, "rota.run_place(%s)", run) == "claimed"


@pytest.fixture
def held(rota):
    """A node that serves nothing of ours, so that runs are claimed by the test alone."""
    rota.node("idle", pools={"other": {"command": ["sleep", "100000"]}}, slots=1)
    return rota


def test_reject_names_who_has_the_key(rota):
    rota.apply(job("a", unique={"key": "/k"}))
    run = sql(rota, "rota.enqueue('a', '{\"k\": 1}')")
    with pytest.raises(psycopg.errors.UniqueViolation, match=f'run {run} of "a" has this key already'):
        rota.db.execute("SELECT rota.enqueue('a', '{\"k\": \"1\"}')")  # 1 and "1" are the same value
    assert sql(rota, "rota.enqueue('a', '{\"k\": 2}')") != run
    assert sql(rota, "rota.enqueue('a', '{}')") != sql(rota, "rota.enqueue('a', '{\"k\": null}')")  # no value, no key


def test_existing_returns_it_and_leaves_it_as_it_is(rota):
    rota.apply(job("a"))
    run = sql(rota, "rota.enqueue('a', '{\"x\": 1}', key => 'k')")
    assert sql(rota, "rota.enqueue('a', '{\"x\": 2}', key => 'k', on_conflict => 'existing')") == run
    assert pending(rota) == {run: '{"x": 1}'}


def test_replace_debounces_and_keep_time_throttles(rota):
    rota.apply(job("a"))
    run = sql(rota, "rota.enqueue('a', '{\"x\": 1}', now() + interval '1 h', key => 'k', expires_in => '1 min')")
    due = rota.value("SELECT due FROM rota.pending")
    assert sql(rota, "rota.enqueue('a', '{\"x\": 2}', now() + interval '2 h', key => 'k', on_conflict => 'keep_time')") == run
    assert pending(rota) == {run: '{"x": 2}'} and rota.value("SELECT due FROM rota.pending") == due
    assert sql(rota, "rota.enqueue('a', '{\"x\": 3}', now() + interval '3 h', key => 'k', on_conflict => 'replace', "
                     "expires_in => '5 min')") == run
    assert pending(rota) == {run: '{"x": 3}'}
    assert rota.rows("SELECT p.due > now() + interval '179 min', p.scheduled_at = p.due, x.expires_at - p.due = '5 min' "
                     "FROM rota.pending p JOIN rota.run_extra x ON x.run_id = p.id") == [(True, True, True)]


def test_a_replaced_run_goes_to_the_lane_and_the_rate_of_its_new_data(rota):
    rota.apply(job("l", concurrency={"limit": 1, "key": "/c"}), job("r", rate={"limit": 1, "per": "1h", "key": "/c"}))
    for name, column in (("l", "lane"), ("r", "bucket")):
        [(run, _)] = each(rota, ['{"c":1}'], "replace", ["k"], name)
        other = sql(rota, f"rota.enqueue('{name}', '{{\"c\": 2}}')")
        assert each(rota, ['{"c":2}'], "replace", ["k"], name) == [(run, "replaced")]
        (mine,), (others,) = (rota.rows(f"SELECT {column} FROM rota.pending WHERE id = %s", one)[0] for one in (run, other))
        assert mine == others is not None
        assert rota.value("SELECT (route < 0) = (lane IS NOT NULL) FROM rota.pending WHERE id = %s", run)


def test_a_replaced_run_that_is_due_sooner_starts_sooner(rota):
    rota.apply(job("a"))
    rota.node(poll="60s")
    run = sql(rota, "rota.enqueue('a', key => 'k', run_at => now() + interval '1 h')")
    assert sql(rota, "rota.enqueue('a', key => 'k', on_conflict => 'replace')") == run
    assert rota.wait_history(run)["outcome"] == "success"


def test_a_key_until_finished_is_free_when_the_run_is_over(held):
    held.apply(job("a", handler="nobody", unique={"key": "/k", "until": "finished", "on_conflict": "existing"}))
    [(run, _)] = each(held, ['{"k":1}'])
    claim(held, run)
    assert each(held, ['{"k":1}']) == [(run, "exists")]
    assert each(held, ['{"k":1,"x":2}'], "replace") == [(run, "started")]  # it has begun with what it had
    held.db.execute("DELETE FROM rota.receipt")  # as if its completion had forgotten the key
    [(after, conflict)] = each(held, ['{"k":1}'])
    assert after != run and conflict is None


def test_a_key_until_started_is_free_when_the_run_begins(held):
    held.apply(job("a", handler="nobody", unique={"key": "/k", "until": "started"}))
    [(run, _)] = each(held, ['{"k":1}'])
    assert each(held, ['{"k":1}']) == [(run, "rejected")]
    claim(held, run)
    [(after, conflict)] = each(held, ['{"k":1}'])
    assert after != run and conflict is None
    assert each(held, ['{"k":1}']) == [(after, "rejected")]


def test_a_key_for_a_period_outlives_its_run(rota):
    rota.apply(job("a", unique={"key": "/k", "for": "1h", "on_conflict": "existing"}))
    rota.node()
    run, = rota.enqueue("a", "--data", '{"k":1}')
    rota.wait_history(run)
    assert each(rota, ['{"k":1}']) == [(run, "exists")]
    rota.db.execute("UPDATE rota.unique_key SET keep_until = now()")
    [(after, conflict)] = each(rota, ['{"k":1}'])
    assert after != run and conflict is None


def test_the_whole_data_may_be_the_key(rota):
    rota.apply(job("a", unique={"key": "", "on_conflict": "existing"}))
    runs = [run for run, _ in each(rota, ['{"a":1,"b":2}', '{"b":2, "a":1}', '{"a":1}', None, '{}'])]
    assert runs[0] == runs[1] and runs[3] == runs[4] and len(set(runs)) == 3


def test_long_values_are_told_apart_behind_what_is_stored_of_them(rota):
    rota.apply(job("a", unique={"key": "/k"}))
    long = "x" * 1000
    assert [conflict for _, conflict in each(rota, [f'{{"k":"{long}1"}}', f'{{"k":"{long}2"}}', f'{{"k":"{long}1"}}'])] == \
        [None, None, "rejected"]


@pytest.mark.parametrize("mode, first, second, stays", [
    ("reject", None, "rejected", "1"), ("existing", None, "exists", "1"),
    ("replace", "replaced", None, "2"), ("keep_time", "kept", None, "2")])
def test_the_same_key_twice_in_one_batch_is_one_run(rota, mode, first, second, stays):
    rota.apply(job("a"))
    said = each(rota, ['{"x":1}', '{"x":2}', '{"x":3}'], mode, ["k", "k", "l"])
    assert [conflict for _, conflict in said] == [first, second, None]
    assert said[0][0] == said[1][0] != said[2][0]
    assert pending(rota) == {said[0][0]: f'{{"x":{stays}}}', said[2][0]: '{"x":3}'}


def test_keys_are_a_jobs_own(rota):
    rota.apply(job("a"), job("b"))
    assert sql(rota, "rota.enqueue('a', key => 'k')") != sql(rota, "rota.enqueue('b', key => 'k')")


def test_a_cancelled_run_and_a_rolled_back_one_give_their_keys_back(rota):
    rota.apply(job("a", unique={"key": "/k"}))
    run = sql(rota, "rota.enqueue('a', '{\"k\": 1}')")
    assert sql(rota, "rota.cancel(%s)", run) == "cancelled"
    assert rota.value("SELECT count(*) FROM rota.unique_key") == 0
    with psycopg.connect(rota.url) as db:
        db.execute("SELECT rota.enqueue('a', '{\"k\": 1}')")
        db.rollback()
    assert each(rota, ['{"k":1}'])[0][1] is None


def test_an_undecided_key_is_told_within_a_second_and_the_others_go_in(rota):
    rota.apply(job("a"))
    with psycopg.connect(rota.url) as other:
        other.execute("SELECT rota.enqueue_many('a', ARRAY['{}', '{}']::jsonb[], keys => ARRAY['k2', 'k4'])")
        began = time.monotonic()
        said = each(rota, ["{}"] * 6, "existing", [f"k{i}" for i in range(1, 7)])
        took = time.monotonic() - began
        assert [conflict for _, conflict in said] == [None, "undecided", None, "undecided", None, None] and took < 5
        assert [run is None for run, _ in said] == [False, True, False, True, False, False]
        mine = {run for run, _ in said if run}
        assert pending(rota).keys() == mine
        assert dict(rota.rows("SELECT key, run_id FROM rota.unique_key")) == {f"k{i}": said[i - 1][0] for i in (1, 3, 5, 6)}
        done = rota.run("enqueue", "a", "--key", "k2", check=False)
        assert done.returncode == 5 and "a transaction that has not ended; nothing was queued" in done.stderr
        with pytest.raises(psycopg.errors.LockNotAvailable):
            rota.db.execute("SELECT rota.enqueue('a', key => 'k2')")
        other.rollback()
    assert each(rota, ["{}"], "existing", ["k2"])[0][1] is None


def test_a_caller_with_an_old_snapshot_is_told_so_and_never_answered_wrongly(held):
    held.apply(job("a", handler="nobody", unique={"key": "/k", "until": "started", "on_conflict": "existing"}))
    [(run, _)] = each(held, ['{"k":1}'])
    with psycopg.connect(held.url) as db:
        db.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        db.execute("SELECT 1 FROM rota.fleet")
        assert db.execute("SELECT rota.enqueue('a', '{\"k\": 1}')").fetchone()[0] == run  # nothing has changed
        db.rollback()
        db.execute("SELECT 1 FROM rota.fleet")
        claim(held, run)  # he sees it wait
        with pytest.raises(psycopg.errors.SerializationFailure):
            db.execute("SELECT rota.enqueue('a', '{\"k\": 1}')")
        db.rollback()
        after = db.execute("SELECT rota.enqueue('a', '{\"k\": 1}')").fetchone()[0]
        assert after != run
        db.rollback()
        db.execute("SELECT 1 FROM rota.fleet")
        [(other, _)] = each(held, ['{"k":2}'])  # he does not see it at all
        with pytest.raises(psycopg.errors.SerializationFailure):
            db.execute("SELECT rota.enqueue('a', '{\"k\": 2}')")
        assert held.value("SELECT run_id FROM rota.unique_key WHERE key = '2'") == other


class Enqueuer(threading.Thread):
    """Enqueues at random under few keys, commits or rolls back."""

    def __init__(self, url, number, until):
        super().__init__()
        self.db = psycopg.connect(url)
        self.random = random.Random(number)
        self.until = until
        self.answers, self.error, self.again = {}, None, 0

    def run(self):
        try:
            while time.monotonic() < self.until:
                self.once()
        except Exception as error:  # told by the test
            self.error = error
        finally:
            self.db.close()

    def once(self):
        keys = self.random.sample([f"k{i}" for i in range(6)], self.random.randint(1, 4))
        mode = self.random.choice(["reject", "existing", "replace", "keep_time"])
        self.db.isolation_level = self.random.choice([None, None, psycopg.IsolationLevel.REPEATABLE_READ])
        try:
            for _ in range(self.random.randint(1, 2)):
                rows = self.db.execute("SELECT run_id, conflict FROM rota.enqueue_runs('a', %s::json[], NULL, NULL, %s, %s, NULL, "
                                       "NULL, NULL, NULL, NULL)", (["{}"] * len(keys), keys, mode)).fetchall()
                assert len(rows) == len(keys)
                for _, conflict in rows:
                    self.answers[conflict] = self.answers.get(conflict, 0) + 1
            if self.random.random() < 0.7:
                self.db.commit()
            else:
                self.db.rollback()
        except (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected, psycopg.errors.LockNotAvailable):
            self.again += 1
            self.db.rollback()


def doubles(rota):
    """Keys that two waiting runs have; run_extra says which runs had one."""
    return rota.rows("""SELECT k.key, count(*) FROM rota.unique_key k JOIN rota.pending p ON p.id = k.run_id
                         GROUP BY k.key HAVING count(*) > 1""")


def test_a_key_is_never_held_twice_under_fire(rota):
    rota.apply(job("a", handler="nobody", unique={"until": "finished"}))
    until = time.monotonic() + SECONDS
    enqueuers = [Enqueuer(rota.url, number, until) for number in range(8)]
    for one in enqueuers:
        one.start()
    cancelled = 0
    while time.monotonic() < until:
        # in one snapshot: every waiting run has the key it was queued under, and there are six keys
        waiting, keyed = rota.rows("SELECT count(*), count(k.key) FROM rota.pending p "
                                   "LEFT JOIN rota.unique_key k ON k.run_id = p.id")[0]
        assert waiting == keyed <= 6 and doubles(rota) == []
        for (run,) in rota.rows("SELECT id FROM rota.pending ORDER BY random() LIMIT 1"):
            rota.db.execute("SELECT rota.cancel(%s)", (run,))
            cancelled += 1
        time.sleep(0.01)
    for one in enqueuers:
        one.join(30)
        assert one.error is None, one.error
    answers = {}
    for one in enqueuers:
        for conflict, count in one.answers.items():
            answers[conflict] = answers.get(conflict, 0) + count
    assert answers[None] > 50 and answers["exists"] > 20 and answers["replaced"] > 20 and cancelled > 20, answers
    wait_until(lambda: rota.rows("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()") == [(1,)], 10)
    runs = [run for (run,) in rota.rows("SELECT id FROM rota.pending")]
    assert all(sql(rota, "rota.cancel(%s)", run) == "cancelled" for run in runs)
    rota.rows("SELECT rota.extra_sweep(0)")  # keys of runs that were cancelled while somebody asked for them
    assert rota.value("SELECT count(*) FROM rota.unique_key") == rota.value("SELECT count(*) FROM rota.run_extra") == 0
