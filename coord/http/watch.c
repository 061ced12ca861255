/* /metrics and /api/events: see watch.h. */
#include "coord/http/watch.h"

#include "coord/http/event_stream.h"
#include "coord/http/scrape.h"
#include "store/store.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/bufferevent.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <stdlib.h>

struct http_watch {
    struct event_base *base;
    struct store *serve;
    struct scrape *scrape;
    struct event_hub *hub;
};

struct metrics_request {
    struct http_watch *watch;
    struct evhttp_request *request;
};

struct http_watch *http_watch_new(struct event_base *base, const struct http_sources *sources)
{
    struct http_watch *watch = mem_alloc(sizeof *watch);
    const struct store_config config = {
        .base = base,
        .log = sources->log,
        .url = sources->database_url,
        .schema = sources->schema,
        .role_name = "serve",
        .application_name = "rota serve",
        .options = "-c statement_timeout=5s -c synchronous_commit=off -c tcp_user_timeout=5000 "
                   "-c tcp_keepalives_idle=3 -c client_connection_check_interval=1s",
        .writes = true,
        .arg = watch,
    };
    watch->base = base;
    watch->serve = store_new(&config);
    watch->scrape = scrape_new(base, watch->serve, sources->metrics);
    watch->hub = event_hub_new(base, watch->serve);
    return watch;
}

void http_watch_free(struct http_watch *watch)
{
    if (watch == NULL)
        return;
    event_hub_end(watch->hub);
    for (int turn = 0; turn < 2; turn++) /* what they are told leaves now or not at all */
        event_base_loop(watch->base, EVLOOP_NONBLOCK);
    store_free(watch->serve);
    scrape_free(watch->scrape);
    event_hub_free(watch->hub);
    free(watch);
}

/* evhttp keeps a request whose client has gone until it is answered. */
static void on_numbers(void *arg)
{
    struct metrics_request *asked = arg;
    struct evkeyvalq *in = evhttp_request_get_input_headers(asked->request);
    struct evkeyvalq *out = evhttp_request_get_output_headers(asked->request);
    enum metric_format format = metric_accepted(evhttp_find_header(in, "Accept"));
    struct buffer text = {0};
    struct evbuffer *body = evbuffer_new();
    scrape_print(asked->watch->scrape, format, &text);
    evbuffer_add(body, text.data, text.length);
    evhttp_add_header(out, "Content-Type", metric_content_type(format));
    evhttp_add_header(out, "Cache-Control", "no-store");
    evhttp_send_reply(asked->request, HTTP_OK, "OK", body);
    evbuffer_free(body);
    buffer_free(&text);
    free(asked);
}

void http_watch_metrics(struct evhttp_request *request, void *arg)
{
    struct metrics_request *asked = mem_alloc(sizeof *asked);
    *asked = (struct metrics_request){arg, request};
    scrape_ask(asked->watch->scrape, on_numbers, asked);
}

/* ---- events ---- */

struct stream {
    struct evhttp_request *request;
    struct event_reader *reader;
};

static struct bufferevent *bufferevent_of(const struct stream *stream)
{
    return evhttp_connection_get_bufferevent(evhttp_request_get_connection(stream->request));
}

static void on_send(void *arg, const char *text, size_t length)
{
    struct stream *stream = arg;
    struct evbuffer *chunk = evbuffer_new();
    evbuffer_add(chunk, text, length);
    evhttp_send_reply_chunk(stream->request, chunk);
    evbuffer_free(chunk);
}

static size_t on_pending(void *arg)
{
    return evbuffer_get_length(bufferevent_get_output(bufferevent_of(arg)));
}

static void on_end(void *arg)
{
    struct stream *stream = arg;
    evhttp_connection_set_closecb(evhttp_request_get_connection(stream->request), NULL, NULL);
    evhttp_send_reply_end(stream->request);
    free(stream);
}

static void on_left(struct evhttp_connection *connection, void *arg)
{
    struct stream *stream = arg;
    (void)connection;
    event_reader_free(stream->reader);
    free(stream);
}

static void refuse(struct evhttp_request *request, const struct rota_error *error)
{
    bool bad = error->code == ERROR_USAGE;
    struct evbuffer *body = evbuffer_new();
    evbuffer_add_printf(body, "%s\n", error->message);
    evhttp_send_reply(request, bad ? HTTP_BADREQUEST : HTTP_SERVUNAVAIL,
                      bad ? "Bad Request" : "Service Unavailable", body);
    evbuffer_free(body);
}

/* A stream has no end: its client need not say anything, only take what it is sent. */
static void begin_stream(struct stream *stream)
{
    struct evkeyvalq *headers = evhttp_request_get_output_headers(stream->request);
    struct timeval limit = clock_timeval(2 * EVENT_STALL_US);
    evhttp_add_header(headers, "Content-Type", "text/event-stream; charset=utf-8");
    evhttp_add_header(headers, "Cache-Control", "no-store");
    evhttp_add_header(headers, "X-Accel-Buffering", "no");
    evhttp_connection_set_closecb(evhttp_request_get_connection(stream->request), on_left, stream);
    bufferevent_set_timeouts(bufferevent_of(stream), NULL, &limit);
    evhttp_send_reply_start(stream->request, HTTP_OK, "OK");
    on_send(stream, "retry: 2000\n\n", 13);
}

void http_watch_events(struct evhttp_request *request, void *arg)
{
    struct http_watch *watch = arg;
    struct stream *stream = mem_alloc(sizeof *stream);
    const struct event_sink sink = {
        .arg = stream, .send = on_send, .pending = on_pending, .end = on_end};
    struct evkeyvalq *headers = evhttp_request_get_input_headers(request), query;
    const char *text = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(request));
    const char *last = evhttp_find_header(headers, "Last-Event-ID");
    struct rota_error error = {0};
    bool parsed = evhttp_parse_query_str(text != NULL ? text : "", &query) == 0;
    if (last == NULL && parsed)
        last = evhttp_find_header(&query, "last_event_id");
    stream->request = request;
    stream->reader = event_reader_new(watch->hub, last, &sink, &error);
    if (stream->reader != NULL) {
        begin_stream(stream);
    } else {
        refuse(request, &error);
        free(stream);
    }
    if (parsed)
        evhttp_clear_headers(&query);
}
