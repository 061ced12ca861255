/* A new schedule for one trigger: see reschedule.h. */
#include "coord/reschedule.h"

#include "base/json.h"
#include "base/memory.h"
#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_NAME    "definition" /* of the manifest that is made here */
#define ATTEMPTS_MAX 5            /* while others change definitions */
#define KEYS_MAX     16

static const char *const kind_keys[] = {"cron",  "every",  "at", "calendar_interval",
                                        "daily", "repeat", NULL};

/* What is asked for, and where each new value stands in the text that is made of it. */
struct wish {
    const char *name;
    const struct reschedule_key *keys;
    size_t count;
    int lines[KEYS_MAX];
};

void reschedule_free(struct reschedule *reschedule)
{
    free(reschedule->job);
    *reschedule = (struct reschedule){0};
}

static bool among(const char *const *keys, const char *key)
{
    for (; *keys != NULL; keys++)
        if (strcmp(*keys, key) == 0)
            return true;
    return false;
}

/* The new kind of schedule, NULL if it stays. */
static const char *new_kind(const struct wish *wish)
{
    for (size_t i = 0; i < wish->count; i++)
        if (among(kind_keys, wish->keys[i].key) && strcmp(wish->keys[i].key, "repeat") != 0)
            return wish->keys[i].key;
    return NULL;
}

/* Whether a key of the old definition has no place in the new one. */
static bool is_replaced(const struct wish *wish, const struct json *old, const char *key)
{
    const char *kind = new_kind(wish);
    for (size_t i = 0; i < wish->count; i++)
        if (strcmp(wish->keys[i].key, key) == 0)
            return true;
    if (strcmp(key, "job") == 0)
        return true;
    if (kind == NULL)
        return false;
    if (among(kind_keys, key))
        return true;
    if (strcmp(kind, "at") == 0 && (strcmp(key, "start_at") == 0 || strcmp(key, "end_at") == 0))
        return true;
    return strcmp(key, "dst") == 0 && json_get(old, old->values, kind) == NULL;
}

/* ---- the text ---- */

static void put_name(struct buffer *out, const char *name)
{
    buffer_string(out, "{\"name\":");
    buffer_json(out, name, strlen(name));
}

/* The members of a stored definition, each after a comma; of the wish's trigger those that stay. */
static int put_definition(struct buffer *out, const char *definition, const struct wish *wish,
                          struct rota_error *error)
{
    struct json json;
    if (json_parse(&json, definition, strlen(definition), error) != 0)
        return error_prefix(error, "its stored definition cannot be read");
    for (const struct json_value *at = json_first(&json, json.values); at != NULL;
         at = json_next(&json, at)) {
        char *key = json_text(at);
        struct slice value = json_member(at)->raw;
        bool stays = wish != NULL ? !is_replaced(wish, &json, key) : strcmp(key, "job") != 0;
        if (stays)
            buffer_format(out, ",\"%s\":%.*s", key, (int)value.length, value.data);
        free(key);
    }
    json_free(&json);
    return 0;
}

static int line_of(const struct buffer *out)
{
    int line = 1;
    for (size_t i = 0; i < out->length; i++)
        line += out->data[i] == '\n';
    return line;
}

static void put_wish(struct buffer *out, struct wish *wish)
{
    for (size_t i = 0; i < wish->count; i++) {
        wish->lines[i] = 0;
        if (wish->keys[i].value == NULL)
            continue;
        buffer_format(out, ",\n\"%s\":%s", wish->keys[i].key, wish->keys[i].value);
        wish->lines[i] = line_of(out);
    }
    buffer_char(out, '\n');
}

/* Columns as trigger_family.sql lists them. */
static int build(const PGresult *family, struct wish *wish, struct buffer *out,
                 struct rota_error *error)
{
    size_t count = 0, same;
    const char *source = row_text(family, 0, 2);
    char **names = row_texts(family, 0, 4, &count), **texts = row_texts(family, 0, 5, &same);
    buffer_string(out, "{\"source\":");
    buffer_json(out, source, strlen(source));
    buffer_string(out, ",\"jobs\":[");
    put_name(out, row_text(family, 0, 1));
    int failed = put_definition(out, row_text(family, 0, 3), NULL, error);
    buffer_string(out, ",\"triggers\":[");
    for (size_t i = 0; failed == 0 && i < count; i++) {
        bool mine = strcmp(names[i], wish->name) == 0;
        buffer_string(out, i > 0 ? ",\n" : "\n");
        put_name(out, names[i]);
        failed = put_definition(out, texts[i], mine ? wish : NULL, error);
        if (mine)
            put_wish(out, wish);
        buffer_char(out, '}');
    }
    buffer_string(out, "]}]}");
    free(names);
    free(texts);
    return failed;
}

