"""The queue while eight enqueue at random, commit and roll back, four nodes work and now and then die: each
run ends once, within its policy; lanes, rates and keys hold; nothing is left behind."""

import collections
import json
import os
import random
import sys
import threading
import time

import psycopg
import pytest

from waiting import wait_until

FULL = os.environ.get("ROTA_TEST_FULL") == "1"
SECONDS = 60 if FULL else 10
LEASE_S = 3
WORKER = os.path.join(os.path.dirname(__file__), "..", "lib", "queue_worker.py")
LANE_LIMIT, RATE, BURST = 2, 20, 5
ATTEMPTS = 3

RETRY = {"max_attempts": ATTEMPTS, "backoff": "fixed", "initial": "100ms"}
JOBS = [
    {"name": "plain", "retry": RETRY},
    {"name": "laned", "retry": RETRY, "concurrency": {"limit": LANE_LIMIT, "key": "/customer"}},
    {"name": "rated", "rate": {"limit": RATE, "per": "1s", "burst": BURST, "key": "/customer"}},
    {"name": "unique", "unique": {"key": "/customer", "until": "finished", "on_conflict": "existing"}},
    {"name": "debounced", "unique": {"key": "/customer", "until": "started", "on_conflict": "replace"}},
    {"name": "short", "expires_in": "150ms", "priority": 1},
    {"name": "told", "retry": RETRY, "on_failure": "teller"},
    {"name": "teller"},
]


class Enqueuer(threading.Thread):
    """One who enqueues: what was committed is in `committed`, what was not in `undone`."""

    def __init__(self, url, seed, until):
        super().__init__()
        self.rng, self.until = random.Random(seed), until
        self.db = psycopg.connect(url)
        self.committed, self.undone, self.mine = {}, set(), []
        self.cancelled, self.answers = set(), collections.Counter()
        self.error = None

    def data(self, job):
        rng = self.rng
        data = {"sleep": rng.choice([0, 0, 0.01, 0.05]), "customer": rng.randrange(6)}
        if job in ("plain", "laned", "told"):
            data.update(rng.choice([{}, {}, {"fail": True}, {"fail_until": 2}, {"fail_until": ATTEMPTS}]))
        if job == "plain" and rng.random() < 0.05:
            data["snooze_before"] = time.time() + 0.5
        return data

    def enqueue_many(self, job):
        data = [json.dumps(self.data(job)) for _ in range(self.rng.randint(2, 30))]
        ids = self.db.execute("SELECT rota.enqueue_many(%s, %s::jsonb[])", (job, data)).fetchone()[0]
        return {run: job for run in ids}

    def enqueue(self, job):
        rng, options = self.rng, {"job": job, "data": json.dumps(self.data(job)), "at": None, "priority": None, "after": None}
        if rng.random() < 0.2:
            options["at"] = rng.uniform(0, 0.5)
        if rng.random() < 0.3:
            options["priority"] = rng.randint(1, 100)
        if job == "plain" and self.mine and rng.random() < 0.2:
            options["after"] = rng.sample(self.mine, min(len(self.mine), rng.randint(1, 3)))
        run = self.db.execute("""
            SELECT rota.enqueue(%(job)s, %(data)s::jsonb, now() + %(at)s * interval '1 s', %(priority)s, after => %(after)s::bigint[])
            """, options).fetchone()[0]
        return {run: job}

    def once(self):
        job = self.rng.choice([name for name in (job["name"] for job in JOBS) if name != "teller"])
        made = (self.enqueue_many if self.rng.random() < 0.3 else self.enqueue)(job)
        if self.rng.random() < 0.15:
            self.db.rollback()
            self.undone.update(made)
            return
        self.db.commit()
        self.committed.update(made)
        self.mine = (self.mine + list(made))[-50:]
        if self.rng.random() < 0.1:
            run = self.rng.choice(self.mine)
            answer = self.db.execute("SELECT rota.cancel(%s)", (run,)).fetchone()[0]
            self.db.commit()
            self.answers[answer] += 1
            if answer == "cancelled":
                self.cancelled.add(run)

    def run(self):
        try:
            while time.monotonic() < self.until:
                try:
                    self.once()
                except psycopg.errors.LockNotAvailable:  # another transaction has not decided about a key
                    self.db.rollback()
                    self.answers["undecided"] += 1
                time.sleep(self.rng.uniform(0, 0.05))
        except Exception as error:  # told to the test, which fails
            self.error = error
        finally:
            self.db.close()


