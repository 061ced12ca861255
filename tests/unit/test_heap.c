/* The heap against a sorted array, under any sequence of operations; and the ring list. */
#include "base/heap.h"

#include "base/list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define ITEMS 500

struct item {
    int key;
    bool in;
    size_t heap_place;
    struct list link;
};

static uint64_t seed;

static unsigned below(unsigned limit)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)((seed >> 33) % limit);
}

static bool key_before(const void *a, const void *b)
{
    return ((const struct item *)a)->key < ((const struct item *)b)->key;
}

static int compare_int(const void *a, const void *b)
{
    return (*(const int *)a > *(const int *)b) - (*(const int *)a < *(const int *)b);
}

/* The keys that should be in the heap, smallest first. */
static size_t sorted_keys(const struct item *items, int *keys)
{
    size_t count = 0;
    for (size_t i = 0; i < ITEMS; i++)
        if (items[i].in)
            keys[count++] = items[i].key;
    qsort(keys, count, sizeof *keys, compare_int);
    return count;
}

static void check(const struct heap *heap, const struct item *items)
{
    int keys[ITEMS];
    size_t count = sorted_keys(items, keys);
    assert_int_equal(heap->count, count);
    const struct item *first = heap_first(heap);
    assert_true(count == 0 ? first == NULL : first->key == keys[0]);
    for (size_t i = 0; i < heap->count; i++) {
        const struct item *item = heap->items[i];
        assert_int_equal(item->heap_place, i);
        if (i > 0)
            assert_false(key_before(item, heap->items[(i - 1) / 2]));
    }
}

/* One operation on one item. */
static void change(struct heap *heap, struct item *item, unsigned range)
{
    if (!item->in) {
        item->key = (int)below(range);
        heap_push(heap, item);
        item->in = true;
    } else if (below(2) == 0) {
        heap_remove(heap, item);
        item->in = false;
    } else {
        item->key = (int)below(range);
        heap_moved(heap, item);
    }
}

static void any_sequence_of_operations_keeps_the_order(void **state)
{
    static const unsigned ranges[] = {1, 3, 1000000}; /* all alike, many alike, all different */
    (void)state;
    for (seed = 1; seed < 60; seed += 3) {
        struct item items[ITEMS] = {0};
        struct heap heap;
        unsigned range = ranges[seed % 3];
        heap_init(&heap, key_before, offsetof(struct item, heap_place));
        for (int step = 0; step < 2000; step++) {
            change(&heap, &items[below(ITEMS)], range);
            if (below(20) == 0 && heap.count > 0)
                ((struct item *)heap_pop(&heap))->in = false;
            if (step % 50 == 0)
                check(&heap, items);
        }
        int keys[ITEMS];
        size_t count = sorted_keys(items, keys);
        for (size_t i = 0; i < count; i++)
            assert_int_equal(((struct item *)heap_pop(&heap))->key, keys[i]);
        assert_null(heap_pop(&heap));
        heap_free(&heap);
    }
}

static void an_empty_heap_has_no_first(void **state)
{
    struct heap heap;
    struct item item = {.key = 1};
    (void)state;
    heap_init(&heap, key_before, offsetof(struct item, heap_place));
    assert_null(heap_first(&heap));
    assert_null(heap_pop(&heap));
    heap_push(&heap, &item);
    assert_ptr_equal(heap_first(&heap), &item);
    heap_remove(&heap, &item);
    assert_null(heap_first(&heap));
    heap_free(&heap);
    heap_free(&heap);
}

static void every_place_of_the_heap_can_be_removed(void **state)
{
    (void)state;
    for (size_t size = 1; size <= 20; size++) {
        for (size_t victim = 0; victim < size; victim++) {
            struct item items[ITEMS] = {0};
            struct heap heap;
            heap_init(&heap, key_before, offsetof(struct item, heap_place));
            for (size_t i = 0; i < size; i++) {
                items[i] = (struct item){.key = (int)((i * 7) % size), .in = true};
                heap_push(&heap, &items[i]);
            }
            heap_remove(&heap, &items[victim]);
            items[victim].in = false;
            check(&heap, items);
            heap_free(&heap);
        }
    }
}

static void a_list_keeps_its_order_and_lets_go_of_any_item(void **state)
{
    struct list list;
    struct item items[5] = {0};
    int expected[] = {0, 1, 3, 4}, at = 0;
    (void)state;
    list_init(&list);
    assert_true(list_empty(&list));
    for (int i = 1; i < 5; i++) {
        items[i].key = i;
        list_append(&list, &items[i].link);
    }
    list_prepend(&list, &items[0].link);
    list_remove(&items[2].link);
    assert_true(list_empty(&items[2].link)); /* on no list: points at itself */
    list_remove(&items[2].link);
    LIST_EACH (&list, struct item, link, item) {
        assert_int_equal(item->key, expected[at++]);
        list_remove(&item->link); /* allowed while walking */
    }
    assert_int_equal(at, 4);
    assert_true(list_empty(&list));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_sequence_of_operations_keeps_the_order),
        cmocka_unit_test(an_empty_heap_has_no_first),
        cmocka_unit_test(every_place_of_the_heap_can_be_removed),
        cmocka_unit_test(a_list_keeps_its_order_and_lets_go_of_any_item),
    };
    return cmocka_run_group_tests_name("heap", tests, NULL, NULL);
}
