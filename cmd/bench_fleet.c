/*
 * The nodes of a bench: `rota node` processes on the scratch schema, with the built-in worker or
 * one of the bench. They take settings of nodes from the environment, as nodes do, but for those
 * that would lead them elsewhere.
 */
#include "cmd/bench.h"

#include "base/clock.h"
#include "base/memory.h"
#include "cmd/child.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define READY_US     (30 * US_PER_SECOND)
#define STOP_US      (10 * US_PER_SECOND)
#define LOOK_US      (5 * US_PER_MS)
#define SETTINGS_MAX 16

struct bench_node {
    struct bench_fleet *fleet;
    char name[24];
    struct child *child; /* NULL: not running */
    pid_t pid;
    int64_t started_us, ready_us; /* monotonic; 0: not yet */
    char *complaint;              /* the last line it printed */
};

struct bench_fleet {
    struct bench *bench;
    struct bench_node *nodes;
    int count;
    const char *handler;
    bool stopping;
    char *ended; /* why there is no use in going on; NULL: there is */
};

/* ---- one node ---- */

static void on_line(void *arg, bool error, const char *line, size_t length)
{
    struct bench_node *node = arg;
    (void)error;
    free(node->complaint);
    node->complaint = mem_string_n(line, length);
}

static void on_ended(void *arg, int status)
{
    struct bench_node *node = arg;
    char why[80];
    node->child = NULL;
    if (node->fleet->stopping || node->fleet->ended != NULL)
        return;
    node->fleet->ended = mem_format("%s %s%s%s", node->name, child_status_text(status, why),
                                    node->complaint != NULL ? ": " : "",
                                    node->complaint != NULL ? node->complaint : "");
}

static void free_words(char **words)
{
    for (char **word = words; *word != NULL; word++)
        free(*word);
}

static void settings_of(const struct bench *bench, const struct bench_fleet_options *options,
                        char *words[SETTINGS_MAX])
{
    const struct client *outer = bench->outer;
    size_t n = 0;
    words[n++] = mem_format("ROTA_DATABASE_URL=%s", outer->url);
    if (outer->session_url != NULL)
        words[n++] = mem_format("ROTA_SESSION_DATABASE_URL=%s", outer->session_url);
    words[n++] = mem_format("ROTA_SCHEMA=%s", bench->schema);
    words[n++] = mem_format("ROTA_LOCK_NAMESPACE=%s", bench->schema);
    words[n++] = mem_format("ROTA_STANDBY=%s", options->standby ? "true" : "false");
    words[n++] = mem_string("ROTA_HTTP_LISTEN=none");
    words[n++] = mem_string("ROTA_LOG_LEVEL=warn");
    words[n++] = mem_string("ROTA_LOG_FORMAT=text");
    words[n++] = mem_string("ROTA_HISTORY_ROWS=0"); /* what is to be checked must stay */
    words[n++] = mem_string("ROTA_HISTORY_AGE=0s");
    if (bench->options->slots > 0)
        words[n++] = mem_format("ROTA_SLOTS=%lld", (long long)bench->options->slots);
    if (options->pools != NULL)
        words[n++] = mem_format("ROTA_POOLS=%s", options->pools);
    assert(n < SETTINGS_MAX);
    words[n] = NULL;
}

static int start_node(struct bench_node *node, const struct bench_fleet_options *options,
                      struct rota_error *error)
{
    static const char *const unset[] = {"ROTA_CONFIG",
                                        "ROTA_DATA",
                                        "ROTA_NODE_NAME",
                                        "ROTA_MANIFESTS",
                                        "ROTA_POOLS",
                                        "ROTA_WORKER_LISTEN",
                                        "ROTA_WORKER_TOKEN",
                                        "ROTA_WORKER_TOKEN_FILE",
                                        "ROTA_DISABLE_SCHEDULER",
                                        "MB_DISABLE_SCHEDULER",
                                        "ROTA_LOG_RUNS",
                                        NULL};
    struct bench *bench = node->fleet->bench;
    char *words[SETTINGS_MAX];
    const char *argv[] = {bench->self, "node", "--name", node->name, NULL};
    settings_of(bench, options, words);
    struct child_options child = {
        .argv = argv,
        .environment = (const char *const *)words,
        .unset = unset,
        .output = -1,
        .death_signal = SIGKILL, /* nobody would drop the schema they work on */
    };
    struct child_callbacks callbacks = {.arg = node, .line = on_line, .ended = on_ended};
    node->started_us = clock_monotonic_us();
    node->child = child_start(bench->children, &child, &callbacks, error);
    free_words(words);
    if (node->child == NULL)
        return -1;
    node->pid = child_pid(node->child);
    return 0;
}

/* ---- all of them ---- */

static struct bench_node *find_node(struct bench_fleet *fleet, const char *name)
{
    for (int i = 0; i < fleet->count; i++)
        if (strcmp(fleet->nodes[i].name, name) == 0)
            return &fleet->nodes[i];
    return NULL;
}

