"""PostgreSQL is restarted, is away, or drops connections: no node ends, nothing is lost, nothing is doubled."""

import collections
import os
import random
import signal
import time

import psycopg
import pytest

from ledger import Ticks, assert_exactly_once, instant_text, print_delays, show
from proxy import LossyProxy
from waiting import holds_for, wait_for_clock, wait_until

TAKES_S = 85

FULL = os.environ.get("ROTA_TEST_FULL") == "1"
TOLERANCE_MS = 5000  # misfire_tolerance


@pytest.fixture(scope="module")
def server(pg_server):
    return pg_server


def job(ticks, sleep=0.1):
    return {"name": "job", "handler": "ledger", "data": {"sleep": sleep}, "triggers": ticks.declared()}


def assert_fired_by_the_contract(rota, ledger, expected):
    """Each occurrence is fired once, but for those that were more than the tolerance late: of these one run
    of each trigger stands for the others and counts them as missed. Returns how many were passed over."""
    found = ledger.occurrences()
    twice = {key for key, times in found.items() if times > 1}
    assert not twice, f"{len(twice)} fired more than once: {show(twice)}"
    assert not found.keys() - expected, f"not expected: {show(found.keys() - expected)}"
    absent = collections.defaultdict(list)
    for name, moment in sorted(expected - found.keys()):
        absent[name].append(moment)
    rows = rota.rows("""SELECT trigger, round(extract(epoch FROM scheduled_at) * 1000)::bigint, missed,
                               extract(epoch FROM started_at) * 1000
                          FROM rota.task_history WHERE missed > 0 ORDER BY 1, 2""")
    assert len(rows) == len({row[0] for row in rows}), f"more than one run that stands for others: {rows}"
    for name, scheduled, missed, started in rows:
        stood_for = absent.pop(name, [])
        assert missed == len(stood_for) and all(moment < scheduled for moment in stood_for), (
            f"{name}: {missed} counted as missed at {instant_text(scheduled)}, {stood_for} not fired")
        for moment in stood_for + [scheduled]:
            assert started - moment > TOLERANCE_MS, f"{name} {instant_text(moment)} was not too late to be fired"
    assert not absent, f"lost: {show((name, moment) for name, moments in absent.items() for moment in moments)}"
    return sum(row[2] for row in rows)


@pytest.mark.parametrize("how, number, away", [
    ("fast", signal.SIGINT, 0), ("immediate, away for 6 s", signal.SIGQUIT, 6),
    pytest.param("immediate", signal.SIGQUIT, 0, marks=pytest.mark.full),
    pytest.param("fast, away for 20 s", signal.SIGINT, 20, marks=pytest.mark.full)])
def test_a_restart_of_postgres_under_load_loses_nothing_beyond_the_misfire_rule(rota, ledger, server, how, number,
                                                                               away):
    nodes = rota.start_nodes("n1", "n2", pools=ledger.pool(slots=48))
    incarnations = rota.rows("SELECT id FROM rota.incarnation ORDER BY id")
    ticks = Ticks("t", 100, 5 + away)
    rota.apply(job(ticks))
    wait_for_clock(ticks.moment(0) + 2.3)
    before = ledger.count()
    server.stop(number)
    down_at = time.time()
    wait_for_clock(down_at + away)
    server.start(wait=False)
    up_at = server.wait_ready()
    rota.reconnect()

    def first():
        later = [entry.clock for entry in ledger.entries() if entry.clock > up_at]
        return min(later) if later else None

    first_at = wait_until(first, 15, "the first firing after the restart")
    print(f"{how}: {before} firings before, away for {up_at - down_at:.2f} s, first firing {first_at - up_at:.3f} s "
          f"after it accepted connections")
    rota.wait_idle(ticks.until_all_fired() - time.time() + 30)
    passed_over = assert_fired_by_the_contract(rota, ledger, ticks.expected())
    print(f"{how}: {passed_over} of {len(ticks.expected())} passed over by the misfire rule")
    if away == 0 and first_at - down_at < TOLERANCE_MS / 1000 - 1:
        assert passed_over == 0
    if away > 0:
        assert passed_over > 0
    assert first_at - up_at < 3
    assert rota.rows("SELECT DISTINCT status FROM rota.task_history") == [("success",)]
    for node in nodes:
        assert node.lives() and node.http("/readyz")[0] == 200
        assert not node.lines("recovered a dead node")
    assert rota.rows("SELECT id FROM rota.incarnation ORDER BY id") == incarnations
    assert [node.stop() for node in nodes] == [0, 0]


