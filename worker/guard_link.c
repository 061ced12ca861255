/* The coordinator's end of the guard: see guard_link.h. */
#include "worker/guard_link.h"

#include "worker/guard_mark.h"
#include "worker/guard_wire.h"
#include "worker/pool.h"
#include "worker/spawn.h"
#include "worker/tree.h"

#include "base/buffer.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/memory.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define GUARD_ARGUMENTS 10
#define READY_MS        10000 /* a machine under full load still starts a process in that time */
#define QUEUE_MAX       4096  /* commands; a guard this far behind does not run any more */
#define EVENTS_TURN     64    /* taken before the loop turns */
#define END_MS          15000 /* longer than the guard takes when a process defies SIGKILL */
#define SWEEP_TURN_US   (5 * US_PER_MS)
#define SWEEP_US        (2 * US_PER_SECOND) /* after it what is left is left to the kernel */

struct packet {
    struct list queue;
    int fd; /* -1: none */
    size_t length;
    char data[];
};

struct guard_link {
    struct guard_link_callbacks callbacks;
    int socket;
    pid_t pid;
    struct event *readable, *writable;
    struct event *sweep; /* after the death of the guard */
    int64_t sweep_end_us;
    pid_t mark; /* of the dead guard */
    struct list queue;
    size_t queued;
};

/* --- start --- */

static bool is_setting(const char *entry)
{
    return strncmp(entry, "ROTA_", 5) == 0;
}

/* `node`: "ROTA_NODE=…". The array is to be freed, its texts are not. */
static char **link_environment(char *node)
{
    size_t count = 0, kept = 0;
    while (environ[count] != NULL)
        count++;
    char **environment = mem_array(count + 2, sizeof *environment);
    for (size_t i = 0; i < count; i++)
        if (!is_setting(environ[i]))
            environment[kept++] = environ[i];
    environment[kept] = node;
    return environment;
}

static int link_spawn_attributes(posix_spawnattr_t *attributes)
{
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    return posix_spawnattr_setsigmask(attributes, &none) ||
           posix_spawnattr_setsigdefault(attributes, &all) ||
           posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK |
                                                    POSIX_SPAWN_SETSIGDEF);
}

/* Returns an errno, 0 when it runs. */
static int link_execute(struct guard_link *link, const char *self, char **argv, char **environment,
                        int guard_end)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    int code = posix_spawn_file_actions_adddup2(&actions, guard_end, GUARD_FD);
    if (code == 0)
        code = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0);
    if (code == 0)
        code = posix_spawn_file_actions_adddup2(&actions, 0, 1);
    if (code == 0)
        code = link_spawn_attributes(&attributes);
    if (code == 0)
        code = posix_spawn(&link->pid, self, &actions, &attributes, argv, environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return code;
}

/* Whether a pool has limits that a control group can hold. */
static bool wants_limits(const struct worker_config *config)
{
    for (size_t i = 0; i < config->pool_count; i++)
        if (config->pools[i].limits.memory_bytes > 0 || config->pools[i].limits.processes > 0)
            return true;
    return false;
}

/* At most GUARD_ARGUMENTS with the NULL at the end. */
static void link_arguments(const struct worker_config *config, const char **argv)
{
    *argv++ = config->self;
    *argv++ = "guard";
    *argv++ = "--node";
    *argv++ = config->node;
    *argv++ = "--cgroup";
    *argv++ = config->cgroup != NULL ? config->cgroup : "off";
    if (wants_limits(config))
        *argv++ = "--limits";
    if (config->log->level == LOG_DEBUG)
        *argv++ = "--debug";
    if (config->log->text)
        *argv++ = "--text";
    *argv = NULL;
}

static int link_start(struct guard_link *link, const struct worker_config *config,
                      struct rota_error *error)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0)
        return error_set(error, ERROR_REFUSED, "socket of the guard: %s", strerror(errno));
    char *variable = mem_format("ROTA_NODE=%s", config->node);
    char **environment = link_environment(variable);
    const char *argv[GUARD_ARGUMENTS];
    link_arguments(config, argv);
    int code = link_execute(link, config->self, (char **)argv, environment, ends[1]);
    free(environment);
    free(variable);
    close(ends[1]);
    link->socket = ends[0];
    if (code != 0)
        return error_set(error, ERROR_REFUSED, "guard: cannot execute %s: %s", config->self,
                         strerror(code));
    return 0;
}

