/*
 * Triggers of a bench: as many as wanted, each with a known number of occurrences from a known
 * instant on, so that what has to be in the history in the end is known to the row.
 */
#ifndef CMD_BENCH_TRIGGERS_H
#define CMD_BENCH_TRIGGERS_H

#include "cmd/bench.h"

struct bench_triggers {
    const char *job; /* name of the job, and how the others begin where there are many */
    const char *handler;
    size_t count;
    int64_t occurrences;   /* of each */
    int64_t period_us;     /* whole seconds */
    int64_t apart_us;      /* first occurrences of two neighbours, as far as milliseconds go */
    const char *tolerance; /* misfire_tolerance; NULL: the standard */
    int64_t start_us;      /* set by bench_triggers_apply(): soon after it is done */
};
int bench_triggers_apply(struct bench *bench, struct bench_triggers *triggers,
                         struct rota_error *error);
/* Waits until the last occurrence has fired; its run may not be over (bench_wait_empty). */
int bench_triggers_wait(struct bench *bench, const struct bench_triggers *triggers,
                        struct rota_error *error);
/* Whether each fired each occurrence once, on time enough to miss none. */
int bench_triggers_check(struct bench *bench, const struct bench_triggers *triggers,
                         struct rota_error *error);

#endif
