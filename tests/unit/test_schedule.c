/*
 * What all kinds of schedule share: next, count and newest agree with each other and with plain
 * stepping; limits, phase, repetition and the end of all; words; definitions that are refused; a
 * day's outage of many triggers. Intervals, windows and calendars have tests of their own.
 */
#include "base/clock.h"
#include "coord/schedule/schedule.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#define SECOND_US INT64_C(1000000)
#define DAY_US    (86400 * SECOND_US)
#define NOW_US    (INT64_C(1700000000) * SECOND_US)

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

static struct schedule *made(const struct schedule_spec *spec)
{
    struct rota_error error = {0};
    struct schedule *schedule = schedule_new(spec, zones, &error);
    if (schedule == NULL)
        fail_msg("%s", error.message);
    return schedule;
}

static void every_keeps_the_phase_of_its_start(void **state)
{
    (void)state;
    struct schedule_spec spec = SCHEDULE_SPEC(SCHEDULE_EVERY);
    spec.every_us = 90 * SECOND_US;
    spec.start_at_us = NOW_US + 7;
    struct schedule *schedule = made(&spec);
    assert_int_equal(schedule_next(schedule, 0), NOW_US + 7);
    assert_int_equal(schedule_next(schedule, NOW_US + 6), NOW_US + 7);
    assert_int_equal(schedule_next(schedule, NOW_US + 7), NOW_US + 7 + 90 * SECOND_US);
    assert_int_equal(schedule_next(schedule, NOW_US + 1000 * SECOND_US),
                     NOW_US + 7 + 12 * 90 * SECOND_US);
    schedule_free(schedule);

    /* Registered later than it was started: still in phase, counted from the first one possible. */
    spec.anchor_us = NOW_US;
    spec.start_at_us = NOW_US + 100 * SECOND_US;
    spec.repeat = 2;
    schedule = made(&spec);
    assert_int_equal(schedule_next(schedule, 0), NOW_US + 180 * SECOND_US);
    assert_int_equal(schedule_next(schedule, NOW_US + 359 * SECOND_US), NOW_US + 360 * SECOND_US);
    assert_int_equal(schedule_next(schedule, NOW_US + 360 * SECOND_US), SCHEDULE_NONE);
    assert_int_equal(schedule_count(schedule, 0, NOW_US + DAY_US), 3);
    schedule_free(schedule);
}

static void repeat_zero_fires_once(void **state)
{
    (void)state;
    struct schedule_spec spec = SCHEDULE_SPEC(SCHEDULE_EVERY);
    spec.every_us = SECOND_US;
    spec.start_at_us = NOW_US;
    spec.repeat = 0;
    struct schedule *schedule = made(&spec);
    assert_int_equal(schedule_next(schedule, 0), NOW_US);
    assert_int_equal(schedule_next(schedule, NOW_US), SCHEDULE_NONE);
    assert_int_equal(schedule_newest(schedule, 0, NOW_US + DAY_US), NOW_US);
    schedule_free(schedule);
}

static void at_fires_once_within_its_limits(void **state)
{
    (void)state;
    struct schedule_spec spec = SCHEDULE_SPEC(SCHEDULE_AT);
    spec.at_us = NOW_US;
    struct schedule *schedule = made(&spec);
    assert_int_equal(schedule_next(schedule, NOW_US - 1), NOW_US);
    assert_int_equal(schedule_next(schedule, NOW_US), SCHEDULE_NONE);
    assert_int_equal(schedule_count(schedule, NOW_US - 1, NOW_US), 1);
    assert_int_equal(schedule_count(schedule, NOW_US, NOW_US + 1), 0);
    assert_int_equal(schedule_newest(schedule, 0, INT64_MAX), NOW_US);
    schedule_free(schedule);
    spec.start_at_us = NOW_US + 1;
    schedule = made(&spec);
    assert_int_equal(schedule_next(schedule, 0), SCHEDULE_NONE);
    schedule_free(schedule);
}

static void cron_obeys_start_and_end(void **state)
{
    (void)state;
    struct schedule_spec spec = SCHEDULE_SPEC(SCHEDULE_CRON);
    spec.cron = "0 30 2 * * ?";
    spec.timezone = "America/New_York";
    spec.start_at_us = INT64_C(1710054000) * SECOND_US; /* the instant of the gap's occurrence */
    spec.end_at_us = INT64_C(1710225000) * SECOND_US;
    struct schedule *schedule = made(&spec);
    assert_int_equal(schedule_next(schedule, 0), INT64_C(1710054000) * SECOND_US);
    assert_int_equal(schedule_next(schedule, INT64_C(1710138600) * SECOND_US),
                     INT64_C(1710225000) * SECOND_US);
    assert_int_equal(schedule_next(schedule, INT64_C(1710225000) * SECOND_US), SCHEDULE_NONE);
    assert_int_equal(schedule_count(schedule, 0, INT64_MAX), 3);
    assert_int_equal(schedule_newest(schedule, 0, INT64_MAX), INT64_C(1710225000) * SECOND_US);
    schedule_free(schedule);

    spec.gap = ZONE_GAP_SKIP;
    spec.start_at_us += 1; /* a fraction of a second later is later */
    schedule = made(&spec);
    assert_int_equal(schedule_next(schedule, 0), INT64_C(1710138600) * SECOND_US);
    schedule_free(schedule);
}

