/* Calendars for tests, random ones too, and local time step by step: see calendar_fixture.h. */
#include "tests/unit/calendar_fixture.h"

#include "base/clock.h"
#include "base/instant.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int64_t at(const char *text)
{
    int64_t instant_us = 0;
    if (instant_parse(text, &instant_us) != 0)
        fail_msg("no instant: %s", text);
    return instant_us;
}

void set_dates(struct calendar_spec *spec, const char *const *texts, size_t count)
{
    spec->dates = texts;
    spec->date_count = count;
}

void set_annual(struct calendar_spec *spec, const char *const *texts, size_t count)
{
    spec->annual = texts;
    spec->annual_count = count;
}

void set_weekly(struct calendar_spec *spec, const char *const *texts, size_t count)
{
    spec->weekly = texts;
    spec->weekly_count = count;
}

void set_cron(struct calendar_spec *spec, const char *const *texts, size_t count)
{
    spec->cron = texts;
    spec->cron_count = count;
}

void set_daily(struct calendar_spec *spec, const struct calendar_window *windows, size_t count)
{
    spec->daily = windows;
    spec->daily_count = count;
}

/* --- local time, step by step ---------------------------------------------------------------- */

void grid_fill(struct grid *grid, const char *zone, int64_t start_s, int step_s, int count)
{
    grid->zone = zone;
    grid->start_s = start_s;
    grid->step_s = step_s;
    grid->count = count;
    setenv("TZ", zone, 1);
    tzset();
    int64_t latest_s = INT64_MIN, earliest_s = INT64_MAX;
    for (int i = 0; i < count; i++) {
        time_t at_s = (time_t)(start_s + (int64_t)i * step_s);
        localtime_r(&at_s, &grid->local[i]);
        grid->wall_s[i] = at_s + grid->local[i].tm_gmtoff;
        grid->before[i] = grid->wall_s[i] <= latest_s;
        latest_s = grid->wall_s[i] > latest_s ? grid->wall_s[i] : latest_s;
    }
    for (int i = count - 1; i >= 0; i--) {
        grid->again[i] = grid->wall_s[i] >= earliest_s;
        earliest_s = grid->wall_s[i] < earliest_s ? grid->wall_s[i] : earliest_s;
    }
}

int64_t grid_start_us(const struct grid *grid)
{
    return grid->start_s * US_PER_SECOND;
}

int64_t grid_end_us(const struct grid *grid)
{
    return (grid->start_s + (int64_t)grid->count * grid->step_s) * US_PER_SECOND;
}

int64_t grid_random_instant(const struct grid *grid)
{
    return grid_start_us(grid) + below(grid_end_us(grid) - grid_start_us(grid));
}

int64_t grid_near_middle(const struct grid *grid)
{
    int64_t away_us = below(NEAR_S * US_PER_SECOND), count = grid->count;
    int64_t middle_us = (grid->start_s + count / 2 * grid->step_s) * US_PER_SECOND;
    return one_in(2) ? middle_us - away_us : middle_us + away_us;
}

/* --- random expressions ---------------------------------------------------------------------- */

/* One in `star` is *; else a single value, a range that may go round, or steps. */
static void random_field(char text[30], bool *values, int low, int count, int star)
{
    int first = 0, last = count - 1, size = count, step = 1;
    memset(values, 0, (size_t)count);
    snprintf(text, 30, "*");
    if (below(star) > 0) {
        first = (int)below(count);
        bool single = below(3) == 0;
        last = single ? first : (int)below(count);
        size = last >= first ? last - first + 1 : last - first + 1 + count;
        step = single || below(2) == 0 ? 1 : 1 + (int)below(count - 1);
        if (single)
            snprintf(text, 30, "%d", first + low);
        else if (step == 1)
            snprintf(text, 30, "%d-%d", first + low, last + low);
        else
            snprintf(text, 30, "%d-%d/%d", first + low, last + low, step);
    }
    for (int i = 0; i < size; i += step)
        values[(first + i) % count] = true;
}

void random_cron(struct random_cron *cron, int step_s, bool excludes, const struct tm *near)
{
    char second[30], minute[30], hour[30], day[30], month[30], weekday[30];
    random_field(second, cron->second, 0, 60, step_s == 60 && excludes ? 1 : 3);
    if (step_s == 60 && !excludes) {
        snprintf(second, sizeof second, "0");
        memset(cron->second, 0, sizeof cron->second);
        cron->second[0] = true;
    }
    random_field(minute, cron->minute, 0, 60, 2);
    random_field(hour, cron->hour, 0, 24, excludes ? 20 : 2);
    if (near != NULL && one_in(3)) { /* an hour that the change concerns */
        memset(cron->hour, 0, sizeof cron->hour);
        cron->hour[near->tm_hour] = true;
        snprintf(hour, sizeof hour, "%d", near->tm_hour);
    }
    random_field(month, cron->month, 1, 12, 1);
    bool by_weekday = one_in(2);
    random_field(day, cron->day, 1, 31, by_weekday ? 1 : 2);
    random_field(weekday, cron->weekday, 1, 7, by_weekday ? 2 : 1);
    snprintf(cron->text, sizeof cron->text, "%s %s %s %s %s %s", second, minute, hour,
             by_weekday ? "?" : day, month, by_weekday ? weekday : "?");
}

bool cron_reads_as(const struct random_cron *cron, const struct tm *local)
{
    return cron->second[local->tm_sec] && cron->minute[local->tm_min] &&
           cron->hour[local->tm_hour] && cron->month[local->tm_mon] &&
           cron->day[local->tm_mday - 1] && cron->weekday[local->tm_wday];
}

