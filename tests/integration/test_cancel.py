"""`rota cancel` and rota.cancel(): what waits ends at once, with all that hangs on it; in bulk; what each answer means."""

import json
import threading

import psycopg

from manifests import job


def cancelled(rota, *arguments, code=0):
    done = rota.run("cancel", *map(str, arguments), check=False)
    assert done.returncode == code, done.stderr
    return done


def test_a_waiting_run_ends_at_once_and_gives_back_what_it_has(rota):
    rota.apply(job("a", unique={"key": "/k"}, max_pending=1, on_failure="b"), job("b"))
    run, = rota.enqueue("a", "--data", '{"k":1}', "--in", "1h", "--expires-in", "1h")
    assert cancelled(rota, run, "--reason", "not wanted").stdout == f"{run} cancelled\n"
    row = rota.history(run)
    assert (row["status"], row["outcome"], row["details"]["message"]) == ("failed", "cancelled", "not wanted")
    for table in "pending", "unique_key", "run_extra", "cancel_request":
        assert rota.value(f"SELECT count(*) FROM rota.{table}") == 0
    assert rota.enqueue("a", "--data", '{"k":1}') != [run]


def test_whatever_a_run_waits_for_it_can_be_cancelled(rota):
    rota.apply(job("plain"), job("lane", disallow_concurrent=True), job("rate", rate={"limit": 1, "per": "1h"}), job("paused"))
    rota.run("pause", "job", "paused")
    first, = rota.enqueue("plain")
    runs = [*rota.enqueue("lane"), *rota.enqueue("rate", "--count", "2"), *rota.enqueue("paused"),
            *rota.enqueue("plain", "--after", str(first)), *rota.enqueue("plain", "--in", "1h"), int(rota.run("fire", "lane").stdout)]
    said = json.loads(cancelled(rota, *runs, "--json").stdout)
    assert said == {"cancelled": len(runs), "requested": 0, "finished": 0, "not_found": 0,
                    "runs": [{"run": run, "answer": "cancelled"} for run in runs]}
    assert rota.rows("SELECT id FROM rota.pending") == [(first,)] and rota.value("SELECT count(*) FROM rota.run_after") == 0


def test_what_is_over_or_not_there_is_said_so(rota):
    rota.apply(job("a"))
    run, = rota.enqueue("a")
    assert rota.value("SELECT rota.cancel(%s)", run) == "cancelled"
    assert cancelled(rota, run, run).stdout == f"{run} finished\n"
    done = cancelled(rota, run, 99, 98, code=4)
    assert done.stdout == f"{run} finished\n99 not_found\n98 not_found\n"
    assert done.stderr == "rota cancel: there is no run 99, and there are others\n"
    assert rota.value("SELECT rota.cancel(99)") == "not_found"
    assert rota.value("SELECT count(*) FROM rota.cancel_request") == 0


def test_all_runs_of_a_job_are_cancelled_and_no_others(rota):
    rota.apply(job("a"), job("b"))
    rota.enqueue("a", "--count", "1200")
    other, = rota.enqueue("b")
    rota.enqueue("a", "--count", "5", "--in", "1h")
    assert cancelled(rota, "--job", "a").stdout == 'job "a": 1205 runs cancelled, 0 running asked to end\n'
    assert rota.rows("SELECT id FROM rota.pending") == [(other,)]
    assert cancelled(rota, "--job", "a").stdout == 'job "a": 0 runs cancelled, 0 running asked to end\n'
    assert 'no job is called "aa": did you mean "a"?' in cancelled(rota, "--job", "aa", code=4).stderr


def test_two_who_cancel_the_same_runs_do_not_stand_in_each_others_way(rota):
    rota.apply(job("a"))
    runs = rota.enqueue("a", "--count", "300")
    answers, errors = [], []

    def cancel(order):
        try:
            with psycopg.connect(rota.url, autocommit=True) as db:
                for start in range(0, 300, 100):
                    answers.extend(db.execute("SELECT * FROM rota.cancel_many(%s)", (order[start:start + 100],)).fetchall())
        except psycopg.Error as error:
            errors.append(error)

    threads = [threading.Thread(target=cancel, args=(order,)) for order in (runs, runs[::-1], runs, runs[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == []
    assert sorted(run for run, answer in answers if answer == "cancelled") == runs
    assert {answer for _, answer in answers} <= {"cancelled", "finished"}
    assert rota.value("SELECT count(*) FROM rota.task_history") == 300


def test_a_call_that_means_nothing_is_refused(rota):
    for words in ([], ["--job", "a", "1"], ["x"], ["0"], ["1", "--reason", "x" * 251]):
        assert "(see --help)" in cancelled(rota, *words, code=2).stderr
