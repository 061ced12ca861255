/*
 * The life of one connection: resolving → connecting → preparing → ready, and from anywhere back by
 * way of a back-off. What is sent over a ready connection is the business of pipeline.c.
 */
#include "store/connection.h"

#include "base/clock.h"
#include "base/memory.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static const char *const state_names[] = {"down",      "resolving", "connecting",
                                          "preparing", "ready",     "back-off"};
static const char *const event_names[] = {"open",     "resolved", "connected",
                                          "prepared", "lost",     "again"};
static const struct machine_row rows[] = {
    {STORE_DOWN, STORE_OPEN, STORE_RESOLVING, "a connection is wanted"},
    {STORE_RESOLVING, STORE_RESOLVED, STORE_CONNECTING, "every host has an address"},
    {STORE_RESOLVING, STORE_LOST, STORE_BACKOFF, "no host could be resolved"},
    {STORE_CONNECTING, STORE_CONNECTED, STORE_PREPARING, "the server accepted us"},
    {STORE_CONNECTING, STORE_LOST, STORE_BACKOFF, "no server accepted us in time"},
    {STORE_PREPARING, STORE_PREPARED, STORE_READY, "all statements are prepared"},
    {STORE_PREPARING, STORE_LOST, STORE_BACKOFF, "a statement could not be prepared"},
    {STORE_READY, STORE_LOST, STORE_BACKOFF, "the connection broke or did not answer"},
    {STORE_BACKOFF, STORE_AGAIN, STORE_RESOLVING, "the back-off is over"},
};
const struct machine store_machine = {"connection", state_names, event_names, rows,
                                      sizeof rows / sizeof *rows};

#define BACKOFF_FIRST_US (100 * US_PER_MS)
#define BACKOFF_LAST_US                                                                            \
    (1 * US_PER_SECOND) /* a database that is back is used within about a second */
#define CONNECT_TIMEOUT_US (5 * US_PER_SECOND)
#define CONNECT_HURRY_US                                                                           \
    (1500 * US_PER_MS) /* the same where there are other hosts: one of them may have taken over */
#define PATIENT_ATTEMPT    4 /* each so many of them waits longer: the network may be that slow */
#define SQLSTATE_READ_ONLY "25006"
#define SQLSTATE_FORBIDDEN "42501"
#define ANSWER_TIMEOUT_US                                                                          \
    (35 * US_PER_SECOND) /* above the statement timeout: that one speaks first */

static void on_socket(evutil_socket_t fd, short what, void *arg);
static void on_timer(evutil_socket_t fd, short what, void *arg);
static void on_resolved(void *arg, const struct rota_error *error);
static void finish_free(struct store *store);

static int64_t with_jitter(int64_t duration_us)
{
    uint16_t noise = 0;
    if (getrandom(&noise, sizeof noise, GRND_NONBLOCK) != sizeof noise)
        noise = (uint16_t)clock_monotonic_us();
    return duration_us * (50 + noise % 100) / 100;
}

static void arm(struct store *store, int64_t delay_us)
{
    struct timeval delay = clock_timeval(delay_us);
    evtimer_add(store->timer, &delay);
}

static void forget_socket(struct store *store)
{
    if (store->socket_event != NULL)
        event_free(store->socket_event);
    store->socket_event = NULL;
}

static void move(struct store *store, enum store_event event)
{
    const struct machine_row *row = machine_move(&store_machine, (int)store->state, (int)event);
    store->state = (enum store_state)row->to;
    log_debug(store->config.log, "connection", LOG_TEXT("connection", store->config.role_name),
              LOG_TEXT("from", state_names[row->from]), LOG_TEXT("to", state_names[row->to]),
              LOG_TEXT("why", row->why));
}

/* Watches the socket libpq has now for what it wants now. */
static void watch(struct store *store, short what)
{
    int fd = PQsocket(store->pg);
    if (store->socket_event != NULL && event_get_fd(store->socket_event) == fd &&
        event_get_events(store->socket_event) == (what | EV_PERSIST))
        return;
    forget_socket(store);
    store->socket_event =
        event_new(store->config.base, fd, (short)(what | EV_PERSIST), on_socket, store);
    event_add(store->socket_event, NULL);
}

