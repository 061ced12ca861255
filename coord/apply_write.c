/* Carries out a plan: arrays of everything there is to write, one statement each. See apply_plan.h.
 */
#include "coord/apply_calendar.h"
#include "coord/audit.h"
#include "coord/apply_columns.h"
#include "coord/manifest_queue.h"

#include "base/clock.h"
#include "base/memory.h"
#include "store/store.h"

#include <stdlib.h>
#include <string.h>

#define CATCH_UP_RATE 100 /* a second; the default of the setting */

/* --- jobs ------------------------------------------------------------------------------------ */

/* What a job with persist_data has made of its data is worth nothing under other data. */
static const char *const data_keys[] = {"data", NULL};

#define JOB_COLUMN(type, function, expression)                                                     \
    static type function(const void *row)                                                          \
    {                                                                                              \
        const struct plan_job *planned = row;                                                      \
        const struct manifest_job *job = planned->job;                                             \
        (void)job;                                                                                 \
        return expression;                                                                         \
    }

JOB_COLUMN(const char *, job_name, job->name)
JOB_COLUMN(const char *, job_source, planned->manifest->source)
JOB_COLUMN(const char *, job_description, job->description)
JOB_COLUMN(const char *, job_handler, job->handler)
JOB_COLUMN(struct slice, job_data, job->data)
JOB_COLUMN(int64_t, job_requests_recovery, job->requests_recovery)
JOB_COLUMN(int64_t, job_durable, job->durable)
JOB_COLUMN(int64_t, job_priority, job->priority)
JOB_COLUMN(int64_t, job_timeout, job->timeout_ms)
JOB_COLUMN(int64_t, job_max_attempts, job->max_attempts)
JOB_COLUMN(const char *, job_backoff, manifest_backoffs[job->backoff])
JOB_COLUMN(int64_t, job_retry_initial, job->retry_initial_ms)
JOB_COLUMN(int64_t, job_retry_max, job->retry_max_ms)
JOB_COLUMN(int64_t, job_max_crashes, job->max_crashes)
JOB_COLUMN(const char *, job_definition, job->definition)
JOB_COLUMN(int64_t, job_lane_limit, job->lane_limit)
JOB_COLUMN(const char *, job_lane_key, job->lane_key)
JOB_COLUMN(int64_t, job_persist_data, job->persist_data)
JOB_COLUMN(const char *, job_on_exhausted, manifest_exhausted[job->on_exhausted])
JOB_COLUMN(int64_t, job_max_pending, job->max_pending)
JOB_COLUMN(int64_t, job_expires_in, job->expires_in_ms)
JOB_COLUMN(const char *, job_on_failure, job->on_failure)
JOB_COLUMN(int64_t, job_rate_limit, job->rate_limit)
JOB_COLUMN(int64_t, job_rate_per, job->rate_per_ms)
JOB_COLUMN(int64_t, job_rate_burst, job->rate_burst)
JOB_COLUMN(const char *, job_rate_key, job->rate_key)
JOB_COLUMN(const char *, job_unique_key, job->unique_key)
JOB_COLUMN(int64_t, job_unique_for, job->unique_for_ms)
JOB_COLUMN(const char *, job_unique_until,
           job->unique_until != MANIFEST_UNSET ? manifest_untils[job->unique_until] : NULL)
JOB_COLUMN(const char *, job_unique_conflict,
           job->unique_conflict != MANIFEST_UNSET ? manifest_conflicts[job->unique_conflict] : NULL)
JOB_COLUMN(int64_t, job_forget,
           !job->persist_data || manifest_differs(&planned->differences, data_keys))
JOB_COLUMN(int64_t, job_old_id, planned->was->id)
JOB_COLUMN(int64_t, job_old_priority, planned->was->priority)

static void add_jitter(struct columns *columns)
{
    float *values = mem_array(columns->count, sizeof *values);
    for (size_t i = 0; i < columns->count; i++)
        values[i] = (float)((const struct plan_job *)columns->rows[i])->job->retry_jitter;
    params_floats(&columns->params, values, columns->count);
    free(values);
}

