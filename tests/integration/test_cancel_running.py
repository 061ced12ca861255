"""Requests to cancel, of runs wherever they are: what was answered `cancelled` never runs, what was
answered `requested` is ended by the node that has it, and nothing of it is tried again."""

import concurrent.futures
import os
import signal
import sys
import time

import psycopg
import pytest

from waiting import holds_for, wait_until

FULL = os.environ.get("ROTA_TEST_FULL") == "1"
WORKER = os.path.join(os.path.dirname(__file__), "..", "lib", "cancel_worker.py")


def pool(heeds):
    return {"slow": {"command": [sys.executable, "-S", "-E", WORKER, "slow", "8", "heeds" if heeds else "ignores"]}}


def cancel(rota, run, reason="no more"):
    return rota.value("SELECT rota.cancel(%s, %s)", run, reason)


def requests(rota):
    return rota.value("SELECT count(*) FROM rota.cancel_request")


def wait_requests_gone(rota, limit=12):
    wait_until(lambda: requests(rota) == 0, limit, "requests to be gone")


def wait_started(rota, *runs):
    wait_until(lambda: rota.value("SELECT count(*) FROM rota.run WHERE id = ANY (%s) AND state = 'started'", list(runs))
               == len(runs), 10, lambda: rota.rows("SELECT id, state FROM rota.run"))


def assert_cancelled(rota, run, reason="no more", limit=15):
    entry = rota.wait_history(run, limit)
    # what its worker says of it in the end goes before the reason
    assert (entry["status"], entry["outcome"]) == ("failed", "cancelled")
    assert entry["details"]["message"] in (reason, "told to")
    return entry


def test_a_run_that_waits_is_cancelled_at_once_whatever_it_waits_for(rota):
    rota.apply({"name": "job", "handler": "noop", "durable": True}, {"name": "held", "handler": "noop", "durable": True},
               {"name": "lane", "handler": "exec", "data": {"command": ["/bin/sleep", "30"]}, "durable": True,
                "disallow_concurrent": True})
    rota.run("pause", "job", "held")
    queued, held = rota.enqueue("job")[0], rota.enqueue("held")[0]
    future = rota.value("SELECT rota.enqueue('job', run_at => now() + interval '1 hour')")
    after = rota.value("SELECT rota.enqueue('job', after => ARRAY[%s]::bigint[])", future)
    for run in (queued, held, after, future):
        assert cancel(rota, run) == "cancelled"
        assert_cancelled(rota, run)
        assert cancel(rota, run) == "finished"
    rota.node("n1", exec_allow='["*"]')
    holder, waits = rota.enqueue("lane", "--count", "2")
    wait_until(lambda: rota.rows("SELECT held FROM rota.run WHERE id = %s", waits) == [("lane",)], 10)
    assert cancel(rota, waits) == "cancelled"
    assert cancel(rota, holder) == "requested"
    assert_cancelled(rota, holder)
    assert cancel(rota, 123456789) == "not_found"
    wait_requests_gone(rota)


def test_a_running_program_is_ended_with_all_its_children_and_not_tried_again(rota):
    node = rota.node("n1", grace="10s", exec_allow='["*"]')
    script = "trap '' TERM; /bin/sleep 60 & /bin/sleep 61 & wait; /bin/sleep 62"
    rota.apply({"name": "soft", "handler": "exec", "data": {"command": ["/bin/sleep", "60"]}, "durable": True, "retry": {"max_attempts": 3, "backoff": "immediate"}},
               {"name": "hard", "handler": "exec", "data": {"command": ["/bin/sh", "-c", script]}, "durable": True, "retry": {"max_attempts": 3, "backoff": "immediate"}})
    soft, hard = rota.enqueue("soft") + rota.enqueue("hard")
    wait_started(rota, soft, hard)
    wait_until(lambda: len([p for p in node.workers() if p.command.startswith("/bin/sleep")]) == 3, 10)
    below = [p for p in node.workers() if "sleep" in p.command]
    began = time.monotonic()
    assert cancel(rota, soft) == cancel(rota, hard) == "requested"
    assert_cancelled(rota, soft)
    soft_took = time.monotonic() - began
    assert_cancelled(rota, hard)
    hard_took = time.monotonic() - began
    print(f"SIGTERM: {soft_took:.2f} s; SIGKILL: {hard_took:.2f} s")
    assert soft_took < 0.6 < hard_took < 6
    wait_until(lambda: not any(p.lives() for p in below), 5, "the whole tree to be gone")
    wait_requests_gone(rota)
    assert rota.history(soft)["attempt"] == rota.history(hard)["attempt"] == 1


@pytest.mark.parametrize("heeds", [True, False])
def test_a_worker_is_told_and_ended_when_it_does_not_heed_it(rota, heeds):
    rota.node("n1", pools=pool(heeds), grace="10s")
    rota.apply({"name": "job", "handler": "slow", "durable": True, "retry": {"max_attempts": 5, "backoff": "immediate"}})
    run = rota.enqueue("job", "--data", '{"sleep":60,"then":"fail"}')[0]
    wait_started(rota, run)
    began = time.monotonic()
    assert cancel(rota, run) == "requested"
    entry = assert_cancelled(rota, run)
    assert entry["attempt"] == 1
    assert time.monotonic() - began < (1.5 if heeds else 8)
    wait_requests_gone(rota)
    # the pool lives on
    assert rota.wait_history(rota.enqueue("job", "--data", '{"sleep":0,"then":"done"}')[0])["outcome"] == "success"


