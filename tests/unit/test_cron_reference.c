/*
 * Random cron expressions in all zones of the system against a reference that steps through local
 * time second by second, with the C library's own idea of the zone and without any parser; and
 * bounds on time and instants.
 */
#include "base/clock.h"
#include "base/instant.h"
#include "base/memory.h"
#include "coord/schedule/cron.h"
#include "coord/schedule/zone_table.h"
#include "tests/unit/property.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS        6   /* expressions per change of a clock */
#define QUESTIONS     20  /* of an expression, each about a stretch */
#define NEXT_MAX      300 /* occurrences of an expression that are visited one after the other */
#define CHANGES_TRIED 20

static struct zone_cache *zones;
static struct zone_names names;
static int64_t comparisons;

static int open_zones(void **state)
{
    (void)state;
    zones = zone_cache_new();
    zone_names_read(&names, "/usr/share/zoneinfo");
    return 0;
}

static int close_zones(void **state)
{
    (void)state;
    zone_cache_free(zones);
    zone_names_free(&names);
    unsetenv("TZ");
    tzset();
    return 0;
}

static struct cron parsed(const char *expression, const char *zone_name)
{
    struct cron cron = {0};
    struct rota_error error = {0};
    struct zone *zone = zone_open(zones, zone_name, &error);
    if (zone == NULL || cron_parse(&cron, expression, zone, NULL, &error) != 0)
        fail_msg("%s", error.message);
    zone_unref(zone); /* the cache holds it */
    return cron;
}

/* A random expression as text and, without any parser, as what it means. */
struct random_cron {
    char text[600];
    bool second[60], minute[60], hour[24], month[12], day[31], weekday[7];
    bool by_weekday;
    enum zone_gap gap;
    enum zone_overlap overlap;
};

/* A list of single values, ranges and steps in one field; ranges go round where it happens. */
static void random_field(char text[80], bool *values, int low, int count)
{
    struct buffer list = {0};
    memset(values, 0, (size_t)count);
    for (int parts = 1 + (int)below(3); parts > 0; parts--) {
        int kind = (int)below(4), first = (int)below(count), last = (int)below(count);
        int step = 1 + (int)below(count - 1);
        int size = last >= first ? last - first + 1 : last - first + 1 + count;
        buffer_string(&list, list.length > 0 ? "," : "");
        switch (kind) {
        case 0:
            size = step = 1;
            buffer_format(&list, "%d", first + low);
            break;
        case 1:
            step = 1;
            buffer_format(&list, "%d-%d", first + low, last + low);
            break;
        case 2:
            buffer_format(&list, "%d-%d/%d", first + low, last + low, step);
            break;
        default:
            size = count - first;
            buffer_format(&list, "%d/%d", first + low, step);
        }
        for (int i = 0; i < size; i += step)
            values[(first + i) % count] = true;
    }
    snprintf(text, 80, "%s", buffer_text(&list));
    buffer_free(&list);
}

static void every_value(char text[80], bool *values, int count)
{
    snprintf(text, 80, "*");
    memset(values, 1, (size_t)count);
}

static void one_value(char text[80], bool *values, int count, int place, int low)
{
    memset(values, 0, (size_t)count);
    values[place] = true;
    snprintf(text, 80, "%d", place + low);
}

/* `near`: what the clock shows close to its change; hours and dates like it are more likely. */
static void random_cron(struct random_cron *random, const struct tm *near)
{
    char second[80], minute[80], hour[80], day[80], month[80], weekday[80];
    every_value(second, random->second, 60);
    every_value(minute, random->minute, 60);
    every_value(hour, random->hour, 24);
    every_value(day, random->day, 31);
    every_value(month, random->month, 12);
    every_value(weekday, random->weekday, 7);
    if (below(4) > 0)
        random_field(second, random->second, 0, 60);
    if (below(3) > 0)
        random_field(minute, random->minute, 0, 60);
    if (one_in(3)) {
        one_value(hour, random->hour, 24, near->tm_hour, 0);
    } else if (one_in(2)) {
        random_field(hour, random->hour, 0, 24);
    }
    if (one_in(3))
        random_field(month, random->month, 1, 12);
    random->by_weekday = one_in(2);
    if (one_in(2) && random->by_weekday)
        random_field(weekday, random->weekday, 1, 7);
    else if (one_in(2))
        random_field(day, random->day, 1, 31);
    if (one_in(4)) { /* once a year */
        one_value(month, random->month, 12, near->tm_mon, 1);
        one_value(day, random->day, 31, near->tm_mday - 1, 1);
    }
    random->gap = (enum zone_gap)below(ZONE_GAP_SKIP + 1);
    random->overlap = (enum zone_overlap)below(ZONE_OVERLAP_BOTH + 1);
    snprintf(random->text, sizeof random->text, "%s %s %s %s %s %s", second, minute, hour,
             random->by_weekday ? "?" : day, month, random->by_weekday ? weekday : "?");
}

