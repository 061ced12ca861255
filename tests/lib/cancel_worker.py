"""A worker of a pool whose runs last as long as their data say, and which is told to end them. Arguments:
handler, slots, and whether it heeds that. `then`: what a run answers in the end, or when it is told to."""

import json
import os
import selectors
import signal
import sys
import time


def say(message):
    data = json.dumps(message).encode() + b"\n"
    while data:
        data = data[os.write(1, data):]


def answer(run):
    ids, then = {"id": run["id"], "fence": run["fence"]}, run["data"].get("then", "done")
    if then == "die":
        os._exit(3)
    if then in ("snooze", "again"):
        say({"type": "snooze", **ids, "for": "20ms"})
    elif then == "fail":
        say({"type": "fail", **ids, "message": "told to", "retry": True})
    else:
        say({"type": "done", **ids})


def main():
    handler, slots, heeds = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "heeds"
    if not heeds:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open_runs, buffer = {}, b""
    ready = selectors.DefaultSelector()
    ready.register(0, selectors.EVENT_READ)
    say({"type": "hello", "protocol": 1, "handlers": [handler], "slots": slots})
    while True:
        due = min((run["until"] for run in open_runs.values()), default=None)
        if ready.select(None if due is None else max(0.0, due - time.monotonic())):
            got = os.read(0, 65536)
            if not got:
                return
            buffer += got
        *lines, buffer = buffer.split(b"\n")
        for line in lines:
            message = json.loads(line)
            if message["type"] == "run":
                open_runs[message["id"]] = {**message, "until": time.monotonic() + message["data"].get("sleep", 0)}
            elif message["type"] == "cancel" and heeds and message["id"] in open_runs:
                answer(open_runs.pop(message["id"]))
        for run in [run for run in open_runs.values() if run["until"] <= time.monotonic()]:
            answer(open_runs.pop(run["id"]))


main()
