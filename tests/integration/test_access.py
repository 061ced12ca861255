"""Roles for users: what a reader and an enqueuer may, and what not; who makes the roles; several fleets."""

import json
import uuid

import psycopg
import pytest

from fleet import command

ROLES = ("rota_reader", "rota_enqueuer")


@pytest.fixture
def user(server, request):
    """user("reader", …): the name of a role that logs in and has these."""
    made = []

    def make(*kinds, prefix="rota"):
        name = f"rota_test_user_{uuid.uuid4().hex[:8]}"
        server.create_role(name)
        made.append(name)
        for kind in kinds:
            server.execute(f"GRANT {prefix}_{kind} TO {name}")
        return name

    yield make
    for name in made:
        server.execute(f"DROP ROLE {name}")


@pytest.fixture
def owner(server):
    """An ordinary role that a database is to belong to; asked for before make_rota, it ends after it."""
    name = f"rota_test_owner_{uuid.uuid4().hex[:8]}"
    server.create_role(name)
    yield name
    server.execute(f"DROP ROLE {name}")


def log_in(rota, name):
    return psycopg.connect(rota.server.url(rota.name, name), autocommit=True)


def refused(db, statement):
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        db.execute(statement)


def test_a_reader_reads_the_views_and_changes_nothing(rota, user):
    rota.apply({"name": "j", "handler": "noop", "durable": True, "data": {"secret": 1}})
    rota.node("n1")
    rota.wait_history(*rota.enqueue("j"))
    with log_in(rota, user("reader")) as db:
        assert db.execute("SELECT task, status FROM rota.task").fetchall() == [("j", "success")]
        for view in "run", "trigger_state", "lane_state", "metabase_cluster_lock":
            db.execute(f"SELECT * FROM rota.{view}")
        assert db.execute("SELECT node FROM rota.node_state").fetchall() == [("n1",)]
        for statement in ("SELECT * FROM rota.job", "SELECT * FROM rota.pending", "DELETE FROM rota.task_history",
                          "SELECT rota.cluster_lock('a')", "SELECT rota.cluster_lock_draw()",
                          "SELECT rota.pause('all')", "SELECT rota.node_wish('n1', 'evict')",
                          "CREATE TABLE rota.mine (x integer)", "SELECT rota.grant_access()"):
            refused(db, statement)


def test_an_enqueuer_takes_cluster_locks_and_no_more(rota, user):
    rota.run("lock", "a", "--", "true")
    name = user("enqueuer")
    with log_in(rota, name) as db, log_in(rota, name) as other:
        with db.transaction():
            fence = db.execute("SELECT rota.cluster_lock('a', '5 s')").fetchone()[0]
            assert db.execute("SELECT rota.cluster_locks(ARRAY['b', 'c'], '5 s')").fetchone()[0] > fence
            with pytest.raises(psycopg.errors.LockNotAvailable, match="a transaction of process"):
                other.execute("SELECT rota.cluster_lock('a', '0 s')")
            assert rota.run("lock", "a", "--wait", "0s", "--", "true", check=False).returncode == 5
        for statement in ("SELECT setval('rota.cluster_lock_fence', 1)", "UPDATE rota.metabase_cluster_lock SET fence = 1",
                          "SELECT * FROM rota.task", "DELETE FROM rota.cluster_lock_share", "SELECT rota.grant_access()"):
            refused(other, statement)


def test_whoever_has_neither_role_sees_nothing(rota, user):
    with log_in(rota, user()) as db:
        refused(db, "SELECT * FROM rota.task")
        refused(db, "SELECT rota.cluster_lock('a')")


def test_a_search_path_of_the_callers_does_not_lead_astray_what_runs_as_the_owner(rota, user):
    name = user("enqueuer")
    with log_in(rota, name) as db:
        db.execute("CREATE TEMP TABLE pg_stat_wal AS SELECT 'infinity'::timestamptz AS stats_reset")
        db.execute("SET search_path = pg_temp, pg_catalog")
        assert db.execute("SELECT rota.cluster_lock_known() < 'infinity'").fetchone()[0]
        db.execute("DROP TABLE pg_stat_wal")  # temporary tables may outlive their session for a moment


def test_fleets_in_other_schemas_have_other_roles(rota, server, user):
    schema = f"billing_{uuid.uuid4().hex[:6]}"
    assert command("migrate", database_url=rota.url, schema=schema).returncode == 0
    try:
        with log_in(rota, user("reader", prefix=schema)) as db:
            db.execute(f"SELECT * FROM {schema}.task")
            refused(db, "SELECT * FROM rota.task")
        with log_in(rota, user("reader")) as db:
            refused(db, f"SELECT * FROM {schema}.task")
    finally:
        rota.db.execute(f"DROP SCHEMA {schema} CASCADE")
        for kind in "reader", "enqueuer":
            server.execute(f"DROP ROLE IF EXISTS {schema}_{kind}")


def test_a_role_that_may_make_no_roles_migrates_and_grants_what_somebody_made_later(owner, make_rota, server, user):
    schema = f"fleet_{uuid.uuid4().hex[:6]}"
    rota = make_rota(migrated=False, owner=owner)
    try:
        assert f"roles for users are missing: {schema}_enqueuer, {schema}_reader; " in rota.run("migrate", schema=schema).stdout
        findings = json.loads(rota.run("doctor", "--json", check=False, schema=schema).stdout)["findings"]
        [what] = [f["what"] for f in findings if f["check"] == "roles"]
        assert f"{schema}_enqueuer, {schema}_reader" in what and "grant_access()" in what
        for kind in "reader", "enqueuer":
            server.execute(f"CREATE ROLE {schema}_{kind}")
        assert rota.value(f"SELECT {schema}.grant_access()") == []
        with log_in(rota, user("reader", prefix=schema)) as db:
            db.execute(f"SELECT * FROM {schema}.task")
    finally:
        rota.reconnect().execute(f"DROP SCHEMA {schema} CASCADE")
        for kind in "reader", "enqueuer":
            server.execute(f"DROP ROLE IF EXISTS {schema}_{kind}")


def test_a_fleet_in_another_database_finds_the_roles_there(rota, make_rota, user):
    other = make_rota(migrated=False)
    other.run("migrate")
    name = user("reader")
    for fleet in rota, other:
        with log_in(fleet, name) as db:
            db.execute("SELECT * FROM rota.task")
