"""rota measured from outside: real nodes as processes on a database of their own, times from the history,
each figure only after a look that every run ran exactly once."""

import contextlib
import os
import shutil
import time

import psycopg

from fleet import Rota
from servers import Meter
from waiting import wait_until

NOOP = {"name": "noop", "handler": "noop", "durable": True}
FILL_STEP = 1000  # as many runs in one call of enqueue_many
WORKER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "stamp_worker.py")

FILL = """/* bench: own */ SELECT count(*) FROM generate_series(1, %s) step, LATERAL unnest(rota.enqueue_many(%s,
    (SELECT array_agg(jsonb_build_object('id', step * 1000 + g)) FROM generate_series(1, 1000) g))) id"""
# As single calls of rota.enqueue leave them: each a row, each due at a time of its own.
FILL_ROWS = """/* bench: own */ INSERT INTO rota.pending (route, due, job_id, scheduled_at, data)
    SELECT rota.route_of(j.handler, j.priority), at, j.id, at, '{}'
      FROM rota.job j, LATERAL (SELECT clock_timestamp() AS at FROM generate_series(1, 1000 * %s)) g WHERE j.name = %s"""
DRAINED = """SELECT count(*), count(DISTINCT id), count(*) FILTER (WHERE status = 'success' AND attempt = 1),
                    extract(epoch FROM max(ended_at) - min(started_at))::float8
               FROM rota.task_history WHERE task = %s"""
DELAYS = """SELECT percentile_disc(ARRAY[0.5, 0.99, 1]) WITHIN GROUP (ORDER BY d) FROM
    (SELECT 1000 * extract(epoch FROM started_at - scheduled_at)::float8 AS d FROM rota.task_history
      WHERE task = %s AND started_at >= %s) delays"""


