/*
 * Ahead: plain runs that are claimed beyond the free slots, so that the next one is at hand when a
 * worker is done, instead of a round trip away. Never more than the workers of the pool have lately
 * finished in AHEAD_US, so that others do not wait for what lies here: where runs are long there
 * are none. Those that would not be run again if this node died are never here: the claim leaves
 * them. What nobody here begins within PATIENCE_US, as long runs have taken the slots, goes back
 * whole.
 */
#include "coord/node.h"

#include "base/clock.h"
#include "base/heap.h"
#include "base/memory.h"

#include <assert.h>
#include <stdlib.h>

#define AHEAD_US    (25 * US_PER_MS)
#define WINDOW_US   (5 * US_PER_MS)   /* the pace is measured over at least so long, */
#define FRESH_US    (100 * US_PER_MS) /* and what was measured over more than that is no pace */
#define PATIENCE_US (200 * US_PER_MS)
#define AHEAD_MAX   (2 * NODE_CLAIM_MAX) /* in one pool */

struct hand {
    struct heap runs;    /* by rank */
    int64_t since_us;    /* monotonic: the window's begin */
    int64_t finished;    /* in this window */
    double pace;         /* runs finished in a microsecond */
    int64_t took_us;     /* a run of late, on average */
    int64_t last_put_us; /* monotonic: when one was last begun, or the first was put here */
};

struct ahead {
    struct node *node;
    struct event *timer; /* while anything is here */
    struct hand hands[NODE_POOLS_MAX];
};

static bool ranks_before(const void *a, const void *b)
{
    const struct run *left = a, *right = b;
    return left->rank_us != right->rank_us ? left->rank_us < right->rank_us
                                           : left->key.id < right->key.id;
}

static void empty(struct ahead *ahead, struct hand *hand)
{
    struct run *run;
    hand->pace = 0;
    while ((run = heap_pop(&hand->runs)) != NULL)
        dispatch_back(ahead->node, run);
}

static void on_patience(evutil_socket_t fd, short what, void *arg)
{
    struct ahead *ahead = arg;
    int64_t now = clock_monotonic_us();
    bool any = false;
    (void)fd;
    (void)what;
    for (size_t i = 0; i < NODE_POOLS_MAX; i++) {
        struct hand *hand = &ahead->hands[i];
        if (hand->runs.count > 0 && now - hand->last_put_us >= PATIENCE_US)
            empty(ahead, hand);
        any = any || hand->runs.count > 0;
    }
    if (!any)
        event_del(ahead->timer);
}

void ahead_new(struct node *node)
{
    struct ahead *ahead = mem_alloc(sizeof *ahead);
    ahead->node = node;
    ahead->timer = event_new(node->base, -1, EV_PERSIST, on_patience, ahead);
    for (size_t i = 0; i < NODE_POOLS_MAX; i++)
        heap_init(&ahead->hands[i].runs, ranks_before, offsetof(struct run, at_hand));
    node->ahead = ahead;
}

void ahead_free(struct node *node)
{
    struct ahead *ahead = node->ahead;
    if (ahead == NULL)
        return;
    for (size_t i = 0; i < NODE_POOLS_MAX; i++)
        heap_free(&ahead->hands[i].runs);
    event_free(ahead->timer);
    free(ahead);
    node->ahead = NULL;
}

void ahead_finished(struct node *node, size_t pool, int64_t took_us)
{
    struct hand *hand = &node->ahead->hands[pool];
    hand->finished++;
    hand->took_us += (took_us - hand->took_us) / 8;
}

static void measure(struct hand *hand, int64_t now_us)
{
    int64_t window = now_us - hand->since_us;
    if (window < WINDOW_US)
        return;
    double pace = window < FRESH_US ? (double)hand->finished / (double)window : 0;
    hand->pace = pace == 0 ? 0 : (hand->pace + pace) / 2;
    hand->finished = 0;
    hand->since_us = now_us;
}

size_t ahead_count(const struct node *node, size_t pool)
{
    return node->ahead->hands[pool].runs.count;
}

int ahead_room(struct node *node, size_t pool, int slots)
{
    struct hand *hand = &node->ahead->hands[pool];
    measure(hand, clock_monotonic_us());
    double wanted = hand->pace * AHEAD_US;
    if (hand->took_us > 0 && wanted * (double)hand->took_us > (double)slots * AHEAD_US)
        wanted =
            (double)slots * AHEAD_US / (double)hand->took_us; /* long ones that ended at once */
    int most = wanted < AHEAD_MAX ? (int)wanted : AHEAD_MAX;
    int room = most - (int)hand->runs.count;
    return room >= (most + 1) / 2 ? room : 0; /* several at a time: a claim costs a round trip */
}

void ahead_put(struct node *node, struct run *run, size_t pool)
{
    struct ahead *ahead = node->ahead;
    struct hand *hand = &ahead->hands[pool];
    assert(run->place == RUN_CLAIMED && !run->laned);
    if (hand->runs.count == 0)
        hand->last_put_us = clock_monotonic_us();
    heap_push(&hand->runs, run);
    if (!event_pending(ahead->timer, EV_TIMEOUT, NULL)) {
        struct timeval pause = clock_timeval(PATIENCE_US);
        event_add(ahead->timer, &pause);
    }
}

void ahead_go(struct node *node)
{
    const struct worker_pool_view *views;
    struct run *begun[AHEAD_MAX];
    size_t pools = workers_pools(node->workers, &views);
    for (size_t i = 0; i < pools && i < NODE_POOLS_MAX; i++) {
        struct hand *hand = &node->ahead->hands[i];
        if (hand->runs.count == 0)
            continue;
        if (views[i].free_slots > 0)
            hand->last_put_us = clock_monotonic_us();
        size_t count = 0;
        for (int slots = views[i].free_slots; slots > 0 && hand->runs.count > 0; slots--) {
            struct run *run = heap_pop(&hand->runs);
            if (dispatch_run(node, run))
                begun[count++] = run;
            if (count < AHEAD_MAX)
                continue;
            observe_begun(node, begun, count);
            count = 0;
        }
        observe_begun(node, begun, count);
    }
}

void ahead_back(struct node *node)
{
    for (size_t i = 0; i < NODE_POOLS_MAX; i++)
        empty(node->ahead, &node->ahead->hands[i]);
    event_del(node->ahead->timer);
}
