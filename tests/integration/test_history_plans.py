"""The plans of lists, totals and of what an apply reads, on large tables: no scan and no sort of all, whether the
tables were analysed or not, and with generic plans, too."""

import json

import psycopg
import pytest

from fleet import Rota
from statements import array, statement
from test_plans import Plan, execute

JOBS = 200
PARTS = 6
ROWS = 20000  # of each part of the history

LOAD = f"""
INSERT INTO rota.job (name, source, handler, definition, revision, durable)
  SELECT 'job ' || g, 'source ' || g, 'handler ' || g % 5, '', 1, true FROM generate_series(1, {JOBS}) g;
SELECT count(rota.route_of('handler ' || g, 5::smallint)) FROM generate_series(0, 4) g;
INSERT INTO rota.trigger (job_id, name, kind, every_us, start_at, definition, revision)
  SELECT CASE WHEN g % 2 = 0 THEN 100 ELSE 1 + g % {JOBS} END, 'trigger ' || g, 'every', 1000000, now(), '', 1
    FROM generate_series(1, 60000) g;
INSERT INTO rota.trigger_due (trigger_id, route, revision, next_at)
  SELECT t.id, r.id, 1, now() + t.id * interval '1 minute'
    FROM rota.trigger t JOIN rota.job j ON j.id = t.job_id JOIN rota.route r ON r.handler = j.handler
"""
MODES = ["force_generic_plan", "force_custom_plan"]


def load(rota):
    for statement in LOAD.split(";\n"):
        rota.db.execute(statement)
    for part in range(PARTS):
        rota.db.execute("INSERT INTO rota.task_history (id, task, started_at, ended_at, status, outcome, attempt, scheduled_at) "
                        "SELECT g, 'job ' || g % 50, clock_timestamp(), clock_timestamp(), "
                        "CASE WHEN g % 50 = 7 THEN 'failed' ELSE 'success' END, 'x', 1, now() "
                        f"FROM generate_series({part * ROWS}, {part * ROWS + ROWS - 1}) g")
        if part < PARTS - 1:
            rota.db.execute("SELECT rota.history_cut(1)")
    rota.db.execute("SELECT rota.history_close_all()")
    rota.db.execute("SELECT rota.history_index(p.part, p.name) FROM rota.history_parts() p CROSS JOIN generate_series(1, 6) "
                    "WHERE p.counted AND p.name <> 'task_history_late'")


@pytest.fixture(scope="module")
def loaded(shared_server, tmp_path_factory):
    rota = Rota(shared_server, tmp_path_factory.mktemp("history_plans"))
    load(rota)
    yield rota
    rota.close()


@pytest.fixture(scope="module", params=["never analysed", "analysed"])
def large(loaded, request):
    if request.param == "analysed":
        loaded.db.execute("ANALYZE")
    return loaded


def closed_scans(rota, plans):
    """Closed partitions that any of the plans reads from one end to the other."""
    closed = {name for name, in rota.rows("SELECT p.name FROM rota.history_part p WHERE p.name <> 'task_history_late'")}
    return {name for plan in plans for name in plan.scans("Seq Scan")} & closed


def page(rota, arguments):
    """The plans inside of rota.task_page()."""
    with psycopg.connect(rota.url, prepare_threshold=None) as db:
        plans = []
        db.execute("LOAD 'auto_explain'")
        for setting, value in {"log_min_duration": "0", "log_nested_statements": "on", "log_analyze": "on",
                               "log_buffers": "on", "log_timing": "off", "log_format": "json"}.items():
            db.execute(f"SET auto_explain.{setting} = {value}")
        db.execute("SET client_min_messages = log")
        db.add_notice_handler(lambda notice: plans.append(notice.message_primary))
        count = db.execute(f"SELECT count(*) FROM {arguments}").fetchone()[0]
        db.rollback()
    return count, [Plan(json.loads(text[text.index("{"):])["Plan"]) for text in plans if "plan:" in text]


@pytest.mark.parametrize("wish", [
    "", "descending => false", "of_task => 'job 3'", "with_status => 'failed'", "with_status => 'unknown'",
    "of_task => 'job 8', with_status => 'failed'", "sort_column => 'ended_at'", "sort_column => 'duration'"])
def test_a_page_of_the_history_reads_no_closed_partition(large, wish):
    _, plans = page(large, f"rota.task_page({wish}{', ' if wish else ''}at_most => 50)")
    assert plans and not closed_scans(large, plans)


