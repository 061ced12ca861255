/* Reading and writing the lines of worker protocol 1: see protocol.h. */
#include "worker/protocol.h"

#include "worker/worker.h"

#include "base/clock.h"
#include "base/instant.h"
#include "base/json.h"
#include "base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- reading --- */

static const char *const type_names[] = {
    [PROTOCOL_HELLO] = "hello",
    [PROTOCOL_DONE] = "done",
    [PROTOCOL_FAIL] = "fail",
    [PROTOCOL_PROGRESS] = "progress",
    [PROTOCOL_CHECKPOINT] = "checkpoint",
    [PROTOCOL_LOG] = "log",
    [PROTOCOL_SNOOZE] = "snooze",
    [PROTOCOL_REFUSE] = "refuse",
    [PROTOCOL_LOCK] = "lock",
    [PROTOCOL_UNLOCK] = "unlock",
    [PROTOCOL_WELCOME] = "welcome",
    [PROTOCOL_RUN] = "run",
    [PROTOCOL_CANCEL] = "cancel",
    [PROTOCOL_DRAIN] = "drain",
    [PROTOCOL_LEASE] = "lease",
};

enum field_kind {
    FIELD_INT,
    FIELD_NUMBER,
    FIELD_BOOL,
    FIELD_TEXT,
    FIELD_DURATION,
    FIELD_JSON,
    FIELD_OBJECT,
    FIELD_ARRAY,
    FIELD_NAMES,
    FIELD_ALIASES,
};

static const char *const kind_names[] = {
    [FIELD_INT] = "a whole number",
    [FIELD_NUMBER] = "a number",
    [FIELD_BOOL] = "true or false",
    [FIELD_TEXT] = "a string",
    [FIELD_DURATION] = "a duration like \"10m\"",
    [FIELD_JSON] = "JSON",
    [FIELD_OBJECT] = "an object",
    [FIELD_ARRAY] = "an array",
    [FIELD_NAMES] = "an array of strings",
    [FIELD_ALIASES] = "an object of up to 256 names, each with the name it stands for",
};

struct field {
    const char *name;
    enum field_kind kind;
    size_t offset;
    uint32_t types;    /* messages it belongs to; in others it is unknown, thus ignored */
    uint32_t required; /* messages that need it */
};

#define T(type)   (1u << PROTOCOL_##type)
#define AT(field) offsetof(struct protocol_message, field)
#define OF_RUN                                                                                     \
    (T(DONE) | T(FAIL) | T(PROGRESS) | T(CHECKPOINT) | T(LOG) | T(SNOOZE) | T(REFUSE) | T(RUN) |   \
     T(CANCEL))

/* A message names its fields in this order, mostly: see find_field(). */
static const struct field fields[] = {
    {"id", FIELD_INT, AT(id), OF_RUN | T(LOCK), OF_RUN},
    {"fence", FIELD_INT, AT(fence), OF_RUN | T(LOCK), OF_RUN},
    {"job", FIELD_TEXT, AT(job), T(RUN), 0},
    {"handler", FIELD_TEXT, AT(handler), T(RUN), T(RUN)},
    {"data", FIELD_JSON, AT(data), T(DONE) | T(CHECKPOINT) | T(RUN), T(CHECKPOINT)},
    {"trigger", FIELD_TEXT, AT(trigger), T(RUN), 0},
    {"fire_time", FIELD_TEXT, AT(fire_time), T(RUN), 0},
    {"scheduled_time", FIELD_TEXT, AT(scheduled_time), T(RUN), 0},
    {"attempt", FIELD_INT, AT(attempt), T(RUN), 0},
    {"recovering", FIELD_BOOL, AT(recovering), T(RUN), 0},
    {"missed", FIELD_INT, AT(missed), T(RUN), 0},
    {"traceparent", FIELD_TEXT, AT(traceparent), T(RUN), 0},
    {"details", FIELD_OBJECT, AT(details), T(DONE) | T(FAIL), 0},
    {"exception", FIELD_TEXT, AT(exception), T(FAIL), 0},
    {"message", FIELD_TEXT, AT(message), T(FAIL) | T(PROGRESS) | T(LOG), T(LOG)},
    {"stacktrace", FIELD_ARRAY, AT(stacktrace), T(FAIL), 0},
    {"ex_data", FIELD_OBJECT, AT(ex_data), T(FAIL), 0},
    {"retry", FIELD_BOOL, AT(retry), T(FAIL), 0},
    {"unschedule", FIELD_BOOL, AT(unschedule), T(DONE) | T(FAIL), 0},
    {"fraction", FIELD_NUMBER, AT(fraction), T(PROGRESS), 0},
    {"level", FIELD_TEXT, AT(level), T(LOG), 0},
    {"for", FIELD_DURATION, AT(duration_us), T(SNOOZE), T(SNOOZE)},
    {"reason", FIELD_TEXT, AT(reason), T(REFUSE) | T(CANCEL), 0},
    {"protocol", FIELD_INT, AT(protocol), T(HELLO) | T(WELCOME), T(HELLO)},
    {"handlers", FIELD_NAMES, AT(handlers), T(HELLO), T(HELLO)},
    {"aliases", FIELD_ALIASES, AT(aliases), T(HELLO), 0},
    {"slots", FIELD_INT, AT(slots), T(HELLO), 0},
    {"version", FIELD_TEXT, AT(version), T(HELLO), 0},
    {"name", FIELD_TEXT, AT(name), T(HELLO) | T(LOCK), T(LOCK)},
    {"token", FIELD_TEXT, AT(token), T(HELLO), 0},
    {"honours_lease", FIELD_BOOL, AT(honours_lease), T(HELLO), 0},
    {"ref", FIELD_INT, AT(ref), T(LOCK) | T(UNLOCK) | T(LEASE), T(LOCK) | T(UNLOCK)},
    {"wait", FIELD_DURATION, AT(duration_us), T(LOCK), 0},
    {"shared", FIELD_BOOL, AT(shared), T(LOCK), 0},
    {"scope", FIELD_TEXT, AT(scope), T(LOCK), 0},
    {"grace", FIELD_DURATION, AT(duration_us), T(DRAIN), 0},
};

