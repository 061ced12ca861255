"""What is queued in bulk waits in bundles: claimed by the bundle, opened by whatever else is done to one of its
runs or to their job, and for everybody who looks the same as runs that wait one by one."""

import json
import random
import threading

import psycopg
import pytest

from fleet import Rota
from manifests import job as plain_job
from statements import run
from test_receipts import Nodes
from waiting import wait_until

TAKES_S = 60


@pytest.fixture(scope="module")
def shared(shared_server, tmp_path_factory):
    rota = Rota(shared_server, tmp_path_factory.mktemp("bundles"))
    rota.db.execute("SELECT rota.route_of('noop', 5::smallint), rota.route_of('noop', 6::smallint)")
    yield rota
    rota.close()


class Bundled(Nodes):
    """The database as nodes that know bundles use it."""

    def incarnation(self, node="n1", knows=10):
        self.db.execute("INSERT INTO rota.node (name) VALUES (%s) ON CONFLICT DO NOTHING", (node,))
        return self.value("INSERT INTO rota.incarnation (node, state, lease_until, version, host, pid, knows) VALUES "
                          "(%s, 'running', now() + interval '1 hour', '1', 'host', 1, %s) RETURNING id", node, knows)

    def queue(self, count, job="plain", run_at="now() - interval '1 minute'"):
        return self.value(f"SELECT rota.enqueue_many('{job}', ARRAY(SELECT jsonb_build_object('i', i) "
                          f"FROM generate_series(1, {count}) i), run_at => {run_at})")

    def bundles(self):
        """[(runs left, runs at first)]"""
        return self.rota.rows("SELECT size - taken, size FROM rota.bundle ORDER BY first_id")

    def places(self):
        found = super().places()
        for (run_id,) in self.rota.rows("SELECT o.id FROM rota.bundle b CROSS JOIN LATERAL rota.bundle_rest(b) o"):
            found.setdefault(run_id, []).append("pending")
        return found

    def data(self):
        """{id: i} of all claimed runs, as the receipts have them."""
        return dict(self.rota.rows("SELECT o.id, (o.data ->> 'i')::int FROM rota.receipt r CROSS JOIN LATERAL rota.receipt_runs(r) o"))


@pytest.fixture
def nodes(shared):
    yield Bundled(shared)
    shared.db.execute("TRUNCATE rota.job, rota.trigger, rota.trigger_due, rota.pending, rota.bundle, rota.receipt, "
                      "rota.incarnation, rota.task_history, rota.run_extra, rota.unique_key, rota.cancel_request CASCADE")


def other(nodes):
    return psycopg.connect(nodes.rota.url)


# --- what goes into bundles ---

def test_what_is_queued_in_bulk_waits_in_bundles(nodes):
    ids = nodes.queue(250)
    assert nodes.bundles() == [(100, 100), (100, 100), (50, 50)]
    assert nodes.value("SELECT count(*) FROM rota.pending") == 0
    assert nodes.places() == {run_id: ["pending"] for run_id in ids}


@pytest.mark.parametrize("arguments", [
    "count => 9", "expires_in => '1 hour'", "keys => ARRAY(SELECT i::text FROM generate_series(1, 20) i)"])
def test_few_runs_and_those_with_something_of_their_own_wait_one_by_one(nodes, arguments):
    count = 9 if arguments == "count => 9" else 20
    more = "" if arguments == "count => 9" else ", " + arguments
    nodes.value(f"SELECT rota.enqueue_many('plain', ARRAY(SELECT '{{}}'::jsonb FROM generate_series(1, {count})){more})")
    assert nodes.bundles() == [] and nodes.value("SELECT count(*) FROM rota.pending") == count


@pytest.mark.parametrize("columns", [
    {"lane_limit": 1}, {"rate_limit": 1, "rate_per_ms": 1000, "rate_burst": 1}, {"max_pending": 1000},
    {"requests_recovery": False}, {"persist_data": True}], ids=lambda columns: next(iter(columns)))
def test_runs_of_a_job_that_needs_to_know_each_wait_one_by_one(nodes, columns):
    nodes.job("other", **columns)
    nodes.queue(20, job="other")
    assert nodes.bundles() == [] and nodes.value("SELECT count(*) FROM rota.pending") == 20