static void broke(struct store *store)
{
    enum store_state was = store->state;
    forget_socket(store);
    evtimer_del(store->timer);
    if (store->pg != NULL)
        PQfinish(store->pg);
    store->pg = NULL;
    memset(store->prepared, 0, sizeof store->prepared);
    store->preparing = 0;
    store->probing = false;
    move(store, STORE_LOST);
    int shift = store->failures < 6 ? store->failures : 6;
    int64_t pause = BACKOFF_FIRST_US << shift;
    store->failures++;
    arm(store, with_jitter(pause < BACKOFF_LAST_US ? pause : BACKOFF_LAST_US));
    if (was == STORE_READY && store->config.lost != NULL)
        store->config.lost(store->config.arg, &store->error);
    else if (was != STORE_READY && store->config.failed != NULL)
        store->config.failed(store->config.arg, &store->error);
    pipeline_lost(store);
}

void store_broken(struct store *store, const char *what)
{
    store_error(&store->error, NULL, store->pg, what);
    broke(store);
}

/* One line of a server's or libpq's message, without its line ends. */
static void copy_line(char *to, size_t size, const char *text)
{
    size_t at = 0;
    for (; *text != '\0' && at + 1 < size; text++)
        to[at++] = *text == '\n' || *text == '\t' ? ' ' : *text;
    while (at > 0 && to[at - 1] == ' ')
        at--;
    to[at] = '\0';
}

void store_error(struct rota_error *error, const PGresult *result, PGconn *pg, const char *what)
{
    const char *state = result != NULL ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
    const char *text = result != NULL ? PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY) : NULL;
    const char *detail = result != NULL ? PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL) : NULL;
    if (text == NULL && pg != NULL)
        text = PQerrorMessage(pg);
    char line[900], more[600];
    copy_line(line, sizeof line, text != NULL ? text : "");
    copy_line(more, sizeof more, detail != NULL ? detail : "");
    bool here = state != NULL && strncmp(state, "57P", 3) != 0 && strncmp(state, "08", 2) != 0;
    bool forbidden = state != NULL && strcmp(state, SQLSTATE_FORBIDDEN) == 0;
    error_set(error, here ? ERROR_REFUSED : ERROR_DATABASE, "%s%s%s%s%s%s%s", what,
              *line ? ": " : "", line, *more ? " (" : "", more, *more ? ")" : "",
              forbidden ? "; connect as the role that rota's schema belongs to" : "");
    memcpy(error->sqlstate, state != NULL ? state : "08006", 5);
    error->sqlstate[5] = '\0';
}

static void on_notice(void *arg, const char *message)
{
    struct store *store = arg;
    char line[900];
    copy_line(line, sizeof line, message);
    log_debug(store->config.log, "notice from the database",
              LOG_TEXT("connection", store->config.role_name), LOG_TEXT("notice", line));
}

static void start_resolving(struct store *store)
{
    hosts_resolve(store->hosts, on_resolved, store);
}

static int64_t connect_limit(const struct store *store)
{
    if (store->config.connect_timeout_us > 0)
        return store->config.connect_timeout_us;
    bool hurry = hosts_count(store->hosts) > 1 && (store->failures + 1) % PATIENT_ATTEMPT != 0;
    return hurry ? CONNECT_HURRY_US : CONNECT_TIMEOUT_US;
}

/* A second time where the first has shown a pooler, which is to be talked to otherwise. */
static void connect_anew(struct store *store)
{
    forget_socket(store);
    if (store->pg != NULL)
        PQfinish(store->pg);
    store->probing = false;
    store->pg = pooler_connect(store);
    arm(store, connect_limit(store));
    if (store->pg == NULL || PQstatus(store->pg) == CONNECTION_BAD) {
        store_broken(store, "cannot connect");
        return;
    }
    PQsetnonblocking(store->pg, 1);
    PQsetNoticeProcessor(store->pg, on_notice, store);
    watch(store, EV_WRITE);
}

static void start_connecting(struct store *store)
{
    move(store, STORE_RESOLVED);
    connect_anew(store);
}

static void on_resolved(void *arg, const struct rota_error *error)
{
    struct store *store = arg;
    store->depth++;
    if (error == NULL) {
        start_connecting(store);
    } else {
        store->error = *error;
        memcpy(store->error.sqlstate, "08001", 6);
        broke(store);
    }
    store->depth--;
    finish_free(store);
}

static void become_ready(struct store *store)
{
    move(store, STORE_PREPARED);
    store->failures = 0;
    evtimer_del(store->timer);
    store_watch(store);
    if (store->config.ready != NULL)
        store->config.ready(store->config.arg);
    if (store->state == STORE_READY)
        pipeline_pump(store);
}

