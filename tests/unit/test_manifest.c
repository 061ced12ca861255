/*
 * Manifests: every refusal with its place and text, what is read, what counts as the same
 * definition, and limits. No database.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "coord/manifest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct manifest_set *read_text(const char *text)
{
    struct manifest_set *set = manifest_set_new();
    manifest_add(set, "m", mem_string(text), strlen(text));
    manifest_check(set);
    return set;
}

static struct manifest_set *read_good(const char *text)
{
    struct manifest_set *set = read_text(text);
    if (set->problems.count > 0)
        fail_msg("%s", set->problems.lines[0]);
    return set;
}

/* --- refusals -------------------------------------------------------------------------------- */

#define JOBS(text)    "{\"jobs\":[\n" text "\n]}"
#define JOB(text)     JOBS("{\"name\":\"j\",\"handler\":\"noop\"" text "}")
#define DURABLE(text) JOB(",\"durable\":true" text)
#define TRIGGERS(t)   JOB(",\"triggers\":[\n" t "\n]")
#define TRIGGER(text) TRIGGERS("{\"name\":\"t\"" text "}")
#define EVERY(text)   TRIGGER(",\"every\":\"5m\"" text)
#define CRON(text)    TRIGGER(",\"cron\":\"0 0 2 * * ?\"" text)
#define DAILY(text)   TRIGGER(",\"daily\":{" text "}")

struct refusal {
    const char *text;
    const char *problem; /* the first */
};

#define NO_SCHEDULE                                                                                \
    "job \"j\", trigger \"t\" has no schedule; give one of \"cron\", \"every\", "                  \
    "\"calendar_interval\", \"daily\", \"at\""
#define LATER(what, key) what ": \"" key "\" is not supported by this version yet; leave it out"

static const struct refusal shape_refusals[] = {
    {"", "m:1:1: the text ends where a JSON value is expected"},
    {"{\"jobs\":[}", "m:1:10: a JSON value is expected here"},
    {"{\n \"jobs\":[],\n \"jobs\":[]}", "m:3:2: this key stands twice in the object"},
    {"{\"jobs\":[]} x", "m:1:13: nothing may follow the JSON value"},
    {"[]", "m:1:1: a manifest must be an object, not an array"},
    {"{}", "m:1:1: manifest has no \"jobs\"; add an array; [] declares none"},
    {"{\"jobs\":{}}", "m:1:9: manifest: \"jobs\" must be an array of objects, not an object"},
    {"{\"jobs\":[],\n \"source\":5}", "m:2:11: manifest: \"source\" must be a string of 1 to 254 "
                                      "characters without control characters, not 5"},
    {"{\"jobs\":[],\"source\":\"\"}", "m:1:21: manifest: \"source\" must be a string of 1 to 254 "
                                      "characters without control characters, not \"\""},
    {"{\"jobs\":[],\"sources\":\"x\"}",
     "m:1:12: manifest: unknown key \"sources\"; did you mean \"source\"?"},
    {JOBS("7"), "m:2:1: job 1 must be an object, not a number"},
    {JOBS("{}"), "m:2:1: job 1 has no \"name\"; add one: it is unique in the fleet"},
    {JOBS("{\"name\":\"j\",\"durable\":true}"),
     "m:2:1: job \"j\" has no \"handler\"; add \"exec\", \"noop\" or one of your workers'"},
    {JOB(""), "m:2:1: job \"j\" has neither triggers nor \"durable\": true, so nothing could ever "
              "run it; give it one of them"},
    {JOB(",\"triggers\":[]"),
     "m:2:1: job \"j\" has neither triggers nor \"durable\": true, so nothing could ever run it; "
     "give it one of them"},
    {JOB(",\"triggers\":{}"),
     "m:2:41: job \"j\": \"triggers\" must be an array of objects, not an object"},
    {TRIGGERS("null"), "m:3:1: job \"j\", trigger 1 must be an object, not null"},
    {TRIGGERS("{\"every\":\"5m\"}"),
     "m:3:1: job \"j\", trigger 1 has no \"name\"; add one: it is unique in the fleet"},
};

