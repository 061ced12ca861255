/*
 * `rota retry` and `rota discard`: finished runs once more, or never again; by their ids, or all
 * that failed and that nobody has settled.
 */
#include "base/buffer.h"
#include "base/clock.h"
#include "base/instant.h"
#include "base/memory.h"
#include "cmd/client.h"
#include "cmd/run_list.h"
#include "cmd/terminal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BATCH_RUNS 500 /* of one transaction */
#define LIMIT_MAX  1000000000

#define FILTERS                                                                                    \
    "  --failed        all failed runs of the history that were not settled so: those of\n"        \
    "                  outcome cancelled or expired only if --outcome says so\n"                   \
    "  --job JOB       of this job\n"                                                              \
    "  --outcome O     failed, timeout, lost, poison, cancelled, expired …: as `rota get "       \
    "history`\n"                                                                                   \
    "  --since T|D     that ended at this time (RFC 3339) or later, or so long ago at most\n"      \
    "  --until T       that ended before\n"                                                        \
    "  --limit N       that many at most, the oldest first\n"                                      \
    "  --dry-run       says which it would be, and does nothing\n"

static const char retry_help[] =
    "Usage: rota retry RUN… [--again] [--json]\n"
    "       rota retry --failed [--job JOB] [--outcome O] [--since T|D] [--until T] [--limit N]\n"
    "                  [--dry-run] [--json]\n"
    "\n"
    "Runs finished runs once more: as new runs, with the data and the trigger they had. Prints "
    "the\n"
    "ids of the new ones. A run that was run again, or discarded, is not run again by mistake.\n"
    "\n" FILTERS "  --again         those, too, that were run again or discarded before\n"
    "  --json          one JSON document\n"
    "\n";

static const char discard_help[] =
    "Usage: rota discard RUN… [--json]\n"
    "       rota discard --failed [--job JOB] [--outcome O] [--since T|D] [--until T] [--limit N]\n"
    "                    [--dry-run] [--json]\n"
    "\n"
    "Failed runs are settled: `rota retry --failed` does not see them any more. They stay in the\n"
    "history.\n"
    "\n" FILTERS "  --json          one JSON document\n"
    "\n";

struct options {
    bool discard;
    struct run_list runs;
    bool failed;
    const char *job, *outcome; /* NULL: any */
    int64_t since_us, until_us;
    int64_t ago_us;
    int64_t limit;
    bool dry_run, again, json;
};

struct outcome {
    struct buffer listed;
    size_t done, seen;
    size_t refused;   /* others than those that are not there */
    int64_t unknown;  /* one that is not there; 0: none */
    char reason[200]; /* of the first that was refused */
};

static void list_run(struct outcome *outcome, const struct options *options, int64_t run,
                     int64_t fresh, const char *answer)
{
    struct buffer *out = &outcome->listed;
    if (options->json) {
        buffer_format(out, "%s{\"run\":%lld", out->length > 0 ? "," : "", (long long)run);
        if (fresh != 0)
            buffer_format(out, ",\"new\":%lld", (long long)fresh);
        buffer_format(out, ",\"answer\":\"%s\"}", answer);
    } else if (fresh != 0) {
        buffer_format(out, "%lld\n", (long long)fresh);
    }
}

__attribute__((format(printf, 2, 3))) static void refuse(struct outcome *outcome,
                                                         const char *format, ...)
{
    va_list args;
    if (outcome->refused++ > 0)
        return;
    va_start(args, format);
    vsnprintf(outcome->reason, sizeof outcome->reason, format, args);
    va_end(args);
}

/* ---- by ids ---- */

