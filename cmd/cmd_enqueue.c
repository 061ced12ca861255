/* `rota enqueue JOB`: queues one run or many. Its arguments; the work is in enqueue.c. */
#include "base/clock.h"
#include "base/instant.h"
#include "base/memory.h"
#include "base/text.h"
#include "cmd/client.h"
#include "cmd/enqueue.h"
#include "cmd/run_wait.h"
#include "cmd/settings.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AFTER_MAX 1000
#define KEY_MAX   254 /* characters; what the database checks */

static const char help_text[] =
    "Usage: rota enqueue JOB [--data JSON | --stdin] [--at T | --in D] [--priority N] [--count N]\n"
    "                    [--key K] [--on-conflict MODE] [--after RUN[,RUN…] [--after-any]]\n"
    "                    [--expires-in D] [--traceparent T] [--wait [D]] [--json]\n"
    "\n"
    "Queues runs of a job and prints the id of each. All runs of one call are queued in one\n"
    "transaction: all of them, or none.\n"
    "\n"
    "  --data JSON         object laid over the job's data\n"
    "  --stdin             a run for each line of the input, which is its data: a JSON object\n"
    "  --at T              start no earlier than this (RFC 3339)\n"
    "  --in D              start no earlier than this much from now (90s, 5m, 1d)\n"
    "  --priority N        1 to 100 instead of the job's\n"
    "  --count N           that many runs (up to 100000)\n"
    "  --key K             what makes the run unique, instead of what the job says\n"
    "  --on-conflict MODE  where another run has the key: reject (the default), existing (its "
    "id),\n"
    "                      replace (its data and time), keep_time (its data only)\n"
    "  --after RUN[,RUN…]  start when these have succeeded; cancelled if one of them does not\n"
    "  --after-any         whatever becomes of them\n"
    "  --expires-in D      dropped if it has not started so long after its time\n"
    "  --traceparent T     W3C trace context, handed to the worker\n"
    "  --wait [D]          until it is over (for D at most): shows progress and its log, prints "
    "what\n"
    "                      it leaves; exit 0 success, 1 not, 5 not over in time, 130 Ctrl-C (it "
    "goes\n"
    "                      on)\n"
    "  --json              {\"runs\":[…],\"conflicts\":[…]}\n"
    "\n";

struct options {
    struct enqueue enqueue;
    const char *data;
    int64_t count; /* 0: not said */
    struct run_wait_option wait;
    bool standard_input;
    bool json;
};

/* ---- values ---- */

static int take_after(const char *value, struct enqueue *enqueue, struct rota_error *error)
{
    for (const char *at = value;; at++) {
        size_t length = strcspn(at, ",");
        int64_t run;
        if (text_int64(at, length, &run) != 0 || run < 1)
            return error_set(error, ERROR_USAGE,
                             "--after takes ids of runs such as 17 or 17,18, not \"%s\"", value);
        if (enqueue->after_count == AFTER_MAX)
            return error_set(error, ERROR_USAGE, "--after takes at most %d runs", AFTER_MAX);
        enqueue->after = mem_resize(enqueue->after, enqueue->after_count + 1, sizeof run);
        enqueue->after[enqueue->after_count++] = run;
        at += length;
        if (*at == '\0')
            return 0;
    }
}

static int check_key(const char *key, struct rota_error *error)
{
    size_t characters = 0;
    for (const char *at = key; *at != '\0'; at++)
        characters += ((unsigned char)*at & 0xc0) != 0x80;
    if (characters < 1 || characters > KEY_MAX || !text_is_utf8(key, strlen(key)))
        return error_set(error, ERROR_USAGE, "--key takes 1 to %d characters of UTF-8", KEY_MAX);
    return 0;
}

static int check_mode(const char *mode, struct rota_error *error)
{
    static const char *const modes[] = {"reject", "existing", "replace", "keep_time"};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (strcmp(mode, modes[i]) == 0)
            return 0;
    return error_set(error, ERROR_USAGE,
                     "--on-conflict must be reject, existing, replace or keep_time, not \"%s\"",
                     mode);
}

