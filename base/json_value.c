/* What the values of a document mean: see json.h. The reader itself is json.c. */
#include "base/json.h"

#include "base/memory.h"
#include "base/text.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the tree ---- */

const struct json_value *json_first(const struct json *json, const struct json_value *parent)
{
    if (parent->type != JSON_ARRAY && parent->type != JSON_OBJECT)
        return NULL;
    return parent->count > 0 ? &json->values[parent - json->values + 1] : NULL;
}

const struct json_value *json_next(const struct json *json, const struct json_value *value)
{
    return value->next != 0 ? &json->values[value->next] : NULL;
}

const struct json_value *json_member(const struct json_value *key)
{
    return key + 1;
}

const struct json_value *json_get(const struct json *json, const struct json_value *object,
                                  const char *name)
{
    if (object == NULL || object->type != JSON_OBJECT)
        return NULL;
    for (const struct json_value *key = json_first(json, object); key != NULL;
         key = json_next(json, key))
        if (json_is(key, name))
            return json_member(key);
    return NULL;
}

/* ---- strings ---- */

static unsigned hex4(const char *digits)
{
    unsigned number = 0;
    for (int i = 0; i < 4; i++) {
        char c = digits[i];
        number = number * 16 + (unsigned)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return number;
}

static size_t put_utf8(char *out, unsigned code)
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xc0 | (code >> 6));
        out[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xe0 | (code >> 12));
        out[1] = (char)(0x80 | ((code >> 6) & 0x3f));
        out[2] = (char)(0x80 | (code & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | (code >> 18));
    out[1] = (char)(0x80 | ((code >> 12) & 0x3f));
    out[2] = (char)(0x80 | ((code >> 6) & 0x3f));
    out[3] = (char)(0x80 | (code & 0x3f));
    return 4;
}

/* The code point of a \u escape at *at (after the u), with its low surrogate if there is one. */
static unsigned read_unicode(const char **at, const char *end)
{
    unsigned code = hex4(*at);
    *at += 4;
    if (code >= 0xd800 && code <= 0xdbff && end - *at >= 6 && (*at)[0] == '\\' && (*at)[1] == 'u') {
        unsigned low = hex4(*at + 2);
        if (low >= 0xdc00 && low <= 0xdfff) {
            *at += 6;
            return 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        }
    }
    return code;
}

/*
 * The string without quotes and escapes into `out`, which has room for raw.length bytes; returns
 * how many. A lone surrogate becomes three bytes that are no UTF-8, so that different strings stay
 * so.
 */
