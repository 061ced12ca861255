/*
 * The JSON reader: what it takes and refuses (RFC 8259), where it says the fault is, and that what
 * it takes stays byte for byte. Random texts are judged by a second, differently made recogniser
 * too.
 */
#include "base/json.h"

#include "base/memory.h"
#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(table) (sizeof(table) / sizeof *(table))

static struct json parsed(const char *text)
{
    struct json json;
    struct rota_error error = {0};
    if (json_parse(&json, text, strlen(text), &error) != 0)
        fail_msg("%s: %s", text, error.message);
    return json;
}

static void assert_raw(const struct json_value *value, const char *text)
{
    assert_non_null(value);
    assert_int_equal(value->raw.length, strlen(text));
    assert_memory_equal(value->raw.data, text, strlen(text));
}

static void takes_what_the_standard_takes(void **state)
{
    static const struct {
        const char *text;
        enum json_type type;
        uint32_t count;
    } cases[] = {
        {"null", JSON_NULL, 0},
        {"true", JSON_BOOL, 0},
        {"false", JSON_BOOL, 0},
        {" \t\r\n true \t\r\n ", JSON_BOOL, 0},
        {"0", JSON_NUMBER, 0},
        {"-0", JSON_NUMBER, 0},
        {"-0.0", JSON_NUMBER, 0},
        {"1234567890123456789012345678901234567890", JSON_NUMBER, 0},
        {"1e5", JSON_NUMBER, 0},
        {"1E+5", JSON_NUMBER, 0},
        {"0e0", JSON_NUMBER, 0},
        {"1.50E-05", JSON_NUMBER, 0},
        {"1e99999", JSON_NUMBER, 0},
        {"\"\"", JSON_STRING, 0},
        {"\"\x7f\"", JSON_STRING, 0},
        {"\"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\"", JSON_STRING, 0},
        {"\"\xf4\x8f\xbf\xbf\"", JSON_STRING, 0},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\uabCD\\u0000\"", JSON_STRING, 0},
        {"\"\\ud800\"", JSON_STRING, 0}, /* the grammar allows a lone surrogate */
        {"[]", JSON_ARRAY, 0},
        {"[ ]", JSON_ARRAY, 0},
        {"[1,[2],{\"a\":[]}]", JSON_ARRAY, 3},
        {"[1\n,\n2]", JSON_ARRAY, 2},
        {"{}", JSON_OBJECT, 0},
        {"{ }", JSON_OBJECT, 0},
        {"{\"\":\"\"}", JSON_OBJECT, 1},
        {"{\"a\" : 1 , \"b\" : {\"a\":2}}", JSON_OBJECT, 2},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct json json = parsed(cases[i].text);
        assert_int_equal(json.values->type, cases[i].type);
        assert_int_equal(json.values->count, cases[i].count);
        json_free(&json);
    }
}

