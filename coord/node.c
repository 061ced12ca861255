/*
 * A node's main loop: its connections, its state, its end. What happens in the loop is the business
 * of the other files; this one wires them together and lets the node drain.
 */
#include "coord/node.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "coord/cluster_lock.h"
#include "coord/events.h"
#include "coord/history.h"
#include "coord/http/server.h"
#include "coord/metrics.h"
#include "coord/node_lock.h"
#include "coord/note.h"
#include "coord/reload.h"
#include "coord/schedule/zone.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define CHORES_US         (3600 * US_PER_SECOND)
#define SWEEP_US          (5 * US_PER_SECOND)
#define LOCKS_SWEPT_MAX   500 /* as cluster_lock_sweep() has it */
#define KILL_GRACE_MAX_US (5 * US_PER_SECOND)
#define WRITE_MARGIN_US   (500 * US_PER_MS) /* to write what became of runs that were ended */

/* ---- state ---- */

void node_move(struct node *node, enum node_event event)
{
    const struct machine_row *row = machine_move(&node_machine, (int)node->state, (int)event);
    node->state = (enum node_state)row->to;
    if (row->from == NODE_RUNNING && row->to != NODE_RUNNING)
        ahead_back(node);
    log_info(&node->log, "node state", LOG_TEXT("from", node_machine.states[row->from]),
             LOG_TEXT("to", node_machine.states[row->to]), LOG_TEXT("why", row->why));
    observe_moved(node, node_machine.states[row->to], row->why);
    node_status(node);
    member_announce(node);
}

int64_t node_database_now(const struct node *node)
{
    return database_clock_at(&node->member.clock, clock_boot_us());
}

bool node_may_claim(const struct node *node)
{
    return node->state == NODE_RUNNING && node->member.incarnation != 0 &&
           store_ready(node->work) && clock_boot_us() < node->member.lease_until_boot_us &&
           complete_unwritten(node) < NODE_RESULTS_MAX;
}

bool node_may_claim_lanes(const struct node *node)
{
    return node_may_claim(node) && node->member.unmet == 0 &&
           clock_boot_us() >= node->member.lanes_from_boot_us &&
           clock_boot_us() + node->config->lease_us / 2 < node->member.lease_until_boot_us;
}

static const char *why_not_ready(const struct node *node)
{
    if (node->state == NODE_DRAINING || node->state == NODE_STOPPED)
        return "draining";
    if (node->state == NODE_UNINITIALISED)
        return node->session != NULL && store_ready(node->session)
                   ? "initialising"
                   : "the database cannot be reached";
    if (!store_ready(node->session) || !store_ready(node->work))
        return "the database cannot be reached";
    if (node->state == NODE_STANDBY)
        return "standing by";
    if (node->member.incarnation == 0)
        return "registering anew";
    if (clock_boot_us() >= node->member.lease_until_boot_us)
        return "its lease could not be renewed";
    return NULL; /* running; or disabled, which is as ready as it will be */
}

void node_status(struct node *node)
{
    metrics_sample(node);
    if (node->http == NULL)
        return;
    const char *reason = why_not_ready(node);
    http_server_status(node->http, reason == NULL, reason);
}

/* ---- connections ---- */

static void on_session_ready(void *arg)
{
    struct node *node = arg;
    if (node->state != NODE_UNINITIALISED)
        log_info(&node->log, "database is back", LOG_TEXT("connection", "session"));
    metrics_connected(node, "session");
    member_session_ready(node);
    events_ready(node);
    cluster_locks_session_ready(node->locks);
    node_status(node);
}

static void on_session_lost(void *arg, const struct rota_error *error)
{
    struct node *node = arg;
    log_warn(&node->log, "database connection lost", LOG_TEXT("connection", "session"),
             LOG_TEXT("error", error->message));
    member_session_lost(node);
    cluster_locks_session_lost(node->locks);
    node_status(node);
}

static void on_spread(void *arg, const struct store_answer *answer)
{
    struct node *node = arg;
    if (answer->error != NULL)
        log_debug(&node->log, "made-up runs are not spread",
                  LOG_TEXT("error", answer->error->message));
    else if (row_int64(answer->result, 0, 0) > 0)
        log_info(&node->log, "made-up runs spread anew: nobody was there at their times",
                 LOG_INT("count", row_int64(answer->result, 0, 0)));
}