static int write_jobs(struct store *store, const void *const *rows, size_t count, int64_t revision,
                      struct rota_error *error)
{
    struct columns columns = {.rows = rows, .count = count};
    columns_texts(&columns, job_name);
    columns_texts(&columns, job_source);
    columns_texts(&columns, job_description);
    columns_texts(&columns, job_handler);
    columns_json(&columns, job_data);
    columns_int32s(&columns, job_requests_recovery);
    columns_bools(&columns, job_durable);
    columns_int32s(&columns, job_priority);
    columns_int64s(&columns, job_timeout);
    columns_int32s(&columns, job_max_attempts);
    columns_texts(&columns, job_backoff);
    columns_int64s(&columns, job_retry_initial);
    columns_int64s(&columns, job_retry_max);
    add_jitter(&columns);
    columns_int32s(&columns, job_max_crashes);
    columns_texts(&columns, job_definition);
    params_int64(&columns.params, revision);
    columns_int32s(&columns, job_lane_limit);
    columns_texts(&columns, job_lane_key);
    columns_bools(&columns, job_persist_data);
    columns_texts(&columns, job_on_exhausted);
    columns_bools(&columns, job_forget);
    columns_int32s(&columns, job_max_pending);
    columns_int64s(&columns, job_expires_in);
    columns_texts(&columns, job_on_failure);
    columns_int32s(&columns, job_rate_limit);
    columns_int64s(&columns, job_rate_per);
    columns_int32s(&columns, job_rate_burst);
    columns_texts(&columns, job_rate_key);
    columns_texts(&columns, job_unique_key);
    columns_texts(&columns, job_unique_until);
    columns_int64s(&columns, job_unique_for);
    columns_texts(&columns, job_unique_conflict);
    return columns_run(&columns, store, SQL_MANIFEST_WRITE_JOBS, error);
}

/* --- triggers -------------------------------------------------------------------------------- */

#define TRIGGER_COLUMN(type, function, expression)                                                 \
    static type function(const void *row)                                                          \
    {                                                                                              \
        const struct plan_trigger *planned = row;                                                  \
        const struct manifest_trigger *trigger = planned->trigger;                                 \
        (void)trigger;                                                                             \
        return expression;                                                                         \
    }

TRIGGER_COLUMN(const char *, trigger_name, trigger->name)
TRIGGER_COLUMN(const char *, trigger_job, planned->job->job->name)
TRIGGER_COLUMN(const char *, trigger_handler, planned->job->job->handler)
TRIGGER_COLUMN(const char *, trigger_description, trigger->description)
TRIGGER_COLUMN(const char *, trigger_kind, manifest_kinds[trigger->kind])
TRIGGER_COLUMN(const char *, trigger_cron, trigger->cron)
TRIGGER_COLUMN(int64_t, trigger_every, trigger->every_us)
TRIGGER_COLUMN(int64_t, trigger_repeat, trigger->repeat)
TRIGGER_COLUMN(int64_t, trigger_at, trigger->at_us)
TRIGGER_COLUMN(const char *, trigger_timezone, trigger->timezone)
TRIGGER_COLUMN(int64_t, trigger_start, planned->start_at_us)
TRIGGER_COLUMN(int64_t, trigger_end, trigger->end_at_us)
TRIGGER_COLUMN(const char *, trigger_gap, manifest_gaps[trigger->effective_gap])
TRIGGER_COLUMN(const char *, trigger_overlap, manifest_overlaps[trigger->effective_overlap])
TRIGGER_COLUMN(int64_t, trigger_own_priority, trigger->priority)
TRIGGER_COLUMN(int64_t, trigger_priority, plan_priority(planned))
TRIGGER_COLUMN(struct slice, trigger_data, trigger->data)
TRIGGER_COLUMN(const char *, trigger_misfire, manifest_misfires[trigger->misfire])
TRIGGER_COLUMN(int64_t, trigger_tolerance, trigger->misfire_tolerance_ms)
TRIGGER_COLUMN(int64_t, trigger_threshold, trigger->misfire_threshold_ms)
TRIGGER_COLUMN(int64_t, trigger_limit, trigger->misfire_limit)
TRIGGER_COLUMN(const char *, trigger_interval, trigger->calendar_interval)
TRIGGER_COLUMN(const char *, trigger_daily_from, trigger->daily_from)
TRIGGER_COLUMN(const char *, trigger_daily_to, trigger->daily_to)
TRIGGER_COLUMN(int64_t, trigger_daily_every, trigger->daily_every_us)
TRIGGER_COLUMN(const char *, trigger_calendar, trigger->calendar)
TRIGGER_COLUMN(const char *, trigger_definition, trigger->definition)
TRIGGER_COLUMN(int64_t, trigger_next, planned->due.next_at_us)
TRIGGER_COLUMN(int64_t, trigger_final, planned->due.final_at_us)
TRIGGER_COLUMN(int64_t, trigger_previous, planned->due.previous_at_us)
TRIGGER_COLUMN(int64_t, trigger_fired, planned->due.fired)
TRIGGER_COLUMN(int64_t, trigger_missed, planned->due.missed)
TRIGGER_COLUMN(int64_t, trigger_misfired, planned->due.misfired)
TRIGGER_COLUMN(const char *, trigger_state, plan_state_text(planned->due.state))
TRIGGER_COLUMN(int64_t, trigger_old_id, planned->was->id)
TRIGGER_COLUMN(int64_t, trigger_old_priority,
               planned->was->priority != MANIFEST_UNSET ? planned->was->priority
                                                        : planned->job->was->priority)

