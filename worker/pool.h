/*
 * Inside this folder only: pools and what holds them together. Files: process.c (the life of a
 * worker), handover.c (runs on their way to one), answer.c (what workers say), capability.c (what
 * they can run), deadline.c (what is late), lock.c (locks for workers), guest.c (workers that
 * connect), workers.c (what worker.h
 * promises).
 */
#ifndef WORKER_POOL_H
#define WORKER_POOL_H

#include "worker/guard_link.h"
#include "worker/process.h"
#include "worker/run.h"
#include "worker/worker.h"

#include "base/heap.h"
#include "base/list.h"

#define STALL_US    (10 * US_PER_SECOND) /* a run the worker does not read goes elsewhere */
#define RESERVE_US  (2 * US_PER_SECOND)  /* a worker is kept empty for a run that must be alone */
#define PENDING_MAX PROTOCOL_LINE_MAX    /* bytes unread by a worker before it gets no more runs */
#define LOCKS_MAX   1024                 /* requested or held by one worker: each is a row */

struct pool {
    struct workers *workers;
    char *name;
    char *settings; /* of a built-in worker, as the line it is told; NULL: none */
    char **command;
    struct worker_limits limits;
    char **builtin; /* of a built-in pool: what it serves; NULL: what no other has */
    struct process *processes;
    int process_count;
    /*
     * The built-in pool: the last process is for lane runs alone. At the end of a lease its group
     * is killed, and nothing else with it. It is started when lane runs are to be expected.
     */
    bool split;
    char **handlers; /* names announced here; an index stays while a worker has it */
    size_t handler_count;
    struct worker_alias *aliases; /* of the settings */
    size_t alias_count;
    int64_t full_us;     /* monotonic; of the last line about a name too many */
    const char **live;   /* for the view */
    size_t last_handler; /* found at the last look-up */
};

struct workers {
    struct event_base *base;
    const struct log *log;
    char *node;
    struct worker_callbacks callbacks;
    int64_t kill_grace_us;
    struct guard_link *guard;
    struct guests *guests; /* guest.c; NULL: nobody may connect */
    struct pool *pools;
    size_t pool_count;
    struct worker_pool_view *views;
    struct run_table runs;
    struct heap deadlines; /* struct run by due_us */
    struct event *deadline;
    int64_t deadline_us; /* what the event is set to; INT64_MAX: it is not */
    struct event *turn;  /* what is put off to the end of the loop's turn */
    bool turning;        /* it is active */
    struct list dirty;   /* struct process */
    struct list over;    /* struct run whose verdict is reported at the end of the turn */
    bool changed, lanes_changed, draining, orphaned;
    int64_t drain_grace_us;
    int64_t lease_us;
    uint32_t last_number;
    uint64_t last_lock;
    struct worker_counts counts;
};

/* --- pool.c --- */
void pool_init(struct pool *pool, struct workers *workers, const struct worker_config *config,
               const struct worker_pool_config *pool_config);
void pool_close(struct pool *pool);
int pool_handler(struct pool *pool, const char *name, bool add); /* index, -1: not there or full */
bool pool_serves(const struct pool *pool, const char *handler);  /* what a worker of it announces */
struct process *pool_pick(struct pool *pool, const struct worker_run *run);
void pool_view(struct pool *pool, struct worker_pool_view *view);
int64_t pool_room(struct pool *pool, const char *handler, bool lane); /* slots for such a run */
int64_t process_free_slots(const struct process *process);

/* --- handover.c --- */
int handover_run(struct process *process, const struct worker_run *run);
void handover_written(struct process *process);
void handover_remove(struct process *process, struct run *run); /* its line, while queued */
void handover_stalled(struct process *process); /* the turn ended with runs still queued */

/* --- capability.c --- */
/* What is wrong with the aliases of a hello, to be freed; NULL: nothing. */
char *capability_check(const struct protocol_message *hello);
void capability_hello(struct process *process, const struct protocol_message *hello, bool first);
/* The name by which the worker knows a handler: `name` unless that is an alias. */
const char *capability_name(const struct process *process, int handler, const char *name);
void capability_refused(struct process *process, int handler);
void capability_known(struct process *process, int handler); /* it has run one */
void capability_clear(struct process *process);

/* --- answer.c --- */
extern const struct channel_callbacks answer_callbacks;
void answer_lease(struct process *process, int64_t ref); /* tells it; 0: it has not asked */

/* --- workers.c --- */
void workers_touch(struct workers *workers);   /* end of turn: there is something to do */
void workers_changed(struct workers *workers); /* … and the coordinator wants to know */
/* Ends a run that was moved to RUN_OVER and reports it; now, or at the end of the turn. */
void workers_finish(struct workers *workers, struct run *run, struct worker_result *result);
void workers_finish_later(struct workers *workers, struct run *run, enum worker_outcome outcome,
                          const char *reason);
void workers_take_run(struct workers *workers, struct run *run); /* away from its process */

/* --- deadline.c --- */
void deadline_set(struct workers *workers, struct run *run, int64_t due_us);
void deadline_clear(struct workers *workers, struct run *run);
void deadline_cancel(struct workers *workers, struct run *run, enum worker_outcome verdict,
                     const char *reason);
void deadline_on_timer(evutil_socket_t fd, short what, void *workers);

/* --- lock.c --- */
void worker_lock_wanted(struct process *process, const struct protocol_message *message);
void worker_lock_released(struct process *process, int64_t ref);
void worker_lock_run_over(struct process *process, const struct run *run);
void worker_lock_process_over(struct process *process);
void worker_lock_forget_requests(struct process *process); /* all but those it holds */
void worker_lock_forget(struct process *process);          /* nobody is told */

#endif
