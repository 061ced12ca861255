/* `rota enqueue JOB`: queues one run or many. */
#include "base/clock.h"
#include "base/instant.h"
#include "base/json.h"
#include "cmd/client.h"
#include "cmd/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DATA_MAX  (256u << 10) /* bytes: a claim carries it to a worker */
#define COUNT_MAX 100000

static const char help_text[] =
    "Usage: rota enqueue JOB [--data JSON] [--at T | --in D] [--priority N] [--count N] [--json]\n"
    "\n"
    "Queues a run of a job and prints its id.\n"
    "\n"
    "  --data JSON   object laid over the job's data\n"
    "  --at T        start no earlier than this (RFC 3339)\n"
    "  --in D        start no earlier than this much from now (90s, 5m, 1d)\n"
    "  --priority N  1 to 100 instead of the job's\n"
    "  --count N     that many runs\n"
    "\n";

#define ONCE_TEXT                                                                                  \
    "the connection was lost before the answer came: the run may be queued or not; see "           \
    "`rota get runs` and `rota get history` before you enqueue it again"

struct options {
    const char *job;
    const char *data;
    int64_t at_us;
    int64_t in_us;
    int64_t priority; /* 0: the job's */
    int64_t count;
    bool json;
};

static int check_data(const char *text, struct rota_error *error)
{
    struct json json;
    if (strlen(text) > DATA_MAX)
        return error_set(error, ERROR_USAGE,
                         "--data has %zu bytes, at most %u are taken; pass a reference instead",
                         strlen(text), DATA_MAX);
    if (json_parse(&json, text, strlen(text), error) != 0) {
        error_prefix(error, "--data is not JSON");
        error->code = ERROR_USAGE;
        return -1;
    }
    bool object = json.values->type == JSON_OBJECT;
    const char *type = json_type_name(json.values->type);
    json_free(&json);
    return object ? 0
                  : error_set(error, ERROR_USAGE,
                              "--data must be a JSON object like {\"key\":1}, this is %s", type);
}

/* 1 taken, 0 not an option of ours, -1 wrong. */
static int take(int argc, char **argv, int *i, void *arg, struct rota_error *error)
{
    struct options *options = arg;
    const char *value;
    int taken;
    if ((taken = cmd_option(argc, argv, i, "--data", &value, error)) != 0) {
        options->data = value;
        return taken < 0 || check_data(value, error) != 0 ? -1 : 1;
    }
    if ((taken = cmd_option(argc, argv, i, "--at", &value, error)) != 0) {
        if (taken > 0 && instant_parse(value, &options->at_us) != 0)
            return error_set(
                error, ERROR_USAGE,
                "--at \"%s\" is no instant: write 2026-12-24T18:00:00Z or with an offset", value);
        return taken;
    }
    if ((taken = cmd_option(argc, argv, i, "--in", &value, error)) != 0) {
        if (taken > 0 && duration_parse(value, &options->in_us) != 0)
            return error_set(error, ERROR_USAGE,
                             "--in \"%s\" is no duration: write 90s, 5m, 2h or 1d", value);
        return taken;
    }
    if ((taken = cmd_option(argc, argv, i, "--priority", &value, error)) != 0)
        return taken < 0 ||
                       client_number("--priority", value, 1, 100, &options->priority, error) != 0
                   ? -1
                   : 1;
    if ((taken = cmd_option(argc, argv, i, "--count", &value, error)) != 0)
        return taken < 0 ||
                       client_number("--count", value, 1, COUNT_MAX, &options->count, error) != 0
                   ? -1
                   : 1;
    if (strcmp(argv[*i], "--json") == 0)
        return options->json = true;
    return 0;
}

static int run(struct client *client, void *arg, struct rota_error *error)
{
    const struct options *options = arg;
    struct store_params params = {0};
    PGresult *result;
    size_t count;
    params_text(&params, options->job);
    params_text(&params, options->data);
    params_time(&params, options->at_us);
    params_int64(&params, options->in_us / US_PER_MS);
    if (options->priority > 0)
        params_int16(&params, (int16_t)options->priority);
    else
        params_null(&params);
    params_int32(&params, (int32_t)options->count);
    int failed = store_wait(client->store, SQL_RUN_ENQUEUE, &params, 0, &result, error);
    store_params_free(&params);
    if (failed != 0)
        return -1;
    int64_t *ids = row_int64s(result, 0, 0, &count);
    PQclear(result);
    if (count == 0)
        failed = error_set(error, ERROR_NOT_FOUND,
                           "no job is called \"%s\"; `rota get jobs` lists them", options->job);
    if (count > 0 && options->json)
        fputs("{\"runs\":[", stdout);
    for (size_t i = 0; i < count; i++)
        printf(options->json ? "%s%lld" : "%s%lld\n", options->json && i > 0 ? "," : "",
               (long long)ids[i]);
    if (count > 0 && options->json)
        fputs("]}\n", stdout);
    free(ids);
    return failed;
}

static int word(const char *word, void *arg, struct rota_error *error)
{
    struct options *options = arg;
    if (options->job != NULL)
        return error_set(error, ERROR_USAGE, "one job at a time: \"%s\" is a second name", word);
    options->job = word;
    return 0;
}

static int check(void *arg, struct rota_error *error)
{
    const struct options *options = arg;
    if (options->job == NULL)
        return error_set(error, ERROR_USAGE, "which job? Give its name");
    if (options->at_us != STORE_NULL_TIME && options->in_us > 0)
        return error_set(error, ERROR_USAGE, "--at and --in exclude each other");
    return 0;
}

int cmd_enqueue(int argc, char **argv)
{
    static const char *const own[] = {"--data",  "--at",   "--in", "--priority",
                                      "--count", "--json", NULL};
    static const struct client_command command = {.name = "enqueue",
                                                  .help = help_text,
                                                  .own = own,
                                                  .scope = SCOPE_ENQUEUE,
                                                  .take = take,
                                                  .word = word,
                                                  .check = check,
                                                  .once = ONCE_TEXT,
                                                  .run = run};
    struct options options = {.at_us = STORE_NULL_TIME, .count = 1};
    return client_main(&command, &options, argc, argv);
}
