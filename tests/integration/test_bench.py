"""rota bench: its documents; that it prints no figure of runs that are not all there once; that it leaves nothing behind.
No figure decides a test."""

import json
import signal
import subprocess

import psycopg
import pytest

from fleet import binary, command, environment
from processes import descendants, die_with_parent
from waiting import wait_until

LOSE = "IF NEW.id % 20 = 0 THEN RETURN NULL; END IF; RETURN NEW"
DOUBLE = "IF NEW.id % 20 = 0 AND pg_trigger_depth() = 1 THEN INSERT INTO {schema}.task_history SELECT NEW.*; END IF; RETURN NULL"


def bench(rota, *arguments, timeout=120):
    done = rota.run("bench", *arguments, "--json", timeout=timeout)
    assert done.stdout.count("\n") == 1
    assert schemas(rota) == []
    return json.loads(done.stdout)


def schemas(rota):
    return [name for name, in rota.rows("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'rota\\_bench\\_%'")]


def start(rota, *arguments):
    return subprocess.Popen([binary(), "bench", *arguments], env=environment(database_url=rota.url), text=True,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            preexec_fn=die_with_parent)


def plant(rota, process, body, when):
    """A trigger on the history of the bench, before its nodes have written any of it. The schema."""
    schema, = wait_until(lambda: schemas(rota), 10, "the schema of the bench")
    history = f"{schema}.task_history"
    wait_until(lambda: rota.value("SELECT to_regclass(%s)", history), 10, "its history")
    with psycopg.connect(rota.url, autocommit=True) as db:
        db.execute("CREATE FUNCTION public.plant() RETURNS trigger LANGUAGE plpgsql AS "
                   f"$$ BEGIN {body.format(schema=schema)}; END $$")
        db.execute(f"CREATE TRIGGER planted {when} INSERT ON {history} FOR EACH ROW EXECUTE FUNCTION public.plant()")
        assert db.execute(f"SELECT count(*) FROM {history}").fetchone() == (0,)
    assert process.poll() is None
    return schema


def ordered(figure):
    assert set(figure) == {"min", "median", "max"} and 0 < figure["min"] <= figure["median"] <= figure["max"]


def delays(figure):
    assert set(figure) == {"p50", "p99"} and figure["p50"] <= figure["p99"]


@pytest.mark.parametrize("how", [(), ("--single",)])
def test_drain_tells_how_many_runs_a_second_all_done_once(empty_rota, how):
    document = bench(empty_rota, "drain", "--runs", "2000", "--nodes", "2", "--repeat", "2", *how)
    assert (document["bench"], document["nodes"], document["runs"], document["exact"]) == ("drain", 2, 2000, True)
    ordered(document["rate_per_s"])
    assert len(document["rates_per_s"]) == 2 and set(document["rates_per_s"]) <= set(document["rate_per_s"].values())
    ordered(document["enqueue_per_s"])
    ordered(document["wal_bytes_per_run"])


def test_tick_tells_how_late_triggers_fire_and_that_none_is_missed(empty_rota):
    document = bench(empty_rota, "tick", "--triggers", "50", "--seconds", "2")
    assert (document["bench"], document["nodes"], document["triggers"], document["exact"]) == ("tick", 2, 50, True)
    assert document["missed"] == 0 and document["runs"] == 50 * 5
    ordered(document["rate_per_s"])
    delays(document["firing_delay_ms"])


def test_tick_saturated_tells_how_many_fire_a_second(empty_rota):
    document = bench(empty_rota, "tick", "--saturate", "--triggers", "300", "--repeat", "1", "--nodes", "1")
    assert (document["mode"], document["nodes"], document["runs"], document["exact"]) == ("saturate", 1, 600, True)
    ordered(document["rate_per_s"])


def test_latency_tells_how_long_until_the_handler_is_called(empty_rota):
    document = bench(empty_rota, "latency", "--runs", "20", "--load", timeout=180)
    assert (document["bench"], document["nodes"], document["exact"]) == ("latency", 2, True)
    for figures in document, document["loaded"]:
        delays(figures["enqueue_to_start_ms"])
        delays(figures["schedule_to_start_ms"])
        assert figures["schedule_to_start_ms"]["p50"] > 0
    assert document["loaded"]["load_per_s"] > 0 and document["loaded"]["load_wanted_per_s"] > 0


def test_idle_tells_what_nodes_cost_that_do_nothing(empty_rota):
    document = bench(empty_rota, "idle", "--seconds", "2", "--nodes", "1")
    assert document["bench"] == "idle" and document["start_to_ready_ms"] > 0
    for name in "coordinator_private_kib", "worker_private_kib", "coordinator_rss_kib":
        assert document[name] > 0, name
    assert document["statements_per_minute_per_node"] >= 0


