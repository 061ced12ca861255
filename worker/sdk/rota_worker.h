/*
 * Workers for rota in C: functions by the names of their handlers, called with one run at a time.
 * Needs nothing but libc, and stands alone. One thread uses a worker and its runs.
 *
 *     static int greet(rota_run *run, void *arg) { … return 0; }
 *     rota_worker *worker = rota_worker_new("greeter", "1.0");
 *     rota_worker_handle(worker, "greet", greet, NULL);
 *     return rota_worker_serve(worker) == 0 ? 0 : 1;
 *
 * The node is found in the environment: ROTA_WORKER_SOCKET, one or several of unix:/path and
 * host:port with commas between, tried in turn, where it is set; for a TCP port with the token of
 * ROTA_WORKER_TOKEN or of the file ROTA_WORKER_TOKEN_FILE. Otherwise standard input and output,
 * which then are the protocol's: rota_worker_new() leaves nothing to read on descriptor 0, and what
 * is printed on descriptor 1 goes to standard error. JSON is text; it passes byte for byte.
 */
#ifndef ROTA_WORKER_H
#define ROTA_WORKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rota_worker rota_worker;
typedef struct rota_run rota_run;

/*
 * Performs a run. If it returns without having answered, 0 is a success and anything else a failure
 * that says so. It should ask rota_run_cancelled() every second or so.
 */
typedef int (*rota_handler)(rota_run *run, void *arg);

/* --- worker --- */

rota_worker *rota_worker_new(const char *name, const char *version); /* texts may be NULL */
void rota_worker_free(rota_worker *worker);                          /* NULL is fine */
void rota_worker_handle(rota_worker *worker, const char *name, rota_handler handler, void *arg);

/*
 * Over a socket the worker promises to stop when the lease of the node ends, and so gets exclusive
 * runs and cluster locks, too; one that its node has started gets them anyway. The promise is kept
 * by the kernel: the process is killed with SIGKILL if the lease ends while it has a run. The lease
 * is renewed only while the library reads: handlers call rota_run_cancelled() or another function
 * of a run more often than a lease is long. Processes that handlers start are not killed and must
 * not do what is exclusive.
 */
void rota_worker_honour_lease(rota_worker *worker);

/*
 * Calls handlers, one run after the other, until the node closes standard input or until
 * rota_worker_stop(). Over a socket it connects again and again. 0; -1: see rota_worker_error().
 */
int rota_worker_serve(rota_worker *worker);
void rota_worker_stop(rota_worker *worker);               /* may be called by a signal handler */
const char *rota_worker_error(const rota_worker *worker); /* "" if nothing was wrong */

/*
 * Instead of rota_worker_serve(), for several runs at once in a loop of one's own: say how many,
 * connect, wait until the descriptor can be read, take runs (NULL: none within timeout_ms, -1: for
 * ever), answer each in any order. The handlers may be NULL then. After an end of the connection
 * the runs are cancelled and answers to them go nowhere; answer them all the same, to free them.
 */
void rota_worker_slots(rota_worker *worker, int slots);
int rota_worker_connect(rota_worker *worker); /* one try; 0 or -1 */
int rota_worker_fd(const rota_worker *worker);
rota_run *rota_worker_next(rota_worker *worker, int timeout_ms);
bool rota_worker_closed(const rota_worker *worker);   /* the connection has ended */
bool rota_worker_draining(const rota_worker *worker); /* no more runs will come */

/* --- what a run is; texts live until its answer --- */

int64_t rota_run_id(const rota_run *run);
int64_t rota_run_fence(const rota_run *run);
const char *rota_run_handler(const rota_run *run);
const char *rota_run_data(const rota_run *run);       /* JSON */
const char *rota_run_checkpoint(const rota_run *run); /* JSON; NULL: there is none */
const char *rota_run_job(const rota_run *run);
int rota_run_attempt(const rota_run *run); /* from 1 */
/* Another member of the run's message as JSON, to be freed; NULL: it is not there. */
char *rota_run_member(const rota_run *run, const char *name);

/* --- while it runs; 0, or -1: the connection has ended --- */

/* Reads what the node has said. True: end it and answer, by rota_run_fail() for example. */
bool rota_run_cancelled(rota_run *run);
int rota_run_progress(rota_run *run, double fraction, const char *message);
int rota_run_checkpoint_set(rota_run *run, const char *json);
/* level: debug, info, warn or error */
int rota_run_log(rota_run *run, const char *level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/*
 * Waits for a cluster lock, `wait` ("5s", NULL: the node's default) at most. Returns its number,
 * above 0, or -1. It ends with the run. `ret_fence` may be NULL.
 */
int64_t rota_run_lock(rota_run *run, const char *name, const char *wait, bool shared,
                      int64_t *ret_fence);
int rota_run_unlock(rota_run *run, int64_t lock);
bool rota_run_lock_lost(rota_run *run, int64_t lock); /* as far as has been read */

/* --- its answer: exactly one; the run is over and freed by rota_worker_serve(), or here --- */

int rota_run_done(rota_run *run, const char *details, const char *data); /* JSON objects or NULL */
int rota_run_fail(rota_run *run, const char *exception, const char *message, bool retry);
int rota_run_snooze(rota_run *run, const char *duration);
int rota_run_refuse(rota_run *run, const char *reason);
void rota_run_unschedule(rota_run *run); /* done or fail that follows ends its trigger */

/* --- members of a JSON object; 0, or -1: not there, or of another kind --- */

int rota_json_int(const char *json, const char *key, int64_t *ret_number);
int rota_json_double(const char *json, const char *key, double *ret_number);
int rota_json_bool(const char *json, const char *key, bool *ret_value);
int rota_json_string(const char *json, const char *key, char *ret_text, size_t size); /* decoded */
char *rota_json_member(const char *json, const char *key); /* as JSON, to be freed, or NULL */
/* Text as a JSON string with its quotes, to be freed. Bytes that are no UTF-8 become U+FFFD. */
char *rota_json_quote(const char *text);

#ifdef __cplusplus
}
#endif

#endif
