/*
 * The handler `sql`: one statement a run, on a connection of its own, as a transaction of its own.
 * Nothing is left for the next run, and no run sees what another one has set. Nothing blocks: libpq
 * is driven by the loop, and only the request to cancel, for which libpq 15 has no other way, is
 * sent by a thread that nobody waits for.
 */
#include "worker/builtin/sql.h"

#include "worker/builtin/secret.h"

#include "base/clock.h"
#include "base/memory.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define CONNECT_US     (15 * US_PER_SECOND) /* several hosts may have to be tried */
#define NET_US         (500 * US_PER_MS)
#define RESULTS_A_TURN 1000 /* rows taken before other runs are seen to */

static void on_io(evutil_socket_t fd, short what, void *arg);

static void watch(struct sql *sql, short what)
{
    if (sql->io != NULL)
        event_free(sql->io);
    sql->io = event_new(sql->task.builtin->base, PQsocket(sql->pg), what, on_io, sql);
    event_add(sql->io, NULL);
}

static void disconnect(struct sql *sql)
{
    if (sql->io != NULL)
        event_free(sql->io);
    PQfinish(sql->pg);
    sql->io = NULL;
    sql->pg = NULL;
}

static void arm(struct sql *sql, int64_t at_us)
{
    struct timeval wait = clock_timeval(at_us - clock_monotonic_us());
    event_add(sql->timer, &wait);
}

/* --- the statement --- */

static void fail_by_connection(struct sql *sql, const char *what)
{
    const char *text = PQerrorMessage(sql->pg);
    char *message = mem_format("%s: %.*s", what, (int)strcspn(text, "\n"), text);
    sql_fail(sql, "connection", message, false);
    free(message);
}

static void ignore_notice(void *arg, const PGresult *result)
{
    (void)arg, (void)result;
}

static void send_statement(struct sql *sql)
{
    const struct sql_request *request = &sql->request;
    PQsetNoticeReceiver(sql->pg, ignore_notice, NULL);
    sql->state = STATEMENT_RUNNING;
    if (sql->end_us != 0)
        arm(sql, sql->end_us + (sql->request.lane ? 0 : NET_US)); /* first it is for the server */
    else
        event_del(sql->timer);
    if (PQsetnonblocking(sql->pg, 1) != 0 ||
        PQsendQueryParams(sql->pg, request->statement, request->parameter_count, NULL,
                          (const char *const *)request->parameters, NULL, NULL, 0) != 1 ||
        PQsetSingleRowMode(sql->pg) != 1 || PQflush(sql->pg) < 0) {
        fail_by_connection(sql, "the statement cannot be sent");
        return;
    }
    watch(sql, EV_READ | EV_WRITE);
}

/* Whatever is there, but not more than the others can wait for. */
static void read_results(struct sql *sql)
{
    for (int count = 0; !PQisBusy(sql->pg); count++) {
        if (count == RESULTS_A_TURN) {
            event_active(sql->io, EV_TIMEOUT, 0);
            return;
        }
        PGresult *result = PQgetResult(sql->pg);
        if (result == NULL) {
            sql_answer(sql);
            return;
        }
        bool over = sql_take_result(sql, result);
        PQclear(result);
        if (over) {
            sql_answer(sql);
            return;
        }
    }
}

/* Before it went away the server may have said why. */
static void read_last_words(struct sql *sql)
{
    PGresult *result;
    while ((result = PQgetResult(sql->pg)) != NULL) {
        sql_take_result(sql, result);
        PQclear(result);
    }
    if (sql->sqlstate[0] != '\0')
        sql_answer(sql);
    else
        fail_by_connection(sql, "the connection was lost, and whether the statement was carried "
                                "out is not known");
}

static void run_statement(struct sql *sql, short what)
{
    if ((what & EV_READ) != 0 && PQconsumeInput(sql->pg) != 1) {
        read_last_words(sql);
        return;
    }
    int more = PQflush(sql->pg);
    watch(sql, more > 0 ? EV_READ | EV_WRITE : EV_READ);
    read_results(sql);
}

/* --- connection --- */

static void open_connection(struct sql *sql)
{
    sql->state = STATEMENT_CONNECTING;
    sql->pg = sql_connect(sql);
    if (sql->pg == NULL)
        sql_fail(sql, "connection", "libpq could not begin", false);
    else if (PQstatus(sql->pg) == CONNECTION_BAD)
        fail_by_connection(sql, "cannot connect");
    else
        watch(sql, EV_WRITE);
}

static void go_on_connecting(struct sql *sql)
{
    switch (PQconnectPoll(sql->pg)) {
    case PGRES_POLLING_READING:
        watch(sql, EV_READ);
        return;
    case PGRES_POLLING_WRITING:
        watch(sql, EV_WRITE);
        return;
    case PGRES_POLLING_OK:
        send_statement(sql);
        return;
    default:
        break;
    }
    if (!sql_is_too_new(sql)) {
        fail_by_connection(sql, "cannot connect");
        return;
    }
    disconnect(sql);
    sql->plain = true;
    open_connection(sql);
}

static void on_io(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    struct sql *sql = arg;
    if (sql->state == STATEMENT_CONNECTING)
        go_on_connecting(sql);
    else
        run_statement(sql, what);
}

void sql_resolved(struct sql *sql, const char *error)
{
    if (error != NULL)
        sql_fail(sql, "connection", error, false);
    else
        open_connection(sql);
}

/* --- ends --- */

static void *send_cancel(void *arg)
{
    char error[256];
    PQcancel(arg, error, sizeof error);
    PQfreeCancel(arg);
    return NULL;
}

