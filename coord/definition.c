/* Definitions as a node knows them: see definition.h. */
#include "coord/definition.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/memory.h"
#include "coord/manifest.h"
#include "coord/schedule/day_text.h"

#include <stdlib.h>
#include <string.h>

#define DURATION_MAX_MS (INT64_C(36525) * 86400 * 1000) /* 100 years */

struct definitions {
    struct zone_cache *zones;
    struct calendars *calendars;
    int64_t misfire_threshold_us;
    struct job *jobs;
    struct trigger *triggers;
};

struct definitions *definitions_new(struct zone_cache *zones, int64_t misfire_threshold_us)
{
    struct definitions *definitions = mem_alloc(sizeof *definitions);
    definitions->zones = zones;
    definitions->calendars = calendars_new(zones, CALENDARS_MAX);
    definitions->misfire_threshold_us = misfire_threshold_us;
    return definitions;
}

struct job *job_ref(struct job *job)
{
    job->refs++;
    return job;
}

void job_unref(struct job *job)
{
    if (job == NULL || --job->refs > 0)
        return;
    free(job->name);
    free(job->handler);
    free(job->data);
    free(job);
}

struct trigger *trigger_ref(struct trigger *trigger)
{
    trigger->refs++;
    return trigger;
}

void trigger_unref(struct trigger *trigger)
{
    if (trigger == NULL || --trigger->refs > 0)
        return;
    schedule_free(trigger->schedule);
    free(trigger->name);
    free(trigger->data);
    free(trigger->error);
    free(trigger);
}

static void drop_job(struct definitions *definitions, struct job *job)
{
    HASH_DEL(definitions->jobs, job);
    job_unref(job);
}

static void drop_trigger(struct definitions *definitions, struct trigger *trigger)
{
    HASH_DEL(definitions->triggers, trigger);
    trigger_unref(trigger);
}

void definitions_free(struct definitions *definitions)
{
    if (definitions == NULL)
        return;
    struct job *job, *next_job;
    struct trigger *trigger, *next_trigger;
    HASH_ITER (hh, definitions->jobs, job, next_job)
        drop_job(definitions, job);
    HASH_ITER (hh, definitions->triggers, trigger, next_trigger)
        drop_trigger(definitions, trigger);
    calendars_free(definitions->calendars);
    free(definitions);
}

struct job *definitions_job(struct definitions *definitions, int32_t id, int64_t revision)
{
    struct job *job;
    HASH_FIND_INT(definitions->jobs, &id, job);
    return job != NULL && job->seen_revision >= revision ? job : NULL;
}

struct trigger *definitions_trigger(struct definitions *definitions, int32_t id, int64_t revision)
{
    struct trigger *trigger;
    HASH_FIND_INT(definitions->triggers, &id, trigger);
    return trigger != NULL && !trigger->gone && trigger->revision == revision ? trigger : NULL;
}

struct trigger *definitions_trigger_seen(struct definitions *definitions, int32_t id,
                                         int64_t fleet_revision)
{
    struct trigger *trigger;
    HASH_FIND_INT(definitions->triggers, &id, trigger);
    return trigger != NULL && trigger->seen_revision >= fleet_revision ? trigger : NULL;
}

/* uthash keeps insertion order: the head is what was put in longest ago. */
static void make_room(struct definitions *definitions)
{
    while (HASH_COUNT(definitions->triggers) >= DEFINITIONS_MAX)
        drop_trigger(definitions, definitions->triggers);
    while (HASH_COUNT(definitions->jobs) >= DEFINITIONS_MAX)
        drop_job(definitions, definitions->jobs);
}

static void keep_job(struct definitions *definitions, struct job *job, int64_t fleet_revision)
{
    struct job *old;
    HASH_FIND_INT(definitions->jobs, &job->id, old);
    if (old != NULL)
        drop_job(definitions, old);
    make_room(definitions);
    job->refs = 1;
    job->seen_revision = fleet_revision;
    HASH_ADD_INT(definitions->jobs, id, job);
}

static void keep_trigger(struct definitions *definitions, struct trigger *trigger,
                         int64_t fleet_revision)
{
    struct trigger *old;
    HASH_FIND_INT(definitions->triggers, &trigger->id, old);
    if (old != NULL)
        drop_trigger(definitions, old);
    make_room(definitions);
    trigger->refs = 1;
    trigger->seen_revision = fleet_revision;
    HASH_ADD_INT(definitions->triggers, id, trigger);
}

static enum backoff backoff_of(const char *text)
{
    if (strcmp(text, "immediate") == 0)
        return BACKOFF_IMMEDIATE;
    return strcmp(text, "fixed") == 0 ? BACKOFF_FIXED : BACKOFF_EXPONENTIAL;
}

/* A duration in milliseconds, cut to what can be reckoned with: rows may have been written by hand.
 */
