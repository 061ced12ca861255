"""The parts in which next to nothing happens: how soon one run starts, and what a fleet costs while there
is none."""

import contextlib
import datetime
import json
import os
import random
import socket
import time

import psycopg

import rota
from peers import BEST
from processes import cpu_seconds, memory_kib
from servers import Meter

SLOTS = 16  # of the built-in worker: below what one claim may bring, which would leave no room for a pool
STAMP = {"name": "stamp", "handler": "stamp", "durable": True}


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


@contextlib.contextmanager
def stamps(made, slots=64):
    """A socket that hears of each handler's start, and the pool whose worker tells it."""
    path = os.path.join(made.directory, f"stamps-{time.monotonic_ns()}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        heard.bind(path)
        heard.settimeout(15)
        try:
            yield heard, {"stamp": {"command": ["/usr/bin/python3", rota.WORKER, path, str(slots)], "processes": 1}}
        finally:
            os.unlink(path)


def hear(heard):
    """Run, time.time() of its handler."""
    return json.loads(heard.recv(4096))


def one_by_one(made, heard, samples):
    """Milliseconds from the commit of an enqueue to its handler, one at a time."""
    delays = []
    with psycopg.connect(made.url, autocommit=True) as db:
        for number in range(samples + 20):
            run = db.execute("SELECT rota.enqueue('stamp', '{}')", prepare=True).fetchone()[0]
            committed = time.time()
            while True:
                started, at = hear(heard)
                if started == run:
                    break
            if number >= 20:
                delays.append(1000 * max(0.0, at - committed))
            time.sleep(random.uniform(0.005, 0.02))
    return delays


def from_enqueue(bench, samples):
    with rota.fleet(bench) as made, stamps(made) as (heard, pools):
        made.apply(STAMP)
        made.ready_nodes(2, pools=pools, slots=SLOTS)
        time.sleep(2)
        delays = one_by_one(made, heard, samples)
        node = made.delays("stamp", datetime.datetime.fromtimestamp(0, datetime.timezone.utc))
        return percentile(delays, 0.5), percentile(delays, 0.99), {"longest_ms": round(max(delays), 2),
                                                                   "commit_time_to_history_p50_ms": round(node[0], 3)}


SCHEDULED = "SELECT id, extract(epoch FROM scheduled_at)::float8 FROM rota.task_history WHERE id = ANY (%s)"


def from_schedule(bench, seconds):
    """Triggers that fire one at a time, at odd moments."""
    with rota.fleet(bench) as made, stamps(made) as (heard, pools):
        made.apply({**STAMP, "triggers": [rota.every(1000)]})
        made.copy_triggers("t0", 19)
        made.ready_nodes(2, pools=pools, slots=SLOTS)
        began, end = {}, time.time() + 3 + seconds
        while time.time() < end:
            run, at = hear(heard)
            if at > end - seconds:
                began[run] = at
        made.stop_nodes()
        delays = [1000 * (began[run] - at) for run, at in made.rows(SCHEDULED, list(began))]
        return percentile(delays, 0.5), percentile(delays, 0.99), {"longest_ms": round(max(delays), 2), "firings": len(delays)}


def half_load(bench, rate, seconds):
    """p99 from enqueue to start while half of what 2 nodes drain comes in, in 50 portions a second."""
    portion = max(1, int(rate / 2 / 50))
    statement = """SELECT count(*) FROM unnest(rota.enqueue_many('noop',
                       (SELECT array_agg('{}'::jsonb) FROM generate_series(1, %s)))) id"""
    with rota.fleet(bench) as made:
        made.apply(rota.NOOP)
        made.ready_nodes(2)
        began, portions = time.monotonic(), 0
        while time.monotonic() < began + seconds:
            made.db.execute(statement, [portion], prepare=True)
            portions += 1
            time.sleep(max(0.0, began + portions / 50 - time.monotonic()))
        made.wait_drained(bench.options.limit)
        made.drained("noop", portions * portion)
        median, p99, longest = made.delays("noop", datetime.datetime.fromtimestamp(0, datetime.timezone.utc))
        return p99, {"p50_ms": round(median, 2), "longest_ms": round(longest, 1), "runs_per_s": round(portions * portion / seconds)}


def latency(bench):
    samples = bench.options.samples
    both(bench, "graphile-worker", bench.peers.latency_node, "graphile.mjs", samples, **{**BEST, "GW_REFETCH": "0"})
    both(bench, "pg-boss with notify", bench.peers.latency_node, "pgboss.mjs", samples, PB_NOTIFY="1")
    both(bench, "rota", from_enqueue, bench, samples)
    both(bench, "rota, scheduled", from_schedule, bench, bench.options.tick_seconds)
    rate = drained_rate(bench)
    if rate:
        bench.measure("latency", "rota, half load: p99", "ms", half_load, bench, rate, bench.options.tick_seconds)


def drained_rate(bench):
    """What 2 nodes drain: of this round, or measured now."""
    known = bench.results.figures.get(("drain", "rota, 2 nodes"), {"values": {}})["values"].get(bench.round)
    return known or bench.measure("latency", "rota, 2 nodes drain", "runs/s", rota.drain, bench, 2, bench.options.runs // 2)


def both(bench, name, function, *arguments, **named):
    """Two figures of one measurement: p50 and p99."""
    p99 = []

    def first():
        median, late, *facts = function(*arguments, **named)
        p99.append(late)
        return median, facts[0] if facts else {}

    if bench.measure("latency", f"{name}: p50", "ms", first) is not None:
        bench.results.add("latency", f"{name}: p99", "ms", p99[0], {}, bench.round)


# --- idle ---


def idle_rota(bench, seconds):
    """Statements a minute of 2 nodes together; sizes, and how long one took to be ready."""
    with rota.fleet(bench) as made:
        made.ready_nodes(1)[0].stop()
        began = time.monotonic()
        first = made.node("n1", history_rows=10**9)
        ready_ms = 1000 * (time.monotonic() - began)
        made.apply({**rota.NOOP, "triggers": [{"name": "t", "cron": "0 0 0 1 1 ?"}]})
        made.wait_history(*made.enqueue("noop"))
        time.sleep(5)
        alone = minute(bench, made, seconds)
        made.node("n2", history_rows=10**9)
        time.sleep(5)
        cpu = cpu_seconds(first.pid)
        together = minute(bench, made, seconds)
        worker = next(process.pid for process in first.workers() if " worker " in process.command)
        return together, {"leader": alone, "other": together - alone, "coordinator": memory_kib(first.pid, "RssAnon"),
                          "worker": memory_kib(worker, "RssAnon"), "coordinator_rss_kib": memory_kib(first.pid, "VmRSS"),
                          "ready_ms": ready_ms, "cpu_ms_per_minute": round((cpu_seconds(first.pid) - cpu) * 60000 / seconds)}


def minute(bench, made, seconds):
    with Meter(bench.server, made.name) as meter:
        time.sleep(seconds)
    return meter.statements * 60 / meter.seconds


def idle(bench):
    seconds, unit = bench.options.idle_seconds, "statements/min"
    bench.measure("idle", "graphile-worker", unit, bench.peers.idle_node, "graphile.mjs", seconds, **BEST)
    bench.measure("idle", "pg-boss, poll 2 s", unit, bench.peers.idle_node, "pgboss.mjs", seconds, PB_POLL="2", PB_CONC="1")
    bench.measure("idle", "Quartz", unit, bench.peers.idle_quartz, seconds)
    if bench.measure("idle", "rota, 2 nodes", unit, idle_rota, bench, seconds) is None:
        return
    facts = bench.results.figures["idle", "rota, 2 nodes"]["facts"]
    for name, fact, kind in (("the leader", "leader", unit), ("another node", "other", unit), ("coordinator", "coordinator", "KiB"),
                             ("built-in worker", "worker", "KiB"), ("start to ready", "ready_ms", "ms")):
        bench.results.add("idle", f"rota: {name}", kind, facts[fact], {}, bench.round)
