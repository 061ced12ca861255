/*
 * Child processes of `rota up` on its event loop: each in a session of its own, so that Ctrl-C in
 * the terminal reaches `up` alone; each is told by the kernel when `up` dies; what they print comes
 * line by line, and their end after their last line.
 */
#ifndef CMD_CHILD_H
#define CMD_CHILD_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct account;
struct child;
struct children; /* all of one event loop */
struct event_base;

struct child_options {
    const char *const *argv;        /* argv[0] is a path */
    const char *const *environment; /* "NAME=value", beside our own; NULL-terminated or NULL */
    const char *const *unset;       /* names taken out of our own environment; or NULL */
    const struct account *account;  /* whom to run as; NULL: as we are */
    const char *directory;          /* where to run; NULL: where we are */
    const char *input;              /* what it reads on stdin, at most 4096 bytes; NULL: nothing */
    int output;                     /* a descriptor for all it prints; -1: line by line */
    int death_signal;               /* what it gets when we die */
};

struct child_callbacks {
    void *arg;
    /* Without its line end; error: printed on stderr. Not NUL-terminated. */
    void (*line)(void *arg, bool error, const char *line, size_t length);
    void (*ended)(void *arg, int status); /* as of waitpid(); the child is freed after it */
};

struct children *children_new(struct event_base *base, struct rota_error *error);
void children_free(struct children *children); /* none may be left */

/* NULL with error where it cannot be started, also when exec() fails. */
struct child *child_start(struct children *children, const struct child_options *options,
                          const struct child_callbacks *callbacks, struct rota_error *error);
pid_t child_pid(const struct child *child);
void child_signal(const struct child *child, int signal);       /* the process alone */
void child_signal_group(const struct child *child, int signal); /* and what it started */

/* "ended with status 3", "was killed by signal 9 (Killed)". `text` has room for 80 bytes. */
const char *child_status_text(int status, char text[80]);

#endif
