"""Holders of cluster locks for tests: commands, workers, transactions; and what they leave behind."""

import json
import os
import shlex
import signal
import subprocess

import psycopg

from fleet import binary, environment
from processes import die_with_parent
from waiting import wait_until

WORKER = os.path.join(os.path.dirname(__file__), "lock_worker.py")


class Holder:
    """`rota lock` whose CMD writes when it began and by which fence, and ends when it is let go."""

    def __init__(self, locks, *names, options=(), first="true", script=None, **settings):
        self.name = f"{locks.directory}/holder-{next(locks.numbers)}"
        inside = script or "while [ ! -e $0.go ]; do sleep 0.01; done"
        self.process = subprocess.Popen(
            [binary(), "lock", *names, *options, "--", "sh", "-c",
             f"{first}; echo $ROTA_LOCK_FENCE $(date +%s.%N) $$ > $0.tmp; mv $0.tmp $0.began; {inside}; date +%s.%N > $0.ended",
             self.name],
            env=environment(**{"database_url": locks.rota.url, **settings}), stderr=subprocess.PIPE, text=True,
            preexec_fn=die_with_parent)

    def began(self, limit=15):
        """(fence, time, process of CMD)"""
        def written():
            if os.path.exists(self.name + ".began"):
                return True
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.process.stderr.read()}"
            return False

        wait_until(written, limit, "CMD to begin")
        with open(self.name + ".began", encoding="utf-8") as file:
            fence, at, pid = file.read().split()
        return int(fence), float(at), int(pid)

    def has_begun(self):
        return os.path.exists(self.name + ".began")

    def let_go(self):
        with open(self.name + ".go", "w", encoding="utf-8"):
            pass
        return self

    def ended(self, limit=15):
        """(exit code, what it said)"""
        said = self.process.communicate(timeout=limit)[1]
        return self.process.returncode, said

    def end_of_cmd(self):
        with open(self.name + ".ended", encoding="utf-8") as file:
            return float(file.read())

    def kill(self, number=signal.SIGKILL):
        self.process.send_signal(number)


class Locks:
    """Locks of one database."""

    def __init__(self, rota, directory):
        self.rota = rota
        self.directory = str(directory)
        self.numbers = iter(range(1 << 20))
        self.holders = []
        self.log = f"{self.directory}/locks.log"

    def hold(self, *names, began=True, **options):
        holder = Holder(self, *names, **options)
        self.holders.append(holder)
        if began:
            holder.began()
        return holder

    def try_now(self, name, *options, wait="0s"):
        """One `rota lock` that must not wait: the finished process."""
        return self.rota.run("lock", name, "--wait", wait, *options, "--", "true", check=False)

    def is_free(self, name, *options):
        code = self.try_now(name, *options).returncode
        assert code in (0, 5)
        return code == 0

    def wait_free(self, name, limit=15):
        wait_until(lambda: self.is_free(name), limit, f"{name} to be free: {self.row(name)}")

    def sql(self, name, wait="0 s"):
        """The fence, None when it is not to be had."""
        with psycopg.connect(self.rota.url) as db:
            try:
                return db.execute("SELECT rota.cluster_lock(%s, %s)", (name, wait)).fetchone()[0]
            except psycopg.errors.LockNotAvailable:
                return None

    def row(self, name):
        rows = json.loads(self.rota.run("get", "locks", name, "--json").stdout)["data"]
        return rows[0] if rows else None

    # --- workers ---

    def node(self, name="n1", processes=1, **settings):
        self.rota.apply({"name": "locker", "handler": "locker", "durable": True})
        command = ["/usr/bin/python3", WORKER, "64", self.log]
        return self.rota.node(name, pools={"locker": {"command": command, "processes": processes}}, **settings)

    def run(self, *locks, **data):
        """A run that takes these locks; the file that ends it, and its id."""
        until = f"{self.directory}/until-{next(self.numbers)}"
        [run] = self.rota.enqueue("locker", "--data", json.dumps({"locks": list(locks), "until": until, **data}))
        return until, run

    def told(self, name=None, type=None, run=None):
        if not os.path.exists(self.log):
            return []
        with open(self.log, encoding="utf-8") as file:
            entries = [json.loads(line) for line in file]
        return [entry for entry in entries if name in (None, entry["name"]) and type in (None, entry["type"])
                and run in (None, entry["run"])]

    def wait_told(self, name, type, run=None, limit=15):
        return wait_until(lambda: self.told(name, type, run), limit, lambda: f"{type} of {name}: {self.told()}")[-1]

    def close(self):
        for holder in self.holders:
            if holder.process.poll() is None:
                holder.process.kill()
                holder.process.communicate(timeout=10)


def touch(path):
    with open(path, "w", encoding="utf-8"):
        pass


def shell(*words):
    return " ".join(map(shlex.quote, words))
