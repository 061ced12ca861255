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
#include "base/text.h"
#include "coord/lock_request.h"

#include <stdlib.h>
#include <string.h>

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

struct request *lock_request_of(struct lock_claim *claim)
{
    return claim != NULL ? LIST_ITEM(claim, struct request, claim) : NULL;
}

bool lock_session_ready(const struct cluster_locks *locks)
{
    return *locks->store != NULL && store_ready(*locks->store);
}

const char *lock_request_mode(const struct request *r)
{
    return r->claim.exclusive ? "exclusive" : "share";
}

void lock_request_move(struct request *r, enum lock_event event)
{
    r->state = (enum lock_state)machine_move(&lock_machine, (int)r->state, (int)event)->to;
}

static void destroy(struct request *r)
{
    list_remove(&r->news_place);
    list_remove(&r->line_place);
    event_free(r->timer);
    free(r->name);
    free(r->holder);
    free(r->held_by);
    free(r);
}

void lock_request_free(struct request *r)
{
    HASH_DEL(r->locks->requests, r);
    destroy(r);
}

/* ---- news ---- */

void lock_request_tell(struct request *r, enum news news)
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

static void tell_wait(struct request *r, bool obtained)
{
    const struct cluster_lock_callbacks *callbacks = &r->locks->callbacks;
    if (callbacks->waited != NULL)
        callbacks->waited(callbacks->arg, obtained,
                          clock_monotonic_us() - r->deadline_us + r->wait_us);
}

