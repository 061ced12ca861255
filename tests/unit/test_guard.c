/* The guard: what it ends when the coordinator is dead, stopped, or out of its lease. */
#include "tests/unit/worker_fixture.h"

#include "worker/guard_wire.h"

#include <spawn.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#define GONE_US                                                                                    \
    (2 * US_PER_SECOND) /* from the death of a coordinator to that of all it started               \
                         */

/* A worker with a descendant that has left its session and one that is orphaned besides. */
#define FAMILY                                                                                     \
    "note('guard', os.getppid())\n"                                                                \
    "note('worker', os.getpid())\n"                                                                \
    "note('escaped', escape())\n"                                                                  \
    "subprocess.run(['sh', '-c', 'setsid sh -c \"echo \\\\$\\\\$ > %s/orphan; exec sleep 602\" "   \
    "&'\n"                                                                                         \
    "    % os.path.dirname(sys.argv[0])])\n"                                                       \
    "hello(slots=2)\n"                                                                             \
    "for m in messages('run'): note('run%d' % m['id'], os.getpid())\n"

static const char *const family[] = {"guard", "worker", "escaped", "orphan"};

static bool is_family_there(struct fixture *f)
{
    for (size_t i = 0; i < 4; i++)
        if (file_number(f, family[i]) == 0)
            return false;
    return true;
}

static size_t family_alive(struct fixture *f, size_t first)
{
    size_t alive = 0;
    for (size_t i = first; i < 4; i++)
        alive += !is_gone(file_number(f, family[i]));
    return alive;
}

/* A coordinator of its own: the body runs in a forked child, which never returns. */
static pid_t fork_coordinator(struct fixture *f, void (*body)(struct fixture *f))
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid > 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    f->base = event_base_new(); /* the parent's is not shared */
    body(f);
    for (;;)
        event_base_loop(f->base, EVLOOP_NO_EXIT_ON_EMPTY);
}

