/*
 * How a request of the handler `http` ends: with a redirect that is followed, or with an answer to
 * the run. What the history says of it never holds a secret of the request, even where the server
 * sends it back.
 */
#include "worker/builtin/http.h"

#include "base/memory.h"
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECRET_SHORTEST 4 /* bytes: shorter ones are no secrets, and are in every text */

/* --- details --- */

/*
 * Found in `text` and covered in `clean`, so that of two secrets that overlap both are. `cut`: the
 * text went on, and what it ends with may be the beginning of one.
 */
static void cover(char *clean, const char *text, size_t length, bool cut, const char *secret)
{
    size_t size = strlen(secret), tail = cut && length > 0 ? size - 1 : 0;
    const char *at = text;
    while ((at = memmem(at, length - (size_t)(at - text), secret, size)) != NULL) {
        memset(clean + (at - text), '*', size);
        at++;
    }
    for (tail = tail < length ? tail : length; tail >= SECRET_SHORTEST; tail--) {
        if (memcmp(text + length - tail, secret, tail) == 0) {
            memset(clean + length - tail, '*', tail);
            return;
        }
    }
}

/* Without the request's secrets. */
static void put_text(struct buffer *out, const struct http *http, struct slice text, bool cut)
{
    struct buffer clean = {0};
    buffer_append(&clean, text.data, text.length);
    for (size_t i = 0; text.length > 0 && i < http->request.secret_count; i++)
        if (strlen(http->request.secrets[i]) >= SECRET_SHORTEST)
            cover(clean.data, text.data, text.length, cut, http->request.secrets[i]);
    builtin_text(out, clean.data, clean.length);
    buffer_free(&clean);
}

static void put_header(struct buffer *out, const struct http *http, const char *name,
                       const char *value)
{
    if (value == NULL)
        return;
    size_t length = strnlen(value, HTTP_SHOWN_MAX);
    buffer_format(out, "%s\"%s\":", out->data[out->length - 1] == '{' ? "" : ",", name);
    put_text(out, http, (struct slice){value, length}, value[length] != '\0');
}

/* What is kept of the body, up to the end of a character. */
static size_t whole_length(const struct http *http)
{
    size_t length = http->body.length;
    for (int back = 1; length == HTTP_KEPT_MAX && back <= 3; back++) {
        unsigned char byte = (unsigned char)http->body.data[length - (size_t)back];
        if (byte >= 0xc0)
            return text_utf8_length(http->body.data + length - back, (size_t)back) > 0
                       ? length
                       : length - (size_t)back;
        if (byte < 0x80)
            return length;
    }
    return length;
}

static void write_details(struct buffer *out, const struct http *http)
{
    buffer_format(out, "{\"status\":%ld,\"headers\":{", http->status);
    put_header(out, http, "content-type", http->content_type);
    put_header(out, http, "location", http->location);
    put_header(out, http, "retry-after", http->retry_after);
    buffer_string(out, "},\"body\":");
    struct slice body = {http->body.data, whole_length(http)};
    size_t start = out->length;
    bool cut = http->truncated || http->received > body.length;
    put_text(out, http, body, cut);
    /* control characters take six bytes, and the history takes 32 KiB */
    while (out->length - start > 3 * (size_t)HTTP_KEPT_MAX) {
        out->length = start;
        body.length /= 2;
        cut = true;
        put_text(out, http, body, cut);
    }
    buffer_format(out, ",\"body_truncated\":%s,\"redirects\":%d}", cut ? "true" : "false",
                  http->redirects);
}

/* --- answers --- */

void http_fail(struct http *http, const char *exception, const char *message, bool final)
{
    struct buffer details = {0}, text = {0};
    if (http->status != 0)
        write_details(&details, http);
    buffer_string(&text, message);
    struct builtin_failure said = {.exception = exception,
                                   .message = {text.data, text.length},
                                   .details = {details.data, details.length},
                                   .final = final};
    builtin_fail(http->task.builtin, http->task.id, http->task.fence, &said);
    buffer_free(&details);
    buffer_free(&text);
    http_free(http);
}

