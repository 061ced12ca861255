"""Nobody keeps others from their turn: neither a key with a long queue the other keys of its job, nor high
priority the low one for ever."""

import time

import pytest

from waiting import holds_for, wait_until


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


def test_a_pool_of_a_built_in_handler_has_its_own_slots_and_leaves_the_others_to_the_rest(rota):
    node = rota.node("n1", slots=4, exec_allow='["*"]', pools={"reports": {"builtin": ["exec"], "slots": 2}})
    rota.apply({"name": "report", "handler": "exec", "data": {"command": ["/bin/sleep", "30"]}, "durable": True},
               {"name": "one-at-a-time", "handler": "exec", "data": {"command": ["/bin/true"]}, "durable": True,
                "disallow_concurrent": True},
               {"name": "quick", "handler": "noop", "durable": True})
    reports = rota.enqueue("report", "--count", "6")
    running = lambda: len([p for p in node.workers() if p.command.startswith("/bin/sleep")])  # noqa: E731
    wait_until(lambda: running() == 2, 10, running)
    began = time.monotonic()
    for run in rota.enqueue("quick", "--count", "50"):
        rota.wait_history(run)
    assert time.monotonic() - began < 5
    holds_for(lambda: running() == 2, 0.5)
    assert rota.value("SELECT count(*) FROM rota.run WHERE state = 'started'") == 2
    for run in reports:
        rota.value("SELECT rota.cancel(%s)", run)
    for run in reports:
        assert rota.wait_history(run)["outcome"] == "cancelled"
    assert rota.wait_history(rota.enqueue("one-at-a-time")[0])["outcome"] == "success"


def test_a_pool_of_an_unknown_built_in_handler_is_refused(rota):
    done = rota.run("node", "--name", "n1", check=False, pools={"reports": {"builtin": ["exce"], "slots": 2}})
    assert done.returncode == 1 and "builtin lists handlers of the built-in worker" in done.stderr, done.stderr
