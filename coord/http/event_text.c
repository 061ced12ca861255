/* Events as text: see event_text.h, and the HTML standard, 9.2 "Server-sent events". */
#include "coord/http/event_text.h"

#include "base/instant.h"
#include "base/text.h"

#include <string.h>

int event_place_parse(const char *text, struct event_place *ret_place)
{
    const char *dot = strchr(text, '.');
    struct event_place place = {.index = INT64_MAX};
    size_t length = dot != NULL ? (size_t)(dot - text) : strlen(text);
    if (text_int64(text, length, &place.row) != 0 || place.row < 0)
        return -1;
    if (dot != NULL && (text_int64(dot + 1, strlen(dot + 1), &place.index) != 0 || place.index < 0))
        return -1;
    *ret_place = place;
    return 0;
}

/* What is before the next `end`, which is passed over. */
static struct slice cut(struct slice *rest, char end)
{
    const char *at = rest->length > 0 ? memchr(rest->data, end, rest->length) : NULL;
    struct slice first = {rest->data, at != NULL ? (size_t)(at - rest->data) : rest->length};
    size_t used = first.length + (at != NULL);
    rest->data += used;
    rest->length -= used;
    return first;
}

struct event_parts {
    int64_t row, number;
    struct slice kind, facts, head; /* head: what all events of the row begin with */
};

static void put_event(struct buffer *out, const struct event_parts *parts, struct slice run)
{
    buffer_format(out, "id: %lld.%lld\nevent: ", (long long)parts->row, (long long)parts->number);
    buffer_append(out, parts->kind.data, parts->kind.length);
    buffer_string(out, "\ndata: ");
    buffer_append(out, parts->head.data, parts->head.length);
    if (run.length > 0) {
        buffer_string(out, ",\"run\":");
        buffer_append(out, run.data, run.length);
    }
    if (parts->facts.length > 2) { /* more than {} */
        buffer_char(out, ',');
        buffer_append(out, parts->facts.data + 1, parts->facts.length - 1);
    } else {
        buffer_char(out, '}');
    }
    buffer_string(out, "\n\n");
}

/* One line: an event for each run in it, or one. False: there was no room for all of them. */
static bool put_line(struct buffer *out, struct event_parts *parts, struct slice line,
                     int64_t after, size_t max)
{
    parts->kind = cut(&line, '\t');
    parts->facts = cut(&line, '\t');
    do {
        struct slice run = cut(&line, ',');
        if (parts->number > after && out->length >= max)
            return false;
        if (parts->number > after)
            put_event(out, parts, run);
        parts->number++;
    } while (line.length > 0);
    return true;
}

int64_t event_row_text(struct buffer *out, const struct event_row *row, int64_t after, size_t max)
{
    struct slice rest = row->body;
    struct buffer head = {0};
    char at[TIME_TEXT_SIZE];
    instant_format(row->at_us, at);
    buffer_format(&head, "{\"at\":\"%s\",\"node\":", at);
    if (row->node.data != NULL)
        buffer_json(&head, row->node.data, row->node.length);
    else
        buffer_string(&head, "null");
    struct event_parts parts = {.row = row->id, .head = {head.data, head.length}};
    bool whole = true;
    while (whole && rest.length > 0)
        whole = put_line(out, &parts, cut(&rest, '\n'), after, max);
    buffer_free(&head);
    return whole ? INT64_MAX : parts.number - 1;
}

void event_own_text(struct buffer *out, int64_t id, const char *kind, const char *reason)
{
    if (id > 0)
        buffer_format(out, "id: %lld\n", (long long)id);
    buffer_format(out, "event: %s\ndata: {\"reason\":", kind);
    buffer_json(out, reason, strlen(reason));
    buffer_string(out, "}\n\n");
}
