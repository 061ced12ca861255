/*
 * The store against a real server (ROTA_TEST_DATABASE_URL): migrations, every statement prepared,
 * calls in a pipeline, transactions, lost connections. Each test has a schema of its own.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "store/store.h"

#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct log quiet = {.level = LOG_ERROR, .text = true, .fd = 2};

struct fixture {
    struct event_base *base;
    struct store *store;
    char schema[40];
    int notified;
    int ready;
    int lost;
};

static void on_notified(void *arg, const char *payload)
{
    (void)payload;
    ((struct fixture *)arg)->notified++;
}

static void on_ready(void *arg)
{
    ((struct fixture *)arg)->ready++;
}

static void on_lost(void *arg, const struct rota_error *error)
{
    (void)error;
    ((struct fixture *)arg)->lost++;
}

static struct store *open_store(struct fixture *f, int roles)
{
    struct store_config config = {.base = f->base,
                                  .log = &quiet,
                                  .url = getenv("ROTA_TEST_DATABASE_URL"),
                                  .schema = f->schema,
                                  .role_name = "test",
                                  .application_name = "rota test",
                                  .roles = roles,
                                  .arg = f,
                                  .ready = on_ready,
                                  .lost = on_lost,
                                  .notified = on_notified};
    return store_new(&config);
}

static void must(int failed, const struct rota_error *error)
{
    if (failed != 0)
        fail_msg("%s", error->message);
}

static int set_up(void **state)
{
    struct fixture *f = mem_alloc(sizeof *f);
    struct rota_error error;
    snprintf(f->schema, sizeof f->schema, "t%d_%lld", (int)getpid(),
             (long long)clock_monotonic_us() % 1000000);
    f->base = event_base_new();
    f->store = open_store(f, 0);
    must(store_wait_ready(f->store, NULL, &error), &error);
    struct migrate_result done;
    must(store_migrate(f->store, f->schema, NULL, &done, &error), &error);
    assert_int_equal(done.from, 0);
    assert_int_equal(done.to, migration_count);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    struct rota_error error;
    char *drop = mem_format("DROP SCHEMA %s CASCADE", f->schema);
    if (!store_ready(f->store)) {
        store_free(f->store);
        f->store = open_store(f, 0);
        must(store_wait_ready(f->store, NULL, &error), &error);
    }
    must(store_wait_script(f->store, drop, &error), &error);
    free(drop);
    store_free(f->store);
    event_base_free(f->base);
    free(f);
    return 0;
}

static void every_statement_prepares_against_the_migrated_schema(void **state)
{
    struct fixture *f = *state;
    struct rota_error error;
    struct store *all = open_store(f, STATEMENT_SESSION | STATEMENT_WORK | STATEMENT_CLIENT);
    must(store_wait_ready(all, NULL, &error), &error);
    store_free(all);
}

static void a_second_migration_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct rota_error error;
    struct migrate_result done;
    must(store_migrate(f->store, f->schema, NULL, &done, &error), &error);
    assert_int_equal(done.from, migration_count);
    assert_int_equal(done.to, migration_count);
}

static void a_schema_that_needs_a_newer_binary_is_refused(void **state)
{
    struct fixture *f = *state;
    struct rota_error error = {0};
    int version;
    char *newer = mem_format(
        "INSERT INTO %s.schema_version (version, name, needs) VALUES (9999, '9999_far', 9999)",
        f->schema);
    must(store_wait_script(f->store, newer, &error), &error);
    free(newer);
    assert_int_equal(store_check_schema(f->store, &version, &error), -1);
    assert_non_null(strstr(error.message, "too new"));
}

struct order {
    int count;
    int errors;
    struct rota_error last;
    bool unknown;
};

static void on_counted(void *arg, const struct store_answer *answer)
{
    struct order *order = arg;
    order->count++;
    if (answer->error != NULL) {
        order->errors++;
        order->last = *answer->error;
        order->unknown = answer->unknown;
    }
}

static void run_until(struct fixture *f, const int *counter, int wanted)
{
    int64_t limit = clock_monotonic_us() + 10 * US_PER_SECOND;
    while (*counter < wanted && clock_monotonic_us() < limit) {
        struct timeval slice = {0, 20000};
        event_base_loopexit(f->base, &slice);
        event_base_dispatch(f->base);
    }
    assert_int_equal(*counter, wanted);
}

static void calls_are_answered_in_order_beyond_the_pipelines_depth(void **state)
{
    struct fixture *f = *state;
    struct order order = {0};
    for (int i = 0; i < 500; i++)
        store_call(f->store, SQL_SCHEMA_PRESENT, NULL, 0, on_counted, &order);
    run_until(f, &order.count, 500);
    assert_int_equal(order.errors, 0);
    assert_int_equal(store_backlog(f->store), 0);
}

static void a_failing_call_fails_alone(void **state)
{
    struct fixture *f = *state;
    struct order good = {0}, bad = {0};
    struct store_params dead = {0};
    params_int32(&dead, 4711); /* no such incarnation: the receipt's key refuses */
    struct store_params back = {0};
    params_int32(&back, 1);
    params_int64s(&back, (const int64_t[]){1}, 1);
    params_int32s(&back, (const int32_t[]){0, 1},
                  2); /* arrays of different length: no row, no error */
    params_int64s(&back, NULL, 0);
    params_int32s(&back, NULL, 0);
    params_int32s(&back, NULL, 0);
    params_bools(&back, NULL, 0);
    params_slices(&back, PARAMS_JSONB, NULL, 0);
    struct store_params days = {0};
    params_int32(&days, 2000000000); /* a date far out of range: 22008 */
    store_call(f->store, SQL_SCHEMA_PRESENT, NULL, 0, on_counted, &good);
    store_call(f->store, SQL_HISTORY_ENSURE, &days, 0, on_counted, &bad);
    store_call(f->store, SQL_RUN_PUT_BACK, &back, 0, on_counted, &good);
    store_call(f->store, SQL_SCHEMA_PRESENT, NULL, 0, on_counted, &good);
    run_until(f, &good.count, 3);
    assert_int_equal(good.errors, 0);
    assert_int_equal(bad.errors, 1);
    assert_string_not_equal(bad.last.sqlstate, "");
    store_params_free(&dead);
    store_params_free(&back);
    store_params_free(&days);
}

