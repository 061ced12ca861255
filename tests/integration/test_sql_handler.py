"""The handler `sql`: what a statement is given, what comes of it, and how it ends."""

import json
import os
import signal
import socket
import subprocess
import threading
import time

import psycopg
import pytest

from waiting import wait_until
from wire import connect

PASSWORD = "pa55-of-the-reports"


@pytest.fixture(scope="module")
def server(pg_server):
    """64 statements at once are 64 connections."""
    return pg_server


def uri(rota, **more):
    """The test's database as an URI, with a password that it does not ask for."""
    parts = {**psycopg.conninfo.conninfo_to_dict(rota.url), "password": PASSWORD, **more}
    return psycopg.conninfo.make_conninfo(**parts)


def start(rota, name="n1", **settings):
    rota.rows("SELECT 1")
    rota.db.execute("CREATE TABLE public.item (id int PRIMARY KEY, name text, doc jsonb)")
    return rota.node(name, databases={"reports": {"url": uri(rota)}}, **settings)


def job(name="job", **more):
    return {"name": name, "handler": "sql", "durable": True, **more}


def go(rota, statement, *parameters, **more):
    """One run of a new job with this statement, to its end."""
    name = f"job{time.monotonic_ns()}"
    rota.apply(job(name, data={"database": "reports", "statement": statement, "parameters": list(parameters), **more}),
               source=name)
    return rota.wait_history(*rota.enqueue(name))


def items(rota):
    return rota.rows("SELECT id, name, doc FROM public.item ORDER BY id")


def backends(rota):
    return rota.value("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'rota run%%' "
                      "AND datname = current_database()")


def sleeping(rota):
    """Backends at work on the statement of a run."""
    return [row[0] for row in rota.rows("SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'rota run%%' "
                                        "AND datname = current_database() AND query LIKE '%%pg_sleep%%' AND state = 'active'")]


def test_parameters_are_bound_and_never_become_part_of_the_statement(rota):
    start(rota)
    evil = "x'); DROP TABLE public.item; --"
    rota.apply(job(data={"database": "reports", "statement": "INSERT INTO public.item VALUES ($1, $2, $3)",
                         "parameters": [{"$pointer": "/data/id"}, {"$pointer": "/data/name"},
                                        {"of": {"$pointer": "/job"}, "n": 1234567890123456789, "list": [1, None]}]}))
    run, = rota.enqueue("job", "--data", json.dumps({"id": 7, "name": evil}))
    row = rota.wait_history(run)
    assert row["status"] == "success" and row["details"] == {"command": "INSERT 0 1", "rows_affected": 1}, row
    assert items(rota) == [(7, evil, {"of": "job", "n": 1234567890123456789, "list": [1, None]})]
    assert go(rota, "INSERT INTO public.item VALUES ($1, $2, NULL)", 8, None)["status"] == "success"
    assert items(rota)[1] == (8, None, None)
    assert go(rota, "SELECT $1::bool AND $2", True, "t")["details"]["rows"] == [[True]]


def test_rows_are_json_up_to_their_limit(rota):
    start(rota)
    details = go(rota, """SELECT 1 AS a, 9007199254740993 AS b, 1.50 AS c, 'NaN'::float8 AS d, true AS e, NULL AS f,
                                 '{"k": [1.0]}'::jsonb AS g, E'{"a":1,\\n"a":2}'::json AS h, E'x"\\n' AS "i j", now() IS NULL AS a""")["details"]
    assert details["columns"] == ["a", "b", "c", "d", "e", "f", "g", "h", "i j", "a"]
    assert details["rows"] == [[1, 9007199254740993, 1.5, "NaN", True, None, {"k": [1.0]}, '{"a":1,\n"a":2}', 'x"\n', False]]
    assert (details["command"], details["rows_affected"], details["rows_truncated"]) == ("SELECT 1", 1, False)
    details = go(rota, "SELECT g FROM generate_series(1, 300000) g", max_rows=2)["details"]
    assert details["rows"] == [[1], [2]] and details["rows_affected"] == 300000 and details["rows_truncated"] is True
    row = go(rota, "SELECT repeat('\u00e4', 9000) FROM generate_series(1, 50)")
    assert len(row["details"]["rows"]) == 1 and row["details"]["rows_truncated"] is True and len(row["raw"]) < 32000
    assert go(rota, "SELECT 1 WHERE false")["details"]["columns"] == ["?column?"]
    assert go(rota, "CREATE TABLE public.t ()")["details"]["rows_affected"] is None