static bool reads_as(const struct random_cron *random, const struct tm *local)
{
    return random->second[local->tm_sec] && random->minute[local->tm_min] &&
           random->hour[local->tm_hour] && random->month[local->tm_mon] &&
           (random->by_weekday ? random->weekday[local->tm_wday] : random->day[local->tm_mday - 1]);
}

#define WINDOW_S  (8 * 3600)
#define GAP_S_MAX (25 * 3600)

/* Local time around a change, second by second, from the C library. */
struct window {
    const char *zone;
    int64_t start_s;
    struct tm local[WINDOW_S];
    int64_t wall_s[WINDOW_S];
    bool shown_again[WINDOW_S];
    struct tm gap[GAP_S_MAX]; /* the readings that the clock skips */
    int gap_count;
    int gap_at; /* the second that follows the gap */
    int64_t occurrences[WINDOW_S + 1];
};

static void fill_window(struct window *window, const char *zone, int64_t start_s)
{
    setenv("TZ", zone, 1);
    tzset();
    window->zone = zone;
    window->start_s = start_s;
    window->gap_count = 0;
    int64_t latest_s = INT64_MAX;
    for (int i = 0; i < WINDOW_S; i++) {
        time_t at_s = (time_t)(start_s + i);
        localtime_r(&at_s, &window->local[i]);
        window->wall_s[i] = at_s + window->local[i].tm_gmtoff;
        latest_s = i == 0 ? window->wall_s[0] : latest_s;
        for (time_t wall_s = latest_s + 1; wall_s < window->wall_s[i]; wall_s++) {
            window->gap_at = i;
            gmtime_r(&wall_s, &window->gap[window->gap_count++]);
        }
        latest_s = window->wall_s[i] > latest_s ? window->wall_s[i] : latest_s;
    }
    int64_t earliest_s = INT64_MAX;
    for (int i = WINDOW_S - 1; i >= 0; i--) {
        window->shown_again[i] = earliest_s <= window->wall_s[i];
        earliest_s = window->wall_s[i] < earliest_s ? window->wall_s[i] : earliest_s;
    }
}

/* What the policies are for this expression where the definition leaves them open. */
static void settle_policies(const struct random_cron *random, enum zone_gap *ret_gap,
                            enum zone_overlap *ret_overlap)
{
    bool elapsed = true;
    for (int i = 0; i < 24; i++)
        elapsed = elapsed && random->hour[i];
    *ret_gap = random->gap;
    *ret_overlap = random->overlap;
    if (random->gap == ZONE_GAP_DEFAULT)
        *ret_gap = elapsed ? ZONE_GAP_SKIP : ZONE_GAP_AFTER;
    if (random->overlap == ZONE_OVERLAP_DEFAULT)
        *ret_overlap = elapsed ? ZONE_OVERLAP_BOTH : ZONE_OVERLAP_FIRST;
}

/* The occurrences in a window, by the words of the contract. */
static int reference(const struct random_cron *random, const struct window *window,
                     int64_t *occurrences)
{
    int count = 0;
    int64_t latest_s = INT64_MIN;
    enum zone_gap gap;
    enum zone_overlap overlap;
    settle_policies(random, &gap, &overlap);
    for (int i = 0; i < WINDOW_S; i++) {
        bool occurs = reads_as(random, &window->local[i]);
        if (overlap == ZONE_OVERLAP_FIRST && window->wall_s[i] <= latest_s)
            occurs = false;
        if (overlap == ZONE_OVERLAP_SECOND && window->shown_again[i])
            occurs = false;
        if (window->gap_count > 0 && i == window->gap_at && gap == ZONE_GAP_AFTER)
            for (int skipped = 0; skipped < window->gap_count && !occurs; skipped++)
                occurs = reads_as(random, &window->gap[skipped]);
        if (occurs)
            occurrences[count++] = window->start_s + i;
        latest_s = window->wall_s[i] > latest_s ? window->wall_s[i] : latest_s;
    }
    return count;
}

