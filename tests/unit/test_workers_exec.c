/* The handler `exec` of the built-in worker: what a program is given, and what is left of it. */
#include "tests/unit/worker_fixture.h"

#include "worker/builtin/exec.h"

/* A run of `sh -c SCRIPT` in the folder; `more` goes into its data. */
static void give_script(struct fixture *f, int64_t id, const char *script, const char *more)
{
    struct buffer data = {0};
    buffer_string(&data, "{\"command\":[\"/bin/sh\",\"-c\",");
    buffer_json(&data, script, strlen(script));
    buffer_format(&data, "],\"cwd\":\"%s\"%s}", f->folder, more);
    assert_int_equal(give(f, id, "exec", buffer_text(&data)), 0);
    buffer_free(&data);
}

static struct outcome *outcome_of_script(struct fixture *f, int64_t id, const char *script,
                                         const char *more)
{
    give_script(f, id, script, more);
    return wait_for_outcome(f, id);
}

static void program_that_succeeds_is_done_with_its_output(void **state)
{
    struct fixture *f = *state;
    start_builtin(f, 1, 4);
    struct outcome *o = outcome_of_script(f, 1, "echo out; echo err >&2", "");
    assert_int_equal(o->outcome, WORKER_DONE);
    assert_string_equal(o->details,
                        "{\"exit_code\":0,\"output\":\"out\\nerr\\n\",\"output_truncated\":false}");
}

static void program_that_fails_says_how(void **state)
{
    struct fixture *f = *state;
    start_builtin(f, 1, 4);
    struct outcome *o = outcome_of_script(f, 1, "echo first; echo the last; echo; exit 3", "");
    assert_int_equal(o->outcome, WORKER_FAIL);
    assert_string_equal(o->exception, "exit status 3");
    assert_string_equal(o->message, "the last");
    assert_true(o->retry);
    assert_non_null(strstr(o->details, "{\"exit_code\":3,\"output\":\"first"));
    o = outcome_of_script(f, 2, "kill -SEGV $$", "");
    assert_string_equal(o->exception, "signal SIGSEGV");
    assert_string_equal(o->message, "signal SIGSEGV");
    assert_string_equal(o->details, "{\"exit_code\":139,\"signal\":\"SIGSEGV\",\"output\":\"\","
                                    "\"output_truncated\":false}");
}

static void only_the_tail_of_the_output_is_kept_and_is_text(void **state)
{
    struct fixture *f = *state;
    start_builtin(f, 1, 4);
    struct outcome *o = outcome_of_script(
        f, 1,
        "i=0; while [ $i -lt 4000 ]; do printf 'x\\303\\244\\342\\202\\254'; i=$((i+1)); done", "");
    assert_non_null(strstr(o->details, "\"output_truncated\":true"));
    char *output = strstr(o->details, "\"output\":\"") + 10;
    *strstr(output, "\",\"output_truncated") = '\0';
    assert_true(strlen(output) <= 4096 && strlen(output) > 4090);
    assert_null(strstr(output, "\xef\xbf\xbd")); /* cut between characters */
    o = outcome_of_script(f, 2, "printf 'a\\377b'", "");
    assert_non_null(strstr(o->details, "\"output\":\"a\xef\xbf\xbd"
                                       "b\""));
}

static void run_message_is_its_input_byte_for_byte(void **state)
{
    struct fixture *f = *state;
    start_builtin(f, 1, 4);
    give_script(f, 1, "cat > input", ",\"env\":{\"N\":\"\\u00e9\xc3\xa9 1.0e5\"}");
    assert_int_equal(wait_for_outcome(f, 1)->outcome, WORKER_DONE);
    assert_true(file_has(f, "input", "{\"type\":\"run\",\"id\":1,\"fence\":1001,\"job\":\"job\""));
    assert_true(file_has(f, "input", ",\"env\":{\"N\":\"\\u00e9\xc3\xa9 1.0e5\"}},\"trigger\""));
    assert_true(file_has(f, "input", "}\n"));
    struct outcome *o = outcome_of_script(f, 2, "cat", ",\"stdin\":\"given \\u0041\"");
    assert_non_null(strstr(o->details, "\"output\":\"given A\""));
    o = outcome_of_script(f, 3, "cat; echo end", ",\"stdin\":\"\"");
    assert_non_null(strstr(o->details, "\"output\":\"end\\n\""));
}

