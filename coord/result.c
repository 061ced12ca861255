/*
 * What a worker's answer means for its run: over, tried again, put back. Policy only; writing it
 * down is the business of complete.c.
 */
#include "coord/details.h"
#include "coord/node.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/memory.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define JOB_DATA_MAX  (256u << 10) /* as of declared data: each claim carries it to a worker */
#define SNOOZE_MAX_US (INT64_C(36500) * 86400 * US_PER_SECOND) /* as of declared durations */
#define SAME_WORKER_PAUSE_US                                                                       \
    (1 * US_PER_SECOND) /* a run whose worker died waits: no hot loop of crashes */

static int64_t retry_delay(const struct job *job, int attempt)
{
    if (job->backoff == BACKOFF_IMMEDIATE)
        return 0;
    double delay = (double)job->retry_initial_us;
    for (int i = 1;
         i < attempt && job->backoff == BACKOFF_EXPONENTIAL && delay < (double)job->retry_max_us;
         i++)
        delay *= 2;
    if (delay > (double)job->retry_max_us)
        delay = (double)job->retry_max_us;
    uint16_t noise = 32768;
    if (getrandom(&noise, sizeof noise, GRND_NONBLOCK) != sizeof noise)
        noise = 32768;
    return (int64_t)(delay * (1 + job->retry_jitter * (noise / 32768.0 - 1)));
}

static bool asks_for_recovery(const struct run *run)
{
    return run->job->requests_recovery >= 0 ? run->job->requests_recovery == 1
                                            : run->trigger_id == 0;
}

static char *text_of(struct slice slice)
{
    return slice.data != NULL ? mem_string_n(slice.data, slice.length) : NULL;
}

/* The new data of a job that keeps what its runs leave: an object, as any data. */
static char *new_data(struct node *node, const struct run *run, const struct worker_result *result)
{
    struct json json;
    if (!run->job->persist_data || result->data.data == NULL)
        return NULL;
    bool fits = result->data.length <= JOB_DATA_MAX &&
                json_parse(&json, result->data.data, result->data.length, NULL) == 0;
    bool object = fits && json.values->type == JSON_OBJECT;
    if (fits)
        json_free(&json);
    if (object)
        return text_of(result->data);
    log_warn(&node->log, "new job data is not kept: it must be a JSON object of at most 256 KiB",
             LOG_TEXT("job", run->job->name), LOG_INT("run", run->key.id),
             LOG_INT("bytes", (int64_t)result->data.length));
    return NULL;
}

/* A run that failed for good, of a job whose trigger is to stop then. */
static char *trigger_error(const struct run *run, const char *outcome, const char *message)
{
    if (!run->job->exhausted_is_error || run->trigger_id == 0)
        return NULL;
    return mem_format("run %lld failed after %d attempt%s: %s%s%.200s", (long long)run->key.id,
                      run->attempt, run->attempt == 1 ? "" : "s", outcome,
                      message != NULL ? ": " : "", message != NULL ? message : "");
}

static void succeeded(struct node *node, struct run *run, const struct worker_result *result)
{
    const struct run_effects effects = {
        .job_data = new_data(node, run, result),
        .unschedule = result->unschedule && run->trigger_id != 0,
    };
    complete_over(node, run, "success", "success", details_success(result, run),
                  result->duration_us, &effects);
}

static void over(struct node *node, struct run *run, const struct worker_result *result,
                 const char *status, const char *outcome, const char *exception,
                 const char *message)
{
    complete_over(node, run, status, outcome,
                  details_failure(result, run, status, exception, message), result->duration_us,
                  NULL);
}

/* Over, and no other attempt is left: what that means for the trigger. */
static void exhausted(struct node *node, struct run *run, const struct worker_result *result,
                      const char *outcome, const char *exception, const char *message)
{
    const struct run_effects effects = {
        .unschedule = result->unschedule && run->trigger_id != 0,
        .trigger_error = trigger_error(run, outcome, message),
    };
    complete_over(node, run, "failed", outcome,
                  details_failure(result, run, "failed", exception, message), result->duration_us,
                  &effects);
}

static void failed(struct node *node, struct run *run, const struct worker_result *result,
                   const char *outcome)
{
    char *message = text_of(result->message.data != NULL ? result->message : result->reason);
    bool retry = (result->retry ||
                  result->outcome == WORKER_TIMEOUT) && /* that verdict is ours, not the worker's */
                 !result->unschedule; /* who ends the schedule does not want more of it */
    if (retry && run->attempt < run->job->max_attempts)
        complete_put_back(node, run, retry_delay(run->job, run->attempt), true, false,
                          run->recovering, outcome, message);
    else
        exhausted(node, run, result, outcome, outcome, message);
    free(message);
}

static void crashed(struct node *node, struct run *run, const struct worker_result *result)
{
    char *reason = text_of(result->reason);
    bool poison = result->alone && run->crashes + 1 >= run->job->max_crashes;
    bool recover = asks_for_recovery(run);
    if (poison)
        exhausted(node, run, result, "poison", "worker crashed", reason);
    else if (recover || run->attempt < run->job->max_attempts)
        complete_put_back(node, run, SAME_WORKER_PAUSE_US, !recover, result->alone, true, "crashed",
                          reason);
    else
        exhausted(node, run, result, "crashed", "worker crashed", reason);
    free(reason);
}

/* Ended by our own drain: what may run again does, elsewhere and at once; nothing is counted. */
static void handed_over(struct node *node, struct run *run, const struct worker_result *result)
{
    if (asks_for_recovery(run) || run->attempt < run->job->max_attempts)
        complete_put_back(node, run, 0, false, false, true, "handed over", "its node was stopped");
    else
        over(node, run, result, "unknown", "interrupted", NULL,
             "its node was stopped before it had finished");
}

void result_take(struct node *node, const struct worker_result *result)
{
    struct run *run = runs_find(node->runs, result->id, result->fence);
    assert(run != NULL && run->place == RUN_AT_WORKER);
    ahead_finished(node, run->pool, node_database_now(node) - run->started_us);
    bool ended_by_us = node->state == NODE_DRAINING && node->hurry;
    if (run->cancel != NULL &&
        result->outcome != WORKER_DONE) { /* however it ended: no more of it */
        over(node, run, result, "failed", "cancelled", NULL, run->cancel);
        return;
    }
    switch (result->outcome) {
    case WORKER_DONE:
        succeeded(node, run, result);
        return;
    case WORKER_FAIL:
        failed(node, run, result, "failed");
        return;
    case WORKER_TIMEOUT:
        failed(node, run, result, "timeout");
        return;
    case WORKER_CANCELLED:
        if (ended_by_us)
            handed_over(node, run, result);
        else
            over(node, run, result, "failed", "cancelled", NULL, "cancelled");
        return;
    case WORKER_SNOOZE:
        complete_put_back(node, run,
                          result->snooze_us < SNOOZE_MAX_US ? result->snooze_us : SNOOZE_MAX_US,
                          false, false, run->recovering, "snoozed", NULL);
        return;
    case WORKER_REFUSE:
        /* of what this worker does not know it gets no more for a while: others may */
        complete_put_back(node, run, result->unknown_handler ? 0 : SAME_WORKER_PAUSE_US, false,
                          false, run->recovering, NULL, NULL);
        return;
    case WORKER_CRASHED:
        if (ended_by_us)
            handed_over(node, run, result);
        else
            crashed(node, run, result);
        return;
    }
    assert(!"unknown outcome");
}
