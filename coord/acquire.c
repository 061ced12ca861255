/*
 * Acquire: claims due triggers and waiting runs, as many as there is room for, one step at a time
 * on the work connection. A claim whose definitions are not known yet loads them first; the
 * triggers it had locked are let go and claimed again. What a trigger's occurrences become is
 * decided in fire.c.
 */
#include "coord/acquire_step.h"

#include "base/clock.h"
#include "base/memory.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define SQLSTATE_FOREIGN_KEY "23503"

void acquire_new(struct node *node)
{
    struct acquire *a = mem_alloc(sizeof *a);
    a->node = node;
    a->fire = fire_new(node->config->catch_up_rate);
    node->acquire = a;
}

void acquire_free(struct node *node)
{
    if (node->acquire == NULL)
        return;
    acquire_lane_forget(node->acquire);
    fire_free(node->acquire->fire);
    free(node->acquire);
    node->acquire = NULL;
}

bool acquire_busy(const struct node *node)
{
    return node->acquire->step != STEP_IDLE;
}

uint64_t acquire_number(const struct node *node)
{
    return node->acquire->number;
}

static void end_step(struct acquire *a)
{
    a->step = STEP_IDLE;
    wake_step(a->node);
    node_drained(a->node); /* which may have waited for this step alone */
}

void acquire_lost(struct node *node)
{
    struct acquire *a = node->acquire;
    a->step = STEP_IDLE;
    a->load_jobs.count = a->load_triggers.count = a->load_data.count = 0;
    bounds_settle(&a->bounds, false);
    acquire_lane_forget(a);
    if (a->held_count > 0) { /* claimed and known, only never started */
        size_t count = a->held_count;
        a->held_count = 0;
        for (size_t i = 0; i < count; i++)
            complete_put_back(node, a->held[i], 0, false, false, false, NULL, NULL);
    }
    node_drained(node);
}

/* A step that failed is over; the next look waits a little, whatever the reason. */
void acquire_failed(struct acquire *a, const struct rota_error *error)
{
    if (store_fault(error) == FAULT_RETRY)
        log_debug(&a->node->log, "acquire interrupted", LOG_TEXT("error", error->message));
    else if (store_is(error, SQLSTATE_FOREIGN_KEY)) /* its incarnation is gone: all is in place */
        log_warn(&a->node->log, "claim refused: this node was declared dead meanwhile",
                 LOG_INT("incarnation", a->node->member.incarnation));
    else
        log_error(&a->node->log, "cannot acquire", LOG_TEXT("error", error->message),
                  LOG_TEXT("sqlstate", error->sqlstate));
    acquire_lost(a->node);
    wake_failed(a->node);
}

/*
 * We were declared dead while the claim was out, and may be back with a new lease: whoever declared
 * it took what the claim had got. To begin it here would run it twice, in a lane at once.
 */
bool acquire_outlived(struct acquire *a)
{
    struct node *node = a->node;
    if (a->incarnation == node->member.incarnation)
        return false;
    log_warn(&node->log, "a claim was answered after its node had been declared dead: others have "
                         "its runs");
    acquire_lost(node);
    wake_step(node);
    return true;
}

bool acquire_want(struct id_list *list, int32_t id)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->ids[i] == id)
            return true;
    if (list->count == LOAD_MAX)
        return false;
    list->ids[list->count++] = id;
    return true;
}

void acquire_routes_params(struct store_params *params, const struct route *routes, size_t count)
{
    int32_t ids[NODE_CLAIM_ROUTES_MAX], pools[NODE_CLAIM_ROUTES_MAX], rooms[NODE_CLAIM_ROUTES_MAX];
    int32_t slots[NODE_CLAIM_ROUTES_MAX];
    int16_t priorities[NODE_CLAIM_ROUTES_MAX];
    for (size_t i = 0; i < count; i++) {
        ids[i] = routes[i].id;
        priorities[i] = routes[i].priority;
        pools[i] = routes[i].pool;
        rooms[i] = routes[i].room;
        slots[i] = routes[i].slots;
    }
    params_int32s(params, ids, count);
    params_int16s(params, priorities, count);
    params_int32s(params, pools, count);
    params_int32s(params, rooms, count);
    params_int32s(params, slots, count);
}

