/*
 * The workers of one node, as the coordinator sees them: pools of processes that speak the worker
 * protocol, spawned and buried by the guard. This folder knows no store: it is told of runs and it
 * answers with results. Everything happens on the coordinator's event loop; callbacks are never
 * called from inside a function of this header, always from the loop.
 */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

#include "base/buffer.h"
#include "base/error.h"
#include "base/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;
struct workers; /* all pools of a node */

/* A pool of the settings. Strings are copied by workers_new(). */
struct worker_pool_config {
    const char *name;
    char *const *command; /* argv, NULL-terminated, no shell; NULL: the built-in worker */
    int processes;        /* at least 1 */
    int slots;            /* of a built-in process: runs at once */
};

struct worker_config {
    struct event_base *base;
    const struct log *log;
    const char *node;            /* name, for welcome and ROTA_NODE */
    const char *self;            /* path of this binary, for guard and built-in workers */
    const char *const *exec_allow; /* path patterns for the exec handler, NULL-terminated */
    const struct worker_pool_config *pools;
    size_t pool_count;
    int64_t kill_grace_us; /* between cancel, SIGTERM and SIGKILL; 0: the default of 5 s */
};

/* One run, as a worker is told of it. Slices and strings are copied by workers_run(). */
struct worker_run {
    int64_t id;
    int64_t fence;
    const char *job;
    const char *handler;
    struct slice data; /* JSON text; absent: {} */
    const char *trigger;          /* NULL: enqueued by hand */
    int64_t fire_time_us;         /* wall clock; when it was claimed */
    int64_t scheduled_time_us;    /* wall clock; its own slot of the schedule, or its due time */
    int64_t previous_fire_time_us; /* 0: none */
    int attempt;                  /* from 1 */
    bool recovering;
    int64_t missed;
    struct slice checkpoint; /* JSON text or absent */
    const char *traceparent; /* NULL: none */
    int64_t timeout_us;      /* 0: none; counted from the hand-over to the worker */
    bool lane;               /* exclusive: its worker's group dies when the lease ends */
};

enum worker_outcome {
    WORKER_DONE,    /* success */
    WORKER_FAIL,    /* the handler failed, said so */
    WORKER_TIMEOUT, /* its time was over; it was ended */
    WORKER_CANCELLED, /* it was cancelled by workers_cancel() and ended */
    WORKER_SNOOZE,  /* wants to run again after snooze_us; burns no attempt */
    WORKER_REFUSE,  /* handed back: unknown handler or busy; burns no attempt */
    WORKER_CRASHED, /* its worker died under it */
};

/* What became of a run. Slices are valid during the callback only. Absent slices: not given. */
struct worker_result {
    int64_t id;
    int64_t fence;
    enum worker_outcome outcome;
    int64_t duration_us; /* monotonic, from hand-over to answer */
    struct slice details; /* JSON: of done; for exec {"exit_code":…,"output":"…"} also on fail */
    struct slice data;    /* JSON: new job data */
    struct slice exception, message; /* plain text, decoded */
    struct slice stacktrace, ex_data; /* JSON */
    struct slice reason;  /* plain text: of refuse, crash ("worker exited with status 3") */
    bool retry;           /* the worker wants the run attempted again */
    bool unschedule;      /* the worker wants the trigger to end */
    bool alone;           /* crash: it was the only run in its worker (4-decisions, 8) */
    int64_t snooze_us;
};

struct worker_callbacks {
    void *arg;
    void (*result)(void *arg, const struct worker_result *result);
    void (*progress)(void *arg, int64_t id, int64_t fence, double fraction, struct slice message);
    void (*checkpoint)(void *arg, int64_t id, int64_t fence, struct slice data);
    void (*run_log)(void *arg, int64_t id, int64_t fence, const char *level, struct slice message);
    void (*changed)(void *arg); /* handlers or free slots have changed: ask workers_pools() again */
    void (*guard_lost)(void *arg); /* the guard died: all workers are gone with it */
};

/* What a pool can take now. Valid until the loop turns. */
struct worker_pool_view {
    const char *name;
    const char *const *handlers; /* NULL-terminated, those its live workers announced */
    int slots;                   /* of its live workers */
    int free_slots;              /* 0 while draining */
};

/* Starts the guard (by exec of config->self) and the pools. NULL with error where that fails. */
struct workers *workers_new(const struct worker_config *config,
                            const struct worker_callbacks *callbacks, struct rota_error *error);

size_t workers_pools(const struct workers *workers, const struct worker_pool_view **ret_views);

/*
 * Hands the run to the worker of the pool with the most free slots that serves run->handler and
 * writes it in this turn if the pipe takes it. -1: none can take it (nothing was written). Every run
 * that was taken gets exactly one result callback.
 */
int workers_run(struct workers *workers, size_t pool, const struct worker_run *run);

/*
 * Takes back every run not one byte of which has reached its worker: reported through `back`, and no
 * result follows. The others go on.
 */
void workers_take_back(struct workers *workers,
                       void (*back)(void *arg, int64_t id, int64_t fence), void *arg);

/* Cancel message, then SIGTERM to the worker's group, then SIGKILL. False: no such run here. */
bool workers_cancel(struct workers *workers, int64_t id, int64_t fence, const char *reason);

size_t workers_busy(const struct workers *workers); /* runs in flight */

/* Tells every worker {"type":"drain"}; no run is taken any more. */
void workers_drain(struct workers *workers, int64_t grace_us);

/*
 * Until when (clock_boot_us) the lease holds: told to the guard, which kills every group that holds
 * a lane run at that time even if this process is stopped; and to workers that asked for it.
 */
void workers_lease(struct workers *workers, int64_t valid_until_boot_us);

/* Ends every worker and its descendants now, and the guard; frees. NULL is fine. */
void workers_free(struct workers *workers);

/* main() of `rota guard` and of `rota worker`: hidden commands, started by workers_new(). */
int guard_main(int argc, char **argv);
int builtin_worker_main(int argc, char **argv);

#endif
