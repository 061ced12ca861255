/* Inside of a schedule, shared by the kinds (schedule_kinds.c), what is common to them (schedule.c)
 * and their description. */
#ifndef COORD_SCHEDULE_SCHEDULE_KIND_H
#define COORD_SCHEDULE_SCHEDULE_KIND_H

#include "coord/schedule/cron.h"
#include "coord/schedule/daily.h"
#include "coord/schedule/interval.h"
#include "coord/schedule/schedule.h"

/* Some 73,000 years around 1970: differences of instants within do not overflow. */
#define SCHEDULE_BEGIN_US (-(INT64_C(1) << 61))
#define SCHEDULE_END_US   (INT64_C(1) << 61)

/* Elapsed time. */
struct every {
    int64_t first_us;
    int64_t period_us;
};

struct schedule {
    const struct kind *kind;
    int64_t start_us; /* occurrences lie in [start_us, end_us] */
    int64_t end_us;
    bool ends; /* by its definition */
    int64_t repeat;
    struct zone *zone;         /* the trigger's; ours */
    struct zone *utc;          /* ours */
    struct calendar *calendar; /* ours; NULL: none */
    struct wall wall;          /* the seconds that hold occurrences; no pattern: `at` */
    int64_t fraction_us;       /* where within its second each occurrence of a clock lies */
    struct interval interval;
    union {
        struct cron cron;
        struct daily daily;
        struct every every;
        int64_t at_us;
    };
};

struct kind {
    /* Zones and limits are there already; it may bring end_us forward. */
    int (*open)(struct schedule *schedule, const struct schedule_spec *spec,
                struct rota_error *error);
    /* Both may leave start and end aside: their callers have cut the stretch to them. */
    int64_t (*next)(const struct schedule *schedule, int64_t after_us);
    int64_t (*count)(const struct schedule *schedule, int64_t after_us, int64_t until_us);
    void (*describe)(const struct schedule *schedule, struct buffer *text);
    bool follows_clock; /* on a wall in its zone, not elapsed time */
};

extern const struct kind schedule_kinds[SCHEDULE_DAILY + 1];

/* One sentence each, without zone and limits. */
void schedule_describe_cron(const struct schedule *schedule, struct buffer *text);
void schedule_describe_every(const struct schedule *schedule, struct buffer *text);
void schedule_describe_at(const struct schedule *schedule, struct buffer *text);
void schedule_describe_interval(const struct schedule *schedule, struct buffer *text);
void schedule_describe_daily(const struct schedule *schedule, struct buffer *text);

#endif
