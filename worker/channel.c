/* One worker's connection: see channel.h. */
#include "worker/channel.h"

#include "base/clock.h"
#include "base/memory.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_TURN      (64 * 1024)       /* bytes read before the loop turns */
#define KEEP_MAX       (16 * 1024)       /* an empty buffer larger than this is given back */
#define DRAIN_MAX      (4 * 1024 * 1024) /* more than a socket holds */
#define EXCERPT_MAX    100               /* of a bad line, in the log */
#define NOISE_LINE_US  200               /* what a line that answers nothing costs … */
#define NOISE_BYTES_US 1 /* … and each of its bytes: 5,000 lines or 1 MB a second */
#define NOISE_BURST_US (200 * US_PER_MS) /* what it may be ahead */

static void channel_end_reading(struct channel *channel, const char *fault)
{
    event_del(&channel->readable);
    channel->callbacks->closed(channel->arg, fault);
}

static void channel_fault(struct channel *channel, const char *what, const char *line,
                          size_t length)
{
    struct buffer excerpt = {0};
    buffer_json(&excerpt, line, length < EXCERPT_MAX ? length : EXCERPT_MAX);
    char *fault = mem_format("%s" CHANNEL_EXCERPT "%s", what, buffer_text(&excerpt));
    buffer_free(&excerpt);
    channel_end_reading(channel, fault);
    free(fault);
}

void channel_charge(struct channel *channel, int64_t cost_us)
{
    int64_t now_us = clock_monotonic_us();
    if (channel->noise_us < now_us)
        channel->noise_us = now_us;
    channel->noise_us += cost_us;
    int64_t ahead_us = channel->noise_us - now_us;
    if (ahead_us <= NOISE_BURST_US || channel->fd < 0)
        return;
    struct timeval pause = clock_timeval(ahead_us);
    channel->paused = true;
    event_del(&channel->readable);
    event_add(&channel->listen_again, &pause);
}

/* A line that answers nothing. */
static void channel_meter(struct channel *channel, size_t length)
{
    channel_charge(channel, NOISE_LINE_US + NOISE_BYTES_US * (int64_t)length);
}

static void channel_line(struct channel *channel, const char *line, size_t length)
{
    struct protocol_message message;
    struct rota_error error;
    if (length > 0 && line[length - 1] == '\r')
        length--;
    if (length == 0)
        return channel_meter(channel, length);
    if (protocol_parse(line, length, &message, &error) != 0)
        return channel_fault(channel, error.message, line, length);
    bool answer = channel->callbacks->message(channel->arg, &message);
    protocol_free(&message);
    if (!answer)
        channel_meter(channel, length);
}

static void channel_shrink(struct buffer *buffer)
{
    if (buffer->length == 0 && buffer->capacity > KEEP_MAX)
        buffer_free(buffer);
}

/* Handles the complete lines in `in`. A callback may close the channel. */
static void channel_lines(struct channel *channel, bool all)
{
    size_t at = 0;
    channel->in_use = true;
    while (channel->fd >= 0 && (all || !channel->paused)) {
        size_t from = at > channel->scanned ? at : channel->scanned;
        const char *line = channel->in.data + at;
        const char *end = channel->in.length > from
                              ? memchr(channel->in.data + from, '\n', channel->in.length - from)
                              : NULL;
        size_t length = (end != NULL ? (size_t)(end - channel->in.data) : channel->in.length) - at;
        if (length >= channel->line_max) {
            channel_fault(channel,
                          channel->line_max == PROTOCOL_LINE_MAX ? "longer than 1 MiB"
                                                                 : "longer than a hello may be",
                          line, length);
            break;
        }
        if (end == NULL) {
            channel->scanned = channel->in.length;
            break;
        }
        channel_line(channel, line, length);
        at += length + 1;
    }
    channel->in_use = false;
    if (channel->fd < 0) {
        buffer_free(&channel->in);
        return;
    }
    buffer_consume(&channel->in, at);
    channel->scanned = channel->scanned > at ? channel->scanned - at : 0;
    channel_shrink(&channel->in);
}