static const struct refusal job_refusals[] = {
    {DURABLE(",\"prioritty\":1"),
     "m:2:45: job \"j\": unknown key \"prioritty\"; did you mean \"priority\"?"},
    {DURABLE(",\"zzz\":1"),
     "m:2:45: job \"j\": unknown key \"zzz\"; known keys: name, description, handler, data, "
     "requests_recovery, durable, priority, timeout, retry, max_crashes, triggers, "
     "disallow_concurrent, concurrency, persist_data, on_exhausted, rate, unique, on_failure, "
     "max_pending, expires_in"},
    {DURABLE(",\"priority\":0"),
     "m:2:56: job \"j\": \"priority\" must be a whole number from 1 to 100, not 0"},
    {DURABLE(",\"priority\":101"),
     "m:2:56: job \"j\": \"priority\" must be a whole number from 1 to 100, not 101"},
    {DURABLE(",\"priority\":5.5"),
     "m:2:56: job \"j\": \"priority\" must be a whole number from 1 to 100, not 5.5"},
    {DURABLE(",\"priority\":\"5\""),
     "m:2:56: job \"j\": \"priority\" must be a whole number from 1 to 100, not \"5\""},
    {DURABLE(",\"description\":[]"), "m:2:59: job \"j\": \"description\" must be a string of 0 to "
                                     "10000 characters, not an array"},
    {DURABLE(",\"description\":\"\\u0000\""), "m:2:59: job \"j\": \"description\" must be a string "
                                              "of 0 to 10000 characters, not \"\\u0000\""},
    {JOBS("{\"name\":\"a\\tb\",\"handler\":\"h\",\"durable\":true}"),
     "m:2:9: job \"a\\tb\": \"name\" must be a string of 1 to 254 characters without control "
     "characters, not \"a\\tb\""},
    {JOB(",\"durable\":1"), "m:2:40: job \"j\": \"durable\" must be true or false, not 1"},
    {DURABLE(",\"requests_recovery\":null"),
     "m:2:65: job \"j\": \"requests_recovery\" must be true or false, not null"},
    {DURABLE(",\"data\":[1]"), "m:2:52: job \"j\": \"data\" must be an object, not an array"},
    {DURABLE(",\"data\":\"x\""), "m:2:52: job \"j\": \"data\" must be an object, not \"x\""},
    {DURABLE(",\"timeout\":\"0s\""),
     "m:2:55: job \"j\": \"timeout\" must be a duration from 1ms to 36500d such as \"250ms\", "
     "\"90s\", \"5m\" or \"PT1H\", not \"0s\""},
    {DURABLE(",\"timeout\":600"),
     "m:2:55: job \"j\": \"timeout\" must be a duration from 1ms to 36500d such as \"250ms\", "
     "\"90s\", \"5m\" or \"PT1H\", not 600"},
    {DURABLE(",\"max_crashes\":0"),
     "m:2:59: job \"j\": \"max_crashes\" must be a whole number from 1 to 1000, not 0"},
    {DURABLE(",\"retry\":\"at once\""),
     "m:2:53: job \"j\": \"retry\" must be an object such as {\"max_attempts\": 3} or the word "
     "\"immediate\", not \"at once\""},
    {DURABLE(",\"retry\":{}"),
     "m:2:53: job \"j\", retry has no \"max_attempts\"; without it nothing is tried again; add for "
     "example \"max_attempts\": 3"},
    {DURABLE(",\"retry\":{\"max_attempts\":3,\"backof\":\"fixed\"}"),
     "m:2:71: job \"j\", retry: unknown key \"backof\"; did you mean \"backoff\"?"},
    {DURABLE(",\"retry\":{\"max_attempts\":3,\"backoff\":\"linear\"}"),
     "m:2:81: job \"j\", retry: \"backoff\" must be \"immediate\", \"fixed\" or \"exponential\", "
     "not \"linear\""},
    {DURABLE(",\"retry\":{\"max_attempts\":3,\"backoff\":\"fix\"}"),
     "m:2:81: job \"j\", retry: \"backoff\" must be \"immediate\", \"fixed\" or \"exponential\" "
     "(did you mean \"fixed\"?), not \"fix\""},
    {DURABLE(",\"retry\":{\"max_attempts\":3,\"jitter\":1.5}"),
     "m:2:80: job \"j\", retry: \"jitter\" must be a number from 0 to 1, not 1.5"},
    {DURABLE(",\"retry\":{\"max_attempts\":3,\"initial\":\"2h\",\"max\":\"1h\"}"),
     "m:2:92: job \"j\", retry: \"max\" is shorter than \"initial\"; make it at least as long"},
    {DURABLE(",\"disallow_concurrent\":1"),
     "m:2:67: job \"j\": \"disallow_concurrent\" must be true or false, not 1"},
    {DURABLE(",\"persist_data\":\"yes\""),
     "m:2:60: job \"j\": \"persist_data\" must be true or false, not \"yes\""},
    {DURABLE(",\"on_exhausted\":\"stop\""),
     "m:2:60: job \"j\": \"on_exhausted\" must be \"fail\" or \"error\", not \"stop\""},
    {DURABLE(",\"concurrency\":3"),
     "m:2:59: job \"j\", concurrency must be an object, not a number"},
    {DURABLE(",\"concurrency\":{}"), "m:2:59: job \"j\", concurrency has no \"limit\"; add the "
                                     "number of runs that may run at once, "
                                     "for example \"limit\": 1"},
    {DURABLE(",\"concurrency\":{\"limit\":0}"),
     "m:2:68: job \"j\", concurrency: \"limit\" must be a whole number from 1 to 10000, not 0"},
    {DURABLE(",\"concurrency\":{\"limit\":10001}"),
     "m:2:68: job \"j\", concurrency: \"limit\" must be a whole number from 1 to 10000, not 10001"},
    {DURABLE(",\"concurrency\":{\"limit\":3,\"kee\":\"/a\"}"),
     "m:2:70: job \"j\", concurrency: unknown key \"kee\"; did you mean \"key\"?"},
    {DURABLE(",\"concurrency\":{\"limit\":3,\"key\":\"customer\"}"),
     "m:2:76: job \"j\", concurrency: \"key\" must be a JSON pointer (RFC 6901) into the data such "
     "as "
     "\"/customer\", with ~0 for ~ and ~1 for / in a name, not \"customer\""},
    {DURABLE(",\"concurrency\":{\"limit\":3,\"key\":\"\"}"),
     "m:2:76: job \"j\", concurrency: \"key\" must be a JSON pointer "},
    {DURABLE(",\"concurrency\":{\"limit\":3,\"key\":\"/a~2\"}"),
     "m:2:76: job \"j\", concurrency: \"key\" must be a JSON pointer "},
    {DURABLE(",\"concurrency\":{\"limit\":3,\"key\":\"/a~\"}"),
     "m:2:76: job \"j\", concurrency: \"key\" must be a JSON pointer "},
    {DURABLE(",\"disallow_concurrent\":true,\"concurrency\":{\"limit\":1}"),
     "m:2:86: job \"j\" has both \"disallow_concurrent\" and \"concurrency\"; give one of them: "
     "\"disallow_concurrent\": true is a limit of 1 without a key"},
    {DURABLE(",\"lease\":\"1m\""), "m:2:45: " LATER("job \"j\"", "lease")},
};

