/*
 * The data of an http run. What http understands is read strictly; other keys belong to the job:
 * pointers may name them.
 */
#include "worker/builtin/http.h"

#include "worker/builtin/template.h"

#include "base/clock.h"
#include "base/instant.h"
#include "base/memory.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_US     (30 * US_PER_SECOND)
#define RESPONSE_BYTES (64 * 1024)
#define URL_MAX        (64 * 1024) /* bytes: no server takes more */

bool http_is_clean(const char *text)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            return false;
    return true;
}

/* --- method and URL --- */

static int read_method(struct http_request *request, const struct http_source *source,
                       struct rota_error *error)
{
    const struct json_value *value = json_get(source->message, source->data, "method");
    if (value == NULL) {
        request->method = mem_string(request->has_body ? "POST" : "GET");
        return 0;
    }
    request->method = value->type == JSON_STRING ? json_text(value) : NULL;
    size_t length = request->method != NULL ? strlen(request->method) : 0;
    for (size_t i = 0; i < length; i++)
        if (!isupper((unsigned char)request->method[i]))
            length = 0;
    if (length == 0 || length > 20 || strcmp(request->method, "CONNECT") == 0 ||
        strcmp(request->method, "TRACE") == 0)
        return error_set(error, ERROR_REFUSED,
                         "\"method\" must be one like \"GET\" or \"POST\", in capitals");
    if (request->has_body && strcmp(request->method, "HEAD") == 0)
        return error_set(error, ERROR_REFUSED, "\"method\": HEAD has no body");
    return 0;
}

/* Everything but what RFC 3986 calls unreserved. */
static void put_escaped(struct buffer *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (isalnum((unsigned char)*text) || strchr("-._~", *text) != NULL)
            buffer_char(out, *text);
        else
            buffer_format(out, "%%%02X", (unsigned)(unsigned char)*text);
    }
}

/* The origin is written out in the first part, so that no pointer decides where the run goes. */
static int put_part(struct buffer *url, const struct http_source *source,
                    const struct json_value *part, struct rota_error *error)
{
    bool first = url->length == 0;
    char *text =
        first && part->type != JSON_STRING ? NULL : template_text(source->message, part, error);
    int failed = 0;
    const char *authority = text != NULL ? strstr(text, "://") : NULL;
    if (first && (authority == NULL || strpbrk(authority + 3, "/?") == NULL))
        failed = error_set(
            error, ERROR_REFUSED,
            "\"url\": the first part must be a text with the whole host and the slash after "
            "it, like \"https://example.org/\"");
    else if (text == NULL)
        failed = error_prefix(error, "\"url\"");
    else if (part->type == JSON_STRING)
        buffer_string(url, text);
    else if (strcmp(text, ".") == 0 || strcmp(text, "..") == 0)
        failed =
            error_set(error, ERROR_REFUSED, "\"url\": what a pointer names must not be . or ..");
    else
        put_escaped(url, text);
    free(text);
    return failed;
}

static int check_length(const struct buffer *url, struct rota_error *error)
{
    if (url->length <= URL_MAX)
        return 0;
    return error_set(error, ERROR_REFUSED, "\"url\" and \"query\": longer than %d bytes", URL_MAX);
}

static int read_address(struct buffer *url, const struct http_source *source,
                        struct rota_error *error)
{
    const struct json_value *value = json_get(source->message, source->data, "url");
    if (value == NULL)
        return error_set(error, ERROR_REFUSED,
                         "\"url\" is missing: a text like \"https://example.org/path\"");
    if (value->type == JSON_STRING) {
        char *text = json_text(value);
        buffer_string(url, text != NULL ? text : "");
        free(text);
        return 0;
    }
    if (value->type != JSON_ARRAY || value->count == 0)
        return error_set(error, ERROR_REFUSED,
                         "\"url\" must be a text, or a list of texts and pointers, like "
                         "[\"https://example.org/customers/\",{\"$pointer\":\"/data/customer\"}]");
    for (const struct json_value *part = json_first(source->message, value); part != NULL;
         part = json_next(source->message, part))
        if (put_part(url, source, part, error) != 0 || check_length(url, error) != 0)
            return -1;
    return 0;
}

