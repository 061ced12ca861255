"""Cluster locks when something dies: what held one is ended before anybody else has it, the lock-delay is
kept, and a loss is told. Each test kills, stops or cuts off something else."""

import os
import pty
import select
import signal
import threading
import time

import psycopg
import pytest

from fleet import binary, environment
from locks import Locks, touch
from processes import descendants, look
from waiting import holds_for, wait_until

DELAY_S = 3
DELAY = ["--lock-delay", f"{DELAY_S}s"]
STUBBORN = "trap '' TERM HUP INT; setsid sh -c 'trap \"\" TERM; while :; do date +%s.%N > $0.alive; sleep 0.02; done' $0 & " \
           "while :; do sleep 0.1; done"


@pytest.fixture
def locks(rota, tmp_path):
    made = Locks(rota, tmp_path)
    yield made
    made.close()


def last_breath(holder):
    """When what CMD had started was last alive."""
    with open(holder.name + ".alive", encoding="utf-8") as file:
        return float(file.read() or 0)


def hold_stubbornly(locks, name, **options):
    """A CMD that ignores signals, with a child in a session of its own."""
    holder = locks.hold(name, script=STUBBORN, **options)
    wait_until(lambda: look(holder.began()[2]) and _exists(holder), 10, "its child to live")
    return holder


def _exists(holder):
    try:
        return last_breath(holder) > 0
    except OSError:
        return False


def wait_in_line(locks, name, **options):
    """A holder that comes next; its wait is long."""
    return locks.hold(name, began=False, options=["--wait", "60s", *options.pop("options", [])], **options)


def asks(rota):
    """Whether who came last has asked for his lock: before that a lost connection ends him."""
    newest = rota.rows("SELECT query LIKE '%%cluster_lock_try%%' FROM pg_stat_activity WHERE datname = current_database() "
                       "AND application_name = 'rota lock' ORDER BY backend_start DESC")
    return len(newest) > 1 and newest[0][0]


def assert_comes_next(following, before, least=None, most=None):
    """After the one before and all it had started were dead, under a greater fence. `least`: seconds since
    when, at least."""
    fence, at, _ = following.began(30)
    assert fence > before.began()[0]
    assert at > last_breath(before), "overlap"
    if least is not None:
        since, seconds = least
        assert at - since >= seconds, f"after {at - since} s"
    if most is not None:
        since, seconds = most
        assert at - since <= seconds, f"after {at - since} s"
    following.let_go()
    assert following.ended()[0] == 0


def sessions(rota, name):
    return [row[0] for row in rota.rows("SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
                                        "AND application_name LIKE %s", name)]


def test_a_killed_holder_keeps_the_lock_for_the_lock_delay(locks):
    holder = hold_stubbornly(locks, "a", options=DELAY)
    following = wait_in_line(locks, "a")
    wait_until(lambda: sessions(locks.rota, "rota lock")[1:], 10)
    killed = time.time()
    holder.kill()
    wait_until(lambda: look(holder.began()[2]) is None, 5, "CMD to die with who held the lock")
    row = locks.row("a")
    assert row["state"] == "left" and row["fence"] == holder.began()[0]
    done = locks.try_now("a")
    assert done.returncode == 5 and f"process {holder.process.pid}" in done.stderr
    assert locks.sql("a") is None and locks.try_now("a", "--shared").returncode == 5
    assert_comes_next(following, holder, least=(killed, DELAY_S), most=(killed, DELAY_S + 3))


def test_a_transaction_waits_for_the_lock_delay_too(locks):
    holder = locks.hold("a", options=DELAY)
    killed = time.time()
    holder.kill()
    with psycopg.connect(locks.rota.url, application_name="billing") as db:
        assert db.execute("SELECT rota.cluster_lock('a', '20 s')").fetchone()[0] > holder.began()[0]
        assert DELAY_S <= time.time() - killed < DELAY_S + 3
        wait_until(lambda: "billing" in locks.row("a")["holder"], 15, "the dead holder to be forgotten")


def test_without_a_lock_delay_the_next_one_comes_at_once(locks):
    holder = locks.hold("a", options=["--lock-delay", "0s"])
    holder.kill()
    locks.wait_free("a", 2)


def test_shared_holders_that_died_keep_exclusive_ones_out_alone(locks):
    holder, other = locks.hold("a", options=["--shared", *DELAY]), locks.hold("a", options=["--shared"])
    killed = time.time()
    holder.kill()
    assert locks.is_free("a", "--shared")
    other.let_go()
    assert other.ended()[0] == 0
    assert not locks.is_free("a")
    locks.wait_free("a")
    assert time.time() - killed >= DELAY_S and locks.row("a")["shared_by"] == []