static void large_input_reaches_who_reads_it_and_harms_not_who_does_not(void **state)
{
    struct fixture *f = *state;
    start_builtin(f, 1, 4);
    size_t size = 900000;
    char *more = mem_alloc(size + 100);
    snprintf(more, 100, ",\"stdin\":\"");
    memset(more + 10, 'y', size);
    memcpy(more + 10 + size, "\"", 2);
    give_script(f, 1, "sleep 0.2; wc -c", more);
    give_script(f, 2, "exec 0<&-; echo deaf", more);
    free(more);
    assert_int_equal(wait_for_outcome(f, 2)->outcome, WORKER_DONE);
    assert_non_null(strstr(wait_for_outcome(f, 1)->details, "\"output\":\"900000\\n\""));
}

static void environment_holds_the_run_and_little_else(void **state)
{
    struct fixture *f = *state;
    setenv("PGPASSWORD", "secret", 1);
    setenv("ROTA_DATABASE_URL", "secret", 1);
    setenv("LC_TIME", "C", 1);
    start_builtin(f, 1, 4);
    struct worker_run run = run_of(5, "exec", NULL);
    char *data = mem_format("{\"command\":[\"env\"],\"env\":{\"MINE\":\"a=b\",\"LC_TIME\":\"X\"}}");
    run.data = slice_of(data);
    run.attempt = 2;
    run.recovering = true;
    workers_run(f->workers, 0, &run);
    struct outcome *o = wait_for_outcome(f, 5);
    static const char *const wanted[] = {
        "ROTA_RUN_ID=5\\n",  "ROTA_FENCE=1005\\n",
        "ROTA_JOB=job\\n",   "ROTA_TRIGGER=trigger\\n",
        "ROTA_ATTEMPT=2\\n", "ROTA_RECOVERING=true\\n",
        "ROTA_NODE=here\\n", "ROTA_SCHEDULED_TIME=2026-11-20T08:35:04.000Z\\n",
        "MINE=a=b\\n",       "ROTA_FIRE_TIME=2026-11-20T08:35:04.123Z\\n",
        "LC_TIME=X\\n",      "PATH=/"};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        if (strstr(o->details, wanted[i]) == NULL)
            fail_msg("%s is not in %s", wanted[i], o->details);
    assert_null(strstr(o->details, "secret"));
    assert_non_null(strstr(o->details, "ROTA_WORKER=")); /* for the guard to know it by */
    assert_null(strstr(o->details, "LC_TIME=C"));
    free(data);
}

static void child_has_three_descriptors_and_no_privileges_to_gain(void **state)
{
    struct fixture *f = *state;
    start_builtin(f, 1, 8);
    give_script(f, 1, "sleep 0.3", ""); /* so that the worker has pipes of another run open */
    struct outcome *o = outcome_of_script(
        f, 2,
        "ls /proc/self/fd | tr '\\n' ' '; grep NoNewPrivs /proc/self/status; ulimit -c; umask",
        ",\"stdin\":\"\"");
    /* 3 is ls looking at the folder */
    assert_non_null(strstr(o->details, "\"output\":\"0 1 2 3 NoNewPrivs:\\t1\\n0\\n0022\\n\""));
    o = outcome_of_script(f, 3, "kill -PIPE $$; echo not reached", "");
    assert_string_equal(o->exception, "signal SIGPIPE"); /* the worker's own signals are not its */
}

