/*
 * Actions that make or end runs: what `rota fire`, `enqueue`, `cancel` and `retry` do, with the
 * same statements.
 */
#include "coord/http/act.h"

#include "base/clock.h"
#include "base/instant.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/text.h"
#include "store/store.h"

#include <stdlib.h>
#include <string.h>

#define RUNS_MAX 1000         /* of one call */
#define DATA_MAX (256u << 10) /* bytes of one run, as for `rota enqueue` */

/* What a function of the schema refuses, it says in words for users: without the statement's name.
 */
static int plain(struct rota_error *error)
{
    const char *text = strstr(error->message, ": ");
    if (error->code != ERROR_DATABASE && text != NULL &&
        strcspn(error->message, " ") > (size_t)(text - error->message))
        memmove(error->message, text + 2, strlen(text + 2) + 1);
    return -1;
}

static int refused(struct web_act *act, struct rota_error *error)
{
    web_act_abort(act, error);
    if (store_is(error, "22023") || store_is(error, "53400") || store_is(error, "55000")) {
        bool unknown = store_is(error, "22023") && (strstr(error->message, "is called") != NULL);
        plain(error);
        error->code = unknown ? ERROR_NOT_FOUND : ERROR_REFUSED;
        error->sqlstate[0] = '\0';
        if (unknown)
            error->message[0] = '\0';
    }
    return -1;
}

/* ---- fire ---- */

static int fire(struct web_act *act, const char *noun, struct rota_error *error)
{
    struct store_params params = {0};
    PGresult *result;
    if (web_act_begin(act, "fire", noun, act->name, error) != 0)
        return -1;
    params_text(&params, act->name);
    int failed = store_wait(act->store, SQL_RUN_FIRE, &params, STORE_WITHIN, &result, error);
    store_params_free(&params);
    if (failed != 0)
        return refused(act, error);
    buffer_format(&act->answer, "{\"run\":%lld}", (long long)row_int64(result, 0, 0));
    PQclear(result);
    return web_act_end(act, error) == 0 ? 0 : web_act_abort(act, error);
}

int web_act_fire_job(struct web_act *act, struct rota_error *error)
{
    return fire(act, "job", error);
}

int web_act_fire_trigger(struct web_act *act, struct rota_error *error)
{
    return fire(act, "trigger", error);
}

/* ---- enqueue ---- */

struct wish {
    struct slice items[RUNS_MAX];
    size_t count;
    int64_t at_us, in_us, priority, expires_us;
    int64_t after[RUNS_MAX];
    size_t after_count;
    char *key, *on_conflict, *traceparent;
    bool after_any;
};

static int bad(struct rota_error *error, const char *name, const char *what)
{
    return error_set(error, ERROR_USAGE, "%s: %s", name, what);
}

static int check_item(const struct json_value *value, const char *name, struct rota_error *error)
{
    if (value->type != JSON_OBJECT)
        return bad(error, name, "the data of a run is a JSON object");
    if (value->raw.length > DATA_MAX)
        return bad(error, name, "the data of a run has at most 256 KiB; pass a reference instead");
    return 0;
}

static int take_items(const struct json *json, struct wish *wish, struct rota_error *error)
{
    const struct json_value *data = json_get(json, json->values, "data");
    const struct json_value *items = json_get(json, json->values, "items");
    if (data != NULL && items != NULL)
        return bad(error, "items", "goes without data, which is that of one run");
    if (items == NULL) {
        wish->count = 1;
        wish->items[0] = data != NULL && data->type != JSON_NULL ? data->raw : SLICE_NONE;
        return wish->items[0].data != NULL ? check_item(data, "data", error) : 0;
    }
    if (items->count == 0 || items->count > RUNS_MAX)
        return bad(error, "items", "has 1 to 1000 objects");
    for (const struct json_value *at = json_first(json, items); at != NULL;
         at = json_next(json, at)) {
        if (check_item(at, "items", error) != 0)
            return -1;
        wish->items[wish->count++] = at->raw;
    }
    return 0;
}

static int take_after(const struct json *json, struct wish *wish, struct rota_error *error)
{
    const struct json_value *after = json_get(json, json->values, "after");
    if (after == NULL || after->type == JSON_NULL)
        return 0;
    if (after->count > RUNS_MAX)
        return bad(error, "after", "has at most 1000 ids");
    for (const struct json_value *at = json_first(json, after); at != NULL;
         at = json_next(json, at))
        if (at->type != JSON_NUMBER || json_int64(at, &wish->after[wish->after_count++]) != 0)
            return bad(error, "after", "is a list of ids of runs");
    return 0;
}

/* A text of the body, to be freed; NULL: not given. */
static char *text_of(const struct json *json, const char *name)
{
    const struct json_value *value = json_get(json, json->values, name);
    return value != NULL && value->type == JSON_STRING ? json_text(value) : NULL;
}

