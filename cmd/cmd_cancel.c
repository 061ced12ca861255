/* `rota cancel RUN…` and `rota cancel --job J`: ends runs, waiting or running. */
#include "base/buffer.h"
#include "cmd/client.h"
#include "cmd/run_list.h"
#include "cmd/terminal.h"
#include "coord/apply.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BATCH_RUNS 500 /* of one transaction: each waits for who is about to claim a run of it */
#define REASON_MAX 250 /* characters; what the database checks */

static const char help_text[] =
    "Usage: rota cancel RUN… [--reason TEXT] [--json]\n"
    "       rota cancel --job JOB [--reason TEXT] [--json]\n"
    "\n"
    "Ends runs and says of each what became of it: `cancelled` where it waited; `requested` where\n"
    "it runs: its worker is told, and ended if it does not heed that; `finished`: it was over\n"
    "before. A cancelled run is not tried again. With --job, all runs the job has now.\n"
    "\n"
    "  --job JOB      all waiting and running runs of this job\n"
    "  --reason TEXT  for the history and the workers\n"
    "  --json         one JSON document\n"
    "\n";

enum answer { CANCELLED, REQUESTED, FINISHED, NOT_FOUND, ANSWERS };
static const char *const answers[] = {"cancelled", "requested", "finished", "not_found"};

struct options {
    struct run_list runs;
    const char *job;
    const char *reason;
    bool json;
};

struct outcome {
    size_t counts[ANSWERS];
    int64_t unknown;       /* a run that is not there; 0: none */
    struct buffer *listed; /* NULL: not one by one */
};

static enum answer answer_of(const char *text)
{
    enum answer answer = CANCELLED;
    while (answer < NOT_FOUND && strcmp(text, answers[answer]) != 0)
        answer++;
    return answer;
}

static int cancel_batch(struct client *client, const struct options *options, const int64_t *ids,
                        size_t count, struct outcome *outcome, struct rota_error *error)
{
    struct store_params params = {0};
    PGresult *result;
    params_int64s(&params, ids, count);
    params_text(&params, options->reason);
    int failed =
        client_act_runs(client, "cancel", SQL_RUN_CANCEL, &params, ids, count, &result, error);
    store_params_free(&params);
    if (failed != 0)
        return -1;
    for (int i = 0; i < PQntuples(result); i++) {
        long long run = row_int64(result, i, 0);
        enum answer answer = answer_of(row_text(result, i, 1));
        outcome->counts[answer]++;
        if (answer == NOT_FOUND && outcome->unknown == 0)
            outcome->unknown = run;
        if (outcome->listed != NULL)
            buffer_format(outcome->listed,
                          options->json ? "%s{\"run\":%lld,\"answer\":\"%s\"}" : "%s%lld %s\n",
                          options->json && outcome->listed->length > 0 ? "," : "", run,
                          answers[answer]);
    }
    PQclear(result);
    return 0;
}

static int cancel_runs(struct client *client, const struct options *options,
                       struct outcome *outcome, struct rota_error *error)
{
    for (size_t i = 0; i < options->runs.count; i += BATCH_RUNS) {
        size_t left = options->runs.count - i;
        if (cancel_batch(client, options, options->runs.ids + i,
                         left < BATCH_RUNS ? left : BATCH_RUNS, outcome, error) != 0)
            return -1;
    }
    return 0;
}

/* The next ids of the job; *until is set by the first page, so that what comes in later stays. */
static int next_page(struct client *client, const char *job, int64_t after, int64_t *until,
                     int64_t **ret_ids, size_t *ret_count, struct rota_error *error)
{
    struct store_params params = {0};
    PGresult *result;
    params_text(&params, job);
    params_int64(&params, after);
    if (*until > 0)
        params_int64(&params, *until);
    else
        params_null(&params);
    params_int64(&params, BATCH_RUNS);
    int failed = store_wait(client->store, SQL_RUN_OF_JOB, &params, 0, &result, error);
    store_params_free(&params);
    if (failed != 0)
        return -1;
    if (PQntuples(result) == 0) {
        PQclear(result);
        return client_unknown(client, "job", job, error);
    }
    *until = row_int64(result, 0, 0);
    *ret_ids = row_int64s(result, 0, 1, ret_count);
    PQclear(result);
    return 0;
}

