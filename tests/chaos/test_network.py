"""Nodes that a network fails: cut off both ways, heard but deaf, deaf and dumb by turns. What they run ends
before their lease does, the others take over only then, and when the network heals they go on by themselves."""

import collections
import json
import os
import random
import subprocess
import time

import pytest

from fleet import binary, environment
from ledger import instant_text
from marks import assert_alone, boot_time
from processes import die_with_parent
from waiting import wait_until

TAKES_S = 90

FULL = os.environ.get("ROTA_TEST_FULL") == "1"
SLOW = os.environ.get("ROTA_TEST_SANITIZED") == "1"
SECONDS = 180 if FULL else 30
LEASE_S = 4.0
SETTINGS = {"lease": f"{LEASE_S:g}s", "heartbeat": "500ms", "slots": 8}
# What a node may say at its worst: all else is a fault.
ERRORS = {"declared dead by another node: ending all runs, registering anew",
          "lease ended: workers with lane runs killed", "cluster lock lost: its worker is told"}


@pytest.fixture(scope="module")
def server(net_server):
    return net_server


def job(name, **more):
    return {"name": name, "handler": "mark", "durable": True, **more}


def enqueue(rota, name, *options, **data):
    [run] = rota.enqueue(name, "--data", json.dumps(data), *options)
    return run


def unexpected_errors(node):
    return [line for line in node.lines(level="error")
            if line["msg"] not in ERRORS and not line["msg"].startswith("Failed to obtain cluster lock")]


# ---- one fault at a time ----

FAULTS = {"cut off": ["mute", "deaf"], "not heard": ["mute"], "deaf": ["deaf"]}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_node_ends_its_exclusive_work_before_its_lease_and_is_replaced_after_it(rota, net_nodes, marks, fault):
    rota.apply(job("exclusive", disallow_concurrent=True), job("locked"), job("plain"))
    [first] = net_nodes(rota, "n1", pools=marks.pool(), **SETTINGS)
    runs = {"exclusive": enqueue(rota, "exclusive", sleep=60, lane="exclusive"),
            "locked": enqueue(rota, "locked", sleep=60, lock="of-n1")}
    marks.wait("begin", run=runs["exclusive"])
    marks.wait("locked", run=runs["locked"])
    net_nodes(rota, "n2", pools=marks.pool(), **SETTINGS)
    for name in ("exclusive", "locked"):
        assert marks.wait("begin", run=runs[name])["node"] == "n1"
    cut_at = boot_time()
    first.member.lose(*FAULTS[fault])
    waiter = enqueue(rota, "locked", sleep=0.5, lock="of-n1", wait="30s")
    again = marks.wait("begin", run=runs["exclusive"], node="n2", limit=LEASE_S + 10)
    locked = marks.wait("locked", run=waiter, node="n2", limit=LEASE_S + 15)
    lasted = {name: max(mark["at"] for mark in marks.all(run=run, node="n1")) - cut_at for name, run in runs.items()}
    print(f"{fault}: work of the lost node ended after {lasted}, its lane was taken over after "
          f"{again['at'] - cut_at:.2f} s, its lock after {locked['at'] - cut_at:.2f} s, lease {LEASE_S} s")
    assert max(lasted.values()) < LEASE_S
    assert again["at"] - cut_at > lasted["exclusive"] and locked["at"] - cut_at > lasted["locked"]
    assert again["at"] - cut_at < LEASE_S + 6 and locked["at"] - cut_at < LEASE_S + 10
    first.member.heal()
    healed_at = boot_time()
    plain = []

    def both_run():
        plain.append(enqueue(rota, "plain", sleep=0.3))
        return any(mark["node"] == "n1" for mark in marks.all("begin", job="plain"))

    wait_until(both_run, 30, "the healed node to run something", pause=0.1)
    assert marks.wait("begin", since=healed_at, node="n1")["fence"] > again["fence"]
    assert first.lines("database connection lost") and first.lines("database is back")
    assert first.lives()
    assert_alone([span for span in marks.runs() if span.what == "exclusive"])
    assert_alone(marks.held())
    for node in rota.nodes:
        assert not unexpected_errors(node)


