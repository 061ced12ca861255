/*
 * Who of this process comes next for a lock. Session locks are re-entrant, so that the database
 * would give the same lock to two claims of one session: the claims of one name stand in a queue
 * here, and only its head asks the database. First come, first served; shared claims that follow
 * each other hold together. Knows no database and no clock.
 */
#ifndef COORD_LOCK_QUEUE_H
#define COORD_LOCK_QUEUE_H

#include "base/buffer.h"
#include "base/list.h"

#include <stdbool.h>

struct lock_name;   /* one name that somebody holds or waits for */
struct lock_queues; /* all of them */

/* What the session has of a name in the database: one, however many share it here. */
enum lock_session { SESSION_NONE, SESSION_SHARE, SESSION_EXCLUSIVE };

/* Part of whatever asks for a lock; lives as long as it stands here. */
struct lock_claim {
    struct list place; /* in the queue or among the holders */
    struct lock_name *name;
    bool exclusive;
    bool holds;
};

struct lock_queues *lock_queues_new(void);
void lock_queues_free(struct lock_queues *queues); /* no claim may be left. NULL is fine */

/* To the end of the queue of a name; those of scope node are other names. */
void lock_queue_join(struct lock_queues *queues, struct lock_claim *claim, struct slice name,
                     bool node_scope, bool exclusive);
/* The head of the queue, if nobody who holds is in its way; NULL: nobody's turn. */
struct lock_claim *lock_queue_turn(const struct lock_name *name);
void lock_queue_hold(struct lock_claim *claim); /* the head: it holds from now on */
void lock_queue_leave(struct lock_claim *claim);
struct lock_claim *lock_queue_holder(const struct lock_name *name); /* one of them; NULL: nobody */
/* The name by its text, NULL: nobody holds it or waits for it. */
struct lock_name *lock_queue_find(const struct lock_queues *queues, const char *text);
/* A name without claims is forgotten; not before the session has given it back. */
void lock_queue_settle(struct lock_queues *queues, struct lock_name *name);

const char *lock_name_text(const struct lock_name *name);
enum lock_session lock_name_session(const struct lock_name *name);
void lock_name_set_session(struct lock_name *name, enum lock_session session);
void lock_queues_session_lost(struct lock_queues *queues); /* of all names: none */

#endif
