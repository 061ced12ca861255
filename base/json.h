/*
 * Reads JSON (RFC 8259, strictly) without copying or converting: each value is a slice of the text,
 * so numbers and spelling of users' data pass on byte for byte, and every value knows its line and
 * column. Documents are written with buffer_json() or cJSON; this file only reads.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/buffer.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

#define JSON_DEPTH_MAX 64 /* objects and arrays in each other: nobody writes more by hand */

enum json_type { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

/*
 * Values lie in document order. A member of an object is its key (a JSON_STRING) followed by its
 * value. `next` is the index of the following sibling (of a key: of the following key), 0 at the
 * end.
 */
struct json_value {
    enum json_type type;
    uint32_t next;
    uint32_t count;   /* elements of an array, members of an object */
    bool escaped;     /* a string with a backslash in it */
    struct slice raw; /* strings with their quotes */
};

struct json {
    const char *text; /* the caller's, which must outlive the document */
    size_t length;
    struct json_value *values; /* values[0] is the root */
    uint32_t count;
    uint32_t capacity;
};

/*
 * 0, or -1 with "line L, column C: …" in error. Keys that stand twice in one object are refused,
 * however they are spelled: "a" and "\u0061" are the same key.
 */
int json_parse(struct json *ret_json, const char *text, size_t length, struct rota_error *error);
void json_free(struct json *json);

/* Children; NULL at the end or when there is none. For objects these walk the keys. */
const struct json_value *json_first(const struct json *json, const struct json_value *parent);
const struct json_value *json_next(const struct json *json, const struct json_value *value);
/* The value that belongs to a key. */
const struct json_value *json_member(const struct json_value *key);
/* The member's value by name, NULL if absent. */
const struct json_value *json_get(const struct json *json, const struct json_value *object,
                                  const char *name);

/* Line and column (both from 1; columns count bytes) of a value. */
void json_position(const struct json *json, const struct json_value *value, int *ret_line,
                   int *ret_column);

/* Strings and numbers. */
bool json_is(const struct json_value *value, const char *text);         /* a string equal to text */
bool json_same(const struct json_value *a, const struct json_value *b); /* equal when decoded */
char *
json_text(const struct json_value *string); /* decoded, to be freed; NULL if it holds U+0000 */
int json_int64(const struct json_value *number, int64_t *ret_number); /* whole numbers; 0 or -1 */
int json_double(const struct json_value *number, double *ret_number); /* finite ones; 0 or -1 */
bool json_true(const struct json_value *value);
const char *json_type_name(enum json_type type); /* "an object", "a string", … */

/* The keys of one object, decoded and sorted: for looking up many of them. Points into the
 * document. */
struct json_key {
    struct slice text;
    const struct json_value *key;
};
struct json_keys {
    struct json_key *items;
    size_t count;
    char *decoded; /* of those with escapes */
};
void json_keys_sort(const struct json *json, const struct json_value *object,
                    struct json_keys *ret_keys);
void json_keys_free(struct json_keys *keys);
bool json_keys_have(const struct json_keys *keys, const struct json_value *key);
/* The first key, in document order, that was there before; NULL: none. */
const struct json_value *json_keys_twice(const struct json_keys *keys);

#endif
