/* TLS of the HTTP server: certificate and key from files, read again when somebody says so. */
#ifndef COORD_HTTP_TLS_H
#define COORD_HTTP_TLS_H

#include "base/error.h"

struct bufferevent;
struct event_base;
struct web_tls;

/* NULL with an error that names the file. */
struct web_tls *web_tls_new(const char *cert, const char *key, struct rota_error *error);
/* The files anew; what is there already stays as it is where they cannot be used. 0 or -1. */
int web_tls_reload(struct web_tls *tls, struct rota_error *error);
/* For a connection that is about to be accepted. */
struct bufferevent *web_tls_open(struct web_tls *tls, struct event_base *base);
void web_tls_free(struct web_tls *tls); /* NULL is fine */

#endif
