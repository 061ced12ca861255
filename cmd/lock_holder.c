/* `rota lock` at work: see lock_holder.h. */
#include "cmd/lock_holder.h"

#include "base/clock.h"
#include "base/memory.h"
#include "cmd/lock_file.h"
#include "cmd/lock_guard.h"
#include "coord/cluster_lock.h"
#include "store/store.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define VALID_MAX_US   (10 * US_PER_SECOND) /* without renewal, as the lease of a node */
#define VALID_MIN_US   (1 * US_PER_SECOND)  /* a shorter lock-delay cannot be kept by renewing */
#define RENEWALS       5                    /* while it is valid: some may be lost */
#define GIVE_BACK_US   (3 * US_PER_SECOND)
#define EXIT_NOT_FOUND 127 /* as shells have it */
#define EXIT_NO_EXEC   126
#define EXIT_SIGNAL    128

static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};
#define SIGNAL_COUNT (sizeof signals / sizeof *signals)

struct holder {
    const struct lock_order *order;
    struct rota_error *error;
    struct event_base *base;
    struct lock_guard *guard;
    struct store *store;
    struct cluster_locks *locks;
    struct event *heard, *renewal;
    struct event *signals[SIGNAL_COUNT];
    char *holder;    /* ourselves, for people */
    int64_t *fences; /* by name */
    int *files;      /* the same, of scope node */
    size_t obtained; /* of the names */
    int64_t valid_us, until_us;
    bool running; /* CMD was asked for and has not ended */
    bool lost;    /* a lock; CMD is being killed for it */
    bool failed;  /* `error` says why */
    bool over;    /* nothing is left to wait for */
    int exit_code;
};

static void fail(struct holder *h, enum error_code code, const char *text)
{
    error_set(h->error, code, "%s", text);
    h->failed = h->over = true;
}

/* ---- CMD ---- */

static void on_killed(struct holder *h)
{
    h->running = false;
    if (!h->lost) /* the guard was faster than our own news: we were stopped */
        error_set(h->error, ERROR_REFUSED,
                  "cluster lock lost: %s: it could not be renewed in time: CMD was killed",
                  h->order->names[0]);
    h->lost = h->failed = h->over = true;
}

static void on_refused(struct holder *h, int code)
{
    fprintf(stderr, "rota lock: cannot start %s: %s\n", h->order->argv[0], strerror(code));
    h->running = false;
    h->over = true;
    h->exit_code = code == ENOENT ? EXIT_NOT_FOUND : EXIT_NO_EXEC;
}

static void on_ended(struct holder *h, int status)
{
    h->running = false;
    h->over = true;
    h->failed = h->lost; /* a moment ago: not even its end was under the lock */
    h->exit_code = WIFSIGNALED(status) ? EXIT_SIGNAL + WTERMSIG(status) : WEXITSTATUS(status);
}

static void on_heard(evutil_socket_t fd, short what, void *arg)
{
    struct holder *h = arg;
    int code = 0;
    (void)fd;
    (void)what;
    switch (lock_guard_read(h->guard, &code)) {
    case LOCK_GUARD_NOTHING:
        return;
    case LOCK_GUARD_REFUSED:
        on_refused(h, code);
        return;
    case LOCK_GUARD_ENDED:
        on_ended(h, code);
        return;
    case LOCK_GUARD_KILLED:
        on_killed(h);
        return;
    case LOCK_GUARD_GONE:
        event_del(h->heard);
        lock_guard_bury(h->guard);
        h->running = false;
        fail(h, ERROR_REFUSED, "its guard was killed, and CMD with it");
    }
}

static void start_cmd(struct holder *h)
{
    int64_t fence = 0; /* the greatest: drawn when all the others were held */
    for (size_t i = 0; i < h->order->count; i++)
        fence = h->fences[i] > fence ? h->fences[i] : fence;
    h->running = true;
    lock_guard_start(h->guard, fence);
}

static void on_signal(evutil_socket_t number, short what, void *arg)
{
    struct holder *h = arg;
    (void)what;
    if (h->running) {
        lock_guard_signal(h->guard, number);
        return;
    }
    h->over = true; /* of waiting */
    h->exit_code = EXIT_SIGNAL + number;
}

/* ---- locks of the cluster ---- */

static void want_next(struct holder *h)
{
    const struct lock_order *order = h->order;
    if (h->obtained == order->count) {
        start_cmd(h);
        return;
    }
    int64_t left_us = h->obtained > 0 ? h->until_us - clock_monotonic_us() : order->wait_us;
    const struct cluster_lock_wish wish = {.number = h->obtained + 1,
                                           .name = slice_of(order->names[h->obtained]),
                                           .shared = order->shared,
                                           .wait_us = left_us > 0 ? left_us : 0,
                                           .holder = h->holder};
    cluster_lock_want(h->locks, &wish);
}

