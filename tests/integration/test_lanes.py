"""Jobs with a limit: their runs never overlap beyond it, whoever dies; nobody waits for a lane that is not
his; what waits for one is woken by whoever leaves it."""

import concurrent.futures
import os
import signal
import sys
import time

import psycopg
import pytest

from lane_tables import assert_no_overlap, create, pool
from ledger import instant_text
from proxy import LossyProxy
from statements import run
from waiting import holds_for, wait_until

TAKES_S = 120

FULL = os.environ.get("ROTA_TEST_FULL") == "1"
LEASE_S = 4


@pytest.fixture
def lanes(rota):
    create(rota)
    return rota


def job(name, *triggers, **more):
    return {"name": name, "handler": "exclusive", "durable": True, "disallow_concurrent": True,
            "triggers": list(triggers), **more}


def assert_lanes_empty(rota):
    wait_until(lambda: rota.rows("SELECT lane, slot, run_id FROM rota.lane_slot") == [], 10, "all slots to be given back")
    assert rota.rows("SELECT * FROM rota.lane_state") == []


def assert_nobody_was_forgotten(nodes):
    """The sweep found nothing: events woke everybody."""
    assert [line for node in nodes for line in node.lines("lanes woken late")] == []


def sleepers(node):
    """Its processes that run /bin/sleep."""
    return [process for process in node.workers() if process.command.startswith("/bin/sleep")]


def most_at_once(rota, lane):
    return rota.value("SELECT max(n) FROM (SELECT (SELECT count(*) FROM visit b WHERE b.lane = a.lane AND b.entered <= a.entered "
                      "AND (b.gone IS NULL OR b.gone > a.entered)) n FROM visit a WHERE a.lane = %s) counted", lane)


def running(node, command):
    return [process for process in node.workers() if process.command == command]


def finished(rota):
    return rota.value("SELECT count(*) FROM rota.task_history")


def wait_finished(rota, count, limit=60):
    wait_until(lambda: finished(rota) == count, limit, lambda: f"{count} runs to be over: {rota.open_work()}")


def test_runs_of_an_exclusive_job_follow_each_other(lanes):
    lanes.apply(job("one", data={"lane": "one", "sleep": 0.02}))
    node = lanes.node(pools=pool(lanes))
    lanes.enqueue("one", "--count", "40")
    wait_finished(lanes, 40)
    assert_no_overlap(lanes)
    assert most_at_once(lanes, "one") == 1
    assert_lanes_empty(lanes)
    assert_nobody_was_forgotten([node])


def test_exclusive_jobs_never_overlap_on_four_nodes(lanes):
    """Triggers and queued runs of 10 exclusive jobs, more than any of them can do."""
    seconds = 60 if FULL else 5
    names = [f"job-{i}" for i in range(10)]
    nodes = lanes.start_nodes("n1", "n2", "n3", "n4", pools=pool(lanes))
    lanes.apply(*[job(name, *({"name": f"{name}-{i}", "every": "1s"} for i in range(3)),
                      data={"lane": name, "sleep": 0.05}) for name in names])
    def siblings():
        return lanes.value("SELECT count(DISTINCT trigger) FROM visit WHERE trigger <> ''")

    until = time.monotonic() + seconds
    queued = 0
    while time.monotonic() < until or siblings() < 3 * len(names):
        assert time.monotonic() < until + 30, f"of 30 triggers only {siblings()} fired: siblings starve"
        for name in names:
            lanes.enqueue(name, "--count", "3", "--data", '{"queued": true}')
            queued += 3
    lanes.db.execute("UPDATE rota.trigger SET end_at = now()")
    lanes.apply(*[job(name, data={"lane": name, "sleep": 0.05}) for name in names])
    wait_until(lambda: lanes.open_runs() == 0, 120, lambda: lanes.open_work())
    assert_no_overlap(lanes)
    assert all(most_at_once(lanes, name) == 1 for name in names)
    assert lanes.value("SELECT count(*) FROM rota.task_history WHERE data IS NOT NULL") == queued
    assert lanes.value("SELECT count(DISTINCT node) FROM rota.task_history WHERE outcome = 'success'") > 1
    assert lanes.value("SELECT count(*) FROM rota.task_history WHERE status <> 'success'") == 0
    assert lanes.rows("SELECT id, count(*) FROM rota.task_history GROUP BY id HAVING count(*) > 1") == []
    assert_lanes_empty(lanes)
    assert_nobody_was_forgotten(nodes)


