"""What all parts of the comparison share: its settings, the server, one measurement at a time, failures
that do not end the rest."""

import contextlib
import fcntl
import os
import subprocess
import sys
import tempfile
import time

import psycopg


class Unavailable(Exception):
    """Something is not on this machine: said once, the rest goes on."""


class Bench:
    """`options` are compare.py's; `results` takes the figures."""

    def __init__(self, options, server, yardstick, peers, results):
        self.options, self.server, self.yardstick, self.peers, self.results = options, server, yardstick, peers, results
        self.round = 0
        self.failures = 0
        self.said = set()

    def say(self, text):
        print(f"# {text}", file=sys.stderr, flush=True)

    def note(self, text):
        if text not in self.said:
            self.said.add(text)
            self.results.notes.append(text)
            self.say(text)

    @contextlib.contextmanager
    def alone(self):
        """One measurement at a time on a machine, if all that measure on it name the same file."""
        if not self.options.lock:
            yield
            return
        with open(self.options.lock, "a", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def measure(self, part, name, unit, function, *arguments, **named):
        """One figure: function returns it with a dictionary of facts. None where there is none."""
        began = time.monotonic()
        try:
            with self.alone():
                began = time.monotonic()
                value, facts = function(*arguments, **named)
        except Unavailable as reason:
            self.note(str(reason))
            return None
        except (AssertionError, OSError, RuntimeError, psycopg.Error, subprocess.SubprocessError) as error:
            self.failures += 1
            self.note(f"FAILED {part}: {name}: {type(error).__name__}: {str(error)[:600]}")
            return None
        self.results.add(part, name, unit, value, facts, self.round)
        self.say(f"{part}: {name}: {value:,.2f} {unit} {facts} ({time.monotonic() - began:.0f} s)")
        return value

    def log_folder(self):
        """A new one for each fleet; stays where the fleet had a fault."""
        folder = os.path.join(self.options.work, "logs")
        os.makedirs(folder, exist_ok=True)
        return tempfile.mkdtemp(prefix=time.strftime("%H%M%S-"), dir=folder)