/* Ahead of the first claim on this connection: what is late by now must not start all at once. */
static void spread_made_up(struct node *node)
{
    struct store_params params = {0};
    params_int64(&params, US_PER_SECOND / node->config->catch_up_rate);
    store_call(node->work, SQL_CATCH_UP_SPREAD, &params, 0, on_spread, node);
    store_params_free(&params);
}

static void on_work_ready(void *arg)
{
    struct node *node = arg;
    metrics_connected(node, "work");
    server_meet(node, false);
    if (!node->config->disabled)
        spread_made_up(node);
    if (node->state == NODE_UNINITIALISED)
        return;
    notes_ready(node);
    complete_ready(node);
    wake_look(node);
    node_status(node);
}

static void on_work_lost(void *arg, const struct rota_error *error)
{
    struct node *node = arg;
    log_warn(&node->log, "database connection lost", LOG_TEXT("connection", "work"),
             LOG_TEXT("error", error->message));
    if (node->acquire != NULL)
        acquire_lost(node);
    node_status(node);
}

static void on_failed(void *arg, const struct rota_error *error)
{
    struct node *node = arg;
    log_warn(&node->log, "cannot connect to the database", LOG_TEXT("error", error->message));
    node_status(node);
}

static void on_notified(void *arg, const char *payload)
{
    struct node *node = arg;
    if (strcmp(payload, "event") == 0)
        events_told(node);
    else if (!cluster_locks_notified(node->locks, payload) && !control_notified(node, payload) &&
             !queue_notified(node, payload) && node->state == NODE_RUNNING)
        wake_notified(node, payload);
}

static void name_connections(struct node *node)
{
    uint32_t token = 0;
    if (getrandom(&token, sizeof token, 0) != sizeof token)
        token = (uint32_t)clock_boot_us();
    snprintf(node->member.session_name, sizeof node->member.session_name, "rota session %.36s %08x",
             node->config->node_name, token);
    snprintf(node->member.work_name, sizeof node->member.work_name, "rota work %.36s %08x",
             node->config->node_name, token);
}

/* The server ends a session that has stopped renewing, whatever the network says. */
static struct store *open_session(struct node *node)
{
    char options[400];
    snprintf(options, sizeof options,
             "-c synchronous_commit=off -c statement_timeout=10s -c idle_session_timeout=%lld "
             "-c tcp_keepalives_idle=3 -c tcp_keepalives_interval=1 -c tcp_keepalives_count=3 "
             "-c tcp_user_timeout=5000 -c client_connection_check_interval=1s",
             (long long)(node->config->lease_us / US_PER_MS));
    const char *url = node->config->session_database_url;
    const struct store_config config = {.base = node->base,
                                        .log = &node->log,
                                        .url = url != NULL ? url : node->config->database_url,
                                        .schema = node->config->schema,
                                        .role_name = "session",
                                        .application_name = node->member.session_name,
                                        .options = options,
                                        .roles = STATEMENT_SESSION,
                                        .pooler = STORE_POOLER_NONE, /* tried at start */
                                        .writes = true,
                                        .answer_timeout_us = 12 * US_PER_SECOND,
                                        .arg = node,
                                        .ready = on_session_ready,
                                        .lost = on_session_lost,
                                        .failed = on_failed,
                                        .notified = on_notified};
    return store_new(&config);
}

static struct store *open_work(struct node *node)
{
    const struct store_config config = {
        .base = node->base,
        .log = &node->log,
        .url = node->config->database_url,
        .schema = node->config->schema,
        .role_name = "work",
        .application_name = node->member.work_name,
        .options =
            "-c statement_timeout=30s -c idle_in_transaction_session_timeout=1s "
            "-c random_page_cost=1.1 -c plan_cache_mode=force_generic_plan "
            "-c enable_seqscan=off " /* plans are made once, of tables that are empty then */
            "-c tcp_keepalives_idle=3 -c tcp_keepalives_interval=1 -c tcp_keepalives_count=3 "
            "-c tcp_user_timeout=5000 -c client_connection_check_interval=1s",
        .roles = STATEMENT_WORK,
        .pooler = node->config->pooler,
        .writes = true,
        .arg = node,
        .ready = on_work_ready,
        .lost = on_work_lost,
    };
    return store_new(&config);
}

