"""CMD of `rota lock` that marks in a file for how long it has the lock. Arguments: file, name, seconds."""

import json
import os
import sys
import time


def main():
    file = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
    began = time.clock_gettime(time.CLOCK_BOOTTIME)

    def mark(what):
        os.write(file, json.dumps({
            "what": what, "at": time.clock_gettime(time.CLOCK_BOOTTIME), "run": None, "fence": None, "lane": None,
            "lock": sys.argv[2], "lock_fence": int(os.environ["ROTA_LOCK_FENCE"]), "node": "rota lock",
            "pid": os.getpid(), "child": None}).encode() + b"\n")

    mark("locked")
    while time.clock_gettime(time.CLOCK_BOOTTIME) < began + float(sys.argv[3]):
        mark("beat")
        time.sleep(0.05)
    mark("unlock")


main()
