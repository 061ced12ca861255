/* Durations and instants as text, and the calendar below them: tables, edges, round trips. */
#include "base/instant.h"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define COUNT(table) (sizeof(table) / sizeof *(table))
#define SECOND       INT64_C(1000000)
#define HOUR         (3600 * SECOND)
#define DAY          (24 * HOUR)

static const struct {
    const char *text;
    int64_t us;
} durations[] = {
    {"0", 0},
    {"0s", 0},
    {"1us", 1},
    {"250ms", 250000},
    {"90s", 90 * SECOND},
    {"5m", 300 * SECOND},
    {"2h", 2 * HOUR},
    {"1d", DAY},
    {"2w", 14 * DAY},
    {"1h30m", HOUR + HOUR / 2},
    {"1d2h3m4s5ms6us", DAY + 2 * HOUR + 184 * SECOND + 5006},
    {"1m30s", 90 * SECOND},
    {"5ms5m", 300 * SECOND + 5000},
    {"0.5s", SECOND / 2},
    {"1,5h", HOUR + HOUR / 2},
    {"1.000001s", SECOND + 1},
    {"1.0000019s", SECOND + 1}, /* cut, not rounded */
    {"0.0000001s", 0},
    {"1.23456789012345678901234567890s", SECOND + 234567},
    {"0.1us", 0},
    {"007m", 420 * SECOND},
    {"9223372036854775807us", INT64_MAX},
    {"9223372036854.775807s", INT64_MAX},
    {"106751991d4h54s775ms807us", INT64_MAX},
    {"PT0S", 0},
    {"PT1H30M", HOUR + HOUR / 2},
    {"P1D", DAY},
    {"P2W", 14 * DAY},
    {"P1DT12H", DAY + 12 * HOUR},
    {"PT0.25S", SECOND / 4},
    {"PT36H", 36 * HOUR},
    {"P1W2DT3H4M5.006S", 9 * DAY + 3 * HOUR + 245 * SECOND + 6000},
};

static const char *const no_durations[] = {
    "",
    " ",
    "s",
    "5",
    "5 s",
    " 5s",
    "5s ",
    "-5s",
    "+5s",
    "5S",
    "5M",
    "5sec",
    "5min",
    "1h30",
    "1.s",
    ".5s",
    "1.5",
    "1..5s",
    "1e3s",
    "0x1s",
    "00",
    "5y",
    "5µs",
    "1h-30m",
    "P",
    "PT",
    "P1",
    "P1H",
    "PT1D",
    "P1Y",
    "P1M",
    "P1DT",
    "PT1",
    "P-1D",
    "-P1D",
    "p1d",
    "P1D2",
    "PT1HT1M",
    "P1S",
    "9223372036854775808us",
    "9223372036854.775808s",
    "106751992d",
    "99999999999999999999s",
    "9223372036854775807us1us",
    "P15250285W",
};

static void durations_are_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(durations); i++) {
        int64_t us = -1;
        if (duration_parse(durations[i].text, &us) != 0 || us != durations[i].us)
            fail_msg("%s: %lld", durations[i].text, (long long)us);
    }
}

static void what_is_no_duration_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(no_durations); i++) {
        int64_t us = 77;
        if (duration_parse(no_durations[i], &us) == 0)
            fail_msg("\"%s\" was taken as %lld us", no_durations[i], (long long)us);
        assert_int_equal(us, 77);
    }
}

static void durations_are_written_in_the_largest_units(void **state)
{
    static const struct {
        int64_t us;
        const char *text;
    } cases[] = {
        {0, "0s"},
        {1, "1us"},
        {1500, "1ms500us"},
        {250000, "250ms"},
        {90 * SECOND, "1m30s"},
        {DAY, "1d"},
        {36 * HOUR, "1d12h"},
        {INT64_MAX, "106751991d4h54s775ms807us"},
        {-1, "-1us"},
        {-90 * SECOND, "-1m30s"},
        {INT64_MIN, "-106751991d4h54s775ms808us"},
    };
    char text[TIME_TEXT_SIZE];
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_string_equal(duration_format(cases[i].us, text), cases[i].text);
}

static uint64_t seed = 7;

static int64_t random_number(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (int64_t)(seed >> (seed >> 59)); /* of every magnitude */
}

static void durations_survive_a_round_trip(void **state)
{
    (void)state;
    for (int i = 0; i < 100000; i++) {
        int64_t us = random_number() & INT64_MAX, again = -1;
        char text[TIME_TEXT_SIZE];
        assert_int_equal(duration_parse(duration_format(us, text), &again), 0);
        assert_int_equal(again, us);
    }
}

