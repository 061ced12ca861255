"""The answer to a COMMIT is lost, or the COMMIT hangs while its node has a new connection already: whether it
happened is found out, nothing is lost, nothing is doubled, no run begins twice."""

import time

import psycopg
import pytest

from cutting_proxy import CuttingProxy
from hanging import commits_hang, hanging
from ledger import Ticks, assert_exactly_once
from waiting import holds_for, wait_for_clock, wait_until

TAKES_S = 110

HANG_S = 15
PUT_BACK = "claims whose answer was lost are put back"


@pytest.fixture(scope="module")
def server(pg_server):
    return pg_server


@pytest.fixture
def proxy(rota):
    made = CuttingProxy(rota.url)
    yield made
    for node in rota.nodes:
        node.clean_up()
    made.close()


@pytest.fixture
def rota(make_rota):
    """Its own connection never waits for a standby."""
    made = make_rota()
    made.db.execute("SET synchronous_commit = local")
    return made


def node(rota, proxy, ledger, name="n1", **more):
    """Its hot path goes through the proxy, its session does not."""
    return rota.node(name, database_url=proxy.url, session_database_url=rota.url, pools=ledger.pool(slots=8), **more)


def job(*triggers, sleep=0.05, **more):
    return {"name": "job", "handler": "ledger", "durable": True, "data": {"sleep": sleep}, "triggers": list(triggers), **more}


def assert_each_once(rota, ledger, runs):
    assert sorted(entry.run for entry in ledger.entries()) == sorted(runs), "not each begun once"
    rows = rota.rows("SELECT id, status FROM rota.task_history ORDER BY id")
    assert rows == [(run, "success") for run in sorted(runs)]
    assert rota.open_runs() == 0


# ---- one answer is lost, or one request ----

@pytest.mark.parametrize("heard", [True, False], ids=["done", "not done"])
@pytest.mark.parametrize("statement", ["run_claim", "lane_take", "run_complete"])
def test_one_lost_answer_of_queued_runs(rota, proxy, ledger, statement, heard):
    first = node(rota, proxy, ledger)
    rota.apply(job(sleep=0.5 if statement == "run_complete" else 0.05, disallow_concurrent=statement == "lane_take",
                   requests_recovery=False))
    runs = rota.enqueue("job") # so that everything is known and prepared
    rota.wait_idle()
    proxy.cut_at(statement + "\0", heard)
    runs += rota.enqueue("job", "--count", "5")
    wait_until(proxy.has_cut, 10, statement)
    rota.wait_idle(20)
    assert_each_once(rota, ledger, runs)
    assert bool(first.lines(PUT_BACK)) == (heard and statement != "run_complete")
    assert not first.lines("late completions refused") and not first.lines(level="error")


@pytest.mark.parametrize("heard", [True, False], ids=["done", "not done"])
@pytest.mark.parametrize("statement", [pytest.param("trigger_acquire", marks=pytest.mark.full), "trigger_fire"])
def test_one_lost_answer_of_firings(rota, proxy, ledger, statement, heard):
    node(rota, proxy, ledger)
    ticks = Ticks("t", 10, 6)
    rota.apply(job(*ticks.declared()))
    wait_for_clock(ticks.moment(0) + 1)
    for _ in range(3):
        proxy.cut_at(statement + "\0", heard)
        wait_until(proxy.has_cut, 10, statement)
        wait_for_clock(time.time() + 0.5)
    rota.wait_idle(30)
    assert_exactly_once(ledger, ticks.expected())


# ---- the COMMIT hangs, for longer than the node waits for its connection ----

def test_a_claim_that_hangs_in_commit_while_its_node_goes_on_begins_once(rota, proxy, ledger, server):
    first = node(rota, proxy, ledger)
    rota.apply(job(requests_recovery=False))
    runs = rota.enqueue("job", "--count", "5", "--in", "1500ms")
    with commits_hang(server):
        wait_until(lambda: hanging(rota, "asked AS"), 10, "the claim to hang")
        assert proxy.cut_all() > 0
        cut = time.time()
        first.wait_for_line("database connection lost")
        wait_until(lambda: first.http("/readyz")[0] == 200, 10, "the node to have a new connection")
        assert hanging(rota, "asked AS"), "the old backend has gone"
        holds_for(lambda: ledger.count() == 0 and first.lives(), cut + HANG_S - time.time(), pause=0.5)
        assert not first.lines(PUT_BACK)
    rota.wait_idle(20)
    assert first.lines(PUT_BACK)
    assert_each_once(rota, ledger, runs)


def test_firings_that_hang_in_commit_while_their_node_goes_on_begin_once(rota, proxy, ledger, server):
    first = node(rota, proxy, ledger)
    ticks = Ticks("t", 10, 3, lead=2, phases=1)
    rota.apply(job(*ticks.declared(), requests_recovery=False))
    with commits_hang(server):
        wait_until(lambda: hanging(rota, "trigger_due|COMMIT"), 10, "a firing to hang")
        proxy.cut_all()
        first.wait_for_line("database connection lost")
        wait_for_clock(time.time() + 4)
    rota.wait_idle(30)
    rows = rota.rows("""SELECT trigger, round(extract(epoch FROM scheduled_at) * 1000)::bigint, count(*), sum(missed)
                          FROM rota.task_history GROUP BY 1, 2""")
    assert {row[2] for row in rows} == {1}
    assert sum(row[3] for row in rows) + len(rows) == len(ticks.expected()), "an occurrence is neither fired nor counted"
    assert sorted(ledger.occurrences()) == sorted((row[0], row[1]) for row in rows)
    assert set(ledger.occurrences().values()) == {1}