def test_runs_that_are_retried_are_recovered_and_bundled(nodes):
    nodes.job("other", requests_recovery=False, max_attempts=3)
    nodes.queue(20, job="other")
    assert nodes.bundles() == [(20, 20)]


# --- claims ---

def test_a_claim_takes_a_part_of_a_bundle_and_the_next_the_rest(nodes):
    ids = nodes.queue(100)
    first = nodes.claim(nodes.incarnation(), room=30)
    assert sorted(row[2] for row in first) == ids[:30] and nodes.bundles() == [(70, 100)]
    assert nodes.data() == {run_id: i for i, run_id in enumerate(ids[:30], 1)}
    second = nodes.claim(nodes.incarnation("n2"), room=300)
    assert sorted(row[2] for row in second) == ids[30:] and nodes.bundles() == []
    assert nodes.data() == {run_id: i for i, run_id in enumerate(ids, 1)}


@pytest.mark.parametrize("room", [1, 7, 99, 100, 101, 250, 300])
def test_no_more_is_claimed_than_there_is_room_for(nodes, room):
    ids = nodes.queue(300) + nodes.pending(count=50)
    claimed = nodes.claim(nodes.incarnation(), room=room)
    assert 0 < len(claimed) <= room
    while claimed:
        claimed = nodes.claim(nodes.incarnation(), room=room)
        assert len(claimed) <= room
    assert nodes.places() == {run_id: ["claimed"] for run_id in ids}


def test_what_is_due_later_or_of_another_route_is_left_alone(nodes):
    later = nodes.queue(100, run_at="now() + interval '1 hour'")
    mine = nodes.queue(100)
    assert nodes.claim(nodes.incarnation(), routes=(2,), priorities=(6,)) == []
    assert sorted(row[2] for row in nodes.claim(nodes.incarnation(), room=300)) == mine
    assert nodes.bundles() == [(100, 100)] and {nodes.places()[run_id][0] for run_id in later} == {"pending"}


def test_two_who_claim_at_once_take_different_bundles_and_wait_for_nobody(nodes):
    ids = nodes.queue(200)
    with other(nodes) as db:
        db.execute("SET lock_timeout = '5s'")
        first = nodes.claim(nodes.incarnation(), room=50, db=db)
        second = nodes.claim(nodes.incarnation("n2"), room=200)
    taken = [row[2] for row in first + second]
    assert len(first) == 50 and len(second) == 100 and len(set(taken)) == 150 and set(taken) < set(ids)
    assert all(len(where) == 1 for where in nodes.places().values())


def test_a_claim_that_is_not_committed_leaves_its_bundles(nodes):
    ids = nodes.queue(150)
    with other(nodes) as db:
        nodes.claim(nodes.incarnation(), room=120, db=db)
        db.rollback()
    assert nodes.places() == {run_id: ["pending"] for run_id in ids} and nodes.bundles() == [(100, 100), (50, 50)]


def test_what_waits_longer_goes_first_bundled_or_not(nodes):
    early = nodes.pending(count=5, due="now() - interval '3 minutes'")
    middle = nodes.queue(10, run_at="now() - interval '2 minutes'")
    late = nodes.pending(count=5, due="now() - interval '1 minute'")
    order = []
    for _ in range(4):
        order.append(sorted(row[2] for row in nodes.claim(nodes.incarnation(), room=5)))
    assert order == [early, middle[:5], middle[5:], late]


def test_a_step_of_priority_is_worth_a_minute_to_a_bundle_too(nodes):
    waited_long = nodes.queue(20, run_at="now() - interval '70 seconds'")
    higher = nodes.value("SELECT rota.enqueue_many('plain', ARRAY(SELECT '{}'::jsonb FROM generate_series(1, 20)), "
                         "now() - interval '30 seconds', priority => 6)")
    order = [sorted(row[2] for row in nodes.claim(nodes.incarnation(), room=20, routes=(1, 2), priorities=(5, 6)))
             for _ in range(2)]
    assert order == [higher, waited_long]


def test_small_bundles_fill_a_claim_as_large_ones_do(nodes):
    for _ in range(30):
        nodes.queue(10)
    assert len(nodes.claim(nodes.incarnation(), room=250)) == 250


