"""GET /api/task and its kin, as dashboards and scripts know them: a table of requests and what is answered."""

import gzip
import json
import urllib.parse

import pytest

from fleet import Rota
from waiting import wait_until
from web_client import call

ROW = ["id", "task", "db_id", "started_at", "ended_at", "duration", "task_details", "status", "logs", "outcome", "node",
       "attempt", "scheduled_at", "trigger", "missed", "misfired"]
# id, task, started (minutes ago; None: not at all), ended (seconds ago), duration, status
HISTORY = [(11, "sync", 60, 59, 60000, "success"), (12, "sync", 50, 49, 60000, "failed"), (13, "pulse", 40, 39, 1000, "success"),
           (14, "clean up & more", 30, 29, 2000, "unknown"), (15, "sync", 60, 20, 5, "success"),
           (16, "pulse", None, 10, None, "failed")]


@pytest.fixture(name="url", scope="module")
def node_with_history(server, tmp_path_factory):
    """A node that stands by, so that nothing moves, above a history that is known."""
    rota = Rota(server, tmp_path_factory.mktemp("tasks"))
    rota.db.execute("SELECT rota.history_ensure(2)")
    with rota.db.transaction():  # one now() for all of them
        for run, task, started, ended, duration, status in HISTORY:
            rota.db.execute(
                "INSERT INTO rota.task_history (id, task, started_at, ended_at, duration_ms, status, outcome, attempt, "
                "scheduled_at, task_details, node) VALUES (%s, %s, now() - %s * interval '1 minute', "
                "now() - %s * interval '1 s', %s, %s, %s, 1, now(), %s, 'n0')",
                (run, task, started, ended, duration, status, status, '{"big":12345678901234567890}'))
    rota.apply({"name": "j", "handler": "noop", "description": "d", "disallow_concurrent": True, "requests_recovery": True,
                "triggers": [{"name": "t2", "cron": "0 0 3 * * ?", "timezone": "Europe/Berlin", "misfire": "skip",
                              "data": {"a": 1}},
                             {"name": "t1", "every": "1h", "start_at": "2031-01-01T00:00:00Z", "misfire": "fire_all",
                              "priority": 7}]},
               {"name": "a", "handler": "noop", "durable": True})
    rota.run("pause", "trigger", "t1")
    node = rota.node("n1", "--standby", ready=False)
    wait_until(lambda: node.http("/readyz")[1] == "standing by\n", 15, "the node to stand by")
    yield node.http_url(), rota
    rota.close()
    assert not rota.faults()


def ids(answer):
    return [row["id"] for row in answer.json["data"]]


# query, ids in order, total, limit, offset
LISTS = [
    ("", [16, 14, 13, 12, 15, 11], 6, None, None),
    ("?limit=2", [16, 14], 6, 2, 0),
    ("?offset=4", [15, 11], 6, 50, 4),
    ("?limit=2&offset=1", [14, 13], 6, 2, 1),
    ("?limit=0", [], 6, 0, 0),
    ("?limit=10&offset=100", [], 6, 10, 100),
    ("?status=success", [13, 15, 11], 3, None, None),
    ("?status=failed&task=sync", [12], 1, None, None),
    ("?status=unknown&limit=5", [14], 1, 5, 0),
    ("?status=started", [], 0, None, None),
    ("?task=clean+up+%26%20more", [14], 1, None, None),
    ("?task=none", [], 0, None, None),
    ("?sort_direction=asc", [15, 11, 12, 13, 14, 16], 6, None, None),
    ("?sort_column=ended_at", [16, 15, 14, 13, 12, 11], 6, None, None),
    ("?sort_column=ended_at&sort_direction=asc&limit=2", [11, 12], 6, 2, 0),
    ("?sort_column=duration", [16, 12, 11, 14, 13, 15], 6, None, None),
    ("?sort_column=duration&sort_direction=asc", [15, 13, 14, 12, 11, 16], 6, None, None),
    ("?sort_column=task&sort_direction=asc", [14, 16, 13, 15, 12, 11], 6, None, None),
    ("?sort_column=status&sort_direction=desc", [14, 15, 13, 11, 16, 12], 6, None, None),
    ("?sort_column=started_at&sort_direction=desc&unknown=1&_=2", [16, 14, 13, 12, 15, 11], 6, None, None),
]


