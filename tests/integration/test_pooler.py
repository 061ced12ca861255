"""database_url goes through a real pgbouncer in transaction mode, with two backends for all: everything works as
it does directly; whatever becomes of the pooler, nothing is lost and nothing is doubled."""

import json
import os
import pathlib
import random
import re
import signal
import subprocess
import time

import psycopg
import pytest

import pgbouncer
from fleet import binary, environment
from hanging import commits_hang, hanging
from ledger import Ticks, assert_exactly_once
from waiting import holds_for, wait_for_clock, wait_until

TAKES_S = 115

pytestmark = pgbouncer.required()

FOUND = "a pooler is in the way"
DOCUMENT = pathlib.Path(__file__).resolve().parents[2] / "docs" / "operating.md"


@pytest.fixture(scope="module")
def server(pg_server):
    return pg_server


@pytest.fixture
def make_pooler(rota):
    made = []

    def make(**settings):
        made.append(pgbouncer.PgBouncer(rota.url, **settings))
        return made[-1]

    yield make
    for node in rota.nodes:
        node.clean_up()
    for each in made:
        each.close()


@pytest.fixture
def pooler(make_pooler):
    return make_pooler()


def through(rota, pooler, **more):
    """Settings of a node."""
    return {"database_url": pooler.url(rota), "session_database_url": rota.url, **more}


def fleet(rota, pooler, ledger, count=3, **more):
    return rota.start_nodes(*(f"n{i + 1}" for i in range(count)),
                            **through(rota, pooler, pools=ledger.pool(slots=32), **more))


def job(ticks, sleep=0.05, **more):
    return {"name": "job", "handler": "ledger", "data": {"sleep": sleep}, "requests_recovery": True, **more,
            "triggers": ticks.declared()}


def no_errors(rota):
    return [line for node in rota.nodes for line in node.lines(level="error")]


# ---- it works ----

def test_a_pooler_is_found_at_connect_and_commands_work_through_it(rota, pooler, ledger):
    url = pooler.url(rota)
    rota.apply({"name": "job", "handler": "ledger", "durable": True, "disallow_concurrent": True},
               {"name": "other", "handler": "ledger", "triggers": [{"name": "t", "cron": "0 0 3 1 1 ?"}]})
    manifest = rota.directory + "/more.json"
    with open(manifest, "w", encoding="utf-8") as file:
        json.dump({"source": "more", "jobs": [{"name": "third", "handler": "ledger", "durable": True}]}, file)
    [node] = fleet(rota, pooler, ledger, 1, manifests=manifest)
    assert node.lines(FOUND)[0]["found"] == "it takes no settings"
    assert sorted(line["connection"] for line in node.lines(FOUND)) == ["serve", "work"]

    def through_it(*arguments):
        return rota.run(*arguments, database_url=url).stdout

    for target in ("job", "third"):
        for run in through_it("enqueue", target, "--count", "5").split():
            assert rota.wait_history(int(run))["status"] == "success"
    through_it("apply", "-f", manifest)
    through_it("pause", "trigger", "t")
    through_it("resume", "trigger", "t")
    through_it("reschedule", "t", "--every", "1h")
    fired = int(re.search(r"\d+", through_it("fire", "t"))[0])
    rota.wait_history(fired)
    assert "t" in through_it("explain", "t")
    through_it("delete", "trigger", "t")
    for what in ("jobs", "triggers", "runs", "nodes", "history", "lanes", "locks"):
        json.loads(through_it("get", what, "--json"))
    through_it("drain", "n1", "--gone")
    assert node.wait() == 0 and not no_errors(rota)
    assert rota.open_runs() == 0


def test_a_pooler_that_ignores_settings_is_found_by_its_backend(rota, make_pooler, ledger):
    pooler = make_pooler(ignore_startup_parameters="options")
    [node] = fleet(rota, pooler, ledger, 1)
    assert "another backend" in node.lines(FOUND)[0]["found"]
    rota.apply({"name": "job", "handler": "ledger", "durable": True})
    [run] = [int(line) for line in rota.run("enqueue", "job", database_url=pooler.url(rota)).stdout.split()]
    assert rota.wait_history(run)["status"] == "success"


