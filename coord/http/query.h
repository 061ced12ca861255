/*
 * Texts of requests, as pure functions: query strings, escapes of URLs, the opaque cursors of
 * lists. Whatever a client sends ends here as a value or as a refusal with its reason.
 */
#ifndef COORD_HTTP_QUERY_H
#define COORD_HTTP_QUERY_H

#include "base/buffer.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

#define QUERY_PARAMETERS_MAX 32 /* no route has as many */

struct query_parameter {
    char *name, *value;
};

struct query {
    struct query_parameter parameters[QUERY_PARAMETERS_MAX];
    size_t count;
};

/*
 * "a=1&b=x%20y" (the text after the question mark; NULL: none). 0, or -1 with nothing to free:
 * a broken escape, a name that is given twice, U+0000 or what is no UTF-8, too many parameters.
 */
int query_parse(const char *text, struct query *ret_query, struct rota_error *error);
void query_free(struct query *query);
const char *query_get(const struct query *query, const char *name); /* NULL: not given */

/* One segment of a path or one value, decoded, to be freed; NULL: a broken escape, U+0000, no
 * UTF-8. plus: whether '+' is a space, as in queries. */
char *query_decode(const char *text, size_t length, bool plus);

/* Whole numbers that are not negative. 0 or -1. */
int query_number(const char *text, int64_t *ret_number);

/* The JSON array of a cursor, as rota.page_cursor() makes them, to be freed. NULL: it is none. */
char *query_cursor(const char *cursor);

#endif
