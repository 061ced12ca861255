/* Worker protocol 1 as bytes: what is read, what is refused, what is written. */
#include "worker/protocol.h"

#include "worker/worker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct protocol_message parsed(const char *line)
{
    struct protocol_message message;
    struct rota_error error = {0};
    if (protocol_parse(line, strlen(line), &message, &error) != 0)
        fail_msg("%s: %s", line, error.message);
    return message;
}

static void assert_slice(struct slice slice, const char *text)
{
    assert_int_equal(slice.length, strlen(text));
    assert_memory_equal(slice.data, text, slice.length);
}

static void assert_refused(const char *line, const char *because)
{
    struct protocol_message message;
    struct rota_error error = {0};
    assert_int_equal(protocol_parse(line, strlen(line), &message, &error), -1);
    if (strstr(error.message, because) == NULL)
        fail_msg("%s: \"%s\" does not say \"%s\"", line, error.message, because);
}

static void hello_may_name_what_handlers_were_called_before(void **state)
{
    (void)state;
    struct protocol_message m = parsed("{\"type\":\"hello\",\"protocol\":1,\"handlers\":[\"new\"],"
                                       "\"aliases\":{\"old\":\"new\",\"\\u00e9\":\"new\"}}");
    assert_int_equal(m.alias_count, 2);
    assert_string_equal(m.aliases[0].old, "old");
    assert_string_equal(m.aliases[0].new, "new");
    assert_string_equal(m.aliases[1].old, "\xc3\xa9");
    protocol_free(&m);
}

static void hello_names_handlers_and_slots(void **state)
{
    (void)state;
    struct protocol_message m =
        parsed("{\"type\":\"hello\",\"protocol\":1,\"handlers\":[\"a\",\"\\u00e9\"],\"slots\":8,"
               "\"version\":\"3\",\"name\":\"w\",\"honours_lease\":true}");
    assert_int_equal(m.type, PROTOCOL_HELLO);
    assert_int_equal(m.protocol, 1);
    assert_int_equal(m.slots, 8);
    assert_int_equal(m.handler_count, 2);
    assert_string_equal(m.handlers[0], "a");
    assert_string_equal(m.handlers[1], "\xc3\xa9");
    assert_null(m.handlers[2]);
    assert_true(m.honours_lease);
    assert_slice(m.version, "3");
    protocol_free(&m);
}

static void what_is_not_given_has_its_default(void **state)
{
    (void)state;
    struct protocol_message m = parsed("{\"type\":\"hello\",\"protocol\":1,\"handlers\":[]}");
    assert_int_equal(m.slots, 1);
    assert_false(m.honours_lease);
    protocol_free(&m);
    m = parsed("{\"type\":\"fail\",\"id\":1,\"fence\":2}");
    assert_true(m.retry);
    assert_null(m.exception.data);
    assert_int_equal(m.duration_us, -1);
    m = parsed("{\"type\":\"done\",\"id\":1,\"fence\":2,\"details\":null,\"data\":null}");
    assert_null(m.details.data);
    assert_null(m.data.data);
}

static void users_json_stays_byte_for_byte(void **state)
{
    (void)state;
    static const char data[] =
        "{ \"n\":1234567890123456789,\"f\":1.0e5, \"u\":\"\\u00e9\xc3\xa9\" }";
    char line[300];
    snprintf(line, sizeof line, "{\"data\":%s,\"type\":\"done\",\"id\":7,\"fence\":9}", data);
    struct protocol_message m = parsed(line);
    assert_slice(m.data, data);
    assert_ptr_equal(m.data.data, line + 8); /* no copy */
    assert_int_equal(m.id, 7);
    assert_int_equal(m.fence, 9);
}

