/*
 * The fork itself: see spawn.h. The child borrows the parent's memory until it executes (as
 * posix_spawn does), so that a start costs the same however large the parent is; what it runs until
 * then may only make system calls.
 */
#include "worker/spawn.h"

#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILD_STACK (64 * 1024) /* the few frames below child_main(), sanitizers included */

/*
 * The child leaves its frames without returning from them; the address sanitizer must not keep
 * marks on memory that the parent uses again.
 */
#define CHILD_CODE __attribute__((no_sanitize_address))

struct child {
    const struct spawn *spawn;
    pid_t parent;
    int report; /* close-on-exec: its end of file says that the program runs */
};

CHILD_CODE static void child_fail(const struct child *child, enum spawn_step step)
{
    struct spawn_failure failure = {.step = (int32_t)step, .code = errno};
    ssize_t done = write(child->report, &failure, sizeof failure);
    _exit(done == (ssize_t)sizeof failure ? 127 : 126);
}

/* What the parent ignores would be ignored after exec too. */
CHILD_CODE static void child_signals(void)
{
    struct sigaction standard = {.sa_handler = SIG_DFL};
    for (int number = 1; number <= SIGRTMAX; number++)
        sigaction(number, &standard, NULL); /* fails for those that are always so */
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

CHILD_CODE static void child_descriptors(const struct child *child)
{
    const struct spawn *spawn = child->spawn;
    if (dup2(spawn->input, 0) < 0 || dup2(spawn->output, 1) < 0 ||
        (spawn->errors >= 0 && dup2(spawn->errors, 2) < 0))
        child_fail(child, SPAWN_SETUP);
    if (close_range(3, ~0u, CLOSE_RANGE_CLOEXEC) == 0)
        return;
    struct rlimit limit = {.rlim_cur = 1024}; /* an older kernel: one by one */
    getrlimit(RLIMIT_NOFILE, &limit);
    for (int fd = 3; fd < (int)limit.rlim_cur && fd < 65536; fd++)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
}

CHILD_CODE static void child_confine(const struct child *child)
{
    struct rlimit none = {0, 0};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || setrlimit(RLIMIT_CORE, &none) != 0)
        child_fail(child, SPAWN_SETUP);
}

/* Never above what this process may have itself: that only root could. The end comes `more` later.
 */
CHILD_CODE static void child_limit(const struct child *child, int resource, int64_t value,
                                   int64_t more)
{
    struct rlimit limit;
    if (value == 0)
        return;
    if (getrlimit((__rlimit_resource_t)resource, &limit) != 0)
        child_fail(child, SPAWN_SETUP);
    if (limit.rlim_max == RLIM_INFINITY || limit.rlim_max > (rlim_t)(value + more))
        limit.rlim_max = (rlim_t)(value + more);
    limit.rlim_cur = limit.rlim_max < (rlim_t)value ? limit.rlim_max : (rlim_t)value;
    if (setrlimit((__rlimit_resource_t)resource, &limit) != 0)
        child_fail(child, SPAWN_SETUP);
}

CHILD_CODE static void child_limits(const struct child *child)
{
    const struct worker_limits *limits = &child->spawn->limits;
    child_limit(child, RLIMIT_DATA, limits->memory_bytes, 0);
    child_limit(child, RLIMIT_CPU, limits->cpu_seconds, 1); /* SIGXCPU first, SIGKILL then */
    child_limit(child, RLIMIT_NOFILE, limits->files, 0);
    child_limit(child, RLIMIT_NPROC, limits->processes, 0);
}

CHILD_CODE static int child_main(void *argument)
{
    const struct child *child = argument;
    const struct spawn *spawn = child->spawn;
    if (setsid() < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
        child_fail(child, SPAWN_SETUP);
    if (getppid() != child->parent)
        _exit(126); /* the parent died before the death signal was set */
    if (spawn->group > 0 && write(spawn->group, "0", 1) != 1)
        child_fail(child, SPAWN_GROUP);
    umask(022);
    if (spawn->confine)
        child_confine(child);
    if (spawn->directory != NULL && chdir(spawn->directory) != 0)
        child_fail(child, SPAWN_DIRECTORY);
    child_descriptors(child);
    child_signals();
    child_limits(child);
    execve(spawn->path, spawn->argv, spawn->environment);
    child_fail(child, SPAWN_EXEC);
    return 126;
}

static pid_t spawn_clone(struct child *child)
{
    char *stack = mmap(NULL, CHILD_STACK, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stack == MAP_FAILED)
        return -1;
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before); /* no handler of ours may run in the child */
    pid_t pid = clone(child_main, stack + CHILD_STACK, CLONE_VM | CLONE_VFORK | SIGCHLD, child);
    int code = errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    munmap(stack, CHILD_STACK);
    errno = code;
    return pid;
}

int spawn_process(const struct spawn *spawn, pid_t *ret_pid, struct spawn_failure *ret_failure)
{
    int report[2];
    *ret_failure = (struct spawn_failure){.step = SPAWN_SETUP};
    if (pipe2(report, O_CLOEXEC) != 0) {
        ret_failure->code = errno;
        return -1;
    }
    struct child child = {.spawn = spawn, .parent = getpid(), .report = report[1]};
    pid_t pid = spawn_clone(&child);
    if (pid < 0)
        ret_failure->code = errno;
    close(report[1]);
    struct spawn_failure failure;
    bool failed = pid < 0;
    if (pid > 0 && read(report[0], &failure, sizeof failure) == (ssize_t)sizeof failure) {
        *ret_failure = failure;
        waitpid(pid, NULL, 0);
        failed = true;
    }
    close(report[0]);
    if (failed)
        return -1;
    *ret_pid = pid;
    return 0;
}

static bool is_program(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISREG(status.st_mode) && access(path, X_OK) == 0;
}

char *spawn_resolve(const char *program, const char *search_path, const char *directory)
{
    if (strchr(program, '/') != NULL) {
        if (program[0] == '/' || directory == NULL)
            return mem_string(program);
        return mem_format("%s/%s", directory, program);
    }
    for (const char *at = search_path; at != NULL && program[0] != '\0';) {
        const char *colon = strchr(at, ':');
        int length = colon != NULL ? (int)(colon - at) : (int)strlen(at);
        char *path = mem_format("%.*s/%s", length, at, program);
        if (length > 0 && is_program(path))
            return path;
        free(path);
        at = colon != NULL ? colon + 1 : NULL;
    }
    return NULL;
}
