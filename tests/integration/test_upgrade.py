"""Upgrades of a fleet that works: nodes are replaced one by one under load, forward, back and forward again, with
the schema migrated by the first new one. The ledger outside the database says what was fired. The older builds are
made of the repository's history."""

import collections
import signal
import threading
import time

import pytest

import lane_tables
import old_build
from ledger import instant_text
from waiting import wait_until

TAKES_S = 110

TRIGGERS = 10
GAP_S = 2  # between two firings of a trigger of one second, whatever is replaced meanwhile
PHASE_S = 2  # the load goes on for so long in each mixture
SETTINGS = {"lease": "6s", "heartbeat": "500ms"}


@pytest.fixture(scope="module")
def first_build():
    """It knows the schema 0001 alone: no lanes, no control, no cluster locks."""
    return old_build.before("sql/schema/0002_trigger_engine.sql")


@pytest.fixture(scope="module")
def last_build():
    """The one before capabilities and the queue."""
    return old_build.before("sql/schema/0005_capability.sql")


class Enqueuer(threading.Thread):
    """Enqueues through each of the programs in turn, until it is told to stop."""

    def __init__(self, rota, programs):
        super().__init__(daemon=True)
        self.rota, self.programs = rota, programs
        self.stopped = threading.Event()
        self.runs, self.failed = [], []

    def run(self):
        number = 0
        while not self.stopped.wait(0.15):
            program = self.programs[number % len(self.programs)]
            done = self.rota.run("enqueue", "queued", "--count", "3", program=program, check=False)
            self.runs += [int(line) for line in done.stdout.split()]
            if done.returncode != 0:
                self.failed.append((program, done.returncode, done.stderr))
            number += 1

    def end(self):
        self.stopped.set()
        self.join(60)
        assert not self.is_alive() and self.failed == [], self.failed
        return self.runs


class Fleet:
    """Nodes n1 to n3, each by the old or the new program."""

    def __init__(self, rota, old, pools, new_pools):
        self.rota, self.old = rota, old
        self.pools = {True: pools, False: new_pools}
        self.nodes = {}

    def start(self, name, old):
        self.nodes[name] = self.rota.node(name, ready=False, program=self.old if old else None, pools=self.pools[old],
                                          **SETTINGS)

    def replace(self, name, old):
        assert self.nodes[name].stop() == 0, self.nodes[name].text()
        self.start(name, old)
        self.nodes[name].wait_ready()

    def replace_all(self, old):
        for name in list(self.nodes):
            self.replace(name, old)
            time_passes(PHASE_S / 2)
        time_passes(PHASE_S)


def time_passes(seconds):
    """The subject is what happens meanwhile, under load."""
    threading.Event().wait(seconds)


def declare(rota, program):
    begin = instant_text((int(time.time()) + 1) * 1000)
    rota.apply({"name": "tick", "handler": "ledger", "data": {"sleep": 0.05},
                "triggers": [{"name": f"tick-{i}", "every": "1s", "start_at": begin} for i in range(TRIGGERS)]},
               {"name": "queued", "handler": "ledger", "data": {"sleep": 0.05}, "durable": True}, program=program)


def declare_exclusive(rota, program=None):
    rota.apply({"name": "alone", "handler": "exclusive", "disallow_concurrent": True,
                "data": {"lane": "alone", "sleep": 0.6},
                "triggers": [{"name": f"alone-{i}", "every": "1s"} for i in range(2)]}, source="exclusive", program=program)


