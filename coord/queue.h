/*
 * What a node does for the queue beside claims: rates, runs that wait for others, requests to
 * cancel, the word that it looks for work by itself, and the leader's sweeps over all of these.
 * Nothing of it needs a free slot or a handler; an idle queue costs no statement.
 */
#ifndef COORD_QUEUE_H
#define COORD_QUEUE_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct node;
struct run;

/* sweep.c: all parts of it; what a heartbeat brings from this column on; and the leader's sweeps.
 */
void queue_new(struct node *node);
void queue_free(struct node *node);
void queue_heard(struct node *node, const PGresult *result, int column);
bool queue_notified(struct node *node, const char *payload); /* false: it is about other things */

/* rate.c: gives starts to runs that wait for their rate, when an event says so. */
void rate_new(struct node *node);
void rate_free(struct node *node);
void rate_next(struct node *node, int64_t at_us); /* the next event; STORE_NULL_TIME: none */
void rate_claimed(struct node *node);             /* this node has used some starts */

/* after.c: runs that wait for others. */
void after_new(struct node *node);
void after_free(struct node *node);
void after_heard(struct node *node, bool waited); /* whether any run waits for another */
void after_told(struct node *node);               /* one was enqueued just now */
void after_done(struct node *node, int64_t run);  /* its end is written */

/* cancel.c: requests to end runs, each obeyed once by the node that has the run. */
void cancel_new(struct node *node);
void cancel_free(struct node *node);
/* All that are open, by id; takes the arrays. */
void cancel_heard(struct node *node, int64_t *ids, char **reasons, size_t count);
void cancel_told(struct node *node);                          /* there is a new one */
bool cancel_before_start(struct node *node, struct run *run); /* true: it is over */
void cancel_done(struct node *node, int64_t run);             /* what became of it is written */

/* busy.c: a node that claims one full batch after the other says so, and nobody notifies. */
void busy_new(struct node *node);
void busy_free(struct node *node);
void busy_claimed(struct node *node, int count, bool full); /* a claim was answered */
void busy_heard(struct node *node, bool busy);              /* whether a node has said so of late */
/* How soon to look again while nobody tells; INT64_MAX: one is told. */
int64_t busy_polls(const struct node *node);
void busy_idle(struct node *node); /* nothing is due: takes its word back and looks again */

#endif
