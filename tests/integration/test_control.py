"""Nodes told from elsewhere to drain, to stand by, to run again, and declared dead by an operator."""

import json
import signal
import time

import pytest

from ledger import Ticks, assert_exactly_once
from waiting import holds_for, wait_for_clock, wait_until

TAKES_S = 75

SLOW = {"heartbeat": "10m", "lease": "1h"}  # whatever is heard in time was told by NOTIFY


def states(rota):
    return dict(rota.rows("SELECT node, state FROM rota.node_state"))


def control(rota, action, node, *options):
    return json.loads(rota.run(action, node, *options, "--json").stdout)


def long_job(rota, ledger, sleep=60, name="long", **more):
    rota.apply({"name": name, "handler": "ledger", "data": {"sleep": sleep}, "durable": True, **more}, source=name)


def begun(ledger, count):
    wait_until(lambda: ledger.count() == count, 15, f"{count} runs to begin")


def test_a_node_drained_from_elsewhere_finishes_its_runs_and_ends(rota, ledger):
    first, second = rota.start_nodes("n1", "n2", pools=ledger.pool())
    rota.run("standby", "n2")
    long_job(rota, ledger, sleep=2)
    runs = rota.enqueue("long", "--count", "3")
    begun(ledger, 3)
    rota.run("resume-node", "n2")
    answer = control(rota, "drain", "n1")
    assert answer["state"] == "draining" and answer["running"] == 3 and not answer["already"]
    later, = rota.enqueue("long")
    assert json.loads(rota.run("drain", "n1", "--gone", "--json").stdout)["wish"] == "hurry"
    assert first.wait() == 0
    rows = [rota.wait_history(run) for run in [*runs, later]]
    assert rows[-1]["node"] == "n2" and {row["status"] for row in rows} == {"success"}
    assert "n1" not in states(rota)
    assert rota.run("drain", "n1").stdout == 'node "n1" is gone already\n'
    assert second.stop() == 0


def test_the_first_drain_waits_for_runs_and_the_second_ends_them(rota, ledger):
    node = rota.node("n1", pools=ledger.pool(), grace="40s")
    long_job(rota, ledger, sleep=3)
    long_job(rota, ledger, sleep=60, name="endless")
    short, = rota.enqueue("long")
    endless, = rota.enqueue("endless")
    begun(ledger, 2)
    assert control(rota, "drain", "n1")["wish"] == "drain"
    assert rota.wait_history(short)["status"] == "success" and node.lives()
    done = rota.run("drain", "n1", "--wait", "30s", "--gone")
    assert done.stdout == 'node "n1" is gone\n'
    assert node.wait(5) == 0
    assert rota.where(endless)[0][0] == "pending"


def test_a_drained_node_that_is_started_again_runs(rota):
    node = rota.node("n1")
    rota.run("drain", "n1", "--gone")
    assert node.wait() == 0
    node.start().wait_ready()
    holds_for(lambda: states(rota) == {"n1": "running"}, 1)
    rota.run("drain", "n1", "--gone")
    assert not node.lines("ending what still runs") and node.wait() == 0
    assert rota.value("SELECT wish FROM rota.node") == "drain"


def test_a_node_on_standby_keeps_what_runs_and_takes_nothing_until_it_is_resumed(rota, ledger):
    node = rota.node("n1", pools=ledger.pool(), **SLOW)
    long_job(rota, ledger, sleep=1)
    running, = rota.enqueue("long")
    begun(ledger, 1)
    assert control(rota, "standby", "n1") == {"node": "n1", "wish": "standby", "before": "running", "state": "standby",
                                              "already": False, "running": 1}
    waiting, = rota.enqueue("long")
    assert rota.wait_history(running)["status"] == "success"
    holds_for(lambda: rota.where(waiting)[0][0] == "pending", 1)
    assert node.http("/readyz") == (503, "standing by\n") and node.lives()
    assert rota.run("standby", "n1").stdout == 'node "n1" is standing by already; 0 runs of it are out\n'
    assert control(rota, "resume-node", "n1")["state"] == "running"
    assert rota.wait_history(waiting)["status"] == "success"
    assert rota.run("resume-node", "n1").stdout == 'node "n1" is running already; 0 runs of it are out\n'
    assert node.stop() == 0


