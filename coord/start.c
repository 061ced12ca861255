/*
 * A node's start, straight-line: HTTP, guard and workers (before the first connection), connect,
 * migrate, register, reset triggers in error, apply manifests, start. A database that is down is
 * waited for.
 */
#include "coord/apply.h"
#include "coord/http/server.h"
#include "coord/metrics.h"
#include "coord/node.h"
#include "coord/reset.h"

#include "base/clock.h"
#include "base/instant.h"

#include <stdlib.h>
#include <string.h>

#define RETRY_US (250 * US_PER_MS)
#define HELLO_WAIT_US                                                                              \
    (2 * US_PER_SECOND) /* for workers to say what they serve, before errors are reset */

static int start_http(struct node *node, struct rota_error *error)
{
    if (strcmp(node->config->http_listen, "none") == 0)
        return 0;
    const struct http_config config = {.listen = node->config->http_listen,
                                       .node = node->config->node_name,
                                       .database_url = node->config->database_url,
                                       .schema = node->config->schema,
                                       .pooler = node->config->pooler,
                                       .tls_cert = node->config->http_tls_cert,
                                       .tls_key = node->config->http_tls_key,
                                       .metrics = metrics_set(node->metrics),
                                       .log = &node->log};
    node->http = http_server_new(&config, error);
    if (node->http == NULL)
        return -1;
    node->http_url = http_server_url(node->http);
    log_info(&node->log, "http listening", LOG_TEXT("url", node->http_url));
    return 0;
}

static void on_failed(void *arg, const struct rota_error *error)
{
    struct node *node = arg;
    log_warn(&node->log, "cannot connect to the database, trying again",
             LOG_TEXT("error", error->message));
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    node_status(arg); /* the loop turns, even while we wait */
    member_hold(arg);
}

static void on_over(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    *(bool *)arg = true;
}

static void pause_for(struct node *node, int64_t duration_us, bool (*enough)(struct node *node))
{
    bool over = false;
    struct timeval pause = clock_timeval(duration_us);
    struct event *timer = evtimer_new(node->base, on_over, &over);
    evtimer_add(timer, &pause);
    while (!over && !node->stop && (enough == NULL || !enough(node)))
        event_base_loop(node->base, EVLOOP_ONCE);
    event_free(timer);
}

/* The connection whose locks must stay. */
static int check_session(struct node *node, const struct store_config *config,
                         struct rota_error *error)
{
    enum store_session session;
    const char *setting =
        node->config->session_database_url != NULL ? "session_database_url" : "database_url";
    if (store_session_check(config, &session, error) != 0 ||
        store_session_refuse(session, setting, error) != 0)
        return -1;
    if (session == SESSION_POOLED)
        log_warn(&node->log, "the session goes through a pooler, which may cut it at any time",
                 LOG_TEXT("setting", setting));
    return 0;
}

/* Migrations run on a connection of their own, which prepares nothing. */
static int migrate(struct node *node, struct rota_error *error)
{
    const char *direct = node->config->session_database_url;
    struct store_config config = {.base = node->base,
                                  .log = &node->log,
                                  .url = direct != NULL ? direct : node->config->database_url,
                                  .schema = node->config->schema,
                                  .role_name = "migrate",
                                  .application_name = "rota migrate",
                                  .options = "-c lock_timeout=5s",
                                  .writes = true,
                                  .arg = node,
                                  .failed = on_failed};
    struct migrate_result done = {0};
    struct store *store = store_new(&config);
    int failed = -1;
    for (;;) {
        failed = store_wait_ready(store, &node->stop, error);
        if (failed == 0 && store_pooled(store))
            failed = check_session(node, &config, error);
        if (failed == 0)
            failed = store_migrate(store, node->config->schema, &node->stop, &done, error);
        if (failed == 0 || node->stop || store_fault(error) != FAULT_RETRY ||
            error->sqlstate[0] == '\0')
            break;
        *error = (struct rota_error){0};
        pause_for(node, RETRY_US, NULL);
    }
    store_free(store);
    if (failed == 0 && done.to > done.from)
        log_info(&node->log, "schema migrated", LOG_INT("from", done.from), LOG_INT("to", done.to));
    return failed;
}

/* A live process under our name is most often our predecessor, whose session is about to be ended.
 */
static int wait_for_name(struct node *node, struct rota_error *error)
{
    int64_t limit = clock_boot_us() + node->config->lease_us + 2 * US_PER_SECOND;
    for (bool said = false;; said = true) {
        struct store_params params = {0};
        PGresult *result;
        params_text(&params, node->config->node_name);
        params_int32(&params, node->lock_class);
        int failed = store_wait(node->session, SQL_NODE_NAME_TAKEN, &params, 0, &result, error);
        store_params_free(&params);
        if (failed != 0)
            return -1;
        bool taken = PQntuples(result) > 0;
        if (taken && clock_boot_us() >= limit)
            error_set(error, ERROR_REFUSED,
                      "a live node is already called \"%s\" (process %d on %s): give this one "
                      "another name with --name",
                      node->config->node_name, row_int32(result, 0, 1), row_text(result, 0, 0));
        else if (taken && !said)
            log_warn(&node->log, "a live node has this name: waiting for it to go",
                     LOG_TEXT("host", row_text(result, 0, 0)),
                     LOG_INT("pid", row_int32(result, 0, 1)));
        PQclear(result);
        if (!taken)
            return 0;
        if (error->code != ERROR_NONE || node->stop)
            return -1;
        pause_for(node, 500 * US_PER_MS, NULL);
    }
}

static bool has_handlers(struct node *node)
{
    const struct worker_pool_view *views;
    size_t count = workers_pools(node->workers, &views);
    for (size_t i = 0; i < count; i++)
        if (views[i].handlers[0] == NULL)
            return false;
    return true;
}

