/*
 * Intervals of the calendar: no drift at the ends of months, the anchor's time of day across
 * changes of the clock, elapsed time below a day, repetition, and what is refused.
 */
#include "base/clock.h"
#include "base/instant.h"
#include "coord/schedule/interval.h"
#include "coord/schedule/schedule.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#define DAY_US (86400 * US_PER_SECOND)

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

static struct schedule_spec interval(const char *text, const char *zone, const char *start)
{
    struct schedule_spec spec = SCHEDULE_SPEC(SCHEDULE_CALENDAR_INTERVAL);
    spec.calendar_interval = text;
    spec.timezone = zone;
    spec.start_at_us = start != NULL ? at(start) : SCHEDULE_UNSET;
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
    int64_t at_us = at(after);
    for (; *expected != NULL; expected++) {
        at_us = schedule_next(schedule, at_us);
        if (at_us != at(*expected))
            fail_msg("%s in %s: expected %s, got %s", spec->calendar_interval, spec->timezone,
                     *expected, instant_format(at_us, got));
    }
    schedule_free(schedule);
}

struct row {
    const char *interval;
    const char *zone;
    const char *start;
    const char *after;
    const char *expected[5];
};

static void check_rows(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct schedule_spec spec = interval(rows[i].interval, rows[i].zone, rows[i].start);
        check_list(&spec, rows[i].after, rows[i].expected);
    }
}

static void months_are_counted_from_the_anchor(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"1 month",
         "Europe/Berlin",
         "2026-01-31T10:00:00+01:00",
         "2026-01-01T00:00:00Z",
         {"2026-01-31T10:00:00+01:00", "2026-02-28T10:00:00+01:00", "2026-03-31T10:00:00+02:00",
          "2026-04-30T10:00:00+02:00"}},
        {"1 month",
         "UTC",
         "2024-01-30T00:00:00Z",
         "2024-02-01T00:00:00Z",
         {"2024-02-29T00:00:00Z", "2024-03-30T00:00:00Z"}},
        /* Asked from far away: the same as step by step. */
        {"1 month",
         "UTC",
         "2026-01-31T10:00:00Z",
         "2094-02-01T00:00:00Z",
         {"2094-02-28T10:00:00Z", "2094-03-31T10:00:00Z"}},
        {"1 quarter",
         "UTC",
         "2025-11-30T23:59:59Z",
         "2025-12-01T00:00:00Z",
         {"2026-02-28T23:59:59Z", "2026-05-30T23:59:59Z", "2026-08-30T23:59:59Z"}},
        {"1 year",
         "UTC",
         "2024-02-29T12:00:00Z",
         "2024-03-01T00:00:00Z",
         {"2025-02-28T12:00:00Z", "2026-02-28T12:00:00Z", "2027-02-28T12:00:00Z",
          "2028-02-29T12:00:00Z"}},
        {"2 months",
         "UTC",
         "2025-12-31T00:00:00Z",
         "2025-12-31T00:00:00Z",
         {"2026-02-28T00:00:00Z", "2026-04-30T00:00:00Z", "2026-06-30T00:00:00Z"}},
        {"3 years",
         "UTC",
         "2190-06-15T00:00:00Z",
         "2190-06-15T00:00:00Z",
         {"2193-06-15T00:00:00Z", "2196-06-15T00:00:00Z", "2199-06-15T00:00:00Z"}},
    };
    check_rows(rows, sizeof rows / sizeof *rows);
}

