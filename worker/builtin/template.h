/*
 * Values of a run's data that are taken from elsewhere in its run message: {"$pointer":"/data/id"}
 * stands for what this JSON pointer (RFC 6901) names in the message, {"$pointer":"/data/id",
 * "default":0} for the default where it names nothing. There are no expressions. What is put in is
 * never looked into again, and its bytes are not changed.
 */
#ifndef WORKER_BUILTIN_TEMPLATE_H
#define WORKER_BUILTIN_TEMPLATE_H

#include "base/buffer.h"
#include "base/error.h"
#include "base/json.h"

/* Bytes of what pointers make: many of them may name the same large part. Servers take less. */
#define TEMPLATE_MAX          (4 * 1024 * 1024)
#define TEMPLATE_POINTERS_MAX 1000 /* in a message: each may walk over all of it */

/* Refuses a message with too many pointers, before any is followed. */
int template_check(const struct json *message, struct rota_error *error);

/* NULL: it names nothing. */
const struct json_value *template_find(const struct json *message, const char *pointer);

/* The value itself, or what it points at. NULL with error where that is not there. */
const struct json_value *template_value(const struct json *message, const struct json_value *value,
                                        struct rota_error *error);

/* Texts, numbers, true and false as text, to be freed. NULL with error for anything else. */
char *template_text(const struct json *message, const struct json_value *value,
                    struct rota_error *error);

/* Appends the value as JSON, with what is pointed at in it put in. */
int template_write(struct buffer *out, const struct json *message, const struct json_value *value,
                   struct rota_error *error);

#endif