static void texts_are_decoded(void **state)
{
    (void)state;
    struct protocol_message m = parsed(
        "{\"type\":\"fail\",\"id\":1,\"fence\":2,\"exception\":\"E\",\"message\":\"a\\n\\\"b\\\"\","
        "\"stacktrace\":[\"x\"],\"ex_data\":{\"k\":1},\"retry\":false,\"unschedule\":true}");
    assert_slice(m.message, "a\n\"b\"");
    assert_slice(m.exception, "E");
    assert_slice(m.stacktrace, "[\"x\"]");
    assert_slice(m.ex_data, "{\"k\":1}");
    assert_false(m.retry);
    assert_true(m.unschedule);
    protocol_free(&m);
    m = parsed("{\"type\":\"log\",\"id\":1,\"fence\":2,\"message\":\"a\\u0000b\"}");
    assert_slice(m.message, "a\\u0000b"); /* no database text holds U+0000 */
    protocol_free(&m);
}

static void fields_come_in_any_order(void **state)
{
    static const char *const members[] = {
        "\"type\":\"run\"",     "\"missed\":7",  "\"handler\":\"h\"",   "\"id\":1",
        "\"unknown\":[\"id\"]", "\"attempt\":3", "\"data\":{\"id\":9}", "\"fence\":2"};
    const size_t count = sizeof members / sizeof *members;
    (void)state;
    for (size_t first = 0; first < count; first++) {
        for (size_t step = 1; step < count; step += 2) { /* odd: it meets each of eight once */
            struct buffer line = {0};
            for (size_t i = 0; i < count; i++) {
                buffer_char(&line, i == 0 ? '{' : ',');
                buffer_string(&line, members[(first + i * step) % count]);
            }
            buffer_char(&line, '}');
            struct protocol_message m = parsed(buffer_text(&line));
            assert_true(m.type == PROTOCOL_RUN && m.id == 1 && m.fence == 2);
            assert_true(m.attempt == 3 && m.missed == 7);
            assert_slice(m.handler, "h");
            assert_slice(m.data, "{\"id\":9}");
            protocol_free(&m);
            buffer_free(&line);
        }
    }
}

static void unknown_types_and_fields_are_ignored(void **state)
{
    (void)state;
    assert_int_equal(parsed("{\"type\":\"future\",\"id\":\"?\"}").type, PROTOCOL_UNKNOWN);
    struct protocol_message m =
        parsed("{\"type\":\"done\",\"id\":1,\"fence\":2,\"slots\":\"x\",\"new\":[1]}");
    assert_int_equal(m.type, PROTOCOL_DONE);
}

static void numbers_are_held_to_their_range(void **state)
{
    (void)state;
    assert_true(parsed("{\"type\":\"progress\",\"id\":1,\"fence\":2,\"fraction\":7}").fraction ==
                1);
    assert_true(parsed("{\"type\":\"progress\",\"id\":1,\"fence\":2,\"fraction\":-7}").fraction ==
                0);
    assert_int_equal(
        parsed("{\"type\":\"snooze\",\"id\":1,\"fence\":2,\"for\":\"10m\"}").duration_us,
        600000000);
    assert_true(parsed("{\"type\":\"snooze\",\"id\":1,\"fence\":2,"
                       "\"for\":\"9223372036854775807us\"}")
                    .duration_us == INT64_C(36500) * 86400 * 1000000);
}

static void what_is_wrong_is_named(void **state)
{
    (void)state;
    assert_refused("", "JSON value is expected");
    assert_refused("hello", "line 1, column 1");
    assert_refused("[1]", "an object with a \"type\"");
    assert_refused("{\"type\":1}", "an object with a \"type\"");
    assert_refused("{\"type\":\"done\",\"id\":1}", "needs \"fence\"");
    assert_refused("{\"type\":\"done\",\"id\":\"1\",\"fence\":2}", "\"id\" of a \"done\"");
    assert_refused("{\"type\":\"progress\",\"id\":1,\"fence\":2,\"fraction\":\"half\"}",
                   "a number");
    assert_refused("{\"type\":\"done\",\"id\":1.5,\"fence\":2}", "a whole number");
    assert_refused("{\"type\":\"done\",\"id\":99999999999999999999,\"fence\":2}", "\"id\"");
    assert_refused("{\"type\":\"done\",\"id\":1,\"id\":1,\"fence\":2}", "twice");
    assert_refused("{\"type\":\"done\",\"id\":1,\"fence\":2,\"details\":[1]}", "an object");
    assert_refused("{\"type\":\"snooze\",\"id\":1,\"fence\":2,\"for\":\"soon\"}", "a duration");
    assert_refused("{\"type\":\"snooze\",\"id\":1,\"fence\":2,\"for\":\"-5s\"}", "a duration");
    assert_refused("{\"type\":\"hello\",\"protocol\":1,\"handlers\":[1]}", "an array of strings");
    assert_refused("{\"type\":\"hello\",\"protocol\":1,\"handlers\":[],\"slots\":0}", "\"slots\"");
    assert_refused("{\"type\":\"hello\",\"protocol\":1,\"handlers\":[],\"aliases\":{\"a\":[]}}",
                   "\"aliases\" of a \"hello\" must be an object of up to 256 names");
    assert_refused(
        "{\"type\":\"hello\",\"protocol\":1,\"handlers\":[],\"aliases\":{\"\\u0000\":\"a\"}}",
        "\"aliases\"");
    assert_refused("{\"type\":\"hello\",\"protocol\":1,\"handlers\":[],\"slots\":99999}",
                   "\"slots\"");
}

