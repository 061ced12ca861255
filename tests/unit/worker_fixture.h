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
#define PYTHON  "/usr/bin/python3"

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
/* Pool number `pool`: a script of a worker. Its command stays with the fixture until the end. */
void script_pool(struct fixture *f, size_t pool, int processes, const char *body);
struct worker_run run_of(int64_t id, const char *handler, const char *data);
int give(struct fixture *f, int64_t id, const char *handler, const char *data);
struct outcome *outcome_of_run(struct fixture *f, int64_t id);
struct outcome *wait_for_outcome(struct fixture *f, int64_t id);
/* To be the first thing in main(): the guard and the built-in worker are this program too. */
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

/* What every script begins with: say(), and messages() as they come. */
#define SCRIPT_HEAD                                                                                \
    "import sys, json, os, time, signal, subprocess\n"                                             \
    "def say(**m):\n"                                                                              \
    "    sys.stdout.write(json.dumps(m) + '\\n'); sys.stdout.flush()\n"                            \
    "def raw(text):\n"                                                                             \
    "    sys.stdout.write(text); sys.stdout.flush()\n"                                             \
    "def hello(slots=1, handlers=['a'], **more):\n"                                                \
    "    say(type='hello', protocol=1, handlers=handlers, slots=slots, **more)\n"                  \
    "def lines():\n"                                                                               \
    "    while True:\n"                                                                            \
    "        line = sys.stdin.readline()\n"                                                        \
    "        if not line: sys.exit(0)\n"                                                           \
    "        yield line\n"                                                                         \
    "def messages(kind):\n"                                                                        \
    "    for line in lines():\n"                                                                   \
    "        m = json.loads(line)\n"                                                               \
    "        if m['type'] == kind: yield m\n"                                                      \
    "def note(name, text):\n"                                                                      \
    "    with open(os.path.join(os.path.dirname(sys.argv[0]), name), 'a') as f:\n"                 \
    "        f.write(str(text) + '\\n')\n"                                                         \
    "def escape():\n" /* a descendant that leaves session and group, and ignores SIGTERM */        \
    "    return subprocess.Popen(['/usr/bin/setsid', 'sh', '-c',\n"                                \
    "        'trap \"\" TERM HUP INT; while :; do sleep 60; done']).pid\n"

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
