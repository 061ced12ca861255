/* The transaction of an apply: lock, read, compare, write. See apply.h. */
#include "coord/apply.h"
#include "coord/audit.h"

#include "base/clock.h"
#include "base/instant.h"
#include "base/memory.h"
#include "coord/apply_calendar.h"
#include "coord/apply_told.h"
#include "store/store.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#define LOCK_RETRY_US     (100 * US_PER_MS)
#define TRANSACTIONS_MAX  5 /* of one apply, when the server ends them to break a deadlock */
#define HISTORY_DAYS      1
#define SQLSTATE_LOCK     "55P03"
#define SQLSTATE_ROLLBACK "40" /* class */

/* --- waiting for another apply --------------------------------------------------------------- */

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    *(bool *)arg = true;
}

/* The loop goes on meanwhile: a node's other connections live. */
static void turn_loop(struct event_base *base, int64_t duration_us)
{
    bool over = false;
    struct timeval pause = clock_timeval(duration_us);
    struct event *timer = evtimer_new(base, on_tick, &over);
    evtimer_add(timer, &pause);
    while (!over)
        event_base_loop(base, EVLOOP_ONCE);
    event_free(timer);
}

/* Begins the transaction and takes the lock; the transaction is open if and only if it is held. */
static int try_lock(struct store *store, bool *ret_locked, int64_t *ret_clock_us,
                    struct rota_error *error)
{
    PGresult *result;
    if (store_wait(store, SQL_MANIFEST_LOCK, NULL, STORE_BEGIN, &result, error) != 0)
        return -1;
    *ret_locked = row_bool(result, 0, 0);
    *ret_clock_us = row_time(result, 0, 1);
    PQclear(result);
    if (!*ret_locked)
        store_rollback(store);
    return 0;
}

static int begin_audit(struct store *store, const struct apply_options *options,
                       struct rota_error *error)
{
    if (options->audit == NULL || audit_begin(options->audit, STORE_WITHIN, error) == 0)
        return 0;
    if (error->sqlstate[0] == '\0') /* otherwise the store has ended the transaction */
        store_rollback(store);
    return -1;
}

int apply_lock(struct store *store, const struct apply_options *options, int64_t *ret_clock_us,
               struct rota_error *error)
{
    int64_t wait_us = options->wait_us > 0 ? options->wait_us : APPLY_WAIT_US;
    int64_t until_us = clock_monotonic_us() + wait_us;
    for (;;) {
        bool locked;
        if (try_lock(store, &locked, ret_clock_us, error) != 0)
            return -1;
        if (locked)
            return begin_audit(store, options, error);
        if (options->stop != NULL && *options->stop)
            return error_set(error, ERROR_REFUSED, "stopped while another apply was running");
        if (clock_monotonic_us() >= until_us) {
            char text[TIME_TEXT_SIZE];
            return error_set(error, ERROR_TIMEOUT,
                             "another apply did not end within %s; nothing was changed, try again "
                             "when it is over",
                             duration_format(wait_us, text));
        }
        turn_loop(options->base, LOCK_RETRY_US);
    }
}

/* --- reading --------------------------------------------------------------------------------- */

static int read_jobs(struct apply_plan *plan, struct store *store, struct rota_error *error)
{
    PGresult *rows;
    struct store_params params = {0};
    const struct manifest_set *set = plan->set;
    size_t most = plan->job_count > set->count ? plan->job_count : set->count;
    const char **names = mem_array(most, sizeof *names);
    for (size_t i = 0; i < plan->job_count; i++)
        names[i] = plan->jobs[i].job->name;
    params_texts(&params, names, plan->job_count);
    for (size_t i = 0; i < set->count; i++)
        names[i] = set->manifests[i]->source;
    params_texts(&params, names, plan->options->prune ? set->count : 0);
    int failed = store_wait(store, SQL_MANIFEST_READ_JOBS, &params, STORE_WITHIN, &rows, error);
    if (failed == 0)
        plan_take_jobs(plan, rows);
    store_params_free(&params);
    free(names);
    return failed;
}

