/* The life of `rota up`: see up.h. The order is the table of phases in move(). */
#include "cmd/up.h"

#include "base/clock.h"
#include "base/memory.h"
#include "cmd/account.h"
#include "cmd/child.h"
#include "cmd/cmd.h"
#include "cmd/data_directory.h"
#include "cmd/private_postgres.h"
#include "cmd/settings.h"
#include "cmd/up_fleet.h"
#include "cmd/up_show.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define GRACE_MORE_US                                                                              \
    (10 * US_PER_SECOND) /* a node that drains may be late by this, then SIGKILL */

static const char step_marks[] = "+~-";

enum phase { PREPARE, POSTGRES, MIGRATE, APPLY, NODES, RUNNING, DRAIN, STOP_POSTGRES, OVER };

struct up {
    const struct up_options *options;
    struct event_base *base;
    struct children *children;
    struct show *show;
    struct event *signals[3];
    struct event *deadline; /* of draining */
    struct account account;
    struct data_directory data;
    struct private_postgres *postgres; /* NULL: the database is somebody else's */
    bool postgres_failed;              /* it is at rest for good */
    struct fleet *fleet;
    char *self;
    char **environment;   /* of everything that is started */
    struct child *step;   /* rota migrate, rota apply */
    char *step_complaint; /* the last line it printed on stderr */
    char *step_remark;    /* and on stdout */
    int step_counts[3];   /* lines by step_marks */
    int manifest_next;
    enum phase phase;
    int interrupts; /* Ctrl-C and the like so far */
    int exit_code;
};

static void advance(struct up *up);

/* Every move there is; anything else is a bug. */
static void move(struct up *up, enum phase to)
{
    static const struct {
        enum phase from, to;
        const char *why;
    } moves[] = {
        {PREPARE, POSTGRES, "private PostgreSQL"},
        {PREPARE, MIGRATE, "the database is given"},
        {POSTGRES, MIGRATE, "it takes connections"},
        {MIGRATE, APPLY, "the schema is there"},
        {APPLY, NODES, "manifests are applied"},
        {NODES, RUNNING, "every node listens"},
        {RUNNING, DRAIN, "stop"},
        {NODES, DRAIN, "stop, or a node does not start"},
        {APPLY, DRAIN, "stop, or a manifest is refused"},
        {MIGRATE, DRAIN, "stop, or no schema"},
        {POSTGRES, DRAIN, "stop, or PostgreSQL does not start"},
        {DRAIN, STOP_POSTGRES, "nodes and steps have ended"},
        {STOP_POSTGRES, OVER, "PostgreSQL has ended"},
    };
    for (size_t i = 0; i < sizeof moves / sizeof *moves; i++) {
        if (moves[i].from == up->phase && moves[i].to == to) {
            up->phase = to;
            return;
        }
    }
    assert(!"rota up: no such move");
}

/* --- stopping --- */

static void stop_postgres(struct up *up)
{
    if (up->step != NULL || up->phase != DRAIN)
        return;
    move(up, STOP_POSTGRES);
    evtimer_del(up->deadline);
    if (up->postgres != NULL) {
        show_begin(up->show, "stopping PostgreSQL");
        private_postgres_stop(up->postgres);
    } else {
        move(up, OVER);
        event_base_loopbreak(up->base);
    }
}

static void on_fleet_stopped(void *arg)
{
    struct up *up = arg;
    show_done(up->show, "nodes", "stopped");
    stop_postgres(up);
}

static void begin_stop(struct up *up, int exit_code)
{
    struct timeval limit =
        clock_timeval(settings_number(up->options->settings, SETTING_GRACE) + GRACE_MORE_US);
    if (up->phase >= DRAIN)
        return;
    move(up, DRAIN);
    up->exit_code = exit_code;
    if (up->step != NULL)
        child_signal(up->step, SIGTERM);
    evtimer_add(up->deadline, &limit);
    if (up->fleet != NULL) {
        show_begin(up->show, "nodes finish what they run (Ctrl-C again: hurry)");
        fleet_stop(up->fleet, SIGTERM);
    } else {
        stop_postgres(up);
    }
}

static void refuse(struct up *up, const struct rota_error *error)
{
    show_clear(up->show);
    cmd_fail("up", error);
    begin_stop(up, (int)error->code);
}

