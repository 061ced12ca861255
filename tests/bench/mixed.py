"""The parts in which unlike work meets: a backlog and what must not wait behind it, full lanes and plain
runs, long runs and short ones."""

import threading
import time

import psycopg

import rota
from quiet import SLOTS, hear, percentile, stamps
from waiting import wait_until

LOW = {"name": "low", "handler": "noop", "durable": True, "priority": 1}
HIGH = {"name": "high", "handler": "noop", "durable": True, "priority": 90}


def beside_backlog(bench, runs, seconds, fill=rota.FILL):
    """p99 from schedule to start of what comes each 100 ms while runs of low priority wait."""
    with rota.fleet(bench) as made:
        made.apply(LOW, HIGH, {"name": "tick", "handler": "noop", "triggers": [rota.every(100)]})
        made.fill("low", runs, fill)
        made.settle()
        made.ready_nodes(2)
        time.sleep(1)
        since = made.value("SELECT clock_timestamp()")
        began, sent = time.monotonic(), 0
        with psycopg.connect(made.url, autocommit=True) as db:
            while time.monotonic() < began + seconds and (sent % 10 or waiting(made, "low")):
                db.execute("SELECT rota.enqueue('high', '{}')", prepare=True)
                sent += 1
                time.sleep(max(0.0, began + sent / 10 - time.monotonic()))
        wait_until(lambda: made.value("SELECT count(*) FROM rota.task_history WHERE task = 'high'") == sent, 60, "their end")
        high, tick = made.delays("high", since), made.delays("tick", since)
        return high[1], {"trigger": tick[1], "high_ms": [round(each, 1) for each in high], "runs": sent,
                         "trigger_ms": [round(each, 1) for each in tick], "backlog_left": waiting(made, "low")}


def waiting(made, job):
    return made.value("""WITH job AS (SELECT j.id FROM rota.job j WHERE j.name = %s)
                         SELECT EXISTS (SELECT FROM rota.pending p JOIN job j ON j.id = p.job_id)
                             OR EXISTS (SELECT FROM rota.bundle b JOIN job j ON j.id = b.job_id)""", job)


def plain(bench, runs, lanes):
    """Plain runs that arrive at once on 2 nodes: a second, with so many lanes full and more runs waiting for each."""
    with rota.fleet(bench) as made, stamps(made) as (_, pools):
        pools["stamp"]["command"][-1] = str(max(1, lanes))
        laned = {"name": "laned", "handler": "stamp", "durable": True, "concurrency": {"limit": 1, "key": "/lane"}}
        made.apply(rota.NOOP, laned)
        made.ready_nodes(2, pools=pools, slots=200)
        if lanes:
            made.db.execute("""SELECT count(*) FROM generate_series(1, 20) step, LATERAL unnest(rota.enqueue_many('laned',
                (SELECT array_agg(jsonb_build_object('hold', true, 'lane', g)) FROM generate_series(1, %s) g))) id""", [lanes])
            wait_until(lambda: made.value("SELECT count(*) FROM rota.lane_slot") >= lanes, 120, "all lanes to be full")
        made.fill("noop", runs)
        wait_until(lambda: not waiting(made, "noop"), bench.options.limit, "no plain run to wait", pause=0.2)
        wait_until(lambda: made.value("SELECT count(*) FROM rota.task_history WHERE task = 'noop'") == runs, 60, "their end")
        seconds = made.drained("noop", runs)
        return runs / seconds, {"lanes": lanes}


def beside_long(bench, seconds):
    """p99 from enqueue to handler of short runs on one node whose worker has 8 slots, 4 of them with runs of 3 s."""
    with rota.fleet(bench) as made, stamps(made, 8) as (heard, pools):
        made.apply({"name": "stamp", "handler": "stamp", "durable": True})
        made.ready_nodes(1, pools=pools, slots=SLOTS)
        sent, delays = {}, []
        listener = threading.Thread(target=lambda: collect(heard, sent, delays))
        listener.start()
        began, number = time.monotonic(), 0
        with psycopg.connect(made.url, autocommit=True) as db:
            while time.monotonic() < began + seconds:
                if number % 300 == 0:
                    for _ in range(4):
                        db.execute("""SELECT rota.enqueue('stamp', '{"sleep": 3}')""")
                run = db.execute("SELECT rota.enqueue('stamp', '{}')", prepare=True).fetchone()[0]
                sent[run] = time.time()
                number += 1
                time.sleep(max(0.0, began + number / 100 - time.monotonic()))
        made.wait_drained(60)
        wait_until(lambda: not sent, 10, "all short runs to have been heard of")
        sent[None] = 0
        listener.join()
        return percentile(delays, 0.99), {"p50_ms": round(percentile(delays, 0.5), 2), "longest_ms": round(max(delays), 1),
                                          "runs": number}


def collect(heard, sent, delays):
    """A run may be heard of before its enqueue has told its id: kept until it has."""
    early = {}
    heard.settimeout(0.2)
    while None not in sent:
        try:
            run, at = hear(heard)
            early[run] = at
        except TimeoutError:
            pass
        for run in list(early):
            if run in sent:
                delays.append(1000 * max(0.0, early.pop(run) - sent.pop(run)))


def mixed(bench):
    options = bench.options
    for kind, fill in (("", rota.FILL), (", single rows", rota.FILL_ROWS)):
        if bench.measure("mixed", f"high priority{kind}", "ms p99", beside_backlog, bench, options.low_runs, 20, fill) is not None:
            facts = bench.results.figures["mixed", f"high priority{kind}"]["facts"]
            bench.results.add("mixed", f"trigger{kind}", "ms p99", facts["trigger"], {}, bench.round)
    bench.measure("mixed", "without lanes", "runs/s", plain, bench, options.runs, 0)
    bench.measure("mixed", "beside full lanes", "runs/s", plain, bench, options.runs, options.lanes)
    bench.measure("mixed", "short runs", "ms p99", beside_long, bench, options.tick_seconds)
