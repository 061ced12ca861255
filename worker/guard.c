/*
 * The guard: parent, subreaper and group owner of a node's workers. It outlives a coordinator that
 * is stopped or killed just long enough to end what the coordinator can no longer answer for: lane
 * runs at the end of the lease, everything at the end of the coordinator. It knows no database and
 * waits for nobody: what the coordinator does not read is kept, and is at most two events a worker.
 */
#include "worker/cgroup.h"
#include "worker/guard_groups.h"
#include "worker/guard_mark.h"
#include "worker/guard_wire.h"
#include "worker/spawn.h"
#include "worker/tree.h"
#include "worker/worker.h"

#include "base/buffer.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define SWEEP_TURN_MS 5                    /* between looks for orphans that were killed */
#define SWEEP_US      US_PER_SECOND        /* one that SIGKILL does not end is left to the kernel */
#define END_US        (10 * US_PER_SECOND) /* the same, at the end of the guard */
#define COMMANDS_TURN 64                   /* packets taken before the other descriptors are seen */

struct guarded {
    uint32_t number;
    pid_t pid;
    bool lane;
    bool dying; /* SIGKILL was sent: its descendants are no longer spared */
    bool by_lease;
    char group[CGROUP_NAME_SIZE]; /* its control group; "": none */
};

struct guard {
    struct log log;
    struct guard_groups groups;
    struct cgroup *cgroup; /* NULL: none */
    int socket, signals, timer, parent;
    struct guarded *workers;
    size_t count, capacity;
    struct buffer events; /* struct guard_event after another, to be sent */
    struct buffer ended;  /* the same, held until the sweep finds nothing */
    int64_t lease_us;     /* clock_boot_us; 0: none */
    bool sweeping;
    int64_t sweep_end_us;
    char *search_path;
    char *text; /* what follows the command in a packet; GUARD_PACKET_MAX */
};

static struct guarded *guard_find(struct guard *guard, uint32_t number)
{
    for (size_t i = 0; i < guard->count; i++)
        if (guard->workers[i].number == number)
            return &guard->workers[i];
    return NULL;
}

static struct guarded *guard_find_pid(struct guard *guard, pid_t pid)
{
    for (size_t i = 0; i < guard->count; i++)
        if (guard->workers[i].pid == pid)
            return &guard->workers[i];
    return NULL;
}

/* A log nobody reads must not stop the guard: the line is dropped where it would wait. */
static bool guard_may_log(void)
{
    struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
    return poll(&out, 1, 0) == 1 && (out.revents & POLLOUT) != 0;
}

static void guard_kill_tree(struct guard *guard, struct guarded *worker)
{
    worker->dying = true;
    cgroup_kill(guard->cgroup, worker->group);
    tree_kill(worker->pid);
    kill(-worker->pid, SIGKILL);
}

/* --- deaths --- */

static void guard_start_sweep(struct guard *guard)
{
    guard->sweeping = true;
    guard->sweep_end_us = clock_monotonic_us() + SWEEP_US;
}

static enum guard_cause guard_cause(struct guard *guard, const struct guarded *worker)
{
    if (worker->by_lease)
        return GUARD_BY_LEASE;
    return cgroup_memory_killed(guard->cgroup, worker->group) ? GUARD_BY_MEMORY : GUARD_OTHER;
}

static void guard_bury(struct guard *guard, struct guarded *worker)
{
    struct guard_event event = {
        .type = GUARD_ENDED, .number = worker->number, .cause = guard_cause(guard, worker)};
    cgroup_leave(guard->cgroup, worker->group);
    kill(-worker->pid, SIGKILL); /* before the number of the group is free again */
    int status = 0;
    waitpid(worker->pid, &status, 0);
    event.status = status;
    buffer_append(&guard->ended, &event, sizeof event);
    *worker = guard->workers[--guard->count];
    guard_start_sweep(guard);
}

/* Waits for every dead child, worker or orphan. False: there are no children at all. */
static bool guard_reap(struct guard *guard)
{
    for (;;) {
        siginfo_t info = {0};
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0)
            return errno != ECHILD;
        if (info.si_pid == 0)
            return true;
        struct guarded *worker = guard_find_pid(guard, info.si_pid);
        if (worker != NULL)
            guard_bury(guard, worker);
        else
            waitpid(info.si_pid, NULL, 0);
    }
}

/*
 * A process whose parents are gone belongs to a living worker if it is still in its session or
 * carries its number: 1. One that has left both is nobody's: 0. One that dies, or executes a
 * program at this moment, has no environment to be read: -1, ask again.
 */
