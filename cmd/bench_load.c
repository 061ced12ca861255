/* A steady load beside a measurement: see bench_load.h. */
#include "cmd/bench_load.h"

#include "base/clock.h"
#include "base/memory.h"

#include <event2/event.h>
#include <stdlib.h>

#define TICK_US   (10 * US_PER_MS)
#define BATCH_MAX 1000 /* runs of one statement */
#define OUT_MAX   4    /* statements on their way: what comes late is not piled up */

struct load {
    struct bench *bench;
    struct client client;
    struct event *tick;
    double runs_per_s;
    int64_t start_us; /* monotonic */
    int64_t asked;    /* runs */
    size_t out;
    struct bench_runs runs;
    struct rota_error error;
};

static void on_queued(void *arg, const struct store_answer *answer)
{
    struct load *load = arg;
    size_t count;
    load->out--;
    if (answer->error != NULL) {
        load->error = *answer->error;
        return;
    }
    int64_t *ids = row_int64s(answer->result, 0, 0, &count);
    bench_runs_add(&load->runs, ids, count);
    free(ids);
}

static void on_tick(evutil_socket_t fd, short events, void *arg)
{
    struct load *load = arg;
    double elapsed_s = (double)(clock_monotonic_us() - load->start_us) / US_PER_SECOND;
    int64_t due = (int64_t)(elapsed_s * load->runs_per_s) - load->asked;
    (void)fd;
    (void)events;
    if (due <= 0 || load->out >= OUT_MAX)
        return;
    struct store_params params = {0};
    int32_t count = due < BATCH_MAX ? (int32_t)due : BATCH_MAX;
    params_text(&params, BENCH_JOB);
    params_int32(&params, count);
    load->asked += count;
    load->out++;
    store_call(load->client.store, SQL_BENCH_ENQUEUE_MANY, &params, 0, on_queued, load);
    store_params_free(&params);
}

static void load_free(struct load *load)
{
    if (load->tick != NULL)
        event_free(load->tick);
    store_free(load->client.store);
    free(load->runs.ids);
    free(load);
}

struct load *load_start(struct bench *bench, double runs_per_s, struct rota_error *error)
{
    static const struct timeval tick = {0, TICK_US};
    struct load *load = mem_alloc(sizeof *load);
    load->bench = bench;
    load->runs_per_s = runs_per_s;
    if (bench_connect(bench, bench->schema, &load->client, error) != 0) {
        load_free(load);
        return NULL;
    }
    load->tick = event_new(bench->client.base, -1, EV_PERSIST, on_tick, load);
    load->start_us = clock_monotonic_us();
    event_add(load->tick, &tick);
    return load;
}

int load_stop(struct load *load, double *ret_per_s, struct bench_runs *runs,
              struct rota_error *error)
{
    double elapsed_s = (double)(clock_monotonic_us() - load->start_us) / US_PER_SECOND;
    int failed = 0;
    event_del(load->tick);
    while (load->out > 0) /* answered or lost: each comes */
        client_turn(&load->client);
    *ret_per_s = (double)load->runs.count / elapsed_s;
    bench_runs_add(runs, load->runs.ids, load->runs.count);
    if (load->error.code != ERROR_NONE) {
        *error = load->error;
        failed = -1;
    }
    load_free(load);
    return failed;
}
