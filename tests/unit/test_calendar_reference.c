/*
 * Random schedules of every kind under random calendars, in all zones of the system, against a
 * reference that steps through local time with the C library's own idea of the zone: minute by
 * minute over days, second by second over hours. It knows no parser and no arithmetic of ours.
 */
#include "base/clock.h"
#include "base/instant.h"
#include "base/memory.h"
#include "coord/schedule/schedule.h"
#include "coord/schedule/zone_table.h"
#include "tests/unit/calendar_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OCCURRENCES_MAX (20 * STEPS)
#define FIRST_S         (INT64_C(3) * 366 * DAY_S)   /* since when clocks change on full minutes */
#define LAST_S          (INT64_C(180) * 365 * DAY_S) /* changes are the same ever after */

static struct zone_cache *zones;
static struct zone_names names;
static int64_t comparisons;

/* The simplest zone, to which a failing case comes down where it fails there, too. */
static void put_first(const char *name)
{
    for (size_t i = 0; i < names.count; i++)
        if (strcmp(names.names[i], name) == 0) {
            char *first = names.names[0];
            names.names[0] = names.names[i];
            names.names[i] = first;
        }
}

static int prepare(void **state)
{
    (void)state;
    zones = zone_cache_new();
    zone_names_read(&names, "/usr/share/zoneinfo");
    put_first("America/New_York");
    put_first("UTC");
    return 0;
}

static int clean_up(void **state)
{
    (void)state;
    zone_cache_free(zones);
    zone_names_free(&names);
    unsetenv("TZ");
    tzset();
    return 0;
}

/* --- random triggers ------------------------------------------------------------------------- */

struct trigger {
    struct schedule_spec spec;
    struct random_cron cron;
    char interval[40], from[16], to[16];
    int from_s, to_s;
    int64_t count; /* of units */
    bool by_clock;
    bool elapsed; /* follows elapsed time where the clock is changed */
    int64_t readings[STEPS];
    int reading_count;
};

/* What the clock shows before its change or after it. */
static const struct tm *near_change(const struct grid *grid)
{
    int64_t step = (grid_near_middle(grid) / US_PER_SECOND - grid->start_s) / grid->step_s;
    return &grid->local[step];
}

static void random_daily(struct trigger *trigger, const struct grid *grid)
{
    int step_s = grid->step_s;
    int window = 1 + (int)below(DAY_S / step_s);
    trigger->from_s = (int)below(DAY_S / step_s - window + 1) * step_s;
    trigger->to_s = trigger->from_s + window * step_s;
    if (one_in(4)) {
        trigger->from_s = (int)below(3600 / step_s) * step_s;
        trigger->to_s = DAY_S;
    }
    if (one_in(4)) {
        trigger->from_s = near_change(grid)->tm_hour * 3600;
        trigger->to_s =
            trigger->from_s + (1 + (int)below((DAY_S - trigger->from_s) / step_s)) * step_s;
    }
    write_time(trigger->from, trigger->from_s);
    write_time(trigger->to, trigger->to_s);
    int64_t most_s = one_in(2) ? 3600 : DAY_S;
    trigger->spec.every_us = (1 + below(most_s / step_s)) * step_s * US_PER_SECOND;
    trigger->spec.daily_from = trigger->from;
    trigger->spec.daily_to = trigger->to;
    trigger->spec.weekdays = one_in(2) ? 1 + (unsigned)below(127) : 0;
    int step = (int)(trigger->spec.every_us / US_PER_SECOND);
    bool hours[24] = {false};
    for (int at = trigger->from_s; at <= trigger->to_s && at < DAY_S; at += step)
        hours[at / 3600] = true;
    trigger->elapsed = true;
    for (int hour = 0; hour < 24; hour++)
        trigger->elapsed = trigger->elapsed && hours[hour];
}