static void days_and_weeks_keep_the_time_of_day(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"1 day",
         "America/New_York",
         "2024-03-01T09:00:00-05:00",
         "2024-03-09T00:00:00-05:00",
         {"2024-03-09T09:00:00-05:00", "2024-03-10T09:00:00-04:00", "2024-03-11T09:00:00-04:00"}},
        /* In the gap: at its end, and back the day after. */
        {"1 day",
         "America/New_York",
         "2024-03-01T02:30:00-05:00",
         "2024-03-09T00:00:00-05:00",
         {"2024-03-09T02:30:00-05:00", "2024-03-10T03:00:00-04:00", "2024-03-11T02:30:00-04:00"}},
        /* In the overlap: the first time. */
        {"1 day",
         "America/New_York",
         "2024-03-01T01:30:00-05:00",
         "2024-11-02T12:00:00-04:00",
         {"2024-11-03T01:30:00-04:00", "2024-11-04T01:30:00-05:00"}},
        {"2 weeks",
         "Europe/Berlin",
         "2026-03-16T08:00:00+01:00",
         "2026-03-16T08:00:00+01:00",
         {"2026-03-30T08:00:00+02:00", "2026-04-13T08:00:00+02:00"}},
        {"1 day",
         "Australia/Lord_Howe",
         "2025-10-01T02:15:00+10:30",
         "2025-10-04T12:00:00+10:30",
         {"2025-10-05T02:30:00+11:00", "2025-10-06T02:15:00+11:00"}},
        {"1 day",
         "Australia/Lord_Howe",
         "2025-04-01T01:45:00+11:00",
         "2025-04-05T12:00:00+11:00",
         {"2025-04-06T01:45:00+11:00", "2025-04-07T01:45:00+10:30"}},
        /* A whole day that never was. */
        {"1 day",
         "Pacific/Apia",
         "2011-12-01T10:00:00-10:00",
         "2011-12-29T00:00:00-10:00",
         {"2011-12-29T10:00:00-10:00", "2011-12-31T00:00:00+14:00", "2011-12-31T10:00:00+14:00"}},
        {"1 month",
         "Pacific/Apia",
         "2011-11-30T10:00:00-10:00",
         "2011-12-01T00:00:00-10:00",
         {"2011-12-31T00:00:00+14:00", "2012-01-30T10:00:00+14:00"}},
        /* The day begins at 01:00. */
        {"1 week",
         "America/Havana",
         "2024-03-03T00:00:00-05:00",
         "2024-03-03T00:00:00-05:00",
         {"2024-03-10T01:00:00-04:00", "2024-03-17T00:00:00-04:00"}},
        {"1 day",
         "Antarctica/Troll",
         "2025-03-01T02:00:00+00:00",
         "2025-03-29T12:00:00Z",
         {"2025-03-30T01:00:00Z", "2025-03-31T00:00:00Z"}},
    };
    check_rows(rows, sizeof rows / sizeof *rows);
}

static void hours_are_elapsed_time(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"24 hours",
         "America/New_York",
         "2024-03-09T09:00:00-05:00",
         "2024-03-09T09:00:00-05:00",
         {"2024-03-10T10:00:00-04:00", "2024-03-11T10:00:00-04:00"}},
        {"90 minutes",
         "America/New_York",
         "2024-03-10T00:30:00-05:00",
         "2024-03-10T00:30:00-05:00",
         {"2024-03-10T03:00:00-04:00", "2024-03-10T04:30:00-04:00"}},
        {"45 seconds",
         NULL,
         "2026-01-01T00:00:00.25Z",
         "2026-01-01T00:00:00.25Z",
         {"2026-01-01T00:00:45.25Z", "2026-01-01T00:01:30.25Z"}},
    };
    check_rows(rows, sizeof rows / sizeof *rows);
}

static void policies_for_a_changed_clock_are_obeyed(void **state)
{
    (void)state;
    struct schedule_spec spec = interval("1 day", "America/New_York", "2024-03-01T02:30:00-05:00");
    spec.gap = ZONE_GAP_SKIP;
    check_list(&spec, "2024-03-09T12:00:00-05:00",
               (const char *const[]){"2024-03-11T02:30:00-04:00", NULL});
    spec = interval("1 day", "America/New_York", "2024-03-01T01:30:00-05:00");
    spec.overlap = ZONE_OVERLAP_SECOND;
    check_list(
        &spec, "2024-11-02T12:00:00-04:00",
        (const char *const[]){"2024-11-03T01:30:00-05:00", "2024-11-04T01:30:00-05:00", NULL});
    spec.overlap = ZONE_OVERLAP_BOTH;
    check_list(&spec, "2024-11-02T12:00:00-04:00",
               (const char *const[]){"2024-11-03T01:30:00-04:00", "2024-11-03T01:30:00-05:00",
                                     "2024-11-04T01:30:00-05:00", NULL});
}