static void on_deadline(evutil_socket_t fd, short events, void *arg)
{
    struct up *up = arg;
    (void)fd;
    (void)events;
    show_remark(up->show, LOG_WARN, "the grace is over: killing what still runs");
    if (up->step != NULL)
        child_signal(up->step, SIGKILL);
    if (up->fleet != NULL)
        fleet_stop(up->fleet, SIGKILL);
}

/* First: drain. Second: the nodes are told again, which hurries them. Third: kill. */
static void on_signal(evutil_socket_t signal, short events, void *arg)
{
    struct up *up = arg;
    (void)events;
    up->interrupts++;
    if (up->phase < DRAIN) {
        show_clear(up->show);
        show_remark(up->show, LOG_INFO, "stopping (%s)", strsignal((int)signal));
        begin_stop(up, 0);
    } else if (up->phase == DRAIN && up->fleet != NULL) {
        show_remark(up->show, LOG_INFO, up->interrupts == 2 ? "hurrying" : "killing");
        fleet_stop(up->fleet, up->interrupts == 2 ? SIGTERM : SIGKILL);
    } else if (up->phase == STOP_POSTGRES && up->postgres != NULL && up->interrupts > 2) {
        private_postgres_hurry(up->postgres);
    }
}

/* --- PostgreSQL --- */

static void add_environment(struct up *up, char *word)
{
    size_t count = 0;
    while (up->environment != NULL && up->environment[count] != NULL)
        count++;
    up->environment = mem_resize(up->environment, count + 2, sizeof *up->environment);
    up->environment[count] = word;
    up->environment[count + 1] = NULL;
}

static void on_postgres_busy(void *arg, const char *what)
{
    struct up *up = arg;
    if (up->phase == POSTGRES)
        show_busy(up->show, what);
}

static void on_postgres_ready(void *arg, bool again)
{
    struct up *up = arg;
    struct rota_error error;
    const char *url = private_postgres_url(up->postgres);
    if (again) {
        show_remark(up->show, LOG_INFO, "PostgreSQL is back");
        return;
    }
    show_done(up->show, "postgresql", "%d on 127.0.0.1:%d, %s",
              private_postgres_version(up->postgres), private_postgres_port(up->postgres),
              private_postgres_created(up->postgres) ? "new database" : "existing database");
    if (data_directory_write(up->data.path, DATA_URL, url, &error) != 0) {
        refuse(up, &error);
        return;
    }
    add_environment(up, mem_format("ROTA_DATABASE_URL=%s", url));
    add_environment(up, mem_format("ROTA_DATA=%s", up->data.path));
    move(up, MIGRATE);
    advance(up);
}

static void on_postgres_warn(void *arg, const char *text)
{
    struct up *up = arg;
    show_remark(up->show, LOG_WARN, "%s", text);
}

/* It is at rest when it fails, so that stopping it later is no work. */
static void on_postgres_failed(void *arg, const struct rota_error *error)
{
    struct up *up = arg;
    up->postgres_failed = true;
    refuse(up, error);
}

static void on_postgres_stopped(void *arg)
{
    struct up *up = arg;
    if (!up->postgres_failed)
        show_done(up->show, "postgresql", "stopped");
    show_clear(up->show);
    move(up, OVER);
    event_base_loopbreak(up->base);
}

static void start_postgres(struct up *up)
{
    move(up, POSTGRES);
    show_begin(up->show, "starting PostgreSQL");
    private_postgres_start(up->postgres);
}

/* --- schema and manifests: this binary's own commands --- */

/* `apply` marks its lines: + new, ~ changed, - removed. The lines themselves are many and long. */
static void count_mark(struct up *up, char mark)
{
    const char *at = mark != '\0' ? strchr(step_marks, mark) : NULL;
    if (at != NULL)
        up->step_counts[at - step_marks]++;
}

static void on_step_line(void *arg, bool error, const char *line, size_t length)
{
    struct up *up = arg;
    char **last = error ? &up->step_complaint : &up->step_remark;
    if (!error && length > 1 && line[1] == ' ')
        count_mark(up, line[0]);
    if (error && *last != NULL)
        show_step_line(up->show, *last, strlen(*last));
    free(*last);
    *last = mem_string_n(line, length);
}

static void forget_step(struct up *up)
{
    free(up->step_complaint);
    free(up->step_remark);
    up->step_complaint = up->step_remark = NULL;
    memset(up->step_counts, 0, sizeof up->step_counts);
}

