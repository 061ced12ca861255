/* Readers of the event log: see event_stream.h. */
#include "coord/http/event_stream.h"

#include "coord/http/event_text.h"
#include "store/store.h"

#include "base/list.h"
#include "base/memory.h"

#include <event2/event.h>
#include <stdlib.h>

#define ROWS_MAX 20 /* of one question: a row may be large */

struct event_reader {
    struct list link;
    struct event_hub *hub;
    struct event_sink sink;
    bool placed;              /* false: its place is the end of the log, which is not known yet */
    struct event_place place; /* the last event that was sent */
    int64_t stalled_us;       /* since when it takes nothing; 0: it does */
    int64_t sent_us;
};

struct event_hub {
    struct store *serve;
    struct event *timer;
    struct list readers; /* in the order in which they are served next */
    int count;
    int64_t newest; /* row of the log, at the last answer */
    bool asking, ended;
    int64_t asked_row; /* rows after it were asked for */
};

static void ask(struct event_hub *hub);
static void on_timer(evutil_socket_t fd, short what, void *arg);

struct event_hub *event_hub_new(struct event_base *base, struct store *serve)
{
    struct event_hub *hub = mem_alloc(sizeof *hub);
    hub->serve = serve;
    list_init(&hub->readers);
    hub->timer = evtimer_new(base, on_timer, hub);
    return hub;
}

void event_reader_free(struct event_reader *reader)
{
    list_remove(&reader->link);
    reader->hub->count--;
    free(reader);
}

static void send_text(struct event_reader *reader, const struct buffer *text)
{
    if (text->length == 0)
        return;
    reader->sink.send(reader->sink.arg, text->data, text->length);
    reader->sent_us = clock_monotonic_us();
}

void event_reader_end(struct event_reader *reader, const char *reason)
{
    struct buffer text = {0};
    event_own_text(&text, 0, "end", reason);
    send_text(reader, &text);
    buffer_free(&text);
    reader->sink.end(reader->sink.arg);
    event_reader_free(reader);
}

void event_hub_end(struct event_hub *hub)
{
    hub->ended = true;
    LIST_EACH (&hub->readers, struct event_reader, link, reader)
        event_reader_end(reader, "this node stops: go on with another, from the last id");
}

void event_hub_free(struct event_hub *hub)
{
    if (hub == NULL)
        return;
    event_hub_end(hub);
    event_free(hub->timer);
    free(hub);
}

static void ask_in(struct event_hub *hub, int64_t pause_us)
{
    struct timeval pause = clock_timeval(pause_us);
    if (hub->count > 0 && !hub->asking)
        evtimer_add(hub->timer, &pause);
}

/* ---- who may be sent more ---- */

/* True if it takes what it is sent. One that has not for long is ended. */
static bool takes_more(struct event_reader *reader, int64_t now)
{
    if (reader->sink.pending(reader->sink.arg) <= EVENT_PENDING_MAX) {
        reader->stalled_us = 0;
        return true;
    }
    if (reader->stalled_us == 0)
        reader->stalled_us = now;
    else if (now - reader->stalled_us >= EVENT_STALL_US)
        event_reader_end(reader, "too slow: what was sent is not read; go on from the last id");
    return false;
}

static void stay_alive(struct event_reader *reader, int64_t now)
{
    if (now - reader->sent_us < EVENT_ALIVE_US)
        return;
    reader->sink.send(reader->sink.arg, ": alive\n\n", 9);
    reader->sent_us = now;
}

/* ---- answers ---- */

static void lose(struct event_reader *reader, int64_t row, const char *why)
{
    struct buffer text = {0};
    event_own_text(&text, row, "events.lost", why);
    send_text(reader, &text);
    buffer_free(&text);
    reader->place = (struct event_place){row, INT64_MAX};
}

static struct event_row row_at(const PGresult *result, int row)
{
    return (struct event_row){.id = row_int64(result, row, 2),
                              .at_us = row_time(result, row, 3),
                              .node = row_slice(result, row, 4),
                              .body = row_slice(result, row, 5)};
}

/* An id without an event: whoever is cut off before the first one knows where to go on, too. */
static void send_place(struct event_reader *reader)
{
    struct buffer text = {0};
    buffer_format(&text, "id: %lld\n\n", (long long)reader->place.row);
    send_text(reader, &text);
    buffer_free(&text);
}