def test_a_limit_is_reached_and_kept(lanes):
    lanes.apply(job("three", disallow_concurrent=False, concurrency={"limit": 3},
                    data={"lane": "three", "seats": 3, "sleep": 0.1}))
    nodes = lanes.start_nodes("n1", "n2", pools=pool(lanes))
    lanes.enqueue("three", "--count", "30")
    wait_finished(lanes, 30)
    assert most_at_once(lanes, "three") == 3
    assert_lanes_empty(lanes)
    assert_nobody_was_forgotten(nodes)


def test_one_stuck_key_of_a_hundred_delays_no_other(lanes):
    """The stuck key has as many runs as all others together, and they are the oldest."""
    lanes.apply(job("keys", disallow_concurrent=False, concurrency={"limit": 1, "key": "/customer"}, data={}))
    nodes = lanes.start_nodes("n1", "n2", pools=pool(lanes))
    lanes.enqueue("keys", "--data", '{"customer": 0, "lane": "c0", "sleep": 600}')
    wait_until(lambda: lanes.value("SELECT count(*) FROM visit") == 1, 20, "the stuck one to run")
    lanes.enqueue("keys", "--count", "990", "--data", '{"customer": 0, "lane": "c0", "sleep": 600}')
    for customer in range(1, 100):
        lanes.db.execute("INSERT INTO rota.pending (route, due, job_id, scheduled_at, data, lane) "
                         "SELECT -r.id, now(), j.id, now(), d.data, rota.run_lane(j.id, NULL, d.data) "
                         "FROM rota.job j JOIN rota.route r ON r.handler = j.handler AND r.priority = j.priority "
                         "CROSS JOIN (SELECT json_build_object('customer', %s::int, 'lane', 'c' || %s::int, 'sleep', 0.01) AS data) d "
                         "CROSS JOIN generate_series(1, 10)", (customer, customer))
    lanes.db.execute("NOTIFY \"rota.wake\", 'lane'")
    wait_finished(lanes, 990)
    assert lanes.value("SELECT count(*) FROM visit WHERE lane = 'c0'") == 1
    assert_no_overlap(lanes)
    state, = lanes.rows("SELECT job, key, running, parked, blocked, \"limit\" FROM rota.lane_state")
    assert state == ("keys", "0", 1, 990, 0, 1)
    assert_nobody_was_forgotten(nodes)


def test_a_trigger_whose_lane_is_full_is_blocked_and_meets_the_misfire_policy_when_it_is_freed(lanes):
    lanes.apply(job("slow", {"name": "often", "every": "500ms", "misfire_tolerance": "0s"}, data={"lane": "slow", "sleep": 3}))
    node = lanes.node(pools=pool(lanes))
    wait_until(lambda: lanes.rows("SELECT state FROM rota.trigger_state WHERE state = 'blocked'"), 20, "the trigger to be blocked")
    assert lanes.value("SELECT count(*) FROM rota.run WHERE state = 'started'") == 1
    wait_until(lambda: lanes.value("SELECT count(*) FROM visit") >= 3, 20, "two more runs")
    lanes.db.execute("UPDATE rota.fleet SET paused = true; SELECT rota.pause_settle(NULL, false)")
    wait_until(lambda: lanes.rows("SELECT * FROM rota.receipt") == [], 20, lambda: lanes.open_work())
    assert_no_overlap(lanes)
    fired, missed, misfired = lanes.rows("SELECT fired, missed, misfired FROM rota.trigger_due")[0]
    first, next_at = lanes.rows("SELECT t.start_at, d.next_at FROM rota.trigger t JOIN rota.trigger_due d ON d.trigger_id = t.id")[0]
    occurrences = round((next_at - first).total_seconds() / 0.5)
    assert fired + missed == occurrences, (fired, missed, misfired, occurrences)
    assert misfired >= 1 and missed >= 4
    assert_nobody_was_forgotten([node])


