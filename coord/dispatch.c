/*
 * Dispatch: claimed runs to workers, in the turn that sees the claim's commit. A run no worker can
 * take goes back whole: it was never started. Runs whose job is gone end here.
 */
#include "coord/details.h"
#include "coord/node.h"

#include "base/clock.h"
#include "base/json.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define UNSERVED_PAUSE_US                                                                          \
    (1 * US_PER_SECOND) /* its worker has just gone: let the fleet learn of it */

static bool serves(const struct worker_pool_view *view, const char *handler)
{
    for (const char *const *at = view->handlers; *at != NULL; at++)
        if (strcmp(*at, handler) == 0)
            return true;
    return false;
}

/* The pool in whose turn a run waits at hand: the one with the fewest of them. -1: none. */
static int hand_for(struct node *node, const struct run *run)
{
    const struct worker_pool_view *views;
    size_t count = workers_pools(node->workers, &views);
    int best = -1;
    for (size_t i = 0; i < count && i < NODE_POOLS_MAX; i++)
        if (views[i].slots > 0 && serves(&views[i], run->job->handler) &&
            (best < 0 || ahead_count(node, i) < ahead_count(node, (size_t)best)))
            best = (int)i;
    return best;
}

/* The job's data, the trigger's laid over it, the run's own over both. */
static struct slice data_of(const struct run *run, struct buffer *first, struct buffer *second)
{
    struct slice data = slice_of(run->job_data != NULL ? run->job_data : run->job->data);
    if (run->trigger != NULL && !run->trigger->gone && run->trigger->data != NULL) {
        data_merge(first, data, slice_of(run->trigger->data));
        data = (struct slice){first->data, first->length};
    }
    if (run->data != NULL) {
        data_merge(second, data, slice_of(run->data));
        data = (struct slice){second->data, second->length};
    }
    return data;
}

/*
 * Its worker died under it the last time, perhaps with others beside it: whose fault that was shows
 * only when it runs alone.
 */
static bool is_suspect(const struct run *run)
{
    struct json json;
    const struct json_value *newest = NULL;
    if (run->earlier == NULL || json_parse(&json, run->earlier, strlen(run->earlier), NULL) != 0)
        return false;
    if (json.values->type == JSON_ARRAY)
        for (const struct json_value *at = json_first(&json, json.values); at != NULL;
             at = json_next(&json, at))
            newest = at;
    bool object = newest != NULL && newest->type == JSON_OBJECT;
    const struct json_value *outcome = object ? json_get(&json, newest, "outcome") : NULL;
    bool suspect = outcome != NULL && json_is(outcome, "crashed");
    json_free(&json);
    return suspect;
}

static int hand_over(struct node *node, struct run *run, int pool)
{
    struct buffer first = {0}, second = {0};
    int64_t now = node_database_now(node);
    const struct worker_run told = {
        .id = run->key.id,
        .fence = run->key.fence,
        .job = run->job->name,
        .handler = run->job->handler,
        .data = data_of(run, &first, &second),
        .trigger = run->trigger != NULL && !run->trigger->gone ? run->trigger->name : NULL,
        .fire_time_us = now,
        .scheduled_time_us = run->scheduled_us,
        .previous_fire_time_us = run->previous_us,
        .attempt = run->attempt,
        .recovering = run->recovering,
        .missed = run->missed,
        .checkpoint = slice_of(run->checkpoint),
        .traceparent = run->traceparent,
        .timeout_us = run->job->timeout_us,
        .lane = run->laned,
        .alone = is_suspect(run),
    };
    int failed = workers_run(node->workers, (size_t)pool, &told);
    if (failed == 0) {
        run->place = RUN_AT_WORKER;
        run->pool = (size_t)pool;
        run->started_us = now;
        free(run->job_data);
        free(run->checkpoint);
        run->job_data = run->checkpoint = NULL;
    }
    buffer_free(&first);
    buffer_free(&second);
    return failed;
}

/*
 * It was queued while its job was being paused or given a limit or a rate, and its claim saw it as
 * it was; or it belongs to a lane and the lease is about to end. Put back, it finds its place.
 */
static bool has_moved(const struct node *node, const struct run *run)
{
    return run->job->held || (run->job->lane_limit > 0 && !run->laned) ||
           (run->job->rated && !run->rated) || (run->laned && !node_may_claim_lanes(node));
}

/* We stood still with the claim's answer on its way: others may have taken the run by now. */
static bool lease_is_over(const struct node *node)
{
    return clock_boot_us() >= node->member.lease_until_boot_us;
}

/* Ends here, or goes back: it is not to be begun. */
static bool turned_away(struct node *node, struct run *run)
{
    if (run->fenced) { /* taken from us while its definition was loaded, or while it was at hand */
        runs_remove(node->runs, run);
        return true;
    }
    if (run->job->gone) {
        complete_over(node, run, "failed", "cancelled",
                      details_failure(NULL, run, "failed", NULL, "its job was deleted"), -1, NULL);
        return true;
    }
    if (cancel_before_start(node, run))
        return true;
    if (run->expired) {
        complete_over(node, run, "failed", "expired",
                      details_failure(NULL, run, "failed", NULL, "it was not started in time"), -1,
                      NULL);
        return true;
    }
    if (node->state != NODE_RUNNING || lease_is_over(node) || has_moved(node, run)) {
        dispatch_back(node, run);
        return true;
    }
    return false;
}

void dispatch_back(struct node *node, struct run *run)
{
    complete_put_back(node, run, 0, false, false, run->recovering, NULL, NULL);
}

/* Whether it is with a worker now. */
static bool dispatch(struct node *node, struct run *run, int pool)
{
    if (turned_away(node, run))
        return false;
    if (pool >= 0 && hand_over(node, run, pool) == 0)
        return true;
    complete_put_back(node, run, UNSERVED_PAUSE_US, false, false, run->recovering, NULL, NULL);
    return false;
}

/* Where there is a free slot for it; one whose job is gone needs none. */
static int slot_for(struct node *node, const struct run *run)
{
    return run->job->gone ? -1 : workers_pool_for(node->workers, run->job->handler, run->laned);
}

bool dispatch_run(struct node *node, struct run *run)
{
    assert(run->place == RUN_CLAIMED && run->job != NULL);
    return dispatch(node, run, slot_for(node, run));
}

/*
 * Whether it may be at hand: it would be run again if this node died, and begins with nothing that
 * the run before it leaves. The claim brings no others beyond the slots; but a worker may have gone
 * meanwhile, or the job have changed.
 */
static bool can_wait(const struct run *run)
{
    const struct job *job = run->job;
    bool recovered = job->requests_recovery < 0 ? run->trigger_id == 0 : job->requests_recovery > 0;
    return !job->gone && !run->laned && !job->persist_data &&
           (recovered || run->attempt < job->max_attempts);
}

void dispatch_runs(struct node *node, struct run **runs, size_t count)
{
    const struct job *asked = NULL; /* whose hand it is; most runs of a claim are of one job */
    int hand = -1;
    size_t begun = 0;
    ahead_go(node);
    for (size_t i = 0; i < count; i++) {
        struct run *run = runs[i];
        assert(run->place == RUN_CLAIMED && run->job != NULL);
        int pool = slot_for(node, run);
        bool waits = pool < 0 && can_wait(run);
        if (waits && run->job != asked) {
            asked = run->job;
            hand = hand_for(node, run);
        }
        if (waits && hand >= 0)
            ahead_put(node, run, (size_t)hand);
        else if (dispatch(node, run, pool))
            runs[begun++] = run;
    }
    observe_begun(node, runs, begun);
}
