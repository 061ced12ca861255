/* Workers that break the protocol, flood, stall or lie harm themselves and nobody else. */
#include "tests/unit/worker_fixture.h"

#include "worker/protocol.h"

static void start_script(struct fixture *f, const char *body, int slots)
{
    script_pool(f, 0, 1, body);
    start(f, 1);
    WAIT(f, free_slots(f, 0) == slots);
}

static int lines_with(struct fixture *f, const char *wanted)
{
    char *text = file_text(f, "log");
    int count = 0;
    for (const char *at = text; (at = strstr(at, wanted)) != NULL; at++)
        count++;
    free(text);
    return count;
}

static void garbage_ends_the_worker_with_one_clear_line(void **state)
{
    struct fixture *f = *state;
    start_script(f,
                 "hello(slots=2)\n"
                 "for m in messages('run'):\n"
                 "    if m['id'] == 1: raw('Traceback (most recent call last)\\n')\n"
                 "    say(type='done', id=m['id'], fence=m['fence'])\n",
                 2);
    give(f, 1, "a", NULL);
    struct outcome *o = wait_for_outcome(f, 1);
    assert_int_equal(o->outcome, WORKER_CRASHED);
    assert_true(o->alone); /* a job that prints would do so again: it has to count */
    assert_non_null(strstr(o->reason, "the line that begins \"Traceback (most recent"));
    assert_int_equal(lines_with(f, "\"level\":\"warn\""), 1);
    assert_int_equal(lines_with(f, "a line that is no message: line 1, column 1"), 1);
    WAIT(f, free_slots(f, 0) == 2);
    give(f, 2, "a", NULL);
    assert_int_equal(wait_for_outcome(f, 2)->outcome, WORKER_DONE);
    assert_int_equal(workers_counts(f->workers)->malformed, 1);
}

static void line_of_two_mebibytes_ends_the_worker(void **state)
{
    struct fixture *f = *state;
    start_script(f,
                 "hello(slots=2)\n"
                 "for m in messages('run'):\n"
                 "    raw('{\"type\":\"log\",\"message\":\"' + 'x' * (1 << 21) + '\"}\\n')\n",
                 2);
    give(f, 1, "a", NULL);
    assert_non_null(strstr(wait_for_outcome(f, 1)->reason, "longer than 1 MiB"));
    WAIT(f, free_slots(f, 0) == 2);
}

static void line_of_almost_one_mebibyte_is_fine(void **state)
{
    struct fixture *f = *state;
    start_script(f,
                 "hello(slots=2)\n"
                 "for m in messages('run'):\n"
                 "    say(type='done', id=1, fence=1001, details={'x': 'x' * ((1 << 20) - 200)})\n",
                 2);
    give(f, 1, "a", NULL);
    assert_int_equal(wait_for_outcome(f, 1)->outcome, WORKER_DONE);
    assert_true(strlen(outcome_of_run(f, 1)->details) > (1 << 20) - 200);
}

static void flood_of_one_worker_costs_only_itself(void **state)
{
    struct fixture *f = *state;
    script_pool(f, 0, 1,
                "hello(slots=2)\n"
                "for m in messages('run'):\n"
                "    k = dict(id=m['id'], fence=m['fence'])\n"
                "    line = json.dumps(dict(type='log', message='flood', **k)) + '\\n'\n"
                "    while True: raw(line * 1000)\n");
    f->pools[1] = (struct worker_pool_config){.name = "other", .processes = 1, .slots = 4};
    start(f, 2);
    WAIT(f, free_slots(f, 0) == 2 && free_slots(f, 1) == 4);
    give(f, 1, "a", NULL);
    WAIT(f, f->logs > 500); /* the flood has begun */
    int64_t begin_us = clock_monotonic_us();
    int logs = f->logs;
    for (int64_t id = 2; id < 202; id++) {
        struct worker_run run = run_of(id, "noop", "{\"sleep\":\"2ms\"}");
        assert_int_equal(workers_run(f->workers, 1, &run), 0);
        assert_int_equal(wait_for_outcome(f, id)->outcome, WORKER_DONE);
    }
    int64_t took_us = clock_monotonic_us() - begin_us;
    print_message("# 200 runs of 2 ms beside a flood took %lld ms, of it %d lines came through\n",
                  (long long)(took_us / US_PER_MS), f->logs - logs);
    assert_true(f->logs - logs < 5000 * (took_us / US_PER_SECOND + 1) + 2000);
}

