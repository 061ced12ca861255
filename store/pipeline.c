/*
 * Calls over a ready connection: each is one sync of libpq's pipeline, so it succeeds or fails by
 * itself. Between BEGIN and the end of its transaction only the calls of that transaction are sent.
 * The transaction has syncs of its own, so that the server's idle_in_transaction_session_timeout
 * runs while we compute: it does not run between statements of one sync.
 *
 * Behind a pooler of transactions each call is a transaction, with its settings inside, and one
 * sync is out at a time: a pooler that counts no syncs gives the backend away at the first answer.
 */
#include "store/connection.h"

#include "base/clock.h"
#include "base/memory.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define BINARY 1

static void call_free(struct call *call)
{
    PQclear(call->result);
    store_params_free(&call->params);
    free(call->script);
    free(call);
}

static struct call *call_new(store_callback callback, void *arg)
{
    struct call *call = mem_alloc(sizeof *call);
    list_init(&call->link);
    call->callback = callback;
    call->arg = arg;
    return call;
}

static void answer(struct store *store, struct call *call, bool unknown)
{
    bool failed = call->error.code != ERROR_NONE;
    struct store_answer reply = {.result = failed ? NULL : call->result,
                                 .error = failed ? &call->error : NULL,
                                 .unknown = unknown};
    if (call->callback != NULL && !store->freed)
        call->callback(call->arg, &reply);
    call_free(call);
}

static void enqueue(struct store *store, struct list *list, struct call *call)
{
    if (store->state != STORE_READY && store->state != STORE_PREPARING) {
        list_append(&store->refused, &call->link);
        struct timeval now = {0, 0};
        evtimer_add(store->later, &now);
        return;
    }
    store->backlog++;
    list_append(list, &call->link);
    if (store->state == STORE_READY) {
        pipeline_pump(store);
        store_watch(store);
    }
}

void store_call(struct store *store, enum statement_id statement, const struct store_params *params,
                int flags, store_callback callback, void *arg)
{
    assert(params == NULL || params->count == statements[statement].parameters);
    assert((flags & STORE_WITHIN) == 0 || (flags & STORE_BEGIN) == 0);
    struct call *call = call_new(callback, arg);
    call->statement = statement;
    call->flags = flags;
    if (params != NULL) {
        call->params = *params;
        call->params.bytes = (struct buffer){0};
        buffer_append(&call->params.bytes, params->bytes.data, params->bytes.length);
    }
    assert(params != NULL || statements[statement].parameters == 0);
    enqueue(store, (flags & STORE_WITHIN) != 0 ? &store->within : &store->waiting, call);
}

void store_script(struct store *store, const char *text, store_callback callback, void *arg)
{
    struct call *call = call_new(callback, arg);
    call->script = mem_string(text);
    enqueue(store, &store->waiting, call);
}

void store_rollback(struct store *store)
{
    if (store->state != STORE_READY || !store->in_transaction)
        return;
    struct call *call = call_new(NULL, NULL);
    call->flags = STORE_WITHIN;
    call->rollback = true;
    enqueue(store, &store->within, call);
}

bool pipeline_prepare(struct store *store, enum statement_id statement)
{
    store->prepared[statement] = true;
    return PQsendPrepare(store->pg, statements[statement].name, store_text(store, statement), 0,
                         NULL) == 1;
}

static bool send_plain(struct store *store, const char *text)
{
    return PQsendQueryParams(store->pg, text, 0, NULL, NULL, NULL, NULL, BINARY) == 1;
}

static bool send_statement(struct store *store, struct call *call)
{
    const char *values[32];
    int formats[32];
    const char empty = '\0';
    for (int i = 0; i < call->params.count; i++) {
        bool null = call->params.lengths[i] < 0;
        const char *bytes = call->params.bytes.data != NULL ? call->params.bytes.data : &empty;
        values[i] = null ? NULL : bytes + call->params.offsets[i];
        formats[i] = BINARY;
    }
    if (pooler_unprepared(store))
        return PQsendQueryParams(store->pg, store_text(store, call->statement), call->params.count,
                                 NULL, values, call->params.lengths, formats, BINARY) == 1;
    return PQsendQueryPrepared(store->pg, statements[call->statement].name, call->params.count,
                               values, call->params.lengths, formats, BINARY) == 1;
}

static bool send_call(struct store *store, struct call *call)
{
    call->sent_us = clock_monotonic_us();
    if (call->script != NULL) {
        return PQexitPipelineMode(store->pg) == 1 && PQsendQuery(store->pg, call->script) == 1;
    }
    if (call->rollback)
        return send_plain(store, "ROLLBACK") && PQpipelineSync(store->pg) == 1;
    bool sent = true;
    if (store->pooled && (call->flags & (STORE_BEGIN | STORE_WITHIN)) == 0)
        call->flags |= STORE_BEGIN | STORE_COMMIT;
    if (!pooler_unprepared(store) && !store->prepared[call->statement]) {
        call->skip++;
        sent = pipeline_prepare(store, call->statement);
    }
    if ((call->flags & STORE_BEGIN) != 0) {
        call->skip++;
        store->in_transaction = true;
        sent = sent && send_plain(store, "BEGIN");
        if (store->pooled) {
            call->skip++;
            sent = sent && pooler_send_settings(store);
        }
    }
    sent = sent && send_statement(store, call);
    if ((call->flags & STORE_COMMIT) != 0)
        sent = sent && send_plain(store, "COMMIT");
    return sent && PQpipelineSync(store->pg) == 1;
}

static bool script_is_out(const struct store *store)
{
    return !list_empty(&store->sent) &&
           LIST_ITEM(store->sent.next, struct call, link)->script != NULL;
}

