/*
 * Runs that are over on this node and wait to be written: their batch, and the parameters of the
 * statements that write it. For the files of complete only.
 */
#ifndef COORD_FINISHED_H
#define COORD_FINISHED_H

#include "coord/node.h"

#define BATCH_MAX NODE_CLAIM_MAX

struct finished {
    struct list link;
    struct run *run;
    const char *status; /* constants; NULL: goes back to pending */
    const char *outcome;
    char *json;          /* task_details, or the attempt's entry; NULL: nothing */
    int64_t duration_us; /* -1: it never ran */
    int64_t delay_us;
    bool more_attempt, more_crash, recovering;
    struct run_effects effects;
    bool bare; /* the database has refused it with all that belongs to it */
};

bool finished_has_effects(const struct finished *finished);
bool finished_has_end(const struct finished *finished); /* more follows its end: run_ended.sql */

/* run_complete.sql, run_put_back.sql, run_effects.sql, run_ended.sql, lane_release.sql */
void finished_history_params(struct node *node, struct finished **batch, size_t count,
                             struct store_params *params);
void finished_back_params(struct node *node, struct finished **batch, size_t count,
                          struct store_params *params);
void finished_effects_params(struct finished **batch, size_t count, struct store_params *params);
void finished_ended_params(struct finished **batch, size_t count, struct store_params *params);
void finished_lanes_params(struct finished **batch, size_t count, struct store_params *params);

#endif