/* Its first word says that it is subreaper and listens. */
static int link_await(struct guard_link *link, const char *self, struct rota_error *error)
{
    int64_t end_us = clock_monotonic_us() + READY_MS * US_PER_MS;
    for (;;) {
        int64_t left_us = end_us - clock_monotonic_us();
        struct pollfd socket = {.fd = link->socket, .events = POLLIN};
        int ready = left_us > 0 ? poll(&socket, 1, (int)(left_us / US_PER_MS) + 1) : 0;
        if (ready < 0 && errno == EINTR)
            continue;
        struct guard_event event;
        ssize_t got = ready > 0 ? recv(link->socket, &event, sizeof event, 0) : -1;
        if (got == (ssize_t)sizeof event && event.type == GUARD_READY)
            return 0;
        return error_set(error, ERROR_REFUSED, "guard: `%s guard` %s", self,
                         ready > 0 ? "ended at once" : "does not answer");
    }
}

/* --- events --- */

/*
 * Workers die with the guard, what they have started need not: it comes to us, and is killed. How
 * many of them are still there; one that cannot be looked into is dying.
 */
static size_t link_kill_orphans(const struct guard_link *link)
{
    struct tree_list children = {0};
    size_t left = 0;
    tree_children(getpid(), &children);
    for (size_t i = 0; i < children.count; i++) {
        uint32_t number;
        pid_t pid = children.pids[i];
        int marked = pid != link->pid ? guard_mark_read(pid, link->mark, &number) : 0;
        if (marked == 1)
            tree_kill(pid);
        left += marked != 0; /* dead ones too: their children may have come after the list */
        if (marked != 0)
            waitpid(pid, NULL, WNOHANG);
    }
    tree_free(&children);
    return left;
}

static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct guard_link *link = arg;
    if (link->pid > 0 && waitpid(link->pid, NULL, WNOHANG) == link->pid)
        link->pid = -1;
    size_t left = link_kill_orphans(link);
    if ((left > 0 || link->pid > 0) && clock_monotonic_us() < link->sweep_end_us) {
        struct timeval wait = clock_timeval(SWEEP_TURN_US);
        event_add(link->sweep, &wait);
        return;
    }
    link->callbacks.lost(link->callbacks.arg);
}

static void link_lost(struct guard_link *link)
{
    event_del(link->readable);
    event_del(link->writable);
    close(link->socket);
    link->socket = -1;
    kill(link->pid, SIGKILL); /* where it lives and does not take commands */
    link->mark = link->pid;
    link->sweep_end_us = clock_monotonic_us() + SWEEP_US;
    event_active(link->sweep, EV_TIMEOUT, 0);
}

static void link_refused(struct guard_link *link, const struct guard_event *event)
{
    const char *step = event->step == SPAWN_EXEC ? "execute" : "start";
    char *why = mem_format("cannot %s it: %s", step, strerror(event->code));
    link->callbacks.refused(link->callbacks.arg, event->number, why);
    free(why);
}

static void link_event(struct guard_link *link, const struct guard_event *event)
{
    void *arg = link->callbacks.arg;
    switch (event->type) {
    case GUARD_STARTED:
        link->callbacks.started(arg, event->number, event->pid);
        return;
    case GUARD_REFUSED:
        link_refused(link, event);
        return;
    case GUARD_ENDED:
        link->callbacks.ended(arg, event->number, event->status, (enum guard_cause)event->cause);
        return;
    default:
        return;
    }
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct guard_link *link = arg;
    for (int i = 0; i < EVENTS_TURN && link->socket >= 0; i++) {
        struct guard_event event;
        ssize_t got = recv(link->socket, &event, sizeof event, 0);
        if (got == (ssize_t)sizeof event) {
            link_event(link, &event);
            continue;
        }
        if (got >= 0 || (errno != EAGAIN && errno != EINTR))
            link_lost(link);
        return;
    }
}

/* --- commands --- */

/* 0 sent, -1 with errno. */
static int link_send(struct guard_link *link, const void *data, size_t length, int fd)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec part = {.iov_base = (void *)data, .iov_len = length};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd >= 0) {
        message.msg_control = control.space;
        message.msg_controllen = sizeof control.space;
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    }
    return sendmsg(link->socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -1 : 0;
}

static void packet_free(struct guard_link *link, struct packet *packet)
{
    list_remove(&packet->queue);
    link->queued--;
    if (packet->fd >= 0)
        close(packet->fd);
    free(packet);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct guard_link *link = arg;
    LIST_EACH (&link->queue, struct packet, queue, packet) {
        if (link_send(link, packet->data, packet->length, packet->fd) != 0) {
            if (errno == EAGAIN || errno == EINTR)
                event_add(link->writable, NULL);
            return; /* the reading side hears of a lost guard */
        }
        packet_free(link, packet);
    }
}

