/*
 * `limits` of a pool: {"memory":"512MiB","cpu_seconds":3600,"files":256,"processes":64}, each
 * optional. What they mean stands in worker/limits.h.
 */
#include "cmd/settings_value.h"

#include "base/json.h"
#include "base/text.h"
#include "worker/limits.h"

#include <stdlib.h>
#include <string.h>

#define MEMORY_MIN (INT64_C(16) << 20) /* less, and hardly an interpreter starts */
#define NUMBER_MAX (INT64_C(1) << 20)  /* of any unit: a larger one has a shorter name */

static int refuse(const struct json *json, const struct json_value *value, struct rota_error *error,
                  const char *what)
{
    int line, column;
    json_position(json, value, &line, &column);
    return error_set(error, ERROR_REFUSED, "line %d, column %d: %s", line, column, what);
}

/* "512MiB": a whole number and KiB, MiB, GiB or TiB. */
static int parse_size(const char *text, int64_t *ret_bytes)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
    size_t digits = strspn(text, "0123456789");
    int64_t number;
    if (digits == 0 || digits > 9 || text_int64(text, digits, &number) != 0)
        return -1;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strcmp(text + digits, units[i]) != 0)
            continue;
        if (number > NUMBER_MAX)
            return -1;
        *ret_bytes = number << (10 * (i + 1));
        return *ret_bytes >= MEMORY_MIN ? 0 : -1;
    }
    return -1;
}

static int read_memory(const struct json *json, const struct json_value *value, int64_t *ret_bytes,
                       struct rota_error *error)
{
    char *text = value->type == JSON_STRING ? json_text(value) : NULL;
    int failed = text != NULL ? parse_size(text, ret_bytes) : -1;
    free(text);
    return failed == 0 ? 0
                       : refuse(json, value, error,
                                "memory is a size from 16MiB on, for example \"512MiB\" or "
                                "\"2GiB\"");
}

static int read_count(const struct json *json, const struct json_value *key, int64_t *ret_count,
                      struct rota_error *error)
{
    const struct json_value *value = json_member(key);
    int64_t low = json_is(key, "files") ? 16 : 1;
    if (json_int64(value, ret_count) == 0 && *ret_count >= low && *ret_count <= 1000000000)
        return 0;
    return refuse(json, value, error,
                  low == 1 ? "this limit is a number from 1 to 1000000000"
                           : "files is a number from 16 to 1000000000");
}

int pool_limits_read(const struct json *json, const struct json_value *object,
                     struct worker_limits *ret_limits, struct rota_error *error)
{
    static const char what[] = "limits is an object with memory, cpu_seconds, files and processes "
                               "only, for example {\"memory\":\"512MiB\"}";
    if (object->type != JSON_OBJECT)
        return refuse(json, object, error, what);
    for (const struct json_value *key = json_first(json, object); key != NULL;
         key = json_next(json, key)) {
        int failed;
        if (json_is(key, "memory"))
            failed = read_memory(json, json_member(key), &ret_limits->memory_bytes, error);
        else if (json_is(key, "cpu_seconds"))
            failed = read_count(json, key, &ret_limits->cpu_seconds, error);
        else if (json_is(key, "files"))
            failed = read_count(json, key, &ret_limits->files, error);
        else if (json_is(key, "processes"))
            failed = read_count(json, key, &ret_limits->processes, error);
        else
            failed = refuse(json, key, error, what);
        if (failed != 0)
            return -1;
    }
    return 0;
}
