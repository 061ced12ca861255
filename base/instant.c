/*
 * Durations and instants as text: see instant.h. The two calendar conversions follow the well-known
 * era-of-400-years arithmetic, exact for any year that fits the types.
 */
#include "base/instant.h"

#include "base/clock.h"
#include "base/text.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define US_PER_MINUTE (60 * US_PER_SECOND)
#define US_PER_HOUR   (60 * US_PER_MINUTE)
#define US_PER_DAY    (24 * US_PER_HOUR)

int64_t days_from_civil(int64_t year, int month, int day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

void civil_from_days(int64_t days, int64_t *ret_year, int *ret_month, int *ret_day)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t doe = days - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int mp = (int)((5 * doy + 2) / 153);
    *ret_day = (int)(doy - (153 * mp + 2) / 5 + 1);
    *ret_month = mp < 10 ? mp + 3 : mp - 9;
    *ret_year = yoe + era * 400 + (*ret_month <= 2);
}

int days_in_month(int64_t year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : days[month - 1];
}

/* One "12", "12.5" at *text with the digits after the point scaled into micro-units. */
static int parse_decimal(const char **text, int64_t *ret_whole, int64_t *ret_micro)
{
    const char *at = *text;
    int64_t whole = 0, micro = 0, scale = 100000;
    if (!isdigit((unsigned char)*at))
        return -1;
    for (; isdigit((unsigned char)*at); at++)
        if (__builtin_mul_overflow(whole, 10, &whole) ||
            __builtin_add_overflow(whole, *at - '0', &whole))
            return -1;
    if (*at == '.' || *at == ',') {
        if (!isdigit((unsigned char)*++at))
            return -1;
        for (; isdigit((unsigned char)*at); at++, scale /= 10)
            micro += (*at - '0') * scale;
    }
    *text = at;
    *ret_whole = whole;
    *ret_micro = micro;
    return 0;
}

struct unit {
    const char *name;
    int64_t unit_us;
};

/* Longest names first, so that "ms" is not read as "m". */
static const struct unit short_units[] = {
    {"us", 1},          {"ms", US_PER_MS}, {"s", US_PER_SECOND}, {"m", US_PER_MINUTE},
    {"h", US_PER_HOUR}, {"d", US_PER_DAY}, {"w", 7 * US_PER_DAY}};
static const struct unit iso_date_units[] = {{"W", 7 * US_PER_DAY}, {"D", US_PER_DAY}};
static const struct unit iso_time_units[] = {
    {"H", US_PER_HOUR}, {"M", US_PER_MINUTE}, {"S", US_PER_SECOND}};

static int add_part(const char **text, const struct unit *units, size_t count, int64_t *total)
{
    int64_t whole, micro, part;
    if (parse_decimal(text, &whole, &micro) != 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(units[i].name);
        if (strncmp(*text, units[i].name, length) != 0)
            continue;
        *text += length;
        if (__builtin_mul_overflow(whole, units[i].unit_us, &part) ||
            __builtin_add_overflow(part, (int64_t)((__int128)micro * units[i].unit_us / 1000000),
                                   &part) ||
            __builtin_add_overflow(*total, part, total))
            return -1;
        return 0;
    }
    return -1;
}

static int parse_iso(const char *text, int64_t *ret_duration_us)
{
    int64_t total = 0;
    const char *at = text + 1;
    bool in_time = false, any = false;
    while (*at != '\0') {
        if (*at == 'T' && !in_time) {
            in_time = true;
            at++;
            any = false;
            continue;
        }
        int failed = in_time ? add_part(&at, iso_time_units, 3, &total)
                             : add_part(&at, iso_date_units, 2, &total);
        if (failed != 0)
            return -1;
        any = true;
    }
    if (!any)
        return -1;
    *ret_duration_us = total;
    return 0;
}

int duration_parse(const char *text, int64_t *ret_duration_us)
{
    if (*text == 'P')
        return parse_iso(text, ret_duration_us);
    int64_t total = 0;
    if (*text == '\0')
        return -1;
    if (strcmp(text, "0") == 0) {
        *ret_duration_us = 0;
        return 0;
    }
    for (const char *at = text; *at != '\0';)
        if (add_part(&at, short_units, sizeof short_units / sizeof *short_units, &total) != 0)
            return -1;
    *ret_duration_us = total;
    return 0;
}