def test_answers_that_no_message_could_hold_cost_nobody_anything(rota):
    node = start(rota)
    for statement, wanted in (("SELECT (repeat('[', 62) || repeat(']', 62))::json", "success"),
                              ("SELECT (repeat('[', 5000) || repeat(']', 5000))::json", "success"),
                              ("SELECT repeat('x', 3000000)", "success"), ("SELECT repeat('x', 3000000)::json", "failed"),
                              ("SELECT repeat(E'\\x01', 20000)", "success"),
                              ("DO $$ BEGIN RAISE '%', repeat(E'\\x01', 3000000) USING DETAIL = repeat('d', 3000000); END $$",
                               "failed")):
        row = go(rota, statement)
        assert row["status"] == wanted and row["attempt"] == 1 and len(row["raw"]) < 40000, (statement, row["raw"][:300])
    columns = ", ".join(f"1 AS {'c' * 50}{number}" for number in range(1000))
    assert go(rota, f"SELECT {columns}")["details"]["rows_truncated"] is True
    assert len(node.lines("worker ready")) == 1


@pytest.mark.skipif("ROTA_TEST_SANITIZED" in os.environ, reason="sanitizers need more memory than the limit leaves")
def test_a_row_that_is_not_shown_takes_no_more_memory_than_its_bytes(rota):
    pools = {"db": {"builtin": ["sql"], "slots": 4, "limits": {"memory": "256MiB"}}}
    node = start(rota, pools=pools)
    row = go(rota, "SELECT repeat(E'\\x01', 30000000)")
    assert row["status"] == "success" and row["details"]["rows_truncated"] is True, row["raw"][:300]
    assert row["details"]["rows"] == [] and not node.lines("worker ended")


def test_parameters_cannot_become_more_than_a_server_takes(rota):
    node = start(rota)
    rota.apply(job(data={"database": "reports", "statement": "SELECT 1", "text": "x" * 200000,
                         "parameters": [{"$pointer": "/data/text"}] * 1000}))
    row = rota.wait_history(*rota.enqueue("job"))
    assert row["status"] == "failed" and "longer than" in row["details"]["message"], row["raw"][:300]
    assert not node.lines("worker ended")


def test_a_time_that_no_clock_can_count_is_no_limit(rota):
    start(rota)
    for timeout in ("9223372036854775807us", "106751991d"):
        assert go(rota, "SELECT pg_sleep(0.3)", timeout=timeout)["status"] == "success"


def test_a_statement_is_one_transaction_of_its_own(rota):
    node = start(rota)
    row = go(rota, "INSERT INTO public.item SELECT g, '', CASE g WHEN 9 THEN (1 / (g - 9))::text::jsonb END "
                   "FROM generate_series(1, 9) g")
    assert row["details"]["exception"] == "SQLSTATE 22012" and items(rota) == []
    assert "multiple commands" in go(rota, "SELECT 1; DROP TABLE public.item")["details"]["message"]
    # what one run sets, the next one does not see
    go(rota, "SELECT set_config('search_path', 'nowhere', false), set_config('my.own', 'x', false)")
    assert go(rota, "SELECT current_setting('my.own', true)")["details"]["rows"] in ([[None]], [[""]])
    assert go(rota, "VACUUM public.item")["status"] == "success"
    wait_until(lambda: backends(rota) == 0, 10)
    assert not node.lines(level="warn") and not node.lines(level="error")


def test_failures_tell_what_the_server_said_and_are_tried_again_where_that_helps(rota):
    start(rota)
    rota.rows("INSERT INTO public.item VALUES (1) RETURNING 1")
    retry = {"max_attempts": 2, "initial": "1ms", "max": "1ms"}
    cases = {"INSERT INTO public.item VALUES (1)": ("23505", 1), "SELECT nothing": ("42703", 1), "SELEC": ("42601", 1),
             "DO $$ BEGIN RAISE 'later' USING ERRCODE = '40001'; END $$": ("40001", 2),
             "DO $$ BEGIN RAISE 'full' USING ERRCODE = '53100'; END $$": ("53100", 2),
             "SELECT pg_terminate_backend(pg_backend_pid())": ("57P01", 2),
             "COPY public.item FROM STDIN": ("0A000", 1), "COPY public.item TO STDOUT": ("0A000", 1), "--": ("42601", 1)}
    for number, statement in enumerate(cases):
        rota.apply(job(f"j{number}", data={"database": "reports", "statement": statement}, retry=retry), source=f"s{number}")
    for number, (statement, (state, attempts)) in enumerate(cases.items()):
        row = rota.wait_history(*rota.enqueue(f"j{number}"))
        assert (row["details"]["exception"], row["attempt"]) == (f"SQLSTATE {state}", attempts), (statement, row)
        if state == "23505":
            info = row["details"]["original-info"]
            assert info["sqlstate"] == "23505" and "(id)=(1)" in info["detail"] and info["constraint"] == "item_pkey"


