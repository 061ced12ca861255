/* The comparison of what is declared with what there is: see apply_plan.h. */
#include "coord/apply_plan.h"

#include "base/memory.h"
#include "coord/definition.h"
#include "store/store.h"

#include <stdlib.h>
#include <string.h>

#define RUNS_MAX 20000 /* of old schedules in one apply; triggers beyond it just stay due */

/* Keys of a trigger's definition that say when it fires; the others leave its next firing alone. */
static const char *const schedule_keys[] = {"cron",   "every",  "calendar_interval", "daily",
                                            "at",     "repeat", "timezone",          "start_at",
                                            "end_at", "dst",    "calendar",          NULL};

/* Those that begin the schedule anew, at the time of registration where there is no start_at: the
 * phase of `every` survives a new end or number of repeats, that of `calendar_interval` a new zone,
 * too. */
static const char *const anchor_keys[] = {"cron",     "every", "calendar_interval", "daily", "at",
                                          "start_at", NULL};
static const char *const clock_anchor_keys[] = {
    "cron", "every", "calendar_interval", "daily", "at", "start_at", "timezone", "dst", NULL};
static const char *const route_keys[] = {"handler", "priority", NULL};

/* --- what is declared ------------------------------------------------------------------------ */

void plan_begin(struct apply_plan *plan, struct manifest_set *set,
                const struct apply_options *options)
{
    size_t jobs = 0, triggers = 0;
    *plan = (struct apply_plan){.set = set, .options = options};
    for (size_t i = 0; i < set->count; i++) {
        jobs += set->manifests[i]->job_count;
        for (size_t j = 0; j < set->manifests[i]->job_count; j++)
            triggers += set->manifests[i]->jobs[j].trigger_count;
    }
    plan->jobs = mem_array(jobs, sizeof *plan->jobs);
    plan->triggers = mem_array(triggers, sizeof *plan->triggers);
    for (size_t i = 0; i < set->count; i++) {
        const struct manifest *manifest = set->manifests[i];
        for (size_t j = 0; j < manifest->job_count; j++) {
            const struct manifest_job *job = &manifest->jobs[j];
            struct plan_job *planned = &plan->jobs[plan->job_count++];
            *planned = (struct plan_job){
                .manifest = manifest, .job = job, .first_trigger = plan->trigger_count};
            for (size_t k = 0; k < job->trigger_count; k++)
                plan->triggers[plan->trigger_count++] = (struct plan_trigger){
                    .job = planned, .trigger = &job->triggers[k], .previous_at_us = MANIFEST_UNSET};
        }
    }
}

void plan_free(struct apply_plan *plan)
{
    for (size_t i = 0; i < plan->job_count; i++)
        manifest_differences_free(&plan->jobs[i].differences);
    for (size_t i = 0; i < plan->trigger_count; i++)
        manifest_differences_free(&plan->triggers[i].differences);
    free(plan->jobs);
    free(plan->triggers);
    free(plan->found_jobs);
    free(plan->found_triggers);
    free(plan->found_by_id);
    free(plan->runs);
    PQclear(plan->job_rows);
    PQclear(plan->trigger_rows);
    *plan = (struct apply_plan){0};
}

/* --- what there is --------------------------------------------------------------------------- */

static int compare_job_names(const void *a, const void *b)
{
    return strcmp(((const struct found_job *)a)->name, ((const struct found_job *)b)->name);
}

static int compare_trigger_names(const void *a, const void *b)
{
    return strcmp(((const struct found_trigger *)a)->name, ((const struct found_trigger *)b)->name);
}

static struct found_job *find_job(const struct apply_plan *plan, const char *name)
{
    struct found_job wanted = {.name = name};
    return bsearch(&wanted, plan->found_jobs, plan->found_job_count, sizeof wanted,
                   compare_job_names);
}

static struct found_trigger *find_trigger(const struct apply_plan *plan, const char *name)
{
    struct found_trigger wanted = {.name = name};
    return bsearch(&wanted, plan->found_triggers, plan->found_trigger_count, sizeof wanted,
                   compare_trigger_names);
}

void plan_take_jobs(struct apply_plan *plan, PGresult *rows)
{
    plan->job_rows = rows;
    plan->found_job_count = (size_t)PQntuples(rows);
    plan->found_jobs = mem_array(plan->found_job_count, sizeof *plan->found_jobs);
    for (int i = 0; i < PQntuples(rows); i++)
        plan->found_jobs[i] = (struct found_job){
            .id = row_int32(rows, i, 0),
            .name = row_text(rows, i, 1),
            .source = row_text(rows, i, 2),
            .handler = row_text(rows, i, 3),
            .priority = row_int16(rows, i, 4),
            .definition = row_text(rows, i, 5),
            .laned = row_bool(rows, i, 6),
        };
    if (plan->found_job_count > 0)
        qsort(plan->found_jobs, plan->found_job_count, sizeof *plan->found_jobs, compare_job_names);
}

