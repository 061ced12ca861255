"""Runs that wait for others: they start when all they wait for is over, and never before; what cannot
succeed any more ends, and who waits for it in turn."""

import os
import signal
import threading
import time

import psycopg

from waiting import holds_for, wait_until

FAILS = '{"command":["/bin/false"]}'
FULL = os.environ.get("ROTA_TEST_FULL") == "1"


def enqueue(db, job, after=None, any_outcome=False, data="{}", **more):
    names = "".join(f", {name} => %s" for name in more)
    return db.execute(f"SELECT rota.enqueue(%s, %s::jsonb, after => %s, after_any => %s{names})",
                      [job, data, after, any_outcome, *more.values()]).fetchone()[0]


def chain(rota, job, length, first_data="{}", data="{}"):
    ids = [enqueue(rota.db, job, data=first_data)]
    with rota.db.transaction():
        for _ in range(length - 1):
            ids.append(enqueue(rota.db, job, [ids[-1]], data=data))
    return ids


def outcomes(rota, ids):
    return [row[0] for row in rota.rows("SELECT (SELECT h.outcome FROM rota.task_history h WHERE h.id = u.id) "
                                        "FROM unnest(%s::bigint[]) WITH ORDINALITY u(id, n) ORDER BY n", ids)]


def wait_over(rota, ids, limit=30):
    wait_until(lambda: None not in outcomes(rota, ids), limit,
               lambda: f"the end of all: {rota.rows('SELECT state, held, count(*) FROM rota.run GROUP BY 1, 2')}")


def assert_nothing_left(rota):
    wait_until(lambda: rota.value("SELECT (SELECT count(*) FROM rota.run_after) + (SELECT count(*) FROM rota.pending)") == 0, 10)


def test_a_chain_of_a_hundred_runs_in_its_order_and_without_delay(rota, ledger):
    rota.start_nodes("n1", "n2", pools=ledger.pool(slots=8))
    rota.apply({"name": "job", "handler": "ledger", "durable": True})
    began = time.monotonic()
    ids = chain(rota, "job", 100)
    wait_over(rota, ids)
    took = time.monotonic() - began
    print(f"a chain of 100: {took:.2f} s")
    assert outcomes(rota, ids) == ["success"] * 100
    assert [entry.run for entry in sorted(ledger.entries(), key=lambda entry: entry.clock)] == ids
    assert took < 12, "each step is woken by the end of the one before, not by a sweep"
    assert_nothing_left(rota)


def test_one_waits_for_five_hundred_and_starts_after_the_last(rota, ledger):
    rota.start_nodes("n1", "n2", pools=ledger.pool(slots=16))
    rota.apply({"name": "job", "handler": "ledger", "durable": True})
    with rota.db.transaction():
        needs = rota.value("SELECT rota.enqueue_many('job', array_fill('{\"sleep\":0.05}'::jsonb, ARRAY[500]))")
        last = enqueue(rota.db, "job", needs)
    wait_over(rota, needs + [last])
    ended = rota.value("SELECT max(ended_at) FROM rota.task_history WHERE id = ANY (%s)", needs)
    assert rota.history(last)["outcome"] == "success"
    assert rota.value("SELECT started_at >= %s FROM rota.task_history WHERE id = %s", ended, last)
    late = rota.value("SELECT extract(epoch FROM started_at - %s)::float8 FROM rota.task_history WHERE id = %s", ended, last)
    print(f"fan-in of 500: {late * 1000:.0f} ms after the last")
    assert late < 2
    assert_nothing_left(rota)


def test_a_failure_in_the_middle_ends_the_rest_at_once(rota):
    rota.node("n1", slots=8, exec_allow='["*"]')
    rota.apply({"name": "job", "handler": "exec", "data": {"command": ["/bin/true"]}, "durable": True})
    rota.run("pause", "job", "job")
    first = [enqueue(rota.db, "job")]
    first.append(enqueue(rota.db, "job", first[-1:], data=FAILS))
    rest = []
    for _ in range(60):
        rest.append(enqueue(rota.db, "job", (rest or first)[-1:]))
    whatever = enqueue(rota.db, "job", [rest[-1]], any_outcome=True)
    began = time.monotonic()
    rota.run("resume", "job", "job")
    wait_over(rota, first + rest + [whatever])
    assert outcomes(rota, first) == ["success", "failed"]
    assert outcomes(rota, rest) == ["cancelled"] * 60
    assert outcomes(rota, [whatever]) == ["success"]
    assert rota.history(rest[0])["details"]["message"] == "a run it waits for did not succeed"
    assert time.monotonic() - began < 8
    assert_nothing_left(rota)


