/*
 * What a manifest says of a job's queue: its rate and what makes its runs unique. Inside of the
 * manifest's reader, see manifest_value.h.
 */
#ifndef COORD_MANIFEST_QUEUE_H
#define COORD_MANIFEST_QUEUE_H

#include "coord/manifest_value.h"

#define MANIFEST_PENDING_MAX 1000000 /* max_pending: each enqueue counts up to it */

/* By a job's unique_until: how long a run has its key; by its unique_conflict: what becomes of a
 * run whose key is taken. The key itself is a pointer, "" for the whole data, or NULL: given by who
 * enqueues. Without a rate_key a job has one rate for all of its runs. */
extern const char *const manifest_untils[];
extern const char *const manifest_conflicts[];

/* `what` names the job in messages. */
void manifest_read_rate(struct manifest_reader *reader, const struct json_value *rate,
                        const char *what, struct manifest_job *job);
void manifest_read_unique(struct manifest_reader *reader, const struct json_value *unique,
                          const char *what, struct manifest_job *job);

/* RFC 6901, and not the empty pointer. */
bool manifest_is_pointer(const char *text);

/* Refuses a key that is no JSON pointer, with its place. */
void manifest_check_pointer(struct manifest_reader *reader, const struct json_value *object,
                            const char *what, const char *pointer);

#endif
