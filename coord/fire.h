/*
 * Fire: what becomes of locked triggers, between the SELECT that locked them and the UPDATE that
 * advances them: their next occurrence, the runs that start now, those that are made up for later.
 * A batch is of triggers with lanes or of triggers without.
 */
#ifndef COORD_FIRE_H
#define COORD_FIRE_H

#include "coord/lane.h"
#include "coord/node.h"

#define FIRE_LATER_MAX                                                                             \
    4000 /* made-up runs of one transaction; triggers beyond it wait for the next */

/* A run that one of the locked triggers makes. */
struct fire_run {
    struct trigger *trigger; /* a reference */
    struct job *job;         /* a reference */
    int32_t route;
    int64_t scheduled_us;
    int64_t previous_us;
    int64_t missed;
    bool made_up;      /* of later ones: by the misfire policy */
    int64_t lane;      /* LANE_NONE: its job has no limit */
    int32_t lane_slot; /* of those that start now */
};

struct fire_advance {
    int32_t trigger_id;
    uint64_t place;  /* of its locked row */
    int64_t next_us; /* STORE_NULL_TIME: none */
    int64_t previous_us;
    int64_t fired, missed, misfired;
    bool blocked; /* its lane is full: next_us is due already */
    char *error;  /* the trigger goes to error */
};

struct fire {
    struct fire_advance triggers[NODE_CLAIM_MAX];
    size_t trigger_count;
    struct fire_run runs[NODE_CLAIM_MAX]; /* these get slots */
    size_t run_count;
    struct fire_run *later;
    size_t later_count;
    int64_t pace_us; /* between made-up runs of the whole fleet */
    bool laned;      /* the batch is of triggers with lanes */
    bool rated;      /* some of the later runs wait for their rate */
    struct misfire_decision decision;
};

struct fire_input {
    struct trigger *trigger;
    struct job *job;
    int32_t route;
    uint64_t place;  /* where its locked row stands */
    int64_t next_us; /* the occurrence it was acquired for */
    int64_t previous_us;
    int64_t now_us;
    struct misfire_pass pass; /* occurrences that fell while it was paused */
    struct lane_room *lane;   /* NULL: its job has no limit */
};

struct fire *fire_new(int64_t catch_up_rate); /* made-up runs a second */
void fire_free(struct fire *fire);
void fire_clear(struct fire *fire);
/* *room: free slots of the pool that serves it, counted down; with a lane, slots of both are taken.
 */
void fire_decide(struct fire *fire, const struct fire_input *input, int *room);
/* The parameters of trigger_fire.sql. */
void fire_params(const struct fire *fire, int32_t incarnation, struct store_params *params);
/* After the commit: the runs with slots, as runs of this node. */
size_t fire_take(struct fire *fire, struct node *node, const PGresult *result, struct run **runs);

#endif
