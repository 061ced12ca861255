/*
 * Triggers out of error: what put them there is gone if they can be evaluated now. Used by a node
 * when it starts and by `rota reset`. Straight-line code.
 */
#ifndef COORD_RESET_H
#define COORD_RESET_H

#include "coord/definition.h"

#define RESET_PAGE 1000 /* triggers of one call: what one statement takes along */

struct reset_trigger {
    int32_t id;
    char *name;
    char *error;     /* why it stays in error; NULL: it can be evaluated */
    int64_t next_us; /* STORE_NULL_TIME: none any more */
    bool reset;      /* or somebody else was faster */
};

struct reset {
    struct reset_trigger triggers[RESET_PAGE];
    size_t count;
};

struct reset *reset_new(void);
void reset_free(struct reset *reset); /* NULL is fine */

/*
 * Evaluates up to RESET_PAGE triggers and resets those that can be. `flags` as for store_wait();
 * `revision` becomes that of their definitions, STORE_NULL_TIME leaves it. 0 or -1.
 */
int reset_triggers(struct store *store, struct definitions *definitions, const int32_t *ids,
                   size_t count, int64_t now_us, int64_t revision, int flags, struct reset *reset,
                   struct rota_error *error);

#endif
