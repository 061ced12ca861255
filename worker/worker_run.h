/* What goes into a worker and what comes out of it: one run, what became of it, a lock it wants. */
#ifndef WORKER_WORKER_RUN_H
#define WORKER_WORKER_RUN_H

#include "base/buffer.h"

#include <stdbool.h>
#include <stdint.h>

/* Runs of the handler `old` are given to the worker as runs of `new`: it was renamed. */
struct worker_alias {
    char *old;
    char *new;
};

/* One run, as a worker is told of it. Slices and strings are copied by workers_run(). */
struct worker_run {
    int64_t id;
    int64_t fence;
    const char *job;
    const char *handler;
    struct slice data;             /* JSON text; absent: {} */
    const char *trigger;           /* NULL: enqueued by hand */
    int64_t fire_time_us;          /* wall clock; when it was claimed */
    int64_t scheduled_time_us;     /* wall clock; its own slot of the schedule, or its due time */
    int64_t previous_fire_time_us; /* 0: none */
    int attempt;                   /* from 1 */
    bool recovering;
    int64_t missed;
    struct slice checkpoint; /* JSON text or absent */
    const char *traceparent; /* NULL: none */
    int64_t timeout_us;      /* 0: none; counted from the hand-over to the worker */
    bool lane;               /* exclusive: its worker's group dies when the lease ends */
    bool alone; /* a suspect (4-decisions, 8): shares its worker with no other run, before or after
                 */
};

enum worker_outcome {
    WORKER_DONE,      /* success */
    WORKER_FAIL,      /* the handler failed, said so */
    WORKER_TIMEOUT,   /* its time was over; it was ended */
    WORKER_CANCELLED, /* it was cancelled by workers_cancel() and ended */
    WORKER_SNOOZE,    /* wants to run again after snooze_us; burns no attempt */
    WORKER_REFUSE,    /* handed back: unknown handler or busy; burns no attempt */
    WORKER_CRASHED,   /* its worker died under it */
};

/* What became of a run. Slices are valid during the callback only. Absent slices: not given. */
struct worker_result {
    int64_t id;
    int64_t fence;
    enum worker_outcome outcome;
    int64_t duration_us;  /* monotonic, from hand-over to answer */
    struct slice details; /* JSON: of done; for exec {"exit_code":…,"output":"…"} also on fail */
    struct slice data;    /* JSON: new job data */
    struct slice exception, message;  /* plain text, decoded */
    struct slice stacktrace, ex_data; /* JSON */
    struct slice reason; /* plain text: of refuse, crash ("worker exited with status 3") */
    bool retry;          /* the worker does not mind another attempt: true unless it said false */
    bool unschedule;     /* the worker wants the trigger to end */
    /*
     * Crash: it was the only run in its worker, and the worker was not ended by us for another
     * reason (the lease, the guard). Only such a crash counts against the run (4-decisions, 8).
     */
    bool alone;
    bool unknown_handler; /* refuse: for that reason, so that this worker gets none for a while */
    int64_t snooze_us;
};

/* A cluster lock a worker asks for. */
struct worker_lock {
    uint64_t lock;     /* names the request from now on; never used again */
    struct slice name; /* valid during the callback */
    int64_t wait_us;   /* -1: not given */
    bool shared;
    bool node_scope;   /* only among the workers of this node */
    int64_t id, fence; /* the run it belongs to; 0: to the worker */
};

#endif
