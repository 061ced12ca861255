/*
 * The headers of an http run: those of its data, those that tell the receiver which run it is, and
 * the signature. None holds a line break, so that none becomes two.
 */
#include "worker/builtin/http.h"

#include "worker/builtin/secret.h"
#include "worker/builtin/template.h"

#include "base/clock.h"
#include "base/memory.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define VALUE_MAX 8192 /* bytes: servers take no longer headers */

static struct http_header *find_header(struct http_request *request, const char *name)
{
    for (size_t i = 0; i < request->header_count; i++)
        if (strcasecmp(request->headers[i].name, name) == 0)
            return &request->headers[i];
    return NULL;
}

/* Takes `value`. What the data says wins over what is sent by itself. */
static struct http_header *add_header(struct http_request *request, const char *name, char *value)
{
    if (find_header(request, name) != NULL || request->header_count == HTTP_HEADERS_MAX) {
        free(value);
        return NULL;
    }
    struct http_header *header = &request->headers[request->header_count++];
    *header = (struct http_header){.name = mem_string(name), .value = value};
    return header;
}

static bool is_any(const char *name, const char *const *names)
{
    for (; *names != NULL; names++)
        if (strcasecmp(name, *names) == 0)
            return true;
    return false;
}

static int check_name(const char *name, struct rota_error *error)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                  "!#$%&'*+-.^_`|~";
    static const char *const own[] = {"Host",
                                      "Content-Length",
                                      "Transfer-Encoding",
                                      "Connection",
                                      "Upgrade",
                                      "Expect",
                                      "Trailer",
                                      "TE",
                                      "Proxy-Authorization",
                                      NULL};
    size_t length = name != NULL ? strlen(name) : 0;
    if (length == 0 || length > 100 || strspn(name, letters) != length)
        return error_set(error, ERROR_REFUSED, "\"headers\": \"%.100s\" is no name of a header",
                         length > 0 ? name : "");
    if (is_any(name, own))
        return error_set(error, ERROR_REFUSED,
                         "\"headers\": %s is set by the connection, not by a job", name);
    return 0;
}

static void keep_secret(struct http_request *request, char *secret)
{
    request->secrets =
        mem_resize(request->secrets, request->secret_count + 1, sizeof *request->secrets);
    request->secrets[request->secret_count++] = secret;
}

static int read_header(struct http_request *request, const struct http_source *source,
                       const struct json_value *key, const char *name, struct rota_error *error)
{
    static const char *const bound[] = {"Authorization", "Cookie", NULL};
    const struct json_value *value = json_member(key);
    bool is_secret = secret_is(source->message, value);
    char *secret = NULL;
    char *text = is_secret ? secret_read(source->message, value, source->settings, &secret, error)
                           : template_text(source->message, value, error);
    if (secret != NULL)
        keep_secret(request, secret);
    if (text == NULL)
        return error_prefix(error, "\"headers\": %s", name);
    if (!http_is_clean(text) || strlen(text) > VALUE_MAX) {
        free(text);
        return error_set(error, ERROR_REFUSED,
                         "\"headers\": the value of %s must be at most %d bytes without line "
                         "breaks and other control characters",
                         name, VALUE_MAX);
    }
    struct http_header *header = add_header(request, name, text);
    if (header == NULL)
        return error_set(error, ERROR_REFUSED,
                         "\"headers\": %s stands there twice, or there are too many", name);
    header->bound = is_secret || is_any(name, bound);
    header->body = strncasecmp(name, "Content-", 8) == 0;
    return 0;
}

static int read_given(struct http_request *request, const struct http_source *source,
                      struct rota_error *error)
{
    const struct json_value *headers = json_get(source->message, source->data, "headers");
    if (headers == NULL)
        return 0;
    if (headers->type != JSON_OBJECT || headers->count > HTTP_HEADERS_MAX / 2)
        return error_set(error, ERROR_REFUSED,
                         "\"headers\" must be an object of at most %d texts, like "
                         "{\"Accept\":\"text/plain\"}",
                         HTTP_HEADERS_MAX / 2);
    for (const struct json_value *key = json_first(source->message, headers); key != NULL;
         key = json_next(source->message, key)) {
        char *name = json_text(key);
        int failed = check_name(name, error);
        if (failed == 0)
            failed = read_header(request, source, key, name, error);
        free(name);
        if (failed != 0)
            return -1;
    }
    return 0;
}