static bool disagree(const struct random_cron *random, const struct window *window,
                     const char *what, const int64_t stretch_s[2], struct buffer *why)
{
    char from[TIME_TEXT_SIZE], to[TIME_TEXT_SIZE];
    buffer_format(why, "\"%s\" in %s gap %d overlap %d: %s after %s (%lld) until %s (%lld): ",
                  random->text, window->zone, random->gap, random->overlap, what,
                  instant_format(stretch_s[0] * US_PER_SECOND, from), (long long)stretch_s[0],
                  instant_format(stretch_s[1] * US_PER_SECOND, to), (long long)stretch_s[1]);
    return false;
}

static bool compare_counts(const struct cron *cron, const struct random_cron *random,
                           const struct window *window, int count, struct buffer *why)
{
    for (int i = 0; i < QUESTIONS; i++) {
        part_begin();
        int64_t from_s = window->start_s + below(WINDOW_S);
        int64_t to_s = from_s + below(window->start_s + WINDOW_S - from_s), expected = 0;
        part_end();
        for (int k = 0; k < count; k++)
            expected += window->occurrences[k] > from_s && window->occurrences[k] <= to_s;
        int64_t got = cron_count(cron, from_s, to_s);
        comparisons++;
        if (got != expected) {
            disagree(random, window, "count", (const int64_t[]){from_s, to_s}, why);
            buffer_format(why, "expected %lld, got %lld", (long long)expected, (long long)got);
            return false;
        }
    }
    return true;
}

/* Occurrence after occurrence, those around the change if there are many. */
static bool compare(const struct random_cron *random, struct window *window, struct buffer *why)
{
    struct cron cron = parsed(random->text, window->zone);
    cron_set_clock_change(&cron, random->gap, random->overlap);
    int count = reference(random, window, window->occurrences), first = 0, last = count;
    window->occurrences[count] = window->start_s + WINDOW_S; /* what comes next lies behind it */
    while (last - first > NEXT_MAX &&
           window->occurrences[first + NEXT_MAX / 2] < window->start_s + WINDOW_S / 2)
        first++;
    last = last - first > NEXT_MAX ? first + NEXT_MAX : last;
    int64_t at_s = first == 0 ? window->start_s - 1 : window->occurrences[first - 1];
    for (int i = first; i <= last; i++) {
        int64_t expected_s = window->occurrences[i], next_s = cron_next(&cron, at_s);
        comparisons++;
        if (i < count ? next_s != expected_s : next_s < expected_s) {
            disagree(random, window, "next", (const int64_t[]){at_s, expected_s}, why);
            buffer_format(why, "expected %lld, got %lld", (long long)expected_s, (long long)next_s);
            return false;
        }
        at_s = next_s;
    }
    return compare_counts(&cron, random, window, count, why);
}

/* A change of the zone's clock, if it has one after 1972; since then they are on full minutes. */
static int64_t random_change(const char *name)
{
    struct zone *zone = zone_open(zones, name, NULL);
    int64_t change_s = INT64_C(1700000000);
    part_begin();
    for (int try = 0; try < CHANGES_TRIED; try++) {
        int64_t number = below((int64_t)zone_span_count(zone));
        struct zone_span span = zone_span(zone, (size_t)number);
        if (span.start_s > INT64_C(94694400) && span.start_s < INT64_C(7000000000)) {
            change_s = span.start_s;
            break;
        }
    }
    part_end();
    zone_unref(zone);
    return change_s;
}

static bool agrees(void *arg, int64_t number, struct buffer *why)
{
    struct window *window = arg;
    int64_t count = (int64_t)names.count;
    const char *zone = names.names[chosen(count, number % count)];
    int64_t start_s = random_change(zone) - WINDOW_S / 2;
    if (window->zone != zone || window->start_s != start_s)
        fill_window(window, zone, start_s);
    bool fine = true;
    for (int round = 0; fine && round < ROUNDS; round++) {
        struct random_cron random;
        part_begin();
        random_cron(&random, &window->local[WINDOW_S / 2 + below(7200) - 3600]);
        fine = compare(&random, window, why);
        part_end();
    }
    return fine;
}

