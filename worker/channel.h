/*
 * One worker's connection: lines in and out of a non-blocking socket on the event loop. Lines to be
 * written are collected and go out together; what the worker does not read waits here. What is read
 * is bounded a turn, a line is bounded, and a worker that talks much without answering anything is
 * listened to less: its flood costs only itself.
 */
#ifndef WORKER_CHANNEL_H
#define WORKER_CHANNEL_H

#include "worker/protocol.h"

#include "base/buffer.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>

#define CHANNEL_EXCERPT ", in the line that begins " /* in a fault; the line follows */

struct channel;

struct channel_callbacks {
    /* True: an answer that was waited for. False: anything else, which is metered. */
    bool (*message)(void *arg, const struct protocol_message *message);
    /* channel->sent has grown. */
    void (*written)(void *arg);
    /* Nothing more will be read: end of file (fault NULL) or a line that is none. */
    void (*closed)(void *arg, const char *fault);
};

struct channel {
    int fd; /* -1: closed */
    const struct channel_callbacks *callbacks;
    void *arg;
    struct event readable, writable, listen_again;
    struct buffer in; /* from the first byte of a line that is not complete */
    size_t scanned;   /* of `in`, known to hold no newline */
    size_t line_max;  /* bytes of a line with its newline; PROTOCOL_LINE_MAX at first */
    bool paused;
    bool in_use;       /* messages still point into `in` */
    int64_t noise_us;  /* clock_monotonic_us at which its talk is paid for */
    struct buffer out; /* not yet taken by the socket, from out_at on */
    size_t out_at;
    uint64_t sent; /* bytes taken by the socket since it was opened */
    bool broken;   /* it cannot be written to any more */
};

void channel_open(struct channel *channel, struct event_base *base, int fd,
                  const struct channel_callbacks *callbacks, void *arg);
void channel_close(struct channel *channel); /* closed already: fine */

/* Takes time from the worker's account, which it waits for: what it does costs others something. */
void channel_charge(struct channel *channel, int64_t cost_us);

/*
 * Lines are appended to channel->out; channel_flush() writes what the socket takes and goes on by
 * itself until all is written.
 */
void channel_flush(struct channel *channel);
size_t channel_pending(const struct channel *channel);    /* bytes not taken by the socket */
uint64_t channel_position(const struct channel *channel); /* of the next byte appended */

/* Takes bytes out again, by their positions; the socket must have taken none of them. */
void channel_remove(struct channel *channel, uint64_t start, uint64_t end);

/* Reads all that is there (the worker is dead and cannot add to it). */
void channel_drain(struct channel *channel);

#endif
