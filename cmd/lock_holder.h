/*
 * `rota lock` at work: takes the locks, runs CMD under its guard, gives the locks back. The event
 * loop, the session and the guard are here; arguments and settings are in cmd_lock.c.
 */
#ifndef CMD_LOCK_HOLDER_H
#define CMD_LOCK_HOLDER_H

#include "base/error.h"
#include "base/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lock_order {
    const char **names; /* in the one order that all callers have, each once */
    size_t count;
    bool shared;
    bool node_scope;
    int64_t wait_us;
    int64_t delay_us;        /* the lock-delay, should we die */
    const char *url;         /* of the database; NULL with node_scope */
    const char *url_setting; /* where it is from */
    const char *schema;
    char *const *argv; /* CMD */
    const struct log *log;
};

/* The exit code of CMD, 128 and its signal, 127 or 126 when it cannot be started; -1 with error:
 * it was not run, or was killed as the lock was lost. */
int lock_holder_run(const struct lock_order *order, struct rota_error *error);

#endif
