"""Lists and actions over HTTP: what the command line shows and does, in pages and with an audit."""

import contextlib
import json
import urllib.parse

import psycopg
import pytest

from waiting import wait_until
from web_client import call

NAME = "a/b c%?#é"  # as it may be in a path


def quoted(name):
    return urllib.parse.quote(name, safe="")


@pytest.fixture(name="url")
def node_on_standby(rota):
    rota.apply({"name": "work", "handler": "noop", "durable": True, "triggers": [{"name": NAME, "every": "1h"}]},
               {"name": "other", "handler": "noop", "durable": True})
    node = rota.node("n1", "--standby", ready=False)
    wait_until(lambda: node.http("/readyz")[1] == "standing by\n", 15, "the node to stand by")
    return node.http_url()


def post(url, path, body=None, **more):
    return call(url, path, "POST", body, **more)


def audit(rota, over_http=True):
    return rota.db.execute("SELECT who, action, noun, name, before, after, answer FROM rota.audit "
                           "WHERE (address IS NOT NULL) = %s ORDER BY id", (over_http,)).fetchall()


# ---- lists ----

@pytest.mark.parametrize("noun", ["jobs", "triggers", "runs", "nodes", "locks", "lanes"])
def test_a_list_is_the_document_of_the_command(rota, url, noun):
    rota.enqueue("work", "--count", "3", "--data", '{"big":12345678901234567890}')
    rota.run("lock", "some-lock", "--", "true")
    answer = call(url, f"/api/{noun}?limit=1000")
    assert answer.status == 200
    shown = json.loads(rota.run("get", noun, "--json", "--limit", "1000").stdout)

    def steady(document):
        for row in document["data"]:
            row.pop("renewed_at", None), row.pop("lease_until", None)
        return document

    assert steady(answer.json) == steady(shown) and list(answer.json) == ["total", "limit", "offset", "data", "next"]


@pytest.mark.parametrize("noun, key", [("jobs", "name"), ("triggers", "name"), ("runs", "id"), ("locks", "name"),
                                       ("audit", "id"), ("lanes", "lane")])
def test_pages_have_every_row_once_whatever_is_added_meanwhile(rota, url, noun, key):
    rota.apply(*[{"name": f"j{i:02}", "handler": "noop", "disallow_concurrent": True,
                  "triggers": [{"name": f"t{i:02}", "every": "1h"}]} for i in range(23)], source="many")
    rota.db.execute("SELECT rota.enqueue('j' || lpad((g % 23)::text, 2, '0'), run_at => now() + g % 5 * interval '1 s') "
                    "FROM generate_series(0, 22) g")
    rota.db.execute("INSERT INTO rota.metabase_cluster_lock (lock_name) SELECT 'lock ' || g FROM generate_series(1, 23) g")
    for i in range(22):
        assert post(url, f"/api/jobs/j{i:02}/pause").status == 200
    wanted = {row[key] for row in call(url, f"/api/{noun}?limit=1000").json["data"]}
    got, cursor, total = [], None, None
    while True:
        query = {"limit": 7, **({"cursor": cursor} if cursor else {})}
        document = call(url, f"/api/{noun}?{urllib.parse.urlencode(query)}").json
        total = document["total"] if cursor is None else total
        assert cursor is None or document["total"] is None
        got += [row[key] for row in document["data"]]
        cursor = document["next"]
        if cursor is None:
            break
        assert len(document["data"]) == 7
        if noun == "jobs":  # before the place of the next page
            rota.apply({"name": f"a{len(got)}", "handler": "noop", "durable": True}, source=f"more{len(got)}")
    assert len(got) == len(set(got)) == total and set(got) == wanted and total >= 20 - (noun == "lanes") * 20


def test_one_thing_is_the_row_of_its_list(rota, url):
    run, = rota.enqueue("work")
    for path, key, value in (("/api/jobs/work", "name", "work"), (f"/api/triggers/{quoted(NAME)}", "name", NAME),
                             (f"/api/runs/{run}", "id", run), ("/api/nodes/n1", "name", "n1")):
        answer = call(url, path)
        assert answer.status == 200 and answer.json[key] == value, answer
    for path in ("/api/jobs/nobody", "/api/triggers/work", "/api/runs/999999", "/api/runs/x", "/api/nodes/n9", "/api/locks/none"):
        answer = call(url, path)
        assert (answer.status, answer.text) == (404, "Not found."), path


