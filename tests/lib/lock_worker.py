"""A worker of a pool (protocol 1 on stdin and stdout) whose runs take locks. Of a run's data: `locks` are the
messages it says, in order, with refs that are its own (`of_run`: the lock is to end with the run); `until`:
a file whose appearance ends the run; `unlock`: whether it lets go before that. Arguments: slots, and a file
that gets a line for everything it is told of locks: {"name", "run", "type", "fence", "at"}."""

import json
import os
import sys
import threading
import time

output = threading.Lock()
waiting = {}  # ref: (name, run, event)
refs = iter(range(1, 1 << 30))


def say(message):
    with output:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


def note(entry):
    with output:
        os.write(log, json.dumps({**entry, "at": time.time(), "pid": os.getpid()}).encode() + b"\n")


def perform(message):
    data, ids, mine = message["data"], {"id": message["id"], "fence": message["fence"]}, []
    for lock in data["locks"]:
        ref, told = next(refs), threading.Event()
        waiting[ref] = (lock["name"], message["id"], told)
        of_run = lock.pop("of_run", False)
        say({"type": "lock", "ref": ref, **lock, **(ids if of_run else {})})
        mine.append((ref, told))
    for _, told in mine:
        told.wait()
    while not os.path.exists(data["until"]):
        time.sleep(0.01)
    for ref, _ in mine:
        if data.get("unlock", True):
            say({"type": "unlock", "ref": ref})
    say({"type": "done", **ids})


def main():
    say({"type": "hello", "protocol": 1, "handlers": ["locker"], "slots": int(sys.argv[1])})
    for line in sys.stdin:
        message = json.loads(line)
        if message["type"] == "run":
            threading.Thread(target=perform, args=(message,), daemon=True).start()
        elif message["type"] in ("locked", "lock_failed", "lock_lost"):
            name, run, told = waiting[message.pop("ref")]
            note({"name": name, "run": run, **message})
            told.set()


log = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
main()
