"""A worker of a pool (protocol 1 on stdin and stdout) that does what a run's data ask for, and writes down
when each attempt began and ended. Of the data: `sleep` seconds; `fail` always, `fail_until` an attempt;
`snooze_before` and `die_before` a time of time.time(). It leaves a checkpoint with its attempt in each.
Arguments: ledger, slots."""

import json
import os
import sys
import threading
import time

output = threading.Lock()


def say(**message):
    line = json.dumps(message).encode() + b"\n"
    with output:
        while line:
            line = line[os.write(1, line):]


class Worker:
    def __init__(self, ledger):
        self.ledger = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self.node = "?"
        self.cancelled = set()

    def note(self, what, message):
        """One write: lines of concurrent workers do not mix."""
        os.write(self.ledger, json.dumps({
            "what": what, "at": time.monotonic(), "run": message["id"], "fence": message["fence"],
            "attempt": message["attempt"], "job": message["job"], "recovering": message["recovering"],
            "checkpoint": message.get("checkpoint"), "data": message["data"], "node": self.node,
            "traceparent": message.get("traceparent")}).encode() + b"\n")

    def answer(self, message):
        data, ids = message["data"], {"id": message["id"], "fence": message["fence"]}
        if data.get("die_before", 0) > time.time():
            os._exit(3)
        say(type="progress", **ids, fraction=0.5, message=f"attempt {message['attempt']}")
        say(type="checkpoint", **ids, data={"attempt": message["attempt"]})
        say(type="log", **ids, level="info", message=f"attempt {message['attempt']} begins")
        pause = time.monotonic() + data.get("sleep", 0)
        while time.monotonic() < pause and message["id"] not in self.cancelled:
            time.sleep(min(0.01, max(0.0, pause - time.monotonic())))
        if message["id"] in self.cancelled:
            return {"type": "fail", **ids, "message": "cancelled"}
        if data.get("snooze_before", 0) > time.time():
            return {"type": "snooze", **ids, "for": "200ms"}
        if data.get("fail") or data.get("fail_until", 0) > message["attempt"]:
            return {"type": "fail", **ids, "exception": "Wanted", "message": f"failure of attempt {message['attempt']}"}
        return {"type": "done", **ids, "details": {"attempt": message["attempt"]}}

    def perform(self, message):
        self.note("begin", message)
        answer = self.answer(message)
        self.note("end", message)
        say(**answer)

    def hear(self, message):
        if message["type"] == "welcome":
            self.node = message["node"]
        elif message["type"] == "cancel":
            self.cancelled.add(message["id"])
        elif message["type"] == "run":
            self.cancelled.discard(message["id"])
            threading.Thread(target=self.perform, args=(message,), daemon=True).start()


def main():
    worker = Worker(sys.argv[1])
    say(type="hello", protocol=1, handlers=["queue"], slots=int(sys.argv[2]))
    for line in sys.stdin:
        worker.hear(json.loads(line))


main()
