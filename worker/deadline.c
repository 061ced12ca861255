/*
 * What is late: runs that the worker does not read, runs whose time is over, runs that were told to
 * end and do not. One heap, one timer.
 */
#include "worker/pool.h"

#include "base/clock.h"

static void deadline_arm(struct workers *workers)
{
    struct run *first = heap_first(&workers->deadlines);
    if (first == NULL || first->due_us >= workers->deadline_us)
        return;
    struct timeval wait = clock_timeval(first->due_us - clock_monotonic_us());
    workers->deadline_us = first->due_us;
    event_add(workers->deadline, &wait);
}

void deadline_clear(struct workers *workers, struct run *run)
{
    if (run->in_heap)
        heap_remove(&workers->deadlines, run);
    run->in_heap = false;
}

void deadline_set(struct workers *workers, struct run *run, int64_t due_us)
{
    deadline_clear(workers, run);
    run->due_us = due_us;
    run->in_heap = true;
    heap_push(&workers->deadlines, run);
    deadline_arm(workers);
}

void deadline_cancel(struct workers *workers, struct run *run, enum worker_outcome verdict,
                     const char *reason)
{
    struct process *process = run->process;
    run_move(run, verdict == WORKER_TIMEOUT ? RUN_OVERDUE : RUN_CANCELLED);
    run->has_verdict = true;
    run->verdict = verdict;
    deadline_set(workers, run, clock_monotonic_us() + workers->kill_grace_us);
    if (!process_serves(process))
        return; /* it is dying, and the run with it */
    protocol_write_cancel(&process->channel.out, run->id, run->fence, reason);
    process_dirty(process);
}

static void deadline_over(struct workers *workers, struct run *run)
{
    struct process *process = run->process;
    switch (run->state) {
    case RUN_QUEUED:
        handover_remove(process, run);
        run_move(run, RUN_STALLED);
        workers_finish(workers, run,
                       &(struct worker_result){.outcome = WORKER_REFUSE,
                                               .reason = slice_of("the worker does not read")});
        return;
    case RUN_HANDED:
        deadline_cancel(workers, run, WORKER_TIMEOUT, "its time is over");
        return;
    case RUN_CANCELLING:
        run_move(run, RUN_OVERDUE);
        process_condemn(process);
        return;
    default:
        return;
    }
}

void deadline_on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct workers *workers = arg;
    int64_t now_us = clock_monotonic_us();
    workers->deadline_us = INT64_MAX;
    for (;;) {
        struct run *run = heap_first(&workers->deadlines);
        if (run == NULL || run->due_us > now_us)
            break;
        deadline_clear(workers, run);
        deadline_over(workers, run);
    }
    deadline_arm(workers);
}
