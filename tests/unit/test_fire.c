/*
 * What becomes of locked triggers: which runs get a slot, which wait, what is written back. The
 * rules of lateness themselves are in test_misfire.c.
 */
#include "coord/fire.h"

#include "base/clock.h"
#include "base/memory.h"

#include <endian.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SECOND     INT64_C(1000000)
#define NOW        (INT64_C(1800000000) * SECOND)
#define ROUTE      7
#define PARAMETERS 27 /* of trigger_fire.sql */

struct fixture {
    struct zone_cache *zones;
    struct fire *fire;
    struct job *job;
    int32_t last_id;
};

static int set_up(void **state)
{
    struct fixture *f = mem_alloc(sizeof *f);
    f->zones = zone_cache_new();
    f->fire = fire_new(100);
    f->job = mem_alloc(sizeof *f->job);
    f->job->refs = 1;
    f->job->id = 3;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    fire_free(f->fire);
    assert_int_equal(f->job->refs, 1); /* nothing kept it */
    job_unref(f->job);
    zone_cache_free(f->zones);
    free(f);
    return 0;
}

/* A trigger of one occurrence a second since `start`; the caller's reference. */
static struct trigger *every_second(struct fixture *f, int64_t start_us, enum misfire_policy policy)
{
    struct rota_error error = {0};
    struct trigger *trigger = mem_alloc(sizeof *trigger);
    struct schedule_spec spec = SCHEDULE_SPEC(SCHEDULE_EVERY);
    spec.every_us = SECOND;
    spec.start_at_us = start_us;
    trigger->refs = 1;
    trigger->id = ++f->last_id;
    trigger->schedule = schedule_new(&spec, f->zones, &error);
    if (trigger->schedule == NULL)
        fail_msg("%s", error.message);
    trigger->rule = (struct misfire_rule){policy, 100, 5 * SECOND, 900 * SECOND};
    return trigger;
}

static void decide(struct fixture *f, struct trigger *trigger, int64_t next_us, int64_t previous_us,
                   int *room)
{
    const struct fire_input input = {.trigger = trigger,
                                     .job = f->job,
                                     .route = ROUTE,
                                     .next_us = next_us,
                                     .previous_us = previous_us,
                                     .now_us = NOW};
    fire_decide(f->fire, &input, room);
}

static void what_is_due_gets_a_slot_and_the_trigger_goes_on(void **state)
{
    struct fixture *f = *state;
    struct trigger *trigger = every_second(f, NOW - 60 * SECOND, MISFIRE_FIRE_ONCE);
    int room = 4;
    decide(f, trigger, NOW, NOW - SECOND, &room);
    assert_int_equal(room, 3);
    assert_int_equal(f->fire->run_count, 1);
    assert_int_equal(f->fire->later_count, 0);
    const struct fire_run *run = f->fire->runs;
    assert_true(run->trigger == trigger && run->job == f->job && run->route == ROUTE);
    assert_int_equal(run->scheduled_us, NOW);
    assert_int_equal(run->previous_us, NOW - SECOND);
    assert_int_equal(run->missed, 0);
    const struct fire_advance *advance = f->fire->triggers;
    assert_int_equal(advance->trigger_id, trigger->id);
    assert_int_equal(advance->next_us, NOW + SECOND);
    assert_int_equal(advance->previous_us, NOW);
    assert_int_equal(advance->fired, 1);
    assert_int_equal(advance->missed, 0);
    assert_int_equal(advance->misfired, 0);
    assert_null(advance->error);
    trigger_unref(trigger);
}

static void each_occurrence_on_time_knows_the_one_before(void **state)
{
    struct fixture *f = *state;
    struct trigger *trigger = every_second(f, NOW - 60 * SECOND, MISFIRE_FIRE_ONCE);
    int room = 4;
    decide(f, trigger, NOW - 2 * SECOND, STORE_NULL_TIME, &room);
    assert_int_equal(room, 1);
    assert_int_equal(f->fire->run_count, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(f->fire->runs[i].scheduled_us, NOW - (2 - i) * SECOND);
        assert_int_equal(f->fire->runs[i].previous_us,
                         i == 0 ? 0 : NOW - (3 - i) * SECOND); /* 0: there was none */
    }
    assert_int_equal(f->fire->triggers->fired, 3);
    assert_int_equal(f->fire->triggers->previous_us, NOW);
    trigger_unref(trigger);
}

