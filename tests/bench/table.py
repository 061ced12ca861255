"""Figures and what they have to reach, as a table, as JSON, and as lines of information for other scripts.
Two figures are compared only within their round: absolute ones mean little on a shared machine."""

import statistics

GRAPHILE, PGBOSS, QUARTZ = "graphile-worker, batched, 2 processes", "pg-boss, loop of 1000, 2 processes", "Quartz, 2 nodes"
YARD, YARD_TICK = "yardstick receipt -b 200 -c 2", "yardstick receipt_adv -b 200 -c 2"
ONE, TWO = "rota, 1 node", "rota, 2 nodes"

# part, what is said, figures (one as it is, two as a ratio), whether at least or at most, how much
TARGETS = [
    ("drain", "rota of graphile-worker", (TWO, GRAPHILE), "at least", 1.0),
    ("drain", "rota of pg-boss", (TWO, PGBOSS), "at least", 1.0),
    ("drain", "rota of the yardstick", (TWO, YARD), "at least", 0.5),
    ("drain", "1 node of 2 nodes", (ONE, TWO), "at least", 0.75),
    ("drain", "WAL bytes a run", ("rota, 2 nodes: WAL",), "at most", 900),
    ("drain", "statements a run", ("rota, 2 nodes: statements",), "at most", 0.05),
    ("tick", "rota of the yardstick", (TWO, YARD_TICK), "at least", 0.6),
    ("tick", "rota of Quartz", (TWO, QUARTZ), "at least", 50),
    ("tick", "p99 delay of 10,000 a second, ms", ("rota, 10,000 triggers held",), "at most", 100),
    ("latency", "p99, rota of graphile-worker", ("rota: p99", "graphile-worker: p99"), "at most", 1.0),
    ("latency", "p50, rota of graphile-worker", ("rota: p50", "graphile-worker: p50"), "at most", 1.0),
    ("latency", "p99, rota of pg-boss", ("rota: p99", "pg-boss with notify: p99"), "at most", 1.0),
    ("latency", "p50, rota of pg-boss", ("rota: p50", "pg-boss with notify: p50"), "at most", 1.0),
    ("latency", "scheduled to start, p50, ms", ("rota, scheduled: p50",), "at most", 1.5),
    ("latency", "scheduled to start, p99, ms", ("rota, scheduled: p99",), "at most", 5.0),
    ("latency", "at half load, p99, ms", ("rota, half load: p99",), "at most", 50.0),
    ("idle", "statements a minute, each node", ("rota: another node",), "at most", 40),
    ("idle", "statements a minute, the leader", ("rota: the leader",), "at most", 100),
    ("idle", "private KiB, coordinator", ("rota: coordinator",), "at most", 4096),
    ("idle", "private KiB, built-in worker", ("rota: built-in worker",), "at most", 4096),
    ("idle", "start to ready, ms", ("rota: start to ready",), "at most", 200),
    ("enqueue", "enqueue_many, runs a second", ("rota.enqueue_many, batches of 1,000",), "at least", 100000),
    ("enqueue", "cost of one beside a bare insert", ("bare insert, 8 clients", "rota.enqueue, 8 clients"), "at most", 1.3),
    ("nodes", "16 nodes of the best", ("16 nodes of the best",), "at least", 0.9),
    ("nodes", "largest distance from an even share", ("uneven",), "at most", 0.2),
    ("rows", "firings, many triggers of few", ("many triggers", "10,000 triggers"), "at least", 0.9),
    ("rows", "claim time, many triggers of few", ("claim, many triggers", "claim, 10,000 triggers"), "at most", 1.1),
    ("rows", "drain, large history of an empty one", ("drain, large history", "drain, empty history"), "at least", 0.9),
    ("rows", "retention, s", ("retention",), "at most", 1.0),
    ("snapshot", "rate under a snapshot of that before", ("under the snapshot", "before"), "at least", 0.8),
    ("snapshot", "the same of single rows", ("under the snapshot, single rows", "before, single rows"), "at least", 0.8),
    ("churn", "last rate of the first", ("at the end", "at the beginning"), "at least", 0.95),
    ("mixed", "high priority beside a backlog, p99 ms", ("high priority",), "at most", 20.0),
    ("mixed", "triggers beside a backlog, p99 ms", ("trigger",), "at most", 20.0),
    ("mixed", "high priority beside single rows, p99 ms", ("high priority, single rows",), "at most", 20.0),
    ("mixed", "triggers beside single rows, p99 ms", ("trigger, single rows",), "at most", 20.0),
    ("mixed", "plain runs beside full lanes", ("beside full lanes", "without lanes"), "at least", 0.9),
    ("mixed", "short beside long runs, p99 ms", ("short runs",), "at most", 50.0),
]


def summary(values):
    return min(values), statistics.median(values), max(values)


def number(value):
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.1f}" if abs(value) >= 20 else f"{value:.3f}"


class Results:
    def __init__(self):
        self.figures = {}  # (part, name) to {"unit", "values" by round, "facts" of the last}
        self.notes = []

    def add(self, part, name, unit, value, facts, round_number):
        figure = self.figures.setdefault((part, name), {"unit": unit, "values": {}})
        figure["values"][round_number] = value
        figure["facts"] = facts

    def _compared(self, part, names):
        """One value for each round that has all of the figures."""
        found = [self.figures.get((part, name), {"values": {}})["values"] for name in names]
        rounds = sorted(set.intersection(*map(set, found)))
        if len(names) == 1:
            return [found[0][each] for each in rounds]
        return [found[0][each] / found[1][each] for each in rounds if found[1][each]]

    def targets(self):
        for part, what, names, sense, wanted in TARGETS:
            values = self._compared(part, names)
            if values:
                low, middle, high = summary(values)
                met = middle >= wanted if sense == "at least" else middle <= wanted
                yield {"part": part, "what": what, "min": low, "median": middle, "max": high, "target": f"{sense} {wanted:,}",
                       "met": met}

    def document(self, machine):
        figures = []
        for (part, name), figure in self.figures.items():
            low, middle, high = summary(list(figure["values"].values()))
            figures.append({"part": part, "name": name, "unit": figure["unit"], "min": low, "median": middle, "max": high,
                            "rounds": len(figure["values"]), "facts": figure["facts"]})
        return {"machine": machine, "figures": figures, "targets": list(self.targets()), "notes": self.notes}

    def text(self, machine):
        """For people: figures, then ratios with their targets."""
        lines = [", ".join(f"{name} {value}" for name, value in machine.items())]
        for figure in self.document(machine)["figures"]:
            lines.append(f"{figure['part']:9} {figure['name']:42} {number(figure['min']):>10} {number(figure['median']):>10} "
                         f"{number(figure['max']):>10}  {figure['unit']}")
        lines += ["", f"{'':9} {'':42} {'min':>10} {'median':>10} {'max':>10}  target"]
        for row in self.targets():
            lines.append(f"{row['part']:9} {row['what']:42} {number(row['min']):>10} {number(row['median']):>10} "
                         f"{number(row['max']):>10}  {row['target']}: {'met' if row['met'] else 'not met'}")
        return "\n".join(lines + [f"note: {note}" for note in self.notes])

    def rows(self):
        """One line a target, for a log: information, never a verdict."""
        return "\n".join(f"bench: {row['part']}: {row['what']}: {number(row['median'])} ({number(row['min'])} to "
                         f"{number(row['max'])}), target {row['target']}: {'met' if row['met'] else 'not met'}"
                         for row in self.targets())
