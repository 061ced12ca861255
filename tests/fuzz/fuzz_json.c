/* The JSON reader: any bytes; what it takes is a tree whose every value is a document of its own.
 */
#include "base/json.h"
#include "base/text.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static void check_value(const struct json *json, const struct json_value *value, int depth)
{
    struct json alone;
    const struct json_value *child = json_first(json, value);
    uint32_t count = 0;
    CHECK(value->raw.data >= json->text);
    CHECK(value->raw.data + value->raw.length <= json->text + json->length);
    if (depth < 3) { /* deeper it would be quadratic */
        CHECK(json_parse(&alone, value->raw.data, value->raw.length, NULL) == 0);
        CHECK(alone.values->type == value->type && alone.values->count == value->count);
        json_free(&alone);
    }
    if (value->type == JSON_STRING) {
        char *text = json_text(value);
        CHECK(text == NULL || (text_is_utf8(text, strlen(text)) && json_is(value, text)));
        CHECK(json_same(value, value));
        free(text);
    }
    for (; child != NULL; child = json_next(json, child), count++)
        check_value(json, value->type == JSON_OBJECT ? json_member(child) : child, depth + 1);
    CHECK(count == value->count);
    if (value->type == JSON_OBJECT) {
        struct json_keys keys;
        json_keys_sort(json, value, &keys);
        CHECK(keys.count == count && json_keys_twice(&keys) == NULL);
        for (child = json_first(json, value); child != NULL; child = json_next(json, child))
            CHECK(json_keys_have(&keys, child));
        json_keys_free(&keys);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json json;
    struct rota_error error = {0};
    if (json_parse(&json, (const char *)data, size, &error) != 0) {
        CHECK(error.code == ERROR_REFUSED && strncmp(error.message, "line ", 5) == 0);
        return 0;
    }
    int64_t whole;
    double real;
    int line, column;
    check_value(&json, json.values, 0);
    json_position(&json, &json.values[json.count - 1], &line, &column);
    CHECK(line >= 1 && column >= 1);
    json_int64(json.values, &whole);
    json_double(json.values, &real);
    json_free(&json);
    return 0;
}
