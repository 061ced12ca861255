/*
 * The canonical form of a definition (a job's, a trigger's, a calendar's): a JSON object of the
 * manifest's own keys in one fixed order, values normalised, defaults left out; only `data` stays
 * as its author wrote it. Two definitions are the same if and only if their texts are, so the form
 * must not change from version to version without need: every job would count as changed.
 */
#include "base/clock.h"
#include "base/instant.h"
#include "base/json.h"
#include "base/memory.h"
#include "coord/manifest_calendar.h"
#include "coord/manifest_definition.h"
#include "coord/manifest_queue.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void begin_member(struct buffer *out, const char *key)
{
    buffer_format(out, "%s\"%s\":", out->length > 1 ? "," : "", key);
}

static void put_text(struct buffer *out, const char *key, const char *text, const char *standard)
{
    if (text == NULL || (standard != NULL && strcmp(text, standard) == 0))
        return;
    begin_member(out, key);
    buffer_json(out, text, strlen(text));
}

static void put_number(struct buffer *out, const char *key, int64_t number, int64_t standard)
{
    if (number == standard)
        return;
    begin_member(out, key);
    buffer_int(out, number);
}

static void put_flag(struct buffer *out, const char *key, int64_t flag, int64_t standard)
{
    if (flag == standard)
        return;
    begin_member(out, key);
    buffer_string(out, flag ? "true" : "false");
}

static void put_duration(struct buffer *out, const char *key, int64_t duration_us, int64_t standard)
{
    char text[TIME_TEXT_SIZE];
    if (duration_us != standard)
        put_text(out, key, duration_format(duration_us, text), NULL);
}

static void put_duration_ms(struct buffer *out, const char *key, int64_t duration_ms,
                            int64_t standard)
{
    if (duration_ms != standard)
        put_duration(out, key, duration_ms * US_PER_MS, MANIFEST_UNSET);
}

static void put_instant(struct buffer *out, const char *key, int64_t wall_us)
{
    char text[TIME_TEXT_SIZE];
    if (wall_us != MANIFEST_UNSET)
        put_text(out, key, instant_format(wall_us, text), NULL);
}

static void put_data(struct buffer *out, struct slice data)
{
    if (data.data == NULL)
        return;
    begin_member(out, "data");
    buffer_append(out, data.data, data.length);
}

/* Ends an object and puts it as a member; it is freed. */
static void put_object(struct buffer *out, const char *key, struct buffer *object)
{
    buffer_char(object, '}');
    begin_member(out, key);
    buffer_append(out, object->data, object->length);
    buffer_free(object);
}

static char *take_text(struct buffer *out)
{
    buffer_char(out, '}');
    buffer_text(out);
    return out->data;
}

char *manifest_days(unsigned days, const char *between)
{
    struct buffer text = {0};
    for (unsigned i = 0; manifest_weekdays[i] != NULL; i++)
        if (days >> (i + 1) % 7 & 1)
            buffer_format(&text, "%s%s", text.length > 0 ? between : "", manifest_weekdays[i]);
    buffer_text(&text);
    return text.data;
}

static void put_retry(struct buffer *out, const struct manifest_job *job)
{
    struct buffer retry = {0};
    if (job->max_attempts == 1)
        return;
    buffer_char(&retry, '{');
    put_number(&retry, "max_attempts", job->max_attempts, 1);
    put_text(&retry, "backoff", manifest_backoffs[job->backoff],
             manifest_backoffs[MANIFEST_EXPONENTIAL]);
    put_duration_ms(&retry, "initial", job->retry_initial_ms, MANIFEST_RETRY_INITIAL_MS);
    put_duration_ms(&retry, "max", job->retry_max_ms, MANIFEST_RETRY_MAX_MS);
    if (job->retry_jitter != MANIFEST_RETRY_JITTER) {
        begin_member(&retry, "jitter");
        buffer_format(&retry, "%.9g", job->retry_jitter);
    }
    put_object(out, "retry", &retry);
}

static void put_concurrency(struct buffer *out, const struct manifest_job *job)
{
    struct buffer concurrency = {0};
    if (job->lane_limit == 1 && job->lane_key == NULL) {
        put_flag(out, "disallow_concurrent", true, false);
        return;
    }
    if (job->lane_limit == MANIFEST_UNSET)
        return;
    buffer_char(&concurrency, '{');
    put_number(&concurrency, "limit", job->lane_limit, MANIFEST_UNSET);
    put_text(&concurrency, "key", job->lane_key, NULL);
    put_object(out, "concurrency", &concurrency);
}

static void put_rate(struct buffer *out, const struct manifest_job *job)
{
    struct buffer rate = {0};
    if (job->rate_limit == MANIFEST_UNSET)
        return;
    buffer_char(&rate, '{');
    put_number(&rate, "limit", job->rate_limit, MANIFEST_UNSET);
    put_duration_ms(&rate, "per", job->rate_per_ms, MANIFEST_UNSET);
    put_number(&rate, "burst", job->rate_burst, job->rate_limit);
    put_text(&rate, "key", job->rate_key, NULL);
    put_object(out, "rate", &rate);
}

