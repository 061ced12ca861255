/* Reads what a calendar's definition says: see calendar.h. Every refusal names the entry. */
#include "coord/schedule/calendar.h"

#include "base/memory.h"
#include "coord/schedule/calendar_rules.h"
#include "coord/schedule/day_text.h"

#include <stdlib.h>

#define DAY_S WALL_DAY_S

static int refuse_count(const char *what, size_t count, size_t most, struct rota_error *error)
{
    return error_set(error, ERROR_REFUSED, "%s: %zu entries: expected at most %zu", what, count,
                     most);
}

static int compare_days(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static int read_dates(struct calendar *calendar, const struct calendar_spec *spec,
                      struct rota_error *error)
{
    int64_t day;
    if (spec->date_count > CALENDAR_DATES_MAX)
        return refuse_count("dates", spec->date_count, CALENDAR_DATES_MAX, error);
    if (spec->date_count == 0)
        return 0;
    calendar->dates = mem_array(spec->date_count, sizeof *calendar->dates);
    for (size_t i = 0; i < spec->date_count; i++) {
        if (day_date_parse(spec->dates[i], &day, error) != 0)
            return error_prefix(error, "dates");
        calendar->dates[calendar->date_count++] = (int32_t)day;
    }
    qsort(calendar->dates, calendar->date_count, sizeof *calendar->dates, compare_days);
    return 0;
}

static int read_days(struct calendar *calendar, const struct calendar_spec *spec,
                     struct rota_error *error)
{
    int month, day;
    for (size_t i = 0; i < spec->annual_count; i++) {
        if (day_of_year_parse(spec->annual[i], &month, &day, error) != 0)
            return error_prefix(error, "annual");
        calendar->annual[month - 1] |= 1u << (day - 1);
        calendar->has_annual = true;
    }
    for (size_t i = 0; i < spec->weekly_count; i++) {
        if (day_weekday_parse(spec->weekly[i], &day, error) != 0)
            return error_prefix(error, "weekly");
        calendar->weekdays |= (uint8_t)(1u << day);
    }
    return 0;
}

static int compare_stretches(const void *a, const void *b)
{
    const struct calendar_stretch *x = a, *y = b;
    return x->from - y->from;
}

/* Sorts, and makes one of those that touch. */
static void merge_stretches(struct calendar *calendar)
{
    struct calendar_stretch *all = calendar->stretches;
    size_t kept = 0;
    qsort(all, calendar->stretch_count, sizeof *all, compare_stretches);
    for (size_t i = 1; i < calendar->stretch_count; i++) {
        if (all[i].from > all[kept].to)
            all[++kept] = all[i];
        else if (all[i].to > all[kept].to)
            all[kept].to = all[i].to;
    }
    calendar->stretch_count = kept + 1;
}

static void add_stretch(struct calendar *calendar, int from, int to)
{
    if (from < to)
        calendar->stretches[calendar->stretch_count++] = (struct calendar_stretch){from, to};
}

static int read_windows(struct calendar *calendar, const struct calendar_spec *spec,
                        struct rota_error *error)
{
    int from, to;
    if (spec->daily_count > CALENDAR_WINDOW_MAX)
        return refuse_count("daily", spec->daily_count, CALENDAR_WINDOW_MAX, error);
    if (spec->daily_count == 0)
        return 0;
    calendar->stretches = mem_array(2 * spec->daily_count, sizeof *calendar->stretches);
    for (size_t i = 0; i < spec->daily_count; i++) {
        const struct calendar_window *window = &spec->daily[i];
        if (day_time_parse(window->from, &from, error) != 0 ||
            day_time_parse(window->to, &to, error) != 0)
            return error_prefix(error, "daily");
        if (from % DAY_S == to % DAY_S && to - from != DAY_S)
            return error_set(error, ERROR_REFUSED,
                             "daily: \"%s\" to \"%s\" is empty: expected two different times; the "
                             "whole day is 00:00 to 24:00",
                             window->from, window->to);
        add_stretch(calendar, from, from < to ? to : DAY_S);
        if (from > to)
            add_stretch(calendar, 0, to);
    }
    merge_stretches(calendar);
    return 0;
}

static int read_crons(struct calendar *calendar, const struct calendar_spec *spec,
                      struct rota_error *error)
{
    calendar->all_crons += spec->cron_count;
    if (calendar->all_crons > CALENDAR_CRON_MAX)
        return error_set(error, ERROR_REFUSED,
                         "cron: %zu expressions, those of its bases included: expected at most %d; "
                         "lists and ranges in one expression do the work of many",
                         calendar->all_crons, CALENDAR_CRON_MAX);
    if (spec->cron_count == 0)
        return 0;
    calendar->crons = mem_array(spec->cron_count, sizeof *calendar->crons);
    for (size_t i = 0; i < spec->cron_count; i++)
        if (cron_parse(&calendar->crons[calendar->cron_count++], spec->cron[i], calendar->utc,
                       spec->name, error) != 0)
            return -1;
    return 0;
}

/* Asked of the calendar alone and in UTC, where readings are instants: holds for all zones then. A
 * thousand triggers that use such a calendar by mistake are not searched one by one. */
static bool excludes_all(const struct calendar *calendar)
{
    struct calendar alone = *calendar;
    alone.base = NULL;
    alone.zone = NULL;
    return calendar_next_included(&alone, NULL, 0) == CALENDAR_NONE;
}

struct calendar *calendar_new(const struct calendar_spec *spec, struct zone_cache *zones,
                              struct rota_error *error)
{
    struct calendar *calendar = mem_alloc(sizeof *calendar);
    calendar->references = 1;
    calendar->depth = 1;
    if (spec->base != NULL) {
        calendar->base = calendar_ref(spec->base);
        calendar->depth += spec->base->depth;
        calendar->all_crons = spec->base->all_crons;
    }
    if (calendar->depth > CALENDAR_DEPTH_MAX) {
        error_set(error, ERROR_REFUSED, "base: more than %d calendars stand on each other",
                  CALENDAR_DEPTH_MAX);
        goto failed;
    }
    calendar->utc = zone_open(zones, NULL, error);
    if (calendar->utc == NULL)
        goto failed;
    if (spec->timezone != NULL) {
        calendar->zone = zone_open(zones, spec->timezone, error);
        if (calendar->zone == NULL)
            goto failed;
    }
    if (read_dates(calendar, spec, error) != 0 || read_days(calendar, spec, error) != 0 ||
        read_windows(calendar, spec, error) != 0 || read_crons(calendar, spec, error) != 0)
        goto failed;
    calendar->all = excludes_all(calendar);
    return calendar;
failed:
    calendar_unref(calendar);
    return NULL;
}
