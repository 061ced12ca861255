/*
 * Windows of each day: steps, ends and weekdays, changes of the clock, repetition, and what is
 * refused.
 */
#include "base/clock.h"
#include "base/instant.h"
#include "coord/schedule/daily.h"
#include "coord/schedule/schedule.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#define MINUTE_US (60 * US_PER_SECOND)
#define DAY_US    (86400 * US_PER_SECOND)
#define MONDAY    (1u << 1)
#define WORKDAYS  0x3eu

static struct zone_cache *zones;

static int open_zones(void **state)
{
    (void)state;
    zones = zone_cache_new();
    return 0;
}

static int close_zones(void **state)
{
    (void)state;
    zone_cache_free(zones);
    return 0;
}

static int64_t at(const char *text)
{
    int64_t instant_us = 0;
    if (instant_parse(text, &instant_us) != 0)
        fail_msg("no instant: %s", text);
    return instant_us;
}

static struct schedule_spec daily(const char *from, const char *to, int64_t every_us,
                                  const char *zone)
{
    struct schedule_spec spec = SCHEDULE_SPEC(SCHEDULE_DAILY);
    spec.daily_from = from;
    spec.daily_to = to;
    spec.every_us = every_us;
    spec.timezone = zone;
    return spec;
}

static struct schedule *made(const struct schedule_spec *spec)
{
    struct rota_error error = {0};
    struct schedule *schedule = schedule_new(spec, zones, &error);
    if (schedule == NULL)
        fail_msg("%s", error.message);
    return schedule;
}

/* The occurrences after an instant, one by one; NULL ends the list. */
static void check_list(const struct schedule_spec *spec, const char *after,
                       const char *const *expected)
{
    char got[TIME_TEXT_SIZE];
    struct schedule *schedule = made(spec);
    int64_t at_us = at(after), count = 0;
    for (; *expected != NULL; expected++) {
        at_us = schedule_next(schedule, at_us);
        if (at_us != at(*expected))
            fail_msg("%s to %s in %s: expected %s, got %s", spec->daily_from, spec->daily_to,
                     spec->timezone, *expected, instant_format(at_us, got));
        assert_int_equal(schedule_count(schedule, at(after), at_us), ++count);
        assert_int_equal(schedule_newest(schedule, at(after), at_us), at_us);
    }
    schedule_free(schedule);
}

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})

static void a_window_begins_anew_every_day(void **state)
{
    (void)state;
    struct schedule_spec spec = daily("08:00", "18:00", 4 * 60 * MINUTE_US, NULL);
    check_list(&spec, "2026-11-20T00:00:00Z",
               LIST("2026-11-20T08:00:00Z", "2026-11-20T12:00:00Z", "2026-11-20T16:00:00Z",
                    "2026-11-21T08:00:00Z"));
    spec = daily("08:00", "16:00", 4 * 60 * MINUTE_US, NULL);
    check_list(&spec, "2026-11-20T12:00:00Z", LIST("2026-11-20T16:00:00Z", "2026-11-21T08:00:00Z"));
    spec = daily("09:59:30", "10:00:30", 30 * US_PER_SECOND, NULL);
    check_list(&spec, "2026-11-20T09:59:30Z",
               LIST("2026-11-20T10:00:00Z", "2026-11-20T10:00:30Z", "2026-11-21T09:59:30Z"));
    spec = daily("23:00", "24:00", 30 * MINUTE_US, NULL); /* 24:00 belongs to the next day */
    check_list(&spec, "2026-11-20T12:00:00Z",
               LIST("2026-11-20T23:00:00Z", "2026-11-20T23:30:00Z", "2026-11-21T23:00:00Z"));
    spec = daily(NULL, NULL, 1440 * MINUTE_US, "Asia/Tokyo");
    check_list(&spec, "2026-11-20T12:00:00Z", LIST("2026-11-21T00:00:00+09:00"));
    spec = daily("12:00", "12:00", MINUTE_US, NULL);
    check_list(&spec, "2026-11-20T12:00:00Z", LIST("2026-11-21T12:00:00Z"));
}

