/* The scratch schema of a bench, its loop and its end: see bench.h. */
#include "cmd/bench.h"

#include "base/clock.h"
#include "base/memory.h"
#include "cmd/child.h"
#include "cmd/terminal.h"
#include "coord/apply.h"
#include "coord/manifest.h"

#include <event2/event.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOOK_US (50 * US_PER_MS) /* whether the runs are over: seldom enough to cost nothing */

#define EMPTY_US  (60 * US_PER_SECOND)  /* then the runs should be over … */
#define SLOWEST   100                   /* … and so many a second more */
#define ANSWER_US (600 * US_PER_SECOND) /* the check of ten million runs takes its time */

static const int stop_signals[] = {SIGINT, SIGTERM, SIGHUP};

static void on_signal(evutil_socket_t signal, short events, void *arg)
{
    struct bench *bench = arg;
    (void)events;
    bench->signal = (int)signal;
}

/* ---- the schema ---- */

/* A client of its own: the statements of a connection are of one schema. */
int bench_connect(struct bench *bench, const char *schema, struct client *client,
                  struct rota_error *error)
{
    const struct client *outer = bench->outer;
    *client = *outer;
    client->schema = schema;
    client->notified = NULL;
    const struct store_config config = {.base = outer->base,
                                        .log = &outer->log,
                                        .url = outer->session_url != NULL ? outer->session_url
                                                                          : outer->url,
                                        .schema = schema,
                                        .role_name = "client",
                                        .application_name = "rota bench",
                                        .options = "-c timezone=UTC -c lock_timeout=5s",
                                        .answer_timeout_us = ANSWER_US,
                                        .arg = client};
    client->store = store_new(&config);
    if (store_wait_ready(client->store, NULL, error) == 0)
        return 0;
    store_free(client->store);
    client->store = NULL;
    return -1;
}

static int drop_schema(struct bench *bench, const char *schema, struct rota_error *error)
{
    struct client client;
    if (bench_connect(bench, schema, &client, error) != 0)
        return -1;
    int failed = store_wait(client.store, SQL_BENCH_DROP, NULL, 0, NULL, error);
    store_free(client.store);
    return failed;
}

/* What benches that died have left: one that cannot be dropped is told of, and in nobody's way. */
static void drop_leftovers(struct bench *bench, char **schemas, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct rota_error error = {0};
        if (drop_schema(bench, schemas[i], &error) != 0)
            fprintf(stderr, "rota bench: schema %s of a bench that has died stays: %s\n",
                    schemas[i], error.message);
    }
}

static int begin(struct bench *bench, struct rota_error *error)
{
    PGresult *result;
    size_t count;
    if (store_wait(bench->outer->store, SQL_BENCH_BEGIN, NULL, 0, &result, error) != 0)
        return -1;
    snprintf(bench->schema, sizeof bench->schema, "rota_bench_%d", row_int32(result, 0, 0));
    char **leftovers = row_texts(result, 0, 1, &count);
    drop_leftovers(bench, leftovers, count);
    free(leftovers);
    PQclear(result);
    return 0;
}

static int make_schema(struct bench *bench, struct rota_error *error)
{
    struct migrate_result done;
    bench->made = true; /* each migration commits by itself */
    if (store_migrate(bench->client.store, bench->schema, NULL, &done, error) != 0)
        return error_prefix(error, "no scratch schema can be made");
    bench->client.version = done.to;
    return 0;
}

/* ---- open and close ---- */

static int prepare(struct bench *bench, struct rota_error *error)
{
    for (size_t i = 0; i < sizeof stop_signals / sizeof *stop_signals; i++) {
        bench->signals[i] = evsignal_new(bench->outer->base, stop_signals[i], on_signal, bench);
        evsignal_add(bench->signals[i], NULL);
    }
    bench->children = children_new(bench->outer->base, error);
    if (bench->children == NULL)
        return -1;
    if (isatty(STDERR_FILENO))
        bench->terminal = terminal_new(bench->outer->base, STDERR_FILENO, error);
    return 0;
}

static char *own_path(void)
{
    char path[4096];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    return length > 0 ? mem_string_n(path, (size_t)length) : mem_string("/proc/self/exe");
}

