/*
 * What was due when an apply changes schedules: triggers are locked, what fell due under the old
 * schedule is decided, and triggers of whatever source follow a calendar that changes. See
 * apply_plan.h.
 */
#include "base/memory.h"
#include "coord/apply_calendar.h"
#include "coord/definition.h"
#include "store/store.h"

#include <stdlib.h>

#define RUNS_MAX 20000 /* of old schedules in one apply; triggers beyond it just stay due */

int64_t plan_time(const PGresult *rows, int row, int column)
{
    int64_t wall_us = row_time(rows, row, column);
    return wall_us == STORE_NULL_TIME ? MANIFEST_UNSET : wall_us;
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
        found->next_at_us = plan_time(rows, i, 2);
        found->previous_at_us = plan_time(rows, i, 3);
        found->paused = row_bool(rows, i, 4);
        int64_t clock_us = row_time(rows, i, 5);
        if (clock_us > plan->clock_us)
            plan->clock_us = clock_us;
        found->pass = (struct misfire_pass){row_time(rows, i, 6), plan_time(rows, i, 7)};
    }
}

/* --- what was due ---------------------------------------------------------------------------- */

static bool is_due(const struct apply_plan *plan, const struct found_trigger *was)
{
    return was->locked && (was->state == 'W' || was->state == 'B') &&
           was->next_at_us != MANIFEST_UNSET && was->next_at_us <= plan->clock_us;
}

bool plan_stays_due(const struct apply_plan *plan, const struct found_trigger *was,
                    const struct plan_due *due)
{
    return !due->settled && is_due(plan, was);
}

static bool is_ours(const struct apply_plan *plan, const struct found_trigger *was)
{
    return is_due(plan, was) && was->state == 'W' && !was->paused;
}

size_t plan_overdue(struct apply_plan *plan, int32_t *ids)
{
    size_t count = 0;
    for (size_t i = 0; i < plan->trigger_count; i++) {
        const struct plan_trigger *planned = &plan->triggers[i];
        if (planned->was != NULL && planned->reschedule && is_ours(plan, planned->was))
            ids[count++] = planned->was->id;
    }
    for (size_t i = 0; i < plan->move_count; i++)
        ids[count++] = plan->moves[i].was->id;
    return count;
}

static void add_runs(struct apply_plan *plan, const char *trigger,
                     const struct misfire_decision *decision)
{
    size_t count = (size_t)decision->run_count;
    if (count == 0)
        return;
    plan->runs = mem_resize(plan->runs, plan->run_count + count, sizeof *plan->runs);
    for (size_t i = 0; i < count; i++)
        plan->runs[plan->run_count++] =
            (struct plan_run){trigger, decision->runs[i].scheduled_us, decision->runs[i].missed,
                              decision->runs[i].made_up};
}

/*
 * The old schedule holds up to the moment of the apply. A node cannot evaluate it any more after
 * that, so what fell due and was not fired is decided here, as a node would have.
 */
static void settle(struct apply_plan *plan, struct found_trigger *was, const struct trigger *old,
                   struct misfire_decision *decision, struct plan_due *due)
{
    if (old->schedule == NULL || plan->run_count >= RUNS_MAX)
        return;
    misfire_decide_passing(old->schedule, &old->rule, was->next_at_us, &was->pass, plan->clock_us,
                           decision);
    add_runs(plan, was->name, decision);
    due->settled = true;
    due->fired = decision->run_count;
    due->missed = decision->missed;
    due->misfired = decision->made_up_count;
    if (decision->run_count > 0)
        due->previous_at_us = was->previous_at_us =
            decision->runs[decision->run_count - 1].scheduled_us;
}

/* --- triggers that follow a calendar --------------------------------------------------------- */

