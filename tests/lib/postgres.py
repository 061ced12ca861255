"""A PostgreSQL of the tests' own: private, on a Unix socket, restarted and killed at will."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid

import psycopg

from processes import die_with_parent
from waiting import wait_until

PORT = 5432  # only part of the socket's name


def binaries():
    """Where PostgreSQL's programs are."""
    given = os.environ.get("ROTA_TEST_PG_BIN")
    if given:
        return given
    root = "/usr/lib/postgresql"
    for version in sorted(os.listdir(root), key=lambda name: int(name) if name.isdigit() else 0, reverse=True):
        if os.path.exists(f"{root}/{version}/bin/postgres"):
            return f"{root}/{version}/bin"
    raise RuntimeError("no PostgreSQL: set ROTA_TEST_PG_BIN")


class Server:
    """Databases on one server; the server itself belongs to somebody else."""

    def __init__(self, maintenance_url):
        self.maintenance_url = maintenance_url
        self.template = None
        self.template_name = f"rota_template_{uuid.uuid4().hex[:12]}"

    def url(self, database, user=None):
        parts = psycopg.conninfo.conninfo_to_dict(self.maintenance_url)
        parts["dbname"] = database
        if user is not None:
            parts["user"] = user
        return psycopg.conninfo.make_conninfo(**parts)

    def execute(self, statement):
        with psycopg.connect(self.maintenance_url, autocommit=True) as db:
            db.execute(statement)

    def create_role(self, name):
        """An ordinary role that logs in with the same password as url() gives."""
        password = psycopg.conninfo.conninfo_to_dict(self.maintenance_url).get("password")
        self.execute(f"CREATE ROLE {name} LOGIN NOSUPERUSER" + (f" PASSWORD '{password}'" if password else ""))

    def create(self, migrate=None, owner=None):
        """A new database: empty, or a copy of one that migrate(url) has made once."""
        name = f"rota_test_{uuid.uuid4().hex[:12]}"
        if migrate is None:
            self.execute(f"CREATE DATABASE {name}" + (f" OWNER {owner}" if owner else ""))
            return name
        if self.template is None:
            self.execute(f"CREATE DATABASE {self.template_name}")
            self.template = self.template_name
            migrate(self.url(self.template))
        self.execute(f"CREATE DATABASE {name} TEMPLATE {self.template}")
        return name

    def drop(self, name):
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def close(self):
        if self.template is not None:
            self.drop(self.template)
            self.template = None


class PrivateServer(Server):
    """A server with its own data directory. Never as root: then as the user postgres."""

    SETTINGS = {"listen_addresses": "", "shared_buffers": "64MB", "max_connections": "100", "fsync": "on",
                "log_min_messages": "warning", "max_wal_size": "1GB"}

    def __init__(self, **settings):
        self.directory = tempfile.mkdtemp(prefix="rota-test-pg-", dir="/tmp")
        self.data = os.path.join(self.directory, "data")
        self.settings = {**self.SETTINGS, **settings}
        self.process = None
        self.account = {}
        self.prefix = []  # of every command
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self.directory, user.pw_uid, user.pw_gid)
            self.account = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        os.chmod(self.directory, 0o755)
        self.prepare()
        super().__init__(psycopg.conninfo.make_conninfo(host=self.directory, port=PORT, user="postgres",
                                                        dbname="postgres"))
        self.initialise()
        self.start()

    def prepare(self):
        """Before anything is written to its directory."""

    def initialise(self):
        self.run("initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")

    def run(self, program, *arguments):
        done = subprocess.run([*self.prefix, os.path.join(binaries(), program), *arguments], cwd=self.directory, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, **self.account)
        assert done.returncode == 0, f"{program}: {done.stdout}"

    def start(self, wait=True):
        command = [*self.prefix, os.path.join(binaries(), "postgres"), "-D", self.data, "-k", self.directory, "-p", str(PORT)]
        for name, value in self.settings.items():
            command += ["-c", f"{name}={value}"]
        with open(os.path.join(self.directory, "log"), "ab") as log:
            self.process = subprocess.Popen(command, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, start_new_session=True,
                                            preexec_fn=lambda: die_with_parent(signal.SIGQUIT), **self.account)
        if wait:
            self.wait_ready()

    def accepts(self):
        try:
            psycopg.connect(self.maintenance_url, connect_timeout=2).close()
            return True
        except psycopg.OperationalError:
            return False

    def wait_ready(self, limit=60):
        """Until it accepts connections; when that was, by time.time()."""
        def ready():
            assert self.process.poll() is None, f"PostgreSQL ended: {self.log()}"
            return self.accepts()

        wait_until(ready, limit, lambda: f"PostgreSQL to accept connections: {self.log()}", pause=0.005)
        return time.time()

    def stop(self, number=signal.SIGINT):
        """SIGINT: fast, SIGQUIT: immediate, SIGKILL: as if it had crashed."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait(60)

    def log(self, size=3000):
        with open(os.path.join(self.directory, "log"), encoding="utf-8", errors="replace") as file:
            return file.read()[-size:]

    def close(self):
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.directory, ignore_errors=True)
