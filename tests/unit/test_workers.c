/* Pools of workers as the coordinator sees them: runs go in, exactly one result each comes out. */
#include "tests/unit/worker_fixture.h"

#include "worker/pool.h"

static void noop_runs_are_done(void **state)
{
    struct fixture *f = *state;
    start_builtin(f, 1, 4);
    assert_string_equal(view(f, 0)->name, "main");
    assert_int_equal(give(f, 1, "noop", NULL), 0);
    assert_int_equal(workers_busy(f->workers), 1);
    assert_int_equal(free_slots(f, 0), 3);
    struct outcome *o = wait_for_outcome(f, 1);
    assert_int_equal(o->outcome, WORKER_DONE);
    assert_int_equal(o->fence, 1001);
    assert_true(o->duration_us > 0);
    assert_int_equal(workers_busy(f->workers), 0);
    WAIT(f, free_slots(f, 0) == 4);
}

static void noop_sleeps_and_fails_when_told_to(void **state)
{
    struct fixture *f = *state;
    start_builtin(f, 1, 4);
    assert_int_equal(give(f, 1, "noop", "{\"sleep\":\"80ms\"}"), 0);
    assert_int_equal(give(f, 2, "noop", "{\"fail\":\"as \\\"told\\\"\",\"other\":[1]}"), 0);
    assert_int_equal(give(f, 3, "noop", "{\"sleep\":5}"), 0);
    assert_int_equal(wait_for_outcome(f, 2)->outcome, WORKER_FAIL);
    assert_string_equal(outcome_of_run(f, 2)->message, "as \"told\"");
    assert_true(outcome_of_run(f, 2)->retry);
    assert_false(wait_for_outcome(f, 3)->retry);
    assert_null(outcome_of_run(f, 1)); /* one that waits blocks no other */
    assert_int_equal(wait_for_outcome(f, 1)->outcome, WORKER_DONE);
    assert_true(outcome_of_run(f, 1)->duration_us >= 80 * US_PER_MS);
}

static void runs_go_where_there_is_room_and_a_handler(void **state)
{
    struct fixture *f = *state;
    start_builtin(f, 2, 1);
    assert_int_equal(give(f, 1, "nothing", NULL), -1);
    assert_int_equal(give(f, 2, "noop", "{\"sleep\":\"50ms\"}"), 0);
    assert_int_equal(give(f, 3, "noop", "{\"sleep\":\"50ms\"}"), 0);
    assert_int_equal(give(f, 4, "noop", NULL), -1);
    wait_for_outcome(f, 2);
    assert_int_equal(give(f, 4, "noop", NULL), 0);
    assert_int_equal(wait_for_outcome(f, 4)->outcome, WORKER_DONE);
    wait_for_outcome(f, 3);
}

static int give_lane(struct fixture *f, int64_t id, const char *data)
{
    struct worker_run run = run_of(id, "noop", data);
    run.lane = true;
    return workers_run(f->workers, 0, &run);
}

static int lane_slots(struct fixture *f)
{
    const struct worker_pool_view *views;
    workers_pools(f->workers, &views);
    return views[0].lane_slots;
}

/* The built-in pool has a process of its own for lane runs, which is started when it is wanted;
 * both share the slots. */
static void lane_runs_are_kept_apart(void **state)
{
    struct fixture *f = *state;
    start_builtin(f, 1, 2);
    assert_int_equal(lane_slots(f), 0);
    assert_int_equal(give_lane(f, 1, NULL), -1);
    workers_want_lanes(f->workers);
    workers_want_lanes(f->workers);
    WAIT(f, lane_slots(f) == 2);
    assert_int_equal(give_lane(f, 2, "{\"sleep\":\"100ms\"}"), 0);
    assert_int_equal(free_slots(f, 0), 1);
    assert_int_equal(lane_slots(f), 1);
    assert_int_equal(give(f, 3, "noop", "{\"sleep\":\"50ms\"}"), 0);
    assert_int_equal(free_slots(f, 0), 0);
    assert_int_equal(lane_slots(f), 0);
    assert_int_equal(wait_for_outcome(f, 2)->outcome, WORKER_DONE);
    assert_int_equal(wait_for_outcome(f, 3)->outcome, WORKER_DONE);
    assert_int_equal(workers_counts(f->workers)->starts, 2);
}

