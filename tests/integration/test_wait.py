"""`rota enqueue --wait`: it ends with its run and as its run does, says meanwhile what the worker says, and the run
does not depend on it."""

import json
import os
import pty
import signal
import subprocess
import time

import pytest

from fleet import binary, environment
from noting import STAY, Noting, line, progress
from pooler import Pooler
from waiting import wait_until


@pytest.fixture(scope="module")
def server(pg_server):
    """One that lets a pooler in without a password."""
    return pg_server


@pytest.fixture
def noting(rota, tmp_path):
    noting = Noting(rota, tmp_path)
    noting.job()
    noting.node()
    return noting


def visits(*steps):
    return "--data", json.dumps({"visits": steps})


def details(**members):
    return {"say": {"type": "done", "details": members}}


def fail(message):
    return {"say": {"type": "fail", "message": message}}


class Waiting:
    """A wait that is going on, in a process of its own."""

    def __init__(self, rota, *arguments, url=None, **options):
        self.process = subprocess.Popen([binary(), "enqueue", *arguments, "--wait"], text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
                                        env=environment(database_url=url or rota.url), cwd=rota.directory, **options)

    def end(self, limit=30):
        out, err = self.process.communicate(timeout=limit)
        return self.process.returncode, out, err


def only_run(noting):
    """The one run that there is, once a worker has it."""
    def given():
        if not os.path.exists(noting.seen_path):
            return None
        with open(noting.seen_path, encoding="utf-8") as file:
            lines = [each for each in file if each.endswith("\n")]
        return json.loads(lines[0])["id"] if lines else None

    return wait_until(given, 15, "a run to begin")


def test_a_run_that_succeeds_shows_its_log_and_prints_what_it_leaves(noting):
    done = noting.rota.run("enqueue", "job", *visits([line("one"), line("two", "warn"), details(rows=7)]), "--wait")
    assert json.loads(done.stdout) == {"rows": 7}
    assert "info: one\nwarn: two\n" in done.stderr and done.stderr.endswith(": success\n")