static int64_t time_or_unset(const PGresult *rows, int row, int column)
{
    int64_t wall_us = row_time(rows, row, column);
    return wall_us == STORE_NULL_TIME ? MANIFEST_UNSET : wall_us;
}

void plan_take_triggers(struct apply_plan *plan, PGresult *rows)
{
    plan->trigger_rows = rows;
    plan->found_trigger_count = (size_t)PQntuples(rows);
    plan->found_triggers = mem_array(plan->found_trigger_count, sizeof *plan->found_triggers);
    for (int i = 0; i < PQntuples(rows); i++)
        plan->found_triggers[i] = (struct found_trigger){
            .id = row_int32(rows, i, 0),
            .name = row_text(rows, i, 1),
            .job = row_text(rows, i, 2),
            .source = row_text(rows, i, 3),
            .priority = row_null(rows, i, 4) ? MANIFEST_UNSET : row_int16(rows, i, 4),
            .start_at_us = row_time(rows, i, 5),
            .definition = row_text(rows, i, 6),
            .state = row_char(rows, i, 7),
            .next_at_us = time_or_unset(rows, i, 8),
            .laned = row_bool(rows, i, 9),
            .previous_at_us = MANIFEST_UNSET,
        };
    if (plan->found_trigger_count > 0)
        qsort(plan->found_triggers, plan->found_trigger_count, sizeof *plan->found_triggers,
              compare_trigger_names);
}

/* --- the difference -------------------------------------------------------------------------- */

static void compare_job(struct apply_plan *plan, struct plan_job *job)
{
    const char *source = job->manifest->source;
    job->was = find_job(plan, job->job->name);
    if (job->was != NULL && strcmp(job->was->source, source) != 0) {
        manifest_problem_at(plan->set, job->manifest, job->job->offset,
                            "job \"%.80s\" belongs to source \"%.80s\", this manifest's is "
                            "\"%.80s\"; rename the job, or remove it there first",
                            job->job->name, job->was->source, source);
        return;
    }
    if (job->was != NULL)
        job->was->declared = true;
    job->changed = job->was == NULL || strcmp(job->was->definition, job->job->definition) != 0;
    if (job->changed)
        manifest_compare(&job->differences, job->was != NULL ? job->was->definition : "{}",
                         job->job->definition);
    job->moved = job->was != NULL && manifest_differs(&job->differences, route_keys);
    plan->anything |= job->changed;
}

/* A trigger may move from one job of a source to another, if both are spoken of. */
static bool may_take(struct apply_plan *plan, const struct plan_trigger *trigger,
                     const struct found_trigger *was)
{
    const struct manifest *manifest = trigger->job->manifest;
    if (strcmp(was->source, manifest->source) != 0) {
        manifest_problem_at(plan->set, manifest, trigger->trigger->offset,
                            "trigger \"%.80s\" belongs to job \"%.80s\" of source \"%.80s\", this "
                            "manifest's is \"%.80s\"; rename the trigger",
                            was->name, was->job, was->source, manifest->source);
        return false;
    }
    if (strcmp(was->job, trigger->job->job->name) != 0 && find_job(plan, was->job) == NULL) {
        manifest_problem_at(plan->set, manifest, trigger->trigger->offset,
                            "trigger \"%.80s\" belongs to job \"%.80s\", which is not declared "
                            "here; declare that job too, or rename the trigger",
                            was->name, was->job);
        return false;
    }
    return true;
}

static void compare_trigger(struct apply_plan *plan, struct plan_trigger *trigger)
{
    struct found_trigger *was = find_trigger(plan, trigger->trigger->name);
    if (was != NULL && !may_take(plan, trigger, was))
        return;
    trigger->was = was;
    if (was != NULL) {
        was->declared = true;
        was->planned = trigger;
    }
    trigger->changed = was == NULL || strcmp(was->definition, trigger->trigger->definition) != 0;
    trigger->reread = !trigger->changed && trigger->job->changed;
    if (trigger->changed)
        manifest_compare(&trigger->differences, was != NULL ? was->definition : "{}",
                         trigger->trigger->definition);
    trigger->reschedule = was == NULL || manifest_differs(&trigger->differences, schedule_keys);
    if (trigger->job->was != NULL && manifest_differs(&trigger->differences, route_keys))
        trigger->job->moved = true;
    plan->anything |= trigger->changed;
}