static void many_runs_are_each_answered_once(void **state)
{
    struct fixture *f = *state;
    const int64_t count = 20000;
    int64_t given = 0, spent_us = 0, start_us;
    start_builtin(f, 2, 200);
    start_us = clock_monotonic_us();
    while ((int64_t)f->outcome_count < count) {
        int64_t turn_us = clock_monotonic_us();
        while (given < count && give(f, given, "noop", "{\"a\":\"hello\"}") == 0)
            given++;
        spent_us += clock_monotonic_us() - turn_us;
        assert_true(clock_monotonic_us() - start_us < 6 * WAIT_US);
        turn(f);
    }
    int64_t took_us = clock_monotonic_us() - start_us;
    print_message("# %lld runs a second; %.2f us for each workers_run()\n",
                  (long long)(count * US_PER_SECOND / took_us), (double)spent_us / (double)count);
    char *seen = mem_alloc((size_t)count);
    for (int64_t i = 0; i < count; i++) {
        assert_int_equal(f->outcomes[i].outcome, WORKER_DONE);
        assert_int_equal(seen[f->outcomes[i].id]++, 0);
    }
    free(seen);
}

static void workers_in_any_language_get_and_give_json_unchanged(void **state)
{
    struct fixture *f = *state;
    static const char data[] = "{\"n\":1234567890123456789,\"f\":1.0e5,\"u\":\"\\u00e9\xc3\xa9\"}";
    script_pool(
        f, 0, 1,
        "hello(slots=2)\n"
        "for line in lines():\n"
        "    note('lines', line)\n"
        "    m = json.loads(line)\n"
        "    if m['type'] != 'run': continue\n"
        "    data = line[line.index('\"data\":')+7:line.index(',\"trigger\"')]\n"
        "    raw('{\"type\":\"done\",\"id\":%d,\"fence\":%d,\"details\":%s,\"data\":%s}\\n'\n"
        "        % (m['id'], m['fence'], data, data))\n");
    start(f, 1);
    WAIT(f, free_slots(f, 0) == 2);
    assert_string_equal(view(f, 0)->handlers[0], "a");
    assert_null(view(f, 0)->handlers[1]);
    assert_int_equal(give(f, 1, "a", data), 0);
    struct outcome *o = wait_for_outcome(f, 1);
    assert_int_equal(o->outcome, WORKER_DONE);
    assert_string_equal(o->details, data);
    assert_string_equal(o->data, data);
    assert_true(file_has(f, "lines", "{\"type\":\"welcome\",\"node\":\"here\",\"protocol\":1}"));
}

static void news_of_a_run_reach_the_coordinator(void **state)
{
    struct fixture *f = *state;
    script_pool(f, 0, 1,
                "hello()\n"
                "for m in messages('run'):\n"
                "    k = dict(id=m['id'], fence=m['fence'])\n"
                "    say(type='progress', fraction=0.4, message='on', **k)\n"
                "    say(type='checkpoint', data={'at': 5}, **k)\n"
                "    say(type='log', level='warn', message='look', **k)\n"
                "    say(type='log', level='shout', message='loud', **k)\n"
                "    say(type='fail', exception='E', message='m', stacktrace=['s'],\n"
                "        ex_data={'x': 1}, details={'d': 2}, retry=False, unschedule=True, **k)\n");
    start(f, 1);
    WAIT(f, free_slots(f, 0) == 1);
    assert_int_equal(give(f, 1, "a", NULL), 0);
    struct outcome *o = wait_for_outcome(f, 1);
    assert_int_equal(f->progress, 1);
    assert_true(f->fraction == 0.4);
    assert_string_equal(f->checkpoint, "{\"at\": 5}");
    assert_int_equal(f->logs, 2);
    assert_string_equal(f->last_log, "info: loud");
    assert_int_equal(o->outcome, WORKER_FAIL);
    assert_string_equal(o->exception, "E");
    assert_string_equal(o->message, "m");
    assert_string_equal(o->stacktrace, "[\"s\"]");
    assert_string_equal(o->ex_data, "{\"x\": 1}");
    assert_string_equal(o->details, "{\"d\": 2}");
    assert_false(o->retry);
    assert_true(o->unschedule);
}

