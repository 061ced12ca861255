"""Workers that break every rule, as real processes of a real node: each harms its own runs and nothing else."""

import json
import os
import pathlib
import signal
import socket
import sys
import threading
import time

import pytest

from processes import look, memory_kib
from waiting import holds_for, wait_until

TAKES_S = 125

LIB = pathlib.Path(__file__).resolve().parents[1] / "lib"
TOKEN = "a-token-of-the-hostile-tests"
JOBS = [{"name": "hostile", "handler": "hostile", "durable": True, "timeout": "1s", "max_crashes": 1},
        {"name": "good", "handler": "good", "durable": True}]
FAST = {"grace": "5s"}  # so that who does not end when told to is killed after half a second


def pool(begin, folder, **more):
    return {"command": [sys.executable, "-S", str(LIB / "hostile_worker.py"), begin, str(folder)], **more}


def good(folder):
    return {"command": [sys.executable, "-S", str(LIB / "odd_worker.py"), "good", "4", str(folder / "seen")]}


@pytest.fixture
def node(rota, tmp_path):
    rota.apply(*JOBS)
    return rota.node("n1", pools={"bad": pool("well", tmp_path), "good": good(tmp_path)}, **FAST)


def do(rota, name, **more):
    [run] = rota.enqueue("hostile", "--data", json.dumps({"do": name, **more}))
    return run


def assert_others_are_served(rota, limit=5):
    """Twenty runs of another worker, one after the other, as quick as ever; and the lease is renewed."""
    begun = time.monotonic()
    for run in rota.enqueue("good", "--count", "20"):
        assert rota.wait_history(run, limit)["status"] == "success"
    assert time.monotonic() - begun < limit
    assert rota.value("SELECT bool_and(lease_until > clock_timestamp() + '5 s') FROM rota.incarnation")


def wait_served_again(rota):
    """The place of the hostile worker is filled again."""
    assert rota.wait_history(do(rota, "answer"), 40)["status"] == "success"


@pytest.mark.parametrize("name", ["exit", "exit in mid-line", "die in mid-line"])
def test_death_at_any_step_is_a_crash_and_so_many_are_poison(rota, node, name):
    rota.apply({**JOBS[0], "max_crashes": 2}, JOBS[1])
    run = do(rota, name)
    row = rota.wait_history(run, 40)
    assert row["status"] == "failed" and row["outcome"] == "poison"
    assert len(node.lines("worker ended", "warn")) == 2
    assert_others_are_served(rota)


def test_an_answer_with_the_last_breath_counts(rota, node):
    assert rota.wait_history(do(rota, "answer and exit"))["status"] == "success"
    wait_served_again(rota)


@pytest.mark.parametrize("name", ["never answer", "stop itself", "close its output", "ignore everything"])
def test_who_does_not_answer_is_ended_at_the_end_of_its_time(rota, node, name):
    [worker] = [entry["pid"] for entry in node.lines("worker ready") if entry["pool"] == "bad"]
    run = do(rota, name)
    assert_others_are_served(rota)
    assert rota.wait_history(run, 15)["outcome"] == "timeout"
    wait_until(lambda: look(worker) is None, 10, "the end of the worker")
    wait_served_again(rota)


def test_who_closes_both_ends_is_ended_at_once(rota, node):
    row = rota.wait_history(do(rota, "close both"), 40)
    assert row["status"] == "failed" and "closed its channel and lived on" in json.dumps(row["details"])


@pytest.mark.parametrize("name", ["leave a child", "leave a daemon", "leave a daemon and hang"])
def test_what_a_worker_leaves_behind_is_swept(rota, node, tmp_path, name):
    run = do(rota, name)
    left = tmp_path / ("child" if name == "leave a child" else "daemon")
    wait_until(left.exists, 10, "the process to begin")
    assert rota.wait_history(run, 40)["status"] == "failed"
    wait_until(lambda: look(int(left.read_text())) is None, 5, "its end")
    assert_others_are_served(rota)


