/*
 * `rota bench drain`: how fast runs that wait already are done. The nodes are there and stand by
 * while they are queued, so that no start is measured; the time is that from the first run handed
 * to a worker to the last one written to the history, by the database's clock.
 */
#include "cmd/bench_drain.h"

#include "base/clock.h"
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>

#define RUNS        100000
#define REPEAT      3
#define NODES       2
#define BATCH       1000  /* runs of one rota.enqueue_many() */
#define SINGLE_OUT  100   /* rota.enqueue() calls that are on their way at once */
#define WARM_UP_MAX 20000 /* runs before anything is measured */

const char bench_drain_manifest[] = "{\"source\":\"bench\",\"jobs\":[{\"name\":\"" BENCH_JOB
                                    "\",\"handler\":\"noop\",\"durable\":true}]}";

struct drain {
    struct bench *bench;
    struct bench_runs runs;
    size_t repeat, done; /* repetitions */
    double *rates, *enqueue_rates, *wal, *statements, *shares;
    bool counted; /* statements are */
};

/* ---- queueing ---- */

static int enqueue_batch(struct drain *drain, int count, struct rota_error *error)
{
    struct store_params params = {0};
    PGresult *result;
    size_t got;
    params_text(&params, BENCH_JOB);
    params_int32(&params, count);
    if (bench_ask(drain->bench, SQL_BENCH_ENQUEUE_MANY, &params, &result, error) != 0)
        return -1;
    int64_t *ids = row_int64s(result, 0, 0, &got);
    bench_runs_add(&drain->runs, ids, got);
    free(ids);
    PQclear(result);
    return bench_goes_on(drain->bench, error);
}

static int enqueue_many(struct drain *drain, size_t count, struct rota_error *error)
{
    while (drain->runs.count < count) {
        size_t left = count - drain->runs.count;
        if (enqueue_batch(drain, (int)(left < BATCH ? left : BATCH), error) != 0)
            return -1;
    }
    return 0;
}

struct single {
    struct drain *drain;
    size_t out;
    struct rota_error error;
};

static void on_single(void *arg, const struct store_answer *answer)
{
    struct single *single = arg;
    single->out--;
    if (answer->error != NULL) {
        single->error = *answer->error;
        return;
    }
    int64_t id = row_int64(answer->result, 0, 0);
    bench_runs_add(&single->drain->runs, &id, 1);
}

/* One row a transaction, as applications do, without waiting for each answer. */
static int enqueue_single(struct drain *drain, size_t count, struct rota_error *error)
{
    struct single single = {.drain = drain};
    struct store_params params = {0};
    size_t sent = 0;
    int failed = 0;
    params_text(&params, BENCH_JOB);
    while (failed == 0 && drain->runs.count < count) {
        for (; single.out < SINGLE_OUT && sent < count; sent++, single.out++)
            store_call(drain->bench->client.store, SQL_BENCH_ENQUEUE, &params, 0, on_single,
                       &single);
        client_turn(&drain->bench->client);
        failed = bench_goes_on(drain->bench, error);
        if (single.error.code != ERROR_NONE) {
            *error = single.error;
            failed = -1;
        }
    }
    while (single.out > 0) /* their answers come to what is on our stack */
        client_turn(&drain->bench->client);
    store_params_free(&params);
    return failed;
}

static int enqueue(struct drain *drain, size_t count, double *ret_rate, struct rota_error *error)
{
    int64_t start_us = clock_monotonic_us();
    drain->runs.count = 0;
    if ((drain->bench->options->single ? enqueue_single(drain, count, error)
                                       : enqueue_many(drain, count, error)) != 0)
        return -1;
    *ret_rate = (double)count * US_PER_SECOND / (double)(clock_monotonic_us() - start_us + 1);
    return 0;
}

/* ---- one repetition ---- */

struct drained {
    double enqueue_rate;
    struct bench_span span;
    struct bench_counters before, after;
};

static int drain_once(struct drain *drain, size_t count, struct drained *ret,
                      struct rota_error *error)
{
    struct bench *bench = drain->bench;
    bench_doing(bench, "queueing %zu runs", count);
    if (enqueue(drain, count, &ret->enqueue_rate, error) != 0 ||
        bench_count(bench, &ret->before, error) != 0)
        return -1;
    bench_doing(bench, "draining %zu runs", count);
    if (bench_fleet_tell(bench, "run", error) != 0 || bench_wait_empty(bench, count, error) != 0 ||
        bench_count(bench, &ret->after, error) != 0 ||
        bench_fleet_tell(bench, "standby", error) != 0)
        return -1;
    return bench_check(bench, &drain->runs, &ret->span, error);
}

static double smallest_share(const struct bench_span *span, size_t count, int nodes)
{
    int64_t least = span->nodes < (size_t)nodes ? 0 : (int64_t)count;
    for (size_t i = 0; i < span->nodes; i++)
        if (span->by_node[i] < least)
            least = span->by_node[i];
    return (double)least * nodes / (double)count;
}

