/*
 * The life of one place in a pool: start, hello, service, end, the next start. What a worker says
 * is in answer.c, what becomes of its late runs in deadline.c.
 */
#include "worker/guest.h"
#include "worker/pool.h"

#include "base/clock.h"
#include "base/memory.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (1024 * 1024)

static const char *const states[] = {"resting", "starting", "ready",  "condemned",
                                     "lost",    "ending",   "stopped"};
static const char *const events[] = {"start", "refused", "hello",    "fault",  "end of file",
                                     "exit",  "condemn", "deadline", "retire", "guard lost"};

static const struct machine_row rows[] = {
    {PROCESS_RESTING, PROCESS_START, PROCESS_STARTING, "its place is to be filled"},
    {PROCESS_RESTING, PROCESS_RETIRE, PROCESS_STOPPED, "no more workers are wanted"},
    {PROCESS_STARTING, PROCESS_REFUSED, PROCESS_RESTING, "it could not be started"},
    {PROCESS_STARTING, PROCESS_HELLO, PROCESS_READY, "it has said what it serves"},
    {PROCESS_STARTING, PROCESS_FAULT, PROCESS_ENDING, "its words are no protocol"},
    {PROCESS_STARTING, PROCESS_DEADLINE, PROCESS_ENDING, "it has not said hello in time"},
    {PROCESS_STARTING, PROCESS_EOF, PROCESS_LOST, "its channel ended"},
    {PROCESS_STARTING, PROCESS_EXIT, PROCESS_RESTING, "it ended"},
    {PROCESS_READY, PROCESS_HELLO, PROCESS_READY, "it serves something else now"},
    {PROCESS_READY, PROCESS_FAULT, PROCESS_ENDING, "its words are no protocol"},
    {PROCESS_READY, PROCESS_CONDEMN, PROCESS_CONDEMNED, "a run in it did not end when told to"},
    {PROCESS_READY, PROCESS_EOF, PROCESS_LOST, "its channel ended"},
    {PROCESS_READY, PROCESS_EXIT, PROCESS_RESTING, "it ended"},
    {PROCESS_CONDEMNED, PROCESS_HELLO, PROCESS_CONDEMNED, "too late to change anything"},
    {PROCESS_CONDEMNED, PROCESS_FAULT, PROCESS_ENDING, "its words are no protocol"},
    {PROCESS_CONDEMNED, PROCESS_DEADLINE, PROCESS_ENDING, "SIGTERM has not ended it"},
    {PROCESS_CONDEMNED, PROCESS_EOF, PROCESS_LOST, "its channel ended"},
    {PROCESS_CONDEMNED, PROCESS_EXIT, PROCESS_RESTING, "it ended"},
    {PROCESS_LOST, PROCESS_DEADLINE, PROCESS_ENDING, "it lives on without its channel"},
    {PROCESS_LOST, PROCESS_EXIT, PROCESS_RESTING, "it ended"},
    {PROCESS_LOST, PROCESS_REFUSED, PROCESS_RESTING, "it had never been started"},
    {PROCESS_ENDING, PROCESS_HELLO, PROCESS_ENDING, "too late to change anything"},
    {PROCESS_ENDING, PROCESS_FAULT, PROCESS_ENDING, "it ends already"},
    {PROCESS_ENDING, PROCESS_EOF, PROCESS_ENDING, "it ends already"},
    {PROCESS_ENDING, PROCESS_DEADLINE, PROCESS_ENDING, "SIGKILL has not ended it yet"},
    {PROCESS_ENDING, PROCESS_EXIT, PROCESS_RESTING, "it ended"},
    {PROCESS_ENDING, PROCESS_REFUSED, PROCESS_RESTING, "it had never been started"},
    {PROCESS_RESTING, PROCESS_ORPHANED, PROCESS_STOPPED, "nobody can start it"},
    {PROCESS_STARTING, PROCESS_ORPHANED, PROCESS_STOPPED, "it died with the guard"},
    {PROCESS_READY, PROCESS_ORPHANED, PROCESS_STOPPED, "it died with the guard"},
    {PROCESS_CONDEMNED, PROCESS_ORPHANED, PROCESS_STOPPED, "it died with the guard"},
    {PROCESS_LOST, PROCESS_ORPHANED, PROCESS_STOPPED, "it died with the guard"},
    {PROCESS_ENDING, PROCESS_ORPHANED, PROCESS_STOPPED, "it died with the guard"},
    {PROCESS_STOPPED, PROCESS_ORPHANED, PROCESS_STOPPED, "there was none"},
};

