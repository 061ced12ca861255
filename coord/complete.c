/*
 * Complete: finished runs are collected while the previous batch is being written, then written by
 * one statement a batch: into the history, or back to pending. What cannot be written now is kept,
 * bounded, until the database is back; writing twice does no harm, as the receipt's bit is the
 * once-only guard.
 */
#include "coord/details.h"
#include "coord/finished.h"
#include "coord/note.h"

#include "base/clock.h"
#include "base/memory.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/*
 * One of the ways out, with the batch that is being written. What has effects beyond its own row,
 * a slot of a lane to give back, or more that follows its end, has an outlet of its own, whose
 * batches are transactions.
 */
struct outlet {
    struct node *node;
    enum statement_id statement;
    bool special;
    void (*parameters)(struct node *node, struct finished **batch, size_t count,
                       struct store_params *params);
    struct list waiting;
    size_t waiting_count;
    struct finished *batch[BATCH_MAX];
    size_t batch_count;
    size_t batch_limit;        /* 1 after a batch was refused: finds the one that is at fault */
    bool out;                  /* the batch is on its way */
    bool again;                /* it was on its way before: it may be written already */
    int64_t moved;             /* runs of it that were in time */
    struct rota_error refused; /* why its transaction will not commit */
};

struct complete {
    struct outlet history, special, back;
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
    flush(&node->complete->special);
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

/* ---- writing ---- */

static void finished_free(struct finished *finished)
{
    free(finished->json);
    free(finished->effects.job_data);
    free(finished->effects.trigger_error);
    free(finished);
}

/* Others may have waited for its end. */
static void ended(struct node *node, const struct finished *finished)
{
    if (finished->status != NULL)
        after_done(node, finished->run->key.id);
    if (finished->run->cancel != NULL)
        cancel_done(node, finished->run->key.id);
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
    observe_written(node, outlet->batch, outlet->batch_count, outlet->again ? 0 : late);
    for (size_t i = 0; i < outlet->batch_count; i++) {
        ended(node, outlet->batch[i]);
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
    bool bare = finished->bare;
    log_error(&node->log,
              bare ? "a finished run cannot be written: its receipt is left to recovery"
                   : "a finished run cannot be written: trying without its details and effects",
              LOG_INT("run", finished->run->key.id), LOG_TEXT("error", error->message),
              LOG_TEXT("sqlstate", error->sqlstate));
    free(finished->json);
    free(finished->effects.job_data);
    free(finished->effects.trigger_error);
    finished->json = NULL;
    finished->effects = (struct run_effects){0};
    finished->bare = true;
    if (bare) { /* those behind it must not wait; the run stays known, so that nobody puts it back
                 */
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

static void written(struct outlet *outlet)
{
    outlet->out = false;
    batch_written(outlet, outlet->moved);
    flush(outlet);
    node_drained(outlet->node);
}

static void not_written(struct outlet *outlet, const struct store_answer *answer)
{
    struct node *node = outlet->node;
    outlet->out = false;
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

static void on_written(void *arg, const struct store_answer *answer)
{
    struct outlet *outlet = arg;
    if (answer->error != NULL) {
        not_written(outlet, answer);
        return;
    }
    outlet->moved = row_int64(answer->result, 0, 0);
    written(outlet);
}

/* ---- a batch that is a transaction: history, effects, what follows, lanes ---- */

static void on_committed(void *arg, const struct store_answer *answer)
{
    struct outlet *outlet = arg;
    struct store_answer failed = *answer;
    if (outlet->refused.code != ERROR_NONE)
        failed.error = &outlet->refused;
    if (failed.error != NULL)
        not_written(outlet, &failed);
    else
        written(outlet);
}

/* The transaction's last statement answers for all of it; why it failed is known here. */
static void on_part(void *arg, const struct store_answer *answer)
{
    struct outlet *outlet = arg;
    if (answer->error != NULL && outlet->refused.code == ERROR_NONE)
        outlet->refused = *answer->error;
}

static void on_begun(void *arg, const struct store_answer *answer)
{
    struct outlet *outlet = arg;
    if (answer->error != NULL) {
        not_written(outlet, answer);
        return;
    }
    outlet->moved = row_int64(answer->result, 0, 0);
    outlet->refused = (struct rota_error){0};
    struct store *work = outlet->node->work;
    struct store_params effects = {0}, ended = {0}, lanes = {0};
    finished_effects_params(outlet->batch, outlet->batch_count, &effects);
    finished_ended_params(outlet->batch, outlet->batch_count, &ended);
    finished_lanes_params(outlet->batch, outlet->batch_count, &lanes);
    store_call(work, SQL_RUN_EFFECTS, &effects, STORE_WITHIN, on_part, outlet);
    store_call(work, SQL_RUN_ENDED, &ended, STORE_WITHIN, on_part, outlet);
    store_call(work, SQL_LANE_RELEASE, &lanes, STORE_WITHIN | STORE_COMMIT, on_committed, outlet);
    store_params_free(&effects);
    store_params_free(&ended);
    store_params_free(&lanes);
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

/* What was said of a run while it ran is written first: who takes it up again begins from there. */
static void fill_batch(struct outlet *outlet)
{
    LIST_EACH (&outlet->waiting, struct finished, link, finished) {
        if (outlet->batch_count >= outlet->batch_limit)
            return;
        if (note_unwritten(finished->run))
            continue;
        list_remove(&finished->link);
        outlet->waiting_count--;
        outlet->batch[outlet->batch_count++] = finished;
    }
}

static void flush(struct outlet *outlet)
{
    struct node *node = outlet->node;
    if (outlet->out || !store_ready(node->work))
        return;
    drop_fenced(outlet);
    fill_batch(outlet);
    if (outlet->batch_count == 0)
        return;
    struct store_params params = {0};
    outlet->parameters(node, outlet->batch, outlet->batch_count, &params);
    outlet->out = true;
    store_call(node->work, outlet->statement, &params, outlet->special ? STORE_BEGIN : 0,
               outlet->special ? on_begun : on_written, outlet);
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
    note_over(outlet->node, run);
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
                   char *details, int64_t duration_us, const struct run_effects *effects)
{
    struct complete *c = node->complete;
    struct finished *finished = finished_new(run, status, outcome);
    finished->json = details;
    finished->duration_us = duration_us;
    if (effects != NULL)
        finished->effects = *effects;
    note_end(run);
    bool special = run->laned || finished_has_effects(finished) || finished_has_end(finished);
    finish(special ? &c->special : &c->history, finished);
}

void complete_put_back(struct node *node, struct run *run, int64_t delay_us, bool attempt,
                       bool crash, bool recovering, const char *outcome, const char *message)
{
    if (run->cancel != NULL) { /* it would only be cancelled where it waits */
        complete_over(node, run, "failed", "cancelled",
                      details_failure(NULL, run, "failed", NULL, run->cancel), -1, NULL);
        return;
    }
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
    return c->history.waiting_count + c->history.batch_count + c->special.waiting_count +
           c->special.batch_count + c->back.waiting_count + c->back.batch_count;
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
    outlet_init(&c->history, node, SQL_RUN_COMPLETE, finished_history_params);
    outlet_init(&c->special, node, SQL_RUN_COMPLETE, finished_history_params);
    c->special.special = true;
    outlet_init(&c->back, node, SQL_RUN_PUT_BACK, finished_back_params);
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
    outlet_free(&c->special);
    outlet_free(&c->back);
    event_free(c->flush);
    event_free(c->retry);
    free(c);
    node->complete = NULL;
}
