/*
 * `rota drain`, `standby`, `resume-node` and `evict`: control of a node from anywhere. The wish is
 * recorded in the database and heard by the node; the command waits until it shows.
 */
#include "base/buffer.h"
#include "base/clock.h"
#include "base/instant.h"
#include "cmd/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_AGAIN_US (100 * US_PER_MS)
#define WAIT_US       (10 * US_PER_SECOND)
#define CLOCK_JUMP_US (500 * US_PER_MS)
#define SQLSTATE_LOCK "55P03"

#define OPTIONS_HELP                                                                               \
    "  --wait DURATION  how long to wait until it shows (10s); 0: not at all\n"                    \
    "  --json           one JSON document\n"                                                       \
    "\n"

static const char drain_help[] =
    "Usage: rota drain NODE [--gone] [--wait D] [--json]\n"
    "\n"
    "The node stops as by SIGTERM: it takes nothing more, lets runs finish within its grace, "
    "hands\n"
    "the others back and ends. Asked once more it hurries: what runs is ended.\n"
    "\n"
    "  --gone           wait until it has ended, not only until it drains\n" OPTIONS_HELP;

static const char standby_help[] = "Usage: rota standby NODE [--wait D] [--json]\n"
                                   "\n"
                                   "The node takes nothing more; what runs goes on. It stays "
                                   "registered, and stands by when it is\n"
                                   "started again, too, until `rota resume-node`.\n"
                                   "\n" OPTIONS_HELP;

static const char resume_help[] =
    "Usage: rota resume-node NODE [--wait D] [--json]\n"
    "\n"
    "The node fires again: after `rota standby`, `rota evict`, or a start with --standby.\n"
    "\n" OPTIONS_HELP;

static const char evict_help[] =
    "Usage: rota evict NODE [--wait D] [--json]\n"
    "\n"
    "Declares the node dead, now: its connections are ended and its runs go to the other nodes or\n"
    "end as unknown, as if it had died; those of exclusive jobs when its lease is over. If it\n"
    "lives it ends its runs and stands by until `rota resume-node`.\n"
    "\n" OPTIONS_HELP;

struct control {
    const char *wish;
    const char *states[3]; /* in which it has come to be so; NULL-terminated */
    bool gone_will_do;     /* and so has a node that is not there any more */
};

struct options {
    const struct control *control;
    const char *node;
    int64_t wait_us;
    bool gone; /* only that will do */
    bool json;
};

/* How the node stands, as far as this command has seen. */
struct standing {
    char before[16]; /* its state when it was asked; "gone" */
    char state[16];
    char wish[16]; /* as it was recorded */
    bool already;
    int64_t running;
    int64_t remaining, lease_left_ms, put_back, lost, foreign; /* of an eviction */
    /* The database's clock, less ours that nobody sets, as long as they agree: since when. */
    int64_t clock_offset_us, steady_since_us;
};

static void copy(char to[16], const char *text)
{
    snprintf(to, 16, "%s", text != NULL ? text : "gone");
}

static int ask(struct client *client, const struct options *options, struct standing *standing,
               struct rota_error *error)
{
    struct store_params params = {0};
    PGresult *result;
    params_text(&params, options->node);
    params_text(&params, options->control->wish);
    struct audit audit = client_audit(client, options->control->wish, "node", options->node);
    int failed = client_act(client, SQL_NODE_WISH, &params, &audit, &result, error);
    store_params_free(&params);
    if (failed != 0)
        return -1;
    bool known = row_bool(result, 0, 0);
    copy(standing->before, row_text(result, 0, 1));
    copy(standing->state, row_text(result, 0, 1));
    copy(standing->wish, row_text(result, 0, 2));
    standing->already = row_bool(result, 0, 3);
    PQclear(result);
    return known ? 0 : client_unknown(client, "node", options->node, error);
}

static int look(struct client *client, const struct options *options, struct standing *standing,
                struct rota_error *error)
{
    struct store_params params = {0};
    PGresult *result;
    params_text(&params, options->node);
    int failed = store_wait(client->store, SQL_NODE_STANDING, &params, 0, &result, error);
    store_params_free(&params);
    if (failed != 0)
        return -1;
    bool there = PQntuples(result) > 0;
    copy(standing->state, there ? row_text(result, 0, 0) : NULL);
    standing->running = there ? row_int64(result, 0, 1) : 0;
    PQclear(result);
    return 0;
}

/* A clock that jumps ends no lease: what was seen of it before counts for nothing. */
static void compare_clocks(struct standing *standing, int64_t database_us)
{
    int64_t now_us = clock_boot_us();
    int64_t moved_us = database_us - now_us - standing->clock_offset_us;
    if (standing->steady_since_us == 0 || moved_us > CLOCK_JUMP_US || moved_us < -CLOCK_JUMP_US) {
        standing->clock_offset_us = database_us - now_us;
        standing->steady_since_us = now_us;
    }
}

