/* A binary heap whose elements know their place: see heap.h. */
#include "base/heap.h"

#include "base/memory.h"

#include <assert.h>
#include <stdlib.h>

void heap_init(struct heap *heap, bool (*before)(const void *, const void *), size_t place_offset)
{
    *heap = (struct heap){.before = before, .place_offset = place_offset};
}

void heap_free(struct heap *heap)
{
    free(heap->items);
    heap->items = NULL;
    heap->count = heap->capacity = 0;
}

static size_t *heap_place(const struct heap *heap, void *item)
{
    return (size_t *)((char *)item + heap->place_offset);
}

static void heap_put(struct heap *heap, size_t place, void *item)
{
    heap->items[place] = item;
    *heap_place(heap, item) = place;
}

static void heap_up(struct heap *heap, size_t place, void *item)
{
    while (place > 0) {
        size_t parent = (place - 1) / 2;
        if (!heap->before(item, heap->items[parent]))
            break;
        heap_put(heap, place, heap->items[parent]);
        place = parent;
    }
    heap_put(heap, place, item);
}

static void heap_down(struct heap *heap, size_t place, void *item)
{
    for (;;) {
        size_t child = 2 * place + 1;
        if (child >= heap->count)
            break;
        if (child + 1 < heap->count && heap->before(heap->items[child + 1], heap->items[child]))
            child++;
        if (!heap->before(heap->items[child], item))
            break;
        heap_put(heap, place, heap->items[child]);
        place = child;
    }
    heap_put(heap, place, item);
}

void heap_push(struct heap *heap, void *item)
{
    if (heap->count == heap->capacity) {
        heap->capacity = heap->capacity > 0 ? heap->capacity * 2 : 16;
        heap->items = mem_resize(heap->items, heap->capacity, sizeof *heap->items);
    }
    heap_up(heap, heap->count++, item);
}

void *heap_first(const struct heap *heap)
{
    return heap->count > 0 ? heap->items[0] : NULL;
}

void heap_moved(struct heap *heap, void *item)
{
    size_t place = *heap_place(heap, item);
    assert(place < heap->count && heap->items[place] == item);
    if (place > 0 && heap->before(item, heap->items[(place - 1) / 2]))
        heap_up(heap, place, item);
    else
        heap_down(heap, place, item);
}

void heap_remove(struct heap *heap, void *item)
{
    size_t place = *heap_place(heap, item);
    assert(place < heap->count && heap->items[place] == item);
    void *last = heap->items[--heap->count];
    if (last == item)
        return;
    heap_put(heap, place, last);
    heap_moved(heap, last);
}

void *heap_pop(struct heap *heap)
{
    void *first = heap_first(heap);
    if (first != NULL)
        heap_remove(heap, first);
    return first;
}
