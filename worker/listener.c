/*
 * Sockets for workers that connect: see listener.h. The file of a Unix socket belongs to whoever
 * holds the lock on the file PATH.lock beside it, so that what a node has left behind is told from
 * what one that lives is listening on.
 */
#include "worker/listener.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define UNIX_PREFIX   "unix:"
#define BACKLOG       128
#define ACCEPT_TURN   16                /* connections taken before the loop turns */
#define ACCEPT_PAUSE  (100 * US_PER_MS) /* when there is no descriptor for one more */
#define IDLE_S        5     /* a peer that says nothing is asked for a sign of life after it … */
#define PROBE_S       2     /* … so often … */
#define PROBES        3     /* … and given up after so many */
#define UNSENT_MS     30000 /* what the peer's machine does not acknowledge for so long ends it */
#define ENDPOINT_SIZE 300

struct listener {
    struct listeners *all;
    int fd;
    int lock;   /* of a Unix socket; else -1 */
    char *path; /* the same; NULL once somebody else's */
    struct event *readable, *again;
};

struct listeners {
    struct listener_config config;
    struct listener *list;
    size_t count;
};

struct endpoint {
    bool tcp;
    char path[sizeof((struct sockaddr_un *)0)->sun_path];
    char host[256];
    char port[8];
};

/* --- addresses --- */

static int refuse_address(const char *text, struct rota_error *error)
{
    return error_set(error, ERROR_REFUSED,
                     "\"%s\" is no address for workers: write unix:/run/rota/worker.sock (an "
                     "absolute path of at most %zu bytes) or HOST:PORT, for example "
                     "127.0.0.1:8301 or [::1]:0 (any free port)",
                     text, sizeof((struct sockaddr_un *)0)->sun_path - 1);
}

static int parse_tcp(const char *text, struct endpoint *ret_endpoint)
{
    const char *colon = strrchr(text, ':');
    int64_t port;
    if (colon == NULL || text_int64(colon + 1, strlen(colon + 1), &port) != 0 || port < 0 ||
        port > 65535 || colon[1] == '-')
        return -1;
    size_t length = (size_t)(colon - text);
    bool bracketed = length > 2 && text[0] == '[' && colon[-1] == ']';
    if (bracketed) {
        text++;
        length -= 2;
    }
    if (length == 0 || length >= sizeof ret_endpoint->host)
        return -1;
    memcpy(ret_endpoint->host, text, length);
    ret_endpoint->host[length] = '\0';
    unsigned char address[16];
    bool numeric = inet_pton(AF_INET6, ret_endpoint->host, address) == 1;
    if (bracketed != numeric || strpbrk(ret_endpoint->host, "[]/ \t") != NULL)
        return -1;
    snprintf(ret_endpoint->port, sizeof ret_endpoint->port, "%d", (int)port);
    return 0;
}

static int parse_endpoint(const char *text, struct endpoint *ret_endpoint, struct rota_error *error)
{
    *ret_endpoint = (struct endpoint){.tcp = true};
    if (strncmp(text, UNIX_PREFIX, strlen(UNIX_PREFIX)) != 0)
        return parse_tcp(text, ret_endpoint) == 0 ? 0 : refuse_address(text, error);
    const char *path = text + strlen(UNIX_PREFIX);
    if (path[0] != '/' || strlen(path) >= sizeof ret_endpoint->path)
        return refuse_address(text, error);
    ret_endpoint->tcp = false;
    snprintf(ret_endpoint->path, sizeof ret_endpoint->path, "%s", path);
    return 0;
}

int listener_check(const char *address, struct rota_error *error)
{
    struct endpoint endpoint;
    return parse_endpoint(address, &endpoint, error);
}

bool listener_has_tcp(const char *const *addresses)
{
    for (; addresses != NULL && *addresses != NULL; addresses++)
        if (strncmp(*addresses, UNIX_PREFIX, strlen(UNIX_PREFIX)) != 0)
            return true;
    return false;
}

/* --- those who come --- */