static const struct refusal trigger_refusals[] = {
    {TRIGGER(""), "m:3:1: " NO_SCHEDULE},
    {CRON(",\"every\":\"5m\""), "m:3:42: job \"j\", trigger \"t\" has both \"cron\" and \"every\"; "
                                "give one of them, use two triggers for two schedules"},
    {EVERY(",\"calendar\":7"),
     "m:3:37: job \"j\", trigger \"t\": \"calendar\" must be a string of 1 to 254 characters "
     "without control characters, not 7"},
    {EVERY(",\"daily\":{\"every\":\"1h\"}"),
     "m:3:34: job \"j\", trigger \"t\" has both \"every\" and \"daily\"; give one of them, use two "
     "triggers for two schedules"},
    {TRIGGER(",\"calendar_interval\":\"1 moon\""),
     "m:3:33: job \"j\", trigger \"t\": calendar_interval \"1 moon\": expected a number and one of "
     "second, minute, hour, day, week, month, quarter or year, as in \"1 month\""},
    {TRIGGER(",\"calendar_interval\":{\"every\":1}"),
     "m:3:33: job \"j\", trigger \"t\": \"calendar_interval\" must be a string of 1 to 40 "
     "characters "
     "without control characters, not an object"},
    {TRIGGER(",\"calendar_interval\":\"90 minutes\",\"dst\":{\"gap\":\"skip\"}"),
     "m:3:52: job \"j\", trigger \"t\": \"dst\" goes with what follows a clock: "},
    {TRIGGER(",\"daily\":[]"),
     "m:3:21: job \"j\", trigger \"t\", daily must be an object, not an array"},
    {DAILY(""),
     "m:3:21: job \"j\", trigger \"t\", daily has no \"every\"; add the step within the window, "
     "for example \"every\": \"15m\", or \"every\": \"24h\" for once a day"},
    {DAILY("\"every\":\"15m\",\"until\":\"18:00\""),
     "m:3:36: job \"j\", trigger \"t\", daily: unknown key \"until\"; known keys: from, to, every, "
     "days"},
    {DAILY("\"every\":\"500ms\""),
     "m:3:30: job \"j\", trigger \"t\", daily: \"every\" must be a duration from 1s to 1d such as "
     "\"250ms\", \"90s\", \"5m\" or \"PT1H\", not \"500ms\""},
    {DAILY("\"every\":\"1500ms\""), "m:3:21: job \"j\", trigger \"t\": daily: every 1s500ms: "
                                    "expected whole seconds, from 1s to 24h"},
    {DAILY("\"every\":\"1h\",\"from\":\"8\""), "m:3:42: job \"j\", trigger \"t\", daily: \"8\" is "
                                               "no time of day: expected HH:MM or HH:MM:SS, as "
                                               "in 08:00"},
    {DAILY("\"every\":\"1h\",\"to\":\"24:01\""),
     "m:3:40: job \"j\", trigger \"t\", daily: \"24:01\" is no time of day: expected 00:00 to "
     "24:00"},
    {DAILY("\"every\":\"1h\",\"from\":\"18:00\",\"to\":\"08:00\""),
     "m:3:21: job \"j\", trigger \"t\": daily: from \"18:00\" is later than to \"08:00\": a window "
     "lies "
     "within one day; use two triggers, from 18:00 to 24:00 and from 00:00 to 08:00"},
    {DAILY("\"every\":\"1h\",\"days\":[]"),
     "m:3:42: job \"j\", trigger \"t\", daily: \"days\" is empty; name weekdays such as [\"MON\", "
     "\"FRI\"], or leave it out for every day"},
    {DAILY("\"every\":\"1h\",\"days\":\"MON\""),
     "m:3:42: job \"j\", trigger \"t\", daily: \"days\" must be an array of weekdays, not a "
     "string"},
    {DAILY("\"every\":\"1h\",\"days\":[\"MON\",\n\"Mittwoch\"]"),
     "m:4:1: job \"j\", trigger \"t\", daily: \"Mittwoch\" is no weekday: expected SUN, MON, TUE, "
     "WED, "
     "THU, FRI or SAT"},
    {DAILY("\"every\":\"1h\",\"days\":[1]"),
     "m:3:43: job \"j\", trigger \"t\", daily: \"days\" must hold weekdays such as \"MON\", not 1"},
    {EVERY(",\"timezon\":\"UTC\""),
     "m:3:26: job \"j\", trigger \"t\": unknown key \"timezon\"; did you mean \"timezone\"?"},
    {TRIGGER(",\"every\":\"10ms\""),
     "m:3:21: job \"j\", trigger \"t\": \"every\" must be a duration from 100ms to 36500d such as "
     "\"250ms\", \"90s\", \"5m\" or \"PT1H\", not \"10ms\""},
    {TRIGGER(",\"every\":\"P1M\""),
     "m:3:21: job \"j\", trigger \"t\": \"every\" must be a duration from 100ms to 36500d such as "
     "\"250ms\", \"90s\", \"5m\" or \"PT1H\", not \"P1M\""},
    {EVERY(",\"repeat\":-1"), "m:3:35: job \"j\", trigger \"t\": \"repeat\" must be a whole number "
                              "from 0 to 2147483647, not -1"},
    {CRON(",\"repeat\":3"), "m:3:43: job \"j\", trigger \"t\": \"repeat\" goes with \"every\", "
                            "\"calendar_interval\" and \"daily\"; \"end_at\" limits any schedule"},
    {EVERY(",\"dst\":{}"),
     "m:3:32: job \"j\", trigger \"t\": \"dst\" goes with what follows a clock: \"cron\", "
     "\"daily\" and "
     "a \"calendar_interval\" of days or longer; the others count elapsed time, and \"at\" is an "
     "instant"},
    {CRON(",\"dst\":{\"gap\":\"before\"}"),
     "m:3:47: job \"j\", trigger \"t\", dst: \"gap\" must be "
     "\"after\" or \"skip\", not \"before\""},
    {CRON(",\"dst\":{\"overlap\":\"none\"}"), "m:3:51: job \"j\", trigger \"t\", dst: \"overlap\" "
                                              "must be \"first\", \"second\" or \"both\", "
                                              "not \"none\""},
    {CRON(",\"dst\":true"),
     "m:3:40: job \"j\", trigger \"t\", dst must be an object, not a boolean"},
    {CRON(",\"timezone\":\"Europe/Berln\""),
     "m:3:45: job \"j\", trigger \"t\": zone \"Europe/Berln\" is unknown: did you mean "
     "\"Europe/Berlin\"?"},
    {CRON(",\"timezone\":\"../../etc/passwd\""), "m:3:45: job \"j\", trigger \"t\": zone "},
    {TRIGGER(",\"at\":\"2030-01-31T08:00:00\""),
     "m:3:18: job \"j\", trigger \"t\": \"at\" must be an instant with its zone (RFC 3339) such as "
     "\"2030-12-24T18:00:00+01:00\", not \"2030-01-31T08:00:00\""},
    {EVERY(",\"start_at\":\"soon\""),
     "m:3:37: job \"j\", trigger \"t\": \"start_at\" must be an instant with its zone (RFC 3339) "
     "such as \"2030-12-24T18:00:00+01:00\", not \"soon\""},
    {EVERY(",\"start_at\":\"2031-01-01T00:00:00Z\",\"end_at\":\"2030-01-01T00:00:00Z\""),
     "m:3:69: job \"j\", trigger \"t\": \"end_at\" lies before \"start_at\"; it would never fire"},
    {EVERY(",\"priority\":0"), "m:3:37: job \"j\", trigger \"t\": \"priority\" must be a whole "
                               "number from 1 to 100, not 0"},
    {EVERY(",\"data\":1"), "m:3:33: job \"j\", trigger \"t\": \"data\" must be an object, not 1"},
    {EVERY(",\"misfire\":\"fire-once\""), "m:3:36: job \"j\", trigger \"t\": \"misfire\" must be "
                                          "\"fire_once\", \"skip\" or \"fire_all\" "
                                          "(did you mean \"fire_once\"?), not \"fire-once\""},
    {EVERY(",\"misfire_limit\":0"), "m:3:42: job \"j\", trigger \"t\": \"misfire_limit\" must be a "
                                    "whole number from 1 to 1000, not 0"},
    {EVERY(",\"misfire_tolerance\":5"),
     "m:3:46: job \"j\", trigger \"t\": \"misfire_tolerance\" must be a duration from 0s to 36500d "
     "such as \"250ms\", \"90s\", \"5m\" or \"PT1H\", not 5"},
    {EVERY(",\"misfire_threshold\":\"x\""),
     "m:3:46: job \"j\", trigger \"t\": \"misfire_threshold\" must be a duration from 0s to 36500d "
     "such as \"250ms\", \"90s\", \"5m\" or \"PT1H\", not \"x\""},
    {TRIGGER(",\"cron\":\"0 0 25 * * ?\""), "m:3:20: job \"j\", trigger \"t\": cron "},
    {TRIGGER(",\"cron\":\"\""),
     "m:3:20: job \"j\", trigger \"t\": \"cron\" must be a string of 1 "},
    {TRIGGER(",\"cron\":5"), "m:3:20: job \"j\", trigger \"t\": \"cron\" must be a string of 1 "},
};

