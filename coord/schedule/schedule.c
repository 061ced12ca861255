/*
 * What all kinds of schedule have in common: see schedule.h. The limits start_at and end_at, the
 * search for the newest, and what a calendar leaves. How a kind goes is in schedule_kinds.c.
 */
#include "coord/schedule/schedule.h"

#include "base/clock.h"
#include "base/instant.h"
#include "base/memory.h"
#include "coord/schedule/schedule_kind.h"
#include "coord/schedule/sieve.h"

#include <assert.h>
#include <stdlib.h>

/* Occurrences are asked one by one whether the calendar excludes them as long as that gets on: this
 * many, and more if each brings so much time behind it. Else whole days are sifted. */
#define STEPS   64
#define STEP_US (INT64_C(6) * 3600 * US_PER_SECOND)

struct schedule *schedule_new(const struct schedule_spec *spec, struct zone_cache *zones,
                              struct rota_error *error)
{
    assert((size_t)spec->kind < sizeof schedule_kinds / sizeof *schedule_kinds);
    char start[TIME_TEXT_SIZE], end[TIME_TEXT_SIZE];
    struct schedule *schedule = mem_alloc(sizeof *schedule);
    schedule->kind = &schedule_kinds[spec->kind];
    schedule->start_us = SCHEDULE_BEGIN_US;
    schedule->end_us = SCHEDULE_END_US;
    schedule->repeat = spec->repeat;
    if (spec->start_at_us > SCHEDULE_BEGIN_US) /* which SCHEDULE_UNSET is not */
        schedule->start_us = spec->start_at_us;
    if (spec->end_at_us != SCHEDULE_UNSET && spec->end_at_us < SCHEDULE_END_US)
        schedule->end_us = spec->end_at_us;
    if (schedule->end_us < schedule->start_us) {
        error_set(error, ERROR_REFUSED, "end_at %s lies before start_at %s",
                  instant_format(spec->end_at_us, end), instant_format(spec->start_at_us, start));
        goto failed;
    }
    schedule->zone = zone_open(zones, spec->timezone, error);
    schedule->utc = zone_open(zones, NULL, error);
    if (schedule->zone == NULL || schedule->utc == NULL ||
        schedule->kind->open(schedule, spec, error) != 0)
        goto failed;
    schedule->ends |= schedule->repeat >= 0 || schedule->end_us < SCHEDULE_END_US;
    return schedule;
failed:
    schedule_free(schedule);
    return NULL;
}

void schedule_free(struct schedule *schedule)
{
    if (schedule == NULL)
        return;
    calendar_unref(schedule->calendar);
    zone_unref(schedule->zone);
    zone_unref(schedule->utc);
    free(schedule);
}

void schedule_set_calendar(struct schedule *schedule, struct calendar *calendar)
{
    if (calendar != NULL)
        calendar_ref(calendar);
    calendar_unref(schedule->calendar);
    schedule->calendar = calendar;
}

/* Cuts (after, until] to the schedule's limits; false if nothing is left. */
static bool cut(const struct schedule *schedule, int64_t *after_us, int64_t *until_us)
{
    if (*after_us < schedule->start_us)
        *after_us = schedule->start_us - 1;
    if (*until_us > schedule->end_us)
        *until_us = schedule->end_us;
    return *after_us < *until_us;
}

/* --- without the calendar --------------------------------------------------------------------- */

static int64_t any_next(const struct schedule *schedule, int64_t after_us)
{
    int64_t after = after_us < schedule->start_us ? schedule->start_us - 1 : after_us;
    if (after >= schedule->end_us)
        return SCHEDULE_NONE;
    int64_t next_us = schedule->kind->next(schedule, after);
    return next_us <= schedule->end_us ? next_us : SCHEDULE_NONE;
}

static int64_t any_count(const struct schedule *schedule, int64_t after_us, int64_t until_us)
{
    if (!cut(schedule, &after_us, &until_us))
        return 0;
    return schedule->kind->count(schedule, after_us, until_us);
}

/*
 * Steps back from the end, twice as far each time, until something lies behind; then halves the
 * stretch. Every kind gets it for the price of its next().
 */
static int64_t any_newest(const struct schedule *schedule, int64_t after_us, int64_t until_us)
{
    if (!cut(schedule, &after_us, &until_us))
        return SCHEDULE_NONE;
    int64_t low = any_next(schedule, after_us); /* an occurrence, as far as we know the newest */
    int64_t high = until_us;                    /* nothing lies after it, up to until_us */
    if (low > until_us)
        return SCHEDULE_NONE;
    for (int64_t back = US_PER_SECOND; back < high - low; back *= 2) {
        int64_t next = any_next(schedule, until_us - back);
        if (next <= until_us) {
            low = next;
            break;
        }
        high = until_us - back;
    }
    for (;;) {
        int64_t next = any_next(schedule, low);
        if (next > until_us)
            return low;
        low = next;
        int64_t middle = low + (high - low) / 2;
        if (middle <= low)
            continue;
        next = any_next(schedule, middle);
        if (next <= until_us)
            low = next;
        else
            high = middle;
    }
}

/* --- with it ---------------------------------------------------------------------------------- */

