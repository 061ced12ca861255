/*
 * The kinds of schedule: see schedule.h. A kind says how it is opened, what comes next and how many
 * there are; the limits start_at and end_at and the search for the newest are the same for all.
 */
#include "coord/schedule/schedule.h"

#include "base/clock.h"
#include "base/instant.h"
#include "base/memory.h"
#include "coord/schedule/cron.h"

#include <assert.h>
#include <stdlib.h>

/* Some 73,000 years around 1970: differences of instants within do not overflow. */
#define BEGIN_US (-(INT64_C(1) << 61))
#define END_US   (INT64_C(1) << 61)

struct every {
    int64_t first_us;
    int64_t period_us;
    int64_t last; /* number of the last firing, the first being 0; INT64_MAX: no last */
};

struct schedule {
    const struct kind *kind;
    int64_t start_us; /* occurrences lie in [start_us, end_us] */
    int64_t end_us;
    struct zone *zone; /* ours; NULL where the kind needs none */
    union {
        struct cron cron;
        struct every every;
        int64_t at_us;
    };
};

struct kind {
    const char *name;
    int (*open)(struct schedule *schedule, const struct schedule_spec *spec,
                struct zone_cache *zones, struct rota_error *error);
    /* Both may leave start and end aside: their callers have cut the stretch to them. */
    int64_t (*next)(const struct schedule *schedule, int64_t after_us);
    int64_t (*count)(const struct schedule *schedule, int64_t after_us, int64_t until_us);
};

static int64_t floor_second(int64_t instant_us)
{
    return instant_us / US_PER_SECOND - (instant_us % US_PER_SECOND < 0);
}

static int cron_open(struct schedule *schedule, const struct schedule_spec *spec,
                     struct zone_cache *zones, struct rota_error *error)
{
    if (spec->cron == NULL)
        return error_set(error, ERROR_REFUSED,
                         "cron: no expression: expected one such as "
                         "\"0 30 2 * * ?\"");
    schedule->zone = zone_open(zones, spec->timezone, error);
    if (schedule->zone == NULL ||
        cron_parse(&schedule->cron, spec->cron, schedule->zone, spec->seed, error) != 0)
        return -1;
    cron_set_clock_change(&schedule->cron, spec->gap, spec->overlap);
    return 0;
}

static int64_t cron_next_us(const struct schedule *schedule, int64_t after_us)
{
    int64_t next_s = cron_next(&schedule->cron, floor_second(after_us));
    return next_s == CRON_NONE ? SCHEDULE_NONE : next_s * US_PER_SECOND;
}

static int64_t cron_count_us(const struct schedule *schedule, int64_t after_us, int64_t until_us)
{
    return cron_count(&schedule->cron, floor_second(after_us), floor_second(until_us));
}

/* The first instant of the phase at or after the start. */
static int64_t first_of_every(const struct schedule_spec *spec, int64_t start_us)
{
    if (spec->anchor_us == SCHEDULE_UNSET)
        return spec->start_at_us == SCHEDULE_UNSET ? 0 : spec->start_at_us;
    if (spec->anchor_us >= start_us || spec->start_at_us == SCHEDULE_UNSET)
        return spec->anchor_us;
    __int128 behind = (__int128)start_us - spec->anchor_us;
    __int128 periods = (behind + spec->every_us - 1) / spec->every_us;
    __int128 first_us = spec->anchor_us + periods * spec->every_us;
    return first_us < SCHEDULE_NONE ? (int64_t)first_us : SCHEDULE_NONE;
}

static int every_open(struct schedule *schedule, const struct schedule_spec *spec,
                      struct zone_cache *zones, struct rota_error *error)
{
    char text[TIME_TEXT_SIZE];
    (void)zones;
    if (spec->every_us < SCHEDULE_EVERY_MIN_US)
        return error_set(error, ERROR_REFUSED,
                         "every %s%s: shorter than 100ms: each firing is stored, dispatched and "
                         "recorded; use 100ms or more, or a loop in the worker",
                         spec->every_us < 0 ? "-" : "",
                         duration_format(spec->every_us < 0 ? 0 : spec->every_us, text));
    if (spec->every_us > SCHEDULE_EVERY_MAX_US)
        return error_set(error, ERROR_REFUSED, "every %s: longer than 100 years (36525d)",
                         duration_format(spec->every_us, text));
    if (spec->repeat < -1)
        return error_set(error, ERROR_REFUSED,
                         "repeat %lld: expected the number of firings after the first, 0 or more",
                         (long long)spec->repeat);
    schedule->every.period_us = spec->every_us;
    schedule->every.last = spec->repeat < 0 ? INT64_MAX : spec->repeat;
    schedule->every.first_us = first_of_every(spec, schedule->start_us);
    return 0;
}

/* The number of the newest firing at or before the instant, -1 before the first. */
static int64_t every_number(const struct every *every, int64_t instant_us)
{
    if (instant_us < every->first_us)
        return -1;
    __int128 number = ((__int128)instant_us - every->first_us) / every->period_us;
    return number < every->last ? (int64_t)number : every->last;
}