def test_bad_data_and_databases_that_are_not_there_say_what_would_be_right(rota, monkeypatch):
    monkeypatch.setenv("REPORTS_URL", uri(rota))
    file = os.path.join(rota.directory, "url")
    with open(file, "w", encoding="utf-8") as out:
        out.write(uri(rota) + "\n")
    node = rota.node(databases={"env": {"url_env": "REPORTS_URL"}, "file": {"url_file": file}, "none": {"url_env": "NO_URL"},
                                "odd": {"url": f"postgresql://u:{PASSWORD}@h/?no=1"}, "host": {"url": "host=no-such.invalid"},
                                "shut": {"url": "host=127.0.0.1 port=1 password=" + PASSWORD}})
    data = {"database": "env", "statement": "SELECT 1"}
    for more, why in (({"database": "else"}, 'no database "else"'), ({"database": 1}, '"database"'), ({"statement": ""}, '"statement"'),
                      ({"statement": None}, '"statement"'), ({"parameters": {}}, '"parameters"'), ({"max_rows": -1}, '"max_rows"'),
                      ({"parameters": [1, {"$pointer": "/data/no"}]}, "$2"), ({"timeout": "soon"}, '"timeout"'),
                      ({"database": "none"}, "NO_URL is not set"), ({"database": "odd"}, "cannot be read"),
                      ({"database": "host"}, "cannot resolve"), ({"database": "shut"}, "refused")):
        name = f"job{time.monotonic_ns()}"
        rota.apply(job(name, data={**data, **more}), source=name)
        details = rota.wait_history(*rota.enqueue(name))["details"]
        assert details["exception"] in ("bad data", "connection") and why in details["message"], (more, details)
        assert PASSWORD not in str(details)
    for database in ("env", "file"):
        rota.apply(job(database, data={**data, "database": database}), source=database)
        assert rota.wait_history(*rota.enqueue(database))["status"] == "success"
    assert PASSWORD not in node.text()


def test_the_password_of_a_database_is_nowhere(rota):
    node = start(rota, log_level="debug", exec_allow="/bin/*")
    rota.apply(job("slow", data={"database": "reports", "statement": "SELECT pg_sleep(60)"}, requests_recovery=False),
               {"name": "env", "handler": "exec", "durable": True, "data": {"command": ["/bin/cat", "/proc/self/environ"]}})
    slow, = rota.enqueue("slow")
    wait_until(lambda: backends(rota) == 1, 10)
    seen = rota.wait_history(*rota.enqueue("env"))["raw"] + node.text()
    for process in node.workers():
        for part in ("cmdline", "environ"):
            with open(f"/proc/{process.pid}/{part}", "rb") as file:
                seen += file.read().decode(errors="replace")
    shown = subprocess.run(["ps", "axww"], capture_output=True, text=True, check=True).stdout
    shown += rota.run("settings", databases=node.settings["databases"]).stdout
    assert "***" in shown and "reports" in shown
    assert PASSWORD not in seen + shown
    os.kill(node.worker_pids()[0], signal.SIGKILL)
    rota.wait_history(slow)


def test_a_statement_whose_time_is_over_ends_on_the_server_too(rota):
    start(rota)
    endless = {"database": "reports", "statement": "INSERT INTO public.item SELECT 1, pg_sleep(60)::text"}
    rota.apply(job("by job", data=endless, timeout="600ms"), job("by data", data={**endless, "timeout": "600ms"}))
    row = rota.wait_history(*rota.enqueue("by job"))
    assert row["outcome"] == "timeout"
    wait_until(lambda: backends(rota) == 0, 2)
    row = rota.wait_history(*rota.enqueue("by data"))
    assert row["details"]["exception"] == "timeout" and "within its time" in row["details"]["message"], row
    wait_until(lambda: backends(rota) == 0, 2)
    assert items(rota) == []