static void a_run_without_a_slot_waits_under_its_own_time(void **state)
{
    struct fixture *f = *state;
    struct trigger *trigger = every_second(f, NOW - 60 * SECOND, MISFIRE_FIRE_ONCE);
    int room = 1;
    decide(f, trigger, NOW - 2 * SECOND, STORE_NULL_TIME, &room);
    assert_int_equal(room, 0);
    assert_int_equal(f->fire->run_count, 1);
    assert_int_equal(f->fire->runs->scheduled_us, NOW - 2 * SECOND); /* the oldest first */
    assert_int_equal(f->fire->later_count, 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(f->fire->later[i].scheduled_us, NOW - (1 - i) * SECOND);
        assert_false(f->fire->later[i].made_up); /* not paced: it was on time */
    }
    assert_int_equal(f->fire->triggers->fired, 3);
    assert_int_equal(f->fire->triggers->misfired, 0);
    trigger_unref(trigger);
}

static void triggers_share_the_room_of_their_pool(void **state)
{
    struct fixture *f = *state;
    struct trigger *triggers[3];
    int room = 2, other_room = 5;
    for (int i = 0; i < 3; i++) {
        triggers[i] = every_second(f, NOW - 60 * SECOND, MISFIRE_FIRE_ONCE);
        decide(f, triggers[i], NOW, STORE_NULL_TIME, i == 1 ? &other_room : &room);
    }
    assert_int_equal(room, 0);
    assert_int_equal(other_room, 4);
    decide(f, triggers[0], NOW, STORE_NULL_TIME, &room);
    assert_int_equal(f->fire->run_count, 3);
    assert_int_equal(f->fire->later_count, 1);
    for (int i = 0; i < 3; i++)
        trigger_unref(triggers[i]);
}

static void what_was_missed_is_made_up_for_later_and_never_takes_a_slot(void **state)
{
    struct fixture *f = *state;
    struct trigger *trigger = every_second(f, NOW - 600 * SECOND, MISFIRE_FIRE_ONCE);
    int room = 300;
    decide(f, trigger, NOW - 60 * SECOND, NOW - 61 * SECOND, &room);
    assert_int_equal(f->fire->later_count, 1);
    assert_true(f->fire->later->made_up);
    assert_int_equal(f->fire->later->scheduled_us, NOW - 6 * SECOND);
    assert_int_equal(f->fire->later->missed, 54); /* the others it stands for */
    assert_int_equal(f->fire->run_count, 6);      /* these were within the tolerance */
    assert_int_equal(room, 294);
    const struct fire_advance *advance = f->fire->triggers;
    assert_int_equal(advance->fired, 7);
    assert_int_equal(advance->missed, 54);
    assert_int_equal(advance->misfired, 1);
    assert_int_equal(advance->fired + advance->missed, 61); /* every occurrence is accounted for */
    assert_int_equal(advance->previous_us, NOW);
    assert_int_equal(advance->next_us, NOW + SECOND);
    trigger_unref(trigger);
}

static void fire_all_makes_up_for_each_oldest_first(void **state)
{
    struct fixture *f = *state;
    struct trigger *trigger = every_second(f, NOW - 600 * SECOND, MISFIRE_FIRE_ALL);
    int room = 300;
    decide(f, trigger, NOW - 60 * SECOND, STORE_NULL_TIME, &room);
    assert_int_equal(f->fire->later_count, 55);
    for (int i = 0; i < 55; i++) {
        assert_int_equal(f->fire->later[i].scheduled_us, NOW - (60 - i) * SECOND);
        assert_int_equal(f->fire->later[i].previous_us, i == 0 ? 0 : NOW - (61 - i) * SECOND);
    }
    assert_int_equal(f->fire->triggers->misfired, 55);
    assert_int_equal(f->fire->triggers->missed, 0);
    trigger_unref(trigger);
}

