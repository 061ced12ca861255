/*
 * `rota bench tick`: recurring triggers. To hold: so many triggers of one second, spread over it;
 * how late their runs begin and that none is missed. To saturate: all triggers fall due at one
 * instant, again and again, with nothing to do in between. Each firing then is one visit of one
 * trigger: triggers that are several occurrences behind would fire them all at one visit, and the
 * misfire policy would make up for the rest at its own pace, so that neither measures firing.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "cmd/bench_figures.h"
#include "cmd/bench_triggers.h"

#include <stdio.h>
#include <stdlib.h>

#define NODES            2
#define HOLD_TRIGGERS    10000
#define HOLD_SECONDS     30
#define WARM_UP_SECONDS  3
#define BURST_TRIGGERS   50000
#define BURSTS           3
#define BURST_RATE       5000 /* firings a second that leave room between two bursts */
#define BURST_PERIOD_MIN 3    /* seconds */

struct tick {
    struct bench *bench;
    struct bench_triggers triggers;
    double *rates;
    size_t rate_count;
    double p50_ms, p99_ms, latest_ms; /* of holding */
    struct bench_counters before, after;
};

/* ---- one of each ---- */

static int fire_all(struct tick *tick, struct rota_error *error)
{
    struct bench *bench = tick->bench;
    if (bench_triggers_apply(bench, &tick->triggers, error) != 0 ||
        bench_count(bench, &tick->before, error) != 0)
        return -1;
    bench_doing(bench, "firing %zu triggers, %lld times each", tick->triggers.count,
                (long long)tick->triggers.occurrences);
    if (bench_triggers_wait(bench, &tick->triggers, error) != 0 ||
        bench_wait_empty(bench, tick->triggers.count, error) != 0 ||
        bench_count(bench, &tick->after, error) != 0 ||
        bench_fleet_tell(bench, "standby", error) != 0)
        return -1;
    return bench_triggers_check(bench, &tick->triggers, error);
}

static int hold(struct tick *tick, struct rota_error *error)
{
    const struct bench_options *options = tick->bench->options;
    int64_t seconds = options->seconds > 0 ? options->seconds : HOLD_SECONDS;
    struct store_params params = {0};
    PGresult *result;
    size_t count;
    tick->triggers.count = options->triggers > 0 ? (size_t)options->triggers : HOLD_TRIGGERS;
    tick->triggers.occurrences = seconds + WARM_UP_SECONDS;
    tick->triggers.period_us = US_PER_SECOND;
    tick->triggers.apart_us = US_PER_SECOND / (int64_t)tick->triggers.count;
    if (fire_all(tick, error) != 0)
        return -1;
    params_time(&params, tick->triggers.start_us + WARM_UP_SECONDS * US_PER_SECOND);
    params_int32(&params, (int32_t)seconds);
    if (bench_ask(tick->bench, SQL_BENCH_TICK_DELAYS, &params, &result, error) != 0)
        return -1;
    tick->p50_ms = row_double(result, 0, 0);
    tick->p99_ms = row_double(result, 0, 1);
    tick->latest_ms = row_double(result, 0, 2);
    int64_t *rates = row_int64s(result, 0, 3, &count);
    tick->rates = mem_array(count, sizeof *tick->rates);
    for (size_t i = 0; i < count; i++)
        tick->rates[tick->rate_count++] = (double)rates[i];
    free(rates);
    PQclear(result);
    return 0;
}

static int saturate(struct tick *tick, struct rota_error *error)
{
    const struct bench_options *options = tick->bench->options;
    PGresult *result;
    tick->triggers.count = options->triggers > 0 ? (size_t)options->triggers : BURST_TRIGGERS;
    tick->triggers.occurrences = 1 + (options->repeat > 0 ? options->repeat : BURSTS);
    tick->triggers.period_us =
        ((int64_t)tick->triggers.count / BURST_RATE + BURST_PERIOD_MIN) * US_PER_SECOND;
    tick->triggers.tolerance = "1h"; /* a burst is late, and no misfire */
    if (fire_all(tick, error) != 0 ||
        bench_ask(tick->bench, SQL_BENCH_TICK_BURSTS, NULL, &result, error) != 0)
        return -1;
    tick->rates = mem_array((size_t)PQntuples(result), sizeof *tick->rates);
    for (int row = 1; row < PQntuples(result); row++) /* the first one is the warm-up */
        tick->rates[tick->rate_count++] = row_double(result, row, 0);
    PQclear(result);
    return 0;
}