/* ---- triggers in error ---- */

/* One page of those this node can run. */
static int reset_page(struct node *node, const int32_t *ids, size_t count, struct rota_error *error)
{
    struct reset *reset = reset_new();
    size_t done = 0;
    int failed = reset_triggers(node->work, node->definitions, ids, count, node_database_now(node),
                                STORE_NULL_TIME, 0, reset, error);
    for (size_t i = 0; failed == 0 && i < reset->count; i++)
        done += reset->triggers[i].reset;
    if (done > 0)
        log_info(&node->log, "triggers reset from error", LOG_INT("count", done));
    reset_free(reset);
    return failed;
}

static int reset_errors(struct node *node, struct rota_error *error)
{
    int32_t after = 0;
    for (;;) {
        const char *const *handlers;
        size_t count = wake_handlers(node, &handlers);
        struct store_params params = {0};
        PGresult *result;
        int32_t ids[RESET_PAGE];
        params_texts(&params, handlers, count);
        params_int32(&params, after);
        int failed = store_wait(node->session, SQL_TRIGGER_ERRORS, &params, 0, &result, error);
        store_params_free(&params);
        if (failed != 0)
            return -1;
        size_t found = (size_t)PQntuples(result);
        for (size_t i = 0; i < found; i++)
            after = ids[i] = row_int32(result, (int)i, 0);
        PQclear(result);
        if (found == 0)
            return 0;
        if (reset_page(node, ids, found, error) != 0)
            return -1;
        if (found < RESET_PAGE)
            return 0;
    }
}

/* ---- */

static int apply(struct node *node, struct rota_error *error)
{
    struct apply_options options = {.base = node->base,
                                    .stop = &node->stop,
                                    .misfire_threshold_us = node->config->misfire_threshold_us,
                                    .catch_up_rate = node->config->catch_up_rate};
    struct apply_diff diff = {0};
    struct manifest_set *set = NULL;
    int failed = apply_paths(node->work, node->config->manifests, &options, &set, &diff, error);
    for (size_t i = 0; failed != 0 && i < set->problems.count && i < MANIFEST_PROBLEMS_MAX; i++)
        log_error(&node->log, "manifest refused", LOG_TEXT("problem", set->problems.lines[i]));
    if (failed == 0)
        log_info(&node->log, "manifests applied", LOG_INT("changes", diff.count),
                 LOG_INT("jobs_unchanged", diff.jobs_unchanged),
                 LOG_INT("triggers_unchanged", diff.triggers_unchanged));
    apply_diff_free(&diff);
    manifest_set_free(set);
    return failed;
}

/* The steps that need the database; a connection lost in the middle starts them again. */
static int initialise(struct node *node, struct rota_error *error)
{
    if (store_wait_ready(node->session, &node->stop, error) != 0 ||
        store_wait_ready(node->work, &node->stop, error) != 0)
        return -1;
    if (node->member.incarnation == 0 &&
        (wait_for_name(node, error) != 0 || member_register(node, error) != 0))
        return -1;
    pause_for(node, HELLO_WAIT_US, has_handlers);
    wake_handlers_changed(node);
    if (reset_errors(node, error) != 0)
        return -1;
    return node->config->manifests[0] != NULL ? apply(node, error) : 0;
}

static int initialise_until_done(struct node *node, struct rota_error *error)
{
    while (initialise(node, error) != 0) {
        if (node->stop || error->sqlstate[0] == '\0' || store_fault(error) != FAULT_RETRY)
            return -1;
        log_warn(&node->log, "start interrupted, trying again", LOG_TEXT("error", error->message));
        *error = (struct rota_error){0};
        pause_for(node, RETRY_US, NULL);
    }
    return 0;
}

static void warn_of_settings(const struct node *node)
{
    char delay[TIME_TEXT_SIZE], lease[TIME_TEXT_SIZE];
    const struct node_config *config = node->config;
    if (config->restart_delay_us >= config->lease_us)
        return;
    log_warn(&node->log,
             "restart_delay is shorter than lease: after a restart of PostgreSQL nodes that are "
             "coming back may lose their runs",
             LOG_TEXT("restart_delay", duration_format(config->restart_delay_us, delay)),
             LOG_TEXT("lease", duration_format(config->lease_us, lease)));
}

static void begin(struct node *node)
{
    node_move(node, NODE_INITIALISED);
    if (node->config->disabled) {
        log_warn(&node->log, "Task scheduler disabled: this node is registered but fires nothing "
                             "(MB_DISABLE_SCHEDULER)");
        node_move(node, NODE_DISABLE);
    } else if (node->member.told_standby) {
        log_warn(&node->log, "standing by, as this node was told: `rota resume-node` lets it run");
    } else if (!node->config->standby) {
        node_move(node, NODE_START);
        log_info(&node->log, "Task scheduler started");
    }
    member_begin(node);
    wake_look(node);
}

int node_start(struct node *node, struct rota_error *error)
{
    warn_of_settings(node);
    if (start_http(node, error) != 0 || node_workers(node, error) != 0)
        return -1;
    struct event *tick = event_new(node->base, -1, EV_PERSIST, on_tick, node);
    struct timeval often = clock_timeval(
        node->config->heartbeat_us < US_PER_SECOND ? node->config->heartbeat_us : US_PER_SECOND);
    event_add(tick, &often);
    int failed = migrate(node, error);
    if (failed == 0) {
        node_connect(node);
        failed = initialise_until_done(node, error);
    }
    event_free(tick);
    if (failed == 0 && node->stop)
        failed = error_set(error, ERROR_NONE, "stopped while starting");
    if (failed == 0)
        begin(node);
    return failed;
}
