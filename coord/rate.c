/*
 * Rates: runs that wait for their rate are given their starts when an event of their bucket is due
 * (sql/schema/0007_rates.sql). Any running node does it; of several, who comes first: the others
 * hold back and look a little later, in case he has died. On the work connection, a few buckets at
 * a time: claims pass in between, and heartbeats are not held up.
 */
#include "coord/node.h"

#include "base/clock.h"
#include "base/memory.h"

#include <stdlib.h>

#define BUCKETS_AT_ONCE 32
#define GAP_US          (2 * US_PER_MS) /* between two looks */
#define LAG_MIN_US      (5 * US_PER_MS) /* behind who came first; doubled each time */
#define LAG_MAX_US      (250 * US_PER_MS)
#define FAILED_PAUSE_US (250 * US_PER_MS)
#define UNTOLD_POLL_US  (200 * US_PER_MS) /* while nobody notifies, where there are rates at all */

struct rate {
    struct node *node;
    struct event *timer;
    bool out;       /* a look is on its way */
    bool seen;      /* there was an event */
    int64_t due_us; /* database time of the next event; STORE_NULL_TIME: none known */
    int64_t lag_us;
    int64_t answered_us; /* monotonic: the last look */
};

static void set_timer(struct rate *r)
{
    int64_t pause = INT64_MAX;
    if (r->out)
        return;
    if (r->due_us != STORE_NULL_TIME)
        pause = r->due_us - node_database_now(r->node) + r->lag_us + 200;
    if (r->seen && busy_polls(r->node) != INT64_MAX && pause > UNTOLD_POLL_US)
        pause = UNTOLD_POLL_US;
    if (pause == INT64_MAX)
        return;
    int64_t gap = r->answered_us + GAP_US - clock_monotonic_us();
    pause = pause > gap ? pause : gap;
    struct timeval delay = clock_timeval(pause > 0 ? pause : 0);
    evtimer_add(r->timer, &delay);
}

static void wake_released(struct node *node, int64_t laned, int64_t plain)
{
    if (plain > 0)
        wake_now(node, WORK_PENDING);
    if (laned > 0)
        wake_now(node, WORK_LANE_PENDING);
}

static void on_looked(void *arg, const struct store_answer *answer)
{
    struct rate *r = arg;
    r->out = false;
    r->answered_us = clock_monotonic_us();
    if (answer->error != NULL) {
        if (store_fault(answer->error) != FAULT_RETRY)
            log_error(&r->node->log, "cannot give starts to runs with a rate",
                      LOG_TEXT("error", answer->error->message),
                      LOG_TEXT("sqlstate", answer->error->sqlstate));
        rate_next(r->node, node_database_now(r->node) + FAILED_PAUSE_US);
        return;
    }
    int32_t looked = row_int32(answer->result, 0, 0);
    if (looked > 0)
        r->lag_us = 0;
    else
        r->lag_us = r->lag_us == 0 ? LAG_MIN_US : r->lag_us * 2;
    if (r->lag_us > LAG_MAX_US)
        r->lag_us = LAG_MAX_US;
    wake_released(r->node, row_int64(answer->result, 0, 1), row_int64(answer->result, 0, 2));
    rate_next(r->node, row_time(answer->result, 0, 3));
    set_timer(r);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct rate *r = arg;
    struct node *node = r->node;
    (void)fd;
    (void)what;
    if (r->out || node->state != NODE_RUNNING || node->member.incarnation == 0 ||
        !store_ready(node->work))
        return; /* the next heartbeat brings the event again */
    struct store_params params = {0};
    r->out = true;
    r->due_us = STORE_NULL_TIME;
    params_int32(&params, BUCKETS_AT_ONCE);
    store_call(node->work, SQL_RATE_WAKE, &params, 0, on_looked, r);
    store_params_free(&params);
}

void rate_next(struct node *node, int64_t at_us)
{
    struct rate *r = node->rate;
    if (at_us == STORE_NULL_TIME)
        return;
    r->seen = true;
    if (r->due_us == STORE_NULL_TIME || at_us < r->due_us)
        r->due_us = at_us;
    set_timer(r);
}

/* The event is our own: nobody else knows of it yet. */
void rate_claimed(struct node *node)
{
    node->rate->lag_us = 0;
    rate_next(node, node_database_now(node));
}

void rate_new(struct node *node)
{
    struct rate *r = mem_alloc(sizeof *r);
    r->node = node;
    r->due_us = STORE_NULL_TIME;
    r->timer = evtimer_new(node->base, on_timer, r);
    node->rate = r;
}

void rate_free(struct node *node)
{
    if (node->rate == NULL)
        return;
    event_free(node->rate->timer);
    free(node->rate);
    node->rate = NULL;
}