const struct machine process_machine = {
    .name = "worker process",
    .states = states,
    .events = events,
    .rows = rows,
    .row_count = sizeof rows / sizeof *rows,
};

void process_move(struct process *process, enum process_event event)
{
    const struct machine_row *move =
        machine_move(&process_machine, (int)process->state, (int)event);
    log_debug(process->workers->log, "worker process moves", LOG_TEXT("pool", process->pool->name),
              LOG_INT("pid", process->pid), LOG_TEXT("from", states[move->from]),
              LOG_TEXT("to", states[move->to]), LOG_TEXT("why", move->why));
    process->state = (enum process_state)move->to;
    if (process_is_guest(process) && move->from != PROCESS_READY && move->to != PROCESS_READY)
        return; /* nothing it serves has changed: those who only knock cost nothing */
    process->workers->counts.news++;
    workers_changed(process->workers);
}

static void process_wait(struct process *process, int64_t duration_us)
{
    struct timeval timeout = clock_timeval(duration_us);
    event_add(process->timer, &timeout);
}

bool process_serves(const struct process *process)
{
    return process->state == PROCESS_READY || process->state == PROCESS_CONDEMNED;
}

void process_dirty(struct process *process)
{
    if (list_empty(&process->dirty))
        list_append(&process->workers->dirty, &process->dirty);
    workers_touch(process->workers);
}

/* --- start --- */

/*
 * How long until the next start: nothing while few starts happened lately, then doubling. A worker
 * that lived long, or that we ended ourselves, clears its record.
 */
static int64_t process_next_wait(struct process *process)
{
    int64_t now_us = clock_monotonic_us();
    unsigned count = process->start_count;
    int64_t last_us = count > 0 ? process->starts_us[(count - 1) % START_MAX] : now_us;
    if (process->ended_by_us || now_us - last_us >= START_WINDOW_US) {
        process->start_count = 0;
        process->wait_us = 0;
        return 0;
    }
    bool often =
        count >= START_MAX && now_us - process->starts_us[count % START_MAX] < START_WINDOW_US;
    if (!often && process->wait_us == 0)
        return 0;
    process->wait_us = process->wait_us > 0 ? process->wait_us * 2 : START_WAIT_US;
    if (process->wait_us > START_WAIT_MAX)
        process->wait_us = START_WAIT_MAX;
    return process->wait_us;
}

static void process_rest(struct process *process)
{
    struct workers *workers = process->workers;
    if (workers->draining || workers->orphaned) {
        if (process->state == PROCESS_RESTING)
            process_move(process, PROCESS_RETIRE);
        return;
    }
    int64_t wait_us = process_next_wait(process);
    if (wait_us > 0)
        log_warn(workers->log, "worker ends too often: waiting before the next start",
                 LOG_TEXT("pool", process->pool->name), LOG_INT("wait_ms", wait_us / US_PER_MS));
    process_wait(process, wait_us);
}

static int process_socket(struct process *process, int *ret_end, struct rota_error *error)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return error_set(error, ERROR_REFUSED, "no socket for it: %s", strerror(errno));
    evutil_make_socket_nonblocking(ends[0]); /* ours; the worker's end blocks, as it expects */
    channel_open(&process->channel, process->workers->base, ends[0], &answer_callbacks, process);
    *ret_end = ends[1];
    return 0;
}

void process_start(struct process *process)
{
    struct workers *workers = process->workers;
    struct rota_error error;
    int end = -1;
    process_move(process, PROCESS_START);
    process->number = ++workers->last_number;
    process->pid = 0;
    process->ended_by_us = false;
    process->starts_us[process->start_count++ % START_MAX] = clock_monotonic_us();
    if (process->start_count == 2 * START_MAX)
        process->start_count = START_MAX; /* only full or not matters */
    workers->counts.starts++;
    process_wait(process, HELLO_US);
    if (process_socket(process, &end, &error) != 0 ||
        guard_link_spawn(workers->guard, process->number, process->pool, end, &error) != 0)
        process_refused(process, error.message);
}

