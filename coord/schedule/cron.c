/*
 * When a compiled expression occurs: see cron.h. Two layers. Below, local time alone: the next
 * matching wall clock reading, and how many lie in a range. Above, the zone: each span of constant
 * offset shows a range of wall clock readings, widened or narrowed by the rules for gap and
 * overlap.
 */
#include "coord/schedule/cron.h"

#include "base/instant.h"

#include <assert.h>

#define DAY_S     86400
#define ALL_HOURS 0xffffffu
/* An offset moves a local time by at most 26 hours; searches leave twice that. */
#define MARGIN_S (2 * ZONE_OFFSET_MAX_S)

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
static int64_t next_wall(const struct cron *cron, int64_t from)
{
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
static int64_t count_wall(const struct cron *cron, int64_t from, int64_t to)
{
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

/*
 * The wall clock readings [low, high) that fire in a span. A low before the span's own first
 * reading means: those of the gap before it, which fire at its start.
 */
struct window {
    struct zone_span span;
    int64_t low;
    int64_t high;
    bool repeats; /* the next span shows readings again that this one has shown */
};

static struct window window_of(const struct cron *cron, size_t at)
{
    struct window window = {.span = zone_span(cron->zone, at)};
    window.low = window.span.start_s + window.span.offset_s;
    window.high = window.span.end_s + window.span.offset_s;
    if (at > 0) {
        int64_t before = window.span.start_s + zone_span(cron->zone, at - 1).offset_s;
        bool gap = before < window.low;
        if (gap ? cron->gap == ZONE_GAP_AFTER : cron->overlap == ZONE_OVERLAP_FIRST)
            window.low = before;
    }
    if (at + 1 < zone_span_count(cron->zone)) {
        int64_t again = window.span.end_s + zone_span(cron->zone, at + 1).offset_s;
        window.repeats = again < window.high;
        if (window.repeats && cron->overlap == ZONE_OVERLAP_SECOND)
            window.high = again;
    }
    return window;
}

/* Instants far outside the years 1970 to 2199 are all the same to us, and overflow nothing. */
static int64_t clamp(int64_t instant_s)
{
    const int64_t low = -MARGIN_S;
    const int64_t high = (CRON_LAST_YEAR + 2 - CRON_FIRST_YEAR) * INT64_C(366) * DAY_S;
    return instant_s < low ? low : instant_s > high ? high : instant_s;
}

int64_t cron_next(const struct cron *cron, int64_t after_s)
{
    int64_t from_s = clamp(after_s) + 1;
    size_t at = zone_find(cron->zone, from_s);
    for (;;) {
        struct window window = window_of(cron, at);
        int64_t low = window.low;
        if (from_s > window.span.start_s && from_s + window.span.offset_s > low)
            low = from_s + window.span.offset_s;
        int64_t wall = next_wall(cron, low);
        if (wall < window.high) {
            int64_t instant_s = wall - window.span.offset_s;
            return instant_s > window.span.start_s ? instant_s : window.span.start_s;
        }
        if (at + 1 == zone_span_count(cron->zone) || (wall == CRON_NONE && !window.repeats))
            return CRON_NONE;
        /* No reading before `wall` matches: leap to where it may be shown, unless the next span
         * goes back. */
        size_t leap =
            window.repeats || wall == CRON_NONE ? 0 : zone_find(cron->zone, wall - MARGIN_S);
        at = leap > at ? leap : at + 1;
        from_s = zone_span(cron->zone, at).start_s;
    }
}

int64_t cron_count(const struct cron *cron, int64_t after_s, int64_t until_s)
{
    int64_t count = 0, from_s = clamp(after_s) + 1, to_s = clamp(until_s) + 1;
    if (from_s >= to_s)
        return 0;
    size_t last = zone_find(cron->zone, to_s - 1);
    for (size_t at = zone_find(cron->zone, from_s); at <= last; at++) {
        struct window window = window_of(cron, at);
        int64_t start = window.span.start_s + window.span.offset_s;
        int64_t low = window.low, high = window.high;
        if (from_s > window.span.start_s && from_s + window.span.offset_s > low)
            low = from_s + window.span.offset_s;
        if (to_s + window.span.offset_s < high)
            high = to_s + window.span.offset_s;
        if (low < start) {
            /* Whatever matches in the gap is one occurrence with what matches at its end. */
            count += next_wall(cron, low) <= start;
            low = start + 1;
        }
        count += count_wall(cron, low, high);
    }
    return count;
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