@pytest.mark.parametrize("query, part", [("limit=0", '"errors":{"limit"'), ("limit=1001", '"errors":{"limit"'), ("limit=x", '"errors":{"limit"'),
                                         ("cursor=", '"errors":{"cursor"'), ("cursor=!!", '"errors":{"cursor"'),
                                         ("cursor=WzFd", '"errors":{"cursor"'), ("nonsense=1", '"errors":{"nonsense"')])
def test_a_list_says_what_makes_no_sense(url, query, part):
    answer = call(url, f"/api/jobs?{query}")
    assert answer.status == 400 and part in answer.text


def test_a_cursor_of_another_list_is_refused(rota, url):
    rota.enqueue("work", "--count", "3")
    cursor = call(url, "/api/jobs?limit=1").json["next"]
    answer = call(url, f"/api/runs?cursor={cursor}")
    assert answer.status in (200, 400), answer


# ---- actions ----

def test_runs_are_enqueued_one_or_many_byte_for_byte(rota, url):
    text = '{"data": {"big": 12345678901234567890, "é": 1.0}, "priority": 9, "in": "1h", "key": "k"}'
    one = post(url, "/api/jobs/work/enqueue", text)
    run, = one.json["runs"]
    assert one.status == 200 and one.json["conflicts"] == []
    data, due = rota.db.execute("SELECT data::text, due > now() + interval '59 minutes' FROM rota.pending WHERE id = %s", (run,)).fetchone()
    assert data == '{"big": 12345678901234567890, "é": 1.0}' and due
    again = post(url, "/api/jobs/work/enqueue", {"key": "k", "on_conflict": "existing"})
    assert again.json == {"runs": [run], "conflicts": [{"index": 0, "run": run, "conflict": "exists"}]}
    rejected = post(url, "/api/jobs/work/enqueue", {"key": "k", "on_conflict": "reject"})
    assert rejected.status == 409 and "has this key already" in rejected.json["message"]
    many = post(url, "/api/jobs/work/enqueue", {"items": [{"n": n} for n in range(1000)]})
    assert len(set(many.json["runs"])) == 1000
    chained = post(url, "/api/jobs/work/enqueue", {"after": [run], "after_any": True})
    assert call(url, f"/api/runs/{chained.json['runs'][0]}").json["waits_for"] == [run]
    assert rota.db.execute("SELECT count(*) FROM rota.run").fetchone()[0] == 1002


BAD_BODIES = [
    ('{"data":', "line 1, column"), ("[]", "must be a JSON object"), ('{"data":1}', '"errors":{"data":'), ('{"dta":{}}', '"errors":{"dta":'),
    ('{"priority":"5"}', '"errors":{"priority":'), ('{"priority":0}', "priority"), ('{"priority":1.5}', '"errors":{"priority":'),
    ('{"at":"now"}', "at: is no instant"), ('{"in":"soon"}', "in: is no duration"), ('{"at":"2031-01-01T00:00:00Z","in":"1s"}', "goes without at"),
    ('{"items":[]}', "1 to 1000"), ('{"items":[1]}', "JSON object"), ('{"items":[{}],"data":{}}', "without data"), ('{"after":["x"]}', "ids of runs"),
    ('{"on_conflict":"maybe"}', '"errors":{"on_conflict":'), ('{"data":{},"data":{}}', "twice"), ('{"traceparent":5}', '"errors":{"traceparent":'),
    (json.dumps({"data": {"x": "y" * 300000}}), "256 KiB"), (json.dumps({"items": [{}] * 1001}), "1 to 1000"),
]


@pytest.mark.parametrize("body, part", BAD_BODIES, ids=lambda text: text[:40])
def test_a_body_that_makes_no_sense_queues_nothing(rota, url, body, part):
    answer = post(url, "/api/jobs/work/enqueue", body)
    assert answer.status == 400 and part in answer.text, answer
    assert rota.db.execute("SELECT count(*) FROM rota.run").fetchone()[0] == 0 and audit(rota) == []