static void put_unique(struct buffer *out, const struct manifest_job *job)
{
    struct buffer unique = {0};
    buffer_char(&unique, '{');
    put_text(&unique, "key", job->unique_key, NULL);
    if (job->unique_until != MANIFEST_UNSET)
        put_text(&unique, "until", manifest_untils[job->unique_until], NULL);
    put_duration_ms(&unique, "for", job->unique_for_ms, MANIFEST_UNSET);
    if (job->unique_conflict != MANIFEST_UNSET)
        put_text(&unique, "on_conflict", manifest_conflicts[job->unique_conflict], NULL);
    if (unique.length > 1)
        put_object(out, "unique", &unique);
    buffer_free(&unique);
}

/* The newest keys come last, and only where they are used: see above. */
void manifest_define_job(struct manifest_job *job)
{
    struct buffer out = {0};
    assert(job->definition == NULL);
    buffer_char(&out, '{');
    put_text(&out, "description", job->description, "");
    put_text(&out, "handler", job->handler, NULL);
    put_data(&out, job->data);
    put_flag(&out, "requests_recovery", job->requests_recovery, MANIFEST_UNSET);
    put_flag(&out, "durable", job->durable, false);
    put_number(&out, "priority", job->priority, MANIFEST_PRIORITY);
    put_duration_ms(&out, "timeout", job->timeout_ms, MANIFEST_UNSET);
    put_retry(&out, job);
    put_number(&out, "max_crashes", job->max_crashes, MANIFEST_CRASHES);
    put_concurrency(&out, job);
    put_flag(&out, "persist_data", job->persist_data, false);
    put_text(&out, "on_exhausted", manifest_exhausted[job->on_exhausted], manifest_exhausted[0]);
    put_number(&out, "max_pending", job->max_pending, MANIFEST_UNSET);
    put_duration_ms(&out, "expires_in", job->expires_in_ms, MANIFEST_UNSET);
    put_text(&out, "on_failure", job->on_failure, NULL);
    put_rate(&out, job);
    put_unique(&out, job);
    job->definition = take_text(&out);
}

static void put_clock_change(struct buffer *out, const struct manifest_trigger *trigger)
{
    struct buffer dst = {0};
    if (trigger->gap == ZONE_GAP_DEFAULT && trigger->overlap == ZONE_OVERLAP_DEFAULT)
        return;
    buffer_char(&dst, '{');
    put_text(&dst, "gap", manifest_gaps[trigger->gap], "");
    put_text(&dst, "overlap", manifest_overlaps[trigger->overlap], "");
    put_object(out, "dst", &dst);
}

static void put_days(struct buffer *out, const char *key, unsigned days)
{
    if (days == 0)
        return;
    char *names = manifest_days(days, "\",\"");
    begin_member(out, key);
    buffer_format(out, "[\"%s\"]", names);
    free(names);
}

static void put_daily(struct buffer *out, const struct manifest_trigger *trigger)
{
    struct buffer daily = {0};
    if (trigger->daily_every_us == MANIFEST_UNSET)
        return;
    buffer_char(&daily, '{');
    put_text(&daily, "from", trigger->daily_from, NULL);
    put_text(&daily, "to", trigger->daily_to, NULL);
    put_duration(&daily, "every", trigger->daily_every_us, MANIFEST_UNSET);
    put_days(&daily, "days", trigger->daily_days);
    put_object(out, "daily", &daily);
}

static void put_texts(struct buffer *out, const char *key, const struct manifest_texts *texts)
{
    if (texts->count == 0)
        return;
    begin_member(out, key);
    for (size_t i = 0; i < texts->count; i++) {
        buffer_char(out, i == 0 ? '[' : ',');
        buffer_json(out, texts->items[i], strlen(texts->items[i]));
    }
    buffer_char(out, ']');
}

void manifest_define_calendar(struct manifest_calendar *calendar)
{
    struct buffer out = {0};
    assert(calendar->definition == NULL);
    buffer_char(&out, '{');
    put_text(&out, "description", calendar->description, "");
    put_texts(&out, "dates", &calendar->dates);
    put_texts(&out, "annual", &calendar->annual);
    put_days(&out, "weekly", calendar->weekly);
    if (calendar->daily_count > 0) {
        begin_member(&out, "daily");
        for (size_t i = 0; i < calendar->daily_count; i++)
            buffer_format(&out, "%c[\"%s\",\"%s\"]", i == 0 ? '[' : ',', calendar->daily[i].from,
                          calendar->daily[i].to);
        buffer_char(&out, ']');
    }
    put_texts(&out, "cron", &calendar->cron);
    put_text(&out, "timezone", calendar->timezone, NULL);
    put_text(&out, "base", calendar->base, NULL);
    calendar->definition = take_text(&out);
}

