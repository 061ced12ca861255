"""docs/workers.md: the worker and the manifest it shows, and what it says of the members of an answer."""

import json
import pathlib
import re
import stat
import sys

import pytest

from waiting import wait_until

DOCUMENT = pathlib.Path(__file__).resolve().parents[2] / "docs" / "workers.md"


def block(language):
    [found] = re.findall(rf"^```{language}\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    return found


@pytest.fixture
def shop(rota, tmp_path):
    """A node whose pool is started as the document says, and the manifest of the document."""
    [pools] = re.findall(r"rota node --pools '(.*?)'", DOCUMENT.read_text())
    program = tmp_path / "orders.py"
    program.write_text(block("python").replace("#!/usr/bin/env python3", f"#!{sys.executable}"))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "shop.json").write_text(block("json"))
    pools = json.loads(pools)
    assert pools["orders"]["command"] == ["/opt/shop/orders.py"]
    pools["orders"]["command"] = [str(program)]
    rota.node("n1", pools=pools)
    rota.run("apply", "-f", str(tmp_path / "shop.json"))
    rota.manifest = str(tmp_path / "shop.json")
    return rota


def state(rota):
    return rota.value("SELECT state FROM rota.trigger_state WHERE trigger = 'import-regularly'")


def test_the_worker_of_the_documentation_works_through_its_orders_and_ends_its_trigger(shop):
    wait_until(lambda: state(shop) == "complete", 30, lambda: shop.open_work())
    portions = shop.rows("SELECT status, (task_details->>'from')::int, (task_details->>'to')::int "
                         "FROM rota.task_history ORDER BY ended_at")
    assert portions == [("success", 0, 3), ("success", 3, 6), ("success", 6, 8)]
    assert json.loads(shop.value("SELECT data::text FROM rota.job_data")) == {"last": 8, "until": 8}

    # an apply of the same leaves it complete, another schedule begins it anew
    shop.run("apply", "-f", shop.manifest)
    assert state(shop) == "complete"
    shop.run("reschedule", "import-regularly", "--every", "1h")
    wait_until(lambda: shop.value("SELECT count(*) FROM rota.task_history") == 4, 15, "it to fire again")


def test_retry_false_ends_a_run_whose_job_has_attempts_left(shop):
    [bad] = shop.enqueue("import-orders", "--data", '{"portion": 0}')
    row = shop.wait_history(bad)
    assert (row["status"], row["attempt"]) == ("failed", 1)
    assert row["details"]["exception"] == "ValueError" and "at least 1 order, not 0" in row["details"]["message"]


def test_locks_are_given_and_checkpoints_are_handed_to_the_next_attempt(rota, tmp_path):
    """What the document says of both."""
    heard = tmp_path / "heard"
    worker = tmp_path / "worker.py"
    worker.write_text(f"""
import json, sys
def say(**message): print(json.dumps(message), flush=True)
say(type="hello", protocol=1, handlers=["w"])
for line in sys.stdin:
    message = json.loads(line)
    open({str(heard)!r}, "a").write(line)
    if message["type"] == "run":
        ids = {{"id": message["id"], "fence": message["fence"]}}
        say(type="checkpoint", **ids, data={{"at": 1}})
        if "seen" not in globals():
            say(type="lock", ref=7, name="x")
            say(type="snooze", **ids, **{{"for": "10ms"}})
        else:
            say(type="done", **ids)
        seen = True
""")
    rota.node("n1", pools={"w": {"command": [sys.executable, str(worker)]}})
    rota.apply({"name": "job", "handler": "w", "durable": True})
    assert rota.wait_history(*rota.enqueue("job"))["status"] == "success"
    messages = [json.loads(line) for line in heard.read_text().splitlines()]
    wait_until(lambda: '"locked"' in heard.read_text(), 10, "the lock")
    runs = [message for message in messages if message["type"] == "run"]
    assert len(runs) == 2 and "checkpoint" not in runs[0] and runs[1]["checkpoint"] == {"at": 1}
