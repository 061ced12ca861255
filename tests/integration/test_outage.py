"""A fleet that was away for a day comes back to triggers of one second: what fell due meanwhile meets each
trigger's policy, exactly; made-up runs are paced; regular firings are on time again at once.

The day is not waited for: while no node runs, the times of the triggers are moved a day back in the database.
To nodes, which know the time from the database only, that is the same as having been away."""

import collections
import json
import math
import os
import time
from typing import NamedTuple

import pytest

from ledger import instant_text
from processes import memory_kib
from waiting import wait_for_clock, wait_until

FULL = os.environ.get("ROTA_TEST_FULL") == "1"
SANITIZED = os.environ.get("ROTA_TEST_SANITIZED") == "1"
DAY_S = 86400
TOLERANCE_S = 5  # misfire_tolerance, the default
LIMIT = 4  # misfire_limit of fire_all
POLICIES = {  # what a trigger declares, and how many runs are made up for the day
    "once": ({"misfire": "fire_once"}, 1),
    "skip-recent": ({"misfire": "skip"}, 1),  # the newest occurrence that is too late is so by a moment
    "skip": ({"misfire": "skip", "misfire_threshold": "1s"}, 0),
    "all": ({"misfire": "fire_all", "misfire_limit": LIMIT}, LIMIT),
}
NAMES = list(POLICIES)
MADE_UP = sum(made_up for _, made_up in POLICIES.values()) / len(POLICIES)  # a trigger


def policy_of(trigger):
    return trigger.rsplit("-", 1)[0]


def declare(rota, count):
    """`count` triggers of one second, spread over the second and the policies, a day late."""
    start_ms = (int(time.time()) + 3600) * 1000  # none is due before its times are moved
    rota.apply({"name": "job", "handler": "noop", "triggers": [
        {"name": f"{NAMES[i % 4]}-{i}", "every": "1s", "start_at": instant_text(start_ms + i % 20 * 50),
         **POLICIES[NAMES[i % 4]][0]} for i in range(count)]})
    away(rota, DAY_S + 3600)


def away(rota, seconds):
    for change in ("trigger SET start_at = start_at", "trigger_due SET next_at = next_at", "pending SET due = due",
                   "fleet SET paced_until = paced_until"):
        rota.db.execute(f"UPDATE rota.{change} - make_interval(secs => {seconds})")


def made_up_waiting(rota):
    return rota.value("SELECT count(*) FROM rota.pending WHERE made_up")


class Line(NamedTuple):
    """What a trigger and the history say; instants in seconds since 1970."""
    name: str
    fired: int
    missed: int
    misfired: int
    start: float
    newest: float
    runs: int
    occurrences: int
    stood_for: int
    made_up: int  # by the history


def lines(rota):
    return [Line(*row) for row in rota.rows("""
        SELECT t.name, d.fired, d.missed, d.misfired, extract(epoch FROM t.start_at)::float8,
               extract(epoch FROM d.previous_at)::float8, h.runs, h.occurrences, h.stood_for, h.made_up
          FROM rota.trigger t JOIN rota.trigger_due d ON d.trigger_id = t.id
               JOIN (SELECT h.trigger, count(*) AS runs, count(DISTINCT h.scheduled_at) AS occurrences,
                            sum(h.missed) AS stood_for, count(*) FILTER (WHERE h.misfired) AS made_up
                       FROM rota.task_history h WHERE h.status = 'success' GROUP BY h.trigger) h ON h.trigger = t.name""")]


def assert_counts_are_those_of_the_policy(found, began, looked):
    """Each occurrence of the day has its own run or is counted. `began`, `looked`: between them each trigger was
    looked at for the first time."""
    for line in found:
        made_up = POLICIES[policy_of(line.name)][1]
        assert line.runs == line.occurrences == line.fired, line
        assert line.misfired == line.made_up == made_up, line
        assert line.fired + line.missed == round(line.newest - line.start) + 1, f"not every occurrence: {line}"
        assert line.stood_for == (line.missed if made_up else 0), line
        # What was late at the first look: the newest of it was so by more than the tolerance, the next was not.
        late = line.missed + line.misfired
        newest_late = line.start + late - 1
        low, high = began - TOLERANCE_S - 1, looked - TOLERANCE_S
        assert low <= newest_late <= high, f"{line}: {late} were late, expected {low - line.start:.1f} to {high - line.start:.1f}"


def started(rota, made_up_before):
    """When runs that were made up started, oldest first."""
    return [row[0] for row in rota.rows("""
        SELECT extract(epoch FROM started_at)::float8 FROM rota.task_history
         WHERE extract(epoch FROM scheduled_at) < %s ORDER BY 1""", made_up_before)]


