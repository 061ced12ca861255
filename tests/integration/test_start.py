"""How a node starts: alone, with others, before its database, beside another fleet, and in states in which
it fires nothing."""

import signal
import socket
import time

import pytest

from fleet import Rota
from ledger import Ticks, assert_exactly_once
from waiting import holds_for, wait_until


def ticking(name="tick", handler="noop", **more):
    return {"name": name, "handler": handler, "triggers": [{"name": f"{name}-1s", "every": "1s"}], **more}


@pytest.mark.parametrize("count", [2, 6])
def test_nodes_that_start_at_once_on_an_empty_database_migrate_it_once(empty_rota, count):
    names = [f"n{i}" for i in range(count)]
    nodes = empty_rota.start_nodes(*names)
    assert sum(len(node.lines("schema migrated")) for node in nodes) == 1
    versions = empty_rota.rows("SELECT version FROM rota.schema_version ORDER BY version")
    assert versions == [(i + 1,) for i in range(len(versions))] and versions
    assert empty_rota.rows("SELECT node FROM rota.incarnation ORDER BY 1") == [(name,) for name in names]
    assert not [line for node in nodes for line in node.lines(level="error")]
    empty_rota.apply(ticking())
    wait_until(lambda: empty_rota.value("SELECT count(*) FROM rota.task_history") >= 2, 15, "two firings")
    wait_until(lambda: sum(len(node.lines("leader of the housekeeping")) for node in nodes), 5, "a leader")
    assert sum(len(node.lines("leader of the housekeeping")) for node in nodes) == 1
    assert [node.stop() for node in nodes] == [0] * count


def test_nodes_that_start_at_once_apply_the_same_manifests_without_harm(empty_rota, tmp_path):
    for source in ("a", "b", "c"):
        (tmp_path / f"{source}.json").write_text(
            '{"source":"%s","jobs":[{"name":"%s","handler":"noop","triggers":[%s]}]}' % (source, source, ",".join(
                '{"name":"%s%d","cron":"H H 2 * * ?"}' % (source, i) for i in range(50))))
    names = [f"n{i}" for i in range(4)]
    nodes = empty_rota.start_nodes(*names, manifests=str(tmp_path))
    assert empty_rota.rows("SELECT (SELECT count(*) FROM rota.job), (SELECT count(*) FROM rota.trigger)") == [(3, 150)]
    changes = sorted(node.lines("manifests applied")[0]["changes"] for node in nodes)
    assert changes == [0, 0, 0, 153]
    assert [node.stop() for node in nodes] == [0] * 4


def test_commands_and_nodes_may_migrate_at_the_same_time(empty_rota):
    nodes = [empty_rota.node("n1", ready=False)]
    done = empty_rota.run("migrate")
    nodes.append(empty_rota.node("n2", ready=False))
    for node in nodes:
        node.wait_ready()
    made = sum(len(node.lines("schema migrated")) for node in nodes) + ("migrated from" in done.stdout)
    assert made == 1
    assert "nothing to do" in empty_rota.run("migrate", "--check").stdout


def test_a_node_waits_for_a_database_that_is_down_and_is_ready_when_it_comes(pg_server, tmp_path, request):
    rota = Rota(pg_server, tmp_path, migrated=False)
    request.addfinalizer(rota.close)
    pg_server.stop(signal.SIGINT)
    try:
        node = rota.node("n1", ready=False)
        wait_until(lambda: node.http("/healthz")[0] == 200, 10, "its HTTP")
        wait_until(lambda: node.lines("cannot connect"), 10, "an attempt in vain")
        wait_until(lambda: node.http("/readyz") == (503, "the database cannot be reached\n"), 5, "its reason")
        assert node.http("/healthz") == (200, "ok\n")
        holds_for(node.lives, 1, "it to wait")
    finally:
        pg_server.start()
    came_at = time.monotonic()
    node.wait_ready(limit=10)
    print(f"ready {time.monotonic() - came_at:.2f} s after the database came")
    rota.apply(ticking())
    wait_until(lambda: rota.value("SELECT count(*) FROM rota.task_history") > 0, 10, "a firing")
    assert node.stop() == 0 and not node.faults()


def test_a_node_that_waits_for_its_database_ends_at_once_when_told(rota):
    node = rota.node("n1", ready=False, database_url="host=/nonexistent dbname=none")
    wait_until(lambda: node.lines("cannot connect"), 10, "an attempt in vain")
    began = time.monotonic()
    assert node.stop() == 0
    assert time.monotonic() - began < 2


