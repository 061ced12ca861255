/* Triggers whose occurrences are known to the last one: see bench_triggers.h. */
#include "cmd/bench_triggers.h"

#include "base/clock.h"
#include "base/instant.h"
#include "base/memory.h"
#include "cmd/bench_figures.h"

#include <stdlib.h>

#define CHUNK   50000               /* triggers of one job: texts of manifests have a bound */
#define LEAD_US (2 * US_PER_SECOND) /* from the apply to the first occurrence, at least */
#define EACH_US 150                 /* that an apply may take for each trigger */
#define TRIES   3                   /* with twice the time each */
#define LOOK_US (250 * US_PER_MS)
#define LATE_US (60 * US_PER_SECOND) /* after the last occurrence the last run must be over */

/* ---- apply ---- */

static void put_trigger(struct buffer *text, const struct bench_triggers *triggers, size_t number)
{
    char start[TIME_TEXT_SIZE];
    int64_t start_us = triggers->start_us + (int64_t)number * triggers->apart_us;
    buffer_format(text,
                  "%s{\"name\":\"%s-%zu\",\"every\":\"%llds\",\"repeat\":%lld,\"start_at\":\"%s\"",
                  number % CHUNK > 0 ? "," : "", triggers->job, number + 1,
                  (long long)(triggers->period_us / US_PER_SECOND),
                  (long long)(triggers->occurrences - 1), instant_format(start_us, start));
    if (triggers->tolerance != NULL)
        buffer_format(text, ",\"misfire_tolerance\":\"%s\"", triggers->tolerance);
    buffer_char(text, '}');
}

static char *manifest_of(const struct bench_triggers *triggers, size_t chunk)
{
    struct buffer text = {0};
    size_t first = chunk * CHUNK, end = first + CHUNK;
    buffer_format(&text,
                  "{\"source\":\"bench\",\"jobs\":[{\"name\":\"%s-%zu\",\"handler\":\"%s\","
                  "\"triggers\":[",
                  triggers->job, chunk + 1, triggers->handler);
    for (size_t i = first; i < end && i < triggers->count; i++)
        put_trigger(&text, triggers, i);
    buffer_string(&text, "]}]}");
    buffer_char(&text, '\0');
    return text.data;
}

static int apply(struct bench *bench, const struct bench_triggers *triggers,
                 struct rota_error *error)
{
    size_t count = (triggers->count + CHUNK - 1) / CHUNK;
    char **texts = mem_array(count, sizeof *texts);
    for (size_t i = 0; i < count; i++)
        texts[i] = manifest_of(triggers, i);
    int failed = bench_apply(bench, texts, count, error);
    free(texts);
    return failed;
}

int bench_triggers_apply(struct bench *bench, struct bench_triggers *triggers,
                         struct rota_error *error)
{
    int64_t lead_us = LEAD_US + (int64_t)triggers->count * EACH_US;
    struct bench_counters now;
    bench_doing(bench, "applying %zu triggers", triggers->count);
    for (int i = 0; i < TRIES; i++, lead_us *= 2) {
        if (bench_goes_on(bench, error) != 0 || bench_count(bench, &now, error) != 0)
            return -1;
        triggers->start_us = (now.at_us + lead_us) / US_PER_MS * US_PER_MS;
        if (apply(bench, triggers, error) != 0 || bench_count(bench, &now, error) != 0)
            return -1;
        if (now.at_us + LEAD_US / 4 < triggers->start_us)
            return 0;
    }
    return error_set(error, ERROR_REFUSED, "%zu triggers cannot be applied within %lld s",
                     triggers->count, (long long)(lead_us / 2 / US_PER_SECOND));
}

/* ---- wait ---- */

int bench_triggers_wait(struct bench *bench, const struct bench_triggers *triggers,
                        struct rota_error *error)
{
    struct bench_counters now;
    int64_t last_us = triggers->start_us + (triggers->occurrences - 1) * triggers->period_us +
                      (int64_t)(triggers->count - 1) * triggers->apart_us;
    if (bench_count(bench, &now, error) != 0 || bench_pause(bench, last_us - now.at_us, error) != 0)
        return -1;
    int64_t until_us = clock_monotonic_us() + LATE_US;
    bool firing = true;
    while (firing) {
        PGresult *result;
        if (clock_monotonic_us() > until_us)
            return error_set(error, ERROR_REFUSED,
                             "%lld s after the last occurrence not every trigger has fired it: "
                             "take fewer --triggers or more --nodes",
                             (long long)(LATE_US / US_PER_SECOND));
        if (bench_ask(bench, SQL_BENCH_FIRING, NULL, &result, error) != 0)
            return -1;
        firing = row_bool(result, 0, 0);
        PQclear(result);
        if (firing && bench_pause(bench, LOOK_US, error) != 0)
            return -1;
    }
    return 0;
}

/* ---- check ---- */

/* Columns of bench_tick_check.sql. */
enum { NOT_ALL, TWICE, GAPS, MISSED, NO_SUCCESS, LEFT, ROWS };

int bench_triggers_check(struct bench *bench, const struct bench_triggers *triggers,
                         struct rota_error *error)
{
    struct store_params params = {0};
    PGresult *result;
    int64_t wrong = 0, numbers[ROWS + 1];
    bench_doing(bench, "checking the firings of %zu triggers", triggers->count);
    params_text(&params, triggers->job);
    params_int64(&params, triggers->occurrences);
    params_int64(&params, triggers->period_us);
    if (bench_ask(bench, SQL_BENCH_TICK_CHECK, &params, &result, error) != 0)
        return -1;
    for (int column = NOT_ALL; column <= ROWS; column++)
        numbers[column] = row_int64(result, 0, column);
    PQclear(result);
    for (int column = NOT_ALL; column <= LEFT; column++)
        wrong += numbers[column];
    if (wrong == 0 && numbers[ROWS] == (int64_t)triggers->count * triggers->occurrences)
        return 0;
    return error_set(
        error, ERROR_REFUSED,
        "no figure: of %zu triggers with %lld occurrences each, %lld have not fired that often, "
        "%lld fired one twice, %lld have gaps; %lld occurrences were passed over, %lld runs are no "
        "success, %lld are not over, %lld are in the history",
        triggers->count, (long long)triggers->occurrences, (long long)numbers[NOT_ALL],
        (long long)numbers[TWICE], (long long)numbers[GAPS], (long long)numbers[MISSED],
        (long long)numbers[NO_SUCCESS], (long long)numbers[LEFT], (long long)numbers[ROWS]);
}
