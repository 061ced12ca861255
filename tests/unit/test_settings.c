/* The settings table: sources and their strength, checks with their messages, what follows from it.
 */
#include "cmd/settings_value.h"

#include "base/clock.h"
#include "base/memory.h"
#include "coord/config.h"
#include "worker/worker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char file_name[] = "/tmp/rota-test-settings-XXXXXX";

/* A settings file with this text; the same name every time. */
static void write_file(const char *text)
{
    FILE *file = fopen(file_name, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static int make_file(void **state)
{
    (void)state;
    int fd = mkstemp(file_name);
    return fd >= 0 && close(fd) == 0 ? 0 : -1;
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(file_name);
}

static int clear_environment(void **state)
{
    (void)state;
    for (int id = 0; id < SETTING_COUNT; id++) {
        char name[64];
        settings_variable_name((enum setting_id)id, name, sizeof name);
        unsetenv(name);
    }
    unsetenv("MB_DISABLE_SCHEDULER");
    return 0;
}

#define LOAD(...) load((const char *const[]){"node", ##__VA_ARGS__, NULL})

static struct rota_error last_error;

/* Settings from these flags; NULL with last_error. */
static struct settings *load(const char *const *argv)
{
    struct settings *settings = settings_new(SCOPE_ALL);
    int argc = 0, taken = 1;
    while (argv[argc] != NULL)
        argc++;
    for (int i = 1; i < argc && taken == 1; i++)
        taken = settings_take_flag(settings, argc, (char **)argv, &i, &last_error);
    if (taken == 0)
        error_set(&last_error, ERROR_USAGE, "not taken");
    if (taken == 1 && settings_load(settings, &last_error) == 0)
        return settings;
    settings_free(settings);
    return NULL;
}

static void assert_refused(struct settings *settings, const char *part)
{
    assert_null(settings);
    if (strstr(last_error.message, part) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", last_error.message, part);
}

static void defaults_are_those_of_the_contract(void **state)
{
    (void)state;
    struct settings *settings = LOAD();
    assert_non_null(settings);
    assert_int_equal(settings_number(settings, SETTING_LEASE), 10 * US_PER_SECOND);
    assert_int_equal(settings_number(settings, SETTING_HEARTBEAT), 2 * US_PER_SECOND);
    assert_int_equal(settings_number(settings, SETTING_RESTART_DELAY), 10 * US_PER_SECOND);
    assert_int_equal(settings_number(settings, SETTING_GRACE), 25 * US_PER_SECOND);
    assert_int_equal(settings_number(settings, SETTING_POLL), 5 * US_PER_SECOND);
    assert_string_equal(settings_text(settings, SETTING_SCHEMA), "rota");
    assert_string_equal(settings_text(settings, SETTING_LOCK_NAMESPACE), "rota");
    assert_string_equal(settings_text(settings, SETTING_HTTP_LISTEN), "127.0.0.1:8300");
    assert_true(settings_bool(settings, SETTING_NOTIFY));
    assert_false(settings_bool(settings, SETTING_STANDBY));
    assert_null(settings_text(settings, SETTING_DATABASE_URL));
    assert_string_equal(settings_origin(settings, SETTING_LEASE), "default");
    settings_free(settings);
}

static void flag_wins_over_environment_over_file(void **state)
{
    (void)state;
    write_file("{\"slots\": 3, \"poll\": \"3s\",\n \"grace\": \"3s\"}");
    setenv("ROTA_SLOTS", "4", 1);
    setenv("ROTA_POLL", "4s", 1);
    struct settings *settings = LOAD("--config", file_name, "--slots", "5");
    assert_non_null(settings);
    assert_int_equal(settings_number(settings, SETTING_SLOTS), 5);
    assert_string_equal(settings_origin(settings, SETTING_SLOTS), "--slots");
    assert_int_equal(settings_number(settings, SETTING_POLL), 4 * US_PER_SECOND);
    assert_string_equal(settings_origin(settings, SETTING_POLL), "ROTA_POLL");
    assert_int_equal(settings_number(settings, SETTING_GRACE), 3 * US_PER_SECOND);
    assert_non_null(strstr(settings_origin(settings, SETTING_GRACE), ":2:11"));
    settings_free(settings);
}

static void every_spelling_of_a_flag_is_taken(void **state)
{
    (void)state;
    struct settings *settings = LOAD("--log-level=debug", "--standby", "--no-notify", "--slots=2",
                                     "--slots", "7", "--disable-scheduler=false");
    assert_non_null(settings);
    assert_string_equal(settings_text(settings, SETTING_LOG_LEVEL), "debug");
    assert_true(settings_bool(settings, SETTING_STANDBY));
    assert_false(settings_bool(settings, SETTING_NOTIFY));
    assert_int_equal(settings_number(settings, SETTING_SLOTS), 7);
    settings_free(settings);
    assert_refused(LOAD("--log_level", "debug"), "not taken");
    assert_refused(LOAD("--no-slots"), "not taken");
    assert_refused(LOAD("--"), "not taken");
    assert_refused(LOAD("--slots"), "--slots needs a value");
    assert_int_equal(last_error.code, ERROR_USAGE);
}

static void a_flag_outside_its_command_is_not_taken(void **state)
{
    (void)state;
    struct settings *settings = settings_new(SCOPE_CLIENT);
    char flag[] = "--lease", value[] = "10s";
    int i = 0;
    assert_int_equal(settings_take_flag(settings, 2, (char *[]){flag, value}, &i, &last_error), 0);
    assert_int_equal(i, 0);
    settings_free(settings);
}

static void enqueue_takes_the_data_directory_from_the_environment_only(void **state)
{
    (void)state;
    struct settings *settings = settings_new(SCOPE_ENQUEUE);
    char flag[] = "--data", value[] = "{}";
    int i = 0;
    assert_int_equal(settings_take_flag(settings, 2, (char *[]){flag, value}, &i, &last_error), 0);
    setenv("ROTA_DATA", "/srv/rota", 1);
    assert_int_equal(settings_load(settings, &last_error), 0);
    assert_string_equal(settings_text(settings, SETTING_DATA), "/srv/rota");
    settings_free(settings);
}

static void an_empty_variable_is_not_set(void **state)
{
    (void)state;
    setenv("ROTA_LEASE", "", 1);
    struct settings *settings = LOAD();
    assert_non_null(settings);
    assert_string_equal(settings_origin(settings, SETTING_LEASE), "default");
    settings_free(settings);
}

static void disabling_has_two_variables_and_ours_wins(void **state)
{
    (void)state;
    setenv("MB_DISABLE_SCHEDULER", "true", 1);
    struct settings *settings = LOAD();
    assert_true(settings_bool(settings, SETTING_DISABLE_SCHEDULER));
    assert_string_equal(settings_origin(settings, SETTING_DISABLE_SCHEDULER),
                        "MB_DISABLE_SCHEDULER");
    settings_free(settings);
    setenv("ROTA_DISABLE_SCHEDULER", "false", 1);
    settings = LOAD();
    assert_false(settings_bool(settings, SETTING_DISABLE_SCHEDULER));
    settings_free(settings);
}

static void lists_split_at_colons_or_come_as_json_and_add_up(void **state)
{
    (void)state;
    struct settings *settings =
        LOAD("--exec-allow", "/a/*:/b", "--exec-allow", "[\"/with:colon\", \"/c\"]");
    assert_non_null(settings);
    const char *const *list = settings_list(settings, SETTING_EXEC_ALLOW);
    assert_string_equal(list[0], "/a/*");
    assert_string_equal(list[1], "/b");
    assert_string_equal(list[2], "/with:colon");
    assert_string_equal(list[3], "/c");
    assert_null(list[4]);
    settings_free(settings);
    setenv("ROTA_EXEC_ALLOW", "/x::/y:", 1);
    settings = LOAD();
    assert_string_equal(settings_text(settings, SETTING_EXEC_ALLOW), "[\"/x\",\"/y\"]");
    settings_free(settings);
    assert_refused(LOAD("--exec-allow", "[1]"), "texts only");
    assert_refused(LOAD("--exec-allow", "[\"a\""), "exec_allow (from --exec-allow): line 1");
}

static void bad_values_say_name_origin_and_what_would_be_right(void **state)
{
    (void)state;
    assert_refused(LOAD("--lease", "10x"), "lease (from --lease): \"10x\" is no duration: write");
    assert_refused(LOAD("--lease", "1ms"), "out of range: write a duration from 1s to 1h");
    assert_refused(LOAD("--slots", "0"), "slots (from --slots): 0 is out of range: write a number");
    assert_refused(LOAD("--slots", "1e3"), "\"1e3\" is no whole number");
    assert_refused(LOAD("--standby=maybe"), "\"maybe\" is neither true nor false");
    assert_refused(LOAD("--log-level", "loud"), "debug, info, warn or error");
    assert_refused(LOAD("--log-format", "xml"), "json or text");
    setenv("ROTA_POLL", "-1s", 1);
    assert_refused(LOAD(), "poll (from ROTA_POLL)");
}

static void identifiers_are_strict(void **state)
{
    static const char *const bad[] = {"",
                                      "Rota",
                                      "1rota",
                                      "ro ta",
                                      "rota;drop",
                                      "a-b",
                                      "abcdefghijklmnopqrstuvwxyz0123456789_abcde"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_refused(LOAD("--schema", bad[i]), "schema (from --schema)");
    struct settings *settings = LOAD("--schema", "_fleet_2");
    assert_non_null(settings);
    assert_string_equal(settings_text(settings, SETTING_LOCK_NAMESPACE), "_fleet_2");
    settings_free(settings);
}

static void listen_addresses_are_checked(void **state)
{
    static const char *const good[] = {"127.0.0.1:8300", "[::1]:0", "none", "localhost:65535",
                                       "0.0.0.0:80"};
    static const char *const bad[] = {"8300",          ":80",   "::1:80",  "[::1]",
                                      "host:65536",    "host:", "host:-1", "http://x:80",
                                      "[127.0.0.1]:1", "a b:80"};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct settings *settings = LOAD("--http-listen", good[i]);
        if (settings == NULL)
            fail_msg("%s: %s", good[i], last_error.message);
        settings_free(settings);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_refused(LOAD("--http-listen", bad[i]), "is no address: write HOST:PORT");
}

static void workers_that_connect_need_an_address_and_on_tcp_a_token(void **state)
{
    (void)state;
    struct node_config config;
    struct settings *settings =
        LOAD("--worker-listen", "unix:/run/a,[::1]:0", "--worker-listen", "127.0.0.1:8301",
             "--worker-token", "0123456789abcdef", "--worker-socket-mode", "660");
    assert_non_null(settings);
    settings_node_config(settings, &config);
    assert_string_equal(config.worker_listen[0], "unix:/run/a");
    assert_string_equal(config.worker_listen[1], "[::1]:0");
    assert_string_equal(config.worker_listen[2], "127.0.0.1:8301");
    assert_int_equal(config.worker_socket_mode, 0660);
    assert_string_equal(config.worker_token, "0123456789abcdef");
    settings_free(settings);
    write_file("a-token-in-a-file-of-its-own\n");
    settings = LOAD("--worker-listen", "localhost:1", "--worker-token-file", file_name);
    assert_non_null(settings);
    settings_node_config(settings, &config);
    assert_string_equal(config.worker_token, "a-token-in-a-file-of-its-own");
    settings_free(settings);
    assert_refused(LOAD("--worker-listen", "localhost:1"), "names a TCP port and needs");
    assert_refused(LOAD("--worker-listen", "localhost:1", "--worker-token-file", "/nowhere"),
                   "worker_token_file /nowhere (from --worker-token-file): cannot read it");
    assert_refused(LOAD("--worker-listen", "localhost:1", "--worker-token-file", file_name,
                        "--worker-token", "0123456789abcdef"),
                   "are both given");
    assert_refused(LOAD("--worker-token", "short"), "16 to 256 printable characters");
    assert_refused(LOAD("--worker-socket-mode", "777"), "600 (the node's user)");
    static const char *const bad[] = {"unix:run/a", "8301",    "localhost:",    "localhost:70000",
                                      "::1:80",     "[::1:80", "[localhost]:1", ":80"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_refused(LOAD("--worker-listen", bad[i]), "is no address for workers");
    write_file("short\n");
    assert_refused(LOAD("--worker-listen", "localhost:1", "--worker-token-file", file_name),
                   "16 to 256 printable characters");
}

static void control_groups_are_automatic_off_or_in_a_directory(void **state)
{
    (void)state;
    static const char *const good[] = {"auto", "off", "/sys/fs/cgroup/rota"};
    struct node_config config;
    for (size_t i = 0; i < 3; i++) {
        struct settings *settings = LOAD("--cgroup", good[i]);
        assert_non_null(settings);
        settings_node_config(settings, &config);
        assert_string_equal(config.cgroup, good[i]);
        settings_free(settings);
    }
    assert_refused(LOAD("--cgroup", "on"), "\"on\" is refused: write auto");
    assert_refused(LOAD("--cgroup", ""), "is refused: write auto");
}

static void heartbeat_must_fit_twice_into_the_lease(void **state)
{
    (void)state;
    assert_refused(LOAD("--heartbeat", "5s"), "must be less than half the lease 10s");
    assert_refused(LOAD("--heartbeat", "2s", "--lease", "4s"), "heartbeat 2s (from --heartbeat)");
    struct settings *settings = LOAD("--lease", "3s"); /* the default heartbeat follows */
    assert_non_null(settings);
    assert_int_equal(settings_number(settings, SETTING_HEARTBEAT), 600 * US_PER_MS);
    settings_free(settings);
    settings = LOAD("--lease", "1m");
    assert_int_equal(settings_number(settings, SETTING_HEARTBEAT), 2 * US_PER_SECOND);
    settings_free(settings);
}

static void file_errors_name_line_and_column(void **state)
{
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"{\"leese\": \"5s\"}", ":1:2: unknown setting \"leese\": did you mean \"lease\"?"},
        {"{\n  \"zzzzzzzzzz\": 1}", ":2:3: unknown setting \"zzzzzzzzzz\""},
        {"{\"http-listen\": \"none\"}", "did you mean \"http_listen\"?"},
        {"{\"lease\": 20}", ":1:11): a number stands here: write a duration in quotes"},
        {"{\"slots\": \"4\"}", "a string stands here: write a number"},
        {"{\"notify\": \"on\"}", "write true or false"},
        {"{\"lease\": \"x\"}", ":1:11): \"x\" is no duration"},
        {"{\"config\": \"x\"}", "cannot name another"},
        {"{\"lease\" 1}", "line 1, column 10: a colon is expected"},
        {"[]", "holds an array"},
        {"", "is no JSON"},
        {"{\"slots\": 2, \"slots\": 3}", "twice"},
        {"{\"pools\":\n {\"py\": {\"command\": []}}}", "line 2, column 21: command is a list"},
        {"{\"schema\": \"a\\u0000b\"}", "\\u0000 is refused"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_file(cases[i].text);
        assert_refused(LOAD("--config", file_name), cases[i].part);
    }
    assert_refused(LOAD("--config", "/nonexistent/rota.json"), "No such file");
}

static void pools_are_read_and_the_built_in_one_stands_first(void **state)
{
    struct pool_table table;
    (void)state;
    assert_int_equal(
        pool_table_parse(&table,
                         "{\"py\":{\"command\":[\"python3\",\"w.py\"],\"processes\":4},"
                         "\"js\":{\"command\":[\"node\"]}}",
                         8, &last_error),
        0);
    assert_int_equal(table.count, 3);
    assert_null(table.pools[0].command);
    assert_int_equal(table.pools[0].slots, 8);
    assert_string_equal(table.pools[1].name, "py");
    assert_string_equal(table.pools[1].command[1], "w.py");
    assert_null(table.pools[1].command[2]);
    assert_int_equal(table.pools[1].processes, 4);
    assert_int_equal(table.pools[2].processes, 1);
    pool_table_free(&table);
}

static void pools_may_name_what_their_handlers_were_called_before(void **state)
{
    struct pool_table table;
    (void)state;
    assert_int_equal(pool_table_parse(&table,
                                      "{\"py\":{\"command\":[\"x\"],\"aliases\":{\"a\":\"c\","
                                      "\"b\":\"c\"}}}",
                                      1, &last_error),
                     0);
    assert_int_equal(table.pools[1].alias_count, 2);
    assert_string_equal(table.pools[1].aliases[1].old, "b");
    assert_string_equal(table.pools[1].aliases[1].new, "c");
    pool_table_free(&table);
}

static void pools_of_built_in_handlers_have_slots_and_processes(void **state)
{
    struct pool_table table;
    (void)state;
    assert_int_equal(pool_table_parse(&table,
                                      "{\"reports\":{\"builtin\":[\"exec\"],\"slots\":2,"
                                      "\"processes\":3}}",
                                      8, &last_error),
                     0);
    assert_int_equal(table.count, 2);
    assert_null(table.pools[1].command);
    assert_string_equal(table.pools[1].builtin[0], "exec");
    assert_null(table.pools[1].builtin[1]);
    assert_int_equal(table.pools[1].slots, 2);
    assert_int_equal(table.pools[1].processes, 3);
    pool_table_free(&table);
}

static void bad_pools_are_refused_with_their_place(void **state)
{
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"[]", "pools is an object"},
        {"{\"builtin\":{\"command\":[\"x\"]}}", "always there"},
        {"{\"a b\":{\"command\":[\"x\"]}}", "a pool's name"},
        {"{\"py\":[]}", "line 1, column 7: a pool is an object"},
        {"{\"py\":{\"command\":[\"x\"],\"aliases\":[]}}", "aliases is an object"},
        {"{\"py\":{\"command\":[\"x\"],\"aliases\":{\"a\":1}}}", "a text"},
        {"{\"py\":{\"command\":[\"x\"],\"aliases\":{\"a\":\"\"}}}", "a text"},
        {"{\"py\":{\"command\":[\"x\"],\"aliases\":{\"\":\"a\"}}}", "not an empty text"},
        {"{\"py\":{\"aliases\":{\"a\":\"b\",\"b\":\"c\"}}}",
         "line 1, column 23: an alias stands for a handler, not for another alias"},
        {"{\"py\":{\"aliases\":{\"a\":\"\\u0061\"}}}", "not for another alias"},
        {"{\"py\":{}}", "has no command"},
        {"{\"py\":{\"command\":\"x\"}}", "list of texts"},
        {"{\"py\":{\"command\":[\"x\",1]}}", "line 1, column 23: command is a list of texts only"},
        {"{\"py\":{\"command\":[\"\"]}}", "empty text"},
        {"{\"py\":{\"command\":[\"x\"],\"processes\":0}}", "from 1 to 1000"},
        {"{\"py\":{\"command\":[\"x\"],\"limits\":7}}", "limits is an object with memory"},
        {"{\"py\":{\"command\":[\"x\"],\"limits\":{\"ram\":1}}}",
         "limits is an object with memory"},
        {"{\"py\":{\"command\":[\"x\"],\"limits\":{\"memory\":512}}}", "memory is a size"},
        {"{\"py\":{\"command\":[\"x\"],\"limits\":{\"memory\":\"1MiB\"}}}", "memory is a size"},
        {"{\"py\":{\"command\":[\"x\"],\"limits\":{\"memory\":\"9 MiB\"}}}", "memory is a size"},
        {"{\"py\":{\"command\":[\"x\"],\"limits\":{\"memory\":\"999999999TiB\"}}}",
         "memory is a size"},
        {"{\"py\":{\"command\":[\"x\"],\"limits\":{\"files\":3}}}", "files is a number from 16"},
        {"{\"py\":{\"command\":[\"x\"],\"limits\":{\"processes\":0}}}", "from 1 to"},
        {"{\"py\":{\"command\":[\"x\"],\"slots\":1}}", "slots are for builtin handlers"},
        {"{\"py\":{\"command\":[\"x\"],\"sluts\":1}}",
         "keys command, processes, aliases, limits, builtin and slots"},
        {"{\"a\":{\"builtin\":[\"exec\"]}}", "needs slots"},
        {"{\"a\":{\"builtin\":[],\"slots\":1}}", "list of built-in handlers"},
        {"{\"a\":{\"builtin\":[\"exce\"],\"slots\":1}}",
         "line 1, column 18: builtin lists handlers"},
        {"{\"a\":{\"builtin\":[\"exec\"],\"slots\":0}}", "from 1 to 10000"},
        {"{\"a\":{\"builtin\":[\"exec\"],\"slots\":1,\"command\":[\"x\"]}}", "not both"},
        {"{\"a\":{\"builtin\":[\"exec\",\"exec\"],\"slots\":1}}", "in the list twice"},
        {"{\"a\":{\"builtin\":[\"exec\"],\"slots\":1},\"b\":{\"builtin\":[\"exec\"],\"slots\":1}}",
         "another pool's"},
    };
    struct pool_table table;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(pool_table_parse(&table, cases[i].text, 1, &last_error), -1);
        assert_refused(NULL, cases[i].part);
    }
}

static void node_config_carries_the_values(void **state)
{
    struct node_config config;
    (void)state;
    struct settings *settings =
        LOAD("--database-url", "host=db", "--node-name", "n1", "--slots", "4", "--pools",
             "{\"py\":{\"command\":[\"w\"]}}", "--exec-allow", "/bin/*", "--log-level", "warn",
             "--log-runs", "--standby");
    assert_non_null(settings);
    settings_node_config(settings, &config);
    assert_string_equal(config.database_url, "host=db");
    assert_null(config.session_database_url);
    assert_string_equal(config.node_name, "n1");
    assert_int_equal(config.pool_count, 2);
    assert_int_equal(config.pools[0].slots, 4);
    assert_string_equal(config.exec_allow[0], "/bin/*");
    assert_int_equal(config.lease_us, 10 * US_PER_SECOND);
    assert_int_equal(config.log->level, LOG_WARN);
    assert_string_equal(config.log->node, "n1");
    assert_true(config.log_runs && config.standby && !config.disabled && config.notify);
    assert_int_equal(config.self[0], '/');
    settings_free(settings);
}

static void passwords_are_masked(void **state)
{
    static const struct {
        const char *text, *shown;
    } cases[] = {
        {"postgresql://u:p%40ss@h:5/db?sslmode=require",
         "postgresql://u:***@h:5/db?sslmode=require"},
        {"postgres://u@h/db", "postgres://u@h/db"},
        {"postgresql:///db?user=u&password=x&host=/s",
         "postgresql:///db?user=u&password=***&host=/s"},
        {"postgresql://u:a@b@h/db", "postgresql://u:***@h/db"},
        {"postgresql://h1:1,h2:2/db", "postgresql://h1:1,h2:2/db"},
        {"postgresql://u:a/b@h/db", "postgresql://u:***@h/db"}, /* which is not what libpq reads */
        {"postgresql://h:1/db?options=a@b", "postgresql://h:1/db?options=a@b"},
        {"host=h password=secret user=u", "host=h password=*** user=u"},
        {"password = 'it\\'s so' host=h", "password = *** host=h"},
        {"host=h sslpassword='x y'", "host=h sslpassword=***"},
        {"PASSWORD=x", "PASSWORD=***"},
        {"dbname='password=no'", "dbname='password=no'"},
        {"password=", "password=***"},
        {"nonsense", "nonsense"},
        {"", ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *shown = settings_mask(cases[i].text);
        assert_string_equal(shown, cases[i].shown);
        free(shown);
    }
}

static void a_client_needs_a_database_or_a_running_up(void **state)
{
    (void)state;
    struct settings *settings = LOAD("--data", "/nonexistent");
    assert_null(settings_client_url(settings, &last_error));
    assert_int_equal(last_error.code, ERROR_DATABASE);
    assert_refused(NULL, "no `rota up` runs on /nonexistent");
    settings_free(settings);
    setenv("ROTA_DATABASE_URL", "host=db", 1);
    settings = LOAD();
    char *url = settings_client_url(settings, &last_error);
    assert_string_equal(url, "host=db");
    free(url);
    settings_free(settings);
    settings = LOAD("--data", "/nonexistent"); /* a flag is stronger than the environment */
    assert_null(settings_client_url(settings, &last_error));
    settings_free(settings);
}

static void names_follow_from_the_table(void **state)
{
    (void)state;
    for (int id = 0; id < SETTING_COUNT; id++) {
        const struct setting *row = settings_row((enum setting_id)id);
        char flag[64];
        assert_non_null(row->name);
        assert_non_null(row->help);
        assert_true(row->scopes != 0);
        settings_flag_name((enum setting_id)id, flag, sizeof flag);
        assert_null(strchr(flag, '_'));
        assert_int_equal(settings_find(row->name, strlen(row->name)), id);
        assert_int_equal(settings_find(flag + 2, strlen(flag + 2)), id);
    }
}

#define TEST(name) cmocka_unit_test_setup(name, clear_environment)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(defaults_are_those_of_the_contract),
        TEST(flag_wins_over_environment_over_file),
        TEST(every_spelling_of_a_flag_is_taken),
        TEST(a_flag_outside_its_command_is_not_taken),
        TEST(enqueue_takes_the_data_directory_from_the_environment_only),
        TEST(an_empty_variable_is_not_set),
        TEST(disabling_has_two_variables_and_ours_wins),
        TEST(lists_split_at_colons_or_come_as_json_and_add_up),
        TEST(bad_values_say_name_origin_and_what_would_be_right),
        TEST(identifiers_are_strict),
        TEST(listen_addresses_are_checked),
        TEST(workers_that_connect_need_an_address_and_on_tcp_a_token),
        TEST(control_groups_are_automatic_off_or_in_a_directory),
        TEST(heartbeat_must_fit_twice_into_the_lease),
        TEST(file_errors_name_line_and_column),
        TEST(pools_are_read_and_the_built_in_one_stands_first),
        TEST(pools_may_name_what_their_handlers_were_called_before),
        TEST(pools_of_built_in_handlers_have_slots_and_processes),
        TEST(bad_pools_are_refused_with_their_place),
        TEST(node_config_carries_the_values),
        TEST(passwords_are_masked),
        TEST(a_client_needs_a_database_or_a_running_up),
        TEST(names_follow_from_the_table),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
