/* The guard of `rota lock`: see lock_guard.h. What the two say is one struct a packet. */
#include "cmd/lock_guard.h"

#include "base/clock.h"
#include "base/memory.h"
#include "worker/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define SWEEP_TURN_MS 5                    /* between looks for what was killed */
#define SWEEP_US      (10 * US_PER_SECOND) /* what SIGKILL does not end is left to the kernel */

enum order { ORDER_START, ORDER_SIGNAL, ORDER_KILL, ORDER_VALID };

struct packet {
    int32_t type;
    int32_t code;
    int64_t value;
};

struct lock_guard {
    int socket;
    pid_t pid;
};

/* Inside of the guard. */
struct post {
    char *const *argv;
    int socket, signals, timer;
    pid_t cmd;       /* 0: not started, or over */
    pid_t terminals; /* the group that had the terminal; 0: it was not taken */
    bool killing;
};

/* ---- CMD ---- */

static void take_terminal(struct post *post)
{
    pid_t group = tcgetpgrp(STDIN_FILENO);
    if (group > 0 && group == getpgrp())
        post->terminals = group;
}

static void give_terminal(struct post *post, pid_t group)
{
    if (post->terminals != 0)
        tcsetpgrp(STDIN_FILENO, group); /* SIGTTOU is ignored here */
}

/* Never returns. Where it fails, errno goes up the pipe. */
__attribute__((noreturn)) static void run_cmd(struct post *post, int64_t fence, int report)
{
    char text[32];
    sigset_t none;
    setpgid(0, 0);
    give_terminal(post, getpid());
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int number = 1; number < NSIG; number++)
        if (number != SIGKILL && number != SIGSTOP)
            signal(number, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    snprintf(text, sizeof text, "%lld", (long long)fence);
    setenv("ROTA_LOCK_FENCE", text, 1);
    execvp(post->argv[0], post->argv);
    int code = errno;
    _exit(write(report, &code, sizeof code) == sizeof code ? 127 : 126);
}

static void say(const struct post *post, enum lock_guard_news news, int code)
{
    const struct packet packet = {.type = (int32_t)news, .code = code};
    if (send(post->socket, &packet, sizeof packet, MSG_NOSIGNAL) != sizeof packet)
        return; /* nobody is there any more: the end of file says so, too */
}

static void start_cmd(struct post *post, int64_t fence)
{
    int report[2], code = 0;
    if (post->killing) { /* the time of the lock was over before */
        say(post, LOCK_GUARD_KILLED, 0);
        return;
    }
    if (pipe2(report, O_CLOEXEC) != 0) {
        say(post, LOCK_GUARD_REFUSED, errno);
        return;
    }
    take_terminal(post);
    pid_t pid = fork();
    if (pid == 0)
        run_cmd(post, fence, report[1]);
    code = pid < 0 ? errno : 0;
    close(report[1]);
    if (pid > 0) {
        setpgid(pid, pid); /* whoever is first: signals to the group must reach it */
        if (read(report[0], &code, sizeof code) == sizeof code)
            waitpid(pid, NULL, 0);
        else
            post->cmd = pid;
    }
    close(report[0]);
    if (post->cmd == 0) {
        give_terminal(post, post->terminals);
        say(post, LOCK_GUARD_REFUSED, code);
    }
}

/* ---- its end ---- */

static void kill_children(void)
{
    struct tree_list children = {0};
    tree_children(getpid(), &children);
    for (size_t i = 0; i < children.count; i++)
        tree_kill(children.pids[i]);
    tree_free(&children);
}

/* All children, and whom they leave to us, until there are none. */
static void kill_all(pid_t group)
{
    int64_t end_us = clock_monotonic_us() + SWEEP_US;
    pid_t dead;
    do {
        if (group > 0)
            kill(-group, SIGKILL);
        kill_children();
        while ((dead = waitpid(-1, NULL, WNOHANG)) > 0)
            ;
        if (dead == 0)
            poll(NULL, 0, SWEEP_TURN_MS);
    } while (dead == 0 && clock_monotonic_us() < end_us);
}

static void kill_cmd(struct post *post)
{
    if (post->killing)
        return;
    post->killing = true;
    if (post->cmd == 0)
        return;
    kill_all(post->cmd);
    give_terminal(post, post->terminals);
    post->cmd = 0;
    say(post, LOCK_GUARD_KILLED, 0);
}

static void reap(struct post *post)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0) {
        if (pid != post->cmd)
            continue;
        if (WIFSTOPPED(status)) {
            if (WSTOPSIG(status) == SIGTSTP) /* nobody sleeps on a lock */
                kill(-pid, SIGCONT);
            continue;
        }
        give_terminal(post, post->terminals);
        post->cmd = 0;
        say(post, LOCK_GUARD_ENDED, status);
    }
}

/* ---- the life of the guard ---- */

static void set_valid(const struct post *post, int64_t until_us)
{
    struct itimerspec when = {.it_value = {.tv_sec = until_us / US_PER_SECOND,
                                           .tv_nsec = until_us % US_PER_SECOND * 1000}};
    timerfd_settime(post->timer, TFD_TIMER_ABSTIME, &when, NULL);
}