def test_a_network_that_comes_and_goes_lets_nothing_overlap(rota, net_nodes, marks):
    rng = random.Random(7)
    rota.apply(job("exclusive", disallow_concurrent=True), job("plain"))
    [first] = net_nodes(rota, "n1", pools=marks.pool(), **SETTINGS)
    run = enqueue(rota, "exclusive", sleep=8, lane="exclusive")
    marks.wait("begin", run=run, node="n1")
    net_nodes(rota, "n2", pools=marks.pool(), **SETTINGS)
    for _ in range(4):
        for change in (first.member.cut_off, first.member.heal):
            change()
            then = time.monotonic() + rng.uniform(1, 3)
            wait_until(lambda: time.monotonic() >= then, 5, pause=0.02)
    assert rota.wait_history(run, 40)["status"] == "success"
    wait_until(lambda: (enqueue(rota, "plain", sleep=0.3), marks.all("begin", job="plain", node="n1"))[1], 30,
               "the healed node to run something", pause=0.1)
    assert_alone([span for span in marks.runs() if span.what == "exclusive"])


# ---- all of them, at random ----

NODES = ("n1", "n2", "n3")
LANES = 3
EVERY_MS = {"tick-plain": 1000, "tick-exclusive": 1000, "tick-often": 700}


class Campaign:
    def __init__(self, rota, nodes, marks, seed):
        self.rota, self.nodes, self.marks = rota, nodes, marks
        self.rng = random.Random(seed)
        self.done = collections.Counter()
        self.recoverable, self.unrecoverable = set(), set()
        self.lockers = []
        self.toggles = {}  # node: when its network changes again, and until when it flaps
        self.start_ms = (int(time.time()) + 2) * 1000
        self.end_ms = self.start_ms + SECONDS * 1000

    def trigger(self, name):
        return {"name": name, "every": f"{EVERY_MS[name]}ms", "start_at": instant_text(self.start_ms),
                "end_at": instant_text(self.end_ms)}

    def jobs(self):
        return [job("plain"), job("fragile", requests_recovery=False), job("locker", requests_recovery=False),
                job("one", disallow_concurrent=True),
                job("keyed", concurrency={"limit": 1, "key": "/lane"}),
                job("ticking", triggers=[self.trigger("tick-plain"), self.trigger("tick-often")], data={"sleep": 0.1}),
                job("ticking-alone", disallow_concurrent=True, triggers=[self.trigger("tick-exclusive")],
                    data={"sleep": 0.4, "lane": "ticking-alone"})]

    # --- what is done ---

    def plain(self):
        self.recoverable.add(enqueue(self.rota, "plain", sleep=self.rng.choice([0, 0.2, 1.5])))

    def fragile(self):
        self.unrecoverable.add(enqueue(self.rota, "fragile", sleep=self.rng.choice([0, 0.2, 1.5])))

    def one(self):
        self.recoverable.add(enqueue(self.rota, "one", sleep=self.rng.choice([0.1, 0.4]), lane="one"))

    def keyed(self):
        self.recoverable.add(enqueue(self.rota, "keyed", sleep=self.rng.choice([0.1, 0.4, 2]),
                                     lane=f"lane-{self.rng.randrange(LANES)}"))

    def lock_of_a_worker(self):
        self.unrecoverable.add(enqueue(self.rota, "locker", sleep=self.rng.choice([0.1, 1]),
                                       lock=f"lock-{self.rng.randrange(2)}"))

    def lock_of_a_command(self):
        self.lockers = [process for process in self.lockers if process.poll() is None]
        if len(self.lockers) > 3:
            return
        node, name = self.rng.choice(self.nodes), f"lock-{self.rng.randrange(2)}"
        with node.member.inside():
            self.lockers.append(subprocess.Popen(
                [binary(), "lock", name, "--wait", "3s", "--lock-delay", f"{LEASE_S:g}s", "--",
                 *self.marks.command(name, self.rng.choice([0.2, 1]))],
                env=environment(database_url=node.settings["database_url"]), stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=die_with_parent))

    def fault(self):
        """At least one node is left that hears and is heard."""
        whole = [node for node in self.nodes if node not in self.toggles]
        if len(whole) < 2:
            return
        node, now = self.rng.choice(whole), time.monotonic()
        kind = self.rng.choice([*FAULTS, "flapping"])
        flaps_until = now + self.rng.uniform(3, 8) if kind == "flapping" else 0
        lasts = self.rng.choice([0.5, 2, LEASE_S * 0.9, LEASE_S + 1, LEASE_S + 4]) if kind != "flapping" else 1
        self.toggles[node] = [now + lasts, flaps_until, True]
        node.member.lose(*FAULTS.get(kind, FAULTS["cut off"]))
        self.done[kind] += 1

    def go_on(self, late=False):
        now = time.monotonic()
        for node, (at, flaps_until, down) in list(self.toggles.items()):
            if late or (now >= at and now >= flaps_until):
                node.member.heal()
                del self.toggles[node]
            elif now >= at:
                node.member.heal() if down else node.member.cut_off()
                self.toggles[node] = [now + self.rng.uniform(1, 3), flaps_until, not down]

    def rage(self):
        actions = ([self.plain, self.fragile, self.one, self.keyed, self.keyed] * 2 +
                   [self.lock_of_a_worker, self.lock_of_a_command, self.lock_of_a_command, self.fault, self.fault])
        while time.time() * 1000 < self.end_ms:
            action = self.rng.choice(actions)
            action()
            self.done[action.__name__] += 1
            self.go_on()
            again = time.monotonic() + self.rng.uniform(0.05, 0.3)
            wait_until(lambda: time.monotonic() >= again, 2, pause=0.02)
        self.go_on(late=True)

    # --- what is true afterwards ---

    def assert_progress(self):
        """Each node begins something again, by itself, under a fence that nobody had before."""
        before = max(mark["fence"] for mark in self.marks.all("begin"))
        since, waiting = boot_time(), set(NODES)

        def all_run():
            for _ in range(4):
                self.recoverable.add(enqueue(self.rota, "plain", sleep=0.3))
            begun = [mark for mark in self.marks.all("begin") if mark["at"] > since and mark["fence"] > before]
            waiting.difference_update(mark["node"] for mark in begun)
            return not waiting

        wait_until(all_run, 40, lambda: f"{waiting} to run something", pause=0.1)

    def assert_triggers_are_accounted_for(self):
        for name, every_ms in EVERY_MS.items():
            expected = (self.end_ms - self.start_ms) // every_ms + 1
            fired, missed = self.rota.rows("SELECT fired, missed FROM rota.trigger_state WHERE trigger = %s", name)[0]
            assert fired + missed == expected, f"{name}: {fired} fired and {missed} missed of {expected}"
            runs, times = self.rota.rows("SELECT count(*), count(DISTINCT scheduled_at) FROM rota.task_history "
                                         "WHERE trigger = %s", name)[0]
            assert (runs, times) == (fired, fired), f"{name}: {fired} fired, {runs} runs of {times} occurrences"

    def assert_nothing_is_lost_and_what_ran_twice_says_so(self):
        begins, ends = collections.Counter(), collections.Counter()
        for span in self.marks.runs():
            begins[span.run] += 1
            ends[span.run] += span.ended
        rows = {row[0]: row[1:] for row in self.rota.rows(
            "SELECT id, status, outcome, trigger, task_details->'attempts', task FROM rota.task_history")}
        assert len(rows) == self.rota.value("SELECT count(*) FROM rota.task_history")
        lost = (self.recoverable | self.unrecoverable) - rows.keys()
        assert not lost, f"in no history: {lost}"
        for run, (status, outcome, _, attempts, task) in rows.items():
            text = f"run {run} of {task}: {status} ({outcome}), begun {begins[run]} times, ended {ends[run]}; {attempts}"
            interrupted = len(attempts or [])
            assert status in ("success", "unknown") or task == "locker", text
            assert status == "success" or run not in self.recoverable, text
            assert status != "success" or ends[run] > 0, text
            assert begins[run] <= interrupted + 1, f"twice without a record: {text}"
            assert run in self.recoverable or begins[run] <= 1, f"twice though it asks for no recovery: {text}"
            self.done["interrupted"] += interrupted > 0
            self.done["unknown"] += status == "unknown"


