/* Parameters of a call in PostgreSQL's binary formats (array_send, timestamptz_recv, …). */
#include "store/store.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

#define PG_EPOCH_US INT64_C(946684800000000) /* 2000-01-01 in microseconds since 1970 */

enum {
    OID_BOOL = 16,
    OID_INT8 = 20,
    OID_INT2 = 21,
    OID_INT4 = 23,
    OID_TID = 27,
    OID_FLOAT4 = 700,
    OID_TIMESTAMPTZ = 1184,
    OID_VARBIT = 1562
};

void store_params_free(struct store_params *params)
{
    buffer_free(&params->bytes);
    params->count = 0;
}

static void begin(struct store_params *params)
{
    assert(params->count < PARAMS_MAX);
    params->offsets[params->count] = params->bytes.length;
}

static void end(struct store_params *params)
{
    params->lengths[params->count] = (int)(params->bytes.length - params->offsets[params->count]);
    params->count++;
}

static void put16(struct buffer *bytes, uint16_t value)
{
    uint16_t big = htobe16(value);
    buffer_append(bytes, &big, 2);
}

static void put32(struct buffer *bytes, uint32_t value)
{
    uint32_t big = htobe32(value);
    buffer_append(bytes, &big, 4);
}

static void put64(struct buffer *bytes, uint64_t value)
{
    uint64_t big = htobe64(value);
    buffer_append(bytes, &big, 8);
}

void params_null(struct store_params *params)
{
    begin(params);
    end(params);
    params->lengths[params->count - 1] = -1;
}

void params_int16(struct store_params *params, int16_t value)
{
    begin(params);
    put16(&params->bytes, (uint16_t)value);
    end(params);
}

void params_int32(struct store_params *params, int32_t value)
{
    begin(params);
    put32(&params->bytes, (uint32_t)value);
    end(params);
}

void params_int64(struct store_params *params, int64_t value)
{
    begin(params);
    put64(&params->bytes, (uint64_t)value);
    end(params);
}

void params_bool(struct store_params *params, bool value)
{
    begin(params);
    buffer_char(&params->bytes, value ? 1 : 0);
    end(params);
}

void params_slice(struct store_params *params, struct slice value)
{
    if (value.data == NULL) {
        params_null(params);
        return;
    }
    begin(params);
    buffer_append(&params->bytes, value.data, value.length);
    end(params);
}

void params_text(struct store_params *params, const char *value)
{
    params_slice(params, slice_of(value));
}

void params_time(struct store_params *params, int64_t wall_us)
{
    if (wall_us == STORE_NULL_TIME)
        params_null(params);
    else
        params_int64(params, wall_us - PG_EPOCH_US);
}

/* The head of a one-dimensional array whose elements are numbered from 1 (array_send). */
static void array(struct store_params *params, uint32_t element, size_t count, bool nulls)
{
    begin(params);
    put32(&params->bytes, count > 0 ? 1 : 0);
    put32(&params->bytes, nulls ? 1 : 0);
    put32(&params->bytes, element);
    if (count > 0) {
        put32(&params->bytes, (uint32_t)count);
        put32(&params->bytes, 1);
    }
}

#define NULL_ELEMENT UINT32_MAX

void params_int16s(struct store_params *params, const int16_t *values, size_t count)
{
    array(params, OID_INT2, count, false);
    for (size_t i = 0; i < count; i++) {
        put32(&params->bytes, 2);
        put16(&params->bytes, (uint16_t)values[i]);
    }
    end(params);
}

void params_int32s(struct store_params *params, const int32_t *values, size_t count)
{
    array(params, OID_INT4, count, true);
    for (size_t i = 0; i < count; i++) {
        if (values[i] == INT32_MIN) {
            put32(&params->bytes, NULL_ELEMENT);
            continue;
        }
        put32(&params->bytes, 4);
        put32(&params->bytes, (uint32_t)values[i]);
    }
    end(params);
}

static void int64s(struct store_params *params, uint32_t element, const int64_t *values,
                   size_t count, int64_t offset)
{
    array(params, element, count, true);
    for (size_t i = 0; i < count; i++) {
        if (values[i] == INT64_MIN) {
            put32(&params->bytes, NULL_ELEMENT);
            continue;
        }
        put32(&params->bytes, 8);
        put64(&params->bytes, (uint64_t)(values[i] - offset));
    }
    end(params);
}

void params_int64s(struct store_params *params, const int64_t *values, size_t count)
{
    int64s(params, OID_INT8, values, count, 0);
}

void params_times(struct store_params *params, const int64_t *wall_us, size_t count)
{
    int64s(params, OID_TIMESTAMPTZ, wall_us, count, PG_EPOCH_US);
}

void params_places(struct store_params *params, const uint64_t *places, size_t count)
{
    array(params, OID_TID, count, false);
    for (size_t i = 0; i < count; i++) {
        put32(&params->bytes, 6);
        put32(&params->bytes, (uint32_t)(places[i] >> 16));
        put16(&params->bytes, (uint16_t)places[i]);
    }
    end(params);
}

void params_bools(struct store_params *params, const bool *values, size_t count)
{
    array(params, OID_BOOL, count, false);
    for (size_t i = 0; i < count; i++) {
        put32(&params->bytes, 1);
        buffer_char(&params->bytes, values[i] ? 1 : 0);
    }
    end(params);
}

void params_floats(struct store_params *params, const float *values, size_t count)
{
    array(params, OID_FLOAT4, count, false);
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], 4);
        put32(&params->bytes, 4);
        put32(&params->bytes, bits);
    }
    end(params);
}

void params_slices(struct store_params *params, enum params_element element,
                   const struct slice *values, size_t count)
{
    array(params, (uint32_t)element, count, true);
    for (size_t i = 0; i < count; i++) {
        if (values[i].data == NULL) {
            put32(&params->bytes, NULL_ELEMENT);
            continue;
        }
        bool versioned =
            element == PARAMS_JSONB; /* jsonb_recv wants a version byte before the text */
        put32(&params->bytes, (uint32_t)(values[i].length + (versioned ? 1 : 0)));
        if (versioned)
            buffer_char(&params->bytes, 1);
        buffer_append(&params->bytes, values[i].data, values[i].length);
    }
    end(params);
}

void params_texts(struct store_params *params, const char *const *values, size_t count)
{
    array(params, PARAMS_TEXT, count, true);
    for (size_t i = 0; i < count; i++) {
        if (values[i] == NULL) {
            put32(&params->bytes, NULL_ELEMENT);
            continue;
        }
        size_t length = strlen(values[i]);
        put32(&params->bytes, (uint32_t)length);
        buffer_append(&params->bytes, values[i], length);
    }
    end(params);
}

static void put_bits(struct buffer *bytes, const uint8_t *bits, size_t count)
{
    put32(bytes, (uint32_t)count);
    buffer_append(bytes, bits, (count + 7) / 8);
}

void params_bits(struct store_params *params, const uint8_t *bits, size_t count)
{
    begin(params);
    put_bits(&params->bytes, bits, count);
    end(params);
}

void params_bits_array(struct store_params *params, const uint8_t *const *bits,
                       const size_t *counts, size_t count)
{
    array(params, OID_VARBIT, count, false);
    for (size_t i = 0; i < count; i++) {
        put32(&params->bytes, (uint32_t)(4 + (counts[i] + 7) / 8));
        put_bits(&params->bytes, bits[i], counts[i]);
    }
    end(params);
}