/* ---- what is said ---- */

static const char *measured_of(const struct tick *tick)
{
    return tick->bench->options->saturate
               ? "all due at one instant: from the first run handed to a worker to the last in the "
                 "history"
               : "spread over the second: runs handed to workers in each, and how long after their "
                 "time";
}

static double per_firing(const struct tick *tick, int64_t before, int64_t after)
{
    return (double)(after - before) /
           ((double)tick->triggers.count * (double)tick->triggers.occurrences);
}

static bool is_counted(const struct tick *tick)
{
    return tick->before.statements >= 0 && tick->after.statements >= tick->before.statements;
}

static void print_json(const struct tick *tick)
{
    const struct bench_options *options = tick->bench->options;
    struct buffer out = {0};
    buffer_format(&out,
                  "{\"bench\":\"tick\",\"mode\":\"%s\",\"nodes\":%d,\"triggers\":%zu,\"runs\":%lld,"
                  "\"exact\":true,\"missed\":0",
                  options->saturate ? "saturate" : "hold", bench_fleet_count(tick->bench->fleet),
                  tick->triggers.count,
                  (long long)tick->triggers.count * (long long)tick->triggers.occurrences);
    bench_range_json(&out, "rate_per_s", tick->rates, tick->rate_count, 0);
    if (!options->saturate) {
        bench_delay_json(&out, "firing_delay_ms", tick->p50_ms, tick->p99_ms);
        buffer_format(&out, ",\"latest_ms\":%.3f", tick->latest_ms);
    }
    buffer_format(&out, ",\"wal_bytes_per_run\":%.0f",
                  per_firing(tick, tick->before.wal_bytes, tick->after.wal_bytes));
    if (is_counted(tick))
        buffer_format(&out, ",\"statements_per_run\":%.4f",
                      per_firing(tick, tick->before.statements, tick->after.statements));
    else
        buffer_string(&out, ",\"statements_per_run\":null");
    buffer_format(&out, ",\"measured\":\"%s\"}", measured_of(tick));
    puts(buffer_text(&out));
    buffer_free(&out);
}

static void print_text(const struct tick *tick)
{
    bool many = tick->bench->options->saturate;
    printf("tick: %zu triggers on %d nodes, %lld occurrences of each fired exactly once\n",
           tick->triggers.count, bench_fleet_count(tick->bench->fleet),
           (long long)tick->triggers.occurrences);
    bench_range_line("firings a second", tick->rates, tick->rate_count, 0);
    if (!many) {
        bench_delay_line("firing delay", tick->p50_ms, tick->p99_ms);
        printf("  %-22s %.3f ms\n", "latest", tick->latest_ms);
    }
    printf("  %-22s %.0f\n", "bytes of WAL a run",
           per_firing(tick, tick->before.wal_bytes, tick->after.wal_bytes));
    if (is_counted(tick))
        printf("  %-22s %.4f\n", "statements a run",
               per_firing(tick, tick->before.statements, tick->after.statements));
    else
        puts("  statements a run       not counted: pg_stat_statements is not in this database");
    printf("measured %s\n", measured_of(tick));
}

int bench_tick(struct bench *bench, struct rota_error *error)
{
    const struct bench_options *options = bench->options;
    struct tick tick = {.bench = bench, .triggers = {.job = BENCH_JOB, .handler = "noop"}};
    struct bench_fleet_options fleet = {.count = options->nodes > 0 ? (int)options->nodes : NODES,
                                        .handler = "noop"};
    int failed = bench_fleet_start(bench, &fleet, error);
    if (failed == 0)
        failed = options->saturate ? saturate(&tick, error) : hold(&tick, error);
    bench_done(bench);
    if (failed == 0 && options->json)
        print_json(&tick);
    else if (failed == 0)
        print_text(&tick);
    free(tick.rates);
    return failed;
}
