"""The yardstick: only the statements of a scheduler's hot path in closed loops, no scheduler. Its source
is no part of the repository; --shared says where it is."""

import os
import subprocess

from bench import Unavailable
from servers import Meter

DATABASE = "bench_yard"


class Yardstick:
    def __init__(self, shared, work, server):
        self.source = os.path.join(shared, "limit", "hotpath.c")
        self.program = os.path.join(work, "hotpath")
        self.server = server

    def compile(self):
        if not os.path.exists(self.source):
            raise Unavailable(f"the yardstick is left out: there is no {self.source}")
        if os.path.exists(self.program) and os.path.getmtime(self.program) > os.path.getmtime(self.source):
            return
        include = subprocess.run(["pg_config", "--includedir"], capture_output=True, text=True, check=True).stdout.strip()
        subprocess.run(["cc", "-O2", "-pthread", f"-I{include}", self.source, "-o", self.program, "-lpq"], check=True)

    def run(self, variant, seconds, rows, batch=200, clients=2):
        """Rows a second, and what else it says of itself."""
        self.compile()
        self.server.fresh(DATABASE)
        try:
            with Meter(self.server, DATABASE) as meter:
                done = subprocess.run([self.program, "-V", variant, "-b", str(batch), "-c", str(clients), "-T", str(seconds),
                                       "-n", str(rows)], env=self.server.environment(DATABASE), capture_output=True, text=True,
                                      timeout=300, check=True)
        finally:
            self.server.drop(DATABASE)
        said = dict(part.split("=", 1) for part in done.stdout.strip().splitlines()[-1].split("\t")[1:])
        assert said["exact"] == "yes", f"the yardstick wrote a wrong history: {said}"
        return float(said["rows/s"]), {"wal_bytes": int(said["walB/row"]), "batch_ms_p99": float(said["p99ms"]),
                                      "foreign_cores": round(meter.foreign, 2)}
