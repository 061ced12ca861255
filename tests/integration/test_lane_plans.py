"""The plans of the statements inside the functions of lanes, on large tables: 300,000 waiting runs and
triggers, most of them plain, and some thousands of lanes with runs parked in them."""

import pytest

import test_plans as plans
from fleet import Rota
from statements import array, same

LANES = 3000
PARKED = 30  # of each lane
LONG = 20000  # parked in one more lane
OUT = 50  # runs of one receipt of lanes, each with a slot

LOAD = f"""
SET session_replication_role = replica;
ALTER TABLE rota.lane_slot SET (autovacuum_enabled = false);
INSERT INTO rota.job (name, source, handler, definition, revision, lane_limit, lane_key)
  SELECT 'job ' || g, 'test', 'handler 0', '', 1, 1, '/a' FROM generate_series(1, 20) g;
INSERT INTO rota.trigger (job_id, name, kind, every_us, start_at, definition, revision)
  SELECT 1 + g % 20, 't' || g, 'every', 1000000, now(), '', 1 FROM generate_series(1, 300000) g;
UPDATE rota.trigger_due SET route = -1, lane = trigger_id % {LANES}, state = 'B' WHERE trigger_id % 60 = 0;
INSERT INTO rota.pending (route, due, job_id, scheduled_at, lane, held, held_due)
  SELECT -1 - 5 * (g % 3), 'infinity', 1, now(), g % {LANES}, 'L', now() - g * interval '1 second'
    FROM generate_series(1, {LANES * PARKED}) g;
INSERT INTO rota.pending (route, due, job_id, scheduled_at, lane, held, held_due)
  SELECT -1, 'infinity', 1, now(), {LANES}, 'L', now() - g * interval '1 second' FROM generate_series(1, {LONG}) g;
INSERT INTO rota.pending (route, due, job_id, scheduled_at, held, held_due)
  SELECT 1, 'infinity', 2 + g % 5, now(), 'P', now() FROM generate_series(1, 5000) g;
UPDATE rota.job SET held = true WHERE id BETWEEN 2 AND 6;
INSERT INTO rota.receipt (incarnation, open, ids, routes, dues, job_ids, trigger_ids, scheduled_at, enqueued_at, attempts,
                          crashes, missed, recovering, data, checkpoints, earlier, laned, claimed_at)
  SELECT 1, repeat('1', n)::varbit, ARRAY(SELECT g * {OUT} + x + 90000000 FROM generate_series(0, n - 1) x),
         array_fill(-1, ARRAY[n]), array_fill(now(), ARRAY[n]), array_fill(1, ARRAY[n]), array_fill(NULL::int, ARRAY[n]),
         array_fill(now(), ARRAY[n]), array_fill(now(), ARRAY[n]), array_fill(1::smallint, ARRAY[n]),
         array_fill(0::smallint, ARRAY[n]), array_fill(0, ARRAY[n]), array_fill(false, ARRAY[n]),
         array_fill('{{"a":1}}'::json, ARRAY[n]), array_fill(NULL::json, ARRAY[n]), array_fill(NULL::jsonb, ARRAY[n]), true, now()
    FROM generate_series(0::bigint, {LANES // OUT - 1}) g CROSS JOIN (SELECT {OUT} AS n) size;
INSERT INTO rota.lane_slot (lane, slot, job_id, run_id, fence, taken_at)
  SELECT o.id - 90000000, 1, 1, o.id, r.fence, now() - interval '1 minute'
    FROM rota.receipt r CROSS JOIN LATERAL rota.receipt_runs(r) o WHERE r.laned;
INSERT INTO rota.lane_slot (lane, slot, job_id, run_id, fence) VALUES ({LANES}, 1, 1, 99999999, 1);
RESET session_replication_role;
"""


@pytest.fixture(scope="module")
def loaded(shared_server, tmp_path_factory):
    rota = Rota(shared_server, tmp_path_factory.mktemp("lane-plans"))
    for statement in (plans.LOAD + LOAD).split(";\n"):
        rota.db.execute(statement)
    yield rota
    rota.close()


@pytest.fixture(scope="module", params=["never analysed", "analysed"])
def large(loaded, request):
    if request.param == "analysed":
        loaded.db.execute("ANALYZE")
    return loaded


def assert_lean(found, buffers, sorted_rows=300, indexes=(), whole=()):
    """All that the functions did together, without what it cost to plan it."""
    statements = [plan for plan in found if plan.root.get("Plans")]
    for plan in statements:
        assert not (plan.scans("Seq Scan") & {*plans.LARGE, "trigger", "lane_slot"}) - set(whole), plan.scans("Seq Scan")
        assert plan.sorted_rows() <= sorted_rows
    assert sum(plan.buffers() for plan in statements) <= buffers
    used = set().union(*(plan.indexes() for plan in statements))
    assert set(indexes) <= used, used


def slots(rota, count):
    return rota.rows("SELECT run_id, fence FROM rota.lane_slot WHERE lane < %s ORDER BY lane LIMIT %s", LANES, count)


def test_leaving_lanes_touches_those_who_wait_in_them_alone(large):
    rows = slots(large, 50)
    found = plans.within(large, "lane_release", "work", [array("bigint", [row[0] for row in rows]),
                                                         array("bigint", [row[1] for row in rows])])
    assert_lean(found, 80 * len(rows), indexes={"lane_slot_run", "pending_parked", "trigger_due_blocked"})


def test_leaving_a_lane_in_which_many_wait_is_as_cheap(large):
    found = plans.within(large, "lane_release", "work", ["'{99999999}'", "'{1}'"])
    assert_lean(found, 150, sorted_rows=10, indexes={"pending_parked"})


def test_free_slots_are_found_by_their_lanes(large):
    found = plans.within(large, "lane_rooms", "work", [array("bigint", range(100)), same("integer", 10000, 100)])
    assert_lean(found, 20 * 100, sorted_rows=600)


def test_the_sweep_looks_at_each_lane_once_however_many_wait_in_it(large):
    found = plans.within(large, "lane_sweep", "session", [])
    assert_lean(found, 12 * LANES, sorted_rows=2 * LANES + 10, whole={"lane_slot"},
                indexes={"pending_parked", "trigger_due_blocked", "pending_paused"})


@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
def test_a_heartbeat_sees_at_the_ends_of_indexes_whether_there_are_lanes(large, mode):
    plan = plans.execute(large, "node_heartbeat", "session", ["1", "10000", "77", "true", "'{1,2,3}'", *plans.since(3)], mode)
    assert not plan.scans("Seq Scan") & {*plans.LARGE, "lane_slot"}
    assert {"pending_parked", "trigger_due_blocked", "pending_paused", "lane_slot_pkey"} <= plan.indexes()


def test_picking_runs_of_lanes_touches_the_heads_of_its_routes_alone(large):
    routes = [array("integer", [-1, -6]), array("smallint", [5, 6]), array("integer", [0, 0]), same("integer", 300, 2),
              same("integer", 300, 2), *plans.since(2)]
    plan = plans.execute(large, "lane_pick", "work", routes,
                         before="UPDATE rota.pending SET held = NULL, due = held_due, held_due = NULL WHERE lane = 7")
    assert plan.root["Actual Rows"] == PARKED
    plans.assert_lean(plan, {"pending_claim"}, 1300, 6000)
