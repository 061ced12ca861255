/*
 * The busy mark: a notification takes a lock of the whole database at commit, and a fleet that
 * claims one full batch after the other needs none. So such a node says so in the database, for
 * little more than a second at a time, and rota.wake() keeps quiet. All nodes look again and again
 * while that is so and for some seconds after: for what is of no use to the busy one, and for who
 * had seen the mark and commits only now. A node that runs out of work takes its word back, and
 * looks once more when that is committed. On the session connection, whose commits wait for no
 * disk.
 */
#include "coord/node.h"

#include "base/clock.h"
#include "base/memory.h"

#include <stdlib.h>

#define FULL_CLAIMS   3                   /* in a row: one or two are a burst, not a load */
#define FULL_AGE_US   (1 * US_PER_SECOND) /* of the claim before, to be in a row with it */
#define MARK_MS       1200
#define MARK_AGAIN_US (900 * US_PER_MS)
#define POLLS_US      (5 * US_PER_SECOND)
#define POLL_US       (200 * US_PER_MS) /* nobody is told while a node says that it looks */
#define POLL_HERE_US  (20 * US_PER_MS)  /* where runs are had, the next are waited for most likely \
                                         */

struct busy {
    struct node *node;
    int full_claims;
    int64_t full_us;        /* monotonic: the last of them */
    int64_t had_us;         /* monotonic: the last claim that brought any */
    int64_t sent_us;        /* monotonic: the mark was last set then */
    int64_t polls_until_us; /* monotonic */
    int64_t mark_us;        /* database time until which our mark says so; STORE_NULL_TIME: none */
    bool out;               /* a mark is being set or taken back */
};

static void on_set(void *arg, const struct store_answer *answer)
{
    struct busy *b = arg;
    b->out = false;
    if (answer->error == NULL && PQntuples(answer->result) == 1)
        b->mark_us = row_time(answer->result, 0, 0);
    wake_step(b->node); /* what we said may be over already: see busy_idle() */
}

void busy_claimed(struct node *node, int count, bool full)
{
    struct busy *b = node->busy;
    int64_t now = clock_monotonic_us();
    if (count > 0)
        b->had_us = now;
    if (!full) {
        b->full_claims = 0;
        return;
    }
    if (now - b->full_us > FULL_AGE_US)
        b->full_claims = 0;
    b->full_us = now;
    if (b->full_claims < FULL_CLAIMS)
        b->full_claims++;
    if (b->full_claims < FULL_CLAIMS || b->out || now - b->sent_us < MARK_AGAIN_US ||
        !node->config->notify || !store_ready(node->session))
        return;
    struct store_params params = {0};
    params_int64(&params, MARK_MS);
    b->sent_us = now;
    b->out = true;
    b->polls_until_us = now + POLLS_US;
    store_call(node->session, SQL_BUSY_SET, &params, 0, on_set, b);
    store_params_free(&params);
}

void busy_heard(struct node *node, bool busy)
{
    if (busy)
        node->busy->polls_until_us = clock_monotonic_us() + POLLS_US;
}

int64_t busy_polls(const struct node *node)
{
    int64_t now = clock_monotonic_us();
    if (now >= node->busy->polls_until_us)
        return INT64_MAX;
    return now - node->busy->had_us < FULL_AGE_US ? POLL_HERE_US : POLL_US;
}

static void on_cleared(void *arg, const struct store_answer *answer)
{
    struct busy *b = arg;
    (void)answer; /* where it failed the mark ends by itself */
    b->out = false;
    wake_look(b->node);
}

void busy_idle(struct node *node)
{
    struct busy *b = node->busy;
    b->full_claims = 0; /* one run fills a single slot: that is no load */
    if (b->mark_us == STORE_NULL_TIME || b->out || !store_ready(node->session))
        return;
    struct store_params params = {0};
    params_time(&params, b->mark_us);
    b->mark_us = STORE_NULL_TIME;
    b->sent_us = 0;
    b->out = true;
    store_call(node->session, SQL_BUSY_CLEAR, &params, 0, on_cleared, b);
    store_params_free(&params);
}

void busy_new(struct node *node)
{
    struct busy *b = mem_alloc(sizeof *b);
    b->node = node;
    b->mark_us = STORE_NULL_TIME;
    b->sent_us = -MARK_AGAIN_US;
    b->had_us = -FULL_AGE_US;
    node->busy = b;
}

void busy_free(struct node *node)
{
    free(node->busy);
    node->busy = NULL;
}
