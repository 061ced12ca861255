/* How a run's data is laid over its trigger's and its job's: whose members win, and whose bytes
 * they are. */
#include "coord/definition.h"

#include "base/json.h"
#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void assert_merged(const char *base, const char *over, const char *expected)
{
    struct buffer out = {0};
    data_merge(&out, slice_of(base), slice_of(over));
    if (strcmp(buffer_text(&out), expected) != 0)
        fail_msg("%s over %s: %s", over, base, out.data);
    buffer_free(&out);
}

static void members_of_the_upper_win(void **state)
{
    (void)state;
    assert_merged("{\"a\":1,\"b\":2}", "{\"b\":3}", "{\"a\":1,\"b\":3}");
    assert_merged("{\"a\":1}", "{\"b\":2}", "{\"a\":1,\"b\":2}");
    assert_merged("{\"a\":1,\"b\":2}", "{\"b\":4,\"a\":3}", "{\"b\":4,\"a\":3}");
    assert_merged("{\"a\":{\"x\":1}}", "{\"a\":{\"y\":2}}",
                  "{\"a\":{\"y\":2}}"); /* one level only */
    assert_merged("{\"a\":1}", "{\"a\":null}", "{\"a\":null}");
    assert_merged("{\"a\":1}", "{\"A\":2}", "{\"a\":1,\"A\":2}");
}

static void a_key_is_the_same_however_it_is_spelled(void **state)
{
    (void)state;
    assert_merged("{\"a\":1}", "{\"\\u0061\":2}", "{\"\\u0061\":2}");
    assert_merged("{\"\\u0061\":1,\"b\":2}", "{\"a\":3}", "{\"b\":2,\"a\":3}");
    assert_merged("{\"\\/\":1}", "{\"/\":2}", "{\"/\":2}");
    assert_merged("{\"\xf0\x9f\x98\x80\":1}", "{\"\\ud83d\\uDE00\":2}", "{\"\\ud83d\\uDE00\":2}");
    assert_merged("{\"\":1}", "{\"\\u0000\":2}", "{\"\":1,\"\\u0000\":2}");
}

static void bytes_stay_as_they_are(void **state)
{
    (void)state;
    assert_merged(
        "{ \"n\" : 1234567890123456789 , \"f\" : 1.50e+05 }",
        "{\n\"s\": \"\\u00E9\\/\" ,\"o\": { \"x\" : -0.0 } }",
        "{\"n\":1234567890123456789,\"f\":1.50e+05,\"s\":\"\\u00E9\\/\",\"o\":{ \"x\" : -0.0 }}");
    assert_merged("{ }", " {\"a\" : 1}",
                  " {\"a\" : 1}"); /* nothing to merge: not one byte differs */
    assert_merged("{ \"a\" :1}", "{ }", "{ \"a\" :1}");
    assert_merged("{\"a\":\"{\"}", "{\"b\":\"}{\"}", "{\"a\":\"{\",\"b\":\"}{\"}");
    assert_merged("{\"{\":1}", "{\"b\":2}", "{\"{\":1,\"b\":2}");
}

static void what_is_no_object_stands_alone(void **state)
{
    (void)state;
    assert_merged("{\"a\":1}", "[1]", "[1]");
    assert_merged("{\"a\":1}", "null", "null");
    assert_merged("[1]", "{\"a\":1}", "{\"a\":1}");
    assert_merged("\"text\"", "7", "7");
    assert_merged("{\"a\":1}", NULL, "{\"a\":1}");
    assert_merged(NULL, "{\"a\":1}", "{\"a\":1}");
    assert_merged("{}", "{}", "{}");
    assert_merged(NULL, NULL, "");
}

static void many_members_are_merged_quickly(void **state)
{
    struct buffer base = {0}, over = {0}, out = {0};
    struct json json;
    (void)state;
    for (int i = 0; i < 30000;
         i++) { /* each key of the one against each of the other would take seconds */
        buffer_format(&base, "%c\"key-%d\":%d", i == 0 ? '{' : ',', i, i);
        buffer_format(&over, "%c\"key-%d\":%d", i == 0 ? '{' : ',', i * 2, -i);
    }
    buffer_char(&base, '}');
    buffer_char(&over, '}');
    data_merge(&out, (struct slice){base.data, base.length},
               (struct slice){over.data, over.length});
    assert_int_equal(json_parse(&json, out.data, out.length, NULL), 0);
    assert_int_equal(json.values->count, 45000);
    assert_true(json_get(&json, json.values, "key-8")->raw.data[0] == '-');
    assert_memory_equal(json_get(&json, json.values, "key-9")->raw.data, "9,", 2);
    json_free(&json);
    buffer_free(&base);
    buffer_free(&over);
    buffer_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_of_the_upper_win),
        cmocka_unit_test(a_key_is_the_same_however_it_is_spelled),
        cmocka_unit_test(bytes_stay_as_they_are),
        cmocka_unit_test(what_is_no_object_stands_alone),
        cmocka_unit_test(many_members_are_merged_quickly),
    };
    return cmocka_run_group_tests_name("data", tests, NULL, NULL);
}
