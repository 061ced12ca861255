/* The pipe in which workers of a bench say when runs began: see bench_starts.h. */
#include "cmd/bench_starts.h"

#include "base/buffer.h"
#include "base/memory.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_STARTS 64

struct starts {
    char *directory, *path;
    struct event *readable; /* NULL: not open */
    struct start *items;
    size_t count, capacity;
};

static void on_readable(evutil_socket_t fd, short events, void *arg)
{
    struct starts *starts = arg;
    (void)events;
    if (starts->count + READ_STARTS > starts->capacity) {
        starts->capacity = (starts->capacity + READ_STARTS) * 2;
        starts->items = mem_resize(starts->items, starts->capacity, sizeof *starts->items);
    }
    /* whole records only, as they are written whole */
    ssize_t length = read(fd, starts->items + starts->count, READ_STARTS * sizeof *starts->items);
    if (length > 0)
        starts->count += (size_t)length / sizeof *starts->items;
}

static int open_pipe(struct starts *starts, struct event_base *base)
{
    const char *place = getenv("TMPDIR");
    char *directory =
        mem_format("%s/rota-bench-XXXXXX", place != NULL && *place != '\0' ? place : "/tmp");
    if (mkdtemp(directory) == NULL) {
        free(directory);
        return -1;
    }
    starts->directory = directory;
    starts->path = mem_format("%s/starts", directory);
    if (mkfifo(starts->path, 0600) != 0)
        return -1;
    /* for writing, too: it never is at its end, whatever workers come and go */
    int fd = open(starts->path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return -1;
    starts->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, starts);
    assert(starts->readable != NULL);
    event_add(starts->readable, NULL);
    return 0;
}

struct starts *starts_new(struct event_base *base, struct rota_error *error)
{
    struct starts *starts = mem_alloc(sizeof *starts);
    if (open_pipe(starts, base) == 0)
        return starts;
    error_set(error, ERROR_REFUSED, "no pipe for workers can be made in %s: %s",
              starts->directory != NULL ? starts->directory : "TMPDIR", strerror(errno));
    starts_free(starts);
    return NULL;
}

void starts_free(struct starts *starts)
{
    if (starts == NULL)
        return;
    if (starts->readable != NULL) {
        int fd = event_get_fd(starts->readable);
        event_free(starts->readable);
        close(fd);
    }
    if (starts->path != NULL)
        unlink(starts->path);
    if (starts->directory != NULL)
        rmdir(starts->directory);
    free(starts->path);
    free(starts->directory);
    free(starts->items);
    free(starts);
}

char *starts_pools(const struct starts *starts, const char *program)
{
    struct buffer text = {0};
    buffer_string(&text, "{\"bench\":{\"command\":[");
    buffer_json(&text, program, strlen(program));
    buffer_string(&text, ",\"" STARTS_COMMAND "\",");
    buffer_json(&text, starts->path, strlen(starts->path));
    buffer_string(&text, "],\"processes\":1}}");
    buffer_char(&text, '\0');
    return text.data;
}

size_t starts_count(const struct starts *starts)
{
    return starts->count;
}

const struct start *starts_at(const struct starts *starts, size_t number)
{
    assert(number < starts->count);
    return &starts->items[number];
}

const struct start *starts_find(const struct starts *starts, int64_t id)
{
    for (size_t i = starts->count; i > 0; i--) /* it is among the last, as a rule */
        if (starts->items[i - 1].id == id)
            return &starts->items[i - 1];
    return NULL;
}