void acquire_begin(struct acquire *a, enum step step, const struct route *routes, size_t count)
{
    assert(a->step == STEP_IDLE && count > 0 && count <= NODE_CLAIM_ROUTES_MAX);
    a->step = step;
    a->number++;
    memcpy(a->routes, routes, count * sizeof *routes);
    a->route_count = count;
    a->room = 0;
    a->least_slots = INT_MAX;
    uint64_t seen = 0; /* pools are few; each counts once */
    for (size_t i = 0; i < count; i++) {
        if (routes[i].slots < a->least_slots)
            a->least_slots = routes[i].slots;
        if (routes[i].pool < 64 && (seen & (UINT64_C(1) << routes[i].pool)) == 0)
            a->room += a->work == WORK_PENDING ? routes[i].room : routes[i].slots;
        if (routes[i].pool < 64)
            seen |= UINT64_C(1) << routes[i].pool;
    }
}

/* ---- loading definitions ---- */

static void on_jobs(void *arg, const struct store_answer *answer)
{
    struct acquire *a = arg;
    if (a->step != STEP_LOAD_JOBS)
        return; /* the connection was lost meanwhile */
    if (answer->error != NULL) {
        acquire_failed(a, answer->error);
        return;
    }
    definitions_put_jobs(a->node->definitions, answer->result, a->load_jobs.ids, a->load_jobs.count,
                         a->fleet_revision);
    a->load_jobs.count = 0;
    acquire_go_on(a);
}

static void on_triggers(void *arg, const struct store_answer *answer)
{
    struct acquire *a = arg;
    if (a->step != STEP_LOAD_TRIGGERS)
        return;
    if (answer->error != NULL) {
        acquire_failed(a, answer->error);
        return;
    }
    struct definitions *definitions = a->node->definitions;
    definitions_put_triggers(definitions, answer->result, a->load_triggers.ids,
                             a->load_triggers.count, a->fleet_revision);
    for (size_t i = 0; i < a->load_triggers.count; i++) {
        struct trigger *trigger =
            definitions_trigger_seen(definitions, a->load_triggers.ids[i], a->fleet_revision);
        if (!trigger->gone &&
            definitions_job(definitions, trigger->job_id, a->fleet_revision) == NULL)
            acquire_want(&a->load_jobs, trigger->job_id);
    }
    a->load_triggers.count = 0;
    acquire_go_on(a);
}

static void load(struct acquire *a, struct id_list *list, enum statement_id statement,
                 enum step step, store_callback callback)
{
    struct store_params params = {0};
    a->step = step;
    params_int32s(&params, list->ids, list->count);
    store_call(a->node->work, statement, &params, 0, callback, a);
    store_params_free(&params);
}

/* ---- what the claimed runs need ---- */

/* Definitions for the claimed runs: those known are attached, the others listed for loading. */
static bool define_held(struct acquire *a)
{
    struct definitions *definitions = a->node->definitions;
    bool complete = true;
    for (size_t i = 0; i < a->held_count; i++) {
        struct run *run = a->held[i];
        if (run->job != NULL)
            continue; /* fired just now */
        struct job *job = definitions_job(definitions, run->job_id, a->fleet_revision);
        struct trigger *trigger = NULL;
        if (run->trigger_id != 0)
            trigger = definitions_trigger_seen(definitions, run->trigger_id, a->fleet_revision);
        if (job == NULL)
            complete = !acquire_want(&a->load_jobs, run->job_id) && complete;
        if (trigger == NULL && run->trigger_id != 0)
            complete = !acquire_want(&a->load_triggers, run->trigger_id) && complete;
    }
    if (!complete)
        return false;
    for (size_t i = 0; i < a->held_count; i++) {
        struct run *run = a->held[i];
        if (run->job != NULL)
            continue;
        run->job = job_ref(definitions_job(definitions, run->job_id, a->fleet_revision));
        if (run->trigger_id != 0)
            run->trigger = trigger_ref(
                definitions_trigger_seen(definitions, run->trigger_id, a->fleet_revision));
    }
    return true;
}

