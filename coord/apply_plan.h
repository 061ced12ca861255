/*
 * What an apply is going to do: the declared set beside what the database has, compared in C. Made
 * by apply_plan.c, carried out by apply_write.c. For the files of apply only.
 */
#ifndef COORD_APPLY_PLAN_H
#define COORD_APPLY_PLAN_H

#include "coord/apply.h"

#include <libpq-fe.h>

/* A row of the database. Texts belong to the PGresult the plan keeps. */
struct found_job {
    int32_t id;
    const char *name, *source, *handler, *definition;
    int priority;
    bool laned;    /* had a limit */
    bool declared; /* or it goes */
};

struct found_trigger {
    int32_t id;
    const char *name, *job, *source, *definition;
    int64_t priority; /* MANIFEST_UNSET: the job's */
    int64_t start_at_us;
    int64_t next_at_us,
        previous_at_us; /* MANIFEST_UNSET: none; previous is known once it is locked */
    char state;
    bool laned;
    bool declared; /* or it goes */
    bool job_goes; /* and it with it */
    bool locked;
    bool paused;                  /* known once it is locked */
    struct misfire_pass pass;     /* likewise */
    struct plan_trigger *planned; /* NULL: it goes */
};

struct plan_job {
    const struct manifest *manifest;
    const struct manifest_job *job;
    struct found_job *was; /* NULL: new */
    bool changed;          /* or new */
    bool moved;            /* waiting runs of it, or of one of its triggers, need another route */
    size_t first_trigger;  /* among the plan's */
    struct manifest_differences differences;
};

struct plan_trigger {
    struct plan_job *job;
    const struct manifest_trigger *trigger;
    struct found_trigger *was; /* NULL: new */
    bool changed;              /* or new */
    bool reread;               /* not changed, but its job is */
    bool reschedule;           /* gets a new next_at */
    int64_t start_at_us;
    int64_t next_at_us; /* MANIFEST_UNSET: none */
    char state;
    bool settled;           /* what was due under the old schedule has become runs, these: */
    int64_t previous_at_us; /* the newest of them; MANIFEST_UNSET: none */
    int64_t fired, missed, misfired;
    struct manifest_differences differences;
};

/* A run of an old schedule, made as a new one takes its place. */
struct plan_run {
    const struct plan_trigger *trigger;
    int64_t scheduled_us;
    int64_t missed;
    bool made_up;
};

struct apply_plan {
    struct manifest_set *set;
    const struct apply_options *options;
    PGresult *job_rows, *trigger_rows;
    struct found_job *found_jobs;
    size_t found_job_count;
    struct found_trigger *found_triggers; /* by name */
    struct found_trigger **found_by_id;
    size_t found_trigger_count;
    struct plan_job *jobs;
    size_t job_count;
    struct plan_trigger *triggers;
    size_t trigger_count;
    struct plan_run *runs;
    size_t run_count;
    int64_t clock_us; /* the database's: from here on the new definitions hold */
    bool anything;    /* to be written */
};

/* Declared names and sources, for reading. */
void plan_begin(struct apply_plan *plan, struct manifest_set *set,
                const struct apply_options *options);
void plan_free(struct apply_plan *plan);

/* Take the results over. */
void plan_take_jobs(struct apply_plan *plan, PGresult *rows);
void plan_take_triggers(struct apply_plan *plan, PGresult *rows);

/* What is new, changed, gone. -1 with problems of the set where a name belongs to another source.
 */
int plan_compare(struct apply_plan *plan);

/* Where the triggers that are about to change stand, now that they are locked. */
void plan_take_due(struct apply_plan *plan, const PGresult *rows);

/* Triggers with a new schedule that are due under the old one: room for their ids in ids[]. */
size_t plan_overdue(const struct apply_plan *plan, int32_t *ids);
/* Their old definitions (definition_load.sql): what fell due meets the old misfire policy. */
void plan_take_overdue(struct apply_plan *plan, const PGresult *rows);

/* Next firings of what has a new schedule. */
int plan_schedule(struct apply_plan *plan, struct rota_error *error);

void plan_diff(struct apply_plan *plan, struct apply_diff *ret_diff);

/* An effective priority: a trigger's own or its job's. */
int plan_priority(const struct plan_trigger *trigger);

/* Carries the plan out within the open transaction and commits (apply_write.c). */
int plan_write(struct apply_plan *plan, struct store *store, int64_t *ret_runs_cancelled,
               struct rota_error *error);

#endif
