/* Texts of requests: see query.h. */
#include "coord/http/query.h"

#include "base/json.h"
#include "base/memory.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

#define CURSOR_MAX 4096 /* characters: names are 254 at most, and a list has three of them */

static int hex(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    if (digit >= 'a' && digit <= 'f')
        return digit - 'a' + 10;
    if (digit >= 'A' && digit <= 'F')
        return digit - 'A' + 10;
    return -1;
}

char *query_decode(const char *text, size_t length, bool plus)
{
    char *decoded = mem_alloc(length + 1);
    size_t size = 0;
    for (size_t i = 0; i < length; i++) {
        char letter = text[i];
        if (letter == '+' && plus)
            letter = ' ';
        if (letter == '%') {
            int high = length - i > 2 ? hex(text[i + 1]) : -1;
            int low = high >= 0 ? hex(text[i + 2]) : -1;
            if (low < 0)
                goto broken;
            letter = (char)(high * 16 + low);
            i += 2;
        }
        if (letter == '\0')
            goto broken;
        decoded[size++] = letter;
    }
    if (text_is_utf8(decoded, size))
        return decoded;
broken:
    free(decoded);
    return NULL;
}

static int add(struct query *query, const char *text, size_t length, struct rota_error *error)
{
    const char *equals = memchr(text, '=', length);
    size_t name_length = equals != NULL ? (size_t)(equals - text) : length;
    if (length == 0)
        return 0;
    if (query->count == QUERY_PARAMETERS_MAX)
        return error_set(error, ERROR_USAGE, "more than %d parameters", QUERY_PARAMETERS_MAX);
    char *name = query_decode(text, name_length, true);
    char *value =
        equals != NULL ? query_decode(equals + 1, length - name_length - 1, true) : mem_string("");
    if (name == NULL || value == NULL)
        error_set(error, ERROR_USAGE,
                  "\"%.*s\" has a broken escape or is no UTF-8: write %%XX for each byte",
                  (int)(length < 100 ? length : 100), text);
    else if (query_get(query, name) != NULL)
        error_set(error, ERROR_USAGE, "\"%.100s\" is given twice", name);
    else {
        query->parameters[query->count++] = (struct query_parameter){name, value};
        return 0;
    }
    free(name);
    free(value);
    return -1;
}

int query_parse(const char *text, struct query *ret_query, struct rota_error *error)
{
    struct query query = {0};
    while (text != NULL) {
        size_t length = strcspn(text, "&");
        if (add(&query, text, length, error) != 0) {
            query_free(&query);
            return -1;
        }
        text = text[length] == '&' ? text + length + 1 : NULL;
    }
    *ret_query = query;
    return 0;
}

void query_free(struct query *query)
{
    for (size_t i = 0; i < query->count; i++) {
        free(query->parameters[i].name);
        free(query->parameters[i].value);
    }
    *query = (struct query){0};
}

const char *query_get(const struct query *query, const char *name)
{
    for (size_t i = 0; i < query->count; i++)
        if (strcmp(query->parameters[i].name, name) == 0)
            return query->parameters[i].value;
    return NULL;
}

int query_number(const char *text, int64_t *ret_number)
{
    int64_t number;
    if (text_int64(text, strlen(text), &number) != 0 || number < 0 || *text == '-')
        return -1;
    *ret_number = number;
    return 0;
}

/* ---- cursors: base64 as in RFC 4648, section 5, without padding ---- */

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static char *base64_read(const char *text, size_t *ret_length)
{
    size_t length = strlen(text), size = 0;
    uint32_t bits = 0;
    if (length == 0 || length > CURSOR_MAX || length % 4 == 1)
        return NULL;
    char *bytes = mem_alloc(length + 1);
    for (size_t i = 0; i < length; i++) {
        const char *at = strchr(letters, text[i]);
        if (at == NULL) {
            free(bytes);
            return NULL;
        }
        bits = bits << 6 | (uint32_t)(at - letters);
        if (i % 4 != 0)
            bytes[size++] = (char)(bits >> (6 - 2 * (i % 4)) & 255);
    }
    *ret_length = size;
    return bytes;
}

/* Arrays of strings and NULLs: what the lists end their pages with. */
char *query_cursor(const char *cursor)
{
    struct json json;
    size_t length = 0;
    char *text = base64_read(cursor, &length);
    if (text == NULL || memchr(text, '\0', length) != NULL ||
        json_parse(&json, text, length, NULL) != 0) {
        free(text);
        return NULL;
    }
    bool good = json.values->type == JSON_ARRAY && json.values->count > 0;
    for (const struct json_value *at = json_first(&json, json.values); good && at != NULL;
         at = json_next(&json, at)) {
        char *item = at->type == JSON_STRING ? json_text(at) : NULL;
        good = item != NULL || at->type == JSON_NULL;
        free(item);
    }
    json_free(&json);
    if (good)
        return text;
    free(text);
    return NULL;
}
