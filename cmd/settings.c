/*
 * Values of settings from their sources: file, environment, flags, each stronger than the one
 * before; then the checks that concern two settings at once. The table itself: settings_table.c.
 */
#include "cmd/settings_value.h"

#include "base/clock.h"
#include "base/instant.h"
#include "base/log.h"
#include "base/memory.h"
#include "cmd/data_directory.h"
#include "coord/config.h"
#include "worker/worker.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct flag_words {
    const char **words; /* of argv, in order */
    size_t count;
};

struct settings {
    unsigned scope;
    struct flag_words flags[SETTING_COUNT];
    struct setting_value values[SETTING_COUNT];
    struct pool_table pools;
    char *builtin;      /* what the built-in worker is told */
    char *worker_token; /* as told or read from its file */
    struct log log;
};

struct settings *settings_new(unsigned scope)
{
    struct settings *settings = mem_alloc(sizeof *settings);
    settings->scope = scope;
    return settings;
}

void settings_free(struct settings *settings)
{
    if (settings == NULL)
        return;
    for (int id = 0; id < SETTING_COUNT; id++) {
        free(settings->flags[id].words);
        setting_value_free(&settings->values[id]);
    }
    pool_table_free(&settings->pools);
    free(settings->builtin);
    free(settings->worker_token);
    free(settings);
}

static void add_word(struct settings *settings, int id, const char *word)
{
    struct flag_words *flag = &settings->flags[id];
    flag->words = mem_resize(flag->words, flag->count + 1, sizeof *flag->words);
    flag->words[flag->count++] = word;
}

static int find_in_scope(const struct settings *settings, const char *name, size_t length)
{
    int id = memchr(name, '_', length) == NULL ? settings_find(name, length) : -1;
    return id >= 0 && (settings_row((enum setting_id)id)->scopes & settings->scope) != 0 ? id : -1;
}

int settings_take_flag(struct settings *settings, int argc, char **argv, int *i,
                       struct rota_error *error)
{
    const char *argument = argv[*i];
    if (strncmp(argument, "--", 2) != 0 || argument[2] == '\0')
        return 0;
    const char *name = argument + 2, *equals = strchr(name, '=');
    size_t length = equals != NULL ? (size_t)(equals - name) : strlen(name);
    int id = find_in_scope(settings, name, length);
    if (id < 0 && equals == NULL && strncmp(name, "no-", 3) == 0) {
        id = find_in_scope(settings, name + 3, length - 3);
        if (id < 0 || settings_row((enum setting_id)id)->type != SETTING_BOOL)
            return 0;
        add_word(settings, id, "false");
        return 1;
    }
    if (id < 0)
        return 0;
    if (equals != NULL)
        add_word(settings, id, equals + 1);
    else if (settings_row((enum setting_id)id)->type == SETTING_BOOL)
        add_word(settings, id, "true");
    else if (*i + 1 < argc)
        add_word(settings, id, argv[++*i]);
    else
        return error_set(error, ERROR_USAGE, "%s needs a value", argument);
    return 1;
}

/* Flags given several times: the last one counts, but lists are put together. */
static int apply_flag(struct settings *settings, enum setting_id id, struct rota_error *error)
{
    const struct flag_words *flag = &settings->flags[id];
    struct setting_value *value = &settings->values[id];
    struct buffer all = {0};
    char name[64];
    int failed = 0;
    settings_flag_name(id, name, sizeof name);
    for (size_t i = 0; i < flag->count && failed == 0; i++) {
        failed = setting_value_set(value, id, flag->words[i], name, error);
        for (char **item = failed == 0 ? value->list : NULL; item != NULL && *item != NULL;
             item++) {
            buffer_char(&all, all.length == 0 ? '[' : ',');
            buffer_json(&all, *item, strlen(*item));
        }
    }
    if (failed == 0 && flag->count > 1 && all.length > 0) {
        buffer_char(&all, ']');
        failed = setting_value_set(value, id, buffer_text(&all), name, error);
    }
    buffer_free(&all);
    return failed;
}

static int apply_variable(struct settings *settings, enum setting_id id, const char *variable,
                          struct rota_error *error)
{
    const char *text = variable != NULL ? getenv(variable) : NULL;
    if (text == NULL || *text == '\0')
        return 0;
    return setting_value_set(&settings->values[id], id, text, variable, error);
}

