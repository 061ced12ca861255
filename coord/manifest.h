/*
 * Manifests: what a user declares (contract, "Manifest"), read and checked as a whole. Every
 * problem of every text is found in one pass and told with its place; nothing here knows the
 * database. Strings are decoded copies, users' JSON (`data`) stays a slice of the text, byte for
 * byte.
 */
#ifndef COORD_MANIFEST_H
#define COORD_MANIFEST_H

#include "base/buffer.h"
#include "coord/schedule/misfire.h"
#include "coord/schedule/schedule.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MANIFEST_SIZE_MAX (16u << 20) /* bytes of one text: far above 100,000 triggers by hand */
#define MANIFEST_DATA_MAX                                                                          \
    (256u << 10)                        /* bytes of one `data`: each claim carries it to a worker  \
                                         */
#define MANIFEST_NAME_MAX     254       /* characters; also what the database checks */
#define MANIFEST_PROBLEMS_MAX 50        /* lines kept; more are only counted */
#define MANIFEST_UNSET        INT64_MIN /* a number, duration or instant that was not given */

/* Defaults (contract; docs/manifest.md says why). */
#define MANIFEST_PRIORITY         5
#define MANIFEST_CRASHES          3
#define MANIFEST_RETRY_INITIAL_MS 1000
#define MANIFEST_RETRY_MAX_MS     3600000
#define MANIFEST_RETRY_JITTER     0.2
#define MANIFEST_TIMEZONE         "UTC"
#define MANIFEST_SOURCE           "default"

enum manifest_backoff { MANIFEST_IMMEDIATE, MANIFEST_FIXED, MANIFEST_EXPONENTIAL };

/* Words of the manifest and of the database by number, NULL-terminated. */
extern const char *const manifest_kinds[];     /* by enum schedule_kind */
extern const char *const manifest_backoffs[];  /* by enum manifest_backoff */
extern const char *const manifest_misfires[];  /* by enum misfire_policy */
extern const char *const manifest_gaps[];      /* by enum zone_gap; the first is no word */
extern const char *const manifest_overlaps[];  /* by enum zone_overlap; likewise */
extern const char *const manifest_exhausted[]; /* what becomes of a trigger without a run left */
extern const char *const manifest_weekdays[];  /* from MON to SUN */

struct manifest_trigger {
    char *name;
    char *description;
    enum schedule_kind kind;
    char *cron;
    int64_t every_us;
    int64_t repeat;          /* firings after the first; MANIFEST_UNSET: without end */
    char *calendar_interval; /* "2 months" */
    char *daily_from;        /* "08:00"; NULL: 00:00 */
    char *daily_to;          /* NULL: 24:00 */
    int64_t daily_every_us;
    unsigned daily_days;    /* bit 0: Sunday; none: every day */
    char *calendar;         /* name; NULL: none */
    size_t calendar_offset; /* where it is named */
    int64_t at_us;
    char *timezone; /* never NULL */
    int64_t start_at_us, end_at_us;
    int64_t gap, overlap;                     /* enum zone_gap, enum zone_overlap: as declared */
    int64_t effective_gap, effective_overlap; /* never DEFAULT: what the declaration comes to */
    int64_t priority;                         /* MANIFEST_UNSET: the job's */
    struct slice data;                        /* absent: nothing to merge */
    int64_t misfire;
    int64_t misfire_tolerance_ms;
    int64_t misfire_threshold_ms; /* MANIFEST_UNSET: the node's setting */
    int64_t misfire_limit;
    char *definition; /* canonical: equal texts mean that nothing changed */
    size_t offset;    /* where it begins in the manifest's text */
};

struct manifest_job {
    char *name;
    char *description;
    char *handler;
    struct slice data;         /* absent: {} */
    int64_t requests_recovery; /* 0, 1, or MANIFEST_UNSET: depends on how a run began */
    int64_t durable;
    int64_t priority;
    int64_t timeout_ms; /* MANIFEST_UNSET: none */
    int64_t max_attempts;
    int64_t backoff;
    int64_t retry_initial_ms, retry_max_ms;
    double retry_jitter;
    int64_t max_crashes;
    int64_t lane_limit; /* runs at once; MANIFEST_UNSET: any number */
    char *lane_key;     /* JSON pointer into the data, each value a lane; NULL: one for all */
    int64_t persist_data;
    int64_t on_exhausted;                                 /* place in manifest_exhausted[] */
    int64_t max_pending, expires_in_ms;                   /* MANIFEST_UNSET: no bound, never */
    char *on_failure;                                     /* the job that is told; NULL: none */
    int64_t rate_limit, rate_per_ms, rate_burst;          /* MANIFEST_UNSET, all three: none */
    char *rate_key, *unique_key;                          /* JSON pointers; see manifest_queue.h */
    int64_t unique_until, unique_conflict, unique_for_ms; /* MANIFEST_UNSET: by default */
    struct manifest_trigger *triggers;
    size_t trigger_count;
    char *definition;
    size_t offset;
};

/* One text. */
struct manifest {
    char *file; /* for messages */
    char *text;
    size_t length;
    char *source;
    struct manifest_job *jobs;
    size_t job_count;
    struct manifest_calendar *calendars; /* see manifest_calendar.h */
    size_t calendar_count;
};

/* Lines of the form "FILE:LINE:COLUMN: what; what would be right". */
struct manifest_problems {
    char *lines[MANIFEST_PROBLEMS_MAX];
    size_t count; /* all that were found; lines[] has the first MANIFEST_PROBLEMS_MAX */
};

/* Texts that are applied together: names are unique among all of them. */
struct manifest_set {
    struct manifest **manifests;
    size_t count;
    struct manifest_problems problems;
    struct zone_cache *zones;
};

struct manifest_set *manifest_set_new(void);
void manifest_set_free(struct manifest_set *set); /* NULL is fine */

/* Reads one text. Takes `text` (malloc'ed); copies `file`. */
void manifest_add(struct manifest_set *set, const char *file, char *text, size_t length);

/* Reads a file, standard input ("-") or the *.json files of a directory, sorted by name (base/
 * files beginning with a dot are passed over). What cannot be read is a problem like any other. */
void manifest_add_path(struct manifest_set *set, const char *path);

/* After the last text: finds names declared twice. 0, or -1 if the set has any problem. */
int manifest_check(struct manifest_set *set);

/* A trigger's schedule, as it is declared, from an instant on. Texts are the trigger's. */
struct schedule_spec manifest_schedule(const struct manifest_trigger *trigger, int64_t start_at_us);

/* Adds a problem at an offset of a manifest's text. */
void manifest_problem_at(struct manifest_set *set, const struct manifest *manifest, size_t offset,
                         const char *format, ...) __attribute__((format(printf, 4, 5)));

#endif