/* ---- problems ---- */

/* What follows `job "x", trigger "y"` in a message. */
static const char *after_names(const char *text)
{
    const char *trigger = strstr(text, ", trigger \"");
    for (const char *at = trigger != NULL ? trigger + 11 : ""; *at != '\0'; at++)
        if (*at == '"' && (at[1] == ':' || at[1] == ',') && at[2] == ' ')
            return at + 3;
    return text;
}

/* The place is one of a text that nobody wrote: what was asked for is named instead. */
static int tell_problem(const struct manifest_set *set, const struct wish *wish,
                        struct rota_error *error)
{
    int line = 0, column = 0, length = 0;
    const char *text = set->problems.lines[0];
    if (sscanf(text, TEXT_NAME ":%d:%d: %n", &line, &column, &length) == 2 && length > 0)
        text += length;
    for (size_t i = 0; i < wish->count; i++) {
        if (wish->lines[i] == 0 || wish->lines[i] != line)
            continue;
        return error_set(error, ERROR_USAGE, "%s: %s", wish->keys[i].called, after_names(text));
    }
    return error_set(error, ERROR_REFUSED, "%s", text);
}

/* ---- the whole ---- */

static int find_family(struct store *store, const char *name, PGresult **ret_family,
                       struct rota_error *error)
{
    struct store_params params = {0};
    params_text(&params, name);
    int failed = store_wait(store, SQL_TRIGGER_FAMILY, &params, 0, ret_family, error);
    store_params_free(&params);
    if (failed != 0)
        return -1;
    if (PQntuples(*ret_family) > 0)
        return 0;
    PQclear(*ret_family);
    return error_set(error, ERROR_NOT_FOUND, "no trigger is called \"%s\"", name);
}

static void take(const PGresult *family, const char *name, const struct apply_diff *diff,
                 struct reschedule *ret_reschedule)
{
    int64_t next_us = row_time(family, 0, 7);
    *ret_reschedule =
        (struct reschedule){.job = mem_string(row_text(family, 0, 1)),
                            .paused = row_bool(family, 0, 6),
                            .next_at_us = next_us == STORE_NULL_TIME ? MANIFEST_UNSET : next_us};
    for (size_t i = 0; i < diff->count; i++) {
        const struct apply_change *change = &diff->changes[i];
        if (change->kind != APPLY_TRIGGER || strcmp(change->name, name) != 0)
            continue;
        ret_reschedule->changed = true;
        if (change->scheduled)
            ret_reschedule->next_at_us = change->next_at_us;
    }
}

static int reschedule_once(struct store *store, struct wish *wish,
                           const struct apply_options *options, struct reschedule *ret_reschedule,
                           struct rota_error *error)
{
    PGresult *family;
    struct buffer text = {0};
    struct apply_diff diff = {0};
    if (find_family(store, wish->name, &family, error) != 0)
        return -1;
    struct apply_options how = *options;
    struct manifest_set *set = manifest_set_new();
    how.revision = row_int64(family, 0, 0);
    int failed = build(family, wish, &text, error);
    if (failed == 0) {
        buffer_text(&text);
        manifest_add(set, TEXT_NAME, text.data, text.length);
        failed = manifest_check(set) == 0 ? apply_manifests(store, set, &how, &diff, error) : -1;
        if (set->problems.count > 0)
            tell_problem(set, wish, error);
    } else {
        buffer_free(&text);
    }
    if (failed == 0)
        take(family, wish->name, &diff, ret_reschedule);
    apply_diff_free(&diff);
    manifest_set_free(set);
    PQclear(family);
    return failed;
}

int reschedule_trigger(struct store *store, const char *name, const struct reschedule_key *keys,
                       size_t count, const struct apply_options *options,
                       struct reschedule *ret_reschedule, struct rota_error *error)
{
    struct wish wish = {.name = name, .keys = keys, .count = count < KEYS_MAX ? count : KEYS_MAX};
    int failed, attempts = 0;
    do {
        *error = (struct rota_error){0};
        failed = reschedule_once(store, &wish, options, ret_reschedule, error);
    } while (failed != 0 && store_is(error, APPLY_STALE) && ++attempts < ATTEMPTS_MAX);
    return failed;
}