int second_of(const struct tm *local)
{
    return local->tm_hour * 3600 + local->tm_min * 60 + local->tm_sec;
}

void write_time(char text[16], int second)
{
    snprintf(text, 16, "%02d:%02d:%02d", second / 3600, second / 60 % 60, second % 60);
}

/* --- random calendars ------------------------------------------------------------------------ */

static int date_of(const struct tm *local, bool with_year)
{
    return (with_year ? (local->tm_year + 1900) * 10000 : 0) + (local->tm_mon + 1) * 100 +
           local->tm_mday;
}

static bool layer_excludes(const struct random_layer *layer, const struct tm *local)
{
    int second = second_of(local);
    bool excluded = layer->weekday[local->tm_wday] || layer->date == date_of(local, true) ||
                    layer->annual == date_of(local, false);
    for (int i = 0; i < layer->window_count; i++) {
        int from = layer->window[i][0], to = layer->window[i][1];
        excluded |= from < to ? second >= from && second < to : second >= from || second < to;
    }
    for (int i = 0; i < layer->cron_count; i++)
        excluded |= cron_reads_as(&layer->cron[i], local);
    return excluded;
}

static void random_rules(struct random_layer *layer)
{
    const struct grid *grid = layer->grid;
    for (int i = 0; i < 7; i++)
        layer->weekday[i] = one_in(6);
    if (one_in(2))
        layer->date = date_of(&grid->local[below(grid->count)], true);
    if (one_in(3))
        layer->annual = date_of(&grid->local[below(grid->count)], false);
    layer->window_count = (int)below(3);
    /* Up to 8 hours, so that something is left; past midnight where it happens. */
    for (int i = 0; i < layer->window_count; i++) {
        int length = (1 + (int)below(8 * 3600 / grid->step_s)) * grid->step_s;
        layer->window[i][0] = (int)below(DAY_S / grid->step_s) * grid->step_s;
        layer->window[i][1] = (layer->window[i][0] + length) % DAY_S;
    }
    layer->cron_count = (int)below(3);
    for (int i = 0; i < layer->cron_count; i++)
        random_cron(&layer->cron[i], grid->step_s, true, NULL);
}

static struct calendar *layer_calendar(struct random_layer *layer, const char *zone,
                                       struct calendar *base, struct zone_cache *zones)
{
    static const char *const weekdays[7] = {"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"};
    const char *weekly[7], *crons[2] = {layer->cron[0].text, layer->cron[1].text};
    char date[40], annual[40], times[2][2][16];
    const char *date_text = date, *annual_text = annual;
    struct calendar_window windows[2];
    struct calendar_spec spec = {.timezone = zone, .base = base};
    struct rota_error error = {0};
    buffer_format(&layer->words, "  zone %s:", zone != NULL ? zone : "of the trigger");
    for (int i = 0; i < 7; i++)
        if (layer->weekday[i]) {
            weekly[spec.weekly_count++] = weekdays[i];
            buffer_format(&layer->words, " %s", weekdays[i]);
        }
    snprintf(date, sizeof date, "%04d-%02d-%02d", layer->date / 10000, layer->date / 100 % 100,
             layer->date % 100);
    snprintf(annual, sizeof annual, "%02d-%02d", layer->annual / 100, layer->annual % 100);
    spec.weekly = weekly;
    spec.dates = &date_text;
    spec.date_count = layer->date != 0;
    spec.annual = &annual_text;
    spec.annual_count = layer->annual != 0;
    for (int i = 0; i < layer->window_count; i++) {
        write_time(times[i][0], layer->window[i][0]);
        write_time(times[i][1], layer->window[i][1]);
        windows[i] = (struct calendar_window){times[i][0], times[i][1]};
        buffer_format(&layer->words, " [%s %s)", times[i][0], times[i][1]);
    }
    spec.daily = windows;
    spec.daily_count = (size_t)layer->window_count;
    spec.cron = crons;
    spec.cron_count = (size_t)layer->cron_count;
    buffer_format(&layer->words, " date %s annual %s cron \"%s\" \"%s\"\n",
                  layer->date != 0 ? date : "-", layer->annual != 0 ? annual : "-",
                  layer->cron_count > 0 ? crons[0] : "", layer->cron_count > 1 ? crons[1] : "");
    struct calendar *calendar = calendar_new(&spec, zones, &error);
    if (calendar == NULL)
        fail_msg("%s%s", buffer_text(&layer->words), error.message);
    calendar_unref(base);
    return calendar;
}

void random_calendar(struct random_calendar *random, const struct grid grids[2],
                     struct zone_cache *zones)
{
    *random = (struct random_calendar){.count = 1 + (int)below(LAYERS_MAX)};
    for (int i = 0; i < random->count; i++) {
        part_begin();
        int which = (int)below(2);
        random->layers[i].grid = &grids[which];
        random_rules(&random->layers[i]);
        const char *zone = which == 1 || one_in(2) ? grids[which].zone : NULL;
        random->calendar = layer_calendar(&random->layers[i], zone, random->calendar, zones);
        part_end();
    }
}

void random_calendar_free(struct random_calendar *random)
{
    for (int i = 0; i < random->count; i++)
        buffer_free(&random->layers[i].words);
    calendar_unref(random->calendar);
}

bool random_calendar_excludes(const struct random_calendar *random, int step)
{
    for (int i = 0; i < random->count; i++)
        if (layer_excludes(&random->layers[i], &random->layers[i].grid->local[step]))
            return true;
    return false;
}