static int guard_spares(struct guard *guard, pid_t orphan)
{
    struct guarded *worker = guard_find_pid(guard, getsid(orphan));
    uint32_t number;
    int marked = worker == NULL ? guard_mark_read(orphan, getpid(), &number) : 0;
    if (marked < 0)
        return -1;
    if (marked > 0)
        worker = guard_find(guard, number);
    return worker != NULL && !worker->dying;
}

static void guard_sweep(struct guard *guard)
{
    struct tree_list children = {0};
    size_t left = cgroup_sweep(guard->cgroup);
    bool last = clock_monotonic_us() >= guard->sweep_end_us;
    tree_children(getpid(), &children);
    for (size_t i = 0; i < children.count; i++) {
        pid_t pid = children.pids[i];
        int spared = guard_find_pid(guard, pid) != NULL ? 1 : guard_spares(guard, pid);
        if (spared > 0)
            continue;
        if (spared == 0 || last)
            tree_kill(pid);
        left++;
    }
    tree_free(&children);
    if (left > 0 && !last)
        return;
    guard->sweeping = false;
    cgroup_forget(guard->cgroup);
    buffer_append(&guard->events, guard->ended.data, guard->ended.length);
    buffer_free(&guard->ended);
}

/* --- lease --- */

static void guard_check_lease(struct guard *guard)
{
    if (guard->lease_us == 0 || clock_boot_us() < guard->lease_us)
        return;
    int killed = 0;
    for (size_t i = 0; i < guard->count; i++) {
        struct guarded *worker = &guard->workers[i];
        if (!worker->lane || worker->by_lease)
            continue;
        worker->by_lease = true;
        guard_kill_tree(guard, worker);
        killed++;
    }
    if (killed > 0 && guard_may_log())
        log_error(&guard->log, "lease ended: workers with lane runs killed",
                  LOG_INT("workers", killed));
}

static void guard_set_lease(struct guard *guard, int64_t lease_us)
{
    struct itimerspec when = {.it_value = {.tv_sec = lease_us / US_PER_SECOND,
                                           .tv_nsec = lease_us % US_PER_SECOND * 1000}};
    guard->lease_us = lease_us;
    timerfd_settime(guard->timer, TFD_TIMER_ABSTIME, &when, NULL);
}

/* --- commands --- */

static void guard_report(struct guard *guard, const struct guard_event *event)
{
    buffer_append(&guard->events, event, sizeof *event);
}

static struct guarded *guard_add(struct guard *guard, uint32_t number, pid_t pid)
{
    if (guard->count == guard->capacity) {
        guard->capacity = guard->capacity > 0 ? guard->capacity * 2 : 8;
        guard->workers = mem_resize(guard->workers, guard->capacity, sizeof *guard->workers);
    }
    struct guarded *worker = &guard->workers[guard->count++];
    *worker = (struct guarded){.number = number, .pid = pid};
    return worker;
}

/* The environment of the guard and the mark, the array to be freed. */
static char **guard_environment(char *mark)
{
    size_t count = 0;
    while (environ[count] != NULL)
        count++;
    char **environment = mem_array(count + 2, sizeof *environment);
    memcpy(environment, environ, count * sizeof *environment);
    environment[count] = mark;
    return environment;
}

/* In a control group where that can be had, with its name in `group`, else "". */
static int guard_fork(struct guard *guard, const struct guard_command *command, struct spawn *spawn,
                      char group[CGROUP_NAME_SIZE], pid_t *ret_pid, struct spawn_failure *failure)
{
    snprintf(group, CGROUP_NAME_SIZE, "%.47s.%u", command->pool, command->number);
    int join = cgroup_add(guard->cgroup, group, &spawn->limits);
    int failed = -1;
    spawn->group = join > 0 ? join : 0;
    if (join >= 0) {
        failed = spawn_process(spawn, ret_pid, failure);
        close(join);
        if (failed != 0) {
            cgroup_leave(guard->cgroup, group);
            guard_start_sweep(guard); /* its group is to be removed */
        }
        if (failed == 0 || failure->step != SPAWN_GROUP)
            return failed;
    }
    *group = '\0';
    spawn->group = 0;
    spawn->limits = command->limits;
    return spawn_process(spawn, ret_pid, failure);
}

