/*
 * What the leader does for the history every few seconds: partitions for the days ahead, cuts by
 * size, counts of what is closed, retention. The schema knows what is next (rota.history_step());
 * here it is asked until there is nothing, and later again where a reader is in the way.
 */
#include "coord/history.h"

#include "coord/node.h"

#include "base/buffer.h"
#include "base/clock.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

#define STEP_US                                                                                    \
    (15 * US_PER_SECOND) /* at full speed a partition has so much more than it should              \
                          */
#define AGAIN_US  US_PER_SECOND
#define STEPS_MAX 100 /* then heartbeats come first */
#define PATIENCE  600 /* attempts, of a second each, that fail before somebody is told */

struct history {
    struct event *timer;
    int steps, failures;
    bool out;
};

static void history_step(struct node *node);

static void rest(struct history *history, int64_t wait_us)
{
    struct timeval wait = clock_timeval(wait_us);
    history->steps = 0;
    evtimer_add(history->timer, &wait);
}

static void on_failed(struct node *node, const struct rota_error *error)
{
    struct history *history = node->history;
    if (++history->failures % PATIENCE == 0)
        log_warn(&node->log, "the history cannot be cut or trimmed",
                 LOG_TEXT("error", error->message));
    else
        log_debug(&node->log, "the history waits for its turn", LOG_TEXT("error", error->message));
    rest(history, AGAIN_US);
}

static void on_step(void *arg, const struct store_answer *answer)
{
    struct node *node = arg;
    struct history *history = node->history;
    history->out = false;
    if (answer->error != NULL) {
        on_failed(node, answer->error);
        return;
    }
    history->failures = 0;
    if (PQntuples(answer->result) == 0) {
        rest(history, STEP_US);
        return;
    }
    const char *did = row_text(answer->result, 0, 0);
    if (strcmp(did, "dropped") == 0)
        log_info(&node->log, "finished runs were dropped from the history",
                 LOG_INT("runs", row_int64(answer->result, 0, 2)));
    if (strcmp(did, "busy") == 0 || ++history->steps >= STEPS_MAX)
        rest(history, AGAIN_US);
    else
        history_step(node);
}

static void history_step(struct node *node)
{
    struct store_params params = {0};
    if (!node->member.leader || !store_ready(node->session)) {
        rest(node->history, STEP_US);
        return;
    }
    params_int64(&params, node->config->history_rows);
    params_int64(&params, node->config->history_age_us / US_PER_MS);
    node->history->out = true;
    store_call(node->session, SQL_HISTORY_STEP, &params, 0, on_step, node);
    store_params_free(&params);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct node *node = arg;
    if (!node->history->out)
        history_step(node);
}

void history_look(struct node *node)
{
    rest(node->history, 0);
}

/* The worker's settings, and what task-history-cleanup needs beside them. Its transactions are
   many: they want no pooler between. */
char *history_settings(const struct node_config *config)
{
    struct buffer out = {0};
    const char *url = config->session_database_url;
    char *cleanup = store_with_schema(statements[SQL_HISTORY_CLEANUP].text, config->schema);
    if (url == NULL)
        url = config->database_url;
    buffer_append(&out, config->builtin_settings, strlen(config->builtin_settings) - 1);
    buffer_string(&out, ",\"fleet\":{\"url\":");
    buffer_json(&out, url, strlen(url));
    buffer_string(&out, ",\"cleanup\":");
    buffer_json(&out, cleanup, strlen(cleanup));
    buffer_format(&out, ",\"history_rows\":\"%lld\",\"history_age_ms\":\"%lld\"}}",
                  (long long)config->history_rows, (long long)(config->history_age_us / US_PER_MS));
    free(cleanup);
    buffer_text(&out);
    return out.data;
}

void history_new(struct node *node)
{
    node->history = mem_alloc(sizeof *node->history);
    node->history->timer = evtimer_new(node->base, on_timer, node);
}

void history_free(struct node *node)
{
    event_free(node->history->timer);
    free(node->history);
    node->history = NULL;
}
