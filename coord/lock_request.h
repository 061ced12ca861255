/*
 * Inside of cluster locks: what cluster_lock.c (the life of a request), lock_ask.c (its questions
 * to the database) and lock_renew.c (how long what is held stays so) share. Not for others.
 */
#ifndef COORD_LOCK_REQUEST_H
#define COORD_LOCK_REQUEST_H

#include "base/table.h"
#include "coord/cluster_lock.h"
#include "coord/lock_queue.h"
#include "store/store.h"

#include <event2/event.h>

enum news { NEWS_NONE, NEWS_OBTAINED, NEWS_FAILED, NEWS_LOST };

struct request {
    UT_hash_handle hh;
    uint64_t number;
    struct cluster_locks *locks;
    struct lock_claim claim;
    enum lock_state state;
    enum news news;
    struct list news_place;
    struct list line_place; /* waits to be asked for: enough questions are out */
    struct event *timer;    /* the next try, or the end */
    char *name, *holder;
    char *held_by;   /* at the last try; NULL: not known */
    const char *why; /* it was lost */
    bool node_scope;
    bool unwanted; /* released while the database was asked */
    bool named;    /* the row of the name was made, on its behalf */
    bool took;     /* asked for the advisory lock, too */
    int tries;
    int64_t wait_us, backoff_us, deadline_us; /* the last: monotonic */
    int64_t fence;
    int64_t sent_boot_us, good_boot_us; /* of the last try; of the last renewal */
    uint64_t session, renewal;          /* when it was asked; the last that it was part of */
    struct rota_error error;
};

struct cluster_locks {
    struct cluster_lock_config config;
    struct cluster_lock_callbacks callbacks;
    struct store *const *store;
    struct lock_queues *queues;
    struct request *requests; /* by number */
    struct list news;
    struct event *turn; /* tells the news */
    struct event *gone; /* the session was lost */
    struct event *loss; /* when the first of them is lost unless renewed */
    uint64_t session;   /* counts them: what was asked of an earlier one is void */
    bool listening, renewing;
    uint64_t renewal;
    int64_t renewal_boot_us; /* when it was sent */
    size_t unconfirmed;      /* releases on their way */
    size_t asked;            /* questions on their way */
    struct list line;        /* requests whose question waits for an earlier answer */
    int64_t node_fence;
    int64_t clock_offset_us; /* of the database's clock to ours that nobody sets; when that was */
    int64_t clock_heard_boot_us;  /* heard, 0: never; and when it was seen to jump, */
    int64_t clock_jumped_boot_us; /* 0: never */
};

/* cluster_lock.c */
bool lock_session_ready(const struct cluster_locks *locks);
struct request *lock_request_of(struct lock_claim *claim); /* NULL gives NULL */
const char *lock_request_mode(const struct request *r);
void lock_request_move(struct request *r, enum lock_event event);
void lock_request_free(struct request *r);
void lock_request_leave(struct request *r); /* its name: then whose turn is it? */
void lock_request_give_back(struct request *r);
void lock_request_lose(struct request *r, const char *why);
void lock_request_fail(struct request *r, enum lock_event event); /* for `error` */
void lock_request_fail_in_time(struct request *r);
void lock_request_tell(struct request *r, enum news news); /* at the end of the turn */
/* What the session has of a name nobody here holds goes; then whose turn is it? */
void lock_settle(struct cluster_locks *locks, struct lock_name *name);
void lock_advance(struct cluster_locks *locks, struct lock_name *name);

/* lock_ask.c */
void lock_ask(struct request *r, enum lock_event event);
void lock_ask_answered(struct request *r); /* without success: the error, if any, is in it */
void lock_ask_wait(struct request *r, int64_t duration_us); /* its timer, at its deadline at last */
void lock_ask_obtained(struct request *r, int64_t fence);
void lock_ask_unlock(struct cluster_locks *locks, const char *name, bool exclusive);

/* lock_renew.c */
void lock_renew_set(struct cluster_locks *locks); /* what is held has changed */
void lock_renew_on_loss(evutil_socket_t fd, short what, void *locks);

#endif