def test_a_body_that_is_too_long_is_refused(rota, url):
    """Before it has come in whole: a client that goes on sending finds its connection closed."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        assert post(url, "/api/jobs/work/enqueue", json.dumps({"items": [{"x": "y" * 2000000}]})).status in (400, 413)
    assert call(url, "/api/jobs/work").status == 200
    assert rota.db.execute("SELECT count(*) FROM rota.run").fetchone()[0] == 0


def test_firing_and_what_becomes_of_the_run(rota, url):
    for path in ("/api/jobs/work/fire", f"/api/triggers/{quoted(NAME)}/fire"):
        answer = post(url, path)
        assert answer.status == 200 and rota.db.execute("SELECT 1 FROM rota.pending WHERE id = %s", (answer.json["run"],)).fetchone()
    assert [(row[1], row[2], row[3]) for row in audit(rota)] == [("fire", "job", "work"), ("fire", "trigger", NAME)]
    assert audit(rota)[1][6] == {"run": answer.json["run"]}


def test_cancel_and_retry(rota, url):
    run, = rota.enqueue("work")
    answer = post(url, f"/api/runs/{run}/cancel", {"reason": "not wanted"})
    assert answer.json == {"run": run, "answer": "cancelled"}
    assert post(url, f"/api/runs/{run}/cancel").json["answer"] == "finished"
    row = call(url, f"/api/task/{run}").json
    assert row["outcome"] == "cancelled" and "not wanted" in json.dumps(row["task_details"])
    again = post(url, f"/api/runs/{run}/retry")
    assert again.status == 200 and again.json["answer"] == "retried"
    twice = post(url, f"/api/runs/{run}/retry")
    assert twice.status == 409 and f"run again before, as run {again.json['new']}" in twice.json["message"]
    assert post(url, f"/api/runs/{run}/retry", {"again": True}).status == 200
    assert post(url, f"/api/runs/{again.json['new']}/retry").status == 409  # it is not over
    actions = [(row[1], row[3], row[4], row[5]) for row in audit(rota)]
    assert actions[0] == ("cancel", str(run), {"place": "pending"}, {"place": "over"})
    assert [action[0] for action in actions] == ["cancel", "cancel", "retry", "retry"]


def test_what_failed_is_discarded_once(rota, url):
    run, = rota.enqueue("work")
    assert post(url, f"/api/runs/{run}/discard").status == 409  # it is not over
    post(url, f"/api/runs/{run}/cancel")
    assert post(url, f"/api/runs/{run}/discard").json == {"run": run, "answer": "discarded"}
    assert post(url, f"/api/runs/00{run}/discard").status == 404  # its id is written otherwise
    again = post(url, f"/api/runs/{run}/discard")
    assert again.status == 409 and "discarded before" in again.json["message"]
    assert post(url, "/api/runs/999999999/discard").status == 404
    assert [(row[1], row[3]) for row in audit(rota)] == [("cancel", str(run)), ("discard", str(run))]


def test_all_runs_of_a_job_are_cancelled_and_run_again_a_thousand_at_a_time(rota, url):
    rota.db.execute("SELECT rota.enqueue_many('work', array_fill('{}'::jsonb, ARRAY[1001]))")
    kept, = rota.enqueue("other")
    first = post(url, "/api/jobs/work/cancel", {"reason": "not wanted"})
    assert first.status == 200 and len(first.json["runs"]) == 1000 and first.json["more"] is True
    assert {row["answer"] for row in first.json["runs"]} == {"cancelled"}
    last = post(url, "/api/jobs/work/cancel", {"after": first.json["last"]}).json
    assert len(last["runs"]) == 1 and last["more"] is False
    assert rota.db.execute("SELECT id FROM rota.run").fetchall() == [(kept,)]
    assert post(url, "/api/jobs/work/retry").json == {"runs": [], "more": False, "last": None}
    again = post(url, "/api/jobs/work/retry", {"outcome": "cancelled"}).json
    assert len(again["runs"]) == 1000 and again["more"] is True
    rest = post(url, "/api/jobs/work/retry", {"outcome": "cancelled"}).json
    assert len(rest["runs"]) == 1 and rest["more"] is False
    assert {row["run"] for row in again["runs"] + rest["runs"]} == {row["run"] for row in first.json["runs"] + last["runs"]}
    assert call(url, "/api/runs?job=work&limit=1").json["total"] == 1001 and call(url, "/api/runs?limit=1").json["total"] == 1002
    assert post(url, "/api/jobs/nothing/cancel").status == 404 and post(url, "/api/jobs/nothing/retry").status == 404
    assert {(row[1], row[2], row[3]) for row in audit(rota)} == {("cancel", "job", "work"), ("retry", "job", "work")}


def test_commands_add_the_same_rows_to_the_audit(rota, url):
    run, = rota.enqueue("work", "--in", "1h")
    rota.run("pause", "job", "work"), rota.run("resume", "job", "work")
    rota.run("fire", NAME), rota.run("fire", "work"), rota.run("cancel", str(run)), rota.run("retry", str(run))
    rota.run("reschedule", NAME, "--every", "2h"), rota.run("reset", "--all"), rota.run("standby", "n1")
    rota.run("delete", "trigger", NAME)
    for refused in (["pause", "job", "nothing"], ["fire", "nothing"], ["standby", "nobody"], ["delete", "job", "nothing"]):
        assert rota.run(*refused, check=False).returncode == 4
    rows = audit(rota, over_http=False)
    assert [(row[1], row[2], row[3]) for row in rows] == [
        ("apply", "source", "test"), ("pause", "job", "work"), ("resume", "job", "work"), ("fire", "trigger", NAME),
        ("fire", "job", "work"), ("cancel", "run", str(run)), ("retry", "run", str(run)), ("reschedule", "trigger", NAME),
        ("reset", "all", "all"), ("standby", "node", "n1"), ("delete", "trigger", NAME)]
    assert rows[1][4]["paused"] is False and rows[1][5]["paused"] is True
    assert rows[5][4] == {"place": "pending"} and rows[5][5] == {"place": "over"}
    assert {row[0] for row in rows} == {rota.db.execute("SELECT session_user").fetchone()[0]}


def test_pausing_is_what_the_command_does(rota, url):
    rota.enqueue("work", "--count", "2")
    for path, command in (("/api/jobs/work", ["job", "work"]), (f"/api/triggers/{quoted(NAME)}", ["trigger", NAME]),
                          ("/api/sources/test", ["source", "test"]), ("/api", ["all"])):
        over_http = [post(url, f"{path}/pause").json, post(url, f"{path}/resume").json]
        by_command = [json.loads(rota.run(verb, *command, "--json").stdout) for verb in ("pause", "resume")]
        assert over_http == by_command, path
    rows = audit(rota)
    assert [(row[0], row[1], row[2]) for row in rows] == [("local", verb, noun) for noun in ("job", "trigger", "source", "all")
                                                          for verb in ("pause", "resume")]
    assert rows[0][4]["paused"] is False and rows[0][5]["paused"] is True and rows[1][5]["paused"] is False


def test_another_schedule(rota, url):
    path = f"/api/triggers/{quoted(NAME)}/reschedule"
    answer = post(url, path, {"cron": "0 0 4 * * ?", "timezone": "Europe/Berlin"})
    assert answer.status == 200 and answer.json["changed"] is True and answer.json["job"] == "work"
    assert call(url, f"/api/triggers/{quoted(NAME)}").json["schedule"] == "0 0 4 * * ?"
    assert post(url, path, {"cron": "0 0 4 * * ?", "timezone": "Europe/Berlin"}).json["changed"] is False
    for body, part in (({"cron": "0 0 99 * * ?"}, "cron: "), ({"cron": "* * * * *", "every": "1s"}, "exclude each other"),
                       ({}, "to what?"), ({"timezone": "Europe/Nowhere"}, "timezone: ")):
        refused = post(url, path, body)
        assert refused.status == 400 and part in refused.json["message"], refused
    row, = audit(rota)
    assert row[1] == "reschedule" and row[4]["schedule"] == "every 1h" and row[5]["schedule"] == "0 0 4 * * ?"


def test_out_of_error(rota, url):
    rota.db.execute("UPDATE rota.trigger_due SET state = 'E', error = 'broken', error_at = now()")
    answer = post(url, f"/api/triggers/{quoted(NAME)}/reset")
    assert answer.status == 200 and [row["name"] for row in answer.json["reset"]] == [NAME] and answer.json["failed"] == []
    again = post(url, f"/api/triggers/{quoted(NAME)}/reset")
    assert again.status == 409 and "not in error" in again.json["message"]
    assert post(url, "/api/reset").json == {"reset": [], "failed": []}
    row = audit(rota)[0]
    assert row[1] == "reset" and row[4]["state"] == "error" and row[5]["state"] == "waiting"


def test_deleting(rota, url):
    rota.enqueue("other", "--count", "2")
    answer = call(url, "/api/jobs/other", "DELETE")
    assert answer.json == {"deleted": "job", "name": "other", "job": "other", "source": "test", "job_deleted": True,
                           "triggers_deleted": 0, "runs_cancelled": 2}
    assert call(url, f"/api/triggers/{quoted(NAME)}", "DELETE").json["job_deleted"] is False
    assert call(url, "/api/jobs/other").status == 404
    assert [(row[1], row[2], row[5]) for row in audit(rota)] == [("delete", "job", None), ("delete", "trigger", None)]


def test_nodes_are_told(rota, url):
    answer = post(url, "/api/nodes/n1/resume")
    assert answer.json == {"node": "n1", "wish": "run", "before": "standby", "already": False}
    wait_until(lambda: call(url, "/api/nodes/n1").json["state"] == "running", 10, "the node to run")
    assert post(url, "/api/nodes/n1/standby").json["wish"] == "standby"
    wait_until(lambda: call(url, "/api/nodes/n1").json["state"] == "standby", 10, "the node to stand by")
    assert post(url, "/api/nodes/n1/drain").status == 200
    assert rota.nodes[0].wait(40) == 0
    assert [row[1] for row in audit(rota)] == ["run", "standby", "drain"]


def test_a_node_is_evicted(rota, url):
    answer = post(url, "/api/nodes/n1/evict")
    assert answer.json == {"node": "n1", "wish": "evict", "before": "standby", "already": False}
    assert rota.db.execute("SELECT count(*) FROM rota.incarnation WHERE evicted_at IS NULL AND id = 1").fetchone()[0] == 0
    wait_until(lambda: rota.db.execute("SELECT max(id) FROM rota.incarnation WHERE state = 'standby'").fetchone()[0] not in (None, 1), 30,
               "the node to register anew, on standby")
    assert [row[1] for row in audit(rota)] == ["evict"]


def test_a_lane_is_found_by_its_number(rota, url):
    rota.apply({"name": "narrow", "handler": "noop", "durable": True, "disallow_concurrent": True}, source="lanes")
    rota.enqueue("narrow", "--count", "2")
    rota.db.execute("UPDATE rota.pending SET held = 'L', held_due = due, due = 'infinity'")
    listed, = call(url, "/api/lanes").json["data"]
    assert call(url, f"/api/lanes/{quoted(listed['lane'])}").json == listed
    assert call(url, "/api/lanes/17").status == 404


@pytest.mark.parametrize("method, path", [
    ("POST", "/api/jobs/none/enqueue"), ("POST", "/api/jobs/none/fire"), ("POST", "/api/jobs/none/pause"), ("POST", "/api/jobs/none/resume"),
    ("DELETE", "/api/jobs/none"), ("POST", "/api/triggers/none/fire"), ("POST", "/api/triggers/none/pause"),
    ("POST", "/api/triggers/none/reset"), ("DELETE", "/api/triggers/none"), ("POST", "/api/runs/999999/cancel"),
    ("POST", "/api/runs/x/cancel"), ("POST", "/api/runs/999999/retry"), ("POST", "/api/nodes/none/drain")])
def test_what_is_not_there_is_404_and_leaves_no_audit(rota, url, method, path):
    answer = call(url, path, method)
    assert (answer.status, answer.text) == (404, "Not found.") and audit(rota) == []


def test_nobody_changes_the_audit(rota, url):
    post(url, "/api/jobs/work/pause")
    for statement in ("UPDATE rota.audit SET who = 'x'", "DELETE FROM rota.audit", "TRUNCATE rota.audit"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="only added to"):
            rota.db.execute(statement)
    row, = call(url, "/api/audit?name=work").json["data"]
    assert row["who"] == "local" and row["address"] == "127.0.0.1" and row["node"] == "n1" and row["request"] == {}


def test_actions_wait_for_an_apply_and_come_back_when_it_takes_too_long(rota, url):
    """They are one after the other, and reads go on beside them."""
    with psycopg.connect(rota.url) as other:
        other.execute("SELECT pg_advisory_xact_lock(k.a, k.b) FROM (SELECT 0, 0) AS k(a, b)")
        other.execute("SELECT FROM rota.fleet FOR UPDATE")
        refused = post(url, "/api/jobs/work/pause")
        assert refused.status == 503 and int(refused.headers["retry-after"]) > 0, refused
        assert call(url, "/api/jobs").status == 200
    assert post(url, "/api/jobs/work/pause").status == 200
    assert [row[1] for row in audit(rota)] == ["pause"]
