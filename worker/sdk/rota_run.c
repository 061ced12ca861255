/* What is done with a run: see rota_worker.h. */
#include "worker/sdk/rota_worker_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- what it is --- */

int64_t rota_run_id(const rota_run *run)
{
    return run->id;
}

int64_t rota_run_fence(const rota_run *run)
{
    return run->fence;
}

const char *rota_run_handler(const rota_run *run)
{
    return run->handler;
}

const char *rota_run_data(const rota_run *run)
{
    return run->data != NULL ? run->data : "{}";
}

const char *rota_run_checkpoint(const rota_run *run)
{
    return run->checkpoint;
}

const char *rota_run_job(const rota_run *run)
{
    return run->job != NULL ? run->job : "";
}

int rota_run_attempt(const rota_run *run)
{
    int64_t attempt = 1;
    rota_json_int(run->line, "attempt", &attempt);
    return (int)attempt;
}

char *rota_run_member(const rota_run *run, const char *name)
{
    return rota_json_member(run->line, name);
}

/* --- messages --- */

static struct rota_text begin(const rota_run *run, const char *type)
{
    struct rota_text line = {0};
    rota_text_add(&line, "{\"type\":\"");
    rota_text_add(&line, type);
    rota_text_add(&line, "\",\"id\":");
    rota_text_int(&line, run->id);
    rota_text_add(&line, ",\"fence\":");
    rota_text_int(&line, run->fence);
    return line;
}

static void put_key(struct rota_text *line, const char *key)
{
    rota_text_add(line, ",\"");
    rota_text_add(line, key);
    rota_text_add(line, "\":");
}

static void put_string(struct rota_text *line, const char *key, const char *value)
{
    if (value == NULL)
        return;
    put_key(line, key);
    rota_text_string(line, value);
}

static void put_json(struct rota_text *line, const char *key, const char *json)
{
    if (json == NULL)
        return;
    put_key(line, key);
    rota_text_json(line, json);
}

/* A line that is too long would end the worker: it is not sent. */
static int finish(rota_run *run, struct rota_text *line)
{
    struct rota_link *link = &run->worker->link;
    rota_text_add(line, "}\n");
    int failed = run->lost ? -1 : 0;
    if (line->length >= ROTA_LINE_MAX)
        failed = rota_link_error(link, "a message of %zu bytes is longer than a line may be",
                                 line->length);
    else if (failed == 0)
        failed = rota_link_send(link, line);
    rota_text_free(line);
    return failed;
}

bool rota_run_cancelled(rota_run *run)
{
    while (rota_worker_hear(run->worker, 0))
        continue;
    return run->cancelled;
}

int rota_run_progress(rota_run *run, double fraction, const char *message)
{
    struct rota_text line = begin(run, "progress");
    char number[32];
    fraction = fraction >= 0 && fraction <= 1 ? fraction : fraction > 1 ? 1 : 0;
    snprintf(number, sizeof number, ",\"fraction\":0.%06d", (int)(fraction * 999999));
    rota_text_add(&line, fraction >= 1 ? ",\"fraction\":1" : number);
    put_string(&line, "message", message);
    int failed = finish(run, &line);
    rota_run_cancelled(run); /* so that the lease is renewed, too */
    return failed;
}

int rota_run_checkpoint_set(rota_run *run, const char *json)
{
    struct rota_text line = begin(run, "checkpoint");
    put_json(&line, "data", json);
    return finish(run, &line);
}

int rota_run_log(rota_run *run, const char *level, const char *format, ...)
{
    struct rota_text line = begin(run, "log"), message = {0};
    va_list arguments;
    va_start(arguments, format);
    rota_text_format(&message, format, arguments);
    va_end(arguments);
    put_string(&line, "level", level);
    put_string(&line, "message", message.data);
    rota_text_free(&message);
    return finish(run, &line);
}

/* --- locks --- */

static struct rota_lock *find_lock(const rota_run *run, int64_t ref)
{
    struct rota_lock *lock = run->worker->locks;
    while (lock != NULL && (lock->ref != ref || lock->run != run))
        lock = lock->next;
    return lock;
}