/* A member of the run's message as it stands there: numbers, and texts that need no escapes. */
static void add_member(struct http_request *request, const struct http_source *source,
                       const char *name, const char *member)
{
    const struct json_value *value = json_get(source->message, &source->message->values[0], member);
    char *text = value != NULL ? template_text(source->message, value, NULL) : NULL;
    if (text != NULL && http_is_clean(text))
        add_header(request, name, text);
    else
        free(text);
}

/* Whether the body's JSON is a text that goes out as it is. */
static bool is_text(const struct http_source *source)
{
    const struct json_value *body = json_get(source->message, source->data, "body");
    const struct json_value *found =
        body != NULL ? template_value(source->message, body, NULL) : NULL;
    return found != NULL && found->type == JSON_STRING;
}

int http_headers_read(struct http_request *request, const struct http_source *source,
                      struct rota_error *error)
{
    if (read_given(request, source, error) != 0)
        return -1;
    if (request->has_body) {
        const char *type = is_text(source) ? "text/plain; charset=utf-8" : "application/json";
        struct http_header *header = add_header(request, "Content-Type", mem_string(type));
        if (header != NULL)
            header->body = true;
    }
    add_header(request, "User-Agent", mem_string("rota/" ROTA_VERSION));
    add_member(request, source, "Idempotency-Key", "id");
    add_member(request, source, "X-Rota-Run", "id");
    add_member(request, source, "X-Rota-Fence", "fence");
    add_member(request, source, "X-Rota-Attempt", "attempt");
    add_member(request, source, "traceparent", "traceparent");
    return 0;
}

/* --- the signature --- */

static char *hex(const unsigned char *bytes, size_t length)
{
    struct buffer text = {0};
    for (size_t i = 0; i < length; i++)
        buffer_format(&text, "%02x", bytes[i]);
    buffer_text(&text);
    return text.data;
}

static int add_signature(struct http_request *request, const char *name, const char *secret,
                         struct rota_error *error)
{
    struct buffer signed_text = {0};
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    long long now_s = (long long)(clock_wall_us() / US_PER_SECOND);
    buffer_format(&signed_text, "%lld.", now_s);
    if (request->body.length > 0)
        buffer_append(&signed_text, request->body.data, request->body.length);
    bool made =
        HMAC(EVP_sha256(), secret, (int)strlen(secret), (const unsigned char *)signed_text.data,
             signed_text.length, mac, &length) != NULL;
    buffer_free(&signed_text);
    if (!made)
        return error_set(error, ERROR_NOT_FOUND, "\"sign\": no signature could be made");
    char *text = hex(mac, length), *value = mem_format("t=%lld,v1=%s", now_s, text);
    free(text);
    struct http_header *header = add_header(request, name, value);
    if (header == NULL)
        return error_set(error, ERROR_REFUSED, "\"sign\": \"headers\" has %s, too", name);
    header->bound = header->body = true;
    return 0;
}

int http_sign(struct http_request *request, const struct http_source *source,
              struct rota_error *error)
{
    const struct json_value *sign = json_get(source->message, source->data, "sign");
    if (sign == NULL)
        return 0;
    const struct json_value *secret = json_get(source->message, sign, "secret");
    const struct json_value *header = json_get(source->message, sign, "header");
    if (sign->type != JSON_OBJECT || secret == NULL || !secret_is(source->message, secret) ||
        sign->count != (header != NULL ? 2 : 1) || (header != NULL && header->type != JSON_STRING))
        return error_set(error, ERROR_REFUSED,
                         "\"sign\" must be an object like {\"secret\":{\"env\":\"HOOK_KEY\"}}, "
                         "with a \"header\" if need be");
    char *name = header != NULL ? json_text(header) : mem_string("X-Rota-Signature");
    char *found = NULL;
    char *key = secret_read(source->message, secret, source->settings, &found, error);
    int failed = key != NULL ? check_name(name, error) : error_prefix(error, "\"sign\"");
    if (found != NULL)
        keep_secret(request, found);
    if (failed == 0)
        failed = add_signature(request, name, key, error);
    free(key);
    free(name);
    return failed;
}
