/*
 * The one way of a firing through the node: wake → acquire → fire → run → complete. Each file of it
 * with what the others may call.
 */
#ifndef COORD_FLOW_H
#define COORD_FLOW_H

#include "coord/run.h"
#include "worker/worker.h"

#define NODE_POOLS_MAX        64
#define NODE_ROUTES_MAX       256 /* handlers times priorities in use on this node */
#define NODE_CLAIM_ROUTES_MAX (2 * NODE_ROUTES_MAX) /* of one claim: with those of lanes */
#define NODE_CLAIM_MAX        600 /* runs of one claim; what it costs by itself is shared by many */
#define NODE_RESULTS_MAX      20000 /* finished runs not written yet: beyond it nothing is acquired */

struct node;

/* What a claim can be for. Each has a due time of its own. */
enum work {
    WORK_TRIGGERS,
    WORK_PENDING,
    WORK_LANE_TRIGGERS, /* of jobs with a limit: claimed together with a slot of their lane */
    WORK_LANE_PENDING,
    WORK_KINDS
};

/*
 * A route this node can serve, and how many more runs its pool takes now. Negative: the same for
 * what belongs to lanes.
 */
struct route {
    int32_t id;
    int16_t priority;
    int32_t pool;
    int32_t slots; /* free ones; what is claimed beyond them waits at hand */
    int32_t room;  /* of both */
};

/* wake.c: decides when to look for work. Times are database wall microseconds. */
void wake_new(struct node *node);
void wake_free(struct node *node);
void wake_routes(struct node *node, const struct route **ret_routes,
                 size_t *ret_count); /* with room only */
void wake_handlers_changed(struct node *node);
void wake_route_seen(struct node *node, int32_t newest); /* newest route id in the database */
void wake_notified(struct node *node, const char *payload);
void wake_next(struct node *node, enum work work, int64_t due_us); /* STORE_NULL_TIME: none */
void wake_now(struct node *node, enum work work); /* something has become due, maybe long ago */
void wake_look(struct node *node);                /* something may have changed: look soon */
void wake_step(struct node *node);                /* an acquire step has ended: what is next? */
size_t wake_handlers(struct node *node,
                     const char *const **ret_handlers); /* that our workers announced */
void wake_unknown(struct node *node, enum work work);   /* all due is taken: ask when the next is */
/* What a claim brought: nothing makes the next wait a little, or keep to the slots where some of
 * its routes had none. */
void wake_claimed(struct node *node, int count, bool all_slots);
void wake_failed(struct node *node); /* the step failed: look again in a moment */

/* acquire.c: one step at a time on the work connection; each ends with wake_step(). */
void acquire_new(struct node *node);
void acquire_free(struct node *node);
bool acquire_busy(const struct node *node);
uint64_t acquire_number(const struct node *node); /* of the step that is out, or was last */
void acquire_work(struct node *node, enum work work, const struct route *routes, size_t count);
void acquire_ask(struct node *node, const struct route *routes, size_t count);
int64_t acquire_ask_in(const struct node *node,
                       bool hints);   /* even while there is work: see bound.h */
void acquire_hint(struct node *node); /* runs may have come in behind its bounds */
struct store_params;
/* A heartbeat: from where on it looks for what is due in these routes, and the first due of each
 * kind that it has found. */
void acquire_beat_params(struct node *node, const struct route *routes, size_t count,
                         struct store_params *params);
void acquire_beat(struct node *node, const int64_t due_us[WORK_KINDS]);
void acquire_lost(struct node *node); /* the work connection is gone: the step is over */

/* dispatch.c */
/* Claimed: to workers, to be at hand, or back. What is in `runs` afterwards means nothing. */
void dispatch_runs(struct node *node, struct run **runs, size_t count);
/* One that was at hand, and not beyond that. Whether it is with a worker: observers are not told.
 */
bool dispatch_run(struct node *node, struct run *run);
void dispatch_back(struct node *node, struct run *run); /* whole: it was never started */

/* ahead.c: plain runs at hand for the next free slot of a pool */
void ahead_new(struct node *node);
void ahead_free(struct node *node);
void ahead_finished(struct node *node, size_t pool, int64_t took_us); /* a run of its */
size_t ahead_count(const struct node *node, size_t pool);
/* How many may be claimed beyond its slots. */
int ahead_room(struct node *node, size_t pool, int slots);
void ahead_put(struct node *node, struct run *run, size_t pool);
void ahead_go(struct node *node);   /* slots may have become free */
void ahead_back(struct node *node); /* all: this node begins no more */

/* result.c: what a worker's answer means for its run */
void result_take(struct node *node, const struct worker_result *result);

/* complete.c */
void complete_new(struct node *node);
void complete_free(struct node *node);
/* What a finished run leaves behind beside its row of the history, written with it or not at all.
 */
struct run_effects {
    char *job_data;      /* JSON: the job's new data; NULL: none */
    char *trigger_error; /* its trigger goes to error with this text; NULL: it does not */
    bool unschedule;     /* its trigger is complete */
};
/* Into the history. Takes details (JSON or NULL) and the effects' texts; duration_us -1: it never
 * ran; effects NULL: none. */
void complete_over(struct node *node, struct run *run, const char *status, const char *outcome,
                   char *details, int64_t duration_us, const struct run_effects *effects);
/* Back to pending; with an outcome this attempt is told of later. */
void complete_put_back(struct node *node, struct run *run, int64_t delay_us, bool attempt,
                       bool crash, bool recovering, const char *outcome, const char *message);
size_t complete_unwritten(const struct node *node);
void complete_ready(struct node *node); /* the work connection is back: write what was kept */
void complete_receipts(struct node *node, const int64_t *fences,
                       size_t count); /* unknown ones: put back */

#endif
