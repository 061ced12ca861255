/*
 * Cron expressions: Quartz's six or seven fields, the five of Unix, the well-known macros and H.
 * Compiled into bitmaps of a fixed size; next occurrence, exact counts and an explanation in words.
 * What happens where a clock is changed is decided here too. No I/O, no allocation.
 */
#ifndef COORD_SCHEDULE_CRON_H
#define COORD_SCHEDULE_CRON_H

#include "base/buffer.h"
#include "base/error.h"
#include "coord/schedule/wall.h"
#include "coord/schedule/zone.h"

#define CRON_FIRST_YEAR 1970
#define CRON_LAST_YEAR  2199
#define CRON_LENGTH_MAX 1000 /* bytes of an expression; the longest sensible one has some 300 */
#define CRON_NONE       INT64_MAX /* no further occurrence */

enum cron_days { CRON_EVERY_DAY, CRON_DAYS_OF_MONTH, CRON_WEEKDAYS };

/* Bit n stands for the value n unless said otherwise. Only cron.c and its neighbours look inside.
 */
struct cron {
    uint64_t seconds;
    uint64_t minutes;
    uint64_t years[4]; /* bit 0: CRON_FIRST_YEAR */
    uint32_t hours;
    uint32_t days;           /* bit 0: the 1st; so in the next three */
    uint32_t nearest;        /* nW */
    uint32_t last;           /* L-n, bit 0: the last day itself */
    uint32_t last_nearest;   /* L-nW */
    uint16_t months;         /* bit 0: January */
    uint8_t weekdays;        /* bit 0: Sunday */
    uint8_t weekday_nth;     /* 0: every one; 1 to 5: n#k; CRON_NTH_LAST: nL */
    uint8_t days_by;         /* enum cron_days */
    uint8_t gap;             /* enum zone_gap, never DEFAULT */
    uint8_t overlap;         /* enum zone_overlap, never DEFAULT */
    const struct zone *zone; /* the caller's, which must outlive this */
};

#define CRON_NTH_LAST 6

/*
 * Compiles an expression. `seed` is what H is spread by, usually the trigger's name; NULL reads as
 * "". 0, or -1 with an error that names the field, the offending text, the reason and what would be
 * right. Semantics are Quartz's except where a time zone changes its clock: see
 * cron_set_clock_change.
 */
int cron_parse(struct cron *ret_cron, const char *expression, const struct zone *zone,
               const char *seed, struct rota_error *error);

/*
 * A local time in a gap fires once at the first instant after it (AFTER) or not at all (SKIP); one
 * that occurs twice fires at the FIRST, the SECOND or BOTH. DEFAULT, as cron_parse() leaves it, is
 * AFTER and FIRST; but where the hour field is every hour, SKIP and BOTH, so that the schedule
 * follows elapsed time.
 */
void cron_set_clock_change(struct cron *cron, enum zone_gap gap, enum zone_overlap overlap);

/* The first occurrence strictly after the instant (epoch seconds), or CRON_NONE. */
int64_t cron_next(const struct cron *cron, int64_t after_s);

/* How many occurrences lie in (after_s, until_s]: exact, without visiting each. */
int64_t cron_count(const struct cron *cron, int64_t after_s, int64_t until_s);

/* Whether the last occurrence is known: the year field stops before CRON_LAST_YEAR. */
bool cron_ends(const struct cron *cron);

/* The expression as readings of a clock: `of` is a struct cron, whose zone is not asked. */
extern const struct wall_pattern cron_pattern;
struct wall cron_wall(const struct cron *cron); /* with its zone and policies */

/* The reading itself where it does not match, or else a later one up to which all match. */
int64_t cron_matching_until(const struct cron *cron, int64_t reading);

/* Appends what the schedule means in English, one sentence without the zone. */
void cron_describe(const struct cron *cron, struct buffer *text);

/* What the schedule does when its zone changes the clock, one sentence; nothing in a fixed zone. */
void cron_describe_clock_change(const struct cron *cron, struct buffer *text);

#endif
