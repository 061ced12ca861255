/*
 * One value of a setting: text to number, duration, boolean or list by the type of its row, with
 * the checks of the row. Where the text came from only matters for the message.
 */
#include "cmd/settings_value.h"

#include "base/buffer.h"
#include "base/instant.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

static void list_free(char **list)
{
    for (char **item = list; item != NULL && *item != NULL; item++)
        free(*item);
    free(list);
}

void setting_value_free(struct setting_value *value)
{
    free(value->text);
    free(value->origin);
    list_free(value->list);
    *value = (struct setting_value){0};
}

static void list_add(char ***list, size_t *count, char *item)
{
    *list = mem_resize(*list, *count + 2, sizeof **list);
    (*list)[(*count)++] = item;
    (*list)[*count] = NULL;
}

static int list_from_json(const char *text, char ***ret_list, struct rota_error *error)
{
    struct json json;
    char **list = NULL;
    size_t count = 0;
    int failed = -1;
    if (json_parse(&json, text, strlen(text), error) != 0)
        return -1;
    for (const struct json_value *item = json_first(&json, &json.values[0]); item != NULL;
         item = json_next(&json, item)) {
        char *word = item->type == JSON_STRING ? json_text(item) : NULL;
        if (word == NULL || *word == '\0') {
            free(word);
            error_set(error, ERROR_REFUSED, "the list holds %s: write texts only",
                      item->type == JSON_STRING ? "an empty text" : json_type_name(item->type));
            goto out;
        }
        list_add(&list, &count, word);
    }
    *ret_list = list;
    list = NULL;
    failed = 0;
out:
    list_free(list);
    json_free(&json);
    return failed;
}

/* `a:b:c`, as in PATH. */
static char **list_from_words(const char *text, char separator)
{
    const char end[] = {separator, '\0'};
    char **list = NULL;
    size_t count = 0;
    while (*text != '\0') {
        size_t length = strcspn(text, end);
        if (length > 0)
            list_add(&list, &count, mem_string_n(text, length));
        text += length + (text[length] == separator);
    }
    return list;
}

static char *list_text(char *const *list)
{
    struct buffer text = {0};
    buffer_char(&text, '[');
    for (char *const *item = list; item != NULL && *item != NULL; item++) {
        if (item != list)
            buffer_char(&text, ',');
        buffer_json(&text, *item, strlen(*item));
    }
    buffer_char(&text, ']');
    buffer_text(&text);
    return text.data;
}

/* An address such as [::1]:8301 begins as an array does. */
static bool is_json(const char *text, const struct setting *row)
{
    if (text[0] != '[')
        return false;
    const char *inside = text + 1 + strspn(text + 1, " \t\r\n");
    return row->separator != ',' || *inside == '"' || *inside == ']';
}

static int parse_list(struct setting_value *value, const struct setting *row,
                      struct rota_error *error)
{
    if (is_json(value->text, row)) {
        if (list_from_json(value->text, &value->list, error) != 0)
            return -1;
    } else {
        value->list = list_from_words(value->text, row->separator != 0 ? row->separator : ':');
    }
    for (char **item = value->list; row->check != NULL && item != NULL && *item != NULL; item++)
        if (row->check(*item, error) != 0)
            return -1;
    if (value->list == NULL)
        value->list = mem_array(1, sizeof *value->list);
    free(value->text);
    value->text = list_text(value->list);
    return 0;
}

static int parse_number(struct setting_value *value, const struct setting *row,
                        struct rota_error *error)
{
    if (text_int64(value->text, strlen(value->text), &value->number) != 0)
        return error_set(error, ERROR_REFUSED,
                         "\"%s\" is no whole number: write one from %lld to %lld", value->text,
                         (long long)row->low, (long long)row->high);
    if (value->number < row->low || value->number > row->high)
        return error_set(error, ERROR_REFUSED,
                         "%s is out of range: write a number from %lld to %lld", value->text,
                         (long long)row->low, (long long)row->high);
    return 0;
}

static int parse_duration(struct setting_value *value, const struct setting *row,
                          struct rota_error *error)
{
    char low[TIME_TEXT_SIZE], high[TIME_TEXT_SIZE];
    if (duration_parse(value->text, &value->number) != 0)
        return error_set(error, ERROR_REFUSED,
                         "\"%s\" is no duration: write for example 250ms, 90s, 5m, 2h, 1d or PT90S",
                         value->text);
    if (value->number < row->low || value->number > row->high)
        return error_set(error, ERROR_REFUSED, "%s is out of range: write a duration from %s to %s",
                         value->text, duration_format(row->low, low),
                         duration_format(row->high, high));
    return 0;
}

static int parse_bool(struct setting_value *value, struct rota_error *error)
{
    bool on;
    if (text_bool(value->text, &on) != 0)
        return error_set(error, ERROR_REFUSED, "\"%s\" is neither true nor false", value->text);
    value->number = on;
    free(value->text);
    value->text = mem_string(on ? "true" : "false");
    return 0;
}

static int parse(struct setting_value *value, const struct setting *row, struct rota_error *error)
{
    struct pool_table pools;
    switch (row->type) {
    case SETTING_TEXT:
    case SETTING_OBJECT:
        return row->check != NULL ? row->check(value->text, error) : 0;
    case SETTING_DURATION:
        return parse_duration(value, row, error);
    case SETTING_NUMBER:
        return parse_number(value, row, error);
    case SETTING_BOOL:
        return parse_bool(value, error);
    case SETTING_LIST:
        return parse_list(value, row, error);
    case SETTING_POOL_TABLE:
        if (pool_table_parse(&pools, value->text, 1, error) != 0)
            return -1;
        pool_table_free(&pools);
        return 0;
    }
    abort();
}

int setting_value_set(struct setting_value *value, enum setting_id id, const char *text,
                      const char *origin, struct rota_error *error)
{
    const struct setting *row = settings_row(id);
    struct setting_value next = {.text = mem_string(text), .given = true};
    if (parse(&next, row, error) != 0) {
        setting_value_free(&next);
        return error_prefix(error, "%s (from %s)", row->name, origin);
    }
    next.origin = mem_string(origin);
    setting_value_free(value);
    *value = next;
    return 0;
}