/* The next call that may be sent now, off its list; NULL if none. */
static struct call *next_call(struct store *store)
{
    struct list *list = store->in_transaction ? &store->within : &store->waiting;
    int depth = store->pooled ? 1 : STORE_DEPTH_MAX;
    if (list_empty(list) || store->sent_count >= depth || script_is_out(store))
        return NULL;
    struct call *call = LIST_ITEM(list->next, struct call, link);
    if (call->script != NULL && store->sent_count > 0)
        return NULL; /* a script leaves pipeline mode: everything before it must be answered */
    list_remove(&call->link);
    return call;
}

void pipeline_pump(struct store *store)
{
    struct call *call;
    while (store->state == STORE_READY && (call = next_call(store)) != NULL) {
        list_append(&store->sent, &call->link);
        store->sent_count++;
        if (!send_call(store, call)) {
            store_broken(store, "cannot send");
            return;
        }
        if (store->sent_count == 1)
            store_deadline(store);
    }
}

/* The transaction failed: the server waits for a ROLLBACK before it does anything else. */
static void roll_back_failed(struct store *store)
{
    LIST_EACH (&store->within, struct call, link, call) {
        list_remove(&call->link);
        list_append(&store->refused, &call->link);
        store->backlog--;
    }
    if (!list_empty(&store->refused)) {
        struct timeval now = {0, 0};
        evtimer_add(store->later, &now);
    }
    if (PQtransactionStatus(store->pg) == PQTRANS_IDLE)
        store->in_transaction = false;
    else
        store_rollback(store);
}

static void finish_call(struct store *store, struct call *call)
{
    list_remove(&call->link);
    store->sent_count--;
    store->backlog--;
    bool failed = call->error.code != ERROR_NONE;
    if ((call->flags & (STORE_BEGIN | STORE_WITHIN)) != 0) {
        if (call->rollback || (!failed && (call->flags & STORE_COMMIT) != 0))
            store->in_transaction = false;
        else if (failed)
            roll_back_failed(store);
    }
    struct rota_error error = call->error;
    store_deadline(store);
    answer(store, call, false);
    if (failed && !store->freed)
        store_refused(store, &error);
    if (store->state == STORE_READY && !store->freed)
        pipeline_pump(store);
}

static void take_result(struct store *store, struct call *call, PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);
    if (status == PGRES_FATAL_ERROR || status == PGRES_BAD_RESPONSE) {
        if (call->error.code == ERROR_NONE) {
            const char *what = call->script != NULL ? "script"
                               : call->rollback     ? "rollback"
                                                    : statements[call->statement].name;
            store_error(&call->error, result, store->pg, what);
            if (call->script == NULL && !call->rollback)
                store->prepared[call->statement] &= call->skip == 0 || call->result != NULL;
            if (pooler_tells(store, result)) { /* nothing was done: it can be asked again */
                pooler_found(store, call->error.message);
                call->error.code = ERROR_DATABASE;
                memcpy(call->error.sqlstate, "08000", 6);
            }
        }
    } else if ((status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK) && call->script == NULL) {
        if (call->skip > 0) {
            call->skip--;
        } else if (call->result == NULL) {
            call->result = result;
            return;
        }
    }
    PQclear(result);
}

static void read_script(struct store *store, struct call *call)
{
    while (!PQisBusy(store->pg)) {
        PGresult *result = PQgetResult(store->pg);
        if (result != NULL) {
            take_result(store, call, result);
            continue;
        }
        PQenterPipelineMode(store->pg);
        finish_call(store, call);
        return;
    }
}

void pipeline_read(struct store *store)
{
    while (store->state == STORE_READY && !list_empty(&store->sent) && !PQisBusy(store->pg)) {
        struct call *call = LIST_ITEM(store->sent.next, struct call, link);
        if (call->script != NULL) {
            read_script(store, call);
            if (script_is_out(store))
                return;
            continue;
        }
        PGresult *result = PQgetResult(store->pg);
        if (PQstatus(store->pg) == CONNECTION_BAD) {
            if (result != NULL)
                store_error(&store->error, result, store->pg, "connection lost");
            PQclear(result);
            store_broken(store, "connection lost");
            return;
        }
        if (result == NULL)
            continue; /* the end of one statement's results */
        if (PQresultStatus(result) != PGRES_PIPELINE_SYNC) {
            take_result(store, call, result);
            continue;
        }
        PQclear(result);
        finish_call(store, call);
    }
}

static void fail_list(struct store *store, struct list *list, bool sent)
{
    while (!list_empty(list)) {
        struct call *call = LIST_ITEM(list->next, struct call, link);
        list_remove(&call->link);
        call->error = store->error;
        answer(store, call, sent && call->script == NULL);
    }
}

static void take_list(struct list *to, struct list *from)
{
    LIST_EACH (from, struct call, link, call) {
        list_remove(&call->link);
        list_append(to, &call->link);
    }
}

void pipeline_lost(struct store *store)
{
    struct list sent, rest;
    list_init(&sent);
    list_init(&rest);
    take_list(&sent, &store->sent);
    take_list(&rest, &store->within);
    take_list(&rest, &store->waiting);
    store->sent_count = 0;
    store->backlog = 0;
    store->in_transaction = false;
    fail_list(store, &sent, true);
    fail_list(store, &rest, false);
}

void pipeline_refuse(struct store *store)
{
    struct list refused; /* apart, so that a caller who asks again waits for the next turn */
    list_init(&refused);
    take_list(&refused, &store->refused);
    fail_list(store, &refused, false);
}

static void free_list(struct list *list)
{
    LIST_EACH (list, struct call, link, call) {
        list_remove(&call->link);
        call_free(call);
    }
}

void pipeline_free(struct store *store)
{
    free_list(&store->sent);
    free_list(&store->within);
    free_list(&store->waiting);
    free_list(&store->refused);
}
