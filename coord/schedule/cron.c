/*
 * When a compiled expression occurs: see cron.h. This is local time alone: the next matching
 * reading of a clock on the wall, and how many lie in a range. What a zone makes of it is wall.c's.
 */
#include "coord/schedule/cron.h"

#include "base/instant.h"

#define DAY_S      WALL_DAY_S
#define ALL_SIXTY  (UINT64_MAX >> 4)
#define ALL_HOURS  0xffffffu
#define ALL_MONTHS 0xfffu

static int lowest(uint64_t bits)
{
    return __builtin_ctzll(bits);
}

/* Bits above `place`, which is at most 63. */
static uint64_t above(uint64_t bits, int place)
{
    return place >= 63 ? 0 : bits >> (place + 1) << (place + 1);
}

static uint64_t below(uint64_t bits, int place)
{
    return bits & ((UINT64_C(1) << place) - 1);
}

static bool has(uint64_t bits, int place)
{
    return bits >> place & 1;
}

/* How many bits are set in a row from `place` on; not all 64 may be set. */
static int run(uint64_t bits, int place)
{
    return __builtin_ctzll(~(bits >> place));
}

/* Day of the month (from 0) of the weekday nearest to `day` in a month that begins on `first`. */
static int nearest_weekday(int day, int length, int first)
{
    int weekday = (first + day) % 7;
    if (weekday == 6)
        return day == 0 ? 2 : day - 1;
    if (weekday == 0)
        return day == length - 1 ? day - 2 : day + 1;
    return day;
}

static uint32_t days_by_date(const struct cron *cron, int length, int first)
{
    uint32_t days = cron->days;
    for (uint32_t left = cron->nearest; left != 0; left &= left - 1)
        if (lowest(left) < length)
            days |= 1u << nearest_weekday(lowest(left), length, first);
    for (uint32_t left = cron->last; left != 0; left &= left - 1)
        if (lowest(left) < length)
            days |= 1u << (length - 1 - lowest(left));
    for (uint32_t left = cron->last_nearest; left != 0; left &= left - 1)
        if (lowest(left) < length)
            days |= 1u << nearest_weekday(length - 1 - lowest(left), length, first);
    return days;
}

static uint32_t days_by_weekday(const struct cron *cron, int length, int first)
{
    unsigned week = ((unsigned)cron->weekdays >> first | (unsigned)cron->weekdays << (7 - first));
    week &= 0x7f;
    uint32_t days = week | week << 7 | week << 14 | week << 21 | week << 28;
    if (cron->weekday_nth == CRON_NTH_LAST)
        return days & 0x7fu << (length - 7);
    if (cron->weekday_nth > 0)
        return days & (uint32_t)(UINT64_C(0x7f) << 7 * (cron->weekday_nth - 1));
    return days;
}

/* The matching days of a month whose 1st is `first_day` days after 1970-01-01; bit 0: the 1st. */
static uint32_t matching_days(const struct cron *cron, int64_t first_day, int length)
{
    uint32_t all = UINT32_MAX >> (32 - length);
    int first = (int)((first_day + 4) % 7); /* 1970-01-01 was a Thursday */
    if (cron->days_by == CRON_EVERY_DAY)
        return all;
    if (cron->days_by == CRON_WEEKDAYS)
        return all & days_by_weekday(cron, length, first);
    return all & days_by_date(cron, length, first);
}

static bool has_year(const struct cron *cron, int64_t year)
{
    int place = (int)(year - CRON_FIRST_YEAR);
    return has(cron->years[place / 64], place % 64);
}

static bool every_year(const struct cron *cron)
{
    const uint64_t in_last = (UINT64_C(1) << (CRON_LAST_YEAR - CRON_FIRST_YEAR + 1) % 64) - 1;
    return (cron->years[0] & cron->years[1] & cron->years[2]) == UINT64_MAX &&
           (cron->years[3] & in_last) == in_last;
}

/* The first year that matches, at or after the given one; CRON_LAST_YEAR + 1: none. */
static int64_t year_from(const struct cron *cron, int64_t year)
{
    while (year <= CRON_LAST_YEAR && !has_year(cron, year))
        year++;
    return year;
}

static int first_of_day(const struct cron *cron)
{
    return lowest(cron->hours) * 3600 + lowest(cron->minutes) * 60 + lowest(cron->seconds);
}

