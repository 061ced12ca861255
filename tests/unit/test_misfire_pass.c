/*
 * The misfire decision of a trigger that was paused: a table of situations, the limits that hold
 * for both sides of the pause together, and random situations against a model that looks at every
 * occurrence by itself.
 */
#include "coord/schedule/misfire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#define SECOND_US INT64_C(1000000)
#define MINUTE_US (60 * SECOND_US)
#define START_US  (INT64_C(1700000000) * SECOND_US)
#define UNSET     INT64_MIN

static struct zone_cache *zones;
static struct misfire_decision decision;

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

static struct schedule *every(int64_t period_us, int64_t repeat)
{
    struct schedule_spec spec = SCHEDULE_SPEC(SCHEDULE_EVERY);
    spec.every_us = period_us;
    spec.start_at_us = START_US;
    spec.repeat = repeat;
    return schedule_new(&spec, zones, NULL);
}

/* A trigger of one minute, seconds after START_US. Runs: when, m for made up, what they miss. */
struct situation {
    const char *name;
    enum misfire_policy policy;
    int64_t first, from, until, now; /* until UNSET: no pause */
    int64_t missed, next;
    int run_count;
    struct {
        int64_t at;
        bool made_up;
        int64_t missed;
    } runs[4];
};

#define ONCE MISFIRE_FIRE_ONCE
#define SKIP MISFIRE_SKIP
#define ALL  MISFIRE_FIRE_ALL

static const struct situation situations[] = {
    {"no pause", ONCE, 0, 0, UNSET, 3, 0, 60, 1, {{0, false, 0}}},
    {"a pause of no length", ONCE, 0, 60, 60, 63, 0, 120, 2, {{0, true, 0}, {60, false, 0}}},
    {"an old pause, before what is due", ONCE, 600, 30, 600, 603, 0, 660, 1, {{600, false, 0}}},
    {"nothing due yet", ONCE, 600, 0, 500, 599, 0, 600, 0, {{0}}},
    {"all inside", ONCE, 60, 30, 630, 631, 10, 660, 0, {{0}}},
    {"all inside, whatever the policy", ALL, 60, 30, 630, 631, 10, 660, 0, {{0}}},
    {"at the first instant of the pause: inside", ONCE, 60, 60, 70, 71, 1, 120, 0, {{0}}},
    {"a moment before it: wanted", ONCE, 60, 61, 70, 71, 0, 120, 1, {{60, false, 0}}},
    {"at its end: wanted", ONCE, 60, 30, 120, 121, 1, 180, 1, {{120, false, 0}}},
    {"fired on time before it began", ONCE, 60, 62, 200, 201, 2, 240, 1, {{60, false, 0}}},
    {"late as it began", ONCE, 60, 190, 300, 301, 3, 360, 2, {{180, true, 2}, {300, false, 0}}},
    {"late on both sides", ONCE, 60, 190, 310, 500, 6, 540, 2, {{180, true, 2}, {480, true, 2}}},
    {"skip looks back from the beginning",
     SKIP,
     60,
     1070,
     9010,
     9011,
     149,
     9060,
     1,
     {{1020, true, 16}}},
    {"fire_all on both sides",
     ALL,
     60,
     130,
     310,
     430,
     3,
     480,
     4,
     {{60, true, 0}, {120, true, 0}, {360, true, 0}, {420, true, 0}}},
    {"the clock was set back into the pause", ONCE, 60, 30, 630, 200, 10, 660, 0, {{0}}},
    {"and to before it", ONCE, 60, 130, 630, 63, 0, 120, 1, {{60, false, 0}}},
};

static void check(const struct situation *expected)
{
    print_message("    %s\n", expected->name);
    assert_int_equal(decision.missed, expected->missed);
    assert_int_equal(decision.next_us, START_US + expected->next * SECOND_US);
    assert_int_equal(decision.run_count, expected->run_count);
    int made_up = 0;
    for (int i = 0; i < expected->run_count; i++) {
        assert_int_equal(decision.runs[i].scheduled_us,
                         START_US + expected->runs[i].at * SECOND_US);
        assert_int_equal(decision.runs[i].made_up, expected->runs[i].made_up);
        assert_int_equal(decision.runs[i].missed, expected->runs[i].missed);
        made_up += expected->runs[i].made_up;
    }
    assert_int_equal(decision.made_up_count, made_up);
}

