/* What the commands that talk to the database share: see client.h. */
#include "cmd/client.h"

#include "base/clock.h"
#include "base/instant.h"
#include "base/text.h"
#include "cmd/settings.h"
#include "coord/apply.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void client_close(struct client *client)
{
    store_free(client->store);
    if (client->base != NULL)
        event_base_free(client->base);
    free(client->url);
    *client = (struct client){0};
}

static void on_notified(void *arg, const char *payload)
{
    struct client *client = arg;
    if (client->notified != NULL)
        client->notified(client->notified_arg, payload);
}

static int refuse_shared(const struct store_config *config, bool direct, struct rota_error *error)
{
    enum store_session session;
    if (store_session_check(config, &session, error) != 0)
        return -1;
    return session == SESSION_BARE /* no settings that matter to commands */
               ? 0
               : store_session_refuse(session, direct ? "session_database_url" : "database_url",
                                      error);
}

/* 0, or -1 with nothing to close. */
static int client_connect(struct client *client, const char *command, bool session,
                          const struct settings *settings, struct rota_error *error)
{
    char name[64];
    snprintf(name, sizeof name, "rota %s", command);
    *client = (struct client){.log = {.level = LOG_WARN, .text = true, .fd = STDERR_FILENO}};
    client->url = settings_client_url(settings, error);
    if (client->url == NULL)
        return -1;
    client->schema = settings_text(settings, SETTING_SCHEMA);
    client->session_url = settings_text(settings, SETTING_SESSION_DATABASE_URL);
    bool direct = session && client->session_url != NULL;
    client->base = event_base_new();
    const struct store_config config = {.base = client->base,
                                        .log = &client->log,
                                        .url = direct ? client->session_url : client->url,
                                        .schema = client->schema,
                                        .role_name = "client",
                                        .application_name = name,
                                        .pooler = settings_pooler(settings),
                                        .options = "-c timezone=UTC -c lock_timeout=5s",
                                        .arg = client,
                                        .notified = on_notified};
    client->store = store_new(&config);
    int failed = store_wait_ready(client->store, NULL, error);
    if (failed == 0 && session && store_pooled(client->store))
        failed = refuse_shared(&config, direct, error);
    if (failed == 0)
        return 0;
    client_close(client);
    return -1;
}

static int check_schema(struct client *client, struct rota_error *error)
{
    client->version = 0;
    if (store_check_schema(client->store, &client->version, error) != 0)
        return -1;
    if (client->version == 0)
        return error_set(error, ERROR_REFUSED,
                         "schema \"%s\" is not set up in this database; run `rota migrate` first",
                         client->schema);
    return 0;
}

/* A table, column or function is not there (class 42): not yet, while the fleet is an older one. */
void client_explain_schema(const struct client *client, struct rota_error *error)
{
    if (client->version > 0 && client->version < migration_count &&
        strncmp(error->sqlstate, "42", 2) == 0)
        error_prefix(error,
                     "schema \"%s\" is at version %d, this rota brings version %d, and this needs "
                     "it: run `rota migrate`",
                     client->schema, client->version, migration_count);
}

int client_open(struct client *client, const char *command, const struct settings *settings,
                struct rota_error *error)
{
    if (client_connect(client, command, false, settings, error) != 0)
        return -1;
    if (check_schema(client, error) == 0)
        return 0;
    client_close(client);
    return -1;
}

static unsigned scope_of(const struct client_command *command)
{
    return command->scope != 0 ? command->scope : SCOPE_CLIENT;
}

static int take_argument(const struct client_command *command, void *options,
                         struct settings *settings, int argc, char **argv, int *i,
                         struct rota_error *error)
{
    int taken = command->take != NULL ? command->take(argc, argv, i, options, error) : 0;
    if (taken == 0)
        taken = settings_take_flag(settings, argc, argv, i, error);
    if (taken == 0 && argv[*i][0] != '-' && command->word != NULL)
        taken = command->word(argv[*i], options, error) == 0 ? 1 : -1;
    return taken;
}

