"""A worker of a pool (protocol 1) that says at once, by a datagram, when a run has reached its handler:
the id, time.time(). Of the data: `sleep` seconds; `hold`: it never ends.
Arguments: the socket of who listens, slots."""

import json
import os
import socket
import sys
import threading
import time

output = threading.Lock()


def say(**message):
    line = json.dumps(message).encode() + b"\n"
    with output:
        while line:
            line = line[os.write(1, line):]


def finish(run, seconds=0.0):
    time.sleep(seconds)
    say(type="done", id=run["id"], fence=run["fence"])


def main():
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    told.connect(sys.argv[1])
    say(type="hello", protocol=1, handlers=["stamp"], slots=int(sys.argv[2]))
    for line in sys.stdin.buffer:
        at = time.time()
        message = json.loads(line)
        if message["type"] != "run":
            continue
        data = message["data"]
        if data.get("hold"):
            continue
        told.send(json.dumps([message["id"], at]).encode())
        if data.get("sleep"):
            threading.Thread(target=finish, args=(message, data["sleep"]), daemon=True).start()
        else:
            finish(message)


main()
