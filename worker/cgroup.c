/* Control groups of a node's workers: see cgroup.h. */
#include "worker/cgroup.h"

#include "base/clock.h"
#include "base/memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define LEAF      "rota.node"
#define DEPTH_MAX 8                 /* of groups within groups that are removed */
#define TRIES     5                 /* to make a group that another node takes for a dead one's */
#define STALE_US  (500 * US_PER_MS) /* what was killed long ago ends in that time, or stays */
#define TEXT_SIZE 8192              /* of a file of the kernel's; its lists are short */

struct cgroup {
    int base, directory; /* the latter holds the lock */
    char *path, *name;
    bool kill, memory, processes;
    const char *unlimited;
    char (*leaving)[CGROUP_NAME_SIZE];
    size_t leaving_count, leaving_capacity;
};

/* --- files --- */

static int group_open(int directory, const char *group, const char *file, int flags)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", group, file);
    return openat(directory, path, flags | O_CLOEXEC);
}

/* 0, or -1 with errno. */
static int group_write(int directory, const char *group, const char *file, const char *text)
{
    int fd = group_open(directory, group, file, O_WRONLY);
    if (fd < 0)
        return -1;
    int failed = write(fd, text, strlen(text)) < 0 ? -1 : 0;
    int code = errno;
    close(fd);
    errno = code;
    return failed;
}

/* "" where it cannot be read. */
static void group_read(int directory, const char *group, const char *file, char text[TEXT_SIZE])
{
    int fd = group_open(directory, group, file, O_RDONLY);
    ssize_t got = fd >= 0 ? read(fd, text, TEXT_SIZE - 1) : 0;
    text[got > 0 ? got : 0] = '\0';
    if (fd >= 0)
        close(fd);
}

/* Of a file with lines of a key and a number; 0 where there is none. */
static int64_t group_number(int directory, const char *group, const char *file, const char *key)
{
    char text[TEXT_SIZE], *rest = text;
    size_t length = strlen(key);
    group_read(directory, group, file, text);
    for (const char *line; (line = strsep(&rest, "\n")) != NULL;)
        if (strncmp(line, key, length) == 0 && line[length] == ' ')
            return strtoll(line + length + 1, NULL, 10);
    return 0;
}

/* --- the end of groups --- */

