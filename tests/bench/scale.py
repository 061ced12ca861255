"""The parts about growth: many nodes on one machine, many triggers, a long history."""

import time

import rota


def nodes(bench):
    """The same drain with more and more nodes; how far the share of any is from an even one."""
    rates = {}
    for count in bench.options.node_counts:
        rate = bench.measure("nodes", f"{count} node{'s' * (count > 1)}", "runs/s", rota.drain, bench, count, bench.options.runs)
        if rate is None:
            continue
        rates[count] = rate
        shares = bench.results.figures["nodes", f"{count} node{'s' * (count > 1)}"]["facts"]["shares"]
        even = bench.options.runs / count
        shares += [0] * (count - len(shares))
        bench.results.add("nodes", f"distance from an even share, {count}", "", max(abs(share / even - 1) for share in shares), {},
                          bench.round)
    if rates:
        most = max(rates)
        bench.results.add("nodes", f"{most} nodes of the best", "", rates[most] / max(rates.values()), {}, bench.round)
        bench.results.add("nodes", "uneven", "", max(bench.results.figures["nodes", f"distance from an even share, {count}"]
                                                     ["values"][bench.round] for count in rates), {}, bench.round)


# --- rows ---

HISTORY = """INSERT INTO rota.task_history (id, task, started_at, ended_at, duration_ms, status, outcome, node, attempt, scheduled_at)
SELECT nextval('rota.run_id'), 'earlier', at, at, 1, 'success', 'success', 'n0', 1, at
  FROM (SELECT greatest(date_trunc('day', now(), 'UTC'), now() - interval '6 hours') + g * interval '1 us' AS at
          FROM generate_series(1, %s) g) past"""


def lengthen(made, rows):
    """What a busy day has left in the history, of another job; a million rows a transaction."""
    done = 0
    while done < rows:
        step = min(1000000, rows - done)
        made.db.execute(HISTORY, [step])
        done += step


def retention(bench, rows):
    """Seconds that it takes to let go of all but the newest 100,000, while rows go on coming in."""
    with rota.fleet(bench) as made:
        made.apply(rota.NOOP)
        lengthen(made, rows)
        made.ready_nodes(1)
        made.fill("noop", 20000)
        made.wait_drained(bench.options.limit)
        before = made.value("SELECT count(*) FROM rota.task_history")
        began = time.monotonic()
        made.value("SELECT rota.history_trim(100000)")
        took = time.monotonic() - began
        kept = made.value("SELECT count(*) FROM rota.task_history")
        assert kept >= 100000 or kept == before
        return took, {"rows_before": before, "rows_kept": kept}


def rows(bench):
    options = bench.options
    for name, dormant in (("10,000 triggers", 0), ("many triggers", options.dormant)):
        if bench.measure("rows", name, "firings/s", rota.tick, bench, 2, 10000, options.tick_seconds, period_ms=100,
                         dormant=dormant) is not None:
            claim = bench.results.figures["rows", name]["facts"]["claim_ms"]
            if claim:
                bench.results.add("rows", f"claim, {name}", "ms", claim, {}, bench.round)
    bench.measure("rows", "drain, empty history", "runs/s", rota.drain, bench, 2, options.runs)
    bench.measure("rows", "drain, large history", "runs/s", rota.drain, bench, 2, options.runs,
                  prepare=lambda made: lengthen(made, options.history))
    bench.measure("rows", "retention", "s", retention, bench, options.history)
