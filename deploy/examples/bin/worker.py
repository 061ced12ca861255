#!/usr/bin/env python3
"""The smallest worker: one JSON object a line, in on stdin and out on stdout."""

import json
import sys


def say(**message):
    print(json.dumps(message), flush=True)


say(type="hello", protocol=1, handlers=["resize"], slots=1, name="resize-worker")
for line in sys.stdin:
    run = json.loads(line)
    if run["type"] != "run":
        continue
    try:
        width = run["data"]["width"]
        say(type="done", id=run["id"], fence=run["fence"], details={"resized_to": width})
    except KeyError as missing:
        say(type="fail", id=run["id"], fence=run["fence"], message=f"data has no {missing}")