static size_t decode(const struct json_value *string, char *out)
{
    static const char escapes[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    const char *at = string->raw.data + 1, *end = string->raw.data + string->raw.length - 1;
    const char *start = out;
    while (at < end) {
        if (*at != '\\') {
            *out++ = *at++;
        } else if (*++at != 'u') {
            *out++ = values[strchr(escapes, *at++) - escapes];
        } else {
            at++;
            out += put_utf8(out, read_unicode(&at, end));
        }
    }
    return (size_t)(out - start);
}

static struct slice inside(const struct json_value *string)
{
    return (struct slice){string->raw.data + 1, string->raw.length - 2};
}

static bool same_slice(struct slice a, struct slice b)
{
    return a.length == b.length && memcmp(a.data, b.data, a.length) == 0;
}

char *json_text(const struct json_value *string)
{
    assert(string->type == JSON_STRING);
    char *text = mem_alloc(string->raw.length);
    size_t length = decode(string, text), size;
    if (memchr(text, '\0', length) != NULL) {
        free(text);
        return NULL;
    }
    for (size_t at = 0; at < length; at += size) {
        size = text_utf8_length(text + at, length - at);
        if (size == 0) { /* a lone surrogate: see decode() */
            size = 3;
            memcpy(text + at, "\xef\xbf\xbd", size);
        }
    }
    return text;
}

bool json_is(const struct json_value *value, const char *text)
{
    if (value->type != JSON_STRING)
        return false;
    if (!value->escaped) {
        struct slice inner = inside(value);
        return strncmp(text, inner.data, inner.length) == 0 && text[inner.length] == '\0';
    }
    char *decoded = json_text(value);
    bool same = decoded != NULL && strcmp(decoded, text) == 0;
    free(decoded);
    return same;
}

bool json_same(const struct json_value *a, const struct json_value *b)
{
    assert(a->type == JSON_STRING && b->type == JSON_STRING);
    if (!a->escaped && !b->escaped)
        return same_slice(a->raw, b->raw);
    char *one = mem_alloc(a->raw.length), *two = mem_alloc(b->raw.length);
    size_t length = decode(a, one);
    bool same = length == decode(b, two) && memcmp(one, two, length) == 0;
    free(one);
    free(two);
    return same;
}

/* ---- keys ---- */

static int compare_text(const struct json_key *a, const struct json_key *b)
{
    if (a->text.length != b->text.length)
        return a->text.length < b->text.length ? -1 : 1;
    return memcmp(a->text.data, b->text.data, a->text.length);
}

static int compare_key(const void *a, const void *b)
{
    const struct json_key *one = a, *two = b;
    int order = compare_text(one, two);
    return order != 0 ? order : (one->key > two->key) - (one->key < two->key);
}

void json_keys_sort(const struct json *json, const struct json_value *object,
                    struct json_keys *ret_keys)
{
    assert(object->type == JSON_OBJECT);
    struct json_keys keys = {.items = mem_array(object->count, sizeof *keys.items),
                             .decoded = mem_alloc(object->raw.length)};
    char *out = keys.decoded;
    for (const struct json_value *key = json_first(json, object); key != NULL;
         key = json_next(json, key)) {
        struct slice text = inside(key);
        if (key->escaped) {
            text = (struct slice){out, decode(key, out)};
            out += text.length;
        }
        keys.items[keys.count++] = (struct json_key){text, key};
    }
    qsort(keys.items, keys.count, sizeof *keys.items, compare_key);
    *ret_keys = keys;
}

bool json_keys_have(const struct json_keys *keys, const struct json_value *key)
{
    char *decoded = key->escaped ? mem_alloc(key->raw.length) : NULL;
    const struct json_key wanted = {
        .text = decoded != NULL ? (struct slice){decoded, decode(key, decoded)} : inside(key)};
    size_t low = 0, high = keys->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare_text(&keys->items[middle], &wanted) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    bool found = low < keys->count && compare_text(&keys->items[low], &wanted) == 0;
    free(decoded);
    return found;
}

const struct json_value *json_keys_twice(const struct json_keys *keys)
{
    const struct json_value *first = NULL;
    for (size_t i = 1; i < keys->count; i++) {
        const struct json_key *key = &keys->items[i];
        if (compare_text(key - 1, key) == 0 && (first == NULL || key->key < first))
            first = key->key;
    }
    return first;
}

void json_keys_free(struct json_keys *keys)
{
    free(keys->items);
    free(keys->decoded);
    *keys = (struct json_keys){0};
}

/* ---- numbers and words ---- */

int json_int64(const struct json_value *number, int64_t *ret_number)
{
    if (number->type != JSON_NUMBER)
        return -1;
    return text_int64(number->raw.data, number->raw.length, ret_number);
}

int json_double(const struct json_value *number, double *ret_number)
{
    if (number->type != JSON_NUMBER || number->raw.length > 63)
        return -1;
    char text[64];
    memcpy(text, number->raw.data, number->raw.length);
    text[number->raw.length] = '\0';
    double value = strtod(text, NULL);
    if (!isfinite(value))
        return -1;
    *ret_number = value;
    return 0;
}

bool json_true(const struct json_value *value)
{
    return value != NULL && value->type == JSON_BOOL && value->raw.data[0] == 't';
}

const char *json_type_name(enum json_type type)
{
    static const char *const names[] = {"null",     "a boolean", "a number",
                                        "a string", "an array",  "an object"};
    return names[type];
}
