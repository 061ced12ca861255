/*
 * Complete: finished runs are collected while the previous batch is being written, then written by
 * one statement a batch: into the history, or back to pending. What cannot be written now is kept,
 * bounded, until the database is back; writing twice does no harm, as the receipt's bit is the
 * once-only guard.
 */
#include "coord/details.h"
#include "coord/node.h"

#include "base/clock.h"
#include "base/memory.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_MAX NODE_CLAIM_MAX

/* A run that is over here. */
struct finished {
    struct list link;
    struct run *run;
    const char *status; /* constants; NULL: goes back to pending */
    const char *outcome;
    char *json;          /* task_details, or the attempt's entry; NULL: nothing */
    int64_t duration_us; /* -1: it never ran */
    int64_t delay_us;
    bool more_attempt, more_crash, recovering;
};

/* One of the two ways out, with the batch that is being written. */
struct outlet {
    struct node *node;
    enum statement_id statement;
    void (*parameters)(struct node *node, struct finished **batch, size_t count,
                       struct store_params *params);
    struct list waiting;
    size_t waiting_count;
    struct finished *batch[BATCH_MAX];
    size_t batch_count;
    size_t batch_limit; /* 1 after a batch was refused: finds the one that is at fault */
    bool out;           /* the batch is on its way */
    bool again;         /* it was on its way before: it may be written already */
};

struct complete {
    struct outlet history, back;
    struct event *flush; /* at the end of the turn */
    struct event *retry;
};

static void flush(struct outlet *outlet);

static void on_flush(evutil_socket_t fd, short what, void *arg)
{
    struct node *node = arg;
    (void)fd;
    (void)what;
    flush(&node->complete->history);
    flush(&node->complete->back);
}

static void flush_soon(struct node *node)
{
    struct timeval now = {0, 0};
    if (!evtimer_pending(node->complete->flush, NULL))
        evtimer_add(node->complete->flush, &now);
}

static void flush_later(struct node *node)
{
    struct timeval pause = clock_timeval(500 * US_PER_MS);
    evtimer_add(node->complete->retry, &pause);
}

/* ---- parameters ---- */

#define BITS_BYTES ((NODE_CLAIM_MAX + 7) / 8)

struct masks {
    int64_t fences[BATCH_MAX];
    uint8_t bits[BATCH_MAX][BITS_BYTES];
    const uint8_t *pointers[BATCH_MAX];
    size_t sizes[BATCH_MAX];
    size_t count;
};

static void mask_run(struct masks *masks, const struct run *run)
{
    size_t at = 0;
    while (at < masks->count && masks->fences[at] != run->receipt->fence)
        at++;
    if (at == masks->count) {
        masks->count++;
        masks->fences[at] = run->receipt->fence;
        masks->sizes[at] = run->receipt->size;
        masks->pointers[at] = masks->bits[at];
    }
    masks->bits[at][run->slot / 8] |=
        (uint8_t)(0x80 >> (run->slot % 8)); /* bit 0 is leftmost in PostgreSQL */
}