/* The first matching second of the day at or after the given one; -1: none. */
static int second_of_day(const struct cron *cron, int from)
{
    int hour = from / 3600, minute = from / 60 % 60, second = from % 60;
    if (has(cron->hours, hour)) {
        uint64_t seconds = cron->seconds >> second << second;
        if (has(cron->minutes, minute) && seconds != 0)
            return from - second + lowest(seconds);
        uint64_t minutes = above(cron->minutes, minute);
        if (minutes != 0)
            return hour * 3600 + lowest(minutes) * 60 + lowest(cron->seconds);
    }
    uint64_t hours = above(cron->hours, hour);
    if (hours == 0)
        return -1;
    return lowest(hours) * 3600 + lowest(cron->minutes) * 60 + lowest(cron->seconds);
}

/* The first matching wall clock reading at or after `from`, or CRON_NONE. */
static int64_t next_wall(const void *of, int64_t from)
{
    const struct cron *cron = of;
    int64_t year, day = from < 0 ? 0 : from / DAY_S;
    int month, in_month;
    civil_from_days(day, &year, &month, &in_month);
    if (year > CRON_LAST_YEAR)
        return CRON_NONE;
    int64_t first_day = day - (in_month - 1);
    if (has_year(cron, year) && has(cron->months, month - 1)) {
        uint32_t days = matching_days(cron, first_day, days_in_month(year, month));
        if (has(days, in_month - 1)) {
            int second = second_of_day(cron, from < 0 ? 0 : (int)(from % DAY_S));
            if (second >= 0)
                return day * DAY_S + second;
        }
        days = (uint32_t)above(days, in_month - 1);
        if (days != 0)
            return (first_day + lowest(days)) * DAY_S + first_of_day(cron);
    }
    for (;;) {
        uint32_t later = (uint32_t)above(cron->months, month - 1);
        if (later == 0 || !has_year(cron, year)) {
            year = year_from(cron, year + 1);
            if (year > CRON_LAST_YEAR)
                return CRON_NONE;
            later = cron->months;
        }
        month = lowest(later) + 1;
        first_day = days_from_civil(year, month, 1);
        uint32_t days = matching_days(cron, first_day, days_in_month(year, month));
        if (days != 0)
            return (first_day + lowest(days)) * DAY_S + first_of_day(cron);
    }
}

/* How many seconds of a day before the given one match. */
static int64_t count_in_day(const struct cron *cron, int64_t second)
{
    int64_t seconds = __builtin_popcountll(cron->seconds);
    int64_t minutes = __builtin_popcountll(cron->minutes) * seconds;
    if (second >= DAY_S)
        return __builtin_popcount(cron->hours) * minutes;
    int hour = (int)(second / 3600), minute = (int)(second / 60 % 60);
    int64_t count = __builtin_popcountll(below(cron->hours, hour)) * minutes;
    if (!has(cron->hours, hour))
        return count;
    count += __builtin_popcountll(below(cron->minutes, minute)) * seconds;
    if (has(cron->minutes, minute))
        count += __builtin_popcountll(below(cron->seconds, (int)(second % 60)));
    return count;
}

/* How many matching days lie in [from, to), days since 1970-01-01. */
static int64_t count_days(const struct cron *cron, int64_t from, int64_t to)
{
    int64_t year, count = 0;
    int month, in_month;
    if (from >= to)
        return 0;
    civil_from_days(from, &year, &month, &in_month);
    int64_t first_day = from - (in_month - 1);
    for (; first_day < to && year <= CRON_LAST_YEAR; month = month % 12 + 1, year += month == 1) {
        int length = days_in_month(year, month);
        if (has_year(cron, year) && has(cron->months, month - 1)) {
            uint64_t days = matching_days(cron, first_day, length);
            if (first_day < from)
                days = days >> (from - first_day) << (from - first_day);
            if (first_day + length > to)
                days = below(days, (int)(to - first_day));
            count += __builtin_popcountll(days);
        }
        first_day += length;
    }
    return count;
}

/* How many matching wall clock readings lie in [from, to). */
static int64_t count_wall(const void *of, int64_t from, int64_t to)
{
    const struct cron *cron = of;
    from = from < 0 ? 0 : from;
    if (from >= to)
        return 0;
    int64_t first = from / DAY_S, last = to / DAY_S;
    int64_t count = count_days(cron, first, last) * count_in_day(cron, DAY_S);
    if (from % DAY_S > 0 && count_days(cron, first, first + 1) > 0)
        count -= count_in_day(cron, from % DAY_S);
    if (to % DAY_S > 0 && count_days(cron, last, last + 1) > 0)
        count += count_in_day(cron, to % DAY_S);
    return count;
}

/* The readings of one minute, where they lie in [from, to). */
static void mark_minute(uint64_t bits, int64_t minute, int64_t from, int64_t to, int64_t origin,
                        struct seconds *seconds)
{
    if (minute >= to || minute + 60 <= from)
        return;
    if (minute < from)
        bits = bits >> (from - minute) << (from - minute);
    if (minute + 60 > to)
        bits = below(bits, (int)(to - minute));
    if (minute < origin)
        seconds_add(seconds, 0, bits >> (origin - minute));
    else
        seconds_add(seconds, (int)(minute - origin), bits);
}