/* Another attempt may end otherwise: too early, too many, or the server's own trouble. */
static bool is_temporary(long status)
{
    return status >= 500 || status == 408 || status == 425 || status == 429;
}

void http_answer(struct http *http)
{
    char exception[32], message[200];
    if (http_request_expects(&http->request, http->status)) {
        struct buffer details = {0};
        write_details(&details, http);
        builtin_done(http->task.builtin, http->task.id, http->task.fence,
                     (struct slice){details.data, details.length});
        buffer_free(&details);
        http_free(http);
        return;
    }
    snprintf(exception, sizeof exception, "status %ld", http->status);
    snprintf(message, sizeof message, "%.100s answered with status %ld, which is not expected%s",
             http->target.host, http->status,
             http->status >= 300 && http->status < 400 && http->location != NULL
                 ? "; \"follow\" lets redirects be followed"
                 : "");
    http_fail(http, exception, message, !is_temporary(http->status));
}

/* --- redirects --- */

static bool is_redirect(const struct http *http)
{
    long status = http->status;
    return http->location != NULL &&
           (status == 301 || status == 302 || status == 303 || status == 307 || status == 308);
}

/* Where the location leads, as a whole URL to be freed; NULL with error. */
static char *next_url(const struct http *http, struct rota_error *error)
{
    CURLU *url = curl_url();
    char *text = NULL, *copy = NULL;
    if (url != NULL && curl_url_set(url, CURLUPART_URL, http->request.url, 0) == CURLUE_OK &&
        http_is_clean(http->location) &&
        curl_url_set(url, CURLUPART_URL, http->location,
                     CURLU_URLENCODE | CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK) {
        curl_url_set(url, CURLUPART_FRAGMENT, NULL, 0);
        if (curl_url_get(url, CURLUPART_URL, &text, 0) == CURLUE_OK)
            copy = mem_string(text);
    }
    curl_free(text);
    curl_url_cleanup(url);
    if (copy == NULL)
        error_set(error, ERROR_REFUSED, "the location is no URL");
    return copy;
}

/* As browsers do: what was posted is not posted again unless the server says so (307, 308). */
static void drop_body(struct http *http)
{
    struct http_request *request = &http->request;
    bool keeps = http->status >= 307 || strcmp(request->method, "GET") == 0 ||
                 strcmp(request->method, "HEAD") == 0;
    if (keeps || (http->status != 303 && strcmp(request->method, "POST") != 0))
        return;
    free(request->method);
    request->method = mem_string("GET");
    request->has_body = false;
    buffer_free(&request->body);
}

static int follow(struct http *http, struct rota_error *error)
{
    struct http_target target;
    char *url = next_url(http, error);
    if (url == NULL || http_target_read(&target, url, error) != 0) {
        free(url);
        return -1;
    }
    if (http->target.secure && !target.secure) {
        free(url);
        http_target_free(&target);
        return error_set(error, ERROR_REFUSED, "it leads from https to http");
    }
    drop_body(http);
    http_target_free(&http->target);
    free(http->request.url);
    http->target = target;
    http->request.url = url;
    http->redirects++;
    return 0;
}

void http_ended(struct http *http, CURLcode code)
{
    struct rota_error error = {0};
    const char *why = http->curl_error[0] != '\0' ? http->curl_error : curl_easy_strerror(code);
    curl_easy_getinfo(http->easy, CURLINFO_RESPONSE_CODE, &http->status);
    if (http->refused.message[0] != '\0') {
        http_fail(http, "target refused", http->refused.message, true);
    } else if (code != CURLE_OK && !http->truncated) {
        http->status = 0;
        http_fail(http, "network", why, false);
    } else if (is_redirect(http) && !http_request_expects(&http->request, http->status) &&
               http->redirects < http->request.follow) {
        http_close(http);
        if (follow(http, &error) == 0) {
            http_open(http);
            return;
        }
        error_prefix(&error, "the redirect of %.100s is not followed", http->target.host);
        http_fail(http, "redirect refused", error.message, true);
    } else {
        http_answer(http);
    }
}