static void bad_data_is_refused_by_name(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *data, *because;
    } cases[] = {
        {"{}", "\"command\" is missing"},
        {"[]", "must be an object, not an array"},
        {"{\"command\":\"ls\"}", "\"command\" must be an array of strings"},
        {"{\"command\":[]}", "\"command\" must be an array of strings"},
        {"{\"command\":[\"ls\",1]}", "command[1] must be a string"},
        {"{\"command\":[\"\"]}", "command[0] is empty"},
        {"{\"comand\":[\"ls\"]}", "\"command\" is missing; did you mean it by \"comand\"?"},
        {"{\"command\":[\"ls\"],\"env\":[]}", "\"env\" must be an object"},
        {"{\"command\":[\"ls\"],\"env\":{\"A\":1}}", "the value of A must be a string"},
        {"{\"command\":[\"ls\"],\"env\":{\"A B\":\"\"}}", "\"A B\" is no name of a variable"},
        {"{\"command\":[\"ls\"],\"env\":{\"ROTA_RUN_ID\":\"1\"}}", "is not to be set"},
        {"{\"command\":[\"ls\"],\"env\":{\"LD_PRELOAD\":\"x\"}}", "is not to be set"},
        {"{\"command\":[\"ls\"],\"cwd\":1}", "\"cwd\" must be a string"},
        {"{\"command\":[\"ls\"],\"stdin\":{}}", "\"stdin\" must be a string"},
        {"{\"command\":[\"ls\"],\"cwd\":\"/no/such\"}", "cwd: cannot change to /no/such: No such"},
    };
    const size_t count = sizeof cases / sizeof *cases;
    start_builtin(f, 1, 20);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(give(f, (int64_t)i, "exec", cases[i].data), 0);
    for (size_t i = 0; i < count; i++) {
        struct outcome *o = wait_for_outcome(f, (int64_t)i);
        assert_int_equal(o->outcome, WORKER_FAIL);
        assert_false(o->retry);
        if (strstr(o->message, cases[i].because) == NULL)
            fail_msg("%s: %s", cases[i].data, o->message);
    }
}

static void program_that_is_not_there_may_be_tried_again(void **state)
{
    struct fixture *f = *state;
    start_builtin(f, 1, 4);
    give(f, 1, "exec", "{\"command\":[\"no-such-program\"]}");
    give(f, 2, "exec", "{\"command\":[\"/no/such\"]}");
    give(f, 3, "exec", "{\"command\":[\"/etc/passwd\"]}");
    assert_non_null(strstr(wait_for_outcome(f, 1)->message, "there is no program no-such-program"));
    assert_true(outcome_of_run(f, 1)->retry);
    assert_non_null(strstr(wait_for_outcome(f, 2)->message, "cannot execute /no/such: No such"));
    assert_non_null(strstr(wait_for_outcome(f, 3)->message, "Permission denied"));
}

static void programs_that_are_not_allowed_are_refused(void **state)
{
    struct fixture *f = *state;
    static const char *const allowed[] = {"/usr/bin/en*", "/opt/jobs/**", NULL};
    f->config.exec_allow = allowed;
    start_builtin(f, 1, 8);
    give(f, 1, "exec", "{\"command\":[\"env\"]}");
    give(f, 2, "exec", "{\"command\":[\"/bin/sh\",\"-c\",\"true\"]}");
    give(f, 3, "exec", "{\"command\":[\"/opt/jobs/../../bin/sh\"]}");
    assert_int_equal(wait_for_outcome(f, 1)->outcome, WORKER_DONE);
    assert_non_null(strstr(wait_for_outcome(f, 2)->message,
                           "/bin/sh may not be executed on this node, as no pattern of the setting "
                           "exec_allow matches it (/usr/bin/en*, /opt/jobs/**)"));
    assert_false(outcome_of_run(f, 2)->retry);
    assert_non_null(strstr(wait_for_outcome(f, 3)->message, "/bin/sh may not be executed"));
}

static void nothing_is_allowed_by_an_empty_list(void **state)
{
    struct fixture *f = *state;
    static const char *const none[] = {NULL};
    f->config.exec_allow = none;
    start_builtin(f, 1, 1);
    give(f, 1, "exec", "{\"command\":[\"/bin/true\"]}");
    assert_non_null(strstr(wait_for_outcome(f, 1)->message, "the setting exec_allow is empty"));
}