static void add_days(struct columns *columns)
{
    char **values = mem_array(columns->count, sizeof *values);
    for (size_t i = 0; i < columns->count; i++) {
        const struct plan_trigger *planned = columns->rows[i];
        if (planned->trigger->daily_days != 0)
            values[i] = manifest_days(planned->trigger->daily_days, ",");
    }
    params_texts(&columns->params, (const char *const *)values, columns->count);
    for (size_t i = 0; i < columns->count; i++)
        free(values[i]);
    free(values);
}

static int write_triggers(struct store *store, const void *const *rows, size_t count,
                          int64_t revision, struct rota_error *error)
{
    struct columns columns = {.rows = rows, .count = count};
    columns_texts(&columns, trigger_name);
    columns_texts(&columns, trigger_job);
    columns_texts(&columns, trigger_description);
    columns_texts(&columns, trigger_kind);
    columns_texts(&columns, trigger_cron);
    columns_int64s(&columns, trigger_every);
    columns_int64s(&columns, trigger_repeat);
    columns_times(&columns, trigger_at);
    columns_texts(&columns, trigger_timezone);
    columns_times(&columns, trigger_start);
    columns_times(&columns, trigger_end);
    columns_texts(&columns, trigger_gap);
    columns_texts(&columns, trigger_overlap);
    columns_int32s(&columns, trigger_own_priority);
    columns_json(&columns, trigger_data);
    columns_texts(&columns, trigger_misfire);
    columns_int64s(&columns, trigger_tolerance);
    columns_int64s(&columns, trigger_threshold);
    columns_int32s(&columns, trigger_limit);
    columns_texts(&columns, trigger_definition);
    params_int64(&columns.params, revision);
    columns_texts(&columns, trigger_interval);
    columns_texts(&columns, trigger_daily_from);
    columns_texts(&columns, trigger_daily_to);
    columns_int64s(&columns, trigger_daily_every);
    add_days(&columns);
    columns_texts(&columns, trigger_calendar);
    return columns_run(&columns, store, SQL_MANIFEST_WRITE_TRIGGERS, error);
}

static int write_due(struct store *store, const void *const *rows, size_t count, int64_t revision,
                     struct rota_error *error)
{
    struct columns columns = {.rows = rows, .count = count};
    columns_texts(&columns, trigger_name);
    columns_texts(&columns, trigger_handler);
    columns_int32s(&columns, trigger_priority);
    columns_texts(&columns, trigger_state);
    columns_times(&columns, trigger_next);
    columns_times(&columns, trigger_previous);
    columns_int64s(&columns, trigger_fired);
    columns_int64s(&columns, trigger_missed);
    columns_int64s(&columns, trigger_misfired);
    params_int64(&columns.params, revision);
    columns_times(&columns, trigger_final);
    return columns_run(&columns, store, SQL_MANIFEST_WRITE_DUE, error);
}

