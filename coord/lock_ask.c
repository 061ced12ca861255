/*
 * Cluster locks: the questions of one request to the database, with a back-off between them, and
 * what becomes of the answers.
 */
#include "coord/lock_request.h"

#include "base/clock.h"
#include "base/memory.h"

#include <event2/util.h>
#include <stdlib.h>
#include <string.h>

#define BACKOFF_FIRST_US (100 * US_PER_MS)
#define BACKOFF_MAX_US   (1000 * US_PER_MS)
#define CLOCK_STEP_US    (500 * US_PER_MS)    /* no drift and no slow answer explains more */
#define CLOCK_AGE_US     (60 * US_PER_SECOND) /* in which no clock drifts by that */
#define ASKED_MAX        8 /* at a time: each is a flush of the log, and heartbeats stand behind */

static void on_unlocked(void *arg, const struct store_answer *answer)
{
    (void)answer; /* a lost session has unlocked it, too */
    ((struct cluster_locks *)arg)->unconfirmed--;
}

void lock_ask_unlock(struct cluster_locks *locks, const char *name, bool exclusive)
{
    struct store_params params = {0};
    params_text(&params, name);
    params_text(&params, exclusive ? "exclusive" : "share");
    locks->unconfirmed++;
    store_call(*locks->store, SQL_CLUSTER_LOCK_UNLOCK, &params, 0, on_unlocked, locks);
    store_params_free(&params);
}

void lock_ask_wait(struct request *r, int64_t duration_us)
{
    int64_t left_us = r->deadline_us - clock_monotonic_us();
    struct timeval wait = clock_timeval(duration_us < left_us ? duration_us : left_us);
    evtimer_add(r->timer, &wait);
}

/* From 100 ms to 1 s, and a tenth more or less, so that many who wait do not ask at once. */
static int64_t next_backoff(struct request *r)
{
    uint16_t random;
    r->backoff_us = r->backoff_us == 0 ? BACKOFF_FIRST_US : 2 * r->backoff_us;
    if (r->backoff_us > BACKOFF_MAX_US)
        r->backoff_us = BACKOFF_MAX_US;
    evutil_secure_rng_get_bytes(&random, sizeof random);
    return r->backoff_us * 9 / 10 + r->backoff_us / 5 * random / UINT16_MAX;
}

/* free_in_us: after it nobody is in the way, as far as is known; INT64_MAX: not known. */
static void refused(struct request *r, int64_t free_in_us)
{
    struct cluster_locks *locks = r->locks;
    lock_request_move(r, LOCK_REFUSED);
    if (r->unwanted) {
        lock_request_move(r, LOCK_END);
        lock_request_leave(r);
        lock_request_free(r);
    } else if (clock_monotonic_us() >= r->deadline_us) {
        lock_request_fail_in_time(r);
    } else {
        int64_t pause_us = next_backoff(r);
        lock_ask_wait(r, free_in_us < pause_us ? free_in_us : pause_us);
        lock_settle(locks, r->claim.name);
    }
}

void lock_ask_obtained(struct request *r, int64_t fence)
{
    struct cluster_locks *locks = r->locks;
    struct lock_name *name = r->claim.name;
    char *line = mem_format("Obtained cluster lock: %s (%s)", r->name, lock_request_mode(r));
    lock_request_move(r, LOCK_OBTAINED);
    lock_queue_hold(&r->claim);
    evtimer_del(r->timer);
    r->fence = fence;
    r->good_boot_us = r->sent_boot_us;
    if (r->unwanted) {
        lock_request_give_back(r);
    } else {
        log_debug(locks->config.log, line, LOG_INT("fence", fence),
                  LOG_INT("retries", r->tries > 0 ? r->tries - 1 : 0),
                  LOG_TEXT("holder", r->holder));
        lock_request_tell(r, NEWS_OBTAINED);
        lock_renew_set(locks);
        lock_advance(locks, name); /* whoever shares it may be next */
    }
    free(line);
}

static void call_try(struct request *r);

static void on_named(void *arg, const struct store_answer *answer)
{
    struct request *r = arg; /* is still asking: the try behind this call is not answered */
    if (answer->error != NULL)
        r->error = *answer->error;
}

/* The name is new. */
static void name_and_try(struct request *r)
{
    struct store_params params = {0};
    r->named = true;
    params_text(&params, r->name);
    store_call(*r->locks->store, SQL_CLUSTER_LOCK_NAME, &params, 0, on_named, r);
    store_params_free(&params);
    call_try(r);
}

/* Without an error: there was no session to ask, or it is gone with all that it had. */
void lock_ask_answered(struct request *r)
{
    struct cluster_locks *locks = r->locks;
    const struct rota_error *error = &r->error;
    if (r->took && lock_session_ready(locks) && r->session == locks->session)
        lock_ask_unlock(locks, r->name,
                        r->claim.exclusive); /* should only its commit have failed */
    if (error->code == ERROR_NONE || store_fault(error) == FAULT_RETRY) {
        refused(r, INT64_MAX);
        return;
    }
    error_prefix(&r->error, "Failed to obtain cluster lock: %s", r->name);
    lock_request_fail(r, LOCK_FAILED);
}

