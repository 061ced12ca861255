/*
 * Walks along the elements of a one-dimensional binary array of a result. A column that is NULL has
 * no elements: each step along it yields what the caller says stands for them all.
 */
#ifndef STORE_ARRAY_H
#define STORE_ARRAY_H

#include "base/buffer.h"

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct array {
    const char *at; /* NULL: the column is */
    size_t left;
};

struct array array_begin(const PGresult *result, int row, int column);
size_t array_count(const struct array *array); /* elements not walked yet; 0 of a NULL column */

/* The next element; `otherwise` where it, or the whole column, is NULL. */
int64_t array_int64(struct array *array, int64_t otherwise);
int32_t array_int32(struct array *array, int32_t otherwise);
int16_t array_int16(struct array *array, int16_t otherwise);
bool array_bool(struct array *array, bool otherwise);
int64_t array_time(struct array *array, int64_t otherwise); /* wall microseconds */
struct slice array_slice(struct array *array);              /* absent for NULL */

#endif
