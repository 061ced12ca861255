"""Processes as /proc shows them. One is named by its id and its start, so that a number that was given
to another process meanwhile is never mistaken for it."""

import ctypes
import os
import signal
from typing import NamedTuple

PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(number=signal.SIGKILL):
    """For preexec_fn: what a test starts does not outlive the tests, however they end."""
    libc.prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)


class Process(NamedTuple):
    pid: int
    start: int  # clock ticks since boot
    command: str

    def lives(self):
        now = look(self.pid)
        return now is not None and now.start == self.start

    def kill(self, number=signal.SIGKILL):
        if self.lives():
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                pass


def stat_of(pid):
    """Fields of /proc/PID/stat from the state on; None if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rsplit(")", 1)[1].split()
    except OSError:
        return None


def look(pid):
    """The process, None if it is gone or a zombie."""
    stat = stat_of(pid)
    if stat is None or stat[0] in "ZX":
        return None
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            command = file.read().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return None
    return Process(int(pid), int(stat[19]), command)


def descendants(pid):
    """All living processes below this one, nearest first."""
    below = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        stat = stat_of(entry)
        if stat is not None:
            below.setdefault(int(stat[1]), []).append(int(entry))
    found, todo = [], [pid]
    while todo:
        children = below.get(todo.pop(0), [])
        todo.extend(children)
        found.extend(filter(None, map(look, children)))
    return found


def cpu_seconds(pid):
    """User and system time of one process."""
    stat = stat_of(pid)
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def wake_ups(pid):
    """How often its threads have gone to sleep and come back, so far."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/status", encoding="utf-8") as file:
            total += sum(int(line.split()[1]) for line in file if line.startswith("voluntary_ctxt_switches:"))
    return total


def memory_kib(pid, field):
    """A field of /proc/PID/status, for example RssAnon."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        for line in file:
            if line.startswith(field + ":"):
                return int(line.split()[1])
    raise KeyError(field)
