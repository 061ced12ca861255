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
    KEY_LATER,       /* not supported yet */
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

#define MANIFEST_WHAT_SIZE       256
#define MANIFEST_DESCRIPTION_MAX 10000
#define MANIFEST_DURATION_MAX_US (INT64_C(36500) * 86400 * 1000000)
#define MANIFEST_COUNT(keys)     (sizeof(keys) / sizeof *(keys))

void manifest_problem(struct manifest_reader *reader, const struct json_value *at,
                      const char *format, ...) __attribute__((format(printf, 3, 4)));

/* True when a further problem would only be counted: no need to find out more about it. */
bool manifest_full(const struct manifest_reader *reader);

/* `what` names the object in messages: job "x". */
void manifest_read(struct manifest_reader *reader, const struct json_value *object,
                   const char *what, const struct manifest_key *keys, size_t key_count, void *into);

/* True for an object; tells otherwise. */
bool manifest_is_object(struct manifest_reader *reader, const struct json_value *value,
                        const char *what);
/* The first element of an array member; NULL if there is none, with a problem where it is something
 * else. `of` says in messages what it is an array of. */
const struct json_value *manifest_elements(struct manifest_reader *reader,
                                           const struct json_value *array, const char *what,
                                           const char *key, const char *of);
/* 'job "x"', or 'job 3' where it has no name: a name for messages before it is read. */
void manifest_title(struct manifest_reader *reader, const struct json_value *object,
                    const char *noun, size_t number, char what[MANIFEST_WHAT_SIZE]);
/* A problem unless the key is there. */
void manifest_want(struct manifest_reader *reader, const struct json_value *object,
                   const char *what, const char *key, const char *hint);
/* Where a value begins in the manifest's text. */
size_t manifest_offset(const struct manifest_reader *reader, const struct json_value *value);

/* The triggers of a job (coord/manifest_trigger.c). */
void manifest_read_triggers(struct manifest_reader *reader, const struct json_value *array,
                            const char *what, struct manifest_job *job);

/* The whole of a manifest, into reader->manifest (coord/manifest.c). */
void manifest_read_top(struct manifest_reader *reader);

/* The raw text of a value for a message, cut where it is long; of arrays and objects the type. */
const char *manifest_shown(const struct json_value *value, char shown[MANIFEST_WHAT_SIZE]);

#endif
