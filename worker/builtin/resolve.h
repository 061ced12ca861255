/*
 * The addresses of a host, asked for without blocking: one resolver for all runs of the worker.
 */
#ifndef WORKER_BUILTIN_RESOLVE_H
#define WORKER_BUILTIN_RESOLVE_H

#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>

#define RESOLVE_ADDRESSES_MAX 16 /* of a host; more are not tried */

struct builtin;
struct resolve;  /* a question */
struct resolver; /* the one of the worker, made by the first question */

struct resolve_answer {
    const char *error; /* NULL: there are addresses */
    struct sockaddr_storage addresses[RESOLVE_ADDRESSES_MAX];
    size_t count;
};

/*
 * `host`: a name, or an address in its usual form. The callback comes later, from the loop, and
 * once; the question is gone then.
 */
struct resolve *resolve_start(struct builtin *builtin, const char *host,
                              void (*done)(void *arg, const struct resolve_answer *answer),
                              void *arg);
void resolve_cancel(struct resolve *resolve); /* no callback follows; NULL is fine */
void resolver_free(struct resolver *resolver);

/* A literal address. 0 or -1. */
int resolve_literal(const char *host, struct sockaddr_storage *ret_address);

#endif