void manifest_define_trigger(struct manifest_trigger *trigger, const char *job_name)
{
    struct buffer out = {0};
    assert(trigger->definition == NULL);
    buffer_char(&out, '{');
    put_text(&out, "job", job_name, NULL);
    put_text(&out, "description", trigger->description, "");
    put_text(&out, "cron", trigger->cron, NULL);
    put_duration(&out, "every", trigger->every_us, MANIFEST_UNSET);
    put_text(&out, "calendar_interval", trigger->calendar_interval, NULL);
    put_daily(&out, trigger);
    put_number(&out, "repeat", trigger->repeat, MANIFEST_UNSET);
    put_instant(&out, "at", trigger->at_us);
    put_text(&out, "timezone", trigger->timezone, MANIFEST_TIMEZONE);
    put_instant(&out, "start_at", trigger->start_at_us);
    put_instant(&out, "end_at", trigger->end_at_us);
    put_clock_change(&out, trigger);
    put_text(&out, "calendar", trigger->calendar, NULL);
    put_number(&out, "priority", trigger->priority, MANIFEST_UNSET);
    put_data(&out, trigger->data);
    put_text(&out, "misfire", manifest_misfires[trigger->misfire],
             manifest_misfires[MISFIRE_FIRE_ONCE]);
    put_duration_ms(&out, "misfire_threshold", trigger->misfire_threshold_ms, MANIFEST_UNSET);
    put_number(&out, "misfire_limit", trigger->misfire_limit, MISFIRE_LIMIT);
    put_duration_ms(&out, "misfire_tolerance", trigger->misfire_tolerance_ms,
                    MISFIRE_TOLERANCE_US / US_PER_MS);
    trigger->definition = take_text(&out);
}

/* --- comparing ------------------------------------------------------------------------------- */

static void add_difference(struct manifest_differences *differences, const struct json_value *key,
                           const struct json_value *before, const struct json_value *after)
{
    differences->items =
        mem_resize(differences->items, differences->count + 1, sizeof *differences->items);
    differences->items[differences->count++] = (struct manifest_difference){
        json_text(key),
        before != NULL ? mem_string_n(before->raw.data, before->raw.length) : NULL,
        after != NULL ? mem_string_n(after->raw.data, after->raw.length) : NULL,
    };
}

/* A key's value in another definition. The keys are ours: plain words, equal if their bytes are. */
static const struct json_value *same_key(const struct json *other, const struct json_value *key)
{
    if (other->count == 0)
        return NULL;
    for (const struct json_value *at = json_first(other, &other->values[0]); at != NULL;
         at = json_next(other, at))
        if (at->raw.length == key->raw.length &&
            memcmp(at->raw.data, key->raw.data, key->raw.length) == 0)
            return json_member(at);
    return NULL;
}

static bool same_bytes(const struct json_value *a, const struct json_value *b)
{
    return a->raw.length == b->raw.length && memcmp(a->raw.data, b->raw.data, a->raw.length) == 0;
}

void manifest_compare(struct manifest_differences *ret_differences, const char *before,
                      const char *after)
{
    struct json old = {0}, new = {0};
    struct manifest_differences differences = {0};
    /* A stored definition we cannot read (none of ours) counts as empty: everything differs. */
    if (json_parse(&old, before, strlen(before), NULL) != 0)
        old = (struct json){0};
    if (json_parse(&new, after, strlen(after), NULL) != 0)
        new = (struct json){0};
    for (const struct json_value *at = new.count > 0 ? json_first(&new, new.values) : NULL;
         at != NULL; at = json_next(&new, at)) {
        const struct json_value *was = same_key(&old, at);
        if (was == NULL || !same_bytes(was, json_member(at)))
            add_difference(&differences, at, was, json_member(at));
    }
    for (const struct json_value *at = old.count > 0 ? json_first(&old, old.values) : NULL;
         at != NULL; at = json_next(&old, at))
        if (same_key(&new, at) == NULL)
            add_difference(&differences, at, json_member(at), NULL);
    json_free(&old);
    json_free(&new);
    *ret_differences = differences;
}

bool manifest_differs(const struct manifest_differences *differences, const char *const *keys)
{
    for (size_t i = 0; i < differences->count; i++)
        for (const char *const *key = keys; *key != NULL; key++)
            if (strcmp(differences->items[i].key, *key) == 0)
                return true;
    return false;
}

void manifest_differences_free(struct manifest_differences *differences)
{
    for (size_t i = 0; i < differences->count; i++) {
        free(differences->items[i].key);
        free(differences->items[i].before);
        free(differences->items[i].after);
    }
    free(differences->items);
    *differences = (struct manifest_differences){0};
}
