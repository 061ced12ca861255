/*
 * When runs began, as their handler saw it: a worker of the bench stamps each with the machine's
 * clock and says so through a pipe in the file system. Bench and workers are on one machine.
 */
#ifndef CMD_BENCH_STARTS_H
#define CMD_BENCH_STARTS_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

struct event_base;
struct starts;

#define STARTS_HANDLER "bench"
#define STARTS_COMMAND "bench-worker" /* hidden: rota bench-worker PIPE */

/* What goes through the pipe: one write() each, so that those of several workers do not mix. */
struct start {
    int64_t id;
    int64_t at_us;        /* wall clock, when the handler was called */
    int64_t scheduled_us; /* of a trigger's run; 0: enqueued */
};

struct starts *starts_new(struct event_base *base, struct rota_error *error);
void starts_free(struct starts *starts); /* NULL is fine */
/* The setting `pools` with the bench's worker; `program`: path of this binary. To be freed. */
char *starts_pools(const struct starts *starts, const char *program);

size_t starts_count(const struct starts *starts);
const struct start *starts_at(const struct starts *starts, size_t number); /* in order of arrival */
const struct start *starts_find(const struct starts *starts, int64_t id);  /* NULL: not yet */

#endif
