/*
 * From the readings of a clock on the wall to instants. A pattern says which readings are meant, in
 * local time alone; this file when that is, in a zone whose clock is changed. Shared by cron, daily
 * and calendar_interval, and by the calendars that take occurrences away.
 */
#ifndef COORD_SCHEDULE_WALL_H
#define COORD_SCHEDULE_WALL_H

#include "base/buffer.h"
#include "coord/schedule/seconds.h"
#include "coord/schedule/zone.h"

#define WALL_NONE  INT64_MAX
#define WALL_END_S INT64_C(7258118400) /* 2200-01-01: readings lie in the years 1970 to 2199 */
#define WALL_DAY_S SECONDS_OF_DAY

/*
 * Readings are seconds since 1970-01-01 00:00 as the clock shows it. An operation may be NULL where
 * only the others are asked.
 */
struct wall_pattern {
    /* The first reading at or after `from`, or WALL_NONE. */
    int64_t (*next)(const void *of, int64_t from);
    /* How many there are in [from, to). */
    int64_t (*count)(const void *of, int64_t from, int64_t to);
    /* Adds those in [from, to), within a day or the whole of one, at their distance from origin. */
    void (*mark)(const void *of, int64_t from, int64_t to, int64_t origin, struct seconds *seconds);
    /* Days (since 1970-01-01) of the same class show the same readings; NULL: each is its own. */
    uint64_t (*day_class)(const void *of, int64_t day);
    bool (*has)(const void *of, int64_t reading);
    bool many; /* a second may hold several occurrences: count() tells how many */
};

/* Which readings, and where the clock hangs. Nothing in it is owned. gap and overlap are never
 * DEFAULT. */
struct wall {
    const struct wall_pattern *pattern;
    const void *of;
    const struct zone *zone;
    enum zone_gap gap; /* AFTER: what matches in a gap is one occurrence at its end */
    enum zone_overlap overlap;
};

/* Two UTC days with the same key have the same occurrences. */
struct wall_key {
    int64_t offset_s;
    uint64_t classes[2]; /* of the two local days that a UTC day may touch */
};

/* The first occurrence strictly after the instant (epoch seconds), or WALL_NONE. */
int64_t wall_next(const struct wall *wall, int64_t after_s);

/* How many occurrences lie in (after_s, until_s]: without visiting each. */
int64_t wall_count(const struct wall *wall, int64_t after_s, int64_t until_s);

/* Whether the reading at an instant matches: for walls that have gap SKIP and overlap BOTH. */
bool wall_has(const struct wall *wall, int64_t instant_s);

/* Adds the occurrences of a day in UTC (days since 1970-01-01). */
void wall_mark(const struct wall *wall, int64_t day, struct seconds *seconds);

/* False where a UTC day is like no other: the clock is changed, or the pattern has no classes. */
bool wall_key(const struct wall *wall, int64_t day, struct wall_key *ret_key);

/* What happens when the zone changes the clock, one sentence; nothing in a fixed zone. */
void wall_describe_clock_change(const struct wall *wall, struct buffer *text);

#endif