/* All there are: stacks lead from one source to another. */
static int read_calendars(struct apply_plan *plan, struct store *store, struct rota_error *error)
{
    PGresult *rows;
    if (store_wait(store, SQL_MANIFEST_READ_CALENDARS, NULL, STORE_WITHIN, &rows, error) != 0)
        return -1;
    plan_take_calendars(plan, rows);
    return 0;
}

static int read_triggers(struct apply_plan *plan, struct store *store, struct rota_error *error)
{
    PGresult *rows;
    size_t calendar_count;
    const char **calendars = plan_calendars_in_motion(plan, &calendar_count);
    struct store_params params = {0};
    const char **names = mem_array(plan->trigger_count, sizeof *names);
    int32_t *jobs = mem_array(plan->found_job_count, sizeof *jobs);
    for (size_t i = 0; i < plan->trigger_count; i++)
        names[i] = plan->triggers[i].trigger->name;
    for (size_t i = 0; i < plan->found_job_count; i++)
        jobs[i] = plan->found_jobs[i].id;
    params_texts(&params, names, plan->trigger_count);
    params_int32s(&params, jobs, plan->found_job_count);
    params_texts(&params, calendars, calendar_count);
    int failed = store_wait(store, SQL_MANIFEST_READ_TRIGGERS, &params, STORE_WITHIN, &rows, error);
    if (failed == 0)
        plan_take_triggers(plan, rows);
    store_params_free(&params);
    free(names);
    free(jobs);
    free(calendars);
    return failed;
}

/* Everything that changes or goes: a claim that has it now ends first, a later one sees the change.
 */
static int lock_due(struct apply_plan *plan, struct store *store, struct rota_error *error)
{
    PGresult *rows;
    struct store_params params = {0};
    size_t count = 0;
    int32_t *ids = mem_array(plan->found_trigger_count + plan->move_count, sizeof *ids);
    for (size_t i = 0; i < plan->move_count; i++)
        ids[count++] = plan->moves[i].was->id;
    for (size_t i = 0; i < plan->trigger_count; i++) {
        const struct plan_trigger *planned = &plan->triggers[i];
        if (planned->was != NULL && (planned->changed || planned->reread))
            ids[count++] = planned->was->id;
    }
    for (size_t i = 0; i < plan->found_trigger_count; i++)
        if (!plan->found_triggers[i].declared)
            ids[count++] = plan->found_triggers[i].id;
    int failed = 0;
    if (count > 0) {
        params_int32s(&params, ids, count);
        failed = store_wait(store, SQL_MANIFEST_LOCK_DUE, &params, STORE_WITHIN, &rows, error);
        store_params_free(&params);
        if (failed == 0) {
            plan_take_due(plan, rows);
            PQclear(rows);
        }
    }
    free(ids);
    return failed;
}

/* What is due under a schedule that is about to change needs that schedule once more; a trigger
 * that follows its calendar needs its own. */
static int read_overdue(struct apply_plan *plan, struct store *store, struct rota_error *error)
{
    PGresult *rows;
    struct store_params params = {0};
    int32_t *ids = mem_array(plan->trigger_count + plan->move_count, sizeof *ids);
    size_t count = plan_overdue(plan, ids);
    int failed = 0;
    if (count > 0) {
        params_int32s(&params, ids, count);
        failed = store_wait(store, SQL_DEFINITION_LOAD, &params, STORE_WITHIN, &rows, error);
        store_params_free(&params);
        if (failed == 0) {
            plan_take_overdue(plan, rows);
            PQclear(rows);
        }
    }
    free(ids);
    return failed;
}

/* --- the whole ------------------------------------------------------------------------------- */

static int refused(const struct manifest_set *set, struct rota_error *error)
{
    size_t more = set->problems.count - 1;
    if (more == 0)
        return error_set(error, ERROR_REFUSED, "%s", set->problems.lines[0]);
    return error_set(error, ERROR_REFUSED, "%s (and %zu more problem%s)", set->problems.lines[0],
                     more, more == 1 ? "" : "s");
}