static void calls_of_others_wait_for_the_end_of_a_transaction(void **state)
{
    struct fixture *f = *state;
    struct order within = {0}, other = {0};
    store_call(f->store, SQL_SCHEMA_PRESENT, NULL, STORE_BEGIN, on_counted, &within);
    store_call(f->store, SQL_SCHEMA_PRESENT, NULL, 0, on_counted, &other);
    run_until(f, &within.count, 1);
    assert_int_equal(other.count, 0);
    store_call(f->store, SQL_SCHEMA_PRESENT, NULL, STORE_WITHIN | STORE_COMMIT, on_counted,
               &within);
    run_until(f, &other.count, 1);
    assert_int_equal(within.count, 2);
    assert_int_equal(within.errors, 0);
}

static void a_failed_transaction_is_rolled_back_and_the_connection_goes_on(void **state)
{
    struct fixture *f = *state;
    struct order within = {0}, other = {0};
    struct store_params days = {0};
    params_int32(&days, 2000000000);
    store_call(f->store, SQL_SCHEMA_PRESENT, NULL, STORE_BEGIN, on_counted, &within);
    run_until(f, &within.count, 1);
    store_call(f->store, SQL_HISTORY_ENSURE, &days, STORE_WITHIN | STORE_COMMIT, on_counted,
               &within);
    store_call(f->store, SQL_SCHEMA_PRESENT, NULL, 0, on_counted, &other);
    run_until(f, &other.count, 1);
    assert_int_equal(within.errors, 1);
    assert_int_equal(other.errors, 0);
    store_params_free(&days);
}

static void a_transaction_that_fails_early_does_not_end_the_next_one(void **state)
{
    struct fixture *f = *state;
    struct order within = {0}, next = {0}, other = {0};
    struct store_params days = {0};
    params_int32(&days, 2000000000);
    store_call(f->store, SQL_SCHEMA_PRESENT, NULL, STORE_BEGIN, on_counted, &within);
    run_until(f, &within.count, 1);
    store_call(f->store, SQL_HISTORY_ENSURE, &days, STORE_WITHIN, on_counted, &within);
    store_call(f->store, SQL_SCHEMA_PRESENT, NULL, STORE_WITHIN, on_counted, &within);
    store_call(f->store, SQL_SCHEMA_PRESENT, NULL, STORE_WITHIN | STORE_COMMIT, on_counted,
               &within);
    store_call(f->store, SQL_SCHEMA_PRESENT, NULL, STORE_BEGIN, on_counted, &next);
    store_call(f->store, SQL_SCHEMA_PRESENT, NULL, 0, on_counted, &other);
    run_until(f, &next.count, 1);
    assert_int_equal(within.errors, 3);
    store_call(f->store, SQL_SCHEMA_PRESENT, NULL, STORE_WITHIN, on_counted, &next);
    run_until(f, &next.count, 2);
    assert_int_equal(other.count, 0);
    store_call(f->store, SQL_SCHEMA_PRESENT, NULL, STORE_WITHIN | STORE_COMMIT, on_counted, &next);
    run_until(f, &other.count, 1);
    assert_int_equal(next.errors + other.errors, 0);
    store_params_free(&days);
}