def test_a_database_that_takes_no_connections_now_is_waited_for(rota):
    """Another error than an absent server: it answers, and refuses."""
    rota.server.execute(f"ALTER DATABASE {rota.name} ALLOW_CONNECTIONS false")
    node = rota.node("n1", ready=False)
    wait_until(lambda: node.lines("cannot connect"), 10, "an attempt in vain")
    assert "not currently accepting connections" in node.text()
    rota.server.execute(f"ALTER DATABASE {rota.name} ALLOW_CONNECTIONS true")
    node.wait_ready()
    assert node.stop() == 0


def test_an_ordinary_role_that_owns_its_database_is_enough(make_rota, server, ledger):
    """No superuser: schema, work, and the recovery of a dead node of the same role."""
    role = f"rota_plain_{time.monotonic_ns()}"
    server.create_role(role)
    try:
        rota = make_rota(migrated=False, owner=role)
        first, second = rota.start_nodes("n1", "n2", pools=ledger.pool())
        ticks = Ticks("t", 10, 3, lead=0.5)
        rota.apply({"name": "job", "handler": "ledger", "data": {"sleep": 0.1}, "requests_recovery": True,
                    "triggers": ticks.declared()})
        wait_until(lambda: ledger.count() > 5, 15, "some firings")
        first.kill()
        second.wait_for_line("recovered a dead node")
        rota.wait_idle(20)
        assert ledger.occurrences().keys() == ticks.expected()
        assert second.stop() == 0
        rota.close()
    finally:
        server.execute(f"DROP ROLE {role}")


def test_a_disabled_scheduler_registers_and_warns_and_never_fires(rota):
    node = rota.node("n1", MB_DISABLE_SCHEDULER="true")
    rota.apply(ticking())
    run, = rota.enqueue("tick")
    warning, = node.lines("disabled", level="warn")
    assert "MB_DISABLE_SCHEDULER" in warning["msg"]
    assert rota.rows("SELECT node, state FROM rota.incarnation") == [("n1", "disabled")]
    due = rota.rows("SELECT next_at FROM rota.trigger_due")
    holds_for(lambda: rota.where(run)[0][0] == "pending" and rota.rows("SELECT next_at FROM rota.trigger_due") == due,
              2.5, "nothing to be fired")
    assert not node.lines("Task scheduler started")
    other = rota.node("n2")  # its presence stops nobody else
    assert rota.wait_history(run)["node"] == "n2"
    assert node.http("/readyz")[0] == 200
    assert [node.stop(), other.stop()] == [0, 0]


def test_a_node_on_standby_fires_nothing_and_says_so(rota):
    node = rota.node("n1", "--standby", ready=False)
    wait_until(lambda: node.http("/readyz") == (503, "standing by\n"), 10, "it to stand by")
    rota.apply(ticking())
    run, = rota.enqueue("tick")
    holds_for(lambda: rota.where(run)[0][0] == "pending", 2, "nothing to be fired")
    assert rota.rows("SELECT node, state FROM rota.incarnation") == [("n1", "standby")]
    assert rota.value("SELECT sum(fired) FROM rota.trigger_due") == 0
    assert node.stop() == 0


def test_a_second_node_of_the_same_name_is_refused_after_it_has_waited(rota):
    first = rota.node("n1", lease="1s", heartbeat="200ms")
    began = time.monotonic()
    second = rota.node("n1", lease="1s", heartbeat="200ms", ready=False)
    assert second.wait(limit=15) == 1
    assert time.monotonic() - began >= 1
    error = second.lines(level="error")[-1]["error"]
    assert '"n1"' in error and str(first.pid) in error and "--name" in error
    assert first.http("/readyz")[0] == 200
    assert rota.rows("SELECT count(*) FROM rota.incarnation") == [(1,)]
    assert first.stop() == 0


def test_a_node_takes_over_the_name_of_one_that_is_going(rota, ledger):
    first = rota.node("n1", pools=ledger.pool(), lease="5s")
    rota.apply({"name": "job", "handler": "ledger", "data": {"sleep": 1.5}, "durable": True})
    run, = rota.enqueue("job")
    wait_until(lambda: ledger.count() == 1, 10, "the run to begin")
    first.send(signal.SIGTERM)
    second = rota.node("n1", pools=ledger.pool(), lease="5s")
    assert first.wait() == 0
    assert second.lines("a live node has this name")
    assert rota.history(run)["status"] == "success" and ledger.count() == 1
    assert second.stop() == 0


