/* Small questions about text: numbers, words for yes and no, the hash that never changes, the
 * nearest word. */
#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(table) (sizeof(table) / sizeof *(table))

static void whole_numbers_are_read(void **state)
{
    static const struct {
        const char *text;
        int64_t number;
    } cases[] = {
        {"0", 0},
        {"-0", 0},
        {"7", 7},
        {"-7", -7},
        {"007", 7},
        {"9223372036854775807", INT64_MAX},
        {"-9223372036854775808", INT64_MIN},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        int64_t number = 99;
        assert_int_equal(text_int64(cases[i].text, strlen(cases[i].text), &number), 0);
        assert_int_equal(number, cases[i].number);
    }
}

static void what_is_no_whole_number_is_refused(void **state)
{
    static const char *const cases[] = {"",
                                        "-",
                                        "+1",
                                        " 1",
                                        "1 ",
                                        "1.0",
                                        "1e3",
                                        "0x1",
                                        "--1",
                                        "1-",
                                        "9223372036854775808",
                                        "-9223372036854775809",
                                        "99999999999999999999",
                                        "\xc2\xb2"};
    int64_t number = 99;
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_int_equal(text_int64(cases[i], strlen(cases[i]), &number), -1);
    assert_int_equal(text_int64("1\0", 2, &number), -1);
    assert_int_equal(number, 99);
    assert_int_equal(text_int64("123456", 3, &number), 0); /* no more than it was given */
    assert_int_equal(number, 123);
}

static void yes_and_no_have_four_names_each(void **state)
{
    static const char *const yes[] = {"true", "TRUE", "True", "yes", "on", "1"};
    static const char *const no[] = {"false", "No", "OFF", "0"};
    static const char *const neither[] = {"", "2", "t", "truee", " true", "enabled"};
    (void)state;
    for (size_t i = 0; i < COUNT(yes); i++) {
        bool value = false;
        assert_int_equal(text_bool(yes[i], &value), 0);
        assert_true(value);
    }
    for (size_t i = 0; i < COUNT(no); i++) {
        bool value = true;
        assert_int_equal(text_bool(no[i], &value), 0);
        assert_false(value);
    }
    for (size_t i = 0; i < COUNT(neither); i++) {
        bool value = true;
        assert_int_equal(text_bool(neither[i], &value), -1);
        assert_true(value);
    }
}

/*
 * H in cron is spread by this hash: another value moves the schedules of everybody. The numbers are
 * FNV-1a (64 bits) put through the finalizer of MurmurHash3, worked out apart from this code.
 */
static void the_hash_is_the_same_for_ever(void **state)
{
    static const struct {
        const char *text;
        size_t length;
        uint64_t hash;
    } cases[] = {
        {"", 0, 0xefd01f60ba992926u},
        {"a", 1, 0x82a2a958a9bece5bu},
        {"nightly", 7, 0x8dd353801696c292u},
        {"nightly-report", 14, 0xaa60439b41fd3561u},
        {"Nightly", 7, 0x30f8a0d7a6e0a82cu},
        {"b\xc3"
         "\xbc"
         "cher",
         7, 0x01c5bd1504e58899u},
        {"a\0"
         "b",
         3, 0xab78f5eca36d0e2bu},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_int_equal(text_hash(cases[i].text, cases[i].length), cases[i].hash);
}

static void the_hash_spreads_names_that_are_alike(void **state)
{
    int minutes[60] = {0};
    (void)state;
    for (int i = 0; i < 6000; i++) {
        char name[] = "trigger-0000";
        for (int digit = 11, rest = i; digit > 7; digit--, rest /= 10)
            name[digit] = (char)('0' + rest % 10);
        minutes[text_hash(name, strlen(name)) % 60]++;
    }
    for (int i = 0; i < 60; i++)
        assert_in_range(minutes[i], 60, 140); /* 100 on average, standard deviation 10 */
}

static const char *nearest(const char *word)
{
    static const char *const words[] = {
        "requests_recovery", "timezone", "timeout", "cron", "every", "at", "priority"};
    return text_nearest(word, words, COUNT(words));
}

static void a_typing_error_finds_the_word_that_was_meant(void **state)
{
    (void)state;
    assert_string_equal(nearest("timezone"), "timezone");
    assert_string_equal(nearest("timzone"), "timezone");
    assert_string_equal(nearest("tiemout"), "timeout");
    assert_string_equal(nearest("croon"), "cron");
    assert_string_equal(nearest("crn"), "cron");
    assert_string_equal(nearest("evrey"), "every");
    assert_string_equal(nearest("request_recovery"), "requests_recovery");
    assert_string_equal(nearest("requestsrecovery"), "requests_recovery");
    assert_string_equal(nearest("prioritaet"), "priority");
}

static void a_word_that_is_far_from_all_finds_none(void **state)
{
    char *word = malloc(1001);
    (void)state;
    assert_null(nearest("description"));
    assert_null(nearest("zzzzzz"));
    assert_null(nearest(""));
    assert_null(text_nearest("cron", NULL, 0));
    for (size_t length = 60; length <= 1000; length++) { /* however long it is */
        memset(word, 'x', length);
        word[length] = '\0';
        assert_null(nearest(word));
    }
    const char *long_words[] = {word};
    assert_null(text_nearest("xxx", long_words, 1));
    assert_null(text_nearest(word, long_words, 1)); /* longer than it compares */
    free(word);
}

static void a_text_is_cut_at_a_whole_character(void **state)
{
    (void)state;
    assert_int_equal(text_cut("abc", 3, 2), 2);
    assert_int_equal(text_cut("abc", 3, 3), 3);
    assert_int_equal(text_cut("abc", 3, 9), 3);
    assert_int_equal(text_cut("", 0, 9), 0);
    assert_int_equal(text_cut("\xc3\xa4\xe2\x82\xac!", 6, 1), 2);
    assert_int_equal(text_cut("\xc3\xa4\xe2\x82\xac!", 6, 2), 5);
    assert_int_equal(text_cut("\xc3\xa4\xe2\x82\xac!", 6, 0), 0);
    assert_int_equal(text_cut("\xff\xff!", 3, 2), 2); /* what is no UTF-8 counts byte by byte */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_numbers_are_read),
        cmocka_unit_test(what_is_no_whole_number_is_refused),
        cmocka_unit_test(yes_and_no_have_four_names_each),
        cmocka_unit_test(the_hash_is_the_same_for_ever),
        cmocka_unit_test(the_hash_spreads_names_that_are_alike),
        cmocka_unit_test(a_typing_error_finds_the_word_that_was_meant),
        cmocka_unit_test(a_word_that_is_far_from_all_finds_none),
        cmocka_unit_test(a_text_is_cut_at_a_whole_character),
    };
    return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
