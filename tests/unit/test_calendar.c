/*
 * Calendars: what each rule excludes, zones, stacks, how schedules skip what is excluded, how much
 * work hostile combinations make, and what is refused.
 */
#include "base/clock.h"
#include "base/instant.h"
#include "coord/schedule/misfire.h"
#include "coord/schedule/schedule.h"
#include "tests/unit/calendar_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MINUTE_US (60 * US_PER_SECOND)
#define DAY_US    (86400 * US_PER_SECOND)

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

static struct calendar *made(const struct calendar_spec *spec)
{
    struct rota_error error = {0};
    struct calendar *calendar = calendar_new(spec, zones, &error);
    if (calendar == NULL)
        fail_msg("%s", error.message);
    return calendar;
}

/* Whether the calendar excludes an instant, and what comes next; the calendar is taken. */
struct row {
    const char *instant;
    const char *next; /* the instant itself: it is included */
};

static void check_rows(struct calendar *calendar, const char *zone_name, const struct row *rows,
                       size_t count)
{
    char got[TIME_TEXT_SIZE];
    struct zone *zone = zone_open(zones, zone_name, NULL);
    for (size_t i = 0; i < count; i++) {
        int64_t instant_us = at(rows[i].instant), next_us = at(rows[i].next);
        bool excluded = calendar_excludes(calendar, zone, instant_us);
        int64_t got_us = calendar_next_included(calendar, zone, instant_us);
        if (excluded != (next_us != instant_us) || got_us != next_us)
            fail_msg("%s: excluded %d, next included %s, expected %s", rows[i].instant, excluded,
                     instant_format(got_us, got), rows[i].next);
    }
    zone_unref(zone);
    calendar_unref(calendar);
}

#define CHECK(calendar, zone, ...)                                                                 \
    check_rows(calendar, zone, (const struct row[]){__VA_ARGS__},                                  \
               sizeof((const struct row[]){__VA_ARGS__}) / sizeof(struct row))

static void days_are_excluded_from_midnight_to_midnight(void **state)
{
    (void)state;
    struct calendar_spec spec = {.timezone = "Europe/Berlin"};
    set_dates(&spec, TEXTS("2026-12-25", "2026-12-26", "2026-12-25"));
    CHECK(made(&spec), NULL,
          {"2026-12-24T23:59:59.999999+01:00", "2026-12-24T23:59:59.999999+01:00"},
          {"2026-12-25T00:00:00+01:00", "2026-12-27T00:00:00+01:00"},
          {"2026-12-26T23:59:59.999999+01:00", "2026-12-27T00:00:00+01:00"},
          {"2025-12-25T12:00:00+01:00", "2025-12-25T12:00:00+01:00"});
    spec = (struct calendar_spec){.timezone = "Europe/Berlin"};
    set_annual(&spec, TEXTS("12-25", "02-29", "12-31", "01-01"));
    CHECK(made(&spec), NULL, {"2031-12-25T12:00:00+01:00", "2031-12-26T00:00:00+01:00"},
          {"2028-02-29T12:00:00+01:00", "2028-03-01T00:00:00+01:00"},
          {"2027-03-01T00:00:00+01:00", "2027-03-01T00:00:00+01:00"},
          {"2027-12-31T12:00:00.5+01:00", "2028-01-02T00:00:00+01:00"});
    spec = (struct calendar_spec){.timezone = "America/Havana"};
    set_weekly(&spec, TEXTS("SAT", "sunday"));
    CHECK(made(&spec), NULL, {"2024-03-08T23:59:59-05:00", "2024-03-08T23:59:59-05:00"},
          {"2024-03-09T00:00:00-05:00", "2024-03-11T00:00:00-04:00"},
          {"2024-03-10T05:00:00Z", "2024-03-11T00:00:00-04:00"});
}

static void windows_are_excluded_up_to_their_end(void **state)
{
    (void)state;
    struct calendar_spec spec = {0};
    set_daily(&spec, WINDOWS({"12:00", "13:00"}, {"22:00", "06:00"}, {"12:30", "13:30:30"},
                             {"13:30:30", "14:00"}));
    CHECK(made(&spec), "America/New_York",
          {"2026-11-20T11:59:59.999999-05:00", "2026-11-20T11:59:59.999999-05:00"},
          {"2026-11-20T12:00:00-05:00", "2026-11-20T14:00:00-05:00"},
          {"2026-11-20T22:00:00-05:00", "2026-11-21T06:00:00-05:00"},
          {"2026-11-21T05:59:59-05:00", "2026-11-21T06:00:00-05:00"},
          {"2026-11-20T21:59:59-05:00", "2026-11-20T21:59:59-05:00"},
          /* The clock leaps within it. */
          {"2024-03-10T01:59:59-05:00", "2024-03-10T06:00:00-04:00"});
    spec = (struct calendar_spec){0};
    set_daily(&spec, WINDOWS({"01:00", "02:00"}));
    /* Shown twice: excluded twice. */
    CHECK(made(&spec), "America/New_York",
          {"2024-11-03T01:00:00-04:00", "2024-11-03T02:00:00-05:00"},
          {"2024-11-03T01:30:00-05:00", "2024-11-03T02:00:00-05:00"});
    set_daily(&spec, WINDOWS({"02:00", "02:30"}));
    CHECK(made(&spec), "Australia/Lord_Howe", /* in the gap: nothing */
          {"2025-10-05T02:30:00+11:00", "2025-10-05T02:30:00+11:00"},
          {"2025-10-05T01:59:59+10:30", "2025-10-05T01:59:59+10:30"});
}

