/* JSON the history keeps: see details.h. Users' own JSON goes in as the bytes it came as. */
#include "coord/details.h"

#include "base/instant.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

static size_t elide(const char *text, size_t length)
{
    return text_cut(text, length, DETAILS_STRING_MAX);
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

static bool is_long(const struct json_value *string)
{
    return string->raw.length - 2 > elide(string->raw.data + 1, string->raw.length - 2);
}

static void put_cut_string(struct buffer *out, const struct json_value *string)
{
    char *text = is_long(string) ? json_text(string) : NULL;
    if (text != NULL)
        buffer_json(out, text, elide(text, strlen(text)));
    else
        buffer_append(out, string->raw.data, string->raw.length);
    free(text);
}

static void put_cut(struct buffer *out, const struct json *json, const struct json_value *value)
{
    bool object = value->type == JSON_OBJECT;
    if (value->type == JSON_STRING) {
        put_cut_string(out, value);
        return;
    }
    if (!object && value->type != JSON_ARRAY) {
        buffer_append(out, value->raw.data, value->raw.length);
        return;
    }
    uint32_t left = object ? value->count : DETAILS_LIST_MAX;
    buffer_char(out, object ? '{' : '[');
    for (const struct json_value *at = json_first(json, value); at != NULL && left > 0;
         at = json_next(json, at)) {
        if (out->data[out->length - 1] != '{' && out->data[out->length - 1] != '[')
            buffer_char(out, ',');
        if (object) {
            buffer_append(out, at->raw.data, at->raw.length);
            buffer_char(out, ':');
        }
        put_cut(out, json, object ? json_member(at) : at);
        left--;
    }
    buffer_char(out, object ? '}' : ']');
}

/* As it came, unless a string in it or a list is too long. */
static void put_limited(struct buffer *out, const char *key, struct slice text)
{
    struct json json;
    if (text.data == NULL || json_parse(&json, text.data, text.length, NULL) != 0)
        return;
    bool fits = true;
    for (uint32_t i = 0; i < json.count && fits; i++)
        fits = json.values[i].type == JSON_STRING  ? !is_long(&json.values[i])
               : json.values[i].type == JSON_ARRAY ? json.values[i].count <= DETAILS_LIST_MAX
                                                   : true;
    struct buffer cut = {0};
    if (!fits)
        put_cut(&cut, &json, json.values);
    put_raw(out, key, fits ? text : (struct slice){cut.data, cut.length});
    buffer_free(&cut);
    json_free(&json);
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
        put_limited(&out, "stacktrace", result->stacktrace);
        put_limited(&out, "ex-data", result->ex_data);
        put_raw(&out, "original-info", result->details);
    }
    put_raw(&out, "attempts", slice_of(run->earlier));
    buffer_char(&out, '}');
    buffer_char(&out, '\0');
    return out.data;
}

char *details_entry(const struct run *run, const char *node, const char *outcome,
                    const char *message)
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

char *details_headline(const char *details)
{
    static const char *const names[] = {"message", "output"};
    struct json json;
    char *text = NULL;
    if (details == NULL || json_parse(&json, details, strlen(details), NULL) != 0)
        return NULL;
    for (size_t i = 0; i < 2 && text == NULL; i++) {
        const struct json_value *value = json_get(&json, json.values, names[i]);
        if (value != NULL && value->type == JSON_STRING)
            text = json_text(value);
    }
    json_free(&json);
    if (text != NULL) {
        size_t length = strcspn(text, "\r\n");
        text[elide(text, length)] = '\0';
    }
    return text;
}