int plan_compare(struct apply_plan *plan)
{
    for (size_t i = 0; i < plan->job_count; i++)
        compare_job(plan, &plan->jobs[i]);
    for (size_t i = 0; i < plan->trigger_count; i++)
        compare_trigger(plan, &plan->triggers[i]);
    if (plan->set->problems.count > 0)
        return -1;
    for (size_t i = 0; i < plan->found_job_count; i++)
        plan->anything |= !plan->found_jobs[i].declared;
    for (size_t i = 0; i < plan->found_trigger_count; i++) {
        struct found_trigger *found = &plan->found_triggers[i];
        const struct found_job *job = found->declared ? NULL : find_job(plan, found->job);
        found->job_goes = job != NULL && !job->declared;
        plan->anything |= !found->declared;
    }
    return 0;
}

/* --- what is locked -------------------------------------------------------------------------- */

static int compare_ids(const void *a, const void *b)
{
    const struct found_trigger *left = *(struct found_trigger *const *)a;
    const struct found_trigger *right = *(struct found_trigger *const *)b;
    return (left->id > right->id) - (left->id < right->id);
}

static struct found_trigger *find_by_id(const struct apply_plan *plan, int32_t id)
{
    struct found_trigger wanted = {.id = id}, *key = &wanted;
    struct found_trigger **at = bsearch(&key, plan->found_by_id, plan->found_trigger_count,
                                        sizeof *plan->found_by_id, compare_ids);
    return at != NULL ? *at : NULL;
}

void plan_take_due(struct apply_plan *plan, const PGresult *rows)
{
    size_t count = plan->found_trigger_count;
    plan->found_by_id = mem_array(count, sizeof *plan->found_by_id);
    for (size_t i = 0; i < count; i++)
        plan->found_by_id[i] = &plan->found_triggers[i];
    qsort(plan->found_by_id, count, sizeof *plan->found_by_id, compare_ids);
    for (int i = 0; i < PQntuples(rows); i++) {
        struct found_trigger *found = find_by_id(plan, row_int32(rows, i, 0));
        found->locked = true;
        found->state = row_char(rows, i, 1);
        found->next_at_us = time_or_unset(rows, i, 2);
        found->previous_at_us = time_or_unset(rows, i, 3);
        found->paused = row_bool(rows, i, 4);
        int64_t clock_us = row_time(rows, i, 5);
        if (clock_us > plan->clock_us)
            plan->clock_us = clock_us;
        found->pass = (struct misfire_pass){row_time(rows, i, 6), time_or_unset(rows, i, 7)};
    }
}

/* --- what was due ---------------------------------------------------------------------------- */

static bool is_due(const struct apply_plan *plan, const struct found_trigger *was)
{
    return was->locked && (was->state == 'W' || was->state == 'B') &&
           was->next_at_us != MANIFEST_UNSET && was->next_at_us <= plan->clock_us;
}

size_t plan_overdue(const struct apply_plan *plan, int32_t *ids)
{
    size_t count = 0;
    for (size_t i = 0; i < plan->trigger_count; i++) {
        const struct plan_trigger *planned = &plan->triggers[i];
        const struct found_trigger *was = planned->was;
        if (was != NULL && planned->reschedule && is_due(plan, was) && was->state == 'W' &&
            !was->paused)
            ids[count++] = was->id;
    }
    return count;
}

static void add_runs(struct apply_plan *plan, const struct plan_trigger *planned,
                     const struct misfire_decision *decision)
{
    size_t count = (size_t)decision->run_count;
    if (count == 0)
        return;
    plan->runs = mem_resize(plan->runs, plan->run_count + count, sizeof *plan->runs);
    for (size_t i = 0; i < count; i++)
        plan->runs[plan->run_count++] =
            (struct plan_run){planned, decision->runs[i].scheduled_us, decision->runs[i].missed,
                              decision->runs[i].made_up};
}

/*
 * The old schedule holds up to the moment of the apply. A node cannot evaluate it any more after
 * that, so what fell due and was not fired is decided here, as a node would have.
 */
