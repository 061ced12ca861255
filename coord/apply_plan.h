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
    const char *calendar; /* NULL: none */
    int64_t priority;     /* MANIFEST_UNSET: the job's */
    int64_t start_at_us;
    int64_t next_at_us,
        previous_at_us; /* MANIFEST_UNSET: none; previous is known once it is locked */
    char state;
    bool laned;
    bool declared; /* or of another manifest, here for a calendar it uses; or it goes */
    bool job_goes; /* and it with it */
    bool locked;
    bool paused;                  /* known once it is locked */
    struct misfire_pass pass;     /* likewise */
    struct plan_trigger *planned; /* NULL: it goes, or is elsewhere */
    struct plan_move *move;       /* NULL: none */
};

/* Where a trigger that is scheduled anew stands then. */
struct plan_due {
    char state;
    int64_t next_at_us;     /* MANIFEST_UNSET: none */
    bool excluded;          /* there would be one without the calendar */
    int64_t final_at_us;    /* the last occurrence of all; MANIFEST_UNSET: no end is set */
    bool settled;           /* what was due under the old schedule has become runs, these: */
    int64_t previous_at_us; /* the newest of them; MANIFEST_UNSET: none */
    int64_t fired, missed, misfired;
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
    struct plan_due due;
    struct manifest_differences differences;
};

/* A trigger whose definition stays while a calendar it uses changes: of whatever source. */
struct plan_move {
    struct found_trigger *was;
    struct plan_due due;
};

/* A run of an old schedule, made as a new one takes its place. */
struct plan_run {
    const char *trigger; /* its name */
    int64_t scheduled_us;
    int64_t missed;
    bool made_up;
};

struct apply_plan {
    struct manifest_set *set;
    const struct apply_options *options;
    PGresult *job_rows, *trigger_rows, *calendar_rows, *told_rows;
    struct found_job *found_jobs;
    size_t found_job_count;
    struct found_trigger *found_triggers; /* by name */
    struct found_trigger **found_by_id;
    size_t found_trigger_count;
    struct plan_job *jobs;
    size_t job_count;
    struct plan_trigger *triggers;
    size_t trigger_count;
    struct plan_calendar *calendars; /* all there are and will be, by name; see apply_calendar.h */
    size_t calendar_count;
    struct plan_move *moves;
    size_t move_count;
    struct plan_run *runs;
    size_t run_count;
    int64_t clock_us; /* the database's: from here on the new definitions hold */
    bool anything;    /* to be written */
};

/* Declared names and sources, for reading. */
void plan_begin(struct apply_plan *plan, struct manifest_set *set,
                const struct apply_options *options);
void plan_free(struct apply_plan *plan);

/* Take the results over: jobs, calendars (apply_calendar.h), triggers. */
void plan_take_jobs(struct apply_plan *plan, PGresult *rows);
void plan_take_triggers(struct apply_plan *plan, PGresult *rows);

/* What is new, changed, gone. -1 with problems of the set where a name belongs to another source.
 */
int plan_compare(struct apply_plan *plan);

/* Where the triggers that are about to change stand, now that they are locked. */
void plan_take_due(struct apply_plan *plan, const PGresult *rows);

/* Triggers of which the old definitions are wanted: those with a new schedule that are due under
 * the old one, and all whose calendar changes. Room for their ids in ids[]. */
size_t plan_overdue(struct apply_plan *plan, int32_t *ids);
/* Their old definitions (definition_load.sql): what fell due meets the old misfire policy. */
void plan_take_overdue(struct apply_plan *plan, const PGresult *rows);

/* What is due but paused, or blocked, is not ours to decide: it stays due, the new schedule
 * follows. */
bool plan_stays_due(const struct apply_plan *plan, const struct found_trigger *was,
                    const struct plan_due *due);
int64_t plan_time(const PGresult *rows, int row, int column); /* NULL is MANIFEST_UNSET */

/* Next firings of what has a new schedule. */
int plan_schedule(struct apply_plan *plan, struct rota_error *error);

void plan_diff(struct apply_plan *plan, struct apply_diff *ret_diff);

/* An effective priority: a trigger's own or its job's. */
int plan_priority(const struct plan_trigger *trigger);

/* Carries the plan out within the open transaction and commits (apply_write.c). */
int plan_write(struct apply_plan *plan, struct store *store, int64_t *ret_runs_cancelled,
               struct rota_error *error);

#endif
