"""Lanes while everything goes wrong at random: nodes are killed and stopped, connections cut, definitions
changed, jobs paused. Nothing overlaps, nothing is lost or doubled, and nobody waits for ever."""

import collections
import json
import os
import random
import signal
import time

import pytest

import lane_tables
from ledger import instant_text
from proxy import LossyProxy
from waiting import wait_until

FULL = os.environ.get("ROTA_TEST_FULL") == "1"
SECONDS = 150 if FULL else 20
LEASE_S = 3
NODES = ("n1", "n2", "n3", "n4")
CUSTOMERS = 6


# What a node may say at its worst: all else is a fault.
ERRORS = {"declared dead by another node: ending all runs, registering anew", "lease ended: workers with lane runs killed"}


@pytest.fixture
def lanes(rota):
    lane_tables.create(rota)
    return rota


@pytest.fixture
def proxy(rota):
    """Loses answers of the work connections of half of the nodes."""
    lossy = LossyProxy(rota.url, loss=0.01, seed=time.time_ns())
    yield lossy
    lossy.close()


class Campaign:
    """What is done at random, and what has to be true of it afterwards."""

    def __init__(self, rota, seed):
        self.rota, self.rng = rota, random.Random(seed)
        self.done = collections.Counter()
        self.queued = {}  # run: whether it was to fail
        self.stopped = {}  # node: when it goes on
        self.dead = {}  # node: when it starts again
        self.paused = []
        self.start_ms = (int(time.time()) + 2) * 1000
        self.end_ms = self.start_ms + SECONDS * 1000
        self.nodes = []

    # --- what is declared ---

    def trigger(self, name, every_ms, **more):
        return {"name": name, "every": f"{every_ms}ms", "start_at": instant_text(self.start_ms),
                "end_at": instant_text(self.end_ms), **more}

    def job(self, name, *triggers, sleep=0.05, data=(), **more):
        return {"name": name, "handler": "exclusive", "durable": True, "triggers": list(triggers),
                "data": {"lane": name, "sleep": sleep, **dict(data)}, **more}

    def jobs(self):
        """Those whose runs may never overlap, and others that change how many of theirs may."""
        rng = self.rng
        limit = rng.choice([{}, {"disallow_concurrent": True}, {"concurrency": {"limit": 3}},
                            {"concurrency": {"limit": 1, "key": "/customer"}},
                            {"concurrency": {"limit": 2, "key": "/region"}}])
        again = {"max_attempts": 2, "backoff": "fixed", "initial": "200ms"}
        jobs = [
            self.job("often", self.trigger("often-1s", 1000), self.trigger("often-300ms", 300, misfire="fire_all"),
                     sleep=rng.choice([0.05, 0.2]), disallow_concurrent=True, priority=rng.choice([4, 5, 6])),
            self.job("slow", self.trigger("slow-1s", 1000, misfire_tolerance="0s"),
                     self.trigger("slow-skip", 1000, misfire="skip", misfire_threshold="0s", misfire_tolerance="0s"),
                     sleep=1.2, disallow_concurrent=True, requests_recovery=rng.choice([True, False])),
            self.job("queued", disallow_concurrent=True, retry=again),
            self.job("keyed", concurrency={"limit": 1, "key": "/customer"}, retry=again),
            self.job("changing", self.trigger("changing-500ms", 500), data={"seats": 99}, **limit),
            self.job("plain", self.trigger("plain-1s", 1000), self.trigger("plain-250ms", 250), data={"seats": 99}),
            self.job("moving", self.trigger("moving-1", rng.choice([700, 900, 1500])),
                     self.trigger("moving-2", 1000), disallow_concurrent=True),
        ]
        rng.choice(jobs)["triggers"].append(self.trigger("wanderer", 400))
        return jobs

    KEPT = {"often-1s": 1000, "often-300ms": 300, "slow-1s": 1000, "slow-skip": 1000, "changing-500ms": 500,
            "plain-1s": 1000, "plain-250ms": 250, "moving-2": 1000, "wanderer": 400}

    # --- what is done ---

    def enqueue(self):
        job = self.rng.choice(["queued", "keyed", "keyed", "changing", "plain", "often"])
        data, fails = {}, job in ("queued", "keyed") and self.rng.random() < 0.2
        if job in ("keyed", "changing"):
            data["customer"] = self.rng.randrange(CUSTOMERS)
            data["region"] = data["customer"] % 2
        if job == "keyed":
            data["lane"] = f"keyed-{data['customer']}"
        if fails:
            data["fail"] = "it was to fail"
        options = ["--count", str(self.rng.randint(1, 6)), "--data", json.dumps(data)]
        if self.rng.random() < 0.2:
            options += ["--in", "800ms"]
        for run in self.rota.enqueue(job, *options):
            self.queued[run] = fails

    def up(self):
        return [node for node in self.nodes if node not in self.stopped and node not in self.dead]

    def kill(self):
        if len(self.up()) > 1:
            node = self.rng.choice(self.up())
            node.kill()
            self.dead[node] = time.monotonic() + self.rng.uniform(0, 4)

    def stop(self):
        if len(self.up()) > 1:
            node = self.rng.choice(self.up())
            node.send(signal.SIGSTOP)
            self.stopped[node] = time.monotonic() + self.rng.choice([0.1, 0.5, 1.3, LEASE_S * 0.7, LEASE_S * 1.5])

    def cut(self):
        kind, node = self.rng.choice(["session", "work", "work"]), self.rng.choice(NODES)
        self.rota.db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
                             "AND application_name LIKE %s", (f"rota {kind} {node} %",))

    def cut_in_the_middle(self):
        for _ in range(20):
            self.rota.db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
                                 "AND application_name LIKE 'rota work %' AND state <> 'idle'")

    def apply(self):
        self.rota.apply(*self.jobs())

    def pause(self):
        scope = self.rng.choice([("all",), ("job", "often"), ("job", "keyed"), ("trigger", "slow-1s"), ("job", "slow")])
        self.rota.run("pause", *scope)
        self.paused.append((time.monotonic() + self.rng.uniform(0, 1.5), scope))

    def resume(self, scope):
        self.rota.run("resume", *scope, *(["--catch-up"] if self.rng.random() < 0.3 else []))

    def go_on(self, late=False):
        """What was stopped, killed or paused for a time, and that is over; late: all of it."""
        now = time.monotonic()
        for node in [node for node, until in self.stopped.items() if late or now >= until]:
            del self.stopped[node]
            node.send(signal.SIGCONT)
        for node in [node for node, until in self.dead.items() if late or now >= until]:
            del self.dead[node]
            node.start()
        for entry in [entry for entry in self.paused if late or now >= entry[0]]:
            self.paused.remove(entry)
            self.resume(entry[1])

    def rage(self):
        actions = [self.enqueue] * 12 + [self.kill, self.stop, self.stop, self.cut, self.cut, self.cut_in_the_middle,
                                         self.apply, self.apply, self.pause, self.pause]
        while time.time() * 1000 < self.end_ms:
            action = self.rng.choice(actions)
            action()
            self.done[action.__name__] += 1
            self.go_on()
            wait_for = time.monotonic() + self.rng.uniform(0, 0.15)
            wait_until(lambda: time.monotonic() >= wait_for, 1, pause=0.01)
        self.go_on(late=True)
        self.apply()

    # --- what is true afterwards ---

    def assert_all_is_over(self):
        wait_until(lambda: self.rota.value("""
            SELECT NOT EXISTS (SELECT FROM rota.trigger_due WHERE state IN ('W', 'B'))
                   AND NOT EXISTS (SELECT FROM rota.run) AND NOT EXISTS (SELECT FROM rota.receipt)
                   AND NOT EXISTS (SELECT FROM rota.lane_slot)"""), 300 if FULL else 60, self.left, pause=0.1)

    def left(self):
        return {**self.rota.open_work(), "slots": self.rota.rows("SELECT * FROM rota.lane_slot"),
                "pending": self.rota.rows("SELECT to_jsonb(p)::text FROM rota.pending p LIMIT 20"),
                "due": self.rota.rows("SELECT to_jsonb(t)::text FROM rota.trigger_state t WHERE state IN ('waiting', 'blocked', 'error')")}

    def assert_queued_runs_ended_once(self):
        found = self.rota.rows("SELECT id, status, outcome FROM rota.task_history WHERE trigger IS NULL")
        assert sorted(row[0] for row in found) == sorted(self.queued)
        wrong = [row for row in found if row[1] != ("failed" if self.queued[row[0]] else "success")]
        assert not wrong, wrong

    def assert_every_occurrence_is_accounted_for(self):
        for name, every_ms in self.KEPT.items():
            expected = (self.end_ms - self.start_ms) // every_ms + 1
            fired, missed = self.rota.rows("SELECT fired, missed FROM rota.trigger_state WHERE trigger = %s", name)[0]
            assert fired + missed == expected, f"{name}: {fired} fired and {missed} missed of {expected}"
            runs, times, unknown = self.rota.rows(
                "SELECT count(*), count(DISTINCT scheduled_at), count(*) FILTER (WHERE status <> 'success') "
                "FROM rota.task_history WHERE trigger = %s", name)[0]
            assert (runs, times) == (fired, fired), f"{name}: {fired} fired, {runs} runs of {times} occurrences"
            self.done[f"unknown {name}"] = unknown


