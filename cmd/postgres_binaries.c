/* Finding initdb and postgres: see postgres_binaries.h. */
#include "cmd/postgres_binaries.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define VERSION_MIN 12 /* the oldest whose features rota uses */

/* Reads to the end of file or until `size` - 1 bytes are there. */
static void read_all(int fd, char *ret_text, size_t size)
{
    size_t filled = 0;
    while (filled + 1 < size) {
        ssize_t length = read(fd, ret_text + filled, size - 1 - filled);
        if (length < 0 && errno == EINTR)
            continue;
        if (length <= 0)
            break;
        filled += (size_t)length;
    }
    ret_text[filled] = '\0';
}

/* The first line a program prints; "" where it cannot be run. Only for programs that end at once.
 */
static void first_line(const char *program, const char *argument, char *ret_line, size_t size)
{
    int ends[2], status;
    ret_line[0] = '\0';
    if (pipe2(ends, O_CLOEXEC) != 0)
        return;
    pid_t pid = fork();
    if (pid == 0) {
        if (dup2(ends[1], STDOUT_FILENO) >= 0)
            execlp(program, program, argument, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    if (pid > 0)
        read_all(ends[0], ret_line, size);
    close(ends[0]);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    ret_line[strcspn(ret_line, "\n")] = '\0';
}

/* "postgres (PostgreSQL) 15.20 (Debian …)" gives 15; 0: no PostgreSQL there. */
static int version_of(const char *directory)
{
    char program[PATH_MAX], line[256];
    snprintf(program, sizeof program, "%s/initdb", directory);
    if (access(program, X_OK) != 0)
        return 0;
    snprintf(program, sizeof program, "%s/postgres", directory);
    first_line(program, "--version", line, sizeof line);
    const char *number = strstr(line, "(PostgreSQL) ");
    return number != NULL ? (int)strtol(number + strlen("(PostgreSQL) "), NULL, 10) : 0;
}

static bool fits(struct postgres_binaries *binaries, const char *directory, int wanted)
{
    int version = version_of(directory);
    if (version < VERSION_MIN || (wanted != 0 && version != wanted) || version < binaries->version)
        return false;
    binaries->version = version;
    snprintf(binaries->directory, sizeof binaries->directory, "%s", directory);
    return true;
}

/* Debian's place, others' usual places, and what pg_config says. */
static void look_around(struct postgres_binaries *binaries, int wanted)
{
    static const char *const patterns[] = {"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin",
                                           "/usr/local/pgsql/bin", "/opt/homebrew/bin", "/usr/bin"};
    char line[PATH_MAX];
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        glob_t found = {0};
        if (glob(patterns[i], 0, NULL, &found) == 0)
            for (size_t j = 0; j < found.gl_pathc; j++)
                fits(binaries, found.gl_pathv[j], wanted);
        globfree(&found);
    }
    if (binaries->version != 0)
        return;
    first_line("pg_config", "--bindir", line, sizeof line);
    if (line[0] == '/')
        fits(binaries, line, wanted);
}

int postgres_binaries_find(struct postgres_binaries *ret_binaries, const char *bindir, int wanted,
                           struct rota_error *error)
{
    struct postgres_binaries binaries = {0};
    if (bindir != NULL) {
        if (!fits(&binaries, bindir, 0))
            return error_set(error, ERROR_REFUSED,
                             "pg_bindir %s holds no initdb and postgres of version %d or later",
                             bindir, VERSION_MIN);
        if (wanted != 0 && binaries.version != wanted)
            return error_set(error, ERROR_REFUSED,
                             "the data directory was made by PostgreSQL %d, but pg_bindir %s holds "
                             "version %d: name the programs of version %d, or choose another "
                             "directory with --data",
                             wanted, bindir, binaries.version, wanted);
    } else {
        look_around(&binaries, wanted);
    }
    if (binaries.version == 0 && wanted != 0)
        return error_set(error, ERROR_REFUSED,
                         "the data directory was made by PostgreSQL %d, whose programs are not "
                         "here: install PostgreSQL %d, name its programs with --pg-bindir, or "
                         "choose another directory with --data",
                         wanted, wanted);
    if (binaries.version == 0)
        return error_set(error, ERROR_REFUSED,
                         "no PostgreSQL server found: `apt-get install postgresql`, name the "
                         "directory of initdb and postgres with --pg-bindir, or use a running "
                         "server with --database-url");
    *ret_binaries = binaries;
    return 0;
}
