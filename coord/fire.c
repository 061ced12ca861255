/* What becomes of locked triggers: see fire.h. The rules of lateness are misfire_decide()'s. */
#include "coord/fire.h"

#include "base/clock.h"
#include "base/memory.h"
#include "coord/trigger_state.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct fire *fire_new(int64_t catch_up_rate)
{
    struct fire *fire = mem_alloc(sizeof *fire);
    fire->pace_us = US_PER_SECOND / catch_up_rate;
    return fire;
}

static void drop_runs(struct fire_run *runs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        trigger_unref(runs[i].trigger);
        job_unref(runs[i].job);
    }
}

void fire_clear(struct fire *fire)
{
    drop_runs(fire->runs, fire->run_count);
    drop_runs(fire->later, fire->later_count);
    for (size_t i = 0; i < fire->trigger_count; i++)
        free(fire->triggers[i].error);
    fire->run_count = fire->later_count = fire->trigger_count = 0;
    fire->laned = fire->rated = false;
}

void fire_free(struct fire *fire)
{
    if (fire == NULL)
        return;
    fire_clear(fire);
    free(fire->later);
    free(fire);
}

static struct fire_run run_of(const struct fire_input *input, const struct misfire_run *wanted,
                              int64_t previous_us)
{
    return (struct fire_run){.trigger = trigger_ref(input->trigger),
                             .job = job_ref(input->job),
                             .route = input->route,
                             .scheduled_us = wanted->scheduled_us,
                             .previous_us = previous_us,
                             .missed = wanted->missed,
                             .made_up = wanted->made_up,
                             .lane = input->lane != NULL ? input->lane->lane : LANE_NONE};
}

/*
 * One occurrence becomes a run: now, or in pending. Made-up runs wait there, paced for the whole
 * fleet, so that a long outage does not end in a storm; and so do runs of a job with a rate. False:
 * it belongs to a lane and cannot start now, so it stays with its trigger; unless what follows it
 * was decided together with it.
 */
static bool add_run(struct fire *fire, const struct fire_input *input,
                    const struct misfire_run *wanted, int64_t previous_us, int *room)
{
    bool rated = input->job->rated;
    bool start = !wanted->made_up && !rated && *room > 0 && fire->run_count < NODE_CLAIM_MAX &&
                 (input->lane == NULL || !lane_full(input->lane));
    bool passing =
        input->pass.until_us != SCHEDULE_UNSET && wanted->scheduled_us < input->pass.until_us;
    if (!start && !wanted->made_up && !rated && input->lane != NULL && !passing)
        return false;
    struct fire_run run = run_of(input, wanted, previous_us);
    if (start) {
        (*room)--;
        if (input->lane != NULL)
            run.lane_slot = lane_slot(input->lane);
        fire->runs[fire->run_count++] = run;
        return true;
    }
    if (fire->later_count % 64 == 0)
        fire->later = mem_resize(fire->later, fire->later_count + 64, sizeof *fire->later);
    fire->later[fire->later_count++] = run;
    fire->rated = fire->rated || rated;
    return true;
}

static void advance(struct fire *fire, const struct fire_input *input, int *room,
                    struct fire_advance *advance)
{
    struct misfire_decision *decision = &fire->decision;
    misfire_decide_passing(input->trigger->schedule, &input->trigger->rule, input->next_us,
                           &input->pass, input->now_us, decision);
    int64_t previous = input->previous_us == STORE_NULL_TIME ? 0 : input->previous_us;
    advance->next_us = decision->next_us == SCHEDULE_NONE ? STORE_NULL_TIME : decision->next_us;
    advance->missed = decision->missed;
    advance->misfired = decision->made_up_count;
    for (int i = 0; i < decision->run_count; i++) {
        const struct misfire_run *wanted = &decision->runs[i];
        if (!add_run(fire, input, wanted, previous, room)) {
            advance->next_us = wanted->scheduled_us;
            advance->blocked = lane_full(input->lane);
            return;
        }
        previous = advance->previous_us = wanted->scheduled_us;
        advance->fired++;
    }
}

void fire_decide(struct fire *fire, const struct fire_input *input, int *room)
{
    if (fire->trigger_count == NODE_CLAIM_MAX || fire->later_count >= FIRE_LATER_MAX)
        return;
    bool now = input->lane != NULL && !input->job->rated; /* it needs a place in the lane now */
    if (now && !lane_full(input->lane) && *room <= 0)
        return; /* it stays due */
    struct fire_advance *made = &fire->triggers[fire->trigger_count++];
    *made = (struct fire_advance){
        .trigger_id = input->trigger->id, .place = input->place, .previous_us = STORE_NULL_TIME};
    fire->laned = fire->laned || input->lane != NULL;
    if (input->trigger->schedule == NULL) {
        made->next_us = STORE_NULL_TIME;
        made->error = mem_string(input->trigger->error);
    } else if (now && lane_full(input->lane)) {
        made->next_us = input->next_us;
        made->blocked = true;
    } else {
        advance(fire, input, room, made);
    }
}

static int32_t clip(int64_t number)
{
    return number < INT32_MAX ? (int32_t)number : INT32_MAX;
}