/* W3C Trace Context, version 00: the worker hands it on to what believes in its shape. */
static int check_trace(const char *trace, struct rota_error *error)
{
    static const char shape[] = "00-hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh-hhhhhhhhhhhhhhhh-hh";
    size_t i = 0;
    while (shape[i] != '\0' && (shape[i] == 'h' ? isdigit((unsigned char)trace[i]) ||
                                                      (trace[i] >= 'a' && trace[i] <= 'f')
                                                : trace[i] == shape[i]))
        i++;
    if (shape[i] != '\0' || trace[i] != '\0')
        return error_set(error, ERROR_USAGE,
                         "--traceparent must be as in "
                         "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01, not \"%s\"",
                         trace);
    return 0;
}

static int take_time(const char *value, int64_t *ret_time_us, struct rota_error *error)
{
    if (instant_parse(value, ret_time_us) != 0)
        return error_set(error, ERROR_USAGE,
                         "--at \"%s\" is no instant: write 2026-12-24T18:00:00Z or with an offset",
                         value);
    return 0;
}

static int take_delay(const char *value, int64_t *ret_delay_us, struct rota_error *error)
{
    if (duration_parse(value, ret_delay_us) != 0)
        return error_set(error, ERROR_USAGE, "--in \"%s\" is no duration: write 90s, 5m, 2h or 1d",
                         value);
    return 0;
}

/* ---- arguments ---- */

static const char *const own[] = {"--data",        "--at",         "--in",    "--priority",
                                  "--count",       "--key",        "--after", "--on-conflict",
                                  "--traceparent", "--expires-in", "--wait",  "--after-any",
                                  "--stdin",       "--json",       NULL};

enum option { DATA, AT, IN, PRIORITY, COUNT, KEY, AFTER, ON_CONFLICT, TRACEPARENT, EXPIRES_IN };
#define WITH_VALUE (EXPIRES_IN + 1)

static int take_value(struct options *options, enum option option, const char *value,
                      struct rota_error *error)
{
    struct enqueue *enqueue = &options->enqueue;
    switch (option) {
    case DATA:
        options->data = value;
        return enqueue_check_data(slice_of(value), "--data", ERROR_USAGE, error);
    case AT:
        return take_time(value, &enqueue->at_us, error);
    case IN:
        return take_delay(value, &enqueue->in_us, error);
    case PRIORITY:
        return client_number("--priority", value, 1, 100, &enqueue->priority, error);
    case COUNT:
        return client_number("--count", value, 1, ENQUEUE_RUNS_MAX, &options->count, error);
    case KEY:
        enqueue->key = value;
        return check_key(value, error);
    case AFTER:
        return take_after(value, enqueue, error);
    case ON_CONFLICT:
        enqueue->on_conflict = value;
        return check_mode(value, error);
    case TRACEPARENT:
        enqueue->traceparent = value;
        return check_trace(value, error);
    case EXPIRES_IN:
        return client_duration("--expires-in", value, &enqueue->expires_us, error);
    }
    abort();
}

/* 1 taken, 0 not an option of ours, -1 wrong. */
static int take(int argc, char **argv, int *i, void *arg, struct rota_error *error)
{
    struct options *options = arg;
    const char *value;
    for (size_t option = 0; option < WITH_VALUE; option++) {
        int taken = cmd_option(argc, argv, i, own[option], &value, error);
        if (taken != 0)
            return taken < 0 || take_value(options, (enum option)option, value, error) != 0 ? -1
                                                                                            : 1;
    }
    int taken = run_wait_option(argc, argv, i, &options->wait, error);
    if (taken != 0)
        return taken;
    if (strcmp(argv[*i], "--json") == 0)
        return options->json = true;
    if (strcmp(argv[*i], "--stdin") == 0)
        return options->standard_input = true;
    if (strcmp(argv[*i], "--after-any") == 0)
        return options->enqueue.after_any = true;
    return 0;
}

static int word(const char *word, void *arg, struct rota_error *error)
{
    struct options *options = arg;
    if (options->enqueue.job != NULL)
        return error_set(error, ERROR_USAGE, "one job at a time: \"%s\" is a second name", word);
    options->enqueue.job = word;
    return 0;
}