def test_small_bundles_of_high_priority_are_before_all_of_a_lower_one(nodes):
    low = nodes.pending(count=300, due="now() - interval '1 second'")
    high = [run_id for _ in range(20) for run_id in nodes.value(
        "SELECT rota.enqueue_many('plain', ARRAY(SELECT '{}'::jsonb FROM generate_series(1, 10)), now() - interval '1 second', "
        "priority => 6)")]
    claimed = nodes.claim(nodes.incarnation(), room=200, routes=(1, 2), priorities=(5, 6))
    assert sorted(row[2] for row in claimed) == high and set(low).isdisjoint(high)


# --- after a claim ---

def test_runs_out_of_a_bundle_end_once_each(nodes):
    ids = nodes.queue(100)
    incarnation = nodes.incarnation()
    claimed = nodes.claim(incarnation)
    assert nodes.complete(incarnation, claimed[:40]) == 40 and nodes.complete(incarnation, claimed[:60]) == 20
    assert nodes.complete(incarnation, claimed) == 40 and nodes.complete(incarnation, claimed) == 0
    assert nodes.places() == {run_id: ["history"] for run_id in ids}


def test_runs_out_of_a_bundle_are_put_back_as_they_were(nodes):
    ids = nodes.queue(100)
    incarnation = nodes.incarnation()
    claimed = nodes.claim(incarnation, room=50)
    assert nodes.put_back(incarnation, claimed[:20]) == 20
    assert nodes.bundles() == [(50, 100)]
    row = nodes.pending_row(claimed[7][2])
    assert (row["attempt"], row["crashes"], row["recovering"], row["extra"]) == (1, 0, False, False)
    assert row["data"] == {"i": ids.index(claimed[7][2]) + 1} and row["scheduled_at"] == row["due"]
    assert nodes.places() == {**{run_id: ["pending"] for run_id in ids}, **{row[2]: ["claimed"] for row in claimed[20:]}}


def test_runs_out_of_a_bundle_survive_the_death_of_their_node(nodes):
    ids = nodes.queue(250)
    incarnation = nodes.incarnation()
    claimed = nodes.claim(incarnation, room=220)
    nodes.complete(incarnation, claimed[:10])
    put_back = nodes.recover(incarnation)
    assert put_back[0][:2] == (210, 0)
    assert nodes.places() == {**{run_id: ["pending"] for run_id in ids}, **{row[2]: ["history"] for row in claimed[:10]}}


# --- what opens them ---

def answers(nodes, runs):
    return dict(nodes.rota.rows("SELECT run_id, answer FROM rota.cancel_many(%s)", runs))


def test_a_run_is_cancelled_out_of_its_bundle_and_the_others_wait_on(nodes):
    ids = nodes.queue(200)
    assert nodes.value("SELECT rota.cancel(%s)", ids[42]) == "cancelled"
    assert nodes.history_row(ids[42])["outcome"] == "cancelled"
    assert nodes.places() == {**{run_id: ["pending"] for run_id in ids}, ids[42]: ["history"]}
    assert nodes.bundles() == [(100, 100)]
    assert nodes.value("SELECT rota.cancel(%s)", ids[42]) == "finished"


def test_runs_that_were_taken_from_a_bundle_are_not_cancelled_in_it(nodes):
    ids = nodes.queue(100)
    nodes.claim(nodes.incarnation(), room=10)
    said = answers(nodes, ids[5:15])
    assert [said[run_id] for run_id in ids[5:15]] == ["requested"] * 5 + ["cancelled"] * 5
    assert len(nodes.places()) == 100 and all(len(where) == 1 for where in nodes.places().values())


@pytest.mark.parametrize("commits", [True, False])
def test_who_cancels_a_run_that_is_just_being_claimed_waits_for_the_claim(nodes, commits):
    ids = nodes.queue(100)
    with other(nodes) as db:
        nodes.claim(nodes.incarnation(), room=50, db=db)
        said = []
        asking = threading.Thread(target=lambda: said.append(Rota.value(Caller(nodes.rota), "SELECT rota.cancel(%s)", ids[10])))
        asking.start()
        wait_until(lambda: nodes.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
                                       "AND datname = current_database()") == 1, 10, "the request to wait")
        db.commit() if commits else db.rollback()
        asking.join(10)
    assert said == ["requested" if commits else "cancelled"]
    assert len(nodes.places()) == 100 and all(len(where) == 1 for where in nodes.places().values())