@pytest.mark.parametrize("last", [False, True])
def test_a_trigger_that_does_not_take_the_place_it_was_woken_for_leaves_it_to_the_next(lanes, last):
    """It is the first in the lane; by then nothing of it is to be fired any more."""
    one = job("one", data={"lane": "one", "sleep": 4})
    lanes.apply(one)
    node = lanes.node(pools=pool(lanes))
    lanes.enqueue("one")
    wait_until(lambda: lanes.value("SELECT count(*) FROM visit") == 1, 20, "the run to begin")
    soon = int(time.time() * 1000) + 500
    lanes.apply({**one, "triggers": [{"name": "skips", "every": "30s", "start_at": instant_text(soon), "misfire": "skip",
                                      "misfire_threshold": "0s", "misfire_tolerance": "0s",
                                      **({"end_at": instant_text(soon + 1000)} if last else {})}]})
    wait_until(lambda: lanes.rows("SELECT state FROM rota.trigger_state WHERE state = 'blocked'"), 20, "the trigger to be blocked")
    waits, = lanes.enqueue("one", "--data", '{"sleep": 0}')
    wait_until(lambda: lanes.value("SELECT count(*) FROM rota.task_history") >= 1, 20, lambda: lanes.open_work())
    freed = time.monotonic()
    assert lanes.wait_history(waits)["status"] == "success"
    assert time.monotonic() - freed < 2
    assert lanes.rows("SELECT missed, fired, state FROM rota.trigger_due") == [(1, 0, "C" if last else "W")]
    assert_nobody_was_forgotten([node])


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_an_exclusive_run_of_a_dead_node_is_taken_over_after_its_lease_and_never_overlaps(lanes, end):
    settings = {"lease": f"{LEASE_S}s", "heartbeat": "500ms", "restart_delay": "0s"}
    first = lanes.node("n1", pools=pool(lanes), **settings)
    lanes.apply(job("one", data={"lane": "one", "sleep": 60}, requests_recovery=True))
    held, = lanes.enqueue("one")
    wait_until(lambda: lanes.value("SELECT count(*) FROM seat"), 20, "the run to begin")
    second = lanes.node("n2", pools=pool(lanes), **settings)
    lanes.enqueue("one", "--data", '{"sleep": 0}')
    renewed = lanes.value("SELECT renewed_at FROM rota.incarnation WHERE node = 'n1'")
    if end == "kill":
        first.kill()
    else:
        first.send(signal.SIGSTOP)
    wait_until(lambda: lanes.value("SELECT count(*) FROM visit WHERE run = %s", held) == 2, LEASE_S + 20,
               lambda: f"the run to be taken over: {lanes.open_work()}")
    entered = lanes.value("SELECT max(entered) FROM visit WHERE run = %s", held)
    assert (entered - renewed).total_seconds() >= LEASE_S - 0.1, "its node might have been alive"
    assert_no_overlap(lanes)
    if end == "stop":
        first.send(signal.SIGCONT)
        first.wait_for_line("declared dead", 20)
    assert_no_overlap(lanes)
    assert_nobody_was_forgotten([second])


def test_the_end_of_a_lease_ends_exclusive_runs_and_no_other(lanes, ledger):
    """The database is out of reach for longer than the lease."""
    proxy = LossyProxy(lanes.url, loss=0, seed=1)
    try:
        node = lanes.node("n1", lease=f"{LEASE_S}s", heartbeat="500ms", exec_allow="/bin/*", database_url=proxy.url)
        plain = {"handler": "exec", "durable": True, "data": {"command": ["/bin/sh", "-c", "sleep 300 & wait"]}}
        lanes.apply({"name": "plain", **plain, "data": ledger.shell("exec sleep 12")},
                    {"name": "one", **plain, "disallow_concurrent": True, "data": ledger.shell("exec sleep 299")})
        stays, = lanes.enqueue("plain")
        ends, = lanes.enqueue("one")
        wait_until(lambda: ledger.count() == 2, 20, "both to run")
        proxy.dead = True
        wait_until(lambda: not running(node, "sleep 299"), LEASE_S + 5,
                   "the exclusive run to be ended")
        assert running(node, "sleep 12"), "it harms nobody"
        proxy.dead = False
        assert lanes.wait_history(stays, 40)["outcome"] == "success"
        assert lanes.history(stays)["attempt"] == 1
        wait_until(lambda: ledger.count() == 3, 20, lambda: f"the exclusive run to begin again: {lanes.where(ends)}")
        node.kill()
    finally:
        proxy.close()