static void patterns_match_whole_paths(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *path;
        bool allowed;
    } cases[] = {
        {"*", "/any/where", true},          {"/opt/*", "/opt/a", true},
        {"/opt/*", "/opt/a/b", false},      {"/opt/**", "/opt/a/b", true},
        {"/opt/**", "/opt", false},         {"/opt/**", "/optimal/a", false},
        {"/opt/job?", "/opt/job1", true},   {"/opt/[ab]", "/opt/c", false},
        {"opt/a", "/opt/a", false},         {"/**", "/opt/a", true},
        {"/usr/bin/dash", "/bin/sh", true}, /* what it is without symbolic links */
        {"/opt/a", "/opt/a/../b", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const patterns[] = {cases[i].pattern, NULL};
        if (exec_allowed(cases[i].path, patterns) != cases[i].allowed)
            fail_msg("%s, %s", cases[i].pattern, cases[i].path);
    }
}

static void paths_are_made_plain(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"/a/b", "/a/b"},  {"//a///b/", "/a/b"}, {"/a/./b/.", "/a/b"},
        {"/a/../b", "/b"}, {"/../../a", "/a"},   {"/", "/"},
        {"/a/..", "/"},    {"/a/...", "/a/..."}, {"/a/b/../../c", "/c"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *path = exec_normal_path(cases[i][0]);
        assert_string_equal(path, cases[i][1]);
        free(path);
    }
}

/* Processes that would outlive their run: in the group, in a session of their own, orphaned. */
#define LEAVES_BEHIND                                                                              \
    "sleep 600 & echo $! > kept;"                                                                  \
    "setsid sleep 600 & echo $! > escaped;"                                                        \
    "setsid sh -c 'echo $$ > orphan; exec >/dev/null 2>&1; sleep 601' & "                          \
    "while ! [ -s orphan ]; do sleep 0.01; done;"

static void assert_nothing_left(struct fixture *f)
{
    assert_true(file_number(f, "kept") > 0 && is_gone(file_number(f, "kept")));
    assert_true(file_number(f, "escaped") > 0 && is_gone(file_number(f, "escaped")));
    assert_true(file_number(f, "orphan") > 0 && is_gone(file_number(f, "orphan")));
}

static void run_leaves_no_process_behind(void **state)
{
    struct fixture *f = *state;
    start_builtin(f, 1, 4);
    struct outcome *o = outcome_of_script(f, 1, LEAVES_BEHIND "echo end", "");
    assert_int_equal(o->outcome, WORKER_DONE);
    assert_non_null(strstr(o->details, "\"output\":\"end\\n\""));
    assert_true(o->duration_us < 5 * US_PER_SECOND); /* it did not wait for those */
    assert_nothing_left(f);
}

static void run_over_its_time_is_killed_with_all_it_started(void **state)
{
    struct fixture *f = *state;
    f->config.kill_grace_us = US_PER_SECOND;
    start_builtin(f, 1, 4);
    give_script(
        f, 7, "setsid sleep 603 & echo $! > neighbour; while [ -e neighbour ]; do sleep 0.02; done",
        "");
    WAIT(f, file_number(f, "neighbour") > 0);
    struct buffer data = {0};
    static const char script[] = LEAVES_BEHIND "trap '' TERM; while :; do sleep 600; done";
    buffer_string(&data, "{\"command\":[\"/bin/sh\",\"-c\",");
    buffer_json(&data, script, strlen(script));
    buffer_format(&data, "],\"cwd\":\"%s\"}", f->folder);
    struct worker_run run = run_of(1, "exec", buffer_text(&data));
    run.timeout_us = 300 * US_PER_MS;
    assert_int_equal(workers_run(f->workers, 0, &run), 0);
    struct outcome *o = wait_for_outcome(f, 1);
    assert_int_equal(o->outcome, WORKER_TIMEOUT);
    assert_string_equal(o->exception, "cancelled");
    assert_string_equal(o->message, "its time is over");
    assert_non_null(strstr(o->details, "\"signal\":\"SIGKILL\""));
    assert_nothing_left(f);
    assert_int_equal(workers_counts(f->workers)->starts,
                     1); /* the worker and its neighbours live */
    assert_null(outcome_of_run(f, 7));
    assert_false(is_gone(file_number(f, "neighbour")));
    char *path = path_in(f, "neighbour");
    unlink(path);
    free(path);
    assert_int_equal(wait_for_outcome(f, 7)->outcome, WORKER_DONE);
    buffer_free(&data);
}