def test_a_pause_and_who_cancels_do_not_lock_each_other_out_of_bundles(nodes):
    ids = nodes.queue(200)
    nodes.claim(nodes.incarnation(), room=1)  # its row moves: the first by number is the last by place
    nodes.rota.db.execute("UPDATE rota.job SET paused = true")
    done, failed = [], []

    def ask(query, *parameters):
        try:
            done.append(Rota.value(Caller(nodes.rota), query, *parameters))
        except psycopg.Error as error:
            failed.append(error)

    def wait_for(waiting):
        wait_until(lambda: nodes.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
                                       "AND datname = current_database()") == waiting, 10, f"{waiting} to wait")

    with other(nodes) as db:
        db.execute("SELECT FROM rota.bundle WHERE taken = 1 FOR UPDATE")
        asking = [threading.Thread(target=ask, args=call) for call in (
            ("SELECT count(*) FROM rota.cancel_many(%s)", [ids[50], ids[150]]), ("SELECT rota.pause_settle(NULL, false)",))]
        for number, thread in enumerate(asking):
            thread.start()
            wait_for(number + 1)
        db.rollback()
        for thread in asking:
            thread.join(TAKES_S)
    assert not failed and len(done) == 2


class Caller(Rota):
    """Another session on the same database."""

    def __init__(self, rota):  # pylint: disable=super-init-not-called
        self.url, self._db = rota.url, None


def test_the_sweep_of_requests_passes_over_a_bundle_that_is_being_claimed(nodes):
    ids = nodes.queue(100)
    nodes.db.execute("INSERT INTO rota.cancel_request (run_id, reason) VALUES (%s, 'x')", (ids[60],))
    with other(nodes) as db:
        nodes.claim(nodes.incarnation(), room=50, db=db)
        nodes.db.execute("SET statement_timeout = '5s'")
        assert nodes.value("SELECT rota.cancel_sweep()") == 0
        db.rollback()
    assert nodes.value("SELECT rota.cancel_sweep()") == 1 and nodes.places()[ids[60]] == ["history"]


def test_a_bundle_is_held_whole_by_a_pause_and_let_go_whole(nodes):
    ids = nodes.queue(150)
    nodes.claim(nodes.incarnation(), room=20)
    job = nodes.value("SELECT id FROM rota.job")
    nodes.db.execute("UPDATE rota.job SET paused = true")
    nodes.value("SELECT rota.pause_settle(ARRAY[%s::int], false)", job)
    assert nodes.claim(nodes.incarnation("n2")) == []
    assert nodes.rota.rows("SELECT held, count(*) FROM rota.run WHERE state = 'pending' GROUP BY 1") == [("paused", 130)]
    more = nodes.queue(20)
    assert nodes.claim(nodes.incarnation("n2")) == []
    nodes.db.execute("UPDATE rota.job SET paused = false")
    nodes.value("SELECT rota.pause_settle(ARRAY[%s::int], false)", job)
    claimed = []
    while step := nodes.claim(nodes.incarnation("n3")):
        claimed += step
    assert sorted(row[2] for row in claimed) == ids[20:] + more


def test_bundles_that_a_pause_has_left_behind_are_let_go_by_the_sweep(nodes):
    ids = nodes.queue(150)
    nodes.db.execute("UPDATE rota.bundle SET held_due = due, due = 'infinity'")
    assert nodes.claim(nodes.incarnation()) == []
    assert nodes.value("SELECT rota.pause_sweep()") > 0
    assert sorted(row[2] for row in nodes.claim(nodes.incarnation(), room=300)) == ids


# --- nodes that know none ----

def test_no_bundle_is_made_while_a_node_is_there_that_knows_none(nodes):
    nodes.incarnation("old", knows=None)
    nodes.queue(50)
    assert nodes.bundles() == [] and nodes.value("SELECT count(*) FROM rota.pending") == 50
    nodes.db.execute("DELETE FROM rota.incarnation")
    nodes.queue(50)
    assert nodes.bundles() == [(50, 50)]