/* With the groups below it: a worker may have made some. */
static int group_remove(int directory, const char *group, int depth)
{
    int fd = openat(directory, group, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = fd >= 0 ? fdopendir(fd) : NULL;
    for (struct dirent *entry; entries != NULL && (entry = readdir(entries)) != NULL;)
        if (entry->d_type == DT_DIR && entry->d_name[0] != '.' && depth > 0)
            group_remove(fd, entry->d_name, depth - 1);
    if (entries != NULL)
        closedir(entries);
    else if (fd >= 0)
        close(fd);
    return unlinkat(directory, group, AT_REMOVEDIR) == 0 || errno == ENOENT ? 0 : -1;
}

/* The kernel tells a poll for POLLPRI of every change since the file was read. */
static void group_await_empty(int directory, const char *group)
{
    int64_t end_us = clock_monotonic_us() + STALE_US, left_us;
    int fd = group_open(directory, group, "cgroup.events", O_RDONLY);
    while (fd >= 0 && (left_us = end_us - clock_monotonic_us()) > 0) {
        char text[256];
        ssize_t got = pread(fd, text, sizeof text - 1, 0);
        text[got > 0 ? got : 0] = '\0';
        if (strstr(text, "populated 1") == NULL)
            break;
        struct pollfd change = {.fd = fd, .events = POLLPRI};
        poll(&change, 1, (int)(left_us / US_PER_MS) + 1);
    }
    if (fd >= 0)
        close(fd);
}

/* Whether it is `prefix` and the number of a process. */
static bool is_of(const char *name, const char *prefix)
{
    size_t length = strlen(prefix);
    return strncmp(name, prefix, length) == 0 && name[length] != '\0' &&
           strspn(name + length, "0123456789") == strlen(name + length);
}

/* Whose lock is free belongs to a guard that was killed. */
static void remove_stale(int base, const char *prefix)
{
    int copy = openat(base, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = copy >= 0 ? fdopendir(copy) : NULL;
    for (struct dirent *entry; entries != NULL && (entry = readdir(entries)) != NULL;) {
        if (!is_of(entry->d_name, prefix))
            continue;
        int fd = openat(base, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0) {
            group_write(base, entry->d_name, "cgroup.kill", "1");
            group_await_empty(base, entry->d_name);
            group_remove(base, entry->d_name, DEPTH_MAX);
        }
        if (fd >= 0)
            close(fd);
    }
    if (entries != NULL)
        closedir(entries);
    else if (copy >= 0)
        close(copy);
}

/* --- controllers --- */

static bool is_listed(int directory, const char *group, const char *file, const char *controller)
{
    char text[TEXT_SIZE], *rest = text;
    group_read(directory, group, file, text);
    for (const char *word; (word = strsep(&rest, " \n")) != NULL;)
        if (strcmp(word, controller) == 0)
            return true;
    return false;
}

/*
 * A group with processes hands out no controllers. 0: the node was alone in its group and is in a
 * leaf of it now.
 */
static int move_node(struct cgroup *cgroup)
{
    char text[TEXT_SIZE], *rest = text, number[24];
    const pid_t ours[] = {getppid(), getpid()};
    group_read(cgroup->base, ".", "cgroup.procs", text);
    for (const char *line; (line = strsep(&rest, "\n")) != NULL;) {
        long pid = strtol(line, NULL, 10);
        if (*line != '\0' && pid != ours[0] && pid != ours[1])
            return -1;
    }
    if (mkdirat(cgroup->base, LEAF, 0755) != 0 && errno != EEXIST)
        return -1;
    for (size_t i = 0; i < 2; i++) {
        snprintf(number, sizeof number, "%d", (int)ours[i]);
        if (group_write(cgroup->base, LEAF, "cgroup.procs", number) != 0)
            return -1;
    }
    return 0;
}

/* NULL: the groups of workers have this controller now; else why they have not. */
static const char *enable(struct cgroup *cgroup, const char *controller)
{
    static const char file[] = "cgroup.subtree_control";
    char order[16];
    if (!is_listed(cgroup->base, ".", "cgroup.controllers", controller))
        return "the node's group has no such controller";
    snprintf(order, sizeof order, "+%s", controller);
    bool done = is_listed(cgroup->base, ".", file, controller) ||
                group_write(cgroup->base, ".", file, order) == 0;
    if (!done && errno == EBUSY && move_node(cgroup) != 0)
        return "others are in the node's group";
    if ((!done && group_write(cgroup->base, ".", file, order) != 0) ||
        group_write(cgroup->directory, ".", file, order) != 0)
        return "the controller is not delegated";
    return NULL;
}

/* --- life --- */

static char *find_base(const char *setting, struct rota_error *error)
{
    if (strcmp(setting, "auto") != 0)
        return mem_string(setting);
    FILE *groups = fopen("/proc/self/cgroup", "re");
    FILE *mounts = fopen("/proc/self/mountinfo", "re");
    char *base = NULL;
    if (groups != NULL && mounts != NULL)
        base = cgroup_find(groups, mounts, error);
    else
        error_set(error, ERROR_REFUSED, "/proc cannot be read: %s", strerror(errno));
    if (groups != NULL)
        fclose(groups);
    if (mounts != NULL)
        fclose(mounts);
    size_t length = base != NULL ? strlen(base) : 0, leaf = strlen("/" LEAF);
    if (length > leaf && strcmp(base + length - leaf, "/" LEAF) == 0)
        base[length - leaf] = '\0'; /* it has moved before */
    return base;
}

/* Makes the group and locks it. Another node may have taken it for a dead one's in between. */
static int make_group(struct cgroup *cgroup)
{
    for (int i = 0; i < TRIES; i++) {
        struct stat opened, named;
        if (mkdirat(cgroup->base, cgroup->name, 0755) != 0 && errno != EEXIST)
            return -1;
        int fd = openat(cgroup->base, cgroup->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
            continue;
        if (flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &opened) == 0 &&
            fstatat(cgroup->base, cgroup->name, &named, 0) == 0 && opened.st_ino == named.st_ino) {
            cgroup->directory = fd;
            return 0;
        }
        close(fd);
    }
    errno = EBUSY;
    return -1;
}

/* Whether workers could join: a process that does no more than that. */
static int probe(const struct cgroup *cgroup)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(group_write(cgroup->directory, ".", "cgroup.procs", "0") == 0 ? 0 : errno);
    int status = 0;
    if (pid > 0)
        waitpid(pid, &status, 0);
    errno = pid > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : EAGAIN;
    return errno == 0 ? 0 : -1;
}

static int open_in(struct cgroup *cgroup, const char *base, const char *node, bool limits,
                   struct rota_error *error)
{
    cgroup->base = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (cgroup->base < 0)
        return error_set(error, ERROR_REFUSED, "%.500s: %s", base, strerror(errno));
    if (faccessat(cgroup->base, "cgroup.procs", F_OK, 0) != 0)
        return error_set(error, ERROR_REFUSED, "%.500s is no control group of version 2", base);
    char *prefix = mem_format("rota.%s.", node);
    remove_stale(cgroup->base, prefix);
    cgroup->name = mem_format("%s%d", prefix, (int)getpid());
    cgroup->path = mem_format("%s/%s", base, cgroup->name);
    free(prefix);
    if (make_group(cgroup) != 0)
        return error_set(error, ERROR_REFUSED, "no group can be made in %.500s: %s", base,
                         strerror(errno));
    if (probe(cgroup) != 0)
        return error_set(error, ERROR_REFUSED, "no process can be moved into a group in %.500s: %s",
                         base, strerror(errno));
    cgroup->kill = faccessat(cgroup->directory, "cgroup.kill", W_OK, 0) == 0;
    if (!limits)
        return 0;
    const char *no_memory = enable(cgroup, "memory"), *no_pids = enable(cgroup, "pids");
    cgroup->memory = no_memory == NULL;
    cgroup->processes = no_pids == NULL;
    cgroup->unlimited = no_memory != NULL ? no_memory : no_pids;
    return 0;
}

struct cgroup *cgroup_open(const char *setting, const char *node, bool limits,
                           struct rota_error *error)
{
    char *base = find_base(setting, error);
    if (base == NULL)
        return NULL;
    struct cgroup *cgroup = mem_alloc(sizeof *cgroup);
    cgroup->base = cgroup->directory = -1;
    if (open_in(cgroup, base, node, limits, error) != 0) {
        cgroup_close(cgroup);
        cgroup = NULL;
    }
    free(base);
    return cgroup;
}

void cgroup_view(const struct cgroup *cgroup, struct cgroup_view *ret_view)
{
    *ret_view = (struct cgroup_view){cgroup->path, cgroup->kill, cgroup->memory, cgroup->processes,
                                     cgroup->unlimited};
}

void cgroup_close(struct cgroup *cgroup)
{
    if (cgroup == NULL)
        return;
    if (cgroup->directory >= 0) {
        cgroup_kill(cgroup, ".");
        group_remove(cgroup->base, cgroup->name, DEPTH_MAX);
        close(cgroup->directory);
    }
    if (cgroup->base >= 0)
        close(cgroup->base);
    free(cgroup->path);
    free(cgroup->name);
    free(cgroup->leaving);
    free(cgroup);
}

/* --- workers --- */

static bool set_limit(struct cgroup *cgroup, const char *name, const char *file, int64_t value)
{
    char number[24];
    snprintf(number, sizeof number, "%lld", (long long)value);
    return group_write(cgroup->directory, name, file, number) == 0;
}

int cgroup_add(struct cgroup *cgroup, const char *name, struct worker_limits *limits)
{
    if (cgroup == NULL || (mkdirat(cgroup->directory, name, 0755) != 0 && errno != EEXIST))
        return -1;
    int join = group_open(cgroup->directory, name, "cgroup.procs", O_WRONLY);
    if (join < 0) {
        unlinkat(cgroup->directory, name, AT_REMOVEDIR);
        return -1;
    }
    if (cgroup->memory && limits->memory_bytes > 0 &&
        set_limit(cgroup, name, "memory.max", limits->memory_bytes)) {
        set_limit(cgroup, name, "memory.swap.max", 0); /* else the limit would only be swapped */
        limits->memory_bytes = 0;
    }
    if (cgroup->processes && limits->processes > 0 &&
        set_limit(cgroup, name, "pids.max", limits->processes))
        limits->processes = 0;
    return join;
}

void cgroup_kill(struct cgroup *cgroup, const char *name)
{
    if (cgroup != NULL && *name != '\0')
        group_write(cgroup->directory, name, "cgroup.kill", "1");
}

bool cgroup_memory_killed(struct cgroup *cgroup, const char *name)
{
    static const char file[] = "memory.events";
    return cgroup != NULL && cgroup->memory && *name != '\0' &&
           group_number(cgroup->directory, name, file, "oom_kill") > 0 &&
           group_number(cgroup->directory, name, file, "oom") > 0; /* not a limit further up */
}

void cgroup_leave(struct cgroup *cgroup, const char *name)
{
    if (cgroup == NULL || *name == '\0')
        return;
    cgroup_kill(cgroup, name);
    if (cgroup->leaving_count == cgroup->leaving_capacity) {
        cgroup->leaving_capacity = cgroup->leaving_capacity * 2 + 8;
        cgroup->leaving =
            mem_resize(cgroup->leaving, cgroup->leaving_capacity, sizeof *cgroup->leaving);
    }
    snprintf(cgroup->leaving[cgroup->leaving_count++], CGROUP_NAME_SIZE, "%s", name);
}

size_t cgroup_sweep(struct cgroup *cgroup)
{
    if (cgroup == NULL)
        return 0;
    for (size_t i = cgroup->leaving_count; i-- > 0;) {
        char *name = cgroup->leaving[i];
        if (group_remove(cgroup->directory, name, DEPTH_MAX) != 0)
            cgroup_kill(cgroup, name);
        else if (i != --cgroup->leaving_count)
            memcpy(name, cgroup->leaving[cgroup->leaving_count], CGROUP_NAME_SIZE);
    }
    return cgroup->leaving_count;
}

void cgroup_forget(struct cgroup *cgroup)
{
    if (cgroup != NULL)
        cgroup->leaving_count = 0;
}
