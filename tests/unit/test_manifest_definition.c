/*
 * The canonical form of definitions: what makes a difference and what does not, the form itself,
 * and which keys differ.
 */
#include "base/memory.h"
#include "coord/manifest_definition.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#define JOB(text)     "{\"jobs\":[{\"name\":\"j\",\"handler\":\"noop\"" text "}]}"
#define DURABLE(text) JOB(",\"durable\":true" text)
#define TRIGGER(text) JOB(",\"triggers\":[{\"name\":\"t\"" text "}]")
#define EVERY(text)   TRIGGER(",\"every\":\"5m\"" text)
#define CRON(text)    TRIGGER(",\"cron\":\"0 0 2 * * ?\"" text)

static char *definitions(const char *text)
{
    struct manifest_set *set = manifest_set_new();
    manifest_add(set, "m", mem_string(text), strlen(text));
    if (manifest_check(set) != 0)
        fail_msg("%s", set->problems.lines[0]);
    const struct manifest_job *job = &set->manifests[0]->jobs[0];
    struct buffer out = {0};
    buffer_string(&out, job->definition);
    for (size_t i = 0; i < job->trigger_count; i++)
        buffer_format(&out, " %s", job->triggers[i].definition);
    manifest_set_free(set);
    buffer_text(&out);
    return out.data;
}

static const struct {
    const char *a, *b;
    bool same;
} pairs[] = {
    {DURABLE(",\"priority\":6"), DURABLE(" , \n \"priority\" : 6 "), true},
    {DURABLE(",\"priority\":6,\"timeout\":\"90s\""),
     DURABLE(",\"timeout\":\"1m30s\",\"priority\":6"), true},
    {DURABLE(""), DURABLE(",\"priority\":5,\"max_crashes\":3,\"persist_data\":false,\"data\":{ }"),
     true},
    {DURABLE(""), DURABLE(",\"retry\":{\"max_attempts\":1,\"backoff\":\"fixed\",\"jitter\":0}"),
     true},
    {DURABLE(",\"retry\":\"immediate\""),
     DURABLE(",\"retry\":{\"max_attempts\":5,\"backoff\":\"immediate\",\"initial\":\"5s\"}"), true},
    {DURABLE(",\"retry\":{\"max_attempts\":3}"),
     DURABLE(",\"retry\":{\"jitter\":0.20,\"max\":\"60m\",\"initial\":\"1000ms\","
             "\"backoff\":\"exponential\",\"max_attempts\":3}"),
     true},
    {DURABLE(""), DURABLE(",\"description\":\"\""), true},
    {DURABLE(""), DURABLE(",\"requests_recovery\":false"), false},
    {DURABLE(""), DURABLE(",\"description\":\"x\""), false},
    {DURABLE(",\"data\":{\"a\":1}"), DURABLE(",\"data\":{\"a\": 1}"), false},
    {EVERY(""),
     EVERY(",\"timezone\":\"UTC\",\"misfire\":\"fire_once\",\"misfire_limit\":100,"
           "\"misfire_tolerance\":\"5s\",\"data\":{}"),
     true},
    {EVERY(",\"start_at\":\"2030-01-01T00:00:00Z\""),
     EVERY(",\"start_at\":\"2030-01-01T02:00:00.000+02:00\""), true},
    {TRIGGER(",\"every\":\"5m\""), TRIGGER(",\"every\":\"PT300S\""), true},
    {TRIGGER(",\"every\":\"5m\""), TRIGGER(",\"every\":\"6m\""), false},
    {EVERY(""), EVERY(",\"repeat\":0"), false},
    {DURABLE(""), DURABLE(",\"disallow_concurrent\":false,\"on_exhausted\":\"fail\""), true},
    {DURABLE(",\"disallow_concurrent\":true"), DURABLE(",\"concurrency\":{\"limit\":1}"), true},
    {DURABLE(",\"disallow_concurrent\":true"),
     DURABLE(",\"concurrency\":{\"limit\":1,\"key\":\"/a\"}"), false},
    {DURABLE(",\"concurrency\":{\"key\":\"/a\",\"limit\":2}"),
     DURABLE(",\"concurrency\":{\"limit\":2,\"key\":\"\\u002fa\"}"), true},
    {DURABLE(",\"rate\":{\"limit\":5,\"per\":\"60s\"}"),
     DURABLE(",\"rate\":{\"burst\":5,\"per\":\"1m\",\"limit\":5}"), true},
    {DURABLE(",\"rate\":{\"limit\":5,\"per\":\"60s\"}"),
     DURABLE(",\"rate\":{\"burst\":1,\"per\":\"1m\",\"limit\":5}"), false},
    {DURABLE(",\"rate\":{\"limit\":5,\"per\":\"60s\"}"),
     DURABLE(",\"rate\":{\"key\":\"/a\",\"per\":\"1m\",\"limit\":5}"), false},
    {DURABLE(",\"unique\":{\"key\":\"/a\",\"for\":\"60s\"}"),
     DURABLE(",\"unique\":{\"for\":\"1m\",\"key\":\"\\u002fa\"}"), true},
    {DURABLE(",\"unique\":{\"key\":\"\"}"), DURABLE(""), false},
    {DURABLE(",\"unique\":{\"key\":\"\"}"),
     DURABLE(",\"unique\":{\"key\":\"\",\"until\":\"finished\"}"), false},
    {DURABLE(""), DURABLE(",\"max_pending\":9"), false},
    {DURABLE(""), DURABLE(",\"expires_in\":\"9s\""), false},
    {DURABLE(""), DURABLE(",\"on_failure\":\"x\""), false},
    {DURABLE(""), DURABLE(",\"persist_data\":true"), false},
    {DURABLE(""), DURABLE(",\"on_exhausted\":\"error\""), false},
    {TRIGGER(",\"calendar_interval\":\"1 month\""),
     TRIGGER(",\"calendar_interval\":\"1  Months\",\"dst\":{\"gap\":\"after\"}"), true},
    {TRIGGER(",\"calendar_interval\":\"3 months\""),
     TRIGGER(",\"calendar_interval\":\"1 quarter\""), false},
    {TRIGGER(",\"daily\":{\"every\":\"15m\"}"),
     TRIGGER(",\"daily\":{\"to\":\"24:00\",\"from\":\"00:00:00\",\"every\":\"PT900S\",\"days\":["
             "\"SUN\","
             "\"MON\",\"TUE\",\"WED\",\"THU\",\"FRI\",\"SAT\"]},\"dst\":{\"gap\":\"skip\"}"),
     true},
    {TRIGGER(",\"daily\":{\"every\":\"15m\",\"days\":[\"FRI\",\"MON\"]}"),
     TRIGGER(",\"daily\":{\"every\":\"15m\",\"days\":[\"Monday\",\"mon\",\"fri\"]}"), true},
    {TRIGGER(",\"daily\":{\"every\":\"24h\"}"),
     TRIGGER(",\"daily\":{\"every\":\"24h\"},\"dst\":{\"gap\":\"skip\"}"), false},
    {EVERY(""), EVERY(",\"calendar\":\"c\""), false},
    {CRON(""), CRON(",\"dst\":{\"gap\":\"after\",\"overlap\":\"first\"}"), true},
    {CRON(""), CRON(",\"dst\":{\"gap\":\"skip\"}"), false},
    {TRIGGER(",\"cron\":\"0 0 * * * ?\""),
     TRIGGER(",\"cron\":\"0 0 * * * ?\",\"dst\":{\"gap\":\"skip\",\"overlap\":\"both\"}"), true},
    {TRIGGER(",\"cron\":\"0 0 * * * ?\""),
     TRIGGER(",\"cron\":\"0 0 * * * ?\",\"dst\":{\"gap\":\"after\"}"), false},
};

