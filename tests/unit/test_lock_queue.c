/* Who of one process comes next for a lock: order, sharing, scopes, and when a name is forgotten. */
#include "base/machine.h"
#include "coord/cluster_lock.h"
#include "coord/lock_queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

static struct lock_claim claims[8];

static struct lock_name *join(struct lock_queues *queues, size_t index, bool exclusive)
{
    lock_queue_join(queues, &claims[index], slice_of("a"), false, exclusive);
    return claims[index].name;
}

static void leave(struct lock_queues *queues, size_t index)
{
    lock_queue_leave(&claims[index]);
    lock_queue_settle(queues, claims[index].name);
}

static void exclusive_claims_follow_each_other_in_the_order_they_came(void **state)
{
    (void)state;
    struct lock_queues *queues = lock_queues_new();
    struct lock_name *name = join(queues, 0, true);
    for (size_t i = 1; i < 4; i++)
        assert_ptr_equal(join(queues, i, true), name);
    for (size_t i = 0; i < 4; i++) {
        assert_ptr_equal(lock_queue_turn(name), &claims[i]);
        lock_queue_hold(&claims[i]);
        assert_null(lock_queue_turn(name));
        leave(queues, i);
    }
    assert_null(lock_queue_find(queues, "a"));
    lock_queues_free(queues);
}

static void shared_claims_hold_together_and_none_passes_an_exclusive_one(void **state)
{
    (void)state;
    struct lock_queues *queues = lock_queues_new();
    struct lock_name *name = join(queues, 0, false);
    join(queues, 1, false);
    join(queues, 2, true);
    join(queues, 3, false);
    lock_queue_hold(&claims[0]);
    assert_ptr_equal(lock_queue_turn(name), &claims[1]);
    lock_queue_hold(&claims[1]);
    assert_null(lock_queue_turn(name)); /* the third waits, and the fourth behind it */
    leave(queues, 0);
    assert_null(lock_queue_turn(name));
    leave(queues, 1);
    assert_ptr_equal(lock_queue_turn(name), &claims[2]);
    lock_queue_hold(&claims[2]);
    assert_null(lock_queue_turn(name));
    leave(queues, 2);
    assert_ptr_equal(lock_queue_turn(name), &claims[3]);
    leave(queues, 3);
    lock_queues_free(queues);
}

static void a_claim_that_gives_up_lets_the_next_one_pass(void **state)
{
    (void)state;
    struct lock_queues *queues = lock_queues_new();
    struct lock_name *name = join(queues, 0, false);
    lock_queue_hold(&claims[0]);
    join(queues, 1, true);
    join(queues, 2, false);
    assert_null(lock_queue_turn(name));
    leave(queues, 1);
    assert_ptr_equal(lock_queue_turn(name), &claims[2]);
    leave(queues, 2);
    leave(queues, 0);
    lock_queues_free(queues);
}

static void a_name_is_kept_while_the_session_has_it(void **state)
{
    (void)state;
    struct lock_queues *queues = lock_queues_new();
    struct lock_name *name = join(queues, 0, true);
    lock_name_set_session(name, SESSION_EXCLUSIVE);
    leave(queues, 0);
    assert_ptr_equal(lock_queue_find(queues, "a"), name);
    assert_int_equal(lock_name_session(name), SESSION_EXCLUSIVE);
    lock_queues_session_lost(queues);
    assert_null(lock_queue_find(queues, "a"));
    lock_queues_free(queues);
}

static void the_same_name_of_another_scope_is_another_lock(void **state)
{
    (void)state;
    struct lock_queues *queues = lock_queues_new();
    struct lock_name *cluster = join(queues, 0, true);
    lock_queue_join(queues, &claims[1], slice_of("a"), true, true);
    assert_ptr_not_equal(claims[1].name, cluster);
    assert_string_equal(lock_name_text(claims[1].name), "a");
    lock_queue_hold(&claims[0]);
    assert_ptr_equal(lock_queue_turn(claims[1].name), &claims[1]);
    assert_ptr_equal(lock_queue_find(queues, "a"), cluster);
    leave(queues, 0);
    leave(queues, 1);
    lock_queues_free(queues);
}

static void names_are_checked_by_characters(void **state)
{
    char text[4 * LOCK_NAME_MAX] = "";
    struct rota_error error = {0};
    (void)state;
    assert_int_equal(cluster_lock_check_name(slice_of("metabase.app-db/statistics-lock"), NULL), 0);
    for (int i = 0; i < LOCK_NAME_MAX; i++)
        strncat(text, "ä", sizeof text - strlen(text) - 1);
    assert_int_equal(cluster_lock_check_name(slice_of(text), &error), 0);
    strncat(text, "x", sizeof text - strlen(text) - 1);
    assert_int_equal(cluster_lock_check_name(slice_of(text), &error), -1);
    assert_non_null(strstr(error.message, "this one 255"));
    assert_int_equal(cluster_lock_check_name(slice_of(""), &error), -1);
    assert_int_equal(cluster_lock_check_name((struct slice){"a\0b", 3}, &error), -1);
    assert_int_equal(cluster_lock_check_name(slice_of("\xff"), &error), -1);
}

static void a_request_always_comes_to_its_end(void **state)
{
    (void)state;
    const enum lock_event ends[] = {LOCK_END, LOCK_FAILED, LOCK_END, LOCK_END};
    for (int at = LOCK_QUEUED; at <= LOCK_HELD; at++)
        assert_int_equal(machine_move(&lock_machine, at, (int)ends[at])->to, LOCK_OVER);
    for (size_t i = 0; i < lock_machine.row_count; i++)
        assert_int_not_equal(lock_machine.rows[i].from, LOCK_OVER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exclusive_claims_follow_each_other_in_the_order_they_came),
        cmocka_unit_test(shared_claims_hold_together_and_none_passes_an_exclusive_one),
        cmocka_unit_test(a_claim_that_gives_up_lets_the_next_one_pass),
        cmocka_unit_test(a_name_is_kept_while_the_session_has_it),
        cmocka_unit_test(the_same_name_of_another_scope_is_another_lock),
        cmocka_unit_test(names_are_checked_by_characters),
        cmocka_unit_test(a_request_always_comes_to_its_end),
    };
    return cmocka_run_group_tests_name("lock queue", tests, NULL, NULL);
}
