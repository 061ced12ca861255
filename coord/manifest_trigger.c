/*
 * Triggers of a manifest and the rules of their schedules: see manifest.h. Single values are read
 * by manifest_value.c, schedules are judged by coord/schedule.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "coord/manifest_value.h"
#include "coord/schedule/cron.h"
#include "coord/schedule/daily.h"
#include "coord/schedule/day_text.h"
#include "coord/schedule/interval.h"

#include <stdlib.h>

#define DAY_S        86400 /* seconds */
#define DAY_TEXT_MAX 8     /* 08:00:30 */

const char *const manifest_kinds[] = {
    [SCHEDULE_CRON] = "cron",   [SCHEDULE_EVERY] = "every",
    [SCHEDULE_AT] = "at",       [SCHEDULE_CALENDAR_INTERVAL] = "calendar_interval",
    [SCHEDULE_DAILY] = "daily", NULL};
const char *const manifest_misfires[] = {[MISFIRE_FIRE_ONCE] = "fire_once",
                                         [MISFIRE_SKIP] = "skip",
                                         [MISFIRE_FIRE_ALL] = "fire_all",
                                         NULL};
const char *const manifest_gaps[] = {
    [ZONE_GAP_DEFAULT] = "", [ZONE_GAP_AFTER] = "after", [ZONE_GAP_SKIP] = "skip", NULL};
const char *const manifest_weekdays[] = {"MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN", NULL};
const char *const manifest_overlaps[] = {[ZONE_OVERLAP_DEFAULT] = "",
                                         [ZONE_OVERLAP_FIRST] = "first",
                                         [ZONE_OVERLAP_SECOND] = "second",
                                         [ZONE_OVERLAP_BOTH] = "both",
                                         NULL};

struct trigger_reading {
    struct manifest_trigger trigger;
    const struct json_value *dst, *daily, *days;
};

#define TRIG(field) offsetof(struct trigger_reading, field)

static const struct manifest_key trigger_keys[] = {
    {"name", KEY_NAME, TRIG(trigger.name), 1, MANIFEST_NAME_MAX},
    {"description", KEY_TEXT, TRIG(trigger.description), 0, MANIFEST_DESCRIPTION_MAX},
    {"cron", KEY_NAME, TRIG(trigger.cron), 1, CRON_LENGTH_MAX},
    {"every", KEY_DURATION, TRIG(trigger.every_us), SCHEDULE_EVERY_MIN_US,
     MANIFEST_DURATION_MAX_US},
    {"repeat", KEY_NUMBER, TRIG(trigger.repeat), 0, INT32_MAX},
    {"at", KEY_INSTANT, TRIG(trigger.at_us)},
    {"timezone", KEY_NAME, TRIG(trigger.timezone), 1, ZONE_NAME_MAX},
    {"start_at", KEY_INSTANT, TRIG(trigger.start_at_us)},
    {"end_at", KEY_INSTANT, TRIG(trigger.end_at_us)},
    {"priority", KEY_NUMBER, TRIG(trigger.priority), 1, 100},
    {"data", KEY_DATA, TRIG(trigger.data)},
    {"misfire", KEY_CHOICE, TRIG(trigger.misfire), .choices = manifest_misfires},
    {"misfire_threshold", KEY_DURATION_MS, TRIG(trigger.misfire_threshold_ms), 0,
     MANIFEST_DURATION_MAX_US},
    {"misfire_limit", KEY_NUMBER, TRIG(trigger.misfire_limit), 1, MISFIRE_LIMIT_MAX},
    {"misfire_tolerance", KEY_DURATION_MS, TRIG(trigger.misfire_tolerance_ms), 0,
     MANIFEST_DURATION_MAX_US},
    {"dst", KEY_VALUE, TRIG(dst)},
    {"calendar", KEY_NAME, TRIG(trigger.calendar), 1, MANIFEST_NAME_MAX},
    {"calendar_interval", KEY_NAME, TRIG(trigger.calendar_interval), 1, INTERVAL_TEXT_MAX},
    {"daily", KEY_VALUE, TRIG(daily)},
};

static const struct manifest_key dst_keys[] = {
    {"gap", KEY_CHOICE, TRIG(trigger.gap), ZONE_GAP_AFTER, .choices = manifest_gaps},
    {"overlap", KEY_CHOICE, TRIG(trigger.overlap), ZONE_OVERLAP_FIRST,
     .choices = manifest_overlaps},
};

