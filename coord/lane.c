/* Slots of lanes, for the time of one claim: see lane.h. */
#include "coord/lane.h"

#include "base/memory.h"

#include <assert.h>
#include <stdlib.h>

void lane_rooms_params(const int64_t *lanes, const int32_t *limits, size_t count,
                       struct store_params *params)
{
    params_int64s(params, lanes, count);
    params_int32s(params, limits, count);
}

static int compare_rooms(const void *a, const void *b)
{
    const struct lane_room *left = a, *right = b;
    return (left->lane > right->lane) - (left->lane < right->lane);
}

void lane_rooms_take(struct lane_rooms *rooms, const PGresult *result)
{
    lane_rooms_free(rooms);
    rooms->count = (size_t)PQntuples(result);
    rooms->rooms = mem_array(rooms->count, sizeof *rooms->rooms);
    for (size_t i = 0; i < rooms->count; i++) {
        struct lane_room *room = &rooms->rooms[i];
        room->lane = row_int64(result, (int)i, 0);
        room->slots = row_int64s(result, (int)i, 1, &room->count);
    }
    if (rooms->count > 0)
        qsort(rooms->rooms, rooms->count, sizeof *rooms->rooms, compare_rooms);
}

void lane_rooms_free(struct lane_rooms *rooms)
{
    for (size_t i = 0; i < rooms->count; i++)
        free(rooms->rooms[i].slots);
    free(rooms->rooms);
    *rooms = (struct lane_rooms){0};
}

struct lane_room *lane_rooms_find(const struct lane_rooms *rooms, int64_t lane)
{
    struct lane_room wanted = {.lane = lane};
    if (rooms->count == 0)
        return NULL;
    return bsearch(&wanted, rooms->rooms, rooms->count, sizeof wanted, compare_rooms);
}

bool lane_full(const struct lane_room *room)
{
    return room->used == room->count;
}

int32_t lane_slot(struct lane_room *room)
{
    assert(!lane_full(room));
    return (int32_t)room->slots[room->used++];
}
