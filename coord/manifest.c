/*
 * The shape of a manifest and the rules of its objects: see manifest.h. Single values are read by
 * manifest_value.c, schedules are judged by coord/schedule.
 */
#include "coord/manifest.h"

#include "base/clock.h"
#include "base/memory.h"
#include "coord/manifest_value.h"
#include "coord/schedule/cron.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DAY_US          (86400 * US_PER_SECOND)
#define DURATION_MAX_US (36500 * DAY_US)
#define DESCRIPTION_MAX 10000
#define ATTEMPTS_MAX    1000 /* a run that failed so often needs a person */
#define IMMEDIATE_RETRIES                                                                          \
    5 /* attempts of "retry": "immediate", which has no pause between them                         \
       */

const char *const manifest_kinds[] = {
    [SCHEDULE_CRON] = "cron", [SCHEDULE_EVERY] = "every", [SCHEDULE_AT] = "at", NULL};
const char *const manifest_backoffs[] = {[MANIFEST_IMMEDIATE] = "immediate",
                                         [MANIFEST_FIXED] = "fixed",
                                         [MANIFEST_EXPONENTIAL] = "exponential",
                                         NULL};
const char *const manifest_misfires[] = {[MISFIRE_FIRE_ONCE] = "fire_once",
                                         [MISFIRE_SKIP] = "skip",
                                         [MISFIRE_FIRE_ALL] = "fire_all",
                                         NULL};
const char *const manifest_gaps[] = {
    [ZONE_GAP_DEFAULT] = "", [ZONE_GAP_AFTER] = "after", [ZONE_GAP_SKIP] = "skip", NULL};
const char *const manifest_overlaps[] = {[ZONE_OVERLAP_DEFAULT] = "",
                                         [ZONE_OVERLAP_FIRST] = "first",
                                         [ZONE_OVERLAP_SECOND] = "second",
                                         [ZONE_OVERLAP_BOTH] = "both",
                                         NULL};

static const char *const idle_flag[] = {"false", NULL};
static const char *const idle_list[] = {"[]", NULL};
static const char *const idle_outcome[] = {"\"fail\"", NULL};

/* Each object is read into one of these: its fields, and the members that are read apart. */
struct top {
    char *source;
    const struct json_value *jobs;
};

struct job_reading {
    struct manifest_job job;
    const struct json_value *retry, *triggers;
};

struct trigger_reading {
    struct manifest_trigger trigger;
    const struct json_value *dst;
};

#define TOP(field)  offsetof(struct top, field)
#define JOB(field)  offsetof(struct job_reading, field)
#define TRIG(field) offsetof(struct trigger_reading, field)
#define COUNT(keys) (sizeof(keys) / sizeof *(keys))

static const struct manifest_key top_keys[] = {
    {"source", KEY_NAME, TOP(source), 1, MANIFEST_NAME_MAX},
    {"jobs", KEY_VALUE, TOP(jobs)},
    {"calendars", KEY_LATER, .choices = idle_list},
};

static const struct manifest_key job_keys[] = {
    {"name", KEY_NAME, JOB(job.name), 1, MANIFEST_NAME_MAX},
    {"description", KEY_TEXT, JOB(job.description), 0, DESCRIPTION_MAX},
    {"handler", KEY_NAME, JOB(job.handler), 1, MANIFEST_NAME_MAX},
    {"data", KEY_DATA, JOB(job.data)},
    {"requests_recovery", KEY_FLAG, JOB(job.requests_recovery)},
    {"durable", KEY_FLAG, JOB(job.durable)},
    {"priority", KEY_NUMBER, JOB(job.priority), 1, 100},
    {"timeout", KEY_DURATION_MS, JOB(job.timeout_ms), US_PER_MS, DURATION_MAX_US},
    {"retry", KEY_VALUE, JOB(retry)},
    {"max_crashes", KEY_NUMBER, JOB(job.max_crashes), 1, ATTEMPTS_MAX},
    {"triggers", KEY_VALUE, JOB(triggers)},
    {"disallow_concurrent", KEY_LATER, .choices = idle_flag},
    {"persist_data", KEY_LATER, .choices = idle_flag},
    {"on_exhausted", KEY_LATER, .choices = idle_outcome},
    {"concurrency", KEY_LATER},
    {"rate", KEY_LATER},
    {"on_failure", KEY_LATER},
    {"max_pending", KEY_LATER},
    {"lease", KEY_LATER},
};

