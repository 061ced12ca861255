"""`rota delete`: jobs and triggers go, waiting runs are cancelled, running ones finish."""

import json

import psycopg
import pytest

from waiting import holds_for, wait_until

NIGHTLY = {"name": "nightly", "cron": "0 0 3 * * ?"}


def job(name, *triggers, **more):
    return {"name": name, "handler": "noop", "triggers": list(triggers), **more}


def names(rota, table):
    return [name for (name,) in rota.rows(f"SELECT name FROM rota.{table} ORDER BY name")]


def why(rota, run):
    row = rota.history(run)
    return row["outcome"], row["details"]["message"]


def test_a_deleted_trigger_is_gone_and_its_waiting_runs_are_cancelled(rota):
    rota.apply(job("report", NIGHTLY, {"name": "weekly", "cron": "0 0 3 ? * MON"}))
    mine, others = int(rota.run("fire", "nightly").stdout), [int(rota.run("fire", "weekly").stdout), *rota.enqueue("report")]
    said = json.loads(rota.run("delete", "trigger", "nightly", "--json").stdout)
    assert said == {"deleted": "trigger", "name": "nightly", "job": "report", "source": "test", "job_deleted": False,
                    "triggers_deleted": 1, "runs_cancelled": 1}
    assert names(rota, "trigger") == ["weekly"] and names(rota, "job") == ["report"]
    assert why(rota, mine) == ("cancelled", "cancelled: its trigger was deleted")
    rota.node()
    for run in others:
        assert rota.wait_history(run)["outcome"] == "success"


def test_a_job_that_is_not_durable_goes_with_its_last_trigger(rota):
    rota.apply(job("report", NIGHTLY), job("stays", {"name": "weekly", "cron": "0 0 3 ? * MON"}, durable=True))
    [run] = rota.enqueue("report")
    said = rota.run("delete", "trigger", "nightly").stdout
    assert said == ('deleted trigger "nightly" of job "report", and the job, as this was its last trigger and it is not '
                    'durable; 1 waiting run cancelled\n')
    assert why(rota, run) == ("cancelled", "cancelled: the job was deleted with its last trigger")
    rota.run("delete", "trigger", "weekly")
    assert names(rota, "job") == ["stays"] and names(rota, "trigger") == []


def test_a_deleted_job_takes_its_triggers_along_and_its_running_runs_finish(rota, ledger, tmp_path):
    gate = tmp_path / "gate"
    rota.apply({"name": "slow", "handler": "exec", "data": ledger.shell(f"while [ ! -e {gate} ]; do sleep 0.05; done"),
                "triggers": [{"name": "tick", "every": "1s"}]}, job("other", NIGHTLY))
    node = rota.node(exec_allow='["*"]', slots=2)
    [running] = rota.enqueue("slow")
    wait_until(lambda: running in {entry.run for entry in ledger.entries()}, 10)
    [waiting] = rota.enqueue("slow", "--in", "1h")
    said = rota.run("delete", "job", "slow").stdout
    assert said.startswith('deleted job "slow" with 1 trigger; ')
    assert names(rota, "job") == ["other"] and names(rota, "trigger") == ["nightly"]
    assert why(rota, waiting) == ("cancelled", "cancelled: the job was deleted")
    assert rota.history(running) is None
    gate.touch()
    assert (rota.wait_history(running)["outcome"], rota.history(running)["task"]) == ("success", "slow")
    wait_until(lambda: rota.open_runs() == 0, 10)
    count = ledger.count()
    holds_for(lambda: ledger.count() == count, 1.5)
    assert node.lives()


def test_what_a_manifest_declares_comes_back_when_it_is_applied(rota):
    rota.apply(job("report", NIGHTLY))
    rota.run("delete", "job", "report")
    assert '+ job "report"' in rota.apply(job("report", NIGHTLY)).stdout


def test_what_is_pruned_still_says_so(rota, tmp_path):
    rota.apply(job("report", NIGHTLY))
    [run] = rota.enqueue("report")
    path = tmp_path / "empty.json"
    path.write_text('{"source": "test", "jobs": []}')
    rota.run("apply", "-f", str(path), "--prune")
    assert why(rota, run) == ("cancelled", "cancelled: the job was removed, as its manifest declares it no more")


@pytest.mark.parametrize("arguments, code, said", [
    (("delete", "trigger", "nigthly"), 4, 'no trigger is called "nigthly": did you mean "nightly"?'),
    (("delete", "job", "xyz"), 4, '`rota get jobs` lists them'),
    (("delete", "source", "test"), 2, "write job NAME or trigger NAME"),
    (("delete",), 2, "what?"),
    (("delete", "job"), 2, "which job?"),
    (("delete", "job", "a", "b"), 2, "second one"),
])
def test_a_wrong_call_is_told_what_would_be_right(rota, arguments, code, said):
    rota.apply(job("report", NIGHTLY))
    done = rota.run(*arguments, check=False)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr and done.stderr.count("\n") == 1


def test_while_an_apply_runs_a_deletion_waits_with_a_bound(rota):
    rota.apply(job("report", NIGHTLY))
    with psycopg.connect(rota.url) as apply:
        apply.execute("SELECT pg_advisory_xact_lock(hashtextextended('rota.apply', 0))")
        assert rota.run("delete", "job", "report", "--wait", "200ms", check=False).returncode == 5
        assert names(rota, "job") == ["report"]
