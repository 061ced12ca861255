/*
 * Secrets of jobs are references, {"env":"NAME"} or {"file":"/path"}, both with an optional
 * "prefix" before what is found ("Bearer "). They are resolved in the worker when the run begins,
 * only where the node's settings secret_env and secret_files let jobs refer to them.
 */
#ifndef WORKER_BUILTIN_SECRET_H
#define WORKER_BUILTIN_SECRET_H

#include "worker/builtin/settings.h"

#include "base/error.h"
#include "base/json.h"

#include <stdbool.h>

#define SECRET_MAX (64 * 1024) /* bytes of a file: keys and tokens are far smaller */

/* An object with a member "env" or "file". */
bool secret_is(const struct json *json, const struct json_value *value);

/* The text, to be freed; NULL with what is wrong, which never holds the secret. `ret_secret`: the
 * part without its prefix, to be freed. */
char *secret_read(const struct json *json, const struct json_value *value,
                  const struct builtin_settings *settings, char **ret_secret,
                  struct rota_error *error);

/* A variable or a file of the node's own settings: no list is asked. */
char *secret_variable(const char *name, struct rota_error *error);
char *secret_file(const char *path, struct rota_error *error);

#endif