static void check_refusals(const struct refusal *refusals, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct manifest_set *set = read_text(refusals[i].text);
        const char *expected = refusals[i].problem;
        const char *actual = set->problems.count > 0 ? set->problems.lines[0] : "(accepted)";
        bool whole = expected[strlen(expected) - 1] != ' '; /* else: what it begins with */
        if (whole ? strcmp(actual, expected) != 0
                  : strncmp(actual, expected, strlen(expected)) != 0)
            fail_msg("%s\n  expected %s\n  got      %s", refusals[i].text, expected, actual);
        manifest_set_free(set);
    }
}

#define CHECK_ALL(refusals) check_refusals(refusals, sizeof(refusals) / sizeof *(refusals))

static void every_refusal_tells_place_and_remedy(void **state)
{
    (void)state;
    CHECK_ALL(shape_refusals);
    CHECK_ALL(job_refusals);
    CHECK_ALL(trigger_refusals);
}

static void all_problems_are_told_at_once(void **state)
{
    (void)state;
    struct manifest_set *set =
        read_text("{\"jobs\":[{\"name\":\"a\",\"hander\":1},\n{\"name\":\"b\",\"handler\":\"h\","
                  "\"triggers\":[{\"name\":\"t\",\"cron\":\"x\",\"timezone\":\"Nowhere\"}]}]}");
    assert_int_equal(set->problems.count, 5);
    assert_non_null(strstr(set->problems.lines[0], "m:1:22: job \"a\": unknown key \"hander\""));
    assert_non_null(strstr(set->problems.lines[1], "has no \"handler\""));
    assert_non_null(strstr(set->problems.lines[2], "neither triggers"));
    assert_non_null(strstr(set->problems.lines[3], "m:2:"));
    assert_non_null(strstr(set->problems.lines[3], "Nowhere"));
    assert_non_null(strstr(set->problems.lines[4], "cron"));
    manifest_set_free(set);
}

