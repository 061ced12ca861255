/* What workers say, and what it means for their runs. */
#include "worker/guest.h"
#include "worker/pool.h"

#include "base/clock.h"
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HELLO_AGAIN_US                                                                             \
    (100 * US_PER_MS) /* the fleet is told of new handlers: ten times a second                     \
                       */

/* --- hello --- */

void answer_lease(struct process *process, int64_t ref)
{
    struct workers *workers = process->workers;
    if (!process->honours_lease)
        return;
    protocol_write_lease(&process->channel.out, workers->lease_us - clock_boot_us(), ref);
    process->lease_told_us = workers->lease_us;
    process_dirty(process);
}

static void greet(struct process *process)
{
    struct workers *workers = process->workers;
    struct buffer *out = &process->channel.out;
    if (process->pool->settings != NULL)
        buffer_string(out, process->pool->settings);
    protocol_write_welcome(out, workers->node);
    if (workers->lease_us != 0)
        answer_lease(process, 0);
    if (workers->draining)
        protocol_write_drain(out, workers->drain_grace_us);
    process_dirty(process);
}

static bool answer_hello(struct process *process, const struct protocol_message *message)
{
    if (message->protocol != PROTOCOL_VERSION) {
        char *why = mem_format("worker speaks protocol %lld, this node speaks %d",
                               (long long)message->protocol, PROTOCOL_VERSION);
        process_fault(process, why);
        free(why);
        return true;
    }
    char *wrong = capability_check(message);
    if (wrong != NULL) {
        process_fault(process, wrong);
        free(wrong);
        return true;
    }
    bool first = process->state == PROCESS_STARTING;
    if (first && process_is_guest(process) && !guest_hello(process, message))
        return true;
    process_move(process, PROCESS_HELLO);
    process->slots = message->slots;
    process->honours_lease = message->honours_lease;
    capability_hello(process, message, first);
    const char *version = process->capability.version;
    if (!first) {
        channel_charge(&process->channel, HELLO_AGAIN_US);
        return false;
    }
    event_del(process->timer);
    greet(process);
    log_info(process->workers->log, "worker ready", LOG_TEXT("pool", process->pool->name),
             process->peer != NULL ? LOG_TEXT("peer", process->peer) : LOG_INT("pid", process->pid),
             LOG_INT("slots", process->slots), LOG_INT("handlers", message->handler_count),
             LOG_TEXT("version", *version != '\0' ? version : NULL));
    return true;
}

/* --- runs --- */

/* The run a message is about, NULL unless this worker has it. */
static struct run *run_of(struct process *process, const struct protocol_message *message)
{
    struct run *run = run_find(&process->workers->runs, message->id, message->fence);
    if (run != NULL && run->process == process && run->state != RUN_QUEUED)
        return run;
    process->workers->counts.ignored++;
    return NULL;
}

static enum worker_outcome outcome_of(const struct protocol_message *message)
{
    switch (message->type) {
    case PROTOCOL_DONE:
        return WORKER_DONE;
    case PROTOCOL_SNOOZE:
        return WORKER_SNOOZE;
    case PROTOCOL_REFUSE:
        return WORKER_REFUSE;
    default:
        return WORKER_FAIL;
    }
}

static bool refuses_handler(const struct protocol_message *message)
{
    static const char reason[] = "unknown_handler";
    return message->type == PROTOCOL_REFUSE && message->reason.length == sizeof reason - 1 &&
           memcmp(message->reason.data, reason, sizeof reason - 1) == 0;
}

static bool answer_result(struct process *process, const struct protocol_message *message)
{
    struct run *run = run_of(process, message);
    if (run == NULL)
        return false;
    struct worker_result result = {
        .outcome = outcome_of(message),
        .details = message->details,
        .data = message->data,
        .exception = message->exception,
        .message = message->message,
        .stacktrace = message->stacktrace,
        .ex_data = message->ex_data,
        .reason = message->reason,
        .retry = message->retry,
        .unschedule = message->unschedule,
        .unknown_handler = refuses_handler(message),
        .snooze_us = message->type == PROTOCOL_SNOOZE ? message->duration_us : 0,
    };
    /* What is done is done; anything else is how a run ends that was told to. */
    if (run->has_verdict && result.outcome != WORKER_DONE)
        result.outcome = run->verdict;
    if (result.unknown_handler)
        capability_refused(process, run->handler);
    else if (message->type != PROTOCOL_REFUSE)
        capability_known(process, run->handler);
    run_move(run, RUN_ANSWERED);
    workers_finish(process->workers, run, &result);
    return true;
}

static const char *level_of(struct slice level)
{
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
        if (level.length == strlen(levels[i]) && memcmp(level.data, levels[i], level.length) == 0)
            return levels[i];
    return "info";
}

static void answer_news(struct process *process, const struct protocol_message *message)
{
    const struct worker_callbacks *callbacks = &process->workers->callbacks;
    void *arg = callbacks->arg;
    struct run *run = run_of(process, message);
    if (run == NULL)
        return;
    if (message->type == PROTOCOL_PROGRESS && callbacks->progress != NULL)
        callbacks->progress(arg, run->id, run->fence, message->fraction, message->message);
    else if (message->type == PROTOCOL_CHECKPOINT && callbacks->checkpoint != NULL)
        callbacks->checkpoint(arg, run->id, run->fence, message->data);
    else if (message->type == PROTOCOL_LOG && callbacks->run_log != NULL)
        callbacks->run_log(arg, run->id, run->fence, level_of(message->level), message->message);
}

/* Who asks knows when he asked: he can count from there, whatever the answer has waited for. */
static void answer_lease_wanted(struct process *process, int64_t ref)
{
    if (channel_pending(&process->channel) > PENDING_MAX)
        process_fault(process, "worker asks for the lease and does not read the answers");
    else
        answer_lease(process, ref);
}

static bool on_message(void *arg, const struct protocol_message *message)
{
    struct process *process = arg;
    if (process_is_guest(process) && process->state == PROCESS_STARTING &&
        message->type != PROTOCOL_HELLO) {
        process_fault(process, "its first line is no hello");
        return true;
    }
    switch (message->type) {
    case PROTOCOL_HELLO:
        return answer_hello(process, message);
    case PROTOCOL_DONE:
    case PROTOCOL_FAIL:
    case PROTOCOL_SNOOZE:
    case PROTOCOL_REFUSE:
        return answer_result(process, message);
    case PROTOCOL_PROGRESS:
    case PROTOCOL_CHECKPOINT:
    case PROTOCOL_LOG:
        answer_news(process, message);
        return false;
    case PROTOCOL_LOCK:
        worker_lock_wanted(process, message);
        return false;
    case PROTOCOL_UNLOCK:
        worker_lock_released(process, message->ref);
        return false;
    case PROTOCOL_LEASE:
        answer_lease_wanted(process, message->ref);
        return false;
    default:
        return false;
    }
}

static void on_written(void *arg)
{
    handover_written(arg);
}

static void on_closed(void *arg, const char *fault)
{
    struct process *process = arg;
    if (fault == NULL) {
        process_lost(process);
        return;
    }
    /* Where lines hold a token, none is quoted. */
    const char *quoted = process->with_token ? strstr(fault, CHANNEL_EXCERPT) : NULL;
    int length = quoted != NULL ? (int)(quoted - fault) : (int)strlen(fault);
    char *why = mem_format("worker wrote a line that is no message: %.*s", length, fault);
    process_fault(process, why);
    free(why);
}

const struct channel_callbacks answer_callbacks = {
    .message = on_message, .written = on_written, .closed = on_closed};