static int cancel_job(struct client *client, const struct options *options, struct outcome *outcome,
                      struct rota_error *error)
{
    int64_t after = 0, until = 0, *ids = NULL;
    size_t count = 0, done = 0;
    struct terminal *terminal = terminal_new(client->base, STDERR_FILENO, error);
    int failed = terminal == NULL ? -1 : 0;
    do {
        if (failed == 0)
            failed = next_page(client, options->job, after, &until, &ids, &count, error);
        if (failed != 0)
            break;
        char text[60];
        snprintf(text, sizeof text, "cancelling: %zu done", done);
        terminal_progress(terminal, text);
        if (count > 0) {
            after = ids[count - 1];
            failed = cancel_batch(client, options, ids, count, outcome, error);
        }
        done += count;
        free(ids);
    } while (failed == 0 && count > 0);
    terminal_free(terminal);
    return failed;
}

static void print(const struct options *options, const struct outcome *outcome)
{
    size_t cancelled = outcome->counts[CANCELLED], requested = outcome->counts[REQUESTED];
    if (options->json)
        printf("{\"cancelled\":%zu,\"requested\":%zu,\"finished\":%zu,\"not_found\":%zu,\"runs\":["
               "%s]}\n",
               cancelled, requested, outcome->counts[FINISHED], outcome->counts[NOT_FOUND],
               buffer_text(outcome->listed));
    else if (options->job != NULL)
        printf("job \"%s\": %zu run%s cancelled, %zu running asked to end\n", options->job,
               cancelled, cancelled == 1 ? "" : "s", requested);
    else
        fputs(buffer_text(outcome->listed), stdout);
}

static int run(struct client *client, void *arg, struct rota_error *error)
{
    const struct options *options = arg;
    struct buffer listed = {0};
    bool one_by_one = options->job == NULL || options->json;
    struct outcome outcome = {.listed = one_by_one ? &listed : NULL};
    apply_ensure_history(client->store);
    int failed = options->job != NULL ? cancel_job(client, options, &outcome, error)
                                      : cancel_runs(client, options, &outcome, error);
    if (failed == 0)
        print(options, &outcome);
    if (failed == 0 && outcome.unknown != 0)
        failed =
            error_set(error, ERROR_NOT_FOUND, "there is no run %lld%s", (long long)outcome.unknown,
                      outcome.counts[NOT_FOUND] > 1 ? ", and there are others" : "");
    buffer_free(&listed);
    return failed;
}

static int take(int argc, char **argv, int *i, void *arg, struct rota_error *error)
{
    struct options *options = arg;
    int taken = cmd_option(argc, argv, i, "--job", &options->job, error);
    if (taken == 0)
        taken = cmd_option(argc, argv, i, "--reason", &options->reason, error);
    if (taken == 0 && strcmp(argv[*i], "--json") == 0)
        return options->json = true;
    return taken;
}

static int word(const char *word, void *arg, struct rota_error *error)
{
    return run_list_add(&((struct options *)arg)->runs, word, error);
}

static int check(void *arg, struct rota_error *error)
{
    const struct options *options = arg;
    if ((options->job != NULL) == (options->runs.count > 0))
        return error_set(error, ERROR_USAGE,
                         options->job != NULL ? "--job means all runs of the job: leave out the ids"
                                              : "which run? Give its id, or --job");
    if (strlen(options->reason) > REASON_MAX)
        return error_set(error, ERROR_USAGE, "--reason takes at most %d bytes", REASON_MAX);
    return 0;
}

int cmd_cancel(int argc, char **argv)
{
    static const char *const own[] = {"--job", "--reason", "--json", NULL};
    static const struct client_command command = {.name = "cancel",
                                                  .help = help_text,
                                                  .own = own,
                                                  .take = take,
                                                  .word = word,
                                                  .check = check,
                                                  .run = run};
    struct options options = {.reason = "cancelled by rota cancel"};
    int code = client_main(&command, &options, argc, argv);
    run_list_free(&options.runs);
    return code;
}
