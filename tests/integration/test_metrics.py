"""/metrics: the families that dashboards rely on, in the text that Prometheus and OpenMetrics ask for, and what a
scrape costs the database."""

import datetime
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import urllib.request

import pytest

from manifests import job, make_due, trigger
from metrics import OPENMETRICS, Numbers, families, fetch, parse
from postgres import PrivateServer
from waiting import wait_until

ROOT = pathlib.Path(__file__).parents[2]
EXECUTED = "metabase_tasks_quartz_tasks_executed_total"
STATES = "metabase_tasks_quartz_tasks_states"
FAILING = dict(handler="exec", data={"command": ["/bin/false"]})


def node_of(rota, name="n1", **settings):
    return rota.node(name, exec_allow="/bin/*", **settings)


def states(node):
    return {dict(labels)["state"]: value for labels, value in Numbers(node).all(STATES).items()}


def wait_numbers(node, condition, why):
    """The cluster is read anew every five seconds at most."""
    found = []

    def so():
        found[:] = [Numbers(node)]
        return condition(found[0])
    wait_until(so, limit=20, pause=0.2, why=why)
    return found[0]


def test_executions_are_counted_by_job_and_how_they_ended(rota):
    rota.apply(job("good", durable=True), job("bad", durable=True, **FAILING))
    node = node_of(rota)
    for _ in range(3):
        rota.enqueue("good")
    rota.enqueue("bad")
    numbers = wait_numbers(node, lambda n: n.get(EXECUTED, status="succeeded", job_name="good") == 3
                           and n.get(EXECUTED, status="failed", job_name="bad") == 1, "all four counted")
    assert numbers.get(EXECUTED, status="failed", job_name="good") == 0
    assert numbers.get("rota_runs_completed_total", outcome="success") == 3
    assert numbers.get("rota_run_duration_seconds_count", status="succeeded") == 3
    assert numbers.get("rota_run_duration_seconds_count", status="failed") == 1
    assert numbers.get("rota_firing_delay_seconds_count", kind="enqueued") == 4
    assert numbers.get("rota_firing_delay_seconds_bucket", kind="enqueued", le="+Inf") == 4


def test_each_attempt_counts_as_an_execution(rota):
    rota.apply(job("bad", durable=True, retry={"max_attempts": 3, "backoff": "immediate"}, **FAILING))
    node = node_of(rota)
    rota.enqueue("bad")
    numbers = wait_numbers(node, lambda n: n.get(EXECUTED, status="failed", job_name="bad") == 3, "three attempts")
    assert numbers.get("rota_runs_completed_total", outcome="failed") == 1
    assert numbers.get("rota_runs_put_back_total", outcome="failed") == 2


def test_a_run_that_is_given_to_no_worker_is_vetoed_and_no_execution(rota):
    rota.apply(job("late", durable=True))
    rota.run("enqueue", "late", "--expires-in", "1ms", "--in", "100ms")
    node = node_of(rota)
    numbers = wait_numbers(node, lambda n: n.get("rota_runs_completed_total", outcome="expired") == 1
                           or rota.value("SELECT count(*) FROM rota.task_history WHERE outcome = 'expired'") == 1,
                           "its end")
    assert numbers.get(EXECUTED, status="failed", job_name="late") is None


def test_states_of_the_whole_cluster_have_their_zeros(rota):
    rota.apply(job("one", durable=True))
    node = node_of(rota)
    wait_until(lambda: states(node), limit=20, why="a reading")
    assert states(node) == {"EXECUTING": 0, "WAITING": 0, "PAUSED": 0, "BLOCKED": 0, "ERROR": 0}


def test_states_count_triggers_and_runs_in_flight(rota):
    rota.apply(job("far", trigger("t1", cron="0 0 0 1 1 ? 2099"), trigger("t2", cron="0 0 0 1 1 ? 2099")),
               job("long", durable=True, handler="exec", data={"command": ["/bin/sleep", "60"]}))
    rota.run("pause", "trigger", "t2")
    node = node_of(rota)
    rota.enqueue("long")
    wanted = {"EXECUTING": 1, "WAITING": 1, "PAUSED": 1, "BLOCKED": 0, "ERROR": 0}
    wait_until(lambda: states(node) == wanted, limit=20, pause=0.2, why="the states")


def test_the_queue_is_told_by_priority_with_depth_and_age(rota):
    rota.apply(job("low", durable=True, priority=3), job("high", durable=True, priority=9))
    for _ in range(4):
        rota.enqueue("low")
    rota.enqueue("high", "--in", "1h")
    rota.run("pause", "job", "low")
    node = node_of(rota, disable_scheduler="true")
    numbers = wait_numbers(node, lambda n: n.get("rota_queue_runs", state="scheduled") == 1, "a reading")
    assert numbers.get("rota_queue_depth", priority="9") == 0
    assert numbers.get("rota_queue_runs", state="paused") == 4
    assert numbers.get("rota_queue_oldest_age_seconds", priority="3") == 0
    rota.run("resume", "job", "low")
    numbers = wait_numbers(node, lambda n: n.get("rota_queue_depth", priority="3") == 4, "the resumed ones")
    assert numbers.get("rota_queue_oldest_age_seconds", priority="3") > 0
    assert numbers.get("rota_unserved_handlers") == 1