@pytest.mark.parametrize("pooler_is", ["transaction", "auto"])
def test_the_setting_says_what_is_there(rota, ledger, pooler_is):
    """To a server without a pooler: works as well, in the other way only where it is told to."""
    node = rota.node("n1", pools=ledger.pool(), pooler=pooler_is)
    rota.apply({"name": "job", "handler": "ledger", "durable": True})
    [run] = rota.enqueue("job")
    assert rota.wait_history(run)["status"] == "success"
    names = rota.rows("SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'rota work n1 %%'")
    assert [row[0].endswith(" pooled") for row in names] == [pooler_is == "transaction"]
    assert not node.lines(FOUND)
    assert "auto, transaction or none" in refusal(rota, "get", "jobs", pooler="sometimes")


def test_settings_hold_for_each_transaction_and_leave_nothing_behind(rota, make_pooler, ledger):
    """A claim that meets a lock that lasts is ended by the statement's time-out, though the session has none."""
    pooler = make_pooler(default_pool_size=1)
    url = pooler.url(rota)
    rota.apply({"name": "job", "handler": "ledger", "durable": True})
    with psycopg.connect(rota.url) as other:
        other.execute("LOCK TABLE rota.job IN ACCESS EXCLUSIVE MODE")
        began = time.monotonic()
        done = rota.run("enqueue", "job", database_url=url, check=False)
        assert done.returncode == 1 and "lock timeout" in done.stderr and time.monotonic() - began < 10
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as db:
        assert db.execute("SHOW lock_timeout").fetchone() == ("0",)
        assert "pg_catalog" != db.execute("SHOW search_path").fetchone()[0]
        assert db.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)
    rota.enqueue("job")


# ---- the session must be direct ----

def refusal(rota, *command, **settings):
    done = rota.run(*command, check=False, **settings)
    assert done.returncode == 1, done
    return done.stderr


def test_a_session_through_it_is_refused_with_what_would_be_right(rota, make_pooler):
    node, lock = ("node", "--http-listen", "none", "--name", "n1"), ("lock", "name", "--", "true")
    for settings in ({}, {"default_pool_size": 1}, {"ignore_startup_parameters": "options"}):
        pooler = make_pooler(**settings)
        url = pooler.url(rota)
        for command in (node, lock, ("migrate",)) if "default_pool_size" not in settings else (node,):
            assert re.search(r"database_url goes through a pooler that shares.*as session_database_url",
                             refusal(rota, *command, database_url=url)), command
        for command in (node, lock) if not settings else ():
            assert "session_database_url goes through a pooler" in refusal(rota, *command, session_database_url=url)
        pooler.close()


def test_a_pooler_of_sessions_is_refused_for_the_session_only_where_it_takes_no_settings(rota, make_pooler, ledger):
    pooler = make_pooler(pool_mode="session", default_pool_size=20)
    said = refusal(rota, "node", "--http-listen", "none", session_database_url=pooler.url(rota))
    assert "session_database_url goes through a pooler that refuses the settings" in said
    lenient = make_pooler(pool_mode="session", default_pool_size=20, ignore_startup_parameters="options")
    node = rota.node("n1", pools=ledger.pool(), database_url=lenient.url(rota))
    assert node.lines("which may cut it")
    rota.apply({"name": "job", "handler": "ledger", "durable": True})
    assert rota.wait_history(rota.enqueue("job")[0])["status"] == "success"


def test_the_doctor_tells_what_each_connection_goes_through(rota, pooler):
    def findings(code, **settings):
        done = rota.run("doctor", "--json", check=False, database_url=pooler.url(rota), **settings)
        assert done.returncode == code, done.stderr
        return {found["check"]: found for found in json.loads(done.stdout)["findings"]}

    with_direct = findings(0, session_database_url=rota.url)
    assert with_direct["session"]["level"] == "ok" and with_direct["pooler"]["level"] == "ok"
    assert "pooler of transactions" in with_direct["pooler"]["what"]
    without = findings(1)
    assert without["session"]["level"] == "bad" and without["session"]["right"].endswith("session_database_url")


# ---- whatever becomes of it ----

def kill_a_node(rota, nodes, rng):
    node = rng.choice(nodes)
    node.kill()
    node.start()


def restart_pooler(pooler):
    pooler.stop(signal.SIGKILL)
    pooler.start()


def end_backends(rota):
    rota.rows("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '%% pooled'")


