/*
 * Recovery, as seen from a survivor: an incarnation is dead when its lock was free at two looks at
 * least 700 ms apart and its lease was not renewed between them. Then what is left of its
 * connections is ended and its runs are taken, by rota.recover() in one transaction. Any node may
 * do it: whoever is second finds nothing.
 */
#include "coord/node.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/table.h"

#include <stdlib.h>

#define TWO_LOOKS_US (700 * US_PER_MS)

struct suspect {
    int32_t id;
    int64_t renewed_us; /* its lease's renewal at the first look */
    int64_t first_boot_us;
    bool seen; /* at this look too */
    bool taking;
    char *name;
    UT_hash_handle hh;
};

struct taking {
    struct node *node;
    int32_t id;
    char *name;
};

static void taking_free(struct taking *taking)
{
    struct suspect *suspect;
    HASH_FIND_INT(taking->node->member.suspects, &taking->id, suspect);
    if (suspect != NULL)
        suspect->taking = false; /* if it is still there, the next look tries again */
    free(taking->name);
    free(taking);
}

static void on_recovered(void *arg, const struct store_answer *answer)
{
    struct taking *taking = arg;
    struct node *node = taking->node;
    if (answer->error != NULL) {
        log_warn(&node->log, "cannot recover a dead node", LOG_TEXT("dead_node", taking->name),
                 LOG_TEXT("error", answer->error->message));
    } else if (PQntuples(answer->result) > 0 &&
               (!row_bool(answer->result, 0, 2) || row_int64(answer->result, 0, 0) > 0 ||
                row_int64(answer->result, 0, 1) > 0)) {
        log_warn(&node->log, "recovered a dead node", LOG_TEXT("dead_node", taking->name),
                 LOG_INT("incarnation", taking->id),
                 LOG_INT("put_back", row_int64(answer->result, 0, 0)),
                 LOG_INT("unknown", row_int64(answer->result, 0, 1)));
        observe_recovered(node, taking->name, row_int64(answer->result, 0, 0),
                          row_int64(answer->result, 0, 1));
        wake_look(node);
    }
    taking_free(taking);
}

static void on_terminated(void *arg, const struct store_answer *answer)
{
    struct taking *taking = arg;
    struct node *node = taking->node;
    if (answer->error != NULL) {
        log_warn(&node->log, "cannot end a dead node's connections",
                 LOG_TEXT("dead_node", taking->name), LOG_TEXT("error", answer->error->message));
        taking_free(taking);
        return;
    }
    struct store_params params = {0};
    int64_t stepped = node->member.clock_stepped_boot_us;
    params_int32(&params, taking->id);
    params_time(&params, node_database_now(node));
    if (stepped != 0)
        params_int64(&params, (clock_boot_us() - stepped) / US_PER_MS);
    else
        params_null(&params);
    params_bool(&params, clock_boot_us() >= node->member.no_lanes_before_boot_us);
    store_call(node->session, SQL_NODE_RECOVER, &params, 0, on_recovered, taking);
    store_params_free(&params);
}

static void take(struct node *node, struct suspect *suspect)
{
    struct taking *taking = mem_alloc(sizeof *taking);
    struct store_params params = {0};
    *taking = (struct taking){node, suspect->id, mem_string(suspect->name)};
    suspect->taking = true;
    params_int32(&params, suspect->id);
    store_call(node->session, SQL_NODE_TERMINATE, &params, 0, on_terminated, taking);
    store_params_free(&params);
}

static void suspect_free(struct node *node, struct suspect *suspect)
{
    HASH_DEL(node->member.suspects, suspect);
    free(suspect->name);
    free(suspect);
}

static bool look_at(struct node *node, int32_t id, int64_t renewed_us, const char *name,
                    int64_t now)
{
    struct suspect *suspect;
    bool is_new = false;
    HASH_FIND_INT(node->member.suspects, &id, suspect);
    if (suspect == NULL) {
        suspect = mem_alloc(sizeof *suspect);
        suspect->id = id;
        suspect->name = mem_string(name);
        suspect->first_boot_us = now;
        suspect->renewed_us = renewed_us;
        HASH_ADD_INT(node->member.suspects, id, suspect);
        is_new = true;
    }
    suspect->seen = true;
    if (suspect->renewed_us !=
        renewed_us) { /* it lives: only its connection was gone for a moment */
        suspect->renewed_us = renewed_us;
        suspect->first_boot_us = now;
    }
    if (!suspect->taking && now - suspect->first_boot_us >= TWO_LOOKS_US &&
        now >= node->member.no_deaths_before_boot_us)
        take(node, suspect);
    return is_new;
}

bool recover_look(struct node *node, const int64_t *ids, const int64_t *renewed,
                  const char *const *names, size_t count)
{
    struct suspect *suspect, *next;
    int64_t now = clock_boot_us();
    bool found = false;
    HASH_ITER (hh, node->member.suspects, suspect, next)
        suspect->seen = false;
    for (size_t i = 0; i < count; i++)
        found = look_at(node, (int32_t)ids[i], renewed[i], names[i], now) || found;
    HASH_ITER (hh, node->member.suspects, suspect, next)
        if (!suspect->seen)
            suspect_free(node, suspect);
    return found;
}

void recover_free(struct node *node)
{
    struct suspect *suspect, *next;
    HASH_ITER (hh, node->member.suspects, suspect, next)
        suspect_free(node, suspect);
}
