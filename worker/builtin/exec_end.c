/*
 * How an exec run ends: when its child does. Whoever holds the output open is given a moment, then
 * everything the child left behind is killed and waited for, and only then the run is answered.
 */
#include "worker/builtin/exec.h"

#include "worker/tree.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LINGER_US       (200 * US_PER_MS) /* for the last words of a pipeline's other end */
#define SWEEP_TURN_US   (2 * US_PER_MS)   /* until SIGKILL has worked */
#define SWEEP_US        US_PER_SECOND     /* after it what is left is left to the kernel */
#define LINE_LENGTH_MAX 250               /* of the failure's message */

static void exec_wait(struct exec *exec, int64_t duration_us)
{
    struct timeval wait = clock_timeval(duration_us);
    event_add(&exec->timer, &wait);
}

/* --- what a child leaves behind --- */

/* The exec run whose child this is, dead or alive, as long as nobody has waited for it. */
static struct exec *find_child(struct builtin *builtin, pid_t pid)
{
    LIST_EACH(&builtin->tasks, struct task, all, task)
    {
        struct exec *exec = (struct exec *)task;
        if (task->handler == &exec_handler && exec->state != EXEC_SWEEPING && exec->pid == pid)
            return exec;
    }
    return NULL;
}

/* 1 with the number in a variable of the process, 0: it has none, -1: nothing to be seen of it. */
static int number_of(pid_t pid, const char *name, int64_t *ret_number)
{
    char text[24];
    int found = tree_variable(pid, name, text, sizeof text);
    return found == 1 ? text_int64(text, strlen(text), ret_number) == 0 : found;
}

static struct exec *find_run(struct builtin *builtin, int64_t id, int64_t fence)
{
    LIST_EACH(&builtin->tasks, struct task, all, task)
    {
        if (task->handler == &exec_handler && task->id == id && task->fence == fence)
            return (struct exec *)task;
    }
    return NULL;
}

/*
 * A process whose parents are gone belongs to a running run if it is in its child's session or
 * carries its numbers: 1. One that has left both is nobody's: 0. One that dies, or executes a
 * program at this moment, has no environment to be read: -1, ask again.
 */
static int is_spared(struct builtin *builtin, pid_t pid)
{
    int64_t id, fence;
    if (find_child(builtin, getsid(pid)) != NULL)
        return 1;
    int has_id = number_of(pid, "ROTA_RUN_ID", &id),
        has_fence = number_of(pid, "ROTA_FENCE", &fence);
    if (has_id < 0 || has_fence < 0)
        return -1;
    const struct exec *exec = has_id > 0 && has_fence > 0 ? find_run(builtin, id, fence) : NULL;
    return exec != NULL && exec->state != EXEC_SWEEPING;
}

static size_t child_count(struct builtin *builtin)
{
    size_t count = 0;
    LIST_EACH(&builtin->tasks, struct task, all, task)
    {
        count += task->handler == &exec_handler && ((struct exec *)task)->state != EXEC_SWEEPING;
    }
    return count;
}

/*
 * Kills the orphans that belong to no running run. How many there were, dead ones included: their
 * children may have come to us after the list was made.
 */
static size_t sweep_orphans(struct builtin *builtin, bool last)
{
    struct tree_list children = {0};
    size_t found = 0;
    tree_children(getpid(), &children);
    if (children.count == child_count(builtin))
        children.count = 0; /* the common case: no orphans */
    for (size_t i = 0; i < children.count; i++) {
        pid_t pid = children.pids[i];
        if (find_child(builtin, pid) != NULL)
            continue;
        if (waitpid(pid, NULL, WNOHANG) == 0) {
            int spared = is_spared(builtin, pid);
            if (spared > 0)
                continue;
            if (spared == 0 || last)
                tree_kill(pid);
        }
        found++;
    }
    tree_free(&children);
    return found;
}

/* --- the answer --- */

/* The end of the output, from the beginning of a character on. */
static struct slice output_of(const struct exec *exec)
{
    struct slice text = {exec->output.data, exec->output.length};
    if (text.length > EXEC_OUTPUT_MAX) {
        text.data += text.length - EXEC_OUTPUT_MAX;
        text.length = EXEC_OUTPUT_MAX;
    }
    for (int i = 0; i < 3 && exec->truncated && text.length > 0; i++) {
        if (((unsigned char)text.data[0] & 0xc0) != 0x80)
            break;
        text.data++;
        text.length--;
    }
    return text;
}

/* The last line that says something; empty if none does. */
static struct slice last_line(struct slice text)
{
    static const char blank[] = " \t\r\n";
    while (text.length > 0 && strchr(blank, text.data[text.length - 1]) != NULL)
        text.length--;
    size_t start = text.length;
    while (start > 0 && text.data[start - 1] != '\n' && text.length - start < LINE_LENGTH_MAX)
        start--;
    return (struct slice){text.data + start, text.length - start};
}

