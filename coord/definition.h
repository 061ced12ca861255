/*
 * Definitions of jobs and triggers as a node knows them, loaded when a claim needs them and kept,
 * bounded, by id. A claim brings the fleet's definition revision along: a job read before that is
 * read again; a trigger carries its revision in the row that is claimed.
 */
#ifndef COORD_DEFINITION_H
#define COORD_DEFINITION_H

#include "base/buffer.h"
#include "base/table.h"
#include "coord/calendars.h"
#include "coord/schedule/misfire.h"
#include "coord/schedule/schedule.h"
#include "store/store.h"

#include <stdbool.h>
#include <stdint.h>

#define DEFINITIONS_MAX 50000 /* triggers kept; about 700 bytes each */

enum backoff { BACKOFF_IMMEDIATE, BACKOFF_FIXED, BACKOFF_EXPONENTIAL };

struct job {
    int32_t id;
    int refs;
    bool gone;             /* deleted: its runs end as such */
    int64_t seen_revision; /* the fleet's revision it was read under */
    char *name;
    char *handler;
    char *data; /* JSON object */
    int64_t timeout_us;
    int max_attempts;
    enum backoff backoff;
    int64_t retry_initial_us;
    int64_t retry_max_us;
    double retry_jitter;
    int max_crashes;
    int requests_recovery; /* -1: not said, 0, 1 */
    bool held;             /* paused, by whatever name */
    int lane_limit;        /* runs at once, of each key; 0: any number */
    bool persist_data;     /* the data is what the last successful run left: read with each claim */
    bool exhausted_is_error; /* a run that failed for good puts its trigger in error */
    bool tells_failure;      /* another job is queued for each final failure */
    UT_hash_handle hh;
};

struct trigger {
    int32_t id;
    int refs;
    int32_t job_id;
    int64_t revision;
    bool gone;
    int64_t seen_revision;
    char *name;
    char *data;                /* JSON object or NULL */
    struct schedule *schedule; /* NULL: cannot be evaluated, see error */
    char *error;
    struct misfire_rule rule;
    UT_hash_handle hh;
};

struct definitions;

struct definitions *definitions_new(struct zone_cache *zones, int64_t misfire_threshold_us);
void definitions_free(struct definitions *definitions);

/* NULL: not known (well enough), load it. `revision` is the fleet's for jobs, the row's for
 * triggers. */
struct job *definitions_job(struct definitions *definitions, int32_t id, int64_t revision);
struct trigger *definitions_trigger(struct definitions *definitions, int32_t id, int64_t revision);
/* Whatever is known of a trigger whose name and data are wanted: as new as the fleet's revision. */
struct trigger *definitions_trigger_seen(struct definitions *definitions, int32_t id,
                                         int64_t fleet_revision);

struct job *job_ref(struct job *job);
void job_unref(struct job *job); /* NULL is fine */
struct trigger *trigger_ref(struct trigger *trigger);
void trigger_unref(struct trigger *trigger);

/* Results of definition_load and job_load go in; ids that were asked for and are absent are gone.
 */
void definitions_put_triggers(struct definitions *definitions, const PGresult *result,
                              const int32_t *asked, size_t count, int64_t fleet_revision);
void definitions_put_jobs(struct definitions *definitions, const PGresult *result,
                          const int32_t *asked, size_t count, int64_t fleet_revision);

/* One row of definition_load as a trigger of its own (one reference, the caller's). Rows of one
 * result are to be read in their order. */
struct trigger *trigger_from_row(const PGresult *result, int row, struct zone_cache *zones,
                                 struct calendars *calendars, int64_t misfire_threshold_us);
struct trigger *definitions_read(struct definitions *definitions, const PGresult *result, int row);

/* Its schedule alone, without the calendar; NULL with an error that says what would be right. */
struct schedule *schedule_from_row(const PGresult *result, int row, struct zone_cache *zones,
                                   struct rota_error *error);

/* `over` laid over `base`, both JSON objects: its members win, however their keys are spelled; the
 * bytes of keys and values stay as they are. If either is no object, `over` alone. */
void data_merge(struct buffer *out, struct slice base, struct slice over);

#endif
