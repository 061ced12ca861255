"""A worker of a pool (protocol 1 on stdin and stdout) that writes each run into the ledger, takes as long as
the run's data say, and is done. Arguments: ledger, handler, slots."""

import heapq
import json
import os
import selectors
import sys
import time


def main():
    ledger = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    handler, slots = sys.argv[2], int(sys.argv[3])
    node, buffer, due = "?", b"", []

    def say(message):
        data = json.dumps(message).encode() + b"\n"
        while data:
            data = data[os.write(1, data):]

    say({"type": "hello", "protocol": 1, "handlers": [handler], "slots": slots})
    ready = selectors.DefaultSelector()
    ready.register(0, selectors.EVENT_READ)
    while True:
        pause = max(0.0, due[0][0] - time.monotonic()) if due else None
        if ready.select(pause):
            got = os.read(0, 65536)
            if not got:
                return
            buffer += got
        *lines, buffer = buffer.split(b"\n")
        for line in lines:
            message = json.loads(line)
            if message["type"] == "welcome":
                node = message["node"]
            elif message["type"] == "run":
                os.write(ledger, "\t".join(map(str, (
                    message.get("trigger", ""), message["id"], message["fence"], message["attempt"],
                    message["scheduled_time"], message["fire_time"], str(message["recovering"]).lower(), node,
                    os.getpid(), time.time()))).encode() + b"\n")
                sleep = message["data"].get("sleep", 0) if isinstance(message["data"], dict) else 0
                heapq.heappush(due, (time.monotonic() + sleep, message["id"], message["fence"]))
        while due and due[0][0] <= time.monotonic():
            _, run, fence = heapq.heappop(due)
            say({"type": "done", "id": run, "fence": fence})


main()
