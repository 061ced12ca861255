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

static int is_hex(char c)
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
    if (r->at + 5 < j->length && j->text[r->at + 1] == 'u') {
        for (size_t i = 2; i < 6; i++)
            if (!is_hex(j->text[r->at + i]))
                return fail(r, "\\u must be followed by four hexadecimal digits");
        r->at += 6;
        return 0;
    }
    return fail(r, "unknown escape in string");
}

static int read_string(struct reader *r)
{
    const struct json *j = r->json;
    uint32_t index = add_value(r, JSON_STRING);
    r->at++;
    while (r->at < j->length && j->text[r->at] != '"') {
        unsigned char byte = (unsigned char)j->text[r->at];
        if (byte < 0x20)
            return fail(r, "control character in string: write it as an escape");
        if (byte == '\\') {
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
    while (r->at < r->json->length && r->json->text[r->at] >= '0' && r->json->text[r->at] <= '9')
        r->at++;
    return r->at > start;
}

static int read_number(struct reader *r)
{
    uint32_t index = add_value(r, JSON_NUMBER);
    if (at_char(r, '-'))
        r->at++;
    if (at_char(r, '0'))
        r->at++;
    else if (!read_digits(r))
        return fail(r, "a number needs digits");
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
    if (r->at < r->json->length && r->json->text[r->at] >= '0' && r->json->text[r->at] <= '9')
        return fail(r, "a number must not begin with 0");
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

#define DUPLICATE_SCAN_MAX 256 /* objects with more members are not searched for duplicate keys */

static bool key_seen(const struct json *j, uint32_t object, uint32_t key)
{
    if (j->values[object].count > DUPLICATE_SCAN_MAX)
        return false;
    struct slice raw = j->values[key].raw;
    for (uint32_t at = object + 1; at != key && at != 0; at = j->values[at].next)
        if (j->values[at].raw.length == raw.length &&
            memcmp(j->values[at].raw.data, raw.data, raw.length) == 0)
            return true;
    return false;
}

static int read_member(struct reader *r, uint32_t object, uint32_t key)
{
    if (!at_char(r, '"'))
        return fail(r, "a key in double quotes is expected in this object");
    size_t start = r->at;
    if (read_string(r) != 0)
        return -1;
    if (key_seen(r->json, object, key)) {
        r->at = start;
        return fail(r, "this key stands twice in the object");
    }
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
    return 0;
}

static int read_value(struct reader *r)
{
    skip_space(r);
    if (++r->depth > JSON_DEPTH_MAX)
        return fail(r, "nested too deeply");
    int failed;
    if (at_char(r, '{'))
        failed = read_object(r);
    else if (at_char(r, '['))
        failed = read_array(r);
    else if (at_char(r, '"'))
        failed = read_string(r);
    else if (at_char(r, '-') ||
             (r->at < r->json->length && r->json->text[r->at] >= '0' && r->json->text[r->at] <= '9'))
        failed = read_number(r);
    else
        failed = read_word(r);
    r->depth--;
    return failed;
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

void json_position(const struct json *json, const struct json_value *value, int *ret_line,
                   int *ret_column)
{
    position_of(json->text, (size_t)(value->raw.data - json->text), ret_line, ret_column);
}

bool json_is(const struct json_value *value, const char *text)
{
    if (value->type != JSON_STRING)
        return false;
    struct slice inner = {value->raw.data + 1, value->raw.length - 2};
    if (memchr(inner.data, '\\', inner.length) == NULL)
        return inner.length == strlen(text) && memcmp(inner.data, text, inner.length) == 0;
    char *decoded = json_text(value);
    bool same = decoded != NULL && strcmp(decoded, text) == 0;
    free(decoded);
    return same;
}

static unsigned hex4(const char *digits)
{
    unsigned number = 0;
    for (int i = 0; i < 4; i++) {
        char c = digits[i];
        number = number * 16 +
                 (unsigned)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
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
    return code >= 0xd800 && code <= 0xdfff ? 0xfffd : code; /* a lone surrogate has no UTF-8 */
}

char *json_text(const struct json_value *string)
{
    assert(string->type == JSON_STRING);
    static const char escapes[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    const char *at = string->raw.data + 1, *end = string->raw.data + string->raw.length - 1;
    char *text = mem_alloc(string->raw.length), *out = text;
    while (at < end) {
        if (*at != '\\') {
            *out++ = *at++;
            continue;
        }
        at++;
        if (*at != 'u') {
            *out++ = values[strchr(escapes, *at++) - escapes];
            continue;
        }
        at++;
        unsigned code = read_unicode(&at, end);
        if (code == 0) {
            free(text);
            return NULL;
        }
        out += put_utf8(out, code);
    }
    *out = '\0';
    return text;
}

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
    *ret_number = strtod(text, NULL);
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
