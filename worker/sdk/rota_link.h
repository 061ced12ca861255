/*
 * Inside the library for workers in C: the way to a node, standard input and output or a socket;
 * lines in and out of it.
 */
#ifndef WORKER_SDK_ROTA_LINK_H
#define WORKER_SDK_ROTA_LINK_H

#include "worker/sdk/rota_json.h"

#include <stdbool.h>

#define ROTA_LINE_MAX (1024 * 1024) /* with its newline, both ways */

struct rota_link {
    char *addresses; /* ROTA_WORKER_SOCKET; NULL: standard input and output */
    size_t next;     /* of the addresses, where the next try begins */
    char *token;     /* NULL: none */
    int in, out;     /* -1: closed; one and the same of a socket */
    bool over_tcp;
    struct rota_text read; /* from the first byte of a line on */
    size_t at;             /* of `read`, where the next line begins */
    char error[300];
};

void rota_link_init(struct rota_link *link); /* an error is kept for rota_link_open() */
void rota_link_free(struct rota_link *link);
/* One try; of a socket at the next of the addresses. 0 or -1. */
int rota_link_open(struct rota_link *link);
void rota_link_close(struct rota_link *link);
int rota_link_send(struct rota_link *link, const struct rota_text *line); /* -1: closed now */
/*
 * The next line, without its newline, valid until the next call; NULL: none within timeout_ms (-1:
 * for ever), a signal came, or the link is closed now.
 */
const char *rota_link_line(struct rota_link *link, int timeout_ms);
int rota_link_error(struct rota_link *link, const char *format, ...)
    __attribute__((format(printf, 2, 3))); /* keeps it; -1 */

#endif
