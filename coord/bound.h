/*
 * Bounds: from where on claims look, for each route: for triggers the occurrence they took last,
 * for runs that wait the due time they have come to, of rows and of bundles. What lies before it in
 * the index was taken, and as long as an old snapshot is open anywhere, nothing of that can be
 * cleaned away: each claim from the start would walk through all that was taken since. What is due
 * before a bound after all (resumed, put back, or let go by a node that had locked it) is found by
 * looks from the start. While they are quick, each heartbeat is one and so are most questions for
 * the next due time; else such questions are asked for it, as often as they may take a twentieth of
 * the time.
 *
 * Runs come in any order: who enqueues commits after others who began later, and much is put back
 * as it was. So their bounds are used only where looks from the start do take time, and stay a
 * second behind the clock.
 */
#ifndef COORD_BOUND_H
#define COORD_BOUND_H

#include "coord/flow.h"
#include "store/store.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum bound_kind { BOUND_TRIGGERS, BOUND_ROWS, BOUND_BUNDLES, BOUND_KINDS };

struct bound {
    int32_t route;
    int64_t since_us[BOUND_KINDS]; /* STORE_NULL_TIME: none */
    int64_t noted_us;              /* the newest trigger of the claim that is out */
};

struct bounds {
    struct bound at[NODE_ROUTES_MAX];
    size_t count;
    bool hinted;       /* runs may have come in behind a bound */
    int64_t looked_us; /* monotonic: when the last look from the start began */
    int64_t walk_us;   /* how long it took */
};

/* As a parameter for each kind: where to look from in each route at now_us, of the database; NULL:
 * from the start, as for those of lanes. */
void bounds_params(const struct bounds *bounds, const struct route *routes, size_t count,
                   bool from_start, int64_t now_us, struct store_params *params);

/* A claim of triggers: what it locked, then whether that was fired and nothing of it left. */
void bounds_note(struct bounds *bounds, int32_t route, int64_t next_us);
void bounds_settle(struct bounds *bounds, bool fired);

/* A claim of runs: it left none of this kind before due_us. */
void bounds_reach(struct bounds *bounds, enum bound_kind kind, int32_t route, int64_t due_us);

/* Looks from the start; times are monotonic. */
bool bounds_quick(const struct bounds *bounds); /* they hold up nobody, not even a heartbeat */
bool bounds_may_look(const struct bounds *bounds, int64_t now_us);
/* INT64_MAX: need not; hints: what may have come in behind a bound counts, too. */
int64_t bounds_look_in(const struct bounds *bounds, int64_t now_us, bool hints);
void bounds_looked(struct bounds *bounds, int64_t began_us, int64_t now_us);
/* A look found that this is the first of all of this kind: no bound is beyond it. */
void bounds_found(struct bounds *bounds, enum bound_kind kind, int64_t due_us);
/* Runs may have come in behind a bound: a look is wanted soon. */
void bounds_hint(struct bounds *bounds);

#endif
