/*
 * Calendars of a manifest: every refusal with its place and text, the one form of a definition, and
 * what becomes of stored ones. No database.
 */
#include "base/memory.h"
#include "coord/calendars.h"
#include "coord/manifest_calendar.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

static struct manifest_set *read_text(const char *text)
{
    struct manifest_set *set = manifest_set_new();
    manifest_add(set, "m", mem_string(text), strlen(text));
    manifest_check(set);
    return set;
}

#define CALENDAR(text) "{\"jobs\":[],\"calendars\":[\n{\"name\":\"c\"" text "}\n]}"

struct refusal {
    const char *text;
    const char *problem; /* the first */
};

static const struct refusal calendar_refusals[] = {
    {"{\"jobs\":[],\"calendars\":{}}",
     "m:1:24: manifest: \"calendars\" must be an array of objects, not an object"},
    {"{\"jobs\":[],\"calendars\":[1]}", "m:1:25: calendar 1 must be an object, not a number"},
    {"{\"jobs\":[],\"calendars\":[{}]}",
     "m:1:25: calendar 1 has no \"name\"; add one: it is unique in the fleet"},
    {"{\"jobs\":[],\"calendars\":[{\"name\":\"c\"},\n{\"name\":\"c\"}]}",
     "m:2:1: calendar \"c\" is declared twice, first at m:1; names are unique in the fleet: rename "
     "one"},
    {CALENDAR(",\"date\":[]"),
     "m:2:13: calendar \"c\": unknown key \"date\"; did you mean \"dates\"?"},
    {CALENDAR(",\"dates\":\"2026-12-25\""),
     "m:2:21: calendar \"c\": \"dates\" must be an array of dates, not a string"},
    {CALENDAR(",\"dates\":[20261225]"),
     "m:2:22: calendar \"c\": \"dates\" must hold dates such as \"2026-12-25\", not 20261225"},
    {CALENDAR(",\"dates\":[\"2026-12-25\",\n\"2026-02-29\"]"),
     "m:3:1: calendar \"c\", dates: \"2026-02-29\": there is no such day: expected YYYY-MM-DD, as "
     "in "
     "2026-12-25"},
    {CALENDAR(",\"annual\":[\"13-01\"]"),
     "m:2:23: calendar \"c\", annual: \"13-01\" is no day of a year: expected MM-DD, as in 12-25"},
    {CALENDAR(",\"weekly\":[\"SAT\",\"SUNN\"]"), "m:2:29: calendar \"c\", weekly: \"SUNN\" is no "
                                                 "weekday: expected SUN, MON, TUE, WED, THU, FRI "
                                                 "or SAT"},
    {CALENDAR(",\"weekly\":[null]"),
     "m:2:23: calendar \"c\": \"weekly\" must hold weekdays such as \"SAT\", not null"},
    {CALENDAR(",\"daily\":[\"12:00\"]"), "m:2:22: calendar \"c\": \"daily\" must hold pairs of "
                                         "times such as [\"12:00\", \"13:00\"], not "
                                         "\"12:00\""},
    {CALENDAR(",\"daily\":[[\"12:00\"]]"), "m:2:22: calendar \"c\": \"daily\" must hold pairs of "
                                           "times such as [\"12:00\", \"13:00\"], not "
                                           "an array"},
    {CALENDAR(",\"daily\":[[\"12:00\",\"13\"]]"),
     "m:2:31: calendar \"c\", daily: \"13\" is no time of day: expected HH:MM or HH:MM:SS, as in "
     "08:00"},
    {CALENDAR(",\"daily\":[[\"12:00\",\"12:00\"]]"),
     "m:2:1: calendar \"c\": daily: \"12:00\" to \"12:00\" is empty: expected two different times; "
     "the "
     "whole day is 00:00 to 24:00"},
    {CALENDAR(",\"cron\":[\"* * * 25 12 ?\",\"x\"]"), "m:2:37: calendar \"c\", cron: cron "},
    {CALENDAR(",\"cron\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\",\"10\",\"11\","
              "\"12\",\"13\"]"),
     "m:2:20: calendar \"c\": \"cron\" has 13 entries; at most 12 are allowed"},
    {CALENDAR(",\"timezone\":\"Europe/Berln\""),
     "m:2:24: calendar \"c\": zone \"Europe/Berln\" is unknown: did you mean \"Europe/Berlin\"?"},
    {CALENDAR(",\"base\":[\"d\"]"),
     "m:2:20: calendar \"c\": \"base\" must be a string of 1 to 254 characters without control "
     "characters, not an array"},
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

static void every_refusal_tells_place_and_remedy(void **state)
{
    (void)state;
    check_refusals(calendar_refusals, sizeof calendar_refusals / sizeof *calendar_refusals);
}

static char *calendar_definition(const char *text)
{
    struct manifest_set *set = manifest_set_new();
    manifest_add(set, "m", mem_string(text), strlen(text));
    if (manifest_check(set) != 0)
        fail_msg("%s", set->problems.lines[0]);
    char *definition = mem_string(set->manifests[0]->calendars[0].definition);
    manifest_set_free(set);
    return definition;
}

static void a_calendar_has_one_form_however_it_is_written(void **state)
{
    (void)state;
    char *a = calendar_definition(
        "{\"jobs\":[],\"calendars\":[{\"name\":\"c\",\"base\":\"b\",\"timezone\":\"Europe/Berlin\","
        "\"cron\":[\"* * 1 * * ?\"],\"daily\":[[\"22:00\",\"06:00\"],[\"12:00:00\",\"13:00\"],"
        "[\"12:00\",\"13:00\"]],\"weekly\":[\"Sunday\",\"sat\"],\"annual\":[\"12-26\",\"12-25\"],"
        "\"dates\":[\"2027-01-01\",\"2026-12-24\",\"2027-01-01\"],\"description\":\"d\"}]}");
    assert_string_equal(
        a, "{\"description\":\"d\",\"dates\":[\"2026-12-24\",\"2027-01-01\"],\"annual\":[\"12-25\","
           "\"12-26\"],\"weekly\":[\"SAT\",\"SUN\"],\"daily\":[[\"12:00\",\"13:00\"],[\"22:00\","
           "\"06:00\"]],\"cron\":[\"* * 1 * * ?\"],\"timezone\":\"Europe/Berlin\",\"base\":\"b\"}");
    char *again = mem_format("{\"jobs\":[],\"calendars\":[{\"name\":\"c\",%s]}", a + 1);
    char *b = calendar_definition(again);
    assert_string_equal(a, b);
    free(a);
    free(b);
    free(again);
    a = calendar_definition(
        "{\"jobs\":[],\"calendars\":[{\"name\":\"c\",\"dates\":[],\"cron\":[]}]}");
    assert_string_equal(a, "{}");
    free(a);
}

static struct calendar *parse(const char *definition, struct rota_error *error)
{
    struct zone_cache *zones = zone_cache_new();
    struct calendar *calendar = manifest_calendar_parse("c", definition, NULL, zones, error);
    zone_cache_free(zones);
    return calendar;
}

static void a_stored_calendar_is_evaluated_and_a_broken_one_told(void **state)
{
    (void)state;
    static const struct {
        const char *definition, *message;
    } broken[] = {
        {"nonsense", "calendar \"c\": its definition is no JSON: line 1"},
        {"[]", "calendar \"c\" must be an object, not an array"},
        {"{\"weekly\":[\"SAT\",\"DAY\"]}", "calendar \"c\", weekly: \"DAY\" is no weekday"},
        {"{\"yearly\":[]}", "calendar \"c\": unknown key \"yearly\""},
        {"{\"timezone\":\"Mars/Base\"}", "calendar \"c\": zone \"Mars/Base\" is unknown"},
    };
    struct rota_error error = {0};
    struct calendar *calendar = parse("{\"annual\":[\"12-25\"]}", &error);
    assert_non_null(calendar);
    assert_true(calendar_excludes(calendar, NULL, INT64_C(1798196400) * 1000000)); /* 2026-12-25 */
    assert_false(calendar_excludes(calendar, NULL, INT64_C(1798293600) * 1000000));
    calendar_unref(calendar);
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        assert_null(parse(broken[i].definition, &error));
        if (strncmp(error.message, broken[i].message, strlen(broken[i].message)) != 0)
            fail_msg("%s\n  expected %s\n  got      %s", broken[i].definition, broken[i].message,
                     error.message);
    }
}

