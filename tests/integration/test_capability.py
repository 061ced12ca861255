"""What nodes can run: handlers and the versions of the workers that serve them, earlier names of handlers, and
handlers that a worker names and then refuses."""

import collections
import json
import os
import sys
import time

import pytest

from waiting import holds_for, wait_until

WORKER = os.path.join(os.path.dirname(__file__), "..", "lib", "capable_worker.py")


@pytest.fixture
def heard(tmp_path):
    """What the workers were given: (label, handler, run, what became of it)."""
    path = tmp_path / "heard"
    path.touch()

    def lines():
        return [(label, handler, int(run), end) for label, handler, run, end in map(str.split, path.read_text().splitlines())]

    lines.path = str(path)
    return lines


def pool(heard, label, hello, unknown=(), **more):
    if isinstance(hello, list):
        hello = {"handlers": hello}
    return {label: {"command": [sys.executable, "-S", "-E", WORKER, heard.path, label, json.dumps(hello),
                                json.dumps(unknown)], **more}}


def job(name, handler=None, **more):
    return {"name": name, "handler": handler or name, "durable": True, **more}


def node_row(rota, name):
    [row] = json.loads(rota.run("get", "nodes", name, "--json").stdout)["data"]
    return row


def test_nodes_tell_in_which_versions_they_serve_each_handler(rota, heard):
    pools = {**pool(heard, "a", {"handlers": ["mail", "print"], "version": "1.4"}),
             **pool(heard, "b", {"handlers": ["mail"], "version": "1.10"}), **pool(heard, "c", ["silent"])}
    rota.node("n1", pools=pools)
    wait_until(lambda: node_row(rota, "n1")["versions"].get("mail") == ["1.10", "1.4"], 15,
               lambda: node_row(rota, "n1"))
    row = node_row(rota, "n1")
    wait_until(lambda: "silent" in node_row(rota, "n1")["handlers"], 15, "the third pool")
    assert row["versions"]["print"] == ["1.4"] and "silent" not in row["versions"]
    assert row["versions"]["noop"] == [row["version"]]
    assert rota.value("SELECT versions->>'print' FROM rota.node_state") == '["1.4"]'
    assert row["workers"] == ["mail=1.10", "mail=1.4", "print=1.4"]
    assert "mail=1.10,mail=1.4,print=1.4" in rota.run("get", "nodes").stdout
    rota.db.execute("""UPDATE rota.incarnation SET versions = '{"mail": "1", "fax": {"a": 1}}'""")  # by hand
    assert node_row(rota, "n1")["workers"] == [] and rota.run("doctor", check=False).returncode in (0, 1)


def test_versions_and_handlers_follow_a_worker_that_says_hello_again(rota, heard):
    rota.node("n1", pools=pool(heard, "a", {"handlers": ["mail"], "version": "1"}))
    rota.apply(job("mail"))
    [run] = rota.enqueue("mail", "--data", json.dumps({"hello": {"handlers": ["mail", "fax"], "version": "2 \u00e9\u0001" + "x" * 100}}))
    rota.wait_history(run)
    wait_until(lambda: "fax" in node_row(rota, "n1")["handlers"], 10, "the second hello")
    [version] = node_row(rota, "n1")["versions"]["fax"]
    assert version.startswith("2 \u00e9\u0001xxx") and len(version.encode()) == 63


def test_explain_tells_the_versions_of_who_serves_a_handler(rota, heard):
    rota.node("n1", "--standby", ready=False, pools=pool(heard, "a", {"handlers": ["mail"], "version": "7"}))
    wait_until(lambda: rota.rows("SELECT FROM rota.node_state WHERE 'mail' = ANY (handlers)"), 15, "the node")
    rota.apply(job("mail"))
    [run] = rota.enqueue("mail")
    document = json.loads(rota.run("explain", str(run), "--json").stdout)
    [reason] = [reason for reason in document["reasons"] if reason["reason"] == "not_running"]
    assert reason["nodes"][0]["versions"] == ["7"]


def test_the_doctor_warns_of_a_handler_in_different_versions(rota, heard):
    rota.node("n1", pools=pool(heard, "a", {"handlers": ["mail"], "version": "7"}))
    rota.node("n2", pools=pool(heard, "a", {"handlers": ["mail"], "version": "8"}))

    def finding():
        findings = json.loads(rota.run("doctor", "--json", check=False).stdout)["findings"]
        return [f for f in findings if f["check"] == "worker_versions"]

    wait_until(finding, 15, "the finding")
    assert [f["what"] for f in finding()] == ["workers of different versions serve mail: 7 on n1; 8 on n2"]


# --- aliases ---

@pytest.mark.parametrize("where", ["hello", "settings"])
def test_a_renamed_handler_is_still_served_under_its_old_name(rota, heard, where):
    hello = {"handlers": ["new"], **({"aliases": {"old": "new"}} if where == "hello" else {})}
    rota.node("n1", pools=pool(heard, "w", hello, **({"aliases": {"old": "new"}} if where == "settings" else {})))
    rota.apply(job("of-before", "old"), job("of-now", "new"))
    before, now = rota.enqueue("of-before") + rota.enqueue("of-now")
    for run in before, now:
        assert rota.wait_history(run)["status"] == "success"
    assert set(heard()) == {("w", "new", before, "done"), ("w", "new", now, "done")}
    assert {"old", "new"} <= set(node_row(rota, "n1")["handlers"])


