/* What /metrics answers: see scrape.h. What is told: scrape_table.c, metrics_table.c. */
#include "coord/http/scrape.h"

#include "coord/http/process_usage.h"
#include "coord/http/scrape_table.h"
#include "store/store.h"

#include "base/clock.h"
#include "base/list.h"
#include "base/memory.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

struct asker {
    struct list link;
    void (*ready)(void *arg);
    void *arg;
};

struct scrape {
    struct store *serve;
    const struct metric_set *node;
    struct metric_set *cluster, *process;
    struct list askers;
    struct event *limit;
    int64_t next_boot_us; /* nothing is read before */
    int64_t rest_us;      /* after the newest answer */
    bool known;           /* there is a reading */
    bool reading;
};

static void answer_all(struct scrape *scrape)
{
    struct list askers;
    list_init(&askers);
    while (!list_empty(&scrape->askers)) { /* who asks again from within is of the next round */
        struct list *first = scrape->askers.next;
        list_remove(first);
        list_append(&askers, first);
    }
    evtimer_del(scrape->limit);
    LIST_EACH (&askers, struct asker, link, asker) {
        list_remove(&asker->link);
        asker->ready(asker->arg);
        free(asker);
    }
}

static void on_limit(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    answer_all(arg);
}

struct scrape *scrape_new(struct event_base *base, struct store *serve,
                          const struct metric_set *node)
{
    struct scrape *scrape = mem_alloc(sizeof *scrape);
    scrape->serve = serve;
    scrape->node = node;
    scrape->rest_us = SCRAPE_FRESH_US;
    scrape->cluster = metric_set_new(cluster_table, CLUSTER_METRIC_COUNT);
    scrape->process = metric_set_new(process_table, PROCESS_METRIC_COUNT);
    list_init(&scrape->askers);
    scrape->limit = evtimer_new(base, on_limit, scrape);
    return scrape;
}

void scrape_free(struct scrape *scrape)
{
    if (scrape == NULL)
        return;
    answer_all(scrape);
    event_free(scrape->limit);
    metric_set_free(scrape->cluster);
    metric_set_free(scrape->process);
    free(scrape);
}

/* ---- the cluster ---- */

static int family_of(const char *name)
{
    for (int i = 0; i < CLUSTER_NUMBERS; i++)
        if (strcmp(cluster_numbers[i], name) == 0)
            return i;
    return -1; /* of a newer schema */
}

static void take_reading(struct scrape *scrape, const PGresult *result)
{
    int64_t now = clock_boot_us();
    for (size_t i = 0; i < CLUSTER_NUMBERS; i++)
        metric_zero(scrape->cluster, i); /* what is not there any more stays as a zero */
    for (int row = 0; row < PQntuples(result); row++) {
        int family = family_of(row_text(result, row, 0));
        if (family < 0 || row_null(result, row, 3))
            continue;
        metric_put(metric_child(scrape->cluster, (size_t)family, row_text(result, row, 1),
                                row_text(result, row, 2)),
                   row_int64(result, row, 3));
        metric_put(metric_child(scrape->cluster, CLUSTER_READING_AGE, NULL, NULL),
                   now - row_int64(result, row, 4));
        metric_put(metric_child(scrape->cluster, CLUSTER_READING_TOOK, NULL, NULL),
                   row_int64(result, row, 5));
        scrape->known = true;
    }
}

static void on_read(void *arg, const struct store_answer *answer)
{
    struct scrape *scrape = arg;
    scrape->reading = false;
    if (answer->error != NULL) {
        metric_add(metric_child(scrape->cluster, CLUSTER_READING_FAILURES, NULL, NULL), 1);
        scrape->rest_us =
            scrape->rest_us < SCRAPE_REST_MAX_US / 2 ? scrape->rest_us * 2 : SCRAPE_REST_MAX_US;
    } else {
        take_reading(scrape, answer->result);
        scrape->rest_us = SCRAPE_FRESH_US;
    }
    scrape->next_boot_us = clock_boot_us() + scrape->rest_us;
    answer_all(scrape);
}

static void read_cluster(struct scrape *scrape)
{
    struct store_params params = {0};
    scrape->reading = true;
    params_int64(&params, SCRAPE_FRESH_US / US_PER_MS);
    store_call(scrape->serve, SQL_FLEET_NUMBERS, &params, 0, on_read, scrape);
    store_params_free(&params);
}

static bool is_fresh(const struct scrape *scrape)
{
    return clock_boot_us() < scrape->next_boot_us;
}

void scrape_ask(struct scrape *scrape, void (*ready)(void *arg), void *arg)
{
    if (scrape->serve == NULL || is_fresh(scrape) ||
        (!scrape->reading && !store_ready(scrape->serve))) {
        ready(arg);
        return;
    }
    struct asker *asker = mem_alloc(sizeof *asker);
    *asker = (struct asker){.ready = ready, .arg = arg};
    list_append(&scrape->askers, &asker->link);
    if (!evtimer_pending(scrape->limit, NULL)) {
        struct timeval limit = clock_timeval(SCRAPE_WAIT_US);
        evtimer_add(scrape->limit, &limit);
    }
    if (!scrape->reading)
        read_cluster(scrape);
}

/* ---- this process ---- */

static void put(struct scrape *scrape, enum process_metric metric, int64_t value)
{
    metric_put(metric_child(scrape->process, metric, NULL, NULL), value);
}

static void read_process(struct scrape *scrape)
{
    struct process_usage usage;
    process_usage(&usage);
    put(scrape, PROCESS_CPU, usage.cpu_us);
    put(scrape, PROCESS_RESIDENT, usage.resident_bytes);
    put(scrape, PROCESS_VIRTUAL, usage.virtual_bytes);
    put(scrape, PROCESS_FDS, usage.descriptors);
    put(scrape, PROCESS_FDS_MAX, usage.descriptors_max);
    put(scrape, PROCESS_START, usage.started_cs);
    put(scrape, ROTA_PROCESS_CPU, usage.cpu_us);
    put(scrape, ROTA_PROCESS_RESIDENT, usage.resident_bytes);
    put(scrape, ROTA_PROCESS_FDS, usage.descriptors);
}

void scrape_print(struct scrape *scrape, enum metric_format format, struct buffer *out)
{
    int64_t now = clock_boot_us();
    read_process(scrape);
    if (scrape->node != NULL)
        metric_print(scrape->node, format, now, out);
    if (scrape->known)
        metric_print(scrape->cluster, format, now, out);
    metric_print(scrape->process, format, now, out);
    metric_end(format, out);
}
