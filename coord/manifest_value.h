/*
 * Reads the members of one JSON object into the fields of a struct, by a table of keys: each knows
 * its type, its bounds and where its value goes. What does not fit becomes a problem of the set and
 * leaves the field as it was. The manifest's own rules are in manifest.c.
 */
#ifndef COORD_MANIFEST_VALUE_H
#define COORD_MANIFEST_VALUE_H

#include "base/json.h"
#include "coord/manifest.h"

enum key_type {
    KEY_NAME,        /* char *: one line of `low` to `high` characters */
    KEY_TEXT,        /* char *: the same, line breaks allowed */
    KEY_FLAG,        /* int64_t 0 or 1 */
    KEY_NUMBER,      /* int64_t */
    KEY_FRACTION,    /* double from 0 to 1 */
    KEY_DURATION,    /* int64_t in microseconds; bounds too */
    KEY_DURATION_MS, /* int64_t in milliseconds, rounded up; bounds in microseconds */
    KEY_INSTANT,     /* int64_t in microseconds, kept to the millisecond */
    KEY_CHOICE,      /* int64_t: place in `choices`, from `low` on */
    KEY_DATA,        /* struct slice: a JSON object, absent when it is empty */
    KEY_VALUE,       /* const struct json_value *: read by the caller */
    KEY_LATER,       /* not supported yet; choices[] are the raw values that ask for nothing */
};

struct manifest_key {
    const char *name;
    enum key_type type;
    size_t offset; /* of the field */
    int64_t low, high;
    const char *const *choices; /* NULL-terminated */
};

/* One manifest while it is read. */
struct manifest_reader {
    struct manifest_set *set;
    struct manifest *manifest;
    struct json json;
};

#define MANIFEST_WHAT_SIZE 256

void manifest_problem(struct manifest_reader *reader, const struct json_value *at,
                      const char *format, ...) __attribute__((format(printf, 3, 4)));

/* True when a further problem would only be counted: no need to find out more about it. */
bool manifest_full(const struct manifest_reader *reader);

/* `what` names the object in messages: job "x". */
void manifest_read(struct manifest_reader *reader, const struct json_value *object,
                   const char *what, const struct manifest_key *keys, size_t key_count, void *into);

/* The whole of a manifest, into reader->manifest (coord/manifest.c). */
void manifest_read_top(struct manifest_reader *reader);

/* The raw text of a value for a message, cut where it is long; of arrays and objects the type. */
const char *manifest_shown(const struct json_value *value, char shown[MANIFEST_WHAT_SIZE]);

#endif
