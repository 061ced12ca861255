/* `rota migrate`: creates or upgrades the schema; `--check` only says whether that is needed. */
#include "cmd/client.h"
#include "cmd/settings.h"

#include <stdio.h>
#include <string.h>

static const char help_text[] =
    "Usage: rota migrate [--check]\n"
    "\n"
    "Creates or upgrades rota's schema. Safe to run from many machines at once.\n"
    "\n"
    "  --check  change nothing; exit 1 if there is something to do\n"
    "\n";

static int only_check(struct client *client, struct rota_error *error)
{
    int version;
    if (store_check_schema(client->store, &version, error) != 0)
        return -1;
    if (version < migration_count)
        return error_set(
            error, ERROR_REFUSED,
            "schema \"%s\" is at version %d, this rota brings version %d; run `rota migrate`",
            client->schema, version, migration_count);
    printf("schema \"%s\" is at version %d: nothing to do\n", client->schema, version);
    return 0;
}

/* A role that may make no others has migrated. */
static int tell_missing_roles(struct client *client, struct rota_error *error)
{
    PGresult *result;
    if (store_wait(client->store, SQL_ACCESS_MISSING, NULL, 0, &result, error) != 0)
        return -1;
    if (PQntuples(result) > 0)
        printf("%s\n", row_text(result, 0, 0));
    PQclear(result);
    return 0;
}

static int migrate(struct client *client, struct rota_error *error)
{
    struct migrate_result done;
    if (store_migrate(client->store, client->schema, NULL, &done, error) != 0)
        return -1;
    if (done.to > done.from) {
        printf("schema \"%s\" migrated from version %d to %d\n", client->schema, done.from,
               done.to);
        return tell_missing_roles(client, error);
    }
    printf("schema \"%s\" is at version %d: nothing to do\n", client->schema, done.to);
    return 0;
}

static int take(int argc, char **argv, int *i, void *options, struct rota_error *error)
{
    (void)argc;
    (void)error;
    if (strcmp(argv[*i], "--check") != 0)
        return 0;
    *(bool *)options = true;
    return 1;
}

static int run(struct client *client, void *options, struct rota_error *error)
{
    return *(bool *)options ? only_check(client, error) : migrate(client, error);
}

int cmd_migrate(int argc, char **argv)
{
    static const char *const own[] = {"--check", NULL};
    static const struct client_command command = {.name = "migrate",
                                                  .help = help_text,
                                                  .own = own,
                                                  .scope = SCOPE_CLIENT | SCOPE_DOCTOR,
                                                  .any_schema = true,
                                                  .session = true,
                                                  .take = take,
                                                  .run = run};
    bool check = false;
    return client_main(&command, &check, argc, argv);
}
