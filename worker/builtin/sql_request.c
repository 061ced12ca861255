/* The data of an sql run. Other keys than its own belong to the job: pointers may name them. */
#include "worker/builtin/sql.h"

#include "worker/builtin/template.h"

#include "base/clock.h"
#include "base/instant.h"
#include "base/json.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

#define NET_US                                                                                     \
    (500 * US_PER_MS) /* after its time the coordinator cancels a run: that comes first */

static int read_text(const struct json *message, const struct json_value *data, const char *key,
                     const char *example, char **ret_text, struct rota_error *error)
{
    const struct json_value *value = json_get(message, data, key);
    *ret_text = value != NULL && value->type == JSON_STRING ? json_text(value) : NULL;
    if (*ret_text == NULL || **ret_text == '\0')
        return error_set(error, ERROR_REFUSED, "\"%s\" must be a text like %s", key, example);
    return 0;
}

/* Texts, numbers and booleans as text, null as NULL, objects and arrays as JSON. */
static int read_parameter(const struct json *message, const struct json_value *item,
                          char **ret_text, struct rota_error *error)
{
    const struct json_value *value = template_value(message, item, error);
    struct buffer json = {0};
    if (value == NULL)
        return -1;
    if (value->type == JSON_NULL)
        return 0;
    if (value->type != JSON_OBJECT && value->type != JSON_ARRAY) {
        *ret_text = template_text(message, value, error);
        return *ret_text != NULL ? 0 : -1;
    }
    if (value != item)
        buffer_append(&json, value->raw.data, value->raw.length);
    else if (template_write(&json, message, item, error) != 0) {
        buffer_free(&json);
        return -1;
    }
    buffer_text(&json);
    *ret_text = json.data;
    return 0;
}

static int read_parameters(struct sql_request *request, const struct json *message,
                           const struct json_value *data, struct rota_error *error)
{
    const struct json_value *list = json_get(message, data, "parameters");
    if (list == NULL)
        return 0;
    if (list->type != JSON_ARRAY || list->count > STATEMENT_PARAMETERS_MAX)
        return error_set(error, ERROR_REFUSED,
                         "\"parameters\" must be a list of at most %d values: $1 is the first",
                         STATEMENT_PARAMETERS_MAX);
    size_t length = 0;
    request->parameters = mem_array(list->count + 1, sizeof *request->parameters);
    for (const struct json_value *item = json_first(message, list); item != NULL;
         item = json_next(message, item)) {
        char **place = &request->parameters[request->parameter_count++];
        if (read_parameter(message, item, place, error) != 0)
            return error_prefix(error, "\"parameters\": $%d", request->parameter_count);
        length += *place != NULL ? strlen(*place) : 0;
        if (length > TEMPLATE_MAX)
            return error_set(error, ERROR_REFUSED,
                             "\"parameters\": together they are longer than 4 MiB");
    }
    return 0;
}

static int read_rows(struct sql_request *request, const struct json *message,
                     const struct json_value *data, struct rota_error *error)
{
    const struct json_value *rows = json_get(message, data, "max_rows");
    request->max_rows = STATEMENT_ROWS;
    if (rows != NULL && (json_int64(rows, &request->max_rows) != 0 || request->max_rows < 0 ||
                         request->max_rows > STATEMENT_ROWS_MAX))
        return error_set(error, ERROR_REFUSED, "\"max_rows\" must be a number from 0 to %d",
                         STATEMENT_ROWS_MAX);
    return 0;
}

static void limit(struct sql_request *request, int64_t limit_us)
{
    if (limit_us > PROTOCOL_DURATION_MAX_US)
        limit_us = PROTOCOL_DURATION_MAX_US; /* it is added to a clock */
    if (request->limit_us == 0 || limit_us < request->limit_us)
        request->limit_us = limit_us > US_PER_MS ? limit_us : US_PER_MS;
}

/*
 * A run of a lane has half of the lease: so much was left at least when it was handed out, and
 * until the end of it no other node begins, whatever becomes of this one.
 */
static int read_limit(struct sql_request *request, const struct json *message,
                      const struct json_value *data, int64_t lease_us, struct rota_error *error)
{
    const struct json_value *root = &message->values[0];
    const struct json_value *timeout =
        data != NULL && data->type == JSON_OBJECT ? json_get(message, data, "timeout") : NULL;
    const struct json_value *deadline = json_get(message, root, "deadline");
    const struct json_value *lane = json_get(message, root, "lane");
    int64_t instant_us;
    if (timeout != NULL) {
        int64_t duration_us = 0;
        char *text = timeout->type == JSON_STRING ? json_text(timeout) : NULL;
        int failed = text != NULL ? duration_parse(text, &duration_us) : -1;
        free(text);
        if (failed != 0 || duration_us == 0)
            return error_set(error, ERROR_REFUSED, "\"timeout\" must be a duration like \"30s\"");
        limit(request, duration_us);
    }
    char *text = deadline != NULL && deadline->type == JSON_STRING ? json_text(deadline) : NULL;
    if (text != NULL && instant_parse(text, &instant_us) == 0)
        limit(request, instant_us - clock_wall_us() + NET_US);
    free(text);
    if (lane != NULL && json_true(lane) && lease_us > 0) {
        int64_t before_us = request->limit_us;
        limit(request, lease_us / 2);
        request->lane = request->limit_us != before_us;
    }
    return 0;
}

static int read_all(struct sql_request *request, const struct json *message, int64_t lease_us,
                    struct rota_error *error)
{
    const struct json_value *data = json_get(message, &message->values[0], "data");
    if (data == NULL || data->type != JSON_OBJECT)
        return error_set(error, ERROR_REFUSED, "the data of an sql job must be an object");
    return template_check(message, error) != 0 ||
                   read_text(message, data, "database",
                             "\"reports\", a name of the setting databases", &request->database,
                             error) != 0 ||
                   read_text(message, data, "statement", "\"CALL tidy($1)\"", &request->statement,
                             error) != 0 ||
                   read_parameters(request, message, data, error) != 0 ||
                   read_rows(request, message, data, error) != 0 ||
                   read_limit(request, message, data, lease_us, error) != 0
               ? -1
               : 0;
}

int sql_request_read(struct sql_request *ret_request, struct slice line, int64_t lease_us,
                     struct rota_error *error)
{
    struct sql_request request = {0};
    struct json message;
    if (json_parse(&message, line.data, line.length, error) != 0)
        return -1;
    int failed = read_all(&request, &message, lease_us, error);
    json_free(&message);
    if (failed != 0) {
        sql_request_free(&request);
        return -1;
    }
    *ret_request = request;
    return 0;
}

int sql_request_own(struct sql_request *ret_request, struct slice line, int64_t lease_us,
                    struct rota_error *error)
{
    struct sql_request request = {.max_rows = 1};
    struct json message;
    if (json_parse(&message, line.data, line.length, error) != 0)
        return -1;
    const struct json_value *data = json_get(&message, &message.values[0], "data");
    int failed = read_limit(&request, &message, data, lease_us, error);
    json_free(&message);
    if (failed != 0)
        return -1;
    *ret_request = request;
    return 0;
}

void sql_request_free(struct sql_request *request)
{
    for (int i = 0; i < request->parameter_count; i++)
        free(request->parameters[i]);
    free(request->parameters);
    free(request->database);
    free(request->statement);
    *request = (struct sql_request){0};
}