static int read_query(struct buffer *url, const struct http_source *source,
                      struct rota_error *error)
{
    const struct json_value *query = json_get(source->message, source->data, "query");
    if (query == NULL)
        return 0;
    if (query->type != JSON_OBJECT)
        return error_set(error, ERROR_REFUSED,
                         "\"query\" must be an object like {\"page\":1,\"q\":\"text\"}");
    char mark = memchr(url->data, '?', url->length) == NULL ? '?' : '&';
    for (const struct json_value *key = json_first(source->message, query); key != NULL;
         key = json_next(source->message, key)) {
        char *name = json_text(key), *text = NULL;
        text = template_text(source->message, json_member(key), error);
        if (name != NULL && text != NULL) {
            buffer_char(url, mark);
            put_escaped(url, name);
            buffer_char(url, '=');
            put_escaped(url, text);
            mark = '&';
        }
        bool failed = name == NULL || text == NULL;
        if (failed)
            error_prefix(error, "\"query\": %.100s", name != NULL ? name : "a name");
        free(name);
        free(text);
        if (failed || check_length(url, error) != 0)
            return -1;
    }
    return 0;
}

static int read_url(struct http_request *request, const struct http_source *source,
                    struct rota_error *error)
{
    struct buffer url = {0};
    struct http_target target;
    int failed = read_address(&url, source, error);
    const char *fragment = failed == 0 && url.length > 0 ? memchr(url.data, '#', url.length) : NULL;
    if (fragment != NULL)
        url.length = (size_t)(fragment - url.data);
    if (failed == 0 && (!http_is_clean(buffer_text(&url)) || strchr(url.data, ' ') != NULL))
        failed = error_set(error, ERROR_REFUSED,
                           "\"url\" must not hold spaces, line breaks or other control characters");
    if (failed == 0 && http_target_read(&target, url.data, error) != 0)
        failed = error_prefix(error, "\"url\"");
    if (failed == 0) {
        http_target_free(&target);
        failed = read_query(&url, source, error);
    }
    if (failed == 0)
        failed = check_length(&url, error);
    if (failed == 0)
        request->url = mem_string(buffer_text(&url));
    buffer_free(&url);
    return failed;
}

/* --- body --- */

static int read_body(struct http_request *request, const struct http_source *source,
                     struct rota_error *error)
{
    const struct json_value *body = json_get(source->message, source->data, "body");
    if (body == NULL)
        return 0;
    request->has_body = true;
    const struct json_value *found = template_value(source->message, body, error);
    if (found == NULL)
        return error_prefix(error, "\"body\"");
    if (found->type != JSON_STRING) {
        if (template_write(&request->body, source->message, body, error) != 0)
            return error_prefix(error, "\"body\"");
        return 0;
    }
    char *text = json_text(found);
    if (text == NULL)
        return error_set(error, ERROR_REFUSED, "\"body\" must not hold U+0000");
    buffer_string(&request->body, text);
    free(text);
    return 0;
}

/* --- what is expected, and limits --- */

/* 200, "204", "2xx". */
static int read_status(const struct json_value *value, struct http_expect *ret_expect)
{
    int64_t status = 0;
    char *text = value->type == JSON_STRING ? json_text(value) : NULL;
    if (value->type == JSON_NUMBER)
        json_int64(value, &status);
    if (status > 999)
        status = 0; /* too large for an int, perhaps */
    if (text != NULL && strlen(text) == 3 && strcmp(text + 1, "xx") == 0 && isdigit(*text))
        *ret_expect = (struct http_expect){(*text - '0') * 100, (*text - '0') * 100 + 99};
    else
        *ret_expect = (struct http_expect){(int)status, (int)status};
    free(text);
    return ret_expect->low >= 100 && ret_expect->high <= 599 ? 0 : -1;
}

