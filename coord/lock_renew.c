/*
 * Cluster locks: how long what is held stays so. One statement renews all of it; what could not be
 * renewed in time is lost, a little before somebody else may have it.
 */
#include "coord/lock_request.h"

#include "base/clock.h"
#include "base/memory.h"

#include <stdlib.h>

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

void lock_renew_set(struct cluster_locks *locks)
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

void lock_renew_on_loss(evutil_socket_t fd, short what, void *arg)
{
    struct cluster_locks *locks = arg;
    struct request *r, *next;
    int64_t now_us = clock_boot_us();
    (void)fd;
    (void)what;
    HASH_ITER (hh, locks->requests, r, next)
        if (r->state == LOCK_HELD && !r->node_scope &&
            now_us >= r->good_boot_us + told_after(locks))
            lock_request_lose(r, "it could not be renewed in time");
    lock_renew_set(locks);
}

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
            lock_request_lose(r, "its row in the database is not ours any more");
    }
    free(fences);
    lock_renew_set(locks);
}

void cluster_locks_renew(struct cluster_locks *locks)
{
    size_t count = 0;
    if (locks->renewing || !lock_session_ready(locks) || oldest_renewal(locks) == INT64_MAX)
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
