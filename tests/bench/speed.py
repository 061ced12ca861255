"""The parts that run rota beside the yardstick and the peers, in turn, once a round: drain, tick, enqueue."""

import os
import re
import subprocess

import rota
from peers import BEST, LOOP
from postgres import binaries
from table import GRAPHILE, ONE, PGBOSS, QUARTZ, TWO, YARD, YARD_TICK


def drain(bench):
    options = bench.options
    rate = "runs/s"
    bench.measure("drain", YARD, rate, bench.yardstick.run, "receipt", options.yard_seconds, options.yard_rows)
    bench.measure("drain", GRAPHILE, rate, bench.peers.drain_node, "graphile.mjs", options.runs, 2, **BEST)
    bench.measure("drain", PGBOSS, rate, bench.peers.drain_node, "pgboss.mjs", options.runs * 2 // 3, 2, **LOOP)
    bench.measure("drain", QUARTZ, rate, bench.peers.drain_quartz, options.quartz_runs, 2)
    bench.measure("drain", ONE, rate, rota.drain, bench, 1, options.runs)
    if bench.measure("drain", TWO, rate, rota.drain, bench, 2, options.runs):
        facts = bench.results.figures["drain", TWO]["facts"]
        bench.results.add("drain", "rota, 2 nodes: WAL", "bytes/run", facts["wal_bytes"], {}, bench.round)
        bench.results.add("drain", "rota, 2 nodes: statements", "per run", facts["statements"], {}, bench.round)


def tick(bench):
    options = bench.options
    rate = "firings/s"
    bench.measure("tick", YARD_TICK, rate, bench.yardstick.run, "receipt_adv", options.yard_seconds, options.yard_rows)
    bench.measure("tick", QUARTZ, rate, bench.peers.tick_quartz, 1200, 2, options.tick_seconds)
    bench.measure("tick", ONE, rate, rota.tick, bench, 1, options.triggers, options.tick_seconds)
    bench.measure("tick", TWO, rate, rota.tick, bench, 2, options.triggers, options.tick_seconds)
    bench.measure("tick", "rota, 10,000 triggers held", "ms p99", rota.hold, bench, 2, 10000, options.hold_seconds)


# --- enqueue ---

# What rota.enqueue writes, with nothing around it: the same columns, the same row.
BARE = """INSERT INTO rota.pending (route, due, job_id, scheduled_at, data)
VALUES ({route}, now(), {job}, now(), '{{"id": 123456}}');
"""
ONE_ENQUEUE = """SELECT rota.enqueue('noop', '{"id": 123456}');
"""


def pgbench(bench, rota_fleet, name, script, clients, seconds, protocol="prepared"):
    """Transactions a second of a script, by PostgreSQL's own load generator."""
    path = os.path.join(rota_fleet.directory, f"{name}.sql")
    with open(path, "w", encoding="utf-8") as file:
        file.write(script)
    done = subprocess.run([os.path.join(binaries(), "pgbench"), "-n", "-M", protocol, "-c", str(clients), "-j", "2", "-T",
                           str(seconds), "-f", path], env=bench.server.environment(rota_fleet.name), capture_output=True,
                          text=True, check=True)
    assert "number of failed transactions: 0" in done.stdout, done.stdout
    return float(re.search(r"tps = ([\d.]+) \(without", done.stdout).group(1))


def pending_after(bench, function):
    """A figure of function(fleet) on an empty fleet without nodes; rows for a look that all are there."""
    with rota.fleet(bench) as made:
        made.apply(rota.NOOP)
        value = function(made)
        return value, {"rows": made.value("SELECT count(*) FROM rota.pending")}


def enqueue_many(bench, clients):
    """Runs a second in batches of 1,000, each of them sent as text by its client."""
    array = ",".join('"{\\"id\\": %d}"' % number for number in range(1000))
    script = f"SELECT count(*) FROM unnest(rota.enqueue_many('noop', '{{{array}}}'::jsonb[])) id;\n"
    return pending_after(bench, lambda made: 1000 * pgbench(bench, made, "enqueue_many", script, clients,
                                                            bench.options.enqueue_seconds, "simple"))


def enqueue_one(bench, bare):
    def load(made):
        job, priority = made.rows("SELECT id, priority FROM rota.job WHERE name = 'noop'")[0]
        route = made.value("SELECT rota.route_of('noop', %s::smallint)", priority)
        script = BARE.format(route=route, job=job) if bare else ONE_ENQUEUE
        return pgbench(bench, made, "enqueue", script, 8, bench.options.enqueue_seconds)

    return pending_after(bench, load)


def enqueue(bench):
    bench.measure("enqueue", "rota.enqueue_many, batches of 1,000", "runs/s", enqueue_many, bench, 2)
    bench.measure("enqueue", "bare insert, 8 clients", "runs/s", enqueue_one, bench, True)
    bench.measure("enqueue", "rota.enqueue, 8 clients", "runs/s", enqueue_one, bench, False)
