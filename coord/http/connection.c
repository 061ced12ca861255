/*
 * The connections of clients: see connection.h. evhttp tells of a connection when its first request
 * is whole, which half-open ones never have. But it asks for the bufferevent of each new one, and
 * makes the connection the argument of that bufferevent's callbacks: there it is found, a moment
 * later.
 */
#include "coord/http/connection.h"

#include "base/clock.h"
#include "base/list.h"
#include "base/memory.h"

#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <stdlib.h>

struct web_connection {
    struct list link; /* of new ones, quiet ones (longest first) or busy ones */
    struct web_connections *all;
    struct bufferevent *buffers;
    struct evhttp_connection *evhttp; /* NULL: new */
    struct event *timer;
    void (*closed)(void *arg); /* NULL: nobody asks */
    void *closed_arg;
};

struct web_connections {
    struct event_base *base;
    struct bufferevent *(*open)(void *arg);
    void *open_arg;
    struct event *adopt;
    struct list fresh, quiet, busy;
    size_t count;
    uint64_t refused;
};

static void forget(struct web_connection *connection)
{
    connection->all->count--;
    list_remove(&connection->link);
    event_free(connection->timer);
    free(connection);
}

static void on_closed(struct evhttp_connection *evhttp, void *arg)
{
    struct web_connection *connection = arg;
    (void)evhttp;
    if (connection->closed != NULL)
        connection->closed(connection->closed_arg);
    forget(connection);
}

static void on_time(evutil_socket_t fd, short what, void *arg)
{
    struct web_connection *connection = arg;
    (void)fd;
    (void)what;
    evhttp_connection_free(connection->evhttp); /* calls on_closed() */
}

static void time_left(struct web_connection *connection, int64_t left_us)
{
    struct timeval left = clock_timeval(left_us);
    evtimer_add(connection->timer, &left);
}

/* Finds the evhttp_connection of a new one; one that has ended meanwhile is none. */
static void adopt(struct web_connection *connection)
{
    bufferevent_data_cb read_callback, write_callback;
    bufferevent_event_cb event_callback;
    void *evhttp = NULL;
    struct web_connections *all = connection->all;
    struct bufferevent *buffers = connection->buffers;
    bufferevent_getcb(buffers, &read_callback, &write_callback, &event_callback, &evhttp);
    if (read_callback == NULL || evhttp == NULL) {
        forget(connection);
    } else {
        connection->evhttp = evhttp;
        evhttp_connection_set_closecb(connection->evhttp, on_closed, connection);
        list_remove(&connection->link);
        list_append(&all->quiet, &connection->link);
        time_left(connection, WEB_REQUEST_US);
    }
    bufferevent_decref(buffers);
}

static void adopt_all(struct web_connections *all)
{
    while (!list_empty(&all->fresh))
        adopt(LIST_ITEM(all->fresh.next, struct web_connection, link));
}

static void on_adopt(evutil_socket_t fd, short what, void *arg)
{
    struct web_connections *all = arg;
    (void)fd;
    (void)what;
    adopt_all(all);
    while (all->count > WEB_CONNECTIONS_MAX && !list_empty(&all->quiet)) {
        all->refused++;
        evhttp_connection_free(LIST_ITEM(all->quiet.next, struct web_connection, link)->evhttp);
    }
}

/* evhttp asks for the bufferevent of a connection it has just accepted. */
static struct bufferevent *on_open(struct event_base *base, void *arg)
{
    struct web_connections *all = arg;
    struct bufferevent *buffers = all->open != NULL ? all->open(all->open_arg) : NULL;
    if (buffers == NULL)
        buffers = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
    struct web_connection *connection = mem_alloc(sizeof *connection);
    *connection = (struct web_connection){.all = all, .buffers = buffers};
    connection->timer = evtimer_new(base, on_time, connection);
    bufferevent_incref(buffers); /* until it is adopted */
    list_init(&connection->link);
    list_append(&all->fresh, &connection->link);
    all->count++;
    event_active(all->adopt, EV_TIMEOUT, 0);
    return buffers;
}

struct web_connections *web_connections_new(struct event_base *base, struct evhttp *http,
                                            struct bufferevent *(*open)(void *arg), void *arg)
{
    struct web_connections *all = mem_alloc(sizeof *all);
    *all = (struct web_connections){.base = base, .open = open, .open_arg = arg};
    list_init(&all->fresh);
    list_init(&all->quiet);
    list_init(&all->busy);
    all->adopt = evtimer_new(base, on_adopt, all);
    evhttp_set_bevcb(http, on_open, all);
    return all;
}

void web_connections_forget(struct web_connections *connections)
{
    LIST_EACH (&connections->busy, struct web_connection, link, connection)
        connection->closed = NULL;
}

void web_connections_free(struct web_connections *connections)
{
    if (connections == NULL)
        return;
    adopt_all(connections); /* none of them has an evhttp_connection any more */
    event_free(connections->adopt);
    free(connections);
}

size_t web_connections_count(const struct web_connections *connections)
{
    return connections->count;
}

uint64_t web_connections_refused(const struct web_connections *connections)
{
    return connections->refused;
}

struct web_connection *web_connection_of(struct web_connections *connections,
                                         struct evhttp_request *request, void (*closed)(void *arg),
                                         void *arg)
{
    struct evhttp_connection *evhttp = evhttp_request_get_connection(request);
    adopt_all(connections);
    LIST_EACH (&connections->quiet, struct web_connection, link, connection) {
        if (connection->evhttp != evhttp)
            continue;
        list_remove(&connection->link);
        list_append(&connections->busy, &connection->link);
        event_del(connection->timer);
        connection->closed = closed;
        connection->closed_arg = arg;
        return connection;
    }
    return NULL;
}

void web_connection_writes(struct web_connection *connection)
{
    time_left(connection, WEB_WRITE_US);
}

void web_connection_took(struct web_connection *connection)
{
    event_del(connection->timer);
}

static void on_complete(struct evhttp_request *request, void *arg)
{
    struct web_connection *connection = arg;
    (void)request;
    list_remove(&connection->link);
    list_append(&connection->all->quiet, &connection->link);
    time_left(connection, WEB_IDLE_US);
}

void web_connection_answered(struct web_connection *connection, struct evhttp_request *request)
{
    connection->closed = NULL;
    evhttp_request_set_on_complete_cb(request, on_complete, connection);
    web_connection_writes(connection);
}