static void problems_are_bounded_and_counted(void **state)
{
    (void)state;
    struct buffer text = {0};
    buffer_string(&text, "{\"jobs\":[");
    for (int i = 0; i < 300; i++)
        buffer_format(&text, "%s{\"name\":\"j%d\",\"handler\":\"h\",\"durable\":true,\"x\":1}",
                      i > 0 ? ",\n" : "", i);
    buffer_string(&text, "]}");
    struct manifest_set *set = read_text(buffer_text(&text));
    assert_int_equal(set->problems.count, 300);
    assert_non_null(set->problems.lines[MANIFEST_PROBLEMS_MAX - 1]);
    manifest_set_free(set);
    buffer_free(&text);
}

static void values_quoted_in_problems_are_short_and_on_one_line(void **state)
{
    (void)state;
    struct buffer text = {0};
    buffer_string(&text, "{\"jobs\":[{\"name\":\"");
    for (int i = 0; i < 400; i++)
        buffer_string(&text, "ä\\n");
    buffer_string(&text, "\",\"handler\":\"h\",\"durable\":\"");
    for (int i = 0; i < 400; i++)
        buffer_string(&text, "€");
    buffer_string(&text, "\"}]}");
    struct manifest_set *set = read_text(buffer_text(&text));
    assert_int_equal(set->problems.count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_true(strlen(set->problems.lines[i]) < 400);
        assert_null(strchr(set->problems.lines[i], '\n'));
        assert_non_null(strstr(set->problems.lines[i], "…"));
    }
    manifest_set_free(set);
    buffer_free(&text);
}

