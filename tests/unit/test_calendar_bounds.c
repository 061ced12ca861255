/*
 * How much work a calendar makes: combinations that leave nothing, elapsed time that meets what is
 * left late or never, the worst stack there can be, and a day's outage. Measured in ordinary
 * questions, so that the bounds hold under a debugger and on a slow machine too.
 */
#include "base/clock.h"
#include "coord/schedule/misfire.h"
#include "coord/schedule/schedule.h"
#include "tests/unit/calendar_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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

static struct calendar *made(const struct calendar_spec *spec)
{
    struct rota_error error = {0};
    struct calendar *calendar = calendar_new(spec, zones, &error);
    if (calendar == NULL)
        fail_msg("%s", error.message);
    return calendar;
}

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

/* Of this process alone, as others may keep the machine busy. */
static int64_t cpu_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return now.tv_sec * US_PER_SECOND + now.tv_nsec / 1000;
}

/* What 84,000 ordinary questions cost, which is one for each day of 230 years: a measure that holds
 * under a debugger and on a slow machine too. */
static int64_t ordinary_us(void)
{
    struct calendar_spec spec = {0};
    set_weekly(&spec, TEXTS("SAT", "SUN"));
    struct schedule *schedule = cron_with("0 30 2 * * ?", "America/New_York", &spec);
    int64_t best_us = INT64_MAX;
    for (int round = 0; round < 3; round++) {
        int64_t began_us = cpu_us(), at_us = 0;
        for (int i = 0; i < 84000; i++)
            at_us = schedule_next(schedule, at_us == SCHEDULE_NONE ? 0 : at_us);
        int64_t took_us = cpu_us() - began_us;
        best_us = took_us < best_us ? took_us : best_us;
    }
    schedule_free(schedule);
    return best_us;
}

static void check_bound(const char *what, int64_t began_us, int64_t bound_us)
{
    int64_t took_us = cpu_us() - began_us;
    if (getenv("ROTA_TEST_TIMES") != NULL)
        print_message("# %-28s %8lld us of %lld\n", what, (long long)took_us, (long long)bound_us);
    if (took_us > bound_us)
        fail_msg("%s: %lld us, more than %lld", what, (long long)took_us, (long long)bound_us);
}

static void check_nothing_left(const char *what, const struct schedule *schedule, int64_t bound_us)
{
    int64_t began_us = cpu_us();
    assert_int_equal(schedule_next(schedule, at("2026-01-01T00:00:00Z")), SCHEDULE_NONE);
    check_bound(what, began_us, bound_us);
    began_us = cpu_us();
    assert_int_equal(schedule_count(schedule, 0, INT64_MAX), 0);
    check_bound("  count", began_us, bound_us);
    began_us = cpu_us();
    assert_int_equal(schedule_newest(schedule, 0, INT64_MAX), SCHEDULE_NONE);
    check_bound("  newest", began_us, bound_us);
}

#define ALL_WEEK TEXTS("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")

static void a_search_that_finds_nothing_ends_soon(void **state)
{
    (void)state;
    static const struct {
        const char *trigger;
        const char *excluded[4];
    } rows[] = {
        {"* * * * * ?", {"* * * * * ?"}},
        {"* * * * * ?", {"0/2 * * * * ?", "1/2 * * * * ?"}},
        {"0/2 * * * * ?", {"0/2 * * * * ?"}},
        {"0/2 * * * * ?", {"0/6 * * * * ?", "2/6 * * * * ?", "4/6 * * * * ?"}},
        {"7 7 * * * ?", {"* 0-30 * * * ?"}},
        {"0 0 12 * * ?", {"0 0 12 * * ?"}},
        {"0 0 0 25 12 ?", {"* * * 25 * ?"}},
        {"0 0 0 29 2 ?", {"* * * L * ?"}},
        {"* * * * * ?", {"* * * ? * MON,WED,FRI", "* * * ? * TUE,THU", "* * * ? * SAT,SUN"}},
        {"*/5 * * * * ?", {"*/5 * * 1-15 * ?", "*/5 * * 16-31 1-6 ?", "*/5 * * 14-31 7-12 ?"}},
    };
    int64_t bound_us = 20 * ordinary_us();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct calendar_spec spec = {0};
        size_t count = 0;
        while (rows[i].excluded[count] != NULL)
            count++;
        set_cron(&spec, rows[i].excluded, count);
        struct schedule *schedule = cron_with(rows[i].trigger, "America/New_York", &spec);
        check_nothing_left(rows[i].trigger, schedule, bound_us);
        schedule_free(schedule);
    }
    struct calendar_spec spec = {.timezone = "America/New_York"};
    set_weekly(&spec, ALL_WEEK);
    struct schedule *schedule = cron_with("* * * * * ?", "Asia/Tokyo", &spec);
    check_nothing_left("all weekdays", schedule, bound_us);
    schedule_free(schedule);
    struct calendar *calendar = made(&spec);
    int64_t began_us = cpu_us();
    for (int i = 0; i < 1000; i++) /* as many triggers may use it */
        assert_int_equal(calendar_next_included(calendar, NULL, 0), CALENDAR_NONE);
    check_bound("next included, 1000 times", began_us, bound_us);
    calendar_unref(calendar);
}

