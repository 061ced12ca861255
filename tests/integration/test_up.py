"""`rota up` as its user meets it: real processes, a real private PostgreSQL, a real terminal."""

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time
import uuid

import pytest

from processes import die_with_parent
from waiting import wait_until
from web import Web

TAKES_S = 100
ROTA = os.environ.get("ROTA_BINARY", "build/rota")
MANIFEST = {
    "source": "test",
    "jobs": [
        {
            "name": "greet",
            "handler": "exec",
            "data": {"command": ["/bin/echo", "hello"]},
            "triggers": [{"name": "every-second", "every": "1s"}],
        }
    ],
}


def die_with_us():
    """Should the tests be killed, `up` stops everything it has started."""
    die_with_parent(signal.SIGTERM)


def processes_of(tag, data):
    """Every living process that inherited our tag or works in PostgreSQL's data directory.
    PostgreSQL overwrites its environment, hence both."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
                if file.read().rsplit(")", 1)[1].split()[0] == "Z":
                    continue
            with open(f"/proc/{pid}/environ", "rb") as file:
                tagged = tag.encode() in file.read()
            if tagged or os.readlink(f"/proc/{pid}/cwd").startswith(os.path.join(data, "postgres")):
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    found.append((int(pid), file.read().replace(b"\0", b" ").decode()))
        except OSError:
            pass
    return found


class Up:
    """One `rota up` on one data directory, its output in a file."""

    def __init__(self, directory, *arguments, env=None):
        """Beside the variables in `env`, nothing of rota's comes from the environment."""
        self.data = os.path.join(directory, "data")
        self.tag = f"ROTA_TEST_TAG={uuid.uuid4()}"
        self.output = tempfile.NamedTemporaryFile(mode="w+", dir=directory, delete=False)
        name, value = self.tag.split("=")
        clean = {key: text for key, text in os.environ.items() if not key.startswith("ROTA_")}
        environment = {**clean, name: value, **(env or {})}
        self.process = subprocess.Popen(
            [ROTA, "up", "--data", self.data, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
            preexec_fn=die_with_us,
        )

    def text(self):
        with open(self.output.name, encoding="utf-8") as file:
            return file.read()

    def wait_for(self, pattern, seconds=60):
        def seen():
            found = re.search(pattern, self.text())
            if not found and self.process.poll() is not None:
                found = re.search(pattern, self.text())
                assert found, f"ended with {self.process.returncode}, no {pattern!r} in:\n{self.text()}"
            return found

        return wait_until(seen, seconds, lambda: f"{pattern!r} in:\n{self.text()}")

    def stop(self, number=signal.SIGINT, seconds=60):
        """The signal to `up` alone, as it alone is in the terminal's process group."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(seconds)

    def left_over(self):
        return processes_of(self.tag, self.data)

    def kill_everything(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid, _ in self.left_over():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


@pytest.fixture
def directory():
    """Not pytest's own: PostgreSQL's user could not enter that."""
    path = tempfile.mkdtemp(prefix="rota-test-up-", dir="/tmp")
    os.chmod(path, 0o711)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def manifest(directory):
    path = os.path.join(directory, "greet.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(MANIFEST, file)
    return path


@pytest.fixture
def start(directory):
    running = []

    def starter(*arguments, where=directory, env=None):
        running.append(Up(where, *arguments, env=env))
        return running[-1]

    yield starter
    for up in running:
        up.kill_everything()


FIRING = r"\d\d:\d\d:\d\d\.\d{3}  node-\d  +greet / every-second +success +\d+ ms"


def count(text, pattern):
    return len(re.findall(pattern, text))


def test_first_start_fires_within_ten_seconds_and_ctrl_c_stops_everything(start, manifest):
    limit_s = 30 if os.environ.get("ROTA_TEST_SANITIZED") else 10
    began = time.monotonic()
    up = start("-f", manifest, "--nodes", "3")
    up.wait_for(FIRING, 60)
    assert time.monotonic() - began < limit_s
    assert re.search(r"postgresql  \d+ on 127\.0\.0\.1:\d+, new database", up.text())
    assert re.search(r"nodes +3 running", up.text())
    assert re.search(r"http +http://127\.0\.0\.1:\d+", up.text())
    assert up.stop() == 0, up.text()
    assert "stopped" in up.text()
    assert up.left_over() == []


def test_second_start_goes_on_with_the_same_data(start, manifest):
    first = start("-f", manifest)
    first.wait_for(FIRING)
    assert first.stop() == 0, first.text()
    second = start()  # no manifest: what was applied is still there
    second.wait_for(FIRING)
    assert "existing database" in second.text()
    assert second.stop() == 0, second.text()
    assert second.left_over() == []


def job_that_takes(seconds, directory):
    """A manifest with a job that runs once, at once, and leaves marks at its begin and its end."""
    path = os.path.join(directory, "long.json")
    marks = os.path.join(directory, "marks")
    os.mkdir(marks)
    script = f"touch {marks}/begun; sleep {seconds}; touch {marks}/done"
    job = {
        "name": "long",
        "handler": "exec",
        "data": {"command": ["/bin/sh", "-c", script]},
        "triggers": [{"name": "once", "every": "1h"}],
    }
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"source": "test", "jobs": [job]}, file)
    return path, marks


def test_ctrl_c_waits_for_what_runs(start, directory):
    path, marks = job_that_takes(3, directory)
    up = start("-f", path)
    wait_until(lambda: os.path.exists(f"{marks}/begun"), 30, up.text)
    assert up.stop() == 0, up.text()
    assert os.path.exists(f"{marks}/done")


def test_a_second_ctrl_c_does_not_wait(start, directory):
    path, marks = job_that_takes(3600, directory)
    up = start("-f", path, "--grace", "10m")
    wait_until(lambda: os.path.exists(f"{marks}/begun"), 30, up.text)
    up.process.send_signal(signal.SIGINT)
    up.wait_for("stopping")
    began = time.monotonic()
    up.stop()
    assert time.monotonic() - began < 120  # the grace alone is longer
    assert not os.path.exists(f"{marks}/done")
    assert up.left_over() == []


def test_settings_reach_the_nodes_from_flag_file_and_environment(start, directory, manifest):
    path = os.path.join(directory, "settings.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"log_level": "debug", "slots": 3, "lease": "7s"}, file)
    up = start("-f", manifest, "--config", path, "--slots", "2", "--json", env={"ROTA_POLL": "4s"})
    up.wait_for('"msg":"run finished"')
    node = next(pid for pid, line in up.left_over() if " node --name " in line)
    with open(f"/proc/{node}/environ", "rb") as file:
        given = dict(entry.split("=", 1) for entry in file.read().decode().split("\0") if "=" in entry)
    assert (given["ROTA_SLOTS"], given["ROTA_LEASE"], given["ROTA_POLL"]) == ("2", "7s", "4s")
    assert '"slots":2' in up.text() and '"level":"debug"' in up.text()
    assert up.stop() == 0


def test_with_a_database_url_no_postgres_is_started(start, rota, manifest):
    up = start("-f", manifest, "--database-url", rota.url)
    up.wait_for(FIRING)
    assert "postgresql" not in up.text()
    assert not os.path.exists(up.data)
    assert not any("bin/postgres" in line for _, line in up.left_over())
    assert up.stop() == 0, up.text()
    assert up.left_over() == []


def test_requests_reach_this_machine_with_secrets_and_no_other_private_target(start, rota):
    web, key = Web(), {"headers": {"X-Key": {"env": "SOME_KEY"}}}
    rota.apply({"name": "here", "handler": "http", "durable": True, "data": {"url": web.url, **key}},
               {"name": "there", "handler": "http", "durable": True, "data": {"url": "http://169.254.169.254/"}})
    up = start("--database-url", rota.url, env={"SOME_KEY": "k"})
    assert rota.wait_history(*rota.enqueue("here"), limit=30)["status"] == "success"
    assert web.requests[0]["headers"]["X-Key"] == "k"
    assert rota.wait_history(*rota.enqueue("there"))["details"]["exception"] == "target refused"
    assert up.stop() == 0
    web.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_stop_it_as_well(start, manifest, number):
    up = start("-f", manifest)
    up.wait_for(FIRING)
    assert up.stop(number) == 0, up.text()
    assert up.left_over() == []


def test_interrupt_during_the_start_stops_everything(start):
    up = start()
    up.wait_for("everything on this machine")
    assert up.stop() == 0, up.text()
    assert up.left_over() == []
    again = start()
    again.wait_for(r"nodes +1 running")
    assert again.stop() == 0, again.text()


def test_after_kill_9_nothing_goes_on_and_the_next_start_works(start, manifest):
    up = start("-f", manifest, "--nodes", "2")
    up.wait_for(FIRING)
    up.process.kill()
    up.process.wait()
    wait_until(lambda: not up.left_over(), 30, lambda: f"end of {up.left_over()}")
    again = start()
    again.wait_for(FIRING)
    assert again.stop() == 0, again.text()
    assert again.left_over() == []


def test_a_postmaster_left_behind_is_stopped_at_the_next_start(start, manifest):
    up = start("-f", manifest)
    up.wait_for(FIRING)
    with open(os.path.join(up.data, "postgres/postmaster.pid"), encoding="utf-8") as file:
        postmaster = int(file.readline())
    os.kill(postmaster, signal.SIGSTOP)  # so that it cannot end with `up`
    up.process.kill()
    up.process.wait()
    again = start()
    again.wait_for("everything on this machine")
    os.kill(postmaster, signal.SIGCONT)
    again.wait_for(FIRING)
    assert again.stop() == 0, again.text()
    assert again.left_over() == []


def test_postgres_killed_under_it_is_started_again(start, manifest):
    up = start("-f", manifest)
    up.wait_for(FIRING)
    with open(os.path.join(up.data, "postgres/postmaster.pid"), encoding="utf-8") as file:
        os.kill(int(file.readline()), signal.SIGKILL)
    up.wait_for(r"PostgreSQL was killed by signal 9 .*: it is started again")
    up.wait_for("PostgreSQL is back")
    firings = count(up.text(), FIRING)
    wait_until(lambda: count(up.text(), FIRING) > firings, 60, "further firings")
    assert up.stop() == 0, up.text()
    assert up.left_over() == []


def test_a_node_that_dies_is_started_again(start, manifest):
    up = start("-f", manifest, "--nodes", "2")
    up.wait_for(FIRING)
    nodes = [pid for pid, line in up.left_over() if " node --name node-2 " in line]
    os.kill(nodes[0], signal.SIGKILL)
    up.wait_for(r"node-2 was killed by signal 9 \(Killed\): it is started again")
    wait_until(
        lambda: any(" node --name node-2 " in line and pid != nodes[0] for pid, line in up.left_over()),
        20,
        "a new node-2",
    )
    assert up.stop() == 0, up.text()
    assert up.left_over() == []


def test_two_run_side_by_side(start, directory, manifest):
    other = os.path.join(directory, "other")
    os.mkdir(other, 0o711)
    one = start("-f", manifest)
    two = start("-f", manifest, where=other)
    one.wait_for(FIRING)
    two.wait_for(FIRING)
    assert one.stop() == 0, one.text()
    firings = count(two.text(), FIRING)
    wait_until(lambda: count(two.text(), FIRING) > firings, 30, "further firings of the second")
    assert two.stop() == 0, two.text()


def test_directory_in_use_is_refused_with_the_process(start):
    up = start()
    up.wait_for(r"nodes +1 running")
    second = start()
    assert second.process.wait(20) == 1
    assert f"in use by another `rota up` (process {up.process.pid})" in second.text()
    assert up.process.poll() is None
    assert up.stop() == 0


def test_directory_with_other_files_is_refused_and_left_alone(start, directory):
    data = os.path.join(directory, "data")
    os.mkdir(data)
    with open(os.path.join(data, "precious"), "w", encoding="utf-8") as file:
        file.write("mine")
    up = start()
    assert up.process.wait(20) == 1
    assert "is not ours" in up.text()
    assert os.listdir(data) == ["precious"]


def test_data_of_another_postgres_version_is_refused_with_what_to_do(start):
    up = start()
    up.wait_for(r"nodes +1 running")
    assert up.stop() == 0
    with open(os.path.join(up.data, "postgres/PG_VERSION"), "w", encoding="utf-8") as file:
        file.write("9\n")
    again = start()
    assert again.process.wait(20) == 1
    assert "made by PostgreSQL 9" in again.text() and "--pg-bindir" in again.text()


def test_half_made_data_are_made_again(start, directory):
    data = os.path.join(directory, "data")
    up = start()
    wait_until(lambda: os.path.exists(os.path.join(data, "postgres.new")), 20, "initdb")
    up.process.kill()
    up.process.wait()
    again = start()
    again.wait_for(r"nodes +1 running")
    assert again.stop() == 0, again.text()
    assert not os.path.exists(os.path.join(data, "postgres.new"))


def test_new_data_are_doubtful_after_a_failure_of_the_machine_until_they_are_synced(start, directory):
    up = start()
    up.wait_for(r"nodes +1 running")
    assert up.stop() == 0
    marker = os.path.join(up.data, "unsynced")
    assert not os.path.exists(marker)  # stopping waited for that
    with open(marker, "w", encoding="utf-8") as file:
        file.write("another boot\n")
    with open(os.path.join(up.data, "postgres/witness"), "w", encoding="utf-8") as file:
        file.write("of the first data")
    again = start()
    again.wait_for(r"nodes +1 running")
    assert "the machine failed" in again.text() and "new database" in again.text()
    assert os.path.exists(os.path.join(up.data, "postgres.doubtful/witness"))
    assert again.stop() == 0, again.text()
    assert not os.path.exists(marker)


def test_long_path_works_although_a_socket_would_not_fit(start, directory, manifest):
    where = os.path.join(directory, "d" * 100)
    os.mkdir(where, 0o711)
    up = start("-f", manifest, where=where)
    up.wait_for(FIRING)
    with open(os.path.join(up.data, "socket_directory"), encoding="utf-8") as file:
        sockets = file.read().strip()
    assert os.stat(sockets).st_mode & 0o777 == 0o700
    assert up.stop() == 0, up.text()
    assert not os.path.exists(sockets)


def test_refused_manifest_ends_it_with_the_line_and_stops_postgres(start, directory):
    path = os.path.join(directory, "bad.json")
    with open(path, "w", encoding="utf-8") as file:
        file.write('{"source": "test",\n "jobz": []}\n')
    up = start("-f", path)
    assert up.process.wait(60) == 1, up.text()
    assert "jobz" in up.text() and "line 2" in up.text().replace(":2:", " line 2")
    assert up.left_over() == []


def test_port_taken_is_said(start):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        up = start("--port", str(port))
        assert up.process.wait(60) == 1, up.text()
        assert str(port) in up.text()
        assert up.left_over() == []


def test_url_is_for_its_owner_only_and_clients_find_it(start, manifest):
    up = start("-f", manifest)
    up.wait_for(FIRING)
    for name in ("url", "password"):
        assert os.stat(os.path.join(up.data, name)).st_mode & 0o777 == 0o600
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ROTA_")}
    command = [ROTA, "get", "jobs", "--data", up.data]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)
    assert found.returncode == 0 and "greet" in found.stdout, found.stderr
    with open(os.path.join(up.data, "url"), encoding="utf-8") as file:
        password = re.search(r"://rota:([0-9a-f]+)@", file.read()).group(1)
    for pid, line in up.left_over():
        assert password not in line, f"process {pid} shows the password in its arguments"
    assert up.stop() == 0
    stopped = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)
    assert stopped.returncode == 3 and "no `rota up` runs" in stopped.stderr


def test_json_passes_the_lines_of_the_nodes_on(start, manifest):
    up = start("-f", manifest, "--json")
    up.wait_for('"msg":"run finished"')
    assert up.stop() == 0
    lines = [json.loads(line) for line in up.text().splitlines()]
    ready = [line for line in lines if line["msg"] == "up ready"]
    assert len(ready) == 1 and ready[0]["url"].startswith("http://127.0.0.1:")
    finished = [line for line in lines if line["msg"] == "run finished"]
    assert finished[0]["job"] == "greet" and finished[0]["outcome"] == "success"


class Terminal:
    """`rota up` in a terminal of its own; ctrl_c() is what the key does."""

    def __init__(self, *arguments):
        self.text = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            die_with_us()
            environment = {**os.environ, "TERM": "xterm"}
            for variable in ("ROTA_DATABASE_URL", "ROTA_DATA", "NO_COLOR"):
                environment.pop(variable, None)
            os.execve(ROTA, [ROTA, "up", *arguments], environment)

    def read(self, seconds):
        ready, _, _ = select.select([self.fd], [], [], seconds)
        if not ready:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            return False
        self.text += data.decode("utf-8", errors="replace")
        return bool(data)

    def wait_for(self, pattern, seconds=60):
        def seen():
            assert self.read(0.1) or re.search(pattern, self.plain()), self.text
            return re.search(pattern, self.plain())

        return wait_until(seen, seconds, lambda: f"{pattern!r} in:\n{self.text}")

    def plain(self):
        return re.sub(r"\x1b\[[0-9;]*[mK]", "", self.text).replace("\r\n", "\n")

    def ctrl_c(self):
        os.write(self.fd, b"\x03")

    def wait(self, seconds=60):
        end = time.monotonic() + seconds
        while self.read(0.1) and time.monotonic() < end:
            pass
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)


def test_on_a_terminal_ctrl_c_reaches_up_alone_and_the_text_is_readable(directory, manifest):
    data = os.path.join(directory, "data")
    terminal = Terminal("--data", data, "-f", manifest, "--nodes", "2")
    terminal.wait_for(FIRING + "(?s:.*)" + FIRING)
    terminal.ctrl_c()
    assert terminal.wait() == 0, terminal.text
    assert "\x1b[32msuccess" in terminal.text  # colours, on a terminal
    # nothing was killed by the Ctrl-C itself, and nobody complained while stopping
    assert not re.search(r"killed|while stopping|warn|error", terminal.plain()), terminal.text
    for line in terminal.plain().split("\n"):
        line = line.split("\r")[-1]  # what a progress line had drawn is erased
        assert len(line) <= 120, line
        assert line.isprintable(), repr(line)
    assert not processes_of("no such tag", data)


@pytest.mark.full
def test_a_stopped_terminal_does_not_stop_the_nodes(directory):
    """Nobody reads what `up` prints: the pipe fills up, the runs go on."""
    ledger = os.path.join(directory, "ledger")
    with open(ledger, "w", encoding="utf-8"):
        pass
    os.chmod(ledger, 0o666)
    path = os.path.join(directory, "busy.json")
    script = f"echo run >> {ledger}"
    triggers = [{"name": f"{i}-{'x' * 80}", "every": "1s"} for i in range(100)]
    job = {"name": "write", "handler": "exec", "data": {"command": ["/bin/sh", "-c", script]}}
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"source": "test", "jobs": [{**job, "triggers": triggers}]}, file)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ROTA_")}
    process = subprocess.Popen(
        [ROTA, "up", "--data", os.path.join(directory, "data"), "-f", path, "--json"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        preexec_fn=die_with_us,
    )
    try:
        # a pipe holds 64 KiB, `up` keeps another 256: 1,500 lines are more than both
        wait_until(lambda: os.path.getsize(ledger) > 1500 * len("run\n"), 120, "1,500 runs")
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(60) == 0
        assert b"stopp" in rest or b"missing here" in rest
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_as_an_ordinary_user_everything_belongs_to_them(directory, manifest):
    home = os.path.join(directory, "home")
    os.mkdir(home)
    shutil.chown(home, "nobody", "nogroup")
    os.chmod(manifest, 0o644)
    output = os.path.join(directory, "output")
    binary = shutil.copy(ROTA, os.path.join(directory, "rota"))  # the tree may be out of their reach
    environment = {"HOME": home, "PATH": os.environ["PATH"]}
    with open(output, "w", encoding="utf-8") as file:
        process = subprocess.Popen(
            ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups",
             binary, "up", "-f", manifest],
            stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, env=environment, cwd="/",
        )
    text = lambda: open(output, encoding="utf-8").read()
    try:
        wait_until(lambda: re.search(FIRING, text()) or process.poll() is not None, 60, text)
        assert process.poll() is None, text()
        data = os.path.join(home, ".local/share/rota")
        assert os.stat(data).st_mode & 0o777 == 0o700
        assert {os.lstat(os.path.join(data, name)).st_uid for name in os.listdir(data)} == {os.stat(home).st_uid}
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, text()
        assert not processes_of("no such tag", data)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root drops to another user")
def test_as_root_postgres_runs_as_somebody_else(start):
    up = start()
    up.wait_for(r"nodes +1 running")
    with open(os.path.join(up.data, "postgres/postmaster.pid"), encoding="utf-8") as file:
        postmaster = int(file.readline())
    assert os.stat(f"/proc/{postmaster}").st_uid != 0
    assert up.stop() == 0
