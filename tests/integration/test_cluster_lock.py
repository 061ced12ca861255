"""Cluster locks: `rota lock`, workers and transactions exclude each other; releases wake whoever waits;
fences only grow; several names; what a body does is its own business."""

import json
import os
import pathlib
import re
import shlex
import subprocess
import threading
import time

import psycopg
import pytest

from fleet import binary, environment
from locks import Locks, touch
from waiting import wait_until

DOCUMENT = pathlib.Path(__file__).resolve().parents[2] / "docs" / "locks.md"
FULL = os.environ.get("ROTA_TEST_FULL") == "1"


@pytest.fixture
def locks(rota, tmp_path):
    made = Locks(rota, tmp_path)
    yield made
    made.close()


def assert_taken(locks, name, holder):
    """For whoever asks."""
    done = locks.try_now(name)
    assert done.returncode == 5 and holder in done.stderr and f"Failed to obtain cluster lock: {name}" in done.stderr
    assert locks.try_now(name, "--shared").returncode == 5
    assert locks.sql(name) is None
    until, run = locks.run({"name": name, "wait": "0s"})
    assert holder in locks.wait_told(name, "lock_failed", run)["message"]
    touch(until)


def test_commands_workers_and_transactions_exclude_each_other(locks):
    node = locks.node()
    command = locks.hold("a")
    assert_taken(locks, "a", f"process {command.process.pid}")
    assert locks.row("a")["state"] == "held" and locks.row("a")["fence"] == command.began()[0]
    command.let_go()
    assert command.ended()[0] == 0

    until, run = locks.run({"name": "a", "of_run": True})
    fence = locks.wait_told("a", "locked", run)["fence"]
    assert fence > command.began()[0]
    assert_taken(locks, "a", f"n1, run {run}")
    assert locks.row("a")["holder"] == f"n1, run {run}" and locks.row("a")["fence"] == fence
    touch(until)
    locks.wait_free("a")

    with psycopg.connect(locks.rota.url, application_name="billing") as db:
        higher = db.execute("SELECT rota.cluster_lock('a', '1 s')").fetchone()[0]
        assert higher > fence
        assert_taken(locks, "a", "(billing)")
        assert locks.row("a")["state"] == "held" and "billing" in locks.row("a")["holder"]
    assert locks.is_free("a") and locks.row("a")["state"] == "free"
    failed = node.lines("Failed to obtain cluster lock: a", "error")
    assert len(failed) == 3 and failed[0]["retries"] == 0 and str(command.process.pid) in failed[0]["holder"]


def test_shared_holders_hold_together_and_exclude_exclusive_ones(locks):
    locks.node()
    first, second = locks.hold("a", options=["--shared"]), locks.hold("a", options=["--shared"])
    until, run = locks.run({"name": "a", "shared": True}, {"name": "a", "shared": True})
    wait_until(lambda: len(locks.told("a", "locked", run)) == 2, 10)
    row = locks.row("a")
    assert row["mode"] == "share" and len(row["shared_by"]) == 4 and row["holder"].endswith("and 3 more")
    assert not locks.is_free("a") and locks.sql("a") is None
    assert locks.rota.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock' "
                            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())") == 3
    for holder in (first, second):
        holder.let_go()
        assert holder.ended()[0] == 0
    assert not locks.is_free("a")
    touch(until)
    locks.wait_free("a")
    assert locks.row("a")["shared_by"] == [] and locks.row("a")["state"] == "free"
    exclusive = locks.hold("a")
    assert not locks.is_free("a", "--shared")
    exclusive.let_go()


