/*
 * What takes years to show, against enumerations instead of stepping by seconds: the day fields of
 * cron against a list of all days from 1970 to 2199, and calendar intervals in all zones against
 * readings listed one after the other by the C library's calendar, each looked up in its idea of
 * the zone.
 */
#include "base/clock.h"
#include "base/instant.h"
#include "base/memory.h"
#include "coord/schedule/cron.h"
#include "coord/schedule/schedule.h"
#include "coord/schedule/zone_table.h"
#include "tests/unit/property.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DAY_S 86400
#define DAYS  84006 /* 1970-01-01 to 2199-12-31 */

static struct zone_cache *zones;
static struct zone_names names;
static int64_t comparisons;

static int prepare(void **state)
{
    (void)state;
    zones = zone_cache_new();
    zone_names_read(&names, "/usr/share/zoneinfo");
    return 0;
}

static int clean_up(void **state)
{
    (void)state;
    zone_cache_free(zones);
    zone_names_free(&names);
    unsetenv("TZ");
    tzset();
    return 0;
}

static int month_length(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && leap);
}

/* --- days of cron ---------------------------------------------------------------------------- */

struct day {
    short year;
    signed char month, day, weekday, length; /* weekday 0: Sunday; length of the month */
};

static void list_days(struct day *days)
{
    struct day day = {.year = 1970, .month = 1, .day = 1, .weekday = 4, .length = 31};
    for (int i = 0; i < DAYS; i++) {
        days[i] = day;
        day.weekday = (signed char)((day.weekday + 1) % 7);
        if (++day.day > day.length) {
            day.day = 1;
            day.month = (signed char)(day.month % 12 + 1);
            day.year = (short)(day.year + (day.month == 1));
            day.length = (signed char)month_length(day.year, day.month);
        }
    }
    assert_int_equal(days[DAYS - 1].year, 2199);
    assert_int_equal(days[DAYS - 1].month * 100 + days[DAYS - 1].day, 1231);
}

/* One of the things between the commas of a day field. */
struct item {
    enum { RANGE, BEFORE_LAST, NEAREST, NEAREST_BEFORE_LAST, WEEKDAYS, LAST_WEEKDAY, NTH } kind;
    int low, high, step;
};

/* The weekday of the same month that is nearest to a day of it. */
static int nearest(const struct day *day, int target)
{
    int weekday = (day->weekday + 35 + target - day->day) % 7;
    if (weekday == 6)
        return target == 1 ? 3 : target - 1;
    if (weekday == 0)
        return target == day->length ? target - 2 : target + 1;
    return target;
}

static bool item_has(const struct item *item, const struct day *day)
{
    int target = day->length - item->low, size, distance;
    switch (item->kind) {
    case RANGE:
        size = item->high >= item->low ? item->high - item->low : item->high + 31 - item->low;
        distance = (day->day - item->low + 31) % 31;
        return distance <= size && distance % item->step == 0;
    case BEFORE_LAST:
        return day->day == target;
    case NEAREST:
        return item->low <= day->length && day->day == nearest(day, item->low);
    case NEAREST_BEFORE_LAST:
        return target >= 1 && day->day == nearest(day, target);
    case WEEKDAYS:
        size = item->high >= item->low ? item->high - item->low : item->high + 7 - item->low;
        distance = (day->weekday + 1 - item->low + 7) % 7;
        return distance <= size && distance % item->step == 0;
    case LAST_WEEKDAY:
        return day->weekday + 1 == item->low && day->day > day->length - 7;
    case NTH:
        return day->weekday + 1 == item->low && (day->day - 1) / 7 + 1 == item->high;
    }
    return false;
}

static struct item random_item(bool by_weekday, bool alone, struct buffer *text)
{
    struct item item = {.kind = WEEKDAYS, .step = 1};
    if (!by_weekday)
        item.kind = below(4);
    else if (alone)
        item.kind = WEEKDAYS + (int)below(3);
    int most = by_weekday ? 7 : 31;
    item.low = 1 + (int)below(most);
    item.high = item.kind == NTH ? 1 + (int)below(5) : 1 + (int)below(most);
    if (item.kind == RANGE || item.kind == WEEKDAYS) {
        item.step = 1 + (int)below(by_weekday ? 3 : 9);
        buffer_format(text, "%d-%d/%d", item.low, item.high, item.step);
    } else if (item.kind == BEFORE_LAST) {
        item.low--;
        buffer_format(text, item.low > 0 ? "L-%d" : "L", item.low);
    } else if (item.kind == NEAREST_BEFORE_LAST) {
        item.low--;
        buffer_format(text, item.low > 0 ? "L-%dW" : "LW", item.low);
    } else {
        buffer_format(text,
                      item.kind == NEAREST ? "%dW"
                      : item.kind == NTH   ? "%d#%d"
                                           : "%dL",
                      item.low, item.high);
    }
    return item;
}