static void skip_fires_nothing_that_is_too_late(void **state)
{
    struct fixture *f = *state;
    struct trigger *trigger = every_second(f, NOW - 600 * SECOND, MISFIRE_SKIP);
    int room = 300;
    trigger->rule.threshold_us = SECOND;
    decide(f, trigger, NOW - 60 * SECOND, STORE_NULL_TIME, &room);
    assert_int_equal(f->fire->later_count, 0);
    assert_int_equal(f->fire->run_count, 6);
    assert_int_equal(f->fire->triggers->missed, 55);
    trigger_unref(trigger);
}

static void a_trigger_that_cannot_be_evaluated_goes_to_error(void **state)
{
    struct fixture *f = *state;
    struct trigger *trigger = mem_alloc(sizeof *trigger);
    int room = 1;
    trigger->refs = 1;
    trigger->id = 9;
    trigger->error = mem_string("zone \"Mars/Olympus\" is unknown");
    decide(f, trigger, NOW, NOW - SECOND, &room);
    const struct fire_advance *advance = f->fire->triggers;
    assert_string_equal(advance->error, trigger->error);
    assert_true(advance->next_us == STORE_NULL_TIME && advance->previous_us == STORE_NULL_TIME);
    assert_int_equal(advance->fired + advance->missed + advance->misfired, 0);
    assert_int_equal(f->fire->run_count + f->fire->later_count, 0);
    assert_int_equal(room, 1);
    trigger_unref(trigger);
}

static void the_last_occurrence_completes_the_trigger(void **state)
{
    struct fixture *f = *state;
    struct trigger *trigger = every_second(f, NOW - 60 * SECOND, MISFIRE_FIRE_ONCE);
    struct schedule_spec spec = SCHEDULE_SPEC(SCHEDULE_AT);
    int room = 1;
    schedule_free(trigger->schedule);
    spec.at_us = NOW - SECOND;
    trigger->schedule = schedule_new(&spec, f->zones, NULL);
    decide(f, trigger, NOW - SECOND, STORE_NULL_TIME, &room);
    assert_int_equal(f->fire->run_count, 1);
    assert_true(f->fire->triggers->next_us == STORE_NULL_TIME);
    assert_null(f->fire->triggers->error);
    trigger_unref(trigger);
}

static void one_transaction_has_its_bounds(void **state)
{
    struct fixture *f = *state;
    struct trigger *trigger = every_second(f, NOW - 60 * SECOND, MISFIRE_FIRE_ONCE);
    int room = 1000;
    for (int i = 0; i < NODE_CLAIM_MAX + 50; i++)
        decide(f, trigger, NOW - SECOND, STORE_NULL_TIME, &room);
    assert_int_equal(f->fire->trigger_count, NODE_CLAIM_MAX); /* the others stay due */
    assert_int_equal(f->fire->run_count, NODE_CLAIM_MAX);
    assert_int_equal(f->fire->later_count,
                     NODE_CLAIM_MAX); /* two occurrences each: half had no slot */
    fire_clear(f->fire);
    trigger->rule = (struct misfire_rule){MISFIRE_FIRE_ALL, MISFIRE_LIMIT_MAX, 0, 0};
    struct trigger *busy = every_second(f, NOW - 5000 * SECOND, MISFIRE_FIRE_ALL);
    busy->rule.limit = MISFIRE_LIMIT_MAX;
    for (int i = 0; i < 20; i++)
        decide(f, busy, NOW - 2000 * SECOND, STORE_NULL_TIME, &room);
    assert_int_equal(f->fire->trigger_count, FIRE_LATER_MAX / MISFIRE_LIMIT_MAX);
    assert_int_equal(f->fire->later_count, FIRE_LATER_MAX);
    trigger_unref(trigger);
    trigger_unref(busy);
}

static void clearing_lets_go_of_triggers_and_jobs(void **state)
{
    struct fixture *f = *state;
    struct trigger *trigger = every_second(f, NOW - 60 * SECOND, MISFIRE_FIRE_ONCE);
    int room = 1;
    decide(f, trigger, NOW - 2 * SECOND, STORE_NULL_TIME, &room);
    assert_int_equal(trigger->refs, 4);
    assert_int_equal(f->job->refs, 4);
    fire_clear(f->fire);
    assert_int_equal(trigger->refs, 1);
    assert_int_equal(f->job->refs, 1);
    assert_int_equal(f->fire->trigger_count + f->fire->run_count + f->fire->later_count, 0);
    trigger_unref(trigger);
}