static void what_fell_while_paused_is_passed_over_and_the_rest_is_not(void **state)
{
    (void)state;
    struct schedule *schedule = every(MINUTE_US, -1);
    for (size_t i = 0; i < sizeof situations / sizeof *situations; i++) {
        const struct situation *one = &situations[i];
        struct misfire_rule rule = MISFIRE_RULE_DEFAULT;
        struct misfire_pass pass = {START_US + one->from * SECOND_US, SCHEDULE_UNSET};
        if (one->until != UNSET)
            pass.until_us = START_US + one->until * SECOND_US;
        rule.policy = one->policy;
        misfire_decide_passing(schedule, &rule, START_US + one->first * SECOND_US, &pass,
                               START_US + one->now * SECOND_US, &decision);
        check(one);
    }
    schedule_free(schedule);
}

static void both_sides_together_have_ten_on_time_the_newest(void **state)
{
    (void)state;
    struct misfire_rule rule = MISFIRE_RULE_DEFAULT;
    struct schedule *schedule = every(SECOND_US, -1);
    struct misfire_pass pass = {START_US + 6 * SECOND_US, START_US + 60 * SECOND_US};
    rule.tolerance_us = MINUTE_US;
    misfire_decide_passing(schedule, &rule, START_US, &pass, START_US + 67 * SECOND_US, &decision);
    assert_int_equal(decision.missed, 54 + 3);
    assert_int_equal(decision.run_count, 11); /* 3 for 0 to 3, then 4 and 5, then 60 to 67 */
    assert_int_equal(decision.made_up_count, 1);
    assert_int_equal(decision.runs[0].scheduled_us, START_US + 3 * SECOND_US);
    assert_int_equal(decision.runs[0].missed, 3);
    assert_int_equal(decision.runs[1].scheduled_us, START_US + 4 * SECOND_US);
    assert_int_equal(decision.runs[10].scheduled_us, START_US + 67 * SECOND_US);
    schedule_free(schedule);
}

static void both_sides_together_make_up_the_limit_the_oldest(void **state)
{
    (void)state;
    struct misfire_rule rule = {MISFIRE_FIRE_ALL, MISFIRE_LIMIT_MAX, 0, 0};
    struct schedule *schedule = every(SECOND_US, -1);
    struct misfire_pass pass = {START_US + 995 * SECOND_US, START_US + 2000 * SECOND_US};
    misfire_decide_passing(schedule, &rule, START_US, &pass, START_US + 3999 * SECOND_US + 1,
                           &decision);
    assert_int_equal(decision.run_count, MISFIRE_LIMIT_MAX);
    assert_int_equal(decision.made_up_count, MISFIRE_LIMIT_MAX);
    assert_int_equal(decision.missed, 1005 + 1995);
    assert_int_equal(decision.runs[994].scheduled_us, START_US + 994 * SECOND_US);
    assert_int_equal(decision.runs[995].scheduled_us, START_US + 2000 * SECOND_US);
    assert_int_equal(decision.runs[999].missed, 1995);
    rule.limit = 995; /* nothing is left for those after the pause */
    misfire_decide_passing(schedule, &rule, START_US, &pass, START_US + 3999 * SECOND_US + 1,
                           &decision);
    assert_int_equal(decision.run_count, 995);
    assert_int_equal(decision.missed, 1005 + 2000);
    schedule_free(schedule);
}

static void a_schedule_that_ended_in_the_pause_is_complete(void **state)
{
    (void)state;
    struct misfire_rule rule = MISFIRE_RULE_DEFAULT;
    struct schedule *schedule = every(MINUTE_US, 3);
    struct misfire_pass pass = {START_US + 1, START_US + 60 * MINUTE_US};
    misfire_decide_passing(schedule, &rule, START_US + MINUTE_US, &pass, START_US + 61 * MINUTE_US,
                           &decision);
    assert_int_equal(decision.missed, 3);
    assert_int_equal(decision.run_count, 0);
    assert_int_equal(decision.next_us, SCHEDULE_NONE);
    schedule_free(schedule);
}

/* What becomes of one side's occurrences, read literally. */
static void model_side(const int64_t *due, int count, const struct misfire_rule *rule,
                       int64_t as_at_us, int on_time, struct misfire_decision *expected)
{
    int late = count - on_time, wanted = 0;
    for (int i = 0; i < late; i++) {
        bool newest = i == late - 1;
        bool wants = rule->policy == MISFIRE_FIRE_ALL
                         ? expected->made_up_count < rule->limit
                         : newest && (rule->policy == MISFIRE_FIRE_ONCE ||
                                      as_at_us - due[i] <= rule->threshold_us);
        if (wants) {
            expected->runs[expected->run_count++] = (struct misfire_run){due[i], 0, true};
            expected->made_up_count++;
            wanted++;
        }
    }
    expected->missed += late - wanted;
    if (wanted > 0)
        expected->runs[expected->run_count - 1].missed = late - wanted;
    for (int i = late; i < count; i++)
        expected->runs[expected->run_count++] = (struct misfire_run){due[i], 0, false};
}