#define ITEMS_MAX 3

struct random_days {
    struct item items[ITEMS_MAX];
    int count;
    int first_month, last_month; /* may go round */
    int first_year, last_year;
    struct buffer text;
};

static void random_days(struct random_days *random)
{
    bool by_weekday = one_in(3);
    struct buffer days = {0};
    random->count = 1 + (int)below(ITEMS_MAX);
    for (int i = 0; i < random->count; i++) {
        buffer_string(&days, i > 0 ? "," : "");
        random->items[i] = random_item(by_weekday, random->count == 1, &days);
    }
    bool months = one_in(2), years = one_in(4);
    random->first_month = months ? 1 + (int)below(12) : 1;
    random->last_month = months ? 1 + (int)below(12) : 12;
    random->first_year = years ? 1970 + (int)below(230) : 1970;
    random->last_year = years ? random->first_year + (int)below(2200 - random->first_year) : 2199;
    buffer_format(&random->text, "0 0 12 %s %d-%d %s %d-%d", by_weekday ? "?" : buffer_text(&days),
                  random->first_month, random->last_month, by_weekday ? buffer_text(&days) : "?",
                  random->first_year, random->last_year);
    buffer_free(&days);
}

static bool days_have(const struct random_days *random, const struct day *day)
{
    bool wraps = random->first_month > random->last_month, has = false;
    bool after = day->month >= random->first_month, before = day->month <= random->last_month;
    if (day->year < random->first_year || day->year > random->last_year ||
        (wraps ? !after && !before : !after || !before))
        return false;
    for (int i = 0; i < random->count; i++)
        has = has || item_has(&random->items[i], day);
    return has;
}

static bool days_disagree(struct random_days *random, const char *what, int64_t after_s,
                          int64_t expected, int64_t got, struct buffer *why)
{
    char after[TIME_TEXT_SIZE];
    buffer_format(why, "\"%s\": %s after %s: expected %lld, got %lld", buffer_text(&random->text),
                  what, instant_format(after_s * US_PER_SECOND, after), (long long)expected,
                  (long long)got);
    return false;
}

static bool days_agree(void *arg, int64_t number, struct buffer *why)
{
    const struct day *days = arg;
    struct random_days random = {0};
    struct rota_error error = {0};
    struct cron cron;
    (void)number;
    random_days(&random);
    struct zone *utc = zone_open(zones, "UTC", NULL);
    if (cron_parse(&cron, buffer_text(&random.text), utc, NULL, &error) != 0)
        fail_msg("%s", error.message);
    int64_t at_s = -1, from_s = below(DAYS) * DAY_S, counted = 0;
    bool fine = true;
    for (int i = 0; fine && i < DAYS; i++) {
        if (!days_have(&random, &days[i]))
            continue;
        int64_t expected_s = (int64_t)i * DAY_S + DAY_S / 2, got_s = cron_next(&cron, at_s);
        comparisons++;
        fine = got_s == expected_s || days_disagree(&random, "next", at_s, expected_s, got_s, why);
        at_s = expected_s;
        counted += at_s > from_s;
        if (fine && i % 512 == 0) {
            int64_t got = cron_count(&cron, from_s, at_s);
            comparisons++;
            fine = got == (at_s > from_s ? counted : 0) ||
                   days_disagree(&random, "count", from_s, counted, got, why);
        }
    }
    if (fine && cron_next(&cron, at_s) != CRON_NONE)
        fine = days_disagree(&random, "next", at_s, CRON_NONE, cron_next(&cron, at_s), why);
    if (fine && cron_count(&cron, from_s, INT64_C(7258118400)) != counted)
        fine = days_disagree(&random, "count", from_s, counted,
                             cron_count(&cron, from_s, INT64_C(7258118400)), why);
    zone_unref(utc);
    buffer_free(&random.text);
    return fine;
}

static void day_fields_agree_with_a_list_of_all_days(void **state)
{
    (void)state;
    struct day *days = mem_array(DAYS, sizeof *days);
    list_days(days);
    comparisons = 0;
    random_seed();
    property_check(days_agree, days, 300 * random_rounds());
    print_message("# %lld comparisons\n", (long long)comparisons);
    assert_true(comparisons >= 100000);
    free(days);
}

/* --- calendar intervals ---------------------------------------------------------------------- */

#define NUMBERS   60 /* readings of an interval */
#define QUESTIONS 40
#define AROUND_S  (28 * 3600) /* an offset moves a reading by less */
#define SAMPLE_S  1800        /* no offset of today's zones lasts less */

struct random_interval {
    struct schedule_spec spec;
    char text[40];
    int64_t at_s[2 * NUMBERS];
    int count;
};

