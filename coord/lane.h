/*
 * Lanes of one claim: the candidates that need a slot, and the free slots of the lanes that could
 * be locked. Where slots come from and how they are given back: sql/schema/0002_trigger_engine.sql.
 */
#ifndef COORD_LANE_H
#define COORD_LANE_H

#include "store/store.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LANE_NONE INT64_MIN /* as a parameter: NULL */

/* Free slots of one lane, handed out in order. */
struct lane_room {
    int64_t lane;
    int64_t *slots;
    size_t count, used;
};

struct lane_rooms {
    struct lane_room *rooms; /* by lane */
    size_t count;
};

/* The parameters of lane_rooms.sql. */
void lane_rooms_params(const int64_t *lanes, const int32_t *limits, size_t count,
                       struct store_params *params);
/* Its answer: only lanes that are locked now. */
void lane_rooms_take(struct lane_rooms *rooms, const PGresult *result);
void lane_rooms_free(struct lane_rooms *rooms);

/* NULL: somebody else has the lane at this moment. */
struct lane_room *lane_rooms_find(const struct lane_rooms *rooms, int64_t lane);
bool lane_full(const struct lane_room *room);
int32_t lane_slot(struct lane_room *room); /* the next free one, which is taken by that */

#endif
