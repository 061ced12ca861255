/* Which programs the handler `exec` may run: see exec_program() in exec.h. */
#include "worker/builtin/exec.h"

#include "worker/spawn.h"

#include "base/memory.h"

#include <fnmatch.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Drops the last component of what has been built so far. */
static void step_up(struct buffer *path)
{
    while (path->length > 0) {
        if (path->data[--path->length] == '/')
            return;
    }
}

/*
 * By the text alone, and what comes out is what is executed, so that nothing but what was held
 * against the patterns can run.
 */
char *exec_normal_path(const char *path)
{
    struct buffer normal = {0};
    char here[PATH_MAX];
    if (path[0] != '/' && getcwd(here, sizeof here) != NULL)
        buffer_string(&normal, here);
    while (*path != '\0') {
        size_t length = strcspn(path, "/");
        if (length == 2 && memcmp(path, "..", 2) == 0) {
            step_up(&normal);
        } else if (length > 0 && !(length == 1 && path[0] == '.')) {
            buffer_char(&normal, '/');
            buffer_append(&normal, path, length);
        }
        path += length + (path[length] == '/');
    }
    char *text =
        mem_string_n(normal.length > 0 ? normal.data : "/", normal.length > 0 ? normal.length : 1);
    buffer_free(&normal);
    return text;
}

static bool is_match(const char *pattern, const char *path)
{
    size_t length = strlen(pattern);
    if (strcmp(pattern, "*") == 0)
        return true;
    if (length >= 3 && strcmp(pattern + length - 3, "/**") == 0)
        return strncmp(pattern, path, length - 2) == 0;
    return fnmatch(pattern, path, FNM_PATHNAME) == 0;
}

static bool is_any_match(const char *const *patterns, const char *path)
{
    for (; *patterns != NULL; patterns++)
        if (is_match(*patterns, path))
            return true;
    return false;
}

bool exec_allowed(const char *path, const char *const *patterns)
{
    if (is_any_match(patterns, path))
        return true;
    char *real = realpath(path, NULL);
    bool allowed = real != NULL && is_any_match(patterns, real);
    free(real);
    return allowed;
}

static void refuse(const char *path, const char *const *patterns, struct rota_error *error)
{
    if (patterns[0] == NULL) {
        error_set(error, ERROR_REFUSED,
                  "command[0]: %s may not be executed on this node, as the setting exec_allow is "
                  "empty; list what may, as in exec_allow = %s",
                  path, path);
        return;
    }
    struct buffer list = {0};
    for (size_t i = 0; patterns[i] != NULL && list.length < 500; i++)
        buffer_format(&list, "%s%s", i > 0 ? ", " : "", patterns[i]);
    error_set(error, ERROR_REFUSED,
              "command[0]: %s may not be executed on this node, as no pattern of the setting "
              "exec_allow matches it (%s); add one that does",
              path, buffer_text(&list));
    buffer_free(&list);
}

char *exec_program(const struct exec_request *request, const char *search_path,
                   const char *const *patterns, struct rota_error *error)
{
    char *found = spawn_resolve(request->argv[0], search_path, request->directory);
    if (found == NULL) {
        error_set(error, ERROR_NOT_FOUND,
                  "command[0]: there is no program %s in %s; give its path, or install it",
                  request->argv[0], search_path);
        return NULL;
    }
    char *path = exec_normal_path(found);
    free(found);
    if (exec_allowed(path, patterns))
        return path;
    refuse(path, patterns, error);
    free(path);
    return NULL;
}