static int fire_due(const struct apply_plan *plan, struct store *store, struct rota_error *error)
{
    size_t count = plan->run_count;
    struct store_params params = {0};
    int64_t rate = plan->options->catch_up_rate > 0 ? plan->options->catch_up_rate : CATCH_UP_RATE;
    const char **names = mem_array(count, sizeof *names);
    int64_t *scheduled = mem_array(count, sizeof *scheduled);
    int32_t *missed = mem_array(count, sizeof *missed);
    bool *made_up = mem_array(count, sizeof *made_up);
    for (size_t i = 0; i < count; i++) {
        const struct plan_run *made = &plan->runs[i];
        names[i] = made->trigger;
        scheduled[i] = made->scheduled_us;
        missed[i] = made->missed < INT32_MAX ? (int32_t)made->missed : INT32_MAX;
        made_up[i] = made->made_up;
    }
    params_texts(&params, names, count);
    params_times(&params, scheduled, count);
    params_int32s(&params, missed, count);
    params_bools(&params, made_up, count);
    params_int64(&params, US_PER_SECOND / rate);
    int failed = store_wait(store, SQL_MANIFEST_FIRE_DUE, &params, STORE_WITHIN, NULL, error);
    store_params_free(&params);
    free(names);
    free(scheduled);
    free(missed);
    free(made_up);
    return failed;
}

static int touch_triggers(struct store *store, const void *const *rows, size_t count,
                          int64_t revision, struct rota_error *error)
{
    struct columns columns = {.rows = rows, .count = count};
    columns_texts(&columns, trigger_name);
    columns_texts(&columns, trigger_handler);
    columns_int32s(&columns, trigger_priority);
    params_int64(&columns.params, revision);
    return columns_run(&columns, store, SQL_MANIFEST_TOUCH_TRIGGERS, error);
}

/* --- the order of things --------------------------------------------------------------------- */

int apply_revision(struct store *store, int64_t *ret_revision, struct rota_error *error)
{
    PGresult *result;
    if (store_wait(store, SQL_MANIFEST_REVISION, NULL, STORE_WITHIN, &result, error) != 0)
        return -1;
    *ret_revision = row_int64(result, 0, 0);
    PQclear(result);
    return 0;
}

static int move_pending(struct apply_plan *plan, struct store *store, const void **rows,
                        struct rota_error *error)
{
    struct columns columns = {.rows = rows};
    for (size_t i = 0; i < plan->job_count; i++)
        if (plan->jobs[i].moved)
            rows[columns.count++] = &plan->jobs[i];
    if (columns.count == 0)
        return 0;
    columns_int32s(&columns, job_old_id);
    columns_int32s(&columns, job_old_priority);
    columns_texts(&columns, job_handler);
    columns_int32s(&columns, job_priority);
    columns.count = 0;
    for (size_t i = 0; i < plan->trigger_count; i++) {
        const struct plan_trigger *planned = &plan->triggers[i];
        if (planned->job->moved && planned->was != NULL)
            rows[columns.count++] = planned;
    }
    columns_int32s(&columns, trigger_old_id);
    columns_int32s(&columns, trigger_old_priority);
    columns_int32s(&columns, trigger_priority);
    return columns_run(&columns, store, SQL_MANIFEST_MOVE_PENDING, error);
}

static int write_all_jobs(struct apply_plan *plan, struct store *store, const void **rows,
                          int64_t revision, struct rota_error *error)
{
    size_t count = 0;
    for (size_t i = 0; i < plan->job_count; i++)
        if (plan->jobs[i].changed)
            rows[count++] = &plan->jobs[i];
    return count > 0 ? write_jobs(store, rows, count, revision, error) : 0;
}

static int write_all_triggers(struct apply_plan *plan, struct store *store, const void **rows,
                              int64_t revision, struct rota_error *error)
{
    size_t count = 0;
    for (size_t i = 0; i < plan->trigger_count; i++)
        if (plan->triggers[i].changed)
            rows[count++] = &plan->triggers[i];
    if (count > 0 && write_triggers(store, rows, count, revision, error) != 0)
        return -1;
    count = 0;
    for (size_t i = 0; i < plan->trigger_count; i++)
        if (plan->triggers[i].reschedule)
            rows[count++] = &plan->triggers[i];
    if (count > 0 && write_due(store, rows, count, revision, error) != 0)
        return -1;
    count = 0;
    for (size_t i = 0; i < plan->trigger_count; i++) {
        const struct plan_trigger *planned = &plan->triggers[i];
        if (planned->reread || (planned->changed && !planned->reschedule))
            rows[count++] = planned;
    }
    return count > 0 ? touch_triggers(store, rows, count, revision, error) : 0;
}

