/*
 * The node's HTTP server, on a thread of its own so that no client can delay a firing. It shares
 * nothing with the coordinator but the messages of this header.
 */
#ifndef COORD_HTTP_SERVER_H
#define COORD_HTTP_SERVER_H

#include "base/error.h"

#include <stdbool.h>

struct http_server;
struct http_sources; /* watch.h */

/* Binds "host:port" (port 0: the kernel chooses) and serves. NULL with error, e.g. a port in use.
 */
struct http_server *http_server_new(const char *listen, const struct http_sources *sources,
                                    struct rota_error *error);
const char *http_server_url(const struct http_server *server); /* http://127.0.0.1:8300 */

/* Called by the coordinator at every beat: that it turns, and whether it is ready (reason: why
 * not). */
void http_server_status(struct http_server *server, bool ready, const char *reason);

void http_server_free(struct http_server *server); /* stops the thread; NULL is fine */

#endif
