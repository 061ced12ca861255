/*
 * A compiled expression in words. It starts from the bitmaps and not from the text, so it tells
 * what the schedule really does: H as the value it became, lists sorted, ranges as they wrap.
 */
#include "base/clock.h"
#include "coord/schedule/cron.h"
#include "coord/schedule/cron_field.h"

#include <string.h>

#define CLOCK_TIMES_MAX 6 /* more times of day than this are described by their fields */
#define ALL_SIXTY       (UINT64_MAX >> 4)
#define ALL_HOURS       0xffffffu

/* The values of a set as runs of neighbours; a run may go round from the highest to the lowest. */
struct runs {
    int count;
    int total; /* values */
    int first[CRON_LAST_YEAR - CRON_FIRST_YEAR + 1];
    int last[CRON_LAST_YEAR - CRON_FIRST_YEAR + 1];
    int step; /* of an even progression to the field's end, else 0 */
};

static bool has(const uint64_t *bits, int place)
{
    return bits[place / 64] >> (place % 64) & 1;
}

/* The distance between all values, if it is one, there are three or more, and the last one lies
 * less than a step before the end: what n/step writes. */
static int even_step(const uint64_t *bits, int size)
{
    int previous = -1, step = 0, total = 0;
    for (int i = 0; i < size; i++) {
        if (!has(bits, i))
            continue;
        if (previous >= 0 && step == 0)
            step = i - previous;
        else if (previous >= 0 && i - previous != step)
            return 0;
        previous = i;
        total++;
    }
    return total >= 3 && previous + step >= size ? step : 0;
}

static void find_runs(const uint64_t *bits, int size, bool wraps, struct runs *runs)
{
    runs->count = runs->total = 0;
    runs->step = even_step(bits, size);
    for (int i = 0; i < size; i++) {
        if (!has(bits, i))
            continue;
        runs->total++;
        if (runs->count > 0 && runs->last[runs->count - 1] == i - 1) {
            runs->last[runs->count - 1] = i;
            continue;
        }
        runs->first[runs->count] = runs->last[runs->count] = i;
        runs->count++;
    }
    if (wraps && runs->count > 1 && runs->first[0] == 0 &&
        runs->last[runs->count - 1] == size - 1) {
        runs->first[0] = runs->first[runs->count - 1];
        runs->count--;
    }
}

/* Writes one value of a field. */
typedef void (*write_value)(struct buffer *text, int value);

static void write_plain(struct buffer *text, int value)
{
    buffer_int(text, value);
}

static void write_day(struct buffer *text, int value)
{
    buffer_int(text, value + 1);
}

static void write_year(struct buffer *text, int value)
{
    buffer_int(text, value + CRON_FIRST_YEAR);
}

static void write_month(struct buffer *text, int value)
{
    buffer_string(text, cron_month_names[value]);
}

static void write_weekday(struct buffer *text, int value)
{
    buffer_string(text, cron_weekday_names[value]);
}

static void write_separator(struct buffer *text, int index, int count)
{
    if (index > 0)
        buffer_string(text, index + 1 == count ? " and " : ", ");
}

/* "1, 3 to 5 and 7" */
static void write_runs(struct buffer *text, const struct runs *runs, int size, write_value write)
{
    int parts = 0, part = 0;
    for (int i = 0; i < runs->count; i++)
        parts += (runs->last[i] - runs->first[i] + size) % size == 1 ? 2 : 1;
    for (int i = 0; i < runs->count; i++) {
        int length = (runs->last[i] - runs->first[i] + size) % size;
        write_separator(text, part++, parts);
        write(text, runs->first[i]);
        if (length == 1)
            write_separator(text, part++, parts);
        else if (length > 1)
            buffer_string(text, " to ");
        if (length > 0)
            write(text, runs->last[i]);
    }
}

/* "every second", "every 5 minutes", "every 20 minutes from minute 7", "at minutes 1, 3 and 4" */
static void write_small_unit(struct buffer *text, const char *unit, uint64_t bits)
{
    struct runs runs;
    find_runs(&bits, 60, true, &runs);
    if (runs.total == 60) {
        buffer_format(text, "every %s", unit);
    } else if (runs.step > 1) {
        buffer_format(text, "every %d %ss", runs.step, unit);
        /* An uneven step starts anew at every turn, and so has to say where. */
        if (runs.first[0] > 0 || 60 % runs.step != 0)
            buffer_format(text, " from %s %d", unit, runs.first[0]);
    } else {
        buffer_format(text, "at %s%s ", unit, runs.total > 1 ? "s" : "");
        write_runs(text, &runs, 60, write_plain);
    }
}

/* "at 02:30 and 14:30": only when these are few. Returns whether it was so. */
static bool write_clock_times(const struct cron *cron, struct buffer *text)
{
    int hours = __builtin_popcount(cron->hours), minutes = __builtin_popcountll(cron->minutes);
    int count = hours * minutes, index = 0;
    if (count > CLOCK_TIMES_MAX || __builtin_popcountll(cron->seconds) != 1)
        return false;
    int second = __builtin_ctzll(cron->seconds);
    buffer_string(text, "at ");
    for (uint32_t h = cron->hours; h != 0; h &= h - 1)
        for (uint64_t m = cron->minutes; m != 0; m &= m - 1) {
            write_separator(text, index++, count);
            buffer_format(text, "%02d:%02d", __builtin_ctz(h), __builtin_ctzll(m));
            if (second != 0)
                buffer_format(text, ":%02d", second);
        }
    return true;
}

