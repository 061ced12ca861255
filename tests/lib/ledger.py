"""The independent ledger: a file outside the database, to which every run appends one line; and what must
be in it. Occurrences are (trigger, milliseconds since 1970)."""

import collections
import datetime
import os
import sys
import time
from typing import NamedTuple

WORKER = os.path.join(os.path.dirname(__file__), "ledger_worker.py")
# `>>` appends with one write: lines of concurrent runs do not mix.
SHELL_LINE = ('echo "$ROTA_TRIGGER\t$ROTA_RUN_ID\t$ROTA_FENCE\t$ROTA_ATTEMPT\t$ROTA_SCHEDULED_TIME'
              '\t$ROTA_FIRE_TIME\t$ROTA_RECOVERING\t$ROTA_NODE\t$$\t-" >>')


def milliseconds(text):
    instant = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    return round(instant.timestamp() * 1000)


def instant_text(moment_ms):
    moment = datetime.datetime.fromtimestamp(moment_ms / 1000, datetime.timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment_ms % 1000:03d}Z"


class Entry(NamedTuple):
    trigger: str
    run: int
    fence: int
    attempt: int
    scheduled: int
    fired: int
    recovering: bool
    node: str
    pid: int
    clock: float  # when the worker wrote it; None where it did not say


class Ledger:
    def __init__(self, directory):
        self.path = os.path.join(str(directory), "ledger")
        with open(self.path, "wb"):
            pass

    def entries(self):
        found = []
        with open(self.path, encoding="utf-8") as file:
            text = file.read()
        for line in text[:text.rfind("\n") + 1].splitlines():
            trigger, run, fence, attempt, scheduled, fired, recovering, node, pid, clock = line.split("\t")
            found.append(Entry(trigger, int(run), int(fence), int(attempt), milliseconds(scheduled),
                               milliseconds(fired), recovering == "true", node, int(pid),
                               None if clock == "-" else float(clock)))
        return found

    def count(self):
        with open(self.path, "rb") as file:
            return file.read().count(b"\n")

    def occurrences(self):
        """How often each occurrence is in it."""
        return collections.Counter((entry.trigger, entry.scheduled) for entry in self.entries())

    def shell(self, after=""):
        """Data of an exec job that writes its line, then does what is given."""
        return {"command": ["/bin/sh", "-c", f"{SHELL_LINE}'{self.path}'" + (f"; {after}" if after else "")]}

    def pool(self, processes=1, slots=32, handler="ledger"):
        """The setting `pools` for workers that write the ledger; runs last as long as data.sleep says."""
        return {handler: {"command": [sys.executable, "-S", "-E", WORKER, self.path, handler, str(slots)],
                          "processes": processes}}


class Ticks:
    """Triggers that fire every second for some seconds, from a moment in the near future, each with a
    phase of its own."""

    def __init__(self, prefix, count, seconds, lead=1.0, start_ms=None, phases=10):
        self.start_ms = start_ms if start_ms is not None else (int(time.time() + lead) + 1) * 1000
        self.phase = {f"{prefix}-{i}": self.start_ms + i % phases * (1000 // phases) for i in range(count)}
        self.prefix, self.seconds = prefix, seconds

    def declared(self, **more):
        return [{"name": name, "every": "1s", "start_at": instant_text(first),
                 "end_at": instant_text(first + (self.seconds - 1) * 1000), **more}
                for name, first in self.phase.items()]

    def expected(self):
        return {(name, first + second * 1000) for name, first in self.phase.items() for second in range(self.seconds)}

    def moment(self, share):
        """A point of their time, as time.time() tells it."""
        return self.start_ms / 1000 + share * self.seconds

    def until_all_fired(self):
        return self.start_ms / 1000 + self.seconds


def show(occurrences, most=8):
    return [f"{name} {instant_text(moment)}" for name, moment in sorted(occurrences)[:most]]


def assert_exactly_once(ledger, expected):
    """Every expected firing once; none lost, none twice, none that nobody expects."""
    found = ledger.occurrences()
    lost = expected - found.keys()
    twice = {key for key, times in found.items() if times > 1}
    unexpected = found.keys() - expected
    assert not (lost or twice or unexpected), (
        f"of {len(expected)} firings {len(lost)} are lost {show(lost)}, {len(twice)} were fired more than once "
        f"{show(twice)}, {len(unexpected)} were not expected {show(unexpected)}")


def shares(entries):
    """Which part of the entries each node has."""
    counts = collections.Counter(entry.node for entry in entries)
    return {node: count / len(entries) for node, count in counts.items()}


def print_delays(entries, what):
    """How late firings began, by the worker's clock."""
    delays = sorted(entry.clock * 1000 - entry.scheduled for entry in entries if entry.clock is not None)
    if delays:
        print(f"{what}: {len(delays)} firings, ms late: median {delays[len(delays) // 2]:.1f}, "
              f"99 % {delays[len(delays) * 99 // 100]:.1f}, worst {delays[-1]:.1f}")