static bool is_laned(const struct plan_job *job)
{
    return job->job->lane_limit != MANIFEST_UNSET || (job->was != NULL && job->was->laned);
}

/* It comes from another job: as lanes and pauses go by the job, the new one's hold for it. */
static bool has_moved(const struct plan_trigger *planned)
{
    return planned->was != NULL && strcmp(planned->was->job, planned->job->job->name) != 0;
}

static int call_with_jobs(struct store *store, enum statement_id statement, const char **names,
                          size_t count, struct rota_error *error)
{
    struct store_params params = {0};
    if (count == 0)
        return 0;
    params_texts(&params, names, count);
    int failed = store_wait(store, statement, &params, STORE_WITHIN, NULL, error);
    store_params_free(&params);
    return failed;
}

/* What waits, into the lanes of now; and paused as its job is. */
static int settle_jobs(struct apply_plan *plan, struct store *store, struct rota_error *error)
{
    size_t laned = 0, moved = 0;
    const char **lanes = mem_array(plan->job_count, sizeof *lanes);
    const char **pauses = mem_array(plan->job_count, sizeof *pauses);
    for (size_t i = 0; i < plan->job_count; i++) {
        const struct plan_job *job = &plan->jobs[i];
        bool differs = job->changed, arrival = false, from_lane = false;
        for (size_t k = 0; k < job->job->trigger_count; k++) {
            const struct plan_trigger *planned = &plan->triggers[job->first_trigger + k];
            differs |= planned->changed;
            arrival |= has_moved(planned);
            from_lane |= has_moved(planned) && planned->was->laned;
        }
        if (from_lane || (differs && is_laned(job)))
            lanes[laned++] = job->job->name;
        if (arrival)
            pauses[moved++] = job->job->name;
    }
    int failed = call_with_jobs(store, SQL_MANIFEST_LANES, lanes, laned, error);
    if (failed == 0)
        failed = call_with_jobs(store, SQL_MANIFEST_PAUSE, pauses, moved, error);
    free(lanes);
    free(pauses);
    return failed;
}

/* What waits in bulk of jobs that change in what their runs have in common becomes rows, to be
 * moved by what follows. */
static int open_bundles(struct apply_plan *plan, struct store *store, struct rota_error *error)
{
    static const char *const keys[] = {
        "handler",     "priority", "disallow_concurrent", "concurrency",  "rate",
        "max_pending", "retry",    "requests_recovery",   "persist_data", NULL};
    size_t count = 0;
    const char **names = mem_array(plan->job_count, sizeof *names);
    for (size_t i = 0; i < plan->job_count; i++) {
        const struct plan_job *job = &plan->jobs[i];
        if (job->was != NULL && (job->moved || manifest_differs(&job->differences, keys)))
            names[count++] = job->job->name;
    }
    int failed = call_with_jobs(store, SQL_MANIFEST_BUNDLES, names, count, error);
    free(names);
    return failed;
}

/* What waits, to the rates and the bounds of now. */
static int settle_queues(struct apply_plan *plan, struct store *store, struct rota_error *error)
{
    static const char *const rate_keys[] = {"rate", NULL};
    static const char *const bound_keys[] = {"max_pending", NULL};
    size_t rated = 0, bounded = 0;
    const char **rates = mem_array(plan->job_count, sizeof *rates);
    const char **bounds = mem_array(plan->job_count, sizeof *bounds);
    for (size_t i = 0; i < plan->job_count; i++) {
        const struct plan_job *job = &plan->jobs[i];
        bool differs = false; /* what a key points to may be in the data of the job or a trigger */
        for (size_t k = 0; k < job->job->trigger_count; k++)
            differs |= plan->triggers[job->first_trigger + k].changed;
        if (job->was != NULL && (manifest_differs(&job->differences, rate_keys) ||
                                 (job->job->rate_key != NULL && (job->changed || differs))))
            rates[rated++] = job->job->name;
        if (job->was != NULL && manifest_differs(&job->differences, bound_keys))
            bounds[bounded++] = job->job->name;
    }
    int failed = call_with_jobs(store, SQL_MANIFEST_RATES, rates, rated, error);
    if (failed == 0)
        failed = call_with_jobs(store, SQL_MANIFEST_COUNTED, bounds, bounded, error);
    free(rates);
    free(bounds);
    return failed;
}

