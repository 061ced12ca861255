/* A strict JSON reader that keeps slices and positions: see json.h. */
#include "base/json.h"

#include "base/memory.h"
#include "base/text.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct reader {
    struct json *json;
    size_t at;
    int depth;
    struct rota_error *error;
};

static void position_of(const char *text, size_t at, int *ret_line, int *ret_column)
{
    int line = 1;
    size_t start = 0;
    for (size_t i = 0; i < at; i++) {
        if (text[i] == '\n') {
            line++;
            start = i + 1;
        }
    }
    *ret_line = line;
    *ret_column = (int)(at - start) + 1;
}

static int fail(struct reader *r, const char *what)
{
    int line, column;
    position_of(r->json->text, r->at, &line, &column);
    return error_set(r->error, ERROR_REFUSED, "line %d, column %d: %s", line, column, what);
}

static void skip_space(struct reader *r)
{
    const struct json *j = r->json;
    while (r->at < j->length && (j->text[r->at] == ' ' || j->text[r->at] == '\n' ||
                                 j->text[r->at] == '\t' || j->text[r->at] == '\r'))
        r->at++;
}

static bool at_char(const struct reader *r, char character)
{
    return r->at < r->json->length && r->json->text[r->at] == character;
}

static bool at_digit(const struct reader *r)
{
    return r->at < r->json->length && r->json->text[r->at] >= '0' && r->json->text[r->at] <= '9';
}

static uint32_t add_value(struct reader *r, enum json_type type)
{
    struct json *j = r->json;
    if (j->count == j->capacity) {
        j->capacity = j->capacity > 0 ? j->capacity * 2 : 32;
        j->values = mem_resize(j->values, j->capacity, sizeof *j->values);
    }
    j->values[j->count] = (struct json_value){.type = type, .raw = {j->text + r->at, 0}};
    return j->count++;
}