void node_connect(struct node *node)
{
    node->session = open_session(node);
    node->work = open_work(node);
}

/* ---- workers ---- */

static void on_result(void *arg, const struct worker_result *result)
{
    result_take(arg, result);
}

static void on_changed(void *arg)
{
    ahead_go(arg);
    wake_handlers_changed(arg);
}

static void on_lock(void *arg, const struct worker_lock *wanted)
{
    node_locks_wanted(arg, wanted);
}

static void on_unlock(void *arg, uint64_t lock)
{
    node_locks_unlock(arg, lock);
}

static void on_guard_lost(void *arg)
{
    struct node *node = arg;
    log_error(&node->log, "the guard of the workers died and all workers with it: stopping");
    node->exit_code = ERROR_REFUSED;
    node->lost_guard = true;
    node_stop(node, true);
}

/* From cancel to SIGTERM, and from there to SIGKILL: twice this must fit well into the grace. */
static int64_t kill_grace(const struct node *node)
{
    int64_t tenth = node->config->grace_us / 10;
    return tenth < KILL_GRACE_MAX_US ? tenth + 1 : KILL_GRACE_MAX_US;
}

/* The end of the grace: to end what did not end by itself, and to write that. */
static int64_t kill_margin(const struct node *node)
{
    return 2 * kill_grace(node) + WRITE_MARGIN_US;
}

int node_workers(struct node *node, struct rota_error *error)
{
    char *settings = history_settings(node->config);
    const struct worker_config config = {.base = node->base,
                                         .log = &node->log,
                                         .node = node->config->node_name,
                                         .self = node->config->self,
                                         .exec_allow = node->config->exec_allow,
                                         .builtin_settings = settings,
                                         .cgroup = node->config->cgroup,
                                         .pools = node->config->pools,
                                         .pool_count = node->config->pool_count,
                                         .listen = node->config->worker_listen,
                                         .socket_mode = node->config->worker_socket_mode,
                                         .token = node->config->worker_token,
                                         .kill_grace_us = kill_grace(node)};
    const struct worker_callbacks callbacks = {.arg = node,
                                               .result = on_result,
                                               .progress = note_progress,
                                               .checkpoint = note_checkpoint,
                                               .run_log = note_log,
                                               .changed = on_changed,
                                               .guard_lost = on_guard_lost,
                                               .lock = on_lock,
                                               .unlock = on_unlock};
    node->workers = workers_new(&config, &callbacks, error);
    explicit_bzero(settings, strlen(settings)); /* the worker has it, and it may have a password */
    free(settings);
    return node->workers != NULL ? 0 : -1;
}

/* ---- the end ---- */

static void put_back_unstarted(void *arg, int64_t id, int64_t fence)
{
    struct node *node = arg;
    struct run *run = runs_find(node->runs, id, fence);
    assert(run != NULL);
    complete_put_back(node, run, 0, false, false, run->recovering, NULL, NULL);
}

/* What has not ended by itself is ended: its result then says what is done about it. */
static void end_runs(struct node *node)
{
    struct run *run, *next;
    node->hurry = true;
    HASH_ITER (hh, node->runs->by_key, run, next)
        if (run->place == RUN_AT_WORKER)
            workers_cancel(node->workers, run->key.id, run->key.fence, "the node stops");
}

static void on_grace(evutil_socket_t fd, short what, void *arg)
{
    struct node *node = arg;
    (void)fd;
    (void)what;
    if (!node->hurry && runs_count(node->runs) > 0) {
        log_warn(&node->log, "the grace is over: ending what still runs",
                 LOG_INT("runs", runs_count(node->runs)));
        end_runs(node);
        struct timeval margin = clock_timeval(kill_margin(node));
        evtimer_add(node->grace, &margin);
        return;
    }
    log_warn(&node->log, "stopping with unfinished business: the other nodes recover it",
             LOG_INT("runs", runs_count(node->runs)),
             LOG_INT("unwritten", complete_unwritten(node)));
    node->exit_code = ERROR_REFUSED;
    node_move(node, NODE_DRAINED);
    event_base_loopbreak(node->base);
}

