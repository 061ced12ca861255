/* Triggers out of error: see reset.h. */
#include "coord/reset.h"

#include "base/memory.h"

#include <assert.h>
#include <stdlib.h>

static void clear(struct reset *reset)
{
    for (size_t i = 0; i < reset->count; i++) {
        free(reset->triggers[i].name);
        free(reset->triggers[i].error);
    }
    reset->count = 0;
}

struct reset *reset_new(void)
{
    return mem_alloc(sizeof(struct reset));
}

void reset_free(struct reset *reset)
{
    if (reset == NULL)
        return;
    clear(reset);
    free(reset);
}

/* The parameters of trigger_reset.sql: those that can be evaluated. */
static void evaluate(struct definitions *definitions, const int32_t *ids, size_t count,
                     int64_t now_us, struct reset *reset, struct store_params *params)
{
    int32_t good[RESET_PAGE];
    int64_t revisions[RESET_PAGE], next_us[RESET_PAGE];
    size_t goods = 0;
    for (size_t i = 0; i < count; i++) {
        const struct trigger *trigger = definitions_trigger_seen(definitions, ids[i], 0);
        if (trigger == NULL || trigger->gone)
            continue;
        struct reset_trigger *one = &reset->triggers[reset->count++];
        *one = (struct reset_trigger){
            .id = trigger->id, .name = mem_string(trigger->name), .next_us = STORE_NULL_TIME};
        if (trigger->schedule == NULL) {
            one->error = mem_string(trigger->error);
            continue;
        }
        int64_t next = schedule_next(trigger->schedule, now_us);
        good[goods] = trigger->id;
        revisions[goods] = trigger->revision;
        next_us[goods++] = next == SCHEDULE_NONE ? STORE_NULL_TIME : next;
    }
    params_int32s(params, good, goods);
    params_int64s(params, revisions, goods);
    params_times(params, next_us, goods);
}

static void take_done(struct reset *reset, const PGresult *result)
{
    for (int row = 0; row < PQntuples(result); row++)
        for (size_t i = 0; i < reset->count; i++)
            if (reset->triggers[i].id == row_int32(result, row, 0)) {
                reset->triggers[i].reset = true;
                reset->triggers[i].next_us = row_time(result, row, 1);
            }
}

int reset_triggers(struct store *store, struct definitions *definitions, const int32_t *ids,
                   size_t count, int64_t now_us, int64_t revision, int flags, struct reset *reset,
                   struct rota_error *error)
{
    struct store_params wanted = {0}, params = {0};
    PGresult *result;
    assert(count <= RESET_PAGE);
    clear(reset);
    params_int32s(&wanted, ids, count);
    int failed = store_wait(store, SQL_DEFINITION_LOAD, &wanted, flags, &result, error);
    if (failed == 0) {
        definitions_put_triggers(definitions, result, ids, count, 0);
        PQclear(result);
        evaluate(definitions, ids, count, now_us, reset, &params);
        if (revision != STORE_NULL_TIME)
            params_int64(&params, revision);
        else
            params_null(&params);
        failed = store_wait(store, SQL_TRIGGER_RESET, &params, flags, &result, error);
    }
    if (failed == 0) {
        take_done(reset, result);
        PQclear(result);
    }
    store_params_free(&wanted);
    store_params_free(&params);
    return failed;
}
