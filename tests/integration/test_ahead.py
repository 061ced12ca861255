"""Runs at hand: claimed beyond the free slots, so that the next one is there when a worker is done. None of them is
lost, begun twice or blamed, and nobody waits for what lies there."""

import collections

import signal
import threading
import time

import psycopg
import pytest

from ledger import instant_text
from manifests import job
from waiting import holds_for, wait_until

TAKES_S = 60

SETTINGS = {"lease": "4s", "heartbeat": "500ms"}
SLOTS = 2

HELD = "SELECT coalesce(sum(bit_count(open)), 0)::int FROM rota.receipt"


@pytest.fixture
def start(rota, ledger):
    def start(*names, slots=SLOTS, **settings):
        return rota.start_nodes(*names, pools=ledger.pool(slots=slots), **{**SETTINGS, **settings})

    return start


def queue(rota, count, sleep=0.002, name="short", **more):
    rota.apply(job(name, handler="ledger", data={"sleep": sleep}, **more), source=name)
    return rota.enqueue(name, "--count", str(count))


def wait_over(rota, limit=40):
    wait_until(lambda: rota.open_runs() == 0, limit, lambda: f"all to be over: {rota.open_work()}")


def wait_at_hand(rota, slots=SLOTS):
    """Until a node has more runs than slots, begun or just over: some are at hand. How many it has."""
    return wait_until(lambda: (lambda held: held if held > 2 * slots else None)(rota.value(HELD)), 15, "runs at hand")


class Most:
    """The most that a value was while the test went on."""

    def __init__(self, rota, query):
        self.rota, self.query, self.value, self.stopped = rota, query, 0, threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)

    def look(self):
        with psycopg.connect(self.rota.url, autocommit=True) as db:
            while not self.stopped.is_set():
                self.value = max(self.value, db.execute(self.query).fetchone()[0])

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.thread.join(10)


def test_short_runs_are_at_hand_and_run_once_each(rota, ledger, start):
    start("n1", "n2")
    ids = queue(rota, 3000)
    wait_at_hand(rota)
    wait_over(rota)
    assert sorted(entry.run for entry in ledger.entries()) == sorted(ids)
    assert rota.rows("SELECT DISTINCT attempt FROM rota.task_history") == [(1,)]


def test_long_runs_are_not_claimed_beyond_the_slots(rota, start):
    """All slots become free at once, and again: none is claimed that would only be handed back, as a row."""
    node, = start("n1", slots=8)
    queue(rota, 64, sleep=0.5)
    wait_over(rota)
    assert node.stop() == 0
    rows = "SELECT n_tup_ins FROM pg_stat_user_tables WHERE relid = 'rota.pending'::regclass"
    rota.db.execute("SELECT pg_stat_force_next_flush()")
    assert rota.value(rows) == 0


@pytest.mark.parametrize("more", [{"requests_recovery": False}, {"persist_data": True}], ids=["lost with its node", "persists data"])
def test_what_needs_its_slot_is_never_at_hand(rota, ledger, start, more):
    """Beside runs that are at hand, of the same route and older."""
    start("n1")
    rota.apply(job("other", handler="ledger", data={"sleep": 0.002}, **more), source="other")
    other = rota.value("SELECT id FROM rota.job WHERE name = 'other'")
    at_hand = queue(rota, 1000)
    with Most(rota, f"SELECT count(*) FROM rota.run WHERE state = 'started' AND job_id = {other}") as most:
        ids = rota.enqueue("other", "--count", "300")
        wait_over(rota)
    # those that are over and not written yet are no less in receipts
    begun = ledger.entries()
    assert sorted(entry.run for entry in begun) == sorted(at_hand + ids)
    assert most.value <= 12 * SLOTS


def test_a_run_that_was_never_begun_is_not_lost_with_its_node_and_not_blamed(rota, ledger, start):
    nodes = start("n1", "n2")
    ids = queue(rota, 4000, sleep=0.003)
    wait_at_hand(rota)
    nodes[0].kill()
    wait_over(rota)
    times = collections.Counter(entry.run for entry in ledger.entries())
    assert times.keys() == set(ids)
    twice = {run for run, count in times.items() if count > 1}
    assert rota.value("SELECT count(*) FROM rota.task_history WHERE status = 'success'") == 4000
    begun = {entry.run for entry in ledger.entries() if entry.node == "n1"}
    assert twice <= begun, "what was at hand was begun by nobody"


