/*
 * A window of each day, and a step within it: from, from + step, … up to `to`, on some weekdays. It
 * begins anew every day, in local time; a window does not go on past midnight.
 */
#ifndef COORD_SCHEDULE_DAILY_H
#define COORD_SCHEDULE_DAILY_H

#include "base/buffer.h"
#include "base/error.h"
#include "coord/schedule/wall.h"

#define DAILY_ALL_DAYS 0x7f

struct daily {
    int from_s; /* of the day */
    int to_s;   /* as given */
    int step_s;
    int last_s;       /* the last one of a day */
    uint8_t weekdays; /* bit 0: Sunday */
};

/*
 * Reads a window. NULL: from 00:00, to 24:00; no weekdays: all of them. What would fall on 24:00
 * belongs to the next day and is none. 0, or -1 with what would be right.
 */
int daily_parse(struct daily *ret_daily, const char *from, const char *to, int64_t step_us,
                unsigned weekdays, struct rota_error *error);

/* Whether some of it falls into each of the 24 hours, which is when it follows elapsed time where
 * the clock is changed. */
bool daily_every_hour(const struct daily *daily);

/* The window as readings of a clock: `of` is a struct daily. */
extern const struct wall_pattern daily_pattern;

/* Appends what it means in English, one sentence without the zone. */
void daily_describe(const struct daily *daily, struct buffer *text);

#endif
