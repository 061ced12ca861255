/*
 * `rota bench latency`: from the answer to an enqueue, and from the time of a trigger, to the call
 * of the handler, one run at a time on an idle fleet; with --load also while the fleet does half of
 * what it can (bench_load.c).
 */
#include "cmd/bench_drain.h"

#include "base/clock.h"
#include "base/memory.h"
#include "cmd/bench_load.h"
#include "cmd/bench_starts.h"
#include "cmd/bench_triggers.h"

#include <stdio.h>
#include <stdlib.h>

#define NODES       2
#define SAMPLES     500
#define WARM_UP     10               /* runs before */
#define APART_US    (20 * US_PER_MS) /* between two runs: the fleet is at rest again */
#define LIMIT_US    (10 * US_PER_SECOND)
#define LOOK_US     (1 * US_PER_MS)
#define OCCURRENCES 10                      /* of each trigger */
#define MORE        (OCCURRENCES + WARM_UP) /* delays than samples, at most */
#define PROBES      20                      /* of the database's clock */
#define CAPACITY_EACH                                                                              \
    40 /* runs for each sample that tell what the fleet can do: 20000 by default */
#define OFFSET_US (1 * US_PER_MS) /* a smaller one is noise: it is the same machine */

static const char manifest[] = "{\"source\":\"bench-latency\",\"jobs\":[{\"name\":\"latency\","
                               "\"handler\":\"" STARTS_HANDLER "\",\"durable\":true}]}";

struct delays {
    double *answered_ms, *sent_ms, *scheduled_ms; /* to the handler, since … */
    size_t enqueued, scheduled;
};

struct latency {
    struct bench *bench;
    struct starts *starts;
    struct bench_runs runs; /* all that were queued or fired */
    size_t samples;
    int64_t offset_us; /* of the database's clock to ours */
    struct delays idle, loaded;
    double load_per_s, load_wanted_per_s;
};

/* ---- the database's clock ---- */

/* From the quickest of some questions; a database on this machine has our clock. */
static int find_offset(struct latency *latency, struct rota_error *error)
{
    int64_t best_us = INT64_MAX;
    for (int i = 0; i < PROBES; i++) {
        PGresult *result;
        int64_t sent_us = clock_wall_us();
        if (bench_ask(latency->bench, SQL_DOCTOR_CLOCK, NULL, &result, error) != 0)
            return -1;
        int64_t took_us = clock_wall_us() - sent_us;
        if (took_us < best_us) {
            best_us = took_us;
            latency->offset_us = row_time(result, 0, 0) - sent_us - took_us / 2;
        }
        PQclear(result);
    }
    if (llabs(latency->offset_us) < OFFSET_US)
        latency->offset_us = 0;
    return 0;
}

/* ---- enqueue to start ---- */

struct enqueued {
    bool answered;
    int64_t at_us, id;
    struct rota_error error;
};

static void on_enqueued(void *arg, const struct store_answer *answer)
{
    struct enqueued *enqueued = arg;
    enqueued->at_us = clock_wall_us();
    enqueued->answered = true;
    if (answer->error != NULL)
        enqueued->error = *answer->error;
    else
        enqueued->id = row_int64(answer->result, 0, 0);
}

static int wait_start(struct latency *latency, int64_t id, const struct start **ret_start,
                      struct rota_error *error)
{
    int64_t until_us = clock_monotonic_us() + LIMIT_US;
    while ((*ret_start = starts_find(latency->starts, id)) == NULL) {
        if (clock_monotonic_us() > until_us)
            return error_set(error, ERROR_REFUSED, "run %lld has not begun within %lld s",
                             (long long)id, (long long)(LIMIT_US / US_PER_SECOND));
        if (bench_goes_on(latency->bench, error) != 0)
            return -1;
        client_pause(&latency->bench->client, LOOK_US);
    }
    return 0;
}

static int enqueue_one(struct latency *latency, struct delays *delays, struct rota_error *error)
{
    struct bench *bench = latency->bench;
    struct enqueued enqueued = {0};
    struct store_params params = {0};
    const struct start *start;
    params_text(&params, "latency");
    int64_t sent_us = clock_wall_us();
    store_call(bench->client.store, SQL_BENCH_ENQUEUE, &params, 0, on_enqueued, &enqueued);
    store_params_free(&params);
    while (!enqueued.answered)
        client_turn(&bench->client);
    if (enqueued.error.code != ERROR_NONE) {
        *error = enqueued.error;
        return -1;
    }
    bench_runs_add(&latency->runs, &enqueued.id, 1);
    if (wait_start(latency, enqueued.id, &start, error) != 0)
        return -1;
    delays->answered_ms[delays->enqueued] = (double)(start->at_us - enqueued.at_us) / US_PER_MS;
    delays->sent_ms[delays->enqueued++] = (double)(start->at_us - sent_us) / US_PER_MS;
    return bench_pause(bench, APART_US, error);
}