static void expressions_exclude_the_seconds_they_match(void **state)
{
    (void)state;
    struct calendar_spec spec = {.timezone = "Europe/Berlin"};
    set_cron(&spec, TEXTS("* * 0-7,18-23 ? * *", "0 0 12 * * ?", "15-29 30 12 * * ?"));
    CHECK(made(&spec), NULL, {"2026-11-20T18:00:00+01:00", "2026-11-21T08:00:00+01:00"},
          {"2026-11-20T12:00:00.999999+01:00", "2026-11-20T12:00:01+01:00"},
          {"2026-11-20T12:00:01+01:00", "2026-11-20T12:00:01+01:00"},
          {"2026-11-20T12:30:15+01:00", "2026-11-20T12:30:30+01:00"});
    set_cron(&spec, TEXTS("* * * ? * MON-FRI", "* * * L * ?"));
    CHECK(made(&spec), NULL, {"2026-11-20T18:00:00+01:00", "2026-11-21T00:00:00+01:00"},
          {"2026-10-30T12:00:00+01:00", "2026-11-01T00:00:00+01:00"});
}

static void calendars_stand_on_each_other_each_in_its_zone(void **state)
{
    (void)state;
    struct calendar_spec tokyo = {.timezone = "Asia/Tokyo"}, here = {0};
    set_weekly(&tokyo, TEXTS("SUN"));
    set_daily(&here, WINDOWS({"08:00", "10:00"}));
    here.base = made(&tokyo);
    struct calendar *calendar = made(&here);
    calendar_unref(here.base); /* the one above holds it */
    /* Sunday in Tokyo is 16:00 on Saturday to 16:00 on Sunday in Berlin. */
    CHECK(calendar, "Europe/Berlin", {"2026-11-21T15:59:59+01:00", "2026-11-21T15:59:59+01:00"},
          {"2026-11-21T16:00:00+01:00", "2026-11-22T16:00:00+01:00"},
          {"2026-11-20T09:00:00+01:00", "2026-11-20T10:00:00+01:00"},
          {"2026-11-22T09:00:00+01:00", "2026-11-22T16:00:00+01:00"});
}

static void an_empty_calendar_excludes_nothing(void **state)
{
    (void)state;
    struct calendar_spec spec = {0};
    CHECK(made(&spec), NULL, {"2026-11-20T18:00:00.123456Z", "2026-11-20T18:00:00.123456Z"});
    struct calendar *calendar = made(&spec);
    assert_int_equal(calendar_next_included(calendar, NULL, -1), 0);
    assert_int_equal(calendar_next_included(calendar, NULL, INT64_MIN), 0);
    assert_int_equal(calendar_next_included(calendar, NULL, at("2200-01-01T00:00:00Z")),
                     CALENDAR_NONE);
    assert_int_equal(calendar_next_included(calendar, NULL, INT64_MAX), CALENDAR_NONE);
    assert_true(calendar_excludes(calendar, NULL, -1));
    assert_int_equal(at("2200-01-01T00:00:00Z"), WALL_END_S * US_PER_SECOND);
    calendar_unref(calendar);
    calendar_unref(NULL);
}

/* --- schedules ------------------------------------------------------------------------------- */

static struct schedule *cron_with(const char *expression, const char *zone,
                                  const struct calendar_spec *spec)
{
    struct rota_error error = {0};
    struct schedule_spec cron = SCHEDULE_SPEC(SCHEDULE_CRON);
    cron.cron = expression;
    cron.timezone = zone;
    struct schedule *schedule = schedule_new(&cron, zones, &error);
    if (schedule == NULL)
        fail_msg("%s", error.message);
    struct calendar *calendar = made(spec);
    schedule_set_calendar(schedule, calendar);
    calendar_unref(calendar);
    return schedule;
}

