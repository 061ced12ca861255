/* Answers in pieces: see stream.h. */
#include "coord/http/stream.h"

#include "coord/http/inside.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>

bool web_stream_begin(struct web_request *request, const char *type)
{
    struct evkeyvalq *headers = evhttp_request_get_output_headers(request->evhttp);
    web_reply_headers(request, type);
    request->streaming = true;
    if (request->head) {
        evhttp_add_header(headers, "Transfer-Encoding", "chunked"); /* as it would be */
        web_connection_answered(request->connection, request->evhttp);
        evhttp_send_reply(request->evhttp, HTTP_OK, web_status_text(HTTP_OK), NULL);
        web_request_end(request);
        return false;
    }
    struct evhttp_connection *connection = evhttp_request_get_connection(request->evhttp);
    bufferevent_set_timeouts(evhttp_connection_get_bufferevent(connection), NULL, NULL);
    if (web_gzip_wanted(request)) {
        request->gzip = web_gzip_new();
        evhttp_add_header(headers, "Content-Encoding", "gzip");
        evhttp_add_header(headers, "Vary", "Accept-Encoding");
    }
    evhttp_send_reply_start(request->evhttp, HTTP_OK, web_status_text(HTTP_OK));
    return true;
}

static void on_taken(struct evhttp_connection *evhttp, void *arg)
{
    struct web_request *request = arg;
    (void)evhttp;
    web_connection_took(request->connection);
    request->next(request);
}

static void send_piece(struct web_request *request, const char *text, size_t length)
{
    struct evbuffer *piece = evbuffer_new();
    evbuffer_add(piece, text, length);
    web_connection_writes(request->connection);
    evhttp_send_reply_chunk_with_cb(request->evhttp, piece, on_taken, request);
    evbuffer_free(piece);
}

void web_stream_write(struct web_request *request, const char *text, size_t length,
                      void (*next)(struct web_request *request))
{
    struct buffer packed = {0};
    request->next = next;
    if (request->gzip != NULL) {
        web_gzip_add(request->gzip, text, length, false, &packed);
        text = packed.data;
        length = packed.length;
    }
    if (length > 0)
        send_piece(request, text, length);
    else
        next(request);
    buffer_free(&packed);
}

void web_stream_end(struct web_request *request)
{
    struct buffer packed = {0};
    if (request->gzip != NULL) {
        struct evbuffer *piece = evbuffer_new();
        web_gzip_add(request->gzip, "", 0, true, &packed);
        evbuffer_add(piece, packed.data, packed.length);
        evhttp_send_reply_chunk(request->evhttp, piece);
        evbuffer_free(piece);
        buffer_free(&packed);
    }
    web_connection_answered(request->connection, request->evhttp);
    evhttp_send_reply_end(request->evhttp);
    web_request_end(request);
}
