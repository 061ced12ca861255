"""The workers of deploy/examples, in C, Python and Node: started by a node, connected to one by Unix socket and
by TCP, and line by line with a test that speaks for the node."""

import json
import os
import pathlib
import select
import signal
import socket
import subprocess
import sys
import time

import pytest

from fleet import environment
from processes import die_with_parent
from waiting import holds_for, wait_until

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BIN = REPOSITORY / "deploy" / "examples" / "bin"
BUILD = pathlib.Path(os.environ.get("ROTA_BINARY", REPOSITORY / "build/cmd/rota")).resolve().parents[1]
TOKEN = "a-token-of-the-examples-tests"
PAGES = {"handler": "import-pages", "good": {"pages": 3}, "bad": {"pages": 3, "bad_page": 1},
         "long": {"pages": 1000000, "page_ms": 5}, "slots": 4, "exception": {"ValueError", "BadData"},
         "details": lambda details: details["pages"] == 3}
WORKERS = {
    "c": {"command": [str(BUILD / "tests" / "example_worker")], "handler": "primes", "good": {"limit": 10000},
          "bad": {"limit": 0}, "long": {"limit": 10**12}, "slots": 1, "exception": {"BadData"},
          "details": lambda details: details["primes"] == 1229},
    "python": {"command": [sys.executable, str(BIN / "pages.py")], **PAGES},
    "node": {"command": ["node", str(BIN / "pages.js")], **PAGES},
}


@pytest.fixture(params=WORKERS)
def example(request):
    return WORKERS[request.param]


# --- the node's part, played by the test ---

class Spoken:
    """A worker with the test at the other end of its standard input and output, or of its socket."""

    def __init__(self, command, path=None):
        self.rest, self.valid_ms = b"", 60000
        settings = {}
        if path is not None:
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(path)
            listener.listen(4)
            settings["ROTA_WORKER_SOCKET"] = f"unix:{path}"
        self.listener = listener if path is not None else None
        pipe = subprocess.PIPE if path is None else subprocess.DEVNULL
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment(**settings),
                                        preexec_fn=die_with_parent)
        self.accept()

    def accept(self):
        if self.listener is None:
            self.input, self.output = self.process.stdout.fileno(), self.process.stdin.fileno()
        else:
            self.listener.settimeout(20)
            self.connection, _ = self.listener.accept()
            self.input = self.output = self.connection.fileno()
        self.rest = b""

    def hears(self, kind, limit=20, **members):
        """The next message of this type and with these members; others are passed over."""
        def next_line():
            while b"\n" not in self.rest:
                if not select.select([self.input], [], [], 0.05)[0]:
                    return None
                got = os.read(self.input, 65536)
                assert got, f"the worker has ended, {kind} was waited for"
                self.rest += got
            line, self.rest = self.rest.split(b"\n", 1)
            message = json.loads(line)
            if message["type"] == "lease":
                self.say(type="lease", ref=message["ref"], valid_ms=self.valid_ms)
            return message

        self.passed = []

        def found():
            message = next_line()
            while message is not None:
                self.passed.append(message)
                if message["type"] == kind and all(message.get(name) == value for name, value in members.items()):
                    return message
                message = next_line()
            return None

        return wait_until(found, limit, f"{kind} {members}")

    def say(self, **message):
        os.write(self.output, json.dumps(message).encode() + b"\n")

    def run(self, number, data, **more):
        self.say(type="run", id=number, fence=number + 1000, job="j", handler=self.handler, data=data, attempt=1, **more)

    def hello(self):
        hello = self.hears("hello", protocol=1)
        self.handler = hello["handlers"][0]
        self.say(type="welcome", node="test", protocol=1)
        if "honours_lease" in hello:
            self.hears("lease")
        return hello

    def close(self):
        self.process.kill()
        self.process.wait(10)
        for stream in (self.process.stdin, self.process.stdout, self.listener):
            if stream is not None:
                stream.close()


@pytest.fixture(params=["standard", "socket"])
def spoken(request, example, tmp_path):
    worker = Spoken(example["command"], str(tmp_path / "s") if request.param == "socket" else None)
    yield worker
    worker.close()


