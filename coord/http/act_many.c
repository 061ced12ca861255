/*
 * Actions on many runs of one job: what `rota cancel --job` and `rota retry --failed` do, a page at
 * a time, each of them one transaction.
 */
#include "coord/http/act.h"

#include "base/json.h"
#include "base/memory.h"
#include "store/store.h"

#include <stdlib.h>

#define RUNS_MAX 1000 /* of one call */

/* The runs of a page, in the order of their ids or of their ends. */
struct page {
    int64_t *ids;
    size_t count;
};

/* {"runs":[{"run":1,"answer":"cancelled"},…],"more":…,"last":…} */
static void put_end(struct web_act *act, const struct page *page)
{
    buffer_format(&act->answer,
                  "],\"more\":%s,\"last\":", page->count == RUNS_MAX ? "true" : "false");
    if (page->count > 0)
        buffer_format(&act->answer, "%lld}", (long long)page->ids[page->count - 1]);
    else
        buffer_string(&act->answer, "null}");
}

/* ---- cancel ---- */

static int find_runs(struct web_act *act, int64_t after, struct page *page,
                     struct rota_error *error)
{
    struct store_params params = {0};
    PGresult *result;
    params_text(&params, act->name);
    params_int64(&params, after);
    params_null(&params);
    params_int64(&params, RUNS_MAX);
    int failed = store_wait(act->store, SQL_RUN_OF_JOB, &params, STORE_WITHIN, &result, error);
    store_params_free(&params);
    if (failed != 0)
        return -1;
    if (PQntuples(result) == 0)
        failed = error_set(error, ERROR_NOT_FOUND, "%s", "");
    else
        page->ids = row_int64s(result, 0, 1, &page->count);
    PQclear(result);
    return failed;
}

static int cancel_page(struct web_act *act, const struct page *page, const char *reason,
                       struct rota_error *error)
{
    struct store_params params = {0};
    PGresult *result;
    params_int64s(&params, page->ids, page->count);
    params_text(&params, reason);
    int failed = store_wait(act->store, SQL_RUN_CANCEL, &params, STORE_WITHIN, &result, error);
    store_params_free(&params);
    if (failed != 0)
        return -1;
    for (int i = 0; i < PQntuples(result); i++)
        buffer_format(&act->answer, "%s{\"run\":%lld,\"answer\":\"%s\"}", i > 0 ? "," : "",
                      (long long)row_int64(result, i, 0), row_text(result, i, 1));
    PQclear(result);
    return 0;
}

int web_act_cancel_job(struct web_act *act, struct rota_error *error)
{
    struct page page = {0};
    struct json json;
    int64_t after = 0;
    if (json_parse(&json, act->body.data, act->body.length, error) != 0)
        return -1;
    const struct json_value *given = json_get(&json, json.values, "after");
    const struct json_value *said = json_get(&json, json.values, "reason");
    char *reason = said != NULL && said->type == JSON_STRING ? json_text(said) : NULL;
    if (given != NULL && given->type == JSON_NUMBER)
        json_int64(given, &after);
    json_free(&json);
    int failed = web_act_begin(act, "cancel", "job", act->name, error);
    buffer_string(&act->answer, "{\"runs\":[");
    if (failed == 0 && (find_runs(act, after, &page, error) != 0 ||
                        cancel_page(act, &page, reason != NULL ? reason : "cancelled", error) != 0))
        failed = web_act_abort(act, error);
    if (failed == 0) {
        put_end(act, &page);
        if (web_act_end(act, error) != 0)
            failed = web_act_abort(act, error);
    }
    free(page.ids);
    free(reason);
    return failed;
}

/* ---- retry ---- */

static int find_failed(struct web_act *act, const char *outcome, struct page *page,
                       struct rota_error *error)
{
    struct store_params params = {0};
    PGresult *result;
    params_text(&params, act->name);
    params_text(&params, outcome);
    params_null(&params);
    params_int64(&params, 0);
    params_null(&params);
    params_int64(&params, RUNS_MAX);
    params_null(&params);
    params_bool(&params, true);
    int failed = store_wait(act->store, SQL_RUN_DEAD, &params, STORE_WITHIN, &result, error);
    store_params_free(&params);
    if (failed != 0)
        return -1;
    page->count = (size_t)PQntuples(result);
    page->ids = mem_array(page->count + 1, sizeof *page->ids);
    for (size_t i = 0; i < page->count; i++)
        page->ids[i] = row_int64(result, (int)i, 0);
    PQclear(result);
    return 0;
}

static int retry_page(struct web_act *act, const struct page *page, struct rota_error *error)
{
    struct store_params params = {0};
    PGresult *result;
    bool first = true;
    params_int64s(&params, page->ids, page->count);
    params_bool(&params, false);
    int failed = store_wait(act->store, SQL_RUN_AGAIN, &params, STORE_WITHIN, &result, error);
    store_params_free(&params);
    if (failed != 0)
        return -1;
    for (int i = 0; i < PQntuples(result); i++) {
        if (row_null(result, i, 1))
            continue; /* somebody else has settled it meanwhile */
        buffer_format(&act->answer, "%s{\"run\":%lld,\"new\":%lld,\"answer\":\"retried\"}",
                      first ? "" : ",", (long long)row_int64(result, i, 0),
                      (long long)row_int64(result, i, 1));
        first = false;
    }
    PQclear(result);
    return 0;
}

static int check_job(struct web_act *act, struct rota_error *error)
{
    struct store_params params = {0};
    PGresult *result;
    params_text(&params, act->name);
    int failed = store_wait(act->store, SQL_RUN_TASK_KNOWN, &params, STORE_WITHIN, &result, error);
    store_params_free(&params);
    if (failed != 0)
        return -1;
    if (!row_bool(result, 0, 0))
        failed = error_set(error, ERROR_NOT_FOUND, "%s", "");
    PQclear(result);
    return failed;
}

int web_act_retry_job(struct web_act *act, struct rota_error *error)
{
    struct page page = {0};
    struct json json;
    if (json_parse(&json, act->body.data, act->body.length, error) != 0)
        return -1;
    const struct json_value *given = json_get(&json, json.values, "outcome");
    char *outcome = given != NULL && given->type == JSON_STRING ? json_text(given) : NULL;
    json_free(&json);
    int failed = web_act_begin(act, "retry", "job", act->name, error);
    buffer_string(&act->answer, "{\"runs\":[");
    if (failed == 0 &&
        (check_job(act, error) != 0 || find_failed(act, outcome, &page, error) != 0 ||
         retry_page(act, &page, error) != 0))
        failed = web_act_abort(act, error);
    if (failed == 0) {
        put_end(act, &page);
        if (web_act_end(act, error) != 0)
            failed = web_act_abort(act, error);
    }
    free(page.ids);
    free(outcome);
    return failed;
}
