/* Locks among the processes of one machine: see lock_file.h. */
#include "cmd/lock_file.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define BACKOFF_FIRST_US (5 * US_PER_MS)
#define BACKOFF_MAX_US   (100 * US_PER_MS) /* a killed holder's file tells of its close too early */

static int make_directory(const char *path, struct rota_error *error)
{
    struct stat status;
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return error_set(error, ERROR_REFUSED, "cannot make %s: %s", path, strerror(errno));
    if (lstat(path, &status) != 0 || !S_ISDIR(status.st_mode) || status.st_uid != geteuid())
        return error_set(error, ERROR_REFUSED,
                         "%s is no directory of our own: remove it, or set XDG_RUNTIME_DIR to one "
                         "that is",
                         path);
    return 0;
}

char *lock_file_directory(struct rota_error *error)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    char *parent = geteuid() == 0 ? mem_string("/run/rota")
                   : runtime != NULL && *runtime == '/'
                       ? mem_format("%s/rota", runtime)
                       : mem_format("/tmp/rota-%u", (unsigned)geteuid());
    char *path = mem_format("%s/locks", parent);
    if (make_directory(parent, error) != 0 || make_directory(path, error) != 0) {
        free(path);
        path = NULL;
    }
    free(parent);
    return path;
}

static int open_file(const char *path, struct rota_error *error)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    return fd >= 0 ? fd
                   : error_set(error, ERROR_REFUSED, "cannot open %s: %s", path, strerror(errno));
}

int lock_file_open(const char *directory, const char *name, struct rota_error *error)
{
    char *path =
        mem_format("%s/%016llx", directory, (unsigned long long)text_hash(name, strlen(name)));
    int fd = open_file(path, error);
    free(path);
    return fd;
}

/* Who is written down as its holder. */
static const char *holder_text(int fd, char text[64])
{
    char number[24] = "";
    ssize_t length = pread(fd, number, sizeof number - 1, 0);
    if (length > 0)
        snprintf(text, 64, "process %.*s", (int)strcspn(number, "\n"), number);
    return length > 0 ? text : "somebody";
}

static void write_holder(int fd, bool shared)
{
    char text[24];
    int length = shared ? 0 : snprintf(text, sizeof text, "%d\n", getpid());
    if (ftruncate(fd, 0) == 0 && pwrite(fd, text, (size_t)length, 0) != length)
        return; /* it is for people only */
}

/* Until somebody has released it or the pause is over. */
static void wait_a_little(int watch, int64_t pause_us)
{
    char events[4096];
    struct pollfd released = {.fd = watch, .events = POLLIN};
    if (poll(&released, 1, (int)(pause_us / US_PER_MS) + 1) == 1 &&
        read(watch, events, sizeof events) < 0)
        return;
}

int lock_file_take(int fd, const char *name, bool shared, int64_t deadline_us,
                   struct rota_error *error)
{
    char path[64], text[64];
    int failed = 0, retries = 0, watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    int64_t pause_us = BACKOFF_FIRST_US;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (watch >= 0)
        inotify_add_watch(watch, path, IN_CLOSE_WRITE | IN_ATTRIB);
    while (failed == 0 && flock(fd, (shared ? LOCK_SH : LOCK_EX) | LOCK_NB) != 0) {
        int64_t left_us = deadline_us - clock_monotonic_us();
        if (left_us <= 0)
            failed = error_set(error, ERROR_TIMEOUT,
                               "Failed to obtain cluster lock: %s: held by %s on this machine, %d "
                               "retries",
                               name, holder_text(fd, text), retries);
        else
            wait_a_little(watch, pause_us < left_us ? pause_us : left_us);
        pause_us = 2 * pause_us < BACKOFF_MAX_US ? 2 * pause_us : BACKOFF_MAX_US;
        retries++;
    }
    if (watch >= 0)
        close(watch);
    if (failed == 0)
        write_holder(fd, shared);
    return failed;
}

void lock_file_release(int fd)
{
    flock(fd, LOCK_UN); /* the guard has it open, too */
    futimens(fd, NULL); /* wakes who waits */
    close(fd);
}

int64_t lock_file_fence(const char *directory, struct rota_error *error)
{
    char text[24] = "";
    int64_t last = 0, now_us = clock_wall_us(); /* so that they go on after the files are gone */
    char *path = mem_format("%s/fence", directory);
    int fd = open_file(path, error);
    free(path);
    if (fd < 0)
        return -1;
    flock(fd, LOCK_EX); /* for the next lines */
    ssize_t length = pread(fd, text, sizeof text - 1, 0);
    if (length > 0 && text_int64(text, strcspn(text, "\n"), &last) != 0)
        last = 0;
    int64_t fence = last < now_us ? now_us : last + 1;
    int written = snprintf(text, sizeof text, "%lld\n", (long long)fence);
    if (pwrite(fd, text, (size_t)written, 0) != written)
        fence = error_set(error, ERROR_REFUSED, "cannot write the fence: %s", strerror(errno));
    close(fd);
    return fence;
}
