/*
 * The runs that are with the workers: one small struct each, found by id and fence. What a run is
 * about (job, data, …) is not kept: it is in the line that was written for the worker.
 */
#ifndef WORKER_RUN_H
#define WORKER_RUN_H

#include "worker/worker.h"

#include "base/list.h"
#include "base/machine.h"

#include <stddef.h>
#include <stdint.h>

struct process;

enum run_state {
    RUN_QUEUED,     /* not one byte of its line has reached the worker */
    RUN_HANDED,     /* it has */
    RUN_CANCELLING, /* the worker was asked to end it */
    RUN_ENDING,     /* its worker is being ended for it */
    RUN_OVER,
};

enum run_event {
    RUN_WRITTEN,
    RUN_STALLED,   /* queued for too long */
    RUN_TAKEN,     /* back by the coordinator */
    RUN_OVERDUE,   /* its time, or the grace of a cancel, is over */
    RUN_CANCELLED, /* by the coordinator */
    RUN_ANSWERED,
    RUN_BEREFT, /* its worker died */
};

extern const struct machine run_machine;

struct run {
    int64_t id, fence;
    struct run *next;        /* in its bucket, or free */
    struct process *process; /* NULL when over */
    struct list in_process;  /* queued or handed, in the order of their lines */
    enum run_state state;
    uint64_t line_start, line_end; /* positions in the channel, while queued */
    int64_t timeout_us;            /* 0: none */
    int64_t handed_us;             /* monotonic */
    int64_t due_us;                /* monotonic; of the next RUN_STALLED or RUN_OVERDUE */
    size_t heap_place;
    bool in_heap;
    int handler; /* index in pool->handlers of its process */
    bool lane;
    bool alone;       /* shares its worker with no other run */
    bool has_verdict; /* how it ends if it does not end well */
    enum worker_outcome verdict;
    const char *reason; /* a constant; of a verdict that no worker gave */
};

/* Chained buckets that double; structs are used again. Starts zeroed. */
struct run_table {
    struct run **buckets;
    size_t bucket_count; /* a power of two */
    size_t count;
    struct run *spare;
};

struct run *run_add(struct run_table *table, int64_t id, int64_t fence); /* not there yet */
struct run *run_find(const struct run_table *table, int64_t id, int64_t fence);
void run_remove(struct run_table *table, struct run *run); /* the struct is used again */
void run_table_free(struct run_table *table);

void run_move(struct run *run, enum run_event event);

bool run_due_before(const void *a, const void *b); /* for a heap of deadlines */

#endif
