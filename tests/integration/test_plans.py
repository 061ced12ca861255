"""The plans of the hot statements on large tables: which index they use, and how little they touch.

One database with 300,000 waiting runs and 1,000,000 triggers, few of them due; each statement of sql/query as the node prepares
it, once before the tables were ever analysed and once after. What is bounded is the number of pages
touched, never the time."""

import json
import os
import re

import psycopg
import pytest

from fleet import REPOSITORY, Rota
from statements import array, same, statement

ROUTES = 20
FOREIGN_ROUTE = ROUTES + 1  # of a handler this node does not serve: its runs are the oldest of all
BUNDLED_ROUTE = ROUTES + 2  # all of its runs wait in bundles
ROOM = 300
RECEIPT = 50  # runs of one receipt
LARGE = ("pending", "bundle", "trigger_due", "receipt", "task_history", "run_extra", "unique_key")
PREPARED_SETTINGS = ("plan_cache_mode", "random_page_cost", "jit", "enable_seqscan")

LOAD = f"""
SET session_replication_role = replica; -- no foreign keys: they would take most of the time
ALTER TABLE rota.pending SET (autovacuum_enabled = false);
ALTER TABLE rota.trigger_due SET (autovacuum_enabled = false);
ALTER TABLE rota.bundle SET (autovacuum_enabled = false);
ALTER TABLE rota.receipt SET (autovacuum_enabled = false);
ALTER TABLE rota.run_extra SET (autovacuum_enabled = false);
ALTER TABLE rota.unique_key SET (autovacuum_enabled = false);
INSERT INTO rota.route (handler, priority) SELECT 'handler ' || g % 5, 5 + g / 5 FROM generate_series(0, {ROUTES + 1}) g;
INSERT INTO rota.trigger_due (trigger_id, route, revision, next_at)
  SELECT g, 1 + g % {ROUTES}, 1,
         now() + CASE WHEN g % 1000 = 0 AND g <= 300000 THEN -1 - g % 997 ELSE 60 + g % 997 END * interval '1 minute'
    FROM generate_series(1, 1000000) g;
INSERT INTO rota.pending (route, due, job_id, scheduled_at, data)
  SELECT 1 + g % {ROUTES}, now() + (g::bigint * 7919 % 300000 - 150000) * interval '1 second', 1, now(), '{{"a":1}}'
    FROM generate_series(1, 300000) g;
INSERT INTO rota.pending (route, due, job_id, scheduled_at)
  SELECT {FOREIGN_ROUTE}, now() - interval '9 days', 1, now() FROM generate_series(1, 5000);
INSERT INTO rota.bundle (route, due, job_id, size, first_id, last_id, ids)
  SELECT {BUNDLED_ROUTE}, now() + (g::bigint * 7919 % 200000 - 100000) * interval '1 second', 1, 3, 90000000 + 3 * g, 90000002 + 3 * g,
         ARRAY[90000000 + 3 * g, 90000001 + 3 * g, 90000002 + 3 * g]
    FROM generate_series(1, 200000) g;
INSERT INTO rota.node (name) SELECT 'n' || g FROM generate_series(1, 10) g;
INSERT INTO rota.incarnation (node, state, lease_until, version, host, pid)
  SELECT 'n' || g, 'running', now() + interval '1 hour', '1', 'host', g FROM generate_series(1, 10) g;
INSERT INTO rota.receipt (incarnation, open, ids, routes, dues, job_ids, trigger_ids, scheduled_at, enqueued_at, attempts,
                          crashes, missed, recovering, data, checkpoints, earlier)
  SELECT 1 + g % 10, repeat('1', n)::varbit, ARRAY(SELECT g * 1000 + x + 1000000 FROM generate_series(1, n) x),
         array_fill(1, ARRAY[n]), array_fill(now(), ARRAY[n]), array_fill(1, ARRAY[n]), array_fill(NULL::int, ARRAY[n]),
         array_fill(now(), ARRAY[n]), array_fill(now(), ARRAY[n]), array_fill(1::smallint, ARRAY[n]),
         array_fill(0::smallint, ARRAY[n]), array_fill(0, ARRAY[n]), array_fill(false, ARRAY[n]),
         array_fill('{{"a":1}}'::json, ARRAY[n]), array_fill(NULL::json, ARRAY[n]), array_fill(NULL::jsonb, ARRAY[n])
    FROM generate_series(1::bigint, 2000) g CROSS JOIN (SELECT {RECEIPT} AS n) size;
INSERT INTO rota.task_history (id, task, started_at, ended_at, duration_ms, status, outcome, node, attempt, scheduled_at, fence)
  SELECT g, 'job', now(), now(), 1, 'success', 'success', 'n1', 1, now(), g / 50 FROM generate_series(1, 200000) g;
INSERT INTO rota.run_extra (run_id, expires_at)
  SELECT u.id, CASE WHEN u.id % 3 = 0 THEN now() + interval '1 hour' END
    FROM rota.receipt r CROSS JOIN LATERAL unnest(r.ids) AS u(id);
INSERT INTO rota.unique_key (job_id, key, run_id, until_started)
  SELECT 1, x.run_id::text, x.run_id, false FROM rota.run_extra x;
RESET session_replication_role;
"""


