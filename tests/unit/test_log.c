/* Log lines: each is one JSON object on one line, whatever the fields hold; and the form for
 * people. */
#include "base/log.h"

#include "base/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(table) (sizeof(table) / sizeof *(table))

struct fixture {
    struct log log;
    FILE *file;
    struct buffer written;
    struct json json;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->file = tmpfile();
    assert_non_null(f->file);
    f->log = (struct log){.level = LOG_DEBUG, .node = "n1", .fd = fileno(f->file)};
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    json_free(&f->json);
    buffer_free(&f->written);
    fclose(f->file);
    free(f);
    return 0;
}

/* What was written since the last look. */
static const char *look(struct fixture *f)
{
    char bytes[4096];
    ssize_t size;
    buffer_clear(&f->written);
    assert_int_equal(lseek(f->log.fd, 0, SEEK_SET), 0);
    while ((size = read(f->log.fd, bytes, sizeof bytes)) > 0)
        buffer_append(&f->written, bytes, (size_t)size);
    assert_int_equal(ftruncate(f->log.fd, 0), 0);
    assert_int_equal(lseek(f->log.fd, 0, SEEK_SET), 0);
    return buffer_text(&f->written);
}

/* The one line that was written, as an object. */
static const struct json_value *line(struct fixture *f)
{
    struct rota_error error = {0};
    const char *text = look(f);
    size_t length = strlen(text);
    assert_true(length > 0 && text[length - 1] == '\n');
    assert_ptr_equal(strchr(text, '\n'), text + length - 1);
    json_free(&f->json);
    if (json_parse(&f->json, f->written.data, length - 1, &error) != 0)
        fail_msg("%s: %s", text, error.message);
    assert_int_equal(f->json.values->type, JSON_OBJECT);
    return f->json.values;
}

static void assert_member(struct fixture *f, const char *name, const char *raw)
{
    const struct json_value *value = json_get(&f->json, f->json.values, name);
    assert_non_null(value);
    assert_int_equal(value->raw.length, strlen(raw));
    assert_memory_equal(value->raw.data, raw, strlen(raw));
}

static void a_line_is_one_json_object(void **state)
{
    struct fixture *f = *state;
    log_info(&f->log, "node registered", LOG_INT("incarnation", 7), LOG_TEXT("version", "1"),
             LOG_BOOL("leader", 3 > 2), LOG_RAW("pools", "[1,2]"), LOG_TEXT("nothing", NULL),
             LOG_RAW("no_json", NULL));
    line(f);
    assert_member(f, "level", "\"info\"");
    assert_member(f, "msg", "\"node registered\"");
    assert_member(f, "node", "\"n1\"");
    assert_member(f, "incarnation", "7");
    assert_member(f, "version", "\"1\"");
    assert_member(f, "leader", "true");
    assert_member(f, "pools", "[1,2]");
    assert_member(f, "nothing", "null");
    assert_member(f, "no_json", "null");
    const struct json_value *time = json_get(&f->json, f->json.values, "time");
    assert_int_equal(time->raw.length, strlen("\"2026-11-20T08:21:44.123Z\""));
}

static void a_line_without_fields_and_node_is_one_too(void **state)
{
    struct fixture *f = *state;
    f->log.node = NULL;
    log_error(&f->log, "gone");
    assert_int_equal(line(f)->count, 3);
    assert_member(f, "level", "\"error\"");
}

static void no_byte_of_a_field_breaks_the_line(void **state)
{
    struct fixture *f = *state;
    for (int a = 1; a < 256; a++) {
        char text[4] = {(char)a, (char)(256 - a), (char)a, '\0'};
        f->log.node = text;
        log_warn(&f->log, text, LOG_TEXT("field", text));
        assert_int_equal(line(f)->count, 5);
    }
    char *large = malloc(200001);
    memset(large, '"', 200000);
    large[200000] = '\0';
    f->log.node = "n";
    log_warn(&f->log, "large", LOG_TEXT("field", large));
    line(f);
    free(large);
}