def test_standby_holds_over_a_restart_and_ends_with_resume_node(rota):
    node = rota.node("n1")
    rota.run("standby", "n1")
    assert node.stop() == 0
    node.start().wait_for_line("standing by, as this node was told")
    wait_until(lambda: states(rota) == {"n1": "standby"}, 10)
    holds_for(lambda: states(rota) == {"n1": "standby"}, 1)
    rota.run("resume-node", "n1")
    node.wait_ready()
    assert node.stop() == 0
    assert "stands by when it is started again" in rota.run("standby", "n1").stdout
    assert "its settings decide" in rota.run("resume-node", "n1").stdout
    node.start().wait_ready()


def test_a_node_started_on_standby_is_let_run_from_elsewhere(rota):
    node = rota.node("n1", "--standby", ready=False)
    wait_until(lambda: states(rota) == {"n1": "standby"}, 15)
    rota.run("resume-node", "n1")
    node.wait_ready()


def test_standby_and_back_under_load_loses_no_firing_and_the_leader_changes(rota, ledger):
    first, = rota.start_nodes("n1", pools=ledger.pool())
    first.wait_for_line("leader of the housekeeping")
    second = rota.node("n2", pools=ledger.pool())
    ticks = Ticks("t", 20, 8, phases=20)
    rota.apply({"name": "ticks", "handler": "ledger", "triggers": ticks.declared(), "requests_recovery": True})
    moment = ticks.start_ms / 1000
    for round_ in range(3):
        wait_for_clock(moment + 1 + 2 * round_)
        rota.run("standby", "n1")
        since = time.time()
        wait_for_clock(moment + 2 + 2 * round_)
        late = [entry for entry in ledger.entries() if entry.node == "n1" and entry.clock > since + 0.1]
        assert not late, late
        rota.run("resume-node", "n1")
    second.wait_for_line("leader of the housekeeping")
    rota.wait_idle(ticks.until_all_fired() - time.time() + 20)
    assert_exactly_once(ledger, ticks.expected())
    assert {entry.node for entry in ledger.entries()} == {"n1", "n2"}
    assert first.stop() == second.stop() == 0


def test_a_fleet_on_standby_has_a_leader_all_the_same(rota):
    node = rota.node("n1", "--standby", ready=False)
    node.wait_for_line("leader of the housekeeping")


def test_a_wish_is_heard_with_the_next_heartbeat_where_nothing_is_notified(rota):
    node = rota.node("n1", notify="false", heartbeat="500ms")
    rota.run("standby", "n1")
    assert states(rota) == {"n1": "standby"}
    rota.run("resume-node", "n1")
    assert node.stop() == 0


def test_a_wish_that_was_recorded_while_nobody_could_hear_it_is_obeyed_later(rota):
    node = rota.node("n1")
    node.send(signal.SIGSTOP)
    done = rota.run("standby", "n1", "--wait", "500ms", check=False)
    assert done.returncode == 5 and 'node "n1" was told, and is running after 500ms' in done.stderr
    assert rota.run("standby", "n1", "--wait", "0").returncode == 0
    node.send(signal.SIGCONT)
    wait_until(lambda: states(rota) == {"n1": "standby"}, 10)