static void names_are_unique_among_all_texts(void **state)
{
    (void)state;
    static const char *const first = JOBS("{\"name\":\"j\",\"handler\":\"h\",\"triggers\":["
                                          "{\"name\":\"t\",\"every\":\"1s\"},\n"
                                          "{\"name\":\"u\",\"every\":\"1s\"}]}");
    static const char *const second = "{\"source\":\"other\",\"jobs\":["
                                      "{\"name\":\"k\",\"handler\":\"h\",\"triggers\":["
                                      "{\"name\":\"u\",\"every\":\"1s\"}]},\n"
                                      "{\"name\":\"j\",\"handler\":\"h\",\"durable\":true}]}";
    struct manifest_set *set = manifest_set_new();
    manifest_add(set, "a", mem_string(first), strlen(first));
    manifest_add(set, "b", mem_string(second), strlen(second));
    assert_int_equal(manifest_check(set), -1);
    assert_int_equal(set->problems.count, 2);
    assert_string_equal(set->problems.lines[0],
                        "b:2:1: job \"j\" is declared twice, first at a:2; names are unique in the "
                        "fleet: rename one");
    assert_string_equal(
        set->problems.lines[1],
        "b:1:65: trigger \"u\" is declared twice, first at a:3; names are unique in "
        "the fleet: rename one");
    manifest_set_free(set);
}

/* --- what is read ---------------------------------------------------------------------------- */

static void defaults_are_those_of_the_contract(void **state)
{
    (void)state;
    struct manifest_set *set = read_good(EVERY(""));
    const struct manifest_job *job = &set->manifests[0]->jobs[0];
    const struct manifest_trigger *trigger = &job->triggers[0];
    assert_string_equal(set->manifests[0]->source, "default");
    assert_null(job->data.data);
    assert_int_equal(job->priority, 5);
    assert_int_equal(job->durable, 0);
    assert_int_equal(job->max_attempts, 1);
    assert_int_equal(job->max_crashes, 3);
    assert_true(job->timeout_ms == MANIFEST_UNSET);
    assert_true(job->requests_recovery == MANIFEST_UNSET);
    assert_int_equal(trigger->kind, SCHEDULE_EVERY);
    assert_true(trigger->repeat == MANIFEST_UNSET);
    assert_true(trigger->priority == MANIFEST_UNSET);
    assert_string_equal(trigger->timezone, "UTC");
    assert_int_equal(trigger->misfire, MISFIRE_FIRE_ONCE);
    assert_int_equal(trigger->misfire_tolerance_ms, 5000);
    assert_true(trigger->misfire_threshold_ms == MANIFEST_UNSET);
    assert_int_equal(trigger->misfire_limit, 100);
    manifest_set_free(set);
}

