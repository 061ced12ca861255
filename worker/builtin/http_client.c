/*
 * libcurl on the worker's loop: its sockets and its timer are events, all requests of the worker
 * share one handle, and none waits for another.
 */
#include "worker/builtin/http.h"

#include "base/memory.h"

#include <assert.h>
#include <stdlib.h>

struct http_client {
    struct builtin *builtin;
    CURLM *multi;
    struct event *timer;
};

static void finish_ended(struct http_client *client)
{
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(client->multi, &left)) != NULL) {
        if (message->msg != CURLMSG_DONE)
            continue;
        struct http *http = NULL;
        CURLcode code = message->data.result; /* the message is gone once the handle is removed */
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &http);
        assert(http != NULL);
        http_ended(http, code);
    }
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct http_client *client = arg;
    int running;
    curl_multi_socket_action(client->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    finish_ended(client);
}

static void on_socket(evutil_socket_t fd, short what, void *arg)
{
    struct http_client *client = arg;
    int running,
        action = (what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0);
    curl_multi_socket_action(client->multi, fd, action, &running);
    finish_ended(client);
}

static int watch_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
    (void)easy;
    struct http_client *client = arg;
    struct event *event = known;
    if (event != NULL)
        event_free(event);
    event = NULL;
    if (what != CURL_POLL_REMOVE) {
        short wanted = (short)((what & CURL_POLL_IN ? EV_READ : 0) |
                               (what & CURL_POLL_OUT ? EV_WRITE : 0) | EV_PERSIST);
        event = event_new(client->builtin->base, fd, wanted, on_socket, client);
        event_add(event, NULL);
    }
    curl_multi_assign(client->multi, fd, event);
    return 0;
}

static int set_timer(CURLM *multi, long timeout_ms, void *arg)
{
    (void)multi;
    struct http_client *client = arg;
    struct timeval wait = {timeout_ms / 1000, timeout_ms % 1000 * 1000};
    if (timeout_ms < 0)
        event_del(client->timer);
    else
        event_add(client->timer, &wait);
    return 0;
}

static struct http_client *client_of(struct builtin *builtin)
{
    if (builtin->http != NULL)
        return builtin->http;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return NULL;
    struct http_client *client = mem_alloc(sizeof *client);
    client->builtin = builtin;
    client->multi = curl_multi_init();
    client->timer = event_new(builtin->base, -1, 0, on_timer, client);
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, set_timer);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
    builtin->http = client;
    return client;
}

int http_client_add(struct builtin *builtin, CURL *easy)
{
    struct http_client *client = client_of(builtin);
    if (client == NULL || client->multi == NULL)
        return -1;
    return curl_multi_add_handle(client->multi, easy) == CURLM_OK ? 0 : -1;
}

void http_client_remove(struct builtin *builtin, CURL *easy)
{
    if (builtin->http != NULL)
        curl_multi_remove_handle(builtin->http->multi, easy);
}

void http_client_free(struct http_client *client)
{
    if (client == NULL)
        return;
    curl_multi_cleanup(client->multi);
    event_free(client->timer);
    free(client);
}
