#!/usr/bin/env python3
"""A worker that performs four runs at once: each imports data.pages pages, tells how far it is, and goes on
from its checkpoint when it is run again. Needs nothing but Python.

A node starts it (a pool of the setting `pools`), or it connects to one: ROTA_WORKER_SOCKET is unix:/path or
host:port, several with commas between; over TCP it says the token in ROTA_WORKER_TOKEN. Connected, it honours
the node's lease: the kernel ends it (SIGALRM) when the lease is over while it has runs."""

import itertools
import json
import os
import signal
import socket
import sys
import threading
import time

SLOTS = 4


class Cancelled(Exception):
    """The node wants the run to end, or has given it to another worker."""


class Run:
    def __init__(self, worker, message):
        self.worker = worker
        self.ids = {"id": message["id"], "fence": message["fence"]}
        self.data = message["data"]
        self.checkpoint = message.get("checkpoint") or {}
        self.cancelled = threading.Event()
        self.lost = False  # with its connection: nobody waits for its answer

    def say(self, kind, **members):
        if not self.lost:
            self.worker.say(type=kind, **self.ids, **members)

    def pause(self, seconds):
        """A step of the work; a cancel ends it at once."""
        if self.cancelled.wait(seconds):
            raise Cancelled

    def lock(self, name, wait="30s"):
        """A cluster lock that ends with the run; its fence."""
        ref, told, answer = next(self.worker.refs), threading.Event(), []
        self.worker.locks[ref] = (told, answer)
        self.say("lock", ref=ref, name=name, wait=wait)
        while not told.wait(0.1):
            if self.cancelled.is_set():
                raise Cancelled
        del self.worker.locks[ref]
        if answer[0]["type"] != "locked":
            raise TimeoutError(answer[0].get("message", name))
        return answer[0]["fence"]


def import_pages(run):
    """The work itself: what it returns stands in the history."""
    pages, pause = run.data["pages"], run.data.get("page_ms", 10) / 1000
    details = {"pages": pages, "from": run.checkpoint.get("page", 0)}
    if "lock" in run.data:
        details["fence"] = run.lock(run.data["lock"])
    for page in range(details["from"], pages):
        if page == run.data.get("bad_page"):
            raise ValueError(f"page {page} cannot be read")
        run.pause(pause)
        run.say("checkpoint", data={"page": page + 1})
        run.say("progress", fraction=(page + 1) / pages, message=f"page {page + 1} of {pages}")
    run.say("log", level="info", message=f"{pages} pages are there")
    return details


class Worker:
    def __init__(self):
        self.output = None
        self.connected = False
        self.writing = threading.Lock()
        self.refs = itertools.count(1)
        self.runs = {}
        self.locks = {}
        self.threads = set()
        self.asked = None  # (ref, when) of the question for the lease that is open
        self.lease = 0  # its end on the clock that goes on while the machine sleeps

    def guard(self):
        """Who has runs ends with the lease, whatever it does at that moment."""
        if self.connected:
            left = self.lease - time.clock_gettime(time.CLOCK_BOOTTIME)
            signal.setitimer(signal.ITIMER_REAL, max(left, 0.001) if self.threads else 0)

    def ask_lease(self):
        self.asked = (next(self.refs), time.clock_gettime(time.CLOCK_BOOTTIME))
        self.say(type="lease", ref=self.asked[0])

    def hear_lease(self, message):
        """Counted from the question, as the answer may have waited somewhere."""
        if "ref" not in message:  # told unasked: it is time to ask
            self.ask_lease()
        elif self.asked and message["ref"] == self.asked[0]:
            self.lease = self.asked[1] + message["valid_ms"] / 1000
            self.guard()

    def say(self, **message):
        line = json.dumps(message).encode() + b"\n"
        try:
            with self.writing:
                self.output.write(line)
                self.output.flush()
        except (OSError, ValueError):
            pass  # the connection has ended: whoever reads from it sees it, too

    def perform(self, run):
        try:
            run.say("done", details=import_pages(run))
        except Cancelled:
            run.say("fail", exception="Cancelled", message="stopped as it was told to")
        except Exception as error:  # the node knows from `retry` whether another attempt makes sense
            run.say("fail", exception=type(error).__name__, message=str(error),
                    retry=not isinstance(error, (ValueError, KeyError, TypeError)))
        finally:
            if self.runs.get(run.ids["id"]) is run:
                del self.runs[run.ids["id"]]
            self.threads.discard(threading.current_thread())
            self.guard()

    def hear(self, message):
        kind = message["type"]
        if kind == "run" and self.connected and time.clock_gettime(time.CLOCK_BOOTTIME) >= self.lease:
            self.say(type="refuse", id=message["id"], fence=message["fence"], reason="busy")
        elif kind == "run":
            run = self.runs[message["id"]] = Run(self, message)
            thread = threading.Thread(target=self.perform, args=(run,), daemon=True)
            self.threads.add(thread)
            self.guard()
            thread.start()
        elif kind == "lease":
            self.hear_lease(message)
        elif kind == "cancel" and message["id"] in self.runs:
            self.runs[message["id"]].cancelled.set()
        elif kind in ("locked", "lock_failed") and message["ref"] in self.locks:
            told, answer = self.locks[message["ref"]]
            answer.append(message)
            told.set()
        elif kind == "refused":
            print("pages.py: the node refuses:", message["reason"], file=sys.stderr)
        # welcome, drain, lock_lost, and what later versions say

    def serve(self, lines, output, **more):
        """Until the node closes the connection."""
        self.output, self.connected, self.lease = output, "honours_lease" in more, 0
        self.say(type="hello", protocol=1, handlers=["import-pages"], slots=SLOTS, name="pages.py", **more)
        if self.connected:
            self.ask_lease()
        try:
            for line in lines:
                self.hear(json.loads(line))
        finally:
            for run in list(self.runs.values()):
                run.lost = True
                run.cancelled.set()
            self.runs.clear()
            for thread in list(self.threads):
                thread.join()  # their lease ends with this connection: another one's is not theirs


def connect(address):
    if address.startswith("unix:"):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(address.removeprefix("unix:"))
        return connection
    host, port = address.rsplit(":", 1)
    connection = socket.create_connection((host.strip("[]"), int(port)))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return connection


def main():
    worker, addresses = Worker(), os.environ.get("ROTA_WORKER_SOCKET")
    if not addresses:
        output = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)  # standard output is the protocol's: what a library prints must not get there
        worker.serve(sys.stdin.buffer, output)
        return
    wait = 0.1
    for address in itertools.cycle(addresses.split(",")):
        more = {"honours_lease": True}
        if not address.startswith("unix:"):
            more["token"] = os.environ.get("ROTA_WORKER_TOKEN", "")
        begun = time.monotonic()
        try:
            with connect(address) as connection, connection.makefile("rwb") as lines:
                worker.serve(lines, lines, **more)
        except OSError as error:
            print(f"pages.py: {address}: {error}", file=sys.stderr)
        wait = 0.1 if time.monotonic() - begun > 5 else min(wait * 2, 5)
        time.sleep(wait)


main()
