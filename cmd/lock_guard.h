/*
 * The guard of `rota lock`: a process that starts CMD and ends it with all it has started, also
 * when the one who holds the lock cannot any more: it was killed, is stopped, or has lost the lock.
 * It knows no database; it is forked before the first connection, whose sockets it must not keep.
 */
#ifndef CMD_LOCK_GUARD_H
#define CMD_LOCK_GUARD_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct lock_guard;

enum lock_guard_news {
    LOCK_GUARD_NOTHING,
    LOCK_GUARD_REFUSED, /* CMD could not be started: `code` is the errno */
    LOCK_GUARD_ENDED,   /* CMD has ended: `code` is its status as of waitpid() */
    LOCK_GUARD_KILLED,  /* it and all it had started were killed, and nothing is left of them */
    LOCK_GUARD_GONE,    /* the guard died: lock_guard_bury() is due */
};

/* argv of CMD, which must outlive the guard. NULL with error. */
struct lock_guard *lock_guard_new(char *const *argv, struct rota_error *error);
void lock_guard_free(struct lock_guard *guard); /* ends CMD, if it runs. NULL is fine */

int lock_guard_socket(const struct lock_guard *guard); /* readable when there are news */
enum lock_guard_news lock_guard_read(struct lock_guard *guard, int *ret_code);

void lock_guard_start(struct lock_guard *guard, int64_t fence); /* CMD, with ROTA_LOCK_FENCE */
void lock_guard_signal(struct lock_guard *guard, int signal);   /* to CMD's group */
void lock_guard_kill(struct lock_guard *guard);
/* CMD is killed at this time (clock_boot_us) unless a later one is told before; 0: never. */
void lock_guard_valid(struct lock_guard *guard, int64_t until_boot_us);
void lock_guard_bury(struct lock_guard *guard); /* ends what a dead guard has left to us */

#endif