static void on_obtained(void *arg, uint64_t number, int64_t fence)
{
    struct holder *h = arg;
    h->fences[number - 1] = fence;
    h->obtained = number;
    if (!h->over)
        want_next(h);
}

static void on_failed(void *arg, uint64_t number, const struct cluster_lock_failure *failure)
{
    struct holder *h = arg;
    (void)number;
    if (!h->over)
        fail(h, failure->error->code, failure->error->message);
}

static void on_lost(void *arg, uint64_t number, const char *why)
{
    struct holder *h = arg;
    const char *name = h->order->names[number - 1];
    if (h->over || h->lost)
        return;
    h->lost = true;
    if (h->running) {
        error_set(h->error, ERROR_REFUSED, "cluster lock lost: %s: %s: CMD was killed", name, why);
        lock_guard_kill(h->guard);
        return;
    }
    error_set(h->error, ERROR_DATABASE, "cluster lock lost: %s: %s: CMD was not run", name, why);
    h->failed = h->over = true;
}

static void on_valid(void *arg, int64_t until_boot_us)
{
    lock_guard_valid(((struct holder *)arg)->guard, until_boot_us);
}

static void on_renewal(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    cluster_locks_renew(((struct holder *)arg)->locks);
}

static void on_session_ready(void *arg)
{
    struct holder *h = arg;
    if (h->locks != NULL)
        cluster_locks_session_ready(h->locks);
}

static void on_session_lost(void *arg, const struct rota_error *error)
{
    struct holder *h = arg;
    (void)error;
    if (h->locks != NULL)
        cluster_locks_session_lost(h->locks);
}

static void on_notified(void *arg, const char *payload)
{
    struct holder *h = arg;
    if (h->locks != NULL)
        cluster_locks_notified(h->locks, payload);
}

/* The server ends a session that has stopped renewing, whatever the network says. */
static int connect_store(struct holder *h)
{
    char options[400];
    snprintf(options, sizeof options,
             "-c timezone=UTC -c synchronous_commit=off -c statement_timeout=10s "
             "-c idle_session_timeout=%lld "
             "-c tcp_keepalives_idle=3 -c tcp_keepalives_interval=1 -c tcp_keepalives_count=3 "
             "-c tcp_user_timeout=5000 -c client_connection_check_interval=1s",
             (long long)(h->valid_us / US_PER_MS));
    const struct store_config config = {.base = h->base,
                                        .log = h->order->log,
                                        .url = h->order->url,
                                        .schema = h->order->schema,
                                        .role_name = "session",
                                        .application_name = "rota lock",
                                        .options = options,
                                        .pooler = STORE_POOLER_NONE,
                                        .answer_timeout_us = h->valid_us,
                                        .arg = h,
                                        .ready = on_session_ready,
                                        .lost = on_session_lost,
                                        .notified = on_notified};
    int version = 0;
    enum store_session session;
    if (store_session_check(&config, &session, h->error) != 0 ||
        store_session_refuse(session, h->order->url_setting, h->error) != 0)
        return -1;
    h->store = store_new(&config);
    if (store_wait_ready(h->store, NULL, h->error) != 0 ||
        store_check_schema(h->store, &version, h->error) != 0)
        return -1;
    if (version < 5)
        return error_set(h->error, ERROR_REFUSED,
                         "schema \"%s\" of this database is not set up or is older than this rota; "
                         "run `rota migrate` first",
                         h->order->schema);
    return 0;
}

static int take_cluster(struct holder *h)
{
    const struct cluster_lock_config config = {.base = h->base,
                                               .log = h->order->log,
                                               .delay_us = h->order->delay_us,
                                               .renew_us = h->valid_us / RENEWALS,
                                               .valid_us = h->valid_us};
    const struct cluster_lock_callbacks callbacks = {
        .arg = h, .obtained = on_obtained, .failed = on_failed, .lost = on_lost, .valid = on_valid};
    struct timeval interval = clock_timeval(config.renew_us);
    if (connect_store(h) != 0)
        return -1;
    h->locks = cluster_locks_new(&config, &callbacks, &h->store);
    h->renewal = event_new(h->base, -1, EV_PERSIST, on_renewal, h);
    event_add(h->renewal, &interval);
    h->until_us = clock_monotonic_us() + h->order->wait_us;
    want_next(h);
    return 0;
}

static void on_limit(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    *(bool *)arg = true;
}

/* CMD is dead: whoever comes next need not wait for the lock-delay. */
static void clear_lost(struct holder *h)
{
    struct rota_error ignored; /* then he waits */
    for (size_t i = 0; i < h->obtained && store_ready(h->store); i++) {
        struct store_params params = {0};
        params_text(&params, h->order->names[i]);
        params_int64(&params, h->fences[i]);
        store_wait(h->store, SQL_CLUSTER_LOCK_CLEAR, &params, 0, NULL, &ignored);
        store_params_free(&params);
    }
}

