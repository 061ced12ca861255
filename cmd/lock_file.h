/*
 * Locks among the processes of one machine and user, for `rota lock --scope node`: flock(2) on a
 * file of their runtime directory. They go with the last process that has the file open, that is
 * with the guard, after CMD.
 */
#ifndef CMD_LOCK_FILE_H
#define CMD_LOCK_FILE_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

/* The directory of the files, made if need be; to be freed. NULL with error. */
char *lock_file_directory(struct rota_error *error);

/* The file of a name: a descriptor, or -1 with error. */
int lock_file_open(const char *directory, const char *name, struct rota_error *error);

/* Waits until deadline_us (monotonic) at most. 0, or -1 with ERROR_TIMEOUT and who holds it. */
int lock_file_take(int fd, const char *name, bool shared, int64_t deadline_us,
                   struct rota_error *error);
void lock_file_release(int fd); /* and closes */

/* A number greater than all before it on this machine; under a lock. -1 with error. */
int64_t lock_file_fence(const char *directory, struct rota_error *error);

#endif
