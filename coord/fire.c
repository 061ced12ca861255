/* What becomes of locked triggers: see fire.h. The rules of lateness are misfire_decide()'s. */
#include "coord/fire.h"

#include "base/clock.h"
#include "base/memory.h"

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
}

void fire_free(struct fire *fire)
{
    if (fire == NULL)
        return;
    fire_clear(fire);
    free(fire->later);
    free(fire);
}

/* Made-up runs wait in pending, paced for the whole fleet, so that a long outage does not end in a
 * storm. */
static void add_run(struct fire *fire, const struct fire_input *input,
                    const struct misfire_run *wanted, int64_t previous_us, int *room)
{
    struct fire_run run = {.trigger = trigger_ref(input->trigger),
                           .job = job_ref(input->job),
                           .route = input->route,
                           .scheduled_us = wanted->scheduled_us,
                           .previous_us = previous_us,
                           .missed = wanted->missed};
    if (!wanted->made_up && *room > 0 && fire->run_count < NODE_CLAIM_MAX) {
        (*room)--;
        fire->runs[fire->run_count++] = run;
        return;
    }
    run.made_up = wanted->made_up;
    if (fire->later_count % 64 == 0)
        fire->later = mem_resize(fire->later, fire->later_count + 64, sizeof *fire->later);
    fire->later[fire->later_count++] = run;
}

void fire_decide(struct fire *fire, const struct fire_input *input, int *room)
{
    if (fire->trigger_count == NODE_CLAIM_MAX || fire->later_count >= FIRE_LATER_MAX)
        return;
    struct fire_advance *advance = &fire->triggers[fire->trigger_count++];
    *advance =
        (struct fire_advance){.trigger_id = input->trigger->id, .previous_us = STORE_NULL_TIME};
    if (input->trigger->schedule == NULL) {
        advance->next_us = STORE_NULL_TIME;
        advance->error = mem_string(input->trigger->error);
        return;
    }
    struct misfire_decision *decision = &fire->decision;
    misfire_decide(input->trigger->schedule, &input->trigger->rule, input->next_us, input->now_us,
                   decision);
    int64_t previous = input->previous_us == STORE_NULL_TIME ? 0 : input->previous_us;
    for (int i = 0; i < decision->run_count; i++) {
        add_run(fire, input, &decision->runs[i], previous, room);
        previous = decision->runs[i].scheduled_us;
        advance->previous_us = previous;
    }
    advance->next_us = decision->next_us == SCHEDULE_NONE ? STORE_NULL_TIME : decision->next_us;
    advance->fired = decision->run_count;
    advance->missed = decision->missed;
    advance->misfired = decision->made_up_count;
}

static int32_t clip(int64_t number)
{
    return number < INT32_MAX ? (int32_t)number : INT32_MAX;
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
        states[i] = a->error != NULL ? "E" : a->next_us == STORE_NULL_TIME ? "C" : "W";
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

void fire_params(const struct fire *fire, int32_t incarnation, struct store_params *params)
{
    params_int32(params, incarnation);
    advance_params(fire, params);
    run_params(fire->runs, fire->run_count, false, params);
    run_params(fire->later, fire->later_count, true, params);
    params_int64(params, fire->pace_us);
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
        runs[i] = run;
    }
    free(ids);
    return count;
}