static void only_meaning_makes_a_difference(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        char *a = definitions(pairs[i].a), *b = definitions(pairs[i].b);
        if ((strcmp(a, b) == 0) != pairs[i].same)
            fail_msg("%s\n%s\n  give %s\n  and  %s", pairs[i].a, pairs[i].b, a, b);
        free(a);
        free(b);
    }
}

/* Stored in databases: a change here makes every job of every user count as changed once. */
static void the_canonical_form_does_not_change(void **state)
{
    (void)state;
    char *text = definitions(JOB(
        ",\"description\":\"d\",\"data\":{\"a\": 1},\"requests_recovery\":true,\"durable\":true,"
        "\"priority\":6,\"timeout\":\"90s\",\"max_crashes\":2,\"retry\":{\"max_attempts\":3,"
        "\"initial\":\"2s\",\"max\":\"1m\",\"jitter\":0.1},\"triggers\":[{\"name\":\"t\","
        "\"cron\":\"0 0 2 * * ?\",\"timezone\":\"Europe/Berlin\",\"priority\":7,"
        "\"start_at\":\"2030-01-01T00:00:00Z\",\"end_at\":\"2031-01-01T00:00:00Z\","
        "\"dst\":{\"gap\":\"skip\",\"overlap\":\"both\"},\"misfire\":\"fire_all\","
        "\"misfire_limit\":5,\"misfire_threshold\":\"1m\",\"misfire_tolerance\":\"1s\","
        "\"data\":{\"b\":2},\"description\":\"e\"},"
        "{\"name\":\"u\",\"every\":\"90s\",\"repeat\":3},"
        "{\"name\":\"v\",\"at\":\"2030-01-01T00:00:00Z\"},"
        "{\"name\":\"w\",\"calendar_interval\":\"2 weeks\",\"repeat\":5,\"calendar\":\"c\"},"
        "{\"name\":\"x\",\"daily\":{\"days\":[\"SUN\",\"SAT\",\"MON\"],\"every\":\"15m\","
        "\"from\":\"08:00:30\",\"to\":\"18:00:00\"}}],"
        "\"concurrency\":{\"limit\":3,\"key\":\"/a~1b\"},\"persist_data\":true,"
        "\"on_exhausted\":\"error\""));
    assert_string_equal(
        text, "{\"description\":\"d\",\"handler\":\"noop\",\"data\":{\"a\": "
              "1},\"requests_recovery\":true,"
              "\"durable\":true,\"priority\":6,\"timeout\":\"1m30s\",\"retry\":{\"max_attempts\":3,"
              "\"initial\":\"2s\",\"max\":\"1m\",\"jitter\":0.1},\"max_crashes\":2,"
              "\"concurrency\":{\"limit\":3,\"key\":\"/a~1b\"},\"persist_data\":true,"
              "\"on_exhausted\":\"error\"} "
              "{\"job\":\"j\",\"description\":\"e\",\"cron\":\"0 0 2 * * "
              "?\",\"timezone\":\"Europe/Berlin\","
              "\"start_at\":\"2030-01-01T00:00:00.000Z\",\"end_at\":\"2031-01-01T00:00:00.000Z\","
              "\"dst\":{\"gap\":\"skip\",\"overlap\":\"both\"},\"priority\":7,\"data\":{\"b\":2},"
              "\"misfire\":\"fire_all\",\"misfire_threshold\":\"1m\",\"misfire_limit\":5,"
              "\"misfire_tolerance\":\"1s\"} "
              "{\"job\":\"j\",\"every\":\"1m30s\",\"repeat\":3} "
              "{\"job\":\"j\",\"at\":\"2030-01-01T00:00:00.000Z\"} "
              "{\"job\":\"j\",\"calendar_interval\":\"2 weeks\",\"repeat\":5,\"calendar\":\"c\"} "
              "{\"job\":\"j\",\"daily\":{\"from\":\"08:00:30\",\"to\":\"18:00\",\"every\":\"15m\","
              "\"days\":[\"MON\",\"SAT\",\"SUN\"]}}");
    free(text);
}

