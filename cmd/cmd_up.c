/* `rota up`: everything on one machine. Its arguments; what it does with them: up.c. */
#include "cmd/cmd.h"

#include "base/text.h"
#include "cmd/settings.h"
#include "cmd/up.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define NODES_MAX 50 /* three connections each, of PostgreSQL's 200 */

static void print_help(void)
{
    printf(
        "Usage: rota up [-f FILE]… [--nodes N] [--data DIR] [--port P] [--json]\n\n"
        "Everything on one machine: a private PostgreSQL in a data directory (left out when a\n"
        "database URL is given), schema, manifests and nodes, with a line for every finished\n"
        "run. Ctrl-C drains the nodes and stops all; the next start goes on with the same data.\n\n"
        "  -f, --file FILE              manifest to apply; may be given several times\n"
        "  --nodes N                    how many nodes [1]\n"
        "  --port P                     port of the first node's HTTP server; default: any free\n"
        "  --json                       the nodes' log lines as they are, instead of words\n\n"
        "Settings, all passed on to the nodes:\n");
    settings_print_help(stdout, SCOPE_UP);
}

static int take_number(const char *text, const char *name, int low, int high, int *ret_number,
                       struct rota_error *error)
{
    int64_t number;
    if (text_int64(text, strlen(text), &number) != 0 || number < low || number > high)
        return error_set(error, ERROR_USAGE, "%s %s: write a number from %d to %d", name, text, low,
                         high);
    *ret_number = (int)number;
    return 0;
}

/* 1: taken, 0: not ours, -1: error. */
static int take_option(struct up_options *options, int argc, char **argv, int *i,
                       struct rota_error *error)
{
    const char *value;
    int taken;
    if (strcmp(argv[*i], "--json") == 0) {
        options->json = true;
        return 1;
    }
    if ((taken = cmd_option(argc, argv, i, "-f", &value, error)) != 0 ||
        (taken = cmd_option(argc, argv, i, "--file", &value, error)) != 0) {
        if (taken > 0 && options->manifest_count == UP_MANIFESTS_MAX)
            return error_set(error, ERROR_USAGE, "more than %d manifests", UP_MANIFESTS_MAX);
        if (taken > 0)
            options->manifests[options->manifest_count++] = value;
        return taken;
    }
    if ((taken = cmd_option(argc, argv, i, "--nodes", &value, error)) != 0)
        return taken > 0 &&
                       take_number(value, "--nodes", 1, NODES_MAX, &options->node_count, error) != 0
                   ? -1
                   : taken;
    if ((taken = cmd_option(argc, argv, i, "--port", &value, error)) != 0)
        return taken > 0 && take_number(value, "--port", 0, 65535, &options->port, error) != 0
                   ? -1
                   : taken;
    return settings_take_flag(options->settings, argc, argv, i, error);
}

static int parse(struct up_options *options, int argc, char **argv)
{
    static const char *const own[] = {"-f", "--file", "--nodes", "--port", "--json", NULL};
    struct rota_error error;
    for (int i = 1; i < argc; i++) {
        int taken = take_option(options, argc, argv, &i, &error);
        if (taken < 0)
            return cmd_fail("up", &error);
        if (taken == 0)
            return cmd_unknown("up", argv[i], own, SCOPE_UP);
    }
    for (int i = 0; i < options->manifest_count; i++) {
        if (access(options->manifests[i], R_OK) != 0) {
            error_set(&error, ERROR_REFUSED, "cannot read the manifest %s: %s",
                      options->manifests[i], strerror(errno));
            return cmd_fail("up", &error);
        }
    }
    return settings_load(options->settings, &error) == 0 ? 0 : cmd_fail("up", &error);
}

int cmd_up(int argc, char **argv)
{
    struct up_options options = {.node_count = 1};
    if (cmd_wants_help(argc, argv)) {
        print_help();
        return 0;
    }
    options.settings = settings_new(SCOPE_UP);
    int code = parse(&options, argc, argv);
    if (code == 0)
        code = up_run(&options);
    settings_free(options.settings);
    return code;
}
