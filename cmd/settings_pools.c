/*
 * The setting `pools`: {"py":{"command":["python3","worker.py"],"processes":4}}. The built-in pool
 * is always there and stands first; it takes its slots from the setting `slots`. Others of its kind
 * take handlers from it, with slots of their own: {"reports":{"builtin":["exec"],"slots":2}}.
 */
#include "cmd/settings_value.h"

#include "base/json.h"
#include "base/memory.h"
#include "base/text.h"
#include "worker/worker.h"

#include <stdlib.h>
#include <string.h>

#define POOL_COUNT_MAX     63   /* of one node, besides that of workers that connect */
#define POOL_PROCESSES_MAX 1000 /* processes of one pool */
#define POOL_SLOTS_MAX     10000
#define POOL_ALIASES_MAX   256 /* of one pool, as of one worker */
#define BUILTIN_POOL       "builtin"

static void pool_free(struct worker_pool_config *pool)
{
    for (char *const *word = pool->command; word != NULL && *word != NULL; word++)
        free(*word);
    free((void *)pool->command);
    for (char *const *word = pool->builtin; word != NULL && *word != NULL; word++)
        free(*word);
    free((void *)pool->builtin);
    for (size_t i = 0; i < pool->alias_count; i++) {
        free(pool->aliases[i].old);
        free(pool->aliases[i].new);
    }
    free((void *)pool->aliases);
    free((void *)pool->name);
}

void pool_table_free(struct pool_table *table)
{
    for (size_t i = 0; i < table->count; i++)
        pool_free(&table->pools[i]);
    free(table->pools);
    *table = (struct pool_table){0};
}

static struct worker_pool_config *pool_add(struct pool_table *table, const char *name)
{
    table->pools = mem_resize(table->pools, table->count + 1, sizeof *table->pools);
    struct worker_pool_config *pool = &table->pools[table->count++];
    *pool = (struct worker_pool_config){.name = mem_string(name), .processes = 1};
    return pool;
}

/* "line L, column C: " before what is wrong with `value`. */
static int refuse(const struct json *json, const struct json_value *value, struct rota_error *error,
                  const char *what)
{
    int line, column;
    json_position(json, value, &line, &column);
    return error_set(error, ERROR_REFUSED, "line %d, column %d: %s", line, column, what);
}

static int read_command(const struct json *json, const struct json_value *value,
                        struct worker_pool_config *pool, struct rota_error *error)
{
    if (value->type != JSON_ARRAY || value->count == 0)
        return refuse(json, value, error,
                      "command is a list of texts, for example [\"python3\",\"worker.py\"]");
    char **command = mem_array(value->count + 1, sizeof *command);
    pool->command = command;
    for (const struct json_value *word = json_first(json, value); word != NULL;
         word = json_next(json, word), command++) {
        *command = word->type == JSON_STRING ? json_text(word) : NULL;
        if (*command == NULL)
            return refuse(json, word, error, "command is a list of texts only");
    }
    if (pool->command[0][0] == '\0')
        return refuse(json, value, error, "command begins with an empty text, not a program");
    return 0;
}

/* Whether a pool before this one has the handler already. */
static bool is_taken(const struct pool_table *table, const char *handler)
{
    for (size_t i = 0; i < table->count; i++)
        for (char *const *at = table->pools[i].builtin; at != NULL && *at != NULL; at++)
            if (strcmp(*at, handler) == 0)
                return true;
    return false;
}

static int read_builtin(const struct pool_table *table, const struct json *json,
                        const struct json_value *value, struct worker_pool_config *pool,
                        struct rota_error *error)
{
    if (value->type != JSON_ARRAY || value->count == 0)
        return refuse(json, value, error,
                      "builtin is a list of built-in handlers, for example [\"exec\"]");
    char **handlers = mem_array(value->count + 1, sizeof *handlers);
    pool->builtin = handlers;
    for (const struct json_value *word = json_first(json, value); word != NULL;
         word = json_next(json, word), handlers++) {
        char *handler = word->type == JSON_STRING ? json_text(word) : NULL;
        bool known = handler != NULL && builtin_worker_knows(handler);
        bool taken = known && is_taken(table, handler);
        if (!known || taken) {
            free(handler);
            return refuse(json, word, error,
                          known
                              ? "this built-in handler is in the list twice, or another pool's"
                              : "builtin lists handlers of the built-in worker, for example exec");
        }
        *handlers = handler;
    }
    return 0;
}

static int read_slots(const struct json *json, const struct json_value *value,
                      struct worker_pool_config *pool, struct rota_error *error)
{
    int64_t slots;
    if (json_int64(value, &slots) != 0 || slots < 1 || slots > POOL_SLOTS_MAX)
        return refuse(json, value, error, "slots is a number from 1 to 10000");
    pool->slots = (int)slots;
    return 0;
}

static int read_processes(const struct json *json, const struct json_value *value,
                          struct worker_pool_config *pool, struct rota_error *error)
{
    int64_t processes;
    if (json_int64(value, &processes) != 0 || processes < 1 || processes > POOL_PROCESSES_MAX)
        return refuse(json, value, error, "processes is a number from 1 to 1000");
    pool->processes = (int)processes;
    return 0;
}

