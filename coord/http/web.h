/*
 * What a handler of the HTTP server may use. A route is a row of a table (routes.c lists the
 * tables): method, path, scope, handler, one line of help; routing, 404, 405, the description in
 * /api/openapi.json and the table in docs/http.md derive from it.
 *
 * A handler runs on the server's thread and never blocks: it answers at once by one of the
 * web_reply functions, or later from a callback of web_ask(), or piece by piece (stream.h), or
 * gives the work to the thread of actions (action.h). After the answer the request is gone.
 */
#ifndef COORD_HTTP_WEB_H
#define COORD_HTTP_WEB_H

#include "base/buffer.h"
#include "base/error.h"
#include "coord/http/query.h"
#include "sql/sql.h"
#include "store/params.h"

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct evhttp_request;
struct http_server;
struct web_request;

enum web_scope {
    WEB_PUBLIC,  /* nobody is asked who he is */
    WEB_MONITOR, /* reads */
    WEB_OPERATE, /* acts */
    WEB_ADMIN,
};
const char *web_scope_name(enum web_scope scope); /* "public", "monitor", … */

/* A parameter of the query, or a member of the body. */
struct web_parameter {
    const char *name;
    const char *type;           /* of JSON: "string", "integer", "boolean", "object", "array" */
    const char *const *choices; /* NULL: any */
    const char *help;
};

struct web_route {
    const char *method; /* GET (HEAD comes with it), POST, DELETE */
    const char *path;   /* "/api/task/:id": a word with a colon takes one segment of the path */
    enum web_scope scope;
    void (*handle)(struct web_request *request);
    const char *help;
    const char *type; /* content type of the answer; NULL: application/json */
    const struct web_parameter
        *parameters;                  /* of the query; ended by one without a name; NULL: none */
    const struct web_parameter *body; /* members of a JSON body; NULL: it takes none */
    const char *answer; /* name of the answer's schema in openapi.json; NULL: any object */
    bool lenient;       /* parameters it does not know are passed over */
};

#define WEB_VALUES_MAX 2 /* words with a colon in one path */

/* The tables of routes (routes.c): each ended by a row without a method. */
extern const struct web_route *const web_route_tables[];

/* ---- what was asked ---- */
const struct web_route *web_request_route(const struct web_request *request);
/* The n-th word of the path with a colon, decoded. */
const char *web_request_value(const struct web_request *request, int n);
/* A parameter of the query; NULL: not given. Only those of the route get this far. */
const char *web_request_parameter(const struct web_request *request, const char *name);
const char *web_request_header(const struct web_request *request, const char *name);
/* A JSON object; "{}" where there is no body. Checked against the route's `body` before. */
struct slice web_request_body(const struct web_request *request);
const char *web_request_who(const struct web_request *request);     /* name of the token */
const char *web_request_address(const struct web_request *request); /* of the client */
struct http_server *web_request_server(const struct web_request *request);
/* What a handler keeps until its answer; freed by `release` with the request. */
void web_request_keep(struct web_request *request, void *data, void (*release)(void *data));
void *web_request_kept(const struct web_request *request);

/* ---- answers ---- */
void web_reply(struct web_request *request, int status, const char *type, const char *text,
               size_t length);
void web_reply_json(struct web_request *request, int status, const struct buffer *document);
/* Plain text with the words of the status: "Not found." */
void web_reply_status(struct web_request *request, int status);
/* {"message":…} and, where a parameter or member is to blame, {"errors":{name:message}}. */
void web_reply_bad(struct web_request *request, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* What an error of the store or of an action means for a client; those that are ours are logged. */
void web_reply_error(struct web_request *request, const struct rota_error *error);

/* ---- the database ---- */
typedef void (*web_answer)(struct web_request *request, const PGresult *result);
/* Asks on the serve connection; an error is answered here, so that `answer` has a result. */
void web_ask(struct web_request *request, enum statement_id statement,
             const struct store_params *params, web_answer answer);

#endif
