"""`rota doctor`: what hurts is found, named, and told what would be right; what is well is said, too."""

import json
import os
import signal
import struct

import psycopg
import pytest

from fleet import binary
from pooler import Pooler
from waiting import wait_until


@pytest.fixture(scope="module")
def server(pg_server):
    """One as in production: the shared one has fsync off, which the doctor calls bad."""
    return pg_server


def doctor(rota, *options, code=None, **settings):
    """The findings by check."""
    done = rota.run("doctor", "--json", *options, check=False, **settings)
    document = json.loads(done.stdout)
    findings = {}
    for finding in document["findings"]:
        findings.setdefault(finding["check"], []).append(finding)
        assert (finding["right"] is None) == (finding["level"] == "ok"), finding
    levels = [finding["level"] for each in findings.values() for finding in each]
    assert [levels.count(level) for level in ("ok", "warn", "bad")] == [document[level] for level in ("ok", "warn", "bad")]
    assert done.returncode == (1 if document["bad"] else 0)
    assert code is None or done.returncode == code, document
    return findings


def only(findings, check, level=None):
    assert len(findings.get(check, [])) == 1, findings
    assert level is None or findings[check][0]["level"] == level, findings[check]
    return findings[check][0]


def set_for_database(rota, setting):
    rota.db.execute(f"ALTER DATABASE {rota.name} SET {setting}")


def test_a_fleet_that_is_well(rota):
    node = rota.node("n1")
    rota.apply({"name": "job", "handler": "noop", "triggers": [{"name": "t", "every": "1h"}]})
    set_for_database(rota, "idle_in_transaction_session_timeout = '5min'")
    findings = doctor(rota, code=0)
    for check in ("schema_version", "server_version", "settings", "clock", "session", "notify", "connections", "handlers",
                  "trigger_errors", "lanes", "history", "node", "oldest_snapshot"):
        assert only(findings, check)["level"] == "ok", findings[check]
    assert "idle_in_transaction_session_timeout" not in findings and "no_node" not in findings
    assert only(findings, "node")["what"].startswith("n1 is running, version ")
    text = rota.run("doctor").stdout
    assert "ok    node n1: n1 is running" in text and "→" not in text
    assert node.stop() == 0


def test_settings_of_the_server_that_hurt(rota):
    findings = doctor(rota)
    assert "minutes" in only(findings, "idle_in_transaction_session_timeout", "warn")["right"]
    set_for_database(rota, "synchronous_commit = off")
    set_for_database(rota, "default_transaction_isolation = serializable")
    set_for_database(rota, "idle_session_timeout = '1min'")
    findings = doctor(rota, code=1)
    only(findings, "synchronous_commit", "bad")
    only(findings, "default_transaction_isolation", "bad")
    only(findings, "idle_session_timeout", "warn")
    assert "settings" not in findings
    set_for_database(rota, "default_transaction_read_only = on")
    only(doctor(rota), "default_transaction_read_only", "bad")


def test_a_schema_that_is_missing_old_or_too_new(empty_rota):
    assert "is not set up" in only(doctor(empty_rota, code=1), "schema_version", "bad")["what"]
    empty_rota.run("migrate")
    only(doctor(empty_rota), "schema_version", "ok")
    newest = empty_rota.value("SELECT max(version) FROM rota.schema_version")
    empty_rota.db.execute("DELETE FROM rota.schema_version WHERE version = %s", (newest,))
    findings = doctor(empty_rota, code=1)
    assert f"at version {newest - 1}, this rota knows {newest}" in only(findings, "schema_version", "bad")["what"]
    empty_rota.db.execute("INSERT INTO rota.schema_version (version, name, needs) VALUES (9999, '9999_future', 9999)")
    assert "too new" in only(doctor(empty_rota, code=1), "schema_version", "bad")["what"]


def test_work_that_waits_and_nobody_does(rota):
    assert "no_node" in doctor(rota) and only(doctor(rota), "no_node")["level"] == "warn"
    rota.apply({"name": "lost", "handler": "misspelt", "durable": True},
               {"name": "later", "handler": "elsewhere", "triggers": [{"name": "broken", "every": "1h"},
                                                                      {"name": "t", "cron": "0 0 0 1 1 ? 2190"}]})
    rota.enqueue("lost", "--count", "2")
    rota.db.execute("UPDATE rota.trigger_due d SET state = 'E', error = 'why', error_at = now(), next_at = NULL "
                    "FROM rota.trigger t WHERE t.id = d.trigger_id AND t.name = 'broken'")
    findings = doctor(rota, code=1)
    only(findings, "no_node", "bad")
    unserved = {finding["where"]: finding for finding in findings["unserved"]}
    assert unserved["handler misspelt"]["level"] == "bad" and "2 due runs" in unserved["handler misspelt"]["what"]
    assert unserved["handler elsewhere"]["level"] == "warn" and "for 2190-" in unserved["handler elsewhere"]["what"]
    assert only(findings, "trigger_errors", "bad")["what"] == "1 triggers are in error: broken"
    rota.node("n1")
    findings = doctor(rota, code=1)
    assert "no_node" not in findings and len(findings["unserved"]) == 2
    assert "running nodes serve exec, http, noop, sql" in findings["unserved"][0]["right"]
    rota.run("pause", "all")
    findings = doctor(rota)
    only(findings, "paused", "warn")
    assert "unserved" not in findings


