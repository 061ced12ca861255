/* Run messages for the handlers `http`, `sql` and `exec`: whatever a request is made of, it cannot
 * become two headers, lead where its URL does not, or carry a secret nobody allows. */
#include "worker/builtin/exec.h"
#include "worker/builtin/http.h"
#include "worker/builtin/sql.h"

#include "base/json.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static void check_http(struct slice line, const struct builtin_settings *settings)
{
    struct http_request request;
    struct http_target target;
    struct rota_error error = {0};
    if (http_request_read(&request, line, settings, &error) != 0) {
        CHECK(error.message[0] != '\0');
        return;
    }
    CHECK(http_is_clean(request.url) && strchr(request.url, ' ') == NULL);
    CHECK(http_target_read(&target, request.url, &error) == 0);
    CHECK(target.port > 0 && target.port < 65536 && *target.host != '\0');
    CHECK(request.header_count <= HTTP_HEADERS_MAX && request.secret_count == 0);
    for (size_t i = 0; i < request.header_count; i++) {
        CHECK(http_is_clean(request.headers[i].name) && http_is_clean(request.headers[i].value));
        CHECK(strpbrk(request.headers[i].name, ": ") == NULL);
    }
    CHECK(request.timeout_us > 0 && request.follow <= HTTP_FOLLOW_MAX);
    CHECK(request.expect_count > 0 && request.expect_count <= HTTP_EXPECT_MAX);
    http_target_free(&target);
    http_request_free(&request);
}

static void check_sql(struct slice line)
{
    struct sql_request request;
    struct rota_error error = {0};
    if (sql_request_read(&request, line, 10000000, &error) != 0) {
        CHECK(error.message[0] != '\0');
        return;
    }
    CHECK(*request.database != '\0' && *request.statement != '\0');
    CHECK(request.parameter_count <= STATEMENT_PARAMETERS_MAX);
    CHECK(request.limit_us >= 0 && (!request.lane || request.limit_us <= 5000000));
    sql_request_free(&request);
}

static void check_exec(struct slice line, const struct builtin_settings *settings)
{
    struct exec_request request;
    struct rota_error error = {0};
    struct json json;
    if (json_parse(&json, line.data, line.length, &error) != 0)
        return;
    const struct json_value *data = json_get(&json, &json.values[0], "data");
    if (data != NULL && exec_request_read(&request, data->raw, settings, &error) == 0) {
        CHECK(request.argv[0][0] != '\0');
        exec_request_free(&request);
    }
    json_free(&json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct builtin_settings settings = {0};
    struct slice line = {(const char *)data, size};
    check_http(line, &settings);
    check_sql(line);
    check_exec(line, &settings);
    return 0;
}
