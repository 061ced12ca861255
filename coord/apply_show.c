/* What an apply changed, for people and as JSON. See apply.h. */
#include "base/instant.h"
#include "coord/apply.h"

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

/* --- JSON ---------------------------------------------------------------------------------------
 */

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
