/* `rota fire NAME`: one extra firing of a trigger or job, now. The schedule is not moved. */
#include "cmd/client.h"
#include "cmd/settings.h"

#include <stdio.h>
#include <string.h>

static const char help_text[] = "Usage: rota fire TRIGGER-OR-JOB [--json]\n"
                                "\n"
                                "Fires once, now, besides the schedule, and prints the run's id. A trigger comes before a\n"
                                "job of the same name.\n"
                                "\n";

static int fire(struct client *client, const char *name, bool json, struct rota_error *error)
{
    struct store_params params = {0};
    PGresult *result;
    params_text(&params, name);
    int failed = store_wait(client->store, SQL_RUN_FIRE, &params, 0, &result, error);
    store_params_free(&params);
    if (failed != 0)
        return -1;
    if (PQntuples(result) == 0)
        failed = error_set(error, ERROR_NOT_FOUND,
                           "no trigger and no job is called \"%s\"; `rota get triggers` and `rota get jobs` list them", name);
    else
        printf(json ? "{\"run\":%lld}\n" : "%lld\n", (long long)row_int64(result, 0, 0));
    PQclear(result);
    return failed;
}

int cmd_fire(int argc, char **argv)
{
    static const char *const own[] = {"--json", NULL};
    struct rota_error error = {0};
    struct client client;
    const char *name = NULL;
    bool json = false;
    if (cmd_wants_help(argc, argv)) {
        fputs(help_text, stdout);
        settings_print_help(stdout, SCOPE_CLIENT);
        return 0;
    }
    struct settings *settings = settings_new(SCOPE_CLIENT);
    int code = 0;
    for (int i = 1; i < argc && code == 0; i++) {
        int taken = settings_take_flag(settings, argc, argv, &i, &error);
        if (taken < 0)
            code = cmd_fail("fire", &error);
        else if (taken == 0 && strcmp(argv[i], "--json") == 0)
            json = true;
        else if (taken == 0 && (argv[i][0] == '-' || name != NULL))
            code = cmd_unknown("fire", argv[i], own, SCOPE_CLIENT);
        else if (taken == 0)
            name = argv[i];
    }
    if (code == 0 && name == NULL)
        code = cmd_usage("fire", "what? Give the name of a trigger or a job");
    if (code == 0 && (settings_load(settings, &error) != 0 || client_open(&client, "fire", settings, &error) != 0)) {
        code = cmd_fail("fire", &error);
    } else if (code == 0) {
        if (fire(&client, name, json, &error) != 0)
            code = cmd_fail("fire", &error);
        client_close(&client);
    }
    settings_free(settings);
    return code;
}
