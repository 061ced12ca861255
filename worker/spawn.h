/*
 * Starts one child process with all the care a worker or a job needs: own session and process
 * group, death with its parent, clean signals, no descriptor but 0, 1 and 2. Used by the guard for
 * workers and by the built-in worker for exec runs. Only from a process's first thread: the
 * death signal follows the thread that forked.
 */
#ifndef WORKER_SPAWN_H
#define WORKER_SPAWN_H

#include "worker/limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct spawn {
    const char *path;         /* what is executed; see spawn_resolve() */
    char *const *argv;        /* NULL-terminated */
    char *const *environment; /* NULL-terminated; the whole of it */
    const char *directory;    /* NULL: where the parent is */
    int input, output;        /* become 0 and 1; both above 2; they stay open in the parent */
    int errors;               /* becomes 2; -1: the parent's */
    int group;                /* cgroup.procs of the control group it joins; 0: none */
    bool confine;             /* no new privileges, no core files */
    struct worker_limits limits;
};

enum spawn_step { SPAWN_SETUP, SPAWN_GROUP, SPAWN_DIRECTORY, SPAWN_EXEC };

/* What could not be done and the errno of it. */
struct spawn_failure {
    int32_t step;
    int32_t code;
};

/* 0 once the new program runs; -1 with the failure, and no child is left. */
int spawn_process(const struct spawn *spawn, pid_t *ret_pid, struct spawn_failure *ret_failure);

/*
 * The file a program's name stands for, to be freed: with a slash, relative to `directory` (NULL:
 * as it is); without, the first executable file of that name in `search_path` (colons between).
 * NULL: none found.
 */
char *spawn_resolve(const char *program, const char *search_path, const char *directory);

#endif