#define FIELD_COUNT (sizeof fields / sizeof *fields)

_Static_assert(FIELD_COUNT <= 64, "which fields were given is kept in one word");

/* Looks behind the field found last before it looks at the others: there it is, mostly. */
static const struct field *find_field(const struct json_value *key, enum protocol_type type,
                                      size_t last)
{
    for (size_t i = 0, at = last; i < FIELD_COUNT; i++) {
        at = at + 1 < FIELD_COUNT ? at + 1 : 0;
        if ((fields[at].types & (1u << type)) != 0 && json_is(key, fields[at].name))
            return &fields[at];
    }
    return NULL;
}

static enum protocol_type find_type(const struct json_value *value)
{
    for (int type = PROTOCOL_HELLO; type <= PROTOCOL_LEASE; type++)
        if (json_is(value, type_names[type]))
            return (enum protocol_type)type;
    return PROTOCOL_UNKNOWN;
}

static int read_text(struct protocol_message *message, const struct json_value *value,
                     struct slice *ret_text)
{
    if (value->type != JSON_STRING)
        return -1;
    struct slice inner = {value->raw.data + 1, value->raw.length - 2};
    *ret_text = inner;
    if (!value->escaped)
        return 0;
    char *text = json_text(value);
    if (text == NULL)
        return 0; /* holds U+0000 */
    if (message->text_count == PROTOCOL_TEXTS_MAX) {
        free(text);
        return -1;
    }
    message->texts[message->text_count++] = text;
    *ret_text = slice_of(text);
    return 0;
}

static int read_duration(const struct json_value *value, int64_t *ret_duration_us)
{
    int64_t duration_us;
    char *text = value->type == JSON_STRING ? json_text(value) : NULL;
    int failed = text == NULL || duration_parse(text, &duration_us) != 0 || duration_us < 0;
    free(text);
    if (failed)
        return -1;
    *ret_duration_us =
        duration_us < PROTOCOL_DURATION_MAX_US ? duration_us : PROTOCOL_DURATION_MAX_US;
    return 0;
}

static int read_names(const struct json *json, struct protocol_message *message,
                      const struct json_value *array)
{
    if (array->type != JSON_ARRAY || array->count > PROTOCOL_HANDLERS_MAX)
        return -1;
    message->handlers = mem_array(array->count + 1, sizeof *message->handlers);
    for (const struct json_value *item = json_first(json, array); item != NULL;
         item = json_next(json, item)) {
        char *name = item->type == JSON_STRING ? json_text(item) : NULL;
        if (name == NULL)
            return -1;
        message->handlers[message->handler_count++] = name;
    }
    return 0;
}

static int read_aliases(const struct json *json, struct protocol_message *message,
                        const struct json_value *object)
{
    if (object->type != JSON_OBJECT || object->count > PROTOCOL_HANDLERS_MAX)
        return -1;
    message->aliases = mem_array(object->count + 1, sizeof *message->aliases);
    for (const struct json_value *key = json_first(json, object); key != NULL;
         key = json_next(json, key)) {
        const struct json_value *name = json_member(key);
        struct worker_alias *alias = &message->aliases[message->alias_count++];
        *alias = (struct worker_alias){json_text(key), NULL};
        if (name->type == JSON_STRING)
            alias->new = json_text(name);
        if (alias->old == NULL || *alias->old == '\0' || alias->new == NULL)
            return -1;
    }
    return 0;
}