static void a_lost_connection_says_so_to_every_call_and_comes_back(void **state)
{
    struct fixture *f = *state;
    struct order order = {0};
    struct store *other = open_store(f, 0);
    struct rota_error error;
    must(store_wait_ready(other, NULL, &error), &error);
    int ready = f->ready;
    char *kill_it = mem_format("SELECT pg_terminate_backend(%d)", store_backend_pid(f->store));
    must(store_wait_script(other, kill_it, &error), &error);
    free(kill_it);
    store_call(f->store, SQL_SCHEMA_PRESENT, NULL, 0, on_counted, &order);
    run_until(f, &order.count, 1);
    assert_int_equal(order.errors, 1);
    assert_int_equal(store_fault(&order.last), FAULT_RETRY);
    run_until(f, &f->ready, ready + 1);
    assert_int_equal(f->lost, 1);
    struct order again = {0};
    store_call(f->store, SQL_SCHEMA_PRESENT, NULL, 0, on_counted, &again);
    run_until(f, &again.count, 1);
    assert_int_equal(again.errors, 0);
    store_free(other);
}

static void a_listener_hears_its_own_schema_only(void **state)
{
    struct fixture *f = *state;
    struct rota_error error;
    must(store_wait(f->store, SQL_SESSION_LISTEN, NULL, 0, NULL, &error), &error);
    must(store_wait_script(f->store, "SELECT pg_notify('other.wake', '')", &error), &error);
    char *mine = mem_format("SELECT pg_notify('%s.wake', '')", f->schema);
    must(store_wait_script(f->store, mine, &error), &error);
    free(mine);
    run_until(f, &f->notified, 1);
}

static void a_connection_string_that_is_wrong_is_refused_without_its_password(void **state)
{
    static const struct {
        const char *url, *why;
    } cases[] = {
        {"postgresql:/u:s3cret@h/db", "missing \"=\" after"},
        {"u:s3cret@h/db?sslmode=require", "invalid connection option"},
        {"postgresql://u:s3cret%zz@h/db", "invalid percent-encoded token"},
        {"postgresql://u:s3cret@[::1/db", "matching \"]\" in IPv6 host"},
        {"postgresql://u:s3cret@h/db?sslmod=s3cret", "invalid URI query parameter"},
        {"host=h password='s3cret", "unterminated quoted string"},
        {"hots=h password=s3cret", "invalid connection option \"hots\""},
    };
    struct rota_error error = {0};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct event_base *base = event_base_new();
        struct store_config config = {.base = base,
                                      .log = &quiet,
                                      .url = cases[i].url,
                                      .schema = "rota",
                                      .role_name = "test",
                                      .application_name = "rota test"};
        struct store *store = store_new(&config);
        assert_int_equal(store_wait_ready(store, NULL, &error), -1);
        if (strstr(error.message, cases[i].why) == NULL || strstr(error.message, "s3cret") != NULL)
            fail_msg("%s", error.message);
        store_free(store);
        event_base_free(base);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define LIVE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        LIVE(every_statement_prepares_against_the_migrated_schema),
        LIVE(a_second_migration_changes_nothing),
        LIVE(a_schema_that_needs_a_newer_binary_is_refused),
        LIVE(calls_are_answered_in_order_beyond_the_pipelines_depth),
        LIVE(a_failing_call_fails_alone),
        LIVE(calls_of_others_wait_for_the_end_of_a_transaction),
        LIVE(a_failed_transaction_is_rolled_back_and_the_connection_goes_on),
        LIVE(a_transaction_that_fails_early_does_not_end_the_next_one),
        LIVE(a_lost_connection_says_so_to_every_call_and_comes_back),
        LIVE(a_listener_hears_its_own_schema_only),
        cmocka_unit_test(a_connection_string_that_is_wrong_is_refused_without_its_password),
    };
    if (getenv("ROTA_TEST_DATABASE_URL") == NULL) {
        printf("1..0 # SKIP needs ROTA_TEST_DATABASE_URL\n");
        return 0;
    }
    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