static void fractions_of_a_second_are_no_occurrence(void **state)
{
    (void)state;
    struct schedule_spec spec = SCHEDULE_SPEC(SCHEDULE_CRON);
    spec.cron = "* * * * * ?";
    struct schedule *schedule = made(&spec);
    assert_int_equal(schedule_next(schedule, NOW_US - 1), NOW_US);
    assert_int_equal(schedule_next(schedule, NOW_US), NOW_US + SECOND_US);
    assert_int_equal(schedule_next(schedule, NOW_US + 1), NOW_US + SECOND_US);
    assert_int_equal(schedule_count(schedule, NOW_US - 1, NOW_US + SECOND_US - 1), 1);
    assert_int_equal(schedule_next(schedule, -1500000), 0);
    schedule_free(schedule);
}

/* Steps through (after, until], and compares what the arithmetic says at each step. */
static void check_against_stepping(const struct schedule *schedule, int64_t after_us,
                                   int64_t until_us)
{
    int64_t count = 0, newest_us = SCHEDULE_NONE, at_us = after_us;
    while ((at_us = schedule_next(schedule, at_us)) <= until_us) {
        count++;
        newest_us = at_us;
        if (rand() % 50 == 0) {
            assert_int_equal(schedule_count(schedule, after_us, at_us), count);
            assert_int_equal(schedule_newest(schedule, after_us, at_us), at_us);
        }
    }
    assert_int_equal(schedule_count(schedule, after_us, until_us), count);
    assert_int_equal(schedule_newest(schedule, after_us, until_us), newest_us);
}

static void count_and_newest_agree_with_stepping(void **state)
{
    (void)state;
    static const char *const expressions[] = {"* * * * * ?",    "*/7 * * * * ?", "0 */5 * * * ?",
                                              "0 30 1,2 * * ?", "0 0 0 1 * ?",   "0 0 0 29 2 ?",
                                              "0 0 0 30 2 ?"};
    static const int64_t stretches[] = {1, SECOND_US, 3600 * SECOND_US, 3 * DAY_US};
    srand(20261120);
    for (size_t i = 0; i < sizeof expressions / sizeof *expressions; i++) {
        struct schedule_spec spec = SCHEDULE_SPEC(SCHEDULE_CRON);
        spec.cron = expressions[i];
        spec.timezone = "America/New_York";
        struct schedule *schedule = made(&spec);
        for (int round = 0; round < 8; round++) {
            int64_t after_us = INT64_C(1730500000) * SECOND_US + rand() % (2 * DAY_US);
            check_against_stepping(schedule, after_us, after_us + stretches[round % 4]);
        }
        check_against_stepping(schedule, INT64_C(2000000000) * SECOND_US,
                               INT64_C(2000100000) * SECOND_US);
        schedule_free(schedule);
    }
    for (int round = 0; round < 100; round++) {
        struct schedule_spec spec = SCHEDULE_SPEC(SCHEDULE_EVERY);
        spec.every_us = SCHEDULE_EVERY_MIN_US + rand() % DAY_US;
        spec.start_at_us = NOW_US + rand() % DAY_US;
        spec.anchor_us = rand() % 2 == 0 ? SCHEDULE_UNSET : NOW_US - rand() % DAY_US;
        spec.repeat = rand() % 3 == 0 ? rand() % 100 : -1;
        spec.end_at_us = rand() % 3 == 0 ? spec.start_at_us + rand() % DAY_US : SCHEDULE_UNSET;
        struct schedule *schedule = made(&spec);
        check_against_stepping(schedule, NOW_US, NOW_US + 3600 * SECOND_US + spec.every_us * 100);
        schedule_free(schedule);
    }
}