static const struct manifest_key daily_keys[] = {
    {"from", KEY_NAME, TRIG(trigger.daily_from), 1, DAY_TEXT_MAX},
    {"to", KEY_NAME, TRIG(trigger.daily_to), 1, DAY_TEXT_MAX},
    {"every", KEY_DURATION, TRIG(trigger.daily_every_us), US_PER_SECOND, DAY_S *US_PER_SECOND},
    {"days", KEY_VALUE, TRIG(days)},
};

/* --- schedules ------------------------------------------------------------------------------- */

/* The kind is told by which key is there; exactly one has to be. */
static bool read_kind(struct manifest_reader *reader, const struct json_value *object,
                      const char *what, struct manifest_trigger *trigger)
{
    const char *first = NULL;
    for (size_t i = 0; manifest_kinds[i] != NULL; i++) {
        const struct json_value *value = json_get(&reader->json, object, manifest_kinds[i]);
        if (value == NULL)
            continue;
        if (first != NULL) {
            manifest_problem(reader, value,
                             "%s has both \"%s\" and \"%s\"; give one of them, use two triggers "
                             "for two schedules",
                             what, first, manifest_kinds[i]);
            return false;
        }
        first = manifest_kinds[i];
        trigger->kind = (enum schedule_kind)i;
    }
    if (first == NULL)
        manifest_problem(reader, object,
                         "%s has no schedule; give one of \"cron\", \"every\", "
                         "\"calendar_interval\", \"daily\", \"at\"",
                         what);
    return first != NULL;
}

/* In UTC, with a problem, where the zone is unknown: so that the rest is checked all the same. */
static bool check_zone(struct manifest_reader *reader, const struct json_value *object,
                       const char *what, struct manifest_trigger *trigger)
{
    struct rota_error error = {0};
    struct zone *zone = zone_open(reader->set->zones, trigger->timezone, &error);
    if (zone == NULL) {
        manifest_problem(reader, json_get(&reader->json, object, "timezone"), "%s: %s", what,
                         error.message);
        free(trigger->timezone);
        trigger->timezone = mem_string(MANIFEST_TIMEZONE);
    }
    zone_unref(zone);
    return zone != NULL;
}

struct schedule_spec manifest_schedule(const struct manifest_trigger *trigger, int64_t start_at_us)
{
    struct schedule_spec spec = SCHEDULE_SPEC(trigger->kind);
    spec.cron = trigger->cron;
    spec.timezone = trigger->timezone;
    spec.seed = trigger->name;
    spec.calendar_interval = trigger->calendar_interval;
    spec.daily_from = trigger->daily_from;
    spec.daily_to = trigger->daily_to;
    spec.weekdays = trigger->daily_days;
    if (trigger->kind == SCHEDULE_DAILY)
        spec.every_us = trigger->daily_every_us;
    else if (trigger->every_us != MANIFEST_UNSET)
        spec.every_us = trigger->every_us;
    if (trigger->repeat != MANIFEST_UNSET)
        spec.repeat = trigger->repeat;
    if (trigger->at_us != MANIFEST_UNSET)
        spec.at_us = trigger->at_us;
    spec.start_at_us = start_at_us;
    if (trigger->end_at_us != MANIFEST_UNSET)
        spec.end_at_us = trigger->end_at_us;
    spec.gap = (enum zone_gap)trigger->gap;
    spec.overlap = (enum zone_overlap)trigger->overlap;
    return spec;
}

/* What is declared as it would be anyway is no declaration. */
static void settle_clock_change(struct manifest_reader *reader, const char *what,
                                const struct json_value *dst, const struct schedule *schedule,
                                struct manifest_trigger *trigger)
{
    enum zone_gap gap;
    enum zone_overlap overlap;
    if (!schedule_clock_change(schedule, &gap, &overlap)) {
        if (dst != NULL)
            manifest_problem(
                reader, dst,
                "%s: \"dst\" goes with what follows a clock: \"cron\", \"daily\" and a "
                "\"calendar_interval\" of days or longer; the others count elapsed "
                "time, and \"at\" is an instant",
                what);
        return;
    }
    if (trigger->gap == gap)
        trigger->gap = ZONE_GAP_DEFAULT;
    if (trigger->overlap == overlap)
        trigger->overlap = ZONE_OVERLAP_DEFAULT;
    trigger->effective_gap = trigger->gap != ZONE_GAP_DEFAULT ? trigger->gap : (int64_t)gap;
    trigger->effective_overlap =
        trigger->overlap != ZONE_OVERLAP_DEFAULT ? trigger->overlap : (int64_t)overlap;
}

