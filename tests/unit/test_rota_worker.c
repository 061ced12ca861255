/* The library for workers in C, spoken to by a test that plays the node. */
#include "worker/sdk/rota_worker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define LIMIT_S 30 /* what waits for ever ends the test by SIGALRM */

struct fixture {
    char path[64];
    int listener, node;
    rota_worker *worker;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char variable[80];
    snprintf(f->path, sizeof f->path, "/tmp/rota-sdk-%d", (int)getpid());
    snprintf(variable, sizeof variable, "unix:%s", f->path);
    memcpy(address.sun_path, f->path, strlen(f->path) + 1);
    f->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(f->listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(f->listener, 1), 0);
    setenv("ROTA_WORKER_SOCKET", variable, 1);
    alarm(LIMIT_S);
    f->worker = rota_worker_new("test", NULL);
    assert_int_equal(rota_worker_connect(f->worker), 0);
    f->node = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(f->node >= 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    rota_worker_free(f->worker);
    close(f->node);
    close(f->listener);
    unlink(f->path);
    free(f);
    return 0;
}

static rota_run *run_from(struct fixture *f)
{
    static const char line[] = "{\"type\":\"run\",\"id\":1,\"fence\":2,\"handler\":\"a\"}\n";
    assert_int_equal(send(f->node, line, sizeof line - 1, MSG_NOSIGNAL), sizeof line - 1);
    rota_run *run = rota_worker_next(f->worker, -1);
    assert_non_null(run);
    return run;
}

static void a_lock_that_cannot_be_asked_for_is_not_waited_for(void **state)
{
    struct fixture *f = *state;
    rota_run *run = run_from(f);
    char *name = malloc(2 * 1024 * 1024);
    memset(name, 'x', 2 * 1024 * 1024 - 1);
    name[2 * 1024 * 1024 - 1] = '\0';
    assert_int_equal(rota_run_lock(run, name, NULL, false, NULL), -1);
    assert_non_null(strstr(rota_worker_error(f->worker), "longer than a line"));
    free(name);
    assert_int_equal(rota_run_done(run, NULL, NULL), 0);
}

static void a_lock_of_a_node_that_is_gone_is_not_waited_for(void **state)
{
    struct fixture *f = *state;
    rota_run *run = run_from(f);
    shutdown(f->node, SHUT_RDWR);
    assert_int_equal(rota_run_lock(run, "n", NULL, false, NULL), -1);
    assert_true(rota_run_cancelled(run));
    assert_int_equal(rota_run_done(run, NULL, NULL), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_lock_that_cannot_be_asked_for_is_not_waited_for, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_lock_of_a_node_that_is_gone_is_not_waited_for, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
