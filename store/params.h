/* Parameters of a call, in PostgreSQL's binary formats. */
#ifndef STORE_PARAMS_H
#define STORE_PARAMS_H

#include "base/buffer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PARAMS_MAX 40 /* more than any statement has */

/* Zero-initialise, add in order, pass; store_params_free(). */
struct store_params {
    struct buffer bytes;
    int count;
    size_t offsets[PARAMS_MAX];
    int lengths[PARAMS_MAX]; /* -1: NULL */
};

/* Times are wall-clock microseconds; STORE_NULL_TIME is NULL. */
#define STORE_NULL_TIME INT64_MIN
void params_int16(struct store_params *params, int16_t value);
void params_int32(struct store_params *params, int32_t value);
void params_int64(struct store_params *params, int64_t value);
void params_bool(struct store_params *params, bool value);
void params_text(struct store_params *params, const char *value); /* NULL is NULL; also for json */
void params_slice(struct store_params *params, struct slice value);
void params_time(struct store_params *params, int64_t wall_us);
void params_null(struct store_params *params);
void params_int16s(struct store_params *params, const int16_t *values, size_t count);
void params_int32s(struct store_params *params, const int32_t *values,
                   size_t count); /* INT32_MIN: NULL */
void params_int64s(struct store_params *params, const int64_t *values,
                   size_t count); /* INT64_MIN: NULL */
void params_bools(struct store_params *params, const bool *values, size_t count);
void params_floats(struct store_params *params, const float *values, size_t count);
void params_times(struct store_params *params, const int64_t *wall_us, size_t count);
void params_places(struct store_params *params, const uint64_t *places, size_t count); /* tid */
enum params_element { PARAMS_TEXT = 25, PARAMS_JSON = 114, PARAMS_JSONB = 3802 };
void params_slices(struct store_params *params, enum params_element element,
                   const struct slice *values, size_t count);
void params_texts(struct store_params *params, const char *const *values, size_t count);
/* A bit string of `count` bits; bit 0 first. */
void params_bits(struct store_params *params, const uint8_t *bits, size_t count);
void params_bits_array(struct store_params *params, const uint8_t *const *bits,
                       const size_t *counts, size_t count);
void store_params_free(struct store_params *params);

#endif