static const struct manifest_key retry_keys[] = {
    {"max_attempts", KEY_NUMBER, JOB(job.max_attempts), 1, ATTEMPTS_MAX},
    {"backoff", KEY_CHOICE, JOB(job.backoff), .choices = manifest_backoffs},
    {"initial", KEY_DURATION_MS, JOB(job.retry_initial_ms), 0, DURATION_MAX_US},
    {"max", KEY_DURATION_MS, JOB(job.retry_max_ms), 0, DURATION_MAX_US},
    {"jitter", KEY_FRACTION, JOB(job.retry_jitter)},
};

static const struct manifest_key trigger_keys[] = {
    {"name", KEY_NAME, TRIG(trigger.name), 1, MANIFEST_NAME_MAX},
    {"description", KEY_TEXT, TRIG(trigger.description), 0, DESCRIPTION_MAX},
    {"cron", KEY_NAME, TRIG(trigger.cron), 1, CRON_LENGTH_MAX},
    {"every", KEY_DURATION, TRIG(trigger.every_us), SCHEDULE_EVERY_MIN_US, DURATION_MAX_US},
    {"repeat", KEY_NUMBER, TRIG(trigger.repeat), 0, INT32_MAX},
    {"at", KEY_INSTANT, TRIG(trigger.at_us)},
    {"timezone", KEY_NAME, TRIG(trigger.timezone), 1, ZONE_NAME_MAX},
    {"start_at", KEY_INSTANT, TRIG(trigger.start_at_us)},
    {"end_at", KEY_INSTANT, TRIG(trigger.end_at_us)},
    {"priority", KEY_NUMBER, TRIG(trigger.priority), 1, 100},
    {"data", KEY_DATA, TRIG(trigger.data)},
    {"misfire", KEY_CHOICE, TRIG(trigger.misfire), .choices = manifest_misfires},
    {"misfire_threshold", KEY_DURATION_MS, TRIG(trigger.misfire_threshold_ms), 0, DURATION_MAX_US},
    {"misfire_limit", KEY_NUMBER, TRIG(trigger.misfire_limit), 1, MISFIRE_LIMIT_MAX},
    {"misfire_tolerance", KEY_DURATION_MS, TRIG(trigger.misfire_tolerance_ms), 0, DURATION_MAX_US},
    {"dst", KEY_VALUE, TRIG(dst)},
    {"calendar", KEY_LATER},
    {"calendar_interval", KEY_LATER},
    {"daily", KEY_LATER},
};

static const struct manifest_key dst_keys[] = {
    {"gap", KEY_CHOICE, TRIG(trigger.gap), ZONE_GAP_AFTER, .choices = manifest_gaps},
    {"overlap", KEY_CHOICE, TRIG(trigger.overlap), ZONE_OVERLAP_FIRST,
     .choices = manifest_overlaps},
};

/* The keys that are schedules; the first ones by enum schedule_kind. */
static const char *const schedule_keys[] = {"cron", "every", "at", "calendar_interval", "daily"};

/* --- helpers --------------------------------------------------------------------------------- */

/* True for an object; tells otherwise. */
static bool is_object(struct manifest_reader *reader, const struct json_value *value,
                      const char *what)
{
    if (value->type == JSON_OBJECT)
        return true;
    manifest_problem(reader, value, "%s must be an object, not %s", what,
                     json_type_name(value->type));
    return false;
}

/* The elements of an array member; NULL with a problem where it is something else. */
static const struct json_value *elements(struct manifest_reader *reader,
                                         const struct json_value *array, const char *what,
                                         const char *key)
{
    if (array == NULL)
        return NULL;
    if (array->type != JSON_ARRAY) {
        manifest_problem(reader, array, "%s: \"%s\" must be an array of objects, not %s", what, key,
                         json_type_name(array->type));
        return NULL;
    }
    return json_first(&reader->json, array);
}

