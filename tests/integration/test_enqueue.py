"""Enqueueing: from SQL inside the user's transaction and from the command line; in bulk; bounds and refusals; users'
data byte for byte; who is told of failures; what an apply changes of what waits."""

import json

import psycopg
import pytest

from manifests import job, manifest
from waiting import wait_until

# How often this transaction has called the function that judges everything.
CALLS = "SELECT coalesce(pg_stat_get_xact_function_calls('rota.enqueue_runs'::regproc), 0)"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


# What waits, with its data: one by one, and in bundles.
WAITING = ("(SELECT id, data FROM rota.pending UNION ALL "
           "SELECT o.id, o.data FROM rota.bundle b CROSS JOIN LATERAL rota.bundle_rest(b) o) AS p")


def waiting(rota):
    return rota.value(f"SELECT count(*) FROM {WAITING}")


def refused(rota, statement, state):
    with pytest.raises(psycopg.Error) as caught:
        rota.db.execute(statement)
    assert caught.value.sqlstate == state, caught.value
    return str(caught.value)


def failed(rota, code, *arguments, **options):
    done = rota.run(*arguments, check=False, **options)
    assert done.returncode == code, (done.returncode, done.stderr)
    assert done.stdout == "" and done.stderr.count("\n") == 1
    return done.stderr


def test_a_transaction_that_is_rolled_back_leaves_nothing(rota):
    rota.apply(job("a", unique={"key": "/k"}, max_pending=100), job("r", rate={"limit": 1, "per": "1s"}))
    first = rota.value("SELECT rota.enqueue('a', '{\"k\": 0}')")
    with psycopg.connect(rota.url) as db:
        for statement in ("SELECT rota.enqueue('a', '{\"k\": 1}', expires_in => '1 h', traceparent => '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01')",
                          "SELECT rota.enqueue_many('a', ARRAY['{\"k\": 2}', '{\"k\": 3}']::jsonb[])",
                          "SELECT rota.enqueue('r')", "SELECT rota.fire('a')", f"SELECT rota.cancel({first})",
                          f"SELECT rota.enqueue('r', after => ARRAY[{first}])"):
            db.execute(statement)
        db.rollback()
    assert rota.rows("SELECT id FROM rota.pending") == [(first,)]
    assert rota.rows("SELECT run_id FROM rota.run_extra") == [(first,)]
    assert rota.rows("SELECT key FROM rota.unique_key") == [("0",)]
    for table in "run_after", "rate_due", "cancel_request", "task_history":
        assert rota.value(f"SELECT count(*) FROM rota.{table}") == 0


def test_what_was_committed_runs_with_its_data_delay_and_priority(rota):
    rota.apply(job("a", priority=7))
    plain, later, = (rota.value(f"SELECT rota.enqueue('a'{more})")
                     for more in ("", ", '{\"x\": 1}', now() + interval '1 hour', 9"))
    assert rota.rows("SELECT p.data::text, p.due > now() + interval '59 min', o.priority FROM rota.pending p "
                     "JOIN rota.route o ON o.id = p.route ORDER BY p.id") == [(None, False, 7), ('{"x": 1}', True, 9)]
    rota.node()
    assert rota.wait_history(plain)["outcome"] == "success"
    assert rota.history(later) is None


