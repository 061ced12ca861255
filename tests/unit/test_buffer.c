/* The growing buffer: what goes in comes out, and JSON it writes is JSON whatever the bytes are. */
#include "base/buffer.h"

#include "base/error.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(table) (sizeof(table) / sizeof *(table))

static void what_is_appended_is_taken_from_the_front(void **state)
{
    struct buffer buffer = {0};
    (void)state;
    buffer_string(&buffer, "abc");
    buffer_char(&buffer, '-');
    buffer_int(&buffer, INT64_MIN);
    buffer_format(&buffer, "%s%d", "/", 7);
    buffer_append(&buffer, "", 0);
    buffer_append(&buffer, NULL, 0);
    assert_string_equal(buffer_text(&buffer), "abc--9223372036854775808/7");
    size_t length = buffer.length;
    buffer_consume(&buffer, 4);
    assert_int_equal(buffer.length, length - 4);
    assert_memory_equal(buffer.data, "-92", 3);
    buffer_consume(&buffer, 1000);
    assert_int_equal(buffer.length, 0);
    buffer_format(&buffer, "%s", "");
    assert_string_equal(buffer_text(&buffer), "");
    buffer_clear(&buffer);
    buffer_free(&buffer);
    assert_null(buffer.data);
    buffer_string(&buffer, "usable again");
    assert_string_equal(buffer_text(&buffer), "usable again");
    buffer_free(&buffer);
    buffer_free(&buffer);
}

static void it_grows_over_any_sequence_of_appends_and_consumes(void **state)
{
    struct buffer buffer = {0};
    char *model = malloc(1 << 20);
    size_t first = 0, last = 0;
    uint64_t seed = 3;
    (void)state;
    for (int round = 0; round < 3000; round++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        size_t size = (seed >> 40) % 300;
        if (seed >> 63) {
            size = size < last - first ? size : last - first;
            buffer_consume(&buffer, size);
            first += size;
        } else if (last + size <= 1 << 20) {
            for (size_t i = 0; i < size; i++)
                model[last + i] = (char)(seed >> (i % 50));
            buffer_append(&buffer, model + last, size);
            last += size;
        }
        assert_int_equal(buffer.length, last - first);
        if (last > first)
            assert_memory_equal(buffer.data, model + first, last - first);
    }
    free(model);
    buffer_free(&buffer);
}

static void reserved_room_is_there(void **state)
{
    struct buffer buffer = {0};
    (void)state;
    for (size_t size = 1; size < 100000; size = size * 3 + 1) {
        size_t before = buffer.length;
        memset(buffer_reserve(&buffer, size), 'x', size);
        assert_int_equal(buffer.length, before);
        assert_true(buffer.capacity >= before + size);
        buffer.length += size;
    }
    buffer_free(&buffer);
}

/* The text as JSON, decoded again by the reader; to be freed. NULL: it holds U+0000. */
static char *through_json(const char *text, size_t length)
{
    struct buffer buffer = {0};
    struct json json;
    struct rota_error error = {0};
    buffer_json(&buffer, text, length);
    if (json_parse(&json, buffer.data, buffer.length, &error) != 0)
        fail_msg("%.*s: %s", (int)buffer.length, buffer.data, error.message);
    char *again = json_text(json.values);
    json_free(&json);
    buffer_free(&buffer);
    return again;
}

static void every_byte_is_escaped_as_json_wants_it(void **state)
{
    (void)state;
    for (int byte = 0; byte < 256; byte++) {
        char text[4] = {'a', (char)byte, 'b', '\0'}, expected[16];
        struct buffer buffer = {0};
        if (byte == '"' || byte == '\\')
            snprintf(expected, sizeof expected, "\"a\\%cb\"", byte);
        else if (byte == '\n' || byte == '\r' || byte == '\t')
            snprintf(expected, sizeof expected, "\"a\\%cb\"",
                     byte == '\n'   ? 'n'
                     : byte == '\r' ? 'r'
                                    : 't');
        else if (byte < 0x20 || byte == 0x7f)
            snprintf(expected, sizeof expected, "\"a\\u%04xb\"", byte);
        else if (byte < 0x80)
            snprintf(expected, sizeof expected, "\"a%cb\"", byte);
        else
            snprintf(expected, sizeof expected,
                     "\"a\xef\xbf\xbd"
                     "b\"");
        buffer_json(&buffer, text, 3);
        assert_string_equal(buffer_text(&buffer), expected);
        buffer_free(&buffer);
    }
}