static const struct {
    const char *text;
    const char *message;
} refused[] = {
    {"", "line 1, column 1: the text ends where a JSON value is expected"},
    {" \n ", "line 2, column 2: the text ends where a JSON value is expected"},
    {"nul", "line 1, column 1: a JSON value is expected here"},
    {"nulll", "line 1, column 5: nothing may follow the JSON value"},
    {"True", "line 1, column 1: a JSON value is expected here"},
    {"NaN", "line 1, column 1: a JSON value is expected here"},
    {"Infinity", "line 1, column 1: a JSON value is expected here"},
    {"'a'", "line 1, column 1: a JSON value is expected here"},
    {"\xef\xbb\xbf{}", "line 1, column 1: a JSON value is expected here"},
    {"// no\n1", "line 1, column 1: a JSON value is expected here"},
    {"+1", "line 1, column 1: a JSON value is expected here"},
    {".5", "line 1, column 1: a JSON value is expected here"},
    {"-", "line 1, column 2: a number needs digits"},
    {"-a", "line 1, column 2: a number needs digits"},
    {"-Infinity", "line 1, column 2: a number needs digits"},
    {"01", "line 1, column 2: a number must not begin with 0"},
    {"-012", "line 1, column 3: a number must not begin with 0"},
    {"[00]", "line 1, column 3: a number must not begin with 0"},
    {"1.", "line 1, column 3: a number needs digits after its point"},
    {"1.e5", "line 1, column 3: a number needs digits after its point"},
    {"1e", "line 1, column 3: a number needs digits in its exponent"},
    {"1e+", "line 1, column 4: a number needs digits in its exponent"},
    {"1e1.5", "line 1, column 4: nothing may follow the JSON value"},
    {"0x10", "line 1, column 2: nothing may follow the JSON value"},
    {"1 2", "line 1, column 3: nothing may follow the JSON value"},
    {"{}}", "line 1, column 3: nothing may follow the JSON value"},
    {"\"", "line 1, column 2: string without closing quote"},
    {"\"a", "line 1, column 3: string without closing quote"},
    {"\"a\nb\"", "line 1, column 3: control character in string: write it as an escape"},
    {"\"\x1f\"", "line 1, column 2: control character in string: write it as an escape"},
    {"\"\\x\"", "line 1, column 2: unknown escape in string"},
    {"\"\\", "line 1, column 2: unknown escape in string"},
    {"\"\\u12\"", "line 1, column 2: \\u must be followed by four hexadecimal digits"},
    {"\"\\u12", "line 1, column 2: \\u must be followed by four hexadecimal digits"},
    {"\"\\u00g0\"", "line 1, column 2: \\u must be followed by four hexadecimal digits"},
    {"\"\\U0041\"", "line 1, column 2: unknown escape in string"},
    {"\"ab\x80\"", "line 1, column 4: string is not valid UTF-8"},
    {"\"\xc0\x80\"", "line 1, column 2: string is not valid UTF-8"},
    {"\"\xe2\x82\"", "line 1, column 2: string is not valid UTF-8"},
    {"\"\xed\xa0\x80\"", "line 1, column 2: string is not valid UTF-8"},
    {"\"\xf4\x90\x80\x80\"", "line 1, column 2: string is not valid UTF-8"},
    {"\"\xff\"", "line 1, column 2: string is not valid UTF-8"},
    {"[", "line 1, column 2: the text ends where a JSON value is expected"},
    {"[1", "line 1, column 3: a comma or ] is expected in this array"},
    {"[1 2]", "line 1, column 4: a comma or ] is expected in this array"},
    {"[1,]", "line 1, column 4: a JSON value is expected here"},
    {"[,1]", "line 1, column 2: a JSON value is expected here"},
    {"[1,,2]", "line 1, column 4: a JSON value is expected here"},
    {"[1}", "line 1, column 3: a comma or ] is expected in this array"},
    {"]", "line 1, column 1: a JSON value is expected here"},
    {"{", "line 1, column 2: a key in double quotes is expected in this object"},
    {"{a:1}", "line 1, column 2: a key in double quotes is expected in this object"},
    {"{1:1}", "line 1, column 2: a key in double quotes is expected in this object"},
    {"{\"a\":1,}", "line 1, column 8: a key in double quotes is expected in this object"},
    {"{\"a\" 1}", "line 1, column 6: a colon is expected after the key"},
    {"{\"a\":}", "line 1, column 6: a JSON value is expected here"},
    {"{\"a\":1 \"b\":2}", "line 1, column 8: a comma or } is expected in this object"},
    {"{\"a\":1]", "line 1, column 7: a comma or } is expected in this object"},
    {"{\r\n  \"a\": 1,\r\n  \"b\": nil\r\n}", "line 3, column 8: a JSON value is expected here"},
    {"[\"\xc3\xa9\", x]", "line 1, column 8: a JSON value is expected here"}, /* in bytes */
    {"{\"a\":1,\n \"a\":2}", "line 2, column 2: this key stands twice in the object"},
};

static void refuses_everything_else_and_says_where(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(refused); i++) {
        struct json json = {.count = 77};
        struct rota_error error = {0};
        if (json_parse(&json, refused[i].text, strlen(refused[i].text), &error) == 0)
            fail_msg("%s was taken", refused[i].text);
        assert_string_equal(error.message, refused[i].message);
        assert_int_equal(error.code, ERROR_REFUSED);
        assert_int_equal(json.count, 77); /* untouched */
    }
}

