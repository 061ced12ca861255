"""What a node says about itself while it runs: log levels that change, repetitions, traces."""

import os
import signal

import psycopg
import pytest

from manifests import job
from metrics import Numbers
from waiting import wait_until

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_the_log_level_changes_on_sighup(rota, tmp_path):
    config = tmp_path / "rota.json"
    config.write_text('{"log_level": "info"}')
    node = rota.node("n1", config=str(config), log_level="")
    assert not node.lines(level="debug")
    config.write_text('{"log_level": "debug"}')
    node.send(signal.SIGHUP)
    said = node.wait_for_line("settings read")
    assert (said["log_level"], said["before"]) == ("debug", "info")
    os.kill(node.worker_pids()[0], signal.SIGKILL)
    wait_until(lambda: node.lines("worker process moves", "debug"), why="a debug line")
    config.write_text('{"log_level": "warn"}')
    node.send(signal.SIGHUP)
    node.wait_for_line("settings read", count=2)
    wait_until(lambda: Numbers(node).get("rota_config_last_reload_successful") == 1, why="it is counted as good")


def test_settings_that_cannot_be_read_change_nothing(rota, tmp_path):
    config = tmp_path / "rota.json"
    config.write_text('{"log_level": "info"}')
    node = rota.node("n1", config=str(config), log_level="")
    config.write_text('{"log_level": "loud"}')
    node.send(signal.SIGHUP)
    refused = node.wait_for_line("settings refused: going on with those from before")
    assert str(config) in refused["error"] and "loud" in refused["error"]
    assert Numbers(node).get("rota_config_last_reload_successful") == 0
    assert node.http("/readyz")[0] == 200
    config.write_text('{"log_level": "info"}')
    node.send(signal.SIGHUP)
    node.wait_for_line("settings read")
    assert Numbers(node).get("rota_config_last_reload_successful") == 1


def test_a_trace_reaches_the_program_and_the_log(rota):
    rota.apply(job("traced", durable=True, handler="exec", data={"command": ["/usr/bin/env"]}))
    node = rota.node("n1", exec_allow="/usr/bin/*", log_runs="true")
    traced = rota.value("SELECT rota.enqueue('traced', traceparent => %s)", TRACE)
    plain = rota.value("SELECT rota.enqueue('traced')")
    for run in (traced, plain):
        rota.wait_history(run)
    details = dict(rota.rows("SELECT id, task_details::text FROM rota.task_history"))
    assert f"TRACEPARENT={TRACE}" in details[traced]
    assert "TRACEPARENT" not in details[plain]
    lines = {line["run"]: line for line in wait_until(
        lambda: len(node.lines("run finished")) == 2 and node.lines("run finished"), why="both lines")}
    assert lines[traced]["trace_id"] == TRACE.split("-")[1]
    assert "trace_id" not in lines[plain]


def test_a_trace_that_is_none_is_refused_where_it_is_said(rota):
    rota.apply(job("a", durable=True))
    for bad in ("x", TRACE.upper(), TRACE + "-00", "01" + TRACE[2:], "00-" + "0" * 32 + TRACE[35:],
                TRACE[:36] + "0" * 16 + "-01"):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="traceparent"):
            rota.db.execute("SELECT rota.enqueue('a', traceparent => %s)", (bad,))
    assert rota.value("SELECT count(*) FROM rota.pending") == 0