def test_a_network_that_fails_at_random_loses_nothing_and_lets_nothing_overlap(rota, net_nodes, marks):
    seed = int(os.environ.get("ROTA_TEST_SEED", time.time_ns() % 1000000))
    print(f"ROTA_TEST_SEED={seed}")
    nodes = net_nodes(rota, *NODES, pools=marks.pool(), restart_delay="2s", **SETTINGS)
    campaign = Campaign(rota, nodes, marks, seed)
    rota.apply(*campaign.jobs())
    try:
        campaign.rage()
        campaign.assert_progress()
        rota.wait_idle(120 if FULL else 60)
        wait_until(lambda: all(process.poll() is not None for process in campaign.lockers), 30, "the commands with locks")
    finally:
        for process in campaign.lockers:
            process.kill()
            process.wait()
    campaign.assert_triggers_are_accounted_for()
    campaign.assert_nothing_is_lost_and_what_ran_twice_says_so()
    assert_alone([span for span in marks.runs() if span.what not in ("plain", "fragile", "locker", "ticking")])
    assert_alone(marks.held())
    print(f"{dict(campaign.done)}, {len(marks.runs())} runs, locks held {len(marks.held())} times")
    for node in nodes:
        assert node.lives() and not unexpected_errors(node)
        assert node.stop() == 0
    wait_until(lambda: not marks.living(), 5, lambda: f"the end of {marks.living()}")