def test_another_schema_in_the_same_database_is_another_fleet(rota, ledger, tmp_path):
    rota.run("migrate", schema="other")
    ours = rota.node("n1", pools=ledger.pool(handler="ours"))
    theirs = rota.node("n1", pools=ledger.pool(handler="theirs"), schema="other")  # the same name
    by_ours, by_theirs = Ticks("ours", 5, 3), Ticks("theirs", 5, 3)
    rota.apply({"name": "job", "handler": "ours", "triggers": by_ours.declared()})
    path = tmp_path / "theirs.json"
    path.write_text('{"source":"test","jobs":[{"name":"job","handler":"theirs","triggers":%s}]}'
                    % str(by_theirs.declared()).replace("'", '"'))
    rota.run("apply", "-f", str(path), schema="other")
    rota.wait_idle(20)
    wait_until(lambda: rota.value("SELECT count(*) FROM other.task_history") == 15, 20, "their firings")
    assert_exactly_once(ledger, by_ours.expected() | by_theirs.expected())
    assert rota.value("SELECT count(*) FROM rota.task_history") == 15
    assert rota.run("get", "jobs", "--json").stdout != rota.run("get", "jobs", "--json", schema="other").stdout
    theirs.kill()  # the death in one fleet is nothing to the other
    holds_for(lambda: ours.http("/readyz")[0] == 200 and not ours.lines("recovered"), 1.5, "no recovery")
    assert ours.stop() == 0


def test_manifests_of_the_settings_are_applied_before_the_first_firing(rota, tmp_path):
    path = tmp_path / "jobs.json"
    path.write_text('{"source":"test","jobs":[{"name":"tick","handler":"noop","triggers":'
                    '[{"name":"t","every":"1s"}]}]}')
    node = rota.node("n1", manifests=str(path))
    assert node.lines("manifests applied")[0]["changes"] == 2
    wait_until(lambda: rota.value("SELECT count(*) FROM rota.task_history") > 0, 10, "a firing")
    node.stop()
    node.start().wait_ready()
    assert node.lines("manifests applied")[1]["changes"] == 0
    assert node.stop() == 0


def test_a_refused_manifest_of_the_settings_ends_the_start(rota, tmp_path):
    path = tmp_path / "jobs.json"
    path.write_text('{"source": "test",\n  "jobz": []}')
    node = rota.node("n1", manifests=str(path), ready=False)
    assert node.wait(limit=15) == 1
    assert f"{path}:2:3: " in node.text() and "jobz" in node.text()
    assert rota.rows("SELECT * FROM rota.incarnation") == []


def test_a_taken_port_ends_the_start_with_what_to_do(rota):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        node = rota.node("n1", http_listen=address, ready=False)
        assert node.wait(limit=10) == 1
    error = node.lines(level="error")[-1]["error"]
    assert address in error and "in use" in error and "--http-listen" in error


def test_a_node_without_http_works(rota):
    node = rota.node("n1", http_listen="none", ready=False)
    node.wait_for_line("Task scheduler started")
    rota.apply({"name": "job", "handler": "noop", "durable": True})
    assert rota.wait_history(*rota.enqueue("job"))["status"] == "success"
    assert node.stop() == 0 and not node.lines("http listening")


def test_http_answers_what_it_does_not_know_with_404(rota):
    node = rota.node("n1")
    assert node.http("/") == (404, "Not found.")
    assert node.http("/readyz") == (200, "ready\n")


def test_a_schema_that_has_become_too_new_drains_the_node(rota, ledger):
    """Somebody migrates on while it runs: what it has begun may finish, nothing more is begun."""
    node = rota.node(heartbeat="300ms", pools=ledger.pool())
    rota.apply({"name": "job", "handler": "ledger", "durable": True, "data": {"sleep": 2}})
    run, = rota.enqueue("job")
    wait_until(lambda: ledger.count() == 1, 15, "the run to begin")
    rota.db.execute("INSERT INTO rota.schema_version (version, name, needs) VALUES (9999, '9999_later', 9999)")
    assert node.wait_for_line("the schema has become too new")["needs_version"] == 9999
    assert node.wait() == 1
    assert rota.history(run)["status"] == "success"
