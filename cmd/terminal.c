/* Lines and progress on the terminal, without blocking: see terminal.h. */
#include "cmd/terminal.h"

#include "base/buffer.h"
#include "base/clock.h"
#include "base/memory.h"

#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WAITING_MAX (256 * 1024)         /* bytes not yet taken by the terminal */
#define WRITE_BYTES 4096                 /* PIPE_BUF: what a writable pipe takes without blocking */
#define TICK_US     (120 * US_PER_MS)    /* between two pictures of the progress line */
#define SPEAK_US    (10 * US_PER_SECOND) /* between two progress lines where there is no terminal */
#define SHOW_US     (300 * US_PER_MS)    /* shorter waits show no progress */
#define FLUSH_US    (1 * US_PER_SECOND)

struct terminal {
    int fd;
    bool interactive;
    bool colours;
    bool broken; /* nobody reads any more */
    bool drawn;  /* the progress line stands on the screen */
    int picture;
    int64_t since_us; /* monotonic, of the progress */
    char *progress;
    struct event *writable;
    struct event *tick;
    struct buffer waiting;
    size_t dropped; /* lines */
};

static bool is_ready(const struct terminal *terminal, int timeout_ms)
{
    struct pollfd fd = {.fd = terminal->fd, .events = POLLOUT};
    return poll(&fd, 1, timeout_ms) == 1;
}

static void flush(struct terminal *terminal)
{
    struct buffer *waiting = &terminal->waiting;
    while (waiting->length > 0 && !terminal->broken) {
        if (!is_ready(terminal, 0)) {
            event_add(terminal->writable, NULL);
            return;
        }
        size_t size = waiting->length < WRITE_BYTES ? waiting->length : WRITE_BYTES;
        ssize_t done = write(terminal->fd, waiting->data, size);
        if (done > 0)
            buffer_consume(waiting, (size_t)done);
        else if (errno != EINTR && errno != EAGAIN)
            terminal->broken = true;
    }
    if (terminal->broken)
        buffer_clear(waiting);
}

static void erase_progress(struct terminal *terminal)
{
    if (terminal->drawn)
        buffer_string(&terminal->waiting, "\r\033[K");
    terminal->drawn = false;
}

static void draw_progress(struct terminal *terminal)
{
    static const char *const pictures[] = {"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"};
    double elapsed_s = (double)(clock_monotonic_us() - terminal->since_us) / US_PER_SECOND;
    if (terminal->interactive) {
        buffer_format(&terminal->waiting, "\r\033[K%s %s  %.1f s",
                      pictures[terminal->picture++ % 10], terminal->progress, elapsed_s);
        terminal->drawn = true;
    } else {
        buffer_format(&terminal->waiting, "  %s … %.0f s\n", terminal->progress, elapsed_s);
    }
}

static void start_tick(struct terminal *terminal, int64_t delay_us)
{
    struct timeval delay = clock_timeval(delay_us);
    evtimer_add(terminal->tick, &delay);
}

static void on_tick(evutil_socket_t fd, short events, void *arg)
{
    struct terminal *terminal = arg;
    (void)fd;
    (void)events;
    if (terminal->progress == NULL)
        return;
    if (terminal->waiting.length == 0) /* a slow terminal gets no more pictures */
        draw_progress(terminal);
    flush(terminal);
    start_tick(terminal, terminal->interactive ? TICK_US : SPEAK_US);
}

static void on_writable(evutil_socket_t fd, short events, void *arg)
{
    struct terminal *terminal = arg;
    (void)fd;
    (void)events;
    if (terminal->dropped > 0 && terminal->waiting.length < WAITING_MAX / 2) {
        buffer_format(&terminal->waiting, "(%zu lines are missing here: nobody read them)\n",
                      terminal->dropped);
        terminal->dropped = 0;
    }
    flush(terminal);
}

struct terminal *terminal_new(struct event_base *base, int fd, struct rota_error *error)
{
    struct terminal *terminal = mem_alloc(sizeof *terminal);
    const char *kind = getenv("TERM"), *no_colour = getenv("NO_COLOR");
    terminal->fd = fd;
    terminal->interactive = isatty(fd) && kind != NULL && strcmp(kind, "dumb") != 0;
    terminal->colours = terminal->interactive && (no_colour == NULL || *no_colour == '\0');
    terminal->tick = evtimer_new(base, on_tick, terminal);
    terminal->writable = event_new(base, fd, EV_WRITE, on_writable, terminal);
    if (terminal->tick == NULL || terminal->writable == NULL) {
        error_set(error, ERROR_REFUSED, "cannot watch the terminal");
        terminal_free(terminal);
        return NULL;
    }
    return terminal;
}

void terminal_free(struct terminal *terminal)
{
    if (terminal == NULL)
        return;
    int64_t until_us = clock_monotonic_us() + FLUSH_US;
    terminal_progress(terminal, NULL);
    while (terminal->waiting.length > 0 && !terminal->broken && clock_monotonic_us() < until_us &&
           is_ready(terminal, 100))
        flush(terminal);
    if (terminal->tick != NULL)
        event_free(terminal->tick);
    if (terminal->writable != NULL)
        event_free(terminal->writable);
    buffer_free(&terminal->waiting);
    free(terminal);
}

void terminal_raw(struct terminal *terminal, const char *line, size_t length)
{
    if (terminal->broken)
        return;
    if (terminal->waiting.length + length > WAITING_MAX) {
        terminal->dropped++;
        return;
    }
    erase_progress(terminal);
    buffer_append(&terminal->waiting, line, length);
    buffer_char(&terminal->waiting, '\n');
    flush(terminal);
}

void terminal_print(struct terminal *terminal, const char *format, ...)
{
    char *line = NULL;
    va_list args;
    va_start(args, format);
    int length = vasprintf(&line, format, args);
    va_end(args);
    if (length >= 0)
        terminal_raw(terminal, line, (size_t)length);
    free(line);
}

void terminal_progress(struct terminal *terminal, const char *text)
{
    if (terminal->tick != NULL)
        evtimer_del(terminal->tick);
    erase_progress(terminal);
    flush(terminal);
    if (terminal->progress == NULL)
        terminal->since_us = clock_monotonic_us();
    free(terminal->progress);
    terminal->progress = mem_string(text);
    if (text != NULL)
        start_tick(terminal, terminal->interactive ? SHOW_US : SPEAK_US);
}

const char *terminal_colour(const struct terminal *terminal, enum colour colour)
{
    static const char *const codes[] = {"\033[0m",  "\033[32m", "\033[31m",
                                        "\033[33m", "\033[2m",  "\033[1m"};
    return terminal->colours ? codes[colour] : "";
}
