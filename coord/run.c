/* Runs in flight: see run.h. */
#include "coord/run.h"

#include "base/clock.h"
#include "base/memory.h"
#include "coord/note.h"

#include <assert.h>
#include <stdlib.h>

int64_t rank_us(int64_t due_us, int priority)
{
    return due_us - priority * 60 * US_PER_SECOND;
}

struct runs *runs_new(void)
{
    return mem_alloc(sizeof(struct runs));
}

size_t runs_count(const struct runs *runs)
{
    return HASH_COUNT(runs->by_key);
}

struct receipt *runs_receipt(struct runs *runs, int64_t fence, uint32_t size)
{
    assert(size > 0 && !runs_know(runs, fence));
    struct receipt *receipt = mem_alloc(sizeof *receipt);
    receipt->fence = fence;
    receipt->size = size;
    receipt->since_boot_us = clock_boot_us();
    HASH_ADD(hh, runs->receipts, fence, sizeof receipt->fence, receipt);
    return receipt;
}

bool runs_know(const struct runs *runs, int64_t fence)
{
    struct receipt *receipt;
    HASH_FIND(hh, runs->receipts, &fence, sizeof fence, receipt);
    return receipt != NULL;
}

struct run *runs_add(struct runs *runs, struct receipt *receipt, uint32_t slot, int64_t id)
{
    assert(slot < receipt->size);
    struct run *run = runs->spare;
    if (run != NULL)
        runs->spare = run->hh.next;
    else
        run = mem_alloc(sizeof *run);
    *run =
        (struct run){.key = {id, receipt->fence}, .slot = slot, .receipt = receipt, .attempt = 1};
    receipt->open++;
    HASH_ADD(hh, runs->by_key, key, sizeof run->key, run);
    return run;
}

struct run *runs_find(const struct runs *runs, int64_t id, int64_t fence)
{
    struct run_key key = {id, fence};
    struct run *run;
    HASH_FIND(hh, runs->by_key, &key, sizeof key, run);
    return run;
}

void runs_remove(struct runs *runs, struct run *run)
{
    struct receipt *receipt = run->receipt;
    HASH_DEL(runs->by_key, run);
    job_unref(run->job);
    trigger_unref(run->trigger);
    free(run->data);
    free(run->job_data);
    free(run->checkpoint);
    free(run->traceparent);
    note_free(run->note);
    free(run->earlier);
    free(run->cancel);
    run->hh.next = runs->spare;
    runs->spare = run;
    if (--receipt->open == 0) {
        HASH_DEL(runs->receipts, receipt);
        free(receipt);
    }
}

void runs_free(struct runs *runs)
{
    if (runs == NULL)
        return;
    struct run *run, *next;
    HASH_ITER (hh, runs->by_key, run, next)
        runs_remove(runs, run);
    for (run = runs->spare; run != NULL; run = next) {
        next = run->hh.next;
        free(run);
    }
    free(runs);
}