static void tcp_name(const struct sockaddr_storage *address, char name[ENDPOINT_SIZE])
{
    char text[INET6_ADDRSTRLEN] = "?";
    if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)address;
        inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof text);
        snprintf(name, ENDPOINT_SIZE, "[%s]:%d", text, ntohs(in6->sin6_port));
    } else {
        const struct sockaddr_in *in = (const void *)address;
        inet_ntop(AF_INET, &in->sin_addr, text, sizeof text);
        snprintf(name, ENDPOINT_SIZE, "%s:%d", text, ntohs(in->sin_port));
    }
}

static void unix_name(int fd, char name[ENDPOINT_SIZE])
{
    struct ucred peer = {0};
    socklen_t size = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0)
        snprintf(name, ENDPOINT_SIZE, "pid %d, uid %d", (int)peer.pid, (int)peer.uid);
    else
        snprintf(name, ENDPOINT_SIZE, "?");
}

/* A machine that is gone, or a network that forgets us, ends the connection within seconds. */
static void set_tcp(int fd)
{
    const struct {
        int level, name, value;
    } options[] = {{SOL_SOCKET, SO_KEEPALIVE, 1},       {IPPROTO_TCP, TCP_NODELAY, 1},
                   {IPPROTO_TCP, TCP_KEEPIDLE, IDLE_S}, {IPPROTO_TCP, TCP_KEEPINTVL, PROBE_S},
                   {IPPROTO_TCP, TCP_KEEPCNT, PROBES},  {IPPROTO_TCP, TCP_USER_TIMEOUT, UNSENT_MS}};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        setsockopt(fd, options[i].level, options[i].name, &options[i].value,
                   sizeof options[i].value);
}

/* False: nobody is waiting, or there is no descriptor for him. */
static bool accept_one(struct listener *listener)
{
    const struct listener_config *config = &listener->all->config;
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof address;
    char peer[ENDPOINT_SIZE];
    int fd =
        accept4(listener->fd, (struct sockaddr *)&address, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
        struct timeval pause = clock_timeval(ACCEPT_PAUSE);
        event_del(listener->readable); /* it would stay readable and the loop would spin */
        event_add(listener->again, &pause);
        return false;
    }
    if (fd < 0)
        return errno != EAGAIN && errno != EBADF && errno != EINVAL;
    bool tcp = listener->path == NULL;
    if (tcp) {
        set_tcp(fd);
        tcp_name(&address, peer);
    } else {
        unix_name(fd, peer);
    }
    config->accepted(config->arg, fd, peer, tcp);
    return true;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    for (int i = 0; i < ACCEPT_TURN && accept_one(arg); i++)
        continue;
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    event_add(((struct listener *)arg)->readable, NULL);
}

/* --- sockets --- */

/* The lock says who may remove the file: held for as long as the process lives. */
static int lock_path(struct listener *listener, const char *path, struct rota_error *error)
{
    char *name = mem_format("%s.lock", path);
    listener->lock = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    int failed = 0;
    if (listener->lock < 0)
        failed = error_set(error, ERROR_REFUSED,
                           "cannot listen on unix:%s: %s: %s; its folder must be there and "
                           "belong to the node",
                           path, name, strerror(errno));
    else if (flock(listener->lock, LOCK_EX | LOCK_NB) != 0)
        failed = error_set(error, ERROR_REFUSED,
                           "cannot listen on unix:%s: another node does; give each node of this "
                           "machine a path of its own",
                           path);
    free(name);
    return failed;
}

/* What stands in the way is removed if it is a socket nobody listens on. */
static int clear_path(const struct sockaddr_un *address, struct rota_error *error)
{
    struct stat status;
    const char *path = address->sun_path;
    if (lstat(path, &status) != 0)
        return 0;
    if (!S_ISSOCK(status.st_mode))
        return error_set(error, ERROR_REFUSED,
                         "cannot listen on unix:%s: a file that is no socket is there", path);
    int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool stale = connect(probe, (const struct sockaddr *)address, sizeof *address) != 0 &&
                 errno == ECONNREFUSED;
    close(probe);
    if (!stale)
        return error_set(error, ERROR_REFUSED,
                         "cannot listen on unix:%s: another program listens there", path);
    unlink(path);
    return 0;
}

