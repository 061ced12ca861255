"""Rates: in no span of time do more runs start than burst + rate * span, over the whole fleet, whatever
happens to it; and what waits for its rate is in nobody's way."""

import os
import signal
import time

import pytest

from ledger import instant_text
from rates import TICK_S, assert_within, claims, note_claims, set_rate
from waiting import holds_for, wait_for_clock, wait_until

FULL = os.environ.get("ROTA_TEST_FULL") == "1"


@pytest.fixture
def rated(rota):
    note_claims(rota)
    return rota


def finished(rota, job):
    return rota.value("SELECT count(*) FROM rota.task_history WHERE task = %s", job)


def wait_finished(rota, job, count, limit=60):
    wait_until(lambda: finished(rota, job) >= count, limit,
               lambda: f"{count} runs of {job}: {finished(rota, job)} {rota.open_work()}", pause=0.1)


def enqueue(rota, job, data, count=1, **more):
    """One transaction; `more`: parameters of rota.enqueue_many."""
    names = "".join(f", {name} => %s" for name in more)
    return rota.value(f"SELECT rota.enqueue_many(%s, array_fill(%s::jsonb, ARRAY[%s]){names})",
                      job, data, count, *more.values())


def granted(rota):
    return rota.value("SELECT count(*) FROM rota.pending WHERE bucket IS NOT NULL AND (held IS NULL OR held = 'L')")