@pytest.mark.parametrize("query, wanted, total, limit, offset", LISTS)
def test_a_list_has_the_rows_and_numbers_of_its_query(url, query, wanted, total, limit, offset):
    answer = call(url[0], "/api/task" + query)
    assert answer.status == 200 and answer.headers["content-type"] == "application/json", answer
    document = answer.json
    assert list(document) == ["total", "limit", "offset", "data"]
    assert (document["total"], document["limit"], document["offset"]) == (total, limit, offset)
    assert ids(answer) == wanted
    assert all(list(row) == ROW for row in document["data"])


# path, status, type, body (a part of it)
REFUSED = [
    ("/api/task?status=bad", 400, "application/json", '"errors":{"status":'),
    ("/api/task?status=", 400, "application/json", '"errors":{"status":'),
    ("/api/task?task=", 400, "application/json", '"errors":{"task":'),
    ("/api/task?sort_column=id", 400, "application/json", '"errors":{"sort_column":'),
    ("/api/task?sort_direction=up", 400, "application/json", '"errors":{"sort_direction":'),
    ("/api/task?limit=x", 400, "application/json", '"message":"Error parsing paging parameters: '),
    ("/api/task?offset=-1", 400, "application/json", '"message":"Error parsing paging parameters: '),
    ("/api/task?limit=99999999999999999999", 400, "application/json", '"message":"Error parsing paging parameters: '),
    ("/api/task?limit=1&limit=2", 400, "application/json", "is given twice"),
    ("/api/task?task=%zz", 400, "application/json", "broken escape"),
    ("/api/task?task=%00", 400, "application/json", "broken escape"),
    ("/api/task?task=%ff", 400, "application/json", "broken escape"),
    ("/api/task/99", 404, "text/plain; charset=utf-8", "Not found."),
    ("/api/task/0x1", 404, "text/plain; charset=utf-8", "Not found."),
    ("/api/task/-1", 404, "text/plain; charset=utf-8", "Not found."),
    ("/api/task/99999999999999999999999", 404, "text/plain; charset=utf-8", "Not found."),
    ("/api/task/", 404, "text/plain; charset=utf-8", "Not found."),
    ("/api/tasks", 404, "text/plain; charset=utf-8", "Not found."),
    ("/", 404, "text/plain; charset=utf-8", "Not found."),
]


@pytest.mark.parametrize("path, status, kind, part", REFUSED)
def test_what_makes_no_sense_is_refused_with_its_reason(url, path, status, kind, part):
    answer = call(url[0], path)
    assert (answer.status, answer.headers["content-type"]) == (status, kind)
    assert part in answer.text and (status != 404 or answer.text == part)


def test_one_run_is_the_row_of_the_list_and_keeps_its_numbers(url):
    answer = call(url[0], "/api/task/12")
    assert answer.status == 200 and list(answer.json) == ROW
    assert answer.json == next(row for row in call(url[0], "/api/task").json["data"] if row["id"] == 12)
    assert '"task_details":{"big":12345678901234567890}' in answer.text


def test_names_of_tasks_are_sorted(url):
    assert call(url[0], "/api/task/unique-tasks").json == ["clean up & more", "pulse", "sync"]