static void one_calendar_serves_all_until_its_stack_reads_otherwise(void **state)
{
    (void)state;
    struct rota_error error = {0};
    struct zone_cache *zones = zone_cache_new();
    struct calendars *calendars = calendars_new(zones, 2);
    char top[] = "{\"weekly\":[\"SAT\"]}", base[] = "{\"weekly\":[\"SUN\"]}", other[] = "{}";
    char a[] = "a", b[] = "b", c[] = "c";
    char *names[] = {a, b}, *texts[] = {top, base}, *others[] = {top, other};
    calendars_put(calendars, "a", names, texts, 2);
    struct calendar *first = calendars_get(calendars, "a", &error);
    assert_non_null(first);
    assert_true(calendar_excludes(first, NULL, INT64_C(3) * 86400 * 1000000)); /* a Sunday */
    calendars_put(calendars, "a", names, texts, 2);
    assert_ptr_equal(calendars_get(calendars, "a", &error), first);
    calendars_put(calendars, "a", names, others, 2);
    struct calendar *second = calendars_get(calendars, "a", &error);
    assert_false(calendar_excludes(second, NULL, INT64_C(3) * 86400 * 1000000));
    calendars_put(calendars, "b", names + 1, texts + 1, 1);
    char *third[] = {c};
    calendars_put(calendars, "c", third, others, 1);
    assert_null(calendars_get(calendars, "a", &error)); /* two are kept */
    assert_non_null(calendars_get(calendars, "b", &error));
    calendars_free(calendars);
    zone_cache_free(zones);
}