static struct worker_run sample_run(void)
{
    return (struct worker_run){
        .id = 42,
        .fence = 43,
        .job = "night\"ly",
        .handler = "a",
        .data = slice_of("{\"n\":1234567890123456789}"),
        .trigger = "t",
        .fire_time_us = INT64_C(1795163704123456),
        .scheduled_time_us = INT64_C(1795163704000000),
        .previous_fire_time_us = INT64_C(1795077304000000),
        .attempt = 2,
        .recovering = true,
        .missed = 3,
        .checkpoint = slice_of("{\"at\":1.0}"),
        .traceparent = "00-1",
    };
}

static void run_message_is_the_contracts(void **state)
{
    (void)state;
    struct buffer out = {0};
    struct worker_run run = sample_run();
    protocol_write_run(&out, &run, INT64_C(1795163764123456));
    assert_string_equal(
        buffer_text(&out),
        "{\"type\":\"run\",\"id\":42,\"fence\":43,\"job\":\"night\\\"ly\",\"handler\":\"a\","
        "\"data\":{\"n\":1234567890123456789},\"trigger\":\"t\","
        "\"fire_time\":\"2026-11-20T08:35:04.123Z\",\"scheduled_time\":\"2026-11-20T08:35:04."
        "000Z\","
        "\"previous_fire_time\":\"2026-11-19T08:35:04.000Z\",\"attempt\":2,\"recovering\":true,"
        "\"missed\":3,\"checkpoint\":{\"at\":1.0},\"deadline\":\"2026-11-20T08:36:04.123Z\","
        "\"traceparent\":\"00-1\"}\n");
    buffer_free(&out);
}

static void absent_parts_of_a_run_are_left_out(void **state)
{
    (void)state;
    struct buffer out = {0};
    struct worker_run run = {.id = 1, .fence = 2, .job = "j", .handler = "h", .attempt = 1};
    protocol_write_run(&out, &run, 0);
    assert_string_equal(buffer_text(&out),
                        "{\"type\":\"run\",\"id\":1,\"fence\":2,\"job\":\"j\",\"handler\":\"h\","
                        "\"data\":{},\"fire_time\":\"1970-01-01T00:00:00.000Z\","
                        "\"scheduled_time\":\"1970-01-01T00:00:00.000Z\",\"attempt\":1,"
                        "\"recovering\":false,\"missed\":0}\n");
    buffer_free(&out);
}

static void a_message_is_one_line_whatever_the_data(void **state)
{
    (void)state;
    struct buffer out = {0};
    struct worker_run run = sample_run();
    run.data = slice_of("{\r\n \"a\":\n1}");
    protocol_write_run(&out, &run, 0);
    assert_ptr_equal(memchr(out.data, '\n', out.length), out.data + out.length - 1);
    assert_null(memchr(out.data, '\r', out.length));
    struct protocol_message m;
    assert_int_equal(protocol_parse(out.data, out.length - 1, &m, NULL), 0);
    assert_slice(m.data, "{   \"a\": 1}");
    protocol_free(&m);
    buffer_free(&out);
}

