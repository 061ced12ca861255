/* Reads what the built-in worker is told of the node's settings: see settings.h. */
#include "worker/builtin/settings.h"

#include "worker/builtin/http_target.h"
#include "worker/worker.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

#define NAME_MAX_LENGTH 63

static void list_free(char **list)
{
    for (char **item = list; item != NULL && *item != NULL; item++)
        free(*item);
    free(list);
}

void builtin_settings_free(struct builtin_settings *settings)
{
    list_free(settings->http_allow);
    list_free(settings->secret_env);
    list_free(settings->secret_files);
    for (size_t i = 0; i < settings->database_count; i++) {
        struct builtin_database *database = &settings->databases[i];
        free(database->name);
        free(database->url);
        free(database->url_env);
        free(database->url_file);
    }
    free(settings->databases);
    if (settings->fleet_url != NULL)
        explicit_bzero(settings->fleet_url, strlen(settings->fleet_url));
    free(settings->fleet_url);
    free(settings->cleanup);
    free(settings->history_rows);
    free(settings->history_age_ms);
    *settings = (struct builtin_settings){0};
}

const struct builtin_database *builtin_database(const struct builtin_settings *settings,
                                                const char *name)
{
    for (size_t i = 0; i < settings->database_count; i++)
        if (strcmp(settings->databases[i].name, name) == 0)
            return &settings->databases[i];
    return NULL;
}

static int read_list(const struct json *json, const struct json_value *value, char ***ret_list,
                     struct rota_error *error)
{
    size_t count = 0;
    if (value->type != JSON_ARRAY)
        return error_set(error, ERROR_REFUSED, "must be a list of texts");
    list_free(*ret_list);
    *ret_list = mem_array(value->count + 1, sizeof **ret_list);
    for (const struct json_value *item = json_first(json, value); item != NULL;
         item = json_next(json, item)) {
        char *text = item->type == JSON_STRING ? json_text(item) : NULL;
        if (text == NULL || *text == '\0') {
            free(text);
            return error_set(error, ERROR_REFUSED, "must be a list of texts that are not empty");
        }
        (*ret_list)[count++] = text;
    }
    return 0;
}

static int read_targets(const struct json *json, const struct json_value *value,
                        struct builtin_settings *settings, struct rota_error *error)
{
    int failed = read_list(json, value, &settings->http_allow, error);
    for (char **item = settings->http_allow; failed == 0 && *item != NULL; item++)
        failed = http_allow_check(*item, error);
    return failed;
}

/* "\"name\": " before what is wrong with a database, never its value. */
static int refuse_database(const char *name, struct rota_error *error, const char *what)
{
    return error_set(error, ERROR_REFUSED, "\"%.100s\" %s", name, what);
}

static int read_place(const struct json *json, const struct json_value *object,
                      struct builtin_database *database, struct rota_error *error)
{
    static const char shape[] = "must be an object with one of url, url_env and url_file, like "
                                "{\"url_env\":\"REPORTS_URL\"}";
    if (object->type != JSON_OBJECT || object->count != 1)
        return refuse_database(database->name, error, shape);
    const struct json_value *key = json_first(json, object), *value = json_member(key);
    char **place = json_is(key, "url")        ? &database->url
                   : json_is(key, "url_env")  ? &database->url_env
                   : json_is(key, "url_file") ? &database->url_file
                                              : NULL;
    if (place == NULL)
        return refuse_database(database->name, error, shape);
    *place = value->type == JSON_STRING ? json_text(value) : NULL;
    if (*place == NULL || **place == '\0')
        return refuse_database(database->name, error, "must be told by a text that is not empty");
    if (database->url_env != NULL && strncmp(database->url_env, "ROTA_", 5) == 0)
        return refuse_database(database->name, error,
                               "cannot be told by a variable that begins with ROTA_: workers do "
                               "not see these");
    if (database->url_file != NULL && database->url_file[0] != '/')
        return refuse_database(database->name, error, "needs the absolute path of its url_file");
    return 0;
}

static int read_databases(const struct json *json, const struct json_value *value,
                          struct builtin_settings *settings, struct rota_error *error)
{
    if (value->type != JSON_OBJECT)
        return error_set(error, ERROR_REFUSED,
                         "must be an object like {\"reports\":{\"url_env\":\"REPORTS_URL\"}}");
    settings->databases = mem_array(value->count + 1, sizeof *settings->databases);
    for (const struct json_value *key = json_first(json, value); key != NULL;
         key = json_next(json, key)) {
        struct builtin_database *database = &settings->databases[settings->database_count];
        database->name = json_text(key);
        if (database->name == NULL)
            return error_set(error, ERROR_REFUSED, "a name must not hold U+0000");
        settings->database_count++;
        if (*database->name == '\0' || strlen(database->name) > NAME_MAX_LENGTH)
            return refuse_database(database->name, error, "is no name: 1 to 63 bytes are");
        if (read_place(json, json_member(key), database, error) != 0)
            return -1;
    }
    return 0;
}

static int read_fleet(const struct json *json, const struct json_value *object,
                      struct builtin_settings *settings, struct rota_error *error)
{
    const struct {
        const char *key;
        char **text;
    } places[] = {{"url", &settings->fleet_url},
                  {"cleanup", &settings->cleanup},
                  {"history_rows", &settings->history_rows},
                  {"history_age_ms", &settings->history_age_ms}};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const struct json_value *value = json_get(json, object, places[i].key);
        *places[i].text = value != NULL && value->type == JSON_STRING ? json_text(value) : NULL;
        if (*places[i].text == NULL)
            return error_set(error, ERROR_REFUSED, "\"fleet\" needs the text \"%s\"",
                             places[i].key);
    }
    return 0;
}

static int read_member(const struct json *json, const struct json_value *key,
                       struct builtin_settings *settings, struct rota_error *error)
{
    const struct json_value *value = json_member(key);
    int64_t lease_ms;
    if (json_is(key, "http_allow"))
        return read_targets(json, value, settings, error);
    if (json_is(key, "secret_env"))
        return read_list(json, value, &settings->secret_env, error);
    if (json_is(key, "secret_files"))
        return read_list(json, value, &settings->secret_files, error);
    if (json_is(key, "databases"))
        return read_databases(json, value, settings, error);
    if (json_is(key, "fleet"))
        return read_fleet(json, value, settings, error);
    if (json_is(key, "lease_ms") && json_int64(value, &lease_ms) == 0)
        settings->lease_us = lease_ms * US_PER_MS;
    return 0;
}

static int read_all(const struct json *json, struct builtin_settings *settings,
                    struct rota_error *error)
{
    if (json->values[0].type != JSON_OBJECT)
        return error_set(error, ERROR_REFUSED, "settings must be an object");
    for (const struct json_value *key = json_first(json, &json->values[0]); key != NULL;
         key = json_next(json, key))
        if (read_member(json, key, settings, error) != 0)
            return -1;
    return 0;
}

int builtin_settings_read(struct builtin_settings *ret_settings, struct slice text,
                          struct rota_error *error)
{
    struct builtin_settings settings = {0};
    struct json json;
    if (json_parse(&json, text.data, text.length, error) != 0)
        return -1;
    int failed = read_all(&json, &settings, error);
    json_free(&json);
    if (failed != 0) {
        builtin_settings_free(&settings);
        return -1;
    }
    *ret_settings = settings;
    return 0;
}

int builtin_worker_check(const char *json, struct rota_error *error)
{
    struct builtin_settings settings;
    if (builtin_settings_read(&settings, slice_of(json), error) != 0)
        return -1;
    builtin_settings_free(&settings);
    return 0;
}
