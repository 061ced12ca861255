/*
 * Whole days as bitmaps, worked out once for each kind of day, against what knows neither: the
 * arithmetic of cron in all zones, and the same questions asked day by day.
 */
#include "base/clock.h"
#include "coord/schedule/cron.h"
#include "coord/schedule/schedule.h"
#include "coord/schedule/sieve.h"
#include "coord/schedule/zone_table.h"
#include "tests/unit/calendar_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#define DAY_US (86400 * US_PER_SECOND)

static unsigned seed;
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

static void check_days(const struct cron *cron, int64_t from_s, int64_t to_s)
{
    struct sieve sieve = {.occurring = cron_wall(cron)};
    int64_t expected = cron_count(cron, from_s - 1, to_s - 1);
    int64_t got = sieve_count(&sieve, from_s, to_s);
    int64_t next_s = cron_next(cron, from_s - 1);
    if (got != expected || sieve_first(&sieve, from_s, to_s) != (expected > 0 ? next_s : WALL_NONE))
        fail_msg("seed %u: %s gap %d overlap %d [%lld, %lld): expected %lld, got %lld", seed,
                 zone_name(cron->zone), cron->gap, cron->overlap, (long long)from_s,
                 (long long)to_s, (long long)expected, (long long)got);
    int64_t last_s = sieve_last(&sieve, from_s, to_s);
    assert_int_equal(last_s == WALL_NONE, expected == 0);
    if (expected > 0)
        assert_int_equal(cron_count(cron, last_s - 1, to_s - 1), 1);
}

static void check_expression(const char *expression, const struct zone *zone)
{
    struct cron cron;
    assert_int_equal(cron_parse(&cron, expression, zone, NULL, NULL), 0);
    for (enum zone_gap gap = ZONE_GAP_AFTER; gap <= ZONE_GAP_SKIP; gap++)
        for (enum zone_overlap overlap = ZONE_OVERLAP_FIRST; overlap <= ZONE_OVERLAP_BOTH;
             overlap++) {
            cron_set_clock_change(&cron, gap, overlap);
            int64_t from_s = below(60 * 365) * DAY_S + (one_in(2) ? 0 : below(DAY_S));
            check_days(&cron, 0, 40 * 366 * DAY_S);
            check_days(&cron, from_s, from_s + below(3000 * DAY_S) + 1);
        }
}

static void check_zone(const struct zone *zone)
{
    struct random_cron random;
    random_cron(&random, 1, one_in(2), NULL);
    check_expression(random.text, zone);
}

/* A zone that no part of the world has: its clock goes back at 23:30 UTC, so that what is shown
 * again goes on past midnight there, and forward right at midnight UTC. */
static struct zone *synthetic_zone(void)
{
    static const char rule[] = "\nAAA0BBB-1,M3.5.0/0,M10.5.0/0:30\n";
    unsigned char bytes[2 * (44 + 6 + 4) + sizeof rule - 1] = {0};
    for (int block = 0; block < 2; block++) {
        unsigned char *at = bytes + block * (44 + 6 + 4);
        memcpy(at, "TZif2", 5);
        at[39] = 1; /* types */
        at[43] = 4; /* characters */
        memcpy(at + 44 + 6, "AAA", 4);
    }
    memcpy(bytes + 2 * (44 + 6 + 4), rule, sizeof rule - 1);
    struct rota_error error = {0};
    struct zone *zone = zone_parse("Synthetic", bytes, sizeof bytes, &error);
    if (zone == NULL)
        fail_msg("%s", error.message);
    assert_true(zone_span_count(zone) > 400);
    return zone;
}

static void days_by_their_kind_agree_with_counting_in_all_zones(void **state)
{
    (void)state;
    struct zone_names names = {0};
    zone_names_read(&names, "/usr/share/zoneinfo");
    seed = random_seed();
    struct zone *synthetic = synthetic_zone();
    for (int round = 0; round < 20; round++)
        check_zone(synthetic);
    zone_unref(synthetic);
    /* Until 1972 its clock was not on full minutes. */
    struct zone *monrovia = zone_open(zones, "Africa/Monrovia", NULL);
    check_expression("* 44 0 * * ?", monrovia);
    check_expression("* 0,59 23 * * ?", monrovia);
    for (int round = 0; round < 20; round++)
        check_zone(monrovia);
    zone_unref(monrovia);
    for (size_t i = 0; i < names.count; i += 4) {
        struct zone *zone = zone_open(zones, names.names[(i + seed % 4) % names.count], NULL);
        check_zone(zone);
        zone_unref(zone);
    }
    zone_names_free(&names);
}