static void small_messages_are_the_contracts(void **state)
{
    (void)state;
    struct buffer out = {0};
    protocol_write_welcome(&out, "n\xc3\xa9");
    protocol_write_cancel(&out, 1, 2, "its \"time\"");
    protocol_write_drain(&out, 25000000);
    protocol_write_lease(&out, 1500999, 0);
    protocol_write_lease(&out, -5, 7);
    protocol_write_refused(&out, "no \"such\" token");
    protocol_write_locked(&out, 1, 77);
    protocol_write_lock_failed(&out, 2, "no");
    protocol_write_lock_lost(&out, 3);
    assert_string_equal(
        buffer_text(&out),
        "{\"type\":\"welcome\",\"node\":\"n\xc3\xa9\",\"protocol\":1}\n"
        "{\"type\":\"cancel\",\"id\":1,\"fence\":2,\"reason\":\"its \\\"time\\\"\"}\n"
        "{\"type\":\"drain\",\"grace\":\"25s\"}\n"
        "{\"type\":\"lease\",\"valid_ms\":1500}\n"
        "{\"type\":\"lease\",\"valid_ms\":0,\"ref\":7}\n"
        "{\"type\":\"refused\",\"reason\":\"no \\\"such\\\" token\"}\n"
        "{\"type\":\"locked\",\"ref\":1,\"fence\":77}\n"
        "{\"type\":\"lock_failed\",\"ref\":2,\"message\":\"no\"}\n"
        "{\"type\":\"lock_lost\",\"ref\":3}\n");
    buffer_free(&out);
}

static uint32_t next_random(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

/* Whatever the bytes are: an answer, no crash, no leak (the sanitizers look). */
static void no_bytes_harm_the_parser(void **state)
{
    (void)state;
    static const char *const seeds[] = {
        "{\"type\":\"hello\",\"protocol\":1,\"handlers\":[\"a\",\"b\\u0041\"],\"slots\":3}",
        "{\"type\":\"hello\",\"protocol\":1,\"handlers\":[],\"aliases\":{\"a\":\"b\\u0041\"}}",
        "{\"type\":\"fail\",\"id\":1,\"fence\":2,\"message\":\"\\ud83d\\ude00\"}",
        "{\"type\":\"lock\",\"ref\":1,\"name\":\"x\",\"wait\":\"5s\",\"shared\":true,\"id\":1}",
        "{\"type\":\"done\",\"id\":-1,\"fence\":2,\"details\":{\"a\":[1,{\"b\":null}]},\"data\":1}",
    };
    static const char pieces[] = "\"\\{}[],:0123456789.eE+-untrfals \t\x01\xc3\xff";
    uint32_t seed = 12345;
    for (int i = 0; i < 60000; i++) {
        char line[256];
        size_t length = (size_t)snprintf(line, sizeof line, "%s", seeds[i % 4]);
        for (uint32_t n = next_random(&seed) % 4 + 1; n > 0; n--) {
            size_t at = next_random(&seed) % length;
            line[at] = pieces[next_random(&seed) % (sizeof pieces - 1)];
        }
        length -= next_random(&seed) % 8 == 0 ? next_random(&seed) % length : 0;
        char *exact = malloc(length > 0 ? length : 1); /* so that one byte too far is seen */
        assert_non_null(exact);
        memcpy(exact, line, length);
        struct protocol_message message;
        if (protocol_parse(exact, length, &message, NULL) == 0)
            protocol_free(&message);
        free(exact);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hello_names_handlers_and_slots),
        cmocka_unit_test(hello_may_name_what_handlers_were_called_before),
        cmocka_unit_test(what_is_not_given_has_its_default),
        cmocka_unit_test(users_json_stays_byte_for_byte),
        cmocka_unit_test(texts_are_decoded),
        cmocka_unit_test(fields_come_in_any_order),
        cmocka_unit_test(unknown_types_and_fields_are_ignored),
        cmocka_unit_test(numbers_are_held_to_their_range),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(run_message_is_the_contracts),
        cmocka_unit_test(absent_parts_of_a_run_are_left_out),
        cmocka_unit_test(a_message_is_one_line_whatever_the_data),
        cmocka_unit_test(small_messages_are_the_contracts),
        cmocka_unit_test(no_bytes_harm_the_parser),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
