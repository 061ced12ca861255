/*
 * The handler `http`: one request a run, and one more for each redirect it may follow. Names are
 * resolved first and every address is looked at; libcurl is told these addresses, and asks again
 * for each socket before it connects. So nothing that a name server or a redirect says leads to a
 * target that the node's settings do not allow.
 */
#include "worker/builtin/http.h"

#include "worker/builtin/resolve.h"

#include "base/clock.h"
#include "base/memory.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define HEADER_BYTES_MAX (256 * 1024) /* of one response */
#define CONNECT_MS       10000

/* --- what comes in --- */

static void keep_header(char **place, const char *value, size_t length)
{
    while (length > 0 && strchr(" \t", *value) != NULL)
        value++, length--;
    while (length > 0 && strchr(" \t\r\n", value[length - 1]) != NULL)
        length--;
    free(*place);
    *place = mem_string_n(value, length);
}

static void forget_headers(struct http *http)
{
    free(http->content_type);
    free(http->location);
    free(http->retry_after);
    http->content_type = http->location = http->retry_after = NULL;
}

static size_t on_header(char *line, size_t size, size_t count, void *arg)
{
    struct http *http = arg;
    size_t length = size * count;
    http->header_bytes += length;
    if (http->header_bytes > HEADER_BYTES_MAX)
        return 0;
    if (length > 5 && memcmp(line, "HTTP/", 5) == 0)
        forget_headers(http); /* of an answer that was not the last word */
    struct {
        const char *name;
        char **place;
    } wanted[] = {{"content-type:", &http->content_type},
                  {"location:", &http->location},
                  {"retry-after:", &http->retry_after}};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        size_t name = strlen(wanted[i].name);
        if (length > name && strncasecmp(line, wanted[i].name, name) == 0)
            keep_header(wanted[i].place, line + name, length - name);
    }
    return length;
}

static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
    struct http *http = arg;
    size_t length = size * count, most = (size_t)http->request.response_max, kept = length;
    if (http->received + length > most) {
        http->truncated = true;
        kept = most - http->received;
    }
    http->received += kept;
    size_t room = HTTP_KEPT_MAX - http->body.length;
    buffer_append(&http->body, data, kept < room ? kept : room);
    return http->truncated ? 0 : length; /* 0: the rest is not wanted */
}

/* --- where it goes --- */

static int refuse_address(struct http *http, const struct sockaddr *address)
{
    char text[INET6_ADDRSTRLEN] = "";
    return error_set(&http->refused, ERROR_REFUSED,
                     "%s (%s) is no public address and may not be connected to from this node, as "
                     "the setting http_allow does not name it; add the address or the host",
                     http->target.host, http_address_text(address, text));
}

static int check_address(struct http *http, const struct sockaddr *address)
{
    char *const *allow = http->task.builtin->settings.http_allow;
    return http_target_allowed(address, http->target.host, allow) ? 0
                                                                  : refuse_address(http, address);
}

/* The last word: what is really connected to. */
static curl_socket_t on_connect(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct http *http = arg;
    if (purpose != CURLSOCKTYPE_IPCXN || check_address(http, &address->addr) != 0)
        return CURL_SOCKET_BAD;
    return socket(address->family, address->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
                  address->protocol);
}

/* libcurl's own list of addresses for a name: `host:port:address,address`. */
static void pin_addresses(struct http *http, const struct resolve_answer *answer)
{
    struct buffer pin = {0};
    char text[INET6_ADDRSTRLEN];
    struct sockaddr_storage literal;
    if (resolve_literal(http->target.host, &literal) == 0)
        return;
    buffer_format(&pin, "+%s:%d:", http->target.host, http->target.port);
    for (size_t i = 0; i < answer->count; i++) {
        const struct sockaddr *address = (const struct sockaddr *)&answer->addresses[i];
        bool six = address->sa_family == AF_INET6;
        buffer_format(&pin, "%s%s%s%s", i > 0 ? "," : "", six ? "[" : "",
                      http_address_text(address, text), six ? "]" : "");
    }
    http->pins = curl_slist_append(NULL, buffer_text(&pin));
    buffer_free(&pin);
}

/* --- one request --- */

static void set_headers(struct http *http)
{
    bool same = http_target_same(&http->origin, &http->target);
    for (size_t i = 0; i < http->request.header_count; i++) {
        const struct http_header *header = &http->request.headers[i];
        if ((header->bound && !same) ||
            (header->body && !http->request.has_body && http->redirects > 0))
            continue;
        /* a header without a value is written with a semicolon there */
        char *line =
            mem_format(*header->value != '\0' ? "%s: %s" : "%s;%s", header->name, header->value);
        http->headers = curl_slist_append(http->headers, line);
        explicit_bzero(line, strlen(line));
        free(line);
    }
    http->headers = curl_slist_append(http->headers, "Expect:");
    curl_easy_setopt(http->easy, CURLOPT_HTTPHEADER, http->headers);
}