def test_a_run_that_fails_ends_the_wait_with_1_and_says_why(noting):
    done = noting.rota.run("enqueue", "job", *visits([fail("no luck")]), "--wait", check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.splitlines()[-1].endswith("ended as failed: no luck")


def test_the_output_of_a_program_is_printed_as_it_is_whether_it_succeeded_or_not(rota):
    rota.apply({"name": "good", "handler": "exec", "durable": True, "data": {"command": ["/bin/echo", "hello\nworld"]}},
               {"name": "bad", "handler": "exec", "durable": True,
                "data": {"command": ["/bin/sh", "-c", "echo half; exit 3"]}})
    rota.node("n1", exec_allow='["*"]')
    assert rota.run("enqueue", "good", "--wait").stdout == "hello\nworld\n"
    done = rota.run("enqueue", "bad", "--wait", check=False)
    assert (done.returncode, done.stdout) == (1, "half\n")


def test_json_prints_the_row_of_the_history_and_nothing_else(noting):
    steps = [line("one"), progress(0.5, "half"), details(rows=7)]
    done = noting.rota.run("enqueue", "job", *visits(steps), "--wait", "--json")
    row = json.loads(done.stdout)
    assert (row["status"], row["outcome"], row["task"], row["task_details"]) == ("success", "success", "job", {"rows": 7})
    assert [entry["message"] for entry in row["logs"]] == ["one"] and done.stderr == ""
    failed = noting.rota.run("enqueue", "job", *visits([fail("no luck")]), "--wait", "--json", check=False)
    assert failed.returncode == 1 and json.loads(failed.stdout)["status"] == "failed"


def test_a_wait_that_is_over_leaves_the_run_alone(noting):
    gate = noting.gate()
    done = noting.rota.run("enqueue", "job", *visits([{"until": gate}]), "--wait", "600ms", check=False)
    assert done.returncode == 5
    run = only_run(noting)
    assert f"run {run} is not over after 600ms and goes on" in done.stderr
    assert noting.rota.where(run), "it still runs"
    noting.open()
    assert noting.rota.wait_history(run)["status"] == "success"


def test_ctrl_c_ends_the_wait_and_not_the_run(noting):
    waiting = Waiting(noting.rota, "job", *visits([progress(0.4, "on it"), {"until": noting.gate()}]))
    run = only_run(noting)
    noting.wait_note(run, "fraction", 0.4)
    waiting.process.send_signal(signal.SIGINT)
    code, out, err = waiting.end()
    assert (code, out) == (130, "")
    assert f"run {run} goes on; `rota cancel {run}` ends it" in err
    noting.open()
    assert noting.rota.wait_history(run)["status"] == "success"


def test_a_wait_goes_on_through_attempts_and_shows_each_line_once(noting):
    noting.job(retry={"max_attempts": 2, "backoff": "fixed", "initial": "1s"})
    done = noting.rota.run("enqueue", "job", *visits([line("first"), fail("no")], [line("second")]), "--wait")
    shown = [each for each in done.stderr.splitlines() if each.startswith("info: ")]
    assert shown == ["info: first", "info: second"]


def test_lines_that_were_left_out_are_counted(noting):
    steps = [{"times": 500, "say": {"type": "log", "level": "info", "message": "line {}"}}]
    err = noting.rota.run("enqueue", "job", *visits(steps), "--wait").stderr
    shown = [each for each in err.splitlines() if each.startswith("info: line")]
    left_out = sum(int(each.split()[1]) for each in err.splitlines() if each.startswith("… "))
    assert shown[-1] == "info: line 499" and len(shown) + left_out == 500


def test_the_end_is_heard_at_once_where_notifications_come_through(noting):
    """Not at the next look, half a second later: of several waits the median tells."""
    took = []
    for _ in range(5):
        waiting = Waiting(noting.rota, "job", *visits([{"until": noting.gate()}]))
        run = wait_until(lambda: noting.rota.rows("SELECT id FROM rota.run WHERE state = 'started'"), 15, "a run")[0][0]
        wait_until(lambda: noting.seen(run), 15, "its worker to have it")
        noting.open()
        noting.rota.wait_history(run)
        over = time.monotonic()
        assert waiting.end()[0] == 0
        took.append(time.monotonic() - over)
        os.unlink(noting.gate())
    assert sorted(took)[2] < 0.2, took


def test_behind_a_pooler_of_transactions_a_wait_looks_by_itself(noting):
    pooler = Pooler(noting.rota.url, True)
    try:
        done = noting.rota.run("enqueue", "job", *visits([details(rows=7)]), "--wait", database_url=pooler.url)
        assert json.loads(done.stdout) == {"rows": 7}
    finally:
        pooler.close()


def test_a_wait_outlives_its_connection(noting):
    waiting = Waiting(noting.rota, "job", *visits([{"until": noting.gate()}, details(rows=7)]))
    run = only_run(noting)
    noting.rota.db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'rota enqueue'")
    wait_until(lambda: noting.rota.rows("SELECT FROM pg_stat_activity WHERE application_name = 'rota enqueue'"), 15,
               "it to be back")
    noting.open()
    code, out, _ = waiting.end()
    assert (code, json.loads(out)) == (0, {"rows": 7})
    assert noting.rota.wait_history(run)["status"] == "success"


def test_on_a_terminal_there_is_one_line_of_progress(noting):
    screen, theirs = pty.openpty()
    process = subprocess.Popen(
        [binary(), "enqueue", "job", *visits([progress(0.42, "so \x1b[2J far"), {"until": noting.gate()}]), "--wait"],
        stderr=theirs, stdout=subprocess.DEVNULL, env=environment(database_url=noting.rota.url), start_new_session=True)
    os.close(theirs)
    shown = b""
    while b"42 %" not in shown:
        shown += os.read(screen, 4096)
    noting.open()
    try:
        while True:
            shown += os.read(screen, 4096)
    except OSError:
        pass  # its end of the terminal is closed
    assert process.wait(20) == 0
    os.close(screen)
    assert b"\r\x1b[Krun " in shown and b": 42 % so  [2J far" in shown, "and a worker does not move the cursor"
    assert shown.rstrip().endswith(b": success")


@pytest.mark.parametrize("arguments, why", [
    (("--wait", "5x"), "--wait \"5x\" is no duration"),
    (("--wait=", ), "--wait \"\" is no duration"),
    (("--wait", "--count", "2"), "--wait waits for one run, not for 2"),
])
def test_a_wait_that_means_nothing_is_refused(rota, arguments, why):
    done = rota.run("enqueue", "job", *arguments, check=False)
    assert done.returncode == 2 and why in done.stderr


def test_an_unknown_job_is_not_waited_for(rota):
    done = rota.run("enqueue", "nothing", "--wait", check=False)
    assert done.returncode == 4 and 'no job is called "nothing"' in done.stderr


def test_a_run_that_expires_ends_its_wait(noting):
    gate = noting.gate()
    held = [noting.enqueue([{"until": gate}]) for _ in range(2)]
    for run in held:
        wait_until(lambda run=run: noting.seen(run), 15, "both workers to be busy")
    noting.rota.db.execute("UPDATE rota.job SET expires_in_ms = 300 WHERE name = 'job'")
    waiting = Waiting(noting.rota, "job", *visits([STAY]))
    wait_until(lambda: noting.rota.rows("SELECT FROM rota.run_extra WHERE expires_at < clock_timestamp()"), 15, "its time")
    noting.open()
    code, _, err = waiting.end()
    assert code == 1 and "ended as expired: it was not started in time" in err