static void cancelled_program_may_clean_up(void **state)
{
    struct fixture *f = *state;
    f->config.kill_grace_us = 5 * US_PER_SECOND;
    start_builtin(f, 1, 4);
    give_script(f, 1,
                "trap 'echo cleaned; exit 0' TERM; echo on > begun; while :; do sleep 0.01; done",
                "");
    WAIT(f, file_has(f, "begun", "on"));
    assert_true(workers_cancel(f->workers, 1, 1001, "not needed"));
    struct outcome *o = wait_for_outcome(f, 1);
    assert_int_equal(o->outcome, WORKER_CANCELLED);
    assert_string_equal(o->message, "not needed");
    if (strstr(o->details, "\"exit_code\":0,") == NULL || strstr(o->details, "cleaned\\n") == NULL)
        fail_msg("%s", o->details);
    assert_true(o->duration_us < 4 * US_PER_SECOND);
}

static void death_of_the_worker_takes_its_programs_along(void **state)
{
    struct fixture *f = *state;
    start_builtin(f, 1, 4);
    give_script(f, 1, "echo $PPID > worker;" LEAVES_BEHIND "sleep 600", "");
    WAIT(f, file_number(f, "orphan") > 0);
    kill(file_number(f, "worker"), SIGKILL);
    assert_int_equal(wait_for_outcome(f, 1)->outcome, WORKER_CRASHED);
    assert_true(outcome_of_run(f, 1)->alone);
    assert_nothing_left(f); /* before the run can be started elsewhere */
}

static void many_programs_run_at_once(void **state)
{
    struct fixture *f = *state;
    const int64_t count = 400;
    start_builtin(f, 1, 16);
    int64_t given = 0, begin_us = clock_monotonic_us();
    while ((int64_t)f->outcome_count < count) {
        while (given < count && give(f, given, "exec", "{\"command\":[\"/bin/true\"]}") == 0)
            given++;
        assert_true(clock_monotonic_us() - begin_us < 3 * WAIT_US);
        turn(f);
    }
    for (int64_t i = 0; i < count; i++)
        assert_int_equal(f->outcomes[i].outcome, WORKER_DONE);
    print_message("# %lld programs a second\n",
                  (long long)(count * US_PER_SECOND / (clock_monotonic_us() - begin_us)));
}

static void idle_worker_is_small(void **state)
{
    struct fixture *f = *state;
    start_builtin(f, 1, 4);
    struct outcome *o = outcome_of_script(f, 1, "echo $PPID > worker", "");
    assert_int_equal(o->outcome, WORKER_DONE);
    long kib = private_kib(file_number(f, "worker"));
    print_message("# private memory of an idle built-in worker: %ld KiB\n", kib);
#ifndef SANITIZED
    if (getenv("UNDER_VALGRIND") == NULL)
        assert_in_range(kib, 1, 4096);
#endif
}

int main(int argc, char **argv)
{
    other_main(argc, argv);
    const struct CMUnitTest tests[] = {
        TEST(program_that_succeeds_is_done_with_its_output),
        TEST(program_that_fails_says_how),
        TEST(only_the_tail_of_the_output_is_kept_and_is_text),
        TEST(run_message_is_its_input_byte_for_byte),
        TEST(large_input_reaches_who_reads_it_and_harms_not_who_does_not),
        TEST(environment_holds_the_run_and_little_else),
        TEST(child_has_three_descriptors_and_no_privileges_to_gain),
        TEST(bad_data_is_refused_by_name),
        TEST(program_that_is_not_there_may_be_tried_again),
        TEST(programs_that_are_not_allowed_are_refused),
        TEST(nothing_is_allowed_by_an_empty_list),
        cmocka_unit_test(patterns_match_whole_paths),
        cmocka_unit_test(paths_are_made_plain),
        TEST(run_leaves_no_process_behind),
        TEST(run_over_its_time_is_killed_with_all_it_started),
        TEST(cancelled_program_may_clean_up),
        TEST(death_of_the_worker_takes_its_programs_along),
        TEST(many_programs_run_at_once),
        TEST(idle_worker_is_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