TERMINATE = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND application_name LIKE %s"""


def terminate_until(rota, moment, rng):
    """Ends connections of the nodes again and again; every other time those that are at work right then.
    A session is left alone for a second, so that its node is never taken for dead. How often each kind was."""
    killed, sessions = collections.Counter(), {"n1": 0.0, "n2": 0.0}
    while time.time() < moment:
        node = rng.choice(["n1", "n2"])
        for name in sessions: # both in turn, so that the dice do not decide whether this run counts
            ended = len(rota.rows(TERMINATE, f"rota session {name} %")) if time.time() - sessions[name] > 1 else 0
            if ended > 0:
                sessions[name] = time.time()
                killed["session"] += ended
        if rng.random() < 0.5:
            killed["work"] += len(rota.rows(TERMINATE, f"rota work {node} %"))
        for _ in range(40):
            killed["work in the middle"] += len(rota.rows(TERMINATE + " AND state <> 'idle'", f"rota work {node} %"))
        wait_for_clock(time.time() + rng.uniform(0, 0.3))
    return killed


def assert_nothing_lost_or_doubled(rota, ledger, ticks):
    rota.wait_idle(40)
    assert_exactly_once(ledger, ticks.expected())
    assert rota.rows("SELECT status, count(*) FROM rota.task_history GROUP BY 1") == [
        ("success", len(ticks.expected()))]


def put_back(nodes):
    return sum(line["runs"] for node in nodes for line in node.lines("claims whose answer was lost"))


def test_backends_terminated_again_and_again_under_load_lose_and_double_nothing(rota, ledger):
    nodes = rota.start_nodes("n1", "n2", pools=ledger.pool(slots=48), heartbeat="500ms", lease="5s")
    incarnations = rota.rows("SELECT id, node FROM rota.incarnation ORDER BY id")
    ticks = Ticks("t", 200, 20 if FULL else 9, phases=100)
    rota.apply(job(ticks))
    seed = time.time_ns()
    wait_for_clock(ticks.moment(0))
    killed = terminate_until(rota, ticks.until_all_fired(), random.Random(seed))
    print(f"seed {seed}: terminated {dict(killed)}")
    assert min(killed.values()) > 5
    assert_nothing_lost_or_doubled(rota, ledger, ticks)
    print_delays(ledger.entries(), "firings")
    print(f"{put_back(nodes)} runs of claims whose answer was lost were put back")
    assert rota.rows("SELECT id, node FROM rota.incarnation ORDER BY id") == incarnations
    assert not [node.name for node in nodes if node.lines("declared dead")]
    assert [node.stop() for node in nodes] == [0, 0]


@pytest.fixture
def proxy(rota):
    lossy = LossyProxy(rota.url, loss=0.04, seed=time.time_ns())
    yield lossy
    lossy.close()


def test_answers_lost_after_the_commit_lose_and_double_nothing(rota, ledger, proxy):
    """The work connections are cut in the middle of each 25th request, half of them with the commit done:
    claims, firings, completions and what is put back all meet it."""
    nodes = rota.start_nodes("n1", "n2", pools=ledger.pool(slots=48), heartbeat="500ms", database_url=proxy.url,
                             session_database_url=rota.url)
    ticks = Ticks("t", 100, 20 if FULL else 8, phases=50)
    rota.apply(job(ticks))
    wait_for_clock(ticks.moment(0))
    proxy.armed = True
    wait_for_clock(ticks.until_all_fired())
    proxy.armed = False
    assert_nothing_lost_or_doubled(rota, ledger, ticks)
    print(f"cut: {proxy.cuts}; {put_back(nodes)} runs of claims whose answer was lost were put back")
    print_delays(ledger.entries(), "firings")
    assert min(proxy.cuts.values()) >= 5 and put_back(nodes) > 0
    assert not [line for node in nodes for line in node.lines(level="error")]
    assert [node.stop() for node in nodes] == [0, 0]


def test_a_session_cut_off_unseen_by_the_server_is_no_death(rota, ledger, proxy):
    """The old session still holds the node's lock when the new one asks for it."""
    other = rota.node("n2", pools=ledger.pool(handler="other"), heartbeat="200ms")
    wait_until(lambda: other.lines("leader of the housekeeping"), 5, "a leader that will look at n1")
    node = rota.node("n1", pools=ledger.pool(), session_database_url=proxy.url)
    incarnations = rota.rows("SELECT id, node FROM rota.incarnation ORDER BY id")
    rota.apply({"name": "job", "handler": "ledger", "data": {"sleep": 5}, "durable": True})
    run, = rota.enqueue("job")
    wait_until(lambda: ledger.count() == 1, 10, "the run to begin")
    for _ in range(2):
        lost = len(node.lines("database is back"))
        proxy.cut_off_clients()
        wait_until(lambda: len(node.lines("database is back")) > lost, 10, "the session to be back")
        holds_for(lambda: rota.rows("SELECT id, node FROM rota.incarnation ORDER BY id") == incarnations, 2,
                  "n1 to live")
    row = rota.wait_history(run)
    assert (row["status"], row["node"]) == ("success", "n1") and ledger.count() == 1
    assert not node.lines("declared dead") and not other.lines("recovered")
    assert [node.stop(), other.stop()] == [0, 0]