/* ---- schedule to start ---- */

static int fire_all(struct latency *latency, const char *job, struct bench_triggers *triggers,
                    struct rota_error *error)
{
    *triggers = (struct bench_triggers){.job = job,
                                        .handler = STARTS_HANDLER,
                                        .count = (latency->samples + OCCURRENCES - 1) / OCCURRENCES,
                                        .occurrences = OCCURRENCES,
                                        .period_us = US_PER_SECOND,
                                        .tolerance = "1h"}; /* late ones are to be seen */
    triggers->apart_us = triggers->period_us / (int64_t)triggers->count;
    if (bench_triggers_apply(latency->bench, triggers, error) != 0)
        return -1;
    bench_doing(latency->bench, "firing %zu triggers, one at a time", triggers->count);
    return bench_triggers_wait(latency->bench, triggers, error);
}

/* What the workers have said of triggers' runs since the first `before`, once all of them are over.
 */
static int take_fired(struct latency *latency, size_t before, struct delays *delays,
                      struct rota_error *error)
{
    for (size_t i = before; i < starts_count(latency->starts); i++) {
        const struct start *start = starts_at(latency->starts, i);
        if (start->scheduled_us == 0 || delays->scheduled == latency->samples + MORE)
            continue;
        delays->scheduled_ms[delays->scheduled++] =
            (double)(start->at_us + latency->offset_us - start->scheduled_us) / US_PER_MS;
        bench_runs_add(&latency->runs, &start->id, 1);
    }
    return delays->scheduled > 0 ? 0 : error_set(error, ERROR_REFUSED, "no trigger has fired");
}

static int enqueue_all(struct latency *latency, struct delays *delays, const char *how,
                       struct rota_error *error)
{
    bench_doing(latency->bench, "queueing %zu runs, one at a time, %s", latency->samples, how);
    for (size_t i = 0; i < latency->samples + WARM_UP; i++) {
        if (i == WARM_UP)
            delays->enqueued = 0;
        if (enqueue_one(latency, delays, error) != 0)
            return -1;
    }
    return 0;
}

/* ---- idle, and at half load ---- */

static int check(struct latency *latency, const struct bench_triggers *triggers, size_t before,
                 struct delays *delays, struct rota_error *error)
{
    struct bench_span span = {0};
    if (bench_wait_empty(latency->bench, latency->runs.count, error) != 0 ||
        take_fired(latency, before, delays, error) != 0 ||
        bench_triggers_check(latency->bench, triggers, error) != 0)
        return -1;
    int failed = bench_check(latency->bench, &latency->runs, &span, error);
    free(span.by_node);
    return failed;
}

static int measure_idle(struct latency *latency, struct rota_error *error)
{
    struct bench_triggers triggers;
    if (enqueue_all(latency, &latency->idle, "on an idle fleet", error) != 0 ||
        fire_all(latency, "idle", &triggers, error) != 0)
        return -1;
    return check(latency, &triggers, 0, &latency->idle, error);
}

/* What the fleet can do beside a worker that is told of each run: half of it is half load. */
static int find_capacity(struct latency *latency, double *ret_rate, struct rota_error *error)
{
    struct bench *bench = latency->bench;
    size_t runs = latency->samples * CAPACITY_EACH;
    if (bench_fleet_tell(bench, "standby", error) != 0 ||
        bench_drain_rate(bench, runs, ret_rate, &latency->runs, error) != 0 || /* a warm-up */
        bench_drain_rate(bench, runs, ret_rate, &latency->runs, error) != 0)
        return -1;
    return bench_fleet_tell(bench, "run", error);
}

static int measure_loaded(struct latency *latency, struct rota_error *error)
{
    struct bench_triggers triggers;
    size_t before = starts_count(latency->starts);
    double rate;
    if (find_capacity(latency, &rate, error) != 0)
        return -1;
    latency->load_wanted_per_s = rate / 2;
    struct load *load = load_start(latency->bench, latency->load_wanted_per_s, error);
    if (load == NULL)
        return -1;
    int failed = enqueue_all(latency, &latency->loaded, "at half load", error);
    if (failed == 0)
        failed = fire_all(latency, "loaded", &triggers, error);
    struct rota_error later = {0};
    if (load_stop(load, &latency->load_per_s, &latency->runs, &later) != 0 && failed == 0) {
        *error = later;
        failed = -1;
    }
    return failed == 0 ? check(latency, &triggers, before, &latency->loaded, error) : -1;
}