static int guard_start(struct guard *guard, const struct guard_command *command, char **argv,
                       int fd, char group[CGROUP_NAME_SIZE], pid_t *ret_pid,
                       struct spawn_failure *failure)
{
    const struct worker_limits *limits = &command->limits;
    char mark[GUARD_MARK_SIZE];
    guard_mark_write(mark, getpid(), command->number);
    char **environment = guard_environment(mark);
    char *path = spawn_resolve(argv[0], guard->search_path, NULL);
    struct spawn spawn = {.path = path,
                          .argv = argv,
                          .environment = environment,
                          .input = fd,
                          .output = fd,
                          .errors = -1,
                          .limits = *limits,
                          .confine = limits->memory_bytes != 0 || limits->cpu_seconds != 0 ||
                                     limits->files != 0 || limits->processes != 0};
    *failure = (struct spawn_failure){.step = SPAWN_EXEC, .code = ENOENT};
    int failed = path != NULL ? guard_fork(guard, command, &spawn, group, ret_pid, failure) : -1;
    free(path);
    free(environment);
    return failed;
}

/* `text` holds the arguments one after another, each with its NUL. */
static void guard_spawn(struct guard *guard, const struct guard_command *command, char *text,
                        size_t length, int fd)
{
    struct guard_event event = {.type = GUARD_REFUSED, .number = command->number, .code = EINVAL};
    size_t count = 0;
    char **argv = mem_array(length + 1, sizeof *argv);
    for (size_t at = 0; at < length && text[length - 1] == '\0'; at += strlen(text + at) + 1)
        argv[count++] = text + at;
    struct spawn_failure failure = {.code = EINVAL};
    char group[CGROUP_NAME_SIZE];
    pid_t pid = 0;
    if (fd > 2 && count > 0 && (int64_t)count == command->value &&
        guard_start(guard, command, argv, fd, group, &pid, &failure) == 0) {
        struct guarded *worker = guard_add(guard, command->number, pid);
        memcpy(worker->group, group, sizeof group);
        event.type = GUARD_STARTED;
        event.pid = pid;
    }
    event.step = failure.step;
    event.code = failure.code;
    guard_report(guard, &event);
    free(argv);
}

static void guard_command(struct guard *guard, const struct guard_command *command, char *text,
                          size_t length, int fd)
{
    struct guarded *worker = guard_find(guard, command->number);
    switch (command->type) {
    case GUARD_SPAWN:
        guard_spawn(guard, command, text, length, fd);
        return;
    case GUARD_LEASE:
        guard_set_lease(guard, command->value);
        return;
    case GUARD_LANE:
        if (worker != NULL)
            worker->lane = command->value != 0;
        guard_check_lease(guard); /* under a lease that is over already, not a moment */
        return;
    case GUARD_KILL:
        if (worker != NULL && command->value == SIGKILL)
            guard_kill_tree(guard, worker);
        else if (worker != NULL)
            kill(-worker->pid, (int)command->value);
        return;
    default:
        return;
    }
}

static int guard_descriptor(struct msghdr *message)
{
    int fd = -1;
    struct cmsghdr *control = CMSG_FIRSTHDR(message);
    if (control != NULL && control->cmsg_level == SOL_SOCKET && control->cmsg_type == SCM_RIGHTS)
        memcpy(&fd, CMSG_DATA(control), sizeof fd);
    return fd;
}