static int read_expect(struct http_request *request, const struct http_source *source,
                       struct rota_error *error)
{
    const struct json_value *list = json_get(source->message, source->data, "expect");
    if (list == NULL) {
        request->expect[request->expect_count++] = (struct http_expect){200, 299};
        return 0;
    }
    bool good = list->type == JSON_ARRAY && list->count > 0 && list->count <= HTTP_EXPECT_MAX;
    for (const struct json_value *item = good ? json_first(source->message, list) : NULL;
         good && item != NULL; item = json_next(source->message, item))
        good = read_status(item, &request->expect[request->expect_count++]) == 0;
    if (!good)
        return error_set(error, ERROR_REFUSED,
                         "\"expect\" must be a list of statuses like [200, 204] or [\"2xx\", 404]");
    return 0;
}

static int read_limits(struct http_request *request, const struct http_source *source,
                       struct rota_error *error)
{
    const struct json_value *timeout = json_get(source->message, source->data, "timeout");
    const struct json_value *follow = json_get(source->message, source->data, "follow");
    const struct json_value *most = json_get(source->message, source->data, "max_response");
    int64_t number = 0;
    request->timeout_us = TIMEOUT_US;
    request->response_max = RESPONSE_BYTES;
    if (timeout != NULL) {
        char *text = timeout->type == JSON_STRING ? json_text(timeout) : NULL;
        int failed = text != NULL ? duration_parse(text, &request->timeout_us) : -1;
        free(text);
        if (failed != 0 || request->timeout_us == 0)
            return error_set(error, ERROR_REFUSED, "\"timeout\" must be a duration like \"30s\"");
    }
    if (follow != NULL &&
        (json_int64(follow, &number) != 0 || number < 0 || number > HTTP_FOLLOW_MAX))
        return error_set(error, ERROR_REFUSED,
                         "\"follow\" must be a number of redirects from 0 to %d", HTTP_FOLLOW_MAX);
    request->follow = (int)number;
    if (most != NULL && (json_int64(most, &request->response_max) != 0 ||
                         request->response_max < 0 || request->response_max > HTTP_RESPONSE_MAX))
        return error_set(error, ERROR_REFUSED,
                         "\"max_response\" must be a number of bytes from 0 to %d",
                         HTTP_RESPONSE_MAX);
    return 0;
}

/* --- all together --- */

bool http_request_expects(const struct http_request *request, long status)
{
    for (size_t i = 0; i < request->expect_count; i++)
        if (status >= request->expect[i].low && status <= request->expect[i].high)
            return true;
    return false;
}

static int read_all(struct http_request *request, const struct http_source *source,
                    struct rota_error *error)
{
    if (source->data == NULL || source->data->type != JSON_OBJECT)
        return error_set(error, ERROR_REFUSED, "the data of an http job must be an object");
    return template_check(source->message, error) != 0 || read_body(request, source, error) != 0 ||
                   read_method(request, source, error) != 0 ||
                   read_url(request, source, error) != 0 ||
                   read_expect(request, source, error) != 0 ||
                   read_limits(request, source, error) != 0 ||
                   http_headers_read(request, source, error) != 0 ||
                   http_sign(request, source, error) != 0
               ? -1
               : 0;
}

int http_request_read(struct http_request *ret_request, struct slice line,
                      const struct builtin_settings *settings, struct rota_error *error)
{
    struct http_request request = {0};
    struct json message;
    if (json_parse(&message, line.data, line.length, error) != 0)
        return -1;
    const struct http_source source = {&message, json_get(&message, &message.values[0], "data"),
                                       settings};
    int failed = read_all(&request, &source, error);
    json_free(&message);
    if (failed != 0) {
        http_request_free(&request);
        return -1;
    }
    *ret_request = request;
    return 0;
}

void http_request_free(struct http_request *request)
{
    for (size_t i = 0; i < request->header_count; i++) {
        free(request->headers[i].name);
        free(request->headers[i].value);
    }
    for (size_t i = 0; i < request->secret_count; i++) {
        explicit_bzero(request->secrets[i], strlen(request->secrets[i]));
        free(request->secrets[i]);
    }
    free(request->secrets);
    free(request->method);
    free(request->url);
    buffer_free(&request->body);
    *request = (struct http_request){0};
}
