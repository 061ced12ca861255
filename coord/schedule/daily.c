/* Windows of each day: see daily.h. All is arithmetic on a day's occurrences, which are alike. */
#include "coord/schedule/daily.h"

#include "base/clock.h"
#include "base/instant.h"
#include "coord/schedule/cron_field.h"
#include "coord/schedule/day_text.h"

#define DAY_S WALL_DAY_S

static int parse_window(struct daily *daily, const char *from, const char *to,
                        struct rota_error *error)
{
    daily->from_s = 0;
    daily->to_s = DAY_S;
    if (from != NULL && day_time_parse(from, &daily->from_s, error) != 0)
        return error_prefix(error, "daily: from");
    if (to != NULL && day_time_parse(to, &daily->to_s, error) != 0)
        return error_prefix(error, "daily: to");
    if (daily->from_s == DAY_S)
        return error_set(error, ERROR_REFUSED,
                         "daily: from \"24:00\" is the end of the day: expected 00:00 to 23:59:59");
    if (daily->from_s > daily->to_s)
        return error_set(error, ERROR_REFUSED,
                         "daily: from \"%s\" is later than to \"%s\": a window lies within one "
                         "day; use two triggers, from %s to 24:00 and from 00:00 to %s",
                         from, to, from, to);
    return 0;
}

int daily_parse(struct daily *ret_daily, const char *from, const char *to, int64_t step_us,
                unsigned weekdays, struct rota_error *error)
{
    struct daily daily = {.weekdays = (uint8_t)(weekdays != 0 ? weekdays : DAILY_ALL_DAYS)};
    char step[TIME_TEXT_SIZE];
    if (parse_window(&daily, from, to, error) != 0)
        return -1;
    if (step_us < US_PER_SECOND || step_us > DAY_S * US_PER_SECOND || step_us % US_PER_SECOND != 0)
        return error_set(error, ERROR_REFUSED,
                         "daily: every %s: expected whole seconds, from 1s to 24h",
                         duration_format(step_us, step));
    if (weekdays > DAILY_ALL_DAYS)
        return error_set(error, ERROR_REFUSED, "daily: days %#x: expected bits 0 to 6", weekdays);
    daily.step_s = (int)(step_us / US_PER_SECOND);
    int end_s = daily.to_s < DAY_S ? daily.to_s : DAY_S - 1;
    daily.last_s = end_s - (end_s - daily.from_s) % daily.step_s;
    *ret_daily = daily;
    return 0;
}

static bool has_day(const struct daily *daily, int64_t day)
{
    return daily->weekdays >> (day + 4) % 7 & 1; /* 1970-01-01 was a Thursday */
}

/* The first second of a matching day at or after the given one; -1: none. */
static int second_from(const struct daily *daily, int second)
{
    if (second <= daily->from_s)
        return daily->from_s;
    int steps = (second - daily->from_s + daily->step_s - 1) / daily->step_s;
    int next = daily->from_s + steps * daily->step_s;
    return next <= daily->last_s ? next : -1;
}

bool daily_every_hour(const struct daily *daily)
{
    for (int hour = 0; hour < 24; hour++) {
        int at = second_from(daily, hour * 3600);
        if (at < 0 || at >= (hour + 1) * 3600)
            return false;
    }
    return true;
}

static int64_t next(const void *of, int64_t from)
{
    const struct daily *daily = of;
    int64_t day = from < 0 ? 0 : from / DAY_S;
    int second = from < 0 ? 0 : (int)(from % DAY_S);
    for (; day < WALL_END_S / DAY_S; day++, second = 0) {
        int at = has_day(daily, day) ? second_from(daily, second) : -1;
        if (at >= 0)
            return day * DAY_S + at;
    }
    return WALL_NONE;
}

/* How many of a matching day lie before the given second. */
static int64_t count_in_day(const struct daily *daily, int second)
{
    int last = second <= daily->last_s ? second - 1 : daily->last_s;
    return last < daily->from_s ? 0 : (last - daily->from_s) / daily->step_s + 1;
}

/* How many matching days lie in [0, day). */
static int64_t count_days(const struct daily *daily, int64_t day)
{
    int64_t count = day / 7 * __builtin_popcount(daily->weekdays);
    for (int64_t rest = day - day % 7; rest < day; rest++)
        count += has_day(daily, rest);
    return count;
}

/* How many lie in [0, to). */
static int64_t count_before(const struct daily *daily, int64_t to)
{
    to = to < 0 ? 0 : to > WALL_END_S ? WALL_END_S : to;
    int64_t day = to / DAY_S;
    int64_t count = count_days(daily, day) * count_in_day(daily, DAY_S);
    return count + (has_day(daily, day) ? count_in_day(daily, (int)(to % DAY_S)) : 0);
}

static int64_t count(const void *of, int64_t from, int64_t to)
{
    return count_before(of, to) - count_before(of, from);
}

static void mark(const void *of, int64_t from, int64_t to, int64_t origin, struct seconds *seconds)
{
    const struct daily *daily = of;
    from = from < 0 ? 0 : from;
    to = to > WALL_END_S ? WALL_END_S : to;
    for (int64_t day = from / DAY_S; day * DAY_S < to; day++) {
        int64_t midnight = day * DAY_S, end = midnight + daily->last_s + 1;
        int first = from > midnight ? second_from(daily, (int)(from - midnight)) : daily->from_s;
        if (has_day(daily, day) && first >= 0)
            seconds_add_every(seconds, (int)(midnight + first - origin), daily->step_s,
                              (int)((end < to ? end : to) - origin));
    }
}

static uint64_t day_class(const void *of, int64_t day)
{
    return day >= 0 && day < WALL_END_S / DAY_S && has_day(of, day);
}

const struct wall_pattern daily_pattern = {
    .next = next, .count = count, .mark = mark, .day_class = day_class};

void daily_describe(const struct daily *daily, struct buffer *text)
{
    char step[TIME_TEXT_SIZE];
    if (daily->last_s == daily->from_s) {
        buffer_string(text, "At ");
        day_time_write(text, daily->from_s);
    } else {
        buffer_format(text, "Every %s from ", duration_format(daily->step_s * US_PER_SECOND, step));
        day_time_write(text, daily->from_s);
        buffer_string(text, " to ");
        day_time_write(text, daily->to_s);
    }
    if (daily->weekdays == DAILY_ALL_DAYS) {
        buffer_string(text, " every day.");
        return;
    }
    buffer_string(text, " on ");
    cron_describe_weekdays(daily->weekdays, text);
    buffer_char(text, '.');
}