static int measure(struct drain *drain, size_t count, struct rota_error *error)
{
    struct drained drained = {0};
    if (drain_once(drain, count, &drained, error) != 0)
        return -1;
    double took_us = (double)(drained.span.last_us - drained.span.first_us + 1);
    size_t i = drain->done++;
    drain->rates[i] = (double)count * US_PER_SECOND / took_us;
    drain->enqueue_rates[i] = drained.enqueue_rate;
    drain->wal[i] = (double)(drained.after.wal_bytes - drained.before.wal_bytes) / (double)count;
    drain->statements[i] =
        (double)(drained.after.statements - drained.before.statements) / (double)count;
    drain->counted =
        drained.after.statements >= drained.before.statements && drained.before.statements >= 0;
    drain->shares[i] = smallest_share(&drained.span, count, bench_fleet_count(drain->bench->fleet));
    free(drained.span.by_node);
    return 0;
}

/* ---- what is said ---- */

static const char *const measured =
    "from the first run handed to a worker to the last one in the history, by the database's clock";

static void print_json(const struct drain *drain, size_t count)
{
    struct buffer out = {0};
    size_t n = drain->done;
    buffer_format(&out,
                  "{\"bench\":\"drain\",\"nodes\":%d,\"runs\":%zu,\"repeat\":%zu,\"exact\":true",
                  bench_fleet_count(drain->bench->fleet), count, n);
    buffer_string(&out, ",\"rates_per_s\":["); /* in their order: it must not fall */
    for (size_t i = 0; i < n; i++)
        buffer_format(&out, "%s%.0f", i > 0 ? "," : "", drain->rates[i]);
    buffer_char(&out, ']');
    bench_range_json(&out, "rate_per_s", drain->rates, n, 0);
    bench_range_json(&out, "enqueue_per_s", drain->enqueue_rates, n, 0);
    bench_range_json(&out, "wal_bytes_per_run", drain->wal, n, 0);
    if (drain->counted)
        bench_range_json(&out, "statements_per_run", drain->statements, n, 4);
    else
        buffer_string(&out, ",\"statements_per_run\":null");
    bench_range_json(&out, "smallest_share", drain->shares, n, 2);
    buffer_format(&out, ",\"measured\":\"%s\"}", measured);
    puts(buffer_text(&out));
    buffer_free(&out);
}

static void print_text(const struct drain *drain, size_t count)
{
    printf("drain: %zu runs on %d node%s, %zu times, each done exactly once; median (min to max)\n",
           count, bench_fleet_count(drain->bench->fleet),
           bench_fleet_count(drain->bench->fleet) == 1 ? "" : "s", drain->done);
    bench_range_line("runs a second", drain->rates, drain->done, 0);
    bench_range_line("queued a second", drain->enqueue_rates, drain->done, 0);
    bench_range_line("bytes of WAL a run", drain->wal, drain->done, 0);
    if (drain->counted)
        bench_range_line("statements a run", drain->statements, drain->done, 4);
    else
        puts("  statements a run       not counted: pg_stat_statements is not in this database");
    bench_range_line("smallest node's share", drain->shares, drain->done, 2);
    printf("measured %s\n", measured);
}

/* ---- the whole ---- */

static int drain_all(struct drain *drain, size_t count, struct rota_error *error)
{
    struct drained warm_up = {0};
    size_t first = count / 5 < WARM_UP_MAX ? count / 5 + 1 : WARM_UP_MAX;
    if (drain_once(drain, first, &warm_up, error) != 0)
        return error_prefix(error, "warm-up");
    free(warm_up.span.by_node);
    for (size_t i = 0; i < drain->repeat; i++)
        if (measure(drain, count, error) != 0)
            return error_prefix(error, "repetition %zu of %zu", i + 1, drain->repeat);
    return 0;
}

int bench_drain_rate(struct bench *bench, size_t count, double *ret_rate, struct bench_runs *runs,
                     struct rota_error *error)
{
    struct drain drain = {.bench = bench};
    struct drained drained = {0};
    int failed = drain_once(&drain, count, &drained, error);
    if (failed == 0) {
        *ret_rate = (double)count * US_PER_SECOND /
                    (double)(drained.span.last_us - drained.span.first_us + 1);
        bench_runs_add(runs, drain.runs.ids, drain.runs.count);
    }
    free(drained.span.by_node);
    free(drain.runs.ids);
    return failed;
}

int bench_drain(struct bench *bench, struct rota_error *error)
{
    const struct bench_options *options = bench->options;
    size_t count = options->runs > 0 ? (size_t)options->runs : RUNS;
    struct drain drain = {.bench = bench,
                          .repeat = options->repeat > 0 ? (size_t)options->repeat : REPEAT};
    struct bench_fleet_options fleet = {.count = options->nodes > 0 ? (int)options->nodes : NODES,
                                        .standby = true,
                                        .handler = "noop"};
    char *text = mem_string(bench_drain_manifest);
    double *figures = mem_array(5 * drain.repeat, sizeof *figures);
    drain.rates = figures;
    drain.enqueue_rates = figures + drain.repeat;
    drain.wal = figures + 2 * drain.repeat;
    drain.statements = figures + 3 * drain.repeat;
    drain.shares = figures + 4 * drain.repeat;
    int failed = bench_apply(bench, &text, 1, error);
    if (failed == 0)
        failed = bench_fleet_start(bench, &fleet, error);
    if (failed == 0)
        failed = drain_all(&drain, count, error);
    bench_done(bench);
    if (failed == 0 && options->json)
        print_json(&drain, count);
    else if (failed == 0)
        print_text(&drain, count);
    free(figures);
    free(drain.runs.ids);
    return failed;
}