static int apply_sources(struct settings *settings, enum setting_id id, struct rota_error *error)
{
    const struct setting *row = settings_row(id);
    unsigned scope = settings->scope == SCOPE_ENQUEUE ? SCOPE_CLIENT : settings->scope;
    char variable[64];
    if ((row->scopes & scope) == 0)
        return 0;
    settings_variable_name(id, variable, sizeof variable);
    if (apply_variable(settings, id, row->variable, error) != 0 ||
        apply_variable(settings, id, variable, error) != 0)
        return -1;
    return apply_flag(settings, id, error);
}

static void set_default(struct settings *settings, enum setting_id id, const char *text)
{
    struct rota_error error;
    if (settings->values[id].text != NULL || text == NULL)
        return;
    int failed = setting_value_set(&settings->values[id], id, text, "default", &error);
    assert(failed == 0);
    (void)failed;
    settings->values[id].given = false;
}

/* A host name that is no node name is not our user's fault: what does not fit becomes '-'. */
static void default_node_name(struct settings *settings)
{
    char host[65] = "";
    if (gethostname(host, sizeof host - 1) != 0 || host[0] == '\0')
        snprintf(host, sizeof host, "node");
    for (char *at = host; *at != '\0'; at++)
        if (settings_row(SETTING_NODE_NAME)->check((char[]){*at, '\0'}, NULL) != 0)
            *at = '-';
    set_default(settings, SETTING_NODE_NAME, host);
}

/* A short lease alone shall do: the heartbeat then follows it. */
static void default_heartbeat(struct settings *settings)
{
    char text[TIME_TEXT_SIZE];
    int64_t fifth_us = settings_number(settings, SETTING_LEASE) / 5;
    if (settings_given(settings, SETTING_HEARTBEAT) ||
        settings_number(settings, SETTING_HEARTBEAT) <= fifth_us)
        return;
    setting_value_free(&settings->values[SETTING_HEARTBEAT]);
    set_default(settings, SETTING_HEARTBEAT, duration_format(fifth_us, text));
}

static void apply_defaults(struct settings *settings)
{
    for (int id = 0; id < SETTING_COUNT; id++)
        set_default(settings, (enum setting_id)id, settings_row((enum setting_id)id)->standard);
    default_heartbeat(settings);
    set_default(settings, SETTING_RESTART_DELAY, settings_text(settings, SETTING_LEASE));
    set_default(settings, SETTING_LOCK_DELAY, settings_text(settings, SETTING_LEASE));
    set_default(settings, SETTING_LOCK_NAMESPACE, settings_text(settings, SETTING_SCHEMA));
    set_default(settings, SETTING_MANIFESTS, "[]");
    bool up = settings->scope == SCOPE_UP; /* one machine, one user: manifests may what they may */
    set_default(settings, SETTING_EXEC_ALLOW, up ? "[\"*\"]" : "[]");
    set_default(settings, SETTING_HTTP_ALLOW, up ? "[\"127.0.0.0/8\",\"::1\"]" : "[]");
    set_default(settings, SETTING_SECRET_ENV, up ? "[\"*\"]" : "[]");
    set_default(settings, SETTING_SECRET_FILES, up ? "[\"*\"]" : "[]");
    set_default(settings, SETTING_WORKER_LISTEN, "[]");
    default_node_name(settings);
    char *directory = data_directory_default();
    set_default(settings, SETTING_DATA, directory);
    free(directory);
}

static int check_together(const struct settings *settings, struct rota_error *error)
{
    const struct setting_value *heartbeat = &settings->values[SETTING_HEARTBEAT];
    const struct setting_value *lease = &settings->values[SETTING_LEASE];
    if (heartbeat->number * 2 < lease->number)
        return 0;
    return error_set(
        error, ERROR_REFUSED,
        "heartbeat %s (from %s) must be less than half the lease %s (from %s), so that "
        "one lost renewal is no lost lease",
        heartbeat->text, heartbeat->origin, lease->text, lease->origin);
}

int settings_load(struct settings *settings, struct rota_error *error)
{
    if (apply_sources(settings, SETTING_CONFIG, error) != 0)
        return -1;
    const char *file = settings_text(settings, SETTING_CONFIG);
    if (file != NULL && settings_read_file(settings->values, file, error) != 0)
        return -1;
    for (int id = 0; id < SETTING_COUNT; id++)
        if (id != SETTING_CONFIG && apply_sources(settings, (enum setting_id)id, error) != 0)
            return -1;
    apply_defaults(settings);
    if (check_together(settings, error) != 0)
        return -1;
    free(settings->worker_token);
    settings->worker_token = NULL;
    return settings_worker_token(settings->values, &settings->worker_token, error);
}

const char *settings_text(const struct settings *settings, enum setting_id id)
{
    return settings->values[id].text;
}

