/*
 * Poolers of transactions (pgbouncer and others): each transaction may be answered by another
 * backend. Nothing of the session can be relied on there: settings are given to each transaction,
 * statements are sent with their text. Found out at connect, or said by a setting.
 */
#include "store/connection.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

#define BINARY       1
#define SETTINGS_MAX 64

static const char standard_options[] = "-c search_path=pg_catalog -c jit=off";

bool pooler_unprepared(const struct store *store)
{
    return store->pooled || store->config.pooler == STORE_POOLER_TRIAL;
}

/*
 * Behind a pooler the name says so: recovery ends a dead node's connections by their names, and an
 * idle backend of the pool belongs to all of its clients (node_terminate.sql).
 */
PGconn *pooler_connect(struct store *store)
{
    const struct store_config *config = &store->config;
    char *name = mem_format("%s%s", config->application_name, store->pooled ? " pooled" : "");
    char *options = NULL;
    if (!pooler_unprepared(store))
        options = mem_format("%s %s %s", hosts_options(store->hosts), standard_options,
                             config->options != NULL ? config->options : "");
    PGconn *pg = hosts_connect(store->hosts, options, name);
    free(options);
    free(name);
    return pg;
}

bool pooler_refuses_settings(const char *message)
{
    return strstr(message, "unsupported startup parameter") != NULL;
}

bool pooler_refused(const struct store *store)
{
    return store->config.pooler == STORE_POOLER_AUTO && !store->pooled &&
           pooler_refuses_settings(PQerrorMessage(store->pg));
}

bool pooler_tells(const struct store *store, const PGresult *result)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (store->config.pooler != STORE_POOLER_AUTO || store->pooled || state == NULL)
        return false;
    return strcmp(state, "26000") == 0 || /* prepared on another backend */
           strcmp(state, "42P05") == 0;   /* this one has it from somebody else */
}

void pooler_found(struct store *store, const char *how)
{
    store->pooled = true;
    log_info(store->config.log,
             "a pooler is in the way: statements are sent with their text, one transaction at a "
             "time",
             LOG_TEXT("connection", store->config.role_name), LOG_TEXT("found", how));
}

bool pooler_send_probe(struct store *store)
{
    return PQsendQueryParams(store->pg, store_text(store, SQL_POOLER_PROBE), 0, NULL, NULL, NULL,
                             NULL, BINARY) == 1;
}

bool pooler_is_between(const struct store *store, const PGresult *result)
{
    return row_int32(result, 0, 0) != PQbackendPID(store->pg);
}

/* ---- settings of a transaction ---- */

struct settings {
    char *names[SETTINGS_MAX], *values[SETTINGS_MAX];
    size_t count;
};

/* What has a meaning for the length of a transaction: not what is about the socket, which is the
 * pooler's, or about idle sessions. */
static bool is_of_transactions(const char *name)
{
    return strncmp(name, "tcp_", 4) != 0 && strcmp(name, "idle_session_timeout") != 0;
}

/* name=value, the name as the server writes it, blanks after a backslash. */
static void add_setting(struct settings *settings, const char *text, size_t length)
{
    char *name = mem_string_n(text, length), *value = strchr(name, '='), *to = name;
    for (const char *at = name; *at != '\0'; at++) {
        if (*at == '\\' && at[1] != '\0')
            at++;
        *to++ = value != NULL && at < value && *at == '-' ? '_' : *at;
    }
    *to = '\0';
    value = strchr(name, '=');
    if (value == NULL || settings->count == SETTINGS_MAX) {
        free(name);
        return;
    }
    *value = '\0';
    if (!is_of_transactions(name)) {
        free(name);
        return;
    }
    settings->names[settings->count] = name;
    settings->values[settings->count++] = value + 1;
}

static size_t word_length(const char *text)
{
    size_t length = 0;
    while (text[length] != '\0' && text[length] != ' ')
        length += text[length] == '\\' && text[length + 1] != '\0' ? 2 : 1;
    return length;
}

/* Command-line options for a backend: -c name=value, -cname=value, --name=value. */
static void read_options(struct settings *settings, const char *options)
{
    for (const char *at = options; *at != '\0';) {
        size_t length = word_length(at);
        if (length > 2 && (strncmp(at, "--", 2) == 0 || strncmp(at, "-c", 2) == 0))
            add_setting(settings, at + 2, length - 2);
        else if (length > 0 && *at != '-')
            add_setting(settings, at, length);
        at += length;
        at += *at == ' ';
    }
}

static void make_settings(struct store *store)
{
    struct settings settings = {.count = 0};
    read_options(&settings, hosts_options(store->hosts));
    read_options(&settings, standard_options);
    if (store->config.options != NULL)
        read_options(&settings, store->config.options);
    params_texts(&store->settings, (const char *const *)settings.names, settings.count);
    params_texts(&store->settings, (const char *const *)settings.values, settings.count);
    for (size_t i = 0; i < settings.count; i++)
        free(settings.names[i]);
}

bool pooler_send_settings(struct store *store)
{
    if (store->settings.count == 0)
        make_settings(store);
    const struct store_params *params = &store->settings;
    const char *values[] = {params->bytes.data + params->offsets[0],
                            params->bytes.data + params->offsets[1]};
    const int formats[] = {BINARY, BINARY};
    return PQsendQueryParams(store->pg, store_text(store, SQL_POOLER_SETTINGS), 2, NULL, values,
                             params->lengths, formats, BINARY) == 1;
}