static void a_zero_byte_is_no_end_and_no_space(void **state)
{
    static const struct {
        const char *text;
        size_t length;
    } cases[] = {{"\0", 1},    {"1\0", 2},      {"\"\0\"", 3},
                 {"[1\0]", 4}, {"\"\\\0\"", 4}, {"\"\\u\0041\"", 7}};
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct json json;
        assert_int_equal(json_parse(&json, cases[i].text, cases[i].length, NULL), -1);
    }
}

static void a_text_cut_anywhere_is_refused(void **state)
{
    static const char text[] = "{\"a\":[1.5e3,\"\\u00e9\xc3\xa9\",true],\"b\":{\"c\":null}}";
    (void)state;
    for (size_t length = 0; length < sizeof text - 1; length++) {
        char *cut =
            malloc(length > 0 ? length : 1); /* a reader that goes too far is seen by ASan */
        struct json json;
        memcpy(cut, text, length);
        assert_int_equal(json_parse(&json, cut, length, NULL), -1);
        free(cut);
    }
}

static void values_are_the_bytes_of_the_text(void **state)
{
    static const char text[] =
        " { \"n\" : 1234567890123456789 ,\n\"f\":1.0e+05, \"s\":\"\\u00E9\\/\","
        "\"deep\" : [ 0 , [ ] , { \"x\" : -0.0 } ] }\n";
    (void)state;
    struct json json = parsed(text);
    const struct json_value *root = json.values;
    assert_int_equal(root->raw.data - text, 1);
    assert_int_equal(root->raw.length, strlen(text) - 2);
    assert_raw(json_get(&json, root, "n"), "1234567890123456789");
    assert_raw(json_get(&json, root, "f"), "1.0e+05");
    assert_raw(json_get(&json, root, "s"), "\"\\u00E9\\/\"");
    const struct json_value *deep = json_get(&json, root, "deep");
    assert_raw(deep, "[ 0 , [ ] , { \"x\" : -0.0 } ]");
    const struct json_value *item = json_first(&json, deep);
    assert_raw(item, "0");
    assert_raw(item = json_next(&json, item), "[ ]");
    assert_null(json_first(&json, item));
    assert_raw(item = json_next(&json, item), "{ \"x\" : -0.0 }");
    assert_raw(json_get(&json, item, "x"), "-0.0");
    assert_null(json_next(&json, item));
    assert_null(json_get(&json, root, "absent"));
    assert_null(json_get(&json, deep, "x"));
    assert_null(json_get(&json, NULL, "x"));
    json_free(&json);
}

static void every_value_knows_its_line_and_column(void **state)
{
    int line, column;
    (void)state;
    struct json json = parsed("{\n  \"a\": [1,\n2],\r\n\"\xc3\xa9\": 3}");
    const struct json_value *list = json_get(&json, json.values, "a");
    json_position(&json, json.values, &line, &column);
    assert_int_equal(line, 1);
    assert_int_equal(column, 1);
    json_position(&json, list, &line, &column);
    assert_int_equal(line, 2);
    assert_int_equal(column, 8);
    json_position(&json, json_next(&json, json_first(&json, list)), &line, &column);
    assert_int_equal(line, 3);
    assert_int_equal(column, 1);
    json_position(&json, json_get(&json, json.values, "\xc3\xa9"), &line, &column);
    assert_int_equal(line, 4);
    assert_int_equal(column, 7);
    json_free(&json);
}

static void strings_are_decoded(void **state)
{
    static const struct {
        const char *json;
        const char *text; /* NULL: it holds U+0000 */
    } cases[] = {
        {"\"\"", ""},
        {"\"plain \xe2\x82\xac\"", "plain \xe2\x82\xac"},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t"},
        {"\"\\u0041\\u00e9\\u20AC\"", "A\xc3\xa9\xe2\x82\xac"},
        {"\"\\u007f\\u0080\\u07ff\\u0800\\uffff\"", "\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf"},
        {"\"\\ud83d\\ude00\"", "\xf0\x9f\x98\x80"},
        {"\"\\uD800\\uDC00\\udbff\\udfff\"", "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"},
        /* lone surrogates have no UTF-8: U+FFFD, one each */
        {"\"\\ud800\"", "\xef\xbf\xbd"},
        {"\"\\udc00x\"", "\xef\xbf\xbdx"},
        {"\"\\ud800\\ud800\\udc00\"", "\xef\xbf\xbd\xf0\x90\x80\x80"},
        {"\"\\ud800\\u0041\"", "\xef\xbf\xbd"
                               "A"},
        {"\"\\ud800\\\\\"", "\xef\xbf\xbd\\"},
        {"\"a\\u0000b\"", NULL},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct json json = parsed(cases[i].json);
        char *text = json_text(json.values);
        if (cases[i].text == NULL) {
            assert_null(text);
        } else {
            assert_string_equal(text, cases[i].text);
            assert_true(text_is_utf8(text, strlen(text)));
            assert_true(json_is(json.values, cases[i].text));
        }
        assert_false(json_is(json.values, "something else"));
        free(text);
        json_free(&json);
    }
}

