"""A worker of a pool that does what the run's data tell it to: {"do": …}. Arguments: handler, slots, and a
file that gets every line it reads, byte for byte."""

import json
import os
import re
import sys
import time

SEEN = {}  # how often each run came here


def write(data):
    while data:
        data = data[os.write(1, data):]


def say(message):
    write(json.dumps(message).encode() + b"\n")


def raw_data(line):
    """The bytes of the member `data`, as they came."""
    return re.search(rb',"data":(.*?)(?:,"trigger":"[^"]*")?,"fire_time":', line, re.DOTALL).group(1)


def answer(run, line, data):
    name, ids = data.get("do", "done"), {"id": run["id"], "fence": run["fence"]}
    SEEN[run["id"]] = SEEN.get(run["id"], 0) + 1
    if name == "done":
        say({"type": "done", **ids})
    elif name == "echo":
        write(b'{"type":"done","id":%d,"fence":%d,"details":%s}\n' % (run["id"], run["fence"], raw_data(line)))
    elif name == "count":  # its job's data come back with the next number
        data = {**data, "n": data.get("n", 0) + 1}
        data.pop("run", None)
        say({"type": "done", **ids, "details": {"n": data["n"]}, "data": data})
    elif name == "leave":  # the job's data, as they stand in the run's, byte for byte
        write(b'{"type":"done","id":%d,"fence":%d,"data":%s}\n' % (run["id"], run["fence"], data["bytes"].encode()))
    elif name == "fail":
        say({"type": "fail", **ids, **data["answer"]})
    elif name in ("snooze", "refuse") and SEEN[run["id"]] == 1:
        say({"type": name, **ids, **data["answer"]})
    elif name == "wrong fence":
        say({"type": "done", "id": run["id"], "fence": run["fence"] + 1})
        say({"type": "fail", **ids, "message": "the right one"})
    elif name == "chatter":
        for message in data["messages"]:
            say({**ids, **message})
        say({"type": "done", **ids})
    elif name == "die":
        os._exit(3)
    elif name == "garbage":
        write(b"this is no message\n")
    elif name == "flood one line":
        write(b'{"type":"log","message":"' + b"x" * (4 << 20))
    elif name == "flood":
        line = json.dumps({"type": "progress", **ids, "fraction": 0.5}).encode() + b"\n"
        while True:
            write(line * 100)
    elif name == "sleep":
        time.sleep(data["seconds"])
        say({"type": "done", **ids})
    elif name == "hang":
        time.sleep(3600)
    else:
        say({"type": "done", **ids})


def main():
    handler, slots = sys.argv[1], int(sys.argv[2])
    seen = os.open(sys.argv[3], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    say({"type": "hello", "protocol": 1, "handlers": [handler], "slots": slots, "name": "odd", "version": "1"})
    for line in sys.stdin.buffer:
        os.write(seen, line)
        message = json.loads(line)
        if message["type"] == "run":
            answer(message, line, message["data"])


main()