/* A row of run_again.sql or run_discard.sql. */
static void judge(const struct options *options, const PGresult *rows, int row,
                  struct outcome *outcome)
{
    int64_t run = row_int64(rows, row, 0);
    int64_t fresh = row_null(rows, row, 1) ? 0 : row_int64(rows, row, 1);
    const char *place = row_text(rows, row, 2), *answer;
    int64_t by = row_null(rows, row, 4) ? 0 : row_int64(rows, row, 4);
    bool settled = row_bool(rows, row, 3), over = place != NULL && strcmp(place, "over") == 0;
    if (fresh != 0 || (options->discard && over && !settled)) {
        answer = options->discard ? "discarded" : "retried";
        outcome->done++;
    } else if (place == NULL) {
        answer = "not_found";
        outcome->unknown = outcome->unknown == 0 ? run : outcome->unknown;
    } else if (!over) {
        answer = "not_over";
        refuse(outcome, "run %lld is not over", (long long)run);
    } else if (settled && by != 0) {
        answer = "retried_before";
        refuse(outcome, "run %lld was run again before, as run %lld", (long long)run,
               (long long)by);
    } else if (settled) {
        answer = "discarded_before";
        refuse(outcome, "run %lld was discarded before", (long long)run);
    } else {
        answer = "job_gone";
        refuse(outcome, "the job of run %lld is not there any more", (long long)run);
    }
    list_run(outcome, options, run, fresh, answer);
}

static int settle(struct client *client, const struct options *options, const int64_t *ids,
                  size_t count, struct outcome *outcome, struct rota_error *error)
{
    struct store_params params = {0};
    PGresult *result;
    params_int64s(&params, ids, count);
    if (!options->discard)
        params_bool(&params, options->again);
    int failed = client_act_runs(client, options->discard ? "discard" : "retry",
                                 options->discard ? SQL_RUN_DISCARD : SQL_RUN_AGAIN, &params, ids,
                                 count, &result, error);
    store_params_free(&params);
    if (failed != 0) {
        client_plain(error);
        return outcome->done == 0 ? -1
                                  : error_prefix(error, "stopped after %zu runs", outcome->done);
    }
    for (int i = 0; i < PQntuples(result); i++)
        judge(options, result, i, outcome);
    PQclear(result);
    return 0;
}

static int settle_named(struct client *client, const struct options *options,
                        struct outcome *outcome, struct rota_error *error)
{
    for (size_t i = 0; i < options->runs.count; i += BATCH_RUNS) {
        size_t left = options->runs.count - i;
        if (settle(client, options, options->runs.ids + i, left < BATCH_RUNS ? left : BATCH_RUNS,
                   outcome, error) != 0)
            return -1;
    }
    return 0;
}

/* ---- all that failed ---- */

/* Where the next page begins. */
struct place {
    int64_t since_us, beyond, until_us;
};

static int next_page(struct client *client, const struct options *options,
                     const struct place *place, int64_t limit, PGresult **ret_rows,
                     struct rota_error *error)
{
    struct store_params params = {0};
    params_text(&params, options->job);
    params_text(&params, options->outcome);
    params_time(&params, place->since_us);
    params_int64(&params, options->ago_us / US_PER_MS);
    params_time(&params, place->until_us);
    params_int64(&params, limit);
    if (place->beyond != 0)
        params_int64(&params, place->beyond);
    else
        params_null(&params);
    params_bool(&params, !options->discard);
    int failed = store_wait(client->store, SQL_RUN_DEAD, &params, 0, ret_rows, error);
    store_params_free(&params);
    return failed;
}

/* What a dry run says of a page. */
static void show_page(const struct options *options, const PGresult *rows, struct outcome *outcome)
{
    char ended[TIME_TEXT_SIZE];
    struct buffer *out = &outcome->listed;
    for (int i = 0; i < PQntuples(rows); i++) {
        const char *task = row_text(rows, i, 1), *how = row_text(rows, i, 2);
        long long run = row_int64(rows, i, 0);
        instant_format(row_time(rows, i, 3), ended);
        if (!options->json) {
            buffer_format(out, "%lld  %s  %s  %s\n", run, task, how, ended);
            continue;
        }
        buffer_format(out, "%s{\"run\":%lld,\"job\":", out->length > 0 ? "," : "", run);
        buffer_json(out, task, strlen(task));
        buffer_string(out, ",\"outcome\":");
        buffer_json(out, how, strlen(how));
        buffer_format(out, ",\"ended_at\":\"%s\"}", ended);
    }
    outcome->done += (size_t)PQntuples(rows);
}

