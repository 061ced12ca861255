"""rota on one database: its commands, its nodes as real processes, and what they leave in the database."""

import json
import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request

import psycopg

from processes import descendants, die_with_parent, look
from waiting import wait_until

REPOSITORY = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
# What no process of ours may ever say.
BUGS = re.compile(r"Assertion `|AddressSanitizer|LeakSanitizer|UndefinedBehavior|runtime error: |stack smashing")


def binary():
    return os.path.abspath(os.environ.get("ROTA_BINARY", os.path.join(REPOSITORY, "build/cmd/rota")))


def environment(**settings):
    """Ours without any setting of rota, then those given: env names, or settings in lower case."""
    inherited = {name: value for name, value in os.environ.items()
                 if not name.startswith("ROTA_") and name != "MB_DISABLE_SCHEDULER"}
    for name, value in settings.items():
        if isinstance(value, (dict, list)):
            value = json.dumps(value)
        inherited[name if name.isupper() else f"ROTA_{name.upper()}"] = str(value)
    return inherited


def command(*arguments, cwd=None, input=None, timeout=60, program=None, **settings):
    """One call of the program (or of another build of it), with these settings and no others."""
    done = subprocess.run([program or binary(), *arguments], input=input, text=True, capture_output=True, timeout=timeout,
                          env=environment(**settings), cwd=cwd, check=False)
    assert not BUGS.search(done.stderr), done.stderr
    return done


class Node:
    """`rota node` as a process of its own, its log in a file. Settings by name; `arguments` go on the
    command line, names in capitals into the environment; `program` is another build."""

    def __init__(self, rota, name, arguments=(), program=None, **settings):
        self.rota = rota
        self.program = program
        self.name = name
        self.arguments = list(arguments)
        self.settings = {"database_url": rota.url, "http_listen": "127.0.0.1:0", "log_level": "info", **settings}
        self.log_path = os.path.join(rota.directory, f"{name}-{len(rota.nodes)}.log")
        self.process = None
        self.ended_by_test = False
        self.start()

    def start(self):
        self.ended_by_test = False
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [self.program or binary(), "node", "--name", self.name, *self.arguments], env=environment(**self.settings),
                cwd=self.rota.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                preexec_fn=die_with_parent)
        return self

    # --- its log ---

    def text(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def lines(self, message=None, level=None):
        """Log lines as objects, those with this message (a part of it) and level."""
        found = []
        for line in self.text().splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if not isinstance(entry, dict) or "msg" not in entry:
                continue
            if (message is None or message in entry["msg"]) and (level is None or entry["level"] == level):
                found.append(entry)
        return found

    def wait_for_line(self, message, limit=15, count=1):
        """The last of `count` such lines."""
        def seen():
            lines = self.lines(message)
            if len(lines) < count:
                assert self.lives(), f"node {self.name} ended with {self.process.returncode}, without {message!r}"
            return lines if len(lines) >= count else None

        return wait_until(seen, limit, f"{count} times {message!r} in the log of {self.name}")[-1]

    # --- its HTTP ---

    def http(self, path):
        """(status, text) of a request; (0, why) while nobody listens."""
        try:
            return self._http(self.http_url() + path)
        except (urllib.error.URLError, OSError) as error:
            return 0, str(error)

    def http_url(self):
        return self.wait_for_line("http listening")["url"]

    @staticmethod
    def _http(url):
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def wait_ready(self, limit=20):
        def ready():
            assert self.lives(), f"node {self.name} ended with {self.process.returncode} before it was ready"
            return self.http("/readyz")[0] == 200

        wait_until(ready, limit, lambda: f"node {self.name} to be ready: {self.http('/readyz')}")
        return self

    # --- its process ---

    @property
    def pid(self):
        return self.process.pid

    def lives(self):
        return self.process.poll() is None

    def workers(self):
        """Everything below it: guard, workers, jobs."""
        return descendants(self.pid)

    def worker_pids(self):
        """Of the worker processes alone, the built-in one last started by the log."""
        return [entry["pid"] for entry in self.lines("worker ready")]

    def send(self, number):
        self.process.send_signal(number)

    def kill(self, number=signal.SIGKILL):
        """Ends it at once, and returns what was below it at that moment."""
        self.ended_by_test = True
        below = self.workers()
        self.send(number)
        if number == signal.SIGKILL:
            self.process.wait(10)
        return below

    def wait(self, limit=40):
        """Its exit code."""
        self.ended_by_test = True
        try:
            return self.process.wait(limit)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"node {self.name} has not ended within {limit} s") from None

    def stop(self, limit=40):
        """SIGTERM: drains. Its exit code."""
        self.ended_by_test = True
        if self.lives():
            self.send(signal.SIGTERM)
        return self.wait(limit)

    def clean_up(self):
        """Ends it and all below, whatever state it is in."""
        below = [process for process in map(look, [self.pid]) if process] + self.workers()
        if self.lives():
            self.ended_by_test = True
            self.send(signal.SIGCONT)
            self.send(signal.SIGTERM)
            try:
                self.process.wait(3)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
        for process in below:
            process.kill()

    def faults(self):
        """What is wrong with how it behaved, besides what the test looks at."""
        found = [line for line in self.text().splitlines() if BUGS.search(line)]
        code = self.process.poll()
        if code is not None and not self.ended_by_test:
            found.append(f"it ended by itself, with {code}")
        if code is not None and code < 0 and code not in (-signal.SIGKILL, -signal.SIGTERM):
            found.append(f"it was ended by signal {-code}")
        return found


