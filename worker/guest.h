/*
 * Inside this folder only: guests are workers that connect to a socket of the node instead of being
 * started by it. They speak the same protocol and stand in a pool of their own, one place each; but
 * nobody can send them a signal. So the end of a guest is the end of its connection, and what only
 * one may do at a time (a lane run, a cluster lock) is not given to another before the last lease
 * the guest was told of is over: it may still be at work.
 */
#ifndef WORKER_GUEST_H
#define WORKER_GUEST_H

#include "worker/pool.h"

#define GUESTS_MAX     256         /* of a node: each is a descriptor and buffers */
#define STRANGERS_MAX  64          /* of them without a hello so far: they must not crowd out */
#define HELLO_LINE_MAX (64 * 1024) /* what somebody unknown may make us keep */
#define GUEST_POOL     "socket"

/* 0, or -1 with what cannot be listened on. Without an address there are no guests. */
int guests_open(struct workers *workers, const struct worker_config *config,
                struct rota_error *error);
void guests_close(struct workers *workers); /* nobody else may come */
void guests_free(struct workers *workers);

bool process_is_guest(const struct process *process);

/* Its first hello. False: it was turned away. */
bool guest_hello(struct process *process, const struct protocol_message *message);
void guest_end(struct process *process, enum process_event event, const char *why);
void guest_fault(struct process *process, const char *why);
void guest_condemn(struct process *process);
void guest_on_timer(struct process *process);
/* It may hold what is given to one at a time: it has promised to stop at the end of the lease. */
bool guest_honours(const struct process *process);
/* Its connection is over, but perhaps not what it does. */
bool guest_lingers(const struct process *process);
void guests_lease(struct workers *workers);

#endif
