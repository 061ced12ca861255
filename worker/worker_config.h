/* What the workers of a node are made from: the pools of its settings and what else concerns them.
 */
#ifndef WORKER_WORKER_CONFIG_H
#define WORKER_WORKER_CONFIG_H

#include "worker/limits.h"
#include "worker/worker_run.h"

#include "base/log.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct event_base;

/* A pool of the settings. Strings are copied by workers_new(). */
struct worker_pool_config {
    const char *name;
    char *const *command; /* argv, NULL-terminated, no shell; NULL: the built-in worker */
    int processes;        /* at least 1 */
    int slots;            /* of a built-in process: runs at once */
    const struct worker_alias *aliases; /* of handlers its workers serve, beside those they say */
    size_t alias_count;
    struct worker_limits limits;
    char *const *builtin; /* built-in handlers that this pool serves, and no other; NULL-terminated.
                             NULL: of a built-in pool, all that no other has */
};

struct worker_config {
    struct event_base *base;
    const struct log *log;
    const char *node;              /* name, for welcome and ROTA_NODE */
    const char *self;              /* path of this binary, for guard and built-in workers */
    const char *const *exec_allow; /* path patterns for the exec handler, NULL-terminated */
    const char *builtin_settings;  /* JSON for the built-in workers, checked; NULL: none */
    const char *cgroup;            /* "auto", "off" or a directory: cgroup_open(); NULL: off */
    const struct worker_pool_config *pools;
    size_t pool_count;
    /* Where workers may connect, NULL-terminated or NULL; see listener_check(). */
    const char *const *listen;
    mode_t socket_mode;    /* of Unix sockets; 0: 0600 */
    const char *token;     /* what workers must say over TCP; NULL: then there is no TCP */
    int64_t kill_grace_us; /* between cancel, SIGTERM and SIGKILL; 0: the default of 5 s */
};

#endif
