/*
 * A state machine as a table: rows of (from, event, to, why). One function looks the move up; a
 * pair that is not in the table is a bug and aborts. Logs, diagrams and tests read the same rows.
 */
#ifndef BASE_MACHINE_H
#define BASE_MACHINE_H

#include <stddef.h>

struct machine_row {
    int from;
    int event;
    int to;
    const char *why; /* one clause, for logs and the diagram */
};

struct machine {
    const char *name;
    const char *const *states; /* names by number */
    const char *const *events;
    const struct machine_row *rows;
    size_t row_count;
};

/* The row that moves `from` by `event`; aborts with both names when there is none. */
const struct machine_row *machine_move(const struct machine *machine, int from, int event);

/* The same, but NULL when there is none: for asking whether an event is allowed. */
const struct machine_row *machine_find(const struct machine *machine, int from, int event);

#endif
