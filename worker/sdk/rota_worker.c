/* The worker itself: what it hears from its node, and the loop that calls handlers. */
#include "worker/sdk/rota_worker_int.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONNECT_FIRST_MS 100  /* between tries to connect; doubles … */
#define CONNECT_MAX_MS   5000 /* … up to this */

static char *copy(const char *text)
{
    size_t size = text != NULL ? strlen(text) + 1 : 0;
    return text != NULL ? memcpy(rota_memory(NULL, size), text, size) : NULL;
}

/* --- what it hears --- */

static char *text_member(const char *line, const char *key)
{
    size_t length;
    const char *value = rota_json_find(line, key, &length);
    if (value == NULL || *value != '"')
        return NULL;
    char *text = rota_memory(NULL, length);
    if (rota_json_string(line, key, text, length) == 0)
        return text;
    free(text);
    return NULL;
}

static rota_run *find_run(const rota_worker *worker, const char *line)
{
    int64_t id, fence;
    if (rota_json_int(line, "id", &id) != 0 || rota_json_int(line, "fence", &fence) != 0)
        return NULL;
    rota_run *run = worker->runs;
    while (run != NULL && (run->id != id || run->fence != fence))
        run = run->next;
    return run;
}

static void hear_run(rota_worker *worker, const char *line)
{
    rota_run *run = rota_memory(NULL, sizeof *run);
    *run = (rota_run){.worker = worker};
    if (rota_json_int(line, "id", &run->id) != 0 ||
        rota_json_int(line, "fence", &run->fence) != 0) {
        free(run);
        return;
    }
    run->line = copy(line);
    run->data = rota_json_member(line, "data");
    run->checkpoint = rota_json_member(line, "checkpoint");
    run->job = text_member(line, "job");
    run->handler = text_member(line, "handler");
    rota_run **at = &worker->runs;
    while (*at != NULL)
        at = &(*at)->next;
    *at = run;
}

static void hear_of_lock(rota_worker *worker, const char *line, enum rota_lock_state state)
{
    int64_t ref = 0;
    rota_json_int(line, "ref", &ref);
    for (struct rota_lock *lock = worker->locks; lock != NULL; lock = lock->next) {
        if (lock->ref != ref)
            continue;
        lock->state = state;
        rota_json_int(line, "fence", &lock->fence);
        return;
    }
}

static void hear_line(rota_worker *worker, const char *line)
{
    char type[32];
    rota_run *run;
    if (rota_json_string(line, "type", type, sizeof type) != 0)
        return;
    if (strcmp(type, "run") == 0)
        hear_run(worker, line);
    else if (strcmp(type, "cancel") == 0 && (run = find_run(worker, line)) != NULL)
        run->cancelled = true;
    else if (strcmp(type, "drain") == 0)
        worker->draining = true;
    else if (strcmp(type, "lease") == 0)
        rota_lease_told(worker, line);
    else if (strcmp(type, "locked") == 0)
        hear_of_lock(worker, line, ROTA_LOCK_HELD);
    else if (strcmp(type, "lock_failed") == 0)
        hear_of_lock(worker, line, ROTA_LOCK_FAILED);
    else if (strcmp(type, "lock_lost") == 0)
        hear_of_lock(worker, line, ROTA_LOCK_LOST);
    else if (strcmp(type, "refused") == 0)
        rota_json_string(line, "reason", worker->link.error, sizeof worker->link.error);
}

/* The node gives these runs to others: nobody waits for their answers. */
static void lose_runs(rota_worker *worker)
{
    for (rota_run *run = worker->runs, *next; run != NULL; run = next) {
        next = run->next;
        run->cancelled = run->lost = true;
        if (!run->taken)
            rota_run_forget(run);
    }
}

bool rota_worker_hear(rota_worker *worker, int timeout_ms)
{
    const char *line = rota_link_line(&worker->link, timeout_ms);
    if (line != NULL)
        hear_line(worker, line);
    else if (worker->link.in < 0)
        lose_runs(worker);
    return line != NULL;
}

/* --- what it says --- */

static void put_member(struct rota_text *line, const char *key, const char *value)
{
    if (value == NULL)
        return;
    rota_text_add(line, ",\"");
    rota_text_add(line, key);
    rota_text_add(line, "\":");
    rota_text_string(line, value);
}

void rota_worker_hello(rota_worker *worker, bool handlers)
{
    struct rota_text line = {0};
    rota_text_add(&line, "{\"type\":\"hello\",\"protocol\":1,\"handlers\":[");
    for (size_t i = 0; handlers && i < worker->handler_count; i++) {
        rota_text_add(&line, i > 0 ? "," : "");
        rota_text_string(&line, worker->handlers[i].name);
    }
    rota_text_add(&line, "],\"slots\":");
    rota_text_int(&line, worker->slots);
    put_member(&line, "name", worker->name);
    put_member(&line, "version", worker->version);
    if (worker->link.over_tcp)
        put_member(&line, "token", worker->link.token);
    rota_text_add(&line, worker->lease.honoured ? ",\"honours_lease\":true}\n" : "}\n");
    rota_link_send(&worker->link, &line);
    rota_text_free(&line);
}

/* --- life --- */