def test_a_claim_whose_answer_never_comes_is_put_back_whole(rota, ledger):
    """The commit happens, the connection dies before its answer: memory knows nothing of the receipt."""
    node = rota.node("n1", pools=ledger.pool(slots=8), heartbeat="200ms", lease="5s")
    rota.apply({"name": "job", "handler": "ledger", "durable": True})
    mine = rota.value("SELECT id FROM rota.incarnation")
    # what such a commit leaves behind, made by hand: two runs under a fence that the node never saw
    rota.db.execute("""INSERT INTO rota.receipt (incarnation, open, ids, routes, dues, job_ids, trigger_ids,
            scheduled_at, enqueued_at, attempts, crashes, missed, recovering, data, checkpoints, earlier)
        SELECT %s, B'11', ARRAY[nextval('rota.run_id'), nextval('rota.run_id')], array_fill(r.id, '{2}'),
               array_fill(now(), '{2}'), array_fill(j.id, '{2}'), array_fill(NULL::integer, '{2}'),
               array_fill(now(), '{2}'), array_fill(now(), '{2}'), array_fill(1::smallint, '{2}'),
               array_fill(0::smallint, '{2}'), array_fill(0, '{2}'), array_fill(false, '{2}'),
               array_fill(NULL::json, '{2}'), array_fill(NULL::json, '{2}'), array_fill(NULL::jsonb, '{2}')
          FROM rota.job j JOIN rota.route r ON r.handler = j.handler""", (mine,))
    wait_until(lambda: ledger.count() == 2, 10, lambda: f"both runs to be run: {rota.open_work()}")
    rota.wait_idle(10)
    assert sorted(entry.attempt for entry in ledger.entries()) == [1, 1]
    assert not any(entry.recovering for entry in ledger.entries())
    assert [line["runs"] for line in node.lines("claims whose answer was lost")] == [2]
    assert node.stop() == 0


def test_tables_locked_for_two_seconds_delays_and_loses_nothing(rota, ledger):
    nodes = rota.start_nodes("n1", "n2", pools=ledger.pool(slots=48))
    ticks = Ticks("t", 50, 4)
    rota.apply(job(ticks))
    wait_for_clock(ticks.moment(0) + 0.5)
    with psycopg.connect(rota.url) as other:
        other.execute("LOCK TABLE rota.trigger_due, rota.pending, rota.receipt, rota.task_history")
        wait_for_clock(time.time() + 2)
    assert_nothing_lost_or_doubled(rota, ledger, ticks)
    print_delays(ledger.entries(), "firings")
    assert not [line for node in nodes for line in node.lines("declared dead")]
    assert [node.stop() for node in nodes] == [0, 0]


