/*
 * Where the handler `http` may connect to. Addresses that are not public (RFC 6890 and what it
 * lists: private, loopback, link-local, shared, multicast, embedded ones, metadata services) are
 * refused unless an entry of the setting http_allow names them:
 *   `10.1.0.0/16`, `10.1.2.3`, `fd00::/8`   addresses
 *   `api.internal`, `*.internal`            hosts by name, whatever their address is
 *   `*`                                     everything
 */
#ifndef WORKER_BUILTIN_HTTP_TARGET_H
#define WORKER_BUILTIN_HTTP_TARGET_H

#include "base/error.h"

#include <stdbool.h>
#include <sys/socket.h>

struct http_target {
    char *host; /* lower case, without brackets */
    int port;
    bool secure;
};

/* A URL that may be asked for at all. 0, or -1 with what is wrong. */
int http_target_read(struct http_target *ret_target, const char *url, struct rota_error *error);
void http_target_free(struct http_target *target);
bool http_target_same(const struct http_target *a, const struct http_target *b); /* one origin */

/* May this host, at this address, be connected to? */
bool http_target_allowed(const struct sockaddr *address, const char *host, char *const *allow);
bool http_address_public(const struct sockaddr *address);
/* As text, in a buffer of INET6_ADDRSTRLEN bytes. */
const char *http_address_text(const struct sockaddr *address, char *text);

/* Is this an entry of http_allow? 0, or -1 with what would be right. */
int http_allow_check(const char *entry, struct rota_error *error);

#endif
