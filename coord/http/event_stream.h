/*
 * Readers of the event log, as server-sent events: each is at a place of its own in the log, those
 * that have read everything share one question every EVENT_POLL_US, and nothing is asked while
 * there are none. A reader that does not take what it is sent is not sent more; after
 * EVENT_STALL_US of that, or when the log has forgotten what it was to read next, it is told so.
 * Lives on the HTTP thread.
 */
#ifndef COORD_HTTP_EVENT_STREAM_H
#define COORD_HTTP_EVENT_STREAM_H

#include "base/clock.h"
#include "base/error.h"

#include <stddef.h>

#define EVENT_POLL_US     (500 * US_PER_MS)
#define EVENT_STALL_US    (30 * US_PER_SECOND)
#define EVENT_ALIVE_US    (15 * US_PER_SECOND) /* a comment, so that whoever is between keeps open */
#define EVENT_PENDING_MAX (64u << 10)          /* bytes not taken: nothing is added to more */
#define EVENT_TEXT_MAX    (1u << 20)           /* bytes of one row that are added at once, about */
#define EVENT_READERS_MAX 100

struct event_base;
struct event_hub;
struct event_reader;
struct store;

struct event_sink {
    void *arg;
    void (*send)(void *arg, const char *text, size_t length);
    size_t (*pending)(void *arg); /* bytes that were sent and are not taken yet */
    void (*end)(void *arg);       /* the last event was sent; the reader is freed after this call */
};

/* `serve`: a connection of the HTTP thread, its owner's. */
struct event_hub *event_hub_new(struct event_base *base, struct store *serve);
void event_hub_end(struct event_hub *hub);  /* ends all readers, and takes no more */
void event_hub_free(struct event_hub *hub); /* NULL is fine */

/*
 * `last`: the id of the last event the client has seen, as it was sent; NULL: what happens from
 * now on. NULL with error: no such id is possible, or there are too many readers.
 */
struct event_reader *event_reader_new(struct event_hub *hub, const char *last,
                                      const struct event_sink *sink, struct rota_error *error);
/* Sends a last event that says why, and end(). */
void event_reader_end(struct event_reader *reader, const char *reason);
void event_reader_free(struct event_reader *reader); /* its client has gone: no end() follows */

#endif
