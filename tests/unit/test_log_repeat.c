/* Repetitions in the log are left out and counted; what is said rarely never is. */
#include "base/log_repeat.h"
#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int64_t passed(struct log_repeats *repeats, const char *message, int times, int64_t now_us,
                      int64_t *ret_left_out)
{
    int64_t count = 0, left_out = 0;
    *ret_left_out = 0;
    for (int i = 0; i < times; i++) {
        count += log_repeats_pass(repeats, message, now_us, &left_out);
        *ret_left_out += left_out;
    }
    return count;
}

static void a_burst_is_cut_and_the_next_line_has_the_count(void **state)
{
    struct log_repeats *repeats = log_repeats_new();
    int64_t left_out;
    (void)state;
    assert_int_equal(passed(repeats, "a", LOG_BURST + 7, 5, &left_out), LOG_BURST);
    assert_int_equal(left_out, 0);
    assert_int_equal(passed(repeats, "a", 1, LOG_WINDOW_US + 4, &left_out), 0);
    assert_int_equal(passed(repeats, "a", 1, LOG_WINDOW_US + 5, &left_out), 1);
    assert_int_equal(left_out, 8);
    assert_int_equal(passed(repeats, "a", 1, LOG_WINDOW_US + 6, &left_out), 1);
    assert_int_equal(left_out, 0);
    log_repeats_free(repeats);
}

static void messages_do_not_use_up_each_others_lines(void **state)
{
    struct log_repeats *repeats = log_repeats_new();
    int64_t left_out;
    (void)state;
    passed(repeats, "a", 3 * LOG_BURST, 0, &left_out);
    assert_int_equal(passed(repeats, "b", LOG_BURST, 0, &left_out), LOG_BURST);
    log_repeats_free(repeats);
}

static void more_messages_than_are_kept_lose_nothing(void **state)
{
    struct log_repeats *repeats = log_repeats_new();
    int64_t left_out, written = 0;
    char message[20];
    (void)state;
    for (int i = 0; i < 1000; i++) {
        snprintf(message, sizeof message, "m%d", i);
        written += passed(repeats, message, 1, i, &left_out);
    }
    assert_int_equal(written, 1000);
    for (int i = 0; i < 1000; i++) { /* places of old windows are used again */
        snprintf(message, sizeof message, "n%d", i);
        written += passed(repeats, message, 1, 2 * LOG_WINDOW_US, &left_out);
    }
    assert_int_equal(written, 2000);
    log_repeats_free(repeats);
}

static int lines_of(FILE *file, char *last, size_t size)
{
    int lines = 0;
    rewind(file);
    while (fgets(last, (int)size, file) != NULL)
        lines++;
    return lines;
}

static void only_warnings_and_errors_are_cut_and_the_rest_follows_by_itself(void **state)
{
    FILE *file = tmpfile();
    struct log log = {.level = LOG_DEBUG, .fd = fileno(file), .repeats = log_repeats_new()};
    char last[400];
    (void)state;
    for (int i = 0; i < 2 * LOG_BURST; i++)
        log_info(&log, "fine", LOG_INT("i", i));
    assert_int_equal(lines_of(file, last, sizeof last), 2 * LOG_BURST);
    for (int i = 0; i < 2 * LOG_BURST; i++)
        log_warn(&log, "bad", LOG_INT("i", i));
    assert_int_equal(lines_of(file, last, sizeof last), 3 * LOG_BURST);
    assert_int_equal(log_suppressed(&log), LOG_BURST);
    log_repeats_flush(&log, INT64_MAX / 2);
    assert_int_equal(lines_of(file, last, sizeof last), 3 * LOG_BURST + 1);
    assert_non_null(strstr(last, "\"message\":\"bad\",\"repeated\":20"));
    log_repeats_flush(&log, INT64_MAX / 2);
    assert_int_equal(lines_of(file, last, sizeof last), 3 * LOG_BURST + 1);
    log_repeats_free(log.repeats);
    fclose(file);
}

static void the_level_changes_at_run_time(void **state)
{
    FILE *file = tmpfile();
    struct log log = {.level = LOG_INFO, .fd = fileno(file)};
    char last[400];
    (void)state;
    log_debug(&log, "unseen");
    log_set_level(&log, LOG_DEBUG);
    log_debug(&log, "seen");
    log_set_level(&log, LOG_ERROR);
    log_warn(&log, "unseen again");
    assert_int_equal(lines_of(file, last, sizeof last), 1);
    assert_non_null(strstr(last, "\"seen\""));
    fclose(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_burst_is_cut_and_the_next_line_has_the_count),
        cmocka_unit_test(messages_do_not_use_up_each_others_lines),
        cmocka_unit_test(more_messages_than_are_kept_lose_nothing),
        cmocka_unit_test(only_warnings_and_errors_are_cut_and_the_rest_follows_by_itself),
        cmocka_unit_test(the_level_changes_at_run_time),
    };
    return cmocka_run_group_tests_name("log_repeat", tests, NULL, NULL);
}