static void silent_and_deaf_workers_are_given_up(void **state)
{
    struct fixture *f = *state;
    script_pool(f, 0, 1, "time.sleep(600)\n");
    script_pool(f, 1, 1, "hello(slots=8)\ntime.sleep(600)\n");
    start(f, 2);
    WAIT(f, free_slots(f, 1) == 8);
    char *large = mem_alloc(200001);
    memset(large, ' ', 200000);
    memcpy(large, "{}", 2);
    for (int64_t id = 1; id <= 4; id++) {
        struct worker_run run = run_of(id, "a", large);
        assert_int_equal(workers_run(f->workers, 1, &run), 0);
    }
    free(large);
    assert_int_equal(wait_for_outcome(f, 4)->outcome, WORKER_REFUSE);
    assert_string_equal(outcome_of_run(f, 4)->reason, "the worker does not read");
    assert_int_equal(workers_busy(f->workers) + f->outcome_count, 4);
    assert_null(outcome_of_run(f, 1)); /* of this one it may have read something */
    WAIT(f, file_has(f, "log", "worker did not say hello within 10 s"));
    WAIT(f, workers_counts(f->workers)->starts == 3);
}

static void answers_for_runs_it_does_not_have_are_ignored(void **state)
{
    struct fixture *f = *state;
    script_pool(f, 0, 1,
                "hello(slots=2)\n"
                "for m in messages('run'):\n"
                "    i, x = m['id'], m['fence']\n"
                "    say(type='done', id=i, fence=x + 1)\n" /* wrong fence */
                "    say(type='done', id=i + 1, fence=x)\n" /* no such run */
                "    say(type='done', id=50, fence=1050)\n" /* another worker's run */
                "    say(type='progress', id=50, fence=1050)\n"
                "    say(type='fail', id=i, fence=x, message='first')\n"
                "    say(type='done', id=i, fence=x)\n" /* a second time */
                "    note('said', 'all')\n");
    f->pools[1] = (struct worker_pool_config){.name = "other", .processes = 1, .slots = 4};
    start(f, 2);
    WAIT(f, free_slots(f, 0) == 2 && free_slots(f, 1) == 4);
    struct worker_run other = run_of(50, "noop", "{\"sleep\":\"300ms\"}");
    workers_run(f->workers, 1, &other);
    turn(f);
    give(f, 1, "a", NULL);
    assert_string_equal(wait_for_outcome(f, 1)->message, "first");
    WAIT(f, workers_counts(f->workers)->ignored == 5);
    assert_null(outcome_of_run(f, 50));
    assert_int_equal(f->progress, 0);
    assert_int_equal(wait_for_outcome(f, 50)->outcome, WORKER_DONE);
    assert_int_equal(free_slots(f, 0), 2);
}

static void worker_that_closes_its_channel_and_lives_on_is_killed(void **state)
{
    struct fixture *f = *state;
    start_script(f,
                 "hello(slots=2)\n"
                 "for m in messages('run'):\n"
                 "    note('pid', os.getpid())\n"
                 "    os.close(0); os.close(1)\n"
                 "    while True: time.sleep(60)\n",
                 2);
    give(f, 1, "a", NULL);
    assert_string_equal(wait_for_outcome(f, 1)->reason, "worker closed its channel and lived on");
    assert_true(is_gone(file_number(f, "pid")));
}

