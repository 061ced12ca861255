/*
 * The coordinator's end of the guard: starts it, tells it what to start and to kill, hears what
 * became of it. Nothing here blocks after guard_link_new(); commands the guard does not take at
 * once are kept in order.
 */
#ifndef WORKER_GUARD_LINK_H
#define WORKER_GUARD_LINK_H

#include "base/error.h"
#include "base/log.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct guard_link;
struct pool;
struct worker_config;

enum guard_cause {
    GUARD_OTHER,     /* its status says all, or the coordinator knows */
    GUARD_BY_LEASE,  /* ended because the lease did */
    GUARD_BY_MEMORY, /* it, or what it started, used more than the limit of its pool */
};

/* Called from the event loop. After `lost` nothing else is called. */
struct guard_link_callbacks {
    void *arg;
    void (*started)(void *arg, uint32_t number, pid_t pid);
    void (*refused)(void *arg, uint32_t number, const char *why);
    void (*ended)(void *arg, uint32_t number, int status, enum guard_cause cause);
    void (*lost)(void *arg); /* it and all it had started are dead */
};

/*
 * Executes `self guard` of the configuration and waits (at most 10 s) for its first word. Its
 * environment, which every worker inherits, is this process' without the node's own settings
 * (ROTA_*), which may hold the way to the database; with ROTA_NODE. This process becomes a
 * subreaper: should the guard be killed, what its workers have started comes here and is killed
 * too.
 */
struct guard_link *guard_link_new(const struct worker_config *config,
                                  const struct guard_link_callbacks *callbacks,
                                  struct rota_error *error);

/* Starts a worker of the pool with `fd` as its input and output; takes the descriptor. -1: its
 * command is too long. */
int guard_link_spawn(struct guard_link *link, uint32_t number, const struct pool *pool, int fd,
                     struct rota_error *error);

/* To the worker's whole group; SIGKILL to all its descendants too. */
void guard_link_kill(struct guard_link *link, uint32_t number, int signal);

/*
 * Whether the worker's group dies with the lease. -1: the guard cannot be told now, so that no lane
 * run may be handed over.
 */
int guard_link_lane(struct guard_link *link, uint32_t number, bool lane);

void guard_link_lease(struct guard_link *link, int64_t valid_until_boot_us);

/* The guard ends every worker and itself; returns when it has. NULL is fine. */
void guard_link_free(struct guard_link *link);

#endif