static void random_expressions_agree_with_stepping_second_by_second(void **state)
{
    (void)state;
    struct window *window = mem_alloc(sizeof *window);
    comparisons = 0;
    random_seed();
    property_check(agrees, window, random_rounds() * (int64_t)names.count);
    print_message("# %lld comparisons in %zu zones\n", (long long)comparisons, names.count);
    assert_true(comparisons >= 100000);
    free(window);
}

static void counting_agrees_with_stepping_over_years(void **state)
{
    (void)state;
    static const char *const expressions[] = {
        "0 30 2 * * ?",   "0 15,45 1-3 L-2W * ?", "0 0 0 ? * 6#5",         "0 0/30 * 29 2 ?",
        "0 0 12 ? * MON", "0 0 */6 1W,LW * ?",    "0 30 1 * 3,11 ? 2024/3"};
    const int64_t start_s = 1600000000, end_s = 1900000000;
    for (size_t i = 0; i < sizeof expressions / sizeof *expressions; i++) {
        struct cron cron = parsed(expressions[i], "America/New_York");
        int64_t count = 0, at_s = start_s;
        while ((at_s = cron_next(&cron, at_s)) <= end_s)
            assert_int_equal(cron_count(&cron, start_s, at_s), ++count);
        assert_int_equal(cron_count(&cron, start_s, end_s), count);
        assert_true(count > 0);
    }
}

/* Nanoseconds a question takes, the best of a few tries, as the machine may be busy. */
static int64_t cost_ns(const struct cron *cron, int64_t after_s, int questions)
{
    int64_t best_us = INT64_MAX;
    for (int round = 0; round < 5; round++) {
        int64_t start_us = clock_monotonic_us();
        for (int i = 0; i < questions; i++)
            cron_next(cron, after_s + i);
        int64_t took_us = clock_monotonic_us() - start_us;
        best_us = took_us < best_us ? took_us : best_us;
    }
    return best_us * 1000 / questions;
}

/* An ordinary answer takes some 70 ns, so this bound is under 0.1 ms; in these terms it also holds
 * under a debugger or on a slow machine. */
static void no_answer_costs_more_than_a_thousand_ordinary_ones(void **state)
{
    (void)state;
    static const char *const hostile[] = {
        "0 0 0 30 2 ?",          "0 0 0 29 2 ? 2100",     "0 0 0 29 2 ? 2199",
        "0 0 0 31 2,4,6,9,11 ?", "59 59 23 31 12 ? 2199", "0 0 0 ? 2 6#5 1971",
        "0 0 0 ? 2 6#5",         "0 0 0 L-30 4,6,9,11 ?", "0 0 2 ? 3 1#2",
        "0 0 0 31W 4 ?",         "0 0 0 L-29W 2 ? 2100",  "59 59 * 31 12 ? 2199"};
    struct cron ordinary = parsed("0 30 2 * * ?", "America/New_York");
    int64_t bound_ns = 1000 * cost_ns(&ordinary, 1700000000, 10000) + 1000;
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        struct cron cron = parsed(hostile[i], "America/New_York");
        int64_t took_ns = cost_ns(&cron, 0, 20);
        if (took_ns > bound_ns)
            fail_msg("\"%s\": %lld ns, more than %lld", hostile[i], (long long)took_ns,
                     (long long)bound_ns);
    }
}

static void extreme_instants_do_no_harm(void **state)
{
    (void)state;
    struct cron cron = parsed("0 0 0 1 1 ?", "Asia/Tokyo");
    assert_int_equal(cron_next(&cron, INT64_MIN), -32400);
    assert_int_equal(cron_next(&cron, INT64_MAX), CRON_NONE);
    assert_int_equal(cron_next(&cron, CRON_NONE - 1), CRON_NONE);
    assert_int_equal(cron_count(&cron, INT64_MIN, INT64_MAX), 230);
    assert_int_equal(cron_count(&cron, INT64_MAX, INT64_MIN), 0);
    assert_true(sizeof cron < 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_expressions_agree_with_stepping_second_by_second),
        cmocka_unit_test(counting_agrees_with_stepping_over_years),
        cmocka_unit_test(no_answer_costs_more_than_a_thousand_ordinary_ones),
        cmocka_unit_test(extreme_instants_do_no_harm),
    };
    return cmocka_run_group_tests(tests, open_zones, close_zones);
}
