/* What worker.h promises: the workers of a node, their pools, the end of a loop's turn. */
#include "worker/worker.h"

#include "worker/guest.h"
#include "worker/pool.h"

#include "base/clock.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

#define KILL_GRACE_US (5 * US_PER_SECOND) /* time for a job to put its things in order */

#define EACH_PROCESS(workers, process)                                                             \
    for (size_t pool_at = 0; pool_at < (workers)->pool_count; pool_at++)                           \
        for (struct process *process = (workers)->pools[pool_at].processes;                        \
             process <                                                                             \
             (workers)->pools[pool_at].processes + (workers)->pools[pool_at].process_count;        \
             process++)

/* --- the end of a turn --- */

void workers_touch(struct workers *workers)
{
    if (!workers->turning)
        event_active(workers->turn, EV_TIMEOUT, 0);
    workers->turning = true;
}

void workers_changed(struct workers *workers)
{
    workers->changed = true;
    workers_touch(workers);
}

static void flush_lines(struct workers *workers)
{
    while (!list_empty(&workers->dirty)) {
        struct process *process = LIST_ITEM(workers->dirty.next, struct process, dirty);
        list_remove(&process->dirty);
        channel_flush(&process->channel);
        if (!list_empty(&process->queued))
            handover_stalled(process);
    }
}

/* The guard hears late that a worker holds no lane run and no lock any more: that harms nobody. */
static void unmark_lanes(struct workers *workers)
{
    if (!workers->lanes_changed)
        return;
    workers->lanes_changed = false;
    EACH_PROCESS (workers, process) {
        if (!process->lane_marked || process->lanes > 0 || process->locks_held > 0)
            continue;
        if (guard_link_lane(workers->guard, process->number, false) == 0)
            process->lane_marked = false;
        else
            workers->lanes_changed = true;
    }
}

static void report_over(struct workers *workers)
{
    while (!list_empty(&workers->over)) {
        struct run *run = LIST_ITEM(workers->over.next, struct run, in_process);
        struct worker_result result = {.outcome = run->verdict, .reason = slice_of(run->reason)};
        if (run->verdict == WORKER_FAIL)
            result.message = result.reason;
        workers_finish(workers, run, &result);
    }
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct workers *workers = arg;
    workers->turning = false;
    report_over(workers);
    flush_lines(workers);
    unmark_lanes(workers);
    if (!workers->changed)
        return;
    workers->changed = false;
    if (workers->callbacks.changed != NULL)
        workers->callbacks.changed(workers->callbacks.arg);
}

/* --- runs --- */

void workers_take_run(struct workers *workers, struct run *run)
{
    struct process *process = run->process;
    list_remove(&run->in_process);
    deadline_clear(workers, run);
    if (process == NULL)
        return;
    run->process = NULL;
    process->busy--;
    process->lanes -= run->lane;
    workers->lanes_changed |= run->lane;
    if (run->alone)
        process->lone = false;
    worker_lock_run_over(process, run);
    workers_changed(workers);
}

void workers_finish(struct workers *workers, struct run *run, struct worker_result *result)
{
    workers_take_run(workers, run);
    result->id = run->id;
    result->fence = run->fence;
    result->duration_us = run->handed_us > 0 ? clock_monotonic_us() - run->handed_us : 0;
    run_remove(&workers->runs, run);
    workers->callbacks.result(workers->callbacks.arg, result);
}

void workers_finish_later(struct workers *workers, struct run *run, enum worker_outcome outcome,
                          const char *reason)
{
    workers_take_run(workers, run);
    run->verdict = outcome;
    run->reason = reason;
    list_append(&workers->over, &run->in_process);
    workers_touch(workers);
}

int workers_pool_for(struct workers *workers, const char *handler, bool lane)
{
    int best = -1;
    int64_t best_room = 0;
    for (size_t i = 0; i < workers->pool_count; i++) {
        int64_t room = pool_room(&workers->pools[i], handler, lane);
        if (room > best_room) {
            best_room = room;
            best = (int)i;
        }
    }
    return best;
}

int workers_run(struct workers *workers, size_t pool, const struct worker_run *run)
{
    if (workers->draining || workers->orphaned || pool >= workers->pool_count)
        return -1;
    struct process *process = pool_pick(&workers->pools[pool], run);
    return process != NULL ? handover_run(process, run) : -1;
}

static void take_back(struct process *process, struct run *run,
                      void (*back)(void *arg, int64_t id, int64_t fence), void *arg)
{
    struct workers *workers = process->workers;
    int64_t id = run->id, fence = run->fence;
    handover_remove(process, run);
    run_move(run, RUN_TAKEN);
    workers_take_run(workers, run);
    run_remove(&workers->runs, run);
    back(arg, id, fence);
}

void workers_take_back(struct workers *workers, void (*back)(void *arg, int64_t id, int64_t fence),
                       void *arg)
{
    EACH_PROCESS (workers, process) {
        struct list *queued = &process->queued;
        while (!list_empty(queued)) /* from the end: nothing behind has to move up */
            take_back(process, LIST_ITEM(queued->previous, struct run, in_process), back, arg);
    }
}

bool workers_cancel(struct workers *workers, int64_t id, int64_t fence, const char *reason)
{
    struct run *run = run_find(&workers->runs, id, fence);
    if (run == NULL)
        return false;
    if (run->state == RUN_QUEUED) {
        handover_remove(run->process, run);
        run_move(run, RUN_CANCELLED);
        workers_finish_later(workers, run, WORKER_CANCELLED, "cancelled before it began");
    } else if (run->state == RUN_HANDED) {
        deadline_cancel(workers, run, WORKER_CANCELLED, reason != NULL ? reason : "cancelled");
    }
    return true;
}

