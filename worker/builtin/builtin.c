/*
 * `rota worker`: the built-in worker. An event loop of its own that speaks the worker protocol like
 * any other worker, on the socket it finds as its input, and serves the handlers of the table
 * below.
 */
#include "worker/builtin/builtin.h"

#include "worker/builtin/exec.h"
#include "worker/builtin/http.h"
#include "worker/builtin/resolve.h"
#include "worker/worker.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define SLOTS_DEFAULT 16
#define GRACE_US      (4 * US_PER_SECOND)

static const struct builtin_handler *const handlers[] = {&exec_handler, &http_handler, &sql_handler,
                                                         &noop_handler, &cleanup_handler};

#define HANDLER_COUNT (sizeof handlers / sizeof *handlers)

bool builtin_worker_knows(const char *handler)
{
    for (size_t i = 0; i < HANDLER_COUNT; i++)
        if (strcmp(handlers[i]->name, handler) == 0)
            return true;
    return false;
}

/* --- answers --- */

void builtin_text(struct buffer *out, const char *text, size_t length)
{
    struct buffer clean = {0};
    const char *zero;
    while (length > 0 && (zero = memchr(text, '\0', length)) != NULL) {
        size_t before = (size_t)(zero - text);
        buffer_append(&clean, text, before);
        buffer_string(&clean, "\xef\xbf\xbd");
        text += before + 1;
        length -= before + 1;
    }
    if (length > 0)
        buffer_append(&clean, text, length);
    buffer_json(out, clean.length > 0 ? clean.data : "", clean.length);
    buffer_free(&clean);
}

/* All that is answered in one turn of the loop goes out together, at its end. */
static void answer_open(struct builtin *builtin, const char *type, int64_t id, int64_t fence)
{
    struct buffer *out = &builtin->channel.out;
    if (channel_pending(&builtin->channel) == 0)
        event_active(builtin->turn, EV_TIMEOUT, 0);
    buffer_string(out, "{\"type\":\"");
    buffer_string(out, type);
    buffer_string(out, "\",\"id\":");
    buffer_int(out, id);
    buffer_string(out, ",\"fence\":");
    buffer_int(out, fence);
}

static void answer_close(struct builtin *builtin)
{
    buffer_string(&builtin->channel.out, "}\n");
}

void builtin_done(struct builtin *builtin, int64_t id, int64_t fence, struct slice details)
{
    answer_open(builtin, "done", id, fence);
    if (details.data != NULL) {
        buffer_string(&builtin->channel.out, ",\"details\":");
        buffer_append(&builtin->channel.out, details.data, details.length);
    }
    answer_close(builtin);
}

void builtin_fail(struct builtin *builtin, int64_t id, int64_t fence,
                  const struct builtin_failure *failure)
{
    struct buffer *out = &builtin->channel.out;
    answer_open(builtin, "fail", id, fence);
    buffer_string(out, ",\"exception\":");
    buffer_json(out, failure->exception, strlen(failure->exception));
    buffer_string(out, ",\"message\":");
    builtin_text(out, failure->message.data, failure->message.length);
    if (failure->details.data != NULL) {
        buffer_string(out, ",\"details\":");
        buffer_append(out, failure->details.data, failure->details.length);
    }
    buffer_string(out, failure->final ? ",\"retry\":false" : ",\"retry\":true");
    answer_close(builtin);
}

static void answer_refuse(struct builtin *builtin, const struct protocol_message *message,
                          const char *reason)
{
    answer_open(builtin, "refuse", message->id, message->fence);
    buffer_string(&builtin->channel.out, ",\"reason\":\"");
    buffer_string(&builtin->channel.out, reason);
    buffer_char(&builtin->channel.out, '"');
    answer_close(builtin);
}

static void say_hello(struct builtin *builtin)
{
    struct buffer *out = &builtin->channel.out;
    buffer_format(out, "{\"type\":\"hello\",\"protocol\":%d,\"handlers\":[", PROTOCOL_VERSION);
    for (size_t i = 0; i < HANDLER_COUNT; i++)
        buffer_format(out, "%s\"%s\"", i > 0 ? "," : "", handlers[i]->name);
    buffer_format(out, "],\"slots\":%lld,\"version\":\"%s\",\"name\":", (long long)builtin->slots,
                  ROTA_VERSION);
    buffer_json(out, builtin->name, strlen(builtin->name));
    answer_close(builtin);
}

/* --- runs --- */

void task_open(struct task *task, struct builtin *builtin, const struct protocol_message *message)
{
    task->builtin = builtin;
    task->id = message->id;
    task->fence = message->fence;
    list_init(&task->all);
    list_append(&builtin->tasks, &task->all);
    builtin->task_count++;
}

void task_close(struct task *task)
{
    list_remove(&task->all);
    task->builtin->task_count--;
}

static struct task *find_task(struct builtin *builtin, const struct protocol_message *message)
{
    LIST_EACH (&builtin->tasks, struct task, all, task) {
        if (task->id == message->id && task->fence == message->fence)
            return task;
    }
    return NULL;
}

