/*
 * The handler `noop`: done at once. For measuring and for trying things out. Of its data it knows
 *   "sleep": "50ms"   be done after that time
 *   "fail":  "text"   fail with that message instead
 * and leaves anything else alone.
 */
#include "worker/builtin/builtin.h"

#include "base/clock.h"
#include "base/instant.h"
#include "base/json.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

struct noop {
    struct task task;
    struct event *timer;
    char *failure; /* NULL: it will be done */
};

static void noop_answer(struct builtin *builtin, int64_t id, int64_t fence, const char *failure)
{
    if (failure == NULL) {
        builtin_done(builtin, id, fence, SLICE_NONE);
        return;
    }
    struct builtin_failure said = {.exception = "noop", .message = slice_of(failure)};
    builtin_fail(builtin, id, fence, &said);
}

static void noop_close(struct noop *noop)
{
    task_close(&noop->task);
    event_free(noop->timer);
    free(noop->failure);
    free(noop);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct noop *noop = arg;
    noop_answer(noop->task.builtin, noop->task.id, noop->task.fence, noop->failure);
    noop_close(noop);
}

static void noop_cancel(struct task *task, struct slice reason)
{
    struct builtin_failure said = {.exception = "cancelled", .message = reason};
    builtin_fail(task->builtin, task->id, task->fence, &said);
    noop_close((struct noop *)task);
}

static void noop_abandon(struct task *task)
{
    noop_close((struct noop *)task);
}

static void noop_sleep(struct builtin *builtin, const struct protocol_message *message,
                       int64_t sleep_us, char *failure)
{
    struct noop *noop = mem_alloc(sizeof *noop);
    struct timeval wait = clock_timeval(sleep_us);
    *noop = (struct noop){
        .task = {.handler = &noop_handler, .cancel = noop_cancel, .abandon = noop_abandon},
        .failure = failure};
    task_open(&noop->task, builtin, message);
    noop->timer = event_new(builtin->base, -1, 0, on_timer, noop);
    event_add(noop->timer, &wait);
}

/* -1: "sleep" is no duration. */
static int noop_data(struct slice data, int64_t *ret_sleep_us, char **ret_failure)
{
    struct json json;
    if (data.length <= 2 || json_parse(&json, data.data, data.length, NULL) != 0)
        return 0; /* {}, or nothing at all */
    int failed = 0;
    const struct json_value *sleep = json_get(&json, &json.values[0], "sleep");
    const struct json_value *fail = json_get(&json, &json.values[0], "fail");
    if (sleep != NULL) {
        char *text = sleep->type == JSON_STRING ? json_text(sleep) : NULL;
        failed = text != NULL ? duration_parse(text, ret_sleep_us) : -1;
        free(text);
    }
    if (fail != NULL && fail->type == JSON_STRING)
        *ret_failure = json_text(fail);
    json_free(&json);
    return failed;
}

static void noop_start(struct builtin *builtin, const struct protocol_message *message)
{
    int64_t sleep_us = 0;
    char *failure = NULL;
    if (noop_data(message->data, &sleep_us, &failure) != 0) {
        struct builtin_failure bad = {.exception = "bad data",
                                      .message =
                                          slice_of("\"sleep\" must be a duration like \"50ms\""),
                                      .final = true};
        builtin_fail(builtin, message->id, message->fence, &bad);
    } else if (sleep_us > 0) {
        noop_sleep(builtin, message, sleep_us, failure);
        return;
    } else {
        noop_answer(builtin, message->id, message->fence, failure);
    }
    free(failure);
}

const struct builtin_handler noop_handler = {.name = "noop", .start = noop_start};