def test_the_aliases_of_a_worker_go_before_those_of_the_settings(rota, heard):
    hello = {"handlers": ["a", "b"], "aliases": {"old": "b"}}
    rota.node("n1", pools=pool(heard, "w", hello, aliases={"old": "a", "older": "a"}))
    rota.apply(job("old"), job("older"))
    for name, handler in ("old", "b"), ("older", "a"):
        [run] = rota.enqueue(name)
        rota.wait_history(run)
        assert heard()[-1] == ("w", handler, run, "done")


@pytest.mark.parametrize("aliases, what", [
    ({"x": "y", "y": "new"}, "which is an alias itself: name the handler \"new\" there"),
    ({"x": "nobody"}, "which is none of its handlers"),
    ({"x": "x"}, "which is an alias itself"),
    ({"x": 1}, "an object of up to 256 names"),
    ({"": "new"}, "an object of up to 256 names"),
    (["x"], "an object of up to 256 names"),
    ({f"x{i}": "new" for i in range(257)}, "an object of up to 256 names"),
])
def test_a_hello_whose_aliases_lead_nowhere_is_refused_with_what_would_be_right(rota, heard, aliases, what):
    node = rota.node("n1", pools=pool(heard, "w", {"handlers": ["new"], "aliases": aliases}))
    line = node.wait_for_line("worker ended")
    assert what in line["reason"] and node.lives(), line
    assert "x" not in node_row(rota, "n1")["handlers"]


def test_an_alias_over_a_handler_that_is_served_is_ignored_with_a_warning(rota, heard):
    node = rota.node("n1", pools=pool(heard, "w", {"handlers": ["a", "b"], "aliases": {"a": "b"}}, aliases={"b": "a", "c": "d"}))
    wait_until(lambda: len(node.lines("alias ignored", "warn")) == 3, 15, "the warnings")
    assert {(line["alias"], line["handler"]) for line in node.lines("alias ignored")} == {("a", "b"), ("b", "a"), ("c", "d")}
    rota.apply(job("a"))
    [run] = rota.enqueue("a")
    rota.wait_history(run)
    assert heard() == [("w", "a", run, "done")] and "c" not in node_row(rota, "n1")["handlers"]


# --- refusals ---

def test_a_handler_that_a_worker_refuses_goes_to_a_node_that_serves_it_and_costs_nothing(rota, heard):
    rota.node("n1", pools=pool(heard, "liar", ["mail"], ["mail"]))
    rota.apply(job("mail"))
    [run] = rota.enqueue("mail")
    wait_until(heard, 10, "the refusal")
    wait_until(lambda: "mail" not in node_row(rota, "n1")["handlers"], 5, "the node to say so")
    rota.node("n2", pools=pool(heard, "honest", ["mail"]))
    row = rota.wait_history(run)
    assert (row["status"], row["node"], row["attempt"]) == ("success", "n2", 1)
    runs = rota.enqueue("mail", "--count", "50")
    for run in runs:
        row = rota.wait_history(run)
        assert (row["node"], row["attempt"], row["details"].get("attempts")) == ("n2", 1, None)


def test_a_node_does_not_spin_between_claiming_and_a_worker_that_refuses(rota, heard):
    node = rota.node("n1", pools=pool(heard, "liar", ["mail"], ["mail"]))
    rota.apply(job("mail"))
    began = time.monotonic()
    rota.enqueue("mail")
    wait_until(lambda: len(heard()) >= 3, 20, "the third refusal")  # after 1 and 2 s
    assert time.monotonic() - began > 2.5
    lines = node.lines("worker refuses a handler")
    assert [line["wait_ms"] for line in lines[:3]] == [1000, 2000, 4000]
    holds_for(lambda: len(heard()) == 3, 2, heard)
    assert rota.rows("SELECT attempt, earlier FROM rota.pending") == [(1, None)]


def test_other_handlers_of_a_worker_that_refuses_one_go_on(rota, heard):
    rota.node("n1", pools=pool(heard, "half", ["mail", "fax"], ["mail"]))
    rota.apply(job("mail"), job("fax"))
    rota.enqueue("mail", "--count", "20")
    for run in rota.enqueue("fax", "--count", "20"):
        assert rota.wait_history(run)["status"] == "success"
    counts = collections.Counter((handler, end) for _, handler, _, end in heard())
    assert counts["fax", "done"] == 20 and counts["mail", "refused"] <= 12, counts


def test_an_alias_that_is_refused_does_not_take_the_handler_with_it(rota, heard):
    rota.node("n1", pools=pool(heard, "w", {"handlers": ["new", "odd"], "aliases": {"old": "odd"}}, ["odd"]))
    rota.apply(job("old"), job("new"))
    rota.enqueue("old")
    wait_until(heard, 10, "the refusal")
    wait_until(lambda: "old" not in node_row(rota, "n1")["handlers"], 5, "the node to say so")
    assert {"new", "odd"} <= set(node_row(rota, "n1")["handlers"])
    assert rota.wait_history(*rota.enqueue("new"))["status"] == "success"
