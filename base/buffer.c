/* Growing bytes: see buffer.h. */
#include "base/buffer.h"

#include "base/memory.h"
#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct slice slice_of(const char *text)
{
    return (struct slice){text, text != NULL ? strlen(text) : 0};
}

void buffer_free(struct buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct buffer){0};
}

void buffer_clear(struct buffer *buffer)
{
    buffer->length = 0;
}

void buffer_grow(struct buffer *buffer, size_t more)
{
    size_t wanted = buffer->capacity * 2;
    if (wanted < buffer->length + more)
        wanted = buffer->length + more;
    if (wanted < 128)
        wanted = 128;
    buffer->data = mem_resize(buffer->data, wanted, 1);
    buffer->capacity = wanted;
}

void buffer_int(struct buffer *buffer, int64_t number)
{
    char digits[20]; /* of 2^63, with room for its sign */
    size_t at = sizeof digits;
    uint64_t rest = number < 0 ? -(uint64_t)number : (uint64_t)number;
    do {
        digits[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (number < 0)
        digits[--at] = '-';
    buffer_append(buffer, digits + at, sizeof digits - at);
}

void buffer_format(struct buffer *buffer, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length > 0) {
        vsnprintf(buffer_reserve(buffer, (size_t)length + 1), (size_t)length + 1, format, again);
        buffer->length += (size_t)length;
    }
    va_end(again);
}

void buffer_consume(struct buffer *buffer, size_t length)
{
    if (length >= buffer->length) {
        buffer->length = 0;
        return;
    }
    memmove(buffer->data, buffer->data + length, buffer->length - length);
    buffer->length -= length;
}

const char *buffer_text(struct buffer *buffer)
{
    *buffer_reserve(buffer, 1) = '\0';
    return buffer->data;
}

static void json_escape(struct buffer *buffer, unsigned char byte)
{
    switch (byte) {
    case '"':
        buffer_append(buffer, "\\\"", 2);
        return;
    case '\\':
        buffer_append(buffer, "\\\\", 2);
        return;
    case '\n':
        buffer_append(buffer, "\\n", 2);
        return;
    case '\r':
        buffer_append(buffer, "\\r", 2);
        return;
    case '\t':
        buffer_append(buffer, "\\t", 2);
        return;
    default:
        buffer_format(buffer, "\\u%04x", byte);
    }
}

void buffer_json(struct buffer *buffer, const char *text, size_t length)
{
    buffer_reserve(buffer, length + 2);
    buffer_char(buffer, '"');
    size_t at = 0, plain = 0;
    while (at < length) {
        unsigned char byte = (unsigned char)text[at];
        size_t size = byte < 0x80 ? 1 : text_utf8_length(text + at, length - at);
        if (size > 0 && byte >= 0x20 && byte != '"' && byte != '\\' && byte != 0x7f) {
            at += size;
            continue;
        }
        buffer_append(buffer, text + plain, at - plain);
        if (size == 0)
            buffer_string(buffer, "\xef\xbf\xbd");
        else
            json_escape(buffer, byte);
        plain = ++at;
    }
    buffer_append(buffer, text + plain, at - plain);
    buffer_char(buffer, '"');
}