/* Rows are those after the place that was asked for: they are for whoever is at it or beyond. */
static void deliver(struct event_reader *reader, const PGresult *result, int64_t asked_row)
{
    int64_t forgotten = row_int64(result, 0, 0), newest = row_int64(result, 0, 1);
    if (!reader->placed) {
        reader->placed = true;
        reader->place = (struct event_place){newest, INT64_MAX};
        send_place(reader);
    }
    if (reader->place.row < forgotten)
        lose(reader, forgotten,
             "what happened since is not kept any more: read anew what you need");
    if (reader->place.row > newest)
        lose(reader, newest, "the log has begun anew: read anew what you need");
    if (reader->place.row - (reader->place.index != INT64_MAX) < asked_row)
        return; /* it would miss what is between */
    for (int i = 0; i < PQntuples(result) && !row_null(result, i, 2); i++) {
        struct event_row row = row_at(result, i);
        struct event_place *place = &reader->place;
        if (row.id < place->row || (row.id == place->row && place->index == INT64_MAX))
            continue;
        if (reader->sink.pending(reader->sink.arg) > EVENT_PENDING_MAX)
            return;
        struct buffer text = {0};
        int64_t last =
            event_row_text(&text, &row, row.id == place->row ? place->index : -1, EVENT_TEXT_MAX);
        *place = (struct event_place){row.id, last};
        send_text(reader, &text);
        buffer_free(&text);
        if (last != INT64_MAX)
            return; /* the rest of it when that was taken */
    }
}

/* The last row that this reader has had whole. */
static int64_t whole_row(const struct event_reader *reader)
{
    return reader->place.row - (reader->place.index != INT64_MAX);
}

static void on_read(void *arg, const struct store_answer *answer)
{
    struct event_hub *hub = arg;
    int64_t now = clock_monotonic_us();
    bool behind = false;
    hub->asking = false;
    if (answer->error != NULL || PQntuples(answer->result) == 0) {
        ask_in(hub, EVENT_POLL_US);
        return;
    }
    hub->newest = row_int64(answer->result, 0, 1);
    LIST_EACH (&hub->readers, struct event_reader, link, reader) {
        if (!takes_more(reader, now))
            continue;
        deliver(reader, answer->result, hub->asked_row);
        stay_alive(reader, now);
        behind = behind || (reader->placed && whole_row(reader) < hub->newest &&
                            reader->sink.pending(reader->sink.arg) <= EVENT_PENDING_MAX);
    }
    ask_in(hub, behind ? 0 : EVENT_POLL_US);
}

/* ---- questions ---- */

/* In turns: one that has much to read does not hold up those that are nearly there. */
static struct event_reader *next_reader(struct event_hub *hub)
{
    int64_t now = clock_monotonic_us();
    struct event_reader *chosen = NULL;
    LIST_EACH (&hub->readers, struct event_reader, link, reader)
        if (takes_more(reader, now) && chosen == NULL &&
            (!reader->placed || whole_row(reader) < hub->newest))
            chosen = reader;
    LIST_EACH (&hub->readers, struct event_reader, link, any)
        if (chosen == NULL && any->stalled_us == 0)
            chosen = any; /* all have read everything: is there more? */
    if (chosen != NULL) {
        list_remove(&chosen->link);
        list_append(&hub->readers, &chosen->link);
    }
    return chosen;
}

static void ask(struct event_hub *hub)
{
    struct event_reader *reader = next_reader(hub);
    if (reader == NULL || !store_ready(hub->serve)) {
        ask_in(hub, EVENT_POLL_US);
        return;
    }
    struct store_params params = {0};
    hub->asked_row = reader->placed ? whole_row(reader) : INT64_MAX;
    params_int64(&params, hub->asked_row);
    params_int64(&params, ROWS_MAX);
    hub->asking = true;
    store_call(hub->serve, SQL_EVENT_READ, &params, 0, on_read, hub);
    store_params_free(&params);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    ask(arg);
}

struct event_reader *event_reader_new(struct event_hub *hub, const char *last,
                                      const struct event_sink *sink, struct rota_error *error)
{
    struct event_place place = {0};
    if (last != NULL && event_place_parse(last, &place) != 0) {
        error_set(error, ERROR_USAGE, "Last-Event-ID \"%.40s\" is none: send it as it was received",
                  last);
        return NULL;
    }
    if (hub->ended) {
        error_set(error, ERROR_REFUSED, "this node stops: ask another");
        return NULL;
    }
    if (hub->count == EVENT_READERS_MAX) {
        error_set(error, ERROR_REFUSED, "there are %d readers of events already: ask another node",
                  EVENT_READERS_MAX);
        return NULL;
    }
    struct event_reader *reader = mem_alloc(sizeof *reader);
    *reader =
        (struct event_reader){.hub = hub, .sink = *sink, .placed = last != NULL, .place = place};
    list_init(&reader->link);
    list_prepend(&hub->readers, &reader->link);
    hub->count++;
    ask_in(hub, 0);
    return reader;
}