void node_drained(struct node *node)
{
    if (node->state != NODE_DRAINING || runs_count(node->runs) > 0 || acquire_busy(node))
        return;
    node_move(node, NODE_DRAINED);
    event_base_loopbreak(node->base);
}

void node_stop(struct node *node, bool hurry)
{
    bool again = node->stop;
    node->stop = true;
    if (node->state == NODE_UNINITIALISED || node->state == NODE_STOPPED)
        return; /* the start looks at node->stop */
    node_move(node, NODE_STOP);
    member_resign(node);
    if (again || hurry) {
        end_runs(node);
        struct timeval margin = clock_timeval(kill_margin(node));
        evtimer_add(node->grace, &margin);
    } else {
        int64_t grace = node->config->grace_us - kill_margin(node);
        struct timeval pause = clock_timeval(grace);
        evtimer_add(node->grace, &pause);
        workers_take_back(node->workers, put_back_unstarted, node);
        workers_drain(node->workers, grace > 0 ? grace : 0);
    }
    node_drained(node);
}

static void on_signal(evutil_socket_t number, short what, void *arg)
{
    struct node *node = arg;
    (void)what;
    log_info(&node->log, "signal", LOG_TEXT("name", number == SIGTERM ? "SIGTERM" : "SIGINT"));
    node_stop(node, false);
}

/* ---- chores of the leader ---- */

static void on_chore_done(void *arg, const struct store_answer *answer)
{
    struct node *node = arg;
    if (answer->error == NULL)
        return;
    log_debug(&node->log, "a chore waits for its turn", LOG_TEXT("error", answer->error->message));
    struct timeval soon = {2, 0};
    evtimer_add(node->chores, &soon);
}

static void on_swept(void *arg, const struct store_answer *answer)
{
    struct node *node = arg;
    if (answer->error != NULL) {
        log_debug(&node->log, "cannot look after the lanes",
                  LOG_TEXT("error", answer->error->message));
        return;
    }
    int64_t freed = row_int64(answer->result, 0, 0), woken = row_int64(answer->result, 0, 1);
    if (freed + woken > 0)
        log_warn(&node->log, "lanes woken late: their event was lost",
                 LOG_INT("slots_freed", freed), LOG_INT("woken", woken));
    int64_t released = row_int64(answer->result, 0, 2);
    if (released > 0)
        log_info(&node->log, "held runs released: their pause was taken back while they were held",
                 LOG_INT("runs", released));
}

/* Asked at each heartbeat. Events do all of this; here is what bounds the loss of one. */
void node_sweep_lanes(struct node *node)
{
    int64_t now = clock_boot_us();
    if (!node->member.leader || !node->member.lanes || now < node->next_sweep_boot_us ||
        !store_ready(node->session))
        return;
    node->next_sweep_boot_us = now + SWEEP_US;
    store_call(node->session, SQL_LANE_SWEEP, NULL, 0, on_swept, node);
}

static void sweep_locks(struct node *node);

static void on_locks_swept(void *arg, const struct store_answer *answer)
{
    struct node *node = arg;
    if (answer->error != NULL) /* the next hour's will do */
        log_debug(&node->log, "cannot forget unused cluster locks",
                  LOG_TEXT("error", answer->error->message));
    else if (row_int64(answer->result, 0, 0) >= LOCKS_SWEPT_MAX)
        sweep_locks(node); /* there may be more of them */
}

static void sweep_locks(struct node *node)
{
    if (node->member.leader && store_ready(node->session))
        store_call(node->session, SQL_CLUSTER_LOCK_SWEEP, NULL, 0, on_locks_swept, node);
}