static void drop_lock(rota_worker *worker, struct rota_lock *lock)
{
    struct rota_lock **at = &worker->locks;
    while (*at != lock)
        at = &(*at)->next;
    *at = lock->next;
    free(lock);
}

int64_t rota_run_lock(rota_run *run, const char *name, const char *wait, bool shared,
                      int64_t *ret_fence)
{
    rota_worker *worker = run->worker;
    struct rota_text line = begin(run, "lock");
    struct rota_lock *lock = rota_memory(NULL, sizeof *lock);
    *lock = (struct rota_lock){.next = worker->locks, .ref = ++worker->last_ref, .run = run};
    worker->locks = lock;
    put_key(&line, "ref");
    rota_text_int(&line, lock->ref);
    put_string(&line, "name", name);
    put_string(&line, "wait", wait);
    rota_text_add(&line, shared ? ",\"shared\":true" : "");
    if (finish(run, &line) != 0) { /* no answer will come */
        drop_lock(worker, lock);
        return -1;
    }
    while (lock->state == ROTA_LOCK_ASKED && !run->cancelled)
        rota_worker_hear(worker, -1);
    int64_t ref = lock->ref;
    if (lock->state == ROTA_LOCK_HELD) {
        if (ret_fence != NULL)
            *ret_fence = lock->fence;
        return ref;
    }
    if (lock->state == ROTA_LOCK_ASKED)
        rota_run_unlock(run, ref); /* not wanted any more */
    else
        drop_lock(worker, lock);
    return -1;
}

int rota_run_unlock(rota_run *run, int64_t ref)
{
    struct rota_lock *lock = find_lock(run, ref);
    if (lock == NULL)
        return -1;
    struct rota_text line = begin(run, "unlock");
    put_key(&line, "ref");
    rota_text_int(&line, ref);
    drop_lock(run->worker, lock);
    return finish(run, &line);
}

bool rota_run_lock_lost(rota_run *run, int64_t ref)
{
    const struct rota_lock *lock = find_lock(run, ref);
    return run->lost || lock == NULL || lock->state != ROTA_LOCK_HELD;
}

/* --- answers --- */

static int answer(rota_run *run, struct rota_text *line)
{
    rota_worker *worker = run->worker;
    int failed = finish(run, line);
    run->answered = true;
    rota_lease_guard(worker);
    if (!run->performed)
        rota_run_forget(run);
    return failed;
}

int rota_run_done(rota_run *run, const char *details, const char *data)
{
    struct rota_text line = begin(run, "done");
    put_json(&line, "details", details);
    put_json(&line, "data", data);
    rota_text_add(&line, run->unschedule ? ",\"unschedule\":true" : "");
    return answer(run, &line);
}

int rota_run_fail(rota_run *run, const char *exception, const char *message, bool retry)
{
    struct rota_text line = begin(run, "fail");
    put_string(&line, "exception", exception);
    put_string(&line, "message", message);
    rota_text_add(&line, retry ? "" : ",\"retry\":false");
    rota_text_add(&line, run->unschedule ? ",\"unschedule\":true" : "");
    return answer(run, &line);
}

int rota_run_snooze(rota_run *run, const char *duration)
{
    struct rota_text line = begin(run, "snooze");
    put_string(&line, "for", duration);
    return answer(run, &line);
}

int rota_run_refuse(rota_run *run, const char *reason)
{
    struct rota_text line = begin(run, "refuse");
    put_string(&line, "reason", reason);
    return answer(run, &line);
}

void rota_run_unschedule(rota_run *run)
{
    run->unschedule = true;
}

void rota_run_forget(rota_run *run)
{
    rota_worker *worker = run->worker;
    for (struct rota_lock *lock = worker->locks, *next; lock != NULL; lock = next) {
        next = lock->next;
        if (lock->run == run)
            drop_lock(worker, lock);
    }
    rota_run **at = &worker->runs;
    while (*at != run)
        at = &(*at)->next;
    *at = run->next;
    free(run->line);
    free(run->data);
    free(run->checkpoint);
    free(run->job);
    free(run->handler);
    free(run);
}
