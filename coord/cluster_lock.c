/*
 * Cluster locks on the session connection: see cluster_lock.h. A request stands in the queue of its
 * name (lock_queue.h) until it is its turn, then it asks the database again and again until it is
 * obtained or its time is over. News for the asker are told at the end of the loop's turn, so that
 * it may call back at will.
 */
#include "coord/cluster_lock.h"

#include "base/clock.h"
#include "base/instant.h"
#include "base/memory.h"
#include "base/table.h"
#include "base/text.h"
#include "coord/lock_queue.h"
#include "store/store.h"

#include <event2/event.h>
#include <event2/util.h>
#include <stdlib.h>
#include <string.h>

#define BACKOFF_FIRST_US (100 * US_PER_MS)
#define BACKOFF_MAX_US   (1000 * US_PER_MS)

static const char *const states[] = {"queued", "asking", "waiting", "held", "over"};
static const char *const events[] = {"turn",   "refused", "again", "obtained",
                                     "failed", "end",     "lose"};
static const struct machine_row rows[] = {
    {LOCK_QUEUED, LOCK_TURN, LOCK_ASKING, "nobody of this process is before it"},
    {LOCK_QUEUED, LOCK_OBTAINED, LOCK_HELD, "of scope node: nobody else has it"},
    {LOCK_QUEUED, LOCK_END, LOCK_OVER, "its time is over, or it is not wanted any more"},
    {LOCK_ASKING, LOCK_OBTAINED, LOCK_HELD, "the database has given it"},
    {LOCK_ASKING, LOCK_REFUSED, LOCK_WAITING, "somebody else has it"},
    {LOCK_ASKING, LOCK_FAILED, LOCK_OVER, "the database refuses it"},
    {LOCK_WAITING, LOCK_AGAIN, LOCK_ASKING, "the back-off is over, or it was released"},
    {LOCK_WAITING, LOCK_END, LOCK_OVER, "its time is over, or it is not wanted any more"},
    {LOCK_HELD, LOCK_END, LOCK_OVER, "given back"},
    {LOCK_HELD, LOCK_LOSE, LOCK_OVER, "the session is lost, or could not renew it"},
};
const struct machine lock_machine = {"cluster lock", states, events, rows,
                                     sizeof rows / sizeof *rows};

enum news { NEWS_NONE, NEWS_OBTAINED, NEWS_FAILED, NEWS_LOST };

struct request {
    UT_hash_handle hh;
    uint64_t number;
    struct cluster_locks *locks;
    struct lock_claim claim;
    enum lock_state state;
    enum news news;
    struct list news_place;
    struct event *timer; /* the next try, or the end */
    char *name, *holder;
    char *held_by;   /* at the last try; NULL: not known */
    const char *why; /* it was lost */
    bool node_scope;
    bool unwanted; /* released while the database was asked */
    bool named;    /* the row of the name was made, on its behalf */
    bool took;     /* asked for the advisory lock, too */
    int tries;
    int64_t wait_us, backoff_us, deadline_us; /* the last: monotonic */
    int64_t fence;
    int64_t sent_boot_us, good_boot_us; /* of the last try; of the last renewal */
    uint64_t session, renewal;          /* when it was asked; the last that it was part of */
    struct rota_error error;
};

struct cluster_locks {
    struct cluster_lock_config config;
    struct cluster_lock_callbacks callbacks;
    struct store *const *store;
    struct lock_queues *queues;
    struct request *requests; /* by number */
    struct list news;
    struct event *turn; /* tells the news */
    struct event *gone; /* the session was lost */
    struct event *loss; /* when the first of them is lost unless renewed */
    uint64_t session;   /* counts them: what was asked of an earlier one is void */
    bool listening, renewing;
    uint64_t renewal;
    int64_t renewal_boot_us; /* when it was sent */
    size_t unconfirmed;      /* releases on their way */
    int64_t node_fence;
};

static void advance(struct cluster_locks *locks, struct lock_name *name);

static struct request *request_of(struct lock_claim *claim)
{
    return claim != NULL ? LIST_ITEM(claim, struct request, claim) : NULL;
}