static void what_is_not_utf8_becomes_one_replacement_a_byte(void **state)
{
#define R "\xef\xbf\xbd"
    static const struct {
        const char *text;
        const char *expected;
    } cases[] = {
        {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"},
        {"\x80", R},
        {"\xc0\xaf", R R},             /* overlong */
        {"\xe0\x80\xaf", R R R},       /* overlong */
        {"\xf0\x80\x80\xaf", R R R R}, /* overlong */
        {"\xed\xa0\x80", R R R},       /* a surrogate */
        {"\xf4\x90\x80\x80", R R R R}, /* above U+10FFFF */
        {"\xf8\x88\x80\x80\x80", R R R R R},
        {"\xe2\x82", R R}, /* cut */
        {"\xe2\x82z", R R "z"},
        {"\xc3\xc3\xa9", R "\xc3\xa9"},
        {"\xff\xfe", R R},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char *again = through_json(cases[i].text, strlen(cases[i].text));
        assert_string_equal(again, cases[i].expected);
        free(again);
    }
}

static void random_bytes_are_always_json(void **state)
{
    uint64_t seed = 11;
    (void)state;
    for (int round = 0; round < 20000; round++) {
        char text[24];
        size_t length = 0;
        for (size_t i = 0; i < sizeof text; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            text[i] = (char)(seed >> 56);
            length = (seed >> 40) % sizeof text;
        }
        char *again = through_json(text, length);
        bool zero = memchr(text, '\0', length) != NULL;
        assert_true(zero == (again == NULL));
        if (again != NULL && text_is_utf8(text, length)) {
            assert_int_equal(strlen(again), length);
            assert_memory_equal(again, text, length);
        }
        free(again);
    }
}

static void utf8_is_what_rfc_3629_says(void **state)
{
    (void)state;
    assert_int_equal(text_utf8_length("", 0), 0);
    for (uint32_t code = 0; code <= 0x10ffff; code++) {
        char text[4];
        size_t length = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
        if (length == 1) {
            text[0] = (char)code;
        } else {
            static const unsigned char marks[] = {0, 0, 0xc0, 0xe0, 0xf0};
            for (size_t i = 0; i < length; i++)
                text[length - 1 - i] = (char)(0x80 | ((code >> (6 * i)) & 0x3f));
            text[0] = (char)(marks[length] | (code >> (6 * (length - 1))));
        }
        bool surrogate = code >= 0xd800 && code <= 0xdfff;
        assert_int_equal(text_utf8_length(text, length), surrogate ? 0 : length);
        if (length > 1)
            assert_int_equal(text_utf8_length(text, length - 1), 0);
    }
}

static void an_error_keeps_its_code_and_gets_its_place_before_it(void **state)
{
    struct rota_error error = {.sqlstate = "40001"};
    (void)state;
    assert_int_equal(error_set(NULL, ERROR_USAGE, "nobody asks"), -1);
    assert_int_equal(error_prefix(NULL, "nobody asks"), -1);
    assert_int_equal(error_set(&error, ERROR_NOT_FOUND, "no job \"%s\"", "a"), -1);
    assert_int_equal(error.code, ERROR_NOT_FOUND);
    assert_string_equal(error.sqlstate, "");
    assert_int_equal(error_prefix(&error, "line %d", 3), -1);
    assert_string_equal(error.message, "line 3: no job \"a\"");
    assert_int_equal(error.code, ERROR_NOT_FOUND);
}

static void a_long_error_is_cut_at_its_end(void **state)
{
    struct rota_error error;
    char *text = mem_array(5000, 1);
    (void)state;
    memset(text, 'x', 4999);
    error_set(&error, ERROR_REFUSED, "%s", text);
    assert_int_equal(strlen(error.message), sizeof error.message - 1);
    error_prefix(&error, "here");
    assert_int_equal(strlen(error.message), sizeof error.message - 1);
    assert_memory_equal(error.message, "here: xxx", 9);
    error_prefix(&error, "%s", text);
    assert_int_equal(strlen(error.message), sizeof error.message - 1);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_appended_is_taken_from_the_front),
        cmocka_unit_test(it_grows_over_any_sequence_of_appends_and_consumes),
        cmocka_unit_test(reserved_room_is_there),
        cmocka_unit_test(every_byte_is_escaped_as_json_wants_it),
        cmocka_unit_test(what_is_not_utf8_becomes_one_replacement_a_byte),
        cmocka_unit_test(random_bytes_are_always_json),
        cmocka_unit_test(utf8_is_what_rfc_3629_says),
        cmocka_unit_test(an_error_keeps_its_code_and_gets_its_place_before_it),
        cmocka_unit_test(a_long_error_is_cut_at_its_end),
    };
    return cmocka_run_group_tests_name("buffer", tests, NULL, NULL);
}
