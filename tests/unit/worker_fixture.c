/* A small coordinator for the tests of worker/: see worker_fixture.h. */
#include "tests/unit/worker_fixture.h"

static char *copy_slice(struct slice slice)
{
    return mem_string_n(slice.data != NULL ? slice.data : "", slice.length);
}

static void on_result(void *arg, const struct worker_result *result)
{
    struct fixture *f = arg;
    if ((f->outcome_count & (f->outcome_count + 1)) == 0) /* before each power of two */
        f->outcomes = mem_resize(f->outcomes, f->outcome_count * 2 + 2, sizeof *f->outcomes);
    f->outcomes[f->outcome_count++] = (struct outcome){
        .id = result->id,
        .fence = result->fence,
        .duration_us = result->duration_us,
        .snooze_us = result->snooze_us,
        .outcome = result->outcome,
        .details = copy_slice(result->details),
        .data = copy_slice(result->data),
        .exception = copy_slice(result->exception),
        .message = copy_slice(result->message),
        .stacktrace = copy_slice(result->stacktrace),
        .ex_data = copy_slice(result->ex_data),
        .reason = copy_slice(result->reason),
        .retry = result->retry,
        .unschedule = result->unschedule,
        .alone = result->alone,
    };
}

static void on_progress(void *arg, int64_t id, int64_t fence, double fraction, struct slice message)
{
    struct fixture *f = arg;
    (void)id, (void)fence, (void)message;
    f->progress++;
    f->fraction = fraction;
}

static void on_checkpoint(void *arg, int64_t id, int64_t fence, struct slice data)
{
    struct fixture *f = arg;
    (void)id, (void)fence;
    free(f->checkpoint);
    f->checkpoint = copy_slice(data);
}

static void on_run_log(void *arg, int64_t id, int64_t fence, const char *level,
                       struct slice message)
{
    struct fixture *f = arg;
    (void)id, (void)fence;
    free(f->last_log);
    f->last_log = mem_format("%s: %.*s", level, (int)message.length, message.data);
    f->logs++;
}

static void on_changed(void *arg)
{
    ((struct fixture *)arg)->changed++;
}

static void on_guard_lost(void *arg)
{
    ((struct fixture *)arg)->guard_lost++;
}

static void on_lock(void *arg, const struct worker_lock *lock)
{
    struct fixture *f = arg;
    f->lock = *lock;
    f->locks++;
}

static void on_unlock(void *arg, uint64_t lock)
{
    struct fixture *f = arg;
    (void)lock;
    f->unlocks++;
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
}

/* --- files --- */

char *path_in(struct fixture *f, const char *name)
{
    return mem_format("%s/%s", f->folder, name);
}

/* The text of a file in the folder, "" if there is none; to be freed. */
char *file_text(struct fixture *f, const char *name)
{
    char *path = path_in(f, name);
    struct buffer text = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got;
    while (fd >= 0 && (got = read(fd, buffer_reserve(&text, 4096), 4096)) > 0)
        text.length += (size_t)got;
    if (fd >= 0)
        close(fd);
    free(path);
    char *copy = mem_string_n(text.length > 0 ? text.data : "", text.length);
    buffer_free(&text);
    return copy;
}

bool file_has(struct fixture *f, const char *name, const char *wanted)
{
    char *text = file_text(f, name);
    bool found = strstr(text, wanted) != NULL;
    free(text);
    return found;
}

/* The number in a file that some process of a test writes, 0 if it is not there yet. */
pid_t file_number(struct fixture *f, const char *name)
{
    char *text = file_text(f, name), *end;
    long number = strtol(text, &end, 10);
    bool whole = *end == '\n';
    free(text);
    return whole ? (pid_t)number : 0;
}