static int measure(struct latency *latency, struct rota_error *error)
{
    char *texts[] = {mem_string(manifest), mem_string(bench_drain_manifest)};
    if (bench_apply(latency->bench, texts, 2, error) != 0 || find_offset(latency, error) != 0 ||
        measure_idle(latency, error) != 0)
        return -1;
    return latency->bench->options->load ? measure_loaded(latency, error) : 0;
}

/* ---- what is said ---- */

static double p(double *values, size_t count, double fraction)
{
    return bench_quantile(values, count, fraction);
}

static void delays_json(struct buffer *out, const struct delays *delays)
{
    size_t n = delays->enqueued;
    bench_delay_json(out, "enqueue_to_start_ms", p(delays->answered_ms, n, 0.5),
                     p(delays->answered_ms, n, 0.99));
    bench_delay_json(out, "send_to_start_ms", p(delays->sent_ms, n, 0.5),
                     p(delays->sent_ms, n, 0.99));
    bench_delay_json(out, "schedule_to_start_ms", p(delays->scheduled_ms, delays->scheduled, 0.5),
                     p(delays->scheduled_ms, delays->scheduled, 0.99));
}

static void print_json(const struct latency *latency)
{
    struct buffer out = {0};
    buffer_format(&out, "{\"bench\":\"latency\",\"nodes\":%d,\"runs\":%zu,\"exact\":true",
                  bench_fleet_count(latency->bench->fleet), latency->samples);
    delays_json(&out, &latency->idle);
    if (latency->bench->options->load) {
        buffer_format(&out, ",\"loaded\":{\"load_per_s\":%.0f,\"load_wanted_per_s\":%.0f",
                      latency->load_per_s, latency->load_wanted_per_s);
        delays_json(&out, &latency->loaded);
        buffer_char(&out, '}');
    }
    buffer_char(&out, '}');
    puts(buffer_text(&out));
    buffer_free(&out);
}

static void delays_text(const struct delays *delays)
{
    size_t n = delays->enqueued;
    bench_delay_line("enqueued to handler", p(delays->answered_ms, n, 0.5),
                     p(delays->answered_ms, n, 0.99));
    bench_delay_line("enqueue sent to handler", p(delays->sent_ms, n, 0.5),
                     p(delays->sent_ms, n, 0.99));
    bench_delay_line("scheduled to handler", p(delays->scheduled_ms, delays->scheduled, 0.5),
                     p(delays->scheduled_ms, delays->scheduled, 0.99));
}

static void print_text(const struct latency *latency)
{
    printf("latency: %zu samples on %d idle nodes, each run done exactly once\n", latency->samples,
           bench_fleet_count(latency->bench->fleet));
    delays_text(&latency->idle);
    if (latency->bench->options->load) {
        printf("at half load, %.0f runs a second beside them (%.0f were wanted)\n",
               latency->load_per_s, latency->load_wanted_per_s);
        delays_text(&latency->loaded);
    }
    puts("measured to the call of the handler in a worker process, by this machine's clock");
}

/* ---- the whole ---- */

static void make_delays(struct delays *delays, size_t samples)
{
    delays->answered_ms = mem_array(3 * samples, sizeof *delays->answered_ms);
    delays->sent_ms = delays->answered_ms + samples;
    delays->scheduled_ms = delays->sent_ms + samples;
}

int bench_latency(struct bench *bench, struct rota_error *error)
{
    const struct bench_options *options = bench->options;
    struct latency latency = {.bench = bench,
                              .samples = options->runs > 0 ? (size_t)options->runs : SAMPLES};
    struct bench_fleet_options fleet = {.count = options->nodes > 0 ? (int)options->nodes : NODES,
                                        .handler = STARTS_HANDLER};
    latency.starts = starts_new(bench->client.base, error);
    if (latency.starts == NULL)
        return -1;
    char *pools = starts_pools(latency.starts, bench->self);
    fleet.pools = pools;
    make_delays(&latency.idle, latency.samples + MORE);
    make_delays(&latency.loaded, latency.samples + MORE);
    int failed = bench_fleet_start(bench, &fleet, error);
    if (failed == 0)
        failed = measure(&latency, error);
    bench_done(bench);
    if (failed == 0 && options->json)
        print_json(&latency);
    else if (failed == 0)
        print_text(&latency);
    bench_fleet_stop(bench); /* its workers have the pipe */
    starts_free(latency.starts);
    free(latency.idle.answered_ms);
    free(latency.loaded.answered_ms);
    free(latency.runs.ids);
    free(pools);
    return failed;
}
