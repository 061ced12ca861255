"""The plans of what nodes do for the queue, on large tables: 300,000 waiting runs, 20,000 of them at one
rate, half of these for later, 1,000 rates with some, and 20,000 runs that wait for others."""

import pytest

import test_plans as plans
from fleet import Rota
from statements import array

BUCKETS = 1000
LONG = 10000  # waiting at one bucket

LOAD = f"""
SET session_replication_role = replica;
INSERT INTO rota.job (name, source, handler, definition, revision, rate_limit, rate_per_ms, rate_burst)
  VALUES ('rated', 'test', 'handler 0', '', 1, 1, 1000, 20);
INSERT INTO rota.job (name, source, handler, definition, revision, lane_limit) VALUES ('laned', 'test', 'handler 0', '', 1, 1);
INSERT INTO rota.pending (route, due, job_id, scheduled_at, bucket, held, held_due)
  SELECT 1 + 5 * (g % 3), 'infinity', 1, now(), 0, 'R', now() - g * interval '1 second' FROM generate_series(1, {LONG}) g;
INSERT INTO rota.pending (route, due, job_id, scheduled_at, bucket, held, held_due)
  SELECT 1 + 5 * (g % 3), 'infinity', 1, now(), 1 + g % {BUCKETS}, 'R', now() - g * interval '1 second'
    FROM generate_series(1, {10 * BUCKETS}) g;
INSERT INTO rota.pending (route, due, job_id, scheduled_at, bucket, held, held_due)
  SELECT 1 + 5 * (g % 3), 'infinity', 1, now(), 0, 'R', now() + g * interval '1 minute' FROM generate_series(1, {LONG}) g;
INSERT INTO rota.rate_due (at, bucket, job_id) SELECT now() + g * interval '1 minute', 0, 1 FROM generate_series(1, {LONG}) g;
INSERT INTO rota.rate_bucket (bucket, job_id, tokens) SELECT g, 1, 20 FROM generate_series(0, {BUCKETS}) g;
INSERT INTO rota.rate_due (at, bucket, job_id) SELECT now() - interval '1 hour', 0, 1;
INSERT INTO rota.rate_due (at, bucket, job_id) SELECT now() + g * interval '1 minute', g, 1 FROM generate_series(1, {BUCKETS}) g;
INSERT INTO rota.pending (id, route, due, job_id, scheduled_at, held, held_due)
  SELECT 50000000 + g, 1, 'infinity', 1, now(), 'A', now() FROM generate_series(1, 20000) g;
INSERT INTO rota.run_after (needs, run_id, any_outcome) SELECT 50000000 + g - 1, 50000000 + g, false FROM generate_series(1, 20000) g;
INSERT INTO rota.task_history (id, task, ended_at, status, outcome, attempt, scheduled_at)
  SELECT 50000000, 'rated', now(), 'success', 'success', 1, now();
INSERT INTO rota.pending (route, due, job_id, scheduled_at, lane)
  SELECT -1, now() - g * interval '1 second', 2, now(), 5 FROM generate_series(1, {LONG}) g;
RESET session_replication_role;
"""


@pytest.fixture(scope="module")
def loaded(shared_server, tmp_path_factory):
    rota = Rota(shared_server, tmp_path_factory.mktemp("queue-plans"))
    for statement in (plans.LOAD + LOAD).split(";\n"):
        rota.db.execute(statement)
    yield rota
    rota.close()


@pytest.fixture(scope="module", params=["never analysed", "analysed"])
def large(loaded, request):
    if request.param == "analysed":
        loaded.db.execute("ANALYZE")
    return loaded


def assert_lean(found, buffers, sorted_rows, whole=()):
    """All that the functions did together."""
    assert found
    for plan in found:
        assert not plan.scans("Seq Scan") & {*plans.LARGE, "run_after"} - set(whole), plan.scans("Seq Scan")
        assert plan.sorted_rows() <= sorted_rows
    total = sum(plan.buffers() for plan in found if plan.root.get("Plans"))
    assert total <= buffers, total


def test_starts_at_a_bucket_cost_by_their_number_not_by_those_who_wait(large):
    found = plans.within(large, "rate_wake", "work", ["32"])
    assert_lean(found, 4000, 100)
    assert {"pending_rated", "rate_due_at"} <= set().union(*(plan.indexes() for plan in found))
    passed_over = [(node["Rows Removed by Filter"], node) for plan in found for node in plan.nodes
                   if node.get("Rows Removed by Filter", 0) > 100]
    assert not passed_over, "what is for later is beyond where the indexes are read"


def test_the_sweep_of_rates_looks_at_each_bucket_once(large):
    assert_lean(plans.within(large, "rate_sweep", "session", [str(-2**63)]), 14 * BUCKETS, BUCKETS)


def test_the_sweep_of_what_runs_left_behind_reads_a_slice_of_it(large):
    plan = plans.within(large, "extra_sweep", "session", ["0"])
    assert_lean(plan, 20000, 4000, whole={"receipt"})  # who is out is read whole: receipts are few


def test_an_end_that_nobody_waits_for_costs_one_look_each(large):
    found = plans.within(large, "after_resolve", "work", [array("bigint", range(300))])
    assert_lean(found, 1500, 300)


def test_an_end_that_is_waited_for_touches_who_waits_alone(large):
    found = plans.within(large, "after_resolve", "work", [array("bigint", [50000000])])
    assert_lean(found, 12000, 300, whole={"receipt"})  # who is out is read whole: receipts are few


def test_a_heartbeat_sees_at_the_ends_of_indexes_what_there_is(large):
    plan = plans.execute(large, "node_heartbeat", "session", ["1", "10000", "77", "true", "'{1,2,3}'", *plans.since(3)])
    assert not plan.scans("Seq Scan") & {*plans.LARGE, "run_after", "rate_due", "rate_bucket"}
    assert {"pending_rated", "run_after_pkey", "rate_due_at"} <= plan.indexes()


def test_a_claim_is_not_slowed_by_what_is_held(large):
    plan = plans.execute(large, "run_claim", "work", plans.routes() + ["1", *plans.since()])
    plans.assert_lean(plan, {"pending_claim"}, plans.HEADS, 30000)


def test_a_full_lane_is_put_aside_by_its_index(large):
    plan = plans.execute(large, "lane_take", "work", ["1", "'{}'", "'{}'", "'{}'", "'{}'", "'{}'", "'{}'", "'{5}'"])
    assert not plan.scans("Seq Scan") & set(plans.LARGE)
    assert "pending_lane" in plan.indexes()
    assert plan.buffers() < 2000 * 40
