/* The way to a node: see rota_link.h. */
#include "worker/sdk/rota_link.h"

#include "worker/sdk/rota_worker.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define READ_SIZE 65536

int rota_link_error(struct rota_link *link, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(link->error, sizeof link->error, format, arguments);
    va_end(arguments);
    return -1;
}

static char *copy_text(const char *text, size_t length)
{
    char *copy = rota_memory(NULL, length + 1);
    memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

static void read_token(struct rota_link *link, const char *path)
{
    char text[300];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd >= 0 ? read(fd, text, sizeof text) : -1;
    if (length < 0)
        rota_link_error(link, "cannot read the token in %s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    while (length > 0 && strchr(" \t\r\n", text[length - 1]) != NULL)
        length--;
    if (length > 0)
        link->token = copy_text(text, (size_t)length);
}

/* Nobody but the protocol may use these: what a library prints would be no message. */
static void take_standard(struct rota_link *link)
{
    int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    link->in = fcntl(0, F_DUPFD_CLOEXEC, 3);
    link->out = fcntl(1, F_DUPFD_CLOEXEC, 3);
    if (link->in < 0 || link->out < 0 || nothing < 0 || dup2(nothing, 0) < 0 || dup2(2, 1) < 0)
        rota_link_error(link, "cannot use standard input and output: %s", strerror(errno));
    if (nothing > 2)
        close(nothing);
}

void rota_link_init(struct rota_link *link)
{
    const char *addresses = getenv("ROTA_WORKER_SOCKET"), *token = getenv("ROTA_WORKER_TOKEN");
    const char *file = getenv("ROTA_WORKER_TOKEN_FILE");
    *link = (struct rota_link){.in = -1, .out = -1};
    if (addresses == NULL || *addresses == '\0') {
        take_standard(link);
        return;
    }
    link->addresses = copy_text(addresses, strlen(addresses));
    if (token != NULL && *token != '\0')
        link->token = copy_text(token, strlen(token));
    else if (file != NULL && *file != '\0')
        read_token(link, file);
}

void rota_link_free(struct rota_link *link)
{
    rota_link_close(link);
    rota_text_free(&link->read);
    free(link->addresses);
    free(link->token);
}

void rota_link_close(struct rota_link *link)
{
    if (link->in >= 0)
        close(link->in);
    if (link->out >= 0 && link->out != link->in)
        close(link->out);
    link->in = link->out = -1;
    link->read.length = link->at = 0;
}

/* --- sockets --- */

static int connect_unix(struct rota_link *link, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return rota_link_error(link, "unix:%s is longer than a path may be", path);
    memcpy(address.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    rota_link_error(link, "cannot connect to unix:%s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

static int connect_one(const struct addrinfo *at)
{
    const int yes = 1, idle_s = 10;
    int fd = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, at->ai_protocol);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof yes); /* a node may vanish */
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (connect(fd, at->ai_addr, at->ai_addrlen) == 0)
        return fd;
    int code = errno;
    close(fd);
    errno = code;
    return -1;
}

static int connect_tcp(struct rota_link *link, const char *address)
{
    const char *colon = strrchr(address, ':');
    if (colon == NULL)
        return rota_link_error(link, "\"%s\" is neither unix:/path nor host:port", address);
    bool brackets = address[0] == '[' && colon > address + 1 && colon[-1] == ']';
    char *host = copy_text(address + brackets, (size_t)(colon - address) - 2 * brackets);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    int code = getaddrinfo(host, colon + 1, &hints, &found), fd = -1;
    free(host);
    for (const struct addrinfo *at = found; at != NULL && fd < 0; at = at->ai_next)
        fd = connect_one(at);
    if (fd < 0)
        rota_link_error(link, "cannot connect to %s: %s", address,
                        code != 0 ? gai_strerror(code) : strerror(errno));
    if (found != NULL)
        freeaddrinfo(found);
    return fd;
}

int rota_link_open(struct rota_link *link)
{
    if (link->addresses == NULL)
        return link->in >= 0 && link->error[0] == '\0' ? 0 : -1;
    rota_link_close(link);
    const char *from = link->addresses + link->next;
    size_t length = strcspn(from, ",");
    char *address = copy_text(from, length);
    link->next = from[length] == ',' ? link->next + length + 1 : 0;
    link->over_tcp = strncmp(address, "unix:", 5) != 0;
    int fd = link->over_tcp ? connect_tcp(link, address) : connect_unix(link, address + 5);
    free(address);
    link->in = link->out = fd;
    return fd >= 0 ? 0 : -1;
}

/* --- lines --- */

int rota_link_send(struct rota_link *link, const struct rota_text *line)
{
    size_t done = 0;
    while (done < line->length && link->out >= 0) {
        const char *rest = line->data + done;
        ssize_t sent = send(link->out, rest, line->length - done, MSG_NOSIGNAL);
        if (sent < 0 && errno == ENOTSOCK)
            sent = write(link->out, rest, line->length - done);
        if (sent > 0)
            done += (size_t)sent;
        else if (errno != EINTR)
            rota_link_close(link);
    }
    return link->out >= 0 ? 0 : -1;
}

static const char *take_line(struct rota_link *link)
{
    char *from = link->read.data + link->at;
    char *end =
        link->read.length > link->at ? memchr(from, '\n', link->read.length - link->at) : NULL;
    if (end == NULL)
        return NULL;
    *end = '\0';
    link->at = (size_t)(end - link->read.data) + 1;
    return from;
}

const char *rota_link_line(struct rota_link *link, int timeout_ms)
{
    char bytes[READ_SIZE];
    for (;;) {
        const char *line = link->in >= 0 ? take_line(link) : NULL;
        if (line != NULL || link->in < 0)
            return line;
        if (link->at > 0) {
            link->read.length -= link->at;
            memmove(link->read.data, link->read.data + link->at, link->read.length);
            link->at = 0;
        }
        struct pollfd readable = {.fd = link->in, .events = POLLIN};
        if (link->read.length > ROTA_LINE_MAX)
            rota_link_close(link);
        else if (poll(&readable, 1, timeout_ms) <= 0)
            return NULL;
        ssize_t got = link->in >= 0 ? read(link->in, bytes, sizeof bytes) : 0;
        if (got > 0)
            rota_text_put(&link->read, bytes, (size_t)got);
        else if (got == 0 || errno != EINTR)
            rota_link_close(link);
    }
}
