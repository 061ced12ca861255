"""docs/operating.md, word by word; and what `rota get` shows of what operators do."""

import json
import pathlib
import re
import shlex

from waiting import wait_until

DOCUMENT = pathlib.Path(__file__).resolve().parents[2] / "docs" / "operating.md"
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)


def agrees(said, written):
    """Instants may be any, `…` stands for the rest of a line."""
    pattern = re.escape(INSTANT.sub("INSTANT", written)).replace("INSTANT", INSTANT.pattern).replace("…", ".*")
    return re.fullmatch(pattern, said) is not None


def listed(rota, what, *more):
    return {row.get("name", row.get("id", row.get("job"))): row
            for row in json.loads(rota.run("get", what, *more, "--json").stdout)["data"]}


def act(rota, language, at_least):
    """The commands of the examples, one after the other."""
    steps = [step.split("\n", 1) for block in blocks(language) for step in block.removeprefix("$ ").split("\n$ ")]
    assert len(steps) >= at_least
    for command, written in steps:
        program, *arguments = shlex.split(command)
        assert program == "rota"
        done = rota.run(*arguments, check=False)
        said = done.stdout if done.returncode == 0 else done.stderr
        assert agrees(said.strip(), written.strip()), f"{command}: {said!r} is not {written!r}"
        assert (done.returncode == 0) == (not written.startswith("rota "))


def test_the_examples_of_the_documentation_do_what_they_say(rota, tmp_path):
    [manifest] = blocks("json")
    (tmp_path / "billing.json").write_text(manifest)
    rota.run("apply", "-f", str(tmp_path / "billing.json"))
    act(rota, "console", 12)
    for statement in "".join(blocks("sql")).splitlines():
        rota.rows(statement)


def test_the_examples_about_nodes_do_what_they_say(rota):
    first, second = rota.start_nodes("web-1", "web-2")
    act(rota, "console nodes", 6)
    assert first.wait() == 0
    wait_until(lambda: rota.rows("SELECT state, wish FROM rota.node_state") == [("standby", "evict")], 10)
    assert rota.rows("SELECT known, wish FROM rota.node_wish('web-2', 'run')") == [(True, "run")]
    second.wait_ready()


def test_get_shows_what_is_paused_and_by_what(rota):
    rota.apply({"name": "a", "handler": "nobody", "triggers": [{"name": "t", "every": "1h"}, {"name": "u", "every": "1h"}]},
               {"name": "b", "handler": "noop", "durable": True, "concurrency": {"limit": 3}})
    rota.run("pause", "trigger", "t")
    rota.run("pause", "source", "test")
    triggers, jobs = listed(rota, "triggers"), listed(rota, "jobs")
    assert triggers["t"]["paused_by"] == ["source", "trigger"] and triggers["u"]["paused_by"] == ["source"]
    assert triggers["t"]["paused"] and triggers["t"]["paused_at"] and triggers["t"]["unserved_since"]
    assert jobs["a"]["paused_by"] == jobs["b"]["paused_by"] == ["source"] and jobs["b"]["limit"] == 3
    table = rota.run("get", "triggers").stdout
    assert "source,trigger" in table and "unserved_since" in table and "[" not in table
    rota.run("resume", "source", "test")
    assert listed(rota, "jobs")["a"]["paused_by"] == [] and listed(rota, "triggers")["u"]["paused"] is False


def test_get_shows_since_when_nobody_serves_a_handler(rota, ledger):
    rota.apply({"name": "a", "handler": "ledger", "triggers": [{"name": "t", "cron": "0 0 3 1 1 ?"}]})
    declared = listed(rota, "triggers")["t"]["unserved_since"]
    node = rota.node("n1", pools=ledger.pool())
    wait_until(lambda: listed(rota, "triggers")["t"]["unserved_since"] is None, 10)
    assert listed(rota, "jobs")["a"]["served"] is True
    assert node.stop() == 0
    assert listed(rota, "triggers")["t"]["unserved_since"] > declared and listed(rota, "jobs")["a"]["served"] is False


def test_get_shows_lanes_and_the_runs_they_hold(rota, ledger, tmp_path):
    gate = tmp_path / "gate"
    rota.apply({"name": "one", "handler": "exec", "durable": True, "disallow_concurrent": True,
                "data": ledger.shell(f"while [ ! -e {gate} ]; do sleep 0.05; done")})
    rota.node(exec_allow='["*"]')
    assert listed(rota, "lanes") == {}
    runs = rota.enqueue("one", "--count", "3")
    wait_until(lambda: [row["parked"] for row in listed(rota, "lanes").values()] == [2], 10)
    lane = listed(rota, "lanes", "one")["one"]
    assert (lane["limit"], lane["running"], lane["blocked"], lane["key"]) == (1, 1, 0, None)
    assert lane["runs"][0] in runs and lane["busy_since"] and lane["waiting_since"] and isinstance(lane["lane"], str)
    assert sorted(str(row["held"]) for row in listed(rota, "runs").values()) == ["None", "lane", "lane"]
    assert rota.run("get", "lanes").stdout.splitlines()[1].split()[:6] == ["one", "-", "1", "1", "2", "0"]

    # a pause takes them out of the lane, and back
    rota.run("pause", "job", "one")
    assert sorted(str(row["held"]) for row in listed(rota, "runs").values()) == ["None", "paused", "paused"]
    gate.touch()
    wait_until(lambda: [row["status"] for row in listed(rota, "history").values()] == ["success"], 10)
    assert {row["held"] for row in listed(rota, "runs").values()} == {"paused"}
    rota.run("resume", "job", "one")
    for run in runs:
        rota.wait_history(run)
    assert ledger.count() == 3