@pytest.mark.parametrize("how", ["stopped", "drained", "told to stand by"])
def test_a_node_that_begins_no_more_hands_back_what_it_has_at_hand(rota, ledger, start, how):
    nodes = start("n1", "n2")
    ids = queue(rota, 3000, sleep=0.003)
    wait_at_hand(rota)
    if how == "stopped":
        assert nodes[0].stop() == 0
    elif how == "drained":
        rota.run("drain", "n1")
        assert nodes[0].wait() == 0
    else:
        rota.run("standby", "n1")
    wait_over(rota)
    assert sorted(entry.run for entry in ledger.entries()) == sorted(ids)
    assert rota.rows("SELECT DISTINCT attempt, outcome FROM rota.task_history") == [(1, "success")]


def test_a_node_that_stood_still_begins_nothing_that_others_have_taken_from_its_hand(rota, ledger, start):
    nodes = start("n1", "n2", lease="2s", heartbeat="300ms")
    ids = queue(rota, 4000, sleep=0.003)
    wait_until(lambda: rota.value("SELECT coalesce(max(c), 0) FROM (SELECT sum(bit_count(r.open)) c FROM rota.receipt r JOIN "
                                  "rota.incarnation i ON i.id = r.incarnation WHERE i.node = 'n1' GROUP BY i.id) n") > 2 * SLOTS,
               15, "runs at hand")
    nodes[0].send(signal.SIGSTOP)
    nodes[1].wait_for_line("recovered a dead node", 25)
    taken = {row[0] for row in rota.rows("SELECT id FROM rota.task_history")}
    nodes[0].send(signal.SIGCONT)
    wait_over(rota)
    assert rota.rows("SELECT count(*), count(DISTINCT id) FROM rota.task_history WHERE status = 'success'") == [(4000, 4000)]
    times = collections.Counter(entry.run for entry in ledger.entries())
    assert times.keys() == set(ids) and len(taken) <= 4000
    assert sum(count - 1 for count in times.values()) <= 16 * SLOTS, "only what its workers had was begun twice"


def test_a_node_that_loses_its_connections_loses_nothing_at_hand(rota, ledger, start):
    start("n1")
    ids = queue(rota, 3000, sleep=0.003)
    for _ in range(5):
        wait_at_hand(rota)
        rota.db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
                        "AND pid <> pg_backend_pid()")
        before = ledger.count()
        wait_until(lambda: ledger.count() > before + 50 or ledger.count() == 3000, 20, "it to go on")
    wait_over(rota)
    assert sorted(entry.run for entry in ledger.entries()) == sorted(ids)
    assert rota.value("SELECT count(*) FROM rota.task_history") == 3000


def test_runs_that_are_paused_at_hand_go_back_and_begin_after_the_pause(rota, ledger, start):
    start("n1")
    ids = queue(rota, 2000, sleep=0.003)
    wait_at_hand(rota)
    rota.run("pause", "job", "short")
    wait_until(lambda: rota.value(HELD) == 0, 15, "the node to have none")
    before = ledger.count()
    assert 0 < before < 2000
    holds_for(lambda: ledger.count() == before, 1, "no run to begin")
    rota.run("resume", "job", "short")
    wait_over(rota)
    assert sorted(entry.run for entry in ledger.entries()) == sorted(ids)


def test_runs_that_are_cancelled_at_hand_are_not_begun(rota, ledger, start):
    start("n1")
    ids = queue(rota, 2000, sleep=0.003)
    wait_at_hand(rota)
    rota.run("cancel", "--job", "short")
    wait_over(rota)
    begun = {entry.run for entry in ledger.entries()}
    ended = dict(rota.rows("SELECT outcome, count(*) FROM rota.task_history GROUP BY 1"))
    assert sum(ended.values()) == 2000 == rota.value("SELECT count(DISTINCT id) FROM rota.task_history")
    over = {row[0] for row in rota.rows("SELECT id FROM rota.task_history WHERE outcome = 'success'")}
    assert over <= begun and begun <= set(ids) and ended["cancelled"] > 500


@pytest.mark.parametrize("change", ["deleted", "limited"])
def test_a_job_that_changes_while_its_runs_are_at_hand(rota, ledger, start, change):
    start("n1")
    ids = queue(rota, 2000, sleep=0.003)
    wait_at_hand(rota)
    if change == "deleted":
        rota.run("delete", "job", "short")
    else:
        rota.apply(job("short", handler="ledger", data={"sleep": 0.0001}, disallow_concurrent=True), source="short")
    wait_over(rota, 60)
    times = collections.Counter(entry.run for entry in ledger.entries())
    assert set(times.values()) == {1} and times.keys() <= set(ids)
    assert rota.value("SELECT count(DISTINCT id) FROM rota.task_history") == 2000
    assert rota.value("SELECT count(*) FROM rota.lane_slot") == 0 or change == "deleted"