def test_a_lane_that_has_room_while_runs_wait_for_it(rota):
    rota.apply({"name": "one", "handler": "noop", "durable": True, "disallow_concurrent": True})
    rota.enqueue("one")
    only(doctor(rota), "lanes", "ok")
    rota.db.execute("UPDATE rota.pending SET held = 'L', held_due = due, due = 'infinity'")
    assert "(job one) since" in only(doctor(rota), "lanes", "bad")["what"]


def test_nodes_that_are_dead_stuck_silent_and_told_to_stand_by(rota):
    node = rota.node("n1", heartbeat="10m", lease="1h")
    rota.run("standby", "n1")
    found = only(doctor(rota), "node", "warn")
    assert "told to stand by since" in found["what"] and found["right"] == "`rota resume-node n1` when it is to fire"
    rota.db.execute("UPDATE rota.incarnation SET lease_until = now() - interval '5 s'")
    assert "it is connected and has not renewed its lease" in only(doctor(rota, code=1), "node", "bad")["what"]
    node.kill(signal.SIGKILL)
    wait_until(lambda: only(doctor(rota), "node")["level"] == "warn", 10, "its lock to be free")
    assert "it is dead" in only(doctor(rota), "node")["what"]
    rota.db.execute("UPDATE rota.incarnation SET lease_until = now() - interval '5 min'")
    found = only(doctor(rota, code=1), "stuck_lease", "bad")
    assert "nobody takes its runs over" in found["what"] and "`rota evict n1 --wait 1m`" in found["right"]
    rota.run("evict", "n1")
    assert "stuck_lease" not in doctor(rota) and "node" not in doctor(rota)


def test_whoever_holds_the_oldest_snapshot_is_named(rota):
    with psycopg.connect(rota.url, application_name="forgetful report") as other:
        other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        pid = other.execute("SELECT pg_backend_pid() FROM rota.fleet").fetchone()[0]

        def found(level, *options):
            return any(str(pid) in finding["what"] and finding["level"] == level
                       for finding in doctor(rota, *options)["oldest_snapshot"])

        wait_until(lambda: found("warn", "--old-snapshot", "100ms") or found("bad", "--old-snapshot", "1ms"), 15,
                   "the snapshot to be old")
        wait_until(lambda: found("bad", "--old-snapshot", "50ms"), 15, "the snapshot to be very old")
        finding = only(doctor(rota, "--old-snapshot", "50ms"), "oldest_snapshot")
        assert "forgetful report" in finding["what"] and "idle in transaction" in finding["what"]
        assert f"pg_terminate_backend({pid})" in finding["right"]


def test_a_history_without_a_partition_for_tomorrow(rota):
    only(doctor(rota), "history", "ok")
    day = rota.value("SELECT to_char(current_date + 1, 'YYYYMMDD')")
    rota.db.execute(f"DROP TABLE rota.task_history_{day}")
    assert "runs that end then cannot be recorded" in only(doctor(rota, code=1), "history", "bad")["what"]
    rota.rows("SELECT rota.history_ensure(3)")
    only(doctor(rota), "history", "ok")


@pytest.mark.skipif(os.environ.get("ROTA_TEST_SANITIZED") == "1",
                    reason="sanitizers want to be loaded before anything else")
@pytest.mark.parametrize("seconds,level", [(0, "ok"), (10, "warn"), (-10, "warn"), (3600, "bad")])
def test_a_clock_that_is_wrong(rota, tmp_path, seconds, level):
    (tmp_path / "clock").write_bytes(struct.pack("q", seconds))
    shim = os.path.abspath(os.path.join(os.path.dirname(binary()), "..", "tests", "wrong_clock.so"))
    found = only(doctor(rota, LD_PRELOAD=shim, WRONG_CLOCK=tmp_path / "clock"), "clock", level)
    assert seconds == 0 or ("ahead of" if seconds > 0 else "behind") in found["what"]


@pytest.fixture
def pooler(rota):
    made = []

    def make(shared):
        made.append(Pooler(rota.url, shared))
        return made[-1].url

    yield make
    for each in made:
        each.close()


def test_a_pooler_of_transactions_is_found_and_a_direct_connection_beside_it(rota, pooler):
    url = pooler(shared=True)
    found = only(doctor(rota, code=1, session_database_url=url), "session", "bad")
    assert "a pooler shares its backends" in found["what"] and found["right"].endswith("session_database_url")
    only(doctor(rota, session_database_url=rota.url), "session", "ok")


def test_a_pooler_of_sessions_is_told_of(rota, pooler):
    found = only(doctor(rota, session_database_url=pooler(shared=False)), "session", "warn")
    assert "it keeps the session" in found["what"]


def test_a_database_out_of_reach(rota):
    assert rota.run("doctor", check=False, database_url="host=/nowhere").returncode == 3
    found = only(doctor(rota, code=1, session_database_url="host=/nowhere"), "session", "bad")
    assert "/nowhere" in found["what"]
    assert rota.run("doctor", "n1", check=False).returncode == 2
