/*
 * A growing run of bytes: what is appended at the end is taken from the front. Used for lines of
 * the worker protocol, JSON that is written, and binary parameters.
 */
#ifndef BASE_BUFFER_H
#define BASE_BUFFER_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct buffer {
    char *data; /* never NULL after the first append; not NUL-terminated unless buffer_text() */
    size_t length;
    size_t capacity;
};

/* A view of bytes owned by somebody else. data == NULL means "absent". */
struct slice {
    const char *data;
    size_t length;
};

#define SLICE_NONE ((struct slice){NULL, 0})
struct slice slice_of(const char *text); /* NULL gives SLICE_NONE */

void buffer_free(struct buffer *buffer); /* leaves it empty and usable */
void buffer_clear(struct buffer *buffer);
void buffer_grow(struct buffer *buffer, size_t more); /* of buffer_reserve() */
void buffer_int(struct buffer *buffer, int64_t number);
void buffer_format(struct buffer *buffer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void buffer_consume(struct buffer *buffer, size_t length); /* drops bytes from the front */
const char *buffer_text(struct buffer *buffer);            /* NUL-terminates and returns data */

/* Appends text as a JSON string with its quotes. Bytes that are not UTF-8 become U+FFFD. */
void buffer_json(struct buffer *buffer, const char *text, size_t length);

/*
 * In line, as each run is written and read in some hundred small pieces: where the length is known
 * to the compiler, a piece is a comparison and a store.
 */

/* Room for `more`; the length is unchanged. */
static inline char *buffer_reserve(struct buffer *buffer, size_t more)
{
    if (buffer->capacity - buffer->length < more)
        buffer_grow(buffer, more);
    return buffer->data + buffer->length;
}

static inline void buffer_append(struct buffer *buffer, const void *data, size_t length)
{
    if (length == 0)
        return;
    memcpy(buffer_reserve(buffer, length), data, length);
    buffer->length += length;
}

static inline void buffer_string(struct buffer *buffer, const char *text)
{
    buffer_append(buffer, text, strlen(text));
}

static inline void buffer_char(struct buffer *buffer, char character)
{
    *buffer_reserve(buffer, 1) = character;
    buffer->length++;
}

#endif
