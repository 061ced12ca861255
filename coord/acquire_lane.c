/*
 * Acquire, for what belongs to lanes: the candidates are locked first, then by a later statement
 * their lanes, for a fresh view of the slots; then each gets a slot or is held. A lane that
 * somebody else has at this moment is left alone, with all that wants it: it stays due.
 */
#include "coord/acquire_step.h"

#include "base/clock.h"

#include <assert.h>
#include <stdlib.h>

void acquire_lane_forget(struct acquire *a)
{
    for (size_t i = 0; i < a->candidate_count; i++) {
        trigger_unref(a->candidates[i].input.trigger);
        job_unref(a->candidates[i].input.job);
    }
    a->candidate_count = 0;
    lane_rooms_free(&a->rooms);
}

/* Nothing to write: what was locked is let go. */
static void let_go(struct acquire *a)
{
    acquire_lane_forget(a);
    store_rollback(a->node->work);
    wake_claimed(a->node, 0, true);
    acquire_go_on(a);
}

static void on_rooms(void *arg, const struct store_answer *answer);

/* Asks for the lanes of the candidates; none needed: goes on without. */
static void ask_rooms(struct acquire *a)
{
    int64_t lanes[NODE_CLAIM_MAX];
    int32_t limits[NODE_CLAIM_MAX];
    size_t count = 0;
    for (size_t i = 0; i < a->candidate_count; i++) {
        const struct lane_candidate *candidate = &a->candidates[i];
        if (candidate->lane == LANE_NONE || candidate->held)
            continue;
        lanes[count] = candidate->lane;
        limits[count++] = candidate->limit;
    }
    struct store_params params = {0};
    a->step = STEP_ROOMS;
    lane_rooms_params(lanes, limits, count, &params);
    store_call(a->node->work, SQL_LANE_ROOMS, &params, STORE_WITHIN, on_rooms, a);
    store_params_free(&params);
}

/* ---- triggers ---- */

static int64_t rank_of(struct acquire *a, const struct lane_candidate *candidate)
{
    int priority = 0;
    for (size_t i = 0; i < a->route_count; i++)
        if (a->routes[i].id == candidate->route)
            priority = a->routes[i].priority;
    return rank_us(candidate->input.next_us, priority);
}

static int compare_candidates(const void *left, const void *right, void *arg)
{
    int64_t a = rank_of(arg, left), b = rank_of(arg, right);
    return (a > b) - (a < b);
}

void acquire_lane_triggers(struct acquire *a, const PGresult *result)
{
    assert(a->candidate_count == 0);
    for (int row = 0; row < PQntuples(result) && a->candidate_count < NODE_CLAIM_MAX; row++) {
        struct lane_candidate candidate = {.lane = row_int64(result, row, 9),
                                           .limit = row_int32(result, row, 10)};
        if (!acquire_input(a, result, row, &candidate.input))
            continue;
        candidate.route = candidate.input.route;
        trigger_ref(candidate.input.trigger);
        job_ref(candidate.input.job);
        a->candidates[a->candidate_count++] = candidate;
    }
    if (a->load_triggers.count + a->load_jobs.count > 0)
        wake_next(a->node, a->work, node_database_now(a->node)); /* come back for the others */
    if (a->candidate_count == 0) {
        let_go(a);
        return;
    }
    qsort_r(a->candidates, a->candidate_count, sizeof *a->candidates, compare_candidates, a);
    ask_rooms(a);
}

/*
 * A trigger may have been woken for a place that it does not take after all: nothing of it was to
 * be fired, or what it makes waits for its turn. Then the next in its lane is woken, or all behind
 * it would wait for the sweep.
 */
static void wake_others(struct acquire *a, const int64_t *lanes, size_t count)
{
    struct store_params params = {0};
    if (count == 0)
        return;
    params_int64s(&params, lanes, count);
    store_call(a->node->work, SQL_LANE_WAKE, &params, STORE_WITHIN, NULL, NULL);
    store_params_free(&params);
}

static void decide_triggers(struct acquire *a)
{
    int rooms[NODE_POOLS_MAX];
    int64_t left[NODE_CLAIM_MAX];
    size_t left_count = 0;
    acquire_rooms(a, rooms);
    fire_clear(a->fire);
    for (size_t i = 0; i < a->candidate_count; i++) {
        struct lane_candidate *candidate = &a->candidates[i];
        struct lane_room *room = lane_rooms_find(&a->rooms, candidate->lane);
        size_t triggers = a->fire->trigger_count, runs = a->fire->run_count;
        candidate->input.lane = room;
        if (room != NULL)
            fire_decide(a->fire, &candidate->input, acquire_room_of(a, candidate->route, rooms));
        if (a->fire->trigger_count > triggers && a->fire->run_count == runs && !lane_full(room))
            left[left_count++] = candidate->lane;
    }
    if (a->fire->trigger_count == 0) {
        let_go(a);
        return;
    }
    acquire_lane_forget(a);
    wake_others(a, left, left_count);
    acquire_fire(a);
}

/* ---- runs that wait ---- */

