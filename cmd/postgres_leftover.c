/* Processes of a killed start: see postgres_leftover.h. */
#include "cmd/postgres_leftover.h"

#include "base/memory.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READY_LINE 8 /* of postmaster.pid, see PostgreSQL's src/include/utils/pidfile.h */

static bool is_postgres_in(const char *name, const struct stat *data)
{
    char link[64], program[PATH_MAX];
    struct stat about;
    snprintf(link, sizeof link, "/proc/%.20s/cwd", name);
    if (stat(link, &about) != 0 || about.st_dev != data->st_dev || about.st_ino != data->st_ino)
        return false;
    snprintf(link, sizeof link, "/proc/%.20s/exe", name);
    ssize_t length = readlink(link, program, sizeof program - 1);
    if (length <= 0)
        return false;
    program[length] = '\0';
    const char *base = strrchr(program, '/');
    return base != NULL && strncmp(base, "/postgres", strlen("/postgres")) == 0;
}

static ssize_t read_pid_file(const char *data, char *ret_text, size_t size)
{
    char *file = mem_format("%s/postmaster.pid", data);
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t length = fd >= 0 ? read(fd, ret_text, size - 1) : -1;
    ret_text[length > 0 ? length : 0] = '\0';
    if (fd >= 0)
        close(fd);
    free(file);
    return length;
}

pid_t postgres_pid_file(const char *data)
{
    char text[PATH_MAX + 512];
    return read_pid_file(data, text, sizeof text) > 0 ? (pid_t)strtol(text, NULL, 10) : 0;
}

int postgres_is_ready(const char *data, pid_t pid)
{
    char text[PATH_MAX + 512];
    if (read_pid_file(data, text, sizeof text) <= 0 || (pid_t)strtol(text, NULL, 10) != pid)
        return 0;
    const char *line = text;
    for (int i = 1; i < READY_LINE && line != NULL; i++) {
        line = strchr(line, '\n');
        line = line != NULL ? line + 1 : NULL;
    }
    return line != NULL && strncmp(line, "ready", 5) == 0;
}

/* One of the processes, `wanted` if it is among them; signals all but returns 0 if there is none.
 */
static pid_t each_process(const struct stat *data, pid_t wanted, int signal)
{
    DIR *processes = opendir("/proc");
    const struct dirent *entry;
    pid_t found = 0;
    while (processes != NULL && (entry = readdir(processes)) != NULL) {
        if (!isdigit((unsigned char)entry->d_name[0]) || !is_postgres_in(entry->d_name, data))
            continue;
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (signal != 0)
            kill(pid, signal);
        if (found == 0 || pid == wanted)
            found = pid;
    }
    if (processes != NULL)
        closedir(processes);
    return found;
}

pid_t postgres_leftover_signal(const char *data, int signal)
{
    struct stat about;
    if (stat(data, &about) != 0)
        return 0;
    pid_t postmaster = postgres_pid_file(data);
    pid_t found = each_process(&about, postmaster, 0);
    if (found == 0)
        return 0;
    if (found == postmaster)
        kill(postmaster, signal);
    else
        each_process(&about, 0, signal == SIGINT ? SIGQUIT : signal); /* orphans: no checkpoint */
    return found;
}