/* 'job "x"', or 'job 3' where it has no name: a name for messages before it is read. */
static void name_object(struct manifest_reader *reader, const struct json_value *object,
                        const char *noun, size_t number, char what[MANIFEST_WHAT_SIZE])
{
    char shown[MANIFEST_WHAT_SIZE];
    const struct json_value *name = json_get(&reader->json, object, "name");
    if (name != NULL && name->type == JSON_STRING)
        snprintf(what, MANIFEST_WHAT_SIZE, "%s %s", noun, manifest_shown(name, shown));
    else
        snprintf(what, MANIFEST_WHAT_SIZE, "%s %zu", noun, number);
}

static bool given(struct manifest_reader *reader, const struct json_value *object, const char *key)
{
    return json_get(&reader->json, object, key) != NULL;
}

static void want_key(struct manifest_reader *reader, const struct json_value *object,
                     const char *what, const char *key, const char *hint)
{
    if (!given(reader, object, key))
        manifest_problem(reader, object, "%s has no \"%s\"; %s", what, key, hint);
}

/* --- triggers -------------------------------------------------------------------------------- */

/* The kind is told by which key is there; exactly one has to be. */
static void read_kind(struct manifest_reader *reader, const struct json_value *object,
                      const char *what, struct manifest_trigger *trigger)
{
    const char *first = NULL;
    for (size_t i = 0; i < COUNT(schedule_keys); i++) {
        const struct json_value *value = json_get(&reader->json, object, schedule_keys[i]);
        if (value == NULL)
            continue;
        if (first != NULL) {
            manifest_problem(
                reader, value,
                "%s has both \"%s\" and \"%s\"; give one of them, use two triggers for "
                "two schedules",
                what, first, schedule_keys[i]);
            return;
        }
        first = schedule_keys[i];
        if (i < COUNT(manifest_kinds) - 1)
            trigger->kind = (enum schedule_kind)i;
    }
    if (first == NULL)
        manifest_problem(reader, object,
                         "%s has no schedule; give one of \"cron\", \"every\", \"at\"", what);
}

/* Never NULL: the rest is checked in UTC where the zone is unknown. */
static struct zone *open_zone(struct manifest_reader *reader, const struct json_value *object,
                              const char *what, const struct manifest_trigger *trigger)
{
    struct rota_error error = {0};
    struct zone *zone = zone_open(reader->set->zones, trigger->timezone, &error);
    if (zone != NULL)
        return zone;
    manifest_problem(reader, json_get(&reader->json, object, "timezone"), "%s: %s", what,
                     error.message);
    return zone_open(reader->set->zones, NULL, &error);
}

static void check_cron(struct manifest_reader *reader, const struct json_value *object,
                       const char *what, struct manifest_trigger *trigger)
{
    struct rota_error error = {0};
    struct cron cron;
    struct zone *zone = open_zone(reader, object, what, trigger);
    if (trigger->cron != NULL &&
        cron_parse(&cron, trigger->cron, zone, trigger->name, &error) != 0) {
        manifest_problem(reader, json_get(&reader->json, object, "cron"), "%s: %s", what,
                         error.message);
    } else if (trigger->cron != NULL) {
        /* What is declared as it would be anyway is no declaration. */
        if (trigger->gap == cron.gap)
            trigger->gap = ZONE_GAP_DEFAULT;
        if (trigger->overlap == cron.overlap)
            trigger->overlap = ZONE_OVERLAP_DEFAULT;
        cron_set_clock_change(&cron, (enum zone_gap)trigger->gap,
                              (enum zone_overlap)trigger->overlap);
        trigger->effective_gap = cron.gap;
        trigger->effective_overlap = cron.overlap;
    }
    zone_unref(zone);
}

static void check_no_cron(struct manifest_reader *reader, const struct json_value *object,
                          const char *what, const struct manifest_trigger *trigger)
{
    const struct json_value *dst = json_get(&reader->json, object, "dst");
    zone_unref(open_zone(reader, object, what, trigger));
    if (dst != NULL)
        manifest_problem(reader, dst,
                         "%s: \"dst\" goes with \"cron\"; \"every\" counts elapsed time and \"at\" "
                         "is an instant",
                         what);
}

