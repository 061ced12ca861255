/*
 * Runs that wait for others. Whoever has written the end of runs asks who waited for them, in a
 * statement of its own behind the completion; but only while somebody waits, as heartbeats and
 * notifications say. What falls between (its end and its enqueueing crossed, a node died in
 * between) is found by the leader's sweep.
 */
#include "coord/node.h"

#include "base/clock.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

#define DONE_MAX     2000 /* ends not asked about yet: what is beyond is left to the sweep */
#define SWEEP_US     (1 * US_PER_SECOND)
#define SWEEP_ON_US  (50 * US_PER_MS) /* the next slice of a long list */
#define TOLD_US      (20 * US_PER_MS) /* what it waits for may be over already: look soon */
#define TOLD_HOLD_US (5 * US_PER_SECOND)

struct after {
    struct node *node;
    struct event *turn;
    struct event *sweep;
    bool waited;          /* some run waits for another */
    int64_t told_boot_us; /* when a notification said so: a heartbeat sent before cannot know */
    int64_t done[DONE_MAX];
    size_t done_count;
    bool out;      /* done runs are being asked about */
    bool sweeping; /* a sweep is on its way */
    int64_t since; /* where its next slice begins */
};

static void flush(struct after *a);

static void on_resolved(void *arg, const struct store_answer *answer)
{
    struct after *a = arg;
    struct node *node = a->node;
    a->out = false;
    if (answer->error != NULL) {
        log_debug(&node->log, "runs that wait for others are left to the sweep",
                  LOG_TEXT("error", answer->error->message));
        return;
    }
    if (row_int64(answer->result, 0, 0) > 0)
        wake_now(node, WORK_PENDING);
    flush(a);
}

static void flush(struct after *a)
{
    if (a->out || a->done_count == 0)
        return;
    if (store_ready(a->node->work)) {
        struct store_params params = {0};
        params_int64s(&params, a->done, a->done_count);
        a->out = true;
        store_call(a->node->work, SQL_AFTER_RESOLVE, &params, 0, on_resolved, a);
        store_params_free(&params);
    }
    a->done_count = 0;
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    flush(arg);
}

void after_done(struct node *node, int64_t run)
{
    struct after *a = node->after;
    struct timeval now = {0, 0};
    if (!a->waited || a->done_count == DONE_MAX)
        return;
    a->done[a->done_count++] = run;
    if (!evtimer_pending(a->turn, NULL))
        evtimer_add(a->turn, &now);
}

/* ---- the leader's ---- */

static void sweep_in(struct after *a, int64_t pause_us)
{
    struct timeval pause = clock_timeval(pause_us);
    evtimer_add(a->sweep, &pause);
}

static void on_swept(void *arg, const struct store_answer *answer)
{
    struct after *a = arg;
    a->sweeping = false;
    if (answer->error != NULL) {
        log_debug(&a->node->log, "cannot look after runs that wait for others",
                  LOG_TEXT("error", answer->error->message));
        return;
    }
    a->since = row_int64(answer->result, 0, 2);
    if (a->since != 0)
        sweep_in(a, SWEEP_ON_US);
}

static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
    struct after *a = arg;
    struct node *node = a->node;
    (void)fd;
    (void)what;
    if (!a->waited || !node->member.leader)
        return; /* a heartbeat begins it again */
    sweep_in(a, SWEEP_US);
    if (a->sweeping || !store_ready(node->session))
        return;
    struct store_params params = {0};
    params_int64(&params, a->since);
    a->sweeping = true;
    store_call(node->session, SQL_AFTER_SWEEP, &params, 0, on_swept, a);
    store_params_free(&params);
}

void after_heard(struct node *node, bool waited)
{
    struct after *a = node->after;
    if (!waited && a->told_boot_us != 0 && node->member.sent_boot_us < a->told_boot_us)
        return;
    a->waited = waited;
    if (waited && node->member.leader && !evtimer_pending(a->sweep, NULL))
        sweep_in(a, SWEEP_US);
}

void after_told(struct node *node)
{
    struct after *a = node->after;
    a->waited = true;
    a->told_boot_us = clock_boot_us();
    if (node->member.leader && !a->sweeping)
        sweep_in(a, TOLD_US);
}

/* ---- */

void after_new(struct node *node)
{
    struct after *a = mem_alloc(sizeof *a);
    a->node = node;
    a->turn = evtimer_new(node->base, on_turn, a);
    a->sweep = evtimer_new(node->base, on_sweep, a);
    node->after = a;
}

void after_free(struct node *node)
{
    if (node->after == NULL)
        return;
    event_free(node->after->turn);
    event_free(node->after->sweep);
    free(node->after);
    node->after = NULL;
}
