/*
 * The data of an exec run. What exec understands is read strictly; other keys are the program's own
 * business: it reads them from its standard input.
 */
#include "worker/builtin/exec.h"

#include "worker/builtin/secret.h"

#include "base/json.h"
#include "base/memory.h"
#include "base/text.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* What the readers below stand on. */
struct reader {
    const struct json *json;
    const struct builtin_settings *settings;
};

static int read_command(const struct json *json, const struct json_value *value,
                        struct exec_request *request, struct rota_error *error)
{
    if (value->type != JSON_ARRAY || value->count == 0)
        return error_set(error, ERROR_REFUSED,
                         "\"command\" must be an array of strings, like [\"/bin/echo\",\"hello\"]");
    size_t count = 0;
    request->argv = mem_array(value->count + 1, sizeof *request->argv);
    for (const struct json_value *item = json_first(json, value); item != NULL;
         item = json_next(json, item)) {
        char *text = item->type == JSON_STRING ? json_text(item) : NULL;
        if (text == NULL)
            return error_set(error, ERROR_REFUSED, "command[%zu] must be a string without U+0000",
                             count);
        request->argv[count++] = text;
    }
    if (request->argv[0][0] == '\0')
        return error_set(error, ERROR_REFUSED, "command[0] is empty: it names the program");
    return 0;
}

/*
 * ROTA_ says which run a process belongs to. LD_ makes the loader run other code than the program
 * exec_allow was asked about.
 */
static const char *refused_name(const char *name)
{
    size_t length = strlen(name);
    if (length == 0 || isdigit((unsigned char)name[0]))
        return "is no name of a variable: a letter or _, then letters, digits and _";
    for (size_t i = 0; i < length; i++)
        if (!isalnum((unsigned char)name[i]) && name[i] != '_')
            return "is no name of a variable: a letter or _, then letters, digits and _";
    if (strncmp(name, "ROTA_", 5) == 0)
        return "is not to be set: names that begin with ROTA_ describe the run";
    if (strncmp(name, "LD_", 3) == 0)
        return "is not to be set: names that begin with LD_ change which code runs";
    return NULL;
}

/* A text, or a reference to a secret. */
static char *read_value(const struct reader *reader, const char *name,
                        const struct json_value *value, struct rota_error *error)
{
    char *secret = NULL, *text = NULL;
    if (secret_is(reader->json, value)) {
        text = secret_read(reader->json, value, reader->settings, &secret, error);
        if (text == NULL)
            error_prefix(error, "env: %.100s", name);
    } else {
        text = value->type == JSON_STRING ? json_text(value) : NULL;
        if (text == NULL)
            error_set(error, ERROR_REFUSED, "env: the value of %s must be a string", name);
    }
    free(secret);
    return text;
}

static int read_variable(const struct reader *reader, const struct json_value *key,
                         struct exec_request *request, struct rota_error *error)
{
    char *name = json_text(key), *text = NULL;
    const char *refused = name != NULL ? refused_name(name) : "is no name of a variable";
    int failed = 0;
    if (refused != NULL)
        failed = error_set(error, ERROR_REFUSED, "env: \"%.100s\" %s", name != NULL ? name : "",
                           refused);
    else if ((text = read_value(reader, name, json_member(key), error)) == NULL)
        failed = -1;
    else
        request->environment[request->environment_count++] = mem_format("%s=%s", name, text);
    free(name);
    free(text);
    return failed;
}

static int read_environment(const struct reader *reader, const struct json_value *value,
                            struct exec_request *request, struct rota_error *error)
{
    if (value->type != JSON_OBJECT)
        return error_set(error, ERROR_REFUSED,
                         "\"env\" must be an object of strings, like {\"MODE\":\"fast\"}");
    request->environment = mem_array(value->count + 1, sizeof *request->environment);
    for (const struct json_value *key = json_first(reader->json, value); key != NULL;
         key = json_next(reader->json, key))
        if (read_variable(reader, key, request, error) != 0)
            return -1;
    return 0;
}

static int read_string(const char *key, const struct json_value *value, char **ret_text,
                       struct rota_error *error)
{
    *ret_text = value->type == JSON_STRING ? json_text(value) : NULL;
    if (*ret_text == NULL)
        return error_set(error, ERROR_REFUSED, "\"%s\" must be a string without U+0000, not %s",
                         key, json_type_name(value->type));
    return 0;
}

static int read_member(const struct reader *reader, const struct json_value *key,
                       struct exec_request *request, struct rota_error *error)
{
    const struct json_value *value = json_member(key);
    if (json_is(key, "command"))
        return read_command(reader->json, value, request, error);
    if (json_is(key, "env"))
        return read_environment(reader, value, request, error);
    if (json_is(key, "cwd"))
        return read_string("cwd", value, &request->directory, error);
    if (json_is(key, "stdin"))
        return read_string("stdin", value, &request->input, error);
    return 0;
}

/* No command: the key that was most likely meant to be it, for the message. */
static int missing_command(const struct json *json, struct rota_error *error)
{
    static const char *const wanted[] = {"command"};
    error_set(error, ERROR_REFUSED,
              "\"command\" is missing: an array like [\"/bin/echo\",\"hello\"]");
    for (const struct json_value *key = json_first(json, &json->values[0]); key != NULL;
         key = json_next(json, key)) {
        char *name = json_text(key);
        if (name != NULL && text_nearest(name, wanted, 1) != NULL)
            error_set(error, ERROR_REFUSED,
                      "\"command\" is missing; did you mean it by \"%.100s\"?", name);
        free(name);
    }
    return -1;
}

static int read_data(const struct reader *reader, struct exec_request *request,
                     struct rota_error *error)
{
    const struct json *json = reader->json;
    if (json->values[0].type != JSON_OBJECT)
        return error_set(error, ERROR_REFUSED, "the data of an exec job must be an object, not %s",
                         json_type_name(json->values[0].type));
    for (const struct json_value *key = json_first(json, &json->values[0]); key != NULL;
         key = json_next(json, key))
        if (read_member(reader, key, request, error) != 0)
            return -1;
    if (request->argv == NULL)
        return missing_command(json, error);
    if (request->input != NULL)
        request->input_length = strlen(request->input);
    return 0;
}

int exec_request_read(struct exec_request *ret_request, struct slice data,
                      const struct builtin_settings *settings, struct rota_error *error)
{
    struct json json;
    struct exec_request request = {0};
    if (json_parse(&json, data.data != NULL ? data.data : "{}", data.data != NULL ? data.length : 2,
                   error) != 0)
        return error_prefix(error, "data");
    int failed = read_data(&(struct reader){&json, settings}, &request, error);
    json_free(&json);
    if (failed != 0) {
        exec_request_free(&request);
        return -1;
    }
    *ret_request = request;
    return 0;
}

void exec_request_free(struct exec_request *request)
{
    for (size_t i = 0; request->argv != NULL && request->argv[i] != NULL; i++)
        free(request->argv[i]);
    for (size_t i = 0; i < request->environment_count; i++)
        free(request->environment[i]);
    free(request->argv);
    free(request->environment);
    free(request->directory);
    free(request->input);
    *request = (struct exec_request){0};
}
