"""`rota top`: a picture of the fleet, and a terminal that is as before when it ends."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import time

import pytest

from fleet import binary
from manifests import job, trigger
from waiting import wait_until

FAILING = dict(handler="exec", data={"command": ["/bin/false"]})


@pytest.fixture
def fleet(rota):
    rota.apply(job("good", durable=True), job("bad", durable=True, **FAILING),
               job("far", trigger("t", cron="0 0 0 1 1 ? 2099")))
    rota.node("n1", exec_allow="/bin/*")
    [run] = rota.enqueue("bad")
    rota.wait_history(run)
    wait_until(lambda: rota.value("SELECT count(*) FROM rota.event WHERE body LIKE '%%\"status\":\"failed\"%%'") == 1,
               why="its event")
    return rota, run


def test_once_prints_a_picture(fleet):
    rota, run = fleet
    text = rota.run("top", "--once", "--interval", "300ms").stdout
    assert re.search(r"^n1 +running +0 +\d+ +\d+\.\ds ", text, re.M), text
    assert re.search(rf"bad +failed +{run}  \S", text), text
    assert "waiting 1 " in text and "\x1b" not in text


def test_json_is_one_document(fleet):
    rota, run = fleet
    picture = json.loads(rota.run("top", "--json", "--interval", "300ms").stdout)
    assert [node["name"] for node in picture["nodes"]] == ["n1"]
    assert [(failure["job"], failure["run"]) for failure in picture["failures"]] == [("bad", run)]
    assert ["states", "WAITING", None, 1] in picture["numbers"]
    assert picture["finished_per_s"] >= 0


@pytest.mark.parametrize("arguments", [["--interval", "1ms"], ["--interval", "x"], ["--other"], ["word"]])
def test_what_it_does_not_know_is_refused(rota, arguments):
    assert rota.run("top", *arguments, check=False).returncode == 2


def read_until(terminal, text, limit=30):
    seen, end = b"", time.monotonic() + limit
    while text not in seen and time.monotonic() < end:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                seen += os.read(terminal, 65536)
            except OSError:
                break
    assert text in seen, seen
    return seen


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_on_a_terminal_it_is_drawn_anew_and_leaves_it_as_it_was(fleet, number):
    rota, _ = fleet
    ours, theirs = pty.openpty()
    top = subprocess.Popen([binary(), "top", "--interval", "200ms", "--database-url", rota.url],
                           stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    first = read_until(ours, b"n1 ")
    assert first.startswith(b"\x1b[?1049h\x1b[?25l")
    read_until(ours, b"\x1b[H")
    top.send_signal(number)
    read_until(ours, b"\x1b[?25h\x1b[?1049l")
    assert top.wait(10) == 0
    os.close(ours)
