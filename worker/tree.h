/*
 * Trees of processes, read from /proc: who descends from whom, and the end of all of them. What is
 * read is old the moment it is read, so that whoever wants a tree gone asks again until it is.
 */
#ifndef WORKER_TREE_H
#define WORKER_TREE_H

#include <stddef.h>
#include <sys/types.h>

struct tree_list {
    pid_t *pids;
    size_t count;
    size_t capacity;
};

void tree_free(struct tree_list *list);

/* Appends the direct children of a process, dead ones that nobody has waited for included. */
void tree_children(pid_t parent, struct tree_list *list);

/* SIGKILL to the process and to every descendant there is now. */
void tree_kill(pid_t root);

/*
 * The value of a variable in the environment a process was started with. 1: here it is, 0: it is
 * not there, -1: nothing to be seen, as the process is dying, dead or somebody else's.
 */
int tree_variable(pid_t pid, const char *name, char *value, size_t size);

#endif
