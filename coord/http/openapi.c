/* /api/openapi.json: the tables of routes as an OpenAPI 3.1 document. */
#include "coord/http/routes.h"

#include <stdio.h>
#include <string.h>

static void put_string(struct buffer *out, const char *text)
{
    buffer_json(out, text, strlen(text));
}

/* "/api/task/:id" as "/api/task/{id}". */
static void put_path(struct buffer *out, const char *path)
{
    buffer_char(out, '"');
    while (*path != '\0') {
        size_t length = strcspn(path, ":");
        buffer_append(out, path, length);
        path += length;
        if (*path != ':')
            continue;
        length = strcspn(path, "/");
        buffer_format(out, "{%.*s}", (int)length - 1, path + 1);
        path += length;
    }
    buffer_char(out, '"');
}

static void put_schema(struct buffer *out, const struct web_parameter *parameter)
{
    buffer_format(out, "{\"type\":\"%s\",\"description\":", parameter->type);
    put_string(out, parameter->help);
    if (parameter->choices != NULL) {
        buffer_string(out, ",\"enum\":[");
        for (size_t i = 0; parameter->choices[i] != NULL; i++)
            buffer_format(out, "%s\"%s\"", i > 0 ? "," : "", parameter->choices[i]);
        buffer_char(out, ']');
    }
    buffer_char(out, '}');
}

static void put_parameters(struct buffer *out, const struct web_route *route)
{
    const char *at = route->path;
    bool first = true;
    buffer_string(out, ",\"parameters\":[");
    while ((at = strchr(at, ':')) != NULL) {
        size_t length = strcspn(++at, "/");
        buffer_format(out,
                      "%s{\"name\":\"%.*s\",\"in\":\"path\",\"required\":true,"
                      "\"schema\":{\"type\":\"%s\"}}",
                      first ? "" : ",", (int)length, at,
                      length == 2 && strncmp(at, "id", 2) == 0 ? "integer" : "string");
        first = false;
    }
    for (const struct web_parameter *one = route->parameters; one != NULL && one->name != NULL;
         one++) {
        buffer_format(out, "%s{\"name\":\"%s\",\"in\":\"query\",\"schema\":", first ? "" : ",",
                      one->name);
        put_schema(out, one);
        buffer_char(out, '}');
        first = false;
    }
    buffer_char(out, ']');
}

static void put_body(struct buffer *out, const struct web_route *route)
{
    if (route->body == NULL)
        return;
    buffer_string(out, ",\"requestBody\":{\"content\":{\"application/json\":{\"schema\":{"
                       "\"type\":\"object\",\"additionalProperties\":false,\"properties\":{");
    for (const struct web_parameter *one = route->body; one->name != NULL; one++) {
        buffer_format(out, "%s\"%s\":", one > route->body ? "," : "", one->name);
        put_schema(out, one);
    }
    buffer_string(out, "}}}}}");
}

static void put_error(struct buffer *out, int status, const char *text, bool json)
{
    buffer_format(out, ",\"%d\":{\"description\":", status);
    put_string(out, text);
    buffer_string(out, json ? ",\"content\":{\"application/json\":{\"schema\":{\"$ref\":"
                              "\"#/components/schemas/Error\"}}}}"
                            : ",\"content\":{\"text/plain\":{\"schema\":{\"type\":\"string\"}}}}");
}

static void put_answers(struct buffer *out, const struct web_route *route)
{
    const char *type = route->type != NULL ? route->type : "application/json";
    buffer_format(out,
                  ",\"responses\":{\"200\":{\"description\":\"OK\",\"content\":{\"%s\":{"
                  "\"schema\":{",
                  type);
    if (route->answer != NULL)
        buffer_format(out, "\"$ref\":\"#/components/schemas/%s\"", route->answer);
    else
        buffer_format(out, "\"type\":\"%s\"", route->type != NULL ? "string" : "object");
    buffer_string(out, "}}}}");
    if (route->scope != WEB_PUBLIC) {
        put_error(out, 400, "Bad request", true);
        put_error(out, 401, "Unauthenticated", false);
        put_error(out, 403, "You don't have permissions to do that.", false);
        put_error(out, 404, "Not found.", false);
    }
    if (strcmp(route->method, "GET") != 0)
        put_error(out, 409, "It is not in the state for that", true);
    put_error(out, 503, "Not now", route->scope != WEB_PUBLIC);
    buffer_char(out, '}');
}

static void put_operation(struct buffer *out, const struct web_route *route)
{
    static const char *const methods[] = {"GET", "get", "POST", "post", "DELETE", "delete"};
    size_t i = 0;
    while (strcmp(methods[i], route->method) != 0)
        i += 2;
    buffer_format(out, "\"%s\":{\"operationId\":\"%s", methods[i + 1], methods[i + 1]);
    for (const char *at = route->path; *at != '\0'; at++)
        buffer_char(out, strchr("/:-.", *at) != NULL ? '_' : *at);
    buffer_string(out, "\",\"summary\":");
    put_string(out, route->help);
    buffer_format(out, ",\"x-scope\":\"%s\"", web_scope_name(route->scope));
    if (route->scope == WEB_PUBLIC)
        buffer_string(out, ",\"security\":[]");
    put_parameters(out, route);
    put_body(out, route);
    put_answers(out, route);
    buffer_char(out, '}');
}

static bool is_first(const struct web_route *wanted)
{
    for (size_t t = 0; web_route_tables[t] != NULL; t++)
        for (const struct web_route *route = web_route_tables[t]; route->method != NULL; route++)
            if (strcmp(route->path, wanted->path) == 0)
                return route == wanted;
    return false;
}

/* All methods of a path, which may stand in several tables. */
static void put_item(struct buffer *out, const char *path)
{
    bool first = true;
    put_path(out, path);
    buffer_string(out, ":{");
    for (size_t t = 0; web_route_tables[t] != NULL; t++)
        for (const struct web_route *route = web_route_tables[t]; route->method != NULL; route++) {
            if (strcmp(route->path, path) != 0)
                continue;
            if (!first)
                buffer_char(out, ',');
            first = false;
            put_operation(out, route);
        }
    buffer_char(out, '}');
}

static void get_openapi(struct web_request *request)
{
    struct buffer out = {0};
    bool first = true;
    buffer_string(&out,
                  "{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"rota\",\"version\":\"" ROTA_VERSION
                  "\"},\"security\":[{\"token\":[]}],\"paths\":{");
    for (size_t t = 0; web_route_tables[t] != NULL; t++)
        for (const struct web_route *route = web_route_tables[t]; route->method != NULL; route++) {
            if (!is_first(route))
                continue;
            if (!first)
                buffer_char(&out, ',');
            first = false;
            put_item(&out, route->path);
        }
    buffer_string(&out,
                  "},\"components\":{\"securitySchemes\":{\"token\":{\"type\":\"http\","
                  "\"scheme\":\"bearer\",\"bearerFormat\":\"rota_KEY_SECRET\"}},\"schemas\":{");
    for (size_t i = 0; web_openapi_schemas[i] != NULL; i++)
        buffer_format(&out, "%s%s", i > 0 ? "," : "", web_openapi_schemas[i]);
    buffer_string(&out, "}}}");
    web_reply_json(request, 200, &out);
    buffer_free(&out);
}

const struct web_route web_openapi_routes[] = {
    {"GET", "/api/openapi.json", WEB_MONITOR, get_openapi, "This API, as OpenAPI 3.1",
     .answer = "OpenApi"},
    {0},
};
