/*
 * Whether a session is one: nodes need a connection whose advisory locks and LISTEN stay. A pooler
 * in the way shows by the number of the backend, which is not the one it has told; whether it
 * keeps the session to one backend is tried, with a second connection that takes the backend away.
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
    struct store *one; /* as a node's session */
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

static struct store *open_store(struct session *session, bool listens)
{
    const struct client *client = session->client;
    const struct store_config config = {.base = client->base,
                                        .log = &client->log,
                                        .url = client->session_url != NULL ? client->session_url
                                                                           : client->url,
                                        .schema = client->schema,
                                        .role_name = "doctor",
                                        .application_name = "rota doctor",
                                        .arg = session,
                                        .notified = listens ? on_notified : NULL};
    return store_new(&config);
}

/* Which backend answers, and whether it has our lock. */
static int look(struct session *session, bool take, int *ret_pid, bool *ret_has,
                struct rota_error *error)
{
    struct store_params params = {0};
    PGresult *result;
    params_int64(&params, session->key);
    params_bool(&params, take);
    int failed = store_wait(session->one, SQL_DOCTOR_SESSION, &params, 0, &result, error);
    store_params_free(&params);
    if (failed != 0)
        return -1;
    *ret_pid = row_int32(result, 0, 0);
    *ret_has = row_bool(result, 0, 1);
    PQclear(result);
    return 0;
}

/* While the other one has a transaction, a pooler that shares backends gives us another. */
static int look_beside_another(struct session *session, int *ret_pid, bool *ret_has,
                               struct rota_error *error)
{
    PGresult *result;
    if (store_wait(session->two, SQL_DOCTOR_CLOCK, NULL, STORE_BEGIN, &result, error) != 0)
        return -1;
    PQclear(result);
    int failed = look(session, false, ret_pid, ret_has, error);
    store_rollback(session->two);
    return failed;
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

static int try_all(struct session *session, struct doctor *doctor, struct rota_error *error)
{
    static const char direct[] = "give the nodes a direct connection: session_database_url";
    int first = 0, second = 0;
    bool has = false;
    if (store_wait_ready(session->one, NULL, error) != 0 ||
        store_wait_ready(session->two, NULL, error) != 0)
        return -1;
    int told = store_backend_pid(session->one);
    if (look(session, true, &first, &has, error) != 0 ||
        look_beside_another(session, &second, &has, error) != 0)
        return -1;
    if (first != second || !has)
        doctor_find(doctor, "bad", "session", "connection",
                    "locks of the session do not survive: a pooler shares its backends", direct);
    else if (told != first)
        doctor_find(doctor, "warn", "session", "connection",
                    "a pooler is in the way; it keeps the session, and cuts it as it likes",
                    direct);
    else
        doctor_find(doctor, "ok", "session", "connection", "direct: locks of the session survive",
                    NULL);
    if (try_notify(session, error) != 0)
        return -1;
    doctor_find(doctor, session->heard ? "ok" : "warn", "notify", "connection",
                session->heard ? "notifications arrive"
                               : "notifications do not arrive: nodes learn of work by polling",
                session->heard ? NULL : direct);
    return 0;
}

void doctor_session(struct doctor *doctor, struct client *client)
{
    struct rota_error error = {0};
    struct session session = {.client = client, .key = clock_wall_us()};
    snprintf(session.word, sizeof session.word, "%lld", (long long)session.key);
    session.one = open_store(&session, true);
    session.two = open_store(&session, false);
    if (try_all(&session, doctor, &error) != 0)
        doctor_find(doctor, "bad", "session", "connection", error.message,
                    "a direct connection that can be opened: session_database_url");
    store_free(session.one);
    store_free(session.two);
}