static void check_schedule(struct manifest_reader *reader, const struct json_value *object,
                           const char *what, struct manifest_trigger *trigger)
{
    const struct json_value *repeat = json_get(&reader->json, object, "repeat");
    read_kind(reader, object, what, trigger);
    if (given(reader, object, "cron"))
        check_cron(reader, object, what, trigger);
    else
        check_no_cron(reader, object, what, trigger);
    if (repeat != NULL && !given(reader, object, "every"))
        manifest_problem(reader, repeat,
                         "%s: \"repeat\" goes with \"every\"; \"end_at\" limits any "
                         "schedule",
                         what);
    if (trigger->start_at_us != MANIFEST_UNSET && trigger->end_at_us != MANIFEST_UNSET &&
        trigger->end_at_us < trigger->start_at_us)
        manifest_problem(reader, json_get(&reader->json, object, "end_at"),
                         "%s: \"end_at\" lies before \"start_at\"; it would never fire", what);
}

static struct manifest_trigger new_trigger(struct manifest_reader *reader,
                                           const struct json_value *object)
{
    return (struct manifest_trigger){
        .timezone = mem_string(MANIFEST_TIMEZONE),
        .every_us = MANIFEST_UNSET,
        .repeat = MANIFEST_UNSET,
        .at_us = MANIFEST_UNSET,
        .start_at_us = MANIFEST_UNSET,
        .end_at_us = MANIFEST_UNSET,
        .effective_gap = ZONE_GAP_AFTER,
        .effective_overlap = ZONE_OVERLAP_FIRST,
        .priority = MANIFEST_UNSET,
        .misfire = MISFIRE_FIRE_ONCE,
        .misfire_tolerance_ms = MISFIRE_TOLERANCE_US / US_PER_MS,
        .misfire_threshold_ms = MANIFEST_UNSET,
        .misfire_limit = MISFIRE_LIMIT,
        .offset = (size_t)(object->raw.data - reader->manifest->text),
    };
}

static void read_dst(struct manifest_reader *reader, const char *trigger_what,
                     struct trigger_reading *reading)
{
    char *what = mem_format("%s, dst", trigger_what);
    if (is_object(reader, reading->dst, what))
        manifest_read(reader, reading->dst, what, dst_keys, COUNT(dst_keys), reading);
    free(what);
}

static void read_trigger(struct manifest_reader *reader, const struct json_value *object,
                         const char *job_what, size_t number, struct manifest_trigger *ret_trigger)
{
    char noun[MANIFEST_WHAT_SIZE];
    name_object(reader, object, "trigger", number, noun);
    char *what = mem_format("%s, %s", job_what, noun);
    struct trigger_reading reading = {.trigger = new_trigger(reader, object)};
    if (is_object(reader, object, what)) {
        manifest_read(reader, object, what, trigger_keys, COUNT(trigger_keys), &reading);
        if (reading.dst != NULL)
            read_dst(reader, what, &reading);
        want_key(reader, object, what, "name", "add one: it is unique in the fleet");
        if (!manifest_full(reader)) /* an unknown zone costs a search for a similar one */
            check_schedule(reader, object, what, &reading.trigger);
    }
    free(what);
    *ret_trigger = reading.trigger;
}

static void read_triggers(struct manifest_reader *reader, const struct json_value *array,
                          const char *what, struct manifest_job *job)
{
    const struct json_value *at = elements(reader, array, what, "triggers");
    if (at == NULL)
        return;
    job->triggers = mem_array(array->count, sizeof *job->triggers);
    for (; at != NULL; at = json_next(&reader->json, at)) {
        read_trigger(reader, at, what, job->trigger_count + 1, &job->triggers[job->trigger_count]);
        job->trigger_count++;
    }
}

/* --- jobs ------------------------------------------------------------------------------------ */