static int64_t wall_of(int64_t instant_s)
{
    time_t at = (time_t)instant_s;
    struct tm local;
    localtime_r(&at, &local);
    return instant_s + local.tm_gmtoff;
}

/* The instants at which the clock shows a reading, 0 to 2; if none, the first one after the gap. */
static int instants_of(int64_t reading, int64_t instants[2])
{
    int count = 0;
    int64_t tried = INT64_MAX;
    for (int64_t near_s = reading - AROUND_S; near_s <= reading + AROUND_S; near_s += SAMPLE_S) {
        int64_t offset = wall_of(near_s) - near_s, instant_s = reading - offset;
        if (offset == tried || wall_of(instant_s) != reading)
            continue;
        tried = offset;
        if (count == 0 || (count == 1 && instants[0] != instant_s))
            instants[count++] = instant_s;
    }
    if (count == 2 && instants[0] > instants[1]) {
        int64_t later = instants[0];
        instants[0] = instants[1];
        instants[1] = later;
    }
    if (count > 0)
        return count;
    int64_t after_s = reading - AROUND_S;
    while (wall_of(after_s + 60) <= reading)
        after_s += 60;
    while (wall_of(after_s) <= reading)
        after_s++;
    instants[0] = after_s;
    return 0;
}

static void add(struct random_interval *random, int64_t at_s)
{
    if (random->count == 0 || random->at_s[random->count - 1] < at_s)
        random->at_s[random->count++] = at_s;
}

/* The first readings, by the words of the contract, as far as 2199. */
static void list_occurrences(struct random_interval *random, int unit, int64_t count)
{
    static const int unit_days[] = {1, 7}, unit_months[] = {0, 0, 1, 3, 12};
    int64_t anchor = wall_of(random->spec.anchor_us / US_PER_SECOND);
    time_t anchor_time = (time_t)anchor;
    struct tm civil;
    gmtime_r(&anchor_time, &civil);
    random->count = 0;
    for (int number = 0; number < NUMBERS; number++) {
        int64_t reading = anchor, instants[2];
        if (unit < 2) {
            reading += number * count * unit_days[unit] * DAY_S;
        } else {
            int64_t month = civil.tm_mon + number * count * unit_months[unit];
            int year = civil.tm_year + 1900 + (int)(month / 12);
            int length = month_length(year, (int)(month % 12) + 1);
            struct tm at = civil;
            at.tm_year = year - 1900;
            at.tm_mon = (int)(month % 12);
            at.tm_mday = civil.tm_mday < length ? civil.tm_mday : length;
            reading = timegm(&at);
        }
        if (reading > INT64_C(7258000000))
            return;
        int found = instants_of(reading, instants);
        if (found == 0 && random->spec.gap != ZONE_GAP_SKIP)
            add(random, instants[0]);
        if (found > 0 && (found == 1 || random->spec.overlap != ZONE_OVERLAP_SECOND))
            add(random, instants[0]);
        if (found == 2 && random->spec.overlap >= ZONE_OVERLAP_SECOND)
            add(random, instants[1]);
    }
}

/* The time of day of a change of the clock, a few minutes before or after it. */
static int64_t time_of_change(const char *zone_of)
{
    struct zone *zone = zone_open(zones, zone_of, NULL);
    size_t number = (size_t)below((int64_t)zone_span_count(zone));
    int64_t start_s = zone_span(zone, number).start_s;
    zone_unref(zone);
    if (start_s < 0)
        return 0;
    return (wall_of(start_s - below(2)) + below(7200) - 3600 + 2 * DAY_S) % DAY_S;
}

static void random_interval(struct random_interval *random, const char *zone)
{
    static const char *const units[] = {"day", "week", "month", "quarter", "year"};
    static const int most[] = {40, 8, 20, 6, 3};
    *random = (struct random_interval){.spec = SCHEDULE_SPEC(SCHEDULE_CALENDAR_INTERVAL)};
    int unit = (int)below(5);
    int64_t count = 1 + below(one_in(2) ? most[unit] : 2), instants[2];
    snprintf(random->text, sizeof random->text, "%lld %s", (long long)count, units[unit]);
    struct tm anchor = {.tm_year = 73 + (int)below(100), .tm_mon = (int)below(12)};
    int length = month_length(anchor.tm_year + 1900, anchor.tm_mon + 1);
    anchor.tm_mday = one_in(2) ? length - (int)below(4) : 1 + (int)below(length);
    int64_t second = one_in(2) ? time_of_change(zone) : below(DAY_S);
    instants_of(timegm(&anchor) + second, instants);
    random->spec.calendar_interval = random->text;
    random->spec.timezone = zone;
    random->spec.anchor_us = random->spec.start_at_us = instants[0] * US_PER_SECOND;
    random->spec.gap = (enum zone_gap)below(ZONE_GAP_SKIP + 1);
    random->spec.overlap = (enum zone_overlap)below(ZONE_OVERLAP_BOTH + 1);
    list_occurrences(random, unit, count);
    if (one_in(3)) {
        random->spec.repeat = below(NUMBERS / 2);
        if (random->count > random->spec.repeat + 1)
            random->count = (int)random->spec.repeat + 1;
    }
}

