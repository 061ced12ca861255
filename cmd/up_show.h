/*
 * What `rota up` tells its user: the steps of the start with their times, one line per finished
 * run, warnings and errors of the nodes in words; or, with --json, the nodes' own log lines
 * unchanged among lines of the same form for what `up` itself does.
 */
#ifndef CMD_UP_SHOW_H
#define CMD_UP_SHOW_H

#include "base/error.h"
#include "base/log.h"

#include <stdbool.h>
#include <stddef.h>

struct event_base;
struct show;

struct show *show_new(struct event_base *base, bool json, bool verbose, struct rota_error *error);
void show_free(struct show *show);

/* A step begins: seen only if it takes a while. What it does now. Its end, with the time it took.
 */
void show_begin(struct show *show, const char *doing);
void show_busy(struct show *show, const char *doing);
void show_clear(struct show *show); /* no end: something else is to be said */
void show_done(struct show *show, const char *step, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Text for people only, and a remark for both. */
void show_text(struct show *show, const char *format, ...) __attribute__((format(printf, 2, 3)));
void show_remark(struct show *show, enum log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Everything runs: where to look. */
void show_ready(struct show *show, const char *url, const char *data, int nodes);
/* The heading of the lines to come. */
void show_heading(struct show *show);

/* A line that a node or a step has printed. */
void show_node_line(struct show *show, const char *node, const char *line, size_t length);
void show_step_line(struct show *show, const char *line, size_t length);

/* The text field `name` of a node's log line whose message is `message`, to be freed; else NULL. */
char *show_field(const char *line, size_t length, const char *message, const char *name);

#endif
