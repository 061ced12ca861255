/*
 * The misfire decision: each policy, the tolerance and its interplay with them, limits, the end of
 * a schedule; and random situations against a model that steps through every occurrence.
 */
#include "base/clock.h"
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
#define DAY_US    (86400 * SECOND_US)
#define START_US  (INT64_C(1700000000) * SECOND_US)

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

/* Decides about everything from START_US until so much later. */
static void decide(struct schedule *schedule, enum misfire_policy policy, int64_t later_us)
{
    struct misfire_rule rule = MISFIRE_RULE_DEFAULT;
    rule.policy = policy;
    misfire_decide(schedule, &rule, START_US, START_US + later_us, &decision);
    schedule_free(schedule);
}

static void check_run(int index, int64_t after_start_us, int64_t missed, bool made_up)
{
    assert_in_range(index, 0, decision.run_count - 1);
    assert_int_equal(decision.runs[index].scheduled_us, START_US + after_start_us);
    assert_int_equal(decision.runs[index].missed, missed);
    assert_int_equal(decision.runs[index].made_up, made_up);
}

static void check_sums(int runs, int made_up, int64_t missed, int64_t next_us)
{
    assert_int_equal(decision.run_count, runs);
    assert_int_equal(decision.made_up_count, made_up);
    assert_int_equal(decision.missed, missed);
    assert_int_equal(decision.next_us, next_us);
}

static void nothing_due_decides_nothing(void **state)
{
    (void)state;
    struct misfire_rule rule = MISFIRE_RULE_DEFAULT;
    struct schedule *schedule = every(MINUTE_US, -1);
    misfire_decide(schedule, &rule, START_US, START_US - 1, &decision);
    check_sums(0, 0, 0, START_US);
    schedule_free(schedule);
}

static void what_is_on_time_is_fired_whatever_the_policy(void **state)
{
    (void)state;
    for (int policy = MISFIRE_FIRE_ONCE; policy <= MISFIRE_FIRE_ALL; policy++) {
        decide(every(MINUTE_US, -1), (enum misfire_policy)policy, 5 * SECOND_US);
        check_sums(1, 0, 0, START_US + MINUTE_US);
        check_run(0, 0, 0, false);
        decide(every(SECOND_US, -1), (enum misfire_policy)policy, 2 * SECOND_US + 1);
        check_sums(3, 0, 0, START_US + 3 * SECOND_US);
        check_run(0, 0, 0, false);
        check_run(2, 2 * SECOND_US, 0, false);
    }
}

static void a_microsecond_past_the_tolerance_is_late(void **state)
{
    (void)state;
    decide(every(MINUTE_US, -1), MISFIRE_FIRE_ONCE, 5 * SECOND_US + 1);
    check_sums(1, 1, 0, START_US + MINUTE_US);
    check_run(0, 0, 0, true);
}

static void fire_once_makes_up_one_run_that_counts_the_others(void **state)
{
    (void)state;
    decide(every(MINUTE_US, -1), MISFIRE_FIRE_ONCE, 60 * MINUTE_US + 30 * SECOND_US);
    check_sums(1, 1, 60, START_US + 61 * MINUTE_US);
    check_run(0, 60 * MINUTE_US, 60, true);
}

static void fire_once_keeps_the_runs_that_are_on_time(void **state)
{
    (void)state;
    /* A trigger of one second after a day: six on time (0 to 5 s late), one for all the others. */
    decide(every(SECOND_US, -1), MISFIRE_FIRE_ONCE, DAY_US);
    check_sums(7, 1, 86400 - 6, START_US + DAY_US + SECOND_US);
    check_run(0, DAY_US - 6 * SECOND_US, 86400 - 6, true);
    check_run(1, DAY_US - 5 * SECOND_US, 0, false);
    check_run(6, DAY_US, 0, false);
}

static void at_most_ten_are_on_time(void **state)
{
    (void)state;
    /* 31 occurrences within 3 s: the newest ten are fired, the 21 before them meet the policy. */
    decide(every(SECOND_US / 10, -1), MISFIRE_FIRE_ONCE, 3 * SECOND_US);
    check_sums(11, 1, 20, START_US + 3 * SECOND_US + SECOND_US / 10);
    check_run(0, 2 * SECOND_US, 20, true);
    check_run(1, 2 * SECOND_US + SECOND_US / 10, 0, false);
    decide(every(SECOND_US / 10, -1), MISFIRE_FIRE_ALL, 3 * SECOND_US);
    check_sums(31, 21, 0, START_US + 3 * SECOND_US + SECOND_US / 10);
}

