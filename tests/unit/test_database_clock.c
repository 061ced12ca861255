/* What is known of the database's clock: bounds that get closer, and clocks that jump. */
#include "coord/database_clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define AHEAD 1000000000 /* what the database's clock is ahead of ours */

/* An answer whose two ways took this long. */
static int64_t hear(struct database_clock *clock, int64_t sent_us, int64_t there_us,
                    int64_t back_us, int64_t ahead_us)
{
    return database_clock_hear(clock, sent_us + there_us + ahead_us, sent_us,
                               sent_us + there_us + back_us);
}

static void test_its_time_is_never_told_too_late(void **state)
{
    (void)state;
    struct database_clock clock = {0};
    int64_t now = 5000000;
    for (int64_t way = 1; way < 2000; way += 37, now += 10000) {
        assert_int_equal(hear(&clock, now, 2000 - way, way, AHEAD), 0);
        assert_true(database_clock_at(&clock, now) <= now + AHEAD);
    }
}

static void test_one_quick_answer_makes_up_for_slow_ones(void **state)
{
    (void)state;
    struct database_clock clock = {0};
    hear(&clock, 1000000, 50, 60, AHEAD);
    assert_in_range(database_clock_at(&clock, 1001000), 1001000 + AHEAD - 70, 1001000 + AHEAD);
    hear(&clock, 1002000, 900, 800000, AHEAD);
    assert_in_range(database_clock_at(&clock, 1900000), 1900000 + AHEAD - 120, 1900000 + AHEAD);
}

static void test_clocks_that_drift_apart_are_followed_and_called_no_jump(void **state)
{
    (void)state;
    struct database_clock clock = {0};
    int64_t ahead = AHEAD;
    for (int64_t now = 1000000; now < 200000000; now += 2000000, ahead += 30) {
        assert_int_equal(hear(&clock, now, 40, 40, ahead), 0);
        assert_in_range(database_clock_at(&clock, now), now + ahead - 200, now + ahead);
    }
}

static void test_a_jump_is_told_with_its_sign_and_the_new_time_holds_at_once(void **state)
{
    (void)state;
    struct database_clock clock = {0};
    hear(&clock, 1000000, 100, 100, AHEAD);
    int64_t forth = hear(&clock, 3000000, 100, 100, AHEAD + 5000000);
    assert_in_range(forth, 5000000 - 500, 5000000);
    assert_in_range(database_clock_at(&clock, 3000000), 3000000 + AHEAD + 5000000 - 200,
                    3000000 + AHEAD + 5000000);
    int64_t back = hear(&clock, 5000000, 100, 100, AHEAD - 1000000);
    assert_in_range(-back, 6000000 - 500, 6000000);
    assert_true(database_clock_at(&clock, 5000000) <= 5000000 + AHEAD - 1000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_its_time_is_never_told_too_late),
        cmocka_unit_test(test_one_quick_answer_makes_up_for_slow_ones),
        cmocka_unit_test(test_clocks_that_drift_apart_are_followed_and_called_no_jump),
        cmocka_unit_test(test_a_jump_is_told_with_its_sign_and_the_new_time_holds_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