def test_a_stopped_node_that_is_evicted_loses_its_runs_at_once_and_stands_by_when_it_comes_back(rota, ledger):
    first = rota.node("n1", pools=ledger.pool())
    long_job(rota, ledger, sleep=3)
    long_job(rota, ledger, sleep=3, name="firing", requests_recovery=False)
    again, = rota.enqueue("long")
    lost, = rota.enqueue("firing")
    begun(ledger, 2)
    second = rota.node("n2", pools=ledger.pool())
    first.send(signal.SIGSTOP)
    began = time.monotonic()
    answer = control(rota, "evict", "n1")
    assert time.monotonic() - began < 3, "the lease of 10 s is not waited for"
    assert (answer["put_back"], answer["unknown"], answer["waiting_for_lease"], answer["state"]) == (1, 1, 0, "gone")
    assert rota.history(lost)["outcome"] == "lost"
    row = rota.wait_history(again)
    assert (row["node"], row["status"]) == ("n2", "success")
    first.send(signal.SIGCONT)
    first.wait_for_line("declared dead by another node")
    wait_until(lambda: states(rota) == {"n1": "standby", "n2": "running"}, 15)
    run, = rota.enqueue("long")
    assert rota.wait_history(run)["node"] == "n2"
    assert states(rota)["n1"] == "standby" and len(first.lines("node registered")) == 2
    rota.run("resume-node", "n1")
    assert states(rota)["n1"] == "running"
    assert rota.rows("SELECT id FROM rota.task_history GROUP BY id HAVING count(*) > 1") == []
    assert first.stop() == second.stop() == 0


def test_a_live_node_that_is_evicted_ends_its_runs_and_stands_by(rota, ledger):
    settings = {"pools": ledger.pool(), "grace": "5s"}
    first = rota.node("n1", **settings)
    long_job(rota, ledger)
    run, = rota.enqueue("long")
    begun(ledger, 1)
    second = rota.node("n2", **settings)
    done = rota.run("evict", "n1")
    assert done.stdout.startswith('evicted node "n1": 1 run put back, 0 unknown')
    begun(ledger, 2)
    assert [(entry.node, entry.recovering) for entry in ledger.entries()] == [("n1", False), ("n2", True)]
    wait_until(lambda: states(rota) == {"n1": "standby", "n2": "running"}, 10)
    holds_for(lambda: states(rota) == {"n1": "standby", "n2": "running"}, 3)
    assert len(first.lines("node registered")) == 2, "it does not come back again and again"
    assert rota.value("SELECT node FROM rota.run WHERE id = %s", run) == "n2"
    held = rota.rows("""SELECT l.objid FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
                         WHERE l.locktype = 'advisory' AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                           AND a.application_name LIKE 'rota session n1 %'""".replace("%", "%%"))
    assert len(held) == 1, "the lock of its first life and the leader's are given back"
    second.wait_for_line("leader of the housekeeping")
    assert first.stop() == 0
    rota.run("drain", "n2")
    rota.run("drain", "n2", "--gone")
    assert second.wait() == 0


def test_runs_of_lanes_of_an_evicted_node_begin_elsewhere_only_when_its_lease_is_over(rota, ledger):
    settings = {"pools": ledger.pool(), "lease": "4s", "heartbeat": "500ms", "grace": "60s"}
    first = rota.node("n1", **settings)
    long_job(rota, ledger, disallow_concurrent=True)
    long_job(rota, ledger, name="plain")
    rota.enqueue("long")
    rota.enqueue("plain")
    begun(ledger, 2)
    second = rota.node("n2", **settings)
    asked = time.monotonic()
    done = rota.run("evict", "n1", "--wait", "500ms", check=False)
    assert done.returncode == 5 and "when its lease is over" in done.stderr
    wait_until(lambda: ledger.count() == 3, 3, "the plain run to begin on n2")
    assert json.loads(rota.run("evict", "n1", "--json").stdout)["waiting_for_lease"] == 0
    assert time.monotonic() - asked > 2.5, "the lease was not waited for"
    begun(ledger, 4)
    by_run = {}
    for entry in ledger.entries():
        by_run.setdefault(entry.run, []).append(entry.node)
    assert sorted(by_run.values()) == [["n1", "n2"], ["n1", "n2"]]
    wait_until(lambda: states(rota) == {"n1": "standby", "n2": "running"}, 15)
    for node in (first, second):
        node.kill()


