/*
 * Inside the handler `exec` only. exec_request.c reads the run's data, exec_allow.c says which
 * programs may run, exec_environment.c what they are told, exec.c runs them, exec_end.c buries them
 * and answers.
 */
#ifndef WORKER_BUILTIN_EXEC_H
#define WORKER_BUILTIN_EXEC_H

#include "worker/builtin/builtin.h"
#include "worker/protocol.h"

#include "base/buffer.h"
#include "base/error.h"

#include <event2/event_struct.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define EXEC_OUTPUT_MAX 4096 /* of a run's output is kept: its end */

enum exec_state {
    EXEC_RUNNING,
    EXEC_LINGERING, /* the child has ended (not waited for); somebody still holds its output */
    EXEC_SWEEPING,  /* what it left behind was killed and is not gone yet */
};

struct exec {
    struct task task;
    enum exec_state state;
    pid_t pid;
    int output_fd, input_fd; /* -1: closed */
    struct event readable, writable, timer;
    struct buffer output; /* at most twice EXEC_OUTPUT_MAX, of which the end counts */
    bool truncated;
    struct buffer input; /* not yet taken by the child, from input_at on */
    size_t input_at;
    char *cancelled;      /* why, NULL: it was not */
    int status;           /* of waitpid, from EXEC_SWEEPING on */
    int64_t sweep_end_us; /* monotonic */
};

/* --- exec.c --- */
void exec_read(struct exec *exec); /* what is there of its output; closes output_fd at its end */
void exec_free(struct exec *exec);

/* --- exec_end.c --- */
void exec_reap(struct builtin *builtin); /* some children have ended */
void exec_close(struct exec *exec);      /* its child has, and nobody waits for more output of it */
void exec_sweep(struct exec *exec);      /* answers when nothing is left */

struct exec_request {
    char **argv;        /* NULL-terminated, at least one */
    char **environment; /* NAME=value of the data, NULL-terminated */
    size_t environment_count;
    char *directory; /* NULL: the worker's */
    char *input;     /* NULL: the run message */
    size_t input_length;
};

/*
 * Reads the run's data; secrets in its environment are those `settings` allow. 0, or -1 with what
 * is wrong and what would be right.
 */
int exec_request_read(struct exec_request *ret_request, struct slice data,
                      const struct builtin_settings *settings, struct rota_error *error);
void exec_request_free(struct exec_request *request);

/*
 * The absolute path of the program to execute, to be freed: found through the worker's PATH,
 * without
 * `.` and `..`, and allowed by one of the patterns. NULL with error otherwise. A pattern is
 *   `*`          every program
 *   `/dir/` + `**` every program below a directory
 *   otherwise    fnmatch(3) where `*` and `?` do not match a slash: `/usr/bin/` + `*`
 * and is held against the path as it is called and as it is without symbolic links.
 */
char *exec_program(const struct exec_request *request, const char *search_path,
                   const char *const *patterns, struct rota_error *error);

/* Also used for its test. */
bool exec_allowed(const char *path, const char *const *patterns);
char *exec_normal_path(const char *path); /* absolute, no `.`, `..` or `//`; to be freed */

/* The entries of an environment that jobs may see; the array is to be freed, the entries are not.
 */
const char **exec_environment_kept(char *const *environment);

/*
 * All a child sees: what is kept, the run's ROTA_* variables, then the data's own. The texts of the
 * middle part are in `texts`. The array is to be freed.
 */
char **exec_environment(const char *const *kept, const struct exec_request *request,
                        const struct protocol_message *message, const char *node,
                        struct buffer *texts);

/* The value of a variable in an array of NAME=value, NULL if it is not there. */
const char *exec_variable(const char *const *environment, const char *name);

#endif
