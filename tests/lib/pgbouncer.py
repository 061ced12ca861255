"""A pgbouncer of the tests' own in front of a server: private, on a Unix socket, in transaction mode."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile

import psycopg
import pytest

from processes import die_with_parent
from waiting import wait_until

PORT = 6432  # only part of the socket's name


def program():
    """Where it is; Debian keeps it from the path of ordinary users."""
    return shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def required():
    """A mark for modules that need it."""
    return pytest.mark.skipif(program() is None, reason="needs pgbouncer")


class PgBouncer:
    """Settings of its file by name, beyond those below."""

    SETTINGS = {"pool_mode": "transaction", "default_pool_size": 2, "auth_type": "trust", "max_client_conn": 200,
                "server_login_retry": 1, "listen_addr": "", "log_connections": 0, "log_disconnections": 0}

    def __init__(self, url, **settings):
        self.server = psycopg.conninfo.conninfo_to_dict(url)
        self.directory = tempfile.mkdtemp(prefix="rota-test-pgbouncer-", dir="/tmp")
        self.settings = {**self.SETTINGS, "listen_port": PORT, "unix_socket_dir": self.directory,
                         "logfile": os.path.join(self.directory, "log"), "admin_users": self.server["user"],
                         "auth_file": os.path.join(self.directory, "users"), **settings}
        self.account = {}
        with open(self.settings["auth_file"], "w", encoding="utf-8") as file:
            file.write(f'"{self.server["user"]}" "{self.server.get("password", "")}"\n')
        self._write()
        if os.geteuid() == 0: # it refuses to run as root
            user = pwd.getpwnam("postgres")
            for path in (self.directory, self.settings["auth_file"]):
                os.chown(path, user.pw_uid, user.pw_gid)
            self.account = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        os.chmod(self.directory, 0o755)
        self.process = None
        self.start()

    def _path(self):
        return os.path.join(self.directory, "ini")

    def _write(self):
        database = " ".join(f"{key}={value}" for key, value in self.server.items()
                            if key in ("host", "port", "user", "password"))
        with open(self._path(), "w", encoding="utf-8") as file:
            file.write(f"[databases]\n* = {database}\n[pgbouncer]\n")
            file.writelines(f"{name} = {value}\n" for name, value in self.settings.items())

    def url(self, rota):
        """That of a database, through the pooler."""
        return self._url(psycopg.conninfo.conninfo_to_dict(rota.url)["dbname"])

    def _url(self, database):
        return psycopg.conninfo.make_conninfo(host=self.directory, port=PORT, user=self.server["user"], dbname=database)

    def start(self):
        self.process = subprocess.Popen([program(), "-q", self._path()], cwd=self.directory, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
                                        preexec_fn=die_with_parent, **self.account)
        wait_until(self._answers, 10, lambda: f"pgbouncer to answer: {self.log()}")

    def _answers(self):
        assert self.process.poll() is None, f"pgbouncer ended: {self.log()}"
        try:
            self.rows("SHOW VERSION")
            return True
        except psycopg.OperationalError:
            return False

    def stop(self, number=signal.SIGKILL):
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait(10)

    # Its console speaks the simple protocol alone.

    def tell(self, command):
        with psycopg.connect(self._url("pgbouncer"), autocommit=True, cursor_factory=psycopg.ClientCursor) as console:
            return console.execute(command)

    def rows(self, command):
        with psycopg.connect(self._url("pgbouncer"), autocommit=True, cursor_factory=psycopg.ClientCursor,
                             row_factory=psycopg.rows.dict_row) as console:
            return console.execute(command).fetchall()

    def set(self, **settings):
        """While it runs."""
        self.settings.update(settings)
        self._write()
        self.tell("RELOAD")

    def log(self, size=2000):
        try:
            with open(self.settings["logfile"], encoding="utf-8", errors="replace") as file:
                return file.read()[-size:]
        except FileNotFoundError:
            return ""

    def close(self):
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)
