/* The handler `http`: which targets are allowed, what pointers name, how a request is read. */
#include "worker/builtin/http.h"
#include "worker/builtin/resolve.h"
#include "worker/builtin/template.h"

#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bool is_allowed(const char *address, const char *host, char *const *allow)
{
    struct sockaddr_storage storage;
    if (resolve_literal(address, &storage) != 0)
        fail_msg("%s is no address", address);
    return http_target_allowed((const struct sockaddr *)&storage, host, allow);
}

static const char *const private[] = {"0.0.0.0",
                                      "0.1.2.3",
                                      "10.0.0.1",
                                      "10.255.255.255",
                                      "100.64.0.1",
                                      "100.100.100.200",
                                      "100.127.255.255",
                                      "127.0.0.1",
                                      "127.255.255.254",
                                      "168.63.129.16",
                                      "169.254.0.1",
                                      "169.254.169.254",
                                      "172.16.0.1",
                                      "172.31.255.255",
                                      "192.0.0.1",
                                      "192.0.0.192",
                                      "192.0.2.1",
                                      "192.88.99.1",
                                      "192.168.0.1",
                                      "198.18.0.1",
                                      "198.19.255.255",
                                      "198.51.100.1",
                                      "203.0.113.1",
                                      "224.0.0.1",
                                      "239.255.255.255",
                                      "240.0.0.1",
                                      "255.255.255.255",
                                      "::",
                                      "::1",
                                      "::ffff:127.0.0.1",
                                      "::ffff:10.0.0.1",
                                      "::ffff:169.254.169.254",
                                      "::127.0.0.1",
                                      "64:ff9b::7f00:1",
                                      "64:ff9b::808:808",
                                      "64:ff9b:1::1",
                                      "100::1",
                                      "2001::1",
                                      "2001:2::1",
                                      "2001:10::1",
                                      "2001:20::1",
                                      "2001:db8::1",
                                      "2002:7f00:1::",
                                      "2002:808:808::1",
                                      "3fff::1",
                                      "4000::1",
                                      "5f00::1",
                                      "fc00::1",
                                      "fd00:ec2::254",
                                      "fe80::1",
                                      "fec0::1",
                                      "ff02::1",
                                      "::ffff:0:7f00:1"};
static const char *const public[] = {"1.1.1.1",
                                     "8.8.8.8",
                                     "9.255.255.255",
                                     "11.0.0.0",
                                     "100.63.255.255",
                                     "100.128.0.0",
                                     "126.255.255.255",
                                     "128.0.0.1",
                                     "169.253.255.255",
                                     "172.15.255.255",
                                     "172.32.0.0",
                                     "192.167.255.255",
                                     "192.169.0.0",
                                     "198.17.255.255",
                                     "198.20.0.0",
                                     "223.255.255.255",
                                     "2001:4860:4860::8888",
                                     "2606:4700::1111",
                                     "2a00::1",
                                     "::ffff:8.8.8.8"};

static void addresses_that_are_not_public_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof private / sizeof *private; i++)
        if (is_allowed(private[i], "host", NULL))
            fail_msg("%s is allowed", private[i]);
    for (size_t i = 0; i < sizeof public / sizeof *public; i++)
        if (!is_allowed(public[i], "host", NULL))
            fail_msg("%s is refused", public[i]);
}

