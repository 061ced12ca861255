"""After a restart of PostgreSQL, or the crash of one of its backends, a free lock is no death: nodes that start
then wait restart_delay before they take anything over. And what a node has while it starts, it keeps. The
server is one of the module's own."""

import json
import os
import signal
import sys
import time

import psycopg
import pytest

from waiting import holds_for, wait_until

TAKES_S = 60

DELAY_S = 6
SETTINGS = {"lease": "3s", "heartbeat": "500ms", "restart_delay": f"{DELAY_S}s"}


@pytest.fixture(scope="module")
def server(pg_server):
    return pg_server


def since(rota):
    return rota.value("SELECT extract(epoch FROM clock_timestamp() - rota.server_known())::float")


def leave_a_dead_node(rota, ledger):
    """With a run that is to be taken over."""
    rota.apply({"name": "long", "handler": "ledger", "data": {"sleep": 60}, "durable": True})
    node = rota.node("dead", **SETTINGS, pools=ledger.pool())
    [run] = rota.enqueue("long")
    wait_until(lambda: ledger.count() == 1, 15, "the run to begin")
    node.kill()
    return run


def assert_waits(rota, ledger, began):
    node = rota.node("n2", **SETTINGS, pools=ledger.pool())
    line = node.wait_for_line("PostgreSQL has begun anew")
    assert 0 < line["wait_ms"] <= DELAY_S * 1000, line
    holds_for(lambda: not node.lines("recovered a dead node"), began + DELAY_S - 0.3 - time.time(), node.text)
    node.wait_for_line("recovered a dead node", 10)
    wait_until(lambda: ledger.count() == 2, 10, "the run to begin again")
    node.kill()


def test_a_node_that_starts_after_a_restart_gives_the_others_time_to_come_back(rota, ledger, server):
    leave_a_dead_node(rota, ledger)
    rota.db.close()
    server.stop(signal.SIGQUIT)
    server.start()
    rota.reconnect()
    assert_waits(rota, ledger, since(rota))


def test_a_node_that_starts_after_the_crash_of_a_backend_does_so_too(rota, ledger, server):
    leave_a_dead_node(rota, ledger)
    started = rota.value("SELECT pg_postmaster_start_time()")
    wait_until(lambda: rota.value("SELECT rota.server_known() > %s * interval '1 s'", DELAY_S), 20, "the server to be old")
    with psycopg.connect(rota.url) as victim:
        os.kill(victim.info.backend_pid, signal.SIGKILL)

    def back():
        try:
            return rota.reconnect() and rota.value("SELECT rota.server_known() < interval '5 s'")
        except psycopg.OperationalError:
            return False

    wait_until(back, 20, "the server to come back")
    assert rota.value("SELECT pg_postmaster_start_time()") == started
    assert_waits(rota, ledger, since(rota))


def test_on_a_server_that_is_long_there_nobody_waits(rota, ledger):
    leave_a_dead_node(rota, ledger)
    wait_until(lambda: rota.value("SELECT rota.server_known() > %s * interval '1 s'", DELAY_S), 20, "the server to be old")
    node = rota.node("n2", **SETTINGS, pools=ledger.pool())
    node.wait_for_line("recovered a dead node", 5)
    assert not node.lines("PostgreSQL has begun anew")


def test_an_ordinary_role_sees_since_when_the_server_is_known(make_rota, server):
    server.create_role("plain_known")
    rota = make_rota(migrated=False, owner="plain_known")
    rota.run("migrate")
    assert rota.value("SELECT rota.server_known() BETWEEN interval '0' AND clock_timestamp() - pg_postmaster_start_time()")


@pytest.mark.parametrize("delay, warned", [("1s", True), ("3s", False)])
def test_a_restart_delay_shorter_than_the_lease_is_warned_of(rota, delay, warned):
    node = rota.node("n1", lease="3s", restart_delay=delay)
    assert bool(node.lines("restart_delay is shorter than lease", "warn")) == warned
    findings = json.loads(rota.run("doctor", "--json", check=False).stdout)["findings"]
    found = [(f["level"], f["where"]) for f in findings if f["check"] == "restart_delay"]
    assert found == ([("warn", "node n1")] if warned else [])


# --- a long start ---

def test_a_lock_that_a_worker_got_during_a_long_start_is_kept(rota, tmp_path):
    """The apply of the start is held up for three leases."""
    heard = tmp_path / "heard"
    worker = tmp_path / "worker.py"
    worker.write_text(f"""
import json, sys
def say(**message): print(json.dumps(message), flush=True)
say(type="hello", protocol=1, handlers=["w"])
say(type="lock", ref=1, name="a", wait="20s")
for line in sys.stdin:
    with open({str(heard)!r}, "a") as file: file.write(line)
""")
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps({"source": "s", "jobs": [{"name": "j", "handler": "w", "durable": True}]}))
    with psycopg.connect(rota.url) as other:
        other.execute("SELECT pg_advisory_xact_lock(hashtextextended('rota.apply', 0))")
        node = rota.node("n1", ready=False, lease="2s", heartbeat="500ms", manifests=str(manifest),
                         pools={"w": {"command": [sys.executable, "-S", "-E", str(worker)]}})
        wait_until(lambda: heard.exists() and '"locked"' in heard.read_text(), 15, "the lock")
        holds_for(lambda: rota.value("SELECT lease_until > clock_timestamp() FROM rota.incarnation"), 6, node.text)
        assert node.http("/readyz")[0] == 503
    node.wait_ready()
    assert "lock_lost" not in heard.read_text() and not node.lines("worker ended") and not node.lines("cluster lock lost")
    row = json.loads(rota.run("get", "locks", "a", "--json").stdout)["data"][0]
    assert row["state"] == "held"
