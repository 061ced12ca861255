/*
 * Durations and instants as text: `250ms 90s 5m 2h 1d`, ISO 8601 durations, RFC 3339 instants.
 * No zones here (see coord/schedule/zone.h): an instant carries its offset in the text.
 */
#ifndef BASE_INSTANT_H
#define BASE_INSTANT_H

#include <stddef.h>
#include <stdint.h>

#define TIME_TEXT_SIZE 40 /* room for any instant or duration this file writes */

/*
 * `1h30m`, `250ms`, `1.5h`, or `PT1H30M`, `P1D` (no months or years: they have no length), never
 * negative, cut at the microsecond. 0 or -1.
 */
int duration_parse(const char *text, int64_t *ret_duration_us);
/* As duration_parse() reads it; a negative one with a `-` before. Returns text. */
char *duration_format(int64_t duration_us, char text[TIME_TEXT_SIZE]);

/*
 * RFC 3339 with zone, `T` or a space between, fraction up to microseconds kept. 0 or -1. Second 60
 * is refused: no clock of ours has leap seconds.
 */
int instant_parse(const char *text, int64_t *ret_wall_us);
/* UTC, with milliseconds: 2026-11-20T08:21:44.123Z. Returns text. */
char *instant_format(int64_t wall_us, char text[TIME_TEXT_SIZE]);

/* Proleptic Gregorian calendar. Days since 1970-01-01 of a date; month 1 to 12. */
int64_t days_from_civil(int64_t year, int month, int day);
void civil_from_days(int64_t days, int64_t *ret_year, int *ret_month, int *ret_day);
int days_in_month(int64_t year, int month);

#endif
