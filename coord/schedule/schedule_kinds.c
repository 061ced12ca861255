/*
 * The kinds of schedule, a row each: how a kind is opened, what comes next and how many there are.
 * Three follow a clock on the wall, the others count elapsed time or occur once.
 */
#include "base/clock.h"
#include "base/instant.h"
#include "coord/schedule/schedule_kind.h"

#define US_PER_DAY (WALL_DAY_S * US_PER_SECOND)

static int64_t floor_second(int64_t instant_us)
{
    return instant_us / US_PER_SECOND - (instant_us % US_PER_SECOND < 0);
}

static int check_repeat(const struct schedule_spec *spec, struct rota_error *error)
{
    if (spec->repeat < -1)
        return error_set(error, ERROR_REFUSED,
                         "repeat %lld: expected the number of firings after the first, 0 or more",
                         (long long)spec->repeat);
    return 0;
}

/* --- kinds that follow a clock ---------------------------------------------------------------- */

static int64_t clock_next(const struct schedule *schedule, int64_t after_us)
{
    int64_t after_s = floor_second(after_us - schedule->fraction_us);
    int64_t next_s = wall_next(&schedule->wall, after_s);
    return next_s == WALL_NONE ? SCHEDULE_NONE : next_s * US_PER_SECOND + schedule->fraction_us;
}

static int64_t clock_count(const struct schedule *schedule, int64_t after_us, int64_t until_us)
{
    return wall_count(&schedule->wall, floor_second(after_us - schedule->fraction_us),
                      floor_second(until_us - schedule->fraction_us));
}

/* The policies of cron: see cron_set_clock_change(). */
static void set_wall(struct schedule *schedule, const struct wall_pattern *pattern, const void *of,
                     const struct schedule_spec *spec, bool elapsed)
{
    schedule->wall =
        (struct wall){pattern, of, schedule->zone, elapsed ? ZONE_GAP_SKIP : ZONE_GAP_AFTER,
                      elapsed ? ZONE_OVERLAP_BOTH : ZONE_OVERLAP_FIRST};
    if (spec->gap != ZONE_GAP_DEFAULT)
        schedule->wall.gap = spec->gap;
    if (spec->overlap != ZONE_OVERLAP_DEFAULT)
        schedule->wall.overlap = spec->overlap;
}

/* Ends the schedule with its last repetition: the instant until which there are so many. */
static void end_with_repeat(struct schedule *schedule)
{
    int64_t before_us = schedule->start_us - 1, low_us = before_us, high_us = schedule->end_us;
    if (schedule->repeat < 0 || clock_count(schedule, before_us, high_us) <= schedule->repeat)
        return;
    for (int64_t reach = US_PER_DAY; reach < high_us - before_us; reach *= 2) {
        if (clock_count(schedule, before_us, before_us + reach) > schedule->repeat)
            high_us = before_us + reach;
        else
            low_us = before_us + reach;
    }
    while (high_us - low_us > 1) {
        int64_t middle_us = low_us + (high_us - low_us) / 2;
        if (clock_count(schedule, before_us, middle_us) > schedule->repeat)
            high_us = middle_us;
        else
            low_us = middle_us;
    }
    schedule->end_us = high_us;
}

static int cron_open(struct schedule *schedule, const struct schedule_spec *spec,
                     struct rota_error *error)
{
    if (spec->cron == NULL)
        return error_set(error, ERROR_REFUSED,
                         "cron: no expression: expected one such as "
                         "\"0 30 2 * * ?\"");
    if (cron_parse(&schedule->cron, spec->cron, schedule->zone, spec->seed, error) != 0)
        return -1;
    cron_set_clock_change(&schedule->cron, spec->gap, spec->overlap);
    schedule->wall = cron_wall(&schedule->cron);
    schedule->repeat = -1;
    schedule->ends |= cron_ends(&schedule->cron);
    return 0;
}

