/* The HTTP server's thread, its socket and what the coordinator tells it: see server.h. */
#include "coord/http/event_stream.h"
#include "coord/http/inside.h"
#include "coord/http/scrape.h"
#include "coord/http/tls.h"

#include "base/clock.h"
#include "base/memory.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define HEADERS_MAX   16384
#define BODY_MAX      (1u << 20) /* runs take 256 KiB of data each; what is more goes by SQL */
#define EVHTTP_TIME_S 65         /* beyond those of connection.h, which know more */

/* ---- the socket ---- */

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
    const char *scheme = server->tls != NULL ? "https" : "http";
    getsockname(fd, (struct sockaddr *)&address, &length);
    if (address.ss_family == AF_INET6) {
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address;
        inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
        server->url = mem_format("%s://[%s]:%u", scheme, text, ntohs(v6->sin6_port));
    } else {
        struct sockaddr_in *v4 = (struct sockaddr_in *)&address;
        inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
        server->url = mem_format("%s://%s:%u", scheme, text, ntohs(v4->sin_port));
    }
}

static int bind_to(struct http_server *server, const char *listen, struct rota_error *error)
{
    uint16_t port;
    if (split(listen, server->host, sizeof server->host, &port) != 0)
        return error_set(
            error, ERROR_USAGE,
            "http_listen \"%s\" cannot be read: write host:port, e.g. 127.0.0.1:8300, or none",
            listen);
    struct evhttp_bound_socket *bound =
        evhttp_bind_socket_with_handle(server->http, server->host, port);
    if (bound == NULL)
        return error_set(
            error, ERROR_REFUSED,
            "cannot listen on %s: %s; choose another with --http-listen (port 0: any free one)",
            listen, strerror(errno));
    find_url(server, evhttp_bound_socket_get_fd(bound));
    return 0;
}

/* ---- the thread ---- */

static void on_request(struct evhttp_request *evhttp, void *arg)
{
    web_request_begin(arg, evhttp);
}

static void reload(struct http_server *server)
{
    struct rota_error error = {0};
    log_set_level(&server->log, log_level(server->config.log));
    if (server->tls == NULL)
        return;
    if (web_tls_reload(server->tls, &error) == 0)
        log_info(&server->log, "http certificate read again",
                 LOG_TEXT("path", server->config.tls_cert));
    else
        log_error(&server->log, "http certificate stays as it was",
                  LOG_TEXT("error", error.message));
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    struct http_server *server = arg;
    uint64_t count;
    (void)what;
    if (read(fd, &count, sizeof count) < 0 && errno != EAGAIN)
        log_warn(&server->log, "cannot read an eventfd", LOG_TEXT("error", strerror(errno)));
    pthread_mutex_lock(&server->lock);
    bool stop = server->stop, again = server->reload;
    server->reload = false;
    pthread_mutex_unlock(&server->lock);
    if (again)
        reload(server);
    web_actions_answer(server->actions);
    if (stop)
        event_base_loopbreak(server->base);
}

