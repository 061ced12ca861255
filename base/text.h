/* Small questions about text that the C library does not answer. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the UTF-8 character at text (1 to 4), 0 where it is not valid UTF-8 (RFC 3629). */
size_t text_utf8_length(const char *text, size_t length);
bool text_is_utf8(const char *text, size_t length);
/* Bytes of the first `characters` of a text, never half of one; all of it if it has no more. */
size_t text_cut(const char *text, size_t length, size_t characters);

/* Whole decimal numbers only: no sign but '-', no spaces, no overflow. 0 or -1. */
int text_int64(const char *text, size_t length, int64_t *ret_number);

/* "true/false", "yes/no", "on/off", "1/0" in any case. 0 or -1. */
int text_bool(const char *text, bool *ret_value);

/* FNV-1a, 64 bits, finished by a mixer: stable for ever (H in cron depends on it). */
uint64_t text_hash(const char *text, size_t length);

/* The candidate nearest to `word` by edit distance, NULL if none is near: for "did you mean". */
const char *text_nearest(const char *word, const char *const *candidates, size_t count);

#endif