static void release(struct bench *bench)
{
    store_free(bench->client.store);
    bench_fleet_free(bench->fleet);
    children_free(bench->children);
    terminal_free(bench->terminal);
    for (size_t i = 0; i < sizeof bench->signals / sizeof *bench->signals; i++)
        if (bench->signals[i] != NULL)
            event_free(bench->signals[i]);
    free(bench->self);
    *bench = (struct bench){0};
}

int bench_open(struct bench *bench, struct client *outer, const struct bench_options *options,
               struct rota_error *error)
{
    *bench = (struct bench){.options = options, .outer = outer, .self = own_path()};
    if (prepare(bench, error) == 0 && begin(bench, error) == 0 &&
        bench_connect(bench, bench->schema, &bench->client, error) == 0 &&
        make_schema(bench, error) == 0)
        return 0;
    struct rota_error ignored; /* what made it fail is to be told */
    bench_close(bench, &ignored);
    return -1;
}

int bench_close(struct bench *bench, struct rota_error *error)
{
    int failed = 0;
    bench_fleet_stop(bench);
    if (bench->made) {
        bench_doing(bench, "removing the scratch schema");
        failed = drop_schema(bench, bench->schema, error);
        if (failed != 0)
            error_prefix(error, "schema \"%s\" stays; the next bench drops it", bench->schema);
    }
    release(bench);
    return failed;
}

/* ---- while it runs ---- */

int bench_goes_on(struct bench *bench, struct rota_error *error)
{
    if (bench->signal != 0)
        return error_set(error, ERROR_INTERRUPTED, "stopped (%s): no figure",
                         strsignal(bench->signal));
    return bench->fleet != NULL ? bench_fleet_check(bench->fleet, error) : 0;
}

void bench_doing(struct bench *bench, const char *format, ...)
{
    char text[200];
    va_list args;
    if (bench->terminal == NULL)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    terminal_progress(bench->terminal, NULL);
    terminal_progress(bench->terminal, text);
}

void bench_done(struct bench *bench)
{
    if (bench->terminal != NULL)
        terminal_progress(bench->terminal, NULL);
}

int bench_ask(struct bench *bench, enum statement_id statement, struct store_params *params,
              PGresult **ret_result, struct rota_error *error)
{
    int failed = store_wait(bench->client.store, statement, params, 0, ret_result, error);
    if (params != NULL)
        store_params_free(params);
    return failed;
}

int bench_pause(struct bench *bench, int64_t duration_us, struct rota_error *error)
{
    int64_t until_us = clock_monotonic_us() + duration_us, left_us;
    while ((left_us = until_us - clock_monotonic_us()) > 0) {
        if (bench_goes_on(bench, error) != 0)
            return -1;
        client_pause(&bench->client, left_us < LOOK_US ? left_us : LOOK_US);
    }
    return bench_goes_on(bench, error);
}

int bench_apply(struct bench *bench, char **texts, size_t count, struct rota_error *error)
{
    struct manifest_set *set = manifest_set_new();
    struct apply_diff diff = {0};
    struct apply_options how = {.base = bench->client.base};
    for (size_t i = 0; i < count; i++)
        manifest_add(set, "bench", texts[i], strlen(texts[i]));
    int failed = manifest_check(set);
    if (failed != 0)
        error_set(error, ERROR_REFUSED, "%s", set->problems.lines[0]);
    else
        failed = apply_manifests(bench->client.store, set, &how, &diff, error);
    apply_diff_free(&diff);
    manifest_set_free(set);
    return failed;
}

int bench_wait_empty(struct bench *bench, size_t runs, struct rota_error *error)
{
    int64_t limit_us = EMPTY_US + (int64_t)runs * US_PER_SECOND / SLOWEST;
    int64_t until_us = clock_monotonic_us() + limit_us;
    bool left = true;
    while (left) {
        PGresult *result;
        if (clock_monotonic_us() > until_us)
            return error_set(error, ERROR_REFUSED, "not all runs have ended within %lld s",
                             (long long)(limit_us / US_PER_SECOND));
        if (bench_pause(bench, LOOK_US, error) != 0 ||
            bench_ask(bench, SQL_BENCH_LEFT, NULL, &result, error) != 0)
            return -1;
        left = row_bool(result, 0, 0);
        PQclear(result);
    }
    return 0;
}