/* How many serve the handler, in this state. -1: it cannot be asked. */
static int count_ready(struct bench *bench, const char *state, struct rota_error *error)
{
    struct bench_fleet *fleet = bench->fleet;
    struct store_params params = {0};
    PGresult *result;
    int ready = 0;
    params_text(&params, fleet->handler);
    params_text(&params, state);
    if (bench_ask(bench, SQL_BENCH_NODES, &params, &result, error) != 0)
        return -1;
    for (int row = 0; row < PQntuples(result); row++) {
        struct bench_node *node = find_node(fleet, row_text(result, row, 0));
        if (node == NULL || !row_bool(result, row, 1))
            continue;
        if (node->ready_us == 0)
            node->ready_us = clock_monotonic_us();
        ready++;
    }
    PQclear(result);
    return ready;
}

static int wait_ready(struct bench *bench, int wanted, const char *state, struct rota_error *error)
{
    int64_t until_us = clock_monotonic_us() + READY_US;
    for (;;) {
        int ready = count_ready(bench, state, error);
        if (ready < 0 || bench_goes_on(bench, error) != 0)
            return -1;
        if (ready == wanted)
            return 0;
        if (clock_monotonic_us() > until_us)
            return error_set(error, ERROR_REFUSED, "only %d of %d nodes are %s after %d s", ready,
                             wanted, state, (int)(READY_US / US_PER_SECOND));
        client_pause(&bench->client, LOOK_US);
    }
}

int bench_fleet_start(struct bench *bench, const struct bench_fleet_options *options,
                      struct rota_error *error)
{
    struct bench_fleet *fleet = mem_alloc(sizeof *fleet);
    assert(bench->fleet == NULL && options->count <= BENCH_NODES_MAX);
    bench->fleet = fleet;
    *fleet =
        (struct bench_fleet){.bench = bench, .count = options->count, .handler = options->handler};
    fleet->nodes = mem_array((size_t)fleet->count, sizeof *fleet->nodes);
    const char *state = options->standby ? "standby" : "running";
    bench_doing(bench, "starting %d nodes", fleet->count);
    for (int i = 0; i < fleet->count; i++) {
        struct bench_node *node = &fleet->nodes[i];
        node->fleet = fleet;
        snprintf(node->name, sizeof node->name, "bench-%d", i + 1);
        if (start_node(node, options, error) != 0 ||
            (options->one_by_one && wait_ready(bench, i + 1, state, error) != 0))
            return -1;
    }
    return wait_ready(bench, fleet->count, state, error);
}

int bench_fleet_tell(struct bench *bench, const char *wish, struct rota_error *error)
{
    for (int i = 0; i < bench->fleet->count; i++) {
        struct store_params params = {0};
        PGresult *result;
        params_text(&params, bench->fleet->nodes[i].name);
        params_text(&params, wish);
        if (bench_ask(bench, SQL_NODE_WISH, &params, &result, error) != 0)
            return -1;
        PQclear(result);
    }
    return wait_ready(bench, bench->fleet->count, strcmp(wish, "run") == 0 ? "running" : "standby",
                      error);
}

static bool any_lives(const struct bench_fleet *fleet)
{
    for (int i = 0; i < fleet->count; i++)
        if (fleet->nodes[i].child != NULL)
            return true;
    return false;
}

static void signal_all(const struct bench_fleet *fleet, int signal)
{
    for (int i = 0; i < fleet->count; i++)
        if (fleet->nodes[i].child != NULL)
            child_signal(fleet->nodes[i].child, signal);
}

static void wait_ended(struct bench *bench, int64_t limit_us)
{
    int64_t until_us = clock_monotonic_us() + limit_us;
    while (any_lives(bench->fleet) && clock_monotonic_us() < until_us)
        client_pause(bench->outer, LOOK_US);
}

void bench_fleet_stop(struct bench *bench)
{
    if (bench->fleet == NULL)
        return;
    bench_doing(bench, "stopping the nodes");
    bench->fleet->stopping = true;
    signal_all(bench->fleet, SIGTERM);
    wait_ended(bench, STOP_US);
    signal_all(bench->fleet, SIGKILL);
    wait_ended(bench, STOP_US);
    assert(!any_lives(bench->fleet));
    bench_fleet_free(bench->fleet);
    bench->fleet = NULL;
}

void bench_fleet_free(struct bench_fleet *fleet)
{
    if (fleet == NULL)
        return;
    for (int i = 0; i < fleet->count; i++)
        free(fleet->nodes[i].complaint);
    free(fleet->nodes);
    free(fleet->ended);
    free(fleet);
}

int bench_fleet_check(const struct bench_fleet *fleet, struct rota_error *error)
{
    if (fleet->ended == NULL)
        return 0;
    return error_set(error, ERROR_REFUSED, "%s", fleet->ended);
}

int bench_fleet_count(const struct bench_fleet *fleet)
{
    return fleet->count;
}

pid_t bench_fleet_pid(const struct bench_fleet *fleet, int node)
{
    assert(node >= 0 && node < fleet->count);
    return fleet->nodes[node].pid;
}

int64_t bench_fleet_start_us(const struct bench_fleet *fleet)
{
    int64_t most_us = 0;
    for (int i = 0; i < fleet->count; i++) {
        int64_t took_us = fleet->nodes[i].ready_us - fleet->nodes[i].started_us;
        if (took_us > most_us)
            most_us = took_us;
    }
    return most_us;
}
