"""A worker that does harm. Arguments: how it begins (`well`, or what it does instead of a hello), and a folder for
the numbers of processes it leaves behind. A run's data say what it does then: {"do": …}."""

import json
import os
import signal
import subprocess
import sys
import time


def write(data):
    while data:
        data = data[os.write(1, data):]


def say(**message):
    write(json.dumps(message).encode() + b"\n")


def leave(name, pid):
    with open(os.path.join(sys.argv[2], name + ".new"), "w", encoding="ascii") as file:
        file.write(str(pid))
    os.rename(os.path.join(sys.argv[2], name + ".new"), os.path.join(sys.argv[2], name))


def daemonize(name, stranger=False):
    """A grandchild in a session of its own that nothing asks to end; as a stranger with nothing of its parents'."""
    begun, begins = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)
            leave(name, os.getpid())
            os.write(begins, b"x")
            if stranger:
                os.execve("/bin/sleep", ["sleep", "3600"], {})
            time.sleep(3600)
        os._exit(0)
    os.wait()
    os.read(begun, 1)


def run_away(name):
    """Forks on and on, each child in a session of its own: a list of processes is hardly ever true when it is read. It
    counts in a file, and gives up by itself after a minute."""
    end = time.monotonic() + 60
    counter = os.open(os.path.join(sys.argv[2], name), os.O_CREAT | os.O_WRONLY, 0o600)
    count = 0
    if os.fork() != 0:
        return
    while time.monotonic() < end:
        os.setsid()
        count += 1
        os.pwrite(counter, str(count).encode(), 0)
        if os.fork() != 0:
            os._exit(0)
    os._exit(0)


def flood(line):
    while True:
        write(line * 200)


def act(run, data):
    ids, do = {"id": run["id"], "fence": run["fence"]}, data["do"]
    of_run = json.dumps(ids).encode()[1:-1]
    if do == "exit":
        os._exit(3)
    if do == "exit in mid-line":
        write(b'{"type":"done",' + of_run)
        os._exit(0)
    if do == "die in mid-line":
        write(b'{"type":"done",' + of_run)
        os.kill(os.getpid(), signal.SIGKILL)
    if do == "answer and exit":
        say(type="done", **ids)
        os._exit(1)
    if do == "never answer":
        time.sleep(3600)
    if do == "stop itself":
        os.kill(os.getpid(), signal.SIGSTOP)
    if do == "close its output":
        os.close(1)
        time.sleep(3600)
    if do == "close both":
        os.close(0)
        os.close(1)
        time.sleep(3600)
    if do == "ignore everything":
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        time.sleep(3600)
    if do == "leave a child":
        leave("child", subprocess.Popen(["sleep", "3600"]).pid)
        os._exit(0)
    if do == "leave a daemon":
        daemonize("daemon")
        os._exit(0)
    if do == "leave a daemon and hang":
        daemonize("daemon")
        time.sleep(3600)
    if do == "leave a stranger and hang":
        daemonize("daemon", stranger=True)
        time.sleep(3600)
    if do == "run away":
        run_away("count")
        time.sleep(3600)
    if do == "line":
        write(bytes.fromhex(data["hex"]) + b"\n")
        time.sleep(3600)
    if do == "line without end":
        flood(b"x" * 1000)
    if do == "nest":
        write(b'{"type":"done","details":' + b"[" * 200000 + b"\n")
        time.sleep(3600)
    if do == "flood":
        flood(data["line"].replace("IDS", of_run.decode()).encode() + b"\n")
    if do == "lie":
        for number in (run["id"] - 1, run["id"] + 1, data["other"][0], -1, 2**62):
            for fence in (run["fence"], data["other"][1], 0):
                if (number, fence) != (run["id"], run["fence"]):
                    say(type="done", id=number, fence=fence)
                    say(type="fail", id=number, fence=fence, message="a lie")
                    say(type="checkpoint", id=number, fence=fence, data={"a": "lie"})
        say(type="done", id=run["id"], fence=run["fence"] + 1)
        say(type="done", **ids, details={"which": "first"})
        say(type="fail", **ids, message="second")
        return
    if do == "eat memory":
        eaten = []
        while True:
            eaten.append(bytearray(1 << 20))
    if do == "eat processor time":
        while True:
            pass
    if do == "open files":
        files = []
        while True:
            files.append(os.open("/dev/null", os.O_RDONLY))
    say(type="done", **ids)


def begin(how):
    if how == "exits":
        os._exit(1)
    if how == "exits in mid-hello":
        write(b'{"type":"hello","proto')
        os._exit(1)
    if how == "is silent":
        time.sleep(3600)
    if how == "talks nonsense":
        write(b"Welcome to my worker!\n")
        time.sleep(3600)
    if how == "answers first":
        flood(b'{"type":"done","id":1,"fence":1}\n')
    if how == "has no slots":
        say(type="hello", protocol=1, handlers=["hostile"], slots=0)
        time.sleep(3600)
    say(type="hello", protocol=1, handlers=["hostile"], slots=2 if how == "two" else 1)


begin(sys.argv[1])
for text in sys.stdin:
    heard = json.loads(text)
    if heard["type"] == "run":
        act(heard, heard["data"])