class Fleet(Rota):
    """A migrated database and the nodes that are started on it."""

    def __init__(self, bench):
        super().__init__(bench.server, bench.log_folder())
        self.bench, self.good = bench, False

    def begin_nodes(self, count, **settings):
        """Without waiting for them; their settings are the bench's and then these."""
        slots = settings.pop("slots", self.bench.options.slots)
        return [self.node(f"n{number}", ready=False, slots=slots, history_rows=10**9, grace="2s", **settings)
                for number in range(1, count + 1)]

    def ready_nodes(self, count, **settings):
        return [node.wait_ready() for node in self.begin_nodes(count, **settings)]

    def stop_nodes(self):
        for node in self.nodes:
            node.stop()

    def fill(self, job, runs, fill=FILL):
        """In one transaction, so that all become visible at once; then as after an hour of running."""
        self.db.execute(fill, [runs // FILL_STEP, job])

    def settle(self):
        """Statistics and a checkpoint, as the peers' harnesses do it before they measure."""
        self.db.execute("ANALYZE")
        self.db.execute("CHECKPOINT")

    def wait_drained(self, limit):
        wait_until(self.is_empty, limit, lambda: f"the end of all runs: {self.open_work()}", pause=0.2)

    def is_empty(self):
        return self.value("""/* bench: own */ SELECT NOT EXISTS (SELECT FROM rota.pending) AND NOT EXISTS (SELECT FROM rota.bundle)
                                                     AND NOT EXISTS (SELECT FROM rota.receipt)""")

    def drained(self, job, runs):
        """Seconds from the first start to the last end. Every run is there once, at its first attempt."""
        rows, distinct, good, seconds = self.rows(DRAINED, job)[0]
        assert rows == distinct == good == runs, f"{runs} runs, but {rows} rows, {distinct} ids, {good} successes"
        return seconds

    def shares(self, job):
        return [count for _, count in self.rows(
            "SELECT node, count(*) FROM rota.task_history WHERE task = %s GROUP BY 1 ORDER BY 1", job)]

    def delays(self, job, since):
        """Milliseconds from the scheduled time to the start: p50, p99, the longest."""
        found = self.value(DELAYS, job, since)
        assert found is not None, f"no run of {job} started"
        return found

    def copy_triggers(self, name, count, prefix="t", spread_us=1000000, ahead="0 s"):
        """`count` more triggers like the one of this name, due one after the other over a span of time."""
        columns = {table: [column for column, in self.rows(
            """SELECT quote_ident(column_name) FROM information_schema.columns WHERE table_schema = 'rota' AND table_name = %s
                AND NOT column_name = ANY (ARRAY['id', 'name', 'trigger_id', 'next_at', 'start_at']) AND is_generated = 'NEVER'
              ORDER BY ordinal_position""", table)] for table in ("trigger", "trigger_due")}
        late = f"interval '{ahead}' + g * interval '{spread_us / count:.6f} us'"
        self.db.execute("BEGIN")
        self.db.execute(f"""INSERT INTO rota.trigger (name, start_at, {', '.join(columns['trigger'])})
            SELECT '{prefix}' || g, t.start_at + {late}, {', '.join('t.' + column for column in columns['trigger'])}
              FROM rota.trigger t, generate_series(1, {count}) g WHERE t.name = %s""", [name])
        self.db.execute(f"""INSERT INTO rota.trigger_due (trigger_id, next_at, {', '.join(columns['trigger_due'])})
            SELECT c.id, c.start_at, {', '.join('d.' + column for column in columns['trigger_due'])}
              FROM rota.trigger_due d JOIN rota.trigger t ON t.id = d.trigger_id AND t.name = %s
                   JOIN rota.trigger c ON c.name LIKE '{prefix}%%' AND c.id > t.id""", [name])
        self.db.execute("COMMIT")
        self.settle()

    def faultless(self):
        assert not self.faults(), self.faults()


@contextlib.contextmanager
def fleet(bench):
    made = Fleet(bench)
    try:
        yield made
        made.faultless()
        made.good = True
    finally:
        made.close()
        if made.good:
            shutil.rmtree(made.directory, ignore_errors=True)


def drain(bench, nodes, runs, prepare=None, **settings):
    """Runs that wait before the nodes start: a second, from the first handler to the last."""
    with fleet(bench) as rota:
        rota.apply(NOOP)
        if prepare:
            prepare(rota)
        rota.fill("noop", runs)
        rota.settle()
        with Meter(bench.server, rota.name) as meter:
            rota.begin_nodes(nodes, **settings)
            rota.wait_drained(bench.options.limit)
        seconds = rota.drained("noop", runs)
        return runs / seconds, {**meter.per_run(runs), "shares": rota.shares("noop")}


def every(period_ms, name="t0", **more):
    return {"name": name, "every": f"{period_ms}ms", **more}


TICKS = """SELECT count(*), count(DISTINCT (trigger, scheduled_at)) FROM rota.task_history WHERE task = %s
              AND started_at >= %s AND started_at < %s"""


def tick(bench, nodes, triggers, seconds, period_ms=1000, dormant=0):
    """Firings a second of triggers of which more fall due than can be fired; `dormant` more are not due."""
    with fleet(bench) as rota:
        rota.apply({"name": "tick", "handler": "noop", "triggers": [every(period_ms)]},
                   {"name": "later", "handler": "noop", "triggers": [every(period_ms, "l0", start_at="2099-01-01T00:00:00Z")]})
        rota.copy_triggers("t0", triggers, spread_us=period_ms * 1000)
        if dormant:
            rota.copy_triggers("l0", dormant, prefix="d", spread_us=3600 * 1000000)
        scans = seq_scans(rota)
        rota.ready_nodes(nodes)
        time.sleep(min(3, seconds))
        with Meter(bench.server, rota.name) as meter:
            since = rota.value("SELECT clock_timestamp()")
            time.sleep(seconds)
            until = rota.value("SELECT clock_timestamp()")
        runs, distinct = rota.rows(TICKS, "tick", since, until)[0]
        assert runs == distinct > 0, f"{runs} firings of {distinct} occurrences"
        facts = {**meter.per_run(runs), "wanted": round(triggers * 1000 / period_ms), "claim_ms": claim_ms(bench, rota)}
        if dormant:
            facts["scans_of_all"] = seq_scans(rota) - scans
        return runs / (until - since).total_seconds(), facts


def seq_scans(rota):
    """How often somebody has read all triggers."""
    rota.db.execute("SELECT pg_stat_force_next_flush()")
    return rota.value("""SELECT coalesce(sum(seq_scan), 0)::bigint FROM pg_stat_user_tables
                          WHERE schemaname = 'rota' AND relname IN ('trigger', 'trigger_due')""")


def claim_ms(bench, rota):
    """Of the statement that takes most time of those that lock due triggers: its mean."""
    with psycopg.connect(bench.server.maintenance_url) as db:
        found = db.execute("""SELECT s.mean_exec_time FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid
                               WHERE d.datname = %s AND s.query ~ 'trigger_due' AND s.query ~* 'for (no key )?update'
                               ORDER BY s.total_exec_time DESC LIMIT 1""", [rota.name]).fetchone()
    return round(found[0], 3) if found else None


def hold(bench, nodes, triggers, seconds):
    """p99 of the firing delay in milliseconds where all triggers can be fired; none may be missed."""
    with fleet(bench) as rota:
        rota.apply({"name": "tick", "handler": "noop", "triggers": [every(1000)]})
        rota.copy_triggers("t0", triggers - 1)
        rota.ready_nodes(nodes)
        time.sleep(3)
        since = rota.value("SELECT clock_timestamp()")
        time.sleep(seconds)
        median, p99, longest = rota.delays("tick", since)
        missed = rota.value("SELECT sum(missed)::bigint FROM rota.trigger_due")
        runs, distinct = rota.rows(TICKS, "tick", since, rota.value("SELECT clock_timestamp()"))[0]
        assert runs == distinct, f"{runs} firings of {distinct} occurrences"
        assert runs >= 0.99 * triggers * seconds, f"{runs} firings, {triggers * seconds} were due"
        return p99, {"p50_ms": round(median, 2), "longest_ms": round(longest, 1), "missed": missed}
