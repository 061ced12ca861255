/* The data directory of `rota up`: see data_directory.h. */
#include "cmd/data_directory.h"

#include "base/memory.h"
#include "cmd/account.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MARKER      "rota-up"
#define MARKER_TEXT "This directory belongs to `rota up`: its private PostgreSQL lives here.\n"
#define FILE_MAX    4096 /* bytes of the small files */

char *data_directory_default(void)
{
    const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    if (geteuid() == 0)
        return mem_string("/var/lib/rota/up");
    if (data != NULL && data[0] == '/')
        return mem_format("%s/rota", data);
    if (home != NULL && home[0] == '/')
        return mem_format("%s/.local/share/rota", home);
    return mem_format("/tmp/rota-up-%u", (unsigned)geteuid());
}

static int make_parents(const char *path, struct rota_error *error)
{
    char *prefix = mem_string(path);
    int failed = 0;
    for (char *slash = strchr(prefix + 1, '/'); slash != NULL && failed == 0;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(prefix, 0755) != 0 && errno != EEXIST)
            failed = error_set(error, ERROR_REFUSED, "cannot create the directory %s: %s", prefix,
                               strerror(errno));
        *slash = '/';
    }
    free(prefix);
    return failed;
}

static bool is_empty(const char *path)
{
    DIR *directory = opendir(path);
    bool empty = true;
    const struct dirent *entry;
    while (directory != NULL && empty && (entry = readdir(directory)) != NULL)
        empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    if (directory != NULL)
        closedir(directory);
    return empty;
}

static bool has_file(const char *path, const char *name)
{
    char *file = mem_format("%s/%s", path, name);
    struct stat about;
    bool there = lstat(file, &about) == 0 && S_ISREG(about.st_mode);
    free(file);
    return there;
}

/* Absolute, without links and without a trailing slash. */
static char *real_path(const char *path, struct rota_error *error)
{
    char *real = realpath(path, NULL);
    if (real == NULL)
        error_set(error, ERROR_REFUSED, "cannot use %s as data directory: %s", path,
                  strerror(errno));
    return real;
}

static int check_ours(const char *path, const struct account *account, struct rota_error *error)
{
    struct stat about;
    if (stat(path, &about) != 0 || !S_ISDIR(about.st_mode))
        return error_set(error, ERROR_REFUSED, "%s is no directory: choose another with --data",
                         path);
    if (!has_file(path, MARKER) && !is_empty(path))
        return error_set(error, ERROR_REFUSED,
                         "the data directory %s is not ours: it holds other files; choose an empty "
                         "or a new one with --data",
                         path);
    if (about.st_uid != geteuid())
        return error_set(error, ERROR_REFUSED,
                         "the data directory %s belongs to another user (uid %u): start rota as "
                         "that user, or choose another with --data",
                         path, (unsigned)about.st_uid);
    if (account->other && chmod(path, 0711) != 0)
        return error_set(error, ERROR_REFUSED, "cannot change the mode of %s: %s", path,
                         strerror(errno));
    return account_can_reach(account, path, error);
}

static int lock_directory(struct data_directory *directory, struct rota_error *error)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char *file = mem_format("%s/lock", directory->path);
    directory->lock_fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    int failed = 0;
    if (directory->lock_fd < 0) {
        failed = error_set(error, ERROR_REFUSED, "cannot open %s: %s", file, strerror(errno));
    } else if (fcntl(directory->lock_fd, F_SETLK, &lock) != 0) {
        if (errno == EACCES || errno == EAGAIN)
            failed = error_set(error, ERROR_REFUSED,
                               "the data directory %s is in use by another `rota up` (process %d): "
                               "stop that one, or choose another with --data",
                               directory->path, (int)data_directory_running(directory->path));
        else
            failed = error_set(error, ERROR_REFUSED, "cannot lock %s: %s", file, strerror(errno));
    }
    free(file);
    return failed;
}

