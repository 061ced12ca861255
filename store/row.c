/* Typed readers of binary results: see store.h. A wrong size means the statement and the reader
 * differ. */
#include "store/store.h"

#include "base/memory.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

#define PG_EPOCH_US INT64_C(946684800000000)

static const char *bytes_of(const PGresult *result, int row, int column, int size)
{
    assert(PQgetlength(result, row, column) == size); /* 0 of a NULL */
    return PQgetvalue(result, row, column);
}

static uint32_t get32(const char *bytes)
{
    uint32_t big;
    memcpy(&big, bytes, 4);
    return be32toh(big);
}

static uint64_t get64(const char *bytes)
{
    uint64_t big;
    memcpy(&big, bytes, 8);
    return be64toh(big);
}

bool row_null(const PGresult *result, int row, int column)
{
    return PQgetisnull(result, row, column);
}

int16_t row_int16(const PGresult *result, int row, int column)
{
    uint16_t big;
    memcpy(&big, bytes_of(result, row, column, 2), 2);
    return (int16_t)be16toh(big);
}

int32_t row_int32(const PGresult *result, int row, int column)
{
    return (int32_t)get32(bytes_of(result, row, column, 4));
}

int64_t row_int64(const PGresult *result, int row, int column)
{
    return (int64_t)get64(bytes_of(result, row, column, 8));
}

uint64_t row_place(const PGresult *result, int row, int column)
{
    uint16_t offset;
    const char *bytes = bytes_of(result, row, column, 6); /* tidsend(): block, offset */
    memcpy(&offset, bytes + 4, 2);
    return (uint64_t)get32(bytes) << 16 | be16toh(offset);
}

double row_double(const PGresult *result, int row, int column)
{
    if (PQgetlength(result, row, column) == 4) { /* real */
        uint32_t bits = get32(bytes_of(result, row, column, 4));
        float narrow;
        memcpy(&narrow, &bits, 4);
        return narrow;
    }
    uint64_t bits = get64(bytes_of(result, row, column, 8));
    double number;
    memcpy(&number, &bits, 8);
    return number;
}

bool row_bool(const PGresult *result, int row, int column)
{
    return *bytes_of(result, row, column, 1) != 0;
}

char row_char(const PGresult *result, int row, int column)
{
    return *bytes_of(result, row, column, 1);
}

int64_t row_wall_us(int64_t postgres_us)
{
    int64_t wall_us;
    if (__builtin_add_overflow(postgres_us, PG_EPOCH_US, &wall_us))
        return INT64_MAX; /* infinity, and the last years before it */
    return wall_us;
}

int64_t row_time(const PGresult *result, int row, int column)
{
    if (PQgetisnull(result, row, column))
        return STORE_NULL_TIME;
    return row_wall_us(row_int64(result, row, column));
}

struct slice row_slice(const PGresult *result, int row, int column)
{
    if (PQgetisnull(result, row, column))
        return SLICE_NONE;
    return (struct slice){PQgetvalue(result, row, column),
                          (size_t)PQgetlength(result, row, column)};
}

const char *row_text(const PGresult *result, int row, int column)
{
    return PQgetisnull(result, row, column) ? NULL : PQgetvalue(result, row, column);
}

/* Number of elements, and the first element, of a binary array. */
static size_t array_of(const PGresult *result, int row, int column, const char **ret_at)
{
    const char *bytes = PQgetvalue(result, row, column);
    assert(!PQgetisnull(result, row, column) && get32(bytes) <= 1);
    *ret_at = bytes + 20;
    return get32(bytes) == 0 ? 0 : get32(bytes + 12);
}

int64_t *row_int64s(const PGresult *result, int row, int column, size_t *ret_count)
{
    const char *at;
    size_t count = array_of(result, row, column, &at);
    int64_t *values = mem_array(count, sizeof *values);
    for (size_t i = 0; i < count; i++, at += 12) {
        assert(get32(at) == 8);
        values[i] = (int64_t)get64(at + 4);
    }
    *ret_count = count;
    return values;
}

char **row_texts(const PGresult *result, int row, int column, size_t *ret_count)
{
    const char *at;
    size_t count = array_of(result, row, column, &at);
    size_t total = (size_t)PQgetlength(result, row, column);
    char **texts = mem_alloc((count + 1) * sizeof *texts + total + count);
    char *out = (char *)(texts + count + 1);
    for (size_t i = 0; i < count; i++) {
        uint32_t length = get32(at);
        assert(length != UINT32_MAX);
        memcpy(out, at + 4, length);
        out[length] = '\0';
        texts[i] = out;
        out += length + 1;
        at += 4 + length;
    }
    *ret_count = count;
    return texts;
}