static void a_day_without_nodes_is_counted_fast(void **state)
{
    (void)state;
    struct schedule_spec spec = SCHEDULE_SPEC(SCHEDULE_CRON);
    spec.cron = "* * * * * ?";
    spec.timezone = "Europe/Berlin";
    struct schedule *schedule = made(&spec);
    int64_t start_us = clock_monotonic_us();
    for (int trigger = 0; trigger < 10000; trigger++) {
        assert_int_equal(schedule_count(schedule, NOW_US, NOW_US + DAY_US), 86400);
        assert_int_equal(schedule_newest(schedule, NOW_US, NOW_US + DAY_US), NOW_US + DAY_US);
    }
    /* Some 10 ms of arithmetic; stepping would take a minute and a half. */
    assert_true(clock_monotonic_us() - start_us < 5 * SECOND_US);
    schedule_free(schedule);
}

static void extreme_instants_overflow_nothing(void **state)
{
    (void)state;
    static const int64_t extremes[] = {INT64_MIN, INT64_MIN + 1, -DAY_US,       -1,
                                       0,         NOW_US,        INT64_MAX - 1, INT64_MAX};
    for (int kind = 0; kind <= SCHEDULE_DAILY; kind++) {
        for (size_t i = 0; i < 8; i++) {
            struct schedule_spec spec = SCHEDULE_SPEC((enum schedule_kind)kind);
            spec.cron = "0 0 0 * * ?";
            spec.every_us = kind == SCHEDULE_DAILY ? DAY_US : SCHEDULE_EVERY_MAX_US;
            spec.anchor_us = spec.at_us = extremes[i];
            spec.calendar_interval = i % 2 == 0 ? "100 years" : "1 day";
            spec.repeat = i % 3 == 0 ? INT64_MAX : -1;
            struct schedule *schedule = schedule_new(&spec, zones, NULL);
            for (size_t k = 0; k < 64 && schedule != NULL; k++) {
                int64_t after_us = extremes[k / 8], until_us = extremes[k % 8];
                int64_t next_us = schedule_next(schedule, after_us);
                assert_true(next_us > after_us || next_us == SCHEDULE_NONE);
                int64_t newest_us = schedule_newest(schedule, after_us, until_us);
                assert_true(newest_us == SCHEDULE_NONE ||
                            (newest_us > after_us && newest_us <= until_us));
                assert_true(schedule_count(schedule, after_us, until_us) >= 0);
                assert_true(schedule_final(schedule) > INT64_MIN);
            }
            schedule_free(schedule);
        }
    }
}

