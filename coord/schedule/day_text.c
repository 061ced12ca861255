/* Times of day, weekdays and dates as text: see day_text.h. */
#include "coord/schedule/day_text.h"

#include "base/instant.h"
#include "coord/schedule/cron.h"
#include "coord/schedule/cron_field.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

/* Exactly so many digits; the text moves on behind them. */
static bool take_digits(const char **text, int count, int *ret_number)
{
    int number = 0;
    for (int i = 0; i < count; i++, (*text)++) {
        if (!isdigit((unsigned char)**text))
            return false;
        number = number * 10 + (**text - '0');
    }
    *ret_number = number;
    return true;
}

static bool take(const char **text, char wanted)
{
    bool there = **text == wanted;
    *text += there;
    return there;
}

int day_time_parse(const char *text, int *ret_second, struct rota_error *error)
{
    const char *at = text;
    int hour, minute, second = 0;
    bool right = take_digits(&at, 2, &hour) && take(&at, ':') && take_digits(&at, 2, &minute) &&
                 (!take(&at, ':') || take_digits(&at, 2, &second)) && *at == '\0';
    if (!right)
        return error_set(error, ERROR_REFUSED,
                         "\"%.40s\" is no time of day: expected HH:MM or HH:MM:SS, as in 08:00",
                         text);
    int time = hour * 3600 + minute * 60 + second;
    if (minute > 59 || second > 59 || time > 86400)
        return error_set(error, ERROR_REFUSED,
                         "\"%.40s\" is no time of day: expected 00:00 to 24:00", text);
    *ret_second = time;
    return 0;
}

void day_time_write(struct buffer *text, int second)
{
    buffer_format(text, "%02d:%02d", second / 3600, second / 60 % 60);
    if (second % 60 != 0)
        buffer_format(text, ":%02d", second % 60);
}

int day_weekday_parse(const char *text, int *ret_weekday, struct rota_error *error)
{
    for (int weekday = 0; weekday < 7; weekday++) {
        const char *name = cron_weekday_names[weekday];
        bool is_short = strlen(text) == 3 && strncasecmp(text, name, 3) == 0;
        if (is_short || strcasecmp(text, name) == 0) {
            *ret_weekday = weekday;
            return 0;
        }
    }
    return error_set(error, ERROR_REFUSED,
                     "\"%.40s\" is no weekday: expected SUN, MON, TUE, WED, THU, FRI or SAT", text);
}

int day_date_parse(const char *text, int64_t *ret_day, struct rota_error *error)
{
    const char *at = text;
    int year, month, day;
    bool right = take_digits(&at, 4, &year) && take(&at, '-') && take_digits(&at, 2, &month) &&
                 take(&at, '-') && take_digits(&at, 2, &day) && *at == '\0';
    if (!right)
        return error_set(error, ERROR_REFUSED,
                         "\"%.40s\" is no date: expected YYYY-MM-DD, as in 2026-12-25", text);
    if (year < CRON_FIRST_YEAR || year > CRON_LAST_YEAR)
        return error_set(error, ERROR_REFUSED,
                         "\"%.40s\": the year is out of range: expected 1970 to 2199", text);
    if (month < 1 || month > 12 || day < 1 || day > days_in_month(year, month))
        return error_set(error, ERROR_REFUSED,
                         "\"%.40s\": there is no such day: expected YYYY-MM-DD, as in 2026-12-25",
                         text);
    *ret_day = days_from_civil(year, month, day);
    return 0;
}

int day_of_year_parse(const char *text, int *ret_month, int *ret_day, struct rota_error *error)
{
    const char *at = text;
    int month, day;
    bool right =
        take_digits(&at, 2, &month) && take(&at, '-') && take_digits(&at, 2, &day) && *at == '\0';
    const int leap_year = 2000;
    if (!right || month < 1 || month > 12 || day < 1 || day > days_in_month(leap_year, month))
        return error_set(error, ERROR_REFUSED,
                         "\"%.40s\" is no day of a year: expected MM-DD, as in 12-25", text);
    *ret_month = month;
    *ret_day = day;
    return 0;
}