/* A pool has a command, or is of the built-in kind with slots. */
static int check_kind(const struct json *json, const struct json_value *object,
                      const struct worker_pool_config *pool, struct rota_error *error)
{
    if (pool->command == NULL && pool->builtin == NULL)
        return refuse(json, object, error, "this pool has no command");
    if (pool->command != NULL && pool->builtin != NULL)
        return refuse(json, object, error, "a pool has a command or builtin handlers, not both");
    if (pool->command != NULL && pool->slots != 0)
        return refuse(json, object, error,
                      "slots are for builtin handlers: a command says itself how many it has");
    if (pool->builtin != NULL && pool->slots == 0)
        return refuse(json, object, error,
                      "a pool of builtin handlers needs slots, for example "
                      "\"slots\": 2");
    return 0;
}

/* What an alias stands for is a handler: no name of the same object. */
static int check_chains(const struct json *json, const struct json_value *object,
                        struct rota_error *error)
{
    for (const struct json_value *key = json_first(json, object); key != NULL;
         key = json_next(json, key))
        for (const struct json_value *old = json_first(json, object); old != NULL;
             old = json_next(json, old))
            if (json_same(old, json_member(key)))
                return refuse(json, json_member(key), error,
                              "an alias stands for a handler, not for another alias");
    return 0;
}

static int read_aliases(const struct json *json, const struct json_value *value,
                        struct worker_pool_config *pool, struct rota_error *error)
{
    if (value->type != JSON_OBJECT || value->count > POOL_ALIASES_MAX)
        return refuse(json, value, error,
                      "aliases is an object with up to 256 names, each with the name of the "
                      "handler it stands for: {\"old-name\":\"new-name\"}");
    struct worker_alias *aliases = mem_array(value->count + 1, sizeof *aliases);
    pool->aliases = aliases;
    for (const struct json_value *key = json_first(json, value); key != NULL;
         key = json_next(json, key), aliases++) {
        const struct json_value *name = json_member(key);
        *aliases = (struct worker_alias){json_text(key), NULL};
        pool->alias_count++;
        if (name->type == JSON_STRING)
            aliases->new = json_text(name);
        if (aliases->old == NULL || *aliases->old == '\0')
            return refuse(json, key, error, "an alias is the name of a handler, not an empty text");
        if (aliases->new == NULL || *aliases->new == '\0')
            return refuse(json, name, error, "an alias stands for the name of a handler, a text");
    }
    return check_chains(json, value, error);
}

static int read_pool(const struct pool_table *table, const struct json *json,
                     const struct json_value *object, struct worker_pool_config *pool,
                     struct rota_error *error)
{
    if (object->type != JSON_OBJECT)
        return refuse(json, object, error,
                      "a pool is an object, for example {\"command\":[\"./worker\"]}");
    for (const struct json_value *key = json_first(json, object); key != NULL;
         key = json_next(json, key)) {
        int failed;
        if (json_is(key, "command"))
            failed = read_command(json, json_member(key), pool, error);
        else if (json_is(key, "processes"))
            failed = read_processes(json, json_member(key), pool, error);
        else if (json_is(key, "builtin"))
            failed = read_builtin(table, json, json_member(key), pool, error);
        else if (json_is(key, "slots"))
            failed = read_slots(json, json_member(key), pool, error);
        else if (json_is(key, "aliases"))
            failed = read_aliases(json, json_member(key), pool, error);
        else if (json_is(key, "limits"))
            failed = pool_limits_read(json, json_member(key), &pool->limits, error);
        else
            failed = refuse(json, key, error,
                            "a pool has the keys command, processes, builtin, slots, aliases "
                            "and limits only");
        if (failed != 0)
            return -1;
    }
    return check_kind(json, object, pool, error);
}

static int read_name(const struct json *json, const struct json_value *key, char **ret_name,
                     struct rota_error *error)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    char *name = json_text(key);
    if (name == NULL || *name == '\0' || strlen(name) > 40 ||
        strspn(name, letters) != strlen(name)) {
        free(name);
        return refuse(json, key, error, "a pool's name has 1 to 40 letters, digits and . _ -");
    }
    if (strcmp(name, BUILTIN_POOL) == 0) {
        free(name);
        return refuse(json, key, error, "the pool builtin is always there: set slots for it");
    }
    *ret_name = name;
    return 0;
}

static int read_pools(struct pool_table *table, const struct json *json, struct rota_error *error)
{
    const struct json_value *root = &json->values[0];
    if (root->type != JSON_OBJECT || root->count >= POOL_COUNT_MAX)
        return refuse(json, root, error,
                      "pools is an object with up to 62 pools: {\"py\":{\"command\":[…]}}");
    for (const struct json_value *key = json_first(json, root); key != NULL;
         key = json_next(json, key)) {
        char *name;
        if (read_name(json, key, &name, error) != 0)
            return -1;
        struct worker_pool_config *pool = pool_add(table, name);
        free(name);
        if (read_pool(table, json, json_member(key), pool, error) != 0)
            return -1;
    }
    return 0;
}

int pool_table_parse(struct pool_table *ret_table, const char *text, int slots,
                     struct rota_error *error)
{
    struct pool_table table = {0};
    struct json json = {0};
    int failed = 0;
    pool_add(&table, BUILTIN_POOL)->slots = slots;
    if (text != NULL) {
        failed = json_parse(&json, text, strlen(text), error);
        if (failed == 0)
            failed = read_pools(&table, &json, error);
    }
    json_free(&json);
    if (failed != 0) {
        pool_table_free(&table);
        return -1;
    }
    *ret_table = table;
    return 0;
}