def test_a_statement_of_a_lane_ends_before_the_lease(rota):
    start(rota, lease="2s", heartbeat="300ms")
    rota.apply(job(data={"database": "reports", "statement": "SELECT pg_sleep(60)"}, disallow_concurrent=True),
               job("free", data={"database": "reports", "statement": "SELECT current_setting('statement_timeout')"}),
               job("timed", data={"database": "reports", "timeout": "1m",
                                  "statement": "SELECT current_setting('statement_timeout')::interval < '1m'"}))
    began = time.monotonic()
    row = rota.wait_history(*rota.enqueue("job"))
    assert row["details"]["exception"] == "timeout" and "lease" in row["details"]["message"], row
    assert time.monotonic() - began < 5 and row["duration_ms"] < 2000
    assert rota.wait_history(*rota.enqueue("free"))["details"]["rows"] == [["0"]]
    assert rota.wait_history(*rota.enqueue("timed"))["details"]["rows"] == [[True]]


def test_what_a_dead_worker_ran_ends_on_the_server(rota):
    node = start(rota)
    rota.apply(job(data={"database": "reports", "statement": "SELECT pg_sleep(60)"}, requests_recovery=False))
    run, = rota.enqueue("job")
    wait_until(lambda: backends(rota) == 1, 10)
    os.kill(node.worker_pids()[0], signal.SIGKILL)
    wait_until(lambda: backends(rota) == 0, 5)
    assert rota.wait_history(run)["status"] == "failed"


@pytest.fixture
def deaf():
    """A server that takes connections and says nothing."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=100)
    yield listener.getsockname()[1]
    listener.close()


class Forward:
    """A TCP port of 127.0.0.1 that leads to the server's socket, until it is cut."""

    def __init__(self, url):
        self.target = psycopg.conninfo.conninfo_to_dict(url)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.ends = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = connect(self.target)
            self.ends += [client, server]
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self.copy, args=(source, sink), daemon=True).start()

    @staticmethod
    def copy(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def cut(self):
        for end in self.ends:
            end.shutdown(socket.SHUT_RDWR)
            end.close()
        self.ends = []


@pytest.fixture
def forward(rota):
    made = Forward(rota.url)
    yield made
    made.listener.close()
    made.cut()


def test_a_lost_connection_says_that_the_outcome_is_not_known(rota, forward):
    url = {"url": uri(rota, host="no-such.invalid,localhost", port=f"1,{forward.port}")}
    rota.node(databases={"reports": url})
    rota.apply(job(data={"database": "reports", "statement": "SELECT pg_sleep(60)"}, retry={"max_attempts": 2, "initial": "1ms"}))
    run, = rota.enqueue("job")
    before = []
    for _ in range(2):
        new = wait_until(lambda: [pid for pid in sleeping(rota) if pid not in before], 15)
        before += new
        forward.cut()
    details = rota.wait_history(run)["details"]
    assert details["exception"] == "connection" and "not known" in details["message"], details
    wait_until(lambda: backends(rota) == 0, 5)


def test_64_statements_are_out_at_once_in_one_process(rota, deaf):
    node = rota.node(slots=80, databases={"reports": {"url": uri(rota)}, "deaf": {"url": f"host=127.0.0.1 port={deaf}"}})
    rota.apply(job("slow", data={"database": "reports", "statement": "SELECT pg_advisory_xact_lock_shared(7)"}),
               job("deaf", data={"database": "deaf", "statement": "SELECT 1", "timeout": "3s"}),
               job("quick", data={"database": "reports", "statement": "SELECT 1"}))
    rota.rows("SELECT pg_advisory_lock(7)::text")
    stuck = rota.enqueue("deaf", "--count", "8")
    runs = rota.enqueue("slow", "--count", "64")
    wait_until(lambda: backends(rota) == 64, 20)
    assert rota.wait_history(*rota.enqueue("quick"), limit=5)["status"] == "success"
    rota.rows("SELECT pg_advisory_unlock(7)")
    assert {rota.wait_history(run)["status"] for run in runs} == {"success"}
    assert {rota.wait_history(run)["details"]["exception"] for run in stuck} == {"connection"}
    assert len(node.lines("worker ready")) == 1


def test_settings_of_databases_that_make_no_sense_are_refused_at_the_start(rota):
    for databases, why in (("[]", "must be an object"), ('{"a":{}}', '"a"'), ('{"a":{"url":"x","url_env":"y"}}', '"a"'),
                           ('{"a":"url"}', '"a"'), ('{"a":{"url_env":"ROTA_X"}}', "ROTA_"), ('{"a":{"url_file":"b"}}', "absolute"),
                           ('{"a":', "line 1"), ('{"":{"url":"x"}}', "name")):
        done = rota.run("node", check=False, databases=databases)
        assert done.returncode == 1 and "databases" in done.stderr and why in done.stderr, done.stderr