char *write_file(struct fixture *f, const char *name, const char *text)
{
    char *path = path_in(f, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    return path;
}

/* --- processes --- */

bool is_gone(pid_t pid)
{
    char path[64], state = 'X';
    if (kill(pid, 0) != 0)
        return true;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return true;
    if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
        state = 'X';
    fclose(file);
    return state == 'Z' || state == 'X';
}

long private_kib(pid_t pid)
{
    char path[64], line[256];
    long kib = -1;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, "RssAnon:", 8) == 0)
            kib = strtol(line + 8, NULL, 10);
    if (file != NULL)
        fclose(file);
    return kib;
}

/* --- the loop --- */

void turn(struct fixture *f)
{
    event_base_loop(f->base, EVLOOP_ONCE);
}

/* --- life --- */

int setup(void **state)
{
    struct fixture *f = mem_alloc(sizeof *f);
    snprintf(f->folder, sizeof f->folder, "/tmp/rota-worker-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    assert_true(readlink("/proc/self/exe", f->self, sizeof f->self - 1) > 0);
    char *log = path_in(f, "log");
    f->log = (struct log){.level = LOG_DEBUG, .node = "here"};
    f->log.fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    assert_true(f->log.fd >= 0);
    free(log);
    f->base = event_base_new();
    f->tick = event_new(f->base, -1, EV_PERSIST, on_tick, NULL);
    event_add(f->tick, &(struct timeval){.tv_usec = 2000});
    *state = f;
    return 0;
}

void free_outcomes(struct fixture *f)
{
    for (size_t i = 0; i < f->outcome_count; i++) {
        struct outcome *o = &f->outcomes[i];
        char *texts[] = {o->details,    o->data,    o->exception, o->message,
                         o->stacktrace, o->ex_data, o->reason};
        for (size_t t = 0; t < sizeof texts / sizeof *texts; t++)
            free(texts[t]);
    }
    free(f->outcomes);
    f->outcomes = NULL;
    f->outcome_count = 0;
}

int teardown(void **state)
{
    struct fixture *f = *state;
    workers_free(f->workers);
    free_outcomes(f);
    event_free(f->tick);
    event_base_free(f->base);
    close(f->log.fd);
    free(f->checkpoint);
    free(f->last_log);
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/rm", "rm", "-rf", f->folder, (char *)NULL);
        _exit(127);
    }
    waitpid(pid, NULL, 0);
    free(f);
    return 0;
}

static const char *const allow_all[] = {"*", NULL};

/* The fixture's pools, which the test has filled in, come to life. */
void start(struct fixture *f, size_t pool_count)
{
    struct worker_callbacks callbacks = {.arg = f,
                                         .result = f->result != NULL ? f->result : on_result,
                                         .progress = on_progress,
                                         .checkpoint = on_checkpoint,
                                         .run_log = on_run_log,
                                         .changed = on_changed,
                                         .guard_lost = on_guard_lost,
                                         .lock = on_lock,
                                         .unlock = on_unlock};
    struct rota_error error = {0};
    f->config.base = f->base;
    f->config.log = &f->log;
    f->config.node = "here";
    f->config.self = f->self;
    if (f->config.exec_allow == NULL)
        f->config.exec_allow = allow_all;
    f->config.pools = f->pools;
    f->config.pool_count = pool_count;
    if (f->config.kill_grace_us == 0)
        f->config.kill_grace_us = 200 * US_PER_MS;
    f->workers = workers_new(&f->config, &callbacks, &error);
    if (f->workers == NULL)
        fail_msg("%s", error.message);
}

const struct worker_pool_view *view(struct fixture *f, size_t pool)
{
    const struct worker_pool_view *views;
    workers_pools(f->workers, &views);
    return &views[pool];
}

int free_slots(struct fixture *f, size_t pool)
{
    return view(f, pool)->free_slots;
}

/* One built-in pool. */
void start_builtin(struct fixture *f, int processes, int slots)
{
    f->pools[0] =
        (struct worker_pool_config){.name = "main", .processes = processes, .slots = slots};
    start(f, 1);
    WAIT(f, free_slots(f, 0) == processes * slots);
}