def test_a_fleet_under_fire_fires_everything_once(rota, pooler, ledger):
    """Nodes are killed, the pooler too, and the backends behind it. What had begun when its node was killed may
    begin again, marked as recovering; nothing else may."""
    nodes = fleet(rota, pooler, ledger)
    seed = 20
    rng = random.Random(seed)
    ticks = Ticks("t", 60, 14)
    rota.apply(job(ticks, sleep=0.02))
    done = {"node": 0, "pooler": 0, "backends": 0}
    wait_for_clock(ticks.moment(0) + 1)
    while time.time() < ticks.until_all_fired() - 1:
        what = min(done, key=lambda each: (done[each], rng.random()))
        done[what] += 1
        if what == "node":
            kill_a_node(rota, nodes, rng)
        elif what == "pooler":
            restart_pooler(pooler)
        else:
            end_backends(rota)
        wait_for_clock(time.time() + rng.uniform(0.2, 0.8))
    rota.wait_idle(60)
    print(f"seed {seed}: {done}")
    assert min(done.values()) >= 3
    assert_nothing_lost(rota, ledger, ticks)


def assert_nothing_lost(rota, ledger, ticks):
    """Each occurrence has one run and one row of history, and begins again only where its node was killed."""
    rows = rota.rows("""SELECT trigger, round(extract(epoch FROM scheduled_at) * 1000)::bigint, count(*)
                          FROM rota.task_history GROUP BY 1, 2""")
    assert {(row[0], row[1]) for row in rows} == ticks.expected()
    assert {row[2] for row in rows} == {1}
    begun = {}
    for entry in ledger.entries():
        begun.setdefault((entry.trigger, entry.scheduled), []).append(entry)
    assert begun.keys() == ticks.expected()
    for entries in begun.values():
        assert len({entry.run for entry in entries}) == 1
        assert len({entry.fence for entry in entries}) == len(entries), f"one claim, begun twice: {entries}"
        assert all(entry.recovering for entry in entries[1:]), f"begun again without a death: {entries}"


@pytest.mark.parametrize("what", ["paused", "away", pytest.param("lifetime", marks=pytest.mark.full),
                                  pytest.param("impatient", marks=pytest.mark.full), "server restarts"])
def test_what_operators_do_to_a_pooler_loses_nothing(rota, make_pooler, ledger, server, what):
    pooler = make_pooler(**({"server_lifetime": 1} if what == "lifetime" else {}))
    nodes = fleet(rota, pooler, ledger)
    ticks = Ticks("t", 30, 8)
    rota.apply(job(ticks))
    wait_for_clock(ticks.moment(0) + 2)
    if what == "paused":
        pooler.tell("PAUSE")
        before = ledger.count()
        wait_for_clock(time.time() + 2.5)
        assert ledger.count() - before < 30 * 2 # what was claimed already
        pooler.tell("RESUME")
    elif what == "away":
        pooler.stop()
        wait_for_clock(time.time() + 3)
        pooler.start()
    elif what == "impatient":
        pooler.set(query_wait_timeout=1)
        pooler.tell("PAUSE")
        wait_until(lambda: all(node.lines("connection lost") for node in nodes), 10, "nodes to be turned away")
        pooler.tell("RESUME")
    elif what == "server restarts":
        server.stop(signal.SIGINT)
        server.start()
        rota.reconnect()
    rota.wait_idle(40)
    assert_exactly_once(ledger, ticks.expected())
    assert all(node.http("/readyz")[0] == 200 for node in nodes)
    assert [node.stop() for node in nodes] == [0, 0, 0]


@pytest.mark.full
def test_a_pooler_that_is_gone_for_20_s_loses_no_run_and_no_result(rota, pooler, ledger):
    nodes = fleet(rota, pooler, ledger)
    rota.apply({"name": "job", "handler": "ledger", "durable": True, "data": {"sleep": 4}})
    runs = set(rota.enqueue("job", "--count", "60"))
    wait_until(lambda: ledger.count() >= 60, 10, "all runs to begin")
    pooler.stop()
    wait_for_clock(time.time() + 20)
    pooler.start()
    rota.wait_idle(30)
    assert {entry.run for entry in ledger.entries()} == runs and ledger.count() == 60
    assert rota.rows("SELECT status, count(*) FROM rota.task_history GROUP BY 1") == [("success", 60)]
    assert not any(node.lines("recovered a dead node") for node in nodes)


def test_the_death_of_a_node_ends_no_backend_that_others_use(rota, make_pooler, ledger):
    """Its last backend has gone on to serve others, under its name while it is idle."""
    pooler = make_pooler(default_pool_size=1)
    nodes = fleet(rota, pooler, ledger, 2)
    rota.apply({"name": "job", "handler": "ledger", "durable": True, "data": {"sleep": 1}})
    rota.enqueue("job", "--count", "40")
    wait_until(lambda: rota.value("SELECT count(DISTINCT incarnation) FROM rota.receipt") == 2, 10, "both to have runs")
    pid = rota.rows("SELECT pid FROM pg_stat_activity WHERE application_name LIKE '%% pooled'")
    nodes[0].kill()
    wait_until(lambda: nodes[1].lines("recovered a dead node"), 20, "its runs to be taken")
    rota.wait_idle()
    assert not nodes[1].lines("connection lost")
    assert rota.rows("SELECT status, count(*) FROM rota.task_history GROUP BY 1") == [("success", 40)]
    print(f"backend before {pid}, after "
          f"{rota.rows('SELECT pid FROM pg_stat_activity WHERE application_name LIKE %s', '% pooled')}")