static void snooze_and_refuse_are_told_apart(void **state)
{
    struct fixture *f = *state;
    script_pool(f, 0, 1,
                "hello(slots=2)\n"
                "for m in messages('run'):\n"
                "    k = dict(id=m['id'], fence=m['fence'])\n"
                "    if m['id'] == 1: say(type='snooze', **{'for': '90s'}, **k)\n"
                "    else: say(type='refuse', reason='busy', **k)\n");
    start(f, 1);
    WAIT(f, free_slots(f, 0) == 2);
    give(f, 1, "a", NULL);
    give(f, 2, "a", NULL);
    assert_int_equal(wait_for_outcome(f, 1)->outcome, WORKER_SNOOZE);
    assert_int_equal(outcome_of_run(f, 1)->snooze_us, 90 * US_PER_SECOND);
    assert_int_equal(wait_for_outcome(f, 2)->outcome, WORKER_REFUSE);
    assert_string_equal(outcome_of_run(f, 2)->reason, "busy");
}

/* Answers cancel messages of even runs, does what was asked for with odd ones: nothing. */
#define STUBBORN                                                                                   \
    "signal.signal(signal.SIGTERM, lambda *a: note('term', 'x'))\n"                                \
    "hello(slots=4)\n"                                                                             \
    "note('pid', os.getpid())\n"                                                                   \
    "for line in lines():\n"                                                                       \
    "    m = json.loads(line)\n"                                                                   \
    "    if m['type'] == 'cancel' and m['id'] % 2 == 0:\n"                                         \
    "        say(type='fail', message=m['reason'], id=m['id'], fence=m['fence'])\n"

static void run_over_its_time_is_cancelled(void **state)
{
    struct fixture *f = *state;
    script_pool(f, 0, 1, STUBBORN);
    start(f, 1);
    WAIT(f, free_slots(f, 0) == 4);
    struct worker_run run = run_of(2, "a", NULL);
    run.timeout_us = 100 * US_PER_MS;
    assert_int_equal(workers_run(f->workers, 0, &run), 0);
    assert_int_equal(wait_for_outcome(f, 2)->outcome, WORKER_TIMEOUT);
    assert_string_equal(outcome_of_run(f, 2)->message, "its time is over");
    assert_true(outcome_of_run(f, 2)->duration_us >= 100 * US_PER_MS);
    assert_int_equal(free_slots(f, 0), 4); /* the worker lives on */
}

static void worker_that_ignores_a_cancel_is_ended_and_neighbours_are_not_blamed(void **state)
{
    struct fixture *f = *state;
    script_pool(f, 0, 1, STUBBORN);
    start(f, 1);
    WAIT(f, free_slots(f, 0) == 4);
    struct worker_run run = run_of(1, "a", NULL);
    run.timeout_us = 100 * US_PER_MS;
    assert_int_equal(workers_run(f->workers, 0, &run), 0);
    assert_int_equal(give(f, 3, "a", NULL), 0);
    assert_int_equal(wait_for_outcome(f, 1)->outcome, WORKER_TIMEOUT);
    assert_false(outcome_of_run(f, 1)->alone);
    assert_int_equal(wait_for_outcome(f, 3)->outcome, WORKER_CRASHED);
    assert_false(outcome_of_run(f, 3)->alone);
    assert_true(file_has(f, "term", "x")); /* it was asked before it was killed */
    /* cancel after 100 ms, SIGTERM and SIGKILL 200 ms after each other */
    assert_true(outcome_of_run(f, 1)->duration_us >= 500 * US_PER_MS);
    WAIT(f, free_slots(f, 0) == 4);
    assert_int_equal(workers_counts(f->workers)->starts, 2);
    assert_int_equal(workers_counts(f->workers)->crashes, 0);
}

static void cancelled_run_is_reported_as_such(void **state)
{
    struct fixture *f = *state;
    script_pool(f, 0, 1, STUBBORN);
    start(f, 1);
    WAIT(f, free_slots(f, 0) == 4);
    assert_false(workers_cancel(f->workers, 2, 1002, "why"));
    give(f, 2, "a", NULL);
    assert_true(workers_cancel(f->workers, 2, 1002, "why")); /* not written yet */
    assert_null(outcome_of_run(f, 2));                       /* never from inside the call */
    assert_int_equal(wait_for_outcome(f, 2)->outcome, WORKER_CANCELLED);
    give(f, 4, "a", NULL);
    turn(f);
    assert_true(workers_cancel(f->workers, 4, 1004, "why"));
    assert_true(workers_cancel(f->workers, 4, 1004, "again"));
    assert_int_equal(wait_for_outcome(f, 4)->outcome, WORKER_CANCELLED);
    assert_string_equal(outcome_of_run(f, 4)->message, "why");
    assert_false(workers_cancel(f->workers, 4, 9, "why"));
}

