/* `rota node`: one replica. Reads the settings and hands them to the coordinator. */
#include "cmd/cmd.h"

#include "cmd/settings.h"
#include "coord/config.h"

#include <stdio.h>

static void print_help(void)
{
    printf("Usage: rota node [--name S] [--standby] [SETTINGS]\n\n"
           "One replica of the fleet. SIGTERM drains it: it takes nothing new, waits for what it\n"
           "runs (--grace) and ends; a second SIGTERM hurries. SIGHUP has it read its settings "
           "again:\n"
           "log_level changes at once, the others with the next start.\n\n"
           "  --name S                     the same as --node-name\n");
    settings_print_help(stdout, SCOPE_NODE);
}

struct arguments {
    int argc;
    char **argv;
    const char *unknown; /* the first one nobody took */
};

/* 0, or -1 with error, or with `unknown` and none. */
static int take(struct settings *settings, struct arguments *arguments, struct rota_error *error)
{
    static char node_name[] = "--node-name";
    int argc = arguments->argc;
    char **argv = arguments->argv;
    for (int i = 1; i < argc; i++) {
        const char *value;
        int taken = cmd_option(argc, argv, &i, "--name", &value, error);
        if (taken > 0) {
            int first = 0;
            char *words[] = {node_name, (char *)value};
            taken = settings_take_flag(settings, 2, words, &first, error);
        } else if (taken == 0) {
            taken = settings_take_flag(settings, argc, argv, &i, error);
        }
        if (taken == 0)
            arguments->unknown = argv[i];
        if (taken <= 0)
            return -1;
    }
    return settings_load(settings, error);
}

static int parse(struct settings *settings, struct arguments *arguments)
{
    static const char *const own[] = {"--name", NULL};
    struct rota_error error = {0};
    if (take(settings, arguments, &error) == 0)
        return 0;
    if (arguments->unknown != NULL)
        return cmd_unknown("node", arguments->unknown, own, SCOPE_NODE);
    return cmd_fail("node", &error);
}

/* Everything is read and checked anew, in the same order of strength. */
static int reload(void *arg, enum log_level *ret_level, struct rota_error *error)
{
    struct settings *settings = settings_new(SCOPE_NODE);
    int failed = take(settings, arg, error);
    if (failed == 0)
        failed = log_level_parse(settings_text(settings, SETTING_LOG_LEVEL), ret_level);
    settings_free(settings);
    return failed;
}

int cmd_node(int argc, char **argv)
{
    struct settings *settings;
    struct node_config config;
    struct arguments arguments = {argc, argv, NULL};
    if (cmd_wants_help(argc, argv)) {
        print_help();
        return 0;
    }
    settings = settings_new(SCOPE_NODE);
    int code = parse(settings, &arguments);
    if (code == 0) {
        settings_node_config(settings, &config);
        config.reload = reload;
        config.reload_arg = &arguments;
        code = node_main(&config);
    }
    settings_free(settings);
    return code;
}
