/*
 * Brings the database to what manifests declare: one transaction, a fixed number of round trips
 * however many jobs there are, safe from many nodes at once. What is declared as before is not
 * touched, so its next firing stays. Straight-line code for commands and the start of a node.
 */
#ifndef COORD_APPLY_H
#define COORD_APPLY_H

#include "base/error.h"
#include "coord/manifest_definition.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct audit;
struct event_base;
struct store;

#define APPLY_WAIT_US INT64_C(30000000) /* for another apply to end */
#define APPLY_STALE   "ROTA1"           /* instead of an SQLSTATE: see `revision` of the options */

struct apply_options {
    struct event_base *base;      /* the store's */
    const bool *stop;             /* ends waiting when it becomes true; NULL: nothing does */
    int64_t wait_us;              /* for another apply to end; 0: APPLY_WAIT_US */
    int64_t misfire_threshold_us; /* of triggers that name none; 0: the default of the setting */
    int64_t catch_up_rate;        /* made-up runs a second; 0: the default of the setting */
    int64_t revision; /* the fleet's the set was made from: refused (APPLY_STALE) if it is another
                         by now; 0: it was made from nothing there is */
    struct audit *audit; /* of what is done; NULL: none is written */
    bool prune;          /* also remove jobs of the manifests' sources that they declare no more */
    bool dry_run;        /* compute the difference only */
};

enum apply_action { APPLY_CREATE, APPLY_CHANGE, APPLY_REMOVE };

enum apply_kind { APPLY_CALENDAR, APPLY_JOB, APPLY_TRIGGER };

/* One calendar, job or trigger that is not as it was. */
struct apply_change {
    enum apply_action action;
    enum apply_kind kind;
    bool implied; /* a trigger that goes because its job does, or follows a calendar that changes */
    char *name;
    char *job; /* of a trigger */
    char *source;
    struct manifest_differences differences; /* of a removed one: none */
    bool scheduled;                          /* a trigger whose next firing was computed anew */
    int64_t next_at_us;                      /* that firing; MANIFEST_UNSET: it has none any more */
    char *calendar; /* that a trigger follows, or that leaves it no firing; NULL: neither */
    bool excluded;  /* it would have a firing without that calendar */
};

/* Calendars by name; jobs in the order of the manifests, each followed by its triggers; triggers
 * that follow a calendar; then what is removed. */
struct apply_diff {
    struct apply_change *changes;
    size_t count;
    size_t calendars_unchanged;
    size_t jobs_unchanged;
    size_t triggers_unchanged;
    int64_t runs_cancelled; /* that waited for a removed job; 0 for a dry run */
};

/*
 * 0, or -1 with nothing changed. The set must have passed manifest_check(). Names that belong to
 * another source become problems of the set (ERROR_REFUSED); ERROR_TIMEOUT: another apply held the
 * lock all the time; ERROR_DATABASE: lost on the way, and if that was at the very end, perhaps
 * done: applying again is always right.
 */
int apply_manifests(struct store *store, struct manifest_set *set,
                    const struct apply_options *options, struct apply_diff *ret_diff,
                    struct rota_error *error);

/*
 * For what else changes definitions: begins a transaction that has them to itself, waiting for
 * others as options say (base, stop, wait_us). What follows is STORE_WITHIN. ret_clock_us: the
 * database's time. 0, or -1 with no transaction.
 */
int apply_lock(struct store *store, const struct apply_options *options, int64_t *ret_clock_us,
               struct rota_error *error);

/* After a failure of such a transaction: whether to begin it anew, as the server ended it to break
 * a deadlock. If not, says what a lock that was not to be had means. *attempts begins at 0. */
bool apply_again(struct rota_error *error, int *attempts);

/* For whoever cancels runs: the history has a place for today, even if no node is alive. */
void apply_ensure_history(struct store *store);

/* A new revision, within the transaction: nodes read again what carries it. */
int apply_revision(struct store *store, int64_t *ret_revision, struct rota_error *error);

/* What goes, by ids, within the transaction. */
struct apply_removal {
    const int32_t *triggers, *jobs;
    size_t trigger_count, job_count;
    bool with_runs;     /* waiting runs of the triggers end, too, though their jobs stay */
    const char *reason; /* for the history */
};
int apply_remove(struct store *store, const struct apply_removal *removal,
                 int64_t *ret_runs_cancelled, struct rota_error *error);

/* Adds to the audit, tells the nodes and commits. */
int apply_commit(struct store *store, const struct apply_options *options,
                 struct rota_error *error);

/*
 * What a node does at its start: reads files and directories (NULL-terminated) and applies them all
 * together. The problems of the manifests are in ret_set, which is always set and to be freed by
 * manifest_set_free().
 */
int apply_paths(struct store *store, const char *const *paths, const struct apply_options *options,
                struct manifest_set **ret_set, struct apply_diff *ret_diff,
                struct rota_error *error);

void apply_diff_free(struct apply_diff *diff);

/* For people, a line each: + created, ~ changed, - removed, = how much is as it was. */
void apply_show_text(const struct apply_diff *diff, struct buffer *text);
/* One JSON document. */
void apply_show_json(const struct apply_diff *diff, bool dry_run, struct buffer *text);

#endif
