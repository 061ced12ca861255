/*
 * `rota top`: what the fleet does, drawn again and again. One statement a picture, and nothing of
 * it is more than the database has at hand. Rates are differences between two pictures.
 */
#include "base/buffer.h"
#include "base/clock.h"
#include "base/instant.h"
#include "base/json.h"
#include "base/memory.h"
#include "cmd/client.h"

#include <event2/event.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define FAILURES_MAX 20
#define LEAST_US     (200 * US_PER_MS) /* of --interval: statistics are not newer than a second */
#define WIDTH_MAX    1000

static const char help_text[] =
    "Usage: rota top [--interval D] [--once] [--json]\n"
    "\n"
    "Shows nodes, rates, what waits and runs, and the newest failures, drawn anew every two\n"
    "seconds. Ctrl-C ends it. Without a terminal, and with --once, it prints one picture.\n"
    "\n"
    "  --interval D  between two pictures, and what rates are taken over: 2s\n"
    "  --once        one picture, after one interval\n"
    "  --json        the same as one JSON document\n"
    "\n";

struct options {
    int64_t interval_us;
    bool once, json;
};

struct top {
    struct client *client;
    const struct options *options;
    bool live;    /* a terminal is drawn on */
    bool stopped; /* by a signal */
    int height, width;
    /* of the picture before */
    int64_t at_us, finished, queued; /* at_us 0: there is none */
    double finished_rate, queued_rate;
};

/* ---- reading ---- */

static int64_t number_of(const struct json *json, const struct json_value *object, const char *name)
{
    int64_t number = 0;
    const struct json_value *value = json_get(json, object, name);
    if (value != NULL && value->type == JSON_NUMBER)
        json_int64(value, &number);
    return number;
}

/* To be freed; "-" for what is not there. */
static char *text_of(const struct json *json, const struct json_value *object, const char *name)
{
    const struct json_value *value = json_get(json, object, name);
    char *text = value != NULL && value->type == JSON_STRING ? json_text(value) : NULL;
    return text != NULL ? text : mem_string("-");
}

/* The number of one row of fleet_numbers: ["name", "first", …, number]; 0 if it is not there. */
static int64_t fleet_number(const struct json *json, const char *name, const char *first)
{
    const struct json_value *rows = json_get(json, json->values, "numbers");
    int64_t sum = 0;
    for (const struct json_value *row = json_first(json, rows); row != NULL;
         row = json_next(json, row)) {
        const struct json_value *at = json_first(json, row), *label = json_next(json, at),
                                *number = json_next(json, json_next(json, label));
        int64_t more;
        if (json_is(at, name) && (first == NULL || json_is(label, first)) &&
            json_int64(number, &more) == 0)
            sum += more;
    }
    return sum;
}

static double rate(int64_t now, int64_t before, int64_t us)
{
    return now > before && us > 0 ? (double)(now - before) * US_PER_SECOND / (double)us : 0;
}

static void take_rates(struct top *top, const struct json *json)
{
    int64_t now = clock_monotonic_us(), finished = number_of(json, json->values, "finished"),
            queued = number_of(json, json->values, "queued");
    if (top->at_us != 0) {
        top->finished_rate = rate(finished, top->finished, now - top->at_us);
        top->queued_rate = rate(queued, top->queued, now - top->at_us);
    }
    top->at_us = now;
    top->finished = finished;
    top->queued = queued;
}

/* ---- drawing ---- */

