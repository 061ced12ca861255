/*
 * The settings that the built-in worker is told: where http may go, what jobs may refer to as
 * secrets, and the databases of the handler sql. The worker itself says what is right.
 */
#include "cmd/settings_value.h"

#include "base/buffer.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/memory.h"
#include "worker/worker.h"

#include <stdlib.h>
#include <string.h>

int settings_check_http_allow(const char *entry, struct rota_error *error)
{
    struct buffer json = {0};
    buffer_string(&json, "{\"http_allow\":[");
    buffer_json(&json, entry, strlen(entry));
    buffer_string(&json, "]}");
    int failed = builtin_worker_check(buffer_text(&json), error);
    buffer_free(&json);
    return failed;
}

int settings_check_databases(const char *text, struct rota_error *error)
{
    struct json json;
    if (json_parse(&json, text, strlen(text), error) != 0)
        return -1;
    json_free(&json);
    char *whole = mem_format("{\"databases\":%s}", text);
    int failed = builtin_worker_check(whole, error);
    free(whole);
    return failed;
}

char *settings_builtin(const struct settings *settings)
{
    const char *databases = settings_text(settings, SETTING_DATABASES);
    return mem_format(
        "{\"http_allow\":%s,\"secret_env\":%s,\"secret_files\":%s,\"databases\":%s,"
        "\"lease_ms\":%lld}",
        settings_text(settings, SETTING_HTTP_ALLOW), settings_text(settings, SETTING_SECRET_ENV),
        settings_text(settings, SETTING_SECRET_FILES), databases != NULL ? databases : "{}",
        (long long)(settings_number(settings, SETTING_LEASE) / US_PER_MS));
}

static void mask_database(struct buffer *out, const struct json_value *key)
{
    char *url = json_is(key, "url") ? json_text(json_member(key)) : NULL;
    char *masked = url != NULL ? settings_mask(url) : NULL;
    buffer_append(out, key->raw.data, key->raw.length);
    buffer_char(out, ':');
    if (masked != NULL)
        buffer_json(out, masked, strlen(masked));
    else
        buffer_append(out, json_member(key)->raw.data, json_member(key)->raw.length);
    free(masked);
    free(url);
}

/* It has been checked: an object of objects. */
char *settings_mask_databases(const char *databases)
{
    struct buffer out = {0};
    struct json json;
    if (json_parse(&json, databases, strlen(databases), NULL) != 0)
        return mem_string("***");
    for (const struct json_value *name = json_first(&json, &json.values[0]); name != NULL;
         name = json_next(&json, name)) {
        buffer_char(&out, out.length == 0 ? '{' : ',');
        buffer_append(&out, name->raw.data, name->raw.length);
        buffer_string(&out, ":{");
        for (const struct json_value *key = json_first(&json, json_member(name)); key != NULL;
             key = json_next(&json, key))
            mask_database(&out, key);
        buffer_char(&out, '}');
    }
    buffer_string(&out, out.length == 0 ? "{}" : "}");
    json_free(&json);
    buffer_text(&out);
    return out.data;
}
