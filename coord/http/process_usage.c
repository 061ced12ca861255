/* What this process has used: see process_usage.h, proc(5), getrusage(2). */
#include "coord/http/process_usage.h"

#include "base/clock.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define START_FIELD 20 /* of /proc/PID/stat: fields behind the name's bracket, from 1 */

static int64_t time_us(const struct timeval *time)
{
    return (int64_t)time->tv_sec * US_PER_SECOND + time->tv_usec;
}

static void read_memory(struct process_usage *usage)
{
    unsigned long long all = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL)
        return;
    if (fscanf(file, "%llu %llu", &all, &resident) == 2) {
        usage->virtual_bytes = (int64_t)all * sysconf(_SC_PAGESIZE);
        usage->resident_bytes = (int64_t)resident * sysconf(_SC_PAGESIZE);
    }
    fclose(file);
}

/* Ticks since boot; both clocks are read now, so that a step of the wall clock is in the answer. */
static void read_start(struct process_usage *usage)
{
    char line[1024] = "";
    FILE *file = fopen("/proc/self/stat", "re");
    if (file == NULL)
        return;
    const char *at = fgets(line, sizeof line, file) != NULL ? strrchr(line, ')') : NULL;
    fclose(file);
    for (int field = 0; at != NULL && field < START_FIELD; field++)
        at = strchr(at + 1, ' ');
    if (at == NULL)
        return;
    int64_t ticks = strtoll(at, NULL, 10), hertz = sysconf(_SC_CLK_TCK);
    usage->started_cs =
        (clock_wall_us() - clock_boot_us()) / (US_PER_SECOND / 100) + ticks * 100 / hertz;
}

static void read_descriptors(struct process_usage *usage)
{
    struct rlimit limit;
    DIR *directory = opendir("/proc/self/fd");
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur <= INT64_MAX)
        usage->descriptors_max = (int64_t)limit.rlim_cur;
    if (directory == NULL)
        return;
    while (readdir(directory) != NULL)
        usage->descriptors++;
    usage->descriptors -= 3; /* ".", ".." and the directory itself */
    closedir(directory);
}

void process_usage(struct process_usage *ret_usage)
{
    struct process_usage usage = {0};
    struct rusage used;
    if (getrusage(RUSAGE_SELF, &used) == 0)
        usage.cpu_us = time_us(&used.ru_utime) + time_us(&used.ru_stime);
    read_memory(&usage);
    read_start(&usage);
    read_descriptors(&usage);
    *ret_usage = usage;
}
