/*
 * Requests to cancel, of runs that are claimed. Heartbeats bring all that are open, a notification
 * makes a node ask for them at once; the node that has the run ends it. A run that is not with a
 * worker yet never begins; one that is, is told, then ended, and whatever it answers then it is not
 * tried again, unless it has succeeded. A run that comes back from here is cancelled where it
 * waits.
 */
#include "coord/details.h"
#include "coord/node.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

#define DONE_MAX 1000 /* what is beyond is left to the leader's sweep */

struct cancels {
    struct node *node;
    struct event *turn;
    int64_t *ids;   /* ascending */
    char **reasons; /* one free() */
    size_t count;
    bool asking; /* the list is on its way, */
    bool again;  /* and there are newer ones */
    int64_t done[DONE_MAX];
    size_t done_count;
};

static int compare_ids(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

/* Why the run is to end; NULL: nobody asked for it. */
static const char *reason_of(const struct cancels *c, int64_t id)
{
    const int64_t *found =
        c->count == 0 ? NULL : bsearch(&id, c->ids, c->count, sizeof id, compare_ids);
    return found != NULL ? c->reasons[found - c->ids] : NULL;
}

static void forget(struct cancels *c)
{
    free(c->reasons);
    free(c->ids);
    c->ids = NULL;
    c->reasons = NULL;
    c->count = 0;
}

void cancel_heard(struct node *node, int64_t *ids, char **reasons, size_t count)
{
    struct cancels *c = node->cancels;
    struct run *run, *next;
    forget(c);
    c->ids = ids;
    c->reasons = reasons;
    c->count = count;
    if (count == 0)
        return;
    HASH_ITER (hh, node->runs->by_key, run, next) {
        const char *reason = reason_of(c, run->key.id);
        if (reason == NULL || run->cancel != NULL || run->fenced || run->place != RUN_AT_WORKER)
            continue; /* one that is not there yet is asked about when it goes there */
        run->cancel = mem_string(reason);
        log_info(&node->log, "cancelling a run", LOG_INT("run", run->key.id),
                 LOG_TEXT("reason", reason));
        workers_cancel(node->workers, run->key.id, run->key.fence, reason);
    }
}

bool cancel_before_start(struct node *node, struct run *run)
{
    const char *reason = reason_of(node->cancels, run->key.id);
    if (reason == NULL)
        return false;
    run->cancel = mem_string(reason);
    complete_over(node, run, "failed", "cancelled",
                  details_failure(NULL, run, "failed", NULL, reason), -1, NULL);
    return true;
}

/* ---- asking ---- */

static void on_list(void *arg, const struct store_answer *answer)
{
    struct cancels *c = arg;
    size_t count = 0, ignored;
    c->asking = false;
    if (answer->error != NULL)
        return; /* the next heartbeat brings them */
    int64_t *ids = row_int64s(answer->result, 0, 0, &count);
    char **reasons = row_texts(answer->result, 0, 1, &ignored);
    cancel_heard(c->node, ids, reasons, count);
    if (c->again)
        cancel_told(c->node);
}

void cancel_told(struct node *node)
{
    struct cancels *c = node->cancels;
    c->again = c->asking;
    if (c->asking || !store_ready(node->session))
        return;
    c->asking = true;
    store_call(node->session, SQL_CANCEL_LIST, NULL, 0, on_list, c);
}

/* ---- afterwards the request goes ---- */

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
    struct cancels *c = arg;
    (void)fd;
    (void)what;
    if (c->done_count > 0 && store_ready(c->node->work)) {
        struct store_params params = {0};
        params_int64s(&params, c->done, c->done_count);
        store_call(c->node->work, SQL_CANCEL_SETTLE, &params, 0, NULL, NULL);
        store_params_free(&params);
    }
    c->done_count = 0;
}

void cancel_done(struct node *node, int64_t run)
{
    struct cancels *c = node->cancels;
    struct timeval now = {0, 0};
    if (c->done_count == DONE_MAX)
        return;
    c->done[c->done_count++] = run;
    if (!evtimer_pending(c->turn, NULL))
        evtimer_add(c->turn, &now);
}

/* ---- */

void cancel_new(struct node *node)
{
    struct cancels *c = mem_alloc(sizeof *c);
    c->node = node;
    c->turn = evtimer_new(node->base, on_turn, c);
    node->cancels = c;
}

void cancel_free(struct node *node)
{
    if (node->cancels == NULL)
        return;
    forget(node->cancels);
    event_free(node->cancels->turn);
    free(node->cancels);
    node->cancels = NULL;
}