def test_an_exclusive_request_is_not_starved_by_shared_ones(locks):
    """From when it waits nobody else comes in: it has the lock when those who were there have gone."""
    stop = threading.Event()

    def share():
        while not stop.is_set():
            locks.rota.run("lock", "a", "--shared", "--wait", "20s", "--", "sleep", "0.3")

    threads = [threading.Thread(target=share) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: (locks.row("a") or {}).get("shared_by", [])[1:], 10, "shared holders that overlap")
        began = time.time()
        assert locks.rota.run("lock", "a", "--wait", "9s", "--", "true").returncode == 0
        assert time.time() - began < 5
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_release_wakes_the_next_one_at_once(locks):
    """Whoever waits longer than two seconds asks once a second only."""
    locks.node()
    late = []
    for _ in range(3):
        holder = locks.hold("a")
        until, run = locks.run({"name": "a", "wait": "20s"})
        begun = time.time()
        wait_until(lambda: time.time() > begun + 2.2, 5)
        holder.let_go()
        told = locks.wait_told("a", "locked", run)
        late.append(told["at"] - holder.end_of_cmd())
        waiter = locks.hold("a", began=False, options=["--wait", "20s"])
        begun = time.time()
        wait_until(lambda: time.time() > begun + 2.2, 5)
        touch(until)
        released = time.time()
        late.append(waiter.began()[1] - released)
        waiter.let_go()
        assert waiter.ended()[0] == 0
    assert sorted(late)[4] < 0.3, late


def test_waiting_ends_when_it_was_said_to(locks):
    holder = locks.hold("a")
    for wait, least, most in (("0s", 0, 0.5), ("300ms", 0.3, 0.9), ("2s", 2, 2.9)):
        began = time.monotonic()
        done = locks.try_now("a", wait=wait)
        took = time.monotonic() - began
        assert done.returncode == 5 and str(holder.process.pid) in done.stderr
        assert least <= took < most, (wait, took)
    began = time.monotonic()
    with psycopg.connect(locks.rota.url) as db, pytest.raises(psycopg.errors.LockNotAvailable) as raised:
        db.execute("SELECT rota.cluster_lock('a', '700 ms')")
    assert 0.7 <= time.monotonic() - began < 1.5
    assert f"Failed to obtain cluster lock: a (held by {locks.row('a')['holder']})" in str(raised.value)


def test_what_the_body_does_is_its_own_business(locks, tmp_path):
    """Its failure is never contention, and it is not run again."""
    for code in (1, 5, 55, 255):
        count = tmp_path / f"count-{code}"
        done = locks.rota.run("lock", "a", "--", "sh", "-c", f"echo x >> {count}; exit {code}", check=False)
        assert done.returncode == code and done.stderr == "" and count.read_text() == "x\n"
        assert locks.is_free("a")
    assert locks.rota.run("lock", "a", "--", "sh", "-c", "kill -TERM $$", check=False).returncode == 128 + 15
    assert locks.rota.run("lock", "a", "--", "/nonesuch", check=False).returncode == 127
    assert locks.rota.run("lock", "a", "--", "/etc/passwd", check=False).returncode == 126
    done = locks.rota.run("lock", "a", "--", "cat", input="what it reads\n")
    assert done.stdout == "what it reads\n"
    assert locks.is_free("a")


def test_wrong_calls_say_what_would_be_right(locks):
    def refused(*arguments):
        done = locks.rota.run("lock", *arguments, check=False)
        assert done.returncode == 2, done
        return done.stderr

    assert "which lock?" in refused("--", "true")
    assert "rota lock a -- CMD" in refused("a") and "rota lock a -- CMD" in refused("a", "--")
    assert "1 to 254 characters" in refused("x" * 255, "--", "true")
    assert "500ms, 30s" in refused("a", "--wait", "soon", "--", "true")
    assert "cluster or node" in refused("a", "--scope", "world", "--", "true")
    assert "did you mean --shared" in refused("a", "--share", "--", "true")
    assert locks.rota.run("lock", "ä" * 254, "--", "true").returncode == 0
    assert locks.rota.run("lock", "a", "--", "true", check=False, database_url="host=/nonesuch").returncode == 3


