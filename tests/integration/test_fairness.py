"""Nobody keeps others from their turn: neither a key with a long queue the other keys of its job, nor high
priority the low one for ever."""

import time

import pytest

from waiting import wait_until


@pytest.mark.parametrize("queued", [20000])
def test_a_key_with_a_long_queue_does_not_delay_another_key(rota, ledger, queued):
    rota.apply({"name": "job", "handler": "ledger", "durable": True, "concurrency": {"limit": 2, "key": "/who"}})
    rota.node("n1", pools=ledger.pool(slots=16))
    rota.db.execute("SELECT rota.enqueue_many('job', array_fill('{\"who\":\"much\",\"sleep\":0.02}'::jsonb, ARRAY[%s]))", [queued])
    few = rota.value("SELECT rota.enqueue_many('job', array_fill('{\"who\":\"few\",\"sleep\":0.02}'::jsonb, ARRAY[10]))")
    at = time.time()
    wait_until(lambda: set(few) <= {entry.run for entry in ledger.entries()}, 60, lambda: f"{ledger.count()} runs", pause=0.1)
    started = {entry.run: entry.clock for entry in ledger.entries()}
    worst = max(started[run] - at for run in few)
    print(f"{queued} runs of another key queued before: the last of ten began after {worst:.2f} s")
    assert worst < 2


def test_a_minute_of_waiting_makes_up_for_a_step_of_priority(rota, ledger):
    rota.apply({"name": "high", "handler": "ledger", "durable": True, "priority": 8},
               {"name": "low", "handler": "ledger", "durable": True, "priority": 5})
    high = rota.value("SELECT rota.enqueue_many('high', array_fill('{}'::jsonb, ARRAY[300]))")
    waited = rota.value("SELECT rota.enqueue('low', run_at => now() - interval '4 minutes')")
    fresh = rota.value("SELECT rota.enqueue('low', run_at => now() - interval '2 minutes')")
    rota.node("n1", pools=ledger.pool(slots=1))
    wait_until(lambda: ledger.count() == 302, 30, ledger.count)
    order = [entry.run for entry in ledger.entries()]
    assert order.index(waited) == 0, "four minutes are more than three steps"
    assert order.index(fresh) == 301, "two are not"
    assert set(order) == {*high, waited, fresh}