/* The answer to it is that the statement fails; if none comes, the timer ends the run. */
static void ask_to_cancel(struct sql *sql)
{
    PGcancel *cancel = PQgetCancel(sql->pg);
    pthread_attr_t detached;
    pthread_t thread;
    sigset_t all, before;
    if (cancel == NULL)
        return;
    sigfillset(&all);
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for the loop */
    if (pthread_create(&thread, &detached, send_cancel, cancel) != 0)
        PQfreeCancel(cancel);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&detached);
}

static void begin_cancel(struct sql *sql, const char *reason)
{
    if (sql->state == STATEMENT_CANCELLING)
        return;
    if (sql->state != STATEMENT_RUNNING) {
        sql_fail(sql, "cancelled", reason, false);
        return;
    }
    sql->cancelled = mem_string(reason);
    sql->state = STATEMENT_CANCELLING;
    ask_to_cancel(sql);
    arm(sql, clock_monotonic_us() + sql->task.builtin->grace_us);
}

static void sql_cancel(struct task *task, struct slice reason)
{
    char *text = mem_string_n(reason.length > 0 ? reason.data : "cancelled",
                              reason.length > 0 ? reason.length : strlen("cancelled"));
    begin_cancel((struct sql *)task, text);
    free(text);
}

static void sql_abandon(struct task *task)
{
    sql_free((struct sql *)task);
}

const char *sql_overdue(const struct sql *sql)
{
    return sql->request.lane
               ? "in a lane a statement has half of the node's lease, and did not end in it: a "
                 "longer one needs a longer lease (setting lease)"
               : "the statement did not end within its time";
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct sql *sql = arg;
    if (sql->state == STATEMENT_CANCELLING) { /* closing ends it on the server, too */
        sql_fail(sql, sql->overdue ? "timeout" : "cancelled", sql->cancelled, false);
    } else if (sql->state != STATEMENT_RUNNING) {
        sql_fail(sql, "connection", "cannot connect: no answer came in time", false);
    } else {
        sql->overdue = true;
        begin_cancel(sql, sql_overdue(sql));
    }
}

/* --- start --- */

static char *database_url(const struct builtin *builtin, const char *name, struct rota_error *error)
{
    const struct builtin_database *database = builtin_database(&builtin->settings, name);
    char *url = NULL;
    if (database == NULL) {
        error_set(error, ERROR_REFUSED,
                  "\"database\": this node has no database \"%.100s\"; name it in the setting "
                  "databases",
                  name);
        return NULL;
    }
    if (database->url != NULL)
        url = mem_string(database->url);
    else if (database->url_env != NULL)
        url = secret_variable(database->url_env, error);
    else
        url = secret_file(database->url_file, error);
    if (url == NULL)
        error_prefix(error, "database \"%.100s\"", name);
    return url;
}

static int sql_prepare(struct sql *sql, struct builtin *builtin,
                       const struct protocol_message *message, struct rota_error *error)
{
    if (sql_request_read(&sql->request, message->line, builtin->settings.lease_us, error) != 0)
        return -1;
    sql->url = database_url(builtin, sql->request.database, error);
    return sql->url != NULL ? sql_hosts_new(sql, error) : -1;
}

static void free_parts(struct sql *sql)
{
    sql_hosts_free(sql->hosts);
    PQconninfoFree(sql->options);
    sql_request_free(&sql->request);
    if (sql->url != NULL)
        explicit_bzero(sql->url, strlen(sql->url));
    free(sql->url);
    free(sql->cancelled);
    free(sql->tag);
    free(sql->affected);
    free(sql->message);
    buffer_free(&sql->columns);
    buffer_free(&sql->rows);
    buffer_free(&sql->failure);
    free(sql);
}

void sql_free(struct sql *sql)
{
    task_close(&sql->task);
    disconnect(sql);
    event_free(sql->timer);
    free_parts(sql);
}

typedef int prepare_fn(struct sql *sql, struct builtin *builtin,
                       const struct protocol_message *message, struct rota_error *error);

static void start(const struct builtin_handler *handler, prepare_fn *prepare,
                  struct builtin *builtin, const struct protocol_message *message)
{
    struct rota_error error = {0};
    struct sql *sql = mem_alloc(sizeof *sql);
    sql->task = (struct task){.handler = handler, .cancel = sql_cancel, .abandon = sql_abandon};
    if (prepare(sql, builtin, message, &error) != 0) {
        struct builtin_failure said = {.exception = "bad data",
                                       .message = slice_of(error.message),
                                       .final = error.code == ERROR_REFUSED};
        builtin_fail(builtin, message->id, message->fence, &said);
        free_parts(sql);
        return;
    }
    int64_t now_us = clock_monotonic_us(), limit_us = sql->request.limit_us;
    task_open(&sql->task, builtin, message);
    sql->timer = event_new(builtin->base, -1, 0, on_timer, sql);
    sql->end_us = limit_us != 0 ? now_us + limit_us : 0;
    arm(sql, now_us + (limit_us != 0 && limit_us < CONNECT_US ? limit_us : CONNECT_US));
    sql_resolve(sql);
}

static void sql_start(struct builtin *builtin, const struct protocol_message *message)
{
    start(&sql_handler, sql_prepare, builtin, message);
}

static void cleanup_start(struct builtin *builtin, const struct protocol_message *message)
{
    start(&cleanup_handler, cleanup_prepare, builtin, message);
}

const struct builtin_handler cleanup_handler = {.name = "task-history-cleanup",
                                                .start = cleanup_start};
const struct builtin_handler sql_handler = {.name = "sql", .start = sql_start};