def test_a_run_is_answered_with_progress_and_what_the_history_keeps(spoken, example):
    hello = spoken.hello()
    assert hello["handlers"] == [example["handler"]] and hello["slots"] == example["slots"]
    spoken.run(1, example["good"])
    assert 0 < spoken.hears("progress", id=1, fence=1001)["fraction"] <= 1
    assert example["details"](spoken.hears("done", id=1, fence=1001)["details"])


def test_it_goes_on_from_a_checkpoint(spoken, example):
    spoken.hello()
    spoken.run(1, example["good"])
    point = spoken.hears("checkpoint", id=1)["data"]
    spoken.hears("done", id=1)
    last = dict.fromkeys(point, 10001 if "next" in point else 3) | {"found": 7}
    spoken.run(2, example["good"], checkpoint=last)
    details = spoken.hears("done", id=2)["details"]  # nothing was left to do
    assert details == {"primes": 7} or details == {"pages": 3, "from": 3}


def test_a_cancel_ends_the_run_and_not_the_worker(spoken, example):
    spoken.hello()
    spoken.run(1, example["long"])
    spoken.hears("progress", id=1)
    spoken.say(type="cancel", id=1, fence=1001, reason="enough")
    assert spoken.hears("fail", id=1, fence=1001)["exception"] == "Cancelled"
    spoken.run(2, example["good"])
    spoken.hears("done", id=2)


def test_bad_data_are_a_failure_that_is_not_tried_again(spoken, example):
    spoken.hello()
    spoken.run(1, example["bad"])
    answer = spoken.hears("fail", id=1)
    assert answer["exception"] in example["exception"] and answer["retry"] is False and answer["message"]


def test_a_lock_is_waited_for_and_refused(spoken, example):
    spoken.hello()
    spoken.run(1, {**example["good"], "lock": "crème \"brûlée\""})
    wanted = spoken.hears("lock", name="crème \"brûlée\"")
    assert wanted.get("id", 1) == 1
    spoken.say(type="locked", ref=wanted["ref"], fence=77)
    assert spoken.hears("done", id=1)["details"].get("fence", 77) == 77
    spoken.run(2, {**example["good"], "lock": "other"})
    spoken.say(type="lock_failed", ref=spoken.hears("lock", name="other")["ref"], message="somebody has it")
    assert spoken.hears("fail", id=2).get("retry", True) is True


def test_several_runs_at_once(spoken, example):
    spoken.hello()
    for number in range(1, example["slots"] + 1):
        spoken.run(number, example["long"])
    for number in range(1, example["slots"] + 1):
        spoken.hears("progress", id=number)
    for number in range(1, example["slots"] + 1):
        spoken.say(type="cancel", id=number, fence=number + 1000, reason="enough")
    answered = {spoken.hears("fail")["id"] for _ in range(example["slots"])}
    assert answered == set(range(1, example["slots"] + 1))


def test_standard_input_that_ends_ends_the_worker(example):
    worker = Spoken(example["command"])
    try:
        worker.hello()
        worker.process.stdin.close()
        worker.process.stdin = None
        assert worker.process.wait(10) == 0
    finally:
        worker.close()


def test_a_connection_that_ends_is_made_again_and_old_runs_say_nothing_on_it(example, tmp_path):
    worker = Spoken(example["command"], str(tmp_path / "s"))
    try:
        worker.hello()
        worker.run(1, example["long"])
        worker.hears("progress", id=1)
        worker.connection.close()
        worker.accept()
        worker.hello()
        worker.run(2, example["good"])
        worker.hears("done", id=2)
        assert all(message.get("id", 2) == 2 for message in worker.passed)
    finally:
        worker.close()


