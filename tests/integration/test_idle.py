"""What a node costs while it has nothing to do: statements, memory, time, size."""

import os
import shutil
import subprocess
import time

import pytest

from fleet import binary
from processes import cpu_seconds, memory_kib, wake_ups
from waiting import wait_for_clock, wait_until

SECONDS = 30 if os.environ.get("ROTA_TEST_FULL") == "1" else 15
HISTORY_S = 15
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def server(pg_server):
    return pg_server


def sanitized():
    with open(binary(), "rb") as file:
        return b"__asan_init" in file.read()


def statements(rota):
    """Statements of nodes so far, this test's own and those of the server's chores left out."""
    return rota.value("""SELECT coalesce(sum(s.calls), 0)::bigint FROM pg_stat_statements s
                           JOIN pg_database d ON d.oid = s.dbid
                          WHERE d.datname = current_database() AND s.query NOT LIKE '%pg_stat%'""")


def transactions(rota):
    rota.db.execute("SELECT pg_stat_force_next_flush()")
    return rota.value("SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()")


def heartbeats(rota):
    return rota.value("""SELECT coalesce(sum(s.calls), 0)::bigint FROM pg_stat_statements s
                           JOIN pg_database d ON d.oid = s.dbid
                          WHERE d.datname = current_database() AND s.query LIKE '%SET renewed_at = clock_timestamp()%'""")


def processes_of(node):
    """Coordinator, guard and built-in worker."""
    found = {"coordinator": node.pid}
    for process in node.workers():
        if " guard" in process.command:
            found["guard"] = process.pid
        elif " worker " in process.command:
            found["built-in worker"] = process.pid
    assert len(found) == 3
    return found


def idle_fleet(rota, count):
    """Nodes with a schedule that has run and is due much later, when all that followed is over."""
    rota.db.execute("CREATE EXTENSION pg_stat_statements")
    nodes = [rota.node(f"n{number}") for number in range(count)]
    rota.apply({"name": "job", "handler": "noop", "triggers": [{"name": "t", "cron": "0 0 0 1 1 ?"}]})
    rota.wait_history(*rota.enqueue("job"))
    before = heartbeats(rota)
    wait_until(lambda: heartbeats(rota) >= before + 3 * count, 30, "heartbeats after the last work")
    return nodes


def test_an_idle_leader_asks_no_more_than_its_heartbeats_and_is_small(rota):
    (node,) = idle_fleet(rota, 1)
    processes = processes_of(node)
    cpu = {name: cpu_seconds(pid) for name, pid in processes.items()}
    before, beats, began = statements(rota), heartbeats(rota), time.time()
    asked = transactions(rota)
    wait_for_clock(began + SECONDS, "some time of nothing")
    calls, beats, took = statements(rota) - before, heartbeats(rota) - beats, time.time() - began
    asked = transactions(rota) - asked
    per_minute = calls * 60 / took
    memory = {name: memory_kib(pid, "RssAnon") for name, pid in processes.items()}
    print(f"idle: {per_minute:.1f} statements a minute ({asked} transactions of all in {took:.0f} s)")
    for name, pid in processes.items():
        print(f"{name}: RssAnon {memory[name]} kB, VmRSS {memory_kib(pid, 'VmRSS')} kB, "
              f"CPU {cpu_seconds(pid) - cpu[name]:.2f} s in {took:.0f} s")
    looks = took / HISTORY_S + 1  # of the leader, after the size of the history
    assert calls - beats <= 1 + looks, "more than heartbeats and looks after the history: the hourly chores may fall into this time, once"
    assert 0 < per_minute <= 40
    for name, pid in processes.items():
        assert cpu_seconds(pid) - cpu[name] < 0.3
        if not sanitized():
            assert memory[name] < 4096, name
    assert node.stop() == 0


def test_each_idle_node_more_costs_the_server_its_heartbeats(rota):
    nodes = idle_fleet(rota, 3)
    before, began = statements(rota), time.time()
    wait_for_clock(began + SECONDS, "some time of nothing")
    per_minute = (statements(rota) - before) * 60 / (time.time() - began)
    print(f"three idle nodes: {per_minute:.1f} statements a minute")
    assert 0 < per_minute <= 3 * 40
    assert [node.stop() for node in nodes] == [0, 0, 0]


def test_an_idle_node_sleeps_between_its_heartbeats(rota):
    """Twice a heartbeat it wakes up, to ask and to hear: no timer looks for what nobody waits for."""
    (node,) = idle_fleet(rota, 1)
    processes = processes_of(node)
    woken = {name: wake_ups(pid) for name, pid in processes.items()}
    before, began = heartbeats(rota), time.time()
    wait_for_clock(began + SECONDS, "some time of nothing")
    beats = heartbeats(rota) - before
    woken = {name: wake_ups(pid) - woken[name] for name, pid in processes.items()}
    print(f"{beats} heartbeats, wake-ups: {woken}")
    assert 0 < woken["coordinator"] <= 3 * beats + 5
    assert woken["guard"] <= beats + 3  # it is told of each lease
    assert woken["built-in worker"] <= 2
    assert node.stop() == 0


def test_a_node_is_as_small_after_work_as_it_should_be(rota, ledger):
    """Memory that grew under load comes down again to a bounded size: nothing is kept for each run."""
    if sanitized():
        pytest.skip("a sanitizer keeps what was freed")
    node = rota.node("n1", slots=64)
    rota.apply({"name": "job", "handler": "noop", "durable": True})
    sizes = []
    for _ in range(4):
        rota.run("enqueue", "job", "--count", "5000")
        wait_until(lambda: rota.value("SELECT NOT EXISTS (SELECT FROM rota.run) AND "
                                      "NOT EXISTS (SELECT FROM rota.receipt)"), 60, "the end of 5,000 runs")
        sizes.append(memory_kib(node.pid, "RssAnon"))
    print(f"RssAnon after each 5,000 runs: {sizes} kB")
    assert sizes[3] - sizes[1] < 512, sizes
    assert sizes[3] < 4096, sizes
    assert node.stop() == 0


def test_the_stripped_binary_is_below_2_mib(tmp_path):
    if sanitized():
        pytest.skip("a sanitizer is part of it")
    copy = str(tmp_path / "rota")
    shutil.copy(binary(), copy)
    subprocess.run(["strip", copy], check=True)
    size = os.path.getsize(copy)
    print(f"stripped: {size} bytes")
    assert size < 2 * MIB