/* Periods that meet the free seconds never, seldom or late. */
static void elapsed_time_ends_soon_too(void **state)
{
    (void)state;
    static const struct {
        int64_t every_us;
        const char *excluded;
        bool never;
    } rows[] = {
        {2 * US_PER_SECOND, "0/2 * * * * ?", true},
        {2 * US_PER_SECOND + 1, "0/2 * * * * ?", false},
        {2048000, "* 1-59 * * * ?", false},
        {14 * US_PER_SECOND, "0/2 * * * * ?", true},
        {200 * US_PER_SECOND, "0/2 * * * * ?", true},
        {2018 * US_PER_SECOND, "0/2 * * * * ?", true},
        {DAY_US, "* * 0-11 * * ?", true},
        {DAY_US + 1, "* * 0-11 * * ?", true},
        {100000, "* * * * * ?", true},
    };
    int64_t bound_us = 20 * ordinary_us();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char what[40];
        struct calendar_spec excluded = {0};
        struct schedule_spec spec = SCHEDULE_SPEC(SCHEDULE_EVERY);
        set_cron(&excluded, &rows[i].excluded, 1);
        spec.every_us = rows[i].every_us;
        spec.start_at_us = at("2026-11-20T00:00:00Z");
        struct schedule *schedule = schedule_new(&spec, zones, NULL);
        struct calendar *calendar = made(&excluded);
        schedule_set_calendar(schedule, calendar);
        calendar_unref(calendar);
        snprintf(what, sizeof what, "every %lld us", (long long)spec.every_us);
        int64_t began_us = cpu_us();
        int64_t next_us = schedule_next(schedule, 0);
        check_bound(what, began_us, bound_us);
        assert_int_equal(next_us == SCHEDULE_NONE, rows[i].never);
        schedule_free(schedule);
    }
}

/* As many calendars and expressions as there may be, in pairs that between them exclude every sixth
 * second of each day: by days of the month, months, years and weekdays in which both do, or one of
 * them, so that hardly a day is like any before. */
static void the_worst_calendar_is_bounded(void **state)
{
    (void)state;
    static const struct {
        const char *zone, *days[2];
    } levels[CALENDAR_DEPTH_MAX] = {
        {"America/New_York", {"1-3,5,8-13,17,19-24,28,30 * ?", "2,4,6,7,12-18,22,25-31 * ?"}},
        {"Europe/Berlin", {"1,2,6-9,11,15,16,20,23-29 * ?", "1,3-5,8,10-14,17-25,29-31 * ?"}},
        {"Asia/Tokyo", {"* 1,3,4,8,10,11 ?", "* 2,3,5-9,11,12 ?"}},
        {"Australia/Lord_Howe", {"* 1,2,6,7,9,10 ?", "* 2-5,7,8,11,12 ?"}},
        {"Antarctica/Troll", {"? * MON,TUE,THU,SAT", "? * SUN,TUE,WED,FRI,SAT"}},
        {"America/Havana", {"* * ? 1970-2199/2", "* * ? 1971-2199/2,1970-2199/3"}},
        {"Africa/Cairo"},
        {"UTC"}};
    struct calendar *base = NULL;
    for (int level = 0; level < CALENDAR_DEPTH_MAX; level++) {
        char texts[2][100];
        const char *crons[2] = {texts[0], texts[1]};
        struct calendar_spec spec = {.timezone = levels[level].zone, .base = base};
        for (int i = 0; i < 2 && levels[level].days[i] != NULL; i++, spec.cron_count++)
            snprintf(texts[i], sizeof texts[i], "%d/6 * * %s", level, levels[level].days[i]);
        spec.cron = crons;
        struct calendar *calendar = made(&spec);
        calendar_unref(base);
        base = calendar;
    }
    struct schedule_spec spec = SCHEDULE_SPEC(SCHEDULE_CRON);
    spec.cron = "* * * * * ?";
    struct schedule *schedule = schedule_new(&spec, zones, NULL);
    schedule_set_calendar(schedule, base);
    calendar_unref(base);
    check_nothing_left("worst calendar", schedule, 300 * ordinary_us());
    schedule_free(schedule);
}

static void a_day_without_nodes_is_counted_fast(void **state)
{
    (void)state;
    static struct misfire_decision decision;
    struct misfire_rule rule = MISFIRE_RULE_DEFAULT;
    struct calendar_spec spec = {0};
    set_weekly(&spec, TEXTS("SAT", "SUN"));
    set_annual(&spec, TEXTS("12-25"));
    set_daily(&spec, WINDOWS({"12:00", "13:00"}));
    set_cron(&spec, TEXTS("* * 22-23 * * ?"));
    struct schedule *schedule = cron_with("* * * * * ?", "Europe/Berlin", &spec);
    int64_t down_us = at("2026-11-19T09:30:00+01:00"), up_us = down_us + DAY_US;
    int64_t began_us = cpu_us();
    for (int trigger = 0; trigger < 1000; trigger++) {
        misfire_decide(schedule, &rule, down_us, up_us, &decision);
        assert_int_equal(decision.missed + decision.run_count, 86401 - 3 * 3600);
    }
    /* Some 50 us each. */
    check_bound("a day, 1000 times", began_us, 10 * ordinary_us());
    schedule_free(schedule);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_search_that_finds_nothing_ends_soon),
        cmocka_unit_test(elapsed_time_ends_soon_too),
        cmocka_unit_test(the_worst_calendar_is_bounded),
        cmocka_unit_test(a_day_without_nodes_is_counted_fast),
    };
    return cmocka_run_group_tests(tests, open_zones, close_zones);
}
