/*
 * A small coordinator for the tests of worker/: an event loop, the results it was told, scripts in
 * a temporary folder, and waiting until something is so. The test program itself is guard and
 * built-in worker, as the node's binary is.
 */
#ifndef TESTS_UNIT_WORKER_FIXTURE_H
#define TESTS_UNIT_WORKER_FIXTURE_H

#include "worker/worker.h"

#include "base/clock.h"
#include "base/memory.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define WAIT_US (20 * US_PER_SECOND) /* nothing here takes that long, valgrind included */
#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#define PYTHON "/usr/bin/python3"

struct outcome {
    int64_t id, fence, duration_us, snooze_us;
    enum worker_outcome outcome;
    char *details, *data, *exception, *message, *stacktrace, *ex_data, *reason; /* "" if absent */
    bool retry, unschedule, alone;
};

struct fixture {
    struct event_base *base;
    struct event *tick;
    struct log log;
    struct workers *workers;
    struct worker_pool_config pools[4];
    struct worker_config config;
    char folder[64];
    char self[PATH_MAX];
    struct outcome *outcomes;
    size_t outcome_count;
    int changed, guard_lost, progress, logs, locks, unlocks;
    double fraction;
    char *checkpoint, *last_log;
    struct worker_lock lock;
    void (*result)(void *arg, const struct worker_result *result); /* NULL: into outcomes */
};

/* --- files in the folder --- */

char *path_in(struct fixture *f, const char *name);
/* The text of a file in the folder, "" if there is none; to be freed. */
char *file_text(struct fixture *f, const char *name);
bool file_has(struct fixture *f, const char *name, const char *wanted);
/* The number in a file that some process of a test writes, 0 if it is not there yet. */
pid_t file_number(struct fixture *f, const char *name);
char *write_file(struct fixture *f, const char *name, const char *text);
bool is_gone(pid_t pid);
long private_kib(pid_t pid);
void turn(struct fixture *f);
int setup(void **state);
int teardown(void **state);
/* The fixture's pools, which the test has filled in, come to life. */
void start(struct fixture *f, size_t pool_count);
const struct worker_pool_view *view(struct fixture *f, size_t pool);
int free_slots(struct fixture *f, size_t pool);
/* One built-in pool. */
void start_builtin(struct fixture *f, int processes, int slots);
/*
 * Pool number `pool`: workers that are a Python script with say(), messages(), note() and so on
 * (SCRIPT_HEAD in the .c file) before it.
 */
void script_pool(struct fixture *f, size_t pool, int processes, const char *body);
struct worker_run run_of(int64_t id, const char *handler, const char *data);
int give(struct fixture *f, int64_t id, const char *handler, const char *data);
struct outcome *outcome_of_run(struct fixture *f, int64_t id);
void free_outcomes(struct fixture *f); /* forgets them */
struct outcome *wait_for_outcome(struct fixture *f, int64_t id);
/*
 * To be the first thing in main(): the guard and the built-in worker are this program too, and an
 * argument picks tests.
 */
int other_main(int argc, char **argv);

/* Turns the loop until the condition holds; fails after `limit_us`. */
#define WAIT_WITHIN(f, limit_us, condition)                                                        \
    do {                                                                                           \
        int64_t wait_end_us = clock_monotonic_us() + (limit_us);                                   \
        while (!(condition)) {                                                                     \
            if (clock_monotonic_us() > wait_end_us)                                                \
                fail_msg("waited too long for: %s", #condition);                                   \
            turn(f);                                                                               \
        }                                                                                          \
    } while (0)
#define WAIT(f, condition) WAIT_WITHIN(f, WAIT_US, condition)

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