static void occurrences_skip_what_is_excluded(void **state)
{
    (void)state;
    struct calendar_spec spec = {0};
    set_weekly(&spec, TEXTS("SAT", "SUN"));
    set_dates(&spec, TEXTS("2026-11-23"));
    struct schedule *schedule = cron_with("0 30 2 * * ?", "Europe/Berlin", &spec);
    int64_t friday_us = at("2026-11-20T02:30:00+01:00"), tuesday_us = friday_us + 4 * DAY_US;
    assert_int_equal(schedule_next(schedule, friday_us), tuesday_us);
    assert_int_equal(schedule_next(schedule, friday_us - 1), friday_us);
    assert_int_equal(schedule_count(schedule, friday_us, tuesday_us - 1), 0);
    assert_int_equal(schedule_count(schedule, friday_us - 1, tuesday_us), 2);
    assert_int_equal(schedule_newest(schedule, 0, tuesday_us - 1), friday_us);
    assert_int_equal(schedule_newest(schedule, friday_us, tuesday_us - 1), SCHEDULE_NONE);
    schedule_set_calendar(schedule, NULL);
    assert_int_equal(schedule_next(schedule, friday_us), friday_us + DAY_US);
    schedule_free(schedule);
}

static void excluded_occurrences_use_up_repetitions(void **state)
{
    (void)state;
    struct schedule_spec spec = SCHEDULE_SPEC(SCHEDULE_EVERY);
    struct calendar_spec excluded = {0};
    set_daily(&excluded, WINDOWS({"12:00", "13:00"}));
    spec.every_us = 20 * MINUTE_US;
    spec.start_at_us = at("2026-11-20T11:40:00Z");
    spec.repeat = 5;
    struct schedule *schedule = schedule_new(&spec, zones, NULL);
    struct calendar *calendar = made(&excluded);
    schedule_set_calendar(schedule, calendar);
    assert_int_equal(schedule_count(schedule, 0, INT64_MAX), 3);
    assert_int_equal(schedule_next(schedule, spec.start_at_us), at("2026-11-20T13:00:00Z"));
    assert_int_equal(schedule_final(schedule), at("2026-11-20T13:20:00Z"));
    schedule_free(schedule);
    spec.repeat = 3; /* the last one is excluded */
    schedule = schedule_new(&spec, zones, NULL);
    schedule_set_calendar(schedule, calendar);
    assert_int_equal(schedule_final(schedule), spec.start_at_us);
    schedule_free(schedule);
    calendar_unref(calendar);
}

static void the_end_of_each_kind_is_known(void **state)
{
    (void)state;
    struct calendar_spec excluded = {0};
    set_weekly(&excluded, TEXTS("SAT", "SUN"));
    struct schedule *schedule = cron_with("0 0 12 ? * SAT 2030", NULL, &excluded);
    assert_int_equal(schedule_final(schedule), SCHEDULE_NONE); /* nothing occurs */
    schedule_free(schedule);
    schedule = cron_with("0 0 12 31 12 ? 2030-2033", NULL, &excluded);
    assert_int_equal(schedule_final(schedule), at("2032-12-31T12:00:00Z"));
    schedule_free(schedule);
    schedule = cron_with("0 0 12 * * ?", NULL, &excluded);
    assert_int_equal(schedule_final(schedule), SCHEDULE_NONE); /* it has no end */
    schedule_free(schedule);
    struct schedule_spec spec = SCHEDULE_SPEC(SCHEDULE_AT);
    spec.at_us = at("2026-11-21T12:00:00Z");
    schedule = schedule_new(&spec, zones, NULL);
    assert_int_equal(schedule_final(schedule), spec.at_us);
    struct calendar *calendar = made(&excluded);
    schedule_set_calendar(schedule, calendar);
    calendar_unref(calendar);
    assert_int_equal(schedule_final(schedule), SCHEDULE_NONE); /* a Saturday */
    assert_int_equal(schedule_next(schedule, 0), SCHEDULE_NONE);
    assert_int_equal(schedule_count(schedule, 0, INT64_MAX), 0);
    schedule_free(schedule);
    spec = (struct schedule_spec)SCHEDULE_SPEC(SCHEDULE_EVERY);
    spec.every_us = 7 * US_PER_SECOND;
    spec.start_at_us = at("2026-11-20T12:00:00Z");
    spec.end_at_us = at("2026-11-20T12:00:20Z");
    schedule = schedule_new(&spec, zones, NULL);
    assert_int_equal(schedule_final(schedule), at("2026-11-20T12:00:14Z"));
    schedule_free(schedule);
}

