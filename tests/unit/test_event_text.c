/* Events as text: each row of the log expanded, from any place in it. */
#include "coord/http/event_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HEAD "{\"at\":\"1970-01-01T00:00:01.000Z\",\"node\":\"a\\\"b\""

static const struct event_row row_of_three = {
    .id = 7,
    .at_us = 1000000,
    .node = {"a\"b", 3},
    .body = {"run.started\t{\"job\":\"j\"}\t5,6\nnode.state\t{\"state\":\"running\"}\t", 66},
};

static void assert_text(const struct event_row *row, int64_t after, const char *wanted)
{
    struct buffer out = {0};
    struct event_row whole = *row;
    whole.body.length = strlen(row->body.data);
    event_row_text(&out, &whole, after, SIZE_MAX);
    assert_string_equal(out.length > 0 ? buffer_text(&out) : "", wanted);
    buffer_free(&out);
}

static void a_line_with_runs_is_an_event_each(void **state)
{
    (void)state;
    assert_text(&row_of_three, -1,
                "id: 7.0\nevent: run.started\ndata: " HEAD ",\"run\":5,\"job\":\"j\"}\n\n"
                "id: 7.1\nevent: run.started\ndata: " HEAD ",\"run\":6,\"job\":\"j\"}\n\n"
                "id: 7.2\nevent: node.state\ndata: " HEAD ",\"state\":\"running\"}\n\n");
}

static void what_was_seen_is_left_out(void **state)
{
    (void)state;
    assert_text(&row_of_three, 1,
                "id: 7.2\nevent: node.state\ndata: " HEAD ",\"state\":\"running\"}\n\n");
    assert_text(&row_of_three, 2, "");
    assert_text(&row_of_three, INT64_MAX, "");
}

static void a_large_row_is_told_in_parts(void **state)
{
    struct buffer whole = {0}, parts = {0};
    struct event_row row = row_of_three;
    int64_t last = -1;
    int rounds = 0;
    (void)state;
    row.body.length = strlen(row.body.data);
    assert_int_equal(event_row_text(&whole, &row, -1, SIZE_MAX), INT64_MAX);
    for (; last != INT64_MAX && rounds < 9; rounds++) {
        struct buffer part = {0};
        last = event_row_text(&part, &row, last, 1);
        buffer_append(&parts, part.data, part.length);
        buffer_free(&part);
    }
    assert_int_equal(rounds, 3);
    assert_string_equal(buffer_text(&parts), buffer_text(&whole));
    buffer_free(&whole);
    buffer_free(&parts);
}

static void nobody_in_particular_and_no_facts_are_an_object_all_the_same(void **state)
{
    const struct event_row row = {.id = 1, .at_us = 1000000, .body = {"fleet.paused\t{}\t", 0}};
    (void)state;
    assert_text(&row, -1,
                "id: 1.0\nevent: fleet.paused\n"
                "data: {\"at\":\"1970-01-01T00:00:01.000Z\",\"node\":null}\n\n");
}

static void places_are_read_strictly(void **state)
{
    static const struct {
        const char *text;
        int64_t row, index; /* row -1: refused */
    } cases[] = {
        {"17.3", 17, 3},     {"17", 17, INT64_MAX},
        {"0", 0, INT64_MAX}, {"0.0", 0, 0},
        {"", -1, 0},         {".", -1, 0},
        {"1.", -1, 0},       {".1", -1, 0},
        {"-1", -1, 0},       {"1.-1", -1, 0},
        {"1.2.3", -1, 0},    {"1x", -1, 0},
        {"1 ", -1, 0},       {"99999999999999999999", -1, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct event_place place = {.row = -1};
        int failed = event_place_parse(cases[i].text, &place);
        if ((failed != 0) != (cases[i].row < 0) ||
            (failed == 0 && (place.row != cases[i].row || place.index != cases[i].index)))
            fail_msg("\"%s\": %lld.%lld", cases[i].text, (long long)place.row,
                     (long long)place.index);
    }
}

static void events_of_the_stream_itself_need_no_place(void **state)
{
    struct buffer out = {0};
    (void)state;
    event_own_text(&out, 0, "end", "a \"b\"");
    assert_string_equal(buffer_text(&out), "event: end\ndata: {\"reason\":\"a \\\"b\\\"\"}\n\n");
    buffer_clear(&out);
    event_own_text(&out, 9, "events.lost", "x");
    assert_string_equal(buffer_text(&out),
                        "id: 9\nevent: events.lost\ndata: {\"reason\":\"x\"}\n\n");
    buffer_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_with_runs_is_an_event_each),
        cmocka_unit_test(what_was_seen_is_left_out),
        cmocka_unit_test(a_large_row_is_told_in_parts),
        cmocka_unit_test(nobody_in_particular_and_no_facts_are_an_object_all_the_same),
        cmocka_unit_test(places_are_read_strictly),
        cmocka_unit_test(events_of_the_stream_itself_need_no_place),
    };
    return cmocka_run_group_tests_name("event_text", tests, NULL, NULL);
}
