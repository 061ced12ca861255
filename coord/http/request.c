/*
 * One request from its arrival to its end: what was asked, who asks, the route's handler, and the
 * database's answers to it. See web.h.
 */
#include "coord/http/inside.h"

#include "base/json.h"
#include "base/memory.h"
#include "base/text.h"

#include <assert.h>
#include <event2/buffer.h>
#include <stdlib.h>
#include <string.h>

/* ---- its end ---- */

void web_request_end(struct web_request *request)
{
    list_remove(&request->link);
    query_free(&request->query);
    buffer_free(&request->body);
    for (int i = 0; i < WEB_VALUES_MAX; i++)
        free(request->values[i]);
    if (request->release != NULL)
        request->release(request->kept);
    web_gzip_free(request->gzip);
    free(request->address);
    free(request);
}

/*
 * The client has gone. evhttp gives the request to us where it lost the connection, and frees it
 * itself where we end the connection.
 */
static void on_gone(void *arg)
{
    struct web_request *request = arg;
    if (evhttp_request_get_connection(request->evhttp) == NULL)
        evhttp_request_free(request->evhttp);
    request->evhttp = NULL;
    request->connection = NULL;
    if (!request->out)
        web_request_end(request);
}

void web_request_out(struct web_request *request)
{
    request->out = true;
}

bool web_request_back(struct web_request *request)
{
    request->out = false;
    if (request->evhttp != NULL)
        return true;
    web_request_end(request);
    return false;
}

/* ---- what was asked ---- */

const struct web_route *web_request_route(const struct web_request *request)
{
    return request->route;
}

const char *web_request_value(const struct web_request *request, int n)
{
    return request->values[n];
}

const char *web_request_parameter(const struct web_request *request, const char *name)
{
    return query_get(&request->query, name);
}

const char *web_request_header(const struct web_request *request, const char *name)
{
    if (request->evhttp == NULL)
        return NULL;
    return evhttp_find_header(evhttp_request_get_input_headers(request->evhttp), name);
}

struct slice web_request_body(const struct web_request *request)
{
    return request->body.length > 0 ? (struct slice){request->body.data, request->body.length}
                                    : slice_of("{}");
}

const char *web_request_who(const struct web_request *request)
{
    return request->who;
}

const char *web_request_address(const struct web_request *request)
{
    return request->address;
}

struct http_server *web_request_server(const struct web_request *request)
{
    return request->server;
}

void web_request_keep(struct web_request *request, void *data, void (*release)(void *data))
{
    request->kept = data;
    request->release = release;
}

void *web_request_kept(const struct web_request *request)
{
    return request->kept;
}

/* ---- the database ---- */

static void on_answer(void *arg, const struct store_answer *answer)
{
    struct web_request *request = arg;
    if (!web_request_back(request))
        return;
    if (answer->error != NULL)
        web_reply_error(request, answer->error);
    else
        request->answer(request, answer->result);
}

void web_ask(struct web_request *request, enum statement_id statement,
             const struct store_params *params, web_answer answer)
{
    request->answer = answer;
    web_request_out(request);
    store_call(request->server->store, statement, params, 0, on_answer, request);
}

/* ---- checks ---- */

static const struct web_parameter *find(const struct web_parameter *parameters, const char *name)
{
    for (; parameters != NULL && parameters->name != NULL; parameters++)
        if (strcmp(parameters->name, name) == 0)
            return parameters;
    return NULL;
}

static bool is_choice(const struct web_parameter *parameter, const char *value)
{
    const char *const *choice = parameter->choices;
    while (*choice != NULL && strcmp(*choice, value) != 0)
        choice++;
    return *choice != NULL;
}

/* "must be one of a, b or c" */
static void put_choices(struct buffer *out, const char *const *choices)
{
    buffer_string(out, "must be one of ");
    for (size_t i = 0; choices[i] != NULL; i++)
        buffer_format(out, "%s%s",
                      i == 0                   ? ""
                      : choices[i + 1] != NULL ? ", "
                                               : " or ",
                      choices[i]);
}

static bool refuse_choice(struct web_request *request, const struct web_parameter *parameter,
                          const char *value)
{
    struct buffer out = {0};
    if (parameter->choices == NULL || is_choice(parameter, value))
        return false;
    put_choices(&out, parameter->choices);
    web_reply_bad(request, parameter->name, "%s", buffer_text(&out));
    buffer_free(&out);
    return true;
}

static bool check_query(struct web_request *request)
{
    for (size_t i = 0; i < request->query.count; i++) {
        const struct query_parameter *given = &request->query.parameters[i];
        const struct web_parameter *known = find(request->route->parameters, given->name);
        if (known == NULL && !request->route->lenient) {
            web_reply_bad(request, given->name, "there is no such parameter");
            return false;
        }
        if (known != NULL && refuse_choice(request, known, given->value))
            return false;
    }
    return true;
}

