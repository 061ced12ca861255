/* Child processes on the event loop: see child.h. */
#include "cmd/child.h"

#include "base/buffer.h"
#include "base/list.h"
#include "base/memory.h"
#include "cmd/account.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define LINE_MAX_BYTES (64 * 1024) /* a longer line is cut in pieces */
#define READS_MAX      64          /* of one pipe after its process has ended */

struct children {
    struct event_base *base;
    struct event *ended;
    struct list all;
};

struct stream {
    struct child *child;
    struct event *readable; /* NULL: closed */
    struct buffer buffer;
    bool error;
};

struct child {
    struct children *children;
    struct list place;
    pid_t pid;
    struct child_callbacks callbacks;
    struct stream streams[2]; /* stdout, stderr */
};

/* --- output --- */

static void stream_close(struct stream *stream)
{
    if (stream->readable == NULL)
        return;
    int fd = event_get_fd(stream->readable);
    event_free(stream->readable);
    stream->readable = NULL;
    close(fd);
}

static void stream_lines(struct stream *stream, bool all)
{
    struct child *child = stream->child;
    struct buffer *buffer = &stream->buffer;
    while (buffer->length > 0) {
        const char *end = memchr(buffer->data, '\n', buffer->length);
        if (end == NULL && !all && buffer->length < LINE_MAX_BYTES)
            return;
        size_t length = end != NULL ? (size_t)(end - buffer->data) : buffer->length;
        child->callbacks.line(child->callbacks.arg, stream->error, buffer->data, length);
        buffer_consume(buffer, length + (end != NULL));
    }
}

/* False at end of file or when there is nothing to read now. */
static bool stream_read(struct stream *stream)
{
    ssize_t length =
        read(event_get_fd(stream->readable), buffer_reserve(&stream->buffer, 4096), 4096);
    if (length > 0) {
        stream->buffer.length += (size_t)length;
        stream_lines(stream, false);
        return true;
    }
    if (length == 0 || (errno != EAGAIN && errno != EINTR)) {
        stream_lines(stream, true);
        stream_close(stream);
    }
    return false;
}

static void on_readable(evutil_socket_t fd, short events, void *arg)
{
    (void)fd;
    (void)events;
    stream_read(arg);
}

static void stream_open(struct stream *stream, struct child *child, int fd, bool error)
{
    *stream = (struct stream){.child = child, .error = error};
    fcntl(fd, F_SETFL, O_NONBLOCK);
    stream->readable =
        event_new(child->children->base, fd, EV_READ | EV_PERSIST, on_readable, stream);
    assert(stream->readable != NULL);
    event_add(stream->readable, NULL);
}

/* What it wrote before it ended; a grandchild may hold the pipe open for longer. */
static void stream_finish(struct stream *stream)
{
    for (int i = 0; i < READS_MAX && stream->readable != NULL; i++)
        if (!stream_read(stream))
            break;
    stream_lines(stream, true);
    stream_close(stream);
    buffer_free(&stream->buffer);
}

/* --- end --- */

static struct child *find_child(struct children *children, pid_t pid)
{
    LIST_EACH (&children->all, struct child, place, child)
        if (child->pid == pid)
            return child;
    return NULL;
}

static void on_ended(evutil_socket_t fd, short events, void *arg)
{
    struct children *children = arg;
    int status;
    pid_t pid;
    (void)fd;
    (void)events;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        struct child *child = find_child(children, pid);
        if (child == NULL)
            continue;
        stream_finish(&child->streams[0]);
        stream_finish(&child->streams[1]);
        list_remove(&child->place);
        child->callbacks.ended(child->callbacks.arg, status);
        free(child);
    }
}

struct children *children_new(struct event_base *base, struct rota_error *error)
{
    struct children *children = mem_alloc(sizeof *children);
    children->base = base;
    list_init(&children->all);
    children->ended = evsignal_new(base, SIGCHLD, on_ended, children);
    if (children->ended == NULL || evsignal_add(children->ended, NULL) != 0) {
        error_set(error, ERROR_REFUSED, "cannot watch child processes");
        children_free(children);
        return NULL;
    }
    return children;
}

void children_free(struct children *children)
{
    if (children == NULL)
        return;
    assert(list_empty(&children->all));
    if (children->ended != NULL)
        event_free(children->ended);
    free(children);
}

/* --- start --- */

struct pipes {
    int input[2], output[2], errors[2], report[2];
};

static void close_pair(int pair[2])
{
    for (int i = 0; i < 2; i++)
        if (pair[i] >= 0)
            close(pair[i]);
    pair[0] = pair[1] = -1;
}

