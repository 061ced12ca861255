/*
 * When a trigger occurs, whatever its kind: cron, every, at. Pure functions of the definition and
 * an instant: next occurrence, how many lie in a stretch, the newest of them. Each kind is a row of
 * a table in schedule.c. Instants are wall clock microseconds since 1970-01-01 UTC.
 */
#ifndef COORD_SCHEDULE_SCHEDULE_H
#define COORD_SCHEDULE_SCHEDULE_H

#include "base/error.h"
#include "coord/schedule/zone.h"

#include <stdint.h>

#define SCHEDULE_NONE  INT64_MAX /* no further occurrence */
#define SCHEDULE_UNSET INT64_MIN /* of an optional instant */

/* A firing is a row, a dispatch and a completion: ten of one trigger a second are as many as are of
 * use; what needs more is a loop in a worker. */
#define SCHEDULE_EVERY_MIN_US INT64_C(100000)
#define SCHEDULE_EVERY_MAX_US (INT64_C(36525) * 86400 * 1000000) /* 100 years */

struct schedule;

enum schedule_kind { SCHEDULE_CRON, SCHEDULE_EVERY, SCHEDULE_AT };

/* What a trigger's definition says. Texts are only read. */
struct schedule_spec {
    enum schedule_kind kind;
    const char *cron;
    const char *timezone; /* NULL: UTC */
    const char *seed;     /* what H is spread by: the trigger's name */
    int64_t every_us;
    int64_t repeat;    /* firings after the first of `every`; -1: without end */
    int64_t anchor_us; /* phase of `every`; SCHEDULE_UNSET: start_at_us, or the epoch */
    int64_t at_us;
    int64_t start_at_us; /* nothing before it; the first of `every` is counted from here */
    int64_t end_at_us;   /* nothing after it; an occurrence at this instant still counts */
    enum zone_gap gap;
    enum zone_overlap overlap;
};

/* A definition without limits: struct schedule_spec spec = SCHEDULE_SPEC(SCHEDULE_CRON); */
#define SCHEDULE_SPEC(of_kind)                                                                     \
    {                                                                                              \
        .kind = (of_kind), .repeat = -1, .anchor_us = SCHEDULE_UNSET, .at_us = SCHEDULE_UNSET,     \
        .start_at_us = SCHEDULE_UNSET, .end_at_us = SCHEDULE_UNSET                                 \
    }

/* Owned by the caller; NULL with an error that says what was wrong and what would be right. */
struct schedule *schedule_new(const struct schedule_spec *spec, struct zone_cache *zones,
                              struct rota_error *error);
void schedule_free(struct schedule *schedule); /* NULL is fine */

/* The first occurrence strictly after the instant, or SCHEDULE_NONE. */
int64_t schedule_next(const struct schedule *schedule, int64_t after_us);

/* How many occurrences lie in (after_us, until_us]: exact, by arithmetic. */
int64_t schedule_count(const struct schedule *schedule, int64_t after_us, int64_t until_us);

/* The newest occurrence in (after_us, until_us], or SCHEDULE_NONE; found in a few dozen steps. */
int64_t schedule_newest(const struct schedule *schedule, int64_t after_us, int64_t until_us);

#endif
