/* What an apply changed: as a list, for people, and as JSON. See apply.h. */
#include "base/instant.h"
#include "base/memory.h"
#include "coord/apply_calendar.h"

#include <stdlib.h>
#include <string.h>

#define SHOWN_MAX                                                                                  \
    80 /* bytes of a value that are worth a line; longer ones are only said to differ */

static const char *const action_names[] = {
    [APPLY_CREATE] = "create", [APPLY_CHANGE] = "change", [APPLY_REMOVE] = "remove"};
static const char *const kind_names[] = {
    [APPLY_CALENDAR] = "calendar", [APPLY_JOB] = "job", [APPLY_TRIGGER] = "trigger"};
static const char action_signs[] = {
    [APPLY_CREATE] = '+', [APPLY_CHANGE] = '~', [APPLY_REMOVE] = '-'};

static bool fits(const char *value)
{
    return value == NULL || (strlen(value) <= SHOWN_MAX && strchr(value, '\n') == NULL);
}

static void put_difference(struct buffer *text, const struct manifest_difference *difference)
{
    const char *before = difference->before, *after = difference->after;
    if (strcmp(difference->key, "data") == 0 || !fits(before) || !fits(after))
        buffer_format(text, "%s changed", difference->key);
    else
        buffer_format(text, "%s %s -> %s", difference->key, before != NULL ? before : "default",
                      after != NULL ? after : "default");
}

/* Of something new only what tells it apart: handler, schedule, what a calendar excludes. */
static bool is_telling(const char *key)
{
    static const char *const telling[] = {
        "handler", "cron",   "every",    "calendar_interval", "daily",
        "at",      "repeat", "timezone", "calendar",          "dates",
        "annual",  "weekly", "base",     "concurrency",       "disallow_concurrent"};
    for (size_t i = 0; i < sizeof telling / sizeof *telling; i++)
        if (strcmp(key, telling[i]) == 0)
            return true;
    return false;
}

static void put_next(struct buffer *text, const struct apply_change *change, const char *before)
{
    char next[TIME_TEXT_SIZE];
    if (!change->scheduled)
        return;
    if (change->calendar != NULL && change->implied) {
        buffer_format(text, "%scalendar \"%s\" changed", before, change->calendar);
        before = ", ";
    }
    if (change->next_at_us != MANIFEST_UNSET)
        buffer_format(text, "%snext firing %s", before, instant_format(change->next_at_us, next));
    else if (change->excluded)
        buffer_format(text, "%sno further firing: calendar \"%s\" leaves none", before,
                      change->calendar);
    else
        buffer_format(text, "%sno further firing", before);
}

static void put_details(struct buffer *text, const struct apply_change *change)
{
    const char *before = ": ";
    for (size_t i = 0; i < change->differences.count; i++) {
        const struct manifest_difference *difference = &change->differences.items[i];
        if (change->action == APPLY_CREATE && !is_telling(difference->key))
            continue;
        buffer_string(text, before);
        before = ", ";
        if (change->action == APPLY_CREATE)
            buffer_format(text, "%s %s", difference->key,
                          fits(difference->after) ? difference->after : "…");
        else
            put_difference(text, difference);
    }
    put_next(text, change, before);
}

static void put_line(struct buffer *text, const struct apply_change *change)
{
    buffer_format(text, "%c %s \"%s\"", action_signs[change->action], kind_names[change->kind],
                  change->name);
    if (change->kind == APPLY_TRIGGER)
        buffer_format(text, " of job \"%s\"", change->job);
    else
        buffer_format(text, " of source \"%s\"", change->source);
    put_details(text, change);
    buffer_char(text, '\n');
}

static void put_count(struct buffer *text, size_t count, const char *noun)
{
    buffer_format(text, "%zu %s%s", count, noun, count == 1 ? "" : "s");
}

static void put_unchanged(struct buffer *text, const struct apply_diff *diff)
{
    buffer_string(text, "= ");
    if (diff->calendars_unchanged > 0) {
        put_count(text, diff->calendars_unchanged, "calendar");
        buffer_string(text, ", ");
    }
    put_count(text, diff->jobs_unchanged, "job");
    buffer_string(text, " and ");
    put_count(text, diff->triggers_unchanged, "trigger");
    buffer_string(text, " unchanged\n");
}

