/* What manifests say of queues: rates, unique runs, bounds, and every refusal with its place. */
#include "base/memory.h"
#include "coord/manifest_queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#define DURABLE(text)                                                                              \
    "{\"jobs\":[\n{\"name\":\"j\",\"handler\":\"noop\",\"durable\":true" text "}\n]}"

static struct manifest_set *read_text(const char *text)
{
    struct manifest_set *set = manifest_set_new();
    manifest_add(set, "m", mem_string(text), strlen(text));
    manifest_check(set);
    return set;
}

static const struct {
    const char *text;
    const char *problem; /* the first */
} refusals[] = {
    {DURABLE(",\"rate\":7"), "m:2:52: job \"j\", rate must be an object, not a number"},
    {DURABLE(",\"rate\":{\"per\":\"1m\"}"),
     "m:2:52: job \"j\", rate has no \"limit\"; add the number of runs that may start in that "
     "time, for example \"limit\": 100"},
    {DURABLE(",\"rate\":{\"limit\":1}"),
     "m:2:52: job \"j\", rate has no \"per\"; add the time, for example \"per\": \"1m\""},
    {DURABLE(",\"rate\":{\"limit\":0,\"per\":\"1m\"}"),
     "m:2:61: job \"j\", rate: \"limit\" must be a whole number from 1 to 1000000, not 0"},
    {DURABLE(",\"rate\":{\"limit\":1,\"per\":\"0s\"}"),
     "m:2:69: job \"j\", rate: \"per\" must be a duration from 1ms to 366d such as "},
    {DURABLE(",\"rate\":{\"limit\":1,\"per\":\"1s\",\"burst\":0}"),
     "m:2:82: job \"j\", rate: \"burst\" must be a whole number from 1 to 1000000, not 0"},
    {DURABLE(",\"rate\":{\"limit\":1,\"per\":\"1s\",\"key\":\"\"}"),
     "m:2:80: job \"j\", rate: \"key\" must be a JSON pointer "},
    {DURABLE(",\"rate\":{\"limit\":1,\"par\":\"1s\"}"),
     "m:2:63: job \"j\", rate: unknown key \"par\"; did you mean \"per\"?"},
    {DURABLE(",\"unique\":{}"), "m:2:54: job \"j\", unique says nothing; add what makes a run "
                                "unique, for example \"key\": \"/customer\", or \"key\": \"\" "
                                "for the whole data"},
    {DURABLE(",\"unique\":true"), "m:2:54: job \"j\", unique must be an object, not a boolean"},
    {DURABLE(",\"unique\":{\"key\":\"customer\"}"),
     "m:2:61: job \"j\", unique: \"key\" must be a JSON pointer "},
    {DURABLE(",\"unique\":{\"until\":\"over\"}"), "m:2:63: job \"j\", unique: \"until\" must be "
                                                  "\"started\" or \"finished\", not \"over\""},
    {DURABLE(",\"unique\":{\"on_conflict\":\"replac\"}"),
     "m:2:69: job \"j\", unique: \"on_conflict\" must be \"reject\", \"existing\", \"replace\" "
     "or \"keep_time\" (did you mean \"replace\"?), not \"replac\""},
    {DURABLE(",\"unique\":{\"for\":5}"), "m:2:61: job \"j\", unique: \"for\" must be a duration "},
    {DURABLE(",\"on_failure\":\"\""), "m:2:58: job \"j\": \"on_failure\" must be a string of 1 to "
                                      "254 characters without control characters, not \"\""},
    {DURABLE(",\"max_pending\":0"),
     "m:2:59: job \"j\": \"max_pending\" must be a whole number from 1 to 1000000, not 0"},
    {DURABLE(",\"expires_in\":\"0s\""),
     "m:2:58: job \"j\": \"expires_in\" must be a duration from 1ms to 36500d such as "},
};

static void every_refusal_tells_place_and_remedy(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        struct manifest_set *set = read_text(refusals[i].text);
        const char *problem = set->problems.count > 0 ? set->problems.lines[0] : "accepted";
        if (strncmp(problem, refusals[i].problem, strlen(refusals[i].problem)) != 0)
            fail_msg("%s\n  gives %s\n  not   %s", refusals[i].text, problem, refusals[i].problem);
        manifest_set_free(set);
    }
}

static void what_is_not_said_is_no_bound(void **state)
{
    (void)state;
    struct manifest_set *set = read_text(DURABLE(""));
    assert_int_equal(set->problems.count, 0);
    const struct manifest_job *job = &set->manifests[0]->jobs[0];
    assert_true(job->max_pending == MANIFEST_UNSET && job->expires_in_ms == MANIFEST_UNSET);
    assert_true(job->rate_limit == MANIFEST_UNSET && job->rate_per_ms == MANIFEST_UNSET);
    assert_true(job->rate_burst == MANIFEST_UNSET && job->unique_until == MANIFEST_UNSET);
    assert_true(job->unique_for_ms == MANIFEST_UNSET && job->unique_conflict == MANIFEST_UNSET);
    assert_null(job->on_failure);
    assert_null(job->rate_key);
    assert_null(job->unique_key);
    manifest_set_free(set);
}

static void every_key_is_read(void **state)
{
    (void)state;
    struct manifest_set *set =
        read_text(DURABLE(",\"max_pending\":9,\"expires_in\":\"1500ms\",\"on_failure\":\"k\","
                          "\"rate\":{\"limit\":100,\"per\":\"1m\",\"key\":\"/a/~0b\"},"
                          "\"unique\":{\"key\":\"\",\"until\":\"finished\",\"for\":\"2s\","
                          "\"on_conflict\":\"keep_time\"}"));
    assert_int_equal(set->problems.count, 0);
    const struct manifest_job *job = &set->manifests[0]->jobs[0];
    assert_int_equal(job->max_pending, 9);
    assert_int_equal(job->expires_in_ms, 1500);
    assert_string_equal(job->on_failure, "k");
    assert_int_equal(job->rate_limit, 100);
    assert_int_equal(job->rate_burst, 100);
    assert_int_equal(job->rate_per_ms, 60000);
    assert_string_equal(job->rate_key, "/a/~0b");
    assert_string_equal(job->unique_key, "");
    assert_string_equal(manifest_untils[job->unique_until], "finished");
    assert_int_equal(job->unique_for_ms, 2000);
    assert_string_equal(manifest_conflicts[job->unique_conflict], "keep_time");
    manifest_set_free(set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_refusal_tells_place_and_remedy),
        cmocka_unit_test(what_is_not_said_is_no_bound),
        cmocka_unit_test(every_key_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
