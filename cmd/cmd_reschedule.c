/* `rota reschedule TRIGGER …`: a new schedule for one trigger. */
#include "base/buffer.h"
#include "base/instant.h"
#include "base/json.h"
#include "base/text.h"
#include "cmd/client.h"
#include "coord/reschedule.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help_text[] =
    "Usage: rota reschedule TRIGGER (--cron S | --every D | --at T | --calendar-interval I |\n"
    "                                --daily JSON) [--repeat N] [--timezone Z] [--start-at T]\n"
    "                                [--end-at T] [--wait D] [--json]\n"
    "\n"
    "Gives a trigger a new schedule and prints its next firing. Values are those of the "
    "manifest's\n"
    "keys; what is not given stays as declared. What was due and not fired yet is fired, or meets\n"
    "the misfire policy, by the old schedule. The next apply of the manifest that declares the\n"
    "trigger brings back what it says there.\n"
    "\n"
    "  --cron S               cron expression\n"
    "  --every D              a period: 90s, 5m, 1d\n"
    "  --at T                 once (RFC 3339)\n"
    "  --calendar-interval I  \"1 month\", keeping the time of day\n"
    "  --daily JSON           such as {\"from\":\"08:00\",\"to\":\"18:00\",\"every\":\"30m\"}\n"
    "  --repeat N             firings after the first; none: without end\n"
    "  --timezone Z           IANA zone; none: UTC\n"
    "  --start-at T           no firing before it; none: no such limit\n"
    "  --end-at T             no firing after it; none: no such limit\n"
    "  --wait DURATION        how long to wait for an apply to end (default: 30s)\n"
    "  --json                 one JSON document\n"
    "\n";

enum form { FORM_TEXT, FORM_NUMBER, FORM_JSON };

/* Flags and the manifest's keys they mirror. */
static const struct flag {
    const char *flag, *key;
    enum form form;
    bool may_go; /* "none" takes the key away */
} flags[] = {
    {"--cron", "cron", FORM_TEXT, false},
    {"--every", "every", FORM_TEXT, false},
    {"--at", "at", FORM_TEXT, false},
    {"--calendar-interval", "calendar_interval", FORM_TEXT, false},
    {"--daily", "daily", FORM_JSON, false},
    {"--repeat", "repeat", FORM_NUMBER, true},
    {"--timezone", "timezone", FORM_TEXT, true},
    {"--start-at", "start_at", FORM_TEXT, true},
    {"--end-at", "end_at", FORM_TEXT, true},
};
#define FLAG_COUNT (sizeof flags / sizeof *flags)
#define KIND_COUNT 5 /* the first ones exclude each other */

struct options {
    const char *name;
    const char *values[FLAG_COUNT]; /* as given; NULL: not */
    int64_t wait_us;
    bool json;
};

static void print_json(const struct options *options, const struct reschedule *reschedule)
{
    char next[TIME_TEXT_SIZE];
    struct buffer out = {0};
    buffer_string(&out, "{\"trigger\":");
    buffer_json(&out, options->name, strlen(options->name));
    buffer_string(&out, ",\"job\":");
    buffer_json(&out, reschedule->job, strlen(reschedule->job));
    buffer_format(&out, ",\"changed\":%s,\"paused\":%s,\"next_fire_time\":",
                  reschedule->changed ? "true" : "false", reschedule->paused ? "true" : "false");
    if (reschedule->next_at_us == MANIFEST_UNSET)
        buffer_string(&out, "null}");
    else
        buffer_format(&out, "\"%s\"}", instant_format(reschedule->next_at_us, next));
    puts(buffer_text(&out));
    buffer_free(&out);
}

static void print_text(const struct options *options, const struct reschedule *reschedule)
{
    char next[TIME_TEXT_SIZE];
    printf(reschedule->changed ? "rescheduled trigger \"%s\": "
                               : "trigger \"%s\" has this schedule already: ",
           options->name);
    if (reschedule->next_at_us == MANIFEST_UNSET)
        fputs("no further firing", stdout);
    else
        printf("next firing %s", instant_format(reschedule->next_at_us, next));
    puts(reschedule->paused ? "; it is paused" : "");
}

/* The value as JSON, to be freed with its buffer; "none" where the key may go is NULL. */
static const char *value_of(const struct flag *flag, const char *text, struct buffer *room)
{
    if (flag->may_go && strcmp(text, "none") == 0)
        return NULL;
    if (flag->form == FORM_TEXT)
        buffer_json(room, text, strlen(text));
    else
        buffer_string(room, text);
    return buffer_text(room);
}

