/* `rota reset TRIGGER` and `rota reset --all`: triggers out of error. */
#include "base/buffer.h"
#include "base/instant.h"
#include "cmd/client.h"
#include "coord/apply.h"
#include "coord/reset.h"

#include <stdio.h>
#include <stdlib.h>
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

/* What becomes of the triggers, page by page. */
struct outcome {
    struct buffer reset, failed; /* lines, or elements of JSON arrays */
    size_t reset_count, failed_count;
    char first_error[400];
};

static void put_json(struct buffer *out, const struct reset_trigger *trigger)
{
    char next[TIME_TEXT_SIZE];
    buffer_string(out, out->length > 0 ? ",{\"name\":" : "{\"name\":");
    buffer_json(out, trigger->name, strlen(trigger->name));
    if (trigger->error != NULL) {
        buffer_string(out, ",\"error\":");
        buffer_json(out, trigger->error, strlen(trigger->error));
    } else if (trigger->next_us == STORE_NULL_TIME) {
        buffer_string(out, ",\"next_fire_time\":null");
    } else {
        buffer_format(out, ",\"next_fire_time\":\"%s\"", instant_format(trigger->next_us, next));
    }
    buffer_char(out, '}');
}

static void put_line(struct buffer *out, const struct reset_trigger *trigger)
{
    char next[TIME_TEXT_SIZE];
    if (trigger->error != NULL)
        buffer_format(out, "trigger \"%s\" stays in error: %s\n", trigger->name, trigger->error);
    else if (trigger->next_us == STORE_NULL_TIME)
        buffer_format(out, "reset trigger \"%s\": no further firing\n", trigger->name);
    else
        buffer_format(out, "reset trigger \"%s\": next firing %s\n", trigger->name,
                      instant_format(trigger->next_us, next));
}

static void add(struct outcome *outcome, const struct reset *reset, bool json)
{
    for (size_t i = 0; i < reset->count; i++) {
        const struct reset_trigger *trigger = &reset->triggers[i];
        bool failed = trigger->error != NULL;
        if (!failed && !trigger->reset)
            continue;
        if (failed && outcome->failed_count == 0)
            snprintf(outcome->first_error, sizeof outcome->first_error,
                     "trigger \"%.100s\": %.250s", trigger->name, trigger->error);
        *(failed ? &outcome->failed_count : &outcome->reset_count) += 1;
        (json ? put_json : put_line)(failed ? &outcome->failed : &outcome->reset, trigger);
    }
}

static void print(struct outcome *outcome, bool json)
{
    if (json)
        printf("{\"reset\":[%s],\"failed\":[%s]}\n", buffer_text(&outcome->reset),
               buffer_text(&outcome->failed));
    else
        fputs(buffer_text(&outcome->reset), stdout);
    if (!json && outcome->reset_count == 0 && outcome->failed_count == 0)
        puts("no trigger is in error");
    if (!json && outcome->failed_count > 1)
        fputs(buffer_text(&outcome->failed), stdout);
}

/* One trigger that is not in error, or not there at all. */
static int check_state(const struct options *options, const PGresult *result,
                       struct rota_error *error)
{
    if (options->name == NULL)
        return 0;
    if (PQntuples(result) == 0)
        return error_set(error, ERROR_NOT_FOUND, "no trigger is called \"%s\"", options->name);
    const char *state = row_text(result, 0, 2);
    if (strcmp(state, "in error") != 0)
        return error_set(error, ERROR_REFUSED,
                         "trigger \"%s\" is %s, not in error: nothing to reset", options->name,
                         state);
    return 0;
}

/* The next page; *ret_count: how many there were. */
static int reset_page(struct client *client, const struct options *options,
                      struct definitions *definitions, int64_t revision, int32_t *after,
                      size_t *ret_count, struct outcome *outcome, struct rota_error *error)
{
    struct store_params params = {0};
    struct reset *reset = reset_new();
    PGresult *result;
    int32_t ids[RESET_PAGE];
    params_text(&params, options->name);
    params_int32(&params, *after);
    int failed =
        store_wait(client->store, SQL_TRIGGER_STATES, &params, STORE_WITHIN, &result, error);
    store_params_free(&params);
    if (failed == 0) {
        *ret_count = (size_t)PQntuples(result);
        int64_t now_us = *ret_count > 0 ? row_time(result, 0, 3) : 0;
        for (size_t i = 0; i < *ret_count; i++)
            *after = ids[i] = row_int32(result, (int)i, 0);
        failed = check_state(options, result, error);
        PQclear(result);
        if (failed == 0 && *ret_count > 0)
            failed = reset_triggers(client->store, definitions, ids, *ret_count, now_us, revision,
                                    STORE_WITHIN, reset, error);
    }
    if (failed == 0)
        add(outcome, reset, options->json);
    reset_free(reset);
    return failed;
}

/* In the transaction that is open: all pages, then the end of it. */
static int reset_pages(struct client *client, const struct options *options,
                       struct definitions *definitions, struct outcome *outcome,
                       struct rota_error *error)
{
    int64_t revision;
    int32_t after = 0;
    size_t count = RESET_PAGE;
    if (apply_revision(client->store, &revision, error) != 0)
        return -1;
    while (count == RESET_PAGE)
        if (reset_page(client, options, definitions, revision, &after, &count, outcome, error) != 0)
            return -1;
    return apply_commit(client->store, error);
}

static int reset_once(struct client *client, const struct options *options, struct outcome *outcome,
                      struct rota_error *error)
{
    const struct apply_options how = {.base = client->base, .wait_us = options->wait_us};
    int64_t clock_us;
    if (apply_lock(client->store, &how, &clock_us, error) != 0)
        return -1;
    struct zone_cache *zones = zone_cache_new();
    struct definitions *definitions = definitions_new(zones, MISFIRE_THRESHOLD_US);
    int failed = reset_pages(client, options, definitions, outcome, error);
    if (failed != 0 && error->sqlstate[0] == '\0') /* otherwise the store has ended it */
        store_rollback(client->store);
    definitions_free(definitions);
    zone_cache_free(zones);
    return failed;
}

static void outcome_clear(struct outcome *outcome)
{
    buffer_free(&outcome->reset);
    buffer_free(&outcome->failed);
    *outcome = (struct outcome){0};
}

static int run(struct client *client, void *arg, struct rota_error *error)
{
    const struct options *options = arg;
    struct outcome outcome = {0};
    int failed, attempts = 0;
    do {
        outcome_clear(&outcome);
        *error = (struct rota_error){0};
        failed = reset_once(client, options, &outcome, error);
    } while (failed != 0 && apply_again(error, &attempts));
    if (failed != 0 && error->code == ERROR_NOT_FOUND)
        client_unknown(client, "trigger", options->name, error);
    if (failed == 0)
        print(&outcome, options->json);
    if (failed == 0 && outcome.failed_count == 1)
        failed = error_set(error, ERROR_REFUSED, "%s; it stays in error", outcome.first_error);
    else if (failed == 0 && outcome.failed_count > 1)
        failed = error_set(error, ERROR_REFUSED, "%zu triggers stay in error; %s",
                           outcome.failed_count, outcome.first_error);
    outcome_clear(&outcome);
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
