/*
 * Whether the connection whose locks and notifications nodes rely on is fit for it, and what the
 * other one goes through.
 */
#include "cmd/doctor.h"

#include "base/clock.h"
#include "base/memory.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOTIFY_WAIT_US (2 * US_PER_SECOND)
#define LOOK_US        (20 * US_PER_MS)

struct session {
    struct client *client;
    struct store *one; /* as a node's session: listens */
    struct store *two; /* somebody else, who goes through the same */
    int64_t key;
    char word[32];
    bool heard;
};

static void on_notified(void *arg, const char *payload)
{
    struct session *session = arg;
    session->heard = session->heard || strcmp(payload, session->word) == 0;
}

static struct store_config config_of(struct session *session, bool listens)
{
    const struct client *client = session->client;
    return (struct store_config){.base = client->base,
                                 .log = &client->log,
                                 .url = client->session_url != NULL ? client->session_url
                                                                    : client->url,
                                 .schema = client->schema,
                                 .role_name = "doctor",
                                 .application_name = "rota doctor",
                                 .pooler = STORE_POOLER_TRIAL,
                                 .arg = session,
                                 .notified = listens ? on_notified : NULL};
}

static struct store *open_store(struct session *session, bool listens)
{
    const struct store_config config = config_of(session, listens);
    return store_new(&config);
}

static int try_notify(struct session *session, struct rota_error *error)
{
    struct store_params params = {0};
    PGresult *result;
    if (store_wait(session->one, SQL_DOCTOR_LISTEN, NULL, 0, &result, error) != 0)
        return -1;
    PQclear(result);
    params_text(&params, session->word);
    int failed = store_wait(session->two, SQL_DOCTOR_NOTIFY, &params, 0, &result, error);
    store_params_free(&params);
    if (failed != 0)
        return -1;
    PQclear(result);
    int64_t until_us = clock_monotonic_us() + NOTIFY_WAIT_US;
    while (!session->heard && clock_monotonic_us() < until_us)
        client_pause(session->client, LOOK_US);
    return 0;
}

static void find_session(struct doctor *doctor, enum store_session session)
{
    static const char direct[] = "give the nodes a direct connection: session_database_url";
    switch (session) {
    case SESSION_SHARED:
        doctor_find(doctor, "bad", "session", "connection",
                    "locks of the session do not survive: a pooler shares its backends", direct);
        return;
    case SESSION_BARE:
        doctor_find(doctor, "bad", "session", "connection",
                    "a pooler is in the way; it refuses the settings of the session", direct);
        return;
    case SESSION_POOLED:
        doctor_find(doctor, "warn", "session", "connection",
                    "a pooler is in the way; it keeps the session, and cuts it as it likes",
                    direct);
        return;
    case SESSION_DIRECT:
        doctor_find(doctor, "ok", "session", "connection", "direct: locks of the session survive",
                    NULL);
    }
}

/* The hot path, as this command itself is connected. */
static void find_work(struct doctor *doctor, const struct client *client)
{
    if (store_pooled(client->store))
        doctor_find(doctor, "ok", "pooler", "connection",
                    "database_url goes through a pooler of transactions: nodes work through it, "
                    "at a part of their speed",
                    NULL);
}

static int try_all(struct session *session, struct doctor *doctor, struct rota_error *error)
{
    enum store_session kind;
    const struct store_config config = config_of(session, false);
    if (store_session_check(&config, &kind, error) != 0)
        return -1;
    find_session(doctor, kind);
    session->one = open_store(session, true);
    session->two = open_store(session, false);
    if (store_wait_ready(session->one, NULL, error) != 0 ||
        store_wait_ready(session->two, NULL, error) != 0 || try_notify(session, error) != 0)
        return -1;
    doctor_find(doctor, session->heard ? "ok" : "warn", "notify", "connection",
                session->heard ? "notifications arrive"
                               : "notifications do not arrive: nodes learn of work by polling",
                session->heard ? NULL : "a direct connection: session_database_url");
    return 0;
}

void doctor_session(struct doctor *doctor, struct client *client)
{
    struct rota_error error = {0};
    struct session session = {.client = client, .key = clock_wall_us()};
    snprintf(session.word, sizeof session.word, "%lld", (long long)session.key);
    if (try_all(&session, doctor, &error) != 0)
        doctor_find(doctor, "bad", "session", "connection", error.message,
                    "a direct connection that can be opened: session_database_url");
    find_work(doctor, client);
    store_free(session.one);
    store_free(session.two);
}
