/*
 * What a calendar excludes: see calendar.h. Within one calendar a reading is excluded by its day or
 * by its time; the stack is asked calendar by calendar, each in its zone.
 */
#include "coord/schedule/calendar.h"

#include "base/clock.h"
#include "base/instant.h"
#include "coord/schedule/calendar_rules.h"
#include "coord/schedule/sieve.h"

#include <assert.h>
#include <stdlib.h>

#define DAY_S     WALL_DAY_S
#define DAY_COUNT (WALL_END_S / DAY_S)
/* Steps before whole days are looked at, and days in one of them: the nights and holidays of
 * ordinary calendars take few. */
#define STEPS     32
#define STEP_DAYS 31

struct calendar *calendar_ref(struct calendar *calendar)
{
    calendar->references++;
    return calendar;
}

void calendar_unref(struct calendar *calendar)
{
    while (calendar != NULL) {
        struct calendar *base = calendar->base;
        assert(calendar->references > 0);
        if (--calendar->references > 0)
            return;
        zone_unref(calendar->zone);
        zone_unref(calendar->utc);
        free(calendar->dates);
        free(calendar->stretches);
        free(calendar->crons);
        free(calendar);
        calendar = base;
    }
}

static int64_t day_of(int64_t reading)
{
    return reading / DAY_S - (reading % DAY_S < 0);
}

static bool has_date(const struct calendar *calendar, int64_t day)
{
    size_t low = 0, high = calendar->date_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (calendar->dates[middle] < day)
            low = middle + 1;
        else
            high = middle;
    }
    return low < calendar->date_count && calendar->dates[low] == day;
}

/* Whether a whole day is excluded by its date or weekday, or lies outside of the years. */
static bool excludes_day(const struct calendar *calendar, int64_t day)
{
    int64_t year;
    int month, in_month;
    if (day < 0 || day >= DAY_COUNT)
        return true;
    if (calendar->weekdays >> (day + 4) % 7 & 1) /* 1970-01-01 was a Thursday */
        return true;
    if (calendar->date_count > 0 && has_date(calendar, day))
        return true;
    if (!calendar->has_annual)
        return false;
    civil_from_days(day, &year, &month, &in_month);
    return calendar->annual[month - 1] >> (in_month - 1) & 1;
}

/* The end of the stretch that holds a second of the day, or the second itself. */
static int stretch_end(const struct calendar *calendar, int second)
{
    size_t low = 0, high = calendar->stretch_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (calendar->stretches[middle].to <= second)
            low = middle + 1;
        else
            high = middle;
    }
    bool holds = low < calendar->stretch_count && calendar->stretches[low].from <= second;
    return holds ? calendar->stretches[low].to : second;
}

/* The reading itself if it is included, or else a later one up to which all are excluded. */
static int64_t skip_reading(const struct calendar *calendar, int64_t reading)
{
    int64_t day = day_of(reading), midnight = day * DAY_S;
    if (excludes_day(calendar, day)) {
        int64_t end = day + STEP_DAYS;
        while (++day < end && excludes_day(calendar, day))
            ;
        return day * DAY_S;
    }
    int64_t until = midnight + stretch_end(calendar, (int)(reading - midnight));
    for (size_t i = 0; i < calendar->cron_count; i++) {
        int64_t end = cron_matching_until(&calendar->crons[i], reading);
        until = end > until ? end : until;
    }
    return until;
}

static const struct zone *zone_of(const struct calendar *calendar, const struct zone *zone)
{
    return calendar->zone != NULL ? calendar->zone : zone != NULL ? zone : calendar->utc;
}

int64_t calendar_skip(const struct calendar *calendar, const struct zone *zone, int64_t second_s)
{
    int64_t until = second_s;
    if (second_s < 0)
        return 0;
    if (second_s >= WALL_END_S)
        return CALENDAR_NONE;
    for (; calendar != NULL; calendar = calendar->base) {
        if (calendar->all)
            return CALENDAR_NONE;
        const struct zone *own = zone_of(calendar, zone);
        struct zone_span span = zone_span(own, zone_find(own, second_s));
        int64_t end_s = skip_reading(calendar, second_s + span.offset_s) - span.offset_s;
        end_s = end_s < span.end_s ? end_s : span.end_s;
        until = end_s > until ? end_s : until;
    }
    return until;
}