def test_plain_runs_of_a_dead_node_do_not_wait_for_its_lease(lanes):
    settings = {"lease": "30s", "heartbeat": "500ms", "restart_delay": "0s"}
    first = lanes.node("n1", pools=pool(lanes), **settings)
    lanes.apply(job("one", data={"lane": "one", "sleep": 60}, requests_recovery=True),
                {"name": "plain", "handler": "exclusive", "durable": True, "data": {"lane": "plain", "sleep": 60}})
    plain, = lanes.enqueue("plain")
    held, = lanes.enqueue("one")
    wait_until(lambda: lanes.value("SELECT count(*) FROM visit") == 2, 20, "both to begin")
    second = lanes.node("n2", pools=pool(lanes), **settings)
    first.kill()
    wait_until(lambda: lanes.value("SELECT count(*) FROM visit WHERE run = %s", plain) == 2, 10,
               lambda: f"the plain run to be taken over: {lanes.open_work()}")
    assert lanes.value("SELECT count(*) FROM visit WHERE run = %s", held) == 1
    assert len(second.lines("recovered a dead node")) == 1
    second.kill()


def test_a_node_that_comes_back_within_its_lease_keeps_its_lanes_and_ends_what_others_have_taken_over(lanes):
    settings = {"lease": "12s", "heartbeat": "500ms", "restart_delay": "0s", "exec_allow": "/bin/sleep"}
    lanes.apply(job("one", data={"lane": "one", "sleep": 9}, requests_recovery=True),
                {"name": "plain", "handler": "exec", "durable": True, "data": {"command": ["/bin/sleep", "600"]}})
    first = lanes.node("n1", pools=pool(lanes), **settings)
    held, = lanes.enqueue("one")
    plain, = lanes.enqueue("plain")
    wait_until(lambda: lanes.value("SELECT count(*) FROM visit") == 1, 20, "the lane run to begin")
    wait_until(lambda: sleepers(first), 10, "the plain run to begin")
    second = lanes.node("n2", pools=pool(lanes), **settings)
    first.send(signal.SIGSTOP)
    lanes.db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'rota session n1 %'")
    wait_until(lambda: sleepers(second), 8, "the plain run to be taken over")
    first.send(signal.SIGCONT)
    first.wait_for_line("ending runs that another node has taken over", 5)
    wait_until(lambda: not sleepers(first), 8, "its copy to end")
    row = lanes.wait_history(held)
    assert (row["status"], row["node"], row["attempt"]) == ("success", "n1", 1)
    assert not first.lines("declared dead") and sleepers(second)
    assert lanes.where(plain)[0][:2] == ("started", "n2")
    assert lanes.value("SELECT count(*) FROM visit") == 1
    assert_no_overlap(lanes)
    second.kill()


def test_a_run_that_waits_for_its_next_attempt_holds_no_slot(lanes):
    lanes.apply(job("retried", data={"lane": "retried", "fail": "no"},
                    retry={"max_attempts": 2, "backoff": "fixed", "initial": "1h"}))
    node = lanes.node(pools=pool(lanes))
    failing, = lanes.enqueue("retried")
    other, = lanes.enqueue("retried", "--data", '{"fail": ""}')
    assert lanes.wait_history(other)["status"] == "success"
    assert lanes.where(failing)[0][0] == "pending"
    assert_lanes_empty(lanes)
    assert_nobody_was_forgotten([node])


def test_runs_that_are_out_when_their_job_becomes_exclusive_count(lanes):
    plain = {"name": "changes", "handler": "exclusive", "durable": True, "data": {"lane": "changes", "seats": 9, "sleep": 3}}
    lanes.apply(plain)
    node = lanes.node(pools=pool(lanes))
    lanes.enqueue("changes", "--count", "2")
    wait_until(lambda: lanes.value("SELECT count(*) FROM visit") == 2, 20, "both to run")
    lanes.apply({**plain, "disallow_concurrent": True, "data": {**plain["data"], "sleep": 0.1}})
    lanes.enqueue("changes", "--count", "3")
    wait_finished(lanes, 5)
    both_gone = lanes.value("SELECT max(gone) FROM (SELECT gone FROM visit ORDER BY entered LIMIT 2) first")
    assert lanes.value("SELECT min(entered) FROM (SELECT entered FROM visit ORDER BY entered OFFSET 2) later") >= both_gone
    later = lanes.rows("SELECT entered, gone FROM visit ORDER BY entered OFFSET 2")
    assert all(gone <= entered for (_, gone), (entered, _) in zip(later, later[1:]))
    assert_lanes_empty(lanes)
    assert_nobody_was_forgotten([node])