static void on_chores(evutil_socket_t fd, short what, void *arg)
{
    struct node *node = arg;
    (void)fd;
    (void)what;
    struct timeval interval = clock_timeval(CHORES_US);
    evtimer_add(node->chores, &interval);
    if (!node->member.leader || !store_ready(node->session))
        return;
    store_call(node->session, SQL_SETTLED_TRIM, NULL, 0, on_chore_done, node);
    sweep_locks(node);
}

/* ---- */

static void on_left(void *arg, const struct store_answer *answer)
{
    (void)answer; /* refused while a receipt is left: then recovery removes the row */
    *(bool *)arg = true;
}

/* Whoever holds a lock must be dead before it is given back. */
static void end_locks(struct node *node)
{
    member_end(node); /* no more heartbeats: they ask for the workers' handlers */
    workers_free(node->workers);
    node->workers = NULL;
    node_locks_end(node);
}

/* A node that owes nothing takes its row along. */
static void leave(struct node *node)
{
    bool left = false;
    if (node->member.incarnation == 0 || !store_ready(node->session))
        return;
    struct store_params params = {0};
    params_int32(&params, node->member.incarnation);
    store_call(node->session, SQL_NODE_LEAVE, &params, 0, on_left, &left);
    store_params_free(&params);
    while (!left && store_ready(node->session))
        event_base_loop(node->base, EVLOOP_ONCE);
}

static void node_free(struct node *node)
{
    if (node->grace != NULL)
        event_free(node->grace);
    if (node->chores != NULL)
        event_free(node->chores);
    for (int i = 0; i < 3; i++)
        if (node->signals[i] != NULL)
            event_free(node->signals[i]);
    member_end(node);
    workers_free(node->workers);
    store_free(node->work);
    store_free(node->session);
    cluster_locks_free(node->locks);
    queue_free(node);
    ahead_free(node);
    history_free(node);
    complete_free(node);
    acquire_free(node);
    wake_free(node);
    runs_free(node->runs);
    notes_free(node);
    definitions_free(node->definitions);
    zone_cache_free(node->zones);
    http_server_free(node->http);
    observers_free(node);
    event_base_free(node->base);
}

static int32_t lock_class(const struct node_config *config)
{
    char *name = mem_format("rota %s %s", config->lock_namespace, config->schema);
    int32_t class = (int32_t)text_hash(name, strlen(name));
    free(name);
    return class;
}

static void node_init(struct node *node, const struct node_config *config)
{
    *node = (struct node){.config = config, .log = *config->log};
    node->log.node = config->node_name;
    node->lock_class = lock_class(config);
    node->base = event_base_new();
    node->zones = zone_cache_new();
    node->definitions = definitions_new(node->zones, config->misfire_threshold_us);
    node->runs = runs_new();
    node->grace = evtimer_new(node->base, on_grace, node);
    node->chores = evtimer_new(node->base, on_chores, node);
    node->signals[0] = evsignal_new(node->base, SIGTERM, on_signal, node);
    node->signals[1] = evsignal_new(node->base, SIGINT, on_signal, node);
    node->signals[2] = evsignal_new(node->base, SIGHUP, reload_on_signal, node);
    for (int i = 0; i < 3; i++)
        event_add(node->signals[i], NULL);
    name_connections(node);
    wake_new(node);
    acquire_new(node);
    ahead_new(node);
    complete_new(node);
    observers_new(node);
    notes_new(node);
    queue_new(node);
    history_new(node);
    node_locks_new(node);
}

int node_main(const struct node_config *config)
{
    struct node node;
    struct rota_error error = {0};
    node_init(&node, config);
    if (node_start(&node, &error) != 0) {
        if (!node.stop || error.code == ERROR_NONE)
            log_error(&node.log, "cannot start", LOG_TEXT("error", error.message));
        node.exit_code = node.stop ? ERROR_NONE : error.code;
    } else {
        on_chores(-1, 0, &node);
        history_look(&node);
        event_base_dispatch(node.base);
    }
    if (cluster_locks_count(node.locks) > 0)
        end_locks(&node);
    events_end(&node);
    leave(&node);
    log_info(&node.log, "stopped", LOG_INT("exit_code", node.exit_code));
    int exit_code = node.exit_code;
    node_free(&node);
    return exit_code;
}
