/* `rota token create|list|revoke`: who may use the HTTP API. A token is shown once. */
#include "base/buffer.h"
#include "base/clock.h"
#include "base/instant.h"
#include "base/json.h"
#include "cmd/client.h"
#include "coord/token.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPIRES_US                                                                                 \
    (INT64_C(365) * 86400 * US_PER_SECOND)              /* long, but no token is for ever unasked */
#define OVERLAP_US      (INT64_C(3600) * US_PER_SECOND) /* for whoever uses the old one to change */
#define NAME_MAX_LENGTH 64

static const char help_text[] =
    "Usage: rota token create NAME --scope monitor|operate|admin [--expires D] [--rotate "
    "[--overlap D]] [--json]\n"
    "       rota token list [NAME] [--json]\n"
    "       rota token revoke NAME-OR-KEY [--json]\n"
    "\n"
    "Tokens of the HTTP API. `create` prints a new one, once: the database keeps a hash. The first "
    "token\n"
    "ends the time when whoever is on a node's machine may do everything without one. `revoke` is\n"
    "heeded by every node within a few seconds.\n"
    "\n"
    "  --scope S     monitor: reads; operate: acts, too; admin: also deletes and evicts\n"
    "  --expires D   how long it is valid; never: for ever (default: 365d)\n"
    "  --rotate      a new one beside those of the same name, which go on for --overlap\n"
    "  --overlap D   with --rotate (default: 1h)\n"
    "  --json        one JSON document\n"
    "\n";

enum verb { VERB_NONE, VERB_CREATE, VERB_LIST, VERB_REVOKE };

struct options {
    enum verb verb;
    const char *name;
    const char *scope;
    int64_t expires_us; /* 0: never */
    int64_t overlap_us;
    bool rotate;
    bool json;
};

/* ---- create ---- */

static void print_new(const struct options *options, const char *token, int64_t expires_us)
{
    char time[TIME_TEXT_SIZE];
    struct buffer out = {0};
    if (!options->json) {
        puts(token);
        return;
    }
    buffer_format(&out, "{\"token\":\"%s\",\"name\":", token);
    buffer_json(&out, options->name, strlen(options->name));
    buffer_format(&out, ",\"scope\":\"%s\",\"expires_at\":", options->scope);
    if (expires_us == STORE_NULL_TIME)
        buffer_string(&out, "null}");
    else
        buffer_format(&out, "\"%s\"}", instant_format(expires_us, time));
    puts(buffer_text(&out));
    buffer_free(&out);
}

static int add(struct client *client, const struct options *options, const char *token,
               struct rota_error *error)
{
    struct store_params params = {0};
    PGresult *result;
    char key[TOKEN_KEY_SIZE];
    unsigned char hash[TOKEN_HASH_SIZE];
    token_split(token, key);
    token_hash(token, hash);
    params_text(&params, options->name);
    params_text(&params, key);
    params_slice(&params, (struct slice){(const char *)hash, sizeof hash});
    params_text(&params, options->scope);
    if (options->expires_us > 0)
        params_int64(&params, options->expires_us / US_PER_MS);
    else
        params_null(&params);
    params_bool(&params, options->rotate);
    params_int64(&params, options->overlap_us / US_PER_MS);
    int failed = store_wait(client->store, SQL_TOKEN_CREATE, &params, 0, &result, error);
    store_params_free(&params);
    if (failed != 0)
        return -1;
    if (PQntuples(result) == 0)
        failed = error_set(error, ERROR_REFUSED,
                           "there is a token called \"%s\": --rotate makes another one and lets "
                           "that expire, `rota token revoke` ends it",
                           options->name);
    else
        print_new(options, token, row_time(result, 0, 1));
    PQclear(result);
    return failed;
}

static int create(struct client *client, const struct options *options, struct rota_error *error)
{
    char token[TOKEN_TEXT_SIZE];
    if (token_make(token, error) != 0)
        return -1;
    int failed = add(client, options, token, error);
    OPENSSL_cleanse(token, sizeof token);
    return failed;
}

/* ---- list ---- */

static void print_line(const struct json *json, const struct json_value *row)
{
    static const char *const columns[] = {"name",       "key",     "scope", "state",
                                          "expires_at", "used_at", NULL};
    for (size_t i = 0; columns[i] != NULL; i++) {
        const struct json_value *value = json_get(json, row, columns[i]);
        char *text = value->type == JSON_STRING ? json_text(value) : NULL;
        if (text != NULL && strlen(text) > 19 && text[10] == 'T')
            memcpy(text + 19, "Z", 2);
        printf("%s%s", i > 0 ? "  " : "", text != NULL ? text : "-");
        free(text);
    }
    putchar('\n');
}

