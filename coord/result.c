/*
 * What a worker's answer means for its run: over, tried again, put back. Policy only; writing it
 * down is the business of complete.c.
 */
#include "coord/details.h"
#include "coord/node.h"

#include "base/clock.h"
#include "base/memory.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

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

static void over(struct node *node, struct run *run, const struct worker_result *result,
                 const char *status, const char *outcome, const char *exception,
                 const char *message)
{
    char *details = strcmp(status, "success") == 0
                        ? details_success(result, run)
                        : details_failure(result, run, status, exception, message);
    complete_over(node, run, status, outcome, details, result->duration_us);
}

static void failed(struct node *node, struct run *run, const struct worker_result *result,
                   const char *outcome)
{
    char *message = text_of(result->message.data != NULL ? result->message : result->reason);
    bool retry = result->retry ||
                 result->outcome == WORKER_TIMEOUT; /* that verdict is ours, not the worker's */
    if (retry && run->attempt < run->job->max_attempts)
        complete_put_back(node, run, retry_delay(run->job, run->attempt), true, false,
                          run->recovering, outcome, message);
    else
        over(node, run, result, "failed", outcome, outcome, message);
    free(message);
}

static void crashed(struct node *node, struct run *run, const struct worker_result *result)
{
    char *reason = text_of(result->reason);
    bool poison = result->alone && run->crashes + 1 >= run->job->max_crashes;
    bool recover = asks_for_recovery(run);
    if (poison)
        over(node, run, result, "failed", "poison", "worker crashed", reason);
    else if (recover || run->attempt < run->job->max_attempts)
        complete_put_back(node, run, SAME_WORKER_PAUSE_US, !recover, result->alone, true, "crashed",
                          reason);
    else
        over(node, run, result, "failed", "crashed", "worker crashed", reason);
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
    bool ended_by_us = node->state == NODE_DRAINING && node->hurry;
    switch (result->outcome) {
    case WORKER_DONE:
        over(node, run, result, "success", "success", NULL, NULL);
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
        complete_put_back(node, run, result->snooze_us, false, false, run->recovering, "snoozed",
                          NULL);
        return;
    case WORKER_REFUSE:
        complete_put_back(node, run, SAME_WORKER_PAUSE_US, false, false, run->recovering, NULL,
                          NULL);
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
