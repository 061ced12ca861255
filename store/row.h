/* Typed readers of binary results; a NULL where none may be is a bug. */
#ifndef STORE_ROW_H
#define STORE_ROW_H

#include "base/buffer.h"

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool row_null(const PGresult *result, int row, int column);
int16_t row_int16(const PGresult *result, int row, int column);
int32_t row_int32(const PGresult *result, int row, int column);
int64_t row_int64(const PGresult *result, int row, int column);
/* A place in a table (tid): block and line, for params_places(). */
uint64_t row_place(const PGresult *result, int row, int column);
double row_double(const PGresult *result, int row, int column);
bool row_bool(const PGresult *result, int row, int column);
char row_char(const PGresult *result, int row, int column);          /* "char" */
int64_t row_time(const PGresult *result, int row, int column);       /* STORE_NULL_TIME for NULL */
struct slice row_slice(const PGresult *result, int row, int column); /* absent for NULL */
const char *row_text(const PGresult *result, int row, int column);   /* NULL for NULL */
int64_t row_wall_us(int64_t postgres_us); /* of a time as the server sends it */
/* Elements of a one-dimensional bigint[]; ret_count; to be freed. */
int64_t *row_int64s(const PGresult *result, int row, int column, size_t *ret_count);
char **row_texts(const PGresult *result, int row, int column,
                 size_t *ret_count); /* NULL-terminated, one free() */

#endif
