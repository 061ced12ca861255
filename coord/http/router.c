/* Which route a method and a path mean, and who else would be there: see web.h. */
#include "coord/http/inside.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

/* Whether a path is that of a pattern; values: the words with a colon, decoded, to be freed. */
static bool fits(const char *pattern, const char *path, char **values)
{
    int count = 0;
    while (*pattern == '/' && *path == '/') {
        size_t wanted = strcspn(++pattern, "/"), length = strcspn(++path, "/");
        if (*pattern != ':') {
            if (wanted != length || memcmp(pattern, path, length) != 0)
                return false;
        } else {
            values[count] = length > 0 ? query_decode(path, length, false) : NULL;
            if (values[count++] == NULL)
                return false;
        }
        pattern += wanted;
        path += length;
    }
    return *pattern == '\0' && *path == '\0';
}

static void clear(char **values)
{
    for (int i = 0; i < WEB_VALUES_MAX; i++) {
        free(values[i]);
        values[i] = NULL;
    }
}

static void allow(struct buffer *methods, const char *method)
{
    buffer_format(methods, "%s%s", methods->length > 0 ? ", " : "", method);
    if (strcmp(method, "GET") == 0)
        buffer_string(methods, ", HEAD");
}

const struct web_route *web_route_find(const char *method, const char *path, char **values,
                                       char **ret_allow)
{
    struct buffer methods = {0};
    for (size_t t = 0; web_route_tables[t] != NULL; t++)
        for (const struct web_route *route = web_route_tables[t]; route->method != NULL; route++) {
            if (fits(route->path, path, values)) {
                if (strcmp(route->method, method) == 0) {
                    buffer_free(&methods);
                    return route;
                }
                allow(&methods, route->method);
            }
            clear(values);
        }
    if (methods.length > 0)
        buffer_text(&methods);
    *ret_allow = methods.data;
    return NULL;
}