/* The schedule itself, by its own rules; then only what an earlier problem spared is told. */
static void check_definition(struct manifest_reader *reader, const struct json_value *object,
                             const char *what, struct manifest_trigger *trigger)
{
    struct rota_error error = {0};
    struct schedule_spec spec = manifest_schedule(trigger, SCHEDULE_UNSET);
    spec.end_at_us = SCHEDULE_UNSET;
    spec.repeat = -1; /* how far it goes is found by a search, which needs the start */
    spec.gap = ZONE_GAP_DEFAULT;
    spec.overlap = ZONE_OVERLAP_DEFAULT;
    struct schedule *schedule = schedule_new(&spec, reader->set->zones, &error);
    if (schedule == NULL)
        manifest_problem(reader, json_get(&reader->json, object, manifest_kinds[trigger->kind]),
                         "%s: %s", what, error.message);
    else
        settle_clock_change(reader, what, json_get(&reader->json, object, "dst"), schedule,
                            trigger);
    schedule_free(schedule);
}

static bool is_complete(const struct manifest_trigger *trigger)
{
    switch (trigger->kind) {
    case SCHEDULE_CRON:
        return trigger->cron != NULL;
    case SCHEDULE_EVERY:
        return trigger->every_us != MANIFEST_UNSET;
    case SCHEDULE_AT:
        return trigger->at_us != MANIFEST_UNSET;
    case SCHEDULE_CALENDAR_INTERVAL:
        return trigger->calendar_interval != NULL;
    case SCHEDULE_DAILY:
        return trigger->daily_every_us != MANIFEST_UNSET;
    }
    return false;
}

static void check_schedule(struct manifest_reader *reader, const struct json_value *object,
                           const char *what, struct manifest_trigger *trigger)
{
    const struct json_value *repeat = json_get(&reader->json, object, "repeat");
    bool one = read_kind(reader, object, what, trigger);
    check_zone(reader, object, what, trigger);
    if (one && is_complete(trigger))
        check_definition(reader, object, what, trigger);
    if (one && repeat != NULL && (trigger->kind == SCHEDULE_CRON || trigger->kind == SCHEDULE_AT))
        manifest_problem(reader, repeat,
                         "%s: \"repeat\" goes with \"every\", \"calendar_interval\" and \"daily\"; "
                         "\"end_at\" limits any schedule",
                         what);
    if (trigger->start_at_us != MANIFEST_UNSET && trigger->end_at_us != MANIFEST_UNSET &&
        trigger->end_at_us < trigger->start_at_us)
        manifest_problem(reader, json_get(&reader->json, object, "end_at"),
                         "%s: \"end_at\" lies before \"start_at\"; it would never fire", what);
}

/* --- canonical values ------------------------------------------------------------------------ */

/* "1 month", however it was written. */
static void settle_interval(struct manifest_trigger *trigger)
{
    struct interval interval;
    struct rota_error error;
    struct buffer text = {0};
    if (trigger->calendar_interval == NULL ||
        interval_parse(&interval, trigger->calendar_interval, &error) != 0)
        return; /* told where the schedule is checked */
    interval_write(&text, &interval);
    buffer_text(&text);
    free(trigger->calendar_interval);
    trigger->calendar_interval = text.data;
}

/* "08:00", and nothing for the end of the day it is anyway. */
static void settle_time(struct manifest_reader *reader, const struct json_value *value,
                        const char *what, int standard, char **field)
{
    int second;
    struct rota_error error = {0};
    struct buffer text = {0};
    if (*field == NULL)
        return;
    if (day_time_parse(*field, &second, &error) != 0) {
        manifest_problem(reader, value, "%s: %s", what, error.message);
        second = standard; /* so that it is not told once more as part of the window */
    }
    free(*field);
    *field = NULL;
    if (second == standard)
        return;
    day_time_write(&text, second);
    buffer_text(&text);
    *field = text.data;
}