static void only_the_given_weekdays_count(void **state)
{
    (void)state;
    struct schedule_spec spec = daily("08:00", "08:30", 20 * MINUTE_US, "Europe/Berlin");
    spec.weekdays = WORKDAYS; /* 2026-11-20 is a Friday */
    check_list(&spec, "2026-11-20T08:00:00+01:00",
               LIST("2026-11-20T08:20:00+01:00", "2026-11-23T08:00:00+01:00"));
    spec.weekdays = MONDAY;
    check_list(&spec, "2026-11-20T08:00:00+01:00",
               LIST("2026-11-23T08:00:00+01:00", "2026-11-23T08:20:00+01:00",
                    "2026-11-30T08:00:00+01:00"));
}

static void a_limited_window_follows_the_wall(void **state)
{
    (void)state;
    struct schedule_spec spec = daily("01:30", "03:30", 30 * MINUTE_US, "America/New_York");
    /* 02:00 and 02:30 are skipped, and are one with 03:00 right after. */
    check_list(&spec, "2024-03-10T00:00:00-05:00",
               LIST("2024-03-10T01:30:00-05:00", "2024-03-10T03:00:00-04:00",
                    "2024-03-10T03:30:00-04:00", "2024-03-11T01:30:00-04:00"));
    check_list(&spec, "2024-11-03T00:00:00-04:00",
               LIST("2024-11-03T01:30:00-04:00", "2024-11-03T02:00:00-05:00",
                    "2024-11-03T02:30:00-05:00"));
    spec.overlap = ZONE_OVERLAP_BOTH;
    check_list(&spec, "2024-11-03T00:00:00-04:00",
               LIST("2024-11-03T01:30:00-04:00", "2024-11-03T01:30:00-05:00",
                    "2024-11-03T02:00:00-05:00"));
    spec = daily("02:10", "02:50", 20 * MINUTE_US, "America/New_York");
    check_list(&spec, "2024-03-10T00:00:00-05:00",
               LIST("2024-03-10T03:00:00-04:00", "2024-03-11T02:10:00-04:00"));
    spec.gap = ZONE_GAP_SKIP;
    check_list(&spec, "2024-03-10T00:00:00-05:00", LIST("2024-03-11T02:10:00-04:00"));
}

static void a_window_over_all_hours_follows_elapsed_time(void **state)
{
    (void)state;
    enum zone_gap gap;
    enum zone_overlap overlap;
    struct schedule_spec spec = daily(NULL, NULL, 30 * MINUTE_US, "America/New_York");
    check_list(&spec, "2024-11-03T01:00:00-04:00",
               LIST("2024-11-03T01:30:00-04:00", "2024-11-03T01:00:00-05:00",
                    "2024-11-03T01:30:00-05:00", "2024-11-03T02:00:00-05:00"));
    check_list(&spec, "2024-03-10T01:30:00-05:00",
               LIST("2024-03-10T03:00:00-04:00", "2024-03-10T03:30:00-04:00"));
    spec = daily("00:10", "23:59", 60 * MINUTE_US, "America/New_York");
    check_list(&spec, "2024-03-10T01:10:00-05:00", LIST("2024-03-10T03:10:00-04:00"));
    struct schedule *schedule = made(&spec);
    assert_true(schedule_clock_change(schedule, &gap, &overlap));
    assert_int_equal(gap, ZONE_GAP_SKIP);
    assert_int_equal(overlap, ZONE_OVERLAP_BOTH);
    schedule_free(schedule);
    spec = daily("00:00:01", NULL, 3601 * US_PER_SECOND, "America/New_York"); /* in each hour, too */
    check_list(&spec, "2024-03-10T01:30:00-05:00", LIST("2024-03-10T03:00:04-04:00"));
    spec = daily("01:00", "23:59", 60 * MINUTE_US, "America/New_York");
    schedule = made(&spec);
    assert_true(schedule_clock_change(schedule, &gap, &overlap));
    assert_int_equal(gap, ZONE_GAP_AFTER);
    assert_int_equal(overlap, ZONE_OVERLAP_FIRST);
    schedule_free(schedule);
}

