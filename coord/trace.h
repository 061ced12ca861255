/*
 * W3C trace context: the header `traceparent`, version 00, as it comes with a run. Checked where it
 * is enqueued (rota.enqueue), handed on as it is.
 */
#ifndef COORD_TRACE_H
#define COORD_TRACE_H

#define TRACE_ID_SIZE 33 /* 32 hexadecimal digits and the end */

/* The trace's id. 0, or -1 and "" where there is none or it cannot be read. NULL is fine. */
int trace_id(const char *traceparent, char ret_id[TRACE_ID_SIZE]);

#endif
