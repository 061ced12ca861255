/* Elements of binary arrays, one after the other: see array.h. */
#include "store/array.h"

#include "store/row.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

#define HEADER_BYTES 20 /* dimensions, whether any is NULL, type, count, lower bound */
#define NULL_LENGTH  UINT32_MAX

static uint32_t get32(const char *bytes)
{
    uint32_t big;
    memcpy(&big, bytes, 4);
    return be32toh(big);
}

struct array array_begin(const PGresult *result, int row, int column)
{
    if (PQgetisnull(result, row, column))
        return (struct array){NULL, 0};
    const char *bytes = PQgetvalue(result, row, column);
    assert(get32(bytes) <= 1);
    return (struct array){bytes + HEADER_BYTES, get32(bytes) == 0 ? 0 : get32(bytes + 12)};
}

size_t array_count(const struct array *array)
{
    return array->left;
}

/* The bytes of the next element; NULL where there are none. `size`: what they must be, 0: any. */
static const char *next(struct array *array, uint32_t size, uint32_t *ret_length)
{
    if (array->at == NULL)
        return NULL;
    assert(array->left > 0);
    uint32_t length = get32(array->at);
    const char *bytes = array->at + 4;
    array->left--;
    array->at = bytes;
    if (length == NULL_LENGTH)
        return NULL;
    assert(size == 0 || length == size);
    array->at += length;
    *ret_length = length;
    return bytes;
}

int64_t array_int64(struct array *array, int64_t otherwise)
{
    uint32_t length;
    uint64_t big;
    const char *bytes = next(array, sizeof big, &length);
    if (bytes == NULL)
        return otherwise;
    memcpy(&big, bytes, sizeof big);
    return (int64_t)be64toh(big);
}

int32_t array_int32(struct array *array, int32_t otherwise)
{
    uint32_t length;
    const char *bytes = next(array, 4, &length);
    return bytes == NULL ? otherwise : (int32_t)get32(bytes);
}

int16_t array_int16(struct array *array, int16_t otherwise)
{
    uint32_t length;
    uint16_t big;
    const char *bytes = next(array, sizeof big, &length);
    if (bytes == NULL)
        return otherwise;
    memcpy(&big, bytes, sizeof big);
    return (int16_t)be16toh(big);
}

bool array_bool(struct array *array, bool otherwise)
{
    uint32_t length;
    const char *bytes = next(array, 1, &length);
    return bytes == NULL ? otherwise : *bytes != 0;
}

int64_t array_time(struct array *array, int64_t otherwise)
{
    uint32_t length;
    uint64_t big;
    const char *bytes = next(array, sizeof big, &length);
    if (bytes == NULL)
        return otherwise;
    memcpy(&big, bytes, sizeof big);
    return row_wall_us((int64_t)be64toh(big));
}

struct slice array_slice(struct array *array)
{
    uint32_t length;
    const char *bytes = next(array, 0, &length);
    return bytes == NULL ? SLICE_NONE : (struct slice){bytes, length};
}