static void settle(struct apply_plan *plan, struct found_trigger *was, const struct trigger *old,
                   struct misfire_decision *decision)
{
    struct plan_trigger *planned = was->planned;
    if (old->schedule == NULL || plan->run_count >= RUNS_MAX)
        return;
    misfire_decide_passing(old->schedule, &old->rule, was->next_at_us, &was->pass, plan->clock_us,
                           decision);
    add_runs(plan, planned, decision);
    planned->settled = true;
    planned->fired = decision->run_count;
    planned->missed = decision->missed;
    planned->misfired = decision->made_up_count;
    if (decision->run_count > 0)
        planned->previous_at_us = was->previous_at_us =
            decision->runs[decision->run_count - 1].scheduled_us;
}

void plan_take_overdue(struct apply_plan *plan, const PGresult *rows)
{
    int64_t threshold_us = plan->options->misfire_threshold_us;
    struct misfire_decision *decision = mem_alloc(sizeof *decision);
    for (int i = 0; i < PQntuples(rows); i++) {
        struct trigger *old = trigger_from_row(
            rows, i, plan->set->zones, threshold_us > 0 ? threshold_us : MISFIRE_THRESHOLD_US);
        settle(plan, find_by_id(plan, old->id), old, decision);
        trigger_unref(old);
    }
    free(decision);
}

/* --- next firings ---------------------------------------------------------------------------- */

static int64_t start_of(const struct apply_plan *plan, const struct plan_trigger *planned)
{
    const struct manifest_trigger *trigger = planned->trigger;
    bool by_clock = trigger->kind == SCHEDULE_CRON || trigger->kind == SCHEDULE_DAILY;
    const char *const *keys = by_clock ? clock_anchor_keys : anchor_keys;
    if (trigger->start_at_us != MANIFEST_UNSET)
        return trigger->start_at_us;
    if (planned->was == NULL || manifest_differs(&planned->differences, keys))
        return plan->clock_us;
    return planned->was->start_at_us;
}

/* The first occurrence from now on, and none that was fired already. */
static int first_occurrence(struct apply_plan *plan, const struct plan_trigger *planned,
                            int64_t *ret_next_us, struct rota_error *error)
{
    struct schedule_spec spec = manifest_schedule(planned->trigger, planned->start_at_us);
    int64_t after_us = plan->clock_us - 1;
    *ret_next_us = MANIFEST_UNSET;
    if (spec.end_at_us != SCHEDULE_UNSET && spec.end_at_us < spec.start_at_us)
        return 0; /* registered after its end */
    struct schedule *schedule = schedule_new(&spec, plan->set->zones, error);
    if (schedule == NULL)
        return error_prefix(error, "trigger \"%s\"", planned->trigger->name);
    if (planned->was != NULL && planned->was->previous_at_us > after_us)
        after_us = planned->was->previous_at_us;
    int64_t next_us = schedule_next(schedule, after_us);
    schedule_free(schedule);
    if (next_us != SCHEDULE_NONE)
        *ret_next_us = next_us;
    return 0;
}

/* What is due but paused, or blocked, is not ours to decide: it stays due, the new schedule
 * follows. */
static bool stays_due(const struct apply_plan *plan, const struct plan_trigger *planned)
{
    return planned->was != NULL && !planned->settled && is_due(plan, planned->was);
}

static int schedule_one(struct apply_plan *plan, struct plan_trigger *planned,
                        struct rota_error *error)
{
    if (planned->was != NULL && !planned->was->locked) { /* deleted since it was read */
        planned->was = NULL;
        planned->changed = true;
    }
    struct found_trigger *was = planned->was;
    bool in_error = was != NULL && was->state == 'E'; /* what was wrong may be right now */
    planned->start_at_us = start_of(plan, planned);
    planned->reschedule |= was == NULL || in_error;
    if (!planned->reschedule)
        return 0;
    if (stays_due(plan, planned))
        planned->next_at_us = was->next_at_us;
    else if (first_occurrence(plan, planned, &planned->next_at_us, error) != 0)
        return -1;
    bool over = planned->next_at_us == MANIFEST_UNSET;
    planned->state = over ? 'C' : 'W'; /* blocked: it tries its lane again */
    return 0;
}

int plan_schedule(struct apply_plan *plan, struct rota_error *error)
{
    for (size_t i = 0; i < plan->trigger_count; i++) {
        struct plan_trigger *planned = &plan->triggers[i];
        if ((planned->changed || planned->reread) && schedule_one(plan, planned, error) != 0)
            return -1;
    }
    return 0;
}

int plan_priority(const struct plan_trigger *trigger)
{
    int64_t own = trigger->trigger->priority;
    return (int)(own != MANIFEST_UNSET ? own : trigger->job->job->priority);
}