/* Sends, or keeps for later; takes `fd`. */
static void link_command(struct guard_link *link, const void *data, size_t length, int fd)
{
    if (link->socket < 0 || (list_empty(&link->queue) && link_send(link, data, length, fd) == 0)) {
        if (fd >= 0)
            close(fd);
        return;
    }
    struct packet *packet = mem_alloc(sizeof *packet + length);
    *packet = (struct packet){.fd = fd, .length = length};
    memcpy(packet->data, data, length);
    list_init(&packet->queue);
    list_append(&link->queue, &packet->queue);
    event_add(link->writable, NULL);
    if (++link->queued > QUEUE_MAX)
        kill(link->pid, SIGKILL); /* its end is heard by on_readable() */
}

int guard_link_spawn(struct guard_link *link, uint32_t number, const struct pool *pool, int fd,
                     struct rota_error *error)
{
    struct guard_command command = {.type = GUARD_SPAWN, .number = number, .limits = pool->limits};
    struct buffer packet = {0};
    char *const *argv = pool->command;
    snprintf(command.pool, sizeof command.pool, "%s", pool->name);
    buffer_append(&packet, &command, sizeof command);
    for (; argv[command.value] != NULL; command.value++)
        buffer_append(&packet, argv[command.value], strlen(argv[command.value]) + 1);
    memcpy(packet.data, &command, sizeof command);
    int failed = 0;
    if (packet.length > GUARD_PACKET_MAX) {
        failed = error_set(error, ERROR_REFUSED, "command line of %zu bytes, at most %d",
                           packet.length, GUARD_PACKET_MAX);
        close(fd);
    } else {
        link_command(link, packet.data, packet.length, fd);
    }
    buffer_free(&packet);
    return failed;
}

void guard_link_kill(struct guard_link *link, uint32_t number, int signal)
{
    struct guard_command command = {.type = GUARD_KILL, .number = number, .value = signal};
    link_command(link, &command, sizeof command, -1);
}

int guard_link_lane(struct guard_link *link, uint32_t number, bool lane)
{
    struct guard_command command = {.type = GUARD_LANE, .number = number, .value = lane};
    if (link->socket < 0 || !list_empty(&link->queue))
        return -1;
    return link_send(link, &command, sizeof command, -1);
}

void guard_link_lease(struct guard_link *link, int64_t valid_until_boot_us)
{
    struct guard_command command = {.type = GUARD_LEASE, .value = valid_until_boot_us};
    link_command(link, &command, sizeof command, -1);
}

/* --- life --- */

struct guard_link *guard_link_new(const struct worker_config *config,
                                  const struct guard_link_callbacks *callbacks,
                                  struct rota_error *error)
{
    struct guard_link *link = mem_alloc(sizeof *link);
    *link = (struct guard_link){.callbacks = *callbacks, .socket = -1, .pid = -1};
    list_init(&link->queue);
    if (link_start(link, config, error) != 0 || link_await(link, config->self, error) != 0) {
        if (link->pid > 0)
            kill(link->pid, SIGKILL);
        guard_link_free(link);
        return NULL;
    }
    struct event_base *base = config->base;
    link->readable = event_new(base, link->socket, EV_READ | EV_PERSIST, on_readable, link);
    link->writable = event_new(base, link->socket, EV_WRITE, on_writable, link);
    link->sweep = event_new(base, -1, 0, on_sweep, link);
    event_add(link->readable, NULL);
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); /* heir of the guard, should it be killed */
    return link;
}

/* It ends by itself now; one that is stopped does not. */
static void link_bury(pid_t pid)
{
    struct pollfd guard = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
    int ended;
    do
        ended = guard.fd >= 0 ? poll(&guard, 1, END_MS) : 1;
    while (ended < 0 && errno == EINTR);
    if (ended == 0)
        kill(pid, SIGKILL);
    if (guard.fd >= 0)
        close(guard.fd);
    pid_t waited;
    do
        waited = waitpid(pid, NULL, 0);
    while (waited < 0 && errno == EINTR);
}

void guard_link_free(struct guard_link *link)
{
    if (link == NULL)
        return;
    if (link->readable != NULL)
        event_free(link->readable);
    if (link->writable != NULL)
        event_free(link->writable);
    if (link->sweep != NULL)
        event_free(link->sweep);
    if (link->socket >= 0)
        close(link->socket);
    while (!list_empty(&link->queue))
        packet_free(link, LIST_ITEM(link->queue.next, struct packet, queue));
    if (link->pid > 0)
        link_bury(link->pid);
    free(link);
}