/* ---- data that changes with each run ---- */

static bool needs_data(const struct run *run)
{
    return run->job != NULL && run->job->persist_data && !run->job->gone && !run->job_data_known;
}

static void on_data(void *arg, const struct store_answer *answer)
{
    struct acquire *a = arg;
    if (a->step != STEP_LOAD_DATA)
        return;
    if (answer->error != NULL) {
        acquire_failed(a, answer->error);
        return;
    }
    a->load_data.count = 0;
    for (size_t i = 0; i < a->held_count; i++) {
        struct run *run = a->held[i];
        for (int row = 0; needs_data(run) && row < PQntuples(answer->result); row++)
            if (row_int32(answer->result, row, 0) == run->job_id && run->job_data == NULL)
                run->job_data = acquire_copy(row_slice(answer->result, row, 1));
        run->job_data_known = true;
    }
    acquire_go_on(a);
}

void acquire_go_on(struct acquire *a)
{
    bool complete = a->held_count == 0 || define_held(a);
    if (a->load_triggers.count > 0) {
        load(a, &a->load_triggers, SQL_DEFINITION_LOAD, STEP_LOAD_TRIGGERS, on_triggers);
        return;
    }
    if (a->load_jobs.count > 0) {
        load(a, &a->load_jobs, SQL_JOB_LOAD, STEP_LOAD_JOBS, on_jobs);
        return;
    }
    for (size_t i = 0; i < a->held_count; i++)
        if (needs_data(a->held[i]))
            acquire_want(&a->load_data, a->held[i]->job_id);
    if (a->load_data.count > 0) {
        load(a, &a->load_data, SQL_JOB_DATA, STEP_LOAD_DATA, on_data);
        return;
    }
    assert(complete);
    (void)complete;
    if (acquire_load_extras(a))
        return;
    size_t count = a->held_count;
    a->held_count = 0;
    if (count > 0)
        dispatch_runs(a->node, a->held, count);
    end_step(a);
}

/* ---- triggers ---- */

static void on_fired(void *arg, const struct store_answer *answer)
{
    struct acquire *a = arg;
    struct node *node = a->node;
    if (a->step != STEP_FIRE)
        return;
    if (answer->error != NULL) {
        acquire_failed(a, answer->error);
        return;
    }
    if (acquire_outlived(a))
        return;
    bounds_settle(&a->bounds, true);
    struct run *runs[NODE_CLAIM_MAX];
    size_t count = fire_take(a->fire, node, answer->result, runs), ready = 0;
    observe_fired(node, a->fire);
    if (a->fire->later_count > 0)
        wake_now(node, a->fire->laned ? WORK_LANE_PENDING : WORK_PENDING);
    if (a->fire->rated)
        rate_next(node, node_database_now(node));
    for (size_t i = 0; i < count; i++) {
        if (needs_data(runs[i]))
            a->held[a->held_count++] = runs[i];
        else
            runs[ready++] = runs[i];
    }
    dispatch_runs(node, runs, ready);
    acquire_go_on(a); /* loads what other locked triggers lacked */
}

void acquire_fire(struct acquire *a)
{
    struct store_params params = {0};
    a->step = STEP_FIRE;
    a->incarnation = a->node->member.incarnation;
    fire_params(a->fire, a->incarnation, &params);
    store_call(a->node->work, SQL_TRIGGER_FIRE, &params, STORE_WITHIN | STORE_COMMIT, on_fired, a);
    store_params_free(&params);
}

