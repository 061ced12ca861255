/*
 * Runs on their way to a worker: their lines wait in the channel until the socket takes them, and
 * until the first byte is gone they can still be handed back whole.
 */
#include "worker/guest.h"
#include "worker/pool.h"

#include "base/clock.h"

#include <assert.h>

int handover_run(struct process *process, const struct worker_run *run)
{
    struct workers *workers = process->workers;
    if (run->lane && workers->lease_us != 0 && clock_boot_us() >= workers->lease_us)
        return -1; /* the guard would kill it */
    if (run->lane && !process_is_guest(process) && !process->lane_marked) {
        if (guard_link_lane(workers->guard, process->number, true) != 0)
            return -1;
        process->lane_marked = true;
        workers->lanes_changed = true;
    }
    struct buffer *out = &process->channel.out;
    size_t before = out->length;
    struct run *handed = run_add(&workers->runs, run->id, run->fence);
    struct worker_run told = *run;
    handed->handler = pool_handler(process->pool, run->handler, false);
    told.handler = capability_name(process, handed->handler, run->handler);
    handed->timeout_us = run->timeout_us;
    handed->line_start = channel_position(&process->channel);
    protocol_write_run(out, &told, run->timeout_us > 0 ? clock_wall_us() + run->timeout_us : 0);
    handed->line_end = channel_position(&process->channel);
    if (out->length - before > PROTOCOL_LINE_MAX) {
        out->length = before;
        run_move(handed, RUN_CANCELLED);
        workers_finish_later(workers, handed, WORKER_FAIL, "the run is longer than a line may be");
        return 0;
    }
    handed->process = process;
    handed->lane = run->lane;
    list_append(&process->queued, &handed->in_process);
    process->busy++;
    process->lanes += run->lane;
    if (run->alone) {
        handed->alone = process->lone = true;
        process->reserved_us = 0;
    }
    process_dirty(process);
    return 0;
}

void handover_written(struct process *process)
{
    int64_t now_us = clock_monotonic_us();
    while (!list_empty(&process->queued)) {
        struct run *run = LIST_ITEM(process->queued.next, struct run, in_process);
        if (run->line_start >= process->channel.sent)
            return;
        run_move(run, RUN_WRITTEN);
        list_remove(&run->in_process);
        list_append(&process->handed, &run->in_process);
        run->handed_us = now_us;
        if (run->timeout_us > 0)
            deadline_set(process->workers, run, now_us + run->timeout_us);
        else
            deadline_clear(process->workers, run);
    }
}

void handover_stalled(struct process *process)
{
    int64_t due_us = clock_monotonic_us() + STALL_US;
    LIST_EACH (&process->queued, struct run, in_process, run) {
        if (!run->in_heap)
            deadline_set(process->workers, run, due_us);
    }
}

void handover_remove(struct process *process, struct run *run)
{
    assert(run->state == RUN_QUEUED && run->process == process);
    uint64_t length = run->line_end - run->line_start;
    channel_remove(&process->channel, run->line_start, run->line_end);
    for (struct list *at = run->in_process.next; at != &process->queued; at = at->next) {
        struct run *later = LIST_ITEM(at, struct run, in_process);
        later->line_start -= length;
        later->line_end -= length;
    }
}