def groups_of(node):
    """The folder of its control groups."""
    found = node.lines("workers have control groups")
    if not found or not found[0]["kill"]:
        pytest.skip("no control groups of version 2 with cgroup.kill can be made here")
    return pathlib.Path(found[0]["path"])


def group_of(pid):
    """Where a process is by its own account."""
    with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
        return [line[3:].strip() for line in file if line.startswith("0::")]


def test_what_forks_on_and_on_ends_with_the_group_of_its_worker(rota, node, tmp_path):
    groups, count = groups_of(node), tmp_path / "count"
    [worker] = [entry["pid"] for entry in node.lines("worker ready") if entry["pool"] == "bad"]
    [group] = groups.glob("bad.*")
    assert (group / "cgroup.procs").read_text().split() == [str(worker)]
    run = do(rota, "run away")
    wait_until(lambda: count.exists() and int(count.read_text() or 0) > 100, 10, "many generations")
    assert rota.wait_history(run, 15)["outcome"] == "timeout"
    assert look(worker) is None and not group.exists()  # the kernel removes none with a process in it
    last = count.read_text()
    holds_for(lambda: count.read_text() == last, 0.3, "no more generations")
    wait_served_again(rota)
    assert_others_are_served(rota)


def test_the_groups_of_a_killed_node_are_ended_and_removed(rota, node, tmp_path):
    groups = groups_of(node)
    do(rota, "leave a daemon and hang")
    wait_until((tmp_path / "daemon").exists, 10, "the process to begin")
    node.kill()
    wait_until(lambda: not groups.exists(), 5, "the groups to be removed")
    assert look(int((tmp_path / "daemon").read_text())) is None


def test_what_a_node_left_that_died_with_its_guard_ends_at_the_next_start(rota, node, tmp_path):
    groups = groups_of(node)
    do(rota, "leave a stranger and hang")
    wait_until((tmp_path / "daemon").exists, 10, "the process to begin")
    stranger = int((tmp_path / "daemon").read_text())
    wait_until(lambda: look(stranger).command == "sleep 3600", 10, "the last trace of its worker to be gone")
    [guard] = [process for process in node.workers() if " guard " in process.command]
    node.send(signal.SIGSTOP)
    guard.kill()
    node.kill()
    assert groups.exists()
    rota.node("n1", cgroup="auto")
    assert not groups.exists() and look(stranger) is None


def test_the_log_says_once_who_holds_the_limits_of_pools(rota, tmp_path):
    limits = {"memory": "1GiB", "processes": 5000}
    node = rota.node("n1", pools={"bad": pool("well", tmp_path, limits=limits, processes=2)}, **FAST)
    groups_of(node)
    [line] = node.lines("workers have control groups", "info")
    assert {line["memory"], line["processes"]} <= {"control group", "rlimit"} and line["why"]
    [group, _] = pathlib.Path(line["path"]).glob("bad.*")
    for name, file, limit in (("memory", "memory.max", 1 << 30), ("processes", "pids.max", 5000)):
        assert line[name] == "rlimit" or (group / file).read_text() == f"{limit}\n"


def test_a_node_told_so_makes_no_control_groups(rota, tmp_path):
    node = rota.node("n1", pools={"bad": pool("well", tmp_path)}, cgroup="off", log_level="debug", **FAST)
    node.wait_for_line("worker ready", count=2)
    assert not node.lines("control group")
    assert [group_of(pid) for pid in node.worker_pids()] == [group_of("self")] * 2


def test_a_folder_that_is_no_control_group_is_refused_at_the_start(rota, tmp_path):
    node = rota.node("n1", ready=False, cgroup=str(tmp_path))
    assert node.wait() == 1
    [line] = node.lines("the setting cgroup cannot be met", "error")
    assert line["error"] == f"{tmp_path} is no control group of version 2"


