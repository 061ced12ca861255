/* The private PostgreSQL of `rota up`: see private_postgres.h for the states. */
#include "cmd/private_postgres_int.h"

#include "base/clock.h"
#include "base/memory.h"
#include "cmd/account.h"
#include "cmd/child.h"
#include "cmd/data_directory.h"
#include "cmd/postgres_binaries.h"
#include "cmd/postgres_files.h"
#include "cmd/postgres_leftover.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define START_ATTEMPTS 3 /* another process may take the port between our look and its bind() */
#define RESTARTS_MAX   3 /* within RESTARTS_US: then something is wrong with it */
#define RESTARTS_US    (60 * US_PER_SECOND)
#define FAST_US        (30 * US_PER_SECOND) /* for a fast shutdown, before an immediate one */
#define IMMEDIATE_US   (10 * US_PER_SECOND) /* for an immediate one, before SIGKILL */

/* Every move there is; anything else is a bug. */
void private_postgres_move(struct private_postgres *postgres, enum private_postgres_state to)
{
    static const struct {
        enum private_postgres_state from, to;
        const char *why;
    } moves[] = {
        {IDLE, CLEARING, "started"},
        {CLEARING, CREATING, "nothing left behind, no data yet"},
        {CLEARING, STARTING, "nothing left behind"},
        {CLEARING, IDLE, "stopped, or something is in the way"},
        {CREATING, STARTING, "data made"},
        {CREATING, STOPPING, "stopped"},
        {CREATING, IDLE, "could not be made"},
        {STARTING, READY, "its pid file says so"},
        {STARTING, CLEARING, "ended at once: once more"},
        {STARTING, STOPPING, "stopped"},
        {STARTING, IDLE, "does not start"},
        {READY, CLEARING, "ended unexpectedly: start it again"},
        {READY, STOPPING, "stopped"},
        {READY, IDLE, "ends again and again"},
        {STOPPING, IDLE, "ended"},
    };
    for (size_t i = 0; i < sizeof moves / sizeof *moves; i++) {
        if (moves[i].from == postgres->state && moves[i].to == to) {
            postgres->state = to;
            return;
        }
    }
    assert(!"private_postgres: no such move");
}

static void free_event(struct event **event, bool close_fd)
{
    if (*event == NULL)
        return;
    int fd = event_get_fd(*event);
    event_free(*event);
    *event = NULL;
    if (close_fd)
        close(fd);
}

static void set_timer(struct private_postgres *postgres, int64_t delay_us)
{
    struct timeval delay = clock_timeval(delay_us);
    evtimer_add(postgres->timer, &delay);
}

void private_postgres_say_stopped(struct private_postgres *postgres)
{
    postgres->stop_waits = postgres->sync != NULL;
    if (!postgres->stop_waits)
        postgres->callbacks.stopped(postgres->callbacks.arg);
}

/* At rest again, with the reason; `error` NULL: it was stopped as wanted. */
void private_postgres_end(struct private_postgres *postgres, const struct rota_error *error)
{
    private_postgres_move(postgres, IDLE);
    evtimer_del(postgres->timer);
    free_event(&postgres->leftover, true);
    free_event(&postgres->pid_file, true);
    postgres_remove_socket_directory(postgres->directory);
    if (postgres->log_fd >= 0)
        close(postgres->log_fd);
    postgres->log_fd = -1;
    if (error != NULL)
        postgres->callbacks.failed(postgres->callbacks.arg, error);
    else
        private_postgres_say_stopped(postgres);
}

/* `what` and the complaint of the log. */
void private_postgres_end_with_log(struct private_postgres *postgres, const char *what)
{
    struct rota_error error;
    char *complaint = postgres_log_complaint(postgres->directory, postgres->log_start);
    error_set(&error, ERROR_REFUSED, "%s: %s (log: %s/postgres.log)", what,
              *complaint != '\0' ? complaint : "its log says nothing", postgres->directory);
    free(complaint);
    private_postgres_end(postgres, &error);
}