static void the_fraction_of_the_anchor_stays(void **state)
{
    (void)state;
    struct schedule_spec spec =
        interval("1 month", "Europe/Berlin", "2026-01-31T10:00:00.789+01:00");
    check_list(&spec, "2026-01-31T10:00:00.788+01:00",
               (const char *const[]){"2026-01-31T10:00:00.789+01:00",
                                     "2026-02-28T10:00:00.789+01:00",
                                     "2026-03-31T10:00:00.789+02:00", NULL});
    struct schedule *schedule = made(&spec);
    assert_int_equal(schedule_count(schedule, at("2026-02-28T10:00:00.788+01:00"),
                                    at("2026-02-28T10:00:00.789+01:00")),
                     1);
    assert_int_equal(schedule_count(schedule, at("2026-02-28T10:00:00.789+01:00"),
                                    at("2026-03-31T10:00:00.788+02:00")),
                     0);
    schedule_free(schedule);
}

static void an_anchor_before_the_start_keeps_its_phase(void **state)
{
    (void)state;
    struct schedule_spec spec = interval("2 weeks", "Europe/Berlin", "2026-03-20T00:00:00Z");
    spec.anchor_us = at("2026-03-02T08:00:00+01:00");
    check_list(&spec, "2000-01-01T00:00:00Z",
               (const char *const[]){"2026-03-30T08:00:00+02:00", NULL});
    spec = interval("36 hours", NULL, "2026-03-20T00:00:00Z");
    spec.anchor_us = at("2026-03-19T00:00:00Z");
    check_list(&spec, "2000-01-01T00:00:00Z",
               (const char *const[]){"2026-03-20T12:00:00Z", "2026-03-22T00:00:00Z", NULL});
    /* Far in the past: occurrences begin with 1970. */
    spec = interval("1 year", NULL, NULL);
    spec.anchor_us = at("0004-02-29T00:00:00Z");
    check_list(&spec, "0001-01-01T00:00:00Z",
               (const char *const[]){"1970-02-28T00:00:00Z", "1971-02-28T00:00:00Z",
                                     "1972-02-29T00:00:00Z", NULL});
    spec.anchor_us = SCHEDULE_UNSET; /* the epoch */
    check_list(&spec, "0001-01-01T00:00:00Z",
               (const char *const[]){"1970-01-01T00:00:00Z", "1971-01-01T00:00:00Z", NULL});
}

static void repeat_and_end_make_it_final(void **state)
{
    (void)state;
    struct schedule_spec spec = interval("1 month", "Europe/Berlin", "2026-01-31T10:00:00+01:00");
    struct schedule *schedule = made(&spec);
    assert_int_equal(schedule_final(schedule), SCHEDULE_NONE);
    schedule_free(schedule);
    spec.repeat = 13;
    schedule = made(&spec);
    assert_int_equal(schedule_final(schedule), at("2027-02-28T10:00:00+01:00"));
    assert_int_equal(schedule_count(schedule, 0, INT64_MAX), 14);
    assert_int_equal(schedule_next(schedule, schedule_final(schedule)), SCHEDULE_NONE);
    schedule_free(schedule);
    spec.end_at_us = at("2026-03-31T10:00:00+02:00");
    schedule = made(&spec);
    assert_int_equal(schedule_final(schedule), spec.end_at_us);
    schedule_free(schedule);
    spec.repeat = 0;
    schedule = made(&spec);
    assert_int_equal(schedule_final(schedule), spec.start_at_us);
    schedule_free(schedule);
    spec = interval("90 seconds", NULL, "2026-01-01T00:00:00Z");
    spec.repeat = 2;
    schedule = made(&spec);
    assert_int_equal(schedule_final(schedule), at("2026-01-01T00:03:00Z"));
    schedule_free(schedule);
}

static void far_stretches_are_counted_at_once(void **state)
{
    (void)state;
    struct schedule_spec spec = interval("1 day", "America/New_York", "2000-01-01T02:30:00-05:00");
    struct schedule *schedule = made(&spec);
    int64_t start_us = clock_monotonic_us();
    for (int i = 0; i < 1000; i++)
        assert_int_equal(schedule_count(schedule, 0, at("2100-01-01T00:00:00-05:00")), 36525);
    assert_true(clock_monotonic_us() - start_us < 10 * US_PER_SECOND);
    assert_int_equal(schedule_newest(schedule, 0, INT64_MAX), at("2199-12-31T02:30:00-05:00"));
    schedule_free(schedule);
}