int64_t settings_number(const struct settings *settings, enum setting_id id)
{
    return settings->values[id].number;
}

bool settings_bool(const struct settings *settings, enum setting_id id)
{
    return settings->values[id].number != 0;
}

const char *const *settings_list(const struct settings *settings, enum setting_id id)
{
    return (const char *const *)settings->values[id].list;
}

const char *settings_origin(const struct settings *settings, enum setting_id id)
{
    return settings->values[id].origin != NULL ? settings->values[id].origin : "default";
}

bool settings_given(const struct settings *settings, enum setting_id id)
{
    return settings->values[id].given;
}

static void fill_log(struct settings *settings)
{
    settings->log = (struct log){
        .node = settings_text(settings, SETTING_NODE_NAME),
        .text = strcmp(settings_text(settings, SETTING_LOG_FORMAT), "text") == 0,
        .fd = STDERR_FILENO,
    };
    log_level_parse(settings_text(settings, SETTING_LOG_LEVEL), &settings->log.level);
}

enum store_pooler settings_pooler(const struct settings *settings)
{
    const char *text = settings_text(settings, SETTING_POOLER);
    return strcmp(text, "transaction") == 0 ? STORE_POOLER_TRANSACTION
           : strcmp(text, "none") == 0      ? STORE_POOLER_NONE
                                            : STORE_POOLER_AUTO;
}

void settings_node_config(struct settings *settings, struct node_config *ret_config)
{
    const char *url = settings_text(settings, SETTING_DATABASE_URL);
    pool_table_free(&settings->pools);
    int failed = pool_table_parse(&settings->pools, settings_text(settings, SETTING_POOLS),
                                  (int)settings_number(settings, SETTING_SLOTS), NULL);
    assert(failed == 0); /* checked when it was set */
    (void)failed;
    free(settings->builtin);
    settings->builtin = settings_builtin(settings);
    fill_log(settings);
    *ret_config = (struct node_config){
        .database_url = url != NULL ? url : "",
        .session_database_url = settings_text(settings, SETTING_SESSION_DATABASE_URL),
        .pooler = settings_pooler(settings),
        .node_name = settings_text(settings, SETTING_NODE_NAME),
        .http_listen = settings_text(settings, SETTING_HTTP_LISTEN),
        .http_tls_cert = settings_text(settings, SETTING_HTTP_TLS_CERT),
        .http_tls_key = settings_text(settings, SETTING_HTTP_TLS_KEY),
        .schema = settings_text(settings, SETTING_SCHEMA),
        .lock_namespace = settings_text(settings, SETTING_LOCK_NAMESPACE),
        .manifests = settings_list(settings, SETTING_MANIFESTS),
        .self = "/proc/self/exe", /* guard and workers are this very binary, even if the file is
                                     replaced */
        .exec_allow = settings_list(settings, SETTING_EXEC_ALLOW),
        .builtin_settings = settings->builtin,
        .pools = settings->pools.pools,
        .pool_count = settings->pools.count,
        .worker_listen = settings_list(settings, SETTING_WORKER_LISTEN),
        .worker_socket_mode =
            (mode_t)strtol(settings_text(settings, SETTING_WORKER_SOCKET_MODE), NULL, 8),
        .worker_token = settings->worker_token,
        .cgroup = settings_text(settings, SETTING_CGROUP),
        .lease_us = settings_number(settings, SETTING_LEASE),
        .heartbeat_us = settings_number(settings, SETTING_HEARTBEAT),
        .restart_delay_us = settings_number(settings, SETTING_RESTART_DELAY),
        .grace_us = settings_number(settings, SETTING_GRACE),
        .lock_delay_us = settings_number(settings, SETTING_LOCK_DELAY),
        .lock_wait_us = settings_number(settings, SETTING_LOCK_WAIT),
        .poll_us = settings_number(settings, SETTING_POLL),
        .misfire_threshold_us = settings_number(settings, SETTING_MISFIRE_THRESHOLD),
        .catch_up_rate = settings_number(settings, SETTING_CATCH_UP_RATE),
        .history_rows = settings_number(settings, SETTING_HISTORY_ROWS),
        .history_age_us = settings_number(settings, SETTING_HISTORY_AGE),
        .notify = settings_bool(settings, SETTING_NOTIFY),
        .disabled = settings_bool(settings, SETTING_DISABLE_SCHEDULER),
        .standby = settings_bool(settings, SETTING_STANDBY),
        .log_runs = settings_bool(settings, SETTING_LOG_RUNS),
        .log = &settings->log,
    };
}
