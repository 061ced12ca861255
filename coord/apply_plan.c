/* The comparison of what is declared with what there is: see apply_plan.h. */
#include "coord/apply_plan.h"

#include "base/memory.h"
#include "coord/apply_calendar.h"
#include "coord/apply_told.h"
#include "store/store.h"

#include <stdlib.h>
#include <string.h>

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
                plan->triggers[plan->trigger_count++] =
                    (struct plan_trigger){.job = planned,
                                          .trigger = &job->triggers[k],
                                          .due.previous_at_us = MANIFEST_UNSET};
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
    PQclear(plan->told_rows);
    plan_free_calendars(plan);
    free(plan->moves);
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

bool plan_job_goes(const struct apply_plan *plan, const char *name)
{
    const struct found_job *found = find_job(plan, name);
    return found != NULL && !found->declared;
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
            .next_at_us = plan_time(rows, i, 8),
            .laned = row_bool(rows, i, 9),
            .calendar = row_text(rows, i, 10),
            .declared = find_job(plan, row_text(rows, i, 2)) == NULL,
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
    plan_check_calendars(plan);
    plan_check_told(plan);
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
                            struct plan_due *due, struct rota_error *error)
{
    struct schedule_spec spec = manifest_schedule(planned->trigger, planned->start_at_us);
    int64_t after_us = plan->clock_us - 1;
    due->next_at_us = due->final_at_us = MANIFEST_UNSET;
    if (spec.end_at_us != SCHEDULE_UNSET && spec.end_at_us < spec.start_at_us)
        return 0; /* registered after its end */
    struct schedule *schedule = schedule_new(&spec, plan->set->zones, error);
    if (schedule == NULL)
        return error_prefix(error, "trigger \"%s\"", planned->trigger->name);
    if (planned->was != NULL && planned->was->previous_at_us > after_us)
        after_us = planned->was->previous_at_us;
    plan_next(schedule, plan_find_calendar(plan, planned->trigger->calendar), after_us, due);
    schedule_free(schedule);
    return 0;
}

/* It was in error and will be, as its calendar is broken, which is not declared here. */
static bool stays_in_error(const struct apply_plan *plan, const struct plan_trigger *planned)
{
    const struct plan_calendar *calendar = plan_find_calendar(plan, planned->trigger->calendar);
    return !planned->changed && calendar != NULL && calendar->calendar == NULL;
}

static int schedule_one(struct apply_plan *plan, struct plan_trigger *planned,
                        struct rota_error *error)
{
    if (planned->was != NULL && !planned->was->locked) { /* deleted since it was read */
        planned->was = NULL;
        planned->changed = true;
    }
    struct found_trigger *was = planned->was;
    struct plan_due *due = &planned->due;
    bool in_error = was != NULL && was->state == 'E'; /* what was wrong may be right now */
    planned->start_at_us = start_of(plan, planned);
    planned->reschedule |= was == NULL || (in_error && !stays_in_error(plan, planned));
    if (!planned->reschedule)
        return 0;
    if (first_occurrence(plan, planned, due, error) != 0)
        return -1;
    if (was != NULL && plan_stays_due(plan, was, due))
        due->next_at_us = was->next_at_us;
    due->state = due->next_at_us == MANIFEST_UNSET ? 'C' : 'W'; /* a blocked one tries again */
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
