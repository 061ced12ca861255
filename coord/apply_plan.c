/* The comparison of what is declared with what there is: see apply_plan.h. */
#include "coord/apply_plan.h"

#include "base/memory.h"
#include "store/store.h"

#include <stdlib.h>
#include <string.h>

/* Keys of a trigger's definition that say when it fires; the others leave its next firing alone. */
static const char *const schedule_keys[] = {"cron",     "every",  "repeat", "at", "timezone",
                                            "start_at", "end_at", "dst",    NULL};

/* Those that begin the schedule anew, at the time of registration where there is no start_at: the
 * phase of `every` survives a new end or number of repeats. */
static const char *const anchor_keys[] = {"cron", "every", "at", "start_at", NULL};
static const char *const cron_anchor_keys[] = {"cron",     "every", "at", "start_at",
                                               "timezone", "dst",   NULL};
static const char *const route_keys[] = {"handler", "priority", NULL};

/* --- what is declared ---------------------------------------------------------------------------
 */

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
                    (struct plan_trigger){.job = planned, .trigger = &job->triggers[k]};
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
    PQclear(plan->job_rows);
    PQclear(plan->trigger_rows);
    *plan = (struct apply_plan){0};
}

/* --- what there is ------------------------------------------------------------------------------
 */

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
            .previous_at_us = MANIFEST_UNSET,
        };
    if (plan->found_trigger_count > 0)
        qsort(plan->found_triggers, plan->found_trigger_count, sizeof *plan->found_triggers,
              compare_trigger_names);
}

/* --- the difference -----------------------------------------------------------------------------
 */

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
    if (was != NULL)
        was->declared = true;
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
    for (size_t i = 0; i < plan->found_trigger_count; i++)
        plan->anything |= !plan->found_triggers[i].declared;
    return 0;
}

/* --- next firings -------------------------------------------------------------------------------
 */

static int compare_ids(const void *a, const void *b)
{
    const struct found_trigger *left = *(struct found_trigger *const *)a;
    const struct found_trigger *right = *(struct found_trigger *const *)b;
    return (left->id > right->id) - (left->id < right->id);
}

void plan_take_due(struct apply_plan *plan, const PGresult *rows)
{
    size_t count = plan->found_trigger_count;
    struct found_trigger **by_id = mem_array(count, sizeof *by_id);
    for (size_t i = 0; i < count; i++)
        by_id[i] = &plan->found_triggers[i];
    if (count > 0)
        qsort(by_id, count, sizeof *by_id, compare_ids);
    for (int i = 0; i < PQntuples(rows); i++) {
        struct found_trigger wanted = {.id = row_int32(rows, i, 0)}, *key = &wanted;
        struct found_trigger **at = bsearch(&key, by_id, count, sizeof *by_id, compare_ids);
        if (at == NULL)
            continue;
        (*at)->locked = true;
        (*at)->state = row_char(rows, i, 1);
        (*at)->next_at_us = time_or_unset(rows, i, 2);
        (*at)->previous_at_us = time_or_unset(rows, i, 3);
        int64_t clock_us = row_time(rows, i, 4);
        if (clock_us > plan->clock_us)
            plan->clock_us = clock_us;
    }
    free(by_id);
}

static struct schedule_spec spec_of(const struct plan_trigger *planned)
{
    const struct manifest_trigger *trigger = planned->trigger;
    struct schedule_spec spec = SCHEDULE_SPEC(trigger->kind);
    spec.cron = trigger->cron;
    spec.timezone = trigger->timezone;
    spec.seed = trigger->name;
    if (trigger->every_us != MANIFEST_UNSET)
        spec.every_us = trigger->every_us;
    if (trigger->repeat != MANIFEST_UNSET)
        spec.repeat = trigger->repeat;
    if (trigger->at_us != MANIFEST_UNSET)
        spec.at_us = trigger->at_us;
    spec.start_at_us = planned->start_at_us;
    if (trigger->end_at_us != MANIFEST_UNSET)
        spec.end_at_us = trigger->end_at_us;
    spec.gap = (enum zone_gap)trigger->effective_gap;
    spec.overlap = (enum zone_overlap)trigger->effective_overlap;
    return spec;
}

