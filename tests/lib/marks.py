"""The marks that workers and commands leave in a file outside the database (mark_worker.py, mark_command.py),
and what must be true of them."""

import json
import os
import sys
import time
from typing import NamedTuple

from processes import look
from waiting import wait_until

HERE = os.path.dirname(os.path.abspath(__file__))


def boot_time():
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Span(NamedTuple):
    """Something that went on: a run under a fence, or a lock that was held."""
    what: str  # the run's lane, the lock's name
    run: int
    fence: int
    node: str
    begin: float
    last: float  # the last sign of life
    ended: bool  # by itself

    def overlaps(self, other):
        return self.begin < other.last and other.begin < self.last


class Marks:
    def __init__(self, directory):
        self.path = os.path.join(str(directory), "marks")
        with open(self.path, "wb"):
            pass

    def pool(self, handler="mark", slots=8, processes=2):
        return {handler: {"command": ["/usr/bin/python3", "-S", "-E", os.path.join(HERE, "mark_worker.py"), self.path,
                                      handler, str(slots)], "processes": processes}}

    def command(self, name, sleep):
        """CMD of `rota lock`: holds it for so long."""
        return [sys.executable, "-S", "-E", os.path.join(HERE, "mark_command.py"), self.path, name, str(sleep)]

    def all(self, what=None, **fields):
        found = []
        with open(self.path, encoding="utf-8") as file:
            text = file.read()
        for line in text[:text.rfind("\n") + 1].splitlines():
            mark = json.loads(line)
            if what in (None, mark["what"]) and all(mark[name] == value for name, value in fields.items()):
                found.append(mark)
        return found

    def wait(self, what, limit=15, since=0.0, **fields):
        """The first such mark since then."""
        def found():
            return [mark for mark in self.all(what, **fields) if mark["at"] >= since]

        return wait_until(found, limit, lambda: f"{what} of {fields}: {self.all()[-5:]}", pause=0.05)[0]

    def runs(self):
        """Every (run, fence) as a span."""
        spans = {}
        for mark in self.all():
            if mark["run"] is None:
                continue
            key = mark["run"], mark["fence"]
            first = spans.get(key)
            spans[key] = Span(mark["lane"] or mark["job"], mark["run"], mark["fence"], mark["node"],
                              first.begin if first else mark["at"], mark["at"],
                              (first is not None and first.ended) or mark["what"] in ("end", "cancelled"))
        return list(spans.values())

    def held(self):
        """Every time a lock was held; the fence is the lock's."""
        spans = {}
        for mark in self.all():
            fence = mark["lock_fence"]
            if fence is None:
                continue
            first = spans.get((mark["lock"], fence))
            spans[mark["lock"], fence] = Span(mark["lock"], mark["run"], fence, mark["node"],
                                              first.begin if first else mark["at"], mark["at"],
                                              mark["what"] in ("unlock", "lock_lost"))
        return list(spans.values())

    def living(self):
        """Workers and what they started that are still there."""
        pids = {mark[kind] for mark in self.all() for kind in ("pid", "child") if mark.get(kind)}
        commands = map(look, pids)
        return [process for process in commands
                if process and ("mark_" in process.command or process.command == "sleep 3600")]


def assert_alone(spans):
    """None of the same name at once, and each under a greater fence than the one before."""
    by_name = {}
    for span in sorted(spans, key=lambda span: span.begin):
        by_name.setdefault(span.what, []).append(span)
    for name, row in by_name.items():
        last = None
        for span in row:
            assert last is None or not span.overlaps(last), f"{name}: two at once: {last} and {span}"
            assert last is None or span.fence > last.fence, f"{name}: a fence that did not grow: {last} and {span}"
            last = span if last is None or span.last > last.last else last