static void a_wrong_interval_says_what_would_be_right(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",
                                        "month",
                                        "1",
                                        "1 fortnight",
                                        "-1 month",
                                        "1.5 days",
                                        " 1 day",
                                        "1 day ",
                                        "1 days of",
                                        "1 monthss",
                                        "one month",
                                        "1 m",
                                        "99999999999999999999 days",
                                        "+1 day"};
    static const char *const out_of_range[] = {"0 days",    "36526 days",   "1201 months",
                                               "101 years", "401 quarters", "3155760001 seconds"};
    struct rota_error error;
    struct interval parsed;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(interval_parse(&parsed, wrong[i], &error), -1);
        if (strstr(error.message, "as in \"1 month\"") == NULL)
            fail_msg("\"%s\": %s", wrong[i], error.message);
    }
    for (size_t i = 0; i < sizeof out_of_range / sizeof *out_of_range; i++) {
        assert_int_equal(interval_parse(&parsed, out_of_range[i], &error), -1);
        assert_non_null(strstr(error.message, "expected 1 to "));
    }
    static const char *const right[] = {"1 day", "36525 DAYS", "2weeks", "1  Month", "100 years"};
    for (size_t i = 0; i < sizeof right / sizeof *right; i++)
        assert_int_equal(interval_parse(&parsed, right[i], NULL), 0);
    struct schedule_spec spec = interval(NULL, NULL, NULL);
    assert_null(schedule_new(&spec, zones, &error));
    assert_non_null(strstr(error.message, "1 month"));
    spec = interval("1 day", NULL, NULL);
    spec.repeat = -2;
    assert_null(schedule_new(&spec, zones, &error));
    assert_non_null(strstr(error.message, "0 or more"));
}

static void it_is_told_in_words(void **state)
{
    (void)state;
    static const struct {
        const char *interval, *zone, *start, *words;
    } rows[] = {
        {"1 month", "UTC", "2026-01-31T10:00:00Z",
         "Every month at 10:00 on day 31 of the month, or the last day of a shorter one. Counted "
         "from 2026-01-31. In UTC. Not before 2026-01-31T10:00:00.000Z."},
        {"2 weeks", "Europe/Berlin", "2026-03-16T08:00:30+01:00",
         "Every 2 weeks at 08:00:30. Counted from 2026-03-16. In Europe/Berlin a time the clock "
         "skips fires right after the change; one it shows twice fires the first time only. Not "
         "before 2026-03-16T07:00:30.000Z."},
        {"1 year", "UTC", "2026-12-25T00:00:00Z",
         "Every year at 00:00 on December 25. Counted from 2026-12-25. In UTC. Not before "
         "2026-12-25T00:00:00.000Z."},
        {"6 hours", "Europe/Berlin", "2026-12-25T00:00:00Z",
         "Every 6 hours. Counted from 2026-12-25T00:00:00.000Z. Not before "
         "2026-12-25T00:00:00.000Z."},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buffer text = {0};
        struct schedule_spec spec = interval(rows[i].interval, rows[i].zone, rows[i].start);
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
        cmocka_unit_test(months_are_counted_from_the_anchor),
        cmocka_unit_test(days_and_weeks_keep_the_time_of_day),
        cmocka_unit_test(hours_are_elapsed_time),
        cmocka_unit_test(policies_for_a_changed_clock_are_obeyed),
        cmocka_unit_test(the_fraction_of_the_anchor_stays),
        cmocka_unit_test(an_anchor_before_the_start_keeps_its_phase),
        cmocka_unit_test(repeat_and_end_make_it_final),
        cmocka_unit_test(far_stretches_are_counted_at_once),
        cmocka_unit_test(a_wrong_interval_says_what_would_be_right),
        cmocka_unit_test(it_is_told_in_words),
    };
    return cmocka_run_group_tests(tests, open_zones, close_zones);
}