class Rota:
    """One database and what runs on it."""

    def __init__(self, server, directory, migrated=True, owner=None):
        self.server = server
        self.directory = str(directory)
        self.nodes = []
        self.name = server.create(self._migrate if migrated else None, owner)
        self.url = server.url(self.name, owner)
        self._db = None

    @staticmethod
    def _migrate(url):
        done = command("migrate", database_url=url)
        assert done.returncode == 0, done.stderr

    # --- its commands ---

    def run(self, *arguments, check=True, **options):
        """One command, on this database unless settings say otherwise."""
        done = command(*arguments, **{"database_url": self.url, "cwd": self.directory, **options})
        if check:
            assert done.returncode == 0, f"rota {' '.join(arguments)} ended with {done.returncode}: {done.stderr}"
        return done

    def apply(self, *jobs, source="test", **options):
        """Applies a manifest with these jobs."""
        path = os.path.join(self.directory, f"manifest-{time.monotonic_ns()}.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"source": source, "jobs": list(jobs)}, file)
        return self.run("apply", "-f", path, **options)

    def enqueue(self, job, *options):
        """The ids of the runs."""
        return [int(line) for line in self.run("enqueue", job, *options).stdout.split()]

    # --- its nodes ---

    def node(self, name="n1", *arguments, ready=True, **settings):
        node = Node(self, name, arguments, **settings)
        self.nodes.append(node)
        return node.wait_ready() if ready else node

    def start_nodes(self, *names, **settings):
        nodes = [self.node(name, ready=False, **settings) for name in names]
        return [node.wait_ready() for node in nodes]

    # --- its database ---

    @property
    def db(self):
        if self._db is None or self._db.closed:
            self._db = psycopg.connect(self.url, autocommit=True)
        return self._db

    def reconnect(self):
        if self._db is not None:
            self._db.close()
        return self.db

    def rows(self, query, *parameters):
        return self.db.execute(query, parameters or None).fetchall()

    def value(self, query, *parameters):
        found = self.rows(query, *parameters)
        assert len(found) == 1 and len(found[0]) == 1, f"{query}: {found}"
        return found[0][0]

    def history(self, run):
        """The row of a finished run as an object, None while it is not over."""
        found = self.rows("SELECT to_jsonb(h) - 'task_details', h.task_details::text FROM rota.task_history h "
                          "WHERE id = %s", run)
        assert len(found) < 2, f"run {run} is in the history {len(found)} times"
        return {**found[0][0], "raw": found[0][1], "details": json.loads(found[0][1] or "null")} if found else None

    def wait_history(self, run, limit=15):
        return wait_until(lambda: self.history(run), limit, lambda: f"run {run} to be over: {self.where(run)}")

    def where(self, run):
        return self.rows("SELECT state, node, due, attempt, clock_timestamp() FROM rota.run WHERE id = %s", run)

    def open_runs(self):
        return self.value("SELECT count(*) FROM rota.run")

    def wait_idle(self, limit=30):
        """Until every trigger has come to its end and no run waits or is out."""
        def idle():
            return self.value("""SELECT NOT EXISTS (SELECT FROM rota.trigger_due WHERE state IN ('W', 'B'))
                                        AND NOT EXISTS (SELECT FROM rota.run) AND NOT EXISTS (SELECT FROM rota.receipt)""")

        wait_until(idle, limit, lambda: f"the end of all runs: {self.open_work()}", pause=0.1)

    def open_work(self):
        return {"triggers": self.rows("SELECT state::text, count(*), min(next_at) FROM rota.trigger_due GROUP BY 1"),
                "runs": self.rows("SELECT state, node, count(*), min(due) FROM rota.run GROUP BY 1, 2"),
                "nodes": self.rows("SELECT id, node, state, lease_until FROM rota.incarnation"),
                "now": self.value("SELECT clock_timestamp()")}

    # --- the end ---

    def close(self):
        for node in self.nodes:
            node.clean_up()
        if self._db is not None:
            self._db.close()
        try:
            self.server.drop(self.name)
        except psycopg.OperationalError:
            pass  # a private server that the test has stopped

    def faults(self):
        return [f"node {node.name}: {fault}" for node in self.nodes for fault in node.faults()]