/* Days and longer: the readings by the C library's calendar, one after the other. */
static void list_readings(struct trigger *trigger, int unit, const struct grid *grid,
                          int64_t anchor_us)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    static const int months[] = {1, 3, 12};
    time_t anchor_s = (time_t)(anchor_us / US_PER_SECOND);
    struct tm anchor;
    setenv("TZ", grid->zone, 1);
    tzset();
    localtime_r(&anchor_s, &anchor);
    int64_t low_s = grid->wall_s[0] - 2 * DAY_S;
    int64_t high_s = grid->wall_s[grid->count - 1] + 2 * DAY_S;
    for (int number = 0;; number++) {
        struct tm at = {.tm_year = anchor.tm_year, .tm_mon = anchor.tm_mon, .tm_mday = 1};
        if (unit < 2) {
            at.tm_mday = anchor.tm_mday + (int)(number * trigger->count * (unit == 0 ? 1 : 7));
        } else {
            at.tm_mon += (int)(number * trigger->count * months[unit - 2]);
            timegm(&at);
            int year = at.tm_year + 1900, length = days[at.tm_mon];
            length += at.tm_mon == 1 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            at.tm_mday = anchor.tm_mday < length ? anchor.tm_mday : length;
        }
        int64_t reading = timegm(&at) + second_of(&anchor);
        if (reading > high_s)
            return;
        if (reading >= low_s)
            trigger->readings[trigger->reading_count++] = reading;
    }
}

/* The anchor of what is counted: far back for days and longer, near for what is stepped through. */
static int64_t random_anchor(struct trigger *trigger, const struct grid *grid, int64_t back_s)
{
    int64_t anchor_us =
        grid_random_instant(grid) - below(back_s / grid->step_s) * grid->step_s * US_PER_SECOND;
    if (back_s > DAY_S && one_in(2)) /* whose time of day the change concerns */
        anchor_us = grid_near_middle(grid) - below(back_s / DAY_S) * DAY_S * US_PER_SECOND;
    anchor_us = anchor_us < 0 ? 0 : anchor_us; /* nothing of a clock occurs before 1970 */
    if (trigger->by_clock)
        anchor_us -= anchor_us % (grid->step_s * US_PER_SECOND) - (one_in(2) ? 250000 : 0);
    if (one_in(2)) {
        trigger->spec.start_at_us = anchor_us;
    } else {
        trigger->spec.anchor_us = anchor_us;
        if (one_in(2))
            trigger->spec.start_at_us = anchor_us + below(grid_end_us(grid) - anchor_us);
    }
    return anchor_us;
}

static void random_interval(struct trigger *trigger, const struct grid *grid)
{
    static const char *const units[] = {"day",  "week", "month",  "quarter",
                                        "year", "hour", "minute", "second"};
    static const int most[] = {40, 8, 20, 6, 3, 30, 3000, 100000};
    int unit = (int)below(8);
    trigger->by_clock = unit < 5;
    trigger->count = 1 + below(one_in(2) ? most[unit] : 2);
    snprintf(trigger->interval, sizeof trigger->interval, "%lld %ss", (long long)trigger->count,
             units[unit]);
    trigger->spec.calendar_interval = trigger->interval;
    int64_t anchor_us =
        random_anchor(trigger, grid, trigger->by_clock ? 4000 * DAY_S : 3600 * trigger->count);
    if (trigger->by_clock)
        list_readings(trigger, unit, grid, anchor_us);
}

static void random_trigger(struct trigger *trigger, const struct grid *grid)
{
    enum schedule_kind kind = (enum schedule_kind)below(SCHEDULE_DAILY + 1);
    *trigger = (struct trigger){.spec = SCHEDULE_SPEC(kind), .by_clock = true};
    struct schedule_spec *spec = &trigger->spec;
    switch (kind) {
    case SCHEDULE_CRON:
        random_cron(&trigger->cron, grid->step_s, false, near_change(grid));
        spec->cron = trigger->cron.text;
        trigger->elapsed = true;
        for (int hour = 0; hour < 24; hour++)
            trigger->elapsed = trigger->elapsed && trigger->cron.hour[hour];
        break;
    case SCHEDULE_EVERY:
        trigger->by_clock = false;
        spec->every_us = one_in(3) ? grid->step_s * (1 + below(100)) * US_PER_SECOND
                                   : 100000 * grid->step_s + below(DAY_S * US_PER_SECOND / 4);
        random_anchor(trigger, grid, 2 * 3600);
        break;
    case SCHEDULE_AT:
        trigger->by_clock = false;
        spec->at_us = grid_random_instant(grid);
        break;
    case SCHEDULE_CALENDAR_INTERVAL:
        random_interval(trigger, grid);
        break;
    case SCHEDULE_DAILY:
        random_daily(trigger, grid);
    }
    spec->timezone = grid->zone;
    spec->gap = (enum zone_gap)below(ZONE_GAP_SKIP + 1);
    spec->overlap = (enum zone_overlap)below(ZONE_OVERLAP_BOTH + 1);
    if (spec->start_at_us == SCHEDULE_UNSET && spec->anchor_us == SCHEDULE_UNSET && one_in(2))
        spec->start_at_us = grid_random_instant(grid);
    int64_t from_us =
        spec->start_at_us > grid_start_us(grid) ? spec->start_at_us : grid_start_us(grid);
    if (one_in(4))
        spec->end_at_us = from_us + below(grid_end_us(grid) - from_us);
    else if (!one_in(20)) /* or else a search that finds nothing goes on until the last year */
        spec->end_at_us = grid_end_us(grid) + below(30 * DAY_S * US_PER_SECOND);
    /* Counted from where the reference can see. */
    if (one_in(2) && spec->start_at_us >= grid_start_us(grid))
        spec->repeat = one_in(2) ? below(3000) : below(10);
}

