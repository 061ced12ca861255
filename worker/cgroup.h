/*
 * Control groups (cgroups v2) of a node's workers: one group for the node, in it one for each
 * worker process, which nothing that it starts can leave unnoticed by forking. Used by the guard
 * alone. A help, never a condition: where the kernel refuses, the trees of processes are ended
 * without, and limits are those of single processes. No function waits, but cgroup_open() for the
 * groups of a node that was killed.
 *
 * Where things are, "Control Group v2" of the kernel's documentation:
 *     BASE                 the node's own group, or what the setting names
 *     BASE/rota.node       where the node moves, so that BASE may hand out controllers
 *     BASE/rota.NAME.PID   of the guard; locked (flock) while it lives
 *     …/POOL.NUMBER        a worker process, for which the functions below say `name`
 */
#ifndef WORKER_CGROUP_H
#define WORKER_CGROUP_H

#include "worker/limits.h"

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define CGROUP_NAME_SIZE 64 /* pool, point, number */

struct cgroup;

/* What the groups are good for here. */
struct cgroup_view {
    const char *path;       /* of the node's */
    bool kill;              /* all of a group at once (Linux 5.14) */
    bool memory, processes; /* limits of a pool are limits of its groups */
    const char *unlimited;  /* why one of them is not, NULL: both are, or nobody asked */
};

/*
 * Makes the group of a node. `setting`: "auto" is the group this process is in; else BASE. With
 * `limits`, controllers are wanted for them: where nobody but this process and its parent is in
 * BASE, both move to BASE/rota.node. NULL: there can be none, with the reason.
 */
struct cgroup *cgroup_open(const char *setting, const char *node, bool limits,
                           struct rota_error *error);
void cgroup_view(const struct cgroup *cgroup, struct cgroup_view *ret_view);

/* Ends what is left in the groups and removes them. NULL is fine, here and below, and "" a name. */
void cgroup_close(struct cgroup *cgroup);

/*
 * A group for a worker that is about to be started. Returns where its process writes "0" to join,
 * to be closed; -1: no group. What the group limits is taken out of `limits`.
 */
int cgroup_add(struct cgroup *cgroup, const char *name, struct worker_limits *limits);

/* SIGKILL to all that is in it. */
void cgroup_kill(struct cgroup *cgroup, const char *name);

/* Whether something in it was killed for the memory limit of this group. */
bool cgroup_memory_killed(struct cgroup *cgroup, const char *name);

/* Ends the group: kills, and removes it at one of the next cgroup_sweep()s, when it is empty. */
void cgroup_leave(struct cgroup *cgroup, const char *name);
size_t cgroup_sweep(struct cgroup *cgroup); /* how many are not empty yet */
void cgroup_forget(struct cgroup *cgroup);  /* those are left to cgroup_close() */

/*
 * The directory of the group a process is in, to be freed, from the texts of /proc/PID/cgroup and
 * /proc/PID/mountinfo. NULL: it is not to be seen here, with the reason.
 */
char *cgroup_find(FILE *groups, FILE *mounts, struct rota_error *error);

#endif
