/* Observers: told of batches, of the points they ask for alone; one that fails hurts nobody. */
#include "coord/finished.h"
#include "coord/fire.h"
#include "coord/node.h"
#include "coord/observe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ENDS 4

/* What the observers of these tests were told; they have no argument but the node. */
struct told {
    struct node node;
    int calls;
    enum observe_point points[32];
    size_t counts[32];
    FILE *log;
};

static int note(struct node *node, const struct observation *seen, struct rota_error *error)
{
    struct told *told = (struct told *)node; /* its first member */
    (void)error;
    told->points[told->calls] = seen->point;
    told->counts[told->calls++] = seen->count;
    return 0;
}

static int fail_always(struct node *node, const struct observation *seen, struct rota_error *error)
{
    (void)node;
    (void)seen;
    return error_set(error, ERROR_REFUSED, "no");
}

static const struct observer ends_only[] = {
    {"ends", OBSERVE_BIT(OBSERVE_EXECUTED) | OBSERVE_BIT(OBSERVE_VETOED), note}};
static const struct observer failing_first[] = {{"failing", UINT32_MAX, fail_always},
                                                {"all", UINT32_MAX, note}};

static struct told *begin(const struct observer *table, size_t count)
{
    struct told *told = calloc(1, sizeof *told);
    told->log = tmpfile();
    told->node.log = (struct log){.level = LOG_DEBUG, .fd = fileno(told->log)};
    observe_init(&told->node, table, count);
    return told;
}

static void end(struct told *told)
{
    fclose(told->log);
    free(told);
}

/* One that succeeded, one that is retried, one that was never begun, one that was put back whole.
 */
static void make_ends(struct finished *ends, struct run *runs, struct finished **list)
{
    static char entry[] = "{}";
    ends[0] = (struct finished){.status = "success", .outcome = "success"};
    ends[1] = (struct finished){.outcome = "failed", .json = entry};
    ends[2] = (struct finished){.status = "failed", .outcome = "expired"};
    ends[3] = (struct finished){.outcome = "put back"};
    for (int i = 0; i < ENDS; i++) {
        runs[i] = (struct run){.started_us = i == 2 ? 0 : 1};
        ends[i].run = &runs[i];
        list[i] = &ends[i];
    }
}

static void a_batch_is_one_call_for_each_point_that_is_asked_for(void **state)
{
    struct told *told = begin(ends_only, 1);
    struct finished ends[ENDS], *list[ENDS];
    struct run runs[ENDS];
    (void)state;
    make_ends(ends, runs, list);
    observe_written(&told->node, list, ENDS, 0);
    assert_int_equal(told->calls, 2);
    assert_int_equal(told->points[0], OBSERVE_VETOED);
    assert_int_equal(told->counts[0], 1);
    assert_int_equal(told->points[1], OBSERVE_EXECUTED);
    assert_int_equal(told->counts[1], 2);
    end(told);
}

static void a_failing_observer_is_counted_and_the_next_is_told_all_the_same(void **state)
{
    struct told *told = begin(failing_first, 2);
    struct finished ends[ENDS], *list[ENDS];
    struct run runs[ENDS];
    char line[400] = "";
    (void)state;
    make_ends(ends, runs, list);
    observe_written(&told->node, list, ENDS, 3);
    assert_int_equal(told->calls, 5); /* vetoed, executed, put back, completed, late */
    assert_int_equal(told->counts[2], 2);
    assert_int_equal(told->counts[3], 2);
    assert_int_equal(told->points[4], OBSERVE_LATE);
    assert_int_equal(told->counts[4], 3);
    assert_int_equal(told->node.observers.failures, 5);
    rewind(told->log);
    assert_non_null(fgets(line, sizeof line, told->log));
    assert_non_null(strstr(line, "\"observer\":\"failing\""));
    end(told);
}

static void each_advance_of_a_trigger_is_seen_at_all_its_points(void **state)
{
    struct told *told = begin(failing_first + 1, 1);
    static struct fire fire;
    static char error[] = "bad";
    (void)state;
    fire.trigger_count = 4;
    fire.triggers[0] = (struct fire_advance){.fired = 1, .next_us = 5};
    fire.triggers[1] = (struct fire_advance){.fired = 2, .missed = 3, .next_us = STORE_NULL_TIME};
    fire.triggers[2] = (struct fire_advance){.blocked = true, .next_us = 5};
    fire.triggers[3] = (struct fire_advance){.error = error, .next_us = STORE_NULL_TIME};
    fire.run_count = 3;
    observe_fired(&told->node, &fire);
    static const enum observe_point points[] = {OBSERVE_CLAIMED,       OBSERVE_FIRED,
                                                OBSERVE_MISFIRED,      OBSERVE_BLOCKED,
                                                OBSERVE_TRIGGER_ERROR, OBSERVE_TRIGGER_ENDED};
    static const size_t counts[] = {3, 2, 1, 1, 1, 1};
    assert_int_equal(told->calls, 6);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(told->points[i], points[i]);
        assert_int_equal(told->counts[i], counts[i]);
    }
    end(told);
}

static void nobody_is_told_of_empty_batches(void **state)
{
    struct told *told = begin(failing_first + 1, 1);
    static struct fire fire;
    (void)state;
    fire.trigger_count = fire.run_count = 0;
    observe_written(&told->node, NULL, 0, 0);
    observe_begun(&told->node, NULL, 0);
    observe_fired(&told->node, &fire);
    assert_int_equal(told->calls, 0);
    end(told);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_is_one_call_for_each_point_that_is_asked_for),
        cmocka_unit_test(a_failing_observer_is_counted_and_the_next_is_told_all_the_same),
        cmocka_unit_test(each_advance_of_a_trigger_is_seen_at_all_its_points),
        cmocka_unit_test(nobody_is_told_of_empty_batches),
    };
    return cmocka_run_group_tests_name("observe", tests, NULL, NULL);
}