/* Columns as cluster_lock_try.sql lists them. */
static void take_answer(struct request *r, const struct store_answer *answer)
{
    if (answer->error != NULL || r->session != r->locks->session) {
        if (answer->error != NULL)
            r->error = *answer->error;
        lock_ask_wait(r, 0); /* a call that breaks the connection is answered inside of it */
        return;
    }
    const char *outcome = row_text(answer->result, 0, 0);
    cluster_locks_clock(r->locks, row_time(answer->result, 0, 4), r->sent_boot_us);
    if (strcmp(outcome, "obtained") == 0) {
        if (r->took)
            lock_name_set_session(r->claim.name,
                                  r->claim.exclusive ? SESSION_EXCLUSIVE : SESSION_SHARE);
        lock_ask_obtained(r, row_int64(answer->result, 0, 1));
        return;
    }
    if (strcmp(outcome, "unnamed") == 0 && !r->named) {
        name_and_try(r);
        return;
    }
    if (strcmp(outcome, "unnamed") == 0) {
        if (r->error.code == ERROR_NONE)
            error_set(&r->error, ERROR_REFUSED, "its row goes as soon as it is made");
        r->took = false;
        lock_ask_answered(r);
        return;
    }
    free(r->held_by);
    r->held_by = mem_string(row_text(answer->result, 0, 2));
    refused(r, row_null(answer->result, 0, 3) ? INT64_MAX
                                              : row_int64(answer->result, 0, 3) * US_PER_MS);
}

static void on_tried(void *arg, const struct store_answer *answer)
{
    struct request *r = arg;
    struct cluster_locks *locks = r->locks;
    locks->asked--;
    take_answer(r, answer);
    while (locks->asked < ASKED_MAX && !list_empty(&locks->line)) {
        r = LIST_ITEM(locks->line.next, struct request, line_place);
        lock_ask(r, r->state == LOCK_QUEUED ? LOCK_TURN : LOCK_AGAIN);
    }
}

/* ---- the time ---- */

void cluster_locks_clock(struct cluster_locks *locks, int64_t database_us, int64_t sent_boot_us)
{
    int64_t now_us = clock_boot_us(), before_us = locks->clock_offset_us;
    int64_t age_us = now_us - locks->clock_heard_boot_us;
    bool fresh = locks->clock_heard_boot_us != 0 && age_us < CLOCK_AGE_US;
    locks->clock_offset_us = database_us - (sent_boot_us + now_us) / 2;
    locks->clock_heard_boot_us = now_us;
    if (fresh &&
        llabs(locks->clock_offset_us - before_us) > CLOCK_STEP_US + (now_us - sent_boot_us) / 2)
        locks->clock_jumped_boot_us = now_us;
}

static void params_clock(const struct cluster_locks *locks, struct store_params *params)
{
    int64_t now_us = clock_boot_us();
    if (locks->clock_heard_boot_us != 0 && now_us - locks->clock_heard_boot_us < CLOCK_AGE_US)
        params_time(params, now_us + locks->clock_offset_us);
    else
        params_null(params);
    if (locks->clock_jumped_boot_us != 0)
        params_int64(params, (now_us - locks->clock_jumped_boot_us) / US_PER_MS);
    else
        params_null(params);
}

/* ---- */

static void call_try(struct request *r)
{
    const struct cluster_lock_config *config = &r->locks->config;
    struct store_params params = {0};
    r->took = lock_name_session(r->claim.name) == SESSION_NONE;
    r->session = r->locks->session;
    r->sent_boot_us = clock_boot_us();
    params_text(&params, r->name);
    params_text(&params, lock_request_mode(r));
    params_text(&params, r->holder);
    params_int64(&params,
                 config->delay_us > 0 ? (config->delay_us + config->renew_us) / US_PER_MS : 0);
    params_bool(&params, r->took);
    params_clock(r->locks, &params);
    r->locks->asked++;
    store_call(*r->locks->store, SQL_CLUSTER_LOCK_TRY, &params, 0, on_tried, r);
    store_params_free(&params);
}

void lock_ask(struct request *r, enum lock_event event)
{
    struct cluster_locks *locks = r->locks;
    list_remove(&r->line_place);
    evtimer_del(r->timer);
    if (locks->asked >= ASKED_MAX && lock_session_ready(locks)) {
        list_append(&locks->line, &r->line_place);
        if (r->tries > 0)
            lock_ask_wait(r, INT64_MAX); /* each is asked for once, whatever its wait */
        return;
    }
    lock_request_move(r, event);
    r->tries++;
    r->took = false;
    r->error = (struct rota_error){0};
    if (!lock_session_ready(locks)) {
        lock_ask_wait(r, 0);
        return;
    }
    if (!locks->listening) /* ahead of the try, so that no release is missed after it */
        store_call(*locks->store, SQL_CLUSTER_LOCK_LISTEN, NULL, 0, NULL, NULL);
    locks->listening = true;
    call_try(r);
}