static int read_json(const struct json_value *value, enum field_kind kind, struct slice *ret_json)
{
    if ((kind == FIELD_OBJECT && value->type != JSON_OBJECT) ||
        (kind == FIELD_ARRAY && value->type != JSON_ARRAY))
        return -1;
    *ret_json = value->raw;
    return 0;
}

static int read_value(const struct json *json, struct protocol_message *message,
                      const struct field *field, const struct json_value *value)
{
    void *place = (char *)message + field->offset;
    switch (field->kind) {
    case FIELD_INT:
        return json_int64(value, place);
    case FIELD_NUMBER:
        return json_double(value, place);
    case FIELD_BOOL:
        *(bool *)place = json_true(value);
        return value->type == JSON_BOOL ? 0 : -1;
    case FIELD_TEXT:
        return read_text(message, value, place);
    case FIELD_DURATION:
        return read_duration(value, place);
    case FIELD_NAMES:
        return read_names(json, message, value);
    case FIELD_ALIASES:
        return read_aliases(json, message, value);
    default:
        return read_json(value, field->kind, place);
    }
}

static int check_message(struct protocol_message *message, uint64_t given, struct rota_error *error)
{
    for (size_t i = 0; i < FIELD_COUNT; i++)
        if ((fields[i].required & (1u << message->type)) != 0 && (given & (1ull << i)) == 0)
            return error_set(error, ERROR_REFUSED, "a message of type \"%s\" needs \"%s\"",
                             type_names[message->type], fields[i].name);
    message->has_run = (given & 3) == 3; /* id and fence stand first in the table */
    if (message->slots < 1 || message->slots > PROTOCOL_SLOTS_MAX)
        return error_set(error, ERROR_REFUSED, "\"slots\" must be 1 to %d", PROTOCOL_SLOTS_MAX);
    if (message->fraction < 0)
        message->fraction = 0;
    if (message->fraction > 1)
        message->fraction = 1;
    return 0;
}

static int read_fields(const struct json *json, const struct json_value *type,
                       struct protocol_message *message, struct rota_error *error)
{
    uint64_t given = 0;
    size_t last = FIELD_COUNT - 1;
    for (const struct json_value *key = json_first(json, &json->values[0]); key != NULL;
         key = json_next(json, key)) {
        const struct json_value *value = json_member(key);
        const struct field *field = value != type ? find_field(key, message->type, last) : NULL;
        if (field == NULL || value->type == JSON_NULL)
            continue;
        last = (size_t)(field - fields);
        if (read_value(json, message, field, value) != 0)
            return error_set(error, ERROR_REFUSED, "\"%s\" of a \"%s\" must be %s, not %.60s",
                             field->name, type_names[message->type], kind_names[field->kind],
                             value->type == JSON_STRING ? "this text"
                                                        : json_type_name(value->type));
        given |= 1ull << last;
    }
    return check_message(message, given, error);
}

static int read_message(const struct json *json, struct protocol_message *message,
                        struct rota_error *error)
{
    const struct json_value *type = json_get(json, &json->values[0], "type");
    if (type == NULL || type->type != JSON_STRING)
        return error_set(error, ERROR_REFUSED, "a message is an object with a \"type\"");
    message->type = find_type(type);
    return message->type == PROTOCOL_UNKNOWN ? 0 : read_fields(json, type, message, error);
}

int protocol_parse(const char *line, size_t length, struct protocol_message *ret_message,
                   struct rota_error *error)
{
    struct json json;
    if (json_parse(&json, line, length, error) != 0)
        return -1;
    struct protocol_message message = {
        .line = {line, length}, .duration_us = -1, .retry = true, .slots = 1, .fraction = NAN};
    int failed = read_message(&json, &message, error);
    json_free(&json);
    if (failed != 0) {
        protocol_free(&message);
        return -1;
    }
    *ret_message = message;
    return 0;
}

void protocol_free(struct protocol_message *message)
{
    for (size_t i = 0; i < message->text_count; i++)
        free(message->texts[i]);
    for (size_t i = 0; i < message->handler_count; i++)
        free(message->handlers[i]);
    for (size_t i = 0; i < message->alias_count; i++) {
        free(message->aliases[i].old);
        free(message->aliases[i].new);
    }
    free(message->handlers);
    free(message->aliases);
    message->text_count = message->handler_count = message->alias_count = 0;
    message->handlers = NULL;
    message->aliases = NULL;
}

/* --- writing --- */

#define put(out, literal) buffer_append(out, literal, sizeof(literal) - 1)

static void put_text(struct buffer *out, const char *text)
{
    buffer_json(out, text, strlen(text));
}