LINES = {
    "no JSON": b"Traceback (most recent call last):",
    "bad UTF-8": b'{"type":"log","id":1,"fence":1,"message":"\xff\xfe"}',
    "a NUL": b'{"type":"log"\0}',
    "an array": b"[1,2,3]",
    "no type": b"{}",
    "a done without id": b'{"type":"done"}',
    "an id that is a text": b'{"type":"done","id":"1","fence":1}',
    "an id beyond all": b'{"type":"done","id":99999999999999999999,"fence":1}',
    "details that are a list": b'{"type":"done","id":1,"fence":1,"details":[]}',
    "a for that is none": b'{"type":"snooze","id":1,"fence":1,"for":"soon"}',
    "a hello of tomorrow": b'{"type":"hello","protocol":2,"handlers":["hostile"]}',
    "too many handlers": b'{"type":"hello","protocol":1,"handlers":["h"' + b',"h"' * 256 + b"]}",
}


def test_a_line_that_is_no_message_ends_its_worker_with_one_clear_line(rota, tmp_path):
    rota.apply(*JOBS)
    node = rota.node("n1", pools={"bad": pool("well", tmp_path, processes=len(LINES)), "good": good(tmp_path)}, **FAST)
    node.wait_for_line("worker ready", count=len(LINES) + 2)
    runs = {what: do(rota, "line", hex=line.hex()) for what, line in LINES.items()}
    for what, run in runs.items():
        row = rota.wait_history(run, 40)
        assert row["outcome"] == "poison", (what, row)
        assert "no message" in row["details"]["message"] or "protocol 2" in row["details"]["message"], what
    lines = node.lines("worker ended", "warn")
    assert len(lines) == len(LINES) and all(line["pool"] == "bad" for line in lines)
    assert_others_are_served(rota)


@pytest.mark.parametrize("name", ["line without end", "nest"])
def test_what_has_no_end_is_bounded(rota, node, name):
    row = rota.wait_history(do(rota, name), 40)
    assert row["outcome"] == "poison"
    assert memory_kib(node.pid, "RssAnon") < 64 * 1024
    assert_others_are_served(rota)


FLOODS = {"log": '{"type":"log",IDS,"message":"flood"}', "progress": '{"type":"progress",IDS,"fraction":0.5}',
          "checkpoint": '{"type":"checkpoint",IDS,"data":{"n":1}}', "nothing": "", "unknown": '{"type":"what?"}',
          "hello": '{"type":"hello","protocol":1,"handlers":["hostile","a"]}\n'
                   '{"type":"hello","protocol":1,"handlers":["hostile","b"]}',
          "answers to nobody": '{"type":"done","id":999999,"fence":1}', "lease": '{"type":"lease","ref":1}',
          "lock": '{"type":"lock","ref":1,"name":"flooded"}', "unlock": '{"type":"unlock","ref":1}'}


@pytest.mark.parametrize("what", FLOODS)
def test_a_flood_delays_neither_the_runs_of_others_nor_the_lease(rota, node, what):
    run = do(rota, "flood", line=FLOODS[what])
    wait_until(lambda: rota.rows("SELECT FROM rota.run WHERE id = %s AND state = 'started'", run), 10, "its begin")
    assert_others_are_served(rota)
    assert rota.wait_history(run, 20)["outcome"] == "timeout"
    assert memory_kib(node.pid, "RssAnon") < 64 * 1024
    wait_served_again(rota)


def test_lies_about_runs_change_nothing(rota, node):
    [other] = rota.enqueue("good", "--data", '{"do": "sleep", "seconds": 2}')
    wait_until(lambda: rota.rows("SELECT FROM rota.run WHERE id = %s AND state = 'started'", other), 10, "its begin")
    [fence] = [row[0] for row in rota.rows("SELECT fence FROM rota.run WHERE id = %s", other)]
    row = rota.wait_history(do(rota, "lie", other=[other, fence]))
    assert row["status"] == "success" and row["details"]["which"] == "first"
    assert rota.history(other) is None
    assert rota.wait_history(other)["status"] == "success"
    assert not node.lines("worker ended")