def test_a_transaction_holds_until_its_end_and_writes_no_row(locks):
    with psycopg.connect(locks.rota.url) as db:
        before = db.execute("SELECT rota.cluster_lock('new')").fetchone()[0]
        again = db.execute("SELECT rota.cluster_lock('new')").fetchone()[0]
        assert again > before
        assert db.execute("SELECT count(*) FROM rota.metabase_cluster_lock").fetchone()[0] == 0
        assert db.execute("SHOW lock_timeout").fetchone()[0] == "0"
        assert not locks.is_free("new")
        db.rollback()
        assert locks.is_free("new")
        for arguments, state in ((("", "1 s"), "22023"), (("x" * 255, "1 s"), "22023"), ((None, "1 s"), "22023"),
                                 (("a", None), "22023"), (("a", "-1 s"), "22023")):
            with pytest.raises(psycopg.Error) as raised:
                db.execute("SELECT rota.cluster_lock(%s, %s::interval)", arguments)
            assert raised.value.sqlstate == state
            db.rollback()
        db.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="READ COMMITTED"):
            db.execute("SELECT rota.cluster_lock('a')")
        db.rollback()


def test_a_waiting_transaction_is_woken_at_once(locks):
    holder = locks.hold("a")
    found = []

    def wait():
        with psycopg.connect(locks.rota.url) as db:
            found.append((db.execute("SELECT rota.cluster_lock('a', '20 s')").fetchone()[0], time.time()))

    thread = threading.Thread(target=wait)
    thread.start()
    wait_until(lambda: locks.rota.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted "
                                        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"), 10)
    holder.let_go()
    thread.join()
    assert found[0][0] > holder.began()[0] and found[0][1] - holder.end_of_cmd() < 0.5


def test_fences_only_grow_and_nobody_overlaps(locks, tmp_path):
    """Four at a time: each body reads a number, adds one and writes it back."""
    rounds, counter, seen = (200 if FULL else 30), tmp_path / "counter", tmp_path / "fences"
    counter.write_text("0\n")
    body = f"n=$(cat {counter}); echo $ROTA_LOCK_FENCE >> {seen}; echo $((n + 1)) > {counter}"
    loop = f'for i in $(seq {rounds}); do "$0" lock count --wait 60s -- sh -c "$1" || echo failed; done'
    made = [subprocess.Popen(["sh", "-c", loop, binary(), body], env=environment(database_url=locks.rota.url),
                             stdout=subprocess.PIPE, text=True) for _ in range(4)]
    with psycopg.connect(locks.rota.url) as db:
        for _ in range(rounds):
            fence = db.execute("SELECT rota.cluster_lock('count', '60 s')").fetchone()[0]
            number = int(counter.read_text())
            with open(seen, "a", encoding="utf-8") as file:
                file.write(f"{fence}\n")
            counter.write_text(f"{number + 1}\n")
            db.commit()
    assert [process.communicate(timeout=200)[0] for process in made] == [""] * 4
    fences = [int(line) for line in seen.read_text().split()]
    assert int(counter.read_text()) == len(fences) == 5 * rounds
    assert fences == sorted(set(fences))


def test_several_names_are_taken_in_one_order(locks):
    """Two callers with the names the other way round never wait for each other in a circle."""
    def loop(first, second, done):
        for _ in range(15):
            done.append(locks.rota.run("lock", first, second, "--wait", "20s", "--", "sleep", "0.01").returncode)

    results = [[], [], []]
    threads = [threading.Thread(target=loop, args=(*names, done))
               for names, done in zip((("a", "b"), ("b", "a"), ("b", "a")), results)]
    for thread in threads:
        thread.start()
    with psycopg.connect(locks.rota.url) as db:
        for _ in range(10):
            assert db.execute("SELECT rota.cluster_locks(ARRAY['b', 'a'], '20 s')").fetchone()[0] > 0
            db.commit()
    for thread in threads:
        thread.join()
    assert results == [[0] * 15] * 3
    holder = locks.hold("b", "a", "b")
    rows = {name: locks.row(name) for name in "ab"}
    assert rows["a"]["holder"] == rows["b"]["holder"] and rows["a"]["fence"] < rows["b"]["fence"] == holder.began()[0]
    assert locks.sql("a") is None and locks.sql("b") is None
    holder.let_go()
    assert holder.ended()[0] == 0 and locks.is_free("a") and locks.is_free("b")


def test_locks_of_a_run_end_with_it_and_others_with_their_worker(locks):
    locks.node(processes=1)
    until, run = locks.run({"name": "of the run", "of_run": True}, {"name": "of the worker"}, unlock=False)
    locks.wait_told("of the run", "locked", run)
    locks.wait_told("of the worker", "locked", run)
    assert not locks.is_free("of the run")
    touch(until)
    locks.rota.wait_history(run)
    locks.wait_free("of the run")
    assert not locks.is_free("of the worker") and locks.row("of the worker")["holder"] == "n1, a worker"
    os.kill(locks.told("of the worker")[0]["pid"], 9)
    locks.wait_free("of the worker", 5)  # its death is known: nobody waits for the lock-delay
    assert locks.told(type="lock_lost") == []


def test_a_node_that_drains_leaves_its_locks_cleanly(locks):
    node = locks.node(processes=1)
    until, run = locks.run({"name": "a"}, unlock=False)
    locks.wait_told("a", "locked", run)
    touch(until)
    locks.rota.wait_history(run)
    assert not locks.is_free("a")
    node.stop()
    assert locks.is_free("a") and locks.rota.value("SELECT count(*) FROM rota.incarnation") == 0


def test_scope_node_is_a_lock_of_one_node_and_of_one_machine(locks):
    locks.node("n1")
    until, run = locks.run({"name": "a", "scope": "node"})
    fence = locks.wait_told("a", "locked", run)["fence"]
    other, second = locks.run({"name": "a", "scope": "node", "wait": "0s"})
    locks.wait_told("a", "lock_failed", second)
    assert locks.is_free("a"), "it is no lock of the cluster"
    touch(until)
    touch(other)
    third_until, third = locks.run({"name": "a", "scope": "node"})
    assert locks.wait_told("a", "locked", third)["fence"] > fence
    touch(third_until)

    name = f"machine-{os.getpid()}-{time.monotonic_ns()}"
    holder = locks.hold(name, options=["--scope", "node"], database_url="host=/nonesuch")
    done = locks.try_now(name, "--scope", "node")
    assert done.returncode == 5 and f"process {holder.process.pid} on this machine" in done.stderr
    waiter = locks.hold(name, began=False, options=["--scope", "node"])
    holder.kill()
    assert waiter.began()[0] > holder.began()[0]
    waiter.let_go()
    assert waiter.ended()[0] == 0


def test_a_thousand_locks_of_one_node_cost_one_connection(locks):
    locks.node(lease="6s", heartbeat="1s")
    backends = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'rota %'"
    before = locks.rota.value(backends)
    until, run = locks.run(*({"name": f"lock {i}", "wait": "30s"} for i in range(1000)))
    wait_until(lambda: len(locks.told(type="locked", run=run)) == 1000, 60, "a thousand locks")
    assert locks.rota.value(backends) == before
    held = "SELECT count(*) FROM rota.metabase_cluster_lock WHERE holder IS NOT NULL"
    assert locks.rota.value(held) == 1000
    assert locks.rota.rows("""SELECT DISTINCT a.application_name LIKE 'rota session n1 %%' FROM pg_locks l JOIN pg_stat_activity a
                              USING (pid) WHERE l.locktype = 'advisory' AND a.datname = current_database()""") == [(True,)]
    oldest = "SELECT min(renewed_at) FROM rota.metabase_cluster_lock"
    first = locks.rota.value(oldest)
    wait_until(lambda: locks.rota.value(oldest) > first, 10, "all to be renewed")
    assert locks.rota.value("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                            "AND application_name LIKE 'rota session%%' AND xact_start < now() - interval '500 ms'") == 0
    touch(until)
    wait_until(lambda: locks.rota.value(held) == 0, 30, "all to be given back")
    assert locks.told(type="lock_lost") == []


def test_no_transaction_is_open_while_a_lock_is_held(locks):
    holder = locks.hold("a")
    for _ in range(5):
        rows = locks.rota.rows("SELECT state, xact_start, backend_xmin FROM pg_stat_activity "
                               "WHERE datname = current_database() AND application_name = 'rota lock'")
        assert [row for row in rows if row[0] != "active"] == [("idle", None, None)]
    holder.let_go()


def test_operators_find_the_lines_they_know(locks):
    done = locks.rota.run("lock", "a", "--log-level", "debug", "--", "true")
    assert "debug Obtained cluster lock: a (exclusive)" in done.stderr
    done = locks.rota.run("lock", "a", "--shared", "--log-level", "debug", "--", "true")
    assert "debug Obtained cluster lock: a (share)" in done.stderr
    node = locks.node(log_level="debug")
    until, run = locks.run({"name": "b"})
    locks.wait_told("b", "locked", run)
    [line] = node.lines("Obtained cluster lock: b (exclusive)", "debug")
    assert line["fence"] == locks.told("b")[0]["fence"] and line["retries"] == 0
    touch(until)
    table = locks.rota.run("get", "locks").stdout.splitlines()
    assert table[0].split() == ["name", "state", "mode", "holder", "fence", "acquired_at"] and len(table) == 3
    assert json.loads(locks.rota.run("get", "locks", "--json").stdout)["total"] == 2


def test_the_examples_of_the_documentation_do_what_they_say(rota):
    steps = [step.split("\n", 1) for block in re.findall(r"^```console\n(.*?)^```", DOCUMENT.read_text(), re.M | re.S)
             for step in block.removeprefix("$ ").split("\n$ ")]
    assert len(steps) == 5
    for command, *written in steps:
        program, *arguments = shlex.split(command)
        done = rota.run(*arguments, check=False)
        assert program == "rota" and done.stdout.strip() == "".join(written).strip() and done.stderr == "", command
        assert done.returncode == (3 if "exit 3" in command else 0)
    [statements] = re.findall(r"^```sql\n(.*?)^```", DOCUMENT.read_text(), re.M | re.S)
    for statement in statements.splitlines():
        rota.db.execute(statement)
    [message] = re.findall(r"^```json\n(.*?)^```", DOCUMENT.read_text(), re.M | re.S)
    assert json.loads(message)["type"] == "lock"


# --- names that nobody uses ---

def sweep(rota):
    return rota.value("SELECT rota.cluster_lock_sweep('1 day')")


def make_old(rota, name):
    rota.db.execute("UPDATE rota.metabase_cluster_lock SET used_at = now() - interval '25 hours', "
                    "acquired_at = acquired_at - interval '25 hours', renewed_at = renewed_at - interval '25 hours' "
                    "WHERE lock_name = %s", (name,))


def names(rota):
    return [row[0] for row in rota.rows("SELECT lock_name FROM rota.metabase_cluster_lock ORDER BY 1")]


def test_names_that_nobody_has_used_for_a_day_are_forgotten_and_fences_go_on(locks):
    for name in "new", "old":
        assert locks.try_now(name).returncode == 0
    dead = locks.hold("dead")
    fence = dead.began()[0]
    dead.kill()
    wait_until(lambda: locks.row("dead")["state"] == "left", 10, "its death")
    make_old(locks.rota, "old"), make_old(locks.rota, "dead")
    assert sweep(locks.rota) == 2 and names(locks.rota) == ["new"]
    assert locks.hold("old").began()[0] > fence


def test_a_name_that_somebody_has_stays_however_it_is_held(locks):
    rota = locks.rota
    for name in "exclusive", "shared", "transaction":
        assert locks.try_now(name).returncode == 0
    holder, sharer = locks.hold("exclusive"), locks.hold("shared", options=["--shared"])
    with psycopg.connect(rota.url) as db:
        db.execute("SELECT rota.cluster_lock('transaction')")
        for name in "exclusive", "shared", "transaction":
            make_old(rota, name)
        assert sweep(rota) == 0 and names(rota) == ["exclusive", "shared", "transaction"]
    assert sweep(rota) == 1
    for one in holder, sharer:
        assert one.let_go().ended()[0] == 0
    assert sweep(rota) == 2