static int prepare(struct apply_plan *plan, struct store *store, struct rota_error *error)
{
    if (read_jobs(plan, store, error) != 0 || read_calendars(plan, store, error) != 0 ||
        read_triggers(plan, store, error) != 0 || plan_read_told(plan, store, error) != 0)
        return -1;
    if (plan_compare(plan) != 0)
        return refused(plan->set, error);
    if (!plan->anything)
        return 0;
    if (lock_due(plan, store, error) != 0 || read_overdue(plan, store, error) != 0)
        return -1;
    return plan_schedule(plan, error);
}

/* What was made from definitions that have changed since would undo the change. */
static int check_revision(struct store *store, const struct apply_options *options,
                          struct rota_error *error)
{
    PGresult *result;
    if (options->revision == 0)
        return 0;
    if (store_wait(store, SQL_FLEET_REVISION, NULL, STORE_WITHIN, &result, error) != 0)
        return -1;
    bool same = row_int64(result, 0, 0) == options->revision;
    PQclear(result);
    if (same)
        return 0;
    store_rollback(store);
    error_set(error, ERROR_REFUSED,
              "the definitions were changed meanwhile; nothing was done, try again");
    memcpy(error->sqlstate, APPLY_STALE, sizeof APPLY_STALE);
    return -1;
}

static int apply_once(struct store *store, struct manifest_set *set,
                      const struct apply_options *options, struct apply_diff *ret_diff,
                      struct rota_error *error)
{
    struct apply_plan plan;
    int64_t clock_us, cancelled = 0;
    if (apply_lock(store, options, &clock_us, error) != 0 ||
        check_revision(store, options, error) != 0)
        return -1;
    plan_begin(&plan, set, options);
    plan.clock_us = clock_us;
    int failed = prepare(&plan, store, error);
    bool ended =
        failed != 0 && error->sqlstate[0] != '\0'; /* by the store, as a statement failed */
    if (failed == 0 && plan.anything && !options->dry_run)
        failed = plan_write(&plan, store, &cancelled, error);
    else if (!ended)
        store_rollback(store);
    if (failed == 0) {
        plan_diff(&plan, ret_diff);
        ret_diff->runs_cancelled = cancelled;
    }
    plan_free(&plan);
    return failed;
}

/* A removed job's waiting runs go to the history; with no node alive it may lack today's partition.
 */
void apply_ensure_history(struct store *store)
{
    struct rota_error ignored; /* a reader in the way: the partition is there, then */
    struct store_params params = {0};
    params_int32(&params, HISTORY_DAYS);
    store_wait(store, SQL_HISTORY_ENSURE, &params, 0, NULL, &ignored);
    store_params_free(&params);
}

bool apply_again(struct rota_error *error, int *attempts)
{
    if (strncmp(error->sqlstate, SQLSTATE_ROLLBACK, 2) == 0)
        return ++*attempts < TRANSACTIONS_MAX;
    if (store_is(error, SQLSTATE_LOCK)) {
        error->code = ERROR_TIMEOUT;
        error_prefix(error, "somebody holds a row this needs (an open transaction?); nothing was "
                            "changed, try again");
    }
    return false;
}

int apply_manifests(struct store *store, struct manifest_set *set,
                    const struct apply_options *options, struct apply_diff *ret_diff,
                    struct rota_error *error)
{
    if (options->prune && !options->dry_run)
        apply_ensure_history(store);
    int failed, attempts = 0;
    do {
        *error = (struct rota_error){0};
        failed = apply_once(store, set, options, ret_diff, error);
    } while (failed != 0 && apply_again(error, &attempts));
    return failed;
}

int apply_paths(struct store *store, const char *const *paths, const struct apply_options *options,
                struct manifest_set **ret_set, struct apply_diff *ret_diff,
                struct rota_error *error)
{
    struct manifest_set *set = manifest_set_new();
    *ret_set = set;
    for (const char *const *path = paths; *path != NULL; path++)
        manifest_add_path(set, *path);
    if (manifest_check(set) != 0)
        return refused(set, error);
    return apply_manifests(store, set, options, ret_diff, error);
}
