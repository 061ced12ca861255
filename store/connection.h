/*
 * Inside of a connection: what connection.c (the state machine), hosts.c (addresses) and pipeline.c
 * (calls) share. Not for use outside store/.
 */
#ifndef STORE_CONNECTION_H
#define STORE_CONNECTION_H

#include "base/list.h"
#include "base/machine.h"
#include "store/store.h"

#include <event2/event.h>

enum store_state {
    STORE_DOWN,
    STORE_RESOLVING,
    STORE_CONNECTING,
    STORE_PREPARING,
    STORE_READY,
    STORE_BACKOFF
};
enum store_event {
    STORE_OPEN,     /* asked to connect */
    STORE_RESOLVED, /* all host names have addresses */
    STORE_CONNECTED,
    STORE_PREPARED,
    STORE_LOST, /* any failure, at any stage */
    STORE_AGAIN /* the back-off is over */
};
extern const struct machine store_machine;

#define STORE_DEPTH_MAX 32 /* calls sent and not answered: bounds libpq's result queue */

struct hosts; /* the addresses of one conninfo: hosts.c */

/* One call, from store_call() until its answer. */
struct call {
    struct list link;
    enum statement_id statement;
    char *script; /* instead of a statement */
    int flags;
    bool rollback; /* an internal ROLLBACK */
    struct store_params params;
    store_callback callback;
    void *arg;
    int skip;         /* results before the statement's own: PREPARE, BEGIN */
    PGresult *result; /* of the statement */
    struct rota_error error;
    int64_t sent_us;
};

struct store {
    struct store_config config;
    enum store_state state;
    PGconn *pg;
    struct hosts *hosts;
    struct event *socket_event; /* of the current socket; libpq may change it while connecting */
    struct event *timer;        /* connect timeout, back-off, answer deadline */
    struct event *later;        /* answers refused calls in the next turn */
    struct list waiting;        /* calls not sent */
    struct list within;         /* calls of the open transaction, not sent */
    struct list sent;
    struct list refused; /* calls to be answered "not connected" */
    int sent_count;
    size_t backlog;
    bool in_transaction; /* from sending BEGIN until COMMIT or ROLLBACK is answered */
    bool freed;          /* store_free() was called from within a callback */
    int depth;           /* callbacks running */
    int failures;        /* in a row: the exponent of the back-off */
    bool prepared[STATEMENT_COUNT];
    char *texts[STATEMENT_COUNT]; /* statements with the schema put in, made at first use */
    int preparing;                /* results of PREPARE still to come */
    bool pooled;                  /* a pooler of transactions is, or may be, in the way: for good */
    bool probing;                 /* connected; which backend answers is being asked */
    struct store_params settings; /* of each transaction behind a pooler; made at first use */
    struct rota_error error;      /* why the connection was lost */
};

/* connection.c */
void store_broken(struct store *store, const char *what); /* takes PQerrorMessage along */
void store_watch(struct store *store);                    /* read always, write while unflushed */
void store_deadline(struct store *store); /* arms the answer timer for the oldest call */
void store_refused(struct store *store, const struct rota_error *error); /* a call, by the server */
const char *store_text(struct store *store, enum statement_id statement);
void store_error(struct rota_error *error, const PGresult *result, PGconn *pg, const char *what);

/* hosts.c: parses the conninfo, resolves names without blocking, gives PQconnectStartParams() its
 * lists. */
struct hosts *hosts_new(const struct store_config *config, struct rota_error *error);
void hosts_free(struct hosts *hosts);
void hosts_resolve(struct hosts *hosts, void (*done)(void *arg, const struct rota_error *error),
                   void *arg);
/* options: for the backend, NULL: none may be given; application_name as the server sees it. */
PGconn *hosts_connect(struct hosts *hosts, const char *options, const char *application_name);
const char *hosts_options(const struct hosts *hosts);     /* those of the connection string */
void hosts_rotate(struct hosts *hosts, const PGconn *pg); /* begin after its host the next time */
int hosts_count(const struct hosts *hosts);

/* pooler.c */
PGconn *pooler_connect(struct store *store); /* hosts_connect() as the pooler can take it */
bool pooler_refuses_settings(const char *message);
bool pooler_refused(const struct store *store); /* an attempt to connect, for our settings */
void pooler_found(struct store *store, const char *how); /* said once; from now on pooled */
bool pooler_tells(const struct store *store, const PGresult *result); /* what only poolers say */
bool pooler_unprepared(const struct store *store);
bool pooler_send_settings(struct store *store); /* within a transaction, for its length */
bool pooler_send_probe(struct store *store);
bool pooler_is_between(const struct store *store, const PGresult *result); /* of the probe */

/* pipeline.c */
void pipeline_pump(struct store *store);   /* sends what may be sent */
void pipeline_read(struct store *store);   /* takes the results that are there */
void pipeline_lost(struct store *store);   /* answers everything with store->error */
void pipeline_refuse(struct store *store); /* answers calls made while there was no connection */
void pipeline_free(struct store *store);
bool pipeline_prepare(struct store *store, enum statement_id statement); /* sends a PREPARE */

#endif