/* What becomes of the candidates, as the parameters of lane_take.sql. */
struct taking {
    int64_t ids[NODE_CLAIM_MAX], lanes[NODE_CLAIM_MAX];
    int32_t slots[NODE_CLAIM_MAX];
    size_t count;
    int64_t held_ids[NODE_CLAIM_MAX], held_lanes[NODE_CLAIM_MAX];
    const char *held_kinds[NODE_CLAIM_MAX];
    size_t held_count;
    int64_t full_lanes[NODE_CLAIM_MAX]; /* of those held, each once */
    size_t full_count;
};

static void hold(struct taking *taking, const struct lane_candidate *candidate, const char *kind)
{
    taking->held_ids[taking->held_count] = candidate->run_id;
    taking->held_lanes[taking->held_count] = candidate->lane;
    taking->held_kinds[taking->held_count++] = kind;
}

static void note_full(struct taking *taking, int64_t lane)
{
    for (size_t i = 0; i < taking->full_count; i++)
        if (taking->full_lanes[i] == lane)
            return;
    taking->full_lanes[taking->full_count++] = lane;
}

static void place(struct acquire *a, const struct lane_candidate *candidate, int *pool_room,
                  struct taking *taking)
{
    struct lane_room *room = lane_rooms_find(&a->rooms, candidate->lane);
    bool laned = candidate->lane != LANE_NONE;
    if (candidate->held) {
        hold(taking, candidate, "P");
    } else if (laned && room != NULL && lane_full(room)) {
        hold(taking, candidate, "L");
        note_full(taking, candidate->lane);
    } else if ((!laned || room != NULL) && *pool_room > 0) {
        (*pool_room)--;
        taking->ids[taking->count] = candidate->run_id;
        taking->lanes[taking->count] = candidate->lane;
        taking->slots[taking->count++] = laned ? lane_slot(room) : 0;
    }
}

static void take_pending(struct acquire *a)
{
    struct taking taking = {.count = 0};
    int rooms[NODE_POOLS_MAX];
    acquire_rooms(a, rooms);
    for (size_t i = 0; i < a->candidate_count; i++)
        place(a, &a->candidates[i], acquire_room_of(a, a->candidates[i].route, rooms), &taking);
    if (taking.count + taking.held_count == 0) {
        let_go(a);
        return;
    }
    acquire_lane_forget(a);
    observe_count(a->node, OBSERVE_LANE_FULL, taking.full_count);
    struct store_params params = {0};
    a->step = STEP_CLAIM;
    a->incarnation = a->node->member.incarnation;
    params_int32(&params, a->incarnation);
    params_int64s(&params, taking.ids, taking.count);
    params_int64s(&params, taking.lanes, taking.count);
    params_int32s(&params, taking.slots, taking.count);
    params_int64s(&params, taking.held_ids, taking.held_count);
    params_int64s(&params, taking.held_lanes, taking.held_count);
    params_texts(&params, taking.held_kinds, taking.held_count);
    params_int64s(&params, taking.full_lanes, taking.full_count);
    store_call(a->node->work, SQL_LANE_TAKE, &params, STORE_WITHIN | STORE_COMMIT,
               acquire_on_claimed, a);
    store_params_free(&params);
}

static void on_rooms(void *arg, const struct store_answer *answer)
{
    struct acquire *a = arg;
    if (a->step != STEP_ROOMS)
        return;
    if (answer->error != NULL) {
        acquire_failed(a, answer->error);
        return;
    }
    lane_rooms_take(&a->rooms, answer->result);
    if (a->work == WORK_LANE_TRIGGERS)
        decide_triggers(a);
    else
        take_pending(a);
}

static void on_picked(void *arg, const struct store_answer *answer)
{
    struct acquire *a = arg;
    if (a->step != STEP_LOCK)
        return;
    if (answer->error != NULL) {
        acquire_failed(a, answer->error);
        return;
    }
    int count = PQntuples(answer->result);
    wake_claimed(a->node, count, true);
    if (count < a->room)
        wake_unknown(a->node, a->work);
    for (int row = 0; row < count && row < NODE_CLAIM_MAX; row++) {
        struct lane_candidate *candidate = &a->candidates[a->candidate_count++];
        bool laned = !row_null(answer->result, row, 2);
        *candidate = (struct lane_candidate){
            .run_id = row_int64(answer->result, row, 0),
            .route = row_int32(answer->result, row, 1),
            .lane = laned ? row_int64(answer->result, row, 2) : LANE_NONE,
            .limit = laned ? row_int32(answer->result, row, 3) : 0,
            .held = row_bool(answer->result, row, 4),
        };
        a->fleet_revision = row_int64(answer->result, row, 5);
    }
    if (count == 0)
        let_go(a);
    else
        ask_rooms(a);
}

void acquire_lane_pending(struct acquire *a, const struct route *routes, size_t count)
{
    struct store_params params = {0};
    acquire_begin(a, STEP_LOCK, routes, count);
    acquire_routes_params(&params, routes, count);
    acquire_claim_since_params(a, routes, count, &params);
    store_call(a->node->work, SQL_LANE_PICK, &params, STORE_BEGIN, on_picked, a);
    store_params_free(&params);
}