def test_a_missing_partition_of_the_history_is_made(rota, ledger):
    node = rota.node("n1", pools=ledger.pool())
    rota.apply({"name": "job", "handler": "ledger", "durable": True})
    rota.wait_history(*rota.enqueue("job"))
    for partition, in rota.rows("SELECT inhrelid::regclass::text FROM pg_inherits "
                                "WHERE inhparent = 'rota.task_history'::regclass"):
        rota.db.execute(f"DROP TABLE {partition}")
    run, = rota.enqueue("job")
    assert rota.wait_history(run, 10)["status"] == "success"
    assert ledger.count() == 2 and node.stop() == 0


def test_results_are_kept_while_postgres_is_away_and_written_when_it_is_back(rota, ledger, server):
    node = rota.node("n1", pools=ledger.pool(slots=8))
    rota.apply({"name": "job", "handler": "ledger", "data": {"sleep": 1}, "durable": True})
    runs = rota.enqueue("job", "--count", "5")
    wait_until(lambda: ledger.count() == 5, 15, "five runs to begin")
    server.stop(signal.SIGINT)
    wait_for_clock(time.time() + 2, "their end while nobody can write it")
    assert node.http("/healthz")[0] == 200
    status, reason = node.http("/readyz")
    assert status == 503 and "database" in reason, reason
    server.start()
    rota.reconnect()
    for run in runs:
        assert rota.wait_history(run)["status"] == "success"
    assert ledger.count() == 5
    wait_until(lambda: node.http("/readyz")[0] == 200, 5, "the node to be ready again")
    assert node.stop() == 0


def test_sigterm_while_postgres_is_away_ends_within_the_grace(rota, ledger, server):
    node = rota.node("n1", pools=ledger.pool(slots=8), grace="3s")
    rota.apply({"name": "job", "handler": "ledger", "data": {"sleep": 1}, "durable": True})
    run, = rota.enqueue("job")
    wait_until(lambda: ledger.count() == 1, 15, "the run to begin")
    server.stop(signal.SIGINT)
    began = time.monotonic()
    try:
        node.stop(limit=10)
        assert time.monotonic() - began < 3.5
    finally:
        server.start()
    rota.reconnect()
    other = rota.node("n2", pools=ledger.pool(slots=8))
    row = rota.wait_history(run, 20)  # it was done, but nobody could write that: it is run again
    assert row["status"] == "success" and row["node"] == "n2"
    assert other.stop() == 0


def test_a_read_only_database_stops_nobody_for_good(rota, ledger):
    node = rota.node("n1", pools=ledger.pool(slots=8), lease="3s", heartbeat="500ms")
    rota.apply({"name": "job", "handler": "ledger", "durable": True})
    rota.wait_history(*rota.enqueue("job"))
    rota.db.execute(f"ALTER DATABASE {rota.name} SET default_transaction_read_only = on")
    rota.rows(TERMINATE, "rota % n1 %")
    rota.db.execute("""INSERT INTO rota.pending (route, due, job_id, scheduled_at)
        SELECT r.id, now(), j.id, now() FROM rota.job j JOIN rota.route r ON r.handler = j.handler""")
    rota.db.execute('NOTIFY "rota.wake"')  # this session is older than the change: it may write
    wait_until(lambda: "read-only" in node.text(), 10, "an attempt in vain")
    wait_until(lambda: "cannot be reached" in node.http("/readyz")[1], 10, "it to look for another server")
    assert node.lives() and ledger.count() == 1
    rota.db.execute(f"ALTER DATABASE {rota.name} RESET default_transaction_read_only")
    wait_until(lambda: ledger.count() == 2, 20, "the run")
    wait_until(lambda: node.http("/readyz")[0] == 200, 5, "the node to be ready again")
    assert node.stop() == 0