/* A line, no wider than the terminal, and nothing of what is left of the picture before. */
static void put_line(struct top *top, struct buffer *out, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void put_line(struct top *top, struct buffer *out, const char *format, ...)
{
    char line[WIDTH_MAX];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (length >= (int)sizeof line)
        length = sizeof line - 1;
    if (top->live && length > top->width)
        length = top->width;
    while (length > 0 && length < (int)strlen(line) && ((unsigned char)line[length] & 0xc0) == 0x80)
        length--;                    /* a character is drawn whole or not at all */
    for (int i = 0; i < length; i++) /* names may hold what moves the cursor */
        buffer_char(out, (unsigned char)line[i] < ' ' || line[i] == 0x7f ? '?' : line[i]);
    buffer_string(out, top->live ? "\x1b[K\n" : "\n");
}

static void draw_head(struct top *top, struct buffer *out, const struct json *json)
{
    char *at = text_of(json, json->values, "at");
    put_line(top, out, "rota top   %.19s   finished %.1f/s   queued %.1f/s", at, top->finished_rate,
             top->queued_rate);
    free(at);
    put_line(top, out, "runs       due %lld   scheduled %lld   running %lld   held %lld",
             (long long)fleet_number(json, "queue_runs", "due"),
             (long long)fleet_number(json, "queue_runs", "scheduled"),
             (long long)fleet_number(json, "states", "EXECUTING"),
             (long long)(fleet_number(json, "queue_runs", "paused") +
                         fleet_number(json, "queue_runs", "lane") +
                         fleet_number(json, "queue_runs", "after") +
                         fleet_number(json, "queue_runs", "rate")));
    put_line(top, out, "triggers   waiting %lld   paused %lld   blocked %lld   error %lld",
             (long long)fleet_number(json, "states", "WAITING"),
             (long long)fleet_number(json, "states", "PAUSED"),
             (long long)fleet_number(json, "states", "BLOCKED"),
             (long long)fleet_number(json, "states", "ERROR"));
    put_line(top, out, "%s", "");
}

static void draw_nodes(struct top *top, struct buffer *out, const struct json *json)
{
    const struct json_value *nodes = json_get(json, json->values, "nodes");
    put_line(top, out, "%-24s %-10s %9s %9s %10s  %s", "NODE", "STATE", "RUNNING", "SLOTS",
             "LEASE LEFT", "VERSION");
    for (const struct json_value *node = json_first(json, nodes); node != NULL;
         node = json_next(json, node)) {
        char *name = text_of(json, node, "name"), *state = text_of(json, node, "state"),
             *version = text_of(json, node, "version");
        put_line(top, out, "%-24s %-10s %9lld %9lld %9.1fs  %s", name, state,
                 (long long)number_of(json, node, "running"),
                 (long long)number_of(json, node, "slots"),
                 (double)number_of(json, node, "lease_left_ms") / 1000, version);
        free(name);
        free(state);
        free(version);
    }
    put_line(top, out, "%s", "");
}

static void draw_failures(struct top *top, struct buffer *out, const struct json *json)
{
    const struct json_value *failures = json_get(json, json->values, "failures");
    if (json_first(json, failures) == NULL)
        return;
    put_line(top, out, "%-20s %-24s %-10s %12s  %s", "FAILED AT", "JOB", "OUTCOME", "RUN",
             "MESSAGE");
    for (const struct json_value *at = json_first(json, failures); at != NULL;
         at = json_next(json, at)) {
        char *when = text_of(json, at, "at"), *job = text_of(json, at, "job"),
             *outcome = text_of(json, at, "outcome"), *message = text_of(json, at, "message");
        int64_t more = number_of(json, at, "runs") - 1;
        char others[40] = "";
        if (more > 0)
            snprintf(others, sizeof others, " (and %lld more)", (long long)more);
        put_line(top, out, "%-20.19s %-24s %-10s %12lld  %s%s", when, job, outcome,
                 (long long)number_of(json, at, "run"), message, others);
        free(when);
        free(job);
        free(outcome);
        free(message);
    }
}

static void write_out(const char *data, size_t length)
{
    fwrite(data, 1, length, stdout);
    fflush(stdout);
}

/* What does not fit is cut at the bottom, where the oldest failures are. */
static void show(struct top *top, const struct buffer *picture)
{
    const char *at = picture->data, *end = at + picture->length;
    if (!top->live) {
        write_out(picture->data, picture->length);
        return;
    }
    struct buffer out = {0};
    buffer_string(&out, "\x1b[H");
    for (int line = 1; at < end && line < top->height; line++) {
        const char *next = memchr(at, '\n', (size_t)(end - at));
        buffer_append(&out, at, (size_t)(next + 1 - at));
        at = next + 1;
    }
    buffer_string(&out, "\x1b[J");
    write_out(out.data, out.length);
    buffer_free(&out);
}

static void draw(struct top *top, const struct json *json)
{
    struct buffer picture = {0};
    struct winsize size = {0};
    if (top->live && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0) {
        top->height = size.ws_row > 0 ? size.ws_row : 24;
        top->width = size.ws_col > 0 ? size.ws_col : 80;
    }
    draw_head(top, &picture, json);
    draw_nodes(top, &picture, json);
    draw_failures(top, &picture, json);
    show(top, &picture);
    buffer_free(&picture);
}

static void print_json(const struct top *top, const char *document)
{
    printf("{\"finished_per_s\":%.1f,\"queued_per_s\":%.1f,%s\n", top->finished_rate,
           top->queued_rate, document + 1);
}

/* ---- the loop ---- */

static void on_signal(evutil_socket_t number, short what, void *arg)
{
    struct top *top = arg;
    (void)number;
    (void)what;
    top->stopped = true;
    event_base_loopbreak(top->client->base);
}

static void on_time(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    *(bool *)arg = true;
}

static void wait_interval(struct top *top)
{
    bool over = false;
    struct timeval pause = clock_timeval(top->options->interval_us);
    struct event *timer = evtimer_new(top->client->base, on_time, &over);
    evtimer_add(timer, &pause);
    while (!over && !top->stopped)
        event_base_loop(top->client->base, EVLOOP_ONCE);
    event_free(timer);
}

/* One picture, drawn or only kept for the rates of the next. */
static int look(struct top *top, bool drawn, struct rota_error *error)
{
    struct store_params params = {0};
    PGresult *result;
    struct json json;
    params_int64(&params, top->options->interval_us / US_PER_MS / 2);
    params_int32(&params, FAILURES_MAX);
    int failed = store_wait(top->client->store, SQL_TOP_READ, &params, 0, &result, error);
    store_params_free(&params);
    if (failed != 0)
        return -1;
    const char *document = row_text(result, 0, 0);
    failed = json_parse(&json, document, strlen(document), error);
    if (failed == 0) {
        take_rates(top, &json);
        if (drawn && top->options->json)
            print_json(top, document);
        else if (drawn)
            draw(top, &json);
        json_free(&json);
    }
    PQclear(result);
    return failed;
}

static int go_on(struct top *top, struct rota_error *error)
{
    int failed = look(top, top->live, error);
    while (failed == 0 && !top->stopped) {
        wait_interval(top);
        if (!top->stopped)
            failed = look(top, true, error);
        if (!top->live)
            break;
    }
    return failed;
}

static int run(struct client *client, void *arg, struct rota_error *error)
{
    const struct options *options = arg;
    struct top top = {.client = client, .options = options, .height = 24, .width = 80};
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    struct event *signals[3];
    top.live = !options->once && !options->json && isatty(STDOUT_FILENO);
    for (int i = 0; i < 3; i++) {
        signals[i] = evsignal_new(client->base, numbers[i], on_signal, &top);
        event_add(signals[i], NULL);
    }
    if (top.live)
        write_out("\x1b[?1049h\x1b[?25l", 14); /* another screen, without a cursor */
    int failed = go_on(&top, error);
    if (top.live)
        write_out("\x1b[?25h\x1b[?1049l", 14);
    for (int i = 0; i < 3; i++)
        event_free(signals[i]);
    if (failed == 0 && top.stopped && !top.live)
        failed = error_set(error, ERROR_INTERRUPTED, "interrupted");
    return failed;
}

static int take(int argc, char **argv, int *i, void *arg, struct rota_error *error)
{
    struct options *options = arg;
    const char *value;
    if (strcmp(argv[*i], "--json") == 0)
        return options->json = true;
    if (strcmp(argv[*i], "--once") == 0)
        return options->once = true;
    int taken = cmd_option(argc, argv, i, "--interval", &value, error);
    if (taken > 0 && client_duration("--interval", value, &options->interval_us, error) != 0)
        return -1;
    if (taken > 0 &&
        (options->interval_us < LEAST_US || options->interval_us > 3600 * US_PER_SECOND))
        return error_set(error, ERROR_USAGE, "--interval must be between 200ms and 1h");
    return taken;
}

int cmd_top(int argc, char **argv)
{
    static const char *const own[] = {"--interval", "--once", "--json", NULL};
    static const struct client_command command = {
        .name = "top", .help = help_text, .own = own, .take = take, .run = run};
    struct options options = {.interval_us = 2 * US_PER_SECOND};
    return client_main(&command, &options, argc, argv);
}
