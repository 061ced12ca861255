/*
 * A steady load beside a measurement: runs of the job `bench`, queued by a connection of its own in
 * small batches at an even pace, while the loop runs.
 */
#ifndef CMD_BENCH_LOAD_H
#define CMD_BENCH_LOAD_H

#include "cmd/bench_figures.h"

struct load;

/* Goes on until load_stop(). NULL with error. */
struct load *load_start(struct bench *bench, double runs_per_s, struct rota_error *error);
/*
 * Frees it. How many were queued a second; their ids are added to `runs`. -1: one of them could not
 * be queued. It may be less than was asked for: the machine has no more to give then.
 */
int load_stop(struct load *load, double *ret_per_s, struct bench_runs *runs,
              struct rota_error *error);

#endif