static int64_t duration_us(const PGresult *result, int row, int column)
{
    int64_t duration_ms = row_int64(result, row, column);
    if (duration_ms < 0)
        return 0;
    return (duration_ms < DURATION_MAX_MS ? duration_ms : DURATION_MAX_MS) * US_PER_MS;
}

/* Columns as job_load.sql lists them. */
static struct job *job_from_row(const PGresult *result, int row)
{
    struct job *job = mem_alloc(sizeof *job);
    job->id = row_int32(result, row, 0);
    job->name = mem_string(row_text(result, row, 2));
    job->handler = mem_string(row_text(result, row, 3));
    job->data = mem_string(row_text(result, row, 4));
    job->timeout_us = duration_us(result, row, 5);
    job->max_attempts = row_int16(result, row, 6);
    job->backoff = backoff_of(row_text(result, row, 7));
    job->retry_initial_us = duration_us(result, row, 8);
    job->retry_max_us = duration_us(result, row, 9);
    job->retry_jitter = row_double(result, row, 10);
    job->max_crashes = row_int16(result, row, 11);
    job->requests_recovery = row_null(result, row, 12) ? -1 : row_bool(result, row, 12);
    job->held = row_bool(result, row, 13);
    job->lane_limit = row_int32(result, row, 14);
    job->persist_data = row_bool(result, row, 15);
    job->exhausted_is_error = row_bool(result, row, 16);
    job->tells_failure = row_bool(result, row, 17);
    return job;
}

static int64_t or_none(int64_t time_us)
{
    return time_us == STORE_NULL_TIME ? SCHEDULE_UNSET : time_us;
}

/* A row may be of a newer version, or written by hand. */
static int kind_of(const char *text, enum schedule_kind *ret_kind, struct rota_error *error)
{
    for (int i = 0; manifest_kinds[i] != NULL; i++) {
        if (strcmp(text, manifest_kinds[i]) == 0) {
            *ret_kind = (enum schedule_kind)i;
            return 0;
        }
    }
    return error_set(error, ERROR_REFUSED,
                     "kind \"%s\" is unknown to this version: expected cron, every, at, "
                     "calendar_interval or daily; upgrade the node",
                     text);
}

/* "MON,FRI" as a bitmap. 0 or -1. */
static int weekdays_of(const char *text, unsigned *ret_weekdays, struct rota_error *error)
{
    int failed = 0, weekday;
    char *copy = mem_string(text), *rest = copy, *word;
    while (failed == 0 && rest != NULL) {
        word = strsep(&rest, ",");
        failed = day_weekday_parse(word, &weekday, error);
        if (failed == 0)
            *ret_weekdays |= 1u << weekday;
    }
    free(copy);
    return failed;
}

static int64_t int64_or(const PGresult *result, int row, int column, int64_t otherwise)
{
    return row_null(result, row, column) ? otherwise : row_int64(result, row, column);
}

struct schedule *schedule_from_row(const PGresult *result, int row, struct zone_cache *zones,
                                   struct rota_error *error)
{
    enum schedule_kind kind;
    if (kind_of(row_text(result, row, 3), &kind, error) != 0)
        return NULL;
    struct schedule_spec spec = SCHEDULE_SPEC(kind);
    spec.cron = row_text(result, row, 4);
    spec.seed = row_text(result, row, 2);
    spec.every_us = int64_or(result, row, kind == SCHEDULE_DAILY ? 22 : 5, 0);
    spec.repeat = int64_or(result, row, 6, -1);
    spec.at_us = or_none(row_time(result, row, 7));
    spec.timezone = row_text(result, row, 8);
    spec.start_at_us = or_none(row_time(result, row, 9));
    spec.end_at_us = or_none(row_time(result, row, 10));
    spec.calendar_interval = row_text(result, row, 19);
    spec.daily_from = row_text(result, row, 20);
    spec.daily_to = row_text(result, row, 21);
    if (zone_gap_parse(row_text(result, row, 11), &spec.gap, error) != 0 ||
        zone_overlap_parse(row_text(result, row, 12), &spec.overlap, error) != 0)
        return NULL;
    if (!row_null(result, row, 23) &&
        weekdays_of(row_text(result, row, 23), &spec.weekdays, error) != 0) {
        error_prefix(error, "daily: days");
        return NULL;
    }
    return schedule_new(&spec, zones, error);
}

/* The texts of a stack come with one row, for all after it: also where that one is no use. */
static void take_calendar(const PGresult *result, int row, struct calendars *calendars)
{
    size_t count;
    if (row_null(result, row, 25))
        return;
    char **names = row_texts(result, row, 25, &count);
    char **definitions = row_texts(result, row, 26, &count);
    calendars_put(calendars, row_text(result, row, 24), names, definitions, count);
    free(names);
    free(definitions);
}

