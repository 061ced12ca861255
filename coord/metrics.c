/* A node's own numbers: see metrics.h. What each means: metrics_table.c. */
#include "coord/metrics.h"

#include "coord/finished.h"
#include "coord/fire.h"
#include "coord/metrics_table.h"
#include "coord/node.h"
#include "coord/observe.h"

#include "base/clock.h"
#include "base/log_repeat.h"
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A job and its two counters; those of the run before are the likeliest for the next. */
struct job_metrics {
    char *name;
    struct metric *succeeded, *failed;
    UT_hash_handle hh;
};

struct metrics {
    struct metric_set *set;
    struct job_metrics *jobs, *other, *last;
    struct metric *delay_trigger, *delay_enqueued, *duration_succeeded, *duration_failed;
};

static struct metric *only(struct metrics *metrics, enum node_metric family)
{
    return metric_child(metrics->set, family, NULL, NULL);
}

static struct metric *child(struct metrics *metrics, enum node_metric family, const char *label)
{
    return metric_child(metrics->set, family, label, NULL);
}

static struct job_metrics *job_new(struct metrics *metrics, const char *name)
{
    struct job_metrics *job = mem_alloc(sizeof *job);
    job->name = mem_string(name);
    job->succeeded = metric_child(metrics->set, METRIC_EXECUTED, "succeeded", name);
    job->failed = metric_child(metrics->set, METRIC_EXECUTED, "failed", name);
    return job;
}

/* Whatever may never happen has its zero from the start, so that a rate can be taken of it. */
static void begin(struct metrics *metrics)
{
    static const char *const pairs[][3] = {{"made_up", "passed_over"}, {"put_back", "unknown"}};
    for (int i = 0; i < 2; i++) {
        child(metrics, METRIC_MISFIRES, pairs[0][i]);
        child(metrics, METRIC_RUNS_RECOVERED, pairs[1][i]);
    }
    child(metrics, METRIC_LOCK_WAIT, "obtained");
    child(metrics, METRIC_LOCK_WAIT, "failed");
    char libpq[32];
    snprintf(libpq, sizeof libpq, "%d", PQlibVersion());
    metric_put(metric_child(metrics->set, METRIC_BUILD, ROTA_VERSION, libpq), 1);
    metric_put(only(metrics, METRIC_RELOAD_GOOD), 1);
    metric_put(only(metrics, METRIC_RELOAD_AT), clock_wall_us() / US_PER_SECOND);
}

struct metrics *metrics_new(void)
{
    struct metrics *metrics = mem_alloc(sizeof *metrics);
    metrics->set = metric_set_new(metrics_table, METRIC_NODE_COUNT);
    metrics->delay_trigger = child(metrics, METRIC_FIRING_DELAY, "trigger");
    metrics->delay_enqueued = child(metrics, METRIC_FIRING_DELAY, "enqueued");
    metrics->duration_succeeded = child(metrics, METRIC_RUN_DURATION, "succeeded");
    metrics->duration_failed = child(metrics, METRIC_RUN_DURATION, "failed");
    begin(metrics);
    return metrics;
}

static void job_free(struct job_metrics *job)
{
    if (job != NULL)
        free(job->name);
    free(job);
}

void metrics_free(struct metrics *metrics)
{
    if (metrics == NULL)
        return;
    struct job_metrics *job, *next;
    HASH_ITER (hh, metrics->jobs, job, next) {
        HASH_DEL(metrics->jobs, job);
        job_free(job);
    }
    job_free(metrics->other);
    metric_set_free(metrics->set);
    free(metrics);
}

struct metric_set *metrics_set(struct metrics *metrics)
{
    return metrics->set;
}

/* ---- batches of runs ---- */

static struct job_metrics *job_of(struct metrics *metrics, const char *name)
{
    struct job_metrics *job = metrics->last;
    if (job != NULL && strcmp(job->name, name) == 0)
        return job;
    HASH_FIND_STR(metrics->jobs, name, job);
    if (job == NULL && HASH_COUNT(metrics->jobs) < METRICS_JOBS_MAX - 1) {
        job = job_new(metrics, name);
        HASH_ADD_KEYPTR(hh, metrics->jobs, job->name, strlen(job->name), job);
    }
    if (job == NULL && metrics->other == NULL)
        metrics->other = job_new(metrics, METRIC_OTHER);
    if (job == NULL)
        return metrics->other; /* not kept as the last: its name is not the job's */
    return metrics->last = job;
}