static void killed_worker_takes_only_its_own_runs_with_it(void **state)
{
    struct fixture *f = *state;
    script_pool(f, 0, 2,
                "note('pids', os.getpid())\n"
                "hello(slots=2)\n"
                "for m in messages('run'):\n"
                "    note('has%d' % m['id'], os.getpid())\n"
                "    if m['id'] == 9: say(type='done', id=9, fence=1009)\n");
    start(f, 1);
    WAIT(f, free_slots(f, 0) == 4);
    for (int64_t id = 1; id <= 3; id++)
        assert_int_equal(give(f, id, "a", NULL), 0);
    WAIT(f, file_number(f, "has1") > 0 && file_number(f, "has2") > 0 && file_number(f, "has3") > 0);
    pid_t pid = file_number(f, "has2");
    assert_int_equal(file_number(f, "has1") == pid, false); /* the most free slots */
    kill(pid, SIGKILL);
    struct outcome *o = wait_for_outcome(f, 2);
    assert_int_equal(o->outcome, WORKER_CRASHED);
    assert_string_equal(o->reason, "worker was killed by SIGKILL");
    bool shared = file_number(f, "has3") == pid;
    assert_int_equal(o->alone, !shared);
    assert_null(outcome_of_run(f, 1));
    WAIT(f, free_slots(f, 0) == (shared ? 3 : 2)); /* started again */
    kill(file_number(f, "has1"), SIGTERM);
    assert_string_equal(wait_for_outcome(f, 1)->reason, "worker was killed by SIGTERM");
    assert_int_equal(outcome_of_run(f, 1)->alone, shared);
    WAIT(f, free_slots(f, 0) == 4);
    give(f, 9, "a", NULL);
    assert_int_equal(wait_for_outcome(f, 9)->outcome, WORKER_DONE);
    assert_int_equal(workers_counts(f->workers)->crashes, 2);
}

static void crash_of_several_runs_blames_none(void **state)
{
    struct fixture *f = *state;
    script_pool(f, 0, 1,
                "hello(slots=2)\n"
                "for m in messages('run'):\n"
                "    if m['id'] == 2: sys.exit(3)\n");
    start(f, 1);
    WAIT(f, free_slots(f, 0) == 2);
    give(f, 1, "a", NULL);
    give(f, 2, "a", NULL);
    assert_string_equal(wait_for_outcome(f, 2)->reason, "worker exited with status 3");
    assert_false(wait_for_outcome(f, 1)->alone);
    assert_false(outcome_of_run(f, 2)->alone);
    WAIT(f, free_slots(f, 0) == 2);
    free_outcomes(f);
    give(f, 2, "a", NULL);
    assert_int_equal(wait_for_outcome(f, 2)->outcome, WORKER_CRASHED);
    assert_true(outcome_of_run(f, 2)->alone);
}

static void answer_with_the_last_breath_counts(void **state)
{
    struct fixture *f = *state;
    script_pool(f, 0, 1,
                "hello(slots=2)\n"
                "for m in messages('run'):\n"
                "    say(type='done', id=m['id'], fence=m['fence'])\n"
                "    os._exit(0)\n");
    start(f, 1);
    WAIT(f, free_slots(f, 0) == 2);
    give(f, 1, "a", NULL);
    assert_int_equal(wait_for_outcome(f, 1)->outcome, WORKER_DONE);
}

static void starts_of_a_worker_that_ends_at_once_are_spaced(void **state)
{
    struct fixture *f = *state;
    script_pool(f, 0, 1, "note('starts', 'x')\nsys.exit(1)\n");
    start(f, 1);
    WAIT(f, file_has(f, "log", "worker ends too often"));
    assert_int_equal(workers_counts(f->workers)->starts, 5);
    int64_t spaced_us = clock_monotonic_us();
    WAIT(f, workers_counts(f->workers)->starts == 6); /* never given up */
    assert_true(clock_monotonic_us() - spaced_us > 900 * US_PER_MS);
    WAIT(f, file_has(f, "log", "\"wait_ms\":2000"));
}

static int backs;

static void on_back(void *arg, int64_t id, int64_t fence)
{
    (void)arg;
    assert_int_equal(fence, id + 1000);
    backs++;
}