static void the_end_is_known_where_there_is_one(void **state)
{
    (void)state;
    struct schedule_spec spec = SCHEDULE_SPEC(SCHEDULE_CRON);
    static const struct {
        const char *cron;
        int64_t final_s; /* 0: it has no end, or never occurs */
    } rows[] = {{"0 0 12 * * ?", 0},
                {"0 0 12 29 2 ? 2030-2041", 2214129600},
                {"0 0 12 30 2 ? 2030-2041", 0},
                {"0 0 0 1 1 ? 2199", 0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        spec.cron = rows[i].cron;
        struct schedule *schedule = made(&spec);
        int64_t final_us = rows[i].final_s > 0 ? rows[i].final_s * SECOND_US : SCHEDULE_NONE;
        assert_int_equal(schedule_final(schedule), final_us);
        schedule_free(schedule);
    }
    spec.cron = "0 0 12 * * ?";
    spec.end_at_us = NOW_US; /* 22:13:20 */
    struct schedule *schedule = made(&spec);
    assert_int_equal(schedule_final(schedule), NOW_US - (10 * 3600 + 13 * 60 + 20) * SECOND_US);
    schedule_free(schedule);
    spec = (struct schedule_spec)SCHEDULE_SPEC(SCHEDULE_EVERY);
    spec.every_us = 7 * SECOND_US;
    spec.start_at_us = NOW_US;
    schedule = made(&spec);
    assert_int_equal(schedule_final(schedule), SCHEDULE_NONE);
    schedule_free(schedule);
    spec.repeat = 1000;
    schedule = made(&spec);
    assert_int_equal(schedule_final(schedule), NOW_US + 7000 * SECOND_US);
    schedule_free(schedule);
}

static void check_words(const struct schedule_spec *spec, const char *words)
{
    struct buffer text = {0};
    struct schedule *schedule = made(spec);
    schedule_describe(schedule, &text);
    assert_string_equal(buffer_text(&text), words);
    buffer_free(&text);
    schedule_free(schedule);
}

static void a_schedule_is_told_in_words(void **state)
{
    (void)state;
    struct schedule_spec spec = SCHEDULE_SPEC(SCHEDULE_CRON);
    spec.cron = "0 30 2 ? * MON-FRI";
    check_words(&spec, "At 02:30 on Monday to Friday. In UTC.");
    spec.timezone = "Europe/Berlin";
    spec.end_at_us = NOW_US;
    check_words(&spec,
                "At 02:30 on Monday to Friday. In Europe/Berlin a time the clock skips fires "
                "right after the change; one it shows twice fires the first time only. Not "
                "after 2023-11-14T22:13:20.000Z.");
    spec = (struct schedule_spec)SCHEDULE_SPEC(SCHEDULE_EVERY);
    spec.every_us = 90 * SECOND_US;
    spec.start_at_us = NOW_US;
    spec.repeat = 0;
    check_words(&spec, "Every 1m30s, counted from 2023-11-14T22:13:20.000Z. 1 time in all. Not "
                       "before 2023-11-14T22:13:20.000Z.");
    spec = (struct schedule_spec)SCHEDULE_SPEC(SCHEDULE_AT);
    spec.at_us = NOW_US;
    check_words(&spec, "Once, at 2023-11-14T22:13:20.000Z.");
}

static void only_clocks_have_policies_for_a_change(void **state)
{
    (void)state;
    enum zone_gap gap = ZONE_GAP_DEFAULT;
    enum zone_overlap overlap = ZONE_OVERLAP_DEFAULT;
    struct schedule_spec spec = SCHEDULE_SPEC(SCHEDULE_CRON);
    spec.cron = "0 0/5 * * * ?";
    struct schedule *schedule = made(&spec);
    assert_true(schedule_clock_change(schedule, &gap, &overlap));
    assert_int_equal(gap, ZONE_GAP_SKIP);
    assert_int_equal(overlap, ZONE_OVERLAP_BOTH);
    schedule_free(schedule);
    spec = (struct schedule_spec)SCHEDULE_SPEC(SCHEDULE_EVERY);
    spec.every_us = SECOND_US;
    schedule = made(&spec);
    assert_false(schedule_clock_change(schedule, &gap, &overlap));
    schedule_free(schedule);
    spec = (struct schedule_spec)SCHEDULE_SPEC(SCHEDULE_CALENDAR_INTERVAL);
    spec.calendar_interval = "1 hour";
    schedule = made(&spec);
    assert_false(schedule_clock_change(schedule, &gap, &overlap));
    schedule_free(schedule);
}

static void check_refused(const struct schedule_spec *spec, const char *words)
{
    struct rota_error error = {0};
    assert_null(schedule_new(spec, zones, &error));
    assert_int_equal(error.code, ERROR_REFUSED);
    if (strstr(error.message, words) == NULL)
        fail_msg("wanted %s in: %s", words, error.message);
}

static void a_wrong_definition_says_what_would_be_right(void **state)
{
    (void)state;
    struct schedule_spec spec = SCHEDULE_SPEC(SCHEDULE_EVERY);
    spec.every_us = 99 * 1000;
    check_refused(&spec, "100ms or more");
    spec.every_us = -SECOND_US;
    check_refused(&spec, "100ms or more");
    spec.every_us = SCHEDULE_EVERY_MAX_US + 1;
    check_refused(&spec, "100 years");
    spec.every_us = SECOND_US;
    spec.repeat = -2;
    check_refused(&spec, "0 or more");
    spec.repeat = -1;
    spec.start_at_us = NOW_US;
    spec.end_at_us = NOW_US - 1;
    check_refused(&spec, "before start_at 2023-11-14T22:13:20");
    struct schedule_spec cron = SCHEDULE_SPEC(SCHEDULE_CRON);
    check_refused(&cron, "no expression");
    cron.cron = "0 0 24 * * ?";
    check_refused(&cron, "hour \"24\"");
    cron.cron = "@daily";
    cron.timezone = "europe/berlin";
    check_refused(&cron, "Europe/Berlin");
    struct schedule_spec at = SCHEDULE_SPEC(SCHEDULE_AT);
    check_refused(&at, "no instant");
    spec.end_at_us = SCHEDULE_UNSET;
    spec.timezone = "Europe/Berlim"; /* its calendar may need it */
    check_refused(&spec, "Europe/Berlin");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_keeps_the_phase_of_its_start),
        cmocka_unit_test(repeat_zero_fires_once),
        cmocka_unit_test(at_fires_once_within_its_limits),
        cmocka_unit_test(cron_obeys_start_and_end),
        cmocka_unit_test(fractions_of_a_second_are_no_occurrence),
        cmocka_unit_test(count_and_newest_agree_with_stepping),
        cmocka_unit_test(a_day_without_nodes_is_counted_fast),
        cmocka_unit_test(extreme_instants_overflow_nothing),
        cmocka_unit_test(the_end_is_known_where_there_is_one),
        cmocka_unit_test(a_schedule_is_told_in_words),
        cmocka_unit_test(only_clocks_have_policies_for_a_change),
        cmocka_unit_test(a_wrong_definition_says_what_would_be_right),
    };
    return cmocka_run_group_tests(tests, open_zones, close_zones);
}
