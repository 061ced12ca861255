/* `rota migrate`: creates or upgrades the schema; `--check` only says whether that is needed. */
#include "cmd/client.h"
#include "cmd/settings.h"

#include <stdio.h>
#include <string.h>

static const char help_text[] = "Usage: rota migrate [--check]\n"
                                "\n"
                                "Creates or upgrades rota's schema. Safe to run from many machines at once.\n"
                                "\n"
                                "  --check  change nothing; exit 1 if there is something to do\n"
                                "\n";

static int check(struct client *client, struct rota_error *error)
{
    int version;
    if (store_check_schema(client->store, &version, error) != 0)
        return -1;
    if (version < migration_count)
        return error_set(error, ERROR_REFUSED, "schema \"%s\" is at version %d, this rota brings version %d; run `rota migrate`",
                         client->schema, version, migration_count);
    printf("schema \"%s\" is at version %d: nothing to do\n", client->schema, version);
    return 0;
}

static int migrate(struct client *client, struct rota_error *error)
{
    struct migrate_result done;
    if (store_migrate(client->store, client->schema, NULL, &done, error) != 0)
        return -1;
    if (done.to > done.from)
        printf("schema \"%s\" migrated from version %d to %d\n", client->schema, done.from, done.to);
    else
        printf("schema \"%s\" is at version %d: nothing to do\n", client->schema, done.to);
    return 0;
}

int cmd_migrate(int argc, char **argv)
{
    static const char *const own[] = {"--check", NULL};
    struct rota_error error = {0};
    struct client client;
    bool only_check = false;
    if (cmd_wants_help(argc, argv)) {
        fputs(help_text, stdout);
        settings_print_help(stdout, SCOPE_CLIENT);
        return 0;
    }
    struct settings *settings = settings_new(SCOPE_CLIENT);
    int code = 0;
    for (int i = 1; i < argc && code == 0; i++) {
        int taken = 1;
        if (strcmp(argv[i], "--check") == 0)
            only_check = true;
        else
            taken = settings_take_flag(settings, argc, argv, &i, &error);
        if (taken <= 0)
            code = taken < 0 ? cmd_fail("migrate", &error) : cmd_unknown("migrate", argv[i], own, SCOPE_CLIENT);
    }
    if (code == 0 && (settings_load(settings, &error) != 0 || client_connect(&client, "migrate", settings, &error) != 0)) {
        code = cmd_fail("migrate", &error);
    } else if (code == 0) {
        if ((only_check ? check(&client, &error) : migrate(&client, &error)) != 0)
            code = cmd_fail("migrate", &error);
        client_close(&client);
    }
    settings_free(settings);
    return code;
}
