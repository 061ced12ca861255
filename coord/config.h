/*
 * What a node is told when it starts: the values of the settings table (cmd/settings.c), parsed and
 * checked, as plain fields. Durations in microseconds. Owned by the caller for the node's whole
 * life.
 */
#ifndef COORD_CONFIG_H
#define COORD_CONFIG_H

#include "base/log.h"
#include "store/pooler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct rota_error;
struct worker_pool_config;

struct node_config {
    const char *database_url; /* libpq connection string or URI; "" takes libpq's defaults */
    const char *session_database_url; /* NULL: database_url */
    enum store_pooler pooler;         /* before database_url */
    const char *node_name;            /* default: host name; a restarted node keeps its name */
    const char *http_listen;          /* "127.0.0.1:8300", "[::1]:0", "none" */
    const char *http_tls_cert, *http_tls_key; /* PEM files; NULL: plain HTTP */
    const char *schema;                       /* plain lower-case identifier */
    const char *lock_namespace;               /* fleets that share a database differ in it */
    const char *const *manifests;             /* files or directories, NULL-terminated */
    const char *self;                         /* path of this binary */
    const char *const *exec_allow;            /* path patterns, NULL-terminated */
    const char *builtin_settings;             /* JSON for the built-in workers */
    const struct worker_pool_config *pools;   /* always has the built-in one */
    size_t pool_count;
    const char *const *worker_listen; /* where workers may connect, NULL-terminated */
    mode_t worker_socket_mode;
    const char *cgroup;       /* of the workers: "auto", "off" or a directory */
    const char *worker_token; /* NULL: no TCP port is among them */
    int64_t lease_us;
    int64_t heartbeat_us;
    int64_t restart_delay_us;
    int64_t grace_us;
    int64_t lock_delay_us; /* of cluster locks, after our death */
    int64_t lock_wait_us;  /* for those who do not say how long */
    int64_t poll_us;       /* how late a run may start when its notification was lost */
    int64_t misfire_threshold_us;
    int64_t catch_up_rate;  /* made-up runs a second, whole fleet; at least 1 */
    int64_t history_age_us; /* finished runs older than this are dropped; 0: never */
    int64_t history_rows;   /* finished runs kept at least; 0: no limit */
    bool notify;
    bool disabled; /* MB_DISABLE_SCHEDULER or ROTA_DISABLE_SCHEDULER */
    bool standby;  /* initialise and register, but do not fire */
    bool log_runs; /* one info line per finished run */
    const struct log *log;
    /* On SIGHUP: the settings that may change while it runs. -1 with error: they cannot be read. */
    int (*reload)(void *arg, enum log_level *ret_level, struct rota_error *error); /* or NULL */
    void *reload_arg;
};

/*
 * The whole life of a node, from connecting to SIGTERM and drain: returns the exit code. Blocks in
 * the event loop. Installs handlers for SIGTERM and SIGINT (first: drain, second: hurry)
 * and SIGHUP (reads the settings again).
 */
int node_main(const struct node_config *config);

#endif
