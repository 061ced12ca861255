/*
 * One trigger out of error, or all of them, in one transaction: what operators ask for, by command
 * or over HTTP. Straight-line code.
 */
#ifndef COORD_RESET_NAMED_H
#define COORD_RESET_NAMED_H

#include "base/buffer.h"
#include "coord/apply.h"
#include "coord/reset.h"

/* What became of those that were in error: each was reset, or has why it stays so. */
struct reset_outcome {
    struct reset_trigger *triggers;
    size_t count, capacity;
    size_t failed; /* of them */
};

/*
 * name NULL: all. 0, or -1 with nothing changed: ERROR_NOT_FOUND; ERROR_REFUSED: it is not in
 * error. options: base, stop, wait_us, audit.
 */
int reset_named(struct store *store, const char *name, const struct apply_options *options,
                struct reset_outcome *ret_outcome, struct rota_error *error);
void reset_outcome_free(struct reset_outcome *outcome);
/* {"reset":[{"name","next_fire_time"}],"failed":[{"name","error"}]} */
void reset_outcome_json(const struct reset_outcome *outcome, struct buffer *out);

#endif