static bool reads_as(const struct trigger *trigger, int64_t wall_s)
{
    time_t reading = (time_t)wall_s;
    struct tm local;
    switch (trigger->spec.kind) {
    case SCHEDULE_CRON:
        return cron_reads_as(&trigger->cron, gmtime_r(&reading, &local));
    case SCHEDULE_DAILY: {
        int second = second_of(gmtime_r(&reading, &local));
        unsigned days = trigger->spec.weekdays == 0 ? 127 : trigger->spec.weekdays;
        return days >> local.tm_wday & 1 && second >= trigger->from_s && second <= trigger->to_s &&
               (second - trigger->from_s) % (trigger->spec.every_us / US_PER_SECOND) == 0;
    }
    default:
        for (int i = 0; i < trigger->reading_count; i++)
            if (trigger->readings[i] == wall_s)
                return true;
        return false;
    }
}

/* --- the reference --------------------------------------------------------------------------- */

struct occurrences {
    int64_t at_us[OCCURRENCES_MAX];
    int count;
};

static void add(struct occurrences *occurrences, int64_t at_us)
{
    assert_in_range(occurrences->count, 0, OCCURRENCES_MAX - 1);
    occurrences->at_us[occurrences->count++] = at_us;
}

/* By the words of the contract. */
static void list_by_clock(const struct trigger *trigger, const struct grid *grid,
                          struct occurrences *occurrences)
{
    const struct schedule_spec *spec = &trigger->spec;
    bool skip = spec->gap == ZONE_GAP_DEFAULT ? trigger->elapsed : spec->gap == ZONE_GAP_SKIP;
    enum zone_overlap overlap = spec->overlap;
    if (overlap == ZONE_OVERLAP_DEFAULT)
        overlap = trigger->elapsed ? ZONE_OVERLAP_BOTH : ZONE_OVERLAP_FIRST;
    int64_t anchor_us = spec->anchor_us != SCHEDULE_UNSET ? spec->anchor_us : spec->start_at_us;
    int64_t fraction_us = 0;
    if (spec->kind == SCHEDULE_CALENDAR_INTERVAL)
        fraction_us = anchor_us % US_PER_SECOND;
    for (int i = 0; i < grid->count; i++) {
        bool occurs = reads_as(trigger, grid->wall_s[i]);
        if (overlap == ZONE_OVERLAP_FIRST && grid->before[i])
            occurs = false;
        if (overlap == ZONE_OVERLAP_SECOND && grid->again[i])
            occurs = false;
        if (i > 0 && !skip)
            for (int64_t skipped = grid->wall_s[i - 1] + grid->step_s; skipped < grid->wall_s[i];
                 skipped += grid->step_s)
                occurs = occurs || reads_as(trigger, skipped);
        if (occurs)
            add(occurrences,
                (grid->start_s + (int64_t)i * grid->step_s) * US_PER_SECOND + fraction_us);
    }
}