def test_the_fleet_that_is_there_is_not_touched(rota):
    rota.apply({"name": "a", "handler": "noop", "durable": True})
    rota.enqueue("a")
    bench(rota, "drain", "--runs", "100", "--repeat", "1")
    assert rota.value("SELECT count(*) FROM rota.pending") == 1
    assert rota.rows("SELECT name FROM rota.job") == [("a",)]
    assert rota.value("SELECT count(*) FROM rota.task_history") == 0


@pytest.mark.parametrize("arguments", [("drain", "--runs", "200"), ("tick", "--triggers", "20", "--seconds", "1")])
@pytest.mark.parametrize("body,when,what", [(LOSE, "BEFORE", " not "), (DOUBLE, "AFTER", "more than once")])
def test_a_history_that_is_not_exact_gives_no_figure(empty_rota, arguments, body, when, what):
    process = start(empty_rota, *arguments)
    plant(empty_rota, process, body, when)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 1 and output == ""
    assert "no figure" in errors and errors.count("\n") == 1
    if arguments[0] == "drain":
        lost, double = [int(word) for word in errors.split("runs ")[1].split() if word.isdigit()][:2]
        assert (lost > 0, double > 0) == (body == LOSE, body == DOUBLE), errors
    assert schemas(empty_rota) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_it_leaves_neither_schema_nor_process(empty_rota, number):
    process = start(empty_rota, "drain", "--runs", "100000", "--repeat", "50")
    wait_until(lambda: sum(" node " in below.command for below in descendants(process.pid)) == 2, 20, "its nodes")
    below = descendants(process.pid)
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and output == "" and "no figure" in errors
    assert schemas(empty_rota) == []
    wait_until(lambda: not any(one.lives() for one in below), 10, "its processes to end")


def test_the_next_one_drops_what_a_killed_one_has_left(empty_rota):
    process = start(empty_rota, "idle", "--seconds", "600")
    left, = wait_until(lambda: schemas(empty_rota), 10, "the schema of the bench")
    wait_until(lambda: sum(" node " in below.command for below in descendants(process.pid)) == 2, 20, "its nodes")
    below = descendants(process.pid)
    process.kill()
    process.communicate(timeout=20)
    wait_until(lambda: not any(one.lives() for one in below), 20, "its nodes to end with it")
    assert schemas(empty_rota) == [left]
    bench(empty_rota, "drain", "--runs", "100", "--repeat", "1")


def test_one_that_lives_keeps_its_schema(empty_rota):
    process = start(empty_rota, "idle", "--seconds", "600")
    own, = wait_until(lambda: schemas(empty_rota), 10, "the schema of the bench")
    done = empty_rota.run("bench", "drain", "--runs", "100", "--repeat", "1")
    assert "each done exactly once" in done.stdout
    assert schemas(empty_rota) == [own]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert schemas(empty_rota) == []


def test_a_node_that_cannot_start_is_told_of(empty_rota):
    process = subprocess.run([binary(), "bench", "drain", "--runs", "10"], text=True, capture_output=True, timeout=60, check=False,
                             env=environment(database_url=empty_rota.url, lease="never"))
    assert process.returncode == 1 and "rota bench: bench-" in process.stderr and "ROTA_LEASE" in process.stderr
    assert schemas(empty_rota) == []


def test_a_database_out_of_reach_is_exit_3():
    done = command("bench", "drain", database_url="host=127.0.0.1 port=1 dbname=none")
    assert done.returncode == 3 and done.stdout == "" and done.stderr.startswith("rota bench: ")


@pytest.mark.parametrize("words,what", [
    ((), "which bench"),
    (("dran",), "no bench is called"),
    (("drain", "tick"), "one bench at a time"),
    (("drain", "--runs", "0"), "--runs"),
    (("drain", "--nodes", "65"), "--nodes"),
    (("drain", "--seconds", "3"), "--seconds is nothing for drain"),
    (("idle", "--load"), "--load is nothing for idle"),
    (("tick", "--repeat", "3"), "--saturate"),
    (("tick", "--saturate", "--seconds", "3"), "--seconds"),
    (("drain", "--rns", "3"), "did you mean --runs"),
])
def test_a_wrong_call_is_exit_2_and_says_what_would_be_right(words, what):
    done = command("bench", *words, database_url="host=127.0.0.1 port=1 dbname=none")
    assert done.returncode == 2 and what in done.stderr and "(see --help)" in done.stderr
