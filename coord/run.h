/*
 * Runs in flight on this node: claimed, under a fence, not yet written as finished. Each is one bit
 * of one receipt; the receipt is freed with its last run.
 */
#ifndef COORD_RUN_H
#define COORD_RUN_H

#include "base/list.h"
#include "base/table.h"
#include "coord/definition.h"

struct note;

/* Who has the run now. It moves forward only. */
enum run_place { RUN_CLAIMED, RUN_AT_WORKER, RUN_FINISHED };

struct receipt {
    int64_t fence;
    uint32_t size;         /* bits, set or not */
    uint32_t open;         /* runs of it still in flight here */
    int64_t since_boot_us; /* when we heard that it is ours */
    UT_hash_handle hh;
};

/* The same run may be here twice: once taken from us and still at a worker, once claimed anew. */
struct run_key {
    int64_t id;
    int64_t fence;
};

struct run {
    struct run_key key;
    uint32_t slot; /* its bit */
    struct receipt *receipt;
    enum run_place place;
    bool fenced;  /* taken from us: whatever becomes of it here is void */
    bool laned;   /* it was claimed with a slot of its lane */
    bool rated;   /* it was given a start of its rate */
    char *cancel; /* why it is to end; NULL: nobody asked for that */
    struct job *job;
    struct trigger *trigger; /* NULL: enqueued, or its trigger is gone */
    int32_t job_id;
    int32_t trigger_id; /* 0: enqueued */
    int64_t due_us;
    int64_t rank_us; /* among what waits at hand */
    size_t at_hand;  /* its place there */
    size_t pool;     /* that has it, once it was handed over */
    int64_t scheduled_us;
    int64_t previous_us; /* the trigger's previous occurrence, 0: none */
    int64_t started_us;  /* database wall clock, when handed to a worker */
    int attempt;
    int crashes;
    int64_t missed;
    bool made_up; /* by the misfire policy */
    bool recovering;
    char *data;     /* JSON or NULL; the history keeps it, too */
    char *job_data; /* of a job with persist_data; until it is handed over */
    bool job_data_known;
    char *checkpoint; /* likewise */
    bool extra;       /* it has, or may have, a row of run_extra, or a key */
    bool extra_known; /* which was read; then: */
    bool expired;
    char *traceparent; /* NULL: none */
    struct note *note; /* what its worker said of it; NULL: nothing yet */
    char *earlier;     /* JSON array or NULL */
    UT_hash_handle hh;
};

struct runs {
    struct run *by_key;
    struct receipt *receipts;
    struct run *spare; /* structs that are used again, by hh.next */
};

struct runs *runs_new(void);
void runs_free(struct runs *runs);
size_t runs_count(const struct runs *runs);
struct receipt *runs_receipt(struct runs *runs, int64_t fence, uint32_t size); /* new */
bool runs_know(const struct runs *runs, int64_t fence);
/* A new run under the receipt; the caller fills the rest. */
struct run *runs_add(struct runs *runs, struct receipt *receipt, uint32_t slot, int64_t id);
struct run *runs_find(const struct runs *runs, int64_t id, int64_t fence); /* NULL: not ours */
void runs_remove(struct runs *runs, struct run *run); /* frees it, and its receipt with the last */

/*
 * The order in which what is due is taken, triggers and runs of all routes alike: by the due time,
 * a minute earlier for each step of priority, so that nobody waits for ever.
 */
int64_t rank_us(int64_t due_us, int priority);

#endif