static int open_unix(struct listener *listener, const struct endpoint *endpoint, mode_t mode,
                     struct rota_error *error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, endpoint->path, sizeof address.sun_path);
    if (lock_path(listener, endpoint->path, error) != 0 || clear_path(&address, error) != 0)
        return -1;
    listener->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* The mode of the descriptor is that of the file from its first moment on. */
    if (listener->fd < 0 || fchmod(listener->fd, 0600) != 0 ||
        bind(listener->fd, (struct sockaddr *)&address, sizeof address) != 0)
        return error_set(error, ERROR_REFUSED, "cannot listen on unix:%s: %s", endpoint->path,
                         strerror(errno));
    listener->path = mem_string(endpoint->path);
    if (chmod(endpoint->path, mode) != 0 || listen(listener->fd, BACKLOG) != 0)
        return error_set(error, ERROR_REFUSED, "cannot listen on unix:%s: %s", endpoint->path,
                         strerror(errno));
    return 0;
}

static int open_tcp(struct listener *listener, const struct endpoint *endpoint,
                    struct rota_error *error)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    int code = getaddrinfo(endpoint->host, endpoint->port, &hints, &found);
    if (code != 0)
        return error_set(error, ERROR_REFUSED, "cannot listen on %s:%s for workers: %s",
                         endpoint->host, endpoint->port, gai_strerror(code));
    int yes = 1;
    listener->fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool failed = listener->fd < 0 ||
                  setsockopt(listener->fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
                  bind(listener->fd, found->ai_addr, found->ai_addrlen) != 0 ||
                  listen(listener->fd, BACKLOG) != 0;
    code = errno;
    freeaddrinfo(found);
    if (failed)
        return error_set(error, ERROR_REFUSED, "cannot listen on %s:%s for workers: %s",
                         endpoint->host, endpoint->port, strerror(code));
    return 0;
}

static void log_open(const struct listener *listener)
{
    char name[ENDPOINT_SIZE];
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof address;
    if (listener->path != NULL) {
        snprintf(name, sizeof name, UNIX_PREFIX "%s", listener->path);
    } else {
        getsockname(listener->fd, (struct sockaddr *)&address, &size);
        tcp_name(&address, name);
    }
    log_info(listener->all->config.log, "listening for workers", LOG_TEXT("address", name));
}

static int open_listener(struct listener *listener, const char *text, struct rota_error *error)
{
    const struct listener_config *config = &listener->all->config;
    struct endpoint endpoint;
    if (parse_endpoint(text, &endpoint, error) != 0)
        return -1;
    int failed = endpoint.tcp ? open_tcp(listener, &endpoint, error)
                              : open_unix(listener, &endpoint, config->socket_mode, error);
    if (failed != 0)
        return -1;
    listener->readable =
        event_new(config->base, listener->fd, EV_READ | EV_PERSIST, on_readable, listener);
    listener->again = event_new(config->base, -1, 0, on_again, listener);
    event_add(listener->readable, NULL);
    log_open(listener);
    return 0;
}

/* --- life --- */

struct listeners *listeners_new(const struct listener_config *config, struct rota_error *error)
{
    size_t count = 0;
    while (config->addresses[count] != NULL)
        count++;
    struct listeners *listeners = mem_alloc(sizeof *listeners);
    *listeners = (struct listeners){.config = *config};
    listeners->list = mem_array(count, sizeof *listeners->list);
    for (; listeners->count < count; listeners->count++)
        listeners->list[listeners->count] =
            (struct listener){.all = listeners, .fd = -1, .lock = -1};
    for (size_t i = 0; i < count; i++) {
        if (open_listener(&listeners->list[i], config->addresses[i], error) != 0) {
            listeners_free(listeners);
            return NULL;
        }
    }
    return listeners;
}

void listeners_free(struct listeners *listeners)
{
    if (listeners == NULL)
        return;
    for (size_t i = 0; i < listeners->count; i++) {
        struct listener *listener = &listeners->list[i];
        if (listener->readable != NULL)
            event_free(listener->readable);
        if (listener->again != NULL)
            event_free(listener->again);
        if (listener->path != NULL)
            unlink(listener->path);
        if (listener->fd >= 0)
            close(listener->fd);
        if (listener->lock >= 0)
            close(listener->lock); /* the file stays: who opened it already must meet our lock */
        free(listener->path);
    }
    free(listeners->list);
    free(listeners);
}