@pytest.mark.parametrize("wish", ["", "'job 3'", "NULL, 'failed'", "'job 7', 'failed'"])
def test_totals_read_what_is_open_alone(large, wish):
    _, plans = page(large, f"rota.task_total({wish})")
    assert plans and not closed_scans(large, plans)
    assert not any(node.get("Relation Name", "").startswith("task_history_20") for plan in plans
                   for node in plan.nodes if node["Actual Loops"] and node.get("Relation Name") in closed_names(large))


def closed_names(rota):
    return {name for name, in rota.rows("SELECT p.name FROM rota.history_part p")}


def test_a_run_of_the_history_is_found_by_its_id_in_each_partition(large):
    plan = execute(large, "run_look", "session", ["12345"], "force_generic_plan")
    assert not closed_scans(large, [plan])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("arguments, touched", [(["NULL", "50", "0", "NULL"], 2000), (["'job 100'", "50", "100", "NULL"], 2000),
                                                (["'trigger 5'", "50", "0", "NULL"], 500),
                                                (["NULL", "50", "0", "'[\"job 150\", \"trigger 7\"]'"], 2000)])
def test_a_page_of_triggers_reads_no_more_than_the_page(large, mode, arguments, touched):
    plan = execute(large, "get_triggers", "session", arguments, mode)
    assert not plan.scans("Seq Scan") & {"trigger", "trigger_due"}, plan.root
    assert plan.sorted_rows() <= 150
    assert plan.buffers() <= touched, plan.buffers()


@pytest.mark.parametrize("mode", MODES)
def test_a_job_with_many_triggers_is_listed_without_reading_them(large, mode):
    plan = execute(large, "get_jobs", "session", ["'job 100'", "50", "0", "NULL"], mode)
    assert not plan.scans("Seq Scan") & {"trigger", "trigger_due"}
    assert plan.buffers() <= 500, plan.buffers()


@pytest.mark.parametrize("mode", MODES)
def test_what_an_apply_reads_is_found_by_name_and_source(large, mode):
    jobs = execute(large, "manifest_read_jobs", "session", [array("text", ["job 1"]), array("text", ["source 7"])], mode)
    assert jobs.root["Actual Rows"] == 2
    triggers = execute(large, "manifest_read_triggers", "session",
                       [array("text", ["trigger 1", "trigger 2"]), array("integer", [3]), "'{}'"], mode)
    assert not triggers.scans("Seq Scan") & {"trigger", "trigger_due"}
    assert triggers.buffers() <= 4000


@pytest.mark.parametrize("mode", MODES)
def test_the_doctor_counts_no_further_than_it_says(large, mode):
    with psycopg.connect(large.url) as db:
        db.execute(f"SET plan_cache_mode = {mode}")
        plan = Plan(db.execute("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) "
                               + statement("doctor_work")).fetchone()[0][0]["Plan"])
    scanned = {node["Relation Name"] for node in plan.nodes if node["Node Type"] == "Seq Scan" and node["Actual Loops"] > 0}
    assert not scanned & {"trigger", "trigger_due"}
    assert max(node["Actual Rows"] for node in plan.nodes) <= 10000


def test_lists_tell_how_many_there_are_without_counting(large):
    assert large.value("SELECT rota.tally_of('triggers')") == large.value("SELECT count(*) FROM rota.trigger") == 60000
    assert large.value("SELECT rota.tally_of('jobs')") == JOBS
    assert large.value("SELECT rota.tally_of('triggers', 100)") == large.value("SELECT count(*) FROM rota.trigger WHERE job_id = 100")


def test_the_number_of_triggers_follows_what_is_removed_and_moved(rota, apply):
    rota.apply({"name": "a", "handler": "h", "triggers": [{"name": f"t{n}", "every": "1h"} for n in range(3)]},
               {"name": "b", "handler": "h", "durable": True})
    tally = "SELECT array_agg(rows ORDER BY kind, job_id) FROM rota.tally"
    assert rota.value(tally) == [2, 3, 3]
    rota.db.execute("UPDATE rota.trigger SET job_id = (SELECT id FROM rota.job WHERE name = 'b') WHERE name = 't1'")
    assert rota.value(tally) == [2, 3, 2, 1]
    rota.run("delete", "job", "a")
    assert rota.value(tally) == [1, 1, 1]
