/*
 * Inside this folder only: a process is one place of a pool that is kept filled with a live worker.
 * Its states are the rows of process_machine.
 */
#ifndef WORKER_PROCESS_H
#define WORKER_PROCESS_H

#include "worker/channel.h"
#include "worker/guard_link.h"
#include "worker/protocol.h"

#include "base/list.h"
#include "base/machine.h"

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct pool;
struct workers;

#define HELLO_US        (10 * US_PER_SECOND) /* from start to hello, a slow interpreter included */
#define START_WINDOW_US (30 * US_PER_SECOND) /* START_MAX starts in it, then they are spaced */
#define START_MAX       5
#define START_WAIT_US   US_PER_SECOND        /* first wait between spaced starts; it doubles … */
#define START_WAIT_MAX  (30 * US_PER_SECOND) /* … up to this */
#define LAST_WORDS_US   (100 * US_PER_MS)    /* from end of file to the exit status */
#define BURIAL_US       (10 * US_PER_SECOND) /* after SIGKILL; longer is worth a log line */
#define HANDLER_WORDS   (PROTOCOL_HANDLERS_MAX / 64)

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

/* What its worker can run: capability.c. */
struct capability {
    uint64_t named[HANDLER_WORDS]; /* bits by index in pool->handlers, aliases too */
    char version[64];              /* "": it did not say */
    struct stand_in *stand_ins;    /* aliases */
    size_t stand_in_count;
    struct refusal *refusals;
    size_t refusal_count;
    struct event *again; /* when something refused is given to it again; NULL until needed */
};

struct process {
    struct workers *workers;
    struct pool *pool;
    enum process_state state;
    uint32_t number; /* of this start, for the guard; 0: none */
    pid_t pid;       /* 0 until the guard has told */
    struct channel channel;
    struct event *timer; /* the deadline of the state */
    int64_t slots, busy, lanes;
    bool lane_marked; /* the guard knows of a lane run or a lock */
    bool lone;        /* its one run must be alone */
    bool honours_lease;
    bool ended_by_us;    /* by deadline or lease: its end says nothing about its runs */
    char *reason;        /* why it ends, where that is known before its exit status; NULL: not */
    int64_t reserved_us; /* monotonic; until then only a run that must be alone is taken */
    uint64_t handlers[HANDLER_WORDS]; /* of those named, what it takes now */
    struct capability capability;
    /* Of a guest: see guest.h. */
    char *peer;                 /* who it is, for the log */
    bool with_token;            /* it came over TCP */
    bool crowded;               /* it ended with several runs */
    int64_t lease_told_us;      /* the last lease it was told of, clock_boot_us */
    struct list queued, handed; /* struct run */
    struct list dirty;          /* has lines to write this turn */
    struct list locks;          /* struct lock */
    size_t lock_count;
    size_t locks_held;            /* of the cluster */
    int64_t starts_us[START_MAX]; /* monotonic, a ring */
    unsigned start_count;
    int64_t wait_us; /* before the next start */
};

void process_init(struct process *process, struct pool *pool);
void process_move(struct process *process, enum process_event event);
void process_clear(struct process *process); /* as if no worker was here, but for runs and record */
/* Ends every run it has, or every one but the lane runs that were handed over. */
void process_bereave(struct process *process, const char *reason, bool spare_lanes);
void process_start(struct process *process);
void process_started(struct process *process, pid_t pid);
void process_refused(struct process *process, const char *why);
void process_ended(struct process *process, int status, enum guard_cause cause);
void process_fault(struct process *process, const char *why);
void process_lost(struct process *process);
void process_condemn(struct process *process);
void process_orphaned(struct process *process);
void process_retire(struct process *process);
bool process_serves(const struct process *process); /* its channel can be written to */
void process_dirty(struct process *process);
void process_on_timer(evutil_socket_t fd, short what, void *process);

#endif