static const struct {
    const char *text;
    int64_t us;
} instants[] = {
    {"1970-01-01T00:00:00Z", 0},
    {"1970-01-01t00:00:00z", 0},
    {"1970-01-01 00:00:00Z", 0},
    {"1969-12-31T23:59:59.999999Z", -1},
    {"1970-01-01T00:00:00.000001Z", 1},
    {"1970-01-01T00:00:00.0000019Z", 1},
    {"1970-01-01T00:00:00.5Z", SECOND / 2},
    {"1970-01-01T00:00:00.123456789012345678901234567890Z", 123456},
    {"1970-01-01T01:00:00+01:00", 0},
    {"1969-12-31T18:30:00-05:30", 0},
    {"1970-01-01T00:00:00-00:00", 0},
    {"1970-01-01T23:59:00+23:59", 0},
    {"2000-02-29T12:00:00Z", INT64_C(951825600) * SECOND},
    {"2024-02-29T23:59:59+00:00", INT64_C(1709251199) * SECOND},
    {"2026-11-20T08:21:44.123Z", INT64_C(1795162904123) * 1000},
    {"2038-01-19T03:14:08Z", (INT64_C(1) << 31) * SECOND},
    {"0000-01-01T00:00:00Z", INT64_C(-62167219200) * SECOND},
    {"9999-12-31T23:59:59.999999Z", INT64_C(253402300800) * SECOND - 1},
};

static const char *const no_instants[] = {
    "",
    "now",
    "2026-11-20",
    "2026-11-20T08:21:44",
    "2026-11-20T08:21Z",
    "2026-11-20T08:21:44 Z",
    "2026-11-20T08:21:44+01",
    "2026-11-20T08:21:44+0100",
    "2026-11-20T08:21:44+01:0",
    "2026-11-20T08:21:44+01:000",
    "2026-11-20T08:21:44+24:00",
    "2026-11-20T08:21:44+01:60",
    "2026-11-20T08:21:44ZZ",
    "2026-11-20T08:21:44.Z",
    "2026-11-20T08:21:44,5Z",
    "2026-11-20T08:21:44.5",
    "2026-11-20_08:21:44Z",
    "2026/11/20T08:21:44Z",
    "2026-11-20T08-21-44Z",
    "26-11-20T08:21:44.00Z",
    "2026-00-20T08:21:44Z",
    "2026-13-20T08:21:44Z",
    "2026-11-00T08:21:44Z",
    "2026-11-31T08:21:44Z",
    "2026-02-29T08:21:44Z",
    "1900-02-29T08:21:44Z",
    "2026-11-20T24:00:00Z",
    "2026-11-20T08:60:44Z",
    "2016-12-31T23:59:60Z",
    "2026-11-20T8:21:44.0Z",
    "2026-11-20T08:21:4Z",
    "-026-11-20T08:21:44Z",
    "-000-01-01T00:00:00Z",
    "+026-11-20T08:21:44Z",
    " 026-11-20T08:21:44Z",
    "2026-+1-20T08:21:44Z",
    "2026- 1-20T08:21:44Z",
    " 2026-11-20T08:21:44Z",
    "2026-11-20T08:21:44Z ",
    "12026-11-20T08:21:44Z",
};

static void instants_are_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(instants); i++) {
        int64_t us = -77;
        if (instant_parse(instants[i].text, &us) != 0 || us != instants[i].us)
            fail_msg("%s: %lld", instants[i].text, (long long)us);
    }
}

static void what_is_no_instant_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(no_instants); i++) {
        int64_t us = 77;
        if (instant_parse(no_instants[i], &us) == 0)
            fail_msg("\"%s\" was taken as %lld us", no_instants[i], (long long)us);
        assert_int_equal(us, 77);
    }
}

static void instants_are_written_with_milliseconds(void **state)
{
    static const struct {
        int64_t us;
        const char *text;
    } cases[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {-1, "1969-12-31T23:59:59.999Z"}, /* cut towards the past: never a time that was not yet */
        {1999, "1970-01-01T00:00:00.001Z"},
        {INT64_C(1795162904123456), "2026-11-20T08:21:44.123Z"},
        {INT64_C(951782400000000), "2000-02-29T00:00:00.000Z"},
        {INT64_C(-2203891200000000), "1900-03-01T00:00:00.000Z"},
        {INT64_MAX, "294247-01-10T04:00:54.775Z"},
        {INT64_MIN, "-290308-12-21T19:59:05.224Z"},
    };
    char text[TIME_TEXT_SIZE];
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_string_equal(instant_format(cases[i].us, text), cases[i].text);
}

