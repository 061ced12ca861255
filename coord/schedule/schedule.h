/*
 * When a trigger occurs, whatever its kind: cron, every, at, calendar_interval, daily. Pure
 * functions of the definition and an instant: next occurrence, how many lie in a stretch, the
 * newest of them, the last of all. Instants are wall clock microseconds since 1970-01-01 UTC; kinds
 * that follow a clock on the wall occur in the years 1970 to 2199.
 */
#ifndef COORD_SCHEDULE_SCHEDULE_H
#define COORD_SCHEDULE_SCHEDULE_H

#include "base/buffer.h"
#include "base/error.h"
#include "coord/schedule/calendar.h"
#include "coord/schedule/zone.h"

#include <stdint.h>

#define SCHEDULE_NONE  INT64_MAX /* no further occurrence */
#define SCHEDULE_UNSET INT64_MIN /* of an optional instant */

/* A firing is a row, a dispatch and a completion: ten of one trigger a second are as many as are of
 * use; what needs more is a loop in a worker. */
#define SCHEDULE_EVERY_MIN_US INT64_C(100000)
#define SCHEDULE_EVERY_MAX_US (INT64_C(36525) * 86400 * 1000000) /* 100 years */

struct schedule;

enum schedule_kind {
    SCHEDULE_CRON,
    SCHEDULE_EVERY,
    SCHEDULE_AT,
    SCHEDULE_CALENDAR_INTERVAL,
    SCHEDULE_DAILY
};

/*
 * What a trigger's definition says. Texts are only read.
 *
 * calendar_interval counts from its anchor: seconds, minutes and hours are elapsed time; days and
 * longer keep the anchor's time of day as its zone shows it, and the day of the month as far as a
 * month goes (31 January, 28 February, 31 March).
 *
 * daily occurs at from, from + every, … up to and with `to`, by the zone's clock, on the days
 * given; what would fall on 24:00 belongs to the next day.
 *
 * Where the clock is changed both do as cron does: what falls into a gap occurs once at its end,
 * what an overlap shows twice occurs the first time. A daily with an occurrence in each of the 24
 * hours follows elapsed time instead (nothing added in the gap, both in the overlap).
 */
struct schedule_spec {
    enum schedule_kind kind;
    const char *cron;
    const char *timezone; /* NULL: UTC */
    const char *seed;     /* what H is spread by: the trigger's name */
    int64_t every_us;     /* of every and daily */
    int64_t repeat;       /* occurrences after the first, not of cron and at; -1: without end */
    int64_t anchor_us; /* phase of every and calendar_interval; SCHEDULE_UNSET: start_at_us, or the
                          epoch */
    int64_t at_us;
    int64_t start_at_us; /* nothing before it; the first to `repeat` is counted from here */
    int64_t end_at_us;   /* nothing after it; an occurrence at this instant still counts */
    enum zone_gap gap;
    enum zone_overlap overlap;
    const char *calendar_interval; /* "1 month" */
    const char *daily_from;        /* "08:00"; NULL: 00:00 */
    const char *daily_to;          /* "18:00"; NULL: 24:00 */
    unsigned weekdays;             /* of daily; bit 0: Sunday; none: every day */
};

/* A definition without limits: struct schedule_spec spec = SCHEDULE_SPEC(SCHEDULE_CRON); */
#define SCHEDULE_SPEC(of_kind)                                                                     \
    {                                                                                              \
        .kind = (of_kind), .repeat = -1, .anchor_us = SCHEDULE_UNSET, .at_us = SCHEDULE_UNSET,     \
        .start_at_us = SCHEDULE_UNSET, .end_at_us = SCHEDULE_UNSET                                 \
    }

/* Owned by the caller; NULL with an error that says what was wrong and what would be right. */
struct schedule *schedule_new(const struct schedule_spec *spec, struct zone_cache *zones,
                              struct rota_error *error);
void schedule_free(struct schedule *schedule); /* NULL is fine */

/*
 * From now on occurrences that the calendar excludes are none; a reference is taken, NULL removes
 * it. Calendars of the stack without a zone use the schedule's. Excluded occurrences count towards
 * `repeat`. A question about a stretch then costs up to 20 us for each day in it that is like no
 * other, 0.2 us for the rest; one that finds nothing until the last year some 20 ms (sieve.h).
 */
void schedule_set_calendar(struct schedule *schedule, struct calendar *calendar);

/* The first occurrence strictly after the instant, or SCHEDULE_NONE. */
int64_t schedule_next(const struct schedule *schedule, int64_t after_us);

/* How many occurrences lie in (after_us, until_us]: exact, by arithmetic. */
int64_t schedule_count(const struct schedule *schedule, int64_t after_us, int64_t until_us);

/* The newest occurrence in (after_us, until_us], or SCHEDULE_NONE; found in a few dozen steps. */
int64_t schedule_newest(const struct schedule *schedule, int64_t after_us, int64_t until_us);

/* The last occurrence of all, or SCHEDULE_NONE where the definition sets no end (end_at, repeat,
 * at, years of cron) or nothing ever occurs. */
int64_t schedule_final(const struct schedule *schedule);

/* What became of the policies for a changed clock where the definition left them open. False for
 * kinds that follow elapsed time and have none. */
bool schedule_clock_change(const struct schedule *schedule, enum zone_gap *ret_gap,
                           enum zone_overlap *ret_overlap);

/* Appends what it means in English, a few sentences in one line. */
void schedule_describe(const struct schedule *schedule, struct buffer *text);

#endif