def test_misfires_and_blocks_are_counted(rota):
    rota.apply(job("old", trigger("t", every="1h", misfire="fire_once")))
    make_due(rota, "t", datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=3, minutes=1))
    node = node_of(rota)
    numbers = wait_numbers(node, lambda n: n.get("rota_trigger_misfires_total", decision="made_up") == 1, "the misfire")
    assert numbers.get("rota_trigger_misfires_total", decision="passed_over") > 0
    assert numbers.get("rota_trigger_firings_total") >= 1


def test_what_a_dead_node_left_is_counted_as_recovered(rota):
    rota.apply(job("long", durable=True, handler="exec", data={"command": ["/bin/sleep", "60"]}))
    first = node_of(rota, "n1", lease="2s", heartbeat="500ms")
    rota.enqueue("long")
    wait_until(lambda: rota.value("SELECT count(*) FROM rota.receipt") == 1, why="the claim")
    second = node_of(rota, "n2", lease="2s", heartbeat="500ms")
    first.kill()
    wait_numbers(second, lambda n: n.get("rota_runs_recovered_total", result="put_back") == 1, "the recovery")


def test_a_node_tells_of_its_lease_its_connections_and_itself(rota):
    node = node_of(rota)
    numbers = wait_numbers(node, lambda n: n.get("rota_leader") == 1, "the leader")
    assert 0 < numbers.get("rota_lease_left_seconds") <= 10
    assert 0 <= numbers.get("rota_heartbeat_age_seconds") < 10
    assert numbers.get("rota_node_state", state="running") == 1
    assert numbers.get("rota_database_connection_up", connection="session") == 1
    assert numbers.get("rota_database_connections_opened_total", connection="work") == 1
    assert abs(numbers.get("rota_clock_offset_seconds")) < 5
    assert numbers.get("process_cpu_seconds_total") > 0
    assert numbers.get("process_open_fds") > 5
    assert 1e6 < numbers.get("process_resident_memory_bytes") < 1e9
    started = os.stat(f"/proc/{node.pid}").st_ctime
    assert abs(numbers.get("process_start_time_seconds") - started) < 30
    [build] = numbers.all("rota_build_info")
    assert dict(build)["version"] in rota.run("version").stdout


def test_numbers_of_the_node_are_told_without_a_database(rota):
    """A scrape tells most when something is wrong."""
    node = node_of(rota)
    wait_numbers(node, lambda n: n.get(STATES, state="WAITING") == 0, "a reading")
    rota.value("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() "
               "AND application_name = 'rota serve'")
    assert Numbers(node).get("rota_node_state", state="running") == 1


@pytest.mark.parametrize("accept, kind", [
    (None, "text/plain; version=0.0.4; charset=utf-8"),
    ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
    (OPENMETRICS, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
    (OPENMETRICS + ",text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
     "application/openmetrics-text; version=1.0.0; charset=utf-8"),
    ("text/plain;q=0.9," + OPENMETRICS + ";q=0.2", "text/plain; version=0.0.4; charset=utf-8"),
])
def test_the_format_is_the_one_that_is_asked_for(rota, accept, kind):
    text, answered = fetch(node_of(rota), accept)
    assert answered == kind
    assert text.endswith("# EOF\n") == kind.startswith("application/openmetrics")


def test_names_of_jobs_are_escaped_and_bounded(rota):
    rota.apply(job('say "hi"', durable=True), *(job(f"job{i:03}", durable=True) for i in range(210)))
    node = node_of(rota)
    rota.enqueue('say "hi"')
    for i in range(210):
        rota.value("SELECT rota.enqueue(%s)", f"job{i:03}")
    numbers = wait_numbers(node, lambda n: sum(n.all(EXECUTED).values()) == 211, "all of them")
    assert numbers.get(EXECUTED, status="succeeded", job_name='say \\"hi\\"') == 1
    assert numbers.get(EXECUTED, status="succeeded", job_name="other") == 12
    assert len(numbers.all(EXECUTED)) == 400


# --- what others make of it ---

needs_prometheus = pytest.mark.skipif(not shutil.which("promtool") or not shutil.which("prometheus"),
                                      reason="the package prometheus is not installed")


@needs_prometheus
def test_promtool_has_nothing_to_say_against_it(rota):
    rota.apply(job("good", durable=True), job("bad", durable=True, **FAILING))
    node = node_of(rota)
    rota.enqueue("good")
    rota.enqueue("bad")
    wait_numbers(node, lambda n: n.get(STATES, state="ERROR") == 0 and n.get(
        EXECUTED, status="failed", job_name="bad") == 1, "all families")
    checked = subprocess.run(["promtool", "check", "metrics"], input=fetch(node)[0], capture_output=True, text=True,
                             timeout=60)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture
def prometheus(tmp_path):
    """Starts a Prometheus that scrapes an address each second."""
    started = []

    def start(target):
        config = tmp_path / "prometheus.yml"
        config.write_text(f"""global: {{scrape_interval: 1s}}
scrape_configs: [{{job_name: rota, static_configs: [{{targets: ["{target}"]}}]}}]
""")
        address = f"127.0.0.1:{free_port()}"
        with open(tmp_path / "prometheus.log", "w") as log:
            started.append(subprocess.Popen(
                ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={tmp_path}/tsdb",
                 f"--web.listen-address={address}"], stdout=log, stderr=log))
        return f"http://{address}"
    yield start
    for process in started:
        process.kill()
        process.wait()