def test_a_higher_limit_wakes_who_waits(lanes):
    one = job("grows", data={"lane": "grows", "seats": 9, "sleep": 60})
    lanes.apply(one)
    node = lanes.node(pools=pool(lanes))
    lanes.enqueue("grows", "--count", "5")
    wait_until(lambda: lanes.rows("SELECT parked, running FROM rota.lane_state") == [(4, 1)], 20, lambda: lanes.open_work())
    lanes.apply({**one, "disallow_concurrent": False, "concurrency": {"limit": 3}})
    wait_until(lambda: lanes.rows("SELECT parked, running FROM rota.lane_state") == [(2, 3)], 20, lambda: lanes.open_work())
    lanes.apply({**one, "disallow_concurrent": False})
    wait_until(lambda: lanes.value("SELECT count(*) FROM rota.run WHERE state = 'started'") == 5, 20, lambda: lanes.open_work())
    assert_nobody_was_forgotten([node])


def test_a_slow_lane_does_not_hold_back_plain_work_and_a_flood_of_it_does_not_hold_back_lanes(lanes):
    """One order for all: each kind gets its turn, whatever of the others waits."""
    plain = {"name": "plain", "handler": "exclusive", "durable": True, "data": {"lane": "", "seats": 99, "sleep": 0.05}}
    lanes.apply(plain, job("one", data={"lane": "one", "sleep": 0.05}))
    lanes.enqueue("plain", "--count", "400")
    lanes.enqueue("one", "--count", "5")
    lanes.enqueue("plain", "--count", "400")
    lanes.enqueue("one", "--count", "20", "--priority", "9")
    lanes.node(pools=pool(lanes, slots=4))
    wait_until(lambda: lanes.value("SELECT count(*) FROM rota.task_history WHERE task = 'one'") == 25, 40, lambda: lanes.open_work())
    assert 100 < lanes.value("SELECT count(*) FROM rota.task_history WHERE task = 'plain'") < 800
    order = [row[0] for row in lanes.rows("SELECT h.id FROM rota.task_history h WHERE h.task = 'one' ORDER BY h.ended_at")]
    assert sorted(order[:20]) == sorted(order)[5:], "the more urgent ones of a lane go first"


def test_a_drained_node_gives_its_slots_back(lanes):
    first = lanes.node("n1", pools=pool(lanes), grace="1s")
    lanes.apply(job("one", data={"lane": "one", "sleep": 60}))
    held, = lanes.enqueue("one")
    waits, = lanes.enqueue("one", "--data", '{"sleep": 0}')
    wait_until(lambda: lanes.rows("SELECT parked, running FROM rota.lane_state") == [(1, 1)], 20, lambda: lanes.open_work())
    assert first.stop() == 0
    assert lanes.rows("SELECT * FROM rota.lane_slot") == []
    lanes.node("n2", pools=pool(lanes))
    wait_until(lambda: lanes.value("SELECT count(*) FROM visit WHERE run IN (%s, %s)", held, waits) >= 2, 20,
               lambda: lanes.open_work())
    assert_no_overlap(lanes)


# --- the statements alone ---

def route(rota):
    return rota.value("SELECT rota.route_of('noop', 5::smallint)")


def parked(rota, count=1):
    """A lane of limit 1 that waits although nobody is in it."""
    rota.apply({"name": "lone", "handler": "noop", "durable": True, "disallow_concurrent": True})
    rota.enqueue("lone", "--count", str(count))
    rota.db.execute("UPDATE rota.pending SET held = 'L', held_due = due, due = 'infinity'")
    return rota.value("SELECT DISTINCT lane FROM rota.pending")


def waiting(rota):
    return rota.value("SELECT count(*) FROM rota.pending WHERE held = 'L'")


def test_the_most_urgent_of_a_lane_is_woken_first_however_many_wait_longer(rota):
    """A step of priority is worth a minute; each kind of work has its place in one order."""
    lane = parked(rota, 500)
    rota.db.execute("UPDATE rota.pending SET held_due = now() - interval '1 second' * (500 - id % 500)")
    urgent = rota.value("UPDATE rota.pending SET route = -rota.route_of('noop', 30::smallint), held_due = now() "
                        "WHERE id = (SELECT max(id) FROM rota.pending) RETURNING id")
    assert run(rota.db, "lane_wake", f"'{{{lane}}}'") == [(1,)]
    assert rota.rows("SELECT id FROM rota.pending WHERE held IS NULL") == [(urgent,)]
    oldest = rota.value("SELECT id FROM rota.pending WHERE held = 'L' ORDER BY held_due LIMIT 1")
    assert run(rota.db, "lane_wake", f"'{{{lane}}}'") == [(1,)]
    assert rota.rows("SELECT id FROM rota.pending WHERE held IS NULL AND id <> %s", urgent) == [(oldest,)]