def test_what_lies_at_hand_while_long_runs_have_the_slots_goes_to_others(rota, ledger, start):
    """Shorts at hand, then long ones of higher priority in all slots of the node: another takes the shorts."""
    start("n1")
    rota.apply(job("long", handler="ledger", data={"sleep": 6}, priority=90), source="long")
    queue(rota, 4000, sleep=0.002)
    wait_at_hand(rota)
    rota.enqueue("long", "--count", str(SLOTS))
    wait_until(lambda: rota.value("SELECT count(*) FROM rota.run r JOIN rota.job j ON j.id = r.job_id "
                                  "WHERE j.name = 'long' AND r.state = 'started'") == SLOTS, 10, "the long ones to be begun")
    wait_until(lambda: rota.value(HELD) <= SLOTS, 4, lambda: f"the others to go back, it has {rota.value(HELD)}")


def rank_latency(rota, name):
    return rota.value("SELECT extract(epoch FROM min(h.started_at - h.scheduled_at))::float FROM rota.task_history h "
                      "WHERE h.task = %s", name)


@pytest.mark.parametrize("lanes", [False, True], ids=["plain", "lanes"])
def test_a_trigger_that_ranks_higher_begins_before_the_rest_of_a_long_queue(rota, start, lanes):
    start("n1")
    rota.apply(job("urgent", {"name": "tick", "at": instant_text((int(time.time()) + 4) * 1000)}, handler="ledger",
                   priority=100, disallow_concurrent=lanes), source="urgent")
    queue(rota, 20000, sleep=0.003, priority=1)
    wait_at_hand(rota)
    wait_until(lambda: rota.value("SELECT count(*) FROM rota.task_history WHERE task = 'urgent'") == 1, 15, "the firing")
    waiting = rota.value("SELECT count(*) FROM rota.run")
    assert waiting > 1000, "the queue was still long"
    assert rank_latency(rota, "urgent") < 1


def test_a_run_that_ranks_higher_begins_before_the_rest_of_a_long_queue(rota, start):
    start("n1")
    rota.apply(job("urgent", handler="ledger", priority=100), source="urgent")
    queue(rota, 6000, sleep=0.003, priority=1)
    wait_at_hand(rota)
    run, = rota.enqueue("urgent")
    rota.wait_history(run)
    assert rota.value("SELECT count(*) FROM rota.run") > 1000
    assert rank_latency(rota, "urgent") < 1


def test_pools_with_handlers_of_their_own_have_each_their_runs_at_hand(rota, ledger):
    rota.node("n1", pools={**ledger.pool(slots=2, handler="left"), **ledger.pool(slots=2, handler="right")}, **SETTINGS)
    for name in "left", "right":
        rota.apply(job(name, handler=name, data={"sleep": 0.003}), source=name)
    ids = [run for name in ("left", "right", "left", "right") for run in rota.enqueue(name, "--count", "700")]
    wait_over(rota)
    assert sorted(entry.run for entry in ledger.entries()) == sorted(ids)


def statements(rota):
    return rota.value("SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()")


def test_a_queue_that_nothing_may_be_at_hand_of_is_not_asked_again_and_again(rota, ledger, start):
    """Other slots are free meanwhile: they do not look for what they cannot have."""
    rota.node("n1", pools={**ledger.pool(slots=2), **ledger.pool(slots=8, handler="idle")}, **SETTINGS)
    rota.apply(job("idle", handler="idle"), source="idle")
    rota.run("enqueue", "idle")
    ids = queue(rota, 400, sleep=0.02, requests_recovery=False)
    wait_until(lambda: ledger.count() > 50, 20, "it to run")
    begun, before, at = ledger.count(), statements(rota), time.monotonic()
    wait_until(lambda: ledger.count() > begun + 200, 20, "half of them")
    spent = time.monotonic() - at
    per_run = (statements(rota) - before) / (ledger.count() - begun)
    print(f"{per_run:.1f} transactions a run, {spent / 100 * 1000:.1f} ms for two")
    assert per_run < 8
    wait_over(rota)
    assert sorted(entry.run for entry in ledger.entries() if entry.run in set(ids)) == sorted(ids)