static void list_elapsed(const struct trigger *trigger, const struct grid *grid,
                         struct occurrences *occurrences)
{
    static const int unit_s[] = {3600, 60, 1};
    const struct schedule_spec *spec = &trigger->spec;
    int64_t period_us = spec->every_us;
    if (spec->kind == SCHEDULE_CALENDAR_INTERVAL)
        period_us = trigger->count * US_PER_SECOND *
                    unit_s[strstr(spec->calendar_interval, "hour") != NULL     ? 0
                           : strstr(spec->calendar_interval, "minute") != NULL ? 1
                                                                               : 2];
    int64_t at_us = spec->anchor_us != SCHEDULE_UNSET ? spec->anchor_us : spec->start_at_us;
    for (; at_us < grid_end_us(grid); at_us += period_us)
        if (at_us >= grid_start_us(grid))
            add(occurrences, at_us);
}

/* Everything within the grid, its limits and repetitions regarded, and without what is excluded. */
static void list(const struct trigger *trigger, const struct grid *grid,
                 const struct random_calendar *calendar, struct occurrences *occurrences)
{
    const struct schedule_spec *spec = &trigger->spec;
    occurrences->count = 0;
    if (spec->kind == SCHEDULE_AT)
        add(occurrences, spec->at_us);
    else if (trigger->by_clock)
        list_by_clock(trigger, grid, occurrences);
    else
        list_elapsed(trigger, grid, occurrences);
    int count = 0;
    int64_t number = 0;
    bool repeats = spec->repeat >= 0 && spec->kind != SCHEDULE_CRON && spec->kind != SCHEDULE_AT;
    for (int i = 0; i < occurrences->count; i++) {
        int64_t at_us = occurrences->at_us[i];
        if ((spec->start_at_us != SCHEDULE_UNSET && at_us < spec->start_at_us) ||
            (spec->end_at_us != SCHEDULE_UNSET && at_us > spec->end_at_us) ||
            (repeats && number++ > spec->repeat))
            continue;
        int step = (int)((at_us / US_PER_SECOND - grid->start_s) / grid->step_s);
        if (calendar == NULL || !random_calendar_excludes(calendar, step))
            occurrences->at_us[count++] = at_us;
    }
    occurrences->count = count;
}

/* --- comparing ------------------------------------------------------------------------------- */

struct world {
    int step_s, count, rounds, questions;
    struct grid grids[2];
    struct trigger trigger;
    struct occurrences occurrences;
};

static void add_instant(struct buffer *text, const char *name, int64_t at_us)
{
    char words[TIME_TEXT_SIZE];
    if (at_us == SCHEDULE_NONE || at_us == SCHEDULE_UNSET)
        buffer_format(text, " %s none", name);
    else
        buffer_format(text, " %s %s (%lld)", name, instant_format(at_us, words), (long long)at_us);
}

static bool disagree(const char *what, const struct trigger *trigger,
                     const struct random_calendar *calendar, const struct schedule *schedule,
                     const int64_t between_us[2], struct buffer *why)
{
    const struct schedule_spec *spec = &trigger->spec;
    schedule_describe(schedule, why);
    buffer_format(why,
                  "\nkind %d zone %s cron \"%s\" interval \"%s\" every %lld from %s to %s weekdays "
                  "%#x repeat %lld gap %d overlap %d",
                  spec->kind, spec->timezone, spec->cron != NULL ? spec->cron : "",
                  trigger->interval, (long long)spec->every_us, trigger->from, trigger->to,
                  spec->weekdays, (long long)spec->repeat, spec->gap, spec->overlap);
    add_instant(why, "anchor", spec->anchor_us);
    add_instant(why, "start", spec->start_at_us);
    add_instant(why, "end", spec->end_at_us);
    for (int i = 0; calendar != NULL && i < calendar->count; i++)
        buffer_format(why, "\nless%s", buffer_text((struct buffer *)&calendar->layers[i].words));
    buffer_format(why, "\n%s", what);
    add_instant(why, "after", between_us[0]);
    add_instant(why, "until", between_us[1]);
    return false;
}

static bool disagree_number(struct buffer *why, int64_t expected, int64_t got)
{
    buffer_format(why, ": expected %lld, got %lld", (long long)expected, (long long)got);
    return false;
}

static bool disagree_instant(struct buffer *why, int64_t expected_us, int64_t got_us)
{
    buffer_char(why, ':');
    add_instant(why, "expected", expected_us);
    add_instant(why, "got", got_us);
    return false;
}