def test_the_sweep_wakes_a_lane_whose_event_was_lost_and_only_once(rota):
    parked(rota, 3)
    assert run(rota.db, "lane_sweep") == [(0, 1, 0)]
    assert waiting(rota) == 2
    assert run(rota.db, "lane_sweep") == [(0, 0, 0)], "one of them is on its way"


def test_the_sweep_frees_slots_of_runs_that_are_out_no_more(rota):
    lane = parked(rota, 2)
    rota.db.execute("INSERT INTO rota.lane_slot (lane, slot, job_id, run_id, fence, taken_at) "
                    "SELECT %s, 1, id, 4711, 1, now() - interval '1 minute' FROM rota.job", (lane,))
    assert run(rota.db, "lane_sweep") == [(1, 0, 0)]
    assert waiting(rota) == 1 and rota.rows("SELECT * FROM rota.lane_slot") == []


def test_the_leader_sweeps(rota):
    parked(rota, 2)
    node = rota.node()
    wait_until(lambda: rota.value("SELECT count(*) FROM rota.task_history") == 2, 20, lambda: rota.open_work())
    assert node.lines("lanes woken late")


def test_a_lane_that_somebody_keeps_locked_costs_the_leader_nothing(rota):
    """Say, an apply that was stopped in the middle: the leader's session has a lease to renew."""
    lane = parked(rota, 2)
    with psycopg.connect(rota.url) as stuck:
        stuck.execute("SELECT pg_advisory_xact_lock(%s)", (lane,))
        node = rota.node(lease="2s", heartbeat="200ms")
        node.wait_for_line("leader of the housekeeping")
        holds_for(lambda: rota.value("SELECT clock_timestamp() - renewed_at < '1.5 s' FROM rota.incarnation"), 4,
                  "the lease to be renewed")
        assert waiting(rota) == 2
    wait_until(lambda: rota.value("SELECT count(*) FROM rota.task_history") == 2, 20, lambda: rota.open_work())
    assert not node.lines("cannot look after the lanes")


@pytest.mark.parametrize("pointer,run_data,expected", [
    ("/customer", '{"customer": "a"}', "a"),
    ("/customer", "{}", "of the job"),
    ("/customer", None, "of the job"),
    ("/deep/1", '{"deep": [1, "second"]}', "second"),
    ("/a~1b/~0", '{"a/b": {"~": 5}}', "5"),
    ("/nowhere", '{"customer": "a"}', None),
    ("/customer", '{"customer": null}', None),
    ("/customer", "[1]", "of the job"),
])
def test_a_key_is_what_the_data_of_the_run_say(rota, pointer, run_data, expected):
    assert rota.value("SELECT rota.lane_value(%s, %s::json, NULL, '{\"customer\": \"of the job\"}')", pointer, run_data) == expected


def test_two_claims_of_the_same_lane_cannot_both_have_it(rota):
    """The second finds it locked; after the first has committed it finds the slot taken."""
    lane = parked(rota)
    with psycopg.connect(rota.url) as first, psycopg.connect(rota.url) as second:
        assert run(first, "lane_rooms", f"'{{{lane}}}'", "'{1}'") == [(lane, [1])]
        assert run(second, "lane_rooms", f"'{{{lane}}}'", "'{1}'") == []
        second.rollback()
        first.execute("INSERT INTO rota.lane_slot (lane, slot, job_id, run_id, fence) VALUES (%s, 1, 1, 1, 1)", (lane,))
        first.commit()
        assert run(second, "lane_rooms", f"'{{{lane}}}'", "'{1}'") == [(lane, [])]
        second.rollback()
    with pytest.raises(Exception, match="lane_slot_pkey"):
        rota.db.execute("INSERT INTO rota.lane_slot (lane, slot, job_id, run_id, fence) VALUES (%s, 1, 1, 2, 2)", (lane,))