/* What the step said of itself is all there is to say. */
static void step_failed(struct up *up, int status)
{
    char why[80];
    int code = WIFEXITED(status) && WEXITSTATUS(status) <= ERROR_TIMEOUT ? WEXITSTATUS(status)
                                                                         : ERROR_REFUSED;
    show_clear(up->show);
    fprintf(stderr, "%s%s\n", up->step_complaint != NULL ? "" : "rota up: a step of the start ",
            up->step_complaint != NULL ? up->step_complaint : child_status_text(status, why));
    begin_stop(up, code);
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL && slash[1] != '\0' ? slash + 1 : path;
}

static void on_step_ended(void *arg, int status)
{
    struct up *up = arg;
    up->step = NULL;
    if (up->phase == DRAIN) {
        stop_postgres(up);
    } else if (status != 0) {
        step_failed(up, status);
    } else if (up->phase == MIGRATE) {
        show_done(up->show, "schema", "%s", up->step_remark != NULL ? up->step_remark : "ready");
        move(up, APPLY);
        advance(up);
    } else {
        show_done(up->show, "manifest", "%s: %d new, %d changed, %d removed",
                  base_name(up->options->manifests[up->manifest_next++]), up->step_counts[0],
                  up->step_counts[1], up->step_counts[2]);
        advance(up);
    }
}

static void run_step(struct up *up, const char *doing, const char *command, const char *file)
{
    struct rota_error error;
    static const char *const unset[] = {"ROTA_CONFIG", NULL};
    const char *argv[] = {up->self, command, file != NULL ? "-f" : NULL, file, NULL};
    struct child_options options = {
        .argv = argv,
        .environment = (const char *const *)up->environment,
        .unset = unset,
        .output = -1,
        .death_signal = SIGKILL,
    };
    struct child_callbacks callbacks = {.arg = up, .line = on_step_line, .ended = on_step_ended};
    forget_step(up);
    show_begin(up->show, doing);
    up->step = child_start(up->children, &options, &callbacks, &error);
    if (up->step == NULL)
        refuse(up, &error);
}

/* --- nodes --- */

/* How to call us, as the user did. */
static char *look_command(const struct up *up)
{
    const char *program = program_invocation_name;
    if (up->postgres == NULL)
        return mem_format(
            "%s get history%s", program,
            strncmp(settings_origin(up->options->settings, SETTING_DATABASE_URL), "--", 2) == 0
                ? " --database-url …"
                : "");
    if (!settings_given(up->options->settings, SETTING_DATA))
        return mem_format("%s get history", program);
    return mem_format("%s get history --data %s", program, up->data.path);
}

static void on_fleet_up(void *arg, const char *url)
{
    struct up *up = arg;
    char *look = look_command(up);
    move(up, RUNNING);
    show_done(up->show, "nodes", "%d running", up->options->node_count);
    show_text(up->show, "\n  http        %s/readyz", url);
    show_text(up->show, "  look        %s", look);
    if (up->postgres != NULL)
        show_text(up->show, "  database    psql \"$(cat %s/" DATA_URL ")\"", up->data.path);
    show_text(up->show, "  stop        Ctrl-C\n");
    show_ready(up->show, url, up->data.path, up->options->node_count);
    show_heading(up->show);
    free(look);
}

static void on_fleet_failed(void *arg, const struct rota_error *error)
{
    refuse(arg, error);
}

static void start_nodes(struct up *up)
{
    static const char *const unset[] = {"ROTA_CONFIG", "MB_DISABLE_SCHEDULER", NULL};
    struct fleet_config config = {
        .base = up->base,
        .children = up->children,
        .show = up->show,
        .self = up->self,
        .environment = (const char *const *)up->environment,
        .unset = unset,
        .count = up->options->node_count,
        .port = up->options->port,
    };
    struct fleet_callbacks callbacks = {
        .arg = up, .up = on_fleet_up, .failed = on_fleet_failed, .stopped = on_fleet_stopped};
    move(up, NODES);
    show_begin(up->show, "starting the nodes");
    up->fleet = fleet_new(&config, &callbacks);
    fleet_start(up->fleet);
}

static void advance(struct up *up)
{
    if (up->phase == MIGRATE)
        run_step(up, "making the schema", "migrate", NULL);
    else if (up->phase == APPLY && up->manifest_next < up->options->manifest_count)
        run_step(up, "applying the manifest", "apply", up->options->manifests[up->manifest_next]);
    else if (up->phase == APPLY)
        start_nodes(up);
}