static int daily_open(struct schedule *schedule, const struct schedule_spec *spec,
                      struct rota_error *error)
{
    if (check_repeat(spec, error) != 0 ||
        daily_parse(&schedule->daily, spec->daily_from, spec->daily_to, spec->every_us,
                    spec->weekdays, error) != 0)
        return -1;
    set_wall(schedule, &daily_pattern, &schedule->daily, spec, daily_every_hour(&schedule->daily));
    end_with_repeat(schedule);
    return 0;
}

/* --- elapsed time ----------------------------------------------------------------------------- */

/* The number of the newest firing at or before the instant, -1 before the first. */
static int64_t every_number(const struct every *every, int64_t instant_us)
{
    if (instant_us < every->first_us)
        return -1;
    return (int64_t)(((__int128)instant_us - every->first_us) / every->period_us);
}

/* The first firing after the instant. */
static int64_t every_after(const struct every *every, int64_t after_us)
{
    int64_t number = every_number(every, after_us), next_us;
    if (__builtin_mul_overflow(number + 1, every->period_us, &next_us) ||
        __builtin_add_overflow(next_us, every->first_us, &next_us))
        return SCHEDULE_NONE;
    return next_us;
}

static int64_t every_next(const struct schedule *schedule, int64_t after_us)
{
    return every_after(&schedule->every, after_us);
}

static int64_t every_count(const struct schedule *schedule, int64_t after_us, int64_t until_us)
{
    return every_number(&schedule->every, until_us) - every_number(&schedule->every, after_us);
}

/* As seconds of a clock in UTC, for calendars. */
static int64_t every_in_seconds(const void *of, int64_t from, int64_t to)
{
    return every_number(of, to * US_PER_SECOND - 1) - every_number(of, from * US_PER_SECOND - 1);
}

static void every_mark(const void *of, int64_t from, int64_t to, int64_t origin,
                       struct seconds *seconds)
{
    const struct every *every = of;
    int64_t end_us = to * US_PER_SECOND;
    int64_t at_us = every_after(every, from * US_PER_SECOND - 1);
    if (every->period_us <= US_PER_SECOND && at_us < end_us) { /* no second is without */
        seconds_add_range(seconds, (int)(at_us / US_PER_SECOND - origin), (int)(to - origin));
        return;
    }
    for (; at_us < end_us; at_us += every->period_us)
        seconds_add(seconds, (int)(at_us / US_PER_SECOND - origin), 1);
}

/* Where in the day the first one lies: the others follow from it. */
static uint64_t every_class(const void *of, int64_t day)
{
    int64_t midnight_us = day * US_PER_DAY, first_us = every_after(of, midnight_us - 1);
    return first_us - midnight_us < US_PER_DAY ? (uint64_t)(first_us - midnight_us) : UINT64_MAX;
}

/* Periods over a second put at most one into each; shorter ones are counted second by second. */
static const struct wall_pattern every_pattern = {
    .count = every_in_seconds, .mark = every_mark, .day_class = every_class};
static const struct wall_pattern many_pattern = {
    .count = every_in_seconds, .mark = every_mark, .day_class = every_class, .many = true};

/* The first instant of the phase at or after the start. */
static int64_t first_of_every(const struct schedule_spec *spec, int64_t period_us, int64_t start_us)
{
    if (spec->anchor_us == SCHEDULE_UNSET)
        return spec->start_at_us == SCHEDULE_UNSET ? 0 : spec->start_at_us;
    if (spec->anchor_us >= start_us || spec->start_at_us == SCHEDULE_UNSET)
        return spec->anchor_us;
    __int128 behind = (__int128)start_us - spec->anchor_us;
    __int128 periods = (behind + period_us - 1) / period_us;
    __int128 first_us = spec->anchor_us + periods * period_us;
    return first_us < SCHEDULE_NONE ? (int64_t)first_us : SCHEDULE_NONE;
}

static void set_every(struct schedule *schedule, const struct schedule_spec *spec,
                      int64_t period_us)
{
    struct every *every = &schedule->every;
    every->period_us = period_us;
    every->first_us = first_of_every(spec, period_us, schedule->start_us);
    bool many = period_us < US_PER_SECOND;
    schedule->wall = (struct wall){many ? &many_pattern : &every_pattern, every, schedule->utc,
                                   ZONE_GAP_SKIP, ZONE_OVERLAP_BOTH};
    if (schedule->repeat < 0)
        return;
    __int128 last_us = every->first_us + (__int128)schedule->repeat * period_us;
    if (last_us < schedule->end_us)
        schedule->end_us = (int64_t)last_us;
}