static int list(struct client *client, const struct options *options, struct rota_error *error)
{
    struct store_params params = {0};
    PGresult *result;
    struct json json;
    params_text(&params, options->name);
    int failed = store_wait(client->store, SQL_GET_TOKENS, &params, 0, &result, error);
    store_params_free(&params);
    if (failed != 0)
        return -1;
    const char *text = row_text(result, 0, 0);
    if (options->json) {
        puts(text);
    } else if ((failed = json_parse(&json, text, strlen(text), error)) == 0) {
        const struct json_value *data = json_get(&json, json.values, "data");
        for (const struct json_value *row = json_first(&json, data); row != NULL;
             row = json_next(&json, row))
            print_line(&json, row);
        json_free(&json);
    }
    PQclear(result);
    return failed;
}

/* ---- revoke ---- */

static int revoke(struct client *client, const struct options *options, struct rota_error *error)
{
    struct store_params params = {0};
    PGresult *result;
    params_text(&params, options->name);
    int failed = store_wait(client->store, SQL_TOKEN_REVOKE, &params, 0, &result, error);
    store_params_free(&params);
    if (failed != 0)
        return -1;
    long long count = row_int64(result, 0, 0);
    PQclear(result);
    if (count == 0)
        return error_set(error, ERROR_NOT_FOUND,
                         "no token is called \"%s\", or all of them are revoked; `rota token list` "
                         "shows them",
                         options->name);
    printf(options->json ? "{\"revoked\":%lld}\n" : "revoked %lld\n", count);
    return 0;
}

/* ---- arguments ---- */

static int run(struct client *client, void *arg, struct rota_error *error)
{
    const struct options *options = arg;
    return options->verb == VERB_CREATE ? create(client, options, error)
           : options->verb == VERB_LIST ? list(client, options, error)
                                        : revoke(client, options, error);
}

static int check_scope(const char *scope, struct rota_error *error)
{
    if (strcmp(scope, "monitor") == 0 || strcmp(scope, "operate") == 0 ||
        strcmp(scope, "admin") == 0)
        return 1;
    return error_set(error, ERROR_USAGE, "--scope \"%s\" is none of monitor, operate, admin",
                     scope);
}

static int take(int argc, char **argv, int *i, void *arg, struct rota_error *error)
{
    struct options *options = arg;
    const char *value;
    int taken;
    if ((taken = cmd_option(argc, argv, i, "--scope", &options->scope, error)) != 0)
        return taken < 0 ? -1 : check_scope(options->scope, error);
    if ((taken = cmd_option(argc, argv, i, "--expires", &value, error)) != 0) {
        if (taken > 0 && strcmp(value, "never") == 0)
            options->expires_us = 0;
        else if (taken > 0 && client_duration("--expires", value, &options->expires_us, error) != 0)
            return -1;
        return taken;
    }
    if ((taken = cmd_option(argc, argv, i, "--overlap", &value, error)) != 0)
        return taken < 0 || client_duration("--overlap", value, &options->overlap_us, error) != 0
                   ? -1
                   : 1;
    if (strcmp(argv[*i], "--rotate") == 0)
        return options->rotate = true;
    if (strcmp(argv[*i], "--json") == 0)
        return options->json = true;
    return 0;
}

static int word(const char *word, void *arg, struct rota_error *error)
{
    static const char *const verbs[] = {"", "create", "list", "revoke"};
    struct options *options = arg;
    if (options->verb == VERB_NONE) {
        for (int verb = VERB_CREATE; verb <= VERB_REVOKE; verb++)
            if (strcmp(word, verbs[verb]) == 0)
                options->verb = (enum verb)verb;
        return options->verb != VERB_NONE
                   ? 0
                   : error_set(error, ERROR_USAGE,
                               "\"%s\" is nothing to do: create, list or revoke", word);
    }
    if (options->name != NULL)
        return error_set(error, ERROR_USAGE, "one name at a time: \"%s\" is a second one", word);
    if (*word == '\0' || strlen(word) > NAME_MAX_LENGTH)
        return error_set(error, ERROR_USAGE, "a name has 1 to %d bytes", NAME_MAX_LENGTH);
    options->name = word;
    return 0;
}

static int check(void *arg, struct rota_error *error)
{
    const struct options *options = arg;
    if (options->verb == VERB_NONE)
        return error_set(error, ERROR_USAGE, "what? create, list or revoke");
    if (options->verb != VERB_LIST && options->name == NULL)
        return error_set(error, ERROR_USAGE, "which token? Give its name");
    if (options->verb == VERB_CREATE && options->scope == NULL)
        return error_set(error, ERROR_USAGE, "what may it do? --scope monitor, operate or admin");
    if (options->verb != VERB_CREATE && (options->scope != NULL || options->rotate))
        return error_set(error, ERROR_USAGE, "--scope and --rotate go with create");
    return 0;
}

int cmd_token(int argc, char **argv)
{
    static const char *const own[] = {"--scope",   "--expires", "--rotate",
                                      "--overlap", "--json",    NULL};
    static const struct client_command command = {.name = "token",
                                                  .help = help_text,
                                                  .own = own,
                                                  .take = take,
                                                  .word = word,
                                                  .check = check,
                                                  .run = run};
    struct options options = {.expires_us = EXPIRES_US, .overlap_us = OVERLAP_US};
    return client_main(&command, &options, argc, argv);
}
