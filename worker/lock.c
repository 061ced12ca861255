/*
 * Cluster locks for workers: which of their requests the coordinator knows by which number, and the
 * end of each with its run or its worker. The locks themselves are none of this folder's business.
 */
#include "worker/guest.h"
#include "worker/pool.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

struct lock {
    struct list in_process;
    uint64_t number; /* struct worker_lock's `lock` */
    int64_t ref;     /* the worker's name for it */
    int64_t id, fence;
    bool node_scope;
    bool held; /* counts among the process's locks_held */
};

static struct lock *find_ref(struct process *process, int64_t ref)
{
    LIST_EACH (&process->locks, struct lock, in_process, lock) {
        if (lock->ref == ref)
            return lock;
    }
    return NULL;
}

static struct lock *find_of_run(struct process *process, const struct run *run)
{
    LIST_EACH (&process->locks, struct lock, in_process, lock) {
        if (lock->id == run->id && lock->fence == run->fence)
            return lock;
    }
    return NULL;
}

/* The process whose lock it is, NULL if nobody's any more. */
static struct process *find_number(struct workers *workers, uint64_t number, struct lock **ret_lock)
{
    for (size_t p = 0; p < workers->pool_count; p++) {
        for (int i = 0; i < workers->pools[p].process_count; i++) {
            struct process *process = &workers->pools[p].processes[i];
            LIST_EACH (&process->locks, struct lock, in_process, lock) {
                if (lock->number == number) {
                    *ret_lock = lock;
                    return process;
                }
            }
        }
    }
    return NULL;
}

static void lock_drop(struct process *process, struct lock *lock)
{
    list_remove(&lock->in_process);
    process->lock_count--;
    process->locks_held -= lock->held;
    process->workers->lanes_changed |= lock->held;
    if (lock->held)
        workers_touch(process->workers);
    free(lock);
}

/* The coordinator is told that it is not wanted any more. */
static void lock_let_go(struct process *process, struct lock *lock)
{
    const struct worker_callbacks *callbacks = &process->workers->callbacks;
    uint64_t number = lock->number;
    lock_drop(process, lock);
    callbacks->unlock(callbacks->arg, number);
}

static bool slice_is(struct slice slice, const char *text)
{
    return slice.data != NULL && slice.length == strlen(text) &&
           memcmp(slice.data, text, slice.length) == 0;
}

static const char *refusal(struct process *process, const struct protocol_message *message)
{
    const struct worker_callbacks *callbacks = &process->workers->callbacks;
    if (callbacks->lock == NULL || callbacks->unlock == NULL)
        return "this node has no locks for workers";
    if (process->lock_count >= LOCKS_MAX)
        return "too many locks of one worker";
    if (find_ref(process, message->ref) != NULL)
        return "this ref is in use";
    if (message->scope.data != NULL && !slice_is(message->scope, "cluster") &&
        !slice_is(message->scope, "node"))
        return "scope is cluster or node";
    if (!message->has_run)
        return NULL;
    const struct run *run = run_find(&process->workers->runs, message->id, message->fence);
    bool here = run != NULL && run->process == process && run->state != RUN_QUEUED;
    return here ? NULL : "no such run in this worker";
}

void worker_lock_wanted(struct process *process, const struct protocol_message *message)
{
    const struct worker_callbacks *callbacks = &process->workers->callbacks;
    const char *refused = refusal(process, message);
    if (channel_pending(&process->channel) > PENDING_MAX) {
        process_fault(process, "worker asks for locks and does not read the answers");
        return;
    }
    if (refused != NULL) {
        protocol_write_lock_failed(&process->channel.out, message->ref, refused);
        process_dirty(process);
        return;
    }
    struct lock *lock = mem_alloc(sizeof *lock);
    *lock = (struct lock){.number = ++process->workers->last_lock,
                          .ref = message->ref,
                          .node_scope = slice_is(message->scope, "node")};
    if (message->has_run) {
        lock->id = message->id;
        lock->fence = message->fence;
    }
    list_init(&lock->in_process);
    list_append(&process->locks, &lock->in_process);
    process->lock_count++;
    struct worker_lock wanted = {.lock = lock->number,
                                 .name = message->name,
                                 .wait_us = message->duration_us,
                                 .shared = message->shared,
                                 .node_scope = lock->node_scope,
                                 .id = lock->id,
                                 .fence = lock->fence};
    callbacks->lock(callbacks->arg, &wanted);
}

void worker_lock_released(struct process *process, int64_t ref)
{
    struct lock *lock = find_ref(process, ref);
    if (lock != NULL)
        lock_let_go(process, lock);
}

void worker_lock_run_over(struct process *process, const struct run *run)
{
    struct lock *lock;
    if (guest_lingers(process))
        return; /* what it holds it may still be using: until it is over itself */
    while ((lock = find_of_run(process, run)) != NULL)
        lock_let_go(process, lock);
}

void worker_lock_forget(struct process *process)
{
    while (!list_empty(&process->locks))
        lock_drop(process, LIST_ITEM(process->locks.next, struct lock, in_process));
}

void worker_lock_process_over(struct process *process)
{
    while (!list_empty(&process->locks))
        lock_let_go(process, LIST_ITEM(process->locks.next, struct lock, in_process));
}

static struct lock *find_request(struct process *process)
{
    LIST_EACH (&process->locks, struct lock, in_process, lock) {
        if (!lock->held)
            return lock;
    }
    return NULL;
}

void worker_lock_forget_requests(struct process *process)
{
    struct lock *lock;
    while ((lock = find_request(process)) != NULL)
        lock_let_go(process, lock);
}

/* Whether the process ends with the lease: the guard sees to it, or a guest has promised it. */
static bool mark(struct process *process)
{
    if (process_is_guest(process))
        return guest_honours(process);
    if (!process->lane_marked)
        process->lane_marked = guard_link_lane(process->workers->guard, process->number, true) == 0;
    return process->lane_marked;
}

void workers_locked(struct workers *workers, uint64_t number, int64_t fence)
{
    struct lock *lock;
    struct process *process = find_number(workers, number, &lock);
    if (process == NULL)
        return;
    if (!lock->node_scope && !mark(process)) {
        protocol_write_lock_failed(&process->channel.out, lock->ref,
                                   process_is_guest(process)
                                       ? "a connected worker gets locks of the cluster only while "
                                         "it honours the lease: say so in its hello"
                                       : "the guard is out of reach");
        process_dirty(process);
        lock_let_go(process, lock);
        return;
    }
    lock->held = !lock->node_scope;
    process->locks_held += lock->held;
    protocol_write_locked(&process->channel.out, lock->ref, fence);
    process_dirty(process);
}

void workers_lock_failed(struct workers *workers, uint64_t number, const char *message)
{
    struct lock *lock;
    struct process *process = find_number(workers, number, &lock);
    if (process == NULL)
        return;
    protocol_write_lock_failed(&process->channel.out, lock->ref, message);
    process_dirty(process);
    lock_drop(process, lock);
}

void workers_lock_lost(struct workers *workers, uint64_t number)
{
    struct lock *lock;
    struct process *process = find_number(workers, number, &lock);
    if (process == NULL)
        return;
    protocol_write_lock_lost(&process->channel.out, lock->ref);
    process_dirty(process);
    lock_drop(process, lock);
}
