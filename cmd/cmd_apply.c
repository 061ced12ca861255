/*
 * `rota apply`: registers the jobs, triggers and calendars of manifests, all in one transaction,
 * and prints what that changes. Everything that is wrong with the manifests is told at once, before
 * the database is even asked.
 */
#include "base/clock.h"
#include "base/instant.h"
#include "base/memory.h"
#include "cmd/client.h"
#include "cmd/settings.h"
#include "coord/apply.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help_text[] =
    "Usage: rota apply -f FILE [-f FILE]… [--prune] [--dry-run] [--wait D] [--json]\n"
    "\n"
    "Registers the jobs, triggers and calendars of manifests, declaratively and in one\n"
    "transaction: what is new is created, what differs is changed, what is as before keeps its\n"
    "next firing. Triggers that use a calendar follow it when it changes.\n"
    "\n"
    "  -f, --file FILE  manifest; a directory stands for its *.json files, - for standard input\n"
    "  --prune          also remove jobs and calendars of the same source that are declared no "
    "more\n"
    "  --dry-run        only show what would change\n"
    "  --wait DURATION  how long to wait for another apply to end (default: 30s)\n"
    "  --json           one JSON document instead of lines\n"
    "\n"
    "+ created, ~ changed, - removed, = how much is as it was.\n"
    "\n";

struct options {
    const char **paths; /* points into argv */
    size_t path_count;
    int64_t wait_us; /* 0: the default */
    bool prune;
    bool dry_run;
    bool json;
};

/* An option with a value. 1: taken, 0: another one, -1: with error. */
static int take_option(int argc, char **argv, int *i, struct options *options,
                       struct rota_error *error)
{
    const char *value;
    int taken = cmd_option(argc, argv, i, "-f", &value, error);
    if (taken == 0)
        taken = cmd_option(argc, argv, i, "--file", &value, error);
    if (taken > 0)
        options->paths[options->path_count++] = value;
    if (taken != 0)
        return taken;
    taken = cmd_option(argc, argv, i, "--wait", &value, error);
    if (taken > 0 && (duration_parse(value, &options->wait_us) != 0 || options->wait_us == 0))
        return error_set(error, ERROR_USAGE, "--wait \"%s\" is no duration: write 500ms, 30s, 5m",
                         value);
    return taken;
}

static bool take_switch(const char *argument, struct options *options)
{
    if (strcmp(argument, "--prune") == 0)
        options->prune = true;
    else if (strcmp(argument, "--dry-run") == 0)
        options->dry_run = true;
    else if (strcmp(argument, "--json") == 0)
        options->json = true;
    else
        return false;
    return true;
}

/* 0, or the exit code. */
static int read_arguments(int argc, char **argv, struct options *options, struct settings *settings)
{
    static const char *const own[] = {"-f",     "--file", "--prune", "--dry-run",
                                      "--wait", "--json", NULL};
    struct rota_error error;
    options->paths = mem_array((size_t)argc, sizeof *options->paths);
    for (int i = 1; i < argc; i++) {
        int taken = take_option(argc, argv, &i, options, &error);
        if (taken == 0)
            taken = take_switch(argv[i], options);
        if (taken == 0)
            taken = settings_take_flag(settings, argc, argv, &i, &error);
        if (taken == 0)
            return cmd_unknown("apply", argv[i], own, SCOPE_CLIENT);
        if (taken < 0)
            return cmd_fail("apply", &error);
    }
    if (options->path_count == 0)
        return cmd_usage("apply", "which manifest? Give -f FILE");
    if (settings_load(settings, &error) != 0)
        return cmd_fail("apply", &error);
    return 0;
}

/* One line each, then how many; the exit code. */
static int tell_problems(const struct manifest_set *set)
{
    size_t count = set->problems.count;
    bool more = count >= MANIFEST_PROBLEMS_MAX; /* not everything is looked at any more */
    for (size_t i = 0; i < count && i < MANIFEST_PROBLEMS_MAX; i++)
        fprintf(stderr, "%s\n", set->problems.lines[i]);
    fprintf(stderr, "rota apply: %zu%s problem%s", count, more ? " or more" : "",
            count == 1 ? "" : "s");
    if (count > MANIFEST_PROBLEMS_MAX)
        fprintf(stderr, " (the first %d are shown)", MANIFEST_PROBLEMS_MAX);
    fputs(", nothing was changed\n", stderr);
    return ERROR_REFUSED;
}