static int check(void *arg, struct rota_error *error)
{
    const struct options *options = arg;
    const struct enqueue *enqueue = &options->enqueue;
    bool many = options->standard_input || options->count > 1;
    bool replaces =
        enqueue->on_conflict != NULL && (strcmp(enqueue->on_conflict, "replace") == 0 ||
                                         strcmp(enqueue->on_conflict, "keep_time") == 0);
    if (enqueue->job == NULL)
        return error_set(error, ERROR_USAGE, "which job? Give its name");
    if (enqueue->at_us != STORE_NULL_TIME && enqueue->in_us > 0)
        return error_set(error, ERROR_USAGE, "--at and --in exclude each other");
    if (options->standard_input && (options->data != NULL || options->count > 0))
        return error_set(error, ERROR_USAGE,
                         "--stdin has a line for each run: leave out --data and --count");
    if (options->wait.wanted && many)
        return error_set(error, ERROR_USAGE,
                         options->standard_input
                             ? "--wait waits for one run, not for those of --stdin"
                             : "--wait waits for one run, not for %lld",
                         (long long)options->count);
    if (enqueue->key != NULL && many)
        return error_set(error, ERROR_USAGE,
                         "--key is the key of one run; for many, \"unique\" in the manifest of the "
                         "job takes it from their data");
    if (enqueue->after_any && enqueue->after_count == 0)
        return error_set(error, ERROR_USAGE,
                         "--after-any says how --after is meant: give that too");
    if (enqueue->after_count > 0 && replaces)
        return error_set(error, ERROR_USAGE, "--after and --on-conflict %s exclude each other",
                         enqueue->on_conflict);
    return 0;
}

/* ---- doing it ---- */

static void print_json(const struct enqueue_answer *answers, size_t count)
{
    const char *between = "";
    fputs("{\"runs\":[", stdout);
    for (size_t i = 0; i < count; i++)
        printf("%s%lld", i > 0 ? "," : "", (long long)answers[i].run);
    fputs("],\"conflicts\":[", stdout);
    for (size_t i = 0; i < count; i++) {
        if (answers[i].conflict[0] == '\0')
            continue;
        printf("%s{\"index\":%zu,\"run\":%lld,\"conflict\":\"%s\"}", between, i,
               (long long)answers[i].run, answers[i].conflict);
        between = ",";
    }
    fputs("]}\n", stdout);
}

static int run(struct client *client, void *arg, struct rota_error *error)
{
    struct options *options = arg;
    struct enqueue_data data = {.same = slice_of(options->data),
                                .count = options->count > 0 ? (size_t)options->count : 1};
    struct enqueue_answer *answers = NULL;
    if (options->standard_input && enqueue_read(STDIN_FILENO, &data, error) != 0)
        return -1;
    options->enqueue.watched = options->wait.wanted;
    int failed = options->wait.wanted ? run_wait_listen(client, error) : 0;
    if (failed == 0)
        failed = enqueue_runs(client, &options->enqueue, &data, &answers, error);
    if (failed == 0 && options->wait.wanted)
        failed = run_wait(client, answers[0].run, options->wait.us, options->json, error);
    else if (failed == 0 && options->json)
        print_json(answers, data.count);
    else if (failed == 0)
        for (size_t i = 0; i < data.count; i++)
            printf("%lld\n", (long long)answers[i].run);
    free(answers);
    enqueue_data_free(&data);
    return failed;
}

int cmd_enqueue(int argc, char **argv)
{
    static const struct client_command command = {.name = "enqueue",
                                                  .help = help_text,
                                                  .own = own,
                                                  .scope = SCOPE_ENQUEUE,
                                                  .take = take,
                                                  .word = word,
                                                  .check = check,
                                                  .once = CLIENT_RUN_ONCE,
                                                  .run = run};
    struct options options = {.enqueue.at_us = STORE_NULL_TIME};
    int code = client_main(&command, &options, argc, argv);
    free(options.enqueue.after);
    return code;
}
