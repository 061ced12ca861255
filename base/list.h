/* An intrusive doubly linked ring: an element on no list points at itself. */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next;
    struct list *previous;
};

static inline void list_init(struct list *list)
{
    list->next = list->previous = list;
}

static inline bool list_empty(const struct list *list)
{
    return list->next == list;
}

static inline void list_remove(struct list *item)
{
    item->next->previous = item->previous;
    item->previous->next = item->next;
    list_init(item);
}

/* At the end of the list. The item must be on no list. */
static inline void list_append(struct list *list, struct list *item)
{
    item->previous = list->previous;
    item->next = list;
    list->previous->next = item;
    list->previous = item;
}

/* At the head of the list. The item must be on no list. */
static inline void list_prepend(struct list *list, struct list *item)
{
    list_append(list->next, item);
}

#define LIST_ITEM(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

/* The body may remove `item` itself from the list. */
#define LIST_EACH(head, type, member, item)                                                        \
    for (struct list *item##_at = (head)->next, *item##_next = item##_at->next;                    \
         item##_at != (head); item##_at = item##_next, item##_next = item##_at->next)              \
        for (type *item = LIST_ITEM(item##_at, type, member); item != NULL; item = NULL)

#endif