static void put_instant(struct buffer *out, int64_t wall_us)
{
    char text[TIME_TEXT_SIZE];
    instant_format(wall_us, text);
    buffer_char(out, '"');
    buffer_string(out, text);
    buffer_char(out, '"');
}

static void write_spaces(struct buffer *out, size_t start, char instead_of)
{
    char *at = out->data + start;
    size_t length = out->length - start;
    while (length > 0 && (at = memchr(at, instead_of, length)) != NULL) {
        *at = ' ';
        length = (size_t)(out->data + out->length - at);
    }
}

void protocol_write_json(struct buffer *out, struct slice json)
{
    size_t start = out->length;
    buffer_append(out, json.data, json.length);
    write_spaces(out, start, '\n');
    write_spaces(out, start, '\r');
}

static void write_context(struct buffer *out, const struct worker_run *run)
{
    if (run->trigger != NULL) {
        put(out, ",\"trigger\":");
        put_text(out, run->trigger);
    }
    put(out, ",\"fire_time\":");
    put_instant(out, run->fire_time_us);
    put(out, ",\"scheduled_time\":");
    put_instant(out, run->scheduled_time_us);
    if (run->previous_fire_time_us != 0) {
        put(out, ",\"previous_fire_time\":");
        put_instant(out, run->previous_fire_time_us);
    }
    put(out, ",\"attempt\":");
    buffer_int(out, run->attempt);
    if (run->recovering)
        put(out, ",\"recovering\":true,\"missed\":");
    else
        put(out, ",\"recovering\":false,\"missed\":");
    buffer_int(out, run->missed);
}

void protocol_write_run(struct buffer *out, const struct worker_run *run, int64_t deadline_us)
{
    put(out, "{\"type\":\"run\",\"id\":");
    buffer_int(out, run->id);
    put(out, ",\"fence\":");
    buffer_int(out, run->fence);
    put(out, ",\"job\":");
    put_text(out, run->job);
    put(out, ",\"handler\":");
    put_text(out, run->handler);
    put(out, ",\"data\":");
    protocol_write_json(out, run->data.data != NULL ? run->data : slice_of("{}"));
    write_context(out, run);
    if (run->checkpoint.data != NULL) {
        put(out, ",\"checkpoint\":");
        protocol_write_json(out, run->checkpoint);
    }
    if (run->lane)
        put(out, ",\"lane\":true");
    if (deadline_us != 0) {
        put(out, ",\"deadline\":");
        put_instant(out, deadline_us);
    }
    if (run->traceparent != NULL) {
        put(out, ",\"traceparent\":");
        put_text(out, run->traceparent);
    }
    put(out, "}\n");
}

void protocol_write_welcome(struct buffer *out, const char *node)
{
    put(out, "{\"type\":\"welcome\",\"node\":");
    put_text(out, node);
    buffer_format(out, ",\"protocol\":%d}\n", PROTOCOL_VERSION);
}

void protocol_write_cancel(struct buffer *out, int64_t id, int64_t fence, const char *reason)
{
    put(out, "{\"type\":\"cancel\",\"id\":");
    buffer_int(out, id);
    put(out, ",\"fence\":");
    buffer_int(out, fence);
    put(out, ",\"reason\":");
    put_text(out, reason);
    put(out, "}\n");
}

void protocol_write_drain(struct buffer *out, int64_t grace_us)
{
    char text[TIME_TEXT_SIZE];
    buffer_format(out, "{\"type\":\"drain\",\"grace\":\"%s\"}\n", duration_format(grace_us, text));
}

void protocol_write_lease(struct buffer *out, int64_t valid_us, int64_t ref)
{
    int64_t valid_ms = valid_us > 0 ? valid_us / US_PER_MS : 0;
    buffer_format(out, "{\"type\":\"lease\",\"valid_ms\":%lld", (long long)valid_ms);
    if (ref != 0)
        buffer_format(out, ",\"ref\":%lld", (long long)ref);
    put(out, "}\n");
}

void protocol_write_refused(struct buffer *out, const char *reason)
{
    put(out, "{\"type\":\"refused\",\"reason\":");
    put_text(out, reason);
    put(out, "}\n");
}

void protocol_write_locked(struct buffer *out, int64_t ref, int64_t fence)
{
    buffer_format(out, "{\"type\":\"locked\",\"ref\":%lld,\"fence\":%lld}\n", (long long)ref,
                  (long long)fence);
}

void protocol_write_lock_failed(struct buffer *out, int64_t ref, const char *message)
{
    buffer_format(out, "{\"type\":\"lock_failed\",\"ref\":%lld,\"message\":", (long long)ref);
    put_text(out, message);
    put(out, "}\n");
}

void protocol_write_lock_lost(struct buffer *out, int64_t ref)
{
    buffer_format(out, "{\"type\":\"lock_lost\",\"ref\":%lld}\n", (long long)ref);
}