static void the_canonical_form_of_a_queue_does_not_change(void **state)
{
    (void)state;
    char *text = definitions(
        DURABLE(",\"unique\":{\"on_conflict\":\"keep_time\",\"for\":\"90s\",\"until\":\"started\","
                "\"key\":\"\"},\"rate\":{\"key\":\"/a\",\"burst\":2,\"per\":\"1m\",\"limit\":100},"
                "\"on_failure\":\"k\",\"expires_in\":\"1h\",\"max_pending\":9"));
    assert_string_equal(text, "{\"handler\":\"noop\",\"durable\":true,\"max_pending\":9,"
                              "\"expires_in\":\"1h\",\"on_failure\":\"k\",\"rate\":{\"limit\":100,"
                              "\"per\":\"1m\",\"burst\":2,\"key\":\"/a\"},\"unique\":{\"key\":\"\","
                              "\"until\":\"started\",\"for\":\"1m30s\","
                              "\"on_conflict\":\"keep_time\"}}");
    free(text);
    text = definitions(DURABLE(",\"rate\":{\"burst\":3,\"per\":\"1s\",\"limit\":3}"));
    assert_string_equal(text, "{\"handler\":\"noop\",\"durable\":true,"
                              "\"rate\":{\"limit\":3,\"per\":\"1s\"}}");
    free(text);
}

static void differences_name_the_keys(void **state)
{
    (void)state;
    static const char *const schedule[] = {"cron", "every", NULL};
    static const char *const route[] = {"handler", "priority", NULL};
    struct manifest_differences differences;
    manifest_compare(&differences, "{\"job\":\"j\",\"cron\":\"a\",\"priority\":6}",
                     "{\"job\":\"j\",\"cron\":\"b\",\"data\":{\"x\":[1]}}");
    assert_int_equal(differences.count, 3);
    assert_string_equal(differences.items[0].key, "cron");
    assert_string_equal(differences.items[0].before, "\"a\"");
    assert_string_equal(differences.items[0].after, "\"b\"");
    assert_string_equal(differences.items[1].key, "data");
    assert_null(differences.items[1].before);
    assert_string_equal(differences.items[1].after, "{\"x\":[1]}");
    assert_string_equal(differences.items[2].key, "priority");
    assert_null(differences.items[2].after);
    assert_true(manifest_differs(&differences, schedule));
    assert_true(manifest_differs(&differences, route));
    manifest_differences_free(&differences);
    manifest_compare(&differences, "not of ours", "{\"job\":\"j\"}");
    assert_int_equal(differences.count, 1);
    assert_false(manifest_differs(&differences, schedule));
    manifest_differences_free(&differences);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_meaning_makes_a_difference),
        cmocka_unit_test(the_canonical_form_does_not_change),
        cmocka_unit_test(the_canonical_form_of_a_queue_does_not_change),
        cmocka_unit_test(differences_name_the_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