/* The element of a one-dimensional text[] parameter; NULL for NULL. To be freed. */
static char *text_element(const struct store_params *params, int parameter, int wanted)
{
    const char *at = params->bytes.data + params->offsets[parameter] + 20; /* the array's head */
    for (int i = 0;; i++) {
        uint32_t big;
        memcpy(&big, at, 4);
        int32_t length = (int32_t)be32toh(big);
        if (i == wanted)
            return length < 0 ? NULL : mem_string_n(at + 4, (size_t)length);
        at += 4 + (length > 0 ? length : 0);
    }
}

static void the_statement_gets_a_state_for_each_trigger(void **state)
{
    struct fixture *f = *state;
    struct trigger *goes_on = every_second(f, NOW - 60 * SECOND, MISFIRE_FIRE_ONCE);
    struct trigger *ends = every_second(f, NOW, MISFIRE_FIRE_ONCE);
    struct trigger *broken = mem_alloc(sizeof *broken);
    struct store_params params = {0};
    int room = 9;
    schedule_free(ends->schedule);
    struct schedule_spec spec = SCHEDULE_SPEC(SCHEDULE_AT);
    spec.at_us = NOW;
    ends->schedule = schedule_new(&spec, f->zones, NULL);
    broken->refs = 1;
    broken->error = mem_string("broken");
    decide(f, goes_on, NOW, STORE_NULL_TIME, &room);
    decide(f, ends, NOW, STORE_NULL_TIME, &room);
    decide(f, broken, NOW, STORE_NULL_TIME, &room);
    fire_params(f->fire, 5, &params);
    assert_int_equal(params.count, PARAMETERS);
    assert_int_equal(params.count, statements[SQL_TRIGGER_FIRE].parameters);
    const char *states[] = {"W", "C", "E"}, *errors[] = {NULL, NULL, "broken"};
    for (int i = 0; i < 3; i++) {
        char *text = text_element(&params, 3, i), *error = text_element(&params, 8, i);
        assert_string_equal(text, states[i]);
        assert_true(errors[i] == NULL ? error == NULL : strcmp(error, errors[i]) == 0);
        free(text);
        free(error);
    }
    store_params_free(&params);
    trigger_unref(goes_on);
    trigger_unref(ends);
    trigger_unref(broken);
}

/* ---- lanes ---- */

static void decide_in_lane(struct fixture *f, struct trigger *trigger, int64_t next_us,
                           struct lane_room *lane, int *room)
{
    const struct fire_input input = {.trigger = trigger,
                                     .job = f->job,
                                     .route = -ROUTE,
                                     .next_us = next_us,
                                     .previous_us = STORE_NULL_TIME,
                                     .now_us = NOW,
                                     .pass = {SCHEDULE_UNSET, SCHEDULE_UNSET},
                                     .lane = lane};
    fire_decide(f->fire, &input, room);
}

static void a_lane_gives_its_slots_and_what_is_left_stays_with_the_trigger(void **state)
{
    struct fixture *f = *state;
    struct trigger *trigger = every_second(f, NOW - 60 * SECOND, MISFIRE_FIRE_ONCE);
    int64_t slots[] = {3, 5};
    struct lane_room lane = {.lane = 77, .slots = slots, .count = 2};
    int room = 9;
    decide_in_lane(f, trigger, NOW - 3 * SECOND, &lane, &room);
    assert_int_equal(room, 7);
    assert_int_equal(f->fire->run_count, 2);
    assert_int_equal(f->fire->later_count, 0);
    assert_true(f->fire->laned);
    assert_int_equal(f->fire->runs[0].lane, 77);
    assert_int_equal(f->fire->runs[0].lane_slot, 3);
    assert_int_equal(f->fire->runs[1].lane_slot, 5);
    assert_int_equal(f->fire->runs[1].scheduled_us, NOW - 2 * SECOND);
    const struct fire_advance *advance = f->fire->triggers;
    assert_true(advance->blocked);
    assert_int_equal(advance->fired, 2);
    assert_int_equal(advance->next_us, NOW - SECOND);
    assert_int_equal(advance->previous_us, NOW - 2 * SECOND);
    trigger_unref(trigger);
}