def test_a_run_that_succeeds_in_spite_of_it_is_a_success_and_the_request_goes(rota):
    rota.node("n1", pools=pool(True))
    rota.apply({"name": "job", "handler": "slow", "durable": True})
    run = rota.enqueue("job", "--data", '{"sleep":60,"then":"done"}')[0]
    wait_started(rota, run)
    assert cancel(rota, run) == "requested"
    assert rota.wait_history(run)["outcome"] == "success"
    wait_requests_gone(rota, 3)


def test_a_failure_that_asks_for_a_retry_is_none_after_a_cancel(rota):
    rota.node("n1", pools=pool(True))
    rota.apply({"name": "job", "handler": "slow", "durable": True, "retry": {"max_attempts": 5, "backoff": "immediate"}})
    for then in ("fail", "snooze", "die"):
        run = rota.enqueue("job", "--data", '{"sleep":60,"then":"%s"}' % then)[0]
        wait_started(rota, run)
        assert cancel(rota, run) == "requested"
        assert_cancelled(rota, run)


def test_a_request_heard_by_no_notification_comes_with_the_heartbeat(rota):
    rota.node("n1", notify="false", poll="5s", exec_allow='["*"]')
    rota.apply({"name": "job", "handler": "exec", "data": {"command": ["/bin/sleep", "60"]}, "durable": True})
    run = rota.enqueue("job")[0]
    wait_started(rota, run)
    assert cancel(rota, run) == "requested"
    assert_cancelled(rota, run, limit=6)


def test_a_run_that_comes_back_from_its_node_is_cancelled_where_it_waits(rota):
    """Its node dies with the request outstanding."""
    settings = {"lease": "3s", "restart_delay": "1s", "exec_allow": '["*"]'}
    first = rota.node("n1", **settings)
    rota.apply({"name": "job", "handler": "exec", "data": {"command": ["/bin/sleep", "60"]}, "durable": True,
                "requests_recovery": True})
    run = rota.enqueue("job")[0]
    wait_started(rota, run)
    os.kill(first.pid, signal.SIGSTOP)
    rota.node("n2", "--standby", ready=False, **settings)  # it recovers, but runs nothing
    assert cancel(rota, run) == "requested"
    first.kill(signal.SIGKILL)
    assert_cancelled(rota, run, limit=25)
    wait_requests_gone(rota)


def test_a_request_made_while_its_node_has_lost_the_database_is_obeyed_when_it_is_back(rota):
    rota.node("n1", exec_allow='["*"]')
    rota.apply({"name": "job", "handler": "exec", "data": {"command": ["/bin/sleep", "60"]}, "durable": True})
    run = rota.enqueue("job")[0]
    wait_started(rota, run)
    with rota.db.transaction():
        assert cancel(rota, run) == "requested"
        rota.db.execute("SELECT pg_terminate_backend(a.pid, 5000) FROM pg_stat_activity a "
                        "WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()")
    assert_cancelled(rota, run)
    wait_requests_gone(rota)


@pytest.mark.parametrize("claimers", [1, 3])
def test_at_the_moment_of_the_claim_each_is_cancelled_exactly_once_and_none_runs_after_the_answer(rota, ledger, claimers):
    rota.start_nodes(*[f"n{i}" for i in range(claimers)], pools=ledger.pool(slots=16))
    rota.apply({"name": "job", "handler": "ledger", "durable": True, "retry": {"max_attempts": 5, "backoff": "immediate"}})
    answers, count = {}, 600 if FULL else 200

    def ask(number):
        with psycopg.connect(rota.url, autocommit=True) as db:
            for _ in range(count // 4):
                run = db.execute("SELECT rota.enqueue('job', '{\"sleep\":20}')").fetchone()[0]
                if number % 2:
                    time.sleep(0.002)
                answers[run] = db.execute("SELECT rota.cancel(%s, 'no more')", [run]).fetchone()[0], time.time()

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        list(threads.map(ask, range(4)))
    for run in answers:
        assert_cancelled(rota, run, limit=30)
    kinds = [answer for answer, _ in answers.values()]
    print({kind: kinds.count(kind) for kind in set(kinds)})
    assert set(kinds) <= {"cancelled", "requested"}
    started = {entry.run for entry in ledger.entries()}
    assert not [run for run, (answer, _) in answers.items() if answer == "cancelled" and run in started]
    wait_requests_gone(rota)
    assert rota.open_runs() == 0


def test_at_the_moment_of_a_put_back_nothing_of_it_runs_again(rota):
    """Runs that snooze in a loop go back and forth between pending and the node."""
    rota.node("n1", pools=pool(True))
    rota.apply({"name": "job", "handler": "slow", "durable": True})
    runs = [rota.value("SELECT rota.enqueue('job', '{\"then\":\"again\"}')") for _ in range(200 if FULL else 60)]
    wait_until(lambda: rota.value("SELECT count(*) FROM rota.pending WHERE earlier IS NOT NULL") > 10, 10)
    answers = {}
    for run in runs:
        answers[run] = cancel(rota, run)
    for run in runs:
        assert_cancelled(rota, run)
    print({kind: list(answers.values()).count(kind) for kind in set(answers.values())})
    wait_requests_gone(rota)
    assert rota.value("SELECT count(*) = count(DISTINCT id) FROM rota.task_history")
    holds_for(lambda: rota.open_runs() == 0, 1)