static void skip_makes_up_only_what_is_not_too_late(void **state)
{
    (void)state;
    decide(every(60 * MINUTE_US, -1), MISFIRE_SKIP, 75 * MINUTE_US);
    check_sums(1, 1, 1, START_US + 120 * MINUTE_US);
    check_run(0, 60 * MINUTE_US, 1, true);
    decide(every(60 * MINUTE_US, -1), MISFIRE_SKIP, 75 * MINUTE_US + 1);
    check_sums(0, 0, 2, START_US + 120 * MINUTE_US);
}

static void skip_still_fires_what_is_on_time(void **state)
{
    (void)state;
    decide(every(60 * MINUTE_US, -1), MISFIRE_SKIP, 120 * MINUTE_US + SECOND_US);
    check_sums(1, 0, 2, START_US + 180 * MINUTE_US);
    check_run(0, 120 * MINUTE_US, 0, false);
}

static void fire_all_begins_with_the_oldest_and_counts_the_rest(void **state)
{
    (void)state;
    decide(every(MINUTE_US, -1), MISFIRE_FIRE_ALL, 10 * MINUTE_US + 30 * SECOND_US);
    check_sums(11, 11, 0, START_US + 11 * MINUTE_US);
    check_run(0, 0, 0, true);
    check_run(10, 10 * MINUTE_US, 0, true);
    decide(every(MINUTE_US, -1), MISFIRE_FIRE_ALL, 200 * MINUTE_US + 30 * SECOND_US);
    check_sums(100, 100, 101, START_US + 201 * MINUTE_US);
    check_run(0, 0, 0, true);
    check_run(99, 99 * MINUTE_US, 101, true);
}

static void a_schedule_that_ended_meanwhile_is_complete(void **state)
{
    (void)state;
    decide(every(MINUTE_US, 3), MISFIRE_FIRE_ONCE, 60 * MINUTE_US);
    check_sums(1, 1, 3, SCHEDULE_NONE);
    check_run(0, 3 * MINUTE_US, 3, true);
    struct schedule_spec spec = SCHEDULE_SPEC(SCHEDULE_AT);
    spec.at_us = START_US;
    decide(schedule_new(&spec, zones, NULL), MISFIRE_FIRE_ONCE, DAY_US);
    check_sums(1, 1, 0, SCHEDULE_NONE);
    check_run(0, 0, 0, true);
}

static void a_stored_occurrence_of_a_changed_schedule_counts(void **state)
{
    (void)state;
    struct misfire_rule rule = MISFIRE_RULE_DEFAULT;
    struct schedule *schedule = every(MINUTE_US, -1);
    misfire_decide(schedule, &rule, START_US + 7, START_US + 8, &decision);
    check_sums(1, 0, 0, START_US + MINUTE_US);
    check_run(0, 7, 0, false);
    schedule_free(schedule);
}

/* The contract's paragraph read literally, over a list of all occurrences. */
static void model(const int64_t *due, int count, const struct misfire_rule *rule, int64_t now_us,
                  struct misfire_decision *expected)
{
    int on_time = 0;
    while (on_time < count && on_time < 10 &&
           now_us - due[count - 1 - on_time] <= rule->tolerance_us)
        on_time++;
    int late = count - on_time, made_up = 0;
    memset(expected, 0, sizeof *expected);
    if (late > 0 && rule->policy == MISFIRE_FIRE_ALL) {
        for (; made_up < late && made_up < rule->limit; made_up++)
            expected->runs[made_up] = (struct misfire_run){due[made_up], 0, true};
    } else if (late > 0 && (rule->policy == MISFIRE_FIRE_ONCE ||
                            now_us - due[late - 1] <= rule->threshold_us)) {
        expected->runs[made_up++] = (struct misfire_run){due[late - 1], 0, true};
    }
    expected->missed = late - made_up;
    if (made_up > 0)
        expected->runs[made_up - 1].missed = expected->missed;
    expected->made_up_count = made_up;
    expected->run_count = made_up + on_time;
    for (int i = 0; i < on_time; i++)
        expected->runs[made_up + i] = (struct misfire_run){due[late + i], 0, false};
}

static void compare_with_model(const struct schedule *schedule, const struct misfire_rule *rule,
                               int64_t now_us)
{
    static struct misfire_decision expected;
    static int64_t due[100000];
    int count = 0;
    int64_t first_us = schedule_next(schedule, START_US), at_us = first_us;
    for (; at_us <= now_us; at_us = schedule_next(schedule, at_us))
        due[count++] = at_us;
    model(due, count, rule, now_us, &expected);
    misfire_decide(schedule, rule, first_us, now_us, &decision);
    check_sums(expected.run_count, expected.made_up_count, expected.missed, at_us);
    for (int i = 0; i < expected.run_count; i++)
        check_run(i, expected.runs[i].scheduled_us - START_US, expected.runs[i].missed,
                  expected.runs[i].made_up);
}

