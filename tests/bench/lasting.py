"""The parts that take their time: a drain through which somebody holds an old snapshot, and hours of
coming and going in short."""

import threading
import time

import psycopg

import rota

FED = """/* bench: own */ SELECT coalesce(sum(n_tup_ins), 0)::bigint FROM pg_stat_user_tables
          WHERE schemaname = 'rota' AND relname LIKE 'task_history%%'"""
STEPS = """SELECT floor(extract(epoch FROM ended_at) / %s)::bigint * %s AS step, count(*) FROM rota.task_history
            WHERE task = 'noop' GROUP BY 1 ORDER BY 1"""


class Feeder:
    """Keeps a backlog: as much as `backlog` waits, whatever the nodes do."""

    PORTION = 20000

    def __init__(self, made, backlog, fill=rota.FILL):
        self.made, self.backlog, self.fill, self.fed = made, backlog, fill, 0
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._feed)

    def _feed(self):
        with psycopg.connect(self.made.url, autocommit=True) as db:
            while not self.stopped.is_set():
                if self.fed - db.execute(FED).fetchone()[0] > self.backlog:
                    self.stopped.wait(0.1)
                    continue
                db.execute(self.fill, [self.PORTION // rota.FILL_STEP, "noop"])
                self.fed += self.PORTION

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *failure):
        self.stopped.set()
        self.thread.join()


def steps(made, step_s):
    """Runs a second in each whole step, with the time at which the step began."""
    found = made.rows(STEPS, step_s, step_s)
    return [(int(at), count / step_s) for at, count in found[1:-1]]  # neither the first nor the last is whole


def mean(values):
    values = list(values)
    assert values, "the time was too short for a figure"
    return sum(values) / len(values)


def under_snapshot(bench, seconds, step_s, fill=rota.FILL):
    """Rates before an idle transaction was opened, and in the last third of its life."""
    with rota.fleet(bench) as made:
        made.apply(rota.NOOP)
        made.ready_nodes(2)
        with Feeder(made, bench.options.backlog, fill) as feeder, psycopg.connect(made.url) as held:
            time.sleep(step_s * 4)
            held.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            held.execute("SELECT count(*) FROM rota.job")
            opened = time.time()
            time.sleep(seconds)
            closed = time.time()
            held.rollback()
        made.wait_drained(bench.options.limit)
        made.drained("noop", feeder.fed)
        found = steps(made, step_s)
        before = mean(rate for at, rate in found if at + step_s <= opened)
        under = mean(rate for at, rate in found if at >= closed - seconds / 3 and at + step_s <= closed)
        return before, {"under": under, "steps": [round(rate) for _, rate in found], "opened_at_step":
                        sum(at + step_s <= opened for at, _ in found)}


def snapshot(bench):
    seconds = bench.options.seconds or 300
    for kind, fill in (("", rota.FILL), (", single rows", rota.FILL_ROWS)):
        if bench.measure("snapshot", f"before{kind}", "runs/s", under_snapshot, bench, seconds, bench.options.step, fill) is not None:
            under = bench.results.figures["snapshot", f"before{kind}"]["facts"]["under"]
            bench.results.add("snapshot", f"under the snapshot{kind}", "runs/s", under, {}, bench.round)


def churned(bench, seconds, step_s):
    """Rates of the second tenth of the time (the first is the warm-up) and of the last."""
    with rota.fleet(bench) as made:
        made.apply(rota.NOOP)
        made.ready_nodes(2)
        with Feeder(made, bench.options.backlog) as feeder:
            time.sleep(seconds)
        made.wait_drained(bench.options.limit)
        made.drained("noop", feeder.fed)
        found = [rate for _, rate in steps(made, step_s)]
        part = max(1, len(found) // 10)
        sizes = made.rows("""SELECT relname, pg_total_relation_size(oid) / 1024 FROM pg_class
                              WHERE relnamespace = 'rota'::regnamespace AND relname IN ('bundle', 'pending', 'receipt') ORDER BY 1""")
        return mean(found[part:2 * part]), {"end": mean(found[-part:]), "steps": [round(rate) for rate in found],
                                            "kib": {name: int(size) for name, size in sizes}}


def churn(bench):
    seconds = bench.options.seconds or 600
    if bench.measure("churn", "at the beginning", "runs/s", churned, bench, seconds, bench.options.step) is not None:
        end = bench.results.figures["churn", "at the beginning"]["facts"]["end"]
        bench.results.add("churn", "at the end", "runs/s", end, {}, bench.round)