static bool is_ready(const struct cluster_locks *locks)
{
    return *locks->store != NULL && store_ready(*locks->store);
}

static const char *mode_text(const struct request *r)
{
    return r->claim.exclusive ? "exclusive" : "share";
}

static void move(struct request *r, enum lock_event event)
{
    r->state = (enum lock_state)machine_move(&lock_machine, (int)r->state, (int)event)->to;
}

static void destroy(struct request *r)
{
    list_remove(&r->news_place);
    event_free(r->timer);
    free(r->name);
    free(r->holder);
    free(r->held_by);
    free(r);
}

static void request_free(struct request *r)
{
    HASH_DEL(r->locks->requests, r);
    destroy(r);
}

/* ---- news ---- */

static void tell_later(struct request *r, enum news news)
{
    r->news = news;
    list_remove(&r->news_place);
    list_append(&r->locks->news, &r->news_place);
    event_active(r->locks->turn, EV_TIMEOUT, 0);
}

static void tell_failure(struct request *r)
{
    const struct cluster_lock_callbacks *callbacks = &r->locks->callbacks;
    const struct cluster_lock_failure failure = {.name = r->name,
                                                 .holder = r->held_by,
                                                 .retries = r->tries > 0 ? r->tries - 1 : 0,
                                                 .error = &r->error};
    HASH_DEL(r->locks->requests, r); /* before the asker may release it */
    callbacks->failed(callbacks->arg, r->number, &failure);
    destroy(r);
}

static void tell_loss(struct request *r)
{
    const struct cluster_lock_callbacks *callbacks = &r->locks->callbacks;
    HASH_DEL(r->locks->requests, r);
    callbacks->lost(callbacks->arg, r->number, r->why);
    destroy(r);
}

static void tell(struct request *r)
{
    enum news news = r->news;
    list_remove(&r->news_place);
    r->news = NEWS_NONE;
    if (news == NEWS_OBTAINED)
        r->locks->callbacks.obtained(r->locks->callbacks.arg, r->number, r->fence);
    else if (news == NEWS_FAILED)
        tell_failure(r);
    else
        tell_loss(r);
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
    struct cluster_locks *locks = arg;
    (void)fd;
    (void)what;
    while (!list_empty(&locks->news))
        tell(LIST_ITEM(locks->news.next, struct request, news_place));
}

/* ---- until when they hold ---- */

/* The earliest renewal of those that are held; INT64_MAX: none is. */
static int64_t oldest_renewal(const struct cluster_locks *locks)
{
    int64_t oldest = INT64_MAX;
    for (const struct request *r = locks->requests; r != NULL; r = r->hh.next)
        if (r->state == LOCK_HELD && !r->node_scope && r->good_boot_us < oldest)
            oldest = r->good_boot_us;
    return oldest;
}

/* Told of before it happens, so that whoever holds has time to stop. */
static int64_t told_after(const struct cluster_locks *locks)
{
    return locks->config.valid_us - locks->config.valid_us / 8;
}

static void set_validity(struct cluster_locks *locks)
{
    int64_t oldest = oldest_renewal(locks);
    if (oldest == INT64_MAX) {
        evtimer_del(locks->loss);
        return;
    }
    struct timeval wait = clock_timeval(oldest + told_after(locks) - clock_boot_us());
    evtimer_add(locks->loss, &wait);
    if (locks->callbacks.valid != NULL)
        locks->callbacks.valid(locks->callbacks.arg, oldest + locks->config.valid_us);
}

/* ---- the database ---- */

static void on_given_back(void *arg, const struct store_answer *answer)
{
    struct cluster_locks *locks = arg;
    locks->unconfirmed--;
    if (answer->error != NULL)
        log_warn(locks->config.log, "a cluster lock is not released cleanly: the next one waits",
                 LOG_TEXT("error", answer->error->message));
}

static void on_unlocked(void *arg, const struct store_answer *answer)
{
    (void)answer; /* a lost session has unlocked it, too */
    ((struct cluster_locks *)arg)->unconfirmed--;
}