static bool matches_day(const struct cron *cron, int64_t day)
{
    int64_t year;
    int month, in_month;
    if (day < 0 || day >= WALL_END_S / DAY_S)
        return false;
    if (cron->days_by == CRON_EVERY_DAY && cron->months == ALL_MONTHS && every_year(cron))
        return true;
    civil_from_days(day, &year, &month, &in_month);
    return has_year(cron, year) && has(cron->months, month - 1) &&
           has(matching_days(cron, day - (in_month - 1), days_in_month(year, month)), in_month - 1);
}

/* All hours that match look alike: with many minutes they are laid down as a whole. */
struct hour {
    bool whole;
    uint64_t words[3600 / 64 + 1];
};

static struct hour hour_of(const struct cron *cron)
{
    struct hour hour = {.whole = __builtin_popcountll(cron->minutes) >= 16};
    for (uint64_t left = hour.whole ? cron->minutes : 0; left != 0; left &= left - 1) {
        int place = lowest(left) * 60, shift = place % 64;
        hour.words[place / 64] |= cron->seconds << shift;
        if (shift > 4)
            hour.words[place / 64 + 1] |= cron->seconds >> (64 - shift);
    }
    return hour;
}

static void mark_wall(const void *of, int64_t from, int64_t to, int64_t origin,
                      struct seconds *seconds)
{
    const struct cron *cron = of;
    const struct hour pattern = hour_of(cron);
    for (int64_t day = from < 0 ? 0 : from / DAY_S; day * DAY_S < to; day++) {
        if (!matches_day(cron, day))
            continue;
        for (uint32_t hours = cron->hours; hours != 0; hours &= hours - 1) {
            int64_t hour = day * DAY_S + lowest(hours) * 3600;
            if (hour >= to || hour + 3600 <= from)
                continue;
            if (pattern.whole && hour >= from && hour + 3600 <= to) {
                seconds_add_words(seconds, (int)(hour - origin), pattern.words,
                                  sizeof pattern.words / sizeof *pattern.words);
                continue;
            }
            for (uint64_t minutes = cron->minutes; minutes != 0; minutes &= minutes - 1)
                mark_minute(cron->seconds, hour + lowest(minutes) * 60, from, to, origin, seconds);
        }
    }
}

static uint64_t day_class(const void *of, int64_t day)
{
    return matches_day(of, day);
}

const struct wall_pattern cron_pattern = {
    .next = next_wall, .count = count_wall, .mark = mark_wall, .day_class = day_class};

int64_t cron_matching_until(const struct cron *cron, int64_t reading)
{
    if (reading < 0 || reading >= WALL_END_S)
        return reading;
    int second = (int)(reading % 60), minute = (int)(reading / 60 % 60);
    int hour = (int)(reading / 3600 % 24);
    if (!has(cron->seconds, second) || !has(cron->minutes, minute) || !has(cron->hours, hour) ||
        !matches_day(cron, reading / DAY_S))
        return reading;
    if (cron->seconds != ALL_SIXTY)
        return reading + run(cron->seconds, second);
    if (cron->minutes != ALL_SIXTY)
        return reading - second + run(cron->minutes, minute) * 60;
    return reading - second - minute * 60 + run(cron->hours, hour) * 3600;
}

struct wall cron_wall(const struct cron *cron)
{
    return (struct wall){&cron_pattern, cron, cron->zone, (enum zone_gap)cron->gap,
                         (enum zone_overlap)cron->overlap};
}

int64_t cron_next(const struct cron *cron, int64_t after_s)
{
    struct wall wall = cron_wall(cron);
    return wall_next(&wall, after_s);
}

int64_t cron_count(const struct cron *cron, int64_t after_s, int64_t until_s)
{
    struct wall wall = cron_wall(cron);
    return wall_count(&wall, after_s, until_s);
}

bool cron_ends(const struct cron *cron)
{
    return !has_year(cron, CRON_LAST_YEAR);
}

void cron_set_clock_change(struct cron *cron, enum zone_gap gap, enum zone_overlap overlap)
{
    bool elapsed = cron->hours == ALL_HOURS;
    if (gap == ZONE_GAP_DEFAULT)
        gap = elapsed ? ZONE_GAP_SKIP : ZONE_GAP_AFTER;
    if (overlap == ZONE_OVERLAP_DEFAULT)
        overlap = elapsed ? ZONE_OVERLAP_BOTH : ZONE_OVERLAP_FIRST;
    cron->gap = (uint8_t)gap;
    cron->overlap = (uint8_t)overlap;
}