static void signal_name(int number, char text[24])
{
    const char *name = sigabbrev_np(number);
    if (name != NULL)
        snprintf(text, 24, "SIG%s", name);
    else
        snprintf(text, 24, "signal %d", number);
}

/* One that was killed has the exit code a shell would give it, 128 and the signal's number. */
static void write_details(struct buffer *details, const struct exec *exec, struct slice output)
{
    bool killed = WIFSIGNALED(exec->status);
    buffer_format(details, "{\"exit_code\":%d",
                  killed ? 128 + WTERMSIG(exec->status) : WEXITSTATUS(exec->status));
    if (killed) {
        char name[24];
        signal_name(WTERMSIG(exec->status), name);
        buffer_format(details, ",\"signal\":\"%s\"", name);
    }
    buffer_string(details, ",\"output\":");
    builtin_text(details, output.data, output.length);
    buffer_string(details,
                  exec->truncated ? ",\"output_truncated\":true}" : ",\"output_truncated\":false}");
}

static void exec_fail(struct exec *exec, struct slice details, struct slice output)
{
    char exception[64], name[24];
    signal_name(WIFSIGNALED(exec->status) ? WTERMSIG(exec->status) : 0, name);
    if (exec->cancelled != NULL)
        snprintf(exception, sizeof exception, "cancelled");
    else if (WIFSIGNALED(exec->status))
        snprintf(exception, sizeof exception, "signal %s", name);
    else
        snprintf(exception, sizeof exception, "exit status %d", WEXITSTATUS(exec->status));
    struct builtin_failure failure = {.exception = exception,
                                      .message = exec->cancelled != NULL ? slice_of(exec->cancelled)
                                                                         : last_line(output),
                                      .details = details};
    if (failure.message.length == 0)
        failure.message = slice_of(exception);
    builtin_fail(exec->task.builtin, exec->task.id, exec->task.fence, &failure);
}

static void exec_answer(struct exec *exec)
{
    struct buffer details = {0};
    struct slice output = output_of(exec);
    write_details(&details, exec, output);
    struct slice text = {details.data, details.length};
    if (exec->cancelled == NULL && WIFEXITED(exec->status) && WEXITSTATUS(exec->status) == 0)
        builtin_done(exec->task.builtin, exec->task.id, exec->task.fence, text);
    else
        exec_fail(exec, text, output);
    buffer_free(&details);
    exec_free(exec);
}

/* --- the steps --- */

void exec_sweep(struct exec *exec)
{
    bool last = clock_monotonic_us() >= exec->sweep_end_us;
    size_t found = sweep_orphans(exec->task.builtin, last);
    if (found > 0 && !last) {
        exec_wait(exec, SWEEP_TURN_US);
        return;
    }
    exec_read(exec); /* what they wrote before they died */
    exec_answer(exec);
}

void exec_close(struct exec *exec)
{
    event_del(&exec->timer);
    kill(-exec->pid, SIGKILL); /* before the number of the group is free again */
    pid_t waited;
    do
        waited = waitpid(exec->pid, &exec->status, 0);
    while (waited < 0 && errno == EINTR);
    exec->state = EXEC_SWEEPING;
    exec->sweep_end_us = clock_monotonic_us() + SWEEP_US;
    exec_sweep(exec);
}

static void exec_ended(struct exec *exec)
{
    event_del(&exec->timer);
    exec->state = EXEC_LINGERING;
    exec_read(exec);
    if (exec->output_fd < 0 || exec->cancelled != NULL)
        exec_close(
            exec); /* a cancelled run has no time to lose: its worker would be ended for it */
    else
        exec_wait(exec, LINGER_US);
}

static bool has_ended(const struct exec *exec)
{
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)exec->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == exec->pid;
}

static void reap_each(struct builtin *builtin)
{
    LIST_EACH(&builtin->tasks, struct task, all, task)
    {
        struct exec *exec = (struct exec *)task;
        if (task->handler == &exec_handler && exec->state == EXEC_RUNNING && has_ended(exec))
            exec_ended(exec);
    }
}

/*
 * The child of a run stays unwaited for until all it leaves behind is dead, so that its number
 * names nobody else. While such a one lingers the kernel shows only it, and each child is asked
 * for.
 */
void exec_reap(struct builtin *builtin)
{
    for (;;) {
        siginfo_t info = {0};
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0)
            return;
        struct exec *exec = find_child(builtin, info.si_pid);
        if (exec == NULL) {
            waitpid(info.si_pid, NULL, 0); /* an orphan */
        } else if (exec->state == EXEC_RUNNING) {
            exec_ended(exec);
        } else {
            reap_each(builtin);
            return;
        }
    }
}
