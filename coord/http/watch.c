/* /metrics and /api/events: see watch.h. */
#include "coord/http/watch.h"

#include "coord/http/scrape.h"
#include "store/store.h"

#include "base/memory.h"

#include <event2/buffer.h>
#include <event2/http.h>
#include <stdlib.h>

struct http_watch {
    struct store *serve;
    struct scrape *scrape;
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
    watch->serve = store_new(&config);
    watch->scrape = scrape_new(base, watch->serve, sources->metrics);
    return watch;
}

void http_watch_free(struct http_watch *watch)
{
    if (watch == NULL)
        return;
    store_free(watch->serve);
    scrape_free(watch->scrape);
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
