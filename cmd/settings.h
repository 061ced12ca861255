/*
 * Every setting of rota stands once, in the table of settings_table.c: flag, environment variable,
 * key of the --config file, help, checks and `rota settings` all derive from it. Sources in order
 * of strength: flag, environment (an empty variable counts as not set), file, default.
 *
 * A command makes settings_new(), offers each argument it does not know to settings_take_flag(),
 * then calls settings_load() once, and reads values by id.
 */
#ifndef CMD_SETTINGS_H
#define CMD_SETTINGS_H

#include "base/error.h"
#include "store/pooler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct node_config;
struct settings;

enum setting_id {
    SETTING_CONFIG,
    SETTING_DATABASE_URL,
    SETTING_SESSION_DATABASE_URL,
    SETTING_POOLER,
    SETTING_DATA,
    SETTING_PG_BINDIR,
    SETTING_SCHEMA,
    SETTING_LOCK_NAMESPACE,
    SETTING_NODE_NAME,
    SETTING_HTTP_LISTEN,
    SETTING_HTTP_TLS_CERT,
    SETTING_HTTP_TLS_KEY,
    SETTING_MANIFESTS,
    SETTING_POOLS,
    SETTING_SLOTS,
    SETTING_WORKER_LISTEN,
    SETTING_WORKER_SOCKET_MODE,
    SETTING_WORKER_TOKEN,
    SETTING_WORKER_TOKEN_FILE,
    SETTING_CGROUP,
    SETTING_EXEC_ALLOW,
    SETTING_HTTP_ALLOW,
    SETTING_SECRET_ENV,
    SETTING_SECRET_FILES,
    SETTING_DATABASES,
    SETTING_LEASE,
    SETTING_HEARTBEAT,
    SETTING_RESTART_DELAY,
    SETTING_GRACE,
    SETTING_POLL,
    SETTING_LOCK_DELAY,
    SETTING_LOCK_WAIT,
    SETTING_MISFIRE_THRESHOLD,
    SETTING_CATCH_UP_RATE,
    SETTING_HISTORY_ROWS,
    SETTING_HISTORY_AGE,
    SETTING_NOTIFY,
    SETTING_STANDBY,
    SETTING_DISABLE_SCHEDULER,
    SETTING_LOG_LEVEL,
    SETTING_LOG_FORMAT,
    SETTING_LOG_RUNS,
    SETTING_COUNT,
};

enum setting_type {
    SETTING_TEXT,
    SETTING_DURATION, /* number in microseconds */
    SETTING_NUMBER,
    SETTING_BOOL,
    SETTING_LIST, /* `a:b` (or another separator), or a JSON array; repeated flags add to it */
    SETTING_POOL_TABLE, /* JSON object, see settings_pools.c */
    SETTING_OBJECT,     /* JSON object of another kind, read by its check */
};

/* Which commands take the flag; `rota settings` takes all. `rota enqueue` is a client whose --data
 * means something else: there the data directory comes from ROTA_DATA or the file. */
enum setting_scope {
    SCOPE_CLIENT = 1,
    SCOPE_NODE = 2,
    SCOPE_UP = 4,
    SCOPE_ENQUEUE = 8,
    SCOPE_DOCTOR = 16, /* besides SCOPE_CLIENT: who needs a session, too */
    SCOPE_LOCK = 32,
    SCOPE_ALL = 63,
};

struct setting {
    const char *name; /* as in the file; --kebab-case and ROTA_UPPER_CASE follow from it */
    enum setting_type type;
    unsigned scopes;
    bool secret;          /* may hold a password: shown masked */
    const char *standard; /* default, as text; NULL: none, or computed as `help` says */
    int64_t low, high;    /* allowed numbers and durations */
    int (*check)(const char *text, struct rota_error *error); /* further rules; may be NULL */
    char separator;       /* of the words of a list; 0: a colon, as in PATH */
    const char *variable; /* a second environment variable; weaker than ROTA_… */
    const char *help;
};

const struct setting *settings_row(enum setting_id id);
/* The row of a snake_case or kebab-case name, or -1. */
int settings_find(const char *name, size_t length);
void settings_print_help(FILE *out, unsigned scope); /* the settings of a scope, as help */
void settings_flag_name(enum setting_id id, char *ret_name, size_t size);     /* "--log-level" */
void settings_variable_name(enum setting_id id, char *ret_name, size_t size); /* "ROTA_LOG_LEVEL" */

struct settings *settings_new(unsigned scope);
void settings_free(struct settings *settings);

/* Tries argv[*i] as a flag of the scope: --name VALUE, --name=VALUE, and for booleans --name and
 * --no-name. 1: taken, *i is at its last word. 0: not a setting. -1: the value is missing. The
 * words of argv must outlive the settings. */
int settings_take_flag(struct settings *settings, int argc, char **argv, int *i,
                       struct rota_error *error);

/* Reads file and environment, applies the flags, checks everything. 0, or -1 with what, where. */
int settings_load(struct settings *settings, struct rota_error *error);

const char *settings_text(const struct settings *settings, enum setting_id id); /* NULL: not set */
int64_t settings_number(const struct settings *settings, enum setting_id id);
bool settings_bool(const struct settings *settings, enum setting_id id);
const char *const *settings_list(const struct settings *settings, enum setting_id id);
/* "default", "--lease", "ROTA_LEASE" or "/etc/rota.json:3:14". */
const char *settings_origin(const struct settings *settings, enum setting_id id);
bool settings_given(const struct settings *settings, enum setting_id id); /* not the default */
enum store_pooler settings_pooler(const struct settings *settings);

/* What `rota node` runs with. Points into the settings, which must live as long. */
void settings_node_config(struct settings *settings, struct node_config *ret_config);

/* The database for a client command: database_url, or what a running `rota up` has left in the data
 * directory. To be freed. NULL with ERROR_DATABASE and how to name one. */
char *settings_client_url(const struct settings *settings, struct rota_error *error);

/* `data` is meant: no database_url, or --data is given and that by environment or file only. */
bool settings_wants_data(const struct settings *settings);

/* A connection string or URI, or each "url" of `databases`, with *** for passwords. To be freed. */
char *settings_mask(const char *database_url);
char *settings_mask_databases(const char *databases);

#endif
