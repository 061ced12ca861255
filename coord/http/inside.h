/*
 * Inside of the HTTP server: what its files share. Handlers use web.h, the coordinator server.h.
 * Everything here belongs to the server's thread, but for what `lock` guards.
 */
#ifndef COORD_HTTP_INSIDE_H
#define COORD_HTTP_INSIDE_H

#include "base/list.h"
#include "base/log.h"
#include "coord/http/connection.h"
#include "coord/http/server.h"
#include "coord/http/web.h"
#include "coord/token.h"
#include "store/store.h"

#include <event2/event.h>
#include <event2/http.h>
#include <pthread.h>

struct event_hub;   /* event_stream.c */
struct scrape;      /* scrape.c */
struct web_access;  /* tokens that are known, clients that failed: access.c */
struct web_actions; /* the thread of actions: action.c */
struct web_gzip;    /* compress.c */
struct web_tls;     /* tls.c */

struct http_server {
    struct http_config config;
    struct log log;
    struct event_base *base;
    struct evhttp *http;
    struct web_connections *connections;
    struct store *store;  /* the serve connection */
    struct list requests; /* not answered yet */
    struct scrape *scrape;
    struct event_hub *events;
    struct web_access *access;
    struct web_actions *actions;
    struct web_tls *tls; /* NULL: plain */
    struct event *wake;  /* of the fields below */
    int wake_fd;
    pthread_t thread;
    bool started;
    char *url;
    char host[256];       /* it listens on, as it was written */
    pthread_mutex_t lock; /* of the fields below */
    int64_t beaten_us;
    bool ready, stop, reload;
    char reason[200];
};

/* What a client showed to say who it is. */
struct web_token {
    bool given;
    char key[TOKEN_KEY_SIZE];
    unsigned char hash[TOKEN_HASH_SIZE];
};

struct web_request {
    struct list link;
    struct http_server *server;
    struct evhttp_request *evhttp;     /* NULL: the client has gone */
    struct web_connection *connection; /* NULL likewise */
    const struct web_route *route;
    const char *method;
    char *address;
    char *values[WEB_VALUES_MAX];
    struct query query;
    struct buffer body;
    char who[80];
    struct web_token token;
    enum web_scope scope; /* of who asks */
    bool head;            /* no body in the answer */
    bool out;             /* somebody will come back to it: it lives on without its client */
    bool streaming;
    struct web_gzip *gzip; /* of a stream */
    web_answer answer;
    void (*again)(struct web_request *request, bool may); /* web_access_again() */
    void (*next)(struct web_request *request); /* the last piece of the stream has been taken */
    void *kept;
    void (*release)(void *kept);
};

/* request.c */
void web_request_begin(struct http_server *server, struct evhttp_request *evhttp);
void web_request_authorised(struct web_request *request); /* by access.c */
void web_request_end(struct web_request *request); /* answered, or nobody is there any more */
/* It is out, and comes back: false where its client has gone, and with it the request. */
void web_request_out(struct web_request *request);
bool web_request_back(struct web_request *request);

/* server.c: its thread looks at what others have for it. */
void http_server_wake(struct http_server *server);

/* action.c */
struct web_actions *web_actions_new(struct http_server *server);
void web_actions_answer(struct web_actions *actions); /* those that are done */
void web_actions_free(struct web_actions *actions);   /* NULL is fine */

/* router.c: the route; NULL with 404, or 405 and the methods that are allowed (to be freed). */
const struct web_route *web_route_find(const char *method, const char *path, char **values,
                                       char **ret_allow);

/* reply.c */
const char *web_status_text(int status);
void web_reply_headers(struct web_request *request, const char *type);

/* compress.c: gzip where the client takes it. */
bool web_gzip_wanted(const struct web_request *request);
struct web_gzip *web_gzip_new(void);
void web_gzip_add(struct web_gzip *gzip, const char *text, size_t length, bool last,
                  struct buffer *out);
void web_gzip_free(struct web_gzip *gzip);

/* access.c: answers those who may not, else web_request_authorised(). */
struct web_access *web_access_new(void);
void web_access_free(struct web_access *access);
void web_access_check(struct web_request *request);
/*
 * For streams without end: whether it still may. `answer` follows later, or not at all where that
 * cannot be known now; until then the request is out.
 */
void web_access_again(struct web_request *request,
                      void (*answer)(struct web_request *request, bool may));
bool web_access_cross_site(const struct web_request *request, const char **ret_why);

#endif