static void a_full_lane_blocks_the_trigger_and_takes_nothing_from_it(void **state)
{
    struct fixture *f = *state;
    struct trigger *trigger = every_second(f, NOW - 60 * SECOND, MISFIRE_FIRE_ALL);
    struct lane_room lane = {.lane = 77};
    struct store_params params = {0};
    int room = 9;
    decide_in_lane(f, trigger, NOW - 30 * SECOND, &lane, &room);
    assert_int_equal(room, 9);
    assert_int_equal(f->fire->run_count + f->fire->later_count, 0);
    const struct fire_advance *advance = f->fire->triggers;
    assert_true(advance->blocked);
    assert_int_equal(advance->next_us, NOW - 30 * SECOND);
    assert_int_equal(advance->fired + advance->missed + advance->misfired, 0);
    fire_params(f->fire, 5, &params);
    char *text = text_element(&params, 3, 0);
    assert_string_equal(text, "B");
    free(text);
    store_params_free(&params);
    trigger_unref(trigger);
}

static void a_free_lane_without_a_worker_leaves_the_trigger_due(void **state)
{
    struct fixture *f = *state;
    struct trigger *trigger = every_second(f, NOW - 60 * SECOND, MISFIRE_FIRE_ONCE);
    int64_t slots[] = {1};
    struct lane_room lane = {.lane = 77, .slots = slots, .count = 1};
    int room = 0;
    decide_in_lane(f, trigger, NOW, &lane, &room);
    assert_int_equal(f->fire->trigger_count, 0);
    assert_false(lane_full(&lane));
    trigger_unref(trigger);
}

static void made_up_runs_of_a_lane_wait_in_it(void **state)
{
    struct fixture *f = *state;
    struct trigger *trigger = every_second(f, NOW - 60 * SECOND, MISFIRE_FIRE_ONCE);
    int64_t slots[] = {1};
    struct lane_room lane = {.lane = 77, .slots = slots, .count = 1};
    int room = 9;
    decide_in_lane(f, trigger, NOW - 30 * SECOND, &lane, &room);
    assert_int_equal(f->fire->later_count, 1);
    assert_int_equal(f->fire->later[0].lane, 77);
    assert_true(f->fire->later[0].made_up);
    assert_int_equal(f->fire->run_count, 1);
    const struct fire_advance *advance = f->fire->triggers;
    assert_int_equal(advance->fired, 2);
    assert_int_equal(advance->misfired, 1);
    assert_int_equal(advance->missed, 24); /* 30 s to 6 s ago, but the newest */
    assert_int_equal(advance->next_us, NOW - 4 * SECOND);
    assert_true(advance->blocked);
    trigger_unref(trigger);
}

/* What was decided about a stretch with a pause in it cannot be taken apart again. */
static void occurrences_before_a_pause_do_not_stay_behind(void **state)
{
    struct fixture *f = *state;
    struct trigger *trigger = every_second(f, NOW - 60 * SECOND, MISFIRE_FIRE_ONCE);
    int64_t slots[] = {1};
    struct lane_room lane = {.lane = 77, .slots = slots, .count = 1};
    const struct fire_input input = {.trigger = trigger,
                                     .job = f->job,
                                     .route = -ROUTE,
                                     .next_us = NOW - 22 * SECOND,
                                     .previous_us = STORE_NULL_TIME,
                                     .now_us = NOW,
                                     .pass = {NOW - 20 * SECOND, NOW - SECOND},
                                     .lane = &lane};
    int room = 9;
    fire_decide(f->fire, &input, &room);
    const struct fire_advance *advance = f->fire->triggers;
    assert_int_equal(f->fire->run_count, 1);
    assert_int_equal(f->fire->later_count, 1);
    assert_int_equal(f->fire->later[0].scheduled_us, NOW - 21 * SECOND);
    assert_int_equal(advance->missed, 19);
    assert_int_equal(advance->next_us, NOW - SECOND);
    assert_true(advance->blocked);
    trigger_unref(trigger);
}

static void nothing_to_fire_is_a_statement_too(void **state)
{
    struct fixture *f = *state;
    struct store_params params = {0};
    fire_params(f->fire, 5, &params);
    assert_int_equal(params.count, PARAMETERS);
    store_params_free(&params);
}