static int count_on_time(const int64_t *due, int count, const struct misfire_rule *rule,
                         int64_t as_at_us, int most)
{
    int on_time = 0;
    while (on_time < count && on_time < most &&
           as_at_us - due[count - 1 - on_time] <= rule->tolerance_us)
        on_time++;
    return on_time;
}

static void model(const int64_t *due, int count, const struct misfire_rule *rule,
                  const struct misfire_pass *pass, int64_t now_us,
                  struct misfire_decision *expected)
{
    int before = 0, inside = 0;
    memset(expected, 0, sizeof *expected);
    for (int i = 0; i < count; i++) {
        before += due[i] < pass->from_us;
        inside += due[i] >= pass->from_us && due[i] < pass->until_us;
    }
    const int64_t *rest = due + before + inside;
    int rest_count = count - before - inside;
    int rest_on_time = count_on_time(rest, rest_count, rule, now_us, MISFIRE_ON_TIME_MAX);
    int64_t began_us = pass->from_us - 1;
    int on_time = count_on_time(due, before, rule, began_us, MISFIRE_ON_TIME_MAX - rest_on_time);
    model_side(due, before, rule, began_us, on_time, expected);
    expected->missed += inside;
    model_side(rest, rest_count, rule, now_us, rest_on_time, expected);
}

static void compare_with_model(const struct schedule *schedule, const struct misfire_rule *rule,
                               const struct misfire_pass *pass, int64_t now_us)
{
    static struct misfire_decision expected;
    static int64_t due[100000];
    int count = 0;
    int64_t first_us = schedule_next(schedule, START_US), at_us = first_us;
    for (; at_us <= now_us; at_us = schedule_next(schedule, at_us))
        due[count++] = at_us;
    model(due, count, rule, pass, now_us, &expected);
    misfire_decide_passing(schedule, rule, first_us, pass, now_us, &decision);
    assert_int_equal(decision.missed, expected.missed);
    assert_int_equal(decision.made_up_count, expected.made_up_count);
    assert_int_equal(decision.run_count, expected.run_count);
    assert_int_equal(decision.next_us, at_us);
    for (int i = 0; i < expected.run_count; i++) {
        assert_int_equal(decision.runs[i].scheduled_us, expected.runs[i].scheduled_us);
        assert_int_equal(decision.runs[i].missed, expected.runs[i].missed);
        assert_int_equal(decision.runs[i].made_up, expected.runs[i].made_up);
    }
}

static void random_pauses_agree_with_the_model(void **state)
{
    (void)state;
    static const char *const expressions[] = {"* * * * * ?", "*/3 * * * * ?", "0 * * * * ?",
                                              "0 */5 8-10 * * ?", "0 30 1,2 * * ?"};
    srand(20261121);
    for (int round = 0; round < 3000; round++) {
        struct schedule_spec spec = SCHEDULE_SPEC(rand() % 2 == 0 ? SCHEDULE_CRON : SCHEDULE_EVERY);
        spec.cron = expressions[rand() % 5];
        spec.timezone = "America/New_York";
        spec.every_us = SCHEDULE_EVERY_MIN_US + rand() % (rand() % 2 == 0 ? SECOND_US : MINUTE_US);
        spec.start_at_us = START_US + 1;
        spec.end_at_us = rand() % 4 == 0 ? START_US + rand() % MINUTE_US + 2 : SCHEDULE_UNSET;
        struct misfire_rule rule = {.policy = (enum misfire_policy)(rand() % 3),
                                    .limit = 1 + rand() % 30,
                                    .tolerance_us = rand() % 3 * 4 * SECOND_US,
                                    .threshold_us = rand() % 3 * MINUTE_US};
        struct schedule *schedule = schedule_new(&spec, zones, NULL);
        assert_non_null(schedule);
        int64_t first_us = schedule_next(schedule, START_US);
        if (first_us != SCHEDULE_NONE) {
            int64_t now_us =
                first_us + rand() % (rand() % 2 == 0 ? 20 * SECOND_US : 30 * MINUTE_US);
            struct misfire_pass pass = {.until_us = now_us - rand() % (now_us - first_us + 1)};
            pass.from_us = pass.until_us - 1 - rand() % (pass.until_us - first_us + SECOND_US);
            compare_with_model(schedule, &rule, &pass, now_us);
        }
        schedule_free(schedule);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_fell_while_paused_is_passed_over_and_the_rest_is_not),
        cmocka_unit_test(both_sides_together_have_ten_on_time_the_newest),
        cmocka_unit_test(both_sides_together_make_up_the_limit_the_oldest),
        cmocka_unit_test(a_schedule_that_ended_in_the_pause_is_complete),
        cmocka_unit_test(random_pauses_agree_with_the_model),
    };
    return cmocka_run_group_tests(tests, open_zones, close_zones);
}
