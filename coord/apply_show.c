/* What an apply changed: as a list, for people, and as JSON. See apply.h. */
#include "base/instant.h"
#include "base/memory.h"
#include "coord/apply_plan.h"

#include <stdlib.h>
#include <string.h>

#define SHOWN_MAX                                                                                  \
    60 /* bytes of a value that are worth a line; longer ones are only said to differ */

static const char *const action_names[] = {
    [APPLY_CREATE] = "create", [APPLY_CHANGE] = "change", [APPLY_REMOVE] = "remove"};
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

/* Of something new only what tells it apart: handler or schedule. */
static bool is_telling(const char *key)
{
    static const char *const telling[] = {"handler", "cron", "every", "at", "timezone"};
    for (size_t i = 0; i < sizeof telling / sizeof *telling; i++)
        if (strcmp(key, telling[i]) == 0)
            return true;
    return false;
}

static void put_details(struct buffer *text, const struct apply_change *change)
{
    char next[TIME_TEXT_SIZE];
    const char *before = ": ";
    for (size_t i = 0; i < change->differences.count; i++) {
        const struct manifest_difference *difference = &change->differences.items[i];
        if (change->action == APPLY_CREATE && !is_telling(difference->key))
            continue;
        buffer_string(text, before);
        before = ", ";
        if (change->action == APPLY_CREATE)
            buffer_format(text, "%s %s", difference->key, difference->after);
        else
            put_difference(text, difference);
    }
    if (!change->scheduled)
        return;
    if (change->next_at_us == MANIFEST_UNSET)
        buffer_format(text, "%sno further firing", before);
    else
        buffer_format(text, "%snext firing %s", before, instant_format(change->next_at_us, next));
}

static void put_line(struct buffer *text, const struct apply_change *change)
{
    buffer_format(text, "%c %s \"%s\"", action_signs[change->action],
                  change->trigger ? "trigger" : "job", change->name);
    if (change->trigger)
        buffer_format(text, " of job \"%s\"", change->job);
    else
        buffer_format(text, " of source \"%s\"", change->source);
    put_details(text, change);
    buffer_char(text, '\n');
}

void apply_show_text(const struct apply_diff *diff, struct buffer *text)
{
    for (size_t i = 0; i < diff->count; i++)
        if (!diff->changes[i].implied)
            put_line(text, &diff->changes[i]);
    if (diff->runs_cancelled > 0)
        buffer_format(text, "- %lld waiting run%s of removed jobs cancelled\n",
                      (long long)diff->runs_cancelled, diff->runs_cancelled == 1 ? "" : "s");
    buffer_format(text, "= %zu job%s and %zu trigger%s unchanged\n", diff->jobs_unchanged,
                  diff->jobs_unchanged == 1 ? "" : "s", diff->triggers_unchanged,
                  diff->triggers_unchanged == 1 ? "" : "s");
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
                  change->trigger ? "trigger" : "job");
    put_member(text, "name", change->name);
    if (change->trigger)
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
                  "],\n\"unchanged\":{\"jobs\":%zu,\"triggers\":%zu},\"runs_cancelled\":%lld}\n",
                  diff->jobs_unchanged, diff->triggers_unchanged, (long long)diff->runs_cancelled);
}

/* --- the list -------------------------------------------------------------------------------- */

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
        change->implied = gone->job_goes;
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
