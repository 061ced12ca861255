/*
 * What `rota up` shows: lines, and below them one line of progress that is drawn again and again on
 * a terminal. Writing never blocks: a terminal that is stopped (Ctrl-S) or a pipe nobody reads must
 * not hold up the nodes, whose log lines come through here. Lines beyond a bound are counted, and
 * the count is shown.
 */
#ifndef CMD_TERMINAL_H
#define CMD_TERMINAL_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

struct event_base;
struct terminal;

enum colour { COLOUR_NONE, COLOUR_GREEN, COLOUR_RED, COLOUR_YELLOW, COLOUR_DIM, COLOUR_BOLD };

struct terminal *terminal_new(struct event_base *base, int fd, struct rota_error *error);
void terminal_free(
    struct terminal *terminal); /* waits up to a second for what is not yet written */

/* A line; the line end is added. */
void terminal_print(struct terminal *terminal, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Any bytes as a line, unchanged. */
void terminal_raw(struct terminal *terminal, const char *line, size_t length);

/* What is being waited for, with the seconds since the first such call; NULL: nothing any more. */
void terminal_progress(struct terminal *terminal, const char *text);

/* Escape sequence, or "" where colours are not wanted (no terminal, NO_COLOR, TERM=dumb). */
const char *terminal_colour(const struct terminal *terminal, enum colour colour);

#endif