@pytest.mark.parametrize("given, short", [
    ({"job": "'plain'"}, True),
    ({"job": "'plain'", "data": "'{\"x\": 1}'"}, True),
    ({"job": "'plain'", "data": "'{}'", "run_at": "now() + interval '1 hour'", "priority": "9"}, True),
    ({"job": "'plain'", "run_at": "'1970-01-01 00:00:00+00'"}, True),
    ({"job": "'plain'", "priority": "77"}, False),  # the first of its route
    ({"job": "'held'", "data": "'{\"x\": 1}'"}, False),
    ({"job": "'lane'"}, False),
    ({"job": "'rated'"}, False),
    ({"job": "'counted'"}, False),
    ({"job": "'expires'"}, False),
    ({"job": "'unique'", "data": "'{\"k\": 1}'"}, False),
    ({"job": "'plain'", "traceparent": f"'{TRACE}'"}, False),
    ({"job": "'plain'", "expires_in": "'1 h'"}, False),
    ({"job": "'plain'", "key": "'k'"}, False),
])
def test_a_single_run_is_the_same_row_whichever_way_it_takes(rota, given, short):
    rota.apply(job("plain", priority=7), job("held"), job("lane", disallow_concurrent=False, concurrency={"limit": 1}),
               job("rated", rate={"limit": 1, "per": "1s"}),
               job("counted", max_pending=9), job("expires", expires_in="1h"), job("unique", unique={"key": "/k"}))
    rota.run("pause", "job", "held")
    rota.rows("SELECT rota.route_of(j.handler, 9::smallint) FROM rota.job j")
    arguments = {"data": "NULL", "run_at": "NULL", "priority": "NULL", "key": "NULL", "expires_in": "NULL", "traceparent": "NULL"}
    arguments |= given
    whole = """SELECT run_id FROM rota.enqueue_runs({job}, ARRAY[{data}::json], {run_at}, {priority},
                      CASE WHEN {key}::text IS NOT NULL THEN ARRAY[{key}] END, NULL, NULL, NULL, {expires_in}, {traceparent}, false)
            """.format(**arguments)
    single = f"SELECT rota.enqueue({', '.join(f'{name} => {value}' for name, value in given.items())})"
    row = "SELECT to_jsonb(p) - 'id' FROM rota.pending p WHERE p.id = %s"
    rows, judged = [], []
    with psycopg.connect(rota.url) as db:
        db.execute("SET LOCAL track_functions = 'pl'")
        for statement in single, whole:
            run = db.execute(statement).fetchone()[0]
            rows.append(db.execute(row, [run]).fetchone()[0])
            judged.append(db.execute(CALLS).fetchone()[0])
            db.execute("DELETE FROM rota.unique_key")
        db.rollback()
    assert rows[0] == rows[1]
    assert judged == ([0, 1] if short else [1, 2])


@pytest.mark.parametrize("statement, state, words", [
    ("SELECT rota.enqueue('nope')", "22023", 'no job is called "nope"'),
    ("SELECT rota.enqueue_many('nope', ARRAY['{}']::jsonb[])", "22023", 'no job is called "nope"'),
    ("SELECT rota.enqueue('a', priority => 101)", "22023", "a number from 1 to 100"),
    ("SELECT rota.enqueue('a', '[1]')", "22023", "must be a JSON object"),
    ("SELECT rota.enqueue('a', jsonb_build_object('x', repeat('x', 262144)))", "22023", "at most 262144 bytes"),
    ("SELECT rota.enqueue('a', run_at => 'infinity')", "22023", "run_at must be a time"),
    ("SELECT rota.enqueue('a', expires_in => '0')", "22023", "expires_in must be longer than nothing"),
    ("SELECT rota.enqueue('a', key => '')", "22023", "a key has 1 to 254 characters"),
    ("SELECT rota.enqueue('a', key => 'k', on_conflict => 'ignore')", "22023", "reject, existing, replace or keep_time"),
    ("SELECT rota.enqueue('a', on_conflict => 'existing')", "22023", "and there is none"),
    ("SELECT rota.enqueue('a', after => ARRAY[99])", "22023", "there is no run 99 to wait for"),
    ("SELECT rota.enqueue('a', after => ARRAY[NULL]::bigint[])", "22023", "there is no run NULL"),
    ("SELECT rota.enqueue('a', key => 'k', on_conflict => 'replace', after => ARRAY[1])", "22023", "exclude each other"),
    ("SELECT rota.enqueue_many('a', ARRAY['{}', '{}']::jsonb[], keys => ARRAY['k'])", "22023", "1 keys were given for 2 runs"),
    ("SELECT rota.fire('nope')", "22023", 'no trigger and no job is called "nope"')])
def test_what_means_nothing_is_refused_by_name(rota, statement, state, words):
    rota.apply(job("a"))
    assert words in refused(rota, statement, state)
    assert waiting(rota) == 0


def test_a_full_queue_refuses_more_and_takes_more_when_there_is_room(rota):
    rota.apply(job("a", max_pending=3), job("b"))
    rota.enqueue("a", "--count", "2")
    assert 'the queue of job "a" is full: it takes 3 waiting runs' in refused(
        rota, "SELECT rota.enqueue_many('a', ARRAY['{}', '{}']::jsonb[])", "53400")
    third = rota.value("SELECT rota.enqueue('a')")
    assert 'the queue of job "a" is full' in failed(rota, 1, "enqueue", "a")
    rota.enqueue("b", "--count", "10")
    rota.run("fire", "a")  # a firing is not an enqueueing
    assert rota.value("SELECT rota.cancel(%s)", third) == "cancelled"
    rota.value("SELECT rota.enqueue('a')")


