/*
 * The points of a run's and a node's life that others attach to: metrics, events, log lines. An
 * observer is a row of the table in observers.c; nothing else changes for a new one. It is told of
 * whole batches, once for each point that occurs in one, never of single runs: what nobody wants
 * to hear costs a comparison a batch. Observers see what has happened and decide nothing: one that
 * fails is counted and logged, and the runs go on.
 *
 * What Quartz calls jobToBeExecuted, jobWasExecuted, triggerFired, triggerMisfired,
 * jobExecutionVetoed and triggerComplete is here, for a batch each.
 */
#ifndef COORD_OBSERVE_H
#define COORD_OBSERVE_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

enum observe_point {
    OBSERVE_CLAIMED,        /* count: runs that one claim brought */
    OBSERVE_TO_BE_EXECUTED, /* runs: just given to workers */
    OBSERVE_EXECUTED,       /* ends: attempts that workers had, over and written */
    OBSERVE_COMPLETED,      /* ends: final outcomes, written into the history */
    OBSERVE_PUT_BACK,      /* ends: written back to pending: retries, snoozes, what was not begun */
    OBSERVE_VETOED,        /* ends: written without ever having been given to a worker */
    OBSERVE_LATE,          /* count: ends that were refused: others had taken their runs */
    OBSERVE_FIRED,         /* triggers: advanced, with runs for what was due */
    OBSERVE_MISFIRED,      /* triggers: occurrences made up for, or passed over */
    OBSERVE_BLOCKED,       /* triggers: due, but their lane is full */
    OBSERVE_TRIGGER_ENDED, /* triggers: no occurrence is left */
    OBSERVE_TRIGGER_ERROR, /* triggers: cannot be evaluated */
    OBSERVE_LANE_FULL,     /* count: lanes found full by queued runs, which wait for a slot */
    OBSERVE_RECOVERED,     /* name: a node that died; count put back, other lost for good */
    OBSERVE_FENCED,        /* count: runs of ours that others have taken */
    OBSERVE_NODE_MOVED,    /* name: the state this node is in now; text: why */
    OBSERVE_HEARTBEAT,     /* count 1: the lease was renewed, 0: it could not be */
    OBSERVE_POINTS
};

struct node;
struct run;
struct finished;
struct fire;
struct fire_advance;

/* What there is to see at one point; which members have a meaning is said above. */
struct observation {
    enum observe_point point;
    size_t count; /* of what follows, or by itself */
    struct run *const *runs;
    struct finished *const *ends;
    const struct fire_advance *const *triggers;
    const char *name, *text;
    int64_t other;
};

struct observer {
    const char *name;
    uint32_t points; /* bits, OBSERVE_BIT() */
    /* -1 with error: it could not do its part of it. Nothing it is shown outlives the call. */
    int (*tell)(struct node *node, const struct observation *seen, struct rota_error *error);
};

#define OBSERVE_BIT(point) (1u << (point))

struct observers {
    const struct observer *table;
    size_t count;
    uint32_t wanted; /* points somebody attends to */
    int64_t failures;
};

/* observers.c: all that a node has, with what they keep. */
void observers_new(struct node *node);
void observers_free(struct node *node);

void observe_init(struct node *node, const struct observer *table, size_t count);

/* Each takes a batch as the step has it, and tells of what is in it. */
void observe_begun(struct node *node, struct run *const *runs, size_t count);
void observe_written(struct node *node, struct finished *const *ends, size_t count, int64_t late);
void observe_fired(struct node *node, const struct fire *fire);
void observe_count(struct node *node, enum observe_point point, size_t count);
void observe_recovered(struct node *node, const char *dead, int64_t put_back, int64_t lost);
void observe_moved(struct node *node, const char *state, const char *why);

/* The name of a trigger this node knows; NULL: it has been forgotten since. */
const char *observe_trigger_name(const struct node *node, int32_t trigger_id);
/* Likewise of its job. */
const char *observe_job_name(const struct node *node, int32_t trigger_id);

#endif
