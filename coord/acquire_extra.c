/*
 * Acquire, for claimed runs that have something beside their row: it is read once, after the claim
 * and before they go to a worker. Plain runs of the same claim do not wait for that.
 */
#include "coord/acquire_step.h"

#include "base/json.h"
#include "base/memory.h"

#include <string.h>

/*
 * Whether a worker had it before: such a run is not late any more, however long its next attempt
 * waits. What became of earlier attempts says it; a run that was only put back has none.
 */
static bool has_begun(const struct run *run)
{
    struct json json;
    bool begun = run->attempt > 1 || run->recovering;
    if (begun || run->earlier == NULL ||
        json_parse(&json, run->earlier, strlen(run->earlier), NULL) != 0)
        return begun;
    if (json.values->type == JSON_ARRAY)
        for (const struct json_value *at = json_first(&json, json.values); at != NULL;
             at = json_next(&json, at))
            begun = begun || (at->type == JSON_OBJECT && json_get(&json, at, "attempt") != NULL);
    json_free(&json);
    return begun;
}

static void take_row(struct acquire *a, const PGresult *result, int row)
{
    struct run *run =
        runs_find(a->node->runs, row_int64(result, row, 0), row_int64(result, row, 1));
    if (run == NULL)
        return; /* taken from us meanwhile */
    run->traceparent = mem_string(row_text(result, row, 2));
    run->expired = row_bool(result, row, 3) && !has_begun(run);
}

static void on_extras(void *arg, const struct store_answer *answer)
{
    struct acquire *a = arg;
    if (a->step != STEP_LOAD_EXTRA)
        return;
    if (answer->error != NULL) {
        acquire_failed(a, answer->error);
        return;
    }
    for (int row = 0; row < PQntuples(answer->result); row++)
        take_row(a, answer->result, row);
    for (size_t i = 0; i < a->held_count; i++)
        a->held[i]->extra_known = true;
    acquire_go_on(a);
}

bool acquire_load_extras(struct acquire *a)
{
    struct run *plain[NODE_CLAIM_MAX];
    int64_t ids[NODE_CLAIM_MAX], fences[NODE_CLAIM_MAX];
    size_t plain_count = 0, count = 0;
    for (size_t i = 0; i < a->held_count; i++) {
        struct run *run = a->held[i];
        if (!run->extra || run->extra_known) {
            plain[plain_count++] = run;
            continue;
        }
        ids[count] = run->key.id;
        fences[count] = run->key.fence;
        a->held[count++] = run;
    }
    if (count == 0)
        return false;
    a->held_count = count;
    dispatch_runs(a->node, plain, plain_count);
    struct store_params params = {0};
    a->step = STEP_LOAD_EXTRA;
    params_int64s(&params, ids, count);
    params_int64s(&params, fences, count);
    store_call(a->node->work, SQL_EXTRA_LOAD, &params, 0, on_extras, a);
    store_params_free(&params);
    return true;
}