static bool compare(const struct world *world, const struct random_calendar *calendar,
                    const struct schedule *schedule, struct buffer *why)
{
    const struct trigger *trigger = &world->trigger;
    const struct grid *grid = &world->grids[0];
    const struct occurrences *occurrences = &world->occurrences;
    int64_t from_us = grid_random_instant(grid),
            to_us = from_us + below(grid_end_us(grid) - from_us);
    if (one_in(3)) {
        from_us = grid_near_middle(grid);
        to_us = from_us + below(NEAR_S / 2 * US_PER_SECOND);
    }
    if (occurrences->count > 0 && one_in(2)) /* right at one of them */
        from_us = occurrences->at_us[below(occurrences->count)] - below(2);
    if (occurrences->count > 0 && one_in(2))
        to_us = occurrences->at_us[below(occurrences->count)] - below(2);
    const int64_t between_us[2] = {from_us, to_us};
    int64_t next_us = SCHEDULE_NONE, newest_us = SCHEDULE_NONE, count = 0;
    for (int i = 0; i < occurrences->count; i++) {
        int64_t at_us = occurrences->at_us[i];
        if (at_us > from_us && next_us == SCHEDULE_NONE)
            next_us = at_us;
        if (at_us > from_us && at_us <= to_us) {
            newest_us = at_us;
            count++;
        }
    }
    comparisons += 3;
    int64_t got_us = schedule_next(schedule, from_us);
    if (next_us != SCHEDULE_NONE ? got_us != next_us : got_us < grid_end_us(grid))
        return disagree("next", trigger, calendar, schedule, between_us, why) ||
               disagree_instant(why, next_us, got_us);
    got_us = schedule_newest(schedule, from_us, to_us);
    if (got_us != newest_us)
        return disagree("newest", trigger, calendar, schedule, between_us, why) ||
               disagree_instant(why, newest_us, got_us);
    int64_t got = schedule_count(schedule, from_us, to_us);
    return got == count || disagree("count", trigger, calendar, schedule, between_us, why) ||
           disagree_number(why, count, got);
}

static bool compare_calendar(const struct world *world, const struct random_calendar *calendar,
                             const struct schedule *schedule, struct buffer *why)
{
    const struct grid *grid = &world->grids[0];
    struct zone *zone = zone_open(zones, grid->zone, NULL);
    int64_t at_us = grid_random_instant(grid);
    const int64_t between_us[2] = {at_us, grid_end_us(grid)};
    int step = (int)((at_us / US_PER_SECOND - grid->start_s) / grid->step_s);
    bool excluded = random_calendar_excludes(calendar, step);
    bool got = calendar_excludes(calendar->calendar, zone, at_us);
    int64_t expected_us = excluded ? CALENDAR_NONE : at_us;
    while (expected_us == CALENDAR_NONE && ++step < grid->count)
        if (!random_calendar_excludes(calendar, step))
            expected_us = (grid->start_s + (int64_t)step * grid->step_s) * US_PER_SECOND;
    int64_t got_us = calendar_next_included(calendar->calendar, zone, at_us);
    zone_unref(zone);
    comparisons += 2;
    if (got != excluded)
        return disagree("excludes", &world->trigger, calendar, schedule, between_us, why) ||
               disagree_number(why, excluded, got);
    if (expected_us != CALENDAR_NONE ? got_us != expected_us : got_us < grid_end_us(grid))
        return disagree("next included", &world->trigger, calendar, schedule, between_us, why) ||
               disagree_instant(why, expected_us, got_us);
    return true;
}

/* The last of all, where the reference can see that it is. */
static bool compare_final(const struct world *world, const struct random_calendar *calendar,
                          const struct schedule *schedule, struct buffer *why)
{
    const struct schedule_spec *spec = &world->trigger.spec;
    const struct grid *grid = &world->grids[0];
    const struct occurrences *occurrences = &world->occurrences;
    int64_t begin_us = spec->start_at_us != SCHEDULE_UNSET ? spec->start_at_us : spec->anchor_us;
    if (spec->end_at_us == SCHEDULE_UNSET || spec->end_at_us >= grid_end_us(grid) ||
        begin_us < grid_start_us(grid))
        return true;
    int64_t expected_us =
        occurrences->count > 0 ? occurrences->at_us[occurrences->count - 1] : SCHEDULE_NONE;
    int64_t got_us = schedule_final(schedule);
    comparisons++;
    if (got_us == expected_us)
        return true;
    const int64_t between_us[2] = {begin_us, spec->end_at_us};
    return disagree("final", &world->trigger, calendar, schedule, between_us, why) ||
           disagree_instant(why, expected_us, got_us);
}