/* What every script begins with: say(), and messages() as they come. */
#define SCRIPT_HEAD                                                                                \
    "import sys, json, os, time, signal, subprocess\n"                                             \
    "def say(**m):\n"                                                                              \
    "    sys.stdout.write(json.dumps(m) + '\\n'); sys.stdout.flush()\n"                            \
    "def raw(text):\n"                                                                             \
    "    sys.stdout.write(text); sys.stdout.flush()\n"                                             \
    "def hello(slots=1, handlers=['a'], **more):\n"                                                \
    "    say(type='hello', protocol=1, handlers=handlers, slots=slots, **more)\n"                  \
    "def lines():\n"                                                                               \
    "    while True:\n"                                                                            \
    "        line = sys.stdin.readline()\n"                                                        \
    "        if not line: sys.exit(0)\n"                                                           \
    "        yield line\n"                                                                         \
    "def messages(kind):\n"                                                                        \
    "    for line in lines():\n"                                                                   \
    "        m = json.loads(line)\n"                                                               \
    "        if m['type'] == kind: yield m\n"                                                      \
    "def note(name, text):\n"                                                                      \
    "    with open(os.path.join(os.path.dirname(sys.argv[0]), name), 'a') as f:\n"                 \
    "        f.write(str(text) + '\\n')\n"                                                         \
    "def escape():\n" /* a descendant that leaves session and group, and ignores SIGTERM */        \
    "    return subprocess.Popen(['/usr/bin/setsid', 'sh', '-c',\n"                                \
    "        'trap \"\" TERM HUP INT; while :; do sleep 60; done']).pid\n"

void script_pool(struct fixture *f, size_t pool, int processes, const char *body)
{
    static char *commands[4][4];
    char *name = mem_format("worker%zu.py", pool), *text = mem_format("%s%s", SCRIPT_HEAD, body);
    free(commands[pool][2]);
    commands[pool][0] = (char *)PYTHON;
    commands[pool][1] = (char *)"-S";
    commands[pool][2] = write_file(f, name, text);
    commands[pool][3] = NULL;
    f->pools[pool] = (struct worker_pool_config){
        .name = pool == 0 ? "script" : "other", .command = commands[pool], .processes = processes};
    free(name);
    free(text);
}

struct worker_run run_of(int64_t id, const char *handler, const char *data)
{
    return (struct worker_run){
        .id = id,
        .fence = id + 1000,
        .job = "job",
        .handler = handler,
        .data = slice_of(data),
        .trigger = "trigger",
        .fire_time_us = INT64_C(1795163704123000),
        .scheduled_time_us = INT64_C(1795163704000000),
        .attempt = 1,
    };
}

int give(struct fixture *f, int64_t id, const char *handler, const char *data)
{
    struct worker_run run = run_of(id, handler, data);
    return workers_run(f->workers, 0, &run);
}

struct outcome *outcome_of_run(struct fixture *f, int64_t id)
{
    struct outcome *found = NULL;
    for (size_t i = 0; i < f->outcome_count; i++) {
        if (f->outcomes[i].id != id)
            continue;
        assert_null(found); /* exactly one */
        found = &f->outcomes[i];
    }
    return found;
}

struct outcome *wait_for_outcome(struct fixture *f, int64_t id)
{
    WAIT(f, outcome_of_run(f, id) != NULL);
    return outcome_of_run(f, id);
}

/* To be the first thing in main(): the guard and the built-in worker are this program too. */
int other_main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "guard") == 0)
        exit(guard_main(argc - 1, argv + 1));
    if (argc > 1 && strcmp(argv[1], "worker") == 0)
        exit(builtin_worker_main(argc - 1, argv + 1));
    if (argc > 1)
        cmocka_set_test_filter(argv[1]); /* a pattern of names */
    return 0;
}
