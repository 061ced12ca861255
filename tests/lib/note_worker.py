"""A worker of a pool that says of its runs what their data tell it to. Arguments: handler, and a file that gets
every run it is given, with its own pid. Data: {"visits": [steps, steps …]}, the steps of a run's first visit to any
worker that writes into that file, of its second and so on; the last are those of all further ones. A step:
{"say": message}, {"times": n, "say": message} ("{}" in its message: the number), {"blob": n, "say": message} with so
many bytes as its data, {"until": path} waits for a
file, {"stay": true} for ever, {"exit": code}. A run whose steps are over is done."""

import json
import os
import sys
import time


def write(data):
    while data:
        data = data[os.write(1, data):]


def take(run, step):
    ids = {"id": run["id"], "fence": run["fence"]}
    if "say" in step:
        for number in range(step.get("times", 1)):
            message = {**step["say"], **ids}
            if "times" in step and "message" in message:
                message["message"] = message["message"].replace("{}", str(number))
            if "blob" in step:
                message["data"] = {"blob": "x" * step["blob"]}
            write(json.dumps(message).encode() + b"\n")
    while step.get("stay") or ("until" in step and not os.path.exists(step["until"])):
        time.sleep(0.01)
    if "exit" in step:
        os._exit(step["exit"])


def main():
    handler, seen_path = sys.argv[1:]
    seen = os.open(seen_path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    write(json.dumps({"type": "hello", "protocol": 1, "handlers": [handler], "slots": 1}).encode() + b"\n")
    for line in sys.stdin.buffer:
        run = json.loads(line)
        if run["type"] != "run":
            continue
        os.write(seen, json.dumps({**run, "pid": os.getpid()}).encode() + b"\n")
        with open(seen_path, "rb") as file:
            visit = sum(json.loads(earlier)["id"] == run["id"] for earlier in file)
        visits = run["data"].get("visits", [[]])
        last = None
        for step in visits[min(visit, len(visits)) - 1]:
            take(run, step)
            last = step.get("say", {}).get("type")
        if last not in ("done", "fail", "snooze", "refuse"):
            write(json.dumps({"type": "done", "id": run["id"], "fence": run["fence"]}).encode() + b"\n")


main()