static void strange_changes_of_the_clock(void **state)
{
    (void)state;
    struct schedule_spec spec = daily("01:45", "02:45", 15 * MINUTE_US, "Australia/Lord_Howe");
    check_list(&spec, "2025-10-05T00:00:00+10:30", /* 02:00 to 02:30 is skipped */
               LIST("2025-10-05T01:45:00+10:30", "2025-10-05T02:30:00+11:00",
                    "2025-10-05T02:45:00+11:00"));
    check_list(&spec, "2025-04-06T00:00:00+11:00", /* 01:30 to 02:00 is shown twice */
               LIST("2025-04-06T01:45:00+11:00", "2025-04-06T02:00:00+10:30"));
    spec = daily("22:00", "23:00", 60 * MINUTE_US, "Pacific/Apia");
    check_list(&spec, "2011-12-29T22:30:00-10:00", /* the 30th is no day */
               LIST("2011-12-29T23:00:00-10:00", "2011-12-31T00:00:00+14:00",
                    "2011-12-31T22:00:00+14:00"));
    spec.weekdays = 1u << 5; /* Fridays: the 30th was to be one */
    check_list(&spec, "2011-12-29T00:00:00-10:00",
               LIST("2011-12-31T00:00:00+14:00", "2012-01-06T22:00:00+14:00"));
    spec = daily("00:00", "01:00", 20 * MINUTE_US, "America/Havana");
    check_list(&spec, "2024-03-09T12:00:00-05:00", /* the day begins at 01:00 */
               LIST("2024-03-10T01:00:00-04:00", "2024-03-11T00:00:00-04:00"));
    check_list(&spec, "2024-11-03T00:40:00-04:00", /* 00:00 to 01:00 is shown twice */
               LIST("2024-11-03T01:00:00-05:00", "2024-11-04T00:00:00-05:00"));
    spec = daily("01:00", "04:00", 60 * MINUTE_US, "Antarctica/Troll");
    check_list(&spec, "2025-03-30T00:00:00Z", /* 01:00 to 03:00 is skipped */
               LIST("2025-03-30T03:00:00+02:00", "2025-03-30T04:00:00+02:00"));
    check_list(&spec, "2025-10-25T22:00:00Z",
               LIST("2025-10-26T01:00:00+02:00", "2025-10-26T02:00:00+02:00",
                    "2025-10-26T03:00:00+00:00", "2025-10-26T04:00:00+00:00"));
}

static void repeat_counts_from_the_start(void **state)
{
    (void)state;
    struct schedule_spec spec = daily("08:00", "18:00", 15 * MINUTE_US, "Europe/Berlin");
    spec.start_at_us = at("2026-11-20T17:30:00+01:00");
    spec.repeat = 4;
    check_list(&spec, "2000-01-01T00:00:00Z",
               LIST("2026-11-20T17:30:00+01:00", "2026-11-20T17:45:00+01:00",
                    "2026-11-20T18:00:00+01:00", "2026-11-21T08:00:00+01:00",
                    "2026-11-21T08:15:00+01:00"));
    struct schedule *schedule = made(&spec);
    assert_int_equal(schedule_final(schedule), at("2026-11-21T08:15:00+01:00"));
    assert_int_equal(schedule_next(schedule, schedule_final(schedule)), SCHEDULE_NONE);
    assert_int_equal(schedule_count(schedule, INT64_MIN, INT64_MAX), 5);
    schedule_free(schedule);
    spec.repeat = 1000000; /* 41 a day */
    schedule = made(&spec);
    assert_int_equal(schedule_count(schedule, INT64_MIN, INT64_MAX), 1000001);
    schedule_free(schedule);
    spec.repeat = INT64_MAX; /* more than there will be until 2199 */
    schedule = made(&spec);
    assert_int_equal(schedule_newest(schedule, 0, INT64_MAX), at("2199-12-31T18:00:00+01:00"));
    schedule_free(schedule);
}