static int take_times(const struct json *json, struct wish *wish, struct rota_error *error)
{
    char *at = text_of(json, "at"), *in = text_of(json, "in"),
         *expires = text_of(json, "expires_in");
    int failed = 0;
    wish->at_us = STORE_NULL_TIME;
    if (at != NULL && in != NULL)
        failed = bad(error, "in", "goes without at");
    else if (at != NULL && instant_parse(at, &wish->at_us) != 0)
        failed = bad(error, "at", "is no instant: write 2026-12-24T18:00:00Z");
    else if (in != NULL && duration_parse(in, &wish->in_us) != 0)
        failed = bad(error, "in", "is no duration: write 500ms, 30s, 5m");
    else if (expires != NULL &&
             (duration_parse(expires, &wish->expires_us) != 0 || wish->expires_us == 0))
        failed = bad(error, "expires_in", "is no duration: write 500ms, 30s, 5m");
    free(at);
    free(in);
    free(expires);
    return failed;
}

static int take_wish(const struct json *json, struct wish *wish, struct rota_error *error)
{
    const struct json_value *priority = json_get(json, json->values, "priority");
    const struct json_value *any = json_get(json, json->values, "after_any");
    wish->after_any = any != NULL && json_true(any);
    wish->key = text_of(json, "key");
    wish->on_conflict = text_of(json, "on_conflict");
    wish->traceparent = text_of(json, "traceparent");
    if (priority != NULL && priority->type == JSON_NUMBER &&
        (json_int64(priority, &wish->priority) != 0 || wish->priority < 1 || wish->priority > 100))
        return bad(error, "priority", "is a whole number from 1 to 100");
    if (take_items(json, wish, error) != 0 || take_after(json, wish, error) != 0)
        return -1;
    return take_times(json, wish, error);
}

static void put_params(struct store_params *params, const char *job, const struct wish *wish)
{
    params_text(params, job);
    params_slices(params, PARAMS_JSON, wish->items, wish->count);
    params_time(params, wish->at_us);
    params_int64(params, wish->in_us / US_PER_MS);
    if (wish->priority > 0)
        params_int32(params, (int32_t)wish->priority);
    else
        params_null(params);
    params_text(params, wish->key);
    params_text(params, wish->on_conflict);
    if (wish->after_count > 0)
        params_int64s(params, wish->after, wish->after_count);
    else
        params_null(params);
    params_bool(params, wish->after_any);
    if (wish->expires_us > 0)
        params_int64(params, (wish->expires_us + US_PER_MS - 1) / US_PER_MS);
    else
        params_null(params);
    params_text(params, wish->traceparent);
    params_bool(params, false);
}

/* {"runs":[…],"conflicts":[…]}, or what refuses all of them. */
static int take_runs(struct web_act *act, const PGresult *result, struct rota_error *error)
{
    struct buffer *out = &act->answer;
    bool first = true;
    buffer_string(out, "{\"runs\":[");
    for (int i = 0; i < PQntuples(result); i++)
        buffer_format(out, "%s%lld", i > 0 ? "," : "",
                      row_null(result, i, 0) ? 0 : (long long)row_int64(result, i, 0));
    buffer_string(out, "],\"conflicts\":[");
    for (int i = 0; i < PQntuples(result); i++) {
        const char *conflict = row_text(result, i, 1);
        if (conflict == NULL)
            continue;
        if (strcmp(conflict, "rejected") == 0)
            return error_set(error, ERROR_REFUSED,
                             "run %lld of \"%s\" has this key already; nothing was queued",
                             (long long)row_int64(result, i, 0), act->name);
        if (strcmp(conflict, "undecided") == 0)
            return error_set(error, ERROR_TIMEOUT,
                             "the key is in the hands of a transaction that has not ended; nothing "
                             "was queued, try again");
        buffer_format(out, "%s{\"index\":%d,\"run\":%lld,\"conflict\":\"%s\"}", first ? "" : ",", i,
                      (long long)row_int64(result, i, 0), conflict);
        first = false;
    }
    buffer_string(out, "]}");
    return 0;
}

static int enqueue(struct web_act *act, const struct wish *wish, struct rota_error *error)
{
    struct store_params params = {0};
    PGresult *result;
    if (web_act_begin(act, "enqueue", "job", act->name, error) != 0)
        return -1;
    put_params(&params, act->name, wish);
    int failed = store_wait(act->store, SQL_RUN_ENQUEUE, &params, STORE_WITHIN, &result, error);
    store_params_free(&params);
    if (failed != 0)
        return refused(act, error);
    failed = take_runs(act, result, error);
    PQclear(result);
    if (failed != 0 || web_act_end(act, error) != 0)
        return web_act_abort(act, error);
    return 0;
}

int web_act_enqueue(struct web_act *act, struct rota_error *error)
{
    struct json json;
    struct wish *wish = mem_alloc(sizeof *wish);
    int failed = json_parse(&json, act->body.data, act->body.length, error);
    if (failed == 0) {
        failed = take_wish(&json, wish, error);
        if (failed == 0)
            failed = enqueue(act, wish, error);
        json_free(&json);
    }
    free(wish->key);
    free(wish->on_conflict);
    free(wish->traceparent);
    free(wish);
    return failed;
}