static void obey(struct post *post, const struct packet *packet)
{
    switch ((enum order)packet->type) {
    case ORDER_START:
        start_cmd(post, packet->value);
        return;
    case ORDER_SIGNAL:
        if (post->cmd > 0)
            kill(-post->cmd, packet->code);
        return;
    case ORDER_KILL:
        kill_cmd(post);
        return;
    case ORDER_VALID:
        set_valid(post, packet->value);
        return;
    }
}

/* False: the holder is gone. */
static bool listen_to_holder(struct post *post)
{
    struct packet packet;
    for (;;) {
        ssize_t got = recv(post->socket, &packet, sizeof packet, MSG_DONTWAIT);
        if (got < 0)
            return errno == EAGAIN || errno == EINTR;
        if (got != sizeof packet)
            return false;
        obey(post, &packet);
    }
}

static bool drained(int fd)
{
    char rest[sizeof(struct signalfd_siginfo)];
    bool any = false;
    while (read(fd, rest, sizeof rest) > 0)
        any = true;
    return any;
}

static bool turn(struct post *post)
{
    struct pollfd fds[3] = {{.fd = post->socket, .events = POLLIN},
                            {.fd = post->signals, .events = POLLIN},
                            {.fd = post->timer, .events = POLLIN}};
    if (poll(fds, 3, -1) < 0 && errno != EINTR)
        return false;
    if (drained(post->timer))
        kill_cmd(post); /* before orders: the holder was too late */
    drained(post->signals);
    reap(post);
    return listen_to_holder(post);
}

__attribute__((noreturn)) static void guard_life(struct post *post)
{
    static const int ignored[] = {SIGINT,  SIGTERM, SIGHUP,  SIGQUIT, SIGPIPE,
                                  SIGUSR1, SIGUSR2, SIGTSTP, SIGTTIN, SIGTTOU};
    sigset_t child;
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        signal(ignored[i], SIG_IGN);
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_SETMASK, &child, NULL);
    prctl(PR_SET_NAME, "rota-guard", 0, 0, 0);
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    post->signals = signalfd(-1, &child, SFD_NONBLOCK | SFD_CLOEXEC);
    post->timer = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
    if (post->signals >= 0 && post->timer >= 0)
        while (turn(post))
            ;
    if (post->cmd > 0)
        kill_cmd(post); /* else what CMD has left behind is not ours */
    _exit(0);
}

/* ---- the holder's end ---- */

struct lock_guard *lock_guard_new(char *const *argv, struct rota_error *error)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
        error_set(error, ERROR_REFUSED, "cannot start the guard: %s", strerror(errno));
        return NULL;
    }
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); /* should the guard die, its children come to us */
    pid_t pid = fork();
    if (pid == 0) {
        struct post post = {.argv = argv, .socket = ends[1]};
        close(ends[0]);
        guard_life(&post);
    }
    close(ends[1]);
    if (pid < 0) {
        error_set(error, ERROR_REFUSED, "cannot start the guard: %s", strerror(errno));
        close(ends[0]);
        return NULL;
    }
    struct lock_guard *guard = mem_alloc(sizeof *guard);
    guard->socket = ends[0];
    guard->pid = pid;
    return guard;
}

void lock_guard_free(struct lock_guard *guard)
{
    if (guard == NULL)
        return;
    close(guard->socket);
    while (waitpid(guard->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    free(guard);
}

int lock_guard_socket(const struct lock_guard *guard)
{
    return guard->socket;
}

enum lock_guard_news lock_guard_read(struct lock_guard *guard, int *ret_code)
{
    struct packet packet;
    ssize_t got = recv(guard->socket, &packet, sizeof packet, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return LOCK_GUARD_NOTHING;
    if (got != sizeof packet)
        return LOCK_GUARD_GONE;
    *ret_code = packet.code;
    return (enum lock_guard_news)packet.type;
}

/* What a dead guard does not take is told by its end of file. */
static void order(struct lock_guard *guard, enum order type, int code, int64_t value)
{
    const struct packet packet = {.type = (int32_t)type, .code = code, .value = value};
    while (send(guard->socket, &packet, sizeof packet, MSG_NOSIGNAL) < 0 && errno == EINTR)
        ;
}

void lock_guard_start(struct lock_guard *guard, int64_t fence)
{
    order(guard, ORDER_START, 0, fence);
}

void lock_guard_signal(struct lock_guard *guard, int signal)
{
    order(guard, ORDER_SIGNAL, signal, 0);
}

void lock_guard_kill(struct lock_guard *guard)
{
    order(guard, ORDER_KILL, 0, 0);
}

void lock_guard_valid(struct lock_guard *guard, int64_t until_boot_us)
{
    order(guard, ORDER_VALID, 0, until_boot_us);
}

void lock_guard_bury(struct lock_guard *guard)
{
    kill(guard->pid, SIGKILL);
    kill_all(0);
}