static void end_coordinator(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static void give_lane(struct fixture *f, int64_t id, size_t pool, const char *handler,
                      const char *data)
{
    struct worker_run run = run_of(id, handler, data);
    run.lane = true;
    if (workers_run(f->workers, pool, &run) != 0)
        abort();
}

static void body_family(struct fixture *f)
{
    script_pool(f, 0, 1, FAMILY);
    f->pools[1] = (struct worker_pool_config){.name = "other", .processes = 1, .slots = 4};
    start(f, 2);
    while (free_slots(f, 1) != 4)
        event_base_loop(f->base, EVLOOP_ONCE);
    char *data = mem_format("{\"command\":[\"setsid\",\"-w\",\"sh\",\"-c\",\"echo $$ > run; exec "
                            "sleep 604\"],\"cwd\":\"%s\"}",
                            f->folder);
    struct worker_run run = run_of(5, "exec", data);
    if (workers_run(f->workers, 1, &run) != 0)
        abort();
}

static void killed_coordinator_leaves_nothing_alive(void **state)
{
    struct fixture *f = *state;
    pid_t coordinator = fork_coordinator(f, body_family);
    WAIT(f, is_family_there(f) && file_number(f, "run") > 0);
    assert_int_equal(family_alive(f, 0), 4);
    assert_false(is_gone(file_number(f, "run")));
    end_coordinator(coordinator);
    int64_t begin_us = clock_monotonic_us();
    WAIT_WITHIN(f, GONE_US, family_alive(f, 0) == 0 && is_gone(file_number(f, "run")));
    print_message("# all gone after %lld ms\n",
                  (long long)((clock_monotonic_us() - begin_us) / US_PER_MS));
}

/* A child that forked without exec keeps the coordinator's end of every socket open. */
static void body_leak(struct fixture *f)
{
    body_family(f);
    pid_t pid = fork();
    if (pid == 0)
        for (;;)
            pause();
    char *line = mem_format("%d\n", (int)pid);
    free(write_file(f, "leak", line));
    free(line);
}

static void killed_coordinator_is_noticed_though_its_socket_lives_on(void **state)
{
    struct fixture *f = *state;
    if (getenv("UNDER_VALGRIND") != NULL)
        return; /* it knows no pidfd */
    pid_t coordinator = fork_coordinator(f, body_leak);
    WAIT(f, is_family_there(f) && file_number(f, "run") > 0 && file_number(f, "leak") > 0);
    end_coordinator(coordinator);
    WAIT_WITHIN(f, GONE_US, family_alive(f, 0) == 0 && is_gone(file_number(f, "run")));
    assert_int_equal(kill(file_number(f, "leak"), SIGKILL), 0);
}

#define LEASE_US (1500 * US_PER_MS)

static void on_lease_result(void *arg, const struct worker_result *result)
{
    struct fixture *f = arg;
    char *line = mem_format("%lld %d %d %.*s\n", (long long)result->id, (int)result->outcome,
                            result->alone, (int)result->reason.length, result->reason.data);
    free(write_file(f, "result", line));
    free(line);
}

static void body_lease(struct fixture *f)
{
    script_pool(f, 0, 1, FAMILY);
    script_pool(f, 1, 1,
                "note('plain', os.getpid())\n"
                "hello(slots=2)\n"
                "for m in messages('run'): note('run%d' % m['id'], os.getpid())\n");
    start(f, 2);
    while (free_slots(f, 0) != 2 || free_slots(f, 1) != 2)
        event_base_loop(f->base, EVLOOP_ONCE);
    struct worker_run plain = run_of(2, "a", NULL);
    workers_lease(f->workers, clock_boot_us() + LEASE_US);
    workers_run(f->workers, 1, &plain);
    give_lane(f, 1, 0, "a", NULL);
}

static void stopped_coordinator_loses_its_lane_runs_at_the_end_of_the_lease(void **state)
{
    struct fixture *f = *state;
    int64_t begin_us = clock_monotonic_us();
    f->result = on_lease_result;
    pid_t coordinator = fork_coordinator(f, body_lease);
    WAIT(f, is_family_there(f) && file_number(f, "run1") > 0 && file_number(f, "run2") > 0);
    kill(coordinator, SIGSTOP);
    assert_int_equal(family_alive(f, 0), 4);
    WAIT(f, family_alive(f, 1) == 0);
    assert_true(clock_monotonic_us() - begin_us >= LEASE_US);
    assert_false(is_gone(file_number(f, "guard")));
    assert_false(is_gone(file_number(f, "plain"))); /* no lane run, no reason to die */
    kill(coordinator, SIGCONT);
    char *wanted =
        mem_format("1 %d 0 worker was killed, as the lease of the node ended\n", WORKER_CRASHED);
    WAIT(f, file_has(f, "result", wanted));
    free(wanted);
    end_coordinator(coordinator);
}

static void lane_runs_live_as_long_as_the_lease(void **state)
{
    struct fixture *f = *state;
    script_pool(f, 0, 1,
                "note('pids', os.getpid())\n"
                "hello(slots=2)\n"
                "for m in messages('run'):\n"
                "    if m['id'] != 3: say(type='done', id=m['id'], fence=m['fence'])\n");
    start(f, 1);
    WAIT(f, free_slots(f, 0) == 2);
    give_lane(f, 1, 0, "a", NULL); /* no lease, no end */
    assert_int_equal(wait_for_outcome(f, 1)->outcome, WORKER_DONE);
    int64_t end_us = clock_monotonic_us() + 600 * US_PER_MS;
    workers_lease(f->workers, clock_boot_us() + 300 * US_PER_MS);
    give_lane(f, 3, 0, "a", NULL);
    while (clock_monotonic_us() < end_us) { /* renewed in time */
        workers_lease(f->workers, clock_boot_us() + 300 * US_PER_MS);
        turn(f);
    }
    assert_null(outcome_of_run(f, 3));
    struct outcome *o = wait_for_outcome(f, 3);
    assert_int_equal(o->outcome, WORKER_CRASHED);
    assert_false(o->alone);
    assert_int_equal(workers_counts(f->workers)->crashes, 0);
    WAIT(f, free_slots(f, 0) == 2); /* it is started again, and is no lane's any more */
    give(f, 4, "a", NULL);
    assert_int_equal(wait_for_outcome(f, 4)->outcome, WORKER_DONE);
    struct worker_run late = run_of(5, "a", NULL);
    late.lane = true;
    assert_int_equal(workers_run(f->workers, 0, &late), -1); /* the lease is over */
}

static void worker_whose_lane_runs_are_over_survives_the_lease(void **state)
{
    struct fixture *f = *state;
    script_pool(f, 0, 1,
                "hello(slots=2)\n"
                "for m in messages('run'): say(type='done', id=m['id'], fence=m['fence'])\n");
    start(f, 1);
    WAIT(f, free_slots(f, 0) == 2);
    int64_t end_us = clock_monotonic_us() + 400 * US_PER_MS;
    workers_lease(f->workers, clock_boot_us() + 200 * US_PER_MS);
    give_lane(f, 1, 0, "a", NULL);
    assert_int_equal(wait_for_outcome(f, 1)->outcome, WORKER_DONE);
    WAIT(f, clock_monotonic_us() > end_us);
    assert_int_equal(workers_counts(f->workers)->starts, 1);
    assert_int_equal(free_slots(f, 0), 2);
}

/* Two workers have written these files, a line each. */
static void assert_families_gone(struct fixture *f)
{
    static const char *const names[] = {"kept", "escaped"};
    for (size_t i = 0; i < 2; i++) {
        char *text = file_text(f, names[i]), *end = text;
        for (int line = 0; line < 2; line++)
            assert_true(is_gone((pid_t)strtol(end, &end, 10)));
        free(text);
    }
}

static void death_of_the_guard_ends_all_and_is_told(void **state)
{
    struct fixture *f = *state;
    script_pool(f, 0, 2,
                "note('guard', os.getppid())\n"
                "note('kept', subprocess.Popen(['sleep', '605']).pid)\n"
                "note('escaped', escape())\n"
                "hello(slots=2)\n"
                "for m in messages('run'): note('run', os.getpid())\n");
    start(f, 1);
    WAIT(f, free_slots(f, 0) == 4);
    give(f, 1, "a", NULL);
    WAIT(f, file_number(f, "run") > 0);
    char *text = file_text(f, "guard");
    pid_t guard = (pid_t)strtol(text, NULL, 10);
    free(text);
    kill(guard, SIGKILL);
    WAIT(f, f->guard_lost == 1);
    assert_int_equal(wait_for_outcome(f, 1)->outcome, WORKER_CRASHED);
    assert_false(outcome_of_run(f, 1)->alone);
    assert_int_equal(give(f, 2, "a", NULL), -1);
    assert_int_equal(free_slots(f, 0), 0);
    assert_true(is_gone(file_number(f, "run")));
    assert_families_gone(f);
}

static void guard_and_workers_have_sessions_of_their_own(void **state)
{
    struct fixture *f = *state;
    setenv("ROTA_DATABASE_URL", "secret", 1);
    script_pool(
        f, 0, 1,
        "fds = sorted(map(int, os.listdir('/proc/self/fd')))\n"
        "note('fds', fds[:-1])\n" /* the last is the folder that was listed */
        "note('env', [os.environ.get('ROTA_DATABASE_URL'), os.environ['ROTA_NODE']])\n" FAMILY);
    start(f, 1);
    WAIT(f, is_family_there(f) && free_slots(f, 0) == 2);
    assert_true(file_has(f, "fds", "[0, 1, 2]\n"));
    assert_true(file_has(f, "env", "[None, 'here']"));
    pid_t guard = file_number(f, "guard"), worker = file_number(f, "worker");
    assert_int_equal(getsid(guard), guard);
    assert_int_equal(getsid(worker), worker);
    assert_int_equal(getpgid(worker), worker);
    kill(guard, SIGINT);
    kill(guard, SIGTERM);
    kill(guard, SIGHUP);
    kill(worker, SIGKILL);
    WAIT(f, workers_counts(f->workers)->starts == 2); /* by the same guard */
    long kib = private_kib(guard);
    print_message("# private memory of the guard: %ld KiB\n", kib);
#ifndef SANITIZED
    if (getenv("UNDER_VALGRIND") == NULL)
        assert_in_range(kib, 1, 2047); /* the libraries of the binary take most of it */
#endif
}

static void orphans_of_living_workers_are_spared(void **state)
{
    struct fixture *f = *state;
    script_pool(f, 0, 1, FAMILY);
    script_pool(f, 1, 1,
                "subprocess.run(['sh', '-c', 'setsid sh -c \"echo \\\\$\\\\$ > %s/daemon; exec "
                "sleep 606\" &' % os.path.dirname(sys.argv[0])])\n"
                "hello(slots=2)\n"
                "for m in messages('run'): note('run', os.getpid())\n");
    start(f, 2);
    WAIT(f, is_family_there(f) && file_number(f, "daemon") > 0 && free_slots(f, 1) == 2);
    pid_t worker = file_number(f, "worker"), escaped = file_number(f, "escaped"),
          orphan = file_number(f, "orphan");
    kill(worker, SIGKILL);
    WAIT(f, is_gone(worker) && is_gone(escaped) && is_gone(orphan));
    assert_false(is_gone(file_number(f, "daemon")));
}

static void end_of_all_workers_is_awaited(void **state)
{
    struct fixture *f = *state;
    script_pool(f, 0, 1, FAMILY);
    start(f, 1);
    WAIT(f, is_family_there(f));
    workers_free(f->workers);
    f->workers = NULL;
    assert_int_equal(family_alive(f, 0), 0);
}

static void guard_that_cannot_start_is_an_error(void **state)
{
    struct fixture *f = *state;
    struct worker_callbacks callbacks = {0};
    struct rota_error error = {0};
    struct worker_config config = {
        .base = f->base, .log = &f->log, .node = "here", .self = "/no/such/file"};
    assert_null(workers_new(&config, &callbacks, &error));
    if (getenv("UNDER_VALGRIND") == NULL) /* there posix_spawn() hears of no failure */
        assert_string_equal(error.message,
                            "guard: cannot execute /no/such/file: No such file or directory");
    config.self = "/bin/true";
    assert_null(workers_new(&config, &callbacks, &error));
    assert_string_equal(error.message, "guard: `/bin/true guard` ended at once");
}

/*
 * Plays guard and worker in one: takes a run, and the worker is dead, for its memory. What limits
 * the memory of a group is not at hand everywhere.
 */
#define FALSE_GUARD                                                                                \
    "#!" PYTHON " -S\n"                                                                            \
    "import json, os, socket, struct\n"                                                            \
    "link = socket.socket(fileno=3)\n"                                                             \
    "link.setblocking(True)\n"                                                                     \
    "def tell(kind, number=0, status=0, cause=0):\n"                                               \
    "    link.send(struct.pack('=IIiiiiI', kind, number, 0, status, 0, 0, cause))\n"               \
    "tell(%d)\n"                                                                                   \
    "for status in (9, 137 << 8):\n"                                                               \
    "    while True:\n"                                                                            \
    "        packet, fds, _, _ = socket.recv_fds(link, 65536, 1)\n"                                \
    "        kind, number = struct.unpack('=II', packet[:8])\n"                                    \
    "        if kind == %d or not packet: break\n"                                                 \
    "    worker = os.fdopen(fds[0], 'r+b', buffering=0)\n"                                         \
    "    tell(%d, number)\n"                                                                       \
    "    worker.write(b'{\"type\":\"hello\",\"protocol\":1,\"handlers\":[\"a\"]}\\n')\n"           \
    "    while b'\"run\"' not in worker.readline(): pass\n"                                        \
    "    tell(%d, number, status, %d)\n"                                                           \
    "link.recv(65536)\n"

static void killed_for_its_memory_is_the_reason_of_its_run(void **state)
{
    struct fixture *f = *state;
    char *text = mem_format(FALSE_GUARD, GUARD_READY, GUARD_SPAWN, GUARD_STARTED, GUARD_ENDED,
                            GUARD_BY_MEMORY);
    char *guard = write_file(f, "guard", text);
    assert_int_equal(chmod(guard, 0755), 0);
    snprintf(f->self, sizeof f->self, "%s", guard);
    script_pool(f, 0, 1, "");
    f->pools[0].limits.memory_bytes = 64 << 20;
    start(f, 1);
    static const char *const reasons[] = {
        "killed: it used more memory than its pool's limit of 64 MiB",
        "worker exited with status 137: what it started used more memory than its pool's limit of "
        "64 MiB"};
    for (int i = 0; i < 2; i++) {
        WAIT(f, free_slots(f, 0) == 1);
        assert_int_equal(give(f, i + 1, "a", "null"), 0);
        struct outcome *outcome = wait_for_outcome(f, i + 1);
        assert_int_equal(outcome->outcome, WORKER_CRASHED);
        assert_string_equal(outcome->reason, reasons[i]);
    }
    free(guard);
    free(text);
}

/* --- the guard alone, by its packets --- */

static pid_t start_guard(struct fixture *f, int *ret_socket)
{
    int ends[2];
    pid_t pid;
    char *argv[] = {f->self, (char *)"guard", NULL};
    posix_spawn_file_actions_t actions;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], GUARD_FD);
    assert_int_equal(posix_spawn(&pid, f->self, &actions, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    *ret_socket = ends[0];
    return pid;
}

static void order(int socket, uint32_t type, uint32_t number, int64_t value)
{
    struct guard_command command = {.type = type, .number = number, .value = value};
    assert_int_equal(send(socket, &command, sizeof command, 0), sizeof command);
}

static void order_spawn(int socket, uint32_t number, const char *program)
{
    struct guard_command command = {.type = GUARD_SPAWN, .number = number, .value = 1};
    int ends[2];
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {.header = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
    struct iovec parts[2] = {{&command, sizeof command}, {(void *)program, strlen(program) + 1}};
    struct msghdr message = {.msg_iov = parts,
                             .msg_iovlen = 2,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    memcpy(CMSG_DATA(&control.header), &ends[1], sizeof ends[1]);
    assert_true(sendmsg(socket, &message, 0) > 0);
    close(ends[0]);
    close(ends[1]);
}

static void guard_waits_for_no_reader(void **state)
{
    struct fixture *f = *state;
    enum { STARTS = 400 }; /* their events are more than the socket holds */
    int socket;
    char *program = path_in(f, "lane");
    char *text = mem_format("#!/bin/sh\necho $$ > %s/lane-pid\nexec sleep 607\n", f->folder);
    free(write_file(f, "lane", text));
    free(text);
    pid_t guard = start_guard(f, &socket);
    for (uint32_t i = 1; i <= STARTS; i++)
        order_spawn(socket, i, "true");
    order_spawn(socket, STARTS + 1, program);
    order(socket, GUARD_LANE, STARTS + 1, 1);
    WAIT(f, file_number(f, "lane-pid") > 0);
    assert_false(is_gone(file_number(f, "lane-pid")));
    order(socket, GUARD_LEASE, 0, clock_boot_us() + 50 * US_PER_MS);
    WAIT(f, is_gone(file_number(f, "lane-pid"))); /* though nobody has read an event */
    order_spawn(socket, STARTS + 2, program);
    order(socket, GUARD_LANE, STARTS + 2, 1); /* the lease is over: at once */
    order(socket, GUARD_LANE, STARTS + 2, 0);
    int started = 0, ended = 0, by_lease = 0;
    struct guard_event event;
    while (ended <= STARTS + 1) {
        assert_int_equal(recv(socket, &event, sizeof event, 0), sizeof event);
        started += event.type == GUARD_STARTED;
        ended += event.type == GUARD_ENDED;
        by_lease += event.type == GUARD_ENDED && event.cause == GUARD_BY_LEASE;
    }
    assert_int_equal(started, STARTS + 2);
    assert_int_equal(by_lease, 2);
    close(socket);
    assert_int_equal(waitpid(guard, NULL, 0), guard);
    free(program);
}

static void guard_passes_over_packets_that_are_none(void **state)
{
    struct fixture *f = *state;
    int socket, status;
    pid_t guard = start_guard(f, &socket);
    assert_int_equal(send(socket, "x", 1, 0), 1);
    order(socket, 77, 1, 1);
    order(socket, GUARD_SPAWN, 1, 3); /* no descriptor, no arguments */
    order(socket, GUARD_KILL, 9, SIGKILL);
    struct guard_event event;
    assert_int_equal(recv(socket, &event, sizeof event, 0), sizeof event);
    assert_int_equal(event.type, GUARD_READY);
    assert_int_equal(recv(socket, &event, sizeof event, 0), sizeof event);
    assert_int_equal(event.type, GUARD_REFUSED);
    close(socket);
    assert_int_equal(waitpid(guard, &status, 0), guard);
    assert_int_equal(status, 0);
}

int main(int argc, char **argv)
{
    other_main(argc, argv);
    const struct CMUnitTest tests[] = {
        TEST(killed_coordinator_leaves_nothing_alive),
        TEST(killed_coordinator_is_noticed_though_its_socket_lives_on),
        TEST(stopped_coordinator_loses_its_lane_runs_at_the_end_of_the_lease),
        TEST(lane_runs_live_as_long_as_the_lease),
        TEST(worker_whose_lane_runs_are_over_survives_the_lease),
        TEST(death_of_the_guard_ends_all_and_is_told),
        TEST(guard_and_workers_have_sessions_of_their_own),
        TEST(orphans_of_living_workers_are_spared),
        TEST(end_of_all_workers_is_awaited),
        TEST(guard_that_cannot_start_is_an_error),
        TEST(killed_for_its_memory_is_the_reason_of_its_run),
        TEST(guard_waits_for_no_reader),
        TEST(guard_passes_over_packets_that_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