def test_a_key_that_is_held_needs_no_room_in_a_full_queue(rota):
    rota.apply(job("a", max_pending=1))
    run = rota.value("SELECT rota.enqueue('a', key => 'k')")
    for mode in "existing", "replace", "keep_time":
        assert rota.value(f"SELECT rota.enqueue('a', '{{}}', key => 'k', on_conflict => '{mode}')") == run


def test_a_new_bound_counts_what_waits_already(rota, apply):
    apply(manifest(job("a")))
    rota.enqueue("a", "--count", "5")
    apply(manifest(job("a", max_pending=5)))
    assert "is full" in failed(rota, 1, "enqueue", "a")
    apply(manifest(job("a", max_pending=6)))
    rota.enqueue("a")
    apply(manifest(job("a")))
    rota.enqueue("a", "--count", "5")
    assert rota.value("SELECT count(*) FROM rota.pending WHERE counted") == 0


def test_many_are_queued_in_one_statement_in_their_order(rota):
    rota.apply(job("a"))
    ids = rota.value("SELECT rota.enqueue_many('a', ARRAY(SELECT jsonb_build_object('i', i) FROM generate_series(1, 5000) i))")
    assert len(set(ids)) == 5000
    assert rota.rows("SELECT (p.data ->> 'i')::int FROM unnest(%s::bigint[]) WITH ORDINALITY AS u(id, n) "
                     f"JOIN {WAITING} ON p.id = u.id ORDER BY u.n", ids) == [(i,) for i in range(1, 5001)]
    assert rota.value("SELECT rota.enqueue_many('a', '{}')") == rota.value("SELECT rota.enqueue_many('a', NULL)") == []


def test_lines_of_a_file_are_runs_all_or_none(rota):
    rota.apply(job("a"))
    lines = "".join(f'{{"i":{i}}}\n' for i in range(2500))
    said = json.loads(rota.run("enqueue", "a", "--stdin", "--json", input=lines).stdout)
    assert len(said["runs"]) == 2500 == waiting(rota) and said["conflicts"] == []
    assert rota.value(f"SELECT data::text FROM {WAITING} WHERE id = %s", said["runs"][1700]) == '{"i":1700}'
    for bad, words in (('{"i":1,}', "line 2503, column 8: "), ("7", "must be a JSON object"), ("{", "line 2503, column "),
                       ('{"x":"' + "x" * 262144 + '"}', "line 2503, column 1: it has 262152 bytes")):
        assert words in failed(rota, 1, "enqueue", "a", "--stdin", input=lines + "\n \n" + bad + "\n" + lines)
    assert waiting(rota) == 2500


def test_a_conflict_in_one_line_queues_none_of_them(rota):
    rota.apply(job("a", unique={"key": "/k"}))
    run, = rota.enqueue("a", "--data", '{"k": "x1700"}')
    lines = "".join(f'{{"k":"x{i}"}}\n' for i in range(2500))
    assert f'line 1701: run {run} of "a" has this key already; nothing was queued' in failed(
        rota, 1, "enqueue", "a", "--stdin", input=lines)
    assert waiting(rota) == 1
    said = json.loads(rota.run("enqueue", "a", "--stdin", "--on-conflict", "existing", "--json", input=lines).stdout)
    assert said["conflicts"] == [{"index": 1700, "run": run, "conflict": "exists"}] and said["runs"][1700] == run
    assert waiting(rota) == 2500


def test_a_hundred_thousand_at_once(rota):
    rota.apply(job("a"))
    done = rota.run("enqueue", "a", "--count", "100000")
    assert len(done.stdout.splitlines()) == 100000 == waiting(rota)


def test_the_command_takes_what_sql_takes(rota):
    rota.apply(job("a"))
    first, = rota.enqueue("a", "--key", "k")
    assert f'run {first} of "a" has this key already; nothing was queued' in failed(rota, 1, "enqueue", "a", "--key", "k")
    assert rota.enqueue("a", "--key", "k", "--on-conflict", "existing") == [first]
    assert rota.enqueue("a", "--key", "k", "--on-conflict", "replace", "--data", '{"x":1}', "--in", "1h") == [first]
    assert rota.rows("SELECT data::text, due > now() + interval '59 min' FROM rota.pending") == [('{"x":1}', True)]
    second, = rota.enqueue("a", "--after", str(first), "--after-any", "--expires-in", "90s", "--traceparent", TRACE)
    assert rota.rows("SELECT p.held::text, x.expires_at - p.held_due = '90 s', x.traceparent, a.any_outcome FROM rota.pending p "
                     "JOIN rota.run_extra x ON x.run_id = p.id JOIN rota.run_after a ON a.run_id = p.id AND a.needs = %s "
                     "WHERE p.id = %s", first, second) == [("A", True, TRACE, True)]
    assert "there is no run 77 to wait for" in failed(rota, 4, "enqueue", "a", "--after", "77")
    assert 'no job is called "b"' in failed(rota, 4, "enqueue", "b")


