/*
 * Acquire, for runs that wait: one round trip moves them into receipts of ours, as many as there
 * are free slots for, and some more to be at hand where that is worth it (ahead.c).
 */
#include "coord/acquire_step.h"

#include "base/memory.h"
#include "store/array.h"

#include <assert.h>

/* The columns of a receipt's row, as claim_answer.sql lists them, each at the next run. */
struct columns {
    struct array ids, data, job_ids, routes, dues, trigger_ids, scheduled, attempts, crashes,
        missed, recovering, checkpoints, earlier, made_up, extra, rated;
    int64_t fence, due_all_us;
    int32_t job_all, route_all;
};

char *acquire_copy(struct slice slice)
{
    return slice.data != NULL ? mem_string_n(slice.data, slice.length) : NULL;
}

static struct columns columns_of(const PGresult *result, int row)
{
    return (struct columns){
        .fence = row_int64(result, row, 0),
        .ids = array_begin(result, row, 1),
        .data = array_begin(result, row, 2),
        .job_all = row_null(result, row, 3) ? 0 : row_int32(result, row, 3),
        .job_ids = array_begin(result, row, 4),
        .route_all = row_null(result, row, 5) ? 0 : row_int32(result, row, 5),
        .routes = array_begin(result, row, 6),
        .due_all_us = row_time(result, row, 7),
        .dues = array_begin(result, row, 8),
        .trigger_ids = array_begin(result, row, 9),
        .scheduled = array_begin(result, row, 10),
        .attempts = array_begin(result, row, 11),
        .crashes = array_begin(result, row, 12),
        .missed = array_begin(result, row, 13),
        .recovering = array_begin(result, row, 14),
        .checkpoints = array_begin(result, row, 15),
        .earlier = array_begin(result, row, 16),
        .made_up = array_begin(result, row, 17),
        .extra = array_begin(result, row, 18),
        .rated = array_begin(result, row, 19),
    };
}

static int priority_of(const struct acquire *a, int32_t route)
{
    for (size_t i = 0; i < a->route_count; i++)
        if (a->routes[i].id == route)
            return a->routes[i].priority;
    return 0;
}

static struct run *take_run(struct acquire *a, struct columns *c, struct receipt *receipt,
                            uint32_t slot)
{
    struct run *run = runs_add(a->node->runs, receipt, slot, array_int64(&c->ids, 0));
    run->laned = a->work == WORK_LANE_PENDING;
    run->job_id = array_int32(&c->job_ids, c->job_all);
    run->trigger_id = array_int32(&c->trigger_ids, 0);
    run->due_us = array_time(&c->dues, c->due_all_us);
    run->rank_us = rank_us(run->due_us, priority_of(a, array_int32(&c->routes, c->route_all)));
    run->scheduled_us = array_time(&c->scheduled, run->due_us);
    run->attempt = array_int16(&c->attempts, 1);
    run->crashes = array_int16(&c->crashes, 0);
    run->missed = array_int32(&c->missed, 0);
    run->recovering = array_bool(&c->recovering, false);
    run->made_up = array_bool(&c->made_up, false);
    run->extra = array_bool(&c->extra, false);
    run->rated = array_bool(&c->rated, false);
    run->data = acquire_copy(array_slice(&c->data));
    run->checkpoint = acquire_copy(array_slice(&c->checkpoints));
    run->earlier = acquire_copy(array_slice(&c->earlier));
    return run;
}

static bool take_receipt(struct acquire *a, const PGresult *result, int row)
{
    struct columns columns = columns_of(result, row);
    uint32_t count = (uint32_t)array_count(&columns.ids);
    bool rated = columns.rated.at != NULL;
    struct receipt *receipt = runs_receipt(a->node->runs, columns.fence, count);
    for (uint32_t slot = 0; slot < count; slot++) {
        assert(a->held_count < NODE_CLAIM_MAX);
        a->held[a->held_count++] = take_run(a, &columns, receipt, slot);
    }
    return rated;
}

/* How far it has come in each route: the same in each row. */
static void take_reached(struct acquire *a, const PGresult *result)
{
    struct array bundles = array_begin(result, 0, 21), routes = array_begin(result, 0, 22),
                 dues = array_begin(result, 0, 23);
    while (array_count(&routes) > 0) {
        enum bound_kind kind = array_bool(&bundles, false) ? BOUND_BUNDLES : BOUND_ROWS;
        int32_t route = array_int32(&routes, 0);
        bounds_reach(&a->bounds, kind, route, array_time(&dues, 0));
    }
}

/* How many runs a claim has brought. */
static int runs_of(const PGresult *result)
{
    int count = 0;
    for (int row = 0; row < PQntuples(result); row++) {
        struct array ids = array_begin(result, row, 1);
        count += (int)array_count(&ids);
    }
    return count;
}

void acquire_on_claimed(void *arg, const struct store_answer *answer)
{
    struct acquire *a = arg;
    struct node *node = a->node;
    if (a->step != STEP_CLAIM)
        return;
    if (answer->error != NULL) {
        acquire_failed(a, answer->error);
        return;
    }
    int count = runs_of(answer->result);
    busy_claimed(node, count, count > 0 && count >= a->least_slots);
    if (count > 0 && acquire_outlived(a))
        return;
    if (a->work == WORK_PENDING) {
        wake_claimed(node, count, a->least_slots > 0);
        if (count < a->room)
            wake_unknown(node, a->work); /* that was all of it: when is the next one due? */
    }
    if (count > 0)
        observe_count(node, OBSERVE_CLAIMED, (size_t)count);
    bool rated = false;
    for (int row = 0; row < PQntuples(answer->result); row++) {
        a->fleet_revision = row_int64(answer->result, row, 20);
        rated = take_receipt(a, answer->result, row) || rated;
    }
    if (PQntuples(answer->result) > 0)
        take_reached(a, answer->result);
    if (rated)
        rate_claimed(node);
    acquire_go_on(a);
}

void acquire_pending(struct acquire *a, const struct route *routes, size_t count)
{
    struct store_params params = {0};
    acquire_begin(a, STEP_CLAIM, routes, count);
    acquire_routes_params(&params, routes, count);
    a->incarnation = a->node->member.incarnation;
    params_int32(&params, a->incarnation);
    acquire_claim_since_params(a, routes, count, &params);
    store_call(a->node->work, SQL_RUN_CLAIM, &params, 0, acquire_on_claimed, a);
    store_params_free(&params);
}