/* 1: something was read, 0: nothing is there now, -1: the end. */
static int channel_receive(struct channel *channel)
{
    char *room = buffer_reserve(&channel->in, READ_TURN);
    ssize_t got = recv(channel->fd, room, READ_TURN, MSG_DONTWAIT);
    if (got > 0) {
        channel->in.length += (size_t)got;
        return 1;
    }
    channel_shrink(&channel->in);
    return got < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct channel *channel = arg;
    int got = channel_receive(channel);
    if (got > 0)
        channel_lines(channel, false);
    else if (got < 0)
        channel_end_reading(channel, NULL);
}

static void on_listen_again(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct channel *channel = arg;
    channel->paused = false;
    channel_lines(channel, false);
    if (channel->fd >= 0 && !channel->paused)
        event_add(&channel->readable, NULL);
}

void channel_drain(struct channel *channel)
{
    for (size_t read = 0; channel->fd >= 0 && read < DRAIN_MAX; read += READ_TURN) {
        channel_lines(channel, true);
        if (channel->fd < 0 || channel_receive(channel) <= 0)
            return;
    }
}

/* --- writing --- */

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    channel_flush(arg);
}

size_t channel_pending(const struct channel *channel)
{
    return channel->out.length - channel->out_at;
}

uint64_t channel_position(const struct channel *channel)
{
    return channel->sent + channel_pending(channel);
}

static void channel_sent(struct channel *channel, size_t length)
{
    channel->out_at += length;
    channel->sent += length;
    if (channel_pending(channel) == 0) {
        buffer_clear(&channel->out);
        channel->out_at = 0;
        channel_shrink(&channel->out);
    } else if (channel->out_at >= READ_TURN) {
        buffer_consume(&channel->out, channel->out_at);
        channel->out_at = 0;
    }
    channel->callbacks->written(channel->arg);
}

void channel_flush(struct channel *channel)
{
    if (channel->fd < 0 || channel->broken || channel_pending(channel) == 0)
        return;
    ssize_t sent = send(channel->fd, channel->out.data + channel->out_at, channel_pending(channel),
                        MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0)
        channel_sent(channel, (size_t)sent);
    else if (sent < 0 && errno != EAGAIN && errno != EINTR)
        channel->broken = true; /* the reading side hears of the end */
    if (channel->fd >= 0 && !channel->broken && channel_pending(channel) > 0)
        event_add(&channel->writable, NULL);
}

void channel_remove(struct channel *channel, uint64_t start, uint64_t end)
{
    assert(start >= channel->sent && start <= end && end <= channel_position(channel));
    char *to = channel->out.data + channel->out_at + (size_t)(start - channel->sent);
    const char *from = to + (size_t)(end - start);
    size_t length = (size_t)(channel_position(channel) - end);
    memmove(to, from, length);
    channel->out.length -= (size_t)(end - start);
}

/* --- life --- */

void channel_open(struct channel *channel, struct event_base *base, int fd,
                  const struct channel_callbacks *callbacks, void *arg)
{
    *channel = (struct channel){
        .fd = fd, .callbacks = callbacks, .arg = arg, .line_max = PROTOCOL_LINE_MAX};
    event_assign(&channel->readable, base, fd, EV_READ | EV_PERSIST, on_readable, channel);
    event_assign(&channel->writable, base, fd, EV_WRITE, on_writable, channel);
    event_assign(&channel->listen_again, base, -1, 0, on_listen_again, channel);
    event_add(&channel->readable, NULL);
}

void channel_close(struct channel *channel)
{
    if (channel->fd < 0) {
        buffer_free(&channel->out); /* what was said after its end */
        return;
    }
    event_del(&channel->readable);
    event_del(&channel->writable);
    event_del(&channel->listen_again);
    close(channel->fd);
    channel->fd = -1;
    if (!channel->in_use)
        buffer_free(&channel->in);
    buffer_free(&channel->out);
    channel->out_at = 0;
}
