/*
 * Whether a session is one. Advisory locks, LISTEN and settings need one backend for the whole life
 * of a connection. A pooler in the way shows by the number of the backend, which is not the one it
 * told of; whether it keeps the session to one backend is tried: a second connection takes the
 * backend away, if it can.
 */
#include "store/connection.h"

#include "base/clock.h"

#define ROUNDS    5 /* beside the traffic of others the backend may be free again at once */
#define ANSWER_US (5 * US_PER_SECOND)

struct look {
    int pid;
    bool has; /* our lock */
};

/* Which backend answers, and whether it has the lock of this check. */
static int look(struct store *store, int64_t key, bool take, int flags, struct look *ret_look,
                struct rota_error *error)
{
    struct store_params params = {0};
    PGresult *result;
    params_int64(&params, key);
    params_bool(&params, take);
    int failed = store_wait(store, SQL_DOCTOR_SESSION, &params, flags, &result, error);
    store_params_free(&params);
    if (failed != 0)
        return -1;
    *ret_look = (struct look){row_int32(result, 0, 0), row_bool(result, 0, 1)};
    PQclear(result);
    return 0;
}

static int try_rounds(struct store *one, struct store *two, int64_t key, int pid,
                      enum store_session *ret_session, struct rota_error *error)
{
    struct look other, again;
    for (int round = 0; round < ROUNDS; round++) {
        /* while the other one has a transaction, a pooler that shares gives us another backend */
        if (look(two, key, false, STORE_BEGIN, &other, error) != 0)
            return -1;
        bool silent = look(one, key, false, 0, &again, error) != 0;
        store_rollback(two);
        if (silent && look(two, key, false, 0, &other, error) != 0)
            return -1; /* nobody is answered */
        if (silent || other.pid == pid || again.pid != pid || !again.has) {
            *ret_session = SESSION_SHARED; /* silent: the other one had the only backend */
            return 0;
        }
    }
    *ret_session = SESSION_POOLED;
    return 0;
}

/* Whether it can be given the settings that nodes need. */
static int try_settings(const struct store_config *config, enum store_session *ret_session,
                        struct rota_error *error)
{
    struct store_config settings = *config;
    settings.options = "";
    settings.roles = 0;
    settings.pooler = STORE_POOLER_NONE;
    struct store *store = store_new(&settings);
    int failed = store_wait_ready(store, NULL, error);
    store_free(store);
    if (failed != 0 && pooler_refuses_settings(error->message)) {
        *ret_session = SESSION_BARE;
        failed = 0;
    }
    return failed;
}

int store_session_check(const struct store_config *config, enum store_session *ret_session,
                        struct rota_error *error)
{
    struct store_config trial = *config;
    trial.options = NULL;
    trial.roles = 0;
    trial.pooler = STORE_POOLER_TRIAL;
    trial.answer_timeout_us = ANSWER_US;
    trial.ready = NULL;
    trial.lost = trial.failed = NULL;
    struct store *one = store_new(&trial), *two = NULL;
    int64_t key = clock_wall_us();
    struct look first;
    int failed = -1;
    if (store_wait_ready(one, NULL, error) != 0 || look(one, key, true, 0, &first, error) != 0)
        goto end;
    *ret_session = SESSION_DIRECT;
    failed = 0;
    if (first.pid == store_backend_pid(one))
        goto end;
    two = store_new(&trial);
    failed = store_wait_ready(two, NULL, error);
    if (failed == 0)
        failed = try_rounds(one, two, key, first.pid, ret_session, error);
    if (failed == 0 && *ret_session == SESSION_POOLED)
        failed = try_settings(config, ret_session, error);
end:
    store_free(one);
    store_free(two);
    return failed;
}

int store_session_refuse(enum store_session session, const char *setting, struct rota_error *error)
{
    static const char right[] = "give a direct connection to the same database as "
                                "session_database_url";
    if (session == SESSION_SHARED)
        return error_set(error, ERROR_REFUSED,
                         "%s goes through a pooler that shares its backends: locks and "
                         "notifications of a session do not survive there; %s",
                         setting, right);
    if (session == SESSION_BARE)
        return error_set(error, ERROR_REFUSED,
                         "%s goes through a pooler that refuses the settings of a session (the "
                         "startup parameter options); %s",
                         setting, right);
    return 0;
}