@pytest.mark.parametrize("name", ["c", "python"])
def test_who_honours_the_lease_ends_with_it_though_it_stands_still(name, tmp_path):
    example = WORKERS[name]
    worker = Spoken(example["command"], str(tmp_path / "s"))
    try:
        worker.valid_ms = 700
        assert worker.hello()["honours_lease"] is True
        worker.say(type="lease", valid_ms=5000)  # unasked: what counts is the answer
        told = worker.hears("lease")
        begun = time.monotonic()
        assert told["ref"] != 0
        worker.run(1, example["long"])
        worker.hears("progress")
        worker.process.send_signal(signal.SIGSTOP)
        if name == "python":
            wait_until(lambda: time.monotonic() > begun + 0.8, 5)
            worker.process.send_signal(signal.SIGCONT)
        assert worker.process.wait(10) in (-signal.SIGKILL, -signal.SIGALRM)
        assert time.monotonic() >= begun + 0.6
    finally:
        worker.close()


@pytest.mark.parametrize("name", ["c", "python"])
def test_who_honours_the_lease_and_has_no_run_lives_on_after_it(name, tmp_path):
    worker = Spoken(WORKERS[name]["command"], str(tmp_path / "s"))
    try:
        worker.valid_ms = 200
        worker.hello()
        worker.valid_ms = 60000
        holds_for(lambda: worker.process.poll() is None, 0.5)
        worker.say(type="lease", valid_ms=60000)
        worker.hears("lease")
        worker.run(1, WORKERS[name]["good"])
        worker.hears("done", id=1)
    finally:
        worker.close()


# --- a real node ---

def job(example, **more):
    return {"name": "work", "handler": example["handler"], "durable": True, **more}


def check(rota, example, locks=True):
    """A success, a failure and a cancel by the time limit, all in one worker that lives on."""
    [good] = rota.enqueue("work", "--data", json.dumps(example["good"]))
    [bad] = rota.enqueue("work", "--data", json.dumps(example["bad"]))
    row = rota.wait_history(good, 30)
    assert row["status"] == "success" and example["details"](row["details"])
    row = rota.wait_history(bad)
    assert row["status"] == "failed" and row["details"]["exception"] in example["exception"]
    [long] = rota.enqueue("work", "--data", json.dumps(example["long"]))
    assert rota.wait_history(long, 30)["outcome"] == "timeout"
    [locked] = rota.enqueue("work", "--data", json.dumps({**example["good"], "lock": "n"}))
    row = rota.wait_history(locked, 30)
    assert row["status"] == ("success" if locks else "failed"), row
    assert locks or "honours the lease" in row["details"]["message"]


def test_a_node_starts_the_examples(rota, example):
    rota.apply(job(example, timeout="3s"))
    node = rota.node("n1", pools={"example": {"command": example["command"]}})
    check(rota, example)
    assert not node.lines("worker ended")


@pytest.fixture
def connect(example):
    started = []

    def start(address, token=""):
        started.append(subprocess.Popen(
            example["command"], stdin=subprocess.DEVNULL, preexec_fn=die_with_parent,
            env=environment(ROTA_WORKER_SOCKET=address, ROTA_WORKER_TOKEN=token)))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait(10)


def test_the_examples_connect_by_unix_socket_and_find_the_node_that_was_started_again(rota, example, connect, tmp_path):
    address = f"unix:{tmp_path}/s"
    rota.apply(job(example, timeout="3s"))
    node = rota.node("n1", worker_listen=address)
    process = connect(address)
    check(rota, example, locks=example["command"][0] != "node")
    node.kill()  # its socket file stays
    node.start().wait_ready()
    [good] = rota.enqueue("work", "--data", json.dumps(example["good"]))
    assert rota.wait_history(good, 30)["status"] == "success"
    assert process.poll() is None


def test_the_examples_connect_by_tcp_with_the_token_and_not_without(rota, example, connect):
    rota.apply(job(example, timeout="3s"))
    node = rota.node("n1", worker_listen="127.0.0.1:0", worker_token=TOKEN)
    address = node.wait_for_line("listening for workers")["address"]
    connect(address, "another-token-of-the-tests")
    node.wait_for_line("a connection of a worker was refused")
    [good] = rota.enqueue("work", "--data", json.dumps(example["good"]))
    holds_for(lambda: rota.history(good) is None, 0.5, "nobody serves it")
    connect(address, TOKEN)
    assert rota.wait_history(good, 30)["status"] == "success"
    assert TOKEN not in node.text() and "another-token" not in node.text()