void plan_next(struct schedule *schedule, const struct plan_calendar *calendar, int64_t after_us,
               struct plan_due *due)
{
    schedule_set_calendar(schedule, calendar != NULL ? calendar->calendar : NULL);
    int64_t next_us = schedule_next(schedule, after_us);
    int64_t final_us = schedule_final(schedule);
    due->next_at_us = next_us != SCHEDULE_NONE ? next_us : MANIFEST_UNSET;
    due->final_at_us = final_us != SCHEDULE_NONE ? final_us : MANIFEST_UNSET;
    if (next_us == SCHEDULE_NONE && calendar != NULL) {
        schedule_set_calendar(schedule, NULL);
        due->excluded = schedule_next(schedule, after_us) != SCHEDULE_NONE;
    }
}

static bool follows(const struct apply_plan *plan, const struct found_trigger *found)
{
    const struct plan_calendar *calendar = plan_find_calendar(plan, found->calendar);
    bool scheduled = found->planned != NULL && found->planned->reschedule;
    return found->declared && !scheduled && calendar != NULL && calendar->affected &&
           calendar->calendar != NULL;
}

void plan_find_moves(struct apply_plan *plan)
{
    plan->moves = mem_array(plan->found_trigger_count, sizeof *plan->moves);
    for (size_t i = 0; i < plan->found_trigger_count; i++) {
        struct found_trigger *found = &plan->found_triggers[i];
        if (!follows(plan, found))
            continue;
        found->move = &plan->moves[plan->move_count++];
        *found->move = (struct plan_move){.was = found, .due.previous_at_us = MANIFEST_UNSET};
    }
}

/* It has ended although its schedule had not: somebody took it off, and off it stays. */
static bool was_ended(const struct apply_plan *plan, const struct found_trigger *was,
                      const struct trigger *old)
{
    return was->state == 'C' && old->schedule != NULL &&
           schedule_next(old->schedule, plan->clock_us - 1) != SCHEDULE_NONE;
}

/* Whatever put it into error, it was not the calendar. */
static bool stays_in_error(const struct found_trigger *was, const struct trigger *old)
{
    return was->state == 'E' && old->schedule != NULL;
}

/* `bare` is its schedule without a calendar; NULL: it stays in error, whatever the calendar. */
static void move(struct apply_plan *plan, struct plan_move *move, const struct trigger *old,
                 struct schedule *bare, struct misfire_decision *decision)
{
    struct found_trigger *was = move->was;
    struct plan_due *due = &move->due;
    int64_t after_us = plan->clock_us - 1;
    due->state = was->state;
    due->next_at_us = was->next_at_us;
    due->final_at_us = MANIFEST_UNSET;
    if (bare == NULL || stays_in_error(was, old) || was_ended(plan, was, old))
        return;
    if (is_ours(plan, was))
        settle(plan, was, old, decision, due);
    if (was->previous_at_us != MANIFEST_UNSET && was->previous_at_us > after_us)
        after_us = was->previous_at_us;
    plan_next(bare, plan_find_calendar(plan, was->calendar), after_us, due);
    if (plan_stays_due(plan, was, due)) {
        due->next_at_us = was->next_at_us;
        return;
    }
    bool over = due->next_at_us == MANIFEST_UNSET;
    due->state = over ? 'C' : was->state == 'B' ? 'B' : 'W';
}

void plan_take_overdue(struct apply_plan *plan, const PGresult *rows)
{
    int64_t threshold_us = plan->options->misfire_threshold_us;
    struct rota_error ignored;
    struct zone_cache *zones = plan->set->zones;
    struct calendars *calendars = calendars_new(zones, SIZE_MAX);
    struct misfire_decision *decision = mem_alloc(sizeof *decision);
    for (int i = 0; i < PQntuples(rows); i++) {
        struct trigger *old = trigger_from_row(
            rows, i, zones, calendars, threshold_us > 0 ? threshold_us : MISFIRE_THRESHOLD_US);
        struct found_trigger *found = find_by_id(plan, old->id);
        if (found->move != NULL) {
            struct schedule *bare = schedule_from_row(rows, i, zones, &ignored);
            move(plan, found->move, old, bare, decision);
            schedule_free(bare);
        } else {
            settle(plan, found, old, decision, &found->planned->due);
        }
        trigger_unref(old);
    }
    free(decision);
    calendars_free(calendars);
}