static void start_preparing(struct store *store)
{
    move(store, STORE_CONNECTED);
    for (int id = 0; id < STATEMENT_COUNT; id++) {
        if ((statements[id].roles & store->config.roles) == 0 || pooler_unprepared(store))
            continue;
        if (!pipeline_prepare(store, (enum statement_id)id)) {
            store_broken(store, "cannot prepare");
            return;
        }
        store->preparing++;
    }
    if (store->preparing == 0) {
        become_ready(store);
        return;
    }
    if (PQpipelineSync(store->pg) != 1) {
        store_broken(store, "cannot prepare");
        return;
    }
    store_watch(store);
}

static void read_prepared(struct store *store)
{
    while (store->state == STORE_PREPARING && !PQisBusy(store->pg)) {
        PGresult *result = PQgetResult(store->pg);
        ExecStatusType status = PQresultStatus(result); /* NULL gives PGRES_FATAL_ERROR */
        if (result != NULL && status == PGRES_FATAL_ERROR) {
            store_error(&store->error, result, store->pg, "cannot prepare a statement");
            if (pooler_tells(store, result))
                pooler_found(store, store->error.message);
            PQclear(result);
            broke(store);
            return;
        }
        PQclear(result);
        if (status == PGRES_PIPELINE_SYNC) {
            store->preparing = 0;
            become_ready(store);
        }
    }
}

/* The server accepted us: which backend answers? It is no more than one round trip. */
static void start_probing(struct store *store)
{
    PQenterPipelineMode(store->pg);
    if (store->config.pooler != STORE_POOLER_AUTO || store->pooled) {
        start_preparing(store);
        return;
    }
    store->probing = true;
    if (!pooler_send_probe(store) || PQpipelineSync(store->pg) != 1 || PQflush(store->pg) < 0)
        store_broken(store, "cannot connect");
    else
        watch(store, EV_READ);
}

static void read_probed(struct store *store)
{
    if (PQconsumeInput(store->pg) != 1) {
        store_broken(store, "cannot connect");
        return;
    }
    bool between = false;
    while (!PQisBusy(store->pg)) {
        PGresult *result = PQgetResult(store->pg);
        ExecStatusType status = PQresultStatus(result); /* NULL gives PGRES_FATAL_ERROR */
        if (result != NULL && status == PGRES_FATAL_ERROR) {
            store_error(&store->error, result, store->pg, "cannot connect");
            PQclear(result);
            broke(store);
            return;
        }
        between = between || (status == PGRES_TUPLES_OK && pooler_is_between(store, result));
        PQclear(result);
        if (between) {
            pooler_found(store, "another backend answers than the one it told of");
            connect_anew(store);
            return;
        }
        if (status == PGRES_PIPELINE_SYNC) {
            store->probing = false;
            start_preparing(store);
            return;
        }
    }
}

/* Goes to the next host, libpq closes its socket and most often gets the same number for the new
 * one: whoever watches the number watches nothing. */
static void poll_connecting(struct store *store)
{
    forget_socket(store);
    switch (PQconnectPoll(store->pg)) {
    case PGRES_POLLING_READING:
        watch(store, EV_READ);
        return;
    case PGRES_POLLING_WRITING:
        watch(store, EV_WRITE);
        return;
    case PGRES_POLLING_OK:
        start_probing(store);
        return;
    default:
        if (pooler_refused(store)) {
            pooler_found(store, "it takes no settings");
            connect_anew(store);
            return;
        }
        store_broken(store, "cannot connect");
    }
}

static void read_notifications(struct store *store)
{
    PGnotify *notify;
    while (store->pg != NULL && (notify = PQnotifies(store->pg)) != NULL) {
        if (store->config.notified != NULL)
            store->config.notified(store->config.arg, notify->extra);
        PQfreemem(notify);
    }
}

static void on_socket(evutil_socket_t fd, short what, void *arg)
{
    struct store *store = arg;
    (void)fd;
    store->depth++;
    if (store->state == STORE_CONNECTING && store->probing) {
        read_probed(store);
    } else if (store->state == STORE_CONNECTING) {
        poll_connecting(store);
    } else {
        if ((what & EV_READ) != 0 && PQconsumeInput(store->pg) != 1)
            store_broken(store, "connection lost");
        else if (store->state == STORE_PREPARING)
            read_prepared(store);
        else
            pipeline_read(store);
        if (store->pg != NULL && store->state == STORE_READY)
            read_notifications(store);
        if (store->pg != NULL)
            store_watch(store);
    }
    store->depth--;
    finish_free(store);
}