static int64_t floor_second(int64_t instant_us)
{
    return instant_us / US_PER_SECOND - (instant_us % US_PER_SECOND < 0);
}

bool calendar_excludes(const struct calendar *calendar, const struct zone *zone, int64_t instant_us)
{
    int64_t second_s = floor_second(instant_us);
    return calendar_skip(calendar, zone, second_s) != second_s;
}

/* --- as walls -------------------------------------------------------------------------------- */

static void mark_excluded(const void *of, int64_t from, int64_t to, int64_t origin,
                          struct seconds *seconds)
{
    const struct calendar *calendar = of;
    for (int64_t day = day_of(from); day * DAY_S < to; day++) {
        const struct calendar_stretch all = {0, DAY_S};
        bool whole = excludes_day(calendar, day);
        size_t count = whole ? 1 : calendar->stretch_count;
        for (size_t i = 0; i < count; i++) {
            const struct calendar_stretch *stretch = whole ? &all : &calendar->stretches[i];
            int64_t start = day * DAY_S + stretch->from, end = day * DAY_S + stretch->to;
            start = start > from ? start : from;
            end = end < to ? end : to;
            seconds_add_range(seconds, (int)(start - origin), (int)(end - origin));
        }
    }
    for (size_t i = 0; i < calendar->cron_count; i++)
        cron_pattern.mark(&calendar->crons[i], from, to, origin, seconds);
}

/* Bit 0: the whole day is excluded; the others: which expressions match on it. */
static uint64_t class_of_day(const void *of, int64_t day)
{
    const struct calendar *calendar = of;
    uint64_t bits = 0;
    if (excludes_day(calendar, day))
        return 1;
    for (size_t i = 0; i < calendar->cron_count; i++)
        bits |= cron_pattern.day_class(&calendar->crons[i], day) << (i + 1);
    return bits;
}

static bool excludes_reading(const void *of, int64_t reading)
{
    return skip_reading(of, reading) != reading;
}

static const struct wall_pattern excluded = {
    .mark = mark_excluded, .day_class = class_of_day, .has = excludes_reading};

int calendar_walls(const struct calendar *calendar, const struct zone *zone,
                   struct wall ret_walls[CALENDAR_DEPTH_MAX])
{
    int count = 0;
    for (; calendar != NULL; calendar = calendar->base) {
        assert(count < CALENDAR_DEPTH_MAX);
        ret_walls[count++] = (struct wall){&excluded, calendar, zone_of(calendar, zone),
                                           ZONE_GAP_SKIP, ZONE_OVERLAP_BOTH};
    }
    return count;
}

static void mark_all(const void *of, int64_t from, int64_t to, int64_t origin,
                     struct seconds *seconds)
{
    (void)of;
    seconds_add_range(seconds, (int)(from - origin), (int)(to - origin));
}

static uint64_t one_class(const void *of, int64_t day)
{
    (void)of;
    (void)day;
    return 0;
}

/* Where the steps of calendar_skip() have not ended: by days, which no calendar can draw out. */
static int64_t search(const struct calendar *calendar, const struct zone *zone, int64_t from_s)
{
    static const struct wall_pattern all = {.mark = mark_all, .day_class = one_class};
    struct sieve sieve = {
        .occurring = {&all, NULL, calendar->utc, ZONE_GAP_SKIP, ZONE_OVERLAP_BOTH}};
    sieve.excluding_count = calendar_walls(calendar, zone, sieve.excluding);
    int64_t second_s = sieve_first(&sieve, from_s, WALL_END_S);
    return second_s == WALL_NONE ? CALENDAR_NONE : second_s * US_PER_SECOND;
}

int64_t calendar_next_included(const struct calendar *calendar, const struct zone *zone,
                               int64_t instant_us)
{
    int64_t second_s = floor_second(instant_us);
    for (int step = 0; step < STEPS; step++) {
        int64_t until_s = calendar_skip(calendar, zone, second_s);
        if (until_s == CALENDAR_NONE)
            return CALENDAR_NONE;
        if (until_s == second_s)
            return step == 0 ? instant_us : second_s * US_PER_SECOND;
        second_s = until_s;
    }
    return search(calendar, zone, second_s);
}
