/* JSON for workers in C: see rota_json.h, and the accessors of rota_worker.h. */
#include "worker/sdk/rota_json.h"

#include "worker/sdk/rota_worker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *rota_memory(void *old, size_t size)
{
    void *memory = realloc(old, size > 0 ? size : 1);
    if (memory == NULL) {
        fputs("rota worker: out of memory\n", stderr);
        abort();
    }
    return memory;
}

/* --- writing --- */

void rota_text_put(struct rota_text *text, const char *bytes, size_t length)
{
    if (text->length + length + 1 > text->capacity) {
        text->capacity = (text->length + length + 1) * 2;
        text->data = rota_memory(text->data, text->capacity);
    }
    memcpy(text->data + text->length, bytes, length);
    text->length += length;
    text->data[text->length] = '\0';
}

void rota_text_add(struct rota_text *text, const char *plain)
{
    rota_text_put(text, plain, strlen(plain));
}

void rota_text_int(struct rota_text *text, int64_t number)
{
    char digits[24];
    snprintf(digits, sizeof digits, "%lld", (long long)number);
    rota_text_add(text, digits);
}

void rota_text_format(struct rota_text *text, const char *format, va_list arguments)
{
    va_list again;
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    char *made = rota_memory(NULL, (size_t)(length > 0 ? length : 0) + 1);
    made[0] = '\0';
    vsnprintf(made, (size_t)(length > 0 ? length : 0) + 1, format, again);
    va_end(again);
    rota_text_add(text, made);
    free(made);
}

void rota_text_json(struct rota_text *text, const char *json)
{
    size_t start = text->length;
    rota_text_add(text, json);
    for (char *at = text->data + start; *at != '\0'; at++)
        if (*at == '\n' || *at == '\r')
            *at = ' ';
}

void rota_text_free(struct rota_text *text)
{
    free(text->data);
    *text = (struct rota_text){0};
}

