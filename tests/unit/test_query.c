/* Texts of HTTP requests: queries, escapes, cursors; and tokens. */
#include "coord/http/query.h"
#include "coord/token.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(table) (sizeof(table) / sizeof *(table))

static void parameters_are_decoded_and_found_by_name(void **state)
{
    struct query query;
    struct rota_error error = {0};
    (void)state;
    assert_int_equal(query_parse("a=1&b+c=x%20y%26&d&=e&&f=%E2%82%AC=", &query, &error), 0);
    assert_int_equal(query.count, 5);
    assert_string_equal(query_get(&query, "a"), "1");
    assert_string_equal(query_get(&query, "b c"), "x y&");
    assert_string_equal(query_get(&query, "d"), "");
    assert_string_equal(query_get(&query, ""), "e");
    assert_string_equal(query_get(&query, "f"), "\xe2\x82\xac=");
    assert_null(query_get(&query, "g"));
    query_free(&query);
    assert_int_equal(query_parse(NULL, &query, &error), 0);
    assert_int_equal(query.count, 0);
    assert_int_equal(query_parse("", &query, &error), 0);
    assert_int_equal(query.count, 0);
}

static void what_cannot_be_decoded_is_refused_with_its_reason(void **state)
{
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"a=%", "broken escape"},        {"a=%2", "broken escape"},  {"a=%zz", "broken escape"},
        {"%4", "broken escape"},         {"a=%00", "broken escape"}, {"a=%ff", "broken escape"},
        {"a=%c3%28", "broken escape"},   {"a=1&a=2", "given twice"}, {"a=1&%61=2", "given twice"},
        {"a&b=%e2%82", "broken escape"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct query query;
        struct rota_error error = {0};
        assert_int_equal(query_parse(cases[i].text, &query, &error), -1);
        assert_non_null(strstr(error.message, cases[i].part));
    }
}

static void more_parameters_than_any_route_has_are_refused(void **state)
{
    char text[QUERY_PARAMETERS_MAX * 8 + 20] = "";
    size_t length = 0;
    struct query query;
    struct rota_error error = {0};
    (void)state;
    for (int i = 0; i <= QUERY_PARAMETERS_MAX; i++)
        length += (size_t)snprintf(text + length, sizeof text - length, "p%d=1&", i);
    assert_int_equal(query_parse(text, &query, &error), -1);
    assert_non_null(strstr(error.message, "more than"));
}

static void a_plus_is_a_space_in_queries_alone(void **state)
{
    char *in_query = query_decode("a+b", 3, true), *in_path = query_decode("a+b%2f", 6, false);
    (void)state;
    assert_string_equal(in_query, "a b");
    assert_string_equal(in_path, "a+b/");
    free(in_query);
    free(in_path);
}

static void numbers_are_whole_and_not_negative(void **state)
{
    static const char *const bad[] = {"",   "-1", "-0",  "1.5",
                                      " 1", "1 ", "0x1", "9223372036854775808"};
    int64_t number = 7;
    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_int_equal(query_number(bad[i], &number), -1);
    assert_int_equal(query_number("9223372036854775807", &number), 0);
    assert_int_equal(number, INT64_MAX);
}

static void cursors_are_arrays_of_texts_and_nothing_else(void **state)
{
    static const char *const bad[] = {"",
                                      "!",
                                      "WzFd" /* [1] */,
                                      "W10" /* [] */,
                                      "eyJ9",
                                      "e30" /* {} */,
                                      "ImEi" /* "a" */,
                                      "W1tdXQ" /* [[]] */,
                                      "WyJhIl0=",
                                      "A"};
    char *cursor = query_cursor("WyJhIixudWxsXQ"); /* ["a",null] */
    (void)state;
    assert_string_equal(cursor, "[\"a\",null]");
    free(cursor);
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_null(query_cursor(bad[i]));
}

static void tokens_have_a_key_and_are_none_alike(void **state)
{
    char first[TOKEN_TEXT_SIZE], second[TOKEN_TEXT_SIZE], key[TOKEN_KEY_SIZE];
    struct rota_error error = {0};
    (void)state;
    assert_int_equal(token_make(first, &error), 0);
    assert_int_equal(token_make(second, &error), 0);
    assert_string_not_equal(first, second);
    assert_int_equal(strlen(first), 61);
    assert_int_equal(token_split(first, key), 0);
    assert_memory_equal(first + 5, key, 12);
    first[60] = '\0';
    assert_int_equal(token_split(first, key), -1);
    second[4] = '-';
    assert_int_equal(token_split(second, key), -1);
    assert_int_equal(token_split("", key), -1);
    assert_int_equal(token_split("rota_", key), -1);
}

static void a_hash_is_that_of_its_token(void **state)
{
    /* SHA-256 of "abc", FIPS 180-2, appendix B.1 */
    static const unsigned char known[TOKEN_HASH_SIZE] = {
        0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40,
        0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17,
        0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
    unsigned char hash[TOKEN_HASH_SIZE];
    const struct slice stored = {(const char *)known, sizeof known},
                       cut = {(const char *)known, 31};
    (void)state;
    token_hash("abc", hash);
    assert_memory_equal(hash, known, sizeof known);
    assert_true(token_same(stored, hash));
    assert_false(token_same(cut, hash));
    hash[31] ^= 1;
    assert_false(token_same(stored, hash));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameters_are_decoded_and_found_by_name),
        cmocka_unit_test(what_cannot_be_decoded_is_refused_with_its_reason),
        cmocka_unit_test(more_parameters_than_any_route_has_are_refused),
        cmocka_unit_test(a_plus_is_a_space_in_queries_alone),
        cmocka_unit_test(numbers_are_whole_and_not_negative),
        cmocka_unit_test(cursors_are_arrays_of_texts_and_nothing_else),
        cmocka_unit_test(tokens_have_a_key_and_are_none_alike),
        cmocka_unit_test(a_hash_is_that_of_its_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