static int64_t floor_second(int64_t instant_us)
{
    return instant_us / US_PER_SECOND - (instant_us % US_PER_SECOND < 0);
}

/* The first and the last microsecond of a second. */
static int64_t second_start(int64_t second_s)
{
    return second_s * US_PER_SECOND;
}

static int64_t second_end(int64_t second_s)
{
    return second_s * US_PER_SECOND + US_PER_SECOND - 1;
}

static bool excluded(const struct schedule *schedule, int64_t instant_us)
{
    return calendar_excludes(schedule->calendar, schedule->zone, instant_us);
}

static struct sieve sieve_of(const struct schedule *schedule)
{
    struct sieve sieve = {.occurring = schedule->wall};
    sieve.excluding_count = calendar_walls(schedule->calendar, schedule->zone, sieve.excluding);
    return sieve;
}

/* The first one left from next_us on, itself an occurrence. Whole seconds are excluded, so that the
 * first of a second is left where any of it is. */
static int64_t next_left(const struct schedule *schedule, int64_t next_us)
{
    const int64_t from_us = next_us;
    for (int64_t step = 0; next_us != SCHEDULE_NONE; step++) {
        if (step > STEPS + (next_us - from_us) / STEP_US)
            break;
        int64_t second_s = floor_second(next_us);
        int64_t until_s = calendar_skip(schedule->calendar, schedule->zone, second_s);
        if (until_s == second_s)
            return next_us;
        if (until_s == CALENDAR_NONE)
            return SCHEDULE_NONE;
        next_us = any_next(schedule, second_start(until_s) - 1);
    }
    if (next_us == SCHEDULE_NONE || schedule->wall.pattern == NULL)
        return SCHEDULE_NONE;
    struct sieve sieve = sieve_of(schedule);
    int64_t second_s =
        sieve_first(&sieve, floor_second(next_us), floor_second(schedule->end_us) + 1);
    if (second_s == WALL_NONE)
        return SCHEDULE_NONE;
    return any_next(schedule, second_start(second_s) - 1);
}

/* `count` is how many there are without the calendar. A few are asked one by one; of many, the
 * seconds at both ends are, and the whole ones between them are sifted. */
static int64_t count_left(const struct schedule *schedule, int64_t after_us, int64_t until_us,
                          int64_t count)
{
    if (count <= STEPS) {
        int64_t left = 0;
        for (int64_t at_us = after_us; count > 0; count--) {
            at_us = any_next(schedule, at_us);
            left += !excluded(schedule, at_us);
        }
        return left;
    }
    int64_t first_s = floor_second(after_us), last_s = floor_second(until_us);
    struct sieve sieve = sieve_of(schedule);
    int64_t left = sieve_count(&sieve, first_s + 1, last_s);
    if (!excluded(schedule, after_us))
        left += any_count(schedule, after_us, second_end(first_s));
    if (!excluded(schedule, until_us))
        left += any_count(schedule, second_start(last_s) - 1, until_us);
    return left;
}

/* `newest_us` is the newest one without the calendar. */
static int64_t newest_left(const struct schedule *schedule, int64_t after_us, int64_t newest_us)
{
    if (!excluded(schedule, newest_us))
        return newest_us;
    if (any_count(schedule, after_us, newest_us - 1) == 0)
        return SCHEDULE_NONE;
    struct sieve sieve = sieve_of(schedule);
    int64_t first_s = floor_second(after_us);
    int64_t second_s = sieve_last(&sieve, first_s, floor_second(newest_us));
    if (second_s == WALL_NONE)
        return SCHEDULE_NONE;
    return any_newest(schedule, second_s == first_s ? after_us : second_start(second_s) - 1,
                      second_end(second_s));
}

int64_t schedule_next(const struct schedule *schedule, int64_t after_us)
{
    int64_t next_us = any_next(schedule, after_us);
    return schedule->calendar == NULL ? next_us : next_left(schedule, next_us);
}

int64_t schedule_count(const struct schedule *schedule, int64_t after_us, int64_t until_us)
{
    if (!cut(schedule, &after_us, &until_us))
        return 0;
    int64_t count = any_count(schedule, after_us, until_us);
    return schedule->calendar == NULL ? count : count_left(schedule, after_us, until_us, count);
}

int64_t schedule_newest(const struct schedule *schedule, int64_t after_us, int64_t until_us)
{
    if (!cut(schedule, &after_us, &until_us))
        return SCHEDULE_NONE;
    int64_t newest_us = any_newest(schedule, after_us, until_us);
    if (schedule->calendar == NULL || newest_us == SCHEDULE_NONE)
        return newest_us;
    return newest_left(schedule, after_us, newest_us);
}

int64_t schedule_final(const struct schedule *schedule)
{
    return schedule->ends ? schedule_newest(schedule, INT64_MIN, INT64_MAX) : SCHEDULE_NONE;
}

bool schedule_clock_change(const struct schedule *schedule, enum zone_gap *ret_gap,
                           enum zone_overlap *ret_overlap)
{
    const struct wall *wall = &schedule->wall;
    if (!schedule->kind->follows_clock)
        return false;
    *ret_gap = wall->gap;
    *ret_overlap = wall->overlap;
    return true;
}