static int every_open(struct schedule *schedule, const struct schedule_spec *spec,
                      struct rota_error *error)
{
    char text[TIME_TEXT_SIZE];
    if (spec->every_us < SCHEDULE_EVERY_MIN_US)
        return error_set(error, ERROR_REFUSED,
                         "every %s: shorter than 100ms: each firing is stored, dispatched and "
                         "recorded; use 100ms or more, or a loop in the worker",
                         duration_format(spec->every_us, text));
    if (spec->every_us > SCHEDULE_EVERY_MAX_US)
        return error_set(error, ERROR_REFUSED, "every %s: longer than 100 years (36525d)",
                         duration_format(spec->every_us, text));
    if (check_repeat(spec, error) != 0)
        return -1;
    set_every(schedule, spec, spec->every_us);
    return 0;
}

/* --- calendar_interval: one or the other ------------------------------------------------------ */

static const struct kind elapsed_interval = {NULL, every_next, every_count,
                                             schedule_describe_interval};

static int interval_open(struct schedule *schedule, const struct schedule_spec *spec,
                         struct rota_error *error)
{
    if (spec->calendar_interval == NULL)
        return error_set(error, ERROR_REFUSED,
                         "calendar_interval: none given: expected one such as \"1 month\"");
    if (check_repeat(spec, error) != 0 ||
        interval_parse(&schedule->interval, spec->calendar_interval, error) != 0)
        return -1;
    int64_t period_us = interval_elapsed_us(&schedule->interval);
    if (period_us > 0) {
        schedule->kind = &elapsed_interval;
        set_every(schedule, spec, period_us);
        return 0;
    }
    int64_t anchor_us = spec->anchor_us;
    if (anchor_us == SCHEDULE_UNSET)
        anchor_us = spec->start_at_us == SCHEDULE_UNSET ? 0 : spec->start_at_us;
    int64_t anchor_s = floor_second(anchor_us);
    schedule->fraction_us = anchor_us - anchor_s * US_PER_SECOND;
    interval_anchor(&schedule->interval, anchor_s + zone_offset(schedule->zone, anchor_s));
    set_wall(schedule, &interval_pattern, &schedule->interval, spec, false);
    end_with_repeat(schedule);
    return 0;
}

/* --- at --------------------------------------------------------------------------------------- */

static int at_open(struct schedule *schedule, const struct schedule_spec *spec,
                   struct rota_error *error)
{
    if (spec->at_us == SCHEDULE_UNSET || spec->at_us == SCHEDULE_NONE)
        return error_set(error, ERROR_REFUSED,
                         "at: no instant: expected one such as 2030-01-31T08:00:00Z");
    schedule->at_us = spec->at_us;
    schedule->repeat = -1;
    schedule->ends = true;
    return 0;
}

static int64_t at_next(const struct schedule *schedule, int64_t after_us)
{
    return after_us < schedule->at_us ? schedule->at_us : SCHEDULE_NONE;
}

static int64_t at_count(const struct schedule *schedule, int64_t after_us, int64_t until_us)
{
    return after_us < schedule->at_us && schedule->at_us <= until_us;
}

const struct kind schedule_kinds[SCHEDULE_DAILY + 1] = {
    [SCHEDULE_CRON] = {cron_open, clock_next, clock_count, schedule_describe_cron, true},
    [SCHEDULE_EVERY] = {every_open, every_next, every_count, schedule_describe_every},
    [SCHEDULE_AT] = {at_open, at_next, at_count, schedule_describe_at},
    [SCHEDULE_CALENDAR_INTERVAL] = {interval_open, clock_next, clock_count,
                                    schedule_describe_interval, true},
    [SCHEDULE_DAILY] = {daily_open, clock_next, clock_count, schedule_describe_daily, true},
};