static int64_t start_of(const struct apply_plan *plan, const struct plan_trigger *planned)
{
    const struct manifest_trigger *trigger = planned->trigger;
    const char *const *keys = trigger->kind == SCHEDULE_CRON ? cron_anchor_keys : anchor_keys;
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
    struct schedule_spec spec = spec_of(planned);
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

/* An occurrence of the old schedule that is due was promised: it fires, the new schedule follows.
 */
static bool still_due(const struct apply_plan *plan, const struct found_trigger *was)
{
    return was != NULL && (was->state == 'W' || was->state == 'B') &&
           was->next_at_us != MANIFEST_UNSET && was->next_at_us <= plan->clock_us;
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
    if (still_due(plan, was))
        planned->next_at_us = was->next_at_us;
    else if (first_occurrence(plan, planned, &planned->next_at_us, error) != 0)
        return -1;
    bool over = planned->next_at_us == MANIFEST_UNSET;
    planned->state = over ? 'C' : was != NULL && was->state == 'B' ? 'B' : 'W';
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

/* --- telling ------------------------------------------------------------------------------------
 */

/* There is room: plan_diff() has seen to it. The differences go over. */
static struct apply_change *add_change(struct apply_diff *diff, enum apply_action action,
                                       const char *name, const char *source,
                                       struct manifest_differences *differences)
{
    struct apply_change *change = &diff->changes[diff->count++];
    *change = (struct apply_change){.action = action,
                                    .name = mem_string(name),
                                    .source = mem_string(source),
                                    .next_at_us = MANIFEST_UNSET};
    if (differences != NULL) {
        change->differences = *differences;
        *differences = (struct manifest_differences){0};
    }
    return change;
}

static void diff_trigger(struct apply_diff *diff, struct plan_trigger *planned)
{
    if (!planned->changed) {
        diff->triggers_unchanged++;
        return;
    }
    struct apply_change *change =
        add_change(diff, planned->was == NULL ? APPLY_CREATE : APPLY_CHANGE, planned->trigger->name,
                   planned->job->manifest->source, &planned->differences);
    change->trigger = true;
    change->job = mem_string(planned->job->job->name);
    change->scheduled = planned->reschedule;
    if (planned->reschedule)
        change->next_at_us = planned->next_at_us;
}

static void diff_removed(struct apply_plan *plan, struct apply_diff *diff)
{
    for (size_t i = 0; i < plan->found_job_count; i++)
        if (!plan->found_jobs[i].declared)
            add_change(diff, APPLY_REMOVE, plan->found_jobs[i].name, plan->found_jobs[i].source,
                       NULL);
    for (size_t i = 0; i < plan->found_trigger_count; i++) {
        const struct found_trigger *gone = &plan->found_triggers[i];
        if (gone->declared)
            continue;
        struct apply_change *change =
            add_change(diff, APPLY_REMOVE, gone->name, gone->source, NULL);
        change->trigger = true;
        change->job = mem_string(gone->job);
        const struct found_job *job = find_job(plan, gone->job);
        change->implied = job != NULL && !job->declared;
    }
}

void plan_diff(struct apply_plan *plan, struct apply_diff *ret_diff)
{
    struct apply_diff diff = {0};
    size_t most =
        plan->job_count + plan->trigger_count + plan->found_job_count + plan->found_trigger_count;
    diff.changes = mem_array(most, sizeof *diff.changes);
    for (size_t i = 0; i < plan->job_count; i++) {
        struct plan_job *job = &plan->jobs[i];
        if (job->changed)
            add_change(&diff, job->was == NULL ? APPLY_CREATE : APPLY_CHANGE, job->job->name,
                       job->manifest->source, &job->differences);
        else
            diff.jobs_unchanged++;
        for (size_t k = 0; k < job->job->trigger_count; k++)
            diff_trigger(&diff, &plan->triggers[job->first_trigger + k]);
    }
    diff_removed(plan, &diff);
    *ret_diff = diff;
}

void apply_diff_free(struct apply_diff *diff)
{
    for (size_t i = 0; i < diff->count; i++) {
        free(diff->changes[i].name);
        free(diff->changes[i].job);
        free(diff->changes[i].source);
        manifest_differences_free(&diff->changes[i].differences);
    }
    free(diff->changes);
    *diff = (struct apply_diff){0};
}