void acquire_rooms(const struct acquire *a, int rooms[NODE_POOLS_MAX])
{
    memset(rooms, 0, NODE_POOLS_MAX * sizeof *rooms);
    for (size_t i = 0; i < a->route_count; i++)
        rooms[a->routes[i].pool] = a->routes[i].slots;
}

int *acquire_room_of(struct acquire *a, int32_t route, int *rooms)
{
    for (size_t i = 0; i < a->route_count; i++)
        if (a->routes[i].id == route)
            return &rooms[a->routes[i].pool];
    return NULL;
}

static int64_t or_unset(int64_t time_us)
{
    return time_us == STORE_NULL_TIME ? SCHEDULE_UNSET : time_us;
}

bool acquire_input(struct acquire *a, const PGresult *result, int row, struct fire_input *input)
{
    struct definitions *definitions = a->node->definitions;
    int32_t id = row_int32(result, row, 0);
    *input = (struct fire_input){
        .route = row_int32(result, row, 1),
        .place = row_place(result, row, 11),
        .next_us = row_time(result, row, 3),
        .previous_us = row_time(result, row, 4),
        .now_us = row_time(result, row, 5),
        .pass = {or_unset(row_time(result, row, 7)), or_unset(row_time(result, row, 8))}};
    input->trigger = definitions_trigger(definitions, id, row_int64(result, row, 2));
    if (input->trigger == NULL) {
        acquire_want(&a->load_triggers, id);
        return false;
    }
    input->job = definitions_job(definitions, input->trigger->job_id, a->fleet_revision);
    if (input->job == NULL)
        acquire_want(&a->load_jobs, input->trigger->job_id);
    return input->job != NULL;
}

/* Decides about each locked trigger whose definition is known; the others are listed for loading.
 */
static void decide(struct acquire *a, const PGresult *result)
{
    int rooms[NODE_POOLS_MAX];
    struct fire_input input;
    acquire_rooms(a, rooms);
    fire_clear(a->fire);
    for (int row = 0; row < PQntuples(result); row++)
        if (acquire_input(a, result, row, &input))
            fire_decide(a->fire, &input, acquire_room_of(a, input.route, rooms));
    if (a->fire->trigger_count == (size_t)PQntuples(result)) /* else some are left behind it */
        for (int row = 0; row < PQntuples(result); row++)
            bounds_note(&a->bounds, row_int32(result, row, 1), row_time(result, row, 3));
}

static void on_locked(void *arg, const struct store_answer *answer)
{
    struct acquire *a = arg;
    struct node *node = a->node;
    if (a->step != STEP_LOCK)
        return;
    if (answer->error != NULL) {
        acquire_failed(a, answer->error);
        return;
    }
    int count = PQntuples(answer->result);
    wake_claimed(node, count, true);
    if (count < a->room)
        wake_unknown(node, a->work);
    if (count > 0)
        a->fleet_revision = row_int64(answer->result, 0, 6);
    if (count > 0 && a->work == WORK_LANE_TRIGGERS) {
        acquire_lane_triggers(a, answer->result);
        return;
    }
    if (count > 0) {
        decide(a, answer->result);
        if (a->load_triggers.count + a->load_jobs.count > 0)
            wake_next(node, a->work, node_database_now(node)); /* come back for the others */
        if (a->fire->trigger_count > 0) {
            acquire_fire(a);
            return;
        }
    }
    store_rollback(node->work);
    acquire_go_on(a);
}

static void lock_triggers(struct acquire *a, const struct route *routes, size_t count)
{
    struct store_params params = {0};
    acquire_begin(a, STEP_LOCK, routes, count);
    acquire_routes_params(&params, routes, count);
    params_bool(&params, a->work == WORK_LANE_TRIGGERS);
    acquire_claim_since_params(a, routes, count, &params);
    store_call(a->node->work, SQL_TRIGGER_ACQUIRE, &params, STORE_BEGIN, on_locked, a);
    store_params_free(&params);
}