/* What trigger_fire.sql returns: a fence and the ids of the runs. */
static PGresult *fired(int64_t fence, const int64_t *ids, size_t count)
{
    PGresAttDesc columns[2] = {{.name = (char *)"fence", .format = 1, .typid = 20, .typlen = 8},
                               {.name = (char *)"ids", .format = 1, .typid = 1016, .typlen = -1}};
    PGresult *result = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
    struct store_params params = {0};
    params_int64(&params, fence);
    params_int64s(&params, ids, count);
    assert_true(PQsetResultAttrs(result, 2, columns));
    for (int i = 0; i < 2; i++)
        assert_true(
            PQsetvalue(result, 0, i, params.bytes.data + params.offsets[i], params.lengths[i]));
    store_params_free(&params);
    return result;
}

static void after_the_commit_the_runs_are_ours_under_the_fence(void **state)
{
    struct fixture *f = *state;
    struct trigger *trigger = every_second(f, NOW - 60 * SECOND, MISFIRE_FIRE_ONCE);
    struct node *node = mem_alloc(sizeof *node);
    struct run *runs[NODE_CLAIM_MAX];
    const int64_t ids[] = {101, 102};
    int room = 2;
    node->runs = runs_new();
    decide(f, trigger, NOW - 2 * SECOND, NOW - 3 * SECOND, &room);
    PGresult *result = fired(55, ids, 2);
    assert_int_equal(fire_take(f->fire, node, result, runs), 2);
    assert_int_equal(runs_count(node->runs), 2);
    for (int i = 0; i < 2; i++) {
        assert_ptr_equal(runs_find(node->runs, ids[i], 55), runs[i]);
        assert_int_equal(runs[i]->slot, i);
        assert_int_equal(runs[i]->place, RUN_CLAIMED);
        assert_int_equal(runs[i]->scheduled_us, NOW - (2 - i) * SECOND);
        assert_int_equal(runs[i]->previous_us, NOW - (3 - i) * SECOND);
        assert_int_equal(runs[i]->attempt, 1);
        assert_int_equal(runs[i]->trigger_id, trigger->id);
        assert_int_equal(runs[i]->job_id, f->job->id);
        assert_false(runs[i]->recovering);
    }
    assert_true(runs_know(node->runs, 55));
    runs_free(node->runs);
    free(node);
    PQclear(result);
    trigger_unref(trigger);
}

#define FIRE_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIRE_TEST(what_is_due_gets_a_slot_and_the_trigger_goes_on),
        FIRE_TEST(each_occurrence_on_time_knows_the_one_before),
        FIRE_TEST(a_run_without_a_slot_waits_under_its_own_time),
        FIRE_TEST(triggers_share_the_room_of_their_pool),
        FIRE_TEST(what_was_missed_is_made_up_for_later_and_never_takes_a_slot),
        FIRE_TEST(fire_all_makes_up_for_each_oldest_first),
        FIRE_TEST(skip_fires_nothing_that_is_too_late),
        FIRE_TEST(a_trigger_that_cannot_be_evaluated_goes_to_error),
        FIRE_TEST(the_last_occurrence_completes_the_trigger),
        FIRE_TEST(one_transaction_has_its_bounds),
        FIRE_TEST(clearing_lets_go_of_triggers_and_jobs),
        FIRE_TEST(the_statement_gets_a_state_for_each_trigger),
        FIRE_TEST(a_lane_gives_its_slots_and_what_is_left_stays_with_the_trigger),
        FIRE_TEST(a_full_lane_blocks_the_trigger_and_takes_nothing_from_it),
        FIRE_TEST(a_free_lane_without_a_worker_leaves_the_trigger_due),
        FIRE_TEST(made_up_runs_of_a_lane_wait_in_it),
        FIRE_TEST(occurrences_before_a_pause_do_not_stay_behind),
        FIRE_TEST(nothing_to_fire_is_a_statement_too),
        FIRE_TEST(after_the_commit_the_runs_are_ours_under_the_fence),
    };
    return cmocka_run_group_tests_name("fire", tests, NULL, NULL);
}