static void random_situations_agree_with_the_model(void **state)
{
    (void)state;
    static const char *const expressions[] = {"* * * * * ?", "*/3 * * * * ?", "0 * * * * ?",
                                              "0 */5 8-10 * * ?", "0 30 1,2 * * ?"};
    srand(20261120);
    for (int round = 0; round < 2000; round++) {
        struct schedule_spec spec = SCHEDULE_SPEC(rand() % 2 == 0 ? SCHEDULE_CRON : SCHEDULE_EVERY);
        spec.cron = expressions[rand() % 5];
        spec.timezone = "America/New_York";
        spec.every_us = SCHEDULE_EVERY_MIN_US + rand() % (rand() % 2 == 0 ? SECOND_US : DAY_US);
        spec.start_at_us = START_US + 1;
        spec.end_at_us = rand() % 4 == 0 ? START_US + rand() % MINUTE_US + 2 : SCHEDULE_UNSET;
        struct misfire_rule rule = {.policy = (enum misfire_policy)(rand() % 3),
                                    .limit = 1 + rand() % 30,
                                    .tolerance_us = rand() % 3 * 4 * SECOND_US,
                                    .threshold_us = rand() % 3 * MINUTE_US};
        struct schedule *schedule = schedule_new(&spec, zones, NULL);
        assert_non_null(schedule);
        int64_t late_us = rand() % (rand() % 2 == 0 ? 20 * SECOND_US : 30 * MINUTE_US);
        int64_t first_us = schedule_next(schedule, START_US);
        if (first_us != SCHEDULE_NONE)
            compare_with_model(schedule, &rule, first_us + late_us);
        schedule_free(schedule);
    }
}

static void ten_thousand_one_second_triggers_after_a_day_take_moments(void **state)
{
    (void)state;
    struct misfire_rule rule = MISFIRE_RULE_DEFAULT;
    struct schedule_spec spec = SCHEDULE_SPEC(SCHEDULE_CRON);
    spec.cron = "* * * * * ?";
    struct schedule *schedule = schedule_new(&spec, zones, NULL);
    int64_t start_us = clock_monotonic_us();
    for (int trigger = 0; trigger < 10000; trigger++)
        misfire_decide(schedule, &rule, START_US, START_US + DAY_US, &decision);
    assert_true(clock_monotonic_us() - start_us < 5 * SECOND_US); /* some 50 ms; valgrind is slow */
    check_sums(7, 1, 86400 - 6, START_US + DAY_US + SECOND_US);
    schedule_free(schedule);
}

static void a_policy_has_a_name(void **state)
{
    (void)state;
    enum misfire_policy policy;
    struct rota_error error = {0};
    for (int i = MISFIRE_FIRE_ONCE; i <= MISFIRE_FIRE_ALL; i++) {
        assert_int_equal(
            misfire_policy_parse(misfire_policy_name((enum misfire_policy)i), &policy, &error), 0);
        assert_int_equal(policy, i);
    }
    assert_int_equal(misfire_policy_parse("once", &policy, &error), -1);
    assert_non_null(strstr(error.message, "fire_once"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_due_decides_nothing),
        cmocka_unit_test(what_is_on_time_is_fired_whatever_the_policy),
        cmocka_unit_test(a_microsecond_past_the_tolerance_is_late),
        cmocka_unit_test(fire_once_makes_up_one_run_that_counts_the_others),
        cmocka_unit_test(fire_once_keeps_the_runs_that_are_on_time),
        cmocka_unit_test(at_most_ten_are_on_time),
        cmocka_unit_test(skip_makes_up_only_what_is_not_too_late),
        cmocka_unit_test(skip_still_fires_what_is_on_time),
        cmocka_unit_test(fire_all_begins_with_the_oldest_and_counts_the_rest),
        cmocka_unit_test(a_schedule_that_ended_meanwhile_is_complete),
        cmocka_unit_test(a_stored_occurrence_of_a_changed_schedule_counts),
        cmocka_unit_test(random_situations_agree_with_the_model),
        cmocka_unit_test(ten_thousand_one_second_triggers_after_a_day_take_moments),
        cmocka_unit_test(a_policy_has_a_name),
    };
    return cmocka_run_group_tests(tests, open_zones, close_zones);
}
