/* /metrics and /api/events: what monitoring asks a node for. */
#include "coord/http/routes.h"

#include "coord/http/event_stream.h"
#include "coord/http/inside.h"
#include "coord/http/scrape.h"
#include "coord/http/stream.h"

#include "base/memory.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#define MAY_US (2 * US_PER_SECOND) /* between two looks at the token of a reader */

/* ---- /metrics ---- */

static void on_numbers(void *arg)
{
    struct web_request *request = arg;
    struct buffer text = {0};
    if (!web_request_back(request))
        return;
    enum metric_format format = metric_accepted(web_request_header(request, "Accept"));
    scrape_print(request->server->scrape, format, &text);
    web_reply(request, 200, metric_content_type(format), text.data, text.length);
    buffer_free(&text);
}

static void get_metrics(struct web_request *request)
{
    web_request_out(request);
    scrape_ask(request->server->scrape, on_numbers, request);
}

/* ---- /api/events ---- */

/* One client: a piece is on its way to it, and what came meanwhile is the next one. */
struct reading {
    struct web_request *request;
    struct event_reader *reader; /* NULL: it was told the last */
    struct event *may;           /* whether it still may read */
    struct buffer text;
    size_t sent_bytes; /* of the piece that is on its way; 0: none is */
};

static void go_on(struct reading *reading);

static void reading_free(void *kept)
{
    struct reading *reading = kept;
    if (reading->reader != NULL)
        event_reader_free(reading->reader);
    event_free(reading->may);
    buffer_free(&reading->text);
    free(reading);
}

static void on_taken(struct web_request *request)
{
    struct reading *reading = web_request_kept(request);
    reading->sent_bytes = 0;
    go_on(reading);
}

static void go_on(struct reading *reading)
{
    if (reading->sent_bytes > 0 || reading->request->evhttp == NULL)
        return;
    if (reading->text.length > 0) {
        struct buffer piece = reading->text;
        reading->text = (struct buffer){0};
        reading->sent_bytes = piece.length;
        web_stream_write(reading->request, piece.data, piece.length, on_taken);
        buffer_free(&piece);
    } else if (reading->reader == NULL && !reading->request->out) {
        web_stream_end(reading->request);
    }
}

static void on_send(void *arg, const char *text, size_t length)
{
    struct reading *reading = arg;
    buffer_append(&reading->text, text, length);
    go_on(reading);
}

static size_t on_pending(void *arg)
{
    const struct reading *reading = arg;
    return reading->sent_bytes + reading->text.length;
}

static void on_end(void *arg)
{
    struct reading *reading = arg;
    reading->reader = NULL;
    go_on(reading);
}

static void on_may(struct web_request *request, bool may)
{
    struct reading *reading = web_request_kept(request);
    if (!may && reading->reader != NULL)
        event_reader_end(reading->reader, "the token is not valid any more");
    else
        go_on(reading);
}

static void on_time(evutil_socket_t fd, short what, void *arg)
{
    const struct reading *reading = arg;
    (void)fd;
    (void)what;
    if (reading->reader != NULL)
        web_access_again(reading->request, on_may);
}

static void refuse(struct web_request *request, const struct rota_error *error)
{
    if (error->code == ERROR_USAGE)
        web_reply_bad(request, "last_event_id", "%s", error->message);
    else
        web_reply(request, 503, "text/plain; charset=utf-8", error->message,
                  strlen(error->message));
}

static void get_events(struct web_request *request)
{
    static const char hello[] = "retry: 2000\n\n"; /* ms until a client that was cut off returns */
    struct reading *reading = mem_alloc(sizeof *reading);
    const struct event_sink sink = {
        .arg = reading, .send = on_send, .pending = on_pending, .end = on_end};
    const char *last = web_request_header(request, "Last-Event-ID");
    struct rota_error error = {0};
    if (last == NULL)
        last = web_request_parameter(request, "last_event_id");
    const struct timeval pause = clock_timeval(MAY_US);
    reading->request = request;
    reading->may = event_new(request->server->base, -1, EV_PERSIST, on_time, reading);
    reading->reader = event_reader_new(request->server->events, last, &sink, &error);
    web_request_keep(request, reading, reading_free);
    if (reading->reader == NULL) {
        refuse(request, &error);
        return;
    }
    evhttp_add_header(evhttp_request_get_output_headers(request->evhttp), "X-Accel-Buffering",
                      "no"); /* nginx passes each piece on */
    if (!web_stream_begin(request, "text/event-stream; charset=utf-8"))
        return;
    event_add(reading->may, &pause);
    on_send(reading, hello, strlen(hello));
}

/* ---- the table ---- */

static const struct web_parameter of_events[] = {
    {"last_event_id", "string", NULL, "go on after it, where Last-Event-ID cannot be set"}, {0}};

const struct web_route web_watch_routes[] = {
    {"GET", "/metrics", WEB_MONITOR, get_metrics,
     "Numbers of the node and the fleet, for Prometheus", .type = "text/plain", .lenient = true},
    {"GET", "/api/events", WEB_MONITOR, get_events, "Changes of the fleet, as server-sent events",
     .type = "text/event-stream", .parameters = of_events},
    {0},
};
