/*
 * State machines as tables: each move that exists is one row (from, event, to, why). A pair without
 * a row is a bug of ours and aborts. The diagram in the documentation and its test read these rows.
 */
#ifndef WORKER_STATE_H
#define WORKER_STATE_H

#include <stddef.h>

struct state_move {
    int from;
    int event;
    int to;
    const char *why;
};

struct state_machine {
    const char *name;
    const char *const *states; /* names by number */
    size_t state_count;
    const char *const *events; /* names by number */
    size_t event_count;
    const struct state_move *moves;
    size_t move_count;
};

/* The row for this pair. Aborts with the pair's names where there is none. */
const struct state_move *state_move(const struct state_machine *machine, int from, int event);

#endif
