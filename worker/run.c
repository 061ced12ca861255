/* The runs that are with the workers: see run.h. */
#include "worker/run.h"

#include "base/memory.h"

#include <assert.h>
#include <stdlib.h>

#define BUCKETS_FIRST 256

static const char *const states[] = {"queued", "handed", "cancelling", "ending", "over"};
static const char *const events[] = {"written",   "stalled",  "taken back", "overdue",
                                     "cancelled", "answered", "bereft"};

static const struct machine_row rows[] = {
    {RUN_QUEUED, RUN_WRITTEN, RUN_HANDED, "its line began to reach the worker"},
    {RUN_QUEUED, RUN_STALLED, RUN_OVER, "the worker does not read: handed back whole"},
    {RUN_QUEUED, RUN_TAKEN, RUN_OVER, "the coordinator took it back"},
    {RUN_QUEUED, RUN_CANCELLED, RUN_OVER, "cancelled before the worker heard of it"},
    {RUN_QUEUED, RUN_BEREFT, RUN_OVER, "its worker died first: handed back whole"},
    {RUN_HANDED, RUN_ANSWERED, RUN_OVER, "the worker said what became of it"},
    {RUN_HANDED, RUN_BEREFT, RUN_OVER, "its worker died under it"},
    {RUN_HANDED, RUN_OVERDUE, RUN_CANCELLING, "its time is over: the worker is asked to end it"},
    {RUN_HANDED, RUN_CANCELLED, RUN_CANCELLING, "the worker is asked to end it"},
    {RUN_CANCELLING, RUN_ANSWERED, RUN_OVER, "the worker ended it"},
    {RUN_CANCELLING, RUN_BEREFT, RUN_OVER, "its worker ended instead"},
    {RUN_CANCELLING, RUN_OVERDUE, RUN_ENDING, "it did not end: its worker has to"},
    {RUN_ENDING, RUN_ANSWERED, RUN_OVER, "the worker ended it at last"},
    {RUN_ENDING, RUN_BEREFT, RUN_OVER, "its worker was ended for it"},
};

const struct machine run_machine = {
    .name = "run in a worker",
    .states = states,
    .events = events,
    .rows = rows,
    .row_count = sizeof rows / sizeof *rows,
};

void run_move(struct run *run, enum run_event event)
{
    run->state = (enum run_state)machine_move(&run_machine, (int)run->state, (int)event)->to;
}

bool run_due_before(const void *a, const void *b)
{
    return ((const struct run *)a)->due_us < ((const struct run *)b)->due_us;
}

static struct run **run_bucket(const struct run_table *table, int64_t id, int64_t fence)
{
    uint64_t hash = (uint64_t)id * 0x9e3779b97f4a7c15u + (uint64_t)fence * 0xc2b2ae3d27d4eb4fu;
    return &table->buckets[(hash ^ (hash >> 29)) & (table->bucket_count - 1)];
}

static void run_grow(struct run_table *table)
{
    struct run_table larger = *table;
    larger.bucket_count = table->bucket_count > 0 ? table->bucket_count * 2 : BUCKETS_FIRST;
    larger.buckets = mem_array(larger.bucket_count, sizeof *larger.buckets);
    for (size_t i = 0; i < table->bucket_count; i++) {
        for (struct run *run = table->buckets[i], *next; run != NULL; run = next) {
            struct run **bucket = run_bucket(&larger, run->id, run->fence);
            next = run->next;
            run->next = *bucket;
            *bucket = run;
        }
    }
    free(table->buckets);
    *table = larger;
}

struct run *run_find(const struct run_table *table, int64_t id, int64_t fence)
{
    if (table->bucket_count == 0)
        return NULL;
    struct run *run = *run_bucket(table, id, fence);
    while (run != NULL && (run->id != id || run->fence != fence))
        run = run->next;
    return run;
}

struct run *run_add(struct run_table *table, int64_t id, int64_t fence)
{
    assert(run_find(table, id, fence) == NULL);
    if (table->count >= table->bucket_count)
        run_grow(table);
    struct run *run = table->spare;
    if (run != NULL)
        table->spare = run->next;
    else
        run = mem_alloc(sizeof *run);
    struct run **bucket = run_bucket(table, id, fence);
    *run = (struct run){.id = id, .fence = fence, .next = *bucket};
    list_init(&run->in_process);
    *bucket = run;
    table->count++;
    return run;
}

void run_remove(struct run_table *table, struct run *run)
{
    struct run **place = run_bucket(table, run->id, run->fence);
    while (*place != run)
        place = &(*place)->next;
    *place = run->next;
    run->next = table->spare;
    table->spare = run;
    table->count--;
}

void run_table_free(struct run_table *table)
{
    for (size_t i = 0; i < table->bucket_count; i++) {
        for (struct run *run = table->buckets[i], *next; run != NULL; run = next) {
            next = run->next;
            free(run);
        }
    }
    for (struct run *run = table->spare, *next; run != NULL; run = next) {
        next = run->next;
        free(run);
    }
    free(table->buckets);
    *table = (struct run_table){0};
}
