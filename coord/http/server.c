/* /healthz and /readyz on a thread of their own: see server.h. */
#include "coord/http/server.h"

#include "coord/http/watch.h"

#include "base/buffer.h"
#include "base/clock.h"
#include "base/memory.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/buffer.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define STUCK_US         (15 * US_PER_SECOND) /* the coordinator beats every few seconds: it hangs */
#define HEADERS_MAX      16384
#define BODY_MAX         4096 /* nothing here takes a body */
#define CLIENT_TIMEOUT_S 10

struct http_server {
    struct event_base *base;
    struct evhttp *http;
    struct event *stop_event;
    struct http_watch *watch;
    int stop_fd;
    pthread_t thread;
    char *url;
    pthread_mutex_t lock; /* of the fields below */
    int64_t beaten_us;
    bool ready;
    char reason[200];
};

static void reply(struct evhttp_request *request, int status, const char *reason, const char *text)
{
    struct evbuffer *body = evbuffer_new();
    evbuffer_add_printf(body, "%s\n", text);
    struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
    evhttp_add_header(headers, "Content-Type", "text/plain; charset=utf-8");
    evhttp_add_header(headers, "Cache-Control", "no-store");
    evhttp_send_reply(request, status, reason, body);
    evbuffer_free(body);
}

static void on_healthz(struct evhttp_request *request, void *arg)
{
    struct http_server *server = arg;
    pthread_mutex_lock(&server->lock);
    int64_t age = clock_monotonic_us() - server->beaten_us;
    pthread_mutex_unlock(&server->lock);
    if (age < STUCK_US)
        reply(request, HTTP_OK, "OK", "ok");
    else
        reply(request, HTTP_SERVUNAVAIL, "Service Unavailable",
              "the coordinator's loop does not turn");
}

static void on_readyz(struct evhttp_request *request, void *arg)
{
    struct http_server *server = arg;
    char reason[sizeof server->reason];
    pthread_mutex_lock(&server->lock);
    bool ready = server->ready;
    memcpy(reason, server->reason, sizeof reason);
    if (clock_monotonic_us() - server->beaten_us >= STUCK_US) {
        ready = false;
        strncpy(reason, "the coordinator's loop does not turn", sizeof reason - 1);
    }
    pthread_mutex_unlock(&server->lock);
    if (ready)
        reply(request, HTTP_OK, "OK", "ready");
    else
        reply(request, HTTP_SERVUNAVAIL, "Service Unavailable", reason);
}

static void on_other(struct evhttp_request *request, void *arg)
{
    (void)arg;
    reply(request, HTTP_NOTFOUND, "Not Found", "Not found.");
}

static void on_stop(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    event_base_loopbreak(((struct http_server *)arg)->base);
}

static void *serve(void *arg)
{
    struct http_server *server = arg;
    event_base_dispatch(server->base);
    return NULL;
}

/* Splits "host:port" and "[v6]:port". 0 or -1. */
static int split(const char *listen, char *host, size_t size, uint16_t *ret_port)
{
    const char *colon = strrchr(listen, ':');
    if (colon == NULL || colon == listen)
        return -1;
    const char *from = listen, *to = colon;
    if (*from == '[' && to[-1] == ']') {
        from++;
        to--;
    }
    char *end;
    errno = 0;
    unsigned long port = strtoul(colon + 1, &end, 10);
    if (colon[1] == '\0' || *end != '\0' || errno != 0 || port > 65535 ||
        (size_t)(to - from) >= size)
        return -1;
    memcpy(host, from, (size_t)(to - from));
    host[to - from] = '\0';
    *ret_port = (uint16_t)port;
    return 0;
}

static void find_url(struct http_server *server, evutil_socket_t fd)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    char text[INET6_ADDRSTRLEN] = "";
    getsockname(fd, (struct sockaddr *)&address, &length);
    if (address.ss_family == AF_INET6) {
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address;
        inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
        server->url = mem_format("http://[%s]:%u", text, ntohs(v6->sin6_port));
    } else {
        struct sockaddr_in *v4 = (struct sockaddr_in *)&address;
        inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
        server->url = mem_format("http://%s:%u", text, ntohs(v4->sin_port));
    }
}

static int bind_to(struct http_server *server, const char *listen, struct rota_error *error)
{
    char host[256];
    uint16_t port;
    if (split(listen, host, sizeof host, &port) != 0)
        return error_set(
            error, ERROR_USAGE,
            "http_listen \"%s\" cannot be read: write host:port, e.g. 127.0.0.1:8300, or none",
            listen);
    struct evhttp_bound_socket *bound = evhttp_bind_socket_with_handle(server->http, host, port);
    if (bound == NULL)
        return error_set(
            error, ERROR_REFUSED,
            "cannot listen on %s: %s; choose another with --http-listen (port 0: any free one)",
            listen, strerror(errno));
    find_url(server, evhttp_bound_socket_get_fd(bound));
    return 0;
}

struct http_server *http_server_new(const char *listen, const struct http_sources *sources,
                                    struct rota_error *error)
{
    struct http_server *server = mem_alloc(sizeof *server);
    pthread_mutex_init(&server->lock, NULL);
    server->beaten_us = clock_monotonic_us();
    strncpy(server->reason, "starting", sizeof server->reason - 1);
    server->base = event_base_new();
    server->http = evhttp_new(server->base);
    evhttp_set_max_headers_size(server->http, HEADERS_MAX);
    evhttp_set_max_body_size(server->http, BODY_MAX);
    evhttp_set_timeout(server->http, CLIENT_TIMEOUT_S);
    evhttp_set_allowed_methods(server->http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD);
    evhttp_set_cb(server->http, "/healthz", on_healthz, server);
    evhttp_set_cb(server->http, "/readyz", on_readyz, server);
    server->watch = http_watch_new(server->base, sources);
    evhttp_set_cb(server->http, "/metrics", http_watch_metrics, server->watch);
    evhttp_set_cb(server->http, "/api/events", http_watch_events, server->watch);
    evhttp_set_gencb(server->http, on_other, server);
    server->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    server->stop_event = event_new(server->base, server->stop_fd, EV_READ, on_stop, server);
    event_add(server->stop_event, NULL);
    if (bind_to(server, listen, error) != 0) {
        server->thread = 0;
        http_server_free(server);
        return NULL;
    }
    sigset_t all, old; /* signals are the coordinator's */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int failed = pthread_create(&server->thread, NULL, serve, server);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (failed != 0) {
        server->thread = 0;
        http_server_free(server);
        error_set(error, ERROR_REFUSED, "cannot start the HTTP thread: %s", strerror(failed));
        return NULL;
    }
    return server;
}

const char *http_server_url(const struct http_server *server)
{
    return server->url;
}

void http_server_status(struct http_server *server, bool ready, const char *reason)
{
    pthread_mutex_lock(&server->lock);
    server->beaten_us = clock_monotonic_us();
    server->ready = ready;
    memset(server->reason, 0, sizeof server->reason);
    strncpy(server->reason, reason != NULL ? reason : "", sizeof server->reason - 1);
    pthread_mutex_unlock(&server->lock);
}

void http_server_free(struct http_server *server)
{
    if (server == NULL)
        return;
    if (server->thread != 0) {
        uint64_t one = 1;
        if (write(server->stop_fd, &one, sizeof one) == sizeof one)
            pthread_join(server->thread, NULL);
    }
    http_watch_free(server->watch);
    evhttp_free(server->http);
    event_free(server->stop_event);
    close(server->stop_fd);
    event_base_free(server->base);
    pthread_mutex_destroy(&server->lock);
    free(server->url);
    free(server);
}