static int remove_undeclared(struct apply_plan *plan, struct store *store, int64_t *ret_cancelled,
                             struct rota_error *error)
{
    size_t triggers = 0, jobs = 0;
    int32_t *trigger_ids = mem_array(plan->found_trigger_count, sizeof *trigger_ids);
    int32_t *job_ids = mem_array(plan->found_job_count, sizeof *job_ids);
    for (size_t i = 0; i < plan->found_trigger_count; i++)
        if (!plan->found_triggers[i].declared)
            trigger_ids[triggers++] = plan->found_triggers[i].id;
    for (size_t i = 0; i < plan->found_job_count; i++)
        if (!plan->found_jobs[i].declared)
            job_ids[jobs++] = plan->found_jobs[i].id;
    *ret_cancelled = 0;
    int failed = 0;
    if (triggers + jobs > 0) {
        const struct apply_removal removal = {
            .triggers = trigger_ids,
            .trigger_count = triggers,
            .jobs = job_ids,
            .job_count = jobs,
            .reason = "the job was removed, as its manifest declares it no more"};
        failed = apply_remove(store, &removal, ret_cancelled, error);
    }
    free(trigger_ids);
    free(job_ids);
    return failed;
}

int apply_remove(struct store *store, const struct apply_removal *removal,
                 int64_t *ret_runs_cancelled, struct rota_error *error)
{
    PGresult *result;
    struct store_params params = {0};
    params_int32s(&params, removal->jobs, removal->job_count);
    params_int32s(&params, removal->triggers, removal->with_runs ? removal->trigger_count : 0);
    params_text(&params, removal->reason);
    int failed = store_wait(store, SQL_MANIFEST_END, &params, STORE_WITHIN, &result, error);
    store_params_free(&params);
    if (failed != 0)
        return -1;
    *ret_runs_cancelled = row_int64(result, 0, 0);
    PQclear(result);
    params = (struct store_params){0};
    params_int32s(&params, removal->triggers, removal->trigger_count);
    params_int32s(&params, removal->jobs, removal->job_count);
    failed = store_wait(store, SQL_MANIFEST_REMOVE, &params, STORE_WITHIN, NULL, error);
    store_params_free(&params);
    return failed;
}

int apply_commit(struct store *store, const struct apply_options *options, struct rota_error *error)
{
    if (options->audit != NULL && audit_end(options->audit, STORE_WITHIN, error) != 0)
        return -1;
    int failed =
        store_wait(store, SQL_MANIFEST_NOTIFY, NULL, STORE_WITHIN | STORE_COMMIT, NULL, error);
    if (failed != 0 && error->code == ERROR_DATABASE)
        error_prefix(error, "lost at the very end: perhaps done, do it again to be sure");
    return failed;
}

int plan_write(struct apply_plan *plan, struct store *store, int64_t *ret_runs_cancelled,
               struct rota_error *error)
{
    int64_t revision;
    size_t most = plan->job_count > plan->trigger_count ? plan->job_count : plan->trigger_count;
    const void **rows = mem_array(most, sizeof *rows);
    int failed = apply_revision(store, &revision, error);
    if (failed == 0)
        failed = open_bundles(plan, store, error);
    if (failed == 0)
        failed = move_pending(plan, store, rows, error);
    if (failed == 0)
        failed = plan_write_calendars(plan, store, revision, error);
    if (failed == 0)
        failed = write_all_jobs(plan, store, rows, revision, error);
    if (failed == 0)
        failed = write_all_triggers(plan, store, rows, revision, error);
    if (failed == 0)
        failed = plan_move_triggers(plan, store, revision, error);
    if (failed == 0 && plan->run_count > 0)
        failed = fire_due(plan, store, error);
    if (failed == 0)
        failed = settle_jobs(plan, store, error);
    if (failed == 0)
        failed = settle_queues(plan, store, error);
    if (failed == 0) /* last: a trigger that went to another job has left its old one by now */
        failed = remove_undeclared(plan, store, ret_runs_cancelled, error);
    if (failed == 0)
        failed = plan_remove_calendars(plan, store, error);
    free(rows);
    if (failed != 0)
        return -1;
    return apply_commit(store, plan->options, error);
}