static void call_unlock(struct cluster_locks *locks, const char *name, bool exclusive)
{
    struct store_params params = {0};
    params_text(&params, name);
    params_text(&params, exclusive ? "exclusive" : "share");
    locks->unconfirmed++;
    store_call(*locks->store, SQL_CLUSTER_LOCK_UNLOCK, &params, 0, on_unlocked, locks);
    store_params_free(&params);
}

static void call_clear(struct request *r)
{
    struct store_params params = {0};
    params_text(&params, r->name);
    params_int64(&params, r->fence);
    r->locks->unconfirmed++;
    store_call(*r->locks->store, SQL_CLUSTER_LOCK_CLEAR, &params, 0, on_given_back, r->locks);
    store_params_free(&params);
}

/* What the session still has of a name nobody here holds goes; then whose turn is it? */
static void settle(struct cluster_locks *locks, struct lock_name *name)
{
    const struct request *head = request_of(lock_queue_turn(name));
    bool asking = head != NULL && head->state == LOCK_ASKING;
    enum lock_session session = lock_name_session(name);
    if (session != SESSION_NONE && lock_queue_holder(name) == NULL && !asking) {
        lock_name_set_session(name, SESSION_NONE);
        if (is_ready(locks))
            call_unlock(locks, lock_name_text(name), session == SESSION_EXCLUSIVE);
    }
    advance(locks, name);
    lock_queue_settle(locks->queues, name);
}

static void leave(struct request *r)
{
    struct lock_name *name = r->claim.name;
    evtimer_del(r->timer);
    lock_queue_leave(&r->claim);
    settle(r->locks, name);
}

/* ---- the end of a request ---- */

static void give_back(struct request *r)
{
    struct cluster_locks *locks = r->locks;
    move(r, LOCK_END);
    if (!r->node_scope && is_ready(locks) && r->session == locks->session)
        call_clear(r);
    leave(r);
    request_free(r);
    set_validity(locks);
}

static void lose(struct request *r, const char *why)
{
    bool told = r->news != NEWS_OBTAINED;
    move(r, LOCK_LOSE);
    r->why = why;
    if (!told)
        error_set(&r->error, ERROR_DATABASE, "Failed to obtain cluster lock: %s: %s", r->name, why);
    tell_later(r, told ? NEWS_LOST : NEWS_FAILED);
    leave(r);
}

static void fail(struct request *r, enum lock_event event)
{
    move(r, event);
    tell_later(r, NEWS_FAILED);
    leave(r);
}

static void fail_in_time(struct request *r)
{
    char text[TIME_TEXT_SIZE];
    int retries = r->tries > 0 ? r->tries - 1 : 0;
    const struct request *before = request_of(lock_queue_holder(r->claim.name));
    if (before != NULL && r->held_by == NULL)
        r->held_by = mem_string(before->holder);
    if (!r->node_scope && !is_ready(r->locks))
        error_set(&r->error, ERROR_DATABASE,
                  "Failed to obtain cluster lock: %s: the database is out of reach", r->name);
    else
        error_set(&r->error, ERROR_TIMEOUT,
                  "Failed to obtain cluster lock: %s: held by %s, %d %s in %s", r->name,
                  r->held_by != NULL ? r->held_by : "somebody", retries,
                  retries == 1 ? "retry" : "retries", duration_format(r->wait_us, text));
    fail(r, LOCK_END);
}

/* ---- asking ---- */

static void wait_for(struct request *r, int64_t duration_us)
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
    move(r, LOCK_REFUSED);
    if (r->unwanted) {
        move(r, LOCK_END);
        leave(r);
        request_free(r);
    } else if (clock_monotonic_us() >= r->deadline_us) {
        fail_in_time(r);
    } else {
        int64_t pause_us = next_backoff(r);
        wait_for(r, free_in_us < pause_us ? free_in_us : pause_us);
        settle(locks, r->claim.name);
    }
}