static void death_is_seen_though_a_descendant_holds_the_channel(void **state)
{
    struct fixture *f = *state;
    start_script(f,
                 "hello(slots=2)\n"
                 "for m in messages('run'):\n"
                 "    note('escaped', escape())\n"
                 "    os._exit(7)\n",
                 2);
    give(f, 1, "a", NULL);
    assert_string_equal(wait_for_outcome(f, 1)->reason, "worker exited with status 7");
    assert_true(is_gone(file_number(f, "escaped"))); /* before anybody starts the run again */
}

static void another_protocol_is_refused(void **state)
{
    struct fixture *f = *state;
    script_pool(f, 0, 1, "say(type='hello', protocol=2, handlers=['a'])\ntime.sleep(600)\n");
    start(f, 1);
    WAIT(f, file_has(f, "log", "worker speaks protocol 2, this node speaks 1"));
    assert_int_equal(free_slots(f, 0), 0);
}

static void program_that_is_not_there_is_named_in_the_log(void **state)
{
    struct fixture *f = *state;
    char *const missing[] = {(char *)"no-such-program", NULL};
    char *const plain[] = {(char *)"/etc/passwd", NULL};
    f->pools[0] = (struct worker_pool_config){.name = "m", .command = missing, .processes = 1};
    f->pools[1] = (struct worker_pool_config){.name = "p", .command = plain, .processes = 1};
    start(f, 2);
    WAIT(f, file_has(f, "log", "cannot execute it: No such file or directory"));
    WAIT(f, file_has(f, "log", "cannot execute it: Permission denied"));
    assert_true(file_has(f, "log", "\"command\":\"no-such-program\""));
    assert_true(file_has(f, "log", "\"command\":\"/etc/passwd\""));
    WAIT(f, lines_with(f, "worker ends too often") == 2);
}

static void second_hello_changes_what_is_served(void **state)
{
    struct fixture *f = *state;
    start_script(f,
                 "hello(slots=2)\n"
                 "for m in messages('run'):\n"
                 "    hello(slots=5, handlers=['b', 'c'])\n"
                 "    say(type='done', id=m['id'], fence=m['fence'])\n",
                 2);
    give(f, 1, "a", NULL);
    wait_for_outcome(f, 1);
    WAIT(f, free_slots(f, 0) == 5);
    assert_int_equal(give(f, 2, "a", NULL), -1);
    assert_string_equal(view(f, 0)->handlers[0], "b");
    assert_string_equal(view(f, 0)->handlers[1], "c");
    assert_null(view(f, 0)->handlers[2]);
}

static void refs_of_locks_are_bounded(void **state)
{
    struct fixture *f = *state;
    start_script(f,
                 "hello(slots=2)\n"
                 "for i in range(1030): say(type='lock', ref=i % 1029, name='n')\n"
                 "say(type='lock', ref=5000, name='n', id=1, fence=2)\n"
                 "for line in lines(): note('lines', line)\n",
                 2);
    WAIT(f, file_has(f, "lines", "\"ref\":5000"));
    assert_int_equal(f->locks, 1024);
    assert_true(file_has(f, "lines", "too many locks of one worker"));
    workers_free(f->workers);
    f->workers = NULL;
    assert_int_equal(f->unlocks, 0); /* nobody is told at the end of everything */
}

int main(int argc, char **argv)
{
    other_main(argc, argv);
    const struct CMUnitTest tests[] = {
        TEST(garbage_ends_the_worker_with_one_clear_line),
        TEST(line_of_two_mebibytes_ends_the_worker),
        TEST(line_of_almost_one_mebibyte_is_fine),
        TEST(flood_of_one_worker_costs_only_itself),
        TEST(silent_and_deaf_workers_are_given_up),
        TEST(answers_for_runs_it_does_not_have_are_ignored),
        TEST(worker_that_closes_its_channel_and_lives_on_is_killed),
        TEST(death_is_seen_though_a_descendant_holds_the_channel),
        TEST(another_protocol_is_refused),
        TEST(program_that_is_not_there_is_named_in_the_log),
        TEST(second_hello_changes_what_is_served),
        TEST(refs_of_locks_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