void store_watch(struct store *store)
{
    if (store->pg == NULL || store->state < STORE_PREPARING || store->state == STORE_BACKOFF)
        return;
    int left = PQflush(store->pg);
    if (left < 0)
        store_broken(store, "connection lost");
    else
        watch(store, left > 0 ? EV_READ | EV_WRITE : EV_READ);
}

void store_deadline(struct store *store)
{
    if (store->state != STORE_READY)
        return;
    if (list_empty(&store->sent)) {
        evtimer_del(store->timer);
        return;
    }
    const struct call *oldest = LIST_ITEM(store->sent.next, struct call, link);
    int64_t limit =
        store->config.answer_timeout_us > 0 ? store->config.answer_timeout_us : ANSWER_TIMEOUT_US;
    arm(store, oldest->sent_us + limit - clock_monotonic_us());
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct store *store = arg;
    (void)fd;
    (void)what;
    store->depth++;
    if (store->state == STORE_DOWN) {
        move(store, STORE_OPEN);
        start_resolving(store);
    } else if (store->state == STORE_BACKOFF) {
        move(store, STORE_AGAIN);
        start_resolving(store);
    } else {
        if (store->state == STORE_CONNECTING)
            hosts_rotate(store->hosts, store->pg); /* this one swallowed the whole time */
        error_set(&store->error, ERROR_DATABASE, "%s",
                  store->state == STORE_READY ? "the database did not answer in time"
                                              : "cannot connect: no answer in time");
        memcpy(store->error.sqlstate, "08006", 6);
        broke(store);
    }
    store->depth--;
    finish_free(store);
}

const char *store_text(struct store *store, enum statement_id statement)
{
    if (store->texts[statement] == NULL)
        store->texts[statement] =
            store_with_schema(statements[statement].text, store->config.schema);
    return store->texts[statement];
}

static void on_later(evutil_socket_t fd, short what, void *arg)
{
    struct store *store = arg;
    (void)fd;
    (void)what;
    store->depth++;
    pipeline_refuse(store);
    store->depth--;
    finish_free(store);
}

struct store *store_new(const struct store_config *config)
{
    struct store *store = mem_alloc(sizeof *store);
    store->config = *config;
    store->config.application_name = mem_string(config->application_name);
    store->config.options = mem_string(config->options);
    list_init(&store->waiting);
    list_init(&store->within);
    list_init(&store->sent);
    list_init(&store->refused);
    store->timer = evtimer_new(config->base, on_timer, store);
    store->later = evtimer_new(config->base, on_later, store);
    error_set(&store->error, ERROR_DATABASE, "not connected to the database yet");
    memcpy(store->error.sqlstate, "08003", 6);
    store->hosts = hosts_new(&store->config, &store->error);
    store->pooled = config->pooler == STORE_POOLER_TRANSACTION;
    arm(store, 0);
    return store;
}

static void finish_free(struct store *store)
{
    if (!store->freed || store->depth > 0)
        return;
    forget_socket(store);
    event_free(store->timer);
    event_free(store->later);
    if (store->pg != NULL)
        PQfinish(store->pg);
    hosts_free(store->hosts);
    pipeline_free(store);
    store_params_free(&store->settings);
    for (int i = 0; i < STATEMENT_COUNT; i++)
        free(store->texts[i]);
    free((char *)store->config.application_name);
    free((char *)store->config.options);
    free(store);
}

void store_free(struct store *store)
{
    if (store == NULL)
        return;
    store->freed = true;
    finish_free(store);
}

bool store_ready(const struct store *store)
{
    return store != NULL && store->state == STORE_READY;
}

size_t store_backlog(const struct store *store)
{
    return store->backlog;
}

int store_backend_pid(const struct store *store)
{
    return store->pg != NULL && store->state == STORE_READY ? PQbackendPID(store->pg) : 0;
}

bool store_pooled(const struct store *store)
{
    return store->pooled;
}

/* It was demoted under us, or somebody has forbidden writes: another of the hosts may accept them.
 */
void store_refused(struct store *store, const struct rota_error *error)
{
    if (!store->config.writes || store->state != STORE_READY ||
        !store_is(error, SQLSTATE_READ_ONLY))
        return;
    store->error = *error;
    broke(store);
}

int64_t store_server_version(const struct store *store)
{
    return store->pg != NULL ? PQserverVersion(store->pg) : 0;
}