static void runs_that_no_worker_has_seen_are_taken_back(void **state)
{
    struct fixture *f = *state;
    script_pool(f, 0, 1,
                "hello(slots=20)\n"
                "note('pid', os.getpid())\n"
                "while not os.path.exists(os.path.dirname(sys.argv[0]) + '/go'): time.sleep(0.01)\n"
                "for m in messages('run'):\n"
                "    say(type='done', id=m['id'], fence=m['fence'])\n");
    start(f, 1);
    WAIT(f, free_slots(f, 0) == 20);
    char *large = mem_alloc(100001);
    memset(large, ' ', 100000);
    memcpy(large, "{", 1);
    memcpy(large + 99999, "}", 1);
    int64_t given = 0;
    while (give(f, given, "a", large) == 0) /* until the pipe and the channel are full */
        given++;
    free(large);
    assert_true(given >= 5 && given < 20);
    assert_int_equal(free_slots(f, 0), 0); /* it does not read: no more for it */
    turn(f);
    assert_true(workers_cancel(f->workers, given - 2, given + 998, "no")); /* from the middle */
    backs = 0;
    workers_take_back(f->workers, on_back, f);
    assert_true(backs > 0 && backs < given - 1);
    free(write_file(f, "go", ""));
    WAIT(f, workers_busy(f->workers) == 0);
    assert_int_equal((int64_t)f->outcome_count, given - backs);
    assert_int_equal(outcome_of_run(f, given - 2)->outcome, WORKER_CANCELLED);
    assert_int_equal(outcome_of_run(f, 0)->outcome, WORKER_DONE);
}

static void run_longer_than_a_line_fails(void **state)
{
    struct fixture *f = *state;
    start_builtin(f, 1, 2);
    char *large = mem_alloc(PROTOCOL_LINE_MAX + 1);
    memset(large, ' ', PROTOCOL_LINE_MAX);
    memcpy(large, "{}", 2);
    give(f, 1, "noop", large);
    give(f, 2, "noop", "{}");
    free(large);
    assert_int_equal(wait_for_outcome(f, 1)->outcome, WORKER_FAIL);
    assert_false(outcome_of_run(f, 1)->retry);
    assert_int_equal(wait_for_outcome(f, 2)->outcome, WORKER_DONE);
}

static void draining_workers_get_no_more_runs(void **state)
{
    struct fixture *f = *state;
    script_pool(f, 0, 1,
                "hello(slots=2)\n"
                "k = {}\n"
                "for line in lines():\n"
                "    m = json.loads(line)\n"
                "    if m['type'] == 'run': k = dict(id=m['id'], fence=m['fence'])\n"
                "    if m['type'] == 'drain':\n"
                "        say(type='done', details=m, **k)\n"
                "        sys.exit(0)\n");
    start(f, 1);
    WAIT(f, free_slots(f, 0) == 2);
    give(f, 1, "a", NULL);
    turn(f);
    workers_drain(f->workers, 25 * US_PER_SECOND);
    assert_int_equal(free_slots(f, 0), 0);
    assert_int_equal(give(f, 2, "a", NULL), -1);
    assert_int_equal(wait_for_outcome(f, 1)->outcome, WORKER_DONE);
    assert_non_null(strstr(outcome_of_run(f, 1)->details, "\"grace\": \"25s\""));
    WAIT(f, file_has(f, "log", "no more workers are wanted"));
    assert_int_equal(workers_counts(f->workers)->starts, 1);
}

static void suspects_run_alone(void **state)
{
    struct fixture *f = *state;
    start_builtin(f, 1, 4);
    struct worker_run suspect = run_of(2, "noop", "{\"sleep\":\"50ms\"}");
    suspect.alone = true;
    give(f, 1, "noop", "{\"sleep\":\"50ms\"}");
    assert_int_equal(workers_run(f->workers, 0, &suspect), -1); /* not beside run 1 */
    assert_int_equal(free_slots(f, 0), 0);                      /* which gets no more company */
    wait_for_outcome(f, 1);
    assert_int_equal(workers_run(f->workers, 0, &suspect), 0);
    assert_int_equal(give(f, 3, "noop", NULL), -1);
    wait_for_outcome(f, 2);
    WAIT(f, free_slots(f, 0) == 4);
}

