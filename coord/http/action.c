/* The thread of actions: see action.h. */
#include "coord/http/action.h"

#include "coord/http/inside.h"

#include "base/clock.h"
#include "base/memory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define IDLE_S 30 /* without actions, then the connection is closed */

struct job {
    struct list link;
    struct web_request *request; /* of the server's thread; here only handed back */
    web_act_function function;
    char *name, *body, *who, *address;
    struct buffer answer;
    struct rota_error error;
    bool failed;
};

struct web_actions {
    struct http_server *server;
    pthread_t thread;
    bool started;
    struct event_base *base; /* both of its thread */
    struct store *store;
    pthread_mutex_t lock; /* of the fields below */
    pthread_cond_t called;
    struct list wanted, done;
    size_t count; /* of both */
    bool stop;    /* also read, without the lock, by who waits for another apply to end */
};

struct web_actions *web_actions_new(struct http_server *server)
{
    struct web_actions *actions = mem_alloc(sizeof *actions);
    actions->server = server;
    pthread_mutex_init(&actions->lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&actions->called, &attributes);
    pthread_condattr_destroy(&attributes);
    list_init(&actions->wanted);
    list_init(&actions->done);
    return actions;
}

static void job_free(struct job *job)
{
    list_remove(&job->link);
    free(job->name);
    free(job->body);
    free(job->who);
    free(job->address);
    buffer_free(&job->answer);
    free(job);
}

/* ---- on its thread ---- */

static void open_store(struct web_actions *actions)
{
    char name[64];
    const struct http_server *server = actions->server;
    snprintf(name, sizeof name, "rota act %.48s", server->config.node);
    const struct store_config config = {
        .base = actions->base,
        .log = &server->log,
        .url = server->config.database_url,
        .schema = server->config.schema,
        .role_name = "act",
        .application_name = name,
        .pooler = server->config.pooler,
        .writes = true,
        .options =
            "-c timezone=UTC -c statement_timeout=15s -c lock_timeout=5s "
            "-c idle_in_transaction_session_timeout=5s "
            "-c tcp_keepalives_idle=3 -c tcp_keepalives_interval=1 -c tcp_keepalives_count=3 "
            "-c tcp_user_timeout=5000 -c client_connection_check_interval=1s",
        .answer_timeout_us = 20 * US_PER_SECOND,
    };
    actions->store = store_new(&config);
}

static void close_store(struct web_actions *actions)
{
    store_free(actions->store);
    actions->store = NULL;
}

static void act(struct web_actions *actions, struct job *job)
{
    if (actions->store == NULL)
        open_store(actions);
    else
        event_base_loop(actions->base, EVLOOP_NONBLOCK); /* it may have been lost meanwhile */
    job->failed = store_wait_ready(actions->store, NULL, &job->error) != 0;
    if (!job->failed) {
        struct slice body = slice_of(job->body);
        struct web_act act = {.store = actions->store,
                              .base = actions->base,
                              .stop = &actions->stop,
                              .name = job->name,
                              .body = body,
                              .audit = {.store = actions->store,
                                        .who = job->who,
                                        .address = job->address,
                                        .node = actions->server->config.node,
                                        .request = body}};
        act.audit.answer = &act.answer;
        job->failed = job->function(&act, &job->error) != 0;
        job->answer = act.answer;
        audit_free(&act.audit);
    } else {
        close_store(actions); /* rather than to wait for its back-off the next time */
    }
}

/* The next one, NULL: to stop. Waits with the lock held, as condition variables do. */
static struct job *next_job(struct web_actions *actions)
{
    while (!actions->stop && list_empty(&actions->wanted)) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += IDLE_S;
        int over = actions->store != NULL
                       ? pthread_cond_timedwait(&actions->called, &actions->lock, &until)
                       : pthread_cond_wait(&actions->called, &actions->lock);
        if (over == ETIMEDOUT && list_empty(&actions->wanted))
            close_store(actions);
    }
    if (actions->stop)
        return NULL;
    struct job *job = LIST_ITEM(actions->wanted.next, struct job, link);
    list_remove(&job->link);
    return job;
}