static void every_supported_key_is_read(void **state)
{
    (void)state;
    struct manifest_set *set = read_good(
        "{\"source\":\"s\",\"calendars\":[],\"jobs\":[{\"name\":\"j\\u00e9\",\"description\":\"d\","
        "\"handler\":\"exec\",\"data\":{\"a\":1},\"requests_recovery\":false,\"durable\":true,"
        "\"priority\":9,\"timeout\":\"1500us\",\"max_crashes\":7,\"disallow_concurrent\":false,"
        "\"persist_data\":false,\"on_exhausted\":\"fail\",\"retry\":{\"max_attempts\":4,"
        "\"backoff\":\"exponential\",\"initial\":\"2h\",\"jitter\":0.5},\"triggers\":["
        "{\"name\":\"t\",\"description\":\"x\",\"cron\":\"0 0 * * * ?\",\"timezone\":\"Europe/"
        "Berlin\",\"start_at\":\"2030-01-01T01:00:00.0019+01:00\","
        "\"end_at\":\"2031-01-01T00:00:00Z\",\"priority\":6,\"data\":{\"b\":2},\"misfire\":"
        "\"skip\","
        "\"misfire_threshold\":\"1m\",\"misfire_limit\":7,\"misfire_tolerance\":\"0\","
        "\"dst\":{\"gap\":\"after\",\"overlap\":\"second\"}},"
        "{\"name\":\"u\",\"at\":\"2030-01-01T00:00:00Z\"}]}]}");
    const struct manifest_job *job = &set->manifests[0]->jobs[0];
    const struct manifest_trigger *trigger = &job->triggers[0];
    assert_string_equal(job->name, "jé");
    assert_int_equal(job->requests_recovery, 0);
    assert_int_equal(job->priority, 9);
    assert_int_equal(job->timeout_ms, 2);
    assert_int_equal(job->max_crashes, 7);
    assert_int_equal(job->max_attempts, 4);
    assert_int_equal(job->retry_initial_ms, 7200000);
    assert_int_equal(job->retry_max_ms, 7200000); /* never shorter than the first pause */
    assert_int_equal(trigger->start_at_us, INT64_C(1893456000001000));
    assert_int_equal(trigger->priority, 6);
    assert_int_equal(trigger->misfire, MISFIRE_SKIP);
    assert_int_equal(trigger->misfire_threshold_ms, 60000);
    assert_int_equal(trigger->misfire_limit, 7);
    assert_int_equal(trigger->misfire_tolerance_ms, 0);
    assert_int_equal(trigger->effective_gap, ZONE_GAP_AFTER);
    assert_int_equal(trigger->effective_overlap, ZONE_OVERLAP_SECOND);
    assert_int_equal(job->triggers[1].kind, SCHEDULE_AT);
    assert_int_equal(job->triggers[1].at_us, INT64_C(1893456000000000));
    manifest_set_free(set);
}

static void lanes_kinds_and_calendars_are_read(void **state)
{
    (void)state;
    struct manifest_set *set = read_good(
        JOB(",\"concurrency\":{\"limit\":3,\"key\":\"/a~1b\"},\"persist_data\":true,"
            "\"on_exhausted\":\"error\",\"triggers\":[{\"name\":\"t\",\"calendar_interval\":\"3 "
            "Weeks\","
            "\"repeat\":0,\"calendar\":\"c\"},{\"name\":\"u\",\"dst\":{\"gap\":\"skip\"},\"daily\":"
            "{\"from\":\"08:00\",\"every\":\"1h\",\"days\":[\"SUN\",\"Tue\"]}}]"));
    const struct manifest_job *job = &set->manifests[0]->jobs[0];
    const struct manifest_trigger *trigger = &job->triggers[0];
    assert_int_equal(job->lane_limit, 3);
    assert_string_equal(job->lane_key, "/a~1b");
    assert_int_equal(job->persist_data, 1);
    assert_string_equal(manifest_exhausted[job->on_exhausted], "error");
    assert_int_equal(trigger->kind, SCHEDULE_CALENDAR_INTERVAL);
    assert_string_equal(trigger->calendar_interval, "3 weeks");
    assert_string_equal(trigger->calendar, "c");
    assert_memory_equal(set->manifests[0]->text + trigger->calendar_offset, "\"c\"", 3);
    trigger = &job->triggers[1];
    assert_int_equal(trigger->kind, SCHEDULE_DAILY);
    assert_string_equal(trigger->daily_from, "08:00");
    assert_null(trigger->daily_to);
    assert_int_equal(trigger->daily_every_us, INT64_C(3600000000));
    assert_int_equal(trigger->daily_days, 1 << 0 | 1 << 2);
    assert_int_equal(trigger->effective_gap, ZONE_GAP_SKIP);
    assert_int_equal(trigger->effective_overlap, ZONE_OVERLAP_FIRST);
    manifest_set_free(set);
    set = read_good(DURABLE(",\"disallow_concurrent\":true"));
    assert_int_equal(set->manifests[0]->jobs[0].lane_limit, 1);
    manifest_set_free(set);
    set = read_good(DURABLE(""));
    assert_int_equal(set->manifests[0]->jobs[0].lane_limit, MANIFEST_UNSET);
    manifest_set_free(set);
}

