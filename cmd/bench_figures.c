/* What the benches count and how figures are told: see bench_figures.h. */
#include "cmd/bench_figures.h"

#include "base/memory.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- counters of the server ---- */

int bench_count(struct bench *bench, struct bench_counters *ret_counters, struct rota_error *error)
{
    struct store_params params = {0};
    PGresult *result;
    params_text(&params, bench->schema);
    if (bench_ask(bench, SQL_BENCH_COUNTERS, &params, &result, error) != 0)
        return -1;
    *ret_counters = (struct bench_counters){
        .wal_bytes = row_int64(result, 0, 0),
        .statements = row_null(result, 0, 1) ? -1 : row_int64(result, 0, 1),
        .transactions = row_int64(result, 0, 2),
        .at_us = row_time(result, 0, 3),
    };
    PQclear(result);
    return 0;
}

/* ---- figures ---- */

static int compare(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

double bench_quantile(double *values, size_t count, double fraction)
{
    assert(count > 0);
    qsort(values, count, sizeof *values, compare);
    size_t place = (size_t)((double)(count - 1) * fraction + 0.5);
    return values[place];
}

void bench_range_json(struct buffer *out, const char *name, double *values, size_t count,
                      int decimals)
{
    buffer_format(out, ",\"%s\":{\"min\":%.*f,\"median\":%.*f,\"max\":%.*f}", name, decimals,
                  bench_quantile(values, count, 0), decimals, bench_quantile(values, count, 0.5),
                  decimals, bench_quantile(values, count, 1));
}

void bench_range_line(const char *what, double *values, size_t count, int decimals)
{
    printf("  %-22s %.*f (%.*f to %.*f)\n", what, decimals, bench_quantile(values, count, 0.5),
           decimals, bench_quantile(values, count, 0), decimals, bench_quantile(values, count, 1));
}

void bench_delay_json(struct buffer *out, const char *name, double p50_ms, double p99_ms)
{
    buffer_format(out, ",\"%s\":{\"p50\":%.3f,\"p99\":%.3f}", name, p50_ms, p99_ms);
}

void bench_delay_line(const char *what, double p50_ms, double p99_ms)
{
    printf("  %-22s p50 %.3f ms, p99 %.3f ms\n", what, p50_ms, p99_ms);
}

/* ---- whether each run ended once ---- */

void bench_runs_add(struct bench_runs *runs, const int64_t *ids, size_t count)
{
    if (runs->count + count > runs->capacity) {
        runs->capacity = (runs->count + count) * 2;
        runs->ids = mem_resize(runs->ids, runs->capacity, sizeof *runs->ids);
    }
    memcpy(runs->ids + runs->count, ids, count * sizeof *ids);
    runs->count += count;
}

/* Columns of bench_check.sql. */
enum { MISSING, SEVERAL, NO_SUCCESS, OTHERS, LEFT, FIRST, LAST, BY_NODE };

static int tell_wrong(const PGresult *result, size_t count, struct rota_error *error)
{
    return error_set(
        error, ERROR_REFUSED,
        "no figure: of %zu runs %lld are not in the history, %lld are there more than once, %lld "
        "have rows that are no success; %lld rows are of other runs, %lld runs are not over",
        count, (long long)row_int64(result, 0, MISSING), (long long)row_int64(result, 0, SEVERAL),
        (long long)row_int64(result, 0, NO_SUCCESS), (long long)row_int64(result, 0, OTHERS),
        (long long)row_int64(result, 0, LEFT));
}

int bench_check(struct bench *bench, const struct bench_runs *runs, struct bench_span *ret_span,
                struct rota_error *error)
{
    struct store_params params = {0};
    PGresult *result;
    int failed = 0;
    bench_doing(bench, "checking %zu runs", runs->count);
    params_int64s(&params, runs->ids, runs->count);
    if (bench_ask(bench, SQL_BENCH_CHECK, &params, &result, error) != 0)
        return -1;
    for (int column = MISSING; column <= LEFT; column++)
        if (row_int64(result, 0, column) != 0)
            failed = tell_wrong(result, runs->count, error);
    if (failed == 0) {
        ret_span->first_us = row_time(result, 0, FIRST);
        ret_span->last_us = row_time(result, 0, LAST);
        ret_span->by_node = row_int64s(result, 0, BY_NODE, &ret_span->nodes);
    }
    PQclear(result);
    return failed;
}
