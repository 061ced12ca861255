/*
 * Inside of acquire: one step is out at a time, and what it has gathered so far. For the files of
 * acquire only.
 */
#ifndef COORD_ACQUIRE_STEP_H
#define COORD_ACQUIRE_STEP_H

#include "coord/bound.h"
#include "coord/fire.h"
#include "coord/lane.h"
#include "coord/node.h"

#define LOAD_MAX (2 * NODE_CLAIM_MAX)

enum step {
    STEP_IDLE,
    STEP_LOCK,  /* triggers, or runs of lanes, are being locked */
    STEP_ROOMS, /* then the lanes they need */
    STEP_FIRE,
    STEP_CLAIM,
    STEP_LOAD_TRIGGERS,
    STEP_LOAD_JOBS,
    STEP_LOAD_DATA,
    STEP_LOAD_EXTRA,
    STEP_ASK
};

struct id_list {
    int32_t ids[LOAD_MAX];
    size_t count;
};

/* A locked trigger or run that may get a slot of its lane. */
struct lane_candidate {
    int64_t run_id; /* of a run */
    int32_t route;
    int64_t lane; /* LANE_NONE: its job has no limit any more */
    int32_t limit;
    bool held;               /* its job is paused */
    struct fire_input input; /* of a trigger, with references to its definitions */
};

struct acquire {
    struct node *node;
    enum step step;
    enum work work;        /* what the step is for */
    uint64_t number;       /* of steps begun so far */
    int64_t asked_boot_us; /* when the next due times were asked for */
    int64_t asked_us;      /* the same, monotonic */
    bool asked_from_start;
    int64_t beat_us; /* the same of the last heartbeat */
    bool beat_from_start;
    int32_t incarnation; /* under which its claim was sent */
    int64_t fleet_revision;
    struct route routes[NODE_CLAIM_ROUTES_MAX]; /* of the step that is out */
    size_t route_count;
    int room;        /* of all pools together when the step began */
    int least_slots; /* of one of them: as many claimed are a pool that was filled, most likely */
    struct id_list load_triggers, load_jobs, load_data;
    struct bounds bounds;
    struct fire *fire; /* decided, waiting for its commit */
    struct lane_candidate candidates[NODE_CLAIM_MAX];
    size_t candidate_count;
    struct lane_rooms rooms;
    struct run *held[NODE_CLAIM_MAX]; /* claimed, waiting for definitions or extras */
    size_t held_count;
};

/* acquire.c */
bool acquire_want(struct id_list *list, int32_t id); /* false: no room for it */
void acquire_begin(struct acquire *a, enum step step, const struct route *routes, size_t count);
void acquire_routes_params(struct store_params *params, const struct route *routes, size_t count);
int *acquire_room_of(struct acquire *a, int32_t route, int *rooms);
void acquire_rooms(const struct acquire *a, int rooms[NODE_POOLS_MAX]); /* free slots by pool */
void acquire_claim_since_params(struct acquire *a, const struct route *routes, size_t count,
                                struct store_params *params);
void acquire_failed(struct acquire *a, const struct rota_error *error);
/* One row of trigger_acquire.sql; false: its definitions have to be loaded first. */
bool acquire_input(struct acquire *a, const PGresult *result, int row, struct fire_input *input);
void acquire_fire(struct acquire *a); /* what was decided; the step ends with it */
bool acquire_outlived(struct acquire *a);
void acquire_go_on(struct acquire *a); /* loads what is missing, dispatches, ends the step */

/* acquire_pending.c */
void acquire_pending(struct acquire *a, const struct route *routes, size_t count);
void acquire_on_claimed(void *arg, const struct store_answer *answer);
char *acquire_copy(struct slice slice); /* NULL for an absent one */

/* acquire_extra.c: what claimed runs have beside their row. False: there is nothing to load. */
bool acquire_load_extras(struct acquire *a);

/* acquire_lane.c */
void acquire_lane_triggers(struct acquire *a, const PGresult *result);
void acquire_lane_pending(struct acquire *a, const struct route *routes, size_t count);
void acquire_lane_forget(struct acquire *a); /* candidates and rooms */

#endif