static void a_circle_written_by_hand_is_told(void **state)
{
    (void)state;
    struct rota_error error = {0};
    struct zone_cache *zones = zone_cache_new();
    struct calendars *calendars = calendars_new(zones, 10);
    char a[] = "a", b[] = "b", text[] = "{}";
    char *names[] = {a, b, a, b, a, b, a, b, a}, *texts[9];
    for (int i = 0; i < 9; i++)
        texts[i] = text;
    calendars_put(calendars, "a", names, texts, 9);
    assert_null(calendars_get(calendars, "a", &error));
    assert_string_equal(error.message,
                        "calendar \"a\" stands on itself, by its bases; take the base from "
                        "one of them");
    char deep[9][2];
    for (int i = 0; i < 9; i++) {
        deep[i][0] = (char)('a' + i);
        deep[i][1] = '\0';
        names[i] = deep[i];
    }
    calendars_put(calendars, "a", names, texts, 9);
    assert_null(calendars_get(calendars, "a", &error));
    assert_string_equal(error.message,
                        "calendar \"a\": base: more than 8 calendars stand on each other");
    calendars_put(calendars, "a", names, texts, 8);
    assert_non_null(calendars_get(calendars, "a", &error));
    calendars_free(calendars);
    zone_cache_free(zones);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_refusal_tells_place_and_remedy),
        cmocka_unit_test(a_calendar_has_one_form_however_it_is_written),
        cmocka_unit_test(a_stored_calendar_is_evaluated_and_a_broken_one_told),
        cmocka_unit_test(one_calendar_serves_all_until_its_stack_reads_otherwise),
        cmocka_unit_test(a_circle_written_by_hand_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
