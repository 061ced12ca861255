/*
 * Deletes a trigger or a job by name, whoever declared it, in one transaction: its waiting runs are
 * cancelled, runs that are out finish. Straight-line code for commands.
 */
#ifndef COORD_REMOVE_H
#define COORD_REMOVE_H

#include "coord/apply.h"

struct removal {
    char *job;             /* whose trigger it was, or itself */
    char *source;          /* of the job */
    bool job_gone;         /* deleted by its name, or with its last trigger as it was not durable */
    int64_t triggers_gone; /* with the job, or the one */
    int64_t runs_cancelled;
};

/*
 * 0, or -1 with nothing changed. ERROR_NOT_FOUND: there is none, with no message: the caller knows
 * better what may have been meant. Waits as `options` say (base, stop, wait_us).
 */
int remove_trigger(struct store *store, const char *name, const struct apply_options *options,
                   struct removal *ret_removal, struct rota_error *error);
int remove_job(struct store *store, const char *name, const struct apply_options *options,
               struct removal *ret_removal, struct rota_error *error);
void removal_free(struct removal *removal);

#endif
