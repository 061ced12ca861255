/*
 * `rota bench idle`: what nodes cost that have nothing to do: statements, private memory of their
 * processes, and how long one takes from its start until it is ready.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "cmd/bench_figures.h"
#include "worker/tree.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NODES     2
#define SECONDS   30
#define SETTLE_US (5 * US_PER_SECOND) /* what a start still does afterwards */

struct idle {
    double statements; /* a minute and node */
    bool transactions; /* these were counted instead */
    int64_t coordinator_kib, coordinator_rss_kib, worker_kib, guard_kib; /* the largest of each */
    double ready_ms;
};

/* ---- memory ---- */

/* A line "Name:   123 kB" of /proc/PID/status; 0: there is none. */
static int64_t status_kib(pid_t pid, const char *name)
{
    char path[64], line[200];
    long long kib = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return 0;
    while (fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, name, strlen(name)) == 0 && line[strlen(name)] == ':')
            kib = strtoll(line + strlen(name) + 1, NULL, 10);
    fclose(file);
    return kib;
}

static void keep_largest(int64_t *largest, int64_t value)
{
    if (value > *largest)
        *largest = value;
}

/* A node's children are its guard; the guard's are its workers. */
static void weigh_node(struct idle *idle, pid_t node)
{
    struct tree_list guards = {0}, workers = {0};
    keep_largest(&idle->coordinator_kib, status_kib(node, "RssAnon"));
    keep_largest(&idle->coordinator_rss_kib, status_kib(node, "VmRSS"));
    tree_children(node, &guards);
    for (size_t i = 0; i < guards.count; i++) {
        keep_largest(&idle->guard_kib, status_kib(guards.pids[i], "RssAnon"));
        tree_children(guards.pids[i], &workers);
    }
    for (size_t i = 0; i < workers.count; i++)
        keep_largest(&idle->worker_kib, status_kib(workers.pids[i], "RssAnon"));
    tree_free(&guards);
    tree_free(&workers);
}

/* ---- statements ---- */

static int measure(struct bench *bench, struct idle *idle, struct rota_error *error)
{
    int64_t seconds = bench->options->seconds > 0 ? bench->options->seconds : SECONDS;
    struct bench_counters before, after;
    int nodes = bench_fleet_count(bench->fleet);
    bench_doing(bench, "%d nodes come to rest", nodes);
    if (bench_pause(bench, SETTLE_US, error) != 0 || bench_count(bench, &before, error) != 0)
        return -1;
    bench_doing(bench, "%d nodes have nothing to do for %lld s", nodes, (long long)seconds);
    if (bench_pause(bench, seconds * US_PER_SECOND, error) != 0 ||
        bench_count(bench, &after, error) != 0)
        return -1;
    for (int i = 0; i < nodes; i++)
        weigh_node(idle, bench_fleet_pid(bench->fleet, i));
    idle->transactions = before.statements < 0 || after.statements < before.statements;
    double done = (double)(idle->transactions ? after.transactions - before.transactions
                                              : after.statements - before.statements);
    idle->statements =
        done * 60 * US_PER_SECOND / (double)(after.at_us - before.at_us) / (double)nodes;
    idle->ready_ms = (double)bench_fleet_start_us(bench->fleet) / (double)US_PER_MS;
    return 0;
}

/* ---- what is said ---- */

static const char *counted_by(const struct idle *idle)
{
    return idle->transactions ? "transactions of the database (pg_stat_database), those of others "
                                "included: pg_stat_statements is not in this database"
                              : "pg_stat_statements, the leader's included";
}

static void print_json(const struct bench *bench, const struct idle *idle)
{
    printf("{\"bench\":\"idle\",\"nodes\":%d,\"statements_per_minute_per_node\":%.1f,"
           "\"coordinator_private_kib\":%lld,\"worker_private_kib\":%lld,"
           "\"coordinator_rss_kib\":%lld,\"guard_private_kib\":%lld,\"start_to_ready_ms\":%.0f,"
           "\"statements_counted_by\":\"%s\"}\n",
           bench_fleet_count(bench->fleet), idle->statements, (long long)idle->coordinator_kib,
           (long long)idle->worker_kib, (long long)idle->coordinator_rss_kib,
           (long long)idle->guard_kib, idle->ready_ms,
           idle->transactions ? "pg_stat_database" : "pg_stat_statements");
}

static void print_text(const struct bench *bench, const struct idle *idle)
{
    printf("idle: %d nodes with nothing to do\n", bench_fleet_count(bench->fleet));
    printf("  %-32s %.1f\n", "statements a minute and node", idle->statements);
    printf("  %-32s %lld KiB (resident %lld)\n", "private memory, coordinator",
           (long long)idle->coordinator_kib, (long long)idle->coordinator_rss_kib);
    printf("  %-32s %lld KiB\n", "private memory, built-in worker", (long long)idle->worker_kib);
    printf("  %-32s %lld KiB\n", "private memory, guard", (long long)idle->guard_kib);
    printf("  %-32s %.0f ms\n", "start to ready, the slowest", idle->ready_ms);
    printf("statements counted by %s\n", counted_by(idle));
}

int bench_idle(struct bench *bench, struct rota_error *error)
{
    const struct bench_options *options = bench->options;
    struct idle idle = {0};
    struct bench_fleet_options fleet = {.count = options->nodes > 0 ? (int)options->nodes : NODES,
                                        .one_by_one = true,
                                        .handler = "noop"};
    int failed = bench_fleet_start(bench, &fleet, error);
    if (failed == 0)
        failed = measure(bench, &idle, error);
    bench_done(bench);
    if (failed == 0 && options->json)
        print_json(bench, &idle);
    else if (failed == 0)
        print_text(bench, &idle);
    return failed;
}