HUNGRY = {"eat memory": ({"memory": "64MiB"}, "status 1"), "eat processor time": ({"cpu_seconds": 1}, "SIGXCPU"),
          "open files": ({"files": 32}, "status 1")}


@pytest.mark.parametrize("name", HUNGRY)
def test_a_limit_of_its_pool_stops_a_worker_that_takes_too_much(rota, tmp_path, name):
    limits, end = HUNGRY[name]
    rota.apply({**JOBS[0], "timeout": "60s"}, JOBS[1])
    node = rota.node("n1", pools={"bad": pool("well", tmp_path, limits=limits), "good": good(tmp_path)}, cgroup="off",
                     **FAST)
    row = rota.wait_history(do(rota, name), 40)
    assert row["outcome"] == "poison" and end in json.dumps(row["details"])
    assert_others_are_served(rota)
    assert memory_kib(node.pid, "RssAnon") < 64 * 1024


def test_limits_are_those_of_the_worker_from_its_beginning(rota, tmp_path):
    limits = {"memory": "1GiB", "cpu_seconds": 3600, "files": 100, "processes": 5000}
    node = rota.node("n1", pools={"bad": pool("well", tmp_path, limits=limits), "good": good(tmp_path)}, cgroup="off",
                     **FAST)
    node.wait_for_line("worker ready", count=3)
    pids = {entry["pool"]: entry["pid"] for entry in node.lines("worker ready")}

    def limit(name, text):
        with open(f"/proc/{pids[name]}/limits", encoding="ascii") as file:
            [line] = [line for line in file if line.startswith(text)]
        return line[len(text):].split()[:2]

    assert limit("bad", "Max data size") == [str(1 << 30)] * 2
    assert limit("bad", "Max cpu time") == ["3600", "3601"]
    assert limit("bad", "Max open files") == ["100"] * 2
    assert limit("bad", "Max processes") == ["5000"] * 2
    assert limit("good", "Max data size") == ["unlimited"] * 2
    with open(f"/proc/{pids['bad']}/status", encoding="ascii") as file:
        assert "NoNewPrivs:\t1" in file.read()


def test_workers_that_never_begin_well_are_tried_with_pauses(rota, tmp_path):
    rota.apply(*JOBS)
    begins = ["exits", "exits in mid-hello", "is silent", "talks nonsense", "answers first", "has no slots"]
    pools = {begin.replace(" ", "-"): pool(begin, tmp_path) for begin in begins}
    node = rota.node("n1", pools={**pools, "good": good(tmp_path)}, **FAST)
    assert_others_are_served(rota)
    wait_until(lambda: {line["pool"] for line in node.lines("worker ended")} >= set(pools) - {"is-silent"}, 20)
    wait_until(lambda: any("hello within 10 s" in line["reason"] for line in node.lines("worker ended")), 20)
    assert all(len([line for line in node.lines("worker ended") if line["pool"] == name]) < 12 for name in pools)
    assert_others_are_served(rota)
    assert node.stop() == 0


# --- over a socket ---

@pytest.fixture
def open_node(rota, tmp_path):
    rota.apply(*JOBS)
    node = rota.node("n1", pools={"good": good(tmp_path)}, worker_listen="127.0.0.1:0", worker_token=TOKEN, **FAST)
    host, port = node.wait_for_line("listening for workers")["address"].rsplit(":", 1)
    node.address = (host, int(port))
    return node