def test_a_lost_session_ends_cmd_and_frees_the_lock(locks):
    """CMD is known to be dead: the next one need not wait for the lock-delay."""
    holder = hold_stubbornly(locks, "a", options=["--lock-delay", "20s"])
    [pid] = sessions(locks.rota, "rota lock")
    following = wait_in_line(locks, "a")
    ended = time.time()
    locks.rota.value("SELECT pg_terminate_backend(%s)", pid)
    code, said = holder.ended()
    assert code == 1 and "cluster lock lost: a: the connection to the database was lost: CMD was killed" in said
    assert look(holder.began()[2]) is None
    assert_comes_next(following, holder, most=(ended, 8))


def test_a_holder_that_is_stopped_loses_cmd_before_anybody_else_has_the_lock(locks):
    holder = hold_stubbornly(locks, "a", options=DELAY)
    following = wait_in_line(locks, "a")
    stopped = time.time()
    holder.kill(signal.SIGSTOP)
    assert_comes_next(following, holder, least=(stopped, DELAY_S), most=(stopped, 3 * DELAY_S))
    holder.kill(signal.SIGCONT)
    code, said = holder.ended()
    assert code == 1 and "lost" in said


def test_a_guard_that_is_killed_takes_cmd_along(locks):
    holder = hold_stubbornly(locks, "a")
    [guard] = [process for process in descendants(holder.process.pid) if "sh" not in process.command.split()[0:1]
               and look(process.pid) and process.command.startswith(("rota", "/"))][:1]
    guard.kill()
    code, said = holder.ended()
    assert code == 1 and "guard was killed" in said
    assert look(holder.began()[2]) is None and locks.is_free("a")
    assert_comes_next(wait_in_line(locks, "a"), holder)


def test_signals_are_for_cmd(locks):
    holder = locks.hold("a", first="trap 'echo term > $0.term; exit 9' TERM", script="while :; do sleep 0.02; done")
    holder.kill(signal.SIGTERM)
    assert holder.ended()[0] == 9 and locks.is_free("a")
    with open(holder.name + ".term", encoding="utf-8") as file:
        assert file.read() == "term\n"
    first = locks.hold("a")
    waiting = wait_in_line(locks, "a")
    wait_until(lambda: sessions(locks.rota, "rota lock")[1:], 10)
    waiting.kill(signal.SIGINT)
    assert waiting.ended()[0] == 128 + signal.SIGINT and not waiting.has_begun()
    first.let_go()


