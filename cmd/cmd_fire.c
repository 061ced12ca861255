/* `rota fire NAME`: one extra firing of a trigger or job, now. The schedule is not moved. */
#include "cmd/client.h"

#include <stdio.h>
#include <string.h>

static const char help_text[] =
    "Usage: rota fire TRIGGER-OR-JOB [--json]\n"
    "\n"
    "Fires once, now, besides the schedule, and prints the run's id. A trigger comes before a\n"
    "job of the same name.\n"
    "\n";

struct options {
    const char *name;
    bool json;
};

static int run(struct client *client, void *arg, struct rota_error *error)
{
    const struct options *options = arg;
    struct store_params params = {0};
    PGresult *result;
    params_text(&params, options->name);
    struct audit audit = client_audit(client, "fire", NULL, options->name);
    int failed = client_act(client, SQL_RUN_FIRE, &params, &audit, &result, error);
    store_params_free(&params);
    if (failed != 0 && store_is(error, "22023"))
        return error_set(error, ERROR_NOT_FOUND,
                         "no trigger and no job is called \"%s\"; `rota get triggers` and `rota "
                         "get jobs` list them",
                         options->name);
    if (failed != 0)
        return -1;
    printf(options->json ? "{\"run\":%lld}\n" : "%lld\n", (long long)row_int64(result, 0, 0));
    PQclear(result);
    return 0;
}

static int take(int argc, char **argv, int *i, void *arg, struct rota_error *error)
{
    (void)argc;
    (void)error;
    if (strcmp(argv[*i], "--json") != 0)
        return 0;
    ((struct options *)arg)->json = true;
    return 1;
}

static int word(const char *word, void *arg, struct rota_error *error)
{
    struct options *options = arg;
    if (options->name != NULL)
        return error_set(error, ERROR_USAGE, "one name at a time: \"%s\" is a second one", word);
    options->name = word;
    return 0;
}

static int check(void *arg, struct rota_error *error)
{
    if (((struct options *)arg)->name == NULL)
        return error_set(error, ERROR_USAGE, "what? Give the name of a trigger or a job");
    return 0;
}

int cmd_fire(int argc, char **argv)
{
    static const char *const own[] = {"--json", NULL};
    static const struct client_command command = {.name = "fire",
                                                  .help = help_text,
                                                  .own = own,
                                                  .once = CLIENT_RUN_ONCE,
                                                  .take = take,
                                                  .word = word,
                                                  .check = check,
                                                  .run = run};
    struct options options = {0};
    return client_main(&command, &options, argc, argv);
}