void apply_show_text(const struct apply_diff *diff, struct buffer *text)
{
    for (size_t i = 0; i < diff->count; i++)
        if (!diff->changes[i].implied || diff->changes[i].action == APPLY_CHANGE)
            put_line(text, &diff->changes[i]);
    if (diff->runs_cancelled > 0)
        buffer_format(text, "- %lld waiting run%s of removed jobs cancelled\n",
                      (long long)diff->runs_cancelled, diff->runs_cancelled == 1 ? "" : "s");
    put_unchanged(text, diff);
}

/* --- JSON ------------------------------------------------------------------------------------ */

static void put_member(struct buffer *text, const char *key, const char *value)
{
    buffer_format(text, ",\"%s\":", key);
    buffer_json(text, value, strlen(value));
}

static void put_change(struct buffer *text, const struct apply_change *change)
{
    char next[TIME_TEXT_SIZE];
    buffer_format(text, "{\"action\":\"%s\",\"kind\":\"%s\"", action_names[change->action],
                  kind_names[change->kind]);
    put_member(text, "name", change->name);
    if (change->kind == APPLY_TRIGGER)
        put_member(text, "job", change->job);
    put_member(text, "source", change->source);
    buffer_string(text, ",\"changed\":[");
    for (size_t i = 0; i < change->differences.count; i++) {
        const struct manifest_difference *difference = &change->differences.items[i];
        buffer_format(text, "%s{\"key\":\"%s\",\"before\":", i > 0 ? "," : "", difference->key);
        buffer_string(text, difference->before != NULL ? difference->before : "null");
        buffer_string(text, ",\"after\":");
        buffer_string(text, difference->after != NULL ? difference->after : "null");
        buffer_char(text, '}');
    }
    buffer_char(text, ']');
    if (change->scheduled && change->next_at_us == MANIFEST_UNSET)
        buffer_string(text, ",\"next_fire_time\":null");
    else if (change->scheduled)
        put_member(text, "next_fire_time", instant_format(change->next_at_us, next));
    if (change->calendar != NULL)
        put_member(text, "calendar", change->calendar);
    if (change->excluded)
        put_member(text, "note", "the calendar leaves no firing");
    buffer_char(text, '}');
}

void apply_show_json(const struct apply_diff *diff, bool dry_run, struct buffer *text)
{
    buffer_format(text, "{\"dry_run\":%s,\"changes\":[", dry_run ? "true" : "false");
    for (size_t i = 0; i < diff->count; i++) {
        buffer_string(text, i > 0 ? ",\n" : "\n");
        put_change(text, &diff->changes[i]);
    }
    buffer_format(text,
                  "],\n\"unchanged\":{\"calendars\":%zu,\"jobs\":%zu,\"triggers\":%zu},"
                  "\"runs_cancelled\":%lld}\n",
                  diff->calendars_unchanged, diff->jobs_unchanged, diff->triggers_unchanged,
                  (long long)diff->runs_cancelled);
}

/* --- the list -------------------------------------------------------------------------------- */

/* There is room: plan_diff() has seen to it. The differences go over. */
static struct apply_change *add_change(struct apply_diff *diff, enum apply_action action,
                                       enum apply_kind kind, const char *name, const char *source,
                                       struct manifest_differences *differences)
{
    struct apply_change *change = &diff->changes[diff->count++];
    *change = (struct apply_change){.action = action,
                                    .kind = kind,
                                    .name = mem_string(name),
                                    .source = mem_string(source),
                                    .next_at_us = MANIFEST_UNSET};
    if (differences != NULL) {
        change->differences = *differences;
        *differences = (struct manifest_differences){0};
    }
    return change;
}

static void set_next(struct apply_change *change, const struct plan_due *due)
{
    change->scheduled = true;
    change->next_at_us = due->next_at_us;
    change->excluded = due->excluded;
}

static bool has_moved(const struct plan_move *move)
{
    return move->was->locked &&
           (move->due.state != move->was->state || move->due.next_at_us != move->was->next_at_us);
}