static void data_stays_byte_for_byte(void **state)
{
    (void)state;
    static const char data[] =
        "{ \"n\" : 1234567890123456789, \"f\":1.10,\n\t\"s\":\"\\u00e9\\/\" }";
    struct buffer text = {0};
    buffer_format(&text,
                  "{\"jobs\":[{\"name\":\"j\",\"handler\":\"h\",\"durable\":true,\"data\":%s}]}",
                  data);
    struct manifest_set *set = read_good(buffer_text(&text));
    struct slice read = set->manifests[0]->jobs[0].data;
    assert_int_equal(read.length, strlen(data));
    assert_memory_equal(read.data, data, read.length);
    assert_non_null(strstr(set->manifests[0]->jobs[0].definition, data));
    manifest_set_free(set);
    buffer_free(&text);
}

/* --- limits and files ------------------------------------------------------------------------ */

static void large_data_and_large_texts_are_refused(void **state)
{
    (void)state;
    struct buffer text = {0};
    buffer_string(&text, "{\"jobs\":[{\"name\":\"j\",\"handler\":\"h\",\"durable\":true,\"data\":{"
                         "\"x\":\"");
    for (size_t i = 0; i < MANIFEST_DATA_MAX; i++)
        buffer_char(&text, 'x');
    buffer_string(&text, "\"}}]}");
    struct manifest_set *set = read_text(buffer_text(&text));
    assert_int_equal(set->problems.count, 1);
    assert_non_null(strstr(set->problems.lines[0], "m:1:58: job \"j\": \"data\" has 262152 bytes"));
    manifest_set_free(set);
    buffer_free(&text);

    size_t size = MANIFEST_SIZE_MAX + 1;
    char *large = mem_alloc(size);
    memset(large, ' ', size);
    set = manifest_set_new();
    manifest_add(set, "m", large, size);
    assert_string_equal(set->problems.lines[0],
                        "m: larger than 16 MiB; divide it into several files");
    manifest_set_free(set);
}

static void write_file(const char *directory, const char *name, const char *text)
{
    char *path = mem_format("%s/%s", directory, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    free(path);
}

static void directories_are_read_in_order_of_names(void **state)
{
    (void)state;
    char directory[] = "/tmp/test_manifest.XXXXXX";
    assert_non_null(mkdtemp(directory));
    static const char *const names[] = {"b.json", "a.json", ".hidden.json", "notes.txt", ".json"};
    for (size_t i = 0; i < 5; i++)
        write_file(directory, names[i], i < 2 ? "{\"jobs\":[]}" : "garbage");
    struct manifest_set *set = manifest_set_new();
    manifest_add_path(set, directory);
    assert_int_equal(manifest_check(set), 0);
    assert_int_equal(set->count, 2);
    assert_string_equal(strrchr(set->manifests[0]->file, '/'), "/a.json");
    assert_string_equal(strrchr(set->manifests[1]->file, '/'), "/b.json");
    manifest_set_free(set);
    for (size_t i = 0; i < 5; i++) {
        char *path = mem_format("%s/%s", directory, names[i]);
        unlink(path);
        free(path);
    }
    rmdir(directory);
}

static void a_file_that_cannot_be_read_is_a_problem(void **state)
{
    (void)state;
    struct manifest_set *set = manifest_set_new();
    manifest_add_path(set, "/nonexistent/x.json");
    assert_int_equal(manifest_check(set), -1);
    assert_string_equal(set->problems.lines[0],
                        "/nonexistent/x.json: cannot be read: No such file or directory");
    manifest_set_free(set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_refusal_tells_place_and_remedy),
        cmocka_unit_test(all_problems_are_told_at_once),
        cmocka_unit_test(problems_are_bounded_and_counted),
        cmocka_unit_test(values_quoted_in_problems_are_short_and_on_one_line),
        cmocka_unit_test(names_are_unique_among_all_texts),
        cmocka_unit_test(defaults_are_those_of_the_contract),
        cmocka_unit_test(every_supported_key_is_read),
        cmocka_unit_test(lanes_kinds_and_calendars_are_read),
        cmocka_unit_test(data_stays_byte_for_byte),
        cmocka_unit_test(large_data_and_large_texts_are_refused),
        cmocka_unit_test(directories_are_read_in_order_of_names),
        cmocka_unit_test(a_file_that_cannot_be_read_is_a_problem),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