def start(lanes, proxy):
    settings = {"pools": lane_tables.pool(lanes), "lease": f"{LEASE_S}s", "heartbeat": "300ms", "restart_delay": "1s"}
    lossy = {"database_url": proxy.url, "session_database_url": lanes.url}
    return lanes.start_nodes(*NODES[:2], **settings) + lanes.start_nodes(*NODES[2:], **settings, **lossy)


def test_lanes_survive_whatever_happens(lanes, proxy):
    seed = int(os.environ.get("ROTA_TEST_SEED", time.time_ns() % 1000000))
    print(f"ROTA_TEST_SEED={seed}")
    campaign = Campaign(lanes, seed)
    lanes.apply(*campaign.jobs())
    campaign.nodes = start(lanes, proxy)
    proxy.armed = True
    campaign.rage()
    proxy.armed = False
    campaign.assert_all_is_over()
    deadlocks = lanes.value("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    print(f"{dict(campaign.done)}, cut by the proxy: {proxy.cuts}, {deadlocks} deadlocks")
    lane_tables.assert_no_overlap(lanes)
    assert lanes.rows("SELECT * FROM rota.lane_state") == []
    campaign.assert_queued_runs_ended_once()
    campaign.assert_every_occurrence_is_accounted_for()
    assert not [(node.name, line) for node in campaign.nodes for line in node.lines("lanes woken late")]
    errors = [line for node in campaign.nodes for line in node.lines(level="error")]
    assert not [line for line in errors if line["msg"] not in ERRORS]