static void tell(struct request *r)
{
    enum news news = r->news;
    if (news == NEWS_OBTAINED || news == NEWS_FAILED)
        tell_wait(r, news == NEWS_OBTAINED);
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

/* ---- the database ---- */

static void on_given_back(void *arg, const struct store_answer *answer)
{
    struct cluster_locks *locks = arg;
    locks->unconfirmed--;
    if (answer->error != NULL)
        log_warn(locks->config.log, "a cluster lock is not released cleanly: the next one waits",
                 LOG_TEXT("error", answer->error->message));
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
void lock_settle(struct cluster_locks *locks, struct lock_name *name)
{
    const struct request *head = lock_request_of(lock_queue_turn(name));
    bool asking = head != NULL && head->state == LOCK_ASKING;
    enum lock_session session = lock_name_session(name);
    if (session != SESSION_NONE && lock_queue_holder(name) == NULL && !asking) {
        lock_name_set_session(name, SESSION_NONE);
        if (lock_session_ready(locks))
            lock_ask_unlock(locks, lock_name_text(name), session == SESSION_EXCLUSIVE);
    }
    lock_advance(locks, name);
    lock_queue_settle(locks->queues, name);
}

void lock_request_leave(struct request *r)
{
    struct lock_name *name = r->claim.name;
    evtimer_del(r->timer);
    list_remove(&r->line_place);
    lock_queue_leave(&r->claim);
    lock_settle(r->locks, name);
}

/* ---- the end of a request ---- */

void lock_request_give_back(struct request *r)
{
    struct cluster_locks *locks = r->locks;
    lock_request_move(r, LOCK_END);
    if (!r->node_scope && lock_session_ready(locks) && r->session == locks->session)
        call_clear(r);
    lock_request_leave(r);
    lock_request_free(r);
    lock_renew_set(locks);
}

void lock_request_lose(struct request *r, const char *why)
{
    bool told = r->news != NEWS_OBTAINED;
    lock_request_move(r, LOCK_LOSE);
    r->why = why;
    if (!told)
        error_set(&r->error, ERROR_DATABASE, "Failed to obtain cluster lock: %s: %s", r->name, why);
    lock_request_tell(r, told ? NEWS_LOST : NEWS_FAILED);
    lock_request_leave(r);
}

void lock_request_fail(struct request *r, enum lock_event event)
{
    lock_request_move(r, event);
    lock_request_tell(r, NEWS_FAILED);
    lock_request_leave(r);
}

void lock_request_fail_in_time(struct request *r)
{
    char text[TIME_TEXT_SIZE];
    int retries = r->tries > 0 ? r->tries - 1 : 0;
    const struct request *before = lock_request_of(lock_queue_holder(r->claim.name));
    if (before != NULL && r->held_by == NULL)
        r->held_by = mem_string(before->holder);
    if (!r->node_scope && !lock_session_ready(r->locks))
        error_set(&r->error, ERROR_DATABASE,
                  "Failed to obtain cluster lock: %s: the database is out of reach", r->name);
    else
        error_set(&r->error, ERROR_TIMEOUT,
                  "Failed to obtain cluster lock: %s: held by %s, %d %s in %s", r->name,
                  r->held_by != NULL ? r->held_by : "somebody", retries,
                  retries == 1 ? "retry" : "retries",
                  duration_format(r->wait_us / US_PER_MS * US_PER_MS, text));
    lock_request_fail(r, LOCK_END);
}

static int64_t next_node_fence(struct cluster_locks *locks)
{
    int64_t now_us = clock_wall_us(); /* so that they go on after a restart */
    locks->node_fence = locks->node_fence < now_us ? now_us : locks->node_fence + 1;
    return locks->node_fence;
}

void lock_advance(struct cluster_locks *locks, struct lock_name *name)
{
    struct request *r = lock_request_of(lock_queue_turn(name));
    if (r == NULL || r->state != LOCK_QUEUED)
        return;
    if (r->node_scope)
        lock_ask_obtained(r, next_node_fence(locks));
    else
        lock_ask(r, LOCK_TURN);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct request *r = arg;
    (void)fd;
    (void)what;
    bool in_line = !list_empty(&r->line_place); /* and its time is over there */
    if (r->state == LOCK_ASKING)
        lock_ask_answered(r);
    else if (r->state == LOCK_WAITING && !in_line)
        lock_ask(r, LOCK_AGAIN);
    else if (r->state == LOCK_QUEUED || in_line)
        lock_request_fail_in_time(r);
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
    list_init(&r->line_place);
    r->name = mem_string_n(wish->name.data, wish->name.length);
    r->holder = mem_string(wish->holder);
    r->node_scope = wish->node_scope;
    r->wait_us = wish->wait_us;
    r->deadline_us = clock_monotonic_us() + wish->wait_us;
    r->timer = evtimer_new(locks->config.base, on_timer, r);
    HASH_ADD(hh, locks->requests, number, sizeof r->number, r);
    lock_queue_join(locks->queues, &r->claim, slice_of(r->name), r->node_scope, !wish->shared);
    lock_ask_wait(r, wish->wait_us);
    lock_advance(locks, r->claim.name);
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
        lock_request_move(r, LOCK_END);
        lock_request_leave(r);
        lock_request_free(r);
        return;
    case LOCK_ASKING:
        r->unwanted = true;
        return;
    case LOCK_HELD:
        lock_request_give_back(r);
        return;
    default:
        lock_request_free(r); /* failed or lost, and not told yet */
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
    struct request *r = name != NULL ? lock_request_of(lock_queue_turn(name)) : NULL;
    if (r != NULL && r->state == LOCK_WAITING)
        lock_ask(r, LOCK_AGAIN);
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
            lock_request_lose(r, "the connection to the database was lost");
    lock_renew_set(locks);
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
    list_init(&locks->line);
    locks->turn = event_new(config->base, -1, 0, on_turn, locks);
    locks->gone = event_new(config->base, -1, 0, on_gone, locks);
    locks->loss = evtimer_new(config->base, lock_renew_on_loss, locks);
    return locks;
}

void cluster_locks_free(struct cluster_locks *locks)
{
    struct request *r, *next;
    if (locks == NULL)
        return;
    HASH_ITER (hh, locks->requests, r, next) {
        lock_queue_leave(&r->claim);
        lock_request_free(r);
    }
    lock_queues_session_lost(locks->queues);
    lock_queues_free(locks->queues);
    event_free(locks->turn);
    event_free(locks->gone);
    event_free(locks->loss);
    free(locks);
}
