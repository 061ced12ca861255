/*
 * Where workers of a node may connect: Unix sockets and TCP ports. Whoever comes is accepted, a few
 * a turn, and handed on; what he says, and whether he may stay, is none of this file's business.
 */
#ifndef WORKER_LISTENER_H
#define WORKER_LISTENER_H

#include "base/error.h"
#include "base/log.h"

#include <stdbool.h>
#include <sys/types.h>

struct event_base;
struct listeners;

struct listener_config {
    struct event_base *base;
    const struct log *log;
    const char *const *addresses; /* as listener_check() takes them, NULL-terminated */
    mode_t socket_mode;           /* of Unix sockets */
    void *arg;
    /* Takes `fd`, which does not block. `peer` is for the log; tcp: others than us may be there. */
    void (*accepted)(void *arg, int fd, const char *peer, bool tcp);
};

/* The log is told each address, with the port that was found for port 0. NULL with error. */
struct listeners *listeners_new(const struct listener_config *config, struct rota_error *error);
void listeners_free(struct listeners *listeners); /* removes its socket files; NULL is fine */

/* "unix:/path" or "host:port": 0, or -1 with what would be right. */
int listener_check(const char *address, struct rota_error *error);
/* Whether one of the addresses is a TCP port. */
bool listener_has_tcp(const char *const *addresses);

#endif
