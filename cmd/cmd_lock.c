/* `rota lock NAME… -- CMD`: its arguments. What it does is in lock_holder.c. */
#include "base/clock.h"
#include "base/instant.h"
#include "base/memory.h"
#include "cmd/cmd.h"
#include "cmd/lock_holder.h"
#include "cmd/settings.h"
#include "coord/cluster_lock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAMES_MAX 1000

static const char help_text[] =
    "Usage: rota lock NAME… [--wait D] [--shared] [--scope cluster|node] [--lock-delay D]\n"
    "                 -- CMD [ARGUMENTS]\n"
    "\n"
    "Runs CMD while holding the lock NAME, which nobody else in the fleet has meanwhile, however\n"
    "he takes it: by this command, as a worker, or in SQL. Ends with CMD's exit status; 5: the\n"
    "lock was not free in time, and CMD was not run. When the lock is lost, CMD is killed with\n"
    "all it has started. ROTA_LOCK_FENCE tells CMD a number greater than that of any holder\n"
    "before. Several names are taken in an order of their own, so that callers never wait for\n"
    "each other in a circle.\n"
    "\n"
    "  --wait D     how long to wait for it (9s; 0s: one try)\n"
    "  --shared     other shared holders may have it at the same time\n"
    "  --scope S    cluster, or node: among the processes of this machine, without a database\n"
    "\n";

struct options {
    const char *names[NAMES_MAX];
    size_t count;
    const char *wait;
    bool shared, node_scope;
};

static int take_name(struct options *options, const char *name, struct rota_error *error)
{
    struct slice text = slice_of(name);
    if (options->count == NAMES_MAX)
        return error_set(error, ERROR_USAGE, "at most %d locks at a time", NAMES_MAX);
    if (cluster_lock_check_name(text, error) != 0)
        return -1;
    options->names[options->count++] = name;
    return 0;
}

static int take_scope(struct options *options, const char *value, struct rota_error *error)
{
    options->node_scope = strcmp(value, "node") == 0;
    if (!options->node_scope && strcmp(value, "cluster") != 0)
        return error_set(error, ERROR_USAGE, "--scope is cluster or node, not \"%s\"", value);
    return 1;
}

/* 1 taken, 0 not known, -1 wrong. */
static int take(struct options *options, struct settings *settings, int argc, char **argv, int *i,
                struct rota_error *error)
{
    const char *value;
    int taken = cmd_option(argc, argv, i, "--wait", &options->wait, error);
    if (taken != 0)
        return taken;
    taken = cmd_option(argc, argv, i, "--scope", &value, error);
    if (taken != 0)
        return taken < 0 ? -1 : take_scope(options, value, error);
    if (strcmp(argv[*i], "--shared") == 0)
        return options->shared = true;
    taken = settings_take_flag(settings, argc, argv, i, error);
    if (taken == 0 && argv[*i][0] != '-')
        return take_name(options, argv[*i], error) == 0 ? 1 : -1;
    return taken;
}

/* The one order that all callers have: by bytes. */
static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void sort_names(struct options *options)
{
    size_t kept = 0;
    qsort(options->names, options->count, sizeof *options->names, compare_names);
    for (size_t i = 0; i < options->count; i++)
        if (kept == 0 || strcmp(options->names[i], options->names[kept - 1]) != 0)
            options->names[kept++] = options->names[i];
    options->count = kept;
}

/* 0 with the index of CMD, or the exit code. */
static int read_arguments(struct options *options, struct settings *settings, int argc, char **argv,
                          int *ret_cmd)
{
    static const char *const own[] = {"--wait", "--shared", "--scope", NULL};
    struct rota_error error = {0};
    int end = 1;
    while (end < argc && strcmp(argv[end], "--") != 0)
        end++;
    for (int i = 1; i < end; i++) {
        int taken = take(options, settings, end, argv, &i, &error);
        if (taken < 0)
            return cmd_fail("lock", &error);
        if (taken == 0)
            return cmd_unknown("lock", argv[i], own, SCOPE_LOCK);
    }
    if (options->count == 0)
        return cmd_usage("lock", "which lock? Give its name");
    if (end + 1 >= argc)
        return cmd_usage("lock", "what is to be run? Write: rota lock %s -- CMD",
                         options->names[0]);
    *ret_cmd = end + 1;
    return settings_load(settings, &error) == 0 ? 0 : cmd_fail("lock", &error);
}

static int run(struct options *options, const struct settings *settings, char *const *argv)
{
    struct rota_error error = {0};
    struct log log = {.text = true, .fd = STDERR_FILENO};
    log_level_parse(settings_text(settings, SETTING_LOG_LEVEL), &log.level);
    struct lock_order order = {.names = options->names,
                               .count = options->count,
                               .shared = options->shared,
                               .node_scope = options->node_scope,
                               .wait_us = settings_number(settings, SETTING_LOCK_WAIT),
                               .delay_us = settings_number(settings, SETTING_LOCK_DELAY),
                               .schema = settings_text(settings, SETTING_SCHEMA),
                               .argv = argv,
                               .log = &log};
    if (options->wait != NULL && duration_parse(options->wait, &order.wait_us) != 0)
        return cmd_usage("lock", "--wait \"%s\" is no duration: write 500ms, 30s, 5m",
                         options->wait);
    const char *direct = settings_text(settings, SETTING_SESSION_DATABASE_URL);
    char *url = options->node_scope ? NULL
                : direct != NULL    ? mem_string(direct)
                                    : settings_client_url(settings, &error);
    if (!options->node_scope && url == NULL)
        return cmd_fail("lock", &error);
    order.url = url;
    order.url_setting = direct != NULL ? "session_database_url" : "database_url";
    int code = lock_holder_run(&order, &error);
    free(url);
    return code >= 0 ? code : cmd_fail("lock", &error);
}

int cmd_lock(int argc, char **argv)
{
    struct options options = {0};
    int cmd = 0;
    if (cmd_wants_help(argc, argv)) {
        fputs(help_text, stdout);
        settings_print_help(stdout, SCOPE_LOCK);
        return 0;
    }
    struct settings *settings = settings_new(SCOPE_LOCK);
    int code = read_arguments(&options, settings, argc, argv, &cmd);
    if (code == 0) {
        sort_names(&options);
        code = run(&options, settings, argv + cmd);
    }
    settings_free(settings);
    return code;
}
