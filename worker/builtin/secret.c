/* Secrets of jobs: see secret.h. */
#include "worker/builtin/secret.h"

#include "worker/builtin/exec.h"

#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool secret_is(const struct json *json, const struct json_value *value)
{
    return value->type == JSON_OBJECT &&
           (json_get(json, value, "env") != NULL || json_get(json, value, "file") != NULL);
}

char *secret_variable(const char *name, struct rota_error *error)
{
    const char *value = getenv(name);
    if (value != NULL && *value != '\0')
        return mem_string(value);
    error_set(error, ERROR_NOT_FOUND, "the variable %.100s is not set in the node's environment%s",
              name, strncmp(name, "ROTA_", 5) == 0 ? " as workers see it: without ROTA_*" : "");
    return NULL;
}

/* Not a pipe or a device: reading one would hold up all the other runs. */
char *secret_file(const char *path, struct rota_error *error)
{
    struct stat status;
    char *text = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &status) != 0) {
        error_set(error, ERROR_NOT_FOUND, "cannot read %.500s: %s", path, strerror(errno));
        goto out;
    }
    if (!S_ISREG(status.st_mode) || status.st_size > SECRET_MAX) {
        error_set(error, ERROR_REFUSED, "%.500s is no file of at most 64 KiB", path);
        goto out;
    }
    text = mem_alloc(SECRET_MAX + 1);
    ssize_t length = read(fd, text, SECRET_MAX);
    while (length > 0 && (text[length - 1] == '\n' || text[length - 1] == '\r'))
        text[--length] = '\0';
    if (length <= 0 || strlen(text) != (size_t)length) {
        error_set(error, ERROR_REFUSED, "%.500s %s", path,
                  length <= 0 ? "is empty" : "holds a zero byte: it is no text");
        free(text);
        text = NULL;
    }
out:
    if (fd >= 0)
        close(fd);
    return text;
}

static bool is_name_allowed(const char *name, char *const *patterns)
{
    for (; patterns != NULL && *patterns != NULL; patterns++)
        if (fnmatch(*patterns, name, 0) == 0)
            return true;
    return false;
}

static char *read_variable(const char *name, const struct builtin_settings *settings,
                           struct rota_error *error)
{
    if (is_name_allowed(name, settings->secret_env))
        return secret_variable(name, error);
    error_set(error, ERROR_REFUSED,
              "the variable %.100s may not be used by jobs of this node, as no pattern of the "
              "setting secret_env matches it; add one that does",
              name);
    return NULL;
}

static char *read_file(const char *name, const struct builtin_settings *settings,
                       struct rota_error *error)
{
    char *path = exec_normal_path(name), *text = NULL;
    const char *const *patterns = (const char *const *)settings->secret_files;
    if (patterns != NULL && exec_allowed(path, patterns))
        text = secret_file(path, error);
    else
        error_set(error, ERROR_REFUSED,
                  "the file %.500s may not be used by jobs of this node, as no pattern of the "
                  "setting secret_files matches it; add one that does",
                  path);
    free(path);
    return text;
}

static int read_members(const struct json *json, const struct json_value *value, char **ret_env,
                        char **ret_file, char **ret_prefix, struct rota_error *error)
{
    for (const struct json_value *key = json_first(json, value); key != NULL;
         key = json_next(json, key)) {
        const struct json_value *member = json_member(key);
        char **text = json_is(key, "env")      ? ret_env
                      : json_is(key, "file")   ? ret_file
                      : json_is(key, "prefix") ? ret_prefix
                                               : NULL;
        if (text != NULL && member->type == JSON_STRING)
            *text = json_text(member);
        if (text == NULL || *text == NULL)
            return error_set(error, ERROR_REFUSED,
                             "a secret is {\"env\":\"NAME\"} or {\"file\":\"/path\"}, with a "
                             "\"prefix\" if need be, all of them texts");
    }
    if ((*ret_env == NULL) == (*ret_file == NULL))
        return error_set(error, ERROR_REFUSED, "a secret has one of \"env\" and \"file\"");
    return 0;
}

char *secret_read(const struct json *json, const struct json_value *value,
                  const struct builtin_settings *settings, char **ret_secret,
                  struct rota_error *error)
{
    char *env = NULL, *file = NULL, *prefix = NULL, *secret = NULL, *text = NULL;
    if (read_members(json, value, &env, &file, &prefix, error) == 0)
        secret =
            env != NULL ? read_variable(env, settings, error) : read_file(file, settings, error);
    if (secret != NULL) {
        text = mem_format("%s%s", prefix != NULL ? prefix : "", secret);
        *ret_secret = secret;
    }
    free(env);
    free(file);
    free(prefix);
    return text;
}
