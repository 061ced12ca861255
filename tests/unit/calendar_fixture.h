/*
 * For tests of calendars: rules as lists of texts; random cron expressions and calendars as text
 * and, without any parser, as what they mean; local time step by step from the C library.
 */
#ifndef TESTS_UNIT_CALENDAR_FIXTURE_H
#define TESTS_UNIT_CALENDAR_FIXTURE_H

#include "base/buffer.h"
#include "coord/schedule/calendar.h"
#include "tests/unit/property.h"

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define STEPS  (6 * 3600) /* the seconds of six hours, or the minutes of 15 days */
#define DAY_S  86400
#define NEAR_S 7200

int64_t at(const char *text); /* an instant in RFC 3339 */

/* A list of texts, as members of a spec. */
#define TEXTS(...)                                                                                 \
    (const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)
#define WINDOWS(...)                                                                               \
    (const struct calendar_window[]){__VA_ARGS__},                                                 \
        sizeof((const struct calendar_window[]){__VA_ARGS__}) / sizeof(struct calendar_window)

void set_dates(struct calendar_spec *spec, const char *const *texts, size_t count);
void set_annual(struct calendar_spec *spec, const char *const *texts, size_t count);
void set_weekly(struct calendar_spec *spec, const char *const *texts, size_t count);
void set_cron(struct calendar_spec *spec, const char *const *texts, size_t count);
void set_daily(struct calendar_spec *spec, const struct calendar_window *windows, size_t count);

/* Local time in a zone, from the C library. */
struct grid {
    const char *zone;
    int64_t start_s;
    int step_s;
    int count;
    struct tm local[STEPS];
    int64_t wall_s[STEPS];
    bool before[STEPS]; /* an earlier step has shown the same reading */
    bool again[STEPS];  /* a later step shows it */
};

void grid_fill(struct grid *grid, const char *zone, int64_t start_s, int step_s, int count);
int64_t grid_start_us(const struct grid *grid);
int64_t grid_end_us(const struct grid *grid);
int64_t grid_random_instant(const struct grid *grid);
int64_t grid_near_middle(const struct grid *grid); /* at most NEAR_S away */

int second_of(const struct tm *local); /* of its day */
void write_time(char text[16], int second);

struct random_cron {
    char text[300];
    bool second[60], minute[60], hour[24], month[12], day[31], weekday[7];
};

/* For a calendar, a grid of minutes wants whole minutes, and much is to be excluded; a trigger is
 * to occur now and then, at second 0 of such a grid; near a reading, where one is given. */
void random_cron(struct random_cron *cron, int step_s, bool excludes, const struct tm *near);
bool cron_reads_as(const struct random_cron *cron, const struct tm *local);

#define LAYERS_MAX 3

struct random_layer {
    const struct grid *grid; /* in whose zone it is */
    bool weekday[7];
    int date; /* 0: none; year * 10000 + month * 100 + day */
    int annual;
    int window[2][2];
    int window_count;
    struct random_cron cron[2];
    int cron_count;
    struct buffer words;
};

struct random_calendar {
    struct random_layer layers[LAYERS_MAX];
    int count;
    struct calendar *calendar;
};

/* Layers in the zone of the trigger (grids[0]) or in another. */
void random_calendar(struct random_calendar *random, const struct grid grids[2],
                     struct zone_cache *zones);
void random_calendar_free(struct random_calendar *random);
/* Whether a step of the grids is excluded. */
bool random_calendar_excludes(const struct random_calendar *random, int step);

#endif
