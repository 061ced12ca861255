/* Lines of the worker protocol: any bytes; what is taken points into the line or to texts of its
 * own. */
#include "base/json.h"
#include "tests/fuzz/fuzz.h"
#include "worker/protocol.h"

#include <string.h>

/* Users' JSON: a slice of the line, and JSON. */
static void check_json(const struct protocol_message *message, struct slice json)
{
    struct json parsed;
    struct buffer out = {0};
    if (json.data == NULL)
        return;
    CHECK(json.data >= message->line.data);
    CHECK(json.data + json.length <= message->line.data + message->line.length);
    CHECK(json_parse(&parsed, json.data, json.length, NULL) == 0);
    json_free(&parsed);
    protocol_write_json(&out, json);
    CHECK(out.length == json.length && memchr(out.data, '\n', out.length) == NULL);
    CHECK(json_parse(&parsed, out.data, out.length, NULL) == 0);
    json_free(&parsed);
    buffer_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct protocol_message message;
    struct rota_error error = {0};
    if (protocol_parse((const char *)data, size, &message, &error) != 0) {
        CHECK(error.message[0] != '\0');
        return 0;
    }
    CHECK(message.line.length == size);
    check_json(&message, message.data);
    check_json(&message, message.details);
    check_json(&message, message.stacktrace);
    check_json(&message, message.ex_data);
    for (size_t i = 0; i < message.handler_count; i++)
        CHECK(message.handlers[i] != NULL);
    CHECK(message.type != PROTOCOL_HELLO || message.handlers[message.handler_count] == NULL);
    protocol_free(&message);
    return 0;
}