/* A long stretch, whose days are worked out by their kind, is the sum of its days, which are worked
 * out one by one; the same for the first and the newest. */
static void check_sum(const struct schedule_spec *spec, struct calendar *calendar)
{
    struct rota_error error = {0};
    struct schedule *schedule = schedule_new(spec, zones, &error);
    if (schedule == NULL)
        fail_msg("%s", error.message);
    schedule_set_calendar(schedule, calendar);
    const int64_t start_us = at("2024-01-15T07:30:00.5Z"), days = 420;
    int64_t sum = 0, first_us = SCHEDULE_NONE, newest_us = SCHEDULE_NONE;
    for (int64_t day = 0; day < days; day++) {
        int64_t after_us = start_us + day * DAY_US, until_us = after_us + DAY_US;
        int64_t next_us = schedule_next(schedule, after_us);
        int64_t last_us = schedule_newest(schedule, after_us, until_us);
        sum += schedule_count(schedule, after_us, until_us);
        first_us = day == 0 ? next_us : first_us;
        newest_us = last_us != SCHEDULE_NONE ? last_us : newest_us;
        assert_int_equal(next_us <= until_us, last_us != SCHEDULE_NONE);
        if (day % 60 > 0 && day + 1 < days)
            continue;
        assert_int_equal(schedule_count(schedule, start_us, until_us), sum);
        assert_int_equal(schedule_newest(schedule, start_us, until_us), newest_us);
    }
    assert_int_equal(schedule_next(schedule, start_us), first_us);
    schedule_free(schedule);
}

static void long_stretches_are_the_sum_of_their_days(void **state)
{
    (void)state;
    struct calendar_spec below = {.timezone = "Asia/Kathmandu"}, above = {0};
    set_weekly(&below, TEXTS("SUN"));
    set_cron(&below, TEXTS("0/2 * * 1-20 * ?", "1/2 * * 10-31 * ?", "* 10-50 * ? * TUE#2"));
    set_annual(&above, TEXTS("02-29", "12-25"));
    set_daily(&above, WINDOWS({"21:15", "04:45:10"}));
    set_cron(&above, TEXTS("* * 12 ? * MON-FRI"));
    above.base = made(&below);
    struct calendar *calendar = made(&above);
    calendar_unref(above.base);
    static const char *const zone_names[] = {"America/New_York", "Australia/Lord_Howe"};
    for (int i = 0; i < 2; i++) {
        struct schedule_spec spec = SCHEDULE_SPEC(SCHEDULE_CRON);
        spec.timezone = zone_names[i];
        spec.end_at_us = at("2025-06-01T00:00:00Z"); /* no search goes on until the last year */
        spec.cron = "* * * * * ?";
        check_sum(&spec, calendar);
        spec.cron = "1,30 */7 0-6,12 1-15 * ?";
        check_sum(&spec, calendar);
        spec.kind = SCHEDULE_EVERY;
        spec.anchor_us = at("2024-01-31T12:34:56.25Z");
        spec.every_us = 700000;
        check_sum(&spec, calendar);
        spec.every_us = 1500000;
        check_sum(&spec, calendar);
        spec.every_us = 61 * US_PER_SECOND + 7;
        check_sum(&spec, calendar);
        spec.every_us = 600 * US_PER_SECOND;
        check_sum(&spec, calendar);
        spec.kind = SCHEDULE_DAILY;
        spec.every_us = 7 * US_PER_SECOND;
        spec.daily_from = "01:15:30";
        spec.weekdays = 0x5f;
        check_sum(&spec, calendar);
        spec.kind = SCHEDULE_CALENDAR_INTERVAL;
        spec.calendar_interval = "1 day";
        check_sum(&spec, calendar);
        spec.overlap = ZONE_OVERLAP_SECOND;
        spec.calendar_interval = "2 weeks";
        check_sum(&spec, calendar);
    }
    calendar_unref(calendar);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(days_by_their_kind_agree_with_counting_in_all_zones),
        cmocka_unit_test(long_stretches_are_the_sum_of_their_days),
    };
    return cmocka_run_group_tests(tests, open_zones, close_zones);
}