void process_started(struct process *process, pid_t pid)
{
    process->pid = pid;
    log_debug(process->workers->log, "worker started", LOG_TEXT("pool", process->pool->name),
              LOG_INT("pid", pid));
}

/* --- end --- */

static void process_end(struct process *process, enum process_event event, int64_t wait_us,
                        const char *why)
{
    process_move(process, event);
    if (process->reason == NULL)
        process->reason = mem_string(why);
    guard_link_kill(process->workers->guard, process->number, SIGKILL);
    process_wait(process, wait_us);
}

void process_fault(struct process *process, const char *why)
{
    if (process_is_guest(process)) {
        guest_fault(process, why);
        return;
    }
    channel_close(&process->channel);
    list_remove(&process->dirty);
    process->workers->counts.malformed++;
    process_end(process, PROCESS_FAULT, BURIAL_US, why);
}

void process_lost(struct process *process)
{
    if (process_is_guest(process)) {
        guest_end(process, PROCESS_EOF, "it closed its connection");
        return;
    }
    channel_close(&process->channel);
    list_remove(&process->dirty);
    process_move(process, PROCESS_EOF);
    if (process->state == PROCESS_LOST)
        process_wait(process, LAST_WORDS_US);
}

void process_condemn(struct process *process)
{
    if (process->state != PROCESS_READY)
        return; /* it ends already */
    if (process_is_guest(process)) {
        guest_condemn(process);
        return;
    }
    process_move(process, PROCESS_CONDEMN);
    process->ended_by_us = true;
    process->reason = mem_string("worker was ended, as a run in it did not end when told to");
    guard_link_kill(process->workers->guard, process->number, SIGTERM);
    process_wait(process, process->workers->kill_grace_us);
}

static char *process_exit_text(int status)
{
    if (WIFEXITED(status))
        return mem_format("worker exited with status %d", WEXITSTATUS(status));
    const char *name = sigabbrev_np(WTERMSIG(status));
    return name != NULL ? mem_format("worker was killed by SIG%s", name)
                        : mem_format("worker was killed by signal %d", WTERMSIG(status));
}

void process_clear(struct process *process)
{
    channel_close(&process->channel);
    event_del(process->timer);
    list_remove(&process->dirty);
    process->number = 0;
    process->pid = 0;
    process->slots = 0;
    process->lane_marked = process->lone = process->honours_lease = false;
    process->reserved_us = 0;
    capability_clear(process);
}

/* The next run to be ended. What was never handed over is not spared: nobody works on it. */
static struct run *first_run(struct process *process, bool spare_lanes, bool *ret_handed)
{
    *ret_handed = true;
    LIST_EACH (&process->handed, struct run, in_process, run) {
        if (!spare_lanes || !run->lane)
            return run;
    }
    *ret_handed = false;
    if (list_empty(&process->queued))
        return NULL;
    return LIST_ITEM(process->queued.next, struct run, in_process);
}

/* Each ends as crashed, or back whole where it was never handed over. */
void process_bereave(struct process *process, const char *reason, bool spare_lanes)
{
    bool alone = !process->ended_by_us && !process->workers->draining && !process->crowded &&
                 !list_empty(&process->handed) && process->handed.next == process->handed.previous;
    struct run *run;
    bool handed;
    while ((run = first_run(process, spare_lanes, &handed)) != NULL) {
        struct worker_result result = {
            .outcome = handed ? WORKER_CRASHED : WORKER_REFUSE,
            .reason = slice_of(handed ? reason : "its worker ended before the run reached it"),
            .alone = alone && handed && !run->has_verdict,
        };
        if (run->has_verdict)
            result.outcome = run->verdict;
        run_move(run, RUN_BEREFT);
        workers_finish(process->workers, run, &result);
    }
}