void http_server_wake(struct http_server *server)
{
    uint64_t one = 1;
    while (write(server->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

static void *serve(void *arg)
{
    struct http_server *server = arg;
    event_base_dispatch(server->base);
    return NULL;
}

/* Lists that take too long are refused by the server; they hold up other readers, and no firing. */
static struct store *open_store(struct http_server *server)
{
    char name[64];
    snprintf(name, sizeof name, "rota serve %.48s", server->config.node);
    const struct store_config config = {
        .base = server->base,
        .log = &server->log,
        .url = server->config.database_url,
        .schema = server->config.schema,
        .role_name = "serve",
        .application_name = name,
        .pooler = server->config.pooler,
        .writes = true,
        .options =
            "-c timezone=UTC -c synchronous_commit=off -c statement_timeout=10s -c lock_timeout=5s "
            "-c idle_in_transaction_session_timeout=5s -c random_page_cost=1.1 "
            "-c tcp_keepalives_idle=3 -c tcp_keepalives_interval=1 -c tcp_keepalives_count=3 "
            "-c tcp_user_timeout=5000 -c client_connection_check_interval=1s",
        .answer_timeout_us = 15 * US_PER_SECOND,
        .arg = server,
    };
    return store_new(&config);
}

static int open_tls(struct http_server *server, struct rota_error *error)
{
    const char *cert = server->config.tls_cert, *key = server->config.tls_key;
    if (cert == NULL && key == NULL)
        return 0;
    if (cert == NULL || key == NULL)
        return error_set(error, ERROR_USAGE,
                         "http_tls_cert and http_tls_key go together: %s is not given",
                         cert == NULL ? "http_tls_cert" : "http_tls_key");
    server->tls = web_tls_new(cert, key, error);
    return server->tls != NULL ? 0 : -1;
}

static struct bufferevent *open_connection(void *arg)
{
    struct http_server *server = arg;
    return web_tls_open(server->tls, server->base);
}

static void open_http(struct http_server *server)
{
    server->http = evhttp_new(server->base);
    evhttp_set_max_headers_size(server->http, HEADERS_MAX);
    evhttp_set_max_body_size(server->http, BODY_MAX);
    evhttp_set_timeout(server->http, EVHTTP_TIME_S);
    evhttp_set_allowed_methods(server->http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD | EVHTTP_REQ_POST |
                                                 EVHTTP_REQ_DELETE | EVHTTP_REQ_PUT |
                                                 EVHTTP_REQ_PATCH | EVHTTP_REQ_OPTIONS);
    evhttp_set_gencb(server->http, on_request, server);
    server->connections = web_connections_new(server->base, server->http,
                                              server->tls != NULL ? open_connection : NULL, server);
}

static int start(struct http_server *server, struct rota_error *error)
{
    sigset_t all, old; /* signals are the coordinator's */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int failed = pthread_create(&server->thread, NULL, serve, server);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (failed != 0)
        return error_set(error, ERROR_REFUSED, "cannot start the HTTP thread: %s",
                         strerror(failed));
    server->started = true;
    return 0;
}

struct http_server *http_server_new(const struct http_config *config, struct rota_error *error)
{
    struct http_server *server = mem_alloc(sizeof *server);
    server->config = *config;
    server->log = *config->log;
    list_init(&server->requests);
    pthread_mutex_init(&server->lock, NULL);
    server->beaten_us = clock_monotonic_us();
    snprintf(server->reason, sizeof server->reason, "starting");
    server->base = event_base_new();
    server->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    server->wake = event_new(server->base, server->wake_fd, EV_READ | EV_PERSIST, on_wake, server);
    event_add(server->wake, NULL);
    server->access = web_access_new();
    server->actions = web_actions_new(server);
    int failed = open_tls(server, error);
    open_http(server);
    if (failed == 0 && bind_to(server, config->listen, error) == 0) {
        server->store = open_store(server);
        server->scrape = scrape_new(server->base, server->store, config->metrics);
        server->events = event_hub_new(server->base, server->store);
        if (start(server, error) == 0)
            return server;
    }
    http_server_free(server);
    return NULL;
}

/* ---- what the coordinator says ---- */

const char *http_server_url(const struct http_server *server)
{
    return server->url;
}

void http_server_status(struct http_server *server, bool ready, const char *reason)
{
    pthread_mutex_lock(&server->lock);
    server->beaten_us = clock_monotonic_us();
    server->ready = ready;
    snprintf(server->reason, sizeof server->reason, "%s", reason != NULL ? reason : "");
    pthread_mutex_unlock(&server->lock);
}

void http_server_reload(struct http_server *server)
{
    if (server == NULL)
        return;
    pthread_mutex_lock(&server->lock);
    server->reload = true;
    pthread_mutex_unlock(&server->lock);
    http_server_wake(server);
}

static void stop(struct http_server *server)
{
    if (!server->started)
        return;
    pthread_mutex_lock(&server->lock);
    server->stop = true;
    pthread_mutex_unlock(&server->lock);
    http_server_wake(server);
    pthread_join(server->thread, NULL);
}

/* Readers of events are told that this node stops: that leaves now or not at all. */
static void end_events(struct http_server *server)
{
    if (server->events == NULL)
        return;
    event_hub_end(server->events);
    for (int turn = 0; turn < 3; turn++)
        event_base_loop(server->base, EVLOOP_NONBLOCK);
}

void http_server_free(struct http_server *server)
{
    if (server == NULL)
        return;
    stop(server);
    end_events(server);
    web_actions_free(server->actions);
    store_free(server->store);
    scrape_free(server->scrape);
    LIST_EACH (&server->requests, struct web_request, link, request) {
        request->connection = NULL;
        web_request_end(request);
    }
    event_hub_free(server->events);
    web_access_free(server->access);
    web_connections_forget(server->connections);
    evhttp_free(server->http);
    web_connections_free(server->connections);
    web_tls_free(server->tls);
    event_free(server->wake);
    close(server->wake_fd);
    event_base_free(server->base);
    pthread_mutex_destroy(&server->lock);
    free(server->url);
    free(server);
}
