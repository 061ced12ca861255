/* `rota bench`: measures this installation. Its arguments; each bench is a file bench_*.c. */
#include "cmd/bench.h"

#include "cmd/settings.h"

#include <stdio.h>
#include <string.h>

static const char help_text[] =
    "Usage: rota bench drain|tick|latency|idle [--nodes N] [--slots N] [--json]\n"
    "         drain    [--runs N] [--repeat N] [--single]\n"
    "\n"
    "Measures this installation end to end: real nodes and workers of this machine on a scratch\n"
    "schema of the database, which goes when the bench ends. Before a figure is printed, every "
    "run\n"
    "must have ended exactly once. The load is real: not for a database others are working on.\n"
    "\n"
    "  drain        runs a second of what waits already: --runs (100000), --repeat times (3), "
    "after\n"
    "               a warm-up; queued by rota.enqueue_many in batches of 1000, with --single by\n"
    "               rota.enqueue one by one\n"
    "\n"
    "  --nodes N    how many (2)\n"
    "  --slots N    runs at once in each node's worker (the setting of nodes)\n"
    "  --json       one document\n"
    "\n"
    "Nodes of the bench take their settings from the environment (ROTA_LEASE, ROTA_SLOTS, …).\n"
    "\n";

typedef int bench_function(struct bench *bench, struct rota_error *error);

struct arguments {
    const char *word;
    bench_function *function;
    struct bench_options options;
};

static const struct bench_kind {
    const char *name;
    bench_function *function;
} kinds[] = {{"drain", bench_drain}};

static int word(const char *word, void *arg, struct rota_error *error)
{
    struct arguments *arguments = arg;
    if (arguments->word != NULL)
        return error_set(error, ERROR_USAGE, "one bench at a time: \"%s\" is a second one", word);
    arguments->word = word;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(word, kinds[i].name) == 0)
            arguments->function = kinds[i].function;
    if (arguments->function != NULL)
        return 0;
    return error_set(error, ERROR_USAGE, "no bench is called \"%s\": drain, tick, latency or idle",
                     word);
}

static const char *const own[] = {"--runs",    "--triggers", "--nodes",  "--slots",
                                  "--seconds", "--repeat",   "--single", "--saturate",
                                  "--load",    "--json",     NULL};

static int take_number(int argc, char **argv, int *i, struct bench_options *options,
                       struct rota_error *error)
{
    const struct {
        int64_t high;
        int64_t *number;
    } numbers[] = {{10000000, &options->runs},         {1000000, &options->triggers},
                   {BENCH_NODES_MAX, &options->nodes}, {10000, &options->slots},
                   {3600, &options->seconds},          {100, &options->repeat}};
    for (size_t n = 0; n < sizeof numbers / sizeof *numbers; n++) {
        const char *value;
        int taken = cmd_option(argc, argv, i, own[n], &value, error);
        if (taken > 0 &&
            client_number(own[n], value, 1, numbers[n].high, numbers[n].number, error) != 0)
            return -1;
        if (taken != 0)
            return taken;
    }
    return 0;
}

static int take(int argc, char **argv, int *i, void *arg, struct rota_error *error)
{
    struct bench_options *options = &((struct arguments *)arg)->options;
    int taken = take_number(argc, argv, i, options, error);
    if (taken != 0)
        return taken;
    if (strcmp(argv[*i], "--single") == 0)
        return options->single = true;
    if (strcmp(argv[*i], "--saturate") == 0)
        return options->saturate = true;
    if (strcmp(argv[*i], "--load") == 0)
        return options->load = true;
    if (strcmp(argv[*i], "--json") == 0)
        return options->json = true;
    return 0;
}

static int check(void *arg, struct rota_error *error)
{
    const struct arguments *arguments = arg;
    if (arguments->word == NULL)
        return error_set(error, ERROR_USAGE, "which bench? drain, tick, latency or idle");
    return 0;
}

static int run(struct client *client, void *arg, struct rota_error *error)
{
    const struct arguments *arguments = arg;
    struct bench bench;
    struct rota_error ending = {0};
    if (bench_open(&bench, client, &arguments->options, error) != 0)
        return -1;
    int failed = arguments->function(&bench, error);
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
