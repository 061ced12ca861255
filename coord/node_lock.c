/* The cluster locks of a node: between what its workers ask for and coord/cluster_lock.h. */
#include "coord/node_lock.h"

#include "base/clock.h"
#include "base/memory.h"
#include "coord/cluster_lock.h"
#include "coord/metrics.h"
#include "coord/node.h"

#include <stdlib.h>

#define END_US (2 * US_PER_SECOND) /* to give back what is held when the node ends */

static void on_obtained(void *arg, uint64_t number, int64_t fence)
{
    workers_locked(((struct node *)arg)->workers, number, fence);
}

static void on_failed(void *arg, uint64_t number, const struct cluster_lock_failure *failure)
{
    struct node *node = arg;
    char *line = mem_format("Failed to obtain cluster lock: %s", failure->name);
    log_error(&node->log, line, LOG_INT("retries", failure->retries),
              LOG_TEXT("holder", failure->holder), LOG_TEXT("error", failure->error->message));
    free(line);
    workers_lock_failed(node->workers, number, failure->error->message);
}

static void on_lost(void *arg, uint64_t number, const char *why)
{
    struct node *node = arg;
    log_error(&node->log, "cluster lock lost: its worker is told", LOG_INT("lock", number),
              LOG_TEXT("why", why));
    workers_lock_lost(node->workers, number);
}

static void on_waited(void *arg, bool obtained, int64_t waited_us)
{
    metrics_lock_waited(arg, obtained, waited_us);
}

/* The guard ends whoever holds one at the end of the lease: not later than a lock may be taken. */
static int64_t valid_us(const struct node_config *config)
{
    bool shorter = config->lock_delay_us < config->lease_us &&
                   config->lock_delay_us >= 3 * config->heartbeat_us;
    return shorter ? config->lock_delay_us : config->lease_us;
}

void node_locks_new(struct node *node)
{
    const struct cluster_lock_config config = {.base = node->base,
                                               .log = &node->log,
                                               .delay_us = node->config->lock_delay_us,
                                               .renew_us = node->config->heartbeat_us,
                                               .valid_us = valid_us(node->config)};
    const struct cluster_lock_callbacks callbacks = {.arg = node,
                                                     .obtained = on_obtained,
                                                     .failed = on_failed,
                                                     .lost = on_lost,
                                                     .waited = on_waited};
    node->locks = cluster_locks_new(&config, &callbacks, &node->session);
}

void node_locks_wanted(struct node *node, const struct worker_lock *wanted)
{
    struct rota_error error = {0};
    if (cluster_lock_check_name(wanted->name, &error) != 0) {
        workers_lock_failed(node->workers, wanted->lock, error.message);
        return;
    }
    char *holder = wanted->id != 0
                       ? mem_format("%s, run %lld", node->config->node_name, (long long)wanted->id)
                       : mem_format("%s, a worker", node->config->node_name);
    const struct cluster_lock_wish wish = {
        .number = wanted->lock,
        .name = wanted->name,
        .shared = wanted->shared,
        .node_scope = wanted->node_scope,
        .wait_us = wanted->wait_us >= 0 ? wanted->wait_us : node->config->lock_wait_us,
        .holder = holder};
    cluster_lock_want(node->locks, &wish);
    free(holder);
}

void node_locks_unlock(struct node *node, uint64_t lock)
{
    cluster_lock_release(node->locks, lock);
}

static void on_time(evutil_socket_t fd, short what, void *arg)
{
    (void)fd; /* it turns the loop */
    (void)what;
    (void)arg;
}

void node_locks_end(struct node *node)
{
    int64_t until_us = clock_monotonic_us() + END_US;
    struct timeval pause = clock_timeval(END_US);
    struct event *timer = evtimer_new(node->base, on_time, NULL);
    evtimer_add(timer, &pause);
    cluster_locks_release_all(node->locks);
    while (cluster_locks_count(node->locks) > 0 && store_ready(node->session) &&
           clock_monotonic_us() < until_us)
        event_base_loop(node->base, EVLOOP_ONCE);
    event_free(timer);
}