/* One packet. 1: handled, 0: there is none, -1: the coordinator is gone. */
static int guard_receive(struct guard *guard)
{
    struct guard_command command;
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec parts[2] = {{&command, sizeof command}, {guard->text, GUARD_PACKET_MAX}};
    struct msghdr message = {.msg_iov = parts,
                             .msg_iovlen = 2,
                             .msg_control = control.space,
                             .msg_controllen = sizeof control.space};
    ssize_t got = recvmsg(guard->socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    if (got == 0)
        return -1;
    int fd = guard_descriptor(&message);
    if (got >= (ssize_t)sizeof command)
        guard_command(guard, &command, guard->text, (size_t)got - sizeof command, fd);
    if (fd >= 0)
        close(fd);
    return 1;
}

static int guard_commands(struct guard *guard)
{
    int more = 1;
    for (int i = 0; i < COMMANDS_TURN && more > 0; i++)
        more = guard_receive(guard);
    return more < 0 ? -1 : 0;
}

/* As much as the coordinator takes. -1: it is gone. */
static int guard_send(struct guard *guard)
{
    size_t done = 0;
    const size_t size = sizeof(struct guard_event);
    while (done < guard->events.length) {
        ssize_t sent =
            send(guard->socket, guard->events.data + done, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno != EAGAIN)
            return -1;
        if (sent < 0)
            break;
        done += size;
    }
    if (done == guard->events.length)
        buffer_free(&guard->events);
    else
        buffer_consume(&guard->events, done);
    return 0;
}

/* --- life --- */

/* Nothing may survive: all children until there are none, and whom they leave to us. */
static void guard_end(struct guard *guard)
{
    int64_t end_us = clock_monotonic_us() + END_US;
    for (size_t i = 0; i < guard->count; i++)
        guard_kill_tree(guard, &guard->workers[i]);
    while (guard_reap(guard) && clock_monotonic_us() < end_us) {
        struct tree_list children = {0};
        tree_children(getpid(), &children);
        for (size_t i = 0; i < children.count; i++)
            tree_kill(children.pids[i]);
        tree_free(&children);
        struct pollfd death = {.fd = guard->signals, .events = POLLIN};
        struct signalfd_siginfo info;
        if (poll(&death, 1, SWEEP_TURN_MS) == 1 && read(guard->signals, &info, sizeof info) < 0)
            break;
    }
}

static void guard_drain(int fd)
{
    char rest[sizeof(struct signalfd_siginfo)];
    ssize_t got;
    do
        got = read(fd, rest, sizeof rest);
    while (got > 0);
}

/* One turn of the loop. -1: the coordinator is gone. */
static int guard_turn(struct guard *guard)
{
    struct pollfd fds[4] = {{.fd = guard->socket, .events = POLLIN},
                            {.fd = guard->signals, .events = POLLIN},
                            {.fd = guard->timer, .events = POLLIN},
                            {.fd = guard->parent, .events = POLLIN}};
    if (guard->events.length > 0)
        fds[0].events |= POLLOUT;
    if (poll(fds, 4, guard->sweeping ? SWEEP_TURN_MS : -1) < 0 && errno != EINTR)
        return -1;
    guard_drain(guard->signals);
    guard_drain(guard->timer);
    guard_reap(guard);
    if (guard_commands(guard) != 0)
        return -1;
    guard_check_lease(guard);
    if (guard->sweeping)
        guard_sweep(guard);
    if ((fds[3].revents & POLLIN) != 0)
        return -1; /* dead, though somebody else holds its end of the socket open */
    return guard_send(guard);
}

static void guard_signals(struct guard *guard)
{
    static const int ignored[] = {SIGINT,  SIGTERM, SIGHUP,  SIGQUIT, SIGPIPE,
                                  SIGUSR1, SIGUSR2, SIGTSTP, SIGTTIN, SIGTTOU};
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        signal(ignored[i], SIG_IGN);
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_SETMASK, &child, NULL);
    guard->signals = signalfd(-1, &child, SFD_NONBLOCK | SFD_CLOEXEC);
}

static int guard_init(struct guard *guard)
{
    setsid(); /* fails where posix_spawn has done it */
    prctl(PR_SET_NAME, "rota-guard", 0, 0, 0);
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0)
        return -1;
    close_range(GUARD_FD + 1, ~0u, 0);
    fcntl(GUARD_FD, F_SETFD, FD_CLOEXEC);
    guard->socket = GUARD_FD;
    guard->parent = (int)syscall(SYS_pidfd_open, getppid(), 0); /* -1 is ignored by poll */
    guard->timer = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
    guard_signals(guard);
    guard->search_path = mem_string(getenv("PATH"));
    guard->text = mem_alloc(GUARD_PACKET_MAX);
    return guard->timer < 0 || guard->signals < 0 ? -1 : 0;
}

static void guard_options(struct guard *guard, int argc, char **argv)
{
    guard->groups.setting = "off";
    guard->log = (struct log){.level = LOG_INFO, .fd = STDERR_FILENO};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--text") == 0)
            guard->log.text = true;
        else if (strcmp(argv[i], "--debug") == 0)
            guard->log.level = LOG_DEBUG;
        else if (strcmp(argv[i], "--limits") == 0)
            guard->groups.limits = true;
        else if (strcmp(argv[i], "--cgroup") == 0 && i + 1 < argc)
            guard->groups.setting = argv[++i];
        else if (strcmp(argv[i], "--node") == 0 && i + 1 < argc)
            guard->log.node = argv[++i];
    }
}

int guard_main(int argc, char **argv)
{
    struct guard guard = {.socket = -1, .signals = -1, .timer = -1, .parent = -1};
    guard_options(&guard, argc, argv);
    if (guard_init(&guard) != 0) {
        log_error(&guard.log, "the guard cannot start", LOG_TEXT("error", strerror(errno)));
        return 1;
    }
    if (guard_groups_open(&guard.groups, &guard.log, &guard.cgroup) != 0)
        return 1;
    guard_report(&guard, &(struct guard_event){.type = GUARD_READY});
    int gone = guard_send(&guard);
    while (gone == 0)
        gone = guard_turn(&guard);
    guard_end(&guard);
    cgroup_close(guard.cgroup);
    buffer_free(&guard.events);
    buffer_free(&guard.ended);
    free(guard.workers);
    free(guard.search_path);
    free(guard.text);
    return 0;
}