static void a_day_is_counted_at_once(void **state)
{
    (void)state;
    struct schedule_spec spec = daily(NULL, NULL, US_PER_SECOND, "Europe/Berlin");
    struct schedule *schedule = made(&spec);
    int64_t start_us = at("2026-06-01T00:00:00Z"), began_us = clock_monotonic_us();
    for (int i = 0; i < 10000; i++)
        assert_int_equal(schedule_count(schedule, start_us, start_us + DAY_US), 86400);
    assert_true(clock_monotonic_us() - began_us < 5 * US_PER_SECOND);
    assert_int_equal(
        schedule_count(schedule, at("2026-10-25T00:00:00+02:00"), at("2026-10-26T00:00:00+01:00")),
        25 * 3600);
    schedule_free(schedule);
}

static void a_wrong_window_says_what_would_be_right(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to;
        int64_t every_us;
        const char *words;
    } rows[] = {
        {"22:00", "06:00", MINUTE_US, "from 22:00 to 24:00 and from 00:00 to 06:00"},
        {"24:00", "24:00", MINUTE_US, "00:00 to 23:59:59"},
        {"8:00", NULL, MINUTE_US, "daily: from: \"8:00\" is no time of day: expected HH:MM"},
        {"08:00 ", NULL, MINUTE_US, "expected HH:MM"},
        {"08:00:", NULL, MINUTE_US, "expected HH:MM"},
        {"08-00", NULL, MINUTE_US, "expected HH:MM"},
        {NULL, "", MINUTE_US, "daily: to: \"\" is no time of day"},
        {NULL, "12:60", MINUTE_US, "expected 00:00 to 24:00"},
        {NULL, "24:01", MINUTE_US, "expected 00:00 to 24:00"},
        {NULL, "24:00:01", MINUTE_US, "expected 00:00 to 24:00"},
        {NULL, "12:00:60", MINUTE_US, "expected 00:00 to 24:00"},
        {NULL, NULL, 0, "from 1s to 24h"},
        {NULL, NULL, 1500000, "every 1s500ms: expected whole seconds"},
        {NULL, NULL, DAY_US + US_PER_SECOND, "from 1s to 24h"},
    };
    struct rota_error error;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct schedule_spec spec = daily(rows[i].from, rows[i].to, rows[i].every_us, NULL);
        assert_null(schedule_new(&spec, zones, &error));
        assert_int_equal(error.code, ERROR_REFUSED);
        if (strstr(error.message, rows[i].words) == NULL)
            fail_msg("row %zu: wanted %s in: %s", i, rows[i].words, error.message);
    }
    struct schedule_spec spec = daily(NULL, NULL, MINUTE_US, NULL);
    spec.weekdays = 0x80;
    assert_null(schedule_new(&spec, zones, NULL));
    spec.weekdays = 0;
    spec.repeat = -2;
    assert_null(schedule_new(&spec, zones, NULL));
}

static void it_is_told_in_words(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to;
        int64_t every_us;
        unsigned weekdays;
        const char *words;
    } rows[] = {
        {"08:00", "18:00", 15 * MINUTE_US, WORKDAYS,
         "Every 15m from 08:00 to 18:00 on Monday to Friday. In UTC."},
        {NULL, NULL, 30 * US_PER_SECOND, 0, "Every 30s from 00:00 to 24:00 every day. In UTC."},
        {"12:00:05", "12:30", 60 * MINUTE_US, MONDAY, "At 12:00:05 on Monday. In UTC."},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buffer text = {0};
        struct schedule_spec spec = daily(rows[i].from, rows[i].to, rows[i].every_us, NULL);
        spec.weekdays = rows[i].weekdays;
        struct schedule *schedule = made(&spec);
        schedule_describe(schedule, &text);
        assert_string_equal(buffer_text(&text), rows[i].words);
        buffer_free(&text);
        schedule_free(schedule);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_window_begins_anew_every_day),
        cmocka_unit_test(only_the_given_weekdays_count),
        cmocka_unit_test(a_limited_window_follows_the_wall),
        cmocka_unit_test(a_window_over_all_hours_follows_elapsed_time),
        cmocka_unit_test(strange_changes_of_the_clock),
        cmocka_unit_test(repeat_counts_from_the_start),
        cmocka_unit_test(a_day_is_counted_at_once),
        cmocka_unit_test(a_wrong_window_says_what_would_be_right),
        cmocka_unit_test(it_is_told_in_words),
    };
    return cmocka_run_group_tests(tests, open_zones, close_zones);
}