/* ---- cancel and retry ---- */

static int run_of(const struct web_act *act, int64_t *ret_run, struct rota_error *error)
{
    if (text_int64(act->name, strlen(act->name), ret_run) != 0 || *act->name == '0' ||
        *ret_run <= 0) /* answers repeat it: 007 is no number of JSON */
        return error_set(error, ERROR_NOT_FOUND, "%s", "");
    return 0;
}

static int cancel(struct web_act *act, int64_t run, const char *reason, struct rota_error *error)
{
    struct store_params params = {0};
    PGresult *result;
    params_int64s(&params, &run, 1);
    params_text(&params, reason);
    int failed = store_wait(act->store, SQL_RUN_CANCEL, &params, STORE_WITHIN, &result, error);
    store_params_free(&params);
    if (failed != 0)
        return -1;
    const char *answer = row_text(result, 0, 1);
    if (strcmp(answer, "not_found") == 0)
        failed = error_set(error, ERROR_NOT_FOUND, "%s", "");
    else
        buffer_format(&act->answer, "{\"run\":%lld,\"answer\":\"%s\"}", (long long)run, answer);
    PQclear(result);
    return failed;
}

int web_act_cancel(struct web_act *act, struct rota_error *error)
{
    struct json json;
    int64_t run;
    if (run_of(act, &run, error) != 0 ||
        json_parse(&json, act->body.data, act->body.length, error) != 0)
        return -1;
    char *reason = text_of(&json, "reason");
    json_free(&json);
    int failed = web_act_begin(act, "cancel", "run", act->name, error);
    if (failed == 0 && (cancel(act, run, reason != NULL ? reason : "cancelled", error) != 0 ||
                        web_act_end(act, error) != 0))
        failed = refused(act, error);
    free(reason);
    return failed;
}

/* Why a row of run_again.sql or run_discard.sql says that nothing was done. */
static int not_settled(const struct web_act *act, const PGresult *result, struct rota_error *error)
{
    const char *place = row_text(result, 0, 2);
    if (place == NULL)
        return error_set(error, ERROR_NOT_FOUND, "%s", "");
    if (strcmp(place, "over") != 0)
        return error_set(error, ERROR_REFUSED, "run %s is not over", act->name);
    if (row_bool(result, 0, 3) && !row_null(result, 0, 4))
        return error_set(error, ERROR_REFUSED, "run %s was run again before, as run %lld",
                         act->name, (long long)row_int64(result, 0, 4));
    if (row_bool(result, 0, 3))
        return error_set(error, ERROR_REFUSED, "run %s was discarded before", act->name);
    return error_set(error, ERROR_REFUSED, "the job of run %s is not there any more", act->name);
}

static int take_again(struct web_act *act, const PGresult *result, struct rota_error *error)
{
    if (row_null(result, 0, 1))
        return not_settled(act, result, error);
    buffer_format(&act->answer, "{\"run\":%s,\"new\":%lld,\"answer\":\"retried\"}", act->name,
                  (long long)row_int64(result, 0, 1));
    return 0;
}

static int take_discarded(struct web_act *act, const PGresult *result, struct rota_error *error)
{
    const char *place = row_text(result, 0, 2);
    if (place == NULL || strcmp(place, "over") != 0 || row_bool(result, 0, 3))
        return not_settled(act, result, error);
    buffer_format(&act->answer, "{\"run\":%s,\"answer\":\"discarded\"}", act->name);
    return 0;
}

/* The frame of both: a statement about one run. */
static int settle(struct web_act *act, const char *action, enum statement_id statement,
                  const struct store_params *params,
                  int (*take)(struct web_act *, const PGresult *, struct rota_error *),
                  struct rota_error *error)
{
    PGresult *result;
    if (web_act_begin(act, action, "run", act->name, error) != 0)
        return -1;
    int failed = store_wait(act->store, statement, params, STORE_WITHIN, &result, error);
    if (failed == 0) {
        failed = take(act, result, error);
        PQclear(result);
    }
    if (failed != 0 || web_act_end(act, error) != 0)
        return refused(act, error);
    return 0;
}

int web_act_retry(struct web_act *act, struct rota_error *error)
{
    struct store_params params = {0};
    struct json json;
    int64_t run;
    if (run_of(act, &run, error) != 0 ||
        json_parse(&json, act->body.data, act->body.length, error) != 0)
        return -1;
    const struct json_value *again = json_get(&json, json.values, "again");
    params_int64s(&params, &run, 1);
    params_bool(&params, again != NULL && json_true(again));
    json_free(&json);
    int failed = settle(act, "retry", SQL_RUN_AGAIN, &params, take_again, error);
    store_params_free(&params);
    return failed;
}

int web_act_discard(struct web_act *act, struct rota_error *error)
{
    struct store_params params = {0};
    int64_t run;
    if (run_of(act, &run, error) != 0)
        return -1;
    params_int64s(&params, &run, 1);
    int failed = settle(act, "discard", SQL_RUN_DISCARD, &params, take_discarded, error);
    store_params_free(&params);
    return failed;
}