struct child *private_postgres_run(struct private_postgres *postgres, const char *const *argv,
                                   const char *input, int death_signal, void (*ended)(void *, int),
                                   struct rota_error *error)
{
    struct child_options options = {
        .argv = argv,
        .account = &postgres->account,
        .directory = postgres->directory,
        .input = input,
        .output = postgres->log_fd,
        .death_signal = death_signal,
    };
    struct child_callbacks callbacks = {.arg = postgres, .ended = ended};
    return child_start(postgres->children, &options, &callbacks, error);
}

/* --- starting --- */

static void clear(struct private_postgres *postgres);

static void become_ready(struct private_postgres *postgres)
{
    bool again = postgres->restarting;
    if (postgres->sync == NULL && postgres_is_unsynced(postgres->directory))
        private_postgres_sync(postgres);
    private_postgres_move(postgres, READY);
    free_event(&postgres->pid_file, true);
    postgres->attempts = 0;
    postgres->restarting = true;
    postgres->callbacks.ready(postgres->callbacks.arg, again);
}

static void on_pid_file(evutil_socket_t fd, short events, void *arg)
{
    struct private_postgres *postgres = arg;
    char noise[4096];
    (void)events;
    while (read(fd, noise, sizeof noise) > 0)
        ;
    if (postgres->state == STARTING && postgres->child != NULL &&
        postgres_is_ready(postgres->data, child_pid(postgres->child)))
        become_ready(postgres);
}

static int watch_pid_file(struct private_postgres *postgres, struct rota_error *error)
{
    int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (fd < 0 || inotify_add_watch(fd, postgres->data, IN_CLOSE_WRITE | IN_MODIFY) < 0) {
        error_set(error, ERROR_REFUSED, "cannot watch %s: %s", postgres->data, strerror(errno));
        if (fd >= 0)
            close(fd);
        return -1;
    }
    postgres->pid_file = event_new(postgres->base, fd, EV_READ | EV_PERSIST, on_pid_file, postgres);
    event_add(postgres->pid_file, NULL);
    return 0;
}

/* Has it died too often in a short time? */
static bool give_up(struct private_postgres *postgres)
{
    int64_t now_us = clock_monotonic_us();
    if (now_us - postgres->restarts_since_us > RESTARTS_US) {
        postgres->restarts_since_us = now_us;
        postgres->restarts = 0;
    }
    return ++postgres->restarts > RESTARTS_MAX;
}

static void on_server_ended(void *arg, int status)
{
    struct private_postgres *postgres = arg;
    char why[80], text[160];
    postgres->child = NULL;
    free_event(&postgres->pid_file, true);
    snprintf(text, sizeof text, "PostgreSQL %s: it is started again",
             child_status_text(status, why));
    if (postgres->state == STOPPING) {
        private_postgres_end(postgres, NULL);
    } else if (postgres->state == STARTING) {
        if (++postgres->attempts < START_ATTEMPTS)
            clear(postgres);
        else
            private_postgres_end_with_log(postgres, "PostgreSQL does not start");
    } else if (give_up(postgres)) {
        private_postgres_end_with_log(postgres, "PostgreSQL ends again and again");
    } else {
        postgres->callbacks.warn(postgres->callbacks.arg, text);
        clear(postgres);
    }
}

static int prepare_server(struct private_postgres *postgres, struct rota_error *error)
{
    struct stat about;
    if (postgres->socket_directory == NULL)
        postgres->socket_directory =
            postgres_socket_directory(postgres->directory, &postgres->account, error);
    if (postgres->socket_directory == NULL)
        return -1;
    /* running nodes know the port: it stays, unless nobody was ever told */
    if (!postgres->restarting)
        postgres->port = postgres_free_port(postgres->attempts == 0 ? postgres->port : 0);
    if (postgres->port == 0)
        return error_set(error, ERROR_REFUSED, "no free TCP port on 127.0.0.1: %s",
                         strerror(errno));
    free(postgres->url);
    postgres->url = postgres_url(postgres->password, postgres->socket_directory, postgres->port);
    if (fstat(postgres->log_fd, &about) == 0)
        postgres->log_start = about.st_size;
    return postgres_write_settings(postgres->directory, postgres->socket_directory, postgres->port,
                                   error);
}