@pytest.fixture(scope="module")
def loaded(shared_server, tmp_path_factory):
    rota = Rota(shared_server, tmp_path_factory.mktemp("plans"))
    for statement in LOAD.split(";\n"):
        rota.db.execute(statement)
    yield rota
    rota.close()


@pytest.fixture(scope="module", params=["never analysed", "analysed"])
def large(loaded, request):
    if request.param == "analysed":
        loaded.db.execute("ANALYZE")
    return loaded


def node_settings(connection):
    """What is set on this connection that changes plans, of all and of this one: read from where it is done."""
    with open(os.path.join(REPOSITORY, "store/pooler.c"), encoding="utf-8") as file:
        body = file.read()
    with open(os.path.join(REPOSITORY, "coord/node.c"), encoding="utf-8") as file:
        body += re.search(rf"^static struct store \*open_{connection}\(.*?^}}", file.read(), re.M | re.S).group(0)
    return {name: value for name, value in re.findall(r"-c (\w+)=([\w.]+)", body) if name in PREPARED_SETTINGS}


def nodes(plan):
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


class Plan:
    """An executed plan, with what it touched."""

    def __init__(self, root):
        self.root = root
        self.nodes = list(nodes(root))

    def scans(self, kind):
        return {node["Relation Name"] for node in self.nodes if node["Node Type"] == kind}

    def indexes(self):
        return {node["Index Name"] for node in self.nodes if "Index Name" in node}

    def sorted_rows(self):
        return max((node["Actual Rows"] for node in self.nodes if "Sort" in node["Node Type"]), default=0)

    def part(self, name):
        """A part of the statement by its name in WITH."""
        return next(node for node in self.nodes if node.get("Subplan Name") == f"CTE {name}")

    def buffers(self):
        """Of the root, and of the data-modifying parts nobody reads from, which run after it."""
        def touched(node):
            return node["Shared Hit Blocks"] + node["Shared Read Blocks"]

        read = {node["CTE Name"] for node in self.nodes if node["Node Type"] == "CTE Scan"}
        apart = [node for node in self.nodes
                 if node.get("Subplan Name", "").startswith("CTE ") and node["Subplan Name"][4:] not in read]
        return touched(self.root) + sum(map(touched, apart))