static int settle_page(struct client *client, const struct options *options, const PGresult *rows,
                       struct place *place, struct outcome *outcome, struct rota_error *error)
{
    int count = PQntuples(rows);
    int64_t ids[BATCH_RUNS];
    for (int i = 0; i < count; i++)
        ids[i] = row_int64(rows, i, 0);
    place->since_us = row_time(rows, count - 1, 3);
    place->beyond = ids[count - 1];
    if (place->until_us == STORE_NULL_TIME) /* what fails from now on is left alone */
        place->until_us = row_time(rows, 0, 4);
    outcome->seen += (size_t)count;
    if (options->dry_run) {
        show_page(options, rows, outcome);
        return 0;
    }
    return settle(client, options, ids, (size_t)count, outcome, error);
}

static int settle_failed(struct client *client, const struct options *options,
                         struct outcome *outcome, struct rota_error *error)
{
    struct place place = {.since_us = options->since_us, .until_us = options->until_us};
    struct terminal *terminal = terminal_new(client->base, STDERR_FILENO, error);
    int failed = terminal == NULL ? -1 : 0;
    bool more = true;
    while (failed == 0 && more) {
        char text[60];
        PGresult *rows;
        int64_t left = options->limit - (int64_t)outcome->seen;
        snprintf(text, sizeof text, "%zu runs done", outcome->done);
        terminal_progress(terminal, text);
        failed =
            next_page(client, options, &place, left < BATCH_RUNS ? left : BATCH_RUNS, &rows, error);
        if (failed != 0)
            break;
        more = PQntuples(rows) > 0;
        if (more)
            failed = settle_page(client, options, rows, &place, outcome, error);
        more = more && (int64_t)outcome->seen < options->limit;
        PQclear(rows);
    }
    terminal_free(terminal);
    return failed;
}

/* ---- the whole ---- */

static void print(const struct options *options, struct outcome *outcome)
{
    const char *done = options->discard ? "discarded" : "retried";
    if (options->json)
        printf("{\"%s\":%zu,\"dry_run\":%s,\"runs\":[%s]}\n", done, outcome->done,
               options->dry_run ? "true" : "false", buffer_text(&outcome->listed));
    else
        fputs(buffer_text(&outcome->listed), stdout);
    if (!options->json && (options->dry_run || options->discard))
        printf("%zu run%s %s%s\n", outcome->done, outcome->done == 1 ? "" : "s",
               options->dry_run ? "would be " : "", done);
}

static int check_job(struct client *client, const char *job, struct rota_error *error)
{
    struct store_params params = {0};
    PGresult *result;
    params_text(&params, job);
    int failed = store_wait(client->store, SQL_RUN_TASK_KNOWN, &params, 0, &result, error);
    store_params_free(&params);
    if (failed != 0)
        return -1;
    bool known = row_bool(result, 0, 0);
    PQclear(result);
    return known ? 0 : client_unknown(client, "job", job, error);
}

static int run(struct client *client, void *arg, struct rota_error *error)
{
    const struct options *options = arg;
    struct outcome outcome = {0};
    int failed = options->job != NULL ? check_job(client, options->job, error) : 0;
    if (failed == 0)
        failed = options->failed ? settle_failed(client, options, &outcome, error)
                                 : settle_named(client, options, &outcome, error);
    if (failed == 0)
        print(options, &outcome);
    if (failed == 0 && outcome.unknown != 0)
        failed = error_set(error, ERROR_NOT_FOUND, "there is no run %lld in the history",
                           (long long)outcome.unknown);
    else if (failed == 0 && outcome.refused > 0 && !options->failed)
        failed = error_set(error, ERROR_REFUSED, "%s%s", outcome.reason,
                           outcome.refused > 1 ? ", and there are others" : "");
    buffer_free(&outcome.listed);
    return failed;
}

