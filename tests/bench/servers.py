"""The PostgreSQL that everything is measured on: one of our own with production settings, or one that is
there already; and what a measurement costs it: time, statements, WAL, and how quiet the machine was."""

import os
import pwd
import signal
import socket
import subprocess

import psycopg

from postgres import Server, binaries
from processes import descendants, die_with_parent, stat_of
from waiting import wait_until

# Durability as in production: fsync, synchronous_commit and full_page_writes stay on, which is the default.
SETTINGS = {"shared_buffers": "1GB", "max_wal_size": "8GB", "max_connections": "200", "listen_addresses": "127.0.0.1",
            "shared_preload_libraries": "pg_stat_statements"}
HZ = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class BenchServer(Server):
    """Ours as long as no URL is given. Programs of others reach it by TCP, rota by its Unix socket."""

    def __init__(self, folder, url=None):
        self.folder, self.process = folder, None
        super().__init__(url or self._start())
        parts = psycopg.conninfo.conninfo_to_dict(self.maintenance_url)
        self.host, self.port = parts["host"], int(parts["port"])
        with psycopg.connect(self.maintenance_url, autocommit=True) as db:
            db.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
            data = db.execute("SHOW data_directory").fetchone()[0]
            self.version = db.execute("SHOW server_version").fetchone()[0]
        self.postmaster = self._pid(data)

    def _start(self):
        account = {}
        os.makedirs(self.folder, exist_ok=True)
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            account = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        data = os.path.join(self.folder, "data")
        if not os.path.exists(data):
            subprocess.run([os.path.join(binaries(), "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8",
                            "--locale=C"], cwd=self.folder, check=True, stdout=subprocess.DEVNULL, **account)
        port = free_port()
        command = [os.path.join(binaries(), "postgres"), "-D", data, "-k", self.folder, "-p", str(port)]
        for name, value in SETTINGS.items():
            command += ["-c", f"{name}={value}"]
        with open(os.path.join(self.folder, "log"), "ab") as log:
            self.process = subprocess.Popen(command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            preexec_fn=lambda: die_with_parent(signal.SIGINT), **account)
        url = psycopg.conninfo.make_conninfo(host=self.folder, port=port, user="postgres", dbname="postgres")
        wait_until(lambda: self._accepts(url), 60, "PostgreSQL to accept connections")
        return url

    def _accepts(self, url):
        assert self.process.poll() is None, f"PostgreSQL ended, see {self.folder}/log"
        try:
            psycopg.connect(url, connect_timeout=2).close()
            return True
        except psycopg.OperationalError:
            return False

    @staticmethod
    def _pid(data):
        """None where its directory cannot be read: then its CPU time is unknown."""
        try:
            with open(os.path.join(data, "postmaster.pid"), encoding="ascii") as file:
                return int(file.readline())
        except OSError:
            return None

    def fresh(self, name):
        """An empty database of this name."""
        self.drop(name)
        self.execute(f"CREATE DATABASE {name}")
        return name

    def tcp_url(self, database):
        return f"postgres://postgres@127.0.0.1:{self.port}/{database}"

    def environment(self, database):
        """For programs that know libpq."""
        return {**os.environ, "PGHOST": self.host, "PGPORT": str(self.port), "PGUSER": "postgres", "PGDATABASE": database}

    def close(self):
        super().close()
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(60)


def tree_seconds(*roots):
    """CPU time of these processes and of all below, those that have ended and were waited for included."""
    total, seen = 0, set()
    for root in filter(None, roots):
        for pid in [root, *(process.pid for process in descendants(root))]:
            stat = stat_of(pid)
            if stat is not None and pid not in seen:
                seen.add(pid)
                total += sum(map(int, stat[11:15]))
    return total / HZ


def busy_seconds():
    """Of the whole machine since it started."""
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, _idle, _wait, irq, softirq, *_ = map(int, file.readline().split()[1:])
    return (user + nice + system + irq + softirq) / HZ


class Meter:
    """What happens between `with` and its end: `seconds`, `statements`, `wal_bytes`, `server_cpu_s`, and
    `foreign`: how many cores were busy with what is none of ours."""

    def __init__(self, server, database):
        self.server, self.database = server, database
        self.db = psycopg.connect(server.maintenance_url, autocommit=True)

    def _look(self):
        wal, at, calls = self.db.execute(
            """SELECT pg_current_wal_lsn() - '0/0', extract(epoch FROM clock_timestamp()),
                      (SELECT coalesce(sum(s.calls), 0) FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid
                        WHERE d.datname = %s AND s.query NOT LIKE '%%pg_stat%%' AND s.query NOT LIKE '%%bench: own%%')""",
            [self.database]).fetchone()
        postmaster = self.server.postmaster
        return {"wal_bytes": float(wal), "seconds": float(at), "statements": int(calls), "busy": busy_seconds(),
                "server_cpu_s": tree_seconds(postmaster), "ours": tree_seconds(postmaster, os.getpid())}

    def __enter__(self):
        self.before = self._look()
        return self

    def __exit__(self, *failure):
        after = self._look()
        self.db.close()
        spent = {name: after[name] - self.before[name] for name in after}
        self.seconds, self.statements, self.wal_bytes = spent["seconds"], spent["statements"], spent["wal_bytes"]
        self.server_cpu_s = spent["server_cpu_s"] if self.server.postmaster else None
        self.foreign = max(0.0, (spent["busy"] - spent["ours"]) / max(self.seconds, 1e-3))

    def per_run(self, runs):
        """For the table: what one run cost."""
        facts = {"wal_bytes": round(self.wal_bytes / runs), "statements": round(self.statements / runs, 4),
                 "foreign_cores": round(self.foreign, 2)}
        if self.server_cpu_s is not None:
            facts["server_us"] = round(1e6 * self.server_cpu_s / runs, 1)
        return facts