void private_postgres_start_server(struct private_postgres *postgres)
{
    struct rota_error error;
    char *program = mem_format("%s/postgres", postgres->binaries.directory);
    char *settings = mem_format("config_file=%s/postgresql.conf", postgres->directory);
    const char *argv[] = {program, "-D", postgres->data, "-c", settings, NULL};
    private_postgres_move(postgres, STARTING);
    postgres->callbacks.busy(postgres->callbacks.arg, "starting PostgreSQL");
    if (prepare_server(postgres, &error) != 0 || watch_pid_file(postgres, &error) != 0 ||
        (postgres->child =
             private_postgres_run(postgres, argv, NULL, SIGINT, on_server_ended, &error)) == NULL)
        private_postgres_end(postgres, &error);
    free(settings);
    free(program);
}

/* --- clearing --- */

static void after_clearing(struct private_postgres *postgres)
{
    struct rota_error error;
    struct stat about;
    if (stat(postgres->data, &about) != 0) {
        private_postgres_create(postgres);
    } else if (!postgres_is_doubtful(postgres->directory)) {
        private_postgres_start_server(postgres);
    } else if (postgres_put_aside(postgres->directory, &error) != 0) {
        private_postgres_end(postgres, &error);
    } else {
        postgres->callbacks.warn(postgres->callbacks.arg,
                                 "the machine failed while the database was new: it is made again, "
                                 "what there was is in postgres.doubtful");
        private_postgres_create(postgres);
    }
}

static void clear_step(struct private_postgres *postgres);

static void on_leftover_ended(evutil_socket_t fd, short events, void *arg)
{
    struct private_postgres *postgres = arg;
    (void)fd;
    (void)events;
    free_event(&postgres->leftover, true);
    clear_step(postgres);
}

/* Signals what is there and waits for one of them to end; then looks again. */
static void clear_step(struct private_postgres *postgres)
{
    struct rota_error error;
    pid_t pid = postgres_leftover_signal(postgres->data, postgres->signal);
    if (pid == 0) {
        evtimer_del(postgres->timer);
        after_clearing(postgres);
        return;
    }
    postgres->callbacks.busy(postgres->callbacks.arg,
                             "stopping the PostgreSQL of a start that was killed");
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0 && errno != ESRCH) {
        error_set(&error, ERROR_REFUSED, "cannot wait for process %d: %s", (int)pid,
                  strerror(errno));
        private_postgres_end(postgres, &error);
        return;
    }
    if (fd < 0) { /* ended meanwhile */
        clear_step(postgres);
        return;
    }
    postgres->leftover = event_new(postgres->base, fd, EV_READ, on_leftover_ended, postgres);
    event_add(postgres->leftover, NULL);
}

static void clear(struct private_postgres *postgres)
{
    private_postgres_move(postgres, CLEARING);
    postgres->signal = SIGINT;
    set_timer(postgres, FAST_US);
    clear_step(postgres);
}

/* --- time is over --- */

static void on_timer(evutil_socket_t fd, short events, void *arg)
{
    struct private_postgres *postgres = arg;
    (void)fd;
    (void)events;
    postgres->signal = postgres->signal == SIGINT ? SIGQUIT : SIGKILL;
    set_timer(postgres, IMMEDIATE_US);
    if (postgres->state == CLEARING)
        postgres_leftover_signal(postgres->data, postgres->signal);
    else if (postgres->state == STOPPING && postgres->child != NULL)
        child_signal_group(postgres->child, postgres->signal);
}

/* --- the outside --- */

/* Major version of existing data, 0: none yet. */
static int data_version(const char *data)
{
    struct rota_error error;
    struct stat about;
    if (stat(data, &about) != 0)
        return 0;
    char *text = data_directory_read(data, "PG_VERSION", &error);
    int version = text != NULL ? (int)strtol(text, NULL, 10) : 0;
    free(text);
    return version;
}

