/* Files of the private PostgreSQL: see postgres_files.h. */
#include "cmd/postgres_files.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "cmd/account.h"
#include "cmd/data_directory.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define LOG_BYTES_MAX  (10 * 1024 * 1024) /* a larger log is put aside at the next start */
#define LOG_TAIL_BYTES 16384              /* read to find what went wrong */
#define SOCKET_NOTE    "socket_directory" /* file with the path of a temporary socket directory */
#define PASSWORD_COPY  "initdb-password"
#define TEMPORARY_NAME "/rota-socket-"

/* A value of postgresql.conf in quotes. */
static void put_quoted(struct buffer *out, const char *text)
{
    buffer_char(out, '\'');
    for (; *text != '\0'; text++) {
        if (*text == '\'' || *text == '\\')
            buffer_char(out, *text);
        buffer_char(out, *text);
    }
    buffer_string(out, "'\n");
}

static int write_for_all(const char *directory, const char *name, const char *text,
                         struct rota_error *error)
{
    if (data_directory_write(directory, name, text, error) != 0)
        return -1;
    char *file = mem_format("%s/%s", directory, name);
    int failed = chmod(file, 0644) == 0 ? 0
                                        : error_set(error, ERROR_REFUSED, "cannot change %s: %s",
                                                    file, strerror(errno));
    free(file);
    return failed;
}

int postgres_write_settings(const char *directory, const char *socket_directory, int port,
                            struct rota_error *error)
{
    struct buffer text = {0};
    buffer_format(
        &text,
        "# Written by `rota up` at every start. Your own settings: postgresql.local.conf.\n"
        "include 'postgres/postgresql.conf' # what initdb found out about this machine\n"
        "cluster_name = 'rota up'\n"
        "listen_addresses = '127.0.0.1'\n"
        "port = %d\n"
        "unix_socket_permissions = 0700\n"
        "max_connections = 200\n"
        "shared_buffers = 128MB\n"
        "autovacuum_naptime = 10s\n"
        "log_line_prefix = '%%m [%%p] '\n"
        "log_timezone = 'UTC'\n"
        "timezone = 'UTC'\n",
        port);
    buffer_string(&text, "unix_socket_directories = ");
    put_quoted(&text, socket_directory);
    buffer_format(&text, "hba_file = ");
    char *hba = mem_format("%s/pg_hba.conf", directory);
    put_quoted(&text, hba);
    free(hba);
    buffer_string(&text, "include_if_exists = 'postgresql.local.conf'\n");
    int failed = write_for_all(directory, "postgresql.conf", buffer_text(&text), error);
    buffer_free(&text);
    if (failed == 0)
        failed = write_for_all(directory, "pg_hba.conf",
                               "# Written by `rota up` at every start.\n"
                               "local all all scram-sha-256\n"
                               "host all all 127.0.0.1/32 scram-sha-256\n",
                               error);
    return failed;
}

char *postgres_password(const char *directory, struct rota_error *error)
{
    unsigned char random[16];
    char text[2 * sizeof random + 1];
    char *file = mem_format("%s/%s", directory, DATA_PASSWORD);
    bool there = access(file, F_OK) == 0;
    free(file);
    if (there)
        return data_directory_read(directory, DATA_PASSWORD, error);
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random) {
        error_set(error, ERROR_REFUSED, "no random numbers for a password: %s", strerror(errno));
        return NULL;
    }
    for (size_t i = 0; i < sizeof random; i++)
        snprintf(text + 2 * i, 3, "%02x", random[i]);
    return data_directory_write(directory, DATA_PASSWORD, text, error) == 0 ? mem_string(text)
                                                                            : NULL;
}

char *postgres_password_copy(const char *directory, const char *password,
                             const struct account *account, struct rota_error *error)
{
    char *file = mem_format("%s/" PASSWORD_COPY, directory);
    if (data_directory_write(directory, PASSWORD_COPY, password, error) == 0) {
        if (!account->other || chown(file, account->uid, account->gid) == 0)
            return file;
        error_set(error, ERROR_REFUSED, "cannot give %s to %s: %s", file, account->name,
                  strerror(errno));
    }
    free(file);
    return NULL;
}

void postgres_remove_password_copy(const char *directory)
{
    char *file = mem_format("%s/" PASSWORD_COPY, directory);
    unlink(file);
    free(file);
}

int postgres_make_directory(const char *path, const struct account *account,
                            struct rota_error *error)
{
    if ((mkdir(path, 0700) != 0 && errno != EEXIST) ||
        (account->other && chown(path, account->uid, account->gid) != 0))
        return error_set(error, ERROR_REFUSED, "cannot create the directory %s: %s", path,
                         strerror(errno));
    return 0;
}

