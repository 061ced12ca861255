#!/usr/bin/env python3
"""rota, the yardstick and the peers in turn on one PostgreSQL, and their ratios beside what is aimed at:

    python3 tests/bench/compare.py all --work DIR

tests/bench/README.md says how it measures and what was measured. Exit 0: all that could be measured was,
whether or not the aims were met; 1: something failed."""

import argparse
import json
import os
import signal
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.abspath(os.path.join(HERE, "..", ".."))
sys.path[:0] = [HERE, os.path.join(ROOT, "tests", "lib")]

import lasting  # noqa: E402
import mixed  # noqa: E402
import quiet  # noqa: E402
import scale  # noqa: E402
import speed  # noqa: E402
from bench import Bench, Unavailable  # noqa: E402
from peers import Peers  # noqa: E402
from servers import BenchServer  # noqa: E402
from table import Results  # noqa: E402
from yardstick import Yardstick  # noqa: E402

PARTS = {"drain": speed.drain, "tick": speed.tick, "latency": quiet.latency, "idle": quiet.idle, "enqueue": speed.enqueue,
         "nodes": scale.nodes, "rows": scale.rows, "mixed": mixed.mixed, "snapshot": lasting.snapshot, "churn": lasting.churn}
ROUNDS = ("drain", "tick", "latency", "idle", "enqueue")  # the others are long: once

# name: for real, with --quick, what it is
SIZES = {
    "runs": (300000, 40000, "runs of a drain"),
    "quartz_runs": (10000, 2000, "runs of Quartz's drain"),
    "yard_seconds": (5, 2, "seconds of the yardstick"),
    "yard_rows": (1000000, 400000, "rows of the yardstick"),
    "triggers": (200000, 50000, "triggers that fall due each second"),
    "tick_seconds": (15, 3, "seconds of firing"),
    "hold_seconds": (300, 5, "seconds in which 10,000 triggers are held"),
    "samples": (500, 100, "enqueues one at a time"),
    "idle_seconds": (60, 8, "seconds of nothing"),
    "enqueue_seconds": (5, 2, "seconds of enqueueing"),
    "dormant": (5000000, 100000, "triggers that are not due"),
    "history": (10000000, 200000, "rows of a long history"),
    "low_runs": (1000000, 100000, "runs of low priority that wait"),
    "lanes": (1000, 100, "lanes that are full"),
    "backlog": (300000, 60000, "runs kept waiting in snapshot and churn"),
    "step": (10, 2, "seconds of a step in snapshot and churn"),
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="+", choices=[*PARTS, "all", "install"], metavar="PART",
                        help=f"{', '.join(PARTS)}; all; install: only get the peers")
    parser.add_argument("--rounds", type=int, help=f"of {', '.join(ROUNDS)} [3, quick 1]")
    parser.add_argument("--quick", action="store_true", help="small sizes: for a first look, and for lines of information")
    parser.add_argument("--work", default=os.path.join(ROOT, "build-bench"), help="folder for server, peers, logs [%(default)s]")
    parser.add_argument("--data", metavar="DIR", help="where its PostgreSQL keeps its data [in the work folder]")
    parser.add_argument("--shared", default=os.path.join(ROOT, "..", "shared"), help="where yardstick and harnesses are [%(default)s]")
    parser.add_argument("--rota", default=os.path.join(ROOT, "build/cmd/rota"), help="the binary [%(default)s]")
    parser.add_argument("--server", metavar="URL", help="a PostgreSQL that is there, instead of one of its own")
    parser.add_argument("--lock", metavar="FILE", help="held during each measurement, for machines on which several measure")
    parser.add_argument("--priority", type=int, default=-20, help="of all that is measured, where permitted [%(default)s]")
    parser.add_argument("--slots", type=int, default=1000, help="of the built-in worker of each node [%(default)s]")
    parser.add_argument("--seconds", type=int, help="of snapshot [300] and churn [600]; quick: 16")
    parser.add_argument("--limit", type=int, default=900, help="seconds after which a drain has failed [%(default)s]")
    parser.add_argument("--node-counts", type=int, nargs="+", default=[1, 2, 4, 8, 16], help="of the part nodes [%(default)s]")
    parser.add_argument("--json", metavar="FILE", help="write everything there, too; - prints it instead of the table")
    parser.add_argument("--lines", action="store_true", help="print a line for each aim instead of the table")
    for name, (real, small, told) in SIZES.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N", help=f"{told} [{real}, quick {small}]")
    return complete(parser.parse_args())


def complete(options):
    """What was not said, by whether it is to be quick."""
    for name, (real, small, _) in SIZES.items():
        if getattr(options, name) is None:
            setattr(options, name, small if options.quick else real)
    options.rounds = options.rounds or (1 if options.quick else 3)
    if options.quick and options.seconds is None:
        options.seconds = 16
    if "all" in options.parts:
        options.parts = list(PARTS)
    for name in ("work", "shared", "rota"):
        setattr(options, name, os.path.abspath(getattr(options, name)))
    os.makedirs(options.work, exist_ok=True)
    if options.runs % 1000 or options.low_runs % 1000:
        sys.exit("compare.py: --runs and --low-runs are multiples of 1000")
    return options


def machine(server):
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        model = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "unknown")
    return {"cores": os.cpu_count(), "processor": model, "memory_gib": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 30,
            "kernel": os.uname().release, "postgresql": server.version}


def measure(options):
    """Results, the machine, how many figures failed."""
    os.environ["ROTA_BINARY"] = options.rota
    try:
        os.setpriority(os.PRIO_PROCESS, 0, options.priority)  # inherited by all that is measured
    except PermissionError:
        pass
    server = BenchServer(options.data or os.path.join(options.work, "postgres"), options.server)
    try:
        peers = Peers(options.shared, options.work, server, download=not options.quick or "install" in options.parts)
        bench = Bench(options, server, Yardstick(options.shared, options.work, server), peers, Results())
        if "install" in options.parts:
            install(bench)
        for bench.round in range(options.rounds):
            for part in options.parts:
                if part in PARTS and (bench.round == 0 or part in ROUNDS):
                    PARTS[part](bench)
        return bench.results, machine(server), bench.failures
    finally:
        server.close()


def install(bench):
    try:
        bench.peers.install()
        bench.yardstick.compile()
    except Unavailable as reason:
        bench.note(str(reason))


def main():
    options = arguments()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))  # everything that was started is ended
    results, where, failures = measure(options)
    document = json.dumps(results.document(where), indent=1)
    if options.json and options.json != "-":
        with open(options.json, "w", encoding="utf-8") as file:
            file.write(document + "\n")
    print(document if options.json == "-" else results.rows() if options.lines else results.text(where))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