static int64_t every_next(const struct schedule *schedule, int64_t after_us)
{
    const struct every *every = &schedule->every;
    int64_t number = every_number(every, after_us), next_us;
    if (number == every->last || __builtin_mul_overflow(number + 1, every->period_us, &next_us) ||
        __builtin_add_overflow(next_us, every->first_us, &next_us))
        return SCHEDULE_NONE;
    return next_us;
}

static int64_t every_count(const struct schedule *schedule, int64_t after_us, int64_t until_us)
{
    return every_number(&schedule->every, until_us) - every_number(&schedule->every, after_us);
}

static int at_open(struct schedule *schedule, const struct schedule_spec *spec,
                   struct zone_cache *zones, struct rota_error *error)
{
    (void)zones;
    if (spec->at_us == SCHEDULE_UNSET || spec->at_us == SCHEDULE_NONE)
        return error_set(error, ERROR_REFUSED,
                         "at: no instant: expected one such as 2030-01-31T08:00:00Z");
    schedule->at_us = spec->at_us;
    return 0;
}

static int64_t at_next(const struct schedule *schedule, int64_t after_us)
{
    return after_us < schedule->at_us ? schedule->at_us : SCHEDULE_NONE;
}

static int64_t at_count(const struct schedule *schedule, int64_t after_us, int64_t until_us)
{
    return after_us < schedule->at_us && schedule->at_us <= until_us;
}

static const struct kind kinds[] = {
    [SCHEDULE_CRON] = {"cron", cron_open, cron_next_us, cron_count_us},
    [SCHEDULE_EVERY] = {"every", every_open, every_next, every_count},
    [SCHEDULE_AT] = {"at", at_open, at_next, at_count},
};

struct schedule *schedule_new(const struct schedule_spec *spec, struct zone_cache *zones,
                              struct rota_error *error)
{
    assert((size_t)spec->kind < sizeof kinds / sizeof *kinds);
    char start[TIME_TEXT_SIZE], end[TIME_TEXT_SIZE];
    struct schedule *schedule = mem_alloc(sizeof *schedule);
    schedule->kind = &kinds[spec->kind];
    schedule->start_us = BEGIN_US;
    schedule->end_us = END_US;
    if (spec->start_at_us > BEGIN_US) /* which SCHEDULE_UNSET is not */
        schedule->start_us = spec->start_at_us;
    if (spec->end_at_us != SCHEDULE_UNSET && spec->end_at_us < END_US)
        schedule->end_us = spec->end_at_us;
    if (schedule->end_us < schedule->start_us) {
        error_set(error, ERROR_REFUSED, "end_at %s lies before start_at %s",
                  instant_format(spec->end_at_us, end), instant_format(spec->start_at_us, start));
        goto failed;
    }
    if (schedule->kind->open(schedule, spec, zones, error) != 0)
        goto failed;
    return schedule;
failed:
    schedule_free(schedule);
    return NULL;
}

void schedule_free(struct schedule *schedule)
{
    if (schedule == NULL)
        return;
    zone_unref(schedule->zone);
    free(schedule);
}

int64_t schedule_next(const struct schedule *schedule, int64_t after_us)
{
    int64_t after = after_us < schedule->start_us ? schedule->start_us - 1 : after_us;
    if (after >= schedule->end_us)
        return SCHEDULE_NONE;
    int64_t next_us = schedule->kind->next(schedule, after);
    return next_us <= schedule->end_us ? next_us : SCHEDULE_NONE;
}

/* Cuts (after, until] to the schedule's limits; false if nothing is left. */
static bool cut(const struct schedule *schedule, int64_t *after_us, int64_t *until_us)
{
    if (*after_us < schedule->start_us)
        *after_us = schedule->start_us - 1;
    if (*until_us > schedule->end_us)
        *until_us = schedule->end_us;
    return *after_us < *until_us;
}

int64_t schedule_count(const struct schedule *schedule, int64_t after_us, int64_t until_us)
{
    if (!cut(schedule, &after_us, &until_us))
        return 0;
    return schedule->kind->count(schedule, after_us, until_us);
}

/*
 * Steps back from the end, twice as far each time, until something lies behind; then halves the
 * stretch. Every kind gets it for the price of its next().
 */
int64_t schedule_newest(const struct schedule *schedule, int64_t after_us, int64_t until_us)
{
    if (!cut(schedule, &after_us, &until_us))
        return SCHEDULE_NONE;
    int64_t low =
        schedule_next(schedule, after_us); /* an occurrence, as far as we know the newest */
    int64_t high = until_us;               /* nothing lies after it, up to until_us */
    if (low > until_us)
        return SCHEDULE_NONE;
    for (int64_t back = US_PER_SECOND; back < high - low; back *= 2) {
        int64_t next = schedule_next(schedule, until_us - back);
        if (next <= until_us) {
            low = next;
            break;
        }
        high = until_us - back;
    }
    for (;;) {
        int64_t next = schedule_next(schedule, low);
        if (next > until_us)
            return low;
        low = next;
        int64_t middle = low + (high - low) / 2;
        if (middle <= low)
            continue;
        next = schedule_next(schedule, middle);
        if (next <= until_us)
            low = next;
        else
            high = middle;
    }
}
