/*
 * The only door to PostgreSQL. A connection is a state machine on the event loop: it resolves,
 * connects, prepares its statements, then answers calls in order through libpq's pipeline mode;
 * when it is lost it says so to every call that was out, backs off with jitter and comes back by
 * itself. Nothing here blocks, except store_wait() for commands and the start of a node.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/buffer.h"
#include "base/error.h"
#include "base/log.h"
#include "sql/sql.h"
#include "store/params.h"
#include "store/pooler.h"
#include "store/row.h"

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

struct event_base;
struct store; /* one connection */

struct store_config {
    struct event_base *base;
    const struct log *log;
    const char *url;              /* libpq connection string or URI, several hosts allowed */
    const char *schema;           /* replaces the word `rota` in statements */
    const char *role_name;        /* "session", "work", "client": for logs and application_name */
    const char *application_name; /* at most 63 bytes; copied */
    const char
        *options; /* command-line options for the backend, e.g. "-c jit=off"; NULL: none; copied */
    bool writes;  /* only a server that accepts writes will do: another is looked for */
    int roles;    /* STATEMENT_…: these are prepared at connect; others at first use */
    enum store_pooler pooler;
    int64_t connect_timeout_us; /* 0: 5 s for each attempt, less where there are other hosts */
    int64_t
        answer_timeout_us; /* an answer that takes longer counts as a lost connection; 0: 35 s */
    void *arg;
    void (*ready)(void *arg); /* connected and prepared; also after each reconnect */
    void (*lost)(void *arg, const struct rota_error *error);   /* was ready before */
    void (*failed)(void *arg, const struct rota_error *error); /* an attempt to connect failed */
    void (*notified)(void *arg, const char *payload);
};

/* What a call is answered with. `result` is cleared by the store after the callback. */
struct store_answer {
    PGresult *result;               /* NULL unless the statement succeeded */
    const struct rota_error *error; /* NULL if it did */
    bool unknown; /* the connection was lost after it was sent: it may have happened */
};

typedef void (*store_callback)(void *arg, const struct store_answer *answer);

/* How a call stands to transactions; without a flag it is its own. */
enum {
    STORE_BEGIN = 1,  /* BEGIN before it; later calls without STORE_WITHIN wait until the end */
    STORE_WITHIN = 2, /* inside the open transaction; ahead of waiting calls */
    STORE_COMMIT = 4, /* COMMIT after it, answered when that is done; with STORE_WITHIN */
};

struct store *store_new(const struct store_config *config); /* opens at the next loop turn */
void store_free(struct store *store);             /* calls that are out are not answered */
bool store_ready(const struct store *store);      /* NULL is not ready */
size_t store_backlog(const struct store *store);  /* calls not answered yet */
int store_backend_pid(const struct store *store); /* 0 when not connected */
int64_t store_server_version(const struct store *store);
bool store_pooled(const struct store *store); /* treated as behind a pooler of transactions */

/*
 * Queues a call. The parameters are copied. When the connection is down the callback gets an error
 * of class 08 in the next turn; the caller decides whether to ask again when it is ready.
 */
void store_call(struct store *store, enum statement_id statement, const struct store_params *params,
                int flags, store_callback callback, void *arg);
void store_rollback(struct store *store); /* ends a transaction begun by STORE_BEGIN */

/* A script of several statements by the simple protocol (migrations), as one implicit transaction.
 */
void store_script(struct store *store, const char *text, store_callback callback, void *arg);

/* For straight-line code: run the loop until answered. 0 with *ret_result (to PQclear) or -1. */
int store_wait_ready(struct store *store, const bool *stop, struct rota_error *error);
int store_wait(struct store *store, enum statement_id statement, const struct store_params *params,
               int flags, PGresult **ret_result, struct rota_error *error);
int store_wait_script(struct store *store, const char *text, struct rota_error *error);

/* ---- SQLSTATE classes (store/sqlstate.c) ---- */
enum store_fault {
    FAULT_RETRY,   /* 08, 40, 53, 57P, a time-out: try again with back-off */
    FAULT_REFUSED, /* everything else: a bug or bad input */
};
enum store_fault store_fault(const struct rota_error *error);
bool store_is(const struct rota_error *error, const char *sqlstate);

/* ---- whether a session is one (store/session.c) ---- */
enum store_session {
    SESSION_DIRECT,
    SESSION_POOLED, /* a pooler is in the way and keeps the session to one backend */
    SESSION_SHARED, /* locks, LISTEN and settings of the session do not survive */
    SESSION_BARE,   /* the pooler keeps it, and refuses its settings */
};
/* Tries it with two connections of its own. `config`: base, log, url, schema, names. 0 or -1. */
int store_session_check(const struct store_config *config, enum store_session *ret_session,
                        struct rota_error *error);
/* -1 with ERROR_REFUSED and what would be right where nodes cannot work with it. `setting`: the one
 * that names the connection. */
int store_session_refuse(enum store_session session, const char *setting, struct rota_error *error);

/* ---- migrations (store/migrate.c) ---- */
struct migrate_result {
    int from; /* version found; 0: no schema */
    int to;
};
/* Straight-line, on a connection with no prepared roles. Safe from many nodes at once. */
int store_migrate(struct store *store, const char *schema, const bool *stop,
                  struct migrate_result *ret_result, struct rota_error *error);
/* Refuses a schema newer than this binary knows when it says it must (schema_version.requires). */
int store_check_schema(struct store *store, int *ret_version, struct rota_error *error);

/* Replaces the word `rota` by the schema's name in a statement; to be freed. */
char *store_with_schema(const char *text, const char *schema);

#endif