static void read_retry(struct manifest_reader *reader, const char *job_what,
                       struct job_reading *reading)
{
    char what[2 * MANIFEST_WHAT_SIZE];
    struct manifest_job *job = &reading->job;
    const struct json_value *retry = reading->retry;
    if (json_is(retry, "immediate")) {
        job->max_attempts = IMMEDIATE_RETRIES;
        job->backoff = MANIFEST_IMMEDIATE;
        return;
    }
    if (retry->type != JSON_OBJECT) {
        char shown[MANIFEST_WHAT_SIZE];
        manifest_problem(
            reader, retry,
            "%s: \"retry\" must be an object such as {\"max_attempts\": 3} or the word "
            "\"immediate\", not %s",
            job_what, manifest_shown(retry, shown));
        return;
    }
    snprintf(what, sizeof what, "%s, retry", job_what);
    manifest_read(reader, retry, what, retry_keys, COUNT(retry_keys), reading);
    want_key(reader, retry, what, "max_attempts",
             "without it nothing is tried again; add for example \"max_attempts\": 3");
    if (!given(reader, retry, "max") && job->retry_max_ms < job->retry_initial_ms)
        job->retry_max_ms = job->retry_initial_ms;
    if (job->backoff == MANIFEST_EXPONENTIAL && job->retry_max_ms < job->retry_initial_ms)
        manifest_problem(reader, json_get(&reader->json, retry, "max"),
                         "%s: \"max\" is shorter than \"initial\"; make it at least as long", what);
}

/* What has no effect is as if it had not been said, so that it makes no difference either. */
static void settle_retry(struct manifest_job *job)
{
    if (job->max_attempts == 1)
        job->backoff = MANIFEST_EXPONENTIAL;
    if (job->max_attempts == 1 || job->backoff == MANIFEST_IMMEDIATE) {
        job->retry_initial_ms = MANIFEST_RETRY_INITIAL_MS;
        job->retry_jitter = MANIFEST_RETRY_JITTER;
    }
    if (job->max_attempts == 1 || job->backoff != MANIFEST_EXPONENTIAL)
        job->retry_max_ms = MANIFEST_RETRY_MAX_MS;
}

static void read_job(struct manifest_reader *reader, const struct json_value *object, size_t number,
                     struct manifest_job *ret_job)
{
    char what[MANIFEST_WHAT_SIZE];
    name_object(reader, object, "job", number, what);
    struct job_reading reading = {.job = {
                                      .requests_recovery = MANIFEST_UNSET,
                                      .priority = MANIFEST_PRIORITY,
                                      .timeout_ms = MANIFEST_UNSET,
                                      .max_attempts = 1,
                                      .backoff = MANIFEST_EXPONENTIAL,
                                      .retry_initial_ms = MANIFEST_RETRY_INITIAL_MS,
                                      .retry_max_ms = MANIFEST_RETRY_MAX_MS,
                                      .retry_jitter = MANIFEST_RETRY_JITTER,
                                      .max_crashes = MANIFEST_CRASHES,
                                      .offset = (size_t)(object->raw.data - reader->manifest->text),
                                  }};
    if (is_object(reader, object, what)) {
        manifest_read(reader, object, what, job_keys, COUNT(job_keys), &reading);
        want_key(reader, object, what, "name", "add one: it is unique in the fleet");
        want_key(reader, object, what, "handler", "add \"exec\", \"noop\" or one of your workers'");
        if (reading.retry != NULL)
            read_retry(reader, what, &reading);
        settle_retry(&reading.job);
        read_triggers(reader, reading.triggers, what, &reading.job);
        if (!reading.job.durable && (reading.triggers == NULL || reading.triggers->count == 0))
            manifest_problem(reader, object,
                             "%s has neither triggers nor \"durable\": true, so nothing could ever "
                             "run it; give it one of them",
                             what);
    }
    *ret_job = reading.job;
}

void manifest_read_top(struct manifest_reader *reader)
{
    struct manifest *manifest = reader->manifest;
    const struct json_value *root = &reader->json.values[0];
    struct top top = {0};
    if (is_object(reader, root, "a manifest")) {
        manifest_read(reader, root, "manifest", top_keys, COUNT(top_keys), &top);
        want_key(reader, root, "manifest", "jobs", "add an array; [] declares none");
        const struct json_value *at = elements(reader, top.jobs, "manifest", "jobs");
        manifest->jobs = mem_array(at != NULL ? top.jobs->count : 0, sizeof *manifest->jobs);
        for (; at != NULL; at = json_next(&reader->json, at)) {
            read_job(reader, at, manifest->job_count + 1, &manifest->jobs[manifest->job_count]);
            manifest->job_count++;
        }
    }
    manifest->source = top.source != NULL ? top.source : mem_string(MANIFEST_SOURCE);
}
