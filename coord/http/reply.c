/*
 * Answers: their headers, what a client has already (ETag), compression, and what the errors of
 * the rest of rota are in HTTP. See web.h.
 */
#include "coord/http/inside.h"

#include "base/memory.h"
#include "base/text.h"

#include <event2/buffer.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GZIP_MIN 1024 /* below it the headers weigh more than what is saved */

static const struct status {
    int status;
    const char *reason; /* of the status line */
    const char *text;   /* of a body of its own; NULL: the reason with a full stop */
} statuses[] = {
    {200, "OK", NULL},
    {201, "Created", NULL},
    {304, "Not Modified", NULL},
    {400, "Bad Request", NULL},
    {401, "Unauthorized", "Unauthenticated"},
    {403, "Forbidden", "You don't have permissions to do that."},
    {404, "Not Found", "Not found."},
    {405, "Method Not Allowed", NULL},
    {409, "Conflict", NULL},
    {415, "Unsupported Media Type", "The body must be of type application/json."},
    {429, "Too Many Requests", "Too many failed attempts from this address: try again later."},
    {500, "Internal Server Error", NULL},
    {503, "Service Unavailable", NULL},
    {504, "Gateway Timeout", NULL},
};

static const struct status *status_row(int status)
{
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
        if (statuses[i].status == status)
            return &statuses[i];
    return status_row(500);
}

const char *web_status_text(int status)
{
    return status_row(status)->reason;
}

static void header(struct web_request *request, const char *name, const char *value)
{
    struct evkeyvalq *headers = evhttp_request_get_output_headers(request->evhttp);
    if (evhttp_find_header(headers, name) == NULL)
        evhttp_add_header(headers, name, value);
}

void web_reply_headers(struct web_request *request, const char *type)
{
    header(request, "Content-Type", type);
    header(request, "Cache-Control", "no-cache");
    header(request, "X-Content-Type-Options", "nosniff");
    header(request, "X-Frame-Options", "DENY");
    header(request, "Referrer-Policy", "no-referrer");
    header(request, "Cross-Origin-Resource-Policy", "same-origin");
    header(request, "Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'");
    if (request->server->tls != NULL)
        header(request, "Strict-Transport-Security", "max-age=31536000");
}

/* Whether the client has it already, which then is all the answer there is. */
static bool is_known(struct web_request *request, const char *text, size_t length)
{
    char tag[24];
    const char *known = web_request_header(request, "If-None-Match");
    snprintf(tag, sizeof tag, "W/\"%016llx\"", (unsigned long long)text_hash(text, length));
    header(request, "ETag", tag);
    return known != NULL && (strstr(known, tag + 2) != NULL || strcmp(known, "*") == 0);
}

static void send_whole(struct web_request *request, int status, const char *text, size_t length)
{
    struct evbuffer *body = evbuffer_new();
    char number[24];
    if (request->head) {
        snprintf(number, sizeof number, "%zu", length);
        header(request, "Content-Length", number);
    } else {
        evbuffer_add(body, text, length);
    }
    web_connection_answered(request->connection, request->evhttp);
    evhttp_send_reply(request->evhttp, status, status_row(status)->reason, body);
    evbuffer_free(body);
    web_request_end(request);
}

void web_reply(struct web_request *request, int status, const char *type, const char *text,
               size_t length)
{
    struct buffer packed = {0};
    web_reply_headers(request, type);
    if (status == 200 && strcmp(request->method, "GET") == 0 && request->route != NULL &&
        request->route->scope != WEB_PUBLIC && is_known(request, text, length)) {
        send_whole(request, 304, "", 0);
        return;
    }
    if (length >= GZIP_MIN && web_gzip_wanted(request)) {
        struct web_gzip *gzip = web_gzip_new();
        web_gzip_add(gzip, text, length, true, &packed);
        web_gzip_free(gzip);
        header(request, "Content-Encoding", "gzip");
        header(request, "Vary", "Accept-Encoding");
        text = packed.data;
        length = packed.length;
    }
    send_whole(request, status, text, length);
    buffer_free(&packed);
}

void web_reply_json(struct web_request *request, int status, const struct buffer *document)
{
    web_reply(request, status, "application/json", document->data, document->length);
}

void web_reply_status(struct web_request *request, int status)
{
    const struct status *row = status_row(status);
    char text[120];
    if (row->text != NULL)
        snprintf(text, sizeof text, "%s", row->text);
    else
        snprintf(text, sizeof text, "%s.", row->reason);
    web_reply(request, status, "text/plain; charset=utf-8", text, strlen(text));
}

static void put_message(struct buffer *out, const char *message)
{
    buffer_string(out, "{\"message\":");
    buffer_json(out, message, strlen(message));
}

static void reply_message(struct web_request *request, int status, const char *message)
{
    struct buffer out = {0};
    put_message(&out, message);
    buffer_char(&out, '}');
    web_reply_json(request, status, &out);
    buffer_free(&out);
}

void web_reply_bad(struct web_request *request, const char *name, const char *format, ...)
{
    struct buffer out = {0};
    char message[2200];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (name == NULL) {
        put_message(&out, message);
    } else {
        char *whole = mem_format("%.100s: %s", name, message);
        put_message(&out, whole);
        free(whole);
        buffer_string(&out, ",\"errors\":{");
        buffer_json(&out, name, strnlen(name, 100));
        buffer_char(&out, ':');
        buffer_json(&out, message, strlen(message));
        buffer_char(&out, '}');
    }
    buffer_char(&out, '}');
    web_reply_json(request, 400, &out);
    buffer_free(&out);
}

/* A stream that cannot go on is cut: its end then is none that could be taken for the whole. */
static void cut(struct web_request *request, const struct rota_error *error)
{
    log_warn(&request->server->log, "an http answer was cut off",
             LOG_TEXT("path", request->route->path), LOG_TEXT("error", error->message));
    evhttp_connection_free(evhttp_request_get_connection(request->evhttp)); /* ends the request */
}

static int status_of(const struct rota_error *error)
{
    if (error->code == ERROR_NOT_FOUND)
        return 404;
    if (error->code == ERROR_USAGE)
        return 400;
    if (store_is(error, "57014"))
        return 504; /* statement_timeout */
    if (error->code == ERROR_DATABASE || error->code == ERROR_TIMEOUT ||
        (error->sqlstate[0] != '\0' && store_fault(error) == FAULT_RETRY))
        return 503;
    return error->sqlstate[0] == '\0' ? 409 : 500;
}

void web_reply_error(struct web_request *request, const struct rota_error *error)
{
    int status = status_of(error);
    if (request->streaming) {
        cut(request, error);
        return;
    }
    if (status == 404 && error->message[0] == '\0') {
        web_reply_status(request, 404);
        return;
    }
    if (status == 503 || status == 504)
        header(request, "Retry-After", "1");
    if (status == 500)
        log_error(&request->server->log, "an http request failed",
                  LOG_TEXT("path", request->route->path), LOG_TEXT("error", error->message));
    reply_message(request, status,
                  status == 500   ? "Internal error; the node's log says more."
                  : status == 504 ? "The database took too long: ask for less at once."
                  : error->code == ERROR_DATABASE ? "The database cannot be reached."
                                                  : error->message);
}