/* The port of the last run: clients that knew it go on if it is still free. */
static int last_port(const char *directory)
{
    char *url = data_directory_read(directory, DATA_URL, NULL);
    const char *port = url != NULL ? strstr(url, "&port=") : NULL;
    int number = port != NULL ? (int)strtol(port + strlen("&port="), NULL, 10) : 0;
    free(url);
    return number > 0 && number <= 65535 ? number : 0;
}

struct private_postgres *private_postgres_new(struct event_base *base, struct children *children,
                                              const struct data_directory *directory,
                                              const struct account *account, const char *bindir,
                                              const struct private_postgres_callbacks *callbacks,
                                              struct rota_error *error)
{
    struct private_postgres *postgres = mem_alloc(sizeof *postgres);
    postgres->base = base;
    postgres->children = children;
    postgres->account = *account;
    postgres->callbacks = *callbacks;
    postgres->log_fd = -1;
    postgres->directory = mem_string(directory->path);
    postgres->data = mem_format("%s/postgres", directory->path);
    postgres->draft = mem_format("%s/postgres.new", directory->path);
    postgres->port = last_port(directory->path);
    postgres->timer = evtimer_new(base, on_timer, postgres);
    if (postgres_binaries_find(&postgres->binaries, bindir, data_version(postgres->data), error) !=
            0 ||
        (postgres->password = postgres_password(directory->path, error)) == NULL) {
        private_postgres_free(postgres);
        return NULL;
    }
    return postgres;
}

void private_postgres_free(struct private_postgres *postgres)
{
    if (postgres == NULL)
        return;
    assert(postgres->state == IDLE && postgres->child == NULL && postgres->sync == NULL);
    free_event(&postgres->timer, false);
    free(postgres->url);
    free(postgres->socket_directory);
    free(postgres->password);
    free(postgres->draft);
    free(postgres->data);
    free(postgres->directory);
    free(postgres);
}

void private_postgres_start(struct private_postgres *postgres)
{
    struct rota_error error;
    struct stat about;
    postgres_remove_socket_directory(postgres->directory);
    postgres->log_fd = postgres_open_log(postgres->directory, &error);
    if (postgres->log_fd < 0) {
        postgres->callbacks.failed(postgres->callbacks.arg, &error);
        return;
    }
    if (fstat(postgres->log_fd, &about) == 0)
        postgres->log_start = about.st_size;
    clear(postgres);
}

void private_postgres_stop(struct private_postgres *postgres)
{
    switch (postgres->state) {
    case IDLE: /* it has failed */
        if (postgres->sync != NULL)
            child_signal_group(postgres->sync, SIGKILL);
        private_postgres_say_stopped(postgres);
        return;
    case CLEARING:
        private_postgres_end(postgres, NULL);
        return;
    case CREATING: /* what is half made is thrown away at the next start */
        private_postgres_move(postgres, STOPPING);
        child_signal_group(postgres->child, SIGKILL);
        return;
    case STARTING:
    case READY:
        private_postgres_move(postgres, STOPPING);
        postgres->signal = SIGINT;
        child_signal(postgres->child, SIGINT);
        set_timer(postgres, FAST_US);
        return;
    case STOPPING:
        return;
    }
}

void private_postgres_hurry(struct private_postgres *postgres)
{
    if (postgres->sync != NULL)
        child_signal_group(postgres->sync, SIGKILL);
    if (postgres->state == STOPPING && postgres->child != NULL) {
        postgres->signal = SIGQUIT;
        child_signal(postgres->child, SIGQUIT);
        set_timer(postgres, IMMEDIATE_US);
    }
}

const char *private_postgres_url(const struct private_postgres *postgres)
{
    return postgres->url;
}

int private_postgres_port(const struct private_postgres *postgres)
{
    return postgres->port;
}

int private_postgres_version(const struct private_postgres *postgres)
{
    return postgres->binaries.version;
}

bool private_postgres_created(const struct private_postgres *postgres)
{
    return postgres->created;
}