static int run(struct client *client, void *arg, struct rota_error *error)
{
    const struct options *options = arg;
    struct audit audit = client_audit(client, "reschedule", "trigger", options->name);
    const struct apply_options how = {.base = client->base,
                                      .wait_us = options->wait_us,
                                      .audit = client_audits(client) ? &audit : NULL};
    struct reschedule_key keys[FLAG_COUNT];
    struct buffer rooms[FLAG_COUNT] = {0};
    struct reschedule reschedule;
    size_t count = 0;
    for (size_t i = 0; i < FLAG_COUNT; i++)
        if (options->values[i] != NULL)
            keys[count++] =
                (struct reschedule_key){.key = flags[i].key,
                                        .value = value_of(&flags[i], options->values[i], &rooms[i]),
                                        .called = flags[i].flag};
    int failed =
        reschedule_trigger(client->store, options->name, keys, count, &how, &reschedule, error);
    audit_free(&audit);
    for (size_t i = 0; i < FLAG_COUNT; i++)
        buffer_free(&rooms[i]);
    if (failed != 0)
        return error->code == ERROR_NOT_FOUND
                   ? client_unknown(client, "trigger", options->name, error)
                   : -1;
    if (options->json)
        print_json(options, &reschedule);
    else
        print_text(options, &reschedule);
    reschedule_free(&reschedule);
    return 0;
}

/* ---- arguments ---- */

/* What is put into the text as it is must not end it; the rest is the manifest's to judge. */
static int check_form(const struct flag *flag, const char *value, struct rota_error *error)
{
    struct json json;
    int64_t number;
    if (flag->may_go && strcmp(value, "none") == 0)
        return 0;
    if (flag->form == FORM_NUMBER && text_int64(value, strlen(value), &number) != 0)
        return error_set(error, ERROR_USAGE, "%s must be a whole number%s, not \"%s\"", flag->flag,
                         flag->may_go ? " or none" : "", value);
    if (flag->form != FORM_JSON)
        return 0;
    if (json_parse(&json, value, strlen(value), error) != 0) {
        error_prefix(error, "%s is not JSON", flag->flag);
        error->code = ERROR_USAGE;
        return -1;
    }
    json_free(&json);
    return 0;
}

static int take(int argc, char **argv, int *i, void *arg, struct rota_error *error)
{
    struct options *options = arg;
    const char *value;
    for (size_t f = 0; f < FLAG_COUNT; f++) {
        int taken = cmd_option(argc, argv, i, flags[f].flag, &value, error);
        if (taken > 0 && options->values[f] != NULL)
            return error_set(error, ERROR_USAGE, "%s is given twice", flags[f].flag);
        if (taken > 0 && check_form(&flags[f], value, error) != 0)
            return -1;
        if (taken > 0)
            options->values[f] = value;
        if (taken != 0)
            return taken;
    }
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
    if (options->name != NULL)
        return error_set(error, ERROR_USAGE, "one trigger at a time: \"%s\" is a second name",
                         word);
    options->name = word;
    return 0;
}

static int check(void *arg, struct rota_error *error)
{
    const struct options *options = arg;
    const char *kind = NULL;
    bool any = false;
    if (options->name == NULL)
        return error_set(error, ERROR_USAGE, "which trigger? Give its name");
    for (size_t f = 0; f < FLAG_COUNT; f++) {
        any |= options->values[f] != NULL;
        if (options->values[f] == NULL || f >= KIND_COUNT)
            continue;
        if (kind != NULL)
            return error_set(error, ERROR_USAGE, "%s and %s exclude each other", kind,
                             flags[f].flag);
        kind = flags[f].flag;
    }
    if (!any)
        return error_set(error, ERROR_USAGE,
                         "to what? Give --cron, --every, --at or another schedule");
    return 0;
}

int cmd_reschedule(int argc, char **argv)
{
    static const char *const own[] = {"--cron",   "--every",  "--at",       "--calendar-interval",
                                      "--daily",  "--repeat", "--timezone", "--start-at",
                                      "--end-at", "--wait",   "--json",     NULL};
    static const struct client_command command = {.name = "reschedule",
                                                  .help = help_text,
                                                  .own = own,
                                                  .take = take,
                                                  .word = word,
                                                  .check = check,
                                                  .run = run};
    struct options options = {0};
    return client_main(&command, &options, argc, argv);
}