static void start_run(struct builtin *builtin, const struct protocol_message *message)
{
    if ((int64_t)builtin->task_count >= builtin->slots) {
        answer_refuse(builtin, message, "busy");
        return;
    }
    for (size_t i = 0; i < HANDLER_COUNT; i++) {
        const char *name = handlers[i]->name;
        if (message->handler.length == strlen(name) &&
            memcmp(message->handler.data, name, message->handler.length) == 0) {
            handlers[i]->start(builtin, message);
            return;
        }
    }
    answer_refuse(builtin, message, "unknown_handler");
}

/* {"type":"settings",…}, before the first run: of an older coordinator none comes. */
static void take_settings(struct builtin *builtin, struct slice line)
{
    struct builtin_settings settings;
    struct rota_error error = {0};
    if (builtin_settings_read(&settings, line, &error) != 0) {
        fprintf(stderr, "rota worker: settings: %s\n", error.message);
        return;
    }
    builtin_settings_free(&builtin->settings);
    builtin->settings = settings;
}

static bool on_message(void *arg, const struct protocol_message *message)
{
    struct builtin *builtin = arg;
    struct task *task;
    switch (message->type) {
    case PROTOCOL_RUN:
        start_run(builtin, message);
        break;
    case PROTOCOL_CANCEL:
        task = find_task(builtin, message);
        if (task != NULL)
            task->cancel(task, message->reason);
        break;
    case PROTOCOL_UNKNOWN:
        take_settings(builtin, message->line);
        break;
    default:
        break; /* drain and lease are for the coordinator and the guard to see to */
    }
    return true; /* a coordinator is never metered */
}

/* The end of the coordinator, or of us for it: nothing that was started may go on. */
static void on_closed(void *arg, const char *fault)
{
    struct builtin *builtin = arg;
    if (fault != NULL)
        fprintf(stderr, "rota worker: %s\n", fault);
    LIST_EACH (&builtin->tasks, struct task, all, task) {
        task->abandon(task);
    }
    channel_close(&builtin->channel);
    event_base_loopbreak(builtin->base);
}

static void on_written(void *arg)
{
    (void)arg;
}

static const struct channel_callbacks callbacks = {
    .message = on_message, .written = on_written, .closed = on_closed};

static void on_child(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    exec_reap(arg);
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct builtin *builtin = arg;
    channel_flush(&builtin->channel);
}

/* --- life --- */

static int64_t option_number(const char *text, int64_t otherwise)
{
    int64_t number;
    return text_int64(text, strlen(text), &number) == 0 && number > 0 ? number : otherwise;
}

/* Pairs of a name and a value, written by pool.c; `--allow` may come often. */
static void read_options(struct builtin *builtin, int argc, char **argv)
{
    size_t allowed = 0;
    builtin->allow = mem_array((size_t)argc + 1, sizeof *builtin->allow);
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--allow") == 0)
            builtin->allow[allowed++] = argv[i + 1];
        else if (strcmp(argv[i], "--name") == 0)
            builtin->name = argv[i + 1];
        else if (strcmp(argv[i], "--node") == 0)
            builtin->node = argv[i + 1];
        else if (strcmp(argv[i], "--slots") == 0)
            builtin->slots = option_number(argv[i + 1], SLOTS_DEFAULT);
        else if (strcmp(argv[i], "--grace-ms") == 0)
            builtin->grace_us = option_number(argv[i + 1], GRACE_US / US_PER_MS) * US_PER_MS;
    }
}

/* The socket moves away from 0 and 1, where a careless print would write into it. */
static int take_socket(void)
{
    int fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3), null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (fd < 0 || null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
        return -1;
    close(null);
    return fd;
}

static int run_loop(struct builtin *builtin)
{
    int fd = take_socket();
    builtin->base = event_base_new();
    if (fd < 0 || builtin->base == NULL) {
        fprintf(stderr, "rota worker: cannot start: %s\n", strerror(errno));
        return 1;
    }
    builtin->turn = event_new(builtin->base, -1, 0, on_turn, builtin);
    struct event *child = evsignal_new(builtin->base, SIGCHLD, on_child, builtin);
    event_add(child, NULL);
    channel_open(&builtin->channel, builtin->base, fd, &callbacks, builtin);
    say_hello(builtin);
    channel_flush(&builtin->channel);
    event_base_dispatch(builtin->base);
    event_free(builtin->turn);
    event_free(child);
    return 0;
}

int builtin_worker_main(int argc, char **argv)
{
    struct builtin builtin = {.slots = SLOTS_DEFAULT,
                              .grace_us = GRACE_US,
                              .name = "builtin",
                              .node = "",
                              .channel = {.fd = -1}};
    list_init(&builtin.tasks);
    read_options(&builtin, argc, argv);
    signal(SIGPIPE, SIG_IGN); /* a job that does not read its input */
    prctl(PR_SET_NAME, "rota-worker", 0, 0, 0);
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); /* whom a job leaves behind comes to us */
    builtin.environment = exec_environment_kept(environ);
    int status = run_loop(&builtin);
    http_client_free(builtin.http);
    resolver_free(builtin.resolver);
    builtin_settings_free(&builtin.settings);
    if (builtin.base != NULL)
        event_base_free(builtin.base);
    free(builtin.allow);
    free(builtin.environment);
    return status;
}