@pytest.mark.parametrize("words", [
    ["--key", ""], ["--on-conflict", "ignore"], ["--after", "1,x"], ["--after-any"], ["--expires-in", "0s"], ["--count", "100001"],
    ["--traceparent", "x"], ["--stdin", "--data", "{}"], ["--key", "k", "--count", "2"], ["--key", "k", "--stdin"], ["--count", "0"],
    ["--after", "1", "--on-conflict", "replace", "--key", "k"], ["--at", "2030-01-01T00:00:00Z", "--in", "1s"]])
def test_a_call_that_means_nothing_is_refused_before_anything_is_done(rota, words):
    assert "(see --help)" in failed(rota, 2, "enqueue", "a", *words)


def test_numbers_and_spelling_of_users_json_stay(rota, ledger):
    data = r'{"big":1234567890123456789,"one":1.0,"e":1E+2,"word":"\u00e9A\/","blank" : [ 1 ,2 ]}'
    rota.apply(job("a", handler="ledger"))
    run, = rota.enqueue("a", "--data", data)
    line = rota.run("enqueue", "a", "--stdin", input=data + "\n").stdout.strip()
    assert rota.rows("SELECT data::text FROM rota.pending ORDER BY id") == [(data,), (data,)]
    third = rota.value("SELECT rota.enqueue('a', %s::jsonb)", data)  # jsonb keeps numbers, not spelling
    assert rota.value("SELECT data::text FROM rota.pending WHERE id = %s", third).startswith(
        '{"e": 100, "big": 1234567890123456789, "one": 1.0')
    rota.run("cancel", str(run), line)
    assert rota.value("SELECT data::text FROM rota.task_history WHERE id = %s", run) == data
    again = rota.run("retry", str(run)).stdout.strip()
    assert rota.value("SELECT data::text FROM rota.pending WHERE id = %s", again) == data


def test_a_firing_by_hand_waits_for_the_rate_of_its_job_and_no_key_holds_it_up(rota):
    rota.apply(job("a", {"name": "t", "every": "1h", "data": {"k": 1}}, rate={"limit": 1, "per": "1h", "key": "/k"},
                   unique={"key": "/k"}, max_pending=1))
    runs = [rota.value("SELECT rota.fire('t')"), rota.value("SELECT rota.fire('t')"), int(rota.run("fire", "a").stdout)]
    rows = rota.rows("SELECT id, held::text, bucket FROM rota.pending ORDER BY id")
    assert [row[:2] for row in rows] == [(run, "R") for run in runs]
    assert rows[0][2] == rows[1][2] != rows[2][2]
    assert rota.value("SELECT count(DISTINCT bucket) FROM rota.rate_due") == 2
    assert 'no trigger and no job is called "u"' in failed(rota, 4, "fire", "u")


def test_a_changed_rate_reaches_what_waits(rota, apply):
    apply(manifest(job("a")))
    runs = rota.enqueue("a", "--count", "3", "--data", '{"k":1}')
    later, = rota.enqueue("a", "--in", "1h")
    apply(manifest(job("a", rate={"limit": 1, "per": "1s", "key": "/k"})))
    rows = dict(rota.rows("SELECT id, bucket FROM rota.pending WHERE held = 'R' AND due = 'infinity' AND held_due IS NOT NULL"))
    assert rows.keys() == {*runs, later} and len({rows[run] for run in runs}) == 1 and rows[later] != rows[runs[0]]
    apply(manifest(job("a")))
    assert rota.value("SELECT count(*) FROM rota.pending WHERE held IS NULL AND bucket IS NULL AND due < 'infinity'") == 4


