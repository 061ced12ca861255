/*
 * Answers in pieces, for what is too long to be held at once or has no end. The next piece is made
 * when the client has taken the last one, so that a slow client costs one piece of memory. A
 * client that takes none for WEB_WRITE_US is cut off; `release` of what the request keeps says so.
 */
#ifndef COORD_HTTP_STREAM_H
#define COORD_HTTP_STREAM_H

#include "coord/http/web.h"

/* False where headers alone were asked for: they are sent, and the request is gone. */
bool web_stream_begin(struct web_request *request, const char *type);
/* A piece; `next` is called when it was taken, or at once if it is empty. */
void web_stream_write(struct web_request *request, const char *text, size_t length,
                      void (*next)(struct web_request *request));
void web_stream_end(struct web_request *request);

#endif