static int take_work(struct client *client, const struct options *options,
                     struct standing *standing, struct rota_error *error)
{
    struct store_params params = {0};
    PGresult *result;
    int64_t now_us = clock_boot_us();
    bool known = standing->steady_since_us != 0;
    params_text(&params, options->node);
    params_time(&params, known ? now_us + standing->clock_offset_us : 0);
    params_int64(&params, known ? (now_us - standing->steady_since_us) / US_PER_MS : 0);
    int failed = store_wait(client->store, SQL_NODE_EVICT, &params, 0, &result, error);
    store_params_free(&params);
    if (failed != 0 && store_is(error, SQLSTATE_LOCK)) {
        *error = (struct rota_error){0};
        standing->remaining = 1; /* at least, and looked at again */
        return 0;
    }
    if (failed != 0)
        return -1;
    compare_clocks(standing, row_time(result, 0, 5));
    standing->remaining = row_int64(result, 0, 0);
    standing->lease_left_ms = row_int64(result, 0, 1);
    standing->put_back += row_int64(result, 0, 2);
    standing->lost += row_int64(result, 0, 3);
    standing->foreign = row_int64(result, 0, 4);
    PQclear(result);
    return 0;
}

static bool evicts(const struct options *options)
{
    return strcmp(options->control->wish, "evict") == 0;
}

static bool shows(const struct options *options, const struct standing *standing)
{
    if (strcmp(standing->state, "gone") == 0 && options->control->gone_will_do)
        return standing->remaining == 0;
    for (const char *const *state = options->control->states; *state != NULL; state++)
        if (strcmp(*state, standing->state) == 0)
            return !options->gone && standing->remaining == 0;
    return false;
}

/* As long as it may wait. 0 with *ret_shows. */
static int wait_for(struct client *client, const struct options *options, struct standing *standing,
                    bool *ret_shows, struct rota_error *error)
{
    int64_t until_us = clock_monotonic_us() + options->wait_us;
    for (;;) {
        if ((evicts(options) && take_work(client, options, standing, error) != 0) ||
            look(client, options, standing, error) != 0)
            return -1;
        *ret_shows = shows(options, standing);
        if (*ret_shows || clock_monotonic_us() >= until_us)
            return 0;
        client_pause(client, LOOK_AGAIN_US);
    }
}

/* ---- what is said ---- */

static void print_json(const struct options *options, const struct standing *standing)
{
    struct buffer out = {0};
    buffer_string(&out, "{\"node\":");
    buffer_json(&out, options->node, strlen(options->node));
    buffer_format(&out, ",\"wish\":\"%s\",\"before\":\"%s\",\"state\":\"%s\",\"already\":%s,",
                  standing->wish, standing->before, standing->state,
                  standing->already ? "true" : "false");
    buffer_format(&out, "\"running\":%lld", (long long)standing->running);
    if (evicts(options))
        buffer_format(&out, ",\"put_back\":%lld,\"unknown\":%lld,\"waiting_for_lease\":%lld",
                      (long long)standing->put_back, (long long)standing->lost,
                      (long long)standing->remaining);
    buffer_char(&out, '}');
    puts(buffer_text(&out));
    buffer_free(&out);
}

static const char *plural(int64_t count)
{
    return count == 1 ? "" : "s";
}

static void print_eviction(const struct options *options, const struct standing *standing)
{
    printf("evicted node \"%s\": %lld run%s put back, %lld unknown", options->node,
           (long long)standing->put_back, plural(standing->put_back), (long long)standing->lost);
    if (standing->remaining > 0)
        printf("; the rest when its lease is over, in %.1fs",
               (double)standing->lease_left_ms / 1000);
    else if (strcmp(standing->state, "gone") != 0)
        printf("; it lives: %s", standing->state);
    putchar('\n');
}

static void print_gone(const struct options *options, const struct standing *standing)
{
    const char *wish = options->control->wish;
    if (strcmp(standing->before, "gone") != 0)
        printf("node \"%s\" is gone\n", options->node);
    else if (strcmp(wish, "drain") == 0)
        printf("node \"%s\" is gone already\n", options->node);
    else
        printf("node \"%s\" is gone: %s\n", options->node,
               strcmp(wish, "run") == 0 ? "when it is started again its settings decide"
                                        : "it stands by when it is started again");
}