static void pipes_close(struct pipes *pipes)
{
    close_pair(pipes->input);
    close_pair(pipes->output);
    close_pair(pipes->errors);
    close_pair(pipes->report);
}

static int pipes_open(struct pipes *pipes, const struct child_options *options)
{
    *pipes = (struct pipes){{-1, -1}, {-1, -1}, {-1, -1}, {-1, -1}};
    if (pipe2(pipes->report, O_CLOEXEC) != 0 || pipe2(pipes->input, O_CLOEXEC) != 0)
        return -1;
    if (options->output < 0 &&
        (pipe2(pipes->output, O_CLOEXEC) != 0 || pipe2(pipes->errors, O_CLOEXEC) != 0))
        return -1;
    if (options->input != NULL) {
        size_t length = strlen(options->input);
        assert(length <= 4096); /* fits into any pipe: the write cannot block */
        if (write(pipes->input[1], options->input, length) != (ssize_t)length)
            return -1;
    }
    return 0;
}

static void reset_signals(void)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGCHLD, SIG_DFL);
}

static void set_environment(const struct child_options *options)
{
    for (const char *const *name = options->unset; name != NULL && *name != NULL; name++)
        unsetenv(*name);
    for (const char *const *word = options->environment; word != NULL && *word != NULL; word++) {
        char *name = mem_string_n(*word, strcspn(*word, "="));
        setenv(name, *word + strlen(name) + 1, 1);
        free(name);
    }
}

/* Never returns. Where it fails, errno goes up the report pipe. */
__attribute__((noreturn)) static void run_child(const struct child_options *options,
                                                const struct pipes *pipes, pid_t parent)
{
    int output = options->output >= 0 ? options->output : pipes->output[1];
    int errors = options->output >= 0 ? options->output : pipes->errors[1];
    reset_signals();
    setsid();
    if (dup2(pipes->input[0], STDIN_FILENO) < 0 || dup2(output, STDOUT_FILENO) < 0 ||
        dup2(errors, STDERR_FILENO) < 0)
        goto failed;
    if (options->account != NULL && account_become(options->account) != 0)
        goto failed;
    /* after the change of user, which forgets it */
    if (prctl(PR_SET_PDEATHSIG, options->death_signal) != 0)
        goto failed;
    if (getppid() != parent)
        _exit(1);
    if (options->directory != NULL && chdir(options->directory) != 0)
        goto failed;
    set_environment(options);
    execv(options->argv[0], (char *const *)options->argv);
failed:;
    int code = errno;
    _exit(write(pipes->report[1], &code, sizeof code) == sizeof code ? 127 : 126);
}

/* 0 once exec() has worked, else errno of the child. */
static int wait_exec(struct pipes *pipes, pid_t pid)
{
    int code = 0, status;
    ssize_t length;
    close(pipes->report[1]);
    pipes->report[1] = -1;
    do
        length = read(pipes->report[0], &code, sizeof code);
    while (length < 0 && errno == EINTR);
    if (length != sizeof code)
        return 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return code;
}

struct child *child_start(struct children *children, const struct child_options *options,
                          const struct child_callbacks *callbacks, struct rota_error *error)
{
    struct child *child = NULL;
    struct pipes pipes;
    pid_t parent = getpid(), pid = -1;
    int code = pipes_open(&pipes, options) == 0 ? 0 : errno;
    if (code == 0 && (pid = fork()) < 0)
        code = errno;
    if (pid == 0)
        run_child(options, &pipes, parent);
    if (code == 0)
        code = wait_exec(&pipes, pid);
    if (code != 0) {
        error_set(error, ERROR_REFUSED, "cannot start %s: %s", options->argv[0], strerror(code));
        goto out;
    }
    child = mem_alloc(sizeof *child);
    child->children = children;
    child->pid = pid;
    child->callbacks = *callbacks;
    list_init(&child->place);
    list_append(&children->all, &child->place);
    if (options->output < 0) {
        stream_open(&child->streams[0], child, pipes.output[0], false);
        stream_open(&child->streams[1], child, pipes.errors[0], true);
        pipes.output[0] = pipes.errors[0] = -1;
    }
out:
    pipes_close(&pipes);
    return child;
}

pid_t child_pid(const struct child *child)
{
    return child->pid;
}

void child_signal(const struct child *child, int signal)
{
    kill(child->pid, signal);
}

void child_signal_group(const struct child *child, int signal)
{
    kill(-child->pid, signal);
}

const char *child_status_text(int status, char text[80])
{
    if (WIFSIGNALED(status))
        snprintf(text, 80, "was killed by signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else
        snprintf(text, 80, "ended with status %d", WEXITSTATUS(status));
    return text;
}
