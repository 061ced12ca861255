"""A worker of a pool that says what it is told to say in its hello and writes down what it is given: a line with
its label, the handler, the run and the fence. Arguments: file, label, hello (JSON), handlers it refuses as unknown
(JSON), which it says hello again without when a run asks for that: {"hello": {...}}."""

import json
import os
import sys


def say(**message):
    print(json.dumps(message), flush=True)


def main():
    path, label, hello, unknown = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), json.loads(sys.argv[4])
    say(type="hello", protocol=1, slots=4, **hello)
    for line in sys.stdin:
        run = json.loads(line)
        if run["type"] != "run":
            continue
        refused = run["handler"] in unknown
        with open(path, "ab", buffering=0) as file:
            file.write(f"{label} {run['handler']} {run['id']} {'refused' if refused else 'done'}\n".encode())
        ids = {"id": run["id"], "fence": run["fence"]}
        if run["data"].get("hello"):
            say(type="hello", protocol=1, slots=4, **run["data"]["hello"])
        if refused:
            say(type="refuse", **ids, reason="unknown_handler")
        else:
            say(type="done", **ids, details={"pid": os.getpid()})


main()