/* 0 or the exit code. */
static int read_arguments(const struct client_command *command, void *options,
                          struct settings *settings, int argc, char **argv)
{
    struct rota_error error = {0};
    for (int i = 1; i < argc; i++) {
        int taken = take_argument(command, options, settings, argc, argv, &i, &error);
        if (taken < 0)
            return cmd_fail(command->name, &error);
        if (taken == 0)
            return cmd_unknown(command->name, argv[i], command->own, scope_of(command));
    }
    if ((command->check != NULL && command->check(options, &error) != 0) ||
        settings_load(settings, &error) != 0)
        return cmd_fail(command->name, &error);
    return 0;
}

#define SQLSTATE_UNKNOWN "08007" /* the answer to a change was lost with the connection */

static int run(const struct client_command *command, void *options, const struct settings *settings)
{
    struct rota_error error = {0};
    struct client client;
    int failed = command->any_schema
                     ? client_connect(&client, command->name, command->session, settings, &error)
                     : client_open(&client, command->name, settings, &error);
    if (failed != 0)
        return cmd_fail(command->name, &error);
    failed = command->run(&client, options, &error);
    if (failed != 0)
        client_explain_schema(&client, &error);
    if (failed != 0 && command->once != NULL && store_is(&error, SQLSTATE_UNKNOWN))
        error_prefix(&error, "%s", command->once);
    client_close(&client);
    return failed == 0 ? 0 : cmd_fail(command->name, &error);
}

int client_main(const struct client_command *command, void *options, int argc, char **argv)
{
    if (cmd_wants_help(argc, argv)) {
        fputs(command->help, stdout);
        settings_print_help(stdout, scope_of(command));
        return 0;
    }
    struct settings *settings = settings_new(scope_of(command));
    int code = read_arguments(command, options, settings, argc, argv);
    if (code == 0)
        code = run(command, options, settings);
    settings_free(settings);
    return code;
}

/* ---- waiting for one's turn ---- */

#define TURN_RETRY_US     (100 * US_PER_MS)
#define SQLSTATE_LOCK     "55P03"
#define SQLSTATE_ROLLBACK "40" /* class: ended to break a deadlock */

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    *(bool *)arg = true;
}

void client_turn(struct client *client)
{
    event_base_loop(client->base, EVLOOP_ONCE);
}

void client_pause(struct client *client, int64_t duration_us)
{
    bool over = false;
    struct timeval pause = clock_timeval(duration_us);
    struct event *timer = evtimer_new(client->base, on_tick, &over);
    evtimer_add(timer, &pause);
    while (!over)
        event_base_loop(client->base, EVLOOP_ONCE);
    event_free(timer);
}

static bool is_busy(const struct rota_error *error)
{
    return store_is(error, SQLSTATE_LOCK) ||
           strncmp(error->sqlstate, SQLSTATE_ROLLBACK, strlen(SQLSTATE_ROLLBACK)) == 0;
}

int client_wait_turn(struct client *client, enum statement_id statement,
                     const struct store_params *params, struct audit *audit, int64_t wait_us,
                     PGresult **ret_result, struct rota_error *error)
{
    int64_t most_us = wait_us > 0 ? wait_us : APPLY_WAIT_US;
    int64_t until_us = clock_monotonic_us() + most_us;
    bool told = false;
    int failed;
    for (;;) {
        *error = (struct rota_error){0};
        failed = client_act(client, statement, params, audit, ret_result, error);
        if (failed == 0 || !is_busy(error) || clock_monotonic_us() >= until_us)
            break;
        if (!told && isatty(STDERR_FILENO))
            fputs("waiting for an apply to end …\n", stderr);
        told = true;
        client_pause(client, TURN_RETRY_US);
    }
    if (failed != 0 && is_busy(error)) {
        char text[TIME_TEXT_SIZE];
        error_prefix(error, "not done within %s; nothing was changed, try again when it is over",
                     duration_format(most_us, text));
        error->code = ERROR_TIMEOUT;
    }
    return failed;
}

/* ---- the audit ---- */

#define AUDIT_SINCE 13 /* the migration that brought it */

bool client_audits(const struct client *client)
{
    return client->version >= AUDIT_SINCE;
}

