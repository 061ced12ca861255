/*
 * `rota pause` and `rota resume`: stop triggers and hold waiting runs, of a trigger, a job, a
 * source or the whole fleet. The work is done by functions of the schema, so that SQL can do the
 * same.
 */
#include "base/buffer.h"
#include "base/text.h"
#include "cmd/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char pause_help[] =
    "Usage: rota pause trigger|job|source NAME [--wait D] [--json]\n"
    "       rota pause all [--wait D] [--json]\n"
    "\n"
    "Stops triggers from firing, on every node at once; runs that have started finish. The pause "
    "of\n"
    "a job, a source or all also holds their waiting runs; that of a trigger stops the trigger\n"
    "alone. It survives restarts and applies to what is added later, so a source may be paused\n"
    "before it declares anything. `rota fire` fires a paused trigger, if its job is not paused.\n"
    "\n"
    "  --wait DURATION  how long to wait for an apply to end (default: 30s)\n"
    "  --json           one JSON document\n"
    "\n";

static const char resume_help[] =
    "Usage: rota resume trigger|job|source NAME [--catch-up] [--wait D] [--json]\n"
    "       rota resume all [--catch-up] [--wait D] [--json]\n"
    "\n"
    "Takes back the pause of the same scope and name; what is paused by another one, too, stays\n"
    "paused. Held runs go on. Occurrences that fell meanwhile are counted as missed and passed "
    "over.\n"
    "\n"
    "  --catch-up       the misfire policy decides about them instead\n"
    "  --wait DURATION  how long to wait for an apply to end (default: 30s)\n"
    "  --json           one JSON document\n"
    "\n";

static const char *const scopes[] = {"trigger", "job", "source", "all"};
#define SCOPE_COUNT (sizeof scopes / sizeof *scopes)

struct options {
    bool resume;
    const char *scope; /* one of scopes[] */
    const char *name;
    int64_t wait_us;
    bool catch_up;
    bool json;
};

/* How things stand after the change. */
struct standing {
    int64_t changed;
    int64_t jobs, stopped, held;
    char **reasons; /* by which names something of the scope is paused */
    size_t reason_count;
};

static int not_found(struct client *client, const struct options *options, struct rota_error *error)
{
    if (strcmp(options->scope, "source") != 0)
        return client_unknown(client, options->scope, options->name, error);
    return error_set(error, ERROR_NOT_FOUND,
                     "no job is of source \"%s\", and it is not paused; `rota get jobs` shows the "
                     "sources",
                     options->name);
}

static int set(struct client *client, const struct options *options, int64_t *ret_changed,
               struct rota_error *error)
{
    struct store_params params = {0};
    PGresult *result;
    params_text(&params, options->scope);
    params_text(&params, options->name);
    if (options->resume)
        params_bool(&params, options->catch_up);
    struct audit audit = client_audit(client, options->resume ? "resume" : "pause", options->scope,
                                      options->name != NULL ? options->name : "all");
    int failed = client_wait_turn(client, options->resume ? SQL_PAUSE_CLEAR : SQL_PAUSE_SET,
                                  &params, &audit, options->wait_us, &result, error);
    store_params_free(&params);
    if (failed != 0)
        return -1;
    if (row_null(result, 0, 0))
        failed = not_found(client, options, error);
    else
        *ret_changed = row_int64(result, 0, 0);
    PQclear(result);
    return failed;
}

static int look(struct client *client, const struct options *options, struct standing *standing,
                struct rota_error *error)
{
    struct store_params params = {0};
    PGresult *result;
    params_text(&params, options->scope);
    params_text(&params, options->name);
    int failed = store_wait(client->store, SQL_PAUSE_SHOW, &params, 0, &result, error);
    store_params_free(&params);
    if (failed != 0)
        return -1;
    standing->jobs = row_int64(result, 0, 0);
    standing->stopped = row_int64(result, 0, 1);
    standing->held = row_int64(result, 0, 2);
    standing->reasons = row_texts(result, 0, 3, &standing->reason_count);
    PQclear(result);
    return 0;
}

static void put_text(struct buffer *out, const char *key, const char *text)
{
    buffer_format(out, ",\"%s\":", key);
    if (text != NULL)
        buffer_json(out, text, strlen(text));
    else
        buffer_string(out, "null");
}

static void print_json(const struct options *options, const struct standing *standing)
{
    struct buffer out = {0};
    buffer_format(&out, "{\"action\":\"%s\"", options->resume ? "resume" : "pause");
    put_text(&out, "scope", options->scope);
    put_text(&out, "name", options->name);
    buffer_format(&out, ",\"triggers_changed\":%lld,\"triggers_paused\":%lld,\"runs_held\":%lld",
                  (long long)standing->changed, (long long)standing->stopped,
                  (long long)standing->held);
    buffer_string(&out, ",\"paused_by\":[");
    for (size_t i = 0; i < standing->reason_count; i++)
        buffer_format(&out, "%s\"%s\"", i > 0 ? "," : "", standing->reasons[i]);
    buffer_string(&out, "]}");
    puts(buffer_text(&out));
    buffer_free(&out);
}

