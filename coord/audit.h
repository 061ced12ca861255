/*
 * The audit: what was done, by whom, and how things stood before and after, written in the
 * transaction that does it. Straight-line code.
 */
#ifndef COORD_AUDIT_H
#define COORD_AUDIT_H

#include "base/buffer.h"
#include "base/error.h"

struct store;

struct audit {
    struct store *store;
    const char *who;     /* NULL: the role of the session */
    const char *address; /* of the client; NULL: unknown */
    const char *node;    /* that it asked; NULL: none */
    const char *action, *noun, *name;
    struct slice request;        /* JSON; absent: none */
    const struct buffer *answer; /* JSON, as it is at the end; NULL: none */
    char *before;                /* audit_begin() */
};

/* How it stands before. flags as of store_wait(): STORE_BEGIN, or STORE_WITHIN. 0 or -1. */
int audit_begin(struct audit *audit, int flags, struct rota_error *error);
/* The row. flags: STORE_WITHIN, with STORE_COMMIT where it is the last statement. 0 or -1. */
int audit_end(struct audit *audit, int flags, struct rota_error *error);
void audit_free(struct audit *audit);

#endif