/* --- all together --- */

/* What the nodes shall know of our settings, whatever source they came from. */
static void pass_settings(struct up *up)
{
    for (int id = 0; id < SETTING_COUNT; id++) {
        const char *text = settings_text(up->options->settings, (enum setting_id)id);
        bool node = (settings_row((enum setting_id)id)->scopes & SCOPE_NODE) != 0;
        bool wanted = settings_given(up->options->settings, (enum setting_id)id) ||
                      (id >= SETTING_EXEC_ALLOW && id <= SETTING_SECRET_FILES);
        char name[64];
        if (!node || !wanted || id == SETTING_CONFIG || id == SETTING_DATABASE_URL)
            continue;
        settings_variable_name((enum setting_id)id, name, sizeof name);
        add_environment(up, mem_format("%s=%s", name, text));
    }
}

static int open_private_postgres(struct up *up, struct rota_error *error)
{
    const struct private_postgres_callbacks callbacks = {
        .arg = up,
        .busy = on_postgres_busy,
        .ready = on_postgres_ready,
        .warn = on_postgres_warn,
        .failed = on_postgres_failed,
        .stopped = on_postgres_stopped,
    };
    if (account_find(&up->account, error) != 0 ||
        data_directory_open(&up->data, settings_text(up->options->settings, SETTING_DATA),
                            &up->account, error) != 0)
        return -1;
    up->postgres = private_postgres_new(up->base, up->children, &up->data, &up->account,
                                        settings_text(up->options->settings, SETTING_PG_BINDIR),
                                        &callbacks, error);
    return up->postgres != NULL ? 0 : -1;
}

static int open_loop(struct up *up, struct rota_error *error)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    bool verbose = settings_given(up->options->settings, SETTING_LOG_LEVEL);
    up->base = event_base_new();
    if (up->base == NULL)
        return error_set(error, ERROR_REFUSED, "no event loop: %s", strerror(errno));
    up->deadline = evtimer_new(up->base, on_deadline, up);
    up->children = children_new(up->base, error);
    up->show = show_new(up->base, up->options->json, verbose, error);
    for (size_t i = 0; i < 3; i++) {
        up->signals[i] = evsignal_new(up->base, signals[i], on_signal, up);
        evsignal_add(up->signals[i], NULL);
    }
    return up->children != NULL && up->show != NULL ? 0 : -1;
}

static char *own_path(void)
{
    char path[4096];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    return length > 0 ? mem_string_n(path, (size_t)length) : mem_string("rota");
}

static int prepare(struct up *up, struct rota_error *error)
{
    up->self = own_path();
    pass_settings(up);
    if (open_loop(up, error) != 0)
        return -1;
    if (settings_wants_data(up->options->settings))
        return open_private_postgres(up, error);
    const char *url = settings_text(up->options->settings, SETTING_DATABASE_URL);
    add_environment(up, mem_format("ROTA_DATABASE_URL=%s", url));
    return 0;
}

static void clean_up(struct up *up)
{
    fleet_free(up->fleet);
    private_postgres_free(up->postgres);
    show_free(up->show);
    children_free(up->children);
    for (size_t i = 0; i < 3; i++)
        if (up->signals[i] != NULL)
            event_free(up->signals[i]);
    if (up->deadline != NULL)
        event_free(up->deadline);
    if (up->base != NULL)
        event_base_free(up->base);
    data_directory_close(&up->data);
    for (char **word = up->environment; word != NULL && *word != NULL; word++)
        free(*word);
    free(up->environment);
    forget_step(up);
    free(up->self);
}

int up_run(const struct up_options *options)
{
    struct up up = {.options = options, .data = {.lock_fd = -1}};
    struct rota_error error;
    if (prepare(&up, &error) != 0) {
        up.exit_code = cmd_fail("up", &error);
        goto out;
    }
    show_text(up.show, "rota " ROTA_VERSION ": everything on this machine%s%s; Ctrl-C stops all\n",
              up.postgres != NULL ? ", data in " : "", up.postgres != NULL ? up.data.path : "");
    if (up.postgres != NULL) {
        start_postgres(&up);
    } else {
        move(&up, MIGRATE);
        advance(&up);
    }
    if (up.phase != OVER)
        event_base_dispatch(up.base);
out:
    clean_up(&up);
    return up.exit_code;
}