def test_a_node_that_knows_none_opens_them_as_it_comes(nodes):
    ids = nodes.queue(250)
    nodes.claim(nodes.incarnation(), room=30)
    old = nodes.incarnation("old", knows=None)
    assert nodes.bundles() == [] and nodes.value("SELECT count(*) FROM rota.pending") == 220
    assert all(len(where) == 1 for where in nodes.places().values()) and nodes.places().keys() == set(ids)
    assert nodes.recover(old) is not None


def test_what_was_being_claimed_as_it_came_is_opened_by_its_next_heartbeat(nodes):
    nodes.queue(250)
    with other(nodes) as db:
        nodes.claim(nodes.incarnation(), room=50, db=db)
        old = nodes.incarnation("old", knows=None)
        db.commit()
    assert nodes.bundles() == [(50, 100)]
    nodes.db.execute("UPDATE rota.incarnation SET renewed_at = clock_timestamp() WHERE id = %s", (old,))
    assert nodes.bundles() == [] and nodes.value("SELECT count(*) FROM rota.pending") == 200


# --- all at once ---

def test_whatever_is_done_to_them_at_once_each_run_ends_once(nodes):
    ids = nodes.queue(3000)
    job = nodes.value("SELECT id FROM rota.job")
    incarnations = [nodes.incarnation(f"n{i}") for i in range(3)]
    failures, done, stop = [], threading.Event(), threading.Event()

    def node(incarnation, seed):
        chance = random.Random(seed)
        mine = Bundled.__new__(Bundled)
        mine.rota = Caller(nodes.rota)
        mine.db = mine.rota.db
        while not stop.is_set():
            claimed = mine.claim(incarnation, room=chance.randint(1, 250))
            chance.shuffle(claimed)
            cut = chance.randint(0, len(claimed))
            for part, act in ((claimed[:cut], mine.complete), (claimed[cut:], mine.put_back)):
                if part:
                    act(incarnation, part)

    def disturb():
        chance = random.Random(7)
        with psycopg.connect(nodes.rota.url, autocommit=True) as db:
            while not stop.is_set():
                what = chance.randint(0, 3)
                if what == 0:
                    db.execute("SELECT rota.cancel_many(%s)", (chance.sample(ids, 5),))
                elif what == 1:
                    db.execute("UPDATE rota.job SET paused = NOT paused")
                    db.execute("SELECT rota.pause_settle(ARRAY[%s::int], false)", (job,))
                elif what == 2:
                    db.execute("SELECT rota.bundles_open_runs(%s, false)", (chance.sample(ids, 3),))
                else:
                    db.execute("SELECT rota.cancel_sweep(), rota.pause_sweep()")
            db.execute("UPDATE rota.job SET paused = false")
            db.execute("SELECT rota.pause_settle(NULL, false)")
        done.set()

    def guarded(call, *arguments):
        try:
            call(*arguments)
        except Exception as error:  # pylint: disable=broad-except
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(node, incarnation, i)) for i, incarnation in enumerate(incarnations)]
    threads.append(threading.Thread(target=guarded, args=(disturb,)))
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: failures or nodes.value("SELECT count(*) FROM rota.task_history") > 2500, 40, "most to be over")
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    assert failures == [] and done.is_set()
    while claimed := nodes.claim(incarnations[0], room=300):
        nodes.complete(incarnations[0], claimed)
    assert nodes.places() == {run_id: ["history"] for run_id in ids}


# --- with commands and nodes ---

def bulk(rota, count=250, **more):
    rota.apply(plain_job("a", **more))
    ids = rota.enqueue("a", "--count", str(count))
    assert rota.value("SELECT sum(size) FROM rota.bundle") == count
    return ids


def test_commands_show_runs_in_bundles_as_all_others(rota):
    ids = bulk(rota)
    shown = json.loads(rota.run("get", "runs", "--json").stdout)
    assert shown["total"] == 250 and shown["data"][0]["id"] == ids[0] and shown["data"][0]["state"] == "pending"
    assert f"run {ids[120]}" in rota.run("explain", str(ids[120])).stdout
    assert rota.value("SELECT count(*) FROM rota.bundle") == 3, "who looks opens nothing"