static bool compare_all(struct world *world, struct buffer *why)
{
    struct random_calendar calendar = {0}, *used = below(5) > 0 ? &calendar : NULL;
    struct rota_error error = {0};
    part_begin();
    random_trigger(&world->trigger, &world->grids[0]);
    part_end();
    struct schedule *schedule = schedule_new(&world->trigger.spec, zones, &error);
    if (schedule == NULL)
        fail_msg("%s", error.message);
    if (used != NULL)
        random_calendar(&calendar, world->grids, zones);
    schedule_set_calendar(schedule, calendar.calendar);
    list(&world->trigger, &world->grids[0], used, &world->occurrences);
    bool fine = true;
    for (int i = 0; fine && i < world->questions; i++) {
        part_begin();
        fine = compare(world, used, schedule, why) &&
               (used == NULL || i % 4 > 0 || compare_calendar(world, used, schedule, why));
        part_end();
    }
    fine = fine && compare_final(world, used, schedule, why);
    schedule_free(schedule);
    random_calendar_free(&calendar);
    return fine;
}

/* Around a change of the clock, if the zone has one to offer, or anywhere. */
static int64_t random_start(const char *name, int step_s, int count)
{
    struct zone *zone = zone_open(zones, name, NULL);
    int64_t middle_s = FIRST_S + below(LAST_S - FIRST_S);
    part_begin();
    for (int try = 0; try < 20; try++) {
        struct zone_span span = zone_span(zone, (size_t)below((int64_t)zone_span_count(zone)));
        if (span.start_s >= FIRST_S && span.start_s < LAST_S && !one_in(10)) {
            middle_s = span.start_s;
            break;
        }
    }
    part_end();
    zone_unref(zone);
    return middle_s - middle_s % 60 - (int64_t)step_s * count / 2;
}

static void see(struct world *world, int which, const char *zone, int64_t start_s)
{
    struct grid *grid = &world->grids[which];
    if (grid->zone != zone || grid->start_s != start_s || grid->step_s != world->step_s)
        grid_fill(grid, zone, start_s, world->step_s, world->count);
}

/* One zone, each in its turn; another one for calendars; some triggers, some questions each. */
static bool agrees(void *arg, int64_t number, struct buffer *why)
{
    struct world *world = arg;
    int64_t zone_count = (int64_t)names.count;
    const char *zone = names.names[chosen(zone_count, number % zone_count)];
    const char *other = names.names[below(zone_count)];
    int64_t start_s = random_start(zone, world->step_s, world->count);
    see(world, 0, zone, start_s);
    see(world, 1, other, start_s);
    bool fine = true;
    for (int round = 0; fine && round < world->rounds; round++) {
        part_begin();
        fine = compare_all(world, why);
        part_end();
    }
    return fine;
}

static void run(int step_s, int count, int rounds, int questions)
{
    struct world *world = mem_alloc(sizeof *world);
    world->step_s = step_s;
    world->count = count;
    world->rounds = rounds;
    world->questions = questions;
    comparisons = 0;
    random_seed();
    property_check(agrees, world, random_rounds() * (int64_t)names.count);
    print_message("# %lld comparisons in %zu zones\n", (long long)comparisons, names.count);
    free(world);
}

static void stepping_by_minutes_agrees_in_all_zones(void **state)
{
    (void)state;
    run(60, 4 * 1440, 3, 20);
    assert_true(comparisons >= 100000);
}

static void stepping_by_seconds_agrees_in_all_zones(void **state)
{
    (void)state;
    run(1, STEPS, 3, 20);
    assert_true(comparisons >= 100000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stepping_by_minutes_agrees_in_all_zones),
        cmocka_unit_test(stepping_by_seconds_agrees_in_all_zones),
    };
    return cmocka_run_group_tests(tests, prepare, clean_up);
}
