/*
 * The queue at each heartbeat: what it tells goes to the parts it is about; and the leader looks
 * every few seconds after what is there, so that a lost event costs seconds, not for ever. Where
 * nothing is there, nothing is asked.
 */
#include "coord/node.h"

#include "base/clock.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

#define SWEEP_US    (5 * US_PER_SECOND)
#define MANY_BEHIND 100 /* of a slice of 1000: the next one does not wait */

struct sweep {
    int64_t next_boot_us;
    int64_t extras_since; /* where the next slice of extras begins, */
    int64_t rates_since;  /* and of rates */
};

static void on_error(struct node *node, const struct rota_error *error)
{
    log_debug(&node->log, "cannot look after the queue", LOG_TEXT("error", error->message));
}

static void on_rates(void *arg, const struct store_answer *answer)
{
    struct node *node = arg;
    if (answer->error != NULL) {
        on_error(node, answer->error);
        return;
    }
    int64_t missing = row_int64(answer->result, 0, 0);
    node->sweep->rates_since = row_int64(answer->result, 0, 1);
    if (missing == 0)
        return;
    log_info(&node->log, "runs that wait for their rate are looked at again",
             LOG_INT("buckets", missing));
    rate_next(node, node_database_now(node));
}

static void sweep_rates(struct node *node)
{
    struct store_params params = {0};
    params_int64(&params, node->sweep->rates_since);
    store_call(node->session, SQL_RATE_SWEEP, &params, 0, on_rates, node);
    store_params_free(&params);
}

static void sweep_extras(struct node *node);

static void on_extras(void *arg, const struct store_answer *answer)
{
    struct node *node = arg;
    if (answer->error != NULL) {
        on_error(node, answer->error);
        return;
    }
    if (row_int64(answer->result, 0, 0) > 0)
        log_info(&node->log, "runs ended that were not started in time",
                 LOG_INT("runs", row_int64(answer->result, 0, 0)));
    node->sweep->extras_since = row_int64(answer->result, 0, 2);
    if (row_int64(answer->result, 0, 1) >= MANY_BEHIND && node->sweep->extras_since != 0)
        sweep_extras(node);
}

static void sweep_extras(struct node *node)
{
    struct store_params params = {0};
    if (!node->member.leader || !store_ready(node->session))
        return;
    params_int64(&params, node->sweep->extras_since);
    store_call(node->session, SQL_EXTRA_SWEEP, &params, 0, on_extras, node);
    store_params_free(&params);
}

static void on_cancels(void *arg, const struct store_answer *answer)
{
    struct node *node = arg;
    if (answer->error != NULL)
        on_error(node, answer->error);
    else if (row_int64(answer->result, 0, 0) > 0)
        log_info(&node->log, "runs that came back were cancelled where they wait",
                 LOG_INT("runs", row_int64(answer->result, 0, 0)));
}

static void sweep(struct node *node, bool rates, bool extras, bool cancels)
{
    int64_t now = clock_boot_us();
    if (!node->member.leader || now < node->sweep->next_boot_us || !store_ready(node->session))
        return;
    node->sweep->next_boot_us = now + SWEEP_US;
    if (rates)
        sweep_rates(node);
    if (cancels)
        store_call(node->session, SQL_CANCEL_SWEEP, NULL, 0, on_cancels, node);
    if (extras)
        sweep_extras(node);
}

/* Columns as the end of node_heartbeat.sql lists them. */
void queue_heard(struct node *node, const PGresult *result, int column)
{
    size_t count = 0, ignored;
    rate_next(node, row_time(result, 0, column));
    after_heard(node, row_bool(result, 0, column + 2));
    int64_t *ids = row_int64s(result, 0, column + 4, &count);
    char **reasons = row_texts(result, 0, column + 5, &ignored);
    cancel_heard(node, ids, reasons, count);
    busy_heard(node, row_bool(result, 0, column + 6));
    sweep(node, row_bool(result, 0, column + 1), row_bool(result, 0, column + 3), count > 0);
}

bool queue_notified(struct node *node, const char *payload)
{
    if (strcmp(payload, "cancel") == 0)
        cancel_told(node);
    else if (strcmp(payload, "after") == 0)
        after_told(node);
    else if (strcmp(payload, "rate") == 0)
        rate_next(node, node_database_now(node));
    else if (strcmp(payload, "busy") == 0)
        busy_heard(node, true), wake_look(node);
    else
        return false;
    return true;
}

void queue_new(struct node *node)
{
    node->sweep = mem_alloc(sizeof *node->sweep);
    node->sweep->rates_since = INT64_MIN;
    rate_new(node);
    after_new(node);
    cancel_new(node);
    busy_new(node);
}

void queue_free(struct node *node)
{
    rate_free(node);
    after_free(node);
    cancel_free(node);
    busy_free(node);
    free(node->sweep);
    node->sweep = NULL;
}