static void print_text(const struct options *options, const struct standing *standing)
{
    const char *state = standing->state;
    if (evicts(options) && strcmp(standing->before, "gone") != 0)
        print_eviction(options, standing);
    else if (strcmp(state, "gone") == 0)
        print_gone(options, standing);
    else
        printf("node \"%s\" is %s%s%s; %lld run%s of it %s out\n", options->node,
               strcmp(state, "standby") == 0 ? "standing by" : state,
               standing->already || strcmp(standing->wish, "hurry") == 0 ? " already" : "",
               strcmp(standing->wish, "hurry") == 0 ? ", and hurries now" : "",
               (long long)standing->running, plural(standing->running),
               standing->running == 1 ? "is" : "are");
}

static int not_yet(const struct options *options, const struct standing *standing,
                   struct rota_error *error)
{
    char text[TIME_TEXT_SIZE];
    const char *wait = duration_format(options->wait_us, text);
    if (standing->foreign > 0)
        return error_set(error, ERROR_TIMEOUT,
                         "node \"%s\" is evicted, but %lld connections of it belong to another "
                         "role: do it as that role",
                         options->node, (long long)standing->foreign);
    if (standing->remaining > 0)
        return error_set(error, ERROR_TIMEOUT,
                         "node \"%s\" is evicted, but not all of its runs could be taken within "
                         "%s: the other nodes do it when its lease is over, in %.1fs",
                         options->node, wait, (double)standing->lease_left_ms / 1000);
    return error_set(error, ERROR_TIMEOUT,
                     "node \"%s\" was told, and is %s after %s; it goes on by itself, at the "
                     "latest with its next heartbeat (`rota get nodes %s`)",
                     options->node,
                     strcmp(standing->state, "standby") == 0 ? "standing by" : standing->state,
                     wait, options->node);
}

static int run(struct client *client, void *arg, struct rota_error *error)
{
    const struct options *options = arg;
    struct standing standing = {0};
    bool so = false;
    if (ask(client, options, &standing, error) != 0 ||
        wait_for(client, options, &standing, &so, error) != 0)
        return -1;
    if (!so && options->wait_us > 0 && strcmp(standing.before, "gone") != 0)
        return not_yet(options, &standing, error);
    if (options->json)
        print_json(options, &standing);
    else
        print_text(options, &standing);
    return 0;
}

/* ---- arguments ---- */

static int take(int argc, char **argv, int *i, void *arg, struct rota_error *error)
{
    struct options *options = arg;
    const char *value;
    int taken = cmd_option(argc, argv, i, "--wait", &value, error);
    if (taken > 0 && strcmp(value, "0") == 0)
        options->wait_us = 0;
    else if (taken > 0 && duration_parse(value, &options->wait_us) != 0)
        return error_set(error, ERROR_USAGE, "--wait \"%s\" is no duration: write 0, 30s, 5m",
                         value);
    if (taken != 0)
        return taken;
    if (strcmp(argv[*i], "--json") == 0)
        return options->json = true;
    if (strcmp(options->control->wish, "drain") == 0 && strcmp(argv[*i], "--gone") == 0)
        return options->gone = true;
    return 0;
}

static int word(const char *word, void *arg, struct rota_error *error)
{
    struct options *options = arg;
    if (options->node != NULL)
        return error_set(error, ERROR_USAGE, "one node at a time: \"%s\" is a second one", word);
    options->node = word;
    return 0;
}

static int check(void *arg, struct rota_error *error)
{
    const struct options *options = arg;
    if (options->node == NULL || options->node[0] == '\0')
        return error_set(error, ERROR_USAGE, "which node? Give its name");
    return 0;
}

static const char *const own[] = {"--wait", "--json", NULL};
static const char *const drain_own[] = {"--gone", "--wait", "--json", NULL};

static int control_main(const char *name, const char *help, const struct control *table, int argc,
                        char **argv)
{
    const struct client_command command = {.name = name,
                                           .help = help,
                                           .own = help == drain_help ? drain_own : own,
                                           .take = take,
                                           .word = word,
                                           .check = check,
                                           .run = run};
    struct options options = {.control = table, .wait_us = WAIT_US};
    return client_main(&command, &options, argc, argv);
}

int cmd_drain(int argc, char **argv)
{
    static const struct control control = {
        .wish = "drain", .states = {"draining"}, .gone_will_do = true};
    return control_main("drain", drain_help, &control, argc, argv);
}

int cmd_standby(int argc, char **argv)
{
    static const struct control control = {
        .wish = "standby", .states = {"standby", "disabled"}, .gone_will_do = true};
    return control_main("standby", standby_help, &control, argc, argv);
}

int cmd_resume_node(int argc, char **argv)
{
    static const struct control control = {.wish = "run", .states = {"running"}};
    return control_main("resume-node", resume_help, &control, argc, argv);
}

int cmd_evict(int argc, char **argv)
{
    static const struct control control = {
        .wish = "evict", .states = {"standby", "disabled", "draining"}, .gone_will_do = true};
    return control_main("evict", evict_help, &control, argc, argv);
}
