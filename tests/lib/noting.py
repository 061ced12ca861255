"""Runs that say of themselves what a test wants: note_worker.py on the nodes of a database, and the steps its runs
are given."""

import json
import os
import sys

from waiting import wait_until

NOTE_WORKER = os.path.join(os.path.dirname(__file__), "note_worker.py")
NOTES = "SELECT fraction, message, checkpoint::text, logs, logs_dropped, fence FROM rota.run_extra WHERE run_id = %s"


class Noting:
    """A database whose nodes have a worker that notes, and what its runs were given."""

    def __init__(self, rota, directory):
        self.rota = rota
        self.directory = directory
        self.seen_path = str(directory / "seen")
        self.pools = {"notes": {"command": [sys.executable, "-S", "-E", NOTE_WORKER, "note", self.seen_path],
                                "processes": 2}}

    def job(self, **more):
        self.rota.apply({"name": "job", "handler": "note", "durable": True, **more})

    def node(self, name="n1", **settings):
        return self.rota.node(name, pools=self.pools, **settings)

    def enqueue(self, *visits, **columns):
        """A run with these visits; columns: further arguments of rota.enqueue by name."""
        given = "".join(f", {name} => %s" for name in columns)
        return self.rota.value(f"SELECT rota.enqueue('job', %s::jsonb{given})", json.dumps({"visits": visits}),
                               *columns.values())

    def seen(self, run):
        """The messages by which the run was given to a worker."""
        if not os.path.exists(self.seen_path):
            return []
        with open(self.seen_path, encoding="utf-8") as file:
            messages = [json.loads(line) for line in file]
        return [message for message in messages if message["id"] == run]

    def notes(self, run):
        found = self.rota.rows(NOTES, run)
        names = ("fraction", "message", "checkpoint", "logs", "dropped", "fence")
        return dict(zip(names, found[0])) if found else None

    def wait_note(self, run, name, value):
        wait_until(lambda: (self.notes(run) or {}).get(name) == value, 15,
                   lambda: f"{name} = {value} of run {run}: {self.notes(run)} {self.rota.where(run)}")

    def gate(self, name="gate"):
        return str(self.directory / name)

    def open(self, name="gate"):
        (self.directory / name).touch()


def progress(fraction=None, message=None):
    said = {"fraction": fraction, "message": message}
    return {"say": {"type": "progress", **{name: value for name, value in said.items() if value is not None}}}


def checkpoint(data):
    return {"say": {"type": "checkpoint", "data": data}}


def line(message, level="info"):
    return {"say": {"type": "log", "level": level, "message": message}}


STAY = {"stay": True}