static bool type_fits(const char *type, const struct json_value *value)
{
    int64_t number;
    switch (value->type) {
    case JSON_NULL:
        return true;
    case JSON_BOOL:
        return strcmp(type, "boolean") == 0;
    case JSON_NUMBER:
        return strcmp(type, "integer") == 0 && json_int64(value, &number) == 0;
    case JSON_STRING:
        return strcmp(type, "string") == 0;
    case JSON_ARRAY:
        return strcmp(type, "array") == 0;
    case JSON_OBJECT:
        return strcmp(type, "object") == 0;
    }
    return false;
}

static bool check_member(struct web_request *request, const struct json_value *key)
{
    char *name = json_text(key);
    const struct web_parameter *known = name != NULL ? find(request->route->body, name) : NULL;
    const struct json_value *value = json_member(key);
    bool good = false;
    if (known == NULL)
        web_reply_bad(request, name != NULL ? name : "?", "there is no such member");
    else if (!type_fits(known->type, value))
        web_reply_bad(request, name, "must be of type %s, this is %s", known->type,
                      json_type_name(value->type));
    else
        good = true;
    char *text = good && value->type == JSON_STRING ? json_text(value) : NULL;
    if (text != NULL && refuse_choice(request, known, text))
        good = false;
    free(text);
    free(name);
    return good;
}

static bool check_body(struct web_request *request)
{
    struct rota_error error = {0};
    struct json json;
    bool good = true;
    if (request->body.length == 0)
        return true;
    if (json_parse(&json, request->body.data, request->body.length, &error) != 0) {
        web_reply_bad(request, NULL, "the body is not JSON: %s", error.message);
        return false;
    }
    if (json.values->type != JSON_OBJECT) {
        web_reply_bad(request, NULL, "the body must be a JSON object, this is %s",
                      json_type_name(json.values->type));
        good = false;
    }
    for (const struct json_value *key = good ? json_first(&json, json.values) : NULL;
         good && key != NULL; key = json_next(&json, key))
        good = check_member(request, key);
    json_free(&json);
    return good;
}

void web_request_authorised(struct web_request *request)
{
    if (check_query(request) && check_body(request))
        request->route->handle(request);
}

/* ---- its arrival ---- */

static const char *method_name(enum evhttp_cmd_type method)
{
    switch (method) {
    case EVHTTP_REQ_GET:
    case EVHTTP_REQ_HEAD:
        return "GET";
    case EVHTTP_REQ_POST:
        return "POST";
    case EVHTTP_REQ_DELETE:
        return "DELETE";
    default:
        return "";
    }
}

static void take_body(struct web_request *request)
{
    struct evbuffer *input = evhttp_request_get_input_buffer(request->evhttp);
    size_t length = evbuffer_get_length(input);
    if (length > 0 && evbuffer_remove(input, buffer_reserve(&request->body, length), length) > 0)
        request->body.length = length;
}

/* Bodies of another type come from forms of other sites, which need no permission to send them. */
static bool check_type(struct web_request *request)
{
    const char *type = web_request_header(request, "Content-Type");
    if (request->body.length == 0 ||
        (type != NULL && strncasecmp(type, "application/json", 16) == 0 &&
         (type[16] == '\0' || type[16] == ';' || type[16] == ' ')))
        return true;
    web_reply_status(request, 415);
    return false;
}

static void arrive(struct web_request *request)
{
    const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(request->evhttp);
    const char *path = uri != NULL ? evhttp_uri_get_path(uri) : NULL, *why;
    struct rota_error error = {0};
    char *allow = NULL;
    request->route =
        web_route_find(request->method, path != NULL ? path : "", request->values, &allow);
    if (request->route == NULL && allow != NULL) {
        evhttp_add_header(evhttp_request_get_output_headers(request->evhttp), "Allow", allow);
        web_reply_status(request, 405);
    } else if (request->route == NULL) {
        web_reply_status(request, 404);
    } else if (web_access_cross_site(request, &why)) {
        log_warn(&request->server->log, "http request of another site refused",
                 LOG_TEXT("address", request->address), LOG_TEXT("why", why));
        web_reply_status(request, 403);
    } else if (!check_type(request)) {
        ;
    } else if (query_parse(evhttp_uri_get_query(uri), &request->query, &error) != 0) {
        web_reply_bad(request, NULL, "the query cannot be read: %s", error.message);
    } else if (request->route->scope == WEB_PUBLIC) {
        web_request_authorised(request);
    } else {
        web_access_check(request);
    }
    free(allow);
}

void web_request_begin(struct http_server *server, struct evhttp_request *evhttp)
{
    struct web_request *request = mem_alloc(sizeof *request);
    char *address = NULL;
    uint16_t port = 0;
    list_init(&request->link);
    list_append(&server->requests, &request->link);
    request->server = server;
    request->evhttp = evhttp;
    request->method = method_name(evhttp_request_get_command(evhttp));
    request->head = evhttp_request_get_command(evhttp) == EVHTTP_REQ_HEAD;
    request->connection = web_connection_of(server->connections, evhttp, on_gone, request);
    assert(request->connection != NULL);
    evhttp_connection_get_peer(evhttp_request_get_connection(evhttp), &address, &port);
    request->address = mem_string(address != NULL ? address : "?");
    take_body(request);
    arrive(request);
}
