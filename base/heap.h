/*
 * A binary heap of pointers, smallest first. Each element stores its own place (a size_t the caller
 * names by offset), so that one in the middle is removed or moved in O(log n).
 */
#ifndef BASE_HEAP_H
#define BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>

struct heap {
    void **items;
    size_t count;
    size_t capacity;
    bool (*before)(const void *a, const void *b);
    size_t place_offset; /* offsetof(struct element, heap_place) */
};

void heap_init(struct heap *heap, bool (*before)(const void *, const void *), size_t place_offset);
void heap_free(struct heap *heap); /* the elements stay with their owner */
void heap_push(struct heap *heap, void *item);
void *heap_first(const struct heap *heap); /* NULL when empty */
void *heap_pop(struct heap *heap);         /* NULL when empty */
void heap_remove(struct heap *heap, void *item);
void heap_moved(struct heap *heap, void *item); /* its key has changed */

#endif
