/* Puts parts of the run message into a run's data: see template.h. */
#include "worker/builtin/template.h"

#include "base/memory.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

int template_check(const struct json *message, struct rota_error *error)
{
    int pointers = 0;
    for (uint32_t i = 0; i < message->count; i++)
        pointers += json_is(&message->values[i], "$pointer");
    if (pointers <= TEMPLATE_POINTERS_MAX)
        return 0;
    return error_set(error, ERROR_REFUSED, "the data hold %d times $pointer: at most %d are taken",
                     pointers, TEMPLATE_POINTERS_MAX);
}

/* One step of a pointer, without its escapes. */
static char *step_text(const char *step, size_t length)
{
    char *text = mem_string_n(step, length), *to = text;
    for (const char *at = text; *at != '\0'; at++) {
        bool escaped = at[0] == '~' && (at[1] == '0' || at[1] == '1');
        *to++ = !escaped ? *at : at[1] == '0' ? '~' : '/';
        at += escaped;
    }
    *to = '\0';
    return text;
}

static const struct json_value *take_step(const struct json *json, const struct json_value *from,
                                          const char *step)
{
    int64_t index;
    if (from->type == JSON_OBJECT)
        return json_get(json, from, step);
    if (from->type != JSON_ARRAY || text_int64(step, strlen(step), &index) != 0 || index < 0 ||
        index >= from->count || (step[0] == '0' && step[1] != '\0'))
        return NULL;
    const struct json_value *item = json_first(json, from);
    while (index-- > 0)
        item = json_next(json, item);
    return item;
}

const struct json_value *template_find(const struct json *message, const char *pointer)
{
    const struct json_value *value = &message->values[0];
    while (*pointer == '/' && value != NULL) {
        size_t length = strcspn(pointer + 1, "/");
        char *step = step_text(pointer + 1, length);
        value = take_step(message, value, step);
        free(step);
        pointer += length + 1;
    }
    return *pointer == '\0' ? value : NULL;
}

static const struct json_value *follow(const struct json *message, const struct json_value *object,
                                       const struct json_value *pointer, struct rota_error *error)
{
    const struct json_value *otherwise = json_get(message, object, "default");
    char *text = pointer->type == JSON_STRING ? json_text(pointer) : NULL;
    const struct json_value *found = NULL;
    if (text == NULL || text[0] != '/' || object->count != (otherwise != NULL ? 2 : 1)) {
        error_set(error, ERROR_REFUSED,
                  "a pointer is {\"$pointer\":\"/data/…\"}, with a \"default\" if need be and "
                  "nothing else");
    } else {
        found = template_find(message, text);
        if (found == NULL)
            found = otherwise;
        if (found == NULL)
            error_set(error, ERROR_REFUSED,
                      "$pointer %.200s names nothing in this run's message, and there is no "
                      "\"default\"",
                      text);
    }
    free(text);
    return found;
}

const struct json_value *template_value(const struct json *message, const struct json_value *value,
                                        struct rota_error *error)
{
    const struct json_value *pointer =
        value->type == JSON_OBJECT ? json_get(message, value, "$pointer") : NULL;
    return pointer != NULL ? follow(message, value, pointer, error) : value;
}

char *template_text(const struct json *message, const struct json_value *value,
                    struct rota_error *error)
{
    char *text = NULL;
    value = template_value(message, value, error);
    if (value == NULL)
        return NULL;
    if (value->type == JSON_STRING)
        text = json_text(value);
    else if (value->type == JSON_NUMBER || value->type == JSON_BOOL)
        text = mem_string_n(value->raw.data, value->raw.length);
    if (text == NULL)
        error_set(error, ERROR_REFUSED,
                  "must be a text without U+0000, a number, true or false, not %s",
                  json_type_name(value->type));
    return text;
}

static int write_children(struct buffer *out, const struct json *message,
                          const struct json_value *parent, struct rota_error *error)
{
    bool object = parent->type == JSON_OBJECT, first = true;
    buffer_char(out, object ? '{' : '[');
    for (const struct json_value *child = json_first(message, parent); child != NULL;
         child = json_next(message, child)) {
        if (!first)
            buffer_char(out, ',');
        first = false;
        if (object) {
            buffer_append(out, child->raw.data, child->raw.length);
            buffer_char(out, ':');
        }
        if (template_write(out, message, object ? json_member(child) : child, error) != 0)
            return -1;
    }
    buffer_char(out, object ? '}' : ']');
    return 0;
}

int template_write(struct buffer *out, const struct json *message, const struct json_value *value,
                   struct rota_error *error)
{
    const struct json_value *found = template_value(message, value, error);
    if (found == NULL)
        return -1;
    if (out->length + found->raw.length > TEMPLATE_MAX)
        return error_set(error, ERROR_REFUSED,
                         "with what its pointers name it becomes longer than 4 MiB");
    bool parent = value->type == JSON_OBJECT || value->type == JSON_ARRAY;
    if (found == value && parent &&
        memmem(value->raw.data, value->raw.length, "pointer", strlen("pointer")) != NULL)
        return write_children(out, message, value, error);
    buffer_append(out, found->raw.data, found->raw.length);
    return 0;
}
