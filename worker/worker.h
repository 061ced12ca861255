/*
 * The workers of one node, as the coordinator sees them: pools of processes that speak the worker
 * protocol, spawned and buried by the guard. This folder knows no store: it is told of runs and it
 * answers with results. Everything happens on the coordinator's event loop; callbacks are never
 * called from inside a function of this header, always from the loop.
 */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

#include "worker/worker_config.h"
#include "worker/worker_run.h"

#include "base/buffer.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct workers; /* all pools of a node */

struct worker_callbacks {
    void *arg;
    void (*result)(void *arg, const struct worker_result *result);
    void (*progress)(void *arg, int64_t id, int64_t fence, double fraction, struct slice message);
    void (*checkpoint)(void *arg, int64_t id, int64_t fence, struct slice data);
    void (*run_log)(void *arg, int64_t id, int64_t fence, const char *level, struct slice message);
    void (*changed)(void *arg); /* handlers or free slots have changed: ask workers_pools() again */
    void (*guard_lost)(void *arg); /* the guard died: all workers are gone with it */
    /*
     * Locks for workers; both NULL: workers are told that there are none here. Each lock() is
     * followed by one unlock() when the worker, its run or the worker process lets go of it, unless
     * workers_lock_failed() or workers_lock_lost() has ended it before.
     */
    void (*lock)(void *arg, const struct worker_lock *lock);
    void (*unlock)(void *arg, uint64_t lock);
};

/* Since workers_new(). */
struct worker_counts {
    uint64_t starts;    /* of worker processes */
    uint64_t crashes;   /* ends of worker processes that nobody wanted */
    uint64_t malformed; /* of those, by a line that is none */
    uint64_t ignored;   /* answers for runs that are not there: wrong fence, late or twice */
    uint64_t news;      /* changes of what some worker can run: hello, refusal, end */
};

/* What a pool can take now. Valid until the loop turns. */
struct worker_pool_view {
    const char *name;
    const char *const *handlers; /* NULL-terminated, those its live workers announced */
    int slots;                   /* of its live workers */
    int free_slots;              /* 0 while draining */
    int lane_slots;              /* free ones for lane runs, of the same */
};

/* Starts the guard (by exec of config->self) and the pools. NULL with error where that fails. */
struct workers *workers_new(const struct worker_config *config,
                            const struct worker_callbacks *callbacks, struct rota_error *error);

size_t workers_pools(const struct workers *workers, const struct worker_pool_view **ret_views);

/* Appends a JSON object: of each handler that is served, in which versions, as the workers said. */
void workers_versions(struct workers *workers, struct buffer *out);

/* The pool with the most free slots for a run of this handler; -1: none has one. */
int workers_pool_for(struct workers *workers, const char *handler, bool lane);

/*
 * Hands the run to the worker of the pool with the most free slots that serves run->handler and
 * writes it in this turn if the pipe takes it. -1: none can take it (nothing was written), or it is
 * a lane run and the lease is over. Every run that was taken gets exactly one result callback.
 */
int workers_run(struct workers *workers, size_t pool, const struct worker_run *run);

/* Lane runs are to be expected: starts what is kept apart for them. To be called ever again. */
void workers_want_lanes(struct workers *workers);

/*
 * Takes back every run not one byte of which has reached its worker: reported through `back`, and
 * no result follows. The others go on.
 */
void workers_take_back(struct workers *workers, void (*back)(void *arg, int64_t id, int64_t fence),
                       void *arg);

/* Cancel message, then SIGTERM to the worker's group, then SIGKILL. False: no such run here. */
bool workers_cancel(struct workers *workers, int64_t id, int64_t fence, const char *reason);

size_t workers_busy(const struct workers *workers); /* runs without their result callback yet */
const struct worker_counts *workers_counts(const struct workers *workers);

/* Tells every worker {"type":"drain"}; no run is taken any more. */
void workers_drain(struct workers *workers, int64_t grace_us);

/*
 * Until when (clock_boot_us) the lease holds: told to the guard, which kills every group that holds
 * a lane run at that time even if this process is stopped; and to workers that asked for it.
 */
void workers_lease(struct workers *workers, int64_t valid_until_boot_us);

/*
 * Answers to worker_callbacks.lock; a lock that was let go of meanwhile is passed over. Who holds
 * one of the cluster is ended by the guard at the end of the lease, as if it held a lane run; where
 * the guard cannot be told, the worker is refused and unlock() is called.
 */
void workers_locked(struct workers *workers, uint64_t lock, int64_t fence);
void workers_lock_failed(struct workers *workers, uint64_t lock, const char *message);
void workers_lock_lost(struct workers *workers, uint64_t lock);

/*
 * Ends every worker and its descendants now, and the guard; frees. No result follows. Not from
 * inside a callback. NULL is fine.
 */
void workers_free(struct workers *workers);

/* main() of the hidden commands that workers_new() starts; argv[0] is `guard` or `worker`. */
int guard_main(int argc, char **argv);
int builtin_worker_main(int argc, char **argv);
bool builtin_worker_knows(const char *handler); /* whether it serves that */

/* May these be builtin_settings (worker/builtin/settings.h)? 0, or -1 with what would be right. */
int builtin_worker_check(const char *json, struct rota_error *error);

#endif
