/*
 * Cluster locks of one process, all on its session connection: for the workers of a node and for
 * `rota lock`. Taken without ever blocking the session, held without an open transaction, known to
 * everybody by a row with holder and fence, renewed by one statement however many they are. When
 * the session is lost so are they, and nothing is taken again by itself. What a lock is in the
 * database: sql/schema/0004_cluster_lock.sql.
 */
#ifndef COORD_CLUSTER_LOCK_H
#define COORD_CLUSTER_LOCK_H

#include "base/buffer.h"
#include "base/error.h"
#include "base/log.h"
#include "base/machine.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cluster_locks;
struct event_base;
struct store;

#define LOCK_NAME_MAX     254     /* characters */
#define LOCK_NOTIFICATION "lock " /* a name follows: what a release tells its waiters */

/* Life of a request. */
enum lock_state { LOCK_QUEUED, LOCK_ASKING, LOCK_WAITING, LOCK_HELD, LOCK_OVER };
enum lock_event {
    LOCK_TURN,     /* nobody of this process is before it */
    LOCK_REFUSED,  /* the database: not now */
    LOCK_AGAIN,    /* its back-off is over, or it was woken */
    LOCK_OBTAINED, /* the database: it is yours */
    LOCK_FAILED,   /* the database: an error that waiting does not cure */
    LOCK_END,      /* given up or given back */
    LOCK_LOSE      /* somebody else may have it by now */
};
extern const struct machine lock_machine;

/* What somebody asks for. Strings are copied. */
struct cluster_lock_wish {
    uint64_t number;   /* chosen by the asker, never used again */
    struct slice name; /* checked by cluster_lock_check_name() */
    bool shared;
    bool node_scope;    /* among the askers of this process alone: no database */
    int64_t wait_us;    /* 0: one try */
    const char *holder; /* for people: who and where */
};

struct cluster_lock_failure {
    const char *name;
    const char *holder; /* NULL: not known */
    int retries;
    const struct rota_error *error; /* ERROR_TIMEOUT: it was not free in time */
};

/* Called from the event loop, never from inside a function of this header; they may call back. */
struct cluster_lock_callbacks {
    void *arg;
    void (*obtained)(void *arg, uint64_t number, int64_t fence);
    void (*failed)(void *arg, uint64_t number, const struct cluster_lock_failure *failure);
    void (*lost)(void *arg, uint64_t number, const char *why);
    void (*waited)(void *arg, bool obtained, int64_t waited_us); /* before the two; or NULL */
    void (*valid)(void *arg, int64_t until_boot_us); /* all that are held, as of now; or NULL */
};

struct cluster_lock_config {
    struct event_base *base;
    const struct log *log;
    int64_t delay_us; /* the lock-delay: after our death others wait so long; may be 0 */
    int64_t renew_us; /* how often cluster_locks_renew() is called */
    int64_t
        valid_us; /* without renewal for so long, a lock counts as lost (told a little before) */
};

/* `*session`: the session connection, may be NULL or not ready at any time. */
struct cluster_locks *cluster_locks_new(const struct cluster_lock_config *config,
                                        const struct cluster_lock_callbacks *callbacks,
                                        struct store *const *session);
/* After the session: its answers would come too late. NULL is fine. */
void cluster_locks_free(struct cluster_locks *locks);

/* 0, or -1 with what a name must be. */
int cluster_lock_check_name(struct slice name, struct rota_error *error);

/* Is followed by obtained() or failed(), unless it is released before; obtained() perhaps by
 * lost().
 */
void cluster_lock_want(struct cluster_locks *locks, const struct cluster_lock_wish *wish);
/* Given back, or not wanted any more. Unknown numbers (lost meanwhile) are passed over. */
void cluster_lock_release(struct cluster_locks *locks, uint64_t number);
void cluster_locks_release_all(struct cluster_locks *locks);
/* Requests of any state, and releases the database has not confirmed. */
size_t cluster_locks_count(const struct cluster_locks *locks);

void cluster_locks_renew(
    struct cluster_locks *locks); /* at each heartbeat; free of cost when none */
/* What time it is for the database: it said so between sending and now. To be told at times, so
 * that a clock that jumps is noticed: then no lock-delay of others ends before its time. */
void cluster_locks_clock(struct cluster_locks *locks, int64_t database_us, int64_t sent_boot_us);
void cluster_locks_session_ready(struct cluster_locks *locks);
void cluster_locks_session_lost(struct cluster_locks *locks);
/* Of the session: true if it was about a lock. */
bool cluster_locks_notified(struct cluster_locks *locks, const char *payload);

#endif
