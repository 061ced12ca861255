/* What other benches need of `rota bench drain`: how much the fleet can do. */
#ifndef CMD_BENCH_DRAIN_H
#define CMD_BENCH_DRAIN_H

#include "cmd/bench_figures.h"

extern const char bench_drain_manifest[]; /* of the job BENCH_JOB */

/* Runs a second of `count` runs that wait, which are added to `runs`; the nodes stand by before and
 * after it. 0 or -1. */
int bench_drain_rate(struct bench *bench, size_t count, double *ret_rate, struct bench_runs *runs,
                     struct rota_error *error);

#endif
