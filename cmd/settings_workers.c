/*
 * The settings for workers: the mode of the socket where they connect, the token they show on a TCP
 * port, the control group of those that are started. A token is a password: it is read from a file
 * or given as text, and neither shown nor logged.
 */
#include "cmd/settings_value.h"

#include "base/memory.h"
#include "worker/listener.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TOKEN_MIN 16 /* characters; below it, trying is no madness */
#define TOKEN_MAX 256

static int check_token(const char *token, struct rota_error *error)
{
    size_t length = strlen(token);
    for (const char *at = token; *at != '\0'; at++)
        if (!isgraph((unsigned char)*at) || *at == '"' || *at == '\\')
            length = 0;
    if (length >= TOKEN_MIN && length <= TOKEN_MAX)
        return 0;
    return error_set(error, ERROR_REFUSED,
                     "a token has %d to %d printable characters other than space, \" and \\; for "
                     "example what `openssl rand -hex 32` prints",
                     TOKEN_MIN, TOKEN_MAX);
}

int settings_check_token(const char *token, struct rota_error *error)
{
    return check_token(token, error);
}

/* Octal, as chmod takes it; the owner's part is always there, execution has no meaning. */
int settings_check_socket_mode(const char *text, struct rota_error *error)
{
    static const char *const modes[] = {"600", "660", "666"};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (strcmp(text, modes[i]) == 0)
            return 0;
    return error_set(error, ERROR_REFUSED,
                     "\"%s\" is refused: write 600 (the node's user), 660 (and its group) or 666 "
                     "(everybody on the machine)",
                     text);
}

int settings_check_cgroup(const char *text, struct rota_error *error)
{
    if (strcmp(text, "auto") == 0 || strcmp(text, "off") == 0 || text[0] == '/')
        return 0;
    return error_set(error, ERROR_REFUSED,
                     "\"%s\" is refused: write auto (the node's own group, where it may make "
                     "groups), off, or a directory such as /sys/fs/cgroup/rota",
                     text);
}

static int read_token(const char *path, char **ret_token, struct rota_error *error)
{
    char text[TOKEN_MAX + 3];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    int code = errno;
    if (fd >= 0)
        close(fd);
    if (length < 0)
        return error_set(error, ERROR_REFUSED, "cannot read it: %s", strerror(code));
    while (length > 0 && isspace((unsigned char)text[length - 1]))
        length--;
    text[length] = '\0';
    if (strlen(text) != (size_t)length || check_token(text, error) != 0)
        return check_token("", error);
    *ret_token = mem_string(text);
    explicit_bzero(text, sizeof text);
    return 0;
}

int settings_worker_token(const struct setting_value *values, char **ret_token,
                          struct rota_error *error)
{
    const struct setting_value *listen = &values[SETTING_WORKER_LISTEN];
    const struct setting_value *token = &values[SETTING_WORKER_TOKEN];
    const struct setting_value *file = &values[SETTING_WORKER_TOKEN_FILE];
    if (!listener_has_tcp((const char *const *)listen->list))
        return 0;
    if (token->text != NULL && file->text != NULL)
        return error_set(error, ERROR_REFUSED,
                         "worker_token (from %s) and worker_token_file (from %s) are both given: "
                         "leave one out",
                         token->origin, file->origin);
    if (file->text != NULL) {
        if (read_token(file->text, ret_token, error) != 0)
            return error_prefix(error, "worker_token_file %s (from %s)", file->text, file->origin);
        return 0;
    }
    if (token->text == NULL)
        return error_set(error, ERROR_REFUSED,
                         "worker_listen (from %s) names a TCP port and needs worker_token_file or "
                         "worker_token, as everybody who reaches it could take runs; or listen on "
                         "unix:PATH",
                         listen->origin);
    *ret_token = mem_string(token->text);
    return 0;
}
