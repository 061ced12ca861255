/*
 * Inside the library for workers in C: what a worker and its runs are. rota_worker.c has the worker
 * and what it hears, rota_run.c what is done with a run, rota_lease.c the promise to stop.
 */
#ifndef WORKER_SDK_ROTA_WORKER_INT_H
#define WORKER_SDK_ROTA_WORKER_INT_H

#include "worker/sdk/rota_json.h"
#include "worker/sdk/rota_link.h"
#include "worker/sdk/rota_worker.h"

#include <signal.h>
#include <time.h>

struct rota_handler_entry {
    char *name;
    rota_handler function;
    void *arg;
};

enum rota_lock_state { ROTA_LOCK_ASKED, ROTA_LOCK_HELD, ROTA_LOCK_FAILED, ROTA_LOCK_LOST };

struct rota_lock {
    struct rota_lock *next;
    int64_t ref, fence;
    enum rota_lock_state state;
    rota_run *run;
};

struct rota_run {
    rota_worker *worker;
    rota_run *next;
    char *line; /* the message */
    int64_t id, fence;
    char *data, *checkpoint, *job, *handler;
    bool taken;     /* by whoever performs it */
    bool performed; /* by rota_worker_serve(), which frees it */
    bool lost;      /* with its connection: others have it now */
    bool cancelled, answered, unschedule;
};

struct rota_lease {
    bool honoured;
    int64_t until_ns; /* CLOCK_BOOTTIME; 0: none yet */
    int64_t asked_ns;
    int64_t ref; /* of the question that is open; 0: none is */
    timer_t timer;
    bool timed; /* the timer is there */
};

struct rota_worker {
    struct rota_link link;
    char *name, *version;
    struct rota_handler_entry *handlers;
    size_t handler_count;
    int slots;
    volatile sig_atomic_t stopped;
    bool draining;
    rota_run *runs; /* in the order they came */
    struct rota_lock *locks;
    int64_t last_ref;
    struct rota_lease lease;
};

/* Reads a message, if there is one, and does what it says. False: there was none. */
bool rota_worker_hear(rota_worker *worker, int timeout_ms);
void rota_worker_hello(rota_worker *worker, bool handlers);
void rota_run_forget(rota_run *run); /* takes it and its locks out of the worker, frees it */

void rota_lease_ask(rota_worker *worker);
void rota_lease_told(rota_worker *worker, const char *line);
bool rota_lease_holds(rota_worker *worker); /* asks and waits where it does not seem to */
void rota_lease_guard(rota_worker *worker); /* the timer is set as it has to be now */
void rota_lease_end(rota_worker *worker);

#endif