static void set_method(struct http *http)
{
    CURL *easy = http->easy;
    const struct http_request *request = &http->request;
    if (strcmp(request->method, "HEAD") == 0) {
        curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
        return;
    }
    if (request->has_body) {
        curl_easy_setopt(easy, CURLOPT_POST, 1L);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.length);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS,
                         request->body.length > 0 ? request->body.data : "");
    }
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
}

/*
 * Certificates are always verified, against the system's list or the one that OpenSSL's variables
 * name. A connection serves one request: one that is kept could be taken by another run, and could
 * be dead, so that a request would be sent twice.
 */
static void set_connection(struct http *http)
{
    CURL *easy = http->easy;
    const char *file = getenv("SSL_CERT_FILE"), *directory = getenv("SSL_CERT_DIR");
    if (file != NULL && *file != '\0')
        curl_easy_setopt(easy, CURLOPT_CAINFO, file);
    if (directory != NULL && *directory != '\0')
        curl_easy_setopt(easy, CURLOPT_CAPATH, directory);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_connect);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, http);
    curl_easy_setopt(easy, CURLOPT_RESOLVE, http->pins);
}

static CURL *request_new(struct http *http)
{
    CURL *easy = http->easy = curl_easy_init();
    if (easy == NULL)
        return NULL;
    curl_easy_setopt(easy, CURLOPT_PRIVATE, http);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, http->curl_error);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, http);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, http);
    if (curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") != CURLE_OK ||
        curl_easy_setopt(easy, CURLOPT_URL, http->request.url) != CURLE_OK)
        return NULL;
    set_connection(http);
    set_method(http);
    set_headers(http);
    return easy;
}

void http_close(struct http *http)
{
    resolve_cancel(http->resolve);
    http->resolve = NULL;
    if (http->easy != NULL) {
        http_client_remove(http->task.builtin, http->easy);
        curl_easy_cleanup(http->easy);
    }
    http->easy = NULL;
    curl_slist_free_all(http->headers);
    curl_slist_free_all(http->pins);
    http->headers = http->pins = NULL;
}

static void on_addresses(void *arg, const struct resolve_answer *answer)
{
    struct http *http = arg;
    char why[300];
    http->resolve = NULL;
    if (answer->error != NULL) {
        snprintf(why, sizeof why, "cannot resolve %.200s: %.80s", http->target.host, answer->error);
        http_fail(http, "network", why, false);
        return;
    }
    for (size_t i = 0; i < answer->count; i++) {
        if (check_address(http, (const struct sockaddr *)&answer->addresses[i]) != 0) {
            http_fail(http, "target refused", http->refused.message, true);
            return;
        }
    }
    pin_addresses(http, answer);
    if (request_new(http) == NULL || http_client_add(http->task.builtin, http->easy) != 0)
        http_fail(http, "cannot start", "libcurl could not begin the request", false);
}

void http_open(struct http *http)
{
    http->curl_error[0] = '\0';
    http->status = 0;
    http->header_bytes = http->received = 0;
    http->truncated = false;
    buffer_clear(&http->body);
    forget_headers(http);
    http->resolve = resolve_start(http->task.builtin, http->target.host, on_addresses, http);
}

/* --- a run --- */

void http_free(struct http *http)
{
    task_close(&http->task);
    http_close(http);
    event_free(http->timer);
    forget_headers(http);
    http_request_free(&http->request);
    http_target_free(&http->origin);
    http_target_free(&http->target);
    buffer_free(&http->body);
    free(http);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct http *http = arg;
    http_fail(http, "timeout",
              http->status != 0 || http->header_bytes > 0
                  ? "the answer did not end within \"timeout\""
                  : "no answer came within \"timeout\"",
              false);
}

static void http_cancel(struct task *task, struct slice reason)
{
    char *text = mem_string_n(reason.length > 0 ? reason.data : "cancelled",
                              reason.length > 0 ? reason.length : strlen("cancelled"));
    http_fail((struct http *)task, "cancelled", text, false);
    free(text);
}

static void http_abandon(struct task *task)
{
    http_free((struct http *)task);
}

static void http_start(struct builtin *builtin, const struct protocol_message *message)
{
    struct rota_error error = {0};
    struct http *http = mem_alloc(sizeof *http);
    http->task =
        (struct task){.handler = &http_handler, .cancel = http_cancel, .abandon = http_abandon};
    int failed = http_request_read(&http->request, message->line, &builtin->settings, &error);
    if (failed == 0)
        failed = http_target_read(&http->target, http->request.url, &error);
    if (failed != 0) {
        struct builtin_failure said = {.exception = "bad data",
                                       .message = slice_of(error.message),
                                       .final = error.code == ERROR_REFUSED};
        builtin_fail(builtin, message->id, message->fence, &said);
        http_request_free(&http->request);
        free(http);
        return;
    }
    http->origin = http->target;
    http->origin.host = mem_string(http->target.host);
    task_open(&http->task, builtin, message);
    struct timeval wait = clock_timeval(http->request.timeout_us);
    http->timer = event_new(builtin->base, -1, 0, on_timer, http);
    event_add(http->timer, &wait);
    http_open(http);
}

const struct builtin_handler http_handler = {.name = "http", .start = http_start};
