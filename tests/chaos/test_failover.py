"""A standby takes over: from a primary that died, from one that is alive and fenced off, and with the newest
commits forgotten, as replication is asynchronous. Nodes find it by themselves, go on at once, declare nobody
dead, give no number twice, and let nothing overlap."""

import json
import os
import pathlib
import re
import signal
import time

import psycopg
import pytest

from ledger import instant_text
from marks import assert_alone, boot_time
from netns import NetworkServer, Standby, address_of
from waiting import holds_for, wait_until

TAKES_S = 100
FULL = os.environ.get("ROTA_TEST_FULL") == "1"

LEASE_S = 4.0
SETTINGS = {"lease": f"{LEASE_S:g}s", "heartbeat": "500ms", "slots": 8}
GAP = 1 << 20


@pytest.fixture
def server(network):
    """The primary, each test's own: it does not survive."""
    made = NetworkServer(network.member(), fsync="off")
    yield made
    made.close()
    made.member.heal()


@pytest.fixture
def standby(network, server, rota):
    made = Standby(network.member(), server)
    wait_until(lambda: server_value(server, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") == 1, 20,
               "the standby to follow")
    yield made
    made.close()
    made.member.heal()


def server_value(server, query, database="postgres"):
    with psycopg.connect(server.url(database), autocommit=True) as db:
        return db.execute(query).fetchone()[0]


def job(name, **more):
    return {"name": name, "handler": "mark", "durable": True, **more}


def enqueue(rota, name, *options, **data):
    [run] = rota.enqueue(name, "--data", json.dumps(data), *options)
    return run


def wait_caught_up(server, standby):
    wanted = server_value(server, "SELECT pg_current_wal_lsn()::text")
    wait_until(lambda: server_value(standby, f"SELECT pg_last_wal_replay_lsn() >= '{wanted}'"), 10, "the standby to catch up")


def go_over(rota, standby):
    """From now on the test asks the new primary."""
    standby.promote()
    promoted_at = boot_time()
    rota.server, rota.url = standby, standby.url(rota.name)
    rota.reconnect()
    return promoted_at


def ticking(seconds=20):
    start_ms = (int(time.time()) + 2) * 1000
    return {"name": "tick", "every": "1s", "start_at": instant_text(start_ms),
            "end_at": instant_text(start_ms + seconds * 1000)}


def load(rota, nodes_ready, marks):
    """A trigger of a second, a long exclusive run, short ones of all kinds."""
    rota.apply(job("ticking", triggers=[ticking()]), job("long", disallow_concurrent=True), job("plain"),
               job("exclusive", disallow_concurrent=True))
    nodes = nodes_ready()
    long = enqueue(rota, "long", sleep=LEASE_S * 2.5, lane="long")
    marks.wait("begin", run=long)
    for _ in range(5):
        enqueue(rota, "plain", sleep=0.2)
        enqueue(rota, "exclusive", sleep=0.2, lane="exclusive")
    marks.wait("begin", job="ticking")
    return nodes, long


def assert_continues(rota, nodes, marks, promoted_at, within):
    first = marks.wait("begin", since=promoted_at, job="ticking", limit=within + 10)
    print(f"promotion to the first firing: {first['at'] - promoted_at:.2f} s")
    assert first["at"] - promoted_at < within * (1 if FULL else 3)  # other tests run beside it
    before = [mark for mark in marks.all("begin") if mark["at"] < promoted_at]
    assert first["fence"] > max(mark["fence"] for mark in before) + GAP // 2
    assert first["run"] > max(mark["run"] for mark in before) + GAP // 2
    for node in nodes:
        node.wait_for_line("database is back")
    dead = [line for node in nodes for line in node.lines("dead")]
    assert not dead, dead


def assert_nothing_overlapped(marks):
    assert_alone([span for span in marks.runs() if span.what in ("long", "exclusive")])


@pytest.mark.parametrize("how", ["killed", "fenced off"])
def test_a_promoted_standby_is_found_and_nobody_is_declared_dead(rota, standby, net_nodes, marks, how):
    primary = rota.server
    url = address_of(rota, primary, standby, target_session_attrs="read-write")
    nodes, long = load(rota, lambda: net_nodes(rota, "n1", "n2", "n3", pools=marks.pool(), database_url=url, **SETTINGS), marks)
    wait_caught_up(primary, standby)
    if how == "killed":
        primary.stop(signal.SIGQUIT)
    else:
        primary.member.cut_off()
    promoted_at = go_over(rota, standby)
    # who is fenced off is found out by a connection that is not answered: 5 s, then a new one
    assert_continues(rota, nodes, marks, promoted_at, 5 if how == "killed" else 10)
    if how == "killed":
        assert rota.wait_history(long, 30)["status"] == "success"
        assert [span.run for span in marks.runs()].count(long) == 1, "the long run was ended, though its lease held"
    rota.wait_idle(60)
    assert_nothing_overlapped(marks)
    assert not [row for row in rota.rows("SELECT id, status FROM rota.task_history") if row[1] != "success"]


def test_what_the_new_primary_has_forgotten_overlaps_with_nothing(rota, standby, net_nodes, marks):
    """A claim of a lane that was not replicated: the run waits on the new primary, and runs at a node that the
    network has cut off at the same moment."""
    primary = rota.server
    rota.apply(job("long", disallow_concurrent=True), job("plain"))
    url = address_of(rota, primary, standby)
    [first] = net_nodes(rota, "n1", pools=marks.pool(), database_url=url, **SETTINGS)
    run = enqueue(rota, "long", "--in", "2s", sleep=60, lane="long")
    wait_caught_up(primary, standby)
    standby.member.cut_off()
    marks.wait("begin", run=run, node="n1")
    forgotten = enqueue(rota, "plain")
    marks.wait("end", run=forgotten)
    [second] = net_nodes(rota, "n2", pools=marks.pool(), database_url=url, **SETTINGS)
    first.member.cut_off()
    cut_at = boot_time()
    primary.stop(signal.SIGQUIT)
    standby.member.heal()
    promoted_at = go_over(rota, standby)
    plain = enqueue(rota, "plain")
    marks.wait("begin", run=plain, node="n2")
    again = marks.wait("begin", run=run, node="n2", limit=LEASE_S + 15)
    last = max(mark["at"] for mark in marks.all(node="n1"))
    print(f"the forgotten run ended {last - cut_at:.2f} s after its node was cut off, and began again "
          f"{again['at'] - promoted_at:.2f} s after the promotion")
    assert last < again["at"]
    assert_alone([span for span in marks.runs() if span.what == "long"])
    first.member.heal()
    wait_until(lambda: (enqueue(rota, "plain"), any(
        mark["node"] == "n1" and mark["at"] > again["at"] for mark in marks.all("begin")))[1], 30, "n1 to go on", pause=0.2)
    fences = {}
    for mark in marks.all("begin"):
        assert fences.setdefault(mark["fence"], mark["node"]) == mark["node"], "a fence was given twice"


def test_runs_that_the_new_primary_does_not_know_of_are_ended(rota, standby, net_nodes, marks):
    primary = rota.server
    rota.apply(job("plain"))
    url = address_of(rota, primary, standby)
    nodes = net_nodes(rota, "n1", "n2", pools=marks.pool(), database_url=url, **SETTINGS)
    wait_caught_up(primary, standby)
    standby.member.cut_off()
    run = enqueue(rota, "plain", sleep=60)
    node = marks.wait("begin", run=run)["node"]
    primary.stop(signal.SIGQUIT)
    standby.member.heal()
    go_over(rota, standby)
    marks.wait("cancelled", run=run, limit=20)
    assert rota.where(run) == [] and rota.history(run) is None
    [told] = [each for each in nodes if each.name == node]
    assert told.lines("ending runs that another node has taken over") or told.lines("declared dead")


def test_a_standby_ahead_in_the_list_is_passed_over_whatever_the_connection_string_allows(rota, standby, net_nodes):
    for attributes in (None, "any", "primary", "read-write", "prefer-standby"):
        more = {"target_session_attrs": attributes} if attributes else {}
        [node] = net_nodes(rota, f"node-{attributes}", database_url=address_of(rota, standby, rota.server, **more), **SETTINGS)
        assert not node.lines(level="error") and not node.lines(level="warn")


def test_hosts_that_are_down_refuse_are_silent_or_unknown_are_passed_over(rota, standby, network, net_nodes, marks):
    rota.apply(job("plain"))
    silent = network.member()
    silent.cut_off()
    nobody = network.member()
    hosts = ["nothing.invalid", nobody.address, silent.address, standby.member.address, rota.server.member.address]
    url = psycopg.conninfo.make_conninfo(host=",".join(hosts), port=5432, user="postgres", dbname=rota.name)
    began = time.monotonic()
    [node] = net_nodes(rota, "n1", pools=marks.pool(), database_url=url, **SETTINGS)
    print(f"ready after {time.monotonic() - began:.1f} s")
    assert rota.wait_history(enqueue(rota, "plain"))["status"] == "success"


def test_without_a_server_that_accepts_writes_a_node_says_so_and_waits(rota, standby, net_nodes, marks):
    primary = rota.server
    rota.apply(job("plain"))
    url = address_of(rota, primary, standby)
    [node] = net_nodes(rota, "n1", pools=marks.pool(), database_url=url, **SETTINGS)
    wait_caught_up(primary, standby)
    primary.stop(signal.SIGINT)
    line = node.wait_for_line("cannot connect to the database", count=3)
    assert "read-only" in line["error"]
    holds_for(lambda: node.lives() and node.http("/healthz")[0] == 200, 2)
    go_over(rota, standby)
    assert rota.wait_history(enqueue(rota, "plain"))["status"] == "success"


DOCUMENT = pathlib.Path(__file__).resolve().parents[2] / "docs" / "operating.md"


def test_the_example_of_the_documentation_does_what_it_says(rota, standby, net_nodes, marks, tmp_path):
    def block(language):
        [found] = re.findall(rf"^```{language} failover\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
        return found

    primary = rota.server
    settings = json.loads(block("json"))
    names = psycopg.conninfo.conninfo_to_dict(settings["database_url"])
    assert names["host"] == "db-1,db-2" and names["dbname"] == names["user"] == "rota"
    url = settings["database_url"].replace("db-1", primary.member.address).replace("db-2", standby.member.address)
    url = url.replace("dbname=rota", f"dbname={rota.name}").replace("user=rota", "user=postgres")
    rota.apply(job("plain"))
    (tmp_path / "node.json").write_text(json.dumps({**settings, "database_url": url}))
    [node] = net_nodes(rota, "n1", pools=marks.pool(), config=str(tmp_path / "node.json"), database_url=url, **SETTINGS)
    wait_caught_up(primary, standby)
    primary.stop(signal.SIGQUIT)
    standby.execute(block("sql"))
    rota.server, rota.url = standby, standby.url(rota.name)
    rota.reconnect()
    assert rota.wait_history(enqueue(rota, "plain"), 5)["status"] == "success"
    for said in re.findall(r"^- `(.*?)`", re.search(r"What nodes say:\n\n(.*?)\n\n", DOCUMENT.read_text(), re.DOTALL).group(1), re.MULTILINE):
        assert node.lines(said), said
