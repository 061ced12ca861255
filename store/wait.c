/* Calls for straight-line code, which turns the loop until they are answered: commands, node start.
 */
#include "store/connection.h"

#include <event2/event.h>
#include <string.h>

#define SQLSTATE_UNKNOWN "08007" /* it may have happened */

struct waiter {
    bool done;
    PGresult *result;
    struct rota_error error;
};

static void on_answer(void *arg, const struct store_answer *answer)
{
    struct waiter *waiter = arg;
    waiter->done = true;
    if (answer->error != NULL)
        waiter->error = *answer->error;
    if (answer->error != NULL && answer->unknown)
        memcpy(waiter->error.sqlstate, SQLSTATE_UNKNOWN, sizeof SQLSTATE_UNKNOWN);
    if (answer->error == NULL && answer->result != NULL)
        waiter->result = PQcopyResult(answer->result, PG_COPYRES_ATTRS | PG_COPYRES_TUPLES);
}

static int finish(struct store *store, struct waiter *waiter, PGresult **ret_result,
                  struct rota_error *error)
{
    while (!waiter->done)
        event_base_loop(store->config.base, EVLOOP_ONCE);
    if (waiter->error.code != ERROR_NONE) {
        *error = waiter->error;
        PQclear(waiter->result);
        return -1;
    }
    if (ret_result != NULL)
        *ret_result = waiter->result;
    else
        PQclear(waiter->result);
    return 0;
}

int store_wait_ready(struct store *store, const bool *stop, struct rota_error *error)
{
    while (!store_ready(store)) {
        if (stop != NULL && *stop)
            return error_set(error, ERROR_REFUSED, "stopped before the database could be reached");
        if (stop == NULL && store->failures > 0) {
            *error = store->error;
            error->code = ERROR_DATABASE;
            return -1;
        }
        event_base_loop(store->config.base, EVLOOP_ONCE);
    }
    return 0;
}

int store_wait(struct store *store, enum statement_id statement, const struct store_params *params,
               int flags, PGresult **ret_result, struct rota_error *error)
{
    struct waiter waiter = {0};
    store_call(store, statement, params, flags, on_answer, &waiter);
    return finish(store, &waiter, ret_result, error);
}

int store_wait_script(struct store *store, const char *text, struct rota_error *error)
{
    struct waiter waiter = {0};
    store_script(store, text, on_answer, &waiter);
    return finish(store, &waiter, NULL, error);
}