def test_info_has_the_jobs_and_their_triggers(url):
    info = call(url[0], "/api/task/info").json
    assert list(info) == ["scheduler", "jobs"]
    assert info["scheduler"] and all(isinstance(line, str) and line for line in info["scheduler"])
    first, second = info["jobs"]
    assert first == {"key": "a", "class": "noop", "description": None, "concurrent-execution-disallowed?": False,
                     "durable?": True, "requests-recovery?": False, "triggers": []}
    triggers = second.pop("triggers")
    assert second == {"key": "j", "class": "noop", "description": "d", "concurrent-execution-disallowed?": True,
                      "durable?": False, "requests-recovery?": True}
    assert [trigger["key"] for trigger in triggers] == ["t1", "t2"]
    assert list(triggers[0]) == ["key", "description", "state", "start-time", "end-time", "next-fire-time",
                                 "previous-fire-time", "final-fire-time", "priority", "may-fire-again?", "misfire-instruction",
                                 "schedule", "timezone", "data"]
    assert [trigger["state"] for trigger in triggers] == ["PAUSED", "NORMAL"]
    assert [trigger["misfire-instruction"] for trigger in triggers] == ["IGNORE_MISFIRE_POLICY", "DO_NOTHING"]
    assert [trigger["priority"] for trigger in triggers] == [7, 5]
    assert triggers[1]["schedule"] == "0 0 3 * * ?" and triggers[1]["timezone"] == "Europe/Berlin"
    assert triggers[1]["data"] == {"a": 1} and triggers[0]["start-time"].startswith("2031-01-01T00:00:00")
    assert triggers[0]["may-fire-again?"] is True and triggers[0]["previous-fire-time"] is None


def test_a_run_is_seen_while_it_runs(rota):
    rota.apply({"name": "slow", "handler": "exec", "durable": True, "data": {"command": ["/bin/sleep", "30"]}})
    node = rota.node("n1", exec_allow="/bin/sleep")
    run, = rota.enqueue("slow")
    row, = wait_until(lambda: call(node.http_url(), "/api/task?status=started").json["data"], 10, "the run to start")
    assert (row["id"], row["status"], row["node"], row["ended_at"], row["duration"]) == (run, "started", "n1", None, None)
    assert call(node.http_url(), f"/api/task/{run}").json["status"] == "started"


def test_a_long_list_comes_whole_in_pages(url):
    """All rows, each once, in order, whatever the sorting: the pages end in the middle of ties."""
    server, rota = url
    rota.db.execute("INSERT INTO rota.task_history (id, task, started_at, ended_at, duration_ms, status, outcome, attempt, "
                    "scheduled_at) SELECT g, 'many', CASE WHEN g % 5 > 0 THEN now() - (g % 7) * interval '1 minute' END, now(), "
                    "CASE WHEN g % 3 > 0 THEN g % 4 END, 'success', 'success', 1, now() FROM generate_series(1001, 4600) g")
    try:
        for column in ("started_at", "ended_at", "duration", "task", "status"):
            for direction in ("asc", "desc"):
                query = urllib.parse.urlencode({"task": "many", "sort_column": column, "sort_direction": direction})
                document = call(server, f"/api/task?{query}").json
                got = [row["id"] for row in document["data"]]
                wanted = [run for run, in rota.db.execute(
                    f"SELECT id FROM rota.task WHERE task = 'many' ORDER BY {column} {direction}, id DESC")]
                assert document["total"] == 3600 and got == wanted, query
    finally:
        rota.db.execute("DELETE FROM rota.task_history WHERE task = 'many'")


def test_what_a_client_has_is_not_sent_again(url):
    first = call(url[0], "/api/task?limit=3")
    again = call(url[0], "/api/task?limit=3", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    other = call(url[0], "/api/task?limit=2", headers={"If-None-Match": first.headers["etag"]})
    assert other.status == 200


def test_answers_are_compressed_for_who_takes_it(url):
    for path in ("/api/task?limit=10", "/api/task"):  # at once, and in pieces
        plain = call(url[0], path)
        packed = call(url[0], path, headers={"Accept-Encoding": "br, gzip;q=0.5"})
        assert packed.headers["content-encoding"] == "gzip" and json.loads(gzip.decompress(packed.body)) == plain.json
        assert "content-encoding" not in plain.headers
        assert "content-encoding" not in call(url[0], path, headers={"Accept-Encoding": "gzip;q=0"}).headers


@pytest.mark.parametrize("path", ["/api/task?limit=3", "/api/task", "/api/task/12", "/api/task/99", "/healthz"])
def test_head_is_get_without_a_body(url, path):
    got, head = call(url[0], path), call(url[0], path, "HEAD")
    assert (head.status, head.body) == (got.status, b"")
    for name in ("content-type", "content-length", "transfer-encoding", "etag"):
        assert head.headers.get(name) == got.headers.get(name), name