void acquire_work(struct node *node, enum work work, const struct route *routes, size_t count)
{
    struct acquire *a = node->acquire;
    a->work = work;
    if (work == WORK_PENDING)
        acquire_pending(a, routes, count);
    else if (work == WORK_LANE_PENDING)
        acquire_lane_pending(a, routes, count);
    else
        lock_triggers(a, routes, count);
}

/* ---- when is the next? ---- */

int64_t acquire_ask_in(const struct node *node, bool hints)
{
    return bounds_look_in(&node->acquire->bounds, clock_monotonic_us(), hints);
}

static void first_due(struct acquire *a, enum work work, int64_t due_us)
{
    wake_next(a->node, work, due_us);
    if (due_us == STORE_NULL_TIME || due_us > node_database_now(a->node))
        return;
    if (work == WORK_TRIGGERS)
        bounds_found(&a->bounds, BOUND_TRIGGERS, due_us);
    if (work == WORK_PENDING) {
        bounds_found(&a->bounds, BOUND_ROWS, due_us);
        bounds_found(&a->bounds, BOUND_BUNDLES, due_us);
    }
}

void acquire_hint(struct node *node)
{
    bounds_hint(&node->acquire->bounds);
}

void acquire_claim_since_params(struct acquire *a, const struct route *routes, size_t count,
                                struct store_params *params)
{
    bounds_params(&a->bounds, routes, count, false, node_database_now(a->node), params);
}

void acquire_beat_params(struct node *node, const struct route *routes, size_t count,
                         struct store_params *params)
{
    struct acquire *a = node->acquire;
    a->beat_from_start = bounds_quick(&a->bounds);
    a->beat_us = clock_monotonic_us();
    bounds_params(&a->bounds, routes, count, a->beat_from_start, node_database_now(node), params);
}

void acquire_beat(struct node *node, const int64_t due_us[WORK_KINDS])
{
    struct acquire *a = node->acquire;
    if (a->beat_from_start)
        bounds_looked(&a->bounds, a->beat_us, clock_monotonic_us());
    for (int work = 0; work < WORK_KINDS; work++)
        first_due(a, (enum work)work, due_us[work]);
}

static void on_asked(void *arg, const struct store_answer *answer)
{
    struct acquire *a = arg;
    struct node *node = a->node;
    if (a->step != STEP_ASK)
        return;
    if (a->asked_from_start)
        bounds_looked(&a->bounds, a->asked_us, clock_monotonic_us());
    if (answer->error != NULL) {
        acquire_failed(a, answer->error);
        return;
    }
    member_clock(node, row_time(answer->result, 0, WORK_KINDS), a->asked_boot_us);
    for (int work = 0; work < WORK_KINDS; work++)
        first_due(a, (enum work)work, row_time(answer->result, 0, work));
    wake_route_seen(node, row_int32(answer->result, 0, WORK_KINDS + 1));
    rate_next(node, row_time(answer->result, 0, WORK_KINDS + 2));
    busy_heard(node, row_bool(answer->result, 0, WORK_KINDS + 3));
    end_step(a);
}

void acquire_ask(struct node *node, const struct route *routes, size_t count)
{
    struct acquire *a = node->acquire;
    struct store_params params = {0};
    int32_t ids[NODE_CLAIM_ROUTES_MAX];
    acquire_begin(a, STEP_ASK, routes, count);
    a->asked_boot_us = clock_boot_us();
    a->asked_us = clock_monotonic_us();
    a->asked_from_start = bounds_may_look(&a->bounds, a->asked_us);
    for (size_t i = 0; i < count; i++)
        ids[i] = routes[i].id;
    params_int32s(&params, ids, count);
    bounds_params(&a->bounds, routes, count, a->asked_from_start, node_database_now(node), &params);
    store_call(node->work, SQL_WORK_NEXT, &params, 0, on_asked, a);
    store_params_free(&params);
}