def test_a_terminal_is_cmds(locks):
    """It reads what is typed; Ctrl-C ends it, Ctrl-Z does not make it sleep on the lock."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(binary(), ["rota", "lock", "a", "--", "cat"], environment(database_url=locks.rota.url))
    seen = b""

    def shows(text):
        nonlocal seen
        seen += os.read(terminal, 1000) if select.select([terminal], [], [], 0)[0] else b""
        return text in seen

    wait_until(lambda: not locks.is_free("a"), 10)
    for number, typed in enumerate((b"one", b"two")):
        os.write(terminal, typed + b"\n")
        wait_until(lambda text=typed: shows(text + b"\r\n" + text), 10, lambda: f"what was typed: {seen}")
        if number == 0:
            os.write(terminal, b"\x1a")
    os.write(terminal, b"\x03")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 128 + signal.SIGINT
    os.close(terminal)
    assert locks.is_free("a")


def test_a_row_cleared_by_hand_is_a_loss(locks):
    holder = hold_stubbornly(locks, "a", options=DELAY)
    locks.rota.db.execute("UPDATE rota.metabase_cluster_lock SET holder = NULL, fence = NULL, acquired_at = NULL, mode = NULL")
    code, said = holder.ended()
    assert code == 1 and "is not ours any more" in said
    assert_comes_next(wait_in_line(locks, "a"), holder)


def test_a_locked_row_stops_neither_the_holder_nor_its_node(locks):
    node = locks.node(lease="4s", heartbeat="1s")
    until, run = locks.run({"name": "a"})
    locks.wait_told("a", "locked", run)
    with psycopg.connect(locks.rota.url) as db:
        db.execute("SELECT FROM rota.metabase_cluster_lock FOR UPDATE")
        holds_for(lambda: locks.told(type="lock_lost") == [] and node.http("/readyz")[0] == 200, 7)
    touch(until)
    locks.wait_free("a")


def test_a_killed_node_keeps_its_locks_for_the_lock_delay(locks):
    node = locks.node("n1", lease="4s", heartbeat="1s", lock_delay=f"{DELAY_S}s")
    _, run = locks.run({"name": "a"})
    told = locks.wait_told("a", "locked", run)
    following = wait_in_line(locks, "a")
    wait_until(lambda: sessions(locks.rota, "rota lock"), 10)
    killed = time.time()
    node.kill()
    wait_until(lambda: look(told["pid"]) is None, 5, "the worker to die")
    fence, at, _ = following.began(20)
    assert fence > told["fence"] and DELAY_S <= at - killed <= DELAY_S + 4
    following.let_go()


def test_a_node_that_is_stopped_loses_the_workers_that_hold_locks(locks):
    """Its guard ends them with the lease; others go on."""
    node = locks.node("n1", lease="3s", heartbeat="500ms", processes=2)
    _, run = locks.run({"name": "a"})
    told = locks.wait_told("a", "locked", run)
    workers = [process.pid for process in descendants(node.process.pid) if "lock_worker.py" in process.command]
    assert told["pid"] in workers and len(workers) == 2
    following = wait_in_line(locks, "a")
    stopped = time.time()
    node.send(signal.SIGSTOP)
    wait_until(lambda: look(told["pid"]) is None, 6, "the worker to be ended by the guard")
    died = time.time()
    assert look(next(pid for pid in workers if pid != told["pid"])) is not None
    assert following.began(20)[1] > died - 0.1 and following.began()[1] - stopped >= 3
    node.send(signal.SIGCONT)
    following.let_go()


def test_a_worker_is_told_when_its_locks_are_lost(locks):
    """Nothing is taken again by itself; what the worker asks for anew it gets after the lock-delay."""
    node = locks.node("n1", lease="3s", heartbeat="500ms")
    until, run = locks.run({"name": "a"}, {"name": "b", "shared": True}, {"name": "n", "scope": "node"})
    fence = locks.wait_told("a", "locked", run)["fence"]
    locks.wait_told("b", "locked", run)
    began = time.time()
    for pid in sessions(locks.rota, "rota session%"):
        locks.rota.value("SELECT pg_terminate_backend(%s)", pid)
    assert locks.wait_told("a", "lock_lost", run, 2)["at"] - began < 1
    locks.wait_told("b", "lock_lost", run, 2)
    again, second = locks.run({"name": "a", "wait": "20s"})
    told = locks.wait_told("a", "locked", second, 20)
    assert told["fence"] > fence and told["at"] - began >= 2.5
    assert len(node.lines("cluster lock lost", "error")) == 2 and locks.told("n", "lock_lost") == []
    assert locks.told("a", "locked", run)[1:] == []
    touch(until)
    touch(again)
    locks.wait_free("a")


class TestServer:
    """With a server of their own, which is restarted."""

    @pytest.fixture
    def server(self, pg_server):
        return pg_server

    def test_a_restart_of_the_server_loses_all_locks(self, rota, locks, pg_server):
        rota.run("lock", "z", "--", "true")
        holder = hold_stubbornly(locks, "a", options=DELAY)
        locks.node("n1", lease="4s", heartbeat="1s")
        until, run = locks.run({"name": "b"})
        told = locks.wait_told("b", "locked", run)
        fence = max(told["fence"], holder.began()[0])
        pg_server.stop(signal.SIGQUIT)
        code, said = holder.ended()
        assert code == 1 and "CMD was killed" in said
        locks.wait_told("b", "lock_lost", run)
        pg_server.start()
        rota.reconnect()
        start = rota.value("SELECT extract(epoch FROM pg_postmaster_start_time())::float")
        assert locks.is_free("z"), "a lock that nobody held is free at once"
        following = wait_in_line(locks, "a")
        higher, at, _ = following.began(20)
        assert higher > fence + 2**20 - 1 and at >= start + DELAY_S
        following.let_go()
        locks.wait_free("b", 20)
        touch(until)

    def test_waiting_outlasts_a_restart(self, rota, locks, pg_server):
        holder = hold_stubbornly(locks, "a", options=DELAY)
        following = wait_in_line(locks, "a")
        wait_until(lambda: asks(rota), 10, "the second one to ask for it")
        pg_server.stop(signal.SIGINT)
        pg_server.start()
        rota.reconnect()
        assert_comes_next(following, holder)

    def test_many_first_draws_after_a_restart_give_each_fence_once(self, rota, locks, pg_server):
        before = locks.sql("a")
        pg_server.stop(signal.SIGINT)
        pg_server.start()
        found, threads = [], []
        for i in range(12):
            threads.append(threading.Thread(target=lambda name=f"n{i}": found.append(locks.sql(name))))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(found)) == 12 and min(found) > before + 2**20 and max(found) < before + 2**20 + 100
        rota.reconnect()
