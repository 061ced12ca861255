/*
 * Reconciliation: at each heartbeat the receipts that the database has of this node beside those it
 * knows of. What only the database has is a claim whose answer was lost; what only memory has was
 * taken by somebody else, and what still runs of it is void.
 */
#include "coord/node.h"

#include "base/memory.h"

#include <stdlib.h>

/* Those that memory does not know at two heartbeats: their claim's answer was lost; at one it may
 * be on its way. */
static void put_back_unknown(struct node *node, const int64_t *fences, size_t count)
{
    struct member *m = &node->member;
    int64_t *unknown = mem_array(count, sizeof *unknown), *twice = mem_array(count, sizeof *twice);
    size_t unknown_count = 0, twice_count = 0;
    for (size_t i = 0; i < count; i++) {
        if (runs_know(node->runs, fences[i]))
            continue;
        unknown[unknown_count++] = fences[i];
        for (size_t j = 0; j < m->unknown_count; j++)
            if (m->unknown_receipts[j] == fences[i])
                twice[twice_count++] = fences[i];
    }
    if (!acquire_busy(node) || acquire_number(node) != m->unknown_step)
        complete_receipts(node, twice, twice_count);
    free(m->unknown_receipts);
    free(twice);
    m->unknown_receipts = unknown;
    m->unknown_count = unknown_count;
    m->unknown_step = acquire_number(node);
}

static int compare_fences(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

/*
 * Receipts that memory knows and the database does not: while our session was gone another node
 * took them over. Those of lanes wait for our lease, so that the incarnation may have lived on.
 * What runs of the others runs twice, and is void here. Finished runs are left to their batch,
 * which may just have cleared the receipt.
 */
static void end_taken(struct node *node, int64_t *fences, size_t count)
{
    struct run *run, *next;
    int64_t ended = 0;
    if (count > 0)
        qsort(fences, count, sizeof *fences, compare_fences);
    HASH_ITER (hh, node->runs->by_key, run, next) {
        const int64_t *found = count == 0 ? NULL
                                          : bsearch(&run->receipt->fence, fences, count,
                                                    sizeof *fences, compare_fences);
        if (run->fenced || run->place == RUN_FINISHED || found != NULL ||
            run->receipt->since_boot_us >= node->member.sent_boot_us)
            continue;
        ended++;
        run->fenced = true;
        if (run->place == RUN_AT_WORKER)
            workers_cancel(node->workers, run->key.id, run->key.fence, "fenced");
    }
    if (ended > 0)
        log_warn(&node->log, "ending runs that another node has taken over",
                 LOG_INT("runs", ended));
}

void reconcile_receipts(struct node *node, int64_t *fences, size_t count)
{
    put_back_unknown(node, fences, count);
    end_taken(node, fences, count);
}
