/* Allocation that cannot fail: see memory.h. */
#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *mem_check(void *memory, size_t size)
{
    if (memory == NULL) {
        fprintf(stderr, "rota: out of memory (%zu bytes wanted)\n", size);
        abort();
    }
    return memory;
}

#define SMALL 1024 /* bytes that malloc() keeps at hand; calloc() does not look there */

void *mem_alloc(size_t size)
{
    if (size > SMALL)
        return mem_check(calloc(1, size), size);
    return memset(mem_check(malloc(size > 0 ? size : 1), size), 0, size);
}

void *mem_array(size_t count, size_t size)
{
    return mem_check(calloc(count > 0 ? count : 1, size > 0 ? size : 1), count * size);
}

void *mem_resize(void *old, size_t count, size_t size)
{
    return mem_check(reallocarray(old, count > 0 ? count : 1, size > 0 ? size : 1), count * size);
}

char *mem_string(const char *text)
{
    return text != NULL ? mem_string_n(text, strlen(text)) : NULL;
}

char *mem_string_n(const char *text, size_t length)
{
    char *copy = mem_check(malloc(length + 1), length + 1);
    memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

char *mem_format(const char *format, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int length = vasprintf(&text, format, args);
    va_end(args);
    return mem_check(length < 0 ? NULL : text, 0);
}
