/*
 * The connections of clients, counted and timed: what evhttp (libevent 2.1.12) has no means for. A
 * connection is half open until its request is whole, busy until that is answered, idle then. When
 * there are too many, the one that has been half open or idle the longest makes room, so that no
 * number of silent clients shuts out the next probe.
 */
#ifndef COORD_HTTP_CONNECTION_H
#define COORD_HTTP_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct evhttp;
struct evhttp_connection;
struct evhttp_request;
struct event_base;
struct bufferevent;
struct web_connections;

#define WEB_CONNECTIONS_MAX 256 /* descriptors are shared with the coordinator, which has 1,024 */
#define WEB_REQUEST_US      INT64_C(15000000) /* from the first byte to the last, TLS included */
#define WEB_IDLE_US         INT64_C(60000000) /* between two requests */
#define WEB_WRITE_US        INT64_C(60000000) /* for a client to take an answer, or a piece of one */

/* `open` makes the bufferevent of a new connection (TLS); NULL: a plain one. */
struct web_connections *web_connections_new(struct event_base *base, struct evhttp *http,
                                            struct bufferevent *(*open)(void *arg), void *arg);
/* Nobody is to be called any more when one closes. */
void web_connections_forget(struct web_connections *connections);
void web_connections_free(struct web_connections *connections); /* after the evhttp; NULL is fine */
size_t web_connections_count(const struct web_connections *connections);
uint64_t web_connections_refused(const struct web_connections *connections); /* made room, ever */

/*
 * A request has come in whole: its connection is busy. `closed` is called when it closes before
 * web_connection_answered(): then evhttp keeps the request for us if it has no connection any more,
 * and frees it otherwise.
 */
struct web_connection;
struct web_connection *web_connection_of(struct web_connections *connections,
                                         struct evhttp_request *request, void (*closed)(void *arg),
                                         void *arg);
/* The answer, or the next piece of it, is on its way: it may take WEB_WRITE_US. */
void web_connection_writes(struct web_connection *connection);
/* The piece was taken; the next one may take its time to come. */
void web_connection_took(struct web_connection *connection);
/* Nobody waits for its end any more; evhttp says when it is idle. */
void web_connection_answered(struct web_connection *connection, struct evhttp_request *request);

#endif
