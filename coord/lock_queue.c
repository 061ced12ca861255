/* Who of this process comes next for a lock: see lock_queue.h. */
#include "coord/lock_queue.h"

#include "base/memory.h"
#include "base/table.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct lock_name {
    UT_hash_handle hh;
    struct list waiting, holders; /* struct lock_claim */
    enum lock_session session;
    char *key; /* scope and text */
};

struct lock_queues {
    struct lock_name *names; /* by key */
};

#define SCOPE_LENGTH 1 /* of the letter before the text */

struct lock_queues *lock_queues_new(void)
{
    return mem_alloc(sizeof(struct lock_queues));
}

static bool is_idle(const struct lock_name *name)
{
    return list_empty(&name->waiting) && list_empty(&name->holders);
}

static void name_free(struct lock_queues *queues, struct lock_name *name)
{
    HASH_DEL(queues->names, name);
    free(name->key);
    free(name);
}

void lock_queues_free(struct lock_queues *queues)
{
    struct lock_name *name, *next;
    if (queues == NULL)
        return;
    HASH_ITER (hh, queues->names, name, next) {
        assert(is_idle(name));
        name_free(queues, name);
    }
    free(queues);
}

static struct lock_name *find_key(const struct lock_queues *queues, const char *key)
{
    struct lock_name *name;
    HASH_FIND_STR(queues->names, key, name);
    return name;
}

struct lock_name *lock_queue_find(const struct lock_queues *queues, const char *text)
{
    char *key = mem_format("c%s", text);
    struct lock_name *name = find_key(queues, key);
    free(key);
    return name;
}

void lock_queue_join(struct lock_queues *queues, struct lock_claim *claim, struct slice text,
                     bool node_scope, bool exclusive)
{
    char *key = mem_format("%c%.*s", node_scope ? 'n' : 'c', (int)text.length, text.data);
    struct lock_name *name = find_key(queues, key);
    if (name == NULL) {
        name = mem_alloc(sizeof *name);
        list_init(&name->waiting);
        list_init(&name->holders);
        name->key = key;
        HASH_ADD_KEYPTR(hh, queues->names, name->key, strlen(name->key), name);
    } else {
        free(key);
    }
    claim->name = name;
    claim->exclusive = exclusive;
    claim->holds = false;
    list_init(&claim->place);
    list_append(&name->waiting, &claim->place);
}

struct lock_claim *lock_queue_turn(const struct lock_name *name)
{
    if (list_empty(&name->waiting))
        return NULL;
    struct lock_claim *first = LIST_ITEM(name->waiting.next, struct lock_claim, place);
    const struct lock_claim *holder = lock_queue_holder(name);
    bool in_the_way = holder != NULL && (first->exclusive || holder->exclusive);
    return in_the_way ? NULL : first;
}

void lock_queue_hold(struct lock_claim *claim)
{
    assert(lock_queue_turn(claim->name) == claim);
    list_remove(&claim->place);
    list_append(&claim->name->holders, &claim->place);
    claim->holds = true;
}

void lock_queue_leave(struct lock_claim *claim)
{
    list_remove(&claim->place);
    claim->holds = false;
}

struct lock_claim *lock_queue_holder(const struct lock_name *name)
{
    return list_empty(&name->holders) ? NULL
                                      : LIST_ITEM(name->holders.next, struct lock_claim, place);
}

void lock_queue_settle(struct lock_queues *queues, struct lock_name *name)
{
    if (is_idle(name) && name->session == SESSION_NONE)
        name_free(queues, name);
}

const char *lock_name_text(const struct lock_name *name)
{
    return name->key + SCOPE_LENGTH;
}

enum lock_session lock_name_session(const struct lock_name *name)
{
    return name->session;
}

void lock_name_set_session(struct lock_name *name, enum lock_session session)
{
    name->session = session;
}

void lock_queues_session_lost(struct lock_queues *queues)
{
    struct lock_name *name, *next;
    HASH_ITER (hh, queues->names, name, next) {
        name->session = SESSION_NONE;
        lock_queue_settle(queues, name);
    }
}
