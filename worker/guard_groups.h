/* The guard's choice of control groups at its start, and what the log says of it. */
#ifndef WORKER_GUARD_GROUPS_H
#define WORKER_GUARD_GROUPS_H

#include "base/log.h"

#include <stdbool.h>

struct cgroup;

struct guard_groups {
    const char *setting; /* "auto", "off" or a directory */
    bool limits;         /* pools have some that control groups can hold */
};

/* 0 with NULL where there are none; -1: a directory was named and cannot be used. Logs. */
int guard_groups_open(const struct guard_groups *groups, const struct log *log,
                      struct cgroup **ret_cgroup);

#endif