static void obtained(struct request *r, int64_t fence)
{
    struct cluster_locks *locks = r->locks;
    struct lock_name *name = r->claim.name;
    char *line = mem_format("Obtained cluster lock: %s (%s)", r->name, mode_text(r));
    move(r, LOCK_OBTAINED);
    lock_queue_hold(&r->claim);
    evtimer_del(r->timer);
    r->fence = fence;
    r->good_boot_us = r->sent_boot_us;
    if (r->unwanted) {
        give_back(r);
    } else {
        log_debug(locks->config.log, line, LOG_INT("fence", fence),
                  LOG_INT("retries", r->tries > 0 ? r->tries - 1 : 0),
                  LOG_TEXT("holder", r->holder));
        tell_later(r, NEWS_OBTAINED);
        set_validity(locks);
        advance(locks, name); /* whoever shares it may be next */
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
static void try_failed(struct request *r)
{
    struct cluster_locks *locks = r->locks;
    const struct rota_error *error = &r->error;
    if (r->took && is_ready(locks) && r->session == locks->session)
        call_unlock(locks, r->name, r->claim.exclusive); /* should only its commit have failed */
    if (error->code == ERROR_NONE || store_fault(error) == FAULT_RETRY) {
        refused(r, INT64_MAX);
        return;
    }
    error_prefix(&r->error, "Failed to obtain cluster lock: %s", r->name);
    fail(r, LOCK_FAILED);
}

/* Columns as cluster_lock_try.sql lists them. */
static void on_tried(void *arg, const struct store_answer *answer)
{
    struct request *r = arg;
    if (answer->error != NULL || r->session != r->locks->session) {
        if (answer->error != NULL)
            r->error = *answer->error;
        wait_for(
            r, 0); /* in a turn of its own: a call that breaks the connection is answered at once */
        return;
    }
    const char *outcome = row_text(answer->result, 0, 0);
    if (strcmp(outcome, "obtained") == 0) {
        if (r->took)
            lock_name_set_session(r->claim.name,
                                  r->claim.exclusive ? SESSION_EXCLUSIVE : SESSION_SHARE);
        obtained(r, row_int64(answer->result, 0, 1));
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
        try_failed(r);
        return;
    }
    free(r->held_by);
    r->held_by = mem_string(row_text(answer->result, 0, 2));
    refused(r, row_null(answer->result, 0, 3) ? INT64_MAX
                                              : row_int64(answer->result, 0, 3) * US_PER_MS);
}

static void call_try(struct request *r)
{
    const struct cluster_lock_config *config = &r->locks->config;
    struct store_params params = {0};
    r->took = lock_name_session(r->claim.name) == SESSION_NONE;
    r->session = r->locks->session;
    r->sent_boot_us = clock_boot_us();
    params_text(&params, r->name);
    params_text(&params, mode_text(r));
    params_text(&params, r->holder);
    params_int64(&params,
                 config->delay_us > 0 ? (config->delay_us + config->renew_us) / US_PER_MS : 0);
    params_bool(&params, r->took);
    store_call(*r->locks->store, SQL_CLUSTER_LOCK_TRY, &params, 0, on_tried, r);
    store_params_free(&params);
}

static void ask(struct request *r, enum lock_event event)
{
    struct cluster_locks *locks = r->locks;
    move(r, event);
    evtimer_del(r->timer);
    r->tries++;
    r->took = false;
    r->error = (struct rota_error){0};
    if (!is_ready(locks)) {
        wait_for(r, 0);
        return;
    }
    if (!locks->listening) /* ahead of the try, so that no release is missed after it */
        store_call(*locks->store, SQL_CLUSTER_LOCK_LISTEN, NULL, 0, NULL, NULL);
    locks->listening = true;
    call_try(r);
}

static int64_t next_node_fence(struct cluster_locks *locks)
{
    int64_t now_us = clock_wall_us(); /* so that they go on after a restart */
    locks->node_fence = locks->node_fence < now_us ? now_us : locks->node_fence + 1;
    return locks->node_fence;
}

static void advance(struct cluster_locks *locks, struct lock_name *name)
{
    struct request *r = request_of(lock_queue_turn(name));
    if (r == NULL || r->state != LOCK_QUEUED)
        return;
    if (r->node_scope)
        obtained(r, next_node_fence(locks));
    else
        ask(r, LOCK_TURN);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct request *r = arg;
    (void)fd;
    (void)what;
    if (r->state == LOCK_WAITING)
        ask(r, LOCK_AGAIN);
    else if (r->state == LOCK_ASKING)
        try_failed(r);
    else if (r->state == LOCK_QUEUED)
        fail_in_time(r);
}

/* ---- what others may call ---- */

int cluster_lock_check_name(struct slice name, struct rota_error *error)
{
    size_t characters = 0;
    for (size_t at = 0; at < name.length; characters++) {
        size_t length = text_utf8_length(name.data + at, name.length - at);
        if (length == 0 || name.data[at] == '\0')
            return error_set(error, ERROR_USAGE, "a lock's name is text in UTF-8");
        at += length;
    }
    if (characters == 0 || characters > LOCK_NAME_MAX)
        return error_set(error, ERROR_USAGE, "a lock's name has 1 to %d characters, this one %zu",
                         LOCK_NAME_MAX, characters);
    return 0;
}

void cluster_lock_want(struct cluster_locks *locks, const struct cluster_lock_wish *wish)
{
    struct request *r = mem_alloc(sizeof *r);
    r->number = wish->number;
    r->locks = locks;
    r->state = LOCK_QUEUED;
    list_init(&r->news_place);
    r->name = mem_string_n(wish->name.data, wish->name.length);
    r->holder = mem_string(wish->holder);
    r->node_scope = wish->node_scope;
    r->wait_us = wish->wait_us;
    r->deadline_us = clock_monotonic_us() + wish->wait_us;
    r->timer = evtimer_new(locks->config.base, on_timer, r);
    HASH_ADD(hh, locks->requests, number, sizeof r->number, r);
    lock_queue_join(locks->queues, &r->claim, slice_of(r->name), r->node_scope, !wish->shared);
    wait_for(r, wish->wait_us);
    advance(locks, r->claim.name);
}

static struct request *find(const struct cluster_locks *locks, uint64_t number)
{
    struct request *r;
    HASH_FIND(hh, locks->requests, &number, sizeof number, r);
    return r;
}

static void release(struct request *r)
{
    switch (r->state) {
    case LOCK_QUEUED:
    case LOCK_WAITING:
        move(r, LOCK_END);
        leave(r);
        request_free(r);
        return;
    case LOCK_ASKING:
        r->unwanted = true;
        return;
    case LOCK_HELD:
        give_back(r);
        return;
    default:
        request_free(r); /* failed or lost, and not told yet */
    }
}

void cluster_lock_release(struct cluster_locks *locks, uint64_t number)
{
    struct request *r = find(locks, number);
    if (r != NULL)
        release(r);
}

void cluster_locks_release_all(struct cluster_locks *locks)
{
    struct request *r, *next;
    HASH_ITER (hh, locks->requests, r, next)
        release(r);
}

size_t cluster_locks_count(const struct cluster_locks *locks)
{
    return HASH_COUNT(locks->requests) + locks->unconfirmed;
}

bool cluster_locks_notified(struct cluster_locks *locks, const char *payload)
{
    size_t length = strlen(LOCK_NOTIFICATION);
    if (strncmp(payload, LOCK_NOTIFICATION, length) != 0)
        return false;
    const struct lock_name *name = lock_queue_find(locks->queues, payload + length);
    struct request *r = name != NULL ? request_of(lock_queue_turn(name)) : NULL;
    if (r != NULL && r->state == LOCK_WAITING)
        ask(r, LOCK_AGAIN);
    return true;
}

void cluster_locks_session_ready(struct cluster_locks *locks)
{
    struct timeval now = {0, 0};
    for (struct request *r = locks->requests; r != NULL; r = r->hh.next)
        if (r->state == LOCK_WAITING)
            evtimer_add(r->timer, &now);
}

void cluster_locks_session_lost(struct cluster_locks *locks)
{
    locks->session++;
    locks->listening = false;
    event_active(locks->gone, EV_TIMEOUT, 0); /* not here: a call of ours may be what broke it */
}

static void on_gone(evutil_socket_t fd, short what, void *arg)
{
    struct cluster_locks *locks = arg;
    struct request *r, *next;
    (void)fd;
    (void)what;
    lock_queues_session_lost(locks->queues);
    HASH_ITER (hh, locks->requests, r, next)
        if (r->state == LOCK_HELD && !r->node_scope)
            lose(r, "the connection to the database was lost");
    set_validity(locks);
}

static void on_loss(evutil_socket_t fd, short what, void *arg)
{
    struct cluster_locks *locks = arg;
    struct request *r, *next;
    int64_t now_us = clock_boot_us();
    (void)fd;
    (void)what;
    HASH_ITER (hh, locks->requests, r, next)
        if (r->state == LOCK_HELD && !r->node_scope &&
            now_us >= r->good_boot_us + told_after(locks))
            lose(r, "it could not be renewed in time");
    set_validity(locks);
}

/* ---- renewal ---- */

static int compare_fences(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return left < right ? -1 : left > right;
}

static void on_renewed(void *arg, const struct store_answer *answer)
{
    struct cluster_locks *locks = arg;
    struct request *r, *next;
    size_t count;
    locks->renewing = false;
    if (answer->error != NULL) {
        log_warn(locks->config.log, "cluster locks are not renewed",
                 LOG_TEXT("error", answer->error->message));
        return;
    }
    int64_t *fences = row_int64s(answer->result, 0, 0, &count);
    qsort(fences, count, sizeof *fences, compare_fences);
    HASH_ITER (hh, locks->requests, r, next) {
        if (r->state != LOCK_HELD || r->renewal != locks->renewal || r->session != locks->session)
            continue;
        if (bsearch(&r->fence, fences, count, sizeof *fences, compare_fences) != NULL)
            r->good_boot_us = locks->renewal_boot_us;
        else
            lose(r, "its row in the database is not ours any more");
    }
    free(fences);
    set_validity(locks);
}

void cluster_locks_renew(struct cluster_locks *locks)
{
    size_t count = 0;
    if (locks->renewing || !is_ready(locks) || oldest_renewal(locks) == INT64_MAX)
        return;
    int64_t *fences = mem_array(HASH_COUNT(locks->requests), sizeof *fences);
    locks->renewal++;
    for (struct request *r = locks->requests; r != NULL; r = r->hh.next) {
        if (r->state != LOCK_HELD || r->node_scope)
            continue;
        r->renewal = locks->renewal;
        fences[count++] = r->fence;
    }
    struct store_params params = {0};
    params_int64s(&params, fences, count);
    locks->renewing = true;
    locks->renewal_boot_us = clock_boot_us();
    store_call(*locks->store, SQL_CLUSTER_LOCK_RENEW, &params, 0, on_renewed, locks);
    store_params_free(&params);
    free(fences);
}

/* ---- */

struct cluster_locks *cluster_locks_new(const struct cluster_lock_config *config,
                                        const struct cluster_lock_callbacks *callbacks,
                                        struct store *const *session)
{
    struct cluster_locks *locks = mem_alloc(sizeof *locks);
    locks->config = *config;
    locks->callbacks = *callbacks;
    locks->store = session;
    locks->queues = lock_queues_new();
    list_init(&locks->news);
    locks->turn = event_new(config->base, -1, 0, on_turn, locks);
    locks->gone = event_new(config->base, -1, 0, on_gone, locks);
    locks->loss = evtimer_new(config->base, on_loss, locks);
    return locks;
}

void cluster_locks_free(struct cluster_locks *locks)
{
    struct request *r, *next;
    if (locks == NULL)
        return;
    HASH_ITER (hh, locks->requests, r, next) {
        lock_queue_leave(&r->claim);
        request_free(r);
    }
    lock_queues_session_lost(locks->queues);
    lock_queues_free(locks->queues);
    event_free(locks->turn);
    event_free(locks->gone);
    event_free(locks->loss);
    free(locks);
}
