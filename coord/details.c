/* JSON the history keeps: see details.h. Users' own JSON goes in as the bytes it came as. */
#include "coord/details.h"

#include "base/instant.h"
#include "base/memory.h"
#include "base/text.h"

#include <string.h>

/* At most DETAILS_STRING_MAX characters, never half of one. */
static size_t elide(const char *text, size_t length)
{
    size_t at = 0;
    for (int characters = 0; at < length && characters < DETAILS_STRING_MAX; characters++) {
        size_t size = text_utf8_length(text + at, length - at);
        at += size > 0 ? size : 1;
    }
    return at < length ? at : length;
}

static void put_text(struct buffer *out, const char *key, const char *text, size_t length)
{
    if (text == NULL)
        return;
    buffer_format(out, "%s\"%s\":", out->data[out->length - 1] == '{' ? "" : ",", key);
    buffer_json(out, text, elide(text, length));
}

static void put_raw(struct buffer *out, const char *key, struct slice json)
{
    if (json.data == NULL)
        return;
    buffer_format(out, "%s\"%s\":", out->data[out->length - 1] == '{' ? "" : ",", key);
    if (json.length <= DETAILS_JSON_MAX)
        buffer_append(out, json.data, json.length);
    else
        buffer_string(out, "\"[left out: too large]\"");
}

char *details_success(const struct worker_result *result, const struct run *run)
{
    struct slice details = result->details;
    if (details.data != NULL && details.length > DETAILS_JSON_MAX)
        details = slice_of("{\"truncated\":true}");
    if (run->earlier == NULL)
        return details.data != NULL ? mem_string_n(details.data, details.length) : NULL;
    struct buffer out = {0};
    bool object = details.data != NULL && details.length > 2 && details.data[0] == '{';
    if (object)
        buffer_append(&out, details.data, details.length - 1);
    else
        buffer_char(&out, '{');
    put_raw(&out, "attempts", slice_of(run->earlier));
    buffer_string(&out, "}");
    buffer_char(&out, '\0');
    return out.data;
}

char *details_failure(const struct worker_result *result, const struct run *run, const char *status,
                      const char *exception, const char *message)
{
    struct buffer out = {0};
    buffer_char(&out, '{');
    put_text(&out, "status", status, strlen(status));
    if (result != NULL && result->exception.data != NULL)
        put_text(&out, "exception", result->exception.data, result->exception.length);
    else if (exception != NULL)
        put_text(&out, "exception", exception, strlen(exception));
    if (result != NULL && result->message.data != NULL)
        put_text(&out, "message", result->message.data, result->message.length);
    else if (message != NULL)
        put_text(&out, "message", message, strlen(message));
    if (result != NULL) {
        put_raw(&out, "stacktrace", result->stacktrace);
        put_raw(&out, "ex-data", result->ex_data);
        put_raw(&out, "original-info", result->details);
    }
    put_raw(&out, "attempts", slice_of(run->earlier));
    buffer_char(&out, '}');
    buffer_char(&out, '\0');
    return out.data;
}

char *details_entry(const struct run *run, const char *node, const char *outcome, const char *message)
{
    struct buffer out = {0};
    char when[TIME_TEXT_SIZE];
    buffer_format(&out, "{\"attempt\":%d", run->attempt);
    put_text(&out, "node", node, strlen(node));
    if (run->started_us != 0) {
        instant_format(run->started_us, when);
        put_text(&out, "started_at", when, strlen(when));
    }
    put_text(&out, "outcome", outcome, strlen(outcome));
    if (message != NULL)
        put_text(&out, "message", message, strlen(message));
    buffer_char(&out, '}');
    buffer_char(&out, '\0');
    return out.data;
}
