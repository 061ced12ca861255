/*
 * The node's HTTP server, on a thread of its own with a loop and a database connection of its own,
 * so that no client can delay a firing. It shares nothing with the coordinator but the messages of
 * this header.
 */
#ifndef COORD_HTTP_SERVER_H
#define COORD_HTTP_SERVER_H

#include "base/error.h"
#include "base/log.h"
#include "store/pooler.h"

#include <stdbool.h>

struct http_server;
struct metric_set;

/* The texts are the caller's and stay for as long as the server. */
struct http_config {
    const char *listen; /* "host:port"; port 0: the kernel chooses */
    const char *node;
    const char *database_url;
    const char *schema;
    enum store_pooler pooler;
    const char *tls_cert, *tls_key;   /* PEM files; NULL: no TLS */
    const struct metric_set *metrics; /* the node's own */
    const struct log *log;
};

/* Binds and serves. NULL with error, e.g. a port in use. */
struct http_server *http_server_new(const struct http_config *config, struct rota_error *error);
const char *http_server_url(const struct http_server *server); /* http://127.0.0.1:8300 */

/* Called by the coordinator at every beat: that it turns, and whether it is ready (reason: why
 * not). */
void http_server_status(struct http_server *server, bool ready, const char *reason);
void http_server_reload(
    struct http_server *server); /* level of the log, files of TLS; NULL is fine */

void http_server_free(struct http_server *server); /* stops the thread; NULL is fine */

#endif