static void settings_allow_addresses_and_hosts(void **state)
{
    (void)state;
    static const struct {
        const char *entry, *address, *host;
        bool allowed;
    } cases[] = {
        {"10.0.0.0/8", "10.1.2.3", "h", true},
        {"10.0.0.0/8", "::ffff:10.1.2.3", "h", true},
        {"10.0.0.0/8", "11.0.0.1", "h", true}, /* public */
        {"10.0.0.0/8", "127.0.0.1", "h", false},
        {"10.1.2.3", "10.1.2.3", "h", true},
        {"10.1.2.3", "10.1.2.4", "h", false},
        {"10.1.2.0/23", "10.1.3.255", "h", true},
        {"10.1.2.0/23", "10.1.4.0", "h", false},
        {"127.0.0.1", "::1", "h", false},
        {"fd00::/8", "fd12::1", "h", true},
        {"fd00::/8", "fc12::1", "h", false},
        {"64:ff9b::/96", "64:ff9b::808:808", "h", true},
        {"api.internal", "10.1.2.3", "api.internal", true},
        {"api.internal", "10.1.2.3", "xapi.internal", false},
        {"api.internal", "10.1.2.3", "api.internal.evil.example", false},
        {"*.internal", "127.0.0.1", "a.b.internal", true},
        {"*.internal", "127.0.0.1", "internal", false},
        {"*.1", "127.0.0.1", "127.0.0.1", false}, /* patterns are for names */
        {"*", "169.254.169.254", "h", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *allow[] = {(char *)cases[i].entry, NULL};
        if (is_allowed(cases[i].address, cases[i].host, allow) != cases[i].allowed)
            fail_msg("%s and %s (%s)", cases[i].entry, cases[i].address, cases[i].host);
    }
}

static void entries_that_mean_nothing_are_refused(void **state)
{
    (void)state;
    static const char *const good[] = {"10.0.0.0/8", "::1",        "::/0",         "0.0.0.0/0",
                                       "*",          "*.internal", "a-b_c.example"};
    static const char *const bad[] = {"10.0.0.0/33", "10.0.0",      "fd00::/129", "10.0.0.0/",
                                      "1.2.3.4:80",  "Host",        "a b",        "http://a",
                                      "10.0.0.0/-1", "h\xc3\xb6st", "300.1.1.1"};
    struct rota_error error;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_int_equal(http_allow_check(good[i], &error), 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (http_allow_check(bad[i], &error) == 0)
            fail_msg("%s is taken", bad[i]);
}

static void pointers_name_parts_of_the_message(void **state)
{
    (void)state;
    static const char text[] = "{\"id\":7,\"data\":{\"a/b\":{\"~\":[10,20.50,\"\\u0061\"]},\"\":1,"
                               "\"n\":null}}";
    static const struct {
        const char *pointer, *raw;
    } cases[] = {{"/id", "7"},
                 {"/data/a~1b/~0/1", "20.50"},
                 {"/data/a~1b/~0/2", "\"\\u0061\""},
                 {"/data/", "1"},
                 {"/data/n", "null"},
                 {"/data/a~1b/~0/3", NULL},
                 {"/data/a~1b/~0/01", NULL},
                 {"/data/a~1b/~0/-", NULL},
                 {"/data/a~1b/~0/-1", NULL},
                 {"/id/x", NULL},
                 {"/no", NULL},
                 {"id", NULL}};
    struct json json;
    assert_int_equal(json_parse(&json, text, strlen(text), NULL), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct json_value *value = template_find(&json, cases[i].pointer);
        if (cases[i].raw == NULL)
            assert_null(value);
        else
            assert_memory_equal(value->raw.data, cases[i].raw, strlen(cases[i].raw));
    }
    json_free(&json);
}

static void templates_change_no_byte_they_need_not(void **state)
{
    (void)state;
    static const struct {
        const char *value, *written;
    } cases[] = {
        {"{ \"a\" : 1.0e5 ,\"b\":[ 1234567890123456789 ]}", NULL},
        {"{\"a\":{\"$pointer\":\"/id\"},\"b\":[ {\"$pointer\":\"/data/v\"} , 1.50 ]}",
         "{\"a\":7,\"b\":[{\"$pointer\":\"/id\"},1.50]}"},
        {"{\"$pointer\":\"/no\",\"default\":\"d\"}", "\"d\""},
        {"{\"\\u0024pointer\":\"/id\"}", "7"},
        {"{\"$pointers\":\"/id\"}", NULL},
        {"{\"$pointer\":\"/no\"}", ""},
        {"{\"$pointer\":\"/id\",\"more\":1}", ""},
        {"{\"$pointer\":7}", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = mem_format("{\"id\":7,\"data\":{\"v\":{\"$pointer\":\"/id\"},\"t\":%s}}",
                                cases[i].value);
        struct json json;
        struct rota_error error = {0};
        struct buffer out = {0};
        assert_int_equal(json_parse(&json, text, strlen(text), &error), 0);
        int failed = template_write(&out, &json, template_find(&json, "/data/t"), &error);
        const char *wanted = cases[i].written != NULL ? cases[i].written : cases[i].value;
        assert_int_equal(failed, *wanted == '\0' ? -1 : 0);
        if (failed == 0)
            assert_string_equal(buffer_text(&out), wanted);
        else
            assert_int_not_equal(error.message[0], '\0');
        buffer_free(&out);
        json_free(&json);
        free(text);
    }
}

static int read_request(const char *data, struct rota_error *error)
{
    const struct builtin_settings settings = {0};
    struct http_request request;
    char *line = mem_format("{\"type\":\"run\",\"id\":1,\"fence\":1,\"data\":%s}", data);
    int failed = http_request_read(&request, slice_of(line), &settings, error);
    if (failed == 0)
        http_request_free(&request);
    free(line);
    return failed;
}

/* 1,000 times the same 100,000 bytes are 100 MB. */
static void pointers_cannot_make_a_request_larger_than_any_server_takes(void **state)
{
    (void)state;
    static const struct {
        const char *before, *after;
    } cases[] = {{"\"url\":\"http://h/\",\"body\":[", "]"},
                 {"\"url\":\"http://h/\",\"query\":{", "}"},
                 {"\"url\":[\"http://h/\",", "]"}};
    struct buffer parts[3] = {{0}};
    struct rota_error error = {0};
    char *text = mem_alloc(100001);
    memset(text, 'x', 100000);
    for (int i = 0; i < 1000; i++) {
        const char *comma = i > 0 ? "," : "";
        buffer_format(&parts[0], "%s{\"$pointer\":\"/data/t\"}", comma);
        buffer_format(&parts[1], "%s\"k%d\":{\"$pointer\":\"/data/t\"}", comma, i);
        buffer_format(&parts[2], "%s{\"$pointer\":\"/data/t\"}", comma);
    }
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *data = mem_format("{\"t\":\"%s\",%s%s%s}", text, cases[i].before,
                                buffer_text(&parts[i]), cases[i].after);
        assert_int_equal(read_request(data, &error), -1);
        if (strstr(error.message, "longer than") == NULL)
            fail_msg("%s", error.message);
        free(data);
        buffer_free(&parts[i]);
    }
    free(text);
}

static void pointers_are_counted_before_they_are_followed(void **state)
{
    (void)state;
    struct buffer data = {0};
    struct rota_error error = {0};
    buffer_string(&data, "{\"url\":\"http://h/\",\"body\":[0");
    for (int i = 0; i < 1000; i++)
        buffer_string(&data, ",{\"\\u0024pointer\":\"/id\"}");
    size_t length = data.length;
    buffer_string(&data, "]}");
    assert_int_equal(read_request(buffer_text(&data), &error), 0);
    data.length = length;
    buffer_string(&data, ",{\"$pointer\":\"/id\"}]}");
    assert_int_equal(read_request(buffer_text(&data), &error), -1);
    assert_non_null(strstr(error.message, "1001 times"));
    buffer_free(&data);
}

static void statuses_that_no_server_sends_are_refused(void **state)
{
    (void)state;
    struct rota_error error = {0};
    assert_int_equal(read_request("{\"url\":\"http://h/\",\"expect\":[404,\"2xx\"]}", &error), 0);
    assert_int_equal(read_request("{\"url\":\"http://h/\",\"expect\":[4294967496]}", &error), -1);
    assert_int_equal(read_request("{\"url\":\"http://h/\",\"expect\":[\"9xx\"]}", &error), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_that_are_not_public_are_refused),
        cmocka_unit_test(settings_allow_addresses_and_hosts),
        cmocka_unit_test(entries_that_mean_nothing_are_refused),
        cmocka_unit_test(pointers_name_parts_of_the_message),
        cmocka_unit_test(templates_change_no_byte_they_need_not),
        cmocka_unit_test(pointers_cannot_make_a_request_larger_than_any_server_takes),
        cmocka_unit_test(pointers_are_counted_before_they_are_followed),
        cmocka_unit_test(statuses_that_no_server_sends_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
