/*
 * Inside the handler `sql` only. sql_request.c reads the run's data, sql_connect.c says how the
 * database is connected to, sql.c is the life of a run, sql_result.c what comes of it.
 */
#ifndef WORKER_BUILTIN_SQL_H
#define WORKER_BUILTIN_SQL_H

#include "worker/builtin/builtin.h"
#include "worker/builtin/settings.h"

#include "base/buffer.h"
#include "base/error.h"

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STATEMENT_PARAMETERS_MAX 1000
#define STATEMENT_ROWS           100   /* shown in the details, where the data do not say */
#define STATEMENT_ROWS_MAX       10000 /* that may be asked for */
#define STATEMENT_SHOWN_MAX      24576 /* bytes of rows in the details: the history takes 32 KiB */
#define STATEMENT_COLUMNS_MAX    6144  /* bytes of their names */

struct sql_request {
    char *database, *statement;
    char **parameters; /* NULL: null */
    int parameter_count;
    int64_t max_rows;
    int64_t limit_us; /* for all of it, counted from the start; 0: none */
    bool lane;        /* limit_us is of the lease, after which another node may begin */
};

enum sql_state {
    STATEMENT_RESOLVING,
    STATEMENT_CONNECTING,
    STATEMENT_RUNNING,
    STATEMENT_CANCELLING, /* the server was asked to end the statement */
};

struct sql {
    struct task task;
    enum sql_state state;
    struct sql_request request;
    char *url;
    PQconninfoOption *options;
    struct sql_hosts *hosts;
    bool plain; /* the server does not know the newer settings */
    PGconn *pg; /* NULL: none */
    struct event *io, *timer;
    int64_t end_us;  /* monotonic; 0: none */
    char *cancelled; /* why, NULL: it was not */
    bool overdue;    /* that is why */
    /* the result */
    struct buffer columns, rows; /* JSON, without the outer brackets */
    int64_t row_count;
    bool truncated, succeeded;
    char *tag, *affected;  /* "UPDATE 3", "3" */
    struct buffer failure; /* JSON of what the server said */
    char *message;         /* its first line */
    char sqlstate[6];
};

/* --- sql_request.c --- */
int sql_request_read(struct sql_request *ret_request, struct slice line, int64_t lease_us,
                     struct rota_error *error);
/* A statement of ours, within the time that the run has. */
int sql_request_own(struct sql_request *ret_request, struct slice line, int64_t lease_us,
                    struct rota_error *error);
void sql_request_free(struct sql_request *request);

/* --- cleanup.c --- */
int cleanup_prepare(struct sql *sql, struct builtin *builtin,
                    const struct protocol_message *message, struct rota_error *error);

/* --- sql_connect.c --- */
/* Reads the connection string. */
int sql_hosts_new(struct sql *sql, struct rota_error *error);
void sql_hosts_free(struct sql_hosts *hosts);
/* Names become addresses; sql_resolved() follows, at once where there are none. */
void sql_resolve(struct sql *sql);
PGconn *sql_connect(struct sql *sql);
/* Did the connection fail only because the server is older than what we asked for? */
bool sql_is_too_new(const struct sql *sql);

/* --- sql.c --- */
void sql_resolved(struct sql *sql, const char *error); /* NULL: there are addresses */
void sql_free(struct sql *sql);
const char *sql_overdue(const struct sql *sql); /* why its time was over */

/* --- sql_result.c --- */
/* One result of the statement; true if the statement cannot go on. */
bool sql_take_result(struct sql *sql, const PGresult *result);
/* Each answers the run and frees it. */
void sql_answer(struct sql *sql);
void sql_fail(struct sql *sql, const char *exception, const char *message, bool final);

#endif