rota_worker *rota_worker_new(const char *name, const char *version)
{
    rota_worker *worker = rota_memory(NULL, sizeof *worker);
    *worker = (rota_worker){.slots = 1, .name = copy(name), .version = copy(version)};
    rota_link_init(&worker->link);
    return worker;
}

void rota_worker_free(rota_worker *worker)
{
    if (worker == NULL)
        return;
    rota_lease_end(worker);
    while (worker->runs != NULL)
        rota_run_forget(worker->runs);
    for (size_t i = 0; i < worker->handler_count; i++)
        free(worker->handlers[i].name);
    rota_link_free(&worker->link);
    free(worker->handlers);
    free(worker->name);
    free(worker->version);
    free(worker);
}

void rota_worker_handle(rota_worker *worker, const char *name, rota_handler handler, void *arg)
{
    worker->handlers =
        rota_memory(worker->handlers, (worker->handler_count + 1) * sizeof *worker->handlers);
    worker->handlers[worker->handler_count++] =
        (struct rota_handler_entry){copy(name), handler, arg};
}

void rota_worker_slots(rota_worker *worker, int slots)
{
    worker->slots = slots;
}

void rota_worker_honour_lease(rota_worker *worker)
{
    worker->lease.honoured = worker->link.addresses != NULL; /* else its node's guard ends it */
}

void rota_worker_stop(rota_worker *worker)
{
    worker->stopped = 1;
}

const char *rota_worker_error(const rota_worker *worker)
{
    return worker->link.error;
}

int rota_worker_fd(const rota_worker *worker)
{
    return worker->link.in;
}

bool rota_worker_closed(const rota_worker *worker)
{
    return worker->link.in < 0;
}

bool rota_worker_draining(const rota_worker *worker)
{
    return worker->draining;
}

int rota_worker_connect(rota_worker *worker)
{
    if (rota_link_open(&worker->link) != 0)
        return -1;
    worker->link.error[0] = '\0';
    worker->draining = false;
    worker->lease.until_ns = worker->lease.ref = 0;
    rota_worker_hello(worker, true);
    if (worker->lease.honoured)
        rota_lease_ask(worker);
    return worker->link.out >= 0 ? 0 : -1;
}

static rota_run *next_run(rota_worker *worker)
{
    rota_run *run = worker->runs;
    while (run != NULL && run->taken)
        run = run->next;
    return run;
}

rota_run *rota_worker_next(rota_worker *worker, int timeout_ms)
{
    rota_run *run;
    while ((run = next_run(worker)) == NULL)
        if (!rota_worker_hear(worker, timeout_ms))
            return NULL;
    bool holds = rota_lease_holds(worker);
    run = next_run(worker); /* the connection may have ended meanwhile, and the run with it */
    if (run != NULL && !holds) {
        rota_run_refuse(run, "busy");
        return NULL;
    }
    if (run != NULL)
        run->taken = true;
    rota_lease_guard(worker);
    return run;
}

/* --- the loop --- */

static const struct rota_handler_entry *find_handler(const rota_worker *worker, const char *name)
{
    for (size_t i = 0; i < worker->handler_count; i++)
        if (name != NULL && strcmp(worker->handlers[i].name, name) == 0)
            return &worker->handlers[i];
    return NULL;
}

static void perform(rota_worker *worker, rota_run *run)
{
    const struct rota_handler_entry *handler = find_handler(worker, run->handler);
    run->performed = true;
    if (handler == NULL) {
        rota_run_refuse(run, "unknown_handler");
    } else {
        int code = handler->function(run, handler->arg);
        char message[64];
        snprintf(message, sizeof message, "the handler returned %d", code);
        if (!run->answered && code == 0)
            rota_run_done(run, NULL, NULL);
        else if (!run->answered)
            rota_run_fail(run, NULL, message, true);
    }
    rota_run_forget(run);
}

/* False: standard input has ended, or the worker is to stop. */
static bool reconnect(rota_worker *worker, int *wait_ms)
{
    if (worker->link.addresses == NULL)
        return false;
    if (*wait_ms > 0)
        poll(NULL, 0, *wait_ms); /* a signal ends it */
    *wait_ms = *wait_ms > 0 ? *wait_ms * 2 : CONNECT_FIRST_MS;
    if (*wait_ms > CONNECT_MAX_MS)
        *wait_ms = CONNECT_MAX_MS;
    if (!worker->stopped)
        rota_worker_connect(worker);
    return !worker->stopped;
}

/* No run may be on its way when the connection ends: those that were are given back. */
static void take_leave(rota_worker *worker)
{
    rota_run *run;
    if (worker->link.out < 0)
        return;
    rota_worker_hello(worker, false);
    while (rota_worker_hear(worker, 0))
        continue;
    while ((run = next_run(worker)) != NULL)
        rota_run_refuse(run, "busy");
}

int rota_worker_serve(rota_worker *worker)
{
    int wait_ms = 0;
    if (worker->link.addresses == NULL && rota_worker_connect(worker) != 0)
        return -1;
    while (!worker->stopped) {
        if (worker->link.in < 0 && !reconnect(worker, &wait_ms))
            return 0;
        rota_run *run = rota_worker_next(worker, -1);
        if (run == NULL)
            continue;
        wait_ms = 0;
        perform(worker, run);
    }
    take_leave(worker);
    return 0;
}
