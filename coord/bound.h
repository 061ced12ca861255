/*
 * Bounds: from where on claims of triggers look, for each route: the occurrence they took last.
 * What lies before it in the index was fired, and as long as an old snapshot is open anywhere,
 * nothing of that can be cleaned away: each claim from the start would walk through all that was
 * fired since. A trigger that is due before a bound after all (resumed, or let go by a node that
 * had locked it) is found by looks from the start. While they are quick, each heartbeat is one and
 * so are most questions for the next due time; else such questions are asked for it, as often as
 * they may take a twentieth of the time.
 */
#ifndef COORD_BOUND_H
#define COORD_BOUND_H

#include "coord/flow.h"
#include "store/store.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bound {
    int32_t route;
    int64_t since_us; /* STORE_NULL_TIME: none */
    int64_t noted_us; /* newest of the claim that is out */
};

struct bounds {
    struct bound at[NODE_ROUTES_MAX];
    size_t count;
    bool behind;       /* something is due before a bound: the next claim looks from the start */
    int64_t looked_us; /* monotonic: when the last look from the start began */
    int64_t walk_us;   /* how long it took */
};

/* As a parameter: where to look from in each route; NULL: from the start, as for those of lanes. */
void bounds_params(const struct bounds *bounds, const struct route *routes, size_t count,
                   bool from_start, struct store_params *params);

/* A claim: what it locked, then whether that was fired and nothing of it left. */
void bounds_note(struct bounds *bounds, int32_t route, int64_t next_us);
void bounds_settle(struct bounds *bounds, bool fired);

/* Looks from the start; times are monotonic. */
bool bounds_quick(const struct bounds *bounds); /* they hold up nobody, not even a heartbeat */
bool bounds_may_look(const struct bounds *bounds, int64_t now_us);
int64_t bounds_look_in(const struct bounds *bounds, int64_t now_us); /* INT64_MAX: need not */
void bounds_looked(struct bounds *bounds, int64_t began_us, int64_t now_us);
void bounds_found(struct bounds *bounds, int64_t due_us); /* the first of all, due already */

#endif