static enum trigger_event event_of(const struct fire_advance *advance)
{
    if (advance->error != NULL)
        return TRIGGER_UNEVALUABLE;
    if (advance->blocked)
        return TRIGGER_LANE_FULL;
    return advance->next_us == STORE_NULL_TIME ? TRIGGER_ENDED : TRIGGER_FIRED;
}

static void advance_params(const struct fire *fire, struct store_params *params)
{
    size_t n = fire->trigger_count;
    int32_t ids[NODE_CLAIM_MAX];
    int64_t next[NODE_CLAIM_MAX], previous[NODE_CLAIM_MAX], fired[NODE_CLAIM_MAX],
        missed[NODE_CLAIM_MAX], misfired[NODE_CLAIM_MAX];
    const char *states[NODE_CLAIM_MAX], *errors[NODE_CLAIM_MAX];
    for (size_t i = 0; i < n; i++) {
        const struct fire_advance *a = &fire->triggers[i];
        ids[i] = a->trigger_id;
        next[i] = a->next_us;
        previous[i] = a->previous_us;
        fired[i] = a->fired;
        missed[i] = a->missed;
        misfired[i] = a->misfired;
        errors[i] = a->error;
        states[i] = trigger_moved(TRIGGER_WAITING, event_of(a));
    }
    params_int32s(params, ids, n);
    params_times(params, next, n);
    params_texts(params, states, n);
    params_times(params, previous, n);
    params_int64s(params, fired, n);
    params_int64s(params, missed, n);
    params_int64s(params, misfired, n);
    params_texts(params, errors, n);
}

static void run_params(const struct fire_run *runs, size_t n, bool later,
                       struct store_params *params)
{
    int32_t *ids = mem_array(4 * n, sizeof *ids), *jobs = ids + n, *routes = jobs + n,
            *missed = routes + n;
    int64_t *scheduled = mem_array(n, sizeof *scheduled);
    bool *made_up = mem_array(n, sizeof *made_up);
    for (size_t i = 0; i < n; i++) {
        ids[i] = runs[i].trigger->id;
        jobs[i] = runs[i].job->id;
        routes[i] = runs[i].route;
        missed[i] = clip(runs[i].missed);
        scheduled[i] = runs[i].scheduled_us;
        made_up[i] = runs[i].made_up;
    }
    params_int32s(params, ids, n);
    params_int32s(params, jobs, n);
    params_int32s(params, routes, n);
    params_times(params, scheduled, n);
    params_int32s(params, missed, n);
    if (later)
        params_bools(params, made_up, n);
    free(ids);
    free(scheduled);
    free(made_up);
}

static void lane_params(const struct fire *fire, struct store_params *params)
{
    size_t most = fire->later_count > fire->run_count ? fire->later_count : fire->run_count;
    int64_t *lanes = mem_array(most, sizeof *lanes);
    int32_t slots[NODE_CLAIM_MAX];
    for (size_t i = 0; i < fire->run_count; i++) {
        lanes[i] = fire->runs[i].lane;
        slots[i] = fire->runs[i].lane_slot;
    }
    params_bool(params, fire->laned);
    params_int64s(params, lanes, fire->laned ? fire->run_count : 0);
    params_int32s(params, slots, fire->laned ? fire->run_count : 0);
    for (size_t i = 0; i < fire->later_count; i++)
        lanes[i] = fire->later[i].lane;
    params_int64s(params, lanes, fire->later_count);
    free(lanes);
}

static void rate_params(const struct fire *fire, struct store_params *params)
{
    bool *rated = mem_array(fire->later_count, sizeof *rated);
    for (size_t i = 0; i < fire->later_count; i++)
        rated[i] = fire->later[i].job->rated;
    params_bools(params, rated, fire->later_count);
    free(rated);
}

static void place_params(const struct fire *fire, struct store_params *params)
{
    uint64_t places[NODE_CLAIM_MAX];
    for (size_t i = 0; i < fire->trigger_count; i++)
        places[i] = fire->triggers[i].place;
    params_places(params, places, fire->trigger_count);
}

void fire_params(const struct fire *fire, int32_t incarnation, struct store_params *params)
{
    params_int32(params, incarnation);
    advance_params(fire, params);
    run_params(fire->runs, fire->run_count, false, params);
    run_params(fire->later, fire->later_count, true, params);
    params_int64(params, fire->pace_us);
    lane_params(fire, params);
    rate_params(fire, params);
    place_params(fire, params);
}

size_t fire_take(struct fire *fire, struct node *node, const PGresult *result, struct run **runs)
{
    size_t count = fire->run_count, ids_count = 0;
    if (count == 0)
        return 0;
    int64_t *ids = row_int64s(result, 0, 1, &ids_count);
    assert(PQntuples(result) == 1 && ids_count == count);
    struct receipt *receipt = runs_receipt(node->runs, row_int64(result, 0, 0), (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        struct fire_run *from = &fire->runs[i];
        struct run *run = runs_add(node->runs, receipt, (uint32_t)i, ids[i]);
        run->job = job_ref(from->job);
        run->trigger = trigger_ref(from->trigger);
        run->job_id = from->job->id;
        run->trigger_id = from->trigger->id;
        run->due_us = run->scheduled_us = from->scheduled_us;
        run->previous_us = from->previous_us;
        run->missed = from->missed;
        run->laned = fire->laned;
        runs[i] = run;
    }
    free(ids);
    return count;
}