static void numbers_are_read_or_refused(void **state)
{
    static const struct {
        const char *json;
        int whole; /* what json_int64() returns */
        int64_t number;
        double real;
    } cases[] = {
        {"0", 0, 0, 0},
        {"-0", 0, 0, 0},
        {"9223372036854775807", 0, INT64_MAX, 9223372036854775807.0},
        {"-9223372036854775808", 0, INT64_MIN, -9223372036854775808.0},
        {"9223372036854775808", -1, 0, 9223372036854775808.0},
        {"1.0", -1, 0, 1},
        {"1e3", -1, 0, 1000},
        {"-2.5e-1", -1, 0, -0.25},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct json json = parsed(cases[i].json);
        int64_t number = 0;
        double real = -1;
        assert_int_equal(json_int64(json.values, &number), cases[i].whole);
        assert_int_equal(number, cases[i].number);
        assert_int_equal(json_double(json.values, &real), 0);
        assert_true(real == cases[i].real);
        json_free(&json);
    }
}

static void what_no_double_can_hold_is_refused(void **state)
{
    static const char *const cases[] = {
        "1e999", "-1e999", "\"1\"", "true",
        "1.0000000000000000000000000000000000000000000000000000000000000000000001"};
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct json json = parsed(cases[i]);
        double real = 42;
        assert_int_equal(json_double(json.values, &real), -1);
        assert_true(real == 42);
        json_free(&json);
    }
}

static char *nested(size_t depth, const char *open, const char *inner, const char *close)
{
    struct buffer text = {0};
    for (size_t i = 0; i < depth; i++)
        buffer_string(&text, open);
    buffer_string(&text, inner);
    for (size_t i = 0; i < depth; i++)
        buffer_string(&text, close);
    buffer_text(&text);
    return text.data;
}

static void nesting_ends_at_64(void **state)
{
    static const struct {
        const char *open, *inner, *close;
        int more; /* columns of `open` */
    } cases[] = {{"[", "", "]", 1}, {"[", "1", "]", 1}, {"{\"a\":", "{}", "}", 5}};
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        size_t inner = cases[i].inner[0] == '{' ? 1 : 0;
        char *text = nested(JSON_DEPTH_MAX - inner, cases[i].open, cases[i].inner, cases[i].close);
        struct json json = parsed(text);
        json_free(&json);
        free(text);
        text = nested(JSON_DEPTH_MAX + 1 - inner, cases[i].open, cases[i].inner, cases[i].close);
        struct rota_error error = {0};
        assert_int_equal(json_parse(&json, text, strlen(text), &error), -1);
        char *expected =
            mem_format("line 1, column %d: nested too deeply", JSON_DEPTH_MAX * cases[i].more + 1);
        assert_string_equal(error.message, expected);
        free(expected);
        free(text);
    }
    char *wide = nested(1000, "[[[[]]]],", "", "");
    wide[strlen(wide) - 1] = '\0';
    char *text = mem_format("[%s]", wide); /* siblings do not add up */
    struct json json = parsed(text);
    assert_int_equal(json.values->count, 1000);
    json_free(&json);
    free(wide);
    free(text);
}