def end_all(rota):
    """No trigger occurs any more, what it has become runs to its end."""
    rota.db.execute("UPDATE rota.trigger_due SET state = 'C', next_at = NULL")
    wait_until(lambda: rota.open_runs() == 0, 20, lambda: f"the last runs: {rota.open_work()}")


def assert_paced(moments, began, rate):
    """Never ahead of the pace, and no second has much more than it: a stall is made good in a moment, not a storm."""
    ahead = max(number - rate * (moment - began) for number, moment in enumerate(moments))
    most = max(collections.Counter(math.floor(moment) for moment in moments).values())
    print(f"{len(moments)} made-up runs in {moments[-1] - moments[0]:.1f} s, at most {most} in a second, {ahead:.1f} ahead")
    assert ahead <= rate * 0.1 + 5
    assert most <= rate * (1.5 if not FULL else 3)


@pytest.mark.full  # test_a_second_outage_… has less of it
def test_a_day_without_nodes_ends_in_no_storm_and_counts_exactly(rota, capsys):
    count, rate = (200, 20) if SANITIZED else (10000, 1000) if FULL else (1000, 100)
    declare(rota, count)
    began = time.time()
    nodes = rota.start_nodes("n1", "n2", catch_up_rate=rate, slots=64)
    memory = {node.name: memory_kib(node.pid, "RssAnon") for node in nodes}
    wait_until(lambda: rota.value("SELECT count(*) FROM rota.trigger_due WHERE next_at < now() - interval '1 hour'") == 0,
               20, "all triggers to be looked at", pause=0.01)
    looked = time.time()
    assert made_up_waiting(rota) > count * MADE_UP / 2, "on-time firings are not measured beside made-up ones"
    wait_until(lambda: made_up_waiting(rota) == 0 or time.time() > looked + count * MADE_UP / rate + 20,
               count * MADE_UP / rate + 30, "made-up runs to start", pause=0.25)
    calm = time.time()
    wait_for_clock(calm + 3, "some seconds of regular firings")
    grown = {node.name: memory_kib(node.pid, "RssAnon") - memory[node.name] for node in nodes}
    end_all(rota)
    told = json.loads(rota.run("get", "triggers", "--json").stdout)
    for node in nodes:
        assert node.stop() == 0
        assert not node.lines(level="error")
    found = lines(rota)
    assert len(found) == count
    with capsys.disabled():
        print()
        assert_paced(started(rota, began - TOLERANCE_S), began, rate)  # what is later may have been on time
        # Back on time: what was scheduled from some seconds after the return on, made-up runs or not.
        back = looked + (10 if FULL else 2)
        delays = rota.rows("""SELECT max(extract(epoch FROM started_at - scheduled_at))::float8,
                                     percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM started_at - scheduled_at))
                                FROM rota.task_history WHERE extract(epoch FROM scheduled_at) > %s""", back)[0]
        print(f"first look {looked - began:.2f} s after the start; regular firings then: 99 % within {delays[1] * 1000:.0f} "
              f"ms, all within {delays[0] * 1000:.0f} ms; memory grew by {grown} KiB")
    assert_counts_are_those_of_the_policy(found, began, looked)
    assert looked - began < 20 and back < calm, "made-up runs were over before anything could be seen"
    assert delays[1] < 1 and delays[0] < 3
    assert SANITIZED or max(grown.values()) < 8 * 1024
    shown = {trigger["name"]: trigger for trigger in told["data"]}
    for line in found[:1000]:
        if line.name in shown:
            assert shown[line.name]["misfired"] == line.misfired and shown[line.name]["missed"] == line.missed
    assert len(shown) == min(count, told["limit"])


def test_a_second_outage_in_the_middle_of_catching_up_ends_in_no_storm_either(rota):
    rate = 20
    declare(rota, 100)
    nodes = rota.start_nodes("n1", "n2", catch_up_rate=rate, slots=64)
    wait_until(lambda: rota.value("SELECT count(*) FROM rota.trigger_due WHERE missed = 0") == 0, 20, "the first looks", pause=0.01)
    for node in nodes:
        assert node.stop() == 0
    left = made_up_waiting(rota)
    assert left > 2 * rate
    paced = [row[0] for row in rota.rows("SELECT id FROM rota.pending WHERE made_up")]
    away(rota, 3600)
    rota.db.execute("UPDATE rota.trigger_due SET state = 'C', next_at = NULL")  # only what waits is looked at
    began = time.time()
    rota.start_nodes("n3", "n4", catch_up_rate=rate, slots=64)
    rota.wait_idle(30 + left / rate)
    moments = [row[0] for row in rota.rows("""SELECT extract(epoch FROM started_at)::float8 FROM rota.task_history
                                               WHERE id = ANY (%s) ORDER BY 1""", paced)]
    assert_paced(moments, began, rate)
