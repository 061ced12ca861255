/* JSON of the library for workers in C: members of objects, text in and out, nonsense. */
#include "worker/sdk/rota_json.h"
#include "worker/sdk/rota_worker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void assert_member(const char *json, const char *key, const char *expected)
{
    char *member = rota_json_member(json, key);
    if (expected == NULL)
        assert_null(member);
    else
        assert_string_equal(member, expected);
    free(member);
}

static void members_are_found_and_left_as_they_are(void **state)
{
    (void)state;
    const char *json = " {\"a\" : 1234567890123456789 ,\"b\":{\"a\":[2,{\"c\":\"}]\\\"\"}]},"
                       "\"c\\\"\":true,\"s\":\"a,b:c\", \"e\":[ ] , \"n\":1.10}";
    assert_member(json, "a", "1234567890123456789");
    assert_member(json, "b", "{\"a\":[2,{\"c\":\"}]\\\"\"}]}");
    assert_member(json, "s", "\"a,b:c\"");
    assert_member(json, "e", "[ ]");
    assert_member(json, "n", "1.10");
    assert_member(json, "c", NULL); /* only inside of another value */
    assert_member("[1]", "a", NULL);
    assert_member("{}", "a", NULL);
    assert_member(NULL, "a", NULL);
}

static void values_are_read_by_their_kind(void **state)
{
    const char *json = "{\"i\":-7,\"d\":2.5,\"t\":true,\"f\":false,\"s\":\"x\",\"z\":null,"
                       "\"big\":99999999999999999999}";
    int64_t number = 0;
    double real = 0;
    bool value = false;
    (void)state;
    assert_int_equal(rota_json_int(json, "i", &number), 0);
    assert_int_equal(number, -7);
    assert_int_equal(rota_json_int(json, "d", &number), -1);
    assert_int_equal(rota_json_int(json, "s", &number), -1);
    assert_int_equal(rota_json_int(json, "big", &number), -1);
    assert_int_equal(rota_json_int(json, "z", &number), -1);
    assert_int_equal(rota_json_double(json, "d", &real), 0);
    assert_true(real > 2.4 && real < 2.6);
    assert_int_equal(rota_json_double(json, "t", &real), -1);
    assert_int_equal(rota_json_bool(json, "t", &value), 0);
    assert_true(value);
    assert_int_equal(rota_json_bool(json, "f", &value), 0);
    assert_false(value);
    assert_int_equal(rota_json_bool(json, "i", &value), -1);
}

static void strings_are_decoded(void **state)
{
    static const struct {
        const char *json, *text;
    } cases[] = {
        {"{\"s\":\"\"}", ""},
        {"{\"s\":\"a\\\"\\\\\\/\\b\\f\\n\\r\\t\"}", "a\"\\/\b\f\n\r\t"},
        {"{\"s\":\"\\u00e9\\u20AC\\ud83d\\ude00\"}", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"},
        {"{\"s\":\"\\ud83d\"}", "\xef\xbf\xbd"},
        {"{\"s\":\"\\u0000\"}", NULL},
        {"{\"s\":\"\\u12\"}", NULL},
        {"{\"s\":\"\\x\"}", NULL},
        {"{\"s\":5}", NULL},
        {"{\"s\":\"123456789012345678901\"}", NULL}, /* no room */
    };
    char text[20];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int failed = rota_json_string(cases[i].json, "s", text, sizeof text);
        assert_int_equal(failed, cases[i].text != NULL ? 0 : -1);
        if (failed == 0)
            assert_string_equal(text, cases[i].text);
    }
}

static void texts_are_quoted_whatever_they_hold(void **state)
{
    static const struct {
        const char *text, *json;
    } cases[] = {
        {"", "\"\""},
        {"a\"b\\c\n\x01", "\"a\\\"b\\\\c\\u000a\\u0001\""},
        {"\xc3\xa9\xf0\x9f\x98\x80", "\"\xc3\xa9\xf0\x9f\x98\x80\""},
        {"\xff|\xc3|\xe0\x80\x80|\xed\xa0\x80",
         "\"\xef\xbf\xbd|\xef\xbf\xbd|\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd|"
         "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *json = rota_json_quote(cases[i].text);
        assert_string_equal(json, cases[i].json);
        free(json);
    }
    struct rota_text line = {0};
    rota_text_json(&line, "{\n\"a\":\r\n1}");
    assert_string_equal(line.data, "{ \"a\":  1}");
    rota_text_free(&line);
}

static void what_is_cut_off_is_no_member(void **state)
{
    const char *json = "{\"a\":{\"b\":[1,\"x\\\"\",{\"c\":null}]},\"d\":\"e\"}";
    (void)state;
    for (size_t length = 0; length < strlen(json); length++) {
        char cut[64] = {0};
        memcpy(cut, json, length);
        free(rota_json_member(cut, "d")); /* no read beyond its end: the sanitizers look */
        free(rota_json_member(cut, "none"));
    }
    static const char *const nonsense[] = {
        "{",         "{\"a",       "{\"a\"}",   "{\"a\":", "{\"a\":}", "{,}",
        "{\"a\":1]", "{\"a\":]1}", "{\"a\" 1}", "\\",      "{\"\\"};
    for (size_t i = 0; i < sizeof nonsense / sizeof *nonsense; i++)
        assert_member(nonsense[i], "b", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_are_found_and_left_as_they_are),
        cmocka_unit_test(values_are_read_by_their_kind),
        cmocka_unit_test(strings_are_decoded),
        cmocka_unit_test(texts_are_quoted_whatever_they_hold),
        cmocka_unit_test(what_is_cut_off_is_no_member),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