def test_a_completion_that_hangs_in_commit_is_written_once_and_its_run_not_begun_again(rota, proxy, ledger, server):
    first = node(rota, proxy, ledger)
    rota.apply(job(sleep=1.5, requests_recovery=True))
    runs = rota.enqueue("job", "--count", "5")
    wait_until(lambda: ledger.count() == 5, 10, "all to begin")
    with commits_hang(server):
        wait_until(lambda: hanging(rota, "cleared AS"), 10, "the completion to hang")
        proxy.cut_all()
        cut = time.time()
        first.wait_for_line("database connection lost")
        wait_for_clock(cut + HANG_S)
        assert first.lives() and not first.lines(PUT_BACK)
    rota.wait_idle(30)
    assert_each_once(rota, ledger, runs)
    assert not first.lines("late completions refused") and not first.lines(level="error")


@pytest.mark.parametrize("laned", [False, True], ids=["plain", "lane"])
def test_the_claim_of_a_node_that_dies_while_it_hangs_in_commit_is_taken_over(rota, proxy, ledger, server, laned):
    """Recovery ends the backend that hangs: only then can it know what the claim has got."""
    first = node(rota, proxy, ledger)
    rota.apply(job(requests_recovery=True, disallow_concurrent=laned))
    runs = rota.enqueue("job", "--count", "3", "--in", "1500ms")
    with commits_hang(server):
        wait_until(lambda: hanging(rota, "asked AS|COMMIT|lane"), 10, "the claim to hang")
        pids = hanging(rota, "asked AS|COMMIT|lane")
        proxy.cut_all() # the server does not see its end
        first.kill()
        second = rota.node("n2", pools=ledger.pool(slots=8))
        second.wait_for_line("recovered a dead node", limit=30)
        assert not pids & hanging(rota, "asked AS|COMMIT|lane")
    rota.wait_idle(30)
    assert_each_once(rota, ledger, runs)


@pytest.mark.full
def test_commits_that_hang_for_longer_than_any_time_out_lose_nothing(rota, proxy, ledger, server):
    first = node(rota, proxy, ledger)
    rota.apply(job(sleep=2, requests_recovery=False))
    runs = rota.enqueue("job", "--count", "5")
    wait_until(lambda: ledger.count() == 5, 10, "all to begin")
    runs += rota.enqueue("job", "--count", "5", "--in", "2s")
    with commits_hang(server):
        wait_until(lambda: hanging(rota, "asked AS|cleared AS"), 10, "something to hang")
        wait_for_clock(time.time() + 75)
    rota.wait_idle(30)
    assert_each_once(rota, ledger, runs)
    assert not first.lines(level="error")


# ---- what a time-out ends ----

def test_a_completion_that_is_ended_by_a_time_out_is_written_later_with_all_its_details(rota, proxy, ledger):
    first = node(rota, proxy, ledger, exec_allow="/bin/*")
    rota.apply({"name": "job", "handler": "exec", "durable": True, "data": {"command": ["/bin/sh", "-c", "sleep 1; echo said"]}})
    runs = rota.enqueue("job", "--count", "3")
    wait_until(lambda: rota.value("SELECT coalesce(sum(bit_count(open)), 0) FROM rota.receipt") == 3, 10, "the claim")
    with psycopg.connect(rota.url) as holder:
        holder.execute("SELECT FROM rota.receipt FOR UPDATE")
        for _ in range(3): # as statement_timeout does
            wait_until(lambda: rota.rows("""SELECT pg_cancel_backend(pid) FROM pg_stat_activity
                                             WHERE wait_event_type = 'Lock' AND datname = current_database()
                                               AND application_name LIKE 'rota work %%'
                                               AND query ~ 'cleared AS'"""), 10, "a completion that waits")
            wait_for_clock(time.time() + 0.1)
    rota.wait_idle()
    for run in runs:
        assert "said" in rota.history(run)["raw"]
    assert not first.lines("cannot be written")


# ---- commands ----

@pytest.mark.parametrize("heard", [True, False], ids=["done", "not done"])
@pytest.mark.parametrize("command", ["enqueue", "fire"])
def test_an_enqueue_whose_answer_is_lost_says_that_it_may_be_done_or_not(rota, proxy, heard, command):
    rota.apply(job())
    proxy.cut_at({"enqueue": "run_enqueue\0", "fire": "COMMIT"}[command], heard)  # which has a row of the audit beside it
    done = rota.run(command, "job", check=False, database_url=proxy.url)
    assert done.returncode == 3 and done.stdout == ""
    assert "the run may be queued or not" in done.stderr and "rota get runs" in done.stderr
    wait_until(lambda: rota.value("SELECT count(*) FROM rota.pending") == heard, 5, "what was said")
    done = rota.run(command, "job", check=False, database_url="host=/nowhere")
    assert done.returncode == 3 and "may be queued" not in done.stderr