def test_who_is_told_of_failures_is_there_and_in_no_circle(rota, apply):
    lost = apply.refused(manifest(job("a", on_failure="b"))).stderr
    assert 'job "a": "on_failure" names job "b", and there is none' in lost
    circle = apply.refused(manifest(job("a", on_failure="b"), job("b", on_failure="c"), job("c", on_failure="a"))).stderr
    assert '"on_failure" leads back to it: "a" tells "b" tells "c" tells "a"' in circle
    assert 'leads back to it: "a" tells "a"' in apply.refused(manifest(job("a", on_failure="a"))).stderr
    apply(manifest(job("b", on_failure="c"), job("c"), source="one"))
    apply(manifest(job("a", on_failure="b"), source="two"))
    long_way = apply.refused(manifest(job("b", on_failure="c"), job("c", on_failure="a"), source="one")).stderr
    assert '"b" tells "c" tells "a" tells "b"' in long_way or '"c" tells "a" tells "b" tells "c"' in long_way
    assert 'job "a" of source "two": "on_failure" names job "b", which is declared no more' in apply.refused(
        manifest(source="one"), "--prune").stderr
    assert 'job "b" is told of the failures of job "a"' in failed(rota, 1, "delete", "job", "b")
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        rota.db.execute("DELETE FROM rota.job WHERE name = 'b'")
    apply(manifest(job("a"), source="two"))
    rota.run("delete", "job", "b")
    apply(manifest(source="one"), "--prune")


def test_who_is_told_is_told_however_full_his_queue_is(rota):
    rota.apply(job("a", on_failure="b"), job("b", max_pending=1))
    rota.enqueue("b")
    first, second = rota.enqueue("a", "--count", "2", "--in", "1h")
    rota.run("cancel", str(second))  # whoever cancels knows
    assert waiting(rota) == 2
    rota.db.execute("SELECT rota.pending_end(ARRAY[%s::bigint], 'expired', 'too late')", (first,))
    [(told,)] = rota.rows("SELECT data FROM rota.pending WHERE data IS NOT NULL")
    assert (told["run"], told["job"], told["outcome"], told["message"]) == (first, "a", "expired", "too late")


def test_get_jobs_shows_what_the_queue_takes(rota):
    rota.apply(job("a", max_pending=5, expires_in="1m", on_failure="b", rate={"limit": 2, "per": "1s"},
                   unique={"key": "/k", "for": "1h"}), job("b"))
    one, two = json.loads(rota.run("get", "jobs", "--json").stdout)["data"]
    assert (one["max_pending"], one["expires_in_ms"], one["on_failure"]) == (5, 60000, "b")
    assert one["rate"] == {"limit": 2, "per_ms": 1000, "burst": 2} and one["unique"] == {"key": "/k", "for_ms": 3600000}
    assert [two[key] for key in ("max_pending", "expires_in_ms", "on_failure", "rate", "unique")] == [None] * 5
    assert "limit:2,per_ms:1000,burst:2" in rota.run("get", "jobs").stdout


def test_an_enqueuer_needs_nothing_but_his_role(rota, server):
    rota.apply(job("a", unique={"key": "/k"}, rate={"limit": 1, "per": "1s", "key": "/k"}))
    name = f"rota_test_user_{rota.name[-8:]}"
    server.create_role(name)
    try:
        with psycopg.connect(rota.server.url(rota.name, name), autocommit=True) as db:
            for statement in "SELECT rota.enqueue('a')", "SELECT rota.fire('a')", "SELECT rota.cancel(1)":
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    db.execute(statement)
            server.execute(f"GRANT rota_reader TO {name}")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                db.execute("SELECT rota.enqueue('a')")
            server.execute(f"GRANT rota_enqueuer TO {name}")
            run = db.execute("SELECT rota.enqueue('a', '{\"k\": 1}', expires_in => '1 h')").fetchone()[0]
            db.execute("SELECT rota.enqueue_many('a', ARRAY['{\"k\": 1}', '{\"k\": 2}']::jsonb[], on_conflict => 'replace')")
            db.execute("SELECT rota.enqueue('a', after => ARRAY[%s::bigint])", (run,))
            db.execute("SELECT rota.fire('a')")
            assert db.execute("SELECT rota.cancel(%s)", (run,)).fetchone()[0] == "cancelled"
            for statement in "SELECT * FROM rota.pending", "DELETE FROM rota.unique_key", "SELECT rota.rerun(ARRAY[1])":
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    db.execute(statement)
        url = rota.server.url(rota.name, name)
        assert rota.run("enqueue", "a", database_url=url).stdout.strip().isdigit()
    finally:
        server.execute(f"DROP ROLE {name}")


def test_what_was_queued_from_sql_wakes_a_node_at_its_commit(rota):
    rota.apply(job("a"))
    rota.node(poll="60s")
    with psycopg.connect(rota.url) as db:
        run = db.execute("SELECT rota.enqueue('a')").fetchone()[0]
        assert rota.history(run) is None
        db.commit()
    wait_until(lambda: rota.history(run), 10, "the run to be over long before the poll")