static bool fits_socket(const char *directory)
{
    return strlen(directory) + strlen("/.s.PGSQL.65535") <
           sizeof((struct sockaddr_un *)0)->sun_path;
}

static char *temporary_directory(const char *directory, const struct account *account,
                                 struct rota_error *error)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    bool use = runtime != NULL && runtime[0] == '/' && !account->other && strlen(runtime) < 60;
    char *path = mem_format("%s" TEMPORARY_NAME "XXXXXX", use ? runtime : "/tmp");
    if (mkdtemp(path) == NULL)
        error_set(error, ERROR_REFUSED, "cannot create a directory for the socket in %s: %s",
                  use ? runtime : "/tmp", strerror(errno));
    else if (data_directory_write(directory, SOCKET_NOTE, path, error) == 0 &&
             postgres_make_directory(path, account, error) == 0)
        return path;
    free(path);
    return NULL;
}

char *postgres_socket_directory(const char *directory, const struct account *account,
                                struct rota_error *error)
{
    char *path = mem_format("%s/socket", directory);
    if (fits_socket(path)) {
        if (postgres_make_directory(path, account, error) == 0)
            return path;
        free(path);
        return NULL;
    }
    free(path);
    return temporary_directory(directory, account, error);
}

void postgres_remove_socket_directory(const char *directory)
{
    char *note = mem_format("%s/" SOCKET_NOTE, directory);
    char *path = access(note, F_OK) == 0 ? data_directory_read(directory, SOCKET_NOTE, NULL) : NULL;
    if (path != NULL && strstr(path, TEMPORARY_NAME) != NULL) {
        data_directory_remove(path, NULL);
        unlink(note);
    }
    free(path);
    free(note);
}

int postgres_open_log(const char *directory, struct rota_error *error)
{
    char *file = mem_format("%s/postgres.log", directory), *old = mem_format("%s.1", file);
    struct stat about;
    if (lstat(file, &about) == 0 && about.st_size > LOG_BYTES_MAX)
        rename(file, old);
    int fd = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (fd < 0)
        error_set(error, ERROR_REFUSED, "cannot open %s: %s", file, strerror(errno));
    free(old);
    free(file);
    return fd;
}

/* The text after "FATAL:  " and the like of the last line that has one; else the last line. */
static const char *find_complaint(char *text)
{
    static const char *const words[] = {"PANIC: ", "FATAL: ", "ERROR: ", "error: "};
    const char *found = NULL, *last = "", *weak = "";
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
            const char *word = strstr(line, words[i]);
            if (word != NULL)
                found = word + strlen(words[i]);
        }
        const char *warning = strstr(line, "WARNING: ");
        if (warning != NULL)
            weak = warning + strlen("WARNING: ");
        last = line;
    }
    found = found != NULL ? found : *weak != '\0' ? weak : last;
    return found + strspn(found, " ");
}

char *postgres_log_complaint(const char *directory, off_t start)
{
    char *file = mem_format("%s/postgres.log", directory), *text = mem_alloc(LOG_TAIL_BYTES + 1);
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    off_t end = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
    if (end - start > LOG_TAIL_BYTES)
        start = end - LOG_TAIL_BYTES;
    ssize_t length = fd >= 0 ? pread(fd, text, LOG_TAIL_BYTES, start) : 0;
    text[length > 0 ? length : 0] = '\0';
    char *complaint = mem_string(find_complaint(text));
    if (fd >= 0)
        close(fd);
    free(text);
    free(file);
    return complaint;
}

static int try_port(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1, found = 0;
    if (fd < 0)
        return 0;
    /* as PostgreSQL does, or a port left in TIME_WAIT would seem taken */
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
        getsockname(fd, (struct sockaddr *)&address, &size) == 0)
        found = ntohs(address.sin_port);
    close(fd);
    return found;
}

int postgres_free_port(int wanted)
{
    int port = wanted > 0 ? try_port(wanted) : 0;
    return port > 0 ? port : try_port(0);
}

char *postgres_url(const char *password, const char *socket_directory, int port)
{
    struct buffer url = {0};
    buffer_format(&url, "postgresql://rota:%s@/rota?host=", password);
    for (const char *at = socket_directory; *at != '\0'; at++) {
        if (isalnum((unsigned char)*at) || strchr("-._~/", *at) != NULL)
            buffer_char(&url, *at);
        else
            buffer_format(&url, "%%%02X", (unsigned char)*at);
    }
    buffer_format(&url, "&port=%d", port);
    buffer_text(&url);
    return url.data;
}
