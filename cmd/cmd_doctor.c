/*
 * `rota doctor`: looks at the installation and says what hurts or will. The statements judge; each
 * of their rows is a finding. Exit 1 where anything is bad.
 */
#include "cmd/doctor.h"

#include "base/clock.h"
#include "base/instant.h"
#include "cmd/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OLD_SNAPSHOT_US (30 * US_PER_SECOND)
#define CLOCK_WARN_US   (1 * US_PER_SECOND)
#define CLOCK_BAD_US    (60 * US_PER_SECOND)

static const char help_text[] =
    "Usage: rota doctor [--old-snapshot D] [--json]\n"
    "\n"
    "Looks at the database, its settings, the way to it, nodes, leases, handlers, triggers, lanes\n"
    "and the history, and says what hurts and what would be right. Exit status 1 if anything is\n"
    "bad.\n"
    "\n"
    "  --old-snapshot DURATION  from which age on a snapshot is worth a warning (30s)\n"
    "  --json                   one JSON document\n"
    "\n";

struct options {
    int64_t old_us;
    bool json;
};

/* ---- findings ---- */

static void put(struct buffer *out, const char *name, const char *text)
{
    buffer_format(out, ",\"%s\":", name);
    if (text != NULL)
        buffer_json(out, text, strlen(text));
    else
        buffer_string(out, "null");
}

void doctor_find(struct doctor *doctor, const char *level, const char *check, const char *where,
                 const char *what, const char *right)
{
    bool ok = strcmp(level, "ok") == 0;
    *(ok ? &doctor->ok : strcmp(level, "bad") == 0 ? &doctor->bad : &doctor->warn) += 1;
    buffer_string(&doctor->json, doctor->json.length > 0 ? "," : "");
    buffer_format(&doctor->json, "{\"level\":\"%s\",\"check\":\"%s\"", level, check);
    put(&doctor->json, "where", where);
    put(&doctor->json, "what", what);
    put(&doctor->json, "right", ok ? NULL : right);
    buffer_char(&doctor->json, '}');
    buffer_format(&doctor->text, "%-4s  %s: %s\n", level, where, what);
    if (!ok && right != NULL)
        buffer_format(&doctor->text, "      → %s\n", right);
}

/* A statement that fails is a finding, too: the others go on. */
static void ask(struct doctor *doctor, struct client *client, enum statement_id statement,
                const struct store_params *params)
{
    struct rota_error error = {0};
    PGresult *result;
    if (store_wait(client->store, statement, params, 0, &result, &error) != 0) {
        doctor_find(doctor, "bad", statements[statement].name, "database", error.message,
                    "a role that may read rota's schema, and a server that answers");
        return;
    }
    for (int row = 0; row < PQntuples(result); row++)
        doctor_find(doctor, row_text(result, row, 0), row_text(result, row, 1),
                    row_text(result, row, 2), row_text(result, row, 3), row_text(result, row, 4));
    PQclear(result);
}

/* ---- what is no statement ---- */

static void look_at_clock(struct doctor *doctor, struct client *client)
{
    struct rota_error error = {0};
    char text[TIME_TEXT_SIZE], what[160];
    PGresult *result;
    int64_t sent_us = clock_wall_us();
    if (store_wait(client->store, SQL_DOCTOR_CLOCK, NULL, 0, &result, &error) != 0)
        return; /* the statement before has said so */
    int64_t heard_us = clock_wall_us();
    int64_t offset_us = row_time(result, 0, 0) - (sent_us + heard_us) / 2;
    int64_t apart_us = offset_us < 0 ? -offset_us : offset_us;
    PQclear(result);
    int64_t shown_us = apart_us / US_PER_MS * US_PER_MS;
    snprintf(what, sizeof what, "its clock is %s %s that of the database",
             duration_format(shown_us, text), offset_us < 0 ? "ahead of" : "behind");
    doctor_find(doctor,
                apart_us > CLOCK_BAD_US    ? "bad"
                : apart_us > CLOCK_WARN_US ? "warn"
                                           : "ok",
                "clock", "this machine", what,
                "let both follow a time server; what is due is decided by the database's");
}

/* Whether the schema is one whose tables can be asked. */
static bool look_at_schema(struct doctor *doctor, struct client *client)
{
    struct rota_error error = {0};
    char what[200];
    int version = 0;
    if (store_check_schema(client->store, &version, &error) != 0) {
        doctor_find(doctor, "bad", "schema_version", "database", error.message,
                    "run the newer rota here, too");
        return false;
    }
    snprintf(what, sizeof what, "schema \"%.63s\" is at version %d, this rota knows %d",
             client->schema, version, migration_count);
    if (version == 0)
        snprintf(what, sizeof what, "schema \"%.63s\" is not set up", client->schema);
    bool old = version < migration_count;
    doctor_find(doctor, old ? "bad" : "ok", "schema_version", "database", what,
                "`rota migrate`, or the start of a node, brings it up to date");
    return !old;
}

/* ---- */

static void look_at_all(struct doctor *doctor, struct client *client, const struct options *options)
{
    static const enum statement_id fleet[] = {SQL_DOCTOR_CONNECTIONS, SQL_DOCTOR_NODES,
                                              SQL_DOCTOR_WORK, SQL_DOCTOR_HISTORY};
    struct store_params old = {0};
    bool has_schema = look_at_schema(doctor, client);
    ask(doctor, client, SQL_DOCTOR_SERVER, NULL);
    look_at_clock(doctor, client);
    doctor_session(doctor, client);
    if (!has_schema)
        return;
    for (size_t i = 0; i < sizeof fleet / sizeof *fleet; i++)
        ask(doctor, client, fleet[i], NULL);
    params_int64(&old, options->old_us / US_PER_MS);
    ask(doctor, client, SQL_DOCTOR_HORIZON, &old);
    store_params_free(&old);
}

static int run(struct client *client, void *arg, struct rota_error *error)
{
    struct doctor doctor = {0};
    const struct options *options = arg;
    look_at_all(&doctor, client, options);
    if (options->json)
        printf("{\"ok\":%d,\"warn\":%d,\"bad\":%d,\"findings\":[%s]}\n", doctor.ok, doctor.warn,
               doctor.bad, buffer_text(&doctor.json));
    else
        fputs(buffer_text(&doctor.text), stdout);
    int failed = doctor.bad == 0 ? 0
                                 : error_set(error, ERROR_REFUSED, "%d of %d findings %s bad",
                                             doctor.bad, doctor.ok + doctor.warn + doctor.bad,
                                             doctor.bad == 1 ? "is" : "are");
    buffer_free(&doctor.json);
    buffer_free(&doctor.text);
    return failed;
}

static int take(int argc, char **argv, int *i, void *arg, struct rota_error *error)
{
    struct options *options = arg;
    const char *value;
    int taken = cmd_option(argc, argv, i, "--old-snapshot", &value, error);
    if (taken > 0 && client_duration("--old-snapshot", value, &options->old_us, error) != 0)
        return -1;
    if (taken == 0 && strcmp(argv[*i], "--json") == 0)
        return options->json = true;
    return taken;
}

int cmd_doctor(int argc, char **argv)
{
    static const char *const own[] = {"--old-snapshot", "--json", NULL};
    static const struct client_command command = {.name = "doctor",
                                                  .help = help_text,
                                                  .own = own,
                                                  .scope = SCOPE_CLIENT | SCOPE_DOCTOR,
                                                  .any_schema = true,
                                                  .take = take,
                                                  .run = run};
    struct options options = {.old_us = OLD_SNAPSHOT_US};
    return client_main(&command, &options, argc, argv);
}