/* Every n-th of 60 where the next hour or minute goes on in the same rhythm. */
static bool goes_round(uint64_t bits)
{
    int step = even_step(&bits, 60);
    return step > 1 && 60 % step == 0;
}

static void write_hours(const struct cron *cron, struct buffer *text)
{
    struct runs runs;
    uint64_t bits = cron->hours;
    find_runs(&bits, 24, true, &runs);
    if (runs.total == 24) {
        if (cron->minutes != ALL_SIXTY && !goes_round(cron->minutes))
            buffer_string(text, " of every hour");
    } else if (runs.step > 1) {
        buffer_format(text, " of every %d%s hour from hour %d", runs.step,
                      runs.step == 2   ? "nd"
                      : runs.step == 3 ? "rd"
                                       : "th",
                      runs.first[0]);
    } else {
        buffer_format(text, " of hour%s ", runs.total > 1 ? "s" : "");
        write_runs(text, &runs, 24, write_plain);
    }
}

static void write_time(const struct cron *cron, struct buffer *text)
{
    bool every_minute = cron->minutes == ALL_SIXTY;
    if (write_clock_times(cron, text))
        return;
    if (cron->seconds != 1) {
        write_small_unit(text, "second", cron->seconds);
        if (every_minute && cron->seconds != ALL_SIXTY && !goes_round(cron->seconds))
            buffer_string(text, " of every minute");
        if (!every_minute)
            buffer_string(text, ", ");
    }
    if (cron->seconds == 1 || !every_minute)
        write_small_unit(text, "minute", cron->minutes);
    write_hours(cron, text);
}

static const char *ordinal(int number)
{
    static const char *const names[] = {"", "first", "second", "third", "fourth", "fifth", "last"};
    return names[number];
}

void cron_describe_weekdays(unsigned weekdays, struct buffer *text)
{
    struct runs runs;
    uint64_t bits = weekdays;
    find_runs(&bits, 7, true, &runs);
    /* An even step makes no sense in words here: Monday, Wednesday and Friday are named. */
    write_runs(text, &runs, 7, write_weekday);
}

static void write_weekdays(const struct cron *cron, struct buffer *text)
{
    buffer_string(text, "on ");
    if (cron->weekday_nth > 0)
        buffer_format(text, "the %s ", ordinal(cron->weekday_nth));
    cron_describe_weekdays(cron->weekdays, text);
    if (cron->weekday_nth > 0)
        buffer_string(text, " of the month");
}

/* "the last day", "3 days before the last", each with or without "the weekday nearest to". */
static void write_lasts(struct buffer *text, uint32_t last, const char *before, bool *any)
{
    for (; last != 0; last &= last - 1) {
        int back = __builtin_ctz(last);
        buffer_string(text, *any ? ", " : "");
        *any = true;
        if (back == 0 && before[0] != '\0')
            buffer_string(text, "the last weekday (Monday to Friday)");
        else if (back == 0)
            buffer_string(text, "the last day");
        else
            buffer_format(text, "%sthe day %d day%s before the last", before, back,
                          back > 1 ? "s" : "");
    }
}

static void write_dates(const struct cron *cron, struct buffer *text)
{
    struct runs runs;
    uint64_t bits = cron->days;
    bool any = cron->days != 0;
    find_runs(&bits, 31, true, &runs);
    buffer_string(text, "on ");
    if (any) {
        buffer_format(text, "day%s ", runs.total > 1 ? "s" : "");
        write_runs(text, &runs, 31, write_day);
    }
    for (uint32_t left = cron->nearest; left != 0; left &= left - 1) {
        buffer_string(text, any ? ", " : "");
        buffer_format(text, "the weekday (Monday to Friday) nearest to day %d",
                      __builtin_ctz(left) + 1);
        any = true;
    }
    write_lasts(text, cron->last, "", &any);
    write_lasts(text, cron->last_nearest, "the weekday (Monday to Friday) nearest to ", &any);
    buffer_string(text, " of the month");
}

static void write_months_and_years(const struct cron *cron, struct buffer *text)
{
    struct runs runs;
    uint64_t months = cron->months;
    int years = CRON_LAST_YEAR - CRON_FIRST_YEAR + 1;
    find_runs(&months, 12, true, &runs);
    if (runs.total < 12) {
        buffer_string(text, ", in ");
        write_runs(text, &runs, 12, write_month);
    }
    find_runs(cron->years, years, false, &runs);
    if (runs.total == years)
        return;
    if (runs.step > 1) {
        buffer_format(text, ", every %d years from ", runs.step);
        write_year(text, runs.first[0]);
    } else {
        buffer_string(text, ", in ");
        write_runs(text, &runs, years, write_year);
    }
}

void cron_describe(const struct cron *cron, struct buffer *text)
{
    size_t start = text->length;
    write_time(cron, text);
    if (cron->days_by == CRON_EVERY_DAY) {
        buffer_string(text, cron->hours != ALL_HOURS ? " every day" : "");
    } else {
        buffer_string(text, " ");
        if (cron->days_by == CRON_WEEKDAYS)
            write_weekdays(cron, text);
        else
            write_dates(cron, text);
    }
    write_months_and_years(cron, text);
    buffer_char(text, '.');
    if (text->data[start] >= 'a' && text->data[start] <= 'z')
        text->data[start] = (char)(text->data[start] - 'a' + 'A');
}

void cron_describe_clock_change(const struct cron *cron, struct buffer *text)
{
    struct wall wall = cron_wall(cron);
    wall_describe_clock_change(&wall, text);
}