def test_who_waits_for_any_outcome_runs_after_failures_cancels_and_retries(rota):
    rota.node("n1", slots=8, exec_allow='["*"]')
    rota.apply({"name": "job", "handler": "exec", "data": {"command": ["/bin/true"]}, "durable": True},
               {"name": "tries", "handler": "exec", "data": {"command": ["/bin/false"]}, "durable": True,
                "retry": {"max_attempts": 2, "backoff": "fixed", "initial": "300ms"}})
    waits = enqueue(rota.db, "job", run_at="2099-01-01")
    tries = enqueue(rota.db, "tries")
    after_any = enqueue(rota.db, "job", [waits, tries], any_outcome=True)
    after_success = enqueue(rota.db, "job", [tries])
    wait_over(rota, [tries, after_success])
    assert rota.history(tries)["attempt"] == 2
    assert outcomes(rota, [after_success, after_any]) == ["cancelled", None]
    assert rota.value("SELECT rota.cancel(%s)", waits) == "cancelled"
    wait_over(rota, [after_any], 5)
    assert outcomes(rota, [waits, after_any]) == ["cancelled", "success"]


def test_a_run_that_is_over_when_it_is_waited_for_holds_up_nobody(rota):
    rota.node("n1", slots=8, exec_allow='["*"]')
    rota.apply({"name": "job", "handler": "exec", "data": {"command": ["/bin/true"]}, "durable": True})
    good, bad = enqueue(rota.db, "job"), enqueue(rota.db, "job", data=FAILS)
    wait_over(rota, [good, bad])
    began = time.monotonic()
    ids = [enqueue(rota.db, "job", [good]), enqueue(rota.db, "job", [bad]), enqueue(rota.db, "job", [bad], any_outcome=True)]
    wait_over(rota, ids)
    assert outcomes(rota, ids) == ["success", "cancelled", "success"]
    assert time.monotonic() - began < 4


def test_needs_that_end_at_the_very_moment_of_the_enqueueing_are_seen(rota):
    """Each run is waited for by a transaction that began while it ran and commits when it may be over."""
    rota.node("n1", slots=32)
    rota.apply({"name": "job", "handler": "noop", "durable": True})
    ids, stop = [], time.monotonic() + (20 if FULL else 5)

    def race():
        with psycopg.connect(rota.url, autocommit=True) as db:
            while time.monotonic() < stop:
                first = enqueue(db, "job")
                with db.transaction():
                    second = enqueue(db, "job", [first])
                    db.execute("SELECT pg_sleep(random() * 0.01)")
                ids.extend((first, second))

    threads = [threading.Thread(target=race) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) > 200
    wait_over(rota, ids)
    assert set(outcomes(rota, ids)) == {"success"}
    assert_nothing_left(rota)


def test_nodes_that_die_between_an_end_and_what_follows_it_leave_nobody_waiting(rota, ledger):
    settings = {"pools": ledger.pool(slots=8), "lease": "4s", "restart_delay": "1s"}
    rota.start_nodes("n1", "n2", "n3", **settings)
    rota.apply({"name": "job", "handler": "ledger", "durable": True, "requests_recovery": True})
    chains = [chain(rota, "job", 25, data='{"sleep":0.02}') for _ in range(6)]
    done = lambda: rota.value("SELECT count(*) FROM rota.task_history")  # noqa: E731
    for number, share in enumerate((20, 60, 100)):
        wait_until(lambda: done() >= share, 60, done)
        rota.nodes[number].kill(signal.SIGKILL)
        rota.node(f"m{number}", **settings)
    ids = [run for one in chains for run in one]
    wait_over(rota, ids, 60)
    assert set(outcomes(rota, ids)) == {"success"}
    started = {entry.run: entry.clock for entry in sorted(ledger.entries(), key=lambda entry: -entry.clock)}
    for one in chains:
        assert sorted(one, key=started.get) == one
    assert_nothing_left(rota)


def test_history_that_is_dropped_before_it_was_looked_at_counts_as_no_success(rota):
    rota.apply({"name": "job", "handler": "noop", "durable": True})
    node = rota.node("n1", slots=8, exec_allow='["*"]')
    need = enqueue(rota.db, "job")
    wait_over(rota, [need])
    node.kill(signal.SIGKILL)
    strict, any_outcome = enqueue(rota.db, "job", [need]), enqueue(rota.db, "job", [need], any_outcome=True)
    rota.db.execute("DELETE FROM rota.task_history WHERE id = %s", [need])
    rota.node("n2", slots=8)
    wait_over(rota, [strict, any_outcome])
    assert outcomes(rota, [strict, any_outcome]) == ["cancelled", "success"]


def test_who_waits_is_released_to_its_pause_its_rate_and_its_time(rota):
    rota.node("n1", slots=8, exec_allow='["*"]')
    rota.apply({"name": "job", "handler": "noop", "durable": True}, {"name": "paused", "handler": "noop", "durable": True})
    first = enqueue(rota.db, "job", run_at="2099-01-01")
    paused, later = enqueue(rota.db, "paused", [first]), enqueue(rota.db, "job", [first], run_at="2099-01-01")
    rota.run("pause", "job", "paused")
    rota.db.execute("UPDATE rota.pending SET due = now() WHERE id = %s", [first])
    rota.db.execute("SELECT pg_notify('rota.wake', '')")
    wait_over(rota, [first])
    wait_until(lambda: rota.rows("SELECT held FROM rota.run WHERE id IN (%s, %s) ORDER BY id", paused, later) ==
               [("paused",), (None,)], 5)
    holds_for(lambda: outcomes(rota, [paused, later]) == [None, None], 0.5)
    rota.run("resume", "job", "paused")
    wait_over(rota, [paused])