def test_a_claim_that_hangs_behind_it_is_ended_when_its_node_is_dead(rota, pooler, ledger, server):
    """While it is at work the backend is the dead node's own."""
    rota.db.execute("SET synchronous_commit = local")
    [first] = fleet(rota, pooler, ledger, 1)
    rota.apply({"name": "job", "handler": "ledger", "durable": True})
    runs = rota.enqueue("job", "--count", "3", "--in", "1500ms")
    with commits_hang(server):
        wait_until(lambda: hanging(rota, "COMMIT"), 10, "the claim to hang")
        pids = hanging(rota, "COMMIT")
        first.kill()
        second = rota.node("n2", pools=ledger.pool(), **through(rota, pooler))
        second.wait_for_line("recovered a dead node", limit=30)
        assert not pids & hanging(rota, "COMMIT")
    rota.wait_idle()
    assert sorted(entry.run for entry in ledger.entries()) == runs


def test_others_on_the_same_backends_are_not_disturbed(rota, make_pooler, ledger):
    """Neither by settings nor by statements that were prepared; and their sessions do not disturb us."""
    pooler = make_pooler(default_pool_size=1)
    fleet(rota, pooler, ledger, 1)
    rota.apply({"name": "job", "handler": "ledger", "durable": True})
    with psycopg.connect(pooler.url(rota), autocommit=True, prepare_threshold=None) as other:
        other.execute("SET search_path = nowhere")
        other.execute("SET default_transaction_isolation = 'serializable'")
        other.execute("SET timezone = 'Asia/Tokyo'")
        for _ in range(20):
            [run] = [int(line) for line in rota.run("enqueue", "job", database_url=pooler.url(rota)).stdout.split()]
            assert rota.wait_history(run)["status"] == "success"
            assert other.execute("SELECT 1").fetchone() == (1,)
    holds_for(lambda: not no_errors(rota), 0.5)


# ---- what is written about it ----

def block(language):
    [found] = re.findall(rf"^```{language}\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    return found


def test_the_example_of_the_documentation_does_what_it_says(rota, make_pooler):
    settings = dict(re.findall(r"^(\w+) = (.*)$", block("ini").split("[pgbouncer]\n")[1], re.MULTILINE))
    assert int(settings.pop("listen_port")) == pgbouncer.PORT and "pool_mode" in settings
    assert re.findall(r"^export (\w+)=", block("sh"), re.MULTILINE) == ["ROTA_DATABASE_URL", "ROTA_SESSION_DATABASE_URL"]
    settings = through(rota, make_pooler(**settings))
    path = f"{os.path.dirname(binary())}:{os.environ['PATH']}"
    for step in block("console pooler").removeprefix("$ ").split("\n$ "):
        command, written = step.split("\n", 1)
        done = subprocess.run(["/bin/sh", "-c", command], env=environment(**settings, PATH=path), text=True, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        assert done.stdout.strip() == written.strip(), command


def drain(rota, count, **settings):
    """Runs a second, from the first end to the last."""
    rota.db.execute("TRUNCATE rota.task_history")
    rota.enqueue("job", "--count", str(count))
    node = rota.node("n1", slots=256, **settings)
    rota.wait_idle(60)
    assert node.stop() == 0
    assert rota.value("SELECT count(*) FROM rota.task_history") == count
    return count / rota.value("SELECT extract(epoch FROM max(ended_at) - min(ended_at))::float8 FROM rota.task_history")


def test_how_fast_a_queue_is_drained_through_it_and_without(rota, pooler, capsys):
    """Printed, not asserted: machines differ."""
    rota.apply({"name": "job", "handler": "noop", "durable": True})
    speeds = [(drain(rota, 20000), drain(rota, 20000, **through(rota, pooler))) for _ in range(2)]
    with capsys.disabled():
        print()
        for direct, pooled in speeds:
            print(f"drained: {direct:.0f} runs a second, {pooled:.0f} through the pooler: {pooled / direct:.2f} of it")