def ask(prometheus, query):
    try:
        with urllib.request.urlopen(f"{prometheus}/api/v1/query?query={query}", timeout=5) as answer:
            return json.load(answer)["data"]["result"]
    except OSError:
        return []


@needs_prometheus
def test_a_prometheus_scrapes_it(rota, prometheus):
    rota.apply(job("good", durable=True))
    node = node_of(rota)
    rota.enqueue("good")
    url = prometheus(node.http_url().removeprefix("http://"))
    wait_until(lambda: any(result["value"][1] == "1" for result in ask(url, EXECUTED)), limit=60, pause=0.3,
               why="the counter in Prometheus")
    assert [result["value"][1] for result in ask(url, "up")] == ["1"]
    assert len(ask(url, STATES)) == 5
    assert ask(url, "histogram_quantile(0.5,rota_firing_delay_seconds_bucket)")


@pytest.fixture(scope="module")
def measured_server():
    server = PrivateServer(shared_preload_libraries="pg_stat_statements")
    yield server
    server.close()


class TestCost:
    """What scraping costs the database."""

    @pytest.fixture
    def server(self, measured_server):
        return measured_server

    def test_many_scrapes_of_many_nodes_are_one_reading(self, rota):
        nodes = [node_of(rota, f"n{i}") for i in range(2)]
        for node in nodes:
            wait_numbers(node, lambda n: n.get(STATES, state="WAITING") == 0, "a reading")
        rota.db.execute("CREATE EXTENSION pg_stat_statements")
        rota.db.execute("UPDATE rota.fleet_reading SET at = clock_timestamp(), took = '2 minutes'")
        before = rota.value("SELECT at FROM rota.fleet_reading")
        for _ in range(50):
            for node in nodes:
                Numbers(node)
        assert rota.value("SELECT at FROM rota.fleet_reading") == before
        calls = rota.value("SELECT coalesce(sum(calls), 0) FROM pg_stat_statements WHERE query LIKE '%%fleet_numbers%%' "
                           "AND toplevel AND query NOT LIKE '%%pg_stat%%'")
        assert calls <= 6, "each node asks every five seconds at most"


# --- the document ---

def documented():
    """{name: (type, labels)} of docs/metrics.md."""
    rows = re.findall(r"^\| `([a-z_]+)` \| (\w+) \| ([^|]*) \|", (ROOT / "docs/metrics.md").read_text(), re.M)
    return {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def test_the_document_lists_every_family_with_its_type_and_labels(rota):
    rota.apply(job("good", durable=True), job("bad", durable=True, **FAILING),
               job("again", durable=True, retry={"max_attempts": 2, "backoff": "immediate"}, **FAILING))
    node = node_of(rota)
    for name in ("good", "bad", "again"):
        rota.enqueue(name)
    wait_numbers(node, lambda n: n.get("rota_runs_put_back_total", outcome="failed") == 1
                 and n.get("rota_runs_completed_total", outcome="failed") == 2
                 and n.get(STATES, state="ERROR") == 0, "all families")
    text, _ = fetch(node)
    document = documented()
    code = families(text)
    missing = set(document) - set(code)
    assert missing <= {"rota_runs_vetoed_total"}, "documented, and not told"
    assert set(code) <= set(document), "told, and not documented"
    for name, (kind, help_text) in code.items():
        assert document[name][0] == kind and help_text, name
    for name, labels in parse(text):
        family = re.sub(r"_(bucket|sum|count)$", "", name) if name not in document else name
        assert {label for label, _ in labels} - {"le"} == document[family][1], name


def test_each_alert_condition_names_metrics_that_exist():
    text = (ROOT / "docs/metrics.md").read_text()
    alerts = text[text.index("## Alerts"):]
    conditions = re.findall(r"^\| ([^|`]+) \| `([^`]+)` \|", alerts, re.M)
    assert len(conditions) >= 12
    for condition, expression in conditions:
        names = re.findall(r"\b((?:rota|metabase|process)_\w+)", expression)
        assert names, condition
        for name in names:
            assert re.sub(r"_(bucket|sum|count)$", "", name) in documented() or name in documented(), name
