/*
 * How many questions a second the schedule engine answers on one core, each figure the best and the
 * median of several rounds. Run it from an optimised build on a quiet machine.
 */
#include "base/clock.h"
#include "coord/schedule/cron.h"
#include "coord/schedule/misfire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS  7
#define START_S INT64_C(1760000000)
#define AGAIN_S (INT64_C(50) * 365 * 86400) /* walks go on for so long, then begin anew */
#define DAY_US  (INT64_C(86400) * US_PER_SECOND)
#define ZONE    "America/New_York"

static int64_t sink; /* keeps the compiler from leaving out what nobody reads */

struct work {
    struct cron cron;
    const char *expression;
    const struct zone *zone;
    struct schedule *schedule;
};

static void walk(struct work *work, int count)
{
    int64_t at_s = START_S;
    for (int i = 0; i < count; i++) {
        at_s = cron_next(&work->cron, at_s);
        if (at_s > START_S + AGAIN_S)
            at_s = START_S;
    }
    sink += at_s;
}

static void parse(struct work *work, int count)
{
    for (int i = 0; i < count; i++)
        sink += cron_parse(&work->cron, work->expression, work->zone, "name", NULL);
}

static void count_day(struct work *work, int count)
{
    for (int i = 0; i < count; i++)
        sink += cron_count(&work->cron, START_S + i, START_S + i + 86400);
}

static void misfire_day(struct work *work, int count)
{
    static struct misfire_decision decision;
    const struct misfire_rule rule = MISFIRE_RULE_DEFAULT;
    for (int i = 0; i < count; i++) {
        int64_t start_us = (START_S + i) * US_PER_SECOND;
        misfire_decide(work->schedule, &rule, start_us, start_us + DAY_US, &decision);
        sink += decision.missed;
    }
}

static int compare_rates(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(const char *what, struct work *work, void (*run)(struct work *, int), int count)
{
    double rates[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        int64_t start_us = clock_monotonic_us();
        run(work, count);
        rates[round] = count * 1e6 / (double)(clock_monotonic_us() - start_us + 1);
    }
    qsort(rates, ROUNDS, sizeof *rates, compare_rates);
    printf("%-10s %-26s %12.0f/s median %12.0f/s best\n", what, work->expression, rates[ROUNDS / 2],
           rates[ROUNDS - 1]);
}

int main(void)
{
    static const char *const expressions[] = {
        "0 30 2 * * ?",         "0 */5 * * * ?",        "* * * * * ?",
        "0 0 9-17 ? * MON-FRI", "0 0 12 LW * ?",        "0 0 0 1 1 ?",
        "0 0 12 ? * 6#3",       "0 15 4 L-2W,1,15 * ?", "5,35 0/7 1-3 * 3,11 ?"};
    struct zone_cache *zones = zone_cache_new();
    struct zone *zone = zone_open(zones, ZONE, NULL);
    if (zone == NULL) {
        fprintf(stderr, "cron_speed: no zone " ZONE "\n");
        return 1;
    }
    printf("struct cron: %zu bytes; zone: " ZONE "\n", sizeof(struct cron));
    for (size_t i = 0; i < sizeof expressions / sizeof *expressions; i++) {
        struct work work = {.expression = expressions[i], .zone = zone};
        parse(&work, 1);
        measure("next", &work, walk, 200000);
    }
    struct work work = {.expression = "* * * * * ?", .zone = zone};
    measure("parse", &work, parse, 100000);
    measure("count day", &work, count_day, 100000);
    struct schedule_spec spec = SCHEDULE_SPEC(SCHEDULE_CRON);
    spec.cron = work.expression;
    spec.timezone = ZONE;
    work.schedule = schedule_new(&spec, zones, NULL);
    measure("misfire", &work, misfire_day, 20000);
    work.expression = "0 0 0 30 2 ?";
    parse(&work, 1);
    measure("never", &work, walk, 2000);
    schedule_free(work.schedule);
    zone_unref(zone);
    zone_cache_free(zones);
    return sink == 42;
}