static void end_value(struct reader *r, uint32_t index)
{
    struct json_value *value = &r->json->values[index];
    value->raw.length = (size_t)(r->json->text + r->at - value->raw.data);
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static int read_escape(struct reader *r)
{
    const struct json *j = r->json;
    if (r->at + 1 < j->length && j->text[r->at + 1] != '\0' &&
        strchr("\"\\/bfnrt", j->text[r->at + 1]) != NULL) {
        r->at += 2;
        return 0;
    }
    if (r->at + 1 < j->length && j->text[r->at + 1] == 'u') {
        for (size_t i = 2; i < 6; i++)
            if (r->at + i >= j->length || !is_hex(j->text[r->at + i]))
                return fail(r, "\\u must be followed by four hexadecimal digits");
        r->at += 6;
        return 0;
    }
    return fail(r, "unknown escape in string");
}

/* Behind what stands for itself in a string, which is nearly all of nearly all strings. */
static size_t skip_plain(const struct json *json, size_t at)
{
    const unsigned char *text = (const unsigned char *)json->text;
    while (at < json->length && text[at] >= 0x20 && text[at] < 0x80 && text[at] != '"' &&
           text[at] != '\\')
        at++;
    return at;
}

static int read_string(struct reader *r)
{
    const struct json *j = r->json;
    uint32_t index = add_value(r, JSON_STRING);
    for (r->at = skip_plain(j, r->at + 1); r->at < j->length && j->text[r->at] != '"';
         r->at = skip_plain(j, r->at)) {
        if ((unsigned char)j->text[r->at] < 0x20)
            return fail(r, "control character in string: write it as an escape");
        if (j->text[r->at] == '\\') {
            r->json->values[index].escaped = true;
            if (read_escape(r) != 0)
                return -1;
            continue;
        }
        size_t size = text_utf8_length(j->text + r->at, j->length - r->at);
        if (size == 0)
            return fail(r, "string is not valid UTF-8");
        r->at += size;
    }
    if (r->at >= j->length)
        return fail(r, "string without closing quote");
    r->at++;
    end_value(r, index);
    return 0;
}

static bool read_digits(struct reader *r)
{
    size_t start = r->at;
    while (at_digit(r))
        r->at++;
    return r->at > start;
}

static int read_number(struct reader *r)
{
    uint32_t index = add_value(r, JSON_NUMBER);
    if (at_char(r, '-'))
        r->at++;
    if (at_char(r, '0')) {
        r->at++;
        if (at_digit(r))
            return fail(r, "a number must not begin with 0");
    } else if (!read_digits(r)) {
        return fail(r, "a number needs digits");
    }
    if (at_char(r, '.')) {
        r->at++;
        if (!read_digits(r))
            return fail(r, "a number needs digits after its point");
    }
    if (at_char(r, 'e') || at_char(r, 'E')) {
        r->at++;
        if (at_char(r, '+') || at_char(r, '-'))
            r->at++;
        if (!read_digits(r))
            return fail(r, "a number needs digits in its exponent");
    }
    end_value(r, index);
    return 0;
}

static int read_word(struct reader *r)
{
    static const struct {
        const char *word;
        enum json_type type;
    } words[] = {{"true", JSON_BOOL}, {"false", JSON_BOOL}, {"null", JSON_NULL}};
    for (size_t i = 0; i < 3; i++) {
        size_t length = strlen(words[i].word);
        if (r->json->length - r->at >= length &&
            memcmp(r->json->text + r->at, words[i].word, length) == 0) {
            uint32_t index = add_value(r, words[i].type);
            r->at += length;
            end_value(r, index);
            return 0;
        }
    }
    return fail(r, r->at < r->json->length ? "a JSON value is expected here"
                                           : "the text ends where a JSON value is expected");
}

static int read_value(struct reader *r);

static int read_array(struct reader *r)
{
    uint32_t index = add_value(r, JSON_ARRAY), previous = 0;
    r->at++;
    skip_space(r);
    while (!at_char(r, ']')) {
        uint32_t child = r->json->count;
        if (previous != 0) {
            if (!at_char(r, ','))
                return fail(r, "a comma or ] is expected in this array");
            r->at++;
            r->json->values[previous].next = child;
        }
        if (read_value(r) != 0)
            return -1;
        r->json->values[index].count++;
        previous = child;
        skip_space(r);
    }
    r->at++;
    end_value(r, index);
    return 0;
}

#define DUPLICATE_SCAN_MAX                                                                         \
    32 /* members compared as they come; larger objects are sorted at the end */

static int fail_twice(struct reader *r, const struct json_value *key)
{
    r->at = (size_t)(key->raw.data - r->json->text);
    return fail(r, "this key stands twice in the object");
}

static bool key_seen(const struct json *j, uint32_t object, uint32_t key)
{
    if (j->values[object].count > DUPLICATE_SCAN_MAX)
        return false;
    for (uint32_t at = object + 1; at != key && at != 0; at = j->values[at].next)
        if (json_same(&j->values[at], &j->values[key]))
            return true;
    return false;
}

static int check_many_keys(struct reader *r, uint32_t object)
{
    struct json_keys keys;
    json_keys_sort(r->json, &r->json->values[object], &keys);
    const struct json_value *twice = json_keys_twice(&keys);
    json_keys_free(&keys);
    return twice != NULL ? fail_twice(r, twice) : 0;
}

static int read_member(struct reader *r, uint32_t object, uint32_t key)
{
    if (!at_char(r, '"'))
        return fail(r, "a key in double quotes is expected in this object");
    if (read_string(r) != 0)
        return -1;
    if (key_seen(r->json, object, key))
        return fail_twice(r, &r->json->values[key]);
    skip_space(r);
    if (!at_char(r, ':'))
        return fail(r, "a colon is expected after the key");
    r->at++;
    return read_value(r);
}

static int read_object(struct reader *r)
{
    uint32_t index = add_value(r, JSON_OBJECT), previous = 0;
    r->at++;
    skip_space(r);
    while (!at_char(r, '}')) {
        uint32_t key = r->json->count;
        if (previous != 0) {
            if (!at_char(r, ','))
                return fail(r, "a comma or } is expected in this object");
            r->at++;
            skip_space(r);
            r->json->values[previous].next = key;
        }
        if (read_member(r, index, key) != 0)
            return -1;
        r->json->values[index].count++;
        previous = key;
        skip_space(r);
    }
    r->at++;
    end_value(r, index);
    return r->json->values[index].count > DUPLICATE_SCAN_MAX ? check_many_keys(r, index) : 0;
}

static int read_nested(struct reader *r)
{
    if (r->depth == JSON_DEPTH_MAX)
        return fail(r, "nested too deeply");
    r->depth++;
    int failed = at_char(r, '{') ? read_object(r) : read_array(r);
    r->depth--;
    return failed;
}

static int read_value(struct reader *r)
{
    skip_space(r);
    if (at_char(r, '{') || at_char(r, '['))
        return read_nested(r);
    if (at_char(r, '"'))
        return read_string(r);
    if (at_char(r, '-') || at_digit(r))
        return read_number(r);
    return read_word(r);
}

int json_parse(struct json *ret_json, const char *text, size_t length, struct rota_error *error)
{
    struct json json = {.text = text, .length = length};
    struct reader r = {.json = &json, .error = error};
    int failed = read_value(&r);
    if (failed == 0) {
        skip_space(&r);
        if (r.at < length)
            failed = fail(&r, "nothing may follow the JSON value");
    }
    if (failed != 0) {
        json_free(&json);
        return -1;
    }
    *ret_json = json;
    return 0;
}

void json_free(struct json *json)
{
    free(json->values);
    *json = (struct json){0};
}

void json_position(const struct json *json, const struct json_value *value, int *ret_line,
                   int *ret_column)
{
    position_of(json->text, (size_t)(value->raw.data - json->text), ret_line, ret_column);
}