static void give_back_cluster(struct holder *h)
{
    bool late = false;
    struct timeval limit = clock_timeval(GIVE_BACK_US);
    struct event *timer = evtimer_new(h->base, on_limit, &late);
    evtimer_add(timer, &limit);
    cluster_locks_release_all(h->locks);
    while (!late && h->lost && !store_ready(h->store))
        event_base_loop(h->base, EVLOOP_ONCE);
    if (h->lost)
        clear_lost(h);
    while (!late && cluster_locks_count(h->locks) > 0 && store_ready(h->store))
        event_base_loop(h->base, EVLOOP_ONCE);
    event_free(timer);
}

/* ---- locks of this machine ---- */

static int open_files(struct holder *h, const char *directory)
{
    h->files = mem_array(h->order->count, sizeof *h->files);
    for (size_t i = 0; i < h->order->count; i++)
        h->files[i] = -1;
    for (size_t i = 0; i < h->order->count; i++)
        if ((h->files[i] = lock_file_open(directory, h->order->names[i], h->error)) < 0)
            return -1;
    return 0;
}

static int take_files(struct holder *h, const char *directory)
{
    const struct lock_order *order = h->order;
    h->until_us = clock_monotonic_us() + order->wait_us;
    for (; h->obtained < order->count; h->obtained++) {
        size_t at = h->obtained;
        if (lock_file_take(h->files[at], order->names[at], order->shared, h->until_us, h->error) !=
                0 ||
            (h->fences[at] = lock_file_fence(directory, h->error)) < 0)
            return -1;
    }
    return 0;
}

static void close_files(struct holder *h)
{
    for (size_t i = 0; h->files != NULL && i < h->order->count; i++)
        if (h->files[i] >= 0)
            lock_file_release(h->files[i]);
    free(h->files);
}

/* ---- */

static char *describe(const struct lock_order *order)
{
    char host[256] = "";
    const char *slash = strrchr(order->argv[0], '/');
    gethostname(host, sizeof host - 1);
    return mem_format("%s, process %d: %.100s", host, getpid(),
                      slash != NULL ? slash + 1 : order->argv[0]);
}

static void start_loop(struct holder *h)
{
    h->base = event_base_new();
    h->heard = event_new(h->base, lock_guard_socket(h->guard), EV_READ | EV_PERSIST, on_heard, h);
    event_add(h->heard, NULL);
    for (size_t i = 0; i < SIGNAL_COUNT; i++) {
        h->signals[i] = evsignal_new(h->base, signals[i], on_signal, h);
        event_add(h->signals[i], NULL);
    }
}

static void holder_free(struct holder *h)
{
    lock_guard_free(h->guard);
    store_free(h->store);
    cluster_locks_free(h->locks);
    close_files(h);
    struct event *events[] = {h->heard, h->renewal};
    for (size_t i = 0; i < 2; i++)
        if (events[i] != NULL)
            event_free(events[i]);
    for (size_t i = 0; i < SIGNAL_COUNT; i++)
        if (h->signals[i] != NULL)
            event_free(h->signals[i]);
    if (h->base != NULL)
        event_base_free(h->base);
    free(h->fences);
    free(h->holder);
}

/* Files are opened before the guard is forked, which has them open, too; connections after it. */
static int take(struct holder *h, const char *directory)
{
    if (h->order->node_scope && open_files(h, directory) != 0)
        return -1;
    h->guard = lock_guard_new(h->order->argv, h->error);
    if (h->guard == NULL || (h->order->node_scope && take_files(h, directory) != 0))
        return -1;
    start_loop(h);
    if (!h->order->node_scope)
        return take_cluster(h);
    start_cmd(h);
    return 0;
}

int lock_holder_run(const struct lock_order *order, struct rota_error *error)
{
    bool keeps = order->delay_us >= VALID_MIN_US && order->delay_us < VALID_MAX_US;
    struct holder h = {
        .order = order, .error = error, .valid_us = keeps ? order->delay_us : VALID_MAX_US};
    char *directory = NULL;
    int failed = 0;
    h.holder = describe(order);
    h.fences = mem_array(order->count, sizeof *h.fences);
    if (order->node_scope && (directory = lock_file_directory(error)) == NULL)
        failed = -1;
    if (failed == 0)
        failed = take(&h, directory);
    while (failed == 0 && !h.over)
        event_base_loop(h.base, EVLOOP_ONCE);
    if (h.locks != NULL)
        give_back_cluster(&h);
    holder_free(&h);
    free(directory);
    return failed != 0 || h.failed ? -1 : h.exit_code;
}
