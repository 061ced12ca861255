/* Workers that connect to a socket of the node: what they may, and what follows from their end. */
#include "tests/unit/worker_fixture.h"

#include "worker/guest.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/un.h>

#define TOKEN "a-secret-of-many-letters"
#define HELLO "{\"type\":\"hello\",\"protocol\":1,\"handlers\":[\"a\"],\"slots\":4"

static char *socket_path, *unix_address;
static const char *addresses[3];
static struct buffer heard[8]; /* by client, in the order they connected */
static int clients[8], client_count;

static int guest_setup(void **state)
{
    setup(state);
    struct fixture *f = *state;
    socket_path = path_in(f, "socket");
    unix_address = mem_format("unix:%s", socket_path);
    addresses[0] = unix_address;
    addresses[1] = addresses[2] = NULL;
    f->config.listen = addresses;
    client_count = 0;
    return 0;
}

static int guest_teardown(void **state)
{
    teardown(state);
    for (int i = 0; i < client_count; i++) {
        close(clients[i]);
        buffer_free(&heard[i]);
    }
    free(socket_path);
    free(unix_address);
    return 0;
}

static int connect_unix(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", socket_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

/* At the port the log tells of. */
static int connect_tcp(struct fixture *f)
{
    char *text = file_text(f, "log");
    const char *at = strstr(text, "\"address\":\"127.0.0.1:");
    assert_non_null(at);
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
        .sin_port = htons((uint16_t)strtol(at + strlen("\"address\":\"127.0.0.1:"), NULL, 10))};
    free(text);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void say(int client, const char *text)
{
    assert_int_equal(send(clients[client], text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static int new_client(int fd, const char *first)
{
    clients[client_count] = fd;
    if (first != NULL)
        say(client_count, first);
    return client_count++;
}

static bool hears(int client, const char *wanted)
{
    char *room = buffer_reserve(&heard[client], 65536);
    ssize_t got = recv(clients[client], room, 65536, MSG_DONTWAIT);
    if (got > 0)
        heard[client].length += (size_t)got;
    return strstr(buffer_text(&heard[client]), wanted) != NULL;
}

static bool is_cut_off(int client)
{
    char byte;
    ssize_t got;
    while ((got = recv(clients[client], &byte, 1, MSG_DONTWAIT)) > 0)
        continue;
    return got == 0 || (errno != EAGAIN && errno != EINTR);
}

static void end_client(int client)
{
    shutdown(clients[client], SHUT_RDWR);
}

/* One worker on the Unix socket that says `more` in its hello. */
static int one_guest(struct fixture *f, const char *more)
{
    char *hello = mem_format(HELLO "%s}\n", more);
    int client = new_client(connect_unix(), hello);
    free(hello);
    WAIT(f, hears(client, "\"welcome\""));
    assert_true(free_slots(f, 0) >= 4);
    return client;
}

static int give_lane(struct fixture *f, int64_t id)
{
    struct worker_run run = run_of(id, "a", NULL);
    run.lane = true;
    return workers_run(f->workers, 0, &run);
}

static void runs_go_to_who_connects_and_come_back(void **state)
{
    struct fixture *f = *state;
    start(f, 0);
    assert_string_equal(view(f, 0)->name, "socket");
    assert_int_equal(free_slots(f, 0), 0);
    int client = one_guest(f, "");
    assert_string_equal(view(f, 0)->handlers[0], "a");
    assert_int_equal(give(f, 1, "a", "{\"n\":1234567890123456789}"), 0);
    WAIT(f, hears(client, "{\"n\":1234567890123456789}"));
    say(client, "{\"type\":\"done\",\"id\":1,\"fence\":1001,\"details\":{\"x\":1}}\n");
    assert_int_equal(wait_for_outcome(f, 1)->outcome, WORKER_DONE);
    assert_string_equal(outcome_of_run(f, 1)->details, "{\"x\":1}");
    end_client(client);
    WAIT(f, free_slots(f, 0) == 0);
    assert_null(view(f, 0)->handlers[0]);
    one_guest(f, ""); /* the place is there for the next one */
}

/* {"type":"hello",…} with 200 handlers whose names begin with the letter. */
static char *many_handlers(char letter)
{
    struct buffer hello = {0};
    buffer_string(&hello, "{\"type\":\"hello\",\"protocol\":1,\"handlers\":[");
    for (int i = 0; i < 200; i++)
        buffer_format(&hello, "%s\"%c%d\"", i > 0 ? "," : "", letter, i);
    buffer_string(&hello, "]}\n");
    buffer_text(&hello);
    return hello.data;
}

static void names_of_handlers_that_nobody_has_make_room(void **state)
{
    struct fixture *f = *state;
    start(f, 0);
    int client = one_guest(f, "");
    for (char letter = 'b'; letter <= 'e'; letter++) {
        char *hello = many_handlers(letter), last[8], line[80];
        say(client, hello);
        free(hello);
        snprintf(last, sizeof last, "%c199", letter);
        WAIT(f, give(f, letter, last, NULL) == 0);
        size_t count = 0;
        for (const char *const *at = view(f, 0)->handlers; *at != NULL; at++, count++)
            assert_int_equal((*at)[0], letter);
        assert_int_equal(count, 200);
        snprintf(line, sizeof line, "{\"type\":\"done\",\"id\":%d,\"fence\":%d}\n", letter,
                 letter + 1000);
        WAIT(f, hears(client, last));
        say(client, line);
        assert_int_equal(wait_for_outcome(f, letter)->outcome, WORKER_DONE);
    }
    assert_false(file_has(f, "log", "too many handlers"));
}

static void names_too_many_for_a_pool_are_not_a_line_each_in_the_log(void **state)
{
    struct fixture *f = *state;
    start(f, 0);
    for (char letter = 'b'; letter <= 'c'; letter++) {
        char *hello = many_handlers(letter);
        int client = new_client(connect_unix(), hello);
        WAIT(f, hears(client, "\"welcome\""));
        free(hello);
    }
    int lines = 0;
    char *text = file_text(f, "log");
    for (const char *at = text; (at = strstr(at, "too many handlers")) != NULL; at++)
        lines++;
    free(text);
    assert_in_range(lines, 1, 3); /* one a second, on a slow machine */
}

static void end_of_the_connection_is_the_death_of_its_runs(void **state)
{
    struct fixture *f = *state;
    start(f, 0);
    int client = one_guest(f, "");
    give(f, 1, "a", NULL);
    give(f, 2, "a", NULL);
    WAIT(f, hears(client, "\"id\":2"));
    end_client(client);
    assert_int_equal(wait_for_outcome(f, 1)->outcome, WORKER_CRASHED);
    assert_int_equal(wait_for_outcome(f, 2)->outcome, WORKER_CRASHED);
    assert_string_equal(outcome_of_run(f, 1)->reason, "it closed its connection");
    assert_false(outcome_of_run(f, 1)->alone || outcome_of_run(f, 2)->alone);
    client = one_guest(f, "");
    give(f, 3, "a", NULL);
    WAIT(f, hears(client, "\"id\":3"));
    end_client(client);
    assert_true(wait_for_outcome(f, 3)->alone);
}

static void lane_runs_go_only_to_who_honours_the_lease(void **state)
{
    struct fixture *f = *state;
    start(f, 0);
    workers_lease(f->workers, clock_boot_us() + 60 * US_PER_SECOND);
    one_guest(f, "");
    assert_int_equal(view(f, 0)->lane_slots, 0);
    assert_int_equal(give_lane(f, 1), -1);
    int client = new_client(connect_unix(), HELLO ",\"honours_lease\":true}\n");
    WAIT(f, hears(client, "\"type\":\"lease\",\"valid_ms\":59"));
    assert_int_equal(view(f, 0)->lane_slots, 4);
    assert_int_equal(give_lane(f, 1), 0);
    WAIT(f, hears(client, "\"id\":1,"));
    say(client, "{\"type\":\"lease\",\"ref\":12}\n");
    WAIT(f, hears(client, ",\"ref\":12}"));
}

static void lane_run_is_held_back_until_the_lease_that_was_told_is_over(void **state)
{
    struct fixture *f = *state;
    start(f, 0);
    int64_t end_us = clock_boot_us() + 700 * US_PER_MS;
    workers_lease(f->workers, end_us);
    int client = one_guest(f, ",\"honours_lease\":true");
    give(f, 1, "a", NULL);
    give_lane(f, 2);
    WAIT(f, hears(client, "\"id\":2,"));
    workers_lease(f->workers, end_us + 300 * US_PER_MS);
    WAIT(f, hears(client, "\"type\":\"lease\",\"valid_ms\":9"));
    workers_lock_lost(f->workers, 99); /* nobody's: nothing happens */
    end_client(client);
    assert_int_equal(wait_for_outcome(f, 1)->outcome, WORKER_CRASHED);
    assert_true(clock_boot_us() < end_us);
    assert_null(outcome_of_run(f, 2));
    workers_lease(f->workers, end_us + 60 * US_PER_SECOND); /* which it is not told any more */
    assert_int_equal(wait_for_outcome(f, 2)->outcome, WORKER_CRASHED);
    int64_t late_us = clock_boot_us() - end_us - 300 * US_PER_MS;
    assert_true(late_us >= 0 && late_us < 5 * US_PER_SECOND);
    assert_false(outcome_of_run(f, 2)->alone);
}

static void a_promise_that_is_taken_back_holds_for_the_lease_that_was_told(void **state)
{
    struct fixture *f = *state;
    start(f, 0);
    int64_t end_us = clock_boot_us() + 700 * US_PER_MS;
    workers_lease(f->workers, end_us);
    int client = one_guest(f, ",\"honours_lease\":true");
    give_lane(f, 1);
    WAIT(f, hears(client, "\"id\":1,"));
    say(client, HELLO "}\n");
    WAIT(f, view(f, 0)->lane_slots == 0);
    end_client(client);
    assert_int_equal(wait_for_outcome(f, 1)->outcome, WORKER_CRASHED);
    assert_true(clock_boot_us() >= end_us);
}

static void end_of_the_lease_cuts_off_who_has_a_lane_run(void **state)
{
    struct fixture *f = *state;
    start(f, 0);
    int64_t end_us = clock_boot_us() + 500 * US_PER_MS;
    workers_lease(f->workers, end_us);
    int client = one_guest(f, ",\"honours_lease\":true");
    give_lane(f, 1);
    assert_string_equal(wait_for_outcome(f, 1)->reason, "the lease of the node ended");
    assert_true(clock_boot_us() >= end_us && !outcome_of_run(f, 1)->alone);
    WAIT(f, is_cut_off(client));
}

static void who_has_not_promised_to_stop_gets_no_lock_of_the_cluster(void **state)
{
    struct fixture *f = *state;
    start(f, 0);
    int client = one_guest(f, "");
    say(client, "{\"type\":\"lock\",\"ref\":1,\"name\":\"n\"}\n");
    WAIT(f, f->locks == 1);
    workers_locked(f->workers, f->lock.lock, 7);
    WAIT(f, hears(client, "lock_failed")); /* it has not promised to stop */
    assert_int_equal(f->unlocks, 1);
}

static void who_asks_for_locks_and_reads_no_answer_is_cut_off(void **state)
{
    struct fixture *f = *state;
    static char why[16 * 1024];
    start(f, 0);
    int client = one_guest(f, "");
    memset(why, 'x', sizeof why - 1);
    for (int i = 1; i <= 120 && view(f, 0)->slots > 0; i++) {
        char *line = mem_format("{\"type\":\"lock\",\"ref\":%d,\"name\":\"n\"}\n", i);
        say(client, line);
        free(line);
        WAIT(f, f->locks == i || view(f, 0)->slots == 0);
        workers_lock_failed(f->workers, f->lock.lock, why);
    }
    assert_int_equal(view(f, 0)->slots, 0);
    WAIT(f, is_cut_off(client));
}

static void lock_is_let_go_when_the_lease_is_over(void **state)
{
    struct fixture *f = *state;
    start(f, 0);
    int64_t end_us = clock_boot_us() + 800 * US_PER_MS;
    workers_lease(f->workers, end_us);
    int client = one_guest(f, ",\"honours_lease\":true");
    give(f, 1, "a", NULL);
    WAIT(f, hears(client, "\"id\":1,"));
    say(client, "{\"type\":\"lock\",\"ref\":1,\"name\":\"n\",\"id\":1,\"fence\":1001}\n");
    WAIT(f, f->locks == 1);
    workers_locked(f->workers, f->lock.lock, 7);
    say(client, "{\"type\":\"lock\",\"ref\":2,\"name\":\"m\"}\n");
    WAIT(f, f->locks == 2); /* the second is only asked for */
    end_client(client);
    assert_int_equal(wait_for_outcome(f, 1)->outcome, WORKER_CRASHED);
    assert_int_equal(f->unlocks, 1);
    assert_true(clock_boot_us() < end_us);
    WAIT(f, f->unlocks == 2);
    assert_true(clock_boot_us() >= end_us);
}

static void who_does_not_end_a_run_is_cut_off_after_the_grace(void **state)
{
    struct fixture *f = *state;
    start(f, 0);
    int client = one_guest(f, "");
    struct worker_run run = run_of(1, "a", NULL);
    run.timeout_us = 50 * US_PER_MS;
    workers_run(f->workers, 0, &run);
    give(f, 2, "a", NULL);
    WAIT(f, hears(client, "\"type\":\"cancel\",\"id\":1,"));
    assert_int_equal(wait_for_outcome(f, 1)->outcome, WORKER_TIMEOUT);
    assert_int_equal(wait_for_outcome(f, 2)->outcome, WORKER_CRASHED);
    WAIT(f, is_cut_off(client));
}

static void tcp_needs_the_token_and_the_log_never_has_it(void **state)
{
    struct fixture *f = *state;
    addresses[0] = "127.0.0.1:0";
    f->config.token = TOKEN;
    start(f, 0);
    int wrong = new_client(connect_tcp(f), HELLO ",\"token\":\"" TOKEN "x\"}\n");
    WAIT(f, hears(wrong, "{\"type\":\"refused\",\"reason\":\"its token is wrong\"}"));
    int none = new_client(connect_tcp(f), HELLO "}\n");
    WAIT(f, hears(none, "its hello has no token"));
    int broken = new_client(connect_tcp(f), "{\"token\":\"" TOKEN "\", oops\n");
    WAIT(f, hears(broken, "\"refused\""));
    int right = new_client(connect_tcp(f), HELLO ",\"token\":\"" TOKEN "\"}\n");
    WAIT(f, hears(right, "\"welcome\""));
    assert_int_equal(free_slots(f, 0), 4);
    say(right, "{\"token\":\"" TOKEN "\", oops\n");
    WAIT(f, free_slots(f, 0) == 0);
    assert_true(file_has(f, "log", "a connection of a worker was refused"));
    assert_false(file_has(f, "log", TOKEN));
    for (int i = 0; i < 10; i++) {
        clients[7] = connect_tcp(f);
        say(7, HELLO ",\"token\":\"another-of-many-letters\"}\n");
        buffer_clear(&heard[7]);
        WAIT(f, hears(7, "\"refused\""));
        close(clients[7]);
    }
    assert_true(strstr(buffer_text(&heard[7]), "too many wrong tokens") != NULL);
    buffer_free(&heard[7]);
}

static void tcp_without_a_token_is_refused_at_the_start(void **state)
{
    struct fixture *f = *state;
    addresses[0] = "127.0.0.1:0";
    struct worker_config config = f->config;
    struct worker_callbacks callbacks = {0};
    struct rota_error error;
    config.base = f->base;
    config.log = &f->log;
    config.node = "here";
    config.self = f->self;
    assert_null(workers_new(&config, &callbacks, &error));
    assert_non_null(strstr(error.message, "needs worker_token"));
}

static void those_who_only_knock_do_not_crowd_out_a_worker(void **state)
{
    struct fixture *f = *state;
    int strangers[200];
    start(f, 0);
    for (int i = 0; i < 200; i++) {
        strangers[i] = connect_unix();
        turn(f);
    }
    int client = one_guest(f, "");
    give(f, 1, "a", NULL);
    WAIT(f, hears(client, "\"id\":1,"));
    for (int i = 0; i < 200; i++)
        close(strangers[i]);
    one_guest(f, "");
}

static void first_line_is_a_hello_and_short(void **state)
{
    struct fixture *f = *state;
    start(f, 0);
    int client = new_client(connect_unix(), "{\"type\":\"done\",\"id\":1,\"fence\":1}\n");
    WAIT(f, hears(client, "its first line is no hello"));
    client = new_client(connect_unix(), "{\"type\":\"hello\",\"name\":\"");
    char *long_text = mem_alloc(70001);
    memset(long_text, 'x', 70000);
    say(client, long_text);
    free(long_text);
    WAIT(f, hears(client, "longer than a hello may be") || is_cut_off(client));
}

static void socket_file_of_a_dead_node_is_replaced_and_no_other(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", socket_path);
    int left = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(left, (struct sockaddr *)&address, sizeof address), 0);
    close(left); /* its file stays */
    start(f, 0);
    struct stat status;
    assert_int_equal(stat(socket_path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    one_guest(f, "");
    struct workers *first = f->workers;
    struct worker_config config = f->config;
    struct worker_callbacks callbacks = {0};
    struct rota_error error;
    assert_null(workers_new(&config, &callbacks, &error));
    assert_non_null(strstr(error.message, "another node does"));
    one_guest(f, "") /* and the first one's file is still there */;
    assert_ptr_equal(f->workers, first);
    workers_free(f->workers);
    f->workers = NULL;
    assert_int_not_equal(stat(socket_path, &status), 0);
}

static void drain_is_told_and_nobody_else_may_come(void **state)
{
    struct fixture *f = *state;
    start(f, 0);
    int client = one_guest(f, "");
    give(f, 1, "a", NULL);
    WAIT(f, hears(client, "\"id\":1,"));
    workers_drain(f->workers, 5 * US_PER_SECOND);
    WAIT(f, hears(client, "{\"type\":\"drain\",\"grace\":\"5s\"}"));
    struct stat status;
    assert_int_not_equal(stat(socket_path, &status), 0);
    say(client, "{\"type\":\"done\",\"id\":1,\"fence\":1001}\n");
    assert_int_equal(wait_for_outcome(f, 1)->outcome, WORKER_DONE);
    end_client(client);
    WAIT(f, file_has(f, "log", "worker disconnected"));
}

#define GUEST_TEST(name) cmocka_unit_test_setup_teardown(name, guest_setup, guest_teardown)

int main(int argc, char **argv)
{
    other_main(argc, argv);
    const struct CMUnitTest tests[] = {
        GUEST_TEST(runs_go_to_who_connects_and_come_back),
        GUEST_TEST(names_of_handlers_that_nobody_has_make_room),
        GUEST_TEST(names_too_many_for_a_pool_are_not_a_line_each_in_the_log),
        GUEST_TEST(end_of_the_connection_is_the_death_of_its_runs),
        GUEST_TEST(lane_runs_go_only_to_who_honours_the_lease),
        GUEST_TEST(lane_run_is_held_back_until_the_lease_that_was_told_is_over),
        GUEST_TEST(a_promise_that_is_taken_back_holds_for_the_lease_that_was_told),
        GUEST_TEST(end_of_the_lease_cuts_off_who_has_a_lane_run),
        GUEST_TEST(who_has_not_promised_to_stop_gets_no_lock_of_the_cluster),
        GUEST_TEST(who_asks_for_locks_and_reads_no_answer_is_cut_off),
        GUEST_TEST(lock_is_let_go_when_the_lease_is_over),
        GUEST_TEST(who_does_not_end_a_run_is_cut_off_after_the_grace),
        GUEST_TEST(tcp_needs_the_token_and_the_log_never_has_it),
        GUEST_TEST(tcp_without_a_token_is_refused_at_the_start),
        GUEST_TEST(those_who_only_knock_do_not_crowd_out_a_worker),
        GUEST_TEST(first_line_is_a_hello_and_short),
        GUEST_TEST(socket_file_of_a_dead_node_is_replaced_and_no_other),
        GUEST_TEST(drain_is_told_and_nobody_else_may_come),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
