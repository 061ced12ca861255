/*
 * Inside this folder only: pools, their processes and what holds them together. A process is one
 * place of a pool that is kept filled with a live worker; its states are the rows of
 * process_machine. Files: process.c (life), handover.c (runs on their way), answer.c (what workers
 * say), deadline.c (what is late), lock.c (locks for workers), workers.c (what worker.h promises).
 */
#ifndef WORKER_POOL_H
#define WORKER_POOL_H

#include "worker/channel.h"
#include "worker/guard_link.h"
#include "worker/run.h"
#include "worker/worker.h"

#include "base/heap.h"
#include "base/list.h"
#include "base/machine.h"

#include <sys/types.h>

#define HELLO_US        (10 * US_PER_SECOND) /* from start to hello, a slow interpreter included */
#define STALL_US        (10 * US_PER_SECOND) /* a run the worker does not read goes elsewhere */
#define START_WINDOW_US (30 * US_PER_SECOND) /* START_MAX starts in it, then they are spaced */
#define START_MAX       5
#define START_WAIT_US   US_PER_SECOND        /* first wait between spaced starts; it doubles … */
#define START_WAIT_MAX  (30 * US_PER_SECOND) /* … up to this */
#define LAST_WORDS_US   (100 * US_PER_MS)    /* from end of file to the exit status */
#define BURIAL_US       (10 * US_PER_SECOND) /* after SIGKILL; longer is worth a log line */
#define RESERVE_US      (2 * US_PER_SECOND) /* a worker is kept empty for a run that must be alone */
#define PENDING_MAX     PROTOCOL_LINE_MAX /* bytes unread by a worker before it gets no more runs */
#define HANDLER_WORDS   (PROTOCOL_HANDLERS_MAX / 64)
#define LOCKS_MAX       64 /* requested or held by one worker */

enum process_state {
    PROCESS_RESTING, /* no worker: it waits for its next start */
    PROCESS_STARTING,
    PROCESS_READY,
    PROCESS_CONDEMNED, /* SIGTERM was sent, as a run did not end: no more runs */
    PROCESS_LOST,      /* its channel has ended; its exit status has not come yet */
    PROCESS_ENDING,    /* SIGKILL was sent */
    PROCESS_STOPPED,
};

enum process_event {
    PROCESS_START,
    PROCESS_REFUSED,
    PROCESS_HELLO,
    PROCESS_FAULT, /* a line that is none, or a hello that cannot be met */
    PROCESS_EOF,
    PROCESS_EXIT,
    PROCESS_CONDEMN,
    PROCESS_DEADLINE, /* of the state it is in */
    PROCESS_RETIRE,   /* no more workers are wanted */
    PROCESS_ORPHANED, /* the guard is gone, and all workers with it */
};

extern const struct machine process_machine;

struct process {
    struct workers *workers;
    struct pool *pool;
    enum process_state state;
    uint32_t number; /* of this start, for the guard; 0: none */
    pid_t pid;       /* 0 until the guard has told */
    struct channel channel;
    struct event *timer; /* the deadline of the state */
    int64_t slots, busy, lanes;
    bool lane_marked; /* the guard knows of a lane run */
    bool lone;        /* its one run must be alone */
    bool honours_lease;
    bool ended_by_us;    /* by deadline or lease: its end says nothing about its runs */
    char *reason;        /* why it ends, where that is known before its exit status; NULL: not */
    int64_t reserved_us; /* monotonic; until then only a run that must be alone is taken */
    uint64_t handlers[HANDLER_WORDS]; /* bits by index in pool->handlers */
    struct list queued, handed;       /* struct run */
    struct list dirty;                /* has lines to write this turn */
    struct list locks;                /* struct lock */
    size_t lock_count;
    int64_t starts_us[START_MAX]; /* monotonic, a ring */
    unsigned start_count;
    int64_t wait_us; /* before the next start */
};

struct pool {
    struct workers *workers;
    char *name;
    char **command;
    struct process *processes;
    int process_count;
    char **handlers; /* all names ever announced here; an index is for ever */
    size_t handler_count;
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
    struct pool *pools;
    size_t pool_count;
    struct worker_pool_view *views;
    struct run_table runs;
    struct heap deadlines; /* struct run by due_us */
    struct event *deadline;
    int64_t deadline_us; /* what the event is set to; INT64_MAX: it is not */
    struct event *turn;  /* what is put off to the end of the loop's turn */
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
struct process *pool_pick(struct pool *pool, const struct worker_run *run);
void pool_view(struct pool *pool, struct worker_pool_view *view);
int64_t process_free_slots(const struct process *process);

/* --- process.c --- */
void process_move(struct process *process, enum process_event event);
void process_start(struct process *process);
void process_started(struct process *process, pid_t pid);
void process_refused(struct process *process, const char *why);
void process_ended(struct process *process, int status, bool by_lease);
void process_fault(struct process *process, const char *why);
void process_lost(struct process *process);
void process_condemn(struct process *process);
void process_orphaned(struct process *process);
void process_retire(struct process *process);
bool process_serves(const struct process *process); /* its channel can be written to */
void process_dirty(struct process *process);
void process_on_timer(evutil_socket_t fd, short what, void *process);

/* --- handover.c --- */
int handover_run(struct process *process, const struct worker_run *run);
void handover_written(struct process *process);
void handover_remove(struct process *process, struct run *run); /* its line, while queued */
void handover_stalled(struct process *process); /* the turn ended with runs still queued */

/* --- answer.c --- */
extern const struct channel_callbacks answer_callbacks;

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
void worker_lock_forget(struct process *process); /* nobody is told */

#endif
