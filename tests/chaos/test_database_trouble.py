"""A database that is there and of no use: its disk is full, it takes no writes, it refuses connections. Nodes
neither end nor spin, say what is wrong, keep what has finished within bounds, and go on when it is well again."""

import contextlib
import json
import os
import signal
import time

import psycopg
import pytest

import small_disk
from fleet import Rota
from ledger import instant_text
from marks import boot_time
from postgres import PrivateServer
from processes import cpu_seconds, memory_kib
from waiting import wait_for_clock, wait_until

TAKES_S = 60

SANITIZED = os.environ.get("ROTA_TEST_SANITIZED") == "1"
RESULTS_MAX = 20000  # NODE_RESULTS_MAX
AT_HAND_MAX = 1200  # AHEAD_MAX: claimed before the limit was reached
SETTINGS = {"lease": "4s", "heartbeat": "500ms"}
CALM_S = 4
ERRORS = {"lease ended: workers with lane runs killed",
          "declared dead by another node: ending all runs, registering anew"}


@pytest.fixture
def make_own(tmp_path):
    """make_own(server, owner): a database on a server of the test's own."""
    with contextlib.ExitStack() as stack:
        def make(server, owner=None):
            stack.callback(server.close)
            if owner is not None:
                server.create_role(owner)
            made = Rota(server, tmp_path, migrated=owner is None, owner=owner)
            stack.callback(made.close)
            if owner is not None:
                made.run("migrate")
            return made

        yield make


def job(name, **more):
    return {"name": name, "handler": "mark", "durable": True, **more}


def ticking(seconds=60):
    start_ms = (int(time.time()) + 1) * 1000
    return job("ticking", triggers=[{"name": "tick", "every": "1s", "start_at": instant_text(start_ms),
                                     "end_at": instant_text(start_ms + seconds * 1000)}])


def enqueue(rota, name, **data):
    [run] = rota.enqueue(name, "--data", json.dumps(data))
    return run


def begin(rota, marks):
    rota.apply(ticking(), job("long"), job("exclusive", disallow_concurrent=True), job("plain"))
    nodes = rota.start_nodes("n1", "n2", pools=marks.pool(processes=1), **SETTINGS)
    runs = [enqueue(rota, "long", sleep=3), enqueue(rota, "exclusive", sleep=3, lane="exclusive")]
    for run in runs:
        marks.wait("begin", run=run)
    marks.wait("begin", job="ticking")
    return nodes, runs


def assert_calm(nodes):
    """For a while: they live, answer, take no time to speak of and do not chatter."""
    cpu = [cpu_seconds(node.pid) for node in nodes]
    lines = [len(node.lines()) for node in nodes]
    wait_for_clock(time.time() + CALM_S)
    for node, cpu_before, lines_before in zip(nodes, cpu, lines):
        assert node.lives() and node.http("/healthz")[0] == 200
        assert SANITIZED or cpu_seconds(node.pid) - cpu_before < 0.1 * CALM_S
        said = node.lines()[lines_before:]
        assert len(said) < 12 * CALM_S, [line["msg"] for line in said]


def assert_goes_on(rota, nodes, runs, marks):
    healed_at = boot_time()
    marks.wait("begin", since=healed_at, job="ticking", limit=15)
    runs.append(enqueue(rota, "plain"))
    for run in runs:
        assert rota.wait_history(run, 30)["status"] == "success"
    for node in nodes:
        node.wait_ready()
        assert not [line for line in node.lines(level="error") if line["msg"] not in ERRORS]


@pytest.mark.parametrize("room", ["for nothing", "not even for its log"])
def test_a_full_disk_is_sat_out(make_own, marks, room):
    reason = small_disk.why_not()
    if reason is not None:
        pytest.skip(reason)
    server = small_disk.SmallDiskServer(220)
    rota = make_own(server)
    nodes, runs = begin(rota, marks)
    server.fill()

    def refused():
        done = rota.run("enqueue", "plain", "--data", json.dumps({"text": "x" * 100000}), check=False)
        if done.returncode == 0:
            runs.append(int(done.stdout))
        return done.stderr if done.returncode != 0 else None

    said = wait_until(refused, 60, "an enqueue to be refused", pause=0)
    print(said)
    if room == "not even for its log":
        with pytest.raises(psycopg.OperationalError):
            while True:  # a new file of the log each time, until it panics
                server.execute("CREATE TABLE IF NOT EXISTS whatever ()")
                server.execute("SELECT pg_switch_wal()")
        wait_until(lambda: all(node.lines("database connection lost") for node in nodes), 10, "the panic to be seen")
    assert_calm(nodes)
    server.free()
    if not server.accepts():  # without room for its log it ends
        server.stop(signal.SIGQUIT)
        server.start()
    rota.reconnect()
    assert_goes_on(rota, nodes, runs, marks)


