/* `rota bench`: measures this installation. Its arguments; each bench is a file bench_*.c. */
#include "cmd/bench.h"

#include "cmd/settings.h"

#include <stdio.h>
#include <string.h>

static const char help_text[] =
    "Usage: rota bench drain|tick|latency|idle [--nodes N] [--slots N] [--json]\n"
    "         drain    [--runs N] [--repeat N] [--single]\n"
    "         tick     [--triggers N] [--seconds S] | --saturate [--triggers N] [--repeat N]\n"
    "         latency  [--runs N] [--load]\n"
    "         idle     [--seconds S]\n"
    "\n"
    "Measures this installation end to end: real nodes and workers on this machine and a scratch\n"
    "schema in the database, which goes when the bench ends. Before a figure is printed, every "
    "run\n"
    "must have ended exactly once. The load is real: nothing for a database others work on.\n"
    "\n"
    "  drain        runs a second of what waits already: --runs (100000), --repeat times (3) "
    "after\n"
    "               a warm-up; queued by rota.enqueue_many in batches of 1000, with --single by\n"
    "               rota.enqueue one by one\n"
    "  tick         --triggers (10000) of one second each, spread over it, for --seconds (30): "
    "how\n"
    "               late their runs begin, and that no occurrence is missed\n"
    "    --saturate firings a second when --triggers (50000) fall due at one instant, --repeat\n"
    "               times (3) after a warm-up\n"
    "  latency      from the answer to an enqueue, and from the time of a trigger, to the call of\n"
    "               the handler: --runs (500) of each, one at a time on an idle fleet\n"
    "    --load     also while the fleet does half of what it can\n"
    "  idle         statements and memory of nodes with nothing to do for --seconds (30)\n"
    "\n"
    "  --nodes N    how many (2)\n"
    "  --slots N    runs at once in each node's built-in worker (the nodes' setting)\n"
    "  --json       one document\n"
    "\n"
    "Nodes of the bench take their settings from the environment (ROTA_LEASE, ROTA_SLOTS, …).\n"
    "Statements are counted where the extension pg_stat_statements is created in the database.\n"
    "\n";

typedef int bench_function(struct bench *bench, struct rota_error *error);

#define OPTION_COUNT 10
enum { RUNS, TRIGGERS, NODES, SLOTS, SECONDS, REPEAT, SINGLE, SATURATE, LOAD, JSON };
#define OPTION(which) (1u << (which))
#define OF_ALL        (OPTION(NODES) | OPTION(SLOTS) | OPTION(JSON))

static const struct bench_kind {
    const char *name;
    bench_function *function;
    unsigned options;
} kinds[] = {
    {"drain", bench_drain, OF_ALL | OPTION(RUNS) | OPTION(REPEAT) | OPTION(SINGLE)},
    {"tick", bench_tick,
     OF_ALL | OPTION(TRIGGERS) | OPTION(SECONDS) | OPTION(REPEAT) | OPTION(SATURATE)},
    {"latency", bench_latency, OF_ALL | OPTION(RUNS) | OPTION(LOAD)},
    {"idle", bench_idle, OF_ALL | OPTION(SECONDS)},
};

struct arguments {
    const struct bench_kind *kind;
    unsigned given;
    struct bench_options options;
};

static int word(const char *word, void *arg, struct rota_error *error)
{
    struct arguments *arguments = arg;
    if (arguments->kind != NULL)
        return error_set(error, ERROR_USAGE, "one bench at a time: \"%s\" is a second one", word);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(word, kinds[i].name) == 0)
            arguments->kind = &kinds[i];
    if (arguments->kind != NULL)
        return 0;
    return error_set(error, ERROR_USAGE, "no bench is called \"%s\": drain, tick, latency or idle",
                     word);
}