def execute(rota, name, connection, arguments, mode=None, before=None):
    """Runs the statement as the node would, `before` in the same transaction, and takes it all back."""
    settings = node_settings(connection) | ({"plan_cache_mode": mode} if mode else {})
    with psycopg.connect(rota.url, prepare_threshold=None) as db:
        for setting, value in settings.items():
            db.execute(f"SET {setting} = {value}")
        if before:
            db.execute(before)
        db.execute(f"PREPARE tried AS {statement(name)}")
        explained = db.execute("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) "
                               f"EXECUTE tried ({', '.join(arguments)})").fetchone()[0][0]
        db.rollback()
    assert "JIT" not in explained
    return Plan(explained["Plan"])


def assert_lean(plan, indexes, sorted_rows, buffers):
    assert not plan.scans("Seq Scan") & set(LARGE), plan.scans("Seq Scan")
    assert not [name for name in plan.scans("Seq Scan") if name.startswith("task_history")]
    assert indexes <= plan.indexes(), plan.indexes()
    assert plan.sorted_rows() <= sorted_rows
    assert plan.buffers() <= buffers


def routes(room=ROOM, count=ROUTES, pools=1):
    ids = range(1, count + 1)
    return [array("integer", ids), array("smallint", [5 + (route - 1) // 5 for route in ids]),
            array("integer", [route % pools for route in ids]), same("integer", room, count), same("integer", room, count)]


def since(count=ROUTES, triggers=None, rows=None, bundles=None):
    """From where on a claim looks: for triggers, rows and bundles of each route."""
    return [same("timestamptz", at, count) for at in (triggers, rows, bundles)]


def test_the_node_sets_what_these_plans_rely_on():
    """Without the last, a queue of a few millions makes each claim compile its plan: 100 ms instead of 10."""
    assert node_settings("work") == {"plan_cache_mode": "force_generic_plan", "random_page_cost": "1.1", "jit": "off",
                                     "enable_seqscan": "off"}


# Of the rows that are due, a claim looks at about twice what it may take, however many routes there are.
HEADS = 4 * ROOM + 2 * 16 * ROUTES


def test_a_claim_touches_only_the_heads_of_its_routes(large):
    plan = execute(large, "run_claim", "work", [*routes(), "1", *since()])
    assert plan.part("taken")["Actual Rows"] == ROOM
    assert_lean(plan, {"pending_claim", "trigger_due_claim"}, HEADS, 25 * ROOM)


def test_a_claim_of_few_runs_is_cheap(large):
    plan = execute(large, "run_claim", "work", [*routes(room=4), "1", *since()])
    assert plan.part("taken")["Actual Rows"] == 4
    assert_lean(plan, {"pending_claim"}, HEADS, 700)


def test_a_claim_for_many_pools_is_bounded_alike(large):
    plan = execute(large, "run_claim", "work", [*routes(room=ROOM // 4, pools=4), "1", *since()])
    assert plan.part("taken")["Actual Rows"] == ROOM
    assert_lean(plan, {"pending_claim", "trigger_due_claim"}, HEADS, 25 * ROOM)


def test_runs_of_routes_that_are_not_asked_for_are_not_in_the_way(large):
    """The 5,000 oldest runs of all belong to a route of another handler."""
    with_them = execute(large, "run_claim", "work", [*routes(), "1", *since()])
    without = execute(large, "run_claim", "work", [*routes(), "1", *since()],
                      before=f"DELETE FROM rota.pending WHERE route = {FOREIGN_ROUTE}")
    assert abs(with_them.buffers() - without.buffers()) < 100


def bundled(room=ROOM):
    """The route of bundles, among as many others as there are."""
    ids, count = [*range(1, ROUTES + 1), BUNDLED_ROUTE], ROUTES + 1
    return [array("integer", ids), same("smallint", 5, count), same("integer", 0, count), same("integer", room, count),
            same("integer", room, count)]


@pytest.mark.parametrize("room, part, count", [(ROOM, "emptied", ROOM // 10 + 8), (2, "cut", 1)])
def test_a_claim_touches_only_the_heads_of_the_bundles(large, room, part, count):
    """Bundles of three, smaller than any that are made: no more are looked at than of the smallest."""
    alone = [array("integer", [BUNDLED_ROUTE]), "'{5}'", "'{0}'", f"'{{{room}}}'", f"'{{{room}}}'", "1", *since(1)]
    plan = execute(large, "run_claim", "work", alone)
    assert plan.part(part)["Actual Rows"] == count
    assert_lean(plan, {"bundle_claim"}, 50, 50 * count + 100)


def test_a_claim_among_bundles_and_rows_is_bounded_alike(large):
    plan = execute(large, "run_claim", "work", [*bundled(), "1", *since(ROUTES + 1)], before="UPDATE rota.bundle SET due = now() - interval '20 days' "
                   "WHERE id IN (SELECT id FROM rota.bundle WHERE due <= now() LIMIT 20)")
    assert plan.part("emptied")["Actual Rows"] > 0
    assert_lean(plan, {"bundle_claim", "pending_claim"}, HEADS, 30 * ROOM)


def test_when_the_next_bundle_is_due_is_read_at_the_end_of_an_index(large):
    plan = execute(large, "work_next", "work", [f"'{{{BUNDLED_ROUTE}}}'", *since(1)])
    assert_lean(plan, {"bundle_claim"}, 10, 200)


@pytest.mark.parametrize("call", ["rota.cancel(90300001)", "rota.bundles_open_runs(ARRAY[90300001, 90300101], false)",
                                  "rota.run_place(90300001)", "rota.runs_over(ARRAY[90300001])"])
def test_what_opens_a_bundle_touches_that_one_alone(large, call):
    with psycopg.connect(large.url) as db:
        db.execute("LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on; "
                   "SET auto_explain.log_format = json; SET auto_explain.log_analyze = on; SET client_min_messages = log")
        said = []
        db.add_notice_handler(lambda notice: said.append(notice.message_primary))
        db.execute(f"SELECT {call}")
        db.rollback()
    scans = [node for text in said if "plan:" in text
             for node in nodes(json.loads(text.split("plan:", 1)[1])["Plan"]) if node["Node Type"] == "Seq Scan"]
    assert large.value("SELECT rota.bundle_of(90300001)") is not None
    read = [(node["Relation Name"], node["Actual Rows"]) for node in scans
            if node["Relation Name"] in ("bundle", "pending") and node["Actual Rows"] > 1]
    assert said and not read, read


def test_acquiring_triggers_touches_only_the_heads_of_its_routes(large):
    plan = execute(large, "trigger_acquire", "work", [*routes(), "false", *since()])
    assert_lean(plan, {"pending_claim", "trigger_due_claim"}, HEADS, 15 * ROOM)


def test_triggers_that_are_due_are_all_that_is_locked(large):
    """With nothing waiting, the few due among 1,000,000 triggers."""
    due = large.value("SELECT count(*) FROM rota.trigger_due WHERE next_at <= now()")
    plan = execute(large, "trigger_acquire", "work", [*routes(), "false", *since()],
                   before="DELETE FROM rota.pending")
    assert plan.root["Actual Rows"] == due == ROOM


FIRED = """UPDATE rota.trigger_due SET next_at = next_at + interval '1 year'
            WHERE trigger_id IN (SELECT g FROM generate_series(1001, 1000000) g WHERE g % 40 = 0) AND next_at > now()"""


def test_what_was_fired_under_an_old_snapshot_is_not_walked_through_again(loaded):
    """25,000 occurrences of one route became due and were fired, while somebody's transaction stays open."""
    made_due = FIRED.replace("next_at + interval '1 year'", "now() - interval '1 hour' + trigger_id * interval '1 ms'")
    acquire = [array("integer", [1]), array("smallint", [5]), array("integer", [0]), array("integer", [ROOM]),
               array("integer", [ROOM]), "false"]
    ask = [array("integer", [1])]
    with psycopg.connect(loaded.url) as old:
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT count(*) FROM rota.fleet")
        loaded.db.execute(made_due)
        loaded.db.execute(FIRED.replace("next_at > now()", "next_at <= now()").replace("next_at + interval '1 year'",
                                                                                    "now() + interval '1 year'"))
        minute = loaded.value("SELECT (now() - interval '1 minute')::text")
        for name, arguments in (("trigger_acquire", acquire), ("work_next", ask)):
            walk = execute(loaded, name, "work", [*arguments, *since(1)]).buffers()
            short = execute(loaded, name, "work", [*arguments, *since(1, triggers=minute)]).buffers()
            assert short < 200 and walk > 10 * short, (name, walk, short)


@pytest.mark.parametrize("kind, table", [("rows", "pending"), ("bundles", "bundle")])
def test_what_was_taken_under_an_old_snapshot_is_not_walked_through_again(loaded, kind, table):
    """25,000 of one route became due and were taken, while somebody's transaction stays open."""
    rest = {"pending": ("id", "nextval('rota.run_id')"), "bundle": ("size, first_id, last_id, ids", "1, g, g, ARRAY[g]")}[table]
    dead_route = ROUTES + 100 + len(table)
    with psycopg.connect(loaded.url) as old:
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT count(*) FROM rota.fleet")
        loaded.db.execute(f"""INSERT INTO rota.{table} (route, due, job_id{', scheduled_at' if table == 'pending' else ''}, {rest[0]})
            SELECT {dead_route}, now() - interval '1 hour' + g * interval '1 ms', 1{', now()' if table == 'pending' else ''}, {rest[1]}
              FROM generate_series(1, 25000) g""")
        loaded.db.execute(f"DELETE FROM rota.{table} WHERE route = {dead_route}")
        minute = loaded.value("SELECT (now() - interval '1 minute')::text")
        asked = [array("integer", [dead_route]), array("smallint", [5]), array("integer", [0]), array("integer", [ROOM]),
                 array("integer", [ROOM])]
        for name, connection, arguments in (("run_claim", "work", [*asked, "1"]), ("work_next", "work", asked[:1]),
                                            ("node_heartbeat", "session", ["1", "10000", "77", "true", asked[0]])):
            walk = execute(loaded, name, connection, [*arguments, *since(1)]).buffers()
            short = execute(loaded, name, connection, [*arguments, *since(1, **{kind: minute})]).buffers()
            assert walk - short > 250 and short < 400, (name, walk, short)


def test_firing_touches_its_triggers_alone(large):
    due = large.rows("SELECT trigger_id, ctid::text FROM rota.trigger_due WHERE next_at <= now() LIMIT 100")
    ids, places = [row[0] for row in due], [row[1] for row in due]
    count, later = len(ids), 50
    plan = execute(large, "trigger_fire", "work", [
        "1", array("integer", ids), same("timestamptz", "2030-01-01", count), same("text", "W", count),
        same("timestamptz", "2026-11-20", count), same("bigint", 1, count), same("bigint", 0, count),
        same("bigint", 0, count), same("text", None, count), array("integer", ids), same("integer", 1, count),
        same("integer", 1, count), same("timestamptz", "2026-11-20", count), same("integer", 0, count),
        same("integer", 1, later), same("integer", 1, later), same("integer", 1, later),
        same("timestamptz", "2026-11-20", later), same("integer", 0, later), same("boolean", "true", later), "10000",
        "false", "'{}'", "'{}'", same("bigint", None, later), same("boolean", "false", later),
        array("tid", places)])
    assert_lean(plan, set(), later, 30 * (count + later))
    assert plan.scans("Tid Scan") == {"trigger_due"}


def receipts(rota, incarnation, count):
    found = rota.rows("SELECT fence FROM rota.receipt WHERE incarnation = %s ORDER BY fence LIMIT %s", incarnation, count)
    fences = [row[0] for row in found]
    return fences, [fence for fence in fences for _ in range(RECEIPT)], list(range(RECEIPT)) * count


def test_completing_touches_its_receipts_alone(large):
    fences, run_fences, slots = receipts(large, 1, 6)
    count = len(slots)
    plan = execute(large, "run_complete", "work", [
        "1", array("bigint", fences), same("varbit", "1" * RECEIPT, len(fences)), array("integer", range(1, 1 + len(fences))),
        same("text", "job", len(fences)), same("text", "success", len(fences)), same("text", "success", len(fences)),
        same("smallint", 1, len(fences)), same("integer", 0, len(fences)), same("boolean", "false", len(fences)),
        array("integer", [fences.index(fence) + 1 for fence in run_fences]), array("integer", slots), array("bigint", range(count)),
        same("text", None, count), same("timestamptz", "2026-11-20", count), same("bigint", 1, count),
        same("timestamptz", "2026-11-20", count), same("json", None, count), same("json", '{"a":1}', count), "'n1'"])
    assert_lean(plan, {"receipt_pkey"}, count, 8 * count)


def noted(rota, incarnation, count):
    """Runs of this node that have a row of run_extra: ids, fences and slots."""
    found = rota.rows("SELECT ids, fence FROM rota.receipt WHERE incarnation = %s ORDER BY fence LIMIT %s", incarnation, count)
    return ([run for ids, _ in found for run in ids], [fence for ids, fence in found for _ in ids],
            [slot for ids, _ in found for slot in range(len(ids))])


def test_notes_touch_their_receipts_and_their_rows_alone(large):
    ids, fences, slots = noted(large, 1, 6)
    count = len(ids)
    plan = execute(large, "run_note", "work", [
        "1", array("bigint", ids), array("bigint", fences), array("integer", slots), same("real", 0.5, count),
        same("text", "on", count), same("json", '{"a":1}', count), same("jsonb", None, count), same("bigint", 0, count)])
    assert_lean(plan, {"receipt_pkey"}, count, 20 * count)


def test_extras_of_a_claim_are_read_by_their_key(large):
    ids, fences, _ = noted(large, 1, 6)
    plan = execute(large, "extra_load", "work", [array("bigint", ids), array("bigint", fences)])
    assert plan.root["Actual Rows"] == len(ids)
    assert_lean(plan, {"run_extra_pkey"}, len(ids), 20 * len(ids))


def test_what_follows_the_end_of_runs_touches_their_rows_alone(large):
    """Of runs that were written now: as many as a batch has."""
    ids, fences, _ = noted(large, 1, 2)
    plans = within(large, "run_ended", "work", [array("bigint", ids), array("bigint", fences)], before=f"""
        INSERT INTO rota.task_history (id, task, started_at, ended_at, duration_ms, status, outcome, node, attempt,
                                       scheduled_at, fence)
        SELECT n.id, 'job', now(), now(), 1, 'success', 'success', 'n1', 1, now(), n.fence
          FROM unnest({array("bigint", ids)}, {array("bigint", fences)}) AS n(id, fence)""")
    assert any("run_extra_pkey" in plan.indexes() for plan in plans)
    assert any("unique_key_run" in plan.indexes() for plan in plans)
    for plan in plans:
        assert_lean(plan, set(), len(ids), 60 * len(ids))


def test_who_waits_for_a_run_looks_at_it_alone(large):
    waiting, over = large.value("SELECT min(id) FROM rota.pending"), 7
    [[claimed, fence]] = large.rows("SELECT ids[5], fence FROM rota.receipt ORDER BY fence LIMIT 1")
    for mode in ("force_generic_plan", "force_custom_plan"):
        for run, place in ((waiting, "pending"), (over, None), (claimed, "started")):
            plan = execute(large, "run_look", "session", [str(run)], mode,
                           before=f"UPDATE rota.run_extra SET fence = {fence} WHERE run_id = {claimed}")
            assert {"pending_pkey", "run_extra_pkey"} <= plan.indexes()
            assert plan.buffers() <= 150, (place, plan.buffers())


def within(rota, name, connection, arguments, before=None):
    """The plans of the statements inside the functions that a statement calls."""
    plans = []
    with psycopg.connect(rota.url, prepare_threshold=None) as db:
        db.execute("LOAD 'auto_explain'")
        for setting, value in {**node_settings(connection), "auto_explain.log_min_duration": "0",
                               "auto_explain.log_nested_statements": "on", "auto_explain.log_analyze": "on",
                               "auto_explain.log_buffers": "on", "auto_explain.log_timing": "off",
                               "auto_explain.log_format": "json", "client_min_messages": "log"}.items():
            db.execute(f"SET {setting} = {value}")
        if before:
            db.execute(before)
        db.add_notice_handler(lambda notice: plans.append(notice.message_primary))
        db.execute(f"PREPARE tried AS {statement(name)}")
        db.execute("EXECUTE tried" + (f" ({', '.join(arguments)})" if arguments else ""))
        db.rollback()
    return [Plan(json.loads(text[text.index("{"):])["Plan"]) for text in plans if "plan:" in text]


def test_putting_back_touches_its_receipts_alone(large):
    _, run_fences, slots = receipts(large, 2, 6)
    count = len(slots)
    plans = within(large, "run_put_back", "work", [
        "2", array("bigint", run_fences), array("integer", slots), same("bigint", 0, count), same("integer", 0, count),
        same("integer", 0, count), same("boolean", "true", count), same("jsonb", None, count)])
    assert max(plan.buffers() for plan in plans) <= 22 * count  # each looks, by its key, for job, route and what was noted of it
    assert any("receipt_pkey" in plan.indexes() for plan in plans)
    for plan in plans:
        assert_lean(plan, set(), count, 22 * count)


def test_recovering_a_node_touches_its_receipts_alone(large):
    mine = large.value("SELECT count(*) FROM rota.receipt WHERE incarnation = 3")
    plans = within(large, "node_recover", "session", ["3", "now()", "NULL", "true"])
    assert any("receipt_incarnation" in plan.indexes() for plan in plans)
    for plan in plans:
        assert_lean(plan, set(), mine * RECEIPT, 30 * mine * RECEIPT)


def test_the_next_due_time_is_one_look_at_each_route(large):
    plan = execute(large, "work_next", "work", [array("integer", range(1, ROUTES + 1)), *since()])
    assert_lean(plan, {"pending_claim", "trigger_due_claim"}, 0, 24 * ROUTES)


@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
def test_a_heartbeat_touches_its_own_receipts_and_the_heads(large, mode):
    mine = large.value("SELECT count(*) FROM rota.receipt WHERE incarnation = 1")
    plan = execute(large, "node_heartbeat", "session",
                   ["1", "10000", "77", "true", array("integer", range(1, ROUTES + 1)), *since()], mode)
    assert_lean(plan, {"receipt_incarnation", "pending_claim", "trigger_due_claim"}, 10, 2 * mine + 24 * ROUTES + 50)


@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
def test_a_heartbeat_of_the_only_node_with_runs_does_not_read_them_all_to_find_others(large, mode):
    plan = execute(large, "node_heartbeat", "session", ["1", "10000", "77", "true", "'{}'", "'{}'", "'{}'", "'{}'"], mode,
                   before="DELETE FROM rota.receipt WHERE incarnation <> 1")
    assert "receipt" not in plan.scans("Seq Scan")


@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
def test_a_probe_touches_nothing_but_the_incarnations(large, mode):
    plan = execute(large, "node_probe", "session", ["1", "77"], mode)
    assert_lean(plan, set(), 10, 30)


def test_triggers_in_error_are_found_by_their_index(large):
    plan = execute(large, "trigger_errors", "session", [array("text", ["handler"]), "0"])
    assert_lean(plan, {"trigger_due_error"}, 100, 50)