def test_a_node_may_be_evicted_that_is_gone_and_one_that_was_never_there_is_told_of(rota):
    node = rota.node("node-a")
    assert node.stop() == 0
    assert rota.run("evict", "node-a").stdout == 'node "node-a" is gone: it stands by when it is started again\n'
    for action in ("drain", "standby", "resume-node", "evict"):
        done = rota.run(action, "node-b", check=False)
        assert done.returncode == 4 and 'no node is called "node-b": did you mean "node-a"?' in done.stderr
    assert rota.value("SELECT count(*) FROM rota.node") == 1
    assert rota.run("drain", check=False).returncode == 2
    assert rota.run("drain", "a", "b", check=False).returncode == 2
    assert rota.run("standby", "node-a", "--gone", check=False).returncode == 2
    assert rota.run("drain", "node-a", "--wait", "soon", check=False).returncode == 2


def test_what_cannot_be_taken_back_is_refused(rota, ledger):
    node = rota.node("n1", pools=ledger.pool())
    long_job(rota, ledger)
    rota.enqueue("long")
    begun(ledger, 1)
    rota.run("drain", "n1")
    for action in ("standby", "resume-node"):
        done = rota.run(action, "n1", check=False)
        assert done.returncode == 1 and 'node "n1" is draining, which cannot be taken back' in done.stderr
    rota.run("drain", "n1", "--gone")
    assert node.wait() == 0
    disabled = rota.node("n2", MB_DISABLE_SCHEDULER="true")
    assert control(rota, "standby", "n2")["state"] == "disabled"
    done = rota.run("resume-node", "n2", check=False)
    assert done.returncode == 1 and "disable_scheduler" in done.stderr
    assert disabled.stop() == 0


@pytest.mark.parametrize("wish", ["'explode'", "NULL"])
def test_a_wish_that_nobody_knows_is_refused_in_sql(rota, wish):
    with pytest.raises(Exception, match="run, standby, drain or evict"):
        rota.rows(f"SELECT * FROM rota.node_wish('n1', {wish})")


def test_a_lane_run_that_ignores_its_end_never_overlaps_the_one_that_follows_an_eviction(rota, tmp_path):
    """Cancelling it takes twice the tenth of the grace, longer than the lease: the guard has to end it."""
    settings = {"exec_allow": "/bin/*", "lease": "2s", "heartbeat": "300ms", "grace": "100s"}
    path = tmp_path / "beats"
    path.touch()
    beats = f"trap '' TERM; while :; do echo $ROTA_NODE >> {path}; /bin/sleep 0.02; done"
    first = rota.node("n1", **settings)
    rota.apply({"name": "one", "handler": "exec", "durable": True, "disallow_concurrent": True,
                "data": {"command": ["/bin/sh", "-c", beats]}})
    rota.enqueue("one")
    wait_until(path.read_text, 10, "the run to begin")
    second = rota.node("n2", **settings)
    rota.run("evict", "n1", "--wait", "8s")
    wait_until(lambda: "n2" in path.read_text(), 10, "the run to go on elsewhere")
    wait_until(lambda: states(rota) == {"n1": "standby", "n2": "running"}, 10)
    lines = path.read_text().split()
    assert "n1" not in lines[lines.index("n2"):], "both ran at once"
    for node in (first, second):
        node.kill()


def test_without_other_nodes_an_eviction_takes_runs_of_lanes_when_it_has_seen_the_lease_pass(rota, ledger):
    node = rota.node("n1", pools=ledger.pool(), lease="2s", heartbeat="300ms")
    long_job(rota, ledger, disallow_concurrent=True)
    run, = rota.enqueue("long")
    begun(ledger, 1)
    node.send(signal.SIGSTOP)
    rota.db.execute("UPDATE rota.incarnation SET lease_until = now() - interval '1 h', renewed_at = now() - interval '1 h 2 s'")
    asked = time.monotonic()
    answer = control(rota, "evict", "n1", "--wait", "8s")
    assert (answer["put_back"], answer["waiting_for_lease"], answer["state"]) == (1, 0, "gone")
    assert time.monotonic() - asked > 1.9, "a clock that was set may have ended the lease: it is counted here"
    assert rota.where(run)[0][0] == "pending"
    node.kill()
