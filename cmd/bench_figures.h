/*
 * What benches count and tell: counters of the server, ranges and quantiles of what was measured,
 * and whether all runs ended as they should, without which there is no figure.
 */
#ifndef CMD_BENCH_FIGURES_H
#define CMD_BENCH_FIGURES_H

#include "cmd/bench.h"

struct bench_counters {
    int64_t wal_bytes;
    int64_t statements; /* -1: pg_stat_statements is not there */
    int64_t transactions;
    int64_t at_us; /* by the database's clock */
};
int bench_count(struct bench *bench, struct bench_counters *ret_counters, struct rota_error *error);

/* Sorts them; the value below which `fraction` of them lie. count > 0. */
double bench_quantile(double *values, size_t count, double fraction);
/* {"min":…,"median":…,"max":…} */
void bench_range_json(struct buffer *out, const char *name, double *values, size_t count,
                      int decimals);
/* A line for people: what, median (min to max). */
void bench_range_line(const char *what, double *values, size_t count, int decimals);
/* ,"name":{"p50":…,"p99":…} of milliseconds; a line for people. */
void bench_delay_json(struct buffer *out, const char *name, double p50_ms, double p99_ms);
void bench_delay_line(const char *what, double p50_ms, double p99_ms);

/* Runs that must be in the history in the end. */
struct bench_runs {
    int64_t *ids; /* to be freed */
    size_t count, capacity;
};
void bench_runs_add(struct bench_runs *runs, const int64_t *ids, size_t count);

struct bench_span {
    int64_t first_us, last_us;
    int64_t *by_node; /* runs each node has ended; to be freed */
    size_t nodes;
};
/* Whether each run ended once and well (bench_check.sql), and no other run did. -1 with
 * ERROR_REFUSED and what is wrong. */
int bench_check(struct bench *bench, const struct bench_runs *runs, struct bench_span *ret_span,
                struct rota_error *error);

#endif
