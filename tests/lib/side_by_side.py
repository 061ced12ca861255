"""Runs the test files of folders, several at a time, each by a pytest of its own: they wait far more than
they compute. What one prints is shown when it is over.

usage: side_by_side.py FOLDER[:FOLDER…] RESULTS JOBS [PYTEST-ARGUMENTS…]

RESULTS is a folder for one JUnit file each. Exit status: 0, 1 if a file failed, 5 if there was no test.
A signal ends all of it, politely, as pytest cleans up after SIGINT."""

import glob
import os
import re
import signal
import subprocess
import sys
import time

NO_TESTS = 5


def length(path):
    """About how long a file takes, in seconds: what it says itself in a line `TAKES_S = N`, else by its size."""
    with open(path, encoding="utf-8") as file:
        said = re.search(r"^TAKES_S = (\d+)", file.read(), re.M)
    return int(said.group(1)) if said else os.path.getsize(path) / 400


class Runner:
    def __init__(self, folders, results, jobs, arguments):
        # the longest first: what is begun last should not be what takes longest
        self.waiting = sorted((path for folder in folders.split(":") for path in glob.glob(os.path.join(folder, "test_*.py"))),
                              key=length)
        self.results, self.jobs, self.arguments = results, jobs, arguments
        self.running = {}  # process -> (file, its output)
        self.statuses = []
        self.stopped = False

    def start(self, file):
        name = os.path.basename(file)[:-3]
        output = open(os.path.join(self.results, f"{name}.out"), "w+b")
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
             f"--junitxml={os.path.join(self.results, name)}.xml", *self.arguments, file],
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        self.running[process] = (name, output, time.monotonic())

    def over(self, process):
        name, output, began = self.running.pop(process)
        output.seek(0)
        print(f"-- {name}, {time.monotonic() - began:.0f} s", flush=True)
        sys.stdout.buffer.write(output.read())
        sys.stdout.flush()
        output.close()
        self.statuses.append(process.returncode)

    def stop(self, number, frame):
        self.stopped = True
        self.waiting.clear()
        for process in self.running:
            process.send_signal(signal.SIGINT)

    def run(self):
        while self.waiting or self.running:
            while self.waiting and len(self.running) < self.jobs:
                self.start(self.waiting.pop())
            pid, status = os.wait()
            for process in list(self.running):
                if process.pid == pid:
                    process.returncode = os.waitstatus_to_exitcode(status)
                    self.over(process)
        wrong = [status for status in self.statuses if status not in (0, NO_TESTS)]
        if wrong or self.stopped:
            return 1
        return 0 if 0 in self.statuses else NO_TESTS


def main():
    runner = Runner(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:])
    signal.signal(signal.SIGTERM, runner.stop)
    signal.signal(signal.SIGINT, runner.stop)
    sys.exit(runner.run())


main()