static void several_in_a_second_are_counted(void **state)
{
    (void)state;
    struct schedule_spec spec = SCHEDULE_SPEC(SCHEDULE_EVERY);
    struct calendar_spec excluded = {0};
    set_cron(&excluded, TEXTS("0/2 * * * * ?"));
    spec.every_us = 300000;
    spec.start_at_us = at("2026-11-20T12:00:00Z") + 50000;
    struct schedule *schedule = schedule_new(&spec, zones, NULL);
    struct calendar *calendar = made(&excluded);
    schedule_set_calendar(schedule, calendar);
    int64_t count = 0, newest_us = SCHEDULE_NONE, until_us = spec.start_at_us + 3 * DAY_US;
    for (int64_t at_us = spec.start_at_us; at_us <= until_us; at_us += spec.every_us)
        if (at_us / US_PER_SECOND % 2 == 1) {
            count++;
            newest_us = at_us;
        }
    assert_int_equal(schedule_count(schedule, 0, until_us), count);
    assert_int_equal(schedule_newest(schedule, 0, until_us), newest_us);
    assert_int_equal(schedule_next(schedule, 0), spec.start_at_us + 4 * 300000);
    schedule_free(schedule);
    calendar_unref(calendar);
}

static void check_refused(const struct calendar_spec *spec, const char *words)
{
    struct rota_error error = {0};
    assert_null(calendar_new(spec, zones, &error));
    assert_int_equal(error.code, ERROR_REFUSED);
    if (strstr(error.message, words) == NULL)
        fail_msg("wanted %s in: %s", words, error.message);
}

static void a_wrong_calendar_says_what_would_be_right(void **state)
{
    (void)state;
    static const struct {
        void (*set)(struct calendar_spec *spec, const char *const *texts, size_t count);
        const char *text, *words;
    } rows[] = {
        {set_dates, "2026-02-29", "dates: \"2026-02-29\": there is no such day"},
        {set_dates, "2026-13-01", "no such day"},
        {set_dates, "1969-12-31", "1970 to 2199"},
        {set_dates, "26-12-25", "expected YYYY-MM-DD"},
        {set_dates, "2026-12-25T00:00:00Z", "expected YYYY-MM-DD"},
        {set_annual, "02-30", "annual: \"02-30\" is no day of a year"},
        {set_annual, "2026-12-25", "expected MM-DD"},
        {set_annual, "1-1", "expected MM-DD"},
        {set_weekly, "SA", "weekly: \"SA\" is no weekday: expected SUN, MON"},
        {set_weekly, "Satur", "is no weekday"},
        {set_cron, "* * 24 * * ?", "hour \"24\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct calendar_spec spec = {0};
        rows[i].set(&spec, &rows[i].text, 1);
        check_refused(&spec, rows[i].words);
    }
    struct calendar_spec spec = {0};
    set_daily(&spec, WINDOWS({"12:00", "12:00"}));
    check_refused(&spec, "the whole day is 00:00 to 24:00");
    set_daily(&spec, WINDOWS({"24:00", "00:00"}));
    check_refused(&spec, "is empty");
    set_daily(&spec, WINDOWS({"noon", "13:00"}));
    check_refused(&spec, "daily: \"noon\" is no time of day");
    static const char *crons[CALENDAR_CRON_MAX + 1];
    for (int i = 0; i <= CALENDAR_CRON_MAX; i++)
        crons[i] = "@daily";
    spec = (struct calendar_spec){0};
    set_cron(&spec, crons, CALENDAR_CRON_MAX);
    struct calendar *full = made(&spec);
    set_cron(&spec, crons, CALENDAR_CRON_MAX + 1);
    check_refused(&spec, "13 expressions");
    set_cron(&spec, crons, 1);
    spec.base = full;
    check_refused(&spec, "13 expressions, those of its bases included");
    calendar_unref(full);
    spec = (struct calendar_spec){.timezone = "europe/berlin"};
    check_refused(&spec, "Europe/Berlin");
    spec = (struct calendar_spec){0};
    for (int level = 0; level < CALENDAR_DEPTH_MAX; level++) {
        struct calendar *above = made(&spec);
        calendar_unref(spec.base);
        spec.base = above;
    }
    check_refused(&spec, "more than 8 calendars");
    calendar_unref(spec.base);
    spec = (struct calendar_spec){.date_count = CALENDAR_DATES_MAX + 1};
    check_refused(&spec, "at most 20000");
    spec = (struct calendar_spec){.daily_count = CALENDAR_WINDOW_MAX + 1};
    check_refused(&spec, "at most 100");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(days_are_excluded_from_midnight_to_midnight),
        cmocka_unit_test(windows_are_excluded_up_to_their_end),
        cmocka_unit_test(expressions_exclude_the_seconds_they_match),
        cmocka_unit_test(calendars_stand_on_each_other_each_in_its_zone),
        cmocka_unit_test(an_empty_calendar_excludes_nothing),
        cmocka_unit_test(occurrences_skip_what_is_excluded),
        cmocka_unit_test(excluded_occurrences_use_up_repetitions),
        cmocka_unit_test(the_end_of_each_kind_is_known),
        cmocka_unit_test(several_in_a_second_are_counted),
        cmocka_unit_test(a_wrong_calendar_says_what_would_be_right),
    };
    return cmocka_run_group_tests(tests, open_zones, close_zones);
}
