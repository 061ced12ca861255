/*
 * What /metrics answers: the node's own numbers (metrics.h), those of this process, and those of
 * the whole cluster, read from the database at most every SCRAPE_FRESH_US however often anybody
 * asks. Lives on the HTTP thread; of the coordinator it reads the metric set alone.
 */
#ifndef COORD_HTTP_SCRAPE_H
#define COORD_HTTP_SCRAPE_H

#include "base/metric.h"

#define SCRAPE_FRESH_US INT64_C(5000000) /* a reading of the cluster is good for so long */
#define SCRAPE_REST_MAX_US                                                                         \
    INT64_C(300000000)                  /* between readings that fail: twice as long each time */
#define SCRAPE_WAIT_US INT64_C(2000000) /* a scrape waits for a new one at most so long */

struct event_base;
struct store;
struct scrape;

/* `serve`: a connection of the HTTP thread, its owner's; NULL: nothing of the cluster is told.
 * `node`: its own numbers; NULL: it has none. */
struct scrape *scrape_new(struct event_base *base, struct store *serve,
                          const struct metric_set *node);
void scrape_free(struct scrape *scrape); /* answers who still waits; NULL is fine */

/*
 * Calls `ready` once, in this call or later from the loop: when the reading of the cluster is new
 * enough or has been waited for long enough. Then scrape_print() gives the document.
 */
void scrape_ask(struct scrape *scrape, void (*ready)(void *arg), void *arg);
void scrape_print(struct scrape *scrape, enum metric_format format, struct buffer *out);

#endif