static bool interval_disagrees(const struct random_interval *random, const char *what,
                               const int64_t between_s[2], int64_t expected, int64_t got,
                               struct buffer *why)
{
    char words[3][TIME_TEXT_SIZE];
    const struct schedule_spec *spec = &random->spec;
    buffer_format(why,
                  "%s in %s from %s repeat %lld gap %d overlap %d: %s after %s (%lld) until %s "
                  "(%lld): expected %lld, got %lld",
                  random->text, spec->timezone, instant_format(spec->anchor_us, words[0]),
                  (long long)spec->repeat, spec->gap, spec->overlap, what,
                  instant_format(between_s[0] * US_PER_SECOND, words[1]), (long long)between_s[0],
                  instant_format(between_s[1] * US_PER_SECOND, words[2]), (long long)between_s[1],
                  (long long)expected, (long long)got);
    return false;
}

static int64_t as_us(int64_t at_s)
{
    return at_s == SCHEDULE_NONE ? SCHEDULE_NONE : at_s * US_PER_SECOND;
}

/* Between a second before the first occurrence and the last one that is listed. */
static bool interval_question(const struct random_interval *random, const struct schedule *schedule,
                              struct buffer *why)
{
    int first = (int)below(random->count), last = first + (int)below(random->count - first);
    int64_t next_s = SCHEDULE_NONE, newest_s = SCHEDULE_NONE, count = 0;
    const int64_t between_s[2] = {random->at_s[first] - below(2), random->at_s[last] - below(2)};
    for (int i = 0; i < random->count; i++) {
        int64_t at_s = random->at_s[i];
        if (at_s > between_s[0] && next_s == SCHEDULE_NONE)
            next_s = at_s;
        if (at_s > between_s[0] && at_s <= between_s[1]) {
            newest_s = at_s;
            count++;
        }
    }
    int64_t from_us = as_us(between_s[0]), to_us = as_us(between_s[1]);
    comparisons += 3;
    int64_t got_us = schedule_next(schedule, from_us);
    bool known = next_s != SCHEDULE_NONE || random->spec.repeat >= 0;
    if (known && got_us != as_us(next_s))
        return interval_disagrees(random, "next", between_s, as_us(next_s), got_us, why);
    got_us = schedule_newest(schedule, from_us, to_us);
    if (got_us != as_us(newest_s))
        return interval_disagrees(random, "newest", between_s, as_us(newest_s), got_us, why);
    int64_t got = schedule_count(schedule, from_us, to_us);
    return got == count || interval_disagrees(random, "count", between_s, count, got, why);
}

static bool intervals_agree(void *arg, int64_t number, struct buffer *why)
{
    struct random_interval *random = arg;
    struct rota_error error = {0};
    int64_t zone_count = (int64_t)names.count;
    const char *zone = names.names[chosen(zone_count, number % zone_count)];
    setenv("TZ", zone, 1);
    tzset();
    random_interval(random, zone);
    struct schedule *schedule = schedule_new(&random->spec, zones, &error);
    if (schedule == NULL)
        fail_msg("%s: %s", random->text, error.message);
    bool fine = true;
    for (int i = 0; fine && random->count > 0 && i < QUESTIONS; i++) {
        part_begin();
        fine = interval_question(random, schedule, why);
        part_end();
    }
    if (fine && random->count == random->spec.repeat + 1) {
        int64_t last_s = random->at_s[random->count - 1], got_us = schedule_final(schedule);
        const int64_t all_s[2] = {random->at_s[0], last_s};
        comparisons++;
        fine = got_us == as_us(last_s) ||
               interval_disagrees(random, "final", all_s, as_us(last_s), got_us, why);
    }
    schedule_free(schedule);
    return fine;
}

static void intervals_agree_with_readings_listed_in_all_zones(void **state)
{
    (void)state;
    struct random_interval *random = mem_alloc(sizeof *random);
    comparisons = 0;
    random_seed();
    property_check(intervals_agree, random, 2 * random_rounds() * (int64_t)names.count);
    print_message("# %lld comparisons in %zu zones\n", (long long)comparisons, names.count);
    assert_true(comparisons >= 100000);
    free(random);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(day_fields_agree_with_a_list_of_all_days),
        cmocka_unit_test(intervals_agree_with_readings_listed_in_all_zones),
    };
    return cmocka_run_group_tests(tests, prepare, clean_up);
}