static void diff_trigger(struct apply_diff *diff, struct plan_trigger *planned)
{
    const struct found_trigger *was = planned->was;
    if (!planned->changed) {
        diff->triggers_unchanged += was == NULL || was->move == NULL || !has_moved(was->move);
        return;
    }
    struct apply_change *change =
        add_change(diff, was == NULL ? APPLY_CREATE : APPLY_CHANGE, APPLY_TRIGGER,
                   planned->trigger->name, planned->job->manifest->source, &planned->differences);
    change->job = mem_string(planned->job->job->name);
    if (!planned->reschedule)
        return;
    set_next(change, &planned->due);
    if (planned->due.excluded)
        change->calendar = mem_string(planned->trigger->calendar);
}

static void diff_moves(struct apply_plan *plan, struct apply_diff *diff)
{
    for (size_t i = 0; i < plan->move_count; i++) {
        const struct plan_move *move = &plan->moves[i];
        if (!has_moved(move))
            continue;
        struct apply_change *change =
            add_change(diff, APPLY_CHANGE, APPLY_TRIGGER, move->was->name, move->was->source, NULL);
        change->job = mem_string(move->was->job);
        change->implied = true;
        change->calendar = mem_string(move->was->calendar);
        set_next(change, &move->due);
    }
}

static void diff_calendars(struct apply_plan *plan, struct apply_diff *diff)
{
    for (size_t i = 0; i < plan->calendar_count; i++) {
        struct plan_calendar *calendar = &plan->calendars[i];
        if (calendar->changed)
            add_change(diff, calendar->was == NULL ? APPLY_CREATE : APPLY_CHANGE, APPLY_CALENDAR,
                       calendar->name, calendar->source, &calendar->differences);
        else
            diff->calendars_unchanged += calendar->declared != NULL;
    }
}

static void diff_removed(struct apply_plan *plan, struct apply_diff *diff)
{
    for (size_t i = 0; i < plan->found_job_count; i++)
        if (!plan->found_jobs[i].declared)
            add_change(diff, APPLY_REMOVE, APPLY_JOB, plan->found_jobs[i].name,
                       plan->found_jobs[i].source, NULL);
    for (size_t i = 0; i < plan->found_trigger_count; i++) {
        const struct found_trigger *gone = &plan->found_triggers[i];
        if (gone->declared)
            continue;
        struct apply_change *change =
            add_change(diff, APPLY_REMOVE, APPLY_TRIGGER, gone->name, gone->source, NULL);
        change->job = mem_string(gone->job);
        change->implied = gone->job_goes;
    }
    for (size_t i = 0; i < plan->calendar_count; i++)
        if (plan->calendars[i].goes)
            add_change(diff, APPLY_REMOVE, APPLY_CALENDAR, plan->calendars[i].name,
                       plan->calendars[i].source, NULL);
}

void plan_diff(struct apply_plan *plan, struct apply_diff *ret_diff)
{
    struct apply_diff diff = {0};
    size_t most = plan->calendar_count + plan->job_count + plan->trigger_count +
                  plan->found_job_count + plan->found_trigger_count;
    diff.changes = mem_array(most, sizeof *diff.changes);
    diff_calendars(plan, &diff);
    for (size_t i = 0; i < plan->job_count; i++) {
        struct plan_job *job = &plan->jobs[i];
        if (job->changed)
            add_change(&diff, job->was == NULL ? APPLY_CREATE : APPLY_CHANGE, APPLY_JOB,
                       job->job->name, job->manifest->source, &job->differences);
        else
            diff.jobs_unchanged++;
        for (size_t k = 0; k < job->job->trigger_count; k++)
            diff_trigger(&diff, &plan->triggers[job->first_trigger + k]);
    }
    diff_moves(plan, &diff);
    diff_removed(plan, &diff);
    *ret_diff = diff;
}

void apply_diff_free(struct apply_diff *diff)
{
    for (size_t i = 0; i < diff->count; i++) {
        free(diff->changes[i].name);
        free(diff->changes[i].job);
        free(diff->changes[i].source);
        free(diff->changes[i].calendar);
        manifest_differences_free(&diff->changes[i].differences);
    }
    free(diff->changes);
    *diff = (struct apply_diff){0};
}