static void *work(void *arg)
{
    struct web_actions *actions = arg;
    struct job *job;
    actions->base = event_base_new();
    pthread_mutex_lock(&actions->lock);
    while ((job = next_job(actions)) != NULL) {
        pthread_mutex_unlock(&actions->lock);
        act(actions, job);
        pthread_mutex_lock(&actions->lock);
        list_append(&actions->done, &job->link);
        http_server_wake(actions->server);
    }
    pthread_mutex_unlock(&actions->lock);
    close_store(actions);
    event_base_free(actions->base);
    return NULL;
}

/* ---- on the server's ---- */

static void answer(struct job *job)
{
    struct web_request *request = job->request;
    if (!web_request_back(request))
        return;
    if (job->failed)
        web_reply_error(request, &job->error);
    else
        web_reply_json(request, 200, &job->answer);
}

void web_actions_answer(struct web_actions *actions)
{
    for (;;) {
        struct job *job = NULL;
        pthread_mutex_lock(&actions->lock);
        if (!list_empty(&actions->done)) {
            job = LIST_ITEM(actions->done.next, struct job, link);
            list_remove(&job->link);
            actions->count--;
        }
        pthread_mutex_unlock(&actions->lock);
        if (job == NULL)
            return;
        answer(job);
        job_free(job);
    }
}

void web_action(struct web_request *request, web_act_function function)
{
    struct web_actions *actions = request->server->actions;
    const struct rota_error busy = {.code = ERROR_TIMEOUT,
                                    .message = "Too many actions wait: come back in a moment."};
    if (!actions->started)
        actions->started = pthread_create(&actions->thread, NULL, work, actions) == 0;
    pthread_mutex_lock(&actions->lock);
    bool full = !actions->started || actions->count >= WEB_ACTIONS_MAX;
    if (!full) {
        struct job *job = mem_alloc(sizeof *job);
        struct slice body = web_request_body(request);
        *job = (struct job){.request = request,
                            .function = function,
                            .name = mem_string(request->values[0]),
                            .body = mem_string_n(body.data, body.length),
                            .who = mem_string(request->who),
                            .address = mem_string(request->address)};
        list_init(&job->link);
        list_append(&actions->wanted, &job->link);
        actions->count++;
        web_request_out(request);
        pthread_cond_signal(&actions->called);
    }
    pthread_mutex_unlock(&actions->lock);
    if (full)
        web_reply_error(request, &busy);
}

void web_actions_free(struct web_actions *actions)
{
    if (actions == NULL)
        return;
    pthread_mutex_lock(&actions->lock);
    actions->stop = true;
    pthread_cond_signal(&actions->called);
    pthread_mutex_unlock(&actions->lock);
    if (actions->started)
        pthread_join(actions->thread, NULL);
    LIST_EACH (&actions->wanted, struct job, link, job)
        job_free(job);
    LIST_EACH (&actions->done, struct job, link, job)
        job_free(job);
    pthread_cond_destroy(&actions->called);
    pthread_mutex_destroy(&actions->lock);
    free(actions);
}

/* ---- for the functions of actions ---- */

int web_act_begin(struct web_act *act, const char *action, const char *noun, const char *name,
                  struct rota_error *error)
{
    act->audit.action = action;
    act->audit.noun = noun;
    act->audit.name = name;
    return audit_begin(&act->audit, STORE_BEGIN, error);
}

int web_act_end(struct web_act *act, struct rota_error *error)
{
    return audit_end(&act->audit, STORE_WITHIN | STORE_COMMIT, error);
}

int web_act_abort(struct web_act *act, const struct rota_error *error)
{
    if (error->sqlstate[0] == '\0')
        store_rollback(act->store);
    return -1;
}
