/* `rota delete job|trigger NAME`: what no manifest declares any more, or until it is applied again.
 */
#include "base/buffer.h"
#include "cmd/client.h"
#include "coord/remove.h"

#include <stdio.h>
#include <string.h>

static const char help_text[] =
    "Usage: rota delete job|trigger NAME [--wait D] [--json]\n"
    "\n"
    "Deletes a job with its triggers, or one trigger. Waiting runs of it are cancelled and go to "
    "the\n"
    "history, runs that have started finish. A job that is not durable goes with its last "
    "trigger.\n"
    "A manifest that still declares it brings it back when it is applied the next time.\n"
    "\n"
    "  --wait DURATION  how long to wait for an apply to end (default: 30s)\n"
    "  --json           one JSON document\n"
    "\n";

struct options {
    const char *noun; /* "job" or "trigger" */
    const char *name;
    int64_t wait_us;
    bool json;
};

static void print_json(const struct options *options, const struct removal *removal)
{
    struct buffer out = {0};
    buffer_format(&out, "{\"deleted\":\"%s\",\"name\":", options->noun);
    buffer_json(&out, options->name, strlen(options->name));
    buffer_string(&out, ",\"job\":");
    buffer_json(&out, removal->job, strlen(removal->job));
    buffer_string(&out, ",\"source\":");
    buffer_json(&out, removal->source, strlen(removal->source));
    buffer_format(&out, ",\"job_deleted\":%s,\"triggers_deleted\":%lld,\"runs_cancelled\":%lld}",
                  removal->job_gone ? "true" : "false", (long long)removal->triggers_gone,
                  (long long)removal->runs_cancelled);
    puts(buffer_text(&out));
    buffer_free(&out);
}

static void print_text(const struct options *options, const struct removal *removal)
{
    long long triggers = removal->triggers_gone, runs = removal->runs_cancelled;
    bool job = strcmp(options->noun, "job") == 0;
    printf("deleted %s \"%s\"", options->noun, options->name);
    if (job && triggers > 0)
        printf(" with %lld trigger%s", triggers, triggers == 1 ? "" : "s");
    if (!job)
        printf(" of job \"%s\"", removal->job);
    if (!job && removal->job_gone)
        fputs(", and the job, as this was its last trigger and it is not durable", stdout);
    printf("; %lld waiting run%s cancelled\n", runs, runs == 1 ? "" : "s");
}

static int run(struct client *client, void *arg, struct rota_error *error)
{
    const struct options *options = arg;
    struct audit audit = client_audit(client, "delete", options->noun, options->name);
    const struct apply_options how = {.base = client->base,
                                      .wait_us = options->wait_us,
                                      .audit = client_audits(client) ? &audit : NULL};
    struct removal removal = {0};
    int failed = strcmp(options->noun, "job") == 0
                     ? remove_job(client->store, options->name, &how, &removal, error)
                     : remove_trigger(client->store, options->name, &how, &removal, error);
    audit_free(&audit);
    if (failed != 0)
        return error->code == ERROR_NOT_FOUND
                   ? client_unknown(client, options->noun, options->name, error)
                   : -1;
    if (options->json)
        print_json(options, &removal);
    else
        print_text(options, &removal);
    removal_free(&removal);
    return 0;
}

static int take(int argc, char **argv, int *i, void *arg, struct rota_error *error)
{
    struct options *options = arg;
    const char *value;
    int taken = cmd_option(argc, argv, i, "--wait", &value, error);
    if (taken > 0 && client_duration("--wait", value, &options->wait_us, error) != 0)
        return -1;
    if (taken == 0 && strcmp(argv[*i], "--json") == 0)
        return options->json = true;
    return taken;
}

static int word(const char *word, void *arg, struct rota_error *error)
{
    struct options *options = arg;
    if (options->noun == NULL) {
        if (strcmp(word, "job") != 0 && strcmp(word, "trigger") != 0)
            return error_set(error, ERROR_USAGE,
                             "cannot delete a \"%s\": write job NAME or trigger NAME", word);
        options->noun = word;
        return 0;
    }
    if (options->name != NULL)
        return error_set(error, ERROR_USAGE, "one name at a time: \"%s\" is a second one", word);
    options->name = word;
    return 0;
}

static int check(void *arg, struct rota_error *error)
{
    const struct options *options = arg;
    if (options->noun == NULL)
        return error_set(error, ERROR_USAGE, "what? Write job NAME or trigger NAME");
    if (options->name == NULL)
        return error_set(error, ERROR_USAGE, "which %s? Give its name", options->noun);
    return 0;
}

int cmd_delete(int argc, char **argv)
{
    static const char *const own[] = {"--wait", "--json", NULL};
    static const struct client_command command = {.name = "delete",
                                                  .help = help_text,
                                                  .own = own,
                                                  .take = take,
                                                  .word = word,
                                                  .check = check,
                                                  .run = run};
    struct options options = {0};
    return client_main(&command, &options, argc, argv);
}