def test_results_that_cannot_be_written_are_kept_up_to_a_limit(rota):
    """Claims are written, results are not: 53100 from the history alone."""
    rota.apply({"name": "job", "handler": "noop", "durable": True})
    rota.db.execute("CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                    "RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$")
    rota.db.execute("CREATE TRIGGER full_disk BEFORE INSERT ON rota.task_history FOR EACH ROW EXECUTE FUNCTION full_disk()")
    node = rota.node("n1", slots=256)
    before = memory_kib(node.pid, "RssAnon")
    count = RESULTS_MAX + 5000
    rota.enqueue("job", "--count", str(count))
    wait_until(lambda: rota.value("SELECT count(*) FROM rota.run WHERE state = 'started'") >= RESULTS_MAX, 60, "the limit")
    assert_calm([node])
    out = rota.value("SELECT count(*) FROM rota.run WHERE state = 'started'")
    print(f"{out} results kept in {memory_kib(node.pid, 'RssAnon') - before} KiB")
    assert RESULTS_MAX <= out < RESULTS_MAX + 1000 + AT_HAND_MAX
    assert SANITIZED or memory_kib(node.pid, "RssAnon") - before < 64 * 1024
    rota.db.execute("DROP TRIGGER full_disk ON rota.task_history")
    wait_until(lambda: rota.value("SELECT count(*) FROM rota.task_history") == count, 60, "all results to be written")
    assert rota.open_runs() == 0
    assert rota.value("SELECT count(DISTINCT id) FROM rota.task_history WHERE status = 'success'") == count


def test_a_database_that_takes_no_writes_is_sat_out(make_own, marks):
    server = PrivateServer()
    rota = make_own(server)
    nodes, runs = begin(rota, marks)
    server.execute("ALTER SYSTEM SET default_transaction_read_only = on")
    server.execute("SELECT pg_reload_conf()")
    for node in nodes:
        node.wait_for_line("database connection lost", count=2)
        assert "read-only" in node.wait_for_line("cannot connect to the database")["error"]
    assert_calm(nodes)
    assert "cannot be reached" in nodes[0].http("/readyz")[1]
    with psycopg.connect(server.maintenance_url, autocommit=True, options="-c default_transaction_read_only=off") as db:
        db.execute("ALTER SYSTEM RESET default_transaction_read_only")
        db.execute("SELECT pg_reload_conf()")
    wait_until(lambda: rota.reconnect().execute("SHOW default_transaction_read_only").fetchone()[0] == "off", 5, "writes")
    assert_goes_on(rota, nodes, runs, marks)


def end_connections(server, owner):
    server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{owner}'")


def test_a_server_that_rejects_the_nodes_is_sat_out(make_own, marks):
    server = PrivateServer()
    rota = make_own(server, "nodes_owner")
    nodes, runs = begin(rota, marks)
    path = os.path.join(server.data, "pg_hba.conf")
    with open(path, encoding="ascii") as file:
        rules = file.read()
    with open(path, "w", encoding="ascii") as file:
        file.write("local all nodes_owner reject\n" + rules)
    server.execute("SELECT pg_reload_conf()")

    def rejected():
        end_connections(server, "nodes_owner")
        return all(node.lines("cannot connect to the database") for node in nodes)

    wait_until(rejected, 10, "the nodes to be rejected", pause=0.2)
    assert "rejects connection" in nodes[0].lines("cannot connect")[-1]["error"]
    assert_calm(nodes)
    with open(path, "w", encoding="ascii") as file:
        file.write(rules)
    server.execute("SELECT pg_reload_conf()")
    wait_until(lambda: not rota.run("get", "nodes", check=False).returncode, 10, "the server to accept us")
    rota.reconnect()
    assert_goes_on(rota, nodes, runs, marks)


def test_a_server_without_a_free_connection_is_sat_out(make_own, marks):
    server = PrivateServer(max_connections="30", superuser_reserved_connections="3")
    rota = make_own(server, "nodes_owner")
    nodes, runs = begin(rota, marks)
    rota.db.close()
    hogs = []

    def full():
        with contextlib.suppress(psycopg.OperationalError):
            while True:
                hogs.append(psycopg.connect(server.url("postgres", "nodes_owner"), autocommit=True))
        ours = [row[0] for row in maintenance.execute(
            "SELECT pid FROM pg_stat_activity WHERE usename = 'nodes_owner' AND application_name LIKE 'rota%'")]
        for pid in ours:
            maintenance.execute("SELECT pg_terminate_backend(%s)", (pid,))
        return not ours and all(node.lines("cannot connect to the database") for node in nodes)

    with psycopg.connect(server.maintenance_url, autocommit=True) as maintenance:
        wait_until(full, 20, "every connection to be taken", pause=0)
        assert "connection" in nodes[0].lines("cannot connect")[-1]["error"]
        assert_calm(nodes)
    for hog in hogs:
        hog.close()
    rota.reconnect()
    assert_goes_on(rota, nodes, runs, marks)