def test_what_waits_of_a_job_that_changes_changes_with_it(rota):
    ids = bulk(rota)
    rota.apply(plain_job("a", priority=77))
    assert rota.rows("SELECT o.priority, count(*) FROM rota.pending p JOIN rota.route o ON o.id = p.route GROUP BY 1") == [(77, 250)]
    rota.apply(plain_job("a", disallow_concurrent=True))
    assert rota.value("SELECT count(*) FROM rota.pending WHERE lane IS NOT NULL AND route < 0") == 250
    assert rota.value("SELECT count(*) FROM rota.run WHERE id = ANY (%s)", ids) == 250


@pytest.mark.parametrize("change", [
    {"handler": "exec", "data": {"command": ["true"]}}, {"rate": {"limit": 1, "per": "1s"}}, {"max_pending": 300}, {"requests_recovery": False},
    {"persist_data": True}], ids=lambda change: next(iter(change)))
def test_bundles_of_a_job_are_opened_by_what_makes_its_runs_differ(rota, change):
    bulk(rota)
    rota.apply(plain_job("a", **change))
    assert rota.value("SELECT count(*) FROM rota.bundle") == 0 and rota.value("SELECT count(*) FROM rota.pending") == 250


def test_the_end_of_a_job_is_the_end_of_what_waits_of_it(rota):
    ids = bulk(rota)
    rota.run("delete", "job", "a")
    assert rota.open_runs() == 0 and rota.value("SELECT count(*) FROM rota.bundle") == 0
    assert rota.rows("SELECT outcome, count(*) FROM rota.task_history WHERE id = ANY (%s) GROUP BY 1", ids) == [("cancelled", 250)]


def test_all_runs_of_a_job_are_cancelled(rota):
    bulk(rota)
    rota.run("cancel", "--job", "a")
    assert rota.open_runs() == 0
    assert rota.value("SELECT count(*) FROM rota.task_history WHERE outcome = 'cancelled'") == 250


def test_a_run_waits_for_one_in_a_bundle(rota):
    ids = bulk(rota)
    follower, = rota.enqueue("a", "--after", str(ids[200]))
    rota.node("n1")
    row = rota.wait_history(follower)
    assert row["status"] == "success" and row["fence"] > rota.history(ids[200])["fence"]


def test_who_waits_for_a_run_finds_it_in_its_bundle(nodes):
    ids = nodes.queue(100)
    nodes.claim(nodes.incarnation(), room=50)
    assert run(nodes.db, "run_look", ids[70])[0][0] == "pending" and run(nodes.db, "run_look", ids[20])[0][0] == "started"
    assert [nodes.value("SELECT rota.run_place(%s)", ids[i]) for i in (70, 20)] == ["pending", "claimed"]


def test_runs_of_a_job_are_listed_page_by_page_wherever_they_are(nodes):
    ids = nodes.queue(250) + nodes.pending(count=5)
    nodes.claim(nodes.incarnation(), room=120)
    found, after, until = [], 0, "NULL"
    while page := run(nodes.db, "run_of_job", "'plain'", after, until, 40)[0][1]:
        found += page
        after = page[-1]
    assert found == sorted(ids)


def test_nodes_run_each_run_of_a_bundle_once(rota, ledger):
    rota.start_nodes("n1", "n2", pools=ledger.pool(slots=4))
    rota.apply(plain_job("a", handler="ledger"))
    ids = rota.enqueue("a", "--count", "2000")
    wait_until(lambda: rota.open_runs() == 0, 30, "all to be over")
    assert sorted(entry.run for entry in ledger.entries()) == sorted(ids)
    assert {entry.node for entry in ledger.entries()} == {"n1", "n2"}
    assert rota.rows("SELECT count(*), count(DISTINCT id) FROM rota.task_history WHERE status = 'success'") == [(2000, 2000)]


def test_a_bundle_for_later_is_begun_when_it_is_due(rota):
    rota.node("n1")
    rota.apply(plain_job("a"))
    ids = rota.enqueue("a", "--count", "50", "--in", "2s")
    assert rota.value("SELECT count(*) FROM rota.bundle") == 1
    for run_id in ids:
        rota.wait_history(run_id)
    assert rota.value("SELECT count(*) FROM rota.task_history WHERE started_at < scheduled_at") == 0