@pytest.fixture
def campaign(rota, tmp_path):
    """Nodes, enqueuers, deaths; then the ledger, the enqueuers, and all is over."""
    seed = int(os.environ.get("ROTA_TEST_SEED", time.time_ns() % 1000000))
    print(f"ROTA_TEST_SEED={seed}")
    rng, ledger = random.Random(seed), str(tmp_path / "runs")
    rota.apply(*({"handler": "queue", "durable": True, "requests_recovery": True, **job} for job in JOBS))
    pool = {"queue": {"command": [sys.executable, "-S", "-E", WORKER, ledger, "8"], "processes": 2}}
    nodes = rota.start_nodes("n1", "n2", "n3", "n4", pools=pool, lease=f"{LEASE_S}s", heartbeat="300ms", restart_delay="1s")
    end = time.monotonic() + SECONDS
    enqueuers = [Enqueuer(rota.url, seed + number, end) for number in range(8)]
    for enqueuer in enqueuers:
        enqueuer.start()
    deaths = 0
    while time.monotonic() < end:
        time.sleep(rng.uniform(1, 3))  # the length of a life is the subject
        node = rng.choice(nodes)
        node.kill() if rng.random() < 0.7 else node.stop()
        node.start()
        deaths += 1
    for enqueuer in enqueuers:
        enqueuer.join(60)
    assert not [enqueuer.error for enqueuer in enqueuers if enqueuer.error]
    wait_until(lambda: not left(rota), 120, lambda: left(rota), pause=0.2)
    with open(ledger, encoding="utf-8") as file:
        entries = [json.loads(line) for line in file]
    committed = {run: job for enqueuer in enqueuers for run, job in enqueuer.committed.items()}
    print(f"{len(committed)} runs, {len(entries)} entries, {deaths} deaths, "
          f"answers {dict(sum((enqueuer.answers for enqueuer in enqueuers), collections.Counter()))}")
    return rota, entries, committed, enqueuers


PLACES = ["pending", "receipt", "lane_slot", "run_extra", "unique_key", "run_after", "cancel_request", "rate_due"]


def left(rota):
    """What is still in the tables that only hold what is not over."""
    counts = {table: rota.value(f"SELECT count(*) FROM rota.{table}") for table in PLACES}
    return {table: count for table, count in counts.items() if count}


def spans(entries):
    """(begin, end, entry) of each attempt that was not cut off."""
    begun, found = {}, []
    for entry in entries:
        key = entry["run"], entry["fence"]
        if entry["what"] == "begin":
            assert key not in begun, f"run {entry['run']} began twice under fence {entry['fence']}"
            begun[key] = entry
        else:
            found.append((begun[key]["at"], entry["at"], begun[key]))
    return found


def most_at_once(found):
    """By (job, customer): how many ran at once at most."""
    events = collections.defaultdict(list)
    for begin, end, entry in found:
        events[entry["job"], entry["data"]["customer"]] += [(begin, 1), (end, -1)]
    most = collections.Counter()
    for key, times in events.items():
        now = 0
        for _, step in sorted(times):
            now += step
            most[key] = max(most[key], now)
    return most


def assert_rate(starts):
    """In no span of time more than burst and what flows in, with 50 ms for the way to the worker."""
    for first, begin in enumerate(starts):
        for last in range(first, len(starts)):
            count, span = last - first + 1, starts[last] - begin + 0.05
            assert count <= BURST + RATE * span + 1, f"{count} starts in {span:.3f} s"


def test_the_queue_survives_eight_enqueuers_and_dying_nodes(campaign):
    rota, entries, committed, enqueuers = campaign
    rows = rota.rows("SELECT id, task, status, outcome, attempt FROM rota.task_history")
    ended = {row[0]: row for row in rows}

    # each run ends once, and none that was rolled back was ever there
    assert len(ended) == len(rows), "a run is in the history twice"
    assert not committed.keys() - ended.keys()
    told = {run for run, row in ended.items() if row[1] == "teller"}
    assert not ended.keys() - committed.keys() - told
    undone = set().union(*(enqueuer.undone for enqueuer in enqueuers)) - committed.keys()
    assert not undone & (ended.keys() | {entry["run"] for entry in entries})

    # attempts within the policy, and the end that the data ask for
    wanted = {entry["run"]: entry["data"] for entry in entries}
    for run, (_, task, status, outcome, attempt) in ended.items():
        assert attempt <= (ATTEMPTS if task in ("plain", "laned", "told") else 1), (run, task, attempt)
        if outcome in ("success", "failed"):
            assert (status == "success") == (not wanted[run].get("fail")), (run, task, outcome, wanted[run])

    # what was cancelled where it waited never began after it
    cancelled = set().union(*(enqueuer.cancelled for enqueuer in enqueuers))
    assert {ended[run][3] for run in cancelled} <= {"cancelled"}

    # each final failure was told of, once
    failed = sorted(run for run, row in ended.items() if row[1] == "told" and row[2] == "failed" and row[3] != "cancelled")
    heard = sorted(row[0] for row in rota.rows("SELECT (data ->> 'run')::bigint FROM rota.task_history WHERE task = 'teller'"))
    assert heard == failed

    # lanes, keys and rates
    found = spans(entries)
    most = most_at_once(found)
    assert max((count for (job, _), count in most.items() if job == "laned"), default=0) <= LANE_LIMIT
    assert max((count for (job, _), count in most.items() if job == "unique"), default=0) <= 1
    for customer in range(6):
        assert_rate(sorted(entry["at"] for entry in entries if entry["what"] == "begin" and entry["job"] == "rated"
                           and entry["data"]["customer"] == customer))

    # who tries again knows how far the attempt before it came
    for entry in entries:
        if entry["what"] == "begin" and entry["attempt"] > 1 and not entry["recovering"]:
            assert entry["checkpoint"] == {"attempt": entry["attempt"] - 1}, entry
