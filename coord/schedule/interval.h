/*
 * Every so many units of the calendar. Seconds, minutes and hours are elapsed time, for the caller
 * to add up. Days and longer keep the time of day of the anchor; each is computed from the anchor,
 * so that 31 January leads to 28 February and on to 31 March.
 */
#ifndef COORD_SCHEDULE_INTERVAL_H
#define COORD_SCHEDULE_INTERVAL_H

#include "base/buffer.h"
#include "base/error.h"
#include "coord/schedule/wall.h"

#define INTERVAL_TEXT_MAX 40 /* bytes; the longest right one has 17 */

enum interval_unit {
    INTERVAL_SECOND,
    INTERVAL_MINUTE,
    INTERVAL_HOUR,
    INTERVAL_DAY,
    INTERVAL_WEEK,
    INTERVAL_MONTH,
    INTERVAL_QUARTER,
    INTERVAL_YEAR
};

struct interval {
    enum interval_unit unit;
    int64_t count;
    /* What interval_anchor() makes of the anchor; not for elapsed time. */
    int64_t anchor;       /* its reading, the first one */
    int64_t step_s;       /* 0 where months are counted */
    int64_t months;       /* 0 where days are */
    int64_t anchor_month; /* months since year 0 */
    int anchor_day;       /* from 1 */
};

/* "1 month", "2 weeks": at most 100 years. 0, or -1 with what would be right. */
int interval_parse(struct interval *ret_interval, const char *text, struct rota_error *error);

/* The same way back, in one spelling: "1 month", "2 weeks". */
void interval_write(struct buffer *text, const struct interval *interval);

/* The length of seconds, minutes and hours; 0 for days and longer. */
int64_t interval_elapsed_us(const struct interval *interval);

/* Sets the reading that days and longer are counted from. */
void interval_anchor(struct interval *interval, int64_t reading);

/* Days and longer as readings of a clock, the anchor's first: `of` is a struct interval. */
extern const struct wall_pattern interval_pattern;

/* Appends what it means in English, one sentence without zone and anchor. */
void interval_describe(const struct interval *interval, struct buffer *text);

#endif