static void process_log_end(struct process *process, pid_t pid, const char *reason)
{
    struct workers *workers = process->workers;
    const char *pool = process->pool->name;
    if (workers->draining || process->ended_by_us) {
        log_info(workers->log, "worker ended", LOG_TEXT("pool", pool), LOG_INT("pid", pid),
                 LOG_TEXT("reason", reason), LOG_INT("runs", process->busy));
        return;
    }
    workers->counts.crashes++;
    log_warn(workers->log, pid > 0 ? "worker ended" : "worker could not be started",
             LOG_TEXT("pool", pool), LOG_TEXT("command", process->pool->command[0]),
             LOG_INT("pid", pid), LOG_TEXT("reason", reason), LOG_INT("runs", process->busy));
}

/* No worker is left in this place, by `event`; takes `reason`. */
static void process_over(struct process *process, enum process_event event, char *reason)
{
    pid_t pid = process->pid;
    free(process->reason);
    process->reason = NULL;
    process_move(process, event);
    process_clear(process);
    process_log_end(process, pid, reason);
    worker_lock_process_over(process);
    process_rest(process);
    process_bereave(process, reason, false);
    free(reason);
}

void process_refused(struct process *process, const char *why)
{
    process_over(process, PROCESS_REFUSED, mem_string(why));
}

/* A worker may outlive what it has started, and say no more than that it was killed. */
static char *process_memory_text(const struct process *process, int status)
{
    int64_t limit = process->pool->limits.memory_bytes;
    bool whole = limit % MIB == 0;
    bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    char *ended = killed ? mem_string("killed") : process_exit_text(status);
    char *reason = mem_format("%s: %s more memory than its pool's limit of %lld %s", ended,
                              killed ? "it used" : "what it started used",
                              (long long)(whole ? limit / MIB : limit), whole ? "MiB" : "bytes");
    free(ended);
    return reason;
}

void process_ended(struct process *process, int status, enum guard_cause cause)
{
    channel_drain(&process->channel); /* it may have answered with its last breath */
    char *reason;
    if (process->reason != NULL)
        reason = mem_string(process->reason);
    else if (cause == GUARD_BY_MEMORY)
        reason = process_memory_text(process, status);
    else
        reason = process_exit_text(status);
    if (cause == GUARD_BY_LEASE) {
        free(reason);
        reason = mem_string("worker was killed, as the lease of the node ended");
        process->ended_by_us = true;
    }
    process_over(process, PROCESS_EXIT, reason);
}

void process_orphaned(struct process *process)
{
    if (process->state == PROCESS_RESTING || process->state == PROCESS_STOPPED) {
        event_del(process->timer);
        process_move(process, PROCESS_ORPHANED);
        return;
    }
    if (process_is_guest(process))
        return; /* no child of the guard's: it goes when the node closes its connection */
    if (process->pid > 0)
        kill(-process->pid, SIGKILL); /* it died with its parent; its group did not */
    channel_drain(&process->channel);
    process->ended_by_us = true;
    process_over(process, PROCESS_ORPHANED, mem_string("worker died with the guard"));
}

void process_retire(struct process *process)
{
    if (process->state != PROCESS_RESTING)
        return;
    event_del(process->timer);
    process_move(process, PROCESS_RETIRE);
}

/* --- deadline of the state --- */

void process_on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct process *process = arg;
    if (process_is_guest(process)) {
        guest_on_timer(process);
        return;
    }
    switch (process->state) {
    case PROCESS_RESTING:
        process_start(process);
        return;
    case PROCESS_STARTING:
        process_end(process, PROCESS_DEADLINE, BURIAL_US, "worker did not say hello within 10 s");
        return;
    case PROCESS_LOST:
        process_end(process, PROCESS_DEADLINE, BURIAL_US, "worker closed its channel and lived on");
        return;
    case PROCESS_CONDEMNED:
        process_end(process, PROCESS_DEADLINE, BURIAL_US, NULL);
        return;
    default:
        process_move(process, PROCESS_DEADLINE);
        log_error(process->workers->log, "worker does not die of SIGKILL",
                  LOG_TEXT("pool", process->pool->name), LOG_INT("pid", process->pid));
    }
}