static void a_key_that_stands_twice_is_found_however_it_is_spelled(void **state)
{
    static const char *const twice[] = {
        "{\"a\":1,\"a\":2}",
        "{\"a\":1,\"\\u0061\":2}",
        "{\"\\u0061\":1,\"a\":2}",
        "{\"\\/\":1,\"/\":2}",
        "{\"\":1,\"\":2}",
        "{\"x\":{\"a\":1,\"b\":2,\"a\":3}}",
        "[{\"\\ud83d\\ude00\":1,\"\xf0\x9f\x98\x80\":2}]",
        "{\"\\u0000\":1,\"\\u0000\":2}",
    };
    static const char *const fine[] = {
        "{\"a\":1,\"A\":2}",
        "{\"a\":{\"a\":{\"a\":1}}}",
        "{\"a\":1,\"a \":2}",
        "{\"\":1,\"\\u0000\":2}",
        "{\"\\ud800\":1,\"\\ud801\":2,\"\\ufffd\":3}",
        "[{\"a\":1},{\"a\":1}]",
        "{\"a\\u0000\":1,\"a\":2}",
    };
    (void)state;
    for (size_t i = 0; i < COUNT(twice); i++) {
        struct json json;
        struct rota_error error = {0};
        assert_int_equal(json_parse(&json, twice[i], strlen(twice[i]), &error), -1);
        assert_non_null(strstr(error.message, "this key stands twice in the object"));
    }
    for (size_t i = 0; i < COUNT(fine); i++) {
        struct json json = parsed(fine[i]);
        json_free(&json);
    }
}

/* An object of `count` members k0, k1, … one a line, the last with `last` as its key. */
static char *many_members(int count, const char *last)
{
    struct buffer text = {0};
    buffer_char(&text, '{');
    for (int i = 0; i < count; i++)
        buffer_format(&text, "\"%s%d\":%d,\n", i % 3 == 0 ? "\\u006b" : "k", i, i);
    buffer_format(&text, "\"%s\":0}", last);
    buffer_text(&text);
    return text.data;
}

static void a_key_that_stands_twice_is_found_among_many(void **state)
{
    static const int counts[] = {1, 31, 32, 33, 34, 300, 20000};
    (void)state;
    for (size_t i = 0; i < COUNT(counts); i++) {
        struct rota_error error = {0};
        struct json json;
        char *text = many_members(counts[i], "other");
        json = parsed(text);
        assert_int_equal(json.values->count, counts[i] + 1);
        json_free(&json);
        free(text);
        text = many_members(counts[i], "k\\u0030");
        assert_int_equal(json_parse(&json, text, strlen(text), &error), -1);
        char *expected =
            mem_format("line %d, column 1: this key stands twice in the object", counts[i] + 1);
        assert_string_equal(error.message, expected);
        free(expected);
        free(text);
    }
}

static void keys_are_looked_up_however_they_are_spelled(void **state)
{
    (void)state;
    char *text = many_members(100, "\\u00e9");
    struct json json = parsed(text),
                asked = parsed("[\"k7\",\"\\u006b12\",\"\xc3\xa9\",\"k100\",\"\"]");
    struct json_keys keys;
    json_keys_sort(&json, json.values, &keys);
    const struct json_value *key = json_first(&asked, asked.values);
    for (int i = 0; i < 5; i++, key = json_next(&asked, key))
        assert_int_equal(json_keys_have(&keys, key), i < 3);
    assert_null(json_keys_twice(&keys));
    json_keys_free(&keys);
    json_free(&json);
    json_free(&asked);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_what_the_standard_takes),
        cmocka_unit_test(refuses_everything_else_and_says_where),
        cmocka_unit_test(a_zero_byte_is_no_end_and_no_space),
        cmocka_unit_test(a_text_cut_anywhere_is_refused),
        cmocka_unit_test(values_are_the_bytes_of_the_text),
        cmocka_unit_test(every_value_knows_its_line_and_column),
        cmocka_unit_test(strings_are_decoded),
        cmocka_unit_test(numbers_are_read_or_refused),
        cmocka_unit_test(what_no_double_can_hold_is_refused),
        cmocka_unit_test(nesting_ends_at_64),
        cmocka_unit_test(a_key_that_stands_twice_is_found_however_it_is_spelled),
        cmocka_unit_test(a_key_that_stands_twice_is_found_among_many),
        cmocka_unit_test(keys_are_looked_up_however_they_are_spelled),
    };
    return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
