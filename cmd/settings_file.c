/*
 * The --config file: one JSON object with settings by name. Every key is checked, also those the
 * running command does not use, so that a file is either right for all commands or refused.
 */
#include "cmd/settings_value.h"

#include "base/json.h"
#include "base/memory.h"
#include "base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FILE_SIZE_MAX (1024 * 1024) /* bytes; a settings file has a few hundred */

static char *read_whole(const char *path, size_t *ret_length, struct rota_error *error)
{
    char *text = NULL;
    size_t length;
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        error_set(error, ERROR_REFUSED, "cannot open the settings file %s: %s", path,
                  strerror(errno));
        return NULL;
    }
    text = mem_alloc(FILE_SIZE_MAX + 1);
    length = fread(text, 1, FILE_SIZE_MAX, file);
    if (ferror(file) || (length == FILE_SIZE_MAX && fgetc(file) != EOF)) {
        error_set(error, ERROR_REFUSED, "cannot read the settings file %s: %s", path,
                  ferror(file) ? strerror(errno) : "it is larger than 1 MiB");
        free(text);
        text = NULL;
    }
    fclose(file);
    *ret_length = length;
    return text;
}

static int unknown_key(const char *path, const struct json *json, const struct json_value *key,
                       struct rota_error *error)
{
    const char *names[SETTING_COUNT];
    for (int id = 0; id < SETTING_COUNT; id++)
        names[id] = settings_row((enum setting_id)id)->name;
    int line, column;
    json_position(json, key, &line, &column);
    char *name = json_text(key);
    const char *nearest = text_nearest(name != NULL ? name : "", names, SETTING_COUNT);
    error_set(error, ERROR_REFUSED, "%s:%d:%d: unknown setting \"%s\"%s%s%s", path, line, column,
              name != NULL ? name : "", nearest != NULL ? ": did you mean \"" : "",
              nearest != NULL ? nearest : ": `rota settings` lists all",
              nearest != NULL ? "\"?" : "");
    free(name);
    return -1;
}

static const char *expected(enum setting_type type)
{
    static const char *const texts[] = {"a text in quotes",
                                        "a duration in quotes, for example \"10s\"",
                                        "a number",
                                        "true or false",
                                        "a list of texts",
                                        "an object: {\"py\":{\"command\":[…]}}",
                                        "an object: {\"name\":{…}}"};
    return texts[type];
}

static bool fits(enum setting_type type, enum json_type json)
{
    switch (type) {
    case SETTING_NUMBER:
        return json == JSON_NUMBER;
    case SETTING_BOOL:
        return json == JSON_BOOL;
    case SETTING_LIST:
        return json == JSON_ARRAY || json == JSON_STRING;
    case SETTING_POOL_TABLE:
    case SETTING_OBJECT:
        return json == JSON_OBJECT;
    case SETTING_TEXT:
    case SETTING_DURATION:
        return json == JSON_STRING;
    }
    abort();
}

/* Pools are checked with the text moved to its place in the file: positions are the file's then. */
static int check_pools(const char *path, const struct json_value *value, int line, int column,
                       struct rota_error *error)
{
    struct buffer padded = {0};
    struct pool_table pools;
    for (int i = 1; i < line; i++)
        buffer_char(&padded, '\n');
    for (int i = 1; i < column; i++)
        buffer_char(&padded, ' ');
    buffer_append(&padded, value->raw.data, value->raw.length);
    int failed = pool_table_parse(&pools, buffer_text(&padded), 1, error);
    buffer_free(&padded);
    if (failed != 0)
        return error_prefix(error, "pools (from %s)", path);
    pool_table_free(&pools);
    return 0;
}

static int read_key(struct setting_value *values, const char *path, const struct json *json,
                    const struct json_value *key, struct rota_error *error)
{
    const struct json_value *value = json_member(key);
    int line, column, id = -1, failed = -1;
    char *name = json_text(key), *origin = NULL, *text = NULL;
    json_position(json, value, &line, &column);
    if (name != NULL && strchr(name, '-') == NULL)
        id = settings_find(name, strlen(name));
    if (id < 0) {
        unknown_key(path, json, key, error);
        goto out;
    }
    origin = mem_format("%s:%d:%d", path, line, column);
    const struct setting *row = settings_row((enum setting_id)id);
    if (id == SETTING_CONFIG) {
        error_set(error, ERROR_REFUSED, "config (from %s): a settings file cannot name another one",
                  origin);
        goto out;
    }
    if (!fits(row->type, value->type)) {
        error_set(error, ERROR_REFUSED, "%s (from %s): %s stands here: write %s", row->name, origin,
                  json_type_name(value->type), expected(row->type));
        goto out;
    }
    if (row->type == SETTING_POOL_TABLE && check_pools(path, value, line, column, error) != 0)
        goto out;
    text = value->type == JSON_STRING ? json_text(value)
                                      : mem_string_n(value->raw.data, value->raw.length);
    if (text == NULL)
        error_set(error, ERROR_REFUSED, "%s (from %s): \\u0000 is refused", row->name, origin);
    else
        failed = setting_value_set(&values[id], (enum setting_id)id, text, origin, error);
out:
    free(text);
    free(origin);
    free(name);
    return failed;
}

int settings_read_file(struct setting_value *values, const char *path, struct rota_error *error)
{
    struct json json = {0};
    size_t length;
    int failed = -1;
    char *text = read_whole(path, &length, error);
    if (text == NULL)
        return -1;
    if (json_parse(&json, text, length, error) != 0) {
        error_prefix(error, "the settings file %s is no JSON", path);
        goto out;
    }
    if (json.values[0].type != JSON_OBJECT) {
        error_set(error, ERROR_REFUSED,
                  "the settings file %s holds %s: write an object, {\"lease\": "
                  "\"10s\"}",
                  path, json_type_name(json.values[0].type));
        goto out;
    }
    failed = 0;
    for (const struct json_value *key = json_first(&json, &json.values[0]);
         key != NULL && failed == 0; key = json_next(&json, key))
        failed = read_key(values, path, &json, key, error);
out:
    json_free(&json);
    free(text);
    return failed;
}
