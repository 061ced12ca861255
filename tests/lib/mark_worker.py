"""A worker of a pool (protocol 1 on stdin and stdout) that marks in a file outside the database what its runs
do and when, by a clock that nobody sets (CLOCK_BOOTTIME): begin, beat for as long as they go on, end. Of the
data: `sleep` says how long that is, `lock` names a cluster lock to be taken for that time, or
until it is lost. It has a child, as workers do, that must not outlive it. Arguments: file, handler, slots."""

import json
import os
import selectors
import subprocess
import sys
import time

BEAT_S = 0.05


def now():
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Worker:
    def __init__(self, path, handler, slots):
        self.file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self.node, self.runs, self.buffer = "?", {}, b""
        self.say({"type": "hello", "protocol": 1, "handlers": [handler], "slots": slots})
        self.child = subprocess.Popen(["sleep", "3600"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    @staticmethod
    def say(message):
        data = json.dumps(message).encode() + b"\n"
        while data:
            data = data[os.write(1, data):]

    def mark(self, what, run, **more):
        os.write(self.file, json.dumps({
            "what": what, "at": now(), "run": run["id"], "fence": run["fence"], "job": run["job"],
            "trigger": run.get("trigger"), "scheduled": run["scheduled_time"], "attempt": run["attempt"],
            "lane": run["data"].get("lane"), "lock": run["data"].get("lock"), "lock_fence": run.get("lock_fence"),
            "node": self.node, "pid": os.getpid(), "child": self.child.pid, **more}).encode() + b"\n")

    def answer(self, run, **more):
        del self.runs[run["id"], run["fence"]]
        self.say({"id": run["id"], "fence": run["fence"], **more})

    def begin(self, run):
        self.runs[run["id"], run["fence"]] = run
        self.mark("begin", run)
        if run["data"].get("lock"):
            run["until"] = float("inf")
            self.say({"type": "lock", "ref": run["id"], "name": run["data"]["lock"], "wait": run["data"].get("wait", "2s")})
        else:
            run["until"] = now() + run["data"].get("sleep", 0)

    def by_ref(self, ref):
        return next((run for run in self.runs.values() if run["id"] == ref), None)

    def heard(self, message):
        kind = message["type"]
        if kind == "welcome":
            self.node = message["node"]
        elif kind == "run":
            self.begin(message)
        elif kind == "cancel":
            run = self.runs.get((message["id"], message["fence"]))
            if run is not None:
                self.mark("cancelled", run)
                self.unlock(run)
                self.answer(run, type="fail", message="cancelled")
        elif kind in ("locked", "lock_failed", "lock_lost"):
            run = self.by_ref(message["ref"])
            if run is None:
                return
            if kind == "locked":
                run["lock_fence"] = message["fence"]
                run["until"] = now() + run["data"].get("sleep", 0)
                self.mark(kind, run)
            else:
                self.mark(kind, run)
                run.pop("lock_fence", None)
                run["until"] = 0

    def unlock(self, run):
        if "lock_fence" in run:
            self.mark("unlock", run)
            del run["lock_fence"]
            self.say({"type": "unlock", "ref": run["id"]})

    def beat(self):
        for run in list(self.runs.values()):
            if run["until"] > now():
                self.mark("beat", run)
                continue
            self.unlock(run)
            self.mark("end", run)
            self.answer(run, type="done")

    def serve(self):
        ready = selectors.DefaultSelector()
        ready.register(0, selectors.EVENT_READ)
        while True:
            if ready.select(BEAT_S if self.runs else None):
                got = os.read(0, 65536)
                if not got:
                    return
                *lines, self.buffer = (self.buffer + got).split(b"\n")
                for line in lines:
                    self.heard(json.loads(line))
            self.beat()


Worker(sys.argv[1], sys.argv[2], int(sys.argv[3])).serve()