static void locks_of_workers_end_with_their_run(void **state)
{
    struct fixture *f = *state;
    script_pool(f, 0, 1,
                "hello(slots=2)\n"
                "for line in lines():\n"
                "    m = json.loads(line)\n"
                "    note('lines', line)\n"
                "    if m['type'] == 'run':\n"
                "        k = dict(id=m['id'], fence=m['fence'])\n"
                "        say(type='lock', ref=1, name='n', wait='5s', shared=True, **k)\n"
                "    if m['type'] == 'locked': say(type='done', **k)\n");
    start(f, 1);
    WAIT(f, free_slots(f, 0) == 2);
    give(f, 1, "a", NULL);
    WAIT(f, f->locks == 1);
    assert_int_equal(f->lock.wait_us, 5 * US_PER_SECOND);
    assert_true(f->lock.shared);
    assert_int_equal(f->lock.id, 1);
    assert_int_equal(f->unlocks, 0);
    workers_locked(f->workers, f->lock.lock, 77);
    wait_for_outcome(f, 1);
    assert_int_equal(f->unlocks, 1);
    assert_true(file_has(f, "lines", "{\"type\":\"locked\",\"ref\":1,\"fence\":77}"));
    give(f, 2, "a", NULL);
    WAIT(f, f->locks == 2);
    workers_lock_failed(f->workers, f->lock.lock, "taken");
    WAIT(f, file_has(f, "lines", "{\"type\":\"lock_failed\",\"ref\":1,\"message\":\"taken\"}"));
    workers_locked(f->workers, f->lock.lock, 78); /* passed over */
    assert_int_equal(f->unlocks, 1);
}

static void lease_is_told_to_workers_that_honour_it(void **state)
{
    struct fixture *f = *state;
    script_pool(f, 0, 1,
                "hello(honours_lease=True)\n"
                "for line in lines(): note('lines', line)\n");
    start(f, 1);
    WAIT(f, free_slots(f, 0) == 1);
    workers_lease(f->workers, clock_boot_us() + 3600 * US_PER_SECOND);
    WAIT(f, file_has(f, "lines", "{\"type\":\"lease\",\"valid_ms\":35999") ||
                file_has(f, "lines", "{\"type\":\"lease\",\"valid_ms\":3600000}"));
}

static void check_machine(const struct machine *machine, int state_count)
{
    for (size_t i = 0; i < machine->row_count; i++) {
        const struct machine_row *row = &machine->rows[i];
        assert_in_range(row->from, 0, state_count - 1);
        assert_in_range(row->to, 0, state_count - 1);
        assert_non_null(machine->events[row->event]);
        assert_true(strlen(row->why) > 0);
        assert_ptr_equal(machine_move(machine, row->from, row->event), row); /* no pair twice */
    }
    for (int state = 1; state < state_count; state++) { /* 0 is where everything begins */
        bool reached = false;
        for (size_t i = 0; i < machine->row_count; i++)
            reached |= machine->rows[i].to == state && machine->rows[i].from != state;
        assert_true(reached);
        assert_non_null(machine->states[state]);
    }
}

static void tables_of_states_are_whole(void **state)
{
    (void)state;
    check_machine(&process_machine, PROCESS_STOPPED + 1);
    check_machine(&run_machine, RUN_OVER + 1);
}

int main(int argc, char **argv)
{
    other_main(argc, argv);
    const struct CMUnitTest tests[] = {
        TEST(noop_runs_are_done),
        TEST(noop_sleeps_and_fails_when_told_to),
        TEST(runs_go_where_there_is_room_and_a_handler),
        TEST(lane_runs_are_kept_apart),
        TEST(many_runs_are_each_answered_once),
        TEST(workers_in_any_language_get_and_give_json_unchanged),
        TEST(news_of_a_run_reach_the_coordinator),
        TEST(snooze_and_refuse_are_told_apart),
        TEST(run_over_its_time_is_cancelled),
        TEST(worker_that_ignores_a_cancel_is_ended_and_neighbours_are_not_blamed),
        TEST(cancelled_run_is_reported_as_such),
        TEST(killed_worker_takes_only_its_own_runs_with_it),
        TEST(crash_of_several_runs_blames_none),
        TEST(answer_with_the_last_breath_counts),
        TEST(starts_of_a_worker_that_ends_at_once_are_spaced),
        TEST(runs_that_no_worker_has_seen_are_taken_back),
        TEST(run_longer_than_a_line_fails),
        TEST(draining_workers_get_no_more_runs),
        TEST(suspects_run_alone),
        TEST(locks_of_workers_end_with_their_run),
        TEST(lease_is_told_to_workers_that_honour_it),
        cmocka_unit_test(tables_of_states_are_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
