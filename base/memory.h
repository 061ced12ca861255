/*
 * Allocation that cannot fail: the process ends with a message when memory is out, as a coordinator
 * that cannot allocate cannot keep its promises either; its runs fail over. Sizes are checked.
 */
#ifndef BASE_MEMORY_H
#define BASE_MEMORY_H

#include <stddef.h>

void *mem_alloc(size_t size);               /* zeroed; free() it */
void *mem_array(size_t count, size_t size); /* zeroed, overflow checked */
void *mem_resize(void *old, size_t count, size_t size);
char *mem_string(const char *text); /* NULL gives NULL */
char *mem_string_n(const char *text, size_t length);
char *mem_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
