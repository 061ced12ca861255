/*
 * Reconciliation: at each heartbeat the receipts that the database has of this node beside those it
 * knows of. What only the database has is a claim whose answer was lost; what only memory has was
 * taken by somebody else, and what still runs of it is void. Either has to show twice, as the two
 * are not looked at in the same moment.
 */
#include "coord/node.h"

#include "base/memory.h"

#include <stdlib.h>

/* Those that memory does not know at two heartbeats: their claim's answer was lost. */
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

/* What runs of a receipt that is ours no more. Finished runs of it are refused when written. */
static size_t end_runs(struct node *node, const struct receipt *receipt)
{
    size_t count = 0;
    struct run *run, *next;
    HASH_ITER (hh, node->runs->by_key, run, next) {
        if (run->receipt != receipt || run->place == RUN_FINISHED || run->fenced)
            continue;
        count++;
        run->fenced = true;
        if (run->place == RUN_AT_WORKER)
            workers_cancel(node->workers, run->key.id, run->key.fence, "fenced");
    }
    return count;
}

static int compare_fences(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

static void end_taken(struct node *node, int64_t *fences, size_t count)
{
    size_t ended = 0;
    struct receipt *receipt, *next;
    if (count > 0)
        qsort(fences, count, sizeof *fences, compare_fences);
    HASH_ITER (hh, node->runs->receipts, receipt, next) {
        bool there = count > 0 && bsearch(&receipt->fence, fences, count, sizeof *fences,
                                          compare_fences) != NULL;
        receipt->absent = there ? 0 : receipt->absent + 1;
        if (receipt->absent == 2)
            ended += end_runs(node, receipt);
    }
    if (ended > 0)
        log_warn(&node->log, "runs that somebody else has taken over are ended",
                 LOG_INT("runs", (int64_t)ended));
}

void reconcile_receipts(struct node *node, int64_t *fences, size_t count)
{
    put_back_unknown(node, fences, count);
    end_taken(node, fences, count);
}
