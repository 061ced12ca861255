/*
 * The handler `exec`: one child process a run, started without a shell, with its run's message on
 * its input and the end of its output kept. How it ends is in exec_end.c.
 */
#include "worker/builtin/exec.h"

#include "worker/spawn.h"
#include "worker/tree.h"

#include "base/clock.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define READ_SIZE 16384
#define READ_MAX  (1024 * 1024) /* of one child, before others are seen to */

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* --- input and output --- */

static void keep_output(struct exec *exec, size_t length)
{
    struct buffer *output = &exec->output;
    output->length += length;
    if (output->length <= EXEC_OUTPUT_MAX)
        return;
    exec->truncated = true;
    if (output->length > (size_t)2 * EXEC_OUTPUT_MAX)
        buffer_consume(output, output->length - EXEC_OUTPUT_MAX);
}

void exec_read(struct exec *exec)
{
    for (size_t total = 0; exec->output_fd >= 0 && total < READ_MAX;) {
        ssize_t got = read(exec->output_fd, buffer_reserve(&exec->output, READ_SIZE), READ_SIZE);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (got <= 0) {
            event_del(&exec->readable);
            close_fd(&exec->output_fd);
            return;
        }
        total += (size_t)got;
        keep_output(exec, (size_t)got);
    }
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct exec *exec = arg;
    exec_read(exec);
    if (exec->output_fd < 0 && exec->state == EXEC_LINGERING)
        exec_close(exec);
}

static void write_input(struct exec *exec)
{
    size_t left = exec->input.length - exec->input_at;
    ssize_t done = write(exec->input_fd, exec->input.data + exec->input_at, left);
    if (done > 0)
        exec->input_at += (size_t)done;
    bool later = done < 0 && (errno == EAGAIN || errno == EINTR);
    if ((done < 0 && !later) || exec->input_at == exec->input.length) {
        close_fd(&exec->input_fd); /* all of it, or it is not wanted */
        buffer_free(&exec->input);
        return;
    }
    event_add(&exec->writable, NULL);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    write_input(arg);
}

/* --- events of the child --- */

static void kill_all(struct exec *exec)
{
    tree_kill(exec->pid);
    kill(-exec->pid, SIGKILL);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct exec *exec = arg;
    if (exec->state == EXEC_RUNNING)
        kill_all(exec); /* it was asked to end and had its time */
    else if (exec->state == EXEC_LINGERING)
        exec_close(exec);
    else
        exec_sweep(exec);
}

static void exec_cancel(struct task *task, struct slice reason)
{
    struct exec *exec = (struct exec *)task;
    if (exec->state == EXEC_LINGERING) {
        exec_close(exec);
        return;
    }
    if (exec->state == EXEC_SWEEPING || exec->cancelled != NULL)
        return;
    struct timeval grace = clock_timeval(task->builtin->grace_us);
    exec->cancelled = mem_string_n(reason.length > 0 ? reason.data : "cancelled",
                                   reason.length > 0 ? reason.length : 9);
    kill(-exec->pid, SIGTERM);
    event_add(&exec->timer, &grace);
}

static void exec_abandon(struct task *task)
{
    struct exec *exec = (struct exec *)task;
    if (exec->state != EXEC_SWEEPING)
        kill_all(exec);
    exec_free(exec);
}

/* --- start --- */

struct pipes {
    int input[2], output[2];
};

static void close_pipes(struct pipes *pipes)
{
    close_fd(&pipes->input[0]);
    close_fd(&pipes->input[1]);
    close_fd(&pipes->output[0]);
    close_fd(&pipes->output[1]);
}

/* Our ends do not block; the child's do, as programs expect. */
static int open_pipes(struct pipes *pipes)
{
    *pipes = (struct pipes){{-1, -1}, {-1, -1}};
    if (pipe2(pipes->input, O_CLOEXEC) == 0 && pipe2(pipes->output, O_CLOEXEC) == 0 &&
        fcntl(pipes->input[1], F_SETFL, O_NONBLOCK) == 0 &&
        fcntl(pipes->output[0], F_SETFL, O_NONBLOCK) == 0)
        return 0;
    int code = errno;
    close_pipes(pipes);
    errno = code;
    return -1;
}