static const char *const own[OPTION_COUNT + 1] = {
    [RUNS] = "--runs",     [TRIGGERS] = "--triggers", [NODES] = "--nodes",
    [SLOTS] = "--slots",   [SECONDS] = "--seconds",   [REPEAT] = "--repeat",
    [SINGLE] = "--single", [SATURATE] = "--saturate", [LOAD] = "--load",
    [JSON] = "--json"};

static int take_number(int argc, char **argv, int *i, struct arguments *arguments,
                       struct rota_error *error)
{
    struct bench_options *options = &arguments->options;
    const struct {
        int64_t high;
        int64_t *number;
    } numbers[] = {
        [RUNS] = {10000000, &options->runs},          [TRIGGERS] = {1000000, &options->triggers},
        [NODES] = {BENCH_NODES_MAX, &options->nodes}, [SLOTS] = {10000, &options->slots},
        [SECONDS] = {3600, &options->seconds},        [REPEAT] = {100, &options->repeat}};
    for (unsigned n = 0; n < sizeof numbers / sizeof *numbers; n++) {
        const char *value;
        int taken = cmd_option(argc, argv, i, own[n], &value, error);
        if (taken > 0 &&
            client_number(own[n], value, 1, numbers[n].high, numbers[n].number, error) != 0)
            return -1;
        if (taken > 0)
            arguments->given |= OPTION(n);
        if (taken != 0)
            return taken;
    }
    return 0;
}

static int take(int argc, char **argv, int *i, void *arg, struct rota_error *error)
{
    struct arguments *arguments = arg;
    struct bench_options *options = &arguments->options;
    bool *const switches[] = {&options->single, &options->saturate, &options->load, &options->json};
    int taken = take_number(argc, argv, i, arguments, error);
    for (unsigned n = 0; taken == 0 && n < sizeof switches / sizeof *switches; n++) {
        if (strcmp(argv[*i], own[SINGLE + n]) != 0)
            continue;
        *switches[n] = true;
        arguments->given |= OPTION(SINGLE + n);
        taken = 1;
    }
    return taken;
}

static int check(void *arg, struct rota_error *error)
{
    const struct arguments *arguments = arg;
    const struct bench_options *options = &arguments->options;
    if (arguments->kind == NULL)
        return error_set(error, ERROR_USAGE, "which bench? drain, tick, latency or idle");
    for (unsigned n = 0; n < OPTION_COUNT; n++)
        if ((arguments->given & ~arguments->kind->options & OPTION(n)) != 0)
            return error_set(error, ERROR_USAGE, "%s is nothing for %s", own[n],
                             arguments->kind->name);
    if (options->saturate && options->seconds > 0)
        return error_set(error, ERROR_USAGE,
                         "--saturate takes as long as it takes: leave out "
                         "--seconds");
    if (arguments->kind->function == bench_tick && options->repeat > 0 && !options->saturate)
        return error_set(error, ERROR_USAGE, "--repeat goes with --saturate");
    return 0;
}

static int run(struct client *client, void *arg, struct rota_error *error)
{
    const struct arguments *arguments = arg;
    struct bench bench;
    struct rota_error ending = {0};
    if (bench_open(&bench, client, &arguments->options, error) != 0)
        return -1;
    int failed = arguments->kind->function(&bench, error);
    int left = bench_close(&bench, &ending);
    if (failed == 0 && left != 0)
        *error = ending;
    else if (left != 0)
        fprintf(stderr, "rota bench: %s\n", ending.message);
    return failed != 0 ? failed : left;
}

int cmd_bench(int argc, char **argv)
{
    static const struct client_command command = {.name = "bench",
                                                  .help = help_text,
                                                  .own = own,
                                                  .scope = SCOPE_CLIENT | SCOPE_DOCTOR,
                                                  .any_schema = true,
                                                  .session = true,
                                                  .take = take,
                                                  .word = word,
                                                  .check = check,
                                                  .run = run};
    struct arguments arguments = {0};
    return client_main(&command, &arguments, argc, argv);
}
