/* From where on claims look: see bound.h. */
#include "coord/bound.h"

#include "base/clock.h"

#define WALK_SHARE    20                  /* looks from the start take that part of the time */
#define WALK_SHORT_US (2 * US_PER_MS)     /* claims of runs can afford that themselves */
#define WALK_QUICK_US (10 * US_PER_MS)    /* nobody need wait for that */
#define WALK_MOST_US  (3 * US_PER_SECOND) /* more was the server's being away */
#define LOOK_US       (4 * US_PER_SECOND) /* what is before a bound waits 5 s at most */
#define LATE_US       (1 * US_PER_SECOND) /* transactions that enqueue are shorter, most of them */

static struct bound *find(struct bounds *bounds, int32_t route)
{
    for (size_t i = 0; i < bounds->count; i++)
        if (bounds->at[i].route == route)
            return &bounds->at[i];
    return NULL;
}

static struct bound *find_or_add(struct bounds *bounds, int32_t route)
{
    struct bound *bound = find(bounds, route);
    if (bound != NULL || route <= 0 || bounds->count == NODE_ROUTES_MAX)
        return bound;
    bound = &bounds->at[bounds->count++];
    bound->route = route;
    bound->noted_us = STORE_NULL_TIME;
    for (int kind = 0; kind < BOUND_KINDS; kind++)
        bound->since_us[kind] = STORE_NULL_TIME;
    return bound;
}

static bool walks_are_short(const struct bounds *bounds)
{
    return bounds->walk_us < WALK_SHORT_US;
}

static int64_t since(const struct bounds *bounds, int32_t route, enum bound_kind kind,
                     int64_t now_us)
{
    const struct bound *bound = find((struct bounds *)bounds, route);
    if (bound == NULL || bound->since_us[kind] == STORE_NULL_TIME)
        return STORE_NULL_TIME;
    if (kind == BOUND_TRIGGERS)
        return bound->since_us[kind];
    if (walks_are_short(bounds))
        return STORE_NULL_TIME;
    return bound->since_us[kind] < now_us - LATE_US ? bound->since_us[kind] : now_us - LATE_US;
}

void bounds_params(const struct bounds *bounds, const struct route *routes, size_t count,
                   bool from_start, int64_t now_us, struct store_params *params)
{
    for (int kind = 0; kind < BOUND_KINDS; kind++) {
        int64_t times[NODE_CLAIM_ROUTES_MAX];
        for (size_t i = 0; i < count; i++)
            times[i] = from_start ? STORE_NULL_TIME
                                  : since(bounds, routes[i].id, (enum bound_kind)kind, now_us);
        params_times(params, times, count);
    }
}

void bounds_note(struct bounds *bounds, int32_t route, int64_t next_us)
{
    struct bound *bound = find_or_add(bounds, route);
    if (bound != NULL && next_us > bound->noted_us)
        bound->noted_us = next_us;
}

void bounds_settle(struct bounds *bounds, bool fired)
{
    for (size_t i = 0; i < bounds->count; i++) {
        struct bound *bound = &bounds->at[i];
        if (fired && bound->noted_us != STORE_NULL_TIME)
            bound->since_us[BOUND_TRIGGERS] = bound->noted_us;
        bound->noted_us = STORE_NULL_TIME;
    }
}

void bounds_reach(struct bounds *bounds, enum bound_kind kind, int32_t route, int64_t due_us)
{
    struct bound *bound = find_or_add(bounds, route);
    if (bound != NULL)
        bound->since_us[kind] = due_us;
}

bool bounds_may_look(const struct bounds *bounds, int64_t now_us)
{
    return now_us - bounds->looked_us >= WALK_SHARE * bounds->walk_us;
}

int64_t bounds_look_in(const struct bounds *bounds, int64_t now_us, bool hints)
{
    int64_t pause_us = WALK_SHARE * bounds->walk_us;
    bool hinted = hints && bounds->hinted;
    if (!hinted && bounds_quick(bounds))
        return INT64_MAX; /* heartbeats do */
    if (!hinted && pause_us < LOOK_US)
        pause_us = LOOK_US;
    int64_t left_us = bounds->looked_us + pause_us - now_us;
    return left_us > 0 ? left_us : 0;
}

void bounds_looked(struct bounds *bounds, int64_t began_us, int64_t now_us)
{
    bounds->hinted = false;
    bounds->looked_us = began_us;
    int64_t walk_us = now_us - began_us;
    bounds->walk_us = walk_us < WALK_MOST_US ? walk_us : WALK_MOST_US;
}

void bounds_found(struct bounds *bounds, enum bound_kind kind, int64_t due_us)
{
    for (size_t i = 0; i < bounds->count; i++)
        if (due_us < bounds->at[i].since_us[kind])
            bounds->at[i].since_us[kind] = due_us;
}

void bounds_hint(struct bounds *bounds)
{
    bounds->hinted = !walks_are_short(bounds); /* else claims look from the start themselves */
}

bool bounds_quick(const struct bounds *bounds)
{
    return bounds->walk_us < WALK_QUICK_US;
}