static int take_since(const char *value, struct options *options, struct rota_error *error)
{
    if (instant_parse(value, &options->since_us) == 0)
        return 0;
    if (duration_parse(value, &options->ago_us) == 0 && options->ago_us >= US_PER_MS)
        return 0;
    return error_set(error, ERROR_USAGE,
                     "--since \"%s\" is neither an instant nor a duration: write "
                     "2026-12-24T18:00:00Z, or 2h for two hours ago",
                     value);
}

static int take_flag(const char *word, struct options *options)
{
    if (strcmp(word, "--json") == 0)
        return options->json = true;
    if (strcmp(word, "--failed") == 0)
        return options->failed = true;
    if (strcmp(word, "--dry-run") == 0)
        return options->dry_run = true;
    if (strcmp(word, "--again") == 0 && !options->discard)
        return options->again = true;
    return 0;
}

static int take(int argc, char **argv, int *i, void *arg, struct rota_error *error)
{
    struct options *options = arg;
    const char *value;
    int taken;
    if ((taken = cmd_option(argc, argv, i, "--job", &options->job, error)) != 0)
        return taken;
    if ((taken = cmd_option(argc, argv, i, "--outcome", &options->outcome, error)) != 0)
        return taken;
    if ((taken = cmd_option(argc, argv, i, "--since", &value, error)) != 0)
        return taken < 0 || take_since(value, options, error) != 0 ? -1 : 1;
    if ((taken = cmd_option(argc, argv, i, "--until", &value, error)) != 0) {
        if (taken > 0 && instant_parse(value, &options->until_us) != 0)
            return error_set(error, ERROR_USAGE,
                             "--until \"%s\" is no instant: write 2026-12-24T18:00:00Z", value);
        return taken;
    }
    if ((taken = cmd_option(argc, argv, i, "--limit", &value, error)) != 0)
        return taken < 0 ||
                       client_number("--limit", value, 1, LIMIT_MAX, &options->limit, error) != 0
                   ? -1
                   : 1;
    return take_flag(argv[*i], options);
}

static int word(const char *word, void *arg, struct rota_error *error)
{
    return run_list_add(&((struct options *)arg)->runs, word, error);
}

static int check(void *arg, struct rota_error *error)
{
    const struct options *options = arg;
    bool filtered = options->job != NULL || options->outcome != NULL || options->ago_us > 0 ||
                    options->since_us != STORE_NULL_TIME || options->until_us != STORE_NULL_TIME ||
                    options->limit != LIMIT_MAX || options->dry_run;
    if (options->failed && options->runs.count > 0)
        return error_set(error, ERROR_USAGE, "--failed finds the runs itself: leave out the ids");
    if (!options->failed && filtered)
        return error_set(error, ERROR_USAGE,
                         "--job, --outcome, --since, --until, --limit and --dry-run go with "
                         "--failed");
    if (options->failed && options->again)
        return error_set(error, ERROR_USAGE, "--again goes with ids of runs");
    if (!options->failed && options->runs.count == 0)
        return error_set(error, ERROR_USAGE, "which run? Give its id, or --failed");
    return 0;
}

static int settle_main(bool discard, int argc, char **argv)
{
    static const char *const own[] = {"--again", "--failed", "--job",     "--outcome", "--since",
                                      "--until", "--limit",  "--dry-run", "--json",    NULL};
    const struct client_command command = {.name = discard ? "discard" : "retry",
                                           .help = discard ? discard_help : retry_help,
                                           .own = discard ? own + 1 : own,
                                           .take = take,
                                           .word = word,
                                           .check = check,
                                           .run = run};
    struct options options = {.discard = discard,
                              .since_us = STORE_NULL_TIME,
                              .until_us = STORE_NULL_TIME,
                              .limit = LIMIT_MAX};
    int code = client_main(&command, &options, argc, argv);
    run_list_free(&options.runs);
    return code;
}

int cmd_retry(int argc, char **argv)
{
    return settle_main(false, argc, argv);
}

int cmd_discard(int argc, char **argv)
{
    return settle_main(true, argc, argv);
}