def assert_nothing_lost_or_doubled(rota, ledger, runs):
    """Each trigger fired at each of its seconds, from its first to its last, and in time."""
    entries = ledger.entries()
    fired = collections.defaultdict(list)
    for entry in entries:
        if entry.trigger:
            fired[entry.trigger].append(entry)
    assert len(fired) == TRIGGERS
    for trigger, of_it in fired.items():
        seconds = [entry.scheduled // 1000 for entry in of_it]
        assert sorted(seconds) == list(range(min(seconds), max(seconds) + 1)), f"{trigger}: {sorted(seconds)}"
        late = max(entry.clock - entry.scheduled / 1000 for entry in of_it)
        begun = sorted(entry.clock for entry in of_it)
        gap = max(after - before for before, after in zip(begun, begun[1:]))
        assert gap <= GAP_S, f"{trigger} did not fire for {gap:.2f} s, and was up to {late:.2f} s late"
    ends = {max(entry.scheduled for entry in of_it) for of_it in fired.values()}
    assert max(ends) - min(ends) <= 1000, "some trigger has stopped"
    times = collections.Counter(entry.run for entry in entries if not entry.trigger)
    assert times == dict.fromkeys(runs, 1), {run: times[run] for run in {*runs, *times} if times[run] != 1 or run not in runs}
    assert rota.rows("SELECT trigger, state, error FROM rota.trigger_state WHERE state = 'error' OR missed > 0 "
                     "AND trigger LIKE 'tick%'") == []
    assert rota.value("SELECT count(*) FROM rota.task_history WHERE status <> 'success'") == 0
    assert rota.value("SELECT count(*) FROM (SELECT id FROM rota.task_history GROUP BY id HAVING count(*) > 1) twice") == 0


@pytest.mark.parametrize("build", [pytest.param("first_build", marks=pytest.mark.full), "last_build"])
def test_a_fleet_is_replaced_forward_back_and_forward_under_load(empty_rota, ledger, build, request):
    old, rota = request.getfixturevalue(build), empty_rota
    knows_lanes = build == "last_build"
    rota.run("migrate", program=old)
    before = rota.value("SELECT max(version) FROM rota.schema_version")
    lane_tables.create(rota)
    plain = ledger.pool(slots=32)
    both = {**plain, **lane_tables.pool(rota)}
    fleet = Fleet(rota, old, both if knows_lanes else plain, both)
    for name in "n1", "n2", "n3":
        fleet.start(name, old=True)
    for node in fleet.nodes.values():
        node.wait_ready()
    declare(rota, old)
    if knows_lanes:
        refused = rota.run("apply", "-f", "-", input='{"source": "x", "jobs": []}', check=False)
        assert refused.returncode == 1 and "run `rota migrate`" in refused.stderr, refused.stderr
        declare_exclusive(rota, old)
    enqueuer = Enqueuer(rota, [old])
    enqueuer.start()
    time_passes(PHASE_S)

    fleet.start("n4", old=False)  # beside the old ones, which go on on a schema that is new to them
    fleet.nodes["n4"].wait_ready().wait_for_line("schema migrated")
    assert rota.value("SELECT max(version) FROM rota.schema_version") > before
    enqueuer.programs = [old, None]  # commands that change something follow the schema
    assert all(node.lives() for node in fleet.nodes.values())
    time_passes(PHASE_S)
    if not knows_lanes:
        declare_exclusive(rota)
    fleet.replace_all(old=False)
    fleet.replace_all(old=True)  # the schema stays
    fleet.replace_all(old=False)

    runs = enqueuer.end()
    wait_until(lambda: not rota.rows("SELECT FROM rota.run r JOIN rota.job j ON j.id = r.job_id WHERE j.name = 'queued'"),
               20, lambda: rota.open_work())
    for node in fleet.nodes.values():
        assert node.stop() == 0, node.text()
    assert len(runs) > 100 and ledger.count() > len(runs) + 10 * TRIGGERS
    assert_nothing_lost_or_doubled(rota, ledger, runs)
    lane_tables.assert_no_overlap(rota)
    assert rota.value("SELECT count(*) FROM visit WHERE gone IS NULL") == 0
    assert rota.value("SELECT count(*) FROM visit") >= 10
    assert rota.value("SELECT count(*) FROM (SELECT FROM visit GROUP BY run HAVING count(*) > 1) twice") == 0


def raise_needs(rota):
    """As a migration would that drops what older nodes live on."""
    rota.db.execute("UPDATE rota.schema_version SET needs = version WHERE version = (SELECT max(version) FROM rota.schema_version)")


def test_nodes_that_may_not_work_on_a_schema_any_more_drain_and_lose_nothing(rota, ledger, last_build):
    old = rota.node("old", program=last_build, pools=ledger.pool(slots=8), **SETTINGS)
    new = rota.node("new", pools=ledger.pool(slots=8), **SETTINGS)
    rota.apply({"name": "queued", "handler": "ledger", "data": {"sleep": 0.3}, "durable": True})
    runs = rota.enqueue("queued", "--count", "200")
    wait_until(lambda: {entry.node for entry in ledger.entries()} == {"old", "new"}, 15, "both to work")
    raise_needs(rota)
    assert old.wait(20) == 1
    line, = old.lines("the schema has become too new for this rota")
    assert line["level"] == "error" and line["needs_version"] > line["knows_version"]
    for run in runs:
        rota.wait_history(run)
    assert collections.Counter(entry.run for entry in ledger.entries()) == dict.fromkeys(runs, 1)
    assert new.lives() and not new.lines("recovered a dead node")


@pytest.mark.parametrize("build", ["first_build", "last_build"])
def test_a_build_that_is_too_old_for_a_schema_says_so_and_does_not_start(rota, build, request):
    raise_needs(rota)
    before = rota.rows("SELECT * FROM rota.schema_version ORDER BY version")
    node = rota.node("old", ready=False, program=request.getfixturevalue(build), **SETTINGS)
    assert node.wait(20) == 1
    [line] = node.lines("cannot start")
    assert "the schema is too new for this rota" in line["error"]
    assert rota.rows("SELECT * FROM rota.schema_version ORDER BY version") == before


def test_a_command_that_needs_a_newer_schema_says_what_would_be_right(empty_rota, first_build):
    empty_rota.run("migrate", program=first_build)
    done = empty_rota.run("get", "lanes", check=False)
    assert done.returncode == 1 and "is at version 1, this rota brings version" in done.stderr
    assert "run `rota migrate`" in done.stderr


def bundled(rota):
    return rota.value("SELECT coalesce(sum(size - taken), 0) FROM rota.bundle")


def queue(rota, count, sleep=0.005):
    rota.apply({"name": "queued", "handler": "ledger", "data": {"sleep": sleep}, "durable": True})
    return rota.enqueue("queued", "--count", str(count))


def test_what_waits_in_bundles_is_seen_by_an_older_node_and_none_are_made_beside_it(rota, ledger, last_build):
    runs = queue(rota, 2000)
    assert bundled(rota) == 2000
    old = rota.node("old", program=last_build, pools=ledger.pool(slots=8), **SETTINGS)
    wait_until(lambda: ledger.count() > 100, 20, "it to work")
    assert bundled(rota) == 0
    new = rota.node("new", pools=ledger.pool(slots=8), **SETTINGS)
    runs += rota.enqueue("queued", "--count", "1000")
    assert bundled(rota) == 0
    wait_until(lambda: {entry.node for entry in ledger.entries()} == {"old", "new"}, 20, "both to work")
    wait_until(lambda: rota.open_runs() == 0, 40, lambda: rota.open_work())
    assert old.stop() == 0
    new.send(signal.SIGSTOP)
    runs += rota.enqueue("queued", "--count", "100")
    assert bundled(rota) == 100
    new.send(signal.SIGCONT)
    wait_until(lambda: rota.open_runs() == 0, 40, lambda: rota.open_work())
    assert collections.Counter(entry.run for entry in ledger.entries()) == dict.fromkeys(runs, 1)


def test_an_older_node_takes_over_what_a_newer_one_had_out_of_bundles_and_at_hand(rota, ledger, last_build):
    new = rota.node("new", pools=ledger.pool(slots=4), **SETTINGS)
    runs = queue(rota, 4000, sleep=0.003)
    wait_until(lambda: rota.value("SELECT coalesce(sum(bit_count(open)), 0) FROM rota.receipt WHERE job_all IS NOT NULL") > 8,
               20, "runs at hand")
    new.kill()
    begun = {entry.run for entry in ledger.entries()}
    rota.node("old", program=last_build, pools=ledger.pool(slots=32), **SETTINGS)
    wait_until(lambda: rota.open_runs() == 0, 60, lambda: rota.open_work())
    times = collections.Counter(entry.run for entry in ledger.entries())
    assert times.keys() == set(runs) and {run for run, count in times.items() if count > 1} <= begun
    assert rota.value("SELECT count(*) FROM rota.task_history WHERE status = 'success'") == 4000
