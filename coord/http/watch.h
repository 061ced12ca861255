/*
 * What monitoring asks a node for: /metrics and /api/events. Everything here happens on the HTTP
 * thread and on its own connection to the database.
 */
#ifndef COORD_HTTP_WATCH_H
#define COORD_HTTP_WATCH_H

struct event_base;
struct evhttp;
struct evhttp_request;
struct http_watch;
struct log;
struct metric_set;

/* Where answers come from; strings and the rest outlive the server. */
struct http_sources {
    const struct log *log;
    const struct metric_set *metrics; /* the node's own */
    const char *database_url, *schema;
};

struct http_watch *http_watch_new(struct event_base *base, const struct http_sources *sources);
void http_watch_free(struct http_watch *watch); /* before the server's evhttp; NULL is fine */

/* Handlers of evhttp; arg is the watch. */
void http_watch_metrics(struct evhttp_request *request, void *arg);
void http_watch_events(struct evhttp_request *request, void *arg); /* streams until it is left */

#endif
