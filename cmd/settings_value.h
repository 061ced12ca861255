/* One value of a setting and the table of pools: between the files of settings, not for commands.
 */
#ifndef CMD_SETTINGS_VALUE_H
#define CMD_SETTINGS_VALUE_H

#include "cmd/settings.h"

struct setting_value {
    char *text; /* as a flag would give it; lists as a JSON array */
    int64_t number;
    char **list; /* NULL-terminated */
    char *origin;
    bool given;
};

/* Parses and checks; on success replaces *value. `origin` goes into the message. */
int setting_value_set(struct setting_value *value, enum setting_id id, const char *text,
                      const char *origin, struct rota_error *error);
void setting_value_free(struct setting_value *value);

/* One key of the --config file; adds the values of `path` to values[]. */
int settings_read_file(struct setting_value *values, const char *path, struct rota_error *error);

/* Rules of settings for workers. */
int settings_check_token(const char *token, struct rota_error *error);
int settings_check_socket_mode(const char *text, struct rota_error *error);
int settings_check_cgroup(const char *text, struct rota_error *error);
/* The token from its setting or its file, to be freed; untouched where no TCP port needs one. */
int settings_worker_token(const struct setting_value *values, char **ret_token,
                          struct rota_error *error);

struct json;
struct json_value;
struct worker_limits;
/* The member `limits` of a pool. 0, or -1 with line and column. */
int pool_limits_read(const struct json *json, const struct json_value *object,
                     struct worker_limits *ret_limits, struct rota_error *error);

struct pool_table {
    struct worker_pool_config *pools; /* the first is the built-in one */
    size_t count;
};
/* `text` is the JSON of the setting, NULL: only the built-in pool. */
int pool_table_parse(struct pool_table *ret_table, const char *text, int slots,
                     struct rota_error *error);
void pool_table_free(struct pool_table *table);

/* --- settings_builtin.c: settings of the built-in worker --- */
int settings_check_http_allow(const char *entry, struct rota_error *error); /* one of the list */
int settings_check_databases(const char *text, struct rota_error *error);
/* All of them as the JSON the worker is told; to be freed. */
char *settings_builtin(const struct settings *settings);

#endif
