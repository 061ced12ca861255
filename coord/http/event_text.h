/* Rows of the event log as server-sent events. */
#ifndef COORD_HTTP_EVENT_TEXT_H
#define COORD_HTTP_EVENT_TEXT_H

#include "base/buffer.h"

#include <stdint.h>

/* The place of an event: its row, and its number in it from 0. */
struct event_place {
    int64_t row;
    int64_t index; /* INT64_MAX: the whole row */
};

struct event_row {
    int64_t id;
    int64_t at_us;
    struct slice node; /* absent: nobody in particular */
    struct slice body; /* lines of kind, facts and ids, see 0014_events.sql */
};

/* "17.3", or "17" for a whole row. 0, or -1. */
int event_place_parse(const char *text, struct event_place *ret_place);

/*
 * Appends the events of a row whose number is greater than `after` (-1: all), until `out` has `max`
 * bytes. Returns the number of the last one, INT64_MAX: that was the whole row.
 */
int64_t event_row_text(struct buffer *out, const struct event_row *row, int64_t after, size_t max);

/* Appends one event of the stream itself; `id` 0: without one, what follows is told again. */
void event_own_text(struct buffer *out, int64_t id, const char *kind, const char *reason);

#endif