static void line_breaks_in_the_json_of_others_become_spaces(void **state)
{
    struct fixture *f = *state;
    log_info(&f->log, "details", LOG_RAW("json", "{\r\n \"a\":\n1}"));
    line(f);
    assert_member(f, "json", "{   \"a\": 1}");
}

static void lines_below_the_level_are_not_written(void **state)
{
    struct fixture *f = *state;
    int evaluated = 0;
    f->log.level = LOG_WARN;
    log_debug(&f->log, "no", LOG_INT("cost", ++evaluated));
    log_info(&f->log, "no");
    assert_string_equal(look(f), "");
    assert_int_equal(evaluated, 0); /* debug fields cost nothing */
    log_warn(&f->log, "yes");
    log_error(&f->log, "yes");
    assert_int_equal(strchr(look(f), '\n') != NULL, 1);
}

static void people_read_a_line_without_brackets(void **state)
{
    struct fixture *f = *state;
    f->log.text = true;
    log_info(&f->log, "node state", LOG_TEXT("from", "standby"), LOG_INT("runs", -3),
             LOG_BOOL("leader", false), LOG_TEXT("nothing", NULL));
    const char *text = look(f);
    assert_int_equal(
        strlen(text),
        strlen("08:21:44.123 info  n1: node state from=standby runs=-3 leader=false nothing=-\n"));
    assert_string_equal(text + 13,
                        "info  n1: node state from=standby runs=-3 leader=false nothing=-\n");
}

static void what_could_mislead_people_is_quoted(void **state)
{
    static const struct {
        const char *value;
        const char *shown;
    } cases[] = {
        {"", "\"\""},
        {"two words", "\"two words\""},
        {"a=b", "a=b"},
        {"/path/to", "/path/to"},
        {"caf\xc3\xa9", "caf\xc3\xa9"},
        {"quote\"", "\"quote\\\"\""},
        {"back\\slash", "\"back\\\\slash\""},
        {"\x1b[2Jgone", "\"\\u001b[2Jgone\""},
        {"line\nfeed", "\"line\\nfeed\""},
        {"\rover", "\"\\rover\""},
        {"\x7f", "\"\\u007f\""},
        {"\xff", "\"\xef\xbf\xbd\""},
    };
    struct fixture *f = *state;
    f->log.text = true;
    f->log.node = NULL;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char expected[64];
        log_info(&f->log, "m", LOG_TEXT("v", cases[i].value));
        snprintf(expected, sizeof expected, "info  m v=%s\n", cases[i].shown);
        assert_string_equal(look(f) + 13, expected);
    }
}

static void levels_have_names_in_any_case(void **state)
{
    enum log_level level = LOG_DEBUG;
    (void)state;
    for (int i = LOG_DEBUG; i <= LOG_ERROR; i++) {
        assert_int_equal(log_level_parse(log_level_name((enum log_level)i), &level), 0);
        assert_int_equal(level, i);
    }
    assert_int_equal(log_level_parse("WARN", &level), 0);
    assert_int_equal(level, LOG_WARN);
    assert_int_equal(log_level_parse("warning", &level), -1);
    assert_int_equal(log_level_parse("", &level), -1);
    assert_int_equal(level, LOG_WARN);
}

static void a_log_nobody_reads_is_no_end_of_the_world(void **state)
{
    struct fixture *f = *state;
    f->log.fd = -1;
    log_info(&f->log, "into the void");
}

#define WITH_FILE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FILE(a_line_is_one_json_object),
        WITH_FILE(a_line_without_fields_and_node_is_one_too),
        WITH_FILE(no_byte_of_a_field_breaks_the_line),
        WITH_FILE(line_breaks_in_the_json_of_others_become_spaces),
        WITH_FILE(lines_below_the_level_are_not_written),
        WITH_FILE(people_read_a_line_without_brackets),
        WITH_FILE(what_could_mislead_people_is_quoted),
        cmocka_unit_test(levels_have_names_in_any_case),
        WITH_FILE(a_log_nobody_reads_is_no_end_of_the_world),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