static void read_days(struct manifest_reader *reader, const struct json_value *array,
                      const char *what, unsigned *ret_days)
{
    int weekday;
    struct rota_error error = {0};
    const struct json_value *at = manifest_elements(reader, array, what, "days", "weekdays");
    if (array->type == JSON_ARRAY && array->count == 0)
        manifest_problem(
            reader, array,
            "%s: \"days\" is empty; name weekdays such as [\"MON\", \"FRI\"], or leave "
            "it out for every day",
            what);
    for (; at != NULL; at = json_next(&reader->json, at)) {
        char *word = at->type == JSON_STRING ? json_text(at) : NULL;
        char shown[MANIFEST_WHAT_SIZE];
        if (word == NULL)
            manifest_problem(reader, at, "%s: \"days\" must hold weekdays such as \"MON\", not %s",
                             what, manifest_shown(at, shown));
        else if (day_weekday_parse(word, &weekday, &error) != 0)
            manifest_problem(reader, at, "%s: %s", what, error.message);
        else
            *ret_days |= 1u << weekday;
        free(word);
    }
    if (*ret_days == DAILY_ALL_DAYS)
        *ret_days = 0;
}

static void read_daily(struct manifest_reader *reader, const char *trigger_what,
                       struct trigger_reading *reading)
{
    struct manifest_trigger *trigger = &reading->trigger;
    const struct json_value *daily = reading->daily;
    char *what = mem_format("%s, daily", trigger_what);
    if (manifest_is_object(reader, daily, what)) {
        manifest_read(reader, daily, what, daily_keys, MANIFEST_COUNT(daily_keys), reading);
        manifest_want(reader, daily, what, "every",
                      "add the step within the window, for example \"every\": \"15m\", or "
                      "\"every\": \"24h\" for once a day");
        settle_time(reader, json_get(&reader->json, daily, "from"), what, 0, &trigger->daily_from);
        settle_time(reader, json_get(&reader->json, daily, "to"), what, DAY_S, &trigger->daily_to);
        if (reading->days != NULL)
            read_days(reader, reading->days, what, &trigger->daily_days);
    }
    free(what);
}

/* --- triggers -------------------------------------------------------------------------------- */

static struct manifest_trigger new_trigger(struct manifest_reader *reader,
                                           const struct json_value *object)
{
    return (struct manifest_trigger){
        .timezone = mem_string(MANIFEST_TIMEZONE),
        .every_us = MANIFEST_UNSET,
        .repeat = MANIFEST_UNSET,
        .daily_every_us = MANIFEST_UNSET,
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
        .offset = manifest_offset(reader, object),
    };
}

static void read_dst(struct manifest_reader *reader, const char *trigger_what,
                     struct trigger_reading *reading)
{
    char *what = mem_format("%s, dst", trigger_what);
    if (manifest_is_object(reader, reading->dst, what))
        manifest_read(reader, reading->dst, what, dst_keys, MANIFEST_COUNT(dst_keys), reading);
    free(what);
}

static void read_trigger(struct manifest_reader *reader, const struct json_value *object,
                         const char *job_what, size_t number, struct manifest_trigger *ret_trigger)
{
    char noun[MANIFEST_WHAT_SIZE];
    manifest_title(reader, object, "trigger", number, noun);
    char *what = mem_format("%s, %s", job_what, noun);
    struct trigger_reading reading = {.trigger = new_trigger(reader, object)};
    if (manifest_is_object(reader, object, what)) {
        manifest_read(reader, object, what, trigger_keys, MANIFEST_COUNT(trigger_keys), &reading);
        if (reading.dst != NULL)
            read_dst(reader, what, &reading);
        if (reading.daily != NULL)
            read_daily(reader, what, &reading);
        settle_interval(&reading.trigger);
        manifest_want(reader, object, what, "name", "add one: it is unique in the fleet");
        if (!manifest_full(reader)) /* an unknown zone costs a search for a similar one */
            check_schedule(reader, object, what, &reading.trigger);
        if (reading.trigger.calendar != NULL)
            reading.trigger.calendar_offset =
                manifest_offset(reader, json_get(&reader->json, object, "calendar"));
    }
    free(what);
    *ret_trigger = reading.trigger;
}

void manifest_read_triggers(struct manifest_reader *reader, const struct json_value *array,
                            const char *what, struct manifest_job *job)
{
    const struct json_value *at = manifest_elements(reader, array, what, "triggers", "objects");
    if (at == NULL)
        return;
    job->triggers = mem_array(array->count, sizeof *job->triggers);
    for (; at != NULL; at = json_next(&reader->json, at)) {
        read_trigger(reader, at, what, job->trigger_count + 1, &job->triggers[job->trigger_count]);
        job->trigger_count++;
    }
}