int data_directory_open(struct data_directory *ret_directory, const char *path,
                        const struct account *account, struct rota_error *error)
{
    struct data_directory directory = {.lock_fd = -1};
    mode_t mode = account->other ? 0711 : 0700;
    if (make_parents(path, error) != 0)
        return -1;
    bool made = mkdir(path, mode) == 0;
    if (!made && errno != EEXIST)
        return error_set(error, ERROR_REFUSED, "cannot create the data directory %s: %s", path,
                         strerror(errno));
    directory.path = real_path(path, error);
    if (directory.path == NULL || check_ours(directory.path, account, error) != 0 ||
        data_directory_write(directory.path, MARKER, MARKER_TEXT, error) != 0 ||
        lock_directory(&directory, error) != 0) {
        data_directory_close(&directory);
        if (made)
            rmdir(path); /* nobody wants an empty directory left behind */
        return -1;
    }
    *ret_directory = directory;
    return 0;
}

void data_directory_close(struct data_directory *directory)
{
    free(directory->path);
    if (directory->lock_fd >= 0)
        close(directory->lock_fd);
    *directory = (struct data_directory){.lock_fd = -1};
}

/*
 * Asks without taking: a client that took the lock for a moment could make an `up` fail. Closing a
 * descriptor drops all record locks of the process on the file, so never call it as the holder.
 */
pid_t data_directory_running(const char *path)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char *file = mem_format("%s/lock", path);
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    pid_t holder = 0;
    if (fd >= 0 && fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK)
        holder = lock.l_pid > 0 ? lock.l_pid : 1;
    if (fd >= 0)
        close(fd);
    free(file);
    return holder;
}

int data_directory_write(const char *path, const char *name, const char *text,
                         struct rota_error *error)
{
    char *file = mem_format("%s/%s", path, name), *draft = mem_format("%s.new", file);
    size_t length = strlen(text);
    int fd, failed = 0;
    unlink(draft); /* of a killed start */
    fd = open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || write(fd, text, length) != (ssize_t)length || fsync(fd) != 0 ||
        rename(draft, file) != 0)
        failed = error_set(error, ERROR_REFUSED, "cannot write %s: %s", file, strerror(errno));
    if (fd >= 0)
        close(fd);
    free(draft);
    free(file);
    return failed;
}

char *data_directory_read(const char *path, const char *name, struct rota_error *error)
{
    char *file = mem_format("%s/%s", path, name), *text = mem_alloc(FILE_MAX + 1);
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd >= 0 ? read(fd, text, FILE_MAX) : -1;
    if (length < 0) {
        error_set(error, ERROR_REFUSED, "cannot read %s: %s%s", file, strerror(errno),
                  errno == EACCES ? "; it is for the user who runs `rota up` only" : "");
        free(text);
        text = NULL;
    } else {
        text[strcspn(text, "\n")] = '\0';
    }
    if (fd >= 0)
        close(fd);
    free(file);
    return text;
}

int data_directory_rename(const char *from, const char *to, struct rota_error *error)
{
    char *parent = mem_string_n(to, (size_t)(strrchr(to, '/') - to));
    int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC), failed = 0;
    if (fd < 0 || rename(from, to) != 0 || fsync(fd) != 0)
        failed = error_set(error, ERROR_REFUSED, "cannot rename %s to %s: %s", from, to,
                           strerror(errno));
    if (fd >= 0)
        close(fd);
    free(parent);
    return failed;
}

static int remove_entry(const char *path, const struct stat *about, int kind, struct FTW *place)
{
    (void)about;
    (void)kind;
    (void)place;
    return remove(path);
}

int data_directory_remove(const char *path, struct rota_error *error)
{
    if (access(path, F_OK) != 0)
        return 0;
    if (nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) != 0)
        return error_set(error, ERROR_REFUSED, "cannot remove %s: %s", path, strerror(errno));
    return 0;
}