static void begun(struct node *node, const struct observation *seen)
{
    struct metrics *metrics = node->metrics;
    for (size_t i = 0; i < seen->count; i++) {
        const struct run *run = seen->runs[i];
        metric_observe(run->trigger_id != 0 ? metrics->delay_trigger : metrics->delay_enqueued,
                       run->started_us - run->due_us);
    }
}

/* Its worker succeeded, failed, or was asked to stop or wait, which is neither: 1, -1, 0. */
static int verdict(const struct finished *end)
{
    if (end->status != NULL)
        return strcmp(end->status, "success") == 0 ? 1 : -1;
    return strcmp(end->outcome, "snoozed") == 0 || strcmp(end->outcome, "handed over") == 0 ? 0
                                                                                            : -1;
}

static void executed(struct node *node, const struct observation *seen)
{
    struct metrics *metrics = node->metrics;
    for (size_t i = 0; i < seen->count; i++) {
        const struct finished *end = seen->ends[i];
        const struct job *job = end->run->job;
        int said = verdict(end);
        if (said == 0 || job == NULL || job->gone)
            continue;
        struct job_metrics *counters = job_of(metrics, job->name);
        metric_add(said > 0 ? counters->succeeded : counters->failed, 1);
        if (end->duration_us >= 0)
            metric_observe(said > 0 ? metrics->duration_succeeded : metrics->duration_failed,
                           end->duration_us);
    }
}

/* Outcomes are few and constant: neighbours have the same. */
static void by_outcome(struct node *node, const struct observation *seen, enum node_metric family)
{
    struct metric *last = NULL;
    for (size_t i = 0; i < seen->count; i++) {
        if (last == NULL || seen->ends[i]->outcome != seen->ends[i - 1]->outcome)
            last = child(node->metrics, family, seen->ends[i]->outcome);
        metric_add(last, 1);
    }
}

/* ---- triggers ---- */

static void fired(struct node *node, const struct observation *seen)
{
    int64_t runs = 0;
    for (size_t i = 0; i < seen->count; i++)
        runs += seen->triggers[i]->fired;
    metric_add(only(node->metrics, METRIC_FIRINGS), runs);
}

static void misfired(struct node *node, const struct observation *seen)
{
    int64_t made_up = 0, passed = 0;
    for (size_t i = 0; i < seen->count; i++) {
        made_up += seen->triggers[i]->misfired;
        passed += seen->triggers[i]->missed;
    }
    metric_add(child(node->metrics, METRIC_MISFIRES, "made_up"), made_up);
    metric_add(child(node->metrics, METRIC_MISFIRES, "passed_over"), passed);
}

static void recovered(struct node *node, const struct observation *seen)
{
    metric_add(child(node->metrics, METRIC_RUNS_RECOVERED, "put_back"), (int64_t)seen->count);
    metric_add(child(node->metrics, METRIC_RUNS_RECOVERED, "unknown"), seen->other);
}

static void moved(struct node *node, const struct observation *seen)
{
    metric_zero(node->metrics->set, METRIC_NODE_STATE);
    metric_put(child(node->metrics, METRIC_NODE_STATE, seen->name), 1);
}

int metrics_observe(struct node *node, const struct observation *seen, struct rota_error *error)
{
    (void)error;
    switch (seen->point) {
    case OBSERVE_TO_BE_EXECUTED:
        begun(node, seen);
        break;
    case OBSERVE_EXECUTED:
        executed(node, seen);
        break;
    case OBSERVE_COMPLETED:
        by_outcome(node, seen, METRIC_RUNS_COMPLETED);
        metric_observe(only(node->metrics, METRIC_BATCH_RUNS), (int64_t)seen->count);
        break;
    case OBSERVE_PUT_BACK:
        by_outcome(node, seen, METRIC_RUNS_PUT_BACK);
        break;
    case OBSERVE_VETOED:
        by_outcome(node, seen, METRIC_RUNS_VETOED);
        break;
    case OBSERVE_CLAIMED:
        metric_observe(only(node->metrics, METRIC_CLAIM_RUNS), (int64_t)seen->count);
        break;
    case OBSERVE_LATE:
        metric_add(only(node->metrics, METRIC_LATE_REFUSED), (int64_t)seen->count);
        break;
    case OBSERVE_FIRED:
        fired(node, seen);
        metrics_evaluated(node);
        break;
    case OBSERVE_MISFIRED:
        misfired(node, seen);
        break;
    case OBSERVE_BLOCKED:
        metric_add(only(node->metrics, METRIC_BLOCKS), (int64_t)seen->count);
        break;
    case OBSERVE_TRIGGER_ERROR:
        metric_add(only(node->metrics, METRIC_TRIGGER_ERRORS), (int64_t)seen->count);
        break;
    case OBSERVE_LANE_FULL:
        metric_add(only(node->metrics, METRIC_LANE_FULL), (int64_t)seen->count);
        break;
    case OBSERVE_RECOVERED:
        recovered(node, seen);
        break;
    case OBSERVE_FENCED:
        metric_add(only(node->metrics, METRIC_RUNS_FENCED), (int64_t)seen->count);
        break;
    case OBSERVE_NODE_MOVED:
        moved(node, seen);
        break;
    case OBSERVE_HEARTBEAT:
        if (seen->count == 0)
            metric_add(only(node->metrics, METRIC_LEASE_FAILURES), 1);
        else if (node_may_claim(node))
            metrics_evaluated(node); /* it brought the next due times along */
        break;
    default:
        break;
    }
    return 0;
}

