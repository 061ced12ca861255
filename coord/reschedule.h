/*
 * A new schedule for one trigger, whoever declared it: what its job is declared as, with other
 * schedule keys, is applied like a manifest, so that the checks, what becomes of what was due, and
 * the difference are those of an apply. Straight-line code for commands.
 */
#ifndef COORD_RESCHEDULE_H
#define COORD_RESCHEDULE_H

#include "coord/apply.h"

/* A key of a trigger as the manifest spells it, with its new value. */
struct reschedule_key {
    const char *key;
    const char *value;  /* JSON; NULL: the key goes */
    const char *called; /* what problems with the value are told of: "--cron" */
};

struct reschedule {
    char *job;
    bool changed;       /* or it is scheduled like that already */
    bool paused;        /* then it does not fire, whatever is due */
    int64_t next_at_us; /* MANIFEST_UNSET: no further firing */
};

/*
 * One of the keys cron, every, at, calendar_interval and daily takes the place of all of them and
 * of `repeat`; `at` also of start_at and end_at. Other keys stay as they are. 0, or -1 with nothing
 * changed: ERROR_NOT_FOUND with a message the caller may better, ERROR_USAGE for a value that makes
 * no sense. options: base, stop, wait_us.
 */
int reschedule_trigger(struct store *store, const char *name, const struct reschedule_key *keys,
                       size_t count, const struct apply_options *options,
                       struct reschedule *ret_reschedule, struct rota_error *error);
void reschedule_free(struct reschedule *reschedule);

#endif
