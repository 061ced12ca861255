/* Where PostgreSQL's programs are, and of which major version. */
#ifndef CMD_POSTGRES_BINARIES_H
#define CMD_POSTGRES_BINARIES_H

#include "base/error.h"

#include <limits.h>

struct postgres_binaries {
    char directory[PATH_MAX];
    int version; /* major: 15 */
};

/*
 * `bindir` as set by the user, or NULL: looked for. `wanted` is the major version the data were
 * made with, 0: any, the newest. -1 with what to install.
 */
int postgres_binaries_find(struct postgres_binaries *ret_binaries, const char *bindir, int wanted,
                           struct rota_error *error);

#endif