/* ---- states ---- */

static void sample_connection(struct node *node, const char *name, const struct store *store)
{
    metric_put(child(node->metrics, METRIC_CONNECTION_UP, name), store_ready(store));
    metric_put(child(node->metrics, METRIC_CALLS_WAITING, name),
               store != NULL ? (int64_t)store_backlog(store) : 0);
}

static void sample_workers(struct node *node)
{
    const struct worker_pool_view *views;
    if (node->workers == NULL)
        return;
    size_t count = workers_pools(node->workers, &views);
    for (size_t i = 0; i < count; i++) {
        struct metric_set *set = node->metrics->set;
        metric_put(metric_child(set, METRIC_WORKER_SLOTS, views[i].name, "free"),
                   views[i].free_slots);
        metric_put(metric_child(set, METRIC_WORKER_SLOTS, views[i].name, "taken"),
                   views[i].slots - views[i].free_slots);
    }
    const struct worker_counts *counts = workers_counts(node->workers);
    metric_put(only(node->metrics, METRIC_WORKER_STARTS), (int64_t)counts->starts);
    metric_put(only(node->metrics, METRIC_WORKER_CRASHES), (int64_t)counts->crashes);
    metric_put(only(node->metrics, METRIC_ANSWERS_IGNORED), (int64_t)counts->ignored);
}

void metrics_sample(struct node *node)
{
    struct metrics *metrics = node->metrics;
    const struct member *member = &node->member;
    sample_connection(node, "session", node->session);
    sample_connection(node, "work", node->work);
    sample_workers(node);
    metric_put(only(metrics, METRIC_RUNS_RUNNING), (int64_t)runs_count(node->runs));
    metric_put(only(metrics, METRIC_COMPLETIONS_WAITING), (int64_t)complete_unwritten(node));
    metric_put(only(metrics, METRIC_LEADER), member->leader);
    metric_put(only(metrics, METRIC_LEASE_LEFT), member->lease_until_boot_us);
    if (member->lease_until_boot_us != 0)
        metric_put(only(metrics, METRIC_HEARTBEAT_AGE),
                   member->lease_until_boot_us - node->config->lease_us);
    if (member->clock.heard_us != 0)
        metric_put(only(metrics, METRIC_CLOCK_OFFSET), node_database_now(node) - clock_wall_us());
    metric_put(only(metrics, METRIC_OBSERVER_FAILURES), node->observers.failures);
    metric_put(only(metrics, METRIC_LINES_SUPPRESSED), log_suppressed(&node->log));
    log_repeats_flush(&node->log, clock_monotonic_us());
}

void metrics_connected(struct node *node, const char *connection)
{
    metric_add(child(node->metrics, METRIC_CONNECTIONS_OPENED, connection), 1);
}

void metrics_lock_waited(struct node *node, bool obtained, int64_t waited_us)
{
    metric_observe(child(node->metrics, METRIC_LOCK_WAIT, obtained ? "obtained" : "failed"),
                   waited_us);
}

void metrics_evaluated(struct node *node)
{
    metric_put(only(node->metrics, METRIC_EVALUATION_AGE), clock_boot_us());
}

void metrics_reloaded(struct node *node, bool good)
{
    metric_put(only(node->metrics, METRIC_RELOAD_GOOD), good);
    if (good)
        metric_put(only(node->metrics, METRIC_RELOAD_AT), clock_wall_us() / US_PER_SECOND);
}

void metrics_events(struct node *node, int64_t written, int64_t lost)
{
    metric_add(only(node->metrics, METRIC_EVENTS_WRITTEN), written);
    metric_add(only(node->metrics, METRIC_EVENTS_LOST), lost);
}