static void instants_survive_a_round_trip(void **state)
{
    (void)state;
    for (int i = 0; i < 100000; i++) {
        int64_t range_ms = INT64_C(253402300800) * 1000, again = 0;
        int64_t ms = (random_number() & INT64_MAX) % (range_ms + INT64_C(62167219200) * 1000);
        int64_t us = (ms - INT64_C(62167219200) * 1000) * 1000; /* years 0 to 9999 */
        char text[TIME_TEXT_SIZE];
        assert_int_equal(instant_parse(instant_format(us, text), &again), 0);
        assert_int_equal(again, us);
    }
}

static void every_offset_shifts_by_itself(void **state)
{
    (void)state;
    for (int minutes = -1439; minutes <= 1439; minutes++) {
        char text[TIME_TEXT_SIZE];
        int64_t us;
        snprintf(text, sizeof text, "2026-11-20T12:00:00%c%02d:%02d", minutes < 0 ? '-' : '+',
                 (minutes < 0 ? -minutes : minutes) / 60, (minutes < 0 ? -minutes : minutes) % 60);
        assert_int_equal(instant_parse(text, &us), 0);
        assert_int_equal(us, INT64_C(1795176000) * SECOND - minutes * 60 * SECOND);
    }
}

/* Day by day over two eras of 400 years and more, against counting and against the C library. */
static void the_calendar_is_the_gregorian_one(void **state)
{
    int64_t day = days_from_civil(1499, 12, 31);
    (void)state;
    assert_int_equal(days_from_civil(1970, 1, 1), 0);
    for (int year = 1500; year <= 2500; year++) {
        for (int month = 1; month <= 12; month++) {
            for (int of_month = 1; of_month <= days_in_month(year, month); of_month++) {
                int64_t found_year;
                int found_month, found_day;
                assert_int_equal(days_from_civil(year, month, of_month), ++day);
                civil_from_days(day, &found_year, &found_month, &found_day);
                assert_true(found_year == year && found_month == month && found_day == of_month);
            }
        }
        time_t noon = (time_t)(day * 86400 + 43200);
        struct tm end;
        assert_non_null(gmtime_r(&noon, &end));
        assert_true(end.tm_year + 1900 == year &&
                    end.tm_yday == (days_in_month(year, 2) == 29 ? 365 : 364));
    }
}

static void leap_years_are_those_of_pope_gregory(void **state)
{
    static const struct {
        int year;
        int days;
    } cases[] = {{1600, 29}, {1700, 28}, {1900, 28}, {2000, 29}, {2023, 28}, {2024, 29}, {2100, 28},
                 {2400, 29}, {0, 29},    {-1, 28},   {-4, 29},   {-100, 28}, {-400, 29}};
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_int_equal(days_in_month(cases[i].year, 2), cases[i].days);
}

static void far_dates_survive_a_round_trip(void **state)
{
    (void)state;
    for (int i = 0; i < 100000; i++) {
        int64_t days = random_number() % INT64_C(1000000000000), year;
        int month, day;
        civil_from_days(days, &year, &month, &day);
        assert_in_range(month, 1, 12);
        assert_in_range(day, 1, days_in_month(year, month));
        assert_int_equal(days_from_civil(year, month, day), days);
    }
}

static void timers_never_get_a_negative_time(void **state)
{
    (void)state;
    struct timeval time = clock_timeval(-5);
    assert_true(time.tv_sec == 0 && time.tv_usec == 0);
    time = clock_timeval(3 * SECOND + 7);
    assert_true(time.tv_sec == 3 && time.tv_usec == 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations_are_read),
        cmocka_unit_test(what_is_no_duration_is_refused),
        cmocka_unit_test(durations_are_written_in_the_largest_units),
        cmocka_unit_test(durations_survive_a_round_trip),
        cmocka_unit_test(instants_are_read),
        cmocka_unit_test(what_is_no_instant_is_refused),
        cmocka_unit_test(instants_are_written_with_milliseconds),
        cmocka_unit_test(instants_survive_a_round_trip),
        cmocka_unit_test(every_offset_shifts_by_itself),
        cmocka_unit_test(the_calendar_is_the_gregorian_one),
        cmocka_unit_test(leap_years_are_those_of_pope_gregory),
        cmocka_unit_test(far_dates_survive_a_round_trip),
        cmocka_unit_test(timers_never_get_a_negative_time),
    };
    return cmocka_run_group_tests_name("instant", tests, NULL, NULL);
}
