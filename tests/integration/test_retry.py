"""`rota retry` and `rota discard`: finished runs once more, or never again; by id, and in bulk by filter."""

import json

import pytest

from manifests import job


def call(rota, *arguments, code=0):
    done = rota.run(*map(str, arguments), check=False)
    assert done.returncode == code, (done.returncode, done.stderr)
    return done


def end(rota, how, *runs):
    """As if they had failed."""
    rota.db.execute("SELECT rota.bundles_open_runs(%s)", (list(runs),))
    assert rota.value("SELECT rota.pending_end(%s, %s, 'by the test')", list(runs), how) == len(runs)


@pytest.fixture
def dead(rota):
    """Ten failed runs of "a", three of "b" that were lost, two that somebody cancelled."""
    rota.apply(job("a"), job("b"))
    runs = rota.enqueue("a", "--count", "10", "--data", '{"n":1.0}')
    rota.lost = rota.enqueue("b", "--count", "3")
    rota.cancelled = rota.enqueue("a", "--count", "2")
    end(rota, "failed", *runs)
    end(rota, "lost", *rota.lost)
    call(rota, "cancel", *rota.cancelled)
    rota.failed = runs
    return rota


def test_a_finished_run_runs_again_with_its_data_and_its_trigger(rota):
    rota.apply(job("a", {"name": "t", "every": "1h", "priority": 9, "data": {"k": 7}}, durable=True,
                   concurrency={"limit": 1, "key": "/k"}))
    enqueued, = rota.enqueue("a", "--data", '{"k":1.0}', "--priority", "3")
    fired = int(call(rota, "fire", "t").stdout)
    lanes = dict(rota.rows("SELECT id, lane FROM rota.pending"))
    end(rota, "failed", enqueued, fired)
    first, second = map(int, call(rota, "retry", enqueued, fired).stdout.split())
    rows = {row[0]: row[1:] for row in rota.rows(
        "SELECT p.id, p.data::text, t.name, p.lane, o.priority, p.earlier FROM rota.pending p "
        "JOIN rota.route o ON o.id = abs(p.route) LEFT JOIN rota.trigger t ON t.id = p.trigger_id")}
    assert rows == {first: ('{"k":1.0}', None, lanes[enqueued], 5, [{"outcome": "run again", "run": enqueued}]),
                    second: (None, "t", lanes[fired], 9, [{"outcome": "run again", "run": fired}])}
    assert lanes[enqueued] != lanes[fired]


def test_nothing_is_run_again_by_mistake(dead):
    run = dead.failed[0]
    fresh = int(call(dead, "retry", run).stdout)
    assert call(dead, "retry", run, code=1).stderr == f"rota retry: run {run} was run again before, as run {fresh}\n"
    assert call(dead, "discard", run, code=1).stderr == f"rota discard: run {run} was run again before, as run {fresh}\n"
    assert call(dead, "retry", fresh, code=1).stderr == f"rota retry: run {fresh} is not over\n"
    assert call(dead, "retry", 9999, code=4).stderr == "rota retry: there is no run 9999 in the history\n"
    call(dead, "discard", dead.failed[1])
    assert "was discarded before" in call(dead, "retry", dead.failed[1], code=1).stderr
    again = int(call(dead, "retry", run, "--again").stdout)
    assert again > fresh and int(call(dead, "retry", dead.failed[1], "--again").stdout) > again
    call(dead, "delete", "job", "b")
    said = json.loads(call(dead, "retry", dead.lost[0], "--json", code=1).stdout)
    assert said["runs"] == [{"run": dead.lost[0], "answer": "job_gone"}]


def test_all_that_failed_run_again_but_what_somebody_cancelled(dead):
    shown = call(dead, "retry", "--failed", "--dry-run").stdout
    assert shown.endswith("13 runs would be retried\n") and dead.open_runs() == 0
    assert [int(line.split()[0]) for line in shown.splitlines()[:-1]] == [*dead.failed, *dead.lost]
    said = json.loads(call(dead, "retry", "--failed", "--json").stdout)
    assert said["retried"] == 13 == dead.open_runs() and {row["answer"] for row in said["runs"]} == {"retried"}
    assert call(dead, "retry", "--failed").stdout == "" and dead.open_runs() == 13
    assert len(call(dead, "retry", "--failed", "--outcome", "cancelled").stdout.split()) == 2


def test_filters_narrow_what_is_run_again_or_discarded(dead):
    assert "3 runs would be retried" in call(dead, "retry", "--failed", "--job", "b", "--dry-run").stdout
    assert "3 runs would be retried" in call(dead, "retry", "--failed", "--outcome", "lost", "--dry-run").stdout
    assert call(dead, "discard", "--failed", "--limit", "4").stdout == "4 runs discarded\n"
    assert "9 runs would be" in call(dead, "retry", "--failed", "--dry-run").stdout
    dead.db.execute("UPDATE rota.task_history SET ended_at = ended_at - interval '1 microsecond' WHERE id = ANY (%s)", (dead.lost,))
    at = dead.value("SELECT to_char(max(ended_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') "
                    "FROM rota.task_history WHERE task = 'b'")
    assert "3 runs would be" in call(dead, "retry", "--failed", "--job", "b", "--since", at, "--dry-run").stdout
    assert "0 runs would be" in call(dead, "retry", "--failed", "--job", "b", "--until", at, "--dry-run").stdout
    assert "9 runs would be" in call(dead, "retry", "--failed", "--since", "1h", "--dry-run").stdout
    assert "0 runs would be" in call(dead, "retry", "--failed", "--since", "1ms", "--dry-run").stdout
    said = json.loads(call(dead, "discard", "--failed", "--json", "--dry-run").stdout)
    assert said["discarded"] == 9 and said["dry_run"] and said["runs"][0].keys() == {"run", "job", "outcome", "ended_at"}
    assert 'no job is called "c"' in call(dead, "retry", "--failed", "--job", "c", code=4).stderr


def test_thousands_are_done_in_batches_and_each_once(rota):
    rota.apply(job("a"), job("gone"))
    runs = rota.enqueue("a", "--count", "1300")
    end(rota, "failed", *runs, *rota.enqueue("gone", "--count", "700"))
    call(rota, "delete", "job", "gone")
    assert len(call(rota, "retry", "--failed").stdout.split()) == 1300 == rota.open_runs()
    assert rota.value("SELECT count(DISTINCT by_run) FROM rota.settled") == 1300
    assert call(rota, "discard", "--failed", "--job", "gone").stdout == "700 runs discarded\n"
    assert call(rota, "discard", "--failed").stdout == "0 runs discarded\n"


def test_a_full_queue_takes_no_run_again_and_says_so(dead):
    dead.apply(job("a", max_pending=2), job("b"))
    done = call(dead, "retry", "--failed", "--job", "a", code=1)
    assert done.stderr == 'rota retry: the queue of job "a" is full: it takes 2 waiting runs\n'
    assert dead.open_runs() == 0 and dead.value("SELECT count(*) FROM rota.settled") == 0


def test_a_call_that_means_nothing_is_refused(rota):
    for words in (["retry"], ["retry", "1", "--failed"], ["retry", "1", "--job", "a"], ["retry", "--failed", "--again"],
                  ["retry", "--failed", "--since", "soon"], ["retry", "--failed", "--until", "1h"], ["retry", "x"],
                  ["discard", "1", "--again"], ["discard", "1", "--dry-run"], ["retry", "--failed", "--limit", "0"]):
        assert "(see --help)" in call(rota, *words, code=2).stderr