static const char *plural(int64_t count)
{
    return count == 1 ? "" : "s";
}

static void print_rest(const struct options *options, const struct standing *standing)
{
    if (options->resume && standing->reason_count > 0) {
        printf("; %lld trigger%s and %lld waiting run%s stay paused, by ",
               (long long)standing->stopped, plural(standing->stopped), (long long)standing->held,
               plural(standing->held));
        for (size_t i = 0; i < standing->reason_count; i++)
            printf("%s%s", i > 0 ? ", " : "", standing->reasons[i]);
    } else if (!options->resume && strcmp(options->scope, "trigger") != 0) {
        printf(", %lld waiting run%s held", (long long)standing->held, plural(standing->held));
    }
    if (!options->resume && strcmp(options->scope, "source") == 0 && standing->jobs == 0)
        fputs("; no job is of this source yet, the pause applies to what it declares", stdout);
    putchar('\n');
}

static void print_text(const struct options *options, const struct standing *standing)
{
    printf("%s %s", options->resume ? "resumed" : "paused", options->scope);
    if (options->name != NULL)
        printf(" \"%s\"", options->name);
    if (strcmp(options->scope, "trigger") != 0)
        printf(": %lld trigger%s %s", (long long)standing->changed, plural(standing->changed),
               options->resume ? "started" : "stopped");
    else if (standing->changed == 0 && !options->resume)
        fputs(": it was stopped already", stdout);
    else if (standing->changed == 0 && standing->stopped == 0)
        fputs(": it was not paused", stdout);
    print_rest(options, standing);
}

static int run(struct client *client, void *arg, struct rota_error *error)
{
    const struct options *options = arg;
    struct standing standing = {0};
    if (set(client, options, &standing.changed, error) != 0 ||
        look(client, options, &standing, error) != 0)
        return -1;
    if (options->json)
        print_json(options, &standing);
    else
        print_text(options, &standing);
    free(standing.reasons);
    return 0;
}

/* ---- arguments ---- */

static int take(int argc, char **argv, int *i, void *arg, struct rota_error *error)
{
    struct options *options = arg;
    const char *value;
    int taken = cmd_option(argc, argv, i, "--wait", &value, error);
    if (taken > 0 && client_duration("--wait", value, &options->wait_us, error) != 0)
        return -1;
    if (taken != 0)
        return taken;
    if (strcmp(argv[*i], "--json") == 0)
        return options->json = true;
    if (options->resume && strcmp(argv[*i], "--catch-up") == 0)
        return options->catch_up = true;
    return 0;
}

static int unknown_scope(const char *word, struct rota_error *error)
{
    const char *nearest = text_nearest(word, scopes, SCOPE_COUNT);
    if (nearest != NULL)
        return error_set(error, ERROR_USAGE, "\"%s\" is no scope: did you mean %s?", word, nearest);
    return error_set(error, ERROR_USAGE,
                     "\"%s\" is no scope: write trigger, job or source with a name, or all", word);
}

static int word(const char *word, void *arg, struct rota_error *error)
{
    struct options *options = arg;
    if (options->scope == NULL) {
        for (size_t i = 0; i < SCOPE_COUNT; i++)
            if (strcmp(scopes[i], word) == 0)
                options->scope = scopes[i];
        return options->scope != NULL ? 0 : unknown_scope(word, error);
    }
    if (strcmp(options->scope, "all") == 0)
        return error_set(error, ERROR_USAGE, "all takes no name: \"%s\" is one too many", word);
    if (options->name != NULL)
        return error_set(error, ERROR_USAGE, "one name at a time: \"%s\" is a second one", word);
    if (*word == '\0')
        return error_set(error, ERROR_USAGE, "the name is empty");
    options->name = word;
    return 0;
}

static int check(void *arg, struct rota_error *error)
{
    const struct options *options = arg;
    if (options->scope == NULL)
        return error_set(error, ERROR_USAGE, "what? trigger, job or source with a name, or all");
    if (options->name == NULL && strcmp(options->scope, "all") != 0)
        return error_set(error, ERROR_USAGE, "which %s? Give its name", options->scope);
    return 0;
}

int cmd_pause(int argc, char **argv)
{
    static const char *const own[] = {"--wait", "--json", NULL};
    static const struct client_command command = {.name = "pause",
                                                  .help = pause_help,
                                                  .own = own,
                                                  .take = take,
                                                  .word = word,
                                                  .check = check,
                                                  .run = run};
    struct options options = {0};
    return client_main(&command, &options, argc, argv);
}

int cmd_resume(int argc, char **argv)
{
    static const char *const own[] = {"--catch-up", "--wait", "--json", NULL};
    static const struct client_command command = {.name = "resume",
                                                  .help = resume_help,
                                                  .own = own,
                                                  .take = take,
                                                  .word = word,
                                                  .check = check,
                                                  .run = run};
    struct options options = {.resume = true};
    return client_main(&command, &options, argc, argv);
}
