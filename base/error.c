/* Errors as values: see error.h. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int error_set(struct rota_error *error, enum error_code code, const char *format, ...)
{
    if (error == NULL)
        return -1;
    error->code = code;
    error->sqlstate[0] = '\0';
    va_list args;
    va_start(args, format);
    vsnprintf(error->message, sizeof error->message, format, args);
    va_end(args);
    return -1;
}

int error_prefix(struct rota_error *error, const char *format, ...)
{
    if (error == NULL)
        return -1;
    char old[sizeof error->message];
    memcpy(old, error->message, sizeof old);
    va_list args;
    va_start(args, format);
    int length = vsnprintf(error->message, sizeof error->message, format, args);
    va_end(args);
    if (length < 0 || (size_t)length >= sizeof error->message)
        return -1;
    size_t room = sizeof error->message - (size_t)length;
    int wanted = snprintf(error->message + length, room, ": %s", old);
    if (wanted >= 0 && (size_t)wanted >= room) /* say that something is missing */
        memcpy(error->message + sizeof error->message - 4, "...", 4);
    return -1;
}
