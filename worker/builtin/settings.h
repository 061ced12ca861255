/*
 * What the built-in worker is told of the node's settings: one JSON object, {"http_allow":[…],
 * "secret_env":[…],"secret_files":[…],"databases":{…},"lease_ms":10000,"fleet":{…}}. It comes as a
 * line on the worker's socket and never as an argument: databases have passwords, and everybody
 * sees arguments.
 */
#ifndef WORKER_BUILTIN_SETTINGS_H
#define WORKER_BUILTIN_SETTINGS_H

#include "base/buffer.h"
#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

/* A database of the settings. One of the three is there. */
struct builtin_database {
    char *name;
    char *url;      /* connection string or URI */
    char *url_env;  /* the variable it is in */
    char *url_file; /* the file it is in */
};

struct builtin_settings {
    char **http_allow;   /* private targets that `http` may reach; see http_target.h */
    char **secret_env;   /* patterns of variables that jobs may refer to */
    char **secret_files; /* patterns of paths, as those of exec_allow */
    struct builtin_database *databases;
    size_t database_count;
    int64_t lease_us; /* 0: not known */
    /* Of the fleet's own database, for task-history-cleanup alone; NULL: not told. */
    char *fleet_url, *cleanup, *history_rows, *history_age_ms;
};

/* 0, or -1 with the setting's name and what would be right. Unknown keys are ignored. */
int builtin_settings_read(struct builtin_settings *ret_settings, struct slice json,
                          struct rota_error *error);
void builtin_settings_free(struct builtin_settings *settings);

/* NULL: no such database. */
const struct builtin_database *builtin_database(const struct builtin_settings *settings,
                                                const char *name);

#endif