class Guest:
    """A connection, as a worker makes it."""

    def __init__(self, address, token=TOKEN, **hello):
        self.socket = socket.create_connection(address, timeout=20)
        if token is not None:
            self.say(type="hello", protocol=1, handlers=["hostile"], token=token, **hello)
        self.lines = self.socket.makefile("rb")

    def say(self, **message):
        self.socket.sendall(json.dumps(message).encode() + b"\n")

    def hears(self, kind):
        for line in self.lines:
            message = json.loads(line)
            if message["type"] == kind:
                return message
        raise AssertionError(f"the connection ended, {kind} was waited for")

    def is_cut_off(self, limit=20):
        self.socket.settimeout(limit)
        try:
            return self.socket.recv(65536) == b"" or self.is_cut_off(limit)
        except ConnectionError:
            return True

    def close(self):
        self.lines.close()
        self.socket.close()


def test_thousands_of_connections_keep_no_worker_out(rota, open_node):
    crowd = [Guest(open_node.address, token=None) for _ in range(400)]
    assert_others_are_served(rota)
    worker = Guest(open_node.address)
    worker.hears("welcome")
    stop = threading.Event()

    def knock():
        while not stop.is_set():
            try:
                Guest(open_node.address, token=None).close()
            except OSError:
                pass

    knocking = [threading.Thread(target=knock) for _ in range(4)]
    for thread in knocking:
        thread.start()
    try:
        assert_others_are_served(rota, 15)
        run = do(rota, "x")
        heard = worker.hears("run")
        worker.say(type="done", id=heard["id"], fence=heard["fence"])
        assert rota.wait_history(run)["status"] == "success"
    finally:
        stop.set()
        for thread in knocking:
            thread.join()
    for guest in [*crowd, worker]:
        guest.close()
    assert len(os.listdir(f"/proc/{open_node.pid}/fd")) < 150
    assert len(open_node.lines("a connection of a worker was refused")) < 60


