/*
 * Calendars: time in which triggers do not occur. Dates, days of every year, weekdays, windows of
 * each day and cron expressions, taken together, and whatever the calendar below excludes. A second
 * is excluded or not as a clock in the calendar's zone reads it: in a gap nothing is, and what an
 * overlap shows twice is excluded twice. Pure functions of the definition and an instant
 * (microseconds since 1970-01-01 UTC). A calendar belongs to one thread, as its zones do.
 */
#ifndef COORD_SCHEDULE_CALENDAR_H
#define COORD_SCHEDULE_CALENDAR_H

#include "base/error.h"
#include "coord/schedule/wall.h"
#include "coord/schedule/zone.h"

#define CALENDAR_DEPTH_MAX  8     /* calendars in a stack */
#define CALENDAR_CRON_MAX   12    /* expressions of a stack together: see sieve.h for their cost */
#define CALENDAR_DATES_MAX  20000 /* all days of 50 years, by hand */
#define CALENDAR_WINDOW_MAX 100
#define CALENDAR_NONE       INT64_MAX

struct calendar;

/* [from, to): 13:00 is not excluded by 12:00 to 13:00; 22:00 to 06:00 goes on past midnight. */
struct calendar_window {
    const char *from;
    const char *to;
};

/* What a calendar's definition says. Texts are only read. */
struct calendar_spec {
    const char *name;         /* what H in its expressions is spread by; NULL reads as "" */
    const char *timezone;     /* NULL: the zone of the trigger that uses it */
    const char *const *dates; /* "2026-12-25" */
    size_t date_count;
    const char *const *annual; /* "12-25" */
    size_t annual_count;
    const char *const *weekly; /* "SAT" */
    size_t weekly_count;
    const struct calendar_window *daily;
    size_t daily_count;
    const char *const *cron; /* every second that matches is excluded */
    size_t cron_count;
    struct calendar *base; /* excludes too; a reference is taken. NULL: none */
};

/* The caller's reference, for calendar_unref(). NULL with an error that says what was wrong and
 * what would be right. Whoever looks up a base by its name refuses circles. */
struct calendar *calendar_new(const struct calendar_spec *spec, struct zone_cache *zones,
                              struct rota_error *error);
struct calendar *calendar_ref(struct calendar *calendar);
void calendar_unref(struct calendar *calendar); /* NULL is fine */

/*
 * `zone` is the trigger's, for calendars of the stack that name none; NULL: UTC. Outside the years
 * 1970 to 2199, of UTC and of each zone, everything is excluded.
 */
bool calendar_excludes(const struct calendar *calendar, const struct zone *zone,
                       int64_t instant_us);

/* The first instant at or after the given one that is not excluded, or CALENDAR_NONE. Bounded as
 * sieve_first() is. */
int64_t calendar_next_included(const struct calendar *calendar, const struct zone *zone,
                               int64_t instant_us);

/* One step of the same, cheap and in seconds: the second itself if it is included, or else a later
 * one up to which all are excluded. */
int64_t calendar_skip(const struct calendar *calendar, const struct zone *zone, int64_t second_s);

/* The stack as walls that match what is excluded. Returns how many. */
int calendar_walls(const struct calendar *calendar, const struct zone *zone,
                   struct wall ret_walls[CALENDAR_DEPTH_MAX]);

#endif
