/*
 * The user PostgreSQL runs as: PostgreSQL refuses to run as root, so for root this is `postgres`,
 * or `nobody` where that does not exist; for everybody else it is themselves.
 */
#ifndef CMD_ACCOUNT_H
#define CMD_ACCOUNT_H

#include "base/error.h"

#include <stdbool.h>
#include <sys/types.h>

struct account {
    char name[64];
    uid_t uid;
    gid_t gid;
    bool other; /* not who we are: processes must change to it */
};

int account_find(struct account *ret_account, struct rota_error *error);

/* In a forked child: becomes the account. 0, or -1 with errno. */
int account_become(const struct account *account);

/*
 * Can the account reach `path` through all its parents? 0, or -1 naming the first directory it may
 * not search and what to do.
 */
int account_can_reach(const struct account *account, const char *path, struct rota_error *error);

#endif