static void history_parameters(struct node *node, struct finished **batch, size_t n,
                               struct store_params *params)
{
    struct masks *masks = mem_alloc(sizeof *masks);
    int64_t fences[BATCH_MAX], ids[BATCH_MAX], started[BATCH_MAX], durations[BATCH_MAX],
        scheduled[BATCH_MAX];
    int32_t slots[BATCH_MAX], missed[BATCH_MAX];
    int16_t attempts[BATCH_MAX];
    const char *tasks[BATCH_MAX], *triggers[BATCH_MAX], *statuses[BATCH_MAX], *outcomes[BATCH_MAX];
    struct slice details[BATCH_MAX];
    for (size_t i = 0; i < n; i++) {
        const struct run *run = batch[i]->run;
        mask_run(masks, run);
        fences[i] = run->key.fence;
        slots[i] = (int32_t)run->slot;
        ids[i] = run->key.id;
        tasks[i] = run->job != NULL && !run->job->gone ? run->job->name : "(deleted job)";
        triggers[i] = run->trigger != NULL && !run->trigger->gone ? run->trigger->name : NULL;
        started[i] = run->started_us != 0 ? run->started_us : STORE_NULL_TIME;
        durations[i] = batch[i]->duration_us >= 0 ? batch[i]->duration_us / US_PER_MS : INT64_MIN;
        statuses[i] = batch[i]->status;
        outcomes[i] = batch[i]->outcome;
        attempts[i] = (int16_t)run->attempt;
        missed[i] = run->missed < INT32_MAX ? (int32_t)run->missed : INT32_MAX;
        scheduled[i] = run->scheduled_us;
        details[i] = slice_of(batch[i]->json);
    }
    params_int32(params, node->member.incarnation);
    params_int64s(params, masks->fences, masks->count);
    params_bits_array(params, masks->pointers, masks->sizes, masks->count);
    params_int64s(params, fences, n);
    params_int32s(params, slots, n);
    params_int64s(params, ids, n);
    params_texts(params, tasks, n);
    params_texts(params, triggers, n);
    params_times(params, started, n);
    params_int64s(params, durations, n);
    params_texts(params, statuses, n);
    params_texts(params, outcomes, n);
    params_int16s(params, attempts, n);
    params_int32s(params, missed, n);
    params_times(params, scheduled, n);
    params_slices(params, PARAMS_JSON, details, n);
    params_text(params, node->config->node_name);
    free(masks);
}

static void back_parameters(struct node *node, struct finished **batch, size_t n,
                            struct store_params *params)
{
    int64_t fences[BATCH_MAX], delays[BATCH_MAX];
    int32_t slots[BATCH_MAX], attempts[BATCH_MAX], crashes[BATCH_MAX];
    bool recovering[BATCH_MAX];
    struct slice entries[BATCH_MAX];
    for (size_t i = 0; i < n; i++) {
        fences[i] = batch[i]->run->key.fence;
        slots[i] = (int32_t)batch[i]->run->slot;
        delays[i] = (batch[i]->delay_us + US_PER_MS - 1) / US_PER_MS;
        attempts[i] = batch[i]->more_attempt;
        crashes[i] = batch[i]->more_crash;
        recovering[i] = batch[i]->recovering;
        entries[i] = slice_of(batch[i]->json);
    }
    params_int32(params, node->member.incarnation);
    params_int64s(params, fences, n);
    params_int32s(params, slots, n);
    params_int64s(params, delays, n);
    params_int32s(params, attempts, n);
    params_int32s(params, crashes, n);
    params_bools(params, recovering, n);
    params_slices(params, PARAMS_JSONB, entries, n);
}

/* ---- writing ---- */

static void finished_free(struct finished *finished)
{
    free(finished->json);
    free(finished);
}

static void log_run(struct node *node, const struct finished *finished)
{
    const struct run *run = finished->run;
    if (!node->config->log_runs || run->job == NULL || run->job->gone)
        return;
    char *headline = details_headline(finished->json);
    log_info(
        &node->log, finished->status != NULL ? "run finished" : "run put back",
        LOG_TEXT("job", run->job->name),
        LOG_TEXT("trigger", run->trigger != NULL ? run->trigger->name : NULL),
        LOG_TEXT("outcome", finished->outcome),
        LOG_INT("duration_ms", finished->duration_us >= 0 ? finished->duration_us / US_PER_MS : -1),
        LOG_INT("run", run->key.id), LOG_INT("attempt", run->attempt),
        LOG_TEXT("message", headline));
    free(headline);
}

static void batch_written(struct outlet *outlet, int64_t moved)
{
    struct node *node = outlet->node;
    int64_t late = (int64_t)outlet->batch_count - moved;
    if (late > 0 && !outlet->again) {
        node->late_refused += late;
        log_warn(&node->log, "late completions refused: their runs had been taken over",
                 LOG_INT("count", late));
    }
    for (size_t i = 0; i < outlet->batch_count; i++) {
        log_run(node, outlet->batch[i]);
        runs_remove(node->runs, outlet->batch[i]->run);
        finished_free(outlet->batch[i]);
    }
    outlet->batch_count = 0;
    outlet->batch_limit = BATCH_MAX;
    outlet->again = false;
}