def test_an_apply_gives_runs_that_are_out_a_place_beside_a_claim_of_the_same_lane(rota):
    """Which has not committed yet: the apply can see neither its run nor its place."""
    keyed = {"name": "keyed", "handler": "noop", "durable": True}
    rota.apply({**keyed, "concurrency": {"limit": 1, "key": "/b"}})
    rota.db.execute("INSERT INTO rota.node (name) VALUES ('n'); INSERT INTO rota.incarnation (node, state, lease_until, version, host, "
                    "pid) VALUES ('n', 'running', now() + interval '1 h', '1', 'h', 1)")
    rota.enqueue("keyed", "--data", '{"a": 1, "b": 2}')
    rota.enqueue("keyed", "--data", '{"a": 2, "b": 1}')
    first, second = (row[0] for row in rota.rows("SELECT id FROM rota.pending ORDER BY id"))
    lanes = [rota.value("SELECT rota.lane_of(id, %s) FROM rota.job", value) for value in ("2", "1")]
    take = ["1", None, None, "'{1}'", "'{}'", "'{}'", "'{}'", "'{}'"]
    run(rota.db, "lane_take", *take[:1], f"'{{{first}}}'", f"'{{{lanes[0]}}}'", *take[3:])
    rota.db.execute("UPDATE rota.job SET lane_key = '/a'")
    with psycopg.connect(rota.url) as claim, concurrent.futures.ThreadPoolExecutor(1) as thread:
        run(claim, "lane_take", *take[:1], f"'{{{second}}}'", f"'{{{lanes[1]}}}'", *take[3:])
        apply = thread.submit(psycopg.connect(rota.url, autocommit=True).execute, "SELECT rota.lanes_changed('{keyed}')")
        wait_until(lambda: apply.done() or rota.value("SELECT count(*) FROM pg_locks WHERE NOT granted"), 5)
        claim.commit()
        apply.result(5)
    assert rota.rows("SELECT run_id FROM rota.lane_slot WHERE lane = %s AND adopted", lanes[1]) == [(first,)]


@pytest.mark.parametrize("statement", ["manifest_move_triggers", "manifest_touch_triggers"])
def test_a_blocked_trigger_that_an_apply_has_in_hand_when_its_lane_is_freed_is_not_forgotten(rota, statement):
    rota.apply({"name": "lone", "handler": "noop", "disallow_concurrent": True, "triggers": [{"name": "t", "every": "1h"}]})
    rota.db.execute("UPDATE rota.trigger_due SET state = 'B', next_at = now() - interval '1 minute'")
    trigger, lane = rota.rows("SELECT trigger_id, lane FROM rota.trigger_due")[0]
    rota.db.execute("INSERT INTO rota.lane_slot (lane, slot, job_id, run_id, fence) VALUES (%s, 1, 1, 1, 1)", (lane,))
    with psycopg.connect(rota.url) as apply:
        run(apply, "manifest_lock_due", f"'{{{trigger}}}'")
        assert run(rota.db, "lane_release", "'{1}'", "'{1}'") == [(0,)]
        if statement == "manifest_move_triggers":
            run(apply, statement, f"'{{{trigger}}}'", "'{B}'", "ARRAY[now()]", "'{NULL}'", "'{0}'", "'{0}'", "'{0}'", "2",
                "'{NULL}'")
        else:
            run(apply, statement, "'{t}'", "'{noop}'", "'{5}'", "2")
    assert rota.value("SELECT state::text FROM rota.trigger_due") == "W"


def test_a_run_that_was_parked_while_its_job_was_deleted_ends(rota):
    parked(rota)
    rota.db.execute("DELETE FROM rota.job")
    node = rota.node()
    wait_until(lambda: rota.rows("SELECT outcome FROM rota.task_history") == [("cancelled",)], 20, lambda: rota.open_work())
    assert node.lines("lanes woken late"), "nobody else could"


def test_a_run_goes_back_to_a_lane_or_to_none_as_one_look_at_its_job_says(rota):
    """Its route and its lane come from different statements, between which an apply may commit."""
    rota.apply({"name": "lone", "handler": "noop", "durable": True, "disallow_concurrent": True})
    route_id = route(rota)
    assert rota.value("SELECT rota.route_now(%s, id, false) FROM rota.job", -route_id) == route_id
    assert rota.value("SELECT rota.route_now(%s, id, true) FROM rota.job", route_id) == -route_id