static int spawn_error(const struct exec_request *request, const char *path,
                       const struct spawn_failure *failure, struct rota_error *error)
{
    const char *why = strerror(failure->code);
    if (failure->step == SPAWN_DIRECTORY)
        return error_set(error, ERROR_REFUSED, "cwd: cannot change to %s: %s", request->directory,
                         why);
    if (failure->step == SPAWN_EXEC)
        return error_set(error, ERROR_NOT_FOUND, "command[0]: cannot execute %s: %s", path, why);
    return error_set(error, ERROR_NOT_FOUND, "cannot start a process: %s", why);
}

static int spawn_child(struct builtin *builtin, const struct protocol_message *message,
                       const struct exec_request *request, const char *path, struct pipes *pipes,
                       pid_t *ret_pid, struct rota_error *error)
{
    struct buffer texts = {0};
    char **environment =
        exec_environment(builtin->environment, request, message, builtin->node, &texts);
    struct spawn spawn = {.path = path,
                          .argv = request->argv,
                          .environment = environment,
                          .directory = request->directory,
                          .input = pipes->input[0],
                          .output = pipes->output[1],
                          .errors = pipes->output[1],
                          .confine = true};
    struct spawn_failure failure;
    int failed = spawn_process(&spawn, ret_pid, &failure);
    if (failed != 0)
        spawn_error(request, path, &failure, error);
    free(environment);
    buffer_free(&texts);
    return failed;
}

static struct exec *exec_new(struct builtin *builtin, const struct protocol_message *message,
                             struct pipes *pipes, pid_t pid)
{
    struct exec *exec = mem_alloc(sizeof *exec);
    *exec = (struct exec){
        .task = {.handler = &exec_handler, .cancel = exec_cancel, .abandon = exec_abandon},
        .pid = pid,
        .output_fd = pipes->output[0],
        .input_fd = pipes->input[1]};
    pipes->output[0] = pipes->input[1] = -1;
    task_open(&exec->task, builtin, message);
    event_assign(&exec->readable, builtin->base, exec->output_fd, EV_READ | EV_PERSIST, on_readable,
                 exec);
    event_assign(&exec->writable, builtin->base, exec->input_fd, EV_WRITE, on_writable, exec);
    event_assign(&exec->timer, builtin->base, -1, 0, on_timer, exec);
    event_add(&exec->readable, NULL);
    return exec;
}

static void give_input(struct exec *exec, const struct exec_request *request, struct slice line)
{
    if (request->input != NULL) {
        buffer_append(&exec->input, request->input, request->input_length);
    } else {
        buffer_append(&exec->input, line.data, line.length);
        buffer_char(&exec->input, '\n');
    }
    if (exec->input.length > 0)
        write_input(exec);
    else
        close_fd(&exec->input_fd);
}

static int exec_run(struct builtin *builtin, const struct protocol_message *message,
                    const struct exec_request *request, struct rota_error *error)
{
    struct pipes pipes;
    pid_t pid = 0;
    const char *search_path = exec_variable(builtin->environment, "PATH");
    char *path = exec_program(request, search_path, builtin->allow, error);
    if (path == NULL)
        return -1;
    int failed = open_pipes(&pipes);
    if (failed != 0)
        error_set(error, ERROR_NOT_FOUND, "no pipes for a process: %s", strerror(errno));
    if (failed == 0)
        failed = spawn_child(builtin, message, request, path, &pipes, &pid, error);
    if (failed == 0)
        give_input(exec_new(builtin, message, &pipes, pid), request, message->line);
    close_pipes(&pipes);
    free(path);
    return failed;
}

static void exec_start(struct builtin *builtin, const struct protocol_message *message)
{
    struct exec_request request = {0};
    struct rota_error error = {0};
    const char *what = "bad data";
    int failed = exec_request_read(&request, message->data, &builtin->settings, &error);
    if (failed == 0) {
        what = "cannot start";
        failed = exec_run(builtin, message, &request, &error);
    }
    if (failed != 0) {
        struct builtin_failure said = {.exception = what,
                                       .message = slice_of(error.message),
                                       .final = error.code == ERROR_REFUSED};
        builtin_fail(builtin, message->id, message->fence, &said);
    }
    exec_request_free(&request);
}

void exec_free(struct exec *exec)
{
    task_close(&exec->task);
    event_del(&exec->readable);
    event_del(&exec->writable);
    event_del(&exec->timer);
    close_fd(&exec->output_fd);
    close_fd(&exec->input_fd);
    buffer_free(&exec->output);
    buffer_free(&exec->input);
    free(exec->cancelled);
    free(exec);
}

const struct builtin_handler exec_handler = {.name = "exec", .start = exec_start};