@pytest.mark.full
def test_everything_at_once_loses_nothing_and_repeats_only_what_asks_for_it(rota, ledger, server):
    """Nodes killed and stopped, connections ended, PostgreSQL restarted, for a minute, at random."""
    settings = {"pools": ledger.pool(slots=48), "lease": "3s", "heartbeat": "500ms"}
    nodes = rota.start_nodes("n1", "n2", "n3", **settings)
    asking, plain = Ticks("asking", 60, 60, phases=50), Ticks("plain", 60, 60, phases=50)
    for ticks, recovery in ((asking, True), (plain, False)):
        rota.apply({"name": ticks.prefix, "handler": "ledger", "data": {"sleep": 0.2}, "requests_recovery": recovery,
                    "triggers": ticks.declared(misfire_tolerance="1m")}, source=ticks.prefix)
    seed = time.time_ns()
    rng, done = random.Random(seed), collections.Counter()
    wait_for_clock(asking.moment(0) + 1)
    while time.time() < asking.moment(0.9):
        what = rng.choice(["kill", "stop", "terminate", "terminate", "restart", "drain"])
        done[what] += 1
        node = rng.choice(nodes)
        if what == "kill":
            node.kill()
            node.start()
        elif what == "drain":
            node.send(signal.SIGTERM)
            node.wait(30)
            node.start()
        elif what == "stop":
            node.send(signal.SIGSTOP)
            wait_for_clock(time.time() + rng.uniform(0.5, 6))
            node.send(signal.SIGCONT)
        elif what == "terminate":
            rota.rows(TERMINATE, f"rota % {node.name} %")
        else:
            server.stop(rng.choice([signal.SIGINT, signal.SIGQUIT]))
            server.start()
            rota.reconnect()
        node.ended_by_test = not node.lives()
        wait_for_clock(time.time() + rng.uniform(0, 2))
    print(f"seed {seed}: {dict(done)}")
    rota.wait_idle(60)
    entries = ledger.entries()
    found, runs = ledger.occurrences(), collections.defaultdict(list)
    for entry in entries:
        runs[entry.run].append(entry)
    for run, entries in runs.items():
        assert len({entry.trigger for entry in entries}) == 1
        assert all(entry.recovering for entry in entries[1:]), entries
        assert len(entries) == 1 or entries[0].trigger.startswith("asking"), entries
    history = {(row[0], row[1]): row[2:] for row in rota.rows(
        """SELECT trigger, round(extract(epoch FROM scheduled_at) * 1000)::bigint, status, outcome, missed
             FROM rota.task_history""")}
    assert len(history) == rota.value("SELECT count(*) FROM rota.task_history")
    expected = asking.expected() | plain.expected()
    passed_over = sum(row[2] for row in history.values())
    assert len(history) + passed_over == len(expected) and not found.keys() - expected
    lost = {key for key in asking.expected() & history.keys() if key not in found}
    assert not lost, show(lost)
    unknown = {key for key, row in history.items() if row[0] != "success"}
    assert all(key[0].startswith("plain") and history[key][0] == "unknown" for key in unknown), unknown
    assert plain.expected() & history.keys() - found.keys() <= unknown
    print(f"{len(history)} runs, {passed_over} passed over, {len(unknown)} unknown, "
          f"{sum(len(entries) - 1 for entries in runs.values())} run again")
    assert [node.stop() for node in nodes] == [0, 0, 0]


def test_a_claim_that_is_answered_after_its_node_was_declared_dead_begins_nothing(rota, ledger, proxy):
    """The node is back under a new incarnation and a new lease by then; its run is somebody else's."""
    settings = {"pools": ledger.pool(), "lease": "2s", "heartbeat": "500ms"}
    first = rota.node("n1", **settings, database_url=proxy.url, session_database_url=rota.url)
    rota.apply({"name": "long", "handler": "ledger", "data": {"sleep": 1}, "durable": True})
    rota.wait_history(rota.enqueue("long")[0])
    proxy.hold_answers()
    run, = rota.enqueue("long")
    wait_until(lambda: rota.rows("SELECT FROM rota.receipt"), 15, "the claim to commit")
    first.send(signal.SIGSTOP)
    second = rota.node("n2", **settings)
    second.wait_for_line("recovered a dead node")
    first.send(signal.SIGCONT)
    first.wait_for_line("node registered", count=2)
    proxy.release_answers()
    first.wait_for_line("a claim was answered after its node had been declared dead: others have its runs")
    assert rota.wait_history(run)["node"] == "n2"
    assert [(entry.node, entry.recovering) for entry in ledger.entries() if entry.run == run] == [("n2", True)]
    assert [node.stop() for node in (first, second)] == [0, 0]
