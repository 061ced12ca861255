/* The nodes of `rota up`: see up_fleet.h. */
#include "cmd/up_fleet.h"

#include "base/clock.h"
#include "base/memory.h"
#include "cmd/child.h"
#include "cmd/up_show.h"

#include <assert.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define RESTARTS_MAX     5 /* of one node within RESTARTS_US */
#define RESTARTS_US      (60 * US_PER_SECOND)
#define RESTART_DELAY_US US_PER_SECOND

struct fleet_node {
    struct fleet *fleet;
    char name[24];
    struct child *child; /* NULL: not running */
    struct event *restart;
    bool listening; /* it has worked */
    int restarts;
    int64_t restarts_since_us; /* monotonic */
    char *complaint;           /* the last line it printed that is no log line */
};

struct fleet {
    struct fleet_config config;
    struct fleet_callbacks callbacks;
    struct fleet_node *nodes;
    char *url; /* of the first node */
    bool announced;
    bool stopping;
    bool stopped;
};

static void start_node(struct fleet_node *node);

static bool all_listen(const struct fleet *fleet)
{
    for (int i = 0; i < fleet->config.count; i++)
        if (!fleet->nodes[i].listening)
            return false;
    return true;
}

static void node_listens(struct fleet_node *node, char *url)
{
    struct fleet *fleet = node->fleet;
    node->listening = true;
    if (node == &fleet->nodes[0]) {
        if (fleet->url != NULL && strcmp(fleet->url, url) != 0)
            show_remark(fleet->config.show, LOG_INFO, "%s listens on %s now", node->name, url);
        free(fleet->url);
        fleet->url = url;
    } else {
        free(url);
    }
    if (!fleet->announced && !fleet->stopping && all_listen(fleet)) {
        fleet->announced = true;
        fleet->callbacks.up(fleet->callbacks.arg, fleet->url);
    }
}

static void on_line(void *arg, bool error, const char *line, size_t length)
{
    struct fleet_node *node = arg;
    char *url = show_field(line, length, "http listening", "url");
    (void)error;
    if (url != NULL)
        node_listens(node, url);
    if (length > 0 && line[0] != '{') {
        free(node->complaint);
        node->complaint = mem_string_n(line, length);
        if (!node->listening)
            return; /* said when it ends */
    }
    show_node_line(node->fleet->config.show, node->name, line, length);
}

static void check_stopped(struct fleet *fleet)
{
    if (!fleet->stopping || fleet->stopped)
        return;
    for (int i = 0; i < fleet->config.count; i++)
        if (fleet->nodes[i].child != NULL)
            return;
    fleet->stopped = true;
    fleet->callbacks.stopped(fleet->callbacks.arg);
}

static void fail(struct fleet_node *node, enum error_code code, const char *what)
{
    struct rota_error error;
    error_set(&error, code, "%s %s%s%s", node->name, what, node->complaint != NULL ? ": " : "",
              node->complaint != NULL ? node->complaint : "");
    node->fleet->callbacks.failed(node->fleet->callbacks.arg, &error);
}

static bool give_up(struct fleet_node *node)
{
    int64_t now_us = clock_monotonic_us();
    if (now_us - node->restarts_since_us > RESTARTS_US) {
        node->restarts_since_us = now_us;
        node->restarts = 0;
    }
    return ++node->restarts > RESTARTS_MAX;
}

static void on_ended(void *arg, int status)
{
    struct fleet_node *node = arg;
    struct fleet *fleet = node->fleet;
    char why[80];
    node->child = NULL;
    child_status_text(status, why);
    if (fleet->stopping) {
        if (status != 0)
            show_remark(fleet->config.show, LOG_WARN, "%s %s while stopping", node->name, why);
        check_stopped(fleet);
    } else if (!node->listening) {
        int code =
            WIFEXITED(status) && WEXITSTATUS(status) <= ERROR_TIMEOUT ? WEXITSTATUS(status) : 0;
        fail(node, code > 0 ? (enum error_code)code : ERROR_REFUSED, "does not start");
    } else if (give_up(node)) {
        fail(node, ERROR_REFUSED, "ends again and again");
    } else {
        struct timeval delay = clock_timeval(RESTART_DELAY_US);
        show_remark(fleet->config.show, LOG_WARN, "%s %s: it is started again", node->name, why);
        evtimer_add(node->restart, &delay);
    }
}

static void on_restart(evutil_socket_t fd, short events, void *arg)
{
    (void)fd;
    (void)events;
    start_node(arg);
}

static void start_node(struct fleet_node *node)
{
    struct fleet *fleet = node->fleet;
    struct rota_error error;
    char listen[40];
    int port = node == &fleet->nodes[0] ? fleet->config.port : 0;
    snprintf(listen, sizeof listen, "127.0.0.1:%d", port);
    const char *argv[] = {
        fleet->config.self, "node",         "--name", node->name, "--http-listen", listen,
        "--log-runs",       "--log-format", "json",   NULL};
    struct child_options options = {
        .argv = argv,
        .environment = fleet->config.environment,
        .unset = fleet->config.unset,
        .output = -1,
        .death_signal = SIGKILL, /* nobody would wait for a drain, and PostgreSQL ends too */
    };
    struct child_callbacks callbacks = {.arg = node, .line = on_line, .ended = on_ended};
    free(node->complaint);
    node->complaint = NULL;
    node->child = child_start(fleet->config.children, &options, &callbacks, &error);
    if (node->child == NULL)
        fleet->callbacks.failed(fleet->callbacks.arg, &error);
}

struct fleet *fleet_new(const struct fleet_config *config, const struct fleet_callbacks *callbacks)
{
    struct fleet *fleet = mem_alloc(sizeof *fleet);
    fleet->config = *config;
    fleet->callbacks = *callbacks;
    fleet->nodes = mem_array((size_t)config->count, sizeof *fleet->nodes);
    for (int i = 0; i < config->count; i++) {
        struct fleet_node *node = &fleet->nodes[i];
        node->fleet = fleet;
        snprintf(node->name, sizeof node->name, "node-%d", i + 1);
        node->restart = evtimer_new(config->base, on_restart, node);
    }
    return fleet;
}

void fleet_free(struct fleet *fleet)
{
    if (fleet == NULL)
        return;
    for (int i = 0; i < fleet->config.count; i++) {
        assert(fleet->nodes[i].child == NULL);
        event_free(fleet->nodes[i].restart);
        free(fleet->nodes[i].complaint);
    }
    free(fleet->nodes);
    free(fleet->url);
    free(fleet);
}

void fleet_start(struct fleet *fleet)
{
    for (int i = 0; i < fleet->config.count && !fleet->stopping; i++)
        start_node(&fleet->nodes[i]);
}

void fleet_stop(struct fleet *fleet, int signal)
{
    fleet->stopping = true;
    for (int i = 0; i < fleet->config.count; i++) {
        evtimer_del(fleet->nodes[i].restart);
        if (fleet->nodes[i].child != NULL)
            child_signal(fleet->nodes[i].child, signal);
    }
    check_stopped(fleet);
}