def test_workers_that_come_and_go_without_end_delay_no_heartbeat(rota, open_node):
    """The fleet is told of handlers that come and go, over the connection of the heartbeat: here a slow one."""
    rota.db.execute("CREATE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql AS "
                    "$$ BEGIN PERFORM pg_sleep(0.03); RETURN NEW; END $$")
    rota.db.execute("CREATE TRIGGER slow BEFORE UPDATE OF handlers ON rota.incarnation EXECUTE FUNCTION public.slow()")
    stop, came = threading.Event(), []

    def come_and_go(number):
        while not stop.is_set():
            guest = Guest(open_node.address, token=None)
            guest.say(type="hello", protocol=1, handlers=[f"h{number}-{len(came)}"], token=TOKEN)
            guest.hears("welcome")
            guest.close()
            came.append(number)

    threads = [threading.Thread(target=come_and_go, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        holds_for(lambda: rota.value("SELECT lease_until > clock_timestamp() + '5 s' FROM rota.incarnation"), 8)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert len(came) > 100
    worker = Guest(open_node.address, token=None)
    worker.say(type="hello", protocol=1, handlers=["last"], token=TOKEN)
    wait_until(lambda: rota.value("SELECT handlers @> '{last}' FROM rota.incarnation"), 5)
    worker.close()


def test_a_hello_that_drips_and_a_connection_that_is_silent_are_cut_off(rota, open_node):
    silent, dripping = Guest(open_node.address, token=None), Guest(open_node.address, token=None)
    begun = time.monotonic()

    def drip():
        try:
            for letter in '{"type":"hello","protocol":1,' + " " * 1000:
                dripping.socket.sendall(letter.encode())
                time.sleep(0.05)
        except OSError:
            pass

    thread = threading.Thread(target=drip)
    thread.start()
    assert_others_are_served(rota)
    assert silent.is_cut_off() and dripping.is_cut_off()
    assert 9 < time.monotonic() - begun < 15
    thread.join()


def test_who_guesses_tokens_is_not_listened_to(rota, open_node):
    for number in range(12):
        guest = Guest(open_node.address, token=f"guess-number-{number}-of-many")
        reason = guest.hears("refused")["reason"]
        guest.close()
    assert "too many wrong tokens" in reason
    assert_others_are_served(rota)
    assert "guess-number" not in open_node.text() and TOKEN not in open_node.text()

    def comes_in():
        guest = Guest(open_node.address)
        try:
            return json.loads(guest.lines.readline())["type"] == "welcome"
        finally:
            guest.close()

    wait_until(comes_in, 20, "the address to be listened to again", pause=0.5)


def test_a_connection_that_vanishes_gives_its_runs_to_another(rota, open_node):
    rota.apply({**JOBS[0], "max_crashes": 3}, JOBS[1])
    first = Guest(open_node.address, slots=2)
    first.hears("welcome")
    run = do(rota, "x")
    heard = first.hears("run")
    first.close()
    second = Guest(open_node.address)
    again = second.hears("run")
    assert again["id"] == heard["id"] == run and again["fence"] != heard["fence"]
    second.say(type="done", id=heard["id"], fence=heard["fence"])  # the fence of the first: nobody's
    holds_for(lambda: rota.history(run) is None, 0.3)
    second.say(type="done", id=again["id"], fence=again["fence"])
    assert rota.wait_history(run)["status"] == "success"
    second.close()


def test_a_guest_that_does_not_end_a_run_is_cut_off(rota, open_node):
    guest = Guest(open_node.address)
    guest.hears("welcome")
    run = do(rota, "x")
    guest.hears("cancel")
    assert guest.is_cut_off()
    assert rota.wait_history(run)["outcome"] == "timeout"
    guest.close()


def test_a_guest_that_floods_delays_nobody(rota, open_node):
    guest = Guest(open_node.address)
    guest.hears("welcome")
    run = do(rota, "x")
    ids = {key: value for key, value in guest.hears("run").items() if key in ("id", "fence")}
    line = json.dumps({"type": "progress", **ids, "fraction": 0.5}).encode() + b"\n"

    def flood():
        try:
            while True:
                guest.socket.sendall(line * 1000)
        except OSError:
            pass

    thread = threading.Thread(target=flood)
    thread.start()
    assert_others_are_served(rota)
    assert rota.wait_history(run, 20)["outcome"] == "timeout"
    thread.join(20)
    guest.close()


def test_an_exclusive_run_is_never_at_two_places_when_a_guest_vanishes(rota, tmp_path):
    """Who honours the lease gets it; after the end of his connection nobody has it before his lease is over."""
    rota.apply({**JOBS[0], "timeout": "60s", "max_crashes": 3, "disallow_concurrent": True})
    node = rota.node("n1", worker_listen=f"unix:{tmp_path}/s", lease="4s", heartbeat="1s", **FAST)

    def connect():
        guest = Guest.__new__(Guest)
        guest.socket = socket.socket(socket.AF_UNIX)
        guest.socket.settimeout(20)
        guest.socket.connect(f"{tmp_path}/s")
        guest.lines = guest.socket.makefile("rb")
        return guest

    plain = connect()
    plain.say(type="hello", protocol=1, handlers=["hostile"])
    plain.hears("welcome")
    run = do(rota, "x")
    holds_for(lambda: rota.rows("SELECT state FROM rota.run WHERE id = %s", run) == [("pending",)], 1)
    plain.close()
    first = connect()
    first.say(type="hello", protocol=1, handlers=["hostile"], honours_lease=True)
    first.hears("run")
    valid_until = time.monotonic() + first.hears("lease")["valid_ms"] / 1000
    first.close()
    second = connect()
    second.say(type="hello", protocol=1, handlers=["hostile"], honours_lease=True)
    again = second.hears("run")
    assert time.monotonic() > valid_until - 1.1, "it may have been renewed once more, but not before"
    second.say(type="done", id=again["id"], fence=again["fence"])
    assert rota.wait_history(run)["status"] == "success"
    second.close()
    assert node.stop() == 0
