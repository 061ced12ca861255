/*
 * The rule that ends a TZif file: a TZ string of POSIX.1 with the wider range of times of RFC 9636,
 * such as CET-1CEST,M3.5.0,M10.5.0/3. Parses it and writes out the changes year by year.
 */
#include "base/instant.h"
#include "coord/schedule/zone_table.h"

#include <ctype.h>
#include <string.h>

#define DAY_S 86400

struct cursor {
    const char *at;
    const char *end;
};

static char peek(const struct cursor *cursor)
{
    return cursor->at < cursor->end ? *cursor->at : '\0';
}

static bool take(struct cursor *cursor, char wanted)
{
    bool there = peek(cursor) == wanted && cursor->at < cursor->end;
    cursor->at += there;
    return there;
}

static int parse_number(struct cursor *cursor, int low, int high, int *ret_number)
{
    int number = 0;
    if (!isdigit((unsigned char)peek(cursor)))
        return -1;
    while (isdigit((unsigned char)peek(cursor))) {
        number = number * 10 + (*cursor->at++ - '0');
        if (number > high)
            return -1;
    }
    *ret_number = number;
    return number < low ? -1 : 0;
}

/* Three letters or more, or anything of letters, digits and signs in < >. */
static int parse_name(struct cursor *cursor)
{
    const char *start = cursor->at;
    if (take(cursor, '<')) {
        while (isalnum((unsigned char)peek(cursor)) || peek(cursor) == '+' || peek(cursor) == '-')
            cursor->at++;
        return take(cursor, '>') ? 0 : -1;
    }
    while (isalpha((unsigned char)peek(cursor)))
        cursor->at++;
    return cursor->at - start >= 3 ? 0 : -1;
}

/* [+-]hh[:mm[:ss]] */
static int parse_time(struct cursor *cursor, int hours_max, int32_t *ret_time_s)
{
    int hours, minutes = 0, seconds = 0;
    bool negative = take(cursor, '-');
    if (!negative)
        take(cursor, '+');
    if (parse_number(cursor, 0, hours_max, &hours) != 0)
        return -1;
    if (take(cursor, ':')) {
        if (parse_number(cursor, 0, 59, &minutes) != 0)
            return -1;
        if (take(cursor, ':') && parse_number(cursor, 0, 59, &seconds) != 0)
            return -1;
    }
    int32_t time_s = hours * 3600 + minutes * 60 + seconds;
    *ret_time_s = negative ? -time_s : time_s;
    return 0;
}

static int parse_date(struct cursor *cursor, struct zone_rule_date *ret_date)
{
    ret_date->time_s = 2 * 3600;
    if (!take(cursor, ','))
        return -1;
    if (take(cursor, 'M')) {
        ret_date->kind = RULE_MONTH_WEEK_DAY;
        if (parse_number(cursor, 1, 12, &ret_date->month) != 0 || !take(cursor, '.') ||
            parse_number(cursor, 1, 5, &ret_date->week) != 0 || !take(cursor, '.') ||
            parse_number(cursor, 0, 6, &ret_date->day) != 0)
            return -1;
    } else if (take(cursor, 'J')) {
        ret_date->kind = RULE_DAY_WITHOUT_LEAP;
        if (parse_number(cursor, 1, 365, &ret_date->day) != 0)
            return -1;
    } else {
        ret_date->kind = RULE_DAY_WITH_LEAP;
        if (parse_number(cursor, 0, 365, &ret_date->day) != 0)
            return -1;
    }
    return take(cursor, '/') ? parse_time(cursor, 167, &ret_date->time_s) : 0;
}

int zone_rule_parse(struct slice text, struct zone_rule *ret_rule)
{
    struct cursor cursor = {text.data, text.data + text.length};
    struct zone_rule rule = {0};
    int32_t west_s;
    if (parse_name(&cursor) != 0 || parse_time(&cursor, 24, &west_s) != 0)
        return -1;
    rule.standard_s = rule.summer_s = -west_s;
    if (cursor.at < cursor.end) {
        rule.has_summer = true;
        rule.summer_s = rule.standard_s + 3600;
        if (parse_name(&cursor) != 0)
            return -1;
        if (peek(&cursor) != ',') {
            if (parse_time(&cursor, 24, &west_s) != 0)
                return -1;
            rule.summer_s = -west_s;
        }
        if (parse_date(&cursor, &rule.start) != 0 || parse_date(&cursor, &rule.end) != 0)
            return -1;
    }
    *ret_rule = rule;
    return cursor.at == cursor.end ? 0 : -1;
}

/* Local midnight of the date plus its time, in seconds of the local clock. */
static int64_t date_in_year(const struct zone_rule_date *date, int64_t year)
{
    int64_t day = days_from_civil(year, 1, 1);
    if (date->kind == RULE_DAY_WITHOUT_LEAP) {
        bool after_leap_day = days_in_month(year, 2) == 29 && date->day >= 60;
        day += date->day - 1 + after_leap_day;
    } else if (date->kind == RULE_DAY_WITH_LEAP) {
        day += date->day;
    } else {
        int64_t first = days_from_civil(year, date->month, 1);
        int weekday = (int)(((first + 4) % 7 + 7) % 7); /* 1970-01-01 was a Thursday */
        int in_month = (date->day - weekday + 7) % 7 + 7 * (date->week - 1);
        if (in_month >= days_in_month(year, date->month))
            in_month -= 7;
        day = first + in_month;
    }
    return day * DAY_S + date->time_s;
}

void zone_rule_extend(const struct zone_rule *rule, int64_t after_s, struct zone *zone)
{
    int64_t year = 1970;
    int month, day;
    if (!rule->has_summer)
        return;
    if (after_s > ZONE_BEGIN_S) {
        int64_t days = after_s / DAY_S - (after_s % DAY_S < 0);
        civil_from_days(days, &year, &month, &day);
        year = year < 1900 ? 1900 : year - 1;
    }
    for (; year <= ZONE_LAST_YEAR; year++) {
        int64_t start_s = date_in_year(&rule->start, year) - rule->standard_s;
        int64_t end_s = date_in_year(&rule->end, year) - rule->summer_s;
        /* South of the equator summer ends before it begins. Where both fall together, summer
         * time never ends: the start is written last. */
        bool start_first = start_s < end_s;
        for (int i = 0; i < 2; i++) {
            bool summer = (i == 0) == start_first;
            int64_t time_s = summer ? start_s : end_s;
            if (time_s <= after_s || time_s < zone->starts[zone->count - 1])
                continue;
            zone_table_append(zone, time_s, summer ? rule->summer_s : rule->standard_s);
        }
    }
}