/* --- progress -------------------------------------------------------------------------------- */

static void on_second(evutil_socket_t fd, short what, void *arg)
{
    int64_t *since_us = arg;
    (void)fd;
    (void)what;
    fprintf(stderr, "\rapplying … %lld s",
            (long long)((clock_monotonic_us() - *since_us) / US_PER_SECOND));
}

/* Seconds on a terminal while it takes more than one; NULL elsewhere. */
static struct event *start_progress(struct event_base *base, int64_t *since_us)
{
    static const struct timeval second = {1, 0};
    *since_us = clock_monotonic_us();
    if (!isatty(STDERR_FILENO))
        return NULL;
    struct event *ticks = event_new(base, -1, EV_PERSIST, on_second, since_us);
    event_add(ticks, &second);
    return ticks;
}

static void end_progress(struct event *ticks, int64_t since_us)
{
    if (ticks == NULL)
        return;
    event_free(ticks);
    if (clock_monotonic_us() - since_us >= US_PER_SECOND)
        fputs("\r\033[K", stderr);
}

/* --- the whole ------------------------------------------------------------------------------- */

static void put_sources(const struct manifest_set *set, struct buffer *out)
{
    buffer_string(out, "{\"sources\":[");
    for (size_t i = 0; i < set->count; i++) {
        const char *source = set->manifests[i]->source;
        if (i > 0)
            buffer_char(out, ',');
        buffer_json(out, source, strlen(source));
    }
    buffer_string(out, "]}");
}

static int apply(const struct options *options, const struct settings *settings,
                 struct manifest_set *set, struct apply_diff *ret_diff, struct rota_error *error)
{
    struct client client;
    int64_t since_us;
    if (client_open(&client, "apply", settings, error) != 0)
        return -1;
    struct buffer request = {0};
    struct audit audit =
        client_audit(&client, "apply", "source", set->count > 0 ? set->manifests[0]->source : "");
    struct apply_options how = {.base = client.base,
                                .wait_us = options->wait_us,
                                .prune = options->prune,
                                .dry_run = options->dry_run,
                                .audit = client_audits(&client) ? &audit : NULL};
    put_sources(set, &request);
    audit.request = (struct slice){request.data, request.length};
    struct event *ticks = start_progress(client.base, &since_us);
    int failed = apply_manifests(client.store, set, &how, ret_diff, error);
    end_progress(ticks, since_us);
    audit_free(&audit);
    buffer_free(&request);
    if (failed != 0)
        client_explain_schema(&client, error);
    client_close(&client);
    return failed;
}

static void print_diff(const struct options *options, const struct apply_diff *diff)
{
    struct buffer text = {0};
    if (options->json)
        apply_show_json(diff, options->dry_run, &text);
    else
        apply_show_text(diff, &text);
    if (!options->json && options->dry_run)
        buffer_string(&text, "dry run: nothing was changed\n");
    fwrite(text.data, 1, text.length, stdout);
    buffer_free(&text);
}

static int run(const struct options *options, const struct settings *settings)
{
    struct rota_error error = {0};
    struct apply_diff diff = {0};
    struct manifest_set *set = manifest_set_new();
    int code = 0;
    for (size_t i = 0; i < options->path_count; i++)
        manifest_add_path(set, options->paths[i]);
    int failed = manifest_check(set);
    if (failed == 0 && set->count == 0)
        failed = error_set(&error, ERROR_REFUSED, "%s holds no *.json file", options->paths[0]);
    else if (failed == 0)
        failed = apply(options, settings, set, &diff, &error);
    if (failed == 0)
        print_diff(options, &diff);
    else
        code = set->problems.count > 0 ? tell_problems(set) : cmd_fail("apply", &error);
    apply_diff_free(&diff);
    manifest_set_free(set);
    return code;
}

int cmd_apply(int argc, char **argv)
{
    struct options options = {0};
    if (cmd_wants_help(argc, argv)) {
        fputs(help_text, stdout);
        settings_print_help(stdout, SCOPE_CLIENT);
        return 0;
    }
    struct settings *settings = settings_new(SCOPE_CLIENT);
    int code = read_arguments(argc, argv, &options, settings);
    if (code == 0)
        code = run(&options, settings);
    settings_free(settings);
    free(options.paths);
    return code;
}
