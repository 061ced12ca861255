/* New data of the private PostgreSQL that are not yet on the disk: see postgres_files.h. */
#include "cmd/postgres_files.h"

#include "base/memory.h"
#include "cmd/data_directory.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MARKER "unsynced" /* holds the id of the boot */

static char *boot_id(void)
{
    char *id = data_directory_read("/proc/sys/kernel/random", "boot_id", NULL);
    return id != NULL ? id : mem_string("unknown");
}

int postgres_mark_unsynced(const char *directory, struct rota_error *error)
{
    char *id = boot_id();
    int failed = data_directory_write(directory, MARKER, id, error);
    free(id);
    return failed;
}

/* The marker must be gone for good before anybody relies on the data. */
void postgres_mark_synced(const char *directory)
{
    char *file = mem_format("%s/" MARKER, directory);
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    unlink(file);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    free(file);
}

bool postgres_is_unsynced(const char *directory)
{
    char *file = mem_format("%s/" MARKER, directory);
    bool there = access(file, F_OK) == 0;
    free(file);
    return there;
}

bool postgres_is_doubtful(const char *directory)
{
    char *now = boot_id(), *then = NULL;
    if (postgres_is_unsynced(directory))
        then = data_directory_read(directory, MARKER, NULL);
    bool doubtful = then != NULL && strcmp(then, now) != 0;
    free(then);
    free(now);
    return doubtful;
}

int postgres_put_aside(const char *directory, struct rota_error *error)
{
    char *data = mem_format("%s/postgres", directory), *aside = mem_format("%s.doubtful", data);
    int failed = data_directory_remove(aside, error);
    if (failed == 0)
        failed = data_directory_rename(data, aside, error);
    if (failed == 0)
        postgres_mark_synced(directory);
    free(aside);
    free(data);
    return failed;
}
