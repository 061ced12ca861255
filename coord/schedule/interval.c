/* Intervals of the calendar: see interval.h. The n-th reading is arithmetic, and so is its n. */
#include "coord/schedule/interval.h"

#include "base/clock.h"
#include "base/instant.h"
#include "base/text.h"
#include "coord/schedule/cron_field.h"
#include "coord/schedule/day_text.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

#define DAY_S WALL_DAY_S

static const struct unit {
    const char *name;
    int64_t most; /* 100 years */
    int64_t seconds;
    int months;
} units[] = {
    [INTERVAL_SECOND] = {"second", INT64_C(36525) * DAY_S, 1, 0},
    [INTERVAL_MINUTE] = {"minute", INT64_C(36525) * DAY_S / 60, 60, 0},
    [INTERVAL_HOUR] = {"hour", 36525 * 24, 3600, 0},
    [INTERVAL_DAY] = {"day", 36525, DAY_S, 0},
    [INTERVAL_WEEK] = {"week", 36525 / 7, 7 * DAY_S, 0},
    [INTERVAL_MONTH] = {"month", 1200, 0, 1},
    [INTERVAL_QUARTER] = {"quarter", 400, 0, 3},
    [INTERVAL_YEAR] = {"year", 100, 0, 12},
};

#define UNITS (sizeof units / sizeof *units)

/* The unit with this name, with or without an s at its end; UNITS: none. */
static size_t find_unit(const char *name)
{
    for (size_t i = 0; i < UNITS; i++) {
        size_t length = strlen(units[i].name);
        const char *rest = name + length;
        if (strncasecmp(name, units[i].name, length) == 0 &&
            (rest[0] == '\0' || strcasecmp(rest, "s") == 0))
            return i;
    }
    return UNITS;
}

int interval_parse(struct interval *ret_interval, const char *text, struct rota_error *error)
{
    int64_t count;
    size_t digits = strspn(text, "0123456789");
    size_t blanks = strspn(text + digits, " ");
    size_t unit = find_unit(text + digits + blanks);
    if (strnlen(text, INTERVAL_TEXT_MAX + 1) > INTERVAL_TEXT_MAX || digits == 0 || unit == UNITS ||
        text_int64(text, digits, &count) != 0)
        return error_set(
            error, ERROR_REFUSED,
            "calendar_interval \"%.40s\": expected a number and one of second, minute, "
            "hour, day, week, month, quarter or year, as in \"1 month\"",
            text);
    if (count < 1 || count > units[unit].most)
        return error_set(error, ERROR_REFUSED,
                         "calendar_interval \"%s\": the number is out of range: expected 1 to %lld "
                         "%ss",
                         text, (long long)units[unit].most, units[unit].name);
    *ret_interval = (struct interval){.unit = (enum interval_unit)unit, .count = count};
    return 0;
}

void interval_write(struct buffer *text, const struct interval *interval)
{
    buffer_int(text, interval->count);
    buffer_format(text, " %s%s", units[interval->unit].name, interval->count == 1 ? "" : "s");
}

int64_t interval_elapsed_us(const struct interval *interval)
{
    if (interval->unit >= INTERVAL_DAY)
        return 0;
    return interval->count * units[interval->unit].seconds * US_PER_SECOND;
}

static int64_t floor_divide(int64_t number, int64_t by)
{
    return number / by - (number % by < 0);
}

void interval_anchor(struct interval *interval, int64_t reading)
{
    int64_t year, day = floor_divide(reading, DAY_S);
    int month;
    assert(interval->unit >= INTERVAL_DAY);
    interval->anchor = reading;
    interval->step_s = interval->count * units[interval->unit].seconds;
    interval->months = interval->count * units[interval->unit].months;
    civil_from_days(day, &year, &month, &interval->anchor_day);
    interval->anchor_month = year * 12 + month - 1;
}

static int64_t reading(const struct interval *interval, int64_t number)
{
    if (interval->months == 0)
        return interval->anchor + number * interval->step_s;
    int64_t month = interval->anchor_month + number * interval->months;
    int64_t year = floor_divide(month, 12);
    int in_year = (int)(month - year * 12) + 1, length = days_in_month(year, in_year);
    int day = interval->anchor_day < length ? interval->anchor_day : length;
    int64_t second = interval->anchor - floor_divide(interval->anchor, DAY_S) * DAY_S;
    return days_from_civil(year, in_year, day) * DAY_S + second;
}

/* The number of the first reading at or after `from`, which lies in the years 1970 to 2200. */
static int64_t number_from(const struct interval *interval, int64_t from)
{
    if (from <= interval->anchor)
        return 0;
    if (interval->months == 0)
        return (from - interval->anchor + interval->step_s - 1) / interval->step_s;
    int64_t year;
    int month, day;
    civil_from_days(from / DAY_S, &year, &month, &day);
    /* Not after the month of `from`, so that at most one step is missing. */
    int64_t number = (year * 12 + month - 1 - interval->anchor_month) / interval->months;
    return reading(interval, number) < from ? number + 1 : number;
}

static int64_t next(const void *of, int64_t from)
{
    from = from < 0 ? 0 : from;
    if (from >= WALL_END_S)
        return WALL_NONE;
    int64_t at = reading(of, number_from(of, from));
    return at < WALL_END_S ? at : WALL_NONE;
}

static int64_t count(const void *of, int64_t from, int64_t to)
{
    from = from < 0 ? 0 : from;
    to = to > WALL_END_S ? WALL_END_S : to;
    return from < to ? number_from(of, to) - number_from(of, from) : 0;
}

static void mark(const void *of, int64_t from, int64_t to, int64_t origin, struct seconds *seconds)
{
    for (int64_t at = next(of, from); at < to; at = next(of, at + 1))
        seconds_add(seconds, (int)(at - origin), 1);
}

/* The time of day is always the same. */
static uint64_t day_class(const void *of, int64_t day)
{
    return count(of, day * DAY_S, (day + 1) * DAY_S) > 0;
}

const struct wall_pattern interval_pattern = {
    .next = next, .count = count, .mark = mark, .day_class = day_class};

void interval_describe(const struct interval *interval, struct buffer *text)
{
    const char *name = units[interval->unit].name;
    if (interval->count == 1)
        buffer_format(text, "Every %s", name);
    else
        buffer_format(text, "Every %lld %ss", (long long)interval->count, name);
    if (interval->unit >= INTERVAL_DAY) {
        int64_t midnight = floor_divide(interval->anchor, DAY_S) * DAY_S;
        buffer_string(text, " at ");
        day_time_write(text, (int)(interval->anchor - midnight));
    }
    if (interval->unit == INTERVAL_YEAR)
        buffer_format(text, " on %s %d", cron_month_names[interval->anchor_month % 12],
                      interval->anchor_day);
    else if (interval->unit >= INTERVAL_MONTH)
        buffer_format(text, " on day %d of the month", interval->anchor_day);
    if (interval->unit >= INTERVAL_MONTH && interval->anchor_day > 28)
        buffer_string(text, ", or the last day of a shorter one");
    buffer_char(text, '.');
}
