/* `rota reset TRIGGER` and `rota reset --all`: triggers out of error. */
#include "base/buffer.h"
#include "base/instant.h"
#include "cmd/client.h"
#include "coord/reset_named.h"

#include <stdio.h>
#include <string.h>

static const char help_text[] =
    "Usage: rota reset TRIGGER [--wait D] [--json]\n"
    "       rota reset --all [--wait D] [--json]\n"
    "\n"
    "Takes a trigger out of error, if what put it there is set right: its definition is evaluated\n"
    "once more, on this machine. What fell due meanwhile meets its misfire policy.\n"
    "\n"
    "  --all            every trigger that is in error\n"
    "  --wait DURATION  how long to wait for an apply to end (default: 30s)\n"
    "  --json           one JSON document\n"
    "\n";

struct options {
    const char *name; /* NULL: all */
    int64_t wait_us;
    bool all;
    bool json;
};

static void print_line(const struct reset_trigger *trigger)
{
    char next[TIME_TEXT_SIZE];
    if (trigger->error != NULL)
        printf("trigger \"%s\" stays in error: %s\n", trigger->name, trigger->error);
    else if (trigger->next_us == STORE_NULL_TIME)
        printf("reset trigger \"%s\": no further firing\n", trigger->name);
    else
        printf("reset trigger \"%s\": next firing %s\n", trigger->name,
               instant_format(trigger->next_us, next));
}

/* Those that were reset, and several that were not: one alone is what the command ends with. */
static void print_text(const struct reset_outcome *outcome)
{
    for (size_t i = 0; i < outcome->count; i++)
        if (outcome->triggers[i].error == NULL)
            print_line(&outcome->triggers[i]);
    for (size_t i = 0; i < outcome->count && outcome->failed > 1; i++)
        if (outcome->triggers[i].error != NULL)
            print_line(&outcome->triggers[i]);
    if (outcome->count == 0)
        puts("no trigger is in error");
}

static void print_json(const struct reset_outcome *outcome)
{
    struct buffer out = {0};
    reset_outcome_json(outcome, &out);
    puts(buffer_text(&out));
    buffer_free(&out);
}

static int tell_failed(const struct reset_outcome *outcome, struct rota_error *error)
{
    size_t first = 0;
    if (outcome->failed == 0)
        return 0;
    while (outcome->triggers[first].error == NULL)
        first++;
    const struct reset_trigger *trigger = &outcome->triggers[first];
    if (outcome->failed == 1)
        return error_set(error, ERROR_REFUSED, "trigger \"%.100s\": %.250s; it stays in error",
                         trigger->name, trigger->error);
    return error_set(error, ERROR_REFUSED, "%zu triggers stay in error; trigger \"%.100s\": %.250s",
                     outcome->failed, trigger->name, trigger->error);
}

static int run(struct client *client, void *arg, struct rota_error *error)
{
    const struct options *options = arg;
    struct audit audit = client_audit(client, "reset", options->name != NULL ? "trigger" : "all",
                                      options->name != NULL ? options->name : "all");
    const struct apply_options how = {.base = client->base,
                                      .wait_us = options->wait_us,
                                      .audit = client_audits(client) ? &audit : NULL};
    struct reset_outcome outcome = {0};
    int failed = reset_named(client->store, options->name, &how, &outcome, error);
    audit_free(&audit);
    if (failed != 0 && error->code == ERROR_NOT_FOUND)
        client_unknown(client, "trigger", options->name, error);
    if (failed != 0)
        return -1;
    (options->json ? print_json : print_text)(&outcome);
    failed = tell_failed(&outcome, error);
    reset_outcome_free(&outcome);
    return failed;
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
    if (taken == 0 && strcmp(argv[*i], "--all") == 0)
        return options->all = true;
    return taken;
}

static int word(const char *word, void *arg, struct rota_error *error)
{
    struct options *options = arg;
    if (options->name != NULL)
        return error_set(error, ERROR_USAGE, "one trigger at a time: \"%s\" is a second name",
                         word);
    options->name = word;
    return 0;
}

static int check(void *arg, struct rota_error *error)
{
    const struct options *options = arg;
    if (options->all == (options->name != NULL))
        return error_set(error, ERROR_USAGE,
                         options->all ? "--all takes no name: \"%s\" is one too many"
                                      : "which trigger? Give its name, or --all",
                         options->name);
    return 0;
}

int cmd_reset(int argc, char **argv)
{
    static const char *const own[] = {"--all", "--wait", "--json", NULL};
    static const struct client_command command = {.name = "reset",
                                                  .help = help_text,
                                                  .own = own,
                                                  .take = take,
                                                  .word = word,
                                                  .check = check,
                                                  .run = run};
    struct options options = {0};
    return client_main(&command, &options, argc, argv);
}
