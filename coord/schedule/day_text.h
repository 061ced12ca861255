/*
 * Times of day, weekdays and dates as people write them in a trigger's window or in a calendar.
 * Each answers 0, or -1 with the text, what is wrong with it and what would be right.
 */
#ifndef COORD_SCHEDULE_DAY_TEXT_H
#define COORD_SCHEDULE_DAY_TEXT_H

#include "base/buffer.h"
#include "base/error.h"

#include <stdint.h>

/* "08:00" or "08:00:30" as seconds of the day; "24:00", its end, is 86400. */
int day_time_parse(const char *text, int *ret_second, struct rota_error *error);
/* The same way back, without seconds where they are 0. */
void day_time_write(struct buffer *text, int second);

/* "SAT" or "Saturday", in any case; Sunday is 0. */
int day_weekday_parse(const char *text, int *ret_weekday, struct rota_error *error);

/* "2026-12-25", in the years 1970 to 2199, as days since 1970-01-01. */
int day_date_parse(const char *text, int64_t *ret_day, struct rota_error *error);

/* "12-25" as month and day from 1; 02-29 is one. */
int day_of_year_parse(const char *text, int *ret_month, int *ret_day, struct rota_error *error);

#endif