/* Bytes of the UTF-8 character at `at` (RFC 3629), 0 where it is none. */
static size_t utf8_length(const unsigned char *at)
{
    size_t length = at[0] < 0x80 ? 1 : at[0] < 0xc2 ? 0 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
    if (at[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    bool bad = (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f) ||
               (at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] > 0x8f);
    return bad ? 0 : length;
}

void rota_text_string(struct rota_text *text, const char *string)
{
    rota_text_add(text, "\"");
    for (const unsigned char *at = (const unsigned char *)string; *at != '\0';) {
        size_t length = utf8_length(at);
        char escape[8];
        if (length == 0) {
            rota_text_add(text, "\xef\xbf\xbd");
            length = 1;
        } else if (*at == '"' || *at == '\\') {
            rota_text_put(text, (char[]){'\\', (char)*at}, 2);
        } else if (*at < 0x20) {
            snprintf(escape, sizeof escape, "\\u%04x", *at);
            rota_text_add(text, escape);
        } else {
            rota_text_put(text, (const char *)at, length);
        }
        at += length;
    }
    rota_text_add(text, "\"");
}

char *rota_json_quote(const char *text)
{
    struct rota_text quoted = {0};
    rota_text_string(&quoted, text);
    return quoted.data;
}

/* --- reading --- */

static const char *skip_spaces(const char *at)
{
    return at + strspn(at, " \t\r\n");
}

/* Behind the string that begins at `at`; NULL: it does not end. */
static const char *skip_string(const char *at)
{
    for (at++; *at != '"'; at++) {
        if (*at == '\\')
            at++;
        if (*at == '\0')
            return NULL;
    }
    return at + 1;
}

/* Behind the value at `at`; NULL: it does not end. What it is, is not looked at closely. */
static const char *skip_value(const char *at)
{
    long depth = 0;
    do {
        if (*at == '"') {
            at = skip_string(at);
            if (at == NULL)
                return NULL;
            continue;
        }
        if (*at == '\0')
            return NULL;
        depth += (*at == '{' || *at == '[') - (*at == '}' || *at == ']');
        size_t plain = strcspn(at, " \t\r\n,:\"{}[]");
        at += plain > 0 ? plain : 1;
    } while (depth > 0);
    return depth == 0 ? at : NULL;
}

static bool key_is(const char *string, const char *end, const char *key)
{
    size_t length = strlen(key);
    return (size_t)(end - string) == length + 2 && memcmp(string + 1, key, length) == 0;
}

const char *rota_json_find(const char *json, const char *key, size_t *ret_length)
{
    const char *at = json != NULL ? skip_spaces(json) : "";
    if (*at != '{')
        return NULL;
    for (at = skip_spaces(at + 1); *at == '"'; at = skip_spaces(at + 1)) {
        const char *end = skip_string(at);
        const char *value = end != NULL ? skip_spaces(end) : "";
        if (*value != ':')
            return NULL;
        value = skip_spaces(value + 1);
        const char *after = skip_value(value);
        if (after == NULL)
            return NULL;
        if (key_is(at, end, key)) {
            *ret_length = (size_t)(after - value);
            return value;
        }
        at = skip_spaces(after);
        if (*at != ',')
            return NULL;
    }
    return NULL;
}

char *rota_json_member(const char *json, const char *key)
{
    size_t length;
    const char *value = rota_json_find(json, key, &length);
    if (value == NULL)
        return NULL;
    char *copy = rota_memory(NULL, length + 1);
    memcpy(copy, value, length);
    copy[length] = '\0';
    return copy;
}

int rota_json_int(const char *json, const char *key, int64_t *ret_number)
{
    size_t length;
    const char *value = rota_json_find(json, key, &length);
    char *end;
    if (value == NULL || (*value != '-' && (*value < '0' || *value > '9')))
        return -1;
    errno = 0;
    long long number = strtoll(value, &end, 10);
    if (errno != 0 || end != value + length)
        return -1;
    *ret_number = number;
    return 0;
}

int rota_json_double(const char *json, const char *key, double *ret_number)
{
    size_t length;
    const char *value = rota_json_find(json, key, &length);
    char *end;
    if (value == NULL || (*value != '-' && (*value < '0' || *value > '9')))
        return -1;
    double number = strtod(value, &end);
    if (end != value + length)
        return -1;
    *ret_number = number;
    return 0;
}

int rota_json_bool(const char *json, const char *key, bool *ret_value)
{
    size_t length;
    const char *value = rota_json_find(json, key, &length);
    if (value == NULL || (*value != 't' && *value != 'f'))
        return -1;
    *ret_value = *value == 't';
    return 0;
}

static int hex4(const char *at, unsigned *ret_code)
{
    char digits[5] = {0}, *end;
    strncpy(digits, at, 4);
    *ret_code = (unsigned)strtoul(digits, &end, 16);
    return strlen(digits) == 4 && *end == '\0' && strspn(digits, "+- \t") == 0 ? 0 : -1;
}

/* As UTF-8; the bytes written, at most 4. */
static size_t encode(unsigned code, char out[4])
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    size_t length = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = length - 1; i > 0; i--, code >>= 6)
        out[i] = (char)(0x80 | (code & 0x3f));
    out[0] = (char)((0xf00 >> length & 0xff) | code);
    return length;
}

/* The character of the escape at `*at`, which is moved behind it; 0: none that can be stored. */
static unsigned unescape(const char **at)
{
    static const char letters[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    const char *letter = strchr(letters, (*at)[1]);
    unsigned code = 0, low;
    if (letter != NULL && (*at)[1] != '\0') {
        *at += 2;
        return (unsigned char)meant[letter - letters];
    }
    if ((*at)[1] != 'u' || hex4(*at + 2, &code) != 0)
        return 0;
    *at += 6;
    if (code >= 0xd800 && code < 0xdc00 && (*at)[0] == '\\' && (*at)[1] == 'u' &&
        hex4(*at + 2, &low) == 0 && low >= 0xdc00 && low < 0xe000) {
        *at += 6;
        return 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    return code >= 0xd800 && code < 0xe000 ? 0xfffd : code;
}

int rota_json_string(const char *json, const char *key, char *ret_text, size_t size)
{
    size_t length, used = 0;
    const char *value = rota_json_find(json, key, &length);
    if (value == NULL || *value != '"')
        return -1;
    for (const char *at = value + 1; at < value + length - 1;) {
        char bytes[4] = {*at};
        size_t count = 1;
        if (*at == '\\') {
            unsigned code = unescape(&at);
            if (code == 0)
                return -1;
            count = encode(code, bytes);
        } else {
            at++;
        }
        if (used + count >= size)
            return -1;
        memcpy(ret_text + used, bytes, count);
        used += count;
    }
    if (size == 0)
        return -1;
    ret_text[used] = '\0';
    return 0;
}