struct audit client_audit(const struct client *client, const char *action, const char *noun,
                          const char *name)
{
    return (struct audit){.store = client->store, .action = action, .noun = noun, .name = name};
}

/* Begins the transaction with how the thing stands. */
static int begin_audit(struct audit *audit, struct rota_error *error)
{
    bool guess = audit->noun == NULL;
    if (guess)
        audit->noun = "trigger";
    if (audit_begin(audit, STORE_BEGIN, error) != 0)
        return -1;
    if (!guess || audit->before != NULL)
        return 0;
    audit->noun = "job";
    return audit_begin(audit, STORE_WITHIN, error);
}

int client_act(struct client *client, enum statement_id statement,
               const struct store_params *params, struct audit *audit, PGresult **ret_result,
               struct rota_error *error)
{
    PGresult *result = NULL;
    if (!client_audits(client))
        return store_wait(client->store, statement, params, 0, ret_result, error);
    int failed = begin_audit(audit, error);
    if (failed == 0)
        failed = store_wait(client->store, statement, params, STORE_WITHIN, &result, error);
    if (failed == 0 && audit->before != NULL)
        failed = audit_end(audit, STORE_WITHIN | STORE_COMMIT, error);
    else if (failed == 0)
        store_rollback(client->store);
    audit_free(audit);
    if (failed == 0)
        *ret_result = result;
    else
        PQclear(result);
    return failed;
}

int client_act_runs(struct client *client, const char *action, enum statement_id statement,
                    const struct store_params *params, const int64_t *runs, size_t count,
                    PGresult **ret_result, struct rota_error *error)
{
    char name[24];
    struct buffer request = {0};
    snprintf(name, sizeof name, "%lld", (long long)runs[0]);
    struct audit audit = client_audit(client, action, "run", name);
    buffer_string(&request, "{\"runs\":[");
    for (size_t i = 0; i < count; i++)
        buffer_format(&request, "%s%lld", i > 0 ? "," : "", (long long)runs[i]);
    buffer_string(&request, "]}");
    audit.request = (struct slice){request.data, request.length};
    int failed = client_act(client, statement, params, &audit, ret_result, error);
    buffer_free(&request);
    return failed;
}

/* ---- names and values ---- */

int client_unknown(struct client *client, const char *noun, const char *name,
                   struct rota_error *error)
{
    struct store_params params = {0};
    PGresult *result;
    size_t count = 0;
    params_text(&params, noun);
    params_text(&params, name);
    int failed = store_wait(client->store, SQL_NAME_LIKE, &params, 0, &result, error);
    store_params_free(&params);
    if (failed != 0)
        return -1;
    char **names = row_texts(result, 0, 0, &count);
    const char *nearest = text_nearest(name, (const char *const *)names, count);
    if (nearest != NULL)
        error_set(error, ERROR_NOT_FOUND, "no %s is called \"%s\": did you mean \"%s\"?", noun,
                  name, nearest);
    else
        error_set(error, ERROR_NOT_FOUND, "no %s is called \"%s\"; `rota get %ss` lists them", noun,
                  name, noun);
    free(names);
    PQclear(result);
    return -1;
}

void client_plain(struct rota_error *error)
{
    const char *text = strstr(error->message, ": ");
    if (error->code != ERROR_DATABASE && text != NULL &&
        strcspn(error->message, " ") > (size_t)(text - error->message))
        memmove(error->message, text + 2, strlen(text + 2) + 1);
}

int client_duration(const char *option, const char *text, int64_t *ret_duration_us,
                    struct rota_error *error)
{
    if (duration_parse(text, ret_duration_us) != 0 || *ret_duration_us == 0)
        return error_set(error, ERROR_USAGE, "%s \"%s\" is no duration: write 500ms, 30s, 5m",
                         option, text);
    return 0;
}

int client_number(const char *option, const char *text, int64_t low, int64_t high,
                  int64_t *ret_number, struct rota_error *error)
{
    if (text_int64(text, strlen(text), ret_number) != 0 || *ret_number < low || *ret_number > high)
        return error_set(error, ERROR_USAGE,
                         "%s must be a whole number from %lld to %lld, not \"%s\"", option,
                         (long long)low, (long long)high, text);
    return 0;
}
