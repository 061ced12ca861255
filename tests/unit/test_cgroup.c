/*
 * Control groups of workers. What the kernel does with memory and processes is not at hand on every
 * machine: there a folder with files of the same names stands for a group. Groups and their end are
 * the kernel's own, where it lets this process make some.
 */
#include "worker/cgroup.h"

#include "base/clock.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(table) (sizeof(table) / sizeof *(table))
#define LIMIT_US     (10 * US_PER_SECOND)
#define NODE         "unit-test"

/* --- where a group is --- */

#define TMPFS "23 1 0:21 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"

static char *find(const char *groups, const char *mounts, struct rota_error *error)
{
    FILE *first = fmemopen((char *)groups, strlen(groups), "r");
    FILE *second = fmemopen((char *)mounts, strlen(mounts), "r");
    char *found = cgroup_find(first, second, error);
    fclose(first);
    fclose(second);
    return found;
}

static void a_group_is_found_by_its_mount(void **state)
{
    static const struct {
        const char *groups, *mounts, *found;
    } cases[] = {
        {"0::/system.slice/rota.service\n",
         "30 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n",
         "/sys/fs/cgroup/system.slice/rota.service"},
        {"0::/\n", "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "/sys/fs/cgroup"},
        {"4:memory:/a\n0::/b\n",
         TMPFS "34 23 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
               "35 23 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
         "/sys/fs/cgroup/unified/b"},
        {"0::/docker/ab/c\n", "30 23 0:26 /docker/ab /sys/fs/cgroup rw - cgroup2 cgroup rw\n",
         "/sys/fs/cgroup/c"},
        {"0::/docker/ab\n", "30 23 0:26 /docker/ab /sys/fs/cgroup rw - cgroup2 cgroup rw\n",
         "/sys/fs/cgroup"},
        {"0::/ab/c\n",
         "30 23 0:26 /a /mnt rw - cgroup2 cgroup rw\n30 23 0:26 / /c rw - cgroup2 c rw\n",
         "/c/ab/c"},
        {"0::/a b\n", "30 23 0:26 / /my\\040groups\\134 rw - cgroup2 cgroup2 rw\n",
         "/my groups\\/a b"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct rota_error error;
        char *found = find(cases[i].groups, cases[i].mounts, &error);
        assert_non_null(found);
        assert_string_equal(found, cases[i].found);
        free(found);
    }
}

static void a_group_that_is_not_to_be_seen_is_told(void **state)
{
    static const struct {
        const char *groups, *mounts, *why;
    } cases[] = {
        {"4:memory:/a\n", TMPFS, "no control groups of version 2 are mounted"},
        {"0::/a\n", TMPFS, "no control groups of version 2 are mounted"},
        {"0::/a\n", "30 23 0:26 / /a\n - cgroup2\n30 - cgroup2 x\n", "are mounted here"},
        {"0::/../a\n", "30 23 0:26 / /c rw - cgroup2 c rw\n", "/../a, is not mounted here"},
        {"0::/ab\n", "30 23 0:26 /a /c rw - cgroup2 c rw\n", "/ab, is not mounted here"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct rota_error error;
        assert_null(find(cases[i].groups, cases[i].mounts, &error));
        assert_non_null(strstr(error.message, cases[i].why));
    }
}

/* --- limits --- */

struct folder {
    char path[64];
};

static void put(const struct folder *folder, const char *file, const char *text)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", folder->path, file);
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    fputs(text, out);
    fclose(out);
}

/* A file or, with no name, nothing but the folder of the node's group or a worker's. */
static void put_group(const struct folder *folder, const char *name, const char *file,
                      const char *text)
{
    char path[160];
    snprintf(path, sizeof path, "rota." NODE ".%d%s%s", (int)getpid(), *name ? "/" : "", name);
    char whole[240];
    snprintf(whole, sizeof whole, "%s/%s", folder->path, path);
    mkdir(whole, 0755);
    snprintf(whole, sizeof whole, "%s/%s", path, file);
    put(folder, whole, text);
}

static void assert_group(const struct folder *folder, const char *file, const char *text)
{
    char path[240], got[100];
    snprintf(path, sizeof path, "%s/rota." NODE ".%d/%s", folder->path, (int)getpid(), file);
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    got[fread(got, 1, sizeof got - 1, in)] = '\0';
    fclose(in);
    assert_string_equal(got, text);
}

static int folder_setup(void **state)
{
    struct folder *folder = mem_alloc(sizeof *folder);
    snprintf(folder->path, sizeof folder->path, "/tmp/rota-test-XXXXXX");
    assert_non_null(mkdtemp(folder->path));
    put(folder, "cgroup.procs", "");
    put(folder, "cgroup.controllers", "cpu memory pids\n");
    put(folder, "cgroup.subtree_control", "memory pids\n");
    put_group(folder, "", "cgroup.procs", "");
    put_group(folder, "", "cgroup.subtree_control", "");
    *state = folder;
    return 0;
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status, (void)type, (void)walk;
    return remove(path);
}

static int folder_teardown(void **state)
{
    struct folder *folder = *state;
    nftw(folder->path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(folder);
    return 0;
}

static struct cgroup *open_folder(const struct folder *folder, struct cgroup_view *view)
{
    struct rota_error error = {0};
    struct cgroup *cgroup = cgroup_open(folder->path, NODE, true, &error);
    if (cgroup == NULL)
        fail_msg("%s", error.message);
    cgroup_view(cgroup, view);
    return cgroup;
}

static const struct worker_limits all = {
    .memory_bytes = 64 << 20, .cpu_seconds = 7, .files = 32, .processes = 9};

static void a_group_takes_over_the_limits_its_controllers_hold(void **state)
{
    const struct folder *folder = *state;
    struct cgroup_view view;
    struct cgroup *cgroup = open_folder(folder, &view);
    assert_true(view.memory && view.processes);
    assert_null(view.unlimited);
    static const char *const files[] = {"cgroup.procs", "memory.max", "memory.swap.max",
                                        "pids.max"};
    for (size_t i = 0; i < COUNT(files); i++)
        put_group(folder, "p.7", files[i], "");
    struct worker_limits limits = all;
    int join = cgroup_add(cgroup, "p.7", &limits);
    assert_true(join >= 0);
    close(join);
    assert_true(limits.memory_bytes == 0 && limits.processes == 0);
    assert_true(limits.cpu_seconds == 7 && limits.files == 32);
    assert_group(folder, "p.7/memory.max", "67108864");
    assert_group(folder, "p.7/memory.swap.max", "0");
    assert_group(folder, "p.7/pids.max", "9");
    cgroup_close(cgroup);
}

static void a_limit_that_no_controller_holds_stays_with_the_process(void **state)
{
    const struct folder *folder = *state;
    struct cgroup_view view;
    put(folder, "cgroup.controllers", "cpu memoryless pids\n");
    struct cgroup *cgroup = open_folder(folder, &view);
    assert_true(!view.memory && view.processes);
    assert_non_null(strstr(view.unlimited, "no such controller"));
    put_group(folder, "p.7", "cgroup.procs", ""); /* pids.max is missing: it is refused */
    struct worker_limits limits = all;
    int join = cgroup_add(cgroup, "p.7", &limits);
    assert_true(join >= 0);
    close(join);
    assert_memory_equal(&limits, &all, sizeof all);
    cgroup_close(cgroup);
}

static void a_worker_has_no_group_where_it_cannot_join(void **state)
{
    struct cgroup_view view;
    struct cgroup *cgroup = open_folder(*state, &view);
    struct worker_limits limits = all;
    assert_int_equal(cgroup_add(cgroup, "p.7", &limits), -1); /* it has no cgroup.procs */
    assert_memory_equal(&limits, &all, sizeof all);
    cgroup_close(cgroup);
}

static void a_kill_for_the_limit_of_the_group_is_told_from_others(void **state)
{
    static const struct {
        const char *events;
        bool told;
    } cases[] = {
        {"low 0\nhigh 0\nmax 90\noom 1\noom_kill 1\noom_group_kill 0\n", true},
        {"low 0\nhigh 0\nmax 90\noom 3\noom_kill 0\n", false},
        {"low 0\nhigh 0\nmax 0\noom 0\noom_kill 1\n", false}, /* memory ran out further up */
        {"", false},
    };
    const struct folder *folder = *state;
    struct cgroup_view view;
    struct cgroup *cgroup = open_folder(folder, &view);
    assert_false(cgroup_memory_killed(cgroup, "p.7"));
    for (size_t i = 0; i < COUNT(cases); i++) {
        put_group(folder, "p.7", "memory.events", cases[i].events);
        assert_int_equal(cgroup_memory_killed(cgroup, "p.7"), cases[i].told);
    }
    assert_false(cgroup_memory_killed(cgroup, ""));
    cgroup_close(cgroup);
}

static void a_directory_that_is_no_group_is_refused(void **state)
{
    static const struct {
        const char *path, *why;
    } cases[] = {{"/no/such/place", "/no/such/place: No such file"},
                 {"/tmp", "/tmp is no control group of version 2"}};
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct rota_error error;
        assert_null(cgroup_open(cases[i].path, NODE, true, &error));
        assert_non_null(strstr(error.message, cases[i].why));
    }
}

static void nothing_happens_without_groups(void **state)
{
    struct worker_limits limits = all;
    (void)state;
    assert_int_equal(cgroup_add(NULL, "p.7", &limits), -1);
    assert_memory_equal(&limits, &all, sizeof all);
    cgroup_kill(NULL, "p.7");
    cgroup_leave(NULL, "p.7");
    cgroup_forget(NULL);
    assert_int_equal(cgroup_sweep(NULL), 0);
    assert_false(cgroup_memory_killed(NULL, "p.7"));
    cgroup_close(NULL);
}

/* --- the end of all in a group, by the kernel --- */

static struct cgroup *open_real(const char *node)
{
    struct rota_error error;
    struct cgroup *cgroup = cgroup_open("auto", node, false, &error);
    struct cgroup_view view = {0};
    if (cgroup != NULL)
        cgroup_view(cgroup, &view);
    if (cgroup != NULL && view.kill)
        return cgroup;
    print_message("# skipped: %s\n", cgroup == NULL ? error.message : "the kernel cannot end them");
    cgroup_close(cgroup);
    skip();
    return NULL;
}

/* Joins, then forks twice into a session of its own; returns the pid of what nobody knows. */
static pid_t daemonize(struct cgroup *cgroup, const char *name)
{
    struct worker_limits none = {0};
    int ends[2];
    pid_t pid = 0;
    assert_int_equal(pipe(ends), 0);
    int join = cgroup_add(cgroup, name, &none);
    assert_true(join >= 0);
    pid_t first = fork();
    if (first == 0) {
        alarm(60); /* nothing of a failed test stays */
        if (write(join, "0", 1) != 1 || setsid() < 0 || fork() != 0)
            _exit(0);
        pid = getpid();
        if (write(ends[1], &pid, sizeof pid) != (ssize_t)sizeof pid)
            _exit(1);
        for (int fd = 3; fd < 64; fd++)
            close(fd); /* the lock of the group among them */
        for (;;)
            pause();
    }
    close(join);
    close(ends[1]);
    waitpid(first, NULL, 0);
    assert_int_equal(read(ends[0], &pid, sizeof pid), sizeof pid);
    close(ends[0]);
    return pid;
}

/* Ours by adoption. Whether it was killed within the limit. */
static bool is_killed(pid_t pid)
{
    int64_t end_us = clock_monotonic_us() + LIMIT_US;
    int status = 0;
    while (waitpid(pid, &status, WNOHANG) == 0 && clock_monotonic_us() < end_us)
        poll(NULL, 0, 1);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static void what_a_worker_forked_away_ends_with_its_group(void **state)
{
    (void)state;
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    struct cgroup *cgroup = open_real(NODE);
    struct cgroup_view view;
    cgroup_view(cgroup, &view);
    char *path = mem_format("%s/p.1", view.path), *node = mem_string(view.path);
    pid_t ended = daemonize(cgroup, "p.1"), other = daemonize(cgroup, "p.2");
    assert_int_equal(access(path, F_OK), 0);
    cgroup_leave(cgroup, "p.1");
    assert_true(is_killed(ended));
    int64_t end_us = clock_monotonic_us() + LIMIT_US;
    while (cgroup_sweep(cgroup) > 0 && clock_monotonic_us() < end_us)
        poll(NULL, 0, 1);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(kill(other, 0), 0);
    assert_int_equal(waitpid(other, NULL, WNOHANG), 0);
    cgroup_kill(cgroup, "p.2");
    assert_true(is_killed(other));
    cgroup_close(cgroup);
    assert_int_equal(access(node, F_OK), -1);
    free(path);
    free(node);
}

/* A guard of its own that has one worker; it says what that is called, and waits. */
static pid_t fork_guard(pid_t *ret_worker)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t guard = fork();
    if (guard == 0) {
        struct rota_error error;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        struct cgroup *cgroup = cgroup_open("auto", NODE, false, &error);
        pid_t worker = cgroup != NULL ? daemonize(cgroup, "p.1") : 0;
        if (write(ends[1], &worker, sizeof worker) != (ssize_t)sizeof worker)
            _exit(1);
        for (;;)
            pause();
    }
    assert_int_equal(read(ends[0], ret_worker, sizeof *ret_worker), sizeof *ret_worker);
    assert_true(*ret_worker > 0);
    close(ends[0]);
    close(ends[1]);
    return guard;
}

static void what_a_killed_guard_left_ends_at_the_next_start_of_its_node_alone(void **state)
{
    (void)state;
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    cgroup_close(open_real(NODE)); /* skips */
    pid_t left, living, dead_guard = fork_guard(&left), living_guard = fork_guard(&living);
    kill(dead_guard, SIGKILL);
    waitpid(dead_guard, NULL, 0);
    cgroup_close(open_real(NODE "2")); /* another node ends nothing */
    assert_int_equal(waitpid(left, NULL, WNOHANG), 0);
    struct cgroup *cgroup = open_real(NODE);
    assert_true(is_killed(left));
    assert_int_equal(kill(living, 0), 0);
    kill(living_guard, SIGKILL);
    waitpid(living_guard, NULL, 0);
    cgroup_close(cgroup);
    cgroup_close(open_real(NODE));
    assert_true(is_killed(living));
}

int main(void)
{
#define FOLDER_TEST(name) cmocka_unit_test_setup_teardown(name, folder_setup, folder_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_group_is_found_by_its_mount),
        cmocka_unit_test(a_group_that_is_not_to_be_seen_is_told),
        FOLDER_TEST(a_group_takes_over_the_limits_its_controllers_hold),
        FOLDER_TEST(a_limit_that_no_controller_holds_stays_with_the_process),
        FOLDER_TEST(a_worker_has_no_group_where_it_cannot_join),
        FOLDER_TEST(a_kill_for_the_limit_of_the_group_is_told_from_others),
        cmocka_unit_test(a_directory_that_is_no_group_is_refused),
        cmocka_unit_test(nothing_happens_without_groups),
        cmocka_unit_test(what_a_worker_forked_away_ends_with_its_group),
        cmocka_unit_test(what_a_killed_guard_left_ends_at_the_next_start_of_its_node_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
