/* `rota node`: one replica. Reads the settings and hands them to the coordinator. */
#include "cmd/cmd.h"

#include "cmd/settings.h"
#include "coord/config.h"

#include <stdio.h>

static void print_help(void)
{
    printf("Usage: rota node [--name S] [--standby] [SETTINGS]\n\n"
           "One replica of the fleet. SIGTERM drains it: it takes nothing new, waits for what it\n"
           "runs (--grace) and ends; a second SIGTERM hurries.\n\n"
           "  --name S                     the same as --node-name\n");
    settings_print_help(stdout, SCOPE_NODE);
}

static int parse(struct settings *settings, int argc, char **argv)
{
    static const char *const own[] = {"--name", NULL};
    static char node_name[] = "--node-name";
    struct rota_error error;
    for (int i = 1; i < argc; i++) {
        const char *value;
        int taken = cmd_option(argc, argv, &i, "--name", &value, &error);
        if (taken > 0) {
            int first = 0;
            char *words[] = {node_name, (char *)value};
            taken = settings_take_flag(settings, 2, words, &first, &error);
        } else if (taken == 0) {
            taken = settings_take_flag(settings, argc, argv, &i, &error);
        }
        if (taken < 0)
            return cmd_fail("node", &error);
        if (taken == 0)
            return cmd_unknown("node", argv[i], own, SCOPE_NODE);
    }
    return settings_load(settings, &error) == 0 ? 0 : cmd_fail("node", &error);
}

int cmd_node(int argc, char **argv)
{
    struct settings *settings;
    struct node_config config;
    if (cmd_wants_help(argc, argv)) {
        print_help();
        return 0;
    }
    settings = settings_new(SCOPE_NODE);
    int code = parse(settings, argc, argv);
    if (code == 0) {
        settings_node_config(settings, &config);
        code = node_main(&config);
    }
    settings_free(settings);
    return code;
}