/* --- the guard --- */

static struct process *find_process(struct workers *workers, uint32_t number)
{
    EACH_PROCESS (workers, process) {
        if (process->number == number)
            return process;
    }
    return NULL;
}

static void on_started(void *arg, uint32_t number, pid_t pid)
{
    struct process *process = find_process(arg, number);
    if (process != NULL)
        process_started(process, pid);
}

static void on_refused(void *arg, uint32_t number, const char *why)
{
    struct process *process = find_process(arg, number);
    if (process != NULL)
        process_refused(process, why);
}

static void on_ended(void *arg, uint32_t number, int status, enum guard_cause cause)
{
    struct process *process = find_process(arg, number);
    if (process != NULL)
        process_ended(process, status, cause);
}

static void on_lost(void *arg)
{
    struct workers *workers = arg;
    workers->orphaned = true;
    log_error(workers->log, "the guard died, and all workers with it");
    EACH_PROCESS (workers, process) {
        process_orphaned(process);
    }
    if (workers->callbacks.guard_lost != NULL)
        workers->callbacks.guard_lost(workers->callbacks.arg);
}

/* --- orders for all --- */

void workers_drain(struct workers *workers, int64_t grace_us)
{
    workers->draining = true;
    workers->drain_grace_us = grace_us;
    guests_close(workers);
    EACH_PROCESS (workers, process) {
        process_retire(process);
        if (!process_serves(process))
            continue; /* one that starts is told when it says hello */
        protocol_write_drain(&process->channel.out, grace_us);
        process_dirty(process);
    }
    workers_changed(workers);
}

void workers_lease(struct workers *workers, int64_t valid_until_boot_us)
{
    workers->lease_us = valid_until_boot_us;
    guard_link_lease(workers->guard, valid_until_boot_us);
    EACH_PROCESS (workers, process) {
        if (process_serves(process) && channel_pending(&process->channel) == 0)
            answer_lease(process, 0); /* who does not read is not told more: his ends earlier */
    }
    guests_lease(workers);
}

size_t workers_pools(const struct workers *workers, const struct worker_pool_view **ret_views)
{
    for (size_t i = 0; i < workers->pool_count; i++)
        pool_view(&workers->pools[i], &workers->views[i]);
    *ret_views = workers->views;
    return workers->pool_count;
}

size_t workers_busy(const struct workers *workers)
{
    return workers->runs.count;
}

const struct worker_counts *workers_counts(const struct workers *workers)
{
    return &workers->counts;
}

/* --- life --- */

/* Never started so far, as no lane run was in sight. */
static bool waits_for_lanes(const struct process *process)
{
    const struct pool *pool = process->pool;
    return pool->split && process == &pool->processes[pool->process_count - 1] &&
           process->start_count == 0 && process->state == PROCESS_RESTING;
}

static void init_pools(struct workers *workers, const struct worker_config *config)
{
    workers->pool_count = config->pool_count;
    workers->pools = mem_array(config->pool_count + 1, sizeof *workers->pools);
    workers->views = mem_array(config->pool_count + 1, sizeof *workers->views);
    for (size_t i = 0; i < config->pool_count; i++)
        pool_init(&workers->pools[i], workers, config, &config->pools[i]);
}

static void start_pools(struct workers *workers)
{
    EACH_PROCESS (workers, process) {
        if (!process_is_guest(process) && !waits_for_lanes(process))
            process_start(process);
    }
}

void workers_want_lanes(struct workers *workers)
{
    EACH_PROCESS (workers, process) {
        if (waits_for_lanes(process) && !workers->draining && !workers->orphaned)
            process_start(process);
    }
}

struct workers *workers_new(const struct worker_config *given,
                            const struct worker_callbacks *callbacks, struct rota_error *error)
{
    struct worker_config config = *given;
    if (config.kill_grace_us <= 0)
        config.kill_grace_us = KILL_GRACE_US;
    struct workers *workers = mem_alloc(sizeof *workers);
    *workers = (struct workers){.base = config.base,
                                .log = config.log,
                                .node = mem_string(config.node),
                                .callbacks = *callbacks,
                                .kill_grace_us = config.kill_grace_us,
                                .deadline_us = INT64_MAX};
    list_init(&workers->dirty);
    list_init(&workers->over);
    heap_init(&workers->deadlines, run_due_before, offsetof(struct run, heap_place));
    workers->deadline = event_new(config.base, -1, 0, deadline_on_timer, workers);
    workers->turn = event_new(config.base, -1, 0, on_turn, workers);
    init_pools(workers, &config);
    struct guard_link_callbacks guard = {workers, on_started, on_refused, on_ended, on_lost};
    if (guests_open(workers, &config, error) == 0)
        workers->guard = guard_link_new(&config, &guard, error);
    if (workers->guard == NULL) {
        workers_free(workers);
        return NULL;
    }
    start_pools(workers);
    return workers;
}

void workers_free(struct workers *workers)
{
    if (workers == NULL)
        return;
    EACH_PROCESS (workers, process) {
        worker_lock_forget(process);
    }
    for (size_t i = 0; i < workers->pool_count; i++)
        pool_close(&workers->pools[i]);
    guests_free(workers);
    guard_link_free(workers->guard);
    event_free(workers->turn);
    event_free(workers->deadline);
    heap_free(&workers->deadlines);
    run_table_free(&workers->runs);
    free(workers->pools);
    free(workers->views);
    free(workers->node);
    free(workers);
}