/* 0, or -1 with an error. */
static int give_calendar(struct schedule *schedule, const char *name, struct calendars *calendars,
                         struct rota_error *error)
{
    if (schedule == NULL || name == NULL)
        return 0;
    struct calendar *calendar = calendars_get(calendars, name, error);
    if (calendar == NULL)
        return error_prefix(error, "calendar \"%s\" cannot be evaluated", name);
    schedule_set_calendar(schedule, calendar);
    return 0;
}

struct trigger *trigger_from_row(const PGresult *result, int row, struct zone_cache *zones,
                                 struct calendars *calendars, int64_t misfire_threshold_us)
{
    struct trigger *trigger = mem_alloc(sizeof *trigger);
    struct rota_error error = {0};
    trigger->refs = 1;
    trigger->id = row_int32(result, row, 0);
    trigger->revision = row_int64(result, row, 1);
    trigger->name = mem_string(row_text(result, row, 2));
    trigger->data = mem_string(row_text(result, row, 13));
    trigger->job_id = row_int32(result, row, 18);
    int unknown_policy =
        misfire_policy_parse(row_text(result, row, 14), &trigger->rule.policy, &error);
    trigger->rule.tolerance_us = duration_us(result, row, 15);
    trigger->rule.threshold_us =
        row_null(result, row, 16) ? misfire_threshold_us : duration_us(result, row, 16);
    int limit = row_int32(result, row, 17);
    trigger->rule.limit = limit < 1 ? 1 : limit < MISFIRE_LIMIT_MAX ? limit : MISFIRE_LIMIT_MAX;
    if (unknown_policy == 0)
        trigger->schedule = schedule_from_row(result, row, zones, &error);
    take_calendar(result, row, calendars);
    if (give_calendar(trigger->schedule, row_text(result, row, 24), calendars, &error) != 0) {
        schedule_free(trigger->schedule);
        trigger->schedule = NULL;
    }
    if (trigger->schedule == NULL)
        trigger->error = mem_string(error.message);
    return trigger;
}

struct trigger *definitions_read(struct definitions *definitions, const PGresult *result, int row)
{
    return trigger_from_row(result, row, definitions->zones, definitions->calendars,
                            definitions->misfire_threshold_us);
}

void definitions_put_triggers(struct definitions *definitions, const PGresult *result,
                              const int32_t *asked, size_t count, int64_t fleet_revision)
{
    for (int row = 0; row < PQntuples(result); row++)
        keep_trigger(definitions, definitions_read(definitions, result, row), fleet_revision);
    for (size_t i = 0; i < count; i++) {
        if (definitions_trigger_seen(definitions, asked[i], fleet_revision) != NULL)
            continue;
        struct trigger *gone = mem_alloc(sizeof *gone);
        gone->id = asked[i];
        gone->gone = true;
        keep_trigger(definitions, gone, fleet_revision);
    }
}

void definitions_put_jobs(struct definitions *definitions, const PGresult *result,
                          const int32_t *asked, size_t count, int64_t fleet_revision)
{
    for (int row = 0; row < PQntuples(result); row++)
        keep_job(definitions, job_from_row(result, row), fleet_revision);
    for (size_t i = 0; i < count; i++) {
        if (definitions_job(definitions, asked[i], fleet_revision) != NULL)
            continue;
        struct job *gone = mem_alloc(sizeof *gone);
        gone->id = asked[i];
        gone->gone = true;
        keep_job(definitions, gone, fleet_revision);
    }
}

static void put_members(struct buffer *out, const struct json *json, const struct json_keys *except)
{
    for (const struct json_value *at = json_first(json, json->values); at != NULL;
         at = json_next(json, at)) {
        if (except != NULL && json_keys_have(except, at))
            continue;
        if (out->data[out->length - 1] != '{')
            buffer_char(out, ',');
        buffer_append(out, at->raw.data, at->raw.length);
        buffer_char(out, ':');
        struct slice value = json_member(at)->raw;
        buffer_append(out, value.data, value.length);
    }
}

void data_merge(struct buffer *out, struct slice base, struct slice over)
{
    struct json below = {0}, above = {0};
    bool usable = base.data != NULL && json_parse(&below, base.data, base.length, NULL) == 0 &&
                  below.values->type == JSON_OBJECT;
    bool merged = usable && over.data != NULL &&
                  json_parse(&above, over.data, over.length, NULL) == 0 &&
                  above.values->type == JSON_OBJECT;
    if (merged && above.values->count > 0 && below.values->count > 0) {
        struct json_keys keys;
        json_keys_sort(&above, above.values, &keys);
        buffer_char(out, '{');
        put_members(out, &below, &keys);
        put_members(out, &above, NULL);
        buffer_char(out, '}');
        json_keys_free(&keys);
    } else if (over.data != NULL && (!merged || above.values->count > 0)) {
        buffer_append(out, over.data, over.length);
    } else if (base.data != NULL) {
        buffer_append(out, base.data, base.length);
    }
    json_free(&below);
    json_free(&above);
}