def test_in_no_span_of_time_do_more_runs_start_than_the_rate_allows_whoever_dies(rated, ledger):
    rota = rated
    nodes = rota.start_nodes("n1", "n2", "n3", "n4", slots=8, pools=ledger.pool(slots=8), lease="4s", restart_delay="1s")
    rota.apply({"name": "job", "handler": "ledger", "durable": True, "requests_recovery": True})
    set_rate(rota, "job", 20, burst=6, key="/who")
    rota.db.execute("CREATE TABLE who (run_id bigint, name text)")
    count = 300 if FULL else 110
    for name in ("a", "b"):
        for part in range(2):
            ids = enqueue(rota, "job", f'{{"who":"{name}","sleep":0.05}}', count // 2)
            rota.db.execute("INSERT INTO who SELECT unnest(%s::bigint[]), %s", [ids, name])
    wait_finished(rota, "job", count // 2)
    nodes[0].kill(signal.SIGKILL)
    wait_finished(rota, "job", 2 * count)
    found = claims(rota, "job", "(SELECT w.name FROM who w WHERE w.run_id = c.run_id)")
    assert set(found) == {"a", "b"}
    for name, times in found.items():
        over = assert_within(times, 6, 20)
        took = times[-1] - times[0]
        print(f"key {name}: {len(times)} starts in {took:.2f} s, {over:.2f} beyond")
        assert took < 1.6 * (count - 6) / 20 + 3, "the rate is not only a limit: it is used"
    assert rota.value("SELECT count(DISTINCT id) FROM rota.task_history") == 2 * count


def test_starts_that_cannot_be_used_do_not_pile_up(rated, ledger):
    """All slots are taken for long: when they are free again there is one burst, not what a minute would give."""
    rota = rated
    rota.node("n1", pools=ledger.pool(slots=4))
    rota.apply({"name": "job", "handler": "ledger", "durable": True},
               {"name": "other", "handler": "ledger", "durable": True, "priority": 99})
    set_rate(rota, "job", 10, burst=3)
    enqueue(rota, "other", '{"sleep":3}', 4)
    wait_until(lambda: ledger.count() == 4, 10, "all slots to be taken")
    enqueue(rota, "job", '{}', 20)
    wait_until(lambda: granted(rota) == 3, 5, "a burst of starts")
    holds_for(lambda: granted(rota) <= 3, 2, "no more starts than the burst unused")
    wait_finished(rota, "job", 20)
    assert_within(claims(rota, "job")[None], 3, 10)
    # unused for a while, and nobody waits: the burst is there once, not twice
    enqueue(rota, "other", '{"sleep":2}', 4)
    wait_until(lambda: ledger.count() == 28, 10, "all slots to be taken again")
    began = time.time()
    wait_for_clock(began + 0.5)
    enqueue(rota, "job", '{}', 3)
    wait_until(lambda: granted(rota) == 3, 5, "a burst of starts")
    wait_finished(rota, "other", 8)
    enqueue(rota, "job", '{}', 10)
    wait_finished(rota, "job", 33)
    assert_within(claims(rota, "job")[None], 3, 10)


def test_a_burst_of_one_is_a_distance_and_is_kept_at_nearly_its_rate(rated):
    rota = rated
    rota.start_nodes("n1", "n2", slots=8)
    rota.apply({"name": "job", "handler": "noop", "durable": True})
    set_rate(rota, "job", 10)
    enqueue(rota, "job", '{}', 30)
    wait_finished(rota, "job", 30)
    times = claims(rota, "job")[None]
    assert_within(times, 1, 10)
    assert min(b - a for a, b in zip(times, times[1:])) > 0.1 - TICK_S
    print(f"30 starts of 10/s in {times[-1] - times[0]:.2f} s")
    assert times[-1] - times[0] < 2.9 * 1.4


def test_a_changed_rate_holds_at_once_and_none_lets_all_go(rated):
    rota = rated
    rota.node("n1", slots=8)
    rota.apply({"name": "job", "handler": "noop", "durable": True})
    set_rate(rota, "job", 1, per_s=3600, burst=2)
    enqueue(rota, "job", '{}', 60)
    wait_finished(rota, "job", 2)
    set_rate(rota, "job", 20, burst=2)
    wait_finished(rota, "job", 20, 10)
    assert_within(claims(rota, "job")[None], 2, 20)
    set_rate(rota, "job", None)
    wait_finished(rota, "job", 60, 5)
    assert rota.value("SELECT count(*) FROM rota.pending") == 0


def test_what_was_queued_before_there_was_a_rate_meets_it(rated):
    rota = rated
    rota.apply({"name": "job", "handler": "noop", "durable": True})
    enqueue(rota, "job", '{}', 30)
    set_rate(rota, "job", 20, burst=3)
    rota.node("n1", slots=8)
    wait_finished(rota, "job", 30)
    assert_within(claims(rota, "job")[None], 3, 20)


def test_a_pause_gives_no_starts_and_its_end_no_more_than_the_rate(rated):
    rota = rated
    rota.node("n1", slots=8)
    rota.apply({"name": "job", "handler": "noop", "durable": True})
    set_rate(rota, "job", 10, burst=3)
    rota.run("pause", "job", "job")
    enqueue(rota, "job", '{}', 15)
    holds_for(lambda: finished(rota, "job") == 0, 0.7)
    rota.run("resume", "job", "job")
    wait_finished(rota, "job", 5)
    rota.run("pause", "job", "job")
    enqueue(rota, "job", '{}', 10)
    rota.run("resume", "job", "job")
    wait_finished(rota, "job", 25)
    assert_within(claims(rota, "job")[None], 3, 10)


def test_within_a_bucket_priority_goes_first_and_then_who_is_due_first(rated, ledger):
    rota = rated
    rota.apply({"name": "job", "handler": "ledger", "durable": True})
    set_rate(rota, "job", 10)
    low = enqueue(rota, "job", '{}', 4, priority=5)
    high = enqueue(rota, "job", '{}', 4, priority=50)
    rota.node("n1", pools=ledger.pool(slots=8))
    wait_finished(rota, "job", 8)
    assert [entry.run for entry in ledger.entries()] == high + low


def test_triggers_of_a_job_with_a_rate_fire_and_their_runs_wait_for_it(rated, ledger):
    rota = rated
    start = (int(time.time()) + 2) * 1000
    rota.apply({"name": "job", "handler": "ledger", "triggers": [
        {"name": f"t{i}", "every": "1s", "start_at": instant_text(start), "end_at": instant_text(start + 1000)}
        for i in range(10)]})
    set_rate(rota, "job", 5, burst=2)
    rota.node("n1", pools=ledger.pool(slots=32))
    wait_finished(rota, "job", 20)
    assert_within(claims(rota, "job")[None], 2, 5)
    assert rota.value("SELECT sum(fired) FROM rota.trigger_due") == 20
    assert rota.value("SELECT sum(missed + misfired) FROM rota.trigger_due") == 0
    assert ledger.occurrences() == {(f"t{i}", start + ms): 1 for i in range(10) for ms in (0, 1000)}


def test_a_lane_and_a_rate_hold_both(rated, ledger):
    rota = rated
    rota.apply({"name": "job", "handler": "ledger", "durable": True, "disallow_concurrent": True})
    set_rate(rota, "job", 10, burst=4)
    rota.node("n1", pools=ledger.pool(slots=8))
    enqueue(rota, "job", '{"sleep":0.05}', 12)
    wait_finished(rota, "job", 12)
    assert_within(claims(rota, "job")[None], 4, 10)
    times = sorted(entry.clock for entry in ledger.entries())
    assert min(b - a for a, b in zip(times, times[1:])) > 0.045


@pytest.mark.parametrize("buckets, waiting", [(1, 10000), (1000, 3000)])
def test_what_waits_for_its_rate_is_in_nobodys_way(rota, buckets, waiting):
    rota.apply({"name": "job", "handler": "noop", "durable": True}, {"name": "plain", "handler": "noop", "durable": True})
    rota.node("n1", slots=32)

    def drain():
        before, began = finished(rota, "plain"), time.monotonic()
        enqueue(rota, "plain", '{}', 3000)
        wait_finished(rota, "plain", before + 3000)
        return time.monotonic() - began

    drain()
    alone = min(drain(), drain())
    set_rate(rota, "job", 1, per_s=10, burst=1, key="/who")
    rota.db.execute("SELECT rota.enqueue_many('job', (SELECT array_agg(jsonb_build_object('who', g %% %s)) "
                    "FROM generate_series(1, %s) g))", [buckets, waiting])
    wait_until(lambda: finished(rota, "job") >= min(buckets, 900), 30, lambda: finished(rota, "job"))
    beside = min(drain(), drain())
    print(f"3,000 plain runs: {alone:.2f} s alone, {beside:.2f} s beside {waiting} that wait in {buckets} buckets")
    assert beside < 2 * alone + 0.5
    assert rota.value("SELECT count(*) FROM rota.pending WHERE held = 'R'") > 0


def test_events_of_buckets_are_taken_up_when_the_node_that_knew_of_them_dies(rated):
    rota = rated
    first = rota.node("n1", slots=8, lease="4s", restart_delay="1s")
    rota.apply({"name": "job", "handler": "noop", "durable": True})
    set_rate(rota, "job", 2, burst=1)
    enqueue(rota, "job", '{}', 8)
    wait_finished(rota, "job", 2)
    rota.node("n2", slots=8, lease="4s", restart_delay="1s")
    first.kill(signal.SIGKILL)
    wait_finished(rota, "job", 8, 15)
    assert_within(claims(rota, "job")[None], 1, 2)


def test_an_event_that_was_lost_costs_seconds(rota):
    node = rota.node("n1", slots=8)
    rota.apply({"name": "job", "handler": "noop", "durable": True})
    set_rate(rota, "job", 1, per_s=3600, burst=1)
    enqueue(rota, "job", '{}', 2)
    wait_finished(rota, "job", 1)
    wait_until(lambda: rota.value("SELECT count(*) FROM rota.rate_due") == 1, 5)
    rota.db.execute("DELETE FROM rota.rate_due")
    rota.db.execute("UPDATE rota.rate_bucket SET tokens = 1")
    wait_finished(rota, "job", 2, 15)
    assert node.lives()