/* The database will not take this batch: alone if it was several, else without its details. */
static void batch_refused(struct outlet *outlet, const struct rota_error *error)
{
    struct node *node = outlet->node;
    for (size_t i = outlet->batch_count; i > 1; i--) {
        list_prepend(&outlet->waiting, &outlet->batch[i - 1]->link);
        outlet->waiting_count++;
    }
    if (outlet->batch_count > 1) {
        outlet->batch_count = 1;
        outlet->batch_limit = 1;
        flush_soon(node);
        return;
    }
    struct finished *finished = outlet->batch[0];
    bool bare = finished->json == NULL;
    log_error(&node->log,
              bare ? "a finished run cannot be written: its receipt is left to recovery"
                   : "a finished run cannot be written: trying without its details",
              LOG_INT("run", finished->run->key.id), LOG_TEXT("error", error->message),
              LOG_TEXT("sqlstate", error->sqlstate));
    free(finished->json);
    finished->json = NULL;
    if (bare) { /* those behind it must not wait; the run stays known, so that nobody puts it back */
        finished_free(finished);
        outlet->batch_count = 0;
        outlet->batch_limit = BATCH_MAX;
    }
    flush_later(node);
}

static void on_ensured(void *arg, const struct store_answer *answer)
{
    struct node *node = arg;
    if (answer->error != NULL)
        log_error(&node->log, "cannot make a partition of the history",
                  LOG_TEXT("error", answer->error->message));
    flush_later(node);
}

static void on_written(void *arg, const struct store_answer *answer)
{
    struct outlet *outlet = arg;
    struct node *node = outlet->node;
    outlet->out = false;
    if (answer->error == NULL) {
        batch_written(outlet, row_int64(answer->result, 0, 0));
        flush(outlet);
        node_drained(node);
        return;
    }
    outlet->again = outlet->again || answer->unknown;
    if (store_is(answer->error,
                 "23514")) { /* no partition for today: the clock ran ahead of the chores */
        struct store_params params = {0};
        params_int32(&params, 3);
        store_call(node->work, SQL_HISTORY_ENSURE, &params, 0, on_ensured, node);
        store_params_free(&params);
    } else if (store_fault(answer->error) == FAULT_RETRY) {
        flush_later(node);
    } else {
        batch_refused(outlet, answer->error);
    }
}

/* Drops what was taken from us meanwhile; its row is somebody else's. */
static void drop_fenced(struct outlet *outlet)
{
    LIST_EACH (&outlet->waiting, struct finished, link, finished) {
        if (!finished->run->fenced)
            continue;
        list_remove(&finished->link);
        outlet->waiting_count--;
        runs_remove(outlet->node->runs, finished->run);
        finished_free(finished);
    }
    size_t kept = 0;
    for (size_t i = 0; i < outlet->batch_count; i++) {
        struct finished *finished = outlet->batch[i];
        if (!finished->run->fenced) {
            outlet->batch[kept++] = finished;
            continue;
        }
        runs_remove(outlet->node->runs, finished->run);
        finished_free(finished);
    }
    outlet->batch_count = kept;
}

static void flush(struct outlet *outlet)
{
    struct node *node = outlet->node;
    if (outlet->out || !store_ready(node->work))
        return;
    drop_fenced(outlet);
    while (outlet->batch_count < outlet->batch_limit && !list_empty(&outlet->waiting)) {
        struct finished *finished = LIST_ITEM(outlet->waiting.next, struct finished, link);
        list_remove(&finished->link);
        outlet->waiting_count--;
        outlet->batch[outlet->batch_count++] = finished;
    }
    if (outlet->batch_count == 0)
        return;
    struct store_params params = {0};
    outlet->parameters(node, outlet->batch, outlet->batch_count, &params);
    outlet->out = true;
    store_call(node->work, outlet->statement, &params, 0, on_written, outlet);
    store_params_free(&params);
}

