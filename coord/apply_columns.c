/* Columns of what an apply writes: see apply_columns.h. */
#include "coord/apply_columns.h"

#include "base/memory.h"
#include "coord/manifest.h"
#include "store/store.h"

#include <stdlib.h>

void columns_texts(struct columns *columns, text_of get)
{
    const char **values = mem_array(columns->count, sizeof *values);
    for (size_t i = 0; i < columns->count; i++)
        values[i] = get(columns->rows[i]);
    params_texts(&columns->params, values, columns->count);
    free(values);
}

void columns_int64s(struct columns *columns, number_of get)
{
    int64_t *values = mem_array(columns->count, sizeof *values);
    for (size_t i = 0; i < columns->count; i++)
        values[i] = get(columns->rows[i]);
    params_int64s(&columns->params, values, columns->count);
    free(values);
}

void columns_int32s(struct columns *columns, number_of get)
{
    int32_t *values = mem_array(columns->count, sizeof *values);
    for (size_t i = 0; i < columns->count; i++) {
        int64_t number = get(columns->rows[i]);
        values[i] = number == MANIFEST_UNSET ? INT32_MIN : (int32_t)number;
    }
    params_int32s(&columns->params, values, columns->count);
    free(values);
}

void columns_bools(struct columns *columns, number_of get)
{
    bool *values = mem_array(columns->count, sizeof *values);
    for (size_t i = 0; i < columns->count; i++)
        values[i] = get(columns->rows[i]) != 0;
    params_bools(&columns->params, values, columns->count);
    free(values);
}

void columns_times(struct columns *columns, number_of get)
{
    int64_t *values = mem_array(columns->count, sizeof *values);
    for (size_t i = 0; i < columns->count; i++) {
        int64_t wall_us = get(columns->rows[i]);
        values[i] = wall_us == MANIFEST_UNSET ? STORE_NULL_TIME : wall_us;
    }
    params_times(&columns->params, values, columns->count);
    free(values);
}

void columns_json(struct columns *columns, slice_of_row get)
{
    struct slice *values = mem_array(columns->count, sizeof *values);
    for (size_t i = 0; i < columns->count; i++)
        values[i] = get(columns->rows[i]);
    params_slices(&columns->params, PARAMS_JSON, values, columns->count);
    free(values);
}

int columns_run(struct columns *columns, struct store *store, enum statement_id statement,
                struct rota_error *error)
{
    int failed = store_wait(store, statement, &columns->params, STORE_WITHIN, NULL, error);
    store_params_free(&columns->params);
    return failed;
}