char *duration_format(int64_t duration_us, char text[TIME_TEXT_SIZE])
{
    static const struct unit units[] = {{"d", US_PER_DAY},    {"h", US_PER_HOUR},
                                        {"m", US_PER_MINUTE}, {"s", US_PER_SECOND},
                                        {"ms", US_PER_MS},    {"us", 1}};
    uint64_t rest_us = duration_us < 0 ? -(uint64_t)duration_us : (uint64_t)duration_us;
    size_t at = (size_t)snprintf(text, TIME_TEXT_SIZE, "%s",
                                 duration_us == 0  ? "0s"
                                 : duration_us < 0 ? "-"
                                                   : "");
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        uint64_t count = rest_us / (uint64_t)units[i].unit_us;
        rest_us %= (uint64_t)units[i].unit_us;
        if (count > 0)
            at += (size_t)snprintf(text + at, TIME_TEXT_SIZE - at, "%llu%s",
                                   (unsigned long long)count, units[i].name);
    }
    return text;
}

static int two_digits(const char *text, int low, int high, int *ret_number)
{
    if (!isdigit((unsigned char)text[0]) || !isdigit((unsigned char)text[1]))
        return -1;
    int number = (text[0] - '0') * 10 + (text[1] - '0');
    if (number < low || number > high)
        return -1;
    *ret_number = number;
    return 0;
}

static int parse_offset(const char *text, int64_t *ret_offset_s)
{
    int hours, minutes;
    if ((*text == 'Z' || *text == 'z') && text[1] == '\0') {
        *ret_offset_s = 0;
        return 0;
    }
    if ((*text != '+' && *text != '-') || strlen(text) != 6 || text[3] != ':' ||
        two_digits(text + 1, 0, 23, &hours) != 0 || two_digits(text + 4, 0, 59, &minutes) != 0)
        return -1;
    *ret_offset_s = (*text == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
    return 0;
}

int instant_parse(const char *text, int64_t *ret_wall_us)
{
    int64_t year, offset_s, whole = 0, micro = 0;
    int month, day, hour, minute, second;
    if (strlen(text) < 20 || !isdigit((unsigned char)text[0]) || text_int64(text, 4, &year) != 0 ||
        text[4] != '-' || two_digits(text + 5, 1, 12, &month) != 0 || text[7] != '-' ||
        two_digits(text + 8, 1, days_in_month(year, month), &day) != 0 ||
        strchr("Tt ", text[10]) == NULL || two_digits(text + 11, 0, 23, &hour) != 0 ||
        text[13] != ':' || two_digits(text + 14, 0, 59, &minute) != 0 || text[16] != ':' ||
        two_digits(text + 17, 0, 59, &second) != 0)
        return -1;
    const char *at = text + 19;
    if (*at == '.') {
        const char *fraction = at - 1; /* the last digit of the seconds */
        if (parse_decimal(&fraction, &whole, &micro) != 0)
            return -1;
        at = fraction;
    }
    if (parse_offset(at, &offset_s) != 0)
        return -1;
    int64_t seconds =
        days_from_civil(year, month, day) * 86400 + hour * 3600 + minute * 60 + second;
    *ret_wall_us = (seconds - offset_s) * US_PER_SECOND + micro;
    return 0;
}

/* As %0*llu does, ten times as fast: every run carries two instants. */
static char *put_digits(char *at, int64_t number, int width)
{
    for (int64_t rest = number, digits = 1; (rest /= 10) > 0;)
        width = ++digits > width ? (int)digits : width;
    for (int i = width - 1; i >= 0; i--, number /= 10)
        at[i] = (char)('0' + number % 10);
    return at + width;
}

static char *put_date(char *at, int64_t days)
{
    int64_t year;
    int month, day;
    civil_from_days(days, &year, &month, &day);
    if (year < 0)
        *at++ = '-';
    at = put_digits(at, year < 0 ? -year : year, year < 0 ? 3 : 4);
    *at++ = '-';
    at = put_digits(at, month, 2);
    *at++ = '-';
    return put_digits(at, day, 2);
}

char *instant_format(int64_t wall_us, char text[TIME_TEXT_SIZE])
{
    int64_t days = wall_us / US_PER_DAY, in_day = wall_us % US_PER_DAY;
    if (in_day < 0) {
        in_day += US_PER_DAY;
        days--;
    }
    char *at = put_date(text, days);
    *at++ = 'T';
    at = put_digits(at, in_day / US_PER_HOUR, 2);
    *at++ = ':';
    at = put_digits(at, in_day / US_PER_MINUTE % 60, 2);
    *at++ = ':';
    at = put_digits(at, in_day / US_PER_SECOND % 60, 2);
    *at++ = '.';
    at = put_digits(at, in_day / US_PER_MS % 1000, 3);
    *at++ = 'Z';
    *at = '\0';
    return text;
}