static void finish(struct outlet *outlet, struct finished *finished)
{
    struct run *run = finished->run;
    assert(run->place != RUN_FINISHED);
    run->place = RUN_FINISHED;
    if (run->fenced) {
        runs_remove(outlet->node->runs, run);
        finished_free(finished);
        node_drained(outlet->node);
        return;
    }
    list_append(&outlet->waiting, &finished->link);
    outlet->waiting_count++;
    flush_soon(outlet->node);
}

static struct finished *finished_new(struct run *run, const char *status, const char *outcome)
{
    struct finished *finished = mem_alloc(sizeof *finished);
    list_init(&finished->link);
    finished->run = run;
    finished->status = status;
    finished->outcome = outcome;
    finished->duration_us = -1;
    return finished;
}

void complete_over(struct node *node, struct run *run, const char *status, const char *outcome,
                   char *details, int64_t duration_us)
{
    struct finished *finished = finished_new(run, status, outcome);
    finished->json = details;
    finished->duration_us = duration_us;
    finish(&node->complete->history, finished);
}

void complete_put_back(struct node *node, struct run *run, int64_t delay_us, bool attempt,
                       bool crash, bool recovering, const char *outcome, const char *message)
{
    struct finished *finished = finished_new(run, NULL, outcome != NULL ? outcome : "put back");
    finished->delay_us = delay_us;
    finished->more_attempt = attempt;
    finished->more_crash = crash;
    finished->recovering = recovering;
    if (outcome != NULL)
        finished->json = details_entry(run, node->config->node_name, outcome, message);
    finish(&node->complete->back, finished);
}

/* ---- receipts nobody knows ---- */

static void on_stale(void *arg, const struct store_answer *answer)
{
    struct node *node = arg;
    if (answer->error == NULL && row_int64(answer->result, 0, 0) > 0)
        log_warn(&node->log, "runs of claims whose answer was lost are put back",
                 LOG_INT("runs", row_int64(answer->result, 0, 0)));
}

/* The caller has seen to it that no claim is out that these may belong to. */
void complete_receipts(struct node *node, const int64_t *fences, size_t count)
{
    if (count == 0 || !store_ready(node->work))
        return;
    struct store_params params = {0};
    params_int32(&params, node->member.incarnation);
    params_int64s(&params, fences, count);
    store_call(node->work, SQL_RECEIPT_PUT_BACK, &params, 0, on_stale, node);
    store_params_free(&params);
}

/* ---- */

size_t complete_unwritten(const struct node *node)
{
    const struct complete *c = node->complete;
    return c->history.waiting_count + c->history.batch_count + c->back.waiting_count +
           c->back.batch_count;
}

void complete_ready(struct node *node)
{
    flush_soon(node);
}

static void outlet_init(struct outlet *outlet, struct node *node, enum statement_id statement,
                        void (*parameters)(struct node *, struct finished **, size_t,
                                           struct store_params *))
{
    *outlet = (struct outlet){
        .node = node, .statement = statement, .parameters = parameters, .batch_limit = BATCH_MAX};
    list_init(&outlet->waiting);
}

void complete_new(struct node *node)
{
    struct complete *c = mem_alloc(sizeof *c);
    outlet_init(&c->history, node, SQL_RUN_COMPLETE, history_parameters);
    outlet_init(&c->back, node, SQL_RUN_PUT_BACK, back_parameters);
    c->flush = evtimer_new(node->base, on_flush, node);
    c->retry = evtimer_new(node->base, on_flush, node);
    node->complete = c;
}

static void outlet_free(struct outlet *outlet)
{
    LIST_EACH (&outlet->waiting, struct finished, link, finished)
        finished_free(finished);
    for (size_t i = 0; i < outlet->batch_count; i++)
        finished_free(outlet->batch[i]);
}

void complete_free(struct node *node)
{
    struct complete *c = node->complete;
    if (c == NULL)
        return;
    outlet_free(&c->history);
    outlet_free(&c->back);
    event_free(c->flush);
    event_free(c->retry);
    free(c);
    node->complete = NULL;
}
