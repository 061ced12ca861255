/* Queries, segments of paths and cursors: any text; what is taken decodes to clean UTF-8. */
#include "coord/http/query.h"
#include "tests/fuzz/fuzz.h"

#include "base/json.h"
#include "base/text.h"

#include <string.h>

static void check_query(const char *text)
{
    struct rota_error error = {0};
    struct query query;
    if (query_parse(text, &query, &error) != 0) {
        CHECK(error.message[0] != '\0');
        return;
    }
    CHECK(query.count <= QUERY_PARAMETERS_MAX);
    for (size_t i = 0; i < query.count; i++) {
        const struct query_parameter *one = &query.parameters[i];
        int64_t number = -1;
        CHECK(text_is_utf8(one->name, strlen(one->name)));
        CHECK(text_is_utf8(one->value, strlen(one->value)));
        CHECK(query_get(&query, one->name) == one->value); /* no name stands twice */
        CHECK(query_number(one->value, &number) != 0 || number >= 0);
    }
    query_free(&query);
}

static void check_cursor(const char *text)
{
    struct json json;
    char *cursor = query_cursor(text);
    if (cursor == NULL)
        return;
    CHECK(json_parse(&json, cursor, strlen(cursor), NULL) == 0);
    CHECK(json.values->type == JSON_ARRAY && json.values->count > 0);
    json_free(&json);
    free(cursor);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    CHECK(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    check_query(text);
    check_cursor(text);
    char *decoded = query_decode((const char *)data, size, false);
    CHECK(decoded == NULL || (strlen(decoded) <= size && text_is_utf8(decoded, strlen(decoded))));
    free(decoded);
    free(text);
    return 0;
}
